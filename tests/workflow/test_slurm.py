"""profiles/slurm on a real Slurm: a study completes, killed jobs come again with more, a killed run goes on."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

import slurm
from carseq.io.files import read_table
from carseq.schema.tables import DETECTION
from carseq.simulate import Protocol, SampleSpec, simulate_study
from runs import TO_THE_REPORT

ROOT = Path(__file__).parents[2]
PATIENCE = 1800
#: A sample of 60 cells, a third of them CAR T cells, on the smallest genome: what is tried is the cluster.
SAMPLE = "P01_urine_D28"
CELLS = {"CD4 T": 15, "CD8 T": 15, "monocyte": 15, "macrophage": 10, "urothelial": 5}
SPEC = SampleSpec(name=SAMPLE, cells=CELLS, car_fraction=0.5, n_empty=400, doublet_rate=0)
MISSING = slurm.missing()

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(MISSING is not None, reason=f"Slurm cannot be started here: {MISSING}"),
    pytest.mark.skipif(
        shutil.which("STAR") is None, reason="STAR is not on PATH (make setup installs it)"
    ),
]

# The plugin looks for finished jobs 10 s later each time that it found none: kind to a cluster, minutes of a test.
SNAKEMAKE = """
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda self: 2, lambda self, seconds: None)
main()
"""

# What a job of the cluster does that asks for too little, and one that fails whatever it asks for.
SMALL = """
rule all:
    input: "memory.txt", "time.txt", "bad.txt"

rule memory:
    output: "memory.txt"
    log: "logs/memory.log"
    resources: mem_mb=lambda wildcards, attempt: [0, 300, 1200, 1200][attempt], runtime=5
    shell:
        "python3 -c 'import time; x = bytearray(600_000_000); time.sleep(4); print({resources.mem_mb})'"
        " > {output} 2> {log}"

rule time:
    output: "time.txt"
    log: "logs/time.log"
    resources: mem_mb=500, runtime=lambda wildcards, attempt: attempt
    shell: "[ {resources.runtime} -gt 1 ] || sleep 300; echo {resources.runtime} > {output}"

rule bad:
    output: "bad.txt"
    log: "logs/bad.log"
    resources: mem_mb=500, runtime=5
    shell: "echo the pipette slipped > {log}; exit 3"
"""


@dataclass
class Controller:
    """A Snakemake process that sends its jobs to Slurm."""

    cluster: slurm.Slurm
    folder: Path
    process: subprocess.Popen
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait(self) -> int:
        return self.process.wait(timeout=PATIENCE)

    @property
    def run_id(self) -> str:
        found = re.search(r"SLURM run ID: (\S+)", self.said)
        assert found, self.said
        return found.group(1)

    def jobs(self) -> pd.DataFrame:
        """Return this run's jobs as Slurm knows them."""
        text = self.cluster.command(
            "squeue", "--noheader", "--states=all", f"--name={self.run_id}", "--format=%i|%T|%m|%l|%k"
        )  # fmt: skip
        rows = [line.split("|") for line in text.split("\n") if line.count("|") == 4]
        return pd.DataFrame(rows, columns=["id", "state", "memory", "limit", "rule"])


def start(
    cluster: slurm.Slurm, folder: Path, snakefile: Path, *words: str, log: str = "run"
) -> Controller:
    """Run Snakemake with the profile; the options beside it are for a Slurm without accounting, on a local disk."""
    command = [
        sys.executable, "-c", SNAKEMAKE, "--snakefile", str(snakefile), "--directory", str(folder),
        "--profile", str(ROOT / "profiles/slurm"), "--slurm-status-command", "squeue", "--slurm-no-account",
        "--slurm-init-seconds-before-status-checks", "5", "--latency-wait", "5", *words,
    ]  # fmt: skip
    path = Path(sys.executable).parent
    environment = {
        **cluster.environment,
        "PATH": f"{cluster.folder / 'bin'}:{path}:{cluster.environment['PATH']}",
    }
    target = folder / f"{log}.log"
    with target.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT
        )
    return Controller(cluster, folder, process, target)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[slurm.Slurm]:
    """A Slurm of one node that is gone afterwards."""
    with ExitStack() as stack:
        try:
            started = stack.enter_context(slurm.running(tmp_path_factory.mktemp("slurm") / "slurm"))
        except slurm.NotStarted as error:
            pytest.skip(f"Slurm cannot be started here: {error}")
        yield started


