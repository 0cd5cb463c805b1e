"""A matrix as its file holds it, before anything is asked of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.errors import CarseqError

if TYPE_CHECKING:
    from scipy import sparse

Strings = npt.NDArray[np.object_]
#: A name in quotation marks, before which ``b`` may stand.
_QUOTED = re.compile(r"b?([\"'])(.+)\1", re.DOTALL)


@dataclass
class Stored:
    """A matrix as its file holds it: barcodes × features, what the features are, and proteins held apart from them."""

    counts: sparse.csr_matrix
    barcodes: Strings
    ids: Strings
    names: Strings
    types: Strings
    protein: pd.DataFrame | None = None
    #: Whether the file itself gives ids beside names: two genes of one symbol are then told apart.
    has_ids: bool = True
    #: What else the file says about the features, and about the barcodes.
    columns: pd.DataFrame | None = None
    obs: pd.DataFrame | None = None
    #: Whether the file says what its features are; else their types are guessed by their names.
    has_types: bool = True
    #: The program that took molecules away, if the file is one of its results.
    corrected_by: str = ""

    def __post_init__(self) -> None:
        # A gene without a symbol has its id alone.
        self.names = np.where(self.names == "", self.ids, self.names)


def bare_name(name: Any) -> str:
    """Return a name without blanks and quotation marks around it, nor what Python writes around bytes.

    >>> bare_name(' "CD3D" '), bare_name("b'CD3D'"), bare_name("5'LTR")
    ('CD3D', 'CD3D', "5'LTR")
    """
    text = str(name).strip()
    if len(text) > 2 and text[-1] in "\"'" and (found := _QUOTED.fullmatch(text)):
        text = found[2].strip()
    return text


def bare_names(values: Iterable[Any]) -> Strings:
    return np.array([bare_name(value) for value in values], dtype=object)


def transposed(path: Path) -> CarseqError:
    return CarseqError(
        f"the matrix {path} is transposed",
        "barcodes stand where features should, and features where barcodes should",
        "give barcodes as rows (`adata.T` in an h5ad) or, in an mtx file, as columns, as 10x writes them",
    )


def tell_twice(names: pd.Index, path: Path, what: str) -> None:
    if names.is_unique:
        return
    twice = names[names.duplicated()]
    raise CarseqError(
        f"the matrix {path} names {'a' if len(twice) == 1 else len(twice)} {what}{'s' if len(twice) > 1 else ''} twice",
        f"such as {twice[0]}",
        f"give every {what} once; matrices of several libraries that were joined need a prefix for each library"
        if what == "barcode"
        else "keep each gene once, or give gene ids beside the symbols (`var['gene_ids']`)",
    )


def repeated(matrix: Path, n: int, of: int) -> CarseqError:
    """Return the error for a file of which ``n`` entries of ``of`` repeat a place."""
    return CarseqError(
        f"{matrix} counts some genes twice in one barcode",
        f"{n:,} of its {of:,} entries repeat a place",
        "give the file as the counting program wrote it",
    )
