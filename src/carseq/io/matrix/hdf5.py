"""Matrices in HDF5: 10x's files, of Cell Ranger 3 and before, and AnnData's."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from carseq.errors import CarseqError
from carseq.io.matrix.features import GENE, feature_types, type_column
from carseq.io.matrix.molecules import BARCODE
from carseq.io.matrix.stored import Stored, Strings, bare_names, repeated
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger(__name__)

#: Where programs keep antibody counts beside the genes of an AnnData: carseq, scvi-tools, totalVI's tutorials, muon.
PROTEIN_KEYS = (
    "protein", "protein_expression", "protein_counts", "antibody_capture", "antibody", "ADT", "adt", "prot",
)  # fmt: skip
#: Layers in which programs keep the counts of an AnnData whose X is normalised.
COUNT_LAYERS = (
    "counts", "raw_counts", "raw_count", "raw", "umi_counts", "umis", "UMIs", "umi", "count",
)  # fmt: skip
#: Columns of ``var`` that hold ids beside an index of symbols.
IDS = (
    "gene_ids", "gene_id", "ensembl_id", "ensembl_ids", "ensembl_gene_id", "feature_id", "id", "ensembl", "ENSEMBL",
)  # fmt: skip
#: By how much more molecules of one matrix of a file say that some were taken away in another.
MORE_MOLECULES = 0.005
#: What CellBender writes beside its corrected counts (0.3 and later, before).
CELLBENDER = (
    ("droplet_latents", "global_latents"),
    ("ambient_expression", "latent_cell_probability"),
)
#: Groups by which a file is known.
_KINDS = (
    (".h5mu", {"mod"}),
    (".loom", {"matrix", "row_attrs", "col_attrs"}),
    (".h5seurat", {"assays"}),
    (".h5ad", {"obs", "var"}),
)
#: Layers that are parts of the molecules, of which the first is sometimes X too.
_PARTS = (("spliced", "unspliced", "ambiguous"), ("mature", "nascent", "ambiguous"))
#: Up to here numbers with a point of 16 bits are exact.
MOST_OF_HALF = 2048
#: How near whole numbers of 8 or 16 bits may come to the largest of them: larger ones may have been there.
NEARLY_FULL = 5
#: How far from a whole number a count may be that was computed back from another scale.
ROUNDING = 1e-3


def hdf5_kind(path: Path) -> str:
    """Return the suffix of what an HDF5 file is by its groups: AnnData, loom, MuData, Seurat; else nothing."""
    import h5py

    with suppress(OSError, RuntimeError), h5py.File(path) as file:
        held = set(file)
        for suffix, groups in _KINDS:
            if groups <= held:
                return suffix
    return ""


def read_h5(path: Path) -> Stored:
    """Read a 10x file: of Cell Ranger 3 and later (``matrix``), or of an earlier one (a group a genome)."""
    import h5py
    from scipy import sparse

    def texts(stored: Any) -> Strings:
        # Some programs fill texts of one length with blanks.
        return bare_names(v.decode() if isinstance(v, bytes) else v for v in stored[:])

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
        parts = (_plain(group["data"][:]), group["indices"][:], group["indptr"][:])
        corrected = any(name in file for name in CELLBENDER[0]) or any(
            n in group for n in CELLBENDER[1]
        )
    if (n_features, n_barcodes) != (len(ids), len(barcodes)) or len(parts[2]) != n_barcodes + 1:
        raise CarseqError(
            f"the matrix {path} does not fit its lists",
            f"it is of {n_features:,} × {n_barcodes:,}, with {len(ids):,} features and {len(barcodes):,} barcodes",
            "give the file as Cell Ranger wrote it",
        )
    counts = sparse.csr_matrix(parts, shape=(n_barcodes, n_features))
    counts.check_format(full_check=True)
    n = counts.nnz
    counts.sum_duplicates()
    if counts.nnz < n:
        raise repeated(path, n - counts.nnz, n)
    return Stored(
        counts, barcodes, ids, names, types, corrected_by="CellBender" if corrected else ""
    )


def read_h5ad(path: Path) -> Stored:
    """Read an AnnData file: its layer ``counts``, else X, else ``raw``: the first that holds whole numbers."""
    import anndata
    from scipy import sparse

    with warnings.catch_warnings():
        # Names that occur twice are reported below, with what to do.
        warnings.simplefilter("ignore")
        adata = anndata.read_h5ad(path)
    held = matrices_of(adata)
    if added := _added_up(adata, path):
        held.insert(0, added)
    if not held:
        raise CarseqError(f"{path} holds no matrix", "X is empty", "give an h5ad of raw counts")
    whole = next((h for h in held if h[1].dtype != bool and _are_whole(h[1])), None)
    where, matrix, var = whole or held[-1]
    if where not in ("X", 'layers["counts"]'):
        log.info("%s: the counts are those of %s", path, where)
    if whole:
        _tell_more_molecules(path, whole, [*held, *_other_counts(adata, whole)])
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
    bits = 8 * counts.dtype.itemsize
    largest = np.iinfo(counts.dtype).max if counts.dtype.kind in "iu" and bits < 32 else np.inf
    if counts.data.max(initial=0) >= largest - NEARLY_FULL:
        log.warning(
            "%s: the counts of %s are stored in %d bits, which hold no number above %s: larger ones were cut off, or "
            "begun again at the other end; store them as integers of 32 bits",
            path,
            where,
            bits,
            f"{largest:,.0f}",
        )
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
    index = bare_names(var.index)

    def column(known: Iterable[str]) -> Strings | None:
        found = next((name for name in known if name in var), None)
        return None if found is None else bare_names(var[found])

    own_ids = column(IDS)
    protein = proteins_apart(adata)
    return Stored(
        counts,
        _barcodes(adata, path),
        index if own_ids is None else own_ids,
        index,
        feature_types(var),
        protein,
        has_ids=own_ids is not None,
        columns=var,
        obs=adata.obs,
        has_types=type_column(var) is not None,
    )


def _barcodes(adata: AnnData, path: Path) -> Strings:
    """Return the barcodes of an AnnData: of one whose rows pandas numbered, those of a column of ``obs``."""
    names = bare_names(adata.obs_names)
    if len(names) and all(str(name).isdigit() for name in names):
        for column in adata.obs.columns:
            held = adata.obs[column]
            if held.is_unique and all(BARCODE.match(str(value)) for value in held):
                log.info("%s: barcodes are those of obs[%r]", path, column)
                return bare_names(held)
    return names


def _added_up(adata: AnnData, path: Path) -> tuple[str, Any, pd.DataFrame] | None:
    """Return all molecules of an AnnData whose layers hold their parts, if X holds the first part alone, or nothing."""
    for names in _PARTS:
        layers = [_in_memory(adata.layers[name]) for name in names if name in adata.layers]
        if any(name not in adata.layers for name in names[:2]) or not all(map(_are_whole, layers)):
            continue
        if any(name.lower() in map(str.lower, COUNT_LAYERS) for name in adata.layers):
            return None
        first, whole = layers[0], layers[0]
        for part in layers[1:]:
            whole = whole + part
        x = None if adata.X is None else _in_memory(adata.X)
        is_first = x is None or not x.sum() or (x.shape == first.shape and not abs(x - first).sum())
        if not is_first or whole.sum() == first.sum():
            return None
        there = ", ".join(name for name in names if name in adata.layers)
        log.info("%s: the molecules of its layers %s are added up", path, there)
        return f"its layers {there}", whole, adata.var
    return None


def _other_counts(
    adata: AnnData, taken: tuple[str, Any, pd.DataFrame]
) -> list[tuple[str, Any, pd.DataFrame]]:
    """Return layers under names of people's own that count what was taken, and more (``original``, ``uncorrected``)."""
    known = {n.lower() for n in (*COUNT_LAYERS, *(part for parts in _PARTS for part in parts))}
    found = []
    for name in adata.layers:
        if name.lower() in known or len(taken[2]) != adata.n_vars:
            continue
        other = _in_memory(adata.layers[name])
        if other.dtype != bool and other.sum() > taken[1].sum() and _are_whole(other):
            # Nowhere less: these are the same molecules, before some were taken away. Scaled counts have no 1.
            held = other[other > 0]
            if held.min() == 1 and (other - taken[1]).min() >= 0:
                found.append((f'layers["{name}"]', other, adata.var))
    return found


