"""Which type a T cell is: by its own molecules, with the sample and the cluster as priors of bounded weight.

A table of expected levels says for each gene how strongly each T-cell type expresses it: published levels
(`data/markers/t_types.tsv`) as the prior of UMIs counted in real T cells of known type (`t_counts.tsv`, made by
`benchmarks/t_levels.py`). Absent genes count as much as present ones: a naive T cell shows CCR7 *and* no GZMK. Levels
in the data differ from the table's by one factor per gene and sample (chemistry, depth of the annotation), which is
learnt; the pattern over types is not, so that a sample of one type cannot redefine the others.

Genes that define a type (CD4, CD8A, TRDC, FOXP3, ...) count in full. The others are programmes that rise and fall
together, so that their molecules are not independent evidence: their log-likelihood is tempered.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import special

from carseq.cells.barcodes import column_sums, row_sums
from carseq.cells.counts import counts_of, sample_numbers
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.fasta import DAMAGED
from carseq.io.genes import PANEL_GENES, one_release
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.subtypes")

T_CELL = "T cell"
#: Types and the parent that stands for them where their molecules do not decide.
PARENT = {
    "naive CD4 T cell": "CD4 T cell",
    "memory CD4 T cell": "CD4 T cell",
    "cytotoxic CD4 T cell": "CD4 T cell",
    "regulatory T cell": "CD4 T cell",
    "follicular helper T cell": "CD4 T cell",
    "naive CD8 T cell": "CD8 T cell",
    "memory CD8 T cell": "CD8 T cell",
    "cytotoxic CD8 T cell": "CD8 T cell",
    "double-negative T cell": "T cell",
    "gamma-delta T cell": "T cell",
    "MAIT cell": "T cell",
}
#: Shares of the types before a sample is seen: those of T cells in adult blood and in inflamed tissue, rounded
#: (Hao 2021, doi:10.1016/j.cell.2021.04.048; Szabo 2019, doi:10.1038/s41467-019-12464-3).
SHARES = {
    "naive CD4 T cell": 0.20,
    "memory CD4 T cell": 0.27,
    "cytotoxic CD4 T cell": 0.03,
    "regulatory T cell": 0.04,
    "follicular helper T cell": 0.01,
    "naive CD8 T cell": 0.11,
    "memory CD8 T cell": 0.12,
    "cytotoxic CD8 T cell": 0.12,
    "double-negative T cell": 0.02,
    "gamma-delta T cell": 0.04,
    "MAIT cell": 0.04,
}
#: What a cell must show of a type before it can be given it: for each alternative, genes and how many different ones.
#: Without a molecule of its own a cell would owe such a label to its neighbours or to one gene that others share.
REQUIRED: dict[str, tuple[tuple[int, tuple[str, ...]], ...]] = {
    "naive CD4 T cell": ((1, ("CCR7", "SELL", "LEF1", "TCF7", "MAL", "LRRN3", "ACTN1", "FHIT")),),
    "naive CD8 T cell": ((1, ("CCR7", "SELL", "LEF1", "TCF7", "MAL", "LRRN3", "ACTN1", "NELL2")),),
    "regulatory T cell": ((1, ("FOXP3",)), (2, ("RTKN2", "IKZF2", "IL2RA", "CTLA4"))),
    "follicular helper T cell": ((2, ("CXCR5", "CXCL13", "PDCD1", "TOX2", "CD200")),),
    "gamma-delta T cell": ((1, ("TRDC", "TRDV1", "TRDV2", "TRGV9")),),
    "MAIT cell": ((1, ("SLC4A10", "TRAV1-2")),),
    "cytotoxic CD4 T cell": ((1, ("CD4", "CD40LG")),),
}
#: A cell without CD4 and CD8 is double-negative only where CD4 would have been seen: so many molecules are expected
#: of a CD4 T cell as deep, of which none is seen with a probability of 0.1. Of CD4 T cells of 3,000 UMIs that are
#: activated and kill, as in a product, 30 of 280 were double-negative at 0.93; four in five show no CD4.
DOUBLE_NEGATIVE, EXPECTED_CD4 = "double-negative T cell", 2.3
#: Types whose own genes tell CD4 from CD8 alone: what a cell does, its state, does not hang on them.
OF_SIDE = ("cytotoxic CD4 T cell", DOUBLE_NEGATIVE)
#: What it must show beside, one of these. Activated T cells show IL2RA and CTLA4, exhausted ones PDCD1, TOX2 and CD200:
#: these are neither regulatory (Allan 2007, doi:10.1093/intimm/dxm014) nor follicular.
ALSO_REQUIRED = {
    "MAIT cell": ("KLRB1",),
    "regulatory T cell": ("FOXP3", "RTKN2", "IKZF2"),
    "follicular helper T cell": ("CXCR5", "CXCL13"),
}
#: Genes of killing: more than one molecule of them (and one for each 10,000 UMIs of the cell, for ambient RNA) excludes
#: the types below.
KILLING = ("GZMK", "NKG7", "GNLY", "GZMB", "GZMH", "FGFBP2", "CCL5", "PRF1")
NOT_KILLING = ("naive CD4 T cell", "naive CD8 T cell", "regulatory T cell")
#: Genes of dividing cells (Tirosh 2016, doi:10.1126/science.aad0501; `markers/cell_cycle.tsv`), of which a naive cell,
#: which rests, shows at most so many different ones (and one for each 5,000 UMIs of the cell, for ambient RNA): central
#: memory cells of an infusion product and leukaemic T cells show the genes of naive cells, and divide.
DIVIDING = (
    "MKI67", "TOP2A", "CDK1", "BIRC5", "UBE2C", "TPX2", "CENPF", "NUSAP1", "TYMS", "RRM2", "CDC20", "CCNB2", "AURKB",
    "KIF11", "NUF2", "NDC80",
)  # fmt: skip
MOST_DIVIDING = 1
#: Genes of activation that regulatory T cells show at rest too, and others (Szabo 2019,
#: doi:10.1038/s41467-019-12464-3). A cell is activated if it divides or shows two different ones of the others, or
#: three of all (and one for each 10,000 UMIs, for ambient RNA).
ACTIVATION_OF_ALL = ("IL2RA", "CTLA4", "TNFRSF4", "TNFRSF18")
ACTIVATION = ("TNFRSF9", "LAG3", "MIR155HG", "ZBED2", "IL2", "CSF2", "IFNG", "GZMB", "XCL1")
#: Activated T cells of all kinds transcribe FOXP3 (Allan 2007): an activated cell, and every cell of a sample of which
#: more than this share is activated, as of an infusion product, is regulatory only if it shows two of these genes,
#: or two molecules of FOXP3.
#: IKZF2 and RTKN2 do not follow activation.
#: In a cell that may not be regulatory :data:`ACTIVATION_OF_ALL` say whether it is naive, and no more of its type: as
#: those of a regulatory cell they made CD4 T cells of activated CD8 T cells, at 0.99 and with molecules of CD8A.
REGULATORY, OF_REGULATORY = "regulatory T cell", ("FOXP3", "IKZF2", "RTKN2")
MOSTLY_ACTIVATED = 0.5
#: NK cells transcribe TRDC: of those of two CITE-seq PBMC sets 81 and 92 % show it, adaptive ones CD3E beside it, and
#: all show TYROBP. Without a molecule of a variable segment a cell that shows these genes (more than one for each 5,000
#: UMIs, for ambient RNA) is no gamma-delta T cell.
GAMMA_DELTA, OF_GAMMA_DELTA = "gamma-delta T cell", ("TRDV1", "TRDV2", "TRDV3", "TRGV9")
OF_NK = ("TYROBP", "FCER1G", "KLRF1", "NCAM1", "SH2D1B")
#: The types that one of which no cells were counted lies between, in genes without a published level.
LIKE = {
    "cytotoxic CD4 T cell": ("memory CD4 T cell", "cytotoxic CD8 T cell"),
    "follicular helper T cell": ("memory CD4 T cell", "memory CD4 T cell"),
    "double-negative T cell": ("memory CD4 T cell", "memory CD8 T cell"),
}
#: Row of the counted UMIs that holds those of all genes; source of the genes that only they name; least level.
ALL_GENES, COUNTED, LEAST_LEVEL = "(all genes)", "10x PBMC 1k v3 and 10k protein v3", 0.003
#: Shape of the negative binomial of a gene's UMIs within a type.
SHAPE = 2.0
#: Most evidence of one gene for one type against another, natural log.
MOST_PER_GENE = 4.0
#: Genes that define a type: their log-likelihood counts in full.
DEFINING = frozenset(
    [
        *("CD4", "CD40LG", "CD8A", "CD8B", "LINC02446"),
        *("TRDC", "TRDV1", "TRDV2", "TRGV9", "SLC4A10", "TRAV1-2"),
        *("FOXP3", "RTKN2", "IKZF2", "IL2RA", "CTLA4"),
    ]
)
#: Genes of a programme rise and fall together, so that their molecules are not independent evidence: in a cell of more
#: UMIs than this their log-likelihood is divided by the square root of the excess. Settled on downsampled cells of the
#: 10k protein set with levels of the 1k set (200 to 1,000 were tried; the fewer the better calibrated, and the fewer
#: cells typed).
FULL_UMIS = 300.0
#: Most that genes other than :data:`DEFINING` say for a CD8 T cell against all others, natural log: CD4, gamma-delta
#: and double-negative T cells kill too, and show GZMK, CCL5 and NKG7. Without a bound 31 of 123 cells called CD8 at a
#: mean confidence of 0.90 without a molecule of CD8A, CD8B or LINC02446 were CD4 by protein, 27 had neither, and none
#: of 125 with one was CD4 (10k and 5k protein sets, 200 to 1,000 UMIs).
MOST_FOR_CD8 = 1.0
#: What the published level of a gene weighs against the counted ones, in UMIs of all genes.
PUBLISHED_UMIS = 30_000.0
#: Surface CD45RA/RO and the RNA programme of naive and memory cells disagree in about so many T cells, however deep
#: (10k protein set, labels of probability 0.99): no label of either kind is surer. Central memory cells keep the genes
#: of naive ones, and CD8 T cells regain CD45RA; CD4 T cells with the genes of memory cells all had CD45RO (257 labels
#: of probability 0.95 or more of the 10k protein set, 26 cells, downsampled, with a capture rate for each gene).
HISTORY_DOUBT, NO_HISTORY_DOUBT = 0.03, ("memory CD4 T cell",)
#: The same where it is more: of the 10k protein set's cells with these labels (of 300 to 3,000 UMIs, without and with
#: ambient RNA of another sample) 8 and 4 in 100 fewer were right than stated.
MORE_DOUBT = {"memory CD8 T cell": 0.13, "naive CD4 T cell": 0.06}
#: Share of a cell's UMIs that are taken to be ambient RNA of the sample's mean profile, at least and at most.
AMBIENT, MOST_AMBIENT = 0.05, 0.6
#: Genes by which it is measured, which no T cell transcribes: with a fixed share, naive T cells in 40 % ambient RNA of
#: blood were memory ones, since monocytes' S100A4, VIM and LGALS1 are those of memory T cells too. Asked where other
#: cells hold this share of a sample's UMIs at least, and so many of these molecules are expected.
NOT_OF_T = (
    "LYZ", "S100A8", "S100A9", "S100A12", "FCN1", "VCAN", "CD14", "MNDA", "CSTA", "CD79A", "MS4A1", "IGKC", "IGHM",
)  # fmt: skip
LEAST_OTHERS, LEAST_OF_OTHERS = 0.2, 100.0
#: What the table's level of a gene weighs against the sample's cells, in UMIs.
LEVEL_UMIS = 50_000.0
#: The learnt factor of a gene lies within this of the table's level.
MOST_FACTOR = 8.0
#: Bounds of what the sample's and the cluster's mix of types may add, natural log.
SAMPLE_BOUND, CLUSTER_BOUND = 0.5, 0.4
#: Cells that the first mix of types weighs as much as: in a sample, in a cluster.
SAMPLE_CELLS, CLUSTER_CELLS = 20.0, 10.0
#: Probability that a type must reach to be given, and that its parent must reach.
MIN_TYPE, MIN_PARENT = 0.75, 0.92
#: "Naive" asks for more: central memory cells keep CCR7 and SELL, and what tells them apart are absent molecules.
MIN_NAIVE = 0.9
#: In a targeted panel the genes of T cells are a larger part of the molecules than in a whole transcriptome: from this
#: many times as large, a cell's UMIs count as so many more, 100 times at most. In PBMC cut to 400 genes, half of the
#: naive CD4 T cells were memory ones at 0.96, since their genes seemed raised less than those of memory cells.
LEAST_SCALE, MOST_SCALE = 2.0, 100.0
#: Cells of a sample that factors are learnt from, and cells held dense at a time.
MAX_LEARN, BLOCK = 4_000, 10_000
#: Rounds of learning.
ROUNDS = 5


@dataclass(frozen=True)
class Levels:
    """The table of expected levels, matched with the genes of a matrix.

    Attributes
    ----------
    types
        Names of the types.
    genes
        Positions of the genes in `var`, shape (n_genes,).
    symbols
        Their names, shape (n_genes,).
    rate
        UMIs per UMI of the gene where its level is 1, shape (n_genes,).
    level
        Relative levels, shape (n_types, n_genes).
    """

    types: list[str]
    genes: np.ndarray
    symbols: np.ndarray
    rate: np.ndarray
    level: np.ndarray


def _levels(path: Path) -> pd.DataFrame:
    """Read published levels."""
    remedy = "give a tab-separated table with columns gene, per_10k and one for each type"
    try:
        table = pd.read_csv(path, sep="\t", dtype={"gene": str}, keep_default_na=False)
        types = [name for name in PARENT if name in table]
        if missing := [name for name in ("gene", "per_10k") if name not in table] or (
            [] if types else ["every type"]
        ):
            raise CarseqError(
                f"the levels of T-cell types {path} are not usable",
                f"it lacks {', '.join(missing)}",
                remedy,
            )
        table[["per_10k", *types]] = table[["per_10k", *types]].astype(float)
    except (*DAMAGED, ValueError, TypeError) as error:  # type: ignore[misc]
        raise CarseqError(
            f"cannot read the levels of T-cell types {path}", " ".join(str(error).split()), remedy
        ) from None
    return table


def read_t_types(path: str | Path | None = None, *, counts: bool = True) -> pd.DataFrame:
    """Read the table of expected levels in T-cell types.

    Parameters
    ----------
    path
        Published levels (TSV); None: those that come with carseq.
    counts
        Whether the UMIs counted in real cells (`markers/t_counts.tsv`) join them.

    Returns
    -------
    pandas.DataFrame
        A row a gene: `gene`, `per_10k` (UMIs per 10,000 where the level is 1), a column of levels a type, `source`.

    Raises
    ------
    CarseqError
        If it cannot be read, or lacks `gene`, `per_10k` or every type.
    """
    return _levels(Path(path)) if path else _shipped(counts).copy()


@cache
def _shipped(counts: bool) -> pd.DataFrame:
    """Return the levels that come with carseq, which each of a matrix's steps asks for."""
    table = _levels(data_path("markers/t_types.tsv"))
    if not counts:
        return table
    return _with_counts(table, pd.read_csv(data_path("markers/t_counts.tsv"), sep="\t"))


