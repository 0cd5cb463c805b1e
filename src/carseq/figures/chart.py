"""What a figure is: a Vega-Lite chart with its rows, drawn alike by the report's page, a notebook and a saved file.

A figure is defined once, in Altair. A notebook shows it as it is; ``save`` writes it as SVG, PDF or PNG. The page gets
the same chart, compiled to Vega, and draws it with Vega's own runtime. Labels and hover texts are put into words in
Python, so that a number reads alike everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import IO, Any

import altair as alt
import numpy as np
import pandas as pd
import vl_convert as vlc
from altair.utils.schemapi import debug_mode

from carseq.figures.palette import GRID, INK, SOFT
from carseq.io.cache import kept
from carseq.io.files import atomic

#: Its version: what it makes of a chart is kept under it.
_VL_CONVERT = getattr(vlc, "__version__", "")
#: Width of a figure in a file or notebook, pixels; the page gives each its own.
WIDTH = 620
#: Pixels of a picture in a notebook for each of the figure's: its text is then as large as that of the figures drawn
#: with matplotlib (10 points at 110 dots an inch), and its widest chart fits beside a notebook's margin.
NOTEBOOK_SCALE = 1.2
#: Height of a row of a chart of rows, pixels.
STEP = 28
#: Mean width of a character, as a part of the font's size (Helvetica, mixed text).
_CHARACTER = 0.56
FONT = 13
_CONFIG: dict[str, Any] = {
    "background": "white",
    "font": "Helvetica, Arial, sans-serif",
    "padding": 5,
    "view": {"stroke": None},
    "text": {"fontSize": FONT, "color": INK, "baseline": "middle"},
    "axis": {
        "labelFontSize": FONT, "titleFontSize": FONT, "titleFontWeight": "normal", "labelColor": SOFT,
        "titleColor": SOFT, "gridColor": GRID, "domain": False, "ticks": False, "labelPadding": 6,
    },
    "legend": {
        "orient": "top", "title": None, "labelFontSize": FONT, "labelColor": INK, "symbolSize": 90,
        "symbolOpacity": 1, "labelLimit": 260, "columnPadding": 14, "rowPadding": 4,
    },
    "header": {
        "labelFontSize": FONT, "labelFontWeight": "bold", "labelColor": INK, "title": None, "labelAnchor": "start",
        "labelLimit": 260,
    },
    "rule": {"color": SOFT},
    "point": {"opacity": 1, "filled": True},
}  # fmt: skip


#: The text that a mark shows when it is pointed at.
TIP = alt.Tooltip("tip:N")


@contextmanager
def without_checks() -> Iterator[None]:
    """Make charts without a check of each part by Vega-Lite's schema: the tests check each figure."""
    with debug_mode(False):
        yield


def as_dict(chart: Any) -> dict[str, Any]:
    """Return a chart as Vega-Lite.

    It is not checked by Vega-Lite's schema, which takes longer than all else: the tests check each figure.
    """
    made: dict[str, Any] = chart.to_dict(validate=False)
    return made


@dataclass(frozen=True)
class Menu:
    """A choice of the page: shows the rows whose ``column`` has the chosen value.

    Attributes
    ----------
    column : str
        Column of the figure's rows.
    label : str
        What is chosen, in words.
    options : tuple of (str or None, str)
        Value and words of each option; None shows all rows. The first one is shown at first.
    """

    column: str
    label: str
    options: tuple[tuple[str | None, str], ...]


