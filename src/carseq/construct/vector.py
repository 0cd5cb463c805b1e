"""Deriving the CAR's transcripts from its vector.

A gamma-retroviral mRNA begins at the R of the 5' LTR and is polyadenylated at the end of the R of the 3'
LTR: R-U5-psi-CAR-(WPRE)-U3-R. In a self-inactivating (SIN) vector, as lentiviral ones are, reverse
transcription has silenced the LTR of the transduced cell: there the mRNA begins at the internal promoter's
start and ends at the same place. R, promoters and the reading frame are found by sequence, so that no
annotation is needed; annotation helps where a promoter's sequence is not known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from Bio.Seq import Seq

from carseq.construct.orfs import (
    Orf,
    car_orf,
    find_orfs,
    n_signalling,
    open_frame,
)
from carseq.construct.parts import find_part, parts
from carseq.construct.promoters import (
    MAX_DOWNSTREAM,
    MAX_UPSTREAM,
    Repeats,
    find_end,
    find_repeats,
    find_start,
    known_starts,
)
from carseq.construct.reading import VectorMap, read_vector
from carseq.errors import CarseqError
from carseq.log import get_logger
from carseq.study.config import Form

log = get_logger(__name__)

__all__ = [
    "Construct",
    "Transcript",
    "find_part",
    "load_construct",
    "parts",
    "read_vector",
    "splice_sites",
]

#: Kept before the frame where nothing tells where transcription begins: room for a Kozak sequence and a
#: short leader, and little enough to lie within any promoter's transcript.
GUESSED_LEADER = 60
#: A file with more than this outside its LTRs' R regions holds a plasmid's backbone; the U3 and U5 that a
#: provirus has there make 0.8 kb at most (HIV-1, MoMuLV).
MAX_FLANK = 1000
_FAMILY = {"MoMuLV_R": "gamma-retroviral LTRs", "HIV1_R": "lentiviral LTRs"}

Note = tuple[str, str]


@dataclass(frozen=True)
class Transcript:
    """An mRNA of the CAR, sense strand, without its poly(A) tail.

    Attributes
    ----------
    name
        ``unspliced``, ``spliced``, or ``transcript`` where only one form exists; ``internal`` (and
        ``internal_spliced``) for one from an internal promoter beside the LTR's.
    sequence
        Upper-case bases (ACGT, N for ambiguous ones).
    blocks
        Its exons on the full-length transcript, 0-based half-open, in order.
    """

    name: str
    sequence: str
    blocks: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Construct:
    """A CAR: its transcripts and where its domains lie.

    Attributes
    ----------
    name
        Name of the contig, the gene and the row in every matrix.
    form
        The form the sequence was taken for: plasmid, provirus, transcript, orf or partial.
    transcripts
        The full-length transcript first; it is also the contig.
    orf
        ``(start, end)`` of the CAR's ORF on the full-length transcript, stop included, or None.
    notes
        What was found on the way, for the lint: (code, text).
    surrogate
        Whether the file says of itself that it is not the true sequence.
    """

    name: str
    form: str
    transcripts: tuple[Transcript, ...]
    orf: tuple[int, int] | None
    notes: tuple[Note, ...] = field(default=())
    surrogate: bool = False

    @property
    def sequence(self) -> str:
        """The full-length transcript."""
        return self.transcripts[0].sequence

    @property
    def protein(self) -> str:
        """Translation of the ORF, without the stop; empty if there is none."""
        if self.orf is None:
            return ""
        start, end = self.orf
        return str(Seq(self.sequence[start : start + (end - start) // 3 * 3]).translate()).rstrip(
            "*"
        )

    @cached_property
    def domains(self) -> pd.DataFrame:
        """Domains on the full-length transcript: name, kind, start, end, identity, source."""
        from carseq.construct.domains import find_domains

        return find_domains(self)


def splice_sites(transcript: str) -> tuple[int, int] | None:
    """Return (donor, acceptor) of the psi intron of a gamma-retroviral transcript: the intron's half-open range.

    The donor lies after nt 62 of the packaging signal (AG|GTAAGC), the gag/pol acceptor after nt 1013
    (TTACAG|GCTC); both from the sequence of ``MoMuLV_psi``. None where either is missing.
    """
    psi = parts()["MoMuLV_psi"]
    donor = find_part(psi[32:92], transcript)
    acceptor = find_part(psi[973:1053], transcript)
    if not donor or not acceptor:
        return None
    cut = transcript.find("GTAAG", donor[0][0] + 24, donor[0][0] + 40)
    join = transcript.find("CAG", acceptor[0][0] + 32, acceptor[0][0] + 48)
    if cut < 0 or join < 0 or join <= cut:
        return None
    return cut, join + 3


def _ef1a_intron(sequence: str) -> tuple[int, int] | None:
    """Return the half-open range of intron 1 of EEF1A1 (CAG|GTAAGT .. TTTCAG|GTGTCG) or None."""
    exon = find_part(parts()["EF1A_exon1"], sequence)
    end = find_part(parts()["EF1A_intron_end"], sequence)
    if not exon or not end:
        return None
    cut = sequence.find("GTAAG", max(exon[0][1] - 4, 0), exon[0][1] + 8)
    last = sequence.rfind("AG", end[-1][1] - 6, end[-1][1] + 3)
    return (cut, last + 2) if 0 <= cut < last else None


def _introns(
    transcript: str, orf: tuple[int, int], annotated: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return the introns before the frame: psi's, EF1alpha's, and annotated ones with GT..AG."""
    found = [i for i in (splice_sites(transcript), _ef1a_intron(transcript)) if i is not None]
    for start, end in annotated:
        inside = transcript[start:end]
        if inside.startswith("GT") and inside.endswith("AG"):
            found.append((start, end))
    kept: list[tuple[int, int]] = []
    for start, end in sorted(found):
        if start > 0 and end <= orf[0] and (not kept or start >= kept[-1][1]):
            kept.append((start, end))
    return kept


