"""localize: fractions, depth-corrected contrasts, target cells, the clinic, clonotypes."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from carseq.calling import call_cells
from carseq.calling.cells import Cells
from carseq.config_docs import pages
from carseq.errors import CarseqError
from carseq.localize import (
    agreement,
    clinical,
    contrasts,
    everything,
    localize,
    shared_clonotypes,
    target_cells,
)
from carseq.localize.beside import time_places
from carseq.localize.compare import ContrastRow, rows_over_patients, sample_pairs
from carseq.localize.odds import (
    CUT,
    PSI,
    Arm,
    Comparison,
    DepthClasses,
    Pair,
    Profile,
    compare,
    over_patients,
)
from carseq.schema.tables import BY_NAME, CONTRASTS, DETECTION
from carseq.study.sheets import further_columns

CAR = "CAR"
_PATH = Path(__file__).parents[2] / "benchmarks" / "localize.py"
_SPEC = importlib.util.spec_from_file_location("localize_benchmark", _PATH)
benchmark = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = benchmark
_SPEC.loader.exec_module(benchmark)
Setting, study = benchmark.Setting, benchmark.study


def arm(n_car: int, n: int) -> Arm:
    """Return T cells whose CAR counts leave no doubt: 60 molecules expected in a CAR T cell, none in others."""
    k = np.repeat([60.0, 0.0], [n_car, n - n_car])
    ones = np.ones(n)
    cells = Cells(k, 6000 * ones, 1e-9 * ones, ones, np.zeros((n, 5)), 0 * ones, ones)
    return Arm(cells, np.array([0.01]), np.array([20.0]), np.zeros((1, 5)))


def pair(*counts: tuple[int, int]) -> Pair:
    """Return two groups without doubt."""
    return Pair(arm(*counts[0]), arm(*counts[1]), np.zeros(1))


def detection_of(**columns: object) -> pd.DataFrame:
    """Return a detection table of two samples of a patient."""
    table = pd.DataFrame(
        {
            "sample": ["u0", "u28"], "patient": "P", "compartment": "urine", "timepoint": ["D0", "D28"],
            "role": ["negative_control", "case"], "n_cells": 100, "n_t_cells": 40, "n_car_positive": [0, 10],
            "verdict": "", "prevalence": [0.0, 0.3], "prevalence_low": [0.0, 0.2], "prevalence_high": [0.1, 0.4],
            "detection_limit": 0.1, "sensitivity": 0.7, "expected_false_calls": 0.0,
            "verdict_text": "", "gating": "unsorted", "prevalence_is": "fraction",
            "ambient_assumed": False,
            "n_t_at_least_1_umi": 0, "n_t_at_least_2_umis": 0,
        }
    )  # fmt: skip
    return DETECTION.conform(table.assign(**columns))


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


def test_a_shallow_sample_is_not_taken_for_one_with_few_car_t_cells() -> None:
    """120 contrasts, equal fractions, depth 4 times: median odds ratio 1 within 20 %, at most 11 % below 0.05."""
    table = compared(Setting("", 4, 1, (40, 150)), 5, 120)
    assert len(table) >= 120
    # The median of 60 has a standard error of 0.11: too few to judge 20 % by.
    assert abs(table["shallow_against_deep"].median()) < np.log(1.2)
    # Of 120 tests at 5 %, 13 or fewer reject with a probability of 99.7 %.
    assert (table["p"] < 0.05).sum() <= 0.11 * len(table)


@pytest.mark.parametrize("counts", [((8, 40), (2, 40)), ((30, 60), (20, 80)), ((1, 5), (3, 9))])
def test_without_doubt_the_odds_ratio_is_that_of_the_counts(
    counts: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    """Estimate within 1 % of the sample odds ratio, W within 0.02 of the binomial's, without the bootstrap."""
    result = compare(pair(*counts), n_boot=0)
    (a, n), (b, m) = counts
    assert result.estimate == pytest.approx(a * (m - b) / ((n - a) * b), rel=0.01)
    assert result.fraction == pytest.approx(a / n, abs=0.002)
    total = (a + b) / (n + m)
    statistic = 2 * sum(
        stats.binom.logpmf(x, of, x / of) - stats.binom.logpmf(x, of, total) for x, of in counts
    )
    assert stats.chi2.isf(result.p, 1) == pytest.approx(statistic, abs=0.02)
    assert result.low < result.estimate < result.high
    # An interval excludes 1 just where p is below 0.05.
    assert (result.low > 1 or result.high < 1) == (result.p < 0.05)


