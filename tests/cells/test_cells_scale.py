"""Many cells: what is done above a limit agrees with what is done below it, twice alike."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.linalg import subspace_angles
from sklearn.metrics import adjusted_rand_score

from carseq import cells
from carseq.cells import latent
from carseq.cells.counts import column_sums, log_normalised, row_blocks, take_rows
from carseq.io.h5ad import read_cells, read_parts, write_cells, write_h5ad
from helpers_cells import CAR, urine


@pytest.fixture(scope="module")
def cohort() -> ad.AnnData:
    """3,000 cells of three samples, one of them of 200."""
    samples = [urine(n, 0, depth=1000, seed=i) for i, n in enumerate((1800, 1000, 200))]
    for i, sample in enumerate(samples):
        sample.obs["sample"] = f"S{i}"
    return cells.combine(cells.quality(s) for s in samples)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_rows_kept_in_place_are_those_of_a_copy(share: float) -> None:
    """To the bit, also over blocks (100,000 rows each) and rows without entries; the memory is that of the matrix."""
    rng = np.random.default_rng(0)
    matrix = sparse.random(250_000, 6, 0.1, "csr", np.float32, rng=rng)
    kept = rng.random(matrix.shape[0]) < share
    wanted, held = matrix[kept], matrix.data
    found = take_rows(matrix, kept)
    assert found.shape == wanted.shape
    for name in ("data", "indices", "indptr"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name))
    assert not found.nnz or np.shares_memory(found.data, held)


def test_a_sketch_takes_small_samples_whole() -> None:
    """Of samples of 10, 100 and 1,000 cells a sketch of 300 takes 10, 100 and 190; the same twice."""
    groups = np.repeat([1, 0, 2], [100, 10, 1000])
    found = latent.choose_sketch(groups, 300, np.random.default_rng(0))
    assert np.bincount(groups[found]).tolist() == [10, 100, 190]
    assert (np.diff(found) > 0).all()
    assert np.array_equal(found, latent.choose_sketch(groups, 300, np.random.default_rng(0)))


def test_projected_components_are_the_dense_ones(
    cohort: ad.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PCA learnt from 2,999 of 3,000 cells and projected by blocks: axes within 2 degrees of PCA of all."""
    dense = latent.principal_components(cohort, n_pcs=8)
    monkeypatch.setattr(latent, "MAX_CELLS_SKETCH", cohort.n_obs - 1)
    monkeypatch.setattr(latent, "PROJECTED", 700)
    blocks = latent.principal_components(cohort, n_pcs=8)
    assert blocks.shape == dense.shape
    assert np.degrees(subspace_angles(dense, blocks)).max() < 2


