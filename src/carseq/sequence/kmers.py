"""k-mers of the CAR, and which of many reads share them; compiled, also straight from the records of a BAM."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numba
import numpy as np
import numpy.typing as npt
import pysam
from Bio.Seq import reverse_complement

from carseq.errors import CarseqError

Codes = npt.NDArray[np.uint8]
#: Length of a k-mer, and how many k-mers of a read must be the CAR's (21 equal bases in a row hold five).
SEED, MIN_SEEDS = 17, 5
#: k-mers are kept as bits of a table, by a hash. Those of a CAR (2 x 7,000) fill 0.3 % of it, so that five chance
#: hits in one read are rarer than 1 in 100,000; a read that passes is scored anyway.
_TABLE_BITS = 22
_ODD = np.uint64(0x9E3779B97F4A7C15)
#: Begins the comment in the header of a slice that says how many unmapped reads were left out of it.
LEFT_OUT = "carseq: unmapped reads left out: "
#: Bytes of a BAM looked at in one go.
_CHUNK = 1 << 23
#: Bytes of a BAM record without name, bases and tags; more than any read has, with its tags; and the number of no
#: contig (SAM specification, 4.2).
_LEAST_RECORD, _LARGEST_RECORD, _NO_CONTIG = 32, 1 << 28, 0xFFFFFFFF
#: Base codes: 0-3 for ACGT, 4 for all else; from ASCII, and from the 4-bit codes of BAM (SAM specification, 4.2).
UNKNOWN = 4
_FROM_ASCII = np.full(256, UNKNOWN, dtype=np.uint8)
_FROM_ASCII[np.frombuffer(b"ACGTacgt", dtype=np.uint8)] = [0, 1, 2, 3, 0, 1, 2, 3]
_FROM_NIBBLE = np.full(16, UNKNOWN, dtype=np.uint8)
_FROM_NIBBLE[[1, 2, 4, 8]] = [0, 1, 2, 3]


def encode(sequence: str) -> Codes:
    """Return the base codes of a sequence: 0-3 for ACGT, 4 for all else."""
    return _FROM_ASCII[np.frombuffer(sequence.encode(), dtype=np.uint8)]


class KmerSet:
    """The k-mers of sequences, of both strands.

    Parameters
    ----------
    sequences
        Transcripts of the CAR.
    """

    def __init__(self, sequences: Sequence[str]) -> None:
        self._table = np.zeros((1 << _TABLE_BITS) // 64, dtype=np.uint64)
        self._letters = np.zeros_like(self._table)
        for sequence in sequences:
            for strand in (sequence, reverse_complement(sequence)):
                _fill(kmers_at(encode(strand), SEED), self._table)
                _fill_letters(np.frombuffer(strand.encode(), dtype=np.uint8), self._letters)

    def among(self, reads: Sequence[str]) -> npt.NDArray[np.bool_]:
        """Return which of some reads share enough k-mers with the sequences, on either strand."""
        if not reads:
            return np.zeros(0, dtype=bool)
        ends = np.cumsum([len(read) for read in reads])
        text = np.frombuffer("".join(reads).encode(), dtype=np.uint8)
        return np.asarray(_among(text, ends, self._table, _FROM_ASCII))

    def among_records(self, text: Codes, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return (read, start, end) of the reads of a text that share enough k-mers.

        Parameters
        ----------
        text
            ASCII.
        places
            Start and end of each read in it, n x 2.
        """
        return np.asarray(_among_records(text, places, self._table, self._letters, _FROM_ASCII))

    def unmapped(self, bam: pysam.AlignmentFile) -> tuple[list[pysam.AlignedSegment], int]:
        """Return the unmapped reads at the end of a sorted BAM that share enough k-mers, and how many were looked at.

        In a slice (:func:`carseq.molecules.write_slice`) the reads looked at when it was made are counted too. Records
        are examined as raw bytes; only those that pass are decoded.

        Parameters
        ----------
        bam
            Coordinate-sorted, indexed BAM.

        Raises
        ------
        CarseqError
            If the bytes there are not records: the file is damaged.
        """
        n_records = left_out(bam) or 0
        first = next(bam.fetch("*"), None)
        if first is None:
            return [], n_records
        found = []
        n_records += 1
        if self.among([first.query_sequence or ""])[0]:
            found.append(first)
        path = os.fsdecode(bam.filename)
        kept, rest = [], b""
        try:
            with pysam.BGZFile(path, "rb", None) as blocks:
                blocks.seek(bam.tell())
                while chunk := blocks.read(_CHUNK):
                    data = rest + chunk
                    raw = np.frombuffer(data, dtype=np.uint8)
                    passed, end, n = _records(raw, self._table)
                    if n < 0:
                        raise OSError("there are bytes that are not a record of an unmapped read")
                    n_records += n
                    kept += [data[start:stop] for start, stop in passed.tolist()]
                    rest = data[end:]
            if rest:
                raise OSError("it ends within a record")
        except OSError as error:
            raise CarseqError(
                f"the BAM {path} is damaged", str(error), "transfer it again, and compare its md5"
            ) from None
        return found + _decode(path, kept), n_records


