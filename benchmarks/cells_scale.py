"""How time and memory of the cells room grow with the cells: resampled real counts, 10,000 cells to a million.

    python benchmarks/cells_scale.py --sizes 10000 30000 100000 --integration none --to FOLDER [--data FOLDER]

Each cell is one of 1,106 real PBMC (10x: pbmc1k_v3, and 200 of pbmc_10k_protein_v3), drawn with replacement; its
UMIs are thinned binomially to a depth drawn from a lognormal around 1,000 (urine-like), with gene-wise factors of its
sample. Samples are of unlike size (lognormal, one for 12,500 cells, at least four); in all but the negative control a
tenth of the cells that show CD3 hold CAR molecules (Poisson, 1.5).

Three processes a size, as in the workflow, each with its own peak of resident memory and CPU time, as the kernel
counted them: `cohort` (read the samples, `annotate_cohort`, write), `calling` (read, `call_cells`, write) and
`localize`.
The samples themselves are made before and kept in FOLDER for the next run.
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse

from carseq.calling import call_cells
from carseq.cells import stages
from carseq.cells.counts import column_sums, row_sums
from carseq.cells.filters import quality
from carseq.io.files import read_table, write_table
from carseq.io.h5ad import read_cells, write_cells, write_h5ad
from carseq.localize import everything
from carseq.schema.obs import OBS
from carseq.schema.tables import DETECTION
from carseq.study.config import CellsConfig

log = logging.getLogger("carseq.benchmark")

CAR = "HBI0101"
DATA = Path(__file__).parents[2] / "shared/data/real_pbmc"
#: UMIs a cell (median), spread of their logarithm, and of a gene's factor between samples.
DEPTH, DEPTH_SPREAD, SAMPLE_SPREAD = 1000.0, 0.6, 0.2
CELLS_PER_SAMPLE, MIN_SAMPLES = 12_500, 4
#: Cells thinned at a time.
BLOCK = 5_000
#: UMIs of the mean empty droplet, whose profile is that of all cells.
EMPTY = 20.0
STAGES = ("cohort", "calling", "localize")
#: What `annotate_cohort` calls, in order.
STEPS = (
    "combine",
    "integrate",
    "cluster",
    "annotate",
    "paired_transcriptomes",
    "contamination",
    "filter_cells",
    "t_states",
    "cell_cycle",
    "corrected_counts",
)


def real_counts(folder: Path) -> tuple[sparse.csr_matrix, pd.Index]:
    """Return counts of the real cells, cells x genes that both sets have, and the genes."""
    sets = [anndata.read_h5ad(p) for p in sorted(folder.glob("*.h5ad"))]
    if not sets:
        raise SystemExit(f"no h5ad in {folder}: name the folder of the real counts with --data")
    for one in sets:
        one.var_names_make_unique()
    genes = functools.reduce(
        lambda a, b: a.intersection(b, sort=False), (s.var_names for s in sets)
    )
    parts = [sparse.csr_matrix(s[:, genes].X) for s in sets]
    return sparse.csr_matrix(sparse.vstack(parts)), genes


def draw_sample(
    pool: sparse.csr_matrix, genes: pd.Index, n_cells: int, with_car: bool, rng: np.random.Generator
) -> anndata.AnnData:
    """Draw cells, thin them, add the CAR as the last gene."""
    totals = row_sums(pool)
    is_t = row_sums(pool[:, genes.isin(["CD3D", "CD3E", "CD3G"])]) >= 2
    factor = rng.lognormal(0, SAMPLE_SPREAD, len(genes))
    parts, car = [], []
    for start in range(0, n_cells, BLOCK):
        rows = rng.integers(0, pool.shape[0], min(BLOCK, n_cells - start))
        part = pool[rows]
        share = DEPTH * rng.lognormal(0, DEPTH_SPREAD, rows.size) / totals[rows]
        chance = np.repeat(share, np.diff(part.indptr)) * factor[part.indices]
        part.data = rng.binomial(part.data.astype(np.int64), np.minimum(chance, 1)).astype(
            np.float32
        )
        part.eliminate_zeros()
        parts.append(part)
        shown = is_t[rows] & (rng.random(rows.size) < 0.1) & with_car
        car.append(np.where(shown, rng.poisson(1.5, rows.size), 0).astype(np.float32))
    column = sparse.csr_matrix(np.concatenate(car)[:, None])
    counts = sparse.csr_matrix(sparse.hstack([sparse.vstack(parts), column]))
    names = pd.Index([f"cell{i}" for i in range(n_cells)])
    return anndata.AnnData(counts, pd.DataFrame(index=names), pd.DataFrame(index=[*genes, CAR]))


def make_sample(
    task: tuple[Path, Path, int, int, int],
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Write one sample, the same whichever process makes it; return its row, UMIs and genes of its cells."""
    folder, data, seed, i, size = task
    pool, genes = real_counts(data)
    sample = draw_sample(pool, genes, size, i != 1, np.random.default_rng([seed, i]))
    meta = {
        "sample": f"S{i:03d}",
        "patient": f"P{i // 2:02d}",
        "compartment": "blood" if i % 4 == 3 else "urine",
        "timepoint": "day0" if i == 1 else "day28",
        "role": "negative_control" if i == 1 else "case",
    }
    for key, value in meta.items():
        sample.obs[key] = value
    sample.obs["barcode"] = sample.obs_names.astype(str)
    sample.obs["is_doublet"], sample.obs["doublet_score"] = False, np.nan
    sample.obs["doublet_reason"] = ""
    sample.uns["car"] = CAR
    quality(sample)
    write_h5ad(sample, folder / f"{meta['sample']}.h5ad")
    row = {**meta, "ambient_umis": 1e6, "ambient_car": 2.0, "car_unseen": 0.0}
    return row, sample.obs["total_umis"].to_numpy(), sample.obs["n_genes"].to_numpy()