def test_clusters_by_sketch_are_those_of_all(
    cohort: ad.AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clusters by a sketch of half of the cells agree with those by all (ARI >= 0.9), and so do cell types (97 %)."""
    found = []
    for limit in (None, 1500):
        if limit:
            monkeypatch.setattr(latent, "MAX_CELLS_SKETCH", limit)
        one = cohort.copy()
        cells.annotate(cells.cluster(one, cells.integrate(one, "none"), resolution=0.5))
        found.append(one)
    whole, sketch = found
    assert "sketch" not in whole.uns
    assert sketch.uns["sketch"]["n_cells"] == 1500
    assert np.isfinite(sketch.obsm["X_umap"]).all()
    assert adjusted_rand_score(whole.obs["leiden"], sketch.obs["leiden"]) >= 0.9
    assert (whole.obs["cell_type"] == sketch.obs["cell_type"]).mean() >= 0.97


@pytest.mark.parametrize("method", ["none", "harmony"])
@pytest.mark.parametrize("limit", [10_000, 300])
def test_two_runs_give_the_same_labels(
    cohort: ad.AnnData, monkeypatch: pytest.MonkeyPatch, method: str, limit: int
) -> None:
    """The same seed gives the same clusters, map and types, by a sketch or without."""
    monkeypatch.setattr(latent, "MAX_CELLS_SKETCH", limit)
    runs = []
    for _ in range(2):
        one = cohort[::6].copy()
        cells.annotate(cells.cluster(one, cells.integrate(one, method, seed=3), seed=3))  # type: ignore[arg-type]
        runs.append(one)
    for name in ("leiden", "cell_type", "cell_type_2"):
        assert (runs[0].obs[name] == runs[1].obs[name]).all()
    assert np.array_equal(runs[0].obsm["X_umap"], runs[1].obsm["X_umap"])


def test_scvi_learns_from_a_sketch(cohort: ad.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit scVI is trained on the sketch and encodes every cell, twice alike; it holds none after."""
    import scvi

    monkeypatch.setattr(latent, "MAX_CELLS_SKETCH", 400)
    monkeypatch.setattr(latent, "PROJECTED", 500)
    small = cohort[::3].copy()
    found = []
    held = (scvi.model.SCVI._setup_adata_manager_store, scvi.model.SCVI._per_instance_manager_store)
    before = [set(store) for store in held]
    for _ in range(2):
        key = cells.integrate(small, "scvi", seed=1, max_epochs=2)
        found.append(small.obsm[key].copy())
    assert [set(store) for store in held] == before
    assert small.uns["integration"]["n_learnt_from"] == 400
    assert found[0].shape == (small.n_obs, latent.N_LATENT)
    assert np.isfinite(found[0]).all()
    assert np.array_equal(found[0], found[1])


def test_blocks_of_rows_are_the_matrix() -> None:
    """Blocks of rows make the matrix again, and sums of columns go beyond what single precision counts."""
    matrix = sparse.random(1000, 40, 0.2, format="csr", random_state=0, dtype=np.float32)
    parts = [block for _, block in row_blocks(matrix, 300)]
    assert (sparse.vstack(parts) != matrix).nnz == 0
    large = sparse.csr_matrix(np.full((200_001, 1), 2.0**7, dtype=np.float32))
    large.data[-1] = 1
    assert column_sums(large)[0] == 200_000 * 2.0**7 + 1


def test_log_counts_share_the_places_of_counts(cohort: ad.AnnData) -> None:
    """X and counts of a cohort hold the places of their entries once; X is log1p of counts per 10,000."""
    counts = cohort.layers["counts"]
    assert np.shares_memory(cohort.X.indices, counts.indices)
    dense = counts[:50].toarray()
    expected = np.log1p(dense / dense.sum(axis=1, keepdims=True) * 1e4)
    assert np.allclose(cohort.X[:50].toarray(), expected, rtol=1e-5)
    some = log_normalised(counts[:50, :7], totals=dense.sum(axis=1))
    assert np.allclose(some.toarray(), expected[:, :7], rtol=1e-5)


def test_cells_written_like_another_file(cohort: ad.AnnData, tmp_path: Path) -> None:
    """`obs` and `uns` are replaced, all else is copied; the CAR's counts are read without the matrix."""
    one = cohort[:300].copy()
    one.obsm["X_umap"] = np.ones((300, 2), np.float32)
    one.obsm["lineage_probability"] = pd.DataFrame({"T": 0.7, "B": 0.3}, one.obs_names)
    write_h5ad(one, tmp_path / "one.h5ad")
    light = read_cells(tmp_path / "one.h5ad", genes=[CAR, "no such gene"])
    assert list(light.var_names) == [CAR]
    assert np.array_equal(
        light.layers["counts"].toarray(), one[:, [CAR]].layers["counts"].toarray()
    )
    parts = read_parts(tmp_path / "one.h5ad", "obs", "obsm/X_umap", "obsm/none")
    assert set(parts) == {"obs", "obsm/X_umap"}
    assert parts["obs"].equals(light.obs)
    light.obs["car_call"] = "negative"
    light.uns["car_model"] = {"mu": 0.5}
    write_cells(light, tmp_path / "one.h5ad", tmp_path / "two.h5ad")
    two = ad.read_h5ad(tmp_path / "two.h5ad")
    assert (two.obs["car_call"] == "negative").all()
    assert two.uns["car_model"]["mu"] == 0.5
    assert two.uns["car"] == CAR
    assert (two.X != one.X).nnz == 0
    assert (two.layers["counts"] != one.layers["counts"]).nnz == 0
    assert np.array_equal(two.obsm["X_umap"], one.obsm["X_umap"])
    assert read_cells(tmp_path / "two.h5ad").shape == (300, 0)
    assert list(two.uns["lineage_probability_names"]) == ["T", "B"]
    # As cellxgene does; a table in obsm would forbid it.
    two.obs.reset_index(drop=True, inplace=True)
    assert np.array_equal(two.obsm["lineage_probability"][0], [0.7, 0.3])
