"""call_cells: what it takes, and what it gives for every cell and sample."""

from __future__ import annotations

import numpy as np
import pytest

from called_studies import CAR, study
from carseq.calling import call_cells
from carseq.errors import CarseqError
from carseq.localize import contrasts, localize
from carseq.schema.codes import REASONS
from carseq.schema.obs import OBS


def test_car_signal_outside_t_cells_is_a_finding_never_a_call(called):
    adata, _, _ = called
    other = adata.obs[(adata.obs["lineage"] != "T") & (adata.obs["car_umis"] > 0)]
    assert len(other) > 0
    assert set(other["car_call"]) == {"negative"}
    assert set(other["car_reason"]) <= {"explained_by_ambient", "unexplained"}
    assert other["car_reason_text"].str.contains("not a T cell").all()
    assert set(adata.obs["car_reason"]) <= set(REASONS)
    assert set(OBS.columns) - set(adata.obs.columns) <= {
        "patient", "compartment", "timepoint", "role", "n_genes", "pct_mito", "doublet_score", "leiden",
        "cell_type_confidence",
    }  # fmt: skip


def test_a_sample_without_cells_keeps_its_row(called):
    adata, samples, _ = called
    rest = adata[adata.obs["sample"] != "blood"].copy()
    detection = call_cells(rest, None, samples, car=CAR).set_index("sample")
    assert detection.loc["blood", "verdict"] == "undetermined"
    assert detection.loc["blood", "n_cells"] == 0
    empty = adata[:0].copy()
    assert set(call_cells(empty, None, samples, car=CAR)["verdict"]) == {"undetermined"}


def test_samples_are_names_and_all_of_them_are_known():
    adata, samples = study(0)
    for table in (adata.obs, samples):
        table["sample"] = table["sample"].map({"base": "1", "urine": "2", "blood": "3"})
    samples["sample"] = samples["sample"].astype(int)
    assert list(call_cells(adata, None, samples, car=CAR)["sample"]) == ["1", "2", "3"]
    with pytest.raises(CarseqError, match="cells of sample 3"):
        call_cells(adata, None, samples.iloc[:2], car=CAR)


def test_missing_columns_are_named():
    adata, samples = study(0)
    del adata.obs["lineage"]
    with pytest.raises(CarseqError, match="lack lineage"):
        call_cells(adata, None, samples, car=CAR)


def test_localization_and_contrasts(called):
    adata, _, detection = called
    detection = detection.reset_index()
    table = localize(adata, detection)
    by_lineage = table[table["level"] == "lineage"].set_index(["sample", "group"])
    urine = by_lineage.loc[("urine", "T")]
    own = adata.obs[(adata.obs["sample"] == "urine") & (adata.obs["lineage"] == "T")]
    assert urine["low"] <= own["truth"].mean() <= urine["high"]
    assert np.isnan(by_lineage.loc[("urine", "myeloid"), "estimate"])
    assert by_lineage.loc[("urine", "myeloid"), "n_car_positive"] == 0
    compared = contrasts(adata, detection).set_index("contrast")
    assert set(compared.index) == {"urine against blood", "against baseline"}
    assert (
        compared.loc["urine against blood", "low"]
        <= 6
        <= compared.loc["urine against blood", "high"]
    )
    assert compared.loc["urine against blood", "estimate"] > 1
    assert compared.loc["against baseline", "q"] >= compared.loc["against baseline", "p"]
