"""Stretches that the CAR shares with a homolog: where a read cannot tell the two apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from carseq.construct.homology import EndogenousTranscript
from carseq.sequence.alignment import MIN_BASES
from carseq.sequence.kmers import UNKNOWN, encode, kmers_at

#: Length of the exact matches from which a shared stretch is built.
_SEED = 15
#: Two matches on one diagonal belong to one stretch if at most this many bases lie between them (a few substitutions).
_MAX_GAP = 20


@dataclass(frozen=True)
class Stretch:
    """Bases [start, end) of the CAR's full transcript that are also in transcripts of a gene."""

    gene: str
    start: int
    end: int


def shared_stretches(
    car: str, homologs: Iterable[EndogenousTranscript], *, min_bases: int = MIN_BASES
) -> dict[str, list[Stretch]]:
    """Return the stretches that the CAR shares with each gene, by gene and in order.

    They are built from exact matches between the two sequences, so they depend neither on the length of the reads
    nor on a window.

    Parameters
    ----------
    car
        The CAR's full-length transcript.
    homologs
        Endogenous transcripts, sense strand.
    min_bases
        Shorter stretches are left out: a read explained over fewer bases is not scored, nt.
    """
    at: dict[int, list[int]] = defaultdict(list)
    for place, kmer in enumerate(kmers_at(encode(car), _SEED).tolist()):
        if kmer >= 0:
            at[kmer].append(place)
    runs: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for transcript in homologs:
        runs[transcript.gene] += _blocks(at, transcript.sequence, min_bases)
    found = {}
    for gene, blocks in runs.items():
        merged: list[list[int]] = []
        for start, end in sorted(blocks):
            if merged and start <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([start, end])
        if merged:
            found[gene] = [Stretch(gene, start, end) for start, end in merged]
    return found


def _blocks(at: dict[int, list[int]], sequence: str, min_bases: int) -> list[tuple[int, int]]:
    """Return the runs [start, end) on the CAR of ungapped matches with a sequence."""
    codes = encode(sequence)
    if not len(codes) or (codes == UNKNOWN).all():
        return []
    by_diagonal: dict[int, list[int]] = defaultdict(list)
    for there, kmer in enumerate(kmers_at(codes, _SEED).tolist()):
        for here in at.get(kmer, ()):
            by_diagonal[here - there].append(here)
    blocks = []
    for places in by_diagonal.values():
        first = last = places[0]
        for place in places[1:]:
            if place - last - _SEED > _MAX_GAP:
                blocks.append((first, last + _SEED))
                first = place
            last = place
        blocks.append((first, last + _SEED))
    return [(start, end) for start, end in blocks if end - start >= min_bases]
