"""Say which of several constructs the reads of a sample support."""

from pathlib import Path

from carseq.construct import load_construct
from carseq.io.files import write_table
from carseq.library.strand import strand_of_library
from carseq.molecules.support import compare_constructs
from carseq.schema.tables import SUPPORT
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    constructs = [load_construct(given.construct, name=params.name, form=params.form)]
    constructs += [load_construct(file, name=Path(file).stem) for file in given.alternatives]
    table = compare_constructs(
        given.bam,
        constructs,
        sample=snakemake.wildcards.sample,
        strand=strand_of_library(given.chemistry, given.bam, given.panel, named=params.chemistry),
        barcode_tag=params.barcode_tag,
        umi_tag=params.umi_tag,
    )
    write_table(table, snakemake.output[0], SUPPORT)
