"""localize: where the CAR T cells are, how samples and T cells compare, and what lies beside them.

Takes the cohort with its calls. Makes ``localization.tsv`` (counts and dropout-corrected fractions by sample x
lineage, type, state and type x state), ``contrasts.tsv`` (depth-corrected odds ratios: urine against blood, time,
baseline, states), ``target.tsv`` (cells that express what the CAR binds), ``clinic.tsv`` and ``agreement.tsv``
(numbers of the samples sheet beside the CAR T fraction), and ``clonotypes.tsv`` (shared between compartments, where
TCRs are given).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from carseq.localize.antigen import target_cells
from carseq.localize.beside import agreement, clinical
from carseq.localize.clones import shared_clonotypes
from carseq.localize.compare import contrasts
from carseq.localize.fractions import localize

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = [
    "agreement",
    "clinical",
    "contrasts",
    "everything",
    "localize",
    "shared_clonotypes",
    "target_cells",
]


def everything(
    adata: AnnData,
    detection: pd.DataFrame,
    *,
    target: str | None = None,
    given: Mapping[str, Mapping[str, object]] | None = None,
    processes: int = 1,
) -> dict[str, pd.DataFrame]:
    """Make every table of this room.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`.
    detection
        Schema ``DETECTION``, in the order of the samples sheet.
    target
        Gene of the antigen that the CAR binds.
    given
        Further columns of the samples sheet, by sample.
    processes
        How many work at once; the tables are the same.

    Returns
    -------
    dict of pandas.DataFrame
        By name, as in :data:`carseq.schema.tables.BY_NAME`; a table is empty where nothing was given for it.
    """
    from carseq.localize.blood import blood_in_urine

    clinic = clinical(detection, given or {})
    return {
        "localization": localize(adata, detection, processes=processes),
        "contrasts": contrasts(adata, detection, processes=processes),
        "target": target_cells(adata, detection, target),
        "clinic": clinic,
        "agreement": agreement(clinic),
        "clonotypes": shared_clonotypes(adata.obs),
        "blood_in_urine": blood_in_urine(adata, detection),
    }
