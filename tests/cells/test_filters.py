"""Filters know lineages, tell what they do to CAR-bearing cells, and empty no sample."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from scipy import sparse

from carseq import cells
from cell_samples import named
from helpers_cells import CAR, urine


def test_import_is_quick() -> None:
    """`import carseq.cells` loads neither scanpy nor torch."""
    code = "import sys, carseq.cells; print([m for m in ('scanpy', 'torch') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_filters_know_lineages_and_report_car_bearing_cells() -> None:
    """15 % mito is too much for a T cell; a removed CAR-bearing cell is named."""
    sample = named(urine(300, 0, types={"CD8 T cell": 0.5, "proximal tubule cell": 0.5}))
    x = sample.X.tolil()
    mito, car = sample.var_names.get_loc("MT-CO1"), sample.var_names.get_loc(CAR)
    total = np.asarray(sample.X.sum(axis=1)).ravel()
    raised = {k: np.flatnonzero(sample.obs["lineage"] == k)[:5] for k in ("T", "kidney")}
    for rows in raised.values():
        for i in rows:
            x[i, mito] = round(total[i] * 0.15)
            x[i, car] = 3
    sample.X = sparse.csr_matrix(x)
    kept, table = cells.filter_cells(cells.quality(sample))
    out = (sample.obs["qc_reason"] == "too many mitochondrial UMIs").to_numpy()
    assert out[raised["T"]].all()
    assert out.mean() < 0.1
    row = table.set_index("step").loc["too many mitochondrial UMIs"]
    assert row["n_car_bearing_removed"] >= 5
    assert len(row["car_bearing_removed"].split(",")) == row["n_car_bearing_removed"]
    named_out = table["removed"].str.split(",").explode()
    assert set(named_out[named_out != ""]) == set(sample.obs_names[sample.obs["qc_reason"] != ""])
    assert set(row["car_bearing_removed"].split(",")) <= set(row["removed"].split(","))
    assert table["n_after"].iloc[-1] == kept.n_obs
    assert CAR in kept.var_names


def test_a_shallow_sample_is_not_emptied() -> None:
    """Where the median cell has fewer genes than the limit, the limit gives way."""
    sample = named(urine(60, 0, depth=120))
    assert np.median(cells.quality(sample).obs["n_genes"]) < 200
    kept, _ = cells.filter_cells(sample)
    assert kept.n_obs >= 0.8 * sample.n_obs
