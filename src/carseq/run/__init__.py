"""run: the workflow from the installed package, on a laptop or a cluster, and what a machine lacks for it."""

from carseq.run.clusters import CLUSTERS, Cluster, check_profile, find_profile
from carseq.run.demo import demo_needs, prepare_demo
from carseq.run.files import profiles, workflow_folder
from carseq.run.running import Options, executor_of, prepare, run_study

__all__ = [
    "CLUSTERS",
    "Cluster",
    "Options",
    "check_profile",
    "demo_needs",
    "executor_of",
    "find_profile",
    "prepare",
    "prepare_demo",
    "profiles",
    "run_study",
    "workflow_folder",
]
