"""The records of cells that may be CAR mRNA, as they lie in a BAM."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

import pysam

from carseq.io.bam import TAGS, molecule_tags, open_bam
from carseq.molecules.candidates import Candidate, CandidateReads, ReadId, car_contigs, read_id
from carseq.molecules.score import Scorer
from carseq.molecules.target import Target


def cell_records(
    bam: str | Path,
    target: Target,
    barcodes: Collection[str],
    tags: tuple[str, str] = ("CB", "UB"),
) -> list[pysam.AlignedSegment]:
    """Return the records of some barcodes that may be CAR mRNA.

    Parameters
    ----------
    bam
        Coordinate-sorted, indexed BAM.
    target
        The CAR and its homologs.
    barcodes
        With or without Cell Ranger's ``-1``.
    tags
        Of cell barcode and UMI.
    """
    target = target.without_the_car()
    tags = molecule_tags(bam, tags)
    scorer, loci = target.scorer, target.loci
    with open_bam(bam) as head:
        contigs = car_contigs(head, target.construct.name, scorer.kmers, loci)
    with open_bam(bam) as opened:
        walk = CandidateReads(
            opened,
            scorer.kmers,
            contigs,
            loci,
            strand=target.strand,
            tags=tags,
            barcodes=barcodes,
        )
        return car_records(walk, scorer, tags)


def car_records(
    candidates: Iterable[Candidate], scorer: Scorer, tags: tuple[str, str] = TAGS
) -> list[pysam.AlignedSegment]:
    """Return the records of candidate reads that may be CAR mRNA, with their further alignments.

    Left out are reads that do not resemble the CAR, and those not aligned to it that fit it over fewer than 40 bases.

    Parameters
    ----------
    candidates
        Of :class:`carseq.molecules.CandidateReads`.
    scorer
        Of the CAR and its homologs.
    tags
        Of cell barcode and UMI.
    """
    records: list[pysam.AlignedSegment] = []
    fits: dict[ReadId, bool] = {}
    for candidate in candidates:
        if not candidate.resembles:
            continue
        records.append(candidate.record)
        if (read := candidate.read) is not None:
            fits[read_id(candidate.record, tags)] = (
                read.source == "aligned" or scorer.score(read.sequence) is not None
            )
    return [record for record in records if fits[read_id(record, tags)]]
