"""Execute a notebook on the results; the executed notebook is the output."""

from carseq.report.notebooks import run_notebook
from carseq.workflow import job

with job(snakemake):
    run_notebook(snakemake.input.source, snakemake.output[0])