def _with_counts(table: pd.DataFrame, counts: pd.DataFrame) -> pd.DataFrame:
    """Join published levels, as a prior of :data:`PUBLISHED_UMIS`, with counted UMIs; the mean is the prior of others.

    Types of which no cells were counted keep the published level; of a gene without one, they take that of the
    likest counted types.
    """
    types = [name for name in PARENT if name in table]
    counts = counts.set_index("gene")
    counted = [name for name in types if name in counts]
    total = counts.loc[ALL_GENES, counted].astype(float)
    counts = counts.drop(index=ALL_GENES)
    prior = table.set_index("gene")[types].mul(table.set_index("gene")["per_10k"], axis=0) / 1e4
    more = counts.index.difference(prior.index, sort=False)
    mean = counts.loc[more, counted].sum(axis=1) / total.sum()
    prior = pd.concat([prior, pd.DataFrame(dict.fromkeys(types, mean))])
    rate = prior.copy()
    own = counts.index
    for name in counted:
        rate.loc[own, name] = (counts[name] + PUBLISHED_UMIS * prior.loc[own, name]) / (
            total[name] + PUBLISHED_UMIS
        )
    for name, (one, other) in LIKE.items():
        rate.loc[more, name] = np.sqrt(rate.loc[more, one] * rate.loc[more, other])
    top = rate.max(axis=1)
    levels = rate.div(top, axis=0).clip(lower=LEAST_LEVEL)
    source = table.set_index("gene")["source"].reindex(levels.index).fillna(COUNTED)
    return levels.assign(per_10k=1e4 * top, source=source).rename_axis("gene").reset_index()


