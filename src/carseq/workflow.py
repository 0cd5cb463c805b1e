"""What the workflow's thin scripts and the Snakefile share. Needs no Snakemake itself."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import platform
import re
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import carseq
from carseq.errors import CarseqError
from carseq.io.atomic import atomic, remove_temporaries
from carseq.io.checksums import check_whole, forget, known_files, remember
from carseq.io.failures import KILLED, machine_failure
from carseq.log import get_logger, to_file
from carseq.machine import spare_arrays, spare_extensions, taken
from carseq.schema.results import BENCHMARKS, LOGS

if TYPE_CHECKING:
    from carseq.study.model import Study

#: Packages whose versions go into ``versions.json`` and the report's methods.
PACKAGES = (
    "snakemake", "scanpy", "anndata", "scvi-tools", "torch", "pysam", "parasail", "mappy",
    "leidenalg", "igraph", "umap-learn", "scikit-learn", "scipy", "numpy", "pandas", "ngs-tools",
)  # fmt: skip


def study_from_config(config: dict[str, Any], configfiles: Sequence[str | Path]) -> Study:
    """Return the validated study of a Snakemake ``config`` mapping.

    Parameters
    ----------
    config
        Snakemake's config.
    configfiles
        The files it came from; paths in it are relative to the last one, else to the working directory.

    Raises
    ------
    CarseqError
        If there is no configuration or anything in it is not valid.
    """
    # Not for the jobs, which have what they need in their parameters.
    from carseq.study.config import parse_config, resolve_paths
    from carseq.study.load import load_study
    from carseq.study.texts import read_yaml

    if not config:
        raise CarseqError(
            "no configuration was given",
            "carseq needs samples, a construct and a reference",
            "run `snakemake --configfile my.yaml --cores N`; `carseq init` writes a config to start from, "
            "`make demo` runs a study that needs nothing",
        )
    # Snakemake's own reader lets the last of two keys win, without a word.
    for file in configfiles:
        if twice := read_yaml(Path(file))[1]:
            raise twice[0]
    base = Path(configfiles[-1]).parent if configfiles else Path.cwd()
    source = str(configfiles[-1]) if configfiles else "the configuration"
    return load_study(resolve_paths(parse_config(dict(config), source), base))


def end_timers() -> None:
    """End the timers of this process, which is about to end.

    After each look for jobs to start, Snakemake sets a timer for the next one, and its process waits for the last: a
    second in which nothing is done.
    """
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.cancel()


def kill_notice(log: str | Path | Iterable[str | Path]) -> str:
    """Return what to do about jobs that the system has killed; empty if it killed none.

    A job that takes more memory than there is, or than its cluster gave it, is killed and can say nothing itself.

    Parameters
    ----------
    log
        Snakemake's log of the run, or its logs: what it gives to ``onerror``.
    """
    text = ""
    for path in [log] if isinstance(log, (str, Path)) else log or ():
        with suppress(OSError):
            text += Path(path).read_text(errors="replace")
    rules: dict[str, None] = {}
    named_at = re.compile(r"Error in (?:group|rule) ([\w-]+)")
    for killed in KILLED.finditer(text):
        # Snakemake shows the exception, then the rule it came from; other versions the other way round.
        before = named_at.findall(text[: killed.start()])
        after = named_at.search(text, killed.end(), killed.end() + 200)
        for name in [after[1]] if after else before[-1:]:
            rules[name] = None
    if not rules:
        return ""
    named = " and ".join(rules)
    given = " ".join(f"{rule}:mem_mb=MEGABYTES" for rule in rules)
    return (
        f"{named} did not fail but was killed (signal 9), most often because memory ran out.\n"
        f"  what to do: run again with fewer jobs at a time (--cores 1), on a machine with more memory, or on a "
        f"cluster with --set-resources {given}"
    )


def dated(study: Study) -> list[str]:
    """Return the files of a study whose times count: those it is made from, and its results."""
    given = [path for _, _, path in study.files() if "://" not in path]
    return [*given, *map(str, known_files(study.config.results))]


#: How far another machine's clock may be ahead without a word (seconds).
_AHEAD = 60.0


def future_notice(paths: Iterable[str | Path]) -> str:
    """Return what to do about files that are dated in the future; empty if none is.

    Snakemake takes what was made before such a file for outdated, in each run anew, until its time has come.

    Parameters
    ----------
    paths
        Files that a study is made from, and results; those that do not exist, and addresses, pass.
    """
    now, ahead = time.time(), []
    for path in paths:
        try:
            if os.stat(path).st_mtime > now + _AHEAD:
                ahead.append(str(path))
        except (OSError, ValueError):
            continue
    if not ahead:
        return ""
    shown = shlex.join(ahead[:20])
    return (
        f"{len(ahead)} file{'s are' if len(ahead) > 1 else ' is'} dated in the future: the clock of a machine was, or "
        "is, wrong. Until then what is made from them is made anew in every run. If this machine's clock is right: "
        f"touch {shown}"
    )


def in_pairs(fastqs: Sequence[str]) -> list[tuple[str, str]]:
    """Return a rule's FASTQ files, R1 and R2 in turn, by pairs."""
    return list(zip(fastqs[::2], fastqs[1::2], strict=True))


def results_of(snakemake: Any) -> Path | None:
    """Return the results folder of a job: where its log and its outputs have their last folder in common."""
    outputs = [str(path) for path in snakemake.output]
    if not snakemake.log or not outputs:
        return None
    return Path(os.path.commonpath([os.path.abspath(p) for p in [str(snakemake.log[0]), *outputs]]))


