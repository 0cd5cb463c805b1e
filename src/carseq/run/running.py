"""A study run from any folder: checked, unlocked where it may be, shown, and its verdict printed."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

import psutil
from rich.console import Console
from rich.markup import escape

from carseq import locks, preload
from carseq.errors import CarseqError
from carseq.io.failures import check_scratch
from carseq.machine import machine_cores, machine_megabytes
from carseq.run.clusters import check_executor, check_profile, find_profile
from carseq.run.files import workflow_folder
from carseq.run.progress import Screen, logger_plugin
from carseq.run.reasons import log_paths, reason

#: Seconds that jobs of a killed run have to end by themselves.
_GRACE = 30.0
#: Seconds that jobs of a run that is stopped have, first before they are told to end (Ctrl-C of a terminal has told
#: them already), then before they are killed: `docker stop` kills all after 10 s.
_TOLD, _KILLED = {signal.SIGINT: 4.0}, 6.0
#: Exit codes: of an option that Snakemake does not know, and of a run that the user stopped (128 + SIGINT).
WRONG_OPTION, STOPPED = 2, 130


@dataclass
class Options:
    """How a study is to be run.

    Attributes
    ----------
    cores
        Cores, or ``all``; None: one more than this machine has, or what the profile says.
    profile
        A profile of carseq or of the user.
    dry_run
        Only show what would run.
    directory
        Where Snakemake runs; None: the configuration's folder.
    words
        Further options of Snakemake.
    """

    cores: str | None = None
    profile: str | None = None
    dry_run: bool = False
    directory: Path | None = None
    words: Sequence[str] = field(default_factory=list)

    def given(self, *names: str) -> bool:
        """Tell whether one of some options stands among the words."""
        return any(word.split("=", 1)[0] in names for word in self.words)

    @property
    def ends_in_verdict(self) -> bool:
        """Whether a whole run is asked for: no other question to Snakemake, no part of the jobs."""
        return not self.dry_run and not self.given(*_NO_RUN, *_IN_PART)

    def value(self, name: str) -> str:
        """Return the value of an option among the words; empty if it is not there."""
        for at, word in enumerate(self.words):
            if word == name:
                return self.words[at + 1] if at + 1 < len(self.words) else ""
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
        return ""


#: Options of Snakemake that ask for something else than a run.
_NO_RUN = (
    "--unlock", "--list", "-l", "--list-rules", "--list-target-rules", "--lt", "--dag", "--rulegraph", "--filegraph",
    "--d3dag", "--summary", "-S", "--detailed-summary", "-D", "--report", "--lint", "--archive", "--touch", "-t",
    "--generate-unit-tests", "--delete-all-output", "--delete-temp-output", "--cleanup-metadata", "--cm",
    "--list-input-changes", "--li", "--list-params-changes", "--lp", "--list-code-changes", "--lc", "--help", "-h",
    "--version", "-v", "--conda-create-envs-only", "--list-conda-envs", "--edit-notebook", "--print-compilation",
    "--containerize",
)  # fmt: skip
#: With these as well Snakemake speaks for itself.
_OTHER = (*_NO_RUN, "--verbose", "--debug-dag", "--logger", "--quiet", "-q")
#: Options that leave a part of the jobs out: what an earlier run concluded may no longer be so.
_IN_PART = ("--until", "-U", "--omit-from", "-O")


def prepare(config: Path, options: Options, *, remote: str = "") -> None:
    """Import in another process what the jobs on this machine will need, while this one checks the study.

    Parameters
    ----------
    config
        The study's configuration.
    options
        How it is to be run.
    remote
        The executor that sends jobs away; empty: they run here.
    """
    if remote or options.dry_run or options.given(*_OTHER):
        return
    _cache_in((options.directory or config.parent).resolve() / ".snakemake")
    preload.start(workflow_folder() / "workflow" / "scripts")


def run_study(config: Path, options: Options, console: Console) -> int:
    """Run a study and return the exit code: 0 done, 1 failed, 130 stopped by Ctrl-C, 143 by SIGTERM.

    Parameters
    ----------
    config
        The study's configuration. It is taken for checked.
    options
        How to run it.
    console
        Where to show what happens.

    Raises
    ------
    CarseqError
        If the profile cannot be used here, or another run is at work in the folder.
    """
    folder = (options.directory or config.parent).resolve()
    remote = executor_of(options)
    command = arguments(config, options, remote=remote)
    other = options.given(*_OTHER)
    if options.dry_run:
        # Snakemake's notes go there, and it ends in a traceback where it cannot write.
        (folder / ".snakemake").mkdir(parents=True, exist_ok=True)
    elif not other:
        make_way(folder, console)
    if other:
        return _snakemake(command)
    # Asked before stderr leads elsewhere.
    terminal, width = console.is_terminal, console.width
    with _apart(folder, options.dry_run) as (own, printed):
        shown = Console(file=own, force_terminal=terminal, width=width)
        with Screen(shown, folder, dry=options.dry_run) as screen:
            code = _snakemake(command, screen)
    text = printed.read_text(errors="replace") if printed.is_file() else ""
    if options.dry_run:
        _tell_plan(screen, console)
    if code == 0:
        if screen.nothing:
            console.print("nothing to do: all results are there", highlight=False)
        return 0
    if screen.interrupted:
        console.print("stopped; the same command goes on from here", highlight=False)
        return screen.interrupted
    if code == WRONG_OPTION and not screen.total:
        wrong = [line for line in text.splitlines() if "error:" in line][-1:]
        console.print("\n".join(wrong) or text, markup=False, highlight=False, soft_wrap=True)
        console.print(
            "`carseq run --help` and `snakemake --help` list the options", highlight=False
        )
        return code
    _tell_failures(screen, folder, text, console)
    return code


def executor_of(options: Options) -> str:
    """Return the executor of a cluster that jobs go to; empty on this machine.

    Raises
    ------
    CarseqError
        If jobs cannot be sent from here: no such profile, no plugin, no command of the cluster.
    """
    executor = options.value("--executor") or options.value("-e")
    if executor:
        check_executor(executor, "--executor")
    elif options.profile and options.profile != "none":
        executor = check_profile(find_profile(options.profile))
    return "" if executor in ("", "local", "dryrun", "touch") else executor


def arguments(config: Path, options: Options, *, remote: str = "") -> list[str]:
    """Return Snakemake's arguments for a study.

    Without a cluster the machine's cores and memory are named, so that only as many jobs run at once as fit.

    Parameters
    ----------
    config
        The study's configuration.
    options
        How to run it.
    remote
        The executor that sends jobs away; empty: they run here.
    """
    place = workflow_folder()
    folder = (options.directory or config.parent).resolve()
    words = [
        "--snakefile", str(place / "Snakefile"),
        # Not where a link leads: the paths in it are relative to where it lies.
        "--configfile", str(config.absolute()), "--directory", str(folder),
    ]  # fmt: skip
    if not options.given("--workflow-profile"):
        words += ["--workflow-profile", str(place / "profiles" / "default")]
    if options.profile:
        words += ["--profile", find_profile(options.profile)]
    cores = options.cores
    if cores is None and not remote and not options.given("--jobs", "-j", "--cores", "-c"):
        # One job more: an alignment leaves cores idle while it reads its lists, sorts and counts.
        cores = str(machine_cores() + 1)
    if cores is not None:
        words += ["--cores", cores]
    if not remote and not options.given("--resources", "--res"):
        # It takes all words up to the next option: a file that is asked for must not follow it.
        words = ["--resources", f"mem_mb={machine_megabytes()}", *words]
    if options.dry_run:
        # Of a study of hundreds of samples the listing of each job takes as long as the plan.
        words += ["--quiet", "rules", "progress", "--dry-run"]
    return [*words, *options.words]


def make_way(folder: Path, console: Console) -> None:
    """Take away the lock that a killed run left, and end what is left of its jobs.

    Raises
    ------
    CarseqError
        If a run is at work in the folder, or may be: on another machine, or as jobs of a cluster.
    """
    if others := locks.runs_in(folder):
        named = " ".join(map(str, others))
        raise CarseqError(
            f"another run is at work in {folder}",
            f"process {named} of this machine",
            f"wait until it ends, or end it: kill {named}",
        )
    if not locks.is_locked(folder):
        return
    noted = locks.noted_run(folder)
    if noted is None or locks.lives(noted) is None:
        who = (
            f"it was started on {noted.host} (process {noted.pid}), which cannot be asked from here"
            if noted
            else "it is not known which run set the lock"
        )
        raise CarseqError(
            f"{folder} is locked",
            who,
            f"if no run is at work there, look on {noted.host if noted else 'the machine it was started on'}, "
            "remove the lock by adding --unlock, then give the command again",
        )
    _end_sent(folder)
    _end_jobs(folder, console)
    for lock in (folder / ".snakemake" / "locks").iterdir():
        lock.unlink(missing_ok=True)
    locks.forget_run(folder)
    console.print(
        "a killed run had left its lock: it is removed, and the run continues", highlight=False
    )


def _end_sent(folder: Path) -> None:
    """Raise if a cluster still has jobs of the killed run."""
    sent = locks.sent_jobs(folder)
    if not sent:
        return
    asked = locks.still_queued(sent)
    if asked is None:
        raise CarseqError(
            f"a run in {folder} was killed after it had sent jobs to a cluster",
            f"jobs {', '.join(sent[:8])}; no command of a cluster is on PATH to ask for them, or it does not answer",
            "start the run where jobs are sent from; or, if none of them is at work, add --unlock and run again",
        )
    there, end = asked
    if there:
        raise CarseqError(
            f"jobs of a killed run in {folder} are still with the cluster",
            f"{len(there)} of them: {', '.join(there[:8])}",
            f"wait until they are through, or end them: {end}",
        )


def _end(jobs: Sequence[psutil.Process], seconds: float) -> None:
    """Ask jobs to end, and kill what is left of them and of their children after so many seconds."""
    family: list[psutil.Process] = []
    for job in jobs:
        with suppress(psutil.Error):
            family += [job, *job.children(recursive=True)]
    for job in jobs:
        with suppress(psutil.Error):
            job.terminate()
    _, alive = psutil.wait_procs(family, timeout=seconds)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()


def _end_jobs(folder: Path, console: Console) -> None:
    """End jobs on this machine that a killed run left at work: Snakemake would do them again beside them."""
    left = locks.jobs_in(folder)
    _end(left, _GRACE)
    if left:
        console.print(
            f"{len(left)} job{'s' if len(left) > 1 else ''} of a killed run ended", highlight=False
        )


@contextmanager
def _apart(folder: Path, dry: bool) -> Iterator[tuple[IO[str], Path]]:
    """Send what jobs and Snakemake print to a file; yield the terminal, and the file."""
    place = folder / ".snakemake" / "log"
    printed = place / f"carseq_run_{time.strftime('%Y%m%dT%H%M%S')}.printed.log"
    if not dry:
        place.mkdir(parents=True, exist_ok=True)
        # What Snakemake says of a full disk would go to that disk.
        check_scratch(place)
    sys.stderr.flush()
    kept = os.dup(2)
    target = os.open(os.devnull if dry else printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(target, 2)
    os.close(target)
    own = os.fdopen(kept, "w", buffering=1)
    try:
        yield own, printed
    finally:
        sys.stderr.flush()
        os.dup2(own.fileno(), 2)
        own.close()
        if printed.is_file() and not printed.stat().st_size:
            printed.unlink()


def _snakemake(words: list[str], screen: Screen | None = None) -> int:
    """Run Snakemake in this process and return its exit code."""
    from snakemake.cli import main
    from snakemake_interface_logger_plugins.registry import LoggerPluginRegistry

    if screen is not None:
        registry = LoggerPluginRegistry()
        registry.plugins.pop("carseq", None)
        plugin = logger_plugin(screen)
        registry.register_plugin(plugin.__name__, plugin)
        words = [*words, "--logger", "carseq"]
    _cache_in(Path(words[words.index("--directory") + 1]) / ".snakemake")
    before, here = sys.argv, Path.cwd()
    # The record of the run, and the rules, look here for how Snakemake was called.
    sys.argv = ["snakemake", *words]
    # Jobs find the programs beside this Python, whether its environment is activated or not.
    beside = str(Path(sys.executable).parent)
    if beside not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
    try:
        with _stops_told(screen, Path(words[words.index("--directory") + 1])):
            main(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except KeyboardInterrupt:
        if screen is None:
            return STOPPED
        screen.interrupted = screen.interrupted or STOPPED
        return screen.interrupted
    finally:
        sys.argv = before
        os.chdir(here)
    return 0


def _cache_in(folder: Path) -> None:
    """Let Snakemake and jobs keep their caches in a folder where the home takes none, as in a container."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    try:
        os.makedirs(home, exist_ok=True)
        takes = os.access(home, os.W_OK)
    except OSError:
        takes = False
    if not takes:
        os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
        for name in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
            os.environ.setdefault(name, str(folder / "cache" / name.lower()))


