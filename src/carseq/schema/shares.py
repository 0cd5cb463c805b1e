"""Columns of the samples sheet that measure the share of CAR T cells: their names say so, and in which unit."""

from __future__ import annotations

import re

#: ``car_pct_flow``, ``car_percent`` (per cent), ``car_fraction_qpcr`` (a fraction).
_SHARE = re.compile(r"car_(?P<unit>pct|percent|fraction)(_.+)?")


def column_code(name: str) -> str:
    """Return a column's name in small letters, with underscores for blanks, points and hyphens (R writes points)."""
    return re.sub(r"[\s.-]+", "_", name.strip().lower())


def most_of_share(measure: str) -> float | None:
    """Return the largest value that a column may hold which measures a share of T cells; None for another column.

    Examples
    --------
    >>> most_of_share("car_pct_flow"), most_of_share("CAR fraction"), most_of_share("age")
    (100.0, 1.0, None)
    """
    found = _SHARE.fullmatch(column_code(measure))
    if found is None:
        return None
    return 1.0 if found["unit"].lower() == "fraction" else 100.0
