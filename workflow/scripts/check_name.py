"""Check that no contig and no gene of the genome has the CAR's name."""

import json

from carseq.io.files import write_text
from carseq.reference.genome import check_name
from carseq.workflow import job

with job(snakemake):
    name = snakemake.params.name
    check_name(snakemake.input.fasta, snakemake.input.gtf, name)
    write_text(json.dumps({"name": name}) + "\n", snakemake.output[0])
