"""The disk a study takes: at its peak and at its end, per million read pairs, by what is kept of the alignments.

usage: python benchmarks/disk.py [--cells N] [--to FOLDER]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import yaml

from carseq.library.fastq import count_reads
from carseq.library.geometry import Chemistry
from carseq.simulate import SampleSpec, simulate_study
from carseq.solo import align

ROOT = Path(__file__).parent.parent
#: Seconds between two looks at the folder.
EVERY = 0.25


def part(path: Path) -> str:
    """Return the part of a study's disk that a file below ``results/`` belongs to."""
    if any(name.startswith(".star.") for name in path.parts):
        return "STAR's temporary files"
    if path.parts[0] == "reference":
        return "reference"
    if path.name.startswith("aligned.bam"):
        return "aligned.bam"
    if path.name.startswith("slice.bam"):
        return "slice.bam"
    return "all other results"


def used(folder: Path) -> Counter[str]:
    """Return the bytes on disk below a folder, by part."""
    sizes: Counter[str] = Counter()
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base, name)
            # A running job may have moved or removed it since.
            if path.exists() and not path.is_symlink():
                try:
                    sizes[part(path.relative_to(folder))] += path.stat().st_blocks * 512
                except FileNotFoundError:
                    continue
    return sizes


class Watch:
    """The most that a folder took, but for the reference, while a command ran."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.peak = folder, Counter[str]()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(EVERY):
            now = used(self.folder)
            now.pop("reference", None)
            if now.total() > self.peak.total():
                self.peak = now

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def alignments(study: Path, times: tuple[int, ...] = (1, 2, 4)) -> None:
    """Print the peak of aligning a sample's reads, given once, twice and four times: what is fixed, what grows."""
    index = study / "all" / "reference" / "augmented"
    chemistry = Chemistry.from_json((study / "all/samples/one/solo/chemistry.json").read_text())
    one = [next((study / "fastq").glob(f"one_*_R{read}_*")) for read in (1, 2)]
    n = count_reads(one[0]) / 1e6
    print("\n| M read pairs | peak while aligning, MB | of it temporary | `aligned.bam`, MB |")
    print("|---|---|---|---|")
    for k in times:
        with tempfile.TemporaryDirectory(dir=study) as name:
            out = Path(name)
            with Watch(out) as watch:
                align([tuple(one)] * k, chemistry, index, out, car="HBI0101", threads=2)
            end, peak = used(out)["aligned.bam"], watch.peak
        figures = [peak.total(), peak["STAR's temporary files"], end]
        shown = " | ".join(f"{figure / 1e6:.0f}" for figure in figures)
        print(f"| {n * k:.2f} | {shown} |", flush=True)


def count_pairs(folder: Path) -> int:
    """Return the read pairs of a simulated study."""
    return sum(count_reads(path) for path in (folder / "fastq").glob("*_R1_*"))


def main(cells: int, folder: Path) -> None:
    """Simulate a study of two samples, run it three times, print the table."""
    specs = [SampleSpec(name=name, cells=cells, n_empty=500) for name in ("one", "two")]
    simulate_study(folder, construct="hbi0101_surrogate_native.gb", samples=specs, lanes=1)
    n = count_pairs(folder) / 1e6
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["cells"] = {"integration": "none"}
    given = sum(path.stat().st_size for path in (folder / "fastq").iterdir())
    print(f"{2 * cells} cells, {n:.2f} M read pairs, FASTQ.gz {given / n / 1e6:.0f} MB a million\n")
    head = ("aligned.bam", "slice.bam", "all other results")
    print(
        "| `keep_bam` | peak, MB a million | of it STAR's temporary files | end | "
        + " | ".join(head)
        + " |"
    )
    print("|---" * (4 + len(head)) + "|")
    for keep in ("all", "slice", "none"):
        config["solo"], config["results"] = {"keep_bam": keep}, keep
        (folder / f"{keep}.yaml").write_text(yaml.safe_dump(config))
        command = [
            sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
            "--configfile", str(folder / f"{keep}.yaml"), "--cores", "2",
        ]  # fmt: skip
        with Watch(folder / keep) as watch:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stderr[-3000:])
        time.sleep(2 * EVERY)
        end = used(folder / keep)
        reference = end.pop("reference")
        left = [str(p) for p in (folder / keep).rglob(".*") if p.is_dir()]
        assert not left, f"temporary folders are left: {left}"
        config["reference"]["star_index"] = str(folder / "all" / "reference" / "base")
        peak = watch.peak
        numbers = [
            peak.total(),
            peak["STAR's temporary files"],
            end.total(),
            *(end[name] for name in head),
        ]
        cells_ = " | ".join(f"{number / n / 1e6:.0f}" for number in numbers)
        print(f"| `{keep}` | {cells_} |", flush=True)
        if keep == "all":
            genome = (folder / "genome.fa").stat().st_size
            alone = (
                f"`reference/`, not in these: {reference / genome:.0f} bytes a base of the genome"
            )
    alignments(folder)
    print(
        f"\n{alone} (base index and the one with the CAR; `reference.insertion: each_run` saves the latter)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=300, help="cells of each of two samples")
    parser.add_argument("--to", type=Path, help="folder for the study; else a temporary one")
    given = parser.parse_args()
    if given.to:
        main(given.cells, given.to)
    else:
        name = tempfile.mkdtemp()
        try:
            main(given.cells, Path(name))
        finally:
            shutil.rmtree(name)
