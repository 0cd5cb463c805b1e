"""Align and count a sample with STARsolo."""

from dataclasses import replace
from pathlib import Path

from carseq.io.files import read_text
from carseq.library.geometry import Chemistry
from carseq.solo import align
from carseq.workflow import in_pairs, job

with job(snakemake):
    chemistry = Chemistry.from_json(read_text(snakemake.input.chemistry))
    if snakemake.input.whitelist:
        chemistry = replace(chemistry, whitelist=str(snakemake.input.whitelist))
    align(
        in_pairs(snakemake.input.fastqs),
        chemistry,
        snakemake.input.index,
        Path(snakemake.output.summary).parent,
        bam=hasattr(snakemake.output, "bam"),
        car=snakemake.params.car,
        insert=tuple(snakemake.input.insertion) or None,
        feature=snakemake.params.feature,
        threads=snakemake.threads,
        memory_mb=snakemake.resources.sort_mb,
    )
