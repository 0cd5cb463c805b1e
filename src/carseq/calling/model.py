"""The model of CAR T cells, fitted: what a sample's T cells say of its CAR T cells.

A T cell i of sample s is a CAR T cell with the chance ``p``::

    logit p = a_s + b_s . x_i + clone_i

where x are log depth (its slope may change at three depths), damage and cell type. Then its CAR molecules are
``own + false``, else ``false``; ``own`` is negative binomial with mean ``mu_s x depth x part of the RNA kept`` (and
times the share of the CAR that the construct shows) and shape ``r``; ``false`` comes from
:mod:`carseq.calling.background`.

Why depth and type are in it: a CAR T cell is often activated and so deeper than its neighbours. With one fraction for
all, the shallow cells, which show nothing either way, would be filled up with the fraction of the deep ones.

How it is fitted. ``mu`` and ``r`` lie on a grid; for each pair of them the terms ``a, b`` are fitted (Newton) and their
spread taken from the curvature (Laplace). ``r`` is shared by the cohort, ``mu_s`` scatters around the cohort's by
``SAMPLE_SD``, ``b_s`` around the cohort's by ``SCATTER``; each sample learns both from the others. How far ``b`` may
lie from 0 at all is learnt from the cohort, too (``NARROW``). At last ``N_DRAWS`` draws of all parameters are made for
each sample by importance sampling, so that the draws follow the exact posterior and not its Gaussian picture. Every
estimate and every interval is read from these draws.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import interpolate, special

from carseq.calling.apart import N_APART, distances
from carseq.calling.cells import Cells, Design, column
from carseq.calling.negbin import Floats, log_normal

#: Prior of mu: 5 CAR molecules per 10,000 in CAR T cells (median of positive cells in 34 CARPALL 5' libraries);
#: by library 28-93 % of their CAR T cells show one, which is a log-sd of 0.7; other constructs differ somewhat more.
PRIOR_MU, PRIOR_MU_SD = 5e-4, 0.8
#: How expression varies between CAR T cells. Gamma: shapes and their prior, about as much as the mean. Lognormal:
#: log-sd, written below 0. The two differ in how many CAR T cells show next to nothing, which counts of 1 and 2 do
#: not tell: with gamma alone, fractions of simulated lognormal samples came out a fifth too high. (Of real CAR T
#: cells 42 % show a molecule below 1,500 UMIs and 82 % above 6,000: gamma of a shape of 1.2 fits that, lognormal
#: less.)
SHAPE = np.array([0.4, 0.62, 0.96, 1.5, 2.3, 3.6, 6.0, -0.45, -0.65, -0.85, -1.1])
PRIOR_OF_SHAPE = np.array([0.01, 0.05, 0.14, 0.22, 0.17, 0.08, 0.02, 0.08, 0.12, 0.09, 0.02])
#: Those fitted first; the evidence of the others is interpolated from their neighbours' until they are fitted.
_FIRST_SHAPES, _BETWEEN = np.array([0, 2, 4, 6, 7, 8, 9, 10]), np.array([1, 3, 5])
#: How a sample's CAR expression scatters around its cohort's (log-sd): T cells of urine, blood and product differ in
#: activation. An assumption; a tight one would make intervals of the CAR T fraction too short.
SAMPLE_SD = 0.3
#: Prior sd of the cohort's terms (log odds), and how a sample's scatter around them: per standard deviation of log
#: depth, for a change of that slope, for the depth of damaged cells, damage, a type. Within each kind of cell depths
#: scatter by a log-sd of 0.3-0.6; a depth ratio of 3,927 to 1,010 UMIs, the strongest that was seen in real libraries,
#: is a slope of 2.3 at 0.6. Real depths end sharply upwards, so that the slope may change as much as it is large.
PRIOR_TERM = {
    "depth": 1.1,
    **dict.fromkeys(Design.FIXED[1:4], 0.9),
    "depth damaged": 0.6,
    "damaged": 0.5,
}
SCATTER = {
    "depth": 0.9,
    **dict.fromkeys(Design.FIXED[1:4], 1.2),
    "depth damaged": 0.5,
    "damaged": 0.5,
}
PRIOR_TYPE, SCATTER_TYPE = 0.5, 0.5
#: In many cohorts depth, damage and type do not go with CAR status. Wide terms then leave a ridge: fractions of 30 %
#: came out as 40 % where depths were alike, since the slope could explain away the difference between deep and shallow
#: cells. So all standard deviations above are also tried at this part, which has this chance before anything is seen.
NARROW, PRIOR_NARROW = 0.3, 1 / 3
#: Below this chance of either, the other one is taken as it is.
CLEAR = 0.02
#: T cells that a type needs in the cohort to have its own term; only the most frequent types have one.
MIN_TYPE, MAX_TYPES = 10, 6
#: Intervals of fractions are wider than the posterior's by this factor (log odds): real depths and expression follow no
#: formula. (With 1.25, 97 % of the intervals of 218 samples made from real T cells held the truth; with 1.15, 96 %, but
#: 91 % where few cells are damaged.)
WIDER = 1.25
#: Chance, before anything is seen, that all T cells of a sample are CAR T cells (a sorted product). A continuous prior
#: gives this a probability of zero: the interval of such a product missed 100 % (0.88, 0.78-0.96).
PRIOR_ALL = 0.03
#: Log odds of a CAR T cell that stand for certainty.
CERTAIN = 25.0
#: Draws kept of each sample's posterior, and proposals they are chosen from.
N_DRAWS, N_PROPOSALS = 400, 2000
#: Pairs of mu and shape that stand for what is known without a sample's own cells.
N_ELSEWHERE = 50
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
#: Numbers that are worked on at once where the whole would be larger than the processor's cache.
AT_ONCE = 30_000
#: Numbers of a sample's fit that are kept for the next one.
KEPT_ODDS = 300_000
#: Degrees of freedom of the proposals' t distribution: tails wider than the posterior's.
FREEDOM = 4

#: Up to 7 CAR molecules in a hundred: panels of few genes show many times the CAR's share of a whole transcriptome. (Up
#: to 1 in a hundred, a sample of 20 % with three times that came out as 26 %, 20-31 %.)
MU = np.exp(np.arange(-3.0, 5.05, 0.1)) * PRIOR_MU
#: Every pair of mu and shape, as one list.
MU_OF, SHAPE_OF = (x.ravel() for x in np.meshgrid(MU, SHAPE, indexing="ij"))
#: Curvature of the log joint density below which a Newton step would be too long, and a Laplace approximation too wide.
LEAST_CURVATURE = 0.15


def gamma_shape(shape: Floats) -> Floats:
    """Return the shape of the gamma distribution with the same variance; lognormal ones are written below 0."""
    return np.asarray(np.where(shape > 0, shape, 1 / np.expm1(np.minimum(shape, -1e-6) ** 2)))


def softplus(x: Floats) -> Floats:
    """Return log(1 + exp(x))."""
    return np.asarray(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def scatter() -> Floats:
    """Return how a sample's mu (columns) scatters around its cohort's (rows)."""
    distance = (np.log(MU)[:, None] - np.log(MU)) / SAMPLE_SD
    density = np.exp(-0.5 * distance**2)
    return np.asarray(density / density.sum(axis=1, keepdims=True))


def log_prior_expression() -> Floats:
    """Return the log prior of the cohort's mu (rows) and shape (columns) on their grid."""
    of_mu = log_normal(np.log(MU), np.log(PRIOR_MU), PRIOR_MU_SD)[:, None]
    return np.asarray(of_mu + np.log(PRIOR_OF_SHAPE))


