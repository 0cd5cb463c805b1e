"""Where transcription begins and ends in a vector: promoters and poly(A) signals, by sequence or annotation."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carseq.construct.introns import find_introns
from carseq.construct.ltr import MAX_DOWNSTREAM, U3_EDITS
from carseq.construct.parts import find_part, parts
from carseq.construct.vectormap import Feature, VectorMap

#: A promoter's start of transcription lies at most this far before the frame (EF1alpha's intron 0.95 kb, CAG's
#: 1.0 kb, a floxed reporter between promoter and CAR 1 kb).
MAX_LEADER = 2500
#: The same of a CAR behind an IRES: the frame before it is transcribed with it (luciferase has 1.65 kb, EF1alpha's
#: intron and the IRES as much together), and bases before the frame in which the IRES lies.
_MAX_BEFORE_IRES, _IRES_REACH = 6000, 1000
#: Promoters that do not drive a CAR in a T cell: bacterial, phage and small-RNA ones, however they are written
#: (``pT7``, ``bla_promoter``, ``hU6``), and those that a program predicts.
_OTHERS = re.compile(
    r"(?<![a-z0-9])(?:p?(?:T3|T7|SP6)|lac(?:Iq?|[OZ]|UV5)?(?![a-z])|(?:Amp|Kan|Cm)R?(?![a-z0-9])|AmpR|bla(?![a-z0-9])|"
    r"(?:cat|tac|trc|ori)(?![a-z0-9])|ara(?:B|(?![a-z]))|[hmb]?(?:U6|H1(?![0-9])|7SK)|EM7|tRNA)|"
    r"pol(?:ymerase)?[ _-]?III(?![a-z])|predicted",
    re.I,
)
#: Words for a promoter and for an enhancer, as maps have them in languages of Europe and Asia.
_PROMOTER = re.compile(
    r"(?:promot(?:er|or|eur)|prom(?![a-z]))(?!-?\s?less)|промотор|启动子|啟動子|プロモータ|프로모터",
    re.I,
)
_ENHANCER = re.compile(r"enhancer|增强子|增強子|エンハンサ", re.I)
#: Features that are no part of a vector by themselves, whatever they are named after.
_NO_PARTS = {"primer_bind", "primer", "protein_bind", "CDS", "gene", "mRNA", "exon"}
#: The same of a feature of no such type: words by which it is a site beside a part, and the fewest bases of a part.
_BESIDES = re.compile(
    r"primer|oligo|(?:cloning|restriction|insertion) site|overlap|overhang|junction|scar\b", re.I
)
_FEWEST = 40
#: Words for a poly(A) signal, and types of features that are one.
_POLY_A = re.compile(
    r"(?i:poly[^a-z]*a|poliaden|полиаден)|(?<![a-z])p(?:A|\(A\))(?![A-Za-z])|聚腺苷|加尾|ポリA"
)
_POLY_A_KINDS = {"polyA_signal", "polyA_site"}
#: Of an annotated promoter of unknown sequence, the last 100 nt are kept: PGK starts inside its feature.
ANNOTATED_KEPT = 100
#: A vector's mRNA is cut 10-30 nt behind AATAAA (Proudfoot 2011 Genes Dev 25:1770).
CLEAVAGE = 25
#: Retroviral U3 promoters: name, part. Their mRNA begins where the part ends (30 nt behind the TATA box).
_U3 = {
    "MSCV U3": "MSCV_U3",
    "MoMuLV U3": "MoMuLV_U3",
    "MP71 U3 (MPSV)": "MP71_U3",
    "SFFV": "SFFV_promoter",
    "MND": "MND_promoter",
}
#: Bases at a U3's end that are searched for.
_U3_END = 100
#: Other promoters: name, part that ends with the start of transcription, part that begins with it (or ""), edits.
_STARTS = (
    ("EF1alpha", "EF1A_promoter", "EF1A_exon1", 0.18),
    ("CMV", "CMV_promoter", "", 0.18),
    ("CAG", "CAG_promoter", "CAG_exon1", 0.18),
    ("UbC", "UbC_promoter", "UbC_exon1", 0.1),
    ("JeT", "UbC_promoter", "JeT_leader", 0.1),
    ("PGK (human)", "hPGK_promoter", "hPGK_leader", 0.12),
    ("PGK (mouse)", "mPGK_promoter", "mPGK_leader", 0.12),
    ("SV40", "SV40_promoter", "SV40_leader", 0.1),
)
#: The ends of inducible promoters, which differ in what stands before them, likewise.
_MINIMAL = (
    ("minimal CMV", "CMV_minimal", "", 0.12),
    ("minimal TATA", "TATA_minimal", "", 0.08),
    ("IL2", "IL2_promoter", "IL2_leader", 0.1),
)
#: Bases on either side of the start that are looked for, and within which two starts are one.
_BESIDE, _SAME_START = 100, 12
#: A promoter whose mRNA begins so near before an end has nothing to transcribe; a U3 there, before R and U5, is the
#: LTR's own.
_BEFORE_END, _LTR_END = 60, 160
#: Poly(A) signals known by their sequence.
_ENDS = {
    "bGH poly(A) signal": "bGH_polyA",
    "hGH poly(A) signal": "hGH_polyA",
    "SV40 poly(A) signal": "SV40_polyA",
    "beta-globin poly(A) signal": "rbGlob_polyA",
    "SV40 late poly(A) signal": "SV40_late_polyA",
    "synthetic poly(A) signal": "synthetic_polyA",
    "HSV-TK poly(A) signal": "HSVTK_polyA",
}
#: Promoters of templates for transcription in vitro, up to the first base transcribed, and bases before the frame in
#: which they lie; a poly(A) tail that the DNA encodes, in one piece or in two (A30-linker-A70).
_PHAGES = {"T7": "TAATACGACTCACTATA", "SP6": "ATTTAGGTGACACTATA", "T3": "AATTAACCCTCACTAAA"}
_PHAGE_REACH = 400
_ENCODED_TAIL = re.compile("A{40,}(?:[CGT][ACGT]{0,14}A{20,})?|A{25,}[CGT][ACGT]{0,14}A{40,}")
#: 3' untranslated regions of mRNAs made in vitro: name, part.
_MADE_UTRS = {"HBB": "HBB_3UTR", "HBA1": "HBA1_3UTR", "HBA2": "HBA2_3UTR", "MT-RNR1": "MTRNR1"}
_SIGNAL = re.compile("AATAAA|ATTAAA")


@dataclass(frozen=True)
class Start:
    """A start of transcription: its place, the promoter's name, and whether the place is a guess."""

    position: int
    name: str
    guess: bool = False


