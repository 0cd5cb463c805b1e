"""Numbers of the samples sheet beside carseq's own: the clinic, flow cytometry, time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from carseq.config_docs import pages
from carseq.errors import CarseqError
from carseq.localize import (
    agreement,
    clinical,
)
from carseq.localize.beside import time_places
from carseq.schema.tables import DETECTION
from carseq.study.sheets import further_columns


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
    with pytest.raises(CarseqError, match="not a share of T cells: 120"):
        clinical(detection_of(), {"u28": {"car_pct_flow": "120"}})


@pytest.mark.parametrize("name", ["MRN", "patient_id", "SubjectID", "birth.year", "case number"])
def test_numbers_that_name_a_patient_are_put_beside_nothing(name: str) -> None:
    """A column `mrn` was drawn along time, and `carseq share --rename` sent it with the page."""
    given = {"u28": {name: "30417755", "creatinine": "1.5"}}
    assert set(clinical(detection_of(), given)["measure"]) == {"creatinine"}


def test_a_share_of_other_cells_may_differ_by_chance() -> None:
    """3 of 8 T cells called, 20 % by flow cytometry: it lay outside an interval of just these 8 cells, 34 to 100 %."""
    given = {"u28": {"car_pct_flow": "20"}}
    few = detection_of(
        n_t_cells=8, n_car_positive=[0, 3], prevalence_low=[0.0, 0.34], prevalence_high=[0.1, 1.0]
    )
    assert list(clinical(few, given)["inside"]) == ["yes"]
    many = few.assign(n_t_cells=800, n_car_positive=[0, 300])
    assert list(clinical(many, given)["inside"]) == ["no"]


def test_the_purity_of_a_sort_is_compared_with_no_share() -> None:
    """CAR+ cells were sorted out: 90 % of them are CAR T cells, 12 % of the T cells in the tube by flow cytometry."""
    pure = detection_of(
        gating="car_enriched", prevalence_is="purity", prevalence=0.9, prevalence_high=0.95
    )
    table = clinical(pure, {"u28": {"car_pct_flow": "12"}})
    assert table["difference"].isna().all()
    assert table["car_fraction"].isna().all()
    assert list(table["inside"]) == [""]
    assert not len(agreement(table))


def test_an_undetermined_sample_agrees_with_nothing() -> None:
    """Four silent T cells: the prior's 12 % beside 30 % by flow cytometry was "within the interval"."""
    table = clinical(
        detection_of(
            verdict=["undetermined", "detected"], n_t_cells=[4, 40], prevalence=[0.12, 0.3],
            prevalence_high=[1.0, 0.4],
        ),
        {"u0": {"car_pct_flow": "30"}, "u28": {"car_pct_flow": "30"}},
    )  # fmt: skip
    assert list(table["inside"]) == ["", "yes"]
    assert list(table["difference"].isna()) == [True, False]
    found = agreement(table)
    assert list(found["n_samples"]) == list(found["n_inside"]) == [1]
    assert found["mean_difference"][0] == pytest.approx(0)


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


def test_further_columns_are_read_from_the_sheet_and_documented(tmp_path) -> None:
    """Columns that carseq does not know come by sample; config/README.md names those that mean more."""
    sheet = tmp_path / "samples.tsv"
    sheet.write_text("sample\tpatient\tcompartment\tCPK\ngating_x\tP\turine\t210\n")
    assert further_columns(sheet) == {"gating_x": {"CPK": "210"}}
    for name in ("car_pct_X", "vcn_X", "agreement.tsv"):
        assert name in pages()["README.md"]


@pytest.mark.parametrize(
    ("timepoints", "places"),
    [
        (["pre", "D28", "M3", "D14"], [13.0, 28.0, 91.32, 14.0]),
        (["D0", "D28"], [0.0, 28.0]),
        (["D28", "baseline"], [28.0, 27.0]),
        (["visit 1", "visit 3"], [1.0, 3.0]),
        (["early", "late", "D28"], [0.0, 1.0, 2.0]),
        (["28d", "D+14", "days 7", "2 weeks"], [28.0, 14.0, 7.0, 14.0]),
        (["D28", "D\N{MINUS SIGN}7"], [28.0, -7.0]),
        (["2026-03-14", "2026-03-01", "baseline"], [13.0, 0.0, -1.0]),
        # The day of the infusion is day 0, not the second visit.
        (["baseline", "infusion", "D14"], [-1.0, 0.0, 14.0]),
        (["Tag der Infusion", "dpi 28", "-3d"], [0.0, 28.0, -3.0]),
        (["infusion", "reinfusion"], [0.0, 1.0]),
    ],
)
def test_time_points_lie_where_their_names_say(timepoints: list[str], places: list[float]) -> None:
    """Days and months mix, what comes before the infusion comes first; words that say nothing stay in order."""
    assert [time_places(timepoints)[t] for t in timepoints] == pytest.approx(places)
