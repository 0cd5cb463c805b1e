"""How well contamination of urine by blood is estimated: blood mixed into simulated urine in known shares.

    python benchmarks/blood.py [--studies 300]

`counts`: types are drawn as they would be annotated, so that only the estimate is at work. `cells`: count matrices of
urine and blood (``tests/helpers/helpers_cells.py``); cells of blood are moved into urine, and everything is annotated
anew. Coverage is that of the 95 % interval; `upper` says how often the truth lies below the interval's upper end.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from carseq import cells
from carseq.localize.blood import POPULATIONS, blood_shares, shares_from_counts

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from helpers_cells import BLOOD, URINE, mix_blood, urine

SHARES = (0.0, 0.05, 0.2, 0.5)
#: Shares of blood's cells (PBMC), as far as they matter here.
IN_BLOOD = {"T": 0.3, "naive T cell": 0.2, "B cell": 0.08, "plasmacytoid dendritic cell": 0.004}


def by_counts(studies: int, n_t: int, own_b: float, rng: np.random.Generator) -> pd.DataFrame:
    """Draw counts of urine and blood; ``own_b``: B cells of the urine's own, per T cell of its own."""
    rows = []
    for share in SHARES:
        found = []
        for _ in range(studies):
            names = [w.name for w in POPULATIONS]
            blood = pd.Series({n: rng.poisson(2000 * IN_BLOOD.get(n, 0)) for n in ["T", *names]})
            blood["T"] += blood["naive T cell"]
            amount = share * n_t / (2000 * 0.5)
            urine_counts = pd.Series(
                {n: rng.poisson(amount * 2000 * IN_BLOOD.get(n, 0)) for n in ["T", *names]}
            )
            own = (1 - share) * n_t
            urine_counts["T"] += urine_counts["naive T cell"] + rng.poisson(own)
            urine_counts["B cell"] += rng.poisson(own_b * own)
            table, _ = shares_from_counts(urine_counts, blood, "blood")
            found.append(table.iloc[-1][["estimate", "low", "high"]].astype(float).to_numpy())
        rows.append({"T cells": n_t, "own B cells": own_b, **_figures(share, np.array(found))})
    return pd.DataFrame(rows)


def by_cells(studies: int, n_cells: int) -> pd.DataFrame:
    """Mix matrices, annotate them, and estimate."""
    rows = []
    own = {k: v for k, v in URINE.items() if k != "B cell"}
    for share in SHARES:
        found, truth = [], []
        for seed in range(studies):
            sample = urine(n_cells, 0, types=own, seed=1000 + seed)
            blood = urine(1500, 0, depth=2500, types=BLOOD, seed=2000 + seed)
            both, true_share = mix_blood(sample, blood, share, seed=seed)
            cells.annotate(both)
            cells.t_states(both)
            table = blood_shares(both.obs.assign(is_doublet=False), "urine", "blood")
            found.append(table.iloc[-1][["estimate", "low", "high"]].astype(float).to_numpy())
            truth.append(true_share)
        rows.append({"cells": n_cells, **_figures(share, np.array(found), np.array(truth))})
    return pd.DataFrame(rows)


def _figures(share: float, found: np.ndarray, truth: np.ndarray | None = None) -> dict[str, float]:
    truth = np.full(len(found), share) if truth is None else truth
    estimate, low, high = found.T
    return {
        "from blood": share,
        "median estimate": np.nanmedian(estimate),
        "5 %": np.nanquantile(estimate, 0.05),
        "95 %": np.nanquantile(estimate, 0.95),
        "coverage": np.mean((low <= truth) & (truth <= high)),
        "upper": np.mean(truth <= high),
        "mean width": np.nanmean(high - low),
    }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=300)
    given = parser.parse_args()
    rng = np.random.default_rng(1)
    parts = [
        by_counts(given.studies, n_t, own_b, rng) for n_t in (20, 100, 500) for own_b in (0, 0.1)
    ]
    print(pd.concat(parts).round(3).to_string(index=False))
    print(by_cells(max(3, given.studies // 15), 1200).round(3).to_string(index=False))


if __name__ == "__main__":
    main()