@dataclass(frozen=True)
class Stop:
    """The end of the mRNA: its place, what it is, and whether the place is a guess."""

    position: int
    name: str
    guess: bool = False


def _u3_starts(stretch: str) -> dict[int, str]:
    """Return the starts behind retroviral U3 promoters, each named after the U3 it is most similar to."""
    hits: dict[int, tuple[float, str]] = {}
    for name, part in _U3.items():
        bases = parts()[part]
        for _, end, identity in find_part(bases[-_U3_END:], stretch, U3_EDITS):
            # The whole promoter tells MND from MSCV, which are alike at the end.
            whole = find_part(bases, stretch[max(0, end - len(bases) - 40) : end + 5], 0.3)
            likeness = max((h[2] for h in whole), default=0.0) + identity
            near = next((p for p in hits if abs(p - end) <= _SAME_START), None)
            if near is None:
                hits[end] = (likeness, name)
            elif likeness > hits[near][0]:
                del hits[near]
                hits[end] = (likeness, name)
    return {end: name for end, (_, name) in hits.items()}


def known_starts(sequence: str, lo: int, hi: int) -> list[Start]:
    """Return the starts of transcription of known promoters in ``sequence[lo:hi]``, in order."""
    stretch = sequence[lo:hi]
    found = dict(_u3_starts(stretch))
    for promoter in (*_STARTS, *_MINIMAL):
        name, before, after, edits = promoter
        up = parts()[before][-_BESIDE:]
        down = parts()[after][:_BESIDE] if after else ""
        for _, end, _ in find_part(up + down, stretch, edits):
            place = end - len(down)
            # A whole promoter counts before the minimal one that is a part of it.
            if promoter in _MINIMAL and any(abs(place - p) <= _SAME_START for p in found):
                continue
            found.setdefault(place, name)
    return [Start(lo + p, found[p]) for p in sorted(found)]


