"""`carseq run`: what it hands to Snakemake, whose lock it takes away, what it shows, and how it tells a failure."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from carseq import locks
from carseq.cli import app
from carseq.errors import CarseqError
from carseq.machine import machine_cores, machine_megabytes
from carseq.reference.star import star_version
from carseq.run import (
    clusters,
    doctor,
    find_profile,
    prepare_demo,
    profiles,
    running,
    workflow_folder,
)
from carseq.run.progress import Screen
from carseq.run.reasons import Failed, reason
from carseq.run.running import Options, arguments, make_way
from carseq.study.record import take_over_notes

ROOT = Path(__file__).parents[2]


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    return console.file.getvalue()  # type: ignore[attr-defined]


# What is handed to Snakemake


def value(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def test_a_file_that_is_asked_for_is_no_value_of_an_option(tmp_path: Path) -> None:
    """`--resources` takes all words up to the next option."""
    from snakemake.cli import get_argument_parser

    for given in (["--keep-going", "a.tsv"], ["a.tsv"], ["a.tsv", "--jobs", "3"]):
        words = arguments(tmp_path / "config.yaml", Options(words=given))
        parsed, _ = get_argument_parser().parse_known_args(words)
        assert parsed.targets == {"a.tsv"} or list(parsed.targets) == ["a.tsv"]


@pytest.mark.parametrize("words", [["--dag"], ["--summary"], ["--until=align"], ["-O", "cohort"]])
def test_only_a_whole_run_ends_in_the_verdict(words: list[str]) -> None:
    """`carseq run ... --dag | dot` got the verdict of an earlier run behind the graph."""
    assert not Options(words=words).ends_in_verdict
    assert not Options(dry_run=True).ends_in_verdict
    assert Options(words=["--quiet", "--cores=2"]).ends_in_verdict


def test_without_a_cluster_cores_and_memory_are_the_machines(tmp_path: Path) -> None:
    words = arguments(tmp_path / "config.yaml", Options())
    assert value(words, "--cores") == str(machine_cores() + 1)
    assert value(words, "--resources") == f"mem_mb={machine_megabytes()}"
    assert value(words, "--directory") == str(tmp_path)
    assert Path(value(words, "--snakefile")) == workflow_folder() / "Snakefile"


def test_what_the_user_says_is_not_said_twice(tmp_path: Path) -> None:
    own = ["--resources", "mem_mb=5", "--workflow-profile=mine", "-j", "3", "--until", "align"]
    words = arguments(tmp_path / "config.yaml", Options(words=own))
    assert words[-len(own) :] == own
    assert "--cores" not in words
    assert sum(word.startswith(("--resources", "--workflow-profile")) for word in words) == 2


def test_a_cluster_has_its_own_cores_and_memory(tmp_path: Path) -> None:
    words = arguments(tmp_path / "config.yaml", Options(profile="slurm"), remote="slurm")
    assert value(words, "--profile") == str(workflow_folder() / "profiles" / "slurm")
    assert not {"--cores", "--resources"} & set(words)


# Profiles


def test_every_profile_has_its_cluster_and_executor() -> None:
    assert set(profiles()) == set(clusters.CLUSTERS)
    for name, cluster in clusters.CLUSTERS.items():
        file = clusters.profile_file(find_profile(name))
        assert file is not None
        assert f"executor: {cluster.executor}\n" in file.read_text()


def test_a_profile_without_its_plugin_is_refused_with_the_command_that_installs_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.yaml").write_text("executor: nobody-has-it\n")
    with pytest.raises(CarseqError, match="pip install snakemake-executor-plugin-nobody-has-it"):
        clusters.check_profile(str(tmp_path))
    with pytest.raises(CarseqError, match="there is no profile sulrm"):
        clusters.check_profile("sulrm")


def test_a_profile_without_its_cluster_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CarseqError, match="no sbatch on PATH"):
        clusters.check_profile(find_profile("slurm"))


@pytest.mark.parametrize(
    ("profile", "commands", "told"),
    [
        ("sge", {"qsub": 0, "qconf": 0, "qstat": 1}, "Grid Engine does not answer.*no qmaster"),
        ("pbs", {"qsub": 0, "qconf": 0, "qstat": 0}, "qsub on PATH is that of Grid Engine.*--profile sge"),
        ("sge", {"qsub": 0, "pbsnodes": 0, "qstat": 0}, "qsub on PATH is that of PBS.*--profile pbs"),
        ("sge", {"qsub": 0, "qconf": 0, "qstat": 0}, ""),
        ("pbs", {"qsub": 0, "qstat": 0}, ""),
    ],
)  # fmt: skip
def test_a_cluster_that_does_not_answer_or_is_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, commands: dict[str, int], told: str
) -> None:  # fmt: skip
    for name, code in commands.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho asked\necho no qmaster >&2\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if not told:
        assert clusters.check_profile(find_profile(profile)) == "cluster-generic"
        return
    with pytest.raises(CarseqError) as refused:
        clusters.check_profile(find_profile(profile))
    assert re.search(told, str(refused.value), re.DOTALL)


# Locks


def locked(folder: Path, **note: object) -> Path:
    place = folder / ".snakemake" / "locks"
    place.mkdir(parents=True)
    (place / "0.input.lock").write_text("x")
    if note:
        (folder / locks.NOTE).write_text(json.dumps(note))
    return place


def ended() -> dict[str, object]:
    """Return the note of a run of this machine that is over."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        started = psutil.Process(process.pid).create_time()
    return {"host": platform.node(), "pid": process.pid, "started": started}


