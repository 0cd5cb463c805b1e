"""Which bases of the CAR a read can tell from the genome's own transcripts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import edlib
import mappy
import numpy as np
import pandas as pd

from carseq.errors import CarseqError
from carseq.log import get_logger

log = get_logger(__name__)

COLUMNS = ["start", "end", "class", "gene", "identity"]


@dataclass(frozen=True)
class EndogenousTranscript:
    """A transcript of the genome: its gene's symbol and its spliced sequence (sense)."""

    gene: str
    transcript: str
    sequence: str


@dataclass(frozen=True)
class Locus:
    """An exon of a relative of the CAR, on the genome, 0-based half-open."""

    contig: str
    start: int
    end: int
    gene: str


def rivals(car: str, transcripts: Iterable[EndogenousTranscript]) -> list[EndogenousTranscript]:
    """Return the transcripts that hold a stretch similar to the CAR, sense strand, gene by gene.

    A minimap2 index of the CAR alone (every 11-mer) is asked with each transcript, so memory does not grow
    with the genome.

    Parameters
    ----------
    car
        The CAR's full-length transcript.
    transcripts
        Spliced transcripts of the genome.
    """
    index = mappy.Aligner(seq=car, k=11, w=1, min_cnt=1, min_chain_score=25, best_n=50)
    if not index:
        raise CarseqError("the CAR's transcript cannot be indexed", f"it has {len(car)} bases")
    found = []
    n = 0
    for n, transcript in enumerate(transcripts, 1):  # noqa: B007 (n is reported below)
        if any(hit.strand > 0 and hit.mlen >= 25 for hit in index.map(transcript.sequence)):
            found.append(transcript)
    log.info("%d of %d transcripts hold a stretch similar to the CAR", len(found), n)
    return found


def homology(
    car: str,
    transcripts: Iterable[EndogenousTranscript],
    *,
    read_length: int = 90,
    min_identity: float = 0.9,
) -> pd.DataFrame:
    """Class every base of the CAR: CAR-only, shared or junction, for reads of a given length.

    A window of ``read_length`` bases is compared with every rival transcript (edlib, infix, edits counted).
    A base is ``shared`` if every window over it matches some endogenous transcript at ``min_identity`` or
    better, ``car_only`` if none does, else ``junction``.

    Parameters
    ----------
    car
        The CAR's full-length transcript.
    transcripts
        Rivals, as given by :func:`rivals`.
    read_length
        Length of the cDNA read.
    min_identity
        Identity (1 - edits / read length) from which a window counts as endogenous.

    Returns
    -------
    pandas.DataFrame
        Runs of bases: ``start``, ``end`` (0-based half-open), ``class``, ``gene`` (best rival of the run's
        windows, empty for car_only), ``identity`` (best of its windows; NaN for car_only).
    """
    length = min(read_length, len(car))
    n_windows = len(car) - length + 1
    best = np.zeros(n_windows)
    gene = np.full(n_windows, "", dtype=object)
    limit = int((1 - min_identity) * length)
    for rival in transcripts:
        for start in range(n_windows):
            hit = edlib.align(
                car[start : start + length], rival.sequence, mode="HW", task="distance", k=limit
            )
            if hit["editDistance"] >= 0:
                identity = 1 - hit["editDistance"] / length
                if identity > best[start]:
                    best[start], gene[start] = identity, rival.gene
    matches = best > 0
    counts = np.concatenate([[0], np.cumsum(matches)])
    first = np.maximum(np.arange(len(car)) - length + 1, 0)
    last = np.minimum(np.arange(len(car)), n_windows - 1)
    n_match = counts[last + 1] - counts[first]
    n_all = last + 1 - first
    classes = np.where(n_match == 0, "car_only", np.where(n_match == n_all, "shared", "junction"))
    base_best = np.array([best[a : b + 1].max() for a, b in zip(first, last, strict=True)])
    base_gene = [
        gene[a + int(np.argmax(best[a : b + 1]))] for a, b in zip(first, last, strict=True)
    ]
    rows = []
    start = 0
    for end in range(1, len(car) + 1):
        if end == len(car) or classes[end] != classes[start] or base_gene[end] != base_gene[start]:
            identity = float(base_best[start:end].max())
            rows.append(
                (start, end, classes[start], base_gene[start], identity if identity else np.nan)
            )
            start = end
    return pd.DataFrame(rows, columns=COLUMNS)