@dataclass(frozen=True)
class Figure:
    """A chart with its rows.

    Attributes
    ----------
    chart : altair.TopLevelMixin or None
        The chart; its data are named, and held in ``data``. None if there is nothing to show.
    data : mapping of str to pandas.DataFrame
        Rows by name. ``label`` and ``note`` of a chart of rows are drawn left and right of each row.
    menus : tuple of Menu
        What a reader of the page may choose.
    chosen : mapping of str to (str or None)
        The option in use, by column; the first of each menu where nothing is said.
    message : str
        Why there is nothing to show.
    """

    chart: Any
    data: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    menus: tuple[Menu, ...] = ()
    chosen: Mapping[str, str | None] = field(default_factory=dict)
    message: str = ""

    def choose(self, **chosen: str | None) -> Figure:
        """Return the figure with other options of its menus, by column."""
        return replace(self, chosen={**self.chosen, **chosen})

    def rows(self) -> dict[str, pd.DataFrame]:
        """Return the rows that the options in use show, by name."""
        shown = dict(self.data)
        for menu in self.menus:
            value = self.chosen.get(menu.column, menu.options[0][0])
            if value is None:
                continue
            for name, table in shown.items():
                if menu.column in table:
                    shown[name] = table[table[menu.column] == value]
        return shown

    def spec(self) -> dict[str, Any]:
        """Return the chart as Vega-Lite with its rows, as files and notebooks show it."""
        chart = self.chart if self.chart is not None else _message(self.message)
        spec = as_dict(chart)
        shown = self.rows()
        spec["config"] = _CONFIG
        spec["datasets"] = {name: records(table) for name, table in shown.items()}
        for param in spec.get("params", ()):
            if param["name"] in ("label_room", "note_room"):
                texts = shown["rows"][param["name"].removesuffix("_room")].fillna("")
                param["value"] = room(texts, 16, 300)
        return spec

    def save(self, file: str | Path | IO[bytes], kind: str | None = None, scale: float = 2) -> None:
        """Save the figure.

        Parameters
        ----------
        file : path or binary stream
            Where to.
        kind : str or None
            ``svg``, ``pdf`` or ``png``; None: as the file's name says.
        scale : float
            Pixels of a PNG for each of the figure's.
        """
        kind = kind or Path(str(file)).suffix.lstrip(".")
        made: bytes | str
        if kind == "png":
            made = vlc.vegalite_to_png(self.spec(), scale=scale)
        elif kind == "svg":
            made = vlc.vegalite_to_svg(self.spec())
        else:
            made = vlc.vegalite_to_pdf(self.spec())
        content = made.encode() if isinstance(made, str) else made
        if isinstance(file, (str, Path)):
            with atomic(Path(file)) as temporary:
                temporary.write_bytes(content)
        else:
            file.write(content)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        # A picture that every viewer of notebooks shows, without a network.
        import base64

        made = vlc.vegalite_to_png(self.spec(), scale=NOTEBOOK_SCALE)
        return {"image/png": base64.b64encode(made).decode()}

    def vega(self) -> dict[str, Any]:
        """Return the chart compiled to Vega, without its rows: what the page draws."""
        # Charts are made once and kept (`functools.cache`), so that each is compiled once.
        key = id(self.chart)
        if key not in _COMPILED:
            spec = {**as_dict(self.chart), "config": {**_CONFIG, "background": None}}
            # Its rows are not in it: it is the same in every study.
            made = kept(
                "chart",
                f"vl-convert {_VL_CONVERT} {json.dumps(spec)}",
                lambda: json.dumps(vlc.vegalite_to_vega(spec)).encode(),
            )
            _COMPILED[key] = (self.chart, made.decode())
        compiled: dict[str, Any] = json.loads(_COMPILED[key][1])
        return compiled


def alike(make: Callable[[], Any]) -> Callable[[], Any]:
    """Mark a function that makes a chart which is the same in every study: it is made once."""
    _ALIKE.append(cached := cache(make))
    return cached


def make_alike() -> None:
    """Make the charts that are the same in every study."""
    with without_checks():
        for make in _ALIKE:
            make()


#: What makes them.
_ALIKE: list[Callable[[], Any]] = []


def warm_up() -> None:
    """Start what draws pictures, which takes most of the time of the first one."""
    chart = alt.Chart().mark_point()
    vlc.vegalite_to_png({**as_dict(chart), "config": _CONFIG})


#: Charts and what they were compiled to, by the chart's identity.
_COMPILED: dict[int, tuple[Any, str]] = {}


