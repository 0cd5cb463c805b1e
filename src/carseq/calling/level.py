"""How much ambient RNA a library holds: a number that is open for all its cells together.

Without empty droplets contamination is assumed. It may be a tenth of that, or ten times; then each T cell shows a
molecule or so of the CAR of those that broke, and as many seem to be CAR T cells that hardly express it. Where it is
measured it may still be off by half. So the number is open, and what the T cells show tells of it: false molecules are
one distribution around the depth of each cell, the CAR's own another, and CAR T cells of one cohort express much the
same. They may say that there are more than was expected, not fewer: that they are silent has been heard by then
(:mod:`carseq.calling.background`). One library is made from cells that were treated alike: its samples tell of it
together.

Here the number is weighed on a grid, with one CAR T fraction for all cells of a sample, which takes milliseconds. The
model (:mod:`carseq.calling.model`) is then fitted at a few numbers, spread over what is left possible, and weighs them
with all that it knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special
from scipy.interpolate import CubicSpline

from carseq.calling.background import DROPLET_SHAPE, Background, log_prior_of_level
from carseq.calling.cells import Cells, Design
from carseq.calling.counts import library_of, shown_share
from carseq.calling.model import Fit
from carseq.calling.modes import Level
from carseq.calling.negbin import Floats
from carseq.calling.priors import MU, SHAPE, log_prior_expression, scatter

#: Logarithms of the numbers weighed, relative to what is expected; of these every so many, and a smooth curve between.
_LOG_TIMES, _EVERY = np.arange(-4.0, 4.85, 0.1), 4
#: Expression weighed: every so many of the model's, and its gamma shapes; where ambient RNA was measured, lognormal
#: ones too. (The few molecules of CAR T cells that hardly express it were taken for ambient RNA by gamma alone: of
#: products of 90-98 % CAR T cells with lognormal expression 9 of 32 came out as 77-90 %, and their intervals below the
#: truth. Where it is assumed, lognormal expression would excuse ambient RNA far beyond that: of sorted T cells of which
#: a fifth is ambient RNA 172 calls were false where 62 were stated.)
_MU, _SHAPES, _WITH_LOGNORMAL = slice(None, None, 4), np.array([1, 3, 5]), np.array([1, 3, 5, 8, 9])
#: CAR T fractions weighed, and the log prior of each: Beta(0.5, 1), evenly on the scale of log odds.
_LOG_ODDS = np.linspace(-10.0, 5.0, 16)
_FRACTIONS = special.expit(_LOG_ODDS)
_LOG_PRIOR = -0.5 * np.logaddexp(0, -_LOG_ODDS) - np.logaddexp(0, _LOG_ODDS)
#: Numbers at which the model is fitted, at most; and how far apart (log) they may be.
MOST_LEVELS, APART = 4, 0.35
#: How much likelier (log) T cells make fewer false molecules than expected, from which that is not believed.
GAINED = 0.5
#: The spread of these numbers is that of what is weighed here to this power: somewhat wider.
_WIDER = 0.5
#: Cells whose depths and false molecules differ by less (log) are weighed as one.
_STEP = 0.25


def levels(t_cells: pd.DataFrame, known: Background, samples: pd.DataFrame) -> dict[str, Level]:
    """Return how many false molecules the samples may hold, where their T cells tell of it.

    Parameters
    ----------
    t_cells
        ``obs`` of all T cells, with their false molecules.
    known
        The false molecules, by all but what each T cell shows.
    samples
        Index sample; ``library`` and ``car_unseen`` where known.
    """
    names = t_cells["sample"].astype(str).to_numpy()
    libraries: dict[tuple[str, str], dict[str, Cells]] = {}
    for sample, row in samples.iterrows():
        own = names == str(sample)
        if own.any():
            mates = libraries.setdefault(library_of(str(sample), row.get("library")), {})
            mates[str(sample)] = _coarse(t_cells[own], shown_share(row))
    found: dict[str, Level] = {}
    for cells in libraries.values():
        if any((c.k > 0).any() for c in cells.values()):
            found |= _of_library(cells, known)
    return found


def _of_library(cells: Mapping[str, Cells], known: Background) -> dict[str, Level]:
    """Return the levels of the samples of one library, from their T cells."""
    null = {s: float(c.size @ c.null) for s, c in cells.items()}
    rate = {s: null[s] / float(c.size @ c.own) for s, c in cells.items()}
    # One scale for all of them: what is expected of the first.
    first = next(iter(rate.values()))
    between = scatter()[_MU, _MU]
    between = between / between.sum(axis=1, keepdims=True)
    prior, word = {}, {}
    assumed = any(known.evidence[s].assumed for s in cells)
    shapes = _SHAPES if assumed else _WITH_LOGNORMAL
    for s, own in cells.items():
        shift = np.log(first / rate[s])
        prior[s] = log_prior_of_level(known.evidence[s], _LOG_TIMES + shift + np.log(null[s]))
        of_sample = _log_likelihood(own, _LOG_TIMES[::_EVERY] + shift, shapes)
        top = of_sample.max()
        shared = np.einsum("cm,tms->tcs", between, np.exp(of_sample - top))
        word[s] = np.log(np.maximum(shared, 1e-300)) + top
    every = np.sum(list(word.values()), axis=0)
    of_all = _over_pairs(every, shapes)
    return {
        s: _chosen(
            prior[s] + _over_pairs(every - word[s], shapes),
            prior[s] + of_all,
            float(np.log(first / rate[s])),
        )
        for s in cells
    }


def _over_pairs(log_likelihood: Floats, shapes: npt.NDArray[np.intp]) -> Floats:
    """Return the log likelihood of each number over all mu and shapes, from that of every few of them."""
    found = special.logsumexp(log_likelihood + log_prior_expression()[_MU, shapes], axis=(1, 2))
    return np.asarray(CubicSpline(_LOG_TIMES[::_EVERY], found)(_LOG_TIMES))


def _chosen(log_prior: Floats, log_posterior: Floats, shift: float) -> Level:
    """Return a few numbers that stand for the posterior, with their log prior.

    Parameters
    ----------
    log_prior, log_posterior
        Of each number weighed, by all but the sample's own T cells, and by them too.
    shift
        Logarithm of what the numbers are relative to, over what is expected of the sample.
    """
    # Fewer than expected, and CAR T cells that express no more than that in their place, cannot be told from them: of
    # a lysed product half of the T cells came out as CAR T cells. So T cells speak for more, never for fewer.
    word = log_posterior - log_prior
    of_expected = float(np.interp(-shift, _LOG_TIMES, word))
    held = np.where(_LOG_TIMES + shift < 0, np.minimum(of_expected - word, 0.0), 0.0)
    log_prior, log_posterior = log_prior + held, log_posterior + held
    weight = special.softmax(log_posterior)
    middle = float(weight @ _LOG_TIMES)
    sd = float(np.sqrt(weight @ (_LOG_TIMES - middle) ** 2))
    n = int(np.clip(np.ceil(2 * sd / APART), 1, MOST_LEVELS))
    wider = special.softmax(_WIDER * log_posterior)
    # Evenly spread over it; each stands for as much of it.
    ends = np.concatenate([[0.0], np.cumsum(wider)])
    step = _LOG_TIMES[1] - _LOG_TIMES[0]
    edges = np.append(_LOG_TIMES, _LOG_TIMES[-1] + step) - step / 2
    at = np.interp((np.arange(n) + 0.5) / n, ends, edges)
    log_weight = np.interp(at, _LOG_TIMES, log_prior - np.log(np.maximum(wider, 1e-300)))
    gained = np.interp(at, _LOG_TIMES, word) - of_expected
    at = np.where((at + shift < 0) & (gained > GAINED), -shift, at)
    times, same = np.unique(np.exp(at + shift), return_inverse=True)
    joined = np.full(len(times), -np.inf)
    np.logaddexp.at(joined, same.ravel(), log_weight)
    return Level(times, joined - joined.max(), DROPLET_SHAPE)


def _coarse(t_cells: pd.DataFrame, shown: float) -> Cells:
    """Return T cells of a sample, those of like depth and one count taken together."""
    whole = Cells.of(t_cells, Design(0.0, 0.0, 1.0, (), shown))
    keys = np.column_stack(
        [
            whole.k,
            np.round(np.log(np.maximum(whole.own, 1)) / _STEP),
            np.round(np.log(np.maximum(whole.null, 1e-12)) / _STEP),
        ]
    )
    found, inverse = np.unique(keys, axis=0, return_inverse=True)
    size = np.bincount(inverse.ravel()).astype(float)

    def mean(values: Floats) -> Floats:
        return np.bincount(inverse.ravel(), values) / size

    nothing = np.zeros(len(found))
    return Cells(
        found[:, 0], mean(whole.own), mean(whole.null), np.ones(len(found)),
        np.zeros((len(found), 0)), nothing, size,
    )  # fmt: skip


def _log_likelihood(cells: Cells, log_times: Floats, shapes: npt.NDArray[np.intp]) -> Floats:
    """Return the log likelihood of a sample's T cells, over all CAR T fractions: numbers x mu x shapes."""
    mu, shape = (x.ravel() for x in np.meshgrid(MU[_MU], SHAPE[shapes], indexing="ij"))
    found = np.empty((len(log_times), len(mu)))
    for i, times in enumerate(np.exp(log_times)):
        here = cells.at_level(float(times), DROPLET_SHAPE)
        odds, null = here.log_odds_and_null(mu, shape)
        ratio = np.expm1(odds)
        mixed = np.empty((len(_FRACTIONS), len(mu)))
        for number, fraction in enumerate(_FRACTIONS):
            mixed[number] = cells.size @ np.log1p(fraction * ratio)
        found[i] = special.logsumexp(mixed + _LOG_PRIOR[:, None], axis=0)
        found[i] += cells.size @ null
    return found.reshape(len(log_times), -1, len(shapes))


def settle(obs: pd.DataFrame, fitted: Fit) -> Fit:
    """Write the false molecules that a fit expects into ``obs``; return the fit relative to them.

    Parameters
    ----------
    obs
        All cells, with the false molecules that the fit began with.
    fitted
        The fit.
    """
    names = obs["sample"].astype(str).to_numpy()
    draws = dict(fitted.draws)
    for sample, own in fitted.draws.items():
        if not own.is_open:
            continue
        rows = names == sample
        mean = float(own.times.mean())
        for name in ("car_expected_ambient", "car_expected_background"):
            obs.loc[rows, name] *= mean
        obs.loc[rows, "car_null_shape"] = 1 / (1 / own.null_shape + own.times.var() / mean**2)
        draws[sample] = replace(own, times=own.times / mean)
    return replace(fitted, draws=draws)
