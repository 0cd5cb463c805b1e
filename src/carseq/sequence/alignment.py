"""Local alignment whose score is a log-odds, in thirds of a nat."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

#: Substitution errors per base in the scores below (Illumina R2, with room for the vector's own variants).
BASE_ERROR = 0.004
#: Local-alignment scores in thirds of a nat: a match is log((1-e)/0.25) = 1.38, a mismatch log((e/3)/0.25) =
#: -5.2, so that a score is the log-odds of the read coming from the transcript rather than from random bases.
NATS = 1.0 / 3.0
MATCH, MISMATCH = (
    round(math.log((1 - BASE_ERROR) / 0.25) / NATS),
    round(math.log(BASE_ERROR / 3 / 0.25) / NATS),
)
GAP_OPEN, GAP_EXTEND = 21, 6
#: A candidate must be explained over at least this many bases (score of as many matches).
MIN_BASES = 40

#: Log-odds (nats) from which the CAR and a homolog are told apart: an error of 1 in 100.
DECISIVE = math.log(99)


@dataclass(frozen=True)
class Alignment:
    """A local alignment: score in thirds of a nat, half-open places on read and reference, their aligned bases."""

    score: int
    read_start: int
    read_end: int
    start: int
    end: int
    on_read: str
    on_reference: str


@lru_cache
def _aligners() -> tuple[Any, Any, tuple[Any, ...]]:
    """Return parasail's alignment with and without a traceback, and the costs; loading it takes 0.15 s."""
    import parasail

    costs = (GAP_OPEN, GAP_EXTEND, parasail.matrix_create("ACGT", MATCH, MISMATCH))
    return parasail.sw_trace_striped_16, parasail.sw_striped_16, costs


def get_ready() -> None:
    """Load what aligns, once for all jobs (:mod:`carseq.preload`)."""
    _aligners()


def align(read: str, reference: str) -> Alignment:
    """Return the best local alignment of a read, with gaps."""
    traced, _, costs = _aligners()
    found = traced(read, reference, *costs)
    on_read, on_reference = found.traceback.query, found.traceback.ref
    last, end = found.end_query + 1, found.end_ref + 1
    first = last - sum(base != "-" for base in on_read)
    start = end - sum(base != "-" for base in on_reference)
    return Alignment(int(found.score), first, last, start, end, on_read, on_reference)


def alignment_score(read: str, reference: str) -> int:
    """Return the score of :func:`align` alone, thirds of a nat."""
    _, scored, costs = _aligners()
    return int(scored(read, reference, *costs).score)
