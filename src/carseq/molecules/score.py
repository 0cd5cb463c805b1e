"""How well a read fits the CAR, and how well its best endogenous homolog, on equal terms."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import edlib
import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.construct import Construct
from carseq.construct.homology import EndogenousTranscript
from carseq.molecules.stretches import shared_stretches
from carseq.sequence.alignment import MATCH, MIN_BASES, MISMATCH, NATS, align, alignment_score
from carseq.sequence.kmers import UNKNOWN, Words, encode, words_at

#: Exact words from which ungapped alignments are extended: a stretch without one scores below 15 matches.
WORD = 15
#: A read of which more bases than this stay unexplained is aligned with gaps, unless they are the poly(A) tail.
MAX_CLIPPED, TAIL_SHARE = 12, 0.8
_PREFIX_BITS = 16


@dataclass
class Evidence:
    """What a read says: log-odds for the CAR and its best rival, and where it lies on the CAR."""

    car: float
    rival: float
    gene: str
    start: int
    end: int
    edits: int
    homologous: bool


class Scorer:
    """Scores reads against the CAR's transcripts and those of its relatives, on equal terms.

    Nearly all reads of a transcript align without gaps. Ungapped alignments are therefore extended, compiled, from
    exact words; what they leave unexplained is aligned with gaps by parasail.

    Parameters
    ----------
    construct
        The CAR.
    rivals
        Spliced transcripts of the relatives.
    homology
        Table of :func:`carseq.construct.homology`.
    late
        Where a read fits in two places equally well, as in the R of both ends of a retroviral transcript: whether
        the later is taken (3' reads) or the earlier (5').
    """

    def __init__(
        self,
        construct: Construct,
        rivals: Sequence[EndogenousTranscript],
        homology: pd.DataFrame,
        *,
        late: bool = True,
    ) -> None:
        self.construct, self.late = construct, late
        self.rivals = list(rivals)
        shared = np.zeros(len(construct.sequence), dtype=bool)
        for start, end, kind in homology[["start", "end", "class"]].itertuples(index=False):
            if kind != "car_only":
                shared[int(start) : int(end)] = True
        #: By transcript: the place of each base on the full one, and how many shared bases lie before it.
        self._full = [
            np.concatenate([np.arange(start, end) for start, end in t.blocks])
            for t in construct.transcripts
        ]
        self._shared = [np.concatenate([[0], np.cumsum(shared[full])]) for full in self._full]
        #: By gene: what the CAR shares with it.
        self.stretches = shared_stretches(construct.sequence, self.rivals)
        self.words = Words([t.sequence for t in construct.transcripts])
        self._index = _Index(
            [t.sequence for t in construct.transcripts] + [r.sequence for r in self.rivals],
            len(construct.transcripts),
            late=late,
        )
        self._cache: dict[str, Evidence | None] = {}

    def resembles_car(self, read: str) -> bool:
        """Whether a read shares enough words with the CAR, on either strand, to be worth scoring."""
        return bool(self.words.among([read])[0])

    def score(self, read: str) -> Evidence | None:
        """Score a read given on the mRNA's strand; None if the CAR does not explain it."""
        self.score_all([read])
        return self._cache[read]

    def score_all(self, reads: Iterable[str]) -> None:
        """Score reads given on the mRNA's strand, so that :meth:`score` knows them; equal reads once."""
        new = [read for read in dict.fromkeys(reads) if read not in self._cache]
        placed = self._index.place(new)
        columns = (placed[name].tolist() for name in placed.dtype.names or ())
        n_car = len(self.construct.transcripts)
        for read, car, target, read_start, read_end, start, end, edits, rival, best in zip(
            new, *columns, strict=True
        ):
            clipped = len(read) - (read_end - read_start)
            tail = read[read_end:]
            if clipped > MAX_CLIPPED and (
                read_start > MAX_CLIPPED or tail.count("A") < TAIL_SHARE * len(tail)
            ):
                self._cache[read] = self._score_gapped(read, rival)
            elif car < MIN_BASES * MATCH:
                self._cache[read] = None
            else:
                gene = self.rivals[best - n_car].gene if best >= n_car else ""
                self._cache[read] = self._evidence(
                    car * NATS, target, start, end, edits, rival * NATS, gene
                )

    def _evidence(
        self, car: float, target: int, start: int, end: int, edits: int, rival: float, gene: str
    ) -> Evidence:
        """Return the evidence of a read placed on [start, end) of a CAR transcript."""
        shared = self._shared[target][end] > self._shared[target][start]
        # A stretch shorter than the windows of the homology table is seen here alone.
        homologous = bool(shared or rival >= MIN_BASES * MATCH * NATS)
        if not homologous:
            rival, gene = 0.0, ""
        full = self._full[target]
        return Evidence(
            car, rival, gene, int(full[start]), int(full[end - 1]) + 1, edits, homologous
        )

    def _score_gapped(self, read: str, ungapped: int) -> Evidence | None:
        """Score a read by alignments with gaps; ``ungapped`` is its best score on a homolog without."""
        placed = [align(read, t.sequence) for t in self.construct.transcripts]
        target = max(range(len(placed)), key=lambda t: placed[t].score)
        best = placed[target]
        if best.score < MIN_BASES * MATCH:
            return None
        sequence = self.construct.transcripts[target].sequence
        own = read[best.read_start : best.read_end]
        edits = edlib.align(own, sequence[best.start : best.end])["editDistance"]
        rival, gene = 0, ""
        shared = self._shared[target][best.end] > self._shared[target][best.start]
        if shared or ungapped >= MIN_BASES * MATCH / 2:
            for other in self.rivals:
                explained = alignment_score(read, other.sequence)
                if explained > rival:
                    rival, gene = explained, other.gene
        return self._evidence(
            best.score * NATS, target, best.start, best.end, edits, rival * NATS, gene
        )


