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
    **dict.fromkeys(("cd3_enriched", "cd3_positive", "t_cells"), "t_enriched"),
    **dict.fromkeys(("cd45_", "cd45_negative", "cd45_neg"), "cd45_depleted"),
}
#: What stands for the CAR in a gate: the CAR itself and its target (not ``CAR-CD19+``, which may be CAR- and CD19+),
#: what binds it, and shortened receptors that vectors carry beside it. GFP and other reporters may as well mark tumour
#: cells: they are left to the sheet's words.
_CAR = (
    r"(?:(?<![a-z])(?:anti[ _-]?)?(?:bcma|gprc5d)?car(?:[ _-]?t(?![a-z])(?:[ _-]?cells?(?![a-z]))?)?"
    r"(?:[ _-]?(?:19|20|22|bcma|gprc5d)(?![a-z0-9])|[ _]?\((?!pos|neg|high|hi\)|low)[a-z0-9. ]{2,12}\))?"
    r"|(?<![a-z])(?:scfv|rqr8|fmc63|tcd(?:19|34)|(?:anti[ _-]?)?idiotyp(?:e|ic)(?![a-z]))"
    r"|(?<![a-z])(?:protein[ _-]?l|(?:hu|t)?egfrt|tr?egfr|(?:t|d|delta[ _-]?|\u03b4)l?ngfr|lngfrt?)(?![a-z])"
    r"|(?<![a-z])(?:cd19|bcma|gprc5d)[ _-]?fc(?![a-z]))"
)
#: That a sort was not by the CAR: ``no CAR sort``, ``not sorted for CAR``.
_NOT_BY_CAR = re.compile(
    r"(?<![a-z])(?:no|not|without|w/o|never)[ _-]+(?:(?:sort|enrich|select|gat)[a-z]*[ _-]+)?"
    rf"(?:(?:for|by|on)[ _-]+)?{_CAR}(?:[ _+-]*(?:sort|enrich|select|gat)[a-z]*)?"
)
#: A gate on the CAR within longer words: ``CD3+ CAR+``, ``BCMA-CAR pos``, ``live/CD3+/CAR-``, ``sorted CAR-T cells``.
_CAR_GATE = re.compile(
    r"(?P<before>(?<![a-z+-])(?<!\+[ -])"
    r"(?:sorted|enriched|selected|purified|facs|macs)[ _-]+(?:(?:for|on|by)[ _-]+)?)?"
    rf"(?P<non>(?<![a-z])non[ _-]?|deplet(?:ed|ion)[ _-]+(?:of|for)[ _-]+)?{_CAR}[ _]*"
    r"(?:(?P<plus>\(?\+|[_ -]?\(?(?:pos|high(?!ly|[ _-]dos)|hi(?![a-z])|bright|enrich|sort|select|purif)[a-z]*)"
    r"|(?P<minus>[-_ ]?\(?(?:neg|low(?![ _-]dos)|deplet|free)[a-z]*|\(?-(?![a-z0-9])))?"
)
#: Words that say that, or with what, cells were sorted, not by which gate.
_HOW = re.compile(
    r"(?<![a-z])(?:(?:facs|macs|flow)?[ _-]?(?:sort(?:s|ed|ing)?|gat(?:e|es|ed|ing)|(?:magnetic |micro)?beads?|facs"
    r"|macs|(?:positive[ _-])?(?:select|enrich)(?:ed|ion|ment)|isolat(?:ed|ion)|cells?|live|viable|easysep|kit))"
    r"(?![a-z])"
)
#: What is then left of a gate on all T cells, and of one that leaves leukocytes out.
_OF_T = re.compile(r"(?:cd45(?:\+|pos))?(?:cd3(?:\+|pos|positive)?|pan_?t|t)(?:cd45(?:\+|pos))?")
_NO_CD45 = re.compile(r"cd45_?(?:-|neg|negative|deplet(?:ed|ion))")


def gate_of(text: object) -> str:
    """Return the code of a sample's ``gating``; no text means unsorted, free text means ``other``.

    Gates on the CAR, by whatever binds it, and on T cells are told within longer words, too.

    Examples
    --------
    >>> gate_of("CD3+ MACS"), gate_of("CD3+ CAR+"), gate_of("EGFRt+ (MACS)")
    ('t_enriched', 'car_enriched', 'car_enriched')
    >>> gate_of("CAR\N{MINUS SIGN}"), gate_of("CD8+"), gate_of("CAR+ and CAR-")
    ('car_depleted', 'other', 'other')
    """
    if pd.isna(text) or is_missing(text):
        return "unsorted"
    plain = unicodedata.normalize("NFKC", str(text)).translate(DASHES).strip().lower()
    name = plain.replace("-", "_").replace(" ", "_")
    name = OTHER_WORDS.get(name, name)
    if name in GATES:
        return name
    words = _NOT_BY_CAR.sub(" ", plain)
    found = {with_car for m in _CAR_GATE.finditer(words) if (with_car := _with_car(m)) is not None}
    if len(found) == 1:
        return "car_enriched" if found.pop() else "car_depleted"
    if found:
        return "other"
    rest = re.sub(r"[\s,;/()_&]+", "", _HOW.sub(" ", words))
    if _OF_T.fullmatch(rest) and plain != "t":
        return "t_enriched"
    return "cd45_depleted" if _NO_CD45.fullmatch(rest) else "other"


def _with_car(gate: re.Match[str]) -> bool | None:
    """Return whether a gate on the CAR takes the cells with it; None where the words say neither."""
    if gate["minus"] or (gate["non"] and not gate["plus"]):
        return False
    return True if gate["plus"] or gate["before"] else None


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
