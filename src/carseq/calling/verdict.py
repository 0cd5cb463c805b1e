"""The verdict of a sample: detected, not detected above a limit, or undetermined."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from carseq.calling.background import Evidence, ambient_rate
from carseq.calling.calls import MAX_AMBIENT_P
from carseq.calling.cells import Cells
from carseq.calling.model import Fit
from carseq.calling.negbin import Floats, log_pmf, upper_tail
from carseq.io.matrix import twice_by_chance
from carseq.schema.percent import plain_percent, two_digit_percent

#: A sample in which no more than this CAR T fraction could be excluded is undetermined, not negative.
UNDETERMINED_ABOVE = 0.5
#: If this share of CAR molecules or more cannot be seen with the given construct (an ORF alone, a part), a sample
#: without a positive cell is undetermined, not negative.
MAX_UNSEEN = 0.5
#: Probability with which a sample at its detection limit shows a positive call.
CONFIDENCE = 0.95
#: The limit is sought among these CAR T fractions.
LIMITS = np.exp(np.linspace(np.log(1e-5), 0.0, 93))
#: A sample at its limit holds a handful of CAR T cells, so that its own estimate of the fraction, the calls' prior, is
#: often well below the truth. Calls are predicted at this part of the fraction. (At 0.5, 87 % of simulated samples at
#: their limit were detected, at 0.25 all of 120.)
PRIOR_PART = 0.25
#: The same where ambient RNA is assumed: then the false molecules predicted rise with the fraction, which is caution
#: enough. (At 1, 118 of 120 simulated samples without empty droplets were detected at their limit; at 0.25 the limit
#: was 3.4 times that of one who knows the ambient RNA, in the median, at 1 it is 1.3 times.)
PRIOR_PART_ASSUMED = 1.0
#: Counts tried: one by one, then ever further apart.
COUNTS = np.array([1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 19, 24, 30, 40, 55, 80, 120, 200, 400.0])
#: How far beyond its own depth a cell is compared with deeper ones.
DEEPER = 4.0
#: So many T cells without a CAR molecule are expected, and none is there: by chance in fewer than 1 of 100 samples.
LEAST_MISSED = 5.0
#: So many T cells with two CAR molecules are expected, and none is there: by chance in fewer than 1 of 1,000 samples.
LEAST_TWICE = 7.0
#: Expected false calls below this are not written out.
LEAST_SHOWN = 0.001
#: A negative control's calls may all be false if that has this probability or more.
ALL_FALSE = 0.01
_DEPTH_STEP, _RATE_STEP = 0.15, 0.5
#: How many of ``LIMITS`` are passed over at first.
_LIMIT_STEP = 3


def molecules_needed(
    cells: Cells, points: Floats, prior: Floats, cutoff: float, most: float = COUNTS[-1]
) -> Floats:
    """Return the fewest CAR molecules with which each cell would be called positive; infinite if ``most`` do not do.

    Parameters
    ----------
    cells
        T cells; their counts are not looked at.
    points
        Plausible pairs of mu and shape, with weights that sum to 1: n x 3.
    prior
        Chance of a CAR T cell, one number a cell.
    cutoff
        The least probability of being no CAR T cell that is still called.
    most
        The most molecules that are of interest.
    """
    counts = COUNTS[: int((most > COUNTS).sum()) + 1]
    table = cells.car_table(counts, points)
    at = _first_called(table, *_null_tables(cells, counts), prior, cutoff)
    return np.where(at < len(counts), counts[np.minimum(at, len(counts) - 1)], np.inf)


def _null_tables(cells: Cells, counts: Floats = COUNTS) -> tuple[Floats, Floats]:
    """Return the probability of each count, and of at least that count, from false molecules: cells x counts."""
    null, shape = cells.null[:, None], cells.null_shape[:, None]
    return np.exp(log_pmf(counts, null, shape)), upper_tail(counts, null, shape)


def _first_called(
    own: Floats, rest: Floats, tail: Floats, prior: Floats, cutoff: float
) -> npt.NDArray[np.intp]:
    """Return the position of the fewest molecules that are called; beyond its end if none are."""
    with_car, without = prior[:, None] * own, (1 - prior[:, None]) * rest
    enough = (without <= cutoff * (with_car + without)) & (tail <= MAX_AMBIENT_P)
    # More molecules than are called never fail to be: the last that fails decides.
    fails = ~enough
    last = fails.shape[1] - 1 - np.argmax(fails[:, ::-1], axis=1)
    return np.where(fails.any(axis=1), last + 1, 0)


class Sensitivity:
    """How likely a CAR T cell like those of a sample is called positive, at any CAR T fraction.

    Sensitivity depends on the fraction: where CAR T cells are rare, ambient RNA is the better explanation of one
    molecule, and a call takes more of them.

    Parameters
    ----------
    cells
        The sample's T cells; their counts are not looked at.
    points
        Plausible pairs of mu and shape, with weights: n x 3.
    evidence
        What the sample says of its false molecules; None keeps the false molecules as they are at every fraction.
    least_share
        The smallest share (0-1] of the molecules for which :meth:`downsampled` will be called.
    """

    def __init__(
        self,
        cells: Cells,
        points: Floats,
        evidence: Evidence | None = None,
        *,
        least_share: float = 1.0,
    ) -> None:
        self.mu, self.shape, self.weight = points.T
        self.evidence = evidence
        self._cells = cells
        self._log_own = np.log(np.maximum(cells.own, 1))
        log_rate = np.log(np.maximum(cells.null, 1e-12) / np.maximum(cells.own, 1))
        rate_bin = np.round(log_rate / _RATE_STEP)
        # Steps are the same ones for every sample and share: like cells get like limits.
        self._first = int(np.floor((self._log_own.min() + np.log(least_share)) / _DEPTH_STEP))
        last = int(np.ceil((self._log_own.max() + np.log(DEEPER)) / _DEPTH_STEP))
        depth = np.arange(self._first, last + 1) * _DEPTH_STEP
        rates, which = np.unique(rate_bin, return_inverse=True)
        self._which = which.ravel()
        mean_rate = np.bincount(which, log_rate) / np.bincount(which)
        shapes = np.bincount(which, cells.null_shape) / np.bincount(which)
        own = np.tile(np.exp(depth), len(rates))
        self._grid = Cells(
            k=np.zeros(len(own)),
            own=own,
            null=own * np.repeat(np.exp(mean_rate), len(depth)),
            null_shape=np.repeat(shapes, len(depth)),
            x=np.zeros((len(own), 0)),
            offset=np.zeros(len(own)),
            size=np.ones(len(own)),
        )
        self._shape = (len(rates), len(depth))
        self._silent = self._grid.car_table(np.zeros(1), points)[:, 0]
        self._place(1.0)
        self._counts = COUNTS
        self._base = ambient_rate(evidence)[0] if evidence is not None else 0.0
        self._null = _null_tables(self._grid)
        # Counts that false molecules reach hardly ever, even at a fraction of 1, are called whatever else holds.
        reached = self._false(1.0)[1].max(axis=0) > 1e-9
        self._counts = COUNTS[: min(int(reached.sum()) + 1, len(COUNTS))]
        self._null = _null_tables(self._grid, self._counts)
        self._own = self._grid.car_table(self._counts, points)
        self._tails: dict[int, Floats] = {}

    def _place(self, share: float) -> None:
        """Find the cells' places in the grid, with this share of their molecules."""
        step = (self._log_own + np.log(share)) / _DEPTH_STEP - self._first
        # A cell between two steps counts for both, the nearer one more.
        at = np.clip(np.floor(step).astype(int), 0, self._shape[1] - 2)
        above = np.clip(step - at, 0, 1)
        row = self._which * self._shape[1]
        keys, inverse = np.unique(np.append(row + at, row + at + 1), return_inverse=True)
        size = np.append(self._cells.size * (1 - above), self._cells.size * above)
        self._cell, self._size = keys, np.bincount(inverse, size)
        self._t_molecules = share * float(self._cells.own @ self._cells.size)
        self._shown = 1 - float(self._size @ self._silent[keys] / self._size.sum())

    def downsampled(self, share: float) -> Sensitivity:
        """Return the same for cells that kept a share of their molecules, ``least_share`` or more."""
        fewer = copy(self)
        fewer._place(share)
        return fewer

    def _tail(self, at: npt.NDArray[np.intp]) -> Floats:
        """Return the chance that a CAR T cell shows the count at a position or more: grid cells x points."""
        result = np.zeros((len(at), len(self.mu)))
        for number in np.unique(at):
            if number < len(self._counts):
                if number not in self._tails:
                    k = int(self._counts[number])
                    self._tails[number] = self._grid.car_tail(k, self.mu, self.shape)
                rows = at == number
                result[rows] = self._tails[number][rows]
        return result

    def _false(self, fraction: float) -> tuple[Floats, Floats]:
        """Return the false molecules' tables in a sample of this CAR T fraction.

        Without empty droplets ambient RNA is estimated from the cells, CAR T cells among them.
        """
        if self.evidence is None or self.evidence.has_empty:
            return self._null
        mu = float(np.exp(self.weight @ np.log(self.mu)))
        there = self.evidence.at_fraction(fraction, mu * self._t_molecules, self._shown)
        factor = max(ambient_rate(there)[0] / max(self._base, 1e-300), 1.0)
        counts = self._counts
        return _null_tables(replace(self._grid, null=self._grid.null * factor), counts)

    def _called(self, prior: float, fraction: float, cutoff: float) -> Floats:
        """Return the probability of a call: grid cells x points."""
        rest, tail = self._false(fraction)
        at = _first_called(self._own, rest, tail, np.full(len(rest), prior), cutoff)
        return self._tail(at)

    def mean(self, fraction: float, cutoff: float) -> float:
        """Return the mean probability that a CAR T cell of the sample is called."""
        called = self._called(fraction, fraction, cutoff)[self._cell] @ self.weight
        return float(self._size @ called / self._size.sum())

    def no_call(self, fraction: float, cutoff: float) -> float:
        """Return the probability that a sample of this CAR T fraction shows no positive call.

        A deeper cell is never taken to be less sensitive: a call may ask one molecule more of it, but a limit that
        rises as cells get deeper would not be a limit. So each cell gets the least sensitivity at its own depth or any
        greater one.
        """
        assumed = self.evidence is not None and not self.evidence.has_empty
        part = PRIOR_PART_ASSUMED if assumed else PRIOR_PART
        called = self._called(min(fraction * part, 1 - 1e-9), fraction, cutoff)
        by_depth = called.reshape(*self._shape, -1)
        by_depth = np.minimum.accumulate(by_depth[:, ::-1], axis=1)[:, ::-1]
        least = by_depth.reshape(len(called), -1)[self._cell]
        shown = np.minimum(fraction * least, 1 - 1e-12)
        return float(np.exp(self._size @ np.log1p(-shown)) @ self.weight)

    def limit(self, cutoff: float) -> float:
        """Return the smallest CAR T fraction that shows a positive call with 95 % probability; 1 if none does.

        Parameters
        ----------
        cutoff
            The least probability of being no CAR T cell that is still called.
        """
        # With fewer CAR T cells there is none in one of twenty samples.
        least = 1 - (1 - CONFIDENCE) ** (1 / max(float(self._size.sum()), 1.0))
        low = max(int(np.searchsorted(LIMITS, least)) - 1, 0)
        high, last = low, len(LIMITS) - 1
        # The first such fraction: where other cells show the CAR, a T cell's molecules may be taken for false ones
        # once many T cells show some. A sample that shows none is excluded there all the more.
        while self.no_call(LIMITS[high], cutoff) > 1 - CONFIDENCE:
            if high == last:
                return 1.0
            low, high = high, min(high + _LIMIT_STEP, last)
        while high - low > 1:
            middle = (low + high) // 2
            if self.no_call(LIMITS[middle], cutoff) > 1 - CONFIDENCE:
                low = middle
            else:
                high = middle
        # Between two neighbours: on a line of the logs.
        ends = [np.log(max(self.no_call(LIMITS[i], cutoff), 1e-12)) for i in (low, high)]
        share = (ends[0] - np.log(1 - CONFIDENCE)) / max(ends[0] - ends[1], 1e-12)
        share = float(np.clip(share, 0, 1))
        return float(LIMITS[low] * (LIMITS[high] / LIMITS[low]) ** share)


