"""Further opinions on what each cell is: labels learnt from a reference of the user, a CellTypist model.

:func:`label_by_reference` and :func:`label_by_celltypist` write their labels beside `lineage` and `cell_type`, and
never over them; :func:`compare_methods` shows where the methods disagree.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from carseq.cells.counts import car_name, counts_of, log_normalised, row_sums
from carseq.cells.latent import feature_genes
from carseq.cells.training import (
    QUIET,
    import_scvi,
    on_gpu_or_cpu,
    quiet_training,
    safe_batch_size,
    scvi_epochs,
)
from carseq.errors import CarseqError
from carseq.io.genes import bare_ids, check_genes, species_of
from carseq.io.matrix import read_labelled
from carseq.log import get_logger
from carseq.schema.tables import ANNOTATION
from carseq.study.texts import is_missing

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger("cells.atlas")

#: Genes that reference and cohort must share: fewer come of other identifiers (Ensembl against symbols).
MIN_SHARED_GENES = 200
#: Further epochs of scANVI after scVI, the default of scvi-tools for large data.
SCANVI_EPOCHS = 20
#: What stands where a method gave no label.
NO_LABEL = "unknown"
_ENSEMBL = re.compile(r"ENSG\d{6,}")
#: The reference among the samples that scVI integrates; no sample can be called so.
OF_REFERENCE = "|reference"
#: Columns of `obs` that hold a method's labels, and the method in words.
METHODS = {
    "cell_type_2": "linear model of markers",
    "reference_type": "scANVI, reference",
    "celltypist_type": "CellTypist",
}


def read_reference(path: str | Path, labels: str) -> AnnData:
    """Read labelled cells (h5ad): raw counts, as X, a layer or `raw` holds them, and labels in `obs`.

    Genes are named by symbols, which may stand in a column of `var` beside Ensembl ids (CELLxGENE). Cells without a
    label, or called `unknown`, are left out: they teach nothing.

    Raises
    ------
    CarseqError
        If it cannot be read, has no such column, fewer than two labels, no raw counts or no human genes.
    """
    remedy = "give an h5ad of raw counts with gene symbols and a column of cell types"
    try:
        if Path(path).is_dir() or not str(path).lower().endswith(".h5ad"):
            raise CarseqError("it is no h5ad, which alone holds labels")
        reference = read_labelled(path)
    except CarseqError as error:
        why = f"{error.message}: {error.cause}" if error.cause else error.message
        raise CarseqError(
            f"cannot read the reference {path}", why, error.remedy or remedy
        ) from None
    if labels not in reference.obs:
        raise CarseqError(
            f"the reference {path} has no column {labels!r}",
            f"its obs holds {', '.join(map(str, reference.obs.columns)) or 'no column'}",
            "name the column of cell types in cells.atlas_labels",
        )
    given = reference.obs[labels].astype(object)
    without = (given.map(is_missing) | given.astype(str).eq(NO_LABEL)).to_numpy(bool)
    if without.any():
        log.info(
            "%s: %d of %d cells have no label: they are left out",
            path,
            int(without.sum()),
            len(without),
        )
        reference = reference[~without].copy()
    if reference.obs[labels].nunique() < 2:
        raise CarseqError(
            f"the reference {path} holds fewer than two cell types",
            f"column {labels!r}",
            "name another column in cells.atlas_labels",
        )
    if species_of(reference.var_names) == "mouse":
        check_genes(reference.var_names, f"the reference {path}")
    return reference


def label_by_reference(
    adata: AnnData,
    reference: AnnData,
    *,
    labels: str = "cell_type",
    car: str | None = None,
    seed: int = 0,
    max_epochs: int | None = None,
) -> AnnData:
    """Carry the labels of a reference over to the cells, by scANVI (doi:10.15252/msb.20209620).

    Parameters
    ----------
    adata
        Cohort: counts in `layers["counts"]`, `obs["sample"]`.
    reference
        From :func:`read_reference`.
    labels
        Column of the reference's `obs`.
    car
        Name of the CAR gene; it takes no part.
    seed
        Seed of the training.
    max_epochs
        Epochs of scVI; None: by the number of cells.

    Returns
    -------
    AnnData
        The same object, with `obs["reference_type"]` and `obs["reference_confidence"]` (probability).

    Raises
    ------
    CarseqError
        If reference and cohort share fewer than 200 genes.
    """
    import anndata as ad

    scvi = import_scvi()
    reference = _named_alike(reference, adata)
    features = reference.var_names[feature_genes(reference, car=car_name(adata, car))]
    genes = features[features.isin(adata.var_names)]
    if len(genes) < MIN_SHARED_GENES:
        raise CarseqError(
            f"the reference shares {len(genes)} of its {len(features)} variable genes with the cohort",
            f"the reference names genes like {reference.var_names[0]}, the cohort like {adata.var_names[0]}",
            "give a reference whose var_names are gene symbols",
        )
    parts = []
    for cells, batch, names in (
        (reference, OF_REFERENCE, reference.obs[labels].astype(str).to_numpy()),
        (adata, adata.obs["sample"].astype(str).to_numpy(), NO_LABEL),
    ):
        counts = counts_of(cells)[:, cells.var_names.get_indexer(genes)].astype(np.float32)
        part = ad.AnnData(counts, obs=pd.DataFrame(index=cells.obs_names))
        part.obs["batch"], part.obs["label"] = batch, names
        parts.append(part[row_sums(counts) > 0].copy())
    joint = ad.concat(parts, index_unique="|", keys=["reference", "cohort"])
    joint.X = sparse.csr_matrix(joint.X)
    query = (joint.obs["label"] == NO_LABEL).to_numpy()
    with quiet_training(1):
        scvi.model.SCVI.setup_anndata(joint, batch_key="batch", labels_key="label")

        def learn(accelerator: str) -> pd.DataFrame:
            scvi.settings.seed = seed
            size = safe_batch_size(joint.n_obs)
            options = {**QUIET, "batch_size": size, "accelerator": accelerator}
            model = scvi.model.SCVI(joint, gene_likelihood="nb")
            model.train(max_epochs=max_epochs or scvi_epochs(joint.n_obs), **options)
            labeller = scvi.model.SCANVI.from_scvi_model(model, unlabeled_category=NO_LABEL)
            labeller.train(max_epochs=min(SCANVI_EPOCHS, max_epochs or SCANVI_EPOCHS), **options)
            return labeller.predict(indices=np.flatnonzero(query), soft=True)

        soft = on_gpu_or_cpu(learn)
    found = pd.Series(NO_LABEL, adata.obs_names)
    sure = pd.Series(0.0, adata.obs_names)
    names = parts[1].obs_names
    found[names] = soft.idxmax(axis=1).to_numpy(str)
    sure[names] = soft.max(axis=1).to_numpy(float)
    adata.obs["reference_type"], adata.obs["reference_confidence"] = found, sure
    log.info("reference: %s", _shares(found))
    return adata


def _named_alike(reference: AnnData, adata: AnnData) -> AnnData:
    """Return the reference with the cohort's symbols for genes that it names by their ids alone."""
    if "gene_id" not in adata.var:
        return reference
    known = {
        i: name
        for i, name in zip(bare_ids(pd.Index(adata.var["gene_id"])), adata.var_names, strict=True)
        if _ENSEMBL.match(i)
    }
    before, taken = reference.var_names, set(reference.var_names)
    names = [
        own if (own := known.get(i, name)) not in taken else name
        for name, i in zip(before, bare_ids(before), strict=True)
    ]
    if names != list(before):
        reference = reference.copy()
        reference.var_names = pd.Index(names)
        reference.var_names_make_unique()
    return reference


