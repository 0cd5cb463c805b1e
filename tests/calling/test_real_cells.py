"""calling, localize: what real cells broke in the first model, each fault as a test that failed before."""

from __future__ import annotations

import itertools
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from carseq.calling import (
    Fit,
    call_cells,
    call_study,
    count_car,
    downsampling,
    explain_posterior,
    fraction_of,
    gate_of,
    rules,
    thresholds,
)
from carseq.calling.background import Evidence, ambient_rate
from carseq.calling.calls import choose
from carseq.calling.clones import clone_support
from carseq.cells.annotation import is_single_t
from carseq.errors import CarseqError
from carseq.localize import contrasts, localize
from carseq.schema.codes import REASONS, VERDICTS
from carseq.schema.tables import RULES

CAR = "CAR"


def cells(
    sample, total, seen, *, truth=None, lineage="T", **columns
) -> tuple[pd.DataFrame, dict[str, object]]:
    """Return cells of one sample from their depths and CAR molecules, and its row of the samples table."""
    total = np.asarray(total, dtype=int)
    obs = pd.DataFrame(
        {
            "sample": sample,
            "barcode": [f"b{i}" for i in range(len(total))],
            "total_umis": total,
            "lineage": lineage,
            "cell_type": "CD4 T cell",
            "t_state": "",
            "is_doublet": False,
            "seen": np.asarray(seen, dtype=int),
            "truth": np.zeros(len(total), bool) if truth is None else truth,
        }
    )
    row = {
        "sample": sample, "patient": "P", "compartment": "blood", "timepoint": sample, "role": "case",
        "ambient_umis": 0.0, "ambient_car": 0.0,
    }  # fmt: skip
    return obs.assign(**columns), row


def cohort(*parts):
    """Return cells of several samples as one cohort, and the samples table."""
    obs = pd.concat([p[0] for p in parts], ignore_index=True)
    obs.index = obs["sample"] + ":" + obs["barcode"]
    counts = np.column_stack([obs["seen"], obs["total_umis"] - obs["seen"]]).astype(np.float32)
    adata = anndata.AnnData(sparse.csr_matrix(counts), obs=obs)
    adata.var_names = [CAR, "OTHER"]
    return adata, pd.DataFrame([p[1] for p in parts])


def mix(seed, name="s", *, n_car, n_t, d_car, d_t, n_other=400, mu=5e-4, **columns):
    """Return CAR T cells and other T cells of given median depths, with ambient RNA, and other cells."""
    rng = np.random.default_rng(seed)
    kind = np.repeat([1, 0, 2], [n_car, n_t, n_other])
    depth = np.choose(kind, [d_t, d_car, 2500])
    total = np.maximum(depth * rng.lognormal(0, 0.6, len(kind)), 200).astype(int)
    own = rng.poisson(mu * rng.gamma(1.5, 1 / 1.5, len(kind)) * total * (kind == 1))
    ambient = rng.poisson(
        0.03 * rng.gamma(4, 0.25, len(kind)) * total * 0.6 * own.sum() / total.sum()
    )
    return cells(
        name, total, own + ambient, truth=kind == 1, lineage=np.where(kind == 2, "myeloid", "T"), **columns
    )  # fmt: skip


@pytest.mark.parametrize(
    ("n_car", "n_t", "depths"), [(60, 540, (3900, 1000)), (180, 420, (3900, 1000)), (60, 540, (2000, 2000))]
)  # fmt: skip
def test_deep_car_t_cells_do_not_fill_the_shallow_ones_up(n_car, n_t, depths):
    """10 % was given as 24-30 %, 30 % as 61-70 %: now within 20 % in the mean of 5, 4 of 5 intervals hold; cells
    without a CAR molecule are right within 0.05."""
    ratio, held, stated, true = [], 0, [], []
    for seed in range(5):
        adata, samples = cohort(mix(seed, n_car=n_car, n_t=n_t, d_car=depths[0], d_t=depths[1]))
        row = call_cells(adata, None, samples, car=CAR).iloc[0]
        t_cells = adata.obs[adata.obs["lineage"] == "T"]
        truth = t_cells["truth"].mean()
        ratio.append(row["prevalence"] / truth)
        held += row["prevalence_low"] <= truth <= row["prevalence_high"]
        silent = t_cells[t_cells["seen"] == 0]
        stated.append(silent["car_posterior"].mean())
        true.append(silent["truth"].mean())
    assert abs(np.mean(ratio) - 1) <= 0.2
    assert held >= 4
    assert abs(np.mean(stated) - np.mean(true)) <= 0.05


@pytest.mark.parametrize(("d_car", "n_t"), [(2000, 14_000), (4000, 14_000)])
def test_many_cells_do_not_settle_on_the_first_expression_that_was_tried(d_car, n_t):
    """Of 20,000 T cells 30 % were given as 35.7 % (34.4-36.9 %), 4 times as deep as 26.1 % (25.7-26.6 %): between the
    pairs of mu and shape that are tried first lay better ones, which were never looked at."""
    d_t = 2000 if d_car == 2000 else 1000
    adata, samples = cohort(mix(2, n_car=6000, n_t=n_t, d_car=d_car, d_t=d_t))
    found = call_cells(adata, None, samples, car=CAR).iloc[0]
    assert found["prevalence_low"] <= 0.3 <= found["prevalence_high"]
    assert found["prevalence"] == pytest.approx(0.3, rel=0.05)


