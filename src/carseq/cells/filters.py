"""Quality of each cell, and which cells are left out: limits by lineage, urine-aware."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from carseq.cells.annotation import LEAST_TYPED_GENES, LEAST_TYPED_UMIS, untype
from carseq.cells.counts import car_name, counts_of, row_sums
from carseq.cells.markers import UNKNOWN
from carseq.cells.sexes import count_sex_genes
from carseq.io.genes import PANEL_GENES, is_mitochondrial
from carseq.log import get_logger
from carseq.schema.percent import plain_percent
from carseq.schema.tables import FILTERS

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.filters")

#: Lineages whose mitochondrial ceiling is the whole of `max_pct_mito`; others get half of it
#: (Klocke 2022: < 20 % in kidney cells, < 10 % in leukocytes and urogenital cells).
HIGH_MITO = frozenset({"kidney"})
#: Upper bounds of Klocke 2022; a group with many larger cells raises its own.
MAX_GENES, MAX_UMIS = 4_000, 50_000
#: Median absolute deviations (scaled to a standard deviation) allowed for mito and for size.
MITO_MADS, SIZE_MADS = 3.0, 5.0
#: Cells of a lineage in a sample needed to set limits of its own.
MIN_GROUP = 20
#: Cells of a small sample that together say how many mitochondrial UMIs its kit reads: of 30 cells of fresh PBMC (10x
#: 3' v3, median 10 %) the usual limit took 54 %, of all 906 7 %.
MIN_JUDGED = 8
#: Share of a lineage that a mitochondrial ceiling may remove before it is raised, and share of a sample that a filter
#: may remove before it is an alert.
MOST_REMOVED = 1 / 3
#: A lineage that loses more than this share to the mitochondrial limit, and this many times what others lose, is an
#: alert.
HIT_HARD, HIT_HARDER = 0.2, 3.0
#: The same for lineages of few cells, at least so many: urine holds tens of cells, of which eight may be kidney cells.
FEW_CELLS, FEW_HIT_HARD = 5, 0.5
#: Key of `uns` of the cells that are kept: the lineages that a filter hit harder than the sample's others, as arrays.
HIT = "lineages_hit"
#: Spreads below the mode that a stressed sample's limit lies above it: the distribution is skewed to the right.
MODE_SPREADS = 5.0
#: However stressed a sample, a cell with more mitochondrial UMIs than this is broken, %.
BROKEN_MITO = 50.0
#: Fewest genes of a cell, however shallow the sample: the fewest with which a droplet is given a type.
LEAST_GENES = LEAST_TYPED_GENES
#: A library whose median called cell has fewer genes than this has failed: nothing in it can be typed.
FAILED_GENES = 50
#: An erythrocyte has this share of haemoglobin, %, and so many UMIs, at least.
RED_HB, RED_UMIS = 50.0, 200


def quality(adata: AnnData) -> AnnData:
    """Measure each cell.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X), gene symbols as `var_names`.

    Returns
    -------
    AnnData
        The same object, with `obs`: `total_umis`, `n_genes`, `pct_mito` (MT- genes, %), `pct_hb` (HBA1, HBA2, HBB, %;
        both NaN where the matrix holds none of these genes), `log10_genes_per_umi` (log10 genes / log10 UMIs; NaN below
        2 UMIs), `xist_umis` and `y_umis` (:func:`carseq.cells.sexes.count_sex_genes`).
    """
    counts = counts_of(adata)
    total = row_sums(counts)
    names = adata.var_names.str.upper()
    share = 100 / np.maximum(total, 1.0)
    n_genes = np.asarray(counts.getnnz(axis=1), dtype=np.int64)
    adata.obs["total_umis"] = np.rint(total).astype(np.int64)
    adata.obs["n_genes"] = n_genes
    mito = is_mitochondrial(adata.var_names)
    if not mito.any():
        log.warning(
            "no mitochondrial gene (MT-CO1, or COX1 as RefSeq writes it): pct_mito is missing"
        )
    of_red_cells = names.isin(["HBA1", "HBA2", "HBB"])
    for column, at in (("pct_mito", mito), ("pct_hb", of_red_cells)):
        # None of these genes in the matrix is not none of these molecules in the cell.
        adata.obs[column] = row_sums(counts[:, at]) * share if at.any() else np.nan
    adata.obs["xist_umis"], adata.obs["y_umis"] = count_sex_genes(counts, adata.var_names)
    adata.obs["log10_genes_per_umi"] = np.where(
        total >= 2, np.log10(np.maximum(n_genes, 1)) / np.log10(np.maximum(total, 2)), np.nan
    )
    return adata


def failed_libraries(adata: AnnData) -> dict[str, float]:
    """Return the samples that failed, with their median genes in a called cell (:data:`FAILED_GENES`).

    Parameters
    ----------
    adata
        Called cells before any filter, with `obs["sample"]` and `obs["n_genes"]`.
    """
    if not adata.n_obs:
        return {}
    sample = adata.obs["sample"].astype(str) if "sample" in adata.obs else pd.Series("", adata.obs_names)  # fmt: skip
    if "pct_hb" in adata.obs:
        # Erythrocytes hold little beside haemoglobin: that most cells are such is no failure.
        red = adata.obs["pct_hb"].gt(RED_HB) & adata.obs["total_umis"].ge(RED_UMIS)
        adata, sample = adata[~red.to_numpy()], sample[~red.to_numpy()]
    median = adata.obs["n_genes"].groupby(sample.to_numpy()).median()
    if adata.n_vars < PANEL_GENES:
        # A targeted panel shows few genes of a whole cell.
        umis = pd.Series(row_sums(counts_of(adata))).groupby(sample.to_numpy()).mean()
        median = median[umis < LEAST_TYPED_UMIS]
    failed = {str(name): float(value) for name, value in median.items() if value < FAILED_GENES}
    for name, value in failed.items():
        log.warning(
            "sample %s: library failed: median of %.0f genes in a cell (%d are needed to type one)",
            name or "(unnamed)",
            value,
            LEAST_TYPED_GENES,
        )
    return failed


def untype_failed(adata: AnnData) -> dict[str, float]:
    """Take the types from the cells of libraries that failed; return these as :func:`failed_libraries` does.

    Parameters
    ----------
    adata
        Annotated cells before any filter, with `obs["sample"]` and `obs["n_genes"]`.
    """
    failed = failed_libraries(adata)
    if failed:
        untype(adata, adata.obs["sample"].astype(str).isin(list(failed)).to_numpy())
    return failed


def filter_alerts(filters: pd.DataFrame, *, car: bool = True) -> list[tuple[str, str, str]]:
    """Return the filters that removed more than a third of a sample: sample, what happened, what to change.

    Parameters
    ----------
    filters
        From :func:`filter_cells`.
    car
        Whether CAR molecules were looked for in the cells: alerts about those that show some come first.
    """
    alerts = []
    for name, own in filters.groupby("sample", sort=False):
        n = int(own["n_before"].max())
        for row in own.itertuples():
            if not n or row.n_removed <= MOST_REMOVED * n:
                continue
            bearing = (
                f"{row.n_car_bearing_removed} of the cells removed show the CAR; "
                if row.n_car_bearing_removed
                else "none of the cells removed shows the CAR; "
            )
            share = f"{row.n_removed:,} of {n:,} cells ({plain_percent(row.n_removed / n)})"
            message = f"{bearing if car else ''}the filter `{row.step}` removed {share}"
            alerts.append((str(name), message, _REMEDY[row.step]))
    return alerts


#: What to change where a filter removes many cells.
_REMEDY = {
    "too few genes": "look at the knee plot: debris was called, or the sample is shallow (lower `cells.min_genes`)",
    "too many mitochondrial UMIs": "raise `cells.max_pct_mito` if these cells have as many genes as the others: "
    "stressed cells of urine hold more mitochondrial RNA than fresh blood",
    "too many genes or UMIs": "look for doublets and for a sample that is much deeper than the others",
}
#: A filter's limit in words, and what to change where it takes a lineage.
_LIMIT = {
    "too few genes": "least number of genes",
    "too many mitochondrial UMIs": "mitochondrial limit",
    "too many genes or UMIs": "largest size of a cell",
}
_IF_WHOLE = {
    "too few genes": "lower `cells.min_genes` if these cells hold little RNA by nature, as neutrophils do",
    "too many mitochondrial UMIs": "raise `cells.max_pct_mito` if these cells have as many genes as the others",
    "too many genes or UMIs": "look for doublets among them",
}


def if_whole(step: str) -> str:
    """Return what to change where a filter takes most of a lineage whose cells are whole."""
    return _IF_WHOLE[step]


def _mode_limit(values: np.ndarray, mads: float) -> float:
    """Return the mode of values plus ``mads`` of their spread below it (as a standard deviation).

    Broken cells lie above the intact ones' mode, so that neither the mode nor what is below it knows them.
    """
    ordered = np.sort(values)
    while (
        ordered.size > 3
    ):  # half-sample mode (Bickel & Frühwirth 2006, doi:10.1016/j.csda.2005.07.011)
        half = -(-ordered.size // 2)
        width = ordered[half - 1 :] - ordered[: ordered.size - half + 1]
        start = int(np.argmin(width))
        ordered = ordered[start : start + half]
    mode = float(np.median(ordered))
    below = values[values <= mode]
    spread = float(np.median(mode - below)) if below.size else 0.0
    return mode + mads * 1.4826 * max(spread, 0.1 * mode)


def _upper(values: np.ndarray, mads: float) -> float:
    middle = float(np.median(values))
    return middle + mads * 1.4826 * float(np.median(np.abs(values - middle)))


def filter_cells(
    adata: AnnData,
    *,
    max_pct_mito: float = 20.0,
    min_genes: int = 200,
    car: str | None = None,
) -> tuple[AnnData, pd.DataFrame]:
    """Leave out cells of poor quality, by limits of their sample and lineage.

    - Genes, at least: `min_genes`, but never more than half of the median of the sample, nor of
      the lineage in it (neutrophils hold little RNA): a shallow sample is warned of, not emptied.
    - Mitochondrial UMIs, at most: median + 3 MAD of the lineage, between half of the ceiling and
      the ceiling; the ceiling is `max_pct_mito` for kidney and half of it for other lineages.
      Where that ceiling would remove more than a third of a lineage in a sample (stressed cells of
      urine), the limit is the mode of the lineage's cells + 5 times their spread below it, at most
      50 %: broken cells lie above the mode and do not move it. Of a lineage of fewer than 20 cells in a sample those of
      all samples are asked, and of fewer than 20 in all the sample's other cells with the same ceiling.
    - Genes and UMIs, at most: median + 5 MAD (log scale), but at least 4,000 and 50,000.

    A lineage that loses more than a fifth of its cells to a filter (of fewer than 20 cells: half), and three times as
    much as the others, is told.

    Parameters
    ----------
    adata
        Cells with `obs` of :func:`quality` (measured here if missing), and `sample` and `lineage`
        where there.
    max_pct_mito
        Ceiling of mitochondrial UMIs in kidney cells, %.
    min_genes
        Fewest genes of a cell.
    car
        Name of the CAR gene; None: `uns["car"]`.

    Returns
    -------
    tuple
        The cells kept (a copy; `uns["lineages_hit"]`: what a filter took of a lineage) and the filters table:
        `sample`, `step`, `n_before`, `n_removed`, `n_after`, `n_car_bearing_removed`, `car_bearing_removed` (their
        barcodes, comma-separated), `removed` (those of all removed cells).
        The input gets `obs["qc_reason"]`, empty for cells kept.
    """
    if not {"total_umis", "n_genes", "pct_mito"} <= set(adata.obs):
        quality(adata)
    obs = adata.obs
    sample = obs["sample"].astype(str) if "sample" in obs else pd.Series("", obs.index)
    lineage = obs["lineage"].astype(str) if "lineage" in obs else pd.Series(UNKNOWN, obs.index)
    steps: dict[str, np.ndarray] = {
        name: np.zeros(adata.n_obs, dtype=bool)
        for name in ("too few genes", "too many mitochondrial UMIs", "too many genes or UMIs")
    }
    few, mito, large = steps.values()
    genes, umis = obs["n_genes"].to_numpy(float), obs["total_umis"].to_numpy(float)
    # Where it is not known no cell is above a limit.
    pct = np.nan_to_num(obs["pct_mito"].to_numpy(float), nan=0.0)
    for name in dict.fromkeys(sample):
        of_sample = (sample == name).to_numpy()
        least = _least_genes(genes[of_sample], min_genes)
        if least < min_genes:
            log.warning(
                "sample %s is shallow (median %.0f genes a cell): %.0f genes are enough, not %d",
                name or "(unnamed)",
                np.median(genes[of_sample]),
                least,
                min_genes,
            )
        raised: list[str] = []
        for kind in dict.fromkeys(lineage[of_sample]):
            rows = of_sample & (lineage == kind).to_numpy()
            own = rows if rows.sum() >= MIN_GROUP else of_sample
            limit = min(least, _least_genes(genes[rows], min_genes)) if own is rows else least
            # Debris lands in "unknown": its own median is not a guide.
            few |= rows & (genes < (least if kind == UNKNOWN else limit))
            ceiling = max_pct_mito * (1.0 if kind in HIGH_MITO else 0.5)
            adaptive = max(_upper(pct[own], MITO_MADS), ceiling / 2) if own is rows else ceiling
            bound = min(ceiling, adaptive)
            # Where the ceiling would take much of a lineage, the sample is stressed or the kit
            # reads more mitochondria (fresh PBMC in 10x 3' v3: median 10 %): the intact cells' own
            # level decides, and what lies above it is broken.
            like = of_sample & (lineage != UNKNOWN).to_numpy() if kind == UNKNOWN else own
            judged, enough = pct[like & (genes >= least)], MIN_GROUP
            if own is not rows and kind != UNKNOWN:
                # Too few to say: those of the study's other samples of this kind are stressed alike.
                judged = pct[(lineage == kind).to_numpy() & (genes >= least)]
                if judged.size < MIN_GROUP and kind not in HIGH_MITO:
                    # Too few in the study: the sample's others with this ceiling were read by the same kit.
                    like = of_sample & ~lineage.isin([UNKNOWN, *HIGH_MITO]).to_numpy()
                    judged, enough = pct[like & (genes >= least)], MIN_JUDGED
            if judged.size >= enough and (judged > ceiling).mean() > MOST_REMOVED:
                bound = max(ceiling, min(BROKEN_MITO, _mode_limit(judged, MODE_SPREADS)))
                raised.append(f"{kind} {plain_percent(bound / 100)}")
            mito |= rows & (pct > bound)
            most_genes = max(MAX_GENES, np.exp(_upper(np.log1p(genes[own]), SIZE_MADS)))
            most_umis = max(MAX_UMIS, np.exp(_upper(np.log1p(umis[own]), SIZE_MADS)))
            large |= rows & ((genes > most_genes) | (umis > most_umis))
        if raised:
            log.info(
                "sample %s: the usual limits of mitochondrial UMIs would take more than a third of a lineage; they "
                "follow its intact cells: %s",
                name or "(unnamed)",
                ", ".join(raised),
            )
    reason = np.full(adata.n_obs, "", dtype=object)
    for step, out in steps.items():
        reason[out & (reason == "")] = step
    obs["qc_reason"] = reason.astype(str)
    hit = [
        found
        for name in dict.fromkeys(sample)
        for step in steps
        for found in _hit_harder(
            name, step, lineage[(sample == name).to_numpy()], reason[(sample == name).to_numpy()]
        )
    ]
    table = _filters_table(adata, sample.to_numpy(), reason, list(steps), car_name(adata, car))
    kept = adata[reason == ""].copy()
    if hit:
        kept.uns[HIT] = {key: np.array([found[key] for found in hit]) for key in hit[0]}
    log.info("quality: %d of %d cells kept", kept.n_obs, adata.n_obs)
    for sample_name, message, remedy in filter_alerts(table, car=car_name(adata, car) is not None):
        log.warning("sample %s: %s. %s", sample_name or "(unnamed)", message, remedy)
    return kept, table


def _hit_harder(
    sample: str, step: str, lineage: pd.Series, reason: np.ndarray
) -> list[dict[str, Any]]:
    """Return, and warn of, the lineages that lose far more of their cells to a filter than the sample's others do.

    Parameters
    ----------
    sample
        Its name.
    step
        The filter.
    lineage, reason
        Of the sample's cells: lineage, and the filter that takes the cell.

    Returns
    -------
    list of dict
        By lineage: `sample`, `step`, `lineage`, `n`, `n_removed` and `others`, the share that the others lose.
    """
    kinds, removed = lineage.to_numpy(str), reason == step
    found: list[dict[str, Any]] = []
    for kind in dict.fromkeys(kinds):
        own = kinds == kind
        rest = removed[~own & (kinds != UNKNOWN)]
        if kind == UNKNOWN or own.sum() < FEW_CELLS or rest.size < FEW_CELLS:
            continue
        share, others = removed[own].mean(), rest.mean()
        hard = HIT_HARD if min(own.sum(), rest.size) >= MIN_GROUP else FEW_HIT_HARD
        if share <= hard or share <= HIT_HARDER * others:
            continue
        n, n_removed = int(own.sum()), int(removed[own].sum())
        numbers = {"n": n, "n_removed": n_removed, "others": float(others)}
        found.append({"sample": sample, "step": step, "lineage": kind, **numbers})
        log.warning(
            "sample %s: the %s takes %.0f %% of the %s cells and %.0f %% of the others: shares of lineages change; %s",
            sample or "(unnamed)",
            _LIMIT[step],
            100 * share,
            kind,
            100 * others,
            _IF_WHOLE[step],
        )
    return found


def _least_genes(genes: np.ndarray, min_genes: int) -> float:
    if not genes.size:
        return float(min_genes)
    return float(min(min_genes, max(LEAST_GENES, np.floor(np.median(genes) / 2))))


def _filters_table(
    adata: AnnData, sample: np.ndarray, reason: np.ndarray, steps: list[str], car: str | None
) -> pd.DataFrame:
    bearing = np.zeros(adata.n_obs, dtype=bool)
    if car is not None and car in adata.var_names:
        column = counts_of(adata)[:, [adata.var_names.get_loc(car)]]
        bearing = row_sums(column) > 0
    barcodes = np.asarray(
        adata.obs["barcode"].astype(str) if "barcode" in adata.obs else adata.obs_names
    )
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys(sample):
        left = int((sample == name).sum())
        for step in steps:
            out = (sample == name) & (reason == step)
            n = int(out.sum())
            rows.append(
                {
                    "sample": name,
                    "step": step,
                    "n_before": left,
                    "n_removed": n,
                    "n_after": left - n,
                    "n_car_bearing_removed": int((out & bearing).sum()),
                    "car_bearing_removed": ",".join(barcodes[out & bearing]),
                    "removed": ",".join(barcodes[out]),
                }
            )
            left -= n
    return pd.DataFrame(rows, columns=list(FILTERS.columns))
