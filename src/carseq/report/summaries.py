"""What the report's chapters show, computed from a study's tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from carseq.cells.protein import FEWEST_JUDGED, LEAST_AGREEMENT
from carseq.cells.receptor import LEAST_SHARE
from carseq.report.study import Study
from carseq.report.words import count, number, percent, verdict_kind
from carseq.tables import RUN_TIMES

#: A candidate molecule at or above this probability is taken as CAR mRNA on the page.
P_CAR = 0.5

#: Classes of evidence for the CAR; any other molecule fits an endogenous gene better.
EVIDENCE_CLASSES = ["unique", "junction", "shared"]

#: Below these the page warns. Fractions; a 10x library of fresh cells has > 0.9 valid barcodes and
#: > 0.8 mapped reads, urine less.
MIN_VALID_BARCODES = 0.7
MIN_MAPPED = 0.5
#: Fewer T cells than this leave a sample open whatever the reads say.
FEW_T_CELLS = 20


@dataclass(frozen=True)
class Alert:
    """Something the reader must know before believing the numbers."""

    level: str
    where: str
    message: str
    remedy: str


def is_t_cell(cells: pd.DataFrame) -> pd.Series:
    """Return which cells count as T cells for the verdict: lineage T, and not a doublet."""
    return (cells["lineage"] == "T") & ~cells["is_doublet"]


def _is_car(molecules: pd.DataFrame) -> pd.Series:
    return (molecules["p_car"] >= P_CAR) & molecules["evidence"].isin(EVIDENCE_CLASSES)


def car_molecules(molecules: pd.DataFrame) -> pd.DataFrame:
    """Return the molecules that are more likely CAR mRNA than not."""
    return molecules[_is_car(molecules)]


def evidence_classes(molecules: pd.DataFrame, samples: list[str]) -> pd.DataFrame:
    """Count candidate molecules by sample and class of evidence.

    Returns
    -------
    Columns ``sample``, ``unique``, ``junction``, ``shared`` (p_car >= 0.5), ``rejected``.
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


