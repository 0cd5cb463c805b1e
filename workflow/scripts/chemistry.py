"""Find a sample's chemistry from its reads."""

from carseq.chemistry import check_counts, detect_chemistry
from carseq.reference import read_sequences
from carseq.tables import write_text
from carseq.workflow import job

with job(snakemake):
    found = detect_chemistry(
        snakemake.params.pairs,
        list(read_sequences(snakemake.input.panel).values()),
        sample=snakemake.wildcards.sample,
        chemistry=snakemake.params.chemistry,
        whitelist=snakemake.params.whitelist,
    )
    check_counts(snakemake.params.pairs)
    write_text(found.to_json(), snakemake.output[0])
