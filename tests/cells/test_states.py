"""Phases of the cell cycle and states of T cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq import cells
from carseq.cells import states
from carseq.data import path as data_path
from cell_samples import named
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
