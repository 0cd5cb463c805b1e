"""T cells as the model sees them: counts, depths, false molecules expected, and what may go with being a CAR T cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.calling.clones import clone_names
from carseq.calling.negbin import (
    Floats,
    joint_shape,
    log_pmf,
    pmf_of_counts,
    upper_tail,
    upper_tail_of,
)

#: Cells of one count whose depth, false expectation and clone support differ by less (natural logs) are taken
#: together. Wider steps where there are more than ``MANY`` groups.
DEPTH_STEP, NULL_STEP, OFFSET_STEP = 0.08, 0.15, 0.5
MANY = 1500
#: Log odds of a CAR T cell by its count, at most.
MOST_ODDS = 500.0
#: Names of the terms of large clones.
CLONE = "large clone "
#: The least part of its RNA that a cell is taken to have kept.
LEAST_INTACT = 0.02
#: Levels of expression that stand for a lognormal distribution, and their weights.
N_NODES = 9
_HERMITE = np.polynomial.hermite_e.hermegauss(N_NODES)
_NODES = (_HERMITE[0], _HERMITE[1] / _HERMITE[1].sum())
#: Around each level expression is gamma, with this part of the lognormal's log-sd, so that levels run into each other.
#: (Levels alone leave gaps between the counts of cells with five molecules and more. The best gamma then fitted
#: lognormal cells better than the lognormal, and 46 % of CAR T cells came out as 56-62 %.)
WITHIN = 0.4


def column(obs: pd.DataFrame, name: str, otherwise: float) -> Floats:
    """Return a column of numbers; ``otherwise`` where it or a value is missing."""
    if name not in obs:
        return np.full(len(obs), otherwise)
    values = pd.to_numeric(obs[name], errors="coerce").to_numpy(float)
    return np.where(np.isfinite(values), values, otherwise)


@dataclass(frozen=True)
class Design:
    """What the chance of being a CAR T cell may depend on, besides the sample.

    Attributes
    ----------
    centre, centre_damaged
        Log of the depth at which the sample's depth terms are 0: the median of its intact, and of its damaged T cells,
        which all lost molecules.
    scale
        Standard deviation of log depth.
    types
        Cell types with a term of their own.
    shown
        Share (0-1] of a CAR T cell's CAR molecules that the construct of the sample can show.
    clones
        Large clones of the sample, each with a term of its own; no name where there are fewer than in other samples.
    """

    centre: float
    centre_damaged: float
    scale: float
    types: tuple[str, ...]
    shown: float = 1.0
    clones: tuple[str, ...] = ()

    #: Depths, in standard deviations from the centre, at which the slope may change. Depths of real cells are not
    #: lognormal: with one slope, what deep cells show would be carried on to shallow ones that show nothing, with far
    #: too much confidence.
    KNOTS = (-1.0, 0.0, 1.0)
    #: The first terms, before the types: log depth and the changes of its slope, log depth of damaged cells, damage.
    #: A damaged cell's depth says how much it lost, and little of what it was: its slope is its own.
    FIXED = ("depth", "depth below", "depth above", "depth far above", "depth damaged", "damaged")
    #: Depths beyond this distance from the centre are taken for it: nothing is extrapolated further.
    FURTHEST = 3.0
    #: How many of the terms are made from depth.
    OF_DEPTH = 5

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the terms."""
        return (*self.FIXED, *self.types, *(f"{CLONE}{i + 1}" for i in range(len(self.clones))))

    def matrix(self, obs: pd.DataFrame) -> Floats:
        """Return cells x terms."""
        damaged = column(obs, "is_damaged", 0.0) > 0
        depth = np.log(np.maximum(obs["total_umis"].to_numpy(float), 1))
        depth -= np.where(damaged, self.centre_damaged, self.centre)
        depth = np.clip(depth / self.scale, -self.FURTHEST, self.FURTHEST)
        labels = (
            obs["cell_type"].astype(str).to_numpy() if "cell_type" in obs else np.full(len(obs), "")
        )
        types = [labels == name for name in self.types]
        clones = self.of_clones(obs)
        low, middle, high = self.KNOTS
        intact = np.where(damaged, 0.0, depth)
        slopes = [
            intact,
            np.maximum(low - intact, 0),
            np.maximum(intact - middle, 0),
            np.maximum(intact - high, 0),
            np.where(damaged, depth, 0.0),
        ]
        return np.column_stack([*slopes, damaged, *types, *clones]).astype(float)

    def of_clones(self, obs: pd.DataFrame) -> list[npt.NDArray[np.bool_]]:
        """Return which cells are of each clone that has a term."""
        if not any(self.clones):
            return [np.zeros(len(obs), dtype=bool) for _ in self.clones]
        clone = clone_names(obs)
        return [(clone == name) & (name != "") for name in self.clones]


