"""Contrasts: what is compared with what, and what is not."""

from __future__ import annotations

from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq.calling import call_cells
from carseq.localize import contrasts, localize
from carseq.localize.compare import (
    ContrastRow,
    between_samples,
    rows_over_patients,
    sample_pairs,
)
from carseq.localize.odds import (
    CUT,
    PSI,
    Comparison,
    Profile,
)
from carseq.schema.tables import CONTRASTS
from compared_cells import CAR, Setting, sheet, study


def compared(setting: Setting, seed: int, n: int) -> pd.DataFrame:
    """Return contrasts of simulated studies."""
    tables: list[pd.DataFrame] = []
    while sum(len(table) for table in tables) < n:
        adata, samples = study(setting, np.random.default_rng([seed, len(tables)]))
        detection = call_cells(adata, None, samples, car=CAR)
        table = contrasts(adata, detection)
        own = table[table["n_patients"] == 1]
        depth = adata.obs.groupby("sample")["total_umis"].median()
        shallow = own["sample"].map(depth).to_numpy() < own["reference"].map(depth).to_numpy()
        log_ratio = np.log(own["estimate"].clip(1e-3, 1e3)) * np.where(shallow, 1, -1)
        tables.append(own.assign(shallow_against_deep=log_ratio))
    return pd.concat(tables)


@pytest.mark.parametrize(
    ("least", "ratio", "rejected"),
    [(8, 1.6, 0.3), pytest.param(40, 1.2, 0.11, marks=pytest.mark.truth)],
)
def test_a_shallow_sample_is_not_taken_for_one_with_few_car_t_cells(
    least: int, ratio: float, rejected: float
) -> None:
    """Equal fractions, depth 4 times: the median odds ratio is near 1, and few contrasts have p below 0.05.

    Without regard to depth the ratio is a third and most tests reject; a hundred contrasts and more, which tell smaller
    errors, are `python benchmarks/localize.py`.
    """
    table = compared(Setting("", 4, 1, (40, 150)), 6, least)
    assert len(table) >= least
    assert abs(table["shallow_against_deep"].median()) < np.log(ratio)
    assert (table["p"] < 0.05).sum() <= rejected * len(table)


def test_patients_are_counted_in_a_column_and_in_words() -> None:
    """Rows of one patient claim nothing of others; a row of several has no sample and says how many."""
    rng = np.random.default_rng([9, 2])
    adata, samples = study(Setting("", 1, 3, (40, 60)), rng)
    n = samples["patient"].nunique()
    assert n > 1
    table = contrasts(adata, call_cells(adata, None, samples, car=CAR))
    one, several = table[table["n_patients"] == 1], table[table["n_patients"] > 1]
    assert one["reading"].str.contains("no claim about others").all()
    assert list(several["n_patients"]) == [n]
    assert (several["patient"] == "").all()
    assert several["reading"].str.startswith(f"{n} patients").all()


def test_states_within_a_sample_share_what_the_sample_expresses() -> None:
    """A state that holds all CAR T cells is found; the comparison with the rest names it."""
    adata, samples = study(Setting("", 1, 1, (120, 121)), np.random.default_rng([9, 8]))
    rng = np.random.default_rng(1)
    other = np.where(rng.random(adata.n_obs) < 0.5, "memory", "naive")
    adata.obs["t_state"] = np.where(adata.obs["truth"], "effector", other)
    adata.obs.loc[adata.obs["lineage"] != "T", "t_state"] = ""
    table = contrasts(adata, call_cells(adata, None, samples, car=CAR))
    states = table[(table["contrast"] == "T-cell state") & (table["group"] == "effector")]
    assert (states["reference_group"] == "other T cells").all()
    assert (states["low"] > 1).all()
    naive = table[(table["group"] == "naive") & (table["n_patients"] == 1)]
    assert (naive["estimate"] < 1).mean() > 0.8


