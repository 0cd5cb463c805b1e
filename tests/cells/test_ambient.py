"""The ambient profile, how much of it cells hold, and counts without it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from carseq import cells
from carseq.cells.barcodes import good_turing
from carseq.cells.stages import add_layer
from carseq.errors import CarseqError
from cell_samples import named
from helpers_cells import CAR, urine


def test_good_turing_leaves_no_gene_impossible() -> None:
    """Unseen genes get the mass of singletons; proportions sum to 1."""
    p = good_turing(np.array([5.0, 1.0, 0.0, 0.0]))
    assert p.sum() == pytest.approx(1)
    assert (p > 0).all()
    assert p[2] == pytest.approx(1 / 6 / 2)


@pytest.mark.parametrize(
    ("true", "ambient"), [(0.02, (60, 300)), (0.2, (60, 300)), (0.3, (20, 60))]
)
def test_contamination_is_near_the_truth(true: float, ambient: tuple[int, int]) -> None:
    """The median estimate is within a factor 1.8 of the simulated ambient fraction, in small empty droplets too."""
    raw = urine(300, 3000, contamination=true, ambient=ambient, seed=5)
    calls = cells.call_barcodes(raw)
    found = cells.contamination(
        raw[calls["is_cell"].to_numpy()].copy(), cells.ambient_profile(raw, calls)
    )
    assert true / 1.8 <= found.median() <= true * 1.8
    assert found.attrs["method"] == "markers of foreign lineages"


def test_contamination_without_empty_droplets_has_a_floor(caplog: pytest.LogCaptureFixture) -> None:
    """No ambient profile: the floor, not zero and no crash; "median 0.5 % (mean empty droplet)" was said of it."""
    raw = named(urine(20, 0))
    profile = cells.ambient_profile(raw, cells.call_barcodes(raw, barcodes=raw.obs_names))
    with caplog.at_level("INFO", logger="carseq"):
        found = cells.contamination(raw, profile)
    assert (found == 0.005).all()
    assert found.attrs["method"] == "not measured"
    assert "empty droplet)" not in caplog.text


def test_corrected_counts_take_ambient_markers_out() -> None:
    """Of UMIs of T-cell markers in other cells at least half go, of those in T cells at most 15 %; the CAR stays."""
    raw = urine(400, 3000, contamination=0.2, ambient=(60, 300), seed=3)
    calls = cells.call_barcodes(raw)
    sample = named(raw)
    sample.obs["contamination"] = 0.2
    profile = {"S1": cells.ambient_profile(raw, calls)}
    before = sparse.csr_matrix(sample.X)
    after = cells.corrected_counts(sample, profile, car=CAR)
    is_t = (sample.obs["lineage"] == "T").to_numpy()
    at = sample.var_names.get_indexer(["CD3D", "CD3E", "TRBC2"])
    left = after[:, at].sum(axis=1) / np.maximum(before[:, at].sum(axis=1), 1)
    assert after[~is_t][:, at].sum() <= 0.5 * before[~is_t][:, at].sum()
    assert after[is_t][:, at].sum() >= 0.85 * before[is_t][:, at].sum()
    assert (left <= 1).all()
    car = sample.var_names.get_loc(CAR)
    assert (after[:, [car]] != before[:, [car]]).nnz == 0
    assert (after.data >= 0).all()


@pytest.mark.workflow  # CellBender takes half a minute to start and train
def test_cellbender_makes_a_layer() -> None:
    """Three epochs on simulated urine: counts no larger than the raw ones, the CAR's as they were."""
    if shutil.which("cellbender") is None:
        pytest.skip("CellBender is not installed")
    raw = urine(60, 400, contamination=0.1, ambient=(120, 600), depth=5000, seed=3)
    # Its time goes by the genes: of those that mark nothing one in ten is kept.
    raw = raw[:, ~raw.var_names.str.match(r"GENE\d*[1-9]$")].copy()
    made = cells.run_cellbender(raw, n_cells=60, epochs=3)
    assert CAR not in made.var_names
    cohort = cells.combine([named(raw)])
    add_layer(cohort, "cellbender", {"S1": made})
    layer, counts = cohort.layers["cellbender"], cohort.layers["counts"]
    assert (layer > counts).nnz == 0
    assert 0.3 * counts.sum() <= layer.sum() < counts.sum()
    at = [cohort.var_names.get_loc(CAR)]
    assert (layer[:, at] != counts[:, at]).nnz == 0


def stand_in(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program of the name `cellbender` first, which takes the real one's 15 s of start away."""
    program = folder / "cellbender"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


def test_a_cellbender_that_fails_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in that fails as CellBender does on three droplets."""
    stand_in(
        tmp_path, monkeypatch, "echo starting >&2; echo 'ValueError: no empty droplets' >&2; exit 1"
    )
    with pytest.raises(CarseqError, match="CellBender failed") as told:
        cells.run_cellbender(urine(3, 0), n_cells=1, epochs=1)
    assert "no empty droplets" in str(told.value)
    assert "cells.cellbender to 0" in str(told.value)


def test_a_gpu_that_fails_leaves_cellbender_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a GPU whose memory other jobs held CellBender ended with an error, and the sample with it."""
    stand_in(
        tmp_path,
        monkeypatch,
        'case "$*" in *--cuda*) echo CUDA out of memory >&2;; *) echo on the CPU >&2;; esac; exit 1',
    )
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with (
        caplog.at_level("WARNING", logger="carseq"),
        pytest.raises(CarseqError, match="CellBender failed") as told,
    ):
        cells.run_cellbender(urine(3, 0), n_cells=1, epochs=1)
    assert "failed on the GPU (CUDA out of memory)" in caplog.text
    assert "on the CPU" in str(told.value)
