"""The odds of being a CAR T cell, compared between two groups of T cells and corrected for their depth.

Every T cell carries the likelihood of its CAR count if it is a CAR T cell and if it is none, given its own depth and
ambient RNA. The CAR T fraction of a group is then a mixture proportion, and a shallow cell without CAR molecule says
little about it, as it should. Within a group the chance of a CAR T cell goes with depth and type as the model found
it to (:mod:`carseq.calling.model`), around the group's fraction: were it taken to be the same for all, a group of
deep CAR T cells among shallow others would seem to hold more of them. What a CAR T cell expresses, how depth goes
with status and how much ambient RNA a sample holds is not known exactly: likelihoods are integrated over the values
(points) that the fitted model left plausible, jointly where both groups belong to one sample.

The log odds ratio has a profile likelihood. Its likelihood-ratio statistic W is chi-square with one degree of freedom
in large samples; in small ones its 95 % quantile is taken from a parametric bootstrap under equal fractions, and W and
the cut of the interval are scaled by it where it is the larger (a Bartlett correction by simulation; Bartlett 1937;
Rocke 1989, JASA 84:598,
estimates its factor so).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats
from scipy.special import expit

from carseq.calling.cells import Cells
from carseq.calling.draws import Draws
from carseq.calling.model import Fit
from carseq.calling.modes import Level, fit_at
from carseq.calling.negbin import upper_tail
from carseq.calling.priors import (
    MU,
    SHAPE,
    gamma_shape,
    log_prior_expression,
    of_cohort,
    scatter,
    softplus,
)
from carseq.cells.annotation import is_single_t

if TYPE_CHECKING:
    from anndata import AnnData

Floats = npt.NDArray[np.float64]

#: 95 % quantile of chi-square with one degree of freedom.
CUT = float(stats.chi2.ppf(0.95, 1))
#: Log odds beyond which a fraction is not distinguishable from 0 or 1 (0.012 %).
EDGE = 9.0
#: Points of the grid of log odds; of the coarser one of the bootstrap.
N_GRID, N_COARSE = 121, 29
#: Log likelihood below the best at which the grid ends.
DEPTH = 14.0
#: Points (expression of both samples, and its shared shape) that represent the posterior.
N_POINTS = 40
#: Steps of two sequences that fill a square evenly (the plastic number's powers): one for each sample of a pair.
_EVEN = (0.7548776662466927, 0.5698402909980532)
#: Draws of a sample, those nearest to a point, of which one gives it its level of false molecules.
N_NEAR = 10
#: Replicates of the bootstrap, and its classes of depth.
N_BOOT, N_CLASSES = 399, 8
#: Difference of W up to which it counts as equal.
_TIE = 0.05
#: Step of log odds over which a curvature is taken.
_STEP = 0.25
#: First counts of the bins of the bootstrap: one by one to 6, then ever wider.
_BINS = np.unique(np.concatenate([np.arange(7), np.geomspace(7, 400, 12).astype(int)]))
#: With this many T cells or more in each group the chi-square approximation is accurate and the bootstrap is skipped.
LARGE = 3000
#: Grid of the log odds ratio on which patients are combined.
PSI = np.linspace(-14.0, 14.0, 561)
#: Standard deviations of the patients' log odds ratios that are tried, and the log prior of each: half-normal of 1
#: (Roever et al. 2021, doi:10.1002/jrsm.1475).
TAU = np.linspace(0.0, 2.5, 26)
_LOG_PRIOR_TAU = -0.5 * TAU**2


@dataclass(frozen=True)
class Arm:
    """T cells of one sample on one side of a comparison, and what their CAR T cells may express.

    Attributes
    ----------
    cells
        Their counts, depths and false molecules expected.
    points
        The points: CAR molecules per molecule, how expression varies, the terms by which the log odds of a CAR T cell
        go with depth, damage and type, and how many times the false molecules expected there are.
    """

    cells: Cells
    points: Draws

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def mu(self) -> Floats:
        """The CAR molecules per molecule, by point."""
        return self.points.mu

    @property
    def silent(self) -> bool:
        """Whether no cell shows a CAR molecule."""
        return not (self.cells.k > 0).any()

    @cached_property
    def _groups(self) -> tuple[Floats, Floats, Floats, Levels, Floats]:
        groups, _ = self.cells.grouped()
        relative = self.relative(groups)
        log_odds, log_null = self.points.log_odds_and_null(groups)
        # Where the false molecules are known, points differ in what CAR T cells show alone.
        none = groups.size @ log_null if self.points.is_open else np.zeros(len(self.mu))
        return groups.size, np.expm1(log_odds), relative, Levels(relative, groups.size), none

    def relative(self, cells: Cells) -> Floats:
        """Return the log odds of cells of this group beside each other: cells x points."""
        return np.asarray(cells.x @ self.points.theta[:, 1:].T + cells.offset[:, None])

    def by_point(self, fraction: Floats) -> Floats:
        """Return the log likelihood of CAR T fractions: points x fractions."""
        size, odds, relative, levels, none = self._groups
        level = levels.at(fraction)
        total = np.empty((len(self.mu), len(fraction)))
        for point in range(len(self.mu)):
            # Certainty stops short of 1, where a cell that cannot be a CAR T cell would have no logarithm.
            x = relative[:, [point]] + level[point]
            over = _over_chance(np.minimum(x, _CERTAIN, out=x))
            total[point] = size @ np.log1p(np.divide(odds[:, [point]], over, out=x), out=x)
        return total + none[:, None]

    def spread(self, fraction: float) -> Floats:
        """Return the variance between its cells of the chance of a CAR T cell before its count is seen, by point."""
        size, _, relative, levels, _ = self._groups
        p = expit(np.minimum(relative + levels.at(np.array([fraction]))[:, 0], _CERTAIN))
        return np.asarray(size @ (p - size @ p / size.sum()) ** 2 / size.sum())


#: Log odds between which the level of a group is sought.
_LEVELS = np.linspace(-30.0, 30.0, 121)
#: Log odds that stand for certainty.
_CERTAIN = 36.0


def _over_chance(log_odds: Floats) -> Floats:
    """Return one over the chance of these log odds, in their place: thrice as fast as by SciPy's function of them."""
    with np.errstate(over="ignore"):
        over = np.exp(np.negative(log_odds, out=log_odds), out=log_odds)
    over += 1
    return over


