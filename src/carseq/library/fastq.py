"""FASTQ files: their first reads, their counts, whether R1 and R2 go together."""

from __future__ import annotations

import re
import time
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice, zip_longest
from pathlib import Path

import dnaio
import numpy as np
from isal import igzip

from carseq.errors import CarseqError
from carseq.io.cache import kept
from carseq.io.fasta import DAMAGED, check_kind, is_gzipped

#: Pairs up to this size, both files together, are compared read by read; of larger ones samples of reads.
WHOLE_BYTES = 40_000_000
#: Seconds after which a file that has not changed is taken as written to its end.
SETTLED = 2.0
#: The end of a read's name in one file of a pair: ``/1`` and ``/2``, ``.1`` and ``.2`` (fastq-dump -I), ``_1`` and
#: ``_2``, ``:R1`` and ``:R2``; of runs with index reads, which come first, ``.2`` and ``.3`` or ``.3`` and ``.4``.
_MATE = re.compile(r"(?:[/._]|[/._:]R)[1-4]$")
#: Reads whose names are compared whole.
_NAMED = 1000
#: The sequencer's own name of a read, which stands behind a new one (``@SRR1.7 A00228:279:HFWF:1:1101:8486:1000``).
_PLACE = re.compile(r"[^\s:]+:\d+:[^\s:]+:\d+:\d+:\d+:\d+")


def first_reads(path: str | Path, n: int | None) -> list[tuple[str, str]]:
    """Return (name, sequence) of the first reads of a FASTQ file; None: of all."""
    return [(record.id, record.sequence) for record in records(path, n)]


def _unread(path: str | Path, error: OSError) -> CarseqError:
    return CarseqError(
        f"cannot read {path}",
        error.strerror or str(error),
        "check the path in units.tsv and its permissions",
    )


def _no_fastq(path: str | Path, error: Exception) -> CarseqError:
    return CarseqError(
        f"{path} is not a FASTQ file",
        " ".join(str(error).split()),
        "transfer the file again; compare its md5",
    )


def _damaged(path: str | Path, error: Exception) -> CarseqError:
    return CarseqError(
        f"{path} is damaged or cut off",
        " ".join(str(error).split()) or type(error).__name__,
        "transfer the file again; compare its md5",
    )


def check_fastq(path: str | Path) -> None:
    """Refuse a file that is no FASTQ, plain or gzipped, by its first bytes; what opening it raises is not caught.

    Raises
    ------
    CarseqError
        If it is FASTA, compressed otherwise, or plain where its name says that it is compressed.
    """
    check_kind(path)
    zipped = is_gzipped(path)
    with igzip.open(path, "rb") if zipped else open(path, "rb") as stream:
        head = stream.read(400)
        first = head[:1]
    if head.startswith(BOM_UTF8 + b"@"):
        raise CarseqError(
            f"{path} begins with the mark of UTF-8",
            "an editor of Windows has written it; aligners take it for a part of the first read's name",
            "give the file as the sequencer wrote it, or leave the first three bytes out (`tail -c +4`)",
        )
    if (kind := head[:4]) in (b"BAM\1", b"CRAM"):
        raise CarseqError(
            f"{path} is a {kind.decode().strip(chr(1))}, not FASTQ",
            "its reads are aligned",
            "name it in the column `bam` of samples.tsv, or make FASTQ files of it (10x: `bamtofastq`; others: "
            "`samtools fastq`)",
        )
    if first == b">":
        raise CarseqError(
            f"{path} is FASTA, not FASTQ",
            "its reads have no qualities",
            "give the FASTQ files (of SRA: `fasterq-dump` without `--fasta`)",
        )
    if b"\r" in head and b"\n" not in head:
        raise CarseqError(
            f"the lines of {path} end as those of old Macs do",
            "a carriage return stands in the place of each line feed",
            "give the file as the sequencer wrote it, or exchange them (`zcat FILE | tr '\\r' '\\n' | gzip`)",
        )
    if first and not zipped and Path(path).suffix.lower() == ".gz":
        raise CarseqError(
            f"{path} is not compressed",
            "its name ends with .gz, and other programs would take it for damaged",
            "rename it, or compress it (`gzip`)",
        )


def check_pair(r1: str | Path, r2: str | Path, *, n: int = 1000) -> bool:
    """Check that two FASTQ files can be read and pair up.

    Parameters
    ----------
    r1, r2
        The files.
    n
        Reads compared, of files that together exceed ``WHOLE_BYTES``; smaller ones are compared whole.

    Returns
    -------
    bool
        Whether both were read to their ends.

    Raises
    ------
    CarseqError
        If a file is missing, not FASTQ or empty, a read is empty, read names differ, or one file has more reads.
    """
    whole = _size(r1) + _size(r2) <= WHOLE_BYTES
    if whole:
        _once("pair", (r1, r2), lambda: check_reads_of_pair(r1, r2, None))
    else:
        check_reads_of_pair(r1, r2, n)
    return whole


