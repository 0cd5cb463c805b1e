"""Count a sample with kallisto and bustools."""

from dataclasses import replace
from pathlib import Path

from carseq.io.files import read_text
from carseq.kallisto import count
from carseq.library.geometry import Chemistry
from carseq.workflow import in_pairs, job

with job(snakemake):
    chemistry = Chemistry.from_json(read_text(snakemake.input.chemistry))
    if snakemake.input.whitelist:
        chemistry = replace(chemistry, whitelist=str(snakemake.input.whitelist))
    count(
        in_pairs(snakemake.input.fastqs),
        chemistry,
        snakemake.input.index,
        Path(snakemake.output.raw).parent,
        threads=snakemake.threads,
        folder=snakemake.params.programs,
    )
