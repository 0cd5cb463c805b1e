"""Clonotypes as evidence: how many cells of a clone are CAR T cells is learnt from its own cells.

A clone is not proof: of one clone 48 of 84 cells were CAR+ where CAR+ cells had been sorted, and none of 49 in what
the sort left over. So each clone of a patient has its own share, with the prior Beta(c p, c (1 - p)) around what
its cells' depth and type say (p). The concentration c is learnt from all clones of the cohort: small if clones are
all or nothing, large if being of one clone says nothing. Then the prior is moved towards the shares that other clones
show, since these follow no beta distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from carseq.calling.negbin import Floats
from carseq.log import get_logger

log = get_logger("calling.clones")
#: Cell Ranger's names of clonotypes, which it numbers in each library.
NUMBERED = r"clonotype\d+"

#: Concentrations of the clones' shares that are tried.
CONCENTRATIONS = np.array([0.3, 0.7, 1.5, 3.0, 8.0, 20.0, 100.0, 1000.0])
#: Prior weight (log) of each: even, but the one at which clones are not evidence is as likely as the rest together.
LOG_WEIGHT = np.log(np.append(np.full(7, 1 / 14), 0.5))
#: Log odds at which a clone's share is looked at.
SHARES = np.linspace(-9.0, 9.0, 37)
#: How many clones the prior of a clone's share counts for, and how often shares are learnt anew from one another.
PRIOR_CLONES, ROUNDS = 5.0, 20
#: Concentrations below which clones differ so much that the model is fitted again, with what they say. (Else the
#: fraction of all cells was learnt from clones of CAR T cells, too: beside five clones of 6-12 %, three of them of CAR
#: T cells, 10 % of the other T cells came out as 26 %. Where clones say nothing, the concentration was above 130.)
ALIKE = 40.0
#: Most log odds, either way, that the other cells of a clone may add.
MOST = 6.0


def clone_names(obs: pd.DataFrame) -> npt.NDArray[np.object_]:
    """Return each cell's clone, by patient and clonotype; empty for a cell without a receptor."""
    if "clonotype" not in obs:
        return np.full(len(obs), "", dtype=object)
    name = obs["clonotype"].astype("object")
    name = name.where(name.notna(), "").astype(str)
    patient = obs["patient"].astype(str) if "patient" in obs else pd.Series("", index=obs.index)
    numbered = name.str.fullmatch(NUMBERED)
    if (obs["sample"].astype(str)[numbered].groupby(patient[numbered]).nunique() > 1).any():
        log.warning(
            "clonotypes are named as Cell Ranger numbers them (%s): cells of two samples of a patient with one number "
            "are taken for one clone, which they are if the samples were numbered together (`cellranger aggr`); else "
            "name clonotypes by what they are, such as their CDR3s",
            name[numbered].iloc[0],
        )
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
            special.betainc(
                CONCENTRATIONS[:, None] * base, CONCENTRATIONS[:, None] * (1 - base), cut
            ),
            axis=1,
        )
        log_share = np.log(np.maximum(share, 1e-300))
        total = cell.sum(axis=0)
        # What a lone cell says of a concentration is its sample's business, not the clone's.
        alone = special.logsumexp(log_share[:, None, :] + cell, axis=2).sum(axis=1)
        log_evidence += special.logsumexp(log_share + total, axis=1) - alone
        found.append(_Clone(rows, middle, p, cell, log_share))
    weight = np.exp(log_evidence - log_evidence.max())
    weight /= weight.sum()
    priors = np.stack([weight @ np.exp(c.log_share) for c in found])
    learnt = _learnt(priors, found)
    for c, prior_share, from_others in zip(found, priors, learnt, strict=True):
        # Without the cell itself: cells x shares.
        log_rest = np.log(np.maximum(from_others, 1e-300)) + c.cell.sum(axis=0) - c.cell
        chance = (special.softmax(log_rest, axis=1) * c.p).sum(axis=1)
        # Beside what the cells' own prior gives a cell that is alone in its clone.
        lone = c.p @ prior_share / prior_share.sum()
        added = special.logit(np.clip(chance, 1e-9, 1 - 1e-9))
        added -= special.logit(np.clip(lone, 1e-9, 1 - 1e-9))
        support[c.rows] = np.clip(added, -MOST, MOST)
    return support, float(np.exp(weight @ np.log(CONCENTRATIONS)))


@dataclass(frozen=True)
class _Clone:
    """A clone of two cells or more.

    Attributes
    ----------
    rows
        Its cells.
    middle
        Log odds of a CAR T cell by what its cells' depth and type say, in the mean.
    p
        Chance of a CAR T cell at each share of the clone: cells x shares.
    cell
        Log likelihood of each cell at each share: cells x shares.
    log_share
        Log prior of each share: concentrations x shares.
    """

    rows: npt.NDArray[np.intp]
    middle: float
    p: Floats
    cell: Floats
    log_share: Floats


def _learnt(priors: Floats, clones: list[_Clone]) -> Floats:
    """Return the prior of each clone's share, moved towards the shares of the other clones: clones x shares.

    Shares of clones follow no beta distribution: often a clone is all CAR T, or not at all, or half. The prior counts
    as ``PRIOR_CLONES`` clones beside those whose cells, by depth and type, are about as likely CAR T cells.
    """
    likelihood = np.stack([c.cell.sum(axis=0) for c in clones])
    likelihood = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    base = np.round(np.array([c.middle for c in clones])).astype(int)
    levels, at = np.unique(base, return_inverse=True)
    kin = np.exp(-0.5 * (levels[:, None] - levels) ** 2)
    n_kin = kin @ np.bincount(at)
    learnt = priors / priors.sum(axis=1, keepdims=True)
    first = learnt
    for _ in range(ROUNDS):
        posterior = learnt * likelihood
        posterior /= posterior.sum(axis=1, keepdims=True)
        sums = np.zeros((len(levels), posterior.shape[1]))
        np.add.at(sums, at, posterior)
        others = (kin @ sums)[at] - posterior
        learnt = (PRIOR_CLONES * first + others) / (PRIOR_CLONES + n_kin[at] - 1)[:, None]
    return learnt
