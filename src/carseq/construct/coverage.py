"""Where a library's reads fall on the CAR's mRNA, and how many of them a faulty reference would lose.

Fragments of the *intended* mRNA are simulated, and the read of each is aligned to the given reference by the rule of
:mod:`carseq.molecules`: a local alignment worth 40 matching bases. What a fault costs is the share of
fragments whose read no longer passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from carseq.construct.backbones import (
    DEFAULT,
    DEFAULT_LENTI,
    Match,
    apart,
    backbones,
    fits,
    is_lentiviral,
    likeliest,
    likely_product,
    matched,
    with_ends,
)
from carseq.construct.homology import EndogenousTranscript
from carseq.construct.introns import introns_within, joined_leader, splice_sites
from carseq.construct.model import Construct, Transcript, forms
from carseq.sequence.alignment import DECISIVE, MATCH, MIN_BASES, NATS, alignment_score

Chemistry = Literal["3p", "5p"]
CHEMISTRIES: tuple[Chemistry, ...] = ("3p", "5p")
#: Insert sizes of 10x libraries, nt: the distance of a read's far end from the primed end of its transcript
#: (10x Genomics, CG000204: libraries of 300-600 bp with adapters of some 120; inserts peak at 350 nt).
INSERT, INSERT_SD = 350.0, 100.0
#: Share of molecules primed inside the mRNA or degraded, and so anywhere on it: 10-20 % in published 3' data.
ELSEWHERE = 0.15
#: Share of a CAR's mRNA that is spliced, where no reads tell; as carseq.simulate's default. (Of 494 real molecules of
#: axi-cel 96 % are spliced, but they were amplified, which favours the shorter form.)
SPLICED = 0.6
#: R2 of 10x 3' v3; 5' libraries are read as far or farther.
READ_LENGTH = 90
#: Fragments simulated: the standard error of a share is below 0.8 of 100.
N_FRAGMENTS = 4000
_SEED = 17


@dataclass(frozen=True)
class Intended:
    """The mRNA a cell would make of the construct, as far as it can be known.

    Attributes
    ----------
    transcripts
        Full-length form first.
    offset
        Bases put before the construct's first one.
    missing
        What the given construct lacks of it: ``leader``, ``tail`` (3' end), ``unspliced`` (the form with the
        psi intron).
    assumption
        What was assumed, in words; empty if nothing is missing.
    backbone
        Name of the known vector that the missing ends were taken from, or None.
    unknown
        The ends (``leader``, ``tail``) of which cannot be told whether the file has them: more bases lie there than
        known vectors have.
    """

    transcripts: tuple[Transcript, ...]
    offset: int
    missing: tuple[str, ...]
    assumption: str
    backbone: str | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fragments:
    """Reads of simulated fragments: form of the transcript, and the read's half-open place on that form."""

    form: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]

    def distinct(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield (form, start, end, number) of every distinct read."""
        table = np.column_stack([self.form, self.start, self.end])
        rows, numbers = np.unique(table, axis=0, return_counts=True)
        for (form, start, end), n in zip(rows.tolist(), numbers.tolist(), strict=True):
            yield form, start, end, n


def _likely(construct: Construct, five: bool, three: bool) -> tuple[Match, str]:
    """Return the vector that missing ends are taken from, and in words why that one."""
    found = likeliest(construct)
    # The end that is missing must be one that the vector has more of.
    if found is not None and (
        (five and found.n_five) or (three and found.n_three) or not (five and three)
    ):
        agree = found.n_five + found.n_three
        return found, f"{found.backbone.name}, {agree} of whose bases lie around the reading frame"
    product = likely_product(construct)
    if product is not None and fits(construct, product[1]):
        name, backbone = product
        return matched(
            construct, backbone
        ), f"{backbone.name}, the vector of {name}, whose frame this is"
    lenti = is_lentiviral(construct)
    name = DEFAULT_LENTI if lenti else DEFAULT
    kind = "lentiviral" if lenti else "gamma-retroviral"
    return (
        matched(construct, backbones()[name]),
        f"{name} ({kind}); nothing in the file tells which vector it is",
    )


def _is_missing(construct: Construct, end: str) -> bool:
    one = construct.five if end == "five" else construct.three
    return construct.form in ("orf", "partial") if one is None else not one.known


def intended(construct: Construct, extent: tuple[int, int] | None = None) -> Intended:
    """Return the mRNA that the construct represents, with the ends it lacks added.

    An end is there if it is known for what it is (an R, a start of transcription, a poly(A) signal), whatever its
    length. A missing one is taken from the vector whose bases lie around the frame, else from the vector of the
    published CAR whose frame it is, else from a usual vector, and said to be so.

    Parameters
    ----------
    construct
        The construct.
    extent
        Where the CAR's coding part lies on it, out-of-frame domains included; None: its ORF.
    """
    knock_in = any(code == "knock_in" for code, _ in construct.notes)
    five = _is_missing(construct, "five") and not knock_in
    three = _is_missing(construct, "three") and not knock_in
    first, last = extent or construct.orf or (0, len(construct.sequence))
    full, offset, words, backbone = construct.sequence, 0, [], None
    unknown: tuple[str, ...] = ()
    missing: list[str] = []
    if five or three:
        match, why = _likely(construct, five, three)
        no_five, no_three = apart(construct, match)
        unknown = tuple(
            name
            for name, gone in (("leader", five and no_five), ("tail", three and no_three))
            if gone
        )
        five, three = five and not no_five, three and not no_three
        missing = [name for name, gone in (("leader", five), ("tail", three)) if gone]
    if missing:
        full, offset = with_ends(construct, match, five=five, three=three)
        backbone = match.backbone.name
        if offset == 0 and full == construct.sequence:
            missing = []
        else:
            words.append(f"the ends of {why}")
    joined = joined_leader(full)
    if joined is not None:
        vector = backbones()[backbone or DEFAULT]
        own = splice_sites(vector.five) or splice_sites(backbones()[DEFAULT].five)
        assert own is not None
        bases = vector.five if splice_sites(vector.five) else backbones()[DEFAULT].five
        full = full[:joined] + bases[own[0] : own[1]] + full[joined:]
        missing.append("unspliced")
        words.append("the psi intron put back into a second, unspliced form")
        if joined < last + offset:
            last += own[1] - own[0]
            first += own[1] - own[0] if joined <= first + offset else 0
    if not missing:
        return Intended(construct.transcripts, 0, (), "", unknown=unknown)
    introns = introns_within(construct, full, (first + offset, last + offset))
    assumed = f"Assumed: {' and '.join(words)}."
    return Intended(forms(full, introns), offset, tuple(missing), assumed, backbone, unknown)


def sample_fragments(
    transcripts: Sequence[Transcript],
    chemistry: Chemistry,
    *,
    n: int = N_FRAGMENTS,
    read_length: int = READ_LENGTH,
    spliced: float | None = None,
    seed: int = 0,
) -> Fragments:
    """Simulate the reads of ``n`` molecules.

    3': the read begins an insert before the poly(A) tail. 5': it ends an insert behind the mRNA's first base
    (and is antisense, which is of no moment here). :data:`ELSEWHERE` of them lie anywhere. ``spliced`` is the share
    of spliced molecules as reads show it; None: :data:`SPLICED`.
    """
    rng = np.random.default_rng(seed)
    share = SPLICED if spliced is None else spliced
    two = len(transcripts) > 1 and transcripts[1].name == "spliced"
    drawn = rng.random(n) < share
    form = drawn.astype(np.int64) if two else np.zeros(n, dtype=np.int64)
    length = np.array([len(t.sequence) for t in transcripts])[form]
    size = np.minimum(read_length, length)
    insert = np.clip(np.rint(rng.normal(INSERT, INSERT_SD, n)), size, length).astype(np.int64)
    start = length - insert if chemistry == "3p" else insert - size
    anywhere = (rng.random(n) * (length - size + 1)).astype(np.int64)
    start = np.where(rng.random(n) < ELSEWHERE, anywhere, start)
    return Fragments(form, start, start + size)


def expected_coverage(
    transcripts: Sequence[Transcript],
    chemistry: Chemistry,
    *,
    read_length: int = READ_LENGTH,
    spliced: float | None = None,
) -> NDArray[np.float64]:
    """Return, for each base of the full-length transcript, how many of 100 molecules have a read over it.

    Parameters
    ----------
    transcripts
        Full-length form first.
    chemistry
        ``3p`` or ``5p``.
    read_length
        Of the cDNA read, nt.
    spliced
        Share of spliced molecules as reads show it; None: a usual one.
    """
    # Drawing takes no alignments: more fragments cost nothing, and the curve is smooth.
    fragments = sample_fragments(
        transcripts, chemistry, n=20 * N_FRAGMENTS, read_length=read_length, spliced=spliced
    )
    depth = np.zeros(len(transcripts[0].sequence))
    for index, transcript in enumerate(transcripts):
        here = fragments.form == index
        steps = np.zeros(len(transcript.sequence) + 1)
        np.add.at(steps, fragments.start[here], 1)
        np.add.at(steps, fragments.end[here], -1)
        on_form = np.cumsum(steps)[:-1]
        done = 0
        for start, end in transcript.blocks:
            depth[start:end] += on_form[done : done + end - start]
            done += end - start
    return 100 * depth / len(fragments.form)


class Judge:
    """Decides whether a reference still shows that a read is the CAR's.

    Parameters
    ----------
    references
        The given transcripts of the CAR.
    rivals
        Endogenous transcripts; a read that one of them explains about as well cannot be told apart from it.
    """

    def __init__(
        self, references: Sequence[str], rivals: Sequence[EndogenousTranscript] = ()
    ) -> None:
        self.references = list(references)
        self.rivals = list(rivals)
        self._align = alignment_score
        self._match = MATCH
        self._enough = MIN_BASES * MATCH
        self._stretches = {
            r[i : i + MIN_BASES] for r in self.references for i in range(len(r) - MIN_BASES + 1)
        }
        self._decisive = DECISIVE / NATS
        self._words = {
            rival.sequence[i : i + _SEED]
            for rival in self.rivals
            for i in range(len(rival.sequence) - _SEED + 1)
        }

    def _score(self, read: str, reference: str) -> int:
        if read in reference:
            return len(read) * self._match
        return self._align(read, reference)

    def car(self, read: str) -> int:
        """Return the alignment score of a read with the reference."""
        if any(read in reference for reference in self.references):
            return len(read) * self._match
        return max((self._score(read, r) for r in self.references), default=0)

    def is_found(self, read: str) -> bool:
        """Whether the reference explains 40 bases of the read."""
        # A stretch of 40 matching bases is enough by itself: no alignment is needed.
        for i in range(len(read) - MIN_BASES + 1):
            if read[i : i + MIN_BASES] in self._stretches:
                return True
        return self.car(read) >= self._enough

    def rival(self, read: str) -> str:
        """Return the gene that explains the read so well that it cannot be told apart from the CAR's, or ``""``."""
        if not any(read[i : i + _SEED] in self._words for i in range(0, len(read) - _SEED + 1, 8)):
            return ""
        own = self.car(read)
        limit = own - self._decisive
        if own == len(read) * self._match:
            # One mismatch costs more than is decisive: a rival must have all but the outermost bases exactly.
            most = int(self._decisive / self._match)
            core = read[most : len(read) - most]
            near = [r for r in self.rivals if core in r.sequence]
            for spared in range(most + 1):
                pieces = [read[i : len(read) - spared + i] for i in range(spared + 1)]
                for one in near:
                    if any(piece in one.sequence for piece in pieces):
                        return one.gene
            return ""
        scores = {r.gene: self._score(read, r.sequence) for r in self.rivals}
        gene = max(scores, key=lambda g: scores[g])
        return gene if scores[gene] > limit else ""


def share_lost(
    truth: Sequence[Transcript],
    references: Sequence[str],
    chemistry: Chemistry,
    *,
    read_length: int = READ_LENGTH,
    spliced: float | None = None,
) -> float:
    """Return how many of 100 molecules of the true transcripts the references given would not show.

    Parameters
    ----------
    truth
        The transcripts molecules come from.
    references
        The sequences reads are compared with.
    chemistry
        ``3p`` or ``5p``.
    read_length
        Of the cDNA read, nt.
    """
    judge = Judge(references)
    fragments = sample_fragments(truth, chemistry, read_length=read_length, spliced=spliced)
    lost = sum(
        n
        for form, start, end, n in fragments.distinct()
        if not judge.is_found(truth[form].sequence[start:end])
    )
    return 100 * lost / len(fragments.form)


def share_shared(
    truth: Sequence[Transcript],
    rivals: Sequence[EndogenousTranscript],
    chemistry: Chemistry,
    *,
    read_length: int = READ_LENGTH,
    spliced: float | None = None,
) -> tuple[float, list[str]]:
    """Return how many of 100 molecules cannot be told apart from an endogenous gene's, and those genes."""
    judge = Judge([t.sequence for t in truth], rivals)
    fragments = sample_fragments(truth, chemistry, read_length=read_length, spliced=spliced)
    found: dict[str, int] = {}
    for form, start, end, n in fragments.distinct():
        gene = judge.rival(truth[form].sequence[start:end])
        if gene:
            found[gene] = found.get(gene, 0) + n
    genes = sorted(found, key=lambda g: -found[g])
    return 100 * sum(found.values()) / len(fragments.form), genes
