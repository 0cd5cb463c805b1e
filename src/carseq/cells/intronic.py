"""How much of each cell's RNA is unspliced, by a BAM of Cell Ranger."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from carseq.io.bam import open_bam
from carseq.io.barcodes import bare_barcode
from carseq.log import get_logger
from carseq.schema.percent import plain_percent

log = get_logger("cells.intronic")

#: Cell Ranger's tag of where a read lies, and what stands there for exons and introns ("I": between genes; 10x
#: Genomics, BAM outputs of Cell Ranger).
REGION, EXONIC, INTRONIC = "RE", "E", "N"
#: Reads of the cells that are counted on average: the share is then known within 3 %.
READS_A_CELL = 300
#: Fewest reads of a cell whose share is known.
LEAST_READS = 20
#: Reads looked at before a BAM without the tag is given up.
HEAD = 10_000
#: Length of the windows that are read, in random order, so that a large BAM is sampled over the whole genome.
WINDOW = 2_000_000
#: Least mapping quality: STAR gives it to a read with one place.
UNIQUE = 255


def intronic_share(bam: str | Path, barcodes: pd.Index, *, seed: int = 0) -> np.ndarray:
    """Return the share of each cell's reads that lie in introns, %, shape (n_cells,).

    Of reads in genes, in their direction and with one place in the genome; a random part of the genome is read, until
    the cells have :data:`READS_A_CELL` reads on average.

    Parameters
    ----------
    bam
        Cell Ranger's, sorted and indexed.
    barcodes
        The cells, with or without what programs write behind the bases.
    seed
        Of the order in which the genome is read.

    Returns
    -------
    numpy.ndarray
        NaN for a cell of fewer than :data:`LEAST_READS` reads, and for all cells where the BAM has no such tag: what is
        not known is not 0.

    Raises
    ------
    CarseqError
        If the BAM cannot be read.
    """
    place = {bare_barcode(str(name)): i for i, name in enumerate(barcodes)}
    counts = np.zeros((len(barcodes), 2), dtype=np.int64)
    enough = READS_A_CELL * len(barcodes)
    by_tag: dict[str, int] = {}
    seen = 0
    with open_bam(bam) as records:
        if not any(r.has_tag(REGION) for r in islice(records.fetch(until_eof=True), HEAD)):
            log.info(
                "%s has no tag %s of Cell Ranger: the intronic share is not known", bam, REGION
            )
            return np.full(len(barcodes), np.nan)
        windows = [
            (contig, start, min(start + WINDOW, length))
            for contig, length in zip(records.references, records.lengths, strict=True)
            for start in range(0, length, WINDOW)
        ]
        for at in np.random.default_rng(seed).permutation(len(windows)):
            contig, start, end = windows[at]
            for read in records.fetch(contig, start, end):
                if (
                    read.mapping_quality < UNIQUE
                    or read.is_secondary
                    or read.reference_start < start
                ):
                    continue
                tags = dict(read.get_tags())
                region = tags.get(REGION)
                # AN: the read lies against the gene's direction.
                if region not in (EXONIC, INTRONIC) or "AN" in tags or "CB" not in tags:
                    continue
                name = str(tags["CB"])
                if name not in by_tag:
                    by_tag[name] = place.get(bare_barcode(name), -1)
                if (cell := by_tag[name]) >= 0:
                    counts[cell, int(region == INTRONIC)] += 1
                    seen += 1
            if seen >= enough:
                break
    total = counts.sum(axis=1)
    share = np.where(total >= LEAST_READS, 100 * counts[:, 1] / np.maximum(total, 1), np.nan)
    known = np.isfinite(share)
    log.info(
        "intronic share of %d of %d cells by %d reads, median %s",
        int(known.sum()),
        len(barcodes),
        seen,
        plain_percent(float(np.median(share[known])) / 100) if known.any() else "not known",
    )
    return np.asarray(share)
