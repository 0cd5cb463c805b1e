"""Closed sets of codes that tables and ``obs`` hold, with what each means. Tables hold a sentence beside each code."""

from __future__ import annotations

#: ``car_reason`` of a cell.
REASONS = {
    "positive": "T cell, called positive",
    "few_molecules": "T cell with CAR molecules, too few for a call",
    "shared_only": "T cell whose CAR molecules all lie in stretches that an endogenous gene shares: never a call",
    "no_molecule": "T cell without a CAR molecule; it may still be a CAR T cell (dropout)",
    "t_cell_doublet": "droplet of a T cell and a cell of another kind, with CAR molecules",
    "doublet": "droplet of two cells, with CAR molecules; whether one of them is a T cell is not known",
    "unknown_type": "cell of unknown type, with CAR molecules",
    "explained_by_ambient": "not a T cell; ambient RNA explains its CAR molecules",
    "unexplained": "not a T cell; more CAR molecules than ambient RNA explains: unseen doublet, engulfed T cell, or "
    "(NK and B cells) a cell that holds the vector",
    "not_t_cell": "not a T cell, or a doublet; no CAR molecule",
}

#: ``verdict`` of a sample.
VERDICTS = {
    "detected": "one T cell or more was called positive",
    "not_detected": "no positive call; a CAR T fraction above the detection limit would have shown one with a "
    "probability of 95 %",
    "undetermined": "no evidence either way: no or too few T cells, too shallow ones, or a construct that cannot show "
    "the CAR",
}

#: ``gating`` of a sample: how its cells were sorted.
GATES = {
    "unsorted": "cells as they came",
    "car_enriched": "CAR+ cells were sorted out",
    "car_depleted": "what a sort of CAR+ cells left over",
    "t_enriched": "T cells were sorted out",
    "cd45_depleted": "leukocytes were sorted away, CAR T cells with them",
    "other": "sorted in a way that no code names: compared with nothing but samples of the same words",
}

#: ``car_verdict`` of a urine sample with CAR T cells: whether contamination by blood explains them.
BLOOD = {
    "not_by_blood": "blood alone does not explain the CAR T cells",
    "maybe_by_blood": "blood alone may explain the CAR T cells",
    "undetermined": "no evidence whether blood explains the CAR T cells",
}

#: ``kind`` of a number in the samples sheet: what is compared with the CAR T fraction, and how.
MEASURES = {
    "car_share": "CAR T cells among T cells, measured otherwise: compared as fractions",
    "vector_copies": "copies of the vector: on no scale with a share of cells, so that only ranks are compared",
    "clinical": "another number: shown beside the CAR T fraction",
}