def sensitivity_of(
    cells: Cells,
    fitted: Fit,
    sample: str,
    evidence: Evidence,
    *,
    silent: bool,
    least_share: float = 1.0,
) -> Sensitivity:
    """Return the sensitivity of a sample: by its own fit or, if it is silent (no positive call), by the other samples'.

    A sample without calls fits a low CAR expression; this must not then explain why it has no calls.

    Parameters
    ----------
    cells
        Its T cells.
    fitted, sample
        The model, and the sample's name in it.
    evidence
        What the sample says of its false molecules.
    silent
        Whether it has no positive call.
    least_share
        See :class:`Sensitivity`.
    """
    if silent:
        return Sensitivity(cells, fitted.elsewhere[sample], evidence, least_share=least_share)
    return Sensitivity(cells, fitted.draws[sample].points(), least_share=least_share)


def silent_bound(limit: float, high: float, *, seen: bool) -> float:
    """Return the fraction above which a sample without a positive call excludes CAR T cells.

    Parameters
    ----------
    limit, high
        Detection limit, and upper end of the fraction's interval (0-1).
    seen
        Whether a T cell shows a CAR molecule, too few for a call. If none does, the detection limit is excluded;
        if some do, the interval may end above it, and less is excluded.
    """
    return max(limit, high) if seen else limit


