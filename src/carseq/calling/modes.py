"""A sample's fit at pairs of mu and shape: the likeliest intercept and terms, and how likely the pair is.

Newton's method finds the terms, the curvature there gives their spread (Laplace). The whole model is told in
:mod:`carseq.calling.model`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import interpolate, special

from carseq.calling.cells import Cells
from carseq.calling.negbin import Floats
from carseq.calling.priors import (
    MU,
    MU_OF,
    PRIOR_ALL,
    SHAPE,
    SHAPE_OF,
    Terms,
    log_prior_intercept,
)

#: Those fitted first; the evidence of the others is interpolated from their neighbours' until they are fitted.
_FIRST_SHAPES, _BETWEEN = np.array([0, 2, 4, 6, 7, 8, 9, 10]), np.array([1, 3, 5])
#: Pairs of mu and shape whose evidence is below the best one's by more (natural log) are not fitted.
NEGLIGIBLE = 9.0
#: The same where the false molecules are open, which is a third number.
NEGLIGIBLE_AT_LEVELS = 6.0
#: Cells with a CAR molecule below which every second mu does, then.
FEW_SHOWN = 300
#: A sample's evidence on mu and shape counts as that of at most this many cells with a CAR molecule. Expression
#: follows no formula, and mu lies on a grid: 20,000 T cells of which 30 % were CAR T cells came out as 34.5 %
#: (33.6-35.4 %), since the likeliest of the pairs that are tried first was a thousand times likelier than those next
#: to it.
MOST_SHOWN = 500.0
#: Numbers of a sample's fit that are kept for the next one.
KEPT_ODDS = 300_000
#: Curvature of the log joint density below which a Newton step would be too long, and a Laplace approximation too wide.
LEAST_CURVATURE = 0.15


@dataclass(frozen=True)
class Level:
    """How many times the false molecules that are expected a sample's T cells may hold.

    It is one number for all cells of the sample, which are uncertain of it together: were it a scatter of each cell,
    many cells would seem to tell it away.

    Attributes
    ----------
    times
        Numbers that stand for it.
    log_weight
        Log prior of each, by all but the sample's own T cells.
    shape
        Shape of the gamma distribution of a cell's false molecules around it.
    """

    times: Floats
    log_weight: Floats
    shape: float

    def cells(self, groups: Cells, number: int) -> Cells:
        """Return the cells with their false molecules at one of the numbers."""
        return groups.at_level(float(self.times[number]), self.shape)

    def log_odds(
        self, groups: Cells, pairs: npt.NDArray[np.intp], level: npt.NDArray[np.intp]
    ) -> tuple[Floats, Floats]:
        """Return the counts' log odds of a CAR T cell, cells x pairs, and all cells' log likelihood if there is none.

        Parameters
        ----------
        groups
            T cells of the sample.
        pairs, level
            Positions in ``MU_OF`` and in ``times``.
        """
        odds, none = np.empty((len(groups), len(pairs))), np.empty(len(pairs))
        for number in np.unique(level):
            rows = level == number
            here = self.cells(groups, number)
            odds[:, rows], null = here.log_odds_and_null(MU_OF[pairs[rows]], SHAPE_OF[pairs[rows]])
            none[rows] = groups.size @ null + self.log_weight[number]
        return odds, none


@dataclass(frozen=True)
class Odds:
    """What a sample's counts say at some pairs of mu and shape, whatever the terms.

    Attributes
    ----------
    ratio
        How much likelier each cell's count is in a CAR T cell: cells x pairs.
    of_all, none
        Log likelihood of all counts, if all T cells are CAR T cells, and if none is: one number a pair.
    """

    ratio: Floats
    of_all: Floats
    none: Floats

    @classmethod
    def of(
        cls,
        groups: Cells,
        pairs: npt.NDArray[np.intp],
        of: Level | None = None,
        level: npt.NDArray[np.intp] | None = None,
    ) -> Odds:
        """Return it; where the level of false molecules is known, relative to no CAR T cell."""
        if of is None or level is None:
            odds, none = groups.log_odds(MU_OF[pairs], SHAPE_OF[pairs]), np.zeros(len(pairs))
        else:
            odds, none = of.log_odds(groups, pairs, level)
        of_all = groups.size @ odds + none
        return cls(np.exp(odds, out=odds), of_all, none)

    def take(self, rows: npt.NDArray[np.intp]) -> Odds:
        """Return it at some of the pairs."""
        return Odds(self.ratio[:, rows], self.of_all[rows], self.none[rows])

    def small(self) -> Odds | None:
        """Return itself where it is small enough to be kept for the next fit."""
        return self if self.ratio.size <= KEPT_ODDS else None


@dataclass(frozen=True)
class Mode:
    """The fitted intercept and terms at some pairs of mu and shape.

    Attributes
    ----------
    pairs
        Positions in ``MU_OF``.
    level
        Positions in the level's ``times``: a pair stands once for each.
    at
        Intercept and terms: pairs x (1 + terms).
    curvature
        Negative second derivative there.
    evidence
        Log of the Laplace approximation of the integral over them, held to what ``MOST_SHOWN`` cells would say of the
        pairs.
    of_all
        Log likelihood, on the same scale, if all T cells are CAR T cells.
    held
        What was added to the log evidence of each pair to hold it.
    odds
        What it was fitted to, if it was kept.
    """

    pairs: npt.NDArray[np.intp]
    level: npt.NDArray[np.intp]
    at: Floats
    curvature: Floats
    evidence: Floats
    of_all: Floats
    held: Floats
    odds: Odds | None

    def whole(self) -> Floats:
        """Return the log evidence of each pair: some T cells or all of them are CAR T cells."""
        return np.logaddexp(np.log1p(-PRIOR_ALL) + self.evidence, np.log(PRIOR_ALL) + self.of_all)


def with_ones(groups: Cells) -> Floats:
    """Return the terms of the design with one for the intercept before them: cells x (1 + terms)."""
    return np.column_stack([np.ones(len(groups)), groups.x])


def _inverse_odds(groups: Cells, x: Floats, theta: Floats) -> Floats:
    """Return how much likelier each cell is no CAR T cell than one, before its counts: cells x rows."""
    found = x @ -theta.T
    found -= groups.offset[:, None]
    return np.exp(np.clip(found, -600.0, 600.0, out=found), out=found)


def log_joint(groups: Cells, x: Floats, ratio: Floats, theta: Floats, prior: Terms) -> Floats:
    """Return log likelihood (relative to no CAR T cell) plus log prior of intercept and terms, one number a row.

    ``x`` is :func:`with_ones`; ``ratio`` is how much likelier the counts are in a CAR T cell: cells x rows.
    """
    # log(1 - p + p ratio), where the chance p of a CAR T cell is 1 / (1 + other).
    other = _inverse_odds(groups, x, theta)
    likelier = ratio + other
    other += 1
    likelier /= other
    likelihood = groups.size @ np.log(likelier, out=likelier)
    z = (theta[:, 1:] - prior.mean) / prior.sd
    return np.asarray(likelihood + log_prior_intercept(theta[:, 0]) - 0.5 * (z**2).sum(axis=1))


def _curvature(
    groups: Cells, x: Floats, ratio: Floats, theta: Floats, prior: Terms
) -> tuple[Floats, Floats]:
    """Return gradient and negative second derivative of :func:`log_joint`, made positive definite."""
    d = x.shape[1]
    # Chances of a CAR T cell, before its counts and after.
    other = _inverse_odds(groups, x, theta)
    p, r = 1 / (1 + other), ratio / (ratio + other)
    size = groups.size[:, None]
    gradient = (size * (r - p)).T @ x
    a = special.expit(theta[:, 0])
    gradient[:, 0] += 0.5 * (1 - a) - a
    gradient[:, 1:] -= (theta[:, 1:] - prior.mean) / prior.sd**2
    p *= 1 - p
    r *= 1 - r
    p -= r
    p *= size
    one, two = np.triu_indices(d)
    second = np.empty((len(theta), d, d))
    second[:, one, two] = second[:, two, one] = p.T @ (x[:, one] * x[:, two])
    second[:, 0, 0] += 1.5 * a * (1 - a)
    second[:, np.arange(1, d), np.arange(1, d)] += 1 / prior.sd**2
    return gradient, _raised(second)


def _raised(second: Floats) -> Floats:
    """Return symmetric matrices with eigenvalues of at least ``LEAST_CURVATURE``."""
    try:
        # It exists where all are, which is nearly always, and takes a tenth of the time of their eigenvalues.
        np.linalg.cholesky(second - LEAST_CURVATURE * np.eye(second.shape[-1]))
    except np.linalg.LinAlgError:
        value, vector = np.linalg.eigh(second)
        value = np.maximum(value, LEAST_CURVATURE)
        return np.asarray(np.einsum("qij,qj,qkj->qik", vector, value, vector, optimize=True))
    return second


def fit_at(
    groups: Cells,
    pairs: npt.NDArray[np.intp],
    prior: Terms,
    start: Floats | None = None,
    *,
    of: Level | None = None,
    level: npt.NDArray[np.intp] | None = None,
    odds: Odds | None = None,
) -> Mode:
    """Fit intercept and terms at pairs of mu and shape, by Newton's method with step halving.

    Parameters
    ----------
    groups
        T cells of a sample.
    pairs
        Positions in ``MU_OF``.
    prior
        Of the terms.
    start
        Where to begin: pairs x (1 + terms).
    of
        How many false molecules there are, where it is open; ``level`` has its number at each pair.
    level
        See ``of``.
    odds
        Of these pairs, if a fit before kept them.
    """
    level = np.zeros(len(pairs), dtype=np.intp) if level is None else level
    odds = odds or Odds.of(groups, pairs, of, level)
    ratio, x = odds.ratio, with_ones(groups)
    d = x.shape[1]
    if start is None:
        first = np.array([-9.0, -7, -5, -3.5, -2.5, -1.5, -0.5, 1, 3])
        trial = np.column_stack([first, np.tile(prior.mean, (len(first), 1))])
        rough = np.stack([log_joint(groups, x, ratio, row[None], prior) for row in trial])
        theta = trial[np.argmax(rough, axis=0)]
    else:
        theta = start.copy()
    value = log_joint(groups, x, ratio, theta, prior)
    active = np.arange(len(pairs))
    for _ in range(25):
        own = ratio if len(active) == len(pairs) else ratio[:, active]
        gradient, second = _curvature(groups, x, own, theta[active], prior)
        step = np.linalg.solve(second, gradient[..., None])[..., 0]
        # A Newton step far from the optimum may be huge: at most 3 log odds at once.
        step *= np.minimum(1, 3 / np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12))
        scale = np.ones(len(active))
        before = value[active]
        for _ in range(6):
            moved = theta[active] + scale[:, None] * step
            after = log_joint(groups, x, own, moved, prior)
            worse = after < before - 1e-9
            if not worse.any():
                break
            scale[worse] *= 0.35
        good = after >= before - 1e-9
        theta[active[good]], value[active[good]] = moved[good], after[good]
        active = active[good & (after - before > 2e-3)]
        if not len(active):
            break
    _, second = _curvature(groups, x, ratio, theta, prior)
    log_det = np.linalg.slogdet(second)[1]
    evidence = (
        value - 0.5 * log_det + 0.5 * d * np.log(2 * np.pi) + prior.log_constant() + odds.none
    )
    shown = float(groups.size @ (groups.k > 0))
    held = (min(1.0, MOST_SHOWN / max(shown, 1.0)) - 1) * (evidence - evidence.max())
    return Mode(
        pairs, level, theta, second, evidence + held, odds.of_all + held, held, odds.small()
    )


def _smooth(at: npt.NDArray[np.intp], values: Floats) -> interpolate.CubicSpline:
    """Return a smooth curve through values (first axis)."""
    return interpolate.CubicSpline(at, values)


def fit_sample(groups: Cells, prior: Terms, of: Level | None = None) -> Mode:
    """Fit one sample at all pairs of mu and shape that its cells leave plausible, at each level of false molecules."""
    table = np.arange(len(MU_OF)).reshape(len(MU), len(SHAPE))
    few = table[::4][:, _FIRST_SHAPES].ravel()
    gamma = _FIRST_SHAPES[: _BETWEEN.max() // 2 + 2]
    n_levels = 1 if of is None else len(of.times)
    levels = np.repeat(np.arange(n_levels), len(few))
    coarse = fit_at(groups, np.tile(few, n_levels), prior, of=of, level=levels)
    rough = coarse.whole().reshape(n_levels, -1, len(_FIRST_SHAPES))
    # Evidence between the coarse pairs: on a smooth curve, since on a line a peak between two of them would be missed.
    # The fit to start from: the nearest.
    steps = np.minimum(np.arange(len(MU)) / 4, rough.shape[1] - 1)
    filled = np.empty((n_levels, *table.shape))
    for own, known in zip(filled, rough, strict=True):
        own[:, _FIRST_SHAPES] = _smooth(np.arange(len(known)), known)(steps)
        own[:, _BETWEEN] = _smooth(gamma, own[:, gamma].T)(_BETWEEN).T
    if n_levels > 1 and groups.size @ (groups.k > 0) < FEW_SHOWN:
        # Its mu is known less well than that by far.
        filled[:, 1::2] = -np.inf
    least = filled.max() - (NEGLIGIBLE if of is None else NEGLIGIBLE_AT_LEVELS)
    level, mu, shape = np.nonzero(filled >= least)
    near = np.minimum(np.round(mu / 4).astype(int), rough.shape[1] - 1)
    start = np.minimum(np.searchsorted(_FIRST_SHAPES, shape), len(_FIRST_SHAPES) - 1)
    first = coarse.at[(level * rough.shape[1] + near) * len(_FIRST_SHAPES) + start]
    return fit_at(groups, table[mu, shape], prior, first, of=of, level=level)


def evidence_grid(mode: Mode) -> Floats:
    """Return the evidence of every pair of the grid, mu x shape; pairs not fitted are improbable ones."""
    evidence = mode.whole()
    grid = np.full(len(MU_OF), -np.inf)
    np.logaddexp.at(grid, mode.pairs, evidence)
    grid = np.where(np.isfinite(grid), grid, evidence.max() - NEGLIGIBLE - 8)
    return grid.reshape(len(MU), len(SHAPE))
