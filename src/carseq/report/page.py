"""The page itself: data for its charts and tables, rendered into one file without a network."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import yaml
from markupsafe import Markup, escape

import carseq
from carseq import figures
from carseq.figures import phrases as words
from carseq.figures import summaries
from carseq.io.files import write_table, write_text
from carseq.log import get_logger
from carseq.report import alerts
from carseq.report.markdown import to_markdown
from carseq.report.study import Study, read_study
from carseq.schema.column import Schema
from carseq.schema.obs import OBS
from carseq.schema.tables import (
    AGREEMENT,
    ANNOTATION,
    BLOOD_IN_URINE,
    CLINIC,
    CLONOTYPES,
    CONTRASTS,
    DETECTION,
    DOWNSAMPLING,
    INTEGRATION,
    LOCALIZATION,
    LOSSES,
    MOLECULES,
    PROTEIN_AGREEMENT,
    RECEPTORS,
    RUN_TIMES,
    TARGET,
    THRESHOLDS,
)
from carseq.schema.thresholds import FDR

log = get_logger(__name__)

#: The page stays below 10 MB: cells on the maps, cells and molecules in the evidence table.
MAX_MAP_CELLS = 100_000
MAX_EVIDENCE_CELLS = 15_000
MAX_MOLECULES = 40_000
COVERAGE_BINS = 500

_LABELS = {
    "sample": "Sample",
    "n_cells": "Cells",
    "n_t_cells": "T cells",
    "n_car_positive": "Called positive",
    "prevalence_low": "95 % from",
    "prevalence_high": "95 % to",
    "low": "95 % from",
    "high": "95 % to",
    "timepoint": "Time point",
    "cell_type": "Cell type",
    "t_state": "T-cell state",
    "barcode": "Barcode",
    "umi": "UMI",
    "total_umis": "UMIs",
    "n_genes": "Genes",
    "pct_mito": "Mitochondrial (%)",
    "car_umis": "CAR UMIs",
    "car_umis_unique": "CAR-only UMIs",
    "car_expected_ambient": "Ambient, expected",
    "car_posterior": "Posterior",
    "car_call": "Call",
    "car_reason": "Reason",
    "n_car_signal": "With CAR molecules",
    "n_car_bearing_removed": "CAR-bearing removed",
    "n_before": "Before",
    "n_removed": "Removed",
    "n_after": "After",
    "n_reads": "Reads",
    "p_car": "P(CAR)",
    "tx_start": "From base",
    "tx_end": "To base",
    "endogenous_gene": "Rival gene",
    "at_least_1": "≥ 1 UMI",
    "at_least_2": "≥ 2 UMIs",
    "model": "carseq's model",
    "not_t_at_least_1": "≥ 1 UMI, not a T cell",
    "n_t_at_least_1_umi": "T cells, ≥ 1 UMI",
    "n_t_at_least_2_umis": "T cells, ≥ 2 UMIs",
    "car_expected_background": "Stray, expected",
    "n_positive": "Positive",
    "n_uncertain": "Uncertain",
    "n_t_cells_reference": "T cells, reference",
    "n_car_positive_reference": "Positive, reference",
    "is_doublet": "Doublet",
    "valid_barcodes": "Valid barcodes",
    "mapped_genome": "Mapped to genome",
    "mapped_gene_unique": "Mapped to one gene",
    "reads_sense": "Reads, sense",
    "reads_antisense": "Reads, antisense",
    "n": "Number",
    "p": "p",
    "q": "q",
}
_FRACTIONS = {
    "prevalence",
    "prevalence_low",
    "prevalence_high",
    "detection_limit",
    "sensitivity",
    "car_posterior",
    "p_car",
    "valid_barcodes",
    "mapped_genome",
    "mapped_gene_unique",
    "saturation",
}
_MEANINGS = {
    key: column.meaning
    for schema in (
        CLONOTYPES,
        AGREEMENT,
        CLINIC,
        TARGET,
        LOSSES,
        CONTRASTS,
        LOCALIZATION,
        MOLECULES,
        OBS,
        THRESHOLDS,
        DOWNSAMPLING,
        DETECTION,
    )
    for key, column in schema.columns.items()
}
_CONTRASTS_FIRST = ("contrast", "group", "sample", "reference", "estimate", "low", "high", "p", "q")
_ROLES = {"negative_control": "negative control", "product": "infusion product", "case": ""}

_CITATIONS = {
    "STAR": ("Dobin et al. 2013, STAR", "10.1093/bioinformatics/bts635"),
    "STARsolo": ("Kaminow et al. 2021, STARsolo", "10.1101/2021.05.05.442755"),
    "EmptyDrops": ("Lun et al. 2019, EmptyDrops", "10.1186/s13059-019-1662-y"),
    "Scrublet": ("Wolock et al. 2019, Scrublet", "10.1016/j.cels.2018.11.005"),
    "scanpy": ("Wolf et al. 2018, scanpy", "10.1186/s13059-017-1382-0"),
    "scVI": ("Lopez et al. 2018, scVI", "10.1038/s41592-018-0229-2"),
    "Harmony": ("Korsunsky et al. 2019, Harmony", "10.1038/s41592-019-0619-0"),
    "Leiden": ("Traag et al. 2019, Leiden", "10.1038/s41598-019-41695-z"),
}


def build_report(
    results: Path, out: Path, methods: Path | None = None, run_times: Path | None = None
) -> None:
    """Write the report of a study: one HTML file that needs no network.

    Parameters
    ----------
    results
        The results folder of a run. Files that are not there leave their chapter out.
    out
        The HTML file to write.
    methods
        Where to write the text of its chapter Methods, as Markdown; None: nowhere.
    run_times
        Where to write time and memory by rule, as far as Snakemake has measured them, as TSV; None: nowhere.

    Raises
    ------
    CarseqError
        If ``results`` is not a results folder, or a file in it cannot be read.
    """
    study = read_study(results)
    page = render(study)
    write_text(page, out)
    if methods is not None:
        write_text(methods_text(study), methods)
    if run_times is not None:
        write_table(summaries.run_times(study.benchmarks), run_times, RUN_TIMES)
    log.info("report: %s (%.1f MB)", out, len(page.encode()) / 1e6)


def render(study: Study) -> str:
    """Return the page of a study as HTML."""
    here = files("carseq.report")
    payload = _payload(study)
    found = alerts.alerts(study)
    return _template().render(
        **_told(study),
        surrogate=study.is_surrogate,
        today=date.today().strftime("%-d %B %Y"),
        version=_version(study, "carseq") or getattr(carseq, "__version__", ""),
        cards=_cards(study),
        tally=_tally(study),
        scope=alerts.scope(study),
        alerts=found,
        places=alerts.by_place(found),
        findings=[f for f in study.lint if f.get("level") == "info"],
        tables=payload["tables"],
        has={
            "umap": payload["cells"] is not None,
            "molecules": len(study.molecules) > 0,
            "coverage": len(study.molecules) > 0 and study.tx_length > 0,
            "estimates": bool(study.localization["estimate"].notna().any()),
        },
        without_molecules=_without_molecules(study),
        capped=payload["capped"],
        config=yaml.safe_dump(study.config, sort_keys=False, allow_unicode=True),
        css=Markup((here / "report.css").read_text()),
        js=Markup((here / "report.js").read_text()),
        data=Markup(embed(payload)),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = _code
    return environment.from_string((files("carseq.report") / "report.html").read_text())


def _told(study: Study) -> dict[str, Any]:
    """Return what the chapter Methods tells of a study."""
    return {
        "study": study,
        "fdr": words.percent((study.config.get("calling") or {}).get("fdr", FDR)),
        "integration": _integration(study),
        "citations": _citations(study),
        "tool": lambda name: _version(study, name),
        "number": words.number,
    }


def methods_text(study: Study) -> str:
    """Return the text of the chapter Methods as Markdown, for a paper."""
    template = _template()
    chapter = "".join(template.blocks["methods"](template.new_context(_told(study))))
    return f"# Methods\n\n{to_markdown(chapter)}"


def embed(payload: Any) -> str:
    """Return JSON that is safe inside a ``<script>`` element; NaN becomes null."""
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _code(text: str) -> Markup:
    """Return text as HTML, with what stands between backticks as code."""
    parts = str(text).split("`")
    if len(parts) % 2 == 0:
        return Markup(escape(text))
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )


def _version(study: Study, tool: str) -> str:
    for name, version in study.versions.items():
        if name.lower() == tool.lower():
            return version
    return ""


def _integration(study: Study) -> str:
    return study.integration


def _citations(study: Study) -> list[tuple[str, str]]:
    unused = {"scvi": {"Harmony"}, "harmony": {"scVI"}}.get(
        _integration(study), {"scVI", "Harmony"}
    )
    return [entry for key, entry in _CITATIONS.items() if key not in unused]


def _without_molecules(study: Study) -> list[str]:
    """Return samples that came without molecules, as matrices do."""
    return [
        sample
        for sample in study.samples
        if f"samples/{sample}/molecules/molecules.parquet" in study.missing
    ]


def _cards(study: Study) -> list[dict[str, Any]]:
    cards = []
    combined = study.blood[study.blood["witness"] == "combined"]
    blood = {row.sample: words.blood_words(row) for row in combined.itertuples()}
    for row in study.detection.itertuples():
        headline, sentences = words.verdict_words(row)
        if row.sample in blood and row.n_t_cells:
            sentences.append(blood[row.sample])
        meta = [row.compartment, row.timepoint or "no time point", f"patient {row.patient}"]
        cards.append(
            {
                "sample": row.sample,
                "meta": " · ".join(part for part in meta if part),
                "role": _ROLES.get(str(row.role), str(row.role)),
                "is_control": row.role == "negative_control",
                "kind": words.verdict_kind(str(row.verdict)),
                "headline": headline,
                "sentences": sentences,
                # The numbers of a decided verdict are in its sentences already.
                "reason": row.verdict_text
                if words.verdict_kind(str(row.verdict)) == "undetermined"
                else "",
            }
        )
    return cards


def _tally(study: Study) -> str:
    """Return the study in one sentence; products and controls are counted apart."""
    cases = study.detection[study.detection["role"] == "case"]
    controls = study.detection[study.detection["role"] == "negative_control"]
    wrong = int((controls["n_car_positive"] > 0).sum())
    control = ""
    if len(controls):
        of = words.count(len(controls), "negative control")
        control = (
            f" {words.number(wrong) if wrong else 'None'} of {of} had a T cell called positive."
        )
    if not len(cases):
        return control.strip()
    kinds = cases["verdict"].map(words.verdict_kind).value_counts()
    parts = [
        f"{words.number(int(kinds[kind]))} {text}"
        for kind, text in (
            ("detected", "with CAR T cells detected"),
            ("not-detected", "with none detected above the limit stated"),
            ("undetermined", "undetermined"),
        )
        if kind in kinds
    ]
    return f"Of {words.count(len(cases), 'patient sample')}: {', '.join(parts)}.{control}"


# --- data for the charts and tables ------------------------------------------------------------------


def _column(values: pd.Series) -> dict[str, Any]:
    """Encode a column for JSON: as a dictionary and codes where values repeat."""
    if pd.api.types.is_bool_dtype(values):
        return {"v": [int(v) for v in values]}
    if pd.api.types.is_integer_dtype(values):
        return {"v": values.tolist()}
    if pd.api.types.is_float_dtype(values):
        return {"v": [_short(v) for v in values]}
    plain = [_plain(v) for v in values]
    distinct = list(dict.fromkeys(plain))
    if len(plain) > 20 and len(distinct) < len(plain) / 2:
        codes = {value: i for i, value in enumerate(distinct)}
        return {"d": distinct, "c": [codes[v] for v in plain]}
    return {"v": plain}


def _plain(value: Any) -> Any:
    """Return a value JSON can hold."""
    if value is None or value is pd.NA:
        return None
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return _short(value)
    return str(value)


def _short(value: Any, digits: int = 5) -> float | int | str | None:
    value = float(value)
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    value = float(f"{value:.{digits}g}")
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def _kind(key: str, values: pd.Series, fractions: set[str]) -> str:
    if key in {"car_call", "verdict"}:
        return key
    numeric = [v for v in values if v is not None and not isinstance(v, str)]
    if pd.api.types.is_numeric_dtype(values) or (numeric and len(numeric) == values.notna().sum()):
        return "percent" if key in fractions else "number"
    return "text"


def _table(
    frame: pd.DataFrame,
    *,
    schema: Schema | None = None,
    hide: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
    filters: Sequence[str] = (),
    fractions: set[str] | None = None,
    interval: tuple[str, str, str] | None = None,
    file: str = "",
) -> dict[str, Any]:
    """Describe a table for the page's table widget.

    Parameters
    ----------
    frame
        The rows.
    schema
        Where given: its columns first; further ones are dropped.
    hide
        Columns only the download holds.
    labels
        Headings that differ from the usual.
    filters
        Columns that get a menu of their values.
    fractions
        Columns shown as per cent.
    interval
        A column shown with the two that are its interval, which are then hidden.
    file
        Name of the download.
    """
    if schema is not None:
        frame = frame[list(schema.columns)]
    fractions = _FRACTIONS if fractions is None else fractions
    labels = {**_LABELS, **(labels or {})}
    centre, *ends = interval or ("",)
    own = {key: column.meaning for key, column in schema.columns.items()} if schema else {}
    meanings = {**_MEANINGS, **own}
    columns = [
        {
            "key": str(key),
            "label": labels.get(str(key), str(key).replace("_", " ").capitalize()),
            "kind": _kind(str(key), frame[key], fractions),
            "help": meanings.get(str(key), ""),
            "hidden": key in hide or key in ends,
            "interval": ends if key == centre else None,
        }
        for key in frame.columns
    ]
    return {
        "columns": columns,
        "data": [_column(frame[key]) for key in frame.columns],
        "n": len(frame),
        "filters": list(filters),
        "file": file,
    }


def _payload(study: Study) -> dict[str, Any]:
    evidence, molecules, capped = _evidence(study)
    composition = summaries.composition(study.cells, study.samples)
    evidence_columns = [
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
    ]
    estimates = {"estimate", "low", "high"} | _FRACTIONS
    tables = {
        "detection": _table(
            study.detection,
            schema=DETECTION,
            hide=["patient", "compartment", "timepoint", "role", "verdict_text"],
            interval=("prevalence", "prevalence_low", "prevalence_high"),
            labels={"prevalence": "CAR T share (95 %)"},
            file="detection",
        ),
        "solo": _table(_solo(study), file="libraries"),
        "filters": _table(study.filters, filters=["sample"], file="filters"),
        "composition": _table(
            composition.reset_index(),
            labels={c: c for c in composition.columns},
            fractions=set(),
            file="composition",
        ),
        "car_by_type": _table(summaries.car_by_type(study.cells), file="car_by_type"),
        "evidence_classes": _table(
            summaries.evidence_classes(study.molecules, study.samples),
            labels={"rejected": "Rejected (fit another gene)"},
            file="evidence_classes",
        ),
        "domains": _table(
            summaries.molecules_by_domain(study.molecules, study.domains, study.samples),
            filters=["sample"],
            labels={"start": "From base", "end": "To base"},
            file="molecules_by_domain",
        ),
        "evidence": _table(
            evidence.assign(is_doublet=np.where(evidence["is_doublet"], "doublet", ""))[
                evidence_columns
            ],
            filters=["sample", "car_call", "cell_type"],
            file="car_bearing_cells",
        ),
        "localization": _table(
            _in_order(
                study.localization.assign(sample=figures.shown_sample(study.localization)),
                study.samples,
            ),
            schema=LOCALIZATION,
            hide=["patient", "compartment", "timepoint"],
            filters=["level", "sample"],
            interval=("estimate", "low", "high"),
            labels={"estimate": "CAR T share (95 %)"},
            fractions=estimates,
            file="localization",
        ),
        "contrasts": _table(
            # What is compared and what came of it stand first: a wide table is read from its left edge.
            study.contrasts[
                [
                    *_CONTRASTS_FIRST,
                    *(name for name in CONTRASTS.columns if name not in _CONTRASTS_FIRST),
                ]
            ],
            hide=["reference_group", "method"],
            filters=["contrast"],
            interval=("estimate", "low", "high"),
            labels={
                "estimate": "Odds ratio (95 %)",
                "fraction": "CAR T share",
                "fraction_reference": "CAR T share, reference",
                "group": "State or type",
                "n_patients": "Patients",
                "reading": "Speaks of",
            },
            fractions={"fraction", "fraction_reference"},
            file="contrasts",
        ),
        "annotation": _table(
            study.annotation,
            schema=ANNOTATION,
            filters=["cell_type", "method"],
            fractions={"share"},
            file="annotation",
        ),
        "mixing": _table(study.mixing, schema=INTEGRATION, file="integration"),
        "protein": _table(
            study.protein,
            schema=PROTEIN_AGREEMENT,
            labels={"n_cells": "Assigned by proteins", "n_agree": "Annotated alike"},
            fractions={"agreement"},
            file="protein_agreement",
        ),
        "receptors": _table(
            study.receptors,
            schema=RECEPTORS,
            fractions={"share_t_receptor"},
            file="receptors",
        ),
        "blood": _table(
            study.blood,
            schema=BLOOD_IN_URINE,
            hide=["patient", "timepoint", "pairing", "car_verdict"],
            filters=["sample"],
            interval=("estimate", "low", "high"),
            labels={"estimate": "T cells from blood (95 %)"},
            fractions=estimates | {"p_blood_alone"},
            file="blood_in_urine",
        ),
        "target": _table(
            study.target,
            schema=TARGET,
            hide=["patient", "compartment", "timepoint", "role", "target", "car_low", "car_high"],
            filters=["level", "sample"],
            interval=("fraction", "low", "high"),
            labels={
                "fraction": "Expressing (95 %)",
                "n_expressing": "Cells expressing",
                "car_fraction": "CAR T share",
            },
            fractions={"fraction", "low", "high", "car_fraction", "car_low", "car_high"},
            file="target",
        ),
        "clinic": _table(
            study.clinic,
            schema=CLINIC,
            hide=["role", "kind", "place"],
            filters=["patient", "measure"],
            interval=("car_fraction", "car_low", "car_high"),
            labels={"car_fraction": "CAR T share (95 %)", "measured": "Measured share"},
            fractions={"car_fraction", "car_low", "car_high", "measured", "difference"},
            file="clinic",
        ),
        "agreement": _table(
            study.agreement,
            schema=AGREEMENT,
            labels={
                "n_samples": "Samples",
                "n_patients": "Patients",
                "n_inside": "Within the interval",
                "limit_low": "Limits of agreement, from",
                "limit_high": "to",
            },
            fractions={"mean_difference", "limit_low", "limit_high"},
            file="agreement",
        ),
        "clonotypes": _table(
            study.clonotypes,
            schema=CLONOTYPES,
            hide=["compartments", "samples"],
            labels={"n_compartments": "Compartments", "car_in": "Called positive in"},
            file="clonotypes",
        ),
        "signal_outside": _table(
            summaries.signal_outside_t(study.cells), filters=["sample"], file="signal_outside_t"
        ),
        "losses": _table(study.losses, schema=LOSSES, filters=["sample"], file="losses"),
        "rules": _table(summaries.rule_comparison(study.cells, study.detection), file="rules"),
        "thresholds": _table(
            study.thresholds.assign(in_use=np.where(study.thresholds["in_use"], "in use", "")),
            schema=THRESHOLDS,
            filters=["sample"],
            labels={"fdr": "False discovery rate", "n_t_cells": "T cells"},
            fractions={"fdr", "least_posterior", *_FRACTIONS},
            file="thresholds",
        ),
        "downsampling": _table(
            study.downsampling,
            schema=DOWNSAMPLING,
            filters=["sample"],
            interval=("expected_positive", "expected_positive_low", "expected_positive_high"),
            labels={
                "share": "Molecules kept",
                "median_umis": "UMIs, median",
                "expected_positive": "Positive, expected (95 %)",
            },
            fractions={"share", *_FRACTIONS},
            file="downsampling",
        ),
        "run_times": _table(
            summaries.run_times(study.benchmarks),
            labels={
                "n_jobs": "Jobs",
                "minutes": "Minutes, all jobs",
                "longest_minutes": "Minutes, longest job",
                "cpu_minutes": "CPU minutes, all jobs",
                "memory_mb": "Memory, most (MB)",
            },
            schema=RUN_TIMES,
            file="run_times",
        ),
        "versions": _table(
            pd.DataFrame(sorted(study.versions.items()), columns=["tool", "version"]),
            file="versions",
        ),
    }
    return {
        "study": study.name,
        "construct": study.construct,
        "palette": {
            "categories": figures.CATEGORIES,
            "unknown": figures.UNKNOWN,
            "calls": {
                key: {"colour": colour, "label": label}
                for key, (colour, _, label) in figures.CALLS.items()
            },
            "evidence": figures.EVIDENCE,
            "verdicts": {key: colour for key, (colour, _) in figures.VERDICTS.items()},
        },
        "tables": tables,
        "knees": _knees(study),
        "cells": _cells(study),
        "coverage": _coverage(study),
        "molecules": molecules,
        "capped": capped,
    }


def _in_order(table: pd.DataFrame, samples: list[str]) -> pd.DataFrame:
    """Sort rows by sample, in the study's order."""
    place = {sample: i for i, sample in enumerate(samples)}
    return table.sort_values("sample", key=lambda names: names.map(place), kind="stable")