@contextmanager
def _stops_told(screen: Screen | None, folder: Path) -> Iterator[None]:
    """Stop a run at once on Ctrl-C, SIGTERM and a closed terminal: say so on the screen, and end the jobs here.

    Snakemake waits for the jobs that run, for hours if need be. Whoever sends SIGTERM (a queue at its time limit, a
    container that is stopped, a machine that shuts down) kills what is left some seconds later.
    """
    if screen is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    # Where versions of Snakemake agree on its place.
    from snakemake.workflow import JobScheduler

    def stop(number: int, frame: FrameType | None) -> None:
        if not screen.interrupted:
            screen.interrupted = 128 + number
            ends = threading.Thread(target=_end_running, args=(folder, number), daemon=True)
            ends.start()
        signal.default_int_handler(number, frame)

    numbers = [signal.SIGINT, signal.SIGTERM]
    # `nohup` means that the run goes on without its terminal.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    # Snakemake's scheduler takes SIGTERM for itself, and then waits.
    waits = JobScheduler.exit_gracefully
    JobScheduler.exit_gracefully = lambda _, *given: stop(*given)
    try:
        yield
    finally:
        JobScheduler.exit_gracefully = waits
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_running(folder: Path, number: int) -> None:
    """End the jobs of this run on this machine: those that did not end by themselves, then those that will not."""
    time.sleep(_TOLD.get(signal.Signals(number), 0.0))
    _end(locks.jobs_in(folder), _KILLED)


