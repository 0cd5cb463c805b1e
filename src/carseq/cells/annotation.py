"""What each cell is: lineage and cell type from markers, T-cell states from signatures.

Two methods that share nothing but the marker table: :func:`annotate` writes `lineage` and
`cell_type` (a mixture model, trained on the cells at hand) and `lineage_2` and `cell_type_2` (a
univariate linear model a cell, untrained), so that disagreement shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse, special

from carseq.cells.barcodes import column_sums, row_blocks, row_sums
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.annotation")

#: Endogenous genes that share sequence with CARs: CAR reads may land on them (field notes).
CROSS_TALK = frozenset({"TNFRSF9", "CD247", "CD28", "CD8A"})
#: Columns of a marker table.
MARKER_COLUMNS = (
    "lineage",
    "cell_type",
    "cl_id",
    "compartment_of_origin",
    "gene",
    "weight",
    "source",
)
UNKNOWN = "unknown"
T_LINEAGE = "T"
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
#: Share of a type's markers that the annotation must hold.
MIN_ANNOTATED = 0.55
#: Cells with clear markers needed to learn a type's profile.
MIN_SEEDS = 8
#: Prior rates (UMIs per UMI) of a marker where it is expressed and where not, the order of CD3D in
#: PBMC T cells and of ambient CD3D; they weigh as much as three cells of 2,000 UMIs.
PRIOR_ON, PRIOR_OFF, PRIOR_UMIS = 4e-4, 1e-5, 6000.0
#: Cells that rates are learnt from, and cells held dense at a time.
MAX_EM_CELLS = 20_000
#: Genes of each phase of the cell cycle that the annotation must hold.
MIN_CYCLE_GENES = 5
#: Cells whose cycle is scored together: scanpy copies their expression several times.
MAX_CELLS_SCORED = 200_000
#: z score above which a T cell is given a state.
STATE_LIMIT = 1.5


def counts_of(adata: AnnData) -> Any:
    """Return the raw counts, CSR: ``layers["counts"]`` if there, else ``X``."""
    # Not `layers.get("counts", adata.X)`: a view would copy its X for it.
    held = adata.layers["counts"] if "counts" in adata.layers else adata.X  # noqa: SIM401
    return sparse.csr_matrix(held)


def is_single_t(obs: pd.DataFrame) -> pd.Series:
    """Return which cells are T cells and no doublets, by ``lineage`` and ``is_doublet``."""
    return obs["lineage"].astype(str).eq(T_LINEAGE) & ~obs["is_doublet"].astype(bool)


def car_name(adata: AnnData, car: str | None = None) -> str | None:
    """Return the name of the CAR gene: ``car``, else ``uns["car"]``, else None."""
    if car:
        return car
    named = adata.uns.get("car")
    return str(named) if named else None


def read_markers(path: str | Path | None = None) -> pd.DataFrame:
    """Read a marker table (TSV).

    Parameters
    ----------
    path
        The file; None: the urinary table that comes with carseq.

    Returns
    -------
    pd.DataFrame
        One row a marker; columns as in :data:`MARKER_COLUMNS` (blank where the file has none).

    Raises
    ------
    CarseqError
        If it cannot be read, lacks `lineage`, `cell_type` or `gene`, or has a weight of no number.
    """
    path = Path(path) if path is not None else data_path("markers/urinary.tsv")
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, comment="#")
    except (OSError, ValueError) as error:
        raise CarseqError(
            f"cannot read the marker table {path}",
            " ".join(str(error).split()),
            "give a tab-separated table with columns lineage, cell_type and gene",
        ) from None
    missing = [name for name in ("lineage", "cell_type", "gene") if name not in table]
    if missing or table.empty:
        raise CarseqError(
            f"the marker table {path} is not usable",
            f"it lacks {', '.join(missing)}" if missing else "it has no rows",
            "one row a marker, with columns " + ", ".join(MARKER_COLUMNS),
        )
    for name in MARKER_COLUMNS:
        if name not in table:
            table[name] = ""
    weight = pd.to_numeric(table["weight"].replace("", "1"), errors="coerce")
    if weight.isna().any():
        bad = table.loc[weight.isna(), "weight"].iloc[0]
        raise CarseqError(
            f"the marker table {path} has a weight that is no number", repr(bad), "write 1 or -1"
        )
    table["weight"] = weight
    crossed = table["gene"].isin(CROSS_TALK)
    if crossed.any():
        log.warning(
            "markers left out, since CAR reads may land on them: %s",
            ", ".join(sorted(set(table.loc[crossed, "gene"]))),
        )
    return table.loc[~crossed, list(MARKER_COLUMNS)].reset_index(drop=True)


def read_signatures(path: str | Path | None = None) -> pd.DataFrame:
    """Read T-cell state signatures (TSV: `state`, `gene`, `source`); None: those of carseq."""
    path = Path(path) if path is not None else data_path("markers/t_states.tsv")
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    return table[~table["gene"].isin(CROSS_TALK)].reset_index(drop=True)


@dataclass(frozen=True)
class Atlas:
    """A marker table matched with the genes of a matrix.

    Attributes
    ----------
    types
        Cell types that have a marker in the matrix.
    lineage
        The lineage of each type.
    genes
        Positions of the marker genes in ``var``, shape (n_genes,).
    weights
        Marker weights, shape (n_types, n_genes): a type's own markers and its lineage's.
    own
        The type's own markers only, same shape.
    """

    types: list[str]
    lineage: np.ndarray
    genes: np.ndarray
    weights: np.ndarray
    own: np.ndarray

    @property
    def generic(self) -> np.ndarray:
        """True for types that stand for a whole lineage ("T cell" of T), shape (n_types,)."""
        return np.array(
            [t == f"{name} cell" for t, name in zip(self.types, self.lineage, strict=True)]
        )


def match_markers(adata: AnnData, markers: pd.DataFrame, car: str | None = None) -> Atlas:
    """Match a marker table with the genes of ``adata``, leaving out the CAR and cross-talk genes.

    Raises
    ------
    CarseqError
        If gene symbols are not unique.
    """
    if not adata.var_names.is_unique:
        raise CarseqError(
            "gene symbols are not unique",
            f"{adata.var_names[adata.var_names.duplicated()][0]} is there twice",
            "call adata.var_names_make_unique() first",
        )
    table = markers[~markers["gene"].isin(CROSS_TALK | {car})]
    # A type most of whose markers are not annotated would live on those it shares with siblings.
    present = table["gene"].isin(adata.var_names)
    share = present.groupby(table["cell_type"]).mean()
    whole = table["lineage"] + " cell" == table["cell_type"]
    table = table[present & (whole | (table["cell_type"].map(share) >= MIN_ANNOTATED))]
    types = list(dict.fromkeys(table["cell_type"]))
    symbols = list(dict.fromkeys(table["gene"]))
    lineage_of = table.drop_duplicates("cell_type").set_index("cell_type")["lineage"]
    lineage = np.array([lineage_of[t] for t in types], dtype=object)
    own = np.zeros((len(types), len(symbols)))
    row, column = {t: i for i, t in enumerate(types)}, {g: i for i, g in enumerate(symbols)}
    for cell_type, gene, weight in zip(
        table["cell_type"], table["gene"], table["weight"].astype(float), strict=True
    ):
        own[row[cell_type], column[gene]] = weight
    weights = own.copy()
    for i, cell_type in enumerate(types):
        generic = f"{lineage[i]} cell"
        if generic in row and cell_type != generic:
            weights[i] = np.where(own[i] != 0, own[i], own[row[generic]])
    genes = adata.var_names.get_indexer(symbols)
    return Atlas(types, lineage, np.asarray(genes, dtype=np.int64), weights, own)


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
    step = max(1, int(np.ceil(totals.size / MAX_EM_CELLS)))
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


def _sample_numbers(adata: AnnData) -> np.ndarray:
    if "sample" not in adata.obs:
        return np.zeros(adata.n_obs, dtype=np.int64)
    return np.asarray(pd.factorize(adata.obs["sample"].astype(str))[0])


def marker_evidence(
    adata: AnnData,
    atlas: Atlas,
    weights: np.ndarray | None = None,
    posterior: np.ndarray | None = None,
    pooled: Any = None,
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
    """
    weights = atlas.weights if weights is None else weights
    evidence = np.zeros((adata.n_obs, len(weights)))
    if not adata.n_obs or not atlas.types:
        return evidence
    counts = counts_of(adata)
    totals, markers, groups = row_sums(counts), counts[:, atlas.genes], _sample_numbers(adata)
    if posterior is not None:
        on, off = _rates_by_type(markers, totals, groups, posterior, atlas)
    elif pooled is not None and pooled.shape[0] >= 4:
        on, low = _rates(pooled @ markers, pooled @ totals, np.zeros(pooled.shape[0], dtype=int))
        off = _floor_off(low[0], on, markers, totals, groups)
    else:
        on, off = _rates(markers, totals, groups)
    positive, negative = np.maximum(weights, 0).T, np.maximum(-weights, 0).T
    for start in range(0, adata.n_obs, MAX_EM_CELLS):
        rows = slice(start, start + MAX_EM_CELLS)
        k, n, low = markers[rows].toarray(), totals[rows][:, None], off[groups[rows]]
        ratio = np.minimum(k * np.log(on / low) - n * (on - low), 50.0)
        gain = np.log(P_ON * np.exp(ratio) + 1 - P_ON)
        evidence[rows] = np.minimum(gain, MAX_LLR) @ positive
        if negative.any():
            loss = np.log(P_ON_NEGATIVE * np.exp(ratio) + 1 - P_ON_NEGATIVE)
            evidence[rows] -= np.minimum(loss, MAX_LLR) @ negative
    return evidence


