"""molecules: CAR molecules of a sample, found among its reads and weighed against the CAR's homologs."""

from carseq.molecules.candidates import (
    Candidate,
    CandidateReads,
    Read,
    car_contigs,
    read_id,
    resembles_car,
    share_unlike_car,
)
from carseq.molecules.consensus import consensus, corrected
from carseq.molecules.evidence import Molecule, assemble, collapse_umis
from carseq.molecules.find import (
    check_bam,
    check_shows_car,
    doubts_of_bam,
    find_molecules,
    molecules_of,
)
from carseq.molecules.records import car_records, cell_records
from carseq.molecules.score import ReadScore, Scorer
from carseq.molecules.search import write_evidence
from carseq.molecules.slice import write_slice
from carseq.molecules.support import compare_constructs
from carseq.molecules.target import Target

__all__ = [
    "Candidate",
    "CandidateReads",
    "Molecule",
    "Read",
    "ReadScore",
    "Scorer",
    "Target",
    "assemble",
    "car_contigs",
    "car_records",
    "cell_records",
    "check_bam",
    "check_shows_car",
    "collapse_umis",
    "compare_constructs",
    "consensus",
    "corrected",
    "doubts_of_bam",
    "find_molecules",
    "molecules_of",
    "read_id",
    "resembles_car",
    "share_unlike_car",
    "write_evidence",
    "write_slice",
]