def read_t_type_ids() -> pd.DataFrame:
    """Return the Cell Ontology term of each T-cell type, indexed by type: `cl_id`, `cl_name`, and the type's `source`.

    The ontology's only double-negative T cells are thymocytes, which those of blood are not: their term is the
    nearest that holds, a mature alpha-beta T cell.
    """
    table = pd.read_csv(data_path("markers/t_type_ids.tsv"), sep="\t", dtype=str)
    return table.set_index("cell_type")


def match_levels(var_names: pd.Index, table: pd.DataFrame, excluded: frozenset[str]) -> Levels:
    """Match the table with the genes of a matrix, leaving out ``excluded`` ones."""
    var_names = one_release(var_names)
    table = table[table["gene"].isin(var_names) & ~table["gene"].isin(excluded)]
    types = [name for name in PARENT if name in table]
    return Levels(
        types,
        np.asarray(var_names.get_indexer(table["gene"]), dtype=np.int64),
        table["gene"].to_numpy(str),
        table["per_10k"].to_numpy(float) / 1e4,
        table[types].to_numpy(float).T,
    )


def against_likest(k: np.ndarray, n: np.ndarray, rates: np.ndarray, most: float) -> np.ndarray:
    """Return what each gene says against a kind of cell, as log likelihood: n_kinds × n_cells × n_genes.

    The likest kind has 0.

    Parameters
    ----------
    k
        UMIs, n_cells × n_genes.
    n
        UMIs of each cell, shape (n_cells,).
    rates
        Expected UMIs of a gene per UMI of a cell, n_kinds × n_genes.
    most
        Most that one gene says against a kind, natural log.
    """
    logs = np.empty((len(rates), *k.shape), dtype=np.float32)
    for t, rate in enumerate(rates):
        mean = n[:, None] * rate[None, :]
        logs[t] = k * (np.log(mean) - np.log(mean + SHAPE)) - SHAPE * np.log1p(mean / SHAPE)
    logs -= logs.max(axis=0)
    return np.maximum(logs, -most, out=logs)


