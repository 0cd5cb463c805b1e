"""Which run is at work in a study's folder, and whether a lock there was left by one that is dead.

Snakemake locks a folder while it runs in it, and names nobody in the lock. The workflow therefore writes down which
process of which machine runs (:func:`note_run`), and takes the note away at the end: what is found there later belongs
to a run that lives or was killed.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from carseq.errors import CarseqError
from carseq.io.atomic import atomic

if TYPE_CHECKING:
    import psutil

#: The note, below the folder that Snakemake runs in.
NOTE = ".snakemake/carseq_run.json"
#: Two clocks' difference that still means the same start of a process (seconds).
_SAME_START = 2.0


@dataclass(frozen=True)
class Run:
    """A run, as it recorded itself.

    Attributes
    ----------
    host
        The machine's name.
    pid, started
        The process and when it began, in seconds since 1970: together they name one process of a machine.
    """

    host: str
    pid: int
    started: float


def _beginning(process: psutil.Process) -> float:
    return float(process.create_time())


def _this_run() -> Run:
    import psutil

    return Run(platform.node(), os.getpid(), _beginning(psutil.Process()))


def note_run(folder: str | Path) -> None:
    """Write down that this process runs the workflow in a folder."""
    run = _this_run()
    place = Path(folder) / NOTE
    place.parent.mkdir(exist_ok=True)
    with atomic(place) as path:
        path.write_text(json.dumps(asdict(run)) + "\n")


def forget_run(folder: str | Path) -> None:
    """Take the note away: the run has ended, or the user says that it has (``--unlock``)."""
    (Path(folder) / NOTE).unlink(missing_ok=True)


def noted_run(folder: str | Path) -> Run | None:
    """Return the run that is recorded in a folder and did not end."""
    try:
        return Run(**json.loads((Path(folder) / NOTE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


#: The note in a folder of results, for runs of other folders that write there: Snakemake locks its own folder alone.
RESULTS_NOTE = ".run.json"


def note_results(results: str | Path, folder: str | Path) -> None:
    """Write down that this process, at work in a folder, writes results; where nothing can be written, nothing."""
    run = _this_run()
    with suppress(OSError):
        Path(results).mkdir(parents=True, exist_ok=True)
        with atomic(Path(results) / RESULTS_NOTE) as path:
            text = json.dumps({"run": asdict(run), "folder": os.path.realpath(folder)})
            path.write_text(text + "\n")


def _noted_results(results: str | Path) -> tuple[Run, str] | None:
    try:
        found = json.loads((Path(results) / RESULTS_NOTE).read_text())
        return Run(**found["run"]), str(found["folder"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def forget_results(results: str | Path, folder: str | Path) -> None:
    """Take away the note that a run of a folder left in its results."""
    noted = _noted_results(results)
    if noted and noted[1] == os.path.realpath(folder):
        with suppress(OSError):
            (Path(results) / RESULTS_NOTE).unlink(missing_ok=True)


def check_alone(results: str | Path, folder: str | Path) -> str:
    """Check that no run of another folder is writing to these results.

    Parameters
    ----------
    results
        Folder of the results.
    folder
        The folder that this run is at work in, which Snakemake locks.

    Returns
    -------
    str
        What to know of a run on another machine, which cannot be asked whether it lives; empty if there is none.

    Raises
    ------
    CarseqError
        If one is.
    """
    noted = _noted_results(results)
    if noted is None or noted[1] == os.path.realpath(folder):
        return ""
    run, other = noted
    alive = lives(run)
    if alive is None:
        return (
            f"{results} is written to by a run in {other} on {run.host}, if that has not been killed: two studies in "
            "one folder spoil each other"
        )
    if not alive:
        return ""
    raise CarseqError(
        f"another run is writing to {results}",
        f"process {run.pid}, for the study in {other}",
        "give each study a `results` of its own; or wait for its end",
    )


def is_locked(folder: str | Path) -> bool:
    """Tell whether Snakemake has locked a folder."""
    locks = Path(folder) / ".snakemake" / "locks"
    return locks.is_dir() and any(locks.iterdir())


def lives(run: Run) -> bool | None:
    """Tell whether a run is still at work; None if it was started on another machine, which cannot be asked."""
    import psutil

    if run.host != platform.node():
        return None
    try:
        process = psutil.Process(run.pid)
        return (
            process.status() != psutil.STATUS_ZOMBIE
            and abs(_beginning(process) - run.started) < _SAME_START
        )
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        # Another user's process may hide what it is.
        return True


def runs_in(folder: str | Path) -> list[int]:
    """Return the processes of other Snakemakes that run in a folder, on this machine."""
    import psutil

    own = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = []
    noted = noted_run(folder)
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        is_run = any("snakemake" in Path(word).name for word in words[:4])
        place = process.info["cwd"]
        if (
            is_run
            and process.pid not in own
            and place
            and Path(place).resolve() == Path(folder).resolve()
        ):
            found.append(process.pid)
    if noted and noted.pid not in {*own, *found} and lives(noted):
        found.append(noted.pid)
    return found


def jobs_in(folder: str | Path) -> list[psutil.Process]:
    """Return the jobs on this machine whose scripts Snakemake wrote into a folder: of a killed run they may go on."""
    import psutil

    scripts = Path(folder).resolve() / ".snakemake" / "scripts"
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        if any(Path(word).parent == scripts for word in words[1:4] if word.startswith("/")):
            found.append(process)
    return found


#: The command that lists jobs -> (its options before their numbers, whether they are joined by a comma, what ends a
#: job). Grid Engine and PBS list all of a user's jobs.
QUEUES: dict[str, tuple[tuple[str, ...], str, str]] = {
    # Without --array the tasks of an array that wait have one line, 41_[1-9].
    "squeue": (("--noheader", "--array", "--format=%i %T", "--jobs"), ",", "scancel"),
    "bjobs": (("-noheader", "-o", "jobid stat"), " ", "bkill"),
    "condor_q": (("-autoformat", "ClusterId", "JobStatus"), " ", "condor_rm"),
    "qstat": ((), "", "qdel"),
}
#: States of jobs that are over, which LSF and HTCondor list for a while (3 removed, 4 completed).
_OVER = {"DONE", "EXIT", "3", "4"}
#: What Slurm and LSF say, with an exit status of a failure, where they know none of the jobs any longer.
_UNKNOWN = ("invalid job id", "is not found")


def sent_jobs(folder: str | Path) -> list[str]:
    """Return the cluster's numbers of jobs that were at work when a run in a folder ended, as Snakemake noted them."""
    numbers = set()
    place = Path(folder) / ".snakemake" / "incomplete"
    for path in place.rglob("*") if place.is_dir() else ():
        with suppress(OSError, ValueError):
            number = json.loads(path.read_text()).get("external_jobid")
            if number:
                numbers.add(str(number))
    return sorted(numbers)


