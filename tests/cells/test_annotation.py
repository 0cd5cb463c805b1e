"""Labels of other methods, and the user's own markers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from carseq import cells
from carseq.cells.counts import log_normalised
from carseq.cells.subtypes import (
    read_t_type_ids,
)
from carseq.data import path as data_path
from carseq.errors import CarseqError
from cell_samples import named
from helpers_cells import urine


def test_a_reference_gives_its_labels(tmp_path: Path) -> None:
    """scANVI, trained on 400 labelled cells: at least 90 % of 200 others get their type; bad references are told."""
    reference = named(urine(400, 0, seed=1), "ref")
    reference.write_h5ad(tmp_path / "ref.h5ad")
    other = named(urine(200, 0, seed=2), "S1")
    read = cells.read_reference(tmp_path / "ref.h5ad", "cell_type")
    cells.label_by_reference(other, read, seed=1, max_epochs=15)
    assert (other.obs["reference_type"] == other.obs["cell_type"]).mean() >= 0.9
    assert other.obs["reference_confidence"].between(0, 1).all()
    with pytest.raises(CarseqError, match="no column 'kind'"):
        cells.read_reference(tmp_path / "ref.h5ad", "kind")
    read.var_names = [f"ENSG{i}" for i in range(read.n_vars)]
    with pytest.raises(CarseqError, match="shares 0 of"):
        cells.label_by_reference(other, read)
    reference.X = reference.X * 0.5
    reference.write_h5ad(tmp_path / "log.h5ad")
    with pytest.raises(CarseqError, match="no raw counts"):
        cells.read_reference(tmp_path / "log.h5ad", "cell_type")


def test_a_reference_as_it_is_published_is_read(tmp_path: Path) -> None:
    """CELLxGENE's h5ad: counts in `raw`, Ensembl ids beside symbols, cells without a label or called `unknown`.

    They were refused, taught a type `nan` or ended in a traceback.
    """
    reference = named(urine(300, 0, seed=1), "ref")
    truth = reference.obs["cell_type"].astype(object)
    symbols = reference.var_names
    ids = [f"ENSG{i:011d}" for i in range(reference.n_vars)]
    reference.var = pd.DataFrame({"feature_name": pd.Categorical(symbols)}, index=ids)
    reference.raw = reference.copy()
    reference.X = log_normalised(reference.X)
    reference.obs = pd.DataFrame({"kind": truth}, index=reference.obs_names)
    reference.obs.iloc[:5, 0] = None
    reference.obs.iloc[5:9, 0] = "unknown"
    reference.write_h5ad(tmp_path / "ref.h5ad")
    read = cells.read_reference(tmp_path / "ref.h5ad", "kind")
    assert list(read.var_names) == list(symbols)
    assert (reference.raw.X[9:] != read.X).nnz == 0
    assert list(read.obs["kind"]) == list(truth[9:])
    other = named(urine(60, 0, seed=2), "reference")
    cells.label_by_reference(other, read, labels="kind", max_epochs=1)
    assert set(other.obs["reference_type"]) <= set(truth)
    read.var_names = [name.capitalize() for name in symbols]
    read.write_h5ad(tmp_path / "mouse.h5ad")
    with pytest.raises(CarseqError, match="those of mouse"):
        cells.read_reference(tmp_path / "mouse.h5ad", "kind")


def test_a_reference_of_ids_alone_meets_the_genes_of_its_ids(tmp_path: Path) -> None:
    """Ids without symbols, with versions: the cohort's ids say which genes they are."""
    reference, other = named(urine(120, 0, seed=1), "ref"), named(urine(40, 0, seed=2), "S1")
    other.var["gene_id"] = [
        _known_id(name) or f"ENSG9{i:010d}" for i, name in enumerate(other.var_names)
    ]
    reference.var_names = [f"{gene_id}.3" for gene_id in other.var["gene_id"]]
    reference.write_h5ad(tmp_path / "ref.h5ad")
    read = cells.read_reference(tmp_path / "ref.h5ad", "cell_type")
    cells.label_by_reference(other, read, max_epochs=1)
    assert (other.obs["reference_type"] != "unknown").all()


