"""Figures of where CAR T cells are."""

from __future__ import annotations

from functools import cache
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from carseq.figures.chart import (
    TIP,
    WIDTH,
    Figure,
    Menu,
    alike,
    in_panel,
    legend,
    log_axis,
    nothing,
    row,
    row_chart,
    scale,
    share,
    source,
    with_headings,
)
from carseq.figures.palette import CALLS, GRID, SOFT, colours, shown_sample
from carseq.figures.phrases import count, number
from carseq.schema.percent import percent, percent_range

#: Levels of the localization table, in words, in the order in which they are offered.
LEVELS = {
    "t_state": "T-cell state",
    "cell_type": "cell type",
    "lineage": "lineage",
    "cell_type x t_state": "type and state",
}
ACCENT = "#005B94"


#: The page shows the shares of up to so many samples at once.
MOST_AT_ONCE = 12


def _intervals(x: Any, high: str = "high:Q") -> alt.Chart:
    return source().mark_rule(strokeWidth=3).encode(y=row(), x=x, x2=high)


@alike
def _localization() -> alt.LayerChart:
    title = "CAR T cells among the cells of the group (95 % interval)"
    tint = alt.Color("colour:N", scale=None)
    layers = [
        _intervals(share("low", title)).encode(color=tint),
        source()
        .mark_point(size=80)
        .encode(y=row(), x=share("estimate", title), color=tint, tooltip=TIP),
    ]
    return row_chart(layers)


def localization(table: pd.DataFrame, level: str | None = None) -> Figure:
    """CAR T shares by sample and group, with intervals.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema ``LOCALIZATION``.
    level : str or None
        ``lineage``, ``cell_type``, ``t_state`` or ``cell_type x t_state``; None: the first of them that has estimates.
    """
    table = table[table["estimate"].notna()]
    if not len(table) or (level is not None and level not in set(table["level"])):
        return nothing(f"No estimate by {LEVELS.get(level, level)}." if level else "No estimate.")
    names = shown_sample(table)
    order = {name: i for i, name in enumerate(dict.fromkeys(names))}
    found = list(dict.fromkeys(table["level"]))
    levels = [name for name in LEVELS if name in found] + [
        name for name in found if name not in LEVELS
    ]
    tips = [
        f"{name} · {r.group}\nestimate {percent(r.estimate)} ({percent_range(r.low, r.high)})\n"
        f"{number(r.n_car_positive)} of {count(r.n_cells, 'cell')} called positive\n{r.method}"
        for name, r in zip(names, table.itertuples(), strict=True)
    ]
    notes = [
        f"{number(r.n_car_positive)} of {number(r.n_cells)} called" for r in table.itertuples()
    ]
    palette: dict[str, str] = {}
    for name in levels:
        palette.update(colours(table["group"][table["level"] == name]))
    rows = pd.DataFrame(
        {
            "menu_level": table["level"],
            "menu_sample": names,
            "label": table["group"],
            "note": notes,
            "tip": tips,
            "colour": table["group"].map(palette),
            **{name: table[name] for name in ("estimate", "low", "high")},
        }
    )
    rows = rows.assign(place=names.map(order), depth=table["level"].map(levels.index))
    rows = rows.sort_values(["depth", "place"], kind="stable").drop(columns=["place", "depth"])
    rows = with_headings(rows, ["menu_level", "menu_sample"])
    menus = [
        Menu("menu_level", "By", tuple((name, str(LEVELS.get(name, name))) for name in levels))
    ]
    chosen: dict[str, str | None] = {} if level is None else {"menu_level": level}
    if len(order) > 1:
        each = tuple((name, name) for name in order)
        whole = (None, "all samples")
        if len(order) > MOST_AT_ONCE:
            # The page begins with one sample, of urine if there is any: all of them are many screens long.
            urine = set(names[table["compartment"] == "urine"])
            each = tuple(sorted(each, key=lambda option: option[0] not in urine))
            menus.insert(0, Menu("menu_sample", "Sample", (*each, whole)))
        else:
            menus.insert(0, Menu("menu_sample", "Sample", (whole, *each)))
        chosen["menu_sample"] = None
    return Figure(_localization(), {"rows": rows}, tuple(menus), chosen)


