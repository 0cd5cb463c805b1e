"""Take over a finished study's cells and cohort."""

from carseq.io.files import read_table, write_table
from carseq.io.h5ad import read_cells, write_cells
from carseq.reuse import reused_cells, reused_filters, reused_knee, take
from carseq.schema.tables import BARCODES, FILTERS, KNEE, MOLECULES
from carseq.workflow import job

with job(snakemake):
    given, output, params = snakemake.input, snakemake.output, snakemake.params
    names = params.samples
    take([*given.barcodes, *given.ambient], [*output.barcodes, *output.ambient])
    molecules = dict(zip(params.with_reads, given.molecules, strict=True))
    made = zip(output.knee, output.filters, strict=True)
    for sample, barcodes, *before, after in zip(
        names, given.barcodes, given.knee, given.filters, made, strict=True
    ):
        if sample not in molecules:
            take(before, after)
            continue
        own = read_table(molecules[sample], MOLECULES)
        knee = reused_knee(read_table(barcodes, BARCODES), own)
        write_table(knee, after[0], KNEE)
        car_umis = knee.set_index("barcode")["car_umis"]
        write_table(reused_filters(read_table(before[1], FILTERS), car_umis), after[1], FILTERS)
    cohort = read_cells(given.cohort[0], genes=[params.car])
    needs_car = [s for s in names if s not in molecules]
    reused_cells(cohort, car=params.car, needs_car=needs_car)
    write_cells(cohort, given.cohort[0], output.cohort[0])
    take(given.cohort[1:], output.cohort[1:])
