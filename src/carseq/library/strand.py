"""The strand of a library's reads, measured with abundant transcripts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import mappy

from carseq.errors import CarseqError

#: Reads that must map to the panel before the strand is accepted, and the share that must agree.
MIN_STRAND_READS = 50
MIN_STRAND_SHARE = 0.75
#: Genes that any nucleated cell transcribes, for the strand panel.
_ABUNDANT = re.compile(
    r"^(RP[LS]\d|MT-|ACTB$|B2M$|EEF1A1$|TMSB|FT[LH]|GAPDH$|TPT1$|MALAT1$|HLA-[ABC]$)"
)


def strand_panel(
    transcripts: Iterable[tuple[str, str]], *, size: int = 2000, keep: int = 40_000
) -> list[str]:
    """Choose transcripts by which the strand of reads is found.

    Parameters
    ----------
    transcripts
        (gene symbol, spliced sense sequence).
    size
        Transcripts wanted: those of abundant genes, and others evenly over the rest.
    keep
        Transcripts of other genes looked at, at most.

    Returns
    -------
    list of str
        Sequences; one a gene.
    """
    abundant: dict[str, str] = {}
    others: dict[str, str] = {}
    for gene, sequence in transcripts:
        pool = abundant if _ABUNDANT.match(gene) else others
        if pool is abundant or len(others) < keep:
            pool.setdefault(gene, sequence)
    rest = list(others.values())
    step = max(1, len(rest) // max(1, size - len(abundant)))
    return [*abundant.values(), *rest[::step]][:size]


def count_strands(reads: Sequence[str], panel: Sequence[str]) -> tuple[int, int]:
    """Return how many reads map to the panel in sense and in antisense.

    Reads that map to both strands equally well are left out.
    """
    return count_strands_each([reads], panel)[0]


def count_strands_each(
    groups: Sequence[Sequence[str]], panel: Sequence[str]
) -> list[tuple[int, int]]:
    """Return :func:`count_strands` of several groups of reads, with one index of the panel."""
    sequence = ("N" * 50).join(panel)
    index = mappy.Aligner(seq=sequence, preset="sr") if sequence else None
    counts = []
    for reads in groups:
        sense = antisense = 0
        for read in reads:
            if not index:
                break
            hits = sorted(((h.mlen - h.NM, h.strand) for h in index.map(read)), reverse=True)
            tied = len(hits) > 1 and hits[1][0] == hits[0][0] and hits[1][1] != hits[0][1]
            if hits and not tied:
                sense += hits[0][1] > 0
                antisense += hits[0][1] < 0
        counts.append((sense, antisense))
    return counts


def strand_of_bam(path: str | Path, panel: Sequence[str], *, n: int = 20_000) -> str:
    """Return the strand of the reads of a BAM, of R2 where reads are paired: ``Forward`` (3') or ``Reverse`` (5').

    Raises
    ------
    CarseqError
        If the BAM cannot be read or its reads do not tell.
    """
    import pysam

    from carseq.io.bam import UNREADABLE, index_of

    try:
        with pysam.AlignmentFile(str(path), "rb", index_filename=index_of(path)) as bam:
            # Evenly over the contigs: one end of one chromosome may hold few transcribed genes.
            contigs = [s.contig for s in bam.get_index_statistics() if s.mapped]
            reads = [
                r.get_forward_sequence() or ""
                for contig in contigs
                for r in islice(
                    (
                        r
                        for r in bam.fetch(contig)
                        if not (
                            r.is_secondary or r.is_supplementary or (r.is_paired and r.is_read1)
                        )
                    ),
                    -(-n // len(contigs)),
                )
            ]
    except UNREADABLE as error:
        raise CarseqError(f"cannot read the BAM {path}", str(error), "check the path") from None
    sense, antisense = count_strands(reads, panel)
    strand = measured_strand(sense, antisense)
    if not strand:
        raise CarseqError(
            f"the strand of {path} cannot be determined",
            f"{sense} of {len(reads)} reads map in sense, {antisense} in antisense",
            "name the sample's chemistry in the sheet; else check that reference and BAM are of one species",
        )
    return strand


def measured_strand(sense: int, antisense: int) -> str:
    """Return Forward, Reverse, or nothing where the reads do not tell."""
    total = sense + antisense
    if total < MIN_STRAND_READS:
        return ""
    if sense >= MIN_STRAND_SHARE * total:
        return "Forward"
    return "Reverse" if antisense >= MIN_STRAND_SHARE * total else ""
