"""A matrix is read from whatever holds it."""

from __future__ import annotations

import os
from pathlib import Path

from carseq.errors import CarseqError
from carseq.io.failures import other_hdf5
from carseq.io.fasta import check_kind, check_regular, is_gzipped
from carseq.io.layouts import remedy_for
from carseq.io.matrix.hdf5 import hdf5_kind, read_h5, read_h5ad
from carseq.io.matrix.mtx import read_mtx
from carseq.io.matrix.stored import Stored


def read_stored(path: Path) -> Stored:
    """Read a matrix from whatever holds it."""
    suffixes = "".join(path.suffixes[-2:]).lower()
    try:
        if path.is_dir():
            return read_mtx(path)
        if path.exists():
            check_regular(path)
        kind = hdf5_kind(path) if suffixes.endswith((".h5ad", ".h5", ".hdf5")) else ""
        if kind in (".h5mu", ".loom", ".h5seurat"):
            raise CarseqError(
                f"{path} is not a matrix that carseq reads",
                f"it is {kind[1:]} by what it holds, whatever its name",
                remedy_for(kind),
            )
        if suffixes.endswith(".h5ad") or kind == ".h5ad":
            return read_h5ad(path)
        if suffixes.endswith((".h5", ".hdf5")):
            return read_h5(path)
        if suffixes.endswith((".mtx", ".mtx.gz")):
            return read_mtx(path.parent, path)
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
        if "does not support dtype" in str(error):
            raise CarseqError(
                f"cannot read the matrix {path}",
                f"its numbers are of a kind that sparse matrices cannot hold: {str(error).split('. ')[0]}",
                "store them as float32 or as integers (`adata.X = adata.X.astype('float32')`)",
            ) from None
        if packed := other_hdf5(path, error):
            raise packed from None
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
