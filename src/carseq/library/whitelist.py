"""Barcode lists: reading them, and whether reads' barcodes are on them."""

from __future__ import annotations

import io
from codecs import BOM_UTF8
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from isal import igzip

from carseq.errors import CarseqError
from carseq.io.cache import kept
from carseq.io.fasta import DAMAGED, check_kind, open_text

#: Raised where :func:`encode` changes: codes that were kept are then made anew.
_ENCODING = 1
#: Letters of a barcode of a list.
SHORTEST, LONGEST = 8, 31
#: All bytes of a list of nothing but barcodes.
_BARE = b"ACGTN\n"
#: What separates columns, or stands around a cell, in a table of R or of a spreadsheet.
_AS_BLANK = bytes.maketrans(b'",;', b"   ")


def encode(sequences: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return a 64-bit code of each of n equally long ASCII sequences (n x length).

    Words of eight bytes are mixed by an odd multiplier (2^64 divided by the golden ratio), so that two of
    10 million barcodes share a code with a chance of about 3e-6.
    """
    width = -(-sequences.shape[1] // 8) * 8
    if width == sequences.shape[1]:
        padded = np.ascontiguousarray(sequences)
    else:
        padded = np.zeros((len(sequences), width), dtype=np.uint8)
        padded[:, : sequences.shape[1]] = sequences
    codes = np.zeros(len(sequences), dtype=np.uint64)
    for word in padded.view(np.uint64).T:
        codes ^= word
        codes *= np.uint64(0x9E3779B97F4A7C15)
        codes ^= codes >> np.uint64(29)
    return codes


def listed_barcode(line: bytes) -> bytes:
    """Return the barcode of a line of a list: its first column, without the suffix that Cell Ranger writes.

    Nor has it the mark that Windows' editors and spreadsheets put before the first line of a text in UTF-8, or
    quotation marks. Small letters become capitals.

    Examples
    --------
    >>> listed_barcode(b"ACGTACGTACGTACGT-1\\tcell 1\\r\\n")
    b'ACGTACGTACGTACGT'
    >>> listed_barcode(b"\\xef\\xbb\\xbfACGTACGTACGTACGT\\n")
    b'ACGTACGTACGTACGT'
    >>> listed_barcode(b'"acgtacgtacgtacgt-1",cell 1\\n')
    b'ACGTACGTACGTACGT'
    >>> listed_barcode(b"\\n")
    b''
    """
    columns = line.removeprefix(BOM_UTF8).translate(_AS_BLANK).split(maxsplit=1)
    return columns[0].partition(b"-")[0].upper() if columns else b""


def read_whitelist(path: str | Path) -> npt.NDArray[np.uint64]:
    """Return the codes (:func:`encode`) of a whitelist (plain or .gz; columns after the first are ignored).

    Raises
    ------
    CarseqError
        If it cannot be read, is empty, or its barcodes differ in length.
    """
    path = Path(path)
    try:
        told = path.stat()
        if path.parent == _known_folder():
            # One of millions of barcodes, read by every sample's job.
            key = f"{path} {told.st_size} {told.st_mtime_ns} {_ENCODING}"
            return _known_codes(path, key)
        return _barcode_list(path, told.st_mtime_ns)
    except DAMAGED as error:
        raise CarseqError(
            f"cannot read the whitelist {path}",
            " ".join(str(error).split()) or type(error).__name__,
            "check its path; if it is there, transfer it again: it may be damaged",
        ) from None


@lru_cache(maxsize=1)
def _known_codes(path: Path, key: str) -> npt.NDArray[np.uint64]:
    """Return the codes of a list that comes with ngs_tools; the last one is held, since it is asked for again."""
    return np.frombuffer(
        kept("barcodes", key, lambda: _barcode_list(path, 0).tobytes()), dtype=np.uint64
    )


@lru_cache(maxsize=4)
def _barcode_list(path: Path, _changed: int) -> npt.NDArray[np.uint64]:
    """Read a whitelist, once as long as the file stays as it is."""
    raw = path.read_bytes()
    zipped = raw[:2] == b"\x1f\x8b"
    with igzip.open(io.BytesIO(raw), "rb") if zipped else io.BytesIO(raw) as stream:
        if (codes := _bare_barcodes(stream)) is not None:
            return codes
        stream.seek(0)
        text = stream.read()
    check_kind(path, text[:64])
    words = [word for line in text.splitlines() if (word := listed_barcode(line))]
    lengths = {len(w) for w in words}
    if len(lengths) != 1 or not SHORTEST <= min(lengths) <= LONGEST:
        raise _no_list(
            path,
            "it is empty" if not words else f"its lines have {sorted(lengths)[:4]} characters",
        )
    if other := next((w for w in words if w.strip(b"ACGTN")), None):
        raise _no_list(
            path, f"{other.decode(errors='replace')!r} is not a barcode of A, C, G and T"
        )
    return encode(np.frombuffer(b"".join(words), dtype=np.uint8).reshape(len(words), -1))


def is_bare(text: bytes) -> bool:
    """Return whether a text is of nothing but barcodes, one a line."""
    return not text.translate(None, _BARE)


def _no_list(path: Path, cause: str) -> CarseqError:
    return CarseqError(
        f"{path} is not a barcode whitelist",
        cause,
        "give a file with one barcode a line, all of one length",
    )


def _bare_barcodes(stream: io.BytesIO | igzip.IGzipFile) -> npt.NDArray[np.uint64] | None:
    """Return the codes of a list of nothing but barcodes of one length, None for any other.

    Piece by piece, so that each stays in the processor's cache.
    """
    width = len(stream.readline())
    stream.seek(0)
    if not SHORTEST < width <= LONGEST + 1:
        return None
    block = np.empty((1 << 15, width), dtype=np.uint8)
    codes = []
    while size := stream.readinto(block.data.cast("B")):
        lines = block[: size // width]
        text = lines.tobytes()
        # Line ends in the last column, and nowhere else.
        ends = (lines[:, -1] == ord("\n")).all() and text.count(b"\n") == len(lines)
        if size % width or not ends or text.translate(None, _BARE):
            return None
        codes.append(encode(lines[:, :-1]))
    return np.concatenate(codes)


def known_whitelist(name: str) -> Path:
    """Return the path of a whitelist that comes with ngs_tools, such as ``10x_version3``.

    Raises
    ------
    CarseqError
        If ngs_tools is not installed.
    """
    folder = _known_folder()
    if folder is None:
        raise CarseqError(
            "the package ngs-tools is missing",
            "it holds the 10x whitelists",
            "pip install ngs-tools",
        )
    return folder / f"{name}_whitelist.txt.gz"


def shared_name(path: str) -> str:
    """Return how a list is written down for others: of one that comes with ngs_tools its file's name, without folders.

    Parameters
    ----------
    path
        Path of the list.
    """
    return Path(path).name if Path(path).parent == _known_folder() else path


def found_here(path: str) -> str:
    """Return where a list lies that was written down by :func:`shared_name`, or in another installation of Python.

    Parameters
    ----------
    path
        As written down. What is not a list of ngs_tools, or is there, stays as it is.
    """
    folder = _known_folder()
    if folder is None or Path(path).exists():
        return path
    own = folder / Path(path).name
    return str(own) if own.is_file() else path


@cache
def _known_folder() -> Path | None:
    """Return the folder of the lists that come with ngs_tools, None without it."""
    import importlib.util

    spec = importlib.util.find_spec("ngs_tools")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "chemistry" / "whitelists"


def barcode_codes(sequences: Iterable[str], start: int, length: int) -> npt.NDArray[np.uint64]:
    """Return codes of the barcodes at ``start`` (1-based) of reads long enough to hold one."""
    words = [
        s[start - 1 : start - 1 + length].encode()
        for s in sequences
        if len(s) >= start - 1 + length
    ]
    return encode(np.frombuffer(b"".join(words), dtype=np.uint8).reshape(len(words), length))


def on_list(
    codes: npt.NDArray[np.uint64], whitelist: npt.NDArray[np.uint64]
) -> npt.NDArray[np.bool_]:
    """Return which codes are on a list.

    The list, the longer side by far, is first cut to those that share their first bits with a code, which saves
    sorting it. There are some 32 times as many such bits as codes; the table of them should fit the processor's cache.
    """
    if not len(codes) or not len(whitelist):
        return np.zeros(len(codes), dtype=bool)
    bits = min(24, max(12, len(codes).bit_length() + 5))
    prefix = np.uint64(64 - bits)
    seen = np.zeros(1 << bits, dtype=bool)
    seen[codes >> prefix] = True
    pieces = (whitelist[i : i + (1 << 15)] for i in range(0, len(whitelist), 1 << 15))
    near = np.sort(np.concatenate([piece[seen[piece >> prefix]] for piece in pieces]))
    if not len(near):
        return np.zeros(len(codes), dtype=bool)
    place = np.minimum(np.searchsorted(near, codes), len(near) - 1)
    return np.asarray(near[place] == codes)


def share_on_list(codes: npt.NDArray[np.uint64], whitelist: npt.NDArray[np.uint64]) -> float:
    """Return the share of codes on a list."""
    return float(on_list(codes, whitelist).mean()) if len(codes) else 0.0


def _whole_barcodes(path: str | Path, lengths: Sequence[int]) -> list[list[str]] | None:
    """Return the words of each part of a list of nothing but whole barcodes, None for any other list."""
    with open(path, "rb") as stream:
        raw = stream.read()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = igzip.decompress(raw)
        except DAMAGED:
            return None
    width = sum(lengths) + 1
    text = np.frombuffer(raw, dtype=np.uint8)
    if not len(text) or len(text) % width:
        return None
    lines = text.reshape(-1, width)
    bases = np.isin(lines[:, :-1], np.frombuffer(b"ACGT", dtype=np.uint8)).all()
    if not bases or not (lines[:, -1] == ord("\n")).all():
        return None
    parts, at = [], 0
    for length in lengths:
        words = np.ascontiguousarray(lines[:, at : at + length]).view(f"S{length}").ravel()
        parts.append([word.decode() for word in np.unique(words).tolist()])
        at += length
    return parts


def read_parts(path: str | Path, lengths: Sequence[int]) -> list[list[str]]:
    """Return the words of each part of a barcode from a list of one file.

    Parameters
    ----------
    path
        Whole barcodes, one a line, of which the parts are cut; or a column for each part, ``-`` where one has no
        more; or words of one length, which every part may have. Plain or .gz.
    lengths
        Of the parts, nt.

    Raises
    ------
    CarseqError
        If it can be read in none of these ways.
    """
    try:
        if (whole := _whole_barcodes(path, lengths)) is not None:
            return whole
        with open_text(path) as lines:
            marked = (line.encode().removeprefix(BOM_UTF8) for line in lines)
            cells = (line.translate(_AS_BLANK).decode().upper().split() for line in marked)
            rows = {tuple(row): None for row in cells if row}
    except CarseqError as error:
        raise CarseqError(f"cannot read the whitelist {path}", error.cause, error.remedy) from None
    columns = {len(row) for row in rows}
    # Whole barcodes with a second column, such as cells' names, are no words of parts.
    whole_ones = all(len(listed_barcode(row[0].encode())) == sum(lengths) for row in rows)
    parts: list[dict[str, None]] = [{} for _ in lengths]
    if columns == {len(lengths)} and len(lengths) > 1 and not whole_ones:
        for row in rows:
            for part, word in zip(parts, row, strict=True):
                if word != "-":
                    part[word] = None
    else:
        for row in rows:
            word = listed_barcode(row[0].encode()).decode()
            if len(word) == sum(lengths):
                at = 0
                for part, length in zip(parts, lengths, strict=True):
                    part[word[at : at + length]] = None
                    at += length
            else:
                for part in parts:
                    part[word] = None
    for part, length in zip(parts, lengths, strict=True):
        bad = next((w for w in part if len(w) != length or w.strip("ACGT")), None)
        if bad is not None or not part:
            raise _no_list(
                Path(path),
                f"{bad!r} is not a part of {length} bases" if part else "a part has no word in it",
            )
    return [list(part) for part in parts]
