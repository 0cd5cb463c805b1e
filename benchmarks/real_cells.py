"""How right cell labels are on real cells: surface proteins as truth, at several depths; stability; doublets.

    python benchmarks/real_cells.py --data ../shared/data/real_pbmc

Two CITE-seq sets of PBMC (200 cells each) give the truth by antibodies against CD3, CD4, CD8, CD45RA, CD45RO, CD25,
CD127. The first set (``pbmc_10k_protein_v3``) was used while the model was made; the second one
(``pbmc_5k_protein_v3``, other donor, other antibodies) only judges: the levels that come with carseq hold none of its
cells. Counts are thinned at random to imitate urine.
"""

from __future__ import annotations

import argparse
import logging
import warnings
from collections.abc import Iterable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse, stats

#: Median UMIs per cell that counts are thinned to; 0 keeps all.
DEPTHS = (0, 2000, 1000, 500)
#: Seeds of thinning that no constant was settled on begin here.
FIRST_SEED = 50
#: The set that the model was made with, and the one that only judges.
SETS = {"development": "pbmc_10k_protein_v3", "held out": "pbmc_5k_protein_v3"}
#: Antibody counts between the two modes of each protein, by set.
GATES = {
    "development": {"CD3": 300, "CD14": 250, "CD19": 60, "CD4": 800, "CD8a": 700, "CD8low": 200, "CD4low": 200,
                    "CD56": 80, "CD25": 60, "CD127": 60},
    "held out": {"CD3": 100, "CD14": 80, "CD19": 60, "CD4": 350, "CD8a": 75, "CD8low": 40, "CD4low": 60,
                 "CD56": 45, "CD25": 15, "CD127": 20},
}  # fmt: skip


def read(path: Path) -> ad.AnnData:
    """Read a set with unique gene names of carseq's release and sparse counts."""
    from carseq.io.genes import one_release

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = ad.read_h5ad(path)
        data.var_names = one_release(data.var_names)
        data.var_names_make_unique()
    data.X = sparse.csr_matrix(data.X)
    return data


def thin(data: ad.AnnData, depth: int, seed: int = 0) -> ad.AnnData:
    """Keep each molecule at random, so that the median cell has ``depth`` UMIs."""
    data = data.copy()
    if depth:
        keep = min(1.0, depth / np.median(np.asarray(data.X.sum(axis=1))))
        counts = np.random.default_rng(seed).binomial(np.rint(data.X.data).astype(int), keep)
        data.X.data = counts.astype(np.float32)
        data.X.eliminate_zeros()
    return data


def truth_by_protein(data: ad.AnnData, which: str) -> pd.DataFrame:
    """Gate cells by antibodies: columns ``lineage``, ``coreceptor``, ``history`` (naive, experienced) and ``treg``.

    Blank where the antibodies do not decide.
    """
    names = [name.split("_")[0] for name in data.uns["protein_names"]]
    p = pd.DataFrame(np.asarray(data.obsm["protein_expression"]), data.obs_names, names)
    g = GATES[which]
    truth = pd.DataFrame("", data.obs_names, ["lineage", "coreceptor", "history", "treg"])
    t = (p["CD3"] > g["CD3"]) & (p["CD14"] < g["CD14"]) & (p["CD19"] < g["CD19"])
    truth.loc[t, "lineage"] = "T"
    truth.loc[(p["CD3"] < g["CD3"] / 2) & (p["CD19"] > g["CD19"]), "lineage"] = "B"
    truth.loc[(p["CD3"] < g["CD3"] / 2) & (p["CD14"] > g["CD14"]), "lineage"] = "myeloid"
    nk = (p["CD3"] < g["CD3"] / 2) & (p["CD14"] < g["CD14"] / 2) & (p["CD56"] > g["CD56"])
    truth.loc[nk & (p["CD19"] < g["CD19"] / 2), "lineage"] = "NK"
    four, eight = p["CD4"] > g["CD4"], p["CD8a"] > g["CD8a"]
    truth.loc[t & four & (p["CD8a"] < g["CD8low"]), "coreceptor"] = "CD4"
    truth.loc[t & eight & (p["CD4"] < g["CD4low"]), "coreceptor"] = "CD8"
    truth.loc[t & (p["CD4"] < g["CD4low"]) & (p["CD8a"] < g["CD8low"]), "coreceptor"] = "neither"
    ratio = np.log2((p["CD45RA"] + 5) / (p["CD45RO"] + 5))
    # CD45RA is back on effector cells (TEMRA), which lack CD127.
    truth.loc[t & (ratio > 2) & (p["CD127"] > g["CD127"]), "history"] = "naive"
    truth.loc[t & ((ratio < 0) | ((ratio > 2) & (p["CD127"] < g["CD127"] / 3))), "history"] = (
        "experienced"
    )
    treg = four & (p["CD25"] > g["CD25"]) & (p["CD127"] < g["CD127"])
    truth.loc[truth["coreceptor"] == "CD4", "treg"] = np.where(
        treg[truth["coreceptor"] == "CD4"], "yes", "no"
    )
    return truth


