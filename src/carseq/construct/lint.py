"""Faults of a construct that would cost reads or mislead, what each costs and what to do."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from carseq.construct.backbones import DEFAULT
from carseq.construct.coverage import (
    CHEMISTRIES,
    READ_LENGTH,
    Chemistry,
    Intended,
    intended,
    share_lost,
    share_shared,
)
from carseq.construct.derive import CUT
from carseq.construct.findings import CODES, LEVELS, Finding, Level
from carseq.construct.frame import extent, reading_faults
from carseq.construct.homology import EndogenousTranscript
from carseq.construct.model import Construct, Transcript

__all__ = ["CODES", "SURROGATE", "Finding", "lint"]

SURROGATE = (
    "This is carseq's surrogate for HBI0101, not its true sequence, which is not public: "
    "parts of the real CAR mRNA may differ."
)
#: UMIs of 100 from which a missing end is worth a warning.
_WORTH = 2
_PRIME = {"3p": "3'", "5p": "5'"}
_Cost = Callable[[Sequence[Transcript], Sequence[str]], dict[Chemistry, int]]


def lint(
    construct: Construct,
    chemistry: Literal["3p", "5p", "both"] = "both",
    *,
    rivals: Sequence[EndogenousTranscript] | None = None,
    read_length: int = READ_LENGTH,
    spliced: float | None = None,
) -> list[Finding]:
    """Return the findings on a construct, worst first.

    Every cost is counted on simulated fragments of the mRNA that the construct represents
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
    spliced
        Share of spliced molecules as reads show it; None: a usual one.

    Returns
    -------
    list of dict
        ``level`` (error, warn, info), ``code`` (one of :data:`CODES`), ``message``, ``remedy``, ``umis_lost_3p``,
        ``umis_lost_5p`` (of 100, or None).

    Examples
    --------
    >>> from carseq.construct.vector import load_construct
    >>> from carseq.data import path as data_path
    >>> found = lint(load_construct(data_path("constructs/ide-cel.gb")), "3p")
    >>> [f["code"] for f in found]
    ['vector', 'self_inactivating']
    """
    asked = [c for c in CHEMISTRIES if chemistry in (c, "both")]
    whole = intended(construct, extent(construct))
    report = _Report(asked)

    def cost(truth: Sequence[Transcript], references: Sequence[str]) -> dict[Chemistry, int]:
        return {
            c: round(share_lost(truth, references, c, read_length=read_length, spliced=spliced))
            for c in asked
        }

    if construct.surrogate:
        report.add("surrogate", SURROGATE)
    ends = _missing_ends(construct, whole, cost, report)
    _ambiguous(construct, cost, report)
    for fault in reading_faults(construct):
        # The bases are there, whatever frame they are read in: reads align all the same.
        note = (
            "" if fault.code.startswith("no_") and fault.code != "no_stop" else " It costs no UMIs."
        )
        report.add(fault.code, fault.message + note, fault.remedy, 0, level=fault.level)
    _shared(whole, rivals, asked, read_length, spliced, report)
    for code, message in construct.notes:
        twin = {"five_prime_guess": "no_leader", "three_prime_guess": "no_3p_end"}.get(code)
        if any(f["code"] in (code, twin) for f in report.found):
            continue
        lost = ends if code == "partial" else 0 if CODES[code].is_free else None
        report.add(code, message, lost=lost)
    return sorted(report.found, key=lambda f: (LEVELS.index(f["level"]), -_worst(f)))


class _Report:
    """The findings so far."""

    def __init__(self, asked: Sequence[Chemistry]) -> None:
        self.asked = asked
        self.found: list[Finding] = []

    def add(
        self,
        code: str,
        message: str,
        remedy: str = "",
        lost: dict[Chemistry, int] | int | None = None,
        *,
        level: Level | None = None,
    ) -> None:
        """Add a finding; its level and remedy are the code's own if none is given."""
        costs = dict.fromkeys(self.asked, lost) if isinstance(lost, int) else lost or {}
        self.found.append(
            Finding(
                level=level or CODES[code].level,
                code=code,
                message=message,
                remedy=remedy or CODES[code].remedy,
                umis_lost_3p=costs.get("3p"),
                umis_lost_5p=costs.get("5p"),
            )
        )


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
    construct: Construct, whole: Intended, cost: _Cost, report: _Report
) -> dict[Chemistry, int] | None:
    """Add what the construct lacks of its mRNA; return what all of it costs together."""
    _unknown_ends(construct, whole, report)
    if not whole.missing:
        return None
    full = whole.transcripts[0].sequence
    here = [t.sequence for t in construct.transcripts]
    ends = cost(whole.transcripts, here)
    if construct.form == "partial":
        return ends
    guesses = dict(construct.notes)
    put_on = ""
    vector = whole.backbone or (DEFAULT if "unspliced" in whole.missing else None)
    if vector is not None:
        what = "ends" if whole.backbone is not None else "intron"
        command = f"`carseq construct FILE --backbone {vector} --out FOLDER`"
        put_on = f", or put the {what} of a known vector on ({command})"
    if construct.form == "orf":
        told = _phrase(ends, {"3p": "no 3' LTR", "5p": "no 5' leader"})
        report.add(
            "orf_only",
            f"An ORF-only reference would lose {told}. {whole.assumption}",
            f"Give the plasmid map, the provirus or the whole transcript{put_on}.",
            ends,
        )
        return ends
    first = whole.offset if "leader" in whole.missing else 0
    last = first + len(construct.sequence)
    unspliced = "unspliced" in whole.missing
    if "leader" in whole.missing:
        lost = cost(whole.transcripts, here if unspliced else _without(whole, first, len(full)))
        code = "no_leader" if construct.five == CUT else "five_prime_guess"
        seen = guesses.get(
            code,
            "The mRNA's 5' end is not in the file: it begins with no known R or promoter start.",
        )
        # The promoter is in the file, but nobody knows how long its leader is.
        guessed = code == "five_prime_guess" and "5p" in report.asked
        longer = " If its leader is longer, more 5' UMIs are lost, up to nearly all."
        report.add(
            code,
            f"{_sentence(seen)} Without it the reference would lose {_phrase(lost, {})}. {whole.assumption}"
            + (longer if guessed else ""),
            f"Give the plasmid map or the provirus, from the 5' LTR or promoter on{put_on}.",
            lost,
            level="warn" if guessed else _level(lost),
        )
    if "tail" in whole.missing:
        lost = cost(whole.transcripts, here if unspliced else _without(whole, 0, last))
        code = "no_3p_end" if construct.three == CUT else "three_prime_guess"
        seen = guesses.get(
            code, "The mRNA's 3' end is not in the file: it ends with no known R or poly(A) signal."
        )
        report.add(
            code,
            f"{_sentence(seen)} Without it the reference would lose {_phrase(lost, {})}. {whole.assumption}",
            f"Give the plasmid map or the provirus, up to the 3' LTR{put_on}.",
            lost,
            level=_level(lost),
        )
    if unspliced:
        lost = cost(whole.transcripts, [t.sequence for t in whole.transcripts[1:]])
        report.add(
            "no_unspliced_form",
            f"The transcript is the spliced form alone: reads of the psi intron would be lost, {_phrase(lost, {})}. "
            f"{whole.assumption}",
            f"Give the plasmid map, the provirus or the unspliced transcript{put_on}.",
            lost,
        )
    return ends


