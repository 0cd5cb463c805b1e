"""Samples and real cells for tests of the cells room."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

PBMC = Path(__file__).parents[3] / "shared/data/real_pbmc"


def named(adata: ad.AnnData, sample: str = "S1") -> ad.AnnData:
    """Return the cells of a simulated sample, named."""
    adata = adata[adata.obs["is_cell"]].copy()
    adata.obs["sample"] = sample
    return adata


def blood_in_ambient_rna(depth: float, share: float) -> tuple[ad.AnnData, np.ndarray]:
    """Return real blood cells at a median depth, a share of it ambient RNA of all, and which are T cells by protein."""
    cite = ad.read_h5ad(PBMC / "pbmc_5k_protein_v3.h5ad")
    cite.var_names_make_unique()
    names = [name.split("_")[0] for name in cite.uns["protein_names"]]
    protein = pd.DataFrame(np.asarray(cite.obsm["protein_expression"]), cite.obs_names, names)
    t = ((protein["CD3"] > 100) & (protein["CD14"] < 80) & (protein["CD19"] < 60)).to_numpy()
    own = sparse.csr_matrix(cite.X)
    rng = np.random.default_rng(61)
    total = np.asarray(own.sum(axis=1)).ravel()
    keep = depth / np.median(total)
    soup = np.asarray(own.sum(axis=0), dtype=float).ravel()
    foreign = rng.poisson((share * keep * total)[:, None] * (soup / soup.sum()))
    own.data = rng.binomial(own.data.astype(int), (1 - share) * min(keep, 1)).astype(np.float32)
    mixed = sparse.csr_matrix(own + sparse.csr_matrix(foreign.astype(np.float32)))
    return ad.AnnData(mixed, var=cite.var[[]]), t
