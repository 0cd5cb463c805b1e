"""Find a sample's chemistry from its reads."""

from carseq.chemistry import check_counts, detect_chemistry
from carseq.reference import read_sequences
from carseq.tables import write_text
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
    check_counts(pairs)
    write_text(found.to_json(), snakemake.output[0])
