"""Tables that the report and the notebooks compute from the results."""

from __future__ import annotations

from carseq.schema.column import Column, Schema
from carseq.schema.tables import DETECTION

#: What STARsolo or kallisto and carseq measured of each library (``samples/S/solo/summary.json``).
LIBRARIES = Schema(
    "libraries",
    {
        "sample": Column("str", "sample"),
        "chemistry": Column("str", "barcode geometry, given or detected"),
        "whitelist": Column("str", "list of barcodes that were used"),
        "strand": Column("str", "strand of the reads: Forward (3'), Reverse (5') or Unstranded"),
        "n_reads": Column("int64", "reads of the library", label="Reads", unit="count"),
        "read_length": Column("int64", "length of the cDNA reads", label="Read length", unit="bases"),
        "valid_barcodes": Column("float64", "reads whose barcode is on the list", unit="fraction"),
        "exact_barcodes": Column(
            "float64",
            "reads whose barcode is on the list as it was read, without a correction",
            label="Barcodes without correction",
            unit="fraction",
        ),
        "mapped_genome": Column(
            "float64", "reads that map to the genome", label="Mapped to genome", unit="fraction"
        ),
        "mapped_genome_unique": Column(
            "float64", "reads that map to one place of the genome", label="Mapped to one place", unit="fraction"
        ),
        "mapped_transcripts": Column(
            "float64",
            "reads that fit the annotation's transcripts, where kallisto counted",
            label="Mapped to transcripts",
            unit="fraction",
        ),
        "mapped_gene_unique": Column(
            "float64", "reads that map to exactly one gene", label="Mapped to one gene", unit="fraction"
        ),
        "saturation": Column(
            "float64", "reads of a molecule that was seen before", unit="fraction"
        ),
        "reads_sense": Column(
            "int64",
            "reads on the sense strand, of those by which the strand was determined",
            label="Reads, sense",
            unit="count",
        ),
        "reads_antisense": Column(
            "int64",
            "reads on the antisense strand, of those by which the strand was determined",
            label="Reads, antisense",
            unit="count",
        ),
        "n_barcodes": Column("int64", "barcodes with a molecule", label="Barcodes", unit="count"),
        "n_umis": Column("int64", "molecules of all barcodes", label="UMIs", unit="count"),
        "car_umis_aligned": Column(
            "int64",
            "molecules that the aligner counted on the CAR, before carseq looked at them",
            label="UMIs on the CAR",
            unit="count",
        ),
    },
)  # fmt: skip

COMPOSITION = Schema(
    "composition",
    {
        "sample": Column("str", "sample"),
        "cell_type": Column("str", "cell type"),
        "n_cells": Column("int64", "cells kept", label="Cells", unit="count"),
        "share": Column(
            "float64",
            "of the cells kept of its sample",
            label="Share of the sample",
            unit="fraction",
        ),
    },
)

CAR_BY_TYPE = Schema(
    "car_by_type",
    {
        "lineage": Column("str", "lineage of the cells"),
        "cell_type": Column("str", "cell type"),
        "confidence": Column(
            "float64",
            "probability of the type, mean of its cells",
            label="Confidence",
            unit="fraction",
        ),
        "marker_coverage": Column(
            "float64",
            "share of the type's markers that the matrix holds; below a half the label is doubtful",
            label="Its markers in the matrix",
            unit="fraction",
        ),
        "n_cells": Column("int64", "cells kept", label="Cells", unit="count"),
        "n_car_signal": Column(
            "int64", "cells with a CAR molecule or more", label="With CAR molecules", unit="count"
        ),
        "n_positive": Column("int64", "cells called positive", label="Positive", unit="count"),
        "n_uncertain": Column("int64", "cells called uncertain", label="Uncertain", unit="count"),
        "car_umis": Column("int64", "CAR molecules in all of them", label="CAR UMIs", unit="count"),
    },
)

EVIDENCE_CLASSES = Schema(
    "evidence_classes",
    {
        "sample": Column("str", "sample"),
        "unique": Column("int64", "molecules on sequence that only the CAR has", unit="count"),
        "junction": Column(
            "int64", "molecules across the border of CAR-only and shared sequence", unit="count"
        ),
        "shared": Column(
            "int64",
            "molecules that fit a human gene alike, the CAR being the likelier source",
            unit="count",
        ),
        "rejected": Column(
            "int64",
            "molecules of which a human gene is the likelier source",
            label="Rejected",
            unit="count",
        ),
    },
)

MOLECULES_BY_DOMAIN = Schema(
    "molecules_by_domain",
    {
        "sample": Column("str", "sample"),
        "domain": Column("str", "domain of the construct"),
        "start": Column("int64", "first base on the transcript, 0-based", label="From base", unit="bases"),
        "end": Column("int64", "its end, exclusive", label="To base", unit="bases"),
        "unique": Column("int64", "unique molecules that touch it", unit="count"),
        "junction": Column("int64", "junction molecules that touch it", unit="count"),
        "shared": Column("int64", "shared molecules that touch it", unit="count"),
    },
)  # fmt: skip

#: Not ``cohort/rules.tsv``, which holds what every rule calls: the counting rules beside the model, a row a sample.
RULE_COMPARISON = Schema(
    "rule_comparison",
    {
        "sample": Column("str", "sample"),
        "role": Column("str", "case, negative_control or product"),
        "n_t_cells": Column("int64", "T cells kept (no doublets)", label="T cells", unit="count"),
        "at_least_1": Column(
            "int64", "T cells with one CAR molecule or more", label="≥ 1 UMI", unit="count"
        ),
        "at_least_2": Column(
            "int64", "T cells with two CAR molecules or more", label="≥ 2 UMIs", unit="count"
        ),
        "model": Column(
            "int64", "T cells that the model calls positive", label="carseq's model", unit="count"
        ),
        "expected_false_calls": DETECTION.columns["expected_false_calls"],
        "not_t_at_least_1": Column(
            "int64",
            "other cells and doublets with a CAR molecule, which a rule would have called too",
            label="≥ 1 UMI, not a T cell",
            unit="count",
        ),
    },
)

SIGNAL_OUTSIDE_T = Schema(
    "signal_outside_t",
    {
        "sample": Column("str", "sample"),
        "cell_type": Column("str", "cell type"),
        "lineage": Column("str", "lineage of the cells"),
        "is_doublet": Column("str", "doublet, or empty", label="Doublet"),
        "n_cells": Column("int64", "cells with a CAR molecule", label="Cells", unit="count"),
        "car_umis": Column("int64", "CAR molecules in all of them", label="CAR UMIs", unit="count"),
        "car_reason": Column("str", "why they are not called", label="Reason"),
    },
)

VERSIONS = Schema(
    "versions",
    {"tool": Column("str", "program or package"), "version": Column("str", "its version")},
)
