"""Known sequences (vector parts, promoters, CAR domains) and where they lie in another."""

from __future__ import annotations

from functools import lru_cache

import edlib
import pandas as pd
from Bio import SeqIO

from carseq.data import path as data_path

#: Largest share of edits at which a stretch still counts as a known part. MSCV, SFG and MSGV differ from
#: MoMuLV by a few per cent in R; 12 % leaves room for them and none for chance (68 nt or more).
MAX_PART_EDITS = 0.12


@lru_cache
def sequences(file: str) -> dict[str, str]:
    """Return the sequences of a FASTA file of ``carseq/data/sequences``, upper case, by name."""
    return {r.id: str(r.seq).upper() for r in SeqIO.parse(data_path(f"sequences/{file}"), "fasta")}


def parts() -> dict[str, str]:
    """Return the vector parts that come with carseq, by name."""
    return sequences("parts.fa")


@lru_cache
def known_domains() -> pd.DataFrame:
    """Return the known domains: name, kind, alphabet (protein, dna), sequence, source."""
    table = pd.read_csv(data_path("sequences/domains.tsv"), sep="\t", dtype=str)
    table["sequence"] = [parts()[s[1:]] if s.startswith("@") else s for s in table["sequence"]]
    return table


def find_part(
    part: str, sequence: str, max_edits: float = MAX_PART_EDITS
) -> list[tuple[int, int, float]]:
    """Return every place of ``part`` in ``sequence`` as (start, end, identity), in order, not overlapping.

    Uses edlib's infix alignment: the whole part anywhere in the sequence, edits counted.
    """
    found: list[tuple[int, int, float]] = []
    stack = [(0, len(sequence))]
    limit = int(max_edits * len(part))
    while stack:
        lo, hi = stack.pop()
        if hi - lo < len(part) - limit:
            continue
        hit = edlib.align(part, sequence[lo:hi], mode="HW", task="locations", k=limit)
        if hit["editDistance"] < 0:
            continue
        start, end = hit["locations"][0]
        found.append((lo + start, lo + end + 1, 1 - hit["editDistance"] / len(part)))
        stack += [(lo, lo + start), (lo + end + 1, hi)]
    return sorted(found)