def _unknown_ends(construct: Construct, whole: Intended, report: _Report) -> None:
    """Add the ends that may or may not lie in the file, which has more bases there than known vectors have."""
    assert construct.orf is not None
    start, end = construct.orf
    guesses = dict(construct.notes)
    for name, own, cut, guess, prime, n, where in (
        ("leader", construct.five, "no_leader", "five_prime_guess", "5'", start, "before"),
        (
            "tail",
            construct.three,
            "no_3p_end",
            "three_prime_guess",
            "3'",
            len(construct.sequence) - end,
            "behind",
        ),
    ):
        if name not in whole.unknown:
            continue
        code = cut if own == CUT else guess
        seen = guesses.get(code, f"Where the mRNA has its {prime} end is not known.")
        report.add(
            code,
            f"{_sentence(seen)} {n:,} bases lie {where} the reading frame, and no known R, promoter or poly(A) signal "
            f"among them tells whether they hold the mRNA's {prime} end: if they do not, nearly all {prime} UMIs are "
            "lost.",
            "Give the map of the whole vector, or name the promoter and the poly(A) signal in it.",
            level="warn" if f"{prime[0]}p" in report.asked else "info",
        )


def _level(lost: dict[Chemistry, int]) -> Level:
    """Return the level of a missing end: a short leader that costs nothing is not a warning."""
    return "warn" if max(lost.values(), default=0) >= _WORTH else "info"


def _sentence(text: str) -> str:
    """Return a note as a sentence."""
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def _without(whole: Intended, first: int, last: int) -> list[str]:
    """Return the whole mRNA's forms cut to a stretch of the full-length transcript."""
    found = []
    for transcript in whole.transcripts:
        blocks = [(max(a, first), min(b, last)) for a, b in transcript.blocks]
        found.append("".join(whole.transcripts[0].sequence[a:b] for a, b in blocks if a < b))
    return found


def _ambiguous(construct: Construct, cost: _Cost, report: _Report) -> None:
    """Add the ambiguous bases: the true mRNA has a definite base there."""
    n = construct.sequence.count("N")
    if not n:
        return
    rng = random.Random(0)
    full = "".join(b if b != "N" else rng.choice("ACGT") for b in construct.sequence)
    truth = [
        replace(t, sequence="".join(full[a:b] for a, b in t.blocks)) for t in construct.transcripts
    ]
    lost = cost(truth, [t.sequence for t in construct.transcripts])
    report.add(
        "ambiguous",
        f"{n} bases of the transcript are ambiguous; they would lose {_phrase(lost, {})}.",
        "Resolve them in the map, or from the reads (`carseq construct FILE --bam READS.bam`).",
        lost,
    )


def _shared(
    whole: Intended,
    rivals: Sequence[EndogenousTranscript] | None,
    asked: Sequence[Chemistry],
    read_length: int,
    spliced: float | None,
    report: _Report,
) -> None:
    """Add the domains that an endogenous gene has, too."""
    if rivals is None:
        from carseq.construct.parts import sequences

        rivals = [EndogenousTranscript(g, g, s) for g, s in sequences("relatives.fa").items()]
    lost: dict[Chemistry, int] = {}
    genes: list[str] = []
    for c in asked:
        share, named = share_shared(
            whole.transcripts, rivals, c, read_length=read_length, spliced=spliced
        )
        lost[c] = round(share)
        genes += [g for g in named if g not in genes]
    if genes:
        report.add(
            "shared_domains",
            f"Reads of {', '.join(genes)} equal the CAR's there: {_phrase(lost, {})} cannot be told apart from the "
            "gene's own.",
            "carseq weighs such molecules by what else the cell shows; they alone call no cell.",
            lost,
        )
