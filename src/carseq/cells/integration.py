"""From samples to a cohort: one matrix, one latent space, clusters and a map."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

import numpy as np
import pandas as pd
from scipy import sparse

from carseq.cells.annotation import (
    car_name,
    counts_of,
    informative_genes,
    log_normalised,
)
from carseq.cells.barcodes import row_blocks, row_sums
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
#: Above this many cells a sketch of so many stands for them: it trains the latent space, and has the graph, the
#: clusters and the map, which the other cells then take from their nearest neighbours in it. The graph of a million
#: cells would take about an hour on two cores (benchmarks/RESULTS.md).
MAX_CELLS_SKETCH = 200_000
#: Neighbours of a cell in the graph; in the sketch, those that give a cell outside it cluster and place.
N_NEIGHBOURS = 15
#: Below this many cells neighbours are looked for one by one, as scanpy does.
MAX_CELLS_EXACT = 8192
#: Cells scaled and projected at a time: dense, so many × 2,000 genes.
PROJECTED = 20_000


def combine(samples: Iterable[AnnData]) -> AnnData:
    """Join the samples of a cohort.

    Parameters
    ----------
    samples
        Cells × genes of each sample, raw counts in X (or `layers["counts"]`), with
        `obs["sample"]`; a sample may have no cells, and genes may differ (absent ones count 0).
        Each is taken once, so that a generator need not hold them all.

    Returns
    -------
    AnnData
        All cells, indexed `sample:barcode`; `obs` as given and `barcode`; raw counts in
        `layers["counts"]`, log1p of counts per 10,000 in X; `var["gene_id"]` where given;
        `uns["car"]` from the samples. X and the counts share the places of their entries
        (`indices`, `indptr`): replace either, do not edit it in place.

    Raises
    ------
    CarseqError
        If there are no samples, one has cells but no `obs["sample"]`, two cells share a name,
        a sample names a gene twice or samples name different CARs.
    """
    import anndata as ad

    tables: list[AnnData] = []
    parts: list[sparse.csr_matrix] = []
    place: dict[str, int] = {}
    ids: dict[str, str] = {}
    cars: set[str] = set()
    for sample in samples:
        obs = _named_obs(sample)
        names = sample.var_names.astype(str)
        if not names.is_unique:
            raise CarseqError(
                "gene symbols are not unique",
                f"{names[names.duplicated()][0]} is there twice",
                "call adata.var_names_make_unique() first",
            )
        at = np.array([place.setdefault(gene, len(place)) for gene in names], dtype=np.int32)
        # A sample without cells has no say in the dtypes of obs, but its genes stay.
        if sample.n_obs or not tables:
            if tables and not tables[0].n_obs:
                tables, parts = [], []
            tables.append(ad.AnnData(obs=obs))
            parts.append(_placed(counts_of(sample), at))
        if "gene_id" in sample.var:
            for gene, gene_id in zip(names, sample.var["gene_id"], strict=True):
                ids.setdefault(gene, str(gene_id))
        if sample.uns.get("car"):
            cars.add(str(sample.uns["car"]))
    if not tables:
        raise CarseqError(
            "there are no samples to combine", "the list is empty", "give at least one"
        )
    if len(cars) > 1:
        raise CarseqError(
            "samples name different CARs", ", ".join(sorted(cars)), "run one study for each CAR"
        )
    obs = (ad.concat(tables, join="outer") if len(tables) > 1 else tables[0]).obs.copy()
    if not obs.index.is_unique:
        twice = obs.index[obs.index.duplicated()][0]
        raise CarseqError("two cells share a name", twice, "give every sample a name of its own")
    for name in obs.columns:
        if obs[name].isna().any() and obs[name].dtype == object:
            given = obs[name].dropna()
            if len(given) and given.map(type).eq(bool).all():
                obs[name] = obs[name].fillna(False).astype(bool)
            elif len(given) and given.map(type).eq(str).all():
                obs[name] = obs[name].fillna("")
    counts = _stacked(parts, len(place))
    var = pd.DataFrame(index=list(place))
    result = ad.AnnData(log_normalised(counts), obs=obs, var=var)
    result.layers["counts"] = counts
    if ids:
        result.var["gene_id"] = [ids.get(gene, "") for gene in place]
    if cars:
        result.uns["car"] = cars.pop()
    n_samples = obs["sample"].nunique()
    log.info("%d cells of %d samples, %d genes", result.n_obs, n_samples, result.n_vars)
    return result


def _named_obs(sample: AnnData) -> pd.DataFrame:
    """Return `obs` of a sample, indexed `sample:barcode`."""
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
    obs.index = pd.Index(obs["sample"].astype(str) + ":" + obs["barcode"].astype(str), dtype=object)
    return obs


def _placed(counts: Any, at: np.ndarray) -> sparse.csr_matrix:
    """Return counts, float32, whose column j is number ``at[j]``; canonical, without zeros stored."""
    data, indices = counts.data.astype(np.float32), at[counts.indices]
    placed = sparse.csr_matrix(
        (data, indices, counts.indptr.copy()), shape=(counts.shape[0], int(at.max(initial=-1)) + 1)
    )
    placed.sum_duplicates()
    placed.eliminate_zeros()
    return placed


def _stacked(parts: list[sparse.csr_matrix], n_genes: int) -> sparse.csr_matrix:
    """Return matrices one below the other, emptying the list: at no time are there two copies of all."""
    steps = np.concatenate([[0], *(np.diff(p.indptr) for p in parts)])
    indptr = np.cumsum(steps, dtype=np.int64)
    width = np.int32 if indptr[-1] < np.iinfo(np.int32).max else np.int64
    n_cells = indptr.size - 1
    values, columns = [p.data for p in parts], [p.indices for p in parts]
    parts.clear()
    data = np.concatenate(values)
    values.clear()
    indices = np.concatenate(columns, dtype=width)
    columns.clear()
    return sparse.csr_matrix((data, indices, indptr.astype(width)), shape=(n_cells, n_genes))


def _sketch(groups: np.ndarray, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Return positions of at most ``limit`` cells, sorted: small samples whole, large ones thinned alike.

    Parameters
    ----------
    groups
        Sample number of each cell, shape (n_cells,).
    limit
        Most cells; the largest number a sample may give is chosen so that they are reached.
    rng
        Draws the cells of the samples that are thinned.
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


def _sketch_of(adata: AnnData, seed: int) -> np.ndarray | None:
    """Return the cells that stand for all, None where there are not too many cells."""
    if adata.n_obs <= MAX_CELLS_SKETCH:
        return None
    groups = np.zeros(adata.n_obs, dtype=np.int64)
    if "sample" in adata.obs:
        groups = np.asarray(pd.factorize(adata.obs["sample"].astype(str))[0])
    return _sketch(groups, MAX_CELLS_SKETCH, np.random.default_rng(seed))


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

    if adata.n_obs < 3:
        return np.zeros((adata.n_obs, 2), dtype=np.float32)
    rows = _sketch_of(adata, seed)
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
    sketch = _sketch_of(adata, seed)
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
        key, latent = "X_scVI", _scvi(adata, car, seed, threads, max_epochs)
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


#: Options of every training: no bar, no files.
QUIET = {"enable_progress_bar": False, "logger": False, "enable_checkpointing": False}


def keep_compiled() -> None:
    """Import umap so that what it compiles is kept beside it for the next job.

    umap and pynndescent have numba compile hundreds of functions as they are imported and as scanpy first looks
    for neighbours, most of them without `cache`: 17 s of CPU in each process. Numba keeps what it compiles by the
    source file's time and size and its own version; in an environment that is not writable, in the user's cache or
    in `NUMBA_CACHE_DIR`.
    """
    import numba

    def kept(decorate: Any) -> Any:
        return lambda *args, **options: decorate(*args, **{"cache": True, **options})

    with (
        mock.patch.object(numba, "njit", kept(numba.njit)),
        mock.patch.object(numba, "jit", kept(numba.jit)),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        import umap  # noqa: F401


def import_scvi() -> Any:
    """Import scvi-tools, which takes seconds, without the warnings of what it imports."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scvi
    return scvi


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

    samples = "one"
    if "sample" in adata.obs:
        samples = adata.obs["sample"].astype(str).to_numpy()
    samples = pd.Categorical(np.broadcast_to(samples, adata.n_obs))
    rows = _sketch_of(adata, seed)
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
            callbacks=[Progress()],
            **QUIET,
        )
        if rows is None:
            return np.asarray(model.get_latent_representation(), dtype=np.float32)
        latent = [
            model.get_latent_representation(modelled(block, samples[at]))
            for at, block in row_blocks(counts_of(adata), PROJECTED)
        ]
    return np.concatenate(latent).astype(np.float32)


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
        Seed of neighbours, leiden, UMAP and sketch.

    Returns
    -------
    AnnData
        The same object, with `obs["leiden"]`, `obsm["X_umap"]` (n_cells × 2; the first two latent
        dimensions below ten cells) and scanpy's neighbour graph.
        Above :data:`MAX_CELLS_SKETCH` cells the graph is that of a sketch of them and is not kept; the other
        cells take the commonest cluster of their neighbours in it and the mean place of those that are of it, and
        `uns["sketch"]` has the number of cells of the sketch.
    """
    n = adata.n_obs
    latent = np.asarray(adata.obsm[key])
    if n < 3 or not latent.any():
        adata.obs["leiden"] = pd.Categorical(["0"] * n)
        adata.obsm["X_umap"] = _flat(latent)
        return adata
    rows = _sketch_of(adata, seed)
    if rows is None:
        _graph(adata, key, resolution, seed, None)
    else:
        _cluster_by_sketch(adata, key, resolution, seed, rows)
    log.info("%d clusters", adata.obs["leiden"].nunique())
    return adata


def _flat(latent: np.ndarray) -> np.ndarray:
    """Return the first two dimensions, padded with zeros."""
    flat = np.zeros((len(latent), 2), dtype=np.float32)
    flat[:, : min(2, latent.shape[1])] = latent[:, :2]
    return flat


def _graph(adata: AnnData, key: str, resolution: float, seed: int, transformer: Any) -> None:
    """Make graph, clusters and map of all cells."""
    import scanpy as sc

    keep_compiled()
    n = adata.n_obs
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sc.pp.neighbors(
            adata,
            n_neighbors=min(N_NEIGHBOURS, n - 1),
            use_rep=key,
            random_state=seed,
            n_pcs=None,
            transformer=transformer,
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
            adata.obsm["X_umap"] = _flat(np.asarray(adata.obsm[key]))
        else:
            # A spectral start is not unique on disconnected graphs of few cells.
            start = "spectral" if n >= 100 else "random"
            sc.tl.umap(adata, random_state=seed, init_pos=start)


def _cluster_by_sketch(
    adata: AnnData, key: str, resolution: float, seed: int, rows: np.ndarray
) -> None:
    """Make graph, clusters and map of the cells ``rows``; give the others those of their neighbours."""
    import anndata as ad

    latent = np.asarray(adata.obsm[key])
    part = ad.AnnData(obs=pd.DataFrame(index=adata.obs_names[rows]), obsm={key: latent[rows]})
    nearest = _nearest(rows.size, seed)
    _graph(part, key, resolution, seed, nearest)
    names = part.obs["leiden"].cat.categories
    member = np.eye(len(names), dtype=np.float32)[part.obs["leiden"].cat.codes]
    codes = np.empty(adata.n_obs, dtype=np.int64)
    places = np.empty((adata.n_obs, 2), dtype=np.float32)
    codes[rows], places[rows] = part.obs["leiden"].cat.codes, part.obsm["X_umap"]
    rest = np.setdiff1d(np.arange(adata.n_obs), rows, assume_unique=True)
    for start in range(0, rest.size, PROJECTED):
        own = rest[start : start + PROJECTED]
        found = sparse.csr_matrix(nearest.transform(latent[own]))
        found.data = np.ones_like(found.data)
        codes[own] = winner = np.asarray(found @ member).argmax(axis=1)
        cell = np.repeat(np.arange(own.size), np.diff(found.indptr))
        found.data *= codes[rows][found.indices] == winner[cell]
        places[own] = (found @ places[rows]) / row_sums(found)[:, None]
    adata.obs["leiden"] = pd.Categorical.from_codes(codes, categories=names)
    adata.obsm["X_umap"] = places
    adata.uns.update({name: part.uns[name] for name in ("leiden", "umap") if name in part.uns})
    adata.uns["sketch"] = {"n_cells": int(rows.size), "of": adata.n_obs, "seed": seed}
    log.warning(
        "%d cells: clustered and laid out by a sketch of %d, the others by their neighbours in it",
        adata.n_obs,
        rows.size,
    )


def _nearest(n_cells: int, seed: int) -> Any:
    """Return what finds the nearest of so many cells, as scanpy would choose it, to be asked again."""
    if n_cells < MAX_CELLS_EXACT:
        from sklearn.neighbors import KNeighborsTransformer

        return KNeighborsTransformer(n_neighbors=N_NEIGHBOURS, algorithm="brute")
    from pynndescent import PyNNDescentTransformer

    return PyNNDescentTransformer(
        n_neighbors=N_NEIGHBOURS,
        n_trees=min(64, 5 + round(n_cells**0.5 / 20)),
        n_iters=max(5, round(np.log2(n_cells))),
        random_state=seed,
        n_jobs=1,
    )
