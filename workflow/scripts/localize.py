"""Say where the CAR T cells are, how samples compare, and what lies beside them."""

from carseq import localize
from carseq.guards import check_localization
from carseq.io.files import read_table, write_table
from carseq.io.h5ad import read_cells
from carseq.schema import tables
from carseq.workflow import job

with job(snakemake):
    target = snakemake.params.target
    cohort = read_cells(snakemake.input.cells, genes=[target] if target else [])
    detection = read_table(snakemake.input.detection, tables.DETECTION)
    found = localize.everything(
        cohort,
        detection,
        target=target,
        given=snakemake.params.given,
        processes=snakemake.threads,
    )
    check_localization(found["localization"], detection, cohort.obs)
    for name, table in found.items():
        write_table(table, snakemake.output[name], tables.BY_NAME[name])
