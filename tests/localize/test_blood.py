"""Blood in urine: the share of T cells that blood brought, its interval, and what it means for CAR T cells."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq import cells
from carseq.calling import call_cells
from carseq.figures.phrases import blood_words
from carseq.localize.blood import blood_in_urine, blood_shares
from carseq.schema.percent import NBSP
from carseq.schema.tables import BLOOD_IN_URINE
from helpers_cells import BLOOD, CAR, URINE, mix_blood, urine

OWN = {name: share for name, share in URINE.items() if name != "B cell"}


def counted(urine_cells: dict[str, int], blood_cells: dict[str, int]) -> pd.DataFrame:
    """Return ``obs`` of the numbers given: T, naive, B, pDC, platelet, red."""
    kinds = {
        "T": ("T", "CD8 T cell", "effector"),
        "naive": ("T", "T cell", "naive"),
        "B": ("B", "B cell", ""),
        "pDC": ("myeloid", "plasmacytoid dendritic cell", ""),
        "platelet": ("myeloid", "platelet", ""),
        "red": ("erythroid", "erythroid cell", ""),
    }
    rows = [
        (sample, *kinds[kind])
        for sample, numbers in (("U", urine_cells), ("V", blood_cells))
        for kind, n in numbers.items()
        for _ in range(n)
    ]
    obs = pd.DataFrame(rows, columns=["sample", "lineage", "cell_type", "t_state"])
    obs.index = [f"{s}:{i}" for i, s in enumerate(obs["sample"])]
    return obs.assign(is_doublet=False, total_umis=2000, pct_hb=0.0, barcode=obs.index)


def combined(urine_cells: dict[str, int], blood_cells: dict[str, int]) -> pd.Series:
    return blood_shares(counted(urine_cells, blood_cells), "U", "V").iloc[-1]


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_blood_mixed_into_urine_is_found(share: float) -> None:
    """Annotated anew, 0 to 50 % of T cells from blood: the interval holds the truth, the estimate is within 0.15."""
    sample, blood = (
        urine(1200, 0, types=OWN, seed=3),
        urine(1500, 0, depth=2500, types=BLOOD, seed=4),
    )
    both, truth = mix_blood(sample, blood, share, seed=5)
    cells.annotate(both)
    cells.t_states(both)
    obs = both.obs.assign(is_doublet=False)
    # As a study has it, and without the states of the T cells, where naive ones do not count.
    for given, naive in (
        (obs, True),
        (obs.drop(columns="t_state"), False),
        (obs.assign(t_state=""), False),
    ):
        table = blood_shares(given, "urine", "blood").set_index("population")
        assert table.loc["naive T cell", "used"] == naive
        found = table.loc["combined"]
        assert found["low"] <= truth <= found["high"]
        assert found["estimate"] == pytest.approx(truth, abs=0.15)
        assert found["high"] <= truth + 0.25


def test_urine_of_naive_t_cells_only_looks_like_blood() -> None:
    """Five T cells, all naive, where 40 % of blood's are: the estimate is all, the lower end far from it."""
    found = combined({"naive": 5}, {"naive": 400, "T": 600})
    assert (found["estimate"], found["high"]) == (1.0, 1.0)
    assert 0.05 < found["low"] < 0.5
    assert np.isnan(combined({"B": 5}, {"naive": 400, "T": 600})["estimate"])


def test_the_interval_is_exact() -> None:
    """B cells alone: the estimate is the odds ratio; over 60 draws the 95 % interval holds the truth in 54 or more."""
    rng = np.random.default_rng(0)
    found = combined({"T": 80, "B": 4}, {"T": 400, "B": 100})
    assert found["estimate"] == pytest.approx(4 / 100 / (80 / 400), rel=0.02)
    held = 0
    for _ in range(60):
        numbers = {"T": rng.poisson(0.2 * 100) + rng.poisson(80), "B": rng.poisson(0.2 * 25)}
        row = combined(numbers, {"T": rng.poisson(400), "B": rng.poisson(100)})
        held += row["low"] <= 0.2 <= row["high"]
    assert held >= 54


