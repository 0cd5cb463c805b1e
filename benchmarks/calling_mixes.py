"""Mixes of real T cells with known CAR shares, silent samples and products, given as matrices of called cells.

    python benchmarks/calling_mixes.py --seeds 3 --first 101 [--matrices 40] [--real ../shared/data/real_pbmc]

The cells are those of three 10x PBMC sets: each keeps its own depth, relative to its set, and its own type; CAR
molecules are put in. Real libraries set the depths: CAR T cells of 3,927 UMIs beside T cells of 1,010, and others.
Expression between CAR T cells is gamma with a shape of 1.2, which none of the caller's grid has; damaged cells keep
three tenths of their RNA. Ambient molecules scatter between droplets. Where a mix says nothing else there are no empty
droplets and no measured contamination.

Printed: the figures by mix; single questions (a product with 1-5 % CAR T cells, silent samples, a control that holds
CAR T cells); and studies given as matrices beside an oracle that knows every parameter. With ``--ambient``
also samples whose ambient RNA is up to sixty times what is assumed, or a third of it; with ``--together`` also studies
in which all that disturbs calls is drawn at once: ambient RNA, depth and damage that go with CAR status, unseen
doublets, lognormal expression, a library that all but failed, samples with and without empty droplets.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
from calling_strata import CAR, calibration, cohort, shown
from scipy import special

from carseq.calling import call_cells, choose
from carseq.calling.negbin import joint_shape, log_pmf

#: Shapes of the gamma distributions of CAR expression between cells, and of ambient molecules between droplets.
EXPRESSION, SOUP = 1.2, 3.0
#: Part of its RNA that a damaged cell kept.
KEPT = 0.3


@dataclass(frozen=True)
class Real:
    """Molecules and types of real cells: T cells, and those that cannot be CAR T cells."""

    t: np.ndarray
    t_type: np.ndarray
    other: np.ndarray
    other_type: np.ndarray


def real_cells(folder: Path) -> Real:
    """Return real T cells and other cells by their markers, each set's depths relative to its T cells' median."""
    parts: list[list[np.ndarray]] = [[], [], [], []]
    for path in sorted(folder.glob("*.h5ad")):
        adata = anndata.read_h5ad(path)
        adata.var_names_make_unique()
        total = np.asarray(adata.X.sum(axis=1)).ravel()

        def umis(*genes: str, adata: anndata.AnnData = adata) -> np.ndarray:
            known = [g for g in genes if g in adata.var_names]
            return np.asarray(adata[:, known].X.sum(axis=1)).ravel()

        is_t = (umis("CD3D", "CD3E", "CD3G", "TRAC") >= 2) & (umis("LYZ", "MS4A1", "CD79A") <= 2)
        not_t = umis("LYZ", "MS4A1", "CD79A") >= 5
        middle = np.median(total[is_t])
        kind = np.where(umis("CD8A", "CD8B") > 0, "CD8 T cell", "CD4 T cell")
        other = np.where(umis("LYZ") >= 5, "monocyte", "B cell")
        for part, values in zip(
            parts,
            (total[is_t] / middle, kind[is_t], total[not_t] / middle, other[not_t]),
            strict=True,
        ):
            part.append(values)
    return Real(*(np.concatenate(p) for p in parts))


def sample(
    rng: np.random.Generator,
    real: Real,
    name: str,
    n_t: int,
    fraction: float,
    *,
    car_depth: float = 3927,
    depth: float = 1010,
    mu: float = 5e-4,
    damaged: float = 0.11,
    damage_known: bool = True,
    n_other: int = 300,
    contamination: float = 0.02,
    soup: float = 1.0,
    empties: float = 0,
    role: str = "case",
    compartment: str = "urine",
    lognormal: float = 0.0,
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Return the cells of a sample, with truth and the true ambient expectation, and its row of the samples table.

    Expression between CAR T cells is gamma, or lognormal of the log-sd ``lognormal``.
    """
    n = n_t + n_other
    is_t = np.arange(n) < n_t
    is_car = np.arange(n) < round(fraction * n_t)
    t, other = rng.integers(len(real.t), size=n), rng.integers(len(real.other), size=n)
    middle = np.where(is_car, car_depth, depth)
    total = np.where(is_t, real.t[t] * middle, real.other[other] * 2000)
    hurt = is_t & (rng.random(n) < damaged)
    total = np.maximum(rng.poisson(total), 250)
    intact = np.where(hurt, KEPT, 1.0)
    level = (
        rng.lognormal(-(lognormal**2) / 2, lognormal, n)
        if lognormal
        else rng.gamma(EXPRESSION, 1 / EXPRESSION, n)
    )
    own = rng.poisson(mu * level * total * intact * is_car)
    share = soup * own.sum() / total.sum()
    mean_ambient = contamination * share * total
    ambient = rng.poisson(mean_ambient * rng.gamma(SOUP, 1 / SOUP, n))
    obs = pd.DataFrame(
        {
            "sample": name,
            "patient": "P",
            "barcode": [f"b{i}" for i in range(n)],
            "total_umis": total,
            "lineage": np.where(is_t, "T", np.where(real.other_type[other] == "B cell", "B", "myeloid")),
            "cell_type": np.where(is_t, real.t_type[t], real.other_type[other]),
            "t_state": "",
            "is_doublet": False,
            "is_damaged": hurt & damage_known,
            "intact_fraction": intact if damage_known else 1.0,
            "truth": is_car,
            "seen": own + ambient,
            "mean_ambient": mean_ambient,
            "own_expected": mu * total * intact,
            "fraction": fraction,
        }
    )  # fmt: skip
    row = {
        "sample": name, "patient": "P", "compartment": compartment, "timepoint": name, "role": role,
        "ambient_umis": float(empties), "ambient_car": float(rng.poisson(empties * share)),
    }  # fmt: skip
    return obs, row


