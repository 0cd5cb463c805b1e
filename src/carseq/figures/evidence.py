"""Figures of the evidence: molecules, calls, verdicts, thresholds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter

from carseq.figures import summaries
from carseq.figures.palette import (
    CALLS,
    EVIDENCE,
    OKABE_ITO,
    UNKNOWN,
    VERDICTS,
    colours,
    new_figure,
    new_panels,
    nothing_to_show,
    shown_call,
    stacked,
    style,
    thousands,
)
from carseq.figures.phrases import verdict_kind


def prevalence(detection: pd.DataFrame) -> Figure:
    """Forest plot of the CAR T share of T cells, with intervals and detection limits.

    Parameters
    ----------
    detection
        Schema ``DETECTION``.
    """
    if not len(detection):
        return nothing_to_show("No sample.")
    with style():
        n = len(detection)
        figure, axes = new_figure(7.5, 1.2 + 0.36 * n)
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


def evidence_classes(molecules: pd.DataFrame) -> Figure:
    """Candidate molecules of each sample by class of evidence, as shares.

    Parameters
    ----------
    molecules
        Schema ``MOLECULES``.
    """
    if not len(molecules):
        return nothing_to_show("No molecules.")
    counts = summaries.evidence_classes(molecules, list(dict.fromkeys(molecules["sample"])))
    counts = counts.set_index("sample")
    return stacked(counts.div(counts.sum(axis=1).clip(lower=1), axis=0), EVIDENCE, "molecules")


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
        return nothing_to_show("No transcript.")
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


def losses(table: pd.DataFrame) -> Figure:
    """Where the reads and molecules of the CAR went.

    Parameters
    ----------
    table
        Schema ``LOSSES``, of one sample or several (a panel each).
    """
    if not len(table):
        return nothing_to_show("No account of reads.")
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
        return nothing_to_show("No cell with a CAR molecule.")
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
        return nothing_to_show("No sample.")
    with style():
        figure, axes = new_figure(7.5, 1.2 + 0.36 * len(table))
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
        thousands(axes.xaxis)
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
        return nothing_to_show("No T cells.")
    with style():
        figure, panels = new_panels(len(names))
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


def downsampling(table: pd.DataFrame) -> Figure:
    """What each sample would have given with a share of its molecules: calls, sensitivity and detection limit.

    Parameters
    ----------
    table
        Schema ``DOWNSAMPLING``.
    """
    names = list(dict.fromkeys(table["sample"]))
    if not names:
        return nothing_to_show("No T cells.")
    with style():
        figure, panels = new_panels(len(names))
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
