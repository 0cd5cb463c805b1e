"""Where the reads of a library fall on a transcript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from carseq.construct import Transcript
from carseq.construct.coverage import INSERT, INSERT_SD

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Molecules farther than this from the primed end are internally primed or degraded, nt.
FAR = 700
#: Molecules near the peak from which it is fitted rather than taken from the constants above.
_MIN_PEAK = 50


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

    def density(self, starts: Ints, length: int, read_length: int) -> Floats:
        """Return the share of a transcript's molecules whose read starts at each of some places.

        Parameters
        ----------
        starts
            First bases of reads on the transcript.
        length
            Of the transcript, nt.
        read_length
            Of the reads, nt.
        """
        reach = starts + read_length if self.from_start else length - starts
        peak = np.exp(-0.5 * ((reach - self.mean) / self.sd) ** 2) / self.sd / np.sqrt(2 * np.pi)
        even = 1 / max(length - read_length + 1, 1)
        return np.asarray((1 - self.elsewhere) * peak + self.elsewhere * even)


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
    if len(peak) < _MIN_PEAK:
        return Coverage(INSERT, INSERT_SD, elsewhere, from_start)
    middle = float(np.median(peak))
    # The median absolute deviation, as a standard deviation of a normal distribution.
    spread = float(np.median(np.abs(peak - middle)) / special.ndtri(0.75))
    return Coverage(middle, min(max(spread, 30.0), 200.0), elsewhere, from_start)


def on_form(transcript: Transcript, places: Ints) -> Ints:
    """Return places of the full transcript as places of one of its forms; those of an intron as its start."""
    found = np.zeros(len(places), dtype=np.int64)
    for first, last in transcript.blocks:
        found += np.clip(places - first, 0, last - first)
    return found


def reach(transcripts: Sequence[Transcript], starts: Ints, ends: Ints, from_start: bool) -> Ints:
    """Return how far reads reach from the primed end, nt: on the form of the transcript on which they reach least.

    Parameters
    ----------
    transcripts
        Forms of the CAR.
    starts, ends
        Of reads on the full transcript.
    from_start
        Whether the primed end is the 5' end.
    """
    by_form = []
    for transcript in transcripts:
        if from_start:
            by_form.append(on_form(transcript, ends))
        else:
            by_form.append(len(transcript.sequence) - on_form(transcript, starts))
    return np.asarray(np.min(by_form, axis=0), dtype=np.int64)
