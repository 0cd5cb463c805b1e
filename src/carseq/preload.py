"""A process that has imported the libraries once, and divides for each job of a run on this machine.

Most jobs of a small study take longer to import their libraries than to do their work. Where a run begins, a process
is started that imports them. A job's script then hands over (:mod:`carseq.handover`): the process makes a copy of
itself, which runs the script with the job's own arguments, folder, environment and files, and the script's first
process waits for its end and ends in the same way.

A job that cannot hand over imports by itself, and nothing else changes: on a cluster, in another environment (conda, a
container), on systems without Linux's ``fork`` and process file descriptors, while the process still imports, and when
it has ended. Nothing of one job reaches another: each copy is made of the process as it was after the imports, which
runs no job itself.
"""

from __future__ import annotations

import ast
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carseq.data import path
from carseq.handover import ADDRESS, PASSED, this_python

#: On the path of the run's processes, so that a script is handed over as Python starts.
STARTUP = path("startup")
#: What every job imports: jobs can be handed over once it is there.
_FIRST = (
    "numpy", "pandas", "psutil", "snakemake.iocontainers", "snakemake.logging", "threadpoolctl",
)  # fmt: skip
#: What most import, some of it only where they need it.
_NEXT = ("pyarrow.parquet", "scipy.sparse", "scipy.special", "numba", "anndata")
#: Libraries that would otherwise begin as many threads as the machine has cores; a process with threads cannot divide.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
#: Scripts whose jobs come first, and which take longest to import what they need.
_EARLY = ("homologs", "construct", "molecules")
#: There is nothing more to import.
_LOADED = object()
#: A function of this name in a module of carseq loads what its jobs need besides, at once or step by step.
FURTHER = "get_ready"


def start(scripts: str | Path) -> int | None:
    """Start the process, and have this one's children hand over to it.

    It ends with this one, once the jobs that it runs have ended.

    Parameters
    ----------
    scripts
        Folder of the scripts that it imports the libraries of.

    Returns
    -------
    The number of the process; None where there can be none, or this process's children hand over to another already.
    """
    if sys.platform != "linux" or not hasattr(os, "pidfd_open") or os.environ.get(ADDRESS):
        return None
    # Not what each job's start loads.
    from carseq.machine import large_pages

    address = f"carseq-{os.getpid()}-{os.urandom(8).hex()}"
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(STARTUP) not in known:
        os.environ["PYTHONPATH"] = os.pathsep.join([str(STARTUP), *filter(None, known)])
    # Its standard input ends when this process does: the other end is held by nobody else.
    reads, _ = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-P", "-m", "carseq.preload", address, os.path.abspath(scripts)],
        {**large_pages(), **dict.fromkeys(_THREADS, "1")},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, reads, 0),
            *((os.POSIX_SPAWN_OPEN, file, os.devnull, os.O_WRONLY, 0) for file in (1, 2)),
        ],
    )
    os.close(reads)
    os.environ[ADDRESS] = address
    return pid


# ---- the process ----------------------------------------------------------------------------------------------------


@dataclass
class _Job:
    """A copy that runs a script.

    Attributes
    ----------
    pid
        Its number.
    handle
        A file descriptor that can be read when it has ended.
    connection
        The script's first process.
    """

    pid: int
    handle: int
    connection: socket.socket


@dataclass
class _Asked:
    """What a script hands over, and its standard input, output and error."""

    given: dict[str, Any]
    files: list[int]


def main() -> None:
    """Import, then divide for each job until the process that started this one has ended."""
    address, scripts = sys.argv[1:]
    # It ends with the process that started it, and its jobs before it.
    for number in (signal.SIGINT, *PASSED):
        signal.signal(number, signal.SIG_IGN)
    own = this_python()
    # It is not at work in the study's folder: its jobs are.
    os.chdir("/")
    asked = _serve(address, own, _load(Path(scripts)))
    if asked is not None:
        _work(asked)


