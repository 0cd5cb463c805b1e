"""Fractions as per cent: the one place where a fraction becomes text.

The page and the terminal's tables hold a no-break space before the sign; messages, logs and result files hold a plain
one, so that a search for ``50 %`` finds it.
"""

from __future__ import annotations

import math
from typing import Any

NBSP = "\N{NO-BREAK SPACE}"


def percent(value: Any) -> str:
    """Return a fraction (0-1) as the page shows it: ``38 %``, ``4.2 %``, ``<0.1 %``; a dash if it is not finite."""
    if value is None or not math.isfinite(float(value)):
        return "–"
    share = 100 * float(value)
    if 0 < share < 0.1:
        text = "<0.1"
    elif share < 100 and f"{share:.1f}" == "100.0":
        text = ">99.9"
    elif 99 < share < 100 or (share < 10 and round(share, 1) != round(share)):
        text = f"{share:.1f}"
    else:
        text = f"{share:.0f}"
    return f"{text}{NBSP}%"


def plain_percent(value: Any) -> str:
    """Return a fraction (0-1) as :func:`percent` writes it, for messages, logs and result files.

    Examples
    --------
    >>> plain_percent(0.5), plain_percent(0.0674)
    ('50 %', '6.7 %')
    """
    return percent(value).replace(NBSP, " ")


def percent_range(low: Any, high: Any) -> str:
    """Return an interval of fractions: ``27–50 %``."""
    low_text = percent(low).removesuffix(f"{NBSP}%")
    return f"{low_text}–{percent(high)}"


def two_digit_percent(share: float) -> str:
    """Return a fraction (0-1) with two significant digits, however small: a limit must not be rounded to ``0 %``.

    Less than all is not rounded to ``100 %`` either.

    Examples
    --------
    >>> two_digit_percent(0.0004), two_digit_percent(0.9968), two_digit_percent(0.99999), two_digit_percent(1)
    ('0.04 %', '99.7 %', '>99.9 %', '100 %')
    """
    shown = 100 * share
    if 99 < shown < 100:
        return plain_percent(share)
    return f"{float(f'{shown:.2g}'):g} %"


def limit_percent(value: Any) -> str:
    """Return a limit (0-1) as the page shows it, with two significant digits; a dash if it is not finite."""
    if value is None or not math.isfinite(float(value)):
        return "–"
    return two_digit_percent(float(value)).replace(" ", NBSP)
