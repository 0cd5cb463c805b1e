"""Gating: how the cells of a sample were sorted, and which samples may stand beside each other for it."""

from __future__ import annotations

import re
import unicodedata

import pandas as pd

from carseq.schema.codes import GATES
from carseq.study.texts import DASHES, is_missing

#: Sorts by the CAR itself: the CAR T fraction of such a sample says how pure the sort is, not how many CAR T cells
#: the patient has.
BY_CAR = ("car_enriched", "car_depleted")
#: Other words for the codes; hyphens and spaces are written as underscores.
OTHER_WORDS = {
    **dict.fromkeys(("no", "un_sorted", "not_sorted", "no_sort", "no_sorting", "bulk"), "unsorted"),
    **dict.fromkeys(("ungated", "not_gated", "no_gate", "all", "all_cells", "total"), "unsorted"),
    **dict.fromkeys(("unenriched", "not_enriched", "no_enrichment"), "unsorted"),
    **dict.fromkeys(("car+", "car_positive", "car_pos", "car_sorted", "cd3+car+"), "car_enriched"),
    **dict.fromkeys(("car_", "car_negative", "car_neg", "cd3+car_"), "car_depleted"),
    **dict.fromkeys(("cd3+", "cd3_enriched", "cd3_positive", "pan_t", "t_cells"), "t_enriched"),
    **dict.fromkeys(("cd45_", "cd45_negative", "cd45_neg"), "cd45_depleted"),
}
#: A gate on the CAR within longer words: ``CD3+ CAR+``, ``BCMA-CAR pos``, ``live/CD3+/CAR-``.
_CAR_GATE = re.compile(
    r"(?<![a-z])(?:anti[_ -]?)?car(?:[ _-]?t(?:[ _-]?cells?)?)?[ _]*"
    r"(?:(?P<with>\+|[_-]?(?:pos|high|hi|bright|enrich|sort)[a-z]*)|(?P<without>[-_]?(?:neg|low|deplet)[a-z]*|-(?![a-z])))"
)


def gate_of(text: object) -> str:
    """Return the code of a sample's ``gating``; no text means unsorted, free text means ``other``.

    A gate on the CAR is told within longer words, too.

    Examples
    --------
    >>> gate_of("CD3+"), gate_of("CD3+ CAR+"), gate_of("CAR\N{MINUS SIGN}"), gate_of("CD8+"), gate_of("CAR+ and CAR-")
    ('t_enriched', 'car_enriched', 'car_depleted', 'other', 'other')
    """
    if pd.isna(text) or is_missing(text):
        return "unsorted"
    plain = unicodedata.normalize("NFKC", str(text)).translate(DASHES).strip().lower()
    name = plain.replace("-", "_").replace(" ", "_")
    name = OTHER_WORDS.get(name, name)
    if name in GATES:
        return name
    found = {m.lastgroup for m in _CAR_GATE.finditer(plain)}
    if len(found) == 1:
        return "car_enriched" if "with" in found else "car_depleted"
    return "other"


def gates(samples: pd.DataFrame, cells: pd.DataFrame | None = None) -> pd.Series:
    """Return what must be equal for two samples to be compared or pooled, by position.

    Parameters
    ----------
    samples
        One row a sample; ``gating`` where known: words, or the codes of a table of verdicts.
    cells
        ``obs`` of their cells, whose ``gating`` holds the sheet's words: a table of verdicts has ``other`` for all.

    Returns
    -------
    pandas.Series
        The code, or the text itself where no code names it. A sample that is known to be sorted, but not how, is like
        no other.
    """
    if "gating" not in samples:
        return pd.Series("unsorted", index=samples.index)
    codes = samples["gating"].map(gate_of)
    words = samples["gating"].astype(str).str.strip().str.lower()
    known: dict[str, str] = {}
    if cells is not None and "gating" in cells:
        first = cells[["sample", "gating"]].astype(str).drop_duplicates("sample")
        known = dict(zip(first["sample"], first["gating"].str.strip().str.lower(), strict=True))
    names = samples["sample"].astype(str)
    told = names.map(known).fillna("")
    unsaid = words.isin(["other", ""])
    words = words.where(~unsaid, told.where(told != "", "other: " + names))
    return codes.where(codes != "other", words)


def fraction_is(gate: str) -> str:
    """Return what the CAR T fraction of a sample means: ``fraction``, or ``purity`` after a sort by the CAR."""
    return "purity" if gate in BY_CAR else "fraction"
