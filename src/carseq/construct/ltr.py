"""The repeats (R) of a retroviral vector's LTRs, told apart by what lies beside them.

A gamma-retroviral or lentiviral mRNA begins with the R of the 5' LTR and ends with the R of the 3' LTR. Both R's have
(nearly) the same sequence, so their place and their surroundings tell which is which: the 5' one is followed by U5
and the primer binding site (PBS), the 3' one is not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from carseq.construct.coding import reverse_complement
from carseq.construct.parts import find_part, find_sites, parts

#: An R farther than this from the reading frame belongs to something else (WPRE 0.6 kb, IRES and a marker
#: 2.5 kb behind; EF1alpha with its intron, RRE and cPPT 3.5 kb, an untrimmed gag or pol before).
MAX_DOWNSTREAM, MAX_UPSTREAM = 4500, 9000
#: The R's that are known: part, name, family.
_REPEATS = {
    "MoMuLV_R": ("MoMuLV", "gamma"),
    "MSCV_R": ("MSCV", "gamma"),
    "MSCV_R3": ("MSCV", "gamma"),
    "MP71_R3": ("MP71", "gamma"),
    "HIV1_R": ("HIV-1", "lenti"),
}
#: The same with what lies before and behind them: U3, R, U5.
_SURROUNDED = (
    ("MoMuLV_U3", "MoMuLV_R", "MoMuLV_U5"),
    ("MSCV_U3", "MSCV_R", "MSCV_U5"),
    ("MSCV_U3", "MSCV_R3", "MSCV_U5"),
    ("MP71_U3", "MP71_R3", "MSCV_U5"),
    ("HIV1_dU3", "HIV1_R", "HIV1_U5"),
)
#: Bases of U3 that are compared, beside an R.
_U3_BESIDE = 120
#: Most edits (share) of a U3: vectors differ by up to 15 % from the known ones, SFFV from MoMuLV by 12 % at its end.
U3_EDITS = 0.2
#: First bases of a U3 by which one is known that the file's end cuts off.
_U3_HEAD = 60
#: Bases at either end of a circle in which an R lies that runs across them, and most edits in what lies behind.
_ACROSS, _REST_EDITS = 400, 0.25
#: Most edits in either half of an R that was found by its surroundings: promoters taken from a U3 have a piece of R.
_HALF_EDITS = 0.32
FAMILIES = {"gamma": "gamma-retroviral LTRs", "lenti": "lentiviral LTRs"}
#: TATA boxes of U3 (MoMuLV and its kin: AATAAAAG or TATAAAAG; HIV-1: TATAAGCAG), 20-35 nt before R.
_TATA = re.compile(r"[AT]ATAAAAG|TATAAGCAG")
_TATA_REACH = 50
#: U3's last bases, by which a promoter is known whose TATA box differs, and the bases before R they lie in.
_U3_PROMOTERS = ("MoMuLV_U3", "MSCV_U3", "MP71_U3")
_U3_REACH = 140
#: First bases of the primer binding sites: tRNA-Pro (MoMuLV, SFG), tRNA-Gln (MSCV, MSGV1, MP71), tRNA-Lys (HIV-1).
_PBS = ("TGGGGGCTCGTCCGGGAT", "TGGAGGTTCCACCGAGAT", "TGGCGCCCGAACAGGGAC")
#: Leaders from U5 on: PBS and what follows it; where the PBS differs these tell.
_LEADERS = ("MoMuLV_psi", "MSGV1_psi", "MP71_psi", "HIV1_leader")
_LEADER_BASES, _LEADER_EDITS = 60, 0.22
#: The PBS lies directly behind U5 (77-83 nt), with a few bases between.
_PBS_REACH = 130


@dataclass(frozen=True)
class Repeat:
    """An R: its half-open range, the virus it is most like, its family, and whether a PBS follows it."""

    start: int
    end: int
    virus: str
    family: str
    is_five: bool


@dataclass(frozen=True)
class Repeats:
    """The R of the LTRs around a reading frame, None where one is missing.

    Attributes
    ----------
    five, three
        The R of the 5' and of the 3' LTR.
    self_inactivating
        Whether the 3' LTR's U3 has lost its promoter, so that the LTR is silent in a transduced cell; None where
        there is no 3' LTR to tell.
    """

    five: Repeat | None
    three: Repeat | None
    self_inactivating: bool | None

    @property
    def family(self) -> str:
        """``gamma``, ``lenti``, or ``""`` where there is no R."""
        one = self.three or self.five
        return one.family if one else ""

    @property
    def n_found(self) -> int:
        """How many of the two R's are there."""
        return (self.five is not None) + (self.three is not None)


def ends_in_ltr(sequence: str, lo: int) -> bool:
    """Whether a sequence ends within the 3' LTR behind ``lo``: its U3 begins there, and its R is cut off.

    Parameters
    ----------
    sequence
        The map, sense strand.
    lo
        Where the CAR's reading frame ends.
    """
    for before, repeat, _ in _SURROUNDED:
        u3, r = parts()[before], parts()[repeat]
        hits = find_part(u3[:_U3_HEAD], sequence[lo:], U3_EDITS)
        if hits and lo + hits[-1][0] + len(u3) + len(r) > len(sequence):
            return True
    return False


