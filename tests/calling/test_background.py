"""Ambient RNA and chimeras: what controls and other cells say of them."""

from __future__ import annotations

from called_studies import CAR, study
from carseq.calling import call_cells


def test_a_control_full_of_car_t_cells_alarms():
    """A control learns the background, but tubes that were exchanged must show."""
    adata, samples = study(7)
    samples.loc[samples["sample"] == "urine", "role"] = "negative_control"
    detection = call_cells(adata, None, samples, car=CAR).set_index("sample")
    assert detection.loc["urine", "verdict"] == "detected"
    assert (
        detection.loc["urine", "prevalence_low"] <= 0.4 <= detection.loc["urine", "prevalence_high"]
    )


def test_other_cells_other_ambient_rna_that_was_missed():
    """Contamination estimated at a twentieth of the truth: few of the positive calls are false all the same."""
    false = positive = 0
    for seed in range(120, 126):
        adata, samples = study(seed, copies=200)
        adata.obs["contamination"] = 0.005
        call_cells(adata, None, samples, car=CAR)
        called = adata.obs[adata.obs["car_call"] == "positive"]
        false += int((~called["truth"]).sum())
        positive += len(called)
    assert positive > 300
    assert false / positive <= 0.05
