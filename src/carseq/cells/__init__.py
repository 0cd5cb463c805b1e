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

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from carseq.cells.ambient import (
        ambient_profile,
        contamination,
        corrected_counts,
        run_cellbender,
    )
    from carseq.cells.annotation import annotate
    from carseq.cells.atlas import (
        compare_methods,
        label_by_celltypist,
        label_by_reference,
        read_reference,
    )
    from carseq.cells.barcodes import call_barcodes, knee_table
    from carseq.cells.batches import mixing
    from carseq.cells.clusters import cluster
    from carseq.cells.combination import combine
    from carseq.cells.doublet import doublets, paired_transcriptomes
    from carseq.cells.filters import filter_cells, quality
    from carseq.cells.latent import integrate
    from carseq.cells.markers import read_markers, read_signatures
    from carseq.cells.protein import add_protein, protein_agreement
    from carseq.cells.receptor import add_receptors, receptor_table
    from carseq.cells.states import cell_cycle, t_states

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

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ambient": ["ambient_profile", "contamination", "corrected_counts", "run_cellbender"],
        "annotation": ["annotate"],
        "atlas": ["compare_methods", "label_by_celltypist", "label_by_reference", "read_reference"],
        "barcodes": ["call_barcodes", "knee_table"],
        "batches": ["mixing"],
        "clusters": ["cluster"],
        "combination": ["combine"],
        "doublet": ["doublets", "paired_transcriptomes"],
        "filters": ["filter_cells", "quality"],
        "latent": ["integrate"],
        "markers": ["read_markers", "read_signatures"],
        "protein": ["add_protein", "protein_agreement"],
        "receptor": ["add_receptors", "receptor_table"],
        "states": ["cell_cycle", "t_states"],
    },
)