def unequal(r1: str | Path, r2: str | Path, n1: int, n2: int, among: str = "") -> CarseqError:
    """Return the error for two files of a pair that hold different numbers of reads, ``n1`` and ``n2``."""
    return CarseqError(
        f"{r1} and {r2} hold different numbers of reads",
        f"{n1:,} and {n2:,}{among}",
        "one of them is cut off: transfer it again, or demultiplex both again",
    )


def check_reads_of_pair(r1: str | Path, r2: str | Path, n: int | None) -> int:
    """Check the first ``n`` reads of two files (None: all) as :func:`check_pair` does; return how many there are.

    Raises
    ------
    CarseqError
        If the files are not a pair, or one holds no reads.
    """
    among = "" if n is None else f" among the first {n}"
    counts, empty, first_empty = [0, 0], [0, 0], ["", ""]
    alike = True
    pairs = zip_longest(records(r1, n), records(r2, n))
    for number, pair in enumerate(pairs, 1):
        for i, record in enumerate(pair):
            if record is None:
                continue
            counts[i] += 1
            if not record.sequence:
                empty[i] += 1
                first_empty[i] = first_empty[i] or f"read {number} ({record.id})"
        one, two = pair
        if one is None or two is None:
            continue
        # The names behind the first tell of all reads by some.
        if one.id != two.id or number <= _NAMED:
            own, other = _names(one.name), _names(two.name)
            if not all(map(_are_mates, own, other)):
                if number > 1:
                    # A byte that was changed in a file's gzip may be first seen in a name.
                    for path in (r1, r2):
                        _read_through(path)
                raise CarseqError(
                    f"{r1} and {r2} are not a pair",
                    f"names of read {number} differ: {' '.join(own)} and {' '.join(other)}",
                    "check that r1 and r2 of the unit come from the same lane and are unsorted",
                )
        alike = alike and one.sequence == two.sequence
    if not all(counts):
        raise CarseqError(
            f"{r1 if not counts[0] else r2} holds no reads",
            "",
            "leave the unit out of units.tsv, or transfer the file again",
        )
    if counts[0] != counts[1]:
        raise unequal(r1, r2, counts[0], counts[1], among)
    for path, times, place in zip((r1, r2), empty, first_empty, strict=True):
        if times:
            raise CarseqError(
                f"{path} holds reads without a base",
                f"{place} is empty, as are {times - 1:,} more{among}",
                "STAR does not take them: give the untrimmed files, or trim both reads with a least length of 1",
            )
    if alike:
        raise CarseqError(
            f"{r1} and {r2} hold the same reads", "", "name R1 in `r1` and R2 in `r2` of the unit"
        )
    return counts[0]


def _read_through(path: str | Path) -> None:
    """Read a file to its end, and raise if its gzip is damaged."""
    try:
        with igzip.open(path, "rb") if is_gzipped(path) else open(path, "rb") as stream:
            while stream.read(1 << 20):
                pass
    except DAMAGED as error:
        raise _damaged(path, error) from None


def _size(path: str | Path) -> int:
    try:
        return Path(path).stat().st_size
    except (OSError, ValueError):
        return 0


def _names(line: str) -> list[str]:
    """Return a read's name, and behind it the one that the sequencer gave it, where the first is a later one.

    >>> _names("SRR1.7 A00228:279:HFWF:1:1101:8486:1000 length=28")
    ['SRR1.7', 'A00228:279:HFWF:1:1101:8486:1000']
    >>> _names("A00228:279:HFWF:1:1101:8486:1000 1:N:0:ACGT")
    ['A00228:279:HFWF:1:1101:8486:1000']
    """
    first, *rest = line.split(maxsplit=2) or [""]
    found = _PLACE.match(rest[0]) if rest else None
    return [first, found[0]] if found else [first]


def _are_mates(name1: str, name2: str) -> bool:
    """Return whether two names are those of the reads of one pair."""
    if name1 == name2:
        return True
    stem1, stem2 = _MATE.sub("", name1), _MATE.sub("", name2)
    return stem1 == stem2 and name1[len(stem1) :][:1] in ("", *name2[len(stem2) :][:1])