def _log_likelihood(
    k: np.ndarray,
    n: np.ndarray,
    rate: np.ndarray,
    floor: np.ndarray,
    levels: Levels,
    not_regulatory: np.ndarray,
) -> np.ndarray:
    """Return the tempered log-likelihood of each type, n_cells × n_types.

    Parameters
    ----------
    k
        UMIs, n_cells × n_genes.
    n
        UMIs of each cell, shape (n_cells,).
    rate, floor
        UMIs per UMI at level 1 and of ambient RNA, shape (n_genes,).
    levels
        Relative levels of types and genes.
    not_regulatory
        Cells of which :data:`ACTIVATION_OF_ALL` tell naive from other ones alone, shape (n_cells,).
    """
    logs = against_likest(k, n, levels.level * rate + floor, MOST_PER_GENE)
    experienced = np.array(
        [t for t, name in enumerate(levels.types) if not name.startswith("naive")], dtype=int
    )
    if experienced.size:
        activation = np.flatnonzero(np.isin(levels.symbols, ACTIVATION_OF_ALL))
        alike = np.ix_(experienced, np.flatnonzero(not_regulatory), activation)
        logs[alike] = logs[alike].max(axis=0)
    temper = np.minimum(1.0, np.sqrt(FULL_UMIS / np.maximum(n, 1.0)))
    defining = np.isin(levels.symbols, list(DEFINING))
    programme = logs[:, :, ~defining].sum(axis=2).T.astype(np.float64) * temper[:, None]
    # Only molecules of its own tell a CD8 T cell that kills from others that do.
    of_cd8 = np.array([PARENT[name] == "CD8 T cell" for name in levels.types])
    if of_cd8.any() and not of_cd8.all():
        lead = programme[:, of_cd8].max(axis=1) - programme[:, ~of_cd8].max(axis=1)
        programme[:, ~of_cd8] += np.maximum(lead - MOST_FOR_CD8, 0.0)[:, None]
    return np.asarray(programme + logs[:, :, defining].sum(axis=2).T)