def silent_left_out(k: npt.ArrayLike) -> float:
    """Return how many T cells without a CAR molecule were left out of a sample, at least; 0 where nothing says so.

    Of CAR T cells themselves some show no molecule (dropout). Where cells of one and of two molecules are many, and
    none shows none, cells were kept for their CAR molecules, and the CAR T fraction is not one of all T cells. How many
    are missing is a lower bound for any mixture of Poisson counts (Chao 1984, doi:10.2307/4615964).

    Parameters
    ----------
    k
        CAR molecules of the sample's T cells.

    Examples
    --------
    >>> round(silent_left_out([1] * 20 + [2] * 10 + [5] * 8)), silent_left_out([0] + [1] * 20 + [2] * 10)
    (17, 0.0)
    """
    counts = np.asarray(k, dtype=float)
    one, two = int((counts == 1).sum()), int((counts == 2).sum())
    expected = one * (one - 1) / (2 * (two + 1))
    return expected if counts.size and counts.min() > 0 and expected >= LEAST_MISSED else 0.0


def never_twice(k: npt.ArrayLike, total: npt.ArrayLike) -> float:
    """Return how many T cells would show two CAR molecules or more, at least, where none does; 0 if none need to.

    Of independent molecules, some cells show two by chance. Where none does, the numbers say whether the CAR was seen,
    not how often: cells seem to express it little, and most CAR T cells to be missed.

    Parameters
    ----------
    k, total
        CAR molecules, and molecules of all genes, of the sample's T cells.

    Examples
    --------
    >>> import numpy as np
    >>> seen, depth = np.repeat([1, 0], [180, 420]), np.full(600, 2500)
    >>> round(never_twice(seen, depth)), never_twice(2 * seen, depth), never_twice(seen[170:], depth[170:])
    (22, 0.0, 0.0)
    """
    # Deep cells may hold no CAR, and shallow ones all of it: as many in each cell is the least.
    expected = min(twice_by_chance(k, total), twice_by_chance(k, np.ones(np.shape(total))))
    return expected if expected >= LEAST_TWICE else 0.0


