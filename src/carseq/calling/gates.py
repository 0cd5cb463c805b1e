"""Gating: how the cells of a sample were sorted, and which samples may stand beside each other for it."""

from __future__ import annotations

import pandas as pd

from carseq.schema.codes import GATES
from carseq.study.texts import is_missing

#: Sorts by the CAR itself: the CAR T fraction of such a sample says how pure the sort is, not how many CAR T cells
#: the patient has.
BY_CAR = ("car_enriched", "car_depleted")
#: Other words for the codes; hyphens and spaces are written as underscores.
OTHER_WORDS = {
    **dict.fromkeys(("no", "un_sorted", "not_sorted", "no_sort", "ungated", "no_gate"), "unsorted"),
    **dict.fromkeys(("car+", "car_positive", "car_pos", "car_sorted", "cd3+car+"), "car_enriched"),
    **dict.fromkeys(("car_", "car_negative", "car_neg", "cd3+car_"), "car_depleted"),
    **dict.fromkeys(("cd3+", "cd3_enriched", "cd3_positive", "pan_t", "t_cells"), "t_enriched"),
    **dict.fromkeys(("cd45_", "cd45_negative", "cd45_neg"), "cd45_depleted"),
}


def gate_of(text: object) -> str:
    """Return the code of a sample's ``gating``; no text means unsorted, free text means ``other``."""
    if pd.isna(text) or is_missing(text):
        return "unsorted"
    name = str(text).strip().lower().replace("-", "_").replace(" ", "_")
    name = OTHER_WORDS.get(name, name)
    return name if name in GATES else "other"


def gates(samples: pd.DataFrame) -> pd.Series:
    """Return what must be equal for two samples to be compared or pooled, by position.

    Parameters
    ----------
    samples
        One row a sample; ``gating`` where known.

    Returns
    -------
    pandas.Series
        The code, or the text itself where no code names it.
    """
    if "gating" not in samples:
        return pd.Series("unsorted", index=samples.index)
    codes = samples["gating"].map(gate_of)
    words = samples["gating"].astype(str).str.strip().str.lower()
    return codes.where(codes != "other", words)


def fraction_is(gate: str) -> str:
    """Return what the CAR T fraction of a sample means: ``fraction``, or ``purity`` after a sort by the CAR."""
    return "purity" if gate in BY_CAR else "fraction"
