"""Faults of a construct that would cost reads or mislead, what each costs and what to do."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal, TypedDict

from carseq.construct.coverage import (
    CHEMISTRIES,
    READ_LENGTH,
    Chemistry,
    Intended,
    intended,
    share_lost,
    share_shared,
)
from carseq.construct.frame import extent, reading_faults
from carseq.construct.homology import EndogenousTranscript
from carseq.construct.vector import Construct, Transcript


class Finding(TypedDict):
    """One lint finding.

    ``umis_lost_3p`` and ``umis_lost_5p`` say how many of 100 CAR UMIs the fault costs in that chemistry; None
    where the question does not arise, or that chemistry was not asked for.
    """

    level: str
    code: str
    message: str
    remedy: str
    umis_lost_3p: int | None
    umis_lost_5p: int | None


SURROGATE = (
    "This is carseq's surrogate for HBI0101, not its true sequence, which is not public: "
    "parts of the real CAR mRNA may differ."
)
#: Notes of the reader that change no base of the reference: they cost nothing.
_COSTLESS = {"reverse_strand", "vector", "self_inactivating", "promoter"}
#: Notes of the reader that the user should act on, and how.
_WARNINGS = {
    "model": "Put your own plasmid map into `construct.file`: this record's surroundings of the ORF are a model.",
    "partial": "Give the whole plasmid map: what lies outside the part cannot be detected.",
    "five_prime_guess": "Check where the mRNA begins if your libraries are 5'; name the promoter in the map.",
    "three_prime_guess": "Check where the mRNA ends if your libraries are 3'; give the map up to the 3' LTR.",
    "no_car_domain": "Check that the file holds the CAR: no known CAR domain was found in its reading frame.",
}
_PRIME = {"3p": "3'", "5p": "5'"}


def lint(
    construct: Construct,
    chemistry: Literal["3p", "5p", "both"] = "both",
    *,
    rivals: Sequence[EndogenousTranscript] | None = None,
    read_length: int = READ_LENGTH,
) -> list[Finding]:
    """Return the findings on a construct, worst first.

    Every cost is counted on simulated fragments of the mRNA the construct stands for
    (:func:`carseq.construct.coverage.intended`): those whose read the faulty reference would not show.

    Parameters
    ----------
    construct
        The construct.
    chemistry
        ``3p``, ``5p`` or ``both``.
    rivals
        Endogenous transcripts the CAR may share domains with; None: the RefSeq mRNAs of CD247, TNFRSF9, CD28 and
        CD8A that come with carseq.
    read_length
        Of the cDNA read, nt.

    Returns
    -------
    list of dict
        ``level`` (error, warn, info), ``code``, ``message``, ``remedy``, ``umis_lost_3p``, ``umis_lost_5p`` (of 100,
        or None).
    """
    asked = [c for c in CHEMISTRIES if chemistry in (c, "both")]
    whole = intended(construct, extent(construct))
    found: list[Finding] = []

    def add(
        level: str,
        code: str,
        message: str,
        remedy: str = "",
        lost: dict[Chemistry, int] | int | None = None,
    ) -> None:
        costs = dict.fromkeys(asked, lost) if isinstance(lost, int) else lost or {}
        found.append(
            Finding(
                level=level,
                code=code,
                message=message,
                remedy=remedy,
                umis_lost_3p=costs.get("3p"),
                umis_lost_5p=costs.get("5p"),
            )
        )

    def cost(truth: Sequence[Transcript], references: Sequence[str]) -> dict[Chemistry, int]:
        return {c: round(share_lost(truth, references, c, read_length=read_length)) for c in asked}

    if construct.surrogate:
        add("warn", "surrogate", SURROGATE, "Put your own plasmid map into `construct.file`.")
    ends = _missing_ends(construct, whole, cost, add)
    _ambiguous(construct, cost, add)
    # A part of a CAR has neither start nor stop, nor need it hold CD3zeta.
    faults = [] if construct.form == "partial" else reading_faults(construct)
    for fault in faults:
        # The bases are there, whatever frame they are read in: reads align all the same.
        note = "" if fault.code in ("no_cd3zeta",) else " It costs no UMIs."
        add("warn", fault.code, fault.message + note, fault.remedy, 0)
    _shared(whole, rivals, asked, read_length, add)
    for code, message in construct.notes:
        lost: dict[Chemistry, int] | int | None = 0 if code in _COSTLESS else None
        level = "warn" if code in _WARNINGS else "info"
        add(level, code, message, _WARNINGS.get(code, ""), ends if code == "partial" else lost)
    order = {"error": 0, "warn": 1, "info": 2}
    return sorted(found, key=lambda f: (order[f["level"]], -_worst(f)))


def _worst(finding: Finding) -> int:
    return max(finding["umis_lost_3p"] or 0, finding["umis_lost_5p"] or 0)


def _phrase(lost: dict[Chemistry, int], why: dict[Chemistry, str]) -> str:
    """Return the costs in words: 94 of 100 3' UMIs (no 3' LTR) and 97 of 100 5' UMIs (no leader)."""
    told = [
        f"{n} of 100 {_PRIME[c]} UMIs" + (f" ({why[c]})" if n and c in why else "")
        for c, n in lost.items()
    ]
    return " and ".join(told)


