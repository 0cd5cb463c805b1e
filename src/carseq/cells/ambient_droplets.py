"""Which droplets hold ambient RNA alone, among those that were called cells.

A called droplet is compared with its sample's mean, which is what ambient RNA looks like, and with what a cell would
show. Two kinds of evidence are added: markers that exclude each other, which ambient RNA shows all at once and a cell
does not; and the whole transcriptome under the profile of each lineage, learnt from the sample's own cells. Where one
lineage gives most of the sample, its ambient RNA shows no such markers and is like its mean cell; but droplets of
ambient RNA are all alike, and cells are not.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import special
from scipy.optimize import isotonic_regression

from carseq.cells.counts import column_sums, counts_of, row_sums, sample_numbers
from carseq.cells.markers import UNKNOWN, car_genes, informative_genes, kin

if TYPE_CHECKING:
    from anndata import AnnData

#: Share of ambient RNA in a cell, of doublets among cells, and of droplets without a cell before a sample is seen; the
#: cells that this last one weighs as much as.
AMBIENT_IN_CELL, DOUBLETS, EMPTY_SHARE, EMPTY_WEIGHT = 0.3, 0.05, 0.02, 20.0
#: Genes of which a cell of one lineage shows dozens of UMIs and others none; used with the user's marker table too.
LINEAGE_GENES = {
    "T": ("CD3D", "CD3E", "CD3G", "TRAC", "TRBC1", "TRBC2"),
    "NK": ("GNLY", "KLRF1"),
    "B": ("CD79A", "CD79B", "MS4A1", "BANK1", "IGHM", "IGHD"),
    "plasma": ("JCHAIN", "MZB1", "IGKC", "IGHG1", "IGHA1"),
    "myeloid": ("LYZ", "S100A8", "S100A9", "S100A12", "FCN1", "CD14", "C1QA", "C1QB", "FCGR3B", "CSF3R", "G0S2"),
    "kidney": ("UMOD", "GPX3", "ALDOB", "MIOX", "FABP1", "SLC12A1", "AQP2", "PODXL", "NPHS2", "DEFB1"),
    "urogenital": ("KRT13", "KRT5", "KRT17", "KRT4", "KRT7", "UPK2", "UPK1B", "SPRR3", "PSCA"),
}  # fmt: skip
#: Where one lineage (with its kin) gives more than this share of the markers, ambient RNA looks like its cells.
MOST_OF_AMBIENT = 0.8
#: Cells that a lineage's profile is learnt from, at least; with fewer, but more than the second number, its cells are
#: judged by their markers alone.
LEAST_CELLS, SOME_CELLS = 10.0, 2.5
#: A cell is of a type of too few cells if its own molecules give that type this probability.
CLEARLY = 0.5
#: UMIs of the mean profile that each gene of a lineage's profile is shrunk with.
PRIOR_UMIS = 5.0
#: In a droplet of more UMIs than this the transcriptome's log-likelihood is divided by the square root of the excess:
#: genes of a programme rise and fall together, and cells of a lineage differ. Settled on droplets of PBMC 1k v3's mean
#: between its cells (seed 0).
FULL_UMIS = 150.0
#: Droplets that differ from each other no more than draws from one profile hold the same ambient RNA: their genes'
#: excess variance (a squared coefficient of variation) is below the first number. In T cells and myeloid cells of two
#: CITE-seq PBMC sets, downsampled to 100 UMIs and more, it is 0.055 to 1.5, in draws from their mean -0.01 to 0.01.
#: Half the standard error is added. At least the second number of the shallowest droplets are compared. If they
#: differ and the error is below the third number, no more are added; above the fourth number the comparison decides
#: nothing. Droplets of more UMIs than the last number hold more than ambient RNA.
LEAST_EXCESS, LEAST_ALIKE, EXCESS_ERROR, MOST_ERROR = 0.016, 40, 0.006, 0.015
MOST_AMBIENT_UMIS = 1_500
#: Probability that such droplets hold ambient RNA alone.
ALIKE_IS_AMBIENT = 0.9
#: Droplets of one lineage that are ambient RNA by their likeness to the sample's mean are cells all the same where they
#: differ from each other by more than the first number, less two standard errors (as above; the second number, the
#: share that differs most, does not count): the mean is theirs. The third number of them are compared at least. T
#: cells alone of two CITE-seq PBMC sets, of which 5 to 30 % was replaced by ambient RNA of all of the blood, have 0.02
#: to 0.06 at 400 to 3,000 UMIs, droplets of ambient RNA -0.03 to 0.005. Only where their lineage (with its kin) is the
#: last number of the sample: elsewhere the mean is not theirs, and cells that the comparison with it takes for ambient
#: RNA would bring droplets of ambient RNA among them back. With 0.6, 40 to 69 % of the T cells were lost where 30 % of
#: the RNA was ambient and 20 to 50 % of the cells were T cells.
CELLS_DIFFER, MOST_TRIMMED, LEAST_COMPARED, MOST_OF_SAMPLE = 0.01, 0.1, 10, 0.3
#: What leaving out that share takes from the mean of a normal distribution, in standard deviations.
TRIMMED_OFF = 0.195
#: Droplets of like depth, whose share of ambient RNA is learnt apart: the fewest of a group, and the most groups. No
#: group's share is taken to be more than the third number, unless the whole sample's is.
DEPTH_CELLS, MOST_DEPTHS, MOST_EMPTY = 40, 20, 0.5
#: Rounds of learning, and parts that the cells are judged in.
ROUNDS, FOLDS = 3, 5


def ambient_droplet_probability(
    adata: AnnData, lineage: np.ndarray, posterior: np.ndarray
) -> np.ndarray:
    """Return the probability that a droplet holds ambient RNA alone, shape (n_cells,).

    Ambient RNA is taken to be like the sample's mean. It shows the markers of all lineages (:data:`LINEAGE_GENES`) in
    the proportions of that mean; a cell shows those of its own lineage and its kin's, and some ambient ones; a doublet
    those of two. All genes are compared in the same way, with profiles of the lineages and types learnt from the
    sample's cells. How many of a sample's droplets are empty is learnt by EM: next to none of a good library, next to
    all of a failed one. Cells of one lineage cannot be told apart from their own mean: these are compared with each
    other instead (:func:`alike_probability`). For few cells the probability is 0: there is no evidence.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X); `obs["sample"]` where there.
    lineage
        Lineage of each type, shape (n_types,), :data:`UNKNOWN` among them.
    posterior
        Probabilities of the types as far as known, n_cells × n_types.
    """
    result = np.zeros(adata.n_obs)
    if not adata.n_obs:
        return result
    counts = counts_of(adata)
    depth = row_sums(counts)
    samples = sample_numbers(adata)
    shown = _shown(adata, counts)
    genes = np.flatnonzero(informative_genes(adata))
    allowed = _allowed()
    share = {name: posterior[:, lineage == name].sum(axis=1).mean() for name in LINEAGE_GENES}
    weight = np.array(list(share.values())) + 0.02
    marked = np.isin(lineage.astype(str), list(LINEAGE_GENES))
    for g in range(int(samples.max()) + 1):
        rows = np.flatnonzero(samples == g)
        mean = shown[rows].sum(axis=0) + 0.5
        if rows.size < EMPTY_WEIGHT:
            continue
        if (allowed @ mean).max() > MOST_OF_AMBIENT * mean.sum():
            own = counts[rows][:, genes] if len(rows) < adata.n_obs else counts[:, genes]
            result[rows] = alike_probability(own)
            continue
        by_markers = _by_markers(shown[rows], mean / mean.sum(), allowed, weight / weight.sum())
        own = counts[rows][:, genes] if len(rows) < adata.n_obs else counts[:, genes]
        empty, probability = _empty_share(by_markers, depth[rows], EMPTY_SHARE)
        # Droplets that are ambient by their markers are kept out of the profiles: they would resemble them afterwards.
        learnt_from = np.where(marked, (by_markers >= 0)[:, None], True)
        for _ in range(ROUNDS):
            cells = posterior[rows] * learnt_from * (1 - probability)[:, None]
            cell_odds = by_markers + _by_profile(own, lineage, cells, posterior[rows])
            empty, probability = _empty_share(cell_odds, depth[rows], empty)
        probability *= ~_cells_all_the_same(own, probability > 0.5, lineage, posterior[rows])
        result[rows] = probability
    return result


def _cells_all_the_same(
    counts: Any, flagged: np.ndarray, lineage: np.ndarray, posterior: np.ndarray
) -> np.ndarray:
    """Return which of the droplets that are taken for ambient RNA are cells by their differences, shape (n_droplets,).

    Where most cells are of one lineage and the ambient RNA is of others too, as in T cells that were sorted or cut out
    of a matrix, all cells show the same foreign markers and are like their mean. Those of each lineage are compared
    with each other; the shallow ones among them that are all alike are ambient RNA.

    Parameters
    ----------
    counts
        UMIs of one sample, CSR, n_droplets × n_genes.
    flagged
        Which droplets are taken for ambient RNA, shape (n_droplets,).
    lineage
        Lineage of each type, shape (n_types,).
    posterior
        Probabilities of the types, n_droplets × n_types.
    """
    cells = np.zeros(counts.shape[0], dtype=bool)
    kind = lineage.astype(str)[posterior.argmax(axis=1)]
    kinds, number = np.unique(kind, return_counts=True)
    # Droplets of ambient RNA among them, of whatever lineage they seem.
    at = np.flatnonzero(flagged)
    alike = np.zeros(kind.size)
    alike[at] = alike_probability(counts[at])
    for name in np.unique(kind[flagged & (kind != UNKNOWN)]):
        rows = np.flatnonzero(flagged & (kind == name))
        of_kin = number[[kin(k, name) for k in kinds]].sum()
        if of_kin < MOST_OF_SAMPLE * kind.size or rows.size < LEAST_COMPARED:
            continue
        if _differ(counts[rows]):
            cells[rows] = alike[rows] < ALIKE_IS_AMBIENT
    return cells


def _differ(counts: Any) -> bool:
    """Return whether droplets differ from each other as cells do, draws from one profile do not.

    Parameters
    ----------
    counts
        UMIs, CSR, n_droplets × n_genes.
    """
    n = np.maximum(row_sums(counts), 1.0)
    p = column_sums(counts) / n.sum()
    of_p = max(float((p**2).sum()), 1e-12)
    square = counts.copy()
    square.data = square.data.astype(np.float64) ** 2
    # Of each droplet what _excess_variance is of all.
    own = (row_sums(square) - 2 * n * np.asarray(counts @ p).ravel()) / (n**2 * of_p) + 1
    own -= (1 - n / n.sum()) * (1 - of_p) / (n * of_p)
    kept = np.sort(own)[: max(1, int(own.size * (1 - MOST_TRIMMED)))]
    error = float(np.sqrt(2 / ((n**2).sum() * of_p)))
    return bool(kept.mean() + (TRIMMED_OFF * np.sqrt(n.size) - 2) * error > CELLS_DIFFER)


def alike_probability(counts: Any) -> np.ndarray:
    """Return the probability that droplets hold ambient RNA alone because they are all alike, shape (n_droplets,).

    Cells of one type differ from each other in every gene, ambient RNA does not. The shallowest droplets, more and
    more of them, are tested for varying more than multinomial draws from their common profile; the largest set that
    does not is ambient RNA.

    Parameters
    ----------
    counts
        UMIs of one sample, CSR, n_droplets × n_genes.
    """
    result = np.zeros(counts.shape[0])
    n = row_sums(counts)
    order = np.argsort(n, kind="stable")
    order = order[n[order] > 0]
    size = LEAST_ALIKE
    while size <= order.size and np.median(n[order[:size]]) <= MOST_AMBIENT_UMIS:
        excess, error = _excess_variance(counts[np.sort(order[:size])])
        if error <= MOST_ERROR and excess + error / 2 < LEAST_EXCESS:
            result[order[:size]] = ALIKE_IS_AMBIENT
        elif error <= EXCESS_ERROR:
            break
        size = order.size if size < order.size < 1.25 * size else int(1.25 * size)
    return result


def _excess_variance(counts: Any) -> tuple[float, float]:
    """Return how much more genes vary than by chance, as a squared coefficient of variation, and its standard error.

    The mean over genes and droplets of (UMIs - expected)², less the multinomial's variance, over expected².

    Parameters
    ----------
    counts
        UMIs, CSR, n_droplets × n_genes.
    """
    n, umis = row_sums(counts), column_sums(counts)
    total = max(float(n.sum()), 1.0)
    p = umis / total
    square = float((n**2).sum() * (p**2).sum())
    if not square:
        return np.inf, np.inf
    # sum (k - np)² = sum k² - 2 sum k np + sum (np)², without the zeros.
    of_k = float((counts.data.astype(np.float64) ** 2).sum())
    crossed = float(np.asarray(counts.T @ n).ravel() @ p)
    chance = float(p @ (1 - p)) * float((n * (1 - n / total)).sum())
    return (of_k - 2 * crossed + square - chance) / square, float(np.sqrt(2 / square))


def _shown(adata: AnnData, counts: Any) -> np.ndarray:
    """Return the UMIs of :data:`LINEAGE_GENES`, n_cells × n_lineages."""
    barred = car_genes(adata)
    shown = np.zeros((adata.n_obs, len(LINEAGE_GENES)))
    for j, genes in enumerate(LINEAGE_GENES.values()):
        at = adata.var_names.get_indexer([g for g in genes if g not in barred])
        shown[:, j] = row_sums(counts[:, at[at >= 0]])
    return shown


def _allowed() -> np.ndarray:
    """Return which lineages' markers a cell of each lineage may show, square."""
    return np.array([[kin(a, b) for b in LINEAGE_GENES] for a in LINEAGE_GENES], dtype=float)