def _bounded(log_mix: np.ndarray, base: np.ndarray, bound: float) -> np.ndarray:
    """Return ``log_mix``, at most ``bound`` from ``base``."""
    return base + np.clip(log_mix - base, -bound, bound)


def possible_types(counts: Any, n: np.ndarray, levels: Levels) -> np.ndarray:
    """Return which types a cell's own molecules allow, n_cells × n_types.

    By :data:`REQUIRED`, :data:`ALSO_REQUIRED`, :data:`EXPECTED_CD4` and :data:`KILLING`.
    """
    allowed = np.ones((counts.shape[0], len(levels.types)), dtype=bool)
    for t, name in enumerate(levels.types):
        if name in REQUIRED:
            allowed[:, t] = False
            for least, genes in REQUIRED[name]:
                own = np.flatnonzero(np.isin(levels.symbols, genes))
                allowed[:, t] |= np.asarray(counts[:, own].getnnz(axis=1)) >= least
        if name in ALSO_REQUIRED:
            own = np.flatnonzero(np.isin(levels.symbols, ALSO_REQUIRED[name]))
            allowed[:, t] &= np.asarray(counts[:, own].getnnz(axis=1)) >= 1
    if DOUBLE_NEGATIVE in levels.types:
        at = np.flatnonzero(levels.symbols == "CD4")
        rate = levels.rate[at] * levels.level[:, at].max(axis=0)
        allowed[:, levels.types.index(DOUBLE_NEGATIVE)] &= n * rate.sum() >= EXPECTED_CD4
    killing = row_sums(counts[:, np.flatnonzero(np.isin(levels.symbols, KILLING))])
    too_many = killing > 1 + np.floor(n / 10_000)
    # Regulatory T cells of inflamed tissue may kill too: then their own molecules must be no fewer.
    foxp3 = row_sums(counts[:, np.flatnonzero(levels.symbols == "FOXP3")])
    of_regulatory = row_sums(counts[:, np.flatnonzero(np.isin(levels.symbols, OF_REGULATORY))])
    surely = (foxp3 >= 2) & (of_regulatory >= killing)
    for name in NOT_KILLING:
        rows = too_many & ~surely if name == REGULATORY else too_many
        allowed[rows, levels.types.index(name)] = False
    return allowed


