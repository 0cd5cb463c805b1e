"""Runs of the whole workflow, for tests, and what a finished one holds."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import anndata
import pandas as pd
import pytest

from carseq.io.files import read_table
from carseq.schema.tables import (
    DETECTION,
)

ROOT = Path(__file__).parents[2]
CAR = "HBI0101"
#: Of the demo: samples of a 5' library, one that holds no cell, and the folder of the index it is given.
FIVE_PRIME = ("P02_urine_D0", "P02_urine_D28", "P02_product")
VOID = "P03_urine_D0"
INDEX = "given_index"
#: For ``pytestmark``: the tests of a file run Snakemake and STAR.
WORKFLOW = [
    pytest.mark.workflow,
    pytest.mark.skipif(
        shutil.which("STAR") is None, reason="STAR is not on PATH (make setup installs it)"
    ),
]


def snakemake(
    folder: Path, *words: str, config: str = "config.yaml"
) -> subprocess.CompletedProcess[str]:
    """Run the workflow in ``folder``."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
        "--configfile", str(folder / config), "--cores", "2", *words,
    ]  # fmt: skip
    hook = str(ROOT / "tests" / "faults" / "hook")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        # What each job was given is kept, so that jobs can be run again under faults.
        "PYTHONPATH": os.pathsep.join(filter(None, [hook, os.environ.get("PYTHONPATH")])),
        "CARSEQ_TEST_JOBS": str(folder / ".jobs"),
    }
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


#: All but notebooks and exports, which the demo makes.
TO_THE_REPORT = ("results/report/report.html", "results/report/run_times.tsv")


def run(folder: Path, *words: str) -> str:
    done = snakemake(folder, *words)
    assert done.returncode == 0, done.stderr[-6000:]
    return done.stderr


def head_of(source: Path, target: Path, n_reads: int) -> None:
    """Write the first reads of a gzipped FASTQ file."""
    with gzip.open(source, "rt") as reads, gzip.open(target, "wt", compresslevel=1) as out:
        out.writelines(islice(reads, 4 * n_reads))


@dataclass
class Finished:
    """A finished study, its results and its truth."""

    folder: Path

    def __post_init__(self) -> None:
        self.results = self.folder / "results"
        self.cohort = anndata.read_h5ad(self.results / "cohort/cells.h5ad")
        self.detection = read_table(self.results / "cohort/detection.tsv", DETECTION).set_index(
            "sample"
        )
        #: Those of known truth, and of these the ones of a 3' library.
        self.samples = [name for name in self.detection.index if name != VOID]
        self.three_prime = [name for name in self.samples if name not in FIVE_PRIME]

    def truth(self, sample: str) -> pd.DataFrame:
        table = pd.read_csv(
            self.folder / f"truth/{sample}.droplets.tsv.gz",
            sep="\t",
            index_col="barcode",
            keep_default_na=False,
        )
        return table[table["kind"] != "empty"]

    def cells(self, sample: str) -> pd.DataFrame:
        obs = self.cohort.obs
        return obs[obs["sample"] == sample].set_index("barcode")

    def called_barcodes(self, sample: str) -> set[str]:
        table = read_table(self.results / f"samples/{sample}/cells/barcodes.tsv.gz")
        return set(table.loc[table["is_cell"].astype(bool), "barcode"])

    def car_calls(self, samples: Sequence[str]) -> tuple[int, int, int, int]:
        """Return, of samples, positive calls, true ones among them, cells with an own CAR molecule, found ones."""
        n_positive = n_true = n_own = n_found = 0
        for sample in samples:
            truth, cells = self.truth(sample), self.cells(sample)
            positive = set(cells.index[cells["car_call"] == "positive"])
            car_t = truth["is_car_t"].astype(str) == "True"
            own = set(truth.index[car_t & (truth["n_car_own"] > 0)])
            n_positive += len(positive)
            n_true += len(positive & set(truth.index[car_t]))
            n_own += len(own)
            n_found += len(own & positive)
        return n_positive, n_true, n_own, n_found
