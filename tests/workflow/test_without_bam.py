"""STAR without a BAM (`solo.evidence: fastq`) beside the demo's alignments: 5' reads, the same index."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pytest

from carseq.schema.results import FILES
from runs import CAR, INDEX, WORKFLOW, Finished, check_molecules, count_otherwise, pair

pytestmark = WORKFLOW

SAMPLE = "P02_urine_D28"
BAM = FILES["aligned_bam"].at("results", sample=SAMPLE)


@pytest.fixture(scope="module")
def searched(demo: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's configuration without a BAM, run to a sample's matrix; what it does not change is the demo's."""
    folder = tmp_path_factory.mktemp("without_bam")
    count_otherwise(demo, folder, SAMPLE, {"evidence": "fastq"}, INDEX)
    return folder


def test_the_matrix_is_that_of_the_alignments(demo: Finished, searched: Path) -> None:
    """All barcodes and genes; what is counted otherwise is what the CAR shares with a gene, in the index without it."""
    aligned, ours = (anndata.read_h5ad(path) for path in pair(demo, searched, SAMPLE, "raw"))
    assert set(ours.var["gene_id"]) == set(aligned.var["gene_id"])
    assert ours.var_names[-1] == CAR
    genes = [name for name in aligned.var_names if name != CAR]
    both = aligned.obs_names.intersection(ours.obs_names)
    assert len(both) >= 0.999 * len(aligned.obs_names.union(ours.obs_names))
    one, two = aligned[both, genes].X, ours[both, genes].X
    assert abs(one - two).sum() <= 0.002 * one.sum()
    assert np.corrcoef(one.sum(axis=1).A1, two.sum(axis=1).A1)[0, 1] >= 0.999


def test_the_car_molecules_are_those_of_the_alignments(demo: Finished, searched: Path) -> None:
    """98 % the same, of the same evidence; the CAR's row holds them; no alignment was written."""
    check_molecules(demo, searched, SAMPLE, least=20)
    assert (demo.folder / BAM).exists()
    assert not (searched / BAM).exists()


def test_the_summary_is_that_of_the_alignments(demo: Finished, searched: Path) -> None:
    aligned, ours = (
        json.loads(path.read_text()) for path in pair(demo, searched, SAMPLE, "summary")
    )
    assert ours["n_reads"] == aligned["n_reads"]
    for key in ("valid_barcodes", "mapped_genome", "mapped_gene_unique", "saturation"):
        assert ours[key] == pytest.approx(aligned[key], abs=0.005), key
    assert "STAR" in json.loads((searched / "results/versions.json").read_text())
