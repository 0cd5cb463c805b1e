"""From a map to the stretch of it that is transcribed: strand, rotation, frame, start and end.

A gamma-retroviral mRNA begins at the R of the 5' LTR and is polyadenylated at the end of the R of the 3' LTR:
R-U5-psi-CAR-(WPRE)-U3-R. In a self-inactivating (SIN) vector, as lentiviral ones are, reverse transcription has
silenced the LTR of the transduced cell: there the mRNA begins at the internal promoter's start and ends at the same
place. R, promoters and the reading frame are found by sequence, so that no annotation is needed; annotation helps where
a promoter's sequence is not known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from carseq.construct.backbones import backbones
from carseq.construct.coding import translate
from carseq.construct.introns import acceptors, find_introns, is_intron
from carseq.construct.ltr import (
    FAMILIES,
    MAX_DOWNSTREAM,
    MAX_UPSTREAM,
    Repeats,
    ends_in_ltr,
    find_all_repeats,
    find_backbone,
    lies_across,
    place_repeats,
)
from carseq.construct.model import End, Note
from carseq.construct.orfs import MAX_DOMAIN_EDITS, MIN_ORF, Orf, car_score, find_orfs
from carseq.construct.parts import find_part, find_protein, known_proteins, parts
from carseq.construct.promoters import (
    ANNOTATED_KEPT,
    Start,
    Stop,
    find_start,
    find_stop,
    find_template,
    is_promoter_word,
    known_starts,
    made_end,
    promoter_names,
    signal_at_end,
)
from carseq.construct.protein import has_signal_peptide
from carseq.construct.setting import begins_in_gene, carriers, is_donor
from carseq.construct.vectormap import VectorMap

#: Bases kept upstream of the ORF when the transcription start is unknown: enough for a Kozak sequence and a short
#: 5' UTR, and few enough to be transcribed from any promoter.
GUESSED_LEADER = 60
#: Bases between two promoters in which a gene fits; parts of one promoter lie closer.
_FOR_A_GENE = 300
#: Bases kept behind the ORF of a circular map when nothing tells where the mRNA ends.
GUESSED_TAIL = 200
#: An end of the mRNA that lies outside the file, and one that may lie in it but was not found.
CUT, NOTHING = End("the file's end", False), End("nothing known", False)
#: Bases before and behind a frame's beginning in which its promoter and introns are looked for, and by which an
#: annotated promoter may be too long.
_HEAD_BEFORE, _HEAD, _FEATURE_SLACK = 3000, 1000, 10
#: Bases between two frames of one CAR that a lost base parts.
_BROKEN_BESIDE = 900
#: An R this near to a file's end is the mRNA's end: a base or two may be missing.
_AT_END = 3


@dataclass(frozen=True)
class Candidate:
    """A map on one strand and rotation with a frame in it."""

    vector: VectorMap
    orf: Orf
    repeats: Repeats
    backbone: tuple[tuple[int, int], ...]
    turned: bool
    rotated: bool

    @property
    def rank(self) -> tuple[int, bool, int, bool, int, bool]:
        """What makes one candidate better than another."""
        length = self.orf.end - self.orf.start
        return (
            self.orf.score,
            self.orf.complete,
            self.repeats.n_found,
            not self.rotated,
            length,
            not self.turned,
        )


@dataclass(frozen=True)
class Transcribed:
    """The transcribed stretch of a map: its range, both ends, notes, the start of an internal transcript."""

    start: int
    end: int
    five: End
    three: End
    notes: tuple[Note, ...]
    internal: int | None


def candidates(
    vector: VectorMap, linear: bool, circle: bool, least: int = MIN_ORF
) -> list[Candidate]:
    """Return the frames of both strands, read as a line, and as a circle cut open behind its 3' LTR.

    Parameters
    ----------
    vector
        The map.
    linear, circle
        How it is read.
    least
        Bases of a frame. Of less than :data:`MIN_ORF` those alone are returned that hold a known part of a CAR.
    """
    found = []
    for turned in (False, True):
        strand = vector.reverse() if turned else vector
        sequence = strand.sequence
        if linear:
            orfs = _frames(sequence, least)
            repeats = find_all_repeats(sequence) if orfs else []
            backbone = find_backbone(sequence) if orfs else []
            for orf in orfs:
                placed = place_repeats(sequence, (orf.start, orf.end), repeats, backbone)
                found.append(Candidate(strand, orf, placed, tuple(backbone), turned, False))
        if circle and not (linear and _is_cut(sequence, found)):
            ring = strand.once()
            # A provirus, which has no bacterial part, ends as it begins.
            if ring is not strand and not find_backbone(sequence):
                ring = strand
            found += _on_a_circle(ring, len(ring.sequence), turned, least)
    return found


def _is_cut(sequence: str, found: list[Candidate]) -> bool:
    """Whether a file that may be a circle ends within the 3' LTR: bases of its beginning would pass for R's end."""
    likely = max(
        (c for c in found if c.vector.sequence == sequence), key=lambda c: c.rank, default=None
    )
    if likely is None or likely.backbone or likely.vector.circular:
        return False
    cut = likely.repeats.three is None and ends_in_ltr(sequence, likely.orf.end)
    return cut and not lies_across(sequence)


def _frames(sequence: str, least: int) -> list[Orf]:
    """Return the frames of a strand: long ones, or those of a known part of a CAR."""
    return [o for o in find_orfs(sequence, least) if least == MIN_ORF or o.score]


def _on_a_circle(strand: VectorMap, n: int, turned: bool, least: int) -> list[Candidate]:
    """Return the frames of a circular map, each with the origin moved behind its mRNA."""
    doubled = strand.sequence * 2
    orfs = [
        o for o in _frames(doubled, least) if o.start < n and o.end - o.start <= n and o.complete
    ]
    if not orfs:
        return []
    repeats, backbone = (
        find_all_repeats(doubled + doubled[:n]),
        find_backbone(doubled + doubled[:n]),
    )
    found = []
    for orf in orfs:
        first, last = orf.start, orf.end
        near = place_repeats(doubled + doubled[:n], (first, last), repeats, backbone)
        # A part behind the frame and one turn of the circle away lies before it.
        if near.three is not None and near.three.end <= first + n:
            behind = near.three.end
        else:
            nearest = [r.start for r in repeats if last <= r.start < first + n]
            nearest += [start for start, _ in backbone if last <= start < first + n]
            behind = min(nearest, default=last + (n - last + first) // 2)
        origin = behind % n
        moved = strand.rotate(origin)
        start = (first - origin) % n
        placed = Orf(start, start + last - first, True, orf.score)
        if placed.end > n:
            continue
        own = find_all_repeats(moved.sequence)
        plasmid = find_backbone(moved.sequence)
        both = place_repeats(moved.sequence, (placed.start, placed.end), own, plasmid)
        found.append(Candidate(moved, placed, both, tuple(plasmid), turned, True))
    return found


def begun_late(vector: VectorMap, orf: Orf) -> Orf:
    """Return a frame that begins behind the CAR's promoter and the last intron before it.

    Where no known leader tells the CAR's start, its frame may be open to an ATG in the promoter, before the start of
    transcription, or in an intron (MSGV1's and SFG's psi intron is, in one of three frames): neither is in the mRNA
    that is translated.
    """
    sequence = vector.sequence
    lo, hi = max(0, orf.start - _HEAD_BEFORE), min(orf.start + _HEAD, orf.end)
    promoter = find_start(vector, 0, hi)
    named = [(f.start - lo, f.end - lo) for f in vector.features if is_intron(f) and f.is_sense]
    window = sequence[lo:hi]
    ends = [end for _, end in find_introns(window, (hi - lo, hi - lo), named)]
    # A piece of a vector may have the psi intron's end alone.
    floors = [lo + end for end in (*ends, *acceptors(window))]
    floor, guess = max(floors, default=0), False
    if promoter is not None:
        kept = ANNOTATED_KEPT - _FEATURE_SLACK if promoter.guess else 0
        floor, guess = max((floor, False), (promoter.position + kept, promoter.guess))
    if floor <= orf.start:
        return orf
    longer = translate(sequence[orf.start : orf.end])
    at = longer.find("M", -(-(floor - orf.start) // 3))
    own, head = longer[max(at, 0) :].rstrip("*"), longer[:at]
    partners = known_proteins("marker", "switch", "2A peptide", "signal peptide", "binder")
    if at < 0 or car_score(own) < orf.score:
        return orf
    if any(find_protein(d.sequence, head, MAX_DOMAIN_EDITS) for d in partners):
        return orf
    # The annotation of a promoter may end in the CAR's leader.
    if sum((guess, has_signal_peptide(longer), not has_signal_peptide(own))) > 1:
        return orf
    return replace(orf, start=orf.start + 3 * at)


def is_vector(found: Candidate, asked: bool) -> bool:
    """Whether a map shows more than a transcript or an ORF: an LTR, a promoter before the frame, a circle."""
    if asked or found.repeats.n_found:
        return True
    n = len(found.vector.sequence)
    far = found.orf.start > MAX_UPSTREAM or n - found.orf.end > MAX_DOWNSTREAM
    return (
        found.vector.circular is True
        or far
        or bool(found.backbone)
        or bool(carriers(found.vector.sequence))
        or is_donor(found.vector.sequence, found.orf.start)
        or find_start(found.vector, 0, found.orf.start) is not None
        or _template(found) is not None
        or _known_stop(found.vector, found.orf.end)
    )


def _known_stop(vector: VectorMap, lo: int) -> bool:
    """Whether a known or annotated poly(A) signal lies behind the frame."""
    stop = find_stop(vector, lo, len(vector.sequence))
    return stop is not None and not stop.guess


def _template(found: Candidate) -> tuple[Start, Stop] | None:
    """Return the mRNA's start and end in a template for transcription in vitro, None for another map."""
    vector, orf = found.vector, found.orf
    if found.repeats.n_found or find_start(vector, 0, orf.start) is not None:
        return None
    return find_template(vector.sequence, orf.start, orf.end, _wall(found))