def of_cohort(evidence: Floats) -> Floats:
    """Return what a sample's evidence says of the cohort's mu and shape."""
    top = evidence.max()
    return np.asarray(np.log(np.maximum(scatter() @ np.exp(evidence - top), 1e-300)) + top)


def log_prior_intercept(a: Floats) -> Floats:
    """Return the log prior of a log odds: Beta(0.5, 1) of the fraction.

    Few or no CAR T cells are likelier than many, and next to nothing is assumed beyond that.
    """
    return -0.5 * softplus(-a) - softplus(a)


@dataclass(frozen=True)
class Terms:
    """Gaussian prior of the terms b of one sample: means and standard deviations."""

    mean: Floats
    sd: Floats


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of the terms: of the cohort's around 0, and of a sample's around the cohort's."""

    cohort: Floats
    scatter: Floats

    def scaled(self, part: float) -> Spreads:
        """Return a part of them."""
        return Spreads(self.cohort * part, self.scatter * part)

    def alone(self) -> Terms:
        """Return the prior of a sample's terms without evidence from other samples."""
        return Terms(np.zeros(len(self.cohort)), np.hypot(self.cohort, self.scatter))


def _log_constant(prior: Terms) -> float:
    """Return what the log priors of intercept (Beta(0.5, 1) is 1 / 2 f^-0.5) and terms leave out."""
    return float(-np.log(2) - np.log(prior.sd).sum() - 0.5 * len(prior.sd) * np.log(2 * np.pi))


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