@pytest.fixture(scope="module")
def small(cluster, tmp_path_factory) -> Iterator[Controller]:
    """The small workflow, running beside the study: Slurm's shortest time limit is a minute."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "Snakefile").write_text(SMALL)
    controller = start(cluster, folder, folder / "Snakefile")
    yield controller
    controller.process.kill()
    controller.process.wait()


@dataclass
class Resumed:
    """A study whose controller was killed, and that was run again."""

    folder: Path
    before: Controller
    after: Controller
    finished: dict[Path, int]
    locked: str

    @property
    def results(self) -> Path:
        return self.folder / "results"


@pytest.fixture(scope="module")
def study(cluster, small, tmp_path_factory) -> Iterator[Resumed]:
    """A sample of urine through Slurm; Snakemake is killed while it is aligned, and run again."""
    folder = tmp_path_factory.mktemp("study")
    simulate_study(
        folder, construct="hbi0101_surrogate_native.gb", samples=[SPEC], lanes=1, n_genes=420,
        protocol=Protocol(reads_per_molecule=1.05),
    )  # fmt: skip
    with (folder / "config.yaml").open("a") as config:
        config.write("cells: {integration: none}\n")
    # Without notebooks and exports: they are scripts as the others are, and other studies make them.
    wanted = TO_THE_REPORT
    words = ("--configfile", str(folder / "config.yaml"), "--max-threads", "2")
    before = start(cluster, folder, ROOT / "Snakefile", *wanted, *words, log="before")
    after = before
    try:
        end = time.monotonic() + PATIENCE
        while "slurm_logs/rule_align/" not in before.said:
            assert before.process.poll() is None, before.said
            assert time.monotonic() < end, before.said
            time.sleep(1)
        before.process.send_signal(signal.SIGKILL)
        before.process.wait()
        # As docs/cluster.md says: end what the dead run left in the queue, take its lock away, run again.
        cluster.command("scancel", f"--name={before.run_id}")
        while before.jobs()["state"].isin(["PENDING", "RUNNING", "COMPLETING"]).any():
            assert time.monotonic() < end, before.jobs()
            time.sleep(0.5)
        # Once no job is left: one that is ended between its inner and its outer Snakemake loses its files only then.
        # What belongs to jobs that the killed run did not see finished is marked, and made again.
        marks = (folder / ".snakemake/incomplete").rglob("*")
        begun = {urlsafe_b64decode(mark.name).decode() for mark in marks if mark.is_file()}
        finished = {
            path: path.stat().st_mtime_ns
            for path in (folder / "results").rglob("*")
            if path.is_file()
            # `.run.json` says which run is at work: it goes with the run.
            and not {"logs", "benchmarks", "solo", ".run.json"} & set(path.parts)
            and (made := Path(str(path).replace("/.checksums/", "/"))).exists()
            and str(made.relative_to(folder)) not in begun
        } | {
            path: path.stat().st_mtime_ns
            for path in (folder / "results").glob("samples/*/solo/chemistry.json")
        }
        locked = start(cluster, folder, ROOT / "Snakefile", *words, log="locked")
        locked.wait()
        unlock = start(cluster, folder, ROOT / "Snakefile", *words, "--unlock", log="unlock")
        assert unlock.wait() == 0, unlock.said
        # The calls get too little memory at first.
        after = start(
            cluster, folder, ROOT / "Snakefile", *wanted, *words,
            "--set-resources", "calling:mem_mb=350 * attempt ** 3", log="after",
        )  # fmt: skip
        assert after.wait() == 0, after.said[-6000:]
        yield Resumed(folder, before, after, finished, locked.said)
    finally:
        for controller in (before, after):
            controller.process.kill()
            controller.process.wait()


def test_a_killed_run_goes_on_where_it_was(study):
    assert "--unlock" in study.locked
    names = {path.name for path in study.finished}
    assert {"checked.json", "construct.fa", "chemistry.json", "SA", "Genome"} <= names
    for path, changed in study.finished.items():
        assert path.stat().st_mtime_ns == changed, path
    again = " ".join(study.after.jobs()["rule"])
    assert "prepare" not in again
    assert "rule_star_index" not in again
    assert "rule_insert_car" not in again
    assert "rule_reads" not in again
    assert again.count("rule_align") == 1


def test_the_study_has_its_verdict(study):
    detection = read_table(study.results / "cohort/detection.tsv", DETECTION).set_index("sample")
    assert detection.loc[SAMPLE, "verdict"] == "detected"
    truth = pd.read_csv(
        study.folder / f"truth/{SAMPLE}.droplets.tsv.gz", sep="\t", index_col="barcode"
    )
    calls = read_table(study.results / f"samples/{SAMPLE}/calling/calls.tsv").set_index("barcode")
    positive = calls.index[calls["car_call"] == "positive"]
    assert len(positive) >= 2
    assert truth.loc[positive, "is_car_t"].astype(str).eq("True").all()
    assert (study.results / "report/report.html").stat().st_size > 0


def test_small_rules_share_jobs(study):
    """The rules before the index go as one job, as do those of a sample's reads, and the three at the end."""
    before, after = study.before.jobs()["rule"], study.after.jobs()["rule"]
    sent = [before.str.contains(f"rule_{group}").sum() for group in ("prepare", "reads")]
    assert [*sent, after.str.contains("rule_finish").sum()] == [1, 1, 1]
    assert not before.str.contains("rule_(?:chemistry|library|homology|construct)").any()


