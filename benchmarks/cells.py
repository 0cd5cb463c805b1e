"""How right the cells room is: simulated samples whose molecules are followed from the cell to its type.

    python benchmarks/cells.py --studies 20 --seed 1 --to FOLDER
    python benchmarks/cells.py --pbmc pbmc1k_v3.h5ad --seed 1            # doublets of real cells

Cells, capture, ambient RNA, doublets, empty droplets and swaps between libraries come from :mod:`carseq.simulate`,
whose expression profiles are not made from the annotation's marker table. The molecules become raw matrices directly,
without reads; then comes the real cells room, from the raw matrix to lineage, type and state.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anndata
import matplotlib
import numpy as np
import pandas as pd
from scipy import sparse, stats
from scipy.stats import qmc
from sklearn.metrics import roc_auc_score

from calling import CAR, between, droplet_matrix, make_libraries, world
from carseq.cells import annotate, paired_transcriptomes
from carseq.cells.doublet import doublets
from carseq.cells.filters import quality
from carseq.cells.markers import kin
from carseq.cells.stages import annotate_cohort, sample_cells
from carseq.io.files import write_table
from carseq.simulate.expression import cell_types, composition
from carseq.simulate.molecules import Protocol
from carseq.simulate.study import SampleSpec
from carseq.simulate.truth import droplets_truth
from carseq.study.config import CellsConfig

matplotlib.use("Agg")

#: Barcodes that the libraries draw from (10x 3' v3 lists 6.8 million).
N_BARCODES = 1_000_000
#: Ambient molecules of a sample's empty droplets: deep samples get less ambient RNA, for memory's sake.
MOST_AMBIENT = 10e6
#: Which of the annotation's types a simulated type may be called.
ACCEPTED = {
    # A simulated T cell's state decides which type it is (naive, memory, cytotoxic); the parents are no error.
    "CD4 T": {
        "T cell",
        "CD4 T cell",
        "naive CD4 T cell",
        "memory CD4 T cell",
        "cytotoxic CD4 T cell",
        "follicular helper T cell",
    },
    "CD8 T": {
        "T cell",
        "CD8 T cell",
        "naive CD8 T cell",
        "memory CD8 T cell",
        "cytotoxic CD8 T cell",
    },
    "Treg": {"T cell", "CD4 T cell", "regulatory T cell"},
    "NK": {"NK cell"},
    "B": {"B cell"},
    "plasma": {"plasma cell"},
    "monocyte": {"classical monocyte", "non-classical monocyte"},
    "macrophage": {"macrophage", "IL1B macrophage", "SPP1 macrophage", "MT1G macrophage"},
    "neutrophil": {"neutrophil"},
    "proximal tubule": {"proximal tubule cell"},
    "TAL": {"thick ascending limb cell"},
    "principal": {"principal cell"},
    "intercalated": {"intercalated cell"},
    "podocyte": {"podocyte"},
    "urothelial": {
        "basal urothelial cell",
        "intermediate urothelial cell",
        "umbrella cell",
    },
    "squamous": {"squamous cell"},
    "erythrocyte": {"erythroid cell"},
}
#: Shares of ambient RNA that figures are told for.
STRATA = ((0.0, 0.1), (0.1, 0.2), (0.2, 0.31))
#: The scores of doublets.
SCORES = {
    "scrublet's score": "doublet_score",
    "two transcriptomes": "doublet_pair",
    "SOLO's score": "solo_score",
}
#: The ways to find doublets of real cells: score, call (empty where it has none).
METHODS = {
    "carseq": ("", "is_doublet"),
    "scrublet": ("doublet_score", ""),
    "two transcriptomes": ("doublet_pair", ""),
    "SOLO": ("solo_score", "by_solo"),
    "pyscdblfinder": ("scdblfinder_score", "by_scdblfinder"),
}
#: Share of single cells that may be marked.
MOST_SINGLE = 0.02
EPITHELIAL = {"kidney", "urogenital"}


@dataclass(frozen=True)
class Plan:
    """A study to simulate."""

    number: int
    specs: tuple[SampleSpec, ...]
    protocol: Protocol


def plan_studies(
    n: int, seed: int, *, most_cells: int = 5000, n_empty: tuple[int, int] = (20_000, 75_000)
) -> list[Plan]:
    """Spread studies of two samples evenly over what is plausible (a Latin hypercube).

    By sample: 30-5,000 cells, median depth 300-5,000 UMIs, 20,000-75,000 empty droplets, ambient RNA 2-30 % of the
    median depth, doublets 1-8 %, urine (its composition drawn around the usual one), one in five blood. Half of the
    studies have index hopping, up to 2 % of reads.
    """
    u = qmc.LatinHypercube(6, rng=np.random.default_rng([seed, 1])).random(2 * n)
    rng = np.random.default_rng([seed, 2])
    plans = []
    for i in range(n):
        specs = []
        for j, v in enumerate(u[2 * i : 2 * i + 2]):
            depth = between(v[1], 300, 5000, log=True)
            empty = round(between(v[2], *n_empty, log=True))
            compartment = "blood" if v[5] > 0.8 else "urine"
            n_cells = round(between(v[0], 30, most_cells, log=True))
            usual = composition(compartment, 10_000)
            # Patients differ: every type's share by a factor of about two.
            share = np.array(list(usual.values())) * rng.lognormal(0, 0.7, len(usual))
            specs.append(
                SampleSpec(
                    name=f"s{j}",
                    compartment=compartment,
                    timepoint=f"D{j}",
                    cells=dict(
                        zip(usual, rng.multinomial(n_cells, share / share.sum()), strict=True)
                    ),
                    ambient=min(between(v[3], 0.02, 0.30), MOST_AMBIENT / empty / depth),
                    car_fraction=0.2,
                    median_depth=depth,
                    doublet_rate=between(v[4], 0.01, 0.08),
                    n_empty=empty,
                )
            )
        hopping = rng.uniform(0, 0.02) if i % 2 else 0.0
        plans.append(Plan(i, tuple(specs), Protocol(chimeras=0.002, index_hopping=hopping)))
    return plans


def one_study(
    plan: Plan, seed: int, integration: str, solo: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Simulate a study and take it through the room.

    Returns
    -------
    barcodes
        Every droplet above 100 UMIs or called: truth, total, whether it was called a cell.
    cells
        Every cell kept: truth, lineage, type, state, doublet calls, contamination.
    """
    pool, profiles = world()
    rng = np.random.default_rng([seed, plan.number, 4])
    groups, libraries = make_libraries(
        plan.specs, plan.protocol, rng, n_barcodes=N_BARCODES, five_prime=False
    )
    called, tables = {}, []
    for spec, group, library in zip(plan.specs, groups, libraries, strict=True):
        raw = droplet_matrix(library, pool, profiles.genes)
        made = sample_cells(raw, spec.name, car=CAR, scvi_solo=solo)
        called[spec.name] = made
        truth = droplets_truth(library, group, pool).set_index("barcode")
        lineage = cell_types()["lineage"]
        truth["partner_lineage"] = truth["partner_type"].map(lineage).fillna("")
        table = truth.join(made.barcodes[["total_umis", "is_cell"]], how="inner")
        table.index = spec.name + ":" + table.index
        table["sample"] = spec.name
        table["study"] = plan.number
        table["ambient"] = spec.ambient
        table["depth"] = spec.median_depth
        table["n_cells"] = sum(spec.cell_counts().values())
        table["hopping"] = plan.protocol.index_hopping
        tables.append(table[(table["total_umis"] > 100) | table["is_cell"]])
    everything = pd.concat(tables)
    kept, _ = annotate_cohort(
        [c.cells for c in called.values()],
        {s: c.ambient for s, c in called.items()},
        car=CAR,
        config=CellsConfig(integration=integration),
    )
    own = ["lineage", "cell_type", "lineage_2", "cell_type_2", "t_state", "contamination"]
    own += ["cell_type_confidence", "total_umis"]
    own += ["is_doublet", "doublet_score", "doublet_pair", "doublet_partner", "doublet_reason"]
    own += ["solo_score"] if solo else []
    cells = kept.obs[own].join(everything.drop(columns=["total_umis"]), rsuffix="_true")
    return everything, cells


