"""The CAR inserted into a STAR index, against an index rebuilt with it: time, memory, and whether they are equal.

usage: python benchmarks/insertion.py [MEGABASES ...]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from carseq.construct import load_construct, write_construct
from carseq.data import path as data_path

THREADS = 2
EQUAL = (
    "Genome",
    "SA",
    "SAindex",
    "geneInfo.tab",
    "exonInfo.tab",
    "transcriptInfo.tab",
    "chrName.txt",
    "chrStart.txt",
)


def write_genome(folder: Path, megabases: int) -> None:
    """Write a random genome of 5-Mb contigs with 60 genes of four exons per Mb."""
    rng = np.random.default_rng(megabases)
    size = 5_000_000
    with (folder / "genome.fa").open("w") as fasta, (folder / "genes.gtf").open("w") as gtf:
        for contig in range(max(1, megabases // 5)):
            sequence = rng.choice(np.frombuffer(b"ACGT", dtype=np.uint8), size).tobytes().decode()
            fasta.write(
                f">chr{contig + 1}\n"
                + "\n".join(sequence[i : i + 100] for i in range(0, size, 100))
                + "\n"
            )
            for gene in range(300):
                start = 1000 + gene * 16_500
                name = f"G{contig}_{gene}"
                for exon in range(4):
                    first = start + exon * 3000
                    attributes = f'gene_id "{name}"; transcript_id "{name}.1"; gene_name "{name}";'
                    gtf.write(
                        f"chr{contig + 1}\tsim\texon\t{first}\t{first + 400}\t.\t+\t.\t{attributes}\n"
                    )


def measured(code: str) -> tuple[float, float]:
    """Run Python code in a process of its own; return its seconds and its children's peak memory (GB)."""
    probe = (
        f"{code}\nimport resource\n"
        "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6)"
    )
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, float(done.stdout.split("PEAK")[1])


def main(sizes: list[int]) -> None:
    """Print a row a genome."""
    print(
        "| genome, Mb | rebuild, s | insert, s | ratio | rebuild, GB | insert, GB | ratio | equal |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for megabases in sizes:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
            folder = Path(name)
            write_genome(folder, megabases)
            car = load_construct(
                data_path("constructs/hbi0101_surrogate_native.gb"), name="HBI0101"
            )
            write_construct(car, folder)
            whole = (folder / "genome.fa").read_text() + (folder / "construct.fa").read_text()
            (folder / "with_car.fa").write_text(whole)
            (folder / "with_car.gtf").write_text(
                (folder / "genes.gtf").read_text() + (folder / "construct.gtf").read_text()
            )
            build = "from carseq.reference import build_index, insert_car\n"
            f = f"{folder}/"
            measured(
                f"{build}build_index('{f}genome.fa', '{f}genes.gtf', '{f}base', threads={THREADS})"
            )
            again = measured(
                f"{build}build_index('{f}with_car.fa', '{f}with_car.gtf', '{f}rebuilt', threads={THREADS})"
            )
            inserted = measured(
                f"{build}insert_car('{f}base', '{f}construct.fa', '{f}with_car.gtf', '{f}inserted', threads={THREADS})"
            )
            same = [
                (folder / "rebuilt" / n).read_bytes() == (folder / "inserted" / n).read_bytes()
                for n in EQUAL
            ]
            print(
                f"| {megabases} | {again[0]:.0f} | {inserted[0]:.0f} | {inserted[0] / again[0]:.2f} "
                f"| {again[1]:.2f} | {inserted[1]:.2f} | {inserted[1] / again[1]:.2f} "
                f"| {'yes' if all(same) else ', '.join(n for n, s in zip(EQUAL, same, strict=True) if not s)} |",
                flush=True,
            )


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [10, 30, 100])
