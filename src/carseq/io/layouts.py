"""Count matrices as programs other than Cell Ranger and STARsolo lay them out in a folder, cells × genes."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from carseq.errors import CarseqError
from carseq.log import get_logger

log = get_logger(__name__)

#: What `kb count` calls the molecules of mature, nascent and ambiguous RNA, which are all of a gene's together.
_KINDS_OF_RNA = ("mature", "nascent", "ambiguous")
_UNPACKED = "unpack it, and give the folder with matrix.mtx"
_FROM_R = "write the counts of R's object with DropletUtils::write10xCounts, and give that folder"
_FROM_TABLE = (
    "give the folder with matrix.mtx that the counting program wrote beside it (BD: ..._MolsPerCell_MEX.zip, "
    "unpacked), or write it as an h5ad, cells as rows"
)
#: How files of other containers become one that is read.
_CONVERTED = {
    **dict.fromkeys((".zip", ".tar", ".tgz"), _UNPACKED),
    **dict.fromkeys((".rds", ".rda", ".rdata", ".qs", ".h5seurat"), _FROM_R),
    **dict.fromkeys((".csv", ".tsv", ".txt", ".xlsx"), _FROM_TABLE),
    ".loom": "write it as an h5ad: `anndata.io.read_loom(FILE).write_h5ad(...)`",
    ".h5mu": 'write its RNA as an h5ad: `mudata.read(FILE)["rna"].write_h5ad(...)`',
    ".zarr": "write it as an h5ad: `anndata.io.read_zarr(FOLDER).write_h5ad(...)`",
    ".st": "give BD's ..._MolsPerCell_MEX.zip, unpacked",
    ".cloupe": "give the matrix that Cell Ranger wrote beside it, raw_feature_bc_matrix.h5",
    ".bus": "give the folder that `kb count` or `bustools count` made of it, with ....mtx and ....barcodes.txt",
}
#: Files by which a matrix is known, below a folder that holds none itself.
_KNOWN = re.compile(r"matrix\.mtx(\.gz)?$|feature_bc_matrix\.h5$|\.h5ad$")
#: The matrix's file in a folder of kb-python, alevin-fry or Parse.
OTHER_MATRIX = re.compile(
    r"^(quants_mat|DGE|count_matrix|cells_x_genes(\.(total|mature|nascent|ambiguous|cell|nucleus))?)\.mtx(\.gz)?$"
)
#: Folders and names looked at, and named.
_DEPTH, _NAMED = 4, 4

Lines = Callable[[Path], list[str]]


@dataclass(frozen=True)
class Layout:
    """Files of a matrix that is cells × genes.

    Attributes
    ----------
    matrices
        Their sum is the matrix.
    barcodes
        Of its rows.
    ids, names
        Of its columns.
    summed
        Whether a gene has several columns, spliced, unspliced and ambiguous, that are added up.
    """

    matrices: list[Path]
    barcodes: list[str]
    ids: list[str]
    names: list[str]
    summed: bool = False


def layout_of(folder: Path, matrix: Path | None, lines: Lines) -> Layout | None:
    """Return the matrix of kb-python, bustools, alevin-fry or Parse in a folder; None where there is none of theirs.

    Parameters
    ----------
    folder
        The folder; alevin-fry's may be the one above ``alevin``.
    matrix
        The one file of it that was given, if one was.
    lines
        Gives the lines of a text file, gzipped or not.

    Raises
    ------
    CarseqError
        If it is theirs, but not counts of one sample.
    """
    if (
        matrix is None
        and any(folder.glob("*matrix.mtx*"))
        and any(re.search(r"(features|genes)\.tsv(\.gz)?$", path.name) for path in folder.iterdir())
    ):
        # As Cell Ranger and STARsolo write them.
        return None
    places = [folder] if matrix is not None else [folder, folder / "alevin"]
    for place in filter(Path.is_dir, places):
        for found in (_kallisto, _alevin, _parse):
            layout = found(place, lines)
            if layout and (matrix is None or matrix in layout.matrices):
                return layout
    return None


def _there(folder: Path, *names: str) -> Path | None:
    """Return the first of some files that is there, plain or gzipped."""
    return next((p for n in names for p in (folder / n, folder / f"{n}.gz") if p.is_file()), None)


def _kallisto(folder: Path, lines: Lines) -> Layout | None:
    stems = [
        re.split(r"\.barcodes\.txt", p.name)[0] for p in sorted(folder.glob("*.barcodes.txt*"))
    ]
    stems = [stem for stem in stems if _there(folder, f"{stem}.genes.txt")]
    if len(stems) != 1:
        return None
    stem = stems[0]
    genes, barcodes = (_there(folder, f"{stem}.{name}.txt") for name in ("genes", "barcodes"))
    whole = _there(folder, f"{stem}.mtx", f"{stem}.total.mtx")
    kinds = [path for kind in _KINDS_OF_RNA if (path := _there(folder, f"{stem}.{kind}.mtx"))]
    matrices = [whole] if whole else kinds if len(kinds) == len(_KINDS_OF_RNA) else []
    if not matrices or genes is None or barcodes is None:
        return None
    if not whole:
        log.info("%s: molecules of mature, nascent and ambiguous RNA are added up", folder)
    ids = lines(genes)
    named = _there(folder, f"{stem}.genes.names.txt")
    names = lines(named) if named else ids
    names = [name or own for name, own in zip(names, ids, strict=False)]
    return Layout(matrices, lines(barcodes), ids, names if len(names) == len(ids) else ids)


def _alevin(folder: Path, lines: Lines) -> Layout | None:
    rows, columns = (_there(folder, f"quants_mat_{name}.txt") for name in ("rows", "cols"))
    if rows is None or columns is None:
        return None
    matrix = _there(folder, "quants_mat.mtx")
    if matrix is None:
        if not (folder / "quants_mat.gz").is_file():
            return None
        raise CarseqError(
            f"{folder} holds a matrix of alevin in a format of its own",
            "quants_mat.gz is binary, and its counts are fractions of molecules",
            "count with alevin-fry (`simpleaf quant --resolution cr-like`), which writes quants_mat.mtx",
        )
    ids = lines(columns)
    # simpleaf writes the genes' names beside the folder of alevin-fry's matrix.
    beside = [_there(place, "gene_id_to_name.tsv") for place in (folder, folder.parent)]
    pairs = [line.split("\t") for path in beside[:2] if path for line in lines(path)]
    symbols = {own[0]: own[1] for own in pairs if len(own) > 1 and own[1]}
    bare = [re.sub(r"-[UA]$", "", name) for name in ids]
    n = len(ids) // 3
    summed = bool(n) and [sum(name.endswith(mark) for name in ids) for mark in ("-U", "-A")] == [
        n,
        n,
    ]
    if summed:
        log.info("%s: spliced, unspliced and ambiguous molecules are added up", folder)
        ids = bare
    return Layout([matrix], lines(rows), ids, [symbols.get(i, i) for i in ids], summed)


def _parse(folder: Path, lines: Lines) -> Layout | None:
    genes, cells = _there(folder, "all_genes.csv"), _there(folder, "cell_metadata.csv")
    matrix = _there(folder, "count_matrix.mtx", "DGE.mtx")
    if genes is None or cells is None or matrix is None:
        return None
    of_genes, of_cells = (list(csv.DictReader(lines(path))) for path in (genes, cells))
    barcode = next(
        (name for name in ("bc_wells", "cell_barcode") if name in (of_cells or [{}])[0]), ""
    )
    if (
        not of_genes
        or not {"gene_id", "gene_name"} <= set(of_genes[0])
        or (of_cells and not barcode)
    ):
        raise CarseqError(
            f"the folder {folder} looks like Parse's, but its tables are not",
            f"{genes.name} must have gene_id and gene_name, {cells.name} bc_wells",
            "give DGE_unfiltered or DGE_filtered as split-pipe wrote it, or an .h5ad",
        )
    samples = sorted({row["sample"] for row in of_cells if row.get("sample")})
    if len(samples) > 1:
        raise CarseqError(
            f"the matrix {folder} is of several samples that were pooled",
            f"{cells.name} names {', '.join(samples[:6])}",
            "give the folder that split-pipe wrote for each sample (SAMPLE/DGE_unfiltered), not all-sample",
        )
    genomes = {row.get("genome") for row in of_genes}
    names = [
        f"{row['genome']}___{row['gene_name']}"
        if len(genomes) > 1
        else row["gene_name"] or row["gene_id"]
        for row in of_genes
    ]
    return Layout(
        [matrix], [row[barcode] for row in of_cells], [row["gene_id"] for row in of_genes], names
    )


def not_here(folder: Path) -> CarseqError:
    """Return the error for a folder without a matrix: it names what holds one below it."""
    held = sorted(p.name for p in folder.iterdir())[:5]
    cause = f"no matrix.mtx or matrix.mtx.gz; it holds {', '.join(held) or 'nothing'}"
    remedy = "give the folder with matrix.mtx, features.tsv and barcodes.tsv"
    if folder.suffix == ".zarr" or {".zgroup", "zarr.json"} & set(held):
        cause, remedy = "it is a store of zarr", _CONVERTED[".zarr"]
    elif below := _below(folder):
        more = ", ..." if len(below) > _NAMED else ""
        remedy = f"give one of those below it: {', '.join(below[:_NAMED])}{more}"
    return CarseqError(f"the folder {folder} holds no matrix", cause, remedy)


def _below(folder: Path, depth: int = _DEPTH) -> list[str]:
    """Return the matrices below a folder, as paths inside it."""
    found: list[str] = []
    level = [folder]
    for _ in range(depth):
        inner = [path for place in level for path in sorted(place.iterdir()) if path.name[0] != "."]
        for path in inner:
            if path.is_file() and (_KNOWN.search(path.name) or OTHER_MATRIX.match(path.name)):
                given = path if re.search(r"\.h5(ad)?$", path.name) else path.parent
                found.append(str(given.relative_to(folder)))
        level = [path for path in inner if path.is_dir() and not path.is_symlink()][:50]
    return list(dict.fromkeys(found))


def remedy_for(suffix: str) -> str:
    """Return what to do with a file of a kind that is not read, or an empty string.

    >>> remedy_for(".bus")[:15]
    'give the folder'
    """
    return _CONVERTED.get(suffix.lower(), "")
