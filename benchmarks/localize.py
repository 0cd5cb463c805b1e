"""How right the contrasts are: patients' urine and blood, simulated molecule by molecule, called and compared.

    python benchmarks/localize.py --contrasts 1000 --powered 300 --seed 1
    python benchmarks/localize.py --patients 150 --seed 1

A study has one to eight patients with a urine and a blood sample each. Its cells have a depth; CAR T cells hold CAR
mRNA molecules, lognormal between cells (the caller assumes gamma); a cell's molecules are captured one by one at its
own rate; ambient RNA has the sample's own CAR share, and its molecules scatter between droplets; some T cells hide a
second cell; chimeras put CAR molecules anywhere. Nothing of the caller's likelihood is used. The cohort goes through
:func:`carseq.calling.call_cells`; each patient's urine is then compared with the blood by
:func:`carseq.localize.contrasts`.

Under the null the fractions are equal and the depths differ, by four times unless said otherwise. The oracle sees who
is a CAR T cell and tests by Fisher's exact test; the rule of old is Fisher's exact test on the calls. "Expression
known" is a likelihood-ratio test on the same molecules that is told what CAR T cells express: more is not in them.

``--patients`` looks at the step that brings patients together alone: normal likelihoods of two to eight patients, who
scatter or not, and of whom all, one or two are known well.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import dataclass

import anndata
import numpy as np
import pandas as pd
from scipy import sparse, stats

from carseq.calling import call_cells
from carseq.localize import contrasts
from carseq.localize.odds import PSI, Profile, over_patients

CAR = "CAR"
#: mRNA molecules of a cell from which its depth is captured.
MRNAS = 100_000


@dataclass(frozen=True)
class Setting:
    """What the studies of a scenario share."""

    name: str
    depth_ratio: float
    odds_ratio: float
    #: T cells of a sample: lowest and highest, evenly spread on a log scale.
    t_cells: tuple[int, int] = (100, 1000)
    #: Standard deviation of the patients' log odds ratios.
    scatter: float = 0.0


def sample_cells(
    rng: np.random.Generator,
    name: str,
    *,
    n_t: int,
    n_car: int,
    depth: float,
    expression: float,
    spread: float,
    ambient: float,
) -> tuple[pd.DataFrame, dict[str, float]]:
    """Simulate the cells of a sample and its empty droplets, molecule by molecule.

    Parameters
    ----------
    n_t, n_car
        T cells, and CAR T cells among them; half as many other cells come with them.
    depth
        Median captured molecules of a cell.
    expression, spread
        CAR mRNA's share of a CAR T cell's mRNA: median, and sd of its logarithm.
    ambient
        Ambient molecules of a droplet relative to ``depth``.
    """
    n = n_t + n_t // 2
    is_t = np.arange(n) < n_t
    is_car = np.arange(n) < n_car
    capture = depth / MRNAS * rng.lognormal(0, 0.5, n)
    share = np.minimum(expression * rng.lognormal(0, spread, n), 0.05) * is_car
    mrnas = rng.poisson(MRNAS * share)
    # A droplet in a hundred hides a second cell of the sample.
    partner = np.where(rng.random(n) < 0.01, rng.integers(0, n, n), -1)
    mrnas = mrnas + np.where(partner >= 0, mrnas[partner], 0)
    own_car = rng.binomial(mrnas, np.minimum(capture, 1))
    own = rng.poisson(capture * MRNAS * (1 - share) * np.where(partner >= 0, 2, 1))
    # The soup: what the sample's cells lost, other cells more than T cells.
    soup_share = float((share * is_t).sum() / (is_t.sum() + 2.0 * (~is_t).sum()))
    soup = rng.poisson(ambient * depth * rng.gamma(4.0, 0.25, n))
    ambient_car = rng.binomial(soup, soup_share)
    total = own + own_car + soup
    chimeras = rng.poisson(total * 0.001 * own_car.sum() / max(total.sum(), 1))
    n_empty = rng.poisson(3000 * ambient * depth)
    obs = pd.DataFrame(
        {
            "sample": name,
            "barcode": [f"b{i}" for i in range(n)],
            "total_umis": total + chimeras,
            "lineage": np.where(is_t, "T", "myeloid"),
            "cell_type": np.where(is_t, "CD4 T cell", "monocyte"),
            "t_state": "",
            "is_doublet": False,
            # Estimated per cell: its sample's, with an error of a third.
            "contamination": np.minimum(
                ambient * depth / np.maximum(total, 1) * rng.lognormal(0, 0.33, n), 0.9
            ),
            "truth": is_car,
            "seen": own_car + ambient_car + chimeras,
        }
    )
    empty = {
        "ambient_umis": float(n_empty),
        "ambient_car": float(rng.binomial(n_empty, soup_share)),
    }
    return obs, empty


def study(setting: Setting, rng: np.random.Generator) -> tuple[anndata.AnnData, pd.DataFrame]:
    """Simulate a study: patients with a urine and a blood sample each, the one shallower by the setting's ratio."""
    obs, samples, truth, known = [], [], {}, {}
    expression = np.exp(rng.uniform(np.log(3e-4), np.log(20e-4)))
    spread = rng.uniform(0.6, 1.0)
    deep = np.exp(rng.uniform(np.log(2000), np.log(8000)))
    # The patients of a study differ in the same direction.
    direction = rng.choice([-1, 1])
    for patient in range(rng.integers(1, 9)):
        fraction = rng.uniform(0.05, 0.5)
        shallow = rng.choice(["urine", "blood"])
        own = np.log(setting.odds_ratio) + setting.scatter * rng.standard_normal()
        own *= direction
        truth[f"p{patient}"] = float(own)
        for compartment in ("urine", "blood"):
            name = f"p{patient}_{compartment}"
            n_t = int(np.exp(rng.uniform(*np.log(setting.t_cells))))
            odds = fraction / (1 - fraction) * (np.exp(own) if compartment == "urine" else 1.0)
            here = expression * np.exp(0.2 * rng.standard_normal())
            known[name] = (float(here), float(spread))
            cells, empty = sample_cells(
                rng,
                name,
                n_t=n_t,
                n_car=int(rng.binomial(n_t, odds / (1 + odds))),
                depth=deep / (setting.depth_ratio if compartment == shallow else 1.0),
                expression=here,
                spread=spread,
                ambient=rng.uniform(0.02, 0.2),
            )
            obs.append(cells)
            samples.append(
                {
                    "sample": name,
                    "patient": f"p{patient}",
                    "compartment": compartment,
                    "timepoint": "D28",
                    "role": "case",
                    **empty,
                }
            )
    table = pd.concat(obs, ignore_index=True)
    table.index = table["sample"] + ":" + table["barcode"]
    counts = np.column_stack([table["seen"], table["total_umis"] - table["seen"]])
    adata = anndata.AnnData(sparse.csr_matrix(counts.astype(np.float32)), obs=table)
    adata.var_names = [CAR, "OTHER"]
    adata.uns["log_odds_ratio"] = truth
    adata.uns["expression"] = known
    return adata, pd.DataFrame(samples)


