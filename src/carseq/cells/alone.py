"""Cells of any matrix, without a study: no Snakemake, no CAR, no genome."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from carseq.cells.ambient import ambient_profile
from carseq.cells.annotation import LEAST_TYPED_UMIS, annotate, untype
from carseq.cells.barcodes import call_barcodes
from carseq.cells.clusters import cluster
from carseq.cells.combination import combine
from carseq.cells.counts import row_sums
from carseq.cells.doublet import doublets, paired_transcriptomes
from carseq.cells.filters import filter_cells, quality, untype_failed
from carseq.cells.intact import intactness
from carseq.cells.intronic import intronic_share
from carseq.cells.latent import Method, integrate
from carseq.cells.protein import add_protein, protein_agreement, protein_background
from carseq.cells.states import cell_cycle, t_states
from carseq.errors import CarseqError
from carseq.io.genes import (
    PSEUDOAUTOSOMAL,
    are_foreign,
    check_genes,
    marker_genes,
    with_symbols,
)
from carseq.io.matrix import (
    ANTIBODY,
    GENE,
    HASHTAG,
    IDS,
    are_genes,
    bare_name,
    check_molecules,
    feature_types,
    matrices_of,
    near_names,
    proteins_apart,
    type_column,
)
from carseq.log import get_logger
from carseq.reference.genome import gene_symbols

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.alone")

#: Share of a barcode's UMIs in genes of another species above which it is no human cell, %.
MOST_OTHER_SPECIES = 50.0
#: Columns of `obs` that :func:`annotate_matrix` makes and does not hand on.
_INNER = ("barcode", "sample")


def annotate_matrix(
    adata: AnnData,
    *,
    sample: str | None = None,
    car: str | None = None,
    markers: pd.DataFrame | None = None,
    integration: Method = "none",
    gtf: str | Path | None = None,
    bam: str | Path | None = None,
    seed: int = 0,
) -> AnnData:
    """Say what each cell of a matrix is: its type, its state, whether it is intact and single.

    Parameters
    ----------
    adata
        Cells × genes, raw counts in `layers["counts"]` (`"raw_counts"`, `"raw"`, ...), X or `raw.X`; genes as symbols,
        or as Ensembl ids with a column of symbols. It may hold all droplets: cells are then called first.
    sample
        Column of `obs` that names the samples; None: the cells are of one.
    car
        Name of the CAR among the genes, where there is one; it takes no part.
    markers
        From :func:`carseq.cells.read_markers`; None: the table that comes with carseq.
    integration
        How several samples are integrated: `none`, `harmony` or `scvi`.
    gtf
        Annotation whose `gene_id` the matrix names its genes by, where it has no symbols.
    bam
        Cell Ranger's BAM of these cells, of one sample: it gives `pct_intronic`, the share of reads in introns.
    seed
        Seed of every random step.

    Returns
    -------
    AnnData
        The same object (of a matrix of all droplets: a new one of its cells) with `obs`: `total_umis`, `n_genes`,
        `pct_mito`, `lineage`, `cell_type`, `cell_type_confidence`, `marker_coverage`, `t_state`, `is_doublet`,
        `doublet_reason`, `intact_fraction`, `is_damaged`, `phase`, `leiden`, and `qc_reason` (the quality filter that
        would remove the cell; empty for good ones), and `obsm["X_umap"]`. No cell is removed. Where the matrix holds
        antibodies (features of that type, or `obsm["protein"]`, `obsm["protein_expression"]`, ...), `protein_lineage`
        is what they say; it decides nothing. Where genes of a second species are there (`mm10_Cd3e`), they are left
        out, `pct_other_species` is their share, and a barcode with most of its UMIs in them has no type. Where
        unspliced molecules are known (``bam``, `obs["pct_intronic"]`, or the layers `spliced` and `unspliced`),
        `pct_intronic` is used to tell damaged cells.

    Raises
    ------
    CarseqError
        If there are no raw counts, barcodes or genes stand twice, the genes are not those of man, the CAR is not among
        them, a cell has no sample, or ``bam`` cannot be read or is given for several samples.

    Examples
    --------
    >>> import carseq, anndata
    >>> cells = carseq.annotate(anndata.read_h5ad("pbmc.h5ad"))  # doctest: +SKIP
    >>> cells.obs[["cell_type", "cell_type_confidence", "t_state"]]  # doctest: +SKIP
    """
    import anndata as ad

    _check_object(adata)
    counts, var = _counts(adata)
    check_molecules(counts, "the matrix")
    counts, var, proteins = genes_alone(adata, counts, var, car)
    if not adata.obs_names.is_unique:
        twice = adata.obs_names[adata.obs_names.duplicated()][0]
        raise CarseqError(
            "two cells have one name",
            f"{twice} is there twice",
            "give each sample's barcodes a prefix, or call adata.obs_names_make_unique()",
        )
    part = ad.AnnData(counts, obs=pd.DataFrame(index=adata.obs_names.astype(str)), var=var)
    if proteins is not None:
        part.obsm["protein"] = proteins
    by_id = None if gtf is None else gene_symbols(gtf)
    share = _intronic(adata)
    if share is not None:
        part.obs["pct_intronic"] = share
    source = with_symbols(part, car=car, by_id=by_id)
    if source:
        log.info("genes are named by %s", source)
    _make_unique(part)
    part = _without_other_species(part)
    for warning in check_genes(part.var_names):
        log.warning("%s", warning)
    if car is not None and car not in part.var_names:
        like = near_names(part.var_names, car)
        raise CarseqError(
            f"the matrix has no gene named {car}",
            f"names like it are {', '.join(like)}" if like else "",
            "give the CAR's name as the matrix spells it, or leave it out",
        )
    part.obs["sample"] = "" if sample is None else _samples(adata.obs, sample)
    if bam is not None and part.obs["sample"].nunique() > 1:
        raise CarseqError(
            "a BAM was given for several samples",
            f"{part.obs['sample'].nunique()} samples: their barcodes may be the same",
            "annotate each sample with its own BAM",
        )
    called, ambient, parts = [], {}, []
    of_samples = list(dict.fromkeys(part.obs["sample"])) or [""]
    log.info("%d barcodes, %d genes: counting quality, doublets", part.n_obs, part.n_vars)
    for number, one in enumerate(of_samples, 1):
        if len(of_samples) > 1:
            log.info("sample %d of %d: %s", number, len(of_samples), one)
        own = part[part.obs["sample"] == one].copy()
        is_cell = np.ones(own.n_obs, dtype=bool)
        raw = _holds_empty_droplets(row_sums(own.X))
        calls = call_barcodes(own, seed=seed, barcodes=None if raw else list(own.obs_names))
        if raw:
            is_cell = calls["is_cell"].to_numpy(bool)
            log.info("%d of %d droplets are cells", int(is_cell.sum()), own.n_obs)
        ambient[str(one)] = ambient_profile(own, calls)
        droplets, own = own, own[is_cell].copy()
        if bam is not None:
            own.obs["pct_intronic"] = intronic_share(bam, own.obs_names, seed=seed)
        protein_background(own, droplets, is_cell)
        called.append(own.obs_names)
        if car:
            own.uns["car"] = car
        parts.append(doublets(quality(own), seed=seed, markers=markers))
    cohort = combine(parts)
    add_protein(cohort, parts)
    log.info("clustering %d cells", cohort.n_obs)
    cluster(cohort, integrate(cohort, integration, seed=seed), seed=seed)
    log.info("typing them")
    annotate(cohort, markers)
    _untype_other_species(cohort)
    failed = untype_failed(cohort)
    intactness(cohort)
    log.info("states, phases and quality")
    paired_transcriptomes(cohort, ambient)
    t_states(cohort, seed=seed)
    cell_cycle(cohort)
    filter_cells(cohort)
    names = pd.Index(np.concatenate(called)) if called else adata.obs_names[:0]
    result = adata
    if len(names) < adata.n_obs:
        result = adata[names].to_memory() if adata.isbacked else adata[names].copy()
    # In the order of the matrix, whatever the order of its samples.
    order = names.get_indexer(result.obs_names)
    for column in cohort.obs.columns:
        if column not in _INNER:
            result.obs[column] = cohort.obs[column].to_numpy()[order]
    for key in ("X_umap", "lineage_probability", "t_type_probability"):
        if key in cohort.obsm:
            table = cohort.obsm[key]
            result.obsm[key] = (
                table.iloc[order].set_axis(result.obs_names)
                if isinstance(table, pd.DataFrame)
                else table[order]
            )
    # An empty name cannot be written into an h5ad.
    result.uns["library_failed"] = {name or "(unnamed)": genes for name, genes in failed.items()}
    if proteins is None:
        del result.obs["protein_lineage"]
    else:
        _tell_agreement(cohort)
    return result


def _check_object(adata: Any) -> None:
    """Raise if what was given is not an AnnData of barcodes by genes."""
    if not hasattr(adata, "layers") or not hasattr(adata, "var_names"):
        raise CarseqError(
            "carseq.annotate takes an AnnData",
            f"it was given an object of type {type(adata).__name__}",
            'read a file with anndata.read_h5ad or scanpy.read_10x_h5; of a MuData give its RNA (mudata["rna"])',
        )
    markers = marker_genes()
    if len(markers.intersection(adata.obs_names)) > len(markers.intersection(adata.var_names)):
        raise CarseqError(
            "the matrix is transposed", "genes stand where barcodes should", "give adata.T"
        )


def _samples(obs: pd.DataFrame, column: str) -> np.ndarray:
    """Return the sample of each cell, shape (n_cells,)."""
    if column not in obs:
        raise CarseqError(
            f"obs has no column {column!r}",
            f"it has {', '.join(map(str, obs.columns)) or 'none'}",
            "name the column that holds the samples, or leave it out",
        )
    if (missing := int(obs[column].isna().sum())) > 0:
        raise CarseqError(
            f"{missing} cells have no sample",
            f"obs[{column!r}] is missing there",
            "leave these cells out, or say which sample they are of",
        )
    return obs[column].astype(str).to_numpy(str)


def _intronic(adata: AnnData) -> np.ndarray | None:
    """Return the share of unspliced molecules of each cell, %, where the matrix has it, else None.

    From `obs["pct_intronic"]`, or the layers that velocyto, STARsolo and alevin-fry write for RNA velocity.
    """
    if "pct_intronic" in adata.obs:
        return adata.obs["pct_intronic"].to_numpy(float)
    if not {"spliced", "unspliced"} <= set(adata.layers):
        return None
    spliced, unspliced = (row_sums(adata.layers[name]) for name in ("spliced", "unspliced"))
    both = spliced + unspliced
    return np.where(both > 0, 100 * unspliced / np.maximum(both, 1.0), np.nan)


def _tell_agreement(cohort: AnnData) -> None:
    """Log how far surface proteins agree with the lineages; they decide nothing."""
    for row in protein_agreement(cohort.obs).query("protein_lineage == 'all'").itertuples():
        log.info(
            "sample %s: surface proteins agree with the lineage of %.0f %% of %d cells that they assign",
            row.sample or "(unnamed)",
            100 * row.agreement,
            row.n_cells,
        )


def genes_alone(
    adata: AnnData, counts: sparse.csr_matrix, var: pd.DataFrame, car: str | None = None
) -> tuple[sparse.csr_matrix, pd.DataFrame, pd.DataFrame | None]:
    """Leave out features that are not genes: their molecules are not the cell's RNA.

    Returns
    -------
    counts, var
        Of the genes.
    proteins
        Antibody counts, cells × antibodies, from the matrix or beside it; None where there are none.
    """
    proteins = proteins_apart(adata)
    types = feature_types(var)
    if type_column(var) is None:
        # What the user names as the CAR is no antibody, whatever it is called.
        types = np.where(var.index.astype(str) == str(car or ""), GENE, types)
    is_gene = are_genes(types)
    if is_gene.all() and is_gene.size:
        return counts, var, proteins
    if not is_gene.any():
        raise CarseqError(
            "the matrix holds no genes",
            f"its features are of type {', '.join(sorted(set(types)))}" if types.size else "",
            "give the RNA of the cells",
        )
    names = var.index.astype(str)
    held = np.array([t.lower() == ANTIBODY.lower() for t in types])
    held &= ~np.array([HASHTAG.search(name) is not None for name in names])
    log.info(
        "%d features are not genes (%d antibodies): left out of the cells' UMIs",
        int((~is_gene).sum()),
        int(held.sum()),
    )
    if held.any():
        found = pd.DataFrame(counts[:, held].toarray(), adata.obs_names.astype(str), names[held])
        proteins = found.loc[:, ~found.columns.duplicated()]
    return counts[:, is_gene], var[is_gene].copy(), proteins


def _holds_empty_droplets(totals: np.ndarray) -> bool:
    """Return whether a matrix holds all droplets: most of them have too few UMIs to be typed."""
    return bool(totals.size >= 1000 and np.median(totals) < LEAST_TYPED_UMIS)


def _without_other_species(part: AnnData) -> AnnData:
    """Leave out genes of a second species (`mm10_Cd3e`); `obs["pct_other_species"]` keeps their share of UMIs, %."""
    foreign = are_foreign(part.var_names)
    for column in {"gene_id", *IDS} & set(part.var):
        foreign |= are_foreign(pd.Index(part.var[column].astype(str)))
    if not foreign.any() or foreign.all():
        return part
    total = np.maximum(row_sums(part.X), 1.0)
    share = 100 * row_sums(part.X[:, np.flatnonzero(foreign)]) / total
    part.obs["pct_other_species"] = share
    log.warning(
        "%d genes are those of another species (%s, ...): left out; %d barcodes have most of their UMIs in them and "
        "are given no type",
        int(foreign.sum()),
        part.var_names[foreign][0],
        int((share > MOST_OTHER_SPECIES).sum()),
    )
    return part[:, ~foreign].copy()


def _untype_other_species(cohort: AnnData) -> None:
    """Take the types from cells of another species: the human RNA in their droplets is ambient."""
    if "pct_other_species" not in cohort.obs:
        return
    rows = (cohort.obs["pct_other_species"] > MOST_OTHER_SPECIES).to_numpy()
    untype(cohort, rows)


def _make_unique(part: AnnData) -> None:
    """Tell genes of one symbol apart, as 10x's references have some of; refuse where a marker gene is among them."""
    names = part.var_names
    if names.is_unique:
        return
    twice = set(names[names.duplicated()])
    marked = sorted((twice & marker_genes()) - PSEUDOAUTOSOMAL)
    if marked:
        raise CarseqError(
            f"{len(marked)} marker genes are in the matrix twice",
            f"such as {', '.join(marked[:3])}",
            "add their rows up, or keep one of each",
        )
    log.info("%d gene symbols are there twice (%s, ...): kept apart", len(twice), min(twice))
    part.var_names_make_unique()