def make_samples(folder: Path, n_cells: int, data: Path, jobs: int = 1, seed: int = 0) -> None:
    """Write the samples of a cohort of so many cells, as the workflow's `sample_cells` would, ``jobs`` at a time."""
    rng = np.random.default_rng(seed)
    pool, genes = real_counts(data)
    ambient = pd.DataFrame({"gene": [*genes, CAR], "fraction": [*column_sums(pool), 0.0]})
    ambient["fraction"] /= ambient["fraction"].sum()
    ambient["umis"] = np.rint(ambient["fraction"] * 1e6).astype(int)
    ambient["mean_total"] = EMPTY
    n_samples = max(MIN_SAMPLES, n_cells // CELLS_PER_SAMPLE)
    weights = rng.lognormal(0, 1, n_samples)
    sizes = np.maximum(np.rint(n_cells * weights / weights.sum()).astype(int), 8)
    sizes[sizes.argmax()] += n_cells - sizes.sum()
    tasks = [(folder, data, seed, i, int(size)) for i, size in enumerate(sizes)]
    with multiprocessing.get_context("fork").Pool(jobs) as workers:
        made = workers.map(make_sample, tasks, chunksize=1)
    rows, umis, n_genes = zip(*made, strict=True)
    ambient.to_csv(folder / "ambient.tsv", sep="\t", index=False)
    pd.DataFrame(rows).to_csv(folder / "samples.tsv", sep="\t", index=False)
    said = {
        "samples": n_samples,
        "smallest": int(sizes.min()),
        "largest": int(sizes.max()),
        "median_umis": float(np.median(np.concatenate(umis))),
        "median_genes": float(np.median(np.concatenate(n_genes))),
        "input_mb": sum(p.stat().st_size for p in folder.glob("S*.h5ad")) / 1e6,
    }
    (folder / "made.json").write_text(json.dumps(said))


def peak_gb() -> float:
    """Return the most memory this process has held, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def timed(
    steps: dict[str, dict[str, float]], name: str, work: Callable[..., Any]
) -> Callable[..., Any]:
    """Return ``work``, adding what each call takes to ``steps[name]``."""

    @functools.wraps(work)
    def measured(*args: Any, **kwargs: Any) -> Any:
        wall, cpu = time.perf_counter(), time.process_time()
        result = work(*args, **kwargs)
        own = steps.setdefault(name, {"wall": 0.0, "cpu": 0.0, "peak": 0.0})
        own["wall"] += time.perf_counter() - wall
        own["cpu"] += time.process_time() - cpu
        own["peak"] = peak_gb()
        log.info("%s: %.0f s so far, peak %.2f GB", name, own["wall"], own["peak"])
        return result

    return measured


def stage(name: str, folder: Path, integration: str, threads: int) -> None:
    """Run a stage of the workflow in this process; say what its steps took."""
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("carseq").setLevel(logging.INFO)
    steps: dict[str, dict[str, float]] = {}
    samples = pd.read_csv(folder / "samples.tsv", sep="\t")
    annotated, called = folder / "annotated.h5ad", folder / "cells.h5ad"
    write = timed(steps, "write", write_h5ad)
    read = timed(steps, "read", anndata.read_h5ad)
    if name == "cohort":
        for step in STEPS:
            setattr(stages, step, timed(steps, step, getattr(stages, step)))
        ambient = pd.read_csv(folder / "ambient.tsv", sep="\t")
        cohort, _ = stages.annotate_cohort(
            (read(folder / f"{s}.h5ad") for s in samples["sample"]),
            dict.fromkeys(samples["sample"], ambient),
            car=CAR,
            config=CellsConfig(integration=integration),  # type: ignore[arg-type]
            threads=threads,
        )
        timed(steps, "tables", stages.cohort_tables)(cohort, car=CAR)
        write(cohort, annotated)
        print(f"{cohort.n_obs} cells kept", file=sys.stderr)
    elif name == "calling":
        cohort = timed(steps, "read", read_cells)(annotated, genes=[CAR])
        call = timed(steps, "call_cells", call_cells)
        detection = call(cohort, None, samples, car=CAR)
        cohort.obs = OBS.conform(cohort.obs)
        write_table(detection, folder / "detection.tsv", DETECTION)
        timed(steps, "write", write_cells)(cohort, annotated, called)
    else:
        cohort = timed(steps, "read", read_cells)(called)
        detection = read_table(folder / "detection.tsv", DETECTION)
        timed(steps, "localize", everything)(cohort, detection)
    (folder / f"{name}.json").write_text(json.dumps(steps))


def measure(name: str, folder: Path, integration: str, threads: int) -> dict[str, Any]:
    """Run a stage in a process of its own; return its wall and CPU seconds, peak GB and steps."""
    command = [sys.executable, __file__, "--stage", name, "--to", str(folder)]
    command += ["--integration", integration, "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "NUMBA_NUM_THREADS": str(threads)}
    load, start = os.getloadavg()[0], time.perf_counter()
    with open(folder / f"{name}.log", "w") as log:
        child = subprocess.Popen(command, env=environment, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{name} failed: {folder}/{name}.log")
    return {
        "wall": time.perf_counter() - start,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak": usage.ru_maxrss * 1024 / 1e9,
        "load": (load + os.getloadavg()[0]) / 2,
        "steps": json.loads((folder / f"{name}.json").read_text()),
    }


def slope(cells: list[float], values: list[float]) -> float:
    """Return the slope of log values on log cells: 1 is proportional."""
    return float(np.polyfit(np.log(cells), np.log(values), 1)[0])


def report(folder: Path, integration: str) -> str:
    """Return the tables of all sizes measured so far."""
    runs = [
        json.loads(p.read_text()) for p in sorted(folder.glob(f"*/measured_{integration}.json"))
    ]
    runs = sorted(runs, key=lambda r: r["cells"])
    lines = [
        "| cells | samples (smallest-largest) | UMIs, genes (medians) | stage | wall, min | CPU, min | peak, GB "
        "| load | of wall, s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in runs:
        made = run["made"]
        for name in STAGES:
            got = run[name]
            steps = ", ".join(f"{k} {v['wall']:.0f}" for k, v in got["steps"].items())
            first = (
                f"{run['cells']:,} | {made['samples']} ({made['smallest']:,}-{made['largest']:,}) | "
                f"{made['median_umis']:.0f}, {made['median_genes']:.0f}"
                if name == "cohort"
                else " | | "
            )
            lines.append(
                f"| {first} | {name} | {got['wall'] / 60:.1f} | {got['cpu'] / 60:.1f} | {got['peak']:.2f} | "
                f"{got['load']:.1f} | {steps} |"
            )
    if len(runs) > 1:
        at = [r["cells"] for r in runs]
        totals = {k: [sum(r[s][k] for s in STAGES) for r in runs] for k in ("wall", "cpu")}
        peaks = [max(r[s]["peak"] for s in STAGES) for r in runs]
        lines.append(
            f"\nSlopes (log-log): wall {slope(at, totals['wall']):.2f}, CPU {slope(at, totals['cpu']):.2f}, "
            f"peak memory {slope(at, peaks):.2f}; from {at[-2]:,} to {at[-1]:,}: wall "
            f"{slope(at[-2:], totals['wall'][-2:]):.2f}, CPU {slope(at[-2:], totals['cpu'][-2:]):.2f}, "
            f"peak memory {slope(at[-2:], peaks[-2:]):.2f}."
        )
    return "\n".join(lines)


def picture(folder: Path, integration: str) -> None:
    """Draw time and memory against cells."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    runs = [json.loads(p.read_text()) for p in folder.glob(f"*/measured_{integration}.json")]
    runs = sorted(runs, key=lambda r: r["cells"])
    at = [r["cells"] for r in runs]
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    for key, label in (("wall", "wall"), ("cpu", "CPU")):
        axes[0].loglog(at, [sum(r[s][key] for s in STAGES) / 60 for r in runs], "o-", label=label)
    axes[0].set(xlabel="cells", ylabel="minutes, cohort to localize")
    axes[0].legend()
    for name in STAGES[:2]:
        axes[1].loglog(at, [r[name]["peak"] for r in runs], "o-", label=name)
    axes[1].set(xlabel="cells", ylabel="peak memory, GB")
    axes[1].legend()
    figure.savefig(folder / f"cells_scale_{integration}.png", dpi=150)


def main() -> None:
    """Make samples, measure each size, print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=[10_000, 30_000, 100_000])
    parser.add_argument("--integration", choices=("scvi", "harmony", "none"), default="none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1, help="samples made at a time")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--stage", choices=("make", *STAGES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage == "make":
        make_samples(given.to, given.sizes[0], given.data, given.jobs)
        return
    if given.stage:
        stage(given.stage, given.to, given.integration, given.threads)
        return
    for n_cells in given.sizes:
        folder = given.to / f"{n_cells:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "made.json").exists():
            command = [sys.executable, __file__, "--stage", "make", "--sizes", str(n_cells)]
            command += ["--to", str(folder), "--data", str(given.data), "--jobs", str(given.jobs)]
            subprocess.run(command, check=True)
        made = json.loads((folder / "made.json").read_text())
        run: dict[str, Any] = {"cells": n_cells, "made": made}
        for name in STAGES:
            run[name] = measure(name, folder, given.integration, given.threads)
            print(f"{n_cells:,} {name}: {run[name]}", flush=True)
        (folder / f"measured_{given.integration}.json").write_text(json.dumps(run))
        for big in ("annotated.h5ad", "cells.h5ad"):
            (folder / big).unlink()
    print(report(given.to, given.integration))
    picture(given.to, given.integration)


if __name__ == "__main__":
    main()