def informative_genes(adata: AnnData, car: str | None = None) -> np.ndarray:
    """Return True for genes that may describe a cell, shape (n_vars,).

    The CAR, the genes its reads may land on, mitochondrial genes and haemoglobin (of lysed
    erythrocytes) are left out.
    """
    names = adata.var_names.str.upper()
    out = adata.var_names.isin(CROSS_TALK | {car_name(adata, car)})
    out |= names.str.startswith("MT-") | names.isin(["HBA1", "HBA2", "HBB"])
    return np.asarray(~out)


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
    # A shallow cell without markers is no evidence for an unknown kind of cell.
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
    whole = column_sums(counts)[genes]
    mean = (whole + 0.1) / (whole + 0.1).sum()
    log_ratio = np.zeros((n_types, counts.shape[1]))
    for t in range(n_types):
        rows = np.array([t]) if seeds[t] >= enough else np.flatnonzero(lineage == lineage[t])
        if seeds[rows].sum() < enough:
            continue
        # Shrunk to the mean profile by 1,000 UMIs of it, and a tenth of every cell is ambient.
        total = sums[rows].sum(axis=0)
        own = (total + 1000 * mean) / (total.sum() + 1000)
        log_ratio[t, genes] = np.log(0.9 * own / mean + 0.1)
    temper = np.minimum(1.0, PROFILE_UMIS / np.maximum(totals, 1.0))
    scores = np.empty((n_cells, n_types))
    for at, block in row_blocks(counts):
        scores[at] = (block @ log_ratio.T) * temper[at, None]
    return scores


