"""What a samples sheet probably means otherwise than it says."""

from __future__ import annotations

import pytest

from carseq.localize.beside import kind_of, time_places
from carseq.study.sheets import Sample, mend_numbers
from carseq.study.slips import slips
from carseq.study.times import comparable


def sheet(*rows: dict[str, str]) -> list[Sample]:
    return [
        Sample.model_validate({"sample": f"S{i}", "patient": "P", "compartment": "urine"} | row)
        for i, row in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"day": "D14"}, {"day": "D28"}], "call it `timepoint`"),
        ([{"Collection date": "2026-03-14"}], "call it `timepoint`"),
        ([{"timepoint": "D14", "day": "3"}], ""),
        ([{"daytime": "morning"}], ""),
        ([{"sorting": "CD3+ CAR+"}, {"sorting": "no"}], "call it `gating`"),
        ([{"gating": "CD3+", "sorting": "CD3"}], ""),
        ([{"group": "negative control"}, {"group": "case"}], "negative_control into `role`"),
        ([{"status": "pre-infusion"}], "negative_control into `role`"),
        ([{"group": "negative control", "role": "negative_control"}, {"group": "treated"}], ""),
        ([{"Pool": "1"}, {"Pool": "1"}], "into `library`"),
        ([{"hashtag": "HTO1"}, {"hashtag": "HTO2"}], "into `library`"),
        ([{"lane": "1"}, {"lane": "2"}], ""),
        ([{"pool": "1", "library": "L1"}, {"pool": "1", "library": "L1"}], ""),
        ([{"timepoint": "45678"}, {"timepoint": "45706"}], "is read as 2025-01-21"),
        ([{"timepoint": "2025/01/21"}, {"timepoint": "18 Feb 2025"}], ""),
        ([{"timepoint": "1/2/2025"}, {"timepoint": "13/2/2025"}], "which number is the day"),
        ([{"timepoint": "baseline"}], "is of before the infusion"),
        ([{"timepoint": "D-7"}, {"timepoint": "D28"}], "is of before the infusion"),
        ([{"timepoint": "D-7", "role": "negative_control"}, {"timepoint": "D28"}], ""),
        ([{"timepoint": "D14"}, {"timepoint": "D28", "role": "negative_control"}], "no sample is sure"),
        ([{"timepoint": "D14"}, {"timepoint": "D28", "role": "negative_control", "patient": "H"}], ""),
        ([{"timepoint": "D0"}, {"timepoint": "D28", "role": "negative_control"}], "no sample is sure"),
        ([{"timepoint": "D0"}, {"timepoint": "D0", "role": "negative_control"}], ""),
        ([{"timepoint": "visit 1"}, {"timepoint": "visit 2", "role": "negative_control"}], "no sample is sure"),
        ([{"timepoint": "2026-04-01"}, {"timepoint": "2026-03-01", "role": "negative_control"}], ""),
        ([{"timepoint": "2026-03-01"}, {"timepoint": "2026-04-01", "role": "negative_control"}], "no sample is sure"),
        ([{"compartment": "product"}, {"timepoint": "D28", "role": "negative_control"}], "is the product"),
        ([{"compartment": "product"}, {"timepoint": "D-1", "role": "negative_control"}], ""),
        ([{"role": "product"}, {}], "its role is product"),
    ],
)  # fmt: skip
def test_columns_and_roles_that_are_probably_meant_otherwise_are_told(
    rows: list[dict[str, str]], told: str
) -> None:
    """A sheet with `day` for `timepoint` compared urine of D28 with blood of D14 as of one time."""
    found = slips(sheet(*rows))
    assert len(found) == bool(told)
    assert not told or told in found[0]


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("CAR % flow", ["12", "30"], "call it car_pct"),
        ("cart_percent", ["12", "30"], "call it car_pct"),
        ("scarring_pct", ["12", "30"], ""),
        ("car_pct_flow", ["12", "30"], ""),
        ("car_pct_flow", ["0.12", "0.3"], "call it car_fraction"),
        ("crp", ["12", "-99"], "missing value"),
        ("base_excess", ["2", "-1.5"], ""),
    ],
)
def test_numbers_that_are_probably_meant_otherwise_are_told(
    column: str, values: list[str], told: str
) -> None:
    """Flow cytometry under another name was a clinical number; fractions in a column of per cent were a hundredth."""
    found = slips(sheet(*({column: value} for value in values)))
    assert len(found) == bool(told)
    assert not told or told in found[0]


def test_a_share_may_be_named_with_blanks_or_as_r_writes_it() -> None:
    assert [kind_of(n) for n in ("CAR pct flow", "car.fraction", "VCN per-cell", "carpct")] == [
        "car_share", "car_share", "vector_copies", "clinical",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "told", "read"),
    [
        (["1.2 g/g", "0.3 g/g"], "with the unit in the column's name", None),
        (["0,5", "1.5", "2,5", "3.5"], "plain numbers", None),
        (["12 mg", "3", "14 mg"], "plain numbers", None),
        (["1_000", "20"], "not taken for numbers", None),
        (["inf", "20"], "not taken for numbers", None),
        (["-1,5", "2"], "read as points", ["-1.5", "2"]),
        (["1'234.5", "980"], "1'234.5", None),
        (["12 345", "9 870"], "plain numbers", None),
        (["\u22121.2", "\u22120.4"], "plain numbers", None),
        (["\uff11.2"], "plain numbers", None),
        (["1.234", "12.500"], "parts thousands", None),
        (["1.234", "980"], "parts thousands", None),
        (["1.234", "0.98"], "", None),
        (["1.234", "2.517"], "", None),
        (["2a", "3b", "4/V"], "", None),
        (["3+", "2+"], "", None),
        (["2026-01-02", "2026-02-03"], "", None),
    ],
)
def test_numbers_with_units_commas_or_marks_are_told(
    values: list[str], told: str, read: list[str] | None
) -> None:
    """A column in which every cell has its unit was no number, and nobody said so; -1,5 was taken for a formula."""
    rows = sheet(*({"protein": value} for value in values))
    found = mend_numbers(rows)
    assert len(found) == bool(told)
    assert not told or told in found[0]
    assert [row.further()["protein"] for row in rows] == (read or values)


def test_dates_lie_at_their_distances_however_they_are_written() -> None:
    """Dates without marks (20250131) and as Excel keeps them were numbers: a month's end lay 70 days off."""
    assert time_places(["45678", "2025/02/04", "20250218"]) == {
        "45678": 0.0, "2025/02/04": 14.0, "20250218": 28.0,
    }  # fmt: skip
    assert comparable(["31 Jan 2025", "Feb 1, 2025"]) == [739282.0, 739283.0]
