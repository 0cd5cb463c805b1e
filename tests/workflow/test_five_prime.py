"""A 5' study with a product against its truth."""

from __future__ import annotations

import json

import anndata
import pandas as pd

from runs import CAR, WORKFLOW

pytestmark = WORKFLOW


def test_five_prime_studies_work_too(five_prime):
    summary = json.loads(
        (five_prime.results / "samples/P01_urine_D28/solo/summary.json").read_text()
    )
    assert (summary["chemistry"], summary["strand"]) == ("10x_5p_v2", "Reverse")
    n_positive, n_true, n_own, n_found = five_prime.car_calls()
    assert n_true / n_positive >= 0.9
    # 53 cells, half of them with one or two CAR molecules: five points of chance beside the demo's 0.85.
    assert n_found / n_own >= 0.8
    assert five_prime.detection.loc["P01_urine_D0", "n_car_positive"] == 0
    assert five_prime.detection.loc["P01_product", "verdict"] == "detected"


def test_spliced_leaders_are_counted(five_prime):
    """Reads across the psi splice count for the CAR's gene, since its spliced form is annotated."""
    counts = 0
    truth = 0
    for sample in five_prime.samples:
        raw = anndata.read_h5ad(five_prime.results / f"samples/{sample}/solo/raw.h5ad")
        counts += raw[:, CAR].X.sum()
        molecules = pd.read_csv(
            five_prime.folder / f"truth/{sample}.car_molecules.tsv.gz", sep="\t"
        )
        truth += molecules["identifiable"].astype(bool).sum()
    assert counts >= 0.95 * truth