def annotate(
    adata: AnnData, markers: pd.DataFrame | None = None, *, car: str | None = None
) -> AnnData:
    """Give every cell a lineage and a cell type.

    1. Markers: a likelihood ratio a cell and type (:func:`marker_evidence`).
    2. Transcriptome: the clear cells of each type train a multinomial profile, with which shallow
       cells are compared.
    3. Clusters: each cluster has its own mix of types, learnt by EM, as prior of its cells.

    A cell is `unknown` where no lineage reaches probability 0.5. A type within a lineage that does
    not reach half of the lineage's probability is reported as the lineage's generic type.

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
        The same object, with `obs`: `lineage`, `cell_type`, `cell_type_confidence` (probability, 0
        to 1), `lineage_confidence`, `lineage_2` and `cell_type_2` (second method), and
        `obsm["lineage_probability"]` (table, n_cells × n_lineages).
    """
    car = car_name(adata, car)
    markers = read_markers() if markers is None else markers
    atlas = match_markers(adata, markers, car)
    if not atlas.types and adata.n_obs:
        log.warning("no marker of the table is among the genes: every cell is %s", UNKNOWN)
    lineage = np.array([UNKNOWN, *atlas.lineage], dtype=object)
    names = np.array([UNKNOWN, *atlas.types], dtype=object)
    posterior = _posterior(adata, atlas, lineage, car)

    lineages = list(dict.fromkeys(lineage))
    by_lineage = np.stack([posterior[:, lineage == name].sum(axis=1) for name in lineages], axis=1)
    confidence = by_lineage.max(axis=1, initial=0.0)
    chosen = np.where(confidence >= 0.5, by_lineage.argmax(axis=1), 0)
    chosen_lineage = np.array(lineages, dtype=object)[chosen]
    within = np.where(lineage[None, :] == chosen_lineage[:, None], posterior, 0.0)
    best = within.argmax(axis=1)
    share = within.max(axis=1) / np.maximum(within.sum(axis=1), 1e-12)
    resolved = (share >= 0.5) & (chosen > 0)
    generic = np.where(chosen > 0, chosen_lineage + " cell", UNKNOWN)
    adata.obs["lineage"] = chosen_lineage.astype(str)
    adata.obs["cell_type"] = np.where(resolved, names[best], generic).astype(str)
    own = by_lineage[np.arange(adata.n_obs), chosen]
    adata.obs["cell_type_confidence"] = np.where(resolved, within.max(axis=1), own).clip(0, 1)
    adata.obs["lineage_confidence"] = own.clip(0, 1)
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

    def cluster_prior(posterior: np.ndarray) -> np.ndarray:
        # Five cells' worth of the base prior; a cluster never rules a type out.
        mix = (member @ posterior + 5 * base) / (row_sums(member)[:, None] + 5)
        return np.log(0.995 * mix + 0.005 / n_types)

    def update(posterior: np.ndarray, *scores: np.ndarray) -> np.ndarray:
        """Write the next posterior into the given one."""
        by_cluster = cluster_prior(posterior)
        for start in range(0, n_cells, MAX_EM_CELLS):
            rows = slice(start, start + MAX_EM_CELLS)
            total = sum(score[rows] for score in scores) + by_cluster[clusters[rows]]
            posterior[rows] = special.softmax(total, axis=1)
        return posterior

    score = np.zeros((n_cells, n_types))
    score[:, 1:] = marker_evidence(adata, atlas, pooled=member)
    posterior = special.softmax(score + prior, axis=1)
    for _ in range(4):
        for _ in range(3):
            update(posterior, score)
        score[:, 1:] = marker_evidence(adata, atlas, posterior=posterior)
    update(posterior, score)

    counts = counts_of(adata)
    totals = row_sums(counts)
    markers = (counts[:, atlas.genes] > 0).astype(np.float64)
    shown = np.zeros((n_cells, n_types))
    shown[:, 1:] = markers @ (atlas.weights > 0).T
    genes = np.flatnonzero(informative_genes(adata, car))
    for _ in range(2):
        profile = _profile_scores(counts, genes, totals, posterior, shown, lineage)
        profile -= profile.max(axis=1, keepdims=True)
        np.maximum(profile, -PROFILE_BOUND, out=profile)
        for _ in range(5):
            update(posterior, score, profile)
    return posterior


