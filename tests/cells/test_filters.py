"""Filters know lineages, tell what they do to CAR-bearing cells, and empty no sample."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import sparse

from carseq import cells
from carseq.cells.intact import intactness
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


@pytest.mark.parametrize(
    ("step", "lineage"), [("too few genes", "myeloid"), ("too many mitochondrial UMIs", "kidney")]
)
def test_a_lineage_lost_to_any_filter_is_handed_on(step: str, lineage: str) -> None:
    """Neutrophils poor in RNA and tubule cells rich in mitochondria, beside eight T cells: the log alone told of it."""
    sample = cells.quality(named(urine(60, 0, depth=3_000, types={"CD8 T cell": 1.0})))
    own = np.arange(sample.n_obs) < 8
    sample.obs["lineage"] = np.where(own, lineage, "T")
    sample.obs["n_genes"] = np.where(own & (step == "too few genes"), 90, 900)
    sample.obs["pct_mito"] = np.where(own & (step != "too few genes"), 42.0, 4.0)
    kept, _ = cells.filter_cells(sample)
    hit = kept.uns["lineages_hit"]
    assert [list(hit[name]) for name in ("step", "lineage", "n", "n_removed")] == [
        [step],
        [lineage],
        [8],
        [8],
    ]


def test_shares_of_genes_that_the_matrix_lacks_are_missing() -> None:
    """A matrix of nuclear protein-coding genes alone: 0 % mitochondrial UMIs stood beside each cell, as if measured."""
    sample = named(urine(60, 0, depth=1_500))
    lacking = ("MT-", "RPL", "RPS", "HB", "MALAT1", "NEAT1")
    sample = sample[:, ~sample.var_names.str.startswith(lacking)].copy()
    intactness(cells.quality(sample))
    assert sample.obs[["pct_mito", "pct_hb", "pct_ribo", "pct_nuclear"]].isna().all(axis=None)
    kept, table = cells.filter_cells(sample)
    assert kept.n_obs
    assert table.set_index("step").loc["too many mitochondrial UMIs", "n_removed"] == 0


def test_a_sample_of_few_cells_follows_its_own_kit() -> None:
    """Fresh blood at 11 % mitochondrial UMIs: of 400 cells all were kept, of 20 of three lineages four."""
    rng = np.random.default_rng(8)
    blood = cells.quality(named(urine(20, 0, depth=3_000, types={"CD8 T cell": 1.0})))
    blood.obs["pct_mito"] = rng.normal(11.5, 1.5, blood.n_obs)
    blood.obs["lineage"] = np.resize(["T", "B", "myeloid"], blood.n_obs)
    kept, _ = cells.filter_cells(blood)
    assert kept.n_obs == blood.n_obs
    # Broken cells among few whole ones still go.
    blood.obs["pct_mito"] = np.where(
        np.arange(blood.n_obs) < 5, 35.0, rng.normal(4, 1, blood.n_obs)
    )
    kept, _ = cells.filter_cells(blood)
    assert kept.n_obs == blood.n_obs - 5
