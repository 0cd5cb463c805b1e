"""Gating: how the cells of a sample were sorted, and which samples may stand beside each other for it."""

from __future__ import annotations

import itertools
import re
import unicodedata

import pandas as pd

from carseq.calling.verdict import silent_left_out
from carseq.cells.annotation import is_single_t
from carseq.schema.codes import GATES
from carseq.study.texts import DASHES, is_missing

#: Sorts by the CAR itself: the CAR T fraction of such a sample says how pure the sort is, not how many CAR T cells
#: the patient has.
BY_CAR = ("car_enriched", "car_depleted")
#: Other words for the codes; hyphens and spaces are written as underscores.
OTHER_WORDS = {
    **dict.fromkeys(("no", "none", "nil", "false", "not_applicable", "not_done"), "unsorted"),
    **dict.fromkeys(("car_", "cd3+car_"), "car_depleted"),
    **dict.fromkeys(("cd3_enriched", "cd3_positive", "t_cells"), "t_enriched"),
    **dict.fromkeys(("cd45_", "cd45_negative", "cd45_neg"), "cd45_depleted"),
}
#: Antigens of CARs. With a dye their names may as well mean an antibody against cells that bear them.
_ANTIGEN = r"(?:bcma|gprc5d|cd(?:5|7|19|20|22|30|33|38|70|123|138)|fcrh5|slamf7|her2|egfrviii|gd2|msln|psma)"
#: What marks the CAR in a sort beside the CAR itself: what binds it (its antigen as a protein, antibodies against its
#: binder, linker or tag) and shortened receptors that vectors carry beside it. GFP and other reporters may as well
#: mark tumour cells, and EGFR, CD34 or CD271 at full length other cells: they are left to the sheet's words.
_MARK = (
    r"(?:anti[ _-]?)?(?:scfv|fmc63|f\(?ab'?\)?'?[ _-]?2?(?![a-z])|vhh|g4s|whitlow|218s?(?=[ _]?(?:\+|pos|linker))"
    r"|idiotyp(?:e|ic)|id(?=[ _-]*(?:\+|pos|neg)))(?:[ _-]?linker)?|car[ _-]linker|monorab|rqr8|qbend[ _-]?10"
    r"|cetuximab|erbitux|protein[ _-]?l|(?:c[ _-]?)?myc(?:[ _-]?tag)?|strep[ _-]?tag(?:[ _-]?ii)?|stii"
    r"|(?:ha|his|flag|v5)[ _-]?tag|(?:flag|v5)(?=[ _]?\+)"
    r"|(?:hu|tr?-?)egfrt?|egfrt|(?:t|d|delta[ _-]?|\u03b4|truncated[ _-])(?:egfr|her2|l?ngfr|cd(?:19|20|34|271))"
    r"|lngfrt?|ngfrt|her2t|cd(?:19|20|34)t"
    rf"|{_ANTIGEN}[ _.-]?(?:fc|tetramer|protein|binding)"
    rf"|(?:rh|(?:recombinant|soluble|biotinylated)[ _-](?:human[ _-])?){_ANTIGEN}"
)
#: The words of a gate, the first kind that fits: the CAR (with its target, ``CAR-BCMA``, but not ``CAR-CD19+``, which
#: may be CAR- and CD19+), what marks it, what is left over of a sort, signs, ways to sort, and words that say nothing.
_WORDS = re.compile(
    r"(?P<car>(?<![a-z])(?:anti[ _-]?)?(?:bcma|gprc5d|cd19|cd22)?[ _-]?car(?:t(?=pos|neg)|(?=pos|neg|hi|lo|dim|bright)"
    r"|(?=cd(?:19|20|22))|(?![a-su-z]))(?P<of_t>[ _-]?t(?![a-z])(?:[ _-]?cells?(?![a-z]))?)?"
    r"(?:[ _-]?(?:19|20|22|bcma|gprc5d)(?![a-z0-9])|cd(?:19|20|22)(?![0-9])"
    r"|[ _]?\((?!pos|neg|high|hi\)|low|sort|macs|facs|live|bead|flow)[a-z0-9. ]{2,12}\))?)"
    rf"|(?P<mark>(?<![a-z0-9])(?:{_MARK})(?![a-z0-9]))"
    r"|(?P<minus>(?:(?<![a-z])|(?<=car)|(?<=cart))neg[a-z]*|(?<![a-z])(?:deplet|remov|exclu)[a-z]*|(?<![a-z])free(?![a-z])"
    r"|(?<![a-z])(?:flow[ _-]?through|unbound|left[ _-]?over|non[ _-]?selected|unselected)(?![a-z])"
    r"|(?<! )-(?![a-z0-9])|(?<= )-(?! ?[a-z0-9]))"
    r"|(?P<plus>\++|(?:(?<![a-z])|(?<=car)|(?<=cart))(?:(?:pos|bright|express)[a-z]*"
    r"|(?:high|hi|low|lo|dim|int|intermediate)(?![a-z0-9]|[ _-]dos)))"
    r"|(?P<sort>(?<![a-z])(?:sort|enrich|select|purif|angereicher)[a-z]*"
    r"|(?<![a-z])(?:(?:flow|auto|clini)?[ _-]?(?:facs|macs)|(?:magnetic[ _-]?|micro|dyna)?beads?)(?![a-z]))"
    r"|(?P<non>(?<![a-z])non(?![a-z]))"
    r"|(?P<not>(?<![a-z])(?:no|not|without|w/o|never|nicht|ohne|pre|before)(?![a-z]))"
    r"|(?P<of>(?<![a-z])(?:of|from|after)(?![a-z]))|(?P<by>(?<![a-z])(?:for|by|on|with|using|via)(?![a-z]))"
    r"|(?P<also>/|&|(?<![a-z])(?:and|or)(?![a-z]))"
    r"|(?P<fill>(?<![a-z])(?:fractions?|gate|gated|the|an?|anti|flow|cells?|t|antibody|mab|reagent|stain[a-z]*"
    r"|detection|cytometry|isolat[a-z]*|biotin[a-z]*|fitc|pe|apc|(?:af|alexa(?:[ _-]?fluor)?|bv)[ _-]?\d+)(?![a-z0-9])"
    r"|[^\w+\u03b4]|_)"
    r"|(?P<word>[^\W_]+(?:[ _]?\++|-(?![a-z0-9])|[ _-]?(?:pos|neg)[a-z]*)?)"
)
#: Words that say that, or with what, cells were sorted, not by which gate.
_HOW = re.compile(
    r"(?<![a-z])(?:(?:facs|macs|flow)?[ _-]?(?:sort(?:s|ed|ing)?|gat(?:e|es|ed|ing)|(?:magnetic |micro|dyna)?beads?"
    r"|facs|macs"
    r"|(?:positive[ _-])?(?<!negative[ _-])(?:select|enrich)(?:ed|ion|ment)|isolat(?:ed|ion)|cells?|easysep|rosettesep"
    r"|clinimacs|human|kit|only))(?![a-z])"
)
_SORTED = re.compile(r"sort|enrich|select|deplet|facs|macs|beads?(?![a-z])")
#: That no kind of living cell was sorted out: no sort, or dead cells, doublets and red cells taken out.
_NO_SORT = re.compile(
    r"(?<![a-z])(?:un[ _-]?(?:sorted|gated|enriched|selected|sortiert)"
    r"|(?:not|nicht)[ _-](?:sorted|gated|enriched|selected|sortiert)|pre[ _-]?(?:sort(?:ed|ing)?|selection|enrichment)"
    r"|(?:no|without|ohne)[ _-](?:car[ _-])?(?:sort(?:ing)?|gat(?:e|ing)|enrichment|selection|sortierung)"
    r"|none|live[ _-]?/[ _-]?dead(?:[ _-]*(?:-(?![a-z0-9])|neg[a-z]*))?|live|living|viab(?:le|ility)|singlets?|single"
    r"|(?:dapi|7[ _-]?aad|pi|sytox(?:[ _-]?[a-z]+)?|zombie(?:[ _-]?[a-z]+)?|draq7|fvd?)[ _]?(?:-|[ _-]?neg[a-z]*)"
    r"|(?:dead[ _-]cells?|debris|(?:rbc|red[ _-](?:blood[ _-])?cell|erythrocyte)s?)[ _-]"
    r"(?:remov(?:al|ed)|deplet(?:ion|ed)|exclu(?:sion|ded)|lysis|lysed))(?:(?<=-)|(?![a-z0-9]))"
)
#: What is not sorted may be called by what it is of.
_UNSORTED = re.compile(
    r"(?<![a-z])(?:un|not[ _-]|nicht[ _-])[ _-]?sort(?:ed|iert)(?![a-z]|[ _-](?:for|by|on))"
)
_CAR_T = re.compile(r"(?<![a-z])car[ _-]*t(?:[ _-]?cells?)?(?![a-z])")
#: Whole samples: unsorted where no word tells of a sort.
_WHOLE = re.compile(
    r"(?<![a-z])(?:bulk|whole|total|all|full|(?:pb|bm)?mn?cs?|mononuclear|ficoll|buffy[ _-]coat|blood|urine|marrow"
    r"|sediment|samples?|(?:car[ _-]?t[ _-](?:cells?[ _-])?)?(?:infusion[ _-])?product|fresh|frozen|thawed"
    r"|cryopreserved|nuclei|nucleated|performed|done)(?![a-z0-9])"
)
#: What is then left of a gate on all T cells, and of one that leaves leukocytes out.
_OF_T = re.compile(
    r"(?:cd45(?:\+|pos))?(?:cd3(?:\+|pos|positive)?t?|(?:untouched)?(?:pan)?t(?:lymphocytes)?(?:negativeselection)?)"
    r"(?:cd45(?:\+|pos))?"
)
_NO_CD45 = re.compile(r"cd45_?(?:-|neg|negative|deplet(?:ed|ion))")


