"""construct: from the plasmid map to the CAR's transcript, its domains, its faults and its rivals.

Takes GenBank or FASTA of a plasmid, provirus, transcript or ORF. Makes the CAR mRNA (one contig),
its GTF, a domain track, lint findings and, with the endogenous transcripts, the homology table.
"""

from carseq.construct.coverage import expected_coverage, intended
from carseq.construct.homology import homology, identical_windows, rivals
from carseq.construct.lint import lint
from carseq.construct.outputs import write_construct
from carseq.construct.vector import Construct, Transcript, load_construct

__all__ = [
    "Construct",
    "Transcript",
    "expected_coverage",
    "homology",
    "identical_windows",
    "intended",
    "lint",
    "load_construct",
    "rivals",
    "write_construct",
]