def test_how_far_the_terms_may_lie_from_0_is_learnt_from_the_cohort():
    """Where depths are alike the terms were as free as elsewhere (sd 1.1), and excused what deep and shallow cells
    show; now they are held (below 0.6) there, and free where CAR T cells are shallow. 30 % within 25 % in both."""
    for d_car, held in ((2500, True), (1200, False)):
        adata, samples = cohort(
            *(mix(10 + i, str(i), n_car=150, n_t=350, d_car=d_car, d_t=2500, n_other=100) for i in range(3))
        )  # fmt: skip
        found = call_cells(adata, None, samples, car=CAR)
        assert found["prevalence"].mean() == pytest.approx(0.3, rel=0.25)
        assert (adata.uns["car_model"]["prior_sd"][:, 0] < 0.6).all() == held


def silent(n, depth, contamination, empties, n_one=0):
    """Return the detection row of a sample of silent T cells; ``n_one`` of them show one CAR molecule."""
    total = np.maximum(depth * np.exp(0.5 * stats.norm.ppf((np.arange(n) + 0.5) / n)), 200)
    seen = np.zeros(n)
    seen[np.linspace(0, n - 1, n_one).astype(int)] = 1
    obs, row = cells("s", total, seen, contamination=max(contamination, 1e-6))
    adata, samples = cohort((obs, row | {"ambient_umis": float(empties)}))
    return call_cells(adata, None, samples, car=CAR).iloc[0]


@pytest.mark.parametrize("n_one", [0, 3])
@pytest.mark.parametrize("empties", [0, 1e6])
def test_the_limit_never_rises_with_more_cells_depth_or_less_ambient_rna(empties, n_one):
    """By no more than 5 %, from 30 to 3,000 T cells, 500 to 5,000 UMIs, 0 to 30 % ambient RNA."""
    grid = ((30, 300, 3000), (500, 2500), (0.3, 0.0))
    found = {key: silent(*key, empties, n_one) for key in itertools.product(*grid)}
    for key, row in found.items():
        if row["n_car_positive"]:
            continue
        for axis, values in enumerate(grid):
            at = values.index(key[axis])
            if at:
                before = found[(*key[:axis], values[at - 1], *key[axis + 1 :])]
                if not before["n_car_positive"]:
                    assert row["detection_limit"] <= 1.05 * before["detection_limit"], (key, axis)


def test_three_thousand_silent_t_cells_say_something():
    """They were undetermined without empty droplets; the bound is one, and the interval's upper end."""
    for empties in (0, 1e5, 1e6):
        row = silent(3000, 1000, 0.05, empties)
        assert row["verdict"] == "not_detected"
        assert 0 <= row["prevalence"] < row["detection_limit"] < 0.05
        assert row["prevalence_high"] == row["detection_limit"]
    deep = silent(3000, 3500, 0.05, 1e6)
    assert deep["detection_limit"] < 0.006
    assert "excluded with 95 % confidence" in deep["verdict_text"]


def test_samples_at_their_limit_are_detected():
    """300 T cells, 1,600 UMIs, no ambient CAR, expression as the prior expects: 38 of 40 or more show a call."""
    limit = silent(300, 1600, 0.05, 1e6)["detection_limit"]
    rng, found = np.random.default_rng(0), 0
    for _ in range(40):
        total = 1600 * rng.lognormal(0, 0.5, 300)
        is_car = np.arange(300) < round(300 * limit)
        seen = rng.poisson(5e-4 * rng.gamma(1.5, 1 / 1.5, 300) * total * is_car)
        obs, row = cells("s", total, seen, contamination=0.05)
        adata, samples = cohort((obs, row | {"ambient_umis": 1e6}))
        found += call_cells(adata, None, samples, car=CAR)["n_car_positive"].iloc[0] > 0
    assert found >= 38


def test_a_product_without_empty_droplets_is_detected():
    """385 T cells, three with one CAR molecule and four with two, came out as not detected above 1.8 %."""
    total = 2500 * np.random.default_rng(2).lognormal(0, 0.6, 385)
    seen = np.zeros(385)
    seen[:7] = [1, 1, 1, 2, 2, 2, 2]
    adata, samples = cohort(cells("s", total, seen))
    row = call_cells(adata, None, samples, car=CAR).iloc[0]
    assert row["verdict"] == "detected"
    assert row["n_car_positive"] >= 4
    assert row["prevalence_low"] <= 0.041 <= row["prevalence_high"]
    assert row["ambient_assumed"]
    assert "assumed" in row["verdict_text"]