def _known_id(name: str) -> str | None:
    table = pd.read_csv(data_path("markers/gene_ids.tsv"), sep="\t", dtype=str)
    return dict(zip(table["gene"], table["ensembl_id"], strict=True)).get(name)


def test_a_celltypist_model_gives_its_labels(tmp_path: Path) -> None:
    """A model trained on 300 cells labels at least 65 % of 200 others of 13 types as they are; another file is told."""
    pytest.importorskip("celltypist")
    code = """
import sys; sys.path.insert(0, sys.argv[2])
import celltypist
import numpy as np
from helpers_cells import urine
from carseq.cells.counts import log_normalised
made = urine(300, 0, seed=1)
made.X = log_normalised(made.X)
# It draws from numpy's own generator.
np.random.seed(0)
# Its logistic regression asks scikit-learn 1.8 for an option that is gone; stochastic gradients train the same model.
options = {"check_expression": False, "use_SGD": True, "n_jobs": 1, "max_iter": 200}
celltypist.train(made, labels="cell_type", **options).write(sys.argv[1])
"""
    path = tmp_path / "model.pkl"
    there = {**os.environ, "CELLTYPIST_FOLDER": str(tmp_path)}
    command = [sys.executable, "-c", code, str(path), str(Path(__file__).parents[1] / "helpers")]
    subprocess.run(command, check=True, env=there, capture_output=True)
    other = named(urine(200, 0, seed=2))
    with pytest.raises(CarseqError, match="not the model whose checksum was given"):
        cells.label_by_celltypist(other, path, sha256="0" * 64)
    assert "celltypist_type" not in other.obs
    cells.label_by_celltypist(other, path, sha256=_sha256(path))
    assert (other.obs["celltypist_type"] == other.obs["cell_type"]).mean() >= 0.65
    cells.annotate(other)
    table = cells.compare_methods(other)
    assert set(table["method"]) == {"linear model of markers", "CellTypist"}
    assert table.groupby(["cell_type", "method"])["share"].sum().to_numpy() == pytest.approx(1)
    other.var_names = other.var_names.str.capitalize()
    with pytest.raises(CarseqError, match="cannot label these cells"):
        cells.label_by_celltypist(other, path, sha256=_sha256(path))
    path.write_text("no model")
    with pytest.raises(CarseqError, match="not a CellTypist model"):
        cells.label_by_celltypist(other, path, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_cells_carry_the_ontology_term_of_their_type() -> None:
    """A known type has its term, an unknown cell none; the user's table goes before carseq's."""
    sample = named(urine(60, 0, types={"CD8 T cell": 0.5, "proximal tubule cell": 0.5}))
    markers = cells.read_markers()
    cells.annotate(sample, markers.assign(cl_id=markers["cl_id"].replace("CL:0002306", "CL:1")))
    terms = sample.obs.groupby("cell_type")["cell_type_ontology_term_id"].unique()
    assert list(terms["proximal tubule cell"]) == ["CL:1"]
    known = read_t_type_ids()["cl_id"]
    t_types = [name for name in terms.index if name in known]
    assert t_types
    assert all(list(terms[name]) == [known[name]] for name in t_types)
    assert list(terms.get("unknown", [""])) == [""]


def test_marker_table_of_the_user(tmp_path: Path) -> None:
    """Three columns do; a cross-talk gene is left out; a bad weight is an error."""
    path = tmp_path / "markers.tsv"
    path.write_text("lineage\tcell_type\tgene\nT\tT cell\tCD3D\nT\tT cell\tCD8A\n")
    assert list(cells.read_markers(path)["gene"]) == ["CD3D"]
    path.write_text("lineage\tcell_type\tgene\tweight\nT\tT cell\tCD3D\tmuch\n")
    with pytest.raises(CarseqError, match="weight"):
        cells.read_markers(path)
    path.write_text("lineage\tgene\nT\tCD3D\n")
    with pytest.raises(CarseqError, match="cell_type"):
        cells.read_markers(path)
