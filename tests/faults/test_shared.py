"""What leaves the machine tells neither its folders nor, if asked, the names; what a killed run locked goes on."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import threading
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
from carseq.io.results import read_record, record_text
from carseq.locks import lock_notice
from carseq.report.share import numbers_of_sheet, share
from carseq.schema.results import FILES
from carseq.workflow import end_timers, future_notice, kill_notice

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


def test_what_an_earlier_construct_left_is_not_shared(results, tmp_path):
    """The map and domains of a construct that the configuration names no more were packed as the study's."""
    for name in ("domains", "homology", "construct_map"):
        FILES[name].under(results).write_text("a\n")
    record = results / "run_config.yaml"
    given = yaml.safe_load(record.read_text())
    for sheet, file, packed in (
        ({"S": {"bam": "a.bam"}}, "a.gb", {"domains.tsv", "homology.tsv", "construct.svg"}),
        ({"S": {"matrix": "a.h5"}}, "a.gb", {"domains.tsv", "construct.svg"}),
        ({"S": {"matrix": "a.h5"}}, None, set()),
    ):
        record.write_text(
            yaml.safe_dump({**given, "sheet": sheet, "construct": {"name": "CAR", "file": file}})
        )
        share(results, tmp_path / "out.zip")
        found = {Path(n).name for n in _texts(tmp_path / "out.zip") if n.startswith("construct/")}
        assert found == packed