def modules(scripts: Path) -> Iterator[tuple[str, list[str]]]:
    """Give what the scripts of a folder import: module, and the names taken from it; first that of the early ones."""
    found = {script.stem: script for script in sorted(scripts.glob("*.py"))}
    for script in {name: found[name] for name in (*_EARLY, *found) if name in found}.values():
        for node in ast.parse(script.read_text()).body:
            if isinstance(node, ast.Import):
                yield from ((alias.name, []) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module, [alias.name for alias in node.names]


def _load(scripts: Path) -> Iterator[None]:
    """Import the libraries, one at each step; what fails here fails again, and is told, where a job needs it."""
    from carseq.machine import without_search_for_unused

    with without_search_for_unused():
        for name in _FIRST:
            _import(name)
        ready: set[str] = set()
        for name, wanted in [*((name, []) for name in _NEXT), *modules(scripts)]:
            _import(name, wanted)
            yield
            for own in [n for n in sys.modules if n.startswith("carseq.") and n not in ready]:
                ready.add(own)
                if further := getattr(sys.modules[own], FURTHER, None):
                    steps = iter(())
                    with suppress(Exception):
                        steps = iter(further() or ())
                    yield from _each(steps)
    gc.collect()
    gc.freeze()


def _each(steps: Iterator[None]) -> Iterator[None]:
    """Give the steps of a module's function, up to the one that fails."""
    with suppress(Exception):
        yield from steps
    yield


def _import(name: str, parts: Iterable[str] = ()) -> None:
    with suppress(Exception):
        module = importlib.import_module(name)
        # A package may import its parts on first use.
        for part in parts:
            getattr(module, part)


def _serve(address: str, own: dict[str, Any], load: Iterator[None]) -> _Asked | None:
    """Divide for each job that is handed over; return what was asked in the copy, and None here at the end.

    Parameters
    ----------
    address
        Name of the socket.
    own
        What a script's process must have in common with this one.
    load
        Imports what is needed first, then a library at each step, between which jobs are taken.
    """
    next(load, None)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{address}")
    listener.listen(128)
    starter = os.getppid()
    jobs: list[_Job] = []
    poll = select.poll()
    for file in (listener.fileno(), 0):
        poll.register(file, select.POLLIN | select.POLLHUP)
    begun = loading = True
    while begun or jobs:
        loading = loading and next(load, _LOADED) is not _LOADED
        for file, _ in poll.poll(0 if loading else None):
            if file == listener.fileno():
                connection, _ = listener.accept()
                asked = _asked(connection, own, starter)
                if asked is None:
                    connection.close()
                    continue
                pid = os.fork()
                if pid == 0:
                    listener.close()
                    connection.close()
                    for job in jobs:
                        os.close(job.handle)
                        job.connection.close()
                    return asked
                for given in asked.files:
                    os.close(given)
                job = _Job(pid, os.pidfd_open(pid), connection)
                jobs.append(job)
                poll.register(job.handle, select.POLLIN)
                poll.register(connection, select.POLLIN | select.POLLHUP)
                with suppress(OSError):
                    connection.sendall(b"y")
            elif file == 0:
                # The process that started this one has ended.
                begun = False
                poll.unregister(0)
                poll.unregister(listener)
                listener.close()
            else:
                for job in [job for job in jobs if file in (job.handle, job.connection.fileno())]:
                    if file == job.handle:
                        _tell_end(job)
                        poll.unregister(job.handle)
                        with suppress(KeyError):
                            poll.unregister(job.connection)
                        os.close(job.handle)
                        job.connection.close()
                        jobs.remove(job)
                    elif not _pass_on(job):
                        poll.unregister(job.connection)
    return None


def _asked(connection: socket.socket, own: dict[str, Any], starter: int) -> _Asked | None:
    """Return what a script hands over; None if this process is not the one to do it."""
    import struct

    files: list[int] = []
    try:
        connection.settimeout(10)
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid, user, _ = struct.unpack("3i", peer)
        if user != os.geteuid() or not _descends(pid, starter) or not _alone():
            return None
        _, files, _, _ = socket.recv_fds(connection, 1, 3)
        with connection.makefile("rb") as sent:
            given = json.loads(sent.readline())
        if len(files) == 3 and all(given[key] == value for key, value in own.items()):
            connection.settimeout(None)
            return _Asked(given, files)
    except (OSError, ValueError, KeyError):
        pass
    for file in files:
        os.close(file)
    with suppress(OSError):
        connection.sendall(b"n")
    return None


def _alone() -> bool:
    """Tell whether this process has no thread but one that a copy makes anew: that by which Arrow gives memory back."""
    names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    return len([name for name in names if name != "jemalloc_bg_thd"]) == 1


def _descends(pid: int, ancestor: int) -> bool:
    """Tell whether a process descends from another: one that a cluster started does not descend from the run."""
    # In a container the run itself may have number 1.
    while pid > 0:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return False


def _pass_on(job: _Job) -> bool:
    """Pass a signal on to a copy; kill it if the script's first process was killed. Return whether that one lives."""
    try:
        sent = job.connection.recv(16, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        sent = b""
    for number in sent or [signal.SIGKILL]:
        with suppress(ProcessLookupError):
            os.kill(job.pid, number)
    return bool(sent)


def _tell_end(job: _Job) -> None:
    """Tell the script's first process how the copy ended."""
    code = os.waitstatus_to_exitcode(os.waitpid(job.pid, 0)[1])
    with suppress(OSError):
        job.connection.sendall(code.to_bytes(2, "big", signed=True))


# ---- the copy -------------------------------------------------------------------------------------------------------


def _work(asked: _Asked) -> None:
    """Become the process that was handed over, and run its script."""
    import resource
    import runpy
    import tempfile

    from threadpoolctl import threadpool_limits

    from carseq.machine import end_with_parent

    end_with_parent()
    given = asked.given
    for number, file in enumerate(asked.files):
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(  # noqa: SIM115
        2, "w", buffering=1, errors="backslashreplace", closefd=False
    )
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for passed in PASSED:
        signal.signal(passed, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(given["environment"])
    os.chdir(given["folder"])
    os.umask(given["umask"])
    os.sched_setaffinity(0, given["cores"])
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, given["nice"])
    for name, limit in given["limits"].items():
        with suppress(OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (limit[0], limit[1]))
    tempfile.tempdir = None
    threads = given["environment"].get("OMP_NUM_THREADS", "")
    threadpool_limits(int(threads) if threads.isdigit() else None)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    sys.argv = given["arguments"]
    script = sys.argv[0]
    sys.path.insert(0, str(Path(script).parent))
    try:
        runpy.run_path(script, run_name="__main__")
    except Exception as error:
        # Only what the script itself called: the error reads as that of a job which was not handed over.
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != script:
            trace = trace.tb_next
        error = error.with_traceback(trace or error.__traceback__)
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(1)


if __name__ == "__main__":
    main()
