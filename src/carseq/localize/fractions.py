"""localize: where the CAR T cells are, and how samples compare.

Takes the cohort with its calls. Makes ``localization.tsv`` (counts and dropout-corrected fractions by sample x
lineage, type and state) and ``contrasts.tsv`` (urine against blood, time against baseline, within patients).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from carseq.calling import T_LINEAGE, fraction_of
from carseq.tables import CONTRASTS, LOCALIZATION

if TYPE_CHECKING:
    from anndata import AnnData

LEVELS = ("lineage", "cell_type", "t_state")


def localize(adata: AnnData, samples: pd.DataFrame) -> pd.DataFrame:
    """Count CAR T cells by sample and group, with dropout-corrected fractions for groups of T cells.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`.
    samples
        One row a sample: ``sample``, ``patient``, ``compartment``, ``timepoint``.

    Returns
    -------
    pandas.DataFrame
        Schema ``LOCALIZATION``. Doublets are left out.
    """
    obs = adata.obs[~adata.obs["is_doublet"].astype(bool)]
    rows = []
    for sample in samples.itertuples():
        own = obs[obs["sample"] == sample.sample]
        for level in LEVELS:
            for group, cells in own.groupby(own[level].astype(str), observed=True):
                if not group:
                    continue
                t_cells = cells[cells["lineage"] == T_LINEAGE]
                # A fraction is given for groups of T cells alone: elsewhere a CAR molecule is no CAR T cell.
                is_t_group = len(t_cells) == len(cells)
                estimate, low, high = (
                    fraction_of(adata, t_cells.index) if is_t_group else (np.nan,) * 3
                )
                rows.append(
                    {
                        "sample": sample.sample,
                        "patient": sample.patient,
                        "compartment": sample.compartment,
                        "timepoint": sample.timepoint,
                        "level": level,
                        "group": group,
                        "n_cells": len(cells),
                        "n_car_positive": int((cells["car_call"] == "positive").sum()),
                        "n_car_signal": int((cells["car_umis"] > 0).sum()),
                        "estimate": estimate,
                        "low": low,
                        "high": high,
                        "method": "dropout-corrected posterior fraction"
                        if is_t_group
                        else "counts only",
                    }
                )
    return LOCALIZATION.conform(pd.DataFrame(rows, columns=list(LOCALIZATION.columns)))


def _pairs(samples: pd.DataFrame) -> Iterator[tuple[str, pd.Series, pd.Series]]:
    """Yield (contrast, sample of interest, reference) within patients."""
    for _, own in samples.groupby("patient", sort=False):
        rows = [row for _, row in own.iterrows()]
        for a in rows:
            for b in rows:
                if (
                    a["compartment"] == "urine"
                    and b["compartment"] == "blood"
                    and a["timepoint"] == b["timepoint"]
                ):
                    yield "urine against blood", a, b
                is_baseline = b["role"] == "negative_control" and a["role"] != "negative_control"
                if is_baseline and a["compartment"] == b["compartment"]:
                    yield "against baseline", a, b
                later = a["compartment"] == b["compartment"] and a["role"] == b["role"] == "case"
                if later and a.name > b.name and a["timepoint"] != b["timepoint"]:
                    yield "over time", a, b


def contrasts(detection: pd.DataFrame) -> pd.DataFrame:
    """Compare samples of one patient by the odds of a T cell being called positive.

    Conditional odds ratio with its exact 95 % interval and Fisher's exact test (scipy). Calls are compared, not
    dropout-corrected fractions: samples of unequal depth differ in sensitivity, which is given in the detection
    table beside it.

    Parameters
    ----------
    detection
        Schema ``DETECTION``, in the order of the sheet (the later time point below the earlier).

    Returns
    -------
    pandas.DataFrame
        Schema ``CONTRASTS``; one patient a row, never a population claim.
    """
    rows = []
    for name, a, b in _pairs(detection.reset_index(drop=True)):
        table = np.array(
            [
                [a["n_car_positive"], a["n_t_cells"] - a["n_car_positive"]],
                [b["n_car_positive"], b["n_t_cells"] - b["n_car_positive"]],
            ],
            dtype=int,
        )
        estimate = low = high = p = float("nan")
        if table.sum(axis=1).all() and table.sum(axis=0).all():
            result = stats.contingency.odds_ratio(table, kind="conditional")
            interval = result.confidence_interval(0.95)
            estimate, low, high = float(result.statistic), float(interval.low), float(interval.high)
            p = float(stats.fisher_exact(table).pvalue)
        rows.append(
            {
                "contrast": name,
                "patient": a["patient"],
                "sample": a["sample"],
                "reference": b["sample"],
                "n_t_cells": a["n_t_cells"],
                "n_car_positive": a["n_car_positive"],
                "n_t_cells_reference": b["n_t_cells"],
                "n_car_positive_reference": b["n_car_positive"],
                "estimate": estimate,
                "low": low,
                "high": high,
                "p": p,
                "q": np.nan,
                "method": "conditional odds ratio of called cells, exact interval, Fisher's exact test",
            }
        )
    table = pd.DataFrame(rows, columns=list(CONTRASTS.columns))
    tested = table["p"].notna()
    if tested.any():
        table.loc[tested, "q"] = stats.false_discovery_control(
            table.loc[tested, "p"].to_numpy(float)
        )
    return CONTRASTS.conform(table)
