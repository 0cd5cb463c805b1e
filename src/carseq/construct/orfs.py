"""Reading frames, and which of them is the CAR's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from carseq.construct.antibody import variable_domains
from carseq.construct.coding import reverse_complement, translate
from carseq.construct.parts import find_protein, known_proteins

#: A CAR's ORF is 1.3-1.6 kb (scFv 0.7, hinge to CD3zeta 0.6); shorter ORFs are not taken for one.
MIN_ORF = 600
#: Largest share of edits of a protein domain; tisa-cel's CD3zeta has one substitution in 112.
MAX_DOMAIN_EDITS = 0.15
#: What a domain says about a frame being a CAR's. Few other genes of a vector have any of them; a marker may
#: have a signal peptide or a transmembrane part, which therefore weigh least.
_WEIGHT = {
    "CD3zeta": 6,
    "signalling": 4,
    "costimulatory": 3,
    "hinge": 2,
    "transmembrane": 2,
    "binder": 2,
    "signal peptide": 1,
}
_FRAMEWORK_WEIGHT = 2
#: Kinds behind the binder. A frame that has them and no leader may have lost its beginning to a stop codon.
_INNER = ("CD3zeta", "signalling", "costimulatory", "transmembrane", "hinge")
#: Residues with which a 2A peptide ends, and the next protein begins.
_JOINT = "NPGP"
#: A CAR's second part (what lies behind a premature stop codon) has at least this many residues.
_MIN_REST = 60


@dataclass(frozen=True)
class Orf:
    """An open reading frame: place (stop included), whether it has a stop, and how CAR-like it is."""

    start: int
    end: int
    complete: bool
    score: int


@lru_cache(maxsize=512)
def _kinds(protein: str) -> frozenset[str]:
    """Return the kinds of CAR domain that a protein holds."""
    found = {
        d.kind
        for d in known_proteins(*_WEIGHT)
        if find_protein(d.sequence, protein, MAX_DOMAIN_EDITS)
    }
    if variable_domains(protein):
        found.add("antibody")
    return frozenset(found)


def car_score(protein: str) -> int:
    """Return how much of a CAR a protein shows: the summed weights of the kinds of domain it holds."""
    kinds = _kinds(protein)
    score = sum(_WEIGHT.get(kind, 0) for kind in kinds)
    if "antibody" in kinds:
        score += _FRAMEWORK_WEIGHT
    return score


def signals(protein: str) -> bool:
    """Whether a protein holds a signalling or costimulatory domain."""
    return bool(_kinds(protein) & {"CD3zeta", "signalling", "costimulatory"})


def n_signalling(protein: str) -> int:
    """Return the number of CD3zeta domains of a protein."""
    hits = sorted(
        hit
        for domain in known_proteins("CD3zeta")
        for hit in find_protein(domain.sequence, protein, MAX_DOMAIN_EDITS)
    )
    kept: list[tuple[int, int, float]] = []
    for hit in hits:
        if not kept or hit[0] >= kept[-1][1] - 10:
            kept.append(hit)
    return len(kept)


def _stretches(sequence: str, frame: int) -> list[tuple[int, str, bool]]:
    """Return the stop-free stretches of a frame: first base, residues, whether a stop follows."""
    protein = translate(sequence[frame:])
    found, position = [], 0
    pieces = protein.split("*")
    for i, piece in enumerate(pieces):
        found.append((frame + 3 * position, piece, i < len(pieces) - 1))
        position += len(piece) + 1
    return found


def find_orfs(sequence: str, min_length: int = MIN_ORF) -> list[Orf]:
    """Return the ORFs (ATG to stop, or to the end) of the given strand of at least ``min_length`` nt.

    Where a known signal peptide lies inside a CAR's frame, the frame begins with it: an ATG further
    upstream (of a gag remnant, say) that happens to be in frame is not the CAR's start. Where one stop codon
    parts the leader and binder from the rest of a CAR in the same frame, both are one ORF: the stop is a fault
    of the map, which the lint reports.
    """
    found = []
    for frame in range(3):
        stretches = _stretches(sequence, frame)
        for start, piece, stop in stretches:
            first = piece.find("M")
            end = min(start + 3 * (len(piece) + 1), len(sequence))
            # A leader further in makes it shorter still.
            if first < 0 or end - start - 3 * first < min_length:
                continue
            first = _leader(piece, first)
            begin = start + 3 * first
            if end - begin >= min_length:
                found.append(Orf(begin, end, stop, car_score(piece[first:])))
        for one, two in pairwise(stretches):
            joined = _interrupted(one, two, len(sequence))
            if joined is not None and joined.end - joined.start >= min_length:
                found.append(joined)
    return found


def _interrupted(one: tuple[int, str, bool], two: tuple[int, str, bool], size: int) -> Orf | None:
    """Return the ORF of a CAR that one stop codon cuts in two, or None."""
    (start, head, _), (rest, tail, stop) = one, two
    if len(tail) < _MIN_REST or "M" not in head:
        return None
    # Of proteins that 2A peptides join, the one with the stop codon is looked at: a marker has a leader of its own.
    inner = _kinds(tail.partition(_JOINT)[0])
    if not inner & set(_INNER) or "signal peptide" in inner:
        return None
    first = _leader(head, -1)
    own = head.rpartition(_JOINT)[2]
    if first < 0 and own != head and _kinds(own) & {"signal peptide", "antibody"}:
        # A partner without a known leader stands before the CAR.
        first = head.find("M")
    if first < 0 or _kinds(own) & {"CD3zeta", "signalling", "costimulatory"}:
        return None
    protein = f"{head[first:]}*{tail}"
    end = min(rest + 3 * (len(tail) + 1), size)
    return Orf(start + 3 * first, end, stop, car_score(protein))


def _leader(protein: str, first: int) -> int:
    """Return where the CAR begins: at its signal peptide if it has a known one, else at ``first``.

    A signal peptide behind a 2A peptide (which ends in NPGP) is that of the second of two proteins.
    """
    starts = [
        start
        for leader in known_proteins("signal peptide")
        for start, _, _ in find_protein(leader.sequence, protein, MAX_DOMAIN_EDITS)
        if protein[start] == "M" and _JOINT not in protein[max(first, 0) : start]
    ]
    return min((s for s in starts if s >= first), default=first)


def car_orf(sequence: str) -> Orf | None:
    """Return the frame most like a CAR's on the given strand; the longest one if none shows a domain."""
    return max(
        find_orfs(sequence), key=lambda o: (o.score, o.complete, o.end - o.start), default=None
    )


def open_frame(sequence: str) -> Orf | None:
    """Return the stop-free stretch most like a part of a CAR, start codon or not.

    For partial constructs: only the scFv, only CD3zeta. Ties go to the longest.
    """
    found = [
        Orf(start, min(start + 3 * (len(piece) + stop), len(sequence)), stop, car_score(piece))
        for frame in range(3)
        for start, piece, stop in _stretches(sequence, frame)
        if piece
    ]
    return max(found, key=lambda o: (o.score, o.end - o.start), default=None)


def all_frames(sequence: str, min_length: int) -> list[str]:
    """Return the proteins of the ORFs of both strands, longest first."""
    found = [
        piece[piece.find("M") :]
        for strand in (sequence, reverse_complement(sequence))
        for frame in range(3)
        for _, piece, _ in _stretches(strand, frame)
        if "M" in piece
    ]
    return sorted((p for p in found if 3 * len(p) >= min_length), key=len, reverse=True)
