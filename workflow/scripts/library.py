"""Measure strand and length of a sample's reads, once for all steps that need them."""

from carseq.io.files import write_text
from carseq.library.reads import measure_reads
from carseq.workflow import job

with job(snakemake):
    given = snakemake.input
    found = measure_reads(
        given.chemistry or None, given.bam or None, given.panel, named=snakemake.params.chemistry
    )
    write_text(found.to_json(), snakemake.output[0])
