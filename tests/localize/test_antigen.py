"""Cells that express what the CAR binds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from carseq.calling import call_cells
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
