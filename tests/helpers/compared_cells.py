"""Simulated studies of compared samples, and rows of a samples sheet, for tests of where CAR T cells are."""

from __future__ import annotations

import pandas as pd

from benchmark_scripts import load

CAR = "CAR"
benchmark = load("localize")
Setting, study = benchmark.Setting, benchmark.study


def sheet(*rows: tuple[str, str, str, str, str]) -> pd.DataFrame:
    """Return the detection columns that say what a sample is, a row each."""
    return pd.DataFrame(rows, columns=["sample", "patient", "compartment", "timepoint", "role"])