def gate_of(text: object) -> str:
    """Return the code of a sample's ``gating``; no text means unsorted, free text means ``other``.

    Gates on the CAR, by whatever binds it, and on T cells are told within longer words, and so is what leaves all
    living cells in.

    Examples
    --------
    >>> gate_of("CD3+ MACS"), gate_of("CD3+ CAR+"), gate_of("EGFRt+ (MACS)")
    ('t_enriched', 'car_enriched', 'car_enriched')
    >>> gate_of("CAR\N{MINUS SIGN}"), gate_of("CAR sort, flow-through"), gate_of("dead cell removal")
    ('car_depleted', 'car_depleted', 'unsorted')
    >>> gate_of("CD8+"), gate_of("CAR+ and CAR-")
    ('other', 'other')
    """
    if pd.isna(text) or is_missing(text):
        return "unsorted"
    plain = unicodedata.normalize("NFKC", str(text)).translate(DASHES).strip().lower()
    name = plain.replace("-", "_").replace(" ", "_")
    name = OTHER_WORDS.get(name, name)
    if name in GATES:
        return name
    by_car = _by_car(plain)
    if len(by_car) == 1:
        return "car_enriched" if by_car.pop() else "car_depleted"
    if by_car:
        return "other"
    bare = _NO_SORT.sub(
        " ",
        re.sub(
            r"(?<![a-z])(pan)?[ _-]?t-(?=cell|lymph)", r"\1 t ", plain.replace("pan-t", "pan t")
        ),
    )
    whole = _WHOLE.sub(" ", _CAR_T.sub(" ", bare) if _UNSORTED.search(plain) else bare)
    rest = re.sub(r"[\s,;:/()_&]+", "", re.sub(r"(?<=\s)-(?=\s)", " ", _HOW.sub(" ", whole)))
    if not rest and (bare != plain or (whole != bare and not _SORTED.search(bare))):
        return "unsorted"
    if _OF_T.fullmatch(rest) and plain != "t":
        return "t_enriched"
    return "cd45_depleted" if _NO_CD45.fullmatch(rest) else "other"