@cache
def runtime() -> str:
    """Return Vega's runtime as JavaScript that sets ``window.vegaEmbed``, from the files that vl-convert brings."""
    snippet = "window.vegaEmbed = vegaEmbed;"
    # To put it together takes two seconds.
    made = kept(
        "runtime",
        f"vl-convert {_VL_CONVERT} {snippet}",
        lambda: vlc.javascript_bundle(snippet).encode(),
    )
    return made.decode()


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows as Vega takes them: what is missing or infinite is null."""
    made: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=8))
    return made


def room(texts: Iterable[str], least: int = 0, most: int = 10_000) -> int:
    """Return how much room texts take beside a chart, in pixels."""
    longest = max((len(str(text)) for text in texts), default=0)
    return int(np.clip(longest * _CHARACTER * FONT + 14, least, most))


def nothing(message: str) -> Figure:
    """Return a figure that says why there is nothing to show."""
    return Figure(None, message=message)


def _message(text: str) -> alt.Chart:
    data = alt.Data(values=[{"text": text}])
    look = alt.Chart(data, width=400, height=30).mark_text(align="left", color=SOFT)
    return look.encode(text=alt.Text("text:N"), x=alt.XValue(0))


# --- parts of charts --------------------------------------------------------------------------------


def source(name: str = "rows") -> alt.Chart:
    """Return an empty chart over the named rows."""
    return alt.Chart(alt.NamedData(name))


def subtitle(text: str) -> alt.TitleParams:
    """Return a quiet line of text above a chart."""
    return alt.TitleParams(text, anchor="start", color=SOFT, fontSize=FONT, fontWeight="normal")


def in_panel() -> alt.Chart:
    """Return an empty chart over the rows of a panel (:func:`panels` gives them)."""
    return alt.Chart()


def log_axis(low: float, high: float) -> alt.Axis:
    """Return the axis of a logarithmic scale, labelled at powers of ten."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    return alt.Axis(values=[float(f"1e{i}") for i in powers], labelExpr="format(datum.value, '~g')")


def share(name: str, title: str | None = None, *, axis: bool = True) -> alt.X:
    """Return an x channel of fractions, 0 to 1, shown as per cent."""
    return alt.X(f"{name}:Q", scale=alt.Scale(domain=[0, 1]), title=title, axis=percent_axis(axis))


def percent_axis(shown: bool = True, values: Sequence[float] = (0, 0.2, 0.4, 0.6, 0.8, 1)) -> Any:
    """Return an axis of fractions in per cent; None if it is not to be shown."""
    expression = "format(100 * datum.value, '~r') + '\N{NO-BREAK SPACE}%'"
    return alt.Axis(labelExpr=expression, values=list(values)) if shown else None


def scale(looks: Mapping[str, str]) -> alt.Scale:
    """Return a scale from categories to colours or shapes."""
    return alt.Scale(domain=list(looks), range=list(looks.values()))


