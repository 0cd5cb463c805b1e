"""From samples to a cohort: one matrix of all cells."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from carseq.cells.counts import counts_of, log_normalised
from carseq.errors import CarseqError
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData


log = get_logger("cells.combine")


def combine(samples: Iterable[AnnData], *, normalise: bool = True) -> AnnData:
    """Join the samples of a cohort.

    Parameters
    ----------
    samples
        Cells × genes of each sample, raw counts in X (or `layers["counts"]`), with
        `obs["sample"]`; a sample may have no cells, and genes may differ (absent ones count 0).
        Each is taken once, so that a generator need not hold them all.
    normalise
        Whether X is made: of a million cells it takes two gigabytes.

    Returns
    -------
    AnnData
        All cells, indexed `sample:barcode`; `obs` as given and `barcode`; raw counts in
        `layers["counts"]`, log1p of counts per 10,000 in X (else none); `var["gene_id"]` where given;
        `uns["car"]` from the samples, and `uns["genes_missing"]` where
        a sample lacks genes of others. X and the counts share the places of their entries
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
    held: dict[str, pd.Index] = {}
    for sample in samples:
        obs = _named_obs(sample)
        names = sample.var_names.astype(str)
        if not names.is_unique:
            raise CarseqError(
                "gene symbols are not unique",
                f"{names[names.duplicated()][0]} is there twice",
                "call adata.var_names_make_unique() first",
            )
        if sample.n_obs:
            held[str(obs["sample"].iloc[0])] = names
        at = np.array([place.setdefault(gene, len(place)) for gene in names], dtype=np.int32)
        # A sample without cells does not decide the dtypes of obs, but its genes stay.
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
    result = ad.AnnData(log_normalised(counts) if normalise else None, obs=obs, var=var)
    result.layers["counts"] = counts
    if ids:
        result.var["gene_id"] = [ids.get(gene, "") for gene in place]
    if cars:
        result.uns["car"] = cars.pop()
    missing = {name: genes for name, genes in held.items() if len(genes) < len(place)}
    if missing:
        # A gene that nobody could count there is not one that no cell expresses.
        every = pd.Index(place)
        result.uns["genes_missing"] = {
            name: every.difference(genes, sort=False).to_numpy(str)
            for name, genes in missing.items()
        }
    n_samples = obs["sample"].nunique()
    samples = "1 sample" if n_samples == 1 else f"{n_samples} samples"
    log.info("%d cells of %s, %d genes", result.n_obs, samples, result.n_vars)
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
