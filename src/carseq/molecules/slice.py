"""The part of a BAM that carseq reads: on the CAR, at its homologs, or unmapped and like the CAR.

It gives the same molecules, read accounting and alignments as the whole BAM, which need not be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pysam

from carseq.construct.homology import Locus
from carseq.construct.vector import Construct
from carseq.io.bam import index_bam, open_bam
from carseq.io.files import atomic
from carseq.molecules.candidates import CandidateReads
from carseq.sequence.kmers import LEFT_OUT, KmerSet


def write_slice(
    bam: str | Path, constructs: Sequence[Construct], loci: Iterable[Locus], out: str | Path
) -> int:
    """Write the records of a BAM that may be CAR mRNA or its homologs', and their index.

    Parameters
    ----------
    bam
        Coordinate-sorted, indexed BAM.
    constructs
        The CAR, and the constructs it is compared with.
    loci
        Exons of the homologs.
    out
        The slice. Its header says how many unmapped reads were left out.

    Returns
    -------
    int
        Records written.
    """
    kmers = KmerSet([t.sequence for c in constructs for t in c.transcripts])
    out = Path(out)
    with open_bam(bam) as whole:
        unmapped, n_looked_at = kmers.unmapped(whole)
    n_written = len(unmapped)
    with (
        open_bam(bam) as whole,
        atomic(out) as slice_,
        atomic(out.with_suffix(".bam.bai")) as index,
    ):
        header = whole.header.to_dict()
        header.setdefault("CO", []).append(f"{LEFT_OUT}{n_looked_at - len(unmapped)}")
        walk = CandidateReads(whole, kmers, [c.name for c in constructs], loci)
        with pysam.AlignmentFile(str(slice_), "wb", header=header) as target:
            for _, records in walk.placed(by_coordinate=True):
                for record in records:
                    target.write(record)
                    n_written += 1
            for record in unmapped:
                target.write(record)
        index_bam(slice_, index)
    return n_written
