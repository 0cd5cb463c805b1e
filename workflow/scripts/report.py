"""Write the report."""

from carseq.report import build_report
from carseq.workflow import job

with job(snakemake):
    build_report(snakemake.params.results, snakemake.output[0])
