"""Reads placed on the CAR's transcripts and its homologs' without gaps; compiled."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt

from carseq.sequence.alignment import MATCH, MISMATCH
from carseq.sequence.kmers import UNKNOWN, encode, kmers_at

#: Exact k-mers from which ungapped alignments are extended: a stretch without one scores below 15 matches.
KMER = 15
_PREFIX_BITS = 16

#: Columns of :meth:`PlacingIndex.place`: scores in thirds of a nat, half-open places; -1 for no target.
PLACED = np.dtype(
    [
        ("car", "i4"),
        ("target", "i4"),
        ("read_start", "i4"),
        ("read_end", "i4"),
        ("start", "i4"),
        ("end", "i4"),
        ("edits", "i4"),
        ("homolog", "i4"),
        ("best", "i4"),
    ]
)


class PlacingIndex:
    """k-mers of target sequences, by which reads are placed on them without gaps.

    Parameters
    ----------
    targets
        The sequences; the first ``n_car`` are the CAR's.
    n_car
        How many.
    prefer_3p
        Whether, of two places on one transcript that fit equally well, the one nearer to the 3' end is taken.
    """

    def __init__(self, targets: Sequence[str], n_car: int, *, prefer_3p: bool) -> None:
        self.n_car, self._prefer_3p = n_car, prefer_3p
        codes = [encode(t) for t in targets]
        self._bases = np.concatenate(codes)
        self._ends = np.cumsum([len(c) for c in codes])
        self._owner = np.repeat(np.arange(len(codes), dtype=np.int32), [len(c) for c in codes])
        kmers = kmers_at(self._bases, KMER)
        at = np.flatnonzero(kmers >= 0)
        at = at[self._owner[at] == self._owner[at + KMER - 1]]
        order = np.argsort(kmers[at], kind="stable")
        self._at, self._kmers = at[order], kmers[at][order]
        shift = 2 * KMER - _PREFIX_BITS
        self._first = np.searchsorted(self._kmers >> shift, np.arange((1 << _PREFIX_BITS) + 1))

    def place(self, reads: Sequence[str]) -> npt.NDArray[np.void]:
        """Return where each read fits best on the CAR, and how well on its best homolog, as ``PLACED``."""
        result = np.zeros(len(reads), dtype=PLACED)
        if len(reads):
            ends = np.cumsum([len(read) for read in reads])
            table = _place_all(
                encode("".join(reads)), ends, self._bases, self._ends, self._owner, self._kmers, self._at,
                self._first, self.n_car, self._prefer_3p,
            )  # fmt: skip
            for column, name in enumerate(PLACED.names or ()):
                result[name] = table[:, column]
        return result


@numba.njit(cache=True)
def _place_all(reads, read_ends, bases, ends, owner, kmers, at, first, n_car, prefer_3p):  # type: ignore[no-untyped-def]
    result = np.zeros((len(read_ends), 9), dtype=np.int64)
    shift = 2 * KMER - _PREFIX_BITS
    # The last two diagonals tried of each target, so that a run of kmers extends one alignment once.
    tried = np.zeros((len(ends), 2), dtype=np.int64)
    stamp = np.full(len(ends), -1, dtype=np.int64)
    begin = 0
    for r in range(len(read_ends)):
        read = reads[begin : read_ends[r]]
        begin = read_ends[r]
        result[r, 1], result[r, 8] = -1, -1
        own = kmers_at(read, KMER)
        for i in range(len(read)):
            kmer = own[i]
            if kmer < 0:
                continue
            prefix = kmer >> shift
            for j in range(first[prefix], first[prefix + 1]):
                if kmers[j] != kmer:
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
                    behind = target == result[r, 1] and (here > result[r, 4]) == prefer_3p
                    if best > result[r, 0] or (best == result[r, 0] and best > 0 and behind):
                        result[r, 0], result[r, 1] = best, target
                        result[r, 2], result[r, 3] = start, stop
                        result[r, 4], result[r, 5] = here, here + stop - start
                        result[r, 6] = edits
                elif best > result[r, 7]:
                    result[r, 7], result[r, 8] = best, target
    return result
