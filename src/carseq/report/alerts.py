"""What the report warns of, and what it must leave open."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from carseq.calling import all_may_be_false, never_twice, silent_left_out
from carseq.calling.gates import gate_in_name
from carseq.cells.annotation import is_single_t
from carseq.cells.filters import if_whole
from carseq.cells.protein import FEWEST_JUDGED, LEAST_AGREEMENT
from carseq.cells.receptor import LEAST_SHARE
from carseq.cells.sexes import of_two_sexes
from carseq.figures.phrases import FEW_T_CELLS, count, number, step_words
from carseq.figures.summaries import car_molecules
from carseq.report.methods import done
from carseq.report.privacy import without_paths
from carseq.report.study import Study
from carseq.schema.codes import GATES
from carseq.schema.percent import limit_percent, percent
from carseq.schema.thresholds import FEWEST_UNLIKE, MOST_UNLIKE

#: Below these the page warns. Fractions; a 10x library of fresh cells has > 0.9 valid barcodes and
#: > 0.8 mapped reads, urine less.
MIN_VALID_BARCODES = 0.7
MIN_MAPPED = 0.5
#: The same of reads that fit transcripts, where kallisto counted: introns and what lies between genes do not, which are
#: a third of the reads of whole cells, half of those of nuclei.
MIN_ON_TRANSCRIPTS = 0.3
#: Where the aligner placed few reads. Of each: the key in ``summary.json``, the least share, what those reads do, what
#: to check, and what too few of them are.
_MAPPING = (
    (
        "mapped_genome",
        MIN_MAPPED,
        "map to the genome",
        "species, read length and adapters",
        "mapped",
    ),
    (
        "mapped_transcripts",
        MIN_ON_TRANSCRIPTS,
        "fit a transcript",
        "species and read length, or whether these are nuclei, whose introns kallisto does not count (`solo.aligner: "
        "star` with `solo.feature: GeneFull` does)",
        "counted",
    ),
)
#: A filter that removes more than this part of the cells raises an alert.
MOST_REMOVED = 1 / 3
#: The same alert of so many samples is shown once, with their names.
FEWEST_TOGETHER = 3


@dataclass(frozen=True)
class Alert:
    """Something the reader must know before trusting the numbers."""

    level: str
    where: str
    message: str
    remedy: str


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
        found.append(f"No urine sample ({kinds} only): nothing here says anything about urine.")
    if not detection["n_t_cells"].sum():
        found.append(
            "No T cell in any sample: CAR T cells are T cells, so nothing could be called, and the absence of calls "
            "means nothing."
        )
    elif not len(car_molecules(study.molecules)) and not (study.cells["car_umis"] > 0).any():
        steps = done(study)
        # Of a matrix, only cells are known here.
        where = (
            "in any cell"
            if steps.matrix
            else "in any sample, neither in cells nor in empty droplets"
        )
        check = "that the construct is the one given (“Why so few?” shows where reads went)"
        if not steps.with_reads:
            check = "that the row of the CAR in the matrices is its own, counted against its whole transcript"
        found.append(f"No CAR molecule {where}. If CAR T cells were expected, check first {check}.")
    if len(detection) == 1:
        found.append("One sample: there is nothing to compare it with.")
    controls = detection[detection["role"] == "negative_control"]
    if not len(controls):
        found.append(
            "No negative control: this study does not test that nothing is called where no CAR T cell can be."
        )
    elif (controls["verdict"] == "undetermined").all():
        which = "The negative control is" if len(controls) == 1 else "All negative controls are"
        found.append(
            f"{which} undetermined: with so few T cells, or such ones, it is not tested that nothing is called where "
            "no CAR T cell can be."
        )
    return found


def sort_words(study: Study, row: Any) -> str:
    """Return how the cells of a row of the verdicts were sorted: the code in words, or the sheet's own."""
    how = GATES.get(row.gating, row.gating)
    if row.gating == "other":
        sheet = study.config.get("sheet") or {}
        how = str((sheet.get(row.sample) or {}).get("gating") or how)
    return str(how)


#: A sort that no code names may be by the CAR.
_IF_BY_CAR = (
    " If what was sorted by marks the CAR (a reporter or a tag of its vector), write `car_enriched` or `car_depleted` "
    "into `gating`: the share is then the purity of the sort, and is compared with no other sample's."
)


