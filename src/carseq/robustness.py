"""robustness: how firm calls and verdicts are, by the threshold and by the depth.

Takes the cohort with its calls. :func:`thresholds` asks what another false discovery rate would have called;
:func:`thinning` asks what a shallower library would have. Both use the model as it was fitted, and take no more than
seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from carseq.calling import (
    Floats,
    _Data,
    _limit,
    _nb_sf,
    _needed,
    _points_of,
    _sensitivity,
    choose,
    decide,
)
from carseq.cells.annotation import is_single_t
from carseq.schema.tables import THINNING, THRESHOLDS

if TYPE_CHECKING:
    from anndata import AnnData

#: False discovery rates looked at, beside the one in use.
FDRS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
#: Shares of the molecules kept.
SHARES = tuple(round(0.1 * i, 1) for i in range(1, 11))


def thresholds(adata: AnnData, fdrs: tuple[float, ...] = FDRS) -> pd.DataFrame:
    """Call each sample at other false discovery rates.

    Posteriors stay as they are; only the cut moves, and what follows from it.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`.
    fdrs
        False discovery rates; the one in use is added.

    Returns
    -------
    pandas.DataFrame
        Schema ``THRESHOLDS``; no rows for samples without T cells.
    """
    used = float(adata.uns["car_model"]["fdr"])
    rows = []
    for sample, data, points, posterior, unseen in _samples(adata):
        p_ambient = _nb_sf(data.k, data.null, data.null_shape)
        own = np.flatnonzero(data.k > 0)
        for fdr in sorted({*fdrs, used}):
            chosen, cutoff = choose(posterior[own], p_ambient[own], fdr)
            called = posterior[own][chosen]
            everything = np.ones(len(data.k), dtype=bool)
            sensitivities = _sensitivity(data, points, everything, cutoff)
            limit = _limit(len(data.k), sensitivities)
            false_calls = float((1 - called).sum())
            verdict, _ = decide(len(called), len(data.k), unseen, limit, false_calls)
            rows.append(
                {
                    "sample": sample,
                    "fdr": fdr,
                    "in_use": fdr == used,
                    "least_posterior": float(called.min()) if len(called) else np.nan,
                    "n_t_cells": len(data.k),
                    "n_car_positive": len(called),
                    "expected_false_calls": false_calls,
                    "sensitivity": sum(s * w for s, w in sensitivities),
                    "detection_limit": limit,
                    "verdict": verdict,
                }
            )
    return THRESHOLDS.conform(pd.DataFrame(rows, columns=list(THRESHOLDS.columns)))


def thinning(adata: AnnData, shares: tuple[float, ...] = SHARES) -> pd.DataFrame:
    """Say what each sample would have given with fewer molecules seen.

    Every molecule of a T cell is kept with the same chance: its molecules and its false CAR molecules shrink in
    proportion, its CAR count becomes binomial. A cell's chance of a call is that of as many CAR molecules as the model,
    fitted at full depth, asks of a cell of that depth. Cells, types and the fitted model stay; a library that was
    truly sequenced less would lose some cells and types as well.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`.
    shares
        Shares (0-1] of the molecules kept.

    Returns
    -------
    pandas.DataFrame
        Schema ``THINNING``; no rows for samples without T cells.
    """
    fdr = float(adata.uns["car_model"]["fdr"])
    rows = []
    for sample, data, points, posterior, _ in _samples(adata):
        own = np.flatnonzero(data.k > 0)
        p_ambient = _nb_sf(data.k, data.null, data.null_shape)
        _, cutoff = choose(posterior[own], p_ambient[own], fdr)
        for share in shares:
            thin = _Data(
                data.k, data.n * share, data.null * share, data.null_shape, data.code, data.samples
            )
            sensitivities = _sensitivity(thin, points, np.ones(len(data.k), dtype=bool), cutoff)
            chance = _chance_of_call(thin, points, cutoff, share)
            expected = float(chance.sum())
            # Sums of independent yes-or-no outcomes: mean and variance add up.
            spread = 1.96 * float(np.sqrt((chance * (1 - chance)).sum()))
            rows.append(
                {
                    "sample": sample,
                    "share": share,
                    "median_umis": float(np.median(thin.n)),
                    "n_t_cells": len(data.k),
                    "expected_positive": expected,
                    "expected_positive_low": max(0.0, expected - spread),
                    "expected_positive_high": expected + spread,
                    "sensitivity": sum(s * w for s, w in sensitivities),
                    "detection_limit": _limit(len(data.k), sensitivities),
                }
            )
    return THINNING.conform(pd.DataFrame(rows, columns=list(THINNING.columns)))


def _chance_of_call(thin: _Data, points: Floats, cutoff: float, share: float) -> Floats:
    """Return each cell's chance of a call when its CAR molecules are kept with a chance of ``share``."""
    chance = np.zeros(len(thin.k))
    own = np.flatnonzero(thin.k > 0)
    if len(own):
        needed = _needed(thin.take(own), points, cutoff)
        chance[own] = stats.binom.sf(needed - 1, thin.k[own].astype(int), share)
    return chance


def _samples(adata: AnnData) -> list[tuple[str, _Data, Floats, Floats, float]]:
    """Return the T cells of each sample that has some: name, cells, points of the model, posteriors, unseen share."""
    obs, model = adata.obs, adata.uns["car_model"]
    is_t = is_single_t(obs)
    found = []
    for sample, unseen in zip(model["samples"], model["unseen"], strict=True):
        own = obs[is_t & (obs["sample"].astype(str) == str(sample))]
        data = _Data.of(own)
        posterior = own["car_posterior"].to_numpy(float)
        found.append((str(sample), data, _points_of(model, str(sample)), posterior, float(unseen)))
    return found
