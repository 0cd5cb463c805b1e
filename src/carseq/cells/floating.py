"""RNA that floats in every droplet: what it says of the cells in them, and the cells without a nucleus that it is of.

The RNA of cells that broke, and of erythrocytes and platelets, is in the droplets of all others. What it shows of a
lineage's markers is measured in cells that are known to be of another one; and a droplet is an erythrocyte or a
platelet where it holds no other cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from carseq.cells.counts import counts_of, row_sums, sample_numbers
from carseq.cells.markers import Atlas, car_genes, kin
from carseq.io.genes import PANEL_GENES

if TYPE_CHECKING:
    from anndata import AnnData

#: Genes of cells that break and stick: erythrocytes, whose RNA floats in blood and urine, and platelets. A type that
#: they mark (:func:`without_nucleus`) is given to what is no other cell: in 5 % of haemoglobin RNA one T cell in eight
#: was an erythrocyte, in 30 % nearly all were, at 0.99.
FLOATING = ("HBA1", "HBA2", "HBB", "PPBP", "PF4")
#: Such a cell shows so many molecules of the type's markers, of so many genes, and this share of its RNA (platelets of
#: PBMC 1k v3 and the 5k protein set: 6 to 14 %; all other cells but one below 0.7 %); and so many times the share that
#: the sample's typed cells show, since these molecules are in every droplet, or half of what is left above that.
LEAST_FLOATING, LEAST_FLOATING_GENES, LEAST_FLOATING_SHARE, TIMES_FLOATING = 5, 2, 0.03, 3.0
#: Most molecules of markers of its lineage's other types, for each of its own (platelets: 0.01 to 0.07).
MOST_OF_KIND = 0.25
#: A cell that is of no lineage with this probability may be one, too.
CLEARLY_ANOTHER = 0.9
#: A droplet with fewer UMIs than this beside such markers, which are the most of it, holds no other cell.
FEW_BESIDE, MOST_FLOATING = 150, 0.5
#: Genes by which cells of two lineages are known whatever floats in their droplets, since no cell gives much RNA of
#: them; the least share of a cell's UMIs (half of what T cells and monocytes of three PBMC sets show), and molecules.
KNOWN_BY = {
    "T": (("CD3D", "CD3E", "CD3G", "TRAC", "TRBC1", "TRBC2"), 1.5e-3),
    "myeloid": (("FGL2", "MNDA", "CLEC7A", "SPI1", "CD68", "CYBB", "CTSS"), 4e-3),
}
LEAST_KNOWN = 3
#: Such cells of a sample that say what floats in it, at least and at most; by how much less RNA a cell may have than
#: they, so that the same molecules are a larger share of it; and how many times that a cell that expresses the gene
#: shows at least.
FEWEST_KNOWN, MOST_KNOWN, MOST_SMALLER, TIMES_FOREIGN = 3, 2_000, 5.0, 4.0


def foreign_rates(adata: AnnData, atlas: Atlas) -> tuple[np.ndarray, np.ndarray]:
    """Measure what cells of a known lineage show of the markers of others: ambient RNA, or what they express too.

    Of T cells of whose UMIs 2 % are immunoglobulins of the ambient RNA all show the markers of plasma cells: by rates
    that are learnt from them alone they were all plasma cells.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X); `obs["sample"]` where there.
    atlas
        From :func:`match_markers`.

    Returns
    -------
    tuple
        UMIs per UMI, n_samples × n_genes, 0 where nothing is known; UMIs of the cells that say so, shape (n_samples,).
    """
    groups = sample_numbers(adata)
    rate = np.zeros((int(groups.max(initial=0)) + 1, len(atlas.genes)))
    size = np.ones(len(rate))
    if adata.n_vars < PANEL_GENES:
        return rate, size
    counts, barred = counts_of(adata), car_genes(adata)
    totals, markers = row_sums(counts), counts[:, atlas.genes]
    known = {}
    for lineage, (genes, least) in KNOWN_BY.items():
        at = adata.var_names.get_indexer([g for g in genes if g not in barred])
        umis = row_sums(counts[:, at[at >= 0]])
        known[lineage] = (umis >= LEAST_KNOWN) & (umis >= least * totals)
    both = np.all(list(known.values()), axis=0)
    for lineage, rows in known.items():
        own = [i for i, name in enumerate(atlas.lineage) if kin(str(name), lineage)]
        foreign = ~(atlas.weights[own] > 0).any(axis=0)
        for g in range(len(rate)):
            cells = np.flatnonzero(rows & ~both & (groups == g))
            if cells.size < FEWEST_KNOWN:
                continue
            cells = cells[:: -(-cells.size // MOST_KNOWN)]
            k = markers[cells].toarray()
            # A doublet among them, or a cell that is none of them, says no more than a few.
            k = np.minimum(k, 1 + 3 * np.median(k, axis=0))
            rate[g] = np.maximum(rate[g], np.where(foreign, k.sum(axis=0) / totals[cells].sum(), 0))
            size[g] = max(size[g], float(np.median(totals[cells])))
    return rate, size


def without_nucleus(adata: AnnData, atlas: Atlas) -> np.ndarray:
    """Return which types are of erythrocytes or platelets, by markers (:data:`FLOATING`), shape (n_types,)."""
    floating = adata.var_names[atlas.genes].isin(FLOATING)
    return np.asarray((atlas.own[:, floating] > 0).any(axis=1))


def give_floating(
    adata: AnnData,
    atlas: Atlas,
    floating: np.ndarray,
    posterior: np.ndarray,
    doubtful: Mapping[str, np.ndarray],
) -> None:
    """Give droplets that are no other cell to erythrocytes and platelets, whose molecules float in all droplets.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X); `obs["sample"]` where there.
    atlas
        From :func:`match_markers`.
    floating
        Which of its types, from :func:`without_nucleus`.
    posterior
        Probabilities of the types, n_cells × (1 + n_types), 0 for those; changed in place.
    doubtful
        By lineage, cells that are not of it however probable it is, shape (n_cells,), bool.
    """
    if not adata.n_obs or not floating.any():
        return
    counts, samples = counts_of(adata), sample_numbers(adata)
    totals = row_sums(counts)
    unclear = np.ones(adata.n_obs, dtype=bool)
    for name in dict.fromkeys(atlas.lineage):
        clear = (
            posterior[:, 1 + np.flatnonzero(atlas.lineage == name)].sum(axis=1) >= CLEARLY_ANOTHER
        )
        unclear &= ~clear | doubtful.get(str(name), False)
    for t in np.flatnonzero(floating):
        marks = atlas.genes[atlas.own[t] > 0]
        own = counts[:, marks]
        umis = row_sums(own)
        alone = unclear | (totals - umis < FEW_BESIDE) & (umis > MOST_FLOATING * totals)
        typed = (posterior[:, 0] < 0.5) & ~alone
        share = umis / np.maximum(totals, 1.0)
        usual = np.zeros(int(samples.max()) + 1)
        for g in np.unique(samples[typed]):
            usual[g] = np.median(share[typed & (samples == g)])
        least = np.maximum(
            LEAST_FLOATING_SHARE, np.minimum(TIMES_FLOATING * usual, (1 + usual) / 2)
        )
        is_one = (umis >= LEAST_FLOATING) & (own.getnnz(axis=1) >= LEAST_FLOATING_GENES)
        is_one &= share >= least[samples]
        # A platelet shows next to nothing else of the myeloid cells, a monocyte with platelets on it does.
        kind = (atlas.lineage == atlas.lineage[t]) & ~floating
        others = (atlas.own[kind] > 0).any(axis=0) & ~(atlas.own[t] > 0)
        few = row_sums(counts[:, atlas.genes[others]]) < MOST_OF_KIND * umis
        of_kind = posterior[:, 1 + np.flatnonzero(kind)].sum(axis=1)
        rest = np.where(alone, 1.0, posterior[:, 0] + np.where(few, of_kind, 0.0))
        posterior[is_one] *= (1 - rest / np.maximum(posterior.sum(axis=1), 1e-12))[is_one, None]
        posterior[is_one, 1 + t] += rest[is_one]
