"""Figures of the calls: verdicts, what ambient RNA explains, simple rules, thresholds and depth."""

from __future__ import annotations

from functools import cache

import altair as alt
import numpy as np
import pandas as pd

from carseq.cells.markers import is_single_t
from carseq.figures import summaries
from carseq.figures.chart import (
    TIP,
    WIDTH,
    Figure,
    alike,
    in_order,
    in_panel,
    legend,
    log_axis,
    nothing,
    panels,
    percent_axis,
    row,
    row_chart,
    scale,
    share,
    source,
    subtitle,
    with_headings,
)
from carseq.figures.palette import (
    CALLS,
    CROSS,
    INK,
    OKABE_ITO,
    SOFT,
    VERDICTS,
    shown_call,
)
from carseq.figures.phrases import count, number
from carseq.schema.percent import limit_percent, percent, percent_range

CALLED = CALLS["positive"][0]
#: How a cell with CAR molecules is shown, in words.
CALL_WORDS = {key: label for key, (_, _, label) in CALLS.items()} | {"negative": "T cell, no call"}
#: The model and the rules beside it, with their colours.
RULES = {"≥ 1 UMI": OKABE_ITO[0], "≥ 2 UMIs": OKABE_ITO[2], "carseq's model": CALLED}
_OF_VERDICT = {words: colour for colour, _, words in VERDICTS.values()}
_SHAPE_OF_VERDICT = {words: shape for _, shape, words in VERDICTS.values()}


def _verdict(name: str = "verdict:N") -> tuple[alt.Color, alt.Shape]:
    """Return the channels that show a verdict in words by colour and by shape."""
    look = legend(_OF_VERDICT)
    return (
        alt.Color(name, scale=scale(_OF_VERDICT), legend=look),
        alt.Shape(name, scale=scale(_SHAPE_OF_VERDICT), legend=look),
    )


def words_of_verdict(verdict: pd.Series) -> pd.Series:
    """Return verdicts (codes) in words; what is none of them is undetermined."""
    return verdict.map({key: words for key, (_, _, words) in VERDICTS.items()}).fillna(
        "undetermined"
    )


def control_label(table: pd.DataFrame) -> pd.Series:
    """Return the samples' names; negative controls say so."""
    control = np.where(table["role"] == "negative_control", " (control)", "")
    return table["sample"].astype(str) + control


@alike
def _prevalence() -> alt.LayerChart:
    base = source().encode(y=row())
    colour, shape = _verdict()
    title = "CAR T cells among T cells; vertical stroke: detection limit"
    known_, open_rows = "datum.verdict != 'undetermined'", "datum.verdict == 'undetermined'"
    layers = [
        base.transform_filter(known_).mark_rule(strokeWidth=3).encode(
            x=share("low", title), x2=alt.X2("high:Q"), color=colour
        ),
        base.transform_filter(open_rows).mark_rule(strokeWidth=1.5, strokeDash=[2, 3]).encode(
            x=share("low", title), x2=alt.X2("high:Q"), color=colour
        ),
        base.mark_tick(color=INK, thickness=2, size=16).encode(x=share("limit", title)),
        base.mark_point(size=110).encode(x=share("estimate", title), color=colour, shape=shape, tooltip=TIP),
    ]  # fmt: skip
    return row_chart(layers)


