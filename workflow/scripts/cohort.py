"""Cluster and annotate the cells of all samples."""

import anndata

from carseq.cells.stages import add_layer, annotate_cohort, cohort_tables
from carseq.config import CellsConfig
from carseq.tables import ANNOTATION, INTEGRATION, read_table, write_h5ad, write_table
from carseq.workflow import job

with job(snakemake):
    params, samples = snakemake.params, snakemake.params.samples
    cohort, filters = annotate_cohort(
        map(anndata.read_h5ad, snakemake.input.cells),
        dict(zip(samples, map(read_table, snakemake.input.ambient), strict=True)),
        car=params.car,
        config=CellsConfig(**params.cells),
        threads=snakemake.threads,
    )
    if snakemake.input.cellbender:
        made = dict(
            zip(params.with_raw, map(anndata.read_h5ad, snakemake.input.cellbender), strict=True)
        )
        add_layer(cohort, "cellbender", made)
    for sample, path in zip(samples, snakemake.output.filters, strict=True):
        write_table(filters[filters["sample"] == sample], path)
    annotation, integration = cohort_tables(cohort, car=params.car, seed=params.cells["seed"])
    write_table(annotation, snakemake.output.annotation, ANNOTATION)
    write_table(integration, snakemake.output.integration, INTEGRATION)
    write_h5ad(cohort, snakemake.output.cohort)
