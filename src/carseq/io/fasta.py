"""Reading text and sequences, gzipped or plain. The error for a damaged file names it."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import re
import stat
import zipfile
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from isal import igzip, isal_zlib

from carseq.errors import CarseqError
from carseq.io.files import reading, write_text

#: What reading a file that is cut off, damaged or out of reach raises.
DAMAGED: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, isal_zlib.error)  # type: ignore[assignment]


#: What a file that is no text in UTF-8 is, by its first bytes, and how it becomes one.
_KINDS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"\x28\xb5\x2f\xfd",
        "is compressed by zstd",
        "decompress it (`zstd -d`), or compress it by gzip",
    ),
    (b"BZh", "is compressed by bzip2", "decompress it (`bunzip2`), or compress it by gzip"),
    (b"\xfd7zXZ", "is compressed by xz", "decompress it (`unxz`), or compress it by gzip"),
    (b"PK\x03\x04", "is a zip archive", "unpack it, and give the file inside"),
    (BOM_UTF16_LE, "is text in UTF-16", "save it as UTF-8 (`iconv -f utf-16 -t utf-8`)"),
    (BOM_UTF16_BE, "is text in UTF-16", "save it as UTF-8 (`iconv -f utf-16 -t utf-8`)"),
)


_GZIP = b"\x1f\x8b"

#: Where the header of an archive by tar says that it is one.
_TAR_AT = 257

#: What stands in the place of a file that was not fetched, by its beginning.
_STAND_INS: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (
        re.compile(rb"version https://git-lfs\.github\.com/"),
        "is a pointer of Git LFS",
        "fetch the file that it stands for (`git lfs pull`)",
    ),
    (
        re.compile(rb"[^\n]{0,300}/annex/objects/"),
        "is a pointer of git-annex",
        "fetch the file that it stands for (`git annex get`)",
    ),
    (
        re.compile(rb"\s*(<!doctype html|<html|<\?xml[^>]*>\s*<error>)", re.IGNORECASE),
        "is a page of a server, which did not give the file",
        "look at it in a browser for the reason, and download the file again",
    ),
)


def check_regular(path: str | Path) -> None:
    """Refuse a pipe or a device in the place of a file: what was read of it is gone, and an empty one is waited for.

    Raises
    ------
    CarseqError
        If it is one; a file that is not there raises what looking at it raises.
    """
    mode = os.stat(path).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return
    piped = stat.S_ISFIFO(mode)
    raise CarseqError(
        f"cannot read {path}",
        f"it is a {'pipe' if piped else 'device or a socket'}, not a file, and is read more than once"
        + (" (`<(...)` is a pipe, too)" if piped else ""),
        "write what it gives into a file, and name that",
    )


def _first_bytes(path: str | Path) -> bytes:
    check_regular(path)
    with open(path, "rb") as stream:
        return stream.read(400)


def check_fetched(path: str | Path, head: bytes | None = None) -> None:
    """Refuse what stands in the place of a file that was not fetched: a pointer, or a server's page.

    Parameters
    ----------
    path
        The file.
    head
        Its first bytes, where they are known.

    Raises
    ------
    CarseqError
        If it is; what opening the file raises is not caught.
    """
    head = _first_bytes(path) if head is None else head
    for mark, what, remedy in _STAND_INS:
        if mark.match(head):
            raise CarseqError(f"cannot read {path}", f"it {what}", remedy)


def check_kind(path: str | Path, head: bytes | None = None) -> None:
    """Refuse a file that is something else than text or gzip, by what it is.

    Parameters
    ----------
    path
        The file.
    head
        Its first bytes, where they are known, such as those inside gzip.

    Raises
    ------
    CarseqError
        If it is; what opening the file raises is not caught.
    """
    if head is None:
        head = _first_bytes(path)
        if head.startswith(_GZIP) and (inside := _inside(path)):
            check_kind(path, inside)
            if inside.startswith(_GZIP):
                raise CarseqError(
                    f"cannot read {path}",
                    "it is compressed twice by gzip",
                    "decompress it once (`gunzip`)",
                )
    check_fetched(path, head)
    kinds = (*_KINDS, (head, *_KINDS[-1][1:])) if _is_unmarked_utf16(head) else _KINDS
    for mark, what, remedy in kinds:
        if head.startswith(mark):
            raise CarseqError(
                f"cannot read {path}", f"it {what}; plain text and gzip are read", remedy
            )
    if head[_TAR_AT:].startswith(b"ustar"):
        raise CarseqError(
            f"cannot read {path}",
            "it is an archive (tar); plain text and gzip are read",
            f"unpack it (`tar -xf {Path(path).name}`), and give the file inside",
        )


def _is_unmarked_utf16(head: bytes) -> bool:
    """Return whether every other byte of a text's beginning is 0, as in UTF-16 without its mark."""
    halves = head[:64:2], head[1:64:2]
    return len(head) > 1 and any(
        not any(zeros) and all(letters) for zeros, letters in (halves, halves[::-1])
    )


