"""A BAM with its matrix and a matrix alone, in one study."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import anndata
import pandas as pd
import pysam
import pytest

from carseq.io.files import read_table
from carseq.schema.obs import OPTIONAL_OBS
from carseq.schema.tables import (
    DETECTION,
    RECEPTORS,
)
from runs import TO_THE_REPORT, WORKFLOW, Finished, run, snakemake

pytestmark = WORKFLOW


def write_study(finished: Finished, folder: Path) -> None:
    """Write the sheets and the configuration of a BAM with its matrix, and a matrix alone with receptors."""
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
    solo, blood = (finished.results / f"samples/P01_{s}_D28/solo" for s in ("urine", "blood"))
    (folder / "samples.tsv").write_text(
        "sample\tpatient\tcompartment\ttimepoint\tbam\traw_matrix\ttcr\n"
        f"from_bam\tP1\turine\tD28\t{solo}/aligned.bam\t{solo}/raw.h5ad\t\n"
        f"from_matrix\tP1\tblood\tD28\t\t{blood}/raw.h5ad\tairr.tsv\n"
    )
    (folder / "config.yaml").write_text(
        "construct: {file: hbi0101_surrogate_native.gb, name: HBI0101}\n"
        "cells: {integration: none}\n"
        f"reference:\n  fasta: {finished.folder}/genome.fa\n  gtf: {finished.folder}/genes.gtf\n"
    )


@pytest.fixture(scope="module")
def study(demo: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study of two samples, run to its report."""
    folder = tmp_path_factory.mktemp("ways_in")
    write_study(demo, folder)
    run(folder, *TO_THE_REPORT)
    return folder


def test_a_bam_with_its_matrix_and_a_matrix_alone_are_enough(demo: Finished, study: Path) -> None:
    """From BAM and from matrix the calls are those of the reads; a receptor for each T cell gives each a clonotype."""
    detection = read_table(study / "results/cohort/detection.tsv", DETECTION).set_index("sample")
    own = anndata.read_h5ad(study / "results/cohort/cells.h5ad", backed="r").obs
    cells = demo.detection.loc["P01_urine_D28", "n_cells"]
    assert detection.loc["from_bam", "n_cells"] > 0.9 * cells > 100
    for sample, reads in (("from_bam", "P01_urine_D28"), ("from_matrix", "P01_blood_D28")):
        assert detection.loc[sample, "verdict"] == "detected"
        # The demo's cells are integrated with those of other samples: cells that both take for single T cells.
        both = demo.cells(reads).join(
            own[own["sample"] == sample].set_index("barcode"), rsuffix="_own", how="inner"
        )
        single = (both[["lineage", "lineage_own"]].astype(str) == "T").all(axis=1)
        single &= ~both[["is_doublet", "is_doublet_own"]].astype(bool).any(axis=1)
        assert single.sum() >= 0.9 * demo.detection.loc[reads, "n_t_cells"], sample
        calls = both.loc[single, ["car_call", "car_call_own"]].astype(str) == "positive"
        assert (calls["car_call"] != calls["car_call_own"]).sum() <= 2, sample
    receptors = read_table(study / "results/cohort/receptors.tsv", RECEPTORS).set_index("sample")
    assert list(receptors.index) == ["from_matrix"]
    assert receptors.loc["from_matrix", "share_t_receptor"] > 0.9
    assert set(OPTIONAL_OBS.columns) <= set(own.columns)
    assert (own["clonotype"][own["tcr_chains"] == "TRB"] == "P1:1").all()
    assert (study / "results/report/report.html").stat().st_size > 0


def test_without_reads_no_index_is_made_and_none_is_asked_for(
    demo: Finished, tmp_path: Path
) -> None:
    """Of a BAM and a matrix alone, check says what they are, and nothing of STAR's is among the jobs."""
    write_study(demo, tmp_path)
    command = [sys.executable, "-m", "carseq", "check", str(tmp_path / "config.yaml")]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    assert "sample from_bam: BAM of" in checked.stdout
    planned = snakemake(tmp_path, "--dry-run", "--quiet", "host")
    assert planned.returncode == 0, planned.stderr[-3000:]
    rules = set(re.findall(r"(?m)^(\w+) +\d+$", planned.stdout + planned.stderr))
    assert {"molecules", "sample_cells", "calling", "report", "notebook"} <= rules
    assert not rules & {"star_index", "insert_car", "align", "chemistry"}


def test_a_bam_of_another_assembly_is_refused(demo: Finished, tmp_path: Path) -> None:
    """Its contigs have the genome's names and other lengths: Snakemake's own run says so, without `carseq check`."""
    write_study(demo, tmp_path)
    given = demo.results / "samples/P01_urine_D28/solo/aligned.bam"
    with pysam.AlignmentFile(str(given)) as bam:
        header = bam.header.to_dict()
        header["SQ"][0]["LN"] += 1000
        with pysam.AlignmentFile(str(tmp_path / "other.bam"), "wb", header=header) as out:
            for record in bam:
                out.write(record)
    pysam.index(str(tmp_path / "other.bam"))
    sheet = tmp_path / "samples.tsv"
    sheet.write_text(sheet.read_text().replace(str(given), "other.bam"))
    done = snakemake(tmp_path, "--until", "belonging", "--cores", "2")
    assert done.returncode != 0
    assert "the BAM was aligned to another assembly than the genome" in done.stdout + done.stderr