def _solo(study: Study) -> pd.DataFrame:
    rows = []
    for sample in study.samples:
        summary = study.solo.get(sample) or {}
        scalars = {k: v for k, v in summary.items() if not isinstance(v, (dict, list))}
        rows.append({"sample": sample, **scalars})
    return pd.DataFrame(rows, columns=None if rows else ["sample"])


def _knees(study: Study) -> dict[str, Any]:
    result = {}
    # The knee table itself is thinned: how many cells were called stands in the filters' first row.
    called = study.filters.groupby("sample")["n_before"].max() if len(study.filters) else {}
    for sample, knee in study.knees.items():
        thin = summaries.thin_knee(knee)
        if len(thin):
            result[sample] = {
                "rank": thin["rank"].astype(int).tolist(),
                "umis": thin["total_umis"].fillna(0).astype(int).tolist(),
                "cell": _truth(thin["is_cell"]).astype(int).tolist(),
                "car": thin["car_umis"].fillna(0).astype(int).tolist(),
                "n_cells": int(called.get(sample, _truth(knee["is_cell"]).sum())),
                "n_bearing": int((knee["car_umis"].fillna(0) > 0).sum()),
                "n_bearing_below": int(
                    ((knee["car_umis"].fillna(0) > 0) & ~_truth(knee["is_cell"])).sum()
                ),
            }
    return result