def test_silent_cells_that_cannot_be_car_t_cells_lower_what_is_expected():
    """11,476 barcodes without one CAR molecule beside CAR T cells: fewer ambient molecules are expected, not more."""
    few = mix(0, n_car=100, n_t=300, d_car=3000, d_t=3000, n_other=0)[0]
    expected = []
    for n_other in (0, 10_000):
        other = cells("s", np.full(n_other, 2000), np.zeros(n_other), lineage="B")[0]
        obs = pd.concat([few, other], ignore_index=True)
        obs["barcode"] = [f"b{i}" for i in range(len(obs))]
        adata, samples = cohort((obs, cells("s", [], [])[1]))
        call_cells(adata, None, samples, car=CAR)
        t_cells = adata.obs[adata.obs["lineage"] == "T"]
        expected.append(t_cells["car_expected_ambient"].sum())
    assert expected[1] < 0.2 * expected[0]


def test_a_missing_contamination_is_the_same_as_one_that_was_not_measured():
    """No column, NaN, and the cells room's lower bound for all cells of a matrix without empty droplets."""
    rows = []
    for given in ({}, {"contamination": np.nan}, {"contamination": 0.005}):
        adata, samples = cohort(mix(1, n_car=40, n_t=200, d_car=2000, d_t=2000, **given))
        rows.append(call_cells(adata, None, samples, car=CAR))
        assert np.isfinite(adata.obs["car_expected_ambient"]).all()
    pd.testing.assert_frame_equal(rows[0], rows[1])
    pd.testing.assert_frame_equal(rows[0], rows[2])


def test_damaged_cells_that_lost_their_rna_are_no_evidence_of_absence():
    """Half of the T cells damaged, CAR T cells as often as others: the interval holds the truth in 5 of 6."""
    held = 0
    for seed in range(6):
        obs, row = mix(seed, n_car=150, n_t=350, d_car=2500, d_t=2500)
        rng = np.random.default_rng(seed)
        hurt = (obs["lineage"] == "T") & (rng.random(len(obs)) < 0.5)
        obs["seen"] = np.where(hurt, rng.binomial(obs["seen"], 0.25), obs["seen"])
        obs["is_damaged"], obs["intact_fraction"] = hurt, np.where(hurt, 0.25, 1.0)
        adata, samples = cohort((obs, row))
        found = call_cells(adata, None, samples, car=CAR).iloc[0]
        held += found["prevalence_low"] <= 0.3 <= found["prevalence_high"]
    assert held >= 5


@pytest.fixture(scope="module")
def three():
    """Return a called cohort: a mixed sample, a small one and a silent one, of one patient and compartment."""
    rng = np.random.default_rng(5)
    parts = [
        mix(1, "a", n_car=60, n_t=240, d_car=3000, d_t=1500),
        mix(2, "b", n_car=12, n_t=18, d_car=3000, d_t=1500, n_other=30),
        cells("c", 2000 * rng.lognormal(0, 0.5, 150), np.zeros(150)),
    ]
    for obs, _ in parts:
        obs["cell_type"] = rng.choice(["CD4 T cell", "CD8 T cell", "regulatory T cell"], len(obs))
        obs["t_state"] = rng.choice(["memory", "effector", ""], len(obs))
    adata, samples = cohort(*parts)
    samples["gating"] = ""
    detection = call_cells(adata, None, samples, car=CAR)
    return adata, samples, detection


def test_every_estimate_lies_in_its_interval_and_pools_as_a_mean(three):
    adata, samples, detection = three
    for table, columns in (
        (detection, ("prevalence_low", "prevalence", "prevalence_high")),
        (localize(adata, samples), ("low", "estimate", "high")),
    ):
        low, middle, high = (table[c] for c in columns)
        known = middle.notna()
        assert known.sum() >= 3
        assert ((low <= middle) & (middle <= high))[known].all()
    whole = localize(adata, samples)
    whole = whole[(whole["level"] == "lineage") & (whole["group"] == "T")].set_index("sample")
    parts = whole.loc[["a", "b", "c"]]
    mean = np.average(parts["estimate"], weights=parts["n_cells"])
    assert whole.loc["", "estimate"] == pytest.approx(mean, rel=1e-9)
    assert whole.loc["", "low"] <= mean <= whole.loc["", "high"]


def test_the_fraction_is_the_mean_of_the_cells_probabilities(three):
    adata, _, detection = three
    for row in detection.itertuples():
        own = adata.obs[(adata.obs["sample"] == row.sample) & is_single_t(adata.obs)]
        assert row.prevalence == pytest.approx(own["car_posterior"].mean(), abs=1e-6)
        assert fraction_of(adata, own.index)[0] == pytest.approx(row.prevalence)