def test_tiny_tables_are_tested_as_exactly_as_the_binomial_allows() -> None:
    """Over all outcomes of 6 and 6 cells at a fraction of 0.3, p < 0.05 has a probability of at most 6 %."""
    error = 0.0
    for a in range(7):
        for b in range(7):
            p = compare(pair((a, 6), (b, 6)), seed=1).p
            chance = stats.binom.pmf(a, 6, 0.3) * stats.binom.pmf(b, 6, 0.3)
            error += chance * (np.isfinite(p) and p < 0.05)
    assert error <= 0.06


def test_no_car_t_cell_on_one_side_gives_an_open_interval() -> None:
    """Infinite and zero odds ratios keep one finite end, and mirror each other."""
    up, down = compare(pair((10, 40), (0, 40))), compare(pair((0, 40), (10, 40)))
    assert (up.estimate, up.high) == (np.inf, np.inf)
    assert (down.estimate, down.low) == (0.0, 0.0)
    assert up.low > 1
    assert down.high == pytest.approx(1 / up.low, rel=0.2)
    assert compare(pair((0, 40), (0, 40))).note == "no CAR molecule in a T cell of either"
    assert compare(None).note == "no T cells in one of the two"


def test_the_bootstrap_draws_what_the_model_says() -> None:
    """Mean counts of 4,000 replicates are those of the mixture to 5 %."""
    one = replace(arm(10, 40), mu=np.array([1e-3]), shape=np.array([1.5]))
    classes = DepthClasses.of(one)
    counts = classes.draw(np.zeros(4000, dtype=np.intp), 0.25, np.random.default_rng(1))
    assert counts.sum(axis=1) == pytest.approx(40)
    by_bin = counts.reshape(4000, -1, classes.null.shape[1]).sum(axis=1).mean(axis=0)
    silent = 40 * (0.75 + 0.25 * stats.nbinom.pmf(0, 1.5, 1.5 / (1.5 + 6)))
    assert by_bin[0] == pytest.approx(silent, rel=0.05)


def test_several_patients_agree_with_a_pooled_normal_and_one_is_no_population() -> None:
    """Equal patients: the mean is theirs; the interval is wider than the common one; one patient is refused."""
    psi = np.linspace(-10, 10, 401)
    own = Profile(psi, -0.5 * ((psi - 1) / 0.4) ** 2)
    summary = over_patients([own] * 5)
    assert summary.estimate == pytest.approx(np.e, rel=0.02)
    half = np.log(summary.high) - 1
    # A little wider than Student's interval: how patients scatter is not known.
    assert 1 <= half / (stats.t.ppf(0.975, 4) * 0.4 / np.sqrt(5)) <= 1.1
    assert summary.tau == 0
    apart = over_patients([Profile(psi, -0.5 * ((psi - at) / 0.4) ** 2) for at in (-1, 0, 1, 2, 3)])
    assert apart.tau == pytest.approx(np.sqrt(2 - 0.16), abs=0.2)
    assert apart.high > summary.high
    with pytest.raises(ValueError, match="two patients"):
        over_patients([own])


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


@pytest.mark.parametrize("what", ["no T cells", "no CAR", "one sample", "blood only", "no cells"])
def test_little_is_said_so_and_does_not_crash(what: str) -> None:
    """Every table is made; where nothing can be compared, there is no estimate and the method says why."""
    adata, samples = study(Setting("", 1, 1, (30, 40)), np.random.default_rng([9, 8]))
    samples = samples.iloc[:2]
    adata = adata[adata.obs["sample"].isin(samples["sample"])].copy()
    if what == "no T cells":
        adata = adata[adata.obs["lineage"] != "T"].copy()
    if what == "no CAR":
        adata.X = adata.X.multiply(np.array([[0, 1]])).tocsr()
        samples = samples.assign(ambient_car=0.0)
    if what in ("one sample", "blood only"):
        samples = samples.iloc[1:]
        adata = adata[adata.obs["sample"].isin(samples["sample"])].copy()
    if what == "blood only":
        samples = samples.assign(compartment="blood")
    if what == "no cells":
        adata = adata[:0].copy()
    detection = call_cells(adata, None, samples, car=CAR)
    found = everything(adata, detection, target="OTHER", given={})
    assert set(found) == set(BY_NAME)
    between = found["contrasts"][found["contrasts"]["group"] == ""]
    assert between["estimate"].isna().all()
    assert len(between) == (0 if what in ("one sample", "blood only") else 1)
    assert between["method"].str.startswith("no ").all()
    for name in ("clinic", "agreement", "clonotypes"):
        assert not len(found[name])


