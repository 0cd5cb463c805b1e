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
#: Names of features that are no genes, in a matrix without types of features: antibodies (BioLegend's TotalSeq, with
#: its number before or behind the protein, BD's AbSeq, the prefixes of Seurat and muon, anti-CD4, Hu.CD4), hashtags,
#: and peaks of open chromatin (chr1:9772-10660).
_ANTIBODY_NAME = re.compile(
    r"total[ ._-]?seq|[_-]total[ABCD]$|pAbO$"
    r"|[ _:.-](adt|prot|protein|antibody)([.-]\d+)?$|[_:]ab$|^(adt|prot|antibody)[_:.-]|^ab[_:]"
    r"|^hu(ms|mo|rat|rt)*\.\w|^[ABC]\d{4}[ ._-]|[ ._-][ABC]\d{4}$"
    r"|^(hto|hash([ ._-]?tag)?)[ ._#-]?[A-Z0-9]*([ ._-][ACGT]{8,})?$|[ ._-](hto|hashtag)[ ._-]?\d*$"
    r"|^sample[ ._-]?tag[ ._-]?\d|^CMO3\d\d$|isotype[ ._-]?(control|ctrl)"
    r"|^(mouse|rat|ms|rt)?[ ._-]?IgG[12][abc]?[ ._-]",
    re.IGNORECASE,
)
#: What antibodies are called after and no gene of man is: where as many of these stand among genes, antibodies do.
_NO_GENES = frozenset(
    ("CD3", "CD8", "CD8a", "CD10", "CD11a", "CD11b", "CD11c", "CD15", "CD16", "CD18", "CD20", "CD21", "CD23", "CD25",
     "CD26", "CD29", "CD31", "CD32", "CD35", "CD39", "CD41", "CD42b", "CD43", "CD45", "CD45RA", "CD45RB", "CD45RO",
     "CD49a", "CD49b", "CD49d", "CD49f", "CD54", "CD56", "CD57", "CD61", "CD62L", "CD62P", "CD64", "CD66b", "CD71",
     "CD73", "CD88", "CD94", "CD95", "CD103", "CD105", "CD107a", "CD112", "CD115", "CD117", "CD119", "CD122", "CD123",
     "CD124", "CD127", "CD134", "CD137", "CD138", "CD141", "CD146", "CD152", "CD155", "CD158", "CD161", "CD162",
     "CD169", "CD183", "CD184", "CD185", "CD186", "CD194", "CD195", "CD196", "CD197", "CD223", "CD235ab", "CD257",
     "CD267", "CD268", "CD272", "CD273", "CD275", "CD278", "CD279", "CD294", "CD303", "CD304", "CD314", "CD319",
     "CD326", "CD328", "CD335", "CD352", "CD357", "CD366", "PD-1", "PD-L1", "PD-L2", "CTLA-4", "TIM-3", "LAG-3",
     "4-1BB", "OX40", "HLA-DR", "HLA-ABC", "TCRab", "TCRgd", "TCR-ab", "TCR-gd")
)  # fmt: skip
MIN_ANTIBODIES = 3
#: anti-CD19 alone may be the CAR, two such are antibodies.
_AGAINST = re.compile(r"^anti[ ._-]", re.IGNORECASE)
_OF_CAR = re.compile(r"(?<![a-z])car(-?t)?(?![a-z])|scfv|chima?eric|bbz|28z", re.IGNORECASE)
#: Behind a gene's name: what programs add to the second of a name (scanpy's CD4-1, R's CD4.1).
_SECOND = re.compile(r"^(.+)[.-]1$")
#: Proteins of such panels that are called as their genes are: of two such names the second is the antibody.
_LIKE_GENES = re.compile(
    r"CD\d|(TIGIT|KLRG1|LAG3|ICOS|B2M|CX3CR1|XCR1|CADM1|CLEC\d+[A-Z]|EGFR|EPCAM)([.-]1)?$"
)
_PEAK_NAME = re.compile(r"^(chr)?([0-9]{1,2}|[XYM]|MT|[GK][IL][0-9.]+)[:_-][0-9]+[-_][0-9]+$")
PEAKS = "Peaks"
#: Names of antibodies that mark a sample, not a protein: hashtags (HTO), Cell Ranger's multiplexing oligos (CMO301),
#: MULTI-seq, BD's sample tags.
HASHTAG = re.compile(
    r"(^|[^a-z])(hto|hash([ ._-]?tag)?|cmo|lmo|sample[ ._-]?tag|multi[ ._-]?seq|multiplex(ing)?)([^a-z]|$)"
    r"|(^|[^a-z0-9]|total[ ._-]?seq[ ._-]?)[abc]02[56]\d([^0-9]|$)",
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
    column = type_column(var)
    if column is None:
        return types_by_name(var.index.to_numpy(dtype=object))
    return var[column].astype(str).to_numpy(dtype=object)


def type_column(var: pd.DataFrame) -> str | None:
    """Return the column of ``var`` that says which features are genes, by whatever name; None if there is none."""
    known = (name for name in TYPE_COLUMNS if name in var)
    return next(known, None) or next((n for n in var.columns if _holds_types(var[n])), None)


def _holds_types(column: pd.Series) -> bool:
    """Return whether a column says which features are genes."""
    if pd.api.types.is_numeric_dtype(column):
        return False
    # Not "Custom" or "VDJ", which other columns may hold.
    words = {word.lower() for word in (GENE, ANTIBODY, MULTIPLEXING, PEAKS)}
    return bool(words & {value.lower() for value in column.astype(str).unique()[: len(TYPES)]})


def types_by_name(names: Strings) -> Strings:
    """Return the type of each feature by its name: antibody, peak, else gene; shape (n_features,).

    Antibodies that are called as their proteins are (CD45RA, CD16) are known by them where :data:`MIN_ANTIBODIES` names
    are those of no gene; then so is the second CD4 among the names, which programs number (CD4-1, CD4.1).
    """
    kinds = ((_ANTIBODY_NAME, ANTIBODY), (_PEAK_NAME, PEAKS))
    types = np.array(
        [next((t for p, t in kinds if p.search(str(name))), GENE) for name in names], dtype=object
    )
    against = np.array(
        [bool(_AGAINST.match(str(n))) and not _OF_CAR.search(str(n)) for n in names], dtype=bool
    )
    if against.sum() > 1:
        types[against] = ANTIBODY
    plain = np.array([_without_clone(str(name)) in _NO_GENES for name in names], dtype=bool)
    if (plain & (types == GENE)).sum() >= MIN_ANTIBODIES:
        listed = pd.Index(names.astype(str))
        numbered = listed.str.extract(_SECOND, expand=False)
        second = np.asarray(numbered.notna() & numbered.isin(listed))
        second |= np.asarray(listed.duplicated())
        second &= np.asarray(listed.str.match(_LIKE_GENES))
        types[(types == GENE) & (plain | second)] = ANTIBODY
    return types


def _without_clone(name: str) -> str:
    """Return an antibody's name without the clone behind it: CD16_3G8 and CD16 (3G8) give CD16."""
    return re.split(r"[ _(|]", name, maxsplit=1)[0].rstrip(".")


def are_hashtags(read: Stored) -> npt.NDArray[np.bool_]:
    """Return which features mark a sample, by their type or, among antibodies, by their name."""
    lowered = small_letters(read.types)
    tags = np.asarray(lowered == MULTIPLEXING.lower())
    for i in np.flatnonzero(lowered == ANTIBODY.lower()):
        tags[i] = bool(HASHTAG.search(str(read.names[i])) or HASHTAG.search(str(read.ids[i])))
    return tags
