"""Cells that express what the CAR binds, beside the CAR T cells meant to clear them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats

from carseq.log import get_logger
from carseq.schema.tables import TARGET

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger(__name__)


def target_cells(adata: AnnData, detection: pd.DataFrame, target: str | None) -> pd.DataFrame:
    """Count the cells that express the target antigen, by sample, lineage and type.

    A cell counts from one molecule on. Neither dropout nor ambient RNA is corrected for: what is seen, with an
    exact interval, and no more.

    Parameters
    ----------
    adata
        Cohort after :func:`carseq.calling.call_cells`; ``layers["counts"]`` (else ``X``) holds molecules.
    detection
        Schema ``DETECTION``.
    target
        Gene symbol (``construct.target``); None gives an empty table.

    Returns
    -------
    pandas.DataFrame
        Schema ``TARGET``; groups without cells are left out, but for a sample's row of all cells.
    """
    if target is None:
        return TARGET.empty()
    single = ~adata.obs["is_doublet"].to_numpy(bool)
    known = target in adata.var_names
    expressing = np.zeros(adata.n_obs, dtype=bool)
    if known:
        counts = adata.layers.get("counts", adata.X)[:, adata.var_names.get_loc(target)]
        dense = counts.toarray() if hasattr(counts, "toarray") else np.asarray(counts)
        expressing = dense.ravel() > 0
    else:
        log.warning(
            "the target %s is not a gene of the matrix: its cells cannot be counted", target
        )
    # Genes that another sample's matrix has count 0 in the cohort, as if no cell expressed them.
    without = {
        str(name)
        for name, genes in adata.uns.get("genes_missing", {}).items()
        if target in set(np.asarray(genes).tolist())
    }
    cells = adata.obs[single].assign(expressing=expressing[single])
    rows = []
    for sample in detection.itertuples():
        own = cells[cells["sample"] == sample.sample]
        here = known and str(sample.sample) not in without
        groups = [("all cells", "all cells", own)]
        for level in ("lineage", "cell_type"):
            labels = own[level].astype(str)
            groups += [(level, str(g), part) for g, part in own.groupby(labels, observed=True) if g]
        for level, group, part in groups:
            n, k = len(part), int(part["expressing"].sum())
            fraction = low = high = float("nan")
            note = "" if here else f"{target} is not among the genes of the matrix"
            if here and n:
                fraction = k / n
                low, high = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
            elif here:
                note = "no cells"
            rows.append(
                {
                    **{key: getattr(sample, key) for key in ("sample", "patient", "compartment", "timepoint", "role")},
                    "target": target,
                    "level": level,
                    "group": group,
                    "n_cells": n,
                    "n_expressing": k,
                    "fraction": fraction,
                    "low": low,
                    "high": high,
                    "n_t_cells": sample.n_t_cells,
                    "n_car_positive": sample.n_car_positive,
                    "car_fraction": sample.prevalence,
                    "car_low": sample.prevalence_low,
                    "car_high": sample.prevalence_high,
                    "note": note,
                }
            )  # fmt: skip
    return TARGET.conform(pd.DataFrame(rows, columns=list(TARGET.columns)))
