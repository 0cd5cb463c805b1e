"""The clusters that carseq has a profile for, and what each needs where a run is started."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carseq.errors import CarseqError
from carseq.run.files import profiles, workflow_folder
from carseq.study.texts import read_yaml

#: Seconds that a cluster has to answer.
PATIENCE = 30


@dataclass(frozen=True)
class Cluster:
    """A kind of cluster.

    Attributes
    ----------
    name
        Its name for people.
    executor
        Snakemake's executor for it.
    submit
        The command that sends a job.
    sign
        A command that only this kind of cluster has: ``qsub`` is that of several.
    asked
        A command that asks the cluster something, and fails if it does not answer.
    """

    name: str
    executor: str
    submit: str
    sign: str
    asked: str

    @property
    def package(self) -> str:
        """The package of the executor's plugin."""
        return f"snakemake-executor-plugin-{self.executor}"

    @property
    def has_plugin(self) -> bool:
        """Whether the plugin is installed."""
        return has_executor(self.executor)

    @property
    def is_here(self) -> bool:
        """Whether this machine belongs to such a cluster."""
        return self.has_command and shutil.which(self.sign) is not None

    @property
    def has_command(self) -> bool:
        """Whether jobs can be sent from this machine."""
        return shutil.which(self.submit) is not None

    def refusal(self) -> str:
        """Return the last line that the cluster's command prints when it gets no answer; empty if it gets one.

        A cluster that needs longer than :data:`PATIENCE` is taken for a busy one.
        """
        if shutil.which(self.asked.split()[0]) is None:
            return ""
        try:
            done = subprocess.run(
                self.asked.split(), capture_output=True, text=True, errors="replace", timeout=PATIENCE, check=False
            )  # fmt: skip
        except (subprocess.TimeoutExpired, OSError):
            return ""
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        return (lines[-1:] or [f"exit status {done.returncode}"])[0] if done.returncode else ""


#: Profile -> cluster.
CLUSTERS = {
    "slurm": Cluster("Slurm", "slurm", "sbatch", "sinfo", "sinfo --noheader"),
    "lsf": Cluster("LSF", "lsf", "bsub", "bqueues", "bqueues"),
    "sge": Cluster("Grid Engine", "cluster-generic", "qsub", "qconf", "qstat"),
    "htcondor": Cluster("HTCondor", "cluster-generic", "condor_submit", "condor_q", "condor_q"),
    "pbs": Cluster("PBS", "cluster-generic", "qsub", "pbsnodes", "qstat"),
}
#: Executors that need no plugin.
_OWN = {"local", "dryrun", "touch"}


def has_executor(executor: str) -> bool:
    """Tell whether Snakemake knows an executor here."""
    module = f"snakemake_executor_plugin_{executor.replace('-', '_')}"
    return executor in _OWN or importlib.util.find_spec(module) is not None


def find_profile(name: str) -> str:
    """Return what Snakemake takes for a profile: the path of one that comes with carseq, else the name as it is."""
    own = workflow_folder() / "profiles" / name
    if name in profiles() and not Path(name, "config.yaml").exists():
        return str(own)
    return name


def profile_file(profile: str) -> Path | None:
    """Return the file of a profile, found as Snakemake finds it: by path, in the user's and the site's folder."""
    places = [Path(profile)]
    if "/" not in profile:
        places += [
            Path.home() / ".config/snakemake" / profile,
            Path("/etc/xdg/snakemake") / profile,
        ]
    for place in places:
        if place.is_file():
            return place
        for pattern in ("config*.yaml", "profile*.yaml"):
            if found := sorted(place.glob(pattern)):
                return found[-1]
    return None


def check_profile(profile: str) -> str:
    """Return the executor that a profile names, empty if none, once it is seen that it can be used here.

    Raises
    ------
    CarseqError
        If there is no such profile, its file is not YAML, its plugin is not installed, or the command that sends
        jobs is missing.
    """
    file = profile_file(profile)
    if file is None:
        raise CarseqError(
            f"there is no profile {profile}",
            f"carseq has {', '.join(profiles())}; others are folders that hold a config.yaml",
            "name one of these, or the path of yours",
        )
    values: Any = read_yaml(file)[0]
    executor = str(values.get("executor") or "") if isinstance(values, dict) else ""
    check_executor(executor, f"profile {Path(profile).name}", _own_name(profile))
    return executor


def _own_name(profile: str) -> str:
    """Return the name of a profile that came with carseq; empty for another."""
    path = Path(profile)
    return path.name if path.parent == workflow_folder() / "profiles" else ""


def check_executor(executor: str, named_by: str, profile: str = "") -> None:
    """Raise if jobs cannot be sent with an executor from here.

    Raises
    ------
    CarseqError
        If its plugin is not installed, the command that sends jobs is missing or another cluster's, or the cluster does
        not answer.
    """
    if not executor:
        return
    if not has_executor(executor):
        raise CarseqError(
            f"the plugin for {executor} is not installed",
            f"{named_by} sends jobs with it",
            f"pip install snakemake-executor-plugin-{executor}",
        )
    # cluster-generic sends to any kind: which one is known of carseq's own profiles only.
    own = CLUSTERS.get(profile)
    meant = (
        [own]
        if own
        else [c for c in CLUSTERS.values() if c.executor == executor != "cluster-generic"]
    )
    for cluster in meant:
        if not cluster.has_command:
            raise CarseqError(
                f"no {cluster.submit} on PATH",
                f"{named_by} sends jobs to {cluster.name} with it",
                "start the run on a machine from which jobs are sent (a login node), perhaps after `module load`",
            )
        if not cluster.is_here and (other := _other_of_command(cluster)):
            raise CarseqError(
                f"{cluster.submit} on PATH is that of {CLUSTERS[other].name}",
                f"{named_by} sends jobs to {cluster.name} with it; {CLUSTERS[other].sign} is on PATH, "
                f"{cluster.sign} is not",
                f"--profile {other}",
            )
        if told := cluster.refusal():
            raise CarseqError(
                f"{cluster.name} does not answer",
                f"`{cluster.asked}`: {told}",
                f"start the run where `{cluster.asked}` works (a login node), perhaps after `module load`",
            )


def _other_of_command(cluster: Cluster) -> str:
    """Return the profile of another cluster that is here and has a command of the same name; empty if none."""
    others = (
        name
        for name, c in CLUSTERS.items()
        if c is not cluster and c.submit == cluster.submit and c.is_here
    )
    return next(others, "")
