"""One reader of count matrices, whatever the container, that keeps the feature types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.io.matrix.containers import read_stored
from carseq.io.matrix.features import ANTIBODY, GENE, are_genes, are_hashtags, small_letters
from carseq.io.matrix.molecules import check_car_molecules, check_counts
from carseq.io.matrix.naming import check_car, check_genes, gene_names, spell_car, tell_car_rows
from carseq.io.matrix.samples import (
    check_one_sample,
    tell_left_out,
    tell_metacells,
    tell_samples,
    tell_spots,
)
from carseq.io.matrix.stored import Stored, Strings
from carseq.log import get_logger

log = get_logger(__name__)

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse


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
    read = read_stored(path)
    spell_car(read, path, car)
    check_counts(read, path, allow_empty=allow_empty)
    is_gene = are_genes(read.types)
    is_antibody = small_letters(read.types) == ANTIBODY.lower()
    is_tag = are_hashtags(read)
    check_one_sample(read, is_tag, path, cells)
    if cells is None:
        tell_samples(read.obs, path)
    tell_spots(read, path)
    tell_metacells(read, path)
    tell_left_out(read, path)
    names = gene_names(read, is_gene, path, symbols, car)
    check_genes(read, names, is_gene, path, car)
    if needs_car:
        check_car(read, names, is_gene, path, car)
        _check_car_counts(read, names, is_gene, path, str(car))
    adata, seen = _genes_of(read, names, is_gene)
    protein = read.protein
    if (held := is_antibody & ~is_tag).any():
        # 10x names an antibody as its barcode's kit does; two of one name stay apart.
        labels = _unique(read.names[held])
        protein = pd.DataFrame(_whole(read.counts[:, held]).toarray(), read.barcodes, labels)
    if protein is not None and protein.shape[1]:
        adata.obsm["protein"] = protein[seen].astype(np.int32).set_index(adata.obs_names)
    return adata


def read_labelled(path: str | Path) -> AnnData:
    """Read cells of an AnnData file (h5ad) with all that it says about them, as labelled cells are published.

    Parameters
    ----------
    path
        The file. Its counts may be in a layer, X or ``raw`` (CELLxGENE), its genes named by ids beside a column of
        symbols.

    Returns
    -------
    anndata.AnnData
        As of :func:`read_counts`, with ``obs``; cells of several samples or of one name are taken, since nothing is
        joined to them.

    Raises
    ------
    CarseqError
        If it cannot be read, or holds other than counts.
    """
    path = Path(path)
    read = read_stored(path)
    read.barcodes = _unique(read.barcodes).to_numpy(dtype=object)
    check_counts(read, path, allow_empty=False)
    is_gene = are_genes(read.types)
    adata, seen = _genes_of(read, gene_names(read, is_gene, path, None, None), is_gene)
    if read.obs is not None:
        adata.obs = read.obs[seen].set_axis(adata.obs_names)
    return adata


def _check_car_counts(
    read: Stored, names: Strings, is_gene: npt.NDArray[np.bool_], path: Path, car: str
) -> None:
    """Raise where the CAR's counts are no molecules, or all there is; warn of what may be its other rows."""
    counts = read.counts[:, is_gene]
    if not counts.nnz:
        return
    if read.corrected_by:
        log.warning(
            "the matrix %s is what %s left: molecules of the CAR that it took for ambient RNA are missed; give the raw "
            "matrix that it was made from in `raw_matrix` (this one may stay in `matrix`, which says which are cells)",
            path,
            read.corrected_by,
        )
    tell_car_rows(counts, names[is_gene], read.ids[is_gene], car, f"the matrix {path}")
    own = np.asarray(counts[:, names[is_gene] == car].sum(axis=1))
    check_car_molecules(own, np.asarray(counts.sum(axis=1)), f"the matrix {path}", car)


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
    read = Stored(
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
    read: Stored, names: Strings, is_gene: npt.NDArray[np.bool_]
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
