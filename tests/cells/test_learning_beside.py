"""The process that learns beside the one that reads."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from carseq.cells import beside
from carseq.cells.beside import learning_beside
from carseq.cells.clusters import cluster, graph_of, lay_out
from carseq.errors import CarseqError
from carseq.io.h5ad import number_of_cells, write_h5ad


def _refuse() -> None:
    raise CarseqError("it failed there", "", "")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_function_runs_beside_and_its_errors_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "import_scvi", lambda: None)
    monkeypatch.setattr(beside, "keep_compiled", lambda: None)
    files = []
    for name, n in (("a", 150), ("b", 100)):
        files.append(tmp_path / f"{name}.h5ad")
        write_h5ad(ad.AnnData(np.zeros((n, 2), dtype=np.float32)), files[-1])
    assert list(map(number_of_cells, files)) == [150, 100]
    with learning_beside(files, "scvi", 2) as process:
        assert process is not None
        assert process.run(os.getpid) != os.getpid()
        with pytest.raises(CarseqError, match="it failed there"):
            process.run(_refuse)
        waiting = process.start(sum, [1, 2])
        assert waiting() == 3
        with pytest.raises(CarseqError, match="was killed"):
            process.run(_die)
    # What the import says is told where it is needed: it is no process that was killed.
    monkeypatch.setattr(beside, "import_scvi", _refuse)
    with learning_beside(files, "scvi", 2) as process:
        assert process is not None
        with pytest.raises(CarseqError, match="it failed there"):
            process.run(_refuse)
    # One core, no neural network, or too few cells to train one.
    for given, method, threads in (
        (files, "scvi", 1),
        (files, "harmony", 2),
        (files[:1], "scvi", 2),
    ):
        with learning_beside(given, method, threads) as process:
            assert process is None


def test_the_map_laid_out_beside_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 210 cells, the same coordinates as in this process."""
    monkeypatch.setattr(beside, "import_scvi", lambda: None)
    rng = np.random.default_rng(4)
    some = ad.AnnData(sparse.csr_matrix((210, 2), dtype=np.float32))
    some.obsm["X_pca"] = rng.normal(8 * rng.integers(0, 3, (210, 1)), 1, (210, 5)).astype("float32")
    write_h5ad(some, tmp_path / "cells.h5ad")
    with learning_beside([tmp_path / "cells.h5ad"], "scvi", 2) as process:
        assert process is not None
        cluster(some, "X_pca", seed=3, with_map=False)
        assert "X_umap" not in some.obsm
        waiting = process.start(lay_out, graph_of(some, "X_pca"), "X_pca", 3)
        lay_out(some, "X_pca", 3)
        assert np.array_equal(waiting().obsm["X_umap"], some.obsm["X_umap"])
