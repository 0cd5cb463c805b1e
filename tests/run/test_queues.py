"""How jobs go to LSF, Grid Engine, PBS and HTCondor: the command lines, against stand-ins for the clusters' commands.

A real Slurm is tests/workflow/test_slurm.py; a real Grid Engine is `make gridtest`.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from carseq.run import workflow_folder

#: What a stand-in answers: it writes down its words and its input, and prints what is in FOLDER/NAME.says. It fails for
#: a job where FOLDER/NAME.fails is there, and always where NAME.down is.
STAND_IN = """#!/bin/sh
printf '%s\\n' "$@" > '{folder}/{name}.words'
case {name} in qsub) cat > '{folder}/{name}.input' ;; esac
[ ! -e '{folder}/{name}.says' ] || cat '{folder}/{name}.says'
[ ! -e '{folder}/{name}.down' ] || exit 1
[ $# = 0 ] || [ ! -e '{folder}/{name}.fails' ]
"""


class Cluster:
    """Stand-ins for a cluster's commands in a folder, and a study's folder beside it."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self.kind = folder / "bin", kind
        self.study = folder / "study with spaces"
        self.folder.mkdir()
        self.study.mkdir()
        self.script = self.study / "job.sh"
        for name in ("qsub", "qstat", "qacct", "qdel", "condor_submit", "condor_q", "condor_rm"):
            path = self.folder / name
            path.write_text(STAND_IN.format(folder=self.folder, name=name))
            path.chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{self.folder}:{os.environ['PATH']}",
            "CARSEQ_QUEUE": str(workflow_folder() / "profiles" / "queue.sh"),
            "QUEUE_PATIENCE": "0",
        }

    def says(self, name: str, text: str) -> None:
        (self.folder / f"{name}.says").write_text(text)

    def words(self, name: str) -> list[str]:
        return (self.folder / f"{name}.words").read_text().splitlines()

    def profile(self, key: str) -> str:
        file = workflow_folder() / "profiles" / self.kind / "config.yaml"
        return str(yaml.safe_load(file.read_text())[f"cluster-generic-{key}"])

    def shell(self, command: str) -> str:
        done = subprocess.run(
            command, shell=True, cwd=self.study, env=self.environment, capture_output=True, text=True, check=True
        )  # fmt: skip
        return done.stdout.strip()

    def submit(self, threads: int = 8, mem_mb: int = 20001, runtime: int = 135, **more: str) -> str:
        """Send the job as the plugin does, with the profile's own command."""
        self.environment.update(more)
        command = self.profile("submit-cmd").format(
            rule="align", jobid=7, threads=threads,
            resources=SimpleNamespace(mem_mb=mem_mb, runtime=runtime),
        )  # fmt: skip
        return self.shell(f'{command} "{self.script}"')

    def status(self, number: str) -> str:
        return self.shell(f"{self.profile('status-cmd')} '{number}'")

    def work(self, code: int, **job: str) -> None:
        """Run what was sent, as the cluster would on a node."""
        self.script.write_text(f"exit {code}\n")
        text = (self.folder / "qsub.input").read_text()
        done = subprocess.run(
            ["sh"], input=text, cwd="/", env={**os.environ, **job}, text=True, check=False
        )
        assert done.returncode == code


@pytest.fixture
def cluster(tmp_path: Path, request: pytest.FixtureRequest) -> Cluster:
    return Cluster(tmp_path, request.param)


def after(words: list[str], option: str) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words) if word == option]


@pytest.mark.parametrize("cluster", ["sge"], indirect=True)
def test_grid_engine_is_asked_for_slots_memory_and_time(cluster: Cluster) -> None:
    """Memory by slot, rounded up; the site's own words behind; a job of one thread needs no parallel environment."""
    cluster.says("qsub", "41\n")
    assert cluster.submit(SGE_OPTIONS="-q long.q -P lupus") == "41"
    words = cluster.words("qsub")
    assert after(words, "-pe") == ["smp"]
    assert words[words.index("smp") + 1] == "8"
    assert after(words, "-l") == ["h_rt=2:15:00", "mem_free=2501M"]
    assert (after(words, "-q"), after(words, "-P")) == (["long.q"], ["lupus"])
    assert after(words, "-N") == ["carseq.align.7"]
    cluster.submit(threads=1, mem_mb=900, runtime=5, SGE_MEMORY="h_vmem", SGE_OPTIONS="")
    words = cluster.words("qsub")
    assert "-pe" not in words
    assert after(words, "-l") == ["h_rt=0:05:00", "h_vmem=900M"]


