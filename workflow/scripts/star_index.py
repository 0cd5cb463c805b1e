"""Build the base STAR index."""

from carseq.reference.index import build_index
from carseq.workflow import job

with job(snakemake):
    build_index(
        snakemake.input.fasta,
        snakemake.input.gtf,
        snakemake.output[0],
        threads=snakemake.threads,
        sjdb_overhang=snakemake.params.sjdb_overhang,
        sa_sparse=snakemake.params.sa_sparse,
        memory_mb=snakemake.resources.mem_mb,
    )
