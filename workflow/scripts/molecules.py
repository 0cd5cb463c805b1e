"""Collect the CAR molecules of a sample from its BAM."""

from carseq.construct import load_construct
from carseq.io.files import read_table, write_table
from carseq.library.strand import strand_of_library
from carseq.molecules import find_molecules
from carseq.reference.genome import read_loci, read_transcript_fasta
from carseq.schema.tables import LOSSES, MOLECULES
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    molecules, losses = find_molecules(
        given.bam,
        load_construct(given.construct, name=params.name, form=params.form),
        read_transcript_fasta(given.rivals),
        read_table(given.homology),
        sample=snakemake.wildcards.sample,
        strand=strand_of_library(given.chemistry, given.bam, given.panel, named=params.chemistry),
        loci=read_loci(given.loci),
        barcode_tag=params.barcode_tag,
        umi_tag=params.umi_tag,
    )
    write_table(molecules, snakemake.output.molecules, MOLECULES)
    write_table(losses, snakemake.output.losses, LOSSES)
