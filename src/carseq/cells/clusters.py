"""Clusters of cells and a map of them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import pandas as pd
from scipy import sparse

from carseq.cells.counts import row_sums
from carseq.cells.latent import PROJECTED, sketch_of
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData


log = get_logger("cells.clusters")

#: Below this many cells there is nothing to lay out.
MIN_CELLS_UMAP = 10
#: Epochs of UMAP: those it takes itself above 10,000 cells. Of fewer it takes 500, which keep neighbours no better
#: (trustworthiness 0.968 and 0.969 of 2,618 cells, 0.962 and 0.960 of 300) and take 2.5 times as long.
MAP_EPOCHS = 200
#: Neighbours of a cell in the graph; in the sketch, those that give a cell outside it cluster and place.
N_NEIGHBOURS = 15
#: Below this many cells scanpy looks for neighbours one by one by itself.
MAX_CELLS_EXACT = 8192


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


def cluster(
    adata: AnnData, key: str, *, resolution: float = 1.0, seed: int = 0, with_map: bool = True
) -> AnnData:
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
    with_map
        Whether the map is made too. If not, :func:`lay_out` makes it of the graph where `obsm["X_umap"]` is missing.

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
    rows = sketch_of(adata, seed)
    if rows is None:
        _graph(adata, key, resolution, seed, None if n < MAX_CELLS_EXACT else _nearest())
        if with_map:
            lay_out(adata, key, seed)
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
    """Make graph and clusters of all cells."""
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


def graph_of(adata: AnnData, key: str) -> AnnData:
    """Return what :func:`lay_out` needs of cells that :func:`cluster` was given, alone."""
    import anndata as ad

    return ad.AnnData(
        obs=adata.obs[[]],
        obsm={key: adata.obsm[key]},
        obsp={"connectivities": adata.obsp["connectivities"]},
        uns={"neighbors": adata.uns["neighbors"]},
    )


def lay_out(adata: AnnData, key: str, seed: int = 0) -> AnnData:
    """Lay out cells by their graph.

    Parameters
    ----------
    adata
        Cells with the graph of :func:`cluster`.
    key
        Key of `obsm` from :func:`integrate`.
    seed
        Seed of UMAP.

    Returns
    -------
    AnnData
        The same object, with `obsm["X_umap"]`.
    """
    if adata.n_obs < MIN_CELLS_UMAP:
        adata.obsm["X_umap"] = _flat(np.asarray(adata.obsm[key]))
        return adata
    import scanpy as sc

    keep_compiled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A spectral start is not unique on disconnected graphs of few cells.
        start = "spectral" if adata.n_obs >= 100 else "random"
        sc.tl.umap(adata, random_state=seed, init_pos=start, maxiter=MAP_EPOCHS)
    return adata


def _cluster_by_sketch(
    adata: AnnData, key: str, resolution: float, seed: int, rows: np.ndarray
) -> None:
    """Make graph, clusters and map of the cells ``rows``; give the others those of their neighbours."""
    import anndata as ad

    latent = np.asarray(adata.obsm[key])
    part = ad.AnnData(obs=pd.DataFrame(index=adata.obs_names[rows]), obsm={key: latent[rows]})
    nearest = _nearest()
    _graph(part, key, resolution, seed, nearest)
    lay_out(part, key, seed)
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


def _nearest() -> Any:
    """Return what finds the nearest neighbours of cells, in one set or of others in a sketch, exactly.

    pynndescent, which scanpy takes above :data:`MAX_CELLS_EXACT` cells, has numba compile for 40 s of CPU in each
    process, which it cannot keep; 50,000 cells are compared with each other in 9 s, 100,000 in 37, and by all threads.
    """
    from sklearn.neighbors import KNeighborsTransformer

    return KNeighborsTransformer(n_neighbors=N_NEIGHBOURS, algorithm="brute")
