"""Count matrices of 10x, STARsolo and AnnData: one reader, whatever the container, that keeps the feature types.

A matrix is refused where it is not what it must be: raw counts (whole, finite, not negative) of barcodes by features,
each named once.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.errors import CarseqError
from carseq.io.fasta import check_kind, is_gzipped
from carseq.io.genes import gene_symbols, marker_genes
from carseq.io.layouts import Layout, layout_of, not_here, remedy_for
from carseq.log import get_logger
from carseq.schema.percent import plain_percent

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

log = get_logger(__name__)

#: How 10x names the types of features (Cell Ranger, "Feature Reference CSV" and "Feature-Barcode Matrices").
GENE = "Gene Expression"
ANTIBODY = "Antibody Capture"
MULTIPLEXING = "Multiplexing Capture"
TYPES = (
    GENE, ANTIBODY, MULTIPLEXING, "CRISPR Guide Capture", "Antigen Capture", "VDJ", "VDJ-T", "VDJ-B", "Custom", "Peaks",
)  # fmt: skip
#: Where programs keep antibody counts beside the genes of an AnnData: carseq, scvi-tools, totalVI's tutorials, muon.
PROTEIN_KEYS = (
    "protein", "protein_expression", "protein_counts", "antibody_capture", "antibody", "ADT", "adt", "prot",
)  # fmt: skip
#: Columns of ``var`` that hold the types of features.
TYPE_COLUMNS = ("feature_types", "feature_type")
#: Layers in which programs keep the counts of an AnnData whose X is normalised.
COUNT_LAYERS = (
    "counts", "raw_counts", "raw_count", "raw", "umi_counts", "umis", "UMIs", "umi", "count",
)  # fmt: skip
#: Names of features that are no genes, in a matrix without types of features: antibodies (BioLegend's TotalSeq, the
#: prefixes of Seurat and muon), and peaks of open chromatin (chr1:9772-10660).
_ANTIBODY_NAME = re.compile(
    r"([ ._-]TotalSeq([ ._-]?[ABCD])?|[_:](adt|ab|prot|protein|antibody))$|^(adt|ab|prot|antibody)[_:]",
    re.IGNORECASE,
)
_PEAK_NAME = re.compile(r"^(chr)?([0-9]{1,2}|[XYM]|MT|[GK][IL][0-9.]+)[:_-][0-9]+[-_][0-9]+$")
PEAKS = "Peaks"
#: Names of antibodies that mark a sample, not a protein: hashtags (HTO), Cell Ranger's multiplexing oligos (CMO301),
#: MULTI-seq, BD's sample tags.
HASHTAG = re.compile(
    r"(^|[^a-z])(hto|hash([ ._-]?tag)?|cmo|lmo|sample[ ._-]?tag|multi[ ._-]?seq|multiplex(ing)?)([^a-z]|$)"
    r"|(^|[^a-z0-9])[abc]02[56]\d([^0-9]|$)",
    re.IGNORECASE,
)
#: Columns of ``var`` that hold ids beside an index of symbols.
IDS = (
    "gene_ids", "gene_id", "ensembl_id", "ensembl_ids", "ensembl_gene_id", "feature_id", "id", "ensembl", "ENSEMBL",
)  # fmt: skip
#: Columns of ``obs`` that name the sample or the donor of a barcode: AnnData's and scanpy's users, Seurat, CELLxGENE.
SAMPLE_COLUMNS = (
    "sample", "sample_id", "sample_name", "orig.ident", "donor_id", "donor", "patient", "patient_id",
)  # fmt: skip
#: Bytes that no name holds.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1b\x7f]")
#: What 16 or so bases, with what programs put before and behind them, look like.
_BARCODE = re.compile(r"^(.*[^A-Za-z0-9])?[ACGTN]{12,}([-_.#x].*)?$")
#: What people call the feature of a CAR: as whole words, so that CARD8, CARS1, SCARB1 and CARTPT do not match.
_CAR_NAMES = re.compile(
    r"(?<![a-z])p?car(-?t)?(?![a-z])|scfv|wpre|transgene|chima?eric|leucel|"
    r"(axi|tisa|ide|cilta|brexu|liso|obe)-?cel|fmc63|bbz|28z",
    re.IGNORECASE,
)
#: Share of ids that are Ensembl's from which on an id of another form is that of an added sequence.
MOSTLY_ENSEMBL = 0.9
#: Share of a tag's cells from which a sample with hashtags is one sample, not a pool.
ONE_TAG = 0.9
#: Share of the symbols that may name two genes each, if a file has no ids: of GENCODE's, 0.1 % do.
NAMED_TWICE = 0.01
#: More molecules of one gene in one droplet than any droplet holds.
MOST_COUNTED = 10_000_000
#: Genes and entries from which a matrix without a single 1 is not of counted molecules: of real droplets, 1 is the
#: commonest entry.
MIN_GENES, MIN_ENTRIES = 200, 1000
#: Molecules of a droplet from which one of its genes is there twice: MT-CO1, MALAT1, B2M.
MANY_MOLECULES = 500
#: Totals that differ by less than this are one total.
SAME_TOTAL = 0.15

#: How far from a whole number a count may be that was computed back from another scale.
ROUNDING = 1e-3
#: Words of a header above a list of features or barcodes (R's name of a vector: x).
_HEADER = frozenset(
    (
        "x", "v1", "barcode", "barcodes", "cell", "cells", "cell_barcode", "cell_id", "gene", "genes", "gene_id",
        "gene_ids", "gene_name", "gene_symbol", "symbol", "feature", "features", "feature_id", "feature_name",
    )
)  # fmt: skip

Strings = npt.NDArray[np.object_]


@dataclass
class _Read:
    """A matrix as its file holds it: barcodes × features, what the features are, and proteins held apart from them."""

    counts: sparse.csr_matrix
    barcodes: Strings
    ids: Strings
    names: Strings
    types: Strings
    protein: pd.DataFrame | None = None
    #: Whether the file itself gives ids beside names: two genes of one symbol are then told apart.
    has_ids: bool = True
    #: What else the file says about the features, and about the barcodes.
    columns: pd.DataFrame | None = None
    obs: pd.DataFrame | None = None


def read_counts(
    path: str | Path,
    *,
    car: str | None = None,
    needs_car: bool = False,
    symbols: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
    cells: Iterable[str] | None = None,
    allow_empty: bool = False,
) -> AnnData:
    """Read a count matrix of 10x (h5, mtx folder), STARsolo (mtx folder) or AnnData (h5ad).

    Parameters
    ----------
    path
        The file or folder.
    car
        Name of the CAR among the genes.
    needs_car
        Whether the CAR's counts must come from this matrix: a matrix without the gene cannot show a CAR.
    symbols
        Gene symbol by gene id (or what gives them, asked only where they are needed), for a matrix that names its
        genes by their ids alone.
    cells
        The barcodes that are this sample's, of a library that holds several samples. None: the matrix holds one
        sample, and hashtags that say otherwise are an error.
    allow_empty
        Whether a matrix without a count is taken: carseq's own may be so.

    Returns
    -------
    anndata.AnnData
        Barcodes × genes, integer counts in CSR; ``var_names`` are symbols made unique, ``var["gene_id"]``. Barcodes
        without a count, and features that are not genes (hashtags, guides), are left out. Antibody counts become the
        table ``obsm["protein"]``, barcodes × antibodies.

    Raises
    ------
    CarseqError
        If it cannot be read, holds other than counts, names a barcode or a gene twice, is transposed, holds several
        samples, or lacks the CAR where it is needed.
    """
    path = Path(path)
    read = _read(path)
    _spell_car(read, path, car)
    _check_counts(read, path, allow_empty=allow_empty)
    is_gene = are_genes(read.types)
    is_antibody = _lowered(read.types) == ANTIBODY.lower()
    is_tag = _are_hashtags(read)
    _check_one_sample(read, is_tag, path, cells)
    if cells is None:
        _tell_samples(read, path)
    names = _gene_names(read, is_gene, path, symbols, car)
    _check_genes(read, names, is_gene, path, car)
    if needs_car:
        _check_car(read, names, is_gene, path, car)
    adata, seen = _genes_of(read, names, is_gene)
    protein = read.protein
    if (held := is_antibody & ~is_tag).any():
        # 10x names an antibody as its barcode's kit does; two of one name stay apart.
        labels = _unique(read.names[held])
        protein = pd.DataFrame(_whole(read.counts[:, held]).toarray(), read.barcodes, labels)
    if protein is not None and protein.shape[1]:
        adata.obsm["protein"] = protein[seen].astype(np.int32).set_index(adata.obs_names)
    return adata


def gene_counts(
    counts: sparse.csr_matrix, barcodes: Sequence[str], ids: Sequence[str], names: Sequence[str]
) -> AnnData:
    """Return counts that a program has just made, as :func:`read_counts` returns those of a file.

    Parameters
    ----------
    counts
        Barcodes × genes.
    barcodes, ids, names
        Of its rows, and ids and symbols of its columns.
    """
    read = _Read(
        counts,
        np.array(barcodes, dtype=object),
        np.array(ids, dtype=object),
        np.array(names, dtype=object),
        np.full(len(ids), GENE, dtype=object),
    )
    return _genes_of(read, read.names, np.ones(len(ids), dtype=bool))[0]


def _unique(names: Strings) -> pd.Index:
    """Return names of which those that stand twice are told apart."""
    import anndata

    labels = pd.Index(names, dtype=str)
    return labels if labels.is_unique else anndata.utils.make_index_unique(labels)


def _genes_of(
    read: _Read, names: Strings, is_gene: npt.NDArray[np.bool_]
) -> tuple[AnnData, npt.NDArray[np.bool_]]:
    """Return the genes' counts, and which barcodes have one: the others are left out."""
    import anndata

    adata = anndata.AnnData(
        _whole(read.counts[:, is_gene]), obs=pd.DataFrame(index=pd.Index(read.barcodes, dtype=str))
    )
    adata.var_names = _unique(names[is_gene])
    adata.var["gene_id"] = read.ids[is_gene].astype(str)
    seen = np.asarray(adata.X.sum(axis=1)).ravel() > 0
    return adata[seen].copy(), seen