def test_the_model_survives_a_file(three, tmp_path):
    adata, _, detection = three
    adata.write_h5ad(tmp_path / "cells.h5ad")
    again = anndata.read_h5ad(tmp_path / "cells.h5ad")
    fitted = Fit.from_uns(again.uns["car_model"])
    own = again.obs[(again.obs["sample"] == "a") & (again.obs["lineage"] == "T")]
    assert fitted.fraction(own)[0] == pytest.approx(detection["prevalence"].iloc[0])
    assert len(thresholds(again)) == 30
    assert len(downsampling(again, shares=(0.5, 1.0))) == 6
    assert set(detection["verdict"]) <= set(VERDICTS)
    assert set(adata.obs["car_reason"]) <= set(REASONS)


def test_samples_sorted_in_other_ways_are_neither_compared_nor_pooled(three):
    """A CAR+ sort beside an unsorted library gave q 3e-41 `over time`; its fraction is a purity."""
    adata, samples, _ = three
    adata = adata.copy()
    sorted_ = samples.assign(gating=["car_enriched", "unsorted", "CD19- sort"])
    detection = call_cells(adata, None, sorted_, car=CAR)
    assert detection["gating"].tolist() == ["car_enriched", "unsorted", "other"]
    assert detection["prevalence_is"].tolist() == ["purity", "fraction", "fraction"]
    table = contrasts(adata, sorted_)
    assert (
        not table["contrast"].isin(["over time", "urine against blood", "against baseline"]).any()
    )
    assert (localize(adata, sorted_)["n_samples"] == 1).all()
    same = samples.assign(gating=["t_enriched", "T-enriched", "car_depleted"])
    pooled = localize(adata, same)
    assert set(pooled.loc[pooled["sample"] == "", "timepoint"]) == {"a,b"}
    assert [gate_of(x) for x in (None, "", float("nan"), "CAR enriched", "x")] == [
        "unsorted", "unsorted", "unsorted", "car_enriched", "other",
    ]  # fmt: skip
    words = (pd.NA, "not sorted", "CD45-negative", "CAR+", "CAR-", "CD3+", "CD3+CAT+")
    codes = [
        "unsorted",
        "unsorted",
        "cd45_depleted",
        "car_enriched",
        "car_depleted",
        "t_enriched",
        "other",
    ]
    assert [gate_of(x) for x in words] == codes


def test_the_fields_rules_stand_beside_the_calls(three):
    adata, _, detection = three
    table = RULES.conform(rules(adata.obs, is_single_t(adata.obs).to_numpy())).set_index(
        ["sample", "rule"]
    )
    for row in detection.itertuples():
        assert table.loc[(row.sample, "carseq"), "n_called"] == row.n_car_positive
        assert table.loc[(row.sample, "1 or more UMIs"), "n_called"] == row.n_t_at_least_1_umi
    counts = [table.loc[("a", f"{n} or more UMIs"), "n_called"] for n in (1, 2, 3)]
    assert counts == sorted(counts, reverse=True)
    mixture = table.loc[("a", "zero-truncated mixture")]
    assert 0 < mixture["n_called"] <= counts[0]
    assert mixture["n_both"] + mixture["n_only_rule"] == mixture["n_called"]
    assert table.loc[("c", "Poisson-Gaussian mixture"), "n_called"] == -1
    assert "not fitted" in table.loc[("c", "Poisson-Gaussian mixture"), "note"]


def shared_molecules(barcodes, evidence, p_car):
    return pd.DataFrame(
        {
            "sample": "s", "barcode": barcodes, "umi": range(len(barcodes)), "n_reads": 1, "evidence": evidence,
            "p_car": p_car,
        }
    )  # fmt: skip


def test_shared_molecules_alone_call_nothing():
    """Five molecules of p_car 0.9 each, all in shared stretches, in every T cell: not one positive call."""
    n = 60
    obs, row = cells("s", np.full(n, 3000), np.zeros(n))
    adata, samples = cohort((obs, row))
    barcodes = np.repeat(obs["barcode"].to_numpy(), 5)
    table = shared_molecules(barcodes, "shared", 0.9)
    detection = call_cells(adata, {"s": table}, samples, car=CAR)
    assert detection["n_car_positive"].iloc[0] == 0
    assert set(adata.obs["car_reason"]) == {"shared_only"}
    assert set(adata.obs["car_call"]) == {"uncertain"}
    assert (adata.obs["car_umis"] == 5).all()
    counts = count_car(
        shared_molecules(["x", "x", "x", "y"], ["unique", "shared", "shared", "shared"], [1, 0.4, 0.2, 0.9]),
        pd.Index(["x", "y"]),
    )  # fmt: skip
    assert counts["car_evidence"].tolist() == [2, 0]


