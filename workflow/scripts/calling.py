"""Call CAR T cells and give each sample its verdict."""

import json
from pathlib import Path

import pandas as pd

from carseq.calling import call_study
from carseq.io.files import read_table, write_table
from carseq.io.h5ad import read_cells, write_cells
from carseq.library.geometry import Chemistry
from carseq.schema.obs import OBS
from carseq.schema.tables import (
    CALLS,
    DETECTION,
    DOWNSAMPLING,
    LOSSES,
    MOLECULES,
    RULES,
    THRESHOLDS,
)
from carseq.workflow import job

with job(snakemake):
    given, params, output = snakemake.input, snakemake.params, snakemake.output
    names, with_reads = list(params.samples), params.with_reads
    cohort = read_cells(given.cohort, genes=[params.car])

    def tables(paths, samples=with_reads, schema=None):
        """Read one table a sample."""
        return {s: read_table(p, schema) for s, p in zip(samples, paths, strict=True)}

    called = call_study(
        cohort,
        pd.DataFrame({"sample": s, **params.samples[s]} for s in names),
        tables(given.molecules, schema=MOLECULES),
        car=params.car,
        fdr=params.fdr,
        barcodes={s: t.set_index("barcode") for s, t in tables(given.barcodes, names).items()},
        ambient=tables(given.ambient, names),
        losses=tables(given.losses, schema=LOSSES),
        findings=json.loads(Path(given.lint).read_text()),
        strands={
            s: Chemistry.from_json(Path(p).read_text()).strand
            for s, p in zip(params.with_chemistry, given.chemistry, strict=True)
        },
    )
    cohort.obs = OBS.conform(cohort.obs)
    for sample, path in zip(names, output.calls, strict=True):
        own = cohort.obs[cohort.obs["sample"] == sample]
        write_table(own[list(CALLS.columns)], path, CALLS)
    for sample, path in zip(with_reads, output.losses, strict=True):
        write_table(called.losses[sample], path, LOSSES)
    write_table(called.detection, output.detection, DETECTION)
    write_table(called.thresholds, output.thresholds, THRESHOLDS)
    write_table(called.downsampling, output.downsampling, DOWNSAMPLING)
    write_table(called.rules, output.rules, RULES)
    write_cells(cohort, given.cohort, output.cells)