def _with_ones(groups: Cells) -> Floats:
    """Return the terms of the design with one for the intercept before them: cells x (1 + terms)."""
    return np.column_stack([np.ones(len(groups)), groups.x])


def _inverse_odds(groups: Cells, x: Floats, theta: Floats) -> Floats:
    """Return how much likelier each cell is no CAR T cell than one, before its counts: cells x rows."""
    found = x @ -theta.T
    found -= groups.offset[:, None]
    return np.exp(np.clip(found, -600.0, 600.0, out=found), out=found)


def _log_joint(groups: Cells, x: Floats, ratio: Floats, theta: Floats, prior: Terms) -> Floats:
    """Return log likelihood (relative to no CAR T cell) plus log prior of intercept and terms, one number a row.

    ``x`` is :func:`_with_ones`; ``ratio`` is how much likelier the counts are in a CAR T cell: cells x rows.
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
    """Return gradient and negative second derivative of :func:`_log_joint`, made positive definite."""
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
    ratio, x = odds.ratio, _with_ones(groups)
    d = x.shape[1]
    if start is None:
        first = np.array([-9.0, -7, -5, -3.5, -2.5, -1.5, -0.5, 1, 3])
        trial = np.column_stack([first, np.tile(prior.mean, (len(first), 1))])
        rough = np.stack([_log_joint(groups, x, ratio, row[None], prior) for row in trial])
        theta = trial[np.argmax(rough, axis=0)]
    else:
        theta = start.copy()
    value = _log_joint(groups, x, ratio, theta, prior)
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
            after = _log_joint(groups, x, own, moved, prior)
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
        value - 0.5 * log_det + 0.5 * d * np.log(2 * np.pi) + _log_constant(prior) + odds.none
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


def _on_grid(evidence: Floats) -> Floats:
    """Return stored evidence on today's grid: files of before hold fewer mu, all of the lower ones."""
    missing = len(MU) - len(evidence)
    return np.pad(evidence, ((0, missing), (0, 0)), constant_values=evidence.min(initial=0.0))


@dataclass(frozen=True)
class Draws:
    """Equally weighted draws of one sample's parameters.

    Attributes
    ----------
    mu, shape
        CAR molecules per molecule of a CAR T cell, and how expression varies (as in ``SHAPE``).
    theta
        Intercept and terms: draws x (1 + terms).
    times
        How many times the false molecules expected there are.
    null_shape
        Shape of a cell's false molecules around that; NaN where nothing is open about their number.
    """

    mu: Floats
    shape: Floats
    theta: Floats
    times: Floats
    null_shape: float = float("nan")

    @property
    def is_open(self) -> bool:
        """Whether the number of false molecules differs between draws."""
        return bool(np.isfinite(self.null_shape))

    def log_odds_and_null(self, cells: Cells) -> tuple[Floats, Floats]:
        """Return how much likelier (log) the counts are in a CAR T cell than in another, and how likely there.

        Both are cells x draws; the second is cells x 1 where nothing is open about false molecules.
        """
        if not self.is_open:
            return cells.log_odds(self.mu, self.shape), cells.log_null()[:, None]
        odds, null = np.empty((2, len(cells), len(self.mu)))
        for times in np.unique(self.times):
            own = self.times == times
            here = cells.at_level(float(times), self.null_shape)
            odds[:, own], null[:, own] = here.log_odds_and_null(self.mu[own], self.shape[own])
        return odds, null

    def log_prior_odds(self, cells: Cells) -> Floats:
        """Return the log odds of a CAR T cell before its CAR count is seen: cells x draws."""
        eta = self.theta[:, :1].T + cells.x @ self.theta[:, 1:].T + cells.offset[:, None]
        return np.asarray(eta)

    def every(self, step: int) -> Draws:
        """Return every so many of the draws."""
        part = slice(None, None, step)
        return Draws(
            self.mu[part], self.shape[part], self.theta[part], self.times[part], self.null_shape
        )

    def points(self, n: int = 40) -> Floats:
        """Return ``n`` draws of mu and shape, spread evenly over those of mu, with even weights: n x 3."""
        steps = np.linspace(0, len(self.mu) - 1, n).astype(int)
        order = np.lexsort((self.shape, self.mu))[steps]
        return np.column_stack([self.mu[order], self.shape[order], np.full(n, 1 / n)])


