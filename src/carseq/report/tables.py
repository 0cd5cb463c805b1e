"""The page's tables: what is shown of each, in which order; labels, units and meanings are those of the schemas."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from carseq.cells.markers import is_single_t
from carseq.figures import summaries
from carseq.figures.palette import shown_sample
from carseq.report.study import Study, in_order
from carseq.schema.column import Column, Schema
from carseq.schema.obs import OBS
from carseq.schema.percent import NBSP
from carseq.schema.results import FILES
from carseq.schema.summaries import (
    CAR_BY_TYPE,
    COMPOSITION,
    EVIDENCE_CLASSES,
    LIBRARIES,
    MOLECULES_BY_DOMAIN,
    RULE_COMPARISON,
    SIGNAL_OUTSIDE_T,
    VERSIONS,
)
from carseq.schema.tables import (
    AGREEMENT,
    ANNOTATION,
    BLOOD_IN_URINE,
    CLINIC,
    CLONOTYPES,
    CONTRASTS,
    DETECTION,
    DOWNSAMPLING,
    FILTERS,
    INTEGRATION,
    LOCALIZATION,
    LOSSES,
    PROTEIN_AGREEMENT,
    RECEPTORS,
    RULES,
    TARGET,
    THRESHOLDS,
)

#: A wide table is read from its left edge: what is compared, and the result, come first.
_CONTRASTS_FIRST = ("contrast", "group", "sample", "reference", "estimate", "low", "high", "p", "q")
_EVIDENCE = (
    "sample",
    "barcode",
    "cell_type",
    "car_call",
    "car_posterior",
    "car_umis",
    "car_reason",
    "car_umis_unique",
    "car_expected_ambient",
    "total_umis",
    "is_doublet",
    "t_state",
    "car_reason_text",
)
#: The evidence for the strand and for the list of barcodes: saved with the table, not shown.
_STRAND_READS = ("exact_barcodes", "reads_sense", "reads_antisense")
#: Columns with marks of their own on the page.
_KINDS = {
    "car_call": "car_call",
    "verdict": "text",
    "car_posterior": "probability",
    "detection_limit": "limit",
}
_POSITIVE_OF = {"n_car_positive": "n_t_cells"}
_ESTIMATE = ("estimate", "low", "high")
#: What is known of a sample by its name: searched and filtered by, not shown.
_OF_SAMPLE = ("patient", "compartment", "timepoint")
#: Stem of the file that a user saves, where it is not the table's name on the page.
_FILES = {
    "solo": "libraries",
    "domains": "molecules_by_domain",
    "evidence": "car_bearing_cells",
    "mixing": "integration",
    "protein": "protein_agreement",
    "blood": "blood_in_urine",
    "signal_outside": "signal_outside_t",
    "rules": "rule_comparison",
    "field_rules": "rules",
}

#: Values of a figure that repeat as a whole are written once if there are at least this many.
LEAST_BLOCK = 50


def column(values: pd.Series) -> dict[str, Any]:
    """Encode a column for JSON: as a dictionary and codes where values repeat."""
    if pd.api.types.is_bool_dtype(values):
        return {"v": [int(v) for v in values]}
    if pd.api.types.is_integer_dtype(values):
        return {"v": values.tolist()}
    if pd.api.types.is_float_dtype(values):
        return {"v": [short(v) for v in values]}
    shown = [plain(v) for v in values]
    distinct = list(dict.fromkeys(shown))
    if len(shown) > 20 and len(distinct) < len(shown) / 2:
        codes = {value: i for i, value in enumerate(distinct)}
        return {"d": distinct, "c": [codes[v] for v in shown]}
    return {"v": shown}


def plain(value: Any) -> Any:
    """Return a value JSON can hold."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return short(value)
    return str(value)


def short(value: Any, digits: int = 5) -> float | int | str | None:
    """Return a number with ``digits`` significant digits; None for NaN, ``inf`` as a word."""
    value = float(value)
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    value = float(f"{value:.{digits}g}")
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def encode(frame: pd.DataFrame) -> dict[str, Any]:
    """Encode the rows of a figure for the page."""
    return {
        "columns": [{"key": str(key)} for key in frame.columns],
        "data": [_once(column(frame[key])) for key in frame.columns],
        "n": len(frame),
    }


