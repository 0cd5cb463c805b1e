"""construct: from the plasmid map to the CAR's transcript, its domains, its faults and its rivals.

Takes GenBank or FASTA of a plasmid, provirus, transcript or ORF. Makes the CAR mRNA (one contig),
its GTF, a domain track, lint findings and, with the endogenous transcripts, the homology table.
"""

from carseq.construct.compare import compare_constructs
from carseq.construct.homology import homology, rivals
from carseq.construct.lint import lint
from carseq.construct.outputs import write_construct
from carseq.construct.vector import Construct, Transcript, load_construct

__all__ = [
    "Construct",
    "Transcript",
    "compare_constructs",
    "homology",
    "lint",
    "load_construct",
    "rivals",
    "write_construct",
]