def all_may_be_false(n_positive: int, false_calls: float) -> bool:
    """Return whether all positive calls of a sample may be false ones (with a probability above ``ALL_FALSE``).

    Parameters
    ----------
    n_positive, false_calls
        Positive calls, and how many of them are expected to be false.

    Examples
    --------
    >>> all_may_be_false(1, 0.04), all_may_be_false(9, 0.4)
    (True, False)
    """
    return bool(n_positive) and (false_calls / n_positive) ** n_positive > ALL_FALSE


def what_was_assumed(evidence: Evidence, empty_molecules: float) -> str:
    """Return what of a sample's ambient RNA was assumed, and why; nothing where it was measured.

    Parameters
    ----------
    evidence
        What the sample says of its false molecules.
    empty_molecules
        Molecules in its empty droplets.
    """
    if not evidence.assumed:
        return ""
    if evidence.has_empty:
        return (
            "how much of each cell is ambient RNA was assumed, since the cells come without a `contamination` "
            "(its CAR molecules are those of the empty droplets)"
        )
    if empty_molecules > 0:
        few = f"the empty droplets hold {empty_molecules:,.0f} molecules"
        return f"ambient RNA was assumed, since {few}, too few to tell"
    return "ambient RNA was assumed, since the matrix holds no empty droplets"


