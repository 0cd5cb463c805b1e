"""Figures of the CAR's molecules: their classes, where they lie on the transcript, and how many were lost where."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import altair as alt
import numpy as np
import pandas as pd

from carseq.figures import summaries
from carseq.figures.chart import (
    TIP,
    WIDTH,
    Figure,
    Menu,
    legend,
    nothing,
    row,
    row_chart,
    scale,
    source,
    stacked,
    with_headings,
)
from carseq.figures.palette import (
    EVIDENCE,
    INK,
    OKABE_ITO,
    colours,
)
from carseq.figures.phrases import count, number

#: The coverage is drawn as means of at most this many stretches of equal length.
COVERAGE_BINS = 500
#: Height of its plot, pixels; the domains are drawn below.
COVERAGE_HEIGHT = 200


def evidence_classes(molecules: pd.DataFrame, samples: list[str] | None = None) -> Figure:
    """Candidate molecules of each sample by class of evidence, as shares.

    Parameters
    ----------
    molecules : pandas.DataFrame
        Schema ``MOLECULES``.
    samples : list of str or None
        Samples, in order; None: those with molecules.
    """
    if not len(molecules):
        return nothing("No molecules.")
    samples = list(dict.fromkeys(molecules["sample"])) if samples is None else samples
    counts = summaries.evidence_classes(molecules, samples).set_index("sample")
    return stacked(counts, EVIDENCE, "share of the candidate molecules", "molecules")


@cache
def _coverage(tx_length: int, n_lanes: int, with_expected: bool) -> alt.LayerChart:
    looks = {
        "unique or junction": EVIDENCE["unique"],
        "shared sequence": EVIDENCE["shared"],
        "shared with a human gene": "#F2C166",
        **({"expected of as many molecules": INK} if with_expected else {}),
    }
    colours_ = scale(looks)
    below = 12 + 24 * n_lanes
    x = alt.X("from:Q", title="base of the CAR transcript", scale=alt.Scale(domain=[0, tx_length], nice=False),
              axis=alt.Axis(grid=False, ticks=True, domain=True, offset=below))  # fmt: skip

    def colour(name: str) -> alt.ColorDatum:
        return alt.ColorDatum(name)

    base = source().encode(x=x)
    molecules_ = "molecules"
    y = alt.Y("own:Q", title=molecules_, scale=alt.Scale(domainMin=0))
    step = {"interpolate": "step-after", "strokeWidth": 1.8}
    above = [
        source("regions").transform_calculate(kind="'shared with a human gene'").mark_rect(opacity=0.25).encode(
            x=alt.X("start:Q"), x2=alt.X2("end:Q"),
            color=alt.Color("kind:N", scale=colours_, legend=legend(looks, WIDTH + 120)),
        ),
        base.mark_area(interpolate="step-after", opacity=0.12, color=EVIDENCE["unique"]).encode(y=y),
        base.mark_line(**step).encode(y=y, color=colour("unique or junction")),
        base.mark_line(strokeDash=[6, 3], **step).encode(
            y=alt.Y("shared:Q", title=molecules_), color=colour("shared sequence")
        ),
    ]  # fmt: skip
    if "expected of as many molecules" in looks:
        dotted = base.mark_line(strokeDash=[2, 3], strokeWidth=1.4)
        name = "expected of as many molecules"
        above.append(dotted.encode(y=alt.Y("expected:Q", title=molecules_), color=colour(name)))
    told = {"from": "base", "domain": "domain", "own": "unique or junction", "shared": "shared sequence",
            "expected": "expected", "gene": "shared with"}  # fmt: skip
    tips = [alt.Tooltip(f"{key}:{'N' if key in {'domain', 'gene'} else 'Q'}", title=words)
            for key, words in told.items()]  # fmt: skip
    hover = base.mark_rect(opacity=0).encode(x2=alt.X2("to:Q"), tooltip=tips)
    place = {"scale": None, "axis": None, "type": "quantitative"}
    block = source("domains").encode(
        x=alt.X("start:Q"), x2=alt.X2("end:Q"), y=alt.Y("top", **place), y2="bottom",
        tooltip=TIP,
    )  # fmt: skip
    wide = "scale('x', datum.end) - scale('x', datum.start)"
    label = source("domains").mark_text(limit=alt.ExprRef(f"{wide} - 6")).encode(
        x=alt.X("middle:Q"), y=alt.Y("centre", **place), text=alt.Text("name:N"), tooltip=TIP,
        opacity=alt.condition(f"{wide} > 40", alt.value(1), alt.value(0)),
    )  # fmt: skip
    blocks = block.mark_rect(opacity=0.35).encode(color=alt.Color("colour:N", scale=None))
    chart = alt.layer(alt.layer(*above, hover), blocks, label).resolve_scale(y="independent")
    return chart.properties(width=WIDTH + 120, height=COVERAGE_HEIGHT)


def coverage(
    molecules: pd.DataFrame,
    domains: pd.DataFrame,
    homology: pd.DataFrame | None = None,
    tx_length: int | None = None,
    expected: np.ndarray | Mapping[str, np.ndarray | None] | None = None,
) -> Figure:
    """CAR molecules along the transcript, above its domains.

    Parameters
    ----------
    molecules : pandas.DataFrame
        Schema ``MOLECULES``; those with ``p_car`` below 0.5 are left out.
    domains : pandas.DataFrame
        Schema ``DOMAINS``.
    homology : pandas.DataFrame or None
        Schema ``HOMOLOGY``; regions of class ``shared`` are shaded.
    tx_length : int or None
        Length of the transcript, bases; None: the end of the last domain or molecule.
    expected : array of shape (tx_length,), mapping of str to such arrays, or None
        How many molecules should span each base: of all samples, or by sample (``""``: of all).
    """
    ends = [*molecules["tx_end"], *domains["end"]]
    tx_length = tx_length or int(max(ends, default=0))
    if not tx_length:
        return nothing("No transcript.")
    kept = summaries.car_molecules(molecules)
    samples = list(dict.fromkeys(kept["sample"]))
    by_track = expected if isinstance(expected, Mapping) else {"": expected}
    bins = min(COVERAGE_BINS, tx_length)
    edges = np.linspace(0, tx_length, bins + 1).astype(int)
    regions = homology[homology["class"] == "shared"] if homology is not None else None
    regions = pd.DataFrame(columns=["start", "end", "gene"]) if regions is None else regions
    beside = pd.DataFrame({"from": edges[:-1], "to": edges[1:]})
    beside["domain"] = _names_at(domains, "name", edges[:-1])
    beside["gene"] = _names_at(regions, "gene", edges[:-1])
    tracks = []
    for name in ["", *samples] if len(samples) > 1 else [""]:
        own = kept[kept["sample"] == name] if name else kept
        shared = own["evidence"] == "shared"
        likely = by_track.get(name)
        likely = None if likely is None or len(likely) != tx_length else likely
        tracks.append(
            beside.assign(
                menu_track=name,
                own=summaries.depth(own[~shared], tx_length, bins),
                shared=summaries.depth(own[shared], tx_length, bins),
                expected=np.nan if likely is None else summaries.binned(likely, bins),
            )
        )
    rows = pd.concat(tracks, ignore_index=True).round(3)
    track = _lanes(domains)
    height = COVERAGE_HEIGHT
    n_lanes = int(track["lane"].max() + 1 if len(track) else 0)
    chart = _coverage(tx_length, n_lanes, bool(rows["expected"].notna().any()))
    menus: tuple[Menu, ...] = ()
    if len(samples) > 1:
        options = (("", "all samples"), *((name, name) for name in samples))
        menus = (Menu("menu_track", "Sample", options),)
    data = {
        "rows": rows,
        "regions": regions[["start", "end"]].reset_index(drop=True),
        "domains": track.assign(top=height + 8 + 24 * track["lane"], bottom=height + 28 + 24 * track["lane"],
                                centre=height + 18 + 24 * track["lane"]),
    }  # fmt: skip
    return Figure(chart, data, menus)


@cache
def _cell_molecules(tx_length: int) -> alt.VConcatChart:
    axis = alt.Axis(grid=False, ticks=True, domain=True)
    x = alt.X("start:Q", title=None, axis=axis, scale=alt.Scale(domain=[0, tx_length], nice=False))
    kind = alt.Color("kind:N", scale=scale(EVIDENCE), legend=legend(EVIDENCE))
    y = alt.Y("order:O", axis=None, scale=alt.Scale(type="band", padding=0.2))
    drawn = (
        source()
        .mark_bar(cornerRadius=2)
        .encode(y=y, x=x, x2=alt.X2("end:Q"), color=kind, tooltip=TIP)
    )
    above = drawn.properties(width=WIDTH, height=alt.Step(11))
    lane = alt.Y("lane:O", axis=None, scale=alt.Scale(type="band", padding=0.08))
    block = source("domains").encode(y=lane, tooltip=TIP)
    wide = "scale('x', datum.end) - scale('x', datum.start)"
    blocks = block.mark_bar(opacity=0.35).encode(
        x=x, x2=alt.X2("end:Q"), color=alt.Color("colour:N", scale=None)
    )
    label = block.mark_text(limit=alt.ExprRef(f"{wide} - 6")).encode(
        x=alt.X("middle:Q"),
        text=alt.Text("name:N"),
        opacity=alt.condition(f"{wide} > 40", alt.value(1), alt.value(0)),
    )
    below = alt.layer(blocks, label).properties(width=WIDTH, height=alt.Step(24))
    return alt.vconcat(above, below, spacing=6).resolve_scale(x="shared", color="independent")


def cell_molecules(domains: pd.DataFrame, tx_length: int) -> Figure:
    """Molecules of one cell along the transcript, above its domains; the rows are put in when a cell is chosen.

    Its rows: ``order``, ``start``, ``end`` (bases), ``kind`` (a class of evidence) and ``tip``.

    Parameters
    ----------
    domains : pandas.DataFrame
        Schema ``DOMAINS``.
    tx_length : int
        Length of the transcript, bases.
    """
    track = _lanes(domains)
    rows = pd.DataFrame(columns=["order", "start", "end", "kind", "tip"])
    return Figure(_cell_molecules(tx_length), {"rows": rows, "domains": track})


def _names_at(table: pd.DataFrame, column: str, bases: np.ndarray) -> list[str]:
    """Return what of ``column`` spans each of the bases, comma-separated."""
    found: list[dict[str, None]] = [{} for _ in bases]
    for start, end, name in zip(table["start"], table["end"], table[column], strict=True):
        for i in np.flatnonzero((bases >= start) & (bases < end)):
            found[i][str(name)] = None
    return [", ".join(name for name in names if name) for names in found]


def _lanes(domains: pd.DataFrame) -> pd.DataFrame:
    """Return domains with a lane each, so that none lies over another, and a colour by kind."""
    ends: list[int] = []
    rows = []
    kinds = colours(dict.fromkeys(str(d.kind or d.name) for d in domains.itertuples()))
    ordered = domains.sort_values(["start", "end"], ascending=[True, False])
    for domain in ordered.itertuples():
        lane = next((i for i, end in enumerate(ends) if end <= domain.start), len(ends))
        ends[lane : lane + 1] = [int(domain.end)]
        kind = f" ({domain.kind})" if domain.kind and domain.kind != domain.name else ""
        tip = f"{domain.name}{kind}\nbases {number(domain.start + 1)}–{number(domain.end)}"
        rows.append(
            {
                "name": str(domain.name),
                "start": int(domain.start),
                "end": int(domain.end),
                "middle": (int(domain.start) + int(domain.end)) / 2,
                "lane": lane,
                "colour": kinds[str(domain.kind or domain.name)],
                "tip": tip,
            }
        )
    columns = ["name", "start", "end", "middle", "lane", "colour", "tip"]
    return pd.DataFrame(rows, columns=columns)


@cache
def _losses(top: float) -> alt.LayerChart:
    looks = {"reads": OKABE_ITO[4], "molecules": OKABE_ITO[0]}
    x = alt.X("length:Q", axis=None, scale=alt.Scale(domain=[0, top]))
    bars = source().transform_filter("!datum.is_heading").mark_bar(size=14, cornerRadius=2)
    colour = alt.Color("unit:N", scale=scale(looks), legend=legend(looks))
    drawn = bars.encode(y=row(), x=x, color=colour, tooltip=TIP)
    return row_chart([drawn])


def losses(table: pd.DataFrame, sample: str | None = None) -> Figure:
    """Where the reads and molecules of the CAR went.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema ``LOSSES``, of one sample or several.
    sample : str or None
        The sample shown; None: all of them.
    """
    if not len(table):
        return nothing("No account of reads.")
    names = list(dict.fromkeys(table["sample"]))
    unit = table["unit"].astype(str)
    amount = pd.Series(
        [count(n, u.removesuffix("s")) for n, u in zip(table["n"], unit, strict=True)],
        index=table.index,
        dtype=str,
    )
    rows = pd.DataFrame(
        {
            "menu_sample": table["sample"].astype(str),
            "label": table["meaning"].astype(str),
            "note": amount,
            "tip": amount + ": " + table["meaning"].astype(str),
            "unit": unit,
            "length": np.log10(1 + table["n"].astype(float)),
        }
    )
    rows = with_headings(rows, ["menu_sample"])
    top = float(np.ceil(np.log10(1 + max(9, table["n"].max()))))
    each = tuple((name, name) for name in names)
    # Of many samples the first is shown at first: all of them would fill screens.
    options = (*each, (None, "all samples")) if len(names) > 3 else ((None, "all samples"), *each)
    menus = (Menu("menu_sample", "Sample", options),) if len(names) > 1 else ()
    return Figure(_losses(top), {"rows": rows}, menus, {"menu_sample": sample})
