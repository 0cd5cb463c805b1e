"""One latent space for the cells of all samples: principal components, harmony or scVI."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy import sparse

from carseq.cells.counts import car_name, counts_of, log_normalised, row_blocks, row_sums
from carseq.cells.markers import informative_genes
from carseq.cells.training import (
    QUIET,
    import_scvi,
    on_gpu_or_cpu,
    quiet_training,
    safe_batch_size,
    scvi_epochs,
    silent_plan,
)
from carseq.errors import CarseqError
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData


log = get_logger("cells.latent")

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
#: Learning rate of scVI, that of totalVI in scvi-tools: half as many epochs reach the same ELBO of cells left out as
#: at scVI's own, 0.001 (benchmarks/RESULTS.md). It stands still for some 20 epochs before it falls again, where cells
#: are few.
LEARNING_RATE, PATIENCE = 4e-3, 30
#: Above this many cells a sketch of so many stands for them: it trains the latent space, and has the graph, the
#: clusters and the map, which the other cells then take from their nearest neighbours in it. The graph of a million
#: cells would take about an hour on two cores (benchmarks/RESULTS.md).
MAX_CELLS_SKETCH = 200_000
#: Cells scaled and projected at a time: dense, so many × 2,000 genes.
PROJECTED = 20_000


def choose_sketch(groups: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Return positions of at most ``limit`` cells, sorted: small samples whole, large ones reduced alike.

    Parameters
    ----------
    groups
        Sample number of each cell, shape (n_cells,).
    limit
        Most cells; the largest number a sample may give is chosen so that they are reached.
    rng
        Draws the cells of the samples that are reduced.
    """
    sizes = np.bincount(groups)
    ordered = np.sort(sizes)
    # Where the k smallest samples enter whole, the others share what is left.
    before = np.concatenate([[0], np.cumsum(ordered)[:-1]])
    shares = (limit - before) / np.arange(ordered.size, 0, -1)
    most = int(shares[np.argmax(ordered > shares)]) if (ordered > shares).any() else limit
    taken = [
        rows if rows.size <= most else rng.choice(rows, most, replace=False)
        for rows in (np.flatnonzero(groups == g) for g in range(sizes.size))
    ]
    return np.sort(np.concatenate(taken))


def sketch_of(adata: AnnData, seed: int) -> np.ndarray | None:
    """Return the cells that stand for all, None where there are not too many cells."""
    if adata.n_obs <= MAX_CELLS_SKETCH:
        return None
    groups = np.zeros(adata.n_obs, dtype=np.int64)
    if "sample" in adata.obs:
        groups = np.asarray(pd.factorize(adata.obs["sample"].astype(str))[0])
    return choose_sketch(groups, MAX_CELLS_SKETCH, np.random.default_rng(seed))


def _part(adata: AnnData, rows: np.ndarray) -> AnnData:
    """Return counts and sample of some cells."""
    import anndata as ad

    obs = adata.obs[["sample"]] if "sample" in adata.obs else adata.obs[[]]
    return ad.AnnData(counts_of(adata)[rows], obs=obs.iloc[rows].copy(), var=adata.var[[]].copy())


def feature_genes(adata: AnnData, *, car: str | None = None, n_genes: int = N_GENES) -> np.ndarray:
    """Return positions of the genes that describe cells: highly variable, never the CAR.

    Variable genes are found sample by sample where at least two samples have 50 cells or more.
    """
    import anndata as ad
    import scanpy as sc

    counts = counts_of(adata)
    use = _usable_genes(adata, car)
    if use.size <= n_genes or adata.n_obs < 20:
        return use
    part = ad.AnnData(log_normalised(counts[:, use], totals=row_sums(counts)))
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