def test_a_dead_runs_lock_is_taken_away(tmp_path: Path) -> None:
    place = locked(tmp_path, **ended())
    console = quiet()
    make_way(tmp_path, console)
    assert not any(place.iterdir())
    assert locks.noted_run(tmp_path) is None
    assert "a killed run had left its lock" in said(console)


def test_a_pid_that_another_process_has_now_is_not_the_run(tmp_path: Path) -> None:
    locked(tmp_path, **{**ended(), "pid": os.getppid()})
    make_way(tmp_path, quiet())
    assert not locks.is_locked(tmp_path)


@pytest.mark.parametrize("kind", ["noted", "snakemake"])
def test_a_living_runs_lock_stays(tmp_path: Path, kind: str) -> None:
    """Known by its note (`carseq run` has no snakemake among its words), or by Snakemake at work in the folder."""
    script = tmp_path / ("snakemake" if kind == "snakemake" else "carseq")
    script.write_text("import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, str(script)], cwd=tmp_path) as other:
        started = psutil.Process(other.pid).create_time()
        note = {"host": platform.node(), "pid": other.pid, "started": started}
        place = locked(tmp_path, **(note if kind == "noted" else {}))
        time.sleep(0.2)
        with pytest.raises(CarseqError, match=f"process {other.pid}"):
            make_way(tmp_path, quiet())
        other.kill()
    assert any(place.iterdir())


@pytest.mark.parametrize(
    ("note", "told"),
    [
        ({"host": "another", "pid": 1, "started": 1.0}, "on another"),
        ({}, "not known which run set the lock"),
    ],
)
def test_a_lock_of_which_nothing_can_be_known_stays(
    tmp_path: Path, note: dict[str, object], told: str
) -> None:
    place = locked(tmp_path, **note)
    with pytest.raises(CarseqError, match=told) as caught:
        make_way(tmp_path, quiet())
    assert "--unlock" in caught.value.remedy
    assert any(place.iterdir())


def test_jobs_that_a_killed_run_left_at_work_are_ended(tmp_path: Path) -> None:
    """Those of its folder: a job of another study goes on."""
    jobs = []
    for study in ("own", "other"):
        scripts = tmp_path / study / ".snakemake" / "scripts"
        scripts.mkdir(parents=True)
        script = scripts / "tmpabc.align.py"
        script.write_text("import time; time.sleep(60)")
        jobs.append(subprocess.Popen([sys.executable, str(script)]))
    (tmp_path / "own/.snakemake/locks").mkdir()
    (tmp_path / "own/.snakemake/locks/0.input.lock").write_text("x")
    (tmp_path / "own" / locks.NOTE).write_text(json.dumps(ended()))
    time.sleep(0.2)
    console = quiet()
    try:
        make_way(tmp_path / "own", console)
        assert jobs[0].wait(5) is not None
        assert jobs[1].poll() is None
        assert "1 job of a killed run ended" in said(console)
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def queue(folder: Path, name: str, text: str) -> None:
    """Make a stand-in for a cluster's command."""
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text(f"#!/bin/sh\n/bin/cat <<'E'\n{text}\nE\n")
    script.chmod(0o755)


@pytest.mark.parametrize(
    ("command", "text", "end"),
    [
        ("squeue", "41 RUNNING", "scancel 41"),
        ("bjobs", "41 RUN\n42 DONE", "bkill 41"),
        ("condor_q", "41 2\n42 4", "condor_rm 41"),
        ("qstat", "job-ID prior\n-----\n 41 0.5 name me r", "qdel 41"),
    ],
)
def test_jobs_that_a_cluster_still_has_keep_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, text: str, end: str
) -> None:
    """Snakemake noted their numbers; two runs that write into one folder would spoil each other."""
    place = locked(tmp_path, **ended())
    sent = tmp_path / ".snakemake" / "incomplete"
    sent.mkdir()
    for number in ("41", "42"):
        (sent / number).write_text(json.dumps({"external_jobid": number}))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(locks, "QUEUES", {command: locks.QUEUES[command]})
    with pytest.raises(CarseqError, match="no command of a cluster is on PATH"):
        make_way(tmp_path, quiet())
    queue(tmp_path / "bin", command, text)
    with pytest.raises(CarseqError) as caught:
        make_way(tmp_path, quiet())
    assert end in caught.value.remedy
    assert "42" not in caught.value.remedy
    queue(tmp_path / "bin", command, "")
    make_way(tmp_path, quiet())
    assert not any(place.iterdir())


