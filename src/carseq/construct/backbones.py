"""Known vectors, and their ends put on a frame or a piece whose own ends are missing.

Most 3' reads of a CAR lie behind its frame and most 5' reads before it, so that a frame alone loses nine UMIs in
ten. Where the vector is known by name, or by the bases that the file has around the frame, its ends complete the mRNA.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import edlib

from carseq.construct.introns import introns_within, joined_leader, splice_sites
from carseq.construct.model import Construct, End, forms
from carseq.construct.parts import sequences
from carseq.errors import CarseqError

#: Bases beside the frame that are compared with a known vector's.
_FLANK = 250
#: Bases of a cloning site or Kozak sequence that a map may have beside the frame where the vector has none.
_CLONING = 30
#: The same where the leader is spliced: MSGV1's has 440 nt.
_SPLICED_FLANK = 420
#: Least number of bases that must agree, and the share of edits among them, for a vector to be likely.
_MIN_AGREEING, _MAX_EDITS = 24, 0.12
#: Share of edits within which a frame is that of a published CAR, and the vectors of those.
_SAME = 0.05
_VECTOR_OF = {
    "ide-cel": "MND-lenti",
    "cilta-cel": "cilta-EF1a",
    "cilta-cel_ozdemirli": "cilta-EF1a",
    "tisa-cel": "pELPS-EF1a",
    "liso-cel": "HIV7-EF1a",
    "axi-cel": "MSGV1",
}
#: What is assumed of a frame alone: the usual vector of gamma-retroviral CARs (axi-cel's).
DEFAULT = "MSGV1"
#: What is assumed where the file shows a lentiviral LTR and no promoter.
DEFAULT_LENTI = "pWPXLD-EF1a"


@dataclass(frozen=True)
class Backbone:
    """A known vector: its mRNA before the insert's start codon and behind its stop codon.

    Attributes
    ----------
    name
        As given to ``--backbone``.
    five, three
        Bases from the start of transcription to the insert, and from the insert to the poly(A) site.
    source
        The map they were taken from.
    """

    name: str
    five: str
    three: str
    source: str

    @property
    def is_lentiviral(self) -> bool:
        """Whether its 3' LTR is a lentivirus's."""
        return self.three.endswith(sequences("parts.fa")["HIV1_R"][-30:])


@dataclass(frozen=True)
class Match:
    """A known vector found beside a frame: its bases agree over ``n_five`` and ``n_three`` bases.

    Attributes
    ----------
    backbone
        The vector.
    n_five, n_three
        Agreeing bases before and behind the frame.
    five_at
        Where the piece before the frame begins on ``backbone.five``; None where it does not match.
    three_at
        Where the piece behind the frame ends on ``backbone.three``; None where it does not match.
    """

    backbone: Backbone
    n_five: int
    n_three: int
    five_at: int | None
    three_at: int | None


@lru_cache
def backbones() -> dict[str, Backbone]:
    """Return the known vectors by name.

    Examples
    --------
    >>> backbones()["MSGV1"].five[:20]
    'GCGCCAGTCCTCCGATAGAC'
    """
    from carseq.data import path as data_path

    bases = sequences("backbones.fa")
    text = data_path("sequences/backbones.fa").read_text(encoding="utf-8")
    sources = dict(line[1:].split(" ", 1) for line in text.splitlines() if line.startswith(">"))
    names = dict.fromkeys(key.split("/")[0] for key in bases)
    return {
        n: Backbone(n, bases[f"{n}/five"], bases[f"{n}/three"], sources[f"{n}/five"]) for n in names
    }


def named_backbone(name: str) -> Backbone:
    """Return a known vector by its name, however it is capitalised.

    Raises
    ------
    CarseqError
        If no vector of that name is known.
    """
    known = {key.lower(): value for key, value in backbones().items()}
    if name.lower() not in known:
        raise CarseqError(
            f"no vector named {name!r} is known",
            "known are " + ", ".join(backbones()),
            "name one of them, or give the map of the vector itself as `construct.file`",
        )
    return known[name.lower()]


def _agreement(piece: str, bases: str) -> tuple[int, int, int]:
    """Return how many bases of a piece agree with a vector's end, and the range they lie in there."""
    if len(piece) < _MIN_AGREEING or not bases:
        return 0, 0, 0
    hit = edlib.align(piece, bases, mode="HW", task="locations", k=int(_MAX_EDITS * len(piece)))
    if hit["editDistance"] < 0:
        return 0, 0, 0
    start, end = hit["locations"][0]
    return len(piece) - hit["editDistance"], start, end + 1


