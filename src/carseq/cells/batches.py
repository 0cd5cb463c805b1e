"""How well samples mix and types stay apart in a latent space, before and after integration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carseq.cells.markers import UNKNOWN
from carseq.log import get_logger
from carseq.schema.tables import INTEGRATION

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.batches")

#: Cells that the figures are made from: silhouettes compare all pairs.
MAX_CELLS = 5_000
#: Fewer cells, or cells of a sample or type, than this say nothing.
MIN_CELLS, MIN_GROUP = 60, 10
#: Neighbourhood of the local inverse Simpson index (Korsunsky 2019, doi:10.1038/s41592-019-0619-0).
PERPLEXITY = 15


def mixing(adata: AnnData, spaces: dict[str, np.ndarray], *, seed: int = 0) -> pd.DataFrame:
    """Measure batch mixing and conservation of biology, as scIB does (Luecken 2022, doi:10.1038/s41592-021-01336-8).

    Parameters
    ----------
    adata
        Cohort with `obs`: `sample`, `cell_type`, `lineage`, `leiden`.
    spaces
        Latent spaces by name, each n_cells × n_dimensions.
    seed
        Draws the 5,000 cells that are measured where there are more.

    Returns
    -------
    pandas.DataFrame
        Schema ``INTEGRATION``. All values run from 0 to 1, 1 being best: `sample mixing` is the local inverse Simpson
        index of samples, from none to as mixed as the samples' sizes allow; `type separation` that of types, turned
        round; `sample silhouette` is 1 - |width| by type; `type silhouette` is (1 + width) / 2; `type agreement` is
        the adjusted Rand index of clusters and types. Empty for fewer than 60 cells.

    Notes
    -----
    Samples of unlike composition, such as urine and blood, should not mix wholly: the figures compare spaces, they are
    no marks.
    """
    from harmonypy import compute_lisi
    from sklearn.metrics import adjusted_rand_score, silhouette_samples

    sample = adata.obs["sample"].astype(str).to_numpy()
    kind = adata.obs["cell_type"].astype(str).to_numpy()
    usable = np.flatnonzero((adata.obs["lineage"].astype(str) != UNKNOWN).to_numpy())
    if usable.size > MAX_CELLS:
        usable = np.sort(np.random.default_rng(seed).choice(usable, MAX_CELLS, replace=False))
    for names in (sample, kind):
        sizes = pd.Series(names[usable]).map(pd.Series(names[usable]).value_counts())
        usable = usable[(sizes >= MIN_GROUP).to_numpy()]
    rows: list[tuple[str, str, float]] = []
    if usable.size < MIN_CELLS:
        return INTEGRATION.empty()
    sample, kind = sample[usable], kind[usable]
    leiden = adata.obs["leiden"].astype(str).to_numpy()[usable]
    meta = pd.DataFrame({"sample": sample, "type": kind})
    n_samples, n_types = meta.nunique()
    for name, latent in spaces.items():
        x = np.asarray(latent, dtype=np.float64)[usable]
        lisi = np.asarray(compute_lisi(x, meta, ["sample", "type"], perplexity=PERPLEXITY))
        if n_samples > 1:
            # The index that cells strewn at random would have.
            most = 1 / float(((meta["sample"].value_counts() / len(meta)) ** 2).sum())
            mixed = (float(np.median(lisi[:, 0])) - 1) / max(most - 1, 1e-9)
            rows.append((name, "sample mixing", float(np.clip(mixed, 0, 1))))
            widths = []
            for one in np.unique(kind):
                own = kind == one
                if len(np.unique(sample[own])) > 1 and own.sum() > len(np.unique(sample[own])):
                    widths.append(np.abs(silhouette_samples(x[own], sample[own])).mean())
            if widths:
                rows.append((name, "sample silhouette", 1 - float(np.mean(widths))))
        if n_types > 1:
            apart = (n_types - float(np.median(lisi[:, 1]))) / (n_types - 1)
            rows.append((name, "type separation", float(np.clip(apart, 0, 1))))
            width = float(silhouette_samples(x, kind).mean())
            rows.append((name, "type silhouette", (1 + width) / 2))
    if n_types > 1:
        rows.append(("clusters", "type agreement", float(adjusted_rand_score(kind, leiden))))
    log.info("mixing: %s", ", ".join(f"{s} {m} {v:.2f}" for s, m, v in rows))
    table = pd.DataFrame(rows, columns=["space", "figure", "value"])
    return INTEGRATION.conform(table.assign(n_cells=usable.size))