def alerts(study: Study) -> list[Alert]:
    """Return what the reader must know before trusting the numbers, the most serious first."""
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
                    f"{count(row.n_best, 'molecule')} fit it alone",
                    f"Put {row.construct} into `construct.file` and run again.",
                )
            )
    for row in study.detection[~study.detection["gating"].isin(["unsorted", ""])].itertuples():
        found.append(
            Alert(
                "warn",
                row.sample,
                f"the cells were sorted: {sort_words(study, row)}",
                "The verdict holds for the cells that passed the gate; a gate without CD45+ cells removes CAR T cells."
                + (_IF_BY_CAR if row.gating == "other" else ""),
            )
        )
    found += _named_sort_alerts(study)
    looked_at = study.losses[study.losses["step"] == "unmapped_looked_at"]
    for row in looked_at[looked_at["n"] == 0].itertuples():
        found.append(
            Alert(
                "warn",
                str(row.sample),
                "the BAM holds no unmapped reads",
                "If they were left out of it, CAR reads that the aligner could not place were not seen, so that CAR T "
                "cells may be missed: most of them, if the BAM was made without the CAR in its reference. Keep "
                "unmapped reads (STAR: `--outSAMunmapped Within`; Cell Ranger does).",
            )
        )
    found += _contig_alerts(study.losses)
    found += [Alert("warn", "reference", *doubt) for doubt in study.doubts_of_reference]
    for sample, doubts in study.doubts.items():
        found += [Alert("warn", sample, told, remedy) for told, remedy in doubts]
    for sample in study.samples:
        found += _library_alerts(sample, study.solo.get(sample, {}))
    sheet = study.config.get("sheet") or {}
    for row in study.detection.itertuples():
        given = sheet.get(row.sample) or {"matrix": True}
        called_alone = bool(given.get("matrix")) and not given.get("raw_matrix")
        found += _cell_alerts(row, all_barcodes=not called_alone)
    found += _left_out_alerts(study)
    found += _beside_alerts(study)
    found += _filter_alerts(study)
    found += _check_alerts(study)
    order = {"error": 0, "warn": 1, "info": 2}
    # Page and notebooks, which are handed on, name no folder of the machine.
    home = study.results.resolve().parent
    return [
        replace(
            alert,
            message=without_paths(alert.message, home),
            remedy=without_paths(alert.remedy, home),
        )
        for alert in sorted(found, key=lambda alert: order.get(alert.level, 3))
    ]


def _named_sort_alerts(study: Study) -> list[Alert]:
    """Tell samples that are named after a sort by the CAR, of which the sheet says nothing."""
    sheet = study.config.get("sheet") or {}
    found = []
    for row in study.detection.itertuples():
        said = str((sheet.get(row.sample) or {}).get("gating") or "").strip()
        code = gate_in_name(str(row.sample))
        if code and not said and row.gating in {"unsorted", ""} and row.role == "case":
            found.append(
                Alert(
                    "warn",
                    str(row.sample),
                    "its name says that it was sorted by the CAR, and the sheet says nothing of a sort",
                    f"If it was, write `{code}` into `gating` and run again: its share of CAR T cells is then the "
                    "purity of the sort, no share of the patient's T cells, and is compared and pooled with no other.",
                )
            )
    return found


def _contig_alerts(losses: pd.DataFrame) -> list[Alert]:
    """Return where most reads of the CAR's contig are none of the construct's, and where many are."""
    found = []
    for sample, steps in losses.groupby("sample", sort=False):
        n = steps.set_index("step")["n"]
        on_contig, unlike, explained = (
            int(n.get(step, 0)) for step in ("candidates_on_contig", "unlike_car", "car_reads")
        )
        # Unmapped reads may be among them.
        unlike = min(unlike, on_contig)
        if unlike < FEWEST_UNLIKE or unlike <= MOST_UNLIKE * on_contig:
            continue
        if unlike <= max(on_contig / 2, explained):
            found.append(
                Alert(
                    "warn",
                    str(sample),
                    f"{number(unlike)} of {count(on_contig, 'read')} on the CAR's contig do not resemble the construct",
                    "They are not counted. The contig holds more (ends, a marker), or another CAR in the same vector: "
                    "give what the BAM was aligned to in `construct.file`.",
                )
            )
            continue
        found.append(
            Alert(
                "error",
                str(sample),
                f"the construct does not explain {number(unlike)} of {count(on_contig, 'read')} on the CAR's contig",
                "The contig holds another sequence than the construct: another CAR, another version of it, or further "
                "genes. Give what the BAM was aligned to in `construct.file`; else CAR T cells are missed.",
            )
        )
    return found


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
    for key, least, what, check, counted in _MAPPING:
        share = _as_fraction(summary.get(key))
        if share < least:
            found.append(
                Alert(
                    "warn",
                    sample,
                    f"only {percent(share)} of reads {what}",
                    f"In urine, bacteria and degraded RNA are common causes; else check {check}. Fewer {counted} reads "
                    "mean a lower sensitivity, not false calls.",
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
                "the CAR and most genes are not counted.",
            )
        )
    return found