def prevalence(detection: pd.DataFrame) -> Figure:
    """Forest plot of the CAR T share of T cells, with intervals and detection limits.

    Parameters
    ----------
    detection : pandas.DataFrame
        Schema ``DETECTION``.
    """
    if not len(detection):
        return nothing("No sample.")
    verdict = words_of_verdict(detection["verdict"])
    notes, tips = [], []
    for cell, words in zip(detection.itertuples(), verdict, strict=True):
        known = np.isfinite(cell.prevalence)
        interval = percent_range(cell.prevalence_low, cell.prevalence_high)
        estimate = f"{percent(cell.prevalence)} ({interval})"
        open_ = words == "undetermined"
        notes.append("–" if not known else interval if open_ else estimate)
        called = (
            f"{number(cell.n_car_positive)} of {count(cell.n_t_cells, 'T cell')} called positive"
        )
        tip = f"{cell.sample}\n{words}\n{called}"
        tip += f"\n{f'interval {interval}' if open_ else f'estimate {estimate}'}" if known else ""
        limit = cell.detection_limit
        tips.append(
            tip + (f"\ndetection limit {limit_percent(limit)}" if np.isfinite(limit) else "")
        )
    rows = in_order(
        pd.DataFrame(
            {
                "label": control_label(detection),
                "note": notes,
                "tip": tips,
                "verdict": verdict,
                "estimate": detection["prevalence"].where(verdict != "undetermined"),
                "low": detection["prevalence_low"],
                "high": detection["prevalence_high"],
                "limit": detection["detection_limit"].where(detection["detection_limit"] <= 1),
            }
        )
    )
    return Figure(_prevalence(), {"rows": rows})


@cache
def _weighing(low: float, top: float) -> alt.ConcatChart:
    looks = {CALL_WORDS[key]: look for key, look in CALLS.items()}
    shapes = {name: CROSS if look[1] == "cross" else look[1] for name, look in looks.items()}
    tints = {name: "#8A9097" if look[2] == "no call" else look[0] for name, look in looks.items()}
    colour = alt.Color("kind:N", scale=scale(tints), legend=legend(tints))
    shape = alt.Shape("kind:N", scale=scale(shapes), legend=legend(tints))
    told = {"cell": "cell", "type": "type", "kind": "call", "n": "CAR molecules",
            "expected": "expected from ambient RNA", "posterior": "probability"}  # fmt: skip
    tips = [alt.Tooltip(f"{key}:{'N' if key in {'cell', 'type', 'kind'} else 'Q'}", title=title)
            for key, title in told.items()]  # fmt: skip
    point = source().mark_point(filled=False, size=42, strokeWidth=1.4)
    compact = log_axis(low, top)
    log_seen = alt.Scale(type="log", domain=[0.6, top], nice=False)
    log_expected = alt.Scale(type="log", domain=[low, max(1.0, top)], nice=False)
    size = {"width": WIDTH / 2, "height": 230}
    line = source("ends").mark_line(color=SOFT, strokeDash=[4, 4], strokeWidth=1).encode(
        x=alt.X("expected:Q", scale=log_expected), y=alt.Y("seen:Q", scale=log_seen))  # fmt: skip
    dots = point.encode(
        x=alt.X("expected:Q", scale=log_expected, axis=compact, title="CAR molecules expected from ambient RNA"),
        y=alt.Y("seen:Q", scale=log_seen, axis=compact, title="CAR molecules seen"),
        color=colour, shape=shape, tooltip=tips,
    )  # fmt: skip
    left = alt.layer(line, dots).properties(**size)
    of_t = point.transform_filter("isValid(datum.posterior)")
    right = of_t.encode(
        x=alt.X("seen:Q", scale=log_seen, axis=compact, title="CAR molecules seen"),
        y=alt.Y("posterior:Q", scale=alt.Scale(domain=[0, 1]), title="probability of a CAR T cell",
                axis=percent_axis(values=[0, 0.25, 0.5, 0.75, 1])),
        color=colour, shape=shape, tooltip=tips,
    ).properties(**size)  # fmt: skip
    return alt.concat(left, right, columns=2)


