"""Cut the reads that may be the CAR's or its homologs' out of a sample's BAM."""

from carseq.construct import load_construct, read_construct
from carseq.molecules import write_slice
from carseq.reference.genome import read_loci
from carseq.study.construct_file import vector_name, with_record
from carseq.workflow import job

with job(snakemake):
    given = snakemake.input
    constructs = [read_construct(given.construct)]
    for file, record in zip(given.alternatives, snakemake.params.records, strict=True):
        vector = with_record(file, record)
        constructs.append(load_construct(vector, name=vector_name(vector)))
    write_slice(given.bam, constructs, read_loci(given.loci), snakemake.output.bam)
