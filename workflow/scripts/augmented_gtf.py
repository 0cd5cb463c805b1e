"""Write the annotation with the CAR's gene."""

from carseq.reference.genome import write_augmented_gtf
from carseq.workflow import job

with job(snakemake):
    write_augmented_gtf(snakemake.input.gtf, snakemake.input.car, snakemake.output[0])
