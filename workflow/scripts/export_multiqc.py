"""Write what MultiQC shows of a study."""

from pathlib import Path

from carseq.report import read_study
from carseq.report.exports import write_multiqc
from carseq.workflow import job

with job(snakemake):
    folder = Path(snakemake.output[0]).parent
    write_multiqc(read_study(folder.parent.parent), folder)
