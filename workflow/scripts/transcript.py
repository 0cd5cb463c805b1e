"""Derive the CAR's transcript from its vector."""

from pathlib import Path

from carseq.construct import load_construct
from carseq.construct.outputs import write_transcript
from carseq.workflow import job

with job(snakemake):
    construct = load_construct(
        snakemake.input[0], name=snakemake.params.name, form=snakemake.params.form
    )
    write_transcript(construct, Path(snakemake.output.fasta).parent)