@pytest.mark.parametrize("cluster", ["pbs"], indirect=True)
def test_pbs_is_asked_for_cores_memory_and_time(cluster: Cluster) -> None:
    cluster.says("qsub", "41.server\n")
    assert cluster.submit(PBS_OPTIONS="-q long") == "41.server"
    words = cluster.words("qsub")
    assert after(words, "-l") == ["select=1:ncpus=8:mem=20001mb", "walltime=2:15:00"]
    assert after(words, "-q") == ["long"]
    assert all(len(name) <= 15 for name in after(words, "-N"))
    cluster.submit(PBS_KIND="torque")
    assert after(cluster.words("qsub"), "-l")[0] == "nodes=1:ppn=8,mem=20001mb"


@pytest.mark.parametrize("cluster", ["htcondor"], indirect=True)
def test_htcondor_is_asked_for_cores_memory_and_time(cluster: Cluster) -> None:
    cluster.says("condor_submit", "41.0 - 41.0\n")
    assert cluster.submit() == "41"
    (description,) = (word for word in cluster.words("condor_submit") if word.endswith(".sub"))
    lines = dict(
        line.split(" = ", 1) for line in Path(description).read_text().splitlines() if " = " in line
    )
    assert lines["request_cpus"] == "8"
    assert lines["request_memory"] == "20001MB"
    assert lines["allowed_execute_duration"] == str(135 * 60)
    assert lines["initialdir"] == str(cluster.study)
    # HTCondor parts arguments at blanks, but for those in single quotes within double ones.
    wrapper = cluster.study / ".snakemake/queue/carseq.align.7.sh"
    assert lines["arguments"] == f"\"'{wrapper}' $(Cluster)\""


#: Kind -> (how a job knows its number, the command that lists jobs, a job that runs, the number as it was printed).
QUEUES = {
    "sge": ("JOB_ID", "qstat", "41 0.5 carseq root r", "41"),
    "pbs": ("PBS_JOBID", "qstat", "41.server carseq me 00:00 R long", "41.server"),
}


@pytest.mark.parametrize("cluster", list(QUEUES), indirect=True)
@pytest.mark.parametrize("code", [0, 3])
def test_a_job_that_ends_is_known_by_its_code(cluster: Cluster, code: int) -> None:
    variable, listing, line, number = QUEUES[cluster.kind]
    cluster.says("qsub", f"{number}\n")
    cluster.submit()
    cluster.says(listing, f"{line}\n")
    assert cluster.status(number) == "running"
    cluster.work(code, **{variable: number})
    assert cluster.status(number) == ("failed" if code else "success")


@pytest.mark.parametrize("cluster", list(QUEUES), indirect=True)
def test_a_job_that_the_queue_killed_has_failed_with_the_reason(cluster: Cluster) -> None:
    """Its node went, or it was over its time: it has left no code, and the queue knows it no longer."""
    _, listing, _, number = QUEUES[cluster.kind]
    cluster.says("qsub", f"{number}\n")
    cluster.submit()
    cluster.says(listing, "")
    (cluster.folder / f"{listing}.fails").touch()
    cluster.says("qacct", "failed       37  : qmaster enforced h_rt, h_cpu, or h_vmem limit\n")
    assert cluster.status(number) == "failed"
    (told,) = (cluster.study / ".snakemake/queue").glob("*.o41")
    assert "ended job 41" in told.read_text()
    if cluster.kind == "sge":
        assert "enforced h_rt" in told.read_text()


@pytest.mark.parametrize("cluster", [*QUEUES, "htcondor"], indirect=True)
def test_a_queue_that_does_not_answer_has_not_ended_its_jobs(cluster: Cluster) -> None:
    """Sent again, a job would be at work twice and write the same files."""
    _, listing, line, number = QUEUES.get(cluster.kind, ("", "condor_q", "2", "41"))
    cluster.says("qsub", f"{number}\n")
    cluster.says("condor_submit", "41.0 - 41.0\n")
    cluster.submit()
    (cluster.folder / f"{listing}.down").touch()
    assert cluster.status(number) == "running"
    (cluster.folder / f"{listing}.down").unlink()
    cluster.says(listing, f"{line}\n")
    assert cluster.status(number) == "running"


@pytest.mark.parametrize("cluster", ["sge"], indirect=True)
def test_a_job_that_grid_engine_cannot_start_does_not_wait_for_ever(cluster: Cluster) -> None:
    cluster.says("qsub", "41\n")
    cluster.submit()
    cluster.says("qstat", "41 0.5 carseq root Eqw 11/25/2026\n")
    assert cluster.status("41") == "failed"
    assert cluster.words("qdel") == ["41"]


@pytest.mark.parametrize("cluster", ["htcondor"], indirect=True)
def test_htcondors_jobs_run_are_held_and_end(cluster: Cluster) -> None:
    cluster.says("condor_submit", "41.0 - 41.0\n")
    number = cluster.submit()
    cluster.says("condor_q", "2\n")
    assert cluster.status(number) == "running"
    (wrapper,) = (cluster.study / ".snakemake/queue").glob("*.sh")
    cluster.script.write_text("exit 0\n")
    subprocess.run(["sh", str(wrapper), number], cwd="/", check=True)
    assert cluster.status(number) == "success"
    other = "42"
    cluster.says("condor_q", "5\n")
    assert cluster.status(other) == "failed"
    assert cluster.words("condor_rm") == ["42"]