@cache
def _contrasts(low: float, high: float) -> alt.LayerChart:
    x_scale = alt.Scale(type="log", domain=[low, high], nice=False)
    axis = log_axis(low, high)
    title = "odds ratio (logarithmic scale)"

    def x(name: str) -> alt.X:
        return alt.X(f"{name}:Q", scale=x_scale, axis=axis, title=title)

    hollow = alt.condition("datum.at_edge", alt.value("white"), alt.value(ACCENT))
    one = source("one").mark_rule(color=SOFT, strokeDash=[4, 3]).encode(x=x("estimate"))
    layers = [
        one,
        _intervals(x("low")).encode(color=alt.ColorValue(ACCENT)),
        source().mark_point(size=95, stroke=ACCENT, strokeWidth=1.6, filled=False).encode(
            y=row(), x=x("estimate"), fill=hollow, shape=alt.Shape("shape:N", scale=None), tooltip=TIP
        ),
    ]  # fmt: skip
    return row_chart(layers)


def contrasts(table: pd.DataFrame, *, within: bool | str = False) -> Figure:
    """Odds ratios of being a CAR T cell, with intervals.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema ``CONTRASTS``.
    within : bool or str
        Show T-cell states or types within samples (True: the first contrast of them, or its name), in place of samples
        against each other.
    """
    table = table[table["estimate"].notna()]
    kinds = list(dict.fromkeys(table["contrast"][table["group"] != ""]))
    if within and not kinds:
        return nothing("No contrast of T-cell states or types.")
    if not len(table) or (not within and (table["group"] != "").all()):
        return nothing("No contrast between samples: none of a patient can be compared.")
    ends = table[["low", "high", "estimate"]].to_numpy(float).ravel()
    ends = ends[np.isfinite(ends) & (ends > 1e-4) & (ends < 1e4)]
    low = float(10 ** np.floor(np.log10(min([0.5, *ends]))))
    high = float(10 ** np.ceil(np.log10(max([2.0, *ends]))))
    rows = pd.DataFrame(
        {
            "menu_view": np.where(table["group"] != "", table["contrast"], "samples"),
            "contrast": table["contrast"],
            "label": [_compared(r) for r in table.itertuples()],
            "note": [f"{_odds(r.estimate)}, {_q(r.q)}" for r in table.itertuples()],
            "tip": [_contrast_tip(r) for r in table.itertuples()],
            "shape": np.where(table["n_patients"] > 1, "square", "circle"),
            # Exact intervals may reach 0 or infinity: such an estimate is drawn hollow, at the edge.
            "at_edge": ~table["estimate"].between(low, high),
            **{name: table[name].clip(low, high) for name in ("estimate", "low", "high")},
        }
    )
    rows = rows.sort_values(
        "menu_view", key=lambda names: names.map(["samples", *kinds].index), kind="stable"
    )
    rows = with_headings(rows, ["menu_view", "contrast"])
    views = [name for name in ("samples", *kinds) if (rows["menu_view"] == name).any()]
    menus: tuple[Menu, ...] = ()
    if len(views) > 1:
        menus = (Menu("menu_view", "Compare", tuple((name, name) for name in views)),)
    view = within if isinstance(within, str) else kinds[0] if within else "samples"
    data = {"rows": rows, "one": pd.DataFrame({"estimate": [1.0]})}
    return Figure(_contrasts(low, high), data, menus, {"menu_view": view})


def _compared(r: Any) -> str:
    """Return who is compared in a row of the contrasts."""
    who = f"{r.n_patients} patients, {r.compartment}" if r.n_patients > 1 else r.sample
    if r.n_patients > 1:
        # Several rows may differ in their times alone, with which the reading begins.
        times = str(r.reading).partition(f"{r.n_patients} patients")[0].rstrip("; ")
        who = f"{who}, {times}" if times else who
    if r.group:
        return f"{who} · {r.group}"
    return str(who) if r.n_patients > 1 else f"{who} / {r.reference}"


