"""quicklook: from FASTQ straight to CAR molecules per barcode, without a genome.

Takes minutes for a lane. Reads of R2 that share k-mers with the CAR, or with the mRNAs whose domains CARs contain, are
picked out by compiled code and scored against both; all other reads are only counted by barcode. It cannot know which
barcodes are cells, their type, or homologs that only a genome would show.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd
from Bio.Seq import reverse_complement
from isal import igzip

from carseq.construct import Construct, rivals
from carseq.construct.homology import EndogenousTranscript
from carseq.construct.library import relatives
from carseq.errors import CarseqError
from carseq.io.fasta import DAMAGED
from carseq.io.files import write_table
from carseq.library.detect import detect_chemistry
from carseq.library.geometry import Chemistry
from carseq.library.observed import repeated_barcodes
from carseq.library.presets import OBSERVED
from carseq.library.whitelist import encode as barcode_codes
from carseq.library.whitelist import on_list, read_whitelist
from carseq.log import get_logger
from carseq.molecules import Read, Scorer, Target, assemble
from carseq.schema.tables import LOSSES, MOLECULES, QUICKLOOK
from carseq.sequence.kmers import KmerSet

log = get_logger(__name__)

T = TypeVar("T")

#: Bytes of a file looked at in one go: they stay in the processor's cache.
CHUNK = 1 << 20
#: Pairs of files read at once, each by two threads.
_PAIRS = 2
#: Reads from which the chemistry is found.
_FIRST = 20_000
#: Barcodes collected before they are counted, which bounds memory.
COUNTED = 1 << 22


@dataclass(frozen=True)
class Look:
    """What a quick look found.

    Attributes
    ----------
    molecules
        Schema ``MOLECULES``, of barcodes on the list.
    barcodes
        By barcode on the list with a CAR molecule: ``reads`` (of any gene), ``rank`` among all barcodes by reads,
        ``car_molecules``, ``unique`` (unique or junction), ``shared``, ``p_car`` (their sum), ``car_reads``.
    losses
        Schema ``LOSSES``.
    chemistry
        As detected; its strand is that of the CAR's reads.
    n_reads, n_valid
        Reads, and those whose barcode is on the list, exactly.
    reads_of_rank
        Reads of every barcode on the list, the most first.
    """

    molecules: pd.DataFrame
    barcodes: pd.DataFrame
    losses: pd.DataFrame
    chemistry: Chemistry
    n_reads: int
    n_valid: int
    reads_of_rank: npt.NDArray[np.int64]


def quicklook(
    pairs: Sequence[tuple[str | Path, str | Path]],
    construct: Construct,
    *,
    chemistry: str = "auto",
    whitelist: str | Path | None = None,
    sample: str = "sample",
    endogenous: Sequence[EndogenousTranscript] | None = None,
) -> Look:
    """Find the CAR molecules of FASTQ files.

    Parameters
    ----------
    pairs
        (R1, R2) files of one sample.
    construct
        The CAR.
    chemistry
        ``auto``, a known name or a STARsolo geometry; ``auto`` takes the strand from the CAR's own reads.
    whitelist
        Barcode list; None: the best of the known ones.
    sample
        Name, for the tables.
    endogenous
        Transcripts that share domains with CARs; None: the RefSeq mRNAs that come with carseq.

    Raises
    ------
    CarseqError
        If files are damaged or do not pair up, or no barcode list fits.
    """
    found = detect_chemistry(
        pairs, [], sample=sample, chemistry=chemistry, whitelist=whitelist, n=_FIRST
    )
    if found.positions:
        raise CarseqError(
            f"the quick look does not read the barcodes of {found.name}",
            "they have several parts",
            "run the workflow, which does",
        )
    if endogenous is None:
        endogenous = [EndogenousTranscript(gene, gene, s) for gene, s in relatives().items()]
    similar = rivals(construct.sequence, endogenous)
    own = [t.sequence for t in construct.transcripts]
    kmers = KmerSet([*own, *(r.sequence for r in similar)])
    tally = _Tally()
    with ThreadPoolExecutor(_PAIRS) as pool:
        by_pair = pool.map(lambda pair: list(_pick(pair, kmers, found, tally)), pairs)
        picked = [read for reads in by_pair for read in reads]
    resembling = KmerSet(own).among([read.sequence for read in picked])
    target = Target(construct, similar, strand=found.strand)
    if chemistry == "auto":
        of_car = [r.sequence for r, is_own in zip(picked, resembling, strict=True) if is_own]
        target = replace(target, strand=_strand(target.scorer, of_car))
    scorer, strand = target.scorer, target.strand
    codes, counts = tally.result()
    bases = _barcode_bases(codes, found.cb_length)
    if found.whitelist == OBSERVED:
        listed = repeated_barcodes(codes, counts, found.cb_length)
    else:
        listed = on_list(barcode_codes(bases), read_whitelist(found.whitelist))
    names, counts = bases[listed].view(f"S{found.cb_length}").ravel().astype(str), counts[listed]
    valid = set(names.tolist())
    accounted: Counter[str] = Counter(
        unmapped=int(resembling.sum()), unmapped_looked_at=tally.n_reads
    )
    homolog_molecules: dict[str, set[tuple[str, str]]] = defaultdict(set)
    # By the length of the k-mer, which is less than 40 in short reads.
    genes: dict[int, dict[str, str]] = {}
    candidates = []
    for read, is_own in zip(picked, resembling.tolist(), strict=True):
        sequence = read.sequence if strand == "Forward" else reverse_complement(read.sequence)
        barcode = read.barcode if read.barcode in valid else None
        if is_own:
            candidates.append(Read(barcode, read.umi, sequence, "unmapped", False))
            continue
        kmer = sequence[20:60]
        if len(kmer) not in genes:
            genes[len(kmer)] = _genes_by_kmer(len(kmer), scorer)
        if (gene := genes[len(kmer)].get(kmer)) and barcode is not None:
            homolog_molecules[gene].add((barcode, read.umi))
    molecules, losses = assemble(
        candidates, scorer, sample, counts=accounted, homolog_molecules=homolog_molecules
    )
    order = np.argsort(-counts, kind="stable")
    table = _by_barcode(molecules, names[order], counts[order])
    return Look(
        molecules,
        table,
        losses,
        replace(found, strand=strand),
        tally.n_reads,
        int(counts.sum()),
        counts[order],
    )


def write_look(look: Look, sample: str, folder: str | Path) -> list[str]:
    """Write a quick look's tables and knee plot into a folder; return it in words.

    Parameters
    ----------
    look
        Of :func:`quicklook`.
    sample
        Begins the files' names.
    folder
        For ``SAMPLE.barcodes.tsv``, ``SAMPLE.molecules.parquet``, ``SAMPLE.losses.tsv`` and ``SAMPLE.knee.png``.
    """
    from carseq import figures
    from carseq.figures.phrases import count

    folder = Path(folder)
    write_table(look.barcodes, folder / f"{sample}.barcodes.tsv", QUICKLOOK)
    write_table(look.molecules, folder / f"{sample}.molecules.parquet", MOLECULES)
    write_table(look.losses, folder / f"{sample}.losses.tsv", LOSSES)
    knee = pd.DataFrame(
        {
            "rank": np.arange(1, len(look.reads_of_rank) + 1),
            "total_umis": look.reads_of_rank,
            "is_cell": False,
            "car_umis": 0,
        }
    )
    knee.loc[look.barcodes["rank"] - 1, "car_umis"] = look.barcodes["car_molecules"].to_numpy()
    figures.knee(knee, sample, what="reads").save(folder / f"{sample}.knee.png")
    n_sure = int(look.barcodes["unique"].sum())
    words = [
        f"{sample}: {look.n_reads:,} reads, {look.n_valid / max(1, look.n_reads):.1%} with a listed barcode "
        f"({look.chemistry.name}, {'3 prime' if look.chemistry.strand == 'Forward' else '5 prime'} reads)",
        f"  {count(len(look.molecules), 'CAR molecule')} in {count(len(look.barcodes), 'barcode')}: {n_sure} sure, "
        f"{len(look.molecules) - n_sure} in sequence shared with a human gene",
    ]
    for row in look.barcodes.head(10).itertuples():
        words.append(
            f"  {row.barcode}: {row.unique} sure, {row.shared} shared; {count(row.reads, 'read')}, rank {row.rank:,}"
        )
    if not len(look.molecules):
        words.append(
            "  none: `carseq construct` shows whether these reads could show this CAR at all"
        )
    words.append(
        f"  wrote {folder}/{sample}.barcodes.tsv, .molecules.parquet, .losses.tsv, .knee.png"
    )
    return words


def _by_barcode(
    molecules: pd.DataFrame, names: npt.NDArray[np.str_], counts: npt.NDArray[np.int64]
) -> pd.DataFrame:
    """Return the barcodes with a CAR molecule, those with most first; ``names`` are sorted by ``counts``."""
    told = molecules["evidence"].isin(["unique", "junction"])
    table = (
        molecules.assign(unique=told, shared=~told, car_molecules=1)
        .groupby("barcode", as_index=False)[
            ["car_molecules", "unique", "shared", "p_car", "n_reads"]
        ]
        .sum()
        .rename(columns={"n_reads": "car_reads"})
    )
    at = pd.Series(np.arange(len(names)), index=names).reindex(table["barcode"]).to_numpy()
    table.insert(1, "reads", counts[at])
    table.insert(2, "rank", at + 1)
    return table.sort_values(["unique", "reads"], ascending=False, ignore_index=True)


def _strand(scorer: Scorer, reads: Sequence[str]) -> str:
    """Return the strand on which more reads are the CAR's."""
    turned = [reverse_complement(read) for read in reads]
    scorer.score_all([*reads, *turned])
    sense = sum(scorer.score(read) is not None for read in reads)
    antisense = sum(scorer.score(read) is not None for read in turned)
    log.info("CAR reads: %d in sense, %d in antisense", sense, antisense)
    return "Reverse" if antisense > sense else "Forward"


