"""Figures of the evidence: molecules, calls, verdicts, thresholds."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd

from carseq.figures import summaries
from carseq.figures.chart import (
    WIDTH,
    Figure,
    Menu,
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
    stacked,
    subtitle,
    with_headings,
)
from carseq.figures.palette import (
    CALLS,
    CROSS,
    EVIDENCE,
    INK,
    OKABE_ITO,
    SOFT,
    VERDICTS,
    colours,
    shown_call,
)
from carseq.figures.phrases import count, number, percent, percent_range, step_words

#: The coverage is drawn as means of at most this many stretches of equal length.
COVERAGE_BINS = 500
CALLED = CALLS["positive"][0]
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
        tip += f"\nestimate {estimate}" if known else ""
        limit = cell.detection_limit
        tips.append(tip + (f"\ndetection limit {percent(limit)}" if np.isfinite(limit) else ""))
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
    base = source().encode(y=row())
    colour, shape = _verdict()
    title = "CAR T cells among T cells; upright stroke: detection limit"
    known_, open_rows = "datum.verdict != 'undetermined'", "datum.verdict == 'undetermined'"
    layers = [
        base.transform_filter(known_).mark_rule(strokeWidth=3).encode(x=share("low", title), x2="high:Q", color=colour),
        base.transform_filter(open_rows).mark_rule(strokeWidth=1.5, strokeDash=[2, 3]).encode(
            x=share("low", title), x2="high:Q", color=colour
        ),
        base.mark_tick(color=INK, thickness=2, size=16).encode(x=share("limit", title)),
        base.mark_point(size=110).encode(x=share("estimate", title), color=colour, shape=shape, tooltip="tip:N"),
    ]  # fmt: skip
    return Figure(row_chart(layers), {"rows": rows})


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
    height = 200
    looks = {
        "unique or junction": EVIDENCE["unique"],
        "shared sequence": EVIDENCE["shared"],
        "shared with a human gene": "#F2C166",
        **({"expected of as many molecules": INK} if rows["expected"].notna().any() else {}),
    }
    colours_ = scale(looks)
    below = 12 + 24 * int(track["lane"].max() + 1 if len(track) else 0)
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
            x="start:Q", x2="end:Q", color=alt.Color("kind:N", scale=colours_, legend=legend(looks, WIDTH + 120)),
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
    hover = base.mark_rect(opacity=0).encode(x2="to:Q", tooltip=tips)
    place = {"scale": None, "axis": None, "type": "quantitative"}
    block = source("domains").encode(
        x="start:Q", x2="end:Q", y=alt.Y("top", **place), y2="bottom",
        tooltip="tip:N",
    )  # fmt: skip
    wide = "scale('x', datum.end) - scale('x', datum.start)"
    label = source("domains").mark_text(limit=alt.ExprRef(f"{wide} - 6")).encode(
        x="middle:Q", y=alt.Y("centre", **place), text="name:N", tooltip="tip:N",
        opacity=alt.condition(f"{wide} > 40", alt.value(1), alt.value(0)),
    )  # fmt: skip
    blocks = block.mark_rect(opacity=0.35).encode(color=alt.Color("colour:N", scale=None))
    chart = alt.layer(alt.layer(*above, hover), blocks, label).resolve_scale(y="independent")
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
    return Figure(chart.properties(width=WIDTH + 120, height=height), data, menus)


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
    axis = alt.Axis(grid=False, ticks=True, domain=True)
    x = alt.X("start:Q", title=None, axis=axis, scale=alt.Scale(domain=[0, tx_length], nice=False))
    kind = alt.Color("kind:N", scale=scale(EVIDENCE), legend=legend(EVIDENCE))
    y = alt.Y("order:O", axis=None, scale=alt.Scale(type="band", padding=0.2))
    drawn = (
        source().mark_bar(cornerRadius=2).encode(y=y, x=x, x2="end:Q", color=kind, tooltip="tip:N")
    )
    above = drawn.properties(width=WIDTH, height=alt.Step(11))
    lane = alt.Y("lane:O", axis=None, scale=alt.Scale(type="band", padding=0.08))
    block = source("domains").encode(y=lane, tooltip="tip:N")
    wide = "scale('x', datum.end) - scale('x', datum.start)"
    blocks = block.mark_bar(opacity=0.35).encode(
        x=x, x2="end:Q", color=alt.Color("colour:N", scale=None)
    )
    label = block.mark_text(limit=alt.ExprRef(f"{wide} - 6")).encode(
        x="middle:Q",
        text="name:N",
        opacity=alt.condition(f"{wide} > 40", alt.value(1), alt.value(0)),
    )
    below = alt.layer(blocks, label).properties(width=WIDTH, height=alt.Step(24))
    rows = pd.DataFrame(columns=["order", "start", "end", "kind", "tip"])
    chart = alt.vconcat(above, below, spacing=6).resolve_scale(x="shared", color="independent")
    return Figure(chart, {"rows": rows, "domains": track})


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
    step = table["step"].map(step_words)
    unit = table["unit"].astype(str)
    amount = [number(n) for n in table["n"]]
    rows = pd.DataFrame(
        {
            "menu_sample": table["sample"].astype(str),
            "label": step,
            "note": [f"{n} {u}" for n, u in zip(amount, unit, strict=True)],
            "tip": step + ": " + amount + " " + unit + "\n" + table["meaning"].astype(str),
            "unit": unit,
            "length": np.log10(1 + table["n"].astype(float)),
        }
    )
    rows = with_headings(rows, ["menu_sample"])
    looks = {"reads": OKABE_ITO[4], "molecules": OKABE_ITO[0]}
    top = float(np.log10(1 + max(9, table["n"].max())))
    x = alt.X("length:Q", axis=None, scale=alt.Scale(domain=[0, top]))
    bars = source().transform_filter("!datum.is_heading").mark_bar(size=14, cornerRadius=2)
    colour = alt.Color("unit:N", scale=scale(looks), legend=legend(looks))
    drawn = bars.encode(y=row(), x=x, color=colour, tooltip="tip:N")
    each = tuple((name, name) for name in names)
    # Of many samples the first is shown at first: all of them would fill screens.
    options = (*each, (None, "all samples")) if len(names) > 3 else ((None, "all samples"), *each)
    menus = (Menu("menu_sample", "Sample", options),) if len(names) > 1 else ()
    return Figure(row_chart([drawn]), {"rows": rows}, menus, {"menu_sample": sample})


def weighing(cells: pd.DataFrame) -> Figure:
    """CAR molecules of each cell against what ambient RNA explains, and the posterior against the molecules.

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
    words = {key: label for key, (_, _, label) in CALLS.items()}
    words["negative"] = "T cell, no call"
    rows = pd.DataFrame(
        {
            "cell": (
                bearing["sample"].astype(str) + ":" + bearing["barcode"].astype(str)
            ).to_numpy(),
            "type": bearing["cell_type"].astype(str).to_numpy(),
            "kind": shown_call(bearing).map(words).to_numpy(),
            "n": bearing["car_umis"].to_numpy(),
            "seen": bearing["car_umis"].to_numpy(float) * spread,
            "expected": expected,
            "posterior": bearing["car_posterior"].to_numpy(float),
        }
    )
    for name in ("seen", "expected", "posterior"):
        rows[name] = [float(f"{value:.4g}") for value in rows[name]]
    top = float(10 ** np.ceil(np.log10(max(10, rows["seen"].max(), expected.max()))))
    low = float(10 ** np.floor(np.log10(min(0.5, expected.min()))))
    ends = pd.DataFrame({"seen": [0.7, top], "expected": [0.7, top]})
    looks = {words[key]: look for key, look in CALLS.items()}
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
    of_t = point.transform_filter({"not": {"field": "kind", "equal": words["signal"]}})
    right = of_t.encode(
        x=alt.X("seen:Q", scale=log_seen, axis=compact, title="CAR molecules seen"),
        y=alt.Y("posterior:Q", scale=alt.Scale(domain=[0, 1]), title="probability of a CAR T cell",
                axis=percent_axis(values=[0, 0.25, 0.5, 0.75, 1])),
        color=colour, shape=shape, tooltip=tips,
    ).properties(**size)  # fmt: skip
    return Figure(alt.concat(left, right, columns=2), {"rows": rows, "ends": ends})


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
    looks = {"≥ 1 UMI": OKABE_ITO[0], "≥ 2 UMIs": OKABE_ITO[2], "carseq's model": CALLED}
    shapes = dict(zip(looks, ("circle", "square", "triangle-up"), strict=True))
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
        for name, n in zip(looks, numbers, strict=True)
    ]
    x = {"title": "T cells called", "axis": alt.Axis(format=",.0f", tickMinStep=1)}
    line = source().mark_rule(strokeWidth=3, color="#D0D4D9")
    point = source("marks").mark_point(filled=False, size=90, strokeWidth=2)
    kind = legend(looks)
    layers = [
        line.encode(y=row(), x=alt.X("low:Q", **x), x2="high:Q"),
        point.encode(
            y=row(), x=alt.X("n:Q", **x), tooltip="tip:N",
            color=alt.Color("rule:N", scale=scale(looks), legend=kind),
            shape=alt.Shape("rule:N", scale=scale(shapes), legend=kind),
        ),
    ]  # fmt: skip
    columns = ["order", "rule", "n", "tip"]
    data = {"rows": rows, "marks": pd.DataFrame(marks, columns=columns)}
    return Figure(row_chart(layers, notes=False), data)


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
        f"expected to be false\nsensitivity {percent(r.sensitivity)}, detection limit {percent(r.detection_limit)}\n"
        f"{words}"
        for r, words in zip(table.itertuples(), verdict, strict=True)
    ]
    columns = ["sample", "fdr", "n_car_positive", "expected_false_calls"]
    rows = table[columns].assign(in_use=table["in_use"].astype(bool), verdict=verdict, tip=tips)
    rows = rows.assign(order=np.arange(len(rows)))
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
        base.mark_point(size=55).encode(y=y, color=colour, shape=shape, tooltip="tip:N"),
    ]
    told = "dashed: expected to be false; dotted: the rate in use"
    drawn = panels(layers, "sample").resolve_scale(y="independent").properties(title=subtitle(told))
    return Figure(drawn, {"rows": rows})


