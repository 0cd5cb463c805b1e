"""Simulated studies for tests of calling."""

from __future__ import annotations

from functools import cache

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from carseq.calling import call_cells

CAR = "CAR"


def study(seed=0, *, specs=None, copies=40):
    """Make cells with CAR molecules from mRNA per cell, capture and soup, and the samples table.

    Expression is lognormal and captured binomially, which the caller's negative binomial does not share.
    """
    rng = np.random.default_rng(seed)
    specs = specs or {
        "base": {
            "n": 300,
            "fraction": 0.0,
            "role": "negative_control",
            "timepoint": "D0",
            "compartment": "urine",
        },
        "urine": {
            "n": 300,
            "fraction": 0.4,
            "role": "case",
            "timepoint": "D28",
            "compartment": "urine",
        },
        "blood": {
            "n": 400,
            "fraction": 0.1,
            "role": "case",
            "timepoint": "D28",
            "compartment": "blood",
        },
    }
    obs, samples = [], []
    for sample, spec in specs.items():
        n = spec["n"]
        t_cell = rng.random(n) < spec.get("t_share", 0.4)
        car_t = t_cell & (rng.random(n) < spec["fraction"])
        total = rng.lognormal(np.log(2000), 0.6, n).astype(int) + 200
        mrnas = rng.lognormal(np.log(copies), 0.8, n) * car_t  # CAR mRNAs in a cell of 20,000 mRNAs
        own = rng.binomial(np.round(mrnas).astype(int), np.minimum(total / 20_000, 1))
        soup_share = 0.4 * own.sum() / max(total.sum(), 1)
        contamination = rng.beta(4, 40, n)
        ambient = rng.poisson(contamination * total * soup_share)
        obs.append(
            pd.DataFrame(
                {
                    "sample": sample,
                    "barcode": [f"b{i}" for i in range(n)],
                    "total_umis": total,
                    "lineage": np.where(t_cell, "T", "myeloid"),
                    "cell_type": np.where(t_cell, "CD4 T", "monocyte"),
                    "t_state": np.where(t_cell, "memory", ""),
                    "is_doublet": False,
                    "contamination": contamination,
                    "truth": car_t,
                    "own": own,
                    "seen": own + ambient,
                }
            )
        )
        n_ambient = 200_000
        samples.append(
            {
                "sample": sample,
                "patient": "P1",
                **{k: spec[k] for k in ("compartment", "timepoint", "role")},
                "ambient_umis": n_ambient,
                "ambient_car": rng.poisson(n_ambient * soup_share),
            }
        )
    table = pd.concat(obs, ignore_index=True)
    table.index = table["sample"] + ":" + table["barcode"]
    counts = sparse.csr_matrix(
        np.column_stack([table["seen"], table["total_umis"] - table["seen"]])
    )
    adata = anndata.AnnData(counts.astype(np.float32), obs=table)
    adata.var_names = [CAR, "OTHER"]
    adata.layers["counts"] = counts
    return adata, pd.DataFrame(samples)


#: Studies that several tests look at, each called once.
SEEDS = range(60, 80)


@cache
def called_study(seed, copies):
    """Return a study's cells with their calls, and its detection table; tests leave both as they are."""
    adata, samples = study(seed, copies=copies)
    return adata.obs, call_cells(adata, None, samples, car=CAR).set_index("sample")
