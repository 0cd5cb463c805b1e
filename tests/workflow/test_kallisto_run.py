"""A sample of the demo counted by kallisto and bustools, beside the demo's STAR."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml

from carseq.errors import CarseqError
from carseq.io.files import read_table
from carseq.kallisto import find_programs
from carseq.schema.results import FILES
from carseq.schema.tables import MOLECULES
from runs import CAR, WORKFLOW, Finished, run

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
    config = yaml.safe_load((demo.folder / "config.yaml").read_text())
    for section in (config["construct"], config["reference"]):
        section |= {k: str(demo.folder / v) for k, v in section.items() if k in ("file", "fasta", "gtf")}  # fmt: skip
    del config["reference"]["star_index"]
    config |= {k: str(demo.folder / config[k]) for k in ("samples", "units")}
    config["solo"] = {"aligner": "kallisto"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    same = ("checked", "car_checked", "strand_panel", "transcript", "construct_gtf", "construct_json", "rivals", "loci",
            "chemistry", "library")  # fmt: skip
    for path in (FILES[name].at("results", sample=SAMPLE) for name in same):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(demo.folder / path, folder / path)
    wanted = [FILES[name].at("results", sample=SAMPLE) for name in ("raw", "versions")]
    run(folder, "--rerun-triggers", "mtime", "--", *wanted)
    return folder


def pair(demo: Finished, counted: Path, name: str) -> tuple[Path, Path]:
    path = FILES[name].at("results", sample=SAMPLE)
    return demo.folder / path, counted / path


def test_the_matrix_is_that_of_star(demo: Finished, counted: Path) -> None:
    """Sums of the demo's cells, and of genes in them: correlation 0.99; the same genes, the CAR the last."""
    star, ours = (anndata.read_h5ad(path) for path in pair(demo, counted, "raw"))
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
    star, ours = (read_table(path, MOLECULES) for path in pair(demo, counted, "molecules"))
    keys = [set(zip(t["barcode"], t["umi"], t["evidence"], strict=True)) for t in (star, ours)]
    assert len(keys[0]) >= 50
    assert len(keys[0] & keys[1]) >= 0.98 * len(keys[0] | keys[1])
    raw = anndata.read_h5ad(pair(demo, counted, "raw")[1])
    row = pd.Series(raw[:, CAR].X.toarray().ravel(), index=raw.obs_names)
    told = ours.loc[ours["p_car"] >= 0.5, "barcode"].value_counts()
    assert row[row > 0].sort_index().to_dict() == told.sort_index().to_dict()


def test_the_summary_and_the_record_say_which_engine_counted(demo: Finished, counted: Path) -> None:
    star, ours = (json.loads(path.read_text()) for path in pair(demo, counted, "summary"))
    assert ours["aligner"] == "kallisto"
    assert ours["n_reads"] == star["n_reads"]
    for key in ("valid_barcodes", "exact_barcodes", "mapped_gene_unique", "saturation"):
        assert ours[key] == pytest.approx(star[key], abs=0.02), key
    assert ours["mapped_genome"] is None
    versions = json.loads((counted / "results/versions.json").read_text())
    assert {"kallisto", "bustools"} <= set(versions)
    assert "STAR" not in versions