def _best_piece(flank: str, bases: str, behind: bool) -> tuple[int, int, int]:
    """Return the agreement of the longest piece of a flank, cut ever shorter at the frame's side.

    Cloning sites and Kozak sequences differ from map to map: up to 60 bases beside the frame need not agree.
    """
    best = (0, 0, 0)
    for skipped in (0, 15, 30, 60):
        piece = flank[skipped:] if behind else flank[: len(flank) - skipped]
        found = _agreement(piece, bases)
        if found[0] > best[0]:
            best = found
    return best


def _five(construct: Construct, backbone: Backbone) -> tuple[int, int]:
    """Return how many bases before the frame agree with a vector, and where they begin on its 5' end.

    The mRNA is compared as it is and spliced: reads show the spliced leader.
    """
    assert construct.orf is not None
    start = construct.orf[0]
    before = construct.sequence[max(0, start - _FLANK) : start]
    n, at, _ = _best_piece(before, backbone.five, behind=False)
    psi = splice_sites(backbone.five)
    if psi is not None:
        cut, join = psi
        spliced = backbone.five[:cut] + backbone.five[join:]
        longer = construct.sequence[max(0, start - _SPLICED_FLANK) : start]
        m, place, _ = _best_piece(longer, spliced, behind=False)
        # Only a piece that reaches across the junction tells more than the unspliced bases do.
        if m > n and place < cut:
            return m, place
    return n, at


def is_lentiviral(construct: Construct) -> bool | None:
    """Return whether the known ends of an mRNA are as a lentiviral vector's, None where none of them tells.

    An R tells its family. A promoter of its own, and a poly(A) signal that is no LTR's, are no mRNA's of a
    gamma-retroviral LTR.
    """
    ends = [e.what for e in (construct.five, construct.three) if e is not None and e.known]
    told = [what.startswith("HIV") for what in ends if what.endswith(" R")]
    if told:
        return any(told)
    return True if any("promoter" in what or "poly(A) signal" in what for what in ends) else None


def fits(construct: Construct, backbone: Backbone) -> bool:
    """Whether a known vector's LTRs are of the family that the construct's known ends are of."""
    return is_lentiviral(construct) in (None, backbone.is_lentiviral)


def likeliest(construct: Construct) -> Match | None:
    """Return the known vector whose bases lie around the CAR's frame, or None where none does.

    Parameters
    ----------
    construct
        A construct with a reading frame.
    """
    if construct.orf is None:
        return None
    end = construct.orf[1]
    behind = construct.sequence[end : end + _FLANK]
    best: Match | None = None
    for backbone in backbones().values():
        if not fits(construct, backbone):
            continue
        n_five, five_at = _five(construct, backbone)
        n_three, _, three_at = _best_piece(behind, backbone.three, behind=True)
        if n_five < _MIN_AGREEING:
            n_five = 0
        if n_three < _MIN_AGREEING:
            n_three = 0
        if not n_five + n_three:
            continue
        found = Match(
            backbone, n_five, n_three, five_at if n_five else None, three_at if n_three else None
        )
        if best is None or found.n_five + found.n_three > best.n_five + best.n_three:
            best = found
    return best


