"""Known sequences (vector parts, promoters, CAR domains) and the search for them by identity."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import edlib

from carseq.data import path as data_path

#: Largest share of edits at which a stretch of DNA still counts as a known part. R, U5 and U3 of MSCV, MP71,
#: SFG and MSGV1 differ from MoMuLV's by up to 18 %; each family has parts of its own, so that 15 % leaves room
#: for a strain and none for chance (68 nt or more).
MAX_PART_EDITS = 0.15
#: Length of the exact stretch that two proteins must share to be compared at all. A domain of 40 residues or
#: more with 15 % edits keeps one by the pigeonhole principle.
_SEED, _SEEDED = 5, 40


class KnownDomain(NamedTuple):
    """A known domain: its name, kind, alphabet (protein or dna), sequence and source."""

    name: str
    kind: str
    alphabet: str
    sequence: str
    source: str


@lru_cache
def sequences(file: str) -> dict[str, str]:
    """Return the sequences of a FASTA file of ``carseq/data/sequences``, upper case, by name.

    Examples
    --------
    >>> len(sequences("parts.fa")["MoMuLV_R"])
    68
    """
    found: dict[str, list[str]] = {}
    name = ""
    for line in data_path(f"sequences/{file}").read_text(encoding="utf-8").splitlines():
        if line.startswith(">"):
            name = line[1:].split()[0]
            found[name] = []
        elif name:
            found[name].append(line.strip().upper())
    return {key: "".join(lines) for key, lines in found.items()}


def parts() -> dict[str, str]:
    """Return the vector parts that come with carseq, by name."""
    return sequences("parts.fa")


@lru_cache
def known() -> tuple[KnownDomain, ...]:
    """Return the known domains of ``domains.tsv`` in order, with the sequence of each part filled in."""
    text = data_path("sequences/domains.tsv").read_text(encoding="utf-8")
    found = []
    for line in text.splitlines()[1:]:
        name, kind, alphabet, sequence, source = line.split("\t")
        if sequence.startswith("@"):
            sequence = parts()[sequence[1:]]
        found.append(KnownDomain(name, kind, alphabet, sequence, source))
    return tuple(found)


@lru_cache
def known_proteins(*kinds: str) -> tuple[KnownDomain, ...]:
    """Return the known protein domains of the kinds given (all of them if none is given)."""
    return tuple(d for d in known() if d.alphabet == "protein" and (not kinds or d.kind in kinds))


def known_domains():  # type: ignore[no-untyped-def]
    """Return the known domains as a table: name, kind, alphabet, sequence, source."""
    import pandas as pd

    return pd.DataFrame(known(), columns=list(KnownDomain._fields))


@lru_cache(maxsize=512)
def _seeds(protein: str) -> frozenset[str]:
    return frozenset(protein[i : i + _SEED] for i in range(len(protein) - _SEED + 1))


def find_part(
    part: str, sequence: str, max_edits: float = MAX_PART_EDITS
) -> list[tuple[int, int, float]]:
    """Return every place of ``part`` in ``sequence`` as (start, end, identity), in order, not overlapping.

    Uses edlib's infix alignment: the whole part anywhere in the sequence, edits counted.

    Parameters
    ----------
    part
        The known sequence, DNA or protein.
    sequence
        Where it is looked for.
    max_edits
        Largest number of edits, as a fraction of the part's length.

    Examples
    --------
    >>> find_part("ACGTACGT", "TTTTACGTACGTTTTT")
    [(4, 12, 1.0)]
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


class Site(NamedTuple):
    """A place inside a known sequence, found by its surroundings.

    Attributes
    ----------
    places
        Where the wanted places of the known sequence lie.
    identity
        1 less the edits of the whole, as a share of its length.
    edits
        Edits before the first place, between the places, and behind the last one.
    """

    places: tuple[int, ...]
    identity: float
    edits: tuple[int, ...]


_STEPS = re.compile(r"(\d+)([=XID])")


def find_sites(part: str, at: Sequence[int], sequence: str, max_edits: float) -> list[Site]:
    """Return where places inside a known sequence lie, wherever the whole of it is found.

    A short part (a splice site, an R) loses too much to chance where a vector differs by 15 % from the known ones: with
    its surroundings it is found, and the alignment tells its place.

    Parameters
    ----------
    part
        The known sequence with its surroundings.
    at
        Places in it, ascending, 0 to its length.
    sequence
        Where it is looked for.
    max_edits
        Largest number of edits, as a fraction of the part's length.

    Examples
    --------
    >>> find_sites("ACGTACGTTTGG", [8], "CCCCACGTACGTTGGCCCC", 0.1)
    [Site(places=(12,), identity=0.9166666666666666, edits=(0, 1))]
    """
    found = []
    for start, end, identity in find_part(part, sequence, max_edits):
        path = edlib.align(part, sequence[start:end], mode="NW", task="path")["cigar"]
        places: list[int] = []
        edits = [0] * (len(at) + 1)
        query, target = 0, start
        for number, step in _STEPS.findall(path):
            for _ in range(int(number)):
                while len(places) < len(at) and query >= at[len(places)]:
                    places.append(target)
                edits[len(places)] += step != "="
                query += step != "D"
                target += step != "I"
        places += [target] * (len(at) - len(places))
        found.append(Site(tuple(places), identity, tuple(edits)))
    return found


def find_protein(part: str, protein: str, max_edits: float) -> list[tuple[int, int, float]]:
    """Return what :func:`find_part` finds of a protein domain, looking for a shared stretch first."""
    if len(part) >= _SEEDED and max_edits <= 0.15 and not _seeds(part) & _seeds(protein):
        return []
    return find_part(part, protein, max_edits)
