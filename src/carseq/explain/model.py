"""What explain returns: the evidence for one cell, with its reads laid on transcripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import pysam

from carseq.molecules import ReadScore


@dataclass(frozen=True)
class Placement:
    """A read on a transcript: its local alignment, gaps as ``-``, and the ends that do not fit.

    Attributes
    ----------
    start
        First aligned base on the transcript, 0-based.
    read, target
        Aligned bases of both, of one length.
    head, tail
        Bases of the read before and behind them.
    score
        Alignment score.
    """

    start: int
    read: str
    target: str
    head: str
    tail: str
    score: int


@dataclass(frozen=True)
class Pileup:
    """Reads of a molecule on one transcript.

    Attributes
    ----------
    title
        What they are laid on.
    sequence
        The transcript.
    positions
        The number of each of its bases, 1-based: for a spliced CAR on the full-length transcript.
    rulers
        Name of a ruler, and a name for each base, empty where there is none.
    reads
        Label and placement.
    """

    title: str
    sequence: str
    positions: Sequence[int]
    rulers: Mapping[str, Sequence[str]]
    reads: Sequence[tuple[str, Placement]]


@dataclass(frozen=True)
class MoleculeReads:
    """The reads of one molecule: what they say in words, one line a read, and the pileups."""

    umi: str
    words: str
    reads: list[str]
    pileups: list[Pileup]


@dataclass(frozen=True)
class CellEvidence:
    """The evidence for one cell.

    Attributes
    ----------
    sample, barcode
        The cell; the barcode as the matrix writes it.
    words
        The call and the reason for it, in a sentence or two.
    facts
        What is known of the cell: ``what``, ``value``.
    terms
        The posterior term by term: ``term``, ``value``, ``meaning``; without rows for a droplet.
    molecules
        Schema ``MOLECULES``, and ``counted``: whether the molecule counts as CAR. Molecules that an
        endogenous gene explains better have the evidence ``endogenous`` and no p_car; ``unlisted`` are those that
        the table should have, had it been made from these reads.
    alignments
        The same molecules, as reads.
    notes
        What could not be shown, and why.
    records, header
        The cell's candidate reads as in the sample's BAM, by coordinate, and the header (None: no BAM).
    of_matrix
        Whether the sample came as a matrix, whose molecules nobody can look at.
    """

    sample: str
    barcode: str
    words: str
    facts: pd.DataFrame
    terms: pd.DataFrame
    molecules: pd.DataFrame
    alignments: list[MoleculeReads]
    notes: list[str]
    records: list[pysam.AlignedSegment]
    header: pysam.AlignmentHeader | None
    of_matrix: bool = False


@dataclass(frozen=True)
class CellRead:
    """A candidate read of the cell that the CAR explains, on the mRNA's strand."""

    name: str
    umi: str
    sequence: str
    source: str
    score: ReadScore