def test_clones_support_their_cells_and_by_standers_get_no_call():
    """Clones that are all, half and not CAR T cells, and an expanded by-stander: support goes the right way, no call
    in the by-stander clone, and CAR T cells of clones are found more surely."""
    obs, row = mix(3, n_car=150, n_t=450, d_car=1500, d_t=1500)
    number = np.arange(len(obs))
    t, car = (obs["lineage"] == "T").to_numpy(), obs["truth"].to_numpy()
    name = np.full(len(obs), "", dtype=object)
    name[car & (number < 80)] = [f"all{i // 8}" for i in number[car & (number < 80)]]
    other = t & ~car
    name[other & (number < 230)] = [f"none{i // 8}" for i in number[other & (number < 230)]]
    name[other & (number >= 500)] = "by-stander"
    plain, samples = cohort((obs, row))
    call_cells(plain, None, samples, car=CAR)
    adata, samples = cohort((obs.assign(clonotype=name, patient="P"), row))
    call_cells(adata, None, samples, car=CAR)
    support = adata.obs["car_clone_support"]
    kind = pd.Series(name, index=adata.obs_names).str.rstrip("0123456789")
    assert support[kind == "all"].mean() > 0.5
    assert support[kind == "by-stander"].mean() < -0.5
    assert support[kind == ""].isna().all()
    assert not (adata.obs["car_call"] == "positive")[kind == "by-stander"].any()
    before, after = (
        a.obs.loc[(kind == "all").to_numpy(), "car_posterior"].mean() for a in (plain, adata)
    )
    assert after > before + 0.1
    terms = explain_posterior(adata, adata.obs_names[kind == "all"][0])["term"].tolist()
    assert "clone support" in terms


def test_a_huge_clone_of_car_t_cells_is_not_taken_for_its_neighbours():
    """A third of the T cells are one clone, all CAR T cells, and 5 % of the others: 14 % of these were stated."""
    obs, row = mix(5, n_car=110, n_t=190, d_car=2000, d_t=2000)
    number = np.arange(len(obs))
    name = np.where(obs["lineage"] == "T", np.char.add("c", number.astype(str)), "").astype(object)
    big = np.flatnonzero(obs["truth"])[:100]
    name[big] = "big"
    adata, samples = cohort((obs.assign(clonotype=name, patient="P"), row))
    (found,) = call_cells(adata, None, samples, car=CAR).itertuples()
    t_cells = adata.obs[adata.obs["lineage"] == "T"]
    assert found.prevalence_low <= t_cells["truth"].mean() <= found.prevalence_high
    others = t_cells[t_cells["clonotype"] != "big"]
    assert others["car_posterior"].mean() < 2 * others["truth"].mean()
    assert fraction_of(adata, t_cells.index)[0] == pytest.approx(found.prevalence)


def test_middling_clones_of_car_t_cells_are_not_taken_for_their_neighbours():
    """Four clones, 8 % of the T cells each, are CAR T cells, and 10 % of the others: 29 % of these were stated."""
    obs, row = mix(5, n_car=116, n_t=184, d_car=2000, d_t=2000)
    number = np.arange(len(obs))
    name = np.where(obs["lineage"] == "T", np.char.add("c", number.astype(str)), "").astype(object)
    name[np.flatnonzero(obs["truth"])[:96]] = np.repeat([f"middling {i}" for i in range(4)], 24)
    adata, samples = cohort((obs.assign(clonotype=name, patient="P"), row))
    (found,) = call_cells(adata, None, samples, car=CAR).itertuples()
    t_cells = adata.obs[adata.obs["lineage"] == "T"]
    assert found.prevalence_low <= t_cells["truth"].mean() <= found.prevalence_high
    others = t_cells[~t_cells["clonotype"].str.startswith("middling")]
    assert others["car_posterior"].mean() < 1.5 * others["truth"].mean()


def test_firm_calls_do_not_excuse_a_doubtful_one_in_a_clone_of_by_standers():
    """One molecule of ambient RNA in a clone of 80 by-standers, p 0.88, was called since 137 others were sure."""
    posterior = np.append(np.full(137, 0.999), [0.88, 0.96, 0.88])
    chosen, _ = choose(
        posterior, np.zeros(140), 0.05, np.append(np.zeros(137), [-3.7, -3.7, np.nan])
    )
    assert set(range(140)) - set(chosen) == {137}


def test_a_clone_of_one_cell_or_of_unknown_cells_says_nothing():
    clone = np.array(["a", "", "b", "b"], dtype=object)
    support, _ = clone_support(clone, np.full(4, 0.2), np.array([5.0, 5.0, 5.0, -0.2]))
    assert support[0] == 0
    assert np.isnan(support[1])
    assert support[3] > 0 > support[2] - 1


def test_a_control_with_car_t_cells_is_told():
    obs, row = mix(4, n_car=60, n_t=140, d_car=3000, d_t=3000)
    adata, samples = cohort((obs, row | {"role": "negative_control"}))
    found = call_cells(adata, None, samples, car=CAR).iloc[0]
    assert found["verdict"] == "detected"
    assert "negative control" in found["verdict_text"]
    assert found["prevalence_low"] <= 0.3 <= found["prevalence_high"]


def test_a_product_of_car_t_cells_alone_holds_100_percent():
    """It was given as 88 % (78-96 %), since no continuous prior holds its own end: now in 5 of 6 or more."""
    found = []
    for seed, depth in itertools.product(range(3), (2000, 4000)):
        adata, samples = cohort(mix(seed, n_car=400, n_t=0, d_car=depth, d_t=depth, n_other=20))
        found.append(call_cells(adata, None, samples, car=CAR).iloc[0])
    assert sum(row["prevalence_high"] == 1 for row in found) >= 5
    assert np.mean([row["prevalence"] for row in found]) >= 0.9


