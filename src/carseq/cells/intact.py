"""Which cells lost their cytoplasm, and how much of their RNA they kept.

A damaged cell keeps its nucleus: ribosomal protein genes, whose mRNA fills the cytoplasm, are a smaller share of its
UMIs, and MALAT1 and NEAT1, which stay in the nucleus, a larger one. In 34 CAR T libraries 11 % of all T cells were so:
ribosomal genes 3.9 % of UMIs where intact T cells have 17.9 %, MALAT1 5.8 % in place of 3.3 %; mitochondrial UMIs did
not tell them. They are flagged, not removed: a damaged CAR T cell shows its CAR less often, which the calling takes
into account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carseq.cells.counts import counts_of, row_sums
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.intact")

#: Ribosomal protein genes (Yoshihama 2002, doi:10.1101/gr.214202), without pseudogenes and mitochondrial ones.
RIBOSOMAL = r"^RP(L|S)(\d+[AXY]?\d?L?|P[012]|A)$"
#: Long RNAs that stay in the nucleus (Hutchinson 2007, doi:10.1186/1471-2164-8-39).
NUCLEAR = ("MALAT1", "NEAT1")
#: Ribosomal share of UMIs in intact cells: usual, least and most, by lineage. From PBMC in 10x 3' (1k v3, CITE-seq 5k
#: and 10k v3: T 0.37, B 0.33, NK 0.17, myeloid 0.15), made wide enough for 5' libraries (T 0.18).
SHARES = {
    "T": (0.28, 0.12, 0.50),
    "NK": (0.17, 0.08, 0.35),
    "B": (0.30, 0.12, 0.50),
    "myeloid": (0.14, 0.06, 0.30),
    "kidney": (0.15, 0.05, 0.35),
    "urogenital": (0.18, 0.05, 0.40),
    "unknown": (0.15, 0.06, 0.40),
}
#: Types with little ribosomal mRNA by nature, which are not judged.
POOR_TYPES = ("neutrophil", "platelet", "eosinophil", "mast cell")
#: Killing T cells have about this share of what other T cells have (PBMC 1k v3: 0.20 against 0.36).
KILLING_SHARE = 0.6
#: Usual nuclear share of UMIs (the same data: 0.02 to 0.06).
NUCLEAR_SHARE = 0.04
#: Its range in intact cells.
NUCLEAR_RANGE = (0.01, 0.10)
#: Cells that the usual shares weigh as much as.
PRIOR_CELLS = 10.0
#: What the nuclear share may add, natural log, and its weight beside the ribosomal share.
NUCLEAR_BOUND, NUCLEAR_WEIGHT = (-0.5, 0.8), 0.5
#: Intronic share of UMIs in intact cells of 10x libraries, usual and its range (PBMC and tissue a fifth to a third,
#: nuclei two thirds and more: 10x Genomics, Interpreting intronic and antisense reads, CG000376), and its weight.
INTRONIC_SHARE, INTRONIC_RANGE, INTRONIC_WEIGHT = 0.25, (0.05, 0.45), 0.5
#: Log of the ribosomal share against that of intact cells below which a cell is damaged: the middle between the two
#: kinds of T cells in the CAR T libraries (log 3.9/17.9 with the nuclear term is -1.8).
DAMAGED_BELOW = -1.0
#: Where most cells of a lineage may be damaged: the quantile of the ribosomal shares that is taken for that of intact
#: cells, and how many times the nuclear share of these the damaged ones show at least (in the CAR T libraries 1.8). Of
#: T cells in 3' reads, 60 to 90 % of which had lost as much as those there, 10 to 40 % were found.
RICHEST, MORE_NUCLEAR = 0.95, 1.2
#: From this share of the intact cells' ribosomal share on, a cell counts as whole: types and donors differ as much.
WHOLE = 0.6
#: How much of the mRNA a damaged cell kept, by its ribosomal share x against that of intact cells: x (1 + c) / (x + c).
#: It falls later than x: in the CAR T libraries cells of x = 0.06, 0.2 and 0.3 showed 0.25-0.55, 0.68-0.73 and 0.9-1 of
#: the CAR molecules that intact cells of as many UMIs show.
KEPT_CONSTANT = 0.12
#: Ribosomal genes that the matrix must hold.
MIN_GENES = 20
#: Above this share of damaged cells a sample is warned of.
MANY_DAMAGED = 0.5


def _ribosomal(adata: AnnData) -> np.ndarray:
    """Return the positions of the ribosomal protein genes."""
    return np.flatnonzero(adata.var_names.str.upper().str.match(RIBOSOMAL))


def can_be_judged(adata: AnnData) -> bool:
    """Return whether the matrix holds raw counts of as many ribosomal genes as tell damaged cells."""
    is_ribo = _ribosomal(adata)
    if is_ribo.size < MIN_GENES:
        return False
    values = counts_of(adata)[:, is_ribo].data
    return bool(np.all(values >= 0) and np.all(values == np.rint(values)))


def intactness(adata: AnnData) -> AnnData:
    """Estimate how much of its RNA each cell kept, and flag cells that lost their cytoplasm.

    Parameters
    ----------
    adata
        Cells, counts in `layers["counts"]` (or X); `obs` with `lineage`, `cell_type` (from
        :func:`carseq.cells.annotate`), `sample` and `pct_intronic` (UMIs of unspliced RNA, %), each used where there.

    Returns
    -------
    AnnData
        The same object, with `obs`: `intact_fraction` (0 to 1: estimated share of its mRNA that the cell kept, 1 where
        it cannot be judged), `is_damaged`, `pct_ribo` and `pct_nuclear` (UMIs of ribosomal protein genes, and of MALAT1
        and NEAT1, %; NaN where the matrix holds none of them).

    Notes
    -----
    Cells are compared with those of their lineage in their sample; the level of intact cells stays within what is known
    of the lineage, so that a sample of damaged cells alone is recognised. Plasma cells, red cells, platelets and
    granulocytes are poor in ribosomal mRNA by nature and are not judged, nor is a panel without ribosomal genes. In a
    library of nuclei all cells are "damaged".
    """
    counts = counts_of(adata)
    names = adata.var_names.str.upper()
    total = np.maximum(row_sums(counts), 1.0)
    is_ribo = _ribosomal(adata)
    is_nuclear = np.flatnonzero(names.isin(NUCLEAR))
    ribo = row_sums(counts[:, is_ribo]) / total
    nuclear = row_sums(counts[:, is_nuclear]) / total
    intronic = np.full(adata.n_obs, np.nan)
    if "pct_intronic" in adata.obs:
        intronic = adata.obs["pct_intronic"].to_numpy(float) / 100
    kept, damaged = np.ones(adata.n_obs), np.zeros(adata.n_obs, dtype=bool)
    adata.obs["pct_ribo"] = 100 * ribo if is_ribo.size else np.nan
    adata.obs["pct_nuclear"] = 100 * nuclear if is_nuclear.size else np.nan
    if is_ribo.size >= MIN_GENES and adata.n_obs:
        lineage = _column(adata, "lineage", "unknown")
        kind = _column(adata, "cell_type", "")
        sample = _column(adata, "sample", "")
        killing = np.char.startswith(kind.astype(str), "cytotoxic")
        for name in np.unique(sample):
            for group, (usual, least, most) in SHARES.items():
                rows = np.flatnonzero(
                    (sample == name) & (lineage == group) & ~np.isin(kind, POOR_TYPES)
                )
                if not rows.size:
                    continue
                scale = np.where(killing[rows], KILLING_SHARE, 1.0)
                score = _score(
                    ribo[rows] / scale,
                    nuclear[rows] if is_nuclear.size else None,
                    (usual, least, most),
                    intronic[rows],
                )
                damaged[rows] = score < DAMAGED_BELOW
                x = np.exp(np.minimum(score, 0.0))
                share = x * (1 + KEPT_CONSTANT) / (x + KEPT_CONSTANT)
                kept[rows] = np.where(x >= WHOLE, 1.0, share)
            own = sample == name
            if damaged[own].mean() > MANY_DAMAGED and own.sum() >= 20:
                log.warning(
                    "sample %s: %.0f %% of the cells lost their cytoplasm (median: ribosomal genes %.1f %% of UMIs). "
                    "Cells were lysed or frozen badly, or these are nuclei; a CAR shows less often in them",
                    name or "(unnamed)",
                    100 * damaged[own].mean(),
                    100 * np.median(ribo[own]),
                )
    elif adata.n_obs:
        log.warning(
            "%d ribosomal genes in the matrix: damaged cells are not looked for", is_ribo.size
        )
    adata.obs["intact_fraction"], adata.obs["is_damaged"] = kept.clip(0, 1), damaged
    return adata


def _column(adata: AnnData, name: str, default: str) -> np.ndarray:
    if name not in adata.obs:
        return np.full(adata.n_obs, default, dtype=object)
    return np.asarray(adata.obs[name].astype(str).to_numpy(dtype=object))


def _score(
    ribo: np.ndarray,
    nuclear: np.ndarray | None,
    shares: tuple[float, float, float],
    intronic: np.ndarray,
) -> np.ndarray:
    """Return the log of the ribosomal share against intact cells', less parts of the nuclear and the intronic one.

    Where the intronic share is not known (NaN) it says nothing.
    """
    usual, least, most = shares
    logs = np.log(ribo + 1e-3)

    def settle(intact: np.ndarray) -> np.ndarray:
        for _ in range(6):
            weight = intact.sum() + PRIOR_CELLS
            level = (logs[intact].sum() + PRIOR_CELLS * np.log(usual)) / weight
            score = logs - np.clip(level, np.log(least), np.log(most))
            if nuclear is not None:
                excess = _excess(nuclear, intact, NUCLEAR_SHARE, NUCLEAR_RANGE, 5e-3)
                score = score - NUCLEAR_WEIGHT * excess
            excess = _excess(intronic, intact, INTRONIC_SHARE, INTRONIC_RANGE, 0.05)
            score = score - INTRONIC_WEIGHT * excess
            intact = score >= DAMAGED_BELOW
        return np.asarray(score)

    score = settle(ribo >= least / 2)
    if nuclear is None:
        return score
    # Where most cells are damaged, their level may pass for that of intact ones.
    other = settle(logs >= np.quantile(logs, RICHEST) + DAMAGED_BELOW)
    intact, more = other >= DAMAGED_BELOW, (other < DAMAGED_BELOW) & (score >= DAMAGED_BELOW)
    if intact.any() and more.any():
        lost = np.median(nuclear[more]) + 5e-3 >= MORE_NUCLEAR * (np.median(nuclear[intact]) + 5e-3)
        return other if lost else score
    return score


def _excess(
    share: np.ndarray, intact: np.ndarray, usual: float, bounds: tuple[float, float], added: float
) -> np.ndarray:
    """Return the log of a share against intact cells', within :data:`NUCLEAR_BOUND`; 0 where it is not known (NaN).

    Parameters
    ----------
    share, intact
        Of each cell, shape (n_cells,).
    usual, bounds
        The share of intact cells where few are there, and within which theirs is accepted.
    added
        To both shares, so that a cell without such molecules has a logarithm.
    """
    known = np.isfinite(share)
    own = share[intact & known]
    middle = float(np.median(own)) if own.size >= PRIOR_CELLS else usual
    excess = np.log((share + added) / (np.clip(middle, *bounds) + added))
    return np.where(known, np.clip(excess, *NUCLEAR_BOUND), 0.0)
