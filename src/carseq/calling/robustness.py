"""How firm calls and verdicts are, by the threshold and by the depth.

Takes the cohort with its calls. :func:`thresholds` asks what another false discovery rate would have called;
:func:`downsampling` asks what a shallower library would have. Both use the model as it was fitted, and take no more
than seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from carseq.calling.background import Evidence
from carseq.calling.calls import choose
from carseq.calling.cells import Cells, column
from carseq.calling.model import Fit
from carseq.calling.negbin import Floats, upper_tail
from carseq.calling.verdict import (
    Sensitivity,
    decide,
    molecules_needed,
    sensitivity_of,
    silent_bound,
)
from carseq.cells.annotation import is_single_t
from carseq.schema.tables import DOWNSAMPLING, THRESHOLDS

if TYPE_CHECKING:
    from anndata import AnnData

#: False discovery rates looked at, beside the one in use.
FDRS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
#: Shares of the molecules kept.
SHARES = tuple(round(0.1 * i, 1) for i in range(1, 11))


@dataclass(frozen=True)
class _Sample:
    """The T cells of a sample that has some, and what the verdict needs."""

    name: str
    cells: Cells
    depth: Floats
    posterior: Floats
    p_ambient: Floats
    support: Floats
    evidence: Evidence
    unseen: float
    role: str
    estimate: float
    high: float


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
    fitted, used = Fit.from_uns(adata.uns["car_model"]), float(adata.uns["car_model"]["fdr"])
    rows = []
    for sample in _samples(adata, fitted):
        own = np.flatnonzero(sample.cells.k > 0)
        n = len(sample.cells)
        of_silent: dict[bool, Sensitivity] = {}
        for fdr in sorted({*fdrs, used}):
            chosen, cutoff = choose(
                sample.posterior[own], sample.p_ambient[own], fdr, sample.support[own]
            )
            called = sample.posterior[own][chosen]
            silent = not len(called)
            if silent not in of_silent:
                of_silent[silent] = sensitivity_of(
                    sample.cells, fitted, sample.name, sample.evidence, silent=silent
                )
            sensitivity = of_silent[silent]
            limit = sensitivity.limit(cutoff)
            false_calls = float((1 - called).sum())
            bound = silent_bound(limit, sample.high, seen=bool(len(own))) if silent else limit
            verdict, _ = decide(len(called), n, sample.unseen, bound, false_calls)
            rows.append(
                {
                    "sample": sample.name,
                    "fdr": fdr,
                    "in_use": fdr == used,
                    "least_posterior": float(called.min()) if len(called) else np.nan,
                    "n_t_cells": n,
                    "n_car_positive": len(called),
                    "expected_false_calls": false_calls,
                    "sensitivity": sensitivity.mean(
                        max(sample.estimate, limit) if silent else sample.estimate, cutoff
                    ),
                    "detection_limit": limit,
                    "verdict": verdict,
                }
            )
    return THRESHOLDS.conform(pd.DataFrame(rows, columns=list(THRESHOLDS.columns)))


def downsampling(adata: AnnData, shares: tuple[float, ...] = SHARES) -> pd.DataFrame:
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
        Schema ``DOWNSAMPLING``; no rows for samples without T cells.
    """
    fitted, fdr = Fit.from_uns(adata.uns["car_model"]), float(adata.uns["car_model"]["fdr"])
    rows = []
    for sample in _samples(adata, fitted):
        own = np.flatnonzero(sample.cells.k > 0)
        chosen, cutoff = choose(
            sample.posterior[own], sample.p_ambient[own], fdr, sample.support[own]
        )
        whole = sensitivity_of(
            sample.cells,
            fitted,
            sample.name,
            sample.evidence,
            silent=not len(chosen),
            least_share=min(shares, default=1.0),
        )
        for share in shares:
            sensitivity = whole.downsampled(share)
            limit = sensitivity.limit(cutoff)
            chance = _chance_of_call(sample.cells, fitted, sample.name, cutoff, share)
            expected = float(chance.sum())
            # Sums of independent yes-or-no outcomes: mean and variance add up.
            spread = 1.96 * float(np.sqrt((chance * (1 - chance)).sum()))
            depth = sample.depth * share
            rows.append(
                {
                    "sample": sample.name,
                    "share": share,
                    "median_umis": float(np.median(depth)),
                    "n_t_cells": len(sample.cells),
                    "expected_positive": expected,
                    "expected_positive_low": max(0.0, expected - spread),
                    "expected_positive_high": expected + spread,
                    "sensitivity": sensitivity.mean(
                        sample.estimate if len(chosen) else max(sample.estimate, limit), cutoff
                    ),
                    "detection_limit": limit,
                }
            )
    return DOWNSAMPLING.conform(pd.DataFrame(rows, columns=list(DOWNSAMPLING.columns)))


def _chance_of_call(cells: Cells, fitted: Fit, sample: str, cutoff: float, share: float) -> Floats:
    """Return the chance of a call of each cell that shows a CAR molecule, when molecules are kept with ``share``."""
    some = cells.take(cells.k > 0)
    if not len(some):
        return np.zeros(0)
    # Like cells need the same number of molecules, whatever they showed.
    groups, inverse = some.with_counts(np.zeros(len(some))).grouped()
    draws = fitted.draws[sample]
    # By all cells, which the cell itself is one of many of.
    prior = special.expit(draws.log_prior_odds(groups)).mean(axis=1)
    fewer = replace(groups, own=groups.own * share, null=groups.null * share)
    needed = molecules_needed(fewer, draws.points(), prior, cutoff, some.k.max())[inverse]
    molecules = some.k.astype(int)
    return np.asarray(special.bdtrc(np.minimum(needed - 1, molecules), molecules, share))


def _samples(adata: AnnData, fitted: Fit) -> list[_Sample]:
    """Return each sample that has T cells."""
    stored = adata.uns["car_model"]
    t_cells = adata.obs[is_single_t(adata.obs)]
    names = t_cells["sample"].astype(str)
    found = []
    for number, sample in enumerate(fitted.samples):
        own = t_cells[names == sample]
        cells = fitted.cells(own, sample)
        found.append(
            _Sample(
                sample,
                cells,
                own["total_umis"].to_numpy(float),
                own["car_posterior"].to_numpy(float),
                upper_tail(cells.k, cells.null, cells.null_shape),
                column(own, "car_clone_support", np.nan),
                Evidence.from_row(stored["background"][number]),
                float(stored["unseen"][number]),
                str(stored["roles"][number]),
                float(stored["prevalence"][number]),
                fitted.fraction(own)[2],
            )
        )
    return found