def transcribed(found: Candidate) -> Transcribed:
    """Return the stretch of a map that is transcribed into the CAR's mRNA."""
    notes: list[Note] = []
    repeats = found.repeats
    if repeats.family:
        notes.append(("vector", _vector_words(repeats)))
    if (template := _template(found)) is not None:
        begin, stop = template
        notes.append(
            (
                "promoter",
                f"a template for transcription in vitro: the mRNA runs from the {begin.name.split()[0]} promoter to "
                f"the {stop.name}",
            )
        )
        ends = End(f"{begin.name} promoter", True), End(stop.name, True)
        return Transcribed(begin.position, stop.position, *ends, tuple(notes), None)
    end, three = _three_prime(found, notes)
    start, five, internal = _five_prime(found, end, notes)
    notes += _other_mrnas(found, start, end)
    return Transcribed(start, end, five, three, tuple(notes), internal)


def _other_mrnas(found: Candidate, start: int, end: int) -> list[Note]:
    """Return the notes on other promoters of the vector whose mRNA ends where the CAR's does."""
    vector, orf, repeats = found.vector, found.orf, found.repeats
    last = min(repeats.three.start, end) if repeats.three else end
    behind = promoter_names(vector, orf.end, last)
    before: list[str] = []
    if repeats.five is not None and repeats.five.end < start:
        lo = repeats.five.end
        stops = find_stop(vector, lo, start)
        while stops is not None and not stops.guess:
            lo = stops.position
            stops = find_stop(vector, lo, start)
        before = promoter_names(vector, lo, start - _FOR_A_GENE)
    told = (
        (behind, "behind the CAR", "makes a second mRNA with"),
        (before, "before the CAR's own", "makes an mRNA that runs through the CAR to"),
    )
    return [
        (
            "shared_end",
            f"A promoter {where} ({', '.join(names)}) {what} the same 3' end: 3' reads there show that a cell has the "
            "vector, not that it transcribes the CAR.",
        )
        for names, where, what in told
        if names
    ]


