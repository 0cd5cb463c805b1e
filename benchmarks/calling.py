"""How right the calls are: simulated studies whose molecules are followed from the cell to the verdict.

    python benchmarks/calling.py --studies 40 --seed 1 --to FOLDER

Cells, capture, ambient RNA, doublets, chimeras and swaps between libraries come from :mod:`carseq.simulate`; nothing
of the caller's likelihood is used. The molecules become a raw matrix and a CAR molecules table directly, without
reads and alignment: what the molecules room makes of reads that cannot be told apart from endogenous ones is not
measured here (such molecules are left out). Then come the real cells room and the real caller.

The oracle calls the same cells with the true parameters of each sample: ambient molecules of a droplet and their
spread, CAR share of the soup, chimeras, CAR expression and its spread, CAR T fraction.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import anndata
import matplotlib
import numpy as np
import pandas as pd
from scipy import sparse, stats
from scipy.stats import qmc

from carseq.calling import ambient_car, call_cells, drop_swapped
from carseq.cells.stages import annotate_cohort, sample_cells
from carseq.construct import load_construct
from carseq.data import path as data_path
from carseq.io.files import write_table
from carseq.schema.tables import MOLECULES
from carseq.simulate.expression import Cells, Profiles, gene_symbols, make_profiles
from carseq.simulate.genome import make_genome
from carseq.simulate.molecules import Library, Pool, Protocol, hop_indexes, make_pool
from carseq.simulate.reads import make_reads
from carseq.simulate.study import SampleSpec, make_sample
from carseq.simulate.truth import car_molecules_truth, droplets_truth
from carseq.study.config import CellsConfig

matplotlib.use("Agg")

CAR = "HBI0101"
FDR = 0.05
UMI_LENGTH = 12
#: Barcodes that the libraries of a study draw from: fewer than 10x's lists, so that swapped molecules meet cells.
N_BARCODES = 100_000
#: Shape of the gamma distribution of ambient molecules between droplets (carseq.simulate.molecules.make_library).
SOUP_SHAPE = 4.0
AMBIENT_STRATA = ((0.02, 0.10), (0.10, 0.20), (0.20, 0.30))
RULES = {"CAR >= 1 UMI": 1, "CAR >= 2 UMIs": 2}


@dataclass(frozen=True)
class Plan:
    """A study to simulate: its samples, its wet lab, 5' or 3'."""

    number: int
    specs: tuple[SampleSpec, ...]
    protocol: Protocol
    five_prime: bool


@dataclass(frozen=True)
class Simulated:
    """A study ready for the caller, and its truth.

    ``cohort`` holds the kept cells and the CAR's counts; ``truth`` has a row for each kept cell, with what its
    droplet holds and what the oracle knows of it.
    """

    plan: Plan
    cohort: anndata.AnnData
    molecules: dict[str, pd.DataFrame]
    samples: pd.DataFrame
    truth: pd.DataFrame


def between(u: float, low: float, high: float, *, log: bool = False) -> float:
    return float(low * (high / low) ** u) if log else float(low + u * (high - low))


def plan_studies(n: int, seed: int, *, most_cells: int = 5000, n_empty: int = 3000) -> list[Plan]:
    """Spread studies and their samples evenly over what is plausible (two Latin hypercubes).

    By study: median depth 500-5,000 UMIs, CAR 1-20 molecules per 10,000 of a CAR T cell, its spread between cells,
    2-4 samples, chimeras up to 0.5 %, index hopping (none in half of them) up to 2 % of reads, 3' or 5'; three in
    four hold a negative control. By sample: 30-5,000 cells, ambient RNA 2-30 %, CAR T fraction 0-80 % (none in one of
    seven, more of the small ones), doublets 1-8 %; depth and CAR expression differ somewhat from the study's.
    """
    by_study = qmc.LatinHypercube(8, rng=np.random.default_rng([seed, 1])).random(n)
    n_samples = 2 + np.minimum((by_study[:, 0] * 3).astype(int), 2)
    by_sample = qmc.LatinHypercube(6, rng=np.random.default_rng([seed, 2])).random(n_samples.sum())
    rng = np.random.default_rng([seed, 3])
    plans, at = [], 0
    for i, u in enumerate(by_study):
        has_control = rng.random() < 0.75
        has_product = n_samples[i] > 2 and rng.random() < 0.4
        depth, expression = (
            between(u[1], 500, 5000, log=True),
            between(u[2], 1e-4, 20e-4, log=True),
        )
        specs = []
        for j in range(n_samples[i]):
            v = by_sample[at]
            at += 1
            role, compartment = "case", "urine" if j % 2 else "blood"
            if j == 0 and has_control:
                role, compartment = "negative_control", "urine"
            elif j == n_samples[i] - 1 and has_product:
                role, compartment = "product", "product"
            fraction = 0.8 * max(0.0, (v[2] - 1 / 7) / (6 / 7)) ** 1.5
            specs.append(
                SampleSpec(
                    name=f"s{j}",
                    role=role,
                    compartment=compartment,
                    timepoint=f"D{j}",
                    cells=round(between(v[0], 30, most_cells, log=True)),
                    ambient=between(v[1], 0.02, 0.30),
                    car_fraction=0.0 if role == "negative_control" else fraction,
                    car_expression=expression * np.exp(0.25 * stats.norm.ppf(v[5])),
                    car_dispersion=between(u[3], 0.8, 3.0),
                    median_depth=depth * between(v[4], 0.7, 1.4, log=True),
                    doublet_rate=between(v[3], 0.01, 0.08),
                    n_empty=n_empty,
                )
            )
        protocol = Protocol(
            chimeras=between(u[4], 0, 0.005),
            index_hopping=max(0.0, 0.04 * (u[5] - 0.5)),
            reads_per_molecule=between(u[6], 1.1, 2.5),
        )
        plans.append(Plan(i, tuple(specs), protocol, bool(u[7] < 0.5)))
    return plans


@cache
def world() -> tuple[Pool, Profiles]:
    genome = make_genome(gene_symbols(), n_genes=1000)
    car = load_construct(data_path("constructs/hbi0101_surrogate_native.gb"), name=CAR)
    transcripts = [(t.name, t.sequence, list(t.blocks)) for t in car.transcripts]
    pool = make_pool(genome, transcripts, pad=Protocol().read_length + 10)
    return pool, make_profiles([gene.name for gene in genome.genes])


def draw_barcodes(rng: np.random.Generator, n: int) -> Any:
    """Return ``n`` different barcodes as rows of 16 bases (ASCII)."""
    codes = rng.choice(4**16, n, replace=False)
    digits = codes[:, None] >> (2 * np.arange(16)) & 3
    return np.frombuffer(b"ACGT", dtype=np.uint8)[digits]


def droplet_matrix(library: Library, pool: Pool, genes: list[str]) -> anndata.AnnData:
    """Return droplets x genes as STARsolo's Gene counts them: pre-mRNA is not counted, all of the CAR is."""
    width = library.barcodes.shape[1]
    names = pd.Index(np.ascontiguousarray(library.barcodes).view(f"S{width}").ravel().astype(str))
    m = library.molecules
    is_car = m.transcript >= pool.first_car
    used = (m.droplet >= 0) & (is_car | (m.transcript < pool.n_genes))
    column = np.where(is_car, pool.n_genes, m.transcript)[used]
    shape = (len(library.barcodes), pool.n_genes + 1)
    ones = np.ones(len(column), dtype=np.float32)
    counts = sparse.coo_matrix((ones, (m.droplet[used], column)), shape=shape).tocsr()
    return anndata.AnnData(
        counts, obs=pd.DataFrame(index=names), var=pd.DataFrame(index=[*genes, CAR])
    )


