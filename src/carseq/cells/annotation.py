"""What each cell is: lineage and cell type.

Two methods that share nothing but the marker table: :func:`annotate` writes `lineage` and `cell_type` (a mixture
model, trained on the cells at hand) and `lineage_2` and `cell_type_2` (a univariate linear model for each cell,
untrained), so that disagreement shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse, special

from carseq.cells.ambient_droplets import ambient_droplet_probability
from carseq.cells.counts import (
    DENSE_ROWS,
    car_name,
    column_sums,
    counts_of,
    log_normalised,
    row_blocks,
    row_sums,
    sample_numbers,
)
from carseq.cells.floating import (
    MOST_SMALLER,
    TIMES_FOREIGN,
    foreign_rates,
    give_floating,
    without_nucleus,
)
from carseq.cells.lineages import blood_coverage, blood_scores
from carseq.cells.markers import (
    T_LINEAGE,
    UNKNOWN,
    Atlas,
    car_genes,
    informative_genes,
    is_single_t,
    kin,
    match_markers,
    read_markers,
)
from carseq.cells.subtypes import (
    is_own_table,
    read_t_type_ids,
    resolve,
    t_coverage,
    t_probabilities,
)
from carseq.io.genes import marker_coverage
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["T_LINEAGE", "annotate", "is_single_t", "marker_evidence"]


log = get_logger("cells.annotation")

#: Probability that a cell of a type shows (expresses) one of its markers.
P_ON = 0.7
#: Probability that it expresses a marker of negative weight.
P_ON_NEGATIVE = 0.02
#: No single gene decides: bounds of its log-likelihood ratio.
MAX_LLR = 5.0
#: Log prior odds of any given type against "unknown".
LOG_PRIOR = -3.0
#: UMIs of a cell that count as independent in the transcriptome-wide profile comparison.
PROFILE_UMIS = 250.0
#: Bound (natural log) of what the transcriptome-wide comparison may add for or against a type.
PROFILE_BOUND = 8.0
#: UMIs of the mean profile that each gene of a type's profile is shrunk with.
PROFILE_PRIOR = 5.0
#: A profile of fewer cells than this is made anew for each cell that trained it with more than the second's weight,
#: without the cell itself: a cell is like itself, whatever it is.
FEW_SEEDS, LEAST_SHARE = 500.0, 0.02
#: Lineages that share so many genes that their markers say little between them, and the most that these say, natural
#: log: the levels counted in blood decide (:mod:`carseq.cells.lineages`). In a sample of NK cells alone the rates that
#: its cells teach made T cells of NK cells that show CD3D and CD3E (those of cytomegalovirus carriers, without FCER1G:
#: Schlums 2015, doi:10.1016/j.immuni.2015.02.008), while the counted levels knew 12 of 12. A cluster says at most
#: twice as much: killing T cells lie among NK cells, and which cluster takes them depends on the study's other samples.
RELATED_IN_BLOOD, RELATED_BOUND = ("T", "NK"), 1.0
#: What a cluster's mix of types may add for or against a type, natural log: a prior, which the cell's own molecules
#: overrule.
CLUSTER_BOUND = 2.0
#: What a sample may add against a lineage (or "unknown") that it has next to none of, natural log: where it holds one
#: type the transcriptome cannot tell its cells from the mean, and a shallow cell with few markers has its sample alone.
SAMPLE_BOUND = 3.0
#: A droplet with fewer UMIs or genes than this is given no type: what it holds is a handful of ambient molecules.
LEAST_TYPED_UMIS, LEAST_TYPED_GENES = 50, 30
#: No label is surer (log odds) than one unit for so many UMIs of the cell.
UMIS_PER_NAT = 20.0
#: The doubt that is left in the lineage of a cell of few marker molecules; it falls with each of them, by
#: their number (and one) to the power of 1.5. With 0.15, 45 of the 10k protein set's downsampled cells were expected to
#: be of no known lineage, and one T cell was of another than it was given: the doubt was too large, but cells of other
#: tissues may be recognized less well than those of blood.
DOUBT = 0.08
#: The same where it shows none: of 51 T cells without a molecule of any marker (906 cells of PBMC 1k v3, downsampled to
#: 700 and 400 UMIs) 43 were T cells at full depth.
DOUBT_WITHOUT = 0.18
#: A type's confidence is at most this and the share of its markers that the matrix holds: below half of them, as the
#: warning says, the label is doubtful. In PBMC cut to 765 genes a third of the B cells were plasma cells at 1.0, by
#: three markers of twelve.
LEAST_COVERED = 0.5
#: Lineages that blood has none of, and how many different markers of theirs (or their kin's) a cell must show. Genes
#: that blood cells show too do not count: those seen in 2 % or more of the cells of one of three PBMC sets (1k v3, and
#: the CITE-seq sets 10k and 5k v3), and those of macrophages and neutrophils (Klocke 2022).
OUTSIDE_BLOOD, LEAST_OUTSIDE = ("kidney", "urogenital"), 2
IN_BLOOD_TOO = (
    "ACPP", "AQP3", "CA2", "CFH", "CLIC5", "CNFN", "CUBN", "GATA3", "GATM", "HAVCR1", "KLHL3", "KRT18", "LCN2", "MAFB",
    "PLCG2", "PTGDS", "PTPRO", "SLC8A1", "SOX4", "SPP1", "UPK3A", "VCAM1",
)  # fmt: skip
#: Genes of which a cell must show one molecule (and one more for so many UMIs of the cell) before it is given a type
#: whose other markers the lineage's other types share. Of 150 monocytes alone at 1,000 UMIs, 40 were called
#: neutrophils, by S100A8, CSF3R and NAMPT; one showed a gene that monocytes lack.
OF_MACROPHAGES = ("C1QA", "C1QB", "C1QC", "APOE", "APOC1", "MRC1", "SPP1", "GPNMB", "TREM2")
OWN_GENES = {
    "neutrophil": ("FCGR3B", "CXCR1", "CXCR2", "CMTM2", "PROK2", "ADGRG3", "ALPL"),
    "non-classical monocyte": ("FCGR3A", "CDKN1C", "HES4"),
    "conventional dendritic cell": ("CD1C", "CD1E", "FCER1A", "CLEC10A", "CLEC9A", "XCR1", "LAMP3"),
    "macrophage": OF_MACROPHAGES,
    "IL1B macrophage": OF_MACROPHAGES,
    "MT1G macrophage": OF_MACROPHAGES,
    "SPP1 macrophage": ("SPP1",),
    "platelet": ("PPBP", "PF4", "TUBB1", "GP9", "ITGA2B", "TREML1", "CAVIN2"),
}
UMIS_PER_OWN = 3_000.0
#: Molecules of these genes per UMI of a cell of the type, at least (FCGR3A and CDKN1C in non-classical monocytes of
#: PBMC 1k v3: 0.002), and the least probability of showing none.
OWN_RATE, LEAST_OWN = 1.5e-3, 0.02
#: Cells with clear markers needed to learn a type's profile; of "unknown", this share of all cells.
MIN_SEEDS = 8
UNKNOWN_SEEDS = 0.03
#: Prior rates (UMIs per UMI) of a marker where it is expressed and where not, the order of CD3D in
#: PBMC T cells and of ambient CD3D; they weigh as much as three cells of 2,000 UMIs.
PRIOR_ON, PRIOR_OFF, PRIOR_UMIS = 4e-4, 1e-5, 6000.0


def _rates(markers: Any, totals: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Learn each marker's rate (UMIs per UMI) where it is expressed and where it is not.

    A mixture of two Poisson rates a gene by EM, with gamma priors, so that eight cells or a sample
    of one type still give usable rates. The off rate is at most a quarter of the
    on rate, and in each sample at least a tenth of the sample's mean rate (ambient RNA).

    Parameters
    ----------
    markers
        UMIs of the markers, CSR, n_cells × n_genes.
    totals
        UMIs a cell, shape (n_cells,).
    groups
        Sample number of each cell, shape (n_cells,).

    Returns
    -------
    tuple
        `on`, shape (n_genes,), and `off`, shape (n_samples, n_genes).
    """
    weight, prior_on, prior_off = PRIOR_UMIS, PRIOR_ON, PRIOR_OFF
    step = max(1, int(np.ceil(totals.size / DENSE_ROWS)))
    k, n = markers[::step].toarray(), np.maximum(totals[::step], 1.0)[:, None]
    share = np.full(k.shape[1], 0.2)
    on = np.maximum(np.quantile(k / n, 0.95, axis=0), prior_on)
    off = np.full(k.shape[1], prior_off)
    for _ in range(25):
        p = special.expit(np.log(share / (1 - share)) + k * np.log(on / off) - n * (on - off))
        new_on = ((p * k).sum(0) + weight * prior_on) / ((p * n).sum(0) + weight)
        new_off = (((1 - p) * k).sum(0) + weight * prior_off) / (((1 - p) * n).sum(0) + weight)
        share = np.clip(p.mean(0), 0.01, 0.95)
        moved = np.abs(np.log(new_on / on)).max()
        on, off = new_on, np.clip(new_off, 1e-7, 0.25 * new_on)
        if moved < 1e-3:
            break
    return on, _floor_off(off, on, markers, totals, groups)


