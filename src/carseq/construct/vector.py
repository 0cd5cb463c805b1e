"""From the file of a vector to the construct: the CAR's transcripts, its frame and its ends."""

from __future__ import annotations

import re
from dataclasses import replace
from math import isnan
from pathlib import Path
from typing import Literal

from carseq.construct.coding import reverse_complement, translate
from carseq.construct.derive import (
    CUT,
    Candidate,
    begun_late,
    candidates,
    is_vector,
    transcribed,
    transcript_start,
    transcript_stop,
)
from carseq.construct.identify import Verdict, is_broken_car, judge_protein, what_it_holds
from carseq.construct.introns import find_introns, is_intron, splice_sites
from carseq.construct.model import Construct, End, Note, Transcript, forms
from carseq.construct.orfs import Orf, car_orf, find_orfs, n_signalling, open_frame, signals
from carseq.construct.parts import find_part, parts
from carseq.construct.promoters import encoded_tail, find_start
from carseq.construct.protein import CAR_KINDS, UNNAMED, protein_domains
from carseq.construct.reading import read_vector
from carseq.construct.setting import behind_last_2a, setting_notes
from carseq.construct.vectormap import VectorMap
from carseq.errors import CarseqError

__all__ = [
    "Construct",
    "Transcript",
    "find_part",
    "load_construct",
    "parts",
    "read_vector",
    "splice_sites",
]

Form = Literal["auto", "plasmid", "provirus", "transcript", "orf", "partial"]
#: A file with more than this outside its LTRs' R regions holds a plasmid's backbone; the U3 and U5 that a
#: provirus has there make 0.8 kb at most (HIV-1, MoMuLV).
MAX_FLANK = 1000
#: Share of the file that the frame fills in an ORF given as such.
_ORF_SHARE = 0.9
#: Bases of the frame of a CAR's first part, where a base lost behind it ends that.
_BROKEN_ORF = 150
#: Candidates that are looked at in turn for one that is a CAR.
_TRIED = 6
#: Words by which a record says that an end of it was put on by carseq.
ASSUMED = re.compile(r"ASSUMED ENDS: ([^.]+)\.")
#: Words by which carseq's own records say that they are no product's sequence. Others write of a mouse model, or of
#: the surrogate that stands for a CAR in mice.
_SURROGATE = re.compile(r"\bSURROGATE(?: of HBI0101|\.)|HBI0101_surrogate")
_MODEL = re.compile(r"\bMODEL[:_]|(?:^|\.\s+)MODEL\.")
_PUT_ON = re.compile(r"The (5' and 3'|5'|3') ends? of the mRNA")
#: A poly(A) tail at a transcript's end, in one piece or in two with a linker, as mRNAs made in vitro have it.
_TAIL = re.compile("(?:A{25,}[CGT][ACGT]{0,14}?[CGT])?A{10,}$")
#: A tail of so many A is that of an mRNA made in vitro, which ends with it; a cloned cDNA has fewer. Bases of a codon.
_MADE, _CODON = 60, 3
_MISSING = (
    ("binder", "binder (scFv, VHH)"),
    ("hinge", "hinge"),
    ("transmembrane", "transmembrane part"),
    ("costimulatory", "costimulatory domain"),
    ("CD3zeta", "CD3zeta"),
)


def load_construct(
    path: str | Path, *, name: str = "CAR", form: Form = "auto", backbone: str | None = None
) -> Construct:
    """Read a vector and derive the CAR's transcripts.

    Parameters
    ----------
    path
        GenBank, EMBL, SnapGene (.dna) or FASTA file, or a bare sequence; ``FILE#name`` for one of several records.
    name
        Name of the CAR in the reference.
    form
        What the file holds. ``auto`` finds out: an LTR or a promoter beside the CAR's frame makes it a
        vector, read on either strand and, if need be, across the origin of a circular map; an ORF that
        fills at least 90 % of it makes it an ORF; else it is a transcript. ``partial`` takes the file as
        it is, without asking for a whole frame. Any form but ``auto`` also takes a file that is not a CAR's.
    backbone
        Name of a known vector (``MSGV1``) whose 5' and 3' ends are put on where the file lacks them.

    Raises
    ------
    CarseqError
        If the file cannot be read, holds no CAR or two, or the form asked for cannot be derived.

    Examples
    --------
    >>> from carseq.data import path as data_path
    >>> found = load_construct(data_path("constructs/ide-cel.gb"), name="ide-cel")
    >>> found.form, [t.name for t in found.transcripts], len(found.protein)
    ('plasmid', ['transcript'], 493)
    """
    vector = read_vector(path)
    found = _partial(vector, name) if form == "partial" else _whole(vector, name, form, path)
    if backbone is not None:
        from carseq.construct.backbones import complete

        found = complete(found, backbone)
    return found


