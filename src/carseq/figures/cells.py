"""Figures of the cells and their quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, PercentFormatter

from carseq.cells.markers import is_single_t
from carseq.figures import chart, summaries
from carseq.figures.palette import CALLS, OKABE_ITO, UNKNOWN, colours, shown_call
from carseq.figures.style import (
    MARKERS,
    new_figure,
    new_panels,
    nothing_to_show,
    style,
    thousands,
)
from carseq.schema.percent import NBSP

if TYPE_CHECKING:
    import anndata as ad


#: Lines of a map's legend that fit beside it; a study may have some thirty cell types.
LEGEND_ROWS = 18


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
        return nothing_to_show("No map: too few cells.")
    shown = len(CALLS) if by == "car_call" else adata.obs[by].nunique()
    columns = max(1, -(-shown // LEGEND_ROWS))
    with style():
        figure, axes = new_figure(4.4 + 2.1 * columns, 4.6)
        x, y = np.asarray(adata.obsm["X_umap"])[:, :2].T
        size = float(np.clip(20_000 / adata.n_obs, 1, 24))
        if by == "car_call":
            call = shown_call(adata.obs).to_numpy()
            for key in ("negative", "signal", "uncertain", "positive"):
                colour, shape, label = CALLS[key]
                marker = MARKERS[shape]
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
                label = f"{category or 'unknown'} ({here.sum():,})"
                axes.scatter(
                    x[here], y[here], s=size, c=colour, linewidths=0, label=label, rasterized=True
                )
        axes.set(xticks=[], yticks=[], xlabel="UMAP 1", ylabel="UMAP 2", title=by.replace("_", " "))
        axes.legend(
            loc="upper left",
            bbox_to_anchor=(1, 1),
            ncols=columns,
            columnspacing=1,
            handletextpad=0.2,
            fontsize=9,
            # A legend's point is as large as four points of the map, 16 points of area at least.
            markerscale=max(1.5, 4 / np.sqrt(size)),
        )
        return figure


def composition(cells: pd.DataFrame, samples: list[str] | None = None) -> chart.Figure:
    """Cell types of each sample, as shares.

    Parameters
    ----------
    cells : pandas.DataFrame
        ``obs`` of the cohort.
    samples : list of str or None
        Samples, in order; None: those with cells.
    """
    samples = list(dict.fromkeys(cells["sample"])) if samples is None else samples
    counts = summaries.composition(cells, samples)
    if not counts.to_numpy().sum():
        return chart.nothing("No cells.")
    return chart.stacked(counts, colours(counts.columns), "share of the cells kept", "cells")


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
        return nothing_to_show("No cells.")
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
        return nothing_to_show("No cells.")
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
        for axis in (left.xaxis, left.yaxis, right.xaxis):
            thousands(axis)
        figure.legend(loc="outside right upper", fontsize=9, markerscale=2)
        return figure


def filters(table: pd.DataFrame) -> chart.Figure:
    """How many barcodes each filter removed, and how many were kept, by sample.

    Parameters
    ----------
    table : pandas.DataFrame
        ``samples/S/cells/filters.tsv`` of the samples: ``sample``, ``step``, ``n_before``, ``n_removed``, ``n_after``.
    """
    if not len(table):
        return chart.nothing("No filter.")
    removed = table.pivot_table(
        index="sample", columns="step", values="n_removed", sort=False, aggfunc="sum"
    ).fillna(0)
    removed.insert(0, "kept", table.groupby("sample", sort=False)["n_after"].min())
    palette = {**colours(list(removed.columns[1:])), "kept": UNKNOWN}
    return chart.stacked(removed, palette, "share of the called cells", "cells")


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
        return nothing_to_show("No doublet score: too few cells.")
    with style():
        figure, panels = new_panels(len(names))
        for axes, name in zip(panels, names, strict=True):
            own = scored[scored["sample"] == name]
            double = own["is_doublet"].astype(bool)
            score = [own.loc[~double, "doublet_score"], own.loc[double, "doublet_score"]]
            axes.hist(
                score,
                bins=30,
                stacked=True,
                histtype="stepfilled",
                color=[UNKNOWN, OKABE_ITO[5]],
                log=True,
            )
            thousands(axes.yaxis)
            axes.set_title(f"{name}: {int(double.sum())} of {len(own)}", fontsize=9)
        figure.supxlabel("doublet score (orange: called a doublet)", fontsize=10)
        figure.supylabel("cells", fontsize=10)
        return figure


def contamination(cells: pd.DataFrame) -> Figure:
    """Share of ambient molecules in each cell, by sample; where all cells of one have the same, it was not measured.

    Parameters
    ----------
    cells
        ``obs`` of the cohort, with ``contamination`` (0-1).
    """
    if "contamination" not in cells or not cells["contamination"].notna().any():
        return nothing_to_show("No estimate of ambient RNA.")
    names = list(dict.fromkeys(cells["sample"]))
    values = [
        cells.loc[cells["sample"] == name, "contamination"].dropna().to_numpy(float)
        for name in names
    ]
    measured = [len(own) == 1 or (len(own) > 1 and np.ptp(own) > 0) for own in values]
    if not any(measured):
        return nothing_to_show("Ambient RNA was not measured: there are no empty droplets.")
    values = [own if known else own[:0] for own, known in zip(values, measured, strict=True)]
    names = [
        name if known else f"{name} (not measured)"
        for name, known in zip(names, measured, strict=True)
    ]
    with style():
        figure, axes = new_figure(7.5, 1 + 0.4 * len(names))
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
        axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=f"{NBSP}%"))
        axes.set_xlabel("ambient molecules in a cell")
        return figure


def mixing(cells: pd.DataFrame) -> chart.Figure:
    """Samples of each cluster, as shares: clusters of one sample are its own biology, or its batch.

    Parameters
    ----------
    cells : pandas.DataFrame
        ``obs`` of the cohort.
    """
    if not len(cells):
        return chart.nothing("No cells.")
    counts = pd.crosstab(cells["leiden"].astype(str), cells["sample"])
    order = sorted(counts.index, key=lambda name: (len(name), name))
    counts = counts.loc[order]
    counts.index = [f"cluster {name}" for name in order]
    return chart.stacked(counts, colours(counts.columns), "share of the cluster's cells", "cells")


def markers(adata: ad.AnnData, table: pd.DataFrame | None = None, n_genes: int = 3) -> Figure:
    """Dot plot of the markers that type the cells: share of cells with the gene, and its mean, by type.

    Parameters
    ----------
    adata
        The cohort, ``X`` log-normalised.
    table
        Markers as :func:`carseq.cells.read_markers` gives them; None: carseq's own.
    n_genes
        Genes of each type, the heaviest first.
    """
    from carseq.cells.markers import read_markers

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
        return nothing_to_show("No marker among the genes.")
    values = adata[:, genes].X
    dense = np.asarray(values.todense() if hasattr(values, "todense") else values)
    with style():
        figure, axes = new_figure(2.6 + 0.22 * len(genes), 1.8 + 0.28 * len(names))
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
        return nothing_to_show("No second opinion on the cells.")
    table = pd.crosstab(cells["lineage"].astype(str), cells["lineage_2"].astype(str))
    names = list(cells["lineage"].astype(str).value_counts().index)
    others = [n for n in names if n in table.columns]
    others += [n for n in table.columns if n not in names]
    table = table.loc[names, others]
    shares = table.div(table.sum(axis=1), axis=0).to_numpy()
    with style():
        figure, axes = new_figure(2.5 + 0.6 * len(others), 1.6 + 0.4 * len(names))
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for i, j in np.argwhere(table.to_numpy() > 0):
            colour = "white" if shares[i, j] > 0.6 else "#30363d"
            text = f"{table.iloc[i, j]:,}"
            axes.text(j, i, text, ha="center", va="center", color=colour, fontsize=8)
        axes.set_xticks(range(len(others)), others, rotation=40, ha="right")
        axes.set_yticks(range(len(names)), names)
        axes.set(xlabel="second opinion", ylabel="lineage")
        return figure


def states(cells: pd.DataFrame) -> chart.Figure:
    """States of the T cells of each sample, as shares.

    Parameters
    ----------
    cells : pandas.DataFrame
        ``obs`` of the cohort.
    """
    own = cells[is_single_t(cells) & (cells["t_state"].astype(str) != "")]
    if not len(own):
        return chart.nothing("No T cell with a state.")
    counts = pd.crosstab(own["sample"], own["t_state"].astype(str))
    counts = counts.loc[list(dict.fromkeys(own["sample"]))]
    return chart.stacked(counts, colours(counts.columns), "share of the T cells", "T cells")
