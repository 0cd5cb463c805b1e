"""A job's script: it hands over to the process that has the libraries (:mod:`carseq.preload`), or runs by itself.

Each job of a run begins with this: it imports little, since what it imports takes each of them so long.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

#: Where a job's script finds the process: the name of its socket.
ADDRESS = "CARSEQ_PRELOADED"
#: The signals that a job's script passes on. Ctrl-C of a terminal reaches the copy by itself.
PASSED = (signal.SIGTERM, signal.SIGHUP)
#: Snakemake writes the scripts of its jobs there.
_SCRIPTS = [".snakemake", "scripts"]


def hand_over() -> None:
    """Have the process run this script, and end as the copy ends; return where that cannot be."""
    address = os.environ.get(ADDRESS)
    script = sys.argv[0] if sys.argv else ""
    if not address or os.path.dirname(script).split(os.sep)[-2:] != _SCRIPTS:
        return
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(f"\0{address}")
        asked = {
            **this_python(),
            "arguments": sys.argv,
            "folder": os.getcwd(),
            "environment": {k: v for k, v in os.environ.items() if k != ADDRESS},
            "umask": _umask(),
            "cores": sorted(os.sched_getaffinity(0)),
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "limits": _limits(),
        }
        socket.send_fds(connection, [b"\n"], [0, 1, 2])
        connection.sendall(json.dumps(asked).encode() + b"\n")
        taken = connection.recv(1) == b"y"
    except (OSError, ValueError):
        taken = False
    if not taken:
        connection.close()
        return
    for number in PASSED:
        signal.signal(number, lambda number, frame: connection.send(bytes([number])))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end(connection)


def _end(connection: socket.socket) -> NoReturn:
    """Wait for the end of the copy, and end in the same way."""
    try:
        told = connection.recv(2)
    except OSError:
        told = b""
    # Its process was killed, and the copy with it.
    code = int.from_bytes(told, "big", signed=True) if len(told) == 2 else -signal.SIGKILL
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(abs(code))


def _umask() -> int:
    mask = os.umask(0o77)
    os.umask(mask)
    return mask


def _limits() -> dict[str, list[int]]:
    """Return what this process may take at most, by the names of :mod:`resource`."""
    import resource

    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {name: list(resource.getrlimit(getattr(resource, name))) for name in names}


def this_python() -> dict[str, Any]:
    """Return what must be the same in two processes for one to do the other's work."""
    group = ""
    try:
        with open("/proc/self/cgroup") as file:
            group = file.read()
    except FileNotFoundError:
        pass
    return {
        "python": os.path.realpath(sys.executable),
        "prefix": sys.prefix,
        "carseq": os.path.dirname(__file__),
        "set": {k: v for k, v in os.environ.items() if k.startswith(("PYTHON", "LD_"))},
        "user": [os.geteuid(), os.getegid()],
        "root": os.stat("/").st_ino,
        # Memory and cores that a queue or a container gives it.
        "group": group,
    }