def _tell_more_molecules(
    path: Path, taken: tuple[str, Any, pd.DataFrame], held: list[tuple[str, Any, pd.DataFrame]]
) -> None:
    """Warn where another matrix of the same genes counts more molecules than the one that is taken."""
    own = float(taken[1].sum())
    for where, matrix, var in held:
        if (
            where == taken[0]
            or len(var) != len(taken[2])
            or matrix.dtype == bool
            or not _are_whole(matrix)
        ):
            continue
        if (other := float(matrix.sum())) > (1 + MORE_MOLECULES) * own:
            log.warning(
                "%s: %s, which is taken, counts %.0f molecules, %s %.0f: if some were taken away (as ambient RNA, to "
                'one depth), those of the CAR are missed; put the counts as they were into layers["counts"]',
                path,
                taken[0],
                own,
                where,
                other,
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
    """Read a matrix that is kept on disk; another is returned as it is, but for numbers that SciPy does not know."""
    if hasattr(matrix, "to_memory"):
        return matrix.to_memory()
    held = matrix[:] if type(matrix).__module__.startswith("h5py") else matrix
    return _plain(held) if isinstance(held, np.ndarray) else held


def _plain(values: np.ndarray) -> np.ndarray:
    """Return numbers of 16 bits, or in the other order of bytes, as those that SciPy knows.

    Raises
    ------
    CarseqError
        If numbers of 16 bits are so large that they were rounded.
    """
    if values.dtype.kind == "f" and values.dtype.itemsize == 2:
        if np.abs(values).max(initial=0) > MOST_OF_HALF:
            raise CarseqError(
                "the counts are stored in 16 bits as numbers with a point, and some were rounded",
                f"such numbers are whole up to {MOST_OF_HALF:,} alone",
                "store them as float32 or as integers",
            )
        return values.astype(np.float32)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))


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
        log.warning(
            "obsm[%r] holds no antibody counts (it was normalised): left out; give its counts",
            key,
        )
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
