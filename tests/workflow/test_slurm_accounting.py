"""profiles/slurm on a real Slurm with accounting (slurmdbd, MariaDB): jobs run on an account, sacct tells their end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import slurm

ROOT = Path(__file__).parents[2]
MISSING = slurm.missing() or slurm.missing_accounting()

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        MISSING is not None, reason=f"Slurm with accounting cannot be started here: {MISSING}"
    ),
]

# The plugin looks for finished jobs 10 s later each time that it found none: kind to a cluster, minutes of a test.
SNAKEMAKE = """
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor

Executor.next_seconds_between_status_checks = property(lambda self: 3, lambda self, seconds: None)
main()
"""

# A job that is through, one whose memory is too small at first, one that fails whatever it asks for.
RULES = """
rule all:
    input: "good.txt", "memory.txt", "bad.txt"

rule good:
    output: "good.txt"
    resources: mem_mb=500, runtime=5
    shell: "touch {output}"

rule memory:
    output: "memory.txt"
    resources: mem_mb=lambda wildcards, attempt: [0, 300, 1200, 1200][attempt], runtime=5
    shell: "python3 -c 'import time; x = bytearray(600_000_000); time.sleep(4); print({resources.mem_mb})' > {output}"

rule bad:
    output: "bad.txt"
    resources: mem_mb=500, runtime=5
    shell: "exit 3"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[slurm.Slurm]:
    with ExitStack() as stack:
        folder = tmp_path_factory.mktemp("slurm") / "slurm"
        try:
            yield stack.enter_context(slurm.running(folder, accounting=True))
        except slurm.NotStarted as error:
            pytest.skip(f"Slurm with accounting cannot be started here: {error}")


def test_jobs_run_on_an_account_and_sacct_tells_how_they_ended(cluster, tmp_path) -> None:
    """With no option but the profile's and the account: what README and docs say."""
    (tmp_path / "Snakefile").write_text(RULES)
    command = [
        sys.executable, "-c", SNAKEMAKE, "--snakefile", str(tmp_path / "Snakefile"), "--directory", str(tmp_path),
        "--profile", str(ROOT / "profiles/slurm"), "--latency-wait", "5",
        "--slurm-init-seconds-before-status-checks", "5",
        "--default-resources", f"slurm_account={slurm.ACCOUNT}",
    ]  # fmt: skip
    place = Path(sys.executable).parent
    path = f"{cluster.folder / 'bin'}:{place}:{cluster.environment['PATH']}"
    done = subprocess.run(
        command, cwd=tmp_path, env={**cluster.environment, "PATH": path}, capture_output=True, text=True, check=False,
        timeout=600,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert (tmp_path / "good.txt").exists(), done.stderr
    assert (tmp_path / "memory.txt").read_text().strip() == "1200"
    assert not (tmp_path / "bad.txt").exists()
    rows = cluster.command(
        "sacct", "-X", "--noheader", "--parsable2", "--format=Account,State,Comment"
    )
    told = [line.split("|") for line in rows.splitlines() if line.count("|") == 2]
    assert {account for account, _, _ in told} == {slurm.ACCOUNT}
    states = {
        rule: sorted(s for _, s, c in told if rule in c) for rule in ("good", "memory", "bad")
    }
    assert states["good"] == ["COMPLETED"]
    assert states["memory"] in (["COMPLETED", "OUT_OF_MEMORY"], ["COMPLETED", "FAILED"])
    # Once, and once for each of the profile's retries.
    assert states["bad"] == ["FAILED"] * 3


def test_an_account_that_the_user_lacks_is_refused(cluster, tmp_path) -> None:
    """Accounting is enforced here: the test above did not pass for want of it."""
    said = cluster.command("sbatch", "--account=others", "--wrap=true")
    assert "Invalid account" in said
