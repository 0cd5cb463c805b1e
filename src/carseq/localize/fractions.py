"""CAR T fractions by sample, lineage, type, state and type x state; samples that share a compartment also pooled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carseq.calling import fraction_is, gates
from carseq.calling.gates import BY_CAR
from carseq.calling.model import Fit
from carseq.cells.annotation import T_LINEAGE
from carseq.schema.tables import LOCALIZATION

if TYPE_CHECKING:
    from anndata import AnnData

#: Two columns are crossed: a state means another thing in a CD4 than in a CD8 T cell.
CROSSED = ("cell_type", "t_state")
LEVELS = ("lineage", "cell_type", "t_state", " x ".join(CROSSED))


def localize(adata: AnnData, samples: pd.DataFrame) -> pd.DataFrame:
    """Count CAR T cells by sample and group, with dropout-corrected fractions for groups of T cells.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`.
    samples
        One row a sample: ``sample``, ``patient``, ``compartment``, ``timepoint``, ``role``, and ``gating`` where known.

    Returns
    -------
    pandas.DataFrame
        Schema ``LOCALIZATION``: the samples' rows, then those of all case samples of a patient and compartment
        where there are several (``sample`` is empty): their fraction is the mean of the samples' by the cells of each.
        Samples sorted in different ways are not pooled, those sorted by the CAR not at all. Doublets are counted apart.
    """
    obs = adata.obs
    fitted = Fit.from_uns(adata.uns["car_model"])
    gate = gates(samples)
    rows: list[dict[str, object]] = []
    for sample in samples.itertuples():
        about = {
            "sample": sample.sample,
            "patient": sample.patient,
            "compartment": sample.compartment,
            "timepoint": sample.timepoint,
            "n_samples": 1,
        }
        own = obs[obs["sample"].astype(str) == str(sample.sample)]
        rows += _groups(fitted, own, about, fraction_is(gate[sample.Index]))
    # A sample from before the infusion would dilute what is asked for.
    cases = samples[(samples["role"] == "case") & ~gate.isin(BY_CAR)]
    keys = [cases["patient"], cases["compartment"], gate[cases.index]]
    for (patient, compartment, _), several in cases.groupby(keys, sort=False):
        if len(several) < 2:
            continue
        about = {
            "sample": "",
            "patient": patient,
            "compartment": compartment,
            "timepoint": ",".join(dict.fromkeys(several["timepoint"].astype(str))),
            "n_samples": len(several),
        }
        own = obs[obs["sample"].astype(str).isin(several["sample"].astype(str))]
        rows += _groups(fitted, own, about, "fraction")
    return LOCALIZATION.conform(pd.DataFrame(rows, columns=list(LOCALIZATION.columns)))


def _labels(obs: pd.DataFrame, level: str) -> pd.Series:
    """Return each cell's group at a level; empty where it has none (a cell without a state has no crossed one)."""
    if level in obs:
        return obs[level].astype(str)
    first, second = (obs[column].astype(str) for column in CROSSED)
    return (first + " x " + second).where((first != "") & (second != ""), "")


def _groups(
    fitted: Fit, obs: pd.DataFrame, about: dict[str, object], means: str
) -> list[dict[str, object]]:
    """Return the rows of some samples' cells, taken as one; ``means`` is what a fraction of them means."""
    rows = []
    for level in LEVELS:
        for group, cells in obs.groupby(_labels(obs, level), observed=True):
            if not group:
                continue
            doublet = cells["is_doublet"].astype(bool)
            doublets, cells = cells[doublet], cells[~doublet]
            signal = cells["car_umis"] > 0
            n_doublets = int((doublets["car_umis"] > 0).sum())
            if not len(cells) and not n_doublets:
                continue
            is_t = cells["lineage"] == T_LINEAGE
            # A fraction is given for groups of T cells alone: elsewhere a CAR molecule is not a CAR T cell.
            is_t_group = bool(len(cells)) and bool(is_t.all())
            estimate, low, high = fitted.fraction(cells) if is_t_group else (np.nan,) * 3
            outside = cells[signal & ~is_t]
            unknown = outside["lineage"] == "unknown"
            unexplained = outside["car_reason"].astype(str) == "unexplained"
            method = "counts only"
            if is_t_group:
                method = f"dropout-corrected posterior {means}"
                if about["n_samples"] != 1:
                    method += f", mean of {about['n_samples']} samples by their cells"
            rows.append(
                {
                    **about,
                    "level": level,
                    "group": group,
                    "n_cells": len(cells),
                    "n_car_positive": int((cells["car_call"] == "positive").sum()),
                    "n_car_signal": int(signal.sum()),
                    "estimate": estimate,
                    "low": low,
                    "high": high,
                    "method": method,
                    "n_explained": int((~unknown & ~unexplained).sum()),
                    "n_unexplained": int((~unknown & unexplained).sum()),
                    "n_undecided": int(unknown.sum()),
                    "n_doublets": n_doublets,
                }
            )
    return rows
