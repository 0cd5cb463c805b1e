"""The same inputs give the same bytes, wherever, whenever and with whatever settings of the machine they are written.

The whole path, on one core and two, with lanes in another order: `python tests/faults/determinism.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from determinism import compare

from study import Sample, write_study

#: Writes every kind of file from a results folder: page, manifest, shared zip, matrix, tables, cells, BAM.
WRITE = """
import os, sys
from pathlib import Path
os.umask(int(sys.argv[2], 8))
place = Path(sys.argv[1])
results, out = place / "results", place / "out"
out.mkdir()
import pysam
from carseq.io.bam import write_bam
from carseq.io.files import read_table, write_table
from carseq.io.h5ad import read_cells, write_h5ad
from carseq.report import build_report
from carseq.report.exports import write_crate, write_matrix
from carseq.report.share import share
build_report(results, results / "report/report.html")
cells = read_cells(results / "cohort/cells.h5ad")
write_h5ad(cells, out / "cells.h5ad")
write_matrix(cells, out / "matrix")
for suffix in (".tsv", ".tsv.gz", ".parquet"):
    write_table(read_table(results / "cohort/detection.tsv"), out / f"detection{suffix}")
header = pysam.AlignmentHeader.from_dict({"HD": {"VN": "1.6"}, "SQ": [{"SN": "CAR", "LN": 900}]})
records = []
for i in (5, 3, 9):
    record = pysam.AlignedSegment(header)
    record.query_name, record.reference_id, record.reference_start = f"r{i}", 0, i
    record.query_sequence, record.cigarstring = "ACGT" * 20, "80M"
    records.append(record)
write_bam(records, header, out / "reads.bam")
write_crate(results, [("reads of A", str(place / "config.yaml"))], out / "ro-crate-metadata.json")
share(results, out / "shared.zip")
share(results, out / "renamed.zip", rename=True)
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> list[dict[str, str]]:
    """Hashes of what two processes wrote from the same results: other folder, time zone, language, mask, hash seed."""
    root = tmp_path_factory.mktemp("twice")
    first = root / "a" / "study"
    write_study(
        first / "results",
        [Sample(f"urine_{day}", "P01", timepoint=day, n_cells=40) for day in ("D7", "D28")],
    )
    (first / "config.yaml").write_text("x: 1\n")
    second = root / "b it's #1" / "study"
    # Not copy2: the files' times differ.
    shutil.copytree(first, second, copy_function=shutil.copyfile)
    settings = (
        (first, "022", {"PYTHONHASHSEED": "1", "TZ": "UTC", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "2"}),
        (second, "077", {"PYTHONHASHSEED": "2", "TZ": "Asia/Tokyo", "LANG": "C", "TERM": "dumb", "COLUMNS": "20"}),
    )  # fmt: skip
    runs = []
    for place, mask, own in settings:
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", **own}
        words = [sys.executable, "-c", WRITE, str(place), mask]
        runs.append(subprocess.Popen(words, cwd=place.parent, env=environment))
    assert [run.wait(300) for run in runs] == [0, 0]
    found = []
    for place, *_ in settings:
        files = [p for p in (place / "out").rglob("*") if p.is_file()]
        files = [p for p in files if ".checksums" not in p.parts] + [
            place / "results/report/report.html"
        ]
        found.append({p.relative_to(place).as_posix(): _hash(p) for p in files})
    return found


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_everything_that_is_written_has_the_same_bytes(two):
    assert len(two[0]) >= 14
    assert two[0] == two[1]


def test_what_is_named_as_different_is_named_and_nothing_else(tmp_path):
    """The comparison of whole runs: bytes, parts, order, and what differs."""
    one, other = tmp_path / "one", tmp_path / "other"
    for place, rows, threads in ((one, "a\t1\nb\t2\n", "1"), (other, "b\t2\na\t1\n", "2")):
        (place / "logs").mkdir(parents=True)
        (place / "same.tsv").write_text("a\n")
        (place / "order.tsv").write_text(rows)
        (place / "other.tsv").write_text(f"{threads}\n")
        (place / "logs/a.log").write_text(threads)
        graph = [
            {"@id": "./", "datePublished": "2023"},
            {"@id": "#input/1", "sha256": threads},
            {"@id": "samples/S/solo/aligned.bam", "sha256": threads},
            {"@id": "same.tsv", "sha256": "x"},
        ]
        (place / "ro-crate-metadata.json").write_text(json.dumps({"@graph": graph}))
    found = compare(one, other)
    assert [name for _, name in found["same bytes"]] == ["same.tsv"]
    assert [name for _, name in found["same but for the order"]] == ["order.tsv"]
    assert [name for _, name in found["different"]] == ["other.tsv"]
    assert [name for _, name in found["same parts"]] == ["ro-crate-metadata.json"]
    assert [name for _, name in found["named as different"]] == ["logs/a.log"]
