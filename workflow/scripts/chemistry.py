"""Find a sample's chemistry from its reads."""

from carseq.io.fasta import read_sequences
from carseq.io.files import write_text
from carseq.library.detect import detect_chemistry
from carseq.library.fastq import check_counts, check_pair
from carseq.workflow import in_pairs, job

with job(snakemake):
    pairs = in_pairs(snakemake.input.fastqs)
    found = detect_chemistry(
        pairs,
        list(read_sequences(snakemake.input.panel).values()),
        sample=snakemake.wildcards.sample,
        chemistry=snakemake.params.chemistry,
        whitelist=snakemake.input.whitelist or None,
    )
    check_counts([pair for pair in pairs if not check_pair(*pair)])
    write_text(found.to_json(), snakemake.output[0])
