"""Say which of several constructs the reads of a sample support."""

from pathlib import Path

from carseq.construct import load_construct, read_construct
from carseq.io.files import write_table
from carseq.library.reads import LibraryReads
from carseq.molecules import compare_constructs
from carseq.schema.tables import SUPPORT
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    constructs = [read_construct(given.construct)]
    constructs += [load_construct(file, name=Path(file).stem) for file in given.alternatives]
    table = compare_constructs(
        given.bam,
        constructs,
        sample=snakemake.wildcards.sample,
        strand=LibraryReads.read(given.library).strand,
        barcode_tag=params.barcode_tag,
        umi_tag=params.umi_tag,
    )
    write_table(table, snakemake.output[0], SUPPORT)
