"""Choose the transcripts by which the strand of reads is found."""

from collections import Counter

from carseq.io.fasta import write_sequences
from carseq.library.strand import strand_panel
from carseq.log import get_logger
from carseq.reference.genome import doubt_of_introns, read_transcripts
from carseq.workflow import job

with job(snakemake):
    introns = Counter()
    transcripts = read_transcripts(snakemake.input.fasta, snakemake.input.gtf, introns=introns)
    panel = strand_panel((t.gene, t.sequence) for t in transcripts)
    if doubt := doubt_of_introns(introns):
        get_logger(__name__).warning("%s", doubt)
    write_sequences({f"panel{i}": s for i, s in enumerate(panel)}, snakemake.output[0])
