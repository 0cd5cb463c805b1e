"""Say where the CAR T cells are, and how samples compare."""

from carseq.localize import contrasts, localize
from carseq.tables import CONTRASTS, DETECTION, LOCALIZATION, read_cells, read_table, write_table
from carseq.workflow import job

with job(snakemake):
    cohort = read_cells(snakemake.input.cells)
    detection = read_table(snakemake.input.detection, DETECTION)
    write_table(localize(cohort, detection), snakemake.output.localization, LOCALIZATION)
    write_table(contrasts(detection), snakemake.output.contrasts, CONTRASTS)
