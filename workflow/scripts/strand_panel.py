"""Choose the transcripts by which the strand of reads is found."""

from carseq.io.fasta import write_sequences
from carseq.library.strand import strand_panel
from carseq.reference.genome import read_transcripts
from carseq.workflow import job

with job(snakemake):
    transcripts = read_transcripts(snakemake.input.fasta, snakemake.input.gtf)
    panel = strand_panel((t.gene, t.sequence) for t in transcripts)
    write_sequences({f"panel{i}": s for i, s in enumerate(panel)}, snakemake.output[0])
