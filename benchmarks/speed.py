"""carseq against bare STARsolo, kb-python, alevin, and itself where only something is new: time, memory, what is found.

    python benchmarks/speed.py [--to FOLDER] [--kb PATH] [PART ...]
    python benchmarks/speed.py --compare RESULTS RESULTS     # molecules, calls and matrices of two finished studies

PART: scaling, searched, engine, second, bam, others, look (all, if none is named). FOLDER keeps the simulated reads, and each part's
figures as JSON; the section "Speed" of RESULTS.md is written from what is there. `kb` (kb-python) belongs into an
environment of its own; `salmon` and `igzip` come with Debian's packages salmon and isal. A missing tool is left out.

The reads: three samples of 1,000 cells in 20 lanes each, which are random parts of one library, so that a tenth, a
quarter and half of the lanes are the library sequenced less. (FASTQs given twice add reads, but no molecules.)
"""

# The tables' lines are long.
# ruff: noqa: E501

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import yaml
from isal import igzip
from scipy import io, sparse

import carseq
from carseq.io.files import write_text
from carseq.kallisto import find_programs
from carseq.library.whitelist import found_here
from carseq.reference.star import star_version
from carseq.simulate import demo_samples, simulate_study
from carseq.simulate.molecules import Protocol

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
TITLE = "## Speed (`make bench`)"
THREADS = 2
#: As `carseq run` without `--cores` starts them on a machine of two cores.
JOBS = THREADS + 1
LANES = 20
#: Lanes of each sample, of 20: 2, 5 and 10 million read pairs, 50 minutes with all parts. Twenty million take some 25
#: minutes more (`scaling --sizes 20 --add`).
SIZES = (2, 5, 10)
#: What else is timed takes the run of this size, or else the largest.
OTHERWISE = 10
CELLS = 1000
#: Reads of a molecule that make 20 million of three samples of 1,000 cells.
READS_PER_MOLECULE = 2.3
FIRST, SECOND = "hbi0101_surrogate_native", "axi-cel"
#: The sample that is given to the other tools: the one with most T cells.
OTHERS_SAMPLE = "P01_blood_D28"
#: Name of a sample that comes later.
NEW = "P02_blood_D28"


@dataclass(frozen=True)
class Cost:
    """What a command took: wall clock and CPU in seconds, its largest process in GB."""

    wall: float
    cpu: float
    memory: float


class Failed(SystemExit):
    """A command ended with an exit status other than 0; below 0, by a signal."""


#: Starts a command from a small process: what a process holds when it starts another counts as memory of that one. It
#: waits for what the command leaves behind too, whose CPU time counts (prctl(2), PR_SET_CHILD_SUBREAPER): the process
#: to which a run's jobs are handed ends after it.
PROBE = """
import ctypes, json, os, resource, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
start = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
wall = time.perf_counter() - start
try:
    while True:
        os.wait()
except ChildProcessError:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
figures = code, wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6
open(sys.argv[1], "w").write(json.dumps(figures))
"""


