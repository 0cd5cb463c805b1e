"""Samples of one patient that are of two sexes by RNA: exchanged tubes."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq.calling import call_study
from carseq.cells import quality
from carseq.cells.sexes import OF_TWO_X, OF_Y, RATE_TWO_X, RATE_Y, of_two_sexes, sexes
from carseq.cells.subtypes import ACTIVATION
from carseq.data import path as data_path
from carseq.io.genes import with_symbols
from carseq.report import alerts
from carseq.report.study import read_study
from study import write_study


def blood(sample: str, sex: str, n: int, *, ambient: float = 0.0, seed: int = 0) -> pd.DataFrame:
    """Return T cells of 2,000 UMIs, of which a share is ambient RNA of the other sex."""
    rng = np.random.default_rng(seed)
    of_xx = np.full(n, {"XX": 1 - ambient, "XY": ambient}[sex])
    return pd.DataFrame(
        {
            "sample": sample,
            "lineage": "T",
            "is_doublet": False,
            "total_umis": 2000,
            "xist_umis": rng.poisson(2000 * RATE_TWO_X * of_xx).astype(float),
            "y_umis": rng.poisson(2000 * RATE_Y * (1 - of_xx)).astype(float),
        }
    )


@pytest.mark.parametrize("sex", ["XX", "XY"])
@pytest.mark.parametrize(
    ("n", "ambient", "known"),
    [(100, 0.0, True), (200, 0.1, True), (200, 0.5, False), (5, 0.0, False), (3, 0.0, False)],
)
def test_a_sample_shows_its_sex_or_nothing(sex: str, n: int, ambient: float, known: bool) -> None:
    """A tenth of foreign RNA is borne; half of it, or five cells, say nothing; never the other sex."""
    found = [sexes(blood("S", sex, n, ambient=ambient, seed=s))["S"] for s in range(20)]
    assert set(found) == {sex if known else ""}


def test_the_genes_are_known_by_their_ids() -> None:
    """A matrix of Ensembl ids alone: XIST and six of the Y chromosome's seven genes were not known, nor was any sex."""
    table = pd.read_csv(data_path("markers/gene_ids.tsv"), sep="\t", dtype=str)
    assert {*OF_TWO_X, *OF_Y, *ACTIVATION} <= set(table["gene"])
    ids = table["ensembl_id"].tolist()
    made = ad.AnnData(
        sparse.csr_matrix(np.ones((3, len(ids)), np.float32)), var=pd.DataFrame(index=ids)
    )
    with_symbols(made)
    assert quality(made).obs[["xist_umis", "y_umis"]].to_numpy().tolist() == [[1.0, 7.0]] * 3


def test_a_mixture_of_people_is_of_no_sex() -> None:
    """Half of the cells of either sex (a pool that was not taken apart), and epithelium of a transplanted kidney."""
    pool = pd.concat([blood("S", "XX", 100), blood("S", "XY", 100)], ignore_index=True)
    assert sexes(pool)["S"] == ""
    kidney = blood("S", "XY", 500).assign(lineage="kidney")
    assert sexes(pd.concat([kidney, blood("S", "XX", 60)], ignore_index=True))["S"] == "XX"
    assert sexes(kidney)["S"] == ""


def test_lost_genes_and_older_results_say_nothing() -> None:
    """A man who lost the Y chromosome in half of his cells stays XY; a matrix without XIST, or no columns: nothing."""
    cells = blood("S", "XY", 100)
    cells.loc[::2, "y_umis"] = 0
    assert sexes(cells)["S"] == "XY"
    assert sexes(cells.assign(xist_umis=np.nan))["S"] == ""
    assert sexes(cells.drop(columns="y_umis"))["S"] == ""
    genes = ["XIST", "RPS4Y1", "DDX3Y", "ACTB"]
    made = ad.AnnData(
        sparse.csr_matrix([[2.0, 0, 0, 9], [0, 3, 1, 9]]), var=pd.DataFrame(index=genes)
    )
    assert quality(made).obs[["xist_umis", "y_umis"]].to_numpy().tolist() == [[2, 0], [0, 4]]
    assert quality(made[:, ["XIST", "ACTB"]].copy()).obs["y_umis"].isna().all()


