"""Which T cells are CAR T cells: false discoveries, recall, the posterior, silence in controls, and their fraction.

The tests of one file run in one process: those that look at the same twenty studies stand here.
"""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from benchmark_scripts import load
from called_studies import CAR, SEEDS, called_study, study
from carseq.calling import (
    call_cells,
    explain_posterior,
)
from carseq.errors import CarseqError


def test_false_discoveries_and_recall_over_studies():
    false = positive = found = findable = 0
    for seed in SEEDS:
        obs, _ = called_study(seed, 40)
        is_positive = obs["car_call"] == "positive"
        false += int((is_positive & ~obs["truth"]).sum())
        positive += int(is_positive.sum())
        found += int((is_positive & (obs["own"] > 0)).sum())
        findable += int((obs["own"] > 0).sum())
    assert false / positive <= 0.08
    assert found / findable >= 0.85


def test_the_posterior_means_what_it_says():
    stated, true = [], []
    for seed in SEEDS:
        obs, _ = called_study(seed, 40)
        t_cells = obs[obs["lineage"] == "T"]
        stated.append(t_cells["car_posterior"].to_numpy())
        true.append(t_cells["truth"].to_numpy())
    stated, true = np.concatenate(stated), np.concatenate(true)
    bins = np.minimum((stated * 10).astype(int), 9)
    error = sum(
        abs(stated[bins == b].mean() - true[bins == b].mean()) * (bins == b).mean()
        for b in set(bins)
    )
    assert error <= 0.06


def test_what_may_hold_the_car_depends_on_the_lineage():
    """NK cells with the CAR, as in a product that transduced some, were "an engulfed T cell": they engulf none."""
    adata, samples = study(3)
    single = ~adata.obs["is_doublet"].to_numpy(bool)
    foreign = np.flatnonzero(single & (adata.obs["lineage"] != "T").to_numpy(bool))[:8]
    adata.obs["lineage"] = adata.obs["lineage"].astype(str)
    adata.obs.iloc[foreign[:4], adata.obs.columns.get_loc("lineage")] = "NK"
    adata.obs.iloc[foreign[4:], adata.obs.columns.get_loc("lineage")] = "myeloid"
    counts = adata.layers["counts"].tolil()
    counts[foreign, adata.var_names.get_loc(CAR)] = 30
    adata.layers["counts"] = counts.tocsr()
    call_cells(adata, None, samples, car=CAR)
    told = adata.obs["car_reason_text"].iloc[foreign]
    assert told.iloc[:4].str.contains("holds the vector").all()
    assert told.iloc[4:].str.contains("engulfed T cell").all()
    assert not told.iloc[:4].str.contains("engulfed").any()


def test_negative_controls_are_silent():
    silent = 0
    for seed in SEEDS:
        _, detection = called_study(seed, 40)
        silent += detection.loc["base", "n_car_positive"] == 0
    assert silent >= 19


@pytest.mark.parametrize("copies", [40, pytest.param(4, marks=pytest.mark.truth)])
def test_prevalence_covers_the_truth(copies):
    """At the usual expression and at a tenth of it, below the prior's middle."""
    covered = total = 0
    for seed in SEEDS:
        obs, detection = called_study(seed, copies)
        for sample in ("urine", "blood"):
            t_cells = obs[(obs["sample"] == sample) & (obs["lineage"] == "T")]
            row = detection.loc[sample]
            total += 1
            covered += row["prevalence_low"] <= t_cells["truth"].mean() <= row["prevalence_high"]
    assert covered / total >= 0.9


