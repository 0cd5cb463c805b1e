"""Whether the samples of one patient are of one sex, by RNA: exchanged tubes differ in half of the cases.

A cell with two X chromosomes shows XIST, one with a Y chromosome the genes of it. Only cells of the blood are asked:
a transplanted kidney is another's, and tumour cells lose either. What a sample says rests on its cells, each of which
says little; ambient RNA of others is borne, and few cells say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from carseq.cells.counts import row_sums
from carseq.io.genes import one_release

#: The gene of the inactive X chromosome, and genes of the Y chromosome that blood cells show (Tukiainen 2017,
#: doi:10.1038/nature24265).
OF_TWO_X = ("XIST",)
OF_Y = ("RPS4Y1", "DDX3Y", "EIF1AY", "UTY", "KDM5D", "USP9Y", "ZFY")
#: Their share of a blood cell's UMIs: XIST in the woman of the 10k protein set; those of Y in the men of PBMC 1k v3
#: (9.5e-4) and of the 5k protein set (9.3e-4).
RATE_TWO_X, RATE_Y = 3.5e-4, 9.4e-4
#: Of these shares, so much at least a sample must show: less is ambient RNA, or genes that the matrix lacks.
LEAST_RATE = 0.2
#: Part of a cell's RNA that may be another's.
AMBIENT = 0.1
#: Most that one cell says, natural log: it may be a doublet, or the mother's or child's (microchimerism).
MOST_PER_CELL = 3.0
#: A sample is of one sex if more than this part of its cells is, with this probability: 12 clear cells.
MOST_OF, SURE = 0.7, 0.99
#: Lineages of the blood.
OF_BLOOD = ("T", "NK", "B", "plasma", "myeloid")


def count_sex_genes(counts: Any, names: pd.Index) -> tuple[np.ndarray, np.ndarray]:
    """Return the UMIs of XIST and those of the Y chromosome's genes in each cell, each of shape (n_cells,).

    NaN where the matrix holds none of them, as a panel or a matrix without the genes that no cell shows.

    Parameters
    ----------
    counts
        Raw counts, CSR, n_cells × n_genes.
    names
        Gene symbols, shape (n_genes,).
    """
    names, found = one_release(names), []
    for genes in (OF_TWO_X, OF_Y):
        at = np.flatnonzero(names.isin(genes))
        found.append(row_sums(counts[:, at]) if at.size else np.full(counts.shape[0], np.nan))
    return found[0], found[1]


def sexes(obs: pd.DataFrame) -> pd.Series:
    """Return the sex that the RNA of each sample's blood cells shows: XX, XY, or empty where it is undetermined.

    Parameters
    ----------
    obs
        Cells: ``sample``, ``lineage``, ``is_doublet``, ``total_umis``, ``xist_umis`` and ``y_umis``
        (:func:`count_sex_genes`). Without one of them, as of older results, every sample is undetermined.

    Returns
    -------
    pandas.Series
        By sample, in the order of ``obs``.
    """
    samples = list(dict.fromkeys(obs["sample"].astype(str)))
    if not {"lineage", "is_doublet", "total_umis", "xist_umis", "y_umis"} <= set(obs.columns):
        return pd.Series("", index=samples, dtype=object)
    single = ~obs["is_doublet"].astype(bool) & obs["lineage"].astype(str).isin(OF_BLOOD)
    # Of a matrix without one kind of these genes the other kind may be ambient RNA.
    own = obs.loc[single & obs["xist_umis"].notna() & obs["y_umis"].notna()]
    cells = dict(list(own.groupby(own["sample"].astype(str), sort=False)))
    return pd.Series({s: _sex(cells[s]) if s in cells else "" for s in samples}, dtype=object)


def _sex(cells: pd.DataFrame) -> str:
    """Return XX, XY or an empty string for the blood cells of one sample."""
    x, y = cells["xist_umis"].to_numpy(float), cells["y_umis"].to_numpy(float)
    # Of the molecules of either kind, the share of XIST in a cell of either sex.
    xx = (1 - AMBIENT) * RATE_TWO_X / ((1 - AMBIENT) * RATE_TWO_X + AMBIENT * RATE_Y)
    xy = AMBIENT * RATE_TWO_X / (AMBIENT * RATE_TWO_X + (1 - AMBIENT) * RATE_Y)
    for_xx = x * np.log(xx / xy) + y * np.log((1 - xx) / (1 - xy))
    for_xx = np.clip(for_xx, -MOST_PER_CELL, MOST_PER_CELL)
    # The share of cells with two X chromosomes, each share as likely at first as any other.
    share = (np.arange(200) + 0.5) / 200
    ratio, number = np.unique(np.round(np.exp(for_xx), 3), return_counts=True)
    log = number @ np.log(share[None, :] * ratio[:, None] + 1 - share[None, :])
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    umis = cells["total_umis"].to_numpy(float).sum()
    if weight[share > MOST_OF].sum() >= SURE and x.sum() >= LEAST_RATE * RATE_TWO_X * umis:
        return "XX"
    if weight[share < 1 - MOST_OF].sum() >= SURE and y.sum() >= LEAST_RATE * RATE_Y * umis:
        return "XY"
    return ""


def of_two_sexes(obs: pd.DataFrame, patients: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """Return the patients whose samples are of two sexes: by patient, the samples XX and XY.

    Parameters
    ----------
    obs
        As :func:`sexes` takes it.
    patients
        Patient of each sample.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for sample, sex in sexes(obs).items():
        patient = patients.get(str(sample), "")
        if sex and patient:
            found.setdefault(patient, {"XX": [], "XY": []})[sex].append(str(sample))
    return {patient: own for patient, own in found.items() if own["XX"] and own["XY"]}