def test_a_product_of_nearly_all_car_t_cells_is_not_said_to_be_pure():
    """70 %: the interval ends below 100 % and holds the truth in 2 of 3."""
    held = 0
    for seed in range(3):
        adata, samples = cohort(mix(seed, n_car=700, n_t=300, d_car=3500, d_t=3500, n_other=20))
        found = call_cells(adata, None, samples, car=CAR).iloc[0]
        assert found["prevalence_high"] < 1
        held += found["prevalence_low"] <= 0.7 <= found["prevalence_high"]
    assert held >= 2


def test_shallow_car_t_cells_and_damaged_ones_do_not_fill_up_either():
    """Depths end sharply upwards, half of the cells are damaged: 30 % was given as 43-53 %. Now within 30 %."""
    rng, found = np.random.default_rng(18), []
    for name in ("a", "b"):
        n = 900
        is_car = np.arange(n) < 0.3 * n
        total = np.where(is_car, 1500, 2300) * np.exp(0.35 * np.minimum(rng.standard_normal(n), 1))
        hurt = rng.random(n) < 0.45
        total = np.maximum(total * np.where(hurt, rng.uniform(0.2, 0.6, n), 1), 200).astype(int)
        intact = np.where(hurt, rng.uniform(0.15, 0.4, n), 1.0)
        seen = rng.poisson(1.5e-3 * rng.gamma(1.7, 1 / 1.7, n) * total * intact * is_car)
        found.append(
            cells(name, total, seen, truth=is_car, is_damaged=hurt, intact_fraction=intact)
        )
    adata, samples = cohort(*found)
    detection = call_cells(adata, None, samples, car=CAR)
    assert np.all(np.abs(detection["prevalence"] / 0.3 - 1) <= 0.3)
    assert np.all((detection["prevalence_low"] <= 0.3) & (detection["prevalence_high"] >= 0.3))


def test_all_cells_car_positive_and_all_damaged():
    obs, row = mix(6, n_car=80, n_t=0, d_car=4000, d_t=4000, n_other=0)
    adata, samples = cohort((obs, row))
    found = call_cells(adata, None, samples, car=CAR).iloc[0]
    assert found["verdict"] == "detected"
    assert found["prevalence_high"] > 0.95
    obs = obs.assign(seen=0, is_damaged=True, intact_fraction=0.02)
    adata, samples = cohort((obs, row))
    assert call_cells(adata, None, samples, car=CAR)["verdict"].iloc[0] == "undetermined"


@pytest.mark.parametrize(
    ("share", "empties", "seed"),
    [*itertools.product((2e-4, 2e-3), (0.0, 1e6), (0,)), (2e-3, 1e6, 6), (2e-3, 1e6, 11)],
)
def test_a_lysed_product_gives_no_car_t_cells(share, empties, seed):
    """A quarter of all molecules is ambient RNA, up to 1.3 CAR molecules a cell, in T cells as in others: of 400 T
    cells without a CAR 27 were called, since no other cell counted for more than two molecules. Now none, or one.

    Where T cells could say that there is less ambient RNA than measured, 74 and 40 were called of the last two.
    """
    rng = np.random.default_rng(seed)
    n = 700
    total = np.maximum(2500 * rng.lognormal(0, 0.5, n), 200)
    seen = rng.poisson(0.25 * total * share * rng.gamma(4, 0.25, n))
    more = {"contamination": 0.25 * rng.lognormal(0, 0.2, n)} if empties else {}
    obs, row = cells("s", total, seen, lineage=np.where(np.arange(n) < 400, "T", "myeloid"), **more)
    ambient = {"ambient_umis": empties, "ambient_car": float(rng.poisson(empties * share))}
    adata, samples = cohort((obs, row | ambient))
    found = call_cells(adata, None, samples, car=CAR).iloc[0]
    assert found["n_car_positive"] <= 1
    assert found["prevalence_low"] < 0.02
    expected = adata.obs["car_expected_ambient"].sum() / (0.25 * share * total.sum())
    assert 0.7 <= expected <= 1.4


def test_a_car_in_engulfing_cells_alone_is_no_car_t_cell():
    """A fifth of the myeloid cells with four CAR molecules each, three T cells with one: no call, and it is told."""
    rng = np.random.default_rng(3)
    n = 600
    is_t = np.arange(n) < 300
    seen = np.where(~is_t & (rng.random(n) < 0.2), rng.poisson(4, n), 0)
    seen[:3] = 1
    obs, row = cells(
        "s", 2500 * rng.lognormal(0, 0.5, n), seen, lineage=np.where(is_t, "T", "myeloid")
    )
    for empties in (0.0, 1e6):
        adata, samples = cohort((obs, row | {"ambient_umis": empties}))
        found = call_cells(adata, None, samples, car=CAR).iloc[0]
        assert found["n_car_positive"] == 0
        other = adata.obs[(adata.obs["lineage"] == "myeloid") & (adata.obs["seen"] > 3)]
        assert (other["car_reason"] == "unexplained").mean() > 0.5


