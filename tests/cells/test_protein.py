"""CITE-seq: antibody counts beside the genes, lineages of surface proteins, and the annotation held against them."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq import cells
from carseq.cells.protein import CONFLICT, antigen, gate, is_isotype, limits, protein_background
from carseq.cells.stages import sample_cells
from carseq.io.files import write_table
from carseq.io.h5ad import write_h5ad
from carseq.io.matrix import read_counts
from carseq.report import alerts, read_study
from carseq.schema.tables import PROTEIN_AGREEMENT
from helpers_cells import CAR, urine
from study import write_study

SHOWN = {
    "T": {"CD3_TotalSeqB"},
    "B": {"CD19_TotalSeqB"},
    "plasma": {"CD19_TotalSeqB"},
    "NK": {"CD56_TotalSeqB", "CD16_TotalSeqB"},
    "myeloid": {"CD14_TotalSeqB", "CD16_TotalSeqB"},
    "kidney": {"EpCAM"},
    "urogenital": {"EpCAM"},
    "": set(),
}
ANTIBODIES = [
    "CD3_TotalSeqB",
    "CD19_TotalSeqB",
    "CD14_TotalSeqB",
    "CD16_TotalSeqB",
    "CD56_TotalSeqB",
    "EpCAM",
    "IgG1_control_TotalSeqB",
]


def stained(raw: ad.AnnData, seed: int = 0) -> ad.AnnData:
    """Return the sample with antibodies: ambient ones everywhere, 20 times as many on their cells."""
    rng = np.random.default_rng(seed)
    mean = np.full((raw.n_obs, len(ANTIBODIES)), 8.0)
    for i, name in enumerate(ANTIBODIES):
        on = [name in SHOWN[lineage] for lineage in raw.obs["lineage"]]
        mean[:, i] *= np.where(on, 20 * rng.lognormal(0, 0.4, raw.n_obs), 1.0)
    # Cells bind a little of everything.
    mean *= np.where(raw.obs["is_cell"], rng.lognormal(0.4, 0.3, raw.n_obs), 1.0)[:, None]
    raw = raw.copy()
    raw.obsm["protein"] = pd.DataFrame(rng.poisson(mean), raw.obs_names, ANTIBODIES)
    return raw


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("CD3", "CD3"),
        ("CD3_TotalSeqB", "CD3"),
        ("CD3E", "CD3"),
        ("anti-human CD3", "CD3"),
        ("Hu.CD3", "CD3"),
        ("Hu.CD3_UCHT1", "CD3"),
        ("CD3 (UCHT1)", "CD3"),
        ("ADT_CD3", "CD3"),
        ("CD8a_TotalSeqB", "CD8"),
        ("CD14.1", "CD14"),
        ("TotalSeq-C CD3", "CD3"),
        ("TotalSeq™-C0034 anti-human CD3", "CD3"),
        ("TCR-ab", "TCRAB"),
        ("TCR_ab", "TCRAB"),
        ("CD16a", "CD16"),
        ("CD 3", "CD3"),
        ("CD-19", "CD19"),
        ("CD19-TotalSeqC", "CD19"),
        ("EpCAM", "CD326"),
        ("CD326 (EpCAM)", "CD326"),
        ("TCR α/β", "TCRAB"),
        ("CD45RA_TotalSeqB", "CD45RA"),
        ("CD34", "CD34"),
        ("CD30", "CD30"),
        ("HLA-DR", "HLA-DR"),
        ("ADT_A0034_CD3", "CD3"),
        ("C0034-CD3-UCHT1", "CD3"),
        ("TotalSeqC0034_anti-human_CD3", "CD3"),
        ("CD3:UCHT1|CD3E|AHS0231|pAbO", "CD3"),
        ("PROT-CD19", "CD19"),
        ("hCD14", "CD14"),
        ("Glycophorin_A", "CD235A"),
    ],
)
def test_antibodies_are_known_by_whatever_name(name: str, wanted: str) -> None:
    """Kits, clones, species and gene symbols give the antigen; CD30 and CD34 are not CD3."""
    assert antigen(name) == wanted


def test_isotype_controls_are_known() -> None:
    """Isotypes bind nothing and never assign a cell."""
    assert all(
        map(is_isotype, ["IgG1_control_TotalSeqB", "Isotype_MOPC.21", "mouse IgG2a", "Rat-IgG1"])
    )
    assert all(map(is_isotype, ["hIgG1", "IgG.kappa", "HAIgG", "Armenian.Hamster.IgG", "MOPC-21"]))
    assert not any(map(is_isotype, ["CD3", "CD64", "HLA-DR", "CD16", "mIgM", "IgD"]))


def test_the_gates_find_the_lineage_with_and_without_empty_droplets() -> None:
    """300 cells of simulated urine: at least 97 % of assigned cells right, at least 95 % of those stained assigned."""
    raw = stained(urine(300, 1000, seed=2))
    truth = raw.obs["lineage"].replace(
        {"plasma": "B", "kidney": "epithelial", "urogenital": "epithelial"}
    )
    sample = raw[raw.obs["is_cell"]].copy()
    truth = truth[raw.obs["is_cell"]]
    protein_background(sample, raw, raw.obs["is_cell"].to_numpy())
    for background in (None, sample.uns["protein_background"]):
        found = gate(sample.obsm["protein"], background)
        assigned = ~found.isin(["", CONFLICT])
        assert (found == truth)[assigned].mean() >= 0.97
        assert assigned.mean() >= 0.95


def test_eight_cells_are_gated_against_their_empty_droplets() -> None:
    """Eight cells have no modes: without droplets nothing is assigned, with them all but one are, rightly."""
    raw = stained(urine(8, 1000, seed=6))
    sample = raw[raw.obs["is_cell"]].copy()
    assert (gate(sample.obsm["protein"]) == "").all()
    protein_background(sample, raw, raw.obs["is_cell"].to_numpy())
    found = gate(sample.obsm["protein"], sample.uns["protein_background"])
    truth = sample.obs["lineage"].replace({"kidney": "epithelial", "urogenital": "epithelial"})
    assert (found == truth).sum() >= 7


def test_a_protein_that_no_cell_shows_has_no_gate() -> None:
    """One mode is not cut in two, and isotypes have no limit."""
    rng = np.random.default_rng(1)
    counts = pd.DataFrame({"CD19": rng.poisson(9, 300), "IgG1 isotype": rng.poisson(9, 300)})
    assert limits(counts).isna().all()
    assert (gate(counts) == "").all()


def test_the_way_from_the_matrix_to_the_cohort(tmp_path: Path) -> None:
    """A stained sample and one without antibodies: raw counts and lineage of each cell, and a file that reads back."""
    raw = stained(urine(90, 600, seed=8))
    made = {
        "one": sample_cells(raw, "one", car=CAR),
        "two": sample_cells(urine(60, 600, seed=9), "two", car=CAR),
    }
    parts = []
    for name, part in made.items():
        write_h5ad(part.cells, tmp_path / f"{name}.h5ad")
        parts.append(ad.read_h5ad(tmp_path / f"{name}.h5ad"))
    cohort = cells.annotate(cells.combine(parts))
    assert not set(ANTIBODIES) & set(cohort.var_names)
    backed = (ad.read_h5ad(tmp_path / f"{name}.h5ad", backed="r") for name in made)
    cells.add_protein(cohort, backed)
    write_h5ad(cohort, tmp_path / "cohort.h5ad")
    back = ad.read_h5ad(tmp_path / "cohort.h5ad")
    one = (back.obs["sample"] == "one").to_numpy()
    barcodes = back.obs["barcode"][one].astype(str)
    assert (back.obsm["protein"][one] == raw.obsm["protein"].loc[barcodes].to_numpy()).all(
        axis=None
    )
    assert back.obsm["protein"][~one].isna().all(axis=None)
    assert (back.obs["protein_lineage"][~one] == "").all()
    table = cells.protein_agreement(cohort.obs)
    assert list(table["sample"].unique()) == ["one"]
    whole = table.set_index("protein_lineage").loc["all"]
    assert whole["n_cells"] >= 75
    assert whole["agreement"] >= 0.95


def test_antibodies_of_10x_files_stay_out_of_the_genes(tmp_path: Path) -> None:
    """10x h5 and mtx folder: antibodies in `obsm`, hashtags dropped, genes untouched."""
    rng = np.random.default_rng(0)
    dense = rng.poisson(1.0, (40, 7))
    dense[3, :4] = 0
    names = ["CD3E", "LYZ", "ALB", "NKG7", "CD3_TotalSeqB", "CD14_TotalSeqB", "Hashtag1"]
    kinds = ["Gene Expression"] * 4 + ["Antibody Capture"] * 2 + ["Multiplexing Capture"]
    barcodes = [f"{'ACGT' * 3}{i:04d}-1" for i in range(40)]
    with h5py.File(tmp_path / "raw.h5", "w") as file:
        group = file.create_group("matrix")
        columns = sparse.csr_matrix(dense)
        for key, value in (
            ("data", columns.data),
            ("indices", columns.indices),
            ("indptr", columns.indptr),
        ):
            group[key] = value
        group["shape"] = (7, 40)
        group["barcodes"] = np.array(barcodes, dtype="S")
        features = group.create_group("features")
        features["id"] = np.array([f"ID{i}" for i in range(7)], dtype="S")
        features["name"] = np.array(names, dtype="S")
        features["feature_type"] = np.array(kinds, dtype="S")
        features["genome"] = np.array(["GRCh38"] * 7, dtype="S")
    adata = read_counts(tmp_path / "raw.h5")
    assert list(adata.var_names) == names[:4]
    assert list(adata.obsm["protein"].columns) == names[4:6]
    assert barcodes[3] not in adata.obs_names
    rows = [barcodes.index(b) for b in adata.obs_names]
    assert np.array_equal(adata.obsm["protein"].to_numpy(), dense[rows, 4:6])
    assert np.array_equal(adata.X.toarray(), dense[rows, :4])


def test_disagreement_is_an_alert(tmp_path: Path) -> None:
    """8 of 20 cells annotated otherwise: a warning that names the share; 10 of 10 alike: none."""
    results = write_study(tmp_path / "results")
    table = pd.DataFrame(
        {
            "sample": ["P01_urine_D28", "P01_blood_D28"],
            "protein_lineage": "all",
            "n_cells": [20, 10],
            "n_agree": [12, 10],
            "agreement": [0.6, 1.0],
            "n_unknown": 0,
            "else_annotated": ["myeloid 8", ""],
        }
    )
    write_table(table, results / "cohort" / "protein_agreement.tsv", PROTEIN_AGREEMENT)
    found = [a for a in alerts.alerts(read_study(results)) if "surface proteins" in a.message]
    assert [a.where for a in found] == ["P01_urine_D28"]
    assert "60" in found[0].message
    assert "myeloid 8" in found[0].message


def test_real_surface_proteins_agree_with_the_annotation(shared: Path) -> None:
    """CITE-seq PBMC: automatic gates assign at least 185 of 200 cells, and the lineage agrees in 96 % or more."""
    cite = ad.read_h5ad(shared / "real_pbmc" / "pbmc_10k_protein_v3.h5ad")
    cite.var_names_make_unique()
    cite.X = sparse.csr_matrix(cite.X)
    cite.obsm["protein"] = pd.DataFrame(
        np.asarray(cite.obsm["protein_expression"]), cite.obs_names, list(cite.uns["protein_names"])
    )
    cite.obs["sample"], cite.obs["is_doublet"] = "S", False
    cells.annotate(cite)
    cite.obs["protein_lineage"] = gate(cite.obsm["protein"])
    whole = cells.protein_agreement(cite.obs).iloc[0]
    assert whole["n_cells"] >= 185
    assert whole["agreement"] >= 0.96


@pytest.mark.parametrize("own", [("CD3", 334, "T"), ("CD19", 100, "B"), ("CD56", 75, "NK")])
def test_cells_of_one_lineage_alone_show_its_proteins(
    shared: Path, own: tuple[str, float, str]
) -> None:
    """Sorted cells: their own protein has no second mode, the noise of others had (5 NK cells and no B cell)."""
    cite = ad.read_h5ad(shared / "real_pbmc" / "pbmc_10k_protein_v3.h5ad")
    names = [antigen(name) for name in cite.uns["protein_names"]]
    counts = pd.DataFrame(np.asarray(cite.obsm["protein_expression"]), cite.obs_names, names)
    name, least, lineage = own
    others = [other for other in ("CD3", "CD14") if other != name]
    alone = counts[(counts[name] > least) & (counts[others] < 100).all(axis=1)]
    alone = alone.sample(100, replace=True, random_state=0).set_axis(range(100))
    found = gate(alone[["CD3", "CD14", "CD16", "CD19", "CD56", "CD45RA"]])
    assert (found == lineage).sum() >= 90
    assert found.isin([lineage, "", "conflict"]).sum() >= 97
