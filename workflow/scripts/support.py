"""Say which of several constructs the reads of a sample support."""

from carseq.construct import load_construct, read_construct
from carseq.io.files import write_table
from carseq.library.reads import LibraryReads
from carseq.molecules import compare_constructs
from carseq.schema.tables import SUPPORT
from carseq.study.construct_file import vector_name, with_record
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    constructs = [read_construct(given.construct)]
    for file, record in zip(given.alternatives, snakemake.params.records, strict=True):
        vector = with_record(file, record)
        constructs.append(load_construct(vector, name=vector_name(vector)))
    table = compare_constructs(
        given.bam,
        constructs,
        sample=snakemake.wildcards.sample,
        strand=LibraryReads.read(given.library).strand,
        barcode_tag=params.barcode_tag,
        umi_tag=params.umi_tag,
    )
    write_table(table, snakemake.output[0], SUPPORT)