@pytest.mark.parametrize(
    ("name", "proposed"), [("a.tar.gz", "a.zip"), ("a.v2.tgz", "a.v2.zip"), ("A.HTML", "A.zip")]
)
def test_a_zip_file_is_not_called_another_archive(results, tmp_path, name, proposed):
    """`--to results.tar.gz` wrote a zip file of that name, which tar refused."""
    with pytest.raises(CarseqError, match=rf"name it .*/{re.escape(proposed)}$"):
        share(results, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_names_of_files_and_further_columns_are_not_shared(results, tmp_path):
    """A patient's name in that of a matrix, and a column with the number of the patient's file, stood on the page."""
    row = {
        "sample": "P01_urine",
        "patient": "P01",
        "matrix": "m/Cohen.Sara.h5",
        "library": "Cohen_pool",
        "mrn": "77123",
    }
    other = {
        "sample": 'Ü "q" <b>&',
        "patient": "O'Neil",
        "raw_matrix": "/data/Levi/raw_feature_bc_matrix.h5",
    }
    record = {
        "results": "results",
        "sheet": {r["sample"]: r for r in (row, other)},
        "report": {"zz": 1},
    }
    (results / "run_config.yaml").write_text(yaml.safe_dump(record))
    named = [
        {"name": "Cohen_R1.fq.gz", "description": "reads of P01_urine"},
        {"name": "g.fa", "description": "genome"},
    ]
    (results / "ro-crate-metadata.json").write_text(json.dumps({"@graph": named}))
    page = results / "report/report.html"
    shown = html.escape(yaml.safe_dump(record, sort_keys=False, allow_unicode=True))
    doubts = (
        "the matrix Cohen.Sara.h5 is corrected; Cohen_R1.fq.gz and g.fa; raw_feature_bc_matrix.h5"
    )
    place = "samples: Levi/samples.tsv\nunits: null\nresults: Levi_results\n"
    page.write_text(f'{page.read_text()}<p>{doubts}</p><pre tabindex="0">{place}{shown}</pre>')
    share(results, tmp_path / "out.zip", rename=True)
    text = _texts(tmp_path / "out.zip")["report/report.html"]
    for secret in ("Cohen", "Sara", "77123", "mrn", "Levi"):
        assert secret not in text
    for kept in (
        "the matrix file1.h5 is corrected",
        "g.fa",
        "raw_feature_bc_matrix.h5",
        "patient: patient1",
        "zz: 1",
    ):
        assert kept in text


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


def test_the_page_is_not_called_after_the_studys_folder(results, tmp_path):
    """A folder called after the patient stood as the title of the page that was shared without names."""
    study = tmp_path / "Muster & Sohn"
    shutil.move(results.parent, study)
    title, shown = "Muster &amp; Sohn", json.dumps({"study": study.name}, separators=(",", ":"))
    shown = shown.replace("&", "\\u0026")
    page = f"<title>{title} · carseq</title><h1>{title}</h1><script>{shown}</script>"
    (study / "results/report/report.html").write_text(page)
    share(study / "results", tmp_path / "out.zip", rename=True)
    assert "Muster" not in "".join(_texts(tmp_path / "out.zip").values())
    share(study / "results", tmp_path / "out.zip")
    assert "Muster" in _texts(tmp_path / "out.zip")["report/report.html"]


def test_names_that_a_table_cut_short_are_replaced_too(results, tmp_path):
    """Pandas shows the first 46 letters of a long name and dots: they would tell whose sample it is."""
    name = "Erika_Mustermann_born_1964_urine_of_the_28th_day_second_tube"
    for table in ("detection", "samples"):
        path = results / "cohort" / f"{table}.tsv"
        write_table(pd.DataFrame({"sample": [name], "patient": ["P01"], "n": 1}), path)
    shown = pd.DataFrame({"sample": [name]})._repr_html_()
    assert name not in shown
    outputs = [
        {
            "data": {
                "text/html": [shown],
                "text/plain": [str(pd.DataFrame({"cell": [f"{name}:ACGT"]}))],
            }
        }
    ]
    (results / "notebooks/01.ipynb").write_text(
        json.dumps({"cells": [{"source": "", "outputs": outputs}]})
    )
    share(results, tmp_path / "out.zip", rename=True)
    whole = "".join(_texts(tmp_path / "out.zip").values())
    assert "Erika" not in whole
    assert "S1..." in whole


def test_a_name_behind_the_end_of_a_line_in_json_is_replaced(results, tmp_path):
    """The tooltip of a contrast names a sample at a line's beginning: \\n and the name stand together."""
    (results / "report/report.html").write_text(r'["3 of 9 called\nP01_urine_D28: 2 of 9"]')
    names = share(results, tmp_path / "out.zip", rename=True)
    told = _texts(tmp_path / "out.zip")["report/report.html"]
    assert told == rf'["3 of 9 called\n{names["P01_urine_D28"]}: 2 of 9"]'


def test_letters_of_a_name_in_packed_numbers_stay_as_they_are(results, tmp_path):
    """Of three letters between + and / there is one in some hundred of the pages that hold a program as base64."""
    packed = f"{'A' * 600}+P01/{'B' * 600}"
    page = results / "report/report.html"
    page.write_text(f'{page.read_text()} "{packed}"')
    share(results, tmp_path / "pack.zip", rename=True)
    text = _texts(tmp_path / "pack.zip")["report/report.html"]
    assert packed in text
    assert "P01" not in text.replace(packed, "")


def test_numbers_of_the_sheet_that_are_sent_are_named(results):
    """They go with the page and its tables: nothing said so of a column `study_code`."""
    assert numbers_of_sheet(results) == []
    numbers = pd.DataFrame({"sample": NAMES[:2], "measure": "study_code", "value": [77, 78]})
    write_table(numbers, results / "cohort" / "clinic.tsv")
    assert numbers_of_sheet(results) == ["study_code"]


def test_the_study_in_place_of_its_results_is_told(results, tmp_path):
    (results / "report/report.html").write_text("page")
    for near in (results.parent, results / "report", results.parent / "config.yaml"):
        with pytest.raises(CarseqError, match="holds no finished run") as told:
            share(near, tmp_path / "out.zip")
        assert told.value.remedy == f"did you mean {results}?"


def test_a_name_inside_of_a_word_is_no_secret_kept(results, tmp_path):
    """It cannot be replaced surely: nothing is written."""
    (results / "report/methods.md").write_text("anchor_xP01_urine_D28y")
    with pytest.raises(CarseqError, match=r"could not be taken out of report/methods\.md"):
        share(results, tmp_path / "out.zip", rename=True)
    assert not (tmp_path / "out.zip").exists()


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
    assert lock_notice(tmp_path, ["my.yaml"]) == ""
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("x")
    told = lock_notice(tmp_path, ["my.yaml"])
    assert (
        "snakemake --configfile my.yaml --unlock && snakemake --configfile my.yaml --cores" in told
    )
    # As it was called, Snakemake is called again.
    called = ["/no/bin/snakemake", "-s", "/my place/Snakefile", "--cores", "2", "--", "x.tsv"]
    told = lock_notice(tmp_path, ["my.yaml"], called)
    whole = "/no/bin/snakemake -s '/my place/Snakefile' --cores 2 -- x.tsv"
    assert told.endswith(f"{whole.replace('snakemake', 'snakemake --unlock')} && {whole}")


@pytest.mark.parametrize("name", ["snakemake", ".snakemake/scripts/tmp1.align.py"])
def test_while_a_run_or_a_job_that_outlived_it_is_at_work_a_folder_is_not_unlocked(tmp_path, name):
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").write_text("x")
    script = tmp_path / name
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, str(script)], cwd=tmp_path) as other:
        time.sleep(0.2)
        told = lock_notice(tmp_path, ["my.yaml"])
        other.kill()
    assert f"process {other.pid}" in told
    assert "--unlock" not in told


