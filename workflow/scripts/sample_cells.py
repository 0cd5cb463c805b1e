"""Find the cells of a sample and measure them."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from carseq.cells.barcodes import check_raw
from carseq.cells.counts import row_sums
from carseq.cells.intronic import intronic_share
from carseq.cells.stages import sample_cells
from carseq.io.barcodes import check_cells
from carseq.io.files import write_table
from carseq.io.h5ad import write_h5ad
from carseq.io.matrix import read_counts
from carseq.library.geometry import Chemistry
from carseq.log import warnings_of
from carseq.reference.genome import gene_symbols
from carseq.schema.tables import AMBIENT, BARCODES, KNEE
from carseq.workflow import job

# The matrix of a sample with reads is our own: a user's may hold any array.
with job(snakemake, further_arrays=not snakemake.input.chemistry):
    params, output = snakemake.params, snakemake.output
    given = snakemake.input
    listed = list(read_counts(given.listed).obs_names) if given.listed else None
    # The page has an alert of its own for rows beside the CAR's, which it sees in all matrices.
    with warnings_of("carseq.io.matrix", but="carseq.io.matrix.naming") as doubts:
        raw = read_counts(
            given.raw,
            car=params.car,
            needs_car=params.needs_car,
            symbols=partial(gene_symbols, given.gtf) if given.gtf else None,
            cells=listed,
            allow_empty=params.own,
        )
    if not params.own and not params.called:
        check_raw(raw, given.raw)
    if listed:
        totals = pd.Series(row_sums(raw.X), index=raw.obs_names)
        match = check_cells(pd.Index(listed), totals, snakemake.wildcards.sample)
        listed = match.rewrite(listed)
    chemistry = None
    if given.chemistry:
        chemistry = Chemistry.from_json(Path(given.chemistry).read_text()).name
    made = sample_cells(
        raw,
        snakemake.wildcards.sample,
        car=params.car,
        called=params.called,
        listed=listed,
        seed=params.seed,
        scvi_solo=params.scvi_solo,
        doublet_rate=params.doublet_rate,
        chemistry=chemistry,
    )
    if given.bam:
        share = intronic_share(given.bam, made.cells.obs_names, seed=params.seed)
        made.cells.obs["pct_intronic"] = share
    if doubts:
        made.cells.uns["doubts"] = np.array(doubts, dtype=object)
    write_h5ad(made.cells, output.cells)
    write_table(made.barcodes.reset_index(), output.barcodes, BARCODES)
    write_table(made.ambient, output.ambient, AMBIENT)
    write_table(made.knee, output.knee, KNEE)
