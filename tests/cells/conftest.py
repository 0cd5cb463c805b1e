"""Fixtures of the cells room."""

from __future__ import annotations

import anndata as ad
import pandas as pd
import pytest

from carseq import cells
from helpers_cells import urine


@pytest.fixture(scope="module")
def demo() -> tuple[ad.AnnData, pd.DataFrame]:
    """A sample of 500 cells with 4,000 empty droplets, and its calls."""
    raw = urine(500, 4000, depth=1800, doublet_rate=0.05, seed=1)
    return raw, cells.call_barcodes(raw)