def test_ambient_rna_of_thousands_of_cells_is_no_sign_of_engulfed_t_cells():
    """A hundredth of a molecule is expected in each of 3,000 myeloid cells: in 30 of them ambient RNA shows one, and
    each was said to hold more than it explains, an unseen doublet or an engulfed T cell."""
    rng = np.random.default_rng(5)
    n, share = 3200, 4e-5
    is_t = np.arange(n) < 200
    total = 5000 * rng.lognormal(0, 0.2, n)
    seen = rng.poisson(0.05 * total * share)
    seen[:30] = rng.poisson(3, 30)
    seen[-1] = 4
    obs, row = cells("s", total, seen, lineage=np.where(is_t, "T", "myeloid"), contamination=0.05)
    ambient = {"ambient_umis": 1e6, "ambient_car": 1e6 * share}
    adata, samples = cohort((obs, row | ambient))
    call_cells(adata, None, samples, car=CAR)
    other = adata.obs[(adata.obs["lineage"] == "myeloid") & (adata.obs["seen"] > 0)]
    assert 20 <= len(other) <= 50
    assert list(other.index[other["car_reason"] == "unexplained"]) == [other.index[-1]]
    assert "among so many cells" in other["car_reason_text"].iloc[0]


@pytest.mark.parametrize("empties", [0.0, 1e6])
@pytest.mark.parametrize(("engulfed", "molecules"), [(0.2, 1), (0.5, 2), (0.5, 8)])
def test_silent_t_cells_say_that_other_cells_hold_no_ambient_rna(engulfed, molecules, empties):
    """Up to half of the myeloid cells engulfed the CAR and none of 1,000 T cells shows it: 171-3,000 false molecules
    were expected in these, and the limit was up to 89 %. Now no more than silence allows, and a limit near the one
    without engulfing. The other way round, T cells that show the CAR say nothing against ambient RNA."""
    found, expected = [], []
    for share in (0.0, engulfed):
        rng = np.random.default_rng(4)
        is_t = np.arange(1300) < 1000
        total = 2500 * rng.lognormal(0, 0.5, len(is_t))
        seen = np.where(
            ~is_t & (rng.random(len(is_t)) < share), rng.poisson(molecules, len(is_t)), 0
        )
        obs, row = cells("s", total, seen, lineage=np.where(is_t, "T", "myeloid"))
        adata, samples = cohort((obs, row | {"ambient_umis": empties}))
        found.append(call_cells(adata, None, samples, car=CAR).iloc[0])
        expected.append(adata.obs["car_expected_ambient"].to_numpy()[is_t].sum())
    assert expected[1] <= 3
    assert found[1]["detection_limit"] <= 2 * found[0]["detection_limit"] <= 0.04
    e = {"car": 60, "molecules": 3e6, "empty_car": 0, "empty_molecules": 0, "assumed": True}
    e |= {"other_car": 20, "other_ambient": 4e4, "other_molecules": 8e5}
    t_cells = {"t_cells": 1000, "t_ambient": 1e5, "t_molecules": 2.5e6}
    rates = [
        ambient_rate(Evidence(**e, **t_cells, t_silent=n))[0] for n in (1000, 990, 900, 500, 0)
    ]
    # Two that are the same differ in their last digit on some processors.
    assert (np.diff(rates) >= -1e-12 * np.array(rates[1:])).all()
    assert rates[-1] == pytest.approx(ambient_rate(Evidence(**e))[0], rel=0.02)


@pytest.mark.parametrize(("mu", "depth"), [(3e-2, 3000), (3e-2, 300), (1e-1, 3000)])
def test_a_panel_of_few_genes_shows_the_car_many_times_as_often(mu, depth):
    """3-10 of 100 molecules of a CAR T cell are the CAR's: 20 % was given as 26-32 %, intervals above it."""
    adata, samples = cohort(mix(7, n_car=60, n_t=240, d_car=depth, d_t=depth, mu=mu))
    found = call_cells(adata, None, samples, car=CAR).iloc[0]
    assert found["prevalence_low"] <= 0.2 <= found["prevalence_high"]
    assert found["prevalence"] == pytest.approx(0.2, rel=0.1)


def test_cells_that_the_model_does_not_ask_have_no_probability(tmp_path):
    """It was 0, which is an answer, for doublets that may hide a CAR T cell too."""
    obs, row = cells("s", [2000] * 60, [3] * 20 + [0] * 40, lineage=["T"] * 40 + ["myeloid"] * 20)
    obs.loc[:4, "is_doublet"] = True
    adata, samples = cohort((obs, row))
    call_cells(adata, None, samples, car=CAR)
    asked = is_single_t(adata.obs)
    assert asked.sum() == 35
    assert adata.obs["car_posterior"].notna().equals(asked)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    assert (
        anndata.read_h5ad(tmp_path / "cells.h5ad").obs["car_posterior"].notna().to_numpy()
        == asked.to_numpy()
    ).all()


