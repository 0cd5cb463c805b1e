"""A failed job in words: what its logs say went wrong, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carseq.errors import CarseqError
from carseq.io.failures import KILLED, machine_failure

#: Lines of a log that are shown where it names no cause.
_LAST = 12
#: Bytes of a log that are read, from its end.
_TAIL = 100_000
#: How a log begins an error that carseq knows, and how long it goes on.
_OURS = re.compile(
    r"ERROR carseq[\w.]*: (?P<message>(?!Traceback)[^\n]+)"
    r"(?:\n  why: +(?P<cause>[^\n]*))?(?:\n  what to do: +(?P<remedy>[^\n]*))?"
)
#: The same as a job prints it.
_PRINTED = re.compile(
    r"^carseq: (?P<message>[^\n]+)"
    r"(?:\n  why: +(?P<cause>[^\n]*))?(?:\n  what to do: +(?P<remedy>[^\n]*))?",
    re.MULTILINE,
)
#: What clusters and the kernel write of a job that they ended for its memory.
_MEMORY = re.compile(
    r"oom.?kill|exceeded (?:job |step )?memory limit|TERM_MEMLIMIT|OUT_OF_MEMORY|"
    r"exceed(?:ed|s) (?:hard|soft|requested)? ?(?:resource|limit)?.{0,20}(?:mem|vmem)|"
    r"memory usage .{0,60}exceed|gone over .{0,20}memory|h_vmem limit|enforced h_vmem|"
    r"mem .{0,30}exceeded limit",
    re.IGNORECASE,
)
#: The same for its time.
_TIME = re.compile(
    r"DUE TO TIME LIMIT|TERM_RUNLIMIT|state: TIMEOUT|'TIMEOUT'|walltime .{0,40}exceed|"
    r"exceeded (?:hard|soft) (?:wallclock|wall-clock) time|enforced h_rt|h_rt limit|"
    r"allowed_execute_duration|exceeded execution duration",
    re.IGNORECASE,
)
#: A node that was lost while a job ran on it.
_NODE = re.compile(r"NODE_FAIL|node failure|TERM_UNKNOWN|lost contact with", re.IGNORECASE)


@dataclass(frozen=True)
class Failed:
    """A job that failed.

    Attributes
    ----------
    rule
        Its rule.
    title
        What it was to do, such as ``solo: aligning P01``.
    logs
        Its log files, and a cluster's of it.
    said
        What Snakemake and the cluster said of it.
    """

    rule: str
    title: str
    logs: tuple[str, ...] = ()
    said: str = ""


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _named(text: str, pattern: re.Pattern[str]) -> CarseqError | None:
    """Return the last error that a text tells in carseq's own form."""
    found = next(reversed(list(pattern.finditer(text))), None)
    if found is None:
        return None
    return CarseqError(found["message"].strip(), found["cause"] or "", found["remedy"] or "")


def _asked(rule: str, what: str, value: str) -> str:
    return f"--set-resources {rule}:{what}={value}"


def reason(job: Failed, folder: Path, printed: str = "") -> CarseqError:
    """Return why a job failed, with what to do about it.

    Parameters
    ----------
    job
        The job.
    folder
        Where Snakemake ran; the logs' paths are relative to it.
    printed
        What jobs printed, for one that has no log.

    Returns
    -------
    CarseqError
        Told by the job itself, by the cluster that ended it, or by the last lines of its log.
    """
    paths = [folder / log for log in job.logs]
    texts = {path: text for path in paths if (text := _tail(path)).strip()}
    for text in texts.values():
        if told := _named(text, _OURS):
            return told
    everything = "\n".join([*texts.values(), job.said])
    if _TIME.search(everything):
        return CarseqError(
            f"{job.rule} ran out of time", "the cluster ended it at its limit",
            f"ask for more minutes: {_asked(job.rule, 'runtime', '1440')}",
        )  # fmt: skip
    if _MEMORY.search(everything):
        return CarseqError(
            f"{job.rule} ran out of memory", "the cluster or the kernel ended it",
            f"ask for more: {_asked(job.rule, 'mem_mb', 'MEGABYTES')}",
        )  # fmt: skip
    if _NODE.search(everything):
        return CarseqError(
            f"the node of {job.rule} was lost", _line(everything, _NODE),
            "run the same command again; --retries 3 sends such jobs again by itself",
        )  # fmt: skip
    for text in [*texts.values(), printed if not texts else ""]:
        last = "\n".join(text.splitlines()[-_LAST:])
        if last and (told := machine_failure(RuntimeError(last))):
            return told
    # A compiler's library that gets no memory ends the job before anything reaches its log.
    aborted = re.search(r"SIGABRT|exit status (?:134|-6)\b", everything)
    if aborted and (short := re.search(r"LLVM ERROR: [^\n]*(?:allocate|memory)[^\n]*", printed)):
        told = machine_failure(MemoryError(short[0]))
        if told is not None:
            return told
    if KILLED.search(everything):
        return CarseqError(
            f"{job.rule} was killed", "most likely the machine's memory was used up",
            "give the run fewer cores or a machine with more memory, or on a cluster "
            f"{_asked(job.rule, 'mem_mb', 'MEGABYTES')}",
        )  # fmt: skip
    if not texts and (told := _named(printed, _PRINTED)):
        return told
    path, text = next(reversed(texts.items()), (None, printed))
    lines = [line for line in text.splitlines() if line.strip()][-_LAST:]
    return CarseqError(
        f"{job.rule} failed",
        ("its log ends with\n    " if path else "it printed\n    ") + "\n    ".join(lines)
        if lines
        else "it left no log" + (f": {_first(job.said)}" if job.said else ""),
        "if the lines above do not say what to correct, report this as a fault of carseq, with the log",
    )


def _line(text: str, pattern: re.Pattern[str]) -> str:
    return next((line.strip() for line in text.splitlines() if pattern.search(line)), "")


def _first(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300]


def log_paths(job: Failed, folder: Path) -> Sequence[Path]:
    """Return the logs of a job that are there and hold something."""
    paths = [folder / log for log in job.logs]
    return [path for path in paths if path.is_file() and path.stat().st_size]