def _vector_words(repeats: Repeats) -> str:
    viruses = list(dict.fromkeys(r.virus for r in (repeats.five, repeats.three) if r is not None))
    return f"the vector has {FAMILIES[repeats.family]} ({' and '.join(viruses)})"


def _wall(found: Candidate) -> int:
    """Return where the mRNA must have ended: a bacterial part, or the 5' LTR of the next turn of the circle."""
    places = [start for start, _ in found.backbone if start >= found.orf.end]
    places += [
        r.start
        for r in find_all_repeats(found.vector.sequence)
        if r.start >= found.orf.end and r.is_five
    ]
    return min(places, default=len(found.vector.sequence))


def _three_prime(found: Candidate, notes: list[Note]) -> tuple[int, End]:
    vector, orf = found.vector, found.orf
    n = len(vector.sequence)
    if found.repeats.three is not None:
        one = found.repeats.three
        own = find_stop(vector, orf.end, one.start)
        if own is None or own.guess or own.position > one.start:
            return one.end, End(f"{one.virus} R", True)
        if promoter_names(vector, own.position, one.start):
            # What lies behind is another gene's mRNA, which the vector's R ends.
            notes.append(
                (
                    "promoter",
                    f"a second gene lies behind the {own.name}, which ends the CAR's mRNA",
                )
            )
            return own.position, End(own.name, True)
        notes.append(
            (
                "inner_poly_a",
                f"A {own.name} lies behind the CAR, {one.start - own.position:,} bases before the 3' LTR's R: most of "
                "the CAR's mRNA ends there, and 3' reads lie before it. The bases up to the R stay in the reference: "
                "no read is lost.",
            )
        )
        return one.end, End(f"{one.virus} R", True)
    wall = _wall(found)
    stop = find_stop(vector, orf.end, wall)
    if stop is not None and not stop.guess:
        return stop.position, End(stop.name, True)
    if wall == n and not found.rotated and ends_in_ltr(vector.sequence, orf.end):
        # An AATAAA before the LTR's U3 ends no mRNA.
        return n, CUT
    if stop is not None:
        end, what = stop.position, f"the mRNA is taken to end at {stop.name}"
    elif wall < n or found.rotated or n - orf.end > MAX_DOWNSTREAM:
        end = min(n, wall, orf.end + GUESSED_TAIL)
        what = f"the mRNA is taken to end {end - orf.end} nt behind the reading frame"
    else:
        end, what = n, "the mRNA is taken to end with the file"
    seen = CUT if end == n and wall == n else NOTHING
    notes.append(
        (
            "three_prime_guess",
            f"No 3' LTR and no known poly(A) signal lie behind the CAR: {what}. Its 3' end, where 3' reads fall, is a "
            "guess.",
        )
    )
    return end, seen


