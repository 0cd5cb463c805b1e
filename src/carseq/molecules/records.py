"""The records of barcodes that may be CAR mRNA, as they lie in a BAM."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import pysam

from carseq.construct.homology import Locus
from carseq.io.barcodes import bare_barcode
from carseq.molecules.find import Read, Reader, car_contigs
from carseq.molecules.score import Scorer


def candidate_reads(
    bam: pysam.AlignmentFile,
    scorer: Scorer,
    loci: Iterable[Locus],
    strand: str,
    tags: tuple[str, str],
    barcodes: Collection[str],
) -> Iterator[tuple[pysam.AlignedSegment, Read | None]]:
    """Yield the candidate records of barcodes, and each read once.

    Candidates are looked for where :func:`carseq.molecules.find_molecules` looks: on the CAR's contig, at the
    relatives' loci and among the unmapped.

    Parameters
    ----------
    bam
        Coordinate-sorted, indexed BAM.
    scorer
        Of the CAR and its rivals.
    loci
        Where the relatives lie.
    strand
        Of R2: ``Forward`` or ``Reverse``.
    tags
        Of cell barcode and UMI.
    barcodes
        With or without Cell Ranger's ``-1``.

    Yields
    ------
    tuple
        The record, and the read on the mRNA's strand; None for a further alignment of one already given.
    """
    loci = list(loci)
    barcode_tag = tags[0]
    reader = Reader(bam, strand, tags)
    wanted = {bare_barcode(barcode) for barcode in barcodes}
    places: list[tuple[str, int | None, int | None, str]] = [
        (contig, None, None, "aligned") for contig in car_contigs(bam, scorer, loci)
    ]
    places += [(locus.contig, locus.start, locus.end, "homolog") for locus in loci]
    places.append(("*", None, None, "unmapped"))
    seen: set[str | None] = set()
    places_seen: set[tuple[str | None, int, int, int]] = set()
    for contig, start, end, source in places:
        if contig != "*" and contig not in bam.references:
            continue
        found = scorer.words.unmapped(bam)[0] if contig == "*" else bam.fetch(contig, start, end)
        for record in found:
            if not record.has_tag(barcode_tag) or record.query_sequence is None:
                continue
            if bare_barcode(str(record.get_tag(barcode_tag))) not in wanted:
                continue
            here = record.query_name, record.reference_id, record.reference_start, record.flag
            if record.query_name in seen:
                # A further alignment of a candidate, or the same one at an overlapping locus.
                if here not in places_seen:
                    places_seen.add(here)
                    yield record, None
                continue
            read = reader.decode(record, source)
            if source != "aligned" and not scorer.resembles_car(read.sequence):
                continue
            places_seen.add(here)
            seen.add(record.query_name)
            yield record, read


def car_records(
    candidates: Iterable[tuple[pysam.AlignedSegment, Read | None]], scorer: Scorer
) -> list[pysam.AlignedSegment]:
    """Return the records of :func:`candidate_reads` that may be CAR mRNA.

    A read that is not aligned to the CAR and fits it over fewer than 40 bases is left out with its other alignments.
    """
    records, fits = [], {}
    for record, read in candidates:
        records.append(record)
        if read is not None:
            fits[record.query_name] = (
                read.source == "aligned" or scorer.score(read.sequence) is not None
            )
    return [record for record in records if fits[record.query_name]]
