"""The walk over FASTQ files: reads of R2 that share k-mers with the CAR or its homologs, and the barcodes of all reads.

The quick look and the search beside kallisto use it, so that they see the same reads.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import NamedTuple, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from isal import igzip

from carseq.errors import CarseqError
from carseq.io.fasta import DAMAGED, is_gzipped
from carseq.library.fastq import check_fastq, unequal
from carseq.library.geometry import Chemistry
from carseq.sequence.kmers import KmerSet

T = TypeVar("T")
#: Start, from 1, and length.
Span = tuple[int, int]

#: Bytes of a file looked at in one go: they stay in the processor's cache.
CHUNK = 1 << 20
#: Pairs of files read at once, each by two threads.
_PAIRS = 2
#: Seconds after which a thread passes Python's lock on to one that waits, while reads are picked.
_SWITCH = 0.0005
#: Places for barcodes in the table that counts them, at first; a power of 2.
SLOTS = 1 << 16


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
    """Reads by barcode, counted from several threads in a table of codes that doubles as it fills."""

    def __init__(self) -> None:
        self._lock = Lock()
        # Code and number of reads side by side: a look at one brings the other into the cache.
        self._table = np.zeros((SLOTS, 2), dtype=np.uint64)
        self._taken = 0
        self.n_reads = 0

    def add(self, codes: npt.NDArray[np.uint64]) -> None:
        """Count barcodes; codes of barcodes with an N or cut short are not counted."""
        with self._lock:
            self.n_reads += len(codes)
            at, self._taken = _count(codes, 0, self._table, self._taken)
            while at < len(codes):
                self._table = _doubled(self._table)
                at, self._taken = _count(codes, at, self._table, self._taken)

    def result(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Return the barcodes' codes, in order, and how many reads each has."""
        taken = self._table[self._table[:, 1] > 0]
        order = np.argsort(taken[:, 0])
        return taken[order, 0], taken[order, 1].astype(np.int64)


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
    barcode = chemistry.cb_start, chemistry.cb_length
    with picking(pairs, kmers, barcode, (chemistry.umi_start, chemistry.umi_length)) as picked:
        return picked()


@contextmanager
def picking(
    pairs: Sequence[tuple[str | Path, str | Path]], kmers: KmerSet, barcode: Span, umi: Span
) -> Iterator[Callable[[], tuple[list[PickedRead], Tally]]]:
    """Pick reads as :func:`pick_reads`, in threads, while the caller does something else.

    Parameters
    ----------
    pairs, kmers
        As there.
    barcode, umi
        Start, from 1, and length of each in R1.

    Yields
    ------
    callable
        Waits for the reads and returns them. Who leaves without them stops the threads.
    """
    tally, stopped = Tally(), Event()
    pool = ThreadPoolExecutor(_PAIRS)
    # A thread that holds Python's lock passes it on ten times as often as by default: the compiled parts need it for a
    # moment between two blocks.
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        by_pair = [
            pool.submit(_pick, number, pair, kmers, (barcode, umi), tally, stopped)
            for number, pair in enumerate(pairs, 1)
        ]
        yield lambda: ([read for reads in by_pair for read in reads.result()], tally)
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
        sys.setswitchinterval(usual)


def _pick(
    pair_number: int,
    pair: tuple[str | Path, str | Path],
    kmers: KmerSet,
    spans: tuple[Span, Span],
    tally: Tally,
    stopped: Event,
) -> list[PickedRead]:
    """Return the reads of R2 that share k-mers, with barcode and UMI of their R1; count all barcodes.

    Both files are read side by side, each in a thread of its own, always the one that lags, so that little of either
    is held. Once ``stopped`` is set, it ends with what it has.
    """
    picked: list[PickedRead] = []
    cb, umi = (slice(start - 1, start - 1 + length) for start, length in spans)
    heads: deque[tuple[int, npt.NDArray[np.uint8]]] = deque()
    waiting: deque[tuple[int, str, str]] = deque()
    n1 = n2 = 0
    done1 = done2 = False
    with (
        _ahead(_first_reads(pair[0], cb, max(cb.stop, umi.stop))) as first,
        _ahead(_second_reads(pair[1], kmers)) as second,
    ):
        while not (done1 and done2):
            if stopped.is_set():
                return picked
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
                name = f"{pair_number}:{at + 1}"
                picked.append(PickedRead(name, line[cb], line[umi], sequence, qualities))
            while len(heads) > 1 and heads[1][0] <= n2 and not waiting:
                heads.popleft()
    if n1 != n2:
        raise unequal(*pair, n1, n2)
    return picked