def axes(cell_type: pd.Series) -> pd.DataFrame:
    """Return what a label says: ``coreceptor`` and ``history``, blank where it leaves them open."""
    name = cell_type.astype(str)
    four = name.str.contains("CD4") | name.isin(["regulatory T cell", "follicular helper T cell"])
    eight = name.str.contains("CD8")
    neither = name.isin(["MAIT cell", "gamma-delta T cell", "double-negative T cell"])
    history = np.where(
        name.str.startswith("naive"),
        "naive",
        np.where(name.str.match("memory|cytotoxic|MAIT|follicular"), "experienced", ""),
    )
    return pd.DataFrame(
        {
            "coreceptor": np.select([four, eight, neither], ["CD4", "CD8", "not CD4"], ""),
            "history": history,
        },
        index=cell_type.index,
    )


def judge(obs: pd.DataFrame, truth: pd.DataFrame) -> dict[str, float]:
    """Compare labels with the proteins: shares right among the cells that are given a label, and coverage."""
    said = axes(obs["cell_type"])
    known = truth["lineage"] != ""
    t = (truth["lineage"] == "T") & (obs["lineage"].astype(str) == "T")
    row: dict[str, float] = {
        "lineage right": (obs["lineage"].astype(str)[known] == truth["lineage"][known]).mean(),
    }
    core = t & truth["coreceptor"].isin(["CD4", "CD8"])
    given = core & said["coreceptor"].isin(["CD4", "CD8"])
    right = said["coreceptor"] == truth["coreceptor"]
    row["CD4/CD8 right"] = right[given].mean()
    neither = t & (truth["coreceptor"] != "") & (said["coreceptor"] == "not CD4")
    row["MAIT, gamma-delta: not CD4"] = (truth["coreceptor"][neither] != "CD4").mean()
    row["CD4/CD8 given"] = given.sum() / core.sum()
    for name in ("CD4", "CD8"):
        own = core & (truth["coreceptor"] == name)
        row[f"{name} found"] = (said["coreceptor"][own] == name).mean()
    hist = t & (truth["history"] != "")
    given_h = hist & (said["history"] != "")
    right_h = said["history"] == truth["history"]
    row["naive/memory right"] = right_h[given_h].mean()
    row["naive/memory given"] = given_h.sum() / hist.sum()
    treg = obs["cell_type"].astype(str) == "regulatory T cell"
    row["Treg called"] = (treg & t).sum()
    row["of them by protein"] = (treg & (truth["treg"] == "yes")).sum()
    row["Treg by protein"] = (truth["treg"] == "yes").sum()
    both = (given | given_h) & t
    wrong = (given & ~right) | (given_h & ~right_h)
    if "cell_type_confidence" in obs and both.any():
        sure = obs["cell_type_confidence"].astype(float)
        row["confidence, mean"] = sure[both].mean()
        row["right, mean"] = (~wrong[both]).mean()
        row["calibration error"] = calibration_error(sure[both], ~wrong[both])
    return row


