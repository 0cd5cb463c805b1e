"""Colours and shapes, the same in every figure, and how cells and samples are named in them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

#: Okabe & Ito's eight, told apart with every common colour blindness (jfly.uni-koeln.de/color).
OKABE_ITO = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]
#: For categories beyond eight: Tol's muted scheme, darker shades of Okabe and Ito's, then Tol's light scheme: the cell
#: types of one urine are some 26.
_MORE = ["#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255"]
_YET_MORE = ["#004B76", "#99690B", "#00664A", "#8A4B6E", "#7F3801", "#8F8826", "#6A51A3", "#969696"]
_LIGHT = ["#77AADD", "#EE8866", "#EEDD88", "#FFAABB", "#99DDFF", "#BBCC33", "#AAAA00"]
CATEGORIES = [*OKABE_ITO[:5], *_MORE, *_YET_MORE, *_LIGHT]
UNKNOWN = "#9AA0A6"

#: Text, quieter text and lines on a white page.
INK, SOFT, GRID = "#1C2127", "#57606A", "#E8EBEF"
#: Saint Andrew's cross, as a path in a square of side 1: Vega's own cross is upright and filled.
CROSS = "M-.5,-.5L.5,.5M-.5,.5L.5,-.5"
#: How a call looks: colour, shape, and words. The shapes differ as well as the colours.
CALLS = {
    "positive": ("#D55E00", "triangle-up", "CAR T cell"),
    "uncertain": ("#E69F00", "diamond", "uncertain"),
    "signal": ("#0072B2", "cross", "CAR molecule, not a T cell"),
    "negative": ("#B4B9BE", "circle", "no call"),
}
#: Classes of evidence; ``rejected`` molecules fit an endogenous gene better.
EVIDENCE = {"unique": "#0072B2", "junction": "#009E73", "shared": "#E69F00", "rejected": "#B4B9BE"}
#: Verdicts: colour, shape and words.
VERDICTS = {
    "detected": ("#D55E00", "triangle-up", "detected"),
    "not_detected": ("#0072B2", "circle", "not detected"),
    "undetermined": ("#7A8087", "square", "undetermined"),
}


def colours(categories: Iterable[str]) -> dict[str, str]:
    """Give each category a colour, in order; blank and ``unknown`` are grey."""
    result: dict[str, str] = {}
    used = 0
    for category in dict.fromkeys(categories):
        if category in {"", "unknown", "unassigned"}:
            result[category] = UNKNOWN
        else:
            result[category] = CATEGORIES[used % len(CATEGORIES)]
            used += 1
    return result


def shown_call(cells: pd.DataFrame) -> pd.Series:
    """Return how each cell is marked: its call, or ``signal`` for CAR molecules outside T cells."""
    signal = (cells["car_umis"] > 0) & (cells["lineage"] != "T")
    call = cells["car_call"].astype(str)
    return call.where(call.isin(["positive", "uncertain"]), np.where(signal, "signal", "negative"))


def shown_sample(table: pd.DataFrame) -> pd.Series:
    """Return each row's sample (schema ``LOCALIZATION``), or what is pooled: ``P01 urine, pooled``."""
    pooled = table["patient"] + " " + table["compartment"] + ", pooled"
    return table["sample"].where(table["sample"] != "", pooled)