class Levels:
    """The log odds to add so that a group holds a CAR T fraction.

    Parameters
    ----------
    relative
        Log odds of the cells beside each other: cells x points.
    size
        How many cells each row stands for.
    """

    def __init__(self, relative: Floats, size: Floats) -> None:
        # Per point: log odds of the mean at each level; None where all cells are alike.
        self._alike = relative[0]
        self._means: list[Floats | None] = []
        for own in relative.T:
            if np.ptp(own) < 1e-9:
                self._means.append(None)
                continue
            mean = size @ (1 / _over_chance(own[:, None] + _LEVELS)) / size.sum()
            mean = np.clip(mean, 1e-14, 1 - 1e-14)
            self._means.append(np.log(mean) - np.log1p(-mean))

    def at(self, fraction: Floats) -> Floats:
        """Return the log odds to add for fractions (0-1, both excluded): points x fractions."""
        wanted = np.log(fraction) - np.log1p(-fraction)
        return np.stack(
            [
                wanted - alike if means is None else np.interp(wanted, means, _LEVELS)
                for alike, means in zip(self._alike, self._means, strict=True)
            ]
        )


@dataclass(frozen=True)
class Pair:
    """Two groups of T cells to compare, with the points they share.

    Attributes
    ----------
    one, other
        The group of interest and the reference.
    log_weight
        Log prior weight of each point, by everything but the two samples' own cells.
    """

    one: Arm
    other: Arm
    log_weight: Floats


