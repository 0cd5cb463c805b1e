"""Samples and real cells for tests of the cells room."""

from __future__ import annotations

from pathlib import Path

import anndata as ad

PBMC = Path(__file__).parents[3] / "shared/data/real_pbmc"


def named(adata: ad.AnnData, sample: str = "S1") -> ad.AnnData:
    """Return the cells of a simulated sample, named."""
    adata = adata[adata.obs["is_cell"]].copy()
    adata.obs["sample"] = sample
    return adata