def _once(encoded: dict[str, Any]) -> dict[str, Any]:
    """Write values that are one long block again and again, as places along a construct, once and how often."""
    key = "c" if "c" in encoded else "v"
    values = encoded[key]
    n = len(values)
    for times in range(n // LEAST_BLOCK, 1, -1):
        if n % times == 0 and values == values[: n // times] * times:
            return {**encoded, key: values[: n // times], "t": times}
    return encoded


def _kind(key: str, values: pd.Series, described: Column | None) -> str:
    if key in _KINDS:
        return _KINDS[key]
    numbers = [v for v in values if v is not None and not isinstance(v, (str, bool))]
    known = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if known or (numbers and len(numbers) == values.notna().sum()):
        unit = described.unit if described is not None else ""
        return {"fraction": "percent", "ratio": "ratio"}.get(unit, "number")
    return "text"


def table(
    frame: pd.DataFrame,
    schema: Schema,
    *,
    hide: Sequence[str] = (),
    details: Sequence[str] = (),
    folds: Sequence[str] = (),
    filters: Sequence[str] = (),
    intervals: Sequence[tuple[str, str, str]] = (),
    of: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Describe a table for the page's table widget.

    Parameters
    ----------
    frame : pandas.DataFrame
        The rows, in order.
    schema : Schema
        Says what the columns mean, their labels and units. Columns it lacks are shown by their keys.
    hide : sequence of str
        Columns that are only searched, filtered by, and saved.
    details : sequence of str
        Columns of whole sentences, which stand in the details of a row.
    folds : sequence of str
        Columns that move into the details of a row where the table has no room for them, the first to go first.
    filters : sequence of str
        Columns with a menu of their values.
    intervals : sequence of (str, str, str)
        Columns of an estimate and of the ends of its interval, shown in one cell.
    of : mapping of str to str
        Counts shown with what they are a part of, in one cell: ``21 of 63``.
    """
    ends_of = {centre: [low, high] for centre, low, high in intervals}
    ends = {end for both in ends_of.values() for end in both}
    of = of or {}
    columns = []
    for key in map(str, frame.columns):
        described = schema.columns.get(key)
        label = described.heading(key) if described else str(key)
        if key in ends_of:
            label += f" (95{NBSP}%)"
        # What does not hold of a column is left out, which keeps the page small.
        said = {
            "key": key,
            "label": f"{label}, of T cells" if key in of else label,
            "kind": _kind(key, frame[key], described),
            "help": described.meaning if described else "",
            "hidden": key in hide or key in ends or key in of.values(),
            "interval": ends_of.get(key),
            "of": of.get(key),
            "detail": key in details,
            "fold": folds.index(key) + 1 if key in folds else 0,
        }
        columns.append({name: value for name, value in said.items() if value})
    return {
        "columns": columns,
        "data": [column(frame[key]) for key in frame.columns],
        "n": len(frame),
        "filters": list(filters),
    }


def libraries(study: Study) -> pd.DataFrame:
    """Return what was measured of each library; samples that came as a matrix have blanks."""
    rows = []
    for sample in study.samples:
        summary = study.solo.get(sample) or {}
        scalars = {k: v for k, v in summary.items() if not isinstance(v, (dict, list))}
        rows.append({"sample": sample, **scalars})
    return pd.DataFrame(rows, columns=None if rows else ["sample"])


def tables(study: Study, evidence: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return every table of the page, by its name there.

    Parameters
    ----------
    study : Study
        The study.
    evidence : pandas.DataFrame
        The CAR-bearing cells that the page shows (``obs``).
    """
    samples, cells = study.samples, study.cells
    # The page counts the barcodes that filters removed; their names are in filters.tsv.
    filters = study.filters.drop(columns=["removed", "car_bearing_removed"])
    composition = summaries.composition_rows(cells, samples)
    classes = summaries.evidence_classes(study.molecules, samples)
    domains = summaries.molecules_by_domain(study.molecules, study.domains, samples)
    versions = pd.DataFrame(sorted(study.versions.items()), columns=["tool", "version"])
    made = {
        "detection": _detection(study),
        "solo": table(
            libraries(study),
            LIBRARIES,
            hide=_STRAND_READS,
            folds=["whitelist", "strand", "read_length", "n_barcodes", "mapped_genome_unique"],
        ),
        "filters": table(filters, FILTERS, filters=["sample"]),
        "composition": table(composition, COMPOSITION, filters=["sample", "cell_type"]),
        "car_by_type": table(summaries.car_by_type(cells), CAR_BY_TYPE),
        "evidence_classes": table(classes, EVIDENCE_CLASSES),
        "domains": table(domains, MOLECULES_BY_DOMAIN, filters=["sample"]),
        "evidence": _evidence(evidence, without_molecules(study)),
        "localization": _localization(study),
        "contrasts": _contrasts(study),
        "annotation": table(study.annotation, ANNOTATION, filters=["cell_type", "method"]),
        "mixing": table(study.mixing, INTEGRATION),
        "protein": table(study.protein, PROTEIN_AGREEMENT),
        "receptors": table(study.receptors, RECEPTORS),
        "blood": _blood(study),
        "target": _target(study),
        "clinic": _clinic(study),
        "agreement": table(study.agreement, AGREEMENT, hide=["kind"], details=["reading"]),
        "clonotypes": table(study.clonotypes, CLONOTYPES, hide=["compartments", "samples"]),
        "signal_outside": table(
            summaries.signal_outside_t(cells), SIGNAL_OUTSIDE_T, filters=["sample"]
        ),
        "losses": table(study.losses, LOSSES, filters=["sample"]),
        "rules": table(summaries.rule_comparison(cells, study.detection), RULE_COMPARISON),
        "field_rules": _field_rules(study),
        "thresholds": _thresholds(study),
        "downsampling": _downsampling(study),
        "versions": table(versions, VERSIONS),
    }
    return {name: {**shown, "file": _FILES.get(name, name)} for name, shown in made.items()}


def _detection(study: Study) -> dict[str, Any]:
    """Return the table of verdicts."""
    ambient = np.where(study.detection["ambient_assumed"].astype(bool), "assumed", "measured")
    detection = study.detection.assign(ambient_assumed=ambient)
    # What is as it should be in every sample is not worth a column.
    usual = {"gating": "unsorted", "prevalence_is": "fraction", "ambient_assumed": "measured"}
    as_usual = [key for key, value in usual.items() if (detection[key] == value).all()]
    # What simple rules would have called is in the table of rules.
    by_rules = ("n_t_at_least_1_umi", "n_t_at_least_2_umis")
    return table(
        detection,
        DETECTION,
        hide=[*_OF_SAMPLE, "role", *by_rules, *as_usual, "verdict_text"],
        intervals=[("prevalence", "prevalence_low", "prevalence_high")],
        of=_POSITIVE_OF,
    )


def without_molecules(study: Study) -> list[str]:
    """Return samples that came without molecules, as matrices do."""
    missing = set(study.missing)
    return [name for name in study.samples if FILES["molecules"].at(sample=name) in missing]


def _evidence(cells: pd.DataFrame, of_matrix: Sequence[str]) -> dict[str, Any]:
    """Return the table of CAR-bearing cells; of those of a matrix no molecule is known to be the CAR's alone."""
    marked = cells.assign(
        is_doublet=np.where(cells["is_doublet"], "doublet", ""),
        # Results of version 0.2.0 hold 0 for cells that the model did not evaluate.
        car_posterior=cells["car_posterior"].where(is_single_t(cells)),
        car_umis_unique=cells["car_umis_unique"].where(~cells["sample"].isin(of_matrix)),
    )
    return table(
        marked[list(_EVIDENCE)],
        OBS,
        details=["car_reason_text"],
        folds=["car_umis_unique", "is_doublet", "t_state", "total_umis", "car_expected_ambient"],
        filters=["sample", "car_call", "cell_type", "car_reason"],
    )


def _localization(study: Study) -> dict[str, Any]:
    """Return the table of CAR T fractions by sample and kind of cell."""
    localization = study.localization.assign(sample=shown_sample(study.localization))
    return table(
        in_order(localization, study.samples),
        LOCALIZATION,
        # How the estimate was made is the same sentence in most rows; it is in localization.tsv and in the methods.
        hide=[*_OF_SAMPLE, "method"],
        folds=["n_samples", "n_doublets", "n_undecided", "n_explained", "n_unexplained"],
        filters=["level", "sample"],
        intervals=[_ESTIMATE],
    )


def _contrasts(study: Study) -> dict[str, Any]:
    """Return the table of odds ratios between samples, and between kinds of T cell."""
    contrasts = study.contrasts
    # The same sentence in each row would make the rows four lines high; it is shown above the table.
    of_one = "patient " + contrasts["patient"].astype(str) + " alone"
    compared = contrasts.assign(
        reading=contrasts["reading"].mask(contrasts["n_patients"] == 1, of_one)
    )
    columns = [*_CONTRASTS_FIRST, *(c for c in CONTRASTS.columns if c not in _CONTRASTS_FIRST)]
    hide = ["reference_group", "method", "patient", "n_patients"]
    # Only contrasts of states and types have a group.
    if not contrasts["group"].astype(str).any():
        hide.append("group")
    return table(
        compared[columns],
        CONTRASTS,
        hide=hide,
        folds=[
            "compartment",
            "reading",
            "fraction_reference",
            "fraction",
            "n_car_positive_reference",
        ],
        filters=["contrast"],
        intervals=[_ESTIMATE],
        of={**_POSITIVE_OF, "n_car_positive_reference": "n_t_cells_reference"},
    )


def _blood(study: Study) -> dict[str, Any]:
    """Return the table of blood in urine."""
    return table(
        study.blood,
        BLOOD_IN_URINE,
        # The note says why a kind of cell was not used.
        hide=["patient", "timepoint", "pairing", "car_verdict", "used"],
        details=["note"],
        folds=["blood_sample", "n_t_blood", "n_blood", "n_t_urine", "n_urine"],
        filters=["sample"],
        intervals=[
            _ESTIMATE,
            ("car_expected", "car_expected_low", "car_expected_high"),
            ("car_seen", "car_seen_low", "car_seen_high"),
        ],
    )


def _target(study: Study) -> dict[str, Any]:
    """Return the table of cells that express the antigen."""
    return table(
        study.target,
        TARGET,
        hide=[*_OF_SAMPLE, "role", "target", "car_low", "car_high"],
        folds=["note", "car_fraction"],
        filters=["level", "sample"],
        intervals=[("fraction", "low", "high")],
        of=_POSITIVE_OF,
    )


def _clinic(study: Study) -> dict[str, Any]:
    """Return the table of the samples sheet's numbers beside the CAR T fractions."""
    return table(
        study.clinic,
        CLINIC,
        hide=["role", "kind", "place"],
        folds=["patient", "timepoint", "compartment"],
        filters=["patient", "measure"],
        intervals=[("car_fraction", "car_low", "car_high")],
    )


def _field_rules(study: Study) -> dict[str, Any]:
    """Return the table of what rules of the literature would call; a rule that could not be applied has a blank."""
    called = study.rules["n_called"]
    return table(
        study.rules.assign(n_called=called.where(called >= 0)),
        RULES,
        folds=["note"],
        filters=["sample", "rule"],
    )


def _thresholds(study: Study) -> dict[str, Any]:
    """Return the table of calls at other false discovery rates."""
    in_use = np.where(study.thresholds["in_use"].astype(bool), "in use", "")
    return table(
        study.thresholds.assign(in_use=in_use), THRESHOLDS, filters=["sample"], of=_POSITIVE_OF
    )


def _downsampling(study: Study) -> dict[str, Any]:
    """Return the table of calls expected of fewer reads."""
    return table(
        study.downsampling,
        DOWNSAMPLING,
        filters=["sample"],
        intervals=[("expected_positive", "expected_positive_low", "expected_positive_high")],
    )
