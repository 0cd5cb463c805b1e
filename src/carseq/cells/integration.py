"""From samples to a cohort: one matrix, one latent space, clusters and a map."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from carseq.cells.annotation import (
    car_name,
    counts_of,
    informative_genes,
    log_normalised,
)
from carseq.errors import CarseqError
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.integration")

Method = Literal["scvi", "harmony", "none"]

#: Below this many cells a variational autoencoder learns noise: principal components instead.
MIN_CELLS_SCVI = 200
#: Below this many cells harmony's clusters are empty.
MIN_CELLS_HARMONY = 50
#: Below this many cells scVI's layers are too small to share: on a busy machine two threads that
#: wait for each other took minutes for what one does in seconds (measured, 906 cells).
MIN_CELLS_THREADS = 20_000
#: Genes that enter the latent space, and its dimensions.
N_GENES, N_LATENT, N_PCS = 2000, 10, 30
#: Below this many cells there is nothing to lay out.
MIN_CELLS_UMAP = 10


def combine(samples: Sequence[AnnData]) -> AnnData:
    """Join the samples of a cohort.

    Parameters
    ----------
    samples
        Cells × genes of each sample, raw counts in X (or `layers["counts"]`), with
        `obs["sample"]`; a sample may have no cells, and genes may differ (absent ones count 0).

    Returns
    -------
    AnnData
        All cells, indexed `sample:barcode`; `obs` as given and `barcode`; raw counts in
        `layers["counts"]`, log1p of counts per 10,000 in X; `var["gene_id"]` where given;
        `uns["car"]` from the samples.

    Raises
    ------
    CarseqError
        If there are no samples, one has cells but no `obs["sample"]`, two cells share a name or
        samples name different CARs.
    """
    import anndata as ad

    if not samples:
        raise CarseqError(
            "there are no samples to combine", "the list is empty", "give at least one"
        )
    parts = []
    for sample in samples:
        if "sample" not in sample.obs:
            raise CarseqError(
                "a sample has no name",
                'obs["sample"] is missing',
                'set adata.obs["sample"] to the sample\'s name before combining',
            )
        obs = sample.obs.copy()
        for name in obs.columns:
            if isinstance(obs[name].dtype, pd.CategoricalDtype):
                obs[name] = obs[name].astype(obs[name].cat.categories.dtype)
        if "barcode" not in obs:
            obs["barcode"] = sample.obs_names.astype(str)
        obs.index = pd.Index(
            obs["sample"].astype(str) + ":" + obs["barcode"].astype(str), dtype=object
        )
        var = pd.DataFrame(index=sample.var_names.astype(str))
        parts.append(ad.AnnData(counts_of(sample).astype(np.float32), obs=obs, var=var))
    cars = {str(s.uns["car"]) for s in samples if s.uns.get("car")}
    if len(cars) > 1:
        raise CarseqError(
            "samples name different CARs", ", ".join(sorted(cars)), "run one study for each CAR"
        )
    # A sample without cells has no say in the dtypes of obs, but its genes stay.
    filled = [p for p in parts if p.n_obs] or parts[:1]
    joined = ad.concat(filled, join="outer", fill_value=0) if len(filled) > 1 else filled[0]
    genes = list(dict.fromkeys(g for p in parts for g in p.var_names))
    if not joined.obs_names.is_unique:
        twice = joined.obs_names[joined.obs_names.duplicated()][0]
        raise CarseqError("two cells share a name", twice, "give every sample a name of its own")
    counts = sparse.csr_matrix(joined.X)
    at = joined.var_names.get_indexer(genes)
    order = sparse.csr_matrix(
        (np.ones((at >= 0).sum(), np.float32), (at[at >= 0], np.flatnonzero(at >= 0))),
        shape=(joined.n_vars, len(genes)),
    )
    counts = sparse.csr_matrix(counts @ order).astype(np.float32)
    counts.sort_indices()
    obs = joined.obs.copy()
    for name in obs.columns:
        if obs[name].isna().any() and obs[name].dtype == object:
            given = obs[name].dropna()
            if len(given) and given.map(type).eq(bool).all():
                obs[name] = obs[name].fillna(False).astype(bool)
            elif len(given) and given.map(type).eq(str).all():
                obs[name] = obs[name].fillna("")
    result = ad.AnnData(log_normalised(counts), obs=obs, var=pd.DataFrame(index=genes))
    result.layers["counts"] = counts
    ids: dict[str, str] = {}
    for sample in samples:
        if "gene_id" in sample.var:
            for gene, gene_id in zip(sample.var_names, sample.var["gene_id"], strict=True):
                ids.setdefault(str(gene), str(gene_id))
    if ids:
        result.var["gene_id"] = [ids.get(gene, "") for gene in genes]
    if cars:
        result.uns["car"] = cars.pop()
    log.info("%d cells of %d samples, %d genes", result.n_obs, len(samples), result.n_vars)
    return result


def feature_genes(adata: AnnData, *, car: str | None = None, n_genes: int = N_GENES) -> np.ndarray:
    """Return positions of the genes that describe cells: highly variable, never the CAR.

    Variable genes are found sample by sample where at least two samples have 50 cells or more.
    """
    import anndata as ad
    import scanpy as sc

    counts = counts_of(adata)
    least = min(3, max(1, adata.n_obs // 10))
    use = np.flatnonzero(informative_genes(adata, car) & (counts.getnnz(axis=0) >= least))
    if use.size <= n_genes or adata.n_obs < 20:
        return use
    part = ad.AnnData(log_normalised(counts)[:, use])
    part.obs_names = adata.obs_names
    batch = None
    if "sample" in adata.obs:
        sizes = adata.obs["sample"].astype(str).value_counts()
        large = sizes.index[sizes >= 50]
        if len(large) >= 2:
            part.obs["sample"] = pd.Categorical(adata.obs["sample"].astype(str))
            part = part[part.obs["sample"].isin(large)].copy()
            part.obs["sample"] = part.obs["sample"].cat.remove_unused_categories()
            batch = "sample"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.highly_variable_genes(part, n_top_genes=n_genes, flavor="seurat", batch_key=batch)
    return use[part.var["highly_variable"].to_numpy()]


def principal_components(
    adata: AnnData, *, car: str | None = None, seed: int = 0, n_pcs: int = N_PCS
) -> np.ndarray:
    """Return principal components of scaled log expression, n_cells × (at most n_pcs).

    Zeros, two columns, where there are fewer than three cells or no variable gene.
    """
    from sklearn.decomposition import PCA

    if adata.n_obs < 3:
        return np.zeros((adata.n_obs, 2), dtype=np.float32)
    genes = feature_genes(adata, car=car)
    x = log_normalised(counts_of(adata))[:, genes].toarray()
    x -= x.mean(axis=0)
    spread = x.std(axis=0)
    x = np.clip(x[:, spread > 1e-6] / spread[spread > 1e-6], -10, 10)
    n = min(n_pcs, adata.n_obs - 1, x.shape[1])
    if n < 2:
        return np.zeros((adata.n_obs, 2), dtype=np.float32)
    solver = "arpack" if n < min(x.shape) else "full"
    found = PCA(n_components=n, svd_solver=solver, random_state=seed).fit_transform(x)
    return np.asarray(found, dtype=np.float32)


def integrate(
    adata: AnnData,
    method: Method = "scvi",
    *,
    car: str | None = None,
    seed: int = 0,
    threads: int = 1,
    max_epochs: int | None = None,
) -> str:
    """Put the cells of all samples in one latent space.

    Parameters
    ----------
    adata
        From :func:`combine`: raw counts in `layers["counts"]`, `obs["sample"]`.
    method
        `scvi` (falls back to none below 200 cells), `harmony` (falls back to none below 50 cells
        or with one sample) or `none` (principal components).
    car
        Name of the CAR gene; None: `uns["car"]`. It is never a feature.
    seed
        Seed; the same seed and threads on one machine give identical results.
    threads
        CPU threads of harmony, and of torch from 20,000 cells on (below, one is as fast and the
        result does not depend on their number).
    max_epochs
        Epochs of scVI. None: by the number of cells, with early stopping.

    Returns
    -------
    str
        The key of `obsm` that holds the latent space (`X_scVI`, `X_harmony` or `X_pca`);
        `uns["integration"]` says what was done and why.

    Raises
    ------
    CarseqError
        If the method is unknown.
    """
    if method not in ("scvi", "harmony", "none"):
        raise CarseqError(
            f"unknown integration {method!r}", "", "choose one of scvi, harmony and none"
        )
    car = car_name(adata, car)
    n_samples = adata.obs["sample"].nunique() if "sample" in adata.obs else 1
    why = ""
    if method == "scvi" and adata.n_obs < MIN_CELLS_SCVI:
        why = f"{adata.n_obs} cells are too few for scVI (fewer than {MIN_CELLS_SCVI})"
    elif method == "scvi" and feature_genes(adata, car=car).size < 50:
        why = "too few genes for scVI"
    elif method == "harmony" and adata.n_obs < MIN_CELLS_HARMONY:
        why = f"{adata.n_obs} cells are too few for harmony (fewer than {MIN_CELLS_HARMONY})"
    elif method == "harmony" and n_samples < 2:
        why = "one sample needs no harmony"
    if why:
        log.warning("%s: principal components instead", why)
    done = "none" if why else method
    if done == "scvi":
        key, latent = "X_scVI", _scvi(adata, car, seed, threads, max_epochs)
    else:
        key, latent = "X_pca", principal_components(adata, car=car, seed=seed)
        if done == "harmony":
            adata.obsm["X_pca"] = latent
            key, latent = "X_harmony", _harmony(adata, latent, seed, threads)
    adata.obsm[key] = latent
    adata.uns["integration"] = {"method": done, "asked": method, "reason": why, "key": key}
    log.info("integration: %s, %d dimensions", done, latent.shape[1])
    return key


@contextlib.contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def quiet_training(threads: int) -> Iterator[None]:
    """Train on so many CPU threads (a GPU is used where there is one), without the libraries' chatter."""
    with warnings.catch_warnings(), _torch_threads(threads), _quiet_lightning():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Silence what lightning and scvi say about seeds, devices and stopping."""
    names = [n for n in logging.root.manager.loggerDict if n.startswith(("lightning", "scvi"))]
    chatter = [logging.getLogger(n) for n in {*names, "lightning.pytorch", "lightning.fabric"}]
    levels = [c.level for c in chatter]
    for c in chatter:
        c.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for c, level in zip(chatter, levels, strict=True):
            c.setLevel(level)


def scvi_epochs(n_cells: int) -> int:
    """Return scVI's largest number of epochs: about 150,000 cell passes, between 20 and 150."""
    return int(np.clip(round(150_000 / max(n_cells, 1)), 20, 150))


