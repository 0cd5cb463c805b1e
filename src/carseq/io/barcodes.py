"""Barcodes as different programs write them."""

from __future__ import annotations

import re

import pandas as pd

from carseq.errors import CarseqError


def bare_barcode(barcode: str) -> str:
    """Return a barcode without Cell Ranger's suffix."""
    return re.sub(r"-\d+$", "", barcode)


def match_barcodes(
    molecules: pd.DataFrame, barcodes: pd.Index, *, strict: bool = True
) -> pd.DataFrame:
    """Write the molecules' barcodes as the matrix writes them: with Cell Ranger's ``-1`` or without.

    Parameters
    ----------
    molecules
        Molecules of one sample.
    barcodes
        Barcodes of its matrix.
    strict
        Whether to raise where nothing matches.

    Raises
    ------
    CarseqError
        If, whatever the suffix, none of ten or more barcodes with a molecule is in the matrix.
    """
    if molecules.empty or molecules["barcode"].isin(barcodes).any():
        return molecules
    bare = {str(b).rsplit("-", 1)[0]: str(b) for b in barcodes}
    written = molecules["barcode"].str.rsplit("-", n=1).str[0].map(bare)
    if written.notna().any():
        return molecules.assign(barcode=written.fillna(molecules["barcode"]))
    if strict and molecules["barcode"].nunique() >= 10:
        raise CarseqError(
            f"the molecules and the matrix of sample {molecules['sample'].iloc[0]} share no barcode",
            f"molecules have {molecules['barcode'].iloc[0]}, the matrix has {next(iter(barcodes), 'none')}",
            "give the matrix that was made with this BAM",
        )
    return molecules