def matched(construct: Construct, backbone: Backbone) -> Match:
    """Return how the bases around the CAR's frame agree with one given vector."""
    assert construct.orf is not None
    end = construct.orf[1]
    behind = construct.sequence[end : end + _FLANK]
    n_five, five_at = _five(construct, backbone)
    n_three, _, three_at = _best_piece(behind, backbone.three, behind=True)
    return Match(
        backbone,
        n_five,
        n_three,
        five_at if n_five >= _MIN_AGREEING else None,
        three_at if n_three >= _MIN_AGREEING else None,
    )


def with_ends(construct: Construct, match: Match, *, five: bool, three: bool) -> tuple[str, int]:
    """Return the mRNA with a known vector's ends put on, and the bases put before the construct's first one.

    Parameters
    ----------
    construct
        The construct.
    match
        The vector and where its bases meet the construct's.
    five, three
        Which ends are put on.
    """
    start, end = construct.orf or (0, len(construct.sequence))
    sequence, backbone = construct.sequence, match.backbone
    before = after = ""
    if five:
        if match.five_at is None:
            # A guessed leader stands for the vector's last bases before the insert.
            before = backbone.five[: max(0, len(backbone.five) - start)]
        elif start > _FLANK:
            before = _before(backbone.five, sequence)
        else:
            before = backbone.five[: match.five_at]
    if three:
        if match.three_at is None:
            after = backbone.three[max(0, len(sequence) - end) :]
        elif len(sequence) - end > _FLANK:
            after = _after(backbone.three, sequence)
        else:
            after = backbone.three[match.three_at :]
    return before + sequence + after, len(before)


def apart(construct: Construct, match: Match) -> tuple[bool, bool]:
    """Return of the 5' and of the 3' end whether a known vector's bases do not meet the construct's there.

    More bases lie on that side of the frame than the vector has, or its first or last ones are not the vector's:
    whether they hold the mRNA's end cannot be told, and nothing can be put on.
    """
    start, end = construct.orf or (0, len(construct.sequence))
    sequence, backbone = construct.sequence, match.backbone
    rest = len(sequence) - end
    if match.five_at is None:
        five = start > len(backbone.five) + _CLONING
    else:
        five = start > _FLANK and _agreement(sequence[:60], backbone.five)[0] < _MIN_AGREEING
    if match.three_at is None:
        three = rest > len(backbone.three) + _CLONING
    else:
        three = rest > _FLANK and _agreement(sequence[-60:], backbone.three)[0] < _MIN_AGREEING
    return five, three


def _before(bases: str, sequence: str) -> str:
    """Return what a vector has before a piece longer than the compared flank."""
    n, start, _ = _agreement(sequence[:60], bases)
    return bases[:start] if n >= _MIN_AGREEING else ""


def _after(bases: str, sequence: str) -> str:
    """Return what a vector has behind a piece longer than the compared flank."""
    n, _, end = _agreement(sequence[-60:], bases)
    return bases[end:] if n >= _MIN_AGREEING else ""


def likely_product(construct: Construct) -> tuple[str, Backbone] | None:
    """Return the published CAR whose frame this is (95 % of its bases) and its vector, or None."""
    if construct.orf is None:
        return None
    own = construct.sequence[slice(*construct.orf)]
    for name, frame in sequences("orfs.fa").items():
        if name not in _VECTOR_OF or abs(len(frame) - len(own)) > _SAME * len(frame):
            continue
        hit = edlib.align(own, frame, mode="NW", task="distance", k=int(_SAME * len(frame)))
        if hit["editDistance"] >= 0:
            return name, backbones()[_VECTOR_OF[name]]
    return None