def weighing(cells: pd.DataFrame) -> Figure:
    """CAR molecules of each cell against what ambient RNA explains, and T cells' posterior against the molecules.

    Parameters
    ----------
    cells : pandas.DataFrame
        ``obs`` of the cohort; cells with a CAR molecule are drawn.
    """
    bearing = cells[cells["car_umis"] > 0]
    if not len(bearing):
        return nothing("No cell with a CAR molecule.")
    # Counts are whole numbers: spread evenly, so that cells do not hide each other.
    spread = 10 ** (0.12 * ((np.arange(len(bearing)) * 0.618034) % 1 - 0.5))
    expected = bearing["car_expected_ambient"].fillna(0).clip(lower=1e-5).to_numpy(float)
    rows = pd.DataFrame(
        {
            "cell": (
                bearing["sample"].astype(str) + ":" + bearing["barcode"].astype(str)
            ).to_numpy(),
            "type": bearing["cell_type"].astype(str).to_numpy(),
            "kind": shown_call(bearing).map(CALL_WORDS).to_numpy(),
            "n": bearing["car_umis"].to_numpy(),
            "seen": bearing["car_umis"].to_numpy(float) * spread,
            "expected": expected,
            # The model asks T cells alone; results of version 0.2.0 hold 0 for others.
            "posterior": bearing["car_posterior"].where(is_single_t(bearing)).to_numpy(float),
        }
    )
    for name in ("seen", "expected", "posterior"):
        rows[name] = [float(f"{value:.4g}") for value in rows[name]]
    top = float(10 ** np.ceil(np.log10(max(10, rows["seen"].max(), expected.max()))))
    low = float(10 ** np.floor(np.log10(min(0.5, expected.min()))))
    ends = pd.DataFrame({"seen": [0.7, top], "expected": [0.7, top]})
    return Figure(_weighing(low, top), {"rows": rows, "ends": ends})


@alike
def _rules() -> alt.LayerChart:
    shapes = dict(zip(RULES, ("circle", "square", "triangle-up"), strict=True))
    x = {"title": "T cells called", "axis": alt.Axis(format=",.0f", tickMinStep=1)}
    line = source().mark_rule(strokeWidth=3, color="#D0D4D9")
    point = source("marks").mark_point(filled=False, size=90, strokeWidth=2)
    kind = legend(RULES)
    layers = [
        line.encode(y=row(), x=alt.X("low:Q", **x), x2=alt.X2("high:Q")),
        point.encode(
            y=row(), x=alt.X("n:Q", **x), tooltip=TIP,
            color=alt.Color("rule:N", scale=scale(RULES), legend=kind),
            shape=alt.Shape("rule:N", scale=scale(shapes), legend=kind),
        ),
    ]  # fmt: skip
    return row_chart(layers, notes=False)


def rules(cells: pd.DataFrame, detection: pd.DataFrame) -> Figure:
    """T cells called by the model and by counting rules.

    Parameters
    ----------
    cells : pandas.DataFrame
        ``obs`` of the cohort.
    detection : pandas.DataFrame
        Schema ``DETECTION``.
    """
    table = summaries.rule_comparison(cells, detection)
    if not len(table):
        return nothing("No sample.")
    tips = [
        f"{r.sample}\n≥ 1 UMI: {number(r.at_least_1)}\n≥ 2 UMIs: {number(r.at_least_2)}\nmodel: {number(r.model)} "
        f"(expected false: {number(r.expected_false_calls)})\nof {count(r.n_t_cells, 'T cell')}"
        for r in table.itertuples()
    ]
    rows = in_order(pd.DataFrame({"label": control_label(table), "tip": tips}))
    called = table[["at_least_1", "at_least_2", "model"]]
    rows["low"], rows["high"] = called.min(axis=1).to_numpy(), called.max(axis=1).to_numpy()
    marks = [
        {"order": i, "rule": name, "n": int(n), "tip": tips[i]}
        for i, numbers in enumerate(called.to_numpy())
        for name, n in zip(RULES, numbers, strict=True)
    ]
    columns = ["order", "rule", "n", "tip"]
    data = {"rows": rows, "marks": pd.DataFrame(marks, columns=columns)}
    return Figure(_rules(), data)