def measure(root: Path, log: str | Path) -> None:
    """Write down what this job has taken, as Snakemake's ``benchmark`` would: ``benchmarks/`` has a table for each log.

    The kernel knows it of a job of any length, however it was started. Snakemake looks at the processes below the one
    that it started, now and then; a job that was handed over (:mod:`carseq.preload`) is not among them.

    Parameters
    ----------
    root
        The results folder.
    log
        The job's log, below ``logs/`` in it. Of another, nothing is written.
    """
    try:
        name = Path(os.path.abspath(log)).relative_to(root / LOGS).with_suffix(".tsv")
    except ValueError:
        return
    took = taken()
    seconds = took["seconds"]
    row = {
        "s": f"{seconds:.4f}",
        "h:m:s": str(timedelta(seconds=int(seconds))),
        "max_rss": f"{took['megabytes']:.2f}",
        **dict.fromkeys(("max_vms", "max_uss", "max_pss"), "NA"),
        "io_in": f"{took['megabytes_read']:.2f}" if "megabytes_read" in took else "NA",
        "io_out": f"{took['megabytes_written']:.2f}" if "megabytes_written" in took else "NA",
        "mean_load": f"{100 * took['cpu_seconds'] / seconds:.2f}" if seconds > 0 else "NA",
        "cpu_time": f"{took['cpu_seconds']:.2f}",
    }
    with atomic(root / BENCHMARKS / name) as part:
        part.write_text("\t".join(row) + "\n" + "\t".join(row.values()) + "\n")


@contextmanager
def job(snakemake: Any, *, further_arrays: bool = False) -> Iterator[Any]:
    """Run a script's body: open its log, set its threads, verify its inputs, and report its errors.

    An expected error (:class:`~carseq.errors.CarseqError`), a full or forbidden disk and a lack of memory are shown on
    the terminal without a traceback, and the job fails. Any other error goes to the log with its traceback and is
    raised. Inputs that another job of the workflow made must be unchanged since then. The checksums of the outputs, and
    what the job took (:func:`measure`), are written when it ends well.

    Parameters
    ----------
    snakemake
        What Snakemake gives a script.
    further_arrays
        Whether the job needs arrays beside numpy's and the cohort's own, as one does that reads what a user gives as
        h5ad, or looks at receptors. The libraries for them are imported only then
        (:func:`carseq.machine.spare_arrays`, :func:`carseq.machine.spare_extensions`).
    """
    terminal = sys.stderr
    threads = str(snakemake.threads)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = threads
    # The search for unused objects at the end of Python takes 0.4 s after large imports.
    atexit.register(gc.freeze)
    if not further_arrays:
        spare_extensions()
        spare_arrays()
    # A log that cannot be written (the disk is full) must not hide the reason behind tracebacks of its own.
    logging.raiseExceptions = False
    # A cluster's time limit and a user who stops the run send it: temporary files are removed, STAR is ended.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _end_in_order)
    root = results_of(snakemake)
    outputs = [str(path) for path in snakemake.output]
    try:
        if snakemake.log:
            to_file(str(snakemake.log[0]))
        for left in remove_temporaries(outputs):
            get_logger(__name__).info("removed %s, which a killed job left", left)
        for path in map(str, snakemake.input):
            # Snakemake has seen it. What vanished since would be left out without a word where a study may lack it.
            # Snakemake keeps copies of the workflow's files for one run: they do not belong to a study.
            if not os.path.exists(path) and "snakemake-runtime-cache" not in path:
                raise CarseqError(
                    f"there is no {path}",
                    "it was there when the run began, and was deleted or moved",
                    "run again",
                )
            check_whole(path)
        if root is not None:
            forget(root, outputs)
        yield snakemake
        if root is not None:
            remember(root, outputs)
            measure(root, snakemake.log[0])
    except CarseqError as error:
        _tell(error, terminal)
    except Exception as error:
        told = machine_failure(error, place=root or "", memory=more_memory(snakemake))
        get_logger(__name__).error("%s", traceback.format_exc())
        if told is None:
            raise
        # At once: HDF5 and the log's stream would try to write what is left, and crash, when Python ends.
        with suppress(SystemExit):
            _tell(told, terminal)
        os._exit(1)


def _end_in_order(number: int, frame: FrameType | None) -> NoReturn:
    """Leave the job's blocks and end. A second signal, sent to a whole group and to this process, changes nothing."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _tell(error: CarseqError, terminal: Any) -> NoReturn:
    """Show an error in the log and on the terminal, and end the job."""
    get_logger(__name__).error("%s", error)
    print(f"carseq: {error}", file=terminal, flush=True)
    sys.exit(1)


def more_memory(snakemake: Any) -> str:
    """Return how to give a rule more memory."""
    asked = getattr(snakemake.resources, "mem_mb", None)
    rule = getattr(snakemake, "rule", "") or "RULE"
    more = f"{2 * int(asked)}" if isinstance(asked, (int, float)) else "MEGABYTES"
    had = f"it asked for {int(asked):,} MB: " if isinstance(asked, (int, float)) else ""
    return (
        f"{had}run again with fewer jobs at a time (--cores 1), on a machine with more memory, or on a cluster with "
        f"--set-resources {rule}:mem_mb={more}"
    )


def versions(star: str | None = None, further: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the versions of what a run uses: package -> version.

    Parameters
    ----------
    star
        That of STAR, if there is one.
    further
        Those of other programs.
    """
    import importlib.metadata

    found = {"python": platform.python_version()}
    # Not from the installed package's metadata, which an editable install keeps from when it was installed.
    found["carseq"] = carseq.__version__
    if star:
        found["STAR"] = star
    found.update(further or {})
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
