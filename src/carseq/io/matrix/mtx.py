"""Matrices in folders of text: of Cell Ranger, STARsolo, and what other programs and R make of them."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from carseq.errors import CarseqError
from carseq.io.fasta import check_kind
from carseq.io.layouts import Layout, layout_of, not_here
from carseq.io.matrix.features import GENE, TYPES, types_by_name
from carseq.io.matrix.stored import Stored, Strings, bare_name, repeated, transposed

if TYPE_CHECKING:
    from scipy import sparse

#: Bytes that no name holds.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1b\x7f]")
#: Words of a header above a list of features or barcodes (R's name of a vector: x).
_HEADER = frozenset(
    (
        "x", "v1", "barcode", "barcodes", "cell", "cells", "cell_barcode", "cell_id", "gene", "genes", "gene_id",
        "gene_ids", "gene_name", "gene_symbol", "symbol", "feature", "features", "feature_id", "feature_name",
    )
)  # fmt: skip


#: Words for the kind of numbers in the first line: scipy writes unsigned ones as a kind of their own.
_NUMBERS = frozenset((b"integer", b"unsigned-integer", b"real", b"double"))
#: Comments and blank lines above the entries; what numbers are written with; and letters of NaN and infinity.
_COMMENTS = re.compile(rb"(?:[ \t]*(?:%[^\n]*)?\n)*")
_OF_NUMBERS = b"0123456789+-.eE \t\n"
_NOT_A_NUMBER = frozenset(b"nanNANinfINFtyTY")
#: Columns of an entry: row, column, count.
_COLUMNS = 3
#: An id of Ensembl, and features that are looked at for it.
_ENSEMBL, _SOME = re.compile(r"ENS[A-Z]*G\d{6,}"), 1000
#: A barcode with what programs put around it, and a line of an id, a name and perhaps a type between blanks.
_BARCODE = re.compile(r"(.*[^A-Za-z0-9])?[ACGTNacgtn]{12,}([-_.#x].*)?")
_BY_BLANKS = re.compile(r"[^\s\"]+ +[^\s\"]+( +[A-Z][A-Za-z -]+)?")


def read_mtx(folder: Path, matrix: Path | None = None) -> Stored:
    """Read a folder of Cell Ranger or STARsolo; barcodes without an entry are left out at once."""
    from scipy import sparse

    if (layout := layout_of(folder, matrix, _text_lines)) is not None:
        return _of_layout(layout)
    matrix, features, barcodes = _parts_of(folder, matrix)
    stored = _entries(matrix)
    table = _listed(_list_bytes(features), stored.shape[0], numbered=3)
    n_barcodes, barcodes_at = _barcode_lines(barcodes, stored.shape[1])
    if stored.shape != (len(table), n_barcodes):
        if stored.shape == (n_barcodes, len(table)):
            raise transposed(matrix)
        raise CarseqError(
            f"the matrix {folder} does not fit its lists",
            f"{matrix.name} is of {stored.shape[0]:,} × {stored.shape[1]:,}, {features.name} has {len(table):,} "
            f"features and {barcodes.name} {n_barcodes:,} barcodes",
            "give the three files of one run, whole",
        )
    used, rows = np.unique(stored.col, return_inverse=True)
    counts = sparse.csr_matrix((stored.data, (rows, stored.row)), shape=(len(used), len(table)))
    if counts.nnz < stored.nnz:
        raise repeated(matrix, stored.nnz - counts.nnz, stored.nnz)
    ids = np.array([row[0] for row in table], dtype=object)
    names = np.array([row[1] if len(row) > 1 else row[0] for row in table], dtype=object)
    if _are_ids(names) and not _are_ids(ids):
        ids, names = names, ids
    types = np.array([row[2] if len(row) > 2 else GENE for row in table], dtype=object)
    if not (has_types := any(len(row) > 2 for row in table)):
        types = types_by_name(names)
    return Stored(counts, barcodes_at(used), ids, names, types, has_types=has_types)


def _are_ids(names: Strings) -> bool:
    """Return whether most names of genes are ids of Ensembl: a table may have them behind the symbols."""
    some = names[:_SOME]
    return sum(bool(_ENSEMBL.match(name)) for name in some) > len(some) / 2


def _of_layout(layout: Layout) -> Stored:
    """Read a matrix of cells × genes of another program; barcodes without an entry are left out."""
    from scipy import sparse

    total = sparse.csr_matrix((len(layout.barcodes), len(layout.ids)))
    for path in layout.matrices:
        stored = _entries(path)
        if stored.shape != total.shape:
            raise CarseqError(
                f"the matrix {path} does not fit its lists",
                f"it is of {stored.shape[0]:,} × {stored.shape[1]:,}, they name {len(layout.barcodes):,} barcodes and "
                f"{len(layout.ids):,} genes",
                "give the files of one run, whole",
            )
        own = sparse.csr_matrix(stored)
        if own.nnz < stored.nnz:
            raise repeated(path, stored.nnz - own.nnz, stored.nnz)
        total = total + own
    seen = np.flatnonzero(np.diff(total.indptr))
    counts, ids, names = total[seen], layout.ids, layout.names
    if layout.summed:
        of_gene = {name: i for i, name in enumerate(dict.fromkeys(ids))}
        columns = np.array([of_gene[name] for name in ids])
        size = len(ids), len(of_gene)
        ones = (np.ones(len(ids)), (np.arange(len(ids)), columns))
        counts, ids = sparse.csr_matrix(counts @ sparse.csr_matrix(ones, shape=size)), list(of_gene)
        symbols = dict(zip(layout.ids, layout.names, strict=True))
        names = [symbols[i] for i in ids]
    named = np.array(names, dtype=object)
    barcodes = np.array(layout.barcodes, dtype=object)[seen]
    types = types_by_name(named)
    return Stored(counts, barcodes, np.array(ids, dtype=object), named, types, has_types=False)


def _parts_of(folder: Path, matrix: Path | None) -> tuple[Path, Path, Path]:
    """Return the files of matrix, features and barcodes in a folder, gzipped or not, with or without a prefix."""
    found = sorted(
        p
        for p in folder.iterdir()
        if re.search(r"matrix\.mtx(\.gz)?$", p.name) and p.name[0] != "."
    )
    if matrix is not None:
        found = [matrix]
    prefixes = {p.name.partition("matrix.mtx")[0] for p in found if "matrix.mtx" in p.name} or {""}
    if len(prefixes) > 1:
        raise CarseqError(
            f"the folder {folder} holds several matrices",
            ", ".join(p.name for p in found[:4]),
            "give each sample's matrix a folder of its own, or name the one file ...matrix.mtx",
        )
    if not found:
        raise not_here(folder)
    prefix = next(iter(prefixes))

    def beside(*names: str) -> Path:
        for name in names:
            for ending in (".gz", ""):
                if (one := folder / f"{prefix}{name}{ending}").is_file():
                    return one
        raise CarseqError(
            f"the matrix {folder} is not whole",
            f"it lacks {prefix}{names[0]}",
            "give the whole folder: matrix.mtx, features.tsv (or genes.tsv) and barcodes.tsv",
        )

    parts = found[0], beside("features.tsv", "genes.tsv"), beside("barcodes.tsv")
    for part in parts:
        _check_one_of(part)
    return parts


def _check_one_of(path: Path) -> None:
    """Refuse a file of a matrix that is there twice, plain and gzipped, and not the same: nothing says which is meant.

    The counts of one run would be read beside the barcodes of another.
    """
    plain = path.with_name(path.name.removesuffix(".gz"))
    zipped = path.with_name(f"{plain.name}.gz")
    if plain.is_file() and zipped.is_file() and _read_bytes(plain) != _read_bytes(zipped):
        raise CarseqError(
            f"{plain} and {zipped.name} are not the same",
            "one of them is probably of an earlier run",
            "keep the one that belongs to the other files of the folder, and remove the other",
        )


def _read_bytes(path: Path) -> bytes:
    from isal import igzip

    raw = path.read_bytes()
    raw = igzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    check_kind(path, raw[:400])
    return raw


def _list_bytes(path: Path) -> bytes:
    """Return a list of features or barcodes."""
    raw = _read_bytes(path)
    if (odd := _CONTROL.search(raw)) is not None:
        raise _odd_byte(path, odd)
    return raw


def _odd_byte(path: Path, odd: re.Match[bytes]) -> CarseqError:
    return CarseqError(
        f"{path} is damaged",
        f"it holds the byte {odd.group()!r} at {odd.start():,}",
        "transfer it again; compare its md5 with the sender's",
    )


def _listed(raw: bytes, n: int, numbered: int = 2) -> list[list[str]]:
    """Return the cells of a list of features or barcodes, by line; ``n`` is how many the matrix has.

    Separated by tabs, or as R and spreadsheets write tables: by commas, semicolons or blanks, in quotation marks, with
    a header, or with a number before each line, if it has ``numbered`` cells with it.
    """
    lines = [line for line in raw.decode("utf-8-sig").splitlines() if line.strip()]
    if lines and not any("\t" in line for line in lines):
        body = lines[1:] or lines
        for mark, one in ((",", "\t"), (";", "\t"), ('" "', '"\t"')):
            if all(mark in line for line in body):
                lines = [line.replace(mark, one) for line in lines]
                break
        else:
            # The third column is a type, which has a blank of its own.
            if all(_BY_BLANKS.fullmatch(line) for line in body):
                lines = [re.sub(r"(?<=\S) +", "\t", line, count=2) for line in lines]
    rows = [[bare_name(cell) for cell in line.split("\t")] for line in lines]
    # pandas leaves the name of the row numbers empty.
    if len(rows) == n + 1 and (
        _HEADER & {cell.lower() for cell in rows[0]} or not rows[0][0] or _is_title(rows)
    ):
        rows = rows[1:]
    if (
        len(rows) > 1
        and any(
            all(len(r) >= numbered and r[0] == str(i) for i, r in enumerate(rows, first))
            for first in (1, 0)
        )
        # Not an id that is a number, before a name and a type.
        and (len(rows[0]) < 3 or rows[0][2] not in TYPES)
    ):
        rows = [row[1:] for row in rows]
    return rows


def _is_title(rows: list[list[str]]) -> bool:
    """Return whether the first row alone is no barcode and no id of Ensembl, as a header in any words is."""

    def tells(row: list[str]) -> bool:
        return any(_ENSEMBL.match(cell) or _BARCODE.fullmatch(cell) for cell in row)

    some = rows[1 : _SOME + 1]
    return not tells(rows[0]) and sum(map(tells, some)) > 0.9 * len(some)


def _barcode_lines(path: Path, n: int) -> tuple[int, Callable[[npt.NDArray[np.int64]], Strings]]:
    """Return how many barcodes a list has, and what gives those of some lines.

    Of millions of one width only those asked for are cut out. ``n`` is how many the matrix has.
    """
    raw = _list_bytes(path)
    width = raw.find(b"\n") + 1
    if width > 1 and raw[:1].isalnum() and len(raw) % width == 0:
        text = np.frombuffer(raw, dtype=np.uint8).reshape(-1, width)
        if (text[:, -1] == ord("\n")).all() and (text[:, :-1] > ord(" ")).all():
            return len(text), lambda rows: np.array(
                [bytes(line).decode() for line in text[rows, :-1]], dtype=object
            )
    words = [row[0] for row in _listed(raw, n)]
    listed = np.array([word for word in words if word], dtype=object)
    return len(listed), lambda rows: listed[rows]


def _entries(matrix: Path) -> sparse.coo_array:
    """Read a MatrixMarket file of counts."""
    import io

    from scipy import io as scipy_io
    from scipy import sparse

    raw = _read_bytes(matrix).removeprefix(BOM_UTF8)
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    head = raw[:200].split(b"\n")[0].lower().split()
    if head[:1] != [b"%%matrixmarket"] or not _NUMBERS & set(head):
        raise CarseqError(
            f"{matrix} is not a matrix of counts",
            f"it begins {raw[:60]!r}",
            "give a MatrixMarket file of integers, as Cell Ranger and STARsolo write it",
        )
    entries = raw[raw.find(b"\n") + 1 :]
    # Comments may be in any language.
    entries = entries[_COMMENTS.match(entries).end() :]  # type: ignore[union-attr]
    # SciPy's reader crashes the process on some bytes that are not text, and on a last line that is cut off.
    if (odd := re.search(rb"[^\t\n\x20-\x7e]", entries)) is not None:
        raise _odd_byte(matrix, odd)
    entries = entries.rstrip() + b"\n"
    _check_numbers(matrix, entries)
    if b"coordinate" in head:
        _check_columns(matrix, entries)
    # Read as integers, a value of 0.5 would silently become 0.
    first = b" ".join(b"real" if word in _NUMBERS else word for word in head[1:])
    text = b"%%MatrixMarket " + first + b"\n" + entries
    return sparse.coo_array(scipy_io.mmread(io.BytesIO(text), spmatrix=False))


def _check_numbers(matrix: Path, entries: bytes) -> None:
    """Raise unless the entries are of numbers alone: SciPy's reader passes over what stands behind one (1,5 is 1)."""
    letters = set(entries.translate(None, _OF_NUMBERS))
    if letters <= _NOT_A_NUMBER:
        return
    odd = next(c for c in sorted(letters - _NOT_A_NUMBER))
    at = entries.find(bytes((odd,)))
    line = entries[entries.rfind(b"\n", 0, at) + 1 : entries.find(b"\n", at)].decode()
    comma = chr(odd) == ","
    raise CarseqError(
        f"{matrix} holds entries that are no numbers",
        f"{line[:60]!r}" + (", with a comma in a number" if comma else ""),
        "write the numbers with a point, and raw counts, which are whole: corrected or normalised ones cannot be used"
        if comma
        else "give the matrix as the counting program wrote it; transfer it again if it is that",
    )


def _check_columns(matrix: Path, entries: bytes) -> None:
    """Raise where entries have further columns, which SciPy's reader passes over: they may be the molecules."""
    first = entries.find(b"\n") + 1
    ends = entries[first : entries.find(b"\n", first)], entries[entries.rfind(b"\n", 0, -1) + 1 :]
    line = next((end for end in ends if len(end.split()) > _COLUMNS), b"")
    if line:
        raise CarseqError(
            f"{matrix} has {len(line.split())} columns",
            f"a gene, a barcode and a count are expected, and it holds {line.decode().strip()!r}",
            "write one count behind gene and barcode, that of molecules",
        )


def _text_lines(path: Path) -> list[str]:
    return [
        bare_name(line) if "," not in line else line
        for line in _read_bytes(path).decode("utf-8-sig").splitlines()
    ]
