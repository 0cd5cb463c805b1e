"""What carries a CAR that is in no retrovirus: a knock-in donor, an AAV genome, a transposon."""

from __future__ import annotations

from functools import lru_cache

from carseq.construct.coding import reverse_complement, translate
from carseq.construct.ltr import MAX_UPSTREAM
from carseq.construct.model import Note
from carseq.construct.parts import find_part, find_protein, known_proteins, parts
from carseq.construct.protein import MIN_SECOND

#: Marks of each carrier: part, share of edits.
_MARKS = {
    "AAV ITR": ("AAV2_ITR", 0.15),
    "Sleeping Beauty": ("SB_left", 0.15),
    "piggyBac 5'": ("PB_5", 0.12),
    "piggyBac 3'": ("PB_3", 0.12),
    "TRAC": ("TRAC_exon1", 0.12),
    "AAVS1": ("AAVS1_left", 0.12),
}
#: TRAC's exon 1 is cut in two by the donor's arms: bases of its beginning and end that tell it alone.
_TRAC_HALVES, _TRAC_EDITS = (30, 39), 0.06
#: Bases before the CAR in which the donor's piece of an exon lies.
_EXON_REACH = 500
#: Residues of the longest 2A peptide, with its linker.
_LONGEST_2A = 30
#: Residues of a run of a marker's.
_WORD = 12
#: Residues before the CAR's first one in which a 2A peptide joins it to the gene it was knocked into.
_JOINED = 40


def carriers(sequence: str) -> list[str]:
    """Return the carriers whose marks a map shows, on either strand."""
    both = (sequence, reverse_complement(sequence))
    first, last = _TRAC_HALVES
    exon = parts()["TRAC_exon1"]
    halves = (exon[:first], exon[-last:])
    return [
        name
        for name, (part, edits) in _MARKS.items()
        if any(find_part(parts()[part], strand, edits) for strand in both)
        or (
            name == "TRAC"
            and any(find_part(half, strand, _TRAC_EDITS) for half in halves for strand in both)
        )
    ]


def is_joined(sequence: str, start: int) -> bool:
    """Whether a 2A peptide lies in frame directly before the reading frame that begins at ``start``."""
    before = translate(
        sequence[max(0, start - 3 * _JOINED) + (start - max(0, start - 3 * _JOINED)) % 3 : start]
    )
    last = before.split("*")[-1]
    return any(find_protein(d.sequence, last, 0.15) for d in known_proteins("2A peptide"))


def behind_last_2a(sequence: str, start: int, end: int) -> int:
    """Return where the protein behind the last 2A peptide of a reading frame begins; ``start`` where it has none."""
    protein = translate(sequence[start:end])
    ends = [
        last
        for d in known_proteins("2A peptide")
        for _, last, _ in find_protein(d.sequence, protein, 0.15)
    ]
    return start + 3 * max(ends, default=0)


def _is_open(sequence: str, start: int) -> bool:
    """Whether no stop codon lies in frame between the file's beginning and ``start``."""
    return "*" not in translate(sequence[start % 3 : start])


def _begins_with_2a(sequence: str, start: int) -> bool:
    """Whether a reading frame begins with a few residues of a gene's exon, which a 2A peptide joins to the CAR.

    The exon (B2M's first one) has a start codon in frame: a partner of so few residues without a name is no protein of
    its own. A frame that is open to the file's beginning has lost more of its partner.
    """
    head = translate(sequence[start : start + 3 * (MIN_SECOND + _LONGEST_2A)])
    ends = [
        found[0][0]
        for d in known_proteins("2A peptide")
        if (found := find_protein(d.sequence, head, 0.15))
    ]
    if not ends or not 0 < min(ends) < MIN_SECOND or _is_open(sequence, start):
        return False
    partner = head[: min(ends)]
    return not any(
        find_protein(d.sequence, partner, 0.15)
        for d in known_proteins("marker", "switch", "binder", "signal peptide", "tag")
    )


