"""Find the domains and faults of the CAR's transcript, and draw it."""

from pathlib import Path

from carseq.construct import load_construct
from carseq.construct.outputs import write_features
from carseq.figures.output import write_map
from carseq.workflow import job

with job(snakemake):
    construct = load_construct(
        snakemake.input[0], name=snakemake.params.name, form=snakemake.params.form
    )
    folder = Path(snakemake.output.domains).parent
    write_features(construct, folder)
    write_map(construct, folder, kinds=("svg",))
