"""The domains of a CAR's protein: each residue gets a row."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple

from carseq.construct.antibody import variable_domains
from carseq.construct.orfs import MAX_DOMAIN_EDITS
from carseq.construct.parts import find_protein, known_proteins

#: Fewest residues of an unnamed binder: a variable domain has 105-130, a small ligand 40, a linker fewer.
MIN_BINDER = 40
#: Fewest residues of a protein beside a 2A peptide that are worth the name of a second ORF.
MIN_SECOND = 60
#: Fewest residues between binder and transmembrane domain that count as a spacer, not as a joint.
MIN_SPACER = 8
#: Edits allowed in whole genes and constant regions: alleles of HLA class I differ by up to 12 %.
_MAX_EDITS = {"natural": 0.2, "TCR": 0.15}
#: Domains this short occur by chance when an edit is allowed.
_EXACT_BELOW = 12
#: Kinds that only a CAR has: a piece between 2A peptides that holds one is the CAR, another is a partner.
CAR_KINDS = {"hinge", "transmembrane", "costimulatory", "CD3zeta", "signalling"}
#: Most residues of a linker between two binder domains.
_MAX_JOINT = 40
#: Residues of an exact run of CD3zeta in a shortened one, and fewest residues in such runs.
_ZETA_RUN, _MIN_ZETA = 8, 20
_LINKER = re.compile(r"(?:G{1,5}S){1,16}G{0,4}")
#: DARPins: 33-residue ankyrin repeats of a fixed framework between an N- and a C-terminal cap
#: (Binz 2003 J Mol Biol 332:489).
_DARPIN_REPEAT = re.compile(r"G[A-Z]TPLH[LA]A[A-Z]{3}G[HN][A-Z]{1,2}IV[EK][VL]LL[A-Z]{2}GADV[ND]")
_DARPIN_BEFORE, _DARPIN_AFTER = re.compile(r"[DG]LG[KRQ]K[LF][LIV]E"), re.compile(r"LAEIL")
#: Hydropathy of residues (Kyte 1982 J Mol Biol 157:105), and what a membrane-spanning stretch of 19 reaches.
_HYDROPATHY = dict(
    zip(
        "ARNDCQEGHILKMFPSTWYV",
        (
            *(1.8, -4.5, -3.5, -3.5, 2.5, -3.5, -3.5, -0.4, -3.2, 4.5),
            *(3.8, -3.9, 1.9, 2.8, -1.6, -0.8, -0.7, -0.9, -1.3, 4.2),
        ),
        strict=True,
    )
)
_SPAN, _MIN_HYDROPATHY = 19, 1.9
#: The hydrophobic core of a signal peptide: 8 residues within the first 30.
_CORE, _MIN_CORE, _MAX_SIGNAL = 8, 2.2, 35
#: Fewest residues of a signal peptide: a start codon before a fluorescent protein is none.
_MIN_SIGNAL = 10
_NAN = float("nan")


class Stretch(NamedTuple):
    """A stretch of the protein: name, kind, half-open range of residues, identity (0-1 or NaN), source."""

    name: str
    kind: str
    start: int
    end: int
    identity: float
    source: str


def _known(protein: str) -> list[Stretch]:
    """Return the known domains of a protein; where two overlap, the one with more matching residues."""
    found = []
    for domain in known_proteins():
        edits = _MAX_EDITS.get(domain.kind, MAX_DOMAIN_EDITS)
        if len(domain.sequence) < _EXACT_BELOW:
            edits = 0.0
        for start, end, identity in find_protein(domain.sequence, protein, edits):
            if domain.kind == "signal peptide" and "M" not in protein[start : start + 2]:
                continue
            # An unpaired edge base of an alignment is not a residue of the domain.
            found.append(Stretch(domain.name, domain.kind, start, end, identity, domain.source))
    return _resolved(found)


def _resolved(found: list[Stretch]) -> list[Stretch]:
    kept: list[Stretch] = []
    for one in sorted(found, key=lambda s: (-(s.end - s.start) * s.identity, s.start)):
        overlap = [min(one.end, k.end) - max(one.start, k.start) for k in kept]
        if all(n <= 0 for n in overlap):
            kept.append(one)
        elif max(overlap) <= 2 < (one.end - one.start) // 3:
            # Two residues that both could claim go to the larger domain.
            start = max([one.start, *(k.end for k in kept if k.start <= one.start < k.end)])
            end = min([one.end, *(k.start for k in kept if k.start < one.end <= k.end)])
            kept.append(one._replace(start=start, end=end))
    return sorted(kept, key=lambda s: (s.start, s.end))


def _gaps(found: list[Stretch], lo: int, hi: int) -> list[tuple[int, int]]:
    """Return the ranges of ``lo`` to ``hi`` that no stretch covers."""
    gaps, at = [], lo
    for stretch in sorted(found, key=lambda s: s.start):
        if stretch.end <= lo or stretch.start >= hi:
            continue
        if stretch.start > at:
            gaps.append((at, stretch.start))
        at = max(at, stretch.end)
    if at < hi:
        gaps.append((at, hi))
    return gaps


def _linkers(protein: str, lo: int, hi: int) -> list[Stretch]:
    found = []
    for match in _LINKER.finditer(protein, lo, hi):
        text = match.group()
        if "GGGGS" not in text and len(text) < 8:
            continue
        name = "G4S linker" if "GGGGSGGGGSGGGGS" in text else "GS linker"
        found.append(Stretch(name, "linker", match.start(), match.end(), _NAN, "Gly-Ser repeats"))
    return found


def _darpins(protein: str, lo: int, hi: int) -> list[Stretch]:
    repeats = list(_DARPIN_REPEAT.finditer(protein, lo, hi))
    if not repeats:
        return []
    before = [m.start() for m in _DARPIN_BEFORE.finditer(protein, lo, repeats[0].start())]
    after = [m.end() for m in _DARPIN_AFTER.finditer(protein, repeats[-1].start(), hi)]
    start = before[-1] if before else repeats[0].start()
    end = after[-1] if after else repeats[-1].end()
    source = f"{len(repeats)} ankyrin repeats of the DARPin framework"
    return [Stretch("DARPin", "binder", start, end, _NAN, source)]


def hydrophobic_span(protein: str, lo: int, hi: int) -> tuple[int, int] | None:
    """Return the most hydrophobic membrane-spanning stretch of ``protein[lo:hi]``, or None."""
    best: tuple[float, int] | None = None
    for start in range(lo, hi - _SPAN + 1):
        mean = sum(_HYDROPATHY.get(a, 0) for a in protein[start : start + _SPAN]) / _SPAN
        if mean >= _MIN_HYDROPATHY and (best is None or mean > best[0]):
            best = (mean, start)
    if best is None:
        return None
    start, end = best[1], best[1] + _SPAN
    while start > lo and _HYDROPATHY.get(protein[start - 1], 0) > 1:
        start -= 1
    while end < hi and _HYDROPATHY.get(protein[end], 0) > 1:
        end += 1
    return start, end


def has_signal_peptide(protein: str) -> bool:
    """Whether a protein begins with a signal peptide: a known one, or a hydrophobic core behind its start.

    Examples
    --------
    >>> has_signal_peptide("MALPVTALLLPLALLLHAARPDIQMTQ")
    True
    >>> has_signal_peptide("MSDKPSERRTENQDLKGKPSTDEEKNH")
    False
    """
    head = protein[:_MAX_SIGNAL]
    if not head.startswith("M"):
        return False
    return any(
        sum(_HYDROPATHY.get(a, 0) for a in head[i : i + _CORE]) / _CORE >= _MIN_CORE
        for i in range(1, len(head) - _CORE)
    )


def protein_domains(protein: str, *, partial: bool = False) -> list[Stretch]:
    """Return the domains of a CAR's protein, in order; every residue lies in one of them.

    Parameters
    ----------
    protein
        Residues of the whole reading frame, 2A partners included; ``*`` for a stop codon inside it.
    partial
        Whether only a part of a CAR is given, so that a stretch without a name may be its binder.

    Returns
    -------
    list of Stretch
        Kinds: signal peptide, binder, linker, hinge, transmembrane, costimulatory, CD3zeta, signalling, 2A peptide,
        marker, switch, tag, other.
    """
    known = _known(protein)
    cuts = [0, *(s.end for s in known if s.kind == "2A peptide"), len(protein)]
    # A proline behind the 2A peptide's last glycine begins the next protein.
    pieces = [(lo, hi) for lo, hi in pairwise(cuts) if hi > lo]
    found: list[Stretch] = []
    cars = [any(s.kind in CAR_KINDS for s in known if lo <= s.start < hi) for lo, hi in pieces]
    for (lo, hi), is_car in zip(pieces, cars, strict=True):
        inside = [s for s in known if lo <= s.start < hi]
        # A file of one protein is that of the CAR, whatever is known of it.
        found += _piece(protein, lo, hi, inside, is_car or partial or not any(cars))
    return sorted(found, key=lambda s: (s.start, s.end))


def _piece(protein: str, lo: int, hi: int, known: list[Stretch], is_car: bool) -> list[Stretch]:
    """Return the stretches of one protein between 2A peptides."""
    found = [
        s._replace(kind="other") if s.kind in ("natural", "TCR", "backbone") else s for s in known
    ]
    named = _gaps(found, lo, hi)
    for start, end in named:
        found += _darpins(protein, start, end)
    strong = [s for s in found if s.kind != "linker"]
    for start, end in _gaps(strong, lo, hi):
        for domain in variable_domains(protein, start, end):
            # A Gly-Ser linker that was found inside a variable domain is a piece of it.
            found = [s for s in found if not (domain.start <= s.start and s.end <= domain.end)]
            found = [
                s._replace(start=max(s.start, domain.end)) if s.start < domain.end < s.end else s
                for s in found
            ]
            found.append(
                Stretch(domain.name, "binder", domain.start, domain.end, _NAN, domain.source)
            )
    if is_car and not any(s.kind == "CD3zeta" for s in found):
        for start, end in _gaps(found, lo, hi):
            found += _short_zeta(protein, start, end)
    # The regular expression knows linkers of any length; the sequence of 15 residues is one of them.
    found = [s for s in found if s.name != "G4S linker"]
    for start, end in _gaps(found, lo, hi):
        found += _linkers(protein, start, end)
    if is_car:
        found += _transmembrane(protein, lo, hi, found)
    found += _rest(protein, lo, hi, found, is_car)
    return found


def _short_zeta(protein: str, lo: int, hi: int) -> list[Stretch]:
    """Return what ``protein[lo:hi]`` holds of a CD3zeta that was shortened (ITAMs taken out), by exact runs of it."""
    best: tuple[int, int, int] | None = None
    for domain in known_proteins("CD3zeta"):
        words = {domain.sequence[i : i + _ZETA_RUN] for i in range(len(domain.sequence))}
        hits = [i for i in range(lo, hi - _ZETA_RUN + 1) if protein[i : i + _ZETA_RUN] in words]
        covered = {k for i in hits for k in range(i, i + _ZETA_RUN)}
        if len(covered) >= _MIN_ZETA and (best is None or len(covered) > best[0]):
            best = (len(covered), hits[0], hits[-1] + _ZETA_RUN)
    if best is None:
        return []
    n, start, end = best
    source = f"{n} residues of CD3zeta, not the whole of it"
    return [Stretch("CD3zeta", "CD3zeta", start, end, n / (end - start), source)]


def _transmembrane(protein: str, lo: int, hi: int, found: list[Stretch]) -> list[Stretch]:
    """Return a membrane-spanning stretch of unknown sequence, if no known one is there."""
    if any(s.kind == "transmembrane" or s.name == "Notch1 core" for s in found):
        return []
    binders = [s.end for s in found if s.kind in ("binder", "hinge")]
    begin = max([lo + _MAX_SIGNAL, *binders])
    # A type II receptor (NKG2D behind CD3zeta) has it before its binder.
    for lowest in (begin, lo + _MAX_SIGNAL):
        for start, end in _gaps(found, lowest, hi):
            span = hydrophobic_span(protein, start, end)
            if span is not None:
                source = "hydrophobic stretch (Kyte-Doolittle)"
                return [Stretch("transmembrane (predicted)", "transmembrane", *span, _NAN, source)]
    return []


def _rest(protein: str, lo: int, hi: int, found: list[Stretch], is_car: bool) -> list[Stretch]:
    """Return a row for every stretch that has no name yet."""
    rest = []
    inner = [s for s in found if s.kind in CAR_KINDS]
    border = min((s.start for s in inner), default=hi)
    span = min((s.start for s in inner if s.kind == "transmembrane"), default=border)
    has_binder = any(s.kind == "binder" and s.start < border for s in found)
    edges = {x for s in found if s.kind == "binder" for x in (s.start, s.end)}
    for start, end in _gaps(found, lo, hi):
        size = end - start
        first = min((s.start for s in found if s.start >= end), default=hi)
        behind = next((s for s in found if s.start == end), None)
        partner = behind is not None and behind.kind == "marker"
        if (
            start == lo
            and _MIN_SIGNAL <= size < MIN_BINDER
            and (is_car or partner)
            and first < hi
            and has_signal_peptide(protein[lo : lo + 60])
        ):
            name, kind, source = SIGNAL, SIGNAL, "hydrophobic start, not a known one"
        elif size <= _MAX_JOINT and {start, end} <= edges:
            name, kind, source = "linker", "linker", "no known sequence; joins two binder domains"
        elif is_car and start < border and not has_binder and size >= MIN_BINDER:
            name, kind, source = "binder", "binder", "no known domain; lies where the binder does"
        elif (
            is_car
            and has_binder
            and end == span
            and size >= MIN_SPACER
            and not any(s.kind == "hinge" for s in found)
        ):
            name, kind, source = "spacer", "hinge", "no known domain; lies where the hinge does"
        elif not is_car and size >= MIN_SECOND:
            name, kind, source = "second ORF", "marker", "beside a 2A peptide"
        else:
            name, kind, source = UNNAMED, "other", "no known domain"
        rest.append(Stretch(name, kind, start, end, _NAN, source))
    return rest


SIGNAL = "signal peptide"
#: Name of a stretch that matches nothing known.
UNNAMED = "unnamed"
