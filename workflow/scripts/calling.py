"""Call CAR T cells and give each sample its verdict."""

import json
from pathlib import Path

import pandas as pd

from carseq.calling import (
    ambient_car,
    call_cells,
    cell_losses,
    drop_swapped,
    unseen_share,
)
from carseq.io.barcodes import match_barcodes
from carseq.io.files import read_samples, read_table, write_table
from carseq.io.h5ad import read_cells, write_cells
from carseq.library.geometry import Chemistry
from carseq.robustness import thinning, thresholds
from carseq.schema.obs import OBS, with_samples
from carseq.schema.tables import CALLS, DETECTION, LOSSES, MOLECULES, THINNING, THRESHOLDS
from carseq.workflow import job

with job(snakemake):
    given, params, output = snakemake.input, snakemake.params, snakemake.output
    sheet = read_samples(given.samples)
    names, with_reads = list(sheet["sample"]), params.with_reads
    cohort = read_cells(given.cohort, genes=[params.car])
    cohort.obs = with_samples(cohort.obs, sheet)
    molecules = {
        s: read_table(p, MOLECULES) for s, p in zip(with_reads, given.molecules, strict=True)
    }
    barcodes = {
        s: read_table(p).set_index("barcode") for s, p in zip(names, given.barcodes, strict=True)
    }
    molecules = {s: match_barcodes(table, barcodes[s].index) for s, table in molecules.items()}
    runs = dict(zip(names, sheet["sequencing_run"], strict=True))
    molecules, swapped = drop_swapped(molecules, runs)
    ambient = {s: read_table(p) for s, p in zip(names, given.ambient, strict=True)}
    lint = json.loads(Path(given.lint).read_text())
    strands = {
        s: Chemistry.from_json(Path(p).read_text()).strand
        for s, p in zip(params.with_chemistry, given.chemistry, strict=True)
    }
    found = [
        {
            "car_unseen": unseen_share(lint, strands.get(s)),
            **ambient_car(barcodes[s], ambient[s], molecules.get(s), params.car),
        }
        for s in names
    ]
    samples = pd.concat([sheet, pd.DataFrame(found)], axis=1)
    detection = call_cells(cohort, molecules, samples, car=params.car, fdr=params.fdr)
    cohort.obs = OBS.conform(cohort.obs)
    for sample, path in zip(names, output.calls, strict=True):
        own = cohort.obs[cohort.obs["sample"] == sample]
        write_table(own[list(CALLS.columns)], path, CALLS)
    for sample, before, after in zip(with_reads, given.losses, output.losses, strict=True):
        own = cohort.obs[cohort.obs["sample"] == sample]
        losses = read_table(before, LOSSES)
        table = cell_losses(
            losses, molecules[sample], barcodes[sample], own, swapped=swapped[sample]
        )
        write_table(table, after, LOSSES)
    write_table(detection, output.detection, DETECTION)
    write_table(thresholds(cohort), output.thresholds, THRESHOLDS)
    write_table(thinning(cohort), output.thinning, THINNING)
    write_cells(cohort, given.cohort, output.cells)