@dataclass(frozen=True)
class Cells:
    """T cells of one sample, or groups of like ones.

    Attributes
    ----------
    k
        CAR molecules that count as evidence.
    own
        Molecules that could be its own CAR's: its depth times the part of its RNA that it kept, and times the share of
        the CAR's molecules that the construct shows.
    null, null_shape
        False CAR molecules expected, and their negative binomial's shape.
    x
        Terms of the design, cells x terms.
    offset
        Log odds that the other cells of its clonotype add.
    size
        How many cells each row stands for.
    """

    k: Floats
    own: Floats
    null: Floats
    null_shape: Floats
    x: Floats
    offset: Floats
    size: Floats

    @classmethod
    def of(cls, obs: pd.DataFrame, design: Design) -> Cells:
        """Return T cells of one sample from their rows of ``obs``, after the background was written to it."""
        intact = np.clip(column(obs, "intact_fraction", 1.0), LEAST_INTACT, 1.0)
        # What a large clone says of its cells is its term.
        own_term = np.any([np.zeros(len(obs), dtype=bool), *design.of_clones(obs)], axis=0)
        return cls(
            k=obs["car_evidence"].to_numpy(float),
            own=obs["total_umis"].to_numpy(float) * intact * design.shown,
            null=(obs["car_expected_ambient"] + obs["car_expected_background"]).to_numpy(float),
            null_shape=obs["car_null_shape"].to_numpy(float),
            x=design.matrix(obs),
            offset=np.where(own_term, 0.0, column(obs, "car_clone_support", 0.0)),
            size=np.ones(len(obs)),
        )

    def __len__(self) -> int:
        return len(self.k)

    def take(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Cells:
        """Return some of the cells."""
        return Cells(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def with_counts(self, k: Floats) -> Cells:
        """Return the same cells with other counts."""
        return replace(self, k=k)

    def at_level(self, times: float, shape: float) -> Cells:
        """Return the same cells with so many times the false molecules, and that shape of them."""
        return replace(
            self, null=times * self.null, null_shape=np.full(len(self), shape, dtype=float)
        )

    def grouped(self) -> tuple[Cells, npt.NDArray[np.intp]]:
        """Join like cells: of one count and type, about one depth and one false expectation.

        Returns
        -------
        groups : Cells
            Means of the groups, with their size.
        inverse : numpy.ndarray
            Group of each cell.
        """
        if not len(self):
            return self, np.zeros(0, dtype=np.intp)
        kind = self.x[:, Design.OF_DEPTH :]
        for wider in (1.0, 2.0, 4.0):
            keys = np.column_stack(
                [
                    self.k,
                    np.round(np.log(np.maximum(self.own, 1)) / (DEPTH_STEP * wider)),
                    np.round((self.x[:, 0] + self.x[:, 4]) / (DEPTH_STEP * wider)),
                    np.round(np.log(np.maximum(self.null, 1e-12)) / (NULL_STEP * wider)),
                    np.round(self.offset / (OFFSET_STEP * wider)),
                    kind @ (2.0 ** np.arange(kind.shape[1])),
                ]
            )
            found, inverse = np.unique(keys, axis=0, return_inverse=True)
            if len(found) <= MANY:
                break
        inverse = inverse.ravel()
        size = np.bincount(inverse, self.size, minlength=len(found))

        def mean(values: Floats) -> Floats:
            return np.bincount(inverse, values * self.size, minlength=len(found)) / size

        x = np.column_stack([mean(column) for column in self.x.T])
        groups = Cells(
            found[:, 0], mean(self.own), mean(self.null), mean(self.null_shape), x,
            mean(self.offset), size.astype(float),
        )  # fmt: skip
        return groups, inverse

    def log_null(self) -> Floats:
        """Return the log probability of the counts from false molecules alone."""
        return log_pmf(self.k, self.null, self.null_shape)

    def of_car(self, mu: Floats, shape: Floats) -> Iterator[tuple[float, Floats, Floats]]:
        """Yield the counts of CAR T cells as a mixture of negative binomials: weight, mean and shape of each.

        Expression varies between CAR T cells by a gamma or by a lognormal distribution. With gamma, own molecules are
        negative binomial; the sum of own and false ones has their means and variances added. Lognormal is taken as a
        mixture over ``N_NODES`` levels of expression (Gauss-Hermite), around each of which it is gamma (``WITHIN``).

        Parameters
        ----------
        mu
            CAR molecules per molecule of a CAR T cell.
        shape
            Above 0: shape of the gamma distribution. Below 0: minus the log-sd of the lognormal one. All of one sign.
        """
        null, null_shape = self.null[:, None], self.null_shape[:, None]
        if len(shape) and shape[0] > 0:
            own = self.own[:, None] * mu
            yield 1.0, own + null, joint_shape(own, shape, null, null_shape)
            return
        between = -shape * np.sqrt(1 - WITHIN**2)
        around = 1 / np.expm1((WITHIN * shape) ** 2)
        for z, weight in zip(*_NODES, strict=True):
            own = self.own[:, None] * (mu * np.exp(between * z - between**2 / 2))
            yield weight, own + null, joint_shape(own, around, null, null_shape)

    def car_pmf(self, k: Floats, mu: Floats, shape: Floats) -> Floats:
        """Return the log probability of counts ``k`` (a number a cell, or one) in CAR T cells: cells x points."""
        return self._of_car(_pmf, k, mu, shape, np.log)

    def car_tail(self, k: Floats | int, mu: Floats, shape: Floats) -> Floats:
        """Return the probability of ``k`` molecules or more in CAR T cells (see :meth:`car_pmf`): cells x points.

        For one count (an int) by :func:`~carseq.calling.negbin.upper_tail_of`, with its accuracy.
        """
        if not isinstance(k, int):
            return self._of_car(upper_tail, k, mu, shape, None)
        one = k
        return self._of_car(
            lambda _, mean, joint: upper_tail_of(one, mean, joint), self.k, mu, shape, None
        )

    def car_table(self, counts: Floats, points: Floats) -> Floats:
        """Return the probability of each count in a CAR T cell, averaged over points: cells x counts.

        Parameters
        ----------
        counts
            Whole numbers, ascending.
        points
            mu, shape and weight: n x 3.
        """
        places, inverse = np.unique(points[:, :2], axis=0, return_inverse=True)
        weight = np.bincount(inverse.ravel(), points[:, 2])
        result = np.zeros((len(self), len(counts)))
        for chosen in (places[:, 1] > 0, places[:, 1] < 0):
            if chosen.any():
                for part, mean, joint in self.of_car(*places[chosen].T):
                    table = pmf_of_counts(counts, mean, joint)
                    result += part * (table @ weight[chosen]).T
        return result

    def _of_car(
        self,
        of: Callable[[Floats, Floats, Floats], Floats],
        k: Floats,
        mu: Floats,
        shape: Floats,
        finish: Callable[[Floats], Floats] | None,
    ) -> Floats:
        """Return a probability in CAR T cells; every distinct point is worked out once."""
        k = np.broadcast_to(np.asarray(k, dtype=float), self.k.shape)[:, None]
        points, inverse = np.unique(np.column_stack([mu, shape]), axis=0, return_inverse=True)
        result = np.zeros((len(self), len(points)))
        for chosen in (points[:, 1] > 0, points[:, 1] < 0):
            if chosen.any():
                total = np.zeros((len(self), int(chosen.sum())))
                for weight, mean, joint in self.of_car(*points[chosen].T):
                    total += weight * of(k, mean, joint)
                result[:, chosen] = total
        result = finish(np.maximum(result, 1e-300)) if finish else result
        return np.asarray(result[:, inverse.ravel()])

    def log_odds(self, mu: Floats, shape: Floats) -> Floats:
        """Return how much likelier (log) the counts are in a CAR T cell than in another: cells x points."""
        difference = self.car_pmf(self.k, mu, shape) - self.log_null()[:, None]
        return np.asarray(np.clip(difference, -MOST_ODDS, MOST_ODDS))

    def log_odds_and_null(self, mu: Floats, shape: Floats) -> tuple[Floats, Floats]:
        """Return :meth:`log_odds`, and the log probability of the counts that they are relative to: cells x points.

        Log odds end at 500. A count that is less probable than that in other cells is told from CAR T cells' alone, or
        the more false molecules there were, the likelier all cells would seem.
        """
        car, null = self.car_pmf(self.k, mu, shape), self.log_null()[:, None]
        odds = np.clip(car - null, -MOST_ODDS, MOST_ODDS)
        return odds, np.maximum(null, car - MOST_ODDS)


def _pmf(k: Floats, mean: Floats, shape: Floats) -> Floats:
    """Return the probability of counts ``k`` (cells x 1); most are 0, which need no gamma functions."""
    result = np.maximum(mean, 1e-12)
    result /= shape
    np.log1p(result, out=result)
    result *= -shape
    np.exp(result, out=result)
    some = k[:, 0] > 0
    result[some] = np.exp(log_pmf(k[some], mean[some], shape[some]))
    return np.asarray(result)
