"""The demo's 5' samples, a product among them, against their truth."""

from __future__ import annotations

import json

import anndata
import pandas as pd

from runs import CAR, FIVE_PRIME, WORKFLOW

pytestmark = WORKFLOW


def test_five_prime_studies_work_too(demo):
    summary = json.loads((demo.results / "samples/P02_urine_D28/solo/summary.json").read_text())
    assert (summary["chemistry"], summary["strand"]) == ("10x_5p_v2", "Reverse")
    n_positive, n_true, n_own, n_found = demo.car_calls(FIVE_PRIME)
    assert n_true / n_positive >= 0.9
    # Some 35 cells: five points of chance beside the 0.85 of the 3' library.
    assert n_found / n_own >= 0.8
    assert demo.detection.loc["P02_urine_D0", "n_car_positive"] == 0
    assert demo.detection.loc["P02_product", "verdict"] == "detected"


def test_spliced_leaders_are_counted(demo):
    """Reads across the psi splice count for the CAR's gene, since its spliced form is annotated."""
    counts = 0
    truth = 0
    for sample in FIVE_PRIME:
        raw = anndata.read_h5ad(demo.results / f"samples/{sample}/solo/raw.h5ad")
        counts += raw[:, CAR].X.sum()
        molecules = pd.read_csv(demo.folder / f"truth/{sample}.car_molecules.tsv.gz", sep="\t")
        truth += molecules["identifiable"].astype(bool).sum()
    assert counts >= 0.95 * truth
