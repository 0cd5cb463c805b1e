"""A Slurm of one node for the tests: munged, slurmctld and slurmd, started by hand and stopped again.

Nothing outside its own folder is written. The commands of Slurm are reached through small wrappers that name the
configuration, since Snakemake's plugin drops ``SLURM_CONF`` from the environment of its jobs.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun", "sacct", "sacctmgr")
# Debian keeps the daemons out of a user's PATH.
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

# Without systemd and cgroups: processes are followed by their parent's id, memory is measured each second and
# a job above its request is killed. The node says it has more cores and memory than the machine: nothing is bound.
CONFIG = """\
ClusterName=carseq
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
ReturnToService=2
SchedulerParameters=sched_interval=2,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
OverTimeLimit=0
KillWait=2
MinJobAge=3600
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


class NotStarted(RuntimeError):
    """A daemon did not come up; says what its log says."""


def missing() -> str | None:
    """Say why no Slurm can be started here, or None if one can."""
    absent = [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=SEARCH) is None]
    if absent:
        return f"no {', '.join(absent)} (envs/install-slurm.sh installs Slurm where it may)"
    return None


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Slurm:
    """A running Slurm."""

    folder: Path
    environment: dict[str, str]
    processes: list[subprocess.Popen] = field(default_factory=list)

    def command(self, *words: str) -> str:
        """Run one of Slurm's commands and return what it says."""
        done = subprocess.run(
            [str(self.folder / "bin" / words[0]), *words[1:]], env=self.environment, capture_output=True,
            text=True, check=False, timeout=30,
        )  # fmt: skip
        return done.stdout + done.stderr

    def jobs(self, state: str = "all") -> str:
        """Return the jobs that Slurm knows, with state and comment."""
        return self.command("squeue", "--noheader", f"--states={state}", "--format=%i|%T|%k|%r")

    def drained(self, seconds: float = 30) -> bool:
        """Cancel every job and wait for the last to end."""
        end = time.monotonic() + seconds
        self.command("scancel", f"--user={getpass.getuser()}")
        while time.monotonic() < end:
            if not self.command("squeue", "--noheader").strip():
                return True
            time.sleep(0.5)
        return False


def wait_for(what: str, ready, process: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    """Wait until a daemon answers; say what its log says if it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return
        if process.poll() is not None:
            break
        time.sleep(0.2)
    said = log.read_text(errors="replace")[-2000:] if log.exists() else "nothing"
    raise NotStarted(f"{what} did not start; its log says:\n{said}")


@contextmanager
def running(folder: Path, cpus: int = 4, memory: int = 64_000) -> Iterator[Slurm]:
    """Start Slurm in ``folder`` and stop it at the end, whatever happened in between."""
    folder = folder.resolve()
    for name in ("munge", "state", "spool", "bin"):
        (folder / name).mkdir(parents=True, mode=0o755)
    config = folder / "slurm.conf"
    config.write_text(
        CONFIG.format(
            host=socket.gethostname().split(".")[0], user=getpass.getuser(), folder=folder, cpus=cpus, memory=memory,
            controller_port=free_port(), node_port=free_port(),
        )
    )  # fmt: skip
    for name in COMMANDS:
        tool = shutil.which(name)
        if tool:
            wrapper = folder / "bin" / name
            wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={config} exec {tool} "$@"\n')
            wrapper.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_"))}
    environment["PATH"] = f"{folder / 'bin'}:{environment['PATH']}"
    slurm = Slurm(folder, environment)

    def start(name: str, *words: str) -> subprocess.Popen:
        # Where the test itself is killed, the kernel ends the daemons; a job then runs to its own end.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with (folder / f"{name}.out").open("w") as log:
            process = subprocess.Popen(
                [*guard, str(shutil.which(name, path=SEARCH)), *words], stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, env={**environment, "SLURM_CONF": str(config)},
                start_new_session=True,
            )  # fmt: skip
        slurm.processes.append(process)
        return process

    key = folder / "munge/key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    try:
        munge = folder / "munge"
        process = start(
            "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={munge}/socket",
            f"--pid-file={munge}/pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed",
        )  # fmt: skip
        wait_for("munged", (munge / "socket").exists, process, folder / "munged.out")
        process = start("slurmctld", "-D", "-i", "-f", str(config))
        wait_for(
            "slurmctld", lambda: "is UP" in slurm.command("scontrol", "ping"), process, folder / "slurmctld.out"
        )  # fmt: skip
        process = start("slurmd", "-D", "-f", str(config))
        wait_for(
            "slurmd", lambda: "idle" in slurm.command("sinfo", "--noheader", "--format=%T"), process,
            folder / "slurmd.out",
        )  # fmt: skip
        yield slurm
    finally:
        if len(slurm.processes) == len(DAEMONS):
            slurm.drained()
        for process in reversed(slurm.processes):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
