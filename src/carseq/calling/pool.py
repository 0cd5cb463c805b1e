"""How much ambient RNA a library holds, where neither empty droplets nor other cells tell: its T cells show it.

Without empty droplets contamination is assumed. Where it is far more, each T cell of a pool shows a molecule or so of
the CAR of those that broke, and a patient without CAR T cells seems to have many that hardly express it. One library is
made from cells that were treated alike: what CAR T cells express is known from the sample that has clear ones. The
other T cells of that sample are asked, too, where the library holds hardly a cell that cannot be a CAR T cell.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import special

from carseq.calling.background import DROPLET_SHAPE, Background, ambient_rate
from carseq.calling.counts import library_of
from carseq.calling.model import SAMPLE_SD, Fit, cell_terms, gamma_shape

#: CAR T cells, as good as certain, that tell how much of the CAR they express; and how certain.
FEWEST_CLEAR, CLEAR = 20, 0.99
#: Times less than these that the T cells of another sample of the library seem to express, before it is asked why.
MUCH_LESS = 2.0
#: T cells of such a sample, at least.
FEWEST_T = 20
#: False molecules expected in cells that cannot be CAR T cells, from which these tell of ambient RNA.
FEWEST_OF_OTHERS = 10.0
#: How much more ambient RNA than expected is tried.
TIMES = np.exp(np.linspace(np.log(0.5), np.log(20), 32))
#: Expression that is tried, in standard deviations of the difference between two samples; CAR T fractions.
_Z = np.arange(-10, 3.1, 0.5)
_FRACTIONS = np.array([1e-4, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0])


def shown_by_t_cells(
    t_cells: pd.DataFrame, fitted: Fit, known: Background, samples: pd.DataFrame
) -> dict[str, tuple[float, float]]:
    """Return the false CAR molecules that T cells of libraries without empty droplets show, where they are asked.

    Parameters
    ----------
    t_cells
        ``obs`` of all T cells, with their false molecules.
    fitted, known
        The model and the false molecules, as assumed.
    samples
        Index sample; ``library`` where known.

    Returns
    -------
    dict
        By sample: false CAR molecules that the T cells asked show, and ambient molecules of any gene expected in them.
    """
    names = t_cells["sample"].astype(str).to_numpy()
    libraries: dict[tuple[str, str], list[str]] = {}
    for sample, row in samples.iterrows():
        if known.assumed.get(str(sample), False) and str(sample) in fitted.samples:
            libraries.setdefault(library_of(str(sample), row.get("library")), []).append(
                str(sample)
            )
    found: dict[str, tuple[float, float]] = {}
    for mates in libraries.values():
        others = max(known.evidence[name].other_ambient for name in mates)
        rate = max(ambient_rate(known.evidence[name])[0] for name in mates)
        alone = others * rate < FEWEST_OF_OTHERS
        if len(mates) < 2 and not alone:
            continue
        own = {name: t_cells[names == name] for name in mates}
        clear = {name: _clear(fitted, own[name], name) for name in mates}
        telling = max(mates, key=clear.__getitem__)
        if clear[telling] < FEWEST_CLEAR:
            continue
        mu, shape = _expression(fitted, telling)
        asked = [
            _false(fitted, known, own[name], name, mu, shape)
            for name in mates
            if len(own[name]) >= FEWEST_T
            and (alone if name == telling else _expression(fitted, name)[0] < mu / MUCH_LESS)
        ]
        if asked:
            seen, expected = np.sum(asked, axis=0)
            found |= dict.fromkeys(mates, (float(seen), float(expected)))
    return found


def _clear(fitted: Fit, own: pd.DataFrame, sample: str) -> float:
    """Return how many T cells of a sample are CAR T cells, as good as certain, by two molecules or more."""
    cells = fitted.cells(own, sample).grouped()[0]
    sure = cell_terms(cells, fitted.draws[sample]).posterior() > CLEAR
    return float(cells.size[sure & (cells.k > 1)].sum())


def _expression(fitted: Fit, sample: str) -> tuple[float, float]:
    draws = fitted.draws[sample]
    return float(np.exp(np.log(draws.mu).mean())), float(np.median(gamma_shape(draws.shape)))


def _false(
    fitted: Fit, known: Background, own: pd.DataFrame, sample: str, mu: float, shape: float
) -> tuple[float, float]:
    """Return the false CAR molecules in a sample's T cells, and ambient molecules of any gene expected in them.

    Parameters
    ----------
    own
        Its T cells.
    mu, shape
        Expression of CAR T cells in its library.
    """
    cells = fitted.cells(own, sample).grouped()[0]
    of_mu = mu * np.exp(np.sqrt(2) * SAMPLE_SD * _Z)
    log_prior = -0.5 * _Z[:, None] ** 2 - 0.5 * np.log(_FRACTIONS)
    log_weight = np.empty(len(TIMES))
    for i, times in enumerate(TIMES):
        here = replace(
            cells, null=times * cells.null, null_shape=np.full(len(cells), DROPLET_SHAPE)
        )
        ratio = np.exp(np.minimum(here.log_odds(of_mu, np.full(len(of_mu), shape)), 300))
        mixed = np.log1p((ratio[:, :, None] - 1) * _FRACTIONS)
        total = np.einsum("i,ijk->jk", cells.size, mixed)
        log_weight[i] = cells.size @ here.log_null() + special.logsumexp(total + log_prior)
    evidence = known.evidence[sample]
    rate, scale, _, _ = ambient_rate(evidence)
    log_weight += scale * (np.log(TIMES) - TIMES)
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    middle = float(weight @ np.log(TIMES))
    spread = float(weight @ (np.log(TIMES) - middle) ** 2)
    # As many molecules as tell the rate so well, but no more than there are.
    times = float(np.exp(middle))
    seen = min(times * rate * evidence.t_ambient, 1 / max(spread, 1e-6))
    return seen, seen / (times * rate)
