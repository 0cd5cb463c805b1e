"""Check that the BAM that was given for a sample is of the genome, and of one sample with its matrix."""

from dataclasses import replace

import numpy as np
import pandas as pd

from carseq.io.bam import barcodes_of_bam, molecule_tags, open_bam
from carseq.io.barcodes import check_belonging
from carseq.io.files import read_json, write_text
from carseq.io.matrix import read_counts
from carseq.log import get_logger
from carseq.molecules import check_bam, doubts_of_bam
from carseq.workflow import job

log = get_logger(__name__)

with job(snakemake, further_arrays=True):
    given, params = snakemake.input, snakemake.params
    tags = molecule_tags(given.bam, (params.barcode_tag, params.umi_tag))
    # Before 0.2.0 the check of the genome did not write its contigs down.
    if contigs := read_json(given.checked).get("contigs"):
        with open_bam(given.bam) as bam:
            check_bam(bam, contigs, *tags)
    listed = list(read_counts(given.listed).obs_names) if given.listed else None
    counts = read_counts(given.raw, cells=listed)
    totals = pd.Series(np.asarray(counts.X.sum(axis=1)).ravel(), index=counts.obs_names)
    reads = barcodes_of_bam(given.bam, tags[0])
    found = check_belonging(reads, totals, snakemake.wildcards.sample)
    doubts = doubts_of_bam(given.bam, int(totals.sum()), tags[0])
    for doubt, remedy in doubts:
        log.warning("%s: %s; %s", snakemake.wildcards.sample, doubt, remedy)
    write_text(replace(found, doubts=tuple(doubts)).to_json(), snakemake.output[0])
