"""Has others see a job's files late, for `whole_runs.py`.

Python loads it at its start if its folder is on PYTHONPATH; without the variable it does nothing.
"""

import os

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