#: Who called a T cell, with its colour.
CALLED_BY = {"by both": CALLED, "by the rule alone": OKABE_ITO[0], "by carseq alone": OKABE_ITO[1]}


@alike
def _rule_overlap() -> alt.LayerChart:
    title = "T cells that the rule or carseq calls"
    bar = source("bars").mark_bar(stroke="white", strokeWidth=0.6, size=14)
    drawn = bar.encode(
        y=row(), x=share("start", title), x2=alt.X2("end:Q"), tooltip=TIP,
        color=alt.Color("called:N", scale=scale(CALLED_BY), legend=legend(CALLED_BY)),
    )  # fmt: skip
    return row_chart([drawn])


def rule_overlap(table: pd.DataFrame) -> Figure:
    """What the field's own rules call beside carseq: both, the rule alone, carseq alone, for each sample and rule.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema ``RULES``.
    """
    table = table[table["rule"] != "carseq"]
    if not len(table):
        return nothing("No T cells.")
    rows, bars = [], []
    for r in table.itertuples():
        parts = dict(zip(CALLED_BY, (r.n_both, r.n_only_rule, r.n_only_carseq), strict=True))
        either = sum(parts.values())
        fitted = r.n_called >= 0
        counts = ", ".join(f"{number(n)} {who}" for who, n in parts.items())
        tip = f"{r.sample}\n{r.rule}: {counts if fitted else r.note}"
        note = "not fitted" if not fitted else "none called"
        if fitted and either:
            note = f"{number(r.n_both)} of {number(either)} by both"
        rows.append({"sample": r.sample, "label": r.rule, "note": note, "tip": tip})
        start = 0.0
        for who, n in parts.items():
            if fitted and n:
                end = start + n / either
                key = (r.sample, r.rule)
                bars.append({"key": key, "called": who, "start": start, "end": end, "tip": tip})
                start = end
    laid = with_headings(pd.DataFrame(rows), ["sample"])
    order = {(r.sample, r.label): r.order for r in laid.itertuples() if not r.is_heading}
    columns = ["order", "called", "start", "end", "tip"]
    drawn = pd.DataFrame([b | {"order": order[b["key"]]} for b in bars], columns=columns)
    return Figure(_rule_overlap(), {"rows": laid, "bars": drawn})


@alike
def _thresholds() -> alt.FacetChart:
    title = "false discovery rate"
    x = alt.X(
        "fdr:Q",
        scale=alt.Scale(type="log", nice=False),
        title=title,
        axis=percent_axis(values=(0.001, 0.01, 0.1)),
    )
    name = "T cells called"
    y = alt.Y("n_car_positive:Q", title=name, axis=alt.Axis(tickCount=4, format=",.0f", tickMinStep=1),
              scale=alt.Scale(domainMin=0))  # fmt: skip
    colour, shape = _verdict()
    base = in_panel().encode(x=x)
    wrong = alt.Y("expected_false_calls:Q", title=name)
    layers = [
        base.transform_filter("datum.in_use").mark_rule(strokeDash=[2, 3]).encode(x=x),
        base.mark_line(strokeDash=[6, 3], strokeWidth=1.8, color=OKABE_ITO[0]).encode(y=wrong),
        base.mark_line(strokeWidth=1.2, color=SOFT).encode(y=y),
        base.mark_point(size=55).encode(y=y, color=colour, shape=shape, tooltip=TIP),
    ]
    told = "dashed: expected to be false; dotted: the rate in use"
    return panels(layers, "sample").resolve_scale(y="independent").properties(title=subtitle(told))


