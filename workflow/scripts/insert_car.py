"""Insert the CAR into the base index, and check that no gene was lost."""

from carseq.reference import check_augmented, insert_car, write_augmented_gtf
from carseq.workflow import job

with job(snakemake):
    write_augmented_gtf(snakemake.input.gtf, snakemake.input.car_gtf, snakemake.output.gtf)
    insert_car(
        snakemake.input.base,
        snakemake.input.car,
        snakemake.output.gtf,
        snakemake.output.index,
        threads=snakemake.threads,
    )
    check_augmented(snakemake.output.index, snakemake.output.gtf, snakemake.params.name)
