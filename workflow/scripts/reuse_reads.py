"""Take over a finished study's alignments."""

from carseq.reuse import take
from carseq.workflow import job

with job(snakemake):
    take(snakemake.input, snakemake.output)