def _beside_alerts(study: Study) -> list[Alert]:
    """Tell samples given as matrices that count other parts of the CAR's vector in rows of their own."""
    of_matrix = set(done(study).matrix)
    found = []
    for sample, rows in study.beside_car.groupby("sample", sort=False):
        if sample not in of_matrix:
            continue
        own = int(study.cells.loc[study.cells["sample"].astype(str) == sample, "car_umis"].sum())
        named = ", ".join(f"{row.gene} ({row.molecules:,})" for row in rows.head(4).itertuples())
        found.append(
            Alert(
                "error" if rows["molecules"].max() > own else "warn",
                str(sample),
                f"beside {study.construct} ({count(own, 'molecule')} in cells) the matrix counts {named}",
                "If these are parts of the same mRNA (its scFv, WPRE, LTR), their molecules were not counted and CAR T "
                "cells are missed: count the reads against one sequence of the whole transcript, or add up these rows "
                "where each molecule is in one of them.",
            )
        )
    return found


def _left_out_alerts(study: Study) -> list[Alert]:
    """Tell samples whose cells were kept for their CAR molecules, or whose CAR was seen and not counted."""
    t_cells = study.cells[is_single_t(study.cells)]
    of_samples = t_cells.groupby(t_cells["sample"].astype(str))
    return [
        Alert(
            "error",
            str(sample),
            "no T cell shows more than one CAR molecule, though many show one: the matrix says whether the CAR was "
            "seen, not how often",
            "Give counts of molecules: the cells seem to express the CAR little, and the fraction comes out far too "
            "high.",
        )
        for sample, own in of_samples
        if never_twice(own["car_umis"], own["total_umis"])
    ] + [
        Alert(
            "error",
            str(sample),
            "every T cell shows the CAR, and many one molecule alone: cells without one were left out of the matrix",
            "Give all cells of the sample: its CAR T fraction is not that of all T cells, and is compared and pooled "
            "with no other.",
        )
        for sample, own in of_samples
        if silent_left_out(own["car_umis"])
    ]


#: How to get more T cells out of a compartment.
_MORE = {"urine": "Use more urine or pool time points", "blood": "Load more cells or sort T cells"}
_MORE_OF_ANY = "Load more cells"


def _cell_alerts(row: Any, *, all_barcodes: bool) -> list[Alert]:
    """Tell what a row of the verdicts lacks; ``all_barcodes``: of a sample given with its empty droplets."""
    found = []
    if row.role == "negative_control" and row.n_car_positive > 0:
        cells = count(row.n_car_positive, "T cell")
        by_chance = ""
        if all_may_be_false(row.n_car_positive, row.expected_false_calls):
            which = "the call is false" if row.n_car_positive == 1 else "all calls are false"
            by_chance = (
                f"chance ({number(row.expected_false_calls)} expected to be false: {which}), "
            )
        found.append(
            Alert(
                "error",
                row.sample,
                f"a negative control with {cells} called positive",
                f"Do not trust any sample here before this is explained: {by_chance}swapped samples, "
                "molecules swapped between libraries of one run, or a construct that shares "
                "sequence with the patient's genes. Look at these cells under “CAR evidence”.",
            )
        )
    if row.ambient_assumed and row.n_cells:
        found.append(
            Alert(
                "info",
                row.sample,
                "ambient RNA was assumed, not measured",
                "The empty droplets hold hardly a molecule. If what was given is a matrix of called cells, "
                "give all barcodes in `raw_matrix`, so that the false calls expected from ambient RNA are measured."
                if all_barcodes
                else "The matrix holds no empty droplets. Give the raw matrix beside it (column `raw_matrix`), "
                "so that the false calls expected from ambient RNA are measured.",
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
    elif row.n_t_cells < FEW_T_CELLS and row.verdict != "detected":
        few = count(row.n_t_cells, "T cell")
        limit = (
            f"; shares of CAR T cells below {limit_percent(row.detection_limit)} may be missed"
            if math.isfinite(row.detection_limit) and row.detection_limit < 1
            else ""
        )
        found.append(
            Alert(
                "warn",
                row.sample,
                f"{f'only {few}' if row.n_t_cells else 'no T cells'} among {count(row.n_cells, 'cell')}{limit}",
                f"Seeing no CAR T cell does not mean that there are none. {_MORE.get(row.compartment, _MORE_OF_ANY)}, "
                "and check that the sort did not exclude CD45-positive cells.",
            )
        )
    return found


def _filter_alerts(study: Study) -> list[Alert]:
    """Return where filters took much: a third of the cells, or most of those with CAR molecules."""
    found = []
    for row in study.filters.itertuples():
        if row.n_before >= FEW_T_CELLS and row.n_removed > MOST_REMOVED * row.n_before:
            found.append(
                Alert(
                    "warn",
                    str(row.sample),
                    f"the filter “{step_words(row.step)}” removed {number(row.n_removed)} of "
                    f"{count(row.n_before, 'cell')} ({percent(row.n_removed / row.n_before)})",
                    "A filter rarely takes so many. Look at the knee plot and at the filters' table: the limit may be "
                    "too strict for these cells (`cells:` in the configuration), or the library may have failed.",
                )
            )
    for row in study.lineages_hit.itertuples():
        remedy = if_whole(str(row.step))
        found.append(
            Alert(
                "warn",
                str(row.sample),
                f"the filter “{step_words(row.step)}” removed {number(row.n_removed)} of "
                f"{count(row.n, f'{row.lineage} cell')} and {percent(row.others)} of the others",
                f"Shares of lineages change. {remedy[:1].upper()}{remedy[1:]}.",
            )
        )
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
                    f"Most were removed by “{worst}”. Many CAR-bearing barcodes without a cell mean "
                    "ambient CAR RNA or broken CAR T cells; see the knee plot below.",
                )
            )
    return found


