"""Write the manifest of inputs, outputs, versions, command and checksums."""

from pathlib import Path

from carseq.report.exports import write_crate
from carseq.workflow import job

with job(snakemake):
    out = Path(snakemake.output[0])
    write_crate(
        out.parent,
        snakemake.params.inputs,
        out,
        command=snakemake.params.command,
        checksums=snakemake.params.checksums,
    )
