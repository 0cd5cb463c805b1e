"""Labels of other methods, and the user's own markers."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from carseq import cells
from carseq.cells.subtypes import (
    read_t_type_ids,
)
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