def test_a_rule_killed_for_its_memory_comes_again_with_more(study):
    calling = (
        study.after.jobs().query("rule == 'rule_calling'").sort_values("id", key=pd.to_numeric)
    )
    assert list(calling["memory"]) == ["350M", "2800M"]
    assert calling["state"].iloc[-1] == "COMPLETED"
    assert calling["state"].iloc[0] in ("OUT_OF_MEMORY", "FAILED", "CANCELLED")
    (log,) = study.folder.glob(f".snakemake/slurm_logs/rule_calling/**/{calling['id'].iloc[0]}.log")
    assert str(log) in study.after.said
    assert "exceeded memory limit" in log.read_text()


@pytest.fixture(scope="module")
def done(small) -> Controller:
    """The small workflow at its end."""
    assert small.wait() != 0, small.said
    return small


class TestSmall:
    """Jobs of a small workflow with the same profile."""

    def test_more_memory(self, done):
        assert (done.folder / "memory.txt").read_text() == "1200\n"
        jobs = done.jobs().query("rule == 'rule_memory'").sort_values("id", key=pd.to_numeric)
        assert list(jobs["memory"]) == ["300M", "1200M"]

    def test_more_time(self, done):
        assert (done.folder / "time.txt").read_text() == "2\n"
        jobs = done.jobs().query("rule == 'rule_time'").sort_values("id", key=pd.to_numeric)
        assert list(jobs["state"]) == ["TIMEOUT", "COMPLETED"]
        assert list(jobs["limit"]) == ["1:00", "2:00"]
        log = done.folder / f".snakemake/slurm_logs/rule_time/{jobs['id'].iloc[0]}.log"
        assert "DUE TO TIME LIMIT" in log.read_text()

    def test_the_log_of_a_failed_job_is_shown_and_kept(self, done):
        assert not (done.folder / "bad.txt").exists()
        # The profile's two retries.
        assert (done.jobs()["rule"] == "rule_bad").sum() == 3
        assert "the pipette slipped" in done.said
        named = set(re.findall(r"\S+/slurm_logs/rule_bad/\d+\.log", done.said))
        assert len(named) == 3
        for log in named:
            assert "exit 3" in Path(log).read_text()
        assert (done.folder / "logs/bad.log").read_text() == "the pipette slipped\n"