def _scvi(
    adata: AnnData, car: str | None, seed: int, threads: int, max_epochs: int | None
) -> np.ndarray:
    import anndata as ad

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scvi
        from lightning.pytorch.callbacks import Callback

    class Progress(Callback):
        """Ten lines of progress in the log."""

        def on_train_epoch_end(self, trainer, module) -> None:  # type: ignore[no-untyped-def]
            at, of = trainer.current_epoch + 1, trainer.max_epochs
            if at == 1 or at % max(1, of // 10) == 0:
                loss = trainer.callback_metrics.get("elbo_validation")
                text = f", validation ELBO {float(loss):.1f}" if loss is not None else ""
                log.info("scVI: epoch %d of at most %d%s", at, of, text)

    genes = feature_genes(adata, car=car)
    part = ad.AnnData(counts_of(adata)[:, genes].astype(np.float32))
    part.obs_names = adata.obs_names
    sample = adata.obs["sample"].astype(str).to_numpy() if "sample" in adata.obs else "one"
    part.obs["sample"] = pd.Categorical(np.broadcast_to(sample, part.n_obs))
    # A cell without UMIs in these genes has an infinite log library size.
    empty = np.flatnonzero(np.asarray(part.X.sum(axis=1)).ravel() == 0)
    if empty.size:
        part.X = part.X + sparse.csr_matrix(
            (np.ones(empty.size, np.float32), (empty, np.zeros(empty.size, int))), part.shape
        )
    epochs = max_epochs or scvi_epochs(part.n_obs)
    used = threads if part.n_obs >= MIN_CELLS_THREADS else 1
    with quiet_training(used):
        scvi.settings.seed = seed
        scvi.model.SCVI.setup_anndata(part, batch_key="sample")
        model = scvi.model.SCVI(part, n_latent=N_LATENT, gene_likelihood="nb")
        model.train(
            max_epochs=epochs,
            accelerator="auto",
            devices=1,
            batch_size=safe_batch_size(part.n_obs),
            early_stopping=True,
            early_stopping_patience=15,
            check_val_every_n_epoch=1,
            enable_progress_bar=False,
            callbacks=[Progress()],
            logger=False,
            enable_checkpointing=False,
        )
        latent = model.get_latent_representation()
    return np.asarray(latent, dtype=np.float32)


def safe_batch_size(n_cells: int) -> int:
    """Return a minibatch size whose last batch of training holds more than one cell.

    Batch normalisation fails on a batch of one.
    """
    size = 128
    n_train = int(np.ceil(0.9 * n_cells))
    while any((n - k) % size == 1 for n in (n_train, n_cells - n_train, n_cells) for k in (0, 1)):
        size += 1
    return size


def _harmony(adata: AnnData, pcs: np.ndarray, seed: int, threads: int) -> np.ndarray:
    import harmonypy

    meta = pd.DataFrame({"sample": adata.obs["sample"].astype(str).to_numpy()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = harmonypy.run_harmony(
            pcs.astype(np.float64),
            meta,
            ["sample"],
            random_state=seed,
            verbose=False,
            ncores=threads,
        )
    corrected = np.asarray(result.Z_corr)
    if corrected.shape[0] != adata.n_obs:
        corrected = corrected.T
    return np.asarray(corrected, dtype=np.float32)


def cluster(adata: AnnData, key: str, *, resolution: float = 1.0, seed: int = 0) -> AnnData:
    """Cluster cells and lay them out.

    Parameters
    ----------
    adata
        Cells; any number of them, none included.
    key
        Key of `obsm` from :func:`integrate`.
    resolution
        Resolution of the leiden clustering.
    seed
        Seed of neighbours, leiden and UMAP.

    Returns
    -------
    AnnData
        The same object, with `obs["leiden"]`, `obsm["X_umap"]` (n_cells × 2; the first two latent
        dimensions below ten cells) and scanpy's neighbour graph.
    """
    import scanpy as sc

    n = adata.n_obs
    latent = np.asarray(adata.obsm[key])
    flat = np.zeros((n, 2), dtype=np.float32)
    flat[:, : min(2, latent.shape[1])] = latent[:, :2]
    if n < 3 or not latent.any():
        adata.obs["leiden"] = pd.Categorical(["0"] * n)
        adata.obsm["X_umap"] = flat
        return adata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.neighbors(
            adata, n_neighbors=min(15, n - 1), use_rep=key, random_state=seed, n_pcs=None
        )
        sc.tl.leiden(
            adata,
            resolution=resolution,
            flavor="igraph",
            n_iterations=2,
            directed=False,
            random_state=seed,
        )
        if n < MIN_CELLS_UMAP:
            adata.obsm["X_umap"] = flat
        else:
            # A spectral start is not unique on disconnected graphs of few cells.
            start = "spectral" if n >= 100 else "random"
            sc.tl.umap(adata, random_state=seed, init_pos=start)
    log.info("%d clusters", adata.obs["leiden"].nunique())
    return adata
