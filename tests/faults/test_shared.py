"""What leaves the machine tells neither its folders nor, if asked, the names; what a killed run locked goes on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pandas as pd
import pysam
import pytest
import yaml

from carseq.errors import CarseqError
from carseq.io.bam import shareable_header, write_bam
from carseq.io.files import write_table
from carseq.locks import told_of_lock
from carseq.report.share import share

NAMES = ["P01_urine_D28", "P01_urine", 'Ü "q" <b>&']


@pytest.fixture
def results(tmp_path) -> Path:
    """A results folder whose files name samples in every way a report does."""
    folder = tmp_path / "secret" / "results"
    table = pd.DataFrame({"sample": NAMES, "patient": ["P01", "P01", "O'Neil"], "n": 1})
    write_table(table, folder / "cohort" / "detection.tsv")
    write_table(table, folder / "cohort" / "samples.tsv")
    for part in ("report", "notebooks", "construct", "samples/S/solo"):
        (folder / part).mkdir(parents=True)
    data = json.dumps({"samples": NAMES, "patient": ["P01", "O'Neil"]}).replace("<", "\\u003c")
    shown = "".join(f"<td>{name}:ACGT</td>" for name in NAMES[:2])
    page = f"<h1>P01_urine_D28</h1>{shown}&lt;b&gt;<script>{data}</script> made from {folder}/x and /genomes/g.fa"
    (folder / "report/report.html").write_text(page)
    (folder / "report/methods.md").write_text("P01_urine (patient P01)")
    output = {"data": {"image/png": "iVBOR", "text/plain": ["<Figure>"]}}
    cells = [{"source": "", "outputs": [output, {"text": NAMES}]}]
    (folder / "notebooks/01.ipynb").write_text(json.dumps({"cells": cells}))
    config = {
        "reference": {"fasta": "/genomes/g.fa"},
        "samples": str(tmp_path / "secret/samples.tsv"),
    }
    (folder / "run_config.yaml").write_text(yaml.safe_dump(config))
    (folder / "construct/construct.fa").write_text(">CAR\nACGT\n")
    return folder


def _texts(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as packed:
        return {name: packed.read(name).decode() for name in packed.namelist()}


def test_folders_are_taken_out_and_reads_sheet_and_sequence_stay(results, tmp_path):
    assert share(results, tmp_path / "out.zip") == {}
    texts = _texts(tmp_path / "out.zip")
    assert str(tmp_path) not in "".join(texts.values())
    assert "/genomes" not in "".join(texts.values())
    assert "P01_urine_D28" in texts["report/report.html"]
    assert "iVBOR" in texts["notebooks/01.ipynb"]
    assert not {"cohort/samples.tsv", "construct/construct.fa", "run_config.yaml"} & set(texts)
    before = (tmp_path / "out.zip").read_bytes()
    share(results, tmp_path / "out.zip")
    assert (tmp_path / "out.zip").read_bytes() == before


def test_names_are_replaced_in_every_form(results, tmp_path):
    names = share(results, tmp_path / "out.zip", rename=True)
    assert list(names.values()) == ["S1", "S2", "S3", "patient1", "patient2"]
    texts = _texts(tmp_path / "out.zip")
    whole = "".join(texts.values())
    for secret in ("P01", "O'Neil", "Ü", "iVBOR"):
        assert secret not in whole
    assert "<td>S1:ACGT</td><td>S2:ACGT</td>" in texts["report/report.html"]
    assert '"patient": ["patient1", "patient2"]' in texts["report/report.html"]
    key = pd.read_csv(tmp_path / "out.names.tsv", sep="\t")
    assert dict(zip(key["name"], key["shared_as"], strict=True)) == names


def test_a_name_that_is_a_word_of_the_report_is_refused(results, tmp_path):
    table = pd.DataFrame({"sample": ["urine"], "patient": ["P01"]})
    write_table(table, results / "cohort" / "detection.tsv")
    with pytest.raises(CarseqError, match="the name urine cannot be replaced"):
        share(results, tmp_path / "out.zip", rename=True)
    assert not (tmp_path / "out.zip").exists()


def test_a_bam_to_give_away_names_no_folder(tmp_path):
    header = pysam.AlignmentHeader.from_dict(
        {
            "HD": {"VN": "1.4", "SO": "coordinate"},
            "SQ": [{"SN": "CAR", "LN": 100, "UR": "/home/me/genome.fa"}],
            "RG": [{"ID": "a", "SM": "S", "DS": "/home/me"}],
            "PG": [{"ID": "STAR", "PN": "STAR", "VN": "2.7", "CL": "STAR --genomeDir /home/me"}],
            "CO": ["user command line: /home/me"],
        }
    )
    assert "/home" not in str(shareable_header(header))
    write_bam([], header, tmp_path / "x.bam")
    with pysam.AlignmentFile(str(tmp_path / "x.bam")) as bam:
        assert bam.header.to_dict() == {
            "HD": {"VN": "1.4", "SO": "coordinate"},
            "SQ": [{"SN": "CAR", "LN": 100}],
            "RG": [{"ID": "a", "SM": "S"}],
            "PG": [{"ID": "STAR", "PN": "STAR", "VN": "2.7"}],
        }


def test_a_lock_of_a_killed_run_comes_with_the_command_that_goes_on(tmp_path):
    assert told_of_lock(tmp_path, ["my.yaml"]) == ""
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("x")
    told = told_of_lock(tmp_path, ["my.yaml"])
    assert (
        "snakemake --configfile my.yaml --unlock && snakemake --configfile my.yaml --cores" in told
    )
    # While a run is at work there, it must not be unlocked.
    script = tmp_path / "snakemake"
    script.write_text("import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, str(script)], cwd=tmp_path) as other:
        time.sleep(0.2)
        told = told_of_lock(tmp_path, ["my.yaml"])
        other.kill()
    assert f"process {other.pid}" in told
    assert "--unlock" not in told
