"""T cells as the model sees them: counts, depths, false molecules expected, and what may go with being a CAR T cell."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.calling.negbin import Floats, joint_shape, log_pmf

#: Cells of one count whose depth, false expectation and clone support differ by less (natural logs) are taken
#: together. Wider steps where there are more than ``MANY`` groups.
DEPTH_STEP, NULL_STEP, OFFSET_STEP = 0.08, 0.15, 0.5
MANY = 1500
#: The least part of its RNA that a cell is taken to have kept.
LEAST_INTACT = 0.02


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
    centre
        Log of the depth at which the sample's depth term is 0.
    types
        Cell types with a term of their own.
    """

    centre: float
    types: tuple[str, ...]

    #: The first terms, before the types: log depth, its square, damage.
    FIXED = ("depth", "depth squared", "damaged")
    #: Log depths beyond this distance from the centre are taken for it: nothing is extrapolated further.
    FURTHEST = 2.5

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the terms."""
        return (*self.FIXED, *self.types)

    def matrix(self, obs: pd.DataFrame) -> Floats:
        """Return cells x terms."""
        depth = np.log(np.maximum(obs["total_umis"].to_numpy(float), 1)) - self.centre
        depth = np.clip(depth, -self.FURTHEST, self.FURTHEST)
        damaged = column(obs, "is_damaged", 0.0) > 0
        labels = (
            obs["cell_type"].astype(str).to_numpy()
            if "cell_type" in obs
            else np.full(len(obs), "")
        )
        types = [labels == name for name in self.types]
        return np.column_stack([depth, depth**2, damaged, *types]).astype(float)


@dataclass(frozen=True)
class Cells:
    """T cells of one sample, or groups of like ones.

    Attributes
    ----------
    k
        CAR molecules that count as evidence.
    own
        Molecules that could be its own CAR's: its depth times the part of its RNA that it kept.
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
        return cls(
            k=obs["car_evidence"].to_numpy(float),
            own=obs["total_umis"].to_numpy(float) * intact,
            null=(obs["car_expected_ambient"] + obs["car_expected_background"]).to_numpy(float),
            null_shape=obs["car_null_shape"].to_numpy(float),
            x=design.matrix(obs),
            offset=column(obs, "car_clone_support", 0.0),
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
        for wider in (1.0, 2.0, 4.0):
            keys = np.column_stack(
                [
                    self.k,
                    np.round(np.log(np.maximum(self.own, 1)) / (DEPTH_STEP * wider)),
                    np.round(self.x[:, 0] / (DEPTH_STEP * wider)),
                    np.round(np.log(np.maximum(self.null, 1e-12)) / (NULL_STEP * wider)),
                    np.round(self.offset / (OFFSET_STEP * wider)),
                    self.x[:, 2:] @ (2.0 ** np.arange(self.x.shape[1] - 2)),
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
            mean(self.offset), size,
        )  # fmt: skip
        return groups, inverse

    def log_null(self) -> Floats:
        """Return the log probability of the counts from false molecules alone."""
        return log_pmf(self.k, self.null, self.null_shape)

    def of_car(self, mu: Floats, shape: Floats) -> tuple[Floats, Floats]:
        """Return mean and shape of the counts of CAR T cells, cells x parameters.

        The sum of own and false molecules has their means and variances added.
        """
        own, null = self.own[:, None] * mu, self.null[:, None]
        return own + null, joint_shape(own, shape, null, self.null_shape[:, None])

    def log_odds(self, mu: Floats, shape: Floats) -> Floats:
        """Return how much likelier (log) the counts are in a CAR T cell than in another: cells x parameters."""
        log_car = log_pmf(self.k[:, None], *self.of_car(mu, shape))
        return np.asarray(np.clip(log_car - self.log_null()[:, None], -500.0, 500.0))
