"""Phases of the cell cycle and states of T cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq import cells
from carseq.cells import states
from carseq.data import path as data_path
from carseq.io.genes import marker_genes
from cell_samples import PBMC, named
from helpers_cells import urine


def test_cell_cycle_finds_raised_phases() -> None:
    """Cells with raised S or G2M genes get that phase; without such genes there is none."""
    sample = cells.combine([named(urine(200, 0, depth=4000))])
    table = pd.read_csv(data_path("markers/cell_cycle.tsv"), sep="\t")
    assert cells.cell_cycle(sample.copy()).obs["phase"].eq("").all()
    spare = [name for name in sample.var_names if name.startswith("GENE")]
    sample.var_names = pd.Index(
        [dict(zip(spare, table["gene"], strict=False)).get(n, n) for n in sample.var_names]
    )
    x = sample.X.tolil()
    for phase, rows in (("S", range(10)), ("G2M", range(10, 20))):
        for gene in table.loc[table["phase"] == phase, "gene"]:
            for row in rows:
                x[row, sample.var_names.get_loc(gene)] = 4.0
    sample.X = sparse.csr_matrix(x)
    cells.cell_cycle(sample)
    assert (sample.obs["phase"].iloc[:10] == "S").sum() >= 9
    assert (sample.obs["phase"].iloc[10:20] == "G2M").sum() >= 9


@pytest.mark.parametrize("together", [1000, 60])
def test_cell_cycle_without_x_is_that_of_the_counts(
    monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    """Scores are, to the bit, those of log counts in X, in one part or in several; the counts stay as they are."""
    monkeypatch.setattr(states, "MAX_CELLS_SCORED", together)
    sample = cells.combine([named(urine(200, 0, depth=4000))])
    genes = pd.read_csv(data_path("markers/cell_cycle.tsv"), sep="\t")["gene"]
    spare = [name for name in sample.var_names if name.startswith("GENE")]
    sample.var_names = pd.Index(
        [dict(zip(spare, genes, strict=False)).get(n, n) for n in sample.var_names]
    )
    bare = sample.copy()
    bare.X = None
    before = bare.layers["counts"].copy()
    wanted, found = cells.cell_cycle(sample), cells.cell_cycle(bare)
    assert wanted.obs["S_score"].notna().all()
    pd.testing.assert_frame_equal(found.obs, wanted.obs, check_exact=True)
    assert bare.X is None
    assert (bare.layers["counts"] != before).nnz == 0


def test_t_states_find_raised_signatures() -> None:
    """A signature raised in ten T cells is their state; cells other than T have none."""
    sample = named(urine(200, 0, depth=3000, types={"CD4 T cell": 0.7, "macrophage": 0.3}))
    signatures = cells.read_signatures()
    sample.var_names = [
        *signatures.loc[~signatures["gene"].isin(sample.var_names), "gene"],
        *sample.var_names[(~signatures["gene"].isin(sample.var_names)).sum() :],
    ]
    genes = signatures.loc[signatures["state"] == "proliferating", "gene"]
    rows = np.flatnonzero(sample.obs["lineage"] == "T")[:10]
    x = sample.X.tolil()
    for gene in genes:
        column = sample.var_names.get_loc(gene)
        x[:, column] = 0
        for row in rows:
            x[row, column] = 4
    sample.X = sparse.csr_matrix(x)
    cells.t_states(sample, seed=1)
    assert (sample.obs["t_state"].iloc[rows] == "proliferating").sum() >= 9
    assert (sample.obs["t_state"][sample.obs["lineage"] != "T"] == "").all()
    assert sample.obs["score_proliferating"][sample.obs["lineage"] == "T"].notna().all()


def _t_cells(n: int, rates: dict[str, float], seed: int = 1) -> ad.AnnData:
    """Return T cells of 3,000 UMIs that all show some genes at so many UMIs per 10,000, beside 600 others."""
    rng = np.random.default_rng(seed)
    others = [f"GENE{i}" for i in range(600)]
    genes = [*dict.fromkeys([*cells.read_signatures()["gene"], *rates]), *others]
    level = pd.Series(0.02, genes)
    level[others] = 10 * rng.lognormal(0, 1.5, len(others))
    level[list(rates)] = list(rates.values())
    counts = rng.poisson(3000 * level / level.sum(), (n, len(genes))).astype(np.float32)
    obs = pd.DataFrame({"lineage": "T"}, index=[f"c{i}" for i in range(n)])
    return ad.AnnData(sparse.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=genes))


def test_a_product_of_which_all_cells_divide_is_proliferating() -> None:
    """Genes that all T cells show stood out of no control of like mean: 7 in 100 dividing cells were told."""
    genes = ("MKI67", "TOP2A", "TYMS", "RRM2", "BIRC5", "UBE2C", "CDK1", "TPX2", "NUSAP1", "CENPF")
    product = cells.t_states(_t_cells(60, dict.fromkeys(genes, 6.0)))
    assert (product.obs["t_state"] == "proliferating").mean() >= 0.9
    one_gene = cells.t_states(_t_cells(60, {"UBE2S": 6.0}))
    assert (one_gene.obs["t_state"] != "proliferating").all()


@pytest.mark.parametrize(
    ("state", "raised"),
    [
        ("tissue-resident", {"CD69": 12, "RGS1": 8, "FOS": 30, "JUN": 30, "HSPA1A": 30}),
        ("tissue-resident", {"XCL1": 10, "CRTAM": 8, "CD69": 6, "TNFRSF9": 6, "IFNG": 8}),
        ("exhausted", {"LAG3": 10, "HAVCR2": 8, "PDCD1": 6, "TIGIT": 6, "TNFRSF9": 8, "GZMB": 20}),
    ],
)
def test_stress_and_activation_are_no_other_state(state: str, raised: dict[str, float]) -> None:
    """A fifth of blood's T cells is handled roughly, or activated: these are neither tissue-resident nor exhausted."""
    resting, raised_cells = _t_cells(80, {}), _t_cells(20, raised, seed=2)
    both = ad.concat([resting, raised_cells], join="outer", fill_value=0, index_unique="-")
    cells.t_states(both)
    assert (both.obs["t_state"] != state).all()