def make_libraries(
    specs: Iterable[SampleSpec],
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    n_barcodes: int,
    five_prime: bool,
) -> tuple[list[Cells], list[Library]]:
    """Make the cells and the library of each sample of a study, with what swaps between the libraries."""
    pool, profiles = world()
    barcodes = draw_barcodes(rng, n_barcodes)
    groups, libraries = [], []
    for spec in specs:
        group, library = make_sample(
            spec,
            pool,
            profiles,
            protocol,
            rng,
            barcodes=barcodes,
            umi_length=UMI_LENGTH,
            five_prime=five_prime,
        )
        groups.append(group)
        libraries.append(library)
    return groups, hop_indexes(libraries, protocol.index_hopping, rng)


def _car_table(
    library: Library, pool: Pool, plan: Plan, sample: str, rng: np.random.Generator
) -> pd.DataFrame:
    """Return the CAR molecules that can be told apart, schema ``MOLECULES``, and who they come from."""
    is_car = np.flatnonzero(library.molecules.transcript >= pool.first_car)
    of_car = replace(library, molecules=library.molecules.take(is_car))
    reads = make_reads(of_car, plan.protocol, rng, five_prime=plan.five_prime)
    truth = car_molecules_truth(of_car, reads, pool, plan.protocol, umi_length=UMI_LENGTH)
    truth = truth[truth["identifiable"].astype(bool)]
    # Reads of one barcode and UMI are one molecule, whatever they came from.
    table = truth.groupby(["barcode", "umi"], as_index=False).agg(
        n_reads=("n_reads", "sum"), tx_start=("start", "min"), tx_end=("end", "max")
    )
    given: dict[str, Any] = {"sample": sample, "evidence": "unique", "p_car": 0.999, "edits": 0}
    given |= {"domains": "", "endogenous_gene": "", "source": "aligned"}
    return MOLECULES.conform(table.assign(**given))


