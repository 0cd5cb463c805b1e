"""The process that learns beside the one that reads."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

from carseq.cells import beside
from carseq.cells.beside import learning_beside
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
    with learning_beside(files, "scvi", 2) as run:
        assert run is not None
        assert run(os.getpid) != os.getpid()
        with pytest.raises(CarseqError, match="it failed there"):
            run(_refuse)
        assert run(sum, [1, 2]) == 3
        with pytest.raises(CarseqError, match="was killed"):
            run(_die)
    # What the import says is told where it is needed: it is no process that was killed.
    monkeypatch.setattr(beside, "import_scvi", _refuse)
    with learning_beside(files, "scvi", 2) as run:
        assert run is not None
        with pytest.raises(CarseqError, match="it failed there"):
            run(_refuse)
    # One core, no neural network, or too few cells to train one.
    for given, method, threads in (
        (files, "scvi", 1),
        (files, "harmony", 2),
        (files[:1], "scvi", 2),
    ):
        with learning_beside(given, method, threads) as run:
            assert run is None
