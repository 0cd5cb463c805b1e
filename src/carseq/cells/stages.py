"""The two steps of the room as the workflow runs them: a sample's cells, and the cohort."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from carseq.cells.ambient import ambient_profile, contamination, corrected_counts
from carseq.cells.annotation import annotate
from carseq.cells.atlas import (
    compare_methods,
    label_by_celltypist,
    label_by_reference,
    read_reference,
)
from carseq.cells.barcodes import call_barcodes, knee_table
from carseq.cells.batches import mixing
from carseq.cells.clusters import cluster, graph_of, lay_out
from carseq.cells.combination import combine
from carseq.cells.counts import counts_of, log_normalised, row_sums, take_rows
from carseq.cells.doublet import doublets, paired_transcriptomes
from carseq.cells.filters import filter_cells, quality, untype_failed
from carseq.cells.intact import intactness
from carseq.cells.latent import integrate, principal_components
from carseq.cells.markers import read_markers
from carseq.cells.protein import protein_background
from carseq.cells.states import cell_cycle, t_states
from carseq.library.geometry import doublets_per_cell
from carseq.log import get_logger
from carseq.study.config import CellsConfig

if TYPE_CHECKING:
    from anndata import AnnData

    from carseq.cells.beside import Beside

log = get_logger(__name__)

#: Above this many cells the corrected counts are left out of the cohort's file.
MAX_CORRECTED = 200_000


@dataclass(frozen=True)
class SampleCells:
    """What :func:`sample_cells` makes of a raw matrix.

    Attributes
    ----------
    cells
        Called cells, raw counts, with quality and doublets in `obs`.
    barcodes
        Of :func:`call_barcodes`, every barcode.
    ambient
        Of :func:`ambient_profile`, with columns `mean_total` (UMIs of a mean empty droplet) and
        `largest` (most UMIs of a droplet taken for empty).
    knee
        Of :func:`knee_table`.
    """

    cells: AnnData
    barcodes: pd.DataFrame
    ambient: pd.DataFrame
    knee: pd.DataFrame


def sample_cells(
    raw: AnnData,
    sample: str,
    *,
    car: str,
    called: bool = False,
    listed: Sequence[str] | None = None,
    seed: int = 0,
    scvi_solo: bool = False,
    doublet_rate: float | None = None,
    chemistry: str | None = None,
) -> SampleCells:
    """Find the cells of a sample and measure them.

    Parameters
    ----------
    raw
        Raw counts, barcodes × genes.
    sample
        Name of the sample.
    car
        Name of the CAR gene.
    called
        Whether `raw` holds called cells only, which are then all taken.
    listed
        Barcodes of the user's own cells, in place of the test.
    seed
        Seed of the Monte Carlo test, of scrublet and of SOLO.
    scvi_solo
        Whether scvi-tools' SOLO looks for doublets too.
    doublet_rate
        Share of doublets that the loading leads to expect; None: from the number of cells and the chemistry.
    chemistry
        Name of the library's chemistry (:data:`carseq.library.geometry.CHEMISTRIES`); None: not known.
    """
    taken = list(raw.obs_names) if called else listed
    calls = call_barcodes(raw, seed=seed, barcodes=taken)
    ambient = ambient_profile(raw, calls)
    ambient["mean_total"] = ambient.attrs["mean_total"]
    ambient["largest"] = int(
        min(calls.attrs["ambient_max"], calls["total_umis"].max() if len(calls) else 0)
    )
    car_umis = pd.Series(0.0, index=raw.obs_names)
    if car in raw.var_names:
        car_umis[:] = row_sums(raw.X[:, [raw.var_names.get_loc(car)]])
    knee = knee_table(calls, car=car_umis)
    cells = raw[calls["is_cell"].to_numpy(bool)].copy()
    cells.uns["car"] = car
    protein_background(cells, raw, calls["is_cell"].to_numpy(bool))
    cells.obs["sample"] = sample
    cells.obs["barcode"] = cells.obs_names.astype(str)
    quality(cells)
    per_cell = doublets_per_cell(chemistry)
    doublets(cells, seed=seed, car=car, scvi_solo=scvi_solo, rate=doublet_rate, per_cell=per_cell)
    return SampleCells(cells, calls, ambient, knee)


def annotate_cohort(
    samples: Iterable[AnnData],
    ambient: Mapping[str, pd.DataFrame],
    *,
    car: str,
    config: CellsConfig,
    homologs: Iterable[str] | None = None,
    threads: int = 1,
    beside: Beside | None = None,
) -> tuple[AnnData, pd.DataFrame]:
    """Join samples, cluster and annotate their cells, and leave out those of poor quality.

    Parameters
    ----------
    samples
        Cells of each sample, from :func:`sample_cells`; a generator spares memory.
    ambient
        Ambient profile by sample.
    car
        Name of the CAR gene.
    config
        Section `cells` of the configuration.
    homologs
        Genes that the construct shares sequence with, from its homology table: they may not help to say what a cell is.
        None: those that most CARs share (:data:`carseq.cells.markers.CROSS_TALK`).
    threads
        Threads of scVI and harmony.
    beside
        A process beside this one, of :func:`carseq.cells.beside.learning_beside`: the same result, sooner.

    Returns
    -------
    cohort : AnnData
        Kept cells, with `leiden`, `lineage`, `cell_type`, `t_state`, `contamination` in `obs`, and
        the labels of the reference and of CellTypist where the configuration names them.
    filters : pandas.DataFrame
        What the quality filters removed, by sample and step.
    """
    reference = None
    if config.atlas:
        reference = read_reference(config.atlas, config.atlas_labels)
    cohort = combine(samples, normalise=False)
    cohort.uns["car"] = car
    if homologs is not None:
        cohort.uns["car_homologs"] = sorted(homologs)
    markers = read_markers(config.markers)
    key = integrate(
        cohort,
        config.integration,
        car=car,
        seed=config.seed,
        threads=threads,
        elsewhere=beside.run if beside else None,
    )
    cluster(cohort, key, resolution=config.resolution, seed=config.seed, with_map=beside is None)
    laid_out = None
    if beside is not None and "X_umap" not in cohort.obsm:
        laid_out = beside.start(lay_out, graph_of(cohort, key), key, config.seed)
    annotate(cohort, markers, car=car)
    failed = untype_failed(cohort)
    intactness(cohort)
    paired_transcriptomes(cohort, ambient, car=car)
    share = np.full(cohort.n_obs, np.nan)
    for name in dict.fromkeys(cohort.obs["sample"].astype(str)):
        rows = (cohort.obs["sample"] == name).to_numpy()
        profile = ambient[name]
        profile.attrs["mean_total"] = float(profile["mean_total"].iloc[0]) if len(profile) else 0.0
        share[rows] = contamination(cohort[rows], profile, markers=markers, car=car).to_numpy()
    cohort.obs["contamination"] = share
    # What is kept stays in the memory of what was counted: a copy would be the most memory of all steps.
    counts = counts_of(cohort)
    cohort.layers["counts"] = _column_alone(counts, cohort.var_names == car)
    kept, filters = filter_cells(
        cohort, max_pct_mito=config.max_pct_mito, min_genes=config.min_genes, car=car
    )
    good = cohort.obs["qc_reason"].eq("").to_numpy()
    kept.layers["counts"] = take_rows(counts, good)
    del cohort, counts
    kept.uns["library_failed"] = failed
    t_states(kept, car=car, seed=config.seed)
    # Before X is made: what scanpy scores are copies, of a million cells two gigabytes.
    cell_cycle(kept)
    kept.X = log_normalised(counts_of(kept))
    if reference is not None:
        labels = config.atlas_labels
        label_by_reference(kept, reference, labels=labels, car=car, seed=config.seed)
    if config.celltypist:
        label_by_celltypist(kept, config.celltypist, sha256=config.celltypist_sha256 or "")
    if config.corrected and kept.n_obs <= MAX_CORRECTED:
        kept.layers["corrected"] = corrected_counts(kept, ambient, car=car)
    if laid_out is not None:
        map_of_all = laid_out()
        kept.obsm["X_umap"], kept.uns["umap"] = (
            map_of_all.obsm["X_umap"][good],
            map_of_all.uns["umap"],
        )
    return kept, filters


def _column_alone(counts: sparse.csr_matrix, column: np.ndarray) -> sparse.csr_matrix:
    """Return counts of the same shape with those of one gene alone: by it the filters see who bears the CAR."""
    here = sparse.coo_matrix(counts[:, np.flatnonzero(column)])
    at = np.flatnonzero(column)[here.col]
    return sparse.csr_matrix((here.data, (here.row, at)), shape=counts.shape)


def add_layer(cohort: AnnData, name: str, samples: Mapping[str, AnnData]) -> None:
    """Add a layer from matrices by sample (barcodes × genes, in X); genes and barcodes that they lack are 0.

    The CAR's counts are copied from the raw counts.

    Parameters
    ----------
    cohort
        From :func:`annotate_cohort`; its `layers` get ``name``.
    name
        Name of the layer.
    samples
        By sample, the values of its cells.
    """
    at_car = np.flatnonzero(cohort.var_names == cohort.uns["car"])
    car = sparse.coo_matrix(counts_of(cohort)[:, at_car])
    rows, columns, data = [car.row], [at_car[car.col]], [car.data]
    sample = cohort.obs["sample"].astype(str).to_numpy()
    barcode = cohort.obs["barcode"].astype(str).to_numpy()
    for one, values in samples.items():
        own = np.flatnonzero(sample == one)
        at = values.obs_names.get_indexer(barcode[own])
        genes = cohort.var_names.get_indexer(values.var_names)
        part = sparse.coo_matrix(sparse.csr_matrix(values.X)[at[at >= 0]][:, genes >= 0])
        rows.append(own[at >= 0][part.row])
        columns.append(genes[genes >= 0][part.col])
        data.append(part.data)
    places = np.concatenate(rows), np.concatenate(columns)
    held = np.concatenate(data).astype(np.float32)
    cohort.layers[name] = sparse.csr_matrix((held, places), shape=cohort.shape)


def cohort_tables(cohort: AnnData, *, car: str, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Say how far the annotation's methods agree, and how well the samples mix.

    Parameters
    ----------
    cohort
        From :func:`annotate_cohort`.
    car
        Name of the CAR gene.
    seed
        Seed of the principal components and of the cells measured.

    Returns
    -------
    annotation, integration : pandas.DataFrame
        Of :func:`carseq.cells.compare_methods` and :func:`carseq.cells.mixing`.
    """
    key = str(cohort.uns["integration"]["key"])
    spaces = {key.removeprefix("X_"): cohort.obsm[key]}
    if key != "X_pca":
        spaces = {"pca": principal_components(cohort, car=car, seed=seed), **spaces}
    return compare_methods(cohort), mixing(cohort, spaces, seed=seed)
