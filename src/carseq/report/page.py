"""The page itself: its words, its data and its scripts, rendered into one file without a network."""

from __future__ import annotations

import json
from functools import cache
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
from carseq.calling.gates import BY_CAR
from carseq.figures import phrases as words
from carseq.figures import summaries
from carseq.io.files import write_table, write_text
from carseq.log import get_logger
from carseq.report import alerts, charts, methods, tables
from carseq.report.markdown import to_markdown
from carseq.report.privacy import without_paths, without_persons
from carseq.report.scripts import packed_runtime, policy, script
from carseq.report.study import Study, read_study
from carseq.schema.percent import percent
from carseq.schema.tables import MOLECULES, RUN_TIMES
from carseq.schema.thresholds import FDR

log = get_logger(__name__)

#: The page stays below 10 MB: cells and molecules in the evidence table.
MAX_EVIDENCE_CELLS = 15_000
MAX_MOLECULES = 40_000

_ROLES = {"negative_control": "negative control", "product": "infusion product", "case": ""}


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
        Where to write time and memory by rule, as TSV; None: nowhere.

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
    home = study.results.resolve().parent
    found = alerts.together(alerts.alerts(study), study.samples)
    told = _told(study)
    told["has"] |= {
        "umap": payload["cells"] is not None,
        "molecules": len(study.molecules) > 0,
        "libraries": any(study.solo.values()),
        "coverage": "coverage" in payload["figures"],
        "estimates": bool(study.localization["estimate"].notna().any()),
    }
    return _template().render(
        **told,
        surrogate=study.is_surrogate,
        today=words.today().strftime("%-d %B %Y"),
        version=_version(study, "carseq") or getattr(carseq, "__version__", ""),
        cards=_cards(study),
        tally=_tally(study),
        scope=alerts.scope(study),
        alerts=found,
        places=alerts.by_place(found),
        findings=[without_paths(f, home) for f in study.lint if f.get("level") == "info"],
        tables=payload["tables"],
        without_molecules=tables.without_molecules(study),
        capped=payload["capped"],
        config=yaml.safe_dump(
            without_persons(without_paths(study.config, home)), sort_keys=False, allow_unicode=True
        ),
        css=Markup((here / "report.css").read_text()),
        policy=policy(),
        js=Markup(script()),
        vega=packed_runtime(),
        data=Markup(embed(payload)),
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["code"] = _code
    return environment.from_string((files("carseq.report") / "report.html").read_text())


def _fdr(study: Study) -> float:
    """Return the false discovery rate that the calls were made with: of the calls' own table, else as configured."""
    used = study.thresholds.loc[study.thresholds["in_use"].astype(bool), "fdr"]
    if len(used):
        return float(used.iloc[0])
    return float((study.config.get("calling") or {}).get("fdr", FDR))


def _told(study: Study) -> dict[str, Any]:
    """Return what the chapter Methods tells of a study."""
    steps = methods.done(study)
    detection = study.detection
    return {
        "study": study,
        "done": steps,
        "listed": lambda names, first=False: methods.listed(names, len(study.samples), first=first),
        "looked": lambda program, names: methods.looked(program, names, len(study.samples)),
        "fdr": percent(_fdr(study)),
        "integration": study.integration,
        "citations": methods.citations(study, steps),
        "tool": lambda name: _version(study, name),
        "number": words.number,
        "has": {
            "control": bool((detection["role"] == "negative_control").any()),
            "gated": bool((~detection["gating"].isin(["unsorted", ""])).any()),
            "several": bool((study.contrasts["n_patients"] > 1).any()),
        },
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


def _cards(study: Study) -> list[dict[str, Any]]:
    cards = []
    combined = study.blood[study.blood["population"] == "combined"]
    blood = {row.sample: words.blood_words(row) for row in combined.itertuples()}
    for row in study.detection.itertuples():
        headline, sentences = words.verdict_words(row)
        sentences += _what_was_assumed(study, row)
        if row.sample in blood and row.n_t_cells:
            sentences.append(blood[row.sample])
        meta = [row.compartment, row.timepoint or "no time point", f"patient {row.patient}"]
        cards.append(
            {
                "sample": row.sample,
                "meta": " · ".join(part for part in meta if part),
                "role": _ROLES.get(str(row.role), str(row.role)),
                "is_control": row.role == "negative_control",
                "kind": row.verdict,
                "headline": headline,
                "sentences": sentences,
                # The numbers of a decided verdict are in its sentences already.
                "reason": row.verdict_text if row.verdict == "undetermined" else "",
            }
        )
    return cards


def _what_was_assumed(study: Study, row: Any) -> list[str]:
    """Say what a verdict rests on: how the cells were sorted, and whether ambient RNA was measured."""
    told = []
    if row.gating not in {"unsorted", ""}:
        told.append(f"Sorted cells: {alerts.sort_words(study, row)}.")
    if row.prevalence_is == "purity":
        told.append(
            "After this sort the share says how pure the sort is, not how many T cells are CAR T cells."
            if row.gating in BY_CAR
            else "T cells without a CAR molecule were left out: the share says how many of those that were kept are "
            "CAR T cells."
        )
    if row.ambient_assumed:
        told.append(
            "Ambient RNA was assumed, not measured: the matrix holds no empty droplets, or hardly a molecule in them."
        )
    return told


def _tally(study: Study) -> str:
    """Return the study in one sentence; products and controls are counted apart."""
    of_patient = (study.detection["role"] == "case") & (study.detection["compartment"] != "product")
    cases = study.detection[of_patient]
    controls = study.detection[study.detection["role"] == "negative_control"]
    wrong = int((controls["n_car_positive"] > 0).sum())
    silent = int((controls["verdict"] == "undetermined").sum())
    control = ""
    if len(controls) == 1:
        control = f" The negative control had {'a' if wrong else 'no'} T cell called positive."
        if silent:
            control = " The negative control is undetermined."
    elif len(controls):
        of = words.count(len(controls), "negative control")
        control = (
            f" {words.number(wrong) if wrong else 'None'} of {of} had a T cell called positive"
        )
        control += (
            f"; {words.number(silent)} {'is' if silent == 1 else 'are'} undetermined."
            if silent
            else "."
        )
    if not len(cases):
        return control.strip()
    kinds = cases["verdict"].value_counts()
    parts = [
        f"{words.number(int(kinds[kind]))} {text}"
        for kind, text in (
            ("detected", "with CAR T cells detected"),
            ("not_detected", "with none detected above the limit stated"),
            ("undetermined", "undetermined"),
        )
        if kind in kinds
    ]
    return f"Of {words.count(len(cases), 'patient sample')}: {', '.join(parts)}.{control}"


def _payload(study: Study) -> dict[str, Any]:
    """Return everything the page's script draws and lists."""
    evidence, molecules, capped = _evidence(study)
    return {
        "study": study.name,
        "construct": study.construct,
        "palette": {
            "categories": figures.CATEGORIES,
            "unknown": figures.UNKNOWN,
            "calls": {
                key: {"colour": colour, "shape": shape, "label": label}
                for key, (colour, shape, label) in figures.CALLS.items()
            },
        },
        "tables": tables.tables(study, evidence),
        "figures": charts.page_figures(study, evidence),
        "cells": charts.cells(study),
        "molecules": molecules,
        "capped": capped,
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
            {
                "key": key,
                "label": MOLECULES.columns[key].heading(key),
                "help": MOLECULES.columns[key].meaning,
                "kind": "percent" if MOLECULES.columns[key].unit == "fraction" else "number",
            }
            for key in columns
        ],
        "data": [tables.column(molecules[key]) for key in columns],
        "row": molecules["row"].tolist(),
    }
    capped = {
        "cells": n_cells - len(cells),
        "molecules": n_molecules - len(molecules),
    }
    return cells, encoded, capped