def test_a_population_with_a_source_in_urine_is_left_out() -> None:
    """40 B cells in urine without a naive T cell are the kidney's: they do not raise the estimate."""
    table = blood_shares(
        counted({"T": 100, "B": 40}, {"T": 300, "naive": 200, "B": 100}), "U", "V"
    ).set_index("population")
    assert not table.loc["B cell", "used"]
    assert "urine holds more" in table.loc["B cell", "note"]
    assert table.loc["combined", "high"] < 0.1


def test_red_cells_speak_only_where_nothing_else_does() -> None:
    """Red cells are shown, never used beside mononuclear cells; alone they come with a warning."""
    with_b = combined({"T": 50, "red": 30}, {"T": 100, "B": 30, "red": 30})
    assert with_b["estimate"] == 0
    alone = combined({"T": 50, "red": 3}, {"T": 100, "red": 30})
    assert alone["estimate"] == pytest.approx(0.2, rel=0.05)
    assert "not to be relied on" in alone["note"]


@pytest.mark.parametrize(
    ("urine_cells", "blood_cells", "words"),
    [
        ({"T": 50}, {}, "none of the marker populations"),
        ({"T": 50, "red": 9}, {"T": 300}, "none of the marker populations"),
        ({}, {"T": 300, "B": 30}, "no T cells in this urine"),
        ({}, {}, "no T cells in this urine"),
    ],
)
def test_nothing_to_go_by_is_undetermined(
    urine_cells: dict[str, int], blood_cells: dict[str, int], words: str
) -> None:
    """No cells, no T cells, PBMC without any marker population: no estimate, and a word why."""
    row = combined(urine_cells, blood_cells)
    assert np.isnan(row["estimate"])
    assert words in row["note"]


def called(
    urine_car: int,
    blood_car: int,
    timepoint: str = "D28",
    urine: dict[str, int] | None = None,
    blood: dict[str, int] | None = None,
    blood_role: str = "case",
    gating: tuple[str, str] = ("", ""),
) -> pd.DataFrame:
    """Return the table of 100 T cells in urine, a tenth of blood, against blood of 400, with some CAR T cells."""
    obs = counted(
        urine or {"T": 96, "naive": 4, "B": 2}, blood or {"T": 240, "naive": 160, "B": 80}
    )
    counts = np.zeros(len(obs))
    is_t = (obs["lineage"] == "T").to_numpy()
    for sample, n in (("U", urine_car), ("V", blood_car)):
        counts[np.flatnonzero(is_t & (obs["sample"] == sample))[:n]] = 3
    adata = ad.AnnData(sparse.csr_matrix(counts[:, None]), obs=obs.assign(contamination=0.02))
    adata.var_names = [CAR]
    samples = pd.DataFrame(
        {
            "sample": ["U", "V"],
            "patient": "P01",
            "compartment": ["urine", "blood"],
            "timepoint": ["D28", timepoint],
            "role": ["case", blood_role],
            "gating": gating,
            "ambient_umis": 1e5,
            "ambient_car": 0.0,
        }
    )
    return blood_in_urine(adata, call_cells(adata, {}, samples, car=CAR)).iloc[-1]


def test_many_car_t_cells_are_not_explained_by_little_blood() -> None:
    """40 CAR T cells in urine, 5 % in blood: blood brought about one, and alone does not explain them."""
    row = called(urine_car=40, blood_car=20)
    assert row["car_expected"] < 2
    assert row["car_seen_low"] > 20
    assert row["p_blood_alone"] < 0.01
    text = blood_words(row).replace(NBSP, " ")
    assert (
        "blood alone does not explain them (the probability that it brings as many is below 0.1 %)"
        in text
    )


def test_one_car_t_cell_may_be_of_blood() -> None:
    """1 CAR T cell in urine, half of blood's T cells CAR T: blood may explain it."""
    row = called(urine_car=1, blood_car=200)
    assert row["p_blood_alone"] > 0.3
    assert row["car_verdict"] == "maybe_by_blood"


