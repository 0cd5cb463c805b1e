"""Write the cohort as a 10x-style matrix, the CAR among its genes."""

from pathlib import Path

from carseq.io.h5ad import read_h5ad
from carseq.report.exports import write_matrix
from carseq.workflow import job

with job(snakemake):
    write_matrix(read_h5ad(snakemake.input.cells), Path(snakemake.output.matrix).parent)
