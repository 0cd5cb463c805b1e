"""How fast and how well scVI learns: learning rate and epochs, on real cells.

    python benchmarks/latent.py --data ../shared/data/real_pbmc

A row a training: the ELBO of the cells left out (smaller is better), what mixes in the latent space and what stays
apart, and how far clusters agree with the types (adjusted Rand index). `before` are the settings up to 0.2.0.6 of the
cells' room: scVI's own learning rate and twice the epochs.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path
from unittest import mock

import anndata as ad
import numpy as np
import pandas as pd
from real_cells import SETS, clustered, read, thin

#: Samples of each study: number, and cells of each at most.
STUDIES = {"alone": (1, 906), "ten": (10, 200), "many": (10, 906)}
#: Learning rate, divisor of the epochs of `scvi_epochs`, and patience.
SETTINGS = {"before": (1e-3, 1, 15), "now": (4e-3, 2, 30)}


def study(folder: Path, name: str, seed: int) -> ad.AnnData:
    """Return typed cells of samples of different depth; of `ten` from three donors, else of PBMC 1k v3."""
    number, size = STUDIES[name]
    files = (*SETS.values(), "pbmc1k_v3") if name == "ten" else ("pbmc1k_v3",)
    sets = [read(folder / f"{file}.h5ad") for file in files]
    rng, parts = np.random.default_rng(seed), []
    for i in range(number):
        base = sets[i % len(sets)]
        rows = rng.choice(base.n_obs, min(size, base.n_obs), replace=False)
        part = thin(base[rows].copy(), int(rng.integers(700, 5000)), 100 * seed + i)
        part.obs = pd.DataFrame({"sample": f"s{i}"}, index=[f"{i}:{b}" for b in part.obs_names])
        parts.append(part)
    return clustered(ad.concat(parts, join="outer", fill_value=0))


def trained(cells: ad.AnnData, setting: str, seed: int) -> dict[str, object]:
    """Train with a setting; return its figures."""
    from carseq.cells import batches, cluster, integrate, latent, training

    rate, divisor, patience = SETTINGS[setting]
    cells = cells.copy()
    epochs = max(1, training.scvi_epochs(cells.n_obs) // divisor)
    began = time.process_time()
    elbo: list[float] = []

    def keep(text: str, *values: object) -> None:
        if "validation" in text % values:
            elbo.append(float((text % values).rsplit(" ", 1)[1]))

    with (
        mock.patch.object(latent, "LEARNING_RATE", rate),
        mock.patch.object(latent, "PATIENCE", patience),
        mock.patch.object(latent.log, "info", keep),
    ):
        key = integrate(cells, "scvi", seed=seed, max_epochs=epochs)
    seconds = time.process_time() - began
    cluster(cells, key, seed=seed)
    table = batches.mixing(cells, {"scVI": cells.obsm[key]}, seed=seed)
    figures = dict(zip(table["figure"], table["value"].round(3), strict=True))
    row: dict[str, object] = {
        "setting": setting,
        "cells": cells.n_obs,
        "seed": seed,
        "epochs": epochs,
    }
    return {**row, "CPU s": round(seconds, 1), "ELBO": elbo[-1], **figures}


def main() -> None:
    """Print a row a training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--study", nargs="*", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    logging.getLogger("carseq").setLevel(logging.ERROR)
    rows = []
    for name in given.study:
        for seed in range(given.first_seed, given.first_seed + given.seeds):
            cells = study(given.data, name, seed)
            rows += [{"study": name, **trained(cells, setting, seed)} for setting in SETTINGS]
    print(pd.DataFrame(rows).to_string(index=False))


if __name__ == "__main__":
    main()
