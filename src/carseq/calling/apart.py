"""T cells that were chosen by something that the model does not look at: how far they lie from what it says of them."""

from __future__ import annotations

import numpy as np

from carseq.calling.negbin import Floats, log_normal

#: How far (sd of log odds) T cells that were chosen by something that the model does not look at, such as their state,
#: may lie from what depth, damage and type say of them: each of these with the same chance. Mostly a state says little
#: of CAR status, and sometimes all. (With the sample's own log odds for all its states, a state without a CAR T cell,
#: beside one that held them all, came out as 15 %; 0 of 16 intervals held its share.)
SPREADS = (0.2, 0.8, 2.5)
#: Distances of log odds that are looked at, at first and then where these are likely; and of how many draws.
FURTHEST, N_FIRST, N_THEN, N_APART = 9.0, 37, 25, 100
#: Distances whose density is below the highest one's by more (natural log) are not looked at again.
NEGLIGIBLE = 9.0


def distances(
    size: Floats, prior: Floats, odds: Floats, n: int, rng: np.random.Generator
) -> Floats:
    """Draw how far T cells lie, in log odds, from what the model says of them, by their own molecules.

    Parameters
    ----------
    size
        How many cells each row stands for.
    prior, odds
        Log odds of a CAR T cell before its count is seen, and what its count adds: cells x draws.
    n
        How many are drawn for each of the draws.
    rng
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        Draws x ``n``.
    """
    before = np.exp(np.clip(prior, -600.0, 600.0))
    after = np.exp(np.clip(prior + odds, -600.0, 600.0))

    def log_density(at: Floats, rows: slice) -> Floats:
        found = [
            size @ np.log((1 + times * after[:, rows]) / (1 + times * before[:, rows]))
            for times in np.exp(at)
        ]
        log_prior = np.logaddexp.reduce([log_normal(at, 0.0, sd) for sd in SPREADS])
        return np.stack(found, axis=1) + log_prior

    first = np.linspace(-FURTHEST, FURTHEST, N_FIRST)
    rough = log_density(first, slice(None, None, 10))
    likely = np.flatnonzero((rough >= rough.max(axis=1, keepdims=True) - NEGLIGIBLE).any(axis=0))
    ends = first[max(likely[0] - 1, 0)], first[min(likely[-1] + 1, len(first) - 1)]
    at = np.linspace(*ends, N_THEN)
    density = log_density(at, slice(None))
    density = np.exp(density - density.max(axis=1, keepdims=True))
    # Each between the points by their areas.
    areas = np.cumsum((density[:, 1:] + density[:, :-1]) / 2, axis=1)
    share = (np.arange(n) + rng.random((len(density), n))) / n
    return np.stack(
        [
            np.interp(own * area[-1], np.append(0.0, area), at)
            for own, area in zip(share, areas, strict=True)
        ]
    )
