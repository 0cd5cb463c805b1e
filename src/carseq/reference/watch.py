"""A watch over a program that may hang: whether what it writes grows, and whether it works at all."""

from __future__ import annotations

import _thread
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from carseq.log import get_logger
from carseq.machine import large_pages

log = get_logger(__name__)

#: A program that writes nothing and uses no processor for so long waits for what will not come (seconds).
IDLE = 30 * 60.0
#: The longest that STAR computes without writing: the suffix array of a human genome is sorted in pieces that are each
#: written when done, and junctions are inserted within an hour on one core (benchmarks/RESULTS.md, Human scale). A
#: damaged suffix array makes it search for ever (seconds).
BUSY = 6 * 3600.0
#: How often one looks (seconds), at most.
_PERIOD = 10.0


def _size(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size
            except OSError:
                continue
    return total


def _processor_seconds(pid: int) -> float:
    """Return the processor time of a process and its children."""
    import psutil

    total = 0.0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            total += times.user + times.system
    except psutil.Error:
        pass
    return total


def stop_all(pid: int) -> None:
    """Kill a process and its children: STAR may be the child of a script that chooses it by the processor."""
    import psutil

    try:
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.Error:
        return
    for process in family:
        try:
            process.kill()
        except psutil.Error:
            continue


class Watch:
    """Stops a program that gets no further.

    Parameters
    ----------
    pid
        The program.
    folder
        Where it writes.
    idle
        Stop it when for so long it wrote nothing and used no processor, seconds.
    busy
        Stop it when for so long it wrote nothing though it used the processor, seconds.

    Attributes
    ----------
    verdict : str
        Why it was stopped; empty if it was not.
    """

    def __init__(self, pid: int, folder: Path, *, idle: float = IDLE, busy: float = BUSY) -> None:
        self.verdict = ""
        self._pid, self._folder, self._idle, self._busy = pid, folder, idle, busy
        self._ended = threading.Event()
        # Not threading.Thread: its start waits for ever if the thread lacks the memory to begin. Without a watch the
        # program is run all the same.
        try:
            _thread.start_new_thread(self._look, ())
        except (RuntimeError, MemoryError) as error:
            log.warning("no watch over process %d: %s", pid, error)

    def stop(self) -> None:
        """End the watch. The program has ended, so that no verdict comes any more."""
        self._ended.set()

    def _look(self) -> None:
        period = min(_PERIOD, self._idle / 4, self._busy / 4)
        size, worked = -1, 0.0
        grew = active = time.monotonic()
        while not self._ended.wait(period):
            now = time.monotonic()
            seconds = _processor_seconds(self._pid)
            if (found := _size(self._folder)) != size:
                size, grew, active = found, now, now
            # A hundredth of a processor: what waits and looks once a second uses less.
            if seconds - worked > 0.01 * period:
                active = now
            worked = seconds
            if now - active > self._idle:
                self.verdict = f"it wrote nothing and did nothing for {self._idle / 60:.0f} minutes"
            elif now - grew > self._busy:
                self.verdict = (
                    f"it wrote nothing for {self._busy / 3600:.0f} hours, though it was at work"
                )
            if self.verdict:
                log.error("stopping process %d: %s", self._pid, self.verdict)
                stop_all(self._pid)
                return


@dataclass(frozen=True)
class Ended:
    """How a watched program ended: exit status, the lines it printed, and why it was stopped (empty if it was not)."""

    code: int
    lines: list[str]
    stopped: str


def run_watched(
    command: Sequence[str], folder: Path, name: str, *, idle: float = IDLE, busy: float = BUSY
) -> Ended:
    """Run a program in a folder under a watch; what it prints goes to the log, line by line.

    Parameters
    ----------
    command
        Program and options.
    folder
        Where it runs, and where its output grows.
    name
        Its name in the log.
    idle, busy
        When it is stopped, see :class:`Watch`; seconds.
    """
    log.info("%s", " ".join(command))
    # A program writes the name that it is called by into its files: without its folder, which may be the user's home.
    # A pipe for the messages keeps them out of the user's terminal and in the log.
    with subprocess.Popen(
        [name, *command[1:]],
        executable=command[0],
        cwd=folder,
        env=large_pages(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        watch = Watch(process.pid, folder, idle=idle, busy=busy)
        lines = []
        try:
            for line in process.stdout or ():
                lines.append(line.rstrip())
                log.info("%s: %s", name, line.rstrip())
        except BaseException:
            # Nothing may go on writing where the next run will write.
            stop_all(process.pid)
            raise
        finally:
            watch.stop()
    return Ended(process.returncode, lines, watch.verdict)
