"""Figures of where CAR T cells are."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from carseq.figures.palette import (
    CALLS,
    OKABE_ITO,
    colours,
    intervals,
    new_figure,
    nothing_to_show,
    shown_sample,
    style,
)


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
        return nothing_to_show(f"No estimate by {level}.")
    names = shown_sample(table)
    labels = list(names + " · " + table["group"])
    with style():
        figure, axes = new_figure(7.5, 1 + 0.3 * len(table))
        intervals(axes, table, colours(names), list(names))
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
        return nothing_to_show("No contrast of T-cell states or types.")
    if not len(table):
        return nothing_to_show("No contrast: it takes two samples of a patient.")
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
        figure, axes = new_figure(7.5, 1 + 0.5 * len(table))
        intervals(axes, table, palette, list(np.where(several, "several", "one")))
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
        return nothing_to_show("No cell that expresses the target.")
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
        return nothing_to_show("No number in the samples sheet.")
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
