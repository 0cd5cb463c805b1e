"""Style and parts of the figures drawn with matplotlib: maps and distributions of many cells, and the construct."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatter

#: Matplotlib's names of the palette's shapes.
MARKERS = {"triangle-up": "^", "diamond": "D", "square": "s", "cross": "x", "circle": "o"}

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


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one panel; width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


@cache
def draw_first() -> None:
    """Draw a figure that nobody sees, once: the first of a process finds the fonts, and takes as long as several."""
    with style():
        figure, axes = new_figure(3, 2)
        axes.plot([1, 10], [1, 10], label="a")
        axes.set_xscale("log")
        axes.legend()
        FigureCanvasAgg(figure).draw()


def nothing_to_show(message: str) -> Figure:
    """Return a figure that holds a message in place of data."""
    with style():
        figure, axes = new_figure(5, 1.2)
        axes.set_axis_off()
        axes.text(0, 0.5, message, color="#5f6670", va="center", transform=axes.transAxes)
        return figure


def thousands(axis: mpl.axis.Axis) -> None:
    """Label an axis with whole numbers and thousands separators."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if axis.get_scale() == "log":
        axis.set_minor_formatter(_FewThousands(minor_thresholds=(1, 0.4)))


class _FewThousands(LogFormatter):
    """Labels between the powers of ten, where an axis spans few of them; numbers, since 10³ takes long to set."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:,.0f}" if super().__call__(x, pos) else ""


def new_panels(n: int, width: float = 3.0, height: float = 2.5) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``n`` panels, three in a row."""
    columns = min(n, 3)
    rows = -(-n // columns)
    figure = Figure(figsize=(max(5.5, width * columns), height * rows + 0.6), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in panels[n:]:
        axes.set_axis_off()
    return figure, panels[:n]
