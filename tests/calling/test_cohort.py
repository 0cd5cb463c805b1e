"""call_cells: what it takes, and what it gives for every cell and sample."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from called_studies import CAR, study
from carseq.calling import call_cells
from carseq.calling.clones import clone_names
from carseq.cells.intact import intactness
from carseq.errors import CarseqError
from carseq.localize import contrasts, localize
from carseq.schema.codes import REASONS
from carseq.schema.obs import OBS


def test_car_signal_outside_t_cells_is_a_finding_never_a_call(called):
    adata, _, _ = called
    other = adata.obs[(adata.obs["lineage"] != "T") & (adata.obs["car_umis"] > 0)]
    assert len(other) > 0
    assert set(other["car_call"]) == {"negative"}
    assert set(other["car_reason"]) <= {"explained_by_ambient", "unexplained"}
    assert other["car_reason_text"].str.contains("not a T cell").all()
    assert set(adata.obs["car_reason"]) <= set(REASONS)
    assert set(OBS.columns) - set(adata.obs.columns) <= {
        "patient", "compartment", "timepoint", "role", "n_genes", "pct_mito", "doublet_score", "leiden",
        "cell_type_confidence",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "samples", "told"),
    [
        (["clonotype1", "clonotype2", "clonotype1"], ["A", "A", "B"], True),
        (["clonotype1", "clonotype2", "clonotype1"], ["A", "A", "A"], False),
        (["TRB:CASSF", "", "TRB:CASSF"], ["A", "A", "B"], False),
    ],
)
def test_clonotypes_that_are_numbered_by_library_are_told(
    names: list[str], samples: list[str], told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Cell Ranger's clonotype1 of urine and of blood, two clones, were one without a word."""
    obs = pd.DataFrame({"clonotype": names, "sample": samples, "patient": "P"})
    with caplog.at_level("WARNING", logger="carseq"):
        clone_names(obs)
    assert ("numbers them (clonotype1)" in caplog.text) is told


def test_a_sample_without_cells_keeps_its_row(called):
    adata, samples, _ = called
    rest = adata[adata.obs["sample"] != "blood"].copy()
    detection = call_cells(rest, None, samples, car=CAR).set_index("sample")
    assert detection.loc["blood", "verdict"] == "undetermined"
    assert detection.loc["blood", "n_cells"] == 0
    empty = adata[:0].copy()
    assert set(call_cells(empty, None, samples, car=CAR)["verdict"]) == {"undetermined"}


def test_samples_are_names_and_all_of_them_are_known():
    adata, samples = study(0)
    for table in (adata.obs, samples):
        table["sample"] = table["sample"].map({"base": "1", "urine": "2", "blood": "3"})
    samples["sample"] = samples["sample"].astype(int)
    assert list(call_cells(adata, None, samples, car=CAR)["sample"]) == ["1", "2", "3"]
    with pytest.raises(CarseqError, match="cells of sample 3"):
        call_cells(adata, None, samples.iloc[:2], car=CAR)


def test_damaged_cells_are_found_where_nobody_told_them(caplog):
    """Of cells without a column of damage the matrix tells it, if it holds raw counts of ribosomal genes."""
    rng = np.random.default_rng(3)
    adata, samples = study(0)
    genes = [f"RPL{i}" for i in range(3, 20)] + [f"RPS{i}" for i in range(2, 20)]
    damaged = rng.random(adata.n_obs) < 0.3
    share = np.where(damaged, 0.03, 0.28) / len(genes)
    counts = rng.poisson(np.outer(adata.obs["total_umis"], np.ones(len(genes))) * share[:, None])
    whole = anndata.AnnData(
        sparse.hstack([adata.layers["counts"], sparse.csr_matrix(counts)]).tocsr(),
        obs=adata.obs.copy(),
    )
    whole.var_names = [*adata.var_names, *genes]
    told = intactness(whole.copy())
    expected = call_cells(told, None, samples, car=CAR)
    found = call_cells(whole, None, samples, car=CAR)
    assert (whole.obs["is_damaged"].to_numpy() == damaged).mean() > 0.99
    pd.testing.assert_frame_equal(found, expected)
    # A matrix that cannot say it, and one of other values than counts: said, not passed over.
    parts = sparse.hstack([whole.X[:, :1], whole.X[:, 1:] / 3]).tocsr()
    for other in (adata, anndata.AnnData(parts, obs=adata.obs.copy(), var=whole.var)):
        caplog.clear()
        call_cells(other, None, samples, car=CAR)
        assert "is_damaged" not in other.obs
        assert "all cells are taken to be intact" in caplog.text