@pytest.mark.parametrize(
    ("state", "raised"),
    [
        ("tissue-resident", {"ITGAE": 10, "ITGA1": 10, "CXCR6": 10, "ZNF683": 6}),
        ("exhausted", {"TOX": 20, "ENTPD1": 16, "CXCL13": 20, "LAYN": 12, "LAG3": 8, "GZMB": 20}),
        ("interferon-responsive", {"ISG15": 30, "IFIT3": 8, "MX1": 8, "IFI44L": 8, "IFI6": 10}),
    ],
)
def test_a_programme_is_told_in_all_cells_as_in_a_few(state: str, raised: dict[str, float]) -> None:
    """Whether one in ten or every T cell of a sample shows it."""
    every = cells.t_states(_t_cells(60, raised))
    assert (every.obs["t_state"] == state).mean() >= 0.85
    resting = cells.t_states(_t_cells(60, {}))
    assert (resting.obs["t_state"] != state).all()


@pytest.mark.skipif(not PBMC.exists(), reason="real PBMC data are not at ../shared/data/real_pbmc")
def test_deep_t_cells_of_healthy_blood_are_at_rest() -> None:
    """The T cells of PBMC 1k v3 at 6,500 UMIs: 7 in 100 were tissue-resident, 4 exhausted; hardly any at 1,000."""
    pbmc = ad.read_h5ad(PBMC / "pbmc1k_v3.h5ad")
    pbmc.var_names_make_unique()
    shows = {g: np.asarray(pbmc[:, g].X.sum(axis=1)).ravel() for g in ("CD3E", "TRAC", "LYZ")}
    blood = pbmc[(shows["CD3E"] + shows["TRAC"] >= 3) & (shows["LYZ"] <= 2)].copy()
    blood.X = sparse.csr_matrix(blood.X, dtype=np.float32)
    blood.obs["lineage"] = "T"
    state = cells.t_states(blood).obs["t_state"]
    assert len(state) > 400
    assert (state.isin(["tissue-resident", "exhausted", "proliferating"])).mean() <= 0.015
    # A panel of 700 genes, among them all of carseq's: a UMI is a larger part of a cell's.
    known = np.flatnonzero(pbmc.var_names.isin([*marker_genes()]))
    others = np.setdiff1d(np.arange(pbmc.n_vars), known)
    panel = blood[:, [*known, *np.random.default_rng(1).choice(others, 300, replace=False)]].copy()
    state = cells.t_states(panel).obs["t_state"]
    programmes = ["tissue-resident", "exhausted", "proliferating", "interferon-responsive"]
    assert state.isin(programmes).mean() <= 0.05
