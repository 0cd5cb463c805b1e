"""Learn a sample's barcodes from its reads."""

from carseq.library.geometry import layout
from carseq.library.observed import learn_barcodes
from carseq.workflow import in_pairs, job

with job(snakemake):
    learnt = learn_barcodes(
        [r1 for r1, _ in in_pairs(snakemake.input.fastqs)],
        layout(snakemake.params.chemistry),
        sample=snakemake.wildcards.sample,
    )
    learnt.write(snakemake.output[0])