def is_promoter_word(name: str) -> bool:
    """Whether a name says that it is a promoter's, in any of the languages of :data:`_PROMOTER`."""
    return _PROMOTER.search(name) is not None


def _is_a_part(feature: Feature) -> bool:
    """Whether a feature may be the part that it is named after, not a primer or a site beside that."""
    named = feature.kind in _NO_PARTS or _BESIDES.search(feature.label)
    return feature.end - feature.start >= _FEWEST and not named


def _ends_mrna(feature: Feature, sequence: str) -> bool:
    """Whether a feature is a poly(A) signal by its type, or by its name and its length or its bases."""
    if feature.kind in _POLY_A_KINDS:
        return True
    if not _POLY_A.search(feature.label) or feature.kind in _NO_PARTS:
        return False
    signal = _SIGNAL.search(sequence, feature.start, feature.end)
    return _is_a_part(feature) or (signal is not None and not _BESIDES.search(feature.label))


def _annotated(vector: VectorMap, lo: int, hi: int) -> list[Feature]:
    """Return the features of promoters within ``lo`` to ``hi`` that may drive a gene in a T cell."""
    return [
        f
        for f in vector.features
        if f.is_sense
        and (f.kind == "promoter" or (_PROMOTER.search(f.label) and _is_a_part(f)))
        # An "enhancer/promoter" is both.
        and (_PROMOTER.search(f.label) or not _ENHANCER.search(f.label))
        and not _OTHERS.search(f.label)
        and lo <= f.start
        and f.end <= hi
    ]


def promoter_names(vector: VectorMap, lo: int, hi: int) -> list[str]:
    """Return the names of the promoters, known or annotated, whose mRNA begins between ``lo`` and ``hi``."""
    known = [
        s
        for s in known_starts(vector.sequence, lo, hi)
        if s.position < hi - (_LTR_END if s.name in _U3 else _BEFORE_END)
    ]
    names = [s.name for s in known]
    for f in _annotated(vector, lo, hi):
        # One that is known by its sequence is annotated as well.
        if not any(f.start - _BESIDE <= s.position <= f.end + _BESIDE for s in known):
            names.append(f.label or "annotated promoter")
    return list(dict.fromkeys(names))


def find_start(vector: VectorMap, lo: int, hi: int) -> Start | None:
    """Return the start of transcription nearest before ``hi``, by sequence or else by annotation."""
    ires = find_part(parts()["EMCV_IRES"], vector.sequence[max(lo, hi - _IRES_REACH) : hi])
    reach = _MAX_BEFORE_IRES if ires else MAX_LEADER
    lo = max(lo, hi - reach - 700)
    known = [s for s in known_starts(vector.sequence, lo, hi) if hi - s.position <= reach]
    annotated = [f for f in _annotated(vector, lo, hi + 10) if hi - f.end <= reach]
    nearest = max(annotated, key=lambda f: f.end, default=None)
    if known and (
        nearest is None
        or nearest.start - 50 <= known[-1].position
        or _is_its_intron(vector.sequence, known[-1].position, nearest)
    ):
        return known[-1]
    if nearest is not None:
        position = max(nearest.start, min(nearest.end, hi) - ANNOTATED_KEPT)
        return Start(position, nearest.label or "annotated promoter", guess=True)
    return None


def _is_its_intron(sequence: str, start: int, feature: Feature) -> bool:
    """Whether a feature lies in an intron of the mRNA that begins at ``start``: a map may call it the promoter."""
    stretch = sequence[start : feature.end + _BESIDE]
    lo, hi = feature.start - start + _FEWEST, feature.end - start - _FEWEST
    introns = find_introns(stretch, (len(stretch), len(stretch)), [])
    return any(first <= lo and hi <= last for first, last in introns)