def _inside(path: str | Path) -> bytes:
    """Return the first bytes of what gzip has compressed; nothing of a file that is damaged, which is told later."""
    try:
        with igzip.open(path, "rb") as stream:
            return stream.read(400)
    except DAMAGED:
        return b""


def is_gzipped(path: str | Path) -> bool:
    """Return whether a file begins as gzip's do."""
    check_regular(path)
    with open(path, "rb") as stream:
        return stream.read(2) == _GZIP


@contextmanager
def open_text(path: str | Path) -> Iterator[Iterator[str]]:
    """Give the lines of a plain or gzipped text file (UTF-8, with or without its mark).

    Raises
    ------
    CarseqError
        Also while they are read: if the file cannot be read, is cut off or damaged, or is not text.
    """
    path = Path(path)
    try:
        check_kind(path)
        opened = (
            igzip.open(path, "rt", encoding="utf-8-sig")
            if is_gzipped(path)
            else path.open(encoding="utf-8-sig")
        )
    except OSError as error:
        raise CarseqError(
            f"cannot read {path}",
            error.strerror or str(error),
            "check the path and its permissions",
        ) from None
    with opened as text:
        yield _guarded(text, path)


def whole_text(path: str | Path) -> str:
    """Return the text of a table (UTF-8, with or without its mark): plain, or in gzip, bzip2, xz or a zip of one file.

    What it is tells, not its name.

    Raises
    ------
    CarseqError
        If it is no text, or of another kind. What opening or decoding it raises, and ``ValueError`` for what is
        damaged otherwise, is not caught.
    """
    check_regular(path)
    raw = Path(path).read_bytes()
    try:
        if raw.startswith(_GZIP):
            raw = igzip.decompress(raw)
        elif raw.startswith(b"BZh"):
            raw = bz2.decompress(raw)
        elif raw.startswith(b"\xfd7zXZ"):
            raw = lzma.decompress(raw)
        elif raw.startswith(b"PK\x03\x04"):
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                names = [name for name in archive.namelist() if not name.startswith("__MACOSX")]
                raw = archive.read(names[0]) if len(names) == 1 else raw
    except (lzma.LZMAError, zipfile.BadZipFile) as error:
        raise ValueError(str(error)) from None
    check_kind(path, raw[:400])
    return raw.decode("utf-8-sig")


def _guarded(lines: Iterator[str], path: Path) -> Iterator[str]:
    """Yield lines; what a damaged file raises becomes an error with its name."""
    number = 0
    try:
        for line in lines:
            yield line
            number += 1
    except UnicodeDecodeError as error:
        raise CarseqError(
            f"{path} is not text in UTF-8",
            f"behind line {number}: byte {error.object[error.start]:#04x}",
            "save it as UTF-8 (`iconv -f latin1 -t utf-8`), or transfer it again: it may be damaged",
        ) from None
    except DAMAGED as error:
        raise CarseqError(
            f"{path} is damaged or cut off",
            f"behind line {number}: {' '.join(str(error).split()) or type(error).__name__}",
            "transfer it again; compare its md5",
        ) from None


_UNREADABLE: tuple[type[Exception], ...] = (UnicodeDecodeError, *DAMAGED)
#: Bytes of a FASTA file that are looked at together: a human genome has fifty million lines.
_BLOCK = 1 << 22
#: What may stand around the bases of a line.
_BLANK = b" \t\n\x0b\x0c"