def _whole(vector: VectorMap, name: str, form: Form, path: str | Path) -> Construct:
    notes = _own_words(vector)
    internal: int | None = None
    # The map on the strand read, and where on it the mRNA begins.
    strand, first = vector, 0
    if form in ("transcript", "orf"):
        orf = begun_late(vector, _read_frame(_trimmed(vector.sequence)[0], path, form))
        orf = _with_stop(orf, vector.sequence)
        sequence, tail = _trimmed(vector.sequence, orf)
        verdict = judge_protein(translate(sequence[orf.start : orf.end]).rstrip("*"))
        five, three = _given_ends(sequence, form == "orf", tail)
        shape: str = form
    else:
        best, verdict = _locate(vector, form, path)
        if best.turned:
            notes.append(
                (
                    "reverse_strand",
                    "the ORF lies on the reverse strand of the file; it was turned round",
                )
            )
        if best.rotated and vector.circular is False:
            notes.append(
                (
                    "read_as_circle",
                    "The map calls itself linear, but the CAR runs across its ends: it was read as a circle.",
                )
            )
        strand = best.vector
        if (n_twice := len(vector.sequence) - len(strand.sequence)) > 0:
            notes.append(
                (
                    "read_as_circle",
                    f"The file's last {n_twice:,} bases repeat its first ones: it was read as a circle that has them "
                    "once.",
                )
            )
        sequence, orf = strand.sequence, best.orf
        if is_vector(best, form in ("plasmid", "provirus")):
            _refuse_underivable(best, form, path)
            run = transcribed(best)
            notes += run.notes
            carried = setting_notes(sequence, orf.start, run.five.known, run.three.known)
            if any(code == "knock_in" for code, _ in carried):
                guesses = ("five_prime_guess", "three_prime_guess")
                notes = [n for n in notes if n[0] not in guesses]
            notes += carried
            five, three = run.five, run.three
            first = run.start
            shape = _shape(best, form, run.start, run.end)
            sequence = sequence[run.start : run.end]
            orf = Orf(orf.start - run.start, orf.end - run.start, orf.complete, orf.score)
            internal = None if run.internal is None else run.internal - run.start
        else:
            sequence, tail = _trimmed(sequence, orf)
            five, three = _given_ends(sequence, False, tail)
            # An mRNA made in vitro may have little around its frame.
            whole = orf.end - orf.start >= _ORF_SHARE * len(sequence)
            whole = whole and not (five.known or three.known)
            shape = "orf" if whole else "transcript"
    place = (orf.start, min(orf.end, len(sequence)))
    assumed = next((text for code, text in notes if code == "assumed_ends"), None)
    if assumed is not None:
        five, three = _assumed_ends(assumed, five, three)
        known = {"five_prime_guess": five.known, "three_prime_guess": three.known}
        notes = [n for n in notes if not known.get(n[0], False)]
    if not verdict.is_car:
        what = verdict.what or "a reading frame of no known CAR domain"
        notes.append(("not_a_car", f"The file's reading frame is not a CAR's: {what}."))
    if n_signalling(translate(sequence[place[0] : place[1]])) > 1:
        notes.append(
            (
                "two_cars",
                "the reading frame holds more than one CD3zeta domain: two CARs on one mRNA",
            )
        )
    elif form == "transcript" and (other := _second_car(sequence, place)) is not None:
        notes.append(
            (
                "two_cars",
                f"the reading frame of bases {other.start + 1}-{other.end} is a CAR's too: two CARs on one mRNA",
            )
        )
    annotated = [
        (f.start - first, f.end - first)
        for f in strand.features
        if is_intron(f) and f.is_sense and first < f.start
    ]
    introns = find_introns(sequence, place, annotated) if shape != "orf" else []
    return Construct(
        name,
        shape,
        forms(sequence, introns, internal),
        place,
        tuple(notes),
        _is_surrogate(vector),
        five,
        three,
    )


def _is_surrogate(vector: VectorMap) -> bool:
    return _SURROGATE.search(vector.text) is not None


