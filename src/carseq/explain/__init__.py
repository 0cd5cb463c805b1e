"""explain: the evidence for one cell, for a reviewer who doubts its call.

Takes a results folder, a sample and a barcode. Gathers what is known of the cell, the terms of its posterior,
its CAR molecules, and its reads laid on the CAR's transcript and, where an endogenous gene shares the bases, on
that gene's; a droplet that was not called a cell is explained too. :func:`explain` returns it, :func:`show`
prints it, :func:`write_evidence` writes it with the reads as a BAM. Needs no Snakemake.
"""

from carseq.explain.explaining import explain
from carseq.explain.model import CellEvidence, MoleculeReads, Pileup, Placement
from carseq.explain.pileup import WIDTH, draw, place
from carseq.explain.text import show, write_evidence

__all__ = [
    "WIDTH",
    "CellEvidence",
    "MoleculeReads",
    "Pileup",
    "Placement",
    "draw",
    "explain",
    "place",
    "show",
    "write_evidence",
]
