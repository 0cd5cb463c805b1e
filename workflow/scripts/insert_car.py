"""Insert the CAR into the base index, and check that no gene was lost."""

from carseq.reference.index import check_augmented, insert_car
from carseq.workflow import job

with job(snakemake):
    given, index = snakemake.input, snakemake.output[0]
    insert_car(given.base, given.car, given.gtf, index, threads=snakemake.threads)
    check_augmented(index, given.gtf, snakemake.params.name)
