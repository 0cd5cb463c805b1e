"""Where the CAR's domains lie on its mRNA, found by similarity to known ones; no annotation is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carseq.construct.coding import translate
from carseq.construct.orfs import find_orfs
from carseq.construct.parts import MAX_PART_EDITS, find_part, known, known_domains
from carseq.construct.protein import UNNAMED, Stretch, protein_domains

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["COLUMNS", "domain_rows", "domains_at", "find_domains", "known_domains", "mrna_parts"]

COLUMNS = ["name", "kind", "start", "end", "identity", "source"]
#: A second frame beside the CAR's counts from 450 nt, a known marker from 300 (RQR8 has 408).
MIN_SECOND_ORF, MIN_KNOWN_ORF = 450, 300
#: A part of the tail may begin this many bases before the CAR's stop codon ends (tisa-cel's WPRE: 2).
_TOUCH = 12
#: Parts behind a frame that have open frames of their own (WPRE: its X protein), which are not translated.
_UNTRANSLATED = {"WPRE", "LTR U3", "LTR R", "LTR U5", "poly(A) signal"}


def mrna_parts(sequence: str) -> list[Stretch]:
    """Return the vector's parts on an mRNA (LTR, packaging signal, WPRE, IRES, poly(A) signal), in order.

    Of parts of one kind that overlap (U3 of MSCV and of MoMuLV), the most similar one is kept.
    """
    found = [
        Stretch(d.name, d.kind, start, end, identity, d.source)
        for d in known()
        if d.alphabet == "dna"
        for start, end, identity in find_part(d.sequence, sequence, MAX_PART_EDITS)
    ]
    kept: list[Stretch] = []
    for one in sorted(found, key=lambda s: (-s.identity, -(s.end - s.start))):
        if not any(k.kind == one.kind and k.start < one.end and one.start < k.end for k in kept):
            kept.append(one)
    return sorted(kept, key=lambda s: (s.start, s.end))


def find_domains(
    sequence: str, orf: tuple[int, int] | None, *, partial: bool = False
) -> pd.DataFrame:
    """Find the domains of a CAR's mRNA.

    Parameters
    ----------
    sequence
        The full-length transcript, sense strand.
    orf
        ``(start, end)`` of the CAR's reading frame on it, 0-based half-open, or None.
    partial
        Whether the sequence is only a part of a CAR.

    Returns
    -------
    pandas.DataFrame
        One row a domain, by position: ``name``, ``kind`` (signal peptide, binder, linker, hinge,
        transmembrane, costimulatory, CD3zeta, signalling, 2A peptide, IRES, marker, switch, tag, LTR parts, packaging
        signal, WPRE, poly(A) signal, other), ``start``, ``end`` (0-based half-open on the full-length
        transcript), ``identity`` (0-1, of residues or bases; NaN where no known sequence was compared),
        ``source``. Every base of the reading frame but the stop codon lies in a row.

    Examples
    --------
    >>> from carseq.construct.parts import sequences
    >>> frame = sequences("orfs.fa")["axi-cel"]
    >>> table = find_domains(frame, (0, len(frame)))
    >>> list(table["name"][:4])
    ['CSF2RA signal peptide', 'VL', 'Whitlow linker', 'VH']
    """
    import pandas as pd

    return pd.DataFrame(domain_rows(sequence, orf, partial=partial), columns=COLUMNS)


def domain_rows(
    sequence: str, orf: tuple[int, int] | None, *, partial: bool = False
) -> list[Stretch]:
    """Return the rows of :func:`find_domains`, without a table (which takes long to load)."""
    rows: list[Stretch] = list(mrna_parts(sequence))
    if orf is not None:
        first, last = orf
        coding = sequence[first:last]
        protein = translate(coding).rstrip("*")
        tail = [r.start for r in rows if r.kind in _UNTRANSLATED and r.start >= last - _TOUCH]
        ires = [r for r in rows if r.kind == "IRES"]
        limit = min(tail, default=len(sequence))
        rows += _second_orf(sequence, last, limit, any(r.start >= last - _TOUCH for r in ires))
        before = [r for r in ires if r.end <= first + _TOUCH]
        if before:
            rows += _second_orf(sequence, 0, before[0].start, True)
        rows += [
            s._replace(start=first + 3 * s.start, end=first + 3 * s.end)
            for s in protein_domains(protein, partial=partial)
        ]
    return sorted(rows, key=lambda r: (r.start, r.end))


def _second_orf(sequence: str, lo: int, hi: int, by_ires: bool) -> list[Stretch]:
    """Return the frame of a second protein in ``sequence[lo:hi]``.

    A known protein counts wherever it lies (a marker behind a promoter of its own); an unknown one only beside an
    IRES, without which no ribosome would begin there.
    """
    best: list[Stretch] = []
    for orf in sorted(find_orfs(sequence[lo:hi], MIN_KNOWN_ORF), key=lambda o: o.start - o.end):
        start, end = lo + orf.start, lo + orf.end
        protein = translate(sequence[start:end]).rstrip("*")
        named = [s for s in protein_domains(protein) if s.kind in ("marker", "switch")]
        if named and named[0].source != "beside a 2A peptide":
            return [s._replace(start=start + 3 * s.start, end=start + 3 * s.end) for s in named]
        if by_ires and not best and end - start >= MIN_SECOND_ORF:
            source = "reading frame beside the IRES"
            best = [Stretch("second ORF", "marker", start, end, float("nan"), source)]
    return best


def domains_at(domains: pd.DataFrame, start: int, end: int) -> str:
    """Return the names of the domains touched by [start, end), comma-separated, in order.

    Stretches that match nothing known are left out.
    """
    rows = zip(domains["start"], domains["end"], domains["name"], strict=True)
    return ",".join(
        name for first, last, name in rows if first < end and last > start and name != UNNAMED
    )
