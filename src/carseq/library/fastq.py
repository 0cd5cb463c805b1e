"""FASTQ files: their first reads, their counts, whether R1 and R2 go together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import dnaio
import numpy as np
from isal import igzip, isal_zlib

from carseq.errors import CarseqError

#: What reading a cut-off or damaged file raises.
DAMAGED: tuple[type[Exception], ...] = (OSError, EOFError, isal_zlib.error)  # type: ignore[assignment]


def first_reads(path: str | Path, n: int) -> list[tuple[str, str]]:
    """Return (name, sequence) of the first reads of a FASTQ file."""
    try:
        with dnaio.open(path) as reads:
            return [(r.id, r.sequence) for r in islice(reads, n)]
    except OSError as error:
        raise CarseqError(
            f"cannot read {path}",
            error.strerror or str(error),
            "check the path in units.tsv and its permissions",
        ) from None
    except (dnaio.FileFormatError, dnaio.UnknownFileFormat, EOFError) as error:
        raise CarseqError(
            f"{path} is not a FASTQ file",
            " ".join(str(error).split()),
            "transfer the file again; compare its md5",
        ) from None


def check_pair(r1: str | Path, r2: str | Path, *, n: int = 1000) -> None:
    """Check that two FASTQ files can be read and pair up.

    Raises
    ------
    CarseqError
        If a file is missing, not FASTQ or empty, if read names differ, or one has more reads among the first ``n``.
    """
    first, second = first_reads(r1, n), first_reads(r2, n)
    if not first or not second:
        empty = r1 if not first else r2
        raise CarseqError(
            f"{empty} holds no reads",
            "",
            "leave the unit out of units.tsv, or transfer the file again",
        )
    if len(first) != len(second):
        raise CarseqError(
            f"{r1} and {r2} hold different numbers of reads",
            f"{len(first)} and {len(second)} among the first {n}",
            "one of them is cut off: transfer it again, or demultiplex both anew",
        )
    for (name1, _), (name2, _) in zip(first, second, strict=True):
        if name1.removesuffix("/1") != name2.removesuffix("/2"):
            raise CarseqError(
                f"{r1} and {r2} are not a pair",
                f"read names differ: {name1} and {name2}",
                "check that r1 and r2 of the unit come from the same lane and are unsorted",
            )


def count_reads(path: str | Path) -> int:
    """Return the number of reads of a FASTQ file, having read all of it.

    Lines are counted, at the speed of decompression.

    Raises
    ------
    CarseqError
        If the file cannot be read, is cut off, or ends within a read.
    """
    lines, last = 0, ord("\n")
    block = np.empty(1 << 20, dtype=np.uint8)
    try:
        with open(path, "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
        with igzip.open(path, "rb") if zipped else open(path, "rb") as stream:
            while size := stream.readinto(block.data):
                lines += int(np.count_nonzero(block[:size] == ord("\n")))
                last = int(block[size - 1])
    except DAMAGED as error:
        raise CarseqError(
            f"{path} is damaged", " ".join(str(error).split()), "transfer the file again"
        ) from None
    lines += last != ord("\n")
    if lines % 4:
        raise CarseqError(
            f"{path} is damaged",
            f"its {lines} lines are not four a read",
            "transfer the file again",
        )
    return lines // 4


def check_counts(pairs: Sequence[tuple[str | Path, str | Path]]) -> int:
    """Check that the files of each pair hold the same number of reads; return how many in all.

    STAR stops silently at the end of the shorter file of a pair.

    Raises
    ------
    CarseqError
        If they do not, or a file is damaged.
    """
    total = 0
    for r1, r2 in pairs:
        first, second = count_reads(r1), count_reads(r2)
        if first != second:
            raise CarseqError(
                f"{r1} and {r2} hold different numbers of reads",
                f"{first:,} and {second:,}",
                "one of them is cut off: transfer it again, or demultiplex both anew",
            )
        total += first
    return total