def run(command: list[object], log: Path) -> Cost:
    """Run a command to its end; its output goes to a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    figures = log.with_suffix(".cost.json")
    words = [str(word) for word in command]
    with log.open("w") as stream:
        probe = [sys.executable, "-I", "-S", "-c", PROBE, str(figures), *words]
        subprocess.run(probe, stdout=stream, stderr=stream, check=True)
    code, wall, cpu, memory = json.loads(figures.read_text())
    figures.unlink()
    if code:
        print(f"{shlex.join(words)}\n{log.read_text()[-3000:]}", file=sys.stderr)
        raise Failed(code)
    return Cost(wall, cpu, memory)


def make_study(folder: Path, cells: int, lanes: int = LANES) -> Path:
    """Simulate the study, once, sequenced in so many lanes."""
    study = folder / "study"
    if not (study / "config.yaml").exists():
        samples = [replace(spec, cells=cells) for spec in demo_samples(cells=cells)]
        protocol = Protocol(reads_per_molecule=READS_PER_MOLECULE * lanes / LANES)
        simulate_study(
            study, construct=FIRST, samples=samples, protocol=protocol, lanes=lanes, seed=11, threads=THREADS
        )  # fmt: skip
    return study


def n_reads(study: Path, lanes: int) -> float:
    """Return the read pairs, in millions, of so many lanes of each sample."""
    files = (study / "truth").glob("*.reads.json")
    total = sum(json.loads(f.read_text())["total"] for f in files)
    return total * lanes / made_lanes(study) / 1e6


def made_lanes(study: Path) -> int:
    """Return the lanes of a sample that were simulated."""
    return int(pd.read_csv(study / "units.tsv", sep="\t")["sample"].value_counts().max())


def units(study: Path, lanes: int) -> pd.DataFrame:
    """Return the FASTQ pairs of the first lanes, by absolute paths."""
    table = pd.read_csv(study / "units.tsv", sep="\t")
    table = table.groupby("sample", sort=False).head(lanes)
    return table.assign(**{mate: [str(study / p) for p in table[mate]] for mate in ("r1", "r2")})


def write_run(
    study: Path, folder: Path, sheet: pd.DataFrame, pairs: pd.DataFrame | None, construct: str = FIRST, reuse: Path | None = None,
    **sections: dict[str, Any],
) -> None:  # fmt: skip
    """Write configuration and sheets of a run over the study's genome."""
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["reference"] = {k: str(study / v) for k, v in config["reference"].items()}
    if construct == FIRST:
        config["construct"]["file"] = str(study / config["construct"]["file"])
    else:
        config["construct"] = {"file": construct, "name": construct.replace("-", "_")}
    if pairs is None:
        del config["units"]
    else:
        pairs.to_csv(folder / "units.tsv", sep="\t", index=False)
    if reuse:
        config["reuse"] = str(reuse)
    config |= sections
    sheet.to_csv(folder / "samples.tsv", sep="\t", index=False)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def workflow(
    folder: Path, *extra: str, directory: Path | None = None
) -> tuple[Cost, dict[str, int]]:
    """Run the workflow of a folder's configuration, in that or another one; return its cost and its jobs by rule."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--configfile", folder / "config.yaml",
        "--directory", directory or folder, "--cores", JOBS, *extra,
    ]  # fmt: skip
    log = folder / "run.log"
    cost = run([*command], log)
    table = re.search(r"Job stats:\njob +count\n[- ]+\n(.*?)\n\n", log.read_text(), re.DOTALL)
    rows = (line.split() for line in table.group(1).splitlines()) if table else ()
    return cost, {rule: int(count) for rule, count in rows if rule not in ("total", "all")}


def plain_whitelist(source: Path, target: Path) -> Path:
    """Write a barcode list as STAR wants it."""
    zipped = source.read_bytes()[:2] == b"\x1f\x8b"
    target.write_bytes(igzip.decompress(source.read_bytes()) if zipped else source.read_bytes())
    return target


def starsolo(study: Path, finished: Path, lanes: int, out: Path) -> Cost:
    """Run STAR on each sample as the finished run did: the command of its log, but as STAR's manual has it.

    That is with zcat, and without what carseq asks for to be faster.
    """
    total = np.zeros(2)
    peak = 0.0
    for name, pairs in units(study, lanes).groupby("sample", sort=False):
        solo = finished / "results" / "samples" / name / "solo"
        text = (finished / "results" / "logs" / name / "align.log").read_text()
        command = shlex.split(re.search(r"STAR --runThreadN .*", text).group())  # type: ignore[union-attr]
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        listed = Path(found_here(json.loads((solo / "chemistry.json").read_text())["whitelist"]))
        given = {
            "--outFileNamePrefix": f"{out}/",
            "--soloCBwhitelist": str(plain_whitelist(listed, out / "whitelist.txt")),
            # The log names the link in the folder that STAR ran in.
            "--genomeDir": str(
                finished
                / "results/reference"
                / Path(command[command.index("--genomeDir") + 1]).name
            ),
        }
        for option, value in given.items():
            command[command.index(option) + 1] = value
        if "--seedPerWindowNmax" in command:
            at = command.index("--seedPerWindowNmax")
            del command[at : at + 2]
        at = command.index("--readFilesIn")
        command[at + 1 : at + 3] = [",".join(pairs["r2"]), ",".join(pairs["r1"])]
        at = command.index("--readFilesCommand")
        later = (i for i in range(at + 1, len(command)) if command[i].startswith("--"))
        command[at + 1 : next(later, len(command))] = ["zcat"]
        cost = run([*command], out / "out.log")
        total += cost.wall, cost.cpu
        peak = max(peak, cost.memory)
        shutil.rmtree(out)
    return Cost(*total, peak)


def rule_memory(results: Path) -> dict[str, float]:
    """Return the largest memory of a rule's jobs, GB, from the workflow's own measurements."""
    found: dict[str, float] = {}
    for file in sorted((results / "benchmarks").rglob("*.tsv")):
        peak = pd.to_numeric(pd.read_csv(file, sep="\t")["max_rss"], errors="coerce").iloc[0]
        found[file.stem] = max(found.get(file.stem, 0.0), float(peak) / 1000)
    return found


def rule_costs(results: Path, what: str = "s") -> dict[str, float]:
    """Return seconds by rule, summed over samples, from the workflow's own measurements: of the wall clock, or of CPU."""
    found: dict[str, float] = {}
    for file in sorted((results / "benchmarks").rglob("*.tsv")):
        seconds = float(pd.read_csv(file, sep="\t")[what].iloc[0])
        found[file.stem] = found.get(file.stem, 0.0) + seconds
    return found


