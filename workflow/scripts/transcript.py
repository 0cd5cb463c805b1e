"""Derive the CAR's transcript from its vector."""

from pathlib import Path

from carseq.construct import load_construct
from carseq.construct.outputs import write_transcript
from carseq.study.construct_file import with_record
from carseq.workflow import job

with job(snakemake):
    params = snakemake.params
    vector = with_record(snakemake.input[0], params.record)
    construct = load_construct(vector, name=params.name, form=params.form)
    write_transcript(construct, Path(snakemake.output.fasta).parent)