def oracle(obs: pd.DataFrame, fdr: float = 0.05) -> np.ndarray:
    """Return the T cells that one would call who knows each sample's parameters."""
    k = obs["seen"].to_numpy(float)
    own, ambient = obs["own_expected"].to_numpy(float), obs["mean_ambient"].to_numpy(float)
    soup = np.full(len(obs), SOUP)
    log_null = log_pmf(k, ambient, soup)
    log_car = log_pmf(k, own + ambient, joint_shape(own, EXPRESSION, ambient, soup))
    prior = np.clip(obs["fraction"].to_numpy(float), 1e-9, 1 - 1e-9)
    posterior = special.expit(special.logit(prior) + log_car - log_null)
    called = np.zeros(len(obs), dtype=bool)
    for name in obs["sample"].unique():
        rows = np.flatnonzero((obs["sample"] == name).to_numpy() & (k > 0))
        called[rows[choose(posterior[rows], np.zeros(len(rows)), fdr)[0]]] = True
    return called


Part = tuple[pd.DataFrame, dict[str, object]]


def mixes(rng: np.random.Generator, real: Real) -> dict[str, list[Part]]:
    """Return the mixes by name, each a study of one sample or several."""

    def several(n: int, fraction: float, **more: float) -> list[Part]:
        return [
            sample(rng, real, f"m{i}", int(rng.integers(200, 900)), fraction, **more)  # type: ignore[arg-type]
            for i in range(n)
        ]

    return {
        "10 %, deep": several(6, 0.1),
        "30 %, deep": several(6, 0.3),
        "30 %, deep, alone": several(1, 0.3),
        "10 %, like depth": several(3, 0.1, car_depth=2500, depth=2500),
        "30 %, like depth": several(3, 0.3, car_depth=2500, depth=2500),
        "30 %, shallow": several(4, 0.3, car_depth=1200, depth=2400),
        "20 %, deep, damage unknown": several(4, 0.2, damage_known=False),
        "30 %, half damaged": several(4, 0.3, damaged=0.5),
        "0.3 % of 3,000, empty droplets": [
            sample(rng, real, f"x{i}", 3000, 0.003, car_depth=3900, depth=3500, empties=1e6)
            for i in range(2)
        ],
        "100 %, product beside urine": [
            sample(rng, real, "p", 400, 1.0, role="product", compartment="product"),
            sample(rng, real, "u", 200, 0.1),
        ],
    }


