"""Keeps what Snakemake gives each script, so that `torture.py` can run any job again by itself.

Python loads it at its start if its folder is on PYTHONPATH; without the variable it does nothing.
"""

import os

if folder := os.environ.get("CARSEQ_TEST_JOBS"):
    import pickle
    import sys
    from pathlib import Path

    import carseq.workflow

    original = carseq.workflow.job

    def job(snakemake, **words):
        script = Path(sys.argv[0]).name.split(".", 1)[-1]
        name = "_".join([snakemake.rule, *map(str, snakemake.wildcards)]).replace("/", "_")
        Path(folder).mkdir(parents=True, exist_ok=True)
        kept = {"script": script, "snakemake": pickle.dumps(snakemake)}
        Path(folder, f"{name}.pickle").write_bytes(pickle.dumps(kept))
        return original(snakemake, **words)

    carseq.workflow.job = job

if late := os.environ.get("CARSEQ_TEST_LATE"):
    # A network disk on which others see a job's files only after so many seconds.
    import subprocess
    from contextlib import contextmanager

    import carseq.workflow

    whole = carseq.workflow.job

    @contextmanager
    def job_seen_late(snakemake, **words):
        with whole(snakemake, **words) as given:
            yield given
        for path in map(str, snakemake.output):
            hidden = f"{path}.not_seen_yet"
            os.rename(path, hidden)
            command = f"sleep {late}; mv '{hidden}' '{path}'"
            subprocess.Popen(["sh", "-c", command], start_new_session=True)

    carseq.workflow.job = job_seen_late
