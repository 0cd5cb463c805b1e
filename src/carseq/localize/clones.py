"""Clonotypes that the compartments of a patient share, where T-cell receptors were read."""

from __future__ import annotations

import pandas as pd

from carseq.cells.annotation import is_single_t
from carseq.schema.tables import CLONOTYPES


def shared_clonotypes(obs: pd.DataFrame) -> pd.DataFrame:
    """Count clonotypes by patient, those of several compartments first.

    Parameters
    ----------
    obs
        Cells after :func:`carseq.calling.call_cells`, with ``clonotype`` where receptors were read (empty for a cell
        without one). Doublets and cells that are not T cells are left out.

    Returns
    -------
    pandas.DataFrame
        Schema ``CLONOTYPES``: clonotypes of two compartments or more, or with a CAR T cell called; no rows where no
        receptor was read.
    """
    if "clonotype" not in obs:
        return CLONOTYPES.empty()
    name = obs["clonotype"].astype("object").where(obs["clonotype"].notna(), "").astype(str)
    kept = (name != "") & is_single_t(obs)
    cells = obs[kept].assign(clonotype=name[kept], positive=obs["car_call"] == "positive")
    rows = []
    # Receptors are compared within a patient: across patients a shared name may mean nothing.
    for (patient, clonotype), own in cells.groupby(["patient", "clonotype"], observed=True):
        places = own.groupby(own["compartment"].astype(str))["positive"].agg(["size", "sum"])
        n_positive = int(own["positive"].sum())
        if len(places) < 2 and not n_positive:
            continue
        rows.append(
            {
                "patient": patient,
                "clonotype": clonotype,
                "compartments": ",".join(places.index),
                "samples": ",".join(dict.fromkeys(own["sample"].astype(str))),
                "n_compartments": len(places),
                "n_cells": len(own),
                "n_car_positive": n_positive,
                "cells_by_compartment": "; ".join(
                    f"{place}: {int(row['size'])} ({int(row['sum'])})"
                    for place, row in places.iterrows()
                ),
                "car_in": ",".join(places.index[places["sum"] > 0]),
            }
        )
    table = CLONOTYPES.conform(pd.DataFrame(rows, columns=list(CLONOTYPES.columns)))
    order = ["n_compartments", "n_car_positive", "n_cells"]
    return table.sort_values(order, ascending=False, ignore_index=True)