@pytest.mark.parametrize(
    ("lineage", "cell_type", "why", "partner", "code", "words"),
    [
        ("T", "CD4 T", "two transcriptomes", "monocyte", "t_cell_doublet", "(monocyte)"),
        ("myeloid", "monocyte", "two transcriptomes", "CD4 T", "t_cell_doublet", "(monocyte)"),
        ("T", "CD4 T", "lineage conflict", "", "t_cell_doublet", "another kind of cell;"),
        ("T", "CD4 T", "scrublet", "monocyte", "t_cell_doublet", "(monocyte)"),
        ("T", "CD4 T", "scrublet", "", "doublet", "doublet; 3 CAR molecules"),
        ("myeloid", "monocyte", "lineage conflict", "", "doublet", "doublet; 3 CAR molecules"),
        ("myeloid", "monocyte", "two transcriptomes", "podocyte", "doublet", "doublet; 3 CAR"),
    ],
)
def test_a_car_in_a_doublet_with_a_t_cell_is_told_as_such(
    lineage: str, cell_type: str, why: str, partner: str, code: str, words: str
) -> None:
    """A named partner, or a conflict of lineages in a T cell's droplet; scrublet's alone may be of two T cells."""
    adata, samples = study()
    obs = adata.obs.assign(doublet_reason="", doublet_partner="")
    row = obs.index[(obs["lineage"] == lineage) & (obs["cell_type"] == cell_type)][0]
    obs.loc[row, ["is_doublet", "doublet_reason", "doublet_partner"]] = [True, why, partner]
    adata.obs = obs
    counts = adata.layers["counts"].tolil()
    counts[obs.index.get_loc(row), 0] = 3
    adata.layers["counts"] = counts.tocsr()
    adata.X = adata.layers["counts"].astype(np.float32)
    call_cells(adata, None, samples, car=CAR)
    cell = adata.obs.loc[row]
    assert cell["car_reason"] == code
    assert words in cell["car_reason_text"]
    assert cell["car_call"] != "positive"
    others = adata.obs.drop(index=row)
    assert not others["car_reason"].isin(["t_cell_doublet", "doublet"]).any()


def test_the_fdr_asked_for_changes_the_calls():
    counts = []
    for fdr in (0.001, 0.3):
        adata, samples = study(3)
        detection = call_cells(adata, None, samples, car=CAR, fdr=fdr)
        counts.append(detection["n_car_positive"].sum())
    assert counts[0] < counts[1]


def test_the_posterior_is_made_of_its_terms(called):
    adata, _, detection = called
    obs = adata.obs
    t_cells = obs[obs["lineage"] == "T"]
    for index in (t_cells["car_umis"].idxmax(), t_cells["car_umis"].idxmin()):
        terms = explain_posterior(adata, index).set_index("term")["value"]
        assert terms["posterior"] == pytest.approx(obs.loc[index, "car_posterior"])
        odds = np.exp(
            terms["log likelihood, own and ambient"] - terms["log likelihood, ambient alone"]
        )
        odds *= terms["prior"] / (1 - terms["prior"])
        assert odds / (1 + odds) == pytest.approx(terms["posterior"])
    for index in (obs.index[obs["lineage"] != "T"][0], "no:cell"):
        with pytest.raises(CarseqError):
            explain_posterior(adata, index)
    own = t_cells[t_cells["sample"] == "urine"]["car_umis"]
    assert detection.loc["urine", "n_t_at_least_1_umi"] == (own >= 1).sum()
    assert detection.loc["urine", "n_t_at_least_2_umis"] == (own >= 2).sum()


@pytest.mark.truth
def test_the_benchmark_in_small():
    """Molecules followed from the cell to the verdict, in three small studies; bounds as wide as so few cells need."""
    benchmark = load("calling")
    plans = benchmark.plan_studies(3, seed=5, most_cells=500, n_empty=800)
    _, (cells, detection) = benchmark.run(plans, seed=5)
    figures = benchmark.measure(cells, detection).set_index("figure")["value"]
    assert cells["positive"].sum() >= 20
    assert figures["false discoveries, pooled"] <= 0.1
    assert figures["recall relative to the oracle"] >= 0.8
    assert figures["negative controls without a positive"] == 1
    assert figures["calibration error of the posterior"] <= 0.15
    assert figures["coverage of the 95 % interval"] >= 0.8


def test_columns_that_annotate_does_not_write_are_told():
    """Cells of `carseq.annotate` given to `call_cells`: "run the cells room first", which had just been done."""
    obs = pd.DataFrame({"total_umis": [900.0], "lineage": ["T"], "is_doublet": [False]}, ["ACGT"])
    cells = ad.AnnData(np.ones((1, 1), dtype=np.float32), obs=obs)
    sheet = pd.DataFrame({"sample": ["S"], "patient": ["P"], "compartment": ["urine"]})
    with pytest.raises(CarseqError, match="sample, barcode") as told:
        call_cells(cells, {}, sheet, car="CAR")
    assert 'obs["sample"]' in told.value.remedy
    assert "carseq.annotate" not in told.value.remedy
    with pytest.raises(CarseqError, match="lineage") as told:
        call_cells(ad.AnnData(cells.X, obs=obs[["total_umis"]]), {}, sheet, car="CAR")
    assert "carseq.annotate" in told.value.remedy
