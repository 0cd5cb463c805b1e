"""Write down what was run, and with what."""

import json
from pathlib import Path

from carseq.io.files import write_text
from carseq.io.results import record_text
from carseq.kallisto import find_programs
from carseq.reference.star import star_version_if_any
from carseq.workflow import job, versions

with job(snakemake):
    record = {**snakemake.params.config, "sheet": snakemake.params.samples}
    config = snakemake.output.config
    star, kallisto = star_version_if_any(), None
    if snakemake.params.kallisto:
        star, kallisto = None, find_programs(record["solo"]["kallisto"]).versions()
    write_text(record_text(record, Path(config).parent), config)
    write_text(json.dumps(versions(star, kallisto), indent=1) + "\n", snakemake.output.versions)