def lies_across(sequence: str) -> bool:
    """Whether an R lies across a circle's ends, its last bases at the sequence's beginning."""
    before = sequence[-_ACROSS:]
    for one in find_all_repeats(before + sequence[:_ACROSS]):
        n = one.end - len(before)
        if one.start >= len(before) or n <= 0:
            continue
        rest = sequence[:n]
        ends = [parts()[name][-n:] for name in _REPEATS]
        if any(find_part(end, rest, _REST_EDITS) for end in ends):
            return True
    return False


def find_all_repeats(sequence: str) -> list[Repeat]:
    """Return every known R of a strand, in order; each is named after the virus it is most similar to."""
    hits = sorted(
        (-identity, start, end, *_REPEATS[part])
        for part in _REPEATS
        for start, end, identity in find_part(parts()[part], sequence)
    )
    found: list[tuple[int, int, str, str]] = []
    exact = set()
    for identity, start, end, virus, family in hits:
        if not any(start < k[1] and k[0] < end for k in found):
            found.append((start, end, virus, family))
            if identity == -1:
                exact.add(start)
    beside = _surrounded(sequence)
    for _, start, end, part in beside:
        if not any(start < k[1] and k[0] < end for k in found):
            found.append((start, end, *_REPEATS[part]))
    kept = []
    for first, last, virus, family in found:
        # Where an R's own edge differs, what lies beyond it tells the place: U3 the start, U5 the end.
        own = [s for s in beside if s[1] < last and first < s[2] and first not in exact]
        start = next((s[1] for s in own if s[0] == "U3"), first)
        end = next((s[2] for s in own if s[0] == "U5"), last)
        kept.append(Repeat(start, end, virus, family, _is_five(sequence, end)))
    return sorted(kept, key=lambda r: r.start)


def _is_five(sequence: str, end: int) -> bool:
    """Whether an R that ends at ``end`` is followed by U5 and a primer binding site."""
    behind = sequence[end : end + _PBS_REACH]
    if any(find_part(pbs, behind, 0.12) for pbs in _PBS):
        return True
    behind = sequence[end : end + _PBS_REACH + _LEADER_BASES]
    return any(find_part(parts()[p][:_LEADER_BASES], behind, _LEADER_EDITS) for p in _LEADERS)


def _surrounded(sequence: str) -> list[tuple[str, int, int, str]]:
    """Return the R's that U3 before or U5 behind them give away: which of them, start, end, part; best ones first."""
    hits = []
    for before, part, behind in _SURROUNDED:
        bases = parts()[part]
        half, size = len(bases) // 2, len(bases)
        for beside, left, right in (
            ("U3", parts()[before][-_U3_BESIDE:], ""),
            ("U5", "", parts()[behind]),
        ):
            n = len(left)
            at = (n, n + half, n + size)
            for site in find_sites(left + bases + right, at, sequence, U3_EDITS):
                if max(site.edits[1:3]) <= _HALF_EDITS * half:
                    hits.append((-site.identity, beside, site.places[0], site.places[2], part))
    return [hit[1:] for hit in sorted(hits)]


def _has_promoter(sequence: str, lo: int, start: int) -> bool:
    """Whether the U3 before an R that begins at ``start`` has its promoter: a TATA box, or a U3's last bases."""
    if _TATA.search(sequence, max(start - _TATA_REACH, lo), start):
        return True
    before = sequence[max(start - _U3_REACH, lo) : start]
    return any(find_part(parts()[p][-_U3_BESIDE:], before, U3_EDITS) for p in _U3_PROMOTERS)


def find_backbone(sequence: str) -> list[tuple[int, int]]:
    """Return where a plasmid's bacterial parts lie: origins of replication and resistance genes, either strand."""
    found = []
    for name in ("pUC_ori", "AmpR_gene", "R6K_ori", "KanR_gene"):
        for bases in (parts()[name], reverse_complement(parts()[name])):
            found += [(start, end) for start, end, _ in find_part(bases, sequence)]
    return sorted(found)


def place_repeats(
    sequence: str,
    orf: tuple[int, int],
    repeats: list[Repeat],
    backbone: list[tuple[int, int]],
) -> Repeats:
    """Return the R's that belong to a reading frame on a linear sequence.

    The 3' R is the first one behind the frame that no PBS follows; none beyond a bacterial part of the plasmid
    counts, for an mRNA does not run through it. The vector is self-inactivating where the U3 before the 3' R has
    no promoter: reverse transcription copies that U3 into the 5' LTR of the provirus.
    """
    first, last = orf
    wall = min((start for start, _ in backbone if start >= last), default=len(sequence))
    after = [
        r
        for r in repeats
        if r.start >= last and not r.is_five and r.start - last <= MAX_DOWNSTREAM and r.start < wall
    ]
    three = after[0] if after else None
    floor = max((end for _, end in backbone if end <= first), default=0)
    before = [
        r for r in repeats if r.end <= first and first - r.end <= MAX_UPSTREAM and r.start >= floor
    ]
    if three is not None:
        before = [r for r in before if r.family == three.family]
    told = [r for r in before if r.is_five]
    nearest = told or before
    five = nearest[-1] if nearest else None
    silent = None
    if three is not None:
        silent = not _has_promoter(sequence, last, three.start)
    return Repeats(five, three, silent)
