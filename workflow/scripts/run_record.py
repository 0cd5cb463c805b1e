"""Write down what was run, and with what."""

import json

import yaml

from carseq.io.files import write_text
from carseq.reference.star import star_version_if_any
from carseq.workflow import job, versions

with job(snakemake):
    record = {**snakemake.params.config, "sheet": snakemake.params.samples}
    write_text(yaml.safe_dump(record, sort_keys=False), snakemake.output.config)
    write_text(
        json.dumps(versions(star_version_if_any()), indent=1) + "\n", snakemake.output.versions
    )