def complete(construct: Construct, name: str) -> Construct:
    """Return the construct with the ends of a known vector where its own are missing.

    Parameters
    ----------
    construct
        A frame, a piece of a vector or a transcript without its ends.
    name
        Name of a known vector, ``MSGV1`` for one.

    Raises
    ------
    CarseqError
        If the vector is not known, or the construct has no frame, both of its ends, or those of a gene (a donor).
    """
    backbone = named_backbone(name)
    if construct.orf is None or construct.form == "partial":
        raise CarseqError(
            "the ends of a vector need a whole reading frame between them",
            f"{construct.name} is read as {construct.form}",
            "give the CAR's ORF or a piece of the vector around it",
        )
    if any(code == "knock_in" for code, _ in construct.notes):
        raise CarseqError(
            f"{construct.name} has no vector's ends",
            "its map is that of a donor: the CAR's mRNA has the ends of the gene that it is knocked into",
            "leave out --backbone; if the CAR is in a vector all the same, give its frame alone",
        )
    five = not (construct.five is not None and construct.five.known)
    three = not (construct.three is not None and construct.three.known)
    psi = splice_sites(backbone.five)
    if not (five or three):
        joined = joined_leader(construct.sequence)
        if joined is not None and psi is not None and joined <= construct.orf[0]:
            return _with_intron(construct, construct.sequence, construct.orf, backbone)
        raise CarseqError(
            f"{construct.name} needs no backbone",
            f"its 5' end is known ({_what(construct.five)}), and its 3' end ({_what(construct.three)})",
            "leave out --backbone",
        )
    match = matched(construct, backbone)
    no_five, no_three = apart(construct, match)
    five, three = five and not no_five, three and not no_three
    if not (five or three):
        raise CarseqError(
            f"the ends of {backbone.name} do not meet those of {construct.name}",
            f"{construct.orf[0]:,} bases lie before the reading frame and "
            f"{len(construct.sequence) - construct.orf[1]:,} behind it, whose ends are not that vector's",
            "name the vector that it is, cut the file to what lies close around the frame, or give the whole map",
        )
    full, offset = with_ends(construct, match, five=five, three=three)
    place = (construct.orf[0] + offset, construct.orf[1] + offset)
    return _with_intron(construct, full, place, backbone, five=five, three=three)


def _with_intron(
    construct: Construct,
    full: str,
    place: tuple[int, int],
    backbone: Backbone,
    *,
    five: bool = False,
    three: bool = False,
) -> Construct:
    """Return a construct on a longer mRNA; where it shows the spliced leader, with the vector's own intron."""
    joined, psi = joined_leader(full), splice_sites(backbone.five)
    if joined is not None and psi is not None and joined <= place[0]:
        intron = backbone.five[slice(*psi)]
        full = full[:joined] + intron + full[joined:]
        place = (place[0] + len(intron), place[1] + len(intron))
    return rebuilt(
        construct, full, place, backbone.name, five=five, three=three, source=backbone.source
    )


def _what(end: End | None) -> str:
    return "given" if end is None else end.what


def rebuilt(
    construct: Construct,
    full: str,
    place: tuple[int, int],
    name: str,
    *,
    five: bool,
    three: bool,
    source: str,
    reached: tuple[bool, bool] = (True, True),
) -> Construct:
    """Return a construct on a longer mRNA, with the note that says which ends were assumed.

    ``reached`` says whether the 5' and the 3' end are the mRNA's own now: reads may show a part of what is missing.
    """
    ends = " and ".join(w for w, put in (("5'", five), ("3'", three)) if put)
    ends += " ends of the mRNA were" if five and three else " end of the mRNA was"
    if not (five or three):
        ends = "psi intron was"
    introns = introns_within(construct, full, place)
    internal = construct.internal
    if internal is not None and construct.orf is not None:
        internal += place[0] - construct.orf[0]
    gone = {"five_prime_guess"} if five and reached[0] else set()
    if three and reached[1]:
        gone.add("three_prime_guess")
    notes = [n for n in construct.notes if n[0] not in gone]
    notes.append(
        (
            "assumed_ends",
            f"The {ends} taken from {name} ({source}); the file does not show "
            + ("them." if five and three else "it."),
        )
    )
    return replace(
        construct,
        form="transcript",
        transcripts=forms(full, introns, internal),
        orf=place,
        notes=tuple(notes),
        five=End(f"{name} (assumed)", True) if five and reached[0] else construct.five,
        three=End(f"{name} (assumed)", True) if three and reached[1] else construct.three,
        backbone=name,
    )