def _tell_plan(screen: Screen, console: Console) -> None:
    """Print what a run would do."""
    if not screen.planned:
        return
    console.print(f"{screen.total} jobs would run:", highlight=False)
    for rule, number in screen.planned.items():
        console.print(f"  {number:>5}  {rule}", highlight=False)


def _tell_failures(screen: Screen, folder: Path, printed: str, console: Console) -> None:
    """Print why a run failed and what to do about it."""
    for job in screen.failed.values():
        told = reason(job, folder, printed)
        console.print(f"\n[red]✗ {escape(job.title)}[/] [dim]({job.rule})[/]", highlight=False)
        console.print(str(told), markup=False, highlight=False, soft_wrap=True)
        for path in log_paths(job, folder):
            console.print(f"  log:        {path}", markup=False, highlight=False, soft_wrap=True)
    if not screen.failed:
        said = [text for text in screen.errors if not text.startswith("Exiting because")]
        nothing = [f"Snakemake ended without a word; its log is in {folder / '.snakemake' / 'log'}"]
        for text in said or printed.strip().splitlines()[-12:] or nothing:
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    if screen.total:
        left = screen.total - screen.done
        console.print(
            f"\n{screen.done} of {screen.total} jobs done, {left} left; "
            "once that is corrected, give the same command: the run continues from here",
            highlight=False,
            soft_wrap=True,
        )