def test_a_cluster_that_does_not_answer_may_still_have_its_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm fails as well where it knows the jobs no longer; tasks of an array that wait are listed one by one."""
    words = tmp_path / "words"
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    monkeypatch.setattr(locks, "QUEUES", {"squeue": locks.QUEUES["squeue"]})

    def answers(text: str, said: str) -> None:
        queue(tmp_path / "bin", "squeue", text)
        script = tmp_path / "bin" / "squeue"
        more = f"echo \"$@\" > '{words}'\necho '{said}' >&2\n[ -z '{said}' ]\n"
        script.write_text(script.read_text() + more)

    answers("", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    assert locks.still_queued(["41"]) is None
    answers("", "slurm_load_jobs error: Invalid job id specified")
    assert locks.still_queued(["41"]) == ([], "scancel ")
    answers("41_1 PENDING\n41_2 PENDING", "")
    assert locks.still_queued(["41_1", "41_2"]) == (["41_1", "41_2"], "scancel 41_1 41_2")
    assert "--array" in words.read_text().split()


def test_a_run_is_noted_while_it_lives(tmp_path: Path) -> None:
    locks.note_run(tmp_path)
    noted = locks.noted_run(tmp_path)
    assert noted is not None
    assert locks.lives(noted)
    locks.forget_run(tmp_path)
    assert locks.noted_run(tmp_path) is None


# Failures


def test_two_studies_do_not_write_to_one_results_folder(tmp_path: Path) -> None:
    """Their folders differ, so Snakemake's lock of one says nothing to the other; both name the same `results`."""
    results, one, two = (tmp_path / name for name in ("results", "one", "two"))
    assert locks.check_alone(results, two) == ""
    locks.note_results(results, one)
    with pytest.raises(CarseqError, match=r"another run is writing to .*results\n.*study in .*one"):
        locks.check_alone(results, two)
    assert locks.check_alone(results, one) == ""
    locks.forget_results(results, two)
    note = results / locks.RESULTS_NOTE
    elsewhere = note.read_text().replace(platform.node(), "other-machine")
    dead = re.sub(r'"pid": \d+', '"pid": 999999999', note.read_text())
    note.write_text(elsewhere)
    assert "on other-machine" in locks.check_alone(results, two)
    note.write_text(dead)
    assert locks.check_alone(results, two) == ""
    locks.forget_results(results, one)
    assert not note.exists()


def failed(folder: Path, log: str, said: str = "") -> CarseqError:
    (folder / "x.log").write_text(log)
    return reason(Failed("align", "aligning P01", ("x.log", "gone.log"), said), folder)


