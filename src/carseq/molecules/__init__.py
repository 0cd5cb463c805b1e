"""molecules: CAR molecules of a sample, found among its reads and weighed against the CAR's homologs."""

from carseq.io.bam import by_coordinate, open_bam, write_bam
from carseq.io.barcodes import bare_barcode
from carseq.molecules.consensus import consensus, corrected
from carseq.molecules.find import (
    Molecule,
    Read,
    Reader,
    assemble,
    car_contigs,
    car_reads,
    check_bam,
    collapse_umis,
    find_molecules,
)
from carseq.molecules.records import candidate_reads, car_records
from carseq.molecules.score import Evidence, Scorer
from carseq.molecules.slice import write_slice
from carseq.molecules.support import compare_constructs
from carseq.sequence.alignment import DECISIVE, MATCH, MIN_BASES, NATS, align, alignment_score

__all__ = [
    "DECISIVE",
    "MATCH",
    "MIN_BASES",
    "NATS",
    "Evidence",
    "Molecule",
    "Read",
    "Reader",
    "Scorer",
    "align",
    "alignment_score",
    "assemble",
    "bare_barcode",
    "by_coordinate",
    "candidate_reads",
    "car_contigs",
    "car_reads",
    "car_records",
    "check_bam",
    "collapse_umis",
    "compare_constructs",
    "consensus",
    "corrected",
    "find_molecules",
    "open_bam",
    "write_bam",
    "write_slice",
]
