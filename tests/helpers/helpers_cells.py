"""A small count-matrix generator: typed cells with ambient mixing, empty droplets and doublets."""

from __future__ import annotations

from collections.abc import Mapping

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from carseq.cells.subtypes import read_t_types
from carseq.data import path as data_path

CAR = "HBI0101"
URINE = {
    "neutrophil": 0.3,
    "macrophage": 0.15,
    "classical monocyte": 0.1,
    "CD4 T cell": 0.08,
    "CD8 T cell": 0.08,
    "NK cell": 0.03,
    "B cell": 0.03,
    "plasma cell": 0.02,
    "proximal tubule cell": 0.06,
    "thick ascending limb cell": 0.03,
    "principal cell": 0.03,
    "umbrella cell": 0.04,
    "squamous cell": 0.05,
}


#: Which T-cell types stand for the parents in these mixes.
T_TYPES = {"CD4 T cell": "memory CD4 T cell", "CD8 T cell": "memory CD8 T cell"}


def profiles(types: list[str], seed: int = 0, n_background: int = 1500) -> pd.DataFrame:
    """Return expression profiles (genes × types, columns sum to 1) and the lineage of each type."""
    rng = np.random.default_rng(seed)
    markers = pd.read_csv(data_path("markers/urinary.tsv"), sep="\t")
    # The levels that carseq knows, of the genes with a published one.
    known = read_t_types(counts=False)["gene"]
    levels = read_t_types().set_index("gene").loc[known]
    genes = [
        *dict.fromkeys([*markers["gene"], *levels.index]),
        *(f"GENE{i}" for i in range(n_background)),
    ]
    genes += ["MT-CO1", "MT-ND1", "MT-CYB", "CD247", "TNFRSF9", "CD28", CAR]
    base = rng.lognormal(-1, 1.5, len(genes))
    table = pd.DataFrame(index=genes, columns=types, dtype=float)
    is_marker = table.index.isin(markers["gene"])
    lineage_of = markers.drop_duplicates("cell_type").set_index("cell_type")["lineage"]
    strength = pd.Series(rng.lognormal(1.8, 0.8, len(genes)), index=genes)
    for cell_type in types:
        value = base * np.exp(rng.normal(0, 0.5, len(genes)))
        value[is_marker] = base[is_marker] * 0.02
        profile = pd.Series(value, index=genes)
        own = markers["cell_type"].isin([cell_type, f"{lineage_of[cell_type]} cell"])
        on = [g for g in markers.loc[own, "gene"] if rng.random() < 0.8]
        profile[on] = strength[on]
        if lineage_of[cell_type] == "T":
            # Of 10,000 UMIs that the background and the other markers share.
            level = levels["per_10k"] * levels[T_TYPES.get(cell_type, cell_type)] / 1e4
            profile[levels.index] = level * profile.sum() / (1 - level.sum())
        profile[["MT-CO1", "MT-ND1", "MT-CYB"]] = profile.sum() * 0.015
        profile[CAR] = 0.0
        table[cell_type] = profile / profile.sum()
    table.attrs["lineage"] = lineage_of[types].to_dict()
    return table


def urine(
    n_cells: int = 500,
    n_empty: int = 4000,
    *,
    depth: float = 1800,
    ambient: tuple[int, int] = (20, 100),
    contamination: float = 0.05,
    doublet_rate: float = 0.0,
    car_fraction: float = 0.3,
    types: Mapping[str, float] | None = None,
    seed: int = 0,
    profile_seed: int = 0,
) -> ad.AnnData:
    """Return raw counts (barcodes × genes): cells with truth in ``obs``, then empty droplets.

    ``obs``: is_cell, cell_type, lineage, is_doublet; CAR counts only in T cells and ambient RNA.
    """
    rng = np.random.default_rng(seed)
    types = dict(types or URINE)
    table = profiles(list(types), profile_seed)
    lineage = table.attrs["lineage"]
    p = np.array(list(types.values()))
    names = rng.choice(list(types), n_cells, p=p / p.sum())
    # Neutrophils hold little RNA.
    scale = np.where(names == "neutrophil", 0.4, 1.0)
    totals = np.maximum(rng.lognormal(np.log(depth), 0.5, n_cells) * scale, 30).astype(int)
    is_doublet = rng.random(n_cells) < doublet_rate
    car = table.index.get_loc(CAR)
    soup = table.to_numpy() @ (p / p.sum())
    soup[car] = 2e-5
    soup /= soup.sum()
    rows = []
    for name, total, twin in zip(names, totals, is_doublet, strict=True):
        own = table[name].to_numpy().copy()
        if twin:
            own = (own + table[rng.choice(list(types), p=p / p.sum())].to_numpy()) / 2
        if lineage[name] == "T" and rng.random() < car_fraction:
            own[car] = 5e-4
        # Gamma noise of shape 5 on every gene: negative binomial counts.
        own = own * rng.gamma(5, 0.2, own.size)
        mixed = (1 - contamination) * own / own.sum() + contamination * soup
        rows.append(rng.multinomial(total, mixed))
    low, high = np.log(ambient)
    for total in np.exp(rng.uniform(low, high, n_empty)).astype(int):
        rows.append(rng.multinomial(total, soup))
    obs = pd.DataFrame(
        {
            "is_cell": np.r_[np.ones(n_cells, bool), np.zeros(n_empty, bool)],
            "cell_type": [*names, *[""] * n_empty],
            "lineage": [*(lineage[n] for n in names), *[""] * n_empty],
            "is_doublet": np.r_[is_doublet, np.zeros(n_empty, bool)],
        },
        index=[f"BC{i:06d}" for i in range(n_cells + n_empty)],
    )
    matrix = sparse.csr_matrix(np.array(rows, dtype=np.float32).reshape(len(rows), len(table)))
    var = pd.DataFrame({"gene_id": [f"ENSG{i}" for i in range(len(table))]}, index=table.index)
    return ad.AnnData(matrix, obs=obs, var=var, uns={"car": CAR})


#: Cells of a blood sample after Ficoll: types that urine lacks among them.
BLOOD = {
    "CD4 T cell": 0.25,
    "CD8 T cell": 0.15,
    "naive CD8 T cell": 0.15,
    "NK cell": 0.1,
    "B cell": 0.1,
    "plasmacytoid dendritic cell": 0.01,
    "classical monocyte": 0.22,
    "platelet": 0.02,
}


def mix_blood(
    sample: ad.AnnData, blood: ad.AnnData, share: float, seed: int = 0
) -> tuple[ad.AnnData, float]:
    """Move cells of blood into urine so that ``share`` of its T cells, about, are blood's.

    Returns
    -------
    Both samples (``obs``: sample, patient, compartment, timepoint, role), and the true share.
    """
    rng = np.random.default_rng(seed)
    own_t, blood_t = ((s.obs["lineage"] == "T").to_numpy() for s in (sample, blood))
    wanted = share / (1 - share) * own_t.sum() / blood_t.sum()
    moved = rng.random(blood.n_obs) < wanted / (1 + wanted)
    both = ad.concat([sample, blood], merge="same", keys=["u", "b"], index_unique="-")
    both.uns["car"] = CAR
    in_urine = np.r_[np.ones(sample.n_obs, bool), moved]
    both.obs["sample"] = np.where(in_urine, "urine", "blood")
    both.obs["compartment"] = both.obs["sample"]
    both.obs["patient"], both.obs["timepoint"], both.obs["role"] = "P01", "D28", "case"
    n_moved = int(blood_t[moved].sum())
    return both, n_moved / max(n_moved + int(own_t.sum()), 1)
