"""Find the domains and faults of the CAR's transcript, and draw it, for reads of the study's length."""

from pathlib import Path

from carseq.construct import read_construct
from carseq.construct.outputs import write_features
from carseq.figures.output import write_map
from carseq.library.reads import shortest_reads
from carseq.workflow import job

with job(snakemake):
    given = snakemake.input
    construct = read_construct(given.construct)
    read_length = shortest_reads(given.libraries, snakemake.params.read_length)
    folder = Path(snakemake.output.domains).parent
    write_features(construct, folder, read_length=read_length)
    write_map(construct, folder, kinds=("svg",), read_length=read_length)
