"""The clusters that carseq has a profile for, and what each needs where a run is started."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from carseq.errors import CarseqError
from carseq.run.files import profiles, workflow_folder
from carseq.study.texts import read_yaml


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
    """

    name: str
    executor: str
    submit: str
    sign: str

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


#: Profile -> cluster.
CLUSTERS = {
    "slurm": Cluster("Slurm", "slurm", "sbatch", "sinfo"),
    "lsf": Cluster("LSF", "lsf", "bsub", "bqueues"),
    "sge": Cluster("Grid Engine", "cluster-generic", "qsub", "qconf"),
    "htcondor": Cluster("HTCondor", "cluster-generic", "condor_submit", "condor_q"),
    "pbs": Cluster("PBS", "cluster-generic", "qsub", "pbsnodes"),
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
        If its plugin is not installed, or the command that sends jobs is missing.
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
