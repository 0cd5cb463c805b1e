"""The same inputs give the same bytes: on one core and two, in another folder, samples and lanes in another order.

`python tests/faults/determinism.py` simulates a small study, runs it twice (some five minutes), and prints for each
kind of file how many are equal byte by byte, equal in what they hold (an HDF5 or BAM file's parts), equal but for the
order of the samples' rows, which is the sheet's, and different. With `--samples` their order differs too.

The second run has one core, lies in another folder, and its sheet names the lanes in the opposite order.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import torture

#: What differs from run to run, and why; docs/torture.md says so too.
NAMED = {
    "logs": "times, folders",
    "benchmarks": "times",
    "report/run_times.tsv": "times",
    "reference/base/Log.out": "STAR's own log: times",
    "reference/base/genomeParameters.txt": "STAR's own record of its command line: threads",
    "reference/augmented/genomeParameters.txt": "STAR's own record of its command line: threads",
    "solo/Log.final.out": "STAR's own log: times",
    "solo/aligned.bam.bai": "places of blocks in a BAM whose header names the threads",
    ".snakemake_timestamp": "Snakemake's mark",
}
DAY = "1700000000"


def reversed_sheets(study: Path, *names: str) -> None:
    """Turn the order of the rows of sheets round."""
    for sheet in names:
        head, *rows = (study / sheet).read_text().splitlines(keepends=True)
        (study / sheet).write_text("".join([head, *reversed(rows)]))


def run(study: Path, cores: int) -> None:
    command = torture.snakemake_command(study)
    command[command.index("--cores") + 1] = str(cores)
    environment = {**os.environ, "SOURCE_DATE_EPOCH": DAY}
    environment["PYTHONPATH"] = str(torture.ROOT / "src")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])


def two_studies(folder: Path, n_cells: int, *sheets: str) -> tuple[Path, Path]:
    """Simulate a study, copy it, and run both."""
    first, second = folder / "one" / "study", folder / "another place" / "below" / "study"
    torture.simulate(first, n_cells)
    second.parent.mkdir(parents=True)
    shutil.copytree(first, second)
    reversed_sheets(second, *sheets)
    run(first, 2)
    run(second, 1)
    return first / "results", second / "results"


def verdict(one: Path, other: Path) -> str:
    """Return how two files of the same name compare."""
    left, right = one.read_bytes(), other.read_bytes()
    if left == right:
        return "same bytes"
    if one.suffix in (".bam", ".h5ad") and torture.same(one, other):
        return "same parts"
    if one.name == "ro-crate-metadata.json" and _entries(one) == _entries(other):
        return "same parts"
    if one.suffix in (".tsv", ".json", ".md", ".yaml", ".html", ".ipynb", ".gz"):
        if one.suffix == ".gz":
            import gzip

            left, right = gzip.decompress(left), gzip.decompress(right)
        pieces = [sorted(re.split(rb"[\s,]+", content)) for content in (left, right)]
        if pieces[0] == pieces[1]:
            return "same but for the order"
    return "different"


def _named(name: str) -> bool:
    return any(name.startswith(known) or name.endswith(known) for known in NAMED)


def _entries(manifest: Path) -> list[str]:
    """Return what a manifest says of files, without checksums of those that differ, and without the inputs."""
    graph = json.loads(manifest.read_text())["@graph"]
    kept = [e for e in graph if not e["@id"].startswith("#input/")]
    other = [e["@id"] for e in kept if _named(e["@id"]) or e["@id"].endswith("aligned.bam")]
    return sorted(json.dumps(e, sort_keys=True) for e in kept if e["@id"] not in other) + other


def compare(one: Path, other: Path) -> dict[str, list[tuple[str, str]]]:
    """Return, by verdict, the files of two results folders: (kind, name)."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    names = {
        str(p.relative_to(root))
        for root in (one, other)
        for p in root.rglob("*")
        if p.is_file() and not any(x.startswith(".") for x in p.relative_to(root).parts)
    }
    for name in sorted(names):
        kind = "".join(Path(name).suffixes[-2:]) or Path(name).name
        if _named(name):
            found["named as different"].append((kind, name))
        elif not (one / name).exists() or not (other / name).exists():
            found["different"].append((kind, name))
        else:
            found[verdict(one / name, other / name)].append((kind, name))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--cells", type=int, default=24, help="cells of a sample, about")
    parser.add_argument("--samples", action="store_true", help="samples in another order too")
    parser.add_argument("--keep", type=Path, help="folder that keeps both studies")
    parser.add_argument(
        "--compare", nargs=2, type=Path, help="two results folders that are there already"
    )
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="carseq_twice_") as scratch:
        if words.compare:
            one, other = words.compare
        else:
            sheets = ("units.tsv", "samples.tsv") if words.samples else ("units.tsv",)
            one, other = two_studies(words.keep or Path(scratch), words.cells, *sheets)
        found = compare(one, other)
        for told, files in found.items():
            kinds = Counter(kind for kind, _ in files)
            print(f"{told}: {len(files)} ({', '.join(f'{k} {n}' for k, n in kinds.most_common())})")
        for told in ("same but for the order", "different"):
            for _, name in found[told]:
                print(f"  {told}: {name}")
    sys.exit(bool(found["different"]))


if __name__ == "__main__":
    main()