#: What :meth:`_Index.place` says of a read: scores in thirds of a nat; places half-open; targets -1 for none.
_PLACED = np.dtype(
    [
        ("car", "i4"),
        ("target", "i4"),
        ("read_start", "i4"),
        ("read_end", "i4"),
        ("start", "i4"),
        ("end", "i4"),
        ("edits", "i4"),
        ("rival", "i4"),
        ("best", "i4"),
    ]
)


class _Index:
    """Words of target sequences, by which reads are placed on them without gaps.

    Parameters
    ----------
    targets
        The sequences; the first ``n_car`` are the CAR's.
    n_car
        How many.
    late
        Whether the later of two places is taken.
    """

    def __init__(self, targets: Sequence[str], n_car: int, *, late: bool = True) -> None:
        self.n_car, self._late = n_car, late
        codes = [encode(t) for t in targets]
        self._bases = np.concatenate(codes)
        self._ends = np.cumsum([len(c) for c in codes])
        self._owner = np.repeat(np.arange(len(codes), dtype=np.int32), [len(c) for c in codes])
        words = words_at(self._bases, WORD)
        at = np.flatnonzero(words >= 0)
        at = at[self._owner[at] == self._owner[at + WORD - 1]]
        order = np.argsort(words[at], kind="stable")
        self._at, self._words = at[order], words[at][order]
        shift = 2 * WORD - _PREFIX_BITS
        self._first = np.searchsorted(self._words >> shift, np.arange((1 << _PREFIX_BITS) + 1))

    def place(self, reads: Sequence[str]) -> npt.NDArray[np.void]:
        """Return where reads fit best on the CAR, and how well on their best rival: one ``_PLACED`` a read."""
        result = np.zeros(len(reads), dtype=_PLACED)
        if len(reads):
            ends = np.cumsum([len(read) for read in reads])
            table = _place_all(
                encode("".join(reads)), ends, self._bases, self._ends, self._owner, self._words, self._at,
                self._first, self.n_car, self._late,
            )  # fmt: skip
            for column, name in enumerate(_PLACED.names or ()):
                result[name] = table[:, column]
        return result


@numba.njit(cache=True)
def _place_all(reads, read_ends, bases, ends, owner, words, at, first, n_car, late):  # type: ignore[no-untyped-def]
    result = np.zeros((len(read_ends), 9), dtype=np.int64)
    shift = 2 * WORD - _PREFIX_BITS
    # The last two diagonals tried of each target, so that a run of words extends one alignment once.
    tried = np.zeros((len(ends), 2), dtype=np.int64)
    stamp = np.full(len(ends), -1, dtype=np.int64)
    begin = 0
    for r in range(len(read_ends)):
        read = reads[begin : read_ends[r]]
        begin = read_ends[r]
        result[r, 1], result[r, 8] = -1, -1
        own = words_at(read, WORD)
        for i in range(len(read)):
            word = own[i]
            if word < 0:
                continue
            prefix = word >> shift
            for j in range(first[prefix], first[prefix + 1]):
                if words[j] != word:
                    continue
                diagonal = at[j] - i
                target = owner[at[j]]
                if stamp[target] != r:
                    stamp[target] = r
                    tried[target, 0], tried[target, 1] = diagonal, -(1 << 40)
                elif tried[target, 0] == diagonal or tried[target, 1] == diagonal:
                    continue
                else:
                    tried[target, 1], tried[target, 0] = tried[target, 0], diagonal
                offset = ends[target - 1] if target else 0
                low, high = max(0, offset - diagonal), min(len(read), ends[target] - diagonal)
                score, since, mismatches = 0, low, 0
                best, start, stop, edits = 0, low, low, 0
                for p in range(low, high):
                    if read[p] == UNKNOWN or bases[diagonal + p] == UNKNOWN:
                        continue
                    if read[p] == bases[diagonal + p]:
                        score += MATCH
                    else:
                        score += MISMATCH
                        mismatches += 1
                    if score <= 0:
                        score, since, mismatches = 0, p + 1, 0
                    elif score > best:
                        best, start, stop, edits = score, since, p + 1, mismatches
                if target < n_car:
                    # Targets are tried in order of the read's bases, not of theirs.
                    here = diagonal + start - offset
                    behind = target == result[r, 1] and (here > result[r, 4]) == late
                    if best > result[r, 0] or (best == result[r, 0] and best > 0 and behind):
                        result[r, 0], result[r, 1] = best, target
                        result[r, 2], result[r, 3] = start, stop
                        result[r, 4], result[r, 5] = here, here + stop - start
                        result[r, 6] = edits
                elif best > result[r, 7]:
                    result[r, 7], result[r, 8] = best, target
    return result