def simulate(plan: Plan, seed: int) -> Simulated:
    """Make a study's molecules and take them through the cells room."""
    pool, profiles = world()
    rng = np.random.default_rng([seed, plan.number, 4])
    groups, libraries = make_libraries(
        plan.specs, plan.protocol, rng, n_barcodes=N_BARCODES, five_prime=plan.five_prime
    )
    called, molecules, truths = {}, {}, []
    for spec, group, library in zip(plan.specs, groups, libraries, strict=True):
        raw = droplet_matrix(library, pool, profiles.genes)
        molecules[spec.name] = _car_table(library, pool, plan, spec.name, rng)
        called[spec.name] = sample_cells(raw, spec.name, car=CAR)
        truths.append(_known(spec, plan.protocol, group, library, pool, len(molecules[spec.name])))
    kept, _ = annotate_cohort(
        [c.cells for c in called.values()],
        {s: c.ambient for s, c in called.items()},
        car=CAR,
        config=CellsConfig(integration="none"),
    )
    runs = dict.fromkeys(molecules, "one")
    molecules, _ = drop_swapped(molecules, runs)
    samples = pd.DataFrame(
        {
            "sample": spec.name,
            "patient": "P",
            "compartment": spec.compartment,
            "timepoint": spec.timepoint,
            "role": spec.role,
            **ambient_car(
                called[spec.name].barcodes, called[spec.name].ambient, molecules[spec.name], CAR
            ),
        }
        for spec in plan.specs
    )
    cohort = kept[:, [CAR]].copy()
    truth = pd.concat(truths).reindex(cohort.obs_names)
    return Simulated(plan, cohort, molecules, samples, truth)


def _known(
    spec: SampleSpec, protocol: Protocol, group: Cells, library: Library, pool: Pool, n_told: int
) -> pd.DataFrame:
    """Return what each droplet holds and what the oracle knows of it, indexed sample:barcode."""
    table = droplets_truth(library, group, pool)
    soup = (group.expected * group.release[:, None]).sum(axis=0)
    captured = library.molecules.transcript[library.molecules.droplet >= 0]
    n_car = int((captured >= pool.first_car).sum())
    seen = n_told / n_car if n_car else 1.0
    is_t = table["lineage"] == "T"
    table["sample"] = spec.name
    table["ambient"] = spec.ambient
    table["is_car"] = table["is_car_t"] | table["partner_is_car_t"]
    table["only_partner"] = table["partner_is_car_t"] & ~table["is_car_t"]
    table["true_soup"] = spec.ambient * spec.median_depth * soup[-1] / max(soup.sum(), 1e-9) * seen
    table["true_chimeras"] = protocol.chimeras * n_car / max(len(captured), 1) * seen
    table["true_mu"] = spec.car_expression * seen
    table["true_shape"] = spec.car_dispersion
    table["true_fraction"] = float(table.loc[is_t, "is_car"].mean()) if is_t.any() else 0.0
    table.index = spec.name + ":" + table["barcode"]
    return table