def draw(
    groups: Cells,
    mode: Mode,
    log_prior_pair: Floats,
    prior: Terms,
    rng: np.random.Generator,
    of: Level | None = None,
) -> Draws:
    """Draw parameters of one sample from their posterior.

    Parameters
    ----------
    groups
        The sample's T cells.
    mode
        Their fit.
    log_prior_pair
        Log prior of every pair of mu and shape, by what the other samples say.
    prior
        Prior of the terms.
    rng
        Source of randomness.
    of
        How many false molecules there are, where it is open.
    """
    log_weight = mode.evidence + log_prior_pair[mode.pairs]
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    # Spread the proposals evenly over the pairs.
    steps = (np.arange(N_PROPOSALS) + 0.5) / N_PROPOSALS
    chosen = np.minimum(np.searchsorted(np.cumsum(weight), steps), len(weight) - 1)
    root = np.linalg.cholesky(np.linalg.inv(mode.curvature))
    d = mode.at.shape[1]
    z = rng.standard_normal((N_PROPOSALS, d))
    t = z * np.sqrt(FREEDOM / rng.chisquare(FREEDOM, N_PROPOSALS))[:, None] * 1.1
    theta = mode.at[chosen] + np.einsum("qij,qj->qi", root[chosen], t)
    theta[:, 0] = np.clip(theta[:, 0], -CERTAIN, CERTAIN)
    log_proposal = -0.5 * (FREEDOM + d) * np.log1p((t**2).sum(axis=1) / 1.21 / FREEDOM)
    log_proposal -= np.linalg.slogdet(root)[1][chosen]
    log_proposal += special.gammaln((FREEDOM + d) / 2) - special.gammaln(FREEDOM / 2)
    log_proposal -= d * (0.5 * np.log(FREEDOM * np.pi) + np.log(1.1))
    # The pairs ascend, as the steps do.
    used, at = np.unique(chosen, return_inverse=True)
    odds = (
        mode.odds.take(used)
        if mode.odds
        else Odds.of(groups, mode.pairs[used], of, mode.level[used])
    )
    x = _with_ones(groups)
    value = np.empty(N_PROPOSALS)
    at_once = max(1, AT_ONCE // len(groups))
    for first in range(0, N_PROPOSALS, at_once):
        rows = slice(first, first + at_once)
        value[rows] = _log_joint(groups, x, odds.ratio[:, at[rows]], theta[rows], prior)
    value += odds.none[at]
    log_true = value + (log_prior_pair[mode.pairs] + mode.held)[chosen] + _log_constant(prior)
    log_ratio = log_true - (np.log(weight[chosen]) + log_proposal)
    # The other hypothesis: all T cells are CAR T cells.
    log_all = mode.of_all + log_prior_pair[mode.pairs]
    log_some = special.logsumexp(log_ratio) - np.log(N_PROPOSALS)
    chance_all = special.expit(
        special.logit(PRIOR_ALL) + float(special.logsumexp(log_all) - log_some)
    )
    n_all = int(chance_all * N_DRAWS + rng.random())
    kept = _systematic(log_ratio, N_DRAWS - n_all, rng)
    every = _systematic(log_all, n_all, rng)
    row = np.append(chosen[kept], every)
    pair = mode.pairs[row]
    certain = np.zeros((n_all, d))
    certain[:, 0] = CERTAIN
    theta = np.concatenate([theta[kept], certain])
    if of is None:
        return Draws(MU_OF[pair], SHAPE_OF[pair], theta, np.ones(len(pair)))
    return Draws(MU_OF[pair], SHAPE_OF[pair], theta, of.times[mode.level[row]], of.shape)


def _systematic(log_weight: Floats, n: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Draw ``n`` positions by their weights, evenly spread."""
    weight = np.cumsum(np.exp(log_weight - log_weight.max()))
    steps = (np.arange(n) + rng.random()) / max(n, 1)
    return np.minimum(np.searchsorted(weight / weight[-1], steps), len(weight) - 1)


@dataclass(frozen=True)
class Fit:
    """The fitted model of a cohort, the public face of it: everything that asks the model asks here.

    Attributes
    ----------
    samples
        Samples with T cells.
    draws
        By sample: draws of its parameters from their posterior.
    design
        By sample: what the chance of being a CAR T cell depends on.
    prior
        By sample: prior of the terms, by what the other samples say.
    evidence
        By sample: log evidence of every mu (rows) and shape (columns) of the grid.
    elsewhere
        By sample: pairs of mu and shape with weights (n x 3) by what is known without the sample's own cells. The
        detection limit is averaged over them: that no cell was called lowers mu, and a low mu must not then explain
        why no cell was called.
    """

    samples: tuple[str, ...]
    draws: Mapping[str, Draws]
    design: Mapping[str, Design]
    prior: Mapping[str, Terms]
    evidence: Mapping[str, Floats]
    elsewhere: Mapping[str, Floats]

    @property
    def mu(self) -> float:
        """Return the CAR molecules per molecule of CAR T cells: geometric mean over samples and draws."""
        if not self.samples:
            return PRIOR_MU
        return float(np.exp(np.mean([np.log(d.mu).mean() for d in self.draws.values()])))

    @property
    def shape(self) -> float:
        """Return the gamma shape of expression, or that of the same variance: geometric mean over samples and draws."""
        if not self.samples:
            return float(SHAPE[3])
        return float(
            np.exp(np.mean([np.log(gamma_shape(d.shape)).mean() for d in self.draws.values()]))
        )

    def cells(self, obs: pd.DataFrame, sample: str) -> Cells:
        """Return T cells of one sample, from their rows of ``obs``, as the model sees them."""
        return Cells.of(obs, self.design[sample])

    def responsibility(self, cells: Cells, sample: str) -> Floats:
        """Return each cell's probability of being a CAR T cell under each draw: cells x draws."""
        draws = self.draws[sample]
        return np.asarray(
            special.expit(draws.log_prior_odds(cells) + draws.log_odds_and_null(cells)[0])
        )

    def _apart(self, cells: Cells, sample: str, rng: np.random.Generator) -> Floats:
        """Return :meth:`responsibility` of T cells whose log odds may lie apart from what the model says of them."""
        again = N_DRAWS // N_APART
        draws = self.draws[sample].every(again)
        prior, odds = draws.log_prior_odds(cells), draws.log_odds_and_null(cells)[0]
        distance = distances(cells.size, prior, odds, again, rng)
        found = special.expit((prior + odds)[:, :, None] + distance)
        return np.asarray(found.reshape(len(cells), -1))

    def fraction_draws(
        self,
        obs: pd.DataFrame,
        rng: np.random.Generator,
        *,
        apart: Collection[str] = (),
    ) -> tuple[Floats, float]:
        """Draw the CAR T fraction of T cells of one or several samples from its posterior.

        It is the share of CAR T cells among just these cells, so that the fraction of several samples is the mean of
        their fractions by the cells of each.

        Parameters
        ----------
        obs
            T cells, at least one.
        rng
            Source of randomness.
        apart
            Samples of which these T cells were chosen by something that the model does not look at, such as their
            state: their log odds are then sought by their own molecules (:mod:`carseq.calling.apart`).

        Returns
        -------
        draws : numpy.ndarray
            ``N_DRAWS`` fractions.
        mean : float
            Posterior mean: the mean of the cells' posterior probabilities.
        """
        number, expected = np.zeros(N_DRAWS), 0.0
        for sample, own in obs.groupby(obs["sample"].astype(str), sort=False, observed=True):
            groups, _ = self.cells(own, str(sample)).grouped()
            if str(sample) in apart:
                r = self._apart(groups, str(sample), rng)
            else:
                r = self.responsibility(groups, str(sample))
            expected += float(groups.size @ r.mean(axis=1))
            drawn = rng.binomial(groups.size.astype(int)[:, None], r).sum(axis=0)
            number += rng.permutation(drawn)
        return number / len(obs), expected / len(obs)

    def fraction(
        self,
        obs: pd.DataFrame,
        *,
        silent: bool | None = None,
        apart: Collection[str] = (),
    ) -> tuple[float, float, float]:
        """Return estimate and 95 % interval of the CAR T fraction of T cells.

        Both come from one posterior: the estimate is its mean, the interval is equal-tailed; it begins at 0 where no
        cell shows the CAR.

        Parameters
        ----------
        obs
            T cells of one or several samples; may be empty.
        silent
            Whether the interval begins at 0; None: where no cell shows a CAR molecule.
        apart
            See :meth:`fraction_draws`.
        """
        if not len(obs):
            return float("nan"), float("nan"), float("nan")
        values, mean = self.fraction_draws(obs, np.random.default_rng(0), apart=apart)
        values = _widened(values, mean)
        if silent is None:
            silent = not (obs["car_evidence"].to_numpy() > 0).any()
        ends = (0.0, 0.95) if silent else (0.025, 0.975)
        low, high = (float(np.quantile(values, q)) for q in ends)
        low = 0.0 if silent else low
        return mean, min(low, mean), max(high, mean)

    def to_uns(self) -> dict[str, Any]:
        """Return the fit as arrays and strings that an h5ad file can hold."""
        rows = [
            np.column_stack([np.full(N_DRAWS, i), d.mu, d.shape, d.theta])
            for i, d in enumerate(self.draws[s] for s in self.samples)
        ]
        elsewhere = [np.insert(self.elsewhere[s], 0, i, axis=1) for i, s in enumerate(self.samples)]
        names = self.design[self.samples[0]].names if self.samples else Design.FIXED
        width = 4 + len(names)
        return {
            "mu": self.mu,
            "shape": self.shape,
            "samples": np.array(self.samples, dtype=object),
            "terms": np.array(names, dtype=object),
            # Number of the sample, mu, shape, intercept, terms.
            "draws": np.concatenate([np.zeros((0, width)), *rows]),
            # Of each draw, how many times the false molecules expected there are; of each sample, their shape then.
            "times": np.concatenate([np.zeros(0), *(self.draws[s].times for s in self.samples)]),
            "null_shape": np.array([self.draws[s].null_shape for s in self.samples], dtype=float),
            # Number of the sample, mu, shape, weight.
            "elsewhere": np.concatenate([np.zeros((0, 4)), *elsewhere]),
            # Log depth of the middle of intact and of damaged T cells, and its scale.
            "depth": np.array(
                [
                    (self.design[s].centre, self.design[s].centre_damaged, self.design[s].scale)
                    for s in self.samples
                ]
            ).reshape(-1, 3),
            # Of each sample, the share of the CAR's molecules that its construct shows.
            "shown": np.array([self.design[s].shown for s in self.samples], dtype=float),
            "prior_mean": np.array([self.prior[s].mean for s in self.samples]).reshape(
                -1, len(names)
            ),
            "prior_sd": np.array([self.prior[s].sd for s in self.samples]).reshape(-1, len(names)),
            # Log evidence of each mu and shape of the grid: samples x mu x shape.
            "evidence": np.array([self.evidence[s] for s in self.samples]).reshape(
                -1, len(MU), len(SHAPE)
            ),
        }

    @classmethod
    def from_uns(cls, stored: Mapping[str, Any]) -> Fit:
        """Return a fit from ``uns["car_model"]``."""
        samples = tuple(str(s) for s in stored["samples"])
        types = tuple(str(t) for t in stored["terms"])[len(Design.FIXED) :]
        draws, elsewhere = np.asarray(stored["draws"]), np.asarray(stored["elsewhere"])
        of_draw, of_pair = draws[:, 0].astype(int), elsewhere[:, 0].astype(int)
        times = np.asarray(stored.get("times", np.ones(len(draws))))
        shape = np.asarray(stored.get("null_shape", np.full(len(samples), np.nan)))
        shown = np.asarray(stored.get("shown", np.ones(len(samples))))
        return cls(
            samples,
            {
                s: Draws(own[:, 1], own[:, 2], own[:, 3:], times[of_draw == i], float(shape[i]))
                for i, s in enumerate(samples)
                for own in [draws[of_draw == i]]
            },
            {
                s: Design(float(c[0]), float(c[1]), float(c[2]), types, float(part))
                for s, c, part in zip(samples, stored["depth"], shown, strict=True)
            },
            {
                s: Terms(np.asarray(m), np.asarray(sd))
                for s, m, sd in zip(samples, stored["prior_mean"], stored["prior_sd"], strict=True)
            },
            {s: _on_grid(np.asarray(e)) for s, e in zip(samples, stored["evidence"], strict=True)},
            {s: elsewhere[of_pair == i, 1:] for i, s in enumerate(samples)},
        )


def _widened(values: Floats, mean: float) -> Floats:
    """Return draws of a fraction, moved away from their mean by ``WIDER`` on the scale of log odds."""
    middle = special.logit(np.clip(mean, 1e-6, 1 - 1e-6))
    moved = special.expit(
        middle + WIDER * (special.logit(np.clip(values, 1e-6, 1 - 1e-6)) - middle)
    )
    return np.where((values <= 0) | (values >= 1), values, moved)


@dataclass(frozen=True)
class CellTerms:
    """What the posterior of T cells is made of.

    Attributes
    ----------
    prior
        Chance of a CAR T cell by everything but the cell's own CAR count.
    log_car, log_null
        Log likelihood of the count in a CAR T cell, and in another.
    """

    prior: Floats
    log_car: Floats
    log_null: Floats

    def posterior(self) -> Floats:
        """Return the probability of being a CAR T cell."""
        prior = np.clip(self.prior, 1e-15, 1 - 1e-15)
        return np.asarray(
            special.expit(np.log(prior) - np.log1p(-prior) + self.log_car - self.log_null)
        )


def cell_terms(cells: Cells, draws: Draws) -> CellTerms:
    """Return the posterior's terms of each cell, averaged over what the other cells leave possible."""
    eta = draws.log_prior_odds(cells)
    odds, of_null = draws.log_odds_and_null(cells)
    p = special.expit(eta)
    # Without the cell itself, which would else count twice.
    log_rest = softplus(eta) - softplus(eta + odds)
    if draws.is_open:
        log_rest -= of_null
    log_rest -= log_rest.max(axis=1, keepdims=True)
    rest = np.exp(log_rest)
    with_car = rest * p
    prior = with_car.sum(axis=1) / rest.sum(axis=1)
    log_own = np.log(np.maximum(with_car, 1e-300)) + odds
    log_with_car = np.log(np.maximum(with_car.sum(axis=1), 1e-300))
    if not draws.is_open:
        log_null = of_null[:, 0]
        ratio = special.logsumexp(log_own, axis=1) - log_with_car
        return CellTerms(prior, log_null + ratio, log_null)
    log_without = np.log(np.maximum(rest * special.expit(-eta), 1e-300))
    log_null = special.logsumexp(log_without + of_null, axis=1)
    log_null -= special.logsumexp(log_without, axis=1)
    return CellTerms(prior, special.logsumexp(log_own + of_null, axis=1) - log_with_car, log_null)


def designs(
    obs: pd.DataFrame, samples: tuple[str, ...], shown: Mapping[str, float]
) -> dict[str, Design]:
    """Return the design of each sample, from the T cells of the cohort and what its construct shows."""
    types: tuple[str, ...] = ()
    if "cell_type" in obs:
        counts = obs["cell_type"].astype(str).value_counts()
        counts = counts[(counts >= MIN_TYPE) & (counts.index != "")]
        # With one type there is nothing to tell apart; terms of all types add up to the intercept, which the prior
        # allows.
        types = tuple(sorted(counts.index[:MAX_TYPES])) if len(counts) > 1 else ()
    found = {}
    damaged = column(obs, "is_damaged", 0.0) > 0
    depth = np.log(np.maximum(obs["total_umis"].to_numpy(float), 1))
    names = obs["sample"].astype(str).to_numpy()
    for sample in samples:
        own = names == sample
        hurt, whole = depth[own & damaged], depth[own & ~damaged]
        centre = float(np.median(whole if len(whole) else hurt))
        middle = float(np.median(hurt)) if len(hurt) else centre
        # Of the normal distribution with these quartiles; a few cells say little of it.
        spread = np.subtract(*np.quantile(whole if len(whole) else hurt, [0.75, 0.25])) / 1.35
        n = int(own.sum())
        scale = float(np.clip((spread * n + 0.5 * 10) / (n + 10), 0.2, 1.0))
        found[sample] = Design(centre, middle, scale, types, shown.get(sample, 1.0))
    return found


def fit(
    obs: pd.DataFrame,
    levels: Mapping[str, Level] | None = None,
    shown: Mapping[str, float] | None = None,
) -> Fit:
    """Fit the model to the T cells of a cohort.

    Parameters
    ----------
    obs
        Single T cells (no doublets): ``sample``, ``total_umis``, ``car_evidence``, ``car_expected_ambient``,
        ``car_expected_background``, ``car_null_shape``; if known, ``cell_type``, ``is_damaged``, ``intact_fraction``.
    levels
        By sample: how many false molecules there are, where that is open.
    shown
        By sample: share (0-1] of the CAR's molecules that its construct shows, where that is not all.
    """
    levels = levels or {}
    by_sample = {str(s): own for s, own in obs.groupby(obs["sample"].astype(str), sort=False)}
    samples = tuple(by_sample)
    design = designs(obs, samples, shown or {})
    groups = {s: Cells.of(own, design[s]).grouped()[0] for s, own in by_sample.items()}
    names = design[samples[0]].names if samples else Design.FIXED
    spreads = Spreads(
        np.array([PRIOR_TERM.get(n, PRIOR_TYPE) for n in names]),
        np.array([SCATTER.get(n, SCATTER_TYPE) for n in names]),
    )
    alone = {s: fit_sample(groups[s], spreads.alone(), levels.get(s)) for s in samples}
    modes, prior = _at_spreads(groups, alone, spreads, 1.0, levels)
    narrow, prior_narrow = _at_spreads(groups, alone, spreads, NARROW, levels)
    log_odds = special.logit(PRIOR_NARROW) + _evidence(narrow) - _evidence(modes)
    # One number stands for both: their geometric mean, weighted by the evidence of the cohort's cells on each.
    chance = float(special.expit(log_odds))
    if chance > 1 - CLEAR:
        modes, prior = narrow, prior_narrow
    elif chance > CLEAR:
        modes, prior = _at_spreads(groups, alone, spreads, NARROW**chance, levels)
    evidence = {s: evidence_grid(modes[s]) for s in samples}
    marginals = {s: of_cohort(evidence[s]) for s in samples}
    of_all = log_prior_expression() + sum(marginals.values())
    spread = scatter()
    draws, elsewhere = {}, {}
    for s in samples:
        others = of_all - marginals[s]
        expected = spread.T @ np.exp(others - others.max())
        expected /= expected.sum()
        log_pair = np.log(np.maximum(expected, 1e-300)).ravel()
        rng = np.random.default_rng(0)
        draws[s] = draw(groups[s], modes[s], log_pair, prior[s], rng, levels.get(s))
        flat = expected.ravel()
        # Evenly spread over their distribution, so that its tails are there.
        steps = (np.arange(N_ELSEWHERE) + 0.5) / N_ELSEWHERE
        kept = np.minimum(np.searchsorted(np.cumsum(flat), steps), len(flat) - 1)
        even = np.full(N_ELSEWHERE, 1 / N_ELSEWHERE)
        elsewhere[s] = np.column_stack([MU_OF[kept], SHAPE_OF[kept], even])
    return Fit(samples, draws, design, prior, evidence, elsewhere)


def _at_spreads(
    groups: Mapping[str, Cells],
    alone: Mapping[str, Mode],
    spreads: Spreads,
    part: float,
    levels: Mapping[str, Level],
) -> tuple[dict[str, Mode], dict[str, Terms]]:
    """Fit each sample with a part of the terms' spreads, and with what the other samples say of the terms.

    Parameters
    ----------
    groups
        By sample: its T cells.
    alone
        By sample: its fit without the others, at the whole spreads.
    spreads
        Of the terms.
    part
        Of the spreads.
    levels
        By sample: how many false molecules there are, where that is open.

    Returns
    -------
    modes, prior : dict
        By sample: the fit, and the prior of its terms.
    """
    prior = dict.fromkeys(groups, spreads.scaled(part).alone())
    if len(groups) > 1:
        prior = _shared_terms(alone, spreads.alone(), spreads.scaled(part))
    elif part == 1:
        return dict(alone), prior
    fitted = {
        s: fit_at(
            groups[s],
            mode.pairs,
            prior[s],
            mode.at,
            of=levels.get(s),
            level=mode.level,
            odds=mode.odds,
        )
        for s, mode in alone.items()
    }
    return fitted, prior


def _evidence(modes: Mapping[str, Mode]) -> float:
    """Return the log evidence of a cohort, over mu and shape."""
    of_all = log_prior_expression() + sum(of_cohort(evidence_grid(m)) for m in modes.values())
    return float(special.logsumexp(of_all))


def _shared_terms(modes: Mapping[str, Mode], wide: Terms, spreads: Spreads) -> dict[str, Terms]:
    """Return each sample's prior of its terms by what the other samples say of the cohort's.

    Each sample's own word is its fit at the best mu and shape without the prior; terms are taken one by one.
    """
    word, precision = {}, {}
    for s, mode in modes.items():
        best = int(np.argmax(mode.evidence))
        variance = np.diag(np.linalg.inv(mode.curvature[best]))[1:]
        own = np.maximum(1 / variance - 1 / wide.sd**2, 1e-9)
        word[s] = mode.at[best, 1:] / variance / own
        precision[s] = 1 / (1 / own + spreads.scatter**2)
    result = {}
    for s in modes:
        total = 1 / spreads.cohort**2 + sum(precision[t] for t in modes if t != s)
        mean = sum((precision[t] * word[t] for t in modes if t != s), np.zeros_like(total)) / total
        result[s] = Terms(np.asarray(mean), np.sqrt(1 / total + spreads.scatter**2))
    return result