class Expression:
    """What CAR T cells express in the samples of a cohort, as the fitted model left it open.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`.
    """

    def __init__(self, adata: AnnData) -> None:
        self._fit = Fit.from_uns(adata.uns["car_model"])
        self._obs = adata.obs
        t_cells = adata.obs[is_single_t(adata.obs)]
        names = t_cells["sample"].astype(str)
        self._cells = {s: self._fit.cells(t_cells[names == s], s) for s in self._fit.samples}
        self._cohort = {s: of_cohort(self._fit.evidence[s]) for s in self._fit.samples}
        self._shared: dict[tuple[str, str], tuple[list[Arm], Floats]] = {}

    def pair(self, one: pd.Index, other: pd.Index) -> Pair | None:
        """Return two groups of T cells, each of one sample, ready to compare; None if one is empty."""
        if not len(one) or not len(other):
            return None
        groups = [self._obs.loc[cells] for cells in (one, other)]
        names = [str(group["sample"].iloc[0]) for group in groups]
        wholes, log_weight = self._of_samples(*names)
        one_arm, other_arm = (
            Arm(self._fit.cells(group, name), own.points)
            for group, name, own in zip(groups, names, wholes, strict=True)
        )
        return Pair(one_arm, other_arm, log_weight)

    def _of_samples(self, one: str, other: str) -> tuple[list[Arm], Floats]:
        """Return all T cells of two samples, with the points they share, and the points' log weights."""
        if (one, other) not in self._shared:
            pairs, log_weight = self._points(one, other)
            arms = [self._whole(one, pairs[0], _EVEN[0])]
            # Two groups of one sample share its terms.
            arms.append(arms[0] if one == other else self._whole(other, pairs[1], _EVEN[1]))
            for arm in arms[: 1 if one == other else 2]:
                # Divided by what the samples' own cells say: the cells compared say it once more.
                log_weight = log_weight - np.logaddexp.reduce(
                    arm.by_point(expit(_WHOLE)) + _LOG_PRIOR_WHOLE, axis=1
                )
            self._shared[one, other] = arms, log_weight - np.logaddexp.reduce(log_weight)
        return self._shared[one, other]

    def _whole(self, sample: str, pairs: npt.NDArray[np.intp], step: float) -> Arm:
        """Return all T cells of a sample, with a level and terms drawn for each pair of mu and shape.

        Levels are spread evenly over the points, by a sequence of this ``step``: drawn at random they left the ratio of
        two samples to chance.
        """
        cells = self._cells[sample]
        mu, shape = MU[pairs // len(SHAPE)], SHAPE[pairs % len(SHAPE)]
        drawn = self._fit.draws[sample]
        share = np.asarray((0.5 + step * np.arange(len(mu))) % 1, dtype=np.float64)
        times, level = np.unique(_times(drawn, mu, shape, share), return_inverse=True)
        used, at = np.unique(np.column_stack([pairs, level.ravel()]), axis=0, return_inverse=True)
        of = Level(times, np.zeros(len(times)), drawn.null_shape) if drawn.is_open else None
        prior = self._fit.prior[sample]
        mode = fit_at(cells.grouped()[0], used[:, 0], prior, of=of, level=used[:, 1])
        root = np.linalg.cholesky(np.linalg.inv(mode.curvature)[:, 1:, 1:])
        z = np.random.default_rng(0).standard_normal((len(pairs), root.shape[1]))
        theta = mode.at[at.ravel()]
        theta[:, 1:] += np.einsum("qij,qj->qi", root[at.ravel()], z)
        return Arm(cells, Draws(mu, shape, theta, times[level.ravel()], drawn.null_shape))

    def _points(self, one: str, other: str) -> tuple[list[npt.NDArray[np.intp]], Floats]:
        """Return plausible pairs of mu and shape of both samples, and how often (log) each stands.

        Points are spread evenly over the posterior: by the shape that both share, then by how the samples' mu differ,
        which is what an odds ratio suffers from.
        """
        prior = log_prior_expression()
        for name, own in self._cohort.items():
            if name not in (one, other):
                prior = prior + own
        weight, spread = np.exp(prior - prior.max()), scatter()
        a, b = self._fit.evidence[one], self._fit.evidence[other]
        if one == other:
            density, own = (spread.T @ weight).T, a.T
            shape, mu = np.indices(own.shape).reshape(2, -1)
            mu_other = mu
        else:
            density = np.einsum("ci,cs,cj->sij", spread, weight, spread, optimize=True)
            own = a.T[:, :, None] + b.T[:, None, :]
            shape, mu, mu_other = np.indices(own.shape).reshape(3, -1)
        own = own.ravel()
        posterior = np.log(np.maximum(density.ravel(), 1e-300)) + own
        kept = np.flatnonzero(posterior > posterior.max() - 12)
        first, second = mu[kept], mu_other[kept]
        order = kept[np.lexsort((first + second, first - second, shape[kept]))]
        share = np.exp(posterior[order] - posterior.max())
        steps = (np.arange(N_POINTS) + 0.5) / N_POINTS
        found = np.searchsorted(np.cumsum(share) / share.sum(), steps)
        # A pair that stands several times gets other terms each time.
        chosen = order[np.minimum(found, len(order) - 1)]
        pairs = [m[chosen] * len(SHAPE) + shape[chosen] for m in (mu, mu_other)]
        return pairs, np.zeros(len(chosen))


def _times(drawn: Draws, mu: Floats, shape: Floats, share: Floats) -> Floats:
    """Return how many times the false molecules expected there may be at pairs of mu and shape, by a sample's draws.

    ``share`` (0-1) says which of the draws nearest to each pair is taken, in the order of their numbers.
    """
    if not drawn.is_open:
        return np.ones(len(mu))
    own, pairs = (
        np.column_stack([np.log(m), np.log(gamma_shape(s))])
        for m, s in ((drawn.mu, drawn.shape), (mu, shape))
    )
    far = np.abs(pairs[:, None] - own).sum(axis=2)
    near = np.sort(drawn.times[np.argsort(far, axis=1, kind="stable")[:, :N_NEAR]], axis=1)
    at = (share * near.shape[1]).astype(int)
    return np.asarray(near[np.arange(len(mu)), at])


#: Log odds over which a whole sample's evidence is taken, and the log prior of each: Beta(0.5, 1) of the fraction.
_WHOLE = np.linspace(-10.0, 10.0, 61)
_LOG_PRIOR_WHOLE = -0.5 * softplus(-_WHOLE) - softplus(_WHOLE)


@dataclass(frozen=True)
class Profile:
    """Profile log likelihood of a log odds ratio, 0 at its best, and how W is to be scaled."""

    psi: Floats
    log_likelihood: Floats
    scale: float = 1.0

    def on(self, psi: Floats) -> Floats:
        """Return the scaled profile log likelihood at other log odds ratios."""
        return np.asarray(np.interp(psi, self.psi, self.log_likelihood)) / self.scale

    def interval(self, cut: float = CUT) -> tuple[float, float]:
        """Return the ends of the interval of odds ratios; 0 and infinity where nothing bounds them."""
        inside = 2 * -self.log_likelihood / self.scale <= cut
        first, last = np.flatnonzero(inside)[[0, -1]]
        root = np.sqrt(np.maximum(-2 * self.log_likelihood / self.scale, 0))

        def crossing(outer: int, inner: int) -> float:
            share = (np.sqrt(cut) - root[inner]) / (root[outer] - root[inner])
            return float(np.exp(self.psi[inner] + share * (self.psi[outer] - self.psi[inner])))

        low = 0.0 if first == 0 else crossing(first - 1, first)
        high = float("inf") if last == len(self.psi) - 1 else crossing(last + 1, last)
        return low, high


@dataclass(frozen=True)
class Comparison:
    """Two groups compared: CAR T fractions, odds ratio, interval, p and the profile they come from.

    ``note`` says why there is no estimate; ``profile`` is then None.
    """

    fraction: float = float("nan")
    fraction_reference: float = float("nan")
    estimate: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    p: float = float("nan")
    note: str = ""
    profile: Profile | None = None


def compare(pair: Pair | None, *, seed: int = 0, n_boot: int = N_BOOT) -> Comparison:
    """Compare the CAR T fractions of two groups of T cells.

    Parameters
    ----------
    pair
        The groups; None where one has no T cells.
    seed
        Of the bootstrap.
    n_boot
        Its replicates; 0 takes the chi-square distribution as it is.

    Returns
    -------
    Comparison
        The odds ratio is infinite or 0 where one group's best fraction is 0 or 1.
    """
    if pair is None:
        return Comparison(note="no T cells in one of the two")
    if pair.one.silent and pair.other.silent:
        return Comparison(0.0, 0.0, note="no CAR molecule in a T cell of either")
    eta = _span(pair)
    weight = pair.log_weight[:, None, None]
    tables = [arm.by_point(expit(eta))[:, None, :] for arm in (pair.one, pair.other)]
    joint = _joined(weight, *tables)[0]
    row, column = np.unravel_index(int(np.argmax(joint)), joint.shape)
    at, at_reference = (
        _fraction_at(joint[:, column], eta),
        _fraction_at(joint[row], eta),
    )
    psi, log_likelihood = _profile_over(joint, eta)
    best = float(_peak(log_likelihood))
    statistic = max(2 * (best - float(np.interp(0.0, psi, log_likelihood))), 0.0)
    scale = 1.0
    if n_boot and min(len(pair.one), len(pair.other)) < LARGE:
        common = _best_of(eta, np.diagonal(joint))
        scale = _scale(pair, common, n_boot, np.random.default_rng(seed))
    scale *= _by_chance(pair, (float(eta[row]), float(eta[column])))
    profile = Profile(psi, log_likelihood - best, scale)
    low, high = profile.interval()
    if at == at_reference and at in (0.0, 1.0):
        return Comparison(
            at, at_reference, low=low, high=high, p=1.0, profile=profile,
            note="ambient RNA explains the CAR molecules of both",
        )  # fmt: skip
    estimate = float(np.exp(_best_of(psi, log_likelihood)))
    if at in (0.0, 1.0) or at_reference in (0.0, 1.0):
        estimate = float("inf") if at > at_reference else 0.0
    low, high = min(low, estimate), max(high, estimate)
    p = float(stats.chi2.sf(statistic / scale, 1))
    return Comparison(at, at_reference, estimate, low, high, p, profile=profile)


def _span(pair: Pair) -> Floats:
    """Return the grid of log odds: wherever a group's likelihood is not negligible."""
    rough = np.linspace(-EDGE, EDGE, 37)
    tables = [arm.by_point(expit(rough))[:, None, :] for arm in (pair.one, pair.other)]
    joint = _joined(pair.log_weight[:, None, None], *tables)[0]
    inside = (joint >= joint.max() - DEPTH).any(axis=0) | (joint >= joint.max() - DEPTH).any(axis=1)
    first, last = np.flatnonzero(inside)[[0, -1]]
    # A step more on either side, for what the rough grid steps over.
    return np.linspace(rough[max(first - 1, 0)], rough[min(last + 1, len(rough) - 1)], N_GRID)


def _peak(values: Floats) -> Floats:
    """Return the maxima along the last axis, a parabola laid through the three highest neighbours."""
    n = values.shape[-1]
    at = np.argmax(values, axis=-1)
    top = np.take_along_axis(values, at[..., None], -1)[..., 0]
    if n < 3:
        return np.asarray(top)
    inner = np.clip(at, 1, n - 2)
    left, middle, right = (
        np.take_along_axis(values, (inner + step)[..., None], -1)[..., 0] for step in (-1, 0, 1)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        bend = left - 2 * middle + right
        vertex = middle - (right - left) ** 2 / (8 * bend)
    use = (at == inner) & (bend < 0) & np.isfinite(vertex)
    return np.asarray(np.where(use, vertex, top))


def _best_of(grid: Floats, values: Floats) -> float:
    """Return where on the grid the values are highest, by a parabola."""
    at = int(np.argmax(values))
    if at in (0, len(grid) - 1):
        return float(grid[at])
    left, middle, right = values[at - 1 : at + 2]
    bend = left - 2 * middle + right
    shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float(grid[at] + np.clip(shift, -0.5, 0.5) * (grid[1] - grid[0]))


def _fraction_at(values: Floats, eta: Floats) -> float:
    """Return the fraction of highest likelihood; 0 or 1 where it lies at an edge that means so."""
    at = int(np.argmax(values))
    if at == 0 and eta[0] <= -EDGE:
        return 0.0
    if at == len(eta) - 1 and eta[-1] >= EDGE:
        return 1.0
    return float(expit(np.array(_best_of(eta, values))))


def _profile_over(joint: Floats, eta: Floats) -> tuple[Floats, Floats]:
    """Return log odds ratios and their profile log likelihood: the best of each diagonal."""
    n = len(eta)
    step = eta[1] - eta[0]
    shifts = np.arange(-(n - 1), n)
    # Each diagonal in a row, from its first pair of fractions on; nothing is beyond its last.
    diagonals = np.full((2 * n - 1, n), -np.inf)
    row, column = np.indices(joint.shape)
    diagonals[row - column + n - 1, np.minimum(row, column)] = joint
    values = _peak(diagonals)
    return shifts * step, values


def _scale(pair: Pair, common: float, n_boot: int, rng: np.random.Generator) -> float:
    """Return how much larger the 95 % quantile of W is than chi-square's when the fractions are equal; at least 1.

    Counts are drawn anew for cells of the same depths and ambient RNA, at the best common log odds (``common``) and
    at points drawn by what they make of the observed counts there.
    """
    # In one order: A against B and B against A are one comparison, with one scale.
    arms = sorted((pair.one, pair.other), key=lambda arm: (len(arm), *arm.cells.k, *arm.cells.own))
    near = common + np.array([-_STEP, 0.0, _STEP])
    tables = [arm.by_point(expit(near)) for arm in arms]
    log_weight = pair.log_weight + tables[0][:, 1] + tables[1][:, 1]
    weight = np.exp(log_weight - log_weight.max())
    chosen = rng.choice(len(weight), n_boot, p=weight / weight.sum())
    information = [_information(table, pair.log_weight) for table in tables]
    shared = expit(_around(common, sum(information)))
    free, held = [], []
    for arm, known in zip(arms, information, strict=True):
        classes = DepthClasses.of(arm)
        counts = classes.draw(chosen, float(expit(np.array(common))), rng)
        free.append(classes.log_likelihood(counts, expit(_around(common, known))))
        held.append(classes.log_likelihood(counts, shared))
    prior = pair.log_weight[:, None, None]
    best = _peak(_peak(_joined(prior, *free)))
    equal = _peak(np.logaddexp.reduce(held[0] + held[1] + prior, axis=0))
    # Small counts tie: of equal W, the observed one (on a finer grid) must not pass the cut.
    quantile = float(np.quantile(2 * (best - equal), 0.95, method="higher")) + _TIE
    return max(1.0, quantile / CUT)


def _by_chance(pair: Pair, best: tuple[float, float]) -> float:
    """Return how many times W is larger since a group's depths are a sample, too; 1 where they say nothing.

    The likelihood is one of the cells' molecules, given their depths. Where deep cells are CAR T cells more often, a
    group that holds more deep ones by chance holds more CAR T cells. (Of random halves of samples whose CAR T cells are
    four times as deep as other T cells 13 % had p < 0.05.)

    Parameters
    ----------
    pair
        The groups.
    best
        Log odds of the likeliest fraction of each.
    """
    given = chance = 0.0
    for arm, at in zip((pair.one, pair.other), np.clip(best, -EDGE, EDGE), strict=True):
        low, middle, high = arm.by_point(expit(at + np.array([-_STEP, 0.0, _STEP]))).T
        log_weight = pair.log_weight + middle
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        known = float(weight @ (2 * middle - low - high)) / _STEP**2
        fraction = float(expit(at))
        given += 1 / max(known, 0.05)
        chance += float(weight @ arm.spread(fraction)) / len(arm) / (fraction * (1 - fraction)) ** 2
    return 1 + chance / given


def _information(table: Floats, log_weight: Floats) -> float:
    """Return the curvature of a group's log likelihood, given at three log odds ``_STEP`` apart."""
    low, middle, high = np.logaddexp.reduce(table + log_weight[:, None], axis=0)
    return max(float(2 * middle - low - high) / _STEP**2, 0.0)


def _around(centre: float, information: float) -> Floats:
    """Return a grid of log odds that replicates will not leave: eight standard errors and a half on either side."""
    reach = 8.0 / np.sqrt(max(information, 0.05)) + 0.5
    return np.linspace(max(centre - reach, -EDGE), min(centre + reach, EDGE), N_COARSE)


def _joined(log_weight: Floats, one: Floats, other: Floats) -> Floats:
    """Sum likelihoods over points (first axis) for every pair of fractions (last axis): replicates x n x m."""
    one = one + log_weight
    tops = one.max(axis=0), other.max(axis=0)
    left, right = (
        np.exp(x - top).transpose(1, 2, 0) for x, top in zip((one, other), tops, strict=True)
    )
    product = left @ right.transpose(0, 2, 1)
    return np.asarray(
        np.log(np.maximum(product, 1e-300)) + tops[0][:, :, None] + tops[1][:, None, :]
    )


@dataclass(frozen=True)
class DepthClasses:
    """Cells of a group in classes of about equal depth, for the bootstrap; their counts in bins.

    Attributes
    ----------
    size
        Cells of each class.
    own, null
        Chance of each bin in a CAR T cell and in another T cell: points x classes x bins.
    relative
        Log odds of a CAR T cell in each class beside the others: classes x points.
    is_open
        Whether points differ in their false molecules.
    """

    size: npt.NDArray[np.intp]
    own: Floats
    null: Floats
    relative: Floats
    is_open: bool

    @classmethod
    def of(cls, arm: Arm) -> DepthClasses:
        """Sort the cells of a group by depth into classes."""
        order = np.argsort(arm.cells.own, kind="stable")
        parts = np.array_split(order, min(N_CLASSES, len(order)))
        means = [
            np.array([values[part].mean(axis=0) for part in parts])
            for values in (getattr(arm.cells, name) for name in arm.cells.__dataclass_fields__)
        ]
        data = Cells(*means)
        size = np.array([len(part) for part in parts])
        # Every class at every bin, as so many cells.
        crossed = data.take(np.repeat(np.arange(len(parts)), len(_BINS)))
        bins = np.tile(_BINS, len(parts)).astype(float)
        points = arm.points
        own, null = np.empty((2, len(points.mu), len(crossed)))
        for times in np.unique(points.times):
            at = points.times == times
            here = crossed.at_level(float(times), points.null_shape) if points.is_open else crossed
            own[at] = here.car_tail(bins, points.mu[at], points.shape[at]).T
            null[at] = upper_tail(bins, here.null, here.null_shape)
        own, null = (_chances(above.reshape(-1, len(parts), len(_BINS))) for above in (own, null))
        return cls(size, own, null, arm.relative(data), points.is_open)

    @cached_property
    def _levels(self) -> Levels:
        return Levels(self.relative, self.size.astype(float))

    def chance(self, fraction: Floats) -> Floats:
        """Return the chance of a CAR T cell in each class: points x classes x fractions."""
        level = self._levels.at(fraction)
        return np.asarray(expit(self.relative.T[:, :, None] + level[:, None, :]))

    def draw(
        self, chosen: npt.NDArray[np.intp], fraction: float, rng: np.random.Generator
    ) -> Floats:
        """Draw cells by class and bin: replicates x (classes x bins), each replicate at its point."""
        counts = np.empty((len(chosen), *self.null.shape[1:]))
        p = self.chance(np.array([fraction]))
        for point in np.unique(chosen):
            rows = chosen == point
            chance = p[point] * self.own[point] + (1 - p[point]) * self.null[point]
            chance /= chance.sum(axis=1, keepdims=True)
            shape = (int(rows.sum()), len(self.size))
            counts[rows] = rng.multinomial(self.size, chance, size=shape)
        return counts.reshape(len(chosen), -1)

    def log_likelihood(self, counts: Floats, fraction: Floats) -> Floats:
        """Return the log likelihood of fractions: points x replicates x fractions."""
        # Most bins are of counts that no replicate has.
        used = counts.any(axis=0).reshape(self.null.shape[1:])
        drawn = counts[:, used.ravel()]
        at = np.nonzero(used)[0]
        odds, p = (self.own / self.null)[:, used] - 1, self.chance(fraction)
        result = np.empty((len(odds), len(counts), len(fraction)))
        for point in range(len(odds)):
            terms = np.log1p(p[point][at] * odds[point][:, None])
            if self.is_open:
                terms += np.log(self.null[point][used])[:, None]
            np.matmul(drawn, terms, out=result[point])
        return result


def _chances(above: Floats) -> Floats:
    """Return the chance of each bin of counts (last axis) from the chances of its first count or more."""
    inside = above - np.append(above[..., 1:], np.zeros((*above.shape[:-1], 1)), axis=-1)
    return np.asarray(np.maximum(inside, 1e-290))


@dataclass(frozen=True)
class Summary:
    """A log odds ratio over several patients: estimate, interval, p, and how the patients scatter."""

    estimate: float
    low: float
    high: float
    p: float
    tau: float


def over_patients(profiles: list[Profile]) -> Summary:
    """Bring the profiles of two or more patients together, their log odds ratios scattering between patients.

    A random-effects likelihood (Hardy & Thompson 1996, Statistics in Medicine 15:619) made of the patients' own
    profile likelihoods, so that a patient without any CAR T cell on one side still counts, at the likeliest scatter.
    Few patients say little of how patients scatter: as Knapp and Hartung have it (2003, Statistics in Medicine
    22:2693), the signed root is divided by how far the patients lie apart for that scatter (by 1 at least: Roever et
    al. 2015, BMC Medical Research Methodology 15:99), and taken for Student's t with one degree of freedom less than
    patients. (With the scatter sought anew at each odds ratio, three patients could not have p < 0.05, and the
    intervals of three to five patients held in 100 %.)

    Where one or two patients are known far better than the others, the likeliest scatter is often 0, and they speak for
    all: of eight such patients or ten, who scatter by 0.5 to 1 around no difference, 6-9 % had p < 0.05. So the root
    is made smaller until the interval is no narrower than one averaged over how patients may scatter (now 3-6 %).

    Parameters
    ----------
    profiles
        One a patient.

    Raises
    ------
    ValueError
        For fewer than two: one patient is not a population.
    """
    if len(profiles) < 2:
        raise ValueError("a population takes two patients at least")
    single = np.stack([profile.on(PSI) for profile in profiles])
    by_patient = [_scattered(single, float(tau)) for tau in TAU]
    by_tau = np.stack([own.sum(axis=0) for own in by_patient])
    # The mean is averaged over: the likeliest scatter around the likeliest mean is too small.
    likeliest = int(np.argmax(np.logaddexp.reduce(by_tau, axis=1) + _LOG_PRIOR_TAU))
    own, log_likelihood, tau = by_patient[likeliest], by_tau[likeliest], float(TAU[likeliest])
    apart = 2 * float((own.max(axis=1) - own[:, np.argmax(log_likelihood)]).sum())
    cut = float(stats.t.ppf(0.975, len(profiles) - 1)) ** 2
    merged = Profile(PSI, log_likelihood - log_likelihood.max())
    averaged = np.logaddexp.reduce(by_tau + _LOG_PRIOR_TAU[:, None], axis=0)
    wider = -2 * merged.on(_ends(averaged)) / cut
    merged = replace(merged, scale=max(1.0, apart / (len(profiles) - 1), *wider))
    low, high = merged.interval(cut)
    at = _best_of(PSI, log_likelihood)
    if low == 0.0 and np.argmax(log_likelihood) == 0:
        estimate = 0.0
    elif high == float("inf") and log_likelihood[-1] >= log_likelihood.max() - 1e-6:
        estimate = float("inf")
    else:
        estimate = float(np.exp(at))
    root = np.sqrt(max(-2 * float(merged.on(np.zeros(1))[0]), 0.0))
    return Summary(estimate, low, high, float(2 * stats.t.sf(root, len(profiles) - 1)), tau)


def _ends(log_likelihood: Floats) -> Floats:
    """Return the log odds ratios of ``PSI`` between which 95 % of a likelihood lie."""
    density = np.exp(log_likelihood - log_likelihood.max())
    below = np.cumsum(density) - density / 2
    return np.interp(np.array([0.025, 0.975]) * density.sum(), below, PSI)


def _scattered(single: Floats, tau: float) -> Floats:
    """Return the patients' log likelihoods of the mean, their own log odds ratios scattering around it by ``tau``."""
    if tau == 0:
        return single
    step = PSI[1] - PSI[0]
    half = int(np.ceil(4 * tau / step))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) * step / tau) ** 2)
    kernel /= kernel.sum()
    wide = np.pad(single, ((0, 0), (half, half)), mode="edge")
    top = wide.max(axis=1, keepdims=True)
    mixed = np.stack([np.convolve(np.exp(row), kernel, mode="valid") for row in wide - top])
    return np.asarray(np.log(np.maximum(mixed, 1e-300)) + top)
