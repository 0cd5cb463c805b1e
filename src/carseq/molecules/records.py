"""The records of cells that may be CAR mRNA, as they lie in a BAM."""

from __future__ import annotations

from collections.abc import Iterable

import pysam

from carseq.molecules.candidates import Candidate, ReadId, read_id
from carseq.molecules.score import Scorer


def car_records(candidates: Iterable[Candidate], scorer: Scorer) -> list[pysam.AlignedSegment]:
    """Return the records of candidate reads that may be CAR mRNA, with their further alignments.

    Left out are reads that do not resemble the CAR, and those not aligned to it that fit it over fewer than 40 bases.

    Parameters
    ----------
    candidates
        Of :class:`carseq.molecules.CandidateReads`.
    scorer
        Of the CAR and its homologs.
    """
    records: list[pysam.AlignedSegment] = []
    fits: dict[ReadId, bool] = {}
    for candidate in candidates:
        if not candidate.resembles:
            continue
        records.append(candidate.record)
        if (read := candidate.read) is not None:
            fits[read_id(candidate.record)] = (
                read.source == "aligned" or scorer.score(read.sequence) is not None
            )
    return [record for record in records if fits[read_id(record)]]
