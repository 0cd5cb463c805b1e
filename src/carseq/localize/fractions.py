"""CAR T fractions by sample, lineage, type, state and type x state; samples that share a compartment also pooled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carseq.calling import fraction_is, gates
from carseq.calling.gates import BY_CAR
from carseq.calling.model import Fit
from carseq.cells.annotation import T_LINEAGE, is_single_t
from carseq.parallel import in_processes
from carseq.schema.tables import LOCALIZATION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

#: Two columns are crossed: a state means another thing in a CD4 than in a CD8 T cell.
CROSSED = ("cell_type", "t_state")
LEVELS = ("lineage", "cell_type", "t_state", " x ".join(CROSSED))


def localize(adata: AnnData, samples: pd.DataFrame, *, processes: int = 1) -> pd.DataFrame:
    """Count CAR T cells by sample and group, with dropout-corrected fractions for groups of T cells.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`.
    samples
        One row a sample: ``sample``, ``patient``, ``compartment``, ``timepoint``, ``role``, and ``gating`` where known.
        Of a table of verdicts also ``n_t_cells``, ``n_car_positive`` and ``prevalence_high``: what the verdict of a
        sample without a positive call does not exclude is then the upper end of its groups' intervals.
    processes
        How many samples are worked out at once; the result is the same.

    Returns
    -------
    pandas.DataFrame
        Schema ``LOCALIZATION``: the samples' rows, then those of all case samples of a patient and compartment
        where there are several (``sample`` is empty): their fraction is the mean of the samples' by the cells of each.
        Samples sorted in different ways are not pooled, those sorted by the CAR not at all. Doublets are counted apart.
        The fraction of a type or state is sought by its own cells as well: the model knows of no states.
    """
    obs = adata.obs
    fitted = Fit.from_uns(adata.uns["car_model"])
    gate = gates(samples, obs)
    left_open = _left_open(samples)
    names = obs["sample"].astype(str)
    n_t = names[is_single_t(obs)].value_counts().to_dict()
    asked: list[tuple[dict[str, object], pd.Series, str]] = []
    for sample in samples.itertuples():
        about = {
            "sample": sample.sample,
            "patient": sample.patient,
            "compartment": sample.compartment,
            "timepoint": sample.timepoint,
            "n_samples": 1,
        }
        asked.append((about, names == str(sample.sample), fraction_is(gate[sample.Index])))
    # A sample from before the infusion would dilute the fraction.
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
        asked.append((about, names.isin(several["sample"].astype(str)), "fraction"))

    def groups(asked: tuple[dict[str, object], pd.Series, str]) -> list[dict[str, object]]:
        about, own, means = asked
        return _groups(fitted, obs[own], about, means, left_open, n_t)

    rows = [row for rows in in_processes(groups, asked, processes) for row in rows]
    return LOCALIZATION.conform(pd.DataFrame(rows, columns=list(LOCALIZATION.columns)))


def _left_open(samples: pd.DataFrame) -> dict[str, float]:
    """Return how many CAR T cells the verdict of each sample without a positive call does not exclude."""
    if not {"n_t_cells", "n_car_positive", "prevalence_high"} <= set(samples.columns):
        return {}
    silent = samples[(samples["n_car_positive"] == 0) & samples["prevalence_high"].notna()]
    number = silent["n_t_cells"] * silent["prevalence_high"]
    return dict(zip(silent["sample"].astype(str), number.astype(float), strict=True))


def most_in_group(cells: Mapping[str, int], left_open: Mapping[str, float]) -> float:
    """Return the largest CAR T fraction of a group that the verdicts of samples without a positive call do not exclude.

    All CAR T cells that a sample's verdict leaves open may be of one type: of 48 T cells with CAR T cells above 10 %
    excluded, 4.8 may be among the 12 of a type, 40 % of these. In several samples each further
    CAR T cell makes it less likely that none was called: the samples share one doubt, and their parts sum to 1.

    Parameters
    ----------
    cells
        By sample, the group's T cells.
    left_open
        By sample, CAR T cells that its verdict does not exclude.

    Returns
    -------
    float
        Share (0-1) of the group's cells.
    """
    doubt, number = 1.0, 0.0
    for sample in sorted(cells, key=lambda name: -left_open[name]):
        # A sample with fewer cells of the group than are left open takes only a part of the doubt.
        part = min(doubt, cells[sample] / left_open[sample]) if left_open[sample] > 0 else 0.0
        number, doubt = number + part * left_open[sample], doubt - part
    return number / max(sum(cells.values()), 1)


def _labels(obs: pd.DataFrame, level: str) -> pd.Series:
    """Return each cell's group at a level; empty where it has none (a cell without a state has no crossed one)."""
    if level in obs:
        return obs[level].astype(str)
    first, second = (obs[column].astype(str) for column in CROSSED)
    return (first + " x " + second).where((first != "") & (second != ""), "")


def _groups(
    fitted: Fit,
    obs: pd.DataFrame,
    about: dict[str, object],
    means: str,
    left_open: Mapping[str, float],
    n_t: Mapping[str, int],
) -> list[dict[str, object]]:
    """Return the rows of some samples' cells, taken as one.

    Parameters
    ----------
    fitted
        The model.
    obs
        The cells.
    about
        Columns of all rows.
    means
        What a fraction of them means.
    left_open
        By sample without a positive call, the CAR T cells that its verdict does not exclude.
    n_t
        By sample, all of its T cells.
    """
    rows = []
    # A table of many columns is slow to cut: only the T cells of a group are cut out of it, for the model.
    is_doublet = obs["is_doublet"].to_numpy(bool)
    signal = obs["car_umis"].to_numpy() > 0
    is_t = (obs["lineage"] == T_LINEAGE).to_numpy()
    unknown = (obs["lineage"] == "unknown").to_numpy()
    unexplained = (obs["car_reason"].astype(str) == "unexplained").to_numpy()
    positive = (obs["car_call"] == "positive").to_numpy()
    for level in LEVELS:
        labels = _labels(obs, level).to_numpy()
        for group in sorted(set(labels) - {""}):
            own = (labels == group) & ~is_doublet
            n_doublets = int((signal & (labels == group) & is_doublet).sum())
            if not own.any() and not n_doublets:
                continue
            # A fraction is given for groups of T cells alone: elsewhere a CAR molecule is not a CAR T cell.
            is_t_group = bool(own.any() and is_t[own].all())
            estimate, low, high = (np.nan,) * 3
            outside = own & signal & ~is_t
            method = "counts only"
            if is_t_group:
                cells = obs[own]
                of_sample = cells["sample"].astype(str).value_counts().to_dict()
                # T cells of a state may hold far more CAR T cells than others of their depth and type, or none.
                apart = [name for name, number in of_sample.items() if number < n_t[name]]
                estimate, low, high = fitted.fraction(cells, apart=apart)
                method = f"dropout-corrected posterior {means}"
                if about["n_samples"] != 1:
                    method += f", mean of {about['n_samples']} samples by their cells"
                if set(of_sample) <= set(left_open):
                    low, high = 0.0, max(estimate, most_in_group(of_sample, left_open))
                    method += "; no positive call: up to what the verdict does not exclude"
            rows.append(
                {
                    **about,
                    "level": level,
                    "group": group,
                    "n_cells": int(own.sum()),
                    "n_car_positive": int((own & positive).sum()),
                    "n_car_signal": int((own & signal).sum()),
                    "estimate": estimate,
                    "low": low,
                    "high": high,
                    "method": method,
                    "n_explained": int((outside & ~unknown & ~unexplained).sum()),
                    "n_unexplained": int((outside & ~unknown & unexplained).sum()),
                    "n_undecided": int((outside & unknown).sum()),
                    "n_doublets": n_doublets,
                }
            )
    return rows