def _own_words(vector: VectorMap) -> list[Note]:
    """Return the notes on what a record says of itself and on what was passed over in reading it."""
    notes: list[Note] = []
    if _MODEL.search(vector.text):
        notes.append(
            (
                "model",
                "the file says that it is a model: the CAR's frame is the published one, the vector around it "
                "is not that of the product",
            )
        )
    assumed = ASSUMED.search(" ".join(vector.text.split()))
    if assumed:
        notes.append(
            ("assumed_ends", f"The file says that its ends were assumed: {assumed.group(1)}.")
        )
    notes += [
        (code, told)
        for code, told in (("bases_missing", vector.missing), ("map_cut_short", vector.cut_short))
        if told
    ]
    if vector.remarks:
        told = "; ".join(vector.remarks[:3])
        more = f"; and {len(vector.remarks) - 3} more" if len(vector.remarks) > 3 else ""
        notes.append(("read_with_remarks", f"While the file was read: {told}{more}."))
    return notes


def _assumed_ends(told: str, five: End, three: End) -> tuple[End, End]:
    """Return the ends of a file that carseq completed: those put on are what was assumed, as its note says.

    A known vector's ends are whole; what reads showed is an end only where it reached one.
    """
    put = _PUT_ON.search(told)
    if put is None and "psi intron" in told:
        return five, three
    ends = put.group(1) if put else "5' and 3'"
    by_reads = "taken from the reads" in told
    if "5'" in ends and not five.known and (not by_reads or "template switch oligo" in told):
        five = End("assumed", True)
    if "3'" in ends and not three.known and (not by_reads or "poly(A) tail" in told):
        three = End("assumed", True)
    return five, three


def _given_ends(sequence: str, is_orf: bool, tail: int) -> tuple[End, End]:
    """Return the ends of a transcript or ORF given as such."""
    if is_orf:
        return CUT, CUT
    start = transcript_start(sequence, made=tail >= _MADE)
    stop = transcript_stop(sequence, tail > 0)
    if stop is None and tail >= _MADE:
        stop = "poly(A) tail of an mRNA made in vitro"
    return (
        CUT if start is None else End(start, True),
        CUT if stop is None else End(stop, True),
    )


def _locate(vector: VectorMap, form: Form, path: str | Path) -> tuple[Candidate, Verdict]:
    """Return the strand and rotation of the map that shows the CAR best, and whether it is one."""
    circular = vector.circular is True or form == "plasmid"
    found = candidates(vector, linear=not circular, circle=form != "provirus")
    if circular and not any(judge_protein(_protein(c)).is_car for c in _top(found)):
        # A frame that is open at the end of a map wrongly called circular.
        found += candidates(vector, linear=True, circle=False)
    likely = [replace(c, orf=begun_late(c.vector, c.orf)) for c in _top(found)]
    for candidate in likely:
        verdict = judge_protein(_protein(candidate))
        if verdict.is_car:
            _refuse_two(found, candidate, path)
            candidate = _across_the_origin(candidate, likely)
            return _most_known(candidate, likely), judge_protein(_protein(candidate))
    # A base lost behind a short binder (a VHH, a ligand) leaves a short frame; one that signals is a gene of its own.
    short = candidates(vector, linear=not circular, circle=form != "provirus", least=_BROKEN_ORF)
    short = [c for c in short if not signals(_protein(c))]
    for candidate in (*_top(found), *_top(short, 4 * _TRIED)):
        bases, orf = candidate.vector.sequence, candidate.orf
        # The CAR's own protein may lie behind a long partner.
        own = behind_last_2a(bases, orf.start, orf.end)
        if any(is_broken_car(bases, start) for start in dict.fromkeys((orf.start, own))):
            return candidate, Verdict(True, "")
    if not found:
        raise _no_car(vector, path, "")
    best = _top(found)[0]
    verdict = judge_protein(_protein(best))
    if form == "auto":
        raise _no_car(vector, path, verdict.what)
    return best, verdict


def _top(found: list[Candidate], n: int = _TRIED) -> list[Candidate]:
    return sorted(found, key=lambda c: c.rank, reverse=True)[:n]


def _across_the_origin(best: Candidate, others: list[Candidate]) -> Candidate:
    """Return the way to read a plasmid's frame across its origin, where a line cuts known parts off its beginning."""
    sequence, start = best.vector.sequence, best.orf.start
    if best.rotated or not best.backbone or "*" in translate(sequence[start % 3 : start]):
        return best
    longer = [c for c in others if c.rotated and _frame(c).endswith(_frame(best))]
    return max([best, *longer], key=lambda c: _n_known(_protein(c)))


def _n_known(protein: str) -> int:
    """Return how many residues of a protein lie in known domains."""
    return sum(d.end - d.start for d in protein_domains(protein) if not isnan(d.identity))


