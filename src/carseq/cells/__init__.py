"""Cells: which barcodes are cells, how good they are, and what they are.

In the order of the data: :func:`call_barcodes` and :func:`ambient_profile` on the raw matrix;
:func:`quality` and :func:`doublets` a sample; :func:`combine`, :func:`integrate`, :func:`cluster`,
:func:`annotate` and :func:`paired_transcriptomes` for the cohort; then :func:`contamination`,
:func:`filter_cells` and :func:`t_states`. AnnData objects hold raw integer counts; `uns["car"]` names the CAR, which
survives every filter and never helps to decide what a cell is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carseq.cells.ambient import ambient_profile, contamination
    from carseq.cells.annotation import annotate, read_markers, read_signatures, t_states
    from carseq.cells.barcodes import call_barcodes, knee_table
    from carseq.cells.doublet import doublets, paired_transcriptomes
    from carseq.cells.filters import filter_cells, quality
    from carseq.cells.integration import cluster, combine, integrate

_HOMES = {
    "ambient_profile": "ambient",
    "annotate": "annotation",
    "call_barcodes": "barcodes",
    "cluster": "integration",
    "combine": "integration",
    "contamination": "ambient",
    "doublets": "doublet",
    "filter_cells": "filters",
    "integrate": "integration",
    "knee_table": "barcodes",
    "paired_transcriptomes": "doublet",
    "quality": "filters",
    "read_markers": "annotation",
    "read_signatures": "annotation",
    "t_states": "annotation",
}

__all__ = [
    "ambient_profile",
    "annotate",
    "call_barcodes",
    "cluster",
    "combine",
    "contamination",
    "doublets",
    "filter_cells",
    "integrate",
    "knee_table",
    "paired_transcriptomes",
    "quality",
    "read_markers",
    "read_signatures",
    "t_states",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"carseq.cells.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'carseq.cells' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