def test_calls_of_another_version_are_refused() -> None:
    """Cells without the fitted model are told how to get it."""
    adata, samples = study(Setting("", 1, 1, (30, 40)), np.random.default_rng([9, 8]))
    detection = call_cells(adata, None, samples, car=CAR)
    del adata.uns["car_model"]["evidence"]
    with pytest.raises(CarseqError, match="run the calls again"):
        contrasts(adata, detection)


def test_samples_of_a_patient_and_compartment_are_pooled_and_signal_outside_is_told_by_reason() -> (
    None
):
    """Two case samples give a pooled row of both, without the negative control; every outside signal has a reason."""
    adata, samples = study(Setting("", 1, 1, (60, 80)), np.random.default_rng([9, 2]))
    samples = samples.iloc[:3].assign(
        patient="P", compartment="urine", timepoint=["D0", "D14", "D28"], role=["negative_control", "case", "case"]
    )  # fmt: skip
    adata = adata[adata.obs["sample"].isin(samples["sample"])].copy()
    detection = call_cells(adata, None, samples, car=CAR)
    table = localize(adata, detection)
    single, pooled = table[table["sample"] != ""], table[table["sample"] == ""]
    t_pooled = pooled[(pooled["level"] == "lineage") & (pooled["group"] == "T")].iloc[0]
    t_single = single[(single["level"] == "lineage") & (single["group"] == "T")].iloc[1:]
    assert t_pooled["n_samples"] == 2
    assert t_pooled["n_cells"] == t_single["n_cells"].sum()
    assert t_single["estimate"].min() <= t_pooled["estimate"] <= t_single["estimate"].max()
    assert t_pooled["high"] - t_pooled["low"] < (t_single["high"] - t_single["low"]).max()
    outside = table[table["group"] == "myeloid"]
    reasons = outside[["n_explained", "n_unexplained", "n_undecided"]].sum(axis=1)
    assert (reasons == outside["n_car_signal"]).all()
    assert outside["n_car_signal"].sum() > 0


def test_types_and_states_of_t_cells_are_crossed() -> None:
    """CD4 and CD8 T cells by state: the crossed counts are those made by hand and add up to the types and states."""
    adata, samples = study(Setting("", 1, 1, (60, 80)), np.random.default_rng([9, 3]))
    adata = adata[(adata.obs["sample"] == samples["sample"].iloc[0])].copy()
    t_cells = np.flatnonzero(adata.obs["lineage"] == "T")
    cell_type, state = (
        adata.obs["lineage"].astype(str).to_numpy(object),
        np.full(adata.n_obs, "", object),
    )
    cell_type[t_cells], state[t_cells] = "CD8 T", "effector"
    cell_type[t_cells[:10]], state[t_cells[:4]], state[t_cells[20:25]] = "CD4 T", "memory", "memory"
    adata.obs["cell_type"], adata.obs["t_state"], adata.obs["is_doublet"] = cell_type, state, False
    table = localize(adata, call_cells(adata, None, samples.iloc[:1], car=CAR))
    crossed = table[table["level"] == "cell_type x t_state"].set_index("group")
    n = len(t_cells)
    assert crossed["n_cells"].to_dict() == {
        "CD4 T x effector": 6, "CD4 T x memory": 4, "CD8 T x effector": n - 15, "CD8 T x memory": 5
    }  # fmt: skip
    for level, part in (("cell_type", 0), ("t_state", 1)):
        of_part = crossed.groupby(crossed.index.str.split(" x ").str[part])
        single = table[table["level"] == level].set_index("group")
        for name in ("n_cells", "n_car_positive", "n_car_signal"):
            assert of_part[name].sum().eq(single.loc[list(of_part.groups), name]).all()
    assert crossed["low"].between(0, crossed["high"], inclusive="left").all()
    assert crossed["high"].le(1).all()


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