def _most_known(best: Candidate, others: list[Candidate]) -> Candidate:
    """Return, of the ways to read the same frame (line or circle), the one that shows most of the mRNA's ends.

    A file without a bacterial part is not a plasmid: read as a circle, its 3' LTR would pass for a promoter.
    """
    same = [
        c
        for c in others
        if _frame(c) == _frame(best) and (c.backbone or c.vector.circular or not c.rotated)
    ]
    if len(same) < 2:
        return best

    def n_ends(candidate: Candidate) -> int:
        run = transcribed(candidate)
        return run.five.known + run.three.known

    return max([best, *(c for c in same if c is not best)], key=n_ends)


def _protein(candidate: Candidate) -> str:
    return translate(_frame(candidate)).rstrip("*")


def _frame(candidate: Candidate) -> str:
    orf = candidate.orf
    return candidate.vector.sequence[orf.start : orf.end]


def _no_car(vector: VectorMap, path: str | Path, what: str) -> CarseqError:
    """Return the error that says that a file holds no CAR, and what it holds instead."""
    sequence = vector.sequence
    longest = max((o.end - o.start for o in _any_frames(vector)), default=0)
    held = what_it_holds(sequence)
    causes = []
    if what:
        causes.append(f"its frame most like a CAR's is {what}")
    others = [h for h in held if h not in what]
    if others:
        causes.append("it holds " + ", ".join(others[:8]))
    piece = _piece_of_a_car(sequence)
    if piece:
        causes.insert(0, f"a stretch of a CAR ({piece}) has no start codon before it")
    if not causes:
        causes.append(
            f"the longest ORF has {longest} nt and no known CAR domain; a CAR's has 1,300 or more"
        )
    return CarseqError(
        f"no CAR reading frame in {path}",
        "; ".join(causes),
        "give the map of the CAR's vector, not of its empty backbone, a packaging plasmid or another receptor; for a "
        "part of a CAR (a scFv, CD3zeta) say `form: partial`; if it is a CAR, say what the file is (`form: plasmid`, "
        "`provirus`, `transcript` or `orf`) and it is taken as it is. The configuration has it as `construct.form`, a "
        "command as `--form`",
    )


def _piece_of_a_car(sequence: str) -> str:
    """Return the domains of an open stretch that holds several parts of a CAR, or an empty string."""
    for strand in (sequence, reverse_complement(sequence)):
        frame = open_frame(strand)
        if frame is None:
            continue
        protein = translate(strand[frame.start : frame.end]).rstrip("*")
        rows = protein_domains(protein, partial=True)
        named = [r for r in rows if r.kind in CAR_KINDS]
        if not named or "M" in protein[: named[0].start]:
            continue
        if len({r.kind for r in named}) > 1 and not any(
            r.kind == "other" and r.name != UNNAMED for r in rows
        ):
            return ", ".join(r.name for r in named)
    return ""


def _any_frames(vector: VectorMap) -> list[Orf]:
    return [
        orf
        for text in (vector.sequence, reverse_complement(vector.sequence))
        for orf in find_orfs(text, 30)
    ]