def log_normalised(counts: Any, target: float = 1e4, *, totals: np.ndarray | None = None) -> Any:
    """Return log1p of counts per ``target`` UMIs, CSR, float32.

    It shares the places of the non-zero entries (`indices`, `indptr`) with ``counts``, where these are CSR.

    Parameters
    ----------
    counts
        Raw counts, n_cells × n_genes.
    target
        UMIs that each cell is scaled to.
    totals
        UMIs a cell, shape (n_cells,), where ``counts`` hold some of the genes only.
    """
    counts = sparse.csr_matrix(counts)
    scale = target / np.maximum(row_sums(counts) if totals is None else totals, 1.0)
    values = np.empty(counts.nnz, dtype=np.float32)
    done = 0
    for rows, block in row_blocks(counts, MAX_EM_CELLS):
        part = slice(done, done := done + block.nnz)
        values[part] = block.data * np.repeat(scale[rows], np.diff(block.indptr))
        np.log1p(values[part], out=values[part])
    return sparse.csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)


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
    z = sparse.csr_matrix(x @ sparse.diags(1 / spread))
    total, square = row_sums(z), row_sums(z.multiply(z))
    weights = atlas.weights.T
    covered = z @ weights[order]
    w_sum, w_square = weights.sum(axis=0), (weights**2).sum(axis=0)
    sxy = covered - total[:, None] * w_sum / n
    sxx, syy = w_square - w_sum**2 / n, np.maximum(square - total**2 / n, 1e-9)
    r = np.clip(sxy / np.sqrt(np.maximum(sxx, 1e-9) * syy[:, None]), -0.999, 0.999)
    t = r * np.sqrt((n - 2) / (1 - r**2))
    return np.where(t.max(axis=1) >= 2, t.argmax(axis=1) + 1, 0)


def _against_control(x: Any, genes: np.ndarray, sets: Any) -> np.ndarray:
    """Return z values of the mean of ``genes`` against those of the sets, shape (n_cells,)."""
    control = np.asarray((x @ sets).todense()) / genes.size
    own = row_sums(x[:, genes]) / genes.size
    return np.asarray((own - control.mean(axis=1)) / (control.std(axis=1) + 0.02))