def fisher(adata: anndata.AnnData, column: str, a: str, b: str) -> float:
    """Return Fisher's p for a yes-or-no column of the T cells of two samples."""
    cells = adata.obs[adata.obs["lineage"] == "T"]
    yes = [cells.loc[cells["sample"] == s, column].to_numpy(bool) for s in (a, b)]
    return float(stats.fisher_exact([[v.sum(), (~v).sum()] for v in yes]).pvalue)


def informed(adata: anndata.AnnData, a: str, b: str) -> float:
    """Return p of a likelihood-ratio test that knows the truth of all but who is a CAR T cell.

    It sees the molecules of the same cells and knows what CAR T cells of each sample express, lognormal as it was
    simulated: what these molecules can tell at most.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(32)
    fraction = 1 / (1 + np.exp(-np.linspace(-9, 9, 361)))
    tables = []
    for sample in (a, b):
        cells = adata.obs[(adata.obs["sample"] == sample) & (adata.obs["lineage"] == "T")]
        k, n = cells["car_umis"].to_numpy(float), cells["total_umis"].to_numpy(float)
        null = (cells["car_expected_ambient"] + cells["car_expected_background"]).to_numpy(float)
        shape = cells["car_null_shape"].to_numpy(float)
        median, spread = adata.uns["expression"][sample]
        mean = n[:, None] * median * np.exp(spread * nodes) + null[:, None]
        joint = mean**2 / np.maximum(null**2 / shape, 1e-9)[:, None]
        own = stats.nbinom.pmf(k[:, None], joint, joint / (joint + mean)) @ weights / weights.sum()
        rest = stats.nbinom.pmf(k, shape, shape / (shape + np.maximum(null, 1e-12)))
        odds = np.maximum(own, 1e-300) / np.maximum(rest, 1e-300)
        tables.append(np.log1p(fraction * (odds[:, None] - 1)).sum(axis=0))
    one, other = tables
    statistic = 2 * (one.max() + other.max() - (one + other).max())
    return float(stats.chi2.sf(statistic, 1))


def run(setting: Setting, n: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate, call and compare until there are ``n`` contrasts: a row each, and a row a study of all its patients."""
    rows: list[dict[str, object]] = []
    whole: list[dict[str, object]] = []
    number = 0
    while len(rows) < n:
        rng = np.random.default_rng([seed, number])
        number += 1
        adata, samples = study(setting, rng)
        detection = call_cells(adata, None, samples, car=CAR)
        adata.obs["called"] = adata.obs["car_call"] == "positive"
        table = contrasts(adata, detection)
        depth = adata.obs.groupby("sample")["total_umis"].median()
        table = table[table["contrast"] == "urine against blood"]
        for row in table.itertuples():
            if row.n_patients > 1:
                whole.append({"p": row.p, "n_patients": row.n_patients})
                continue
            truth = np.exp(adata.uns["log_odds_ratio"][row.patient])
            shallow = depth[row.sample] < depth[row.reference]
            rows.append(
                {
                    "p": row.p,
                    "covers": row.low <= truth <= row.high,
                    "towards_deep": row.p < 0.05
                    and (row.estimate > 1) == (depth[row.sample] > depth[row.reference]),
                    # Of the shallower sample against the deeper one.
                    "log_ratio": np.log(np.clip(row.estimate, 1e-3, 1e3)) * (1 if shallow else -1),
                    "n_t": min(row.n_t_cells, row.n_t_cells_reference),
                    "informed": informed(adata, row.sample, row.reference),
                    "oracle": fisher(adata, "truth", row.sample, row.reference),
                    "calls": fisher(adata, "called", row.sample, row.reference),
                }
            )
    return pd.DataFrame(rows), pd.DataFrame(whole, columns=["p", "n_patients"])


