"""Samples brought together, and how well they mix."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq import cells
from carseq.cells.clusters import keep_compiled
from carseq.cells.latent import feature_genes
from carseq.cells.markers import CROSS_TALK, informative_genes
from carseq.cells.training import import_scvi, log_negative_binomial, on_gpu_or_cpu
from carseq.errors import CarseqError
from cell_samples import named
from helpers_cells import CAR, urine


def test_mixing_tells_joined_samples_from_apart() -> None:
    """Samples strewn over each other score near 1, shifted ones near 0; types the other way about."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {"sample": np.tile(["a", "b"], 150), "cell_type": np.repeat(["x", "y", "z"], 100)}
    )
    obs["lineage"], obs["leiden"] = "T", obs["cell_type"]
    cohort = ad.AnnData(obs=obs.set_index(obs.index.astype(str)))
    place = rng.normal(0, 1, (300, 4)) + 12 * pd.factorize(obs["cell_type"])[0][:, None]
    shift = 100 * pd.factorize(obs["sample"])[0][:, None]
    table = cells.mixing(cohort, {"joined": place, "apart": place + shift})
    value = table.set_index(["space", "figure"])["value"]
    assert value["joined", "sample mixing"] >= 0.8
    assert value["apart", "sample mixing"] <= 0.1
    assert value["joined", "sample silhouette"] > value["apart", "sample silhouette"] + 0.5
    assert value["joined", "type separation"] >= 0.95
    assert value["clusters", "type agreement"] == pytest.approx(1)
    assert cells.mixing(cohort[:30], {"joined": place[:30]}).empty


def test_combine_joins_unlike_samples() -> None:
    """Different genes, a sample without cells: counts kept, absent genes 0, names unique."""
    one, two = named(urine(20, 0, seed=1), "one"), named(urine(30, 0, seed=2), "two")
    two = two[:, two.var_names[::-1]][:, 5:].copy()
    none = named(urine(5, 0), "none")[:0].copy()
    both = cells.combine([one, none, two])
    assert both.n_obs == 50
    assert both.obs_names[0] == f"one:{one.obs_names[0]}"
    assert set(both.var_names) == set(one.var_names)
    assert both.uns["car"] == CAR
    again = both[20:, two.var_names].layers["counts"]
    assert np.array_equal(again.toarray(), two.X.toarray())
    assert both.var.loc[CAR, "gene_id"] == one.var.loc[CAR, "gene_id"]
    assert np.expm1(both.X[0].toarray()).sum() == pytest.approx(1e4, rel=1e-3)
    assert cells.combine([none]).n_obs == 0
    with pytest.raises(CarseqError, match="share a name"):
        cells.combine([one, one])


@pytest.mark.parametrize("n_cells", [0, 1, 3, 8, 50])
def test_any_number_of_cells_gets_through(n_cells: int, tmp_path: Path) -> None:
    """From no cell to fifty: clusters, map, types, states, filters and a file that can be written."""
    sample = named(urine(max(n_cells, 1), 0, seed=7))[:n_cells].copy()
    truth = sample.obs["lineage"].to_numpy(str)
    cohort = cells.combine([cells.doublets(cells.quality(sample))])
    key = cells.integrate(cohort, "scvi")
    assert key == "X_pca"
    cells.annotate(cells.cluster(cohort, key))
    assert cohort.obsm["X_umap"].shape == (n_cells, 2)
    assert (cohort.obs["lineage"].to_numpy(str) == truth).sum() >= 0.9 * n_cells
    kept, _ = cells.filter_cells(cohort)
    cells.t_states(kept)
    kept.write_h5ad(tmp_path / "kept.h5ad")


def test_the_car_is_no_feature() -> None:
    """Neither the CAR nor genes its reads may land on describe a cell."""
    sample = named(urine(60, 0))
    at = sample.var_names.get_loc(CAR)
    loud = sample.X.tolil()
    loud[::2, at] = 500
    sample.X = sparse.csr_matrix(loud)
    names = set(sample.var_names[feature_genes(sample, n_genes=300)])
    assert not names & (CROSS_TALK | {CAR})
    assert not informative_genes(sample)[at]
    quiet = sample.copy()
    loud[:, at] = 0
    quiet.X = sparse.csr_matrix(loud)
    for s in (sample, quiet):
        cells.annotate(s)
    assert (sample.obs["lineage"] == quiet.obs["lineage"]).mean() >= 0.95