def _by_markers(
    shown: np.ndarray, q: np.ndarray, allowed: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Return log odds of a cell against ambient RNA, by the markers of lineages, shape (n_cells,).

    Parameters
    ----------
    shown
        UMIs of the markers, n_cells × n_lineages.
    q, weight
        Their shares in ambient RNA, and the shares of the lineages among the cells, shape (n_lineages,).
    allowed
        From :func:`_allowed`.
    """
    n = len(q)
    kinds = [(w * (1 - DOUBLETS), own) for w, own in zip(weight, allowed, strict=True)]
    apart = [(i, j) for i, j in combinations(range(n), 2) if not allowed[i, j]]
    both = np.array([weight[i] * weight[j] for i, j in apart])
    for (i, j), w in zip(apart, both / both.sum() * DOUBLETS, strict=True):
        two = allowed[i] / (allowed[i] * q).sum() + allowed[j] / (allowed[j] * q).sum()
        kinds.append((w, two))
    total = np.full(len(shown), -np.inf)
    for w, own in kinds:
        p = AMBIENT_IN_CELL * q + (1 - AMBIENT_IN_CELL) * own * q / (own * q).sum()
        total = np.logaddexp(total, np.log(w) + shown @ np.log(p / q))
    return total


def _by_profile(
    counts: Any, lineage: np.ndarray, cells: np.ndarray, posterior: np.ndarray
) -> np.ndarray:
    """Return log odds of a cell against ambient RNA, by all genes, shape (n_cells,).

    The cells are judged in :data:`FOLDS` parts, each with profiles learnt from the others: a droplet is like a profile
    that holds its own molecules, whatever it is.

    Parameters
    ----------
    counts
        UMIs of one sample, CSR, n_cells × n_genes.
    lineage
        Lineage of each type, shape (n_types,).
    cells
        Probabilities of the types, n_cells × n_types, without droplets that are taken for ambient RNA.
    posterior
        The same of all droplets.
    """
    total = np.zeros(counts.shape[0])
    kinds = [name for name in dict.fromkeys(lineage) if name != UNKNOWN]
    # A lineage as a whole, and those of its types that are many: macrophages are not like the mean myeloid cell.
    groups = np.array([lineage == name for name in kinds]).astype(float)
    number = groups @ cells.sum(axis=0)
    learnt = np.flatnonzero(number >= LEAST_CELLS)
    if not learnt.size:
        return total
    of_type = cells.sum(axis=0)
    own = np.flatnonzero((of_type >= LEAST_CELLS) & (lineage != UNKNOWN))
    member = np.concatenate([groups[learnt], np.eye(len(lineage))[own]])
    weight = np.concatenate([number[learnt], of_type[own]]) / (2 * number.sum())
    q = column_sums(counts) + 0.1
    q /= q.sum()
    pairs = [
        (i, j)
        for i, j in combinations(range(learnt.size), 2)
        if not kin(kinds[learnt[i]], kinds[learnt[j]])
    ]
    prior = list(weight * (1 - DOUBLETS))
    both = np.array([weight[i] * weight[j] for i, j in pairs])
    prior += list(both / both.sum() * DOUBLETS) if pairs else []
    # Lineages of too few cells for a profile give no evidence for or against a cell. Neither do types of too few cells:
    # the few platelets of a urine are not like its mean myeloid cell.
    few = number[(number >= SOME_CELLS) & (number < LEAST_CELLS)].sum() / number.sum()
    rare = (of_type > 0) & (of_type < LEAST_CELLS) & (lineage != UNKNOWN)
    clear = posterior[:, rare] * (posterior[:, rare] >= CLEARLY)
    unjudged = few + clear.sum(axis=1)
    n = np.maximum(row_sums(counts), 1.0)
    folds = [np.arange(k, counts.shape[0], FOLDS) for k in range(FOLDS)]
    parts = [np.asarray(counts[rows].T @ (cells[rows] @ member.T)).T for rows in folds]
    whole = np.sum(parts, axis=0)
    for rows, part in zip(folds, parts, strict=True):
        umis = np.maximum(whole - part, 0.0)
        added = PRIOR_UMIS * len(q)
        p = (umis + added * q) / (umis.sum(axis=1, keepdims=True) + added)
        profiles = np.array([*p, *((p[i] + p[j]) / 2 for i, j in pairs)])
        log_ratio = np.log(AMBIENT_IN_CELL + (1 - AMBIENT_IN_CELL) * profiles / q)
        temper = np.minimum(1.0, np.sqrt(FULL_UMIS / n[rows]))[:, None]
        scores = temper * np.asarray(counts[rows] @ log_ratio.T) + np.log(prior)
        total[rows] = special.logsumexp(scores, axis=1)
    return np.logaddexp(total, np.log(np.maximum(unjudged, 1e-300)))


def _empty_share(
    cell_odds: np.ndarray, depth: np.ndarray, empty: float
) -> tuple[float, np.ndarray]:
    """Learn the share of droplets without a cell by EM; return it and each droplet's probability of being one.

    The share falls with depth: droplets of ambient RNA hold less than cells. A few of them, all among the shallowest
    droplets, are a small share of the sample and a large one of these.

    Parameters
    ----------
    cell_odds
        Log odds of a cell against ambient RNA, shape (n_cells,).
    depth
        UMIs of each droplet, same shape.
    empty
        Share to begin with.
    """
    order = np.argsort(depth, kind="stable")
    parts = np.array_split(order, max(1, min(MOST_DEPTHS, order.size // DEPTH_CELLS)))
    part = np.empty(order.size, dtype=np.int64)
    for i, rows in enumerate(parts):
        part[rows] = i
    sizes = np.bincount(part).astype(float)
    share = np.full(len(parts), empty)
    for _ in range(20):
        probability = special.expit(special.logit(share)[part] - cell_odds)
        empty = (probability.sum() + EMPTY_SHARE * EMPTY_WEIGHT) / (len(cell_odds) + EMPTY_WEIGHT)
        found = np.bincount(part, weights=probability)
        local = (found + EMPTY_WEIGHT * empty) / (sizes + EMPTY_WEIGHT)
        falling = isotonic_regression(local, weights=sizes, increasing=False).x
        share = np.clip(falling, min(empty, 0.5), max(empty, MOST_EMPTY))
    return float(empty), special.expit(special.logit(share)[part] - cell_odds)
