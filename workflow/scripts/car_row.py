"""Write the CAR's row of a sample's matrix from its molecules."""

from carseq.io.files import read_table
from carseq.io.h5ad import read_h5ad, write_h5ad
from carseq.molecules.row import with_car_row
from carseq.schema.tables import MOLECULES
from carseq.workflow import job

with job(snakemake):
    given = snakemake.input
    molecules = read_table(given.molecules, MOLECULES)
    raw = with_car_row(read_h5ad(given.plain), molecules, snakemake.params.car)
    write_h5ad(raw, snakemake.output[0])
