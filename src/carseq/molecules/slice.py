"""The part of a BAM that carseq reads: what is on the CAR, at its relatives, or unmapped and like the CAR.

From it come the same molecules, losses and alignments as from the whole BAM, which need not be kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pysam

from carseq.construct.homology import Locus
from carseq.construct.vector import Construct
from carseq.io.bam import open_bam
from carseq.io.files import atomic
from carseq.sequence.kmers import LEFT_OUT, Words


def write_slice(
    bam: str | Path, constructs: Sequence[Construct], loci: Iterable[Locus], out: str | Path
) -> int:
    """Write the records of a BAM that may be CAR mRNA or its relatives', and their index.

    Parameters
    ----------
    bam
        Coordinate-sorted, indexed BAM.
    constructs
        The CAR, and the constructs it is compared with.
    loci
        Where the relatives lie.
    out
        The slice. How many unmapped reads were left out stands in its header.

    Returns
    -------
    int
        Records written.
    """
    words = Words([t.sequence for c in constructs for t in c.transcripts])
    out = Path(out)
    n_written = 0
    with open_bam(bam) as whole:
        unmapped, n_looked_at = words.unmapped(whole)
    with (
        open_bam(bam) as whole,
        atomic(out) as slice_,
        atomic(out.with_suffix(".bam.bai")) as index,
    ):
        places: list[tuple[str, int, int | None]] = [(c.name, 0, None) for c in constructs]
        places += [(locus.contig, locus.start, locus.end) for locus in loci]
        header = whole.header.to_dict()
        header.setdefault("CO", []).append(f"{LEFT_OUT}{n_looked_at - len(unmapped)}")
        with pysam.AlignmentFile(str(slice_), "wb", header=header) as target:
            for record in _in_places(whole, places):
                target.write(record)
                n_written += 1
            for record in unmapped:
                target.write(record)
        pysam.index("-o", str(index), str(slice_))
    return n_written + len(unmapped)


def _in_places(
    bam: pysam.AlignmentFile, places: Iterable[tuple[str, int, int | None]]
) -> Iterator[pysam.AlignedSegment]:
    """Yield the records of places once each, by coordinate."""
    by_contig: dict[str, list[tuple[int, int]]] = {}
    for contig, start, end in places:
        if contig in bam.references:
            length = bam.get_reference_length(contig)
            by_contig.setdefault(contig, []).append((start, length if end is None else end))
    for contig in sorted(by_contig, key=bam.get_tid):
        done = 0
        for start, end in sorted(by_contig[contig]):
            if end <= done:
                continue
            for record in bam.fetch(contig, max(start, done), end):
                # What begins before `done` reaches over from a place that was written.
                if record.reference_start >= done:
                    yield record
            done = end