LOGS = {
    "told by carseq": (
        "2026-01-01 ERROR carseq.workflow: STAR failed\n  why:        no space\n  what to do: free some\n", "",
        "STAR failed", "free some",
    ),
    "the kernel's": ("", "subprocess died with <Signals.SIGKILL: 9>.", "align was killed", "memory"),
    "Slurm's time": ("slurmstepd: error: *** JOB 7 CANCELLED DUE TO TIME LIMIT ***", "", "time", "align:runtime"),
    "Slurm's memory": ("slurmstepd: error: Exceeded job memory limit", "", "memory", "align:mem_mb"),
    "LSF's memory": ("TERM_MEMLIMIT: job killed after reaching LSF memory usage limit.", "", "memory", "align:mem_mb"),
    "LSF's time": ("TERM_RUNLIMIT: job killed after reaching LSF run time limit.", "", "time", "align:runtime"),
    "a lost node": ("", "slurm job failed: state NODE_FAIL", "the node of align was lost", "--retries"),
    "a full disk": ("Traceback\nOSError: [Errno 28] No space left on device", "", "written", "free disk space"),
    "what is not known": ("one\ntwo\nKeyError: 'q'", "", "align failed", "report this"),
}  # fmt: skip


@pytest.mark.parametrize("what", LOGS)
def test_a_failure_is_told_in_words(tmp_path: Path, what: str) -> None:
    log, text, message, remedy = LOGS[what]
    told = failed(tmp_path, log, text)
    assert message in told.message
    assert remedy in told.remedy


def test_an_unknown_failure_shows_the_logs_last_lines(tmp_path: Path) -> None:
    told = failed(tmp_path, "\n".join(f"line {i}" for i in range(40)) + "\nKeyError: 'q'\n")
    assert "KeyError: 'q'" in told.cause
    assert "line 39" in told.cause
    assert "line 9" not in told.cause


# What is shown


def record(event: str, **values: Any) -> logging.LogRecord:
    """Return a record as Snakemake logs it."""
    from snakemake_interface_logger_plugins.common import LogEvent

    made = logging.LogRecord("snakemake", values.pop("level", logging.INFO), "", 0, "", None, None)
    if event:
        made.event = LogEvent(event)
    for name, v in values.items():
        setattr(made, name, v)
    return made


def job_error(jobid: int, log: str) -> logging.LogRecord:
    more = {"rule_name": "align", "rule_msg": "", "aux": {}, "indent": False}
    return record("job_error", jobid=jobid, log=[log], **more)


def test_progress_says_done_and_left_and_a_retry_that_ends_well_is_no_failure(
    tmp_path: Path,
) -> None:
    console = quiet()
    (tmp_path / "x.log").write_text("Exceeded job memory limit")
    with Screen(console, tmp_path) as screen:
        screen.take(record("run_info", stats={"align": 2, "total": 2}))
        for number, sample in ((1, "P01"), (2, "P02")):
            title = f"solo: aligning {sample}"
            screen.take(record("job_info", jobid=number, rule_name="align", rule_msg=title, wildcards={}))  # fmt: skip
        screen.take(job_error(1, "x.log"))
        assert set(screen.failed) == {1}
        screen.take(record("", msg="Trying to restart job 1."))
        screen.take(record("job_finished", job_id=2))
        screen.take(record("progress", done=1, total=30))
        screen.take(record("job_finished", job_id=1))
        assert not screen.failed
    text = said(console)
    assert "✗ solo: aligning P01: align ran out of memory" in text
    assert text.index("1/2 solo: aligning P02") < text.index("2/2 solo: aligning P01")


# The machine and the demo


def test_the_doctor_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "machine_megabytes", lambda: 2000)
    monkeypatch.setattr(doctor, "disk_megabytes", lambda folder: 100.0)
    wanted = ["snakemake>=9.6", "no-such-package>=1", "numpy>=99; extra == 'x'"]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: wanted)
    found = dict(doctor.examine(tmp_path))
    wrong = {what: str(told) for what, told in found.items() if isinstance(told, CarseqError)}
    assert set(wrong) == {"STAR", "memory", "disk", "packages"}
    assert "--install-star" in wrong["STAR"]
    assert "pip install 'no-such-package>=1'" in wrong["packages"]
    assert "numpy" not in wrong["packages"]


@pytest.mark.parametrize(("kept", "compiled"), [(True, False), (False, True), (False, False)])
def test_the_doctor_tells_that_each_job_compiles_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: bool, compiled: bool
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", not kept)
    monkeypatch.setattr(doctor, "_compiled", lambda package: compiled)
    found = dict(doctor.examine(tmp_path))
    assert ("bytecode" in found) == (not kept and not compiled)
    if not kept and not compiled:
        assert "compileall" in str(found["bytecode"])