def _five_prime(found: Candidate, end: int, notes: list[Note]) -> tuple[int, End, int | None]:
    vector, orf, repeats = found.vector, found.orf, found.repeats
    lo = repeats.five.end if repeats.five else 0
    promoter = find_start(vector, lo, orf.start)
    if promoter is None and (begun := _broken_before(vector, orf)) is not None:
        promoter = find_start(vector, lo, begun)
    foreign = None if promoter is None else _ended(vector, promoter.position, orf.start)
    if promoter is not None and foreign is not None:
        if _is_flanked(vector.sequence[promoter.position : orf.start]):
            notes.append(
                (
                    "five_prime_guess",
                    f"a {foreign.name} between recombinase sites lies behind the {promoter.name} promoter: the CAR's "
                    "mRNA is made where a recombinase has taken it out, and then lacks the bases between the sites",
                )
            )
        else:
            lo, promoter = foreign.position, find_start(vector, foreign.position, orf.start)
    silent = repeats.self_inactivating
    if silent is None and repeats.family == "lenti" and promoter is not None:
        silent = True
        notes.append(
            (
                "assumed_sin",
                "No 3' LTR is there to tell whether the vector is self-inactivating; lentiviral vectors with an "
                "internal promoter are taken to be.",
            )
        )
    if repeats.five is not None and not silent:
        one = repeats.five
        internal = None
        known = known_starts(vector.sequence, lo, orf.start)
        if known:
            internal = known[-1].position
            notes.append(("promoter", f"internal promoter beside the LTR's: {known[-1].name}"))
        return one.start, End(f"{one.virus} R", True), internal
    if promoter is not None:
        if silent:
            notes.append(
                (
                    "self_inactivating",
                    "the 3' U3 has no TATA box: the LTR is silent in a transduced cell, so the mRNA begins "
                    f"at the internal promoter ({promoter.name})",
                )
            )
        else:
            notes.append(("promoter", f"the mRNA begins at the promoter: {promoter.name}"))
        if promoter.guess:
            notes.append(
                (
                    "five_prime_guess",
                    f"where {promoter.name} begins its mRNA is not known: the 5' end, where 5' reads fall, is a "
                    "guess from its annotation",
                )
            )
        word = "" if is_promoter_word(promoter.name) else " promoter"
        return promoter.position, End(f"{promoter.name}{word}", True), None
    gene = begins_in_gene(vector.sequence, orf.start)
    if gene is not None and repeats.five is None:
        return gene, End("an exon of the gene it was knocked into", False), None
    # Without a 5' LTR in the file, the bases before the frame are those that its author took for the mRNA's.
    whole = repeats.five is None and not found.rotated and orf.start <= MAX_UPSTREAM
    whole = whole and not any(b <= orf.start for _, b in found.backbone)
    whole = whole and foreign is None
    start = 0 if whole else max(lo, orf.start - GUESSED_LEADER)
    begins = transcript_start(vector.sequence) if start == 0 else None
    if begins is not None:
        return 0, End(begins, True), None
    notes.append(
        (
            "five_prime_guess",
            (
                ""
                if foreign is None
                else f"the {foreign.name} ends the mRNA of the promoter before it, and "
            )
            + "no promoter of known sequence or annotation lies before the frame: the mRNA is taken to "
            + ("begin with the file" if whole else f"begin {orf.start - start} nt before it")
            + "; its 5' end, where 5' reads fall, is a guess",
        )
    )
    return start, CUT if start == 0 else NOTHING, None