def test_counts_written_as_other_numbers_are_counts_and_others_are_refused():
    """2.9999 was cut to 2; logarithms were cut to whole numbers and called."""
    adata, samples = cohort(mix(7, n_car=60, n_t=240, d_car=3000, d_t=3000))
    whole = call_cells(adata, None, samples, car=CAR)
    plain = adata.X.astype(np.float64)
    adata.X = plain - 1e-4 * (plain > 0)
    pd.testing.assert_frame_equal(whole, call_cells(adata, None, samples, car=CAR))
    for wrong in (plain.log1p(), -plain, plain * np.nan):
        adata.X = sparse.csr_matrix(wrong)
        with pytest.raises(CarseqError, match="not a number of molecules"):
            call_cells(adata, None, samples, car=CAR)


def test_wrong_numbers_are_named():
    obs, row = mix(7, n_car=5, n_t=20, d_car=2000, d_t=2000)
    adata, samples = cohort((obs, row))
    for fdr in (0, 1, 2):
        with pytest.raises(CarseqError, match="not a rate"):
            call_cells(adata, None, samples, car=CAR, fdr=fdr)
    with pytest.raises(CarseqError, match="several rows"):
        call_cells(adata, None, pd.concat([samples, samples]), car=CAR)
    adata.obs["total_umis"] = adata.obs["total_umis"].astype(float)
    adata.obs.iloc[0, adata.obs.columns.get_loc("total_umis")] = np.nan
    with pytest.raises(CarseqError, match="not a number"):
        call_cells(adata, None, samples, car=CAR)


def test_function_and_study_give_the_same():
    """The workflow's function, with empty droplets counted from barcodes, and call_cells told the same counts."""
    obs, row = mix(8, n_car=40, n_t=160, d_car=3000, d_t=2000, contamination=0.04)
    adata, samples = cohort((obs, row))
    empty = pd.DataFrame({"total_umis": 10, "is_cell": False}, index=[f"e{i}" for i in range(5000)])
    called = pd.DataFrame(
        {"total_umis": obs["total_umis"].to_numpy(), "is_cell": True}, index=obs["barcode"]
    )
    profile = pd.DataFrame({"gene": [CAR, "OTHER"], "umis": [2, 49_998], "largest": 20})
    study = call_study(
        adata.copy(), samples, car=CAR, barcodes={"s": pd.concat([called, empty])}, ambient={"s": profile}
    )  # fmt: skip
    given = samples.assign(ambient_umis=50_000.0, ambient_car=2.0)
    pd.testing.assert_frame_equal(study.detection, call_cells(adata, None, given, car=CAR))
    assert set(study.rules["sample"]) == {"s"}


def test_the_worked_examples_of_the_documentation_are_what_carseq_gives():
    page = " ".join((Path(__file__).parents[2] / "docs" / "calls.md").read_text().split())
    adata, samples = cohort(mix(3, n_car=30, n_t=170, d_car=3000, d_t=1500, n_other=200))
    call_cells(adata, None, samples, car=CAR)
    t_cells = adata.obs[adata.obs["lineage"] == "T"].set_index("total_umis", drop=False)
    cell = adata.obs.index[(adata.obs["total_umis"] == 2009) & (adata.obs["lineage"] == "T")][0]
    term = explain_posterior(adata, cell).set_index("term")["value"]
    for words in (
        f"| expected own | {term['expected own']:.2f} |",
        f"| {term['expected ambient']:.2g}, {term['expected background']:.2g} |",
        f"| {term['log likelihood, own and ambient']:.2f} |",
        f"| {term['log likelihood, ambient alone']:.2f} |",
        f"| prior | {term['prior']:.2f} |",
        f"**{term['posterior']:.4f}**",
        f"prior of {t_cells.loc[274, 'car_prior']:.2f} and a posterior of {t_cells.loc[274, 'car_posterior']:.2f}",
        f"One with 7,584 molecules has a prior of {t_cells.loc[7584, 'car_prior']:.2f}",
        f"so the posterior is {t_cells.loc[7584, 'car_posterior']:.2f}",
        silent(400, 1500, 0.05, 4e5)["verdict_text"],
    ):
        assert words in page


def test_more_evidence_of_ambient_rna_moves_both_ways():
    base = {"car": 50, "molecules": 1e6, "empty_car": 0, "empty_molecules": 0, "assumed": True}
    rates = [
        ambient_rate(
            Evidence(**base, other_car=k, other_ambient=2e4, other_molecules=4e5)
        )[0]
        for k in (0, 1, 10)
    ]  # fmt: skip
    nothing = ambient_rate(Evidence(**base, other_car=0, other_ambient=0, other_molecules=0))[0]
    assert rates[0] < nothing < rates[2]
    assert rates == sorted(rates)