def _genes_by_kmer(size: int, scorer: Scorer) -> dict[str, str]:
    """Return the gene of each k-mer of ``size`` bases of the homologs that share a stretch with the CAR."""
    found: dict[str, str] = {}
    for homolog in scorer.homologs:
        if homolog.gene in scorer.stretches:
            for start in range(len(homolog.sequence) - size + 1):
                found.setdefault(homolog.sequence[start : start + size], homolog.gene)
    return found


class _Tally:
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
        counted = codes[codes != _NO_BARCODE]
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
_NO_BARCODE = np.uint64(0xFFFFFFFFFFFFFFFF)


def _barcode_bases(codes: npt.NDArray[np.uint64], length: int) -> npt.NDArray[np.uint8]:
    """Return the barcodes of 2-bit codes, n x length letters."""
    bases = np.empty((len(codes), length), dtype=np.uint8)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    for i in range(length):
        bases[:, length - 1 - i] = letters[
            ((codes >> np.uint64(2 * i)) & np.uint64(3)).astype(np.intp)
        ]
    return bases


def _pick(
    pair: tuple[str | Path, str | Path], kmers: KmerSet, chemistry: Chemistry, tally: _Tally
) -> Iterator[Read]:
    """Yield the reads of R2 that share k-mers, with barcode and UMI of their R1; count all barcodes.

    Both files are read side by side, each in a thread of its own, always the one that lags, so that little of either
    is held.
    """
    cb, umi = chemistry.cb_start - 1, chemistry.umi_start - 1
    heads: deque[tuple[int, npt.NDArray[np.uint8]]] = deque()
    waiting: deque[tuple[int, str]] = deque()
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
                waiting.extend((n2 + i, sequence) for i, sequence in passed[1])
                n2 += passed[0]
            while waiting and waiting[0][0] < n1:
                at, sequence = waiting.popleft()
                while heads[0][0] + len(heads[0][1]) <= at:
                    heads.popleft()
                begin, bases = heads[0]
                line = bases[at - begin].tobytes().rstrip(b"\0").decode()
                yield Read(
                    line[cb : cb + chemistry.cb_length],
                    line[umi : umi + chemistry.umi_length],
                    sequence,
                    "unmapped",
                    False,
                )
            while len(heads) > 1 and heads[1][0] <= n2 and not waiting:
                heads.popleft()
    if n1 != n2:
        raise CarseqError(
            f"{pair[0]} and {pair[1]} hold different numbers of reads",
            f"{n1:,} and {n2:,}",
            "one of them is cut off: transfer it again, or demultiplex both anew",
        )


def _first_reads(
    path: str | Path, chemistry: Chemistry
) -> Iterator[tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]]:
    """Yield blocks of R1: the codes of the barcodes, and the reads' first bases, to the end of barcode and UMI."""
    cb, length = chemistry.cb_start - 1, chemistry.cb_length
    width = max(cb + length, chemistry.umi_start - 1 + chemistry.umi_length)
    for raw, places in _blocks(path):
        yield _barcodes(raw, places, cb, length, width, _DIGITS)


def _second_reads(path: str | Path, kmers: KmerSet) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """Yield blocks of R2: how many reads, and number and sequence of those that share k-mers."""
    for raw, places in _blocks(path):
        passed = kmers.among_records(raw, places).tolist()
        yield len(places), [(i, raw[a:b].tobytes().decode()) for i, a, b in passed]


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

    The bytes are good until the next block is asked for, which takes their place in memory.
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

    A record is first taken to be laid out as the one before it, which is believed where its four lines end there.
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
        codes[r] = _NO_BARCODE if wrong else code
    return codes, bases