def _refuse_two(found: list[Candidate], best: Candidate, path: str | Path) -> None:
    """Refuse a map with a second CAR in a frame of its own."""
    first, doubled = _frame(best), best.vector.sequence * 2
    for other in found:
        frame = _frame(other)
        if frame in first or first in frame or first[-300:] == frame[-300:]:
            continue
        at = doubled.find(frame)
        places = [(best.orf.start + turn, best.orf.end + turn) for turn in (0, len(doubled) // 2)]
        if at >= 0 and any(at < end and start < at + len(frame) for start, end in places):
            # Frames that overlap are the two halves of one CAR, which a base too few or too many parts.
            continue
        protein = translate(frame).rstrip("*")
        if n_signalling(protein) and judge_protein(protein).is_car:
            raise CarseqError(
                f"{path} holds two CARs",
                f"frames of {len(first)} and {len(frame)} nt both end in a CD3zeta domain",
                "give a file of one CAR; for two CARs on one mRNA give that mRNA with `form: transcript` "
                "(`--form transcript` of a command)",
            )


def _second_car(sequence: str, place: tuple[int, int]) -> Orf | None:
    """Return a CAR's frame beside the one at ``place``, which an IRES may translate, or None."""
    for orf in find_orfs(sequence):
        if orf.start < place[1] and place[0] < orf.end:
            continue
        protein = translate(sequence[orf.start : orf.end]).rstrip("*")
        if n_signalling(protein) and judge_protein(protein).is_car:
            return orf
    return None


def _refuse_underivable(best: Candidate, form: Form, path: str | Path) -> None:
    """Refuse a form whose transcript cannot be derived: a plasmid without LTR, promoter or annotation."""
    if form not in ("plasmid", "provirus") or best.repeats.n_found or best.vector.features:
        return
    if find_start(best.vector, 0, best.orf.start) is None:
        raise CarseqError(
            f"no transcript can be derived from {path} as a {form}",
            "no known LTR R region (MoMuLV, MSCV, HIV-1) or promoter lies beside the CAR's frame",
            "give the transcript itself with `form: transcript`, or the ORF with `form: orf`",
        )


def _read_frame(sequence: str, path: str | Path, form: Form) -> Orf:
    """Return the CAR's frame of a transcript or ORF given as such, on the strand given."""
    orf = car_orf(sequence)
    other = car_orf(reverse_complement(sequence))
    if other is not None and (orf is None or other.score > orf.score):
        raise CarseqError(
            f"the CAR's reading frame in {path} is on the other strand",
            f"a frame of {other.end - other.start} nt lies on the reverse complement",
            f"give the sense strand, or leave out `form: {form}`: `auto` turns the sequence round",
        )
    if orf is None:
        longest = max((o.end - o.start for o in find_orfs(sequence, 30)), default=0)
        raise CarseqError(
            f"no CAR reading frame in {path}",
            f"the longest ORF has {longest} nt; a CAR's has 1,300 or more",
            "check that the file holds the CAR; for a part of one (a scFv, CD3zeta) say `form: partial`",
        )
    return orf


def _partial(vector: VectorMap, name: str) -> Construct:
    """Return the construct of a part of a CAR: the file as it is, with whatever frame it shows."""
    turned = vector.reverse()
    forward, backward = open_frame(vector.sequence), open_frame(turned.sequence)
    notes: list[Note] = []
    sequence, orf = vector.sequence, forward
    if backward is not None and (forward is None or backward.score > forward.score):
        sequence, orf = turned.sequence, backward
        notes.append(("reverse_strand", "the part lies on the reverse strand; it was turned round"))
    place = None if orf is None else (orf.start, orf.end)
    whole = Transcript("transcript", sequence, ((0, len(sequence)),))
    draft = Construct(name, "partial", (whole,), place)
    kinds = {row.kind for row in draft.domain_rows}
    missing = [
        what for kind, what in (("signal peptide", "leader"), *_MISSING) if kind not in kinds
    ]
    notes.append(
        (
            "partial",
            f"only a part of the CAR is known ({len(sequence)} nt)"
            + (f"; not in it: {', '.join(missing)}" if missing else "")
            + ". Reads of what is missing cannot be told apart from noise: 3' libraries read the 3' untranslated "
            "end and 5' libraries the leader, so most CAR molecules of either will not be seen, and a zero "
            "says little.",
        )
    )
    return Construct(
        name,
        "partial",
        (whole,),
        place,
        (*_own_words(vector), *notes),
        _is_surrogate(vector),
        CUT,
        CUT,
    )


def _trimmed(sequence: str, orf: Orf | None = None) -> tuple[str, int]:
    """Return a transcript without its poly(A) tail, and how many A that has (0: no tail).

    The last bases of a stop codon directly before the tail are the frame's. What lies behind the long tail of an mRNA
    made in vitro (of its template: the site where that was cut) is not transcribed.
    """
    tail = _TAIL.search(sequence)
    if tail is None and orf is not None:
        tail = encoded_tail(sequence, max(0, orf.end - _CODON), len(sequence), _MADE)
        if tail is not None:
            sequence = sequence[: tail.end()]
    if tail is None:
        return sequence, 0
    first = tail.start()
    if orf is not None and orf.complete and 0 < orf.end - first < _CODON:
        first = orf.end
    return sequence[:first], sequence[first:].count("A")


def _with_stop(orf: Orf, sequence: str) -> Orf:
    """Return a frame that ends where a poly(A) tail was taken off, with the stop codon that the tail's first A end."""
    end = orf.start + -(-(orf.end - orf.start) // _CODON) * _CODON
    if orf.complete or end == orf.end or translate(sequence[end - _CODON : end]) != "*":
        return orf
    return Orf(orf.start, end, True, orf.score)


def _shape(found: Candidate, form: Form, start: int, end: int) -> str:
    """Return the form of a vector read with ``auto``."""
    if form != "auto":
        return str(form)
    if found.vector.circular is True or found.rotated:
        return "plasmid"
    five = found.repeats.five.start if found.repeats.five else 0
    n = len(_trimmed(found.vector.sequence)[0])
    if start == 0 and end >= n:
        return "transcript"
    outside = five + n - end > MAX_FLANK
    return "plasmid" if outside or not found.repeats.n_found else "provirus"
