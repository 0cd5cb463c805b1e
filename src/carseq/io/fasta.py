"""Reading and writing sequences as text, gzipped or plain."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from carseq.errors import CarseqError
from carseq.io.files import write_text


def open_text(path: str | Path) -> IO[str]:
    """Open a plain or gzipped text file for reading."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"\x1f\x8b"
        return gzip.open(path, "rt") if zipped else path.open()
    except OSError as error:
        raise CarseqError(
            f"cannot read {path}",
            error.strerror or str(error),
            "check the path and its permissions",
        ) from None


def contigs(fasta: str | Path) -> dict[str, int]:
    """Return the length of every contig of a FASTA file, in order.

    Raises
    ------
    CarseqError
        If the file cannot be read, is not FASTA or names a contig twice.
    """
    lengths: dict[str, int] = {}
    name = ""
    with open_text(fasta) as stream:
        for line in stream:
            if line.startswith(">"):
                name = line[1:].split()[0] if line[1:].split() else ""
                if name in lengths:
                    raise CarseqError(
                        f"{fasta} names contig {name} twice", "", "give every contig its own name"
                    )
                lengths[name] = 0
            elif name:
                lengths[name] += len(line.strip())
            elif line.strip():
                raise CarseqError(
                    f"{fasta} is not FASTA", "it does not begin with '>'", "give the genome's FASTA"
                )
    if not lengths:
        raise CarseqError(f"{fasta} holds no sequence", "", "give the genome's FASTA")
    return lengths


def fasta_records(fasta: str | Path) -> Iterator[tuple[str, str]]:
    """Yield (name, upper-case sequence) of a FASTA file, plain or gzipped."""
    name = ""
    chunks: list[str] = []
    with open_text(fasta) as stream:
        for line in stream:
            if line.startswith(">"):
                if name:
                    yield name, "".join(chunks).upper()
                name, chunks = line[1:].split()[0], []
            else:
                chunks.append(line.strip())
    if name:
        yield name, "".join(chunks).upper()


def write_sequences(sequences: dict[str, str], path: str | Path) -> None:
    """Write sequences as FASTA, one line each."""
    write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()), path)


def read_sequences(path: str | Path) -> dict[str, str]:
    """Read a FASTA file: name -> upper-case sequence."""
    return dict(fasta_records(path))
