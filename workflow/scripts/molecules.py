"""Collect the CAR molecules of a sample from its BAM."""

from pathlib import Path

from carseq.construct import load_construct
from carseq.io.files import write_table
from carseq.library.strand import strand_of_library
from carseq.molecules import Target, molecules_of
from carseq.schema.tables import LOSSES, MOLECULES
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    construct = load_construct(given.construct, name=params.name, form=params.form)
    strand = strand_of_library(given.chemistry, given.bam, given.panel, named=params.chemistry)
    molecules, losses = molecules_of(
        given.bam,
        Target.read(construct, Path(given.homology).parent, strand),
        sample=snakemake.wildcards.sample,
        tags=(params.barcode_tag, params.umi_tag),
    )
    write_table(molecules, snakemake.output.molecules, MOLECULES)
    write_table(losses, snakemake.output.losses, LOSSES)