def _floor_off(
    off: np.ndarray, on: np.ndarray, markers: Any, totals: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """Raise off rates to a tenth of each sample's mean rate (ambient RNA), n_samples × n_genes."""
    by_sample = np.zeros((int(groups.max()) + 1, markers.shape[1]))
    for g in range(len(by_sample)):
        rows = np.flatnonzero(groups == g)
        mean = column_sums(markers[rows]) / max(totals[rows].sum(), 1.0)
        by_sample[g] = np.minimum(np.maximum(off, 0.1 * mean), 0.25 * on)
    return by_sample


def _rates_by_type(
    markers: Any, totals: np.ndarray, groups: np.ndarray, posterior: np.ndarray, atlas: Atlas
) -> tuple[np.ndarray, np.ndarray]:
    """Learn the rates of :func:`_rates` from cells whose types are known with ``posterior``.

    Where single cells are shallow this separates on from off far better than a gene on its own.
    """
    member = np.concatenate([np.zeros((1, atlas.genes.size)), atlas.weights > 0])
    sums = np.asarray(markers.T @ posterior).T  # types × genes
    umis = totals @ posterior
    on = (member * sums).sum(0) / P_ON + PRIOR_UMIS * PRIOR_ON
    on /= umis @ member + PRIOR_UMIS
    off = ((1 - member) * sums).sum(0) + PRIOR_UMIS * PRIOR_OFF
    off /= umis @ (1 - member) + PRIOR_UMIS
    off = np.clip(off, 1e-7, 0.25 * on)
    return on, _floor_off(off, on, markers, totals, groups)


def marker_evidence(
    adata: AnnData,
    atlas: Atlas,
    weights: np.ndarray | None = None,
    posterior: np.ndarray | None = None,
    pooled: Any = None,
    foreign: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Return log-likelihood ratios of each type against "none of them", n_cells × n_types.

    Each marker is expressed by its type with probability :data:`P_ON`; counts are Poisson with the
    on or the off rate; the sum is over markers, each bounded by :data:`MAX_LLR`.

    Parameters
    ----------
    adata
        Raw counts; `obs["sample"]` is used where there.
    atlas
        From :func:`match_markers`.
    weights
        Weights to use, (any number of sets) × n_genes. None: those of the atlas.
    posterior
        Probabilities of the types, n_cells × (1 + n_types), to learn rates from. None: each gene's
        rates are learnt from the gene alone.
    pooled
        Membership of cells in clusters, CSR, n_clusters × n_cells: without ``posterior``, rates are
        learnt from the clusters' sums rather than from single cells, which may be too shallow.
    foreign
        From :func:`foreign_rates`, where it is asked more than once.
    """
    weights = atlas.weights if weights is None else weights
    evidence = np.zeros((adata.n_obs, len(weights)))
    if not adata.n_obs or not atlas.types:
        return evidence
    counts = counts_of(adata)
    totals, markers, groups = row_sums(counts), counts[:, atlas.genes], sample_numbers(adata)
    if posterior is not None:
        on, off = _rates_by_type(markers, totals, groups, posterior, atlas)
    elif pooled is not None and pooled.shape[0] >= 4:
        on, low = _rates(pooled @ markers, pooled @ totals, np.zeros(pooled.shape[0], dtype=int))
        off = _floor_off(low[0], on, markers, totals, groups)
    else:
        on, off = _rates(markers, totals, groups)
    floating, size = foreign or foreign_rates(adata, atlas)
    positive, negative = np.maximum(weights, 0).T, np.maximum(-weights, 0).T
    for start in range(0, adata.n_obs, DENSE_ROWS):
        rows = slice(start, start + DENSE_ROWS)
        k, n, low = markers[rows].toarray(), totals[rows][:, None], off[groups[rows]]
        floats = floating[groups[rows]] * np.clip(
            size[groups[rows], None] / np.maximum(n, 1), 1, MOST_SMALLER
        )
        high = np.maximum(on, TIMES_FOREIGN * floats)
        low = np.maximum(low, floats)
        ratio = np.minimum(k * np.log(high / low) - n * (high - low), 50.0)
        gain = np.log(P_ON * np.exp(ratio) + 1 - P_ON)
        evidence[rows] = np.minimum(gain, MAX_LLR) @ positive
        if negative.any():
            loss = np.log(P_ON_NEGATIVE * np.exp(ratio) + 1 - P_ON_NEGATIVE)
            evidence[rows] -= np.minimum(loss, MAX_LLR) @ negative
    return evidence


def _profile_scores(
    counts: Any,
    genes: np.ndarray,
    totals: np.ndarray,
    posterior: np.ndarray,
    shown: np.ndarray,
    lineage: np.ndarray,
) -> np.ndarray:
    """Compare whole transcriptomes with those of the clear cells of each type.

    Parameters
    ----------
    counts
        Raw counts, CSR, n_cells × n_genes.
    genes
        Positions of the informative genes.
    totals
        UMIs a cell, shape (n_cells,).
    posterior
        Probabilities so far, n_cells × (1 + n_types); column 0 is "unknown".
    shown
        Different markers of each column seen in each cell, same shape: one UMI of one gene does
        not make a clear cell.
    lineage
        Lineage of each column.

    Returns
    -------
    np.ndarray
        Log-likelihood of each column against the mean profile, tempered to :data:`PROFILE_UMIS`
        independent UMIs; 0 for a type without enough clear cells in it and in its lineage.
    """
    n_cells, n_types = posterior.shape
    kinds, number = np.unique(lineage.astype(str), return_inverse=True)
    by_lineage = posterior @ np.eye(len(kinds))[number]
    best = posterior.argmax(axis=1)
    clear = by_lineage[np.arange(n_cells), number[best]] > 0.8
    # A shallow cell without markers is not evidence for an unknown kind of cell.
    clear &= np.where(best > 0, shown[np.arange(n_cells), best] >= 2, totals >= 1000)
    enough = max(MIN_SEEDS, 0.002 * n_cells)
    # A cell clear in its lineage trains the types of it in proportion to their probabilities.
    sums, seeds = np.zeros((counts.shape[1], n_types)), np.zeros(n_types)
    for at, block in row_blocks(counts):
        own_lineage = clear[at, None] & (number[None, :] == number[best[at], None])
        weight = np.where(own_lineage, posterior[at], 0.0)
        sums += np.asarray(block.T @ weight)
        seeds += weight.sum(axis=0)
    sums = sums[genes].T
    whole = column_sums(counts)[genes] + 0.1
    mean = whole / whole.sum()
    # Of few cells the mean is each cell's own, too, whether it trained a profile or not.
    few = n_cells < FEW_SEEDS
    log_ratio = np.zeros((n_types, counts.shape[1]))
    trained: dict[int, np.ndarray] = {}
    for t in range(n_types):
        rows = np.array([t]) if seeds[t] >= enough else np.flatnonzero(lineage == lineage[t])
        # A few damaged cells are not a kind of cell: their profile would attract others.
        least = max(enough, UNKNOWN_SEEDS * n_cells) if lineage[t] == UNKNOWN else enough
        if seeds[rows].sum() < least:
            continue
        total = sums[rows].sum(axis=0)
        log_ratio[t, genes] = against_mean(total, total.sum() * mean)
        if seeds[rows].sum() < FEW_SEEDS:
            trained[t] = rows
    temper = np.minimum(1.0, PROFILE_UMIS / np.maximum(totals, 1.0))
    scores = np.empty((n_cells, n_types))
    for at, block in row_blocks(counts):
        scores[at] = block @ log_ratio.T
        own_lineage = clear[at, None] & (number[None, :] == number[best[at], None])
        weight = np.where(own_lineage, posterior[at], 0.0)
        for t, rows in trained.items():
            share = weight[:, rows].sum(axis=1)
            own = np.arange(len(share)) if few else np.flatnonzero(share > LEAST_SHARE)
            if own.size:
                total = sums[rows].sum(axis=0)
                cells = sparse.csr_matrix(block[own][:, genes])
                scores[np.arange(n_cells)[at][own], t] = without_itself(
                    cells, share[own], total, whole
                )
        scores[at] *= temper[at, None]
    return scores


def against_mean(umis: Any, expected: Any) -> np.ndarray:
    """Return the log ratio of a type's UMIs of a gene to those that the mean profile gives it.

    Shrunk to 1 by :data:`PROFILE_PRIOR` UMIs a gene: a gene that few cells show says little about a cell without it. A
    tenth of every cell is ambient.
    """
    return np.asarray(
        np.log(0.9 * (umis + PROFILE_PRIOR) / (expected + PROFILE_PRIOR) + 0.1), dtype=float
    )


def without_itself(
    cells: sparse.csr_matrix, share: np.ndarray, total: np.ndarray, whole: np.ndarray
) -> np.ndarray:
    """Compare cells with a profile and the mean that they helped to make, each without its own UMIs, shape (n_cells,).

    Parameters
    ----------
    cells
        UMIs of the informative genes, CSR, n_cells × n_genes.
    share
        Weight with which each cell trained the profile, shape (n_cells,).
    total, whole
        UMIs of the profile, and of all cells, shape (n_genes,).
    """
    row = np.repeat(np.arange(cells.shape[0]), np.diff(cells.indptr))
    n = row_sums(cells)
    own = n * share
    umis = total[cells.indices] - share[row] * cells.data
    # Else the mean holds genes of the cell that the profile has lost, and is more like the cell than that is.
    mean = (whole[cells.indices] - cells.data) / np.maximum(whole.sum() - n, 1.0)[row]
    expected = (total.sum() - own[row]) * mean
    # The genes that a cell does not show are not asked: their ratio does not enter a multinomial.
    terms = cells.data * against_mean(np.maximum(umis, 0.0), np.maximum(expected, 0.0))
    return np.bincount(row, weights=terms, minlength=cells.shape[0])


def bounded_between(evidence: np.ndarray, groups: list[np.ndarray], bound: float) -> np.ndarray:
    """Raise groups of columns so that the best of none is more than ``bound`` below the best of all groups.

    Parameters
    ----------
    evidence
        Log-likelihood ratios, n_cells × n_types; changed in place.
    groups
        Columns of each group.
    bound
        Largest difference, natural log.

    Returns
    -------
    np.ndarray
        ``evidence``.
    """
    groups = [columns for columns in groups if columns.size]
    if len(groups) < 2 or not np.isfinite(bound):
        return evidence
    best = np.stack([evidence[:, columns].max(axis=1) for columns in groups], axis=1)
    lacking = np.maximum(best.max(axis=1, keepdims=True) - bound - best, 0.0)
    for columns, more in zip(groups, lacking.T, strict=True):
        evidence[:, columns] += more[:, None]
    return evidence


def annotate(
    adata: AnnData, markers: pd.DataFrame | None = None, *, car: str | None = None
) -> AnnData:
    """Give every cell a lineage and a cell type.

    1. Markers: a likelihood ratio a cell and type (:func:`marker_evidence`).
    2. Transcriptome: the clear cells of each type train a multinomial profile, with which shallow
       cells are compared.
    3. Clusters: each cluster has its own mix of types, learnt by EM, as prior of its cells.

    4. T cells: their type by their own molecules (:func:`carseq.cells.subtypes.t_types`), which takes the place of what
       the steps above found within the lineage.

    A cell is `unknown` where no lineage reaches probability 0.5, and where it has fewer than 50 UMIs or 30 genes. A
    type within a lineage that does not reach half of the lineage's probability is reported as the lineage's generic
    type, a T cell that its molecules do not tell as `CD4 T cell`, `CD8 T cell` or `T cell`.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X), n_cells × n_genes. `obs["leiden"]` and `obs["sample"]`
        are used where there.
    markers
        From :func:`read_markers`; None: the table that comes with carseq.
    car
        Name of the CAR gene; None: `uns["car"]`. It takes no part.

    Returns
    -------
    AnnData
        The same object, with `obs`: `lineage`, `cell_type`, `cell_type_confidence` (probability, 0 to 1),
        `cell_type_ontology_term_id` (Cell Ontology; empty where the type has none), `lineage_confidence`,
        `marker_coverage` (share of the type's markers that the matrix holds), `lineage_2` and
        `cell_type_2` (second method), `obsm["lineage_probability"]` (table, n_cells × n_lineages) and
        `obsm["t_type_probability"]` (table, n_cells × n_types: probabilities given that it is a T cell; 0 for others).
    """
    car = car_name(adata, car)
    markers = read_markers() if markers is None else markers
    atlas = match_markers(adata, markers, car)
    if not atlas.types and adata.n_obs:
        log.warning("no marker of the table is among the genes: every cell is %s", UNKNOWN)
    lineage = np.array([UNKNOWN, *atlas.lineage], dtype=object)
    names = np.array([UNKNOWN, *atlas.types], dtype=object)
    nucleated = ~without_nucleus(adata, atlas)
    at = np.r_[0, 1 + np.flatnonzero(nucleated)]
    posterior = np.zeros((adata.n_obs, len(names)))
    posterior[:, at] = _posterior(adata, atlas.part(nucleated), lineage[at], car)
    few_outside = _few_outside(adata, atlas)
    doubtful = dict.fromkeys(OUTSIDE_BLOOD, few_outside)
    give_floating(adata, atlas, ~nucleated, posterior, doubtful)

    lineages = list(dict.fromkeys(lineage))
    by_lineage = np.stack([posterior[:, lineage == name].sum(axis=1) for name in lineages], axis=1)
    held = blood_coverage(adata.var_names, car_genes(adata, car))
    by_lineage = _with_doubt(adata, atlas, lineages, by_lineage, lineage, posterior, held)
    confidence = by_lineage.max(axis=1, initial=0.0)
    chosen = np.where(confidence >= 0.5, by_lineage.argmax(axis=1), 0)
    chosen_lineage = np.array(lineages, dtype=object)[chosen]
    within = np.where(lineage[None, :] == chosen_lineage[:, None], posterior, 0.0)
    lacks_own = _weigh_own_genes(adata, names, within)
    best = within.argmax(axis=1)
    share = within.max(axis=1) / np.maximum(within.sum(axis=1), 1e-12)
    resolved = (share >= 0.5) & (chosen > 0)
    for t, few in lacks_own.items():
        resolved &= ~((best == t) & few)
    generic = np.where(chosen > 0, chosen_lineage + " cell", UNKNOWN)
    own = by_lineage[np.arange(adata.n_obs), chosen]
    kind = np.where(resolved, names[best], generic)
    sure = np.where(resolved, own * share, own)
    is_t = chosen_lineage == T_LINEAGE
    if is_own_table(atlas.types_of(T_LINEAGE)):
        of_t, allowed = t_probabilities(adata, is_t, car_genes(adata, car))
        kind[is_t], probability = resolve(of_t.to_numpy(), list(of_t), allowed)
        sure[is_t] = own[is_t] * probability
        adata.obsm["t_type_probability"] = of_t.reindex(adata.obs_names).fillna(0.0)
    coverage = _coverage_of(kind, adata, markers, car)
    sure = np.minimum(sure, np.where(np.isnan(coverage), 1.0, LEAST_COVERED + coverage))
    adata.obs["lineage"] = chosen_lineage.astype(str)
    adata.obs["cell_type"] = kind.astype(str)
    adata.obs["cell_type_ontology_term_id"] = _ontology_terms(kind, markers)
    adata.obs["cell_type_confidence"] = sure.clip(0, 1)
    adata.obs["lineage_confidence"] = own.clip(0, 1)
    adata.obs["marker_coverage"] = coverage
    adata.obsm["lineage_probability"] = pd.DataFrame(by_lineage, adata.obs_names, lineages)
    second = _second_opinion(adata, atlas)
    adata.obs["cell_type_2"] = names[second].astype(str)
    adata.obs["lineage_2"] = lineage[second].astype(str)
    if adata.n_obs:
        same = (adata.obs["lineage"] == adata.obs["lineage_2"]).mean()
        found = adata.obs["lineage"].value_counts()
        log.info(
            "lineages: %s; the second method agrees on %.0f %% of cells",
            ", ".join(f"{name} {n}" for name, n in found.items()),
            100 * same,
        )
    return adata


def untype(adata: AnnData, rows: np.ndarray) -> AnnData:
    """Take the types from cells that are none, such as those of a failed library: they become "unknown".

    Parameters
    ----------
    adata
        Cells with `obs` and `obsm` of :func:`annotate`.
    rows
        Which of them, shape (n_cells,), bool.

    Returns
    -------
    AnnData
        The same object. Their confidence is the probability of "unknown" that their molecules gave.
    """
    obs = adata.obs
    for column in ("lineage", "cell_type", "lineage_2", "cell_type_2"):
        obs.loc[rows, column] = UNKNOWN
    obs.loc[rows, "cell_type_ontology_term_id"] = ""
    obs.loc[rows, "marker_coverage"] = np.nan
    unknown = adata.obsm["lineage_probability"][UNKNOWN].to_numpy(float)
    for column in ("cell_type_confidence", "lineage_confidence"):
        obs.loc[rows, column] = unknown[rows]
    if "t_type_probability" in adata.obsm:
        adata.obsm["t_type_probability"].loc[rows] = 0.0
    return adata


def _weigh_own_genes(
    adata: AnnData, types: np.ndarray, within: np.ndarray
) -> dict[int, np.ndarray]:
    """Weigh the absence of genes that a type must show (:data:`OWN_GENES`); return by type which cells lack them.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X).
    types
        Names of the types, shape (n_types,).
    within
        Probabilities of the types, n_cells × n_types. Changed in place: those of types that a cell lacks the genes of
        are multiplied by the probability that a cell of the type, as deep, shows none.
    """
    counts = counts_of(adata)
    totals = row_sums(counts)
    absent = np.clip(np.exp(-OWN_RATE * totals), LEAST_OWN, 1.0)
    lacks = {}
    for t, name in enumerate(types):
        at = np.flatnonzero(adata.var_names.isin(OWN_GENES.get(name, ())))
        if at.size:
            few = row_sums(counts[:, at]) < 1 + np.floor(totals / UMIS_PER_OWN)
            within[few, t] *= absent[few]
            lacks[t] = few
    return lacks


def _ontology_terms(kind: np.ndarray, markers: pd.DataFrame) -> np.ndarray:
    """Return the Cell Ontology term of each cell's type, shape (n_cells,): empty for unknown types and those without.

    The marker table's own term comes first, so that a user's table may name another.
    """
    terms = read_t_type_ids()["cl_id"].to_dict()
    if "cl_id" in markers:
        given = markers[markers["cl_id"].astype(str).ne("")]
        terms |= dict(zip(given["cell_type"], given["cl_id"], strict=True))
    return pd.Series(kind, dtype=object).map(terms).fillna("").to_numpy(str)


def _few_outside(adata: AnnData, atlas: Atlas) -> np.ndarray:
    """Return which cells show fewer genes that blood lacks than a cell of the tract does, shape (n_cells,)."""
    of_tract = np.isin(atlas.lineage.astype(str), OUTSIDE_BLOOD)
    outside = (atlas.weights[of_tract] > 0).any(axis=0)
    outside &= ~adata.var_names[atlas.genes].isin(IN_BLOOD_TOO)
    shown = counts_of(adata)[:, atlas.genes[outside]].getnnz(axis=1)
    return np.asarray(shown < min(LEAST_OUTSIDE, int(outside.sum())))


def _with_doubt(
    adata: AnnData,
    atlas: Atlas,
    lineages: list[str],
    by_lineage: np.ndarray,
    lineage: np.ndarray,
    posterior: np.ndarray,
    held: float,
) -> np.ndarray:
    """Return probabilities of the lineages that are not more certain than the cell's molecules allow.

    - A droplet of fewer than :data:`LEAST_TYPED_UMIS` UMIs or :data:`LEAST_TYPED_GENES` genes is unknown.
    - The log odds of any lineage stay below the cell's UMIs over :data:`UMIS_PER_NAT`.
    - A lineage of which the cell shows few marker molecules keeps :data:`DOUBT`, of which it shows none
      :data:`DOUBT_WITHOUT`.
    - A droplet that shows the markers of all lineages, as ambient RNA does, is not a cell
      (:func:`ambient_droplet_probability`).
    - A cell of the kidney or the urinary tract shows several genes that no blood cell has (:data:`LEAST_OUTSIDE`).
    - Where the matrix holds fewer markers of a related lineage, that one is not excluded: NK cells cannot be told apart
      from T cells by a panel without T-cell markers. Between these two it counts as far as the panel lacks the genes
      counted in blood, by which they are recognized (``held``: the share that it has).

    What is taken from a lineage goes to "unknown".
    """
    if not adata.n_obs or not atlas.types:
        return by_lineage
    counts = counts_of(adata)
    totals = row_sums(counts)
    genes = np.asarray(counts.getnnz(axis=1))
    own = counts[:, atlas.genes]
    few_outside = _few_outside(adata, atlas)
    most = np.empty_like(by_lineage)
    most[:, 0] = 1.0
    for j, name in enumerate(lineages):
        if name == UNKNOWN:
            continue
        marks = (atlas.weights[atlas.lineage == name] > 0).any(axis=0)
        shown = row_sums(own[:, np.flatnonzero(marks)])
        lacking = max(
            (atlas.coverage[name] - atlas.coverage[k] for k in atlas.coverage if kin(name, k)),
            default=0.0,
        )
        if name in RELATED_IN_BLOOD:
            lacking *= 1 - held
        doubt = np.where(shown > 0, DOUBT / (1 + shown) ** 1.5, DOUBT_WITHOUT)
        most[:, j] = np.minimum(special.expit(totals / UMIS_PER_NAT), 1 - doubt)
        most[:, j] -= 0.5 * max(lacking, 0.0)
        if name in OUTSIDE_BLOOD:
            most[few_outside, j] = np.minimum(most[few_outside, j], 0.4)
    most[:, 1:] *= 1 - ambient_droplet_probability(adata, lineage, posterior)[:, None]
    most[(totals < LEAST_TYPED_UMIS) | (genes < LEAST_TYPED_GENES), 1:] = 0.0
    capped = np.minimum(by_lineage, most)
    capped[:, 0] += (by_lineage - capped).sum(axis=1)
    return capped


def _coverage_of(
    kind: np.ndarray, adata: AnnData, markers: pd.DataFrame, car: str | None
) -> np.ndarray:
    """Return the share of the markers of each cell's type that the matrix holds, NaN for unknown, shape (n_cells,)."""
    held = adata.var_names.difference(list(car_genes(adata, car)))
    table = marker_coverage(held, markers).set_index("cell_type")["share"]
    shares = {**table.to_dict(), **t_coverage(held)}
    return pd.Series(kind).map(shares).to_numpy(float)


def _posterior(adata: AnnData, atlas: Atlas, lineage: np.ndarray, car: str | None) -> np.ndarray:
    """Return probabilities of the types, n_cells × (1 + n_types); column 0 is "unknown"."""
    n_cells, n_types = adata.n_obs, len(lineage)
    prior = np.r_[0.0, np.full(n_types - 1, LOG_PRIOR)]
    if not n_cells or n_types == 1:
        return np.ones((n_cells, n_types)) / n_types
    if "leiden" in adata.obs:
        clusters = np.asarray(pd.factorize(adata.obs["leiden"].astype(str))[0])
    else:
        clusters = np.zeros(n_cells, dtype=np.int64)
    member = sparse.csr_matrix(
        (np.ones(n_cells), (clusters, np.arange(n_cells))), shape=(clusters.max() + 1, n_cells)
    )
    base = special.softmax(prior)
    log_base = np.log(base)
    samples = sample_numbers(adata)
    of_sample = np.eye(int(samples.max()) + 1)[samples]
    kinds, number = np.unique(lineage.astype(str), return_inverse=True)
    member_of = np.eye(len(kinds))[number]
    usual = base @ member_of

    blood = blood_scores(counts_of(adata), adata.var_names, lineage, car_genes(adata, car))
    related = [np.flatnonzero(lineage == name) for name in RELATED_IN_BLOOD]
    held = blood_coverage(adata.var_names, car_genes(adata, car))
    bound = RELATED_BOUND / held if held else np.inf

    def sample_prior(posterior: np.ndarray) -> np.ndarray:
        # Shallow cells make clusters of their own, whose mix says no more than they do: which lineages a sample has
        # next to none of is the sample's to say.
        share = (of_sample.T @ (posterior @ member_of) + 5 * usual) / (
            of_sample.sum(axis=0)[:, None] + 5
        )
        return np.clip(np.log(share / usual), -SAMPLE_BOUND, 0.0) @ member_of.T

    def cluster_prior(posterior: np.ndarray) -> np.ndarray:
        # Five cells' worth of the base prior; a cluster never rules a type out.
        mix = (member @ posterior + 5 * base) / (row_sums(member)[:, None] + 5)
        log_mix = np.log(0.995 * mix + 0.005 / n_types)
        log_mix = np.clip(log_mix - log_base, -CLUSTER_BOUND, CLUSTER_BOUND)
        return log_base + bounded_between(log_mix, related, 2 * bound)

    def update(posterior: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Write the next posterior into the given one."""
        by_cluster, by_sample = cluster_prior(posterior), sample_prior(posterior)
        for start in range(0, n_cells, DENSE_ROWS):
            rows = slice(start, start + DENSE_ROWS)
            total = score[rows] + by_cluster[clusters[rows]]
            total += by_sample[samples[rows]]
            posterior[rows] = special.softmax(total, axis=1)
        return posterior

    def with_blood(evidence: np.ndarray) -> np.ndarray:
        """Change evidence in place."""
        evidence = bounded_between(evidence, related, bound)
        evidence += blood
        return evidence

    score = np.zeros((n_cells, n_types))
    floating = foreign_rates(adata, atlas)
    score[:, 1:] = marker_evidence(adata, atlas, pooled=member, foreign=floating)
    posterior = special.softmax(with_blood(score.copy()) + prior, axis=1)
    for _ in range(4):
        both = with_blood(score.copy())
        for _ in range(3):
            update(posterior, both)
        score[:, 1:] = marker_evidence(adata, atlas, posterior=posterior, foreign=floating)
    update(posterior, with_blood(score.copy()))

    counts = counts_of(adata)
    totals = row_sums(counts)
    markers = (counts[:, atlas.genes] > 0).astype(np.float64)
    shown = np.zeros((n_cells, n_types))
    # Genes that another lineage marks too (HLA-DRA: B cells, dendritic cells) make no clear cell.
    foreign = np.array([[not kin(a, b) for b in atlas.lineage] for a in atlas.lineage], dtype=float)
    positive = (atlas.weights > 0).astype(float)
    shown[:, 1:] = markers @ (positive * (foreign @ positive == 0)).T
    genes = np.flatnonzero(informative_genes(adata, car))
    for _ in range(2):
        profile = _profile_scores(counts, genes, totals, posterior, shown, lineage)
        profile -= profile.max(axis=1, keepdims=True)
        np.maximum(profile, -PROFILE_BOUND, out=profile)
        profile += score
        with_blood(profile)
        for _ in range(5):
            update(posterior, profile)
    return posterior


def _second_opinion(adata: AnnData, atlas: Atlas) -> np.ndarray:
    """Return the column (0: unknown) with the largest univariate-linear-model t, shape (n_cells,).

    For each cell and type, the regression of all markers' scaled log expression on membership in
    the type's marker set (decoupler's ULM, doi:10.1093/bioadv/vbac016); a t under 2 is unknown.
    Among markers only: in a small annotation they are a large part of all genes.
    """
    if not adata.n_obs or not atlas.types:
        return np.zeros(adata.n_obs, dtype=np.int64)
    counts = counts_of(adata)
    order = np.argsort(atlas.genes)
    x = log_normalised(counts[:, atlas.genes[order]], totals=row_sums(counts))
    n = order.size
    # Not centred: in a sample of one type its own markers would vanish. The spread is that of the
    # cells, where there are enough of them to tell.
    spread = np.ones(n)
    if adata.n_obs >= 20:
        mean = column_sums(x) / adata.n_obs
        spread = np.sqrt(np.maximum(column_sums(x.multiply(x)) / adata.n_obs - mean**2, 0)) + 0.5
    weights = atlas.weights.T
    floating = without_nucleus(adata, atlas)
    w_sum, w_square = weights.sum(axis=0), (weights**2).sum(axis=0)
    sxx = w_square - w_sum**2 / n
    chosen = np.empty(adata.n_obs, dtype=np.int64)
    for at, block in row_blocks(x):
        z = sparse.csr_matrix(block @ sparse.diags(1 / spread))
        total, square = row_sums(z), row_sums(z.multiply(z))
        sxy = z @ weights[order] - total[:, None] * w_sum / n
        syy = np.maximum(square - total**2 / n, 1e-9)
        r = np.clip(sxy / np.sqrt(np.maximum(sxx, 1e-9) * syy[:, None]), -0.999, 0.999)
        t = r * np.sqrt((n - 2) / (1 - r**2))
        # As in the first method: what floats in every droplet names a cell that is no other.
        t[:, floating] = np.where(
            (t[:, ~floating] >= 2).any(axis=1)[:, None], -np.inf, t[:, floating]
        )
        chosen[at] = np.where(t.max(axis=1) >= 2, t.argmax(axis=1) + 1, 0)
    return chosen