def _odds(value: float) -> str:
    return "∞" if np.isposinf(value) else number(value)


def _q(value: float) -> str:
    shown = number(value)
    return f"q < {shown[1:]}" if shown.startswith("<") else f"q = {shown}"


def _contrast_tip(r: Any) -> str:
    of_interest = f"{number(r.n_car_positive)} of {count(r.n_t_cells, 'T cell')} called"
    compared = (
        f"{number(r.n_car_positive_reference)} of {count(r.n_t_cells_reference, 'T cell')} called"
    )
    return (
        f"{r.contrast}: {_compared(r)}\n{r.group or r.sample or 'of interest'}: {of_interest}\n"
        f"{r.reference_group or r.reference or 'reference'}: {compared}\n"
        f"odds ratio {_odds(r.estimate)} ({_odds(r.low)}–{_odds(r.high)})\n{r.reading}"
    )


@cache
def _target(gene: str) -> alt.LayerChart:
    title = f"cells with {gene}, of the lineage; CAR T cells, of T cells"
    look = {"color": alt.Color("colour:N", scale=None)}
    layers = [
        _intervals(share("low", title)).encode(**look),
        source().mark_point(size=90).encode(
            y=row(), x=share("estimate", title), shape=alt.Shape("shape:N", scale=None), tooltip=TIP, **look
        ),
    ]  # fmt: skip
    return row_chart(layers)


def target(table: pd.DataFrame) -> Figure:
    """Cells that express what the CAR binds, by sample and lineage, beside the CAR T cells.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema ``TARGET``; lineages in which some sample shows the target are drawn.
    """
    table = table[(table["level"] == "lineage") & table["fraction"].notna()]
    seen = table.groupby("group", sort=False)["n_expressing"].sum()
    groups = list(seen.index[seen > 0])
    if not groups:
        return nothing("No cell that expresses the target.")
    palette = colours(groups)
    gene = str(table["target"].iloc[0])
    rows: list[dict[str, Any]] = []
    for sample, own in table[table["group"].isin(groups)].groupby("sample", sort=False):
        first = own.iloc[0]
        if np.isfinite(first["car_fraction"]):
            fraction, low, high = first["car_fraction"], first["car_low"], first["car_high"]
            rows.append(
                {
                    "menu_sample": sample, "label": "CAR T cells", "estimate": fraction, "low": low, "high": high,
                    "note": f"{number(first['n_car_positive'])} of {number(first['n_t_cells'])} called",
                    "tip": f"{sample}\nCAR T share {percent(fraction)} ({percent_range(low, high)})",
                    "colour": CALLS["positive"][0], "shape": "triangle-up",
                }
            )  # fmt: skip
        for r in own.itertuples():
            rows.append(
                {
                    "menu_sample": sample, "label": r.group, "estimate": r.fraction, "low": r.low, "high": r.high,
                    "note": f"{number(r.n_expressing)} of {number(r.n_cells)}",
                    "tip": f"{sample} · {r.group}\n{number(r.n_expressing)} of {count(r.n_cells, 'cell')} with {gene}\n"
                    f"{percent(r.fraction)} ({percent_range(r.low, r.high)})",
                    "colour": palette[r.group], "shape": "circle",
                }
            )  # fmt: skip
    table_of_rows = with_headings(pd.DataFrame(rows), ["menu_sample"])
    names = list(dict.fromkeys(table_of_rows["menu_sample"]))
    options = ((None, "all samples"), *((name, name) for name in names))
    menus = (Menu("menu_sample", "Sample", options),) if len(names) > 3 else ()
    return Figure(_target(gene), {"rows": table_of_rows}, menus)


