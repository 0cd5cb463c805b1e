"""Clonotypes as evidence: how many cells of a clone are CAR T cells is learnt from its own cells.

A clone is no proof: of one clone 48 of 84 cells were CAR+ where CAR+ cells had been sorted, and none of 49 in what
the sort left over. So each clone of a patient has a share of its own, with the prior Beta(c p, c (1 - p)) around what
its cells' depth and type say (p). The concentration c is learnt from all clones of the cohort: small if clones are
all or nothing, large if being of one clone says nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special, stats

from carseq.calling.negbin import Floats

#: Concentrations of the clones' shares that are tried.
CONCENTRATIONS = np.array([0.3, 0.7, 1.5, 3.0, 8.0, 20.0, 100.0, 1000.0])
#: Prior weight (log) of each: even, but clones that say nothing are as likely as the rest together.
LOG_WEIGHT = np.log(np.append(np.full(7, 1 / 14), 0.5))
#: Log odds at which a clone's share is looked at.
SHARES = np.linspace(-9.0, 9.0, 37)
#: Most log odds, either way, that the other cells of a clone may add.
MOST = 6.0


def clone_names(obs: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return each cell's clone, by patient and clonotype; empty for a cell without a receptor."""
    if "clonotype" not in obs:
        return np.full(len(obs), "", dtype=object)
    name = obs["clonotype"].astype("object")
    name = name.where(name.notna(), "").astype(str)
    patient = obs["patient"].astype(str) if "patient" in obs else pd.Series("", index=obs.index)
    return (patient + " " + name).where(~name.isin(["", "nan", "None"]), "").to_numpy(object)


def clone_support(
    clone: npt.NDArray[np.object_], prior: Floats, log_ratio: Floats
) -> tuple[Floats, float]:
    """Return the log odds that the other cells of its clone add to each T cell.

    Parameters
    ----------
    clone
        Clone of each T cell, across the samples of a patient; empty where unknown.
    prior
        Chance of a CAR T cell before its count is seen (0-1).
    log_ratio
        Log likelihood ratio of its count, CAR T cell against another.

    Returns
    -------
    support : numpy.ndarray
        Log odds; 0 for a cell that is alone in its clone, NaN for one without a receptor.
    concentration : float
        What was learnt of clones: the geometric mean of c.
    """
    support = np.where(clone == "", np.nan, 0.0)
    names, inverse, size = np.unique(clone, return_inverse=True, return_counts=True)
    several = np.flatnonzero((size >= 2) & (names != ""))
    if not len(several):
        return support, float("nan")
    prior = np.clip(prior, 1e-6, 1 - 1e-6)
    members = pd.Series(np.arange(len(clone))).groupby(inverse).indices
    edges = np.append(np.append(-np.inf, (SHARES[1:] + SHARES[:-1]) / 2), np.inf)
    cut = special.expit(edges)
    found = []
    log_evidence = LOG_WEIGHT.copy()
    for number in several:
        rows = members[number]
        own = special.logit(prior[rows])
        middle = float(np.mean(own))
        p = special.expit(SHARES + (own - middle)[:, None])
        # Log likelihood of each cell at each share of its clone.
        cell = np.log1p(-p + p * np.exp(np.clip(log_ratio[rows], -500, 500))[:, None])
        base = special.expit(middle)
        share = np.diff(
            stats.beta.cdf(
                cut, CONCENTRATIONS[:, None] * base, CONCENTRATIONS[:, None] * (1 - base)
            ),
            axis=1,
        )
        log_share = np.log(np.maximum(share, 1e-300))
        total = cell.sum(axis=0)
        # What a lone cell says of a concentration is its sample's business, not the clone's.
        alone = special.logsumexp(log_share[:, None, :] + cell, axis=2).sum(axis=1)
        log_evidence += special.logsumexp(log_share + total, axis=1) - alone
        found.append((rows, p, cell, total, log_share))
    weight = np.exp(log_evidence - log_evidence.max())
    weight /= weight.sum()
    for rows, p, cell, total, log_share in found:
        # Without the cell itself: cells x concentrations x shares.
        log_rest = log_share + (total - cell)[:, None, :]
        log_mass = special.logsumexp(log_rest, axis=2) + np.log(np.maximum(weight, 1e-300))
        of_share = special.softmax(log_rest, axis=2)
        expected = np.einsum("ics,is->ic", of_share, p)
        mix = special.softmax(log_mass, axis=1)
        chance = np.clip((mix * expected).sum(axis=1), 1e-9, 1 - 1e-9)
        # Beside what the same prior gives a cell that is alone in its clone.
        lone = np.clip(
            (
                special.softmax(np.log(np.maximum(weight, 1e-300)))
                * np.einsum("cs,is->ic", np.exp(log_share), p)
            ).sum(axis=1),
            1e-9,
            1 - 1e-9,
        )
        support[rows] = np.clip(special.logit(chance) - special.logit(lone), -MOST, MOST)
    return support, float(np.exp(weight @ np.log(CONCENTRATIONS)))
