"""Ambient RNA: its profile, from empty droplets, and how much of it each cell holds."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import optimize, sparse

from carseq.cells.annotation import annotate
from carseq.cells.counts import car_name, column_sums, counts_of, row_sums
from carseq.cells.markers import UNKNOWN, exclusive_genes, kin, read_markers
from carseq.errors import CarseqError
from carseq.log import get_logger

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.ambient")

#: Bounds of a cell's contamination fraction.
LEAST, MOST = 0.005, 0.5
#: A fit by which the median cell holds more ambient UMIs than this many mean empty droplets is rejected: it has
#: taken a cell's own genes for foreign, as in a product of T cells, whose few other cells share genes with activated
#: T cells (50 % fitted where 3 % was true). Two lineages that each show as much, by so many cells, bear it out: of
#: mixed cells 20 and 40 % of whose RNA was ambient the empty droplets, of 64 UMIs, told 3 %.
MOST_EMPTIES, FEWEST_OF_LINEAGE = 5.0, 20
#: Ambient UMIs that must be expected in lineage-foreign genes before they are used.
MIN_EXPECTED = 20.0


def ambient_fractions(ambient: pd.DataFrame, genes: pd.Index) -> np.ndarray:
    """Return the share of each of ``genes`` in the ambient RNA, 0 where the profile has none, shape (n_genes,)."""
    shares = ambient.set_index("gene")["fraction"].reindex(genes).fillna(0)
    return np.asarray(shares, dtype=np.float64)


def ambient_profile(raw: AnnData, calls: pd.DataFrame) -> pd.DataFrame:
    """Return the profile of barcodes that are not cells.

    Parameters
    ----------
    raw
        Raw counts, n_barcodes × n_genes.
    calls
        From :func:`carseq.cells.call_barcodes`. Barcodes above its `attrs["ambient_max"]` are left
        out, since shallow cells hide among them, unless none are left.

    Returns
    -------
    pd.DataFrame
        `gene`, `umis`, `fraction` (sums to 1; 0 where there are no empty droplets);
        `attrs["mean_total"]` is the mean UMIs of an empty droplet, `attrs["n_droplets"]` their
        number.
    """
    calls = calls.reindex(raw.obs_names)
    empty = ~calls["is_cell"].fillna(False).astype(bool).to_numpy()
    low = empty & (calls["total_umis"] <= calls.attrs.get("ambient_max", np.inf)).to_numpy()
    rows = np.flatnonzero(low if low.any() else empty)
    counts = sparse.csr_matrix(raw.X)[rows]
    umis = column_sums(counts)
    table = pd.DataFrame(
        {
            "gene": raw.var_names.astype(str),
            "umis": np.rint(umis).astype(np.int64),
            "fraction": umis / max(umis.sum(), 1.0),
        }
    )
    # The mean of the larger half: the smallest "droplets" are sequencing errors in barcodes.
    totals = np.sort(row_sums(counts))
    upper = totals[totals.size // 2 :]
    table.attrs = {
        "mean_total": float(upper.mean()) if upper.size else 0.0,
        "n_droplets": int(rows.size),
    }
    return table


def contamination(
    cells: AnnData,
    ambient: pd.DataFrame,
    *,
    markers: pd.DataFrame | None = None,
    car: str | None = None,
) -> pd.Series:
    """Estimate the ambient fraction of each cell's UMIs, for the cells of one sample.

    A marker of a lineage foreign to a cell can only be there as ambient RNA. Over all cells, foreign
    UMIs are regressed (non-negative least squares) on what ambient RNA would give if every droplet
    held the same number of ambient UMIs and if every cell held the same fraction; the two terms
    are fitted together. Genes more than three times as frequent as the median gene are taken for
    leaky and left out, as are doublets. Where fewer than 20 foreign UMIs are expected, or the fit
    gives more than five mean empty droplets and no two unrelated lineages show as much, the ambient UMIs of a cell are
    taken to be those of a mean empty droplet. Where there are no empty droplets, nothing is measured: every cell has
    the lower bound.

    Parameters
    ----------
    cells
        Cells of one sample; `obs["lineage"]` and `obs["is_doublet"]` are used where there.
    ambient
        From :func:`ambient_profile`.
    markers
        From :func:`carseq.cells.read_markers`; None: the table that comes with carseq.
    car
        Name of the CAR gene; it takes no part.

    Returns
    -------
    pd.Series
        Fractions, clipped to 0.005 to 0.5, indexed as the cells; `attrs["method"]` says how.

    Notes
    -----
    Limits: barcode swapping and phagocytosed RNA count as ambient; a sample of one lineage says
    nothing about itself and falls back on its empty droplets; precision is that of the sample, not
    of the single cell.
    """
    counts = counts_of(cells)
    totals = row_sums(counts)
    base = float(ambient.attrs.get("mean_total", 0.0))
    fraction = ambient_fractions(ambient, cells.var_names)
    markers = read_markers() if markers is None else markers
    car = car_name(cells, car)
    method = "mean empty droplet"
    per_cell, share = base, 0.0
    if cells.n_obs and fraction.sum() > 0:
        if "lineage" in cells.obs:
            lineage = cells.obs["lineage"].astype(str).to_numpy()
        else:
            lineage = annotate(cells.copy(), markers, car=car).obs["lineage"].to_numpy()
        single = np.ones(cells.n_obs, dtype=bool)
        if "is_doublet" in cells.obs:
            single = ~cells.obs["is_doublet"].astype(bool).to_numpy()
        genes = _positions(cells, markers, car)
        fitted = _foreign_fit(counts, totals, lineage, single, fraction, genes)
        if fitted is not None:
            per_cell, share = fitted
            method = "markers of foreign lineages"
    umis = per_cell + share * totals
    many = base > 0 and umis.size and float(np.median(umis)) > MOST_EMPTIES * base
    if many and not _borne_out(counts, totals, lineage, single, fraction, genes, base):
        log.warning(
            "contamination: the fit (%.0f ambient UMIs a cell) is rejected beside empty droplets of %.0f UMIs",
            float(np.median(umis)),
            base,
        )
        umis, method = np.full(cells.n_obs, base), "mean empty droplet"
    values = np.clip(umis / np.maximum(totals, 1.0), LEAST, MOST)
    if cells.n_obs and not fraction.sum():
        method = "not measured"
        log.info("contamination: not measured, for want of empty droplets")
    elif cells.n_obs:
        log.info("contamination: median %.1f %% (%s)", 100 * float(np.median(values)), method)
    result = pd.Series(values, index=cells.obs_names, name="contamination")
    result.attrs["method"] = method
    return result


def corrected_counts(
    adata: AnnData, ambient: Mapping[str, pd.DataFrame], *, car: str | None = None
) -> sparse.csr_matrix:
    """Return the UMIs of each cell that are its own, as far as they can be told apart.

    A UMI of gene g in a cell of type t is the cell's own with probability (1 - c) p / ((1 - c) p + c a), where c is the
    cell's contamination, a the gene's share of ambient RNA and p its share of the type's own RNA: the mean of the
    sample's cells of the type less their ambient part (the split of DecontX, doi:10.1186/s13059-020-1950-6, with the
    ambient profile and the contamination known). For looking at genes, not for counting: the model of the CAR has
    its own account of ambient RNA, and the CAR's column is left as it is.

    Parameters
    ----------
    adata
        Cohort: counts in `layers["counts"]`; `obs` with `sample`, `cell_type`, `contamination`.
    ambient
        Ambient profile by sample, from :func:`ambient_profile`.
    car
        Name of the CAR gene.

    Returns
    -------
    scipy.sparse.csr_matrix
        Expected own UMIs, float32, n_cells × n_genes, with the counts' places.
    """
    counts = counts_of(adata)
    result = counts.astype(np.float32)
    sample = adata.obs["sample"].astype(str).to_numpy()
    kind = adata.obs["cell_type"].astype(str).to_numpy()
    share = adata.obs["contamination"].fillna(0).to_numpy(float)
    totals = row_sums(counts)
    length = np.diff(counts.indptr)
    name = car_name(adata, car)
    at_car = adata.var_names.get_loc(name) if name in adata.var_names else -1
    for one in dict.fromkeys(sample):
        of_ambient = ambient_fractions(ambient[one], adata.var_names)
        if not of_ambient.any():
            continue
        for kind_of in dict.fromkeys(kind[sample == one]):
            rows = np.flatnonzero((sample == one) & (kind == kind_of))
            umis = column_sums(counts[rows])
            held = float((share[rows] * totals[rows]).sum())
            own = np.maximum(umis - held * of_ambient, 0)
            own /= max(own.sum(), 1e-12)
            for row in rows:
                entries = slice(counts.indptr[row], counts.indptr[row] + length[row])
                genes = counts.indices[entries]
                mine, foreign = (1 - share[row]) * own[genes], share[row] * of_ambient[genes]
                keep = mine / np.maximum(mine + foreign, 1e-12)
                keep[(genes == at_car) | (mine + foreign <= 0)] = 1.0
                result.data[entries] *= keep
    return result


def run_cellbender(
    raw: AnnData, *, n_cells: int, epochs: int, threads: int = 1, car: str | None = None
) -> AnnData:
    """Run CellBender's remove-background (doi:10.1038/s41592-023-01943-7) on a raw matrix.

    It learns at once which droplets are empty and what is ambient in the others; carseq keeps its own cells and takes
    the counts alone, as a layer to look at. The CAR is left out: its ambient RNA is the calling's own business.

    Parameters
    ----------
    raw
        Raw counts, n_barcodes × n_genes.
    n_cells
        Cells called; droplets up to three times as many and 5,000 more are modelled.
    epochs
        Epochs of training; CellBender's own default is 150.
    threads
        CPU threads. A GPU is used where torch finds one; where it fails there, as for want of memory, the CPU.
    car
        Name of the CAR gene.

    Returns
    -------
    AnnData
        Counts less ambient RNA in X, with the raw matrix's barcodes, genes without the CAR.

    Raises
    ------
    CarseqError
        If CellBender is not installed, or fails.
    """
    import anndata as ad
    import scanpy as sc
    import torch

    if shutil.which("cellbender") is None:
        raise CarseqError(
            "CellBender is not installed",
            "cells.cellbender asks for it",
            "pip install 'carseq[cellbender]'",
        )
    kept = raw[row_sums(raw.X) > 0, raw.var_names != (car_name(raw, car) or "")]
    given = ad.AnnData(sparse.csr_matrix(kept.X), obs=kept.obs[[]].copy(), var=kept.var[[]].copy())
    with tempfile.TemporaryDirectory(prefix="cellbender.") as folder:
        given.write_h5ad(Path(folder) / "raw.h5ad")
        command = ["cellbender", "remove-background", "--input", "raw.h5ad", "--output", "out.h5"]
        command += ["--expected-cells", str(max(n_cells, 1)), "--epochs", str(epochs)]
        # The droplets behind these are surely empty to it.
        command += ["--total-droplets-included", str(min(3 * n_cells + 5000, given.n_obs * 4 // 5))]
        command += ["--cpu-threads", str(threads)]
        # Its report is a notebook that takes longer to run than a small sample to train, and nobody would see it:
        # without a Jupyter that writes one, CellBender says so in its log and is done.
        tools = Path(folder) / "bin"
        tools.mkdir()
        (tools / "jupyter").write_text("#!/bin/sh\n")
        (tools / "jupyter").chmod(0o755)
        environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        log.info("CellBender: %d droplets, %d epochs", given.n_obs, epochs)
        for device in (["--cuda"], []) if torch.cuda.is_available() else ([],):
            done = subprocess.run(
                [*command, *device],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            failed = done.returncode or not (Path(folder) / "out.h5").exists()
            said = (done.stderr or done.stdout).strip().splitlines()
            if not failed:
                break
            if device:
                log.warning(
                    "CellBender failed on the GPU (%s); it runs on the CPU, which takes longer",
                    said[-1] if said else f"exit {done.returncode}",
                )
                # What it had learnt there it would go on with.
                (Path(folder) / "ckpt.tar.gz").unlink(missing_ok=True)
        if failed:
            raise CarseqError(
                f"CellBender failed ({done.returncode})",
                said[-1] if said else "it said nothing",
                "set cells.cellbender to 0 to go without it; a sample of few droplets is too small for it",
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = sc.read_10x_h5(Path(folder) / "out.h5", gex_only=False)
    made.var_names_make_unique()
    return made


def _positions(cells: AnnData, markers: pd.DataFrame, car: str | None) -> dict[str, np.ndarray]:
    return {
        lineage: np.flatnonzero(cells.var_names.isin([g for g in genes if g != car]))
        for lineage, genes in exclusive_genes(markers).items()
    }


def _borne_out(
    counts: sparse.csr_matrix,
    totals: np.ndarray,
    lineage: np.ndarray,
    single: np.ndarray,
    fraction: np.ndarray,
    genes: dict[str, np.ndarray],
    base: float,
) -> bool:
    """Return whether cells of two unrelated lineages, each alone, hold more ambient RNA than empty droplets explain.

    One lineage may express genes that are taken for foreign; two do not express each other's alike.
    """
    found = []
    for kind in dict.fromkeys(lineage):
        own = single & (lineage == kind)
        if kind == UNKNOWN or own.sum() < FEWEST_OF_LINEAGE:
            continue
        fitted = _foreign_fit(counts, totals, lineage, own, fraction, genes)
        if fitted and np.median(fitted[0] + fitted[1] * totals[own]) > MOST_EMPTIES * base:
            found.append(str(kind))
    return any(not kin(one, other) for one, other in combinations(found, 2))


def _foreign_fit(
    counts: sparse.csr_matrix,
    totals: np.ndarray,
    lineage: np.ndarray,
    single: np.ndarray,
    fraction: np.ndarray,
    genes: dict[str, np.ndarray],
) -> tuple[float, float] | None:
    """Return ambient UMIs a droplet and ambient share of a cell's UMIs; None if too few to tell."""
    kinds = [k for k in dict.fromkeys(lineage) if k != UNKNOWN]
    seen, expected, umis = np.zeros((3, counts.shape[1]))
    foreign: dict[str, np.ndarray] = {}
    for kind in kinds:
        rows = np.flatnonzero(single & (lineage == kind))
        lists = [at for name, at in genes.items() if not kin(kind, name)]
        foreign[kind] = np.unique(np.concatenate(lists)) if lists else np.zeros(0, dtype=int)
        at = foreign[kind]
        seen[at] += column_sums(counts[rows][:, at])
        expected[at] += rows.size * fraction[at]
        umis[at] += totals[rows].sum()
    usable = np.flatnonzero(expected > 0)
    if not usable.size:
        return None
    # Ambient UMIs a droplet, gene by gene: leaky genes give too many.
    rate = seen[usable] / expected[usable]
    order = np.argsort(rate)
    weight = np.cumsum(expected[usable][order])
    middle = rate[order][np.searchsorted(weight, weight[-1] / 2)]
    good = usable[rate <= 3 * max(middle, 1e-9)]
    if seen[good].sum() < MIN_EXPECTED:
        return None
    leak = _leak(seen[good], expected[good], umis[good])
    mask = np.zeros(counts.shape[1], dtype=bool)
    mask[good] = True
    observed, weights = np.zeros(len(totals)), np.zeros(len(totals))
    for kind in kinds:
        rows = np.flatnonzero(single & (lineage == kind))
        at = foreign[kind][mask[foreign[kind]]]
        observed[rows] = row_sums(counts[rows][:, at]) - leak * at.size * totals[rows]
        weights[rows] = fraction[at].sum()
    keep = weights > 0
    for _ in range(3):
        design = np.stack([weights[keep], weights[keep] * totals[keep]], axis=1)
        # Scaled by the Poisson spread of a cell of its size.
        spread = np.sqrt(weights[keep] * np.maximum(totals[keep], 1.0))
        fit = optimize.nnls(design / spread[:, None], observed[keep] / spread)[0]
        mean = weights * (fit[0] + fit[1] * totals)
        # Wrongly typed cells and doublets show far more than any ambient RNA.
        new = (weights > 0) & (observed <= mean + 4 * np.sqrt(mean) + 3)
        if (new == keep).all() or not new.any():
            break
        keep = new
    return float(fit[0]), float(fit[1])


def _leak(seen: np.ndarray, expected: np.ndarray, umis: np.ndarray) -> float:
    """Return the UMIs a UMI by which a cell expresses a gene that is foreign to it.

    Ambient RNA gives a gene in proportion to its share of ambient RNA; what every foreign gene has alike, whatever its
    share, is the cells' own: low transcription, and chimeric molecules. Both are fitted over genes (non-negative
    least squares, scaled by the Poisson spread).

    Parameters
    ----------
    seen
        UMIs of each gene in cells that it is foreign to, shape (n_genes,).
    expected
        Share of ambient RNA times the number of those cells, same shape.
    umis
        All UMIs of those cells, same shape.
    """
    if seen.size < 10:
        return 0.0
    spread = np.sqrt(np.maximum(seen, 1.0))
    design = np.stack([expected, umis], axis=1) / spread[:, None]
    return float(optimize.nnls(design, seen / spread)[0][1])
