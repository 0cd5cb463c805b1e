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
{accounting}
OverTimeLimit=0
KillWait=2
MinJobAge=3600
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""

#: Of slurm.conf: without accounting, and with it, where a job must name an account that its user has.
WITHOUT = "AccountingStorageType=accounting_storage/none"
WITH = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={host}
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge/socket
AccountingStorageEnforce=associations
AccountingStoreFlags=job_comment"""
DATABASE = """\
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={storage}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
"""
ACCOUNT = "lupus"


class NotStarted(RuntimeError):
    """A daemon did not come up; says what its log says."""


def missing() -> str | None:
    """Say why no Slurm can be started here, or None if one can."""
    absent = [name for name in (*DAEMONS, "sbatch") if shutil.which(name, path=SEARCH) is None]
    if absent:
        return f"no {', '.join(absent)} (envs/install-slurm.sh installs Slurm where it may)"
    return None


def missing_accounting() -> str | None:
    """Say why no accounting can be started here, or None if it can."""
    if not os.environ.get("CARSEQ_CLUSTERS"):
        return "it takes minutes (make slurmtest)"
    names = ("slurmdbd", "mariadbd", "mariadb-install-db", "mariadb")
    absent = [name for name in names if shutil.which(name, path=SEARCH) is None]
    if absent:
        return (
            f"no {', '.join(absent)} (envs/install-slurm.sh accounting installs them where it may)"
        )
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
def running(
    folder: Path, cpus: int = 4, memory: int = 64_000, *, accounting: bool = False
) -> Iterator[Slurm]:
    """Start Slurm in ``folder`` and stop it at the end, whatever happened in between.

    With ``accounting`` a MariaDB and a slurmdbd run beside it, and the user has the account :data:`ACCOUNT`.
    """
    folder = folder.resolve()
    for name in ("munge", "state", "spool", "bin"):
        (folder / name).mkdir(parents=True, mode=0o755)
    config = folder / "slurm.conf"
    host, user = socket.gethostname().split(".")[0], getpass.getuser()
    port, storage = free_port(), free_port()
    counted = WITH.format(host=host, port=port, folder=folder) if accounting else WITHOUT
    config.write_text(
        CONFIG.format(
            host=host, user=user, folder=folder, cpus=cpus, memory=memory, controller_port=free_port(),
            node_port=free_port(), accounting=counted,
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
        if accounting:
            database = folder / "db"
            made = subprocess.run(
                ["mariadb-install-db", f"--datadir={database}", f"--user={user}", "--skip-test-db",
                 "--auth-root-authentication-method=normal"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if made.returncode:
                raise NotStarted(f"no database: {made.stdout}{made.stderr}")
            process = start(
                "mariadbd", "--no-defaults", f"--datadir={database}", f"--socket={folder}/db.sock", f"--port={storage}",
                "--bind-address=127.0.0.1", f"--user={user}", "--innodb-buffer-pool-size=64M",
            )  # fmt: skip

            def said(words: str) -> bool:
                done = subprocess.run(
                    ["mariadb", "--no-defaults", f"--socket={folder}/db.sock", "--user=root", f"--execute={words}"],
                    capture_output=True, check=False,
                )  # fmt: skip
                return done.returncode == 0

            wait_for("mariadbd", lambda: said("SELECT 1"), process, folder / "mariadbd.out")
            said(
                "CREATE DATABASE slurm; CREATE USER slurm@'%' IDENTIFIED BY 'slurm'; "
                "CREATE USER slurm@localhost IDENTIFIED BY 'slurm'; "
                "GRANT ALL ON slurm.* TO slurm@'%'; GRANT ALL ON slurm.* TO slurm@localhost"
            )
            conf = folder / "slurmdbd.conf"
            conf.write_text(
                DATABASE.format(host=host, port=port, user=user, folder=folder, storage=storage)
            )
            conf.chmod(0o600)
            process = start("slurmdbd", "-D")
            wait_for(
                "slurmdbd", lambda: "carseq" in slurm.command("sacctmgr", "-i", "add", "cluster", "carseq"), process,
                folder / "slurmdbd.log",
            )  # fmt: skip
            slurm.command("sacctmgr", "-i", "add", "account", ACCOUNT, "Cluster=carseq")
            slurm.command("sacctmgr", "-i", "add", "user", user, f"Account={ACCOUNT}")
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
        if len(slurm.processes) >= len(DAEMONS):
            slurm.drained()
        for process in reversed(slurm.processes):
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