def test_controls_are_no_urine_against_blood_and_no_sample_stands_in_two_families() -> None:
    """Urine and blood from before the infusion are compared with nothing; other times make another family."""
    samples = sheet(
        ("U0", "A", "urine", "D0", "negative_control"),
        ("B0", "A", "blood", "D0", "negative_control"),
        ("U28", "A", "urine", "D28", "case"),
        ("B28", "A", "blood", "D28", "case"),
    )
    found = [(c, a["sample"], b["sample"]) for c, _, a, b in sample_pairs(samples)]
    assert found == [
        ("urine against blood", "U28", "B28"),
        ("against baseline", "U28", "U0"),
        ("against baseline", "B28", "B0"),
    ]


def test_patients_are_pooled_over_the_same_times_only() -> None:
    """D28 against D14 of two patients makes a row, M3 against D28 of a third none."""
    psi = Profile(PSI, -0.5 * (PSI - 1.0) ** 2)
    cells = pd.DataFrame({"car_call": ["positive"]})

    def row(patient: str, times: str) -> ContrastRow:
        return ContrastRow("over time", patient, f"{patient}2", f"{patient}1", "urine", "", "", cells, cells,
                    Comparison(profile=psi), times)  # fmt: skip

    rows = [row("A", "D28 against D14"), row("B", "D28 against D14"), row("C", "M3 against D28")]
    (made,) = rows_over_patients(rows)
    assert made["n_patients"] == 2
    assert str(made["reading"]).startswith("D28 against D14; 2 patients")


def test_samples_against_baseline_are_pooled_by_their_time_and_the_row_says_which() -> None:
    """D7 and D28 of two patients are two rows, not one of whichever stands first; single times make one."""
    first = sheet(
        ("A0", "A", "urine", "pre", "negative_control"),
        ("A7", "A", "urine", "D7", "case"),
        ("A28", "A", "urine", "D28", "case"),
        ("B0", "B", "urine", "D0", "negative_control"),
        ("B28", "B", "urine", "day 28", "case"),
        ("B7", "B", "urine", "D7", "case"),
        ("B60", "B", "urine", "D60", "case"),
        ("C0", "C", "urine", "D0", "negative_control"),
        ("C90", "C", "urine", "D90", "case"),
    )
    obs = pd.DataFrame({"sample": first["sample"], "car_call": "positive"})
    at = Comparison(profile=Profile(PSI, -0.5 * PSI**2))
    for samples in (first, first[::-1]):
        rows = [
            replace(row, result=at)
            for row in between_samples(obs, obs, samples)
            if row.contrast == "against baseline"
        ]
        made = {str(row["reading"]).split(";")[0]: row for row in rows_over_patients(rows)}
        assert {frozenset(times.split(", ")) for times in made} == {
            frozenset(("D7",)),
            frozenset(("day 28" if samples is not first else "D28",)),
            frozenset(("D60", "D90")),
        }
        assert all(row["n_patients"] == 2 for row in made.values())


def test_q_is_adjusted_within_a_contrast() -> None:
    """Every tested row has a q of at least its p, and an interval excludes 1 where p is below 0.05."""
    adata, samples = study(Setting("", 1, 3, (80, 120)), np.random.default_rng([9, 2]))
    table = contrasts(adata, call_cells(adata, None, samples, car=CAR))
    assert list(table.columns) == list(CONTRASTS.columns)
    tested = table[table["p"].notna()]
    assert (tested["q"] >= tested["p"] - 1e-12).all()
    excludes = (tested["low"] > 1) | (tested["high"] < 1)
    assert (excludes == (tested["p"] < 0.05)).all()
    assert pytest.approx(3.841, abs=0.001) == CUT


def test_samples_sorted_by_other_words_are_neither_compared_nor_pooled() -> None:
    """Two sorts that no code names: the verdicts hold `other` for both, and the cells the sheet's words."""
    adata, samples = study(Setting("", 1, 1, (80, 120)), np.random.default_rng([9, 2]))
    samples = samples.assign(compartment="urine", role="case", patient="A").head(2)
    samples["timepoint"] = ["D14", "D28"]
    adata = adata[adata.obs["sample"].isin(samples["sample"])].copy()
    one, other = samples["sample"]
    for gates, compared in ((["CD8+", "CD14- sort"], False), (["CD8+", "cd8+"], True)):
        adata.obs["gating"] = adata.obs["sample"].map(dict(zip((one, other), gates, strict=True)))
        detection = call_cells(adata, None, samples.assign(gating=gates), car=CAR)
        assert list(detection["gating"]) == ["other", "other"]
        table = contrasts(adata, detection)
        assert (table["contrast"] == "over time").any() == compared
        assert (localize(adata, detection)["n_samples"] == 2).any() == compared
    # Where nobody says how they were sorted, they are not known to be alike.
    unsaid = adata.copy()
    del unsaid.obs["gating"]
    assert not (contrasts(unsaid, detection)["contrast"] == "over time").any()