def is_donor(sequence: str, start: int) -> bool:
    """Whether a 2A peptide joins a reading frame to a gene's exon, as in a knock-in donor, not to another protein.

    What lies before the peptide is then closed by a stop codon of the arm, and holds no known protein in any frame. A
    frame that is open to the file's beginning has lost its partner, and a marker in another frame a base.

    Parameters
    ----------
    sequence
        The map, sense strand.
    start
        Where the CAR's reading frame begins on it.
    """
    joined = is_joined(sequence, start) and not _is_open(sequence, start)
    if not joined and not _begins_with_2a(sequence, start):
        return False
    before = sequence[max(0, start - MAX_UPSTREAM) : start]
    texts = [translate(before[frame:]) for frame in range(3)]
    words = _words()
    return not any(text[i : i + _WORD] in words for text in texts for i in range(len(text)))


@lru_cache
def _words() -> frozenset[str]:
    """Return the runs of residues that tell a marker or a switch, of which a lost base leaves pieces."""
    return frozenset(
        domain.sequence[i : i + _WORD]
        for domain in known_proteins("marker", "switch")
        for i in range(len(domain.sequence) - _WORD + 1)
    )


def begins_in_gene(sequence: str, start: int) -> int | None:
    """Return where the mRNA of a knock-in donor begins in the file, None for another map.

    The donor shows of the endogenous mRNA what it has of its exon (TRAC's first one), or the 2A peptide that joins the
    CAR to it; what lies before is an intron of the left arm.

    Parameters
    ----------
    sequence
        The map, sense strand.
    start
        Where the CAR's reading frame begins on it.
    """
    lo = max(0, start - _EXON_REACH)
    exon = parts()["TRAC_exon1"][: _TRAC_HALVES[0]]
    found = find_part(exon, sequence[lo:start], _TRAC_EDITS)
    if found:
        return lo + found[-1][0]
    if not is_donor(sequence, start):
        return None
    return max(0, start - 3 * _JOINED) if is_joined(sequence, start) else start


def setting_notes(sequence: str, start: int, promoter: bool, tail: bool = True) -> list[Note]:
    """Return what is to be said of the carrier.

    Parameters
    ----------
    sequence
        The map, sense strand.
    start
        Where the CAR's reading frame begins on it.
    promoter
        Whether a promoter or an LTR before the frame tells where the mRNA begins.
    tail
        Whether a poly(A) signal or an LTR behind it tells where the mRNA ends.
    """
    found = carriers(sequence)
    notes: list[Note] = []
    arms = [name for name in found if name in ("TRAC", "AAVS1")]
    if any(name.startswith(("Sleeping", "piggyBac")) for name in found):
        named = "Sleeping Beauty" if "Sleeping Beauty" in found else "piggyBac"
        notes.append(
            (
                "transposon",
                f"{named} transposon: the mRNA runs from the internal promoter to its poly(A) signal",
            )
        )
    if "AAV ITR" in found and not arms and promoter:
        notes.append(
            ("aav", "AAV genome (ITRs): the mRNA runs from its promoter to its poly(A) signal")
        )
    if not promoter and (arms or is_donor(sequence, start) or "AAV ITR" in found):
        gene = f"the {arms[0]} locus" if arms else "the gene it was made for"
        notes.append(
            (
                "knock_in",
                f"A knock-in donor for {gene} without a promoter of its own: the CAR is transcribed from the "
                "endogenous gene, whose first exons begin its mRNA and are not in the file. 5' reads lie in those "
                "exons and cannot tell the CAR from the gene."
                + (
                    " Use 3' libraries, whose reads lie behind the CAR."
                    if tail
                    else " No poly(A) signal lies behind the CAR: the gene's own last exon ends its mRNA, and 3' "
                    "reads in that cannot tell the CAR either."
                ),
            )
        )
    elif arms:
        notes.append(
            (
                "integration",
                f"homology arms of the {arms[0]} locus: a knock-in with a promoter of its own",
            )
        )
    return notes
