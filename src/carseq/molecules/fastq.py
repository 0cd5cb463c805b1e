"""The walk over FASTQ files: reads of R2 that share k-mers with the CAR or its homologs, and the barcodes of all reads.

The quick look and the search beside kallisto use it, so that they see the same reads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Lock
from typing import NamedTuple, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from isal import igzip

from carseq.errors import CarseqError
from carseq.io.fasta import DAMAGED
from carseq.library.fastq import unequal
from carseq.library.geometry import Chemistry
from carseq.sequence.kmers import KmerSet

T = TypeVar("T")

#: Bytes of a file looked at in one go: they stay in the processor's cache.
CHUNK = 1 << 20
#: Pairs of files read at once, each by two threads.
_PAIRS = 2
#: Barcodes collected before they are counted, which bounds memory.
COUNTED = 1 << 22


class PickedRead(NamedTuple):
    """A read that shares k-mers with what is looked for.

    Attributes
    ----------
    name
        Number of the pair of files, and of the read in it, from 1: ``2:104``.
    barcode, umi
        As they were read; shorter where R1 is.
    sequence, qualities
        Of R2, as in the file.
    """

    name: str
    barcode: str
    umi: str
    sequence: str
    qualities: str


class Tally:
    """Reads by barcode, counted in batches, from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._codes = np.zeros(0, dtype=np.uint64)
        self._counts = np.zeros(0, dtype=np.int64)
        self._new: list[npt.NDArray[np.uint64]] = []
        self._waiting = 0
        self.n_reads = 0

    def add(self, codes: npt.NDArray[np.uint64]) -> None:
        """Count barcodes; codes of barcodes with an N or cut short are not counted."""
        counted = codes[codes != NO_BARCODE]
        with self._lock:
            self.n_reads += len(codes)
            self._new.append(counted)
            self._waiting += len(codes)
            if self._waiting >= COUNTED:
                self._merge()

    def _merge(self) -> None:
        distinct, counts = np.unique(
            np.concatenate([*self._new, self._codes[:0]]), return_counts=True
        )
        codes = np.concatenate([self._codes, distinct])
        self._codes, where = np.unique(codes, return_inverse=True)
        total = np.zeros(len(self._codes), dtype=np.int64)
        np.add.at(total, where, np.concatenate([self._counts, counts]))
        self._counts, self._new, self._waiting = total, [], 0

    def result(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Return the barcodes' codes and how many reads each has."""
        self._merge()
        return self._codes, self._counts


#: Stands for a barcode with an N, or a read too short for one.
NO_BARCODE = np.uint64(0xFFFFFFFFFFFFFFFF)


def barcode_bases(codes: npt.NDArray[np.uint64], length: int) -> npt.NDArray[np.uint8]:
    """Return the barcodes of 2-bit codes, n x length letters."""
    bases = np.empty((len(codes), length), dtype=np.uint8)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    for i in range(length):
        bases[:, length - 1 - i] = letters[
            ((codes >> np.uint64(2 * i)) & np.uint64(3)).astype(np.intp)
        ]
    return bases


def pick_reads(
    pairs: Sequence[tuple[str | Path, str | Path]], kmers: KmerSet, chemistry: Chemistry
) -> tuple[list[PickedRead], Tally]:
    """Pick out the reads that share k-mers, from all files of a sample; count the barcodes of all reads.

    Parameters
    ----------
    pairs
        (R1, R2) files.
    kmers
        What is looked for, on either strand of R2.
    chemistry
        Where barcode and UMI lie; a barcode of one part.

    Returns
    -------
    picked : list of PickedRead
        In the order of the files.
    tally : Tally
        Reads by barcode.

    Raises
    ------
    CarseqError
        If files are damaged or do not pair up.
    """
    tally = Tally()
    with ThreadPoolExecutor(_PAIRS) as pool:
        by_pair = pool.map(
            lambda number, pair: list(_pick(number, pair, kmers, chemistry, tally)), count(1), pairs
        )
        return [read for reads in by_pair for read in reads], tally


def _pick(
    pair_number: int,
    pair: tuple[str | Path, str | Path],
    kmers: KmerSet,
    chemistry: Chemistry,
    tally: Tally,
) -> Iterator[PickedRead]:
    """Yield the reads of R2 that share k-mers, with barcode and UMI of their R1; count all barcodes.

    Both files are read side by side, each in a thread of its own, always the one that lags, so that little of either
    is held.
    """
    cb, umi = chemistry.cb_start - 1, chemistry.umi_start - 1
    heads: deque[tuple[int, npt.NDArray[np.uint8]]] = deque()
    waiting: deque[tuple[int, str, str]] = deque()
    n1 = n2 = 0
    done1 = done2 = False
    with (
        _ahead(_first_reads(pair[0], chemistry)) as first,
        _ahead(_second_reads(pair[1], kmers)) as second,
    ):
        while not (done1 and done2):
            if done2 or (n1 <= n2 and not done1):
                if (barcodes := next(first, None)) is None:
                    done1 = True
                else:
                    codes, bases = barcodes
                    heads.append((n1, bases))
                    tally.add(codes)
                    n1 += len(codes)
            elif (passed := next(second, None)) is None:
                done2 = True
            else:
                waiting.extend((n2 + i, bases, quality) for i, bases, quality in passed[1])
                n2 += passed[0]
            while waiting and waiting[0][0] < n1:
                at, sequence, qualities = waiting.popleft()
                while heads[0][0] + len(heads[0][1]) <= at:
                    heads.popleft()
                begin, bases = heads[0]
                line = bases[at - begin].tobytes().rstrip(b"\0").decode()
                yield PickedRead(
                    f"{pair_number}:{at + 1}",
                    line[cb : cb + chemistry.cb_length],
                    line[umi : umi + chemistry.umi_length],
                    sequence,
                    qualities,
                )
            while len(heads) > 1 and heads[1][0] <= n2 and not waiting:
                heads.popleft()
    if n1 != n2:
        raise unequal(*pair, n1, n2)


def _first_reads(
    path: str | Path, chemistry: Chemistry
) -> Iterator[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]]:
    """Yield blocks of R1: the codes of the barcodes, and the reads' first bases, to the end of barcode and UMI."""
    cb, length = chemistry.cb_start - 1, chemistry.cb_length
    width = max(cb + length, chemistry.umi_start - 1 + chemistry.umi_length)
    for raw, places in _blocks(path):
        yield _barcodes(raw, places, cb, length, width, _DIGITS)


