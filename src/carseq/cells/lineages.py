"""Which of the blood's lineages a cell is like, by levels counted in real cells.

What is learnt from a sample's own cells (:mod:`carseq.cells.annotation`) fails where the sample has one lineage: an
infusion product of T cells has nothing to be compared with. The UMIs of some genes in T, NK, B and myeloid cells of
real blood (`data/markers/blood_counts.tsv`, made by `benchmarks/t_levels.py`) take its place. They are evidence only
for one of these lineages against another; cells of kidney and bladder, absent from blood, are left to their markers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from carseq.cells.counts import DENSE_ROWS, row_sums
from carseq.cells.subtypes import ALL_GENES, against_likest
from carseq.data import path as data_path
from carseq.io.genes import one_release

#: Most evidence of one gene, and of all together, for one lineage against another, natural log.
MOST_PER_GENE, MOST = 3.0, 6.0
#: Weight of their log-likelihood, and UMIs of a cell above which it is divided by the square root of the excess: genes
#: of a programme rise and fall together, and labs and chemistries differ in each gene.
WEIGHT, FULL_UMIS = 0.5, 300.0
#: Share of ambient RNA in a cell, of the mean of the four lineages.
AMBIENT = 0.1
#: Kinds of cells counted apart from their lineage, which is like the likelier of the two: T cells that kill share most
#: of NK cells' genes.
KIND_OF = {"cytotoxic T": "T"}
#: What the mean of the lineages weighs against a lineage's counts of a gene, in UMIs of all genes.
PRIOR_UMIS = 20_000.0


def blood_levels() -> pd.DataFrame:
    """Return the expected share of a cell's UMIs, ambient RNA included: genes × lineages, or kinds of one."""
    table = pd.read_csv(data_path("markers/blood_counts.tsv"), sep="\t", index_col="gene")
    total = table.loc[ALL_GENES].astype(float)
    counts = table.drop(index=ALL_GENES).astype(float)
    mean = (counts / total).mean(axis=1)
    rate = counts.add(PRIOR_UMIS * mean, axis=0) / (total + PRIOR_UMIS)
    return (1 - AMBIENT) * rate.add(AMBIENT / (1 - AMBIENT) * mean, axis=0)


def blood_coverage(names: pd.Index, excluded: frozenset[str] = frozenset()) -> float:
    """Return the share of the counted genes that a matrix holds and that may serve, 0 to 1."""
    genes = blood_levels().index
    return float((genes.isin(one_release(names)) & ~genes.isin(excluded)).mean())


def blood_scores(
    counts: Any, names: pd.Index, lineage: np.ndarray, excluded: frozenset[str] = frozenset()
) -> np.ndarray:
    """Return what the genes of blood say against a cell's being of each type, n_cells × n_types.

    Parameters
    ----------
    counts
        UMIs, CSR, n_cells × n_genes.
    names
        Gene symbols, shape (n_genes,).
    lineage
        Lineage of each type, shape (n_types,).
    excluded
        Genes that may not serve: the CAR and the genes that it shares sequence with.

    Returns
    -------
    numpy.ndarray
        Tempered log-likelihood against the likest of the four lineages, between -:data:`MOST` and 0; 0 for types of
        other lineages.
    """
    levels, names = blood_levels(), one_release(names)
    levels = levels[levels.index.isin(names) & ~levels.index.isin(excluded)]
    scores = np.zeros((counts.shape[0], len(lineage)))
    if levels.empty:
        return scores
    at = names.get_indexer(levels.index)
    n = np.maximum(row_sums(counts), 1.0)
    temper = WEIGHT * np.minimum(1.0, np.sqrt(FULL_UMIS / n))
    own = counts[:, at]
    for start in range(0, counts.shape[0], DENSE_ROWS):
        rows = slice(start, start + DENSE_ROWS)
        logs = against_likest(own[rows].toarray(), n[rows], levels.to_numpy().T, MOST_PER_GENE)
        by_lineage = logs.sum(axis=2).T * temper[rows, None]
        by_lineage = np.maximum(by_lineage - by_lineage.max(axis=1, keepdims=True), -MOST)
        own_lineage = np.array([KIND_OF.get(name, name) for name in levels])
        for name in dict.fromkeys(own_lineage):
            best = by_lineage[:, own_lineage == name].max(axis=1, keepdims=True)
            scores[rows, lineage == name] = best
    return scores
