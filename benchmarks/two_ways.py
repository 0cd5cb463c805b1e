"""One simulated study run in several ways, to its verdicts: what is the same?

    python benchmarks/two_ways.py [--chemistry 10x_5p_v2] [--cells 150] [--seed 52] [--to FOLDER] [--ways kallisto observed]

Each way is held against STAR with the known barcode list. `kallisto`: `solo.aligner: kallisto`. `observed`: barcodes learnt
from the reads (`whitelist: observed`). Cells are not integrated. `--seed` should be one that settled no constant. FOLDER
keeps study and runs. Some ten minutes of CPU time at 150 cells a sample.
"""

# The table's lines are long.
# ruff: noqa: E501

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from speed import agreement, units, workflow, write_run

from carseq.simulate import demo_samples, simulate_study
from carseq.simulate.molecules import Protocol

WAYS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "listed": ({}, {}),
    "kallisto": ({"solo": {"aligner": "kallisto"}}, {}),
    "observed": ({}, {"whitelist": "observed"}),
}
WANTED = ("results/cohort/detection.tsv", "results/cohort/cells.h5ad")


def verdicts(results: Path) -> dict[str, str]:
    """Return the verdict of each sample."""
    table = pd.read_csv(results / "cohort/detection.tsv", sep="\t", comment="#")
    return dict(zip(table["sample"].astype(str), table["verdict"].astype(str), strict=True))


def main() -> None:
    """Print a row a way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--chemistry", default="10x_5p_v2")
    parser.add_argument("--cells", type=int, default=150)
    parser.add_argument("--seed", type=int, default=52)
    parser.add_argument("--ways", nargs="+", default=["kallisto", "observed"], choices=list(WAYS))
    parser.add_argument("--to", type=Path, help="folder that keeps study and runs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.to or Path(scratch)
        study = folder / "study"
        if not (study / "config.yaml").exists():
            simulate_study(
                study, construct="hbi0101_surrogate_native", chemistry=given.chemistry, samples=demo_samples(cells=given.cells),
                protocol=Protocol(reads_per_molecule=1.5), lanes=1, seed=given.seed, threads=2,
            )  # fmt: skip
        sheet = pd.read_csv(study / "samples.tsv", sep="\t").assign(chemistry=given.chemistry)
        rows = []
        for name in ("listed", *given.ways):
            sections, columns = WAYS[name]
            here = folder / name
            write_run(
                study, here, sheet.assign(**columns), units(study, 1), cells={"integration": "none"}, **sections
            )  # fmt: skip
            cost, _ = workflow(here, "--", *WANTED)
            same = verdicts(folder / "listed/results") == verdicts(here / "results")
            found = agreement(folder / "listed/results", here / "results")
            rows.append(
                {
                    "way": name,
                    "CPU s": round(cost.cpu),
                    **found,
                    "verdicts": "same" if same else "others",
                }
            )
            print(rows[-1], flush=True)
    print(pd.DataFrame(rows).round(5).to_markdown(index=False))


if __name__ == "__main__":
    main()