def gate_in_name(sample: str) -> str:
    """Return the code of a sort by the CAR that a sample is named after; nothing if it is named after none.

    >>> [gate_in_name(s) for s in ("PT01_D28_PBMC_CARpos", "P1_CAR-neg", "P01_urine_D28")]
    ['car_enriched', 'car_depleted', '']
    """
    code = gate_of(sample.replace("_", " "))
    return code if code in BY_CAR else ""


def _by_car(text: str) -> set[bool]:
    """Return whether gates on the CAR in a text take the cells with it or leave them out; both are possible."""
    kinds = ["car_t" if m["of_t"] else str(m.lastgroup) for m in _WORDS.finditer(text)]
    found = set()
    for at, kind in enumerate(kinds):
        if kind in ("car", "car_t", "mark"):
            found |= _signs(kind, kinds[:at], kinds[at + 1 :])
    if not found and "mark" in kinds and not set(kinds) - {"mark", "fill", "by"}:
        return {True}
    return found


def _signs(name: str, before: list[str], after: list[str]) -> set[bool]:
    """Return the signs of one mention of the CAR, from the kinds of words that stand before and after it."""
    ahead = [kind for kind in reversed(before) if kind != "fill"]
    if "not" in ahead[: 1 + sum(kind in ("sort", "by", "of") for kind in ahead[:2])]:
        return set()
    behind = [kind for kind in after if kind != "fill"]
    ways = list(itertools.takewhile(lambda kind: kind in ("sort", "by"), behind))
    behind = behind[len(ways) :]
    left_over = ahead[:1] in (["non"], ["minus"]) or (
        ahead[:1] in (["of"], ["by"]) and ahead[1:2] in (["minus"], ["non"])
    )
    if behind and behind[0] in ("plus", "minus"):
        if behind[:2] == ["plus", "minus"]:
            return {left_over}
        if behind[1:2] == ["also"] and set(behind[:3]) == {"plus", "also", "minus"}:
            return {True, False}
        return {(behind[0] == "plus") != left_over}
    if left_over:
        return {False}
    if "sort" in ways and (name != "car_t" or ways[-1] == "sort" or not behind):
        return {True}
    if ahead[:1] == ["by"]:
        return {True} if ahead[1:2] in (["plus"], ["sort"]) else set()
    return {True} if ahead[:1] == ["sort"] and (name == "mark" or ahead[1:2] != ["word"]) else set()


