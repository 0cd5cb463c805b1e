"""Count matrices of 10x, STARsolo and AnnData: one reader, whatever the container, that keeps the feature types.

A matrix is refused where it is not what it must be: raw counts (whole, finite, not negative) of barcodes by features,
each named once.
"""

from carseq.io.matrix.counts import gene_counts, read_counts, read_labelled, read_star_matrix
from carseq.io.matrix.features import (
    ANTIBODY,
    GENE,
    HASHTAG,
    are_genes,
    feature_types,
    type_column,
)
from carseq.io.matrix.hdf5 import IDS, matrices_of, proteins_apart
from carseq.io.matrix.molecules import check_molecules, twice_by_chance
from carseq.io.matrix.naming import near_names, rows_beside_car
from carseq.io.matrix.samples import names_within, tell_samples
from carseq.io.matrix.stored import bare_name

__all__ = [
    "ANTIBODY",
    "GENE",
    "HASHTAG",
    "IDS",
    "are_genes",
    "bare_name",
    "check_molecules",
    "feature_types",
    "gene_counts",
    "matrices_of",
    "names_within",
    "near_names",
    "proteins_apart",
    "read_counts",
    "read_labelled",
    "read_star_matrix",
    "rows_beside_car",
    "tell_samples",
    "twice_by_chance",
    "type_column",
]
