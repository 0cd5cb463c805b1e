"""Cluster and annotate the cells of all samples."""

from functools import partial

from carseq.cells import add_protein, add_receptors, protein_agreement, receptor_table
from carseq.cells.beside import learning_beside
from carseq.cells.markers import homologs_of
from carseq.cells.stages import add_layer, annotate_cohort, cohort_tables
from carseq.io.files import read_table, write_table
from carseq.io.h5ad import read_h5ad, write_h5ad
from carseq.schema.tables import (
    ANNOTATION,
    FILTERS,
    HOMOLOGY,
    INTEGRATION,
    PROTEIN_AGREEMENT,
    RECEPTORS,
)
from carseq.study.config import CellsConfig
from carseq.workflow import job

with job(snakemake, further_arrays=True):
    params, samples, output = snakemake.params, snakemake.params.samples, snakemake.output
    homology = snakemake.input.homology
    config = CellsConfig(**params.cells)
    with learning_beside(snakemake.input.cells, config.integration, snakemake.threads) as beside:
        cohort, filters = annotate_cohort(
            map(read_h5ad, snakemake.input.cells),
            dict(zip(samples, map(read_table, snakemake.input.ambient), strict=True)),
            car=params.car,
            config=config,
            homologs=homologs_of(read_table(homology, HOMOLOGY)) if homology else None,
            threads=snakemake.threads,
            beside=beside,
        )
    if snakemake.input.cellbender:
        made = dict(zip(params.with_raw, map(read_h5ad, snakemake.input.cellbender), strict=True))
        add_layer(cohort, "cellbender", made)
    # Backed: the counts stay on disk.
    add_protein(cohort, map(partial(read_h5ad, backed=True), snakemake.input.cells))
    with_receptors = list(params.patients)
    cohort.obs["patient"] = cohort.obs["sample"].astype(str).map(params.patients).fillna("")
    add_receptors(cohort, dict(zip(with_receptors, snakemake.input.tcr, strict=True)))
    for sample, path in zip(samples, output.filters, strict=True):
        write_table(filters[filters["sample"] == sample], path, FILTERS)
    annotation, integration = cohort_tables(cohort, car=params.car, seed=params.cells["seed"])
    write_table(annotation, output.annotation, ANNOTATION)
    write_table(integration, output.integration, INTEGRATION)
    write_table(protein_agreement(cohort.obs), output.protein, PROTEIN_AGREEMENT)
    receptors = receptor_table(cohort.obs, with_receptors)
    write_table(receptors, output.receptors, RECEPTORS)
    write_h5ad(cohort, output.cohort)