@cache
def _clinic(series: tuple[str, ...]) -> alt.FacetChart:
    palette = colours(series)
    colour = alt.Color("series:N", scale=scale(palette), legend=legend(series))
    x = alt.X("place:Q", title="time (the number in the time point, or the order in the sheet)",
              scale=alt.Scale(zero=False, padding=24, nice=False),
              axis=alt.Axis(grid=False, tickMinStep=1, tickCount=6, domain=True, domainColor=GRID))  # fmt: skip
    y = alt.Y("value:Q", title=None, axis=alt.Axis(tickCount=4))
    base_ = in_panel().encode(x=x)
    shape = alt.Shape("shape:N", scale=None)
    layers = [
        base_.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2).encode(
            y=alt.Y("low:Q", title=None), y2=alt.Y2("high:Q"), color=colour
        ),
        base_.transform_filter("datum.shape == 'circle'").mark_line(strokeWidth=1.2).encode(y=y, color=colour),
        base_.mark_point(size=80, filled=False, strokeWidth=2).encode(y=y, color=colour, shape=shape, tooltip=TIP),
        base_.mark_text(dy=-13, color=SOFT).encode(y=alt.Y("top:Q", title=None), text=alt.Text("named:N")),
    ]  # fmt: skip
    panel = alt.layer(*layers).properties(width=WIDTH, height=120)
    header = alt.Header(labelOrient="top", labelPadding=2)
    by = alt.Row(
        "panel:N", title=None, header=header, sort=alt.EncodingSortField("order", op="min")
    )
    return panel.facet(row=by, data=alt.NamedData("rows")).resolve_scale(y="independent")


#: The panel of carseq's own shares, above those of the samples sheet.
_OF_CAR = "CAR T cells among T cells (%)"


def clinic(table: pd.DataFrame, patient: str | None = None) -> Figure:
    """CAR T shares along time, and below them the numbers of the samples sheet, for one patient.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema ``CLINIC``.
    patient : str or None
        The patient; None: the first one.
    """
    if not len(table):
        return nothing("No number in the samples sheet.")
    patients = list(dict.fromkeys(table["patient"]))
    own_shares = table.drop_duplicates("sample")
    own_shares = own_shares[own_shares["car_fraction"].notna()]
    tips = [
        f"{r.sample}\nCAR T share {percent(r.car_fraction)} ({percent_range(r.car_low, r.car_high)})"
        for r in own_shares.itertuples()
    ]
    base = ["patient", "place", "timepoint"]
    parts = [
        own_shares[base].assign(
            panel=_OF_CAR, value=100 * own_shares["car_fraction"], low=100 * own_shares["car_low"],
            high=100 * own_shares["car_high"], series=own_shares["compartment"], tip=tips, shape="circle",
        )
    ]  # fmt: skip
    measured = table[table["measured"].notna()]
    parts.append(
        measured[base].assign(
            panel=_OF_CAR, value=100 * measured["measured"], series=measured["measure"], shape="square",
            tip=[f"{r.sample}\n{r.measure}: {percent(r.measured)}" for r in measured.itertuples()],
        )
    )  # fmt: skip
    others = table[~table["measure"].isin(measured["measure"]) & table["value"].notna()]
    parts.append(
        others[base].assign(
            panel=others["measure"].str.replace("_", " "), value=others["value"], series=others["compartment"],
            shape="circle",
            tip=[f"{r.sample}\n{r.measure}: {number(r.value)}" for r in others.itertuples()],
        )
    )  # fmt: skip
    rows = pd.concat([part for part in parts if len(part)], ignore_index=True)
    if not len(rows):
        return nothing("No number in the samples sheet.")
    for name in ("low", "high"):
        rows[name] = rows.get(name, np.nan)
    rows = rows.rename(columns={"patient": "menu_patient"}).assign(order=np.arange(len(rows)))
    # One name for all that lies at one time, above the highest of it: names do not cover each other or a point.
    rows["top"] = rows[["value", "high"]].max(axis=1)
    highest = rows.groupby(["menu_patient", "panel", "place", "timepoint"])["top"].idxmax()
    rows["named"] = rows["timepoint"].where(rows.index.isin(highest), "")
    series = list(dict.fromkeys(rows["series"]))
    menus = (Menu("menu_patient", "Patient", tuple((name, name) for name in patients)),)
    chosen = {"menu_patient": patient if patient is not None else patients[0]}
    return Figure(_clinic(tuple(series)), {"rows": rows}, menus, chosen)
