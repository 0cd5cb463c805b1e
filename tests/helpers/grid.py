"""A Grid Engine of one node for the tests: sge_qmaster and sge_execd of Debian's packages, started and stopped again.

The cell is that of the packages, /var/lib/gridengine. What is set in it (host, queue, parallel environment, that root
may send jobs) stays there: this is for machines that may be thrown away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SGE_ROOT = Path("/var/lib/gridengine")
DAEMONS = ("/usr/sbin/sge_qmaster", "/usr/sbin/sge_execd")
HOST = """\
hostname localhost
load_scaling NONE
complex_values slots=8
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
"""
PARALLEL = """\
pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""
_NONE = (
    "load_thresholds suspend_thresholds ckpt_list prolog epilog starter_method suspend_method resume_method "
    "terminate_method owner_list user_lists xuser_lists subordinate_list complex_values projects xprojects calendar"
)
_INFINITE = " ".join(
    f"{kind}_{of}"
    for of in ("rt", "cpu", "fsize", "data", "stack", "core", "rss", "vmem")
    for kind in "sh"
)
QUEUE = "\n".join(
    [
        "qname all.q", "hostlist localhost", "seq_no 0", "nsuspend 1", "suspend_interval 00:05:00", "priority 0",
        "min_cpu_interval 00:00:10", "processors UNDEFINED", "qtype BATCH INTERACTIVE", "pe_list smp", "rerun FALSE",
        "slots 8", "tmpdir /tmp", "shell /bin/sh", "shell_start_mode posix_compliant", "notify 00:00:60",
        "initial_state default",
        *(f"{key} NONE" for key in _NONE.split()), *(f"{key} INFINITY" for key in _INFINITE.split()), "",
    ]
)  # fmt: skip


def missing() -> str | None:
    """Say why no Grid Engine can be started here, or None if it can."""
    if not os.environ.get("CARSEQ_CLUSTERS"):
        return "it takes minutes (make gridtest)"
    absent = [name for name in (*DAEMONS, "qsub", "qconf") if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} (make gridtest installs it where it may)"
    if os.geteuid() != 0:
        return "its daemons are started by root"
    return None


def environment() -> dict[str, str]:
    """Return the environment in which its commands work."""
    return {**os.environ, "SGE_ROOT": str(SGE_ROOT), "SGE_CELL": "default"}


def command(*words: str) -> str:
    """Run one of its commands and return what it says."""
    done = subprocess.run(
        words, env=environment(), capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout + done.stderr


def _set(option: str, name: str, text: str) -> None:
    # qconf changes what is there and adds what is not.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(text)
        said = command("qconf", f"-A{option}", str(path))
        if "exist" in said:
            command("qconf", f"-M{option}", str(path))


def _wait(ready, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise RuntimeError(f"Grid Engine did not start: {command('qstat', '-f')}")
        time.sleep(0.5)


@contextmanager
def running() -> Iterator[None]:
    """Start the daemons, and stop them at the end if they were not there before."""
    common = SGE_ROOT / "default/common"
    if "localhost" in command("qconf", "-sel").splitlines():
        # Another one is at work here: it is used as it is.
        yield
        return
    (common / "act_qmaster").write_text("localhost\n")
    (common / "host_aliases").write_text(f"localhost {os.uname().nodename}\n")
    admin = ["setpriv", "--reuid=sgeadmin", "--regid=sgeadmin", "--clear-groups"]
    try:
        subprocess.run([*admin, DAEMONS[0]], env=environment(), check=True)
        _wait(lambda: "sgeadmin" in command("qconf", "-sm").splitlines())
        subprocess.run([*admin, "qconf", "-am", "root"], env=environment(), check=False)
        command("qconf", "-as", "localhost")
        _set("e", "host", HOST)
        _set("p", "pe", PARALLEL)
        _set("q", "queue", QUEUE)
        lines = command("qconf", "-sconf").splitlines()
        lowered = [
            f"{line.split()[0]} 0" if line.startswith(("min_uid", "min_gid")) else line
            for line in lines if not line.startswith("#")
        ]  # fmt: skip
        _set("conf", "global", "\n".join([*lowered, ""]))
        place = Path("/var/spool/gridengine/execd")
        place.mkdir(parents=True, exist_ok=True)
        shutil.chown(place, "sgeadmin")
        subprocess.run([DAEMONS[1]], env=environment(), check=True)
        _wait(lambda: "lx-" in command("qstat", "-f"))
        command("qmod", "-cq", "all.q")
        yield
    finally:
        command("qconf", "-ke", "all")
        command("qconf", "-km")
