"""The field's own rules beside the model's calls: what each would have called in every sample.

- 1, 2 or 3 CAR molecules or more in a T cell, the rule of most studies; of those that no human gene shares.
- A mixture of a Poisson and a Gaussian distribution of log2 counts, as for guides of CRISPR screens (Replogle et al.
  2020,
  doi:10.1038/s41587-020-0470-y; Cell Ranger fits a like mixture).
- A mixture of a zero-truncated Poisson (ambient) and a zero-truncated negative binomial distribution (own), both
  growing with depth, as CLEANSER does (doi:10.1016/j.xgen.2025.100766).

The two mixtures look at T cells with a CAR molecule, sample by sample, and call a cell whose own component is
likelier than the other. Nothing here enters carseq's calls.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, special

from carseq.calling.negbin import Floats, log_normal, log_pmf

#: Fewest T cells with a CAR molecule, of at least two different counts, to which a mixture is fitted.
MIN_CELLS = 10

Called = npt.NDArray[np.bool_]


def poisson_gaussian(k: Floats) -> Called | None:
    """Return which counts (1 or more) the Gaussian component explains better; None where it cannot be fitted."""
    if len(k) < MIN_CELLS or len(np.unique(k)) < 2:
        return None
    y = np.log2(k)
    rate, middle, sd, share = 0.2, float(np.quantile(y, 0.9)), 1.0, 0.5
    weight = np.full(len(y), 0.5)
    for _ in range(200):
        log_poisson = y * np.log(rate) - rate - special.gammaln(y + 1)
        log_gauss = log_normal(y, middle, sd)
        new = special.expit(np.log(share) - np.log1p(-share) + log_gauss - log_poisson)
        if np.abs(new - weight).max() < 1e-6:
            break
        weight = new
        share = float(np.clip(weight.mean(), 1e-3, 1 - 1e-3))
        rate = float(max((1 - weight) @ y / max((1 - weight).sum(), 1e-9), 0.02))
        middle = float(weight @ y / max(weight.sum(), 1e-9))
        sd = float(max(np.sqrt(weight @ (y - middle) ** 2 / max(weight.sum(), 1e-9)), 0.3))
    # A Gaussian's lower tail must not call fewer molecules where more are not called.
    return np.asarray((weight > 0.5) & (y >= min(middle, rate)))


def zero_truncated(k: Floats, depth: Floats) -> Called | None:
    """Return which cells the own component explains better; None where it cannot be fitted."""
    if len(k) < MIN_CELLS or len(np.unique(k)) < 2:
        return None
    size = depth / np.median(depth)

    def logs(at: Floats) -> tuple[Floats, Floats, float]:
        ambient, own, shape, share = (
            np.exp(at[0]),
            np.exp(at[0]) + np.exp(at[1]),
            np.exp(at[2]),
            at[3],
        )
        mean = ambient * size
        log_ambient = k * np.log(mean) - mean - special.gammaln(k + 1) - np.log(-np.expm1(-mean))
        own_mean = own * size
        zero = log_pmf(np.array(0.0), own_mean, shape)
        log_own = log_pmf(k, own_mean, shape) - np.log(-np.expm1(np.minimum(zero, -1e-12)))
        return log_ambient, log_own, float(share)

    def cost(at: Floats) -> float:
        log_ambient, log_own, share = logs(at)
        both = np.logaddexp(log_own - np.logaddexp(0, -share), log_ambient - np.logaddexp(0, share))
        # Weak priors keep the parameters finite.
        return float(-both.sum() + 0.5 * (((at - [-2, 0.7, 0.5, 0]) / [2, 1.5, 1, 2]) ** 2).sum())

    best = optimize.minimize(cost, np.array([-2.0, 0.7, 0.5, 0.0]), method="L-BFGS-B")
    log_ambient, log_own, share = logs(best.x)
    return np.asarray(share + log_own - log_ambient > 0)


def rules(obs: pd.DataFrame, is_t: Called) -> pd.DataFrame:
    """Say what each rule calls in each sample, beside the model's calls.

    Parameters
    ----------
    obs
        Cells with calls: ``sample``, ``total_umis``, ``car_umis_unique``, ``car_call``.
    is_t
        Which of them are T cells and no doublets.

    Returns
    -------
    pandas.DataFrame
        Schema ``RULES``: a row a sample and rule.
    """
    rows = []
    for sample, own in obs[is_t].groupby(obs.loc[is_t, "sample"].astype(str), sort=False):
        k = own["car_umis_unique"].to_numpy(float)
        positive = (own["car_call"] == "positive").to_numpy()
        some = np.flatnonzero(k > 0)
        depth = np.maximum(own["total_umis"].to_numpy(float), 1)
        found: list[tuple[str, Called | None]] = [("carseq", positive)]
        found += [(f"{n} or more UMIs", k >= n) for n in (1, 2, 3)]
        for name, chosen in (
            ("Poisson-Gaussian mixture", poisson_gaussian(k[some])),
            ("zero-truncated mixture", zero_truncated(k[some], depth[some])),
        ):
            called = None
            if chosen is not None:
                called = np.zeros(len(k), dtype=bool)
                called[some[chosen]] = True
            found.append((name, called))
        for name, called in found:
            both = 0 if called is None else int((called & positive).sum())
            either = 0 if called is None else int((called | positive).sum())
            rows.append(
                {
                    "sample": sample,
                    "rule": name,
                    "n_t_cells": len(own),
                    "n_called": -1 if called is None else int(called.sum()),
                    "n_both": both,
                    "n_only_rule": 0 if called is None else int((called & ~positive).sum()),
                    "n_only_carseq": 0 if called is None else int((positive & ~called).sum()),
                    "overlap": both / either if either else float("nan"),
                    "note": ""
                    if called is not None
                    else f"not fitted: {len(some)} T cells with a CAR molecule",
                }
            )
    return pd.DataFrame(
        rows,
        columns=[
            "sample", "rule", "n_t_cells", "n_called", "n_both", "n_only_rule", "n_only_carseq", "overlap", "note",
        ],
    )  # fmt: skip
