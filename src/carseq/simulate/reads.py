"""From molecules to FASTQ: PCR duplicates, fragments, sequencing errors, compressed writing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from isal import igzip
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from carseq.io.files import atomic
from carseq.log import get_logger
from carseq.simulate.genome import Bases, complement, encode
from carseq.simulate.molecules import Ints, Library, Pool, Protocol

log = get_logger(__name__)

#: Read pairs made, compressed and written at a time.
CHUNK = 100_000
_R1_PRIMER = "CTACACGACGCTCTTCCGATCT"
_ADAPTER = "AGATCGGAAGAGCGTCGTGTAGGGAAAGAGTGTAGATCTCGGTGGTCGCCGTATCATT"
_TSO = "TTTCTTATATGGG"
_ACGT = np.frombuffer(b"ACGT", dtype=np.uint8)
_CODE = np.zeros(256, dtype=np.uint8)
_CODE[_ACGT] = np.arange(4, dtype=np.uint8)
#: Length of the poly-A that reaches the cDNA (the oligo-dT primer), nt.
_TAIL = 30
#: NovaSeq's quality bins and the chance of an error in each; a Q2 base is an N.
_BINS = np.frombuffer(b"F:,#", dtype=np.uint8)
_BIN_ERROR = np.array([10**-3.7, 10**-2.5, 10**-1.1, 0.0])
_TEMPLATES = 4096


@dataclass(frozen=True)
class Reads:
    """Reads of a library in the order of the FASTQ, as parallel arrays.

    ``start`` is the first base of the read's window on the transcript, in sense direction; it may
    reach beyond the template on the side of the barcode. A junk read keeps only the barcode and UMI
    of its molecule.
    """

    molecule: Ints
    start: NDArray[np.int32]
    junk: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.molecule)


def make_reads(
    library: Library, protocol: Protocol, rng: np.random.Generator, *, five_prime: bool
) -> Reads:
    """Sequence a library: every read of a molecule has its own fragment.

    10x cDNA is amplified before it is cut, so that the reads of a UMI begin at different places.
    """
    molecules = library.molecules
    n_good = int(molecules.n_reads.sum())
    n_junk = round(protocol.junk / (1 - protocol.junk) * n_good)
    molecule = np.repeat(np.arange(len(molecules)), molecules.n_reads)
    if n_good:
        molecule = np.concatenate([molecule, molecule[rng.integers(0, n_good, n_junk)]])
    junk = np.zeros(len(molecule), dtype=bool)
    junk[n_good:] = True
    shuffled = rng.permutation(len(molecule))
    molecule, junk = molecule[shuffled], junk[shuffled]
    low, end = molecules.low[molecule], molecules.end[molecule]
    insert = rng.normal(protocol.insert_mean, protocol.insert_sd, len(molecule))
    insert = np.maximum(insert, 40).astype(np.int64)
    # A fragment cannot outgrow its template: it then ends at, or a little inside, its far end.
    slack = np.minimum(60, np.maximum(end - low - 60, 0))
    inside = (rng.random(len(molecule)) * slack).astype(np.int64)
    if five_prime:
        far = low + insert
        far = np.where(far > end, end - inside, far)
        start = far - protocol.read_length
    else:
        start = end - insert
        start = np.where(start < low, low + inside, start)
    return Reads(molecule, start.astype(np.int32), junk)


@dataclass(frozen=True)
class Qualities:
    """A stock of quality strings (templates × length) and the error threshold of each base."""

    symbols: NDArray[np.uint8]
    threshold: NDArray[np.uint16]


def make_qualities(length: int, rng: np.random.Generator) -> Qualities:
    """Draw quality strings: most reads good, some poor, all worse towards their end."""
    badness = rng.choice([1.0, 3.0, 9.0], (_TEMPLATES, 1), p=[0.86, 0.11, 0.03])
    badness = badness * np.linspace(0.6, 1.5, length)
    u = rng.random((_TEMPLATES, length))
    level = np.zeros((_TEMPLATES, length), dtype=np.int64)
    level[u < 0.06 * badness] = 1
    level[u < 0.016 * badness] = 2
    level[u < 0.0001 * badness] = 3
    threshold = np.round(_BIN_ERROR * 65536).astype(np.uint16)
    return Qualities(_BINS[level], threshold[level])


def _sequence(bases: Bases, qualities: Qualities, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Put errors into ``bases`` (in place) and return the quality strings."""
    template = rng.integers(0, _TEMPLATES, len(bases))
    drawn = rng.integers(0, 65536, bases.shape, dtype=np.uint16)
    where = np.flatnonzero(drawn < qualities.threshold[template])
    flat = bases.reshape(-1)
    shift = rng.integers(1, 4, len(where), dtype=np.uint8)
    flat[where] = _ACGT[(_CODE[flat[where]] + shift) & 3]
    symbols = qualities.symbols[template]
    bases[symbols == ord("#")] = ord("N")
    return symbols


