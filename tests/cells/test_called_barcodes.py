"""Cells told from empty droplets."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq import cells
from carseq.errors import CarseqError
from helpers_cells import CAR, urine

NEUTROPHILS = {"neutrophil": 0.85, "macrophage": 0.1, "CD8 T cell": 0.05}


def test_calls_all_cells_of_a_normal_sample(demo: tuple[ad.AnnData, pd.DataFrame]) -> None:
    """Median depth 1,800: at least 95 % of all cells called, at most 1 % of calls empty."""
    raw, calls = demo
    truth, called = raw.obs["is_cell"].to_numpy(), calls["is_cell"].to_numpy()
    assert called[truth].mean() >= 0.95
    assert (called & ~truth).sum() <= 0.01 * called.sum()
    assert list(calls.columns) == [
        "total_umis",
        "n_genes",
        "p_empty",
        "q_empty",
        "is_cell",
        "reason",
    ]


@pytest.mark.parametrize(
    ("n_cells", "n_empty", "depth", "ambient", "types"),
    [
        (30, 20_000, 300, (20, 150), None),
        (2_000, 4_000, 300, (20, 100), None),
        (300, 4_000, 500, (20, 150), NEUTROPHILS),
        (8, 4_000, 1_500, (20, 150), None),
        (500, 4_000, 1_800, (1, 5), None),
    ],
)
def test_calls_cells_above_500_umis(
    n_cells: int, n_empty: int, depth: float, ambient: tuple[int, int], types: dict | None
) -> None:
    """From 8 to thousands of cells, shallow or not: >= 95 % above 500 UMIs, <= 1 % empty."""
    raw = urine(n_cells, n_empty, depth=depth, ambient=ambient, types=types, seed=n_cells)
    calls = cells.call_barcodes(raw)
    truth, called = raw.obs["is_cell"].to_numpy(), calls["is_cell"].to_numpy()
    large = truth & (calls["total_umis"] > 500).to_numpy()
    assert called[large].mean() >= 0.95
    assert (called & ~truth).sum() <= 0.01 * max(called.sum(), 1)


@pytest.mark.parametrize("n_cells", [30, 600])
def test_barcodes_of_index_hopping_are_not_taken_for_the_empty_droplets(n_cells: int) -> None:
    """Thousands of barcodes of other libraries with 1 to 40 UMIs lie below the empty droplets of 100 to 400."""
    raw = urine(n_cells, 3000, depth=2500, ambient=(100, 400), seed=5)
    other = urine(600, 4000, depth=2500, ambient=(100, 400), seed=6)
    rng = np.random.default_rng(7)
    other.X.data = rng.binomial(other.X.data.astype(int), 0.015).astype(other.X.dtype)
    other = other[np.asarray(other.X.sum(axis=1)).ravel() > 0].copy()
    other.obs["is_cell"] = False
    other.obs_names = [f"hopped-{i}" for i in range(other.n_obs)]
    both = ad.concat([raw, other], merge="same")
    calls = cells.call_barcodes(both)
    truth, called = both.obs["is_cell"].to_numpy(bool), calls["is_cell"].to_numpy()
    assert 150 < calls.attrs["ambient_max"] < 500
    assert called[truth & (calls["total_umis"] > 1000).to_numpy()].mean() >= 0.95
    assert (called & ~truth).sum() <= 0.02 * called.sum()


def test_monte_carlo_finds_shallow_cells_of_their_own_kind() -> None:
    """Small cells unlike ambient RNA are called by their profile, and reproducibly."""
    raw = urine(200, 3000, depth=600, ambient=(100, 400), contamination=0.02, seed=4)
    first, second = (cells.call_barcodes(raw) for _ in range(2))
    assert (first["reason"] == "counts differ from ambient RNA").sum() > 40
    pd.testing.assert_frame_equal(first, second)
    truth = raw.obs["is_cell"].to_numpy()
    # The test is calibrated: p of empty droplets is uniform.
    assert first["p_empty"][~truth].median() == pytest.approx(0.5, abs=0.1)
    assert (first["is_cell"].to_numpy() & ~truth).sum() <= max(1, 0.01 * first["is_cell"].sum())


@pytest.mark.parametrize("kind", ["none", "one", "ones", "shallow", "constant"])
def test_calling_never_crashes(kind: str) -> None:
    """No barcode, one barcode, one UMI each, median 5 UMIs a cell, all alike."""
    rng = np.random.default_rng(0)
    single = np.eye(60)[rng.integers(0, 60, 4000)]
    made = {
        "none": np.zeros((0, 60)),
        "one": rng.poisson(5, (1, 60)),
        "ones": single,
        "shallow": np.vstack([rng.poisson(5 / 60, (800, 60)), single]),
        "constant": np.full((300, 60), 3),
    }[kind]
    made = made[made.sum(axis=1) > 0]
    calls = cells.call_barcodes(ad.AnnData(sparse.csr_matrix(made.astype(np.float32))))
    assert len(calls) == len(made)
    assert calls["is_cell"].dtype == bool
    assert len(cells.knee_table(calls)) <= max(len(made), 1)


def test_takes_the_users_barcodes(demo: tuple[ad.AnnData, pd.DataFrame]) -> None:
    """The user's list is taken as it is; a list that does not fit is an error."""
    raw, _ = demo
    calls = cells.call_barcodes(raw, barcodes=raw.obs_names[:7])
    assert calls["is_cell"].sum() == 7
    with pytest.raises(CarseqError, match="none of the given"):
        cells.call_barcodes(raw, barcodes=["nowhere-1"])


def test_knee_table_keeps_uncalled_car_barcodes(demo: tuple[ad.AnnData, pd.DataFrame]) -> None:
    """Down-sampling keeps every CAR-bearing barcode below the cut."""
    raw, calls = demo
    car = pd.Series(np.asarray(raw[:, CAR].X.todense()).ravel(), raw.obs_names)
    table = cells.knee_table(calls, max_points=100, car=car)
    hidden = set(car.index[(car > 0) & ~calls["is_cell"]])
    assert hidden
    assert hidden <= set(table["barcode"])
    assert len(table) <= 100 + len(hidden)
    assert table["rank"].is_monotonic_increasing
