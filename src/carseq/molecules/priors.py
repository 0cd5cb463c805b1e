"""How probable a molecule inside a shared domain is the CAR's before its bases are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

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
        far = (
            (start + read_length, end)
            if self.from_start
            else (length - end + read_length, length - start)
        )
        near, beyond = stats.norm.cdf(far, self.mean, self.sd)
        return float((1 - self.elsewhere) * (beyond - near) + self.elsewhere * n_places / length)


def fit_coverage(distances: Sequence[int], from_start: bool) -> Coverage:
    """Fit :class:`Coverage` to distances of reads from the primed end, nt."""
    found = np.asarray(distances, dtype=float)
    peak = found[found <= FAR]
    # Two of twelve pseudo-molecules are off the peak: the share in published 3' data is 10-20 %.
    elsewhere = ((found > FAR).sum() + 2) / (len(found) + 12)
    if len(peak) < 50:
        return Coverage(INSERT, INSERT_SD, elsewhere, from_start)
    middle = float(np.median(peak))
    spread = float(stats.median_abs_deviation(peak, scale="normal"))
    return Coverage(middle, min(max(spread, 30.0), 200.0), elsewhere, from_start)


def log_priors(
    table: pd.DataFrame,
    scorer: Scorer,
    neighbours: dict[str, dict[tuple[str, str], str]],
    from_start: bool,
) -> dict[str, float]:
    """Return the log prior odds of CAR against each rival for a molecule inside their shared stretch.

    The molecules of either that can be told apart are counted; where reads fall on a transcript, learnt from
    the relatives', says what share of each is expected inside the stretch.
    """
    told_apart = table["evidence"].isin(["unique", "junction"])
    n_car = int(told_apart.sum())
    length = len(scorer.construct.sequence)
    ends = (
        table.loc[told_apart, "tx_end"]
        if from_start
        else length - table.loc[told_apart, "tx_start"]
    )
    distances = [int(d) for d in ends]
    for gene, reads in neighbours.items():
        distances += scorer.distances(gene, [r for r in reads.values() if r], from_start)
    coverage = fit_coverage(distances, from_start)
    spans = table["tx_end"] - table["tx_start"]
    read_length = int(spans[spans > 0].median()) if len(spans) else 90
    priors = {}
    for gene, segment in scorer.segments.items():
        straddling = (
            (table["evidence"] == "endogenous") & (table["endogenous_gene"] == gene)
        ).sum()
        n_gene = len(neighbours.get(gene, {})) + int(straddling)
        inside_car = coverage.share(segment.start, segment.end, length, read_length)
        inside_gene = coverage.share(
            segment.there, segment.there_end, len(segment.rival), read_length
        )
        priors[gene] = math.log((n_car + 0.5) * (inside_car + 1e-6)) - math.log(
            (n_gene + 0.5) * (inside_gene + 1e-6)
        )
        log.info(
            "%s: %d molecules beside %d of the CAR; prior log-odds of the CAR inside %.2f",
            gene,
            n_gene,
            n_car,
            priors[gene],
        )
    return priors