def t_states(
    adata: AnnData,
    signatures: pd.DataFrame | None = None,
    *,
    car: str | None = None,
    limit: float = STATE_LIMIT,
    seed: int = 0,
) -> AnnData:
    """Score the states of T cells.

    Each score is a z value a cell: the mean log expression of the signature against that of 100
    random gene sets matched in mean expression among the T cells (the control idea of Tirosh 2016,
    doi:10.1126/science.aad0501), so that it means the same in a sample of one T cell.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X), `obs["lineage"]`.
    signatures
        From :func:`read_signatures`; None: those that come with carseq.
    car
        Name of the CAR gene; it takes no part.
    limit
        z score that the best state must reach, else the state is "other".
    seed
        Seed of the random gene sets.

    Returns
    -------
    AnnData
        The same object, with `obs["t_state"]` ("" for cells other than T) and `obs["score_STATE"]`
        (NaN for cells other than T).
    """
    signatures = read_signatures() if signatures is None else signatures
    is_t = (adata.obs["lineage"].astype(str) == T_LINEAGE).to_numpy()
    states = list(dict.fromkeys(signatures["state"]))
    z = np.full((adata.n_obs, len(states)), np.nan)
    rng = np.random.default_rng(seed)
    if is_t.any():
        x = log_normalised(counts_of(adata)[is_t])
        mean = column_sums(x) / x.shape[0]
        pool = np.flatnonzero(informative_genes(adata, car) & (mean > 0))
        order = pool[np.argsort(mean[pool], kind="stable")]
        place = np.searchsorted(mean[order], mean)
        for i, state in enumerate(states):
            names = signatures.loc[signatures["state"] == state, "gene"]
            genes = np.flatnonzero(adata.var_names.isin(names) & (mean > 0))
            if genes.size < 2 or order.size < 50:
                z[is_t, i] = 0.0
                continue
            half = min(50, order.size // 4)
            middle = np.clip(place[genes], half, order.size - half - 1)
            drawn = order[middle + rng.integers(-half, half + 1, (100, genes.size))]
            sets = sparse.csr_matrix(
                (np.ones(drawn.size), (drawn.ravel(), np.repeat(np.arange(100), genes.size))),
                shape=(adata.n_vars, 100),
            )
            parts = [
                _against_control(block, genes, sets) for _, block in row_blocks(x, MAX_EM_CELLS)
            ]
            z[is_t, i] = np.concatenate(parts)
    for i, state in enumerate(states):
        adata.obs[f"score_{state}"] = z[:, i]
    best = np.where(np.isnan(z), -np.inf, z)
    found = np.array([*states, "other"], dtype=object)
    top = np.where(best.max(axis=1, initial=-np.inf) > limit, best.argmax(axis=1), len(states))
    adata.obs["t_state"] = np.where(is_t, found[top], "").astype(str)
    return adata


def cell_cycle(adata: AnnData) -> AnnData:
    """Score the phases of the cell cycle, by scanpy with the genes of Tirosh 2016 (doi:10.1126/science.aad0501).

    Above :data:`MAX_CELLS_SCORED` cells in parts of every second, every third, ... cell, so that all parts hold cells
    of all samples and their control genes are as good as the same.

    Parameters
    ----------
    adata
        Cells with log expression in X.

    Returns
    -------
    AnnData
        The same object, with `obs`: `S_score`, `G2M_score` and `phase` (G1, S or G2M); NaN and "" where too few of
        the genes are annotated.
    """
    import anndata as ad
    import scanpy as sc

    table = pd.read_csv(data_path("markers/cell_cycle.tsv"), sep="\t")
    genes = {
        phase: [gene for gene in own["gene"] if gene in adata.var_names]
        for phase, own in table.groupby("phase")
    }
    adata.obs["S_score"], adata.obs["G2M_score"], adata.obs["phase"] = np.nan, np.nan, ""
    if not adata.n_obs or min(map(len, genes.values())) < MIN_CYCLE_GENES:
        return adata
    n_parts = -(-adata.n_obs // MAX_CELLS_SCORED)
    scored = []
    for i in range(n_parts):
        x = adata.X if n_parts == 1 else adata.X[i::n_parts]
        part = ad.AnnData(x, pd.DataFrame(index=adata.obs_names[i::n_parts]), adata.var[[]])
        try:
            sc.tl.score_genes_cell_cycle(part, s_genes=genes["S"], g2m_genes=genes["G2M"])
        except ValueError as error:
            # Too few genes to choose controls from.
            log.warning("no scores of the cell cycle: %s", error)
            return adata
        scored.append(part.obs)
    table = pd.concat(scored).loc[adata.obs_names]
    for name in ("S_score", "G2M_score", "phase"):
        adata.obs[name] = table[name].to_numpy()
    return adata
