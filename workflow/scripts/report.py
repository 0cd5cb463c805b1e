"""Write the report."""

from pathlib import Path

from carseq.report import build_report
from carseq.workflow import job

with job(snakemake):
    page = Path(snakemake.output.page)
    methods, run_times = Path(snakemake.output.methods), Path(snakemake.output.run_times)
    build_report(page.parent.parent, page, methods, run_times)
