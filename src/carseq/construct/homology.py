"""Which bases of the CAR a read can tell from the genome's own transcripts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import edlib
import numpy as np

from carseq.errors import CarseqError
from carseq.log import get_logger

if TYPE_CHECKING:
    import pandas as pd

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
    """An exon of a homolog of the CAR, on the genome, 0-based half-open."""

    contig: str
    start: int
    end: int
    gene: str


def rivals(car: str, transcripts: Iterable[EndogenousTranscript]) -> list[EndogenousTranscript]:
    """Return the transcripts that hold a stretch similar to the CAR, sense strand, gene by gene.

    Each transcript is aligned to a minimap2 index of the CAR alone (every 11-mer), so memory does not grow
    with the genome.

    Parameters
    ----------
    car
        The CAR's full-length transcript.
    transcripts
        Spliced transcripts of the genome.

    Returns
    -------
    list of EndogenousTranscript
        Those that resemble the CAR, in their order.

    Raises
    ------
    CarseqError
        If the CAR's transcript is too short to be indexed.
    """
    import mappy

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

    A window of ``read_length`` bases is compared with every homologous transcript (edlib, infix, edits counted).
    A base is ``shared`` if every window over it matches some endogenous transcript at ``min_identity`` or
    better, ``car_only`` if none does, else ``junction``.

    Parameters
    ----------
    car
        The CAR's full-length transcript.
    transcripts
        Homologous transcripts, as :func:`rivals` gives them.
    read_length
        Length of the cDNA read.
    min_identity
        Identity (1 - edits / read length) from which a window counts as endogenous.

    Returns
    -------
    pandas.DataFrame
        Runs of bases: ``start``, ``end`` (0-based half-open), ``class``, ``gene`` (best homolog of the run's
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
    import pandas as pd

    return pd.DataFrame(rows, columns=COLUMNS)


def identical_windows(
    car: str, transcripts: Iterable[EndogenousTranscript], *, read_length: int = 91
) -> tuple[int, int]:
    """Count the read-long windows of the CAR that are identical in an endogenous transcript.

    Parameters
    ----------
    car
        The CAR's sequence: a transcript, or an ORF.
    transcripts
        Endogenous transcripts, sense strand.
    read_length
        Length of a window, nt. 91 is the R2 of the published comparison of CARs (91-nt reads).

    Returns
    -------
    identical, all : int
        Identical windows, and all windows.
    """
    length = min(read_length, len(car))
    places: dict[str, list[int]] = {}
    for start in range(len(car) - length + 1):
        places.setdefault(car[start : start + length], []).append(start)
    n_windows = sum(map(len, places.values()))
    identical: set[str] = set()
    for transcript in transcripts:
        sequence = transcript.sequence
        identical.update(window for window in places if window in sequence)
    return sum(len(places[window]) for window in identical), n_windows


def homology_bed(table: pd.DataFrame, name: str) -> str:
    """Return the homology as a BED track for a genome browser, on the CAR's contig.

    Regions shared with a gene are named after it; the score is the identity in thousandths (0 for the CAR alone).
    Shared regions are drawn orange, junctions green, the CAR's own blue.

    Parameters
    ----------
    table
        Table of :func:`homology`.
    name
        The CAR's contig.
    """
    colours = {"car_only": "0,114,178", "junction": "0,158,115", "shared": "230,159,0"}
    lines = [f'track name="{name} homology" itemRgb="On" useScore="0"']
    for row in table.itertuples():
        kind = str(row[3])
        identity = float(row.identity) if row.identity == row.identity else 0.0
        label = f"{kind}:{row.gene}" if kind != "car_only" else kind
        score, start, end = round(1000 * identity), int(row.start), int(row.end)
        lines.append(
            f"{name}\t{start}\t{end}\t{label}\t{score}\t+\t{start}\t{end}\t{colours[kind]}"
        )
    return "\n".join(lines) + "\n"
