"""Barcodes learnt from the reads, for kits whose list may not be shipped: those that repeat and are not errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from isal import igzip

from carseq.errors import CarseqError
from carseq.io.files import atomic
from carseq.library.presets import Preset
from carseq.log import get_logger
from carseq.schema.percent import plain_percent

log = get_logger(__name__)

Codes = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]

#: Reads that barcodes are learnt from, evenly over the files: of a library of 300 million a cell of 500 reads has 33.
READS = 20_000_000
#: Reads of a barcode kept, at least. Two errors in the barcode of a cell of 50,000 reads, at 0.1 % a base, make another
#: given one once in 400 such cells.
FEWEST = 5
#: A barcode that differs by one base from another with this many times its reads is an error of it: at 1 % a base a
#: given error takes one read in 300. Of 100,000 droplets one in 1,000 has such a neighbour by chance.
PARENT = 20
#: The same for a part of a barcode: its list is short (96 or 384), each word frequent.
PART_PARENT, PART_SHARE = 20, 0.02
#: Barcodes kept, at most: the largest.
MOST = 1_000_000
#: Rank of the barcode by which cells are looked for, how many times the median barcode's reads it must have, and the
#: reads from which the median barcode itself is a cell's.
RANK, ABOVE, CELLS = 10, 5.0, 500
#: Barcodes that hold half of the reads, at most, where they are cells, and reads from which that is known: a library's
#: 50,000 empty droplets and more share its reads almost evenly (14,000 hold half of them), 20,000 cells do not (7,000).
HALF, HALF_OF = 12_000, 1_000_000
#: Reads whose barcode is on the list that was learnt, at least (share): fewer repeat by chance alone.
MIN_SHARE = 0.4
_BATCH = 500_000
_DIGITS = np.full(256, 255, dtype=np.uint8)
_DIGITS[np.frombuffer(b"ACGT", dtype=np.uint8)] = range(4)
_LETTERS = np.frombuffer(b"ACGT", dtype=np.uint8)


@dataclass(frozen=True)
class Learnt:
    """Barcodes learnt from reads.

    Attributes
    ----------
    words
        By part of the barcode: its words, the most frequent first.
    share
        Share of the looked-at reads whose barcode is on the list.
    reads
        Reads looked at.
    """

    words: tuple[tuple[str, ...], ...]
    share: float
    reads: int

    def write(self, path: str | Path) -> None:
        """Write the list: a barcode a line; of several parts a column for each, ``-`` where one has fewer."""
        rows = max(map(len, self.words), default=0)
        columns = [[*words, *["-"] * (rows - len(words))] for words in self.words]
        text = "".join(f"{' '.join(row)}\n" for row in zip(*columns, strict=True))
        with atomic(path) as temporary:
            temporary.write_bytes(igzip.compress(text.encode(), 1, mtime=0))


def learn_barcodes(
    paths: Sequence[str | Path], preset: Preset, *, sample: str = "the sample", n: int = READS
) -> Learnt:
    """Learn the barcodes of a library from its barcode reads.

    Parameters
    ----------
    paths
        R1 of each pair.
    preset
        Where the barcode lies.
    sample
        Its name, for messages.
    n
        Reads looked at, over all files.

    Raises
    ------
    CarseqError
        If barcodes hardly repeat, or none stands out as cells do.
    """
    each = max(1000, n // len(paths))
    reads = (read for path in paths for read in _sequences(path, each))
    return learn_from(reads, preset, sample=sample)


def learn_from(reads: Iterable[str], preset: Preset, *, sample: str = "the sample") -> Learnt:
    """Learn the barcodes from the sequences of barcode reads, as :func:`learn_barcodes`."""
    codes, counts, n_reads = _counted(reads, preset)
    if len(preset.parts) == 1:
        repeated = repeated_barcodes(codes, counts, preset.barcode_length)
        order = np.argsort(-counts[repeated], kind="stable")[:MOST]
        kept, of_kept = codes[repeated][order], counts[repeated][order]
        share = float(of_kept.sum()) / max(1, n_reads)
        check_cells(of_kept, share, sample)
        bases = _bases(kept, preset.barcode_length)
        words: tuple[tuple[str, ...], ...] = (tuple(_strings(bases)),)
    else:
        bases = _bases(codes, preset.barcode_length)
        valid = np.ones(len(codes), dtype=bool)
        lists, at = [], 0
        for _, length in preset.parts:
            part = bases[:, at : at + length]
            at += length
            own, where = np.unique(_codes(part), return_inverse=True)
            weight = np.bincount(where, counts, len(own)).astype(np.int64)
            common = _common(own, weight, length)
            valid &= common[where]
            order = np.argsort(-weight[common], kind="stable")
            lists.append(tuple(_strings(_bases(own[common][order], length))))
        words = tuple(lists)
        share = float(counts[valid].sum()) / max(1, n_reads)
        cells = np.sort(counts[valid & (counts >= FEWEST)])[::-1]
        check_cells(cells, share, sample)
    log.info(
        "%s: %s barcodes learnt from %d reads, %.1f %% of which carry one",
        sample,
        " x ".join(f"{len(w):,}" for w in words),
        n_reads,
        100 * share,
    )
    return Learnt(words, share, n_reads)


def check_cells(counts: Counts, share: float, sample: str) -> None:
    """Raise if barcodes hardly repeat, or none stands out as cells do.

    Parameters
    ----------
    counts
        Reads of each barcode kept, the most first.
    share
        Share of all reads that they hold.
    sample
        Name of the sample.

    Raises
    ------
    CarseqError
        If so.
    """
    if share < MIN_SHARE or len(counts) < RANK:
        raise CarseqError(
            f"the barcodes of {sample} cannot be learnt from its reads",
            f"{plain_percent(share)} of the reads have a barcode that repeats ({len(counts):,} barcodes); "
            f"{plain_percent(MIN_SHARE)} or more are expected",
            "check that r1 is the barcode read and the chemistry the right one; else give the kit's list in "
            "`whitelist`",
        )
    large, median = int(counts[RANK - 1]), float(np.median(counts))
    held = np.cumsum(counts)
    half = int(np.searchsorted(held, held[-1] / 2)) + 1
    concentrated = held[-1] >= HALF_OF and half <= HALF
    if large < ABOVE * median and median < CELLS and not concentrated:
        raise CarseqError(
            f"{sample} shows no cells from which barcodes could be learnt",
            f"its largest barcodes ({large:,} reads in the {RANK}th) are like the median one ({median:,.0f} reads), "
            f"as in a library of empty droplets",
            "leave the sample out, or give the kit's barcode list in `whitelist`",
        )


def _sequences(path: str | Path, n: int) -> Iterator[str]:
    from carseq.library.fastq import records

    return (record.sequence for record in records(path, n))


def _counted(reads: Iterable[str], preset: Preset) -> tuple[Codes, Counts, int]:
    """Return the distinct barcodes without an N, how many reads each has, and how many were looked at."""
    codes, counts = np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    n_reads = 0
    whole = preset.barcode_length
    source = iter(reads)
    while batch := list(islice(source, _BATCH)):
        n_reads += len(batch)
        if len(preset.parts) == 1 and not preset.shifts:
            start = preset.parts[0][0] - 1
            words = [read[start : start + whole] for read in batch]
        else:
            words = [preset.barcode(read) for read in batch]
        text = "".join(word for word in words if len(word) == whole).encode()
        bases = np.frombuffer(text, dtype=np.uint8).reshape(-1, whole)
        known = (_DIGITS[bases] < 4).all(axis=1)
        found, n = np.unique(_codes(bases[known]), return_counts=True)
        merged, where = np.unique(np.concatenate([codes, found]), return_inverse=True)
        counts = np.bincount(where, np.concatenate([counts, n]), len(merged)).astype(np.int64)
        codes = merged
    return codes, counts, n_reads


def _codes(bases: npt.NDArray[np.uint8]) -> Codes:
    """Return the 2-bit codes of n words of up to 31 letters."""
    codes = np.zeros(len(bases), dtype=np.uint64)
    for column in _DIGITS[bases].T:
        codes = (codes << np.uint64(2)) | column.astype(np.uint64)
    return codes


def _bases(codes: Codes, length: int) -> npt.NDArray[np.uint8]:
    """Return the letters of 2-bit codes, n x length."""
    shifts = np.arange(2 * (length - 1), -1, -2, dtype=np.uint64)
    return np.asarray(_LETTERS[((codes[:, None] >> shifts) & np.uint64(3)).astype(np.intp)])


def _strings(bases: npt.NDArray[np.uint8]) -> list[str]:
    return [row.tobytes().decode() for row in bases]


def _errors(codes: Codes, counts: Counts, length: int, times: float) -> npt.NDArray[np.bool_]:
    """Return which sorted codes differ by one base from one with ``PARENT`` times their reads."""
    is_error = np.zeros(len(codes), dtype=bool)
    for place in range(length):
        for other in range(1, 4):
            near = codes ^ np.uint64(other << 2 * place)
            at = np.minimum(np.searchsorted(codes, near), len(codes) - 1)
            is_error |= (codes[at] == near) & (counts[at] >= times * counts)
    return is_error


def repeated_barcodes(codes: Codes, counts: Counts, length: int) -> npt.NDArray[np.bool_]:
    """Return which barcodes repeat and are not another's error.

    Parameters
    ----------
    codes
        Distinct 2-bit codes, ascending.
    counts
        Reads of each.
    length
        Bases of a barcode.
    """
    kept = counts >= FEWEST
    if kept.any():
        kept[kept] = ~_errors(codes[kept], counts[kept], length, PARENT)
    return kept


def _common(codes: Codes, counts: Counts, length: int) -> npt.NDArray[np.bool_]:
    """Return which words of a part are on its list: frequent, and no other's error."""
    usual = float(np.median(np.sort(counts)[::-1][:50])) if len(counts) else 0.0
    often = counts >= max(FEWEST, PART_SHARE * usual)
    return np.asarray(often & ~_errors(codes, counts, length, PART_PARENT))