def _first_reads(
    path: str | Path, barcode: slice, width: int
) -> Iterator[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]]:
    """Yield blocks of R1: the codes of the barcodes, and the reads' first ``width`` bases."""
    length = barcode.stop - barcode.start
    for raw, places in _blocks(path):
        yield _barcodes(raw, places, barcode.start, length, width, _DIGITS)


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
        check_fastq(path)
        zipped = is_gzipped(path)
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
    """Return the 2-bit codes of the reads' barcodes, and their first ``width`` bases, filled up with 0.

    Where there is room, eight letters are taken at once. Of a read that has all ``width``, what follows them may be
    anything.
    """
    eight = np.uint64(8)
    words = (width + 7) // 8
    codes = np.empty(len(places), dtype=np.uint64)
    bases = np.empty((len(places), words), dtype=np.uint64)
    for r in range(len(places)):
        start, end = np.uint64(places[r, 0]), np.uint64(places[r, 1])
        if end - start >= np.uint64(width) and start + eight * np.uint64(words) <= np.uint64(
            len(raw)
        ):
            for i in range(words):
                bases[r, i] = _word(raw, start + eight * np.uint64(i))
        else:
            for i in range(words):
                bases[r, i] = 0
            for i in range(min(np.uint64(width), end - start)):
                bases[r, i // 8] |= np.uint64(raw[start + np.uint64(i)]) << np.uint64(8 * (i % 8))
        code, at, stop = np.uint64(0), start + np.uint64(cb), start + np.uint64(cb + length)
        wrong = np.uint64(stop > end)
        while not wrong and at + eight <= stop:
            packed, wrong = _packed(_word(raw, at))
            code = (code << np.uint64(16)) | packed
            at += eight
        while not wrong and at < stop:
            digit = digits[raw[at]]
            wrong = np.uint64(digit > 3)
            code = (code << np.uint64(2)) | np.uint64(digit)
            at += np.uint64(1)
        codes[r] = NO_BARCODE if wrong else code
    return codes, bases.view(np.uint8)


@numba.njit(cache=True, nogil=True, inline="always")
def _word(text, at):  # type: ignore[no-untyped-def]
    """Return eight letters as one number, the first in its lowest byte; the compiler makes one load of it."""
    word = np.uint64(0)
    for k in range(8):
        word |= np.uint64(text[at + np.uint64(k)]) << np.uint64(8 * k)
    return word


@numba.njit(cache=True, nogil=True, inline="always")
def _packed(word):  # type: ignore[no-untyped-def]
    """Return the 2-bit codes of eight letters, the first one highest, and 0 if all are A, C, G or T."""
    # Bits 1 and 2 of a letter tell the four apart: A 00, C 01, T 10, G 11. With both told, the letter is known, too.
    code = ((word >> np.uint64(1)) ^ (word >> np.uint64(2))) & np.uint64(0x0303030303030303)
    low = code & np.uint64(0x0101010101010101)
    high = (code >> np.uint64(1)) & np.uint64(0x0101010101010101)
    both = low & high
    letters = (
        np.uint64(0x4141414141414141)
        ^ (low << np.uint64(1))
        ^ (high * np.uint64(6))
        ^ (both * np.uint64(17))
    )
    pairs = ((code << np.uint64(2)) | (code >> np.uint64(8))) & np.uint64(0x000F000F000F000F)
    fours = ((pairs << np.uint64(4)) | (pairs >> np.uint64(16))) & np.uint64(0x000000FF000000FF)
    eights = ((fours << np.uint64(8)) | (fours >> np.uint64(32))) & np.uint64(0xFFFF)
    return eights, word ^ letters


@numba.njit(cache=True, nogil=True)
def _count(codes, at, table, taken):  # type: ignore[no-untyped-def]
    """Count codes from ``at`` on; return where the table was full, or the end, and how many codes it holds."""
    slots = np.uint64(len(table))
    # More than five of eight places taken make searches long.
    most = len(table) // 8 * 5
    for i in range(at, len(codes)):
        code = codes[i]
        if code == NO_BARCODE:
            continue
        slot = _place_of(code, slots)
        while table[slot, 1] and table[slot, 0] != code:
            slot = (slot + np.uint64(1)) & (slots - np.uint64(1))
        if not table[slot, 1]:
            if taken >= most:
                return i, taken
            table[slot, 0] = code
            taken += 1
        table[slot, 1] += np.uint64(1)
    return len(codes), taken


@numba.njit(cache=True, nogil=True, inline="always")
def _place_of(code, slots):  # type: ignore[no-untyped-def]
    """Return where a code is looked for first: the high half of its product with 2^64 over the golden ratio."""
    return ((code * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & (slots - np.uint64(1))


@numba.njit(cache=True, nogil=True)
def _doubled(table):  # type: ignore[no-untyped-def]
    """Return the table with twice as many places."""
    larger = np.zeros((2 * len(table), 2), dtype=np.uint64)
    slots = np.uint64(len(larger))
    for i in range(len(table)):
        if table[i, 1]:
            slot = _place_of(table[i, 0], slots)
            while larger[slot, 1]:
                slot = (slot + np.uint64(1)) & (slots - np.uint64(1))
            larger[slot] = table[i]
    return larger