def read_star_matrix(folder: str | Path) -> AnnData:
    """Read a matrix that STARsolo has just written, keeping barcodes with at least one molecule; it may have none.

    Parameters
    ----------
    folder
        Folder with ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv``.

    Returns
    -------
    anndata.AnnData
        As of :func:`read_counts`.
    """
    return read_counts(folder, allow_empty=True)


def _whole(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    from scipy import sparse

    return sparse.csr_matrix(counts).astype(np.int32)


def _lowered(types: Strings) -> npt.NDArray[np.str_]:
    return np.char.lower(types.astype(str))


# Containers


def _read(path: Path) -> _Read:
    """Read a matrix from whatever holds it."""
    suffixes = "".join(path.suffixes[-2:]).lower()
    try:
        if path.is_dir():
            return _read_mtx(path)
        if suffixes.endswith(".h5ad"):
            return _read_h5ad(path)
        if suffixes.endswith((".h5", ".hdf5")):
            return _read_h5(path)
        if suffixes.endswith((".mtx", ".mtx.gz")):
            return _read_mtx(path.parent, path)
        if not path.exists():
            raise CarseqError(f"there is no matrix {path}", "", "check the path")
        kind = Path(path.name.removesuffix(".gz")).suffix if path.suffix == ".gz" else path.suffix
        if path.suffix == ".gz" and kind in (".h5ad", ".h5", ".hdf5"):
            raise _zipped(path)
        raise CarseqError(
            f"{path} is not a matrix that carseq reads",
            f"its name ends with {kind or 'no suffix'}",
            remedy_for(kind)
            or "give a 10x .h5, a folder with matrix.mtx, features.tsv and barcodes.tsv, or an .h5ad",
        )
    except CarseqError:
        raise
    # What damaged bytes make h5py, anndata, zlib and scipy raise is of any type: all of it means one thing.
    except Exception as error:
        if path.is_file() and os.access(path, os.R_OK):
            if not path.stat().st_size:
                raise CarseqError(
                    f"the matrix {path} is empty", "it has no byte", "transfer it again"
                ) from None
            if is_gzipped(path) and ".mtx" not in suffixes:
                raise _zipped(path) from None
            check_kind(path)
        raise CarseqError(
            f"cannot read the matrix {path}",
            " ".join(str(error).split())[:300] or type(error).__name__,
            "give a 10x .h5, an mtx folder or an .h5ad; if it is one, transfer it again: it may be damaged",
        ) from None


def _zipped(path: Path) -> CarseqError:
    return CarseqError(
        f"the matrix {path} is compressed by gzip",
        "HDF5 is read as it is",
        "unpack it (`gunzip`; a .tar.gz by `tar -xzf`) and give what is inside",
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


def _listed(raw: bytes, n: int, numbered: int = 2) -> list[list[str]]:
    """Return the cells of a list of features or barcodes, by line; ``n`` is how many the matrix has.

    Separated by tabs, or as R and spreadsheets write tables: by commas or blanks, in quotation marks, with a header, or
    with a number before each line, if it has ``numbered`` cells with it.
    """
    lines = [line for line in raw.decode("utf-8-sig").splitlines() if line.strip()]
    if not any("\t" in line for line in lines):
        for mark in (",", '" "'):
            if lines and all(mark in line for line in lines[1:] or lines):
                lines = [line.replace(mark, "\t" if mark == "," else '"\t"') for line in lines]
                break
    rows = [[bare_name(cell) for cell in line.split("\t")] for line in lines]
    if len(rows) == n + 1 and _HEADER & {cell.lower() for cell in rows[0]}:
        rows = rows[1:]
    if (
        len(rows) > 1
        and all(len(r) >= numbered and r[0] == str(i) for i, r in enumerate(rows, 1))
        # Not an id that is a number, before a name and a type.
        and (len(rows[0]) < 3 or rows[0][2] not in TYPES)
    ):
        rows = [row[1:] for row in rows]
    return rows


def bare_name(name: Any) -> str:
    """Return a name without blanks and quotation marks around it."""
    text = str(name).strip()
    if len(text) > 2 and text[0] == text[-1] == '"':
        text = text[1:-1].strip()
    return text


def _names(values: Iterable[Any]) -> Strings:
    return np.array([bare_name(value) for value in values], dtype=object)


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

    raw = _read_bytes(matrix)
    head = raw[:200].split(b"\n")[0].lower().split()
    if head[:1] != [b"%%matrixmarket"] or not {b"integer", b"real"} & set(head):
        raise CarseqError(
            f"{matrix} is not a matrix of counts",
            f"it begins {raw[:60]!r}",
            "give a MatrixMarket file of integers, as Cell Ranger and STARsolo write it",
        )
    # SciPy's reader crashes the process on some bytes that are not text, and on a last line that is cut off.
    if (odd := re.search(rb"[^\t\n\r\x20-\x7e]", raw)) is not None:
        raise _odd_byte(matrix, odd)
    raw = raw.rstrip() + b"\n"
    # Read as integers, a value of 0.5 would silently become 0.
    first, end, entries = raw.partition(b"\n")
    text = re.sub(rb"^(%%MatrixMarket.*)integer", rb"\1real", first) + end + entries
    return sparse.coo_array(scipy_io.mmread(io.BytesIO(text), spmatrix=False))


def _text_lines(path: Path) -> list[str]:
    return [
        bare_name(line) if "," not in line else line
        for line in _read_bytes(path).decode("utf-8-sig").splitlines()
    ]


def _of_layout(layout: Layout) -> _Read:
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
            raise _repeated(path, stored.nnz - own.nnz, stored.nnz)
        total = total + own
    seen = np.flatnonzero(np.diff(total.indptr))
    counts, ids, names = total[seen], layout.ids, layout.names
    if layout.summed:
        of_gene = {name: i for i, name in enumerate(dict.fromkeys(ids))}
        columns = np.array([of_gene[name] for name in ids])
        size = len(ids), len(of_gene)
        ones = (np.ones(len(ids)), (np.arange(len(ids)), columns))
        counts, ids = sparse.csr_matrix(counts @ sparse.csr_matrix(ones, shape=size)), list(of_gene)
        names = ids
    named = np.array(names, dtype=object)
    barcodes = np.array(layout.barcodes, dtype=object)[seen]
    return _Read(counts, barcodes, np.array(ids, dtype=object), named, types_by_name(named))


def _repeated(matrix: Path, n: int, of: int) -> CarseqError:
    return CarseqError(
        f"{matrix} counts some genes twice in one barcode",
        f"{n:,} of its {of:,} entries repeat a place",
        "give the file as the counting program wrote it",
    )


def _read_mtx(folder: Path, matrix: Path | None = None) -> _Read:
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
            raise _transposed(matrix)
        raise CarseqError(
            f"the matrix {folder} does not fit its lists",
            f"{matrix.name} is of {stored.shape[0]:,} × {stored.shape[1]:,}, {features.name} has {len(table):,} "
            f"features and {barcodes.name} {n_barcodes:,} barcodes",
            "give the three files of one run, whole",
        )
    used, rows = np.unique(stored.col, return_inverse=True)
    counts = sparse.csr_matrix((stored.data, (rows, stored.row)), shape=(len(used), len(table)))
    if counts.nnz < stored.nnz:
        raise _repeated(matrix, stored.nnz - counts.nnz, stored.nnz)
    ids = np.array([row[0] for row in table], dtype=object)
    names = np.array([row[1] if len(row) > 1 else row[0] for row in table], dtype=object)
    types = np.array([row[2] if len(row) > 2 else GENE for row in table], dtype=object)
    if not any(len(row) > 2 for row in table):
        types = types_by_name(names)
    return _Read(counts, barcodes_at(used), ids, names, types)


def _read_h5(path: Path) -> _Read:
    """Read a 10x file: of Cell Ranger 3 and later (``matrix``), or of an earlier one (a group a genome)."""
    import h5py
    from scipy import sparse

    def texts(stored: Any) -> Strings:
        return np.array(
            [v.decode() if isinstance(v, bytes) else str(v) for v in stored[:]], dtype=object
        )

    with h5py.File(path, "r") as file:
        if "matrix" in file:
            group = file["matrix"]
            features = group["features"]
            ids, names = texts(features["id"]), texts(features["name"])
            types = (
                texts(features["feature_type"])
                if "feature_type" in features
                else np.full(len(ids), GENE, dtype=object)
            )
        else:
            groups = [name for name in file if isinstance(file[name], h5py.Group)]
            if len(groups) != 1 or "genes" not in file[groups[0]]:
                raise CarseqError(
                    f"{path} is not a matrix of 10x",
                    f"it holds {', '.join(map(str, file)) or 'nothing'}",
                    "give raw_feature_bc_matrix.h5 or filtered_feature_bc_matrix.h5 of Cell Ranger",
                )
            group = file[groups[0]]
            ids, names = texts(group["genes"]), texts(group["gene_names"])
            types = np.full(len(ids), GENE, dtype=object)
        barcodes = texts(group["barcodes"])
        n_features, n_barcodes = (int(n) for n in group["shape"][:])
        parts = (group["data"][:], group["indices"][:], group["indptr"][:])
    if (n_features, n_barcodes) != (len(ids), len(barcodes)) or len(parts[2]) != n_barcodes + 1:
        raise CarseqError(
            f"the matrix {path} does not fit its lists",
            f"it is of {n_features:,} × {n_barcodes:,}, with {len(ids):,} features and {len(barcodes):,} barcodes",
            "give the file as Cell Ranger wrote it",
        )
    counts = sparse.csr_matrix(parts, shape=(n_barcodes, n_features))
    counts.check_format(full_check=True)
    return _Read(counts, barcodes, ids, names, types)


def _read_h5ad(path: Path) -> _Read:
    """Read an AnnData file: its layer ``counts``, else X, else ``raw``: the first that holds whole numbers."""
    import anndata
    from scipy import sparse

    with warnings.catch_warnings():
        # Names that occur twice are reported below, with what to do.
        warnings.simplefilter("ignore")
        adata = anndata.read_h5ad(path)
    held = matrices_of(adata)
    if not held:
        raise CarseqError(f"{path} holds no matrix", "X is empty", "give an h5ad of raw counts")
    whole = next((h for h in held if h[1].dtype != bool and _are_whole(h[1])), None)
    where, matrix, var = whole or held[-1]
    if where not in ("X", 'layers["counts"]'):
        log.info("%s: the counts are those of %s", path, where)
    if (most := max(len(genes) for *_, genes in held)) > len(var):
        log.warning(
            "%s: %s has the counts of %d genes of %d: a cell's total is then too small, and the share of the CAR too "
            "large; give a file with the counts of all genes",
            path,
            where,
            len(var),
            most,
        )
    counts = sparse.csr_matrix(matrix)
    if counts.dtype == bool:
        raise CarseqError(
            f"{path} holds no counts of molecules",
            f"{where} says true or false: which genes were seen, not how often",
            "give the raw matrix",
        )
    if whole and counts.dtype.kind == "f":
        # What was computed back from another scale is whole but for rounding.
        counts.data = np.rint(counts.data)
    elif not whole and (
        layers := [n for n in adata.layers if n not in COUNT_LAYERS and _are_counts(adata, n)]
    ):
        raise CarseqError(
            f"{path} holds no raw counts in X",
            f"whole numbers are in its layer{'s' if len(layers) > 1 else ''} {', '.join(layers)}",
            'if a layer holds the counts of all molecules, name it "counts"; spliced molecules alone are not all',
        )
    index = _names(var.index)

    def column(known: Iterable[str]) -> Strings | None:
        found = next((name for name in known if name in var), None)
        return None if found is None else _names(var[found])

    own_ids = column(IDS)
    protein = proteins_apart(adata)
    return _Read(
        counts,
        _names(adata.obs_names),
        index if own_ids is None else own_ids,
        index,
        feature_types(var),
        protein,
        has_ids=own_ids is not None,
        columns=var,
        obs=adata.obs,
    )


def matrices_of(adata: AnnData) -> list[tuple[str, Any, pd.DataFrame]]:
    """Return where an AnnData may hold its counts, in the order in which they are looked for, each with its genes.

    Layers of :data:`COUNT_LAYERS` in letters of any case, X, ``raw.X``; what is kept on disk (``backed``) is read.
    ``raw.X`` comes first where it has more genes: the others are then of the variable genes alone.
    """
    spelt = {name.lower(): name for name in reversed(list(adata.layers))}
    spelt |= {name: name for name in adata.layers}
    names = dict.fromkeys(spelt[n] for n in COUNT_LAYERS if n in spelt)
    held = [(f'layers["{n}"]', adata.layers[n], adata.var) for n in names]
    if adata.X is not None:
        held.append(("X", adata.X, adata.var))
    if adata.raw is not None:
        held.append(("raw.X", adata.raw.X, adata.raw.var))
    held.sort(key=lambda one: -len(one[2]))
    return [(where, _in_memory(matrix), var) for where, matrix, var in held]


def _in_memory(matrix: Any) -> Any:
    """Read a matrix that is kept on disk; another is returned as it is."""
    if hasattr(matrix, "to_memory"):
        return matrix.to_memory()
    return matrix[:] if type(matrix).__module__.startswith("h5py") else matrix


def feature_types(var: pd.DataFrame) -> Strings:
    """Return the type of each feature, shape (n_features,), in 10x's words.

    From the column of ``var`` that holds them, by whatever name. Without such a column, antibodies and peaks are
    recognized by their names; the other features are genes.
    """
    column = next((name for name in TYPE_COLUMNS if name in var), None)
    if column is None:
        column = next((name for name in var.columns if _holds_types(var[name])), None)
    if column is None:
        return types_by_name(var.index.to_numpy(dtype=object))
    return var[column].astype(str).to_numpy(dtype=object)


def _holds_types(column: pd.Series) -> bool:
    """Return whether a column says which features are genes."""
    if pd.api.types.is_numeric_dtype(column):
        return False
    # Not "Custom" or "VDJ", which other columns may hold.
    words = {word.lower() for word in (GENE, ANTIBODY, MULTIPLEXING, PEAKS)}
    return bool(words & {value.lower() for value in column.astype(str).unique()[: len(TYPES)]})


def types_by_name(names: Strings) -> Strings:
    """Return the type of each feature by its name: antibody, peak, else gene; shape (n_features,)."""
    kinds = ((_ANTIBODY_NAME, ANTIBODY), (_PEAK_NAME, PEAKS))
    return np.array(
        [next((t for p, t in kinds if p.search(str(name))), GENE) for name in names], dtype=object
    )


def proteins_apart(adata: AnnData) -> pd.DataFrame | None:
    """Return the antibody counts that an AnnData holds beside its genes, or None.

    The first of :data:`PROTEIN_KEYS` in ``obsm`` that holds counts; the antibodies' names are those of its columns, or
    in ``uns["protein_names"]``.
    """
    from scipy import sparse

    for key in PROTEIN_KEYS:
        if key not in adata.obsm:
            continue
        given = adata.obsm[key]
        if not isinstance(given, pd.DataFrame):
            values = given.toarray() if sparse.issparse(given) else np.asarray(given)
            names = adata.uns.get("protein_names")
            if names is None or len(names) != values.shape[1]:
                names = [f"protein {i + 1}" for i in range(values.shape[1])]
            given = pd.DataFrame(values, columns=[str(name) for name in names])
        values = given.to_numpy(float)
        if np.isfinite(values).all() and (values >= 0).all() and (values == np.rint(values)).all():
            return given.set_axis(adata.obs_names.astype(str)).rename(columns=str)
        log.warning("obsm[%r] holds no antibody counts (it was normalised): left out", key)
    return None


def _are_whole(matrix: Any) -> bool:
    """Return whether all values are whole numbers, but for rounding, and none is negative."""
    data = matrix.data if hasattr(matrix, "indptr") else np.asarray(matrix)
    if data.dtype == bool or data.dtype.kind == "u":
        return True
    with np.errstate(invalid="ignore"):
        if not (np.isfinite(data).all() and (data >= 0).all()):
            return False
        whole = np.rint(data)
        # A share of 0.0001 is not nearly 0.
        return bool(((np.abs(data - whole) <= ROUNDING) & ((whole > 0) | (data == 0))).all())


def _are_counts(adata: AnnData, layer: str) -> bool:
    matrix = _in_memory(adata.layers[layer])
    return matrix.dtype.kind in "iuf" and _are_whole(matrix)


# What the matrix must be


def _check_counts(read: _Read, path: Path, *, allow_empty: bool) -> None:
    """Raise unless the matrix holds counts of barcodes by features, each barcode once."""
    data = read.counts.data
    if not allow_empty:
        for n, what in ((len(read.barcodes), "barcode with a count"), (len(read.ids), "feature")):
            if not n:
                raise CarseqError(
                    f"the matrix {path} holds no {what}", "", "give the matrix, whole"
                )
    looks_swapped = _share(_BARCODE, read.names) > 0.5 and _share(_BARCODE, read.barcodes) < 0.5
    if looks_swapped:
        raise _transposed(path)
    _tell_twice(pd.Index(read.barcodes), path, "barcode")
    if not np.isfinite(data).all():
        raise CarseqError(
            f"{path} holds values that are not numbers",
            _place(read, ~np.isfinite(data)),
            "give the raw matrix, as the counting program wrote it",
        )
    if (data < 0).any():
        raise CarseqError(
            f"{path} holds negative values",
            _place(read, data < 0),
            "give raw counts: these are scaled, or corrected for a background",
        )
    if (data != np.rint(data)).any():
        raise CarseqError(
            f"{path} holds no raw counts",
            f"some values are not whole numbers: {_place(read, data != np.rint(data))}",
            "give the raw matrix; normalised, corrected or imputed values cannot be used",
        )
    if (data > MOST_COUNTED).any():
        raise CarseqError(
            f"{path} holds no counts of molecules",
            _place(read, data > MOST_COUNTED),
            "give the raw matrix: these values are scaled",
        )
    if not allow_empty and not data.any():
        raise CarseqError(
            f"the matrix {path} counts nothing", "all its values are 0", "give the raw matrix"
        )
    check_molecules(read.counts, str(path))


def check_molecules(counts: Any, what: str) -> None:
    """Raise where whole numbers are not counts of molecules, and warn where they may be none.

    Parameters
    ----------
    counts
        Whole numbers, CSR, n_barcodes × n_features.
    what
        The matrix, in words.

    Raises
    ------
    CarseqError
        If no value is 1, the commonest count of a molecule, or none is more than 1.
    """
    counted = counts.data[counts.data > 0]
    if counts.shape[1] < MIN_GENES or len(counted) < MIN_ENTRIES:
        return
    if counted.min() > 1:
        raise CarseqError(
            f"{what} holds no counts of molecules",
            f"of its {len(counted):,} values above 0 none is 1, the commonest count: they are scaled",
            "give the raw matrix",
        )
    totals = np.asarray(counts.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    if counted.max() == 1 and np.median(totals) >= MANY_MOLECULES:
        raise CarseqError(
            f"{what} holds no counts of molecules",
            f"none of its {len(counted):,} values is more than 1: it says which genes were seen, not how often",
            "give the raw matrix",
        )
    middle = float(np.median(totals))
    if len(totals) >= 20 and np.mean(np.abs(totals - middle) < SAME_TOTAL * middle) > 0.95:
        log.warning(
            "%s: every barcode has about %.0f molecules: it was normalised and rounded, or downsampled to one depth; "
            "if normalised, give the raw matrix",
            what,
            middle,
        )


def _place(read: _Read, bad: npt.NDArray[np.bool_]) -> str:
    """Say which value of the matrix is the first of the bad ones."""
    at = int(np.flatnonzero(bad)[0])
    row = int(np.searchsorted(read.counts.indptr, at, side="right")) - 1
    value = read.counts.data[at]
    return f"{value:g} for {read.names[read.counts.indices[at]]} in {read.barcodes[row]}"


def _share(pattern: re.Pattern[str], texts: Strings) -> float:
    """Return the share of texts that a pattern fits; of many, of a thousand evenly over them."""
    some = texts[:: max(1, len(texts) // 1000)]
    return sum(bool(pattern.match(str(t))) for t in some) / max(1, len(some))


def _transposed(path: Path) -> CarseqError:
    return CarseqError(
        f"the matrix {path} is transposed",
        "barcodes stand where features should, and features where barcodes should",
        "give barcodes as rows (`adata.T` in an h5ad) or, in an mtx file, as columns, as 10x writes them",
    )


def _tell_twice(names: pd.Index, path: Path, what: str) -> None:
    if names.is_unique:
        return
    twice = names[names.duplicated()]
    raise CarseqError(
        f"the matrix {path} names {'a' if len(twice) == 1 else len(twice)} {what}{'s' if len(twice) > 1 else ''} twice",
        f"such as {twice[0]}",
        f"give every {what} once; matrices of several libraries that were joined need a prefix for each library"
        if what == "barcode"
        else "keep each gene once, or give gene ids beside the symbols (`var['gene_ids']`)",
    )


def are_genes(types: Strings) -> npt.NDArray[np.bool_]:
    """Return which features are genes. A column that holds none of 10x's words is not a column of types."""
    lowered = _lowered(types)
    if not np.isin(lowered, [t.lower() for t in TYPES]).any():
        return np.ones(len(types), dtype=bool)
    return np.asarray(lowered == GENE.lower())


def _are_hashtags(read: _Read) -> npt.NDArray[np.bool_]:
    """Return which features mark a sample, by their type or, among antibodies, by their name."""
    lowered = _lowered(read.types)
    tags = np.asarray(lowered == MULTIPLEXING.lower())
    for i in np.flatnonzero(lowered == ANTIBODY.lower()):
        tags[i] = bool(HASHTAG.search(str(read.names[i])) or HASHTAG.search(str(read.ids[i])))
    return tags


def _check_one_sample(
    read: _Read, is_tag: npt.NDArray[np.bool_], path: Path, cells: Iterable[str] | None
) -> None:
    """Raise where hashtags say that the matrix holds several samples, and nothing says which cells are whose."""
    if is_tag.sum() < 2 or cells is not None:
        return
    tags = read.counts[:, is_tag].toarray()
    # The cells, roughly: the barcodes that hold the upper half of the molecules.
    total = np.asarray(read.counts[:, ~is_tag].sum(axis=1)).ravel()
    order = np.argsort(-total)
    top = order[: int(np.searchsorted(np.cumsum(total[order]), 0.5 * total.sum())) + 1]
    tags = tags[top][tags[top].sum(axis=1) >= 10]
    if not len(tags):
        return
    # Each tag is compared with its own level, since antibodies differ in how well they stain.
    own = tags.argmax(axis=1)
    share = np.bincount(own, minlength=tags.shape[1]) / len(tags)
    if share.max() >= ONE_TAG:
        return
    names = [str(n) for n in read.names[is_tag]]
    used = [f"{n} {plain_percent(s)}" for n, s in zip(names, share, strict=True) if s > 0][:6]
    raise CarseqError(
        f"the matrix {path} is of several samples that were pooled",
        f"it counts {len(names)} hashtags, and its cells differ in them: {', '.join(used)}",
        "give each sample its own matrix (Cell Ranger multi: per_sample_outs/*/count/sample_filtered_feature_bc_matrix)"
        ", or beside the pool's `raw_matrix` the sample's own cells in `matrix`",
    )


def _tell_samples(read: _Read, path: Path) -> None:
    """Warn where the file says that its barcodes are of several samples."""
    for name in SAMPLE_COLUMNS:
        if read.obs is None or name not in read.obs:
            continue
        held = read.obs[name].dropna().astype(str).unique()
        if 1 < len(held) < len(read.obs) / 2:
            log.warning(
                "%s: obs[%r] names %d samples or donors (%s): they are taken for one sample; give each its own matrix",
                path,
                name,
                len(held),
                ", ".join(held[:4]),
            )
            return


# What the genes are called


def car_name(feature: str) -> str:
    """Return how a configuration names a feature: with ``_`` for what a contig and a folder cannot be called.

    >>> car_name("CAR;CAR"), car_name("(CAR)"), car_name("BCMA-CAR.1")
    ('CAR_CAR', 'CAR', 'BCMA-CAR.1')
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "_", feature).lstrip("._-").rstrip("_") or "CAR"


def _spell_car(read: _Read, path: Path, car: str | None) -> None:
    """Give the one feature that the configuration cannot name otherwise (``CAR;CAR``) the CAR's name, in place."""
    if car is None or (read.names == car).any():
        return
    genes = np.flatnonzero(are_genes(read.types))
    meant = [i for i in genes if car_name(str(read.names[i])) == car]
    if len(meant) == 1:
        log.info("%s: the feature %s is taken for the CAR %s", path, read.names[meant[0]], car)
        read.names = read.names.copy()
        read.names[meant[0]] = car


def _gene_names(
    read: _Read,
    is_gene: npt.NDArray[np.bool_],
    path: Path,
    symbols: Mapping[str, str] | Callable[[], Mapping[str, str]] | None,
    car: str | None,
) -> Strings:
    """Return the features' names, genes by their symbols where the file or the annotation knows them."""
    names = read.names.copy()
    own = pd.Index(names[is_gene].astype(str))
    columns = None if read.columns is None else read.columns[is_gene]
    # An annotation that is given knows all genes by their ids, not the markers alone.
    found = gene_symbols(own, columns, own_ids=symbols is None)
    if symbols is not None and not marker_genes().intersection(found.names) and own.size:
        known = symbols() if callable(symbols) else symbols
        found = gene_symbols(own, columns, by_id=known)
    if not found.names.equals(own):
        log.info("%s: gene symbols are from %s", path, found.source)
    # The CAR's row has the CAR's name, whatever the other genes are called by.
    names[is_gene] = [o if o == car else str(n) for o, n in zip(own, found.names, strict=True)]
    return names


def _check_genes(
    read: _Read,
    names: Strings,
    is_gene: npt.NDArray[np.bool_],
    path: Path,
    car: str | None,
) -> None:
    """Raise where a gene occurs twice; two genes of one symbol are told apart by their ids."""
    own = [f"{i}\t{n}" for i, n in zip(read.ids[is_gene], read.names[is_gene], strict=True)]
    held = pd.Index(own) if read.has_ids else pd.Index(read.names[is_gene])
    twice = held[held.duplicated()]
    # Some symbols of human annotations name two genes each; without ids these look like a mistake.
    if len(twice) > (0 if read.has_ids else NAMED_TWICE * len(held)):
        _tell_twice(pd.Index([str(t).split("\t")[-1] for t in twice.append(twice)]), path, "gene")
    if car is not None and (names[is_gene] == car).sum() > 1:
        raise CarseqError(
            f"the matrix {path} has {(names[is_gene] == car).sum()} genes named {car}",
            "",
            "give `construct.name` as one of them is spelt, or join their counts",
        )


def _check_car(
    read: _Read, names: Strings, is_gene: npt.NDArray[np.bool_], path: Path, car: str | None
) -> None:
    """Raise where no gene has the CAR's name."""
    if (names[is_gene] == car).any():
        return
    if (others := sorted(set(read.types[(names == car) & ~is_gene]))) or (
        others := sorted(set(read.types[(read.ids == car) & ~is_gene]))
    ):
        kind = ", ".join(map(str, others))
        raise CarseqError(
            f"{path} has no gene named {car}: the feature of this name is of type {kind}",
            "it counts no molecules of the CAR's mRNA",
            "give a matrix whose reference holds the CAR's sequence, or the FASTQ files or the BAM",
        )
    like = near_names(names[is_gene], car or "", read.ids[is_gene])
    raise CarseqError(
        f"{path} has no feature named {car}",
        "the sample has no reads, so its CAR counts can only come from this matrix",
        (
            f"write `construct.name: {car_name(like[0])}` if {_that(like[0])} is the CAR; "
            if len(like) == 1
            else ""
        )
        + (f"names that may be the CAR's are {', '.join(like)}: " if len(like) > 1 else "")
        + "give `construct.name` as the matrix spells it, a matrix made with the CAR in its reference, or the "
        "FASTQ files or the BAM",
    )


def _that(feature: str) -> str:
    return "that" if car_name(feature) == feature else f"the feature {feature}"


def near_names(
    names: Iterable[str], car: str, ids: Iterable[str] | None = None, most: int = 5
) -> list[str]:
    """Return the features that may be the CAR's, the likeliest first.

    Parameters
    ----------
    names
        Names of the features.
    car
        The CAR's name as it was asked for.
    ids
        Their ids, in the same order. Where nearly all are Ensembl's, one of its own is that of an added sequence.
    most
        Names to return at most.

    Returns
    -------
    list of str
        First what is spelt otherwise or has the CAR's name as its id; else what resembles the name, is called as CARs
        are, or was added to a reference of Ensembl's genes.
    """
    import difflib

    genes = [str(name) for name in names]
    keys = [str(i) for i in ids] if ids is not None else genes
    same = [
        n
        for n, i in zip(genes, keys, strict=True)
        if n.lower() == car.lower() or i.lower() == car.lower()
    ]
    if same:
        return same[:most]
    ensembl = [key.split("_")[-1].startswith("ENS") for key in keys]
    added = (
        [n for n, known in zip(genes, ensembl, strict=True) if not known]
        if genes and np.mean(ensembl) >= MOSTLY_ENSEMBL
        else []
    )
    lowered = {n.lower(): n for n in genes}
    resembling = [
        lowered[n] for n in difflib.get_close_matches(car.lower(), lowered, n=most, cutoff=0.8)
    ]
    called_so = [n for n in genes if _CAR_NAMES.search(n)]
    return list(
        dict.fromkeys([*[n for n in added if n in set(called_so)], *resembling, *called_so, *added])
    )[:most]