def thresholds(table: pd.DataFrame) -> Figure:
    """T cells called positive by the false discovery rate allowed, a panel for each sample.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema ``THRESHOLDS``.
    """
    if not len(table):
        return nothing("No T cells.")
    verdict = words_of_verdict(table["verdict"])
    tips = [
        f"{r.sample}, false discovery rate {percent(r.fdr)}{' (in use)' if r.in_use else ''}\n"
        f"{number(r.n_car_positive)} of {count(r.n_t_cells, 'T cell')} called, {number(r.expected_false_calls)} "
        f"expected to be false\nsensitivity {percent(r.sensitivity)}, detection limit "
        f"{limit_percent(r.detection_limit)}\n{words}"
        for r, words in zip(table.itertuples(), verdict, strict=True)
    ]
    columns = ["sample", "fdr", "n_car_positive", "expected_false_calls"]
    rows = table[columns].assign(in_use=table["in_use"].astype(bool), verdict=verdict, tip=tips)
    rows = rows.assign(order=np.arange(len(rows)))
    return Figure(_thresholds(), {"rows": rows})


@alike
def _downsampling() -> alt.FacetChart:
    looks = {
        "calls, of those at full depth": CALLED,
        "sensitivity": OKABE_ITO[0],
        "detection limit": INK,
    }
    shapes = dict(zip(looks, ("triangle-up", "circle", "square"), strict=True))
    x = alt.X(
        "share:Q",
        scale=alt.Scale(domain=[0, 1]),
        title="molecules kept",
        axis=percent_axis(values=(0, 0.5, 1)),
    )
    y = {
        "scale": alt.Scale(domain=[0, 1.1], nice=False),
        "axis": percent_axis(values=(0, 0.25, 0.5, 0.75, 1)),
        "title": None,
    }
    base = in_panel().encode(x=x)
    kind = legend(looks)
    colour = alt.Color("measure:N", scale=scale(looks), legend=kind)
    layers = [
        base.transform_filter("isValid(datum.low)").mark_area(opacity=0.15, color=CALLED).encode(
            y=alt.Y("low:Q", **y), y2=alt.Y2("high:Q")
        ),
        base.mark_line(strokeWidth=1.8).encode(
            y=alt.Y("value:Q", **y), color=colour,
            strokeDash=alt.condition("datum.measure == 'detection limit'", alt.value([5, 3]), alt.value([1, 0])),
        ),
        base.mark_point(size=34).encode(
            y=alt.Y("value:Q", **y), color=colour, tooltip=TIP,
            shape=alt.Shape("measure:N", scale=scale(shapes), legend=kind),
        ),
    ]  # fmt: skip
    return panels(layers, "sample")


def downsampling(table: pd.DataFrame) -> Figure:
    """What each sample would have given with a part of its molecules: calls, sensitivity and detection limit.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema ``DOWNSAMPLING``.
    """
    if not len(table):
        return nothing("No T cells.")
    parts = []
    for sample, own in table.groupby("sample", sort=False):
        own = own.sort_values("share")
        most = float(own["expected_positive"].iloc[-1])
        tip = [
            f"{sample}, {percent(r.share)} of the molecules (median {number(round(r.median_umis))} UMIs)\n"
            f"{number(r.expected_positive)} calls expected ({number(r.expected_positive_low)}–"
            f"{number(r.expected_positive_high)})\nsensitivity {percent(r.sensitivity)}, detection limit "
            f"{limit_percent(r.detection_limit)}"
            for r in own.itertuples()
        ]
        shown = {"sensitivity": own["sensitivity"], "detection limit": own["detection_limit"]}
        if most > 0.5:
            shown["calls, of those at full depth"] = own["expected_positive"] / most
        for name, values in shown.items():
            part = pd.DataFrame(
                {"share": own["share"], "measure": name, "value": values, "tip": tip}
            )
            if name.startswith("calls"):
                part["low"] = own["expected_positive_low"] / most
                part["high"] = (own["expected_positive_high"] / most).clip(upper=1.1)
            parts.append(part.assign(sample=str(sample)))
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(order=np.arange(len(rows)))
    for name in ("low", "high"):
        rows[name] = rows.get(name, np.nan)
    return Figure(_downsampling(), {"rows": rows})