def _broken_before(vector: VectorMap, orf: Orf) -> int | None:
    """Return where a frame with parts of a CAR or its partner begins that ends close before the CAR's, or None.

    A base too few or too many then parts the two: their promoter may lie farther from the CAR's frame than a leader is
    long.
    """
    lo = max(0, orf.start - MAX_UPSTREAM)
    near = [
        lo + o.start
        for o in find_orfs(vector.sequence[lo : orf.start + _BROKEN_BESIDE], MIN_ORF)
        if abs(lo + o.end - orf.start) <= _BROKEN_BESIDE and lo + o.start < orf.start and o.score
    ]
    return min(near, default=None)


#: Sites of the recombinases Cre (the arms of loxP and its variants) and Flp, either strand.
_ARMS = 2
_SITES = re.compile("ATAACTTCGTATA|TATACGAAGTTAT|GAAGTTCCTATTC|GAATAGGAACTTC")


def _ended(vector: VectorMap, lo: int, hi: int) -> Stop | None:
    """Return the last poly(A) signal, known or annotated, that ends an mRNA between a promoter and the frame."""
    last = None
    while (stop := find_stop(vector, lo, hi)) is not None and not stop.guess:
        if stop.position > hi:
            break
        last, lo = stop, stop.position
    return last


def _is_flanked(sequence: str) -> bool:
    """Whether a recombinase takes a part out of a sequence: two of its sites have two arms each."""
    return len(_SITES.findall(sequence)) >= 2 * _ARMS


