"""Say where the CAR T cells are, and how samples compare."""

from carseq.cells import blood_in_urine
from carseq.localize import contrasts, localize
from carseq.tables import (
    BLOOD_IN_URINE,
    CONTRASTS,
    DETECTION,
    LOCALIZATION,
    read_cells,
    read_table,
    write_table,
)
from carseq.workflow import job

with job(snakemake):
    cohort = read_cells(snakemake.input.cells)
    detection = read_table(snakemake.input.detection, DETECTION)
    write_table(localize(cohort, detection), snakemake.output.localization, LOCALIZATION)
    write_table(contrasts(detection), snakemake.output.contrasts, CONTRASTS)
    write_table(blood_in_urine(cohort, detection), snakemake.output.blood, BLOOD_IN_URINE)
