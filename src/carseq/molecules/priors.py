"""How probable a molecule inside a shared domain is the CAR's before its bases are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy import special

from carseq.construct import Transcript
from carseq.log import get_logger
from carseq.molecules.score import Scorer

log = get_logger(__name__)

#: Distance of a read from the primed end of its transcript: insert sizes of 10x libraries are 350 +- 100 nt
#: (field measurement); molecules farther than FAR are internally primed or degraded.
INSERT, INSERT_SD, FAR = 350.0, 100.0, 700


@dataclass(frozen=True)
class Coverage:
    """Where reads fall on a transcript, by their distance from the end at which it was primed.

    Attributes
    ----------
    mean, sd
        Of the peak, nt.
    elsewhere
        Share of molecules spread evenly over the transcript: internally primed or degraded.
    from_start
        Whether distance counts from the 5' end (5' chemistry) or from the 3' end.
    """

    mean: float
    sd: float
    elsewhere: float
    from_start: bool

    def share(self, start: int, end: int, length: int, read_length: int) -> float:
        """Return the expected share of a transcript's molecules whose read lies within [start, end)."""
        n_places = end - start - read_length
        if n_places <= 0:
            return 0.0
        near, far = (
            (start + read_length, end)
            if self.from_start
            else (length - end + read_length, length - start)
        )
        near, beyond = special.ndtr((np.array([near, far]) - self.mean) / self.sd)
        return float((1 - self.elsewhere) * (beyond - near) + self.elsewhere * n_places / length)


def fit_coverage(distances: Sequence[int], from_start: bool, *, far_share: float = 1.0) -> Coverage:
    """Fit :class:`Coverage` to distances of reads from the primed end, nt.

    Parameters
    ----------
    distances
        Of molecules.
    from_start
        Whether distances count from the 5' end.
    far_share
        Share of the transcript's places that lie beyond ``FAR`` and whose molecules are among those given.
    """
    found = np.asarray(distances, dtype=float)
    peak = found[found <= FAR]
    # Two of twelve pseudo-molecules are off the peak: the share in published 3' data is 10-20 %.
    elsewhere = ((found > FAR).sum() + 2 * far_share) / (len(found) + 12) / max(far_share, 0.2)
    elsewhere = min(float(elsewhere), 0.5)
    if len(peak) < 50:
        return Coverage(INSERT, INSERT_SD, elsewhere, from_start)
    middle = float(np.median(peak))
    # The median absolute deviation, as a standard deviation of a normal distribution.
    spread = float(np.median(np.abs(peak - middle)) / special.ndtri(0.75))
    return Coverage(middle, min(max(spread, 30.0), 200.0), elsewhere, from_start)


def log_priors(
    table: pd.DataFrame,
    scorer: Scorer,
    neighbours: dict[str, dict[tuple[str, str], str]],
    from_start: bool,
) -> dict[str, float]:
    """Return the log prior odds of CAR against each rival for a molecule inside their shared stretch.

    The molecules of either that can be told apart lie outside the stretch. Where reads fall on a transcript, learnt
    from all of them, says how many lie inside for each outside. A molecule of the CAR counts from the nearest of its
    places on the full and the spliced transcript.
    """
    told_apart = table["evidence"].isin(["unique", "junction"])
    n_car = int(told_apart.sum())
    length = len(scorer.construct.sequence)
    spots = table.loc[told_apart, ["tx_start", "tx_end"]].itertuples(index=False)
    distances = [
        min(_distances(scorer.construct.transcripts, int(start), int(end), from_start))
        for start, end in spots
    ]
    spans = table["tx_end"] - table["tx_start"]
    read_length = int(spans[spans > 0].median()) if len(spans) else 90
    # Places of reads beyond the peak on every form of the CAR, those inside a shared stretch left out.
    places = range(0, length - read_length, 10)
    far = [
        min(_distances(scorer.construct.transcripts, p, p + read_length, from_start)) > FAR
        and not any(s.start <= p and p + read_length <= s.end for s in scorer.segments.values())
        for p in places
    ]
    coverage = fit_coverage(distances, from_start, far_share=float(np.mean(far)) if far else 1.0)
    priors = {}
    for gene, segment in scorer.segments.items():
        straddling = (
            (table["evidence"] == "endogenous") & (table["endogenous_gene"] == gene)
        ).sum()
        n_gene = len(neighbours.get(gene, {})) + int(straddling)
        inside_car = coverage.share(segment.start, segment.end, length, read_length)
        reads = [r for r in neighbours.get(gene, {}).values() if r]
        far_share = 1 - min(FAR / max(1, len(segment.rival)), 1.0)
        own = fit_coverage(
            scorer.distances(gene, reads, from_start), from_start, far_share=far_share
        )
        # The peak is the library's, better seen on the CAR where it has the more molecules.
        peak = coverage if len(distances) >= len(reads) else own
        own = replace(own, mean=peak.mean, sd=peak.sd)
        inside_gene = own.share(segment.there, segment.there_end, len(segment.rival), read_length)
        priors[gene] = math.log((n_car + 0.5) * _odds(inside_car)) - math.log(
            (n_gene + 0.5) * _odds(inside_gene)
        )
        log.info(
            "%s: %d molecules beside %d of the CAR; prior log-odds of the CAR inside %.2f",
            gene,
            n_gene,
            n_car,
            priors[gene],
        )
    return priors


def _odds(share: float) -> float:
    """Return how many molecules lie inside for each outside."""
    share = min(max(share, 1e-6), 0.99)
    return share / (1 - share)


def _distances(
    transcripts: Sequence[Transcript], start: int, end: int, from_start: bool
) -> list[int]:
    """Return how far a molecule at [start, end) of the full transcript reaches from the primed end of each form."""
    found = []
    for transcript in transcripts:
        before = 0
        for first, last in transcript.blocks:
            place = end if from_start else start
            if first <= place - from_start < last:
                on_form = before + place - first
                found.append(on_form if from_start else len(transcript.sequence) - on_form)
            before += last - first
    return found
