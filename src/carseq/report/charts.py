"""The page's figures and maps, as data: charts compiled to Vega with their rows, and packed cells."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from altair.utils.schemapi import debug_mode

from carseq import figures
from carseq.cells.markers import is_single_t
from carseq.figures import Figure
from carseq.report import alerts
from carseq.report.study import Study, in_order
from carseq.report.tables import encode, short

#: Most cells that the map holds: the page must stay below 10 MB.
MAX_MAP_CELLS = 100_000
#: On the map, thousandths above 1: the model asks T cells alone.
NOT_ASKED = 65_535
#: Points of a knee curve on the page.
KNEE_POINTS = 240
#: Figures whose numbers are those of a table of the page, by its name.
_TABLE_OF = {
    "forest": "detection",
    "composition": "composition",
    "classes": "evidence_classes",
    "localization": "localization",
    "contrasts": "contrasts",
    "target": "target",
    "clinic": "clinic",
    "losses": "losses",
    "weighing": "evidence",
    "rules": "rules",
    "rule_overlap": "field_rules",
    "thresholds": "thresholds",
    "downsampling": "downsampling",
}
#: Panels: how wide one must be at least, and what is drawn beside its plot, pixels.
_PANELS = {
    "knee": (260, 88),
    "thresholds": (270, 94),
    "downsampling": (260, 90),
    "weighing": (400, 96),
}


def page_figures(study: Study, evidence: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return every figure of the page, by its name there.

    Parameters
    ----------
    study : Study
        The study.
    evidence : pandas.DataFrame
        The CAR-bearing cells that the page shows (``obs``).
    """
    knees = [knee.assign(sample=name) for name, knee in study.knees.items() if len(knee)]
    every_knee = pd.concat(knees, ignore_index=True) if knees else pd.DataFrame()
    makers: dict[str, Callable[[], Figure]] = {
        "forest": lambda: figures.prevalence(study.detection),
        "knee": lambda: figures.knee(every_knee, n_points=KNEE_POINTS),
        "composition": lambda: figures.composition(study.cells, study.samples),
        "classes": lambda: figures.evidence_classes(study.molecules, study.samples),
        "weighing": lambda: figures.weighing(evidence),
        "localization": lambda: figures.localization(in_order(study.localization, study.samples)),
        "contrasts": lambda: figures.contrasts(study.contrasts),
        "target": lambda: figures.target(in_order(study.target, study.samples)),
        "clinic": lambda: figures.clinic(study.clinic),
        "losses": lambda: figures.losses(study.losses),
        "rules": lambda: figures.rules(study.cells, study.detection),
        "rule_overlap": lambda: figures.rule_overlap(study.rules),
        "thresholds": lambda: figures.thresholds(study.thresholds),
        "downsampling": lambda: figures.downsampling(study.downsampling),
    }
    if len(study.molecules) and study.tx_length:
        makers["coverage"] = lambda: coverage(study)
        makers["cell_molecules"] = lambda: figures.cell_molecules(study.domains, study.tx_length)
    # The charts are the same for every study and tested: to validate them again would take seconds.
    with debug_mode(False):
        return {name: _encoded(name, make()) for name, make in makers.items()}


def coverage(study: Study, sample: str | None = None) -> Figure:
    """Return the coverage of the CAR transcript, with what is expected of each sample by its chemistry.

    Parameters
    ----------
    study : Study
        The study.
    sample : str or None
        The sample shown; None: all of them together.
    """
    names = list(dict.fromkeys(study.molecules["sample"]))
    expected = {"": alerts.expected_depth(study, names)}
    expected |= {name: alerts.expected_depth(study, [name]) for name in names}
    drawn = figures.coverage(
        study.molecules, study.domains, study.homology, study.tx_length, expected
    )
    return drawn if sample is None else drawn.choose(menu_track=sample)


def _encoded(name: str, figure: Figure) -> dict[str, Any]:
    if figure.chart is None:
        return {"message": figure.message, "menus": [], "data": {}, "vega": {"data": []}}
    panels = None
    if name in _PANELS:
        width, beside = _PANELS[name]
        n = 2 if name == "weighing" else figure.data["rows"]["sample"].nunique()
        panels = {"width": width, "beside": beside, "n": int(n), "fixed": False}
    elif name == "clinic":
        panels = {"width": 0, "beside": 70, "n": 1, "fixed": True}
    return {
        "vega": figure.vega(),
        "data": {key: encode(rows) for key, rows in figure.data.items()},
        "menus": [
            {"column": m.column, "label": m.label, "options": [list(o) for o in m.options]}
            for m in figure.menus
        ],
        "panels": panels,
        "table": _TABLE_OF.get(name),
        "numbers": "rows",
    }


def _b64(values: Any, dtype: str) -> dict[str, str]:
    """Encode numbers as little-endian bytes in base64."""
    array = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
    return {"t": dtype, "b": base64.b64encode(array.tobytes()).decode()}


def cells(study: Study) -> dict[str, Any] | None:
    """Return the cells on the map, in as few bytes as hovering needs; None where there is no map."""
    if study.umap is None or not len(study.cells):
        return None
    finite = np.isfinite(study.umap).all(axis=1)
    shown, umap = study.cells[finite], study.umap[finite]
    if not len(shown):
        return None
    if len(shown) > MAX_MAP_CELLS:
        # Every CAR-bearing cell stays; the others are drawn at random, always the same ones.
        keep = (shown["car_umis"] > 0).to_numpy()
        others = np.flatnonzero(~keep)
        room = max(0, MAX_MAP_CELLS - int(keep.sum()))
        keep[np.random.default_rng(0).choice(others, min(room, len(others)), replace=False)] = True
        shown, umap = shown[keep], umap[keep]
    low, span = umap.min(axis=0), np.ptp(umap, axis=0)
    scaled = (umap - low) / np.where(span > 0, span, 1) * 65535
    types = shown["cell_type"].where(shown["cell_type"] != "", "unknown")
    type_names = list(types.value_counts().index)
    sample_names = [s for s in study.samples if (shown["sample"] == s).any()]
    call_names: Sequence[str] = list(figures.CALLS)
    return {
        "n": len(shown),
        "n_all": len(study.cells),
        "aspect": short(float(span[0] / span[1]) if span[1] > 0 else 1.0),
        "x": _b64(scaled[:, 0], "uint16"),
        "y": _b64(scaled[:, 1], "uint16"),
        "types": type_names,
        "type": _b64(pd.Categorical(types, type_names).codes, "uint16"),
        "samples": sample_names,
        "sample": _b64(pd.Categorical(shown["sample"], sample_names).codes, "uint16"),
        "calls": call_names,
        "call": _b64(pd.Categorical(figures.shown_call(shown), call_names).codes, "uint8"),
        "posterior": _b64(
            (shown["car_posterior"].clip(0, 1) * 1000).where(is_single_t(shown)).fillna(NOT_ASKED),
            "uint16",
        ),
        "umis": _b64(shown["car_umis"].clip(0, 65535), "uint16"),
        "barcodes": "\n".join(b.replace("\n", " ") for b in shown["barcode"]),
    }
