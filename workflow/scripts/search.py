"""Search a sample's reads for those that may be the CAR's or its homologs'."""

from dataclasses import replace

from carseq.construct import load_construct, read_construct
from carseq.io.files import read_text
from carseq.library.geometry import Chemistry
from carseq.molecules import write_evidence
from carseq.reference.genome import read_loci, read_transcript_fasta
from carseq.reference.index import index_contigs
from carseq.study.construct_file import vector_name, with_record
from carseq.workflow import in_pairs, job

with job(snakemake):
    given = snakemake.input
    chemistry = Chemistry.from_json(read_text(given.chemistry))
    if given.whitelist:
        chemistry = replace(chemistry, whitelist=str(given.whitelist))
    constructs = [read_construct(given.construct)]
    for file, record in zip(given.alternatives, snakemake.params.records, strict=True):
        vector = with_record(file, record)
        constructs.append(load_construct(vector, name=vector_name(vector)))
    write_evidence(
        in_pairs(given.fastqs),
        chemistry,
        constructs,
        read_transcript_fasta(given.rivals),
        read_loci(given.loci),
        index_contigs(given.index),
        snakemake.output.bam,
    )