def _missing_ends(
    construct: Construct,
    whole: Intended,
    cost: Callable[[Sequence[Transcript], Sequence[str]], dict[Chemistry, int]],
    add: Callable[..., None],
) -> dict[Chemistry, int] | None:
    """Add what the construct lacks of its mRNA; return what all of it costs together."""
    if not whole.missing:
        return None
    full = whole.transcripts[0].sequence
    here = [t.sequence for t in construct.transcripts]
    ends = cost(whole.transcripts, here)
    if construct.form == "orf":
        told = _phrase(ends, {"3p": "no 3' LTR", "5p": "no 5' leader"})
        add(
            "warn",
            "orf_only",
            f"An ORF-only reference would lose {told}. {whole.assumption}",
            "Give the plasmid map, the provirus or the whole transcript.",
            ends,
        )
        return ends
    first = whole.offset if "leader" in whole.missing else 0
    last = first + len(construct.sequence)
    if "leader" in whole.missing:
        lost = cost(whole.transcripts, [full[first:]])
        add(
            "warn",
            "no_leader",
            f"The transcript begins at the CAR: without its 5' leader it would lose {_phrase(lost, {})}. "
            f"{whole.assumption}",
            "Give the plasmid map or the provirus, from the 5' LTR on.",
            lost,
        )
    if "tail" in whole.missing:
        kept = [full[:last], *[t.sequence[: -len(full) + last] for t in whole.transcripts[1:]]]
        lost = cost(whole.transcripts, kept)
        add(
            "warn",
            "no_3p_end",
            f"The transcript ends at the CAR: without its 3' end (3' LTR) it would lose {_phrase(lost, {})}. "
            f"{whole.assumption}",
            "Give the plasmid map or the provirus, up to the 3' LTR.",
            lost,
        )
    if "unspliced" in whole.missing:
        lost = cost(whole.transcripts, [t.sequence for t in whole.transcripts[1:]])
        add(
            "warn",
            "no_unspliced_form",
            f"The transcript is the spliced form alone: reads of the psi intron would be lost, {_phrase(lost, {})}. "
            f"{whole.assumption}",
            "Give the plasmid map, the provirus or the unspliced transcript.",
            lost,
        )
    return ends


def _ambiguous(
    construct: Construct,
    cost: Callable[[Sequence[Transcript], Sequence[str]], dict[Chemistry, int]],
    add: Callable[..., None],
) -> None:
    """Add the ambiguous bases, which the true mRNA has some base in the place of."""
    n = construct.sequence.count("N")
    if not n:
        return
    rng = random.Random(0)
    full = "".join(b if b != "N" else rng.choice("ACGT") for b in construct.sequence)
    truth = [
        replace(t, sequence="".join(full[a:b] for a, b in t.blocks)) for t in construct.transcripts
    ]
    lost = cost(truth, [t.sequence for t in construct.transcripts])
    add(
        "warn",
        "ambiguous",
        f"{n} bases of the transcript are ambiguous; they would lose {_phrase(lost, {})}.",
        "Resolve them in the map, or from the reads (`carseq construct FILE --bam`).",
        lost,
    )


def _shared(
    whole: Intended,
    rivals: Sequence[EndogenousTranscript] | None,
    asked: Sequence[Chemistry],
    read_length: int,
    add: Callable[..., None],
) -> None:
    """Add the domains an endogenous gene has as well."""
    if rivals is None:
        from carseq.construct.library import relatives

        rivals = [EndogenousTranscript(g, g, s) for g, s in relatives().items()]
    lost: dict[Chemistry, int] = {}
    genes: list[str] = []
    for c in asked:
        share, named = share_shared(whole.transcripts, rivals, c, read_length=read_length)
        lost[c] = round(share)
        genes += [g for g in named if g not in genes]
    if genes:
        add(
            "info",
            "shared_domains",
            f"Reads of {', '.join(genes)} equal the CAR's there: {_phrase(lost, {})} cannot be told from the "
            "gene's own.",
            "carseq weighs such molecules by what else the cell shows; they alone call no cell.",
            lost,
        )
