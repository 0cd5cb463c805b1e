"""Write the cohort as a 10x-style matrix, the CAR among its genes."""

from pathlib import Path

from anndata import AnnData

from carseq.io.h5ad import read_parts
from carseq.report.exports import write_matrix
from carseq.workflow import job

with job(snakemake):
    parts = read_parts(snakemake.input.cells, "obs", "var", "layers/counts")
    counts = {"counts": parts["layers/counts"]}
    cohort = AnnData(obs=parts["obs"], var=parts["var"], layers=counts)
    write_matrix(cohort, Path(snakemake.output.matrix).parent)
