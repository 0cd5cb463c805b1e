"""Clonotypes that compartments of a patient share."""

from __future__ import annotations

import pandas as pd

from carseq.localize import shared_clonotypes


def test_clonotypes_are_shared_within_a_patient_only() -> None:
    """A clonotype of two compartments of one patient is listed with its CAR T cells, one of two patients is not."""
    rows = [
        ("P1", "urine", "u", "c1", "positive"),
        ("P1", "blood", "b", "c1", "negative"),
        ("P1", "blood", "b", "c2", "negative"),
        ("P2", "urine", "v", "c2", "negative"),
        ("P2", "urine", "v", "", "positive"),
        ("P2", "urine", "v", None, "positive"),
    ]
    obs = pd.DataFrame(rows, columns=["patient", "compartment", "sample", "clonotype", "car_call"])
    obs["lineage"], obs["is_doublet"] = "T", False
    table = shared_clonotypes(obs)
    assert table[["patient", "clonotype", "n_compartments", "n_car_positive"]].values.tolist() == [
        ["P1", "c1", 2, 1]
    ]
    assert table["cells_by_compartment"].iloc[0] == "blood: 1 (0); urine: 1 (1)"
    assert table["car_in"].iloc[0] == "urine"
    assert not len(shared_clonotypes(obs.drop(columns="clonotype")))