def count_reads(path: str | Path) -> int:
    """Return the number of reads of a FASTQ file, having read all of it.

    Lines are counted, at the speed of decompression; small files are read record by record, so that a quality line
    of another length than its sequence is found wherever it stands.

    Raises
    ------
    CarseqError
        If the file cannot be read, is cut off, or ends within a read.
    """
    if _size(path) <= WHOLE_BYTES:
        return sum(1 for _ in records(path))
    lines, last = 0, ord("\n")
    block = np.empty(1 << 20, dtype=np.uint8)
    try:
        with igzip.open(path, "rb") if is_gzipped(path) else open(path, "rb") as stream:
            while size := stream.readinto(block.data):
                lines += int(np.count_nonzero(block[:size] == ord("\n")))
                last = int(block[size - 1])
    except DAMAGED as error:
        raise _damaged(path, error) from None
    lines += last != ord("\n")
    if lines % 4:
        raise CarseqError(
            f"{path} is damaged",
            f"its {lines} lines are not four a read",
            "transfer the file again",
        )
    return lines // 4


def _read(path: str | Path) -> Iterator[dnaio.SequenceRecord]:
    """Yield the reads of a file; what stands behind the + of a read, its former name, is of no account to aligners."""
    number = 0
    try:
        with dnaio.open(path) as reads:
            for record in reads:
                yield record
                number += 1
        return
    except dnaio.FileFormatError as error:
        if "descriptions don't match" not in str(error):
            raise
    yield from islice(_four_lines(path), number, None)


def _four_lines(path: str | Path) -> Iterator[dnaio.SequenceRecord]:
    """Yield the reads of a file whatever stands behind their +.

    Raises
    ------
    dnaio.FileFormatError
        If its lines are not those of reads.
    """
    gzipped = is_gzipped(path)
    with igzip.open(path, "rt") if gzipped else open(path, encoding="utf-8") as text:
        lines = (line.rstrip("\r\n") for line in text)
        for number, name in enumerate(lines):
            sequence, plus, qualities = (next(lines, "") for _ in range(3))
            if name[:1] != "@" or plus[:1] != "+" or len(sequence) != len(qualities):
                raise dnaio.FileFormatError(f"a read of other lines than four: {name}", 4 * number)
            yield dnaio.SequenceRecord(name[1:], sequence, qualities)


def records(path: str | Path, n: int | None = None) -> Iterator[dnaio.SequenceRecord]:
    """Yield the first ``n`` reads of a FASTQ file (None: all); the error for a faulty record names its number.

    Raises
    ------
    CarseqError
        If it cannot be read, is no FASTQ, or is damaged or cut off.
    """
    number = 0
    try:
        check_fastq(path)
        for record in islice(_read(path), n):
            yield record
            number += 1
    except (dnaio.FileFormatError, dnaio.UnknownFileFormat, UnicodeDecodeError) as error:
        if not number:
            raise _no_fastq(path, error) from None
        if re.search(r"final record was: '(\\[nr])+'", str(error)):
            raise CarseqError(
                f"{path} ends with blank lines",
                f"behind read {number}; STAR does not take them",
                "leave them out (`zcat FILE | sed '/^\\s*$/d' | gzip`)",
            ) from None
        raise CarseqError(
            f"{path} is damaged",
            f"behind read {number}: {' '.join(str(error).split())}",
            "transfer the file again; compare its md5",
        ) from None
    except DAMAGED as error:
        if isinstance(error, OSError) and error.strerror:
            raise _unread(path, error) from None
        raise _damaged(path, error) from None


def check_counts(pairs: Sequence[tuple[str | Path, str | Path]]) -> int:
    """Check that the files of each pair hold the same number of reads; return how many in all.

    STAR stops silently at the end of the shorter file of a pair. Files that were counted before and have not changed
    since are not read again.

    Raises
    ------
    CarseqError
        If they do not, or a file is damaged.
    """

    def counted(r1: str | Path, r2: str | Path) -> int:
        first, second = count_reads(r1), count_reads(r2)
        if first != second:
            raise unequal(r1, r2, first, second)
        return first

    return sum(_once("reads", pair, partial(counted, *pair)) for pair in pairs)


def _once(kind: str, files: Sequence[str | Path], count: Callable[[], int]) -> int:
    """Return a count of files, read once for as long as their sizes and times stay: `carseq check` and the run ask."""
    try:
        states = [(path.stat(), path.resolve()) for path in map(Path, files)]
    except (OSError, ValueError):
        return count()
    # What is still being written may change within a tick of the file system's clock.
    if max(s.st_mtime for s, _ in states) > time.time() - SETTLED:
        return count()
    key = repr([(str(path), s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns) for s, path in states])
    return int(kept(kind, key, lambda: str(count()).encode()))