def _truth(values: pd.Series) -> pd.Series:
    """Return a column of truth values, as read from a TSV."""
    return values.map(lambda v: str(v).lower() in {"true", "1", "1.0"}).astype(bool)


def _b64(values: Any, dtype: str) -> dict[str, str]:
    """Encode numbers as little-endian bytes in base64."""
    array = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
    return {"t": dtype, "b": base64.b64encode(array.tobytes()).decode()}


def _cells(study: Study) -> dict[str, Any] | None:
    """Return the cells on the map, in as few bytes as hovering needs."""
    if study.umap is None or not len(study.cells):
        return None
    finite = np.isfinite(study.umap).all(axis=1)
    cells, umap = study.cells[finite], study.umap[finite]
    if not len(cells):
        return None
    if len(cells) > MAX_MAP_CELLS:
        # Every CAR-bearing cell stays; the others are drawn at random, always the same ones.
        keep = (cells["car_umis"] > 0).to_numpy()
        others = np.flatnonzero(~keep)
        room = max(0, MAX_MAP_CELLS - int(keep.sum()))
        keep[np.random.default_rng(0).choice(others, min(room, len(others)), replace=False)] = True
        cells, umap = cells[keep], umap[keep]
    low, span = umap.min(axis=0), np.ptp(umap, axis=0)
    scaled = (umap - low) / np.where(span > 0, span, 1) * 65535
    types = cells["cell_type"].where(cells["cell_type"] != "", "unknown")
    type_names = list(types.value_counts().index)
    sample_names = [s for s in study.samples if (cells["sample"] == s).any()]
    call_names = list(figures.CALLS)
    return {
        "n": len(cells),
        "n_all": len(study.cells),
        "aspect": _short(float(span[0] / span[1]) if span[1] > 0 else 1.0),
        "x": _b64(scaled[:, 0], "uint16"),
        "y": _b64(scaled[:, 1], "uint16"),
        "types": type_names,
        "type": _b64(pd.Categorical(types, type_names).codes, "uint16"),
        "samples": sample_names,
        "sample": _b64(pd.Categorical(cells["sample"], sample_names).codes, "uint16"),
        "calls": call_names,
        "call": _b64(pd.Categorical(figures.shown_call(cells), call_names).codes, "uint8"),
        "posterior": _b64(cells["car_posterior"].fillna(0).clip(0, 1) * 1000, "uint16"),
        "umis": _b64(cells["car_umis"].clip(0, 65535), "uint16"),
        "barcodes": "\n".join(b.replace("\n", " ") for b in cells["barcode"]),
    }


