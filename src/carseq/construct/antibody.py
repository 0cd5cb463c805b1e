"""Antibody variable domains (VH, VL, VHH) by the residues that all of them share.

A variable domain is a sandwich held by two cysteines (IMGT 23 and 104) around a tryptophan (41), and ends in
framework 4, the J gene's part. These positions are conserved in human, mouse and humanised antibodies, kappa and
lambda, while the rest of the sequence is not: so they are looked for, and no germline is compared.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: Framework 4 (IMGT 118-128): heavy WGxGTxVTVSS, light FGxGTxLEIK (kappa) or FGxGTxLTVL (lambda). Mutated
#: ones occur in working CARs (SGGGTKLEIK in SJ25C1, WGQGTTVTASS, FGQGVKVEIK), and rabbits have FGGGTEVVVK: hence the
#: wide classes.
HEAVY = re.compile(r"W[A-Z][A-Z]G[A-Z][A-Z][VLIAM]T[VIA][SAPT]|[A-Z]G[QRKA]GT[A-Z][VL]TVS[SAP]?")
LIGHT = re.compile(r"[FSYVLIWC]G[A-Z]G[TSVAI][A-Z][LVMAI][EDTQNAV][IVLMF][KRTNELIPQV]")
#: The second cysteine lies behind Asp-x-(Ala/Gly)-x-Tyr-Tyr; the first residues of that motif vary.
_SECOND_CYS = re.compile(r"[A-Z]{3}[YFHLVSTCIWDN][YFHSTLVCWIGN]C")
#: Residues between the second cysteine and framework 4: CDR3 (IMGT 105-117), 3-30 residues.
_CDR3 = (3, 34)
#: Residues between the two cysteines (IMGT 23-104 without gaps), and from the first to the tryptophan.
_CYS_TO_CYS, _CYS_TO_TRP = (58, 88), (9, 19)
#: Residues before the first cysteine: heavy 21 and lambda 21, kappa 22.
_BEFORE = {"heavy": 21, "lambda": 21, "kappa": 22}
#: Length of framework 4 kept: heavy 11 (WGQGTLVTVSS), light 10 (FGGGTKLEIK).
_FRAMEWORK_4 = {"heavy": 11, "light": 10}
#: Residues of framework 2 that tell a VHH from a VH, as offsets from the tryptophan (IMGT 42, 49, 50, 52), and
#: the residues a VHH has there (Muyldermans 2013 Annu Rev Biochem 82:775). A VH has V, G, L, W.
_HALLMARKS = {1: "FYH", 8: "EQDK", 9: "RCH", 11: "GFLSA"}
#: Hallmark residues from which a heavy domain counts as VHH.
_MIN_HALLMARKS = 2


class VariableDomain(NamedTuple):
    """A variable domain: its name (VH, VHH, VL), half-open range of residues, and what gave it away."""

    name: str
    start: int
    end: int
    source: str


def _first_cysteine(protein: str, second: int, lo: int) -> tuple[int, int] | None:
    """Return the first cysteine and the tryptophan that belong to a second cysteine, or None."""
    best: tuple[int, int, int] | None = None
    for first in range(max(lo, second - _CYS_TO_CYS[1]), second - _CYS_TO_CYS[0] + 1):
        if protein[first] != "C":
            continue
        for trp in range(first + _CYS_TO_TRP[0], min(first + _CYS_TO_TRP[1], second)):
            if protein[trp] != "W":
                continue
            # W(Y/F/V/I)(R/K/Q)Q is framework 2; the tryptophan before it is the conserved one.
            following = protein[trp + 1 : trp + 5]
            rank = 2 * (following[2:3] == "Q" or following[1:2] in ("Q", "R", "K"))
            rank += following[:1] in tuple("YFVILHMA")
            # The usual distance between the cysteines is 65-76 residues.
            rank += 65 <= second - first <= 76
            if best is None or rank > best[0]:
                best = (rank, first, trp)
    return None if best is None else (best[1], best[2])


def _hallmarks(protein: str, trp: int) -> int:
    return sum(protein[trp + i : trp + i + 1] in tuple(aa) for i, aa in _HALLMARKS.items())


def variable_domains(protein: str, lo: int = 0, hi: int | None = None) -> list[VariableDomain]:
    """Return the antibody variable domains of ``protein[lo:hi]``, in order.

    Parameters
    ----------
    protein
        Residues, one letter each.
    lo, hi
        The stretch that is searched; a domain's start is not sought before ``lo``.

    Returns
    -------
    list of VariableDomain
        ``VH`` and ``VL``; a heavy domain is called ``VHH`` by its hallmark residues in framework 2.

    Examples
    --------
    >>> vl = "DIQMTQSPSSLSASVGDRVTITCRASQDVNTAVAWYQQKPGKAPKLLIYSASFLYSGVPSRFSGSRSGTDFTLTISSLQPED"
    >>> [d[:3] for d in variable_domains(vl + "FATYYCQQHYTTPPTFGQGTKVEIKRT")]
    [('VL', 0, 107)]
    """
    hi = len(protein) if hi is None else hi
    ends: list[tuple[int, str]] = [(m.start(), "heavy") for m in HEAVY.finditer(protein, lo, hi)]
    heavy = {start for start, _ in ends}
    ends += [
        (m.start(), "light")
        for m in re.finditer(f"(?={LIGHT.pattern})", protein[:hi])
        if m.start() >= lo and m.start() not in heavy
    ]
    found: list[VariableDomain] = []
    done = lo
    for at, chain in sorted(ends):
        if at < done:
            continue
        domain = _domain(protein, at, chain, done, hi)
        if domain is not None:
            found.append(domain)
            done = domain.end
    return found


def _domain(protein: str, at: int, chain: str, lo: int, hi: int) -> VariableDomain | None:
    """Return the variable domain whose framework 4 begins at ``at``, if its cysteines are there."""
    window = protein[max(lo, at - _CDR3[1] - 6) : at - _CDR3[0]]
    offset = max(lo, at - _CDR3[1] - 6)
    # Y-Y-C is the usual end of framework 3: the match most like it is taken.
    choices = []
    for match in re.finditer(f"(?={_SECOND_CYS.pattern})", window):
        second = offset + match.start() + 5
        pair = _first_cysteine(protein, second, lo)
        if pair is None:
            continue
        motif = protein[second - 5 : second]
        likeness = (
            (motif[0] in "DEGN") + (motif[2] in "AGSV") + (motif[3] in "YFH") + (motif[4] in "YFHS")
        )
        choices.append((likeness, second, pair))
    if not choices:
        return None
    likeness, _, (first, trp) = max(choices)
    if likeness < 2:
        return None
    motif = protein[at : at + 12]
    if chain == "heavy":
        # The last residue (Ser, Ala or Pro) is missing where a linker was joined to VTVS.
        length = 11 if motif[10:11] in ("S", "A", "P", "T") else 10
        kind = "heavy"
        name = "VHH" if _hallmarks(protein, trp) >= _MIN_HALLMARKS else "VH"
    else:
        length = _FRAMEWORK_4["light"]
        kind = "lambda" if motif[7:9] in ("TV", "TI", "TA") and motif[9:10] != "K" else "kappa"
        name = "VL"
    start = max(lo, first - _BEFORE[kind])
    # Residues left over between the last domain and this one, where too few to be anything, belong to it.
    if start - lo <= 3:
        start = lo
    what = {"heavy": "heavy chain", "kappa": "kappa light chain", "lambda": "lambda light chain"}
    end = min(at + length, hi)
    if name == "VHH":
        what["heavy"] = "single-domain antibody by its framework 2 hallmarks"
    return VariableDomain(name, start, end, f"{what[kind]}, framework 4 {protein[at:end]}")
