"""Where a library's reads fall on the CAR's mRNA, and how many of them a faulty reference would lose.

Fragments of the *intended* mRNA are simulated, and the read of each is put to the reference at hand by the rule
:mod:`carseq.molecules` uses: a local alignment worth 40 matching bases. What a fault costs is the share of
fragments whose read no longer passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from carseq.construct.homology import EndogenousTranscript
from carseq.construct.vector import Construct, Transcript, find_part, parts
from carseq.sequence.alignment import DECISIVE, MATCH, MIN_BASES, NATS, alignment_score

Chemistry = Literal["3p", "5p"]
CHEMISTRIES: tuple[Chemistry, ...] = ("3p", "5p")
#: Inserts of 10x libraries: 350 +- 100 nt from the primed end (field measurement, as in carseq.molecules).
INSERT, INSERT_SD = 350.0, 100.0
#: Share of molecules primed inside the mRNA or degraded, and so anywhere on it: 10-20 % in published 3' data.
ELSEWHERE = 0.15
#: Share of a gamma-retroviral CAR's mRNA that is spliced; not known for HBI0101, as carseq.simulate's default.
SPLICED = 0.6
#: R2 of 10x 3' v3; 5' libraries are read as far or farther.
READ_LENGTH = 90
#: Fragments simulated: the standard error of a share is below 0.8 of 100.
N_FRAGMENTS = 4000
#: An mRNA has a 5' end of at least this many bases before the CAR, and such a 3' end behind it (a spliced EF1a
#: leader has about 40 nt; a 3' R alone 68 with a U3 before it).
MIN_LEADER, MIN_TAIL = 25, 100
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
        What the construct at hand lacks of it: ``leader``, ``tail`` (3' end), ``unspliced`` (the form with the
        psi intron).
    assumption
        What was assumed, in words; empty if nothing is missing.
    """

    transcripts: tuple[Transcript, ...]
    offset: int
    missing: tuple[str, ...]
    assumption: str


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


def leader() -> str:
    """Return the gamma-retroviral 5' end: R, U5 and the packaging signal (parts.fa)."""
    part = parts()
    return part["MoMuLV_R"] + part["MoMuLV_U5"] + part["MoMuLV_psi"]


def tail() -> str:
    """Return the gamma-retroviral 3' end: U3 and R (parts.fa)."""
    return parts()["MoMuLV_U3"] + parts()["MoMuLV_R"]


def _forms(full: str, intron: tuple[int, int] | None) -> tuple[Transcript, ...]:
    whole = ((0, len(full)),)
    if intron is None:
        return (Transcript("transcript", full, whole),)
    cut, join = intron
    return (
        Transcript("unspliced", full, whole),
        Transcript("spliced", full[:cut] + full[join:], ((0, cut), (join, len(full)))),
    )


def intended(construct: Construct, extent: tuple[int, int] | None = None) -> Intended:
    """Return the mRNA the construct stands for, with the ends it lacks put back.

    Parameters
    ----------
    construct
        The construct.
    extent
        Where the CAR's coding part lies on it, out-of-frame domains included; None: its ORF.
    """
    from carseq.construct.vector import splice_sites

    sequence = construct.sequence
    first, last = extent or construct.orf or (0, len(sequence))
    is_orf = construct.form == "orf"
    before = leader() if is_orf or first < MIN_LEADER else ""
    after = tail() if is_orf or len(sequence) - last < MIN_TAIL else ""
    missing = [name for name, bases in (("leader", before), ("tail", after)) if bases]
    full = before + sequence + after
    psi = parts()["MoMuLV_psi"]
    # The junction of the spliced form, where no base of the intron is present.
    joined = find_part(psi[32:62] + psi[1013:1043], full)
    if joined and not find_part(psi[200:400], full):
        cut = joined[0][0] + 30
        full = full[:cut] + psi[62:1013] + full[cut:]
        missing.append("unspliced")
    if not missing:
        return Intended(construct.transcripts, 0, (), "")
    intron = splice_sites(full)
    words = {
        "leader": "R, U5 and psi before it",
        "tail": "U3 and R behind it",
        "unspliced": "the psi intron put back into a second, unspliced form",
    }
    assumption = (
        "Assumed: a gamma-retroviral (MoMuLV) mRNA, with "
        + " and ".join(words[m] for m in missing)
        + "."
    )
    return Intended(_forms(full, intron), len(before), tuple(missing), assumption)


