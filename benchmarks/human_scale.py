"""What a human genome asks for: index, insertion and alignment over growing synthetic genomes, carried on to GRCh38.

    python benchmarks/human_scale.py [--sizes 10 30 100] [--to FOLDER]

Each genome is indexed with genomeSAsparseD 1 and 2, the CAR inserted into both, and reads of its exons aligned, by two
threads. Memory is what STAR has resident at most; CPU seconds are those of both threads, which other work on the machine
changes less than the clock. FOLDER keeps what was measured, so that larger genomes can be added; the section "Human
scale" of RESULTS.md is written anew from it, unless the section reaches to larger genomes than that: then it is printed.
"""

# The table's lines are long.
# ruff: noqa: E501

from __future__ import annotations

import argparse
import json
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from insertion import write_genome
from speed import about, read_section, run, write_section

from carseq.construct import load_construct, write_construct
from carseq.data import path as data_path
from carseq.reference.index import SORTING, index_options
from carseq.simulate.genome import complement

TITLE = "## Human scale (`python benchmarks/human_scale.py`)"
THREADS = 2
SPARSE = (1, 2)
#: Reads aligned, twice: the difference has no loading of the index in it.
READS = (20_000, 420_000)
READ_LENGTH = 90
#: GRCh38 (primary assembly, GENCODE): Mb of sequence.
HUMAN = 3100


@dataclass(frozen=True)
class Step:
    """A measured step: wall and CPU seconds, memory (GB)."""

    genome: int
    sparse: int
    step: str
    wall: float
    cpu: float
    memory: float
    disk: float


def write_reads(folder: Path, n: int) -> Path:
    """Write reads from the exons of the genome, a hundredth of the bases wrong."""
    rng = np.random.default_rng(1)
    lines = (folder / "genome.fa").read_bytes().split(b">")[1:]
    contigs = {}
    for block in lines:
        name, _, body = block.partition(b"\n")
        contigs[name.decode()] = np.frombuffer(body.replace(b"\n", b""), dtype=np.uint8)
    gtf = pd.read_csv(folder / "genes.gtf", sep="\t", header=None, usecols=[0, 3, 4])
    chosen = gtf.iloc[rng.integers(0, len(gtf), n)].to_numpy()
    path = folder / f"reads{n}.fq"
    with path.open("wb") as out:
        for number, (contig, first, last) in enumerate(chosen):
            start = int(rng.integers(first - 1, last - READ_LENGTH))
            read = contigs[contig][start : start + READ_LENGTH].copy()
            read[rng.integers(0, READ_LENGTH)] = ord("A")
            if number % 2:
                read = complement(read[::-1])
            out.write(b"@%d\n%s\n+\n%s\n" % (number, read.tobytes(), b"F" * READ_LENGTH))
    return path


def size_of(folder: Path) -> float:
    """Return the size of a folder's files, GB."""
    return sum(f.stat().st_size for f in folder.iterdir()) / 1e9


def limit(megabases: int, sparse: int) -> int:
    """Return the memory in which STAR is told to sort the suffixes, as ``rule star_index`` does, bytes."""
    return int(SORTING * ((6 + 8.5 / sparse) * megabases + 500) * 1e6)