def _coverage(study: Study) -> dict[str, Any]:
    kept = summaries.car_molecules(study.molecules)
    shared = kept["evidence"] == "shared"
    bins = min(COVERAGE_BINS, study.tx_length)

    def tracks(part: pd.Series) -> dict[str, Any]:
        return {
            name: [
                _short(v, 3) for v in summaries.depth(kept[part & of_class], study.tx_length, bins)
            ]
            for name, of_class in (("own", ~shared), ("shared", shared))
        }

    def expected(samples: list[str]) -> list[Any] | None:
        depth = alerts.expected_depth(study, samples)
        return None if depth is None else [_short(v, 3) for v in summaries.binned(depth, bins)]

    everything = pd.Series(True, index=kept.index)
    names = [s for s in study.samples if (kept["sample"] == s).any()]
    return {
        "length": study.tx_length,
        "bins": bins,
        "all": {**tracks(everything), "expected": expected(names)},
        "samples": {
            name: {**tracks(kept["sample"] == name), "expected": expected([name])} for name in names
        },
        "domains": [
            {"name": str(d.name), "kind": str(d.kind), "start": int(d.start), "end": int(d.end)}
            for d in study.domains.itertuples()
        ],
        "shared": [
            {"start": int(r.start), "end": int(r.end), "gene": _plain(r.gene) or ""}
            for r in study.homology[study.homology["class"] == "shared"].itertuples()
        ],
    }


