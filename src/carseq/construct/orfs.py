"""Reading frames, and which of them is the CAR's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from Bio.Seq import Seq

from carseq.construct.parts import find_part, known_domains

#: A CAR's ORF is 1.3-1.6 kb (scFv 0.7, hinge to CD3zeta 0.6); shorter ORFs are not taken for one.
MIN_ORF = 600
#: Largest share of edits of a protein domain; tisa-cel's CD3zeta has one substitution in 112.
MAX_DOMAIN_EDITS = 0.15
#: Ends of antibody variable domains (framework 4, IMGT): heavy WGxGTxVTVSS, light FGxGTxxxIK.
HEAVY = re.compile(r"WG[QRK]GT.[VL]TVS[SA]")
LIGHT = re.compile(r"FG.GT[KR][LVR][ETD][IVL][KTR]")
#: What a domain says about a frame being a CAR's. No other gene of a vector has any of them but a marker
#: (a signal peptide, a transmembrane part), which therefore weighs least.
_WEIGHT = {"CD3zeta": 6, "costimulatory": 3, "hinge": 2, "transmembrane": 2, "signal peptide": 1}
_FRAMEWORK_WEIGHT = 2


@dataclass(frozen=True)
class Orf:
    """An open reading frame: place (stop included), whether it has a stop, and how CAR-like it is."""

    start: int
    end: int
    complete: bool
    score: int


@lru_cache(maxsize=256)
def car_score(protein: str) -> int:
    """Return how much of a CAR a protein shows: the summed weights of the kinds of domain it holds."""
    domains = known_domains()
    kinds = {
        str(d.kind)
        for d in domains[domains["alphabet"] == "protein"].itertuples()
        if d.kind in _WEIGHT and find_part(str(d.sequence), protein, MAX_DOMAIN_EDITS)
    }
    score = sum(_WEIGHT[k] for k in kinds)
    if HEAVY.search(protein) or LIGHT.search(protein):
        score += _FRAMEWORK_WEIGHT
    return score


def n_signalling(protein: str) -> int:
    """Return the number of CD3zeta domains of a protein."""
    domains = known_domains()
    zeta = domains.loc[domains["kind"] == "CD3zeta", "sequence"]
    return sum(len(find_part(str(z), protein, MAX_DOMAIN_EDITS)) for z in zeta)


def _stretches(sequence: str, frame: int) -> list[tuple[int, str, bool]]:
    """Return the stop-free stretches of a frame: first base, residues, whether a stop follows."""
    protein = str(Seq(sequence[frame : frame + (len(sequence) - frame) // 3 * 3]).translate())
    found, position = [], 0
    pieces = protein.split("*")
    for i, piece in enumerate(pieces):
        found.append((frame + 3 * position, piece, i < len(pieces) - 1))
        position += len(piece) + 1
    return found


def find_orfs(sequence: str, min_length: int = MIN_ORF) -> list[Orf]:
    """Return the ORFs (ATG to stop, or to the end) of the given strand of at least ``min_length`` nt.

    Where a known signal peptide lies inside a CAR's frame, the frame begins with it: an ATG further
    upstream (of a gag remnant, say) that happens to be in frame is not the CAR's start.
    """
    found = []
    for frame in range(3):
        for start, piece, stop in _stretches(sequence, frame):
            first = piece.find("M")
            if first < 0:
                continue
            first = _leader(piece, first)
            begin = start + 3 * first
            end = min(start + 3 * (len(piece) + 1), len(sequence))
            if end - begin >= min_length:
                found.append(Orf(begin, end, stop, car_score(piece[first:])))
    return found


def _leader(protein: str, first: int) -> int:
    """Return where the CAR begins: at its signal peptide if it has a known one, else at ``first``.

    A signal peptide behind a 2A peptide (which ends in NPGP) is that of the second of two proteins.
    """
    domains = known_domains()
    starts = [
        start
        for leader in domains.loc[domains["kind"] == "signal peptide", "sequence"]
        for start, _, _ in find_part(str(leader), protein, MAX_DOMAIN_EDITS)
        if protein[start] == "M" and "NPGP" not in protein[first:start]
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