def figures(parts: list[tuple[pd.DataFrame, pd.DataFrame]]) -> dict[str, float]:
    """Return the figures of studies: detection tables and T cells with truth."""
    detection = pd.concat([p[0] for p in parts])
    cells = pd.concat([p[1] for p in parts])
    truth = detection["truth"]
    held = truth.between(detection["prevalence_low"] - 1e-9, detection["prevalence_high"] + 1e-9)
    positive = cells["car_call"] == "positive"
    best = cells["oracle"]
    return {
        "samples": len(detection),
        "coverage": float(held.mean()),
        "bias": float((detection["prevalence"] / truth).mean() - 1),
        "width": float((detection["prevalence_high"] - detection["prevalence_low"]).mean()),
        "detected": float((detection["n_car_positive"] > 0).mean()),
        "calibration": calibration(cells),
        "calibration, no CAR": calibration(cells[cells["seen"] == 0]),
        "false calls": float((positive & ~cells["truth"]).sum() / max(positive.sum(), 1)),
        "calls": int(positive.sum()),
        "recall of the oracle": float(
            (positive & cells["truth"]).sum() / max((best & cells["truth"]).sum(), 1)
        ),
    }


def called(parts: list[Part]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Call a study; return its detection table and its T cells, with truth and the oracle's calls."""
    adata, sheet = cohort(parts)
    detection = call_cells(adata, None, sheet, car=CAR)
    cells = adata.obs[adata.obs["lineage"] == "T"].copy()
    cells["oracle"] = oracle(cells)
    truth = cells.groupby("sample")["truth"].mean()
    return detection.assign(truth=detection["sample"].map(truth)), cells


def by_mix(seeds: range, real: Real) -> pd.DataFrame:
    """Return the figures of each mix over the seeds."""
    found: dict[str, list[tuple[pd.DataFrame, pd.DataFrame]]] = {}
    for seed in seeds:
        for name, parts in mixes(np.random.default_rng([seed, 1]), real).items():
            found.setdefault(name, []).append(called(parts))
    rows = {name: figures(parts) for name, parts in found.items()}
    rows["all"] = figures([p for parts in found.values() for p in parts])
    return pd.DataFrame(rows).T


def matrices(n: int, seed: int, real: Real) -> str:
    """Call studies that are matrices of called cells and nothing else, and say how they went."""
    parts, ratios = [], []
    for number in range(n):
        rng = np.random.default_rng([seed, 2, number])
        contamination = float(np.exp(rng.uniform(np.log(0.01), np.log(0.2))))
        mu = float(5e-4 * np.exp(0.5 * rng.standard_normal()))
        depth = float(np.exp(rng.uniform(np.log(1000), np.log(4000))))
        ratio = float(np.exp(rng.uniform(np.log(0.6), np.log(3))))
        study = [
            sample(
                rng, real, f"s{i}", int(np.exp(rng.uniform(np.log(80), np.log(1000)))),
                0.0 if rng.random() < 0.2 else float(0.02 + 0.6 * rng.random() ** 1.5), mu=mu,
                car_depth=depth * ratio, depth=depth, contamination=contamination,
                soup=float(rng.uniform(0.3, 1)), n_other=int(rng.integers(20, 600)),
            )
            for i in range(int(rng.integers(1, 3)))
        ]  # fmt: skip
        detection, cells = called(study)
        parts.append((detection[detection["truth"] > 0], cells))
        sums = cells.groupby("sample")[["car_expected_ambient", "mean_ambient"]].sum()
        sums = sums[sums["mean_ambient"] > 0.5]
        ratios += list(sums["car_expected_ambient"] / sums["mean_ambient"])
    of = figures(parts)
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
    return (
        f"{n} studies: {of['false calls']:.1%} of {of['calls']} calls false, "
        f"recall {of['recall of the oracle']:.1%} of the oracle's, "
        f"coverage {of['coverage']:.1%} of {of['samples']} samples with CAR T cells; "
        f"expected over true ambient molecules: median {middle:.2f} "
        f"(10-90 %: {low:.2f}-{high:.2f}, {len(ratios)} samples)"
    )


def ambient(n: int, seed: int, real: Real) -> pd.DataFrame:
    """Return the figures of samples whose ambient RNA is far from what is assumed, by stratum."""
    rows = []
    for number in range(n):
        rng = np.random.default_rng([seed, 77, number])
        world: dict[str, float] = {
            "contamination": float(rng.choice([0.02, 0.08, 0.2, 0.4])),
            "n_other": int(rng.choice([0, 300])),
            "fraction": float(rng.choice([0, 0.001, 0.01, 0.1, 0.6])),
            "depth": float(np.exp(rng.uniform(np.log(800), np.log(10_000)))),
            "ratio": float(rng.choice([1.0, 1.0, 2.0])),
            "empties": float(rng.choice([0, 0, 0, 1e6])),
            "soup": float(np.exp(rng.uniform(np.log(0.3), np.log(3)))),
            "off": float(np.exp(rng.uniform(np.log(0.5), np.log(2)))),
            "mu": float(5e-4 * np.exp(0.5 * rng.standard_normal())),
            "n_t": int(np.exp(rng.uniform(np.log(100), np.log(1500)))),
        }
        given = {k: v for k, v in world.items() if k not in ("ratio", "off")}
        part = sample(rng, real, "s", car_depth=world["depth"] * world["ratio"], **given)  # type: ignore[arg-type]
        if world["empties"]:
            part[0]["contamination"] = min(world["contamination"] * world["off"], 1.0)
        detection, cells = called([part])
        row, positive, best = detection.iloc[0], cells["car_call"] == "positive", cells["oracle"]
        rows.append(
            {
                **world,
                "calls": int(positive.sum()),
                "false": int((positive & ~cells["truth"]).sum()),
                "stated": float(row["expected_false_calls"]),
                "found": int((positive & cells["truth"]).sum()),
                "of oracle": int((best & cells["truth"]).sum()),
                "held": bool(row["prevalence_low"] - 1e-9 <= row["truth"] <= row["prevalence_high"] + 1e-9),
                "width": float(row["prevalence_high"] - row["prevalence_low"]),
                "estimate": float(row["prevalence"]),
                "truth": float(row["truth"]),
            }
        )  # fmt: skip
    table = pd.DataFrame(rows)
    alone = table["empties"] == 0
    times = table["contamination"] * table["soup"] / (0.05 * 0.36)
    parts = {
        "empty droplets": ~alone,
        "none, other cells": alone & (table["n_other"] > 0),
        "none, sorted": alone & (table["n_other"] == 0),
        **{f"none, {c:.0%} ambient": alone & (table["contamination"] == c) for c in (0.02, 0.08, 0.2, 0.4)},
        "none, less than assumed": alone & (times < 1),
        "none, 1-3 times": alone & times.between(1, 3),
        "none, 3-10 times": alone & times.between(3, 10),
        "none, more": alone & (times > 10),
        **{f"none, {f:.1%} CAR T": alone & (table["fraction"] == f) for f in (0, 0.001, 0.01, 0.1, 0.6)},
        "none, below 2,000 UMIs": alone & (table["depth"] < 2000),
        "none, above 5,000": alone & (table["depth"] > 5000),
    }  # fmt: skip
    return of_strata(table, parts)


def of_strata(table: pd.DataFrame, parts: dict[str, pd.Series]) -> pd.DataFrame:
    """Return the figures of samples by stratum."""
    found = {}
    for name, chosen in parts.items():
        x = table[chosen]
        some, calls = x[x["truth"] > 0], max(int(x["calls"].sum()), 1)
        found[name] = {
            "samples": len(x),
            "calls": int(x["calls"].sum()),
            "false calls": x["false"].sum() / calls,
            "mean of samples": float((x["false"] / x["calls"].where(x["calls"] > 0)).mean()),
            "stated": x["stated"].sum() / calls,
            "recall of the oracle": x["found"].sum() / max(int(x["of oracle"].sum()), 1),
            "coverage": float(x["held"].mean()),
            "width": float(x["width"].mean()),
            "bias": float(some["estimate"].sum() / max(some["truth"].sum(), 1e-9) - 1),
            "silent detected": int((x["calls"][x["truth"] == 0] > 0).sum()),
            "silent": int((x["truth"] == 0).sum()),
        }
    return pd.DataFrame(found).T


def hidden(rng: np.random.Generator, obs: pd.DataFrame, share: float) -> pd.DataFrame:
    """Return cells of which a share hides a second one of the same sample, which nobody saw."""
    n = len(obs)
    partner = np.where(rng.random(n) < share, rng.integers(0, n, n), -1)
    two = partner >= 0
    found = obs.copy()
    for name in ("total_umis", "seen", "mean_ambient"):
        values = obs[name].to_numpy()
        found[name] = values + np.where(two, values[partner], 0)
    truth = obs["truth"].to_numpy(bool)
    found["truth"] = truth | (two & truth[partner])
    return found


def together(n: int, seed: int, real: Real) -> pd.DataFrame:
    """Return the figures of studies in which all that disturbs calls is drawn at once, by stratum."""
    rows = []
    for number in range(n):
        rng = np.random.default_rng([seed, 88, number])
        mu = float(5e-4 * np.exp(0.6 * rng.standard_normal()))
        lognormal = float(rng.choice([0.0, rng.uniform(0.5, 1.0)]))
        ratio = float(np.exp(rng.uniform(np.log(0.6), np.log(3))))
        parts, worlds = [], []
        for i in range(int(rng.integers(1, 4))):
            depth = float(np.exp(rng.uniform(np.log(900), np.log(6000))))
            w: dict[str, float] = {
                "n_t": int(np.exp(rng.uniform(np.log(60), np.log(2000)))),
                "fraction": float(rng.choice([0, 0.01, 0.05, 0.2, 0.5, 0.9])),
                "depth": depth * (0.2 if rng.random() < 0.1 else 1.0),
                "contamination": float(np.exp(rng.uniform(np.log(0.01), np.log(0.3)))),
                "soup": float(np.exp(rng.uniform(np.log(0.3), np.log(3)))),
                "damaged": float(rng.uniform(0.0, 0.5)),
                "damage_known": bool(rng.random() < 0.8),
                "n_other": int(rng.choice([0, 50, 400])),
                "empties": float(rng.choice([0, 1e6])),
            }
            obs, row = sample(
                rng, real, f"s{i}", car_depth=w["depth"] * ratio,
                mu=mu * float(np.exp(0.25 * rng.standard_normal())), lognormal=lognormal, **w,  # type: ignore[arg-type]
            )  # fmt: skip
            w["doublets"] = float(rng.choice([0.0, 0.02, 0.08]))
            obs = hidden(rng, obs, w["doublets"])
            off = np.exp(0.4 * rng.standard_normal()) if w["empties"] else np.nan
            obs["contamination"] = np.minimum(w["contamination"] * off, 1.0)
            parts.append((obs, row))
            worlds.append(w)
        detection, cells = called(parts)
        for w, row in zip(worlds, detection.to_dict("records"), strict=True):
            own = cells[cells["sample"] == row["sample"]]
            positive = own["car_call"] == "positive"
            excluded = row["prevalence_high"] if row["verdict"] == "not_detected" else 1.0
            rows.append(
                {
                    **w,
                    "lognormal": lognormal,
                    "ratio": ratio,
                    "calls": int(positive.sum()),
                    "false": int((positive & ~own["truth"]).sum()),
                    "stated": row["expected_false_calls"],
                    "found": int((positive & own["truth"]).sum()),
                    "of oracle": int((own["oracle"] & own["truth"]).sum()),
                    "held": row["prevalence_low"] - 1e-9 <= row["truth"] <= row["prevalence_high"] + 1e-9,
                    "width": row["prevalence_high"] - row["prevalence_low"],
                    "estimate": row["prevalence"],
                    "truth": row["truth"],
                    "wrong limit": row["truth"] > excluded + 1e-9,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    known = table["damage_known"].astype(bool)
    parts_of = {
        "all": table["n_t"] > 0,
        "empty droplets": table["empties"] > 0,
        "none, other cells": (table["empties"] == 0) & (table["n_other"] > 0),
        "none, sorted": (table["empties"] == 0) & (table["n_other"] == 0),
        "1-5 % ambient": table["contamination"] < 0.05,
        "5-15 %": table["contamination"].between(0.05, 0.15),
        "15-30 %": table["contamination"] > 0.15,
        **{f"{f:.0%} CAR T": table["fraction"] == f for f in (0, 0.01, 0.05, 0.2, 0.5, 0.9)},
        "CAR T shallower": table["ratio"] < 0.9,
        "CAR T 1.5-3 times as deep": table["ratio"] > 1.5,
        "gamma": table["lognormal"] == 0,
        "lognormal": table["lognormal"] > 0,
        "damage unknown": ~known,
        "a third damaged or more": known & (table["damaged"] > 1 / 3),
        **{f"{d:.0%} unseen doublets": table["doublets"] == d for d in (0.0, 0.02, 0.08)},
        "median below 1,000 UMIs": table["depth"] < 1000,
        "500 T cells or more": table["n_t"] >= 500,
    }  # fmt: skip
    found = of_strata(table, parts_of)
    found["limits that exclude the truth"] = [
        int(table["wrong limit"][chosen].sum()) for chosen in parts_of.values()
    ]
    return found


def questions(seeds: range, real: Real) -> str:
    """Ask single questions, over the seeds."""
    lines = []
    for fraction in (0.01, 0.02, 0.05):
        found = [
            called([
                sample(
                    np.random.default_rng([seed, 3]), real, "p", 400, fraction, car_depth=3500,
                    depth=2500, role="product", compartment="product",
                )
            ])[0].iloc[0]
            for seed in range(seeds.start, seeds.start + 5 * len(seeds))
        ]  # fmt: skip
        hit = sum(f["n_car_positive"] > 0 for f in found)
        held = sum(f["prevalence_low"] <= f["truth"] <= f["prevalence_high"] for f in found)
        lines.append(
            f"product of 400 T cells, {fraction:.0%} CAR T, no empty droplets: "
            f"detected in {hit} of {len(found)}, the interval holds it in {held}"
        )
    for empties in (0.0, 1e6):
        limits = []
        for n in (30, 100, 300, 1000, 3000):
            row = called(
                [
                    sample(
                        np.random.default_rng([seeds.start, 4]),
                        real,
                        "s",
                        n,
                        0.0,
                        depth=3500,
                        empties=empties,
                    )
                ]
            )[0].iloc[0]
            limits.append(f"{n}: {row['detection_limit']:.2g} ({row['verdict']})")
        lines.append(f"silent, {empties:g} ambient UMIs: limits by T cells {', '.join(limits)}")
    row = called(
        [
            sample(
                np.random.default_rng([seeds.start, 5]),
                real,
                "c",
                300,
                0.2,
                role="negative_control",
            )
        ]
    )[0].iloc[0]
    lines.append(f"control with 20 % CAR T cells: {row['verdict_text']}")
    return "\n".join(lines)


def main() -> None:
    """Print tables and answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=101)
    parser.add_argument("--matrices", type=int, default=40)
    parser.add_argument("--real", type=Path, default=Path("../shared/data/real_pbmc"))
    parser.add_argument("--ambient", type=int, default=0, help="samples in other ambient RNA")
    parser.add_argument("--together", type=int, default=0, help="studies of all nuisances at once")
    given = parser.parse_args()
    logging.getLogger("carseq").setLevel(logging.ERROR)
    start = time.perf_counter()
    real = real_cells(given.real)
    seeds = range(given.first, given.first + given.seeds)
    print(len(real.t), "real T cells,", len(real.other), "others")
    if len(seeds):
        print(shown(by_mix(seeds, real), "mix"), "\n", flush=True)
        print(questions(seeds, real), "\n", flush=True)
    if given.matrices:
        print(matrices(given.matrices, given.first, real), flush=True)
    if given.ambient:
        print(shown(ambient(given.ambient, given.first, real), "stratum"), flush=True)
    if given.together:
        print(shown(together(given.together, given.first, real), "stratum"), flush=True)
    print(f"\n{(time.perf_counter() - start) / 60:.1f} min")


if __name__ == "__main__":
    main()
