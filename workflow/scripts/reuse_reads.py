"""Take over a finished study's alignments."""

import json

from carseq.io.files import write_text
from carseq.reuse import reused_summary, take
from carseq.workflow import job

with job(snakemake):
    given, output = snakemake.input, snakemake.output
    take(given.files, output.files)
    for source, target in zip(given.summaries, output.summaries, strict=True):
        write_text(json.dumps(reused_summary(source), indent=1) + "\n", target)
