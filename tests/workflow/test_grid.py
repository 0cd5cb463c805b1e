"""profiles/sge on a real Grid Engine: jobs end, one that the queue kills for its time is sent again, one fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import grid

ROOT = Path(__file__).parents[2]
MISSING = grid.missing()

pytestmark = [
    pytest.mark.grid,
    pytest.mark.skipif(
        MISSING is not None, reason=f"Grid Engine cannot be started here: {MISSING}"
    ),
]

# `time` is killed at its first try: Grid Engine counts time limits in seconds, so the profile's minutes are few.
RULES = """
rule all:
    input: "good.txt", "time.txt", "bad.txt"

rule good:
    output: "good.txt"
    threads: 2
    resources: mem_mb=500, runtime=5
    shell: "echo $NSLOTS > {output}"

rule time:
    output: "time.txt"
    resources: mem_mb=500, runtime=lambda wildcards, attempt: attempt
    shell: "[ {resources.runtime} -gt 1 ] || sleep 300; echo {resources.runtime} > {output}"

rule bad:
    output: "bad.txt"
    log: "bad.log"
    resources: mem_mb=500, runtime=5
    shell: "echo the pipette slipped > {log}; exit 3"
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with grid.running():
        yield


def test_jobs_end_are_killed_and_fail_as_they_should(cluster: None, tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(RULES)
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(tmp_path / "Snakefile"), "--directory", str(tmp_path),
        "--profile", str(ROOT / "profiles/sge"), "--latency-wait", "5", "--seconds-between-status-checks", "2",
    ]  # fmt: skip
    done = subprocess.run(
        command,
        env={**grid.environment(), "CARSEQ_QUEUE": str(ROOT / "profiles/queue.sh"), "QUEUE_PATIENCE": "1"},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert (tmp_path / "good.txt").read_text().strip() == "2", done.stderr
    assert (tmp_path / "time.txt").read_text().strip() == "2"
    assert not (tmp_path / "bad.txt").exists()
    # Once for its time; the failing rule three times, by the profile's retries.
    told = [path.read_text() for path in (tmp_path / ".snakemake/queue").glob("gone.o*")]
    assert len(told) == 1
    assert "before it was through" in told[0]
    codes = sorted(
        path.read_text().strip() for path in (tmp_path / ".snakemake/queue").glob("*.code")
    )
    assert codes.count("0") == 2
    assert len(codes) == 5
