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
