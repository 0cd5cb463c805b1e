"""Find the genome's transcripts that share sequence with the CAR, and where they lie."""

import pandas as pd

from carseq.construct import read_construct, rivals
from carseq.io.files import write_table
from carseq.reference.genome import read_transcripts, rival_context, write_transcripts
from carseq.reuse import earlier_contig
from carseq.schema.tables import LOCI
from carseq.workflow import job

with job(snakemake):
    given, output = snakemake.input, snakemake.output
    construct = read_construct(given.construct)
    found = rivals(construct.sequence, read_transcripts(given.fasta, given.gtf))
    genes = {homolog.gene for homolog in found}
    windows, loci = rival_context(given.fasta, given.gtf, genes)
    if given.earlier:
        loci = pd.concat([loci, earlier_contig(given.earlier, construct.name)])
    write_transcripts([*found, *windows], output.rivals)
    write_table(loci, output.loci, LOCI)
