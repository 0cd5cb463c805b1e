"""Doublets: scrublet, SOLO where asked, and droplets that show two lineages at once.

:func:`doublets` looks at a sample alone, before anything is known of its cells; :func:`paired_transcriptomes` at the
annotated cohort, with the profiles of its own cell types. T cells that share a droplet with a myeloid or an epithelial
cell matter most: they carry a CAR into the wrong type.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse, stats

from carseq.cells.ambient import ambient_fractions
from carseq.cells.annotation import marker_evidence
from carseq.cells.counts import (
    car_name,
    column_sums,
    counts_of,
    row_blocks,
    row_sums,
    sample_numbers,
)
from carseq.cells.floating import FLOATING
from carseq.cells.latent import feature_genes
from carseq.cells.markers import (
    UNKNOWN,
    exclusive_genes,
    informative_genes,
    kin,
    match_markers,
    read_markers,
)
from carseq.cells.training import (
    QUIET,
    import_scvi,
    on_gpu_or_cpu,
    quiet_training,
    safe_batch_size,
    scvi_epochs,
)
from carseq.library.geometry import DOUBLETS_PER_CELL
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.doublets")

#: Fewer cells than this say nothing about their doublets.
MIN_CELLS = 100
#: Log-likelihood ratio that each of two lineages must reach for a conflict.
MIN_CONFLICT = 9.0
#: Different exclusive genes that each of two lineages must show.
MIN_CONFLICT_GENES = 3
#: A second lineage is ambient RNA where a cell shows no more than so many times what the median cell of its own lineage
#: does, or as much by chance with more than this probability. The lineage must be so much of the sample, more than all
#: doublets are. Of T cells alone, 30 % of whose RNA was ambient RNA of all of the blood, 30 in 104 were doublets at
#: 3,000 UMIs.
TIMES_AMBIENT, MOST_BY_CHANCE, LEAST_OF_SAMPLE = 2.0, 1e-3, 0.25
#: Log-likelihood ratio, tempered, of two transcriptomes against one. Settled on simulated urine (0.0-0.2 % of single
#: cells above it) and on PBMC 1k v3, where what lies above it among the real cells shows CD79A and CD3D at once.
MIN_PAIR = 5.0
#: UMIs of a cell that count in full; of more, the log-likelihood counts as its square root: within a type genes
#: scatter more than a multinomial.
PAIR_UMIS = 250.0
#: Shares of the first cell's RNA, and of ambient RNA, that are tried.
PAIR_SHARES = (0.15, 0.3, 0.5, 0.7, 0.85)
PAIR_AMBIENT = (0.0, 0.1, 0.25, 0.45)
#: Probability of the lineage, and cells of it, that the profile of a type is made from.
PAIR_CONFIDENCE, PAIR_SEEDS = 0.95, 8
#: Fewer cells than this do not train SOLO.
MIN_CELLS_SOLO = 300


def doublets(
    adata: AnnData,
    *,
    seed: int = 0,
    markers: pd.DataFrame | None = None,
    car: str | None = None,
    scvi_solo: bool = False,
    rate: float | None = None,
    per_cell: float = DOUBLETS_PER_CELL,
) -> AnnData:
    """Mark doublets, sample by sample.

    Two kinds of evidence, three with ``scvi_solo``: scrublet's score, cut where its simulated doublets begin but never
    so that more than 1 % plus twice the loading rate of a 10x chip is called (its own threshold is erratic on small
    samples), or where ``rate`` says; and lineage conflict, a droplet that shows at least three exclusive
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
    scvi_solo
        Whether to train scvi-tools' SOLO on samples of 300 cells or more (minutes), as a third kind of evidence,
        under the same bound as scrublet's.
    rate
        Share of droplets with two cells that the loading leads to expect, 0 to 0.5. None: ``per_cell`` times
        the cells. A rate that is given is taken as it is: as many droplets are called as it says, if they score like
        simulated doublets.
    per_cell
        What each cell found adds to that share, from :func:`carseq.library.geometry.doublets_per_cell`.

    Returns
    -------
    AnnData
        The same object, with `obs`: `doublet_score` (NaN where a sample has fewer than 100 cells
        or scrublet failed), `is_doublet`, `doublet_reason` ("", "scrublet", "SOLO", "lineage conflict"), and
        `solo_score` where asked (probability; NaN in samples too small).
    """
    car = car_name(adata, car)
    markers = read_markers() if markers is None else markers
    score, second = np.full((2, adata.n_obs), np.nan)
    called, by_solo = np.zeros((2, adata.n_obs), dtype=bool)
    sample = adata.obs["sample"].astype(str) if "sample" in adata.obs else None
    for name in [""] if sample is None else list(dict.fromkeys(sample)):
        rows = np.arange(adata.n_obs) if sample is None else np.flatnonzero(sample == name)
        score[rows], called[rows] = _scrublet(adata, rows, name, car, seed, rate, per_cell)
        if scvi_solo:
            second[rows], by_solo[rows] = _solo(adata, rows, name, car, seed, per_cell)
    conflict = lineage_conflict(adata, markers, car=car)
    adata.obs["doublet_score"] = score
    if scvi_solo:
        adata.obs["solo_score"] = second
    adata.obs["is_doublet"] = called | by_solo | conflict
    kinds = [conflict, called, by_solo]
    reason = np.select(kinds, ["lineage conflict", "scrublet", "SOLO"], default="")
    adata.obs["doublet_reason"] = reason.astype(str)
    log.info(
        "doublets: %d of %d cells (%d by lineage conflict, %d by scrublet, %d by SOLO)",
        int((called | by_solo | conflict).sum()),
        adata.n_obs,
        *(int(kind.sum()) for kind in kinds),
    )
    return adata


def _bounded(score: np.ndarray, begin: float, per_cell: float) -> np.ndarray:
    """Return True for scores above ``begin`` that are among the largest that loading can explain, shape (n_cells,)."""
    most = min(0.01 + 2 * per_cell * score.size, 0.3)
    return np.asarray(score > max(begin, float(np.quantile(score, 1 - most))))


def _solo(
    adata: AnnData,
    rows: np.ndarray,
    name: str,
    car: str | None,
    seed: int,
    per_cell: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return SOLO's probabilities and calls of the cells ``rows`` of one sample (doi:10.1016/j.cels.2020.05.010)."""
    nothing = np.full(rows.size, np.nan), np.zeros(rows.size, dtype=bool)
    if rows.size < MIN_CELLS_SOLO:
        if rows.size:
            log.info("sample %s: %d cells are too few for SOLO", name, rows.size)
        return nothing
    import anndata as ad

    scvi = import_scvi()
    counts = counts_of(adata)[rows]
    part = ad.AnnData(counts)
    part.var_names = adata.var_names
    part = ad.AnnData(counts[:, feature_genes(part, car=car)].astype(np.float32))
    # A shallow cell may show no variable gene: it has no score, the others do.
    shown = np.flatnonzero(row_sums(part.X) > 0)
    if shown.size < MIN_CELLS_SOLO:
        log.warning("sample %s: too few cells with UMIs in variable genes: no SOLO", name)
        return nothing
    part = part[shown].copy()
    with quiet_training(1):
        from scvi.external import SOLO

        scvi.model.SCVI.setup_anndata(part)

        def learn(accelerator: str) -> np.ndarray:
            scvi.settings.seed = seed
            options = {**QUIET, "accelerator": accelerator}
            model = scvi.model.SCVI(part, gene_likelihood="nb")
            size = safe_batch_size(shown.size)
            model.train(max_epochs=scvi_epochs(shown.size), batch_size=size, **options)
            solo = SOLO.from_scvi_model(model)
            # The cells and twice as many simulated doublets.
            epochs, size = scvi_epochs(3 * shown.size), safe_batch_size(3 * shown.size)
            solo.train(max_epochs=epochs, batch_size=size, **options)
            scores = solo.predict(include_simulated_doublets=True)["doublet"]
            return np.asarray(scores, dtype=float)

        both = on_gpu_or_cpu(learn)
    found, simulated = both[: shown.size], both[shown.size :]
    score, called = nothing
    score[shown] = found
    # Its own limit, 0.5, takes in many a single cell (one call in ten true on simulated urine).
    called[shown] = _bounded(found, max(0.5, float(np.median(simulated))), per_cell)
    return score, called