def _second_reads(
    path: str | Path, kmers: KmerSet
) -> Iterator[tuple[int, list[tuple[int, str, str]]]]:
    """Yield blocks of R2: how many reads, and number, sequence and qualities of those that share k-mers."""
    for raw, places in _blocks(path):
        passed = kmers.among_records(raw, places).tolist()
        yield len(places), [(i, _text(raw[a:b]), _qualities(raw, a, b)) for i, a, b in passed]


def _text(raw: npt.NDArray[np.uint8]) -> str:
    return raw.tobytes().decode("latin-1")


def _qualities(raw: npt.NDArray[np.uint8], start: int, end: int) -> str:
    """Return the qualities of the sequence at [start, end): they begin behind the next line, which begins with +."""
    at = int(_line_end(raw, end + 1)) + 1
    return _text(raw[at : at + end - start])


@contextmanager
def _ahead(blocks: Iterator[T]) -> Iterator[Iterator[T]]:
    """Make what an iterator yields in a thread of its own, two ahead; the compiled parts hold no lock."""
    with ThreadPoolExecutor(1) as worker:

        def taken() -> Iterator[T]:
            coming = deque(worker.submit(next, blocks, None) for _ in range(2))
            while (block := coming.popleft().result()) is not None:
                coming.append(worker.submit(next, blocks, None))
                yield block

        yield taken()


def _blocks(
    path: str | Path,
) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]]:
    """Yield blocks of whole records of a FASTQ file: bytes, and start and end of each sequence in them.

    The bytes are valid until the next block is read, which takes their place in memory.
    """
    buffer = np.empty(CHUNK, dtype=np.uint8)
    held = 0
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with igzip.open(path, "rb") if zipped else open(path, "rb", buffering=0) as stream:
            while read := stream.readinto(buffer[held:].data):
                held += read
                places, end = _sequences(buffer[:held])
                if len(places):
                    yield buffer[:held], places
                held -= end
                buffer[:held] = buffer[end : end + held].copy()
                if held == len(buffer):
                    buffer = np.concatenate([buffer, np.empty_like(buffer)])
    except DAMAGED as error:
        raise CarseqError(
            f"{path} is damaged", " ".join(str(error).split()), "transfer the file again"
        ) from None
    rest = buffer[:held].tobytes()
    if rest.strip():
        # The last record may lack its newline.
        last = np.frombuffer(rest + b"\n", dtype=np.uint8)
        places, end = _sequences(last)
        if last[end:].tobytes().strip():
            raise CarseqError(
                f"{path} is damaged", "it ends within a read", "transfer the file again"
            )
        yield last, places


@numba.njit(cache=True, nogil=True)
def _line_end(raw, at):  # type: ignore[no-untyped-def]
    """Return where the line ends that holds a place, or the end of the text."""
    while at < len(raw) and raw[at] != 10:
        at += 1
    return at


@numba.njit(cache=True, nogil=True)
def _sequences(raw):  # type: ignore[no-untyped-def]
    """Return the places of the sequences of whole FASTQ records, and where the last of them ends.

    A record is first taken to be laid out as the one before it, which is accepted if its four lines end there.
    """
    places = np.empty((len(raw) // 8 + 1, 2), dtype=np.int64)
    n, at, size = 0, 0, len(raw)
    name = length = 0
    while True:
        start = at + name + 1
        end = start + length
        stop = end + 3 + length
        if not (
            name
            and stop < size
            and raw[start - 1] == 10
            and raw[end] == 10
            and raw[end + 1] == 43
            and raw[end + 2] == 10
            and raw[stop] == 10
        ):
            start = _line_end(raw, at) + 1
            end = _line_end(raw, start)
            # The qualities are as long as the bases.
            stop = _line_end(raw, end + 1) + 1 + end - start
            if stop >= size or raw[stop] != 10:
                break
            name, length = start - 1 - at, end - start
        places[n, 0], places[n, 1] = start, end
        n += 1
        at = stop + 1
    return places[:n].copy(), at


#: 2-bit codes of bases by their letter; 4 for all else.
_DIGITS = np.full(256, 4, dtype=np.uint8)
_DIGITS[np.frombuffer(b"ACGT", dtype=np.uint8)] = range(4)


@numba.njit(cache=True, nogil=True)
def _barcodes(raw, places, cb, length, width, digits):  # type: ignore[no-untyped-def]
    """Return the 2-bit codes of the reads' barcodes, and their first ``width`` bases, filled up with 0."""
    codes = np.empty(len(places), dtype=np.uint64)
    bases = np.zeros((len(places), width), dtype=np.uint8)
    for r in range(len(places)):
        start, end = places[r]
        for i in range(min(width, end - start)):
            bases[r, i] = raw[start + i]
        code, wrong = np.uint64(0), start + cb + length > end
        if not wrong:
            for i in range(start + cb, start + cb + length):
                digit = digits[raw[i]]
                wrong |= digit > 3
                code = (code << np.uint64(2)) | np.uint64(digit)
        codes[r] = NO_BARCODE if wrong else code
    return codes, bases
