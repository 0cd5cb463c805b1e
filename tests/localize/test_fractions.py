"""Fractions by lineage, type and state, and what they do with little."""

from __future__ import annotations

import numpy as np
import pytest

from carseq.calling import call_cells
from carseq.errors import CarseqError
from carseq.localize import (
    contrasts,
    everything,
    localize,
)
from carseq.localize.fractions import most_in_group
from carseq.schema.tables import BY_NAME
from compared_cells import CAR, Setting, study


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


def test_a_group_of_a_silent_sample_is_excluded_no_further_than_its_verdict_says() -> None:
    """The T cells' row has the verdict's own bound; a type of few cells leaves more open, one cell leaves all."""
    adata, samples = study(Setting("", 1, 1, (60, 80)), np.random.default_rng([9, 8]))
    samples = samples.iloc[:3].assign(patient="P", compartment="urine", role="case")
    adata = adata[adata.obs["sample"].isin(samples["sample"])].copy()
    adata.X = adata.X.multiply(np.array([[0, 1]])).tocsr()
    adata.obs["t_state"] = np.where(adata.obs["lineage"] == "T", "other", "")
    t_cells = adata.obs.index[(adata.obs["lineage"] == "T") & ~adata.obs["is_doublet"].astype(bool)]
    adata.obs.loc[t_cells[0], "t_state"] = "naive"
    detection = call_cells(adata, None, samples.assign(ambient_car=0.0), car=CAR)
    assert not detection["n_car_positive"].any()
    table = localize(adata, detection)
    single = table[table["sample"] != ""].merge(detection, on="sample")
    of_t = single[(single["level"] == "lineage") & (single["group"] == "T")]
    assert len(of_t)
    np.testing.assert_allclose(of_t["high"], of_t["prevalence_high"])
    groups = single[single["estimate"].notna()]
    least = groups["prevalence_high"] * groups["n_t_cells"] / groups["n_cells_x"]
    np.testing.assert_allclose(groups["high"], np.minimum(1, least))
    assert groups.loc[groups["group"] == "naive", "high"].item() == 1
    pooled = table[(table["sample"] == "") & table["estimate"].notna()]
    assert (pooled["high"] >= pooled["estimate"]).all()
    t_pooled = pooled[(pooled["level"] == "lineage") & (pooled["group"] == "T")]["high"].item()
    assert 0 < t_pooled < of_t["high"].min()


def test_silent_samples_together_exclude_more_than_each_alone() -> None:
    """Three CAR T cells of either sample would have shown: three in all are left open, not six."""
    alone = most_in_group({"a": 100}, {"a": 3.0})
    assert alone == pytest.approx(0.03)
    assert most_in_group({"a": 100, "b": 100}, {"a": 3.0, "b": 3.0}) == pytest.approx(3 / 200)
    # A sample of one cell of the group takes a third of the doubt; two thirds are left for the other.
    assert most_in_group({"a": 1, "b": 100}, {"a": 3.0, "b": 2.4}) == pytest.approx(
        (1 + 2 / 3 * 2.4) / 101
    )
    assert most_in_group({"a": 2}, {"a": 3.0}) == 1.0
    assert most_in_group({"a": 5}, {"a": 0.0}) == 0.0


def test_a_state_without_car_t_cells_is_not_given_those_of_another() -> None:
    """All CAR T cells were effector cells: of memory cells, of which none is one, 15 % was stated.

    Each interval holds its state's share to half a percentage point, where states say nothing of CAR status too.
    """
    for seed in range(2):
        rng = np.random.default_rng([31, seed])
        adata, samples = study(Setting("", 1, 1, (400, 600)), rng)
        adata = adata[adata.obs["sample"].isin(samples["sample"][:2])].copy()
        detection = call_cells(adata, None, samples[:2], car=CAR)
        for of_car in (True, False):
            effector = rng.random(adata.n_obs) < 0.4
            effector |= adata.obs["truth"].to_numpy(bool) & of_car
            state = np.where(effector, "effector", "memory")
            adata.obs["t_state"] = np.where(adata.obs["lineage"] == "T", state, "")
            table = localize(adata, detection)
            for row in table[table["level"] == "t_state"].itertuples():
                own = (adata.obs["sample"] == row.sample) & (adata.obs["t_state"] == row.group)
                truth = adata.obs.loc[own, "truth"].mean()
                assert row.low - 0.005 <= truth <= row.high
                if of_car and row.group == "memory":
                    assert row.estimate < 0.03
