"""Real reads, and the same with reads of a CAR among them."""

from __future__ import annotations

import gzip
import json
import random
import re
from itertools import islice
from pathlib import Path

import pytest

from carseq.construct import Construct
from carseq.construct.genes import human_parts
from carseq.io.files import read_table
from carseq.library.whitelist import known_whitelist
from carseq.schema.tables import (
    DETECTION,
    MOLECULES,
)
from runs import TO_THE_REPORT, WORKFLOW, run

pytestmark = WORKFLOW
#: Real reads among which those of the CAR are put.
SPIKED = 30_000


@pytest.fixture(scope="session")
def real(tmp_path_factory, shared: Path, surrogate: Construct) -> Path:
    """Real 10x reads without a CAR, and 30,000 of them with CAR reads spiked into 40 of their barcodes."""
    folder = tmp_path_factory.mktemp("real")
    source = shared / "real_chr21"
    stem = "Chromium_3p_GEX_Human_PBMC_chr21_100000_S1_L001_{}_001.fastq.gz"
    r1, r2 = source / stem.format("R1"), source / stem.format("R2")
    rng = random.Random(11)
    barcodes: dict[str, None] = {}
    with gzip.open(r1, "rt") as reads:
        for i, line in enumerate(islice(reads, 4 * SPIKED)):
            if i % 4 == 1:
                barcodes.setdefault(line[:16])
    with gzip.open(known_whitelist("10x_version3"), "rt") as stream:
        valid = {line.strip() for line in stream}
    barcodes = {barcode: None for barcode in barcodes if barcode in valid}
    chosen = rng.sample(list(barcodes), 40)
    (folder / "spiked.txt").write_text("\n".join(chosen))
    spiked = {}
    for name, path in (("R1", r1), ("R2", r2)):
        with gzip.open(path, "rb") as reads:
            spiked[name] = b"".join(islice(reads, 4 * SPIKED))
    lines: dict[str, list[str]] = {"R1": [], "R2": []}
    for i in range(80):
        barcode, umi = chosen[i % 40], "".join(rng.choices("ACGT", k=12))
        start = len(surrogate.sequence) - max(95, round(rng.gauss(350, 100)))
        read = "".join(
            rng.choice("ACGT") if rng.random() < 0.003 else b
            for b in surrogate.sequence[start : start + 90]
        )
        for key, sequence in (("R1", barcode + umi), ("R2", read)):
            lines[key].append(f"@spike{i}\n{sequence}\n+\n{'F' * len(sequence)}\n")
    for key in ("R1", "R2"):
        (folder / f"spiked_{key}.fastq.gz").write_bytes(
            gzip.compress(spiked[key] + "".join(lines[key]).encode(), 1)
        )
    (folder / "samples.tsv").write_text(
        "sample\tpatient\tcompartment\ttimepoint\trole\n"
        "real\tP1\tblood\tD0\tnegative_control\nspiked\tP1\tblood\tD28\tcase\n"
    )
    (folder / "units.tsv").write_text(
        f"sample\tunit\tr1\tr2\nreal\tL1\t{r1}\t{r2}\nspiked\tL1\tspiked_R1.fastq.gz\tspiked_R2.fastq.gz\n"
    )
    (folder / "config.yaml").write_text(
        "units: units.tsv\n"
        "construct: {file: hbi0101_surrogate_native.gb, name: HBI0101}\n"
        "cells: {integration: none}\nsolo: {keep_bam: none}\n"
        f"reference: {{fasta: {source}/mini.fa, gtf: {source}/mini.gtf}}\n"
    )
    run(folder, *TO_THE_REPORT, "results/report/reads/real.bam")
    return folder


def test_real_reads_have_no_car_and_an_honest_verdict(real):
    summary = json.loads((real / "results/samples/real/solo/summary.json").read_text())
    assert summary["chemistry"] == "10x_3p_v3"
    assert 0.93 <= summary["valid_barcodes"] <= 0.96
    assert summary["car_umis_aligned"] == 0
    assert (
        len(read_table(real / "results/samples/real/molecules/molecules.parquet", MOLECULES)) == 0
    )
    row = (
        read_table(real / "results/cohort/detection.tsv", DETECTION).set_index("sample").loc["real"]
    )
    assert row["n_car_positive"] == 0
    assert row["verdict"] in ("undetermined", "not_detected")
    page = (real / "results/report/report.html").read_text()
    headlines = re.findall(
        r"CAR T cells (?:not detected above|detected)|Undetermined", page.split("<script")[0]
    )
    assert "CAR T cells detected" not in headlines
    assert headlines


def test_alignments_that_are_not_kept_leave_nothing(real):
    """No alignment, no slice of it and no temporary file; the reads of the CAR's cells are there."""
    assert {p.name for p in (real / "results/samples/real/solo").iterdir()} == {
        "Log.final.out", "chemistry.json", "raw.h5ad", "summary.json",
    }  # fmt: skip
    assert (real / "results/report/reads/real.bam").exists()


def test_spiked_car_reads_are_found_in_their_barcodes(real, surrogate):
    """All; behind the CAR's last human part they are unique (the annotation lacks CD247, which carseq knows)."""
    molecules = read_table(real / "results/samples/spiked/molecules/molecules.parquet", MOLECULES)
    chosen = set((real / "spiked.txt").read_text().split())
    assert set(molecules["barcode"]) <= chosen
    assert len(set(molecules["barcode"])) == 40
    assert len(molecules) >= 79
    behind = molecules["tx_start"] >= max(part.end for part in human_parts(surrogate))
    assert behind.mean() > 0.8
    assert set(molecules.loc[behind, "evidence"]) == {"unique"}
