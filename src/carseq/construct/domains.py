"""Where the CAR's domains lie, found by similarity to known ones; no annotation is needed."""

from __future__ import annotations

import re
from itertools import pairwise

import pandas as pd
from Bio.Seq import Seq

from carseq.construct.orfs import HEAVY, LIGHT, MAX_DOMAIN_EDITS, find_orfs
from carseq.construct.parts import find_part, known_domains
from carseq.construct.vector import Construct

__all__ = ["COLUMNS", "domains_at", "find_domains", "known_domains"]

COLUMNS = ["name", "kind", "start", "end", "identity", "source"]
#: Fewest residues that are worth a name: a variable domain has 105-130, an unnamed linker fewer than 40.
MIN_RESIDUES = 60
#: A second frame behind the CAR's counts from 450 nt: markers have 600 and more.
MIN_SECOND_ORF = 450
#: Kinds that only a CAR has: a piece between 2A peptides that holds one is the CAR, another a marker.
_CAR = {"hinge", "transmembrane", "costimulatory", "CD3zeta"}
_LINKER = re.compile(r"^(?:G{2,4}S){1,4}")

#: A stretch of the protein: name, kind, first and past-last residue, identity, source.
_Stretch = tuple[str, str, int, int, float, str]


def _variable_domains(protein: str, lo: int, hi: int) -> list[_Stretch]:
    """Return binder parts between residues ``lo`` and ``hi``: cut behind framework 4 and GGGGS linkers."""
    found: list[_Stretch] = []
    start, nan = lo, float("nan")
    stretch = protein[lo:hi]
    ends = sorted(
        [(m.end(), "VH") for m in HEAVY.finditer(stretch)]
        + [(m.end(), "VL") for m in LIGHT.finditer(stretch)]
    )
    for end, kind in ends:
        linker = _LINKER.match(protein[start : lo + end])
        if linker and found:
            found.append(("GS linker", "linker", start, start + linker.end(), nan, "GGGGS repeats"))
            start += linker.end()
        if lo + end - start >= MIN_RESIDUES:
            found.append((kind, "binder", start, lo + end, nan, "framework 4 motif"))
        start = lo + end
    if not ends and hi - lo >= MIN_RESIDUES:
        found.append(("binder", "binder", lo, hi, nan, "between leader and hinge"))
    return found


def _known_in_protein(protein: str) -> list[_Stretch]:
    """Return the known domains of a protein, the better one where two of a kind overlap."""
    table = known_domains()
    found: list[_Stretch] = [
        (str(d.name), str(d.kind), start, end, identity, str(d.source))
        for d in table[table["alphabet"] == "protein"].itertuples()
        for start, end, identity in find_part(str(d.sequence), protein, MAX_DOMAIN_EDITS)
    ]
    kept: list[_Stretch] = []
    for one in sorted(found, key=lambda s: -s[4]):
        if not any(k[1] == one[1] and k[2] < one[3] and one[2] < k[3] for k in kept):
            kept.append(one)
    return sorted(kept, key=lambda s: (s[2], s[3]))


def _protein_domains(protein: str, partial: bool) -> list[_Stretch]:
    """Return the domains of the frame's protein: known ones, binder parts, and what is left over."""
    known = _known_in_protein(protein)
    nan = float("nan")
    cuts = [0, *(s[3] for s in known if s[1] == "2A peptide"), len(protein)]
    found = list(known)
    for lo, hi in pairwise(cuts):
        inside = [s for s in known if lo <= s[2] and s[3] <= hi]
        is_car = any(s[1] in _CAR for s in inside) or partial or len(cuts) == 2
        # The binder ends where the first domain behind it begins.
        border = min((s[2] for s in inside if s[1] in _CAR), default=hi)
        at = lo
        for start, end in [*((s[2], s[3]) for s in inside), (hi, hi)]:
            if start - at >= MIN_RESIDUES:
                if is_car and at < border:
                    found += _variable_domains(protein, at, start)
                elif is_car:
                    found.append(("unnamed", "other", at, start, nan, "no known domain"))
                else:
                    found.append(("second ORF", "marker", at, start, nan, "beside a 2A peptide"))
            at = max(at, end)
    if any(s[0] == "VH" for s in found) and not any(s[0] == "VL" for s in found):
        # Heavy domains without a light one are single-domain antibodies (VHH, as in cilta-cel).
        found = [("VHH", *s[1:]) if s[0] == "VH" else s for s in found]
    return found


def find_domains(construct: Construct) -> pd.DataFrame:
    """Find the domains of a construct.

    Parameters
    ----------
    construct
        The construct.

    Returns
    -------
    pandas.DataFrame
        One row a domain, by position: ``name``, ``kind`` (signal peptide, binder, linker, hinge,
        transmembrane, costimulatory, CD3zeta, 2A peptide, IRES, marker, LTR parts, packaging signal, WPRE,
        other), ``start``, ``end`` (0-based half-open on the full-length transcript), ``identity`` (0-1, of
        residues or bases; NaN where no known sequence was compared), ``source``.
    """
    rows: list[tuple[str, str, int, int, float, str]] = []
    if construct.orf is not None:
        offset = construct.orf[0]
        rows += [
            (name, kind, offset + 3 * start, offset + 3 * end, identity, source)
            for name, kind, start, end, identity, source in _protein_domains(
                construct.protein, construct.form == "partial"
            )
        ]
    table = known_domains()
    for domain in table[table["alphabet"] == "dna"].itertuples():
        for start, end, identity in find_part(
            str(domain.sequence), construct.sequence, MAX_DOMAIN_EDITS
        ):
            rows.append(
                (str(domain.name), str(domain.kind), start, end, identity, str(domain.source))
            )
    if construct.orf is not None:
        behind = construct.orf[1]
        # WPRE and LTR have frames of their own (WPRE's X protein), which no mRNA of a marker precedes.
        tail = [
            row[2] for row in rows if row[1] in {"WPRE", "LTR U3", "LTR R"} and row[2] >= behind
        ]
        rows += _second_orf(construct.sequence, behind, min(tail, default=len(construct.sequence)))
    found = pd.DataFrame(rows, columns=COLUMNS)
    return found.sort_values(["start", "end"], ignore_index=True)


def _second_orf(sequence: str, behind: int, before: int) -> list[_Stretch]:
    """Return the frame of a second protein between the CAR's and the tail (after an IRES), named if known."""
    orfs = find_orfs(sequence[behind:before], MIN_SECOND_ORF)
    if not orfs:
        return []
    orf = max(orfs, key=lambda o: o.end - o.start)
    start, end = behind + orf.start, behind + orf.end
    protein = str(Seq(sequence[start : start + (end - start) // 3 * 3]).translate())
    named = [s for s in _known_in_protein(protein) if s[1] == "marker"]
    if named:
        return [
            (name, kind, start + 3 * a, start + 3 * b, identity, source)
            for name, kind, a, b, identity, source in named
        ]
    return [("second ORF", "marker", start, end, float("nan"), "reading frame behind the CAR's")]


def domains_at(domains: pd.DataFrame, start: int, end: int) -> str:
    """Return the names of the domains touched by [start, end), comma-separated, in order."""
    rows = zip(domains["start"], domains["end"], domains["name"], strict=True)
    return ",".join(name for first, last, name in rows if first < end and last > start)
