"""What a time point's name says: how many days, weeks, months after the infusion, which visit, or which date."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import date

from carseq.study.texts import DASHES

#: Units of time, in days; visits, cycles and bare numbers are counted, and not comparable with them.
DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0, "m": 30.44, "y": 365.25}
#: Units as people write them, by what they are here.
_UNITS = {
    "d": "d|days?|dpi|tag|tage|jours?|j",
    "h": "h|hrs?|hours?",
    "w": "w|wks?|weeks?|wochen?|semaines?",
    "m": "m|mo|mos|mths?|months?|monate?|mois",
    "y": "y|yrs?|years?|jahre?",
    "visit": "v|visits?",
    "cycle": "c|cycles?",
    "time": "t|tp|time[ _]?points?",
}
_UNIT = "|".join(f"(?P<{key}{{0}}>{words})" for key, words in _UNITS.items())
_NUMBER = r"(?P<n{0}>[+-]?\d+(?:\.\d+)?)"
_AROUND = (
    r"(?:[\s_-]*(?P<before{0}>pre|before|prior|vor)|[\s_-]*(?:post|after|p\.?i\.?|nach))"
    r"(?:[\s_-]*(?:to|the|infusion|car|car[ _-]?t|treatment|therapy|transfusion))*"
)
#: ``D28``, ``week 4``, ``visit 2``, ``day +14 post infusion``; ``28 d``, ``4 weeks``, ``7 days before infusion``.
_TIMES = tuple(
    re.compile((pattern + f"(?:{_AROUND})?").format(side))
    for side, pattern in (
        (1, f"(?:post[\\s_-]*(?:infusion)?[\\s_-]*)?(?:{_UNIT})?[\\s_.]*{_NUMBER}"),
        (2, f"{_NUMBER}[\\s_.-]*(?:{_UNIT})"),
    )
)
_BEFORE = re.compile(
    r"(?:base(?:line)?|screen(?:ing)?|(?:leuka?)?apheresis)(?:[\s_-]*visit)?|"
    r"(?:pre|before|prior(?:[\s_-]to)?)"
    r"(?:[\s_-]?(?:infusion|treatment|therapy|transfusion|conditioning|lymphodepletion|ld|car.*))?"
)
#: The day of the infusion itself.
_INFUSION = re.compile(
    r"(?:(?:at|on)[\s_-]*)?(?:the[\s_-]*)?(?:(?:day|time|tag|jour)[\s_-]*(?:of[\s_-]*(?:the)?|der|de[\s_-]*l['’]?)?[\s_-]*)?"
    r"(?:car[\s_-]*(?:t[\s_-]*)?)?infusion(?:s?[\s_-]*(?:day|tag))?"
)
#: Months by the first letters of their names, English and German.
_MONTHS = {
    name: 1 + i
    for i, names in enumerate(
        [
            "jan",
            "feb",
            "mar|mär|mrz",
            "apr",
            "may|mai",
            "jun",
            "jul",
            "aug",
            "sep",
            "oct|okt",
            "nov",
            "dec|dez",
        ]
    )
    for name in names.split("|")
}
_MONTH = rf"(?P<m>{'|'.join(_MONTHS)})[a-zä]*\.?"
#: Dates whose order of day and month is plain: 1/2/2025 is not.
_DATES = (
    re.compile(r"(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})(?:[ t]\d\d:\d\d(?::\d\d)?)?"),
    re.compile(r"(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?P<y>\d{4})"),
    re.compile(r"(?P<y>(?:19|20)\d\d)(?P<m>\d\d)(?P<d>\d\d)"),
    re.compile(rf"(?P<d>\d{{1,2}})[-. ]*{_MONTH}[-., ]*(?P<y>\d{{4}})"),
    re.compile(rf"{_MONTH}[-. ]*(?P<d>\d{{1,2}})[-., ]+(?P<y>\d{{4}})"),
)
#: Days since 30 December 1899, as Excel keeps dates: from 1954 to 2064. No study follows its patients for so many days.
SERIALS = (20_000, 60_000)
_FIRST_DAY = date(1899, 12, 30).toordinal()


def excel_date(timepoint: str) -> date | None:
    """Return the date that a number is if a spreadsheet has put it for one, else None.

    >>> excel_date("45678")
    datetime.date(2025, 1, 21)
    """
    text = timepoint.strip()
    if not re.fullmatch(r"\d{5}(\.\d+)?", text) or not SERIALS[0] <= float(text) <= SERIALS[1]:
        return None
    return date.fromordinal(_FIRST_DAY + int(float(text)))


def unit_of(timepoint: str) -> tuple[str, float] | None:
    """Return the unit and number of a time point: a key of ``DAYS``, ``visit``, ``cycle``, ``time``, ``date``.

    A number alone has the unit ``""``; what lies before the infusion, without saying when, is ``before`` and minus
    infinity.

    Examples
    --------
    >>> unit_of("D28"), unit_of("14 days"), unit_of("D\\N{MINUS SIGN}7"), unit_of("infusion"), unit_of("relapse")
    (('d', 28.0), ('d', 14.0), ('d', -7.0), ('d', 0.0), None)
    """
    plain = unicodedata.normalize("NFKC", timepoint).translate(DASHES).strip().lower()
    # A remark behind it, as in "D-7 (baseline)".
    plain = re.sub(r"\s*\([^()]*\)$", "", plain)
    if _BEFORE.fullmatch(plain):
        return "before", float("-inf")
    if _INFUSION.fullmatch(plain):
        return "d", 0.0
    for pattern in _DATES:
        if found := pattern.fullmatch(plain):
            month = _MONTHS.get(found["m"]) or int(found["m"])
            try:
                day = date(int(found["y"]), month, int(found["d"]))
            except ValueError:
                return None
            return "date", float(day.toordinal())
    if serial := excel_date(plain):
        return "date", float(serial.toordinal())
    for side, pattern in enumerate(_TIMES, 1):
        if (found := pattern.fullmatch(plain)) is None:
            continue
        number = float(found[f"n{side}"])
        unit = next((key for key in _UNITS if found[f"{key}{side}"]), "")
        if found[f"before{side}"]:
            # "D28 pre" may be the morning of that day.
            if side == 1 or number < 0:
                return None
            number = -number
        return unit, number
    return None


def time_of(timepoint: str) -> tuple[str, float] | None:
    """Return kind and number of a time point (``D28``, ``week 4``, ``baseline``), comparable within a kind.

    None where it says neither.

    Examples
    --------
    >>> time_of("D28"), time_of("week_2"), time_of("visit 3"), time_of("relapse")
    (('days', 28.0), ('days', 14.0), ('visit', 3.0), None)
    """
    if (found := unit_of(timepoint)) is None:
        return None
    unit, number = found
    if unit in DAYS:
        return "days", number * DAYS[unit]
    return ("" if unit == "before" else unit or "number"), number


def comparable(timepoints: Iterable[str]) -> list[float] | None:
    """Return time points as numbers, if all of them can be compared, else None."""
    times = [time_of(t) for t in timepoints]
    known = [t for t in times if t is not None]
    kinds = {kind for kind, _ in known if kind}
    return [number for _, number in known] if len(known) == len(times) and len(kinds) < 2 else None


def first_names(timepoints: Iterable[str]) -> dict[str, str]:
    """Return, by name of a time point, the first name that says the same time.

    Examples
    --------
    >>> first_names(["D28", "day 28", "W4", "relapse", "pre", "baseline"])
    {'D28': 'D28', 'day 28': 'D28', 'W4': 'D28', 'relapse': 'relapse', 'pre': 'pre', 'baseline': 'baseline'}
    """
    first: dict[tuple[str, float], str] = {}
    names = {}
    for name in timepoints:
        time = time_of(name)
        # Baseline and screening may be two days.
        names[name] = first.setdefault(time, name) if time is not None and time[0] else name
    return names