def gates(samples: pd.DataFrame, cells: pd.DataFrame | None = None) -> pd.Series:
    """Return what must be equal for two samples to be compared or pooled, by position.

    Parameters
    ----------
    samples
        One row a sample; ``gating`` where known: words, or the codes of a table of verdicts.
    cells
        ``obs`` of their cells, whose ``gating`` holds the sheet's words: a table of verdicts has ``other`` for all. T
        cells that were kept for their CAR molecules (:func:`silent_left_out`) are like those of a sort by the CAR.

    Returns
    -------
    pandas.Series
        The code, or the text itself where no code names it. A sample that is known to be sorted, but not how, is like
        no other.
    """
    names = samples["sample"].astype(str)
    kept = names.isin(_kept_for_the_car(cells))
    if "gating" not in samples:
        return pd.Series("unsorted", index=samples.index).mask(kept, BY_CAR[0])
    codes = samples["gating"].map(gate_of)
    words = samples["gating"].astype(str).str.strip().str.lower()
    known: dict[str, str] = {}
    if cells is not None and "gating" in cells:
        first = cells[["sample", "gating"]].astype(str).drop_duplicates("sample")
        known = dict(zip(first["sample"], first["gating"].str.strip().str.lower(), strict=True))
    told = names.map(known).fillna("")
    unsaid = words.isin(["other", ""])
    words = words.where(~unsaid, told.where(told != "", "other: " + names))
    return codes.where(codes != "other", words).mask(kept, BY_CAR[0])


def _kept_for_the_car(cells: pd.DataFrame | None) -> list[str]:
    """Return the samples of which only T cells with a CAR molecule are there."""
    if cells is None or not {"car_umis", "lineage", "is_doublet"} <= set(cells):
        return []
    t_cells = cells[is_single_t(cells)]
    of_samples = t_cells["car_umis"].groupby(t_cells["sample"].astype(str))
    return [str(sample) for sample, own in of_samples if silent_left_out(own)]


def fraction_is(gate: str) -> str:
    """Return what the CAR T fraction of a sample means: ``fraction``, or ``purity`` after a sort by the CAR.

    Parameters
    ----------
    gate
        As :func:`gates` or :func:`gate_of` give it.
    """
    return "purity" if gate in BY_CAR else "fraction"
