"""Find the cells of a sample and measure them."""

from carseq.cells.stages import sample_cells
from carseq.io.files import write_table
from carseq.io.h5ad import write_h5ad
from carseq.io.matrix import read_counts
from carseq.schema.tables import AMBIENT, BARCODES, KNEE
from carseq.workflow import job

with job(snakemake):
    params, output = snakemake.params, snakemake.output
    listed = list(read_counts(snakemake.input.listed).obs_names) if snakemake.input.listed else None
    made = sample_cells(
        read_counts(snakemake.input.raw, car=params.car, needs_car=params.needs_car),
        snakemake.wildcards.sample,
        car=params.car,
        called=params.called,
        listed=listed,
        seed=params.seed,
        solo=params.solo,
    )
    write_h5ad(made.cells, output.cells)
    write_table(made.barcodes.reset_index(), output.barcodes, BARCODES)
    write_table(made.ambient, output.ambient, AMBIENT)
    write_table(made.knee, output.knee, KNEE)
