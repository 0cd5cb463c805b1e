"""Index the annotation's transcripts for kallisto."""

from carseq.kallisto import build_transcripts_index
from carseq.workflow import job

with job(snakemake):
    build_transcripts_index(
        snakemake.input.fasta,
        snakemake.input.gtf,
        snakemake.output[0],
        threads=snakemake.threads,
        folder=snakemake.params.programs,
    )
