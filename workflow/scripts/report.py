"""Write the report."""

from pathlib import Path

from carseq.report import build_report
from carseq.workflow import job

with job(snakemake):
    page = Path(snakemake.output.page)
    build_report(page.parent.parent, page, Path(snakemake.output.methods))