def downsampling(table: pd.DataFrame) -> Figure:
    """What each sample would have given with a part of its molecules: calls, sensitivity and detection limit.

    Parameters
    ----------
    table : pandas.DataFrame
        Schema ``DOWNSAMPLING``.
    """
    if not len(table):
        return nothing("No T cells.")
    looks = {
        "calls, of those at full depth": CALLED,
        "sensitivity": OKABE_ITO[0],
        "detection limit": INK,
    }
    shapes = dict(zip(looks, ("triangle-up", "circle", "square"), strict=True))
    dashes = {name: [5, 3] if name == "detection limit" else [1, 0] for name in looks}
    parts = []
    for sample, own in table.groupby("sample", sort=False):
        own = own.sort_values("share")
        most = float(own["expected_positive"].iloc[-1])
        tip = [
            f"{sample}, {percent(r.share)} of the molecules (median {number(round(r.median_umis))} UMIs)\n"
            f"{number(r.expected_positive)} calls expected ({number(r.expected_positive_low)}–"
            f"{number(r.expected_positive_high)})\nsensitivity {percent(r.sensitivity)}, detection limit "
            f"{percent(r.detection_limit)}"
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
            y=alt.Y("low:Q", **y), y2="high:Q"
        ),
        base.mark_line(strokeWidth=1.8).encode(
            y=alt.Y("value:Q", **y), color=colour,
            strokeDash=alt.StrokeDash("measure:N", scale=scale(dashes), legend=None),
        ),
        base.mark_point(size=34).encode(
            y=alt.Y("value:Q", **y), color=colour, tooltip="tip:N",
            shape=alt.Shape("measure:N", scale=scale(shapes), legend=kind),
        ),
    ]  # fmt: skip
    return Figure(panels(layers, "sample"), {"rows": rows})