def left_out(bam: pysam.AlignmentFile) -> int | None:
    """Return how many unmapped reads were left out of a BAM when it was cut; None if it is not such a slice."""
    comments = [str(c) for c in bam.header.to_dict().get("CO", []) if c.startswith(LEFT_OUT)]
    return sum(int(c.removeprefix(LEFT_OUT)) for c in comments) if comments else None


def _decode(path: str, records: Sequence[bytes]) -> list[pysam.AlignedSegment]:
    """Return raw records of a BAM, decoded."""
    if not records:
        return []
    with tempfile.TemporaryDirectory() as folder:
        slice_ = Path(folder) / "slice.bam"
        with (
            pysam.BGZFile(path, "rb", None) as whole,
            pysam.BGZFile(str(slice_), "wb", None) as out,
        ):
            out.write(_header(whole))
            for record in records:
                out.write(record)
        with pysam.AlignmentFile(str(slice_), "rb", check_sq=False) as bam:
            return list(bam.fetch(until_eof=True))


def _header(bam: pysam.BGZFile) -> bytes:
    """Return the header of an open BAM as it lies in the file (SAM specification, 4.2)."""
    parts = [bam.read(8)]
    parts.append(bam.read(struct.unpack("<4xi", parts[0])[0] + 4))
    for _ in range(struct.unpack("<i", parts[-1][-4:])[0]):
        name_length = bam.read(4)
        parts += [name_length, bam.read(struct.unpack("<i", name_length)[0] + 4)]
    return b"".join(parts)


@numba.njit(cache=True, nogil=True)
def _slot(kmer):  # type: ignore[no-untyped-def]
    return (kmer * _ODD) >> np.uint64(64 - _TABLE_BITS)


@numba.njit(cache=True)
def kmers_at(codes, size):  # type: ignore[no-untyped-def]
    """Return the k-mer of ``size`` bases (31 at most) that begins at each base, -1 where there is none."""
    result = np.full(len(codes), -1, dtype=np.int64)
    kmer, run = 0, 0
    mask = (1 << 2 * size) - 1
    for i in range(len(codes)):
        if codes[i] == UNKNOWN:
            run = 0
            continue
        kmer = ((kmer << 2) | int(codes[i])) & mask
        run += 1
        if run >= size:
            result[i - size + 1] = kmer
    return result


def get_ready() -> Iterator[None]:
    """Load numba, whose first function takes half a second, and what each sample's job would load or compile anew.

    See :mod:`carseq.preload`.
    """
    kmers_at(encode("ACGT"), 2)
    yield
    kmers = KmerSet(["ACGT" * SEED])
    yield
    kmers.among(["ACGT" * SEED])
    yield
    _records(np.frombuffer(bytes(4), dtype=np.uint8), np.zeros(1, dtype=np.uint64))
    yield


@numba.njit(cache=True)
def _fill(kmers, table):  # type: ignore[no-untyped-def]
    for kmer in kmers:
        if kmer >= 0:
            slot = _slot(np.uint64(kmer))
            table[slot >> np.uint64(6)] |= np.uint64(1) << (slot & np.uint64(63))


@numba.njit(cache=True, nogil=True)
def _hits(codes, start, end, table, letters):  # type: ignore[no-untyped-def]
    """Return how many k-mers of [start, end) are in the table; ``letters`` turns bytes into base codes."""
    mask = np.uint64((1 << 2 * SEED) - 1)
    kmer, run, hits = np.uint64(0), 0, 0
    for i in range(start, end):
        code = letters[codes[i]]
        if code == UNKNOWN:
            run = 0
            continue
        kmer = ((kmer << np.uint64(2)) | np.uint64(code)) & mask
        run += 1
        if run >= SEED:
            slot = _slot(kmer)
            hits += int((table[slot >> np.uint64(6)] >> (slot & np.uint64(63))) & np.uint64(1))
    return hits


@numba.njit(cache=True, nogil=True, inline="always")
def _eight(text, at):  # type: ignore[no-untyped-def]
    """Return eight letters as one number, in upper case."""
    letters = np.uint64(0)
    for k in range(8):
        letters |= np.uint64(text[at + np.uint64(k)]) << np.uint64(8 * k)
    return letters & np.uint64(0xDFDFDFDFDFDFDFDF)


