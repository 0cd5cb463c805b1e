"""What a samples sheet probably means otherwise than it says: columns under other names, roles against their times."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from carseq.schema.shares import most_of_share
from carseq.study.sheets import Sample
from carseq.study.texts import is_missing
from carseq.study.times import DAYS, excel_date, unit_of

#: Columns of people's own that say what an optional column of carseq's does, in small letters and without marks.
_TIME = re.compile(
    r"(study|sampl\w*|collection|visit)?(day|date|time|visit|week|month|cycle)s?(no|number|name|post\w*|after\w*)?|"
    r"(days|weeks|months)?(dpi|postinfusion|post\w*|afterinfusion)|tp"
)
_SORT = re.compile(
    r"(facs|cell)?(sort|sorted|sorting|gate|gated|facs|enrichment|enriched|selection|selected)(for|on|by|gate|strategy)?"
)
#: What people call a pool of several samples, and what marks each one in it.
_POOL = re.compile(
    r"(sample|hash\w*|10x|chip|cell|gem|multiplex\w*)?(pool|lane|well|channel|gem|gemgroup)(id|no|number|name)?"
    r"|lib(rary)?(id)?|multiplex\w*"
)
_TAG = re.compile(r"(hashtag|hto|cmo|multi|tag)s?(id|oligo|barcode|name)?")
_CONTROL = re.compile(
    r"(neg(ative)?|healthy)?[\s_.-]*(control|ctrl)s?|(pre|before)[\s_.-]*(infusion|treatment|car.*)|baseline",
    re.IGNORECASE,
)
#: A share of CAR T cells under a name that does not say so to carseq: ``CAR %``, ``pct_car``, ``cart_percent``.
_CAR_SHARE = re.compile(r"(?<![a-z])car|car(?![a-z])")
_SHARE_WORD = re.compile(r"%|pct|percent|fraction|(?<![a-z])share(?![a-z])|freq")

#: What SPSS and SAS write where nothing was measured.
_CODES = {-1.0, -8.0, -9.0, -77.0, -88.0, -99.0, -888.0, -999.0, -9999.0}


def slips(samples: Iterable[Sample]) -> list[str]:
    """Return what a sheet probably means otherwise than it says, in words.

    Parameters
    ----------
    samples
        All rows of a sheet, their numbers mended.
    """
    rows = list(samples)
    return [*_columns(rows), *_serials(rows), *_roles(rows), *_shares(rows)]


def _columns(samples: list[Sample]) -> Iterator[str]:
    """Yield further columns that stand where the sheet's own are empty."""
    by_column: dict[str, dict[str, str]] = {}
    for sample in samples:
        for name, value in sample.further().items():
            if not is_missing(value):
                by_column.setdefault(name, {})[sample.sample] = value
    for name, values in by_column.items():
        plain = re.sub(r"[\W_]", "", name.lower())
        if not any(s.timepoint for s in samples) and _TIME.fullmatch(plain):
            yield (
                f"no sample has a timepoint, and column {name!r} is only carried along: if it says when the samples "
                "were taken, call it `timepoint`, or samples of different days are compared as if of one"
            )
        if not any(s.gating for s in samples) and _SORT.fullmatch(plain):
            yield (
                f"no sample has a gating, and column {name!r} is only carried along: if it says how cells were sorted, "
                "call it `gating`, or sorted samples are compared with unsorted ones"
            )
        shared = len(set(values.values())) < len(values)
        pooled = (_POOL.fullmatch(plain) and shared) or (_TAG.fullmatch(plain) and len(values) > 1)
        if pooled and not any(s.library for s in samples):
            yield (
                f"no sample has a library, and column {name!r} is only carried along: if samples were pooled in one "
                "library (one lane of 10x), write what its samples have in common into `library`, or the ambient RNA "
                "of one gives another false CAR T cells"
            )
        cases = [s for s in samples if s.role == "case" and s.sample in values]
        if all(s.role != "negative_control" for s in samples):
            meant = [s.sample for s in cases if _CONTROL.fullmatch(values[s.sample])]
            if meant:
                yield (
                    f"column {name!r} holds {values[meant[0]]!r} for {meant[0]}, whose role is case: if it cannot hold "
                    "CAR T cells, write negative_control into `role`"
                )


