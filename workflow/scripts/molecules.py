"""Collect the CAR molecules of a sample from its BAM."""

from carseq.construct import read_construct
from carseq.io.files import write_table
from carseq.library.reads import LibraryReads
from carseq.molecules import Target, molecules_of
from carseq.reference.genome import read_loci, read_transcript_fasta
from carseq.schema.tables import LOSSES, MOLECULES
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    target = Target(
        read_construct(given.construct),
        read_transcript_fasta(given.rivals),
        read_loci(given.loci),
        LibraryReads.read(given.library).strand,
    )
    molecules, losses = molecules_of(
        given.bam,
        target,
        sample=snakemake.wildcards.sample,
        tags=(params.barcode_tag, params.umi_tag),
    )
    write_table(molecules, snakemake.output.molecules, MOLECULES)
    write_table(losses, snakemake.output.losses, LOSSES)
