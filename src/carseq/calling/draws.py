"""Draws of a sample's parameters from their posterior, and what they say of each cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from carseq.calling.cells import Cells
from carseq.calling.modes import Level, Mode, Odds, log_joint, with_ones
from carseq.calling.negbin import Floats
from carseq.calling.priors import MU_OF, PRIOR_ALL, SHAPE_OF, Terms, softplus

#: Log odds of a CAR T cell that stand for certainty.
CERTAIN = 25.0
#: Draws kept of each sample's posterior, and proposals they are chosen from.
N_DRAWS, N_PROPOSALS = 400, 2000
#: Numbers that are worked on at once where the whole would be larger than the processor's cache.
AT_ONCE = 30_000
#: Degrees of freedom of the proposals' t distribution: tails wider than the posterior's.
FREEDOM = 4


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
    x = with_ones(groups)
    value = np.empty(N_PROPOSALS)
    at_once = max(1, AT_ONCE // len(groups))
    for first in range(0, N_PROPOSALS, at_once):
        rows = slice(first, first + at_once)
        value[rows] = log_joint(groups, x, odds.ratio[:, at[rows]], theta[rows], prior)
    value += odds.none[at]
    log_true = value + (log_prior_pair[mode.pairs] + mode.held)[chosen] + prior.log_constant()
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