def legend(labels: Iterable[str], width: int = WIDTH) -> alt.Legend:
    """Return a legend above the chart, in as many columns as there is room for."""
    names = list(labels)
    columns = max(1, int(width // (room(names) + 34)))
    return alt.Legend(columns=min(columns, max(1, len(names))), title=None)


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with ``order``, by which a chart of rows is laid out, and blanks where they lack texts."""
    rows = rows.reset_index(drop=True)
    for name in ("note", "tip"):
        rows[name] = rows[name].fillna("") if name in rows else ""
    if "is_heading" not in rows:
        rows["is_heading"] = False
    rows["is_heading"] = rows["is_heading"].eq(True)
    return rows.assign(order=np.arange(len(rows)))


def with_headings(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Put a heading above each run of rows that are alike in ``by``; its text is the last of these columns."""
    parts = []
    if not len(rows):
        return in_order(rows)
    keys = rows[list(by)].astype(str).agg("\t".join, axis=1)
    for _, part in rows.groupby((keys != keys.shift()).cumsum(), sort=False):
        first = part.iloc[0]
        heading = {"label": str(first[by[-1]]), "is_heading": True}
        kept = {name: first[name] for name in rows if name in by or name.startswith("menu_")}
        parts += [pd.DataFrame([{**kept, **heading}]), part]
    return in_order(pd.concat(parts, ignore_index=True))


def row() -> alt.Y:
    """Return the y channel of a chart of rows."""
    return alt.Y("order:O", axis=None, scale=alt.Scale(type="band", padding=0))


def row_chart(layers: Sequence[Any], *, notes: bool = True) -> alt.LayerChart:
    """Return a chart of rows, each with its label at the left and its note at the right.

    On a narrow screen the page sets ``narrow``: label and note are then drawn above the row.

    Parameters
    ----------
    layers : sequence of altair.Chart
        What is drawn in the rows, with ``row()`` as y.
    notes : bool
        Whether rows have notes.
    """
    base = source().encode(y=row())
    above = alt.ExprRef("narrow ? -17 : 0")
    label = base.transform_filter("!datum.is_heading").mark_text(
        align=alt.ExprRef("narrow ? 'left' : 'right'"), dx=alt.ExprRef("narrow ? -6 : -10"), dy=above,
        limit=alt.ExprRef("narrow ? 420 : label_room - 10"),
    )  # fmt: skip
    heading = base.transform_filter("datum.is_heading").mark_text(
        align="left", fontWeight="bold", dx=alt.ExprRef("narrow ? -6 : -label_room"), dy=5,
        limit=alt.ExprRef("width + label_room"),
    )  # fmt: skip
    note = base.mark_text(
        align=alt.ExprRef("narrow ? 'right' : 'left'"), dx=alt.ExprRef("narrow ? 6 : 10"), dy=above, color=SOFT
    )  # fmt: skip
    texts = [
        label.encode(x=alt.XValue(0), text=alt.Text("label:N")),
        heading.encode(x=alt.XValue(0), text=alt.Text("label:N")),
    ]
    if notes:
        texts.append(note.encode(x=alt.XValue("width"), text=alt.Text("note:N")))
    hover = base.transform_filter("!datum.is_heading").mark_rect(opacity=0).encode(tooltip=TIP)
    params = [
        alt.param("label_room", value=150),
        alt.param("note_room", value=100),
        alt.param("narrow", value=False),
    ]
    # Whatever is added to layers later copies them all.
    layers = [hover.add_params(*params), *layers, *texts]
    return alt.layer(*layers, width=WIDTH, height=alt.Step(STEP))


@cache
def _stacked(looks: tuple[tuple[str, str], ...], what: str) -> alt.LayerChart:
    colour = alt.Color(
        "category:N", scale=scale(dict(looks)), legend=legend(name for name, _ in looks)
    )
    bar = source("bars").mark_bar(stroke="white", strokeWidth=0.6, size=18)
    drawn = bar.encode(
        y=row(),
        x=share("start", what),
        x2=alt.X2("end:Q"),
        color=colour,
        tooltip=TIP,
    )
    return row_chart([drawn])


def stacked(counts: pd.DataFrame, palette: Mapping[str, str], what: str, nouns: str) -> Figure:
    """Return stacked bars of shares, a row for each row of ``counts``.

    Parameters
    ----------
    counts : pandas.DataFrame
        Counts, rows by columns (categories).
    palette : mapping of str to str
        Colour of each category.
    what : str
        Title of the axis.
    nouns : str
        What is counted, in the plural.
    """
    from carseq.figures.phrases import number
    from carseq.schema.percent import percent

    total = counts.sum(axis=1)
    noun = nouns.removesuffix("s") if nouns.endswith("s") else nouns
    labels = in_order(
        pd.DataFrame(
            {
                "label": [str(name) for name in counts.index],
                "note": [
                    f"{number(n)} {noun if n == 1 else nouns}" if n else f"no {nouns}"
                    for n in total
                ],
            }
        )
    )
    ends = counts.div(total.clip(lower=1), axis=0).cumsum(axis=1)
    bars = []
    for i, name in enumerate(counts.index):
        start = 0.0
        for key in counts.columns:
            n, end = counts.iloc[i][key], float(ends.iloc[i][key])
            if n:
                tip = f"{name}\n{key}: {number(n)} ({percent(n / total.iloc[i])})"
                bars.append(
                    {"order": i, "category": str(key), "start": start, "end": end, "tip": tip}
                )
            start = end
    columns = ["order", "category", "start", "end", "tip"]
    names = [str(key) for key in counts.columns]
    looks = tuple((name, palette[name]) for name in names)
    data = {"rows": labels, "bars": pd.DataFrame(bars, columns=columns)}
    return Figure(_stacked(looks, what), data)


def panels(
    layers: Sequence[Any], column: str, width: int = 190, height: int = 150, columns: int = 3
) -> Any:
    """Return a panel for each value of ``column``, in the order of the rows (``order``), each with axes of its own."""
    order = alt.EncodingSortField("order", op="min")
    panel = alt.layer(*layers, width=width, height=height)
    by = alt.Facet(f"{column}:N", title=None, sort=order)
    drawn = panel.facet(facet=by, columns=columns, data=alt.NamedData("rows"))
    # Axes of their own: the page lays panels out in as many columns as there is room for.
    return drawn.resolve_axis(x="independent", y="independent")