def _cut(sequence: str, name: str, first: int, introns: list[tuple[int, int]]) -> Transcript:
    """Return the transcript from ``first`` to the end without the introns behind ``first``."""
    blocks, at = [], first
    for start, end in introns:
        if start > first:
            blocks.append((at, start))
            at = end
    blocks.append((at, len(sequence)))
    return Transcript(name, "".join(sequence[a:b] for a, b in blocks), tuple(blocks))


@dataclass(frozen=True)
class _Candidate:
    """A map on one strand and rotation with the best frame in it."""

    vector: VectorMap
    orf: Orf
    repeats: Repeats
    turned: bool
    rotated: bool

    @property
    def rank(self) -> tuple[int, bool, bool, bool, int, bool]:
        length = self.orf.end - self.orf.start
        return (
            self.orf.score,
            self.repeats.both,
            not self.rotated,
            self.orf.complete,
            length,
            not self.turned,
        )


def _candidates(vector: VectorMap, linear: bool, circle: bool) -> list[_Candidate]:
    """Return the frames of both strands, read as a line, and as a circle cut open behind its 3' LTR."""
    found = []
    for turned in (False, True):
        strand = vector.reverse() if turned else vector
        sequence, n = strand.sequence, len(strand.sequence)
        if linear:
            for orf in find_orfs(sequence):
                repeats = find_repeats(sequence, (orf.start, orf.end))
                found.append(_Candidate(strand, orf, repeats, turned, False))
        if not circle:
            continue
        doubled = sequence + sequence
        for orf in find_orfs(doubled):
            length = orf.end - orf.start
            if orf.start >= n or length > n or not orf.complete:
                continue
            reach = doubled[orf.start :] + sequence
            three = find_repeats(reach[:n], (0, length)).three
            behind = three[1] if three else length + (n - length) // 2
            origin = (orf.start + behind) % n
            moved = strand.rotate(origin)
            start = (orf.start - origin) % n
            placed = Orf(start, start + length, True, orf.score)
            repeats = find_repeats(moved.sequence, (placed.start, placed.end))
            found.append(_Candidate(moved, placed, repeats, turned, True))
    return found


