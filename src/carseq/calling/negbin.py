"""Negative binomials by mean and shape: variance = mean + mean^2 / shape; and the normal density.

By :mod:`scipy.special`: :mod:`scipy.stats`, which has them too, takes a second of a core to import.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
#: Above this shape a negative binomial is a Poisson distribution for all purposes here.
MAX_SHAPE = 1e6
#: Up to this count the lower ones are summed, where its tail is sought.
_ONE_BY_ONE = 40


def log_pmf(k: Floats, mean: Floats, shape: float | Floats) -> Floats:
    """Return the log probability of counts ``k``; arguments are broadcast."""
    mean = np.maximum(mean, 1e-12)
    r = np.clip(shape, 1e-9, MAX_SHAPE)
    chosen = special.gammaln(k + r) - special.gammaln(r) - special.gammaln(np.add(k, 1.0))
    return np.asarray(chosen - r * np.log1p(mean / r) - k * np.log1p(r / mean))


def pmf_of_counts(counts: Floats, mean: Floats, shape: Floats) -> Floats:
    """Return the probability of several counts at once, from each count to the next: counts x the shape of ``mean``.

    Parameters
    ----------
    counts
        Whole numbers, ascending.
    mean, shape
        Of the negative binomials, of one shape.
    """
    mean = np.maximum(mean, 1e-12)
    r = np.clip(shape, 1e-9, MAX_SHAPE)
    ratio = mean / (mean + r)
    # p(k) = p(k - 1) (r + k - 1) / k x ratio; p(0) may be too small for a number where the mean is large.
    log_zero = -r * np.log1p(mean / r)
    low = log_zero < -600
    now = np.exp(log_zero)
    found = np.empty((len(counts), *mean.shape))
    at = 0
    for k in range(int(counts[-1]) + 1 if len(counts) else 0):
        if k:
            now = now * ((r + (k - 1)) * (ratio / k))
        if k == counts[at]:
            found[at] = now
            at += 1
    if low.any():
        found[:, low] = np.exp(log_pmf(np.asarray(counts)[:, None], mean[low], r[low]))
    return found


def upper_tail(k: Floats, mean: Floats, shape: float | Floats) -> Floats:
    """Return the probability of ``k`` molecules or more; 1 for k = 0."""
    mean = np.maximum(mean, 1e-12)
    r = np.clip(shape, 1e-9, MAX_SHAPE)
    k = np.asarray(k, dtype=float)
    tail = special.betainc(np.maximum(k, 1e-9), r, mean / (mean + r))
    return np.asarray(np.where(k <= 0, 1.0, tail))


def upper_tail_of(k: int, mean: Floats, shape: Floats) -> Floats:
    """Return the probability of one count or more, as 1 less that of each lower count.

    For the few molecules of a CAR this takes a fraction of the time of :func:`upper_tail`. Probabilities below 1e-10
    are of no accuracy.

    Parameters
    ----------
    k
        The count.
    mean, shape
        Of the negative binomials, of one shape.
    """
    if k > _ONE_BY_ONE:
        return upper_tail(np.array(k), mean, shape)
    below = pmf_of_counts(np.arange(k, dtype=float), mean, shape).sum(axis=0)
    return np.asarray(np.maximum(1.0 - below, 0.0))


def log_normal(x: Floats, mean: float, sd: float) -> Floats:
    """Return the log density of a normal distribution."""
    return np.asarray(-0.5 * ((x - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi))


def joint_shape(one: Floats, shape: float | Floats, other: Floats, other_shape: Floats) -> Floats:
    """Return the shape of the sum of two negative binomials of means ``one`` and ``other``, by its variance."""
    spread = np.asarray(one**2 / shape + other**2 / other_shape)
    total = np.asarray((one + other) ** 2)
    total /= np.maximum(spread, 1e-30, out=spread)
    return np.asarray(np.clip(total, 1e-9, MAX_SHAPE, out=total))
