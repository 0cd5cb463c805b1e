"""Cells that express what the CAR binds."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from carseq.calling import call_cells
from carseq.cells import combine
from carseq.localize import target_cells
from compared_cells import CAR, Setting, study


def test_target_cells_have_exact_intervals() -> None:
    """Counts and Clopper-Pearson intervals are those of the matrix; an unknown gene is said to be unknown."""
    adata, samples = study(Setting("", 1, 1, (30, 40)), np.random.default_rng([9, 8]))
    detection = call_cells(adata, None, samples, car=CAR)
    table = target_cells(adata, detection, CAR).set_index(["sample", "group"])
    name = samples["sample"].iloc[0]
    own = adata.obs[(adata.obs["sample"] == name) & (adata.obs["lineage"] == "myeloid")]
    row = table.loc[(name, "myeloid")]
    k, n = int((own["car_umis"] > 0).sum()), len(own)
    assert (row["n_expressing"], row["n_cells"]) == (k, n)
    expected = stats.binomtest(k, n).proportion_ci(0.95, "exact")
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected))
    unknown = target_cells(adata, detection, "TNFRSF17")
    assert unknown["fraction"].isna().all()
    assert (unknown["note"] == "TNFRSF17 is not among the genes of the matrix").all()
    assert not len(target_cells(adata, detection, None))


def test_a_target_that_a_samples_panel_lacks_is_missing_there_not_absent() -> None:
    """A panel without the target beside a whole transcriptome: "0 of 40 cells express it (0-9 %)" was stated of it."""
    adata, samples = study(Setting("", 1, 1, (30, 40)), np.random.default_rng([9, 8]))
    names = list(samples["sample"])
    genes = {name: [CAR, "OTHER"] if name == names[0] else [CAR, "OTHER", "BCMA"] for name in names}
    parts = [
        ad.AnnData(
            sparse.csr_matrix(np.ones((int((adata.obs["sample"] == name).sum()), len(own)))),
            obs=adata.obs[adata.obs["sample"] == name],
            var=pd.DataFrame(index=own),
        )
        for name, own in genes.items()
    ]
    joined = combine(parts)
    detection = call_cells(adata, None, samples, car=CAR)
    table = target_cells(joined, detection, "BCMA")
    lacks = table["sample"] == names[0]
    assert table.loc[lacks, "fraction"].isna().all()
    assert table.loc[lacks, "note"].str.contains("not among the genes").all()
    assert (table.loc[~lacks, "fraction"] == 1).all()
    assert "genes_missing" not in combine(parts[1:2]).uns
