"""Cells: which barcodes are cells, how good they are, and what they are.

In the order of the data: :func:`call_barcodes` and :func:`ambient_profile` on the raw matrix;
:func:`quality` and :func:`doublets` a sample; :func:`combine`, :func:`integrate`, :func:`cluster`,
:func:`annotate` and :func:`paired_transcriptomes` for the cohort; then :func:`contamination`,
:func:`filter_cells`, :func:`t_states` and :func:`cell_cycle`; where asked, :func:`label_by_reference`,
:func:`label_by_celltypist` and :func:`corrected_counts`; :func:`compare_methods` and :func:`mixing`
say how far to trust it. AnnData objects hold raw integer counts; `uns["car"]` names the CAR, which
survives every filter and never helps to decide what a cell is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carseq.cells.ambient import (
        ambient_profile,
        contamination,
        corrected_counts,
        run_cellbender,
    )
    from carseq.cells.annotation import (
        annotate,
        cell_cycle,
        read_markers,
        read_signatures,
        t_states,
    )
    from carseq.cells.barcodes import call_barcodes, knee_table
    from carseq.cells.doublet import doublets, paired_transcriptomes
    from carseq.cells.filters import filter_cells, quality
    from carseq.cells.integration import cluster, combine, integrate
    from carseq.cells.latent import mixing
    from carseq.cells.protein import add_protein, protein_agreement
    from carseq.cells.receptor import add_receptors, receptor_table
    from carseq.cells.reference import (
        compare_methods,
        label_by_celltypist,
        label_by_reference,
        read_reference,
    )

_HOMES = {
    "add_protein": "protein",
    "add_receptors": "receptor",
    "ambient_profile": "ambient",
    "annotate": "annotation",
    "call_barcodes": "barcodes",
    "cell_cycle": "annotation",
    "cluster": "integration",
    "combine": "integration",
    "compare_methods": "reference",
    "contamination": "ambient",
    "corrected_counts": "ambient",
    "doublets": "doublet",
    "filter_cells": "filters",
    "integrate": "integration",
    "knee_table": "barcodes",
    "label_by_celltypist": "reference",
    "label_by_reference": "reference",
    "mixing": "latent",
    "paired_transcriptomes": "doublet",
    "protein_agreement": "protein",
    "quality": "filters",
    "read_markers": "annotation",
    "read_reference": "reference",
    "read_signatures": "annotation",
    "run_cellbender": "ambient",
    "receptor_table": "receptor",
    "t_states": "annotation",
}

__all__ = [
    "add_protein",
    "add_receptors",
    "ambient_profile",
    "annotate",
    "call_barcodes",
    "cell_cycle",
    "cluster",
    "combine",
    "compare_methods",
    "contamination",
    "corrected_counts",
    "doublets",
    "filter_cells",
    "integrate",
    "knee_table",
    "label_by_celltypist",
    "label_by_reference",
    "mixing",
    "paired_transcriptomes",
    "protein_agreement",
    "quality",
    "read_markers",
    "read_reference",
    "read_signatures",
    "receptor_table",
    "run_cellbender",
    "t_states",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"carseq.cells.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'carseq.cells' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
