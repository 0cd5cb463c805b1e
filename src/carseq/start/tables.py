"""What can be known to be wrong with the tables and models that a configuration names."""

from __future__ import annotations

import importlib.util
import pickletools
from collections.abc import Collection, Iterator
from pathlib import Path

from carseq.errors import CarseqError
from carseq.start.note import Note
from carseq.study.model import Study

#: What a CellTypist model holds (celltypist.models.Model.write).
_MODEL = {"Model", "Scaler_"}


def check_markers(path: str, genes: Collection[str]) -> Iterator[str]:
    """Check a marker table of the user's own; yield it in words.

    Parameters
    ----------
    path
        The table.
    genes
        Symbols of the annotation; empty if it is not here.

    Raises
    ------
    CarseqError
        If it cannot be used, or none of its genes is known.
    """
    from carseq.cells import read_markers

    table = read_markers(path)
    yield f"{len(table)} markers of {table['cell_type'].nunique()} cell types"
    yield from missing_markers(path, list(dict.fromkeys(table["gene"])), genes, "the annotation")


def missing_markers(
    path: str, named: list[str], genes: Collection[str], where: str
) -> Iterator[Note]:
    """Yield that most genes of a marker table are not among others.

    Parameters
    ----------
    path
        The table.
    named
        Its genes.
    genes
        Symbols of an annotation or of a matrix; nothing is said where they are not known.
    where
        The annotation or the matrix, in words.

    Raises
    ------
    CarseqError
        If none of them is.
    """
    lost = [gene for gene in named if gene not in genes]
    if genes and len(lost) == len(named):
        raise CarseqError(
            f"none of the genes of the marker table {path} is in {where}",
            f"it names {', '.join(named[:5])}",
            f"name genes by the symbols of {where}, such as CD3D: no cell could be typed",
        )
    if genes and len(lost) > len(named) / 2:
        yield Note(
            f"{where} lacks {len(lost)} of the {len(named)} genes of the marker table, such as "
            f"{', '.join(lost[:5])}"
        )


def check_celltypist(path: str, sha256: str) -> str:
    """Check that a file is a CellTypist model, without running what it holds: a pickle may run anything.

    Parameters
    ----------
    path
        The file.
    sha256
        Its checksum in hexadecimal; empty: not compared.

    Raises
    ------
    CarseqError
        If it is none, is cut off, is another one, or CellTypist is not installed.
    """
    if importlib.util.find_spec("celltypist") is None:
        raise CarseqError(
            "CellTypist is not installed",
            "cells.celltypist names a model",
            "pip install 'carseq[celltypist]'",
        )
    texts: set[str] = set()
    try:
        with Path(path).open("rb") as stream:
            for _, value, _ in pickletools.genops(stream):
                if isinstance(value, str):
                    texts.add(value)
    # Bytes that are not pickle raise whatever their first opcode makes of them.
    except Exception as error:
        raise CarseqError(
            f"{path} is not a CellTypist model",
            " ".join(str(error).split())[:200] or type(error).__name__,
            "give the .pkl file of a model of celltypist.org or your own; transfer it again if it is one",
        ) from None
    if not texts >= _MODEL:
        raise CarseqError(
            f"{path} is not a CellTypist model",
            "it is a pickle of something else",
            "give the .pkl file of a model of celltypist.org or your own",
        )
    if sha256:
        from carseq.cells.atlas import check_model

        check_model(path, sha256)
    return "a CellTypist model"


def check_tables(study: Study, genes: Collection[str]) -> Iterator[tuple[str, str | CarseqError]]:
    """Yield what was found in, or is wrong with, markers, labelled cells, the CellTypist model and whitelists.

    Parameters
    ----------
    study
        The study.
    genes
        Symbols of the annotation; empty if it is not here.
    """
    cells = study.config.cells
    if cells.markers:
        try:
            for words in check_markers(cells.markers, genes):
                yield "markers", words
        except CarseqError as error:
            yield "markers", error
    if cells.atlas:
        from carseq.cells.atlas import read_reference

        try:
            atlas = read_reference(cells.atlas, cells.atlas_labels)
            shared = len(set(atlas.var_names) & set(genes))
            if genes and not shared:
                raise CarseqError(
                    f"the labelled cells {cells.atlas} share no gene with the annotation",
                    f"they have {', '.join(map(str, atlas.var_names[:3]))}",
                    "give labelled cells whose var_names are gene symbols",
                )
            yield "labelled cells", f"{atlas.n_obs:,} cells, {atlas.n_vars:,} genes"
        except CarseqError as error:
            yield "labelled cells", error
    if cells.celltypist:
        try:
            yield "CellTypist", check_celltypist(cells.celltypist, cells.celltypist_sha256 or "")
        except CarseqError as error:
            yield "CellTypist", error