@pytest.mark.parametrize("of_cells", [False, True])
def test_the_likelihood_of_few_counts_is_scvis(of_cells: bool) -> None:
    """Value and gradients, with an inverse dispersion by gene or by cell and gene: to five digits."""
    import_scvi()
    import torch
    from scvi.distributions._negative_binomial import log_nb_positive

    torch.manual_seed(5)
    x = torch.poisson(torch.full((40, 60), 0.3))
    mu = (2 * torch.rand(40, 60)).requires_grad_()
    theta = torch.rand(*((40, 60) if of_cells else (60,))).exp().requires_grad_()
    results = []
    for log_likelihood in (log_nb_positive, log_negative_binomial):
        own = log_likelihood(x, mu, theta.expand(40, 60))
        results.append([own, *torch.autograd.grad(own.sum(), [mu, theta])])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_scvi_is_reproducible_and_leaves_the_car_alone() -> None:
    """The same seed gives the same latent space and clusters; counts are untouched."""
    both = cells.combine([named(urine(150, 0, seed=1), "one"), named(urine(150, 0, seed=2), "two")])
    before = both.layers["counts"].copy()
    runs = []
    for _ in range(2):
        key = cells.integrate(both, "scvi", seed=3, threads=1, max_epochs=3)
        assert key == "X_scVI"
        cells.cluster(both, key, seed=3)
        runs.append((both.obsm[key].copy(), both.obs["leiden"].to_numpy(str).copy()))
    assert np.array_equal(runs[0][0], runs[1][0])
    assert (runs[0][1] == runs[1][1]).all()
    assert (before != both.layers["counts"]).nnz == 0


def test_harmony_joins_two_samples() -> None:
    """Harmony gives a latent space of the cells' number; one sample needs none."""
    both = cells.combine([named(urine(60, 0, seed=1), "one"), named(urine(60, 0, seed=2), "two")])
    assert cells.integrate(both, "harmony") == "X_harmony"
    assert both.obsm["X_harmony"].shape[0] == 120
    assert cells.integrate(both[both.obs["sample"] == "one"].copy(), "harmony") == "X_pca"
    with pytest.raises(CarseqError, match="unknown integration"):
        cells.integrate(both, "magic")  # type: ignore[arg-type]


def test_neighbours_of_9000_cells_are_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 8,192 cells scanpy would take pynndescent, which compiles itself for 40 s in each process."""
    keep_compiled()
    import pynndescent
    import scanpy as sc

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("pynndescent was taken")

    monkeypatch.setattr(pynndescent, "PyNNDescentTransformer", refuse)
    monkeypatch.setattr(sc.tl, "umap", lambda adata, **_: None)
    rng = np.random.default_rng(0)
    many = ad.AnnData(sparse.csr_matrix((9000, 3), dtype=np.float32))
    places = (rng.normal(0, 1, (9000, 5)) + 8 * rng.integers(0, 3, (9000, 1))).astype(np.float32)
    many.obsm["X_pca"] = places
    cells.cluster(many, "X_pca")
    found = many.obsp["distances"]
    assert many.obsp["connectivities"].shape == (9000, 9000)
    for i in range(0, 9000, 900):
        nearest = np.sort(np.linalg.norm(places - places[i], axis=1))[1:]
        own = np.sort(found[i].data[found[i].data > 0])
        assert own.size >= 14
        np.testing.assert_allclose(own, nearest[: own.size], atol=1e-3)


@pytest.mark.parametrize("gpu", [True, False])
def test_a_gpu_that_fails_leaves_learning_to_the_cpu(
    gpu: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a GPU without memory left the cohort ended in a traceback; without a GPU there is nothing to fall back to."""
    import torch

    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    tried = []

    def learn(accelerator: str) -> str:
        tried.append(accelerator)
        if accelerator != "cpu":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return "learnt"

    if not gpu:
        with pytest.raises(torch.OutOfMemoryError):
            on_gpu_or_cpu(learn)
        assert tried == ["auto"]
        return
    with caplog.at_level("WARNING", logger="carseq"):
        assert on_gpu_or_cpu(learn) == "learnt"
    assert tried == ["auto", "cpu"]
    assert "failed on the GPU (CUDA out of memory." in caplog.text