def test_the_doctor_tells_a_cluster_whose_plugin_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bsub", "bqueues"):
        queue(tmp_path, name, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(clusters, "has_executor", lambda executor: False)
    found = dict(doctor.examine(tmp_path))
    assert "pip install snakemake-executor-plugin-lsf" in str(found["LSF"])
    assert "Grid Engine" not in found


def test_the_demo_takes_no_folder_of_others(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("x")
    with pytest.raises(CarseqError, match="is not empty"):
        prepare_demo(tmp_path)
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(CarseqError, match="not the demo"):
        prepare_demo(tmp_path)


def test_an_option_is_no_folder_for_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`carseq demo -n` simulated for two minutes into a folder named -n."""
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["demo", "-n"])
    assert isinstance(done.exception, CarseqError)
    assert "the folder comes first" in done.exception.cause
    assert not list(tmp_path.iterdir())


def test_the_installer_of_star_finds_the_one_on_path(tmp_path: Path) -> None:
    """envs/install-star.sh, as the wheel holds it, changes nothing where STAR is there."""
    queue(tmp_path, "STAR", "2.7.11b")
    script = workflow_folder() / "envs" / "install-star.sh"
    path = f"{tmp_path}:{Path(shutil.which('bash') or '/bin/bash').parent}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", str(script), str(tmp_path / "env")],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "STAR 2.7.11b is on PATH" in done.stdout
    assert not (tmp_path / "env").exists()


def test_star_may_be_named_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program or its folder; a wrong path is told, and is not passed over for the STAR on PATH."""
    for name, version in (("path", "1"), ("own", "2.7.11b")):
        queue(tmp_path / name, "STAR", version)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    assert star_version() == "1"
    for given in ("own", "own/STAR"):
        monkeypatch.setenv("CARSEQ_STAR", str(tmp_path / given))
        assert star_version() == "2.7.11b"
    monkeypatch.setenv("CARSEQ_STAR", str(tmp_path / "gone"))
    with pytest.raises(CarseqError, match="CARSEQ_STAR names no program"):
        star_version()


def test_on_a_terminal_a_bar_shows_what_runs(tmp_path: Path) -> None:
    """A bar with the jobs done and left and the job at work; it is gone at the end, the lines stay."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    with Screen(console, tmp_path) as screen:
        screen.take(record("run_info", stats={"align": 2, "total": 2}))
        title = "solo: aligning P01"
        screen.take(record("job_info", jobid=1, rule_name="align", rule_msg=title, wildcards={}))
        screen._bar.refresh()
    text = said(console)
    assert re.search(r"solo: aligning P01 .*0/2", text)
    assert "2 jobs" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_is_known_although_stderr_leads_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    """Snakemake's own output goes to a file beside its log, and what carseq shows to where stderr led before."""
    seen = []

    def snakemake(words: list[str], screen: Screen | None = None) -> int:
        assert screen is not None
        seen.append(screen.console.is_terminal)
        os.write(2, b"what a job prints\n")
        return 0

    monkeypatch.setattr(running, "_snakemake", snakemake)
    monkeypatch.setenv("TERM", "xterm")
    before = os.dup(2)
    leader, follower = os.openpty()
    led = follower if terminal else os.open(tmp_path / "led", os.O_WRONLY | os.O_CREAT)
    try:
        os.dup2(led, 2)
        monkeypatch.setattr(sys, "stderr", os.fdopen(2, "w", closefd=False))
        running.run_study(tmp_path / "config.yaml", Options(), Console(stderr=True))
    finally:
        os.dup2(before, 2)
        for handle in {before, leader, follower, led}:
            os.close(handle)
    assert seen == [terminal]
    (printed,) = (tmp_path / ".snakemake/log").glob("*.printed.log")
    assert printed.read_text() == "what a job prints\n"


def test_ctrl_c_is_a_stop_and_no_job_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal sends Ctrl-C to the jobs too: one may end before Snakemake says that it stops."""
    screens = []

    class Kept(Screen):
        def __enter__(self) -> Screen:
            screens.append(self)
            return super().__enter__()

    def main(words: list[str]) -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            time.sleep(10)
        except KeyboardInterrupt:
            screens[0].take(job_error(1, "no.log"))
            raise

    monkeypatch.setattr(running, "Screen", Kept)
    monkeypatch.setattr("snakemake.cli.main", main)
    console = quiet()
    assert running.run_study(tmp_path / "config.yaml", Options(), console) == 130
    assert not screens[0].failed
    assert "stopped; the same command goes on from here" in said(console)
    assert "✗" not in said(console)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_ended_ends_its_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    """Snakemake would wait for them, and whoever sent the signal kills soon."""
    script = tmp_path / ".snakemake/scripts/job.py"
    script.parent.mkdir(parents=True)
    ended = tmp_path / "ended"
    script.write_text(
        f"import time; print(flush=True); time.sleep(60); open({str(ended)!r}, 'w').close()"
    )
    jobs: list[subprocess.Popen[bytes]] = []

    def main(words: list[str]) -> None:
        from snakemake.workflow import JobScheduler

        job = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE)
        jobs.append(job)
        assert job.stdout is not None
        job.stdout.readline()
        # As the scheduler does when it begins.
        if number == signal.SIGTERM:
            taken = JobScheduler.exit_gracefully.__get__(object())
            signal.signal(signal.SIGTERM, taken)
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            job.wait(20)
            raise

    monkeypatch.setattr("snakemake.cli.main", main)
    # The tests themselves may have been begun by nohup.
    own = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    console = quiet()
    try:
        assert running.run_study(tmp_path / "config.yaml", Options(), console) == 128 + number
        assert before == {n: signal.getsignal(n) for n in before}
    finally:
        signal.signal(signal.SIGHUP, own)
    # Its exit code may have been taken by the one who ended it.
    assert not psutil.pid_exists(jobs[0].pid)
    assert not ended.exists()
    assert "stopped; the same command goes on from here" in said(console)


def test_nohup_keeps_a_run_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakemake.cli.main", lambda words: signal.raise_signal(signal.SIGHUP))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert running.run_study(tmp_path / "config.yaml", Options(), quiet()) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_home_that_takes_no_cache_is_not_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers have none for their users; Snakemake and numba would end in tracebacks."""
    seen = {}
    monkeypatch.setattr("snakemake.cli.main", lambda words: seen.update(os.environ))
    monkeypatch.setenv("HOME", "/proc/none")
    changed = (
        "XDG_CACHE_HOME",
        "NUMBA_CACHE_DIR",
        "MPLCONFIGDIR",
        "IPYTHONDIR",
        "JUPYTER_RUNTIME_DIR",
    )
    for name in changed:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    assert running.run_study(tmp_path / "config.yaml", Options(), quiet()) == 0
    assert Path(seen["XDG_CACHE_HOME"]).parent == Path(seen["NUMBA_CACHE_DIR"]).parents[1]
    assert Path(seen["XDG_CACHE_HOME"]).parent == tmp_path / ".snakemake"


def test_a_full_disk_below_the_notes_is_told_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever Snakemake says then goes to that disk and is lost.

    In another user's folder the remedy was to free disk space.
    """

    def full(number: int, dir: object) -> None:
        raise OSError(number, os.strerror(number))

    for number, cause, remedy in (
        (errno.ENOSPC, "the disk is full", "free disk space"),
        (errno.EACCES, "you have no permission", "ask its owner"),
    ):
        monkeypatch.setattr("carseq.io.failures.tempfile.TemporaryFile", partial(full, number))
        with pytest.raises(CarseqError, match="cannot be written to") as told:
            running.run_study(tmp_path / "config.yaml", Options(), quiet())
        assert cause in told.value.cause
        assert remedy in told.value.remedy


def test_notes_of_another_user_that_are_closed_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake opens its notes to the group alone: who is not in it met a traceback."""
    (tmp_path / "note").write_text("{}")

    def closed(self: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", closed)
    with pytest.raises(CarseqError, match=r"cannot be read: .*note") as told:
        take_over_notes(tmp_path, tmp_path)
    assert "chgrp" in told.value.remedy


def test_a_linked_configuration_is_read_where_the_link_lies(tmp_path: Path) -> None:
    """`ln -s ../first/config.yaml`: `carseq check` read the sheets beside the link, and the run those of the other."""
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "config.yaml").write_text("samples: samples.tsv\n")
    link = tmp_path / "second" / "config.yaml"
    link.parent.mkdir()
    link.symlink_to("../first/config.yaml")
    words = arguments(link, Options())
    assert words[words.index("--configfile") + 1] == str(link)
    assert words[words.index("--directory") + 1] == str(link.parent)
