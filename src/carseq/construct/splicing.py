"""How much of a CAR's mRNA is spliced, counted in reads across the donor."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import edlib

from carseq.construct.coding import reverse_complement
from carseq.construct.extend import Read
from carseq.construct.model import Construct

#: Bases on either side of a junction that a read must show, and the edits allowed in them.
_SIDE, _EDITS = 20, 3
#: Molecules that must show the place before their share is used.
MIN_MOLECULES = 20


@dataclass(frozen=True)
class Splicing:
    """Molecules that show the first intron joined, and molecules that show it present."""

    n_spliced: int
    n_unspliced: int

    @property
    def share(self) -> float | None:
        """Share spliced (0-1); None where fewer than :data:`MIN_MOLECULES` show the place."""
        n = self.n_spliced + self.n_unspliced
        return self.n_spliced / n if n >= MIN_MOLECULES else None


def _edits(site: str, bases: str) -> int:
    hit = edlib.align(site, bases, mode="HW", task="distance", k=_EDITS)
    found = int(hit["editDistance"])
    return found if found >= 0 else _EDITS + 1


def count_splicing(construct: Construct, reads: Iterable[Read]) -> Splicing | None:
    """Count the molecules that show the first intron joined or present; None for a construct without one.

    Parameters
    ----------
    construct
        The construct.
    reads
        Reads, either strand. Those that do not cross the donor are passed over.
    """
    if len(construct.transcripts) < 2 or construct.transcripts[1].name != "spliced":
        return None
    blocks = construct.transcripts[1].blocks
    cut, join = blocks[0][1], blocks[1][0]
    full = construct.sequence
    before = full[max(0, cut - _SIDE) : cut]
    joined = before + full[join : join + _SIDE]
    present = before + full[cut : cut + _SIDE]
    votes: dict[str, list[int]] = {}
    for read in reads:
        for bases in (read.sequence, reverse_complement(read.sequence)):
            spliced, whole = _edits(joined, bases), _edits(present, bases)
            if min(spliced, whole) > _EDITS or spliced == whole:
                continue
            votes.setdefault(read.molecule, [0, 0])[int(whole < spliced)] += 1
            break
    n_spliced = sum(a > b for a, b in votes.values())
    return Splicing(n_spliced, sum(b > a for a, b in votes.values()))


def splicing_of_bam(
    construct: Construct, bam: str | Path, *, barcode_tag: str = "CB", umi_tag: str = "UB"
) -> Splicing | None:
    """Count the splicing in the reads on the CAR's contig; None where there is no intron or no such contig."""
    from carseq.construct.extend import reads_on

    return count_splicing(construct, reads_on(bam, construct.name, barcode_tag, umi_tag))