def find_template(sequence: str, start: int, end: int, wall: int) -> tuple[Start, Stop] | None:
    """Return where the mRNA begins and ends that is transcribed in vitro from a template, None for another map.

    A phage's promoter alone says little, since many plasmids carry one; with a poly(A) tail that the DNA encodes, or an
    untranslated region of mRNAs made in vitro, behind which an enzyme adds the tail, it is that of a template.

    Parameters
    ----------
    sequence
        The map, sense strand.
    start, end
        Of the CAR's reading frame.
    wall
        Where the mRNA must have ended.
    """
    before = sequence[max(0, start - _PHAGE_REACH) : start]
    found = [
        (max(0, start - _PHAGE_REACH) + at + len(bases), name)
        for name, bases in _PHAGES.items()
        if (at := before.rfind(bases)) >= 0
    ]
    last = min(wall, end + MAX_DOWNSTREAM)
    stop = made_end(sequence, end, last)
    if (tail := encoded_tail(sequence, end, last)) is not None:
        stop = Stop(tail.start(), f"encoded poly(A) tail of {tail.end() - tail.start()} nt")
    if not found or stop is None:
        return None
    position, name = max(found)
    return Start(position, f"{name} (transcription in vitro)"), stop


def made_end(sequence: str, lo: int, hi: int) -> Stop | None:
    """Return the end of the last 3' untranslated region of mRNAs made in vitro in ``sequence[lo:hi]``, or None."""
    ends = [
        Stop(lo + end, f"{name} 3' UTR")
        for name, part in _MADE_UTRS.items()
        for _, end, _ in find_part(parts()[part], sequence[lo:hi])
    ]
    return max(ends, key=lambda stop: stop.position, default=None)


def encoded_tail(sequence: str, lo: int, hi: int, least: int = 0) -> re.Match[str] | None:
    """Return the poly(A) tail that a template encodes in ``sequence[lo:hi]``, of at least some A, or None."""
    return next(
        (m for m in _ENCODED_TAIL.finditer(sequence, lo, hi) if m[0].count("A") >= least), None
    )


def _cut(sequence: str, lo: int, hi: int) -> int:
    """Return where an mRNA with a poly(A) signal in ``sequence[lo:hi]`` is cut."""
    signal = _SIGNAL.search(sequence, lo, hi)
    return hi if signal is None else min(signal.end() + CLEAVAGE, len(sequence))


def signal_at_end(sequence: str) -> str | None:
    """Return the known poly(A) signal behind which an mRNA is cut where its sequence ends, or None."""
    for name, part in _ENDS.items():
        bases = parts()[part]
        head = bases[: _cut(bases, 0, len(bases))]
        last = sequence[-len(head) - CLEAVAGE :]
        if any(len(last) - end <= CLEAVAGE for _, end, _ in find_part(head, last)):
            return name
    return None


def find_stop(vector: VectorMap, lo: int, hi: int) -> Stop | None:
    """Return the mRNA's end between ``lo`` and ``hi`` by a poly(A) signal: known, annotated, or a bare AATAAA."""
    sequence = vector.sequence
    hi = min(hi, lo + MAX_DOWNSTREAM)
    found = [
        Stop(_cut(sequence, lo + start, lo + end), name)
        for name, part in _ENDS.items()
        for start, end, _ in find_part(parts()[part], sequence[lo:hi])
    ]
    for feature in vector.features:
        if lo <= feature.start < hi and feature.is_sense and _ends_mrna(feature, sequence):
            label = feature.label or "annotated poly(A) signal"
            found.append(Stop(_cut(sequence, feature.start, feature.end), label))
    if found:
        return min(found, key=lambda s: s.position)
    bare = sequence.find("AATAAA", lo, hi)
    if bare < 0:
        return None
    position = min(bare + 6 + CLEAVAGE, len(sequence))
    return Stop(position, "the first AATAAA behind the frame", guess=True)