def test_sorted_cells_say_little_of_blood() -> None:
    """T cells sorted out of both: B cells are the sort's doing. Sorts that differ, or are by the CAR: no estimate."""
    both = called(40, 20, gating=("T enriched", "CD3+"), urine={"T": 96, "naive": 4, "B": 40})
    assert both["note"].startswith("judged by its naive T cells against")
    for gating in (("", "CD3+"), ("CAR+", "CAR+")):
        row = called(40, 20, gating=gating)
        assert np.isnan(row["estimate"])
        assert "sorted otherwise, or both by the CAR" in row["note"]
        assert row["car_verdict"] == "undetermined"


def test_few_cells_of_blood_do_not_exclude_that_they_hold_car_t_cells() -> None:
    """Urine of nothing but blood, 4 CAR T cells of 30; none among 8 T cells of blood, as chance has it in one of three.

    The fraction of just these 8 cells was taken for that of all blood, and blood was said not to explain them.
    """
    row = called(4, 0, urine={"T": 20, "naive": 10, "B": 15}, blood={"T": 5, "naive": 3, "B": 4})
    assert row["p_blood_alone"] > 0.05
    assert row["car_verdict"] == "maybe_by_blood"


def test_a_little_more_than_blood_brings_may_be_chance() -> None:
    """Urine of nothing but blood, 15 % CAR T cells there: 22 of 100 is chance in 4 of 100, 28 hardly ever.

    Such studies were said to hold CAR T cells that blood does not explain more often than in 5 of 100.
    """
    only_blood = {"T": 60, "naive": 40, "B": 20}
    row = called(22, 60, urine=only_blood)
    assert 0.03 < row["p_blood_alone"] < 0.05
    assert row["car_verdict"] == "maybe_by_blood"
    assert called(28, 60, urine=only_blood)["car_verdict"] == "not_by_blood"


def test_blood_from_before_the_infusion_is_of_another_time_though_none_is_named() -> None:
    """A sheet without time points: the negative control's blood holds no CAR T cell, which explains nothing."""
    row = called(40, 0, timepoint="D28", blood_role="negative_control")
    assert row["pairing"] == "other time point"
    assert np.isnan(row["car_expected"])


def test_blood_of_the_same_day_in_other_words_is_of_the_same_time_point() -> None:
    assert called(1, 200, timepoint="4 weeks")["pairing"] == "same time point"


def test_blood_of_another_time_point_gives_a_bound_alone() -> None:
    """The CAR T fraction of another day is not taken: as if every T cell of blood were a CAR T cell."""
    row = called(urine_car=40, blood_car=0, timepoint="D90")
    assert row["pairing"] == "other time point"
    assert np.isnan(row["car_expected"])
    assert 2 < row["car_expected_high"] < 40
    assert "blood of another time point" in row["note"]


def test_without_blood_nothing_is_estimated() -> None:
    """A patient without a blood sample: rows of the schema, no estimate, and words."""
    obs = counted({"T": 30, "B": 3}, {})
    detection = pd.DataFrame(
        {
            "sample": ["U"],
            "patient": "P01",
            "compartment": "urine",
            "timepoint": "D28",
            "n_t_cells": 30,
            "n_car_positive": 2,
            "prevalence": 0.1,
            "prevalence_low": 0.02,
            "prevalence_high": 0.3,
        }
    )
    table = blood_in_urine(ad.AnnData(obs=obs), detection)
    assert list(table.columns) == list(BLOOD_IN_URINE.columns)
    assert table["estimate"].isna().all()
    last = table.iloc[-1]
    assert last["car_verdict"] == "undetermined"
    assert blood_words(last) == (
        "Blood in this urine: undetermined (no blood sample of this patient: there is no estimate)."
    )
    assert len(blood_in_urine(ad.AnnData(obs=obs), detection.iloc[:0])) == 0
