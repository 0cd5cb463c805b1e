"""Numbers and verdicts as people read them."""

from __future__ import annotations

import math
import os
import re
from datetime import UTC, date, datetime
from typing import Any

from carseq.schema.percent import NBSP, limit_percent, percent, percent_range


def today() -> date:
    """Return the date that goes into what is written: today's, or that of ``SOURCE_DATE_EPOCH`` (seconds since 1970).

    The variable (reproducible-builds.org/specs/source-date-epoch) makes a run of another day give the same bytes.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    return datetime.fromtimestamp(int(given), UTC).date() if given.isdigit() else date.today()


def number(value: Any, digits: int = 2) -> str:
    """Return a number with thousands separators and ``digits`` significant digits below 100."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    if isinstance(value, str):
        return value
    value = float(value)
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) < 0.001:
        return "<0.001" if value > 0 else ">-0.001"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def count(n: Any, singular: str, plural: str | None = None) -> str:
    """Return a count with its noun: ``1 cell``, ``1,234 cells``."""
    return f"{number(n)} {singular if n == 1 else plural or singular + 's'}"


def step_words(step: str) -> str:
    """Return a step of the account of reads in words: ``in_t_cells`` is ``in T cells``."""
    words = re.sub(r"\bcar\b", "CAR", str(step).replace("_", " "))
    return re.sub(r"\bt cell", "T cell", words)


def blood_words(row: Any) -> str:
    """Say how many of a urine sample's T cells could have come with blood, from its combined row.

    Parameters
    ----------
    row
        A row of schema ``BLOOD_IN_URINE`` (anything with its columns as attributes).
    """
    if not math.isfinite(row.estimate):
        return f"Blood in this urine: undetermined ({row.note})."
    text = (
        f"Blood in this urine: up to {percent(row.high)} of its T cells (estimate {percent(row.estimate)}) "
        f"could have come with blood, {row.note}."
    )
    if not math.isfinite(row.p_blood_alone):
        return text
    brought = f"{number(row.car_expected)} ({number(row.car_expected_low)}–{number(row.car_expected_high)})"
    if row.pairing != "same time point":
        brought = (
            f"at most {number(row.car_expected_high)} (if each of its T cells were a CAR T cell)"
        )
    explains = "may explain" if row.car_verdict == "maybe_by_blood" else "does not explain"
    chance = f"below 0.1{NBSP}%" if row.p_blood_alone < 0.001 else percent(row.p_blood_alone)
    return (
        f"{text} That much blood would bring {brought} CAR T cells; the urine holds about {number(row.car_seen)} "
        f"({number(row.car_seen_low)}–{number(row.car_seen_high)}): blood alone {explains} them "
        f"(the probability that it brings as many is {chance})."
    )


#: Fewer T cells than this say little of the sample that they are of.
FEW_T_CELLS = 20


def few_words(row: Any) -> str:
    """Say of a sample with calls that its share is that of a few T cells; nothing where they are many.

    Parameters
    ----------
    row
        A row of schema ``DETECTION`` (anything with its columns as attributes).
    """
    if row.verdict != "detected" or not 0 < row.n_t_cells < FEW_T_CELLS:
        return ""
    these = "this one T cell" if row.n_t_cells == 1 else f"these {row.n_t_cells} T cells"
    return f"That is the share of {these}: so few say little of the share in the whole sample."


def verdict_words(row: Any) -> tuple[str, list[str]]:
    """Put a row of the detection table into words.

    Parameters
    ----------
    row
        A row of schema ``DETECTION`` (anything with its columns as attributes).

    Returns
    -------
    headline : str
        The verdict, such as ``CAR T cells not detected above 3.9 %``.
    sentences : list of str
        The sentences that carry the numbers.
    """
    called = f"{number(row.n_car_positive)} of {count(row.n_t_cells, 'T cell')} called positive."
    sentences = [called]
    finite = math.isfinite
    # Of a silent sample; a few molecules let its interval end above the limit.
    bounds = (float(row.detection_limit), float(row.prevalence_high))
    excluded = max((bound for bound in bounds if finite(bound)), default=math.nan)
    if row.verdict == "detected":
        headline = "CAR T cells detected"
        if finite(row.prevalence):
            sentences.append(
                f"Estimated {percent(row.prevalence)} "
                f"({percent_range(row.prevalence_low, row.prevalence_high)}) of T cells after "
                "correction for dropout."
            )
            if few := few_words(row):
                sentences.append(few)
        if finite(row.expected_false_calls):
            tail = f"; sensitivity {percent(row.sensitivity)}" if finite(row.sensitivity) else ""
            sentences.append(f"Expected false calls {number(row.expected_false_calls)}{tail}.")
    elif row.verdict == "not_detected":
        limit = limit_percent(excluded) if finite(row.detection_limit) else ""
        headline = f"CAR T cells not detected{f' above {limit}' if limit else ''}"
        if limit:
            sentences.append(
                f"A share of CAR T cells above {limit} of T cells is excluded with 95{NBSP}% "
                "confidence; a smaller one is not."
            )
        if finite(row.sensitivity):
            sentences.append(f"Sensitivity {percent(row.sensitivity)} per CAR T cell.")
    else:
        headline = "Undetermined"
        if not row.n_cells:
            sentences = ["No cells were kept."]
        elif not row.n_t_cells:
            sentences = [f"No T cells among {count(row.n_cells, 'cell')}."]
        elif finite(row.detection_limit) and excluded < 1:
            sentences.append(f"Only shares above {limit_percent(excluded)} are excluded.")
    return headline, sentences
