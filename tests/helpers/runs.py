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
import yaml

from carseq.io.files import read_table
from carseq.schema.results import FILES
from carseq.schema.tables import DETECTION, MOLECULES

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
        # Jobs' scripts are kept, so that jobs can be run again under faults.
        "--configfile", str(folder / config), "--cores", "2", "--skip-script-cleanup", *words,
    ]  # fmt: skip
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
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


def count_otherwise(
    finished: Finished, folder: Path, sample: str, solo: dict[str, str], star_index: str | None
) -> None:
    """Count a sample of a finished study with another `solo` section; what does not depend on it is the study's.

    ``star_index`` is a folder of the study; None: an index is made.
    """
    config = yaml.safe_load((finished.folder / "config.yaml").read_text())
    config["reference"] |= {"star_index": star_index}
    for section, keys in (
        (config["construct"], ("file",)),
        (config["reference"], ("fasta", "gtf", "star_index")),
        (config, ("samples", "units")),
    ):
        section |= {k: str(finished.folder / section[k]) for k in keys if section.get(k)}
    config["solo"] = solo
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    same = ("checked", "car_checked", "strand_panel", "transcript", "construct_gtf", "construct_json", "rivals", "loci",
            "chemistry", "library")  # fmt: skip
    for path in (FILES[name].at("results", sample=sample) for name in same):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(finished.folder / path, folder / path)
    wanted = [FILES[name].at("results", sample=sample) for name in ("raw", "versions")]
    run(folder, "--rerun-triggers", "mtime", "--", *wanted)


def pair(finished: Finished, folder: Path, sample: str, name: str) -> tuple[Path, Path]:
    """Return a result of a sample in a finished study, and in the folder that counted it otherwise."""
    path = FILES[name].at("results", sample=sample)
    return finished.folder / path, folder / path


def check_molecules(finished: Finished, folder: Path, sample: str, least: int) -> None:
    """Check that 98 % of the CAR molecules are the same, of the same evidence, and that the CAR's row holds them."""
    aligned, ours = (
        read_table(path, MOLECULES) for path in pair(finished, folder, sample, "molecules")
    )
    keys = [set(zip(t["barcode"], t["umi"], t["evidence"], strict=True)) for t in (aligned, ours)]
    assert len(keys[0]) >= least
    assert len(keys[0] & keys[1]) >= 0.98 * len(keys[0] | keys[1])
    raw = anndata.read_h5ad(pair(finished, folder, sample, "raw")[1])
    row = pd.Series(raw[:, CAR].X.toarray().ravel(), index=raw.obs_names)
    told = ours.loc[ours["p_car"] >= 0.5, "barcode"].value_counts()
    assert row[row > 0].sort_index().to_dict() == told.sort_index().to_dict()
