"""Cut the reads that may be the CAR's or its homologs' out of a sample's BAM."""

from pathlib import Path

from carseq.construct import load_construct, read_construct
from carseq.molecules import write_slice
from carseq.reference.genome import read_loci
from carseq.workflow import job

with job(snakemake):
    given = snakemake.input
    constructs = [read_construct(given.construct)]
    constructs += [load_construct(file, name=Path(file).stem) for file in given.alternatives]
    write_slice(given.bam, constructs, read_loci(given.loci), snakemake.output.bam)
