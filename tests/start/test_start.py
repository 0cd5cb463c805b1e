"""Starting a study, and the command line."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from carseq.errors import CarseqError
from carseq.io.files import atomic, read_table, write_table
from carseq.schema.tables import DETECTION
from carseq.start.folders import find_fastqs
from carseq.start.init import start_study
from carseq.study.config import load_config
from carseq.study.load import load_study


def carseq(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "carseq", *words], capture_output=True, text=True, check=False
    )


@pytest.fixture
def fastqs(tmp_path):
    folder = tmp_path / "run"
    for name in ("P1_urine_S1_L001", "P1_urine_S1_L002", "P1_blood_S2_L001", "odd"):
        for read in ("R1", "R2"):
            path = folder / ("deep" if name == "odd" else ".") / f"{name}_{read}.fastq.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("x")
    return folder


def test_fastqs_become_samples_and_units(fastqs):
    found = [(sample, unit) for sample, unit, *_ in find_fastqs(fastqs)]
    assert sorted(found) == [
        ("P1_blood", "L001"), ("P1_urine", "L001"), ("P1_urine", "L002"), ("odd", "deep_1"),
    ]  # fmt: skip


def test_init_writes_a_study_that_loads(fastqs, tmp_path):
    for name in ("g.fa", "g.gtf", "car.gb"):
        (tmp_path / name).write_text("x")
    start_study(
        tmp_path / "study", fastqs=fastqs, construct=tmp_path / "car.gb", fasta=tmp_path / "g.fa",
        gtf=tmp_path / "g.gtf", name="MYCAR",
    )  # fmt: skip
    study = load_study(load_config(tmp_path / "study/config.yaml"))
    assert study.config.construct.name == "MYCAR"
    assert len(study.pairs("P1_urine")) == 2
    assert study.samples["P1_blood"].compartment == "blood"
    assert yaml.safe_load((tmp_path / "study/config.yaml").read_text())["calling"] == {"fdr": 0.05}


def test_init_takes_one_record_of_a_file(fastqs, tmp_path):
    """FILE#name stands in the configuration; the study's input is the file, and a missing one is told by its name."""
    for name in ("g.fa", "g.gtf"):
        (tmp_path / name).write_text("x")
    maps = tmp_path / "maps.fa"
    maps.write_text(">one\nACGT\n>my car\nACGT\n")
    start_study(
        tmp_path / "study", fastqs=fastqs, construct=f"{maps}#my", fasta=tmp_path / "g.fa",
        gtf=tmp_path / "g.gtf", name="MYCAR",
    )  # fmt: skip
    config = tmp_path / "study/config.yaml"
    study = load_study(load_config(config))
    assert study.config.construct.file == f"{maps}#my"
    assert ("construct", str(maps)) in study.inputs()
    maps.unlink()
    with pytest.raises(CarseqError, match=r"maps\.fa"):
        load_study(load_config(config))


def test_init_keeps_addresses(tmp_path):
    """An address given for the genome stands in the configuration letter by letter."""
    url = "https://example.org/a/genome.fa.gz"
    done = carseq("init", str(tmp_path / "study"), "--fasta", url, "--gtf", "genes.gtf")
    assert done.returncode == 0, done.stderr
    reference = yaml.safe_load((tmp_path / "study/config.yaml").read_text())["reference"]
    assert reference["fasta"] == url


def test_init_overwrites_nothing(tmp_path):
    (tmp_path / "samples.tsv").write_text("mine")
    with pytest.raises(CarseqError, match="is there already"):
        start_study(tmp_path)
    assert (tmp_path / "samples.tsv").read_text() == "mine"
    assert not (tmp_path / "config.yaml").exists()


def test_a_missing_mate_is_told(fastqs):
    (fastqs / "P1_blood_S2_L001_R2.fastq.gz").unlink()
    with pytest.raises(CarseqError, match="P1_blood L001 lacks R2"):
        find_fastqs(fastqs)


def test_errors_come_without_a_traceback():
    done = carseq("verdict", "/nowhere")
    assert done.returncode == 1
    assert "what to do" in done.stderr
    assert "Traceback" not in done.stderr
    assert carseq("nonsense").returncode == 2


def test_the_construct_is_shown():
    done = carseq("construct", "hbi0101_surrogate.gb")
    assert done.returncode == 0
    assert "CD3zeta" in done.stdout
    assert "surrogate" in done.stdout


def test_help_names_every_command():
    text = carseq("--help").stdout
    for command in (
        "init",
        "check",
        "construct",
        "molecules",
        "call",
        "localize",
        "report",
        "simulate",
        "verdict",
    ):
        assert command in text


def test_importing_carseq_is_light():
    code = "import carseq, sys; sys.exit('scanpy' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail() -> None:
        with atomic(tmp_path / "out.tsv") as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_names_that_look_like_numbers_stay_names(tmp_path):
    table = DETECTION.empty()
    table.loc[0] = {n: "" if c.dtype == "str" else 0 for n, c in DETECTION.columns.items()}
    table.loc[0, ["sample", "patient", "timepoint"]] = ["007", "NA", "1e3"]
    write_table(table, tmp_path / "d.tsv", DETECTION)
    row = read_table(tmp_path / "d.tsv", DETECTION).loc[0]
    assert row[["sample", "patient", "timepoint", "role"]].tolist() == ["007", "NA", "1e3", ""]
    with pytest.raises(CarseqError, match="lacks"):
        DETECTION.conform(table.drop(columns="verdict"))


def test_ctrl_c_while_libraries_are_imported_shows_no_traceback():
    """In the first second of any command: forty lines of importlib."""
    code = (
        "import runpy, sys\n"
        "class Stopped:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'typer':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stopped())\n"
        "runpy.run_module('carseq', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (130, "")