#: Bases of a known vector's leader that are compared, and the fewest that tell.
_LEADER, _MIN_LEADER = 40, 24
#: First exons and leaders with which an mRNA begins: name, part.
_FIRST = {
    "EF1alpha exon 1": "EF1A_exon1",
    "CAG exon 1": "CAG_exon1",
    "UbC exon 1": "UbC_exon1",
    "PGK (human) leader": "hPGK_leader",
    "PGK (mouse) leader": "mPGK_leader",
    "JeT leader": "JeT_leader",
    "SV40 leader": "SV40_leader",
}


#: Leaders of mRNAs made in vitro: name, part; and the bases that T7 RNA polymerase begins with, before a leader (with a
#: Kozak sequence between) that no part tells.
_MADE = {"HBB 5' UTR": "HBB_5UTR", "HBA1 5' UTR": "HBA1_5UTR", "synthetic 5' UTR": "mRNA_5UTR"}
_MADE_BEHIND = 16
_MADE_BEFORE, _MADE_START = 16, re.compile("A?GG|GAGA")


def transcript_start(sequence: str, made: bool = False) -> str | None:
    """Return the part with which an mRNA begins (an R, a first exon), or None where its start is not known.

    Parameters
    ----------
    sequence
        The transcript.
    made
        Whether its poly(A) tail is that of an mRNA made in vitro, which begins as the polymerase does.
    """
    for repeat in find_all_repeats(sequence[:400]):
        if repeat.start <= _AT_END:
            return f"{repeat.virus} R"
    for name, part in _FIRST.items():
        bases = parts()[part]
        if any(start <= _AT_END for start, _, _ in find_part(bases, sequence[: len(bases) + 10])):
            return name
    for name, part in _MADE.items():
        bases = parts()[part]
        near = sequence[: len(bases) + 2 * _MADE_BEFORE]
        if any(start <= _MADE_BEFORE for start, _, _ in find_part(bases, near)):
            return name
    for vector in backbones().values():
        bases = vector.five[:_LEADER]
        if len(bases) < _MIN_LEADER:
            continue
        if any(start <= _AT_END for start, _, _ in find_part(bases, sequence[: len(bases) + 10])):
            return f"{vector.name} leader"
    if made and _MADE_START.match(sequence):
        return "leader of an mRNA made in vitro"
    return None


def transcript_stop(sequence: str, tail: bool) -> str | None:
    """Return the part with which an mRNA ends (an R, a poly(A) signal), or None where its end is not known.

    Parameters
    ----------
    sequence
        The transcript without its poly(A) tail.
    tail
        Whether the file showed a poly(A) tail behind it.
    """
    n = len(sequence)
    lo = max(0, n - 400)
    for repeat in find_all_repeats(sequence[lo:]):
        if n - lo - repeat.end <= _AT_END:
            return f"{repeat.virus} R"
    if (known := signal_at_end(sequence)) is not None:
        return known
    # An enzyme may add the tail later.
    last = made_end(sequence, lo, n)
    if last is not None and n - last.position <= _MADE_BEHIND:
        return last.name
    signal = max(sequence.rfind("AATAAA"), sequence.rfind("ATTAAA"))
    if signal >= 0 and n - signal <= 50 and tail:
        return "poly(A) signal and tail"
    return None