def test_lsf_is_asked_for_slots_memory_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the plugin itself, which counts memory by slot unless the site counts it by job."""
    plugin = pytest.importorskip("snakemake_executor_plugin_lsf")
    bsub = tmp_path / "bsub"
    bsub.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" > '{tmp_path}/words'\necho 'Job <41> is submitted'\n"
    )
    bsub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    class Resources(SimpleNamespace):
        def get(self, key: str, default: object = None) -> object:
            return getattr(self, key, default)

    sent = []
    executor = plugin.Executor.__new__(plugin.Executor)
    executor.run_uuid, executor._fallback_project_arg, executor._fallback_queue = "u", "", ""
    executor.lsf_config = {"LSF_UNIT_FOR_LIMITS": "MB", "LSF_MEMFMT": "percpu"}
    executor.workflow = SimpleNamespace(workdir_init=str(tmp_path))
    executor.logger = SimpleNamespace(debug=print, info=print, warning=print, error=print)
    executor.format_job_exec = lambda job: "true"
    executor.report_job_submission = sent.append
    job = SimpleNamespace(
        name="align", jobid=7, threads=8, wildcards_dict={"sample": "P01"}, is_group=lambda: False,
        resources=Resources(mem_mb=20000, runtime=135, lsf_queue="long", lsf_project="lupus"),
    )  # fmt: skip
    executor.run_job(job)
    words = (tmp_path / "words").read_text().splitlines()
    assert after(words, "-n") == ["8"]
    assert after(words, "-W") == ["135"]
    assert after(words, "-R") == ["rusage[mem=2500.0]", "span[hosts=1]"]
    assert (after(words, "-q"), after(words, "-P")) == (["long"], ["lupus"])
    assert sent[0].external_jobid == "41"


@pytest.mark.parametrize("kind", ["slurm", "lsf", "sge", "pbs", "htcondor"])
def test_every_profile_sends_jobs_again_and_groups_the_short_ones(kind: str) -> None:
    """A job of a lost node comes again; the same rules are grouped on each cluster, and every one of them exists."""
    folder = workflow_folder()
    profile = yaml.safe_load((folder / "profiles" / kind / "config.yaml").read_text())
    slurm = yaml.safe_load((folder / "profiles/slurm/config.yaml").read_text())
    assert profile["retries"] == 2
    assert profile["keep-going"] is True
    assert profile["groups"] == slurm["groups"]
    rules = "".join(path.read_text() for path in (folder / "workflow/rules").glob("*.smk"))
    for rule in profile["groups"]:
        assert re.search(rf"^ *rule {rule}:", rules, re.M), rule


def test_a_hundred_samples_go_in_groups_of_ten_and_in_arrays(tmp_path: Path) -> None:
    """The command of docs/cluster.md, planned: ten samples share a job for each short step; Slurm's plugin takes it."""
    pytest.importorskip("snakemake_executor_plugin_slurm")
    root, study = Path(__file__).parents[2], tmp_path / "study"
    shutil.copytree(root / "tests/data/lint", study)
    sheets = {
        "samples": "sample\tpatient\tcompartment\ttimepoint\trole\n",
        "units": "sample\tunit\tr1\tr2\n",
    }
    for i in range(100):
        sheets["samples"] += f"S{i}\tP{i}\turine\tD0\tcase\n"
        for mate in ("R1", "R2"):
            shutil.copy(study / f"A_{mate}.fastq", study / f"S{i}_{mate}.fastq")
        sheets["units"] += f"S{i}\tL1\tS{i}_R1.fastq\tS{i}_R2.fastq\n"
    for name, text in sheets.items():
        (study / f"{name}.tsv").write_text(text)
    page = (root / "docs/cluster.md").read_text()
    (told,) = re.findall(
        r"carseq run study/config.yaml (--profile slurm --jobs 200.*?)```", page, re.DOTALL
    )
    words = shlex.split(told.replace("\\\n", " "))
    words[1] = str(root / "profiles/slurm")
    command = [sys.executable, "-m", "snakemake", "--snakefile", root / "Snakefile", "--dry-run"]
    command += ["--directory", study, "--configfile", study / "config.yaml", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    for group in ("reads", "car_reads"):
        assert said.count(f"Group job {group} ") == 10, group
    assert said.count("Group job prepare ") == 1
    planned = dict(re.findall(r"(?m)^(\w+) +(\d+)$", said))
    arrays = next(w for w in words if w.startswith("--slurm-array-jobs="))
    for rule in arrays.partition("=")[2].split(","):
        assert planned[rule] == "100", rule