def _locate(vector: VectorMap, form: Form, path: str | Path) -> _Candidate:
    """Return the strand and rotation of the map that shows the CAR best."""
    circular = vector.circular is True or form == "plasmid"
    found = _candidates(vector, linear=not circular, circle=form != "provirus")
    if not found:
        longest = max((o.end - o.start for o in _any_frames(vector)), default=0)
        raise CarseqError(
            f"no CAR reading frame in {path}",
            f"the longest ORF has {longest} nt; a CAR's has 1,300 or more",
            "check that the file holds the CAR's vector and not its backbone alone; for a part of a CAR "
            "(a scFv, CD3zeta) say `form: partial`",
        )
    best = max(found, key=lambda c: c.rank)
    _refuse_two(found, best, path)
    return best


def _any_frames(vector: VectorMap) -> list[Orf]:
    return [
        orf for text in (vector.sequence, vector.reverse().sequence) for orf in find_orfs(text, 30)
    ]


def _frame(candidate: _Candidate) -> str:
    orf = candidate.orf
    return candidate.vector.sequence[orf.start : orf.end]


def _refuse_two(found: list[_Candidate], best: _Candidate, path: str | Path) -> None:
    """Refuse a map with a second CAR in a frame of its own."""
    first = _frame(best)
    for other in found:
        frame = _frame(other)
        if frame in first or first in frame or first[-300:] == frame[-300:]:
            continue
        if n_signalling(str(Seq(frame[: len(frame) // 3 * 3]).translate())):
            raise CarseqError(
                f"{path} holds two CARs",
                f"frames of {len(first)} and {len(frame)} nt both end in a CD3zeta domain",
                "give a file of one CAR; for two CARs on one mRNA give that mRNA with `form: transcript`",
            )


def _derive(found: _Candidate) -> tuple[int, int, list[Note], int | None]:
    """Return (start, end) of the contig on the map, notes, and the start of an internal transcript."""
    vector, orf, repeats = found.vector, found.orf, found.repeats
    n, notes = len(vector.sequence), []
    internal: int | None = None
    if repeats.family:
        notes.append(("vector", _FAMILY[repeats.family]))
    if repeats.three is not None:
        end = repeats.three[1]
    else:
        signal = find_end(vector, orf.end)
        if signal is None:
            end, what = min(n, orf.end + MAX_DOWNSTREAM), "nothing tells where the mRNA ends"
        else:
            end, what = signal[0], f"the mRNA is taken to end at {signal[1]}"
        notes.append(
            (
                "three_prime_guess",
                f"no 3' LTR was found: {what}; its 3' end, where 3' reads fall, is a guess",
            )
        )
    lo = repeats.five[1] if repeats.five else 0
    promoter = find_start(vector, lo, orf.start)
    if repeats.five is not None and not repeats.self_inactivating:
        start = repeats.five[0]
        known = known_starts(vector.sequence, lo, orf.start)
        if known:
            internal = known[-1].position
            notes.append(("promoter", f"internal promoter beside the LTR's: {known[-1].name}"))
    elif promoter is not None:
        start = promoter.position
        if repeats.self_inactivating:
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
    else:
        # Without a 5' LTR in the file, what stands before the frame is what its author took for the mRNA's.
        whole = repeats.five is None and not found.rotated and orf.start <= MAX_UPSTREAM
        start = 0 if whole else max(lo, orf.start - GUESSED_LEADER)
        if not (whole and repeats.three and end >= len(_trimmed(vector.sequence))):
            notes.append(
                (
                    "five_prime_guess",
                    "no promoter of known sequence or annotation lies before the frame: the mRNA is taken to "
                    + (
                        "begin with the file"
                        if whole
                        else f"begin {orf.start - start} nt before it"
                    )
                    + "; its 5' end, where 5' reads fall, is a guess",
                )
            )
    return start, end, notes, internal


def _is_vector(found: _Candidate, form: Form) -> bool:
    """Whether a map shows more than a transcript or an ORF: an LTR, a promoter before the frame, a circle."""
    if form in ("plasmid", "provirus") or found.repeats.family:
        return True
    n = len(found.vector.sequence)
    far = found.orf.start > MAX_UPSTREAM or n - found.orf.end > MAX_DOWNSTREAM
    return (
        found.vector.circular is True
        or far
        or find_start(found.vector, 0, found.orf.start) is not None
    )


def _read_frame(sequence: str, path: str | Path, form: Form) -> Orf:
    """Return the CAR's frame of a transcript or ORF given as such, on the strand given."""
    orf = car_orf(sequence)
    other = car_orf(str(Seq(sequence).reverse_complement()))
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


#: What the kinds of domain of a CAR tell, in the order in which they lie.
_PIECES = {
    "signal peptide": "leader",
    "binder": "binder (scFv, VHH)",
    "hinge": "hinge",
    "transmembrane": "transmembrane part",
    "costimulatory": "costimulatory domain",
    "CD3zeta": "CD3zeta",
}


def _partial(vector: VectorMap, name: str, path: str | Path, text: str) -> Construct:
    """Return the construct of a part of a CAR: the file as it is, with whatever frame it shows."""
    forward, backward = open_frame(vector.sequence), open_frame(vector.reverse().sequence)
    notes: list[Note] = []
    sequence, orf = vector.sequence, forward
    if backward is not None and (forward is None or backward.score > forward.score):
        sequence, orf = vector.reverse().sequence, backward
        notes.append(("reverse_strand", "the part lies on the reverse strand; it was turned round"))
    place = None if orf is None else (orf.start, orf.end)
    whole = Transcript("transcript", sequence, ((0, len(sequence)),))
    draft = Construct(name, "partial", (whole,), place)
    kinds = set(draft.domains["kind"])
    missing = [what for kind, what in _PIECES.items() if kind not in kinds]
    notes.append(
        (
            "partial",
            f"only a part of the CAR is known ({len(sequence)} nt)"
            + (f"; not in it: {', '.join(missing)}" if missing else "")
            + ". Reads of what is missing cannot be told from noise: 3' libraries read the 3' untranslated "
            "end and 5' libraries the leader, so most CAR molecules of either will not be seen, and a zero "
            "says little.",
        )
    )
    return Construct(
        name, "partial", (whole,), place, (*_own_words(text), *notes), "surrogate" in text.lower()
    )


def _own_words(text: str) -> list[Note]:
    """Return the note on a record that calls itself a model."""
    if re.search(r"\bMODEL(?![A-Za-z])", text):
        return [
            (
                "model",
                "the file says that it is a model: the CAR's frame is the published one, the vector around it "
                "is not that of the product",
            )
        ]
    return []


def load_construct(path: str | Path, *, name: str = "CAR", form: Form = "auto") -> Construct:
    """Read a vector and derive the CAR's transcripts.

    Parameters
    ----------
    path
        GenBank, EMBL, SnapGene (.dna) or FASTA file.
    name
        Name of the CAR in the reference.
    form
        What the file holds. ``auto`` finds out: an LTR or a promoter beside the CAR's frame makes it a
        vector, read on either strand and, if need be, across the origin of a circular map; an ORF that
        fills at least 90 % of it makes it an ORF; else it is a transcript. ``partial`` takes the file as
        it is, without asking for a whole frame.

    Raises
    ------
    CarseqError
        If the file cannot be read, holds no CAR or two, or the form asked for cannot be derived.
    """
    vector = read_vector(path)
    if form == "partial":
        return _partial(vector, name, path, vector.text)
    surrogate = "surrogate" in vector.text.lower()
    notes = _own_words(vector.text)
    internal: int | None = None
    annotated: list[tuple[int, int]] = []
    if form in ("transcript", "orf"):
        sequence, shape = _trimmed(vector.sequence), str(form)
        orf = _read_frame(sequence, path, form)
    else:
        found = _locate(vector, form, path)
        derivable = found.repeats.family or vector.features
        if (
            form in ("plasmid", "provirus")
            and not derivable
            and find_start(found.vector, 0, found.orf.start) is None
        ):
            raise CarseqError(
                f"no transcript can be derived from {path} as a {form}",
                "no known LTR R region (MoMuLV, HIV-1) or promoter lies beside the CAR's frame",
                "give the transcript itself with `form: transcript`, or the ORF with `form: orf`",
            )
        if found.turned:
            notes.append(
                (
                    "reverse_strand",
                    "the ORF lies on the reverse strand of the file; it was turned round",
                )
            )
        sequence, orf = found.vector.sequence, found.orf
        if _is_vector(found, form):
            start, end, told, internal = _derive(found)
            notes += told
            annotated = [
                (f.start - start, f.end - start)
                for f in found.vector.features
                if f.kind == "intron" and f.strand == 1 and start < f.start
            ]
            shape = _shape(found, form, start, end)
            sequence = sequence[start:end]
            orf = Orf(orf.start - start, orf.end - start, orf.complete, orf.score)
            internal = None if internal is None else internal - start
        else:
            sequence = _trimmed(sequence)
            whole = orf.end - orf.start >= 0.9 * len(sequence)
            shape = "orf" if whole else "transcript"
    place = (orf.start, min(orf.end, len(sequence)))
    protein = str(Seq(sequence[place[0] : place[0] + (place[1] - place[0]) // 3 * 3]).translate())
    if orf.score == 0:
        notes.append(
            (
                "no_car_domain",
                "no known CAR domain was found: the longest reading frame was taken for the CAR's",
            )
        )
    if n_signalling(protein) > 1:
        notes.append(
            (
                "two_cars",
                "the reading frame holds more than one CD3zeta domain: two CARs on one mRNA",
            )
        )
    introns = _introns(sequence, place, annotated) if shape != "orf" else []
    return Construct(
        name, shape, _forms(sequence, introns, internal), place, tuple(notes), surrogate
    )


def _trimmed(sequence: str) -> str:
    """Return a transcript without its poly(A) tail."""
    return sequence.rstrip("A") if sequence.endswith("A" * 10) else sequence


def _shape(found: _Candidate, form: Form, start: int, end: int) -> str:
    """Return the form of a vector read with ``auto``."""
    if form != "auto":
        return str(form)
    if found.vector.circular is True or found.rotated:
        return "plasmid"
    five = found.repeats.five[0] if found.repeats.five else 0
    n = len(_trimmed(found.vector.sequence))
    outside = five + n - end
    if start == 0 and end >= n:
        return "transcript"
    return "plasmid" if outside > MAX_FLANK else "provirus"


def _forms(
    sequence: str, introns: list[tuple[int, int]], internal: int | None
) -> tuple[Transcript, ...]:
    """Return the transcripts on a contig: whole, spliced, and those from an internal promoter."""
    whole = ((0, len(sequence)),)
    forms = [Transcript("unspliced" if introns else "transcript", sequence, whole)]
    if introns:
        forms.append(_cut(sequence, "spliced", 0, introns))
    if internal is not None:
        forms.append(_cut(sequence, "internal", internal, []))
        if any(start > internal for start, _ in introns):
            forms.append(_cut(sequence, "internal_spliced", internal, introns))
    return tuple(forms)