def sample_fragments(
    transcripts: Sequence[Transcript],
    chemistry: Chemistry,
    *,
    n: int = N_FRAGMENTS,
    read_length: int = READ_LENGTH,
    seed: int = 0,
) -> Fragments:
    """Simulate the reads of ``n`` molecules.

    3': the read begins an insert before the poly(A) tail. 5': it ends an insert behind the mRNA's first base
    (and is antisense, which is of no moment here). :data:`ELSEWHERE` of them lie anywhere. Of a CAR with a
    spliced form :data:`SPLICED` of the molecules are spliced.
    """
    rng = np.random.default_rng(seed)
    spliced = rng.random(n) < SPLICED
    form = spliced.astype(np.int64) if len(transcripts) > 1 else np.zeros(n, dtype=np.int64)
    length = np.array([len(t.sequence) for t in transcripts])[form]
    size = np.minimum(read_length, length)
    insert = np.clip(np.rint(rng.normal(INSERT, INSERT_SD, n)), size, length).astype(np.int64)
    start = length - insert if chemistry == "3p" else insert - size
    anywhere = (rng.random(n) * (length - size + 1)).astype(np.int64)
    start = np.where(rng.random(n) < ELSEWHERE, anywhere, start)
    return Fragments(form, start, start + size)


def expected_coverage(
    transcripts: Sequence[Transcript], chemistry: Chemistry, *, read_length: int = READ_LENGTH
) -> NDArray[np.float64]:
    """Return, for each base of the full-length transcript, how many of 100 molecules have a read over it."""
    # Drawing takes no alignments: more fragments cost nothing, and the curve is smooth.
    fragments = sample_fragments(
        transcripts, chemistry, n=20 * N_FRAGMENTS, read_length=read_length
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
    """Says of a read whether a reference would still show it to be the CAR's.

    Parameters
    ----------
    references
        The CAR's transcripts at hand.
    rivals
        Endogenous transcripts; a read one of them explains about as well cannot be told from it.
    """

    def __init__(
        self, references: Sequence[str], rivals: Sequence[EndogenousTranscript] = ()
    ) -> None:
        self.references = list(references)
        self.rivals = list(rivals)
        self._align = alignment_score
        self._match = MATCH
        self._enough = MIN_BASES * MATCH
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
        return self.car(read) >= self._enough

    def rival(self, read: str) -> str:
        """Return the gene that explains the read so well that it cannot be told from the CAR's, or ``""``."""
        if not any(read[i : i + _SEED] in self._words for i in range(0, len(read) - _SEED + 1, 8)):
            return ""
        limit = self.car(read) - self._decisive
        scores = {r.gene: self._score(read, r.sequence) for r in self.rivals}
        gene = max(scores, key=lambda g: scores[g])
        return gene if scores[gene] > limit else ""


def share_lost(
    truth: Sequence[Transcript],
    references: Sequence[str],
    chemistry: Chemistry,
    *,
    read_length: int = READ_LENGTH,
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
    fragments = sample_fragments(truth, chemistry, read_length=read_length)
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
) -> tuple[float, list[str]]:
    """Return how many of 100 molecules cannot be told from an endogenous gene's, and those genes."""
    judge = Judge([t.sequence for t in truth], rivals)
    fragments = sample_fragments(truth, chemistry, read_length=read_length)
    found: dict[str, int] = {}
    for form, start, end, n in fragments.distinct():
        gene = judge.rival(truth[form].sequence[start:end])
        if gene:
            found[gene] = found.get(gene, 0) + n
    genes = sorted(found, key=lambda g: -found[g])
    return 100 * sum(found.values()) / len(fragments.form), genes
