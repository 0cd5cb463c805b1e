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

from carseq.errors import CarseqError
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


def _check_calls(adata: AnnData, detection: pd.DataFrame) -> None:
    """Raise unless cells were called, and detection has a row for each of their samples."""
    if "car_model" not in adata.uns or "car_call" not in adata.obs:
        raise CarseqError(
            "the cells hold no calls",
            "obs has no car_call, or uns no car_model",
            "call them first (`carseq call`), and give the file that it writes",
        )
    if missing := [name for name in ("cell_type", "t_state") if name not in adata.obs]:
        raise CarseqError(
            f"the cells lack {', '.join(missing)}",
            "CAR T cells are counted by type and state",
            "make the columns with `carseq annotate`, then call the cells again",
        )
    names = detection["sample"].astype(str)
    if (twice := names[names.duplicated()]).size:
        raise CarseqError(
            f"sample {twice.iloc[0]} has several rows in the table of detection",
            "its cells would count twice",
            "give the detection.tsv that was written with the calls",
        )
    if strangers := sorted(set(adata.obs["sample"].astype(str)) - set(names)):
        raise CarseqError(
            f"the cells of sample {strangers[0]} are not in the table of detection",
            f"it has {', '.join(names[:8])}",
            "give the detection.tsv that was written with the calls",
        )


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

    Raises
    ------
    CarseqError
        If the cells were not called, or ``detection`` is of other samples or names one twice.
    """
    from carseq.localize.blood import blood_in_urine

    _check_calls(adata, detection)
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
