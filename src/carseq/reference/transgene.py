"""Whether a genome holds the CAR already: a reference that was made for this very job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from carseq.construct import Construct
from carseq.construct.coding import reverse_complement
from carseq.construct.genes import GENES
from carseq.construct.homology import EndogenousTranscript, rivals
from carseq.construct.reading import MAX_LENGTH
from carseq.errors import CarseqError
from carseq.io.fasta import contigs, fasta_records
from carseq.reference.genome import (
    doubts_of,
    raise_if_named,
    read_annotation,
    read_transcripts,
    tally_bases,
)

#: Length of the exact matches that are counted, nt: none of 31 is shared by chance.
WORD = 31
#: Bases of the CAR that a gene must hold exactly to be taken for it.
SAME_BASES = 200
#: Share of a gene's longest transcript that is the CAR's where the gene is the CAR, or a part of it. A natural gene
#: that gave the CAR a domain (CD28, CD247, EGFR) has bases of its own around it.
OF_GENE = 0.8
#: Share of the CAR's transcript that few natural genes hold. Where the file has the frame alone, and the binder is a
#: gene's own ectodomain (CD4, NKG2D, desmoglein), that gene does: then domains of two genes must be joined in it, or
#: nearly all be there.
OF_CAR, NEARLY_ALL = 0.6, 0.9
#: Parts of a vector that no human gene has, by their names among the domains.
_VIRAL = ("U5", "U3", "PSI", "WPRE", "LTR", "LEADER")


def check_car_is_new(
    fasta: str | Path,
    gtf: str | Path,
    construct: Construct,
    transcripts: Iterable[EndogenousTranscript] | None = None,
    *,
    doubts: list[str] | None = None,
) -> None:
    """Check that genome and annotation do not hold the CAR, under its own name or another.

    If the CAR's own contig were taken for a human homolog, every CAR molecule would be a shared one.

    Parameters
    ----------
    fasta, gtf
        Genome and annotation.
    construct
        The CAR.
    transcripts
        Those of the annotation, where they are read already.
    doubts
        Is filled with what makes genome and annotation doubtful, where the transcripts are read here.

    Raises
    ------
    CarseqError
        If they hold it, with the gene's name.
    """
    annotation = read_annotation(gtf)
    named = any(construct.name in (exons.gene_id, exons.gene) for exons in annotation)
    lengths = contigs(fasta)
    raise_if_named(fasta, gtf, construct.name, lengths, annotated=named)
    introns: Counter[bool] = Counter()
    bases: Counter[bool] = Counter()
    if transcripts is None:
        transcripts = read_transcripts(fasta, annotation, introns=introns)
        if doubts is not None:
            transcripts = tally_bases(transcripts, bases)
    raise_if_car(construct, chain(transcripts, small_contigs(fasta, lengths)))
    if doubts is not None:
        doubts += doubts_of(annotation, lengths, introns, bases)


def small_contigs(fasta: str | Path, lengths: Mapping[str, int]) -> Iterator[EndogenousTranscript]:
    """Yield both strands of the contigs that are short enough to be a vector, whether a gene is annotated there or not.

    A CAR's contig without an annotation, or with one of the other strand, would take the CAR's reads all the same.

    Parameters
    ----------
    fasta
        Genome.
    lengths
        Of its contigs, nt.
    """
    if not any(length <= MAX_LENGTH for length in lengths.values()):
        return
    for name, sequence in fasta_records(fasta):
        if WORD <= len(sequence) <= MAX_LENGTH:
            yield EndogenousTranscript(name, f"{name}(+)", sequence)
            yield EndogenousTranscript(name, f"{name}(-)", reverse_complement(sequence))


def raise_if_car(construct: Construct, transcripts: Iterable[EndogenousTranscript]) -> None:
    """Raise if one of a genome's transcripts is the CAR itself, under whatever name.

    Raises
    ------
    CarseqError
        With the gene's name.
    """
    raise_if_rival_is_car(construct, rivals(construct.sequence, transcripts))


def raise_if_rival_is_car(construct: Construct, found: Iterable[EndogenousTranscript]) -> None:
    """Raise as :func:`raise_if_car`, for transcripts that are known to resemble the CAR.

    Raises
    ------
    CarseqError
        If one of them is the CAR itself.
    """
    if same := same_as_car(construct, found):
        gene, bases = same
        raise CarseqError(
            f"the genome holds the CAR already, under the name {gene}",
            f"{bases:,} of the {len(construct.sequence):,} bases of {construct.name} are in it, in an order that no "
            "human gene has",
            f"give genome and annotation without {gene}, those that the custom reference was made from; for a BAM that "
            f"was aligned to the custom one, write `construct.name: {gene}` as well",
        )


def same_as_car(
    construct: Construct, transcripts: Iterable[EndogenousTranscript]
) -> tuple[str, int] | None:
    """Find a gene that is the CAR itself, or a part of it that no human gene has.

    Parameters
    ----------
    construct
        The CAR.
    transcripts
        Transcripts that resemble it (:func:`carseq.construct.rivals`).

    Returns
    -------
    tuple of (str, int) or None
        The gene, and how many bases of the CAR it holds exactly. It counts if nearly all of its longest transcript is
        the CAR's; if it holds most of the CAR, joined as no gene has it; if it holds a linker of the binder with what
        stands on both sides; or if it holds much of the vector's own parts (LTR, packaging signal, WPRE).
    """
    car = construct.sequence.upper()
    places = exact_places(car)
    held: dict[str, npt.NDArray[np.bool_]] = {}
    longest: dict[str, tuple[int, int]] = {}
    for transcript in transcripts:
        text = transcript.sequence.upper()
        shared, of_own = exact_bases(places, len(car), text)
        held[transcript.gene] = held.get(transcript.gene, np.zeros(len(car), dtype=bool)) | shared
        longest[transcript.gene] = max(
            longest.get(transcript.gene, (0, 0)), (len(text), int(of_own.sum()))
        )
    joints, viral = _own_parts(construct)
    for gene, of_car in sorted(held.items(), key=lambda item: -int(item[1].sum())):
        bases = int(of_car.sum())
        if bases < min(SAME_BASES, OF_GENE * len(car)):
            continue
        length, own = longest[gene]
        if (
            own >= OF_GENE * length
            or (len(car) >= 3 * SAME_BASES and holds_car(construct, of_car))
            or any(of_car[a:b].all() for a, b in joints)
            or int(of_car[viral].sum()) >= SAME_BASES
        ):
            return gene, bases
    return None


def holds_car(construct: Construct, of_car: npt.NDArray[np.bool_]) -> bool:
    """Return whether most of the CAR is held, and joined as no natural gene has it.

    Parameters
    ----------
    construct
        The CAR.
    of_car
        Which of its bases are held exactly.
    """
    share = float(of_car.mean())
    return share >= NEARLY_ALL or (
        share >= OF_CAR and any(of_car[a:b].all() for a, b in _borders(construct))
    )


def exact_places(car: str) -> dict[str, list[int]]:
    """Return where each word of the CAR, in upper case, begins."""
    places: dict[str, list[int]] = {}
    for i in range(len(car) - WORD + 1):
        places.setdefault(car[i : i + WORD], []).append(i)
    return places


def exact_bases(
    places: dict[str, list[int]], length: int, text: str
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return which bases of the CAR a text holds in exact matches of a word or more, and which of its own they are.

    Parameters
    ----------
    places
        Of :func:`exact_places`.
    length
        Bases of the CAR.
    text
        Upper case.
    """
    of_car, of_own = np.zeros(length, dtype=bool), np.zeros(len(text), dtype=bool)
    for i in range(len(text) - WORD + 1):
        for at in places.get(text[i : i + WORD], ()):
            of_car[at : at + WORD] = True
            of_own[i : i + WORD] = True
    return of_car, of_own


def _borders(construct: Construct) -> list[tuple[int, int]]:
    """Return the places where a domain of one human gene meets one of another, or a 2A peptide or linker."""
    rows = construct.domain_rows
    known = [
        (r, GENES.get(r.name, r.kind if r.kind in ("linker", "2A peptide") else "")) for r in rows
    ]
    n, half = len(construct.sequence), WORD // 2
    return [
        (max(0, two.start - half), min(n, two.start + half))
        for (one, gene), (two, other) in pairwise(known)
        if gene and other and gene != other and one.end == two.start
    ]


def _own_parts(construct: Construct) -> tuple[list[tuple[int, int]], npt.NDArray[np.bool_]]:
    """Return the places of linkers with what joins them, and which bases are of the vector's own parts."""
    n = len(construct.sequence)
    joints = []
    viral = np.zeros(n, dtype=bool)
    for name, start, end in construct.domains[["name", "start", "end"]].itertuples(index=False):
        if "linker" in str(name).lower():
            joints.append((max(0, int(start) - WORD), min(n, int(end) + WORD)))
        if any(word in str(name).upper().split() or word in str(name).upper() for word in _VIRAL):
            viral[int(start) : int(end)] = True
    return joints, viral
