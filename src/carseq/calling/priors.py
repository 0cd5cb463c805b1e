"""What is known of CAR expression and of the model's terms before a count is seen, and the grid of mu and shape."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from carseq.calling.cells import CLONE, Design
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
#: Prior sd (log odds) of the term of a large clone: it may hold CAR T cells alone, or none.
SD_CLONE = 6.0
#: Chance, before anything is seen, that all T cells of a sample are CAR T cells (a sorted product). A continuous prior
#: gives this a probability of zero: the interval of such a product missed 100 % (0.88, 0.78-0.96).
PRIOR_ALL = 0.03
#: Up to 7 CAR molecules in a hundred: panels of few genes show many times the CAR's share of a whole transcriptome. (Up
#: to 1 in a hundred, a sample of 20 % with three times that came out as 26 %, 20-31 %.)
MU = np.exp(np.arange(-3.0, 5.05, 0.1)) * PRIOR_MU
#: Every pair of mu and shape, as one list.
MU_OF, SHAPE_OF = (x.ravel() for x in np.meshgrid(MU, SHAPE, indexing="ij"))


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

    def log_constant(self) -> float:
        """Return what the log priors of intercept (Beta(0.5, 1) is 1 / 2 f^-0.5) and terms leave out."""
        return float(-np.log(2) - np.log(self.sd).sum() - 0.5 * len(self.sd) * np.log(2 * np.pi))


@dataclass(frozen=True)
class Spreads:
    """Standard deviations of the terms: of the cohort's around 0, and of a sample's around the cohort's."""

    cohort: Floats
    scatter: Floats
    #: Which terms are those of large clones.
    of_clone: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, names: tuple[str, ...]) -> Spreads:
        """Return those of terms, by their names."""
        of_clone = np.array([name.startswith(CLONE) for name in names], dtype=bool)
        cohort = np.array([PRIOR_TERM.get(n, PRIOR_TYPE) for n in names])
        own = np.array([SCATTER.get(n, SCATTER_TYPE) for n in names])
        # Clones of two samples have nothing in common.
        return cls(np.where(of_clone, 1e-3, cohort), np.where(of_clone, SD_CLONE, own), of_clone)

    def scaled(self, part: float) -> Spreads:
        """Return a part of them, but for clones, of which depth and type say nothing."""
        scatter = np.where(self.of_clone, self.scatter, self.scatter * part)
        return replace(self, cohort=self.cohort * part, scatter=scatter)

    def alone(self) -> Terms:
        """Return the prior of a sample's terms without evidence from other samples."""
        return Terms(np.zeros(len(self.cohort)), np.hypot(self.cohort, self.scatter))