def decide(
    n_positive: int,
    n_t: int,
    unseen: float,
    limit: float,
    false_calls: float,
    *,
    assumed: str = "",
    role: str = "",
    median_genes: float = float("nan"),
    left_out: float = 0.0,
    once: float = 0.0,
    swapped: str = "",
) -> tuple[str, str]:
    """Return the verdict of a sample and its sentence.

    Parameters
    ----------
    n_positive, n_t
        Positive calls, and T cells.
    unseen
        Share (0-1) of CAR molecules that the construct cannot show.
    limit
        What is excluded (0-1): the detection limit, or the interval's end where that is above it; NaN if there is none.
    false_calls
        Expected false calls among the positive ones.
    assumed
        What of the ambient RNA was assumed, and why, as :func:`what_was_assumed` says it.
    role
        Of the sample; of a negative control with CAR T cells the sentence says so.
    median_genes
        Genes in the median cell of a library that failed; NaN if it did not.
    left_out
        From :func:`silent_left_out`.
    once
        From :func:`never_twice`.
    swapped
        What is to be said of T cells that were swapped, from :func:`carseq.calling.phantoms.what_was_swapped`.
    """
    tail = "".join(f"; {words}" for words in (swapped, assumed) if words)
    if once:
        tail = (
            f"; no T cell shows more than one CAR molecule, where {once:.0f} or more would by chance: the matrix says "
            f"whether the CAR was seen, not how often, and the fraction comes out far too high{tail}"
        )
    if n_positive:
        few = f"{false_calls:.2g}" if false_calls >= LEAST_SHOWN else f"fewer than {LEAST_SHOWN:g}"
        text = f"{n_positive} of {n_t} T cell{'s' if n_t != 1 else ''} called positive, {few} "
        text += f"of {'them' if n_positive > 1 else 'it'} expected to be false"
        if role == "negative_control":
            text += "; this is a negative control: it holds CAR T cells, or tubes were exchanged"
            if all_may_be_false(n_positive, false_calls):
                text += f", or {'the call is a false one' if n_positive == 1 else 'all calls are false ones'}"
        if left_out:
            text += (
                f"; cells without a CAR molecule were left out of the matrix ({left_out:.0f} or more CAR T cells alone "
                "would show none, by chance): the fraction is not that of all T cells"
            )
        return "detected", text + tail
    if np.isfinite(median_genes):
        return "undetermined", f"library failed: median of {median_genes:.0f} genes in a cell"
    if n_t == 0:
        return "undetermined", "no T cells in this sample"
    if unseen >= MAX_UNSEEN:
        text = f"no positive call among {n_t} T cell{'s' if n_t != 1 else ''}, but {plain_percent(unseen)} of the "
        text += "CAR's molecules could not be "
        return "undetermined", f"{text}seen with this construct: give the whole transcript"
    if not limit <= UNDETERMINED_ABOVE:
        text = f"no positive call, but only {n_t} T cell{'s' if n_t != 1 else ''}, of this depth: "
        text += (
            f"even a CAR T fraction of {plain_percent(UNDETERMINED_ABOVE)} could not be excluded"
        )
        return "undetermined", text + tail
    text = f"no positive call among {n_t} T cells; "
    text += (
        f"CAR T cells above {two_digit_percent(limit)} of T cells are excluded with 95 % confidence"
    )
    return "not_detected", text + tail
