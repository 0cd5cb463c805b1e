"""What a run shows: jobs done and left, and each failure when it happens."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from carseq.run.reasons import Failed, reason

#: Where nothing ends for so long, a line says that the run is still at work (seconds).
QUIET = 600.0


@dataclass
class _Job:
    rule: str
    title: str
    started: float


def _seconds(took: float) -> str:
    if took < 90:
        return f"{took:.0f} s"
    return f"{took / 60:.0f} min" if took < 5400 else f"{took / 3600:.1f} h"


class Screen:
    """Takes Snakemake's log and shows a run: a line for each job that ends, and a bar on a terminal.

    Parameters
    ----------
    console
        Where to show it.
    folder
        Where Snakemake runs.
    dry
        Whether only what would run is shown.

    Attributes
    ----------
    failed
        Jobs that failed and were not done by a later try.
    errors
        What Snakemake itself found wrong.
    planned
        Rule -> number of its jobs.
    interrupted
        The exit code of a run that the user stopped (128 and the signal's number); 0 of one that went on.
    """

    def __init__(self, console: Console, folder: Path, *, dry: bool = False) -> None:
        self.console, self.folder, self.dry = console, folder, dry
        self.failed: dict[int, Failed] = {}
        self.errors: list[str] = []
        self.planned: dict[str, int] = {}
        self.interrupted = 0
        self.nothing = False
        self.done = self.total = 0
        self._jobs: dict[int, _Job] = {}
        self._running: set[int] = set()
        self._said = time.monotonic()
        self._ended = threading.Event()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            refresh_per_second=2,
            # What Snakemake and jobs print goes to a file.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Screen:
        if self.console.is_terminal and not self.dry:
            self._bar.start()
        elif not self.dry:
            threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._bar.live.is_started:
            self._bar.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._said = time.monotonic()
        self.console.print(text, highlight=False, soft_wrap=True)

    def _beat(self) -> None:
        """Say now and then that a long job is still at work, where no bar shows it."""
        while not self._ended.wait(15):
            if self._running and time.monotonic() - self._said > QUIET:
                self.say(f"  still running: {self._now()}")

    def _now(self) -> str:
        """Return the jobs that run, in words."""
        titles = [self._jobs[i].title for i in sorted(self._running) if i in self._jobs]
        if len(titles) > 3:
            counts = Counter(self._jobs[i].rule for i in self._running if i in self._jobs)
            titles = [f"{rule} ({n})" if n > 1 else rule for rule, n in counts.most_common(4)]
        return "; ".join(titles)

    def take(self, record: logging.LogRecord) -> None:
        """Take a record of Snakemake's log."""
        event = str(getattr(getattr(record, "event", None), "value", "") or "")
        told = getattr(self, f"_on_{event}", None)
        if told is not None:
            told(record)
        elif not event or event == "error":
            self._on_text(record)
        if not self.dry and self.console.is_terminal:
            self._bar.update(
                self._task,
                description=escape(self._now())[:90],
                completed=self.done,
                total=self.total or None,
            )

    def _on_run_info(self, record: Any) -> None:
        stats = {str(k): int(v) for k, v in record.stats.items()}
        self.total = stats.pop("total", 0) or sum(stats.values())
        self.planned = stats
        if not self.dry:
            self.say(f"{self.total} job{'s' if self.total != 1 else ''}")

    def _on_job_info(self, record: Any) -> None:
        words = {str(v) for v in dict(record.wildcards or {}).values()}
        title = getattr(record, "rule_msg", None) or " ".join([record.rule_name, *sorted(words)])
        self._jobs[record.jobid] = _Job(record.rule_name, str(title), time.monotonic())
        self._running.add(record.jobid)

    def _on_job_finished(self, record: Any) -> None:
        number: int = getattr(record, "job_id", getattr(record, "jobid", -1))
        self._running.discard(number)
        self.failed.pop(number, None)
        if (job := self._jobs.get(number)) is not None and not self.dry:
            took = _seconds(time.monotonic() - job.started)
            count = f"{self.done + 1}/{self.total}".rjust(2 * len(str(self.total)) + 1)
            self.done += 1
            self.say(f"[green]{count}[/] {escape(job.title)} [dim]({took})[/]")

    def _on_progress(self, record: Any) -> None:
        # Of a run up to some rule (`--until`) Snakemake counts the whole study's jobs as the total.
        self.done, self.total = record.done, self.total or record.total

    def _on_group_error(self, record: Any) -> None:
        for info in record.job_error_info:
            number, rule = info["jobid"], info["rule_name"]
            self._running.discard(number)
            self.failed[number] = Failed(
                rule,
                self._title(number, rule),
                (*map(str, info["log"]), *map(str, record.aux_logs), *self._of_queue(record)),
                str(record.__dict__.get("msg", "")),
            )
        self.say(f"[red]✗[/] jobs sent as one, {escape(str(record.groupid))}: failed")

    def _on_job_error(self, record: Any) -> None:
        number = record.jobid
        self._running.discard(number)
        if self.interrupted:
            return
        # A job of a group was reported with its group.
        if getattr(record, "indent", False) and number in self.failed:
            return
        said = " ".join(
            map(str, [getattr(record, "rule_msg", "") or "", *dict(record.aux).values()])
        )
        job = Failed(
            record.rule_name,
            self._title(number, record.rule_name),
            (*map(str, record.log), *self._of_queue(record)),
            said,
        )
        if number in self.failed:
            return
        self.failed[number] = job
        told = reason(job, self.folder)
        self.say(f"[red]✗[/] {escape(job.title)}: {escape(told.message)}")

    def _of_queue(self, record: Any) -> list[str]:
        """Return what a queue wrote of a job that profiles/queue.sh sent."""
        aux = getattr(record, "aux", None) or {}
        sent = str(aux.get("external_jobid") or getattr(record, "external_jobid", None) or "")
        place = self.folder / ".snakemake" / "queue"
        bare = sent.partition(".")[0]
        return [str(path) for path in sorted(place.glob(f"*.o{bare}"))] if bare else []

    def _title(self, number: int, rule: str) -> str:
        job = self._jobs.get(number)
        return job.title if job else rule

    def _on_text(self, record: logging.LogRecord) -> None:
        text = str(record.msg or "").strip()
        if text.startswith("Trying to restart job"):
            number = int("".join(filter(str.isdigit, text)) or -1)
            if job := self.failed.pop(number, None):
                self.say(f"  {escape(job.title)}: tried again")
        elif text.startswith("Terminating processes on user request"):
            self.interrupted = self.interrupted or 128 + signal.SIGINT
            self.say("stopping: jobs are being ended")
        elif text.startswith("Nothing to be done"):
            self.nothing = True
        elif record.levelno >= logging.ERROR:
            self.errors.append(text)
        elif record.levelno == logging.WARNING and text:
            self.say(f"[yellow]![/] {escape(text)}")


def logger_plugin(screen: Screen) -> ModuleType:
    """Return a logger plugin of Snakemake that hands its log to a screen."""
    from snakemake_interface_logger_plugins.base import LogHandlerBase

    class LogHandler(LogHandlerBase):
        writes_to_stream = True
        writes_to_file = False
        has_filter = True
        has_formatter = True
        needs_rulegraph = False

        def emit(self, record: logging.LogRecord) -> None:
            try:
                screen.take(record)
            except Exception:
                # A line that cannot be shown must not end a run of hours.
                logging.getLogger("carseq.run").debug("not shown: %r", record, exc_info=True)

    module = ModuleType("snakemake_logger_plugin_carseq")
    module.LogHandler = LogHandler  # type: ignore[attr-defined]
    return module