#: Variances of the patients' log odds ratios: all between these; or of the well-known ones, and of the others.
VARIANCES, KNOWN, OTHERS = (0.08, 0.8), 0.03, 0.6


def some_patients(
    n: int, well_known: int, scatter: float, ratio: float, rng: np.random.Generator
) -> list[Profile]:
    """Return the likelihoods of patients; if none is well known, their variances are even on a log scale."""
    variance = np.where(np.arange(n) < well_known, KNOWN, OTHERS)
    if not well_known:
        variance = np.exp(rng.uniform(np.log(VARIANCES[0]), np.log(VARIANCES[1]), n))
    at = np.log(ratio) + rng.normal(size=n) * np.sqrt(variance + scatter**2)
    return [Profile(PSI, -0.5 * (PSI - a) ** 2 / v) for a, v in zip(at, variance, strict=True)]


def together(studies: int, seed: int) -> None:
    """Print how often several patients' intervals hold, p falls below 0.05, and how wide intervals are."""
    print(
        "| patients | well known | they scatter by | interval holds | p < 0.05 | median width, log | p < 0.05 at 3 |"
    )
    print("|---|---|---|---|---|---|---|")
    for n in (2, 3, 4, 5, 8):
        for well_known in (0, 1, 2):
            for scatter in (0.0, 0.5, 1.0):
                rng = np.random.default_rng([seed, n, well_known, int(10 * scatter)])
                none, three = (
                    [
                        over_patients(some_patients(n, well_known, scatter, r, rng))
                        for _ in range(studies)
                    ]
                    for r in (1, 3)
                )
                holds = np.mean([s.low <= 1 <= s.high for s in none])
                below, power = (np.mean([s.p < 0.05 for s in given]) for given in (none, three))
                with np.errstate(divide="ignore"):
                    width = np.median([np.log(s.high) - np.log(s.low) for s in none])
                about = f"| {n} | {well_known or 'alike'} | {scatter:g} "
                found = f"| {holds:.1%} | {below:.1%} | {width:.2f} | {power:.0%} |"
                print(about + found, flush=True)


