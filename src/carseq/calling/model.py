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
import pandas as pd
from scipy import special

from carseq.calling.apart import N_APART, distances
from carseq.calling.cells import Cells, Design, column
from carseq.calling.clones import clone_names
from carseq.calling.draws import N_DRAWS, Draws, draw
from carseq.calling.modes import Level, Mode, evidence_grid, fit_at, fit_sample
from carseq.calling.negbin import Floats
from carseq.calling.priors import (
    MU,
    MU_OF,
    PRIOR_MU,
    SHAPE,
    SHAPE_OF,
    Spreads,
    Terms,
    gamma_shape,
    log_prior_expression,
    of_cohort,
    scatter,
)

#: A clone of so many of a sample's T cells, and of at least such a share of them, has a term of its own; the largest
#: ones only. What the others say of their cells is added afterwards (:mod:`carseq.calling.clones`). (Of large ones that
#: is too late: the sample's fraction was learnt from them, too, and their neighbours were given it.)
MIN_CLONE, MIN_CLONE_SHARE, MAX_CLONES = 20, 0.2, 3
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
#: Pairs of mu and shape that stand for what is known without a sample's own cells.
N_ELSEWHERE = 50


def _on_grid(evidence: Floats) -> Floats:
    """Return stored evidence on today's grid: files of before hold fewer mu, all of the lower ones."""
    missing = len(MU) - len(evidence)
    return np.pad(evidence, ((0, missing), (0, 0)), constant_values=evidence.min(initial=0.0))


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
            # Of each sample, the clones with terms.
            **(
                {"clones": np.array([self.design[s].clones for s in self.samples], dtype=object)}
                if any(self.design[s].clones for s in self.samples)
                else {}
            ),
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
        clones = np.asarray(stored.get("clones", np.zeros((len(samples), 0))), dtype=object)
        terms = tuple(str(t) for t in stored["terms"])
        types = terms[len(Design.FIXED) : len(terms) - clones.shape[-1]]
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
                s: Design(
                    float(c[0]), float(c[1]), float(c[2]), types, float(part), tuple(map(str, own))
                )
                for s, c, part, own in zip(samples, stored["depth"], shown, clones, strict=True)
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
    large = _large_clones(obs, samples)
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
        found[sample] = Design(centre, middle, scale, types, shown.get(sample, 1.0), large[sample])
    return found


def _large_clones(obs: pd.DataFrame, samples: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the large clones of each sample, as many names for each: empty ones where it has fewer."""
    names = obs["sample"].astype(str).to_numpy()
    found = {}
    for sample in samples:
        own = pd.Series(clone_names(obs[names == sample]))
        size = own[own != ""].value_counts()
        # A clone of all cells is the sample.
        large = size[(size >= max(MIN_CLONE, MIN_CLONE_SHARE * len(own))) & (size < len(own))]
        found[sample] = tuple(str(name) for name in large.index[:MAX_CLONES])
    most = max(map(len, found.values()), default=0)
    return {s: own + ("",) * (most - len(own)) for s, own in found.items()}


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
    spreads = Spreads.of(names)
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