def _evidence(study: Study) -> tuple[pd.DataFrame, dict[str, Any], dict[str, int]]:
    """Return the evidence table, its molecules by row, and how much of each was left out."""
    cells = alerts.car_bearing(study)
    n_cells = len(cells)
    if n_cells > MAX_EVIDENCE_CELLS:
        # A product holds thousands of CAR T cells nobody doubts: patients' samples come first.
        first = np.argsort((cells["role"] == "product").to_numpy(), kind="stable")
        cells = cells.iloc[np.sort(first[:MAX_EVIDENCE_CELLS])]
    row_of = {name: i for i, name in enumerate(cells.index)}
    molecules = study.molecules
    row = (molecules["sample"] + ":" + molecules["barcode"]).map(row_of)
    molecules = molecules[row.notna()].assign(row=row[row.notna()].astype(int))
    molecules = molecules.sort_values(["row", "p_car"], ascending=[True, False])
    n_molecules = len(molecules)
    if n_molecules > MAX_MOLECULES:
        # The strongest of every cell, down to as many for each as there is room for.
        rank = molecules.groupby("row").cumcount()
        keep = rank.sort_values(kind="stable").index[:MAX_MOLECULES]
        molecules = molecules.loc[np.sort(keep.to_numpy())].sort_values(
            ["row", "p_car"], ascending=[True, False]
        )
    columns = [c for c in MOLECULES.columns if c not in {"sample", "barcode"}]
    encoded = {
        "columns": [
            {"key": c, "label": _LABELS.get(c, c.capitalize()), "help": _MEANINGS.get(c, "")}
            for c in columns
        ],
        "data": [_column(molecules[c]) for c in columns],
        "row": molecules["row"].tolist(),
    }
    capped = {
        "cells": n_cells - len(cells),
        "molecules": n_molecules - len(molecules),
    }
    return cells, encoded, capped
