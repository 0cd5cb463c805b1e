"""A BAM with its matrix, a matrix alone, and reads that hold no cell, in one study."""

from __future__ import annotations

import gzip
import random
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import anndata
import pandas as pd
import pytest

from carseq.io.files import read_table
from carseq.library.whitelist import known_whitelist
from carseq.schema.obs import OPTIONAL_OBS
from carseq.schema.tables import (
    DETECTION,
    RECEPTORS,
)
from once import once
from runs import WORKFLOW, Finished, run, snakemake

pytestmark = WORKFLOW
COLUMNS = "sample\tpatient\tcompartment\ttimepoint\tchemistry\tbam\traw_matrix\ttcr\n"


def void_reads(finished: Finished, folder: Path) -> None:
    """Write 2,000 reads of the genome under as many barcodes."""
    rng = random.Random(5)
    genome = (
        (finished.folder / "genome.fa")
        .read_text()
        .split(">")[1]
        .split("\n", 1)[1]
        .replace("\n", "")
    )
    with gzip.open(known_whitelist("10x_version3"), "rt") as stream:
        whitelist = [line.strip() for line in islice(stream, 20_000)]
    with (
        gzip.open(folder / "R1.fastq.gz", "wt") as r1,
        gzip.open(folder / "R2.fastq.gz", "wt") as r2,
    ):
        for i in range(2000):
            start = rng.randrange(len(genome) - 90)
            first = whitelist[i * 7] + "".join(rng.choices("ACGT", k=12))
            r1.write(f"@r{i}\n{first}\n+\n{'F' * 28}\n")
            r2.write(f"@r{i}\n{genome[start : start + 90]}\n+\n{'F' * 90}\n")
    (folder / "units.tsv").write_text("sample\tunit\tr1\tr2\nvoid\t1\tR1.fastq.gz\tR2.fastq.gz\n")


def write_study(finished: Finished, folder: Path) -> None:
    """Write two configurations: without.yaml of the BAM and the matrix, config.yaml of these and the void sample."""
    cells = finished.cells("P01_blood_D28")
    t_cells = cells.index[(cells["lineage"] == "T") & ~cells["is_doublet"]]
    pd.DataFrame(
        {
            "cell_id": t_cells,
            "productive": "T",
            "v_call": "TRBV2",
            "j_call": "TRBJ1-1",
            "junction": "TGTGCCAGCTTC",
            "junction_aa": "CASF",
        }
    ).to_csv(folder / "airr.tsv", sep="\t", index=False)
    void_reads(finished, folder)
    solo, blood = (finished.results / f"samples/P01_{s}_D28/solo" for s in ("urine", "blood"))
    given = (
        f"from_bam\tP1\turine\tD28\t\t{solo}/aligned.bam\t{solo}/raw.h5ad\t\n"
        f"from_matrix\tP1\tblood\tD28\t\t\t{blood}/raw.h5ad\tairr.tsv\n"
    )
    (folder / "given.tsv").write_text(COLUMNS + given)
    void = "void\tP1\turine\tD0\t10x_3p_v3\t\t\t\n"
    (folder / "samples.tsv").write_text(COLUMNS + void + given)
    config = (
        "construct: {file: hbi0101_surrogate_native.gb, name: HBI0101}\n"
        "cells: {integration: none}\n"
        f"reference:\n  fasta: {finished.folder}/genome.fa\n  gtf: {finished.folder}/genes.gtf\n"
    )
    (folder / "given.yaml").write_text(f"samples: given.tsv\n{config}")
    (folder / "config.yaml").write_text(
        f"units: units.tsv\n{config}  star_index: {finished.results}/reference/base\nsolo: {{keep_bam: none}}\n"
    )


@pytest.fixture(scope="session")
def study(five_prime, tmp_path_factory) -> Path:
    """The study of three samples, run to its end."""

    def make(folder: Path) -> None:
        write_study(five_prime, folder)
        run(folder)

    return once(tmp_path_factory, "ways_in", make)


@pytest.fixture(scope="session")
def detection(study: Path) -> pd.DataFrame:
    return read_table(study / "results/cohort/detection.tsv", DETECTION).set_index("sample")


def test_a_sample_without_cells_does_not_stop_the_study(five_prime, study, detection):
    """A sample of barcodes with a single read each, beside good ones: tables, page, notebooks, exports are made."""
    # The same run keeps no alignment, no slice of it and no temporary file.
    assert {p.name for p in (study / "results/samples/void/solo").iterdir()} == {
        "Log.final.out", "chemistry.json", "raw.h5ad", "summary.json",
    }  # fmt: skip
    assert (study / "results/report/reads/void.bam").exists()
    assert detection.loc["void", "verdict"] == "undetermined"
    assert detection.loc["void", "n_cells"] == 0
    cells = five_prime.detection.loc["P01_urine_D28", "n_cells"]
    assert detection.loc["from_bam", "n_cells"] > 0.9 * cells > 100
    assert not (study / "results/reference/base").exists()


def test_a_bam_with_its_matrix_and_a_matrix_alone_are_enough(five_prime, study, detection):
    """From BAM and from matrix the calls are those of the reads; a receptor for each T cell gives each a clonotype."""
    for sample, reads in (("from_bam", "P01_urine_D28"), ("from_matrix", "P01_blood_D28")):
        before = five_prime.detection.loc[reads, "n_car_positive"]
        assert detection.loc[sample, "verdict"] == "detected"
        assert abs(detection.loc[sample, "n_car_positive"] - before) <= 2, sample
    receptors = read_table(study / "results/cohort/receptors.tsv", RECEPTORS).set_index("sample")
    assert list(receptors.index) == ["from_matrix"]
    assert receptors.loc["from_matrix", "share_t_receptor"] > 0.9
    obs = anndata.read_h5ad(study / "results/cohort/cells.h5ad", backed="r").obs
    assert set(OPTIONAL_OBS.columns) <= set(obs.columns)
    assert (obs["clonotype"][obs["tcr_chains"] == "TRB"] == "P1:1").all()


def test_without_reads_no_index_is_made_and_none_is_asked_for(five_prime, tmp_path):
    """Of a BAM and a matrix alone, check says what they are, and nothing of STAR's is among the jobs."""
    write_study(five_prime, tmp_path)
    command = [sys.executable, "-m", "carseq", "check", str(tmp_path / "given.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    assert "sample from_bam: BAM of" in checked.stdout
    planned = snakemake(tmp_path, "--dry-run", "--quiet", "host", config="given.yaml")
    assert planned.returncode == 0, planned.stderr[-3000:]
    rules = set(re.findall(r"(?m)^(\w+) +\d+$", planned.stdout + planned.stderr))
    assert {"molecules", "sample_cells", "calling", "report", "notebook"} <= rules
    assert not rules & {"star_index", "insert_car", "align", "chemistry"}