def _bare_names(var: pd.DataFrame) -> pd.DataFrame:
    """Return what is known of the genes, their names and ids without blanks and quotation marks around them."""
    var = var.copy()
    var.index = pd.Index([bare_name(name) for name in var.index], name=var.index.name)
    for column in {*IDS} & set(var):
        var[column] = [bare_name(name) for name in var[column]]
    return var


def _counts(adata: AnnData) -> tuple[sparse.csr_matrix, pd.DataFrame]:
    """Return the raw counts and their genes: the first of the layers named so, X and `raw.X` with whole numbers."""
    why = "it has no X"
    for where, matrix, var in matrices_of(adata):
        counts = sparse.csr_matrix(matrix, dtype=np.float32, copy=True)
        values = counts.data
        if not np.isfinite(values).all():
            why = f"{where} holds values that are infinite or missing"
        elif values.size and values.min() < 0:
            why = f"{where} holds negative values: it was scaled"
        elif values.size and not np.allclose(values, np.rint(values), atol=1e-3):
            why = f"{where} holds values that are not whole numbers: it was normalised"
        else:
            np.rint(counts.data, out=counts.data)
            counts.eliminate_zeros()
            return counts, _bare_names(var)
    raise CarseqError(
        "the matrix holds no raw counts",
        why,
        'give the counts (UMIs) before any normalisation, in X or in layers["counts"]',
    )
