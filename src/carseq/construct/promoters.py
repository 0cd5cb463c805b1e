"""Where transcription begins and ends in a vector: promoters, LTRs and poly(A) signals."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carseq.construct.parts import find_part, parts
from carseq.construct.reading import VectorMap

#: An R farther than this from the reading frame belongs to something else (WPRE 0.6 kb, IRES and a marker
#: 2.5 kb behind; EF1alpha with its intron, RRE and cPPT 3.5 kb, an untrimmed gag or pol before).
MAX_DOWNSTREAM, MAX_UPSTREAM = 4500, 9000
#: A promoter's start of transcription lies at most this far before the frame (EF1alpha's intron 0.95 kb).
MAX_LEADER = 2500
#: TATA boxes of U3 (MoMuLV and its kin: AATAAAAG or TATAAAAG; HIV-1: TATAAGCAG), 20-35 nt before R.
_TATA = re.compile(r"[AT]ATAAAAG|TATAAGCAG")
_TATA_REACH = 50
#: Promoters that do not drive a CAR in a T cell: bacterial, phage and small-RNA ones.
_OTHERS = re.compile(
    r"\b(T3|T7|SP6|lac|lacI|AmpR|bla|KanR|cat|tac|trc|ara|U6|H1|7SK|EM7|ori)", re.I
)
#: Of an annotated promoter of unknown sequence, the last 100 nt are kept: PGK starts inside its feature.
_ANNOTATED_KEPT = 100
#: A vector's mRNA is cut 10-30 nt behind AATAAA (Proudfoot 2011 Genes Dev 25:1770).
_CLEAVAGE = 25


@dataclass(frozen=True)
class Start:
    """A start of transcription: its place, the promoter's name, and whether the place is a guess."""

    position: int
    name: str
    guess: bool = False


@dataclass(frozen=True)
class Repeats:
    """The R of the LTRs around a reading frame (start, end), None where one is missing."""

    family: str
    five: tuple[int, int] | None
    three: tuple[int, int] | None
    self_inactivating: bool

    @property
    def both(self) -> bool:
        """Whether both LTRs are there."""
        return self.five is not None and self.three is not None


def _r_hits(sequence: str) -> list[tuple[int, int, str]]:
    return sorted(
        (start, end, name)
        for name in ("MoMuLV_R", "HIV1_R")
        for start, end, _ in find_part(parts()[name], sequence)
    )


def find_repeats(sequence: str, orf: tuple[int, int]) -> Repeats:
    """Find the R of the 5' and of the 3' LTR next to a reading frame.

    The vector is self-inactivating where the U3 before the 3' R has no TATA box: reverse transcription
    copies that U3 into the 5' LTR of the provirus, so there the LTR is silent.
    """
    hits = _r_hits(sequence)
    before = [h for h in hits if h[1] <= orf[0] and orf[0] - h[1] <= MAX_UPSTREAM]
    after = [h for h in hits if h[0] >= orf[1] and h[0] - orf[1] <= MAX_DOWNSTREAM]
    three = after[0] if after else None
    if three is not None:
        before = [h for h in before if h[2] == three[2]]
    five = before[-1] if before else None
    family = (three or five or (0, 0, ""))[2]
    silent = False
    if three is not None:
        upstream = sequence[max(three[0] - _TATA_REACH, orf[1]) : three[0]]
        silent = _TATA.search(upstream) is None
    return Repeats(family, five and five[:2], three and three[:2], silent)


def known_starts(sequence: str, lo: int, hi: int) -> list[Start]:
    """Return the starts of transcription of known promoters in ``sequence[lo:hi]``, in order.

    EF1alpha, MND, CMV by their sequence; other gamma-retroviral U3 promoters (MSCV and its kin) by the last
    100 nt of U3, as in MoMuLV.
    """
    stretch, part = sequence[lo:hi], parts()
    found: dict[int, Start] = {}
    for _, end, _ in find_part(part["MoMuLV_U3"][-100:], stretch, 0.15):
        found[lo + end] = Start(lo + end, "a gamma-retroviral U3 such as MSCV")
    # MND is a U3 as well, 10 % from MoMuLV's: 5 % of edits tell it from MSCV and its kin.
    for name, promoter, edits in (("MND", "MND_promoter", 0.05), ("CMV", "CMV_promoter", 0.12)):
        for _, end, _ in find_part(part[promoter], stretch, edits):
            found = {p: s for p, s in found.items() if abs(p - lo - end) > 20}
            found[lo + end] = Start(lo + end, name)
    joint = part["EF1A_promoter"][-100:] + part["EF1A_exon1"]
    for _, end, _ in find_part(joint, stretch):
        position = lo + end - len(part["EF1A_exon1"])
        found[position] = Start(position, "EF1alpha")
    return [found[p] for p in sorted(found)]


def find_start(vector: VectorMap, lo: int, hi: int) -> Start | None:
    """Return the start of transcription nearest before ``hi``, by sequence or else by annotation."""
    lo = max(lo, hi - MAX_LEADER - 700)
    known = [s for s in known_starts(vector.sequence, lo, hi) if hi - s.position <= MAX_LEADER]
    annotated = [
        f
        for f in vector.features
        if f.strand == 1
        and (f.kind == "promoter" or "promoter" in f.label.lower())
        and "enhancer" not in f.label.lower()
        and not _OTHERS.search(f.label)
        and lo <= f.start
        and f.end <= hi + 10
        and hi - f.end <= MAX_LEADER
    ]
    nearest = max(annotated, key=lambda f: f.end, default=None)
    if known and (nearest is None or nearest.start - 50 <= known[-1].position):
        return known[-1]
    if nearest is not None:
        position = max(nearest.start, min(nearest.end, hi) - _ANNOTATED_KEPT)
        return Start(position, nearest.label or "annotated promoter", guess=True)
    return None


def find_end(vector: VectorMap, lo: int) -> tuple[int, str] | None:
    """Return (end of the transcript, what it is) behind ``lo`` by poly(A) signal, annotated or AATAAA."""
    for feature in sorted(vector.features, key=lambda f: f.start):
        named = "polya" in re.sub(r"[^a-z]", "", feature.label.lower())
        if (feature.kind == "polyA_signal" or named) and lo <= feature.start <= lo + MAX_DOWNSTREAM:
            signal = vector.sequence.find("AATAAA", feature.start, feature.end)
            end = feature.end if signal < 0 else min(signal + 6 + _CLEAVAGE, len(vector.sequence))
            return end, feature.label or "annotated poly(A) signal"
    signal = vector.sequence.find("AATAAA", lo, lo + MAX_DOWNSTREAM)
    if signal < 0:
        return None
    return min(signal + 6 + _CLEAVAGE, len(vector.sequence)), "the first AATAAA behind the frame"