def rejected(p: pd.Series) -> str:
    """Say how many tests reject at 5 %, with the exact 95 % interval; a missing p does not reject."""
    k, n = int((p.fillna(1) < 0.05).sum()), len(p)
    low, high = stats.binomtest(k, n).proportion_ci(method="exact") if n else (0, 1)
    return f"{k} of {n}: {k / max(n, 1):.1%} ({low:.1%}-{high:.1%})"


def main() -> None:
    """Print a table a scenario."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--contrasts", type=int, default=1000, help="with equal fractions")
    parser.add_argument("--powered", type=int, default=300, help="with an odds ratio of 3")
    parser.add_argument("--scenarios", type=int, nargs="*", help="these alone, from 1")
    parser.add_argument(
        "--patients", type=int, help="studies of several patients' likelihoods, alone"
    )
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    if given.patients:
        together(given.patients, given.seed)
        return
    logging.getLogger("carseq").setLevel(logging.ERROR)
    start = time.perf_counter()
    few = (15, 100)
    settings = [
        (Setting("equal fractions, depth 4 x", 4, 1), given.contrasts),
        (Setting("equal fractions, depth 4 x, 15-100 T cells", 4, 1, few), given.contrasts // 5),
        (Setting("equal fractions, equal depth", 1, 1), given.contrasts // 8),
        (Setting("patients scatter by 0.7, depth 4 x", 4, 1, scatter=0.7), given.contrasts // 8),
        (Setting("odds ratio 3, depth 4 x", 4, 3), given.powered),
        (Setting("odds ratio 3, equal depth", 1, 3), given.powered // 2),
        (Setting("odds ratio 3, depth 4 x, 15-100 T cells", 4, 3, few), given.powered // 2),
    ]  # fmt: skip
    print(
        "| scenario | p < 0.05: carseq | Fisher on calls | expression known | oracle | interval holds | all patients "
        "| median ratio, shallow against deep |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for i, (setting, n) in enumerate(settings):
        if not n or (given.scenarios and i + 1 not in given.scenarios):
            continue
        table, whole = run(setting, n, given.seed * 100 + i)
        shown = [rejected(table[c]) for c in ("p", "calls", "informed", "oracle")]
        covers = f"{table['covers'].mean():.1%}"
        print(
            f"| {setting.name} | {' | '.join(shown)} | {covers} | {rejected(whole['p'])} "
            f"| {np.exp(table['log_ratio'].median()):.2f} |",
            flush=True,
        )
    print(f"\n{(time.perf_counter() - start) / 60:.1f} min")


if __name__ == "__main__":
    main()
