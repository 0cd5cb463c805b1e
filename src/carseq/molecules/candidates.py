"""The one walk over the reads of a BAM that may be CAR mRNA: on the CAR, at its homologs, unmapped.

Finding molecules, explaining a cell, cutting a slice and writing the reads of CAR T cells all use it, so that they see
the same reads. A read is known by its name and its mate, the two reads of a pair share the name, and by its barcode and
UMI: lanes that were numbered each by itself have reads of the same names, and some BAMs have none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import pysam
from Bio.Seq import reverse_complement

from carseq.construct.homology import Locus
from carseq.io.bam import NO_BARCODE, RAW_UMI_TAG, TAGS
from carseq.io.barcodes import bare_barcode, is_umi
from carseq.log import get_logger
from carseq.reference.genome import is_mitochondrion
from carseq.sequence.kmers import KmerSet

log = get_logger(__name__)

#: Longest contig that may be a vector under another name, nt.
MAX_VECTOR = 50_000
#: Reads of a contig looked at to see whether it is the CAR's, and the share that must resemble the CAR.
_HEAD, _ALIKE = 100, 0.5
#: The same of each stretch of a contig, nt, and fewest reads there: a contig may hold other genes before the CAR.
_STRETCH, _FEWEST = 500, 3
#: Reads of a contig, evenly over it, by which it is told how many of all resemble the CAR.
_SOME = 5000

#: The corrected UMI, and the UMI as it was read, which stands in for one that was not corrected (tags of Cell Ranger
#: and STARsolo).
CORRECTED_UMI_TAG = TAGS[1]

#: A number that stands for what a read is known by: of ten million reads two share one with a chance of 3 in a million.
ReadId = int


def read_id(record: pysam.AlignedSegment, tags: tuple[str, str] = TAGS) -> ReadId:
    """Return what a read is known by: its name, whether it is the first of a pair, its barcode and its UMI.

    Parameters
    ----------
    record
        One of its alignments.
    tags
        Of cell barcode and UMI.
    """
    barcode, umi = (record.get_tag(tag) if record.has_tag(tag) else None for tag in tags)
    if umi is None and record.has_tag(RAW_UMI_TAG):
        umi = record.get_tag(RAW_UMI_TAG)
    return hash((record.query_name, record.is_read1, barcode, umi))


@dataclass
class Read:
    """A read on the mRNA's strand.

    Attributes
    ----------
    barcode
        Cell barcode; None if it is not valid, or if the read has no UMI or one with an unknown base.
    umi
        Corrected UMI, else as it was read; ``-`` if there is none.
    sequence
        Bases, sense.
    source
        ``aligned`` (on the CAR's contig), ``homolog`` (at a homolog's exons) or ``unmapped``.
    multi
        Whether it was placed more than once.
    """

    barcode: str | None
    umi: str
    sequence: str
    source: str
    multi: bool


@dataclass(frozen=True)
class Place:
    """Where candidate reads are looked for: a stretch of a contig, to its end if ``end`` is None."""

    contig: str
    start: int
    end: int | None
    source: str
    gene: str = ""


@dataclass
class Candidate:
    """A record of the BAM that was looked at.

    Attributes
    ----------
    record
        As it lies in the BAM.
    read
        What it says; None for a further alignment of a candidate that was given before.
    gene
        The homolog at whose exons it lies.
    resembles
        Whether it may be the CAR's: it lies on the CAR's contig or shares enough k-mers with the CAR.
    """

    record: pysam.AlignedSegment
    read: Read | None
    gene: str
    resembles: bool


def decode(record: pysam.AlignedSegment, source: str, strand: str, tags: tuple[str, str]) -> Read:
    """Return what a record says.

    Parameters
    ----------
    record
        With its bases.
    source
        Where it was found.
    strand
        Of R2 (or of all reads, where they are single): ``Forward`` if sense, ``Reverse`` if antisense. An R1 that was
        aligned too has the other strand.
    tags
        Of cell barcode and UMI.
    """
    sequence = record.get_forward_sequence() or ""
    opposite = record.is_paired and record.is_read1
    if (strand == "Reverse") != opposite:
        sequence = reverse_complement(sequence)
    values = dict(record.get_tags())
    barcode, umi = str(values.get(tags[0], "-")), str(values.get(tags[1], "-"))
    if umi in ("-", "") and tags[1] == CORRECTED_UMI_TAG:
        # One that was read badly is left out of UB by those who write it: it is no molecule here either.
        raw = str(values.get(RAW_UMI_TAG, "-"))
        umi = raw if is_umi(raw) else "-"
    elif "N" in umi:
        umi = "-"
    # Reads without a UMI cannot be counted as molecules; taken for one UMI, all of a cell would be one molecule.
    known = barcode not in NO_BARCODE and umi not in ("-", "")
    return Read(barcode if known else None, umi, sequence, source, int(values.get("NH", 1)) > 1)


class CandidateReads:
    """The reads of a BAM that may be CAR mRNA.

    Parameters
    ----------
    bam
        Coordinate-sorted, indexed BAM, opened for this walk.
    kmers
        Of the CAR's transcripts.
    contigs
        The CAR's (:func:`car_contigs`).
    loci
        Exons of the homologs.
    strand
        Of R2: ``Forward`` or ``Reverse``.
    tags
        Of cell barcode and UMI.
    barcodes
        Only these, with or without Cell Ranger's ``-1``; None: all.
    """

    def __init__(
        self,
        bam: pysam.AlignmentFile,
        kmers: KmerSet,
        contigs: Iterable[str],
        loci: Iterable[Locus] = (),
        *,
        strand: str = "Forward",
        tags: tuple[str, str] = ("CB", "UB"),
        barcodes: Collection[str] | None = None,
    ) -> None:
        self.bam, self.kmers = bam, kmers
        self._strand, self._tags = strand, tags
        self._wanted = None if barcodes is None else {bare_barcode(b) for b in barcodes}
        own = dict.fromkeys(contigs)
        self._places = [Place(contig, 0, None, "aligned") for contig in own]
        self._places += [
            Place(x.contig, x.start, x.end, "homolog", x.gene) for x in loci if x.contig not in own
        ]
        #: Unmapped reads that were looked at, once the walk is over.
        self.n_unmapped = 0

    def placed(
        self, *, by_coordinate: bool = False
    ) -> Iterator[tuple[Place, Iterator[pysam.AlignedSegment]]]:
        """Yield the alignments of each place, each once. Take them before you ask for the next place.

        Parameters
        ----------
        by_coordinate
            Give the places in the BAM's order, not the CAR's contigs first.
        """
        contigs = dict.fromkeys(p.contig for p in self._places if p.contig in self.bam.references)
        for contig in sorted(contigs, key=self.bam.get_tid) if by_coordinate else contigs:
            done = 0
            own = [p for p in self._places if p.contig == contig]
            length = self.bam.get_reference_length(contig)
            for place in sorted(own, key=lambda p: p.start):
                end = length if place.end is None else min(place.end, length)
                if end <= done:
                    continue
                yield place, self._fetched(contig, max(place.start, done), end, done)
                done = end

    def _fetched(
        self, contig: str, start: int, end: int, done: int
    ) -> Iterator[pysam.AlignedSegment]:
        """Yield the alignments of a stretch but those that an earlier one, which ended at ``done``, has given."""
        for record in self.bam.fetch(contig, start, end):
            if record.reference_start >= done:
                yield record

    def _all(self) -> Iterator[tuple[Place, Iterable[pysam.AlignedSegment]]]:
        """Yield the alignments of each place, and last the unmapped reads that resemble the CAR."""
        # A supplementary alignment often has a part of the read alone, and stands for it only where no other is seen.
        parts: dict[Place, list[pysam.AlignedSegment]] = {}
        for place, records in self.placed():
            yield place, _without_parts(records, parts.setdefault(place, []))
        unmapped, self.n_unmapped = self.kmers.unmapped(self.bam)
        yield Place("*", 0, None, "unmapped"), unmapped
        yield from parts.items()

    def __iter__(self) -> Iterator[Candidate]:
        """Yield each read once, those that resemble the CAR also with their further alignments."""
        seen: dict[ReadId, bool] = {}
        for place, records in self._all():
            fresh: list[tuple[pysam.AlignedSegment, Read]] = []
            again: list[pysam.AlignedSegment] = []
            for record in records:
                if record.query_sequence is None or not self._is_wanted(record):
                    continue
                identity = read_id(record, self._tags)
                if identity in seen:
                    # Whether the read resembles the CAR may not be known yet: it may lie in this place twice.
                    again.append(record)
                    continue
                seen[identity] = True
                fresh.append((record, decode(record, place.source, self._strand, self._tags)))
            # What lies on the CAR's contig is looked at whatever it is; the unmapped have passed this test.
            if place.source == "homolog":
                alike = self.kmers.among([read.sequence for _, read in fresh]).tolist()
            else:
                alike = [True] * len(fresh)
            for (record, read), resembles in zip(fresh, alike, strict=True):
                if not resembles:
                    seen[read_id(record, self._tags)] = False
                yield Candidate(record, read, place.gene, resembles)
            for record in again:
                if seen[read_id(record, self._tags)]:
                    yield Candidate(record, None, place.gene, True)

    def _is_wanted(self, record: pysam.AlignedSegment) -> bool:
        if self._wanted is None:
            return True
        tag = self._tags[0]
        return record.has_tag(tag) and bare_barcode(str(record.get_tag(tag))) in self._wanted


def _without_parts(
    records: Iterable[pysam.AlignedSegment], parts: list[pysam.AlignedSegment]
) -> Iterator[pysam.AlignedSegment]:
    """Yield the alignments but the supplementary ones, which are put into ``parts``."""
    for record in records:
        if record.is_supplementary:
            parts.append(record)
        else:
            yield record


def car_contigs(
    bam: pysam.AlignmentFile, name: str, kmers: KmerSet, loci: Iterable[Locus]
) -> list[str]:
    """Return the contigs of the CAR: by name, else short ones whose reads resemble it.

    Parameters
    ----------
    bam
        Its position moves: open it anew to read on.
    name
        Of the CAR.
    kmers
        Of its transcripts.
    loci
        Exons of the homologs, whose contigs are the genome's.
    """
    if name in bam.references:
        return [name]
    found = []
    genome = {locus.contig for locus in loci}
    for contig in bam.get_index_statistics():
        # The mitochondrion is as short as a vector, and may hold a tenth of all reads.
        if contig.contig in genome or is_mitochondrion(contig.contig):
            continue
        short = bam.get_reference_length(contig.contig) <= MAX_VECTOR
        if contig.mapped and short and resembles_car(bam, contig.contig, kmers):
            found.append(contig.contig)
            log.warning(
                "the BAM has no contig %s; the reads of its contig %s resemble the CAR and are looked at",
                name,
                contig.contig,
            )
    return found


def resembles_car(bam: pysam.AlignmentFile, contig: str, kmers: KmerSet) -> bool:
    """Return whether the first reads of a contig resemble the CAR, or those of one of its stretches.

    Parameters
    ----------
    bam
        Its position moves: open it anew to read on.
    contig
        A contig of it.
    kmers
        Of the CAR's transcripts.
    """

    first: list[str] = []
    stretches: dict[int, list[str]] = defaultdict(list)
    # One pass: to fetch a stretch, the index leads to the beginning of 16 kb, which is read again each time.
    for record in bam.fetch(contig):
        head = stretches[record.reference_start // _STRETCH]
        if len(first) < _HEAD:
            first.append(record.query_sequence or "")
            if len(first) == _HEAD and _alike(first, kmers):
                return True
        if len(head) < _HEAD:
            head.append(record.query_sequence or "")
            if len(head) == _HEAD and _alike(head, kmers):
                return True
    return any(
        _alike(head, kmers)
        for head in [first, *(x for x in stretches.values() if len(x) >= _FEWEST)]
        if 0 < len(head) < _HEAD
    )


def share_unlike_car(bam: pysam.AlignmentFile, contig: str, kmers: KmerSet) -> float:
    """Return the share of a contig's reads that do not resemble the CAR; of many, of some thousand evenly over them.

    Parameters
    ----------
    bam
        Its position moves: open it anew to read on.
    contig
        A contig of it.
    kmers
        Of the CAR's transcripts.
    """
    n = next(s.mapped for s in bam.get_index_statistics() if s.contig == contig)
    some = islice(bam.fetch(contig), 0, None, max(1, n // _SOME))
    reads = [record.query_sequence for record in some if record.query_sequence]
    return 1.0 - float(kmers.among(reads).mean()) if reads else 0.0


def _alike(reads: list[str], kmers: KmerSet) -> bool:
    return float(kmers.among(reads).mean()) >= _ALIKE