def test_a_killed_job_is_told_with_what_gives_it_memory(tmp_path):
    """Snakemake's own words, of a job whose shell was told that it was killed, and of one that failed."""
    log = tmp_path / "x.log"
    log.write_text(
        "Error in rule molecules:\n    message: None\n    jobid: 0\n"
        "RuleException:\nCalledProcessError in file molecules.smk, line 3:\nCommand 'set -euo "
        "pipefail; python x.py' returned "
        "non-zero exit status 137.\n"
        "Trying to restart\n"
        + "x" * 300
        + "\n[Wed] Error in rule report:\n  Command 'python' returned non-zero exit status 1.\n"
    )
    told = kill_notice(log)
    assert "molecules did not fail but was killed" in told
    assert "--set-resources molecules:mem_mb=MEGABYTES" in told
    assert "report" not in told
    assert kill_notice([str(log)]) == told
    assert kill_notice([]) == ""
    log.write_text("Error in rule report: returned non-zero exit status 1.")
    assert kill_notice(log) == kill_notice(tmp_path / "none") == ""


def test_files_of_the_future_are_told_with_the_command_that_mends_them(tmp_path):
    """Snakemake would make what follows from them anew in every run."""
    old, ahead = tmp_path / "old", tmp_path / "a head"
    for path in (old, ahead):
        path.write_text("x")
    assert future_notice([old, ahead, tmp_path / "none", "https://x.org/a"]) == ""
    tomorrow = time.time() + 86_400
    os.utime(ahead, (tomorrow, tomorrow))
    told = future_notice([old, ahead, tmp_path / "none"])
    assert told.startswith("1 file is dated in the future")
    assert told.endswith(f"touch '{ahead}'")


def test_the_record_of_a_run_names_its_own_folder_nowhere_and_is_read_where_it_was_moved(tmp_path):
    home = tmp_path / "study"
    record = {
        "samples": f"{home}/samples.tsv",
        "results": "results",
        "reference": {"fasta": "/genomes/g.fa", "star_index": None},
        "sheet": {"S": {"bam": f"{home}/bams/s.bam", "note": "../x", "n": 3}},
        "construct": {"alternatives": [f"{home}/a.gb"]},
    }
    text = record_text(record, home / "results")
    assert str(tmp_path) not in text
    assert "/genomes/g.fa" in text
    moved = tmp_path / "elsewhere" / "results"
    moved.mkdir(parents=True)
    (moved / "run_config.yaml").write_text(text)
    read = read_record(moved / "run_config.yaml")
    assert read["sheet"]["S"] == {"bam": f"{moved.parent}/bams/s.bam", "note": "../x", "n": 3}
    assert read["construct"]["alternatives"] == [f"{moved.parent}/a.gb"]
    assert read["samples"] == f"{moved.parent}/samples.tsv"


def test_a_run_that_has_ended_waits_for_no_timer() -> None:
    """Snakemake sets one for its next look for jobs, and its process would wait for it."""
    timer = threading.Timer(600, lambda: None)
    timer.start()
    end_timers()
    timer.join(10)
    assert not timer.is_alive()
