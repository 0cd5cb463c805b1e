"""Class every base of the CAR by what reads of the study's length can tell."""

from carseq.construct import homology, read_construct
from carseq.construct.homology import homology_bed
from carseq.io.files import write_table, write_text
from carseq.library.reads import shortest_reads
from carseq.reference.genome import of_mrna, read_transcript_fasta
from carseq.schema.tables import HOMOLOGY
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    construct = read_construct(given.construct)
    spliced = of_mrna(read_transcript_fasta(given.rivals))
    table = homology(
        construct.sequence,
        spliced,
        read_length=shortest_reads(given.libraries, params.read_length),
        min_identity=params.min_identity,
    )
    write_table(table, snakemake.output.homology, HOMOLOGY)
    write_text(homology_bed(table, construct.name), snakemake.output.bed)