def still_queued(numbers: Sequence[str]) -> tuple[list[str], str] | None:
    """Return which of some jobs a cluster still has, and the command that ends them.

    The cluster is the one whose command is on PATH; None if there is none, or it does not answer.
    """
    for name, (options, joined, end) in QUEUES.items():
        if shutil.which(name) is None:
            continue
        bare = [number.partition(".")[0] for number in numbers]
        words = [joined.join(bare)] if joined == "," else bare if joined else []
        try:
            done = subprocess.run(
                [name, *options, *words], capture_output=True, text=True, timeout=60, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        rows = [line.split() for line in done.stdout.splitlines() if line.split()]
        said = (done.stdout + done.stderr).lower()
        if done.returncode and not rows and not any(words in said for words in _UNKNOWN):
            return None
        listed = {row[0].partition(".")[0] for row in rows if row[1:2] and row[1] not in _OVER}
        there = [number for number, own in zip(numbers, bare, strict=True) if own in listed]
        return there, f"{end} {' '.join(there)}"
    return None


def lock_notice(
    folder: str | Path, configfiles: Sequence[str | Path], command: Sequence[str] = ()
) -> str:
    """Return what to do about a folder that Snakemake has locked; empty if it is not.

    Snakemake locks a folder while it runs in it. A run that was killed leaves the lock, and the next one stops there.

    Parameters
    ----------
    folder
        Where Snakemake runs (``--directory``).
    configfiles
        The study's configuration files.
    command
        How Snakemake was called (``sys.argv``), to be called so again; empty: the usual way.
    """
    if not is_locked(folder):
        return ""
    # Snakemake killed alone leaves its jobs at work.
    if others := runs_in(folder) or [job.pid for job in jobs_in(folder)]:
        named = " and ".join(str(pid) for pid in others[:4])
        return (
            f"another run is at work in {folder} (process {named}): wait until it ends, or end it with "
            f"`kill {' '.join(map(str, others))}`"
        )
    if command:
        called = Path(command[0])
        start = [called.name if shutil.which(called.name) == str(called) else str(called)]
        if called.name == "__main__.py":
            start = [sys.executable, "-m", "snakemake"]
        whole = shlex.join([*start, *command[1:]])
        # Options first: what follows `--` is a file that is asked for.
        unlock = shlex.join([*start, "--unlock", *command[1:]])
    else:
        given = f" --configfile {' '.join(map(str, configfiles))}" if configfiles else ""
        unlock, whole = (
            f"snakemake{given} --unlock",
            f"snakemake{given} --cores {os.cpu_count() or 1}",
        )
    return (
        f"a run in {folder} was killed and has left its lock. If none is going on there from another machine, this "
        f"command goes on where it stopped: {unlock} && {whole}"
    )