def _check_alerts(study: Study) -> list[Alert]:
    """Return where surface proteins or T-cell receptors contradict the annotation, or samples of a patient differ."""
    found = []
    patients = dict(zip(study.detection["sample"], study.detection["patient"], strict=True))
    for patient, own in of_two_sexes(study.cells, patients).items():
        found.append(
            Alert(
                "warn",
                f"patient {patient}",
                f"blood cells of two sexes by RNA: {', '.join(own['XX'])} XX (XIST), {', '.join(own['XY'])} XY (genes "
                "of the Y chromosome)",
                "Samples may have been exchanged, or a row of the sheet names another patient: check the tubes, the "
                "sample indices and the sheet. After a transplant of blood stem cells, or with cells of a donor, both "
                "may be right.",
            )
        )
    whole = study.protein[study.protein["protein_lineage"] == "all"]
    for row in whole[whole["n_cells"] >= FEWEST_JUDGED].itertuples():
        if row.agreement < LEAST_AGREEMENT:
            found.append(
                Alert(
                    "warn",
                    str(row.sample),
                    f"surface proteins agree with the lineage of only {percent(row.agreement)} of "
                    f"{count(row.n_cells, 'cell')} (the others are annotated as {row.else_annotated})",
                    "Either the cell types or the staining is wrong; see “Surface proteins” below before trusting "
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
                    f"{'is not a T cell' if row.n_paired_not_t == 1 else 'are not T cells'} by transcriptome "
                    f"({row.paired_not_t})",
                    "Doublets that were not found, or T cells annotated wrongly: CAR molecules in them are not a call.",
                )
            )
        if row.n_t_cells >= FEWEST_JUDGED and row.share_t_receptor < LEAST_SHARE:
            found.append(
                Alert(
                    "warn",
                    str(row.sample),
                    f"only {percent(row.share_t_receptor)} of {count(row.n_t_cells, 'T cell')} have a T-cell receptor",
                    "A poor receptor library, one of another sample, or cells that are not T cells.",
                )
            )
    return found


def together(found: list[Alert], samples: Sequence[str]) -> list[Alert]:
    """Join what is told of several samples in the same words into one alert that names them.

    Parameters
    ----------
    found
        Alerts, the most serious first (:func:`alerts`).
    samples
        All samples of the study.
    """
    places: dict[Alert, list[str]] = {}
    for alert in found:
        places.setdefault(replace(alert, where=""), []).append(alert.where)
    joined = []
    for alert, where in places.items():
        names = list(dict.fromkeys(where))
        if len(names) < FEWEST_TOGETHER or not set(names) <= set(samples):
            joined += [replace(alert, where=name) for name in names]
            continue
        whole = "all " if len(names) == len(samples) else ""
        shown = "" if whole else f": {', '.join(names)}"
        joined.append(replace(alert, where=f"{whole}{count(len(names), 'sample')}{shown}"))
    return joined


def by_place(found: list[Alert]) -> list[tuple[str, str, list[Alert]]]:
    """Group alerts by sample or construct: worst level, place, alerts; the worst places first."""
    order = {"error": 0, "warn": 1, "info": 2}
    places: dict[str, list[Alert]] = {}
    for alert in found:
        places.setdefault(alert.where, []).append(alert)
    groups = [
        (min((a.level for a in group), key=lambda level: order.get(level, 3)), where, group)
        for where, group in places.items()
    ]
    return sorted(groups, key=lambda group: order.get(group[0], 3))