def t_type_posterior(
    counts: Any,
    totals: np.ndarray,
    mean_rate: np.ndarray,
    levels: Levels,
    clusters: np.ndarray | None = None,
    ambient: float = AMBIENT,
    not_regulatory: np.ndarray | None = None,
) -> np.ndarray:
    """Return the probabilities of the types of one sample's T cells, n_cells × n_types.

    Parameters
    ----------
    counts
        UMIs of the genes of ``levels``, CSR, n_cells × n_genes.
    totals
        UMIs of each cell, shape (n_cells,).
    mean_rate
        UMIs per UMI of these genes in the whole sample, shape (n_genes,).
    levels
        From :func:`match_levels`.
    clusters
        Number of each cell's cluster, shape (n_cells,); None: the sample's mix of types is the only prior.
    ambient
        Share of a cell's UMIs that are ambient RNA, of the profile ``mean_rate``.
    not_regulatory
        Cells that may not be regulatory, of which :data:`ACTIVATION_OF_ALL` tell naive from other ones alone, shape
        (n_cells,); None: none is known to be so.
    """
    n_cells = counts.shape[0]
    share = np.array([SHARES[name] for name in levels.types])
    base = np.log(share / share.sum())
    if not n_cells or not levels.genes.size:
        return np.tile(np.exp(base), (n_cells, 1))
    n = np.maximum(totals, 1.0)
    if not_regulatory is None:
        not_regulatory = np.zeros(n_cells, dtype=bool)
    learn = np.arange(0, n_cells, max(1, -(-n_cells // MAX_LEARN)))
    k = np.asarray(counts[learn].todense(), dtype=np.float32)
    floor = ambient * mean_rate + 1e-8
    rate, prior = levels.rate.copy(), base
    for _ in range(ROUNDS):
        likelihood = _log_likelihood(k, n[learn], rate, floor, levels, not_regulatory[learn])
        own = special.softmax(likelihood + prior, axis=1)
        expected = n[learn] @ (own @ levels.level)
        seen = np.maximum(k.sum(axis=0) - n[learn].sum() * floor, 0.0)
        factor = (seen + LEVEL_UMIS * levels.rate) / (expected + LEVEL_UMIS) / levels.rate
        rate = levels.rate * np.clip(factor, 1 / MOST_FACTOR, MOST_FACTOR)
        mix = (own.sum(axis=0) + SAMPLE_CELLS * np.exp(base)) / (len(learn) + SAMPLE_CELLS)
        prior = _bounded(np.log(mix), base, SAMPLE_BOUND)
    score = np.empty((n_cells, len(levels.types)))
    for start in range(0, n_cells, BLOCK):
        rows = slice(start, start + BLOCK)
        dense = np.asarray(counts[rows].todense(), dtype=np.float32)
        score[rows] = _log_likelihood(dense, n[rows], rate, floor, levels, not_regulatory[rows])
    posterior = special.softmax(score + prior, axis=1)
    if clusters is None:
        return posterior
    member = np.eye(int(clusters.max()) + 1)[clusters]
    mix = member.T @ posterior + CLUSTER_CELLS * np.exp(prior) / np.exp(prior).sum()
    mix /= mix.sum(axis=1, keepdims=True)
    by_cluster = _bounded(np.log(mix), prior, CLUSTER_BOUND)
    return special.softmax(score + by_cluster[clusters], axis=1)


def resolve(
    posterior: np.ndarray, types: list[str], allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the label of each cell and its probability: a type, else its parent, else "T cell".

    Parameters
    ----------
    posterior
        From :func:`t_type_posterior`.
    types
        Their names.
    allowed
        Which types the cell's own molecules allow, from :func:`possible_types`; same shape as ``posterior``. A type
        that is likely but not allowed leaves the cell with its parent: it makes no other type likelier.

    Returns
    -------
    label
        Names, shape (n_cells,).
    probability
        Posterior of that label, given that the cell is a T cell, shape (n_cells,).
    """
    if not types:
        return np.full(len(posterior), T_CELL, dtype=object), np.ones(len(posterior))
    names = np.array(types, dtype=object)
    best = posterior.argmax(axis=1)
    sure = posterior[np.arange(len(posterior)), best]
    parents = np.array([PARENT[name] for name in types], dtype=object)
    label, probability = np.full(len(posterior), T_CELL, dtype=object), np.ones(len(posterior))
    family = sure.copy()
    for parent in ("CD4 T cell", "CD8 T cell"):
        mass = posterior[:, parents == parent].sum(axis=1)
        take = mass >= MIN_PARENT
        label[take], probability[take] = parent, mass[take]
        family = np.where(parents[best] == parent, mass, family)
    naive = np.array([name.startswith("naive") for name in types])
    take = (
        allowed[np.arange(len(posterior)), best]
        & (sure >= np.where(naive, MIN_NAIVE, MIN_TYPE)[best])
        & (family >= np.where(parents[best] == T_CELL, MIN_TYPE, MIN_PARENT))
    )
    doubts = dict.fromkeys(NO_HISTORY_DOUBT, 0.0) | MORE_DOUBT
    doubt = np.array([doubts.get(name, HISTORY_DOUBT) for name in types])[best]
    label[take], probability[take] = names[best[take]], (sure * (1 - doubt))[take]
    return label, probability


def dividing(counts: Any, names: pd.Index) -> np.ndarray:
    """Return which cells show more genes of dividing cells (:data:`DIVIDING`) than a resting one, shape (n_cells,).

    Parameters
    ----------
    counts
        UMIs of all genes, CSR, n_cells × n_genes.
    names
        Gene symbols, shape (n_genes,).
    """
    at = np.flatnonzero(names.isin(DIVIDING))
    shown = np.asarray(counts[:, at].getnnz(axis=1))
    return np.asarray(shown > MOST_DIVIDING + np.floor(row_sums(counts) / 5_000))


def activated(counts: Any, names: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Return which T cells are activated: by genes that resting regulatory T cells lack, and by all genes.

    Parameters
    ----------
    counts
        UMIs of all genes, CSR, n_cells × n_genes.
    names
        Gene symbols, shape (n_genes,).

    Returns
    -------
    tuple
        Two arrays of bool, shape (n_cells,).
    """
    by_chance = np.floor(row_sums(counts) / 10_000)
    others = np.asarray(counts[:, np.flatnonzero(names.isin(ACTIVATION))].getnnz(axis=1))
    shared = np.asarray(counts[:, np.flatnonzero(names.isin(ACTIVATION_OF_ALL))].getnnz(axis=1))
    divides = dividing(counts, names)
    strictly = divides | (others >= 2 + by_chance)
    return strictly, strictly | (others + shared >= 3 + by_chance)


def activated_in_samples(counts: Any, names: pd.Index, sample: np.ndarray) -> np.ndarray:
    """Return which T cells are activated, shape (n_cells,): where most of a sample's are, all of them.

    Parameters
    ----------
    counts
        UMIs of all genes, CSR, n_cells × n_genes.
    names
        Gene symbols, shape (n_genes,).
    sample
        Sample of each cell, shape (n_cells,).
    """
    strictly, broadly = activated(counts, names)
    for name in np.unique(sample):
        rows = sample == name
        if broadly[rows].mean() > MOSTLY_ACTIVATED:
            strictly[rows] = True
    return strictly


def t_coverage(names: pd.Index) -> dict[str, float]:
    """Return by T-cell type the share of the genes that mark it (level 0.5 or more) among ``names``."""
    table = read_t_types(counts=False)
    held = table["gene"].isin(names)
    shares = {name: float(held[table[name] >= 0.5].mean()) for name in PARENT}
    for parent in ("CD4 T cell", "CD8 T cell"):
        own = (table[[n for n, p in PARENT.items() if p == parent]] >= 0.5).any(axis=1)
        shares[parent] = float(held[own].mean())
    return shares


def is_own_table(types: list[str]) -> bool:
    """Return whether T-cell types are those of carseq's tables, so that :func:`t_types` may replace them."""
    return set(types) <= {*PARENT, *PARENT.values()}


def panel_scale(adata: AnnData, is_t: np.ndarray, excluded: frozenset[str] = frozenset()) -> float:
    """Return how many UMIs of a whole transcriptome one UMI of the matrix stands for: 1 unless it is a targeted panel.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X).
    is_t
        Which cells are T cells, shape (n_cells,).
    excluded
        Genes that may not serve.
    """
    if adata.n_vars >= PANEL_GENES or not is_t.any():
        return 1.0
    levels = match_levels(adata.var_names, read_t_types(), excluded)
    share = np.array([SHARES[name] for name in levels.types])
    expected = float((share / share.sum() @ levels.level * levels.rate).sum())
    counts = counts_of(adata)[np.flatnonzero(is_t)]
    seen = counts[:, levels.genes].sum() / max(float(counts.sum()), 1.0)
    scale = seen / expected if expected else 1.0
    return float(min(scale, MOST_SCALE)) if scale > LEAST_SCALE else 1.0


def t_probabilities(
    adata: AnnData, is_t: np.ndarray, excluded: frozenset[str] = frozenset()
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the probabilities of the T-cell types, and which of them the cells' own molecules allow.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X); `obs["sample"]` and `obs["leiden"]` are used where there.
    is_t
        Which cells are T cells, shape (n_cells,).
    excluded
        Genes that may not serve: the CAR and the genes that it shares sequence with.

    Returns
    -------
    probability
        n_t_cells × n_types, given that the cell is a T cell; without columns where the matrix has none of the genes.
    allowed
        Same shape, from :func:`possible_types`.
    """
    rows = np.flatnonzero(is_t)
    levels = match_levels(adata.var_names, read_t_types(), excluded)
    types = levels.types if levels.genes.size else []
    probability = np.zeros((rows.size, len(types)))
    allowed = np.zeros(probability.shape, dtype=bool)
    if rows.size and types:
        counts = counts_of(adata)
        genes = counts[:, levels.genes]
        totals = row_sums(counts) * panel_scale(adata, is_t, excluded)
        foreign = row_sums(counts[:, np.flatnonzero(adata.var_names.isin(NOT_OF_T))])
        sample = sample_numbers(adata)
        clusters = None
        if "leiden" in adata.obs:
            clusters = np.asarray(pd.factorize(adata.obs["leiden"].astype(str))[0])
        allowed = possible_types(genes[rows], totals[rows], levels)
        _exclude_by_activity(allowed, types, counts[rows], adata.var_names, sample[rows])
        other = np.zeros(rows.size, dtype=bool)
        if REGULATORY in types:
            other = ~allowed[:, types.index(REGULATORY)]
        for name in np.unique(sample[rows]):
            of_sample = np.flatnonzero(sample == name)
            mean_rate = column_sums(genes[of_sample]) / max(totals[of_sample].sum(), 1.0)
            at = np.flatnonzero(sample[rows] == name)
            own = rows[at]
            number = None if clusters is None else np.unique(clusters[own], return_inverse=True)[1]
            ambient = _ambient_share(foreign, totals, of_sample, own)
            probability[at] = t_type_posterior(
                genes[own], totals[own], mean_rate, levels, number, ambient, other[at]
            )
    return pd.DataFrame(probability, adata.obs_names[rows], types), allowed


def _ambient_share(
    foreign: np.ndarray, totals: np.ndarray, of_sample: np.ndarray, own: np.ndarray
) -> float:
    """Return the share of a sample's T cells that is ambient RNA, by genes of which they have none (:data:`NOT_OF_T`).

    Parameters
    ----------
    foreign, totals
        UMIs of these genes, and of all, in each cell, shape (n_cells,).
    of_sample, own
        Positions of the sample's cells, and of its T cells.
    """
    molecules, of_t = totals[of_sample].sum(), totals[own].sum()
    if molecules - of_t < LEAST_OTHERS * molecules:
        return AMBIENT
    expected = totals[own] * foreign[of_sample].sum() / molecules
    # Unseen doublets hold most of such molecules.
    usual = np.argsort(foreign[own] / np.maximum(totals[own], 1.0), kind="stable")[
        : int(np.ceil(0.95 * own.size))
    ]
    if expected[usual].sum() < LEAST_OF_OTHERS:
        return AMBIENT
    share = foreign[own][usual].sum() / expected[usual].sum()
    return float(np.clip(share, AMBIENT, MOST_AMBIENT))


def _exclude_by_activity(
    allowed: np.ndarray, types: list[str], counts: Any, names: pd.Index, sample: np.ndarray
) -> None:
    """Exclude types that a cell's other genes contradict.

    Naive ones of activated cells, the regulatory one of those without two of its genes, and the gamma-delta one of
    cells that show genes of NK cells and no variable segment.

    That a sample's other T cells are activated makes none of its cells less naive: those may be of blood.

    Parameters
    ----------
    allowed
        n_t_cells × n_types; changed in place.
    types
        Their names.
    counts
        UMIs of all genes of the T cells, CSR.
    names
        Gene symbols, shape (n_genes,).
    sample
        Sample of each cell, shape (n_t_cells,).
    """
    active = activated(counts, names)[1]
    strictly = activated_in_samples(counts, names, sample)
    own = np.asarray(counts[:, np.flatnonzero(names.isin(OF_REGULATORY))].getnnz(axis=1))
    own = np.maximum(own, row_sums(counts[:, np.flatnonzero(names == "FOXP3")]))
    for t, name in enumerate(types):
        if name.startswith("naive"):
            allowed[active, t] = False
        if name == REGULATORY:
            allowed[strictly & (own < 2), t] = False
        if name == GAMMA_DELTA:
            segment = row_sums(counts[:, np.flatnonzero(names.isin(OF_GAMMA_DELTA))])
            of_nk = row_sums(counts[:, np.flatnonzero(names.isin(OF_NK))])
            allowed[(segment == 0) & (of_nk > np.floor(row_sums(counts) / 5_000)), t] = False


def t_allowed(adata: AnnData, is_t: np.ndarray, excluded: frozenset[str]) -> np.ndarray:
    """Return which types the T cells' own molecules allow, n_t_cells × n_types (see :func:`possible_types`)."""
    levels = match_levels(adata.var_names, read_t_types(), excluded)
    counts = counts_of(adata)[np.flatnonzero(is_t)]
    totals = row_sums(counts) * panel_scale(adata, is_t, excluded)
    allowed = possible_types(counts[:, levels.genes], totals, levels)
    sample = sample_numbers(adata)[np.flatnonzero(is_t)]
    _exclude_by_activity(allowed, levels.types, counts, adata.var_names, sample)
    return allowed