@pytest.mark.parametrize("name", ["contamination", "intact_fraction"])
@pytest.mark.parametrize(
    ("value", "words"), [(5.0, "percent"), ("2 %", "not a number"), (-0.1, "from 0 to 1")]
)
def test_shares_that_are_none_are_refused(name, value, words):
    """SoupX's 5 % written as 5 was taken for 1: all molecules ambient, and two thirds of the calls were lost."""
    adata, samples = study(0)
    adata.obs[name] = adata.obs[name].astype(object) if name in adata.obs else 0.5
    adata.obs[name] = value
    with pytest.raises(CarseqError, match=f"{name} of") as told:
        call_cells(adata, None, samples, car=CAR)
    assert words in f"{told.value.cause} {told.value.remedy}"


def test_lineages_in_other_letters_are_told():
    """A lineage t is no T: the sample seemed to have no T cells."""
    adata, samples = study(0)
    adata.obs["lineage"] = adata.obs["lineage"].str.lower()
    with pytest.raises(CarseqError, match="no cell's lineage is T"):
        call_cells(adata, None, samples, car=CAR)


def test_missing_columns_are_named():
    adata, samples = study(0)
    del adata.obs["lineage"]
    with pytest.raises(CarseqError, match="lack lineage"):
        call_cells(adata, None, samples, car=CAR)


def test_localization_and_contrasts(called):
    adata, _, detection = called
    detection = detection.reset_index()
    table = localize(adata, detection)
    by_lineage = table[table["level"] == "lineage"].set_index(["sample", "group"])
    urine = by_lineage.loc[("urine", "T")]
    own = adata.obs[(adata.obs["sample"] == "urine") & (adata.obs["lineage"] == "T")]
    assert urine["low"] <= own["truth"].mean() <= urine["high"]
    assert np.isnan(by_lineage.loc[("urine", "myeloid"), "estimate"])
    assert by_lineage.loc[("urine", "myeloid"), "n_car_positive"] == 0
    compared = contrasts(adata, detection).set_index("contrast")
    assert set(compared.index) == {"urine against blood", "against baseline"}
    assert (
        compared.loc["urine against blood", "low"]
        <= 6
        <= compared.loc["urine against blood", "high"]
    )
    assert compared.loc["urine against blood", "estimate"] > 1
    assert compared.loc["against baseline", "q"] >= compared.loc["against baseline", "p"]


def test_antibodies_are_no_part_of_a_cells_depth():
    """A CITE-seq matrix counts more molecules of antibodies than of genes; a depth far too small is refused."""
    adata, samples = study(0)
    antibodies = sparse.csr_matrix(np.full((adata.n_obs, 2), 50_000.0))
    both = anndata.AnnData(
        sparse.hstack([adata.layers["counts"], antibodies]).tocsr(), obs=adata.obs.copy()
    )
    both.var_names = [*adata.var_names, "CD3_TotalSeqC", "CD19_TotalSeqC"]
    both.var["feature_types"] = ["Gene Expression"] * adata.n_vars + ["Antibody Capture"] * 2
    assert call_cells(both, None, samples, car=CAR).equals(
        call_cells(adata, None, samples, car=CAR)
    )
    both.var["feature_types"] = "Gene Expression"
    with pytest.raises(CarseqError, match="total_umis is not the number of molecules"):
        call_cells(both, None, samples, car=CAR)
