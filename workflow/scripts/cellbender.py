"""Take ambient RNA out of a sample's counts by CellBender."""

from carseq.cells.ambient import run_cellbender
from carseq.io.files import read_table
from carseq.io.h5ad import write_h5ad
from carseq.io.matrix import read_counts
from carseq.workflow import job

with job(snakemake, further_arrays=True):
    params = snakemake.params
    barcodes = read_table(snakemake.input.barcodes)
    cells = barcodes.loc[barcodes["is_cell"], "barcode"].astype(str)
    made = run_cellbender(
        read_counts(snakemake.input.raw, car=params.car, needs_car=False),
        n_cells=len(cells),
        epochs=params.epochs,
        threads=snakemake.threads,
        car=params.car,
    )
    write_h5ad(made[made.obs_names.isin(cells)].copy(), snakemake.output[0])
