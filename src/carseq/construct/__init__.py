"""construct: from the plasmid map to the CAR's transcript, its domains, its faults and its rivals.

Takes GenBank or FASTA of a plasmid, provirus, transcript or ORF. Makes the CAR mRNA (one contig),
its GTF, a domain track, lint findings and, with the endogenous transcripts, the homology table.

=================== ==========================================================================================
`reading`           files: GenBank, SnapGene, FASTA, pasted sequences (`genbank`, `vectormap`)
`derive`            what of a map is transcribed (`ltr`, `promoters`, `introns`, `setting`, `orfs`)
`identify`          whether it is a CAR, and what it is if not
`domains`           the domains of the mRNA and of its protein (`protein`, `antibody`)
`backbones`         known vectors, whose ends complete a frame
`lint`              faults and what they cost (`coverage`, `frame`, `findings`)
`homology`          which bases an endogenous gene shares
`model`, `outputs`  the construct in memory and on disk (`text`: on a terminal)
`library`           the constructs that come with carseq
=================== ==========================================================================================
"""

from carseq.construct.backbones import backbones, complete
from carseq.construct.coverage import expected_coverage, intended
from carseq.construct.findings import CODES, Finding
from carseq.construct.homology import homology, identical_windows, rivals
from carseq.construct.lint import lint
from carseq.construct.model import Construct, End, Transcript, read_construct
from carseq.construct.outputs import write_construct
from carseq.construct.vector import load_construct

__all__ = [
    "CODES",
    "Construct",
    "End",
    "Finding",
    "Transcript",
    "backbones",
    "complete",
    "expected_coverage",
    "homology",
    "identical_windows",
    "intended",
    "lint",
    "load_construct",
    "read_construct",
    "rivals",
    "write_construct",
]
