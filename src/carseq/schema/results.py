"""Files under ``results/``, declared once."""

from __future__ import annotations

#: Of a sample that was aligned: what later steps take from its room `solo`.
SUMMARY = "summary.json"
READS = ("aligned.bam", "aligned.bam.bai", "chemistry.json", SUMMARY)
#: Of any sample: what later steps take from its room `cells`.
CELLS = ("barcodes.tsv.gz", "ambient.tsv", "knee.tsv", "filters.tsv")
#: Of the cohort.
COHORT = (
    "annotated.h5ad",
    "annotation.tsv",
    "integration.tsv",
    "protein_agreement.tsv",
    "receptors.tsv",
)
PANEL = "reference/strand_panel.fa"
#: The transcript that reads were aligned to.
TRANSCRIPT = "construct/construct.fa"
RECORD = "run_config.yaml"