def check_model(model: str | Path, sha256: str) -> bytes:
    """Return a CellTypist model's bytes if they have the checksum that was given.

    Parameters
    ----------
    model
        The model's file: a pickle, which may run anything when it is opened.
    sha256
        Its SHA-256 in hexadecimal.

    Raises
    ------
    CarseqError
        If the file cannot be read or has another checksum.
    """
    try:
        content = Path(model).read_bytes()
    except OSError as error:
        raise CarseqError(
            f"{model} cannot be read", error.strerror or str(error), "check the path"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if found != sha256.lower():
        raise CarseqError(
            f"{model} is not the model whose checksum was given",
            f"its SHA-256 is {found}; cells.celltypist_sha256 is {sha256 or 'empty'}",
            "transfer the model again; if you trust this file, write its checksum",
        )
    return content


def label_by_celltypist(adata: AnnData, model: str | Path, *, sha256: str) -> AnnData:
    """Label cells by a CellTypist model (doi:10.1126/science.abl5197), without majority voting.

    Parameters
    ----------
    adata
        Counts in `layers["counts"]` (or X), gene symbols.
    model
        The model's file. It is a pickle, and opened only if it has the checksum.
    sha256
        Its SHA-256 in hexadecimal.

    Returns
    -------
    AnnData
        The same object, with `obs["celltypist_type"]` and `obs["celltypist_confidence"]` (probability).

    Raises
    ------
    CarseqError
        If CellTypist is not installed, or the file is not a model or another one.
    """
    import anndata as ad

    model = Path(model).absolute()
    content = check_model(model, sha256)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Its import makes a folder in the user's home, unless told where.
        os.environ.setdefault("CELLTYPIST_FOLDER", folder)
        try:
            import celltypist
        except ImportError:
            raise CarseqError(
                "CellTypist is not installed",
                "cells.celltypist names a model",
                "pip install 'carseq[celltypist]'",
            ) from None
        try:
            # Those bytes that were checked: the file may have been exchanged since.
            checked = Path(folder) / "model.pkl"
            checked.write_bytes(content)
            loaded = celltypist.models.Model.load(str(checked))
        except Exception as error:
            raise CarseqError(
                f"{model} is not a CellTypist model",
                " ".join(str(error).split()) or type(error).__name__,
                "give the .pkl file of a model of celltypist.org or your own",
            ) from None
        if not adata.n_obs:
            adata.obs["celltypist_type"], adata.obs["celltypist_confidence"] = "", 0.0
            return adata
        x = log_normalised(counts_of(adata))
        part = ad.AnnData(x, obs=adata.obs[[]].copy(), var=adata.var[[]].copy())
        try:
            made = celltypist.annotate(part, model=loaded)
        # A model of another species, or of ids, has none of the genes; one of an older scikit-learn lacks attributes.
        except Exception as error:
            raise CarseqError(
                f"the CellTypist model {model} cannot label these cells",
                f"{' '.join(str(error).split())[:200]} (it knows genes like "
                f"{', '.join(map(str, loaded.features[:3]))})",
                "give a model that was trained on human cells with gene symbols",
            ) from None
    adata.obs["celltypist_type"] = made.predicted_labels["predicted_labels"].to_numpy(str)
    adata.obs["celltypist_confidence"] = made.probability_matrix.max(axis=1).to_numpy(float)
    log.info("CellTypist: %s", _shares(adata.obs["celltypist_type"]))
    return adata


def _shares(labels: pd.Series) -> str:
    return ", ".join(f"{name} {n}" for name, n in labels.value_counts().head(12).items())


def compare_methods(adata: AnnData) -> pd.DataFrame:
    """Count what the other methods call the cells of each type.

    Parameters
    ----------
    adata
        Annotated cohort.

    Returns
    -------
    pandas.DataFrame
        Schema ``ANNOTATION``, the largest groups first within a type and method.
    """
    tables = []
    for column, method in METHODS.items():
        if column not in adata.obs or not adata.n_obs:
            continue
        own = adata.obs["cell_type"].astype(str).rename("cell_type")
        other = adata.obs[column].astype(str).rename("label")
        table = pd.crosstab(own, other).stack().rename("n_cells").reset_index()
        table = table[table["n_cells"] > 0]
        table["share"] = table["n_cells"] / table.groupby("cell_type")["n_cells"].transform("sum")
        table["method"] = method
        tables.append(table.sort_values(["cell_type", "n_cells"], ascending=[True, False]))
    if not tables:
        return ANNOTATION.empty()
    return ANNOTATION.conform(pd.concat(tables, ignore_index=True))