def test_numbers_of_the_sheet_stand_beside_the_fraction_and_text_does_not() -> None:
    """Numeric columns alone are taken; shares of T cells become fractions and differences; days are days."""
    given = {
        "u0": {"CAR_pct_flow": "5", "creatinine": "", "batch": "b1", "vcn_qpcr": "0.1"},
        "u28": {"CAR_pct_flow": "20", "creatinine": "1.5", "batch": "2", "vcn_qpcr": "2.5"},
    }
    table = clinical(detection_of(), given)
    assert set(table["measure"]) == {"CAR_pct_flow", "creatinine", "vcn_qpcr"}
    flow = table[table["measure"] == "CAR_pct_flow"].set_index("sample")
    assert list(flow["measured"]) == pytest.approx([0.05, 0.2])
    assert list(flow["difference"]) == pytest.approx([-0.05, 0.1])
    assert list(flow["inside"]) == ["yes", "yes"]
    assert list(flow["place"]) == [0, 28]
    assert len(table[table["measure"] == "creatinine"]) == 1
    assert set(table.loc[table["measure"] == "vcn_qpcr", "kind"]) == {"vector_copies"}
    with pytest.raises(CarseqError, match="no share of T cells: 120"):
        clinical(detection_of(), {"u28": {"car_pct_flow": "120"}})


def test_agreement_is_bland_and_altmans() -> None:
    """Mean difference and limits are those of the differences; two samples give no limits."""
    four = pd.concat([detection_of()] * 2, ignore_index=True)
    four["sample"] = list("abcd")
    four["prevalence"] = [0.1, 0.2, 0.3, 0.4]
    values = {"a": "12", "b": "15", "c": "33", "d": "36"}
    given = {s: {"car_percent_flow": v} for s, v in values.items()}
    row = agreement(clinical(four, given)).iloc[0]
    differences = np.array([0.1, 0.2, 0.3, 0.4]) - np.array([0.12, 0.15, 0.33, 0.36])
    assert row["mean_difference"] == pytest.approx(differences.mean())
    spread = 1.96 * differences.std(ddof=1)
    assert row["limit_high"] - row["limit_low"] == pytest.approx(2 * spread)
    assert row["rank_correlation"] == pytest.approx(1)
    assert row["n_patients"] == 1
    two = agreement(
        clinical(detection_of(), {"u0": {"car_pct_x": "1"}, "u28": {"car_pct_x": "30"}})
    )
    assert two["limit_low"].isna().all()


def test_clonotypes_are_shared_within_a_patient_only() -> None:
    """A clonotype of two compartments of one patient is listed with its CAR T cells, one of two patients is not."""
    rows = [
        ("P1", "urine", "u", "c1", "positive"),
        ("P1", "blood", "b", "c1", "negative"),
        ("P1", "blood", "b", "c2", "negative"),
        ("P2", "urine", "v", "c2", "negative"),
        ("P2", "urine", "v", "", "positive"),
        ("P2", "urine", "v", None, "positive"),
    ]
    obs = pd.DataFrame(rows, columns=["patient", "compartment", "sample", "clonotype", "car_call"])
    obs["lineage"], obs["is_doublet"] = "T", False
    table = shared_clonotypes(obs)
    assert table[["patient", "clonotype", "n_compartments", "n_car_positive"]].values.tolist() == [
        ["P1", "c1", 2, 1]
    ]
    assert table["cells_by_compartment"].iloc[0] == "blood: 1 (0); urine: 1 (1)"
    assert table["car_in"].iloc[0] == "urine"
    assert not len(shared_clonotypes(obs.drop(columns="clonotype")))


def test_further_columns_are_read_from_the_sheet_and_documented(tmp_path) -> None:
    """Columns that carseq does not know come by sample; config/README.md names those that mean more."""
    sheet = tmp_path / "samples.tsv"
    sheet.write_text("sample\tpatient\tcompartment\tCPK\ngating_x\tP\turine\t210\n")
    assert further_columns(sheet) == {"gating_x": {"CPK": "210"}}
    for name in ("car_pct_X", "vcn_X", "agreement.tsv"):
        assert name in pages()["README.md"]


def sheet(*rows: tuple[str, str, str, str, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["sample", "patient", "compartment", "timepoint", "role"])


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


@pytest.mark.parametrize(
    ("timepoints", "places"),
    [
        (["pre", "D28", "M3", "D14"], [13.0, 28.0, 91.32, 14.0]),
        (["D0", "D28"], [0.0, 28.0]),
        (["D28", "baseline"], [28.0, 27.0]),
        (["visit 1", "visit 3"], [1.0, 3.0]),
        (["early", "late", "D28"], [0.0, 1.0, 2.0]),
    ],
)
def test_time_points_lie_where_their_names_say(timepoints: list[str], places: list[float]) -> None:
    """Days and months mix, what comes before the infusion comes first; words that say nothing stay in order."""
    assert [time_places(timepoints)[t] for t in timepoints] == pytest.approx(places)


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
