"""Calls, fractions and limits where depth, damage and type go with CAR status: real T cells, simulated CAR molecules.

    python benchmarks/calling_strata.py --studies 120 --seed 1 [--real ../shared/data/real_pbmc]

Depths and types are those of real T cells and other blood cells (10x PBMC; without the folder, lognormal depths).
A study has 1-3 samples. CAR T cells are 0.5-3 times as deep as the other T cells, up to half of the T cells are
damaged (they keep a fifth to three fifths of their RNA, and of their own CAR molecules a quarter of what is left),
and CD8 T cells are up to three times as often CAR T cells as CD4 T cells, or the reverse. Expression is gamma or
lognormal between cells; ambient molecules scatter between droplets; half of the studies come without empty droplets
and without a measured contamination. Nothing of the caller's likelihood is used to make them.

Tables: by stratum (coverage, bias, calibration, false calls); ambient RNA; detection limits (samples are made
anew at the limit that a silent sample stated), beside an oracle's; contrasts of equal fractions; clonotypes.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from scipy import sparse, special, stats

from carseq.calling import call_cells
from carseq.calling.negbin import upper_tail
from carseq.calling.rules import poisson_gaussian, zero_truncated
from carseq.localize import contrasts

CAR = "CAR"
#: Shape of the gamma distribution of ambient molecules between droplets.
SOUP_SHAPE = 4.0


@dataclass(frozen=True)
class Depths:
    """Depths of real cells relative to their median, and the CD8 share of T cells."""

    t: np.ndarray
    other: np.ndarray
    cd8: float


def real_depths(folder: Path | None) -> Depths:
    """Return depths of real blood cells: T cells by CD3 and TRAC, CD8 by CD8A and CD8B; lognormal without a folder."""
    if folder is None or not folder.is_dir():
        rng = np.random.default_rng(0)
        return Depths(rng.lognormal(0, 0.5, 2000), rng.lognormal(0, 0.6, 2000), 0.4)
    t, other, cd8 = [], [], []
    for path in sorted(folder.glob("*.h5ad")):
        adata = anndata.read_h5ad(path)
        adata.var_names_make_unique()
        total = np.asarray(adata.X.sum(axis=1)).ravel()

        def umis(*genes: str, adata: anndata.AnnData = adata) -> np.ndarray:
            known = [g for g in genes if g in adata.var_names]
            return np.asarray(adata[:, known].X.sum(axis=1)).ravel()

        is_t = (umis("CD3D", "CD3E", "CD3G", "TRAC") >= 2) & (umis("LYZ", "MS4A1", "CD79A") <= 2)
        t.append(total[is_t] / np.median(total[is_t]))
        other.append(total[~is_t] / np.median(total[is_t]))
        cd8.append(umis("CD8A", "CD8B")[is_t] > 0)
    return Depths(np.concatenate(t), np.concatenate(other), float(np.concatenate(cd8).mean()))


@dataclass(frozen=True)
class World:
    """What the samples of a study share."""

    depth: float
    ratio: float
    damaged: float
    type_ratio: float
    mu: float
    spread: float
    lognormal: bool
    contamination: float
    empties: bool
    soup: float


def world(rng: np.random.Generator) -> World:
    return World(
        depth=float(np.exp(rng.uniform(np.log(800), np.log(5000)))),
        ratio=float(np.exp(rng.uniform(np.log(0.5), np.log(3)))),
        damaged=float(rng.uniform(0, 0.5)),
        type_ratio=float(np.exp(rng.uniform(-np.log(3), np.log(3)))),
        mu=float(5e-4 * np.exp(0.6 * rng.standard_normal())),
        spread=float(rng.uniform(0.5, 1.0)),
        lognormal=bool(rng.random() < 0.4),
        contamination=float(np.exp(rng.uniform(np.log(0.01), np.log(0.2)))),
        empties=bool(rng.random() < 0.5),
        soup=float(rng.uniform(0.3, 1.0)),
    )


def make_sample(
    rng: np.random.Generator,
    depths: Depths,
    w: World,
    name: str,
    n_t: int,
    fraction: float,
    *,
    n_other: int | None = None,
    expression: float = 1.0,
    role: str = "case",
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Make the cells of a sample and its row of the samples table."""
    n_other = int(n_t * rng.uniform(0.2, 2)) if n_other is None else n_other
    n = n_t + n_other
    is_t = np.arange(n) < n_t
    cd8 = is_t & (rng.random(n) < depths.cd8)
    odds = np.where(cd8, np.sqrt(w.type_ratio), 1 / np.sqrt(w.type_ratio))
    p = np.minimum(fraction * odds / max(odds[is_t].mean(), 1e-9) if n_t else 0 * odds, 0.97)
    is_car = is_t & (rng.random(n) < p)
    relative = np.where(is_t, rng.choice(depths.t, n), rng.choice(depths.other, n))
    total = w.depth * relative * np.where(is_car, np.sqrt(w.ratio), 1 / np.sqrt(w.ratio))
    hurt = is_t & (rng.random(n) < w.damaged)
    total = np.maximum(total * np.where(hurt, rng.uniform(0.2, 0.6, n), 1), 200).astype(int)
    intact = np.where(hurt, rng.uniform(0.15, 0.4, n), 1.0)
    level = (
        rng.lognormal(-(w.spread**2) / 2, w.spread, n)
        if w.lognormal
        else rng.gamma(1 / w.spread**2, w.spread**2, n)
    )
    own = rng.poisson(np.minimum(w.mu * expression * level, 0.02) * total * intact * is_car)
    share = w.soup * own.sum() / max(total.sum(), 1)
    droplet = np.minimum(w.contamination * rng.gamma(SOUP_SHAPE, 1 / SOUP_SHAPE, n), 0.9)
    mean_ambient = droplet * total * share
    ambient = rng.poisson(mean_ambient)
    stray = rng.poisson(0.001 * own.sum() / max(total.sum(), 1) * total)
    obs = pd.DataFrame(
        {
            "sample": name,
            "patient": "P",
            "barcode": [f"b{i}" for i in range(n)],
            "total_umis": total,
            "lineage": np.where(is_t, "T", "myeloid"),
            "cell_type": np.where(~is_t, "monocyte", np.where(cd8, "CD8 T cell", "CD4 T cell")),
            "t_state": "",
            "is_doublet": False,
            "is_damaged": hurt & (rng.random(n) < 0.9),
            "intact": intact,
            "intact_fraction": np.clip(intact * rng.lognormal(0, 0.2, n), 0.02, 1),
            "truth": is_car,
            "seen": own + ambient + stray,
            "mean_ambient": mean_ambient,
        }
    )
    if w.empties:
        obs["contamination"] = np.clip(w.contamination * rng.lognormal(0, 0.3, n), 0.005, 0.5)
    umis = float(rng.poisson(3000 * w.contamination * w.depth)) if w.empties else 0.0
    row = {
        "sample": name, "patient": "P", "compartment": "blood", "timepoint": name, "role": role,
        "ambient_umis": umis, "ambient_car": float(rng.poisson(umis * share)),
    }  # fmt: skip
    return obs, row


