"""Figures of a study for papers and notebooks, and the palette they share with the report.

Each function takes tables in the schemas of :mod:`carseq.tables` (or the cohort's AnnData) and
returns a :class:`matplotlib.figure.Figure`. Tables without rows give an empty figure that says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.transforms
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, PercentFormatter

from carseq.construct.coverage import CHEMISTRIES, expected_coverage, intended
from carseq.construct.frame import extent, pieces, reading_faults
from carseq.construct.vector import Construct
from carseq.report import summaries
from carseq.report.words import verdict_kind

if TYPE_CHECKING:
    import anndata as ad

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


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _nothing(message: str) -> Figure:
    with style():
        figure, axes = _figure(5, 1.2)
        axes.set_axis_off()
        axes.text(0, 0.5, message, color="#5f6670", va="center", transform=axes.transAxes)
        return figure


def _thousands(axis: mpl.axis.Axis) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def prevalence(detection: pd.DataFrame) -> Figure:
    """Forest plot of the CAR T share of T cells, with intervals and detection limits.

    Parameters
    ----------
    detection
        Schema ``DETECTION``.
    """
    if not len(detection):
        return _nothing("No sample.")
    with style():
        n = len(detection)
        figure, axes = _figure(7.5, 1.2 + 0.36 * n)
        for y, row in enumerate(detection.itertuples()):
            kind = verdict_kind(str(row.verdict))
            colour, marker = VERDICTS[kind]
            limits = [row.prevalence_low, row.prevalence_high]
            if kind != "undetermined" and np.isfinite(limits).all():
                axes.plot(limits, [y, y], color=colour, lw=2, solid_capstyle="butt")
                axes.plot([row.prevalence], [y], marker, color=colour, ms=7)
            elif np.isfinite(limits).all():
                axes.plot(limits, [y, y], color=colour, lw=1, ls=":")
            if np.isfinite(row.detection_limit):
                axes.plot([row.detection_limit], [y], "|", color="#30363d", ms=12, mew=1.5)
        axes.plot([], [], "|", color="#30363d", ms=12, mew=1.5, ls="", label="detection limit")
        for kind, (colour, marker) in VERDICTS.items():
            axes.plot([], [], marker, color=colour, label=kind.replace("-", " "))
        axes.set_yticks(range(n), list(detection["sample"]))
        axes.set_ylim(n - 0.5, -0.5)
        axes.set_xlim(-0.01, 1.01)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("CAR T cells among T cells (95 % interval, corrected for dropout)")
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
        return figure


def knee(table: pd.DataFrame, title: str = "") -> Figure:
    """Barcodes by rank, with those that carry CAR molecules marked, below the cut too.

    Parameters
    ----------
    table
        ``samples/S/cells/knee.tsv``: ``rank``, ``total_umis``, ``is_cell``, ``car_umis``.
    title
        The sample, for the title.
    """
    if not len(table):
        return _nothing(f"{title}: no barcodes.")
    with style():
        table = summaries.thin_knee(table, n_points=1000, n_marked=5000)
        figure, axes = _figure(5, 3.8)
        is_cell = table["is_cell"].astype(bool)
        for cell, colour, label in ((False, UNKNOWN, "no cell"), (True, "#30363d", "cell")):
            part = table[is_cell == cell]
            axes.plot(
                part["rank"], part["total_umis"].clip(1), ".", ms=3, color=colour, label=label
            )
        bearing = table[table["car_umis"] > 0]
        axes.plot(
            bearing["rank"],
            bearing["total_umis"].clip(1),
            "^",
            mfc="none",
            color=CALLS["positive"][0],
            ms=5,
            label="with a CAR molecule",
        )
        axes.set(xscale="log", yscale="log", xlabel="barcode rank", ylabel="UMIs", title=title)
        axes.legend(fontsize=9)
        return figure


def umap(adata: ad.AnnData, by: str = "cell_type") -> Figure:
    """Map of the cells, coloured.

    Parameters
    ----------
    adata
        The cohort (``obs`` of schema ``OBS``, ``obsm["X_umap"]``).
    by
        ``car_call``, or any categorical column of ``obs``.
    """
    if not adata.n_obs or "X_umap" not in adata.obsm:
        return _nothing("No map: too few cells.")
    with style():
        figure, axes = _figure(6.5, 4.6)
        x, y = np.asarray(adata.obsm["X_umap"])[:, :2].T
        size = float(np.clip(20_000 / adata.n_obs, 1, 24))
        if by == "car_call":
            call = shown_call(adata.obs).to_numpy()
            for key in ("negative", "signal", "uncertain", "positive"):
                colour, marker, label = CALLS[key]
                here = call == key
                axes.scatter(
                    x[here],
                    y[here],
                    s=size if key == "negative" else max(size, 16),
                    c=colour,
                    marker=marker,
                    linewidths=0.8 if marker == "x" else 0,
                    label=f"{label} ({here.sum():,})",
                    rasterized=True,
                )
        else:
            values = adata.obs[by].astype(str)
            for category, colour in colours(values.value_counts().index).items():
                here = (values == category).to_numpy()
                label = category or "unknown"
                axes.scatter(
                    x[here], y[here], s=size, c=colour, linewidths=0, label=label, rasterized=True
                )
        axes.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2", title=by.replace("_", " "))
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9, markerscale=1.5)
        return figure


def composition(cells: pd.DataFrame) -> Figure:
    """Cell types of each sample, as shares.

    Parameters
    ----------
    cells
        ``obs`` of the cohort.
    """
    counts = summaries.composition(cells, list(dict.fromkeys(cells["sample"])))
    if not len(counts):
        return _nothing("No cells.")
    shares = counts.div(counts.sum(axis=1).clip(lower=1), axis=0)
    return _stacked(shares, colours(shares.columns), "cells")


def evidence_classes(molecules: pd.DataFrame) -> Figure:
    """Candidate molecules of each sample by class of evidence, as shares.

    Parameters
    ----------
    molecules
        Schema ``MOLECULES``.
    """
    if not len(molecules):
        return _nothing("No molecules.")
    counts = summaries.evidence_classes(molecules, list(dict.fromkeys(molecules["sample"])))
    counts = counts.set_index("sample")
    return _stacked(counts.div(counts.sum(axis=1).clip(lower=1), axis=0), EVIDENCE, "molecules")


def _stacked(shares: pd.DataFrame, palette: dict[str, str], what: str) -> Figure:
    with style():
        # The legend stands beside the bars and must not press them together.
        height = max(1.2 + 0.36 * len(shares), 0.4 + 0.22 * len(shares.columns))
        figure, axes = _figure(7.5, height)
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


def coverage(
    molecules: pd.DataFrame,
    domains: pd.DataFrame,
    homology: pd.DataFrame | None = None,
    tx_length: int | None = None,
    expected: np.ndarray | None = None,
) -> Figure:
    """CAR molecules along the transcript, above its domains.

    Parameters
    ----------
    molecules
        Schema ``MOLECULES``; those with ``p_car`` below 0.5 are left out.
    domains
        ``construct/domains.tsv``: ``name``, ``start``, ``end``.
    homology
        ``construct/homology.tsv``: ``start``, ``end``, ``class``; regions of class ``shared`` are shaded.
    tx_length
        Length of the transcript; None: the end of the last domain.
    expected
        How many molecules should span each base; None: not drawn.
    """
    ends = [*molecules["tx_end"], *domains["end"]]
    tx_length = tx_length or int(max(ends, default=0))
    if not tx_length:
        return _nothing("No transcript.")
    with style():
        figure = Figure(figsize=(8.5, 3.8), layout="constrained")
        axes, track = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
        kept = summaries.car_molecules(molecules)
        is_shared = kept["evidence"] == "shared"
        for part, colour, label in (
            (kept[~is_shared], EVIDENCE["unique"], "unique or junction"),
            (kept[is_shared], EVIDENCE["shared"], "shared with the genome"),
        ):
            axes.step(range(tx_length), summaries.depth(part, tx_length), color=colour, label=label)
        if expected is not None and len(expected) == tx_length:
            label = "expected of as many molecules"
            axes.plot(range(tx_length), expected, color="#30363d", lw=1.2, ls=":", label=label)
        if homology is not None:
            for region in homology[homology["class"] == "shared"].itertuples():
                axes.axvspan(region.start, region.end, color=EVIDENCE["shared"], alpha=0.15, lw=0)
        axes.set(ylabel="molecules", xlim=(0, tx_length), ylim=(0, None))
        axes.legend(fontsize=9)
        palette = colours(domains["name"])
        for domain in domains.itertuples():
            width = domain.end - domain.start
            track.add_patch(
                Rectangle((domain.start, 0), width, 1, color=palette[domain.name], alpha=0.75)
            )
            track.text(
                domain.start + width / 2,
                -0.15,
                domain.name,
                rotation=40,
                ha="right",
                va="top",
                fontsize=7,
            )
        track.set(ylim=(0, 1), yticks=[], xlabel="base of the CAR transcript")
        track.tick_params(axis="x", pad=48)
        track.spines[["left", "bottom"]].set_visible(False)
        return figure


#: Kinds of domain, as drawn on the construct's map: colour of the block.
DOMAIN_KINDS = {
    "LTR": "#B4B9BE",
    "packaging signal": "#DDCC77",
    "signal peptide": "#882255",
    "binder": "#0072B2",
    "linker": "#88CCEE",
    "hinge": "#56B4E9",
    "transmembrane": "#CC79A7",
    "costimulatory": "#E69F00",
    "CD3zeta": "#D55E00",
    "WPRE": "#999933",
    "other": "#969696",
}


def _domain_colour(kind: str) -> str:
    kind = "LTR" if kind.startswith("LTR") else kind
    return DOMAIN_KINDS.get(kind, DOMAIN_KINDS["other"])


def construct_map(
    construct: Construct,
    homology: pd.DataFrame | None = None,
    *,
    chemistry: str = "both",
    read_length: int = 90,
) -> Figure:
    """Map of a construct: where 3' and 5' reads are expected, its domains, reading frame and splice forms.

    Parameters
    ----------
    construct
        The construct. Ends that its mRNA would have and the file lacks are drawn hatched.
    homology
        ``construct/homology.tsv``; regions of class ``shared`` and ``junction`` are shaded.
    chemistry
        ``3p``, ``5p`` or ``both``: the coverage drawn.
    read_length
        Of the cDNA read, nt.
    """
    whole = intended(construct, extent(construct))
    # The psi intron put back into a spliced transcript has no place on the file's own ruler.
    offset = whole.offset
    forms = construct.transcripts if "unspliced" in whole.missing else whole.transcripts
    offset = 0 if "unspliced" in whole.missing else offset
    size = len(construct.sequence)
    first, last = -offset, len(forms[0].sequence) - offset
    with style():
        rows = 1.25 + 0.32 * len(forms)
        figure = Figure(figsize=(10, 3.1 + 0.62 * rows), layout="constrained")
        above, track = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, rows])
        looks = {"3p": (OKABE_ITO[0], "-", "3' reads"), "5p": (OKABE_ITO[5], "--", "5' reads")}
        for key in CHEMISTRIES:
            if chemistry in (key, "both"):
                depth = expected_coverage(forms, key, read_length=read_length)
                colour, line, label = looks[key]
                # Every fourth base is as fine as the page can show, and keeps the SVG small.
                places, depth = np.arange(first, last)[::4] + 1, depth[::4]
                above.plot(places, depth, line, color=colour, lw=1.8, label=label)
                above.fill_between(places, depth, color=colour, alpha=0.10, lw=0)
        if homology is not None:
            tints = {
                "shared": (0.30, "shared with the genome"),
                "junction": (0.12, "partly shared"),
            }
            for kind, (alpha, label) in tints.items():
                for i, region in enumerate(homology[homology["class"] == kind].itertuples()):
                    look = {"color": EVIDENCE["shared"], "alpha": alpha, "lw": 0, "zorder": 0}
                    place = (region.start + 1, region.end)
                    above.axvspan(*place, **look, label=None if i else label)
                    track.axvspan(*place, **look)
        top = max(float(np.max(line.get_ydata())) for line in above.lines)
        above.set(ylabel="of 100 CAR UMIs,\nreads over this base", ylim=(0, top * 1.12))
        above.set_title(f"{construct.name}, read as {construct.form} ({size:,} nt)", pad=26)
        above.legend(fontsize=9, loc="lower left", ncols=4, bbox_to_anchor=(0, 1), borderaxespad=0)
        _map_track(track, construct, (first, last), forms, offset)
        track.set_xlim(first, last)
        _thousands(track.xaxis)
        return figure


def _map_track(
    track: Axes,
    construct: Construct,
    span: tuple[int, int],
    forms: Iterable[Any],
    offset: int,
) -> None:
    """Draw domains, the reading frame with its faults, and splice forms, from top to bottom."""
    first, last = span
    size = len(construct.sequence)
    width = last - first
    track.add_patch(Rectangle((0, 0.32), size, 0.36, fc="#eceef0", ec="#5f6670", lw=0.8))
    for start, end in ((first, 0), (size, last)):
        if end > start:
            track.add_patch(
                Rectangle((start, 0.32), end - start, 0.36, fc="white", ec="#5f6670", hatch="////")
            )
            track.text((start + end) / 2, 0.86, "not in the file", ha="center", fontsize=8)
    for gap in _gaps(construct.sequence):
        track.add_patch(
            Rectangle((gap[0], 0.32), gap[1] - gap[0], 0.36, fc="white", ec="#30363d", hatch="xxxx")
        )
    _labelled_domains(track, construct, width)
    y = -1.02
    if construct.orf:
        start, end = construct.orf
        head = min(60, (end - start) / 4)
        arrow = [(start, y - 0.14), (end - head, y - 0.14), (end, y)]
        arrow += [(end - head, y + 0.14), (start, y + 0.14)]
        track.add_patch(Polygon(arrow, closed=True, fc="#30363d", lw=0))
        words = f"ORF, {len(construct.protein)} amino acids, + strand"
        track.text(
            (start + end) / 2, y, words, color="white", fontsize=7.5, ha="center", va="center"
        )
        for fault in reading_faults(construct):
            track.plot([fault.position], [y], "X", color=OKABE_ITO[5], mec="white", ms=10, zorder=5)
            right = fault.position > first + 0.8 * width
            track.annotate(
                fault.code.replace("_", " "),
                (fault.position, y),
                xytext=(-9 if right else 9, 11),
                textcoords="offset points",
                ha="right" if right else "left",
                color="#A34700",
                fontsize=8,
                fontweight="bold",
            )
    for form in forms:
        y -= 0.42
        blocks = [(start - offset, end - offset) for start, end in form.blocks]
        for (_, start), (end, _) in pairwise(blocks):
            track.plot([start, (start + end) / 2, end], [y, y - 0.14, y], color="#5f6670", lw=1)
            track.text(
                (start + end) / 2, y - 0.02, "ψ intron", ha="center", va="bottom", fontsize=7
            )
        for start, end in blocks:
            track.add_patch(Rectangle((start, y - 0.07), end - start, 0.14, fc="#5f6670", lw=0))
        track.text(
            -0.005, y, form.name, transform=_beside(track), ha="right", va="center", fontsize=8
        )
    for y_label, text in ((0.5, "mRNA"), (-1.02, "frame")):
        track.text(
            -0.005, y_label, text, transform=_beside(track), ha="right", va="center", fontsize=8
        )
    track.set(ylim=(y - 0.35, 1.1), yticks=[], xlabel="base of the transcript")
    track.spines["left"].set_visible(False)


def _labelled_domains(track: Axes, construct: Construct, width: int) -> None:
    """Draw the domains as blocks; those too narrow for their name have it below, on a leader line."""
    names: list[tuple[float, str]] = []
    blocks = [
        (int(d.start), int(d.end), str(d.name), str(d.kind)) for d in construct.domains.itertuples()
    ]
    known = {name for *_, name, _ in blocks}
    outside = [p for p in pieces(construct) if p.name not in known]
    blocks += [(p.start, p.end, f"{p.name} (out of frame)", p.kind) for p in outside]
    for start, end, name, kind in blocks:
        colour = _domain_colour(kind)
        hatch = "///" if name.endswith("(out of frame)") else None
        track.add_patch(
            Rectangle((start, 0.32), end - start, 0.36, fc=colour, ec="white", lw=0.8, hatch=hatch)
        )
        # A character of 7.5 pt takes about 1/135 of the figure's inner width.
        if hatch is None and (end - start) / width * 135 > len(name):
            red, green, blue = mpl.colors.to_rgb(colour)
            is_dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            colour = "white" if is_dark else "black"
            track.text(
                (start + end) / 2, 0.5, name, ha="center", va="center", fontsize=7.5, color=colour
            )
        else:
            names.append(((start + end) / 2, name))
    # Labels below alternate over three rows, so that neighbours do not run into each other.
    ends = [-np.inf] * 3
    for middle, name in sorted(names):
        half = (len(name) + 1) / 135 * width / 2
        row = next((i for i in range(3) if ends[i] < middle - half), int(np.argmin(ends)))
        ends[row] = middle + half
        y = 0.02 - 0.25 * row
        track.plot([middle, middle], [0.3, y + 0.08], color="#9AA0A6", lw=0.7, zorder=1)
        # Its own ground keeps the leader lines of others out of it.
        ground = {"fc": "white", "ec": "none", "pad": 0.6}
        track.text(middle, y, name, ha="center", va="center", fontsize=7.5, bbox=ground)


def _beside(axes: Axes) -> Any:
    """Return the transform of x in shares of the axes and y in its data."""
    return mpl.transforms.blended_transform_factory(axes.transAxes, axes.transData)


def _gaps(sequence: str) -> list[tuple[int, int]]:
    """Return the runs of ten or more ambiguous bases."""
    return [match.span() for match in re.finditer("N{10,}", sequence)]


def localization(table: pd.DataFrame, level: str = "t_state") -> Figure:
    """CAR T shares by sample and group, with intervals.

    Parameters
    ----------
    table
        Schema ``LOCALIZATION``.
    level
        ``lineage``, ``cell_type``, ``t_state`` or ``cell_type x t_state``.
    """
    table = table[(table["level"] == level) & table["estimate"].notna()]
    if not len(table):
        return _nothing(f"No estimate by {level}.")
    names = shown_sample(table)
    labels = list(names + " · " + table["group"])
    with style():
        figure, axes = _figure(7.5, 1 + 0.3 * len(table))
        _intervals(axes, table, colours(names), list(names))
        axes.set_yticks(range(len(table)), labels)
        axes.set_ylim(len(table) - 0.5, -0.5)
        axes.set_xlim(-0.01, 1.01)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("CAR T cells (95 % interval, corrected for dropout)")
        return figure


def contrasts(table: pd.DataFrame, *, within: bool = False) -> Figure:
    """Odds ratios of being a CAR T cell, with intervals.

    Parameters
    ----------
    table
        Schema ``CONTRASTS``.
    within
        Draw T-cell states and types within samples, in place of samples against each other.
    """
    table = table[table["estimate"].notna() & ((table["group"] != "") == within)]
    if not len(table) and within:
        return _nothing("No contrast of T-cell states or types.")
    if not len(table):
        return _nothing("No contrast: it takes two samples of a patient.")
    # Exact intervals may reach 0 or infinity.
    limits = ["estimate", "low", "high"]
    table = table.assign(**{key: table[key].clip(1e-3, 1e3) for key in limits})
    several = table["n_patients"] > 1
    of_one = table["sample"] + (" · " + table["group"] if within else " / " + table["reference"])
    of_all = table["n_patients"].astype(str) + " patients, " + table["compartment"]
    of_all = of_all + (" · " + table["group"] if within else "")
    labels = list(table["contrast"] + "\n" + of_one.where(~several, of_all))
    palette = {"one": OKABE_ITO[0], "several": OKABE_ITO[5]}
    with style():
        figure, axes = _figure(7.5, 1 + 0.5 * len(table))
        _intervals(axes, table, palette, list(np.where(several, "several", "one")))
        axes.axvline(1, color="#5f6670", lw=1, ls="--", zorder=0)
        axes.set_xscale("log")
        axes.set_yticks(range(len(table)), labels)
        axes.set_ylim(len(table) - 0.5, -0.5)
        axes.set_xlabel("odds ratio (95 % interval)")
        return figure


def target(table: pd.DataFrame) -> Figure:
    """Cells that express what the CAR binds, by sample and lineage, beside the CAR T cells.

    Parameters
    ----------
    table
        Schema ``TARGET``; lineages in which some sample shows the target are drawn.
    """
    table = table[(table["level"] == "lineage") & table["fraction"].notna()]
    shown = table.groupby("group")["n_expressing"].sum()
    table = table[table["group"].isin(shown.index[shown > 0])]
    if not len(table):
        return _nothing("No cell that expresses the target.")
    samples = list(dict.fromkeys(table["sample"]))
    groups = list(shown[shown > 0].sort_values(ascending=False).index)
    palette = colours(groups)
    with style():
        figure = Figure(
            figsize=(9, 1.2 + 0.3 * len(samples) * (len(groups) + 1) / 2), layout="constrained"
        )
        left, right = figure.subplots(1, 2, sharey=True)
        for y, sample in enumerate(samples):
            own = table[table["sample"] == sample]
            for i, group in enumerate(groups):
                at = y + 0.7 * ((i + 0.5) / len(groups) - 0.5)
                for row in own[own["group"] == group].itertuples():
                    left.plot([row.low, row.high], [at, at], color=palette[group], lw=2)
                    left.plot([row.fraction], [at], "o", color=palette[group], ms=5)
            car = own.iloc[0]
            if np.isfinite([car["car_low"], car["car_high"]]).all():
                right.plot(
                    [car["car_low"], car["car_high"]], [y, y], color=CALLS["positive"][0], lw=2
                )
                right.plot([car["car_fraction"]], [y], "^", color=CALLS["positive"][0], ms=6)
        for group in groups:
            left.plot([], [], "o", color=palette[group], label=group)
        left.set_yticks(range(len(samples)), samples)
        left.set_ylim(len(samples) - 0.5, -0.5)
        for axes, title in (
            (left, f"cells with {table['target'].iloc[0]}"),
            (right, "CAR T cells"),
        ):
            axes.set(xlim=(-0.01, 1.01), title=title)
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        left.set_xlabel("of the lineage (exact 95 % interval)")
        right.set_xlabel("of T cells (95 % interval)")
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside upper left", ncols=4, fontsize=9
        )
        return figure


def clinic(table: pd.DataFrame) -> Figure:
    """Numbers of the samples sheet along time, below the CAR T fraction: a column of panels a patient.

    Parameters
    ----------
    table
        Schema ``CLINIC``. CAR T shares measured otherwise are drawn beside carseq's.
    """
    if not len(table):
        return _nothing("No number in the samples sheet.")
    patients = list(dict.fromkeys(table["patient"]))
    measures = list(dict.fromkeys(table.loc[table["kind"] != "CAR T share", "measure"]))
    shares = list(dict.fromkeys(table.loc[table["kind"] == "CAR T share", "measure"]))
    places = list(dict.fromkeys(table["compartment"]))
    palette = colours([*places, *shares])
    n_rows = 1 + len(measures)
    with style():
        figure = Figure(
            figsize=(1.5 + 3.2 * len(patients), 0.8 + 1.6 * n_rows), layout="constrained"
        )
        grid = figure.subplots(n_rows, len(patients), squeeze=False, sharex="col", sharey="row")
        for column, patient in enumerate(patients):
            own = table[table["patient"] == patient]
            top = grid[0, column]
            for compartment in places:
                part = own[own["compartment"] == compartment].drop_duplicates("sample")
                part = part[part["car_fraction"].notna()].sort_values("place")
                if not len(part):
                    continue
                colour = palette[compartment]
                top.vlines(part["place"], part["car_low"], part["car_high"], color=colour, lw=2)
                top.plot(part["place"], part["car_fraction"], "o-", color=colour, label=compartment)
            for share in shares:
                part = own[own["measure"] == share].sort_values("place")
                top.plot(
                    part["place"],
                    part["measured"],
                    "D",
                    mfc="none",
                    color=palette[share],
                    label=share,
                )
            top.set_title(patient)
            top.set_ylim(-0.02, 1.02)
            top.yaxis.set_major_formatter(PercentFormatter(1))
            for axes, measure in zip(grid[1:, column], measures, strict=True):
                part = own[own["measure"] == measure]
                for compartment in places:
                    line = part[part["compartment"] == compartment].sort_values("place")
                    axes.plot(line["place"], line["value"], "o-", color=palette[compartment])
                if column == 0:
                    axes.set_ylabel(measure, fontsize=8)
            ticks = own.drop_duplicates("place").sort_values("place")
            grid[-1, column].set_xticks(list(ticks["place"]), list(ticks["timepoint"]))
        grid[0, 0].set_ylabel("CAR T cells", fontsize=8)
        handles = {
            label: handle
            for axes in grid[0]
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(
            handles.values(), handles.keys(), loc="outside upper left", ncols=4, fontsize=9
        )
        return figure


def _intervals(axes: Axes, table: pd.DataFrame, palette: dict[str, str], keys: list[str]) -> None:
    for y, (row, key) in enumerate(zip(table.itertuples(), keys, strict=True)):
        axes.plot([row.low, row.high], [y, y], color=palette[key], lw=2, solid_capstyle="butt")
        axes.plot([row.estimate], [y], "o", color=palette[key], ms=6)


def losses(table: pd.DataFrame) -> Figure:
    """Where the reads and molecules of the CAR went.

    Parameters
    ----------
    table
        Schema ``LOSSES``, of one sample or several (a panel each).
    """
    if not len(table):
        return _nothing("No account of reads.")
    names = list(dict.fromkeys(table["sample"]))
    with style():
        rows = table.groupby("sample").size().max()
        figure = Figure(figsize=(7.5, len(names) * (0.6 + 0.3 * rows)), layout="constrained")
        panels = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
        for axes, name in zip(panels, names, strict=True):
            part = table[table["sample"] == name]
            tint = np.where(part["unit"] == "reads", OKABE_ITO[4], OKABE_ITO[0])
            axes.barh(range(len(part)), np.log10(1 + part["n"]), color=tint)
            for y, row in enumerate(part.itertuples()):
                axes.text(
                    np.log10(1 + row.n) + 0.05, y, f"{row.n:,} {row.unit}", va="center", fontsize=9
                )
            axes.set_yticks(range(len(part)), list(part["step"].str.replace("_", " ")))
            axes.invert_yaxis()
            axes.set(xticks=[], title=name)
            axes.spines["bottom"].set_visible(False)
            axes.set_xlim(0, 1.3 * max(1.0, np.log10(1 + table["n"].max())))
        return figure


def weighing(cells: pd.DataFrame) -> Figure:
    """CAR molecules of each cell against what ambient RNA explains, and the posterior against the molecules.

    Parameters
    ----------
    cells
        ``obs`` of the cohort; cells with a CAR molecule are drawn.
    """
    bearing = cells[cells["car_umis"] > 0]
    if not len(bearing):
        return _nothing("No cell with a CAR molecule.")
    # Counts are whole numbers: spread evenly, so that cells do not hide each other.
    spread = 10 ** (0.12 * ((np.arange(len(bearing)) * 0.618034) % 1 - 0.5))
    umis = bearing["car_umis"].to_numpy(float) * spread
    expected = bearing["car_expected_ambient"].clip(lower=1e-5).to_numpy(float)
    call = shown_call(bearing).to_numpy()
    with style():
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        for kind in ("signal", "uncertain", "positive"):
            colour, marker, label = CALLS[kind]
            own = call == kind
            look = {"color": colour, "marker": marker, "s": 26, "linewidths": 1, "label": label}
            left.scatter(expected[own], umis[own], **look)
            if kind != "signal":
                right.scatter(umis[own], bearing["car_posterior"].to_numpy(float)[own], **look)
        ends = np.array([min(expected.min(), 0.5) / 1.5, max(umis.max(), expected.max()) * 1.5])
        left.plot(ends, ends, color="#5f6670", linewidth=1, linestyle="--")
        left.set(xscale="log", yscale="log", ylim=(0.6, ends[1]), title="Seen and explained")
        left.set(xlabel="CAR molecules expected from ambient RNA", ylabel="CAR molecules seen")
        right.set(xscale="log", ylim=(-0.03, 1.03), title="T cells: probability")
        right.set(xlabel="CAR molecules seen", ylabel="probability of a CAR T cell")
        figure.legend(
            *left.get_legend_handles_labels(), loc="outside upper left", ncols=3, fontsize=9
        )
        return figure


def rules(cells: pd.DataFrame, detection: pd.DataFrame) -> Figure:
    """T cells called by the model and by counting rules.

    Parameters
    ----------
    cells
        ``obs`` of the cohort.
    detection
        Schema ``DETECTION``.
    """
    table = summaries.rule_comparison(cells, detection)
    if not len(table):
        return _nothing("No sample.")
    with style():
        figure, axes = _figure(7.5, 1.2 + 0.36 * len(table))
        y = np.arange(len(table))
        axes.hlines(
            y, table[["model", "at_least_2"]].min(axis=1), table["at_least_1"], color="#d0d4d9"
        )
        axes.plot(table["at_least_1"], y, "o", mfc="none", color=OKABE_ITO[0], label="≥ 1 UMI")
        axes.plot(table["at_least_2"], y, "s", mfc="none", color=OKABE_ITO[2], label="≥ 2 UMIs")
        axes.plot(table["model"], y, "^", color=CALLS["positive"][0], label="carseq's model")
        axes.set_yticks(y, list(table["sample"]))
        axes.set_ylim(len(table) - 0.5, -0.5)
        axes.set_xlabel("T cells called")
        _thousands(axes.xaxis)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=9)
        return figure


def thresholds(table: pd.DataFrame) -> Figure:
    """T cells called positive by the false discovery rate allowed, a panel for each sample.

    Parameters
    ----------
    table
        Schema ``THRESHOLDS``.
    """
    names = list(dict.fromkeys(table["sample"]))
    if not names:
        return _nothing("No T cells.")
    with style():
        figure, panels = _panels(len(names))
        for axes, name in zip(panels, names, strict=True):
            own = table[table["sample"] == name].sort_values("fdr")
            axes.plot(own["fdr"], own["n_car_positive"], color=UNKNOWN, lw=1)
            for kind, (colour, marker) in VERDICTS.items():
                of_kind = own[own["verdict"].map(verdict_kind) == kind]
                axes.plot(of_kind["fdr"], of_kind["n_car_positive"], marker, color=colour, ms=5)
            axes.plot(own["fdr"], own["expected_false_calls"], "--", color=OKABE_ITO[0])
            for fdr in own.loc[own["in_use"], "fdr"]:
                axes.axvline(fdr, color="#30363d", lw=1, ls=":")
            axes.set(xscale="log", title=name, ylim=(-0.2, None))
            axes.xaxis.set_major_formatter(PercentFormatter(1))
        for kind, (colour, marker) in VERDICTS.items():
            panels[0].plot([], [], marker, color=colour, label=f"called: {kind.replace('-', ' ')}")
        panels[0].plot([], [], "--", color=OKABE_ITO[0], label="expected false among them")
        figure.legend(loc="outside upper left", ncols=2, fontsize=9)
        figure.supxlabel("false discovery rate allowed", fontsize=10)
        figure.supylabel("T cells", fontsize=10)
        return figure


def thinning(table: pd.DataFrame) -> Figure:
    """What each sample would have given with a share of its molecules: calls, sensitivity and detection limit.

    Parameters
    ----------
    table
        Schema ``THINNING``.
    """
    names = list(dict.fromkeys(table["sample"]))
    if not names:
        return _nothing("No T cells.")
    with style():
        figure, panels = _panels(len(names))
        called = CALLS["positive"][0]
        for axes, name in zip(panels, names, strict=True):
            own = table[table["sample"] == name].sort_values("share")
            most = float(own["expected_positive"].iloc[-1])
            if most > 0.5:
                low, high = own["expected_positive_low"], own["expected_positive_high"]
                axes.fill_between(own["share"], low / most, high / most, color=called, alpha=0.15)
                axes.plot(own["share"], own["expected_positive"] / most, "^-", color=called, ms=4)
            axes.plot(own["share"], own["sensitivity"], "o-", color=OKABE_ITO[0], ms=4)
            axes.plot(own["share"], own["detection_limit"], "s--", color="#30363d", ms=3)
            axes.set(title=name, xlim=(0, 1.02), ylim=(0, 1.08))
            axes.xaxis.set_major_formatter(PercentFormatter(1))
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        panels[0].plot([], [], "^-", color=called, label="calls, of those at full depth")
        panels[0].plot([], [], "o-", color=OKABE_ITO[0], label="sensitivity")
        panels[0].plot([], [], "s--", color="#30363d", label="detection limit")
        figure.legend(loc="outside upper left", ncols=3, fontsize=9)
        figure.supxlabel("molecules kept", fontsize=10)
        return figure


def _panels(n: int, width: float = 3.0, height: float = 2.5) -> tuple[Figure, list[Axes]]:
    """Return a figure of ``n`` panels, three in a row."""
    columns = min(n, 3)
    rows = -(-n // columns)
    figure = Figure(figsize=(max(5.5, width * columns), height * rows + 0.6), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axes in panels[n:]:
        axes.set_axis_off()
    return figure, panels[:n]


#: Measures of a cell's quality: column of ``obs``, words, whether on a logarithmic scale.
QUALITY = (
    ("total_umis", "UMIs", True),
    ("n_genes", "genes", True),
    ("pct_mito", "mitochondrial UMIs (%)", False),
)


def quality(cells: pd.DataFrame, by: str = "lineage") -> Figure:
    """UMIs, genes and mitochondrial share of the cells kept, a violin for each group.

    Parameters
    ----------
    cells
        ``obs`` of the cohort.
    by
        ``lineage``, ``sample``, or another categorical column. Groups of fewer than five cells are dots.
    """
    if not len(cells):
        return _nothing("No cells.")
    groups = cells[by].astype(str).replace("", "unknown")
    names = list(groups.value_counts().index)
    palette = colours(names)
    with style():
        figure = Figure(figsize=(9, 1.4 + 0.36 * len(names)), layout="constrained")
        for axes, (column, label, log) in zip(
            figure.subplots(1, 3, sharey=True), QUALITY, strict=True
        ):
            for y, name in enumerate(names):
                values = cells.loc[groups == name, column].to_numpy(float)
                values = values[np.isfinite(values)]
                if log:
                    values = np.log10(np.maximum(values, 1))
                if len(values) >= 5 and np.ptp(values) > 0:
                    shape = axes.violinplot(
                        values, [y], orientation="horizontal", widths=0.85, showextrema=False
                    )
                    for body in shape["bodies"]:
                        body.set(facecolor=palette[name], alpha=0.6)
                    axes.plot([np.median(values)], [y], "|", color="#30363d", ms=9, mew=2)
                else:
                    axes.plot(values, np.full(len(values), y), ".", color=palette[name], ms=4)
            if log:
                low, high = axes.get_xlim()
                steps = (1, 2, 5) if high - low < 1.5 else (1,)
                axes.xaxis.set_major_locator(
                    FixedLocator([np.log10(step) + power for power in range(8) for step in steps])
                )
                axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{10**v:,.0f}"))
                axes.set_xlim(low, high)
            axes.set_xlabel(label)
            axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        return figure


def quality_scatter(cells: pd.DataFrame, by: str = "lineage") -> Figure:
    """Genes and mitochondrial share of each cell kept against its UMIs.

    Parameters
    ----------
    cells
        ``obs`` of the cohort.
    by
        Column that gives the colours.
    """
    if not len(cells):
        return _nothing("No cells.")
    groups = cells[by].astype(str).replace("", "unknown")
    with style():
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2, sharex=True)
        size = float(np.clip(20_000 / len(cells), 1, 14))
        for name, colour in colours(groups.value_counts().index).items():
            own = cells[groups == name]
            look = {"color": colour, "s": size, "linewidths": 0, "alpha": 0.7, "rasterized": True}
            left.scatter(own["total_umis"].clip(1), own["n_genes"].clip(1), label=name, **look)
            right.scatter(own["total_umis"].clip(1), own["pct_mito"], **look)
        left.set(xscale="log", yscale="log", xlabel="UMIs", ylabel="genes")
        right.set(xscale="log", xlabel="UMIs", ylabel="mitochondrial UMIs (%)")
        figure.legend(loc="outside right upper", fontsize=9, markerscale=2)
        return figure


def filters(table: pd.DataFrame) -> Figure:
    """How many barcodes each filter removed, and how many were kept, by sample.

    Parameters
    ----------
    table
        ``samples/S/cells/filters.tsv`` of the samples: ``sample``, ``step``, ``n_before``, ``n_removed``, ``n_after``.
    """
    if not len(table):
        return _nothing("No filter.")
    removed = table.pivot_table(
        index="sample", columns="step", values="n_removed", sort=False, aggfunc="sum"
    ).fillna(0)
    removed.insert(0, "kept", table.groupby("sample", sort=False)["n_after"].min())
    shares = removed.div(removed.sum(axis=1).clip(lower=1), axis=0)
    palette = {**colours(list(removed.columns[1:])), "kept": UNKNOWN}
    return _stacked(shares, palette, "called cells")


def doublets(cells: pd.DataFrame) -> Figure:
    """Doublet scores of the cells kept, a panel for each sample; those called a doublet stand out.

    Parameters
    ----------
    cells
        ``obs`` of the cohort.
    """
    scored = cells[cells["doublet_score"].notna()]
    names = list(dict.fromkeys(scored["sample"]))
    if not names:
        return _nothing("No doublet score: too few cells.")
    with style():
        figure, panels = _panels(len(names))
        for axes, name in zip(panels, names, strict=True):
            own = scored[scored["sample"] == name]
            double = own["is_doublet"].astype(bool)
            score = [own.loc[~double, "doublet_score"], own.loc[double, "doublet_score"]]
            axes.hist(score, bins=30, stacked=True, color=[UNKNOWN, OKABE_ITO[5]], log=True)
            axes.set_title(f"{name}: {int(double.sum())} of {len(own)}", fontsize=9)
        figure.supxlabel("doublet score (orange: called a doublet)", fontsize=10)
        figure.supylabel("cells", fontsize=10)
        return figure


def contamination(cells: pd.DataFrame) -> Figure:
    """Share of ambient molecules in each cell, by sample.

    Parameters
    ----------
    cells
        ``obs`` of the cohort, with ``contamination`` (0-1).
    """
    if "contamination" not in cells or not cells["contamination"].notna().any():
        return _nothing("No estimate of ambient RNA.")
    names = list(dict.fromkeys(cells["sample"]))
    with style():
        figure, axes = _figure(7.5, 1 + 0.4 * len(names))
        values = [
            cells.loc[cells["sample"] == name, "contamination"].dropna().to_numpy(float)
            for name in names
        ]
        look = {"color": "#30363d"}
        axes.boxplot(
            values,
            orientation="horizontal",
            widths=0.6,
            sym=".",
            positions=range(len(names)),
            medianprops=look,
        )
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel("ambient molecules in a cell")
        return figure


def mixing(cells: pd.DataFrame) -> Figure:
    """Samples of each cluster, as shares: clusters of one sample are its own biology, or its batch.

    Parameters
    ----------
    cells
        ``obs`` of the cohort.
    """
    if not len(cells):
        return _nothing("No cells.")
    shares = pd.crosstab(cells["leiden"].astype(str), cells["sample"], normalize="index")
    order = sorted(shares.index, key=lambda name: (len(name), name))
    shares = shares.loc[order]
    shares.index = [f"cluster {name}" for name in order]
    return _stacked(shares, colours(shares.columns), "the cluster's cells")


def markers(adata: ad.AnnData, table: pd.DataFrame | None = None, n_genes: int = 3) -> Figure:
    """Dot plot of the markers that type the cells: share of cells with the gene, and its mean, by type.

    Parameters
    ----------
    adata
        The cohort, ``X`` log-normalised.
    table
        Markers as :func:`carseq.cells.annotation.read_markers` gives them; None: carseq's own.
    n_genes
        Genes of each type, the heaviest first.
    """
    from carseq.cells.annotation import read_markers

    table = read_markers() if table is None else table
    types = adata.obs["cell_type"].astype(str)
    names = [name for name in types.value_counts().index if name in set(table["cell_type"])]
    known = table[table["gene"].isin(adata.var_names) & table["cell_type"].isin(names)]
    known = known[known["weight"] > 0].sort_values("weight", ascending=False, kind="stable")
    genes = list(
        dict.fromkeys(
            gene for name in names for gene in known["gene"][known["cell_type"] == name][:n_genes]
        )
    )
    if not genes:
        return _nothing("No marker among the genes.")
    values = adata[:, genes].X
    dense = np.asarray(values.todense() if hasattr(values, "todense") else values)
    with style():
        figure, axes = _figure(2.6 + 0.22 * len(genes), 1.8 + 0.28 * len(names))
        rows = np.stack([(types == name).to_numpy() for name in names])
        mean = np.stack([dense[row].mean(axis=0) for row in rows])
        share = np.stack([(dense[row] > 0).mean(axis=0) for row in rows])
        x, y = np.meshgrid(range(len(genes)), range(len(names)))
        scaled = mean / np.maximum(mean.max(axis=0), 1e-9)
        dots = axes.scatter(x, y, s=110 * share, c=scaled, cmap="viridis_r", lw=0, vmin=0, vmax=1)
        axes.set_xticks(range(len(genes)), genes, rotation=90, fontsize=8)
        axes.set_yticks(range(len(names)), names)
        axes.set(xlim=(-0.7, len(genes) - 0.3), ylim=(len(names) - 0.4, -0.6))
        figure.colorbar(dots, ax=axes, label="mean, of the\ngene's highest", shrink=0.7)
        axes.set_title("dot size: share of cells with the gene", fontsize=9, fontweight="normal")
        return figure


def agreement(cells: pd.DataFrame) -> Figure:
    """How far the second opinion on the lineage of cells agrees with the first.

    Parameters
    ----------
    cells
        ``obs`` of the cohort, with ``lineage_2``.
    """
    if "lineage_2" not in cells or not len(cells):
        return _nothing("No second opinion on the cells.")
    table = pd.crosstab(cells["lineage"].astype(str), cells["lineage_2"].astype(str))
    names = list(cells["lineage"].astype(str).value_counts().index)
    others = [n for n in names if n in table.columns]
    others += [n for n in table.columns if n not in names]
    table = table.loc[names, others]
    shares = table.div(table.sum(axis=1), axis=0).to_numpy()
    with style():
        figure, axes = _figure(2.5 + 0.6 * len(others), 1.6 + 0.4 * len(names))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for i, j in np.argwhere(table.to_numpy() > 0):
            colour = "white" if shares[i, j] > 0.6 else "#30363d"
            text = f"{table.iloc[i, j]:,}"
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
        axes.set_xticks(range(len(others)), others, rotation=40, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="second opinion", ylabel="lineage")
        return figure


def states(cells: pd.DataFrame) -> Figure:
    """States of the T cells of each sample, as shares.

    Parameters
    ----------
    cells
        ``obs`` of the cohort.
    """
    own = cells[summaries.is_t_cell(cells) & (cells["t_state"].astype(str) != "")]
    if not len(own):
        return _nothing("No T cell with a state.")
    shares = pd.crosstab(own["sample"], own["t_state"].astype(str), normalize="index")
    shares = shares.loc[list(dict.fromkeys(own["sample"]))]
    return _stacked(shares, colours(shares.columns), "T cells")
