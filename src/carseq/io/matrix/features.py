"""What the features of a matrix are: genes, antibodies, hashtags, peaks."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.io.matrix.stored import Stored, Strings

#: How 10x names the types of features (Cell Ranger, "Feature Reference CSV" and "Feature-Barcode Matrices").
GENE = "Gene Expression"
ANTIBODY = "Antibody Capture"
MULTIPLEXING = "Multiplexing Capture"
TYPES = (
    GENE, ANTIBODY, MULTIPLEXING, "CRISPR Guide Capture", "Antigen Capture", "VDJ", "VDJ-T", "VDJ-B", "Custom", "Peaks",
)  # fmt: skip
#: Columns of ``var`` that hold the types of features.
TYPE_COLUMNS = ("feature_types", "feature_type")
#: Names of features that are no genes, in a matrix without types of features: antibodies (BioLegend's TotalSeq, the
#: prefixes of Seurat and muon), and peaks of open chromatin (chr1:9772-10660).
_ANTIBODY_NAME = re.compile(
    r"([ ._-]TotalSeq([ ._-]?[ABCD])?|[_:](adt|ab|prot|protein|antibody))$|^(adt|ab|prot|antibody)[_:]",
    re.IGNORECASE,
)
_PEAK_NAME = re.compile(r"^(chr)?([0-9]{1,2}|[XYM]|MT|[GK][IL][0-9.]+)[:_-][0-9]+[-_][0-9]+$")
PEAKS = "Peaks"
#: Names of antibodies that mark a sample, not a protein: hashtags (HTO), Cell Ranger's multiplexing oligos (CMO301),
#: MULTI-seq, BD's sample tags.
HASHTAG = re.compile(
    r"(^|[^a-z])(hto|hash([ ._-]?tag)?|cmo|lmo|sample[ ._-]?tag|multi[ ._-]?seq|multiplex(ing)?)([^a-z]|$)"
    r"|(^|[^a-z0-9])[abc]02[56]\d([^0-9]|$)",
    re.IGNORECASE,
)


def small_letters(types: Strings) -> npt.NDArray[np.str_]:
    return np.char.lower(types.astype(str))


def are_genes(types: Strings) -> npt.NDArray[np.bool_]:
    """Return which features are genes. A column that holds none of 10x's words is not a column of types."""
    lowered = small_letters(types)
    if not np.isin(lowered, [t.lower() for t in TYPES]).any():
        return np.ones(len(types), dtype=bool)
    return np.asarray(lowered == GENE.lower())


def feature_types(var: pd.DataFrame) -> Strings:
    """Return the type of each feature, shape (n_features,), in 10x's words.

    From the column of ``var`` that holds them, by whatever name. Without such a column, antibodies and peaks are
    recognized by their names; the other features are genes.
    """
    column = next((name for name in TYPE_COLUMNS if name in var), None)
    if column is None:
        column = next((name for name in var.columns if _holds_types(var[name])), None)
    if column is None:
        return types_by_name(var.index.to_numpy(dtype=object))
    return var[column].astype(str).to_numpy(dtype=object)


def _holds_types(column: pd.Series) -> bool:
    """Return whether a column says which features are genes."""
    if pd.api.types.is_numeric_dtype(column):
        return False
    # Not "Custom" or "VDJ", which other columns may hold.
    words = {word.lower() for word in (GENE, ANTIBODY, MULTIPLEXING, PEAKS)}
    return bool(words & {value.lower() for value in column.astype(str).unique()[: len(TYPES)]})


def types_by_name(names: Strings) -> Strings:
    """Return the type of each feature by its name: antibody, peak, else gene; shape (n_features,)."""
    kinds = ((_ANTIBODY_NAME, ANTIBODY), (_PEAK_NAME, PEAKS))
    return np.array(
        [next((t for p, t in kinds if p.search(str(name))), GENE) for name in names], dtype=object
    )


def are_hashtags(read: Stored) -> npt.NDArray[np.bool_]:
    """Return which features mark a sample, by their type or, among antibodies, by their name."""
    lowered = small_letters(read.types)
    tags = np.asarray(lowered == MULTIPLEXING.lower())
    for i in np.flatnonzero(lowered == ANTIBODY.lower()):
        tags[i] = bool(HASHTAG.search(str(read.names[i])) or HASHTAG.search(str(read.ids[i])))
    return tags
