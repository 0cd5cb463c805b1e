"""Find where the genome shares sequence with the CAR: its transcripts, and places that no annotation tells of."""

import pandas as pd

from carseq.construct import read_construct
from carseq.io.files import write_table
from carseq.reference.genome import write_transcripts
from carseq.reference.resembling import find_homologs
from carseq.reuse import earlier_contig
from carseq.schema.tables import LOCI
from carseq.workflow import job

with job(snakemake):
    given, output = snakemake.input, snakemake.output
    construct = read_construct(given.construct)
    homologs, loci = find_homologs(construct, given.fasta, given.gtf)
    if given.earlier:
        loci = pd.concat([loci, earlier_contig(given.earlier, construct.name)])
    write_transcripts(homologs, output.rivals)
    write_table(loci, output.loci, LOCI)
