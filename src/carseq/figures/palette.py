"""Colours, style and the parts that figures share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

#: Okabe & Ito's eight, told apart with every common colour blindness (jfly.uni-koeln.de/color).
OKABE_ITO = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000"]
#: For categories beyond eight: Tol's muted scheme, then darker shades of Okabe and Ito's.
_MORE = ["#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255"]
_YET_MORE = ["#004B76", "#99690B", "#00664A", "#8A4B6E", "#7F3801", "#8F8826", "#6A51A3", "#969696"]
CATEGORIES = [*OKABE_ITO[:5], *_MORE, *_YET_MORE]
UNKNOWN = "#9AA0A6"

#: How a call looks: colour, matplotlib marker, and words. The shapes differ as well as the colours.
CALLS = {
    "positive": ("#D55E00", "^", "CAR T cell"),
    "uncertain": ("#E69F00", "D", "uncertain"),
    "signal": ("#0072B2", "x", "CAR molecule, not a T cell"),
    "negative": ("#B4B9BE", "o", "no call"),
}
#: Classes of evidence; ``rejected`` molecules fit an endogenous gene better.
EVIDENCE = {"unique": "#0072B2", "junction": "#009E73", "shared": "#E69F00", "rejected": "#B4B9BE"}
#: Verdicts: colour and marker.
VERDICTS = {
    "detected": ("#D55E00", "^"),
    "not-detected": ("#0072B2", "o"),
    "undetermined": ("#7A8087", "s"),
}

_STYLE: Any = {
    "figure.dpi": 110,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#5f6670",
    "axes.labelcolor": "#30363d",
    "legend.frameon": False,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


@contextmanager
def style() -> Iterator[None]:
    """Draw in carseq's style inside this block; every function here does so by itself."""
    with mpl.rc_context(_STYLE):
        yield


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


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def nothing_to_show(message: str) -> Figure:
    with style():
        figure, axes = new_figure(5, 1.2)
        axes.set_axis_off()
        axes.text(0, 0.5, message, color="#5f6670", va="center", transform=axes.transAxes)
        return figure


def thousands(axis: mpl.axis.Axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def stacked(shares: pd.DataFrame, palette: dict[str, str], what: str) -> Figure:
    with style():
        # The legend stands beside the bars and must not press them together.
        height = max(1.2 + 0.36 * len(shares), 0.4 + 0.22 * len(shares.columns))
        figure, axes = new_figure(7.5, height)
        left = np.zeros(len(shares))
        for column in shares.columns:
            widths = shares[column].to_numpy()
            axes.barh(range(len(shares)), widths, left=left, color=palette[column], label=column)
            left += widths
        axes.set_yticks(range(len(shares)), list(shares.index))
        axes.set_ylim(len(shares) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel(f"share of {what}")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
        return figure


def intervals(axes: Axes, table: pd.DataFrame, palette: dict[str, str], keys: list[str]) -> None:
    for y, (row, key) in enumerate(zip(table.itertuples(), keys, strict=True)):
        axes.plot([row.low, row.high], [y, y], color=palette[key], lw=2, solid_capstyle="butt")
        axes.plot([row.estimate], [y], "o", color=palette[key], ms=6)


def new_panels(n: int, width: float = 3.0, height: float = 2.5) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``n`` panels, three in a row."""
    columns = min(n, 3)
    rows = -(-n // columns)
    figure = Figure(figsize=(max(5.5, width * columns), height * rows + 0.6), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in panels[n:]:
        axes.set_axis_off()
    return figure, panels[:n]
