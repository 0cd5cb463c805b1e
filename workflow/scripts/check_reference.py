"""Check genome, annotation and index before hours are spent."""

import json
from pathlib import Path

from carseq.io.files import write_text
from carseq.reference.genome import check_reference
from carseq.reference.index import check_index
from carseq.workflow import job

with job(snakemake):
    fasta, gtf = snakemake.input.fasta, snakemake.input.gtf
    contigs = check_reference(fasta, gtf)
    if snakemake.input.index:
        check_index(snakemake.input.index, fasta, gtf, plain=snakemake.params.plain)
    checked = {"fasta": Path(str(fasta)).name, "gtf": Path(str(gtf)).name, "contigs": contigs}
    write_text(json.dumps(checked) + "\n", snakemake.output[0])