def measure(folder: Path, megabases: int) -> list[Step]:
    """Index, insert and align over one genome."""
    write_genome(folder, megabases)
    car = load_construct(data_path("constructs/hbi0101_surrogate_native.gb"), name="HBI0101")
    write_construct(car, folder)
    (folder / "with_car.gtf").write_text(
        (folder / "genes.gtf").read_text() + (folder / "construct.gtf").read_text()
    )
    genome = {f"chr{i}": 5_000_000 for i in range(max(1, megabases // 5))}
    steps = []

    def star(step: str, sparse: int, made: Path | None, **options: object) -> Step:
        words = [
            word
            for k, v in options.items()
            for word in (f"--{k}", *(v if isinstance(v, list) else [v]))
        ]
        scratch = folder / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        command = ["STAR", "--runThreadN", THREADS, "--outFileNamePrefix", f"{scratch}/", *words]
        cost = run(command, folder / "star.log")
        disk = size_of(made) if made else 0.0
        return Step(megabases, sparse, step, cost.wall, cost.cpu, cost.memory, disk)

    for sparse in SPARSE:
        index = folder / f"index{sparse}"
        steps.append(
            star(
                "index", sparse, index, runMode="genomeGenerate", genomeDir=index, genomeFastaFiles=folder / "genome.fa",
                sjdbGTFfile=folder / "genes.gtf", sjdbOverhang=99, genomeSAsparseD=sparse,
                limitGenomeGenerateRAM=limit(megabases, sparse), **index_options(genome),
            )
        )  # fmt: skip
        few, many = (write_reads(folder, n) for n in READS)
        with_car = {
            "genomeFastaFiles": folder / "construct.fa", "sjdbGTFfile": folder / "with_car.gtf",
            "sjdbOverhang": 99, "genomeDir": index, "outSAMtype": "None",
        }  # fmt: skip
        steps.append(
            star("insert", sparse, None, readFilesIn=few, sjdbInsertSave="All", **with_car)
        )
        given = {
            "genomeDir": index,
            "outSAMtype": ["BAM", "SortedByCoordinate"],
            "limitBAMsortRAM": 2_000_000_000,
        }
        short = star("align", sparse, None, readFilesIn=few, **given)
        long = star("align", sparse, None, readFilesIn=many, **given)
        reads = READS[1] - READS[0]
        million = 1e6 / reads
        steps += [
            Step(megabases, sparse, "load", short.wall, short.cpu, short.memory, 0.0),
            Step(megabases, sparse, "align", (long.wall - short.wall) * million, (long.cpu - short.cpu) * million, long.memory, 0.0),
        ]  # fmt: skip
        shutil.rmtree(index)
        print("\n".join(map(str, steps[-4:])), flush=True)
    return steps


def line(table: pd.DataFrame, column: str) -> tuple[float, float]:
    """Return slope (a Mb) and intercept of a figure over the genome's size."""
    slope, intercept = np.polyfit(table["genome"], table[column], 1)
    return float(slope), float(intercept)


def report(figures: pd.DataFrame, stamp: str) -> list[str]:
    """Return the section, as lines of Markdown."""
    lines = [
        TITLE, "",
        f"{stamp} STAR on random genomes with 60 genes a Mb, two threads, once each; STAR was told to sort the suffixes in the memory "
        "that `rule star_index` gives it. The last rows carry memory, disk and CPU on along a straight line: for the order of magnitude.", "",
        "| genome, Mb | `sa_sparse` | index: CPU min | GB of memory | GB on disk | insertion: CPU min | GB | alignment: GB | CPU s a million reads |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip

    def row(name: str, sparse: int, at: dict[str, dict[str, float]], speed: str) -> str:
        return (
            f"| {name} | {sparse} | {at['index']['cpu'] / 60:.1f} | {at['index']['memory']:.2f} | {at['index']['disk']:.2f} "
            f"| {at['insert']['cpu'] / 60:.1f} | {at['insert']['memory']:.2f} | {at['align']['memory']:.2f} | {speed} |"
        )

    human = []
    for sparse, of in figures.groupby("sparse"):
        for genome, rows in of.groupby("genome"):
            at = rows.set_index("step").to_dict("index")
            lines.append(row(str(genome), int(sparse), at, f"{at['align']['cpu']:.0f}"))
        carried: dict[str, dict[str, float]] = {}
        for step, rows in of.groupby("step"):
            carried[step] = {}
            for column in ("cpu", "memory", "disk"):
                slope, intercept = line(rows, column)
                carried[step][column] = slope * HUMAN + intercept
        human.append(row(f"**{HUMAN:,} (GRCh38), on the line**", int(sparse), carried, ""))
    return [*lines, *human, ""]


def recorded() -> int:
    """Return the largest genome, in Mb, that RESULTS.md has; 0 if it has none."""
    rows = re.findall(r"(?m)^\| (\d+) \|", read_section(TITLE))
    return max(map(int, rows), default=0)


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 30, 100], help="Mb")
    parser.add_argument("--to", type=Path, default=Path("bench"), help="folder for the figures")
    given = parser.parse_args()
    given.to.mkdir(parents=True, exist_ok=True)
    file = given.to / "human_scale.json"
    earlier = json.loads(file.read_text())["steps"] if file.exists() else []
    steps = [Step(**step) for step in earlier]
    for size in given.sizes:
        with tempfile.TemporaryDirectory(dir=given.to) as name:
            measured = measure(Path(name), size)
        steps = sorted(
            [*(step for step in steps if step.genome != size), *measured], key=lambda s: s.genome
        )
        kept = {"about": about(), "steps": [step.__dict__ for step in steps]}
        file.write_text(json.dumps(kept, indent=1))
    lines = report(pd.DataFrame([s.__dict__ for s in steps]), about())
    if max(step.genome for step in steps) < recorded():
        # A line to GRCh38 from small genomes is worse than the one on record.
        print(
            "\n".join(lines),
            f"RESULTS.md reaches to {recorded()} Mb and is left as it is",
            sep="\n",
        )
    else:
        write_section(TITLE, lines)


if __name__ == "__main__":
    main()
