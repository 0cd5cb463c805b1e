"""Write down what was run, and with what."""

import json

from carseq.io.files import write_text
from carseq.kallisto import find_programs
from carseq.reference.star import star_version_if_any
from carseq.workflow import job, versions

with job(snakemake):
    params, output = snakemake.params, snakemake.output
    star, kallisto = star_version_if_any(), None
    if params.kallisto:
        star, kallisto = None, find_programs(params.programs).versions()
    write_text(params.record, output.config)
    write_text(json.dumps(versions(star, kallisto), indent=1) + "\n", output.versions)