def _scrublet(
    adata: AnnData,
    rows: np.ndarray,
    name: str,
    car: str | None,
    seed: int,
    rate: float | None,
    per_cell: float,
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
        log.warning("sample %s: too few genes for scrublet", name or "(unnamed)")
        return nothing
    part = ad.AnnData(counts[:, genes].astype(np.float32))
    expected = per_cell * rows.size if rate is None else rate
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sc.pp.scrublet(
                part,
                expected_doublet_rate=float(np.clip(expected, 0.005, 0.3)),
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
    if rate is not None:
        # The loading is known: the quarter of simulated doublets that look most like single cells is given up.
        begin = min(begin, float(np.quantile(simulated, 0.25)))
        return score, score > max(begin, float(np.quantile(score, 1 - rate)))
    return score, _bounded(score, begin, per_cell)


def lineage_conflict(
    adata: AnnData, markers: pd.DataFrame, *, car: str | None = None
) -> np.ndarray:
    """Return True for droplets that show two unrelated lineages, shape (n_cells,).

    Markers of erythrocytes and platelets are left out: the ones are lysed everywhere in urine, the others stick.
    """
    exclusive = exclusive_genes(markers)
    table = markers[
        [
            g in exclusive.get(k, ())
            for k, g in zip(markers["lineage"], markers["gene"], strict=True)
        ]
    ]
    floating = table["cell_type"][table["gene"].isin(FLOATING)]
    table = table[~table["cell_type"].isin(floating)]
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
    marks = np.stack([(atlas.weights[atlas.lineage == n] > 0).any(axis=0) for n in names], axis=1)
    umis = np.asarray(counts_of(adata)[:, atlas.genes] @ marks.astype(np.float64))
    present &= _beyond_ambient(umis, best, row_sums(counts_of(adata)), sample_numbers(adata))
    conflict = np.zeros(adata.n_obs, dtype=bool)
    for i, one in enumerate(names):
        for j in range(i + 1, len(names)):
            if not kin(one, names[j]):
                conflict |= present[:, i] & present[:, j]
    return conflict


def _beyond_ambient(
    umis: np.ndarray, evidence: np.ndarray, totals: np.ndarray, samples: np.ndarray
) -> np.ndarray:
    """Return in which lineages a cell shows more than other cells of its own lineage do, n_cells × n_lineages.

    Its own is the one with the most evidence; there, and where few of the sample's cells are of it, all cells do.

    Parameters
    ----------
    umis, evidence
        UMIs of the exclusive markers of each lineage, and evidence for it, n_cells × n_lineages.
    totals, samples
        UMIs and number of the sample of each cell, shape (n_cells,).
    """
    more = np.ones(umis.shape, dtype=bool)
    own = evidence.argmax(axis=1)
    clear = evidence.max(axis=1) >= MIN_CONFLICT
    for sample, lineage in np.unique(np.stack([samples[clear], own[clear]], axis=1), axis=0):
        rows = np.flatnonzero(clear & (samples == sample) & (own == lineage))
        if rows.size < LEAST_OF_SAMPLE * (samples == sample).sum():
            continue
        rate = np.median(umis[rows] / np.maximum(totals[rows], 1.0)[:, None], axis=0)
        expected = totals[rows, None] * rate
        beyond = umis[rows] > TIMES_AMBIENT * expected
        beyond &= stats.poisson.sf(umis[rows] - 1, expected) < MOST_BY_CHANCE
        beyond[:, lineage] = True
        more[rows] = beyond
    return more


def paired_transcriptomes(
    adata: AnnData, ambient: Mapping[str, pd.DataFrame], *, car: str | None = None
) -> AnnData:
    """Mark doublets of two unrelated lineages by their whole transcriptomes.

    The clear cells of each type give its profile. A cell's counts are a multinomial draw from its own type's profile
    (mixed with those of its lineage's other types) and ambient RNA, or from its own, another lineage's and ambient
    RNA; the shares are those of a grid that fit best. The log-likelihood ratio is tempered beyond :data:`PAIR_UMIS`
    UMIs, and a droplet above :data:`MIN_PAIR` is a doublet. The idea is that of simulated doublets (Wolock 2019,
    doi:10.1016/j.cels.2018.11.005), with types in place of neighbours, which keeps its power in few and shallow cells.

    Parameters
    ----------
    adata
        Annotated cohort: counts in `layers["counts"]`; `obs` with `sample`, `lineage`, `lineage_confidence`,
        `cell_type`, and `is_doublet` and `doublet_reason` of :func:`doublets`.
    ambient
        Ambient profile by sample, from :func:`carseq.cells.ambient_profile`.
    car
        Name of the CAR gene; it takes no part.

    Returns
    -------
    AnnData
        The same object, with `obs`: `doublet_pair` (the tempered log-likelihood ratio, 0 where one transcriptome is
        enough), `doublet_partner` (type of the second cell, empty where none is called); `is_doublet` and
        `doublet_reason` ("two transcriptomes") extended.
    """
    best, partner = np.zeros(adata.n_obs), np.full(adata.n_obs, "", dtype=object)
    kind = adata.obs["cell_type"].astype(str).to_numpy()
    lineage = adata.obs["lineage"].astype(str).to_numpy()
    sample = adata.obs["sample"].astype(str).to_numpy()
    counts = counts_of(adata)
    use = np.flatnonzero(informative_genes(adata, car_name(adata, car)))
    profiles, own_lineage, mean = _type_profiles(adata, counts, use, kind, lineage)
    for name in dict.fromkeys(sample):
        of_sample = sample == name
        seen = pd.Series(lineage[of_sample]).value_counts()
        of_ambient = ambient_fractions(ambient[name], adata.var_names[use])
        # No gene is impossible, and where there are no empty droplets the mean cell stands for ambient RNA.
        of_ambient = (of_ambient + 1e-3 * mean) / (of_ambient.sum() + 1e-3)
        for first in dict.fromkeys(kind[of_sample]):
            # A lone cell of another lineage may itself be the doublet.
            others = [
                second
                for second, its in own_lineage.items()
                if first in profiles and not kin(own_lineage[first], its) and seen.get(its, 0) >= 2
            ]
            rows = np.flatnonzero(of_sample & (kind == first))
            if not others or not rows.size:
                continue
            x = counts[rows][:, use].astype(np.float64)
            siblings = [t for t in profiles if own_lineage[t] == own_lineage[first]]
            alone = _best_mixture(x, profiles, of_ambient, first, siblings, shares=(0.5, 1.0))
            temper = np.minimum(1.0, np.sqrt(PAIR_UMIS / np.maximum(row_sums(x), 1.0)))
            for second in others:
                both = _best_mixture(x, profiles, of_ambient, first, [second], shares=PAIR_SHARES)
                ratio = (both - alone) * temper
                better = ratio > best[rows]
                best[rows[better]], partner[rows[better]] = ratio[better], second
    called = best > MIN_PAIR
    before = adata.obs["is_doublet"].to_numpy(dtype=bool)
    reason = adata.obs["doublet_reason"].astype(str).to_numpy()
    adata.obs["doublet_pair"] = best
    adata.obs["doublet_partner"] = np.where(called, partner, "").astype(str)
    adata.obs["is_doublet"] = before | called
    adata.obs["doublet_reason"] = np.where(called & ~before, "two transcriptomes", reason).astype(
        str
    )
    log.info(
        "doublets: %d cells show two lineages' transcriptomes, %d of them not marked before",
        int(called.sum()),
        int((called & ~before).sum()),
    )
    return adata


def _type_profiles(
    adata: AnnData,
    counts: sparse.csr_matrix,
    use: np.ndarray,
    kind: np.ndarray,
    lineage: np.ndarray,
) -> tuple[dict[str, np.ndarray], dict[str, str], np.ndarray]:
    """Return the profile and the lineage of each type with enough clear cells, and the mean profile."""
    mean = column_sums(counts)[use] + 0.1
    mean /= mean.sum()
    clear = adata.obs["lineage_confidence"].to_numpy(float) > PAIR_CONFIDENCE
    clear &= ~adata.obs["is_doublet"].to_numpy(dtype=bool) & (lineage != UNKNOWN)
    names, number = np.unique(kind, return_inverse=True)
    sums = np.zeros((names.size, use.size))
    for at, block in row_blocks(counts):
        rows = np.flatnonzero(clear[at])
        member = (np.ones(rows.size), (number[at][rows], rows))
        of_type = sparse.csr_matrix(member, shape=(names.size, block.shape[0]))
        sums += (of_type @ block)[:, use].toarray()
    profiles, own_lineage = {}, {}
    for t, name in enumerate(map(str, names)):
        rows = np.flatnonzero(clear & (number == t))
        if rows.size >= PAIR_SEEDS:
            profiles[name] = (sums[t] + 1000 * mean) / (sums[t].sum() + 1000)
            own_lineage[name] = str(lineage[rows[0]])
    return profiles, own_lineage, mean


def _best_mixture(
    x: sparse.csr_matrix,
    profiles: Mapping[str, np.ndarray],
    of_ambient: np.ndarray,
    first: str,
    seconds: list[str],
    *,
    shares: tuple[float, ...],
) -> np.ndarray:
    """Return the largest log-likelihood over seconds, shares and ambient RNA, shape (n_cells,)."""
    best = np.full(x.shape[0], -np.inf)
    for second in seconds:
        mixed = np.stack(
            [
                (1 - c) * (w * profiles[first] + (1 - w) * profiles[second]) + c * of_ambient
                for w in shares
                for c in PAIR_AMBIENT
            ],
            axis=1,
        )
        best = np.maximum(best, np.asarray(x @ np.log(mixed)).max(axis=1))
    return best