def oracle(obs: pd.DataFrame, truth: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return the posterior of T cells (``obs``) under the true parameters.

    Own and ambient molecules are convolved as they were made: gamma-Poisson each, chimeras Poisson.
    """
    n = obs["total_umis"].to_numpy(float)
    most = int(obs["car_umis"].max()) if len(obs) else 0
    k = np.arange(most + 1)

    def gamma_poisson(mean: np.ndarray[Any, Any], shape: np.ndarray[Any, Any]) -> Any:
        mean = np.maximum(mean, 1e-12)[:, None]
        return stats.nbinom.pmf(k, shape[:, None], shape[:, None] / (shape[:, None] + mean))

    null = np.zeros((len(obs), most + 1))
    soup = gamma_poisson(truth["true_soup"].to_numpy(), np.full(len(obs), SOUP_SHAPE))
    stray = stats.poisson.pmf(k, np.maximum(truth["true_chimeras"].to_numpy() * n, 1e-12)[:, None])
    own = gamma_poisson(truth["true_mu"].to_numpy() * n, truth["true_shape"].to_numpy())
    with_own = np.zeros_like(null)
    for i in k:
        null[:, i:] += soup[:, [i]] * stray[:, : most + 1 - i]
    for i in k:
        with_own[:, i:] += own[:, [i]] * null[:, : most + 1 - i]
    rows, seen = np.arange(len(obs)), obs["car_umis"].to_numpy(int)
    pi = truth["true_fraction"].to_numpy()
    car, rest = pi * with_own[rows, seen], (1 - pi) * null[rows, seen]
    return np.asarray(car / np.maximum(car + rest, 1e-300))


def positives(posterior: np.ndarray[Any, Any], sample: np.ndarray[Any, Any]) -> Any:
    """Return the largest sets, by sample, whose expected share of false calls is within the FDR."""
    chosen = np.zeros(len(posterior), dtype=bool)
    for name in np.unique(sample):
        rows = np.flatnonzero(sample == name)
        rows = rows[np.argsort(-posterior[rows], kind="stable")]
        risk = np.cumsum(1 - posterior[rows]) / np.arange(1, len(rows) + 1)
        chosen[rows[: int((risk <= FDR).sum())]] = True
    return chosen


def without_empty(study: Simulated) -> Simulated:
    """Return a study without the empty droplets that the cells room took for cells."""
    kept = (study.truth["kind"] != "empty").to_numpy()
    return replace(study, cohort=study.cohort[kept].copy(), truth=study.truth[kept])


def call(study: Simulated) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Call a study: its cells with calls and truth, and its samples with verdicts and truth."""
    cohort = study.cohort.copy()
    detection = call_cells(cohort, study.molecules, study.samples, car=CAR, fdr=FDR)
    keep = [
        "sample",
        "total_umis",
        "lineage",
        "is_doublet",
        "car_umis",
        "car_posterior",
        "car_call",
    ]
    cells = cohort.obs[[*keep, "contamination", "car_expected_ambient"]].copy()
    cells["study"] = study.plan.number
    cells["hopping"] = study.plan.protocol.index_hopping
    for name in (
        "kind",
        "ambient",
        "is_car",
        "only_partner",
        "n_car_own",
        "n_ambient",
        "n_molecules",
        "true_soup",
    ):
        cells[name] = study.truth[name].to_numpy()
    cells["is_car"] = cells["is_car"].astype(bool)
    cells["is_t"] = ((cells["lineage"] == "T") & ~cells["is_doublet"]).to_numpy()
    cells["positive"] = (cells["car_call"] == "positive").to_numpy()
    is_t = cells["is_t"].to_numpy()
    cells["oracle_posterior"] = 0.0
    cells["oracle"] = False
    if is_t.any():
        known = oracle(cells[is_t], study.truth[is_t])
        cells.loc[is_t, "oracle_posterior"] = known
        cells.loc[is_t, "oracle"] = positives(known, cells["sample"].to_numpy(str)[is_t])
    detection["study"] = study.plan.number
    specs = {spec.name: spec for spec in study.plan.specs}
    detection["ambient"] = [specs[s].ambient for s in detection["sample"]]
    detection["expression"] = [specs[s].car_expression for s in detection["sample"]]
    detection["depth"] = [specs[s].median_depth for s in detection["sample"]]
    own = cells[cells["is_t"]].groupby("sample")["is_car"].mean()
    detection["truth"] = detection["sample"].map(own)
    return cells, detection


def one_study(plan: Plan, seed: int) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Simulate and call one study: as it is, and without empty droplets."""
    study = simulate(plan, seed)
    return [call(study), call(without_empty(study))]


def false_share(cells: pd.DataFrame) -> tuple[float, float]:
    """Return the false share of positive calls: mean over samples (0 where none is called), and pooled."""
    called = cells[cells["positive"]]
    by_sample = (~called["is_car"]).groupby([called["study"], called["sample"]]).mean()
    n = cells.groupby(["study", "sample"], observed=True).ngroups
    pooled = float((~called["is_car"]).mean()) if len(called) else 0.0
    return float(by_sample.sum()) / max(n, 1), pooled


def calibration(cells: pd.DataFrame) -> pd.DataFrame:
    """Return stated and true share of CAR T cells among T cells in ten bins of the posterior."""
    t_cells = cells[cells["is_t"]]
    group = np.minimum((t_cells["car_posterior"] * 10).astype(int), 9)
    table = t_cells.groupby(group).agg(
        n=("is_car", "size"), stated=("car_posterior", "mean"), true=("is_car", "mean")
    )
    table.insert(0, "bin", [f"{b / 10:.1f}-{(b + 1) / 10:.1f}" for b in table.index])
    return table.reset_index(drop=True)


def measure(cells: pd.DataFrame, detection: pd.DataFrame) -> pd.DataFrame:
    """Return the figures with their targets: ``figure``, ``value``, ``target``, ``met``, ``of``."""
    rows: list[tuple[str, float, str, bool | None, str]] = []

    def add(figure: str, value: float, target: str, met: bool | None, of: str) -> None:
        rows.append((figure, value, target, met, of))

    called = cells[cells["positive"]]
    mean, pooled = false_share(cells)
    n_false = int((~called["is_car"]).sum())
    of = f"{n_false} of {len(called)} calls"
    add(
        "false discoveries, mean of samples",
        mean,
        "<= 0.05",
        mean <= 0.05,
        f"{len(detection)} samples",
    )
    add("false discoveries, pooled", pooled, "<= 0.05", pooled <= 0.05, of)
    for low, high in AMBIENT_STRATA:
        part = cells[(cells["ambient"] >= low) & (cells["ambient"] < high)]
        mean, pooled = false_share(part)
        n = int(part["positive"].sum())
        name = f"false discoveries, ambient {low:.0%} to {high:.0%}"
        add(f"{name}, mean of samples", mean, "<= 0.08", mean <= 0.08, "")
        add(f"{name}, pooled", pooled, "<= 0.08", pooled <= 0.08, f"{n} calls")
    add(
        "calls true only by the doublet's partner",
        float(called["only_partner"].sum()),
        "",
        None,
        "",
    )
    found, best = called["is_car"].sum(), (cells["oracle"] & cells["is_car"]).sum()
    add(
        "recall relative to the oracle",
        found / max(best, 1),
        ">= 0.90",
        found >= 0.9 * best,
        f"{best} cells",
    )
    oracle_false = float((~cells.loc[cells["oracle"], "is_car"]).mean()) if best else 0.0
    add("false discoveries of the oracle, pooled", oracle_false, "", None, "")
    control = detection[detection["role"] == "negative_control"]
    silent = float((control["n_car_positive"] == 0).mean()) if len(control) else float("nan")
    add(
        "negative controls without a positive",
        silent,
        ">= 0.95",
        silent >= 0.95,
        f"{len(control)} controls",
    )
    table = calibration(cells)
    error = float(
        (table["n"] * (table["stated"] - table["true"]).abs()).sum() / max(table["n"].sum(), 1)
    )
    add(
        "calibration error of the posterior",
        error,
        "<= 0.03",
        error <= 0.03,
        f"{table['n'].sum()} T cells",
    )
    with_t = detection[detection["n_t_cells"] > 0]
    covered = float(
        with_t["truth"]
        .between(with_t["prevalence_low"] - 1e-9, with_t["prevalence_high"] + 1e-9)
        .mean()
    )
    add(
        "coverage of the 95 % interval",
        covered,
        "0.92 to 0.98",
        0.92 <= covered <= 0.98,
        f"{len(with_t)} samples",
    )
    silent_rows = with_t[with_t["verdict"] == "not_detected"]
    wrong = (
        float((silent_rows["truth"] > silent_rows["detection_limit"]).mean())
        if len(silent_rows)
        else 0.0
    )
    add(
        "detection limits that exclude the truth",
        wrong,
        "<= 0.05",
        wrong <= 0.05,
        f"{len(silent_rows)} verdicts",
    )
    positive = cells["positive"]
    has_car = cells["is_car"]
    add("precision of the model", float(has_car[positive].mean()), "", None, "")
    add(
        "recall of the model",
        float(positive[has_car].mean()),
        "",
        None,
        f"{int(has_car.sum())} CAR T cells kept",
    )
    for rule, least in RULES.items():
        for who, among in (("all cells", np.ones(len(cells), bool)), ("T cells", cells["is_t"])):
            chosen = (cells["car_umis"] >= least) & among
            add(
                f"precision of {rule}, {who}",
                float(has_car[chosen].mean()),
                "",
                None,
                f"{int(chosen.sum())} calls",
            )
            add(f"recall of {rule}, {who}", float(chosen[has_car].mean()), "", None, "")
    return pd.DataFrame(rows, columns=["figure", "value", "target", "met", "of"])


def sensitivity(cells: pd.DataFrame) -> pd.DataFrame:
    """Return by CAR molecules of a CAR T cell's droplet: how many there are and the shares called."""
    own = cells[cells["is_car"] & cells["is_t"]]
    group = own["car_umis"].clip(upper=10)
    table = own.groupby(group).agg(
        n=("positive", "size"), model=("positive", "mean"), oracle=("oracle", "mean")
    )
    return table.rename_axis("car_umis").reset_index()


def draw(cells: pd.DataFrame, folder: Path) -> None:
    """Write calibration and sensitivity as TSV and PNG."""
    import matplotlib.pyplot as plt

    table = calibration(cells)
    write_table(table, folder / "calibration.tsv")
    figure, axes = plt.subplots(figsize=(4, 4), layout="constrained")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.scatter(table["stated"], table["true"], s=10 + 12 * np.log10(table["n"]), color="#1b6ca8")
    for row in table.itertuples():
        axes.annotate(
            f"{row.n:,}", (row.stated, row.true), (4, -10), textcoords="offset points", fontsize=6
        )
    axes.set(
        xlabel="stated probability of a CAR T cell",
        ylabel="true share",
        title="T cells by posterior",
    )
    figure.savefig(folder / "calibration.png", dpi=150)
    table = sensitivity(cells)
    write_table(table, folder / "sensitivity.tsv")
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    for name, color in (("oracle", "0.6"), ("model", "#1b6ca8")):
        axes.plot(table["car_umis"], table[name], marker="o", label=name, color=color)
    axes.set(
        xlabel="CAR molecules seen (10: ten or more)",
        ylabel="CAR T cells called positive",
        ylim=(-0.03, 1.03),
    )
    axes.legend(frameon=False)
    figure.savefig(folder / "sensitivity.png", dpi=150)


def speed(study: Simulated, n_cells: int = 100_000) -> float:
    """Return the seconds to call a cohort of so many cells, drawn from a study's with replacement."""
    rng = np.random.default_rng(1)
    rows = np.sort(rng.integers(0, study.cohort.n_obs, n_cells))
    obs = study.cohort.obs.iloc[rows].copy()
    obs["barcode"] = [f"b{i}" for i in range(n_cells)]
    obs.index = obs["sample"].astype(str) + ":" + obs["barcode"]
    cohort = anndata.AnnData(
        study.cohort.layers["counts"][rows], obs=obs, var=study.cohort.var, layers={}
    )
    start = time.perf_counter()
    call_cells(cohort, None, study.samples, car=CAR)
    return time.perf_counter() - start


def run(
    plans: Iterable[Plan], seed: int, workers: int = 1
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Simulate and call studies; return cells and samples, as they are and without empty droplets."""
    work = partial(one_study, seed=seed)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            results = list(pool.map(work, plans))
    else:
        results = [work(plan) for plan in plans]
    return [
        (pd.concat([c for c, _ in version]), pd.concat([d for _, d in version], ignore_index=True))
        for version in zip(*results, strict=True)
    ]


def report(results: list[tuple[pd.DataFrame, pd.DataFrame]], folder: Path | None) -> None:
    """Print a row a figure: end to end, of it studies without index hopping, all without empty droplets."""
    cells, detection = results[0]
    quiet = cells.loc[cells["hopping"] == 0, "study"].unique()
    versions = {
        "end to end": results[0],
        "of it, no index hopping": (
            cells[cells["study"].isin(quiet)],
            detection[detection["study"].isin(quiet)],
        ),
        "without empty droplets": results[1],
    }
    tables = {name: measure(*version) for name, version in versions.items()}
    print(f"| figure | target | {' | '.join(tables)} | of |\n|---|---|---|---|---|---|")
    for rows in zip(*(table.itertuples() for table in tables.values()), strict=True):
        shown = [f"{r.value:.3g}" + (" (missed)" if r.met is False else "") for r in rows]
        print(f"| {rows[0].figure} | {rows[0].target} | {' | '.join(shown)} | {rows[-1].of} |")
    empty = (cells["kind"] == "empty").groupby([cells["study"], cells["sample"]]).mean()
    hopped = (cells["hopping"] > 0).groupby([cells["study"], cells["sample"]]).first()
    for words, rows in (("with", hopped), ("without", ~hopped)):
        bad = int((empty[rows] > 0.1).sum())
        print(
            f"\n{bad} of {int(rows.sum())} samples {words} index hopping: above 10 % of kept cells are empty droplets"
        )
    if folder:
        for name, (cells, detection) in versions.items():
            to = folder / name.replace(",", "").replace(" ", "_")
            to.mkdir(parents=True, exist_ok=True)
            write_table(tables[name], to / "figures.tsv")
            write_table(detection, to / "samples.tsv")
            draw(cells, to)


def main() -> None:
    """Print a row a figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--to", type=Path, default=None, help="folder for plots and tables")
    given = parser.parse_args()
    logging.getLogger("carseq").setLevel(logging.ERROR)
    start = time.perf_counter()
    plans = plan_studies(given.studies, given.seed)
    results = run(plans, given.seed, given.workers)
    report(results, given.to)
    largest = max(plans, key=lambda plan: sum(int(spec.cells) for spec in plan.specs if spec.cells))
    print(f"\n100,000 cells called in {speed(simulate(largest, given.seed)):.0f} s")
    print(f"{given.studies} studies in {(time.perf_counter() - start) / 60:.0f} min")


if __name__ == "__main__":
    main()