def _umi_bases(umi: Ints, length: int) -> Bases:
    return _ACGT[(umi[:, None] >> (2 * np.arange(length))) & 3]


def umi_strings(umi: Ints, length: int) -> list[str]:
    """Return UMIs (integers) as sequences."""
    text = _umi_bases(umi, length).tobytes().decode()
    return [text[i * length : (i + 1) * length] for i in range(len(umi))]


def _first_reads(
    library: Library, molecule: Ints, umi_length: int, rng: np.random.Generator
) -> Bases:
    """Barcode and UMI as they are on the cDNA; barcodes that are on no list are drawn here."""
    droplet = library.molecules.droplet[molecule]
    barcodes = library.barcodes[np.maximum(droplet, 0)]
    off_list = np.flatnonzero(droplet < 0)
    barcodes[off_list] = _ACGT[rng.integers(0, 4, (len(off_list), barcodes.shape[1]))]
    return np.hstack([barcodes, _umi_bases(library.molecules.umi[molecule], umi_length)])


def _second_reads(
    library: Library,
    reads: Reads,
    part: slice,
    r1: Bases,
    windows: NDArray[np.uint8],
    pool: Pool,
    rng: np.random.Generator,
    *,
    five_prime: bool,
) -> Bases:
    molecule, start = reads.molecule[part], reads.start[part].astype(np.int64)
    length = windows.shape[1]
    template = library.molecules
    low, end = template.low[molecule], template.end[molecule]
    r2 = windows[pool.offset[template.transcript[molecule]] + start]
    columns = np.arange(length)
    if five_prime:
        over = np.flatnonzero(start < low)
        primer = np.tile(encode(_ADAPTER + _R1_PRIMER), (len(over), 1))
        outside = np.hstack([primer, r1[over], np.tile(encode(_TSO), (len(over), 1))])
        place = (start - low)[over][:, None] + columns
        width = outside.shape[1]
        value = np.take_along_axis(outside, (place + width).clip(0, width - 1), axis=1)
        r2[over] = np.where(place < 0, value, r2[over])
        r2 = complement(r2[:, ::-1])
    else:
        over = np.flatnonzero(start + length > end)
        tail = np.full((len(over), _TAIL), ord("A"), dtype=np.uint8)
        adapter = np.tile(encode(_ADAPTER), (len(over), 1))
        outside = np.hstack([tail, complement(r1[over][:, ::-1]), adapter])
        place = (start - end)[over][:, None] + columns
        value = np.take_along_axis(outside, place.clip(0, outside.shape[1] - 1), axis=1)
        r2[over] = np.where(place >= 0, value, r2[over])
    junk = np.flatnonzero(reads.junk[part])
    # Half of it is poly-G, what a two-colour instrument makes of darkness.
    noise = _ACGT[rng.integers(0, 4, (len(junk), length))]
    noise[::2] = ord("G")
    r2[junk] = noise
    return np.ascontiguousarray(r2)


