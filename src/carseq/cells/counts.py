"""Counts of an AnnData, by blocks of rows where a copy of all would be too much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData


#: Rows of a matrix worked on at a time.
BLOCK_ROWS = 100_000
#: Rows held dense, or scaled, at a time.
DENSE_ROWS = 20_000


def row_sums(matrix: Any) -> np.ndarray:
    """Return the sum of each row of a dense or sparse matrix, shape (n_obs,), float64."""
    return np.asarray(matrix.sum(axis=1), dtype=np.float64).ravel()


def column_sums(matrix: Any) -> np.ndarray:
    """Return the sum of each column of a dense or sparse matrix, shape (n_vars,), float64.

    By blocks of rows: single precision loses counts beyond 2^24, a common gene in a million cells.
    """
    total = np.zeros(matrix.shape[1])
    if not sparse.issparse(matrix) or matrix.format != "csr":
        return total + np.asarray(matrix.sum(axis=0), dtype=np.float64).ravel()
    for _, block in row_blocks(matrix):
        total += np.asarray(block.sum(axis=0), dtype=np.float64).ravel()
    return total


def row_blocks(
    matrix: sparse.csr_matrix, size: int = BLOCK_ROWS
) -> Iterator[tuple[slice, sparse.csr_matrix]]:
    """Yield rows and their part of a CSR matrix, in order.

    What scipy does to a sparse matrix often copies it, widened to 64 bits: a block at a time, the copy is small.
    """
    for start in range(0, matrix.shape[0], size):
        rows = slice(start, min(start + size, matrix.shape[0]))
        first, last = matrix.indptr[rows.start], matrix.indptr[rows.stop]
        at = matrix.indptr[rows.start : rows.stop + 1] - first
        block = (matrix.data[first:last], matrix.indices[first:last], at)
        yield rows, sparse.csr_matrix(block, shape=(rows.stop - rows.start, matrix.shape[1]))


def take_rows(matrix: sparse.csr_matrix, kept: np.ndarray) -> sparse.csr_matrix:
    """Return some rows of a CSR matrix, in order, in the memory of the matrix, which is spoilt.

    A copy would be the most memory of all steps for a million cells.

    Parameters
    ----------
    matrix
        Rows × columns; its values are moved, so that it must not be used again.
    kept
        Whether a row is kept, shape (n_rows,), bool.
    """
    lengths = np.diff(matrix.indptr)
    done = 0
    for rows, _ in row_blocks(matrix):
        part = slice(matrix.indptr[rows.start], matrix.indptr[rows.stop])
        chosen = np.repeat(kept[rows], lengths[rows])
        to = slice(done, done := done + int(chosen.sum()))
        for values in (matrix.data, matrix.indices):
            values[to] = values[part][chosen]
    starts = np.concatenate([[0], np.cumsum(lengths[kept], dtype=np.int64)])
    held = matrix.data[:done], matrix.indices[:done], starts.astype(matrix.indptr.dtype)
    return sparse.csr_matrix(held, shape=(int(kept.sum()), matrix.shape[1]))


def counts_of(adata: AnnData) -> Any:
    """Return the raw counts, CSR: ``layers["counts"]`` if there, else ``X``."""
    # Not `layers.get("counts", adata.X)`: a view would copy its X for it.
    held = adata.layers["counts"] if "counts" in adata.layers else adata.X  # noqa: SIM401
    return sparse.csr_matrix(held)


def car_name(adata: AnnData, car: str | None = None) -> str | None:
    """Return the name of the CAR gene: ``car``, else ``uns["car"]``, else None."""
    if car:
        return car
    named = adata.uns.get("car")
    return str(named) if named else None


def sample_numbers(adata: AnnData) -> np.ndarray:
    """Return the number of each cell's sample, 0 for all where `obs` names none, shape (n_cells,)."""
    if "sample" not in adata.obs:
        return np.zeros(adata.n_obs, dtype=np.int64)
    return np.asarray(pd.factorize(adata.obs["sample"].astype(str))[0])


def log_normalised(
    counts: Any, target: float = 1e4, *, totals: np.ndarray | None = None, in_place: bool = False
) -> Any:
    """Return log1p of counts per ``target`` UMIs, CSR, float32.

    It shares the places of the non-zero entries (`indices`, `indptr`) with ``counts``, where these are CSR.

    Parameters
    ----------
    counts
        Raw counts, n_cells × n_genes.
    target
        UMIs that each cell is scaled to.
    totals
        UMIs a cell, shape (n_cells,), where ``counts`` hold some of the genes only.
    in_place
        Whether the values, float32, take the memory of the counts, which are lost.
    """
    counts = sparse.csr_matrix(counts)
    scale = target / np.maximum(row_sums(counts) if totals is None else totals, 1.0)
    spare = in_place and counts.data.dtype == np.float32
    values = counts.data if spare else np.empty(counts.nnz, dtype=np.float32)
    done = 0
    for rows, block in row_blocks(counts, DENSE_ROWS):
        part = slice(done, done := done + block.nnz)
        values[part] = block.data * np.repeat(scale[rows], np.diff(block.indptr))
        np.log1p(values[part], out=values[part])
    return sparse.csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)
