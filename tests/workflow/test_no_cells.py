"""A sample without cells beside a good one."""

from __future__ import annotations

import gzip
import random
from itertools import islice

from carseq.io.files import read_table
from carseq.library.whitelist import known_whitelist
from carseq.schema.tables import (
    DETECTION,
)
from runs import WORKFLOW, run

pytestmark = WORKFLOW


def test_a_sample_without_cells_does_not_stop_the_study(demo, tmp_path):
    """One sample of barcodes with a single read each, beside a good one."""
    rng = random.Random(5)
    genome = (
        (demo.folder / "genome.fa").read_text().split(">")[1].split("\n", 1)[1].replace("\n", "")
    )
    with gzip.open(known_whitelist("10x_version3"), "rt") as stream:
        whitelist = [line.strip() for line in islice(stream, 20_000)]
    with (
        gzip.open(tmp_path / "R1.fastq.gz", "wt") as r1,
        gzip.open(tmp_path / "R2.fastq.gz", "wt") as r2,
    ):
        for i in range(2000):
            start = rng.randrange(len(genome) - 90)
            first = whitelist[i * 7] + "".join(rng.choices("ACGT", k=12))
            r1.write(f"@r{i}\n{first}\n+\n{'F' * 28}\n")
            r2.write(f"@r{i}\n{genome[start : start + 90]}\n+\n{'F' * 90}\n")
    (tmp_path / "units.tsv").write_text("sample\tunit\tr1\tr2\nvoid\t1\tR1.fastq.gz\tR2.fastq.gz\n")
    (tmp_path / "samples.tsv").write_text(
        "sample\tpatient\tcompartment\ttimepoint\tchemistry\traw_matrix\n"
        "void\tP1\turine\tD0\t10x_3p_v3\t\n"
        f"good\tP1\turine\tD28\tauto\t{demo.results}/samples/P01_urine_D28/solo/raw.h5ad\n"
    )
    (tmp_path / "config.yaml").write_text(
        "units: units.tsv\n"
        "construct: {file: hbi0101_surrogate_native.gb, name: HBI0101}\n"
        "cells: {integration: none}\nsolo: {keep_bam: none}\n"
        f"reference:\n  fasta: {demo.folder}/genome.fa\n  gtf: {demo.folder}/genes.gtf\n"
        f"  star_index: {demo.results}/reference/base\n"
    )
    run(tmp_path)
    # The same run keeps no alignment, no slice of it and no temporary file.
    assert {p.name for p in (tmp_path / "results/samples/void/solo").iterdir()} == {
        "Log.final.out", "chemistry.json", "raw.h5ad", "summary.json",
    }  # fmt: skip
    assert (tmp_path / "results/report/reads/void.bam").exists()
    detection = read_table(tmp_path / "results/cohort/detection.tsv", DETECTION).set_index("sample")
    assert detection.loc["void", "verdict"] == "undetermined"
    assert detection.loc["void", "n_cells"] == 0
    assert detection.loc["good", "n_cells"] > 200
    assert not (tmp_path / "results/reference/base").exists()