def _records(
    first: int, lane: int, mate: int, flowcell: str, bases: Bases, symbols: NDArray[np.uint8]
) -> bytes:
    """Return FASTQ records of fixed length; ``first`` is the number of the first in its lane."""
    n, length = bases.shape
    head = f"@CARSEQ:1:{flowcell}:{lane}:".encode()
    tail = f" {mate}:N:0:ACGTACGT\n".encode()
    row = head + b"0000:00000:00000" + tail + b" " * length + b"\n+\n" + b" " * length + b"\n"
    block = np.empty((n, len(row)), dtype=np.uint8)
    block[:] = np.frombuffer(row, dtype=np.uint8)
    number = np.arange(first, first + n)
    at = len(head)
    for value, width in (
        (1101 + number // 400_000_000, 4),
        (10_000 + number % 20_000, 5),
        (10_000 + number // 20_000 % 20_000, 5),
    ):
        for i in range(width):
            block[:, at + i] = 48 + value // 10 ** (width - 1 - i) % 10
        at += width + 1
    at = len(head) + 16 + len(tail)
    block[:, at : at + length] = bases
    at += length + 3
    block[:, at : at + length] = symbols
    return block.tobytes()


def write_fastq(
    library: Library,
    reads: Reads,
    pool: Pool,
    protocol: Protocol,
    *,
    pairs: list[tuple[Path, Path]],
    umi_length: int,
    five_prime: bool,
    flowcell: str,
    seed: list[int],
    threads: int | None = None,
) -> None:
    """Write a library's reads, spread over lanes in equal parts.

    Every chunk is a gzip member of its own, made in a thread of its own, from a seed of its own: the
    files do not depend on the number of threads.

    Parameters
    ----------
    library, reads, pool, protocol
        What to write.
    pairs
        R1 and R2 of each lane.
    umi_length
        nt.
    five_prime
        Whether R2 is antisense.
    flowcell
        For the read names.
    seed
        Entropy; the chunk's number is added.
    threads
        Threads; None: those of the machine, at most 4.
    """
    rng = np.random.default_rng([*seed, 0])
    r1_quality = make_qualities(library.barcodes.shape[1] + umi_length, rng)
    r2_quality = make_qualities(protocol.read_length, rng)
    windows = sliding_window_view(pool.bases, protocol.read_length)

    def chunk(part: slice, first: int, lane: int) -> tuple[bytes, bytes]:
        rng = np.random.default_rng([*seed, 1, part.start])
        r1 = _first_reads(library, reads.molecule[part], umi_length, rng)
        r2 = _second_reads(library, reads, part, r1, windows, pool, rng, five_prime=five_prime)
        blobs = []
        for mate, bases, quality in ((1, r1, r1_quality), (2, r2, r2_quality)):
            symbols = _sequence(bases, quality, rng)
            raw = _records(first, lane, mate, flowcell, bases, symbols)
            blobs.append(igzip.compress(raw, 1, mtime=0))
        return blobs[0], blobs[1]

    def tasks() -> Iterator[tuple[int, slice, int]]:
        bounds = np.linspace(0, len(reads), len(pairs) + 1).astype(int).tolist()
        for lane, (begin, end) in enumerate(pairwise(bounds)):
            for at in range(begin, end, CHUNK):
                yield lane, slice(at, min(at + CHUNK, end)), at - begin

    workers = threads or min(os.cpu_count() or 1, 4)
    queue: deque[tuple[int, Future[tuple[bytes, bytes]]]] = deque()
    pending = tasks()
    with ThreadPoolExecutor(workers) as pool_of_threads:

        def feed() -> None:
            while len(queue) < workers + 1 and (task := next(pending, None)) is not None:
                lane, part, first = task
                queue.append((lane, pool_of_threads.submit(chunk, part, first, lane + 1)))

        for lane, (r1_path, r2_path) in enumerate(pairs):
            with (
                atomic(r1_path) as r1_temporary,
                atomic(r2_path) as r2_temporary,
                r1_temporary.open("wb") as r1_out,
                r2_temporary.open("wb") as r2_out,
            ):
                feed()
                n_written = 0
                while queue and queue[0][0] == lane:
                    r1_bytes, r2_bytes = queue.popleft()[1].result()
                    feed()
                    r1_out.write(r1_bytes)
                    r2_out.write(r2_bytes)
                    n_written += 1
                if not n_written:
                    r1_out.write(igzip.compress(b"", 1, mtime=0))
                    r2_out.write(igzip.compress(b"", 1, mtime=0))
