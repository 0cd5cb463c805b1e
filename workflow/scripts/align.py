"""Align and count a sample with STARsolo."""

from pathlib import Path

from carseq.chemistry import Chemistry
from carseq.solo import align
from carseq.workflow import job

with job(snakemake):
    align(
        snakemake.params.pairs,
        Chemistry.from_json(Path(snakemake.input.chemistry).read_text()),
        snakemake.input.index,
        Path(snakemake.output.bam).parent,
        car=snakemake.params.car,
        insert=tuple(snakemake.input.insertion) or None,
        feature=snakemake.params.feature,
        threads=snakemake.threads,
        memory_mb=snakemake.resources.sort_mb,
    )
