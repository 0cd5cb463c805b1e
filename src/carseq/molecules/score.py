"""How well a read fits the CAR, and how well its best endogenous homolog, on equal terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import edlib
import numpy as np
import pandas as pd

from carseq.construct import Construct
from carseq.construct.homology import EndogenousTranscript
from carseq.molecules.placing import PlacingIndex
from carseq.molecules.stretches import shared_stretches
from carseq.sequence.alignment import MATCH, MIN_BASES, NATS, align, alignment_score
from carseq.sequence.kmers import KmerSet

#: A read of which more bases than this stay unexplained is aligned with gaps, unless they are the poly(A) tail.
MAX_CLIPPED, TAIL_SHARE = 12, 0.8


@dataclass(frozen=True)
class ReadScore:
    """How well a read fits the CAR and its best homolog, and where it lies on the CAR.

    Attributes
    ----------
    car, homolog
        Log-odds against random bases, nats; ``homolog`` is 0 where the read lies in bases of the CAR alone.
    gene
        The best homolog's gene, empty if none.
    start, end
        Bases of the CAR's full transcript, 0-based half-open.
    edits
        Differences from the CAR.
    homologous
        Whether a homolog has to be taken into account.
    """

    car: float
    homolog: float
    gene: str
    start: int
    end: int
    edits: int
    homologous: bool


class Scorer:
    """Scores reads against the CAR's transcripts and those of its homologs, on equal terms.

    Nearly all reads of a transcript align without gaps. Ungapped alignments are therefore extended, compiled, from
    exact k-mers; reads that they leave unexplained in part are aligned with gaps by parasail.

    A scorer does not change once it is made. :class:`carseq.molecules.Target` makes it for a library.

    Parameters
    ----------
    construct
        The CAR.
    homologs
        Spliced transcripts of the homologs, and genomic windows around their exons.
    homology
        Table of :func:`carseq.construct.homology`: the bases it calls shared or junction are compared with the
        homologs too, beside those that the sequences show. None: the sequences alone.
    prefer_3p
        Where a read fits two places equally well (R stands at both ends of a retroviral mRNA): whether the place
        nearer to the 3' end is taken, as 3' reads suggest, or that nearer to the 5' end.
    """

    def __init__(
        self,
        construct: Construct,
        homologs: Sequence[EndogenousTranscript],
        homology: pd.DataFrame | None = None,
        *,
        prefer_3p: bool = True,
    ) -> None:
        self._construct, self._prefer_3p = construct, prefer_3p
        self._homologs = tuple(homologs)
        #: By gene: what the CAR shares with it.
        self.stretches = shared_stretches(construct.sequence, self._homologs)
        shared = np.zeros(len(construct.sequence), dtype=bool)
        for own in self.stretches.values():
            for stretch in own:
                shared[stretch.start : stretch.end] = True
        if homology is not None:
            for start, end, kind in homology[["start", "end", "class"]].itertuples(index=False):
                shared[int(start) : int(end)] |= kind != "car_only"
        #: By transcript: the place of each base on the full one, and how many shared bases lie before it.
        self._full = [
            np.concatenate([np.arange(start, end) for start, end in t.blocks])
            for t in construct.transcripts
        ]
        self._shared = [np.concatenate([[0], np.cumsum(shared[full])]) for full in self._full]
        self.kmers = KmerSet([t.sequence for t in construct.transcripts])
        self._index = PlacingIndex(
            [t.sequence for t in construct.transcripts] + [h.sequence for h in self._homologs],
            len(construct.transcripts),
            prefer_3p=prefer_3p,
        )
        self._cache: dict[str, ReadScore | None] = {}

    def load(self) -> None:
        """Load the compiled code, which takes longer than to score some hundred reads."""
        start = self._construct.sequence[:MIN_BASES]
        self._index.place([start])
        self.kmers.among([start])
        alignment_score(start, start)

    @property
    def construct(self) -> Construct:
        """The CAR."""
        return self._construct

    @property
    def homologs(self) -> tuple[EndogenousTranscript, ...]:
        """Transcripts and genomic windows that the CAR is compared with."""
        return self._homologs

    @property
    def prefer_3p(self) -> bool:
        """Whether, of two equal places, the one nearer to the 3' end is taken."""
        return self._prefer_3p

    def resembles_car(self, read: str) -> bool:
        """Whether a read shares enough k-mers with the CAR, on either strand, to be worth scoring."""
        return bool(self.kmers.among([read])[0])

    def score(self, read: str) -> ReadScore | None:
        """Score a read given on the mRNA's strand; None if the CAR does not explain it."""
        if read not in self._cache:
            self.score_all([read])
        return self._cache[read]

    def score_all(self, reads: Iterable[str]) -> None:
        """Score reads given on the mRNA's strand, so that :meth:`score` knows them; equal reads once."""
        new = [read for read in dict.fromkeys(reads) if read not in self._cache]
        placed = self._index.place(new)
        columns = (placed[name].tolist() for name in placed.dtype.names or ())
        n_car = len(self._construct.transcripts)
        for read, car, target, read_start, read_end, start, end, edits, homolog, best in zip(
            new, *columns, strict=True
        ):
            clipped = len(read) - (read_end - read_start)
            tail = read[read_end:]
            if clipped > MAX_CLIPPED and (
                read_start > MAX_CLIPPED or tail.count("A") < TAIL_SHARE * len(tail)
            ):
                self._cache[read] = self._score_gapped(read, homolog)
            elif car < MIN_BASES * MATCH:
                self._cache[read] = None
            else:
                gene = self._homologs[best - n_car].gene if best >= n_car else ""
                self._cache[read] = self._result(
                    car * NATS, target, start, end, edits, homolog * NATS, gene
                )

    def _result(
        self, car: float, target: int, start: int, end: int, edits: int, homolog: float, gene: str
    ) -> ReadScore:
        """Return the score of a read placed on [start, end) of a CAR transcript."""
        shared = self._shared[target][end] > self._shared[target][start]
        # A gene may explain a read in part without a long exact match.
        homologous = bool(shared or homolog >= MIN_BASES * MATCH * NATS)
        if not homologous:
            homolog, gene = 0.0, ""
        full = self._full[target]
        return ReadScore(
            car, homolog, gene, int(full[start]), int(full[end - 1]) + 1, edits, homologous
        )

    def _score_gapped(self, read: str, ungapped: int) -> ReadScore | None:
        """Score a read by alignments with gaps; ``ungapped`` is its best score on a homolog without."""
        placed = [align(read, t.sequence) for t in self._construct.transcripts]
        target = max(range(len(placed)), key=lambda t: placed[t].score)
        best = placed[target]
        if best.score < MIN_BASES * MATCH:
            return None
        sequence = self._construct.transcripts[target].sequence
        own = read[best.read_start : best.read_end]
        edits = edlib.align(own, sequence[best.start : best.end])["editDistance"]
        homolog, gene = 0, ""
        shared = self._shared[target][best.end] > self._shared[target][best.start]
        if shared or ungapped >= MIN_BASES * MATCH / 2:
            for other in self._homologs:
                explained = alignment_score(read, other.sequence)
                if explained > homolog:
                    homolog, gene = explained, other.gene
        return self._result(
            best.score * NATS, target, best.start, best.end, edits, homolog * NATS, gene
        )