def expected_depth(study: Study, samples: Sequence[str]) -> np.ndarray | None:
    """Return how many CAR molecules of samples should span each base; None where a chemistry is not known."""
    strands = [str(study.solo.get(sample, {}).get("strand", "")) for sample in samples]
    keys = {"Forward": "expected_3p", "Reverse": "expected_5p"}
    if len(study.expected) != study.tx_length or not samples or set(strands) - set(keys):
        return None
    n_molecules = car_molecules(study.molecules)["sample"].value_counts()
    total = np.zeros(study.tx_length)
    for sample, strand in zip(samples, strands, strict=True):
        share = study.expected[keys[strand]].to_numpy(float) / 100
        total += n_molecules.get(sample, 0) * share
    return total


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
        for domain in domains.itertuples():
            touching = of_sample["evidence"][(start < domain.end) & (end > domain.start)]
            tally = touching.value_counts()
            rows.append(
                {
                    "sample": sample,
                    "domain": str(domain.name),
                    "start": int(domain.start),
                    "end": int(domain.end),
                    **{c: int(tally.get(c, 0)) for c in EVIDENCE_CLASSES},
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


def car_by_type(cells: pd.DataFrame) -> pd.DataFrame:
    """Count, for each cell type, its cells, those with CAR signal and those called."""
    table = pd.DataFrame(
        {
            "lineage": cells["lineage"],
            "cell_type": cells["cell_type"],
            "n_cells": 1,
            "n_car_signal": cells["car_umis"] > 0,
            "n_positive": cells["car_call"] == "positive",
            "n_uncertain": cells["car_call"] == "uncertain",
            "car_umis": cells["car_umis"],
        }
    )
    table = table.groupby(["lineage", "cell_type"], as_index=False, sort=False).sum()
    return table.sort_values(["n_positive", "n_car_signal", "n_cells"], ascending=False)


def rule_comparison(cells: pd.DataFrame, detection: pd.DataFrame) -> pd.DataFrame:
    """Compare the calls of the model with those of counting rules, by sample.

    Returns
    -------
    Columns ``sample``, ``role``, ``n_t_cells``, ``at_least_1`` and ``at_least_2`` (T cells with so many
    CAR UMIs), ``model`` (T cells called positive), ``expected_false_calls``, ``not_t_at_least_1``
    (other cells and doublets, which the rule would have called as well).
    """
    t_cells = is_t_cell(cells)
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
    """Count cells that carry CAR molecules and are no T cells, by sample, type and reason."""
    outside = cells[(cells["car_umis"] > 0) & ~is_t_cell(cells)]
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
    Schema ``RUN_TIMES``. Of jobs too short for Snakemake to measure, processors and memory are not known.
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


def car_bearing(study: Study) -> pd.DataFrame:
    """Return the called cells with a CAR molecule, the strongest evidence first."""
    cells = study.cells
    kept = car_molecules(study.molecules)
    with_molecule = cells.index.isin(kept["sample"] + ":" + kept["barcode"])
    table = cells[(cells["car_umis"] > 0) | with_molecule]
    order = table["car_call"].map({"positive": 0, "uncertain": 1, "negative": 2}).fillna(3)
    return (
        table.assign(_order=order)
        .sort_values(["_order", "car_posterior", "car_umis"], ascending=[True, False, False])
        .drop(columns="_order")
    )


def thin_knee(knee: pd.DataFrame, n_points: int = 240, n_marked: int = 600) -> pd.DataFrame:
    """Thin a knee table for drawing: ranks evenly spread on a log scale, and CAR-bearing barcodes.

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


def _as_fraction(value: Any) -> float:
    """Return a share as a fraction, whether it was written as one or as per cent."""
    try:
        share = float(value)
    except (TypeError, ValueError):
        return math.nan
    return share / 100 if share > 1.5 else share


def strand_fault(summary: dict[str, Any]) -> str:
    """Say what is wrong with the strand of a sample's reads, or return an empty string.

    Parameters
    ----------
    summary
        ``samples/S/solo/summary.json``: ``strand`` (Forward, Reverse or Unstranded), ``reads_sense`` and
        ``reads_antisense``.
    """
    try:
        sense, antisense = float(summary["reads_sense"]), float(summary["reads_antisense"])
    except (KeyError, TypeError, ValueError):
        return ""
    if sense + antisense < 100:
        return ""
    share = sense / (sense + antisense)
    strand = str(summary.get("strand", "")).lower()
    if strand.startswith("f") and share < 0.5:
        return f"counted on the forward strand, yet only {percent(share)} of reads lie on it"
    if strand.startswith("r") and share > 0.5:
        return (
            f"counted on the reverse strand, yet {percent(share)} of reads lie on the forward one"
        )
    return ""


def scope(study: Study) -> list[str]:
    """Say in sentences what a study cannot answer because of what it lacks; nothing for a full one."""
    detection = study.detection
    if not len(detection):
        return []
    found = []
    if not (detection["compartment"] == "urine").any():
        kinds = ", ".join(dict.fromkeys(detection["compartment"]))
        found.append(f"No urine sample ({kinds} only): nothing here speaks of the urine.")
    if not detection["n_t_cells"].sum():
        found.append(
            "No T cell in any sample: CAR T cells are T cells, so that nothing was there to be called, and silence "
            "means nothing."
        )
    elif not len(car_molecules(study.molecules)) and not (study.cells["car_umis"] > 0).any():
        found.append(
            "No CAR molecule in any sample, neither in cells nor in empty droplets. If CAR T cells were expected, "
            "check first that the construct is the one given (“Why so few?” shows where reads went)."
        )
    if len(detection) == 1:
        found.append("One sample: there is nothing to compare it with.")
    if not (detection["role"] == "negative_control").any():
        found.append(
            "No negative control: that nothing is called where nothing can be was not tested in this study."
        )
    return found


def alerts(study: Study) -> list[Alert]:
    """Return what the reader must know before believing the numbers, the gravest first."""
    found: list[Alert] = []
    for finding in study.lint:
        level = str(finding.get("level", "info"))
        if level in {"warn", "error"} and finding.get("code") != "surrogate":
            found.append(
                Alert(
                    level,
                    f"construct {study.construct}",
                    str(finding.get("message", "")),
                    str(finding.get("remedy", "")),
                )
            )
    for row in study.support[study.support["supported"].astype(bool)].itertuples():
        if row.construct != study.construct:
            found.append(
                Alert(
                    "error",
                    str(row.sample),
                    f"the reads support the construct {row.construct}, not {study.construct}: "
                    f"{count(row.n_best, 'molecule')} can be told apart in its favour",
                    f"Put {row.construct} into `construct.file` and run again.",
                )
            )
    sheet = study.config.get("sheet") or {}
    for sample in study.samples:
        gating = str((sheet.get(sample) or {}).get("gating") or "")
        if gating:
            found.append(
                Alert(
                    "warn",
                    sample,
                    f"the cells were sorted: {gating}",
                    "The verdict holds for the cells that passed the gate; a gate without CD45+ cells removes CAR T "
                    "cells.",
                )
            )
    looked_at = study.losses[study.losses["step"] == "unmapped_looked_at"]
    for row in looked_at[looked_at["n"] == 0].itertuples():
        found.append(
            Alert(
                "warn",
                str(row.sample),
                "the BAM holds no unmapped reads",
                "CAR reads that the aligner could not place were not seen, so that CAR T cells may be missed: most of "
                "them, if the BAM was made without the CAR in its reference. Keep unmapped reads (STAR: "
                "`--outSAMunmapped Within`; Cell Ranger does).",
            )
        )
    for sample in study.samples:
        found += _library_alerts(sample, study.solo.get(sample, {}))
    for row in study.detection.itertuples():
        found += _cell_alerts(row)
    found += _filter_alerts(study)
    found += _check_alerts(study)
    order = {"error": 0, "warn": 1, "info": 2}
    return sorted(found, key=lambda alert: order.get(alert.level, 3))


def _library_alerts(sample: str, summary: dict[str, Any]) -> list[Alert]:
    found = []
    n_reads = summary.get("n_reads")
    if n_reads == 0:
        found.append(
            Alert(
                "error",
                sample,
                "no reads",
                "Check the FASTQ files named for it in the sheet of units; they may be empty.",
            )
        )
        return found
    valid = _as_fraction(summary.get("valid_barcodes"))
    if valid < MIN_VALID_BARCODES:
        found.append(
            Alert(
                "error" if valid < 0.3 else "warn",
                sample,
                f"only {percent(valid)} of reads have a valid barcode",
                f"The chemistry or the whitelist may be the wrong one (used: "
                f"{summary.get('chemistry', 'unknown')}, {summary.get('whitelist', 'unknown')}). Name "
                "`chemistry` and `whitelist` for this sample in the sheet of samples, and check "
                "that R1 and R2 are not swapped.",
            )
        )
    mapped = _as_fraction(summary.get("mapped_genome"))
    if mapped < MIN_MAPPED:
        found.append(
            Alert(
                "warn",
                sample,
                f"only {percent(mapped)} of reads map to the genome",
                "In urine, bacteria and degraded RNA are common causes; else check species, "
                "read length and adapters. Fewer mapped reads mean a lower sensitivity, not false calls.",
            )
        )
    fault = strand_fault(summary)
    if fault:
        found.append(
            Alert(
                "error",
                sample,
                f"the strand looks wrong: {fault}",
                "Name the right chemistry (3' or 5') for this sample; on the wrong strand "
                "the CAR and most genes go uncounted.",
            )
        )
    return found


def _cell_alerts(row: Any) -> list[Alert]:
    found = []
    if row.role == "negative_control" and row.n_car_positive > 0:
        cells = count(row.n_car_positive, "T cell")
        found.append(
            Alert(
                "error",
                row.sample,
                f"a negative control with {cells} called positive",
                "No sample here should be believed before this is explained: swapped samples, "
                "molecules swapped between libraries of one run, or a construct that shares "
                "sequence with the patient's genes. Look at these cells under “CAR evidence”.",
            )
        )
    if row.n_cells == 0:
        found.append(
            Alert(
                "warn",
                row.sample,
                "no cells were kept",
                "See the knee plot and the table of filters: too few cells loaded, a failed "
                "library, or limits too strict for stressed urinary cells (`cells:` in the configuration).",
            )
        )
    elif row.n_t_cells < FEW_T_CELLS and verdict_kind(row.verdict) != "detected":
        limit = (
            f"; shares of CAR T cells below {percent(row.detection_limit)} would go unseen"
            if math.isfinite(row.detection_limit) and row.detection_limit < 1
            else ""
        )
        found.append(
            Alert(
                "warn",
                row.sample,
                f"only {count(row.n_t_cells, 'T cell')} among {count(row.n_cells, 'cell')}{limit}",
                "No CAR T cell seen is not “no CAR T cells” here. More urine, or pooling time "
                "points; check that the sort did not exclude CD45-positive cells.",
            )
        )
    return found


def _filter_alerts(study: Study) -> list[Alert]:
    found = []
    lost = study.filters.assign(
        n=pd.to_numeric(study.filters["n_car_bearing_removed"], errors="coerce").fillna(0)
    )
    for sample, steps in lost.groupby("sample", sort=False):
        cells = study.cells[study.cells["sample"] == sample]
        kept = int((cells["car_umis"] > 0).sum())
        removed = int(steps["n"].sum())
        if removed >= 5 and removed > kept:
            worst = steps.loc[steps["n"].idxmax(), "step"]
            found.append(
                Alert(
                    "warn",
                    str(sample),
                    f"the filters removed {number(removed)} CAR-bearing barcodes and kept {number(kept)}",
                    f"Most fell at “{worst}”. Many CAR-bearing barcodes without a cell mean "
                    "ambient CAR RNA or broken CAR T cells; see the knee plot below.",
                )
            )
    return found


def _check_alerts(study: Study) -> list[Alert]:
    """Return where surface proteins or T-cell receptors contradict the annotation."""
    found = []
    whole = study.protein[study.protein["protein_lineage"] == "all"]
    for row in whole[whole["n_cells"] >= FEWEST_JUDGED].itertuples():
        if row.agreement < LEAST_AGREEMENT:
            found.append(
                Alert(
                    "warn",
                    str(row.sample),
                    f"surface proteins agree with the lineage of only {percent(row.agreement)} of "
                    f"{count(row.n_cells, 'cell')} (the others are annotated as {row.else_annotated})",
                    "Either the cell types or the staining is wrong; see “Surface proteins” below before believing "
                    "which cells the CAR T cells are.",
                )
            )
    for row in study.receptors.itertuples():
        if row.n_paired_not_t:
            found.append(
                Alert(
                    "info",
                    str(row.sample),
                    f"{count(row.n_paired_not_t, 'cell')} with both chains of a T-cell receptor "
                    f"{'is' if row.n_paired_not_t == 1 else 'are'} no T cell by transcriptome ({row.paired_not_t})",
                    "Doublets that were not found, or T cells annotated wrongly: CAR molecules in them are no call.",
                )
            )
        if row.n_t_cells >= FEWEST_JUDGED and row.share_t_receptor < LEAST_SHARE:
            found.append(
                Alert(
                    "warn",
                    str(row.sample),
                    f"only {percent(row.share_t_receptor)} of {count(row.n_t_cells, 'T cell')} have a T-cell receptor",
                    "A poor receptor library, one of another sample, or cells that are no T cells.",
                )
            )
    return found


def by_place(found: list[Alert]) -> list[tuple[str, str, list[Alert]]]:
    """Gather alerts by sample or construct: gravest level, place, alerts; the gravest places first."""
    order = {"error": 0, "warn": 1, "info": 2}
    places: dict[str, list[Alert]] = {}
    for alert in found:
        places.setdefault(alert.where, []).append(alert)
    groups = [
        (min((a.level for a in group), key=lambda level: order.get(level, 3)), where, group)
        for where, group in places.items()
    ]
    return sorted(groups, key=lambda group: order.get(group[0], 3))
