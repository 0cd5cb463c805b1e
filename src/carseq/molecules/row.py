"""The CAR's row of a matrix that was counted without it, written from its molecules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
from scipy import sparse

from carseq.errors import CarseqError
from carseq.schema.thresholds import MIN_P_CAR

if TYPE_CHECKING:
    from anndata import AnnData

#: Share of the barcodes with several CAR molecules that a matrix of the same reads holds, at least: a barcode with CAR
#: molecules has those of other genes too, unless it is empty.
_SHARE = 0.5
#: Fewest barcodes for which that share is required.
_FEWEST = 20


def with_car_row(raw: AnnData, molecules: pd.DataFrame, car: str) -> AnnData:
    """Return a matrix with the CAR as its last gene.

    Parameters
    ----------
    raw
        Barcodes × genes of a sample that was aligned without the CAR.
    molecules
        Its CAR molecules, schema ``MOLECULES``. Counted are those more likely the CAR's than a gene's.
    car
        Name of the CAR.

    Returns
    -------
    anndata.AnnData
        Barcodes whose only molecules are the CAR's are added behind the others.

    Raises
    ------
    CarseqError
        If the matrix holds a gene of the CAR's name, or is not of the reads that the molecules come from.
    """
    import anndata

    if car in set(raw.var["gene_id"]) or car in raw.var_names:
        raise CarseqError(
            f"the matrix holds a gene named {car} already",
            "the genome's annotation has it",
            "choose another `construct.name`",
        )
    own = molecules.loc[molecules["p_car"] >= MIN_P_CAR, "barcode"].astype(str).value_counts()
    several = own.index[own > 1]
    held = several.isin(raw.obs_names)
    if len(several) >= _FEWEST and held.mean() < _SHARE:
        raise CarseqError(
            "the matrix and the CAR molecules are not of the same reads",
            f"{held.sum():,} of {len(several):,} barcodes with two CAR molecules or more are in the matrix",
            "files of different runs may have met: delete the sample's folder in the results, run again",
        )
    further = own.index[~own.index.isin(raw.obs_names)].sort_values()
    barcodes = raw.obs_names.append(further)
    counts = own.reindex(barcodes, fill_value=0).to_numpy(dtype=raw.X.dtype)
    body = raw.X.tocsr()
    if len(further):
        body = sparse.vstack(
            [body, sparse.csr_matrix((len(further), raw.n_vars), dtype=body.dtype)], format="csr"
        )
    matrix = sparse.hstack([body, sparse.csr_matrix(counts[:, None])], format="csr")
    matrix.sort_indices()
    var = pd.concat([raw.var, pd.DataFrame({"gene_id": [car]}, index=[car])])
    return anndata.AnnData(matrix, obs=pd.DataFrame(index=barcodes), var=var)