def scaling(folder: Path, study: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run the workflow and STARsolo on growing parts of the reads, in turn, after a first run that does not count."""
    sheet = pd.read_csv(study / "samples.tsv", sep="\t")
    kept = folder / "scaling.json"
    earlier = json.loads(kept.read_text()) if kept.exists() else {}
    rows = earlier.get("rows", []) if given.add else []
    cold = earlier.get("cold")
    if cold is None and not given.no_cold:
        lanes = min(given.sizes)
        here = folder / "cold"
        shutil.rmtree(here, ignore_errors=True)
        write_run(study, here, sheet, units(study, lanes))
        cold = {"lanes": lanes, **workflow(here)[0].__dict__}
        print(json.dumps(cold), flush=True)
        shutil.rmtree(here)
    for lanes in given.sizes:
        here = folder / f"run{lanes:02d}"
        shutil.rmtree(here, ignore_errors=True)
        write_run(study, here, sheet, units(study, lanes))
        began = time.time()
        load = os.getloadavg()[0]
        whole, jobs = workflow(here)
        tables = (here / "results/samples").glob("*/molecules/molecules.parquet")
        bare = starsolo(study, here, lanes, folder / "bare")
        rows.append(
            {
                "lanes": lanes,
                "when": f"{datetime.now(UTC):%H:%M}",
                "reads": n_reads(study, lanes),
                "workflow": whole.__dict__,
                "starsolo": bare.__dict__,
                "to_molecules": max(t.stat().st_mtime for t in tables) - began,
                "rules": rule_costs(here / "results"),
                "jobs": jobs,
                "load_before": load,
                "load_after": os.getloadavg()[0],
            }
        )
        print(json.dumps(rows[-1]), flush=True)
        save(folder, "scaling", {"rows": rows, "cold": cold})
    return {"rows": rows, "cold": cold}


def by_size(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the medians of the runs of each size, by lanes."""
    flat = [
        {
            "lanes": row["lanes"], "reads": row["reads"], "align": row["rules"]["align"], "to_molecules": row["to_molecules"],
            "load": max(row["load_before"], row["load_after"]),
            **{f"{who}_{what}": row[who][what] for who in ("workflow", "starsolo") for what in ("wall", "cpu", "memory")},
        }
        for row in rows
    ]  # fmt: skip
    table = pd.DataFrame(flat).groupby("lanes")
    return table.median().assign(runs=table.size())


def engine(folder: Path, study: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run the workflow with kallisto on the same reads, and compare it with the runs of `scaling`."""
    figures = otherwise("engine", {"aligner": "kallisto"}, folder, study, given)
    return {**figures, "programs": find_programs().versions()}


def searched(folder: Path, study: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run the workflow with STAR and no BAM on the same reads, and compare it with the runs of `scaling`."""
    return otherwise("searched", {"evidence": "fastq"}, folder, study, given)


def otherwise(
    part: str, solo: dict[str, str], folder: Path, study: Path, given: argparse.Namespace
) -> dict[str, Any]:
    """Run the workflow with another `solo` section, and compare it with the runs of `scaling`."""
    sheet = pd.read_csv(study / "samples.tsv", sep="\t")
    kept = folder / f"{part}.json"
    rows = json.loads(kept.read_text())["rows"] if given.add and kept.exists() else []
    for lanes in given.sizes:
        here = folder / f"{part}{lanes:02d}"
        shutil.rmtree(here, ignore_errors=True)
        write_run(study, here, sheet, units(study, lanes), solo=solo)
        load = os.getloadavg()[0]
        cost, _ = workflow(here)
        rows.append(
            {
                "lanes": lanes,
                "reads": n_reads(study, lanes),
                "workflow": cost.__dict__,
                "rules": rule_costs(here / "results"),
                "cpu": rule_costs(here / "results", "cpu_time"),
                "memory": rule_memory(here / "results"),
                "agreement": agreement(folder / f"run{lanes:02d}" / "results", here / "results"),
                "load_before": load,
                "load_after": os.getloadavg()[0],
            }
        )
        print(json.dumps(rows[-1]), flush=True)
        save(folder, part, {"rows": rows})
    return {"rows": rows}


def agreement(one: Path, other: Path) -> dict[str, float]:
    """Return how much of two finished studies of the same reads is the same: molecules, calls, matrices."""
    cells = [ad.read_h5ad(results / "cohort/cells.h5ad") for results in (one, other)]
    names = [x for x in cells[0].obs_names if x in set(cells[1].obs_names)]
    genes = [x for x in cells[0].var_names if x in set(cells[1].var_names)]
    both = [x[names] for x in cells]
    calls = [x.obs["car_call"].astype(str) for x in both]
    positive = [set(x.obs_names[x.obs["car_call"] == "positive"]) for x in cells]
    counts = [x[:, genes].layers["counts"] for x in both]
    keys: list[set[tuple[str, ...]]] = [set(), set()]
    for own, results in zip(keys, (one, other), strict=True):
        for path in sorted((results / "samples").glob("*/molecules/molecules.parquet")):
            table = pd.read_parquet(path)
            own |= set(
                zip(
                    path.parts[-3:-2] * len(table),
                    table["barcode"].astype(str),
                    table["umi"],
                    strict=True,
                )
            )
    found: dict[str, float] = {
        "cells": len(names) / len(set(cells[0].obs_names) | set(cells[1].obs_names)),
        "n_cells": len(names),
        "calls": float((calls[0] == calls[1]).mean()),
        "n_positive": len(positive[0]),
        "positive": len(positive[0] & positive[1]) / max(1, len(positive[0] | positive[1])),
        "molecules": len(keys[0] & keys[1]) / max(1, len(keys[0] | keys[1])),
        "n_molecules": len(keys[0]),
        "umis": float(counts[1].sum() / counts[0].sum()),
    }  # fmt: skip
    for axis, what in ((1, "cell_sums"), (0, "gene_sums")):
        sums = [np.asarray(x.sum(axis=axis)).ravel() for x in counts]
        found[what] = float(np.corrcoef(sums[0], sums[1])[0, 1])
    return found


def bam_sheet(study: Path, finished: Path) -> pd.DataFrame:
    """Return the sheet of the samples of a finished run, given as BAM and raw matrix."""
    sheet = pd.read_csv(study / "samples.tsv", sep="\t").assign(chemistry="10x_3p_v3")
    solo = [finished / "results" / "samples" / name / "solo" for name in sheet["sample"]]
    return sheet.assign(
        bam=[str(path / "aligned.bam") for path in solo], raw_matrix=[str(path / "raw.h5ad") for path in solo]
    )  # fmt: skip


def check_jobs(log: str, known: set[str]) -> None:
    """Stop if a dry run aligns, counts or searches a known sample again, or leaves out the new one."""
    samples = re.findall(r"(?m)^Job \d+: (?:solo|molecules|cells): .* (\S+)$", log)
    if NEW not in samples or known & set(samples):
        raise SystemExit(f"jobs of {samples}, though only {NEW} is new")


def finished_run(folder: Path, given: argparse.Namespace) -> tuple[int, Path]:
    """Return the size and the folder of the finished run that other parts build on."""
    lanes = OTHERWISE if OTHERWISE in given.sizes else given.sizes[-1]
    return lanes, folder / f"run{lanes:02d}"


def second(folder: Path, study: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Ask finished samples about a second construct, and give a finished study a further sample."""
    sheet = pd.read_csv(study / "samples.tsv", sep="\t")
    here = folder / "construct2"
    kept = folder / "second.json"
    rows = json.loads(kept.read_text())["rows"] if given.add and kept.exists() else []
    for lanes in [n for n in given.sizes if n >= OTHERWISE] or given.sizes[-1:]:
        finished, pairs = folder / f"run{lanes:02d}", units(study, lanes)
        costs = []
        for _ in range(given.times):
            shutil.rmtree(here, ignore_errors=True)
            write_run(study, here, sheet, pairs, SECOND, reuse=finished / "results")
            cost, jobs = workflow(here)
            costs.append(cost.__dict__)
        rows = [row for row in rows if row["lanes"] != lanes]
        rows.append({"lanes": lanes, "costs": costs, "jobs": jobs, "about": about()})
    # The further sample has reads of a lane that no run has yet (a FASTQ file given twice is refused); its jobs are asked
    # for, not run.
    new = sheet.iloc[[-1]].assign(sample=NEW, patient="P02")
    more = folder / "sample2"
    shutil.rmtree(more, ignore_errors=True)
    more.mkdir()
    spare = units(study, lanes + 1)
    later = spare[spare["sample"].eq(OTHERS_SAMPLE)].tail(1).assign(sample=NEW)
    for mate in ("r1", "r2"):
        link = more / f"{mate}.fastq.gz"
        link.symlink_to(later[mate].iloc[0])
        later[mate] = str(link)
    write_run(study, more, pd.concat([sheet, new]), pd.concat([pairs, later]))
    _, more_jobs = workflow(more, "--dry-run", directory=finished)
    check_jobs((more / "run.log").read_text(), set(sheet["sample"]))
    return {"rows": rows, "sample_jobs": more_jobs}


def bam(folder: Path, study: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Go from the BAMs of a finished run to the molecules, and compare these with the run's own."""
    lanes, finished = finished_run(folder, given)
    sheet = bam_sheet(study, finished)
    targets = [f"results/samples/{name}/molecules/molecules.parquet" for name in sheet["sample"]]
    costs = []
    for _ in range(given.times):
        here = folder / "from_bam"
        shutil.rmtree(here, ignore_errors=True)
        write_run(study, here, sheet, None)
        costs.append(workflow(here, *targets)[0])
    equal = []
    for target in targets:
        some, other = (pd.read_parquet(path / target) for path in (here, finished))
        order = ["barcode", "umi"]
        pd.testing.assert_frame_equal(
            some.sort_values(order, ignore_index=True), other.sort_values(order, ignore_index=True)
        )
        equal.append(len(some))
    return {
        "lanes": lanes,
        "costs": [cost.__dict__ for cost in costs],
        "molecules": equal,
    }


def found_by_barcode(counts: pd.Series, true: pd.Series) -> dict[str, int]:
    """Compare CAR molecules by barcode with the truth: found, missed, and too many."""
    barcodes = counts.index.union(true.index)
    some, truth = (t.reindex(barcodes, fill_value=0) for t in (counts, true))
    return {
        "found": int(np.minimum(some, truth).sum()),
        "missed": int((truth - some).clip(lower=0).sum()),
        "extra": int((some - truth).clip(lower=0).sum()),
    }


def cells_found(positive: set[str], droplets: pd.DataFrame) -> dict[str, float]:
    """Return calls, precision and recall of CAR T cells, doublets with one included."""
    true = set(droplets.loc[droplets["is_car_t"] | droplets["partner_is_car_t"], "barcode"])
    hits = len(positive & true)
    return {
        "calls": len(positive),
        "precision": hits / max(1, len(positive)),
        "recall": hits / len(true),
        "true": len(true),
    }


def judged(
    counts: pd.Series, positive: set[str], study: Path, seen: set[str] | None = None
) -> dict[str, Any]:
    """Hold counts of CAR molecules by barcode, and calls, against the simulator's truth."""
    truth = study / "truth"
    molecules = pd.read_csv(truth / f"{OTHERS_SAMPLE}.car_molecules.tsv.gz", sep="\t")
    if seen is not None:
        molecules = molecules[molecules["barcode"].isin(seen)]
        counts = counts[counts.index.isin(seen)]
    true = molecules.drop_duplicates(["barcode", "umi"]).groupby("barcode").size()
    return {**found_by_barcode(counts, true), **cells_found(positive, droplets_of(study))}


def matrix_counts(folder: Path, matrix: str, barcodes: str, genes: str, car: str) -> pd.Series:
    """Return the CAR's counts by barcode of a matrix of barcodes x genes in Matrix Market form."""
    counts = sparse.csc_matrix(io.mmread(folder / matrix))
    rows = (folder / barcodes).read_text().split()
    columns = [line.split("\t")[0] for line in (folder / genes).read_text().splitlines()]
    if counts.shape[0] != len(rows):
        counts = sparse.csc_matrix(counts.T)
    column = counts[:, [columns.index(car)]].toarray().ravel()
    return pd.Series(np.round(column).astype(int), index=rows)


def others(folder: Path, study: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Count one sample with kb-python and alevin, on the same reads, genome, annotation and CAR as carseq."""
    lanes, run_folder = finished_run(folder, given)
    finished = run_folder / "results"
    here = folder / "others"
    here.mkdir(exist_ok=True)
    pairs = units(study, lanes)
    pairs = pairs[pairs["sample"] == OTHERS_SAMPLE]
    genome = here / "genome_car.fa"
    genome.write_text(
        (study / "genome.fa").read_text() + (finished / "construct/construct.fa").read_text()
    )
    gtf = finished / "reference/augmented.gtf"
    car = "HBI0101"
    obs = ad.read_h5ad(finished / "cohort/cells.h5ad", backed="r").obs
    obs = obs[obs["sample"] == OTHERS_SAMPLE]
    cells = set(obs["barcode"].astype(str))
    own = pd.read_parquet(finished / "samples" / OTHERS_SAMPLE / "molecules/molecules.parquet")
    counted = own[own["p_car"] >= 0.5].groupby("barcode").size()
    benchmark = [
        pd.read_csv(finished / "benchmarks" / OTHERS_SAMPLE / f"{rule}.tsv", sep="\t").iloc[0]
        for rule in ("align", "molecules")
    ]
    found: dict[str, Any] = {
        "reads": float(len(pairs) / made_lanes(study) * n_reads_of(study, OTHERS_SAMPLE)),
        "cells": len(cells),
    }
    calls = set(obs.loc[obs["car_call"] == "positive", "barcode"].astype(str))
    rule = lambda counts: set(counts.index[counts >= 1]) & cells  # noqa: E731
    found["carseq"] = {
        "walls": [float(sum(row["s"] for row in benchmark))],
        "cpus": [float(sum(row["cpu_time"] for row in benchmark))],
        "memory": max(row["max_rss"] for row in benchmark) * 1.048576 / 1000,
        "times": 1,
        **judged(counted, calls, study, cells),
        "naive": cells_found(rule(counted), droplets_of(study)),
    }
    raw = ad.read_h5ad(finished / "samples" / OTHERS_SAMPLE / "solo/raw.h5ad")
    star = pd.Series(
        np.asarray(raw[:, raw.var["gene_id"] == car].X.todense()).ravel(), raw.obs_names
    )
    found["STARsolo"] = {**judged(star, rule(star), study, cells)}
    if given.kb:
        fasta = here / "cdna.fa"
        index = [
            given.kb,
            "ref",
            "--overwrite",
            "-t",
            THREADS,
            "-i",
            here / "kb.idx",
            "-g",
            here / "t2g.txt",
            "-f1",
            fasta,
            genome,
            gtf,
        ]
        built = run(index, here / "kb_ref.log")
        reads = [path for pair in zip(pairs["r1"], pairs["r2"], strict=True) for path in pair]
        count = [
            given.kb, "count", "-i", here / "kb.idx", "-g", here / "t2g.txt", "-x", "10XV3",
            "-t", THREADS, "-m", "4G", "-o", here / "kb", *reads,
        ]  # fmt: skip
        costs = again(given.times, count, here / "kb")
        counts = matrix_counts(
            here / "kb/counts_unfiltered",
            "cells_x_genes.mtx",
            "cells_x_genes.barcodes.txt",
            "cells_x_genes.genes.txt",
            car,
        )
        found["kb count"] = tool(costs, built, judged(counts, rule(counts), study, cells))
    if given.kb and shutil.which("salmon"):
        built = run(
            ["salmon", "index", "-p", THREADS, "-t", fasta, "-i", here / "salmon"],
            here / "salmon_index.log",
        )
        transcripts = pd.read_csv(here / "t2g.txt", sep="\t", header=None)[[0, 1]]
        transcripts.to_csv(here / "tgmap.tsv", sep="\t", header=False, index=False)
        count = [
            "salmon", "alevin", "-l", "ISR", "--chromiumV3", "-p", THREADS, "-i", here / "salmon",
            "--tgMap", here / "tgmap.tsv", "-o", here / "alevin", "-1", *pairs["r1"], "-2", *pairs["r2"],
        ]  # fmt: skip
        try:
            full = ["--dumpMtx", "--expectCells", CELLS]
            costs = again(given.times, [*count, *full], here / "alevin")
            alevin = here / "alevin/alevin"
            (alevin / "matrix.mtx").write_bytes(
                igzip.decompress((alevin / "quants_mat.mtx.gz").read_bytes())
            )
            counts = matrix_counts(
                alevin, "matrix.mtx", "quants_mat_rows.txt", "quants_mat_cols.txt", car
            )
            found["alevin"] = tool(costs, built, judged(counts, rule(counts), study, cells))
        except Failed as failure:
            # Debian's salmon 1.10.1 does not get through; its mapping alone does.
            costs = again(given.times, [*count, "--sketch"], here / "alevin")
            name = f"alevin: exit {failure.code}; its `--sketch`, which maps without counting"
            found[name] = tool(costs, built, {})
    return found


def again(times: int, command: list[object], out: Path) -> list[Cost]:
    """Run a command some times, each without the folder it made before."""
    costs = []
    for _ in range(times):
        shutil.rmtree(out, ignore_errors=True)
        costs.append(run(command, out.with_suffix(".log")))
    return costs


def tool(costs: list[Cost], built: Cost, judgement: dict[str, Any]) -> dict[str, Any]:
    """Return a tool's figures."""
    return {
        "walls": [c.wall for c in costs], "cpus": [c.cpu for c in costs], "memory": max(c.memory for c in costs),
        "times": len(costs), "index": built.__dict__, **judgement,
    }  # fmt: skip


def droplets_of(study: Path) -> pd.DataFrame:
    """Return the true droplets of the sample given to the other tools."""
    table = pd.read_csv(study / "truth" / f"{OTHERS_SAMPLE}.droplets.tsv.gz", sep="\t")
    return table.astype({"is_car_t": bool, "partner_is_car_t": bool})


def n_reads_of(study: Path, sample: str) -> float:
    """Return the read pairs of a sample, in millions."""
    return json.loads((study / "truth" / f"{sample}.reads.json").read_text())["total"] / 1e6


def look(folder: Path, study: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Time `carseq quicklook` and the decompression of its files by igzip and rapidgzip, in turn."""
    # It needs no finished run.
    lanes = min(OTHERWISE, made_lanes(study))
    pairs = units(study, lanes)
    files = [path for pair in zip(pairs["r1"], pairs["r2"], strict=True) for path in pair]
    folder.joinpath("look").mkdir(exist_ok=True)
    commands: dict[str, list[object]] = {
        "carseq quicklook": [
            sys.executable, "-m", "carseq", "quicklook", *files, "--construct", FIRST, "--out", folder / "look",
        ]
    }  # fmt: skip
    listed = shlex.join(files)
    if shutil.which("igzip"):
        commands["igzip -d"] = ["sh", "-c", f"for f in {listed}; do igzip -dc $f > /dev/null; done"]
    else:
        # The same library, in the package that carseq has.
        of_python = f"{shlex.quote(sys.executable)} -m isal.igzip -dc"
        commands["igzip -d (python-isal)"] = [
            "sh",
            "-c",
            f"for f in {listed}; do {of_python} $f > /dev/null; done",
        ]
    if shutil.which("rapidgzip"):
        commands["rapidgzip -d, 2 threads"] = [
            "sh",
            "-c",
            f"for f in {listed}; do rapidgzip -P 2 -dc $f > /dev/null; done",
        ]
    costs: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for _ in range(given.times):
        for name, command in commands.items():
            costs[name].append(run(command, folder / "look.log").__dict__)
    return {"reads": n_reads(study, lanes), "costs": costs}


def about() -> str:
    """Say when, on what and with what is measured."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores ({model.group(1) if model else platform.machine()}), "
        f"load {os.getloadavg()[0]:.1f}; carseq {carseq.__version__}, STAR {star_version()}, "
        f"Snakemake {version('snakemake')}, Python {platform.python_version()}."
    )


def save(folder: Path, part: str, figures: dict[str, Any]) -> None:
    """Keep a part's figures, with when and on what they were taken."""
    write_text(json.dumps({"about": about(), **figures}, indent=1) + "\n", folder / f"{part}.json")


def sections_of_results() -> list[str]:
    """Return RESULTS.md, cut before each heading of the second level."""
    return re.split(r"(?m)^(?=## )", RESULTS.read_text())


def read_section(title: str) -> str:
    """Return a section of RESULTS.md; nothing, if it is not there."""
    return next((s for s in sections_of_results() if s.startswith(title)), "")


def write_section(title: str, lines: list[str]) -> None:
    """Put a section into RESULTS.md, in the place of the one that has its title."""
    sections = sections_of_results()
    text = "\n".join(lines).rstrip() + "\n\n"
    at = [i for i, section in enumerate(sections) if section.startswith(title)]
    sections[at[0] if at else len(sections) : at[0] + 1 if at else len(sections)] = [text]
    write_text(
        "".join(s if s.endswith("\n\n") else s.rstrip() + "\n\n" for s in sections).rstrip() + "\n",
        RESULTS,
    )


def spread(values: list[float]) -> str:
    """Return the median, and the range where there is one."""
    if len(values) == 1:
        return f"{values[0]:.0f} (once)"
    return f"{np.median(values):.1f} ({min(values):.1f}-{max(values):.1f}, {len(values)} runs)"


def met(value: float, target: float) -> str:
    """Hold a figure against the most it may be."""
    return (
        f"{value:.3g}, asked for {target:g} at most: {'met' if value <= target else '**missed**'}"
    )


def scaling_lines(figures: dict[str, Any]) -> list[str]:
    """Return the table of the whole workflow against STARsolo."""
    table = by_size(figures["rows"])
    lines = [
        "### The whole workflow against STARsolo alone", "",
        f"{figures['about']} Three samples of {CELLS:,} cells, from FASTQ and genome to report and notebooks, with as many jobs as `carseq run` starts (`--cores {JOBS}`), but without its check before; STARsolo with "
        "the same options, index and threads as `rule align`, but reads by `zcat` and STAR's own `seedPerWindowNmax`, sample after sample, in turn with the workflow. Medians where there is more than one run.", "",
        "| million read pairs | runs | workflow: s | CPU s | GB | STARsolo: s | CPU s | GB | ratio | of the workflow, align: s | molecules there after, s | load, the larger of start and end |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in table.itertuples():
        lines.append(
            f"| {row.reads:.1f} | {row.runs} | {row.workflow_wall:.0f} | {row.workflow_cpu:.0f} | {row.workflow_memory:.2f} "
            f"| {row.starsolo_wall:.0f} | {row.starsolo_cpu:.0f} | {row.starsolo_memory:.2f} | {row.workflow_wall / row.starsolo_wall:.2f} "
            f"| {row.align:.0f} | {row.to_molecules:.0f} | {row.load:.1f} |"
        )  # fmt: skip
    if len(table) > 1:
        fit = {
            (who, what): np.polyfit(table["reads"], table[f"{who}_{what}"], 1)
            for who in ("workflow", "starsolo")
            for what in ("wall", "cpu")
        }
        slopes = {key: line[0] for key, line in fit.items()}
        lines += [
            "",
            f"On a straight line: workflow {fit['workflow', 'wall'][1]:.0f} s + {slopes['workflow', 'wall']:.1f} s a million reads, STARsolo "
            f"{fit['starsolo', 'wall'][1]:.0f} s + {slopes['starsolo', 'wall']:.1f} s. Slopes, workflow to STARsolo: "
            f"{met(slopes['workflow', 'wall'] / slopes['starsolo', 'wall'], 0.8)} (CPU: {slopes['workflow', 'cpu'] / slopes['starsolo', 'cpu']:.3g}). "
            f"Fixed part: {met(fit['workflow', 'wall'][1], 75)} (CPU: {fit['workflow', 'cpu'][1]:.0f} s).",
        ]
    if (cold := figures.get("cold")) and cold["lanes"] in table.index:
        usual = table.loc[cold["lanes"]]
        lines += [
            "",
            f"Not among these: the first run of all, {cold['wall']:.0f} s for {usual['reads']:.1f} million, {cold['wall'] - usual['workflow_wall']:.0f} s more "
            "than later ones. In a new environment it compiles what numba then keeps, and reads the packages from the disk.",
        ]
    return lines


def otherwise_lines(
    figures: dict[str, Any], first: dict[str, Any], setting: str, counting: str, slope: float
) -> list[str]:
    """Return the table of the workflow with another `solo` section beside STARsolo and the workflow as it is.

    ``counting`` is the rule that counts, ``slope`` the most that each million reads may take of STARsolo's time.
    """
    runs = by_size(first["rows"])
    rows = sorted(figures["rows"], key=lambda row: row["lanes"])
    programs = "".join(
        f" {name} {version}." for name, version in figures.get("programs", {}).items()
    )
    lines = [
        f"### `{setting}`", "",
        f"{figures['about']}{programs} The same reads and jobs, to report and notebooks; STARsolo and the workflow as it is as above. Largest "
        "process of the whole run. Same: of what either of the two workflows found, the share that both did; calls, of all cells of both; correlation of the "
        "sums by cell and by gene, in the cells of both.", "",
        f"| million read pairs | workflow: s | CPU s | GB | {counting}: s | search: s | as it is: s | STARsolo: s | cells the same | CAR molecules the same | calls the same | positive in both | cell sums, r | gene sums, r |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for row in rows:
        star, same, cost = runs.loc[row["lanes"]], row["agreement"], row["workflow"]
        lines.append(
            f"| {row['reads']:.1f} | {cost['wall']:.0f} | {cost['cpu']:.0f} | {cost['memory']:.2f} | {row['rules'][counting]:.0f} | {row['rules']['search']:.0f} "
            f"| {star.workflow_wall:.0f} | {star.starsolo_wall:.0f} | {same['cells']:.4f} | {same['molecules']:.4f} of {same['n_molecules']} | {same['calls']:.4f} "
            f"| {same['positive']:.4f} of {same['n_positive']} | {same['cell_sums']:.5f} | {same['gene_sums']:.5f} |"
        )  # fmt: skip
    if len(rows) > 1:
        reads = [row["reads"] for row in rows]
        star = runs.loc[[row["lanes"] for row in rows]]
        slopes = {
            what: (
                np.polyfit(reads, [row["workflow"][what] for row in rows], 1),
                np.polyfit(reads, star[f"starsolo_{what}"], 1),
            )
            for what in ("wall", "cpu")
        }
        ratio = {what: own[0] / bare[0] for what, (own, bare) in slopes.items()}
        lines += [
            "",
            f"On a straight line: {slopes['wall'][0][1]:.0f} s + {slopes['wall'][0][0]:.1f} s a million reads; STARsolo {slopes['wall'][1][0]:.1f} s. Slope to "
            f"STARsolo's: {met(ratio['wall'], slope)} (CPU: {ratio['cpu']:.3g}). Fixed part: {met(slopes['wall'][0][1], 75)}.",
        ]
    return lines


def second_lines(figures: dict[str, Any], first: dict[str, Any]) -> list[str]:
    """Return what a second construct and a further sample cost."""
    runs = by_size(first["rows"])

    def listed(jobs: dict[str, int]) -> str:
        return ", ".join(f"{n} {rule}" if n > 1 else rule for rule, n in jobs.items())

    lines = ["### A second construct, and a further sample", ""]
    for row in figures["rows"]:
        run = runs.loc[row["lanes"]]
        walls = [cost["wall"] for cost in row["costs"]]
        lines += [
            f"{row['about']} `{SECOND}` on the finished study of {run['reads']:.1f} million reads, which were aligned with `{FIRST}` (`reuse`): "
            f"{spread(walls)} s to report and notebooks, of {run['workflow_wall']:.0f} s: {met(float(np.median(walls)) / run['workflow_wall'], 0.1)}.",
            "",
        ]  # fmt: skip
    return [
        *lines,
        f"Jobs: {listed(figures['rows'][-1]['jobs'])}.", "",
        "A fourth sample added to the sheets of the finished run of three: nothing is aligned, counted or searched again for the others. Jobs: "
        f"{listed(figures['sample_jobs'])}.",
    ]  # fmt: skip


def bam_lines(figures: dict[str, Any], first: dict[str, Any]) -> list[str]:
    """Return what molecules cost from a BAM."""
    walls = [cost["wall"] for cost in figures["costs"]]
    run = by_size(first["rows"]).loc[figures["lanes"]]
    return [
        "### From an existing BAM", "",
        f"{figures['about']} BAMs of {run['reads']:.1f} million reads to the molecules: {spread(walls)} s; from FASTQ, in the run above, "
        f"{run['to_molecules']:.0f} s. Ratio {met(float(np.median(walls)) / run['to_molecules'], 0.1)}. The tables "
        f"({', '.join(map(str, figures['molecules']))} molecules) are the same.",
    ]  # fmt: skip


def others_lines(figures: dict[str, Any]) -> list[str]:
    """Return the table of carseq, kb-python and alevin."""
    lines = [
        "### Beside kb-python and alevin", "",
        f"{figures['about']} {OTHERS_SAMPLE}, {figures['reads']:.1f} million read pairs, the same genome, annotation and CAR transcript. carseq: its rules "
        "align and molecules, a BAM included, as the workflow ran them; its calls take it to the end. CAR molecules: found, missed and too many, "
        f"barcode by barcode, in the {figures['cells']:,} cells that carseq keeps. The others' rule: a cell with a CAR UMI is a CAR T cell. Truth: "
        f"{figures['carseq']['true']} CAR T cells and the CAR molecules of the library, of which these reads are a part; doublets with a CAR T cell count.", "",
        "| | wall, s | CPU s | GB | index, s | CAR molecules found | missed | too many | calls | precision | recall |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip

    def row(name: str, costs: str, of: dict[str, Any], calls: dict[str, Any]) -> str:
        if "found" not in of:
            return f"| {name} | {costs} | | | | | | |"
        return (
            f"| {name} | {costs} | {of['found']} | {of['missed']} | {of['extra']} "
            f"| {calls['calls']} | {calls['precision']:.3f} | {calls['recall']:.3f} |"
        )

    for name, of in figures.items():
        if not isinstance(of, dict):
            continue
        costs = " | | |" if "walls" not in of else (
            f"{spread(of['walls'])} | {np.median(of['cpus']):.0f} | {of['memory']:.2f} | {of['index']['wall']:.0f}"
            if "index" in of
            else f"{spread(of['walls'])} | {np.median(of['cpus']):.0f} | {of['memory']:.2f} | "
        )  # fmt: skip
        lines.append(row(name, costs, of, of))
        if "naive" in of:
            lines.append(row("carseq's molecules, CAR >= 1 UMI", " | | | ", of, of["naive"]))
    return lines


def look_lines(figures: dict[str, Any]) -> list[str]:
    """Return the quick look against decompression."""
    lines = [
        "### The quick look", "",
        f"{figures['about']} {figures['reads']:.1f} million read pairs, in turn, {len(next(iter(figures['costs'].values())))} times; the command line, imports included.", "",
        "| | s | CPU s | GB |", "|---|---|---|---|",
    ]  # fmt: skip
    middle = {}
    for name, costs in figures["costs"].items():
        walls = [cost["wall"] for cost in costs]
        middle[name] = float(np.median(walls))
        memory = max(cost["memory"] for cost in costs)
        lines.append(
            f"| {name} | {spread(walls)} | {np.median([c['cpu'] for c in costs]):.1f} | {memory:.2f} |"
        )
    for name, seconds in middle.items():
        if name != "carseq quicklook":
            lines += [
                "",
                f"Quick look to `{name}`: {met(middle['carseq quicklook'] / seconds, 1.5)}.",
            ]
    return lines


def report(folder: Path) -> list[str]:
    """Return the section, as lines of Markdown, of the parts that were measured."""
    got = {
        p: json.loads((folder / f"{p}.json").read_text())
        for p in PARTS
        if (folder / f"{p}.json").exists()
    }
    blocks = [[TITLE]]
    if "scaling" in got:
        blocks.append(scaling_lines(got["scaling"]))
    for part, setting, counting, slope in (
        ("searched", "solo.evidence: fastq", "align", 0.8),
        ("engine", "solo.aligner: kallisto", "count", 0.5),
    ):
        if {"scaling", part} <= set(got):
            lines = otherwise_lines(got[part], got["scaling"], setting, counting, slope)
            blocks.append(lines)
    if {"scaling", "second"} <= set(got):
        blocks.append(second_lines(got["second"], got["scaling"]))
    if {"scaling", "bam"} <= set(got):
        blocks.append(bam_lines(got["bam"], got["scaling"]))
    if "others" in got:
        blocks.append(others_lines(got["others"]))
    if "look" in got:
        blocks.append(look_lines(got["look"]))
    return "\n\n".join("\n".join(block) for block in blocks).split("\n")


PARTS = {
    "scaling": scaling,
    "searched": searched,
    "engine": engine,
    "second": second,
    "bam": bam,
    "others": others,
    "look": look,
}


def main() -> None:
    """Measure what is asked for and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument(
        "--to", type=Path, default=Path("bench"), help="folder that keeps reads, runs and figures"
    )
    parser.add_argument("--kb", help="kb of kb-python, in an environment of its own")
    parser.add_argument("--times", type=int, default=5, help="repeats of what is short")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="lanes of 20, a million read pairs each"
    )
    parser.add_argument(
        "--add", action="store_true", help="scaling: further runs beside those that FOLDER has"
    )
    parser.add_argument(
        "--lanes",
        type=int,
        default=LANES,
        help="lanes simulated, 9 or more: sizes up to this many",
    )
    parser.add_argument(
        "--no-cold", action="store_true", help="scaling: without the first run that does not count"
    )
    parser.add_argument("--cells", type=int, default=CELLS, help="cells of a sample")
    parser.add_argument("--compare", type=Path, nargs=2, metavar="RESULTS")
    given = parser.parse_args()
    if given.compare:
        print(json.dumps(agreement(*given.compare), indent=1))
        return
    folder = given.to.resolve()
    study = make_study(folder, given.cells, given.lanes)
    for part in given.parts or PARTS:
        print(f"{datetime.now(UTC):%H:%M} {part}", flush=True)
        save(folder, part, PARTS[part](folder, study, given))
    write_section(TITLE, report(folder))


if __name__ == "__main__":
    main()
