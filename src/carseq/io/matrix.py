"""Reading count matrices of 10x, STARsolo and AnnData."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carseq.errors import CarseqError

if TYPE_CHECKING:
    from anndata import AnnData

#: How 10x names the type of an antibody among the features.
ANTIBODY = "Antibody Capture"


def read_star_matrix(folder: str | Path) -> AnnData:
    """Read a STARsolo matrix, keeping barcodes with at least one molecule.

    Parameters
    ----------
    folder
        Folder with ``matrix.mtx``, ``barcodes.tsv`` and ``features.tsv``.

    Returns
    -------
    anndata.AnnData
        Barcodes x genes, integer counts in CSR; ``var_names`` are symbols made unique, ``var["gene_id"]``.
    """
    import anndata
    from scipy import sparse

    folder = Path(folder)
    features = pd.read_csv(
        folder / "features.tsv", sep="\t", header=None, dtype=str, keep_default_na=False
    )
    with (folder / "matrix.mtx").open() as stream:
        header = 0
        for line in stream:
            header += 1
            if not line.startswith("%"):
                break
    n_genes, n_barcodes, n_entries = (int(word) for word in line.split())
    if n_entries:
        triplets = pd.read_csv(
            folder / "matrix.mtx", sep=" ", header=None, skiprows=header, dtype=np.int64, engine="c"
        ).to_numpy()
    else:
        triplets = np.zeros((0, 3), dtype=np.int64)
    used, rows = np.unique(triplets[:, 1] - 1, return_inverse=True)
    counts = sparse.csr_matrix(
        (triplets[:, 2].astype(np.int32), (rows, triplets[:, 0] - 1)), shape=(len(used), n_genes)
    )
    text = np.frombuffer((folder / "barcodes.tsv").read_bytes(), dtype=np.uint8)
    # Millions of whitelist lines of one width: cut the used ones out instead of parsing all.
    lines = text.reshape(n_barcodes, -1)[used, :-1]
    barcodes = [bytes(line).decode() for line in lines]
    adata = anndata.AnnData(counts, obs=pd.DataFrame(index=pd.Index(barcodes, dtype=str)))
    adata.var_names = pd.Index(features[1].to_numpy(dtype=str))
    adata.var_names_make_unique()
    adata.var["gene_id"] = features[0].to_numpy(dtype=str)
    return adata


def _mtx_prefix(folder: Path) -> str | None:
    """Return what stands before ``matrix.mtx`` in a folder's one matrix, as GEO's files have it."""
    names = [p.name for p in folder.glob("*matrix.mtx*")]
    prefixes = {name.split("matrix.mtx")[0] for name in names}
    if len(prefixes) > 1:
        raise ValueError(f"it holds several matrices: {', '.join(sorted(names))}")
    return next(iter(prefixes), "") or None


def read_counts(path: str | Path, *, car: str | None = None, needs_car: bool = False) -> AnnData:
    """Read a count matrix of 10x (h5, mtx folder), STARsolo (mtx folder) or AnnData (h5ad).

    Parameters
    ----------
    path
        The file or folder.
    car
        Name of the CAR among the features.
    needs_car
        Whether the CAR's counts must come from this matrix: a matrix without the feature cannot show a CAR.

    Returns
    -------
    anndata.AnnData
        Barcodes x genes, integer counts in CSR, ``var["gene_id"]``; barcodes without a count, and features
        other than genes and the CAR (hashtags, guides), are dropped. Antibody counts become the table
        ``obsm["protein"]``, barcodes x antibodies.

    Raises
    ------
    CarseqError
        If it cannot be read, holds other than counts, or lacks the CAR where it is needed.
    """
    import anndata
    import scanpy as sc
    from scipy import sparse

    path = Path(path)
    try:
        if path.suffix == ".h5ad":
            adata = anndata.read_h5ad(path)
            if "counts" in adata.layers:
                adata.X = adata.layers["counts"]
        elif path.suffix == ".h5":
            adata = sc.read_10x_h5(path, gex_only=False)
        elif (path / "matrix.mtx").exists() and (path / "features.tsv").exists():
            adata = read_star_matrix(path)
        else:
            adata = sc.read_10x_mtx(path, gex_only=False, prefix=_mtx_prefix(path))
    except (OSError, KeyError, ValueError) as error:
        raise CarseqError(
            f"cannot read the matrix {path}",
            str(error)[:300],
            "give a 10x .h5, an mtx folder or an .h5ad",
        ) from None
    counts = sparse.csr_matrix(adata.X)
    if counts.nnz and not np.allclose(counts.data, np.round(counts.data)):
        raise CarseqError(
            f"{path} holds no raw counts",
            "some values are not whole numbers",
            "give the raw matrix",
        )
    if needs_car and car not in adata.var_names:
        raise CarseqError(
            f"{path} has no feature named {car}",
            "the sample has no reads, so its CAR counts can only come from this matrix",
            "give `construct.name` as the matrix spells it, a matrix made with the CAR in its reference, or the "
            "FASTQ files or the BAM",
        )
    protein = None
    if "protein" in adata.obsm:
        given = pd.DataFrame(adata.obsm["protein"], adata.obs_names)
        protein = sparse.csr_matrix(given.to_numpy()), given.columns.astype(str)
    if "feature_types" in adata.var:
        antibodies = adata.var["feature_types"].astype(str).eq(ANTIBODY).to_numpy()
        if antibodies.any():
            # 10x names an antibody as its barcode's kit does; two of one name stay apart.
            names = pd.Index(adata.var_names[antibodies].astype(str))
            if not names.is_unique:
                names = anndata.utils.make_index_unique(names)
            protein = counts[:, antibodies], names
        kept = adata.var["feature_types"].astype(str).eq("Gene Expression") | (
            adata.var_names == car
        )
        adata = adata[:, kept.to_numpy()]
        counts = counts[:, kept.to_numpy()]
    ids = adata.var.get(
        "gene_id", adata.var.get("gene_ids", pd.Series(adata.var_names, index=adata.var_names))
    )
    clean = anndata.AnnData(
        counts.astype(np.int32), obs=pd.DataFrame(index=adata.obs_names.astype(str))
    )
    clean.var_names = adata.var_names.astype(str)
    clean.var_names_make_unique()
    clean.var["gene_id"] = ids.to_numpy(dtype=str)
    seen = np.asarray(clean.X.sum(axis=1)).ravel() > 0
    clean = clean[seen].copy()
    if protein is not None:
        antibody_counts = protein[0][seen].toarray().astype(np.int32)
        clean.obsm["protein"] = pd.DataFrame(antibody_counts, clean.obs_names, protein[1])
    return clean
