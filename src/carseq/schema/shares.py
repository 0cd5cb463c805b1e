"""What the names of further columns of the samples sheet say: a share of CAR T cells and its unit, or who it is."""

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


#: Names of columns that say who someone is, or which record, and measure nothing.
_OF_PERSONS = re.compile(
    r"(.*_)?(id|ids|(patient|subject|case|person|donor|sample|record|hospital|study)id|mrn|ssn|nhs|dob|yob|phone|tel|zip|postcode|passport|insurance)(_.*)?"
    r"|(.*_)?(birth_?(date|day|month|year)|(date|day|month|year)_of_birth|geburts\w+)(_.*)?"
    r"|((patient|subject|donor|first|last|full|sur|family|given|vor|nach)_?)?name|initials|(home_)?address"
    r"|(.*_)?(patient|case|record|chart|hospital|fall|patienten)_?(no|nr|number|nummer|code)(_.*)?"
)


def names_persons(measure: str) -> bool:
    """Return whether a column says who someone is or which record, by its name.

    Examples
    --------
    >>> [m for m in ("MRN", "patientID", "year of birth", "case-no", "age", "fluid", "covid_titer") if names_persons(m)]
    ['MRN', 'patientID', 'year of birth', 'case-no']
    """
    return bool(_OF_PERSONS.fullmatch(column_code(measure)))
