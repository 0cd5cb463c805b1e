"""Doublets: scrublet, and droplets that show two lineages at once."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carseq.cells.ambient import exclusive_genes, kin
from carseq.cells.annotation import (
    car_name,
    counts_of,
    marker_evidence,
    match_markers,
    read_markers,
)
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.doublets")

#: Fewer cells than this say nothing about their doublets.
MIN_CELLS = 100
#: Doublets per cell recovered on a 10x chip: 0.8 % per 1,000 cells (10x Genomics user guides).
RATE_PER_CELL = 8e-6
#: Log-likelihood ratio that each of two lineages must reach for a conflict.
MIN_CONFLICT = 9.0
#: Different exclusive genes that each of two lineages must show.
MIN_CONFLICT_GENES = 3


def doublets(
    adata: AnnData,
    *,
    seed: int = 0,
    markers: pd.DataFrame | None = None,
    car: str | None = None,
) -> AnnData:
    """Mark doublets, sample by sample.

    Two kinds of evidence: scrublet's score, cut where its simulated doublets begin but never so
    that more than 1 % plus twice the loading rate of a 10x chip is called (its own threshold is
    erratic on small samples); and lineage conflict, a droplet that shows at least three exclusive
    markers of each of two unrelated lineages well above ambient RNA.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X); `obs["sample"]` where there are several.
    seed
        Seed of scrublet.
    markers
        From :func:`carseq.cells.read_markers`; None: the table that comes with carseq.
    car
        Name of the CAR gene; it takes no part.

    Returns
    -------
    AnnData
        The same object, with `obs`: `doublet_score` (NaN where a sample has fewer than 100 cells
        or scrublet failed), `is_doublet`, `doublet_reason` ("", "scrublet", "lineage conflict").
    """
    car = car_name(adata, car)
    markers = read_markers() if markers is None else markers
    score = np.full(adata.n_obs, np.nan)
    called = np.zeros(adata.n_obs, dtype=bool)
    sample = adata.obs["sample"].astype(str) if "sample" in adata.obs else None
    for name in [""] if sample is None else list(dict.fromkeys(sample)):
        rows = np.arange(adata.n_obs) if sample is None else np.flatnonzero(sample == name)
        score[rows], called[rows] = _scrublet(adata, rows, name, car, seed)
    conflict = lineage_conflict(adata, markers, car=car)
    adata.obs["doublet_score"] = score
    adata.obs["is_doublet"] = called | conflict
    reason = np.where(conflict, "lineage conflict", np.where(called, "scrublet", ""))
    adata.obs["doublet_reason"] = reason.astype(str)
    log.info(
        "doublets: %d of %d cells (%d by scrublet, %d by lineage conflict)",
        int((called | conflict).sum()),
        adata.n_obs,
        int(called.sum()),
        int(conflict.sum()),
    )
    return adata


def _scrublet(
    adata: AnnData, rows: np.ndarray, name: str, car: str | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return scores and calls of the cells ``rows`` of one sample."""
    nothing = np.full(rows.size, np.nan), np.zeros(rows.size, dtype=bool)
    if rows.size < MIN_CELLS:
        if rows.size:
            log.info("sample %s: %d cells are too few for scrublet", name, rows.size)
        return nothing
    import anndata as ad
    import scanpy as sc

    counts = counts_of(adata)[rows]
    genes = np.flatnonzero((counts.getnnz(axis=0) >= 3) & (adata.var_names != (car or "")))
    if genes.size < 50:
        log.warning("sample %s: too few genes for scrublet", name)
        return nothing
    part = ad.AnnData(counts[:, genes].astype(np.float32))
    rate = RATE_PER_CELL * rows.size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sc.pp.scrublet(
                part,
                expected_doublet_rate=float(np.clip(rate, 0.005, 0.3)),
                n_prin_comps=min(30, rows.size - 1, genes.size - 1),
                random_state=seed,
                verbose=False,
            )
    except (ValueError, IndexError, ZeroDivisionError, np.linalg.LinAlgError) as error:
        log.warning("sample %s: scrublet failed (%s): no scores", name, error)
        return nothing
    score = part.obs["doublet_score"].to_numpy(dtype=float)
    simulated = np.asarray(part.uns["scrublet"]["doublet_scores_sim"], dtype=float)
    threshold = part.uns["scrublet"].get("threshold")
    # Without a dip between its two modes, the middle of the simulated doublets.
    begin = float(np.median(simulated)) if threshold is None else float(threshold)
    bound = float(np.quantile(score, 1 - min(0.01 + 2 * rate, 0.3)))
    return score, score > max(begin, bound)


def lineage_conflict(
    adata: AnnData, markers: pd.DataFrame, *, car: str | None = None
) -> np.ndarray:
    """Return True for droplets that show two unrelated lineages, shape (n_cells,).

    Erythroid markers are left out: lysed erythrocytes are everywhere in urine.
    """
    exclusive = exclusive_genes(markers)
    table = markers[
        [
            g in exclusive.get(k, ())
            for k, g in zip(markers["lineage"], markers["gene"], strict=True)
        ]
    ]
    table = table[table["lineage"] != "erythroid"]
    atlas = match_markers(adata, table, car)
    if not adata.n_obs or len(set(atlas.lineage)) < 2:
        return np.zeros(adata.n_obs, dtype=bool)
    evidence = marker_evidence(adata, atlas)
    seen = (counts_of(adata)[:, atlas.genes] > 0).astype(np.float64)
    shown = seen @ (atlas.weights > 0).T.astype(np.float64)
    evidence = np.where(shown >= MIN_CONFLICT_GENES, evidence, 0.0)
    names = list(dict.fromkeys(atlas.lineage))
    best = np.stack([evidence[:, atlas.lineage == n].max(axis=1) for n in names], axis=1)
    present = best >= MIN_CONFLICT
    conflict = np.zeros(adata.n_obs, dtype=bool)
    for i, one in enumerate(names):
        for j in range(i + 1, len(names)):
            if not kin(one, names[j]):
                conflict |= present[:, i] & present[:, j]
    return conflict
