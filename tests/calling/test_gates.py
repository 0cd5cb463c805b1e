"""How cells were sorted, in the words of a sheet."""

from __future__ import annotations

import pytest

from carseq.calling import gate_of


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("bulk", "unsorted"), ("not enriched", "unsorted"), ("all cells", "unsorted"),
        ("CD3+ CAR+", "car_enriched"), ("live/CD45+/BCMA-CAR pos", "car_enriched"), ("CAR T depleted", "car_depleted"),
        ("CAR\N{MINUS SIGN}", "car_depleted"), ("CD3+CAR-", "car_depleted"),
        ("CAR+ and CAR-", "other"), ("CD8+", "other"), ("scar+", "other"), ("CAR T cells", "other"),
    ],
)  # fmt: skip
def test_a_gate_on_the_car_is_told_within_longer_words(words: str, code: str) -> None:
    """After "CD3+ CAR+" the purity of the sort was given as the CAR T fraction, and compared over time."""
    assert gate_of(words) == code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("CART19+ sort", "car_enriched"), ("CAR-BCMA+", "car_enriched"), ("scFv+", "car_enriched"),
        ("protein L+", "car_enriched"), ("EGFRt+ (MACS)", "car_enriched"), ("BCMA-Fc-", "car_depleted"),
        ("CAR (pos)", "car_enriched"), ("CAR(-)", "car_depleted"), ("sorted CAR-T cells", "car_enriched"),
        ("enriched for CAR T", "car_enriched"), ("depleted of CAR T cells", "car_depleted"),
        ("non-CAR T cells", "car_depleted"), ("CD3+ (no CAR sort)", "t_enriched"), ("not sorted for CAR", "other"),
        ("unsorted CAR T cells", "other"), ("CD8+-sorted CAR T cells", "other"), ("CAR-CD19+", "other"),
        ("EGFR+", "other"), ("BCMA+", "other"), ("GFP+", "other"), ("CD45+", "other"),
        ("CD3 MACS", "t_enriched"), ("CD45+ CD3+", "t_enriched"), ("T cells (EasySep)", "t_enriched"),
        ("CD3 depleted", "other"), ("CD45- sort", "cd45_depleted"), ("CD45neg", "cd45_depleted"),
    ],
)  # fmt: skip
def test_a_gate_is_told_by_what_binds_the_car_and_its_negation(words: str, code: str) -> None:
    """After "scFv+" or "EGFRt+" a purity was called a fraction; "CD3+ (no CAR sort)" was a sort by the CAR."""
    assert gate_of(words) == code
