"""The map of the construct: domains, homology and where reads fall."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from carseq.construct.coverage import CHEMISTRIES, expected_coverage, intended
from carseq.construct.frame import extent, pieces, reading_faults
from carseq.construct.protein import UNNAMED
from carseq.construct.vector import Construct
from carseq.figures.palette import EVIDENCE, OKABE_ITO
from carseq.figures.style import style, thousands

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
        thousands(track.xaxis)
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
        for fault in (f for f in reading_faults(construct) if f.level != "info"):
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
    forms = list(forms)
    whole = forms[0].sequence
    for form in forms:
        y -= 0.42
        blocks = [(start - offset, end - offset) for start, end in form.blocks]
        for (_, start), (end, _) in pairwise(blocks):
            track.plot([start, (start + end) / 2, end], [y, y - 0.14, y], color="#5f6670", lw=1)
            track.text(
                (start + end) / 2,
                y - 0.02,
                _intron(whole, int(start) + offset),
                ha="center",
                va="bottom",
                fontsize=7,
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


def _intron(whole: str, cut: int) -> str:
    """Return what an intron is called by its donor: a packaging signal's (GGGAG|GTAAGC), or a promoter's."""
    return "ψ intron" if whole[cut - 3 : cut + 5] == "GAGGTAAG" else "intron"


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
        elif name != UNNAMED:
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
