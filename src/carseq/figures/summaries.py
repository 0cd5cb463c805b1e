"""What figures and tables show, computed from cells and molecules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from carseq.cells.markers import is_single_t
from carseq.schema.tables import RUN_TIMES
from carseq.schema.thresholds import MIN_P_CAR

#: Classes of evidence for the CAR; any other molecule fits an endogenous gene better.
EVIDENCE_CLASSES = ["unique", "junction", "shared"]


def _is_car(molecules: pd.DataFrame) -> pd.Series:
    return (molecules["p_car"] >= MIN_P_CAR) & molecules["evidence"].isin(EVIDENCE_CLASSES)


def car_molecules(molecules: pd.DataFrame) -> pd.DataFrame:
    """Return the molecules that are more likely CAR mRNA than not."""
    return molecules[_is_car(molecules)]


def evidence_classes(molecules: pd.DataFrame, samples: list[str]) -> pd.DataFrame:
    """Count candidate molecules by sample and class of evidence.

    Returns
    -------
    pandas.DataFrame
        A row a sample: ``sample``; ``unique``, ``junction`` and ``shared`` (molecules with p_car >= 0.5); ``rejected``.
    """
    evidence = molecules["evidence"].where(_is_car(molecules), "rejected")
    counts = pd.crosstab(molecules["sample"], evidence)
    counts = counts.reindex(index=samples, columns=[*EVIDENCE_CLASSES, "rejected"], fill_value=0)
    return counts.rename_axis(index="sample", columns=None).reset_index()


def depth(molecules: pd.DataFrame, tx_length: int, n_bins: int | None = None) -> np.ndarray:
    """Return how many molecules span each base of the CAR transcript.

    Parameters
    ----------
    molecules
        Schema ``MOLECULES``.
    tx_length
        Length of the transcript (bases).
    n_bins
        Average over this many bins of equal width; None: base by base.
    """
    if tx_length <= 0:
        return np.zeros(0)
    steps = np.zeros(tx_length + 1)
    starts = molecules["tx_start"].to_numpy().clip(0, tx_length)
    ends = molecules["tx_end"].to_numpy().clip(0, tx_length)
    np.add.at(steps, starts, 1)
    np.add.at(steps, ends, -1)
    return binned(np.cumsum(steps[:-1]), n_bins)


def binned(per_base: np.ndarray, n_bins: int | None) -> np.ndarray:
    """Return the means of ``n_bins`` stretches of equal width; None or too many: base by base."""
    if n_bins is None or n_bins >= len(per_base):
        return per_base
    edges = np.linspace(0, len(per_base), n_bins + 1).astype(int)
    return np.add.reduceat(per_base, edges[:-1]) / np.diff(edges)


def molecules_by_domain(
    molecules: pd.DataFrame, domains: pd.DataFrame, samples: list[str]
) -> pd.DataFrame:
    """Count CAR molecules that touch each domain, by sample and class of evidence."""
    kept = car_molecules(molecules)
    rows: list[dict[str, Any]] = []
    for sample in samples:
        of_sample = kept[kept["sample"] == sample]
        start, end = of_sample["tx_start"].to_numpy(), of_sample["tx_end"].to_numpy()
        evidence = of_sample["evidence"].to_numpy()
        of_class = {c: evidence == c for c in EVIDENCE_CLASSES}
        for domain in domains.itertuples():
            touching = (start < domain.end) & (end > domain.start)
            rows.append(
                {
                    "sample": sample,
                    "domain": str(domain.name),
                    "start": int(domain.start),
                    "end": int(domain.end),
                    **{c: int((touching & own).sum()) for c, own in of_class.items()},
                }
            )
    columns = ["sample", "domain", "start", "end", "unique", "junction", "shared"]
    return pd.DataFrame(rows, columns=columns)


def composition(cells: pd.DataFrame, samples: list[str]) -> pd.DataFrame:
    """Count cells by sample (rows) and cell type (columns, the commonest first)."""
    types = cells["cell_type"].where(cells["cell_type"] != "", "unknown")
    order = list(types.value_counts().index)
    counts = pd.crosstab(cells["sample"], types)
    return counts.reindex(index=samples, columns=order, fill_value=0).rename_axis(
        index="sample", columns=None
    )


def composition_rows(cells: pd.DataFrame, samples: list[str]) -> pd.DataFrame:
    """Count cells by sample and cell type, a row for each type that a sample has, its commonest first.

    ``share`` is that of the cells kept of the sample.
    """
    counts = composition(cells, samples)
    share = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    rows = [
        {"sample": s, "cell_type": t, "n_cells": int(n), "share": float(share.at[s, t])}
        for s in samples
        for t, n in counts.loc[s].sort_values(ascending=False, kind="stable").items()
        if n
    ]
    return pd.DataFrame(rows, columns=["sample", "cell_type", "n_cells", "share"])


def car_by_type(cells: pd.DataFrame) -> pd.DataFrame:
    """Count, for each cell type, its cells, those with CAR signal and those called, and say how sure the type is.

    ``confidence`` is the mean over its cells, ``marker_coverage`` the share of its markers that the matrix holds; NaN
    where the cells do not have it, and for "unknown", which is not a type that one could be sure of.
    """
    missing = pd.Series(float("nan"), cells.index)
    table = pd.DataFrame(
        {
            "lineage": cells["lineage"].astype(str),
            "cell_type": cells["cell_type"].astype(str),
            "confidence": cells.get("cell_type_confidence", missing).where(
                cells["cell_type"].astype(str) != "unknown"
            ),
            "marker_coverage": cells.get("marker_coverage", missing),
            "n_cells": 1,
            "n_car_signal": cells["car_umis"] > 0,
            "n_positive": cells["car_call"] == "positive",
            "n_uncertain": cells["car_call"] == "uncertain",
            "car_umis": cells["car_umis"],
        }
    )
    means = dict.fromkeys(("confidence", "marker_coverage"), "mean")
    kinds = table.groupby(["lineage", "cell_type"], as_index=False, sort=False)
    table = kinds.agg({name: means.get(name, "sum") for name in table.columns[2:]})
    return table.sort_values(["n_positive", "n_car_signal", "n_cells"], ascending=False)


def rule_comparison(cells: pd.DataFrame, detection: pd.DataFrame) -> pd.DataFrame:
    """Compare the calls of the model with those of counting rules, by sample.

    Returns
    -------
    pandas.DataFrame
        A row a sample: ``sample``, ``role``, ``n_t_cells``, ``at_least_1`` and ``at_least_2`` (T cells with so many
        CAR UMIs), ``model`` (T cells called positive), ``expected_false_calls``, ``not_t_at_least_1``
        (other cells and doublets, which the rule would have called as well).
    """
    t_cells = is_single_t(cells)
    rows = []
    for row in detection.itertuples():
        here = cells["sample"] == row.sample
        umis = cells["car_umis"][here & t_cells]
        rows.append(
            {
                "sample": row.sample,
                "role": row.role,
                "n_t_cells": int((here & t_cells).sum()),
                "at_least_1": int((umis >= 1).sum()),
                "at_least_2": int((umis >= 2).sum()),
                "model": int((cells["car_call"][here & t_cells] == "positive").sum()),
                "expected_false_calls": row.expected_false_calls,
                "not_t_at_least_1": int((cells["car_umis"][here & ~t_cells] >= 1).sum()),
            }
        )
    columns = [
        "sample",
        "role",
        "n_t_cells",
        "at_least_1",
        "at_least_2",
        "model",
        "expected_false_calls",
        "not_t_at_least_1",
    ]
    return pd.DataFrame(rows, columns=columns)


def signal_outside_t(cells: pd.DataFrame) -> pd.DataFrame:
    """Count cells that carry CAR molecules and are not T cells, by sample, type and reason."""
    outside = cells[(cells["car_umis"] > 0) & ~is_single_t(cells)]
    grouped = outside.groupby(
        ["sample", "lineage", "cell_type", "is_doublet", "car_reason"],
        as_index=False,
        observed=True,
    )
    table = grouped.agg(n_cells=("barcode", "size"), car_umis=("car_umis", "sum"))
    table["is_doublet"] = np.where(table["is_doublet"], "doublet", "")
    columns = ["sample", "cell_type", "lineage", "is_doublet", "n_cells", "car_umis", "car_reason"]
    return table.sort_values("n_cells", ascending=False)[columns]


def run_times(benchmarks: pd.DataFrame) -> pd.DataFrame:
    """Sum up time and memory of the jobs by rule, the longest first.

    Returns
    -------
    pandas.DataFrame
        Schema ``RUN_TIMES``. If no job of a rule could be measured (Snakemake, which did it before 0.2.0, missed short
        ones), CPU time and memory are missing.
    """
    by_rule = benchmarks.groupby("rule", as_index=False).agg(
        n_jobs=("seconds", "size"),
        minutes=("seconds", "sum"),
        longest_minutes=("seconds", "max"),
        cpu_minutes=("cpu_seconds", lambda seconds: seconds.sum(min_count=1)),
        memory_mb=("memory_mb", "max"),
    )
    for column in ("minutes", "longest_minutes", "cpu_minutes"):
        by_rule[column] = (by_rule[column].astype(float) / 60).round(2)
    by_rule = by_rule.sort_values("minutes", ascending=False, ignore_index=True)
    return RUN_TIMES.conform(by_rule)


def thin_knee(knee: pd.DataFrame, n_points: int = 240, n_marked: int = 600) -> pd.DataFrame:
    """Choose the points of a knee table to draw: ranks evenly spread on a log scale, and CAR-bearing barcodes.

    Parameters
    ----------
    knee
        Columns ``rank``, ``total_umis``, ``is_cell``, ``car_umis``.
    n_points
        Points of the curve.
    n_marked
        Most CAR-bearing barcodes kept. Beyond it those with most CAR UMIs stay.
    """
    if not len(knee):
        return knee
    knee = knee.sort_values("rank").reset_index(drop=True)
    picks = np.unique(np.geomspace(1, len(knee), n_points).round().astype(int) - 1)
    marked = knee.index[knee["car_umis"].fillna(0) > 0]
    if len(marked) > n_marked:
        marked = knee.loc[marked, "car_umis"].nlargest(n_marked).index
    return knee.loc[np.union1d(picks, marked)]