def _serials(samples: list[Sample]) -> Iterator[str]:
    """Yield time points that are dates as Excel keeps them, or whose day and month cannot be told apart."""
    held = [s.timepoint for s in samples if s.timepoint]
    if dates := {t: day for t in held if (day := excel_date(t))}:
        number, day = next(iter(dates.items()))
        yield (
            f"timepoint {number} is a date as Excel keeps it (days since 1900), and is read as {day}: write "
            "the days after the infusion (D28), or the date as text"
        )
    unclear = [
        t
        for t in held
        if re.fullmatch(r"\d{1,2}/\d{1,2}/(\d\d){1,2}|\d{1,2}[.-]\d{1,2}[.-]\d\d", t.strip())
    ]
    if unclear:
        yield (
            f"timepoint {unclear[0]} does not say which number is the day, month or year, so that samples "
            "are placed in the order of the sheet: write the days after the infusion (D28), or the date as 2025-01-31"
        )


def _roles(samples: list[Sample]) -> Iterator[str]:
    """Yield samples of which role, compartment and time point do not go together."""
    times = {s.sample: unit_of(s.timepoint) for s in samples}
    for sample in samples:
        if sample.role == "product" and sample.compartment != "product":
            yield (
                f"sample {sample.sample} is of {sample.compartment}, and its role is product: it is left out of "
                "what is told of patients; write product into `compartment` if it is the infusion product, else case "
                "into `role`"
            )
        time = times[sample.sample]
        if time is None:
            continue
        before = time[0] == "before" or (time[0] in DAYS and time[1] < 0)
        if sample.role == "case" and before and sample.compartment != "product":
            yield (
                f"sample {sample.sample} is of before the infusion ({sample.timepoint}), but its role is case: if it "
                "cannot hold CAR T cells, write negative_control into `role`, and it shows whether calls are false"
            )
        earlier = [
            other
            for other in samples
            if other.patient == sample.patient
            and (other.role == "case" or other.compartment == "product")
            and _after_infusion(time, times[other.sample], product=other.compartment == "product")
        ]
        if sample.role == "negative_control" and earlier:
            what = "the product" if earlier[0].compartment == "product" else "a case"
            when = f" of {earlier[0].timepoint}" if earlier[0].timepoint else ""
            yield (
                f"sample {sample.sample} is a negative_control of {sample.timepoint}, yet {earlier[0].sample} of the "
                f"same patient is {what}{when}: after the infusion no sample is sure to hold no CAR T cells; correct "
                "role or timepoint"
            )


def _after_infusion(
    time: tuple[str, float], other: tuple[str, float] | None, *, product: bool
) -> bool:
    """Return whether a time is after the infusion, by that of a case or of the product of the same patient.

    Of dates, visits and numbers it is not known which is the infusion's: what comes after a case does.
    """
    if time[0] in DAYS:
        days = time[1] * DAYS[time[0]]
        if product:
            return days > 0
        # Of one day two samples may be of before and after the infusion.
        return (
            other is not None and other[0] in DAYS and 0 <= other[1] * DAYS[other[0]] <= days != 0
        )
    return (
        not product and other is not None and other[0] == time[0] != "before" and other[1] < time[1]
    )


def _shares(samples: list[Sample]) -> Iterator[str]:
    """Yield columns of numbers whose names do not say that they are shares of CAR T cells, or in another unit."""
    for name in dict.fromkeys(key for s in samples for key in s.further()):
        values = [v for s in samples if (v := s.further().get(name, "")) and not is_missing(v)]
        try:
            numbers = [float(v) for v in values]
        except ValueError:
            continue
        if not numbers:
            continue
        most = most_of_share(name)
        codes = sorted({v for v in numbers if v < 0})
        if codes and set(codes) <= _CODES and max(numbers) > 0:
            yield (
                f"column {name!r} holds {codes[0]:g}, its only number below 0: if it stands for a missing value, leave "
                "the cell empty"
            )
        if most is None:
            # CAR, and beside it what a share is called.
            low = name.lower()
            if _CAR_SHARE.search(low) and _SHARE_WORD.search(low):
                yield (
                    f"column {name!r} is shown as a clinical number: if it measures CAR T cells among T cells, call it "
                    "car_pct (in per cent) or car_fraction, with any word behind (car_pct_flow), and it is compared "
                    "with carseq's fraction"
                )
        elif most > 1 and len(numbers) > 1 and 0 < max(numbers) <= 1:
            yield (
                f"column {name!r} is in per cent by its name, and all its numbers are 1 or less: if they are fractions "
                "(0.3 for 30 %), call it car_fraction"
            )
