"""Figures of all barcodes, cells or not. This module does not load matplotlib, which takes half a second."""

from __future__ import annotations

from functools import cache

import altair as alt
import numpy as np
import pandas as pd

from carseq.figures import chart, summaries
from carseq.figures.palette import CALLS, SOFT, UNKNOWN
from carseq.figures.phrases import number


@cache
def _knee(what: str) -> alt.FacetChart:
    looks = {"no cell": UNKNOWN, "cell": "#1C2127", "with a CAR molecule": CALLS["positive"][0]}
    shapes = {kind: "triangle-up" if kind == "with a CAR molecule" else "circle" for kind in looks}
    compact = alt.Axis(
        labelExpr="format(datum.value, '~s')", values=[float(f"1e{i}") for i in range(8)]
    )
    log = {"scale": alt.Scale(type="log"), "axis": compact}
    base = chart.in_panel().encode(
        x=alt.X("rank:Q", title="barcode rank", **log),
        y=alt.Y("total_umis:Q", title=what, **log),
        color=alt.Color("kind:N", scale=chart.scale(looks), legend=chart.legend(looks)),
        shape=alt.Shape("kind:N", scale=chart.scale(shapes), legend=chart.legend(looks)),
    )
    told = {"rank": "rank", "total_umis": what, "car_umis": "of the CAR", "kind": "this is"}
    tips = [alt.Tooltip(f"{k}:{'N' if k == 'kind' else 'Q'}", title=v) for k, v in told.items()]
    notes = chart.in_panel().transform_filter("datum.kind == 'note'")
    marked = "datum.kind == 'with a CAR molecule'"
    layers = [
        base.transform_filter(f"!({marked}) && datum.kind != 'note'").mark_point(size=12),
        base.transform_filter(marked).mark_point(size=36, filled=False, strokeWidth=1.3).encode(
            tooltip=tips
        ),
        notes.mark_text(align="right", fontSize=11, color=SOFT).encode(
            text=alt.Text("note:N"), x=alt.XValue("width"), y=alt.YValue(6)
        ),
    ]  # fmt: skip
    return chart.panels(layers, "sample")


def knee(
    table: pd.DataFrame, title: str | pd.Series = "", what: str = "UMIs", n_points: int = 1000
) -> chart.Figure:
    """Barcodes by rank, with those that carry CAR molecules marked, below the cut too.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema ``KNEE`` (``rank``, ``total_umis``, ``is_cell``, ``car_umis``) of one sample, or of several with a column
        ``sample``: a panel each.
    title : str
        The sample, where the table does not name it.
    what : str
        What the barcodes are ranked by.
    n_points : int
        Points of each curve.
    """
    if not len(table):
        return chart.nothing(f"{title}: no barcodes." if title else "No barcodes.")
    table = table if "sample" in table else table.assign(sample=title)
    parts = []
    for name, own in table.groupby("sample", sort=False):
        thin = summaries.thin_knee(own, n_points=n_points, n_marked=600)
        bearing = own["car_umis"].fillna(0) > 0
        n_below = int((bearing & ~own["is_cell"].astype(bool)).sum())
        where = " below the cells" if own["is_cell"].astype(bool).any() else ""
        told = f"{number(n_below)} with CAR{where}"
        parts += [
            thin.assign(kind=_kind_of_barcode(thin)),
            pd.DataFrame({"sample": [name], "kind": ["note"], "note": [told]}),
        ]
    rows = pd.concat(parts, ignore_index=True)
    rows["total_umis"] = rows["total_umis"].clip(lower=1)
    columns = ["sample", "rank", "total_umis", "car_umis", "kind", "note"]
    rows = rows[columns].assign(order=np.arange(len(rows)))
    return chart.Figure(_knee(what), {"rows": rows})


def _kind_of_barcode(table: pd.DataFrame) -> pd.Series:
    kind = pd.Series(np.where(table["is_cell"].astype(bool), "cell", "no cell"), table.index)
    return kind.where(table["car_umis"].fillna(0) == 0, "with a CAR molecule")