def _pieces(fasta: str | Path) -> Iterator[tuple[str | None, bytes]]:
    """Yield the parts of a FASTA file in order: a header line (None: the contig goes on), and lines of bases behind it.

    Raises
    ------
    CarseqError
        As of :func:`open_text`.
    """
    path = Path(fasta)
    try:
        check_kind(path)
        with igzip.open(path, "rb") if is_gzipped(path) else path.open("rb") as opened:
            tail, fresh = opened.read(len(BOM_UTF8)).removeprefix(BOM_UTF8), True
            while block := opened.read(_BLOCK):
                data = tail + block
                if b"\r" in data:
                    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
                end = data.rfind(b"\n") + 1
                if not end and not (fresh and data.startswith(b">")):
                    # A contig on one line is given part by part.
                    end = len(data)
                yield from _split(data[:end], fresh)
                fresh = data[end - 1 : end] == b"\n" if end else fresh
                tail = data[end:]
            yield from _split(tail, fresh)
    except _UNREADABLE:
        # Line by line, the fault is found again, and told with its line.
        with open_text(path) as lines:
            for _ in lines:
                pass
        raise CarseqError(
            f"{fasta} is not FASTA",
            "it holds other letters than ASCII's",
            "give the genome's FASTA",
        ) from None


def _split(data: bytes, fresh: bool) -> Iterator[tuple[str | None, bytes]]:
    """Yield the parts of a piece of a FASTA file; ``fresh``: it begins with a line."""
    if not data.isascii():
        # Fails for what is no text.
        data.decode()
    at = 0
    if not (fresh and data.startswith(b">")):
        at = data.find(b"\n>") + 1 or len(data)
        yield None, data[:at]
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        following = data.find(b"\n>", end) + 1 or len(data)
        yield data[at:end].decode(), data[end:following]
        at = following


def contigs(fasta: str | Path) -> dict[str, int]:
    """Return the length of every contig of a FASTA file, in order.

    Raises
    ------
    CarseqError
        If the file cannot be read, is not FASTA, names a contig twice or not at all, or one is empty.
    """
    lengths: dict[str, int] = {}
    name = ""
    for header, text in _pieces(fasta):
        if header is not None:
            name = _name(header, fasta)
            if name in lengths:
                raise CarseqError(
                    f"{fasta} names contig {name} twice", "", "give every contig its own name"
                )
            lengths[name] = 0
        bases = text.translate(None, _BLANK)
        if not bases:
            continue
        if not name:
            raise CarseqError(
                f"{fasta} is not FASTA", "it does not begin with '>'", "give the genome's FASTA"
            )
        if bases.isalpha() and not any(blank in text for blank in (b" ", b"\t", b"\x0b", b"\x0c")):
            lengths[name] += len(bases)
            continue
        for line in text.decode().split("\n"):
            bases_of_line = line.strip()
            if not bases_of_line.isalpha() and bases_of_line.strip("-*").strip():
                raise CarseqError(
                    f"{fasta} is not FASTA",
                    f"contig {name} holds {bases_of_line[:40]!r}",
                    "give the genome's FASTA; transfer it again if it should be one",
                )
            lengths[name] += len(bases_of_line)
    if not lengths:
        raise CarseqError(f"{fasta} holds no sequence", "", "give the genome's FASTA")
    if empty := [n for n, length in lengths.items() if not length]:
        raise CarseqError(
            f"contig {empty[0]} of {fasta} is empty",
            "no bases follow its name",
            "give the whole file: it may be cut off",
        )
    return lengths


def _name(line: str, fasta: str | Path) -> str:
    words = line[1:].split()
    if not words:
        raise CarseqError(
            f"{fasta} has a contig without a name", "a line holds '>' alone", "name every contig"
        )
    return words[0]


def fasta_records(fasta: str | Path) -> Iterator[tuple[str, str]]:
    """Yield (name, upper-case sequence) of a FASTA file, plain or gzipped.

    A sequence is put together in bytes: its lines as strings would take another two to three bytes a base, 0.7 GB for
    the largest human chromosome, for as long as the sequence is looked at.

    Raises
    ------
    CarseqError
        If the file cannot be read, is cut off or damaged, or a contig has no name.
    """
    name = ""
    body = bytearray()
    for header, text in _pieces(fasta):
        if header is not None:
            if name:
                sequence, body = body.decode(), bytearray()
                yield name, sequence
                # Whoever asks for the next one is done with this one.
                del sequence
            name, body = _name(header, fasta), bytearray()
        body += text.translate(None, _BLANK).upper()
    if name:
        sequence, body = body.decode(), bytearray()
        yield name, sequence


def write_sequences(sequences: dict[str, str], path: str | Path) -> None:
    """Write sequences as FASTA, one line each."""
    write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()), path)


def read_sequences(path: str | Path) -> dict[str, str]:
    """Read a FASTA file that carseq wrote: name -> upper-case sequence.

    Raises
    ------
    CarseqError
        If it is missing, cut off or not FASTA.
    """
    with reading(path) as path:
        return dict(fasta_records(path))