def test_real_cells_show_their_sex(shared: Path) -> None:
    """10x PBMC of a man and of a woman, thinned to 1,500 UMIs, a tenth of which is then the other's ambient RNA."""
    genes = ["XIST", "RPS4Y1", "DDX3Y", "EIF1AY", "UTY"]
    rng = np.random.default_rng(5)
    made = {}
    for sex, name in (("XY", "pbmc1k_v3"), ("XX", "pbmc_10k_protein_v3")):
        data = ad.read_h5ad(shared / "real_pbmc" / f"{name}.h5ad")[:200]
        data.var_names_make_unique()
        total = np.asarray(data.X.sum(axis=1)).ravel()
        # The sets lack the genes that none of their cells shows.
        own = data.to_df().reindex(columns=genes, fill_value=0.0)
        table = own.assign(ACTB=total - own.sum(axis=1).to_numpy()).astype(int)
        made[sex] = rng.binomial(table.to_numpy(), min(1.0, 1500 / np.median(total)))
    for sex, other in (("XX", "XY"), ("XY", "XX")):
        profile = made[other].sum(axis=0) / made[other].sum()
        mixed = made[sex] + rng.poisson(0.1 * made[sex].sum(axis=1, keepdims=True) * profile)
        var = pd.DataFrame(index=[*genes, "ACTB"])
        cells = quality(ad.AnnData(sparse.csr_matrix(mixed.astype(float)), var=var))
        assert sexes(cells.obs.assign(sample="S", lineage="T", is_doublet=False))["S"] == sex


def test_an_exchanged_sample_is_an_alert(tmp_path: Path) -> None:
    """Two samples of a patient XX, one XY: the page warns and names them; of two patients: nothing."""
    study = read_study(write_study(tmp_path / "results"))
    mine = study.detection.loc[study.detection["patient"] == "P01", "sample"].tolist()
    parts = [blood(name, "XY" if name == mine[0] else "XX", 60) for name in mine]
    patients = dict.fromkeys(mine, "P01")
    own = {"XX": mine[1:], "XY": mine[:1]}
    assert of_two_sexes(pd.concat(parts, ignore_index=True), patients) == {"P01": own}
    assert not of_two_sexes(pd.concat(parts, ignore_index=True), {**patients, mine[0]: "P02"})
    cells = pd.concat([study.cells, *parts], ignore_index=True)
    told = [a for a in alerts.alerts(replace(study, cells=cells)) if "two sexes" in a.message]
    assert [a.where for a in told] == ["patient P01"]
    assert f"{mine[0]} XY" in told[0].message
    assert not [a for a in alerts.alerts(study) if "two sexes" in a.message]


def test_the_log_tells_of_exchanged_samples(caplog: pytest.LogCaptureFixture) -> None:
    """`carseq call` and the workflow warn where the calls are made, and call as before."""
    obs = pd.concat([blood("A", "XX", 60), blood("B", "XY", 60)], ignore_index=True)
    obs = obs.assign(barcode=[f"C{i}" for i in range(120)], cell_type="T cell")
    cohort = ad.AnnData(
        sparse.csr_matrix(np.zeros((120, 1), dtype=np.float32)),
        obs=obs.set_index(obs["sample"] + ":" + obs["barcode"]),
        var=pd.DataFrame(index=["CAR"]),
    )
    cohort.layers["counts"] = cohort.X
    sheet = pd.DataFrame(
        {"sample": ["A", "B"], "patient": "P01", "compartment": ["urine", "blood"]}
    )
    with caplog.at_level(logging.WARNING, logger="carseq"):
        found = call_study(cohort, sheet, car="CAR")
    assert len(found.detection) == 2
    assert "XX by RNA, those of B XY" in caplog.text
