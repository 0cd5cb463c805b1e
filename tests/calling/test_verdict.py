"""calling/verdict: what is said of a sample, in a code and a sentence."""

from __future__ import annotations

import pytest

from carseq.calling.verdict import decide
from carseq.schema.percent import two_digit_percent


@pytest.mark.parametrize(("limit", "text"), [(0.0004, "0.04 %"), (0.0123, "1.2 %"), (0.4, "40 %")])
def test_the_limit_is_said_with_its_digits(limit: float, text: str) -> None:
    """A limit below 0.05 % is not a limit of 0.0 %."""
    verdict, sentence = decide(0, 900, 0.0, limit, 0.0)
    assert verdict == "not_detected"
    assert f"above {text} of T cells" in sentence
    assert two_digit_percent(limit) == text
