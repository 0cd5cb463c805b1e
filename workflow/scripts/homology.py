"""Compare the CAR with the genome's transcripts."""

import pandas as pd

from carseq.construct import homology, load_construct, rivals
from carseq.construct.homology import homology_bed
from carseq.io.files import write_table, write_text
from carseq.reference.genome import read_transcripts, rival_context, write_transcripts
from carseq.reuse import earlier_contig
from carseq.schema.tables import HOMOLOGY, LOCI
from carseq.workflow import job

with job(snakemake):
    construct = load_construct(
        snakemake.input.construct, name=snakemake.params.name, form=snakemake.params.form
    )
    fasta, gtf = snakemake.input.fasta, snakemake.input.gtf
    found = rivals(construct.sequence, read_transcripts(fasta, gtf))
    windows, loci = rival_context(fasta, gtf, {rival.gene for rival in found})
    table = homology(
        construct.sequence,
        found,
        read_length=snakemake.params.read_length,
        min_identity=snakemake.params.min_identity,
    )
    if snakemake.input.earlier:
        loci = pd.concat([loci, earlier_contig(snakemake.input.earlier, construct.name)])
    write_transcripts([*found, *windows], snakemake.output.rivals)
    write_table(loci, snakemake.output.loci, LOCI)
    write_table(table, snakemake.output.homology, HOMOLOGY)
    write_text(homology_bed(table, construct.name), snakemake.output.bed)
