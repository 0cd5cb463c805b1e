"""Whether a matrix counts molecules: whole, finite and not negative, of barcodes by features, each named once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.errors import CarseqError
from carseq.io.matrix.stored import Stored, Strings, tell_twice, transposed
from carseq.log import get_logger
from carseq.schema.percent import plain_percent

log = get_logger(__name__)

#: What 16 or so bases, with what programs put before and behind them, look like.
BARCODE = re.compile(r"^(.*[^A-Za-z0-9])?[ACGTN]{12,}([-_.#x].*)?$")
#: More molecules of one gene in one droplet than any droplet holds.
MOST_COUNTED = 10_000_000
#: Genes and entries from which a matrix without a single 1 is not of counted molecules: of real droplets, 1 is the
#: commonest entry.
MIN_GENES, MIN_ENTRIES = 200, 1000
#: Barcodes with the CAR of which none has one molecule of it alone, from which its numbers are looked at.
MIN_CAR_ENTRIES = 20
#: Barcodes with two molecules of the CAR, expected where none has two: by no chance.
LEAST_TWICE = 20.0
#: Share of 1 among the CAR's numbers, below which they may be reads: of CAR T cells of ten molecules each it is 8 %.
FEWEST_ONES = 0.05
#: Molecules of a droplet from which one of its genes is there twice: MT-CO1, MALAT1, B2M.
MANY_MOLECULES = 500
#: The commonest gene of a barcode holds this share of its molecules at least, and of some barcode more than so many: of
#: PBMC 1 to 5 % (without ribosomal, mitochondrial and a dozen more abundant genes), of their logarithms 0.2 to 0.5 %.
#: Looked at in so many barcodes or more.
LEAST_TOP, MOST_OF_LOGARITHMS, FEW_BARCODES = 0.006, 30, 20
#: Counts of molecules differ between barcodes at least as chance has it: the variance of a gene is its mean or more
#: (a mixture of Poisson counts). The median over genes of mean 1 and more was 1.1 to 2.7 in PBMC (all, or one type of
#: 21 to 906 cells), 0.93 to 1.0 in 20 to 300 draws of one profile at one depth, 0.23 to 0.58 in square roots and 0.3 in
#: averages of 15 cells. Below this they are no counts; looked at in so many genes or more.
LEAST_SPREAD, FEW_GENES = 0.75, 20
#: Share of 1 among the values below which these may be reads: of PBMC's molecules it is 65 to 75 %, of eight reads a
#: molecule 8 %.
ONES_OF_READS = 0.15
#: Totals that differ by less than this are one total.
SAME_TOTAL = 0.15


def check_counts(read: Stored, path: Path, *, allow_empty: bool) -> None:
    """Raise unless the matrix holds counts of barcodes by features, each barcode once."""
    data = read.counts.data
    if not allow_empty:
        for n, what in ((len(read.barcodes), "barcode with a count"), (len(read.ids), "feature")):
            if not n:
                raise CarseqError(
                    f"the matrix {path} holds no {what}", "", "give the matrix, whole"
                )
    looks_swapped = _share(BARCODE, read.names) > 0.5 and _share(BARCODE, read.barcodes) < 0.5
    if looks_swapped:
        raise transposed(path)
    tell_twice(pd.Index(read.barcodes), path, "barcode")
    if not np.isfinite(data).all():
        raise CarseqError(
            f"{path} holds values that are not numbers",
            _place(read, ~np.isfinite(data)),
            "give the raw matrix, as the counting program wrote it",
        )
    if (data < 0).any():
        raise CarseqError(
            f"{path} holds negative values",
            _place(read, data < 0),
            "give raw counts: these are scaled, or corrected for a background",
        )
    if (data != np.rint(data)).any():
        raise CarseqError(
            f"{path} holds no raw counts",
            f"some values are not whole numbers: {_place(read, data != np.rint(data))}",
            "give the raw matrix; normalised, corrected or imputed values cannot be used",
        )
    if (data > MOST_COUNTED).any():
        raise CarseqError(
            f"{path} holds no counts of molecules",
            _place(read, data > MOST_COUNTED),
            "give the raw matrix: these values are scaled",
        )
    if not allow_empty and not data.any():
        raise CarseqError(
            f"the matrix {path} counts nothing", "all its values are 0", "give the raw matrix"
        )
    check_molecules(read.counts, str(path))


def check_molecules(counts: Any, what: str) -> None:
    """Raise where whole numbers are not counts of molecules, and warn where they may be none.

    Parameters
    ----------
    counts
        Whole numbers, CSR, n_barcodes × n_features.
    what
        The matrix, in words.

    Raises
    ------
    CarseqError
        If no value is 1, the commonest count of a molecule, none is more than 1, or they are rounded logarithms.
    """
    counted = counts.data[counts.data > 0]
    if counts.shape[1] < MIN_GENES or len(counted) < MIN_ENTRIES:
        return
    if counted.min() > 1:
        raise CarseqError(
            f"{what} holds no counts of molecules",
            f"of its {len(counted):,} values above 0 none is 1, the commonest count: they are scaled",
            "give the raw matrix",
        )
    totals = np.asarray(counts.sum(axis=1)).ravel()
    totals = totals[totals > 0]
    if counted.max() == 1 and np.median(totals) >= MANY_MOLECULES:
        raise CarseqError(
            f"{what} holds no counts of molecules",
            f"none of its {len(counted):,} values is more than 1: it says which genes were seen, not how often",
            "give the raw matrix",
        )
    many = np.flatnonzero(np.asarray(counts.sum(axis=1)).ravel() >= MANY_MOLECULES)
    if counted.max() <= MOST_OF_LOGARITHMS and many.size >= FEW_BARCODES:
        some = counts[many[:: max(1, many.size // 1000)]]
        top = some.max(axis=1).toarray().ravel() / np.asarray(some.sum(axis=1)).ravel()
        if np.median(top) < LEAST_TOP:
            raise CarseqError(
                f"{what} holds no counts of molecules",
                f"its values above 0 are whole numbers up to {counted.max():.0f}, and no gene holds more than "
                f"{plain_percent(np.median(top))} of a barcode: they are logarithms or roots that were rounded",
                "give the raw matrix",
            )
    spread = _spread(counts, many)
    if spread < LEAST_SPREAD:
        raise CarseqError(
            f"{what} holds no counts of molecules",
            f"a gene's values differ less between barcodes than counts do by chance alone (variance {spread:.2f} times "
            "the mean, where it must be 1 or more): they are rounded roots, cut off at a number, averages of several "
            "cells, imputed or denoised",
            "give the raw matrix",
        )
    middle = float(np.median(totals))
    of_one = len(totals) >= 20 and np.mean(np.abs(totals - middle) < SAME_TOTAL * middle) > 0.95
    if (ones := float((counted == 1).mean())) < ONES_OF_READS:
        if of_one:
            raise CarseqError(
                f"{what} holds no counts of molecules",
                f"every barcode has about {middle:,.0f}, and only {plain_percent(ones)} of the values above 0 are 1, "
                "the commonest count: they were normalised to one total and rounded",
                "give the raw matrix",
            )
        log.warning(
            "%s: only %.1f %% of its values above 0 are 1, the commonest count of molecules: if these are reads (of "
            "wells without UMIs, as Smart-seq2's), cells look deeper than they are, types too certain, and CAR counts "
            "mean nothing; give counts of molecules (UMIs)",
            what,
            100 * ones,
        )
    if of_one:
        log.warning(
            "%s: every barcode has about %.0f molecules: it was normalised and rounded, or downsampled to one depth; "
            "if normalised, give the raw matrix",
            what,
            middle,
        )


def _spread(counts: Any, barcodes: npt.NDArray[np.int64]) -> float:
    """Return the median of variance over mean of genes with a mean of 1 or more; infinite if too little is there."""
    if barcodes.size < FEW_BARCODES:
        return np.inf
    some = counts[barcodes[:: max(1, barcodes.size // 1000)]].astype(np.float64)
    mean = np.asarray(some.mean(axis=0)).ravel()
    square = np.asarray(some.multiply(some).mean(axis=0)).ravel()
    often = mean >= 1
    if often.sum() < FEW_GENES:
        return np.inf
    variance = (square[often] - mean[often] ** 2) * some.shape[0] / (some.shape[0] - 1)
    return float(np.median(variance / mean[often]))


def twice_by_chance(counts: npt.ArrayLike, totals: npt.ArrayLike) -> float:
    """Return how many barcodes would show two molecules of a gene, at least, if none does; 0 if one does.

    Those of one rate in all barcodes, by their depth: where some barcodes hold the gene and others do not, more would.

    Parameters
    ----------
    counts, totals
        Molecules of the gene, and of all genes, in each barcode.
    """
    k, depth = np.asarray(counts, dtype=float).ravel(), np.asarray(totals, dtype=float).ravel()
    if k.max(initial=0) != 1 or depth.sum() <= 0:
        return 0.0
    rate = depth * (k.sum() / depth.sum())
    return float((1 - np.exp(-rate) * (1 + rate)).sum())


def check_car_molecules(counts: npt.ArrayLike, totals: npt.ArrayLike, what: str, car: str) -> None:
    """Raise where the CAR's numbers are multiples of another or say that it was seen, and warn where they may be reads.

    Parameters
    ----------
    counts, totals
        The CAR's number in each barcode, whole, and the sum of all genes'.
    what
        The matrix, in words.
    car
        The CAR's name.

    Raises
    ------
    CarseqError
        If they are all multiples of one number above 1, or none is above 1 where many would be by chance.
    """
    counted = np.asarray(counts).ravel()
    counted = counted[counted > 0].astype(np.int64)
    if len(counted) < MIN_CAR_ENTRIES:
        return
    if (twice := twice_by_chance(counts, totals)) >= LEAST_TWICE:
        raise CarseqError(
            f"{what} holds no counts of molecules of {car}",
            f"none of its {len(counted):,} numbers above 0 is more than 1, where {twice:.0f} or more would be by "
            "chance: they say whether it was seen, not how often",
            "give the matrix as the counting program wrote it",
        )
    ones = int((counted == 1).sum())
    if ones > FEWEST_ONES * len(counted):
        return
    if (step := int(np.gcd.reduce(counted))) > 1:
        raise CarseqError(
            f"{what} holds no counts of molecules of {car}",
            f"its {len(counted):,} numbers above 0 are all multiples of {step}: they are scaled",
            "give the matrix as the counting program wrote it",
        )
    log.warning(
        "%s: %s of the %d numbers of %s above 0 is 1, the commonest count of molecules: if they are reads, or the "
        "small ones were cut off, calls and fractions are wrong; give counts of molecules (UMIs)",
        what,
        f"only {ones}" if ones else "none",
        len(counted),
        car,
    )


def _place(read: Stored, bad: npt.NDArray[np.bool_]) -> str:
    """Say which value of the matrix is the first of the bad ones."""
    at = int(np.flatnonzero(bad)[0])
    row = int(np.searchsorted(read.counts.indptr, at, side="right")) - 1
    value = read.counts.data[at]
    return f"{value:g} for {read.names[read.counts.indices[at]]} in {read.barcodes[row]}"


def _share(pattern: re.Pattern[str], texts: Strings) -> float:
    """Return the share of texts that a pattern fits; of many, of a thousand evenly over them."""
    some = texts[:: max(1, len(texts) // 1000)]
    return sum(bool(pattern.match(str(t))) for t in some) / max(1, len(some))