def cohort(
    parts: list[tuple[pd.DataFrame, dict[str, object]]],
) -> tuple[anndata.AnnData, pd.DataFrame]:
    """Return the cells of several samples as one cohort, and the samples table."""
    obs = pd.concat([part[0] for part in parts], ignore_index=True)
    obs.index = obs["sample"] + ":" + obs["barcode"]
    counts = np.column_stack([obs["seen"], obs["total_umis"]]).astype(np.float32)
    adata = anndata.AnnData(sparse.csr_matrix(counts), obs=obs)
    adata.var_names = [CAR, "OTHER"]
    return adata, pd.DataFrame([part[1] for part in parts])


def studies(
    n: int, seed: int, depths: Depths, ratio: tuple[float, float] | None = None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Simulate and call studies: cells, samples and rules with their truth."""
    cells, samples, by_rule = [], [], []
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        w = world(rng)
        if ratio is not None:
            w = replace(w, ratio=float(np.exp(rng.uniform(*np.log(ratio)))))
        parts = []
        for i in range(rng.integers(1, 4)):
            n_t = int(np.exp(rng.uniform(np.log(60), np.log(2500))))
            fraction = 0.0 if rng.random() < 1 / 6 else float(0.02 + 0.75 * rng.random() ** 1.5)
            more = float(np.exp(0.25 * rng.standard_normal()))
            parts.append(make_sample(rng, depths, w, f"s{i}", n_t, fraction, expression=more))
        adata, sheet = cohort(parts)
        detection = call_cells(adata, None, sheet, car=CAR)
        obs = adata.obs.assign(study=number)
        about = {
            "study": number, "ratio": w.ratio, "damaged": w.damaged, "type_ratio": w.type_ratio,
            "lognormal": w.lognormal, "empties": w.empties, "ambient": w.contamination, "depth": w.depth,
        }  # fmt: skip
        t_cells = obs[obs["lineage"] == "T"]
        truth = t_cells.groupby("sample")["truth"].mean()
        samples.append(detection.assign(truth=detection["sample"].map(truth), **about))
        keep = ["study", "sample", "truth", "car_evidence", "car_posterior", "car_call"]
        keep += ["car_expected_ambient", "mean_ambient"]
        cells.append(t_cells[keep].assign(**about))
        by_rule.append(rules_with_truth(adata.obs))
    return pd.concat(cells), pd.concat(samples, ignore_index=True), pd.concat(by_rule)


def rules_with_truth(obs: pd.DataFrame) -> pd.DataFrame:
    """Return what carseq and the field's own rules call in a study, and how much of it is true.

    A mixture that could not be fitted in a sample calls nothing there.
    """
    t_cells = obs[obs["lineage"] == "T"]
    k = t_cells["car_evidence"].to_numpy(float)
    depth = t_cells["total_umis"].to_numpy(float)
    called = {"carseq": (t_cells["car_call"] == "positive").to_numpy()}
    called |= {f"{n} or more UMIs": k >= n for n in (1, 2, 3)}
    mixtures = {
        "Poisson-Gaussian mixture": lambda rows: poisson_gaussian(k[rows]),
        "zero-truncated mixture": lambda rows: zero_truncated(k[rows], depth[rows]),
    }
    for rule, mixture in mixtures.items():
        called[rule] = np.zeros(len(k), dtype=bool)
        for sample in t_cells["sample"].unique():
            rows = np.flatnonzero((t_cells["sample"] == sample).to_numpy() & (k > 0))
            chosen = mixture(rows)
            if chosen is not None:
                called[rule][rows[chosen]] = True
    truth = t_cells["truth"].to_numpy(bool)
    return pd.DataFrame(
        [(rule, int(c.sum()), int((c & truth).sum()), int(truth.sum())) for rule, c in called.items()],
        columns=["rule", "called", "true", "of"],
    )  # fmt: skip


def figures(cells: pd.DataFrame, samples: pd.DataFrame) -> dict[str, float]:
    """Return the figures of some studies."""
    low, high = samples["prevalence_low"] - 1e-9, samples["prevalence_high"] + 1e-9
    big = samples[samples["truth"] >= 0.1]
    called = cells[cells["car_call"] == "positive"]
    none = cells[cells["car_evidence"] == 0]
    return {
        "samples": len(samples),
        "coverage": float(samples["truth"].between(low, high).mean()),
        "bias": float((big["prevalence"] / big["truth"]).mean() - 1) if len(big) else np.nan,
        "width": float((samples["prevalence_high"] - samples["prevalence_low"]).mean()),
        "calibration": calibration(cells),
        "calibration, no CAR": calibration(none),
        "false calls": float((~called["truth"]).mean()) if len(called) else np.nan,
        "calls": len(called),
        "recall of shown": float(
            (cells["car_call"] == "positive")[cells["truth"] & (cells["car_evidence"] > 0)].mean()
        ),
    }


def calibration(cells: pd.DataFrame) -> float:
    """Return the mean difference of stated and true share of CAR T cells over ten bins of the posterior."""
    if not len(cells):
        return float("nan")
    group = np.minimum((cells["car_posterior"] * 10).astype(int), 9)
    table = cells.groupby(group).agg(
        n=("truth", "size"), stated=("car_posterior", "mean"), true=("truth", "mean")
    )
    return float((table["n"] * (table["stated"] - table["true"]).abs()).sum() / table["n"].sum())


def strata(cells: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Return the figures by stratum."""
    cuts: dict[str, list[tuple[str, float, float]]] = {
        "ratio": [("CAR T depth 0.5-0.8 x", 0.5, 0.8), ("0.8-1.25 x", 0.8, 1.25), ("1.25-3 x", 1.25, 3.01)],
        "damaged": [("damaged 0-15 %", 0, 0.15), ("15-35 %", 0.15, 0.35), ("35-50 %", 0.35, 0.51)],
        "type_ratio": [("CD8:CD4 below 0.6", 0, 0.6), ("0.6-1.6", 0.6, 1.6), ("above 1.6", 1.6, 9)],
        "ambient": [("ambient 1-3 %", 0, 0.03), ("3-8 %", 0.03, 0.08), ("8-20 %", 0.08, 1)],
        "empties": [("no empty droplets", -1, 0.5), ("empty droplets", 0.5, 2)],
        "lognormal": [("gamma", -1, 0.5), ("lognormal", 0.5, 2)],
        "depth": [("depth 800-2,000", 0, 2000), ("2,000-5,000", 2000, 1e9)],
    }  # fmt: skip
    rows = {"all": figures(cells, samples)}
    for column, parts in cuts.items():
        for name, low, high in parts:
            mine = samples[column].astype(float).between(low, high, inclusive="left")
            own = cells[column].astype(float).between(low, high, inclusive="left")
            rows[name] = figures(cells[own], samples[mine])
    return pd.DataFrame(rows).T


def ambient(cells: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """Return expected over true ambient molecules of samples, with and without empty droplets."""
    sums = cells.groupby(["study", "sample"], observed=True)[
        ["car_expected_ambient", "mean_ambient"]
    ].sum()
    empties = samples.set_index(["study", "sample"])["empties"].reindex(sums.index)
    some = sums["mean_ambient"] > 0.5
    ratio = sums["car_expected_ambient"] / sums["mean_ambient"]
    rows = []
    for name, chosen in (("no empty droplets", ~empties), ("empty droplets", empties)):
        own = ratio[some & chosen.astype(bool)]
        rows.append((name, len(own), *own.quantile([0.1, 0.5, 0.9])))
    return pd.DataFrame(rows, columns=["samples", "n", "10 %", "median", "90 %"])


def oracle_limit(obs: pd.DataFrame, w: World, mu: np.ndarray, soup: np.ndarray) -> float:
    """Return the limit of one who knows how the sample was made, but for which T cells are CAR T cells.

    The smallest CAR T fraction that shows a positive call with a probability of 95 %: a cell is called if, at that
    fraction, its count makes it a CAR T cell with a probability of 95 %.

    Parameters
    ----------
    obs
        Cells of the sample, with ``intact`` and ``droplet`` (the part of its RNA that it kept, and its ambient share).
    w
        What they were made from.
    mu
        Levels of CAR expression that are equally likely: one if it is known.
    soup
        Ambient share of cells times the CAR's share of ambient RNA (beside its share of cells), equally likely ones.
    """
    t = obs[obs["lineage"] == "T"]
    depth = t["total_umis"].to_numpy(float)[:, None]
    own = depth * t["intact"].to_numpy(float)[:, None] * mu
    spread = w.spread
    k = np.arange(1, 16)

    def tails(mean: np.ndarray, shape: float) -> np.ndarray:
        return np.stack([upper_tail(i, mean, shape) for i in (*k, k[-1] + 1)])

    if w.lognormal:
        z, weight = np.polynomial.hermite_e.hermegauss(9)
        levels = np.exp(spread * z - spread**2 / 2)
        of_car = sum(
            part * tails(own * level, 1e5)
            for level, part in zip(levels, weight / weight.sum(), strict=True)
        )
    else:
        of_car = tails(own, 1 / spread**2)
    share_t = float(own.sum(axis=0).mean() / obs["total_umis"].sum())

    def silence(fraction: float) -> float:
        of_null = tails(depth * soup * fraction * share_t, SOUP_SHAPE)
        car, null = (-np.diff(of, axis=0).mean(axis=2) for of in (of_car, of_null))
        enough = (1 - fraction) * null <= 0.05 * ((1 - fraction) * null + fraction * car)
        first = np.where(enough.any(axis=0), np.argmax(enough, axis=0), len(k))
        found = np.take_along_axis(of_car, first[None, :, None], axis=0)[0]
        return float(np.exp(np.log1p(-fraction * found).sum(axis=0)).mean())

    low, high = np.log(1e-5), 0.0
    if silence(1 - 1e-9) > 0.05:
        return 1.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (low, middle) if silence(np.exp(middle)) <= 0.05 else (middle, high)
    return float(np.exp(high))


def limits(n: int, seed: int, depths: Depths, again: int = 8) -> pd.DataFrame:
    """Ask silent samples for their limit and make samples anew at that fraction: the share detected."""
    rows = []
    for number in range(n):
        rng = np.random.default_rng([seed, 77, number])
        w = world(rng)
        n_t = int(np.exp(rng.uniform(np.log(30), np.log(3000))))
        silent = make_sample(rng, depths, w, "s", n_t, 0.0, n_other=n_t)
        adata, sheet = cohort([silent])
        limit = float(call_cells(adata, None, sheet, car=CAR)["detection_limit"].iloc[0])
        # Expression and ambient RNA as the worlds have them, for one who does not know this sample's.
        drawn = 5e-4 * np.exp(0.6 * special.ndtri((np.arange(11) + 0.5) / 11))
        worlds = [world(np.random.default_rng(i)) for i in range(60)]
        here = np.array([w.contamination * w.soup])
        there = here if w.empties else np.array([v.contamination * v.soup for v in worlds])
        oracles = [
            oracle_limit(silent[0], w, *told)
            for told in ((np.array([w.mu]), here), (drawn, here), (drawn, there))
        ]
        known = (number, n_t, w.depth, w.ratio, w.mu, w.empties, limit, *oracles)
        if limit > 0.5:
            rows.append((*known, np.nan))
            continue
        found = [
            call_cells(*_first(make_sample(rng, depths, w, "s", n_t, limit, n_other=n_t)), car=CAR)[
                "n_car_positive"
            ].iloc[0]
            > 0
            for _ in range(again)
        ]
        share = float(np.mean(found)) if found else np.nan
        rows.append((*known, share))
    columns = ["study", "n_t", "depth", "ratio", "mu", "empties", "limit", *ORACLES, "detected"]
    return pd.DataFrame(rows, columns=columns)


#: One who knows all that made the sample but who is a CAR T cell; who does not know this sample's expression, only how
#: it varies; who, where there are no empty droplets, does not know its ambient RNA either, only how it varies.
ORACLES = ("oracle", "oracle, mu open", "oracle, mu and soup open")

#: What the limit is asked over: T cells, median depth, ambient share, ambient UMIs, cells with one CAR molecule.
#: Along the first three the limit may not rise.
GRID: tuple[tuple[float, ...], ...] = (
    (30, 300, 3000), (500, 1600, 5000), (0.3, 0.1, 0.0), (0, 1e4, 1e5, 1e7), (0, 1, 2, 4),
)  # fmt: skip


def grid() -> pd.DataFrame:
    """Return the limits of silent samples (no positive call) over the grid."""
    rows = []
    for key in itertools.product(*GRID):
        n, depth, contamination, empties, n_one = key
        quantile = (np.arange(int(n)) + 0.5) / n
        total = np.maximum(depth * np.exp(0.5 * special.ndtri(quantile)), 200).astype(int)
        seen = np.zeros(int(n), dtype=int)
        seen[np.linspace(0, n - 1, int(n_one)).astype(int)] = 1
        obs = pd.DataFrame(
            {
                "sample": "s", "barcode": [f"b{i}" for i in range(int(n))], "total_umis": total, "lineage": "T",
                "cell_type": "CD4 T cell", "t_state": "", "is_doublet": False, "seen": seen,
                "contamination": max(contamination, 1e-6),
            }
        )  # fmt: skip
        row = {"sample": "s", "role": "case", "ambient_umis": empties, "ambient_car": 0.0}
        adata, sheet = cohort([(obs, row)])
        found = call_cells(adata, None, sheet, car=CAR).iloc[0]
        limit = found["detection_limit"] if not found["n_car_positive"] else np.nan
        rows.append((*key, limit, found["verdict"]))
    columns = ["n_t", "depth", "contamination", "ambient_umis", "n_one", "limit", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def rises(table: pd.DataFrame) -> pd.DataFrame:
    """Return the steps of the grid, with the limit after over before: more cells, deeper ones, less ambient RNA."""
    found = []
    names = ["n_t", "depth", "contamination", "ambient_umis", "n_one"]
    limit = table.set_index(names)["limit"]
    for key in limit.index:
        for axis in range(3):
            at = GRID[axis].index(key[axis])
            if at:
                before = (*key[:axis], GRID[axis][at - 1], *key[axis + 1 :])
                found.append((*key, names[axis], limit[key] / limit[before]))
    return pd.DataFrame(found, columns=[*names, "step", "ratio"]).dropna()


def _first(
    part: tuple[pd.DataFrame, dict[str, object]],
) -> tuple[anndata.AnnData, None, pd.DataFrame]:
    adata, sheet = cohort([part])
    return adata, None, sheet


def clones(n: int, seed: int, depths: Depths) -> pd.DataFrame:
    """Call studies with and without receptors: clones of CAR share 0, 0.5 and 1, by-standers expanded.

    Two thirds of the T cells of two samples are in clones of eight cells across both samples, or in one large clone of
    by-standers. Cells of all studies are pooled, since ten bins of one study hold too few.
    """
    found: dict[bool, list[pd.DataFrame]] = {True: [], False: []}
    for number in range(n):
        rng = np.random.default_rng([seed, 55, number])
        w = world(rng)
        parts = [make_sample(rng, depths, w, f"s{i}", 600, 0.3) for i in range(2)]
        obs = pd.concat([part[0] for part in parts], ignore_index=True)
        car = obs["truth"].to_numpy(bool)
        t = (obs["lineage"] == "T").to_numpy()
        name = np.full(len(obs), "", dtype=object)
        order = rng.permutation(len(obs))
        with_car, without = order[(t & car)[order]], order[(t & ~car)[order]]
        third, half = len(with_car) // 3, len(with_car) // 6
        chosen = {
            "all": with_car[:third],
            "half": np.concatenate([with_car[third : third + half], without[:half]]),
            "none": without[half : half + 200],
            "by-stander": without[half + 200 : half + 280],
        }
        for what, cells in chosen.items():
            mixed = rng.permutation(cells)
            size = len(cells) if what == "by-stander" else 8
            name[mixed] = [f"{what}{j // size}" for j in range(len(mixed))]
        ends = np.cumsum([0, *(len(part[0]) for part in parts)])
        named = [
            (part[0].assign(clonotype=name[low:high]), part[1])
            for part, low, high in zip(parts, ends[:-1], ends[1:], strict=True)
        ]
        for given in (True, False):
            adata, sheet = cohort(named)
            if not given:
                del adata.obs["clonotype"]
            call_cells(adata, None, sheet, car=CAR)
            kind = pd.Series(name, index=adata.obs_names).str.rstrip("0123456789")
            own = adata.obs.assign(clone=kind, study=number)
            found[given].append(own[own["lineage"] == "T"])
    rows = []
    for given, tables in found.items():
        own = pd.concat(tables)
        positive, member = own["car_call"] == "positive", own["clone"] != ""
        none = own["car_evidence"] == 0
        rows.append(
            {
                "receptors": given,
                "calls": int(positive.sum()),
                "false": int((positive & ~own["truth"]).sum()),
                "false in by-standers": int((positive & (own["clone"] == "by-stander")).sum()),
                "found": int((positive & own["truth"] & member).sum()),
                "shown": int((own["truth"] & member & ~none).sum()),
                "CAR T in clones with p > 0.5": int((own["truth"] & member & (own["car_posterior"] > 0.5)).sum()),
                "others with p > 0.5": int((~own["truth"] & member & (own["car_posterior"] > 0.5)).sum()),
                "calibration": calibration(own),
                "of clones": calibration(own[member]),
                "of clones, no CAR": calibration(own[member & none]),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def equal_fractions(n: int, seed: int, depths: Depths) -> str:
    """Compare urine with blood of the same CAR T fraction, where depth, damage and type go with CAR status.

    Of 1-3 patients a study; one of the two compartments is 1-4 times as deep as the other.
    """
    rows: list[tuple[float, bool]] = []
    number = 0
    while len(rows) < n:
        rng = np.random.default_rng([seed, 33, number])
        number += 1
        w = world(rng)
        parts = []
        for patient in range(rng.integers(1, 4)):
            fraction = float(rng.uniform(0.05, 0.5))
            deeper = float(np.exp(rng.uniform(0, np.log(4))))
            for compartment in rng.permutation(["urine", "blood"]):
                there = replace(w, depth=w.depth * deeper)
                deeper = 1.0
                n_t = int(np.exp(rng.uniform(np.log(100), np.log(1000))))
                more = float(np.exp(0.2 * rng.standard_normal()))
                obs, row = make_sample(
                    rng, depths, there, f"p{patient}_{compartment}", n_t, fraction, expression=more
                )
                about = {"patient": f"p{patient}", "compartment": compartment, "timepoint": "D28"}
                parts.append((obs.assign(patient=f"p{patient}"), {**row, **about}))
        adata, sheet = cohort(parts)
        detection = call_cells(adata, None, sheet, car=CAR)
        # Types and states within a sample are another question, and take three times as long.
        adata.obs["cell_type"] = adata.obs["t_state"] = ""
        table = contrasts(adata, detection)
        table = table[(table["contrast"] == "urine against blood") & (table["n_patients"] == 1)]
        rows += [(r.p < 0.05, r.low <= 1 <= r.high) for r in table.itertuples()]
    rejected, held = np.array(rows, dtype=bool).T
    low, high = stats.binomtest(int(rejected.sum()), len(rows)).proportion_ci(method="exact")
    return (
        f"equal fractions: p < 0.05 in {rejected.sum()} of {len(rows)} contrasts "
        f"({rejected.mean():.1%}, {low:.1%}-{high:.1%}); the interval holds 1 in {held.mean():.1%}"
    )


def shown(table: pd.DataFrame, index: str = "") -> str:
    """Return a table as Markdown, three significant digits."""
    text = table.map(lambda v: f"{v:.3g}" if isinstance(v, float) else str(v))
    head = [index] if index else []
    lines = [f"| {' | '.join([*head, *map(str, text.columns)])} |"]
    lines.append("|" + "---|" * (len(text.columns) + len(head)))
    for name, row in zip(text.index, text.to_numpy(), strict=True):
        lines.append(f"| {' | '.join([*([str(name)] if index else []), *row])} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=120)
    parser.add_argument("--limits", type=int, default=40)
    parser.add_argument("--clones", type=int, default=12)
    parser.add_argument(
        "--contrasts", type=int, default=0, help="urine and blood of equal fractions"
    )
    parser.add_argument("--grid", action="store_true", help="limits over a grid of silent samples")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="write cells and samples as pickles of this name")
    parser.add_argument("--ratio", type=float, nargs=2, help="CAR T depth over others', from to")
    parser.add_argument("--real", type=Path, default=Path("../shared/data/real_pbmc"))
    given = parser.parse_args()
    logging.getLogger("carseq").setLevel(logging.ERROR)
    start = time.perf_counter()
    depths = real_depths(given.real)
    if given.studies:
        print(len(depths.t), "real T cells", depths.cd8)
        cells, samples, by_rule = studies(
            given.studies, given.seed, depths, tuple(given.ratio) if given.ratio else None
        )
        if given.keep:
            cells.to_pickle(f"{given.keep}.cells.pkl")
            samples.to_pickle(f"{given.keep}.samples.pkl")
        print(shown(strata(cells, samples), "stratum"), "\n")
        print(shown(ambient(cells, samples)), "\n")
        total = by_rule.groupby("rule")[["called", "true", "of"]].sum()
        total = total.assign(
            precision=total["true"] / total["called"], recall=total["true"] / total["of"]
        )
        print(shown(total, "rule"), "\n", flush=True)
    if given.limits:
        table = limits(given.limits, given.seed, depths)
        print(
            f"{len(table)} silent samples with a limit; detected at it: {table['detected'].mean():.1%}, ",
            end="",
        )
        print(
            f"median over samples {table['detected'].median():.0%}, least {table['detected'].min():.0%}"
        )
        print(shown(table.sort_values("detected").head(8)), "\n")
        ratios = table[["limit"]].assign(**{c: table["limit"] / table[c] for c in ORACLES})
        by = ratios.drop(columns="limit").groupby(table["empties"])
        print("limit over the oracle's, by quantile:")
        print(
            shown(by.quantile([0, 0.1, 0.5, 0.9, 1]), "empty droplets, quantile"), "\n", flush=True
        )
    if given.grid:
        table = grid()
        steps = rises(table)
        quiet = table[table["limit"].notna()]
        print(
            f"{len(table)} samples, {len(quiet)} without a positive call; of {len(steps)} steps "
            f"{(steps['ratio'] > 1.05).sum()} raise the limit by more than 5 %"
        )
        print(shown(steps.sort_values("ratio", ascending=False).head(6)), "\n", flush=True)
    if given.contrasts:
        print(equal_fractions(given.contrasts, given.seed, depths), "\n", flush=True)
    if given.clones:
        print(shown(clones(given.clones, given.seed, depths)))
    print(f"\n{(time.perf_counter() - start) / 60:.1f} min")


if __name__ == "__main__":
    main()
