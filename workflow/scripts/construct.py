"""Derive the CAR's transcript from its vector."""

from pathlib import Path

from carseq.construct import load_construct, write_construct
from carseq.figures.output import write_map
from carseq.workflow import job

with job(snakemake):
    construct = load_construct(
        snakemake.input[0], name=snakemake.params.name, form=snakemake.params.form
    )
    folder = Path(snakemake.output.fasta).parent
    write_construct(construct, folder)
    write_map(construct, folder, kinds=("svg",))