@numba.njit(cache=True, nogil=True)
def _letters_slot(text, at):  # type: ignore[no-untyped-def]
    """Return the slot of the 16 letters that begin at a place."""
    return _slot(_eight(text, at) * _ODD ^ _eight(text, at + np.uint64(8)))


@numba.njit(cache=True)
def _fill_letters(text, table):  # type: ignore[no-untyped-def]
    for at in range(len(text) - 15):
        slot = _letters_slot(text, np.uint64(at))
        table[slot >> np.uint64(6)] |= np.uint64(1) << (slot & np.uint64(63))


@numba.njit(cache=True, nogil=True)
def _may(text, start, end, table):  # type: ignore[no-untyped-def]
    """Return whether two 16 letters in a row of [start, end) are in the table, one of them at every third place.

    Two k-mers in a row are 18 letters; wherever they begin, one of the three 16 in them is at a third place, and
    another beside it. Letters are compared eight at a time as they lie in the text, which is four times as fast as
    hashing every k-mer. By chance 14 of 100 reads have one of theirs in the table; one of 200 has its neighbour too.
    """
    first, at, last = np.uint64(start), np.uint64(start), np.uint64(end)
    while at + np.uint64(16) <= last:
        if _is_in(text, at, table) and (
            (at + np.uint64(17) <= last and _is_in(text, at + np.uint64(1), table))
            or (at > first and _is_in(text, at - np.uint64(1), table))
        ):
            return True
        at += np.uint64(3)
    return False


@numba.njit(cache=True, nogil=True, inline="always")
def _is_in(text, at, table):  # type: ignore[no-untyped-def]
    """Return whether the 16 letters that begin at a place are in the table, or seem to be."""
    slot = _letters_slot(text, at)
    return (table[slot >> np.uint64(6)] >> (slot & np.uint64(63))) & np.uint64(1) != np.uint64(0)


@numba.njit(cache=True)
def _among(text, ends, table, letters):  # type: ignore[no-untyped-def]
    result = np.zeros(len(ends), dtype=np.bool_)
    start = 0
    for read in range(len(ends)):
        result[read] = _hits(text, start, ends[read], table, letters) >= MIN_SEEDS
        start = ends[read]
    return result


@numba.njit(cache=True, nogil=True)
def _among_records(text, places, table, table_of_letters, letters):  # type: ignore[no-untyped-def]
    passed = np.empty((len(places), 3), dtype=np.int64)
    n = 0
    for read in range(len(places)):
        start, end = places[read, 0], places[read, 1]
        if (
            _may(text, start, end, table_of_letters)
            and _hits(text, start, end, table, letters) >= MIN_SEEDS
        ):
            passed[n, 0], passed[n, 1], passed[n, 2] = read, start, end
            n += 1
    return passed[:n].copy()


@numba.njit(cache=True)
def _integer(raw, at, size):  # type: ignore[no-untyped-def]
    value = 0
    for i in range(size):
        value |= int(raw[at + i]) << 8 * i
    return value


@numba.njit(cache=True)
def _records(raw, table):  # type: ignore[no-untyped-def]
    """Return (start, stop) of the records that pass, the end of the last whole record, and the number of records.

    The number is -1 where bytes are not a record: of a damaged file nothing beyond its end must be read.
    """
    passed = np.empty((1024, 2), dtype=np.int64)
    n_passed, n_records, at = 0, 0, 0
    codes = np.empty(512, dtype=np.uint8)
    while at + 4 <= len(raw):
        head = at + 4
        size = _integer(raw, at, 4)
        stop = head + size
        if size < _LEAST_RECORD or size > _LARGEST_RECORD:
            return passed[:0], at, -1
        if stop > len(raw):
            break
        n_records += 1
        n_cigar, length = _integer(raw, head + 12, 2), _integer(raw, head + 16, 4)
        bases = head + 32 + int(raw[head + 8]) + 4 * n_cigar
        # A record behind the first without a place has none either.
        if bases + (length + 1) // 2 > stop or _integer(raw, head, 4) != _NO_CONTIG:
            return passed[:0], at, -1
        if length > len(codes):
            codes = np.empty(length, dtype=np.uint8)
        for i in range(length):
            pair = int(raw[bases + (i >> 1)])
            codes[i] = (pair if i & 1 else pair >> 4) & 15
        if _hits(codes, 0, length, table, _FROM_NIBBLE) >= MIN_SEEDS:
            if n_passed == len(passed):
                passed = np.concatenate((passed, np.empty_like(passed)))
            passed[n_passed, 0], passed[n_passed, 1] = at, stop
            n_passed += 1
        at = stop
    return passed[:n_passed], at, n_records
