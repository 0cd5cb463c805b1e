"""molecules: the evidence for the CAR, one row a molecule.

Takes any coordinate-sorted BAM with cell barcodes and UMIs. Candidates are reads on the CAR's contig, reads
at the loci of its endogenous relatives, and unmapped reads that resemble the CAR; each is scored anew against
the CAR's transcripts and the relatives' transcripts on equal terms, since alignment to the genome alone does
not settle a read of a shared domain. Makes ``molecules.parquet`` and ``losses.tsv``.
"""

from carseq.molecules.find import (
    DECISIVE,
    Read,
    Reader,
    assemble,
    car_reads,
    check_bam,
    collapse_umis,
    find_molecules,
    on_mrna,
    open_bam,
    turn,
)
from carseq.molecules.score import (
    GAP_EXTEND,
    GAP_OPEN,
    MATCH,
    MIN_BASES,
    MISMATCH,
    NATS,
    Evidence,
    Scorer,
)

__all__ = [
    "DECISIVE",
    "GAP_EXTEND",
    "GAP_OPEN",
    "MATCH",
    "MIN_BASES",
    "MISMATCH",
    "NATS",
    "Evidence",
    "Read",
    "Reader",
    "Scorer",
    "assemble",
    "car_reads",
    "check_bam",
    "collapse_umis",
    "find_molecules",
    "on_mrna",
    "open_bam",
    "turn",
]
