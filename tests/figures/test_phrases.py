"""figures/phrases: numbers and verdicts in words."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

import carseq
from carseq.figures import phrases as words
from carseq.schema.percent import NBSP, limit_percent, percent, plain_percent
from study import verdict_row


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.38, "38 %"), (0.042, "4.2 %"), (0.0004, "<0.1 %"), (0, "0 %"), (1, "100 %"), (0.9999, ">99.9 %"),
     (0.9995, ">99.9 %"), (0.9994, "99.9 %"),
     (math.nan, "–"), (0.09999, "10 %")],
)  # fmt: skip
def test_shares_read_as_people_write_them(share: float, text: str) -> None:
    assert percent(share).replace(NBSP, " ") == plain_percent(share) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0004, "0.04 %"), (0.0066, "0.66 %"), (0.067, "6.7 %"), (1, "100 %"), (math.nan, "–"),
     (0.9968, "99.7 %"), (0.99996, ">99.9 %")],
)  # fmt: skip
def test_a_limit_keeps_its_digits_on_the_page(share: float, text: str) -> None:
    """The headline said "not detected above <0.1 %"; of three T cells, "only shares above 100 % are excluded"."""
    assert limit_percent(share).replace(NBSP, " ") == text


def test_per_cent_is_written_in_one_place() -> None:
    """``50%``, ``50 %`` and ``50.0%`` stood side by side; notes inside shipped GenBank files are data."""
    own = re.compile(r":\.\d%\}|[0-9}]%[ \",;.)]|\.\d[fg]\} %")
    source = Path(carseq.__file__).parent
    found = [
        f"{path.relative_to(source)}: {line.strip()}"
        for path in sorted(source.rglob("*.py"))
        if path.name not in ("percent.py", "library_build.py")
        for line in path.read_text().splitlines()
        if own.search(line.replace("{NBSP}%", ""))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234, "1,234"), (0.6, "0.6"), (0.634, "0.63"), (12.3456, "12"), (math.nan, "–"), (None, "–"), (0, "0"),
     (1e-5, "<0.001")],
)  # fmt: skip
def test_numbers_read_as_people_write_them(value: Any, text: str) -> None:
    assert words.number(value) == text


def test_few_t_cells_are_said_to_say_little_of_the_whole_sample() -> None:
    """3 of 3 T cells called: "99.7 % (99.7->99.9 %) of T cells" was read as the share in the urine."""
    few = verdict_row(n_t_cells=3, n_car_positive=3)
    assert "these 3 T cells: so few say little" in " ".join(words.verdict_words(few)[1])
    assert "say little" not in " ".join(words.verdict_words(verdict_row())[1])


def test_a_detected_verdict_gives_calls_estimate_interval_and_false_calls() -> None:
    headline, sentences = words.verdict_words(verdict_row())
    text = " ".join([headline, *sentences]).replace(NBSP, " ")
    assert headline == "CAR T cells detected"
    assert "21 of 63 T cells called positive" in text
    assert "38 % (27–50 %) of T cells after correction for dropout" in text
    assert "Expected false calls 0.6; sensitivity 71 %" in text


@pytest.mark.parametrize(("high", "excluded"), [(0.04, 4), (0.11, 11), (math.nan, 4)])
def test_not_detected_states_its_limit(high: float, excluded: int) -> None:
    """The limit, or the interval's end where a few molecules let it lie above: one sample excludes one share."""
    limit = {"prevalence": 0.01, "prevalence_low": 0.0, "prevalence_high": high}
    given = verdict_row(verdict="not_detected", n_car_positive=0, detection_limit=0.04, **limit)
    headline, sentences = words.verdict_words(given)
    assert headline == f"CAR T cells not detected above {excluded}{NBSP}%"
    assert any(f"above {excluded}{NBSP}% of T cells is excluded" in s for s in sentences)


def test_undetermined_says_so_even_without_numbers() -> None:
    nothing = dict.fromkeys(
        ["prevalence", "prevalence_low", "prevalence_high", "detection_limit", "sensitivity", "expected_false_calls"],
        math.nan,
    )  # fmt: skip
    given = verdict_row(verdict="undetermined", n_cells=0, n_t_cells=0, n_car_positive=0, **nothing)
    assert words.verdict_words(given) == ("Undetermined", ["No cells were kept."])