def _usable_genes(adata: AnnData, car: str | None) -> np.ndarray:
    """Return positions of informative genes that more than a few cells show."""
    shown = np.zeros(adata.n_vars, dtype=np.int64)
    for _, block in row_blocks(counts_of(adata)):
        shown += block.getnnz(axis=0)
    least = min(3, max(1, adata.n_obs // 10))
    return np.flatnonzero(informative_genes(adata, car) & (shown >= least))


def principal_components(
    adata: AnnData, *, car: str | None = None, seed: int = 0, n_pcs: int = N_PCS
) -> np.ndarray:
    """Return principal components of scaled log expression, n_cells × (at most n_pcs).

    Zeros, two columns, where there are fewer than three cells or no variable gene. Above
    :data:`MAX_CELLS_SKETCH` cells the axes are those of a sketch, and every cell is projected.
    """
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    if adata.n_obs < 3:
        return np.zeros((adata.n_obs, 2), dtype=np.float32)
    rows = sketch_of(adata, seed)
    part = adata if rows is None else _part(adata, rows)
    genes = feature_genes(part, car=car)
    counts = counts_of(part)
    x = log_normalised(counts[:, genes], totals=row_sums(counts)).toarray()
    middle = x.mean(axis=0)
    x -= middle
    spread = x.std(axis=0)
    varies = spread > 1e-6
    x = x[:, varies]
    genes, middle, spread = genes[varies], middle[varies], spread[varies]
    x /= spread
    np.clip(x, -10, 10, out=x)
    n = min(n_pcs, part.n_obs - 1, x.shape[1])
    if n < 2:
        return np.zeros((adata.n_obs, 2), dtype=np.float32)
    solver = "arpack" if n < min(x.shape) else "full"
    pca = PCA(n_components=n, svd_solver=solver, random_state=seed, copy=False)
    # Sums in parallel depend in their last digits on the number of cores, and with them the map and, at a border, a
    # cluster.
    with threadpool_limits(1, "blas"):
        if rows is None:
            return np.asarray(pca.fit_transform(x), dtype=np.float32)
        pca.fit(x)
    del x, part, counts
    counts = counts_of(adata)
    result = np.empty((adata.n_obs, n), dtype=np.float32)
    for at, block in row_blocks(counts, PROJECTED):
        y = log_normalised(block[:, genes], totals=row_sums(block)).toarray()
        y -= middle
        y /= spread
        with threadpool_limits(1, "blas"):
            result[at] = pca.transform(np.clip(y, -10, 10, out=y))
    return result


def integrate(
    adata: AnnData,
    method: Method = "scvi",
    *,
    car: str | None = None,
    seed: int = 0,
    threads: int = 1,
    max_epochs: int | None = None,
    elsewhere: Callable[..., Any] | None = None,
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
        Seed; the same seed and threads on one machine give identical results. A GPU, used where torch finds one,
        draws other random numbers than a CPU: its result is as that of another seed.
    threads
        CPU threads of harmony, and of torch from 20,000 cells on (below, one is as fast and the
        result does not depend on their number).
    max_epochs
        Epochs of scVI. None: by the number of cells, with early stopping.
    elsewhere
        Calls a function in a process beside this one (:func:`carseq.cells.beside.learning_beside`): scVI learns in it,
        where there are not too many cells, to the same result.

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
    sketch = sketch_of(adata, seed)
    if sketch is not None:
        log.warning(
            "%d cells: the latent space is learnt from %d of them, small samples whole, and the others put into it",
            adata.n_obs,
            sketch.size,
        )
    why = ""
    if method == "scvi" and adata.n_obs < MIN_CELLS_SCVI:
        why = f"{adata.n_obs} cells are too few for scVI (fewer than {MIN_CELLS_SCVI})"
    elif method == "scvi" and _usable_genes(adata, car).size < 50:
        why = "too few genes for scVI"
    elif method == "harmony" and adata.n_obs < MIN_CELLS_HARMONY:
        why = f"{adata.n_obs} cells are too few for harmony (fewer than {MIN_CELLS_HARMONY})"
    elif method == "harmony" and n_samples < 2:
        why = "one sample needs no harmony"
    if why:
        log.warning("%s: principal components instead", why)
    done = "none" if why else method
    if done == "scvi":
        key, latent = "X_scVI", _scvi(adata, car, seed, threads, max_epochs, elsewhere)
    else:
        key, latent = "X_pca", principal_components(adata, car=car, seed=seed)
        if done == "harmony":
            adata.obsm["X_pca"] = latent
            key, latent = "X_harmony", _harmony(adata, latent, seed, threads)
    adata.obsm[key] = latent
    adata.uns["integration"] = {
        "method": done,
        "asked": method,
        "reason": why,
        "key": key,
        "n_learnt_from": adata.n_obs if sketch is None else int(sketch.size),
    }
    log.info("integration: %s, %d dimensions", done, latent.shape[1])
    return key


def _scvi(
    adata: AnnData,
    car: str | None,
    seed: int,
    threads: int,
    max_epochs: int | None,
    elsewhere: Callable[..., Any] | None,
) -> np.ndarray:
    import anndata as ad

    samples = "one"
    if "sample" in adata.obs:
        samples = adata.obs["sample"].astype(str).to_numpy()
    samples = pd.Categorical(np.broadcast_to(samples, adata.n_obs))
    rows = sketch_of(adata, seed)
    learner = adata if rows is None else _part(adata, rows)
    genes = feature_genes(learner, car=car)

    def modelled(counts: Any, of: Any) -> AnnData:
        """Return the counts of the features, float32, with the samples of the cells."""
        x = counts[:, genes].astype(np.float32)
        # A cell without UMIs in these genes has an infinite log library size.
        empty = np.flatnonzero(row_sums(x) == 0)
        if empty.size:
            ones = np.ones(empty.size, np.float32)
            x = x + sparse.csr_matrix((ones, (empty, np.zeros(empty.size, int))), x.shape)
        names = pd.Index([str(i) for i in range(x.shape[0])])
        return ad.AnnData(x, obs=pd.DataFrame({"sample": of}, index=names))

    part = modelled(counts_of(learner), samples if rows is None else samples[rows])
    epochs = max_epochs or scvi_epochs(part.n_obs) // 2
    used = threads if part.n_obs >= MIN_CELLS_THREADS else 1
    others = (
        modelled(block, samples[at])
        for at, block in (() if rows is None else row_blocks(counts_of(adata), PROJECTED))
    )
    if elsewhere is not None and rows is None:
        return np.asarray(elsewhere(_learnt, part, (), epochs, seed, used))
    return _learnt(part, others, epochs, seed, used)


def _learnt(
    part: AnnData, others: Iterable[AnnData], epochs: int, seed: int, threads: int
) -> np.ndarray:
    """Return the latent space that scVI learns of some cells, of these or, where there are any, of others."""
    scvi = import_scvi()
    from lightning.pytorch.callbacks import Callback

    class Progress(Callback):
        """Ten lines of progress in the log."""

        def on_train_epoch_end(self, trainer, module) -> None:  # type: ignore[no-untyped-def]
            at, of = trainer.current_epoch + 1, trainer.max_epochs
            if at == 1 or at % max(1, of // 10) == 0:
                loss = trainer.callback_metrics.get("elbo_validation")
                text = f", validation ELBO {float(loss):.1f}" if loss is not None else ""
                log.info("scVI: epoch %d of at most %d%s", at, of, text)

    with quiet_training(threads):
        scvi.model.SCVI.setup_anndata(part, batch_key="sample")

        def learn(accelerator: str) -> Any:
            scvi.settings.seed = seed
            model = scvi.model.SCVI(part, n_latent=N_LATENT, gene_likelihood="nb")
            model._training_plan_cls = silent_plan()
            model.train(
                max_epochs=epochs,
                accelerator=accelerator,
                devices=1,
                batch_size=safe_batch_size(part.n_obs),
                early_stopping=True,
                early_stopping_patience=PATIENCE,
                check_val_every_n_epoch=1,
                callbacks=[Progress()],
                plan_kwargs={"optimizer": "Custom", "optimizer_creator": _adam},
                **QUIET,
            )
            return model

        model = on_gpu_or_cpu(learn)
        if model.device.type != "cpu":
            log.info("scVI: learnt on %s; a CPU draws other random numbers", model.device)
        latent = []
        for cells in others:
            latent.append(model.get_latent_representation(cells))
            # All but those it learnt from: of a million cells it would hold the counts of all.
            model.deregister_manager()
        if not latent:
            latent = [model.get_latent_representation()]
    return np.concatenate(latent).astype(np.float32)


def _adam(parameters: Iterable[Any]) -> Any:
    """Return Adam with scvi-tools' settings but for the rate, in one function a step: a tenth of the training."""
    import torch

    return torch.optim.Adam(parameters, lr=LEARNING_RATE, eps=0.01, weight_decay=1e-6, fused=True)


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
