"""Faults of the CAR's reading frame: frameshift, premature stop, missing start, truncated CD3zeta."""

from __future__ import annotations

from dataclasses import dataclass

import edlib
from Bio.Seq import Seq

from carseq.construct.domains import MAX_DOMAIN_EDITS, known_domains
from carseq.construct.vector import Construct, find_part

_STOPS = ("TAA", "TAG", "TGA")
#: Residues of a domain that must be there for a piece of it to be looked at; shorter ones occur by chance.
_MIN_PIECE = 25
#: Residues that are open before the first ATG of a frame that has lost its start.
_MIN_OPEN = 20


@dataclass(frozen=True)
class Fault:
    """A fault of the reading frame: a code, what was seen, what to do, and where (a base of the transcript)."""

    code: str
    message: str
    remedy: str
    position: int


@dataclass(frozen=True)
class Piece:
    """A protein domain found in any frame: its name, kind, frame (0-2) and half-open range on the transcript."""

    name: str
    kind: str
    frame: int
    start: int
    end: int


def pieces(construct: Construct) -> list[Piece]:
    """Return the known protein domains of the transcript's sense strand, whatever their frame, in order."""
    found = []
    known = known_domains()
    proteins = known[known["alphabet"] == "protein"]
    for frame in range(3):
        stretch = construct.sequence[frame:]
        text = str(Seq(stretch[: len(stretch) // 3 * 3]).translate())
        for domain in proteins.itertuples():
            for start, end, _ in find_part(str(domain.sequence), text, MAX_DOMAIN_EDITS):
                place = (frame + 3 * start, frame + 3 * end)
                found.append(Piece(str(domain.name), str(domain.kind), frame, *place))
    return sorted(found, key=lambda p: (p.start, p.end))


def extent(construct: Construct) -> tuple[int, int]:
    """Return where the CAR's coding part lies: its ORF and every domain, out of frame or not."""
    places = [(p.start, p.end) for p in pieces(construct)]
    if construct.orf:
        places.append(construct.orf)
    if not places:
        return 0, len(construct.sequence)
    return min(a for a, _ in places), max(b for _, b in places)


def reading_faults(construct: Construct) -> list[Fault]:
    """Return the faults of the CAR's reading frame, by position.

    Out-of-frame or cut-off domains give them away: a domain behind the stop in the ORF's own frame tells of a
    premature stop, one in another frame of a frameshift.
    """
    if construct.orf is None:
        return []
    start, end = construct.orf
    sequence = construct.sequence
    found: list[Fault] = []
    frame = start % 3
    inside = [
        p for p in pieces(construct) if p.frame == frame and p.start >= start and p.end <= end
    ]
    # Of a domain found in two frames (repeats) the one in frame counts.
    known = {p.name for p in inside}
    outside = [p for p in pieces(construct) if p.name not in known]
    shifted = [p for p in outside if p.frame != frame]
    later = [p for p in outside if p.frame == frame and p.start >= end - 3]
    earlier = [p for p in outside if p.frame == frame and p.end <= start]
    if shifted:
        names = ", ".join(p.name for p in shifted)
        found.append(
            Fault(
                "frameshift",
                f"In another reading frame than the CAR's ORF ({start + 1}-{end}): {names}. An insertion or "
                "deletion breaks the frame.",
                "Check the map there; compare it with the reads (`carseq construct FILE --bam`).",
                end if shifted[-1].end > end else start,
            )
        )
    if later:
        names = ", ".join(p.name for p in later)
        found.append(
            Fault(
                "premature_stop",
                f"The reading frame stops at base {end} ({sequence[end - 3 : end]}) before {names}.",
                "Check the map there; compare it with the reads (`carseq construct FILE --bam`).",
                end,
            )
        )
    first = start
    while first >= 3 and sequence[first - 3 : first] not in _STOPS:
        first -= 3
    open_residues = (start - first) // 3
    if earlier or (first < 3 and open_residues >= _MIN_OPEN):
        what = ", ".join(p.name for p in earlier) or f"{open_residues} residues"
        found.append(
            Fault(
                "missing_start",
                f"The reading frame is open before its first ATG (base {start + 1}): {what} would not be "
                "translated, the start codon seems to be missing.",
                "Check the 5' end of the map.",
                start,
            )
        )
    if end - start >= 3 and sequence[end - 3 : end] not in _STOPS:
        found.append(
            Fault(
                "no_stop",
                "The CAR's reading frame has no stop codon.",
                "Check the 3' end of the map.",
                end,
            )
        )
    if not any(p.kind == "CD3zeta" for p in [*inside, *outside]):
        found.append(_zeta(construct))
    return sorted(found, key=lambda f: f.position)


def _zeta(construct: Construct) -> Fault:
    """Return what is wrong with a CD3zeta that was not found as a whole."""
    known = known_domains()
    zeta = str(known.loc[known["kind"] == "CD3zeta", "sequence"].iloc[0])
    head = zeta[:_MIN_PIECE]
    protein = construct.protein
    hit = edlib.align(head, protein, mode="HW", task="locations", k=3)
    if hit["editDistance"] >= 0:
        first = hit["locations"][0][0]
        rest = protein[first:]
        # Residues that still agree, up to the last stretch of five in a row.
        kept = _MIN_PIECE
        for n in range(_MIN_PIECE, min(len(rest), len(zeta)) + 1):
            if rest[n - 5 : n] == zeta[n - 5 : n]:
                kept = n
        assert construct.orf is not None
        at = construct.orf[0] + 3 * (first + kept)
        return Fault(
            "truncated_cd3zeta",
            f"CD3zeta is cut off: {kept} of its {len(zeta)} residues are in the reading frame (up to base {at}).",
            "Check the 3' end of the map; ignore this for a CAR with a shortened CD3zeta.",
            at,
        )
    return Fault(
        "no_cd3zeta",
        "No CD3zeta signalling domain was found in the reading frame.",
        "Check the map for a frameshift or a truncated domain; ignore this for a CAR without CD3zeta.",
        construct.orf[1] if construct.orf else 0,
    )