def calibration_error(confidence: pd.Series, right: pd.Series, bins: int = 5) -> float:
    """Return the expected calibration error over bins of equal size."""
    order = np.argsort(confidence.to_numpy(), kind="stable")
    parts = np.array_split(order, bins)
    return float(
        sum(
            len(part) * abs(confidence.iloc[part].mean() - right.iloc[part].mean())
            for part in parts
            if len(part)
        )
        / len(order)
    )


def clustered(data: ad.AnnData, barred: bool = False) -> ad.AnnData:
    """Label cells as the workflow does: components, clusters, types.

    ``barred``: as in a study of a CAR whose homologs (CD8A, CD28, ...) may not help.
    """
    from carseq.cells import annotate, cluster, combine, doublets, integrate, quality

    if "sample" not in data.obs:
        data.obs["sample"] = "s1"
    if barred:
        data.uns["car"] = "CAR"
    quality(data)
    doublets(data)
    both = combine([data[data.obs["sample"] == s].copy() for s in data.obs["sample"].unique()])
    cluster(both, integrate(both, "none"))
    annotate(both)
    return both


def protein_tables(
    folder: Path, which: str, seeds: int = 3, barred: bool = False, first: int = FIRST_SEED
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a row a depth, and the confusion of labels with the proteins."""
    data = read(folder / f"{SETS[which]}.h5ad")
    truth = truth_by_protein(data, which)
    rows, confusion = [], []
    for depth in DEPTHS:
        # Cells of all seeds together: a fifth of one seed's is 15 cells, whose share right scatters by 0.06.
        made, known = [], []
        for seed in range(seeds if depth else 1):
            obs = clustered(thin(data, depth, first + seed), barred).obs
            obs.index = [f"{name}-{seed}" for name in truth.index]
            made.append(obs)
            known.append(truth.set_axis(obs.index))
        cells, protein = pd.concat(made), pd.concat(known)
        rows.append({"set": which, "depth": depth or "full", **judge(cells, protein)})
        t = protein["coreceptor"] != ""
        kind = protein["coreceptor"] + " " + protein["history"]
        kind += np.where(protein["treg"] == "yes", " (Treg)", "")
        confusion.append(
            pd.DataFrame(
                {"depth": depth or "full", "protein": kind[t], "label": cells["cell_type"][t]}
            )
        )
    cells = pd.concat(confusion)
    crossed = pd.crosstab([cells["depth"], cells["protein"]], cells["label"].astype(str))
    return pd.DataFrame(rows), crossed


def alone(folder: Path, seeds: int, first: int = FIRST_SEED) -> pd.DataFrame:
    """Label samples of one lineage (by protein, of the set that only judges): the share that keeps it."""
    data = read(folder / f"{SETS['held out']}.h5ad")
    lineage = truth_by_protein(data, "held out")["lineage"]
    rows = []
    for depth in (2000, 1000, 500):
        row: dict[str, object] = {"depth": depth}
        for name in ("T", "B", "NK", "myeloid"):
            own = data[(lineage == name).to_numpy()].copy()
            kept = [
                (clustered(thin(own, depth, first + s)).obs["lineage"] == name).mean()
                for s in range(seeds)
            ]
            row[f"{name} ({own.n_obs})"] = float(np.mean(kept))
        rows.append(row)
    return pd.DataFrame(rows)


def with_car(data: ad.AnnData, t_cells: np.ndarray, seed: int) -> ad.AnnData:
    """Put CAR molecules into three in ten of the T cells: 5 in 10,000 UMIs, gamma between cells, a little soup.

    Parameters
    ----------
    data
        Counts of real cells.
    t_cells
        Which of them are T cells, shape (n_cells,).
    seed
        Of cells and molecules.
    """
    rng = np.random.default_rng([seed, 11])
    total = np.asarray(data.X.sum(axis=1)).ravel()
    bears = t_cells & (rng.random(data.n_obs) < 0.3)
    car = rng.poisson(5e-4 * total * rng.gamma(1.5, 1 / 1.5, data.n_obs) * bears)
    car += rng.poisson(0.03 * total * car.sum() / total.sum())
    names = pd.Index([*data.var_names, "CAR"])
    counts = sparse.hstack([data.X, sparse.csr_matrix(car[:, None].astype(np.float32))]).tocsr()
    return ad.AnnData(
        counts, obs=data.obs[[]].copy(), var=pd.DataFrame(index=names), uns={"car": "CAR"}
    )


def are_t(data: ad.AnnData) -> np.ndarray:
    """Return which cells show three molecules of CD3 and the T-cell receptor, and none of CD79A and LYZ."""

    def umis(*genes: str) -> np.ndarray:
        return np.asarray(data[:, [g for g in genes if g in data.var_names]].X.sum(axis=1)).ravel()

    return (umis("CD3D", "CD3E", "CD3G", "TRAC") >= 3) & (umis("CD79A", "LYZ") <= 2)


def called(cells: ad.AnnData) -> pd.Series:
    """Return the CAR calls of labelled cells, by the counts of the matrix."""
    from carseq.calling import call_cells

    names = list(dict.fromkeys(cells.obs["sample"].astype(str)))
    sheet = pd.DataFrame({"sample": names, "patient": names, "compartment": "blood"})
    sheet = sheet.assign(timepoint="D28", role="case", ambient_umis=0.0, ambient_car=0.0)
    call_cells(cells, None, sheet, car="CAR")
    return cells.obs["car_call"].astype(str)


def cells_twice(folder: Path, seed: int, depth: int) -> pd.DataFrame:
    """Label the same cells alone and in a study of ten samples, and call CAR T cells among them.

    Returns
    -------
    pandas.DataFrame
        A row a cell of PBMC 1k v3 thinned to ``depth``: ``lineage``, ``cell_type``, ``car_call``, their confidences and
        ``total_umis`` as found alone, and with ``_many`` as found in the study.
    """
    alone = read(folder / "pbmc1k_v3.h5ad")
    alone.obs = alone.obs[[]]
    own = with_car(thin(alone, depth, seed), are_t(alone), seed)
    own.obs["sample"] = "s0"
    others = []
    rng = np.random.default_rng(seed)
    sets = [read(folder / f"{name}.h5ad") for name in (*SETS.values(), "pbmc1k_v3")]
    for i in range(9):
        base = sets[i % 3]
        part = thin(base[rng.choice(base.n_obs, min(200, base.n_obs), replace=False)].copy(),
                    int(rng.integers(700, 5000)), 100 * seed + i)  # fmt: skip
        part = with_car(part, are_t(part), 1000 * seed + i)
        part.obs["sample"] = f"s{i + 1}"
        others.append(part)
    one = clustered(own.copy())
    one.obs["car_call"] = called(one)
    joined = ad.concat([own, *others], join="outer", fill_value=0, index_unique="_")
    joined.uns["car"] = "CAR"
    many = clustered(joined)
    many.obs["car_call"] = called(many)
    of_many = many.obs[many.obs["sample"] == "s0"].add_suffix("_many").set_axis(one.obs_names)
    table = one.obs.join(of_many).assign(seed=seed, depth=depth or "full")
    both = ["lineage", "cell_type", "car_call", "lineage_confidence", "cell_type_confidence"]
    return table[["seed", "depth", "total_umis", *both, *(f"{name}_many" for name in both)]]


def stability(
    folder: Path, seeds: Iterable[int], depths: tuple[int, ...] = (0, 1500)
) -> pd.DataFrame:
    """Return the shares of cells with the same label alone and in a study, a row a draw and all draws of a depth.

    The interval is Student's over draws, 95 %: cells of one draw are not independent.
    """
    rows = []
    for depth in depths:
        draws = []
        for seed in seeds:
            cells = cells_twice(folder, seed, depth)
            row: dict[str, object] = {"seed": seed, "depth": depth or "full"}
            for name in ("lineage", "cell_type", "car_call"):
                same = cells[name].to_numpy(str) == cells[f"{name}_many"].to_numpy(str)
                row[f"{name} same"] = same.mean()
            row["positive alone"] = int((cells["car_call"] == "positive").sum())
            row["positive in the study"] = int((cells["car_call_many"] == "positive").sum())
            draws.append(row)
        rows += draws
        made = pd.DataFrame(draws)
        mean, n = made.mean(numeric_only=True), len(made)
        if n > 1:
            half = stats.t.ppf(0.975, n - 1) * made.std(numeric_only=True) / np.sqrt(n)
            for words, values in (("mean", mean), ("low", mean - half), ("high", mean + half)):
                rows.append({**values, "seed": words, "depth": depth or "full"})
    return pd.DataFrame(rows)


def other_chemistry(
    data: ad.AnnData, depth: int, seed: int, *, spread: float = 0.5, dropped: float = 0.0
) -> ad.AnnData:
    """Thin cells as another lab's chemistry would: each gene is captured by its own factor, some markers not at all.

    Parameters
    ----------
    data
        Raw counts.
    depth
        UMIs of the median cell; 0: as deep as the factors allow.
    seed
        Of factors, thinning and dropped genes.
    spread
        Standard deviation of the log of a gene's factor (0.5 between 10x chemistries, about).
    dropped
        Share of the marker genes that the matrix lacks.
    """
    from carseq.io.genes import marker_genes

    rng = np.random.default_rng([seed, 7])
    factor = rng.lognormal(0, spread, data.n_vars)
    data = data.copy()
    before = np.median(np.asarray(data.X.sum(axis=1)))
    keep = (depth or before) / np.median(np.asarray(data.X @ factor))
    odds = np.minimum(keep * factor, 1.0)
    counts = rng.binomial(np.rint(data.X.data).astype(int), odds[data.X.indices])
    data.X.data = counts.astype(np.float32)
    data.X.eliminate_zeros()
    marks = np.flatnonzero(data.var_names.isin(marker_genes()))
    out = rng.choice(marks, round(dropped * marks.size), replace=False)
    return data[:, np.setdiff1d(np.arange(data.n_vars), out)].copy()


def chemistry_table(folder: Path, which: str, seeds: int, first: int = FIRST_SEED) -> pd.DataFrame:
    """Judge labels where genes are captured by factors of their own, a row a depth and a perturbation."""
    data = read(folder / f"{SETS[which]}.h5ad")
    truth = truth_by_protein(data, which)
    rows = []
    for depth in (0, 1000, 500):
        for spread, dropped in ((0.0, 0.0), (0.5, 0.0), (0.5, 0.2)):
            made = []
            for seed in range(seeds):
                cells = other_chemistry(data, depth, first + seed, spread=spread, dropped=dropped)
                obs = clustered(cells).obs
                obs.index = [f"{name}-{seed}" for name in truth.index]
                made.append(obs)
            known = pd.concat([truth.set_axis(obs.index) for obs in made])
            row = {"depth": depth or "full", "spread": spread, "markers lacking": dropped}
            rows.append({"set": which, **row, **judge(pd.concat(made), known)})
    return pd.DataFrame(rows).drop(columns=["Treg called", "of them by protein", "Treg by protein"])


def soup_table(folder: Path, seed: int) -> pd.DataFrame:
    """Put droplets of ambient RNA between the cells of PBMC 1k v3: the share of either that is given a lineage.

    Each cell gives the soup its own, uneven share (lognormal, 1.5), so that it is not the mean cell.
    """
    from carseq.cells import annotate, cluster, combine, integrate

    base = read(folder / "pbmc1k_v3.h5ad")
    rows = []
    for cells_at in (0, 1000):
        own = thin(base, cells_at, seed)
        for share in (0.03, 0.3, 1.0):
            if share == 1 and cells_at:
                continue
            for depth in (100, 300, 900, 3000):
                rng = np.random.default_rng([seed, depth])
                profile = np.asarray(own.X.T @ rng.lognormal(0, 1.5, own.n_obs)).ravel()
                n = 400 if share == 1 else round(own.n_obs * share / (1 - share))
                sizes = np.maximum(rng.poisson(depth * rng.lognormal(0, 0.3, n)), 30)
                drops = np.stack([rng.multinomial(k, profile / profile.sum()) for k in sizes])
                made = sparse.csr_matrix(drops.astype(np.float32))
                both = made if share == 1 else sparse.vstack([own.X, made]).tocsr()
                part = ad.AnnData(both, var=own.var[[]])
                part.obs_names = [f"d{i}" for i in range(part.n_obs)]
                part.obs["sample"] = "s1"
                part = combine([part])
                cluster(part, integrate(part, "none"))
                annotate(part)
                typed = (part.obs["lineage"] != "unknown").to_numpy()
                row = {"UMIs of cells": cells_at or "full", "soup of droplets": share}
                row |= {"UMIs of soup": depth, "soup typed": typed[-n:].mean()}
                rows.append({**row, "cells typed": typed[:-n].mean() if share < 1 else np.nan})
    return pd.DataFrame(rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)  # fmt: skip
    parser.add_argument("--data", type=Path, default=Path("../shared/data/real_pbmc"))
    parser.add_argument("--set", choices=list(SETS), nargs="*", default=list(SETS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="of thinning")
    parser.add_argument("--no-stability", action="store_true")
    parser.add_argument("--no-doublets", action="store_true")
    parser.add_argument("--no-chemistry", action="store_true")
    parser.add_argument("--no-soup", action="store_true")
    parser.add_argument(
        "--no-labels", action="store_true", help="only the tables after the labels'"
    )
    parser.add_argument("--solo", action="store_true", help="SOLO's doublets too (minutes)")
    parser.add_argument("--first-stability-seed", type=int, default=7)
    parser.add_argument("--doublet-seeds", type=int, default=3, help="draws of doublets")
    parser.add_argument("--first-doublet-seed", type=int, default=1)
    given = parser.parse_args()
    logging.getLogger("carseq").setLevel(logging.ERROR)
    for which in [] if given.no_labels else given.set:
        table, crossed = protein_tables(given.data, which, given.seeds, first=given.first_seed)
        print(table.round(3).T.to_string(header=False), "\n")
        print(crossed.to_string(), "\n")
        table, _ = protein_tables(given.data, which, given.seeds, True, given.first_seed)
        print("genes of the CAR barred (CD8A, CD28, ...):")
        print(table.round(3).T.to_string(header=False), "\n")
    if not given.no_labels:
        print("Samples of one lineage, share that keeps it:")
        print(
            alone(given.data, given.seeds, given.first_seed).round(3).to_string(index=False), "\n"
        )
    if not given.no_chemistry:
        print("Each gene captured by a factor of its own, as by another chemistry:")
        for which in given.set:
            table = chemistry_table(given.data, which, given.seeds, given.first_seed)
            print(table.round(3).to_string(index=False), "\n")
    if not given.no_soup:
        print("Droplets of ambient RNA between cells, share given a lineage:")
        print(soup_table(given.data, given.first_seed).round(3).to_string(index=False), "\n")
    if not given.no_stability:
        print("The same cells alone and in a study of ten samples:")
        first = given.first_stability_seed
        table = stability(given.data, range(first, first + given.seeds))
        print(table.round(4).to_string(index=False), "\n")
    if not given.no_doublets:
        from cells import hashed_figures

        print("Doublets of real cells, put together as if of two donors:")
        figures = hashed_figures(
            given.data / "pbmc1k_v3.h5ad", given.doublet_seeds, given.first_doublet_seed, given.solo
        )
        print(figures.round(3).to_string(index=False, na_rep=""))


if __name__ == "__main__":
    main()
