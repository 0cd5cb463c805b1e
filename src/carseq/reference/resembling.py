"""Places of the genome that resemble the CAR, whatever the annotation says of them.

A read of the CAR goes there if the CAR is not in the index, and to both if it is: the intron of an EF1alpha promoter
lies in EEF1A1, an LTR may resemble an endogenous retrovirus. An annotation of exons shows neither.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import pandas as pd
from Bio.Seq import reverse_complement

from carseq.construct.homology import EndogenousTranscript, rivals
from carseq.construct.library import relatives
from carseq.construct.model import Construct
from carseq.errors import CarseqError
from carseq.io.fasta import fasta_records
from carseq.log import get_logger
from carseq.reference.genome import (
    MAX_READ,
    Exons,
    read_annotation,
    read_transcripts,
    rival_context,
    window_name,
)
from carseq.reference.transgene import WORD as EXACT
from carseq.reference.transgene import exact_bases, exact_places, holds_car
from carseq.schema.tables import LOCI
from carseq.sequence.kmers import encode, kmers_at

log = get_logger(__name__)

#: Length of the words looked for. At 90 % identity, from which STAR places 90-nt reads reliably, three words of 150
#: bases are whole; of the 14,000 words of a CAR, 160,000 of GRCh38's 3.1 billion places hold one by chance.
WORD = 14
#: Words of one place lie at most so far apart, nt, on diagonals that differ by at most so much (indels).
_APART, _DRIFT = 100, 20
#: Bases that the words of a place span at least: two that do not overlap. By chance fewer than ten places of a human
#: genome do; a read there is scored like any other, so that a place too many costs a look and nothing else.
_SPAN = 2 * WORD
#: Bases added on either side of a place: what resembles the CAR goes on behind its last whole word.
_MORE = 50
#: Words of fewer different triplets are repeats, of which a genome is full.
_TRIPLETS = 6
#: Places kept, the longest first: a construct that shares a repeat of the genome is reported.
MAX_PLACES = 2000


@dataclass(frozen=True)
class Resembling:
    """A stretch of the genome, 0-based half-open, that resembles the CAR on one strand."""

    contig: str
    start: int
    end: int
    strand: str


def resembling_places(fasta: str | Path, sequences: Sequence[str]) -> list[Resembling]:
    """Find the places of a genome that resemble some sequences, on either strand.

    Parameters
    ----------
    fasta
        The genome.
    sequences
        Transcripts of the CAR.

    Returns
    -------
    list of Resembling
        In the order of the genome, those that touch merged; ``strand`` is that on which the place resembles the
        transcripts as they are read.
    """
    places: dict[str, dict[int, list[int]]] = {"+": defaultdict(list), "-": defaultdict(list)}
    table = np.zeros((1 << 2 * WORD) // 64, dtype=np.uint64)
    offset = 0
    for sequence in sequences:
        for strand, text in (("+", sequence), ("-", reverse_complement(sequence))):
            kmers = kmers_at(encode(text), WORD)
            for at, kmer in enumerate(kmers.tolist()):
                if kmer >= 0 and not _is_repeat(kmer):
                    places[strand][kmer].append(offset + at)
                    table[kmer >> 6] |= np.uint64(1) << np.uint64(kmer & 63)
        # Diagonals of different transcripts never meet.
        offset += 1 << 40
    found: list[Resembling] = []
    for contig, text in fasta_records(fasta):
        hits, kmers = _hits(encode(text), table)
        for strand, words in places.items():
            spans = _spans(hits.tolist(), kmers.tolist(), words)
            found += [
                Resembling(contig, max(0, a - _MORE), min(len(text), b + _MORE), strand)
                for a, b in spans
            ]
    if len(found) > MAX_PLACES:
        log.warning(
            "%d places of the genome resemble the CAR; the %d longest are looked at: it shares a repeat with the "
            "genome",
            len(found),
            MAX_PLACES,
        )
        longest = set(sorted(found, key=lambda place: place.start - place.end)[:MAX_PLACES])
        found = [place for place in found if place in longest]
    log.info("%d places of the genome resemble the CAR", len(found))
    return found


def _is_repeat(kmer: int) -> bool:
    """Return whether a word is a run of one, two or three letters."""
    return len({kmer >> 2 * i & 63 for i in range(WORD - 2)}) < _TRIPLETS


@numba.njit(cache=True)
def _hits(codes, table):  # type: ignore[no-untyped-def]
    """Return where the words of a table begin in a contig, and which they are."""
    size = 1024
    at, which = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.int64)
    n, run, kmer = 0, 0, 0
    mask = (1 << 2 * WORD) - 1
    for i in range(len(codes)):
        code = codes[i]
        if code > 3:
            run = 0
            continue
        kmer = ((kmer << 2) | int(code)) & mask
        run += 1
        if run >= WORD and (table[kmer >> 6] >> np.uint64(kmer & 63)) & np.uint64(1):
            if n == size:
                size *= 2
                at = np.concatenate((at, np.empty_like(at)))
                which = np.concatenate((which, np.empty_like(which)))
            at[n], which[n] = i - WORD + 1, kmer
            n += 1
    return at[:n], which[:n]


def _spans(
    hits: Sequence[int], kmers: Sequence[int], words: dict[int, list[int]]
) -> list[tuple[int, int]]:
    """Return the merged stretches of a contig whose words lie in the sequences' order.

    Parameters
    ----------
    hits, kmers
        Where words begin, ascending, and which they are.
    words
        Places of each word in the sequences.
    """
    # By diagonal: first and last place of the run that is open there.
    runs: dict[int, list[int]] = {}
    spans: list[tuple[int, int]] = []

    def close(run: list[int]) -> None:
        if run[1] + WORD - run[0] >= _SPAN:
            spans.append((run[0], run[1] + WORD))

    for at, kmer in zip(hits, kmers, strict=True):
        for place in words.get(kmer, ()):
            diagonal = at - place
            near = next(
                (
                    d
                    for d in (diagonal, *_around(diagonal))
                    if d in runs and at - runs[d][1] <= _APART
                ),
                None,
            )
            if near is None:
                if diagonal in runs:
                    close(runs[diagonal])
                runs[diagonal] = [at, at]
                continue
            run = runs.pop(near)
            run[1] = at
            if diagonal in runs:
                close(runs[diagonal])
            runs[diagonal] = run
    for run in runs.values():
        close(run)
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1] + _MORE:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _around(diagonal: int) -> Iterable[int]:
    for drift in range(1, _DRIFT + 1):
        yield diagonal - drift
        yield diagonal + drift


def genes_at(annotation: Iterable[Exons], places: Sequence[Resembling]) -> list[str]:
    """Return the gene, introns included, in which each place lies; by its own place (``chr6:73,521,000``) if in none.

    Of several genes one of the place's strand counts first, since RNA of another is no read of it, then the smallest.

    Parameters
    ----------
    annotation
        Of :func:`carseq.reference.genome.read_annotation`.
    places
        Of :func:`resembling_places`.
    """
    spans: dict[tuple[str, str, str], list[int]] = {}
    wanted = {place.contig for place in places}
    for exons in annotation:
        if exons.contig in wanted:
            start, end = min(exons.places[::2]), max(exons.places[1::2])
            span = spans.setdefault((exons.contig, exons.gene, exons.strand), [start, end])
            span[0], span[1] = min(span[0], start), max(span[1], end)
    by_contig: dict[str, list[tuple[int, int, str, str]]] = defaultdict(list)
    for (contig, name, strand), (start, end) in spans.items():
        by_contig[contig].append((start, end, name, strand))
    names = []
    for place in places:
        inside = [
            (strand != place.strand, end - start, name)
            for start, end, name, strand in by_contig[place.contig]
            if start < place.end and end > place.start
        ]
        names.append(min(inside)[2] if inside else f"{place.contig}:{place.start + 1}")
    return names


def windows_at(
    fasta: str | Path, places: Sequence[Resembling], genes: Sequence[str], *, flank: int = MAX_READ
) -> tuple[list[EndogenousTranscript], pd.DataFrame]:
    """Return the sequences of places and what is around them, and the places as loci.

    Parameters
    ----------
    fasta
        The genome.
    places, genes
        Of :func:`resembling_places` and :func:`genes_at`.
    flank
        Bases kept on either side, nt.

    Returns
    -------
    windows : list of EndogenousTranscript
        On the strand on which they resemble the CAR.
    loci : pandas.DataFrame
        Schema ``LOCI``.
    """
    by_contig: dict[str, list[tuple[Resembling, str]]] = defaultdict(list)
    for place, gene in zip(places, genes, strict=True):
        by_contig[place.contig].append((place, gene))
    windows = []
    for contig, sequence in fasta_records(fasta):
        for place, gene in by_contig.get(contig, ()):
            first, last = max(0, place.start - flank), place.end + flank
            window = sequence[first:last]
            if place.strand == "-":
                window = reverse_complement(window)
            name = window_name(contig, first, last, place.strand)
            windows.append(EndogenousTranscript(gene, name, window))
    rows = [(p.contig, p.start, p.end, gene) for p, gene in zip(places, genes, strict=True)]
    return windows, LOCI.conform(pd.DataFrame(rows, columns=list(LOCI.columns)))


def find_homologs(
    construct: Construct, fasta: str | Path, gtf: str | Path, *, own: str | None = None
) -> tuple[list[EndogenousTranscript], pd.DataFrame]:
    """Return what of a genome the CAR's reads are compared with, and where such reads may have been placed.

    Parameters
    ----------
    construct
        The CAR.
    fasta, gtf
        Genome and annotation.
    own
        Name of a contig that is the CAR's, if the genome may have it, as the reference of a BAM has; it is passed over.

    Returns
    -------
    homologs : list of EndogenousTranscript
        Transcripts that share sequence with the CAR, windows around the exons of their genes, and windows around other
        places that resemble it.
    loci : pandas.DataFrame
        Schema ``LOCI``: these exons and places.

    Raises
    ------
    CarseqError
        If one place of the genome holds most of the CAR: it is in it already, without an annotation.
    """
    annotation = read_annotation(gtf)
    found = rivals(construct.sequence, read_transcripts(fasta, annotation))
    lacking = lacking_relatives(construct, found)
    found += lacking
    places = [
        place
        for place in resembling_places(fasta, [t.sequence for t in construct.transcripts])
        if place.contig != own
    ]
    at_places = genes_at(annotation, places)
    at_places = _of_relatives(fasta, places, at_places, lacking)
    windows, loci = rival_context(fasta, annotation, {h.gene for h in found} | set(at_places))
    known = pd.concat([loci, LOCI.empty()]).groupby("contig")
    exons = {
        str(contig): list(zip(rows["start"], rows["end"], strict=True)) for contig, rows in known
    }
    # What lies in an exon has its window already.
    new = [
        (place, gene)
        for place, gene in zip(places, at_places, strict=True)
        if not any(a <= place.start and place.end <= b for a, b in exons.get(place.contig, ()))
    ]
    beside, further = windows_at(fasta, [place for place, _ in new], [gene for _, gene in new])
    _raise_if_held(construct, beside)
    return [*found, *windows, *beside], pd.concat([loci, further], ignore_index=True)


def lacking_relatives(
    construct: Construct, found: Iterable[EndogenousTranscript]
) -> list[EndogenousTranscript]:
    """Return the mRNAs that come with carseq and share bases with the CAR that no transcript of the annotation holds.

    Of an annotation without CD247 the exons would still be found, as places of the genome that resemble the CAR, but
    not how they are joined: the gene's own reads across two exons would be the CAR's alone.

    Parameters
    ----------
    construct
        The CAR.
    found
        Transcripts of the annotation that resemble it.
    """
    car = construct.sequence.upper()
    places = exact_places(car)
    held = np.zeros(len(car), dtype=bool)
    for transcript in found:
        held |= exact_bases(places, len(car), transcript.sequence.upper())[0]
    lacking = []
    for gene, sequence in relatives().items():
        shared, _ = exact_bases(places, len(car), sequence)
        if shared.sum() > 2 * (shared & held).sum():
            lacking.append(EndogenousTranscript(gene, f"{gene}_of_RefSeq", sequence))
    if lacking:
        log.warning(
            "the annotation lacks %s, of which the CAR has parts as the gene codes them: RefSeq's mRNA stands in",
            ", ".join(t.gene for t in lacking),
        )
    return lacking


def _of_relatives(
    fasta: str | Path,
    places: Sequence[Resembling],
    genes: list[str],
    lacking: Sequence[EndogenousTranscript],
) -> list[str]:
    """Return the genes of places, where those in no gene of the annotation may be exons of what it lacks."""
    if not lacking:
        return genes
    windows, _ = windows_at(fasta, places, genes, flank=0)
    # Windows come in the order of the genome, as the places do.
    known = {t.gene: exact_places(t.sequence) for t in lacking}
    named = []
    for window, gene in zip(windows, genes, strict=True):
        own = gene
        if gene.rpartition(":")[0] == window.transcript.rpartition(":")[0]:
            for relative, words in known.items():
                text = window.sequence.upper()
                if any(text[i : i + EXACT] in words for i in range(len(text) - EXACT + 1)):
                    own = relative
        named.append(own)
    return named


def _raise_if_held(construct: Construct, windows: Iterable[EndogenousTranscript]) -> None:
    """Raise if a place of the genome holds most of the CAR, which no natural one does."""
    car = construct.sequence.upper()
    known = exact_places(car)
    for window in windows:
        held, _ = exact_bases(known, len(car), window.sequence.upper())
        if holds_car(construct, held):
            raise CarseqError(
                f"the genome holds the CAR already, at {window.transcript}",
                f"{int(held.sum()):,} of the {len(car):,} bases of {construct.name} stand there",
                "give the genome without it, the one that the custom reference was made from",
            )