def test_a_time_in_other_words_is_the_same_and_an_unknown_one_is_not_compared_over_time() -> None:
    """Urine of D28 and blood of "day 28" were not compared, and a sample without time point was, as the earlier one."""
    samples = sheet(
        ("U?", "A", "urine", "", "case"),
        ("U28", "A", "urine", "D28", "case"),
        ("U28b", "A", "urine", "4 weeks", "case"),
        ("B28", "A", "blood", "day 28", "case"),
        ("U60", "A", "urine", "D60", "case"),
    )
    found = [(c, a["sample"], b["sample"]) for c, _, a, b in sample_pairs(samples)]
    assert found == [
        ("urine against blood", "U28", "B28"),
        ("urine against blood", "U28b", "B28"),
        ("over time", "U60", "U28"),
        ("over time", "U60", "U28b"),
    ]


def test_how_much_ambient_rna_a_sample_holds_is_open_in_its_contrasts_too() -> None:
    """Equal fractions, one sample in far more ambient RNA than assumed: 2.05 (1.3-3.2), p = 0.002, was stated of them.

    Of 20 such pairs of samples four had p < 0.05, now one; each cell was taken to scatter by itself.
    """
    rng, n = np.random.default_rng(5), 500
    parts = []
    for sample, soup in (("u", 0.4), ("b", 0.02)):
        is_car = rng.random(n) < 0.2
        total = rng.lognormal(np.log(6000), 0.5, n).astype(int)
        own = rng.poisson(5e-4 * total * rng.gamma(1.2, 1 / 1.2, n) * is_car)
        share = soup * own.sum() / total.sum()
        seen = own + rng.poisson(share * total * rng.gamma(3, 1 / 3, n))
        barcodes = [f"{sample}{i}" for i in range(n)]
        parts.append(
            pd.DataFrame({"sample": sample, "barcode": barcodes, "total_umis": total, "seen": seen})
        )
    obs = pd.concat(parts, ignore_index=True).assign(
        lineage="T", cell_type="T cell", t_state="", is_doublet=False, is_damaged=False
    )
    obs.index = obs["sample"] + ":" + obs["barcode"]
    counts = sparse.csr_matrix(np.c_[obs["seen"], obs["total_umis"] - obs["seen"]].astype(float))
    adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[CAR, "OTHER"]))
    samples = sheet(("u", "P", "urine", "D28", "case"), ("b", "P", "blood", "D28", "case"))
    row = contrasts(adata, call_cells(adata, None, samples, car=CAR)).iloc[0]
    assert row["low"] < 1.2
    assert row["p"] > 0.01


def test_cells_that_were_kept_for_their_car_molecules_are_compared_with_none() -> None:
    """A matrix of the CAR+ cells of D28 beside all cells of D14 was compared "over time", and pooled with it.

    Its share is that of cells that were chosen for the CAR, as after a sort by it.
    """
    adata, samples = study(Setting("", 1, 1, (150, 200)), np.random.default_rng([9, 2]))
    samples = samples.iloc[:2].assign(
        patient="P", compartment="blood", timepoint=["D14", "D28"], role="case"
    )
    names = adata.obs["sample"].astype(str)
    shown = adata.obs["seen"] > 0
    for kept in (names.eq(samples["sample"].iloc[0]), names.isin(samples["sample"])):
        chosen = adata[kept | (names.eq(samples["sample"].iloc[1]) & shown)].copy()
        detection = call_cells(chosen, None, samples, car=CAR)
        whole = bool((kept & names.eq(samples["sample"].iloc[1])).any())
        assert (detection["prevalence_is"].iloc[1] == "fraction") is whole
        assert contrasts(chosen, detection)["contrast"].eq("over time").any() == whole
        assert localize(chosen, detection)["n_samples"].eq(2).any() == whole
