"""Translation and the other strand, of plain strings."""

from __future__ import annotations

from Bio.Seq import reverse_complement as _reverse_complement
from Bio.Seq import translate as _translate

STOPS = ("TAA", "TAG", "TGA")


def translate(bases: str) -> str:
    """Return the residues of a stretch read from its first base; a codon cut off at the end is left out.

    Examples
    --------
    >>> translate("ATGTAAG")
    'M*'
    """
    return str(_translate(bases[: len(bases) // 3 * 3]))


def reverse_complement(bases: str) -> str:
    """Return the other strand, 5' to 3'.

    Examples
    --------
    >>> reverse_complement("AACG")
    'CGTT'
    """
    return str(_reverse_complement(bases))
