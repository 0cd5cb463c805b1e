"""Simulated studies of compared samples, and rows of a samples sheet, for tests of where CAR T cells are."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pandas as pd

CAR = "CAR"
_PATH = Path(__file__).parents[2] / "benchmarks" / "localize.py"
_SPEC = importlib.util.spec_from_file_location("localize_benchmark", _PATH)
benchmark = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = benchmark
_SPEC.loader.exec_module(benchmark)
Setting, study = benchmark.Setting, benchmark.study


def sheet(*rows: tuple[str, str, str, str, str]) -> pd.DataFrame:
    """Return the detection columns that say what a sample is, a row each."""
    return pd.DataFrame(rows, columns=["sample", "patient", "compartment", "timepoint", "role"])
