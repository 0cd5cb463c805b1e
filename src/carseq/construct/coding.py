"""Translation and the other strand, of plain strings.

Own code, since loading Biopython's tables takes longer than all else that a short command does.
"""

from __future__ import annotations

from itertools import product

STOPS = ("TAA", "TAG", "TGA")
#: The standard genetic code (NCBI translation table 1), codons in the order TCAG.
_CODE = dict(
    zip(
        ("".join(codon) for codon in product("TCAG", repeat=3)),
        "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG",
        strict=True,
    )
)
#: Codons with an N that stand for one residue whatever it is (CTN: leucine); others are X.
for _codon in product("ACGTN", repeat=3):
    if "N" in _codon:
        _meant = {_CODE["".join(c)] for c in product(*("ACGT" if b == "N" else b for b in _codon))}
        _CODE["".join(_codon)] = _meant.pop() if len(_meant) == 1 else "X"
_OTHER_STRAND = str.maketrans(
    "ACGTUMRWSYKVHDBNacgtumrwsykvhdbn", "TGCAAKYWSRMBDHVNtgcaakywsrmbdhvn"
)


def translate(bases: str) -> str:
    """Return the residues of a stretch read from its first base; a codon cut off at the end is left out.

    Examples
    --------
    >>> translate("ATGTAAG"), translate("CTNNNA")
    ('M*', 'LX')
    """
    bases = bases.upper()
    return "".join(_CODE.get(bases[i : i + 3], "X") for i in range(0, len(bases) - 2, 3))


def reverse_complement(bases: str) -> str:
    """Return the other strand, 5' to 3'.

    Examples
    --------
    >>> reverse_complement("AACG")
    'CGTT'
    """
    return bases.translate(_OTHER_STRAND)[::-1]
