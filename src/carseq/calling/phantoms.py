"""Cells that are none: barcodes of another library's cells, with the few of their molecules that swapped over.

Where libraries share a sequencing run, some reads of each get the sample index of another. Molecules of a deep library
then lie in a shallow one under the barcodes of the deep one's cells: hundreds in each, if a hundredth swaps. Such a
barcode passes for a shallow cell, of the same type, and of a product it shows the CAR.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from carseq.calling.counts import library_of
from carseq.io.barcodes import bare_barcode

#: Most of its molecules that swap over from a cell: 0.1-5 % do, rarely 10 % (Griffiths et al. 2018,
#: doi:10.1038/s41467-018-05083-x; Sinha et al. 2017, doi:10.1101/125724).
MOST_SWAPPED = 0.1
#: Two libraries have some barcodes in common by chance: as many as if both drew them from so many. 10x's lists hold
#: 737,000 and more, inDrop's 147,000.
N_BARCODES = 100_000
#: More than chance brings with this probability, and so many at least, were swapped.
BY_CHANCE, FEWEST = 1e-6, 5


def swapped_from(obs: pd.DataFrame, samples: pd.DataFrame) -> pd.Series:
    """Return of which sample each cell's molecules were swapped, empty for a cell of its own.

    Parameters
    ----------
    obs
        Cells: ``sample``, ``barcode``, ``total_umis``.
    samples
        Index sample; ``library`` where known: within a library nothing swaps.
    """
    library = {str(s): library_of(str(s), row.get("library")) for s, row in samples.iterrows()}
    cells = pd.DataFrame(
        {
            "sample": obs["sample"].astype(str).to_numpy(),
            "bases": obs["barcode"].astype(str).map(bare_barcode).astype(object).to_numpy(),
            "total": obs["total_umis"].to_numpy(float),
        }
    )
    source = np.full(len(cells), "", dtype=object)
    depths = {s: np.sort(own.to_numpy()) for s, own in cells.groupby("sample")["total"]}
    # Names of cells that are no barcodes (b1, b2, ...) are alike in all samples.
    real = cells[cells["bases"].str.fullmatch("[ACGT]{8,}")]
    twice = real[real["bases"].duplicated(keep=False)].sort_values("total", kind="stable")
    deepest = twice.groupby("bases")[["sample", "total"]].transform("last")
    other = twice["sample"].map(library) != deepest["sample"].map(library)
    found = twice[other & (twice["total"] <= MOST_SWAPPED * deepest["total"])]
    for (sample, of), own in found.groupby(["sample", deepest.loc[found.index, "sample"]]):
        deep = depths[str(of)]
        # Of any two cells of both, those of such depths.
        pairs = (len(deep) - np.searchsorted(deep, depths[str(sample)] / MOST_SWAPPED)).sum()
        if len(own) >= FEWEST and stats.poisson.sf(len(own) - 1, pairs / N_BARCODES) < BY_CHANCE:
            source[own.index] = str(of)
    return pd.Series(source, index=obs.index)


def what_was_swapped(source: pd.Series, called: pd.Series) -> str:
    """Return what is to be said of a sample's T cells that were swapped; nothing where none was.

    Parameters
    ----------
    source
        Of its T cells, as :func:`swapped_from` gives it.
    called
        Which of them are positive.
    """
    swapped = source != ""
    n, n_called = int(swapped.sum()), int((swapped & called).sum())
    if not n:
        return ""
    of = ", ".join(sorted(set(source[swapped])))
    return (
        f"{n} of the T cells ({n_called} of them called positive) have the barcode of a cell of {of} and few of its "
        "molecules: these were swapped between libraries in sequencing, and are no cells: leave them out"
    )