def measure(barcodes: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """Return the figures with their targets: ``figure``, ``value``, ``target``, ``met``, ``of``."""
    rows: list[tuple[str, float, str, bool | None, str]] = []

    def at_least(figure: str, value: float, target: float | None, of: str = "") -> None:
        met = None if target is None else bool(value >= target)
        rows.append((figure, value, "" if target is None else f">= {target:g}", met, of))

    def at_most(figure: str, value: float, target: float | None, of: str = "") -> None:
        met = None if target is None else bool(value <= target)
        rows.append((figure, value, "" if target is None else f"<= {target:g}", met, of))

    real = barcodes["kind"] != "empty"
    large = real & (barcodes["total_umis"] > 500)
    by_sample = [barcodes["study"], barcodes["sample"]]
    called = barcodes["is_cell"]
    found = called[large].groupby([b[large] for b in by_sample]).mean()
    at_least(
        "cells above 500 UMIs called, pooled", called[large].mean(), 0.95, f"{large.sum()} cells"
    )
    at_least("the same, worst sample", found.min(), None, f"{len(found)} samples")
    own = real & (barcodes["n_molecules"] - barcodes["n_ambient"] > 500)
    at_least(
        "cells above 500 UMIs without ambient ones called",
        called[own].mean(),
        None,
        f"{own.sum()} cells",
    )
    for low, high in STRATA:
        within = barcodes["ambient"].between(low, high, inclusive="left") & large
        at_least(
            f"cells above 500 UMIs called, ambient {low:.0%} to {high:.0%}",
            called[within].mean(),
            None,
            f"{within.sum()}",
        )
    false = (~real)[called]
    at_most("empty droplets among calls, pooled", false.mean(), 0.01, f"{called.sum()} calls")
    share = false.groupby([b[called] for b in by_sample]).mean()
    at_most(
        "samples with more than 1 % of empty droplets",
        (share > 0.01).mean(),
        None,
        f"{len(share)} samples",
    )
    small = real & (barcodes["total_umis"] <= 500)
    at_least("cells of 101 to 500 UMIs called", called[small].mean(), None, f"{small.sum()} cells")

    judged = cells[cells["kind"] != "empty"]
    twin = judged["kind"] == "doublet"
    one, other = judged["lineage_true"], judged["partner_lineage"]
    apart = twin & (one != other)
    for name, score in SCORES.items():
        if score not in judged:
            continue
        scored = judged[score].notna()
        for words, which in (("", twin), (", two lineages", apart)):
            among = scored & (which | ~twin)
            at_least(
                f"doublets: AUROC of {name}{words}",
                roc_auc_score(which[among], judged.loc[among, score]),
                None,
                f"{which[among].sum()} doublets of {among.sum()} droplets",
            )
    flagged = judged["is_doublet"].astype(bool)
    pair = partial(_pair, one, other)
    for name, which in (
        ("doublets marked", twin),
        ("doublets of two lineages marked", apart),
        ("T x myeloid marked", twin & pair({"T"}, {"myeloid"})),
        ("T x epithelial marked", twin & pair({"T"}, EPITHELIAL)),
    ):
        at_least(name, flagged[which].mean(), None, f"{which.sum()}")
    at_most("single cells marked", flagged[~twin].mean(), None, f"{(~twin).sum()}")
    for name, marked in judged[~twin].groupby("doublet_reason"):
        at_most(f"single cells marked: {name or 'not'}", len(marked) / (~twin).sum(), None)

    single = cells[cells["kind"] == "cell"]
    right = single["lineage"] == single["lineage_true"]
    at_least("lineage right, single cells", right.mean(), 0.97, f"{len(single)} cells")
    for low, high in STRATA:
        within = single["ambient"].between(low, high, inclusive="left")
        name = f"lineage right, ambient {low:.0%} to {min(high, 0.3):.0%}"
        at_least(name, right[within].mean(), 0.97, f"{within.sum()}")
    for low, high in ((0, 500), (500, 1000), (1000, 10**9)):
        within = single["total_umis"].between(low, high, inclusive="left")
        name = (
            f"lineage right, {low} to {high} UMIs"
            if high < 10**9
            else "lineage right, 1000 UMIs or more"
        )
        at_least(name, right[within].mean(), None, f"{within.sum()}")
    unknown = single["lineage"] == "unknown"
    at_most("of it unknown", unknown.mean(), None)
    known = [
        t in ACCEPTED[s] for t, s in zip(single["cell_type"], single["cell_type_true"], strict=True)
    ]
    at_least("cell type right, single cells", float(np.mean(known)), 0.90, f"{len(single)} cells")
    second = single["lineage_2"] == single["lineage_true"]
    at_least("lineage right, second method", second.mean(), None)
    both = single["lineage"] == single["lineage_2"]
    at_least(
        "lineage right where both agree", right[both].mean(), None, f"{both.mean():.0%} of cells"
    )
    is_t = (single["lineage"] == "T") & (single["lineage_true"] == "T")
    states = single[is_t]
    at_least(
        "T-cell state right (simulated: five states)",
        float((states["t_state"] == states["t_state_true"]).mean()),
        None,
        f"{len(states)} T cells",
    )

    true = single["n_ambient"] / single["n_molecules"]
    ratio = (single["contamination"] / true.clip(lower=1e-3)).groupby(
        [single["study"], single["sample"]]
    )
    medians = ratio.median()
    at_least(
        "contamination, estimate / truth, median of samples",
        medians.median(),
        None,
        f"{len(medians)}",
    )
    near = medians.between(1 / 1.5, 1.5)
    at_least("samples within a factor of 1.5", near.mean(), None, f"{len(medians)} samples")
    rank = stats.spearmanr(
        single["contamination"].groupby([single["study"], single["sample"]]).median(),
        true.groupby([single["study"], single["sample"]]).median(),
    ).statistic
    at_least("rank correlation of samples' contamination with the truth", rank, None)
    return pd.DataFrame(rows, columns=["figure", "value", "target", "met", "of"])


def _pair(one: pd.Series, other: pd.Series, a: set[str], b: set[str]) -> pd.Series:
    return (one.isin(a) & other.isin(b)) | (one.isin(b) & other.isin(a))


def scdblfinder(counts: Any, seed: int) -> pd.DataFrame | None:
    """Return scores and calls of pyscdblfinder (scDblFinder in Python) at its own expected rate; None without it.

    ``pip install pyscdblfinder xgboost``, best in an environment of its own.
    """
    try:
        module = importlib.import_module("pyscdblfinder")
    except ImportError:
        return None
    made = module.sc_dbl_finder(sparse.csc_matrix(counts.T), random_state=seed, progress=False)
    found = made.real_cells()
    return pd.DataFrame(
        {
            "scdblfinder_score": found["score"].to_numpy(float),
            "by_scdblfinder": (found["class"] == "doublet").to_numpy(bool),
        }
    )


def hashed(
    pbmc: anndata.AnnData, seed: int, *, solo: bool, rate: float, depth: int
) -> pd.DataFrame:
    """Put real cells together at random, as loading does, and tell doublets as cell hashing would.

    Each cell has one of two hashes, as if from two donors; a doublet of both hashes is known. Those of one hash twice
    are left out of the figures, since hashing does not see them.

    Parameters
    ----------
    rate
        Doublets among the droplets.
    depth
        Median UMIs of a cell, to which the counts are thinned.

    Returns
    -------
    pandas.DataFrame
        A row a droplet: ``twin``, ``apart`` (of two unrelated lineages), and the scores and calls of
        :data:`METHODS`.
    """
    rng = np.random.default_rng([seed, 5])
    counts = sparse.csr_matrix(pbmc.X, copy=True)
    keep = min(depth / np.median(np.asarray(counts.sum(axis=1))), 1.0)
    counts.data = rng.binomial(np.rint(counts.data).astype(int), keep).astype(np.float32)
    counts.eliminate_zeros()
    lineage = pbmc.obs["lineage"].to_numpy(str)
    order, hashes = rng.permutation(pbmc.n_obs), rng.integers(0, 2, pbmc.n_obs)
    n_pairs = round(rate / (1 + rate) * pbmc.n_obs)
    one, other, single = order[:n_pairs], order[n_pairs : 2 * n_pairs], order[2 * n_pairs :]
    droplets = sparse.csr_matrix(sparse.vstack([counts[single], counts[one] + counts[other]]))
    mixed = anndata.AnnData(droplets, var=pd.DataFrame(index=pbmc.var_names))
    mixed.obs_names = [f"b{i}" for i in range(mixed.n_obs)]
    mixed.obs["sample"] = "s1"
    mixed.uns["car"] = CAR
    quality(mixed)
    doublets(mixed, seed=seed, car=CAR)
    soup = np.asarray(counts.sum(axis=0)).ravel()
    profile = pd.DataFrame({"gene": mixed.var_names, "fraction": soup / soup.sum()})
    paired_transcriptomes(annotate(mixed), {"s1": profile})
    table = mixed.obs[["doublet_score", "doublet_pair", "is_doublet"]].copy()
    if solo:
        table["solo_score"] = doublets(mixed, seed=seed, car=CAR, scvi_solo=True).obs["solo_score"]
        table["by_solo"] = table["solo_score"] > 0.5
    if (found := scdblfinder(droplets, seed)) is not None:
        table = table.join(found.set_index(table.index))
    table["twin"] = np.arange(len(table)) >= len(single)
    table["apart"] = np.r_[
        np.zeros(len(single), bool),
        [
            not kin(a, b) and "unknown" not in (a, b)
            for a, b in zip(lineage[one], lineage[other], strict=True)
        ],
    ]
    seen = np.r_[np.ones(len(single), bool), hashes[one] != hashes[other]]
    return table[seen]


def hashed_figures(path: Path, seeds: int, first: int, solo: bool) -> pd.DataFrame:
    """Return what each of :data:`METHODS` finds, at two depths and two loads, pooled over seeds.

    A row a method: AUROC of its score and the share of doublets above the score that :data:`MOST_SINGLE` of the single
    cells exceed, of all and of those of two lineages; and the shares that it calls.
    """
    pbmc = anndata.read_h5ad(path)
    pbmc.var_names_make_unique()
    found = annotate(pbmc).obs["cell_type"].value_counts()
    print(f"{pbmc.n_obs} cells: " + ", ".join(f"{n} {name}" for name, n in found.items()) + "\n")
    pbmc.obs = pbmc.obs[["lineage"]]
    rows = []
    for depth, rate in ((5000, 0.06), (1000, 0.06), (1000, 0.02)):
        made = [hashed(pbmc, first + s, solo=solo, rate=rate, depth=depth) for s in range(seeds)]
        table = pd.concat(made)
        twin = table["twin"].to_numpy(bool)
        kinds = (("", twin), (", two lineages", table["apart"].to_numpy(bool)))
        for name, (score, call) in METHODS.items():
            if not {score, call} - {""} <= set(table) or (score and table[score].isna().all()):
                continue
            row: dict[str, Any] = {"depth": depth, "load": f"{rate:.0%}", "doublets": twin.sum()}
            row["method"] = name
            for words, which in kinds:
                if score:
                    value = table[score].fillna(0.0).to_numpy(float)
                    among = which | ~twin
                    row[f"AUROC{words}"] = roc_auc_score(which[among], value[among])
                    limit = np.quantile(value[~twin], 1 - MOST_SINGLE)
                    row[f"above 2 % of single{words}"] = (value[which] > limit).mean()
                if call:
                    row[f"called{words}"] = table[call].to_numpy(bool)[which].mean()
            if call:
                row["single called"] = table[call].to_numpy(bool)[~twin].mean()
            rows.append(row)
    return pd.DataFrame(rows)


def by_type(cells: pd.DataFrame) -> pd.DataFrame:
    """Return, by simulated type, the shares of single cells with the right lineage and type, and what else they got."""
    rows: list[dict[str, Any]] = []
    for name, own in cells[cells["kind"] == "cell"].groupby("cell_type_true"):
        right = own["cell_type"].isin(ACCEPTED[str(name)])
        other = own.loc[~right, "cell_type"].value_counts().head(3)
        rows.append(
            {
                "cell_type": name,
                "n": len(own),
                "lineage_right": (own["lineage"] == own["lineage_true"]).mean(),
                "type_right": right.mean(),
                "called_instead": ", ".join(f"{k} {n}" for k, n in other.items()),
            }
        )
    return pd.DataFrame(rows)


def main() -> None:
    """Print a row a figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--integration", default="none", help="none, harmony or scvi")
    parser.add_argument("--solo", action="store_true", help="look for doublets by SOLO too (slow)")
    parser.add_argument("--to", type=Path, default=None, help="folder for tables")
    parser.add_argument("--pbmc", type=Path, default=None, help="real cells to put together")
    given = parser.parse_args()
    logging.getLogger("carseq").setLevel(logging.ERROR)
    start = time.perf_counter()
    if given.pbmc:
        print(hashed_figures(given.pbmc, 3, given.seed, given.solo).round(3).to_string(index=False))
        return
    plans = plan_studies(given.studies, given.seed)
    work = partial(one_study, seed=given.seed, integration=given.integration, solo=given.solo)
    if given.workers > 1:
        with ProcessPoolExecutor(given.workers) as executor:
            results = list(executor.map(work, plans))
    else:
        results = []
        for plan in plans:
            results.append(work(plan))
            print(f"study {plan.number}: {time.perf_counter() - start:.0f} s", flush=True)
    barcodes, cells = (pd.concat(parts) for parts in zip(*results, strict=True))
    table = measure(barcodes, cells)
    print("| figure | target | value | of |\n|---|---|---|---|")
    for row in table.itertuples():
        missed = " (missed)" if row.met is False else ""
        print(f"| {row.figure} | {row.target} | {row.value:.3g}{missed} | {row.of} |")
    if given.to:
        given.to.mkdir(parents=True, exist_ok=True)
        barcodes.to_parquet(given.to / "barcodes.parquet")
        cells.to_parquet(given.to / "cells.parquet")
        write_table(table, given.to / "figures.tsv")
        write_table(by_type(cells), given.to / "types.tsv")
    print(by_type(cells).to_string())
    print(f"\n{given.studies} studies in {(time.perf_counter() - start) / 60:.0f} min")


if __name__ == "__main__":
    main()
