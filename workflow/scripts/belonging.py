"""Check that the BAM and the matrix that were given for a sample are of one sample."""

import numpy as np
import pandas as pd

from carseq.io.bam import barcodes_of_bam
from carseq.io.barcodes import check_belonging
from carseq.io.files import write_text
from carseq.io.matrix import read_counts
from carseq.workflow import job

with job(snakemake):
    given, params = snakemake.input, snakemake.params
    listed = list(read_counts(given.listed).obs_names) if given.listed else None
    counts = read_counts(given.raw, cells=listed)
    totals = pd.Series(np.asarray(counts.X.sum(axis=1)).ravel(), index=counts.obs_names)
    reads = barcodes_of_bam(given.bam, params.barcode_tag)
    found = check_belonging(reads, totals, snakemake.wildcards.sample)
    write_text(found.to_json(), snakemake.output[0])
