"""A sample of the demo counted by kallisto and bustools, beside the demo's STAR."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pytest

from carseq.errors import CarseqError
from carseq.kallisto import find_programs
from carseq.schema.results import FILES
from runs import CAR, WORKFLOW, Finished, check_molecules, count_otherwise, pair

SAMPLE = "P01_urine_D28"


def has_kallisto() -> bool:
    try:
        find_programs()
    except CarseqError:
        return False
    return True


pytestmark = [
    *WORKFLOW,
    pytest.mark.skipif(
        not has_kallisto(), reason="no kallisto and bustools (make test installs them)"
    ),
]


@pytest.fixture(scope="module")
def counted(demo: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's configuration with kallisto, run to a sample's matrix; what no engine changes is the demo's."""
    folder = tmp_path_factory.mktemp("kallisto")
    count_otherwise(demo, folder, SAMPLE, {"aligner": "kallisto"}, None)
    return folder


def test_the_matrix_is_that_of_star(demo: Finished, counted: Path) -> None:
    """Sums of the demo's cells, and of genes in them: correlation 0.99; the same genes, the CAR the last."""
    star, ours = (anndata.read_h5ad(path) for path in pair(demo, counted, SAMPLE, "raw"))
    assert set(ours.var["gene_id"]) == set(star.var["gene_id"])
    assert ours.var_names[-1] == CAR
    cells = sorted(demo.called_barcodes(SAMPLE))
    assert set(cells) <= set(ours.obs_names)
    one, two = star[cells].X, ours[cells, list(star.var_names)].X
    for axis in (0, 1):
        sums = [np.asarray(x.sum(axis=axis)).ravel() for x in (one, two)]
        assert np.corrcoef(*sums)[0, 1] >= 0.99
    assert np.corrcoef(one.toarray().ravel(), two.toarray().ravel())[0, 1] >= 0.99
    assert two.sum() == pytest.approx(one.sum(), rel=0.02)
    assert not (counted / FILES["aligned_bam"].at("results", sample=SAMPLE)).exists()


def test_the_car_molecules_are_those_of_star(demo: Finished, counted: Path) -> None:
    """98 % the same, of the same evidence; the CAR's row holds them."""
    check_molecules(demo, counted, SAMPLE, least=50)


def test_the_summary_and_the_record_say_which_engine_counted(demo: Finished, counted: Path) -> None:
    star, ours = (json.loads(path.read_text()) for path in pair(demo, counted, SAMPLE, "summary"))
    assert ours["aligner"] == "kallisto"
    assert ours["n_reads"] == star["n_reads"]
    for key in ("valid_barcodes", "exact_barcodes", "mapped_gene_unique", "saturation"):
        assert ours[key] == pytest.approx(star[key], abs=0.02), key
    assert ours["mapped_genome"] is None
    versions = json.loads((counted / "results/versions.json").read_text())
    assert {"kallisto", "bustools"} <= set(versions)
    assert "STAR" not in versions
