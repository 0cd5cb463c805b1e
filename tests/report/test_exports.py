"""report, exports: other tools open what carseq writes, and the manifest is true."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

from carseq.errors import CarseqError
from carseq.report import read_study
from carseq.report.exports import crate, multiqc, write_crate, write_matrix, write_multiqc
from study import Sample, demo_samples, write_study


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study") / "results", demo_samples()[:3])


def test_scanpy_reads_the_matrix_with_the_car(results: Path, tmp_path: Path) -> None:
    """Every count, gene and barcode of the cohort comes back from scanpy.read_10x_mtx, the CAR among the genes."""
    cohort = ad.read_h5ad(results / "cohort" / "cells.h5ad")
    cohort.var["gene_id"] = [f"ENSG{i}" for i in range(cohort.n_vars - 1)] + [""]
    files = write_matrix(cohort, tmp_path / "matrix")
    back = sc.read_10x_mtx(tmp_path / "matrix")
    assert list(back.obs_names) == list(cohort.obs_names)
    assert list(back.var_names) == list(cohort.var_names)
    assert "HBI0101" in back.var_names
    assert list(back.var["gene_ids"][-2:]) == ["ENSG18", "GENE19"]
    np.testing.assert_array_equal(back.X.toarray(), cohort.layers["counts"].toarray())
    before = [path.read_bytes() for path in files]
    write_matrix(cohort, tmp_path / "matrix")
    assert [path.read_bytes() for path in files] == before


def test_a_matrix_of_fractions_is_refused(results: Path, tmp_path: Path) -> None:
    cohort = ad.read_h5ad(results / "cohort" / "cells.h5ad")
    cohort.layers["counts"] = cohort.layers["counts"] * 0.5
    with pytest.raises(CarseqError, match="not whole numbers"):
        write_matrix(cohort, tmp_path)
    assert not list(tmp_path.iterdir())


def test_multiqc_gets_every_sample_and_no_nan(tmp_path: Path) -> None:
    """Three files by MultiQC's names; each sample in the tables; what is not known is left out, not NaN."""
    study = read_study(
        write_study(tmp_path / "results", [*demo_samples()[:2], Sample("none", "P", n_cells=0)])
    )
    write_multiqc(study, tmp_path / "multiqc")
    found = {
        p.name: json.loads(p.read_text(), parse_constant=pytest.fail)
        for p in (tmp_path / "multiqc").iterdir()
    }
    assert sorted(found) == sorted(multiqc(study))
    assert all(name.endswith("_mqc.json") for name in found)
    table = found["carseq_detection_mqc.json"]
    assert list(table["data"]) == study.samples
    row = study.detection.iloc[0]
    assert table["data"][row["sample"]]["prevalence"] == pytest.approx(100 * row["prevalence"])
    assert "prevalence" not in table["data"]["none"]
    assert {key for row in table["data"].values() for key in row} <= set(table["headers"])


def test_the_manifest_is_an_ro_crate_whose_checksums_are_true(
    results: Path, tmp_path: Path
) -> None:
    """RO-Crate 1.1 that rocrate reads back: every result with its size and SHA-256, inputs by name, no path outside.

    Logs and times of jobs are not results: no two runs have the same.
    """
    from rocrate.rocrate import ROCrate

    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    (copy / "logs").mkdir()
    (copy / "logs" / "x.log").write_text("x")
    reads = tmp_path / "patient secret" / "r1.fastq.gz"
    reads.parent.mkdir()
    reads.write_bytes(gzip.compress(b"@r"))
    write_crate(
        copy, [("reads of P01", str(reads))], copy / "ro-crate-metadata.json", command="snakemake x"
    )
    text = (copy / "ro-crate-metadata.json").read_text()
    assert "patient secret" not in text
    assert str(tmp_path) not in text
    back = ROCrate(copy)
    assert back.version == "1.1"
    names = {e.id for e in back.data_entities}
    on_disk = {p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file()}
    times = {name for name in on_disk if name.startswith("benchmarks/")}
    assert times
    assert names == on_disk - times - {"ro-crate-metadata.json", "logs/x.log"}
    for entity in back.data_entities:
        content = (copy / entity.id).read_bytes()
        assert entity["sha256"] == hashlib.sha256(content).hexdigest()
        assert int(entity["contentSize"]) == len(content)
    run = back.get("#run")
    assert run["description"] == "snakemake x"
    assert run["object"][0]["name"] == "r1.fastq.gz"
    assert run["object"][0]["sha256"] == hashlib.sha256(reads.read_bytes()).hexdigest()
    assert {tool["name"] for tool in run["instrument"]} >= {"STAR", "carseq", "scanpy"}
    assert {e.id for e in run["result"]} == names
    for key in ("name", "description", "datePublished", "license"):
        assert back.root_dataset[key], key


def test_an_alignment_that_was_taken_over_is_not_read_again(results: Path, tmp_path: Path) -> None:
    """Its checksum is that of the manifest of the study that made it, as long as it is the same file."""
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        shutil.copytree(results, folder)
        (folder / ".checksums").mkdir(exist_ok=True)
    name = next(p for p in first.rglob("summary.json")).relative_to(first).with_name("aligned.bam")
    (first / name).write_bytes(b"reads")
    (second / name).symlink_to(first / name)
    manifest = first / "ro-crate-metadata.json"

    def told() -> str:
        return {e["@id"]: e for e in crate(second, [])["@graph"]}[name.as_posix()]["sha256"]

    true = hashlib.sha256(b"reads").hexdigest()
    assert told() == true
    write_crate(first, [], manifest)
    manifest.write_text(manifest.read_text().replace(true, "0" * 64))
    assert told() == "0" * 64
    # Of another size, changed since, or beside a manifest that is damaged: the file tells.
    (first / name).write_bytes(b"other")
    os.utime(manifest, (0, 0))
    assert told() == hashlib.sha256(b"other").hexdigest()
    (first / name).write_bytes(b"more reads")
    manifest.touch()
    assert told() == hashlib.sha256(b"more reads").hexdigest()
    manifest.write_text("{")
    assert told() == hashlib.sha256(b"more reads").hexdigest()


def test_inputs_are_not_read_where_that_is_not_wanted(results: Path, tmp_path: Path) -> None:
    (tmp_path / "a.fa").write_text(">a\nA\n")
    graph = {
        e["@id"]: e
        for e in crate(results, [("genome", str(tmp_path / "a.fa"))], checksums=False)["@graph"]
    }
    assert graph["#input/1"]["contentSize"] == "5"
    assert "sha256" not in graph["#input/1"]


def test_exports_load_no_figures() -> None:
    """`import carseq.report.exports` loads none of matplotlib, jinja2 and scanpy."""
    heavy = "('matplotlib', 'jinja2', 'scanpy')"
    code = f"import sys, carseq.report.exports; print([m for m in {heavy} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
