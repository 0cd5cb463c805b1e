"""What this machine has for a run."""

from __future__ import annotations

import ctypes
import gc
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: Of Linux (prctl.h, PR_SET_PDEATHSIG): the signal that a process gets when its parent ends.
_DEATH_SIGNAL = 1


def end_with_parent() -> None:
    """Have this process killed when the one that made it ends: nothing of a job that was killed goes on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)


@contextmanager
def without_search_for_unused() -> Iterator[None]:
    """Spare Python's search for objects that refer to each other alone: while libraries load it finds few."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


def large_pages() -> dict[str, str]:
    """Return this process's environment for a program that is to take its memory in pages of 2 MB where Linux has them.

    Programs that look up much in a large table, as STAR does in its index, miss fewer addresses, and all ask the
    system for memory less often. It is a setting of the GNU C library's ``malloc`` (2.35 and later), and says something
    where ``/sys/kernel/mm/transparent_hugepage/enabled`` is ``madvise``; one of the user's own is kept.
    """
    return {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", **os.environ}


def spare_extensions() -> None:
    """Keep numba from loading what awkward and sparse registered with it: half a second, for arrays never met here.

    It has no option for that; where numba is not imported, or has no such mark, nothing changes.
    """
    entrypoints = sys.modules.get("numba.core.entrypoints")
    if hasattr(entrypoints, "_already_initialized"):
        vars(entrypoints)["_already_initialized"] = True


def spare_arrays() -> None:
    """Keep anndata from importing awkward and xarray, half a second, for arrays that the cohort's file never holds.

    Python takes a module that is ``None`` in :data:`sys.modules` for one that is not installed. One that was imported
    before stays.
    """
    for name in ("awkward", "xarray"):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def taken() -> dict[str, float]:
    """Return what this process has taken so far, and those it has waited for.

    Returns
    -------
    ``seconds`` since it began, ``cpu_seconds``, ``megabytes`` (2**20 bytes) of resident memory that the largest process
    held at its peak, as the kernel counted them; where the system tells, ``megabytes_read`` from disks and
    ``megabytes_written``.
    """
    import resource

    import psutil

    own, others = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    # In bytes on macOS, in kilobytes elsewhere (getrusage(2)).
    unit = 2**20 if sys.platform == "darwin" else 2**10
    most = float(own.ru_maxrss)
    with suppress(OSError, IndexError, ValueError):
        # Without what the process that made this one held, which `getrusage` counts.
        most = float(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    found = {
        "seconds": time.time() - psutil.Process().create_time(),
        "cpu_seconds": sum(part.ru_utime + part.ru_stime for part in (own, others)),
        "megabytes": max(most, others.ru_maxrss) / unit,
    }
    with suppress(OSError, ValueError):
        counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        found["megabytes_read"] = int(counts["read_bytes"]) / 2**20
        found["megabytes_written"] = int(counts["write_bytes"]) / 2**20
    return found


def machine_megabytes() -> int:
    """Return the memory of this machine in MB, or what a container or a cluster's job may have of it."""
    import psutil

    limits = [psutil.virtual_memory().total]
    try:
        own = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        own = []
    # Version 2 names one group, `0::/path`; version 1 one for each kind of limit. A parent's limit holds too.
    root = Path("/sys/fs/cgroup")
    for line in own:
        _, kinds, path = (*line.split(":", 2), "", "")[:3]
        if kinds and "memory" not in kinds.split(","):
            continue
        base, name = (root / "memory", "memory.limit_in_bytes") if kinds else (root, "memory.max")
        group = base / path.lstrip("/")
        for place in (group, *group.parents):
            with suppress(OSError, ValueError):
                limits.append(int((place / name).read_text()))
            if place == base:
                break
    return min(limits) // 1_000_000


def machine_cores() -> int:
    """Return the cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def disk_megabytes(folder: str | Path) -> float:
    """Return the room on the disk of a folder that may not be there yet, in MB."""
    place = Path(folder).resolve()
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free / 1e6
