"""STAR without a BAM (`solo.evidence: fastq`) beside the demo's alignments: 5' reads, the same index."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml

from carseq.io.files import read_table
from carseq.schema.results import FILES
from carseq.schema.tables import MOLECULES
from runs import CAR, INDEX, WORKFLOW, Finished, run

pytestmark = WORKFLOW

SAMPLE = "P02_urine_D28"
BAM = FILES["aligned_bam"].at("results", sample=SAMPLE)


@pytest.fixture(scope="module")
def searched(demo: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's configuration without a BAM, run to a sample's matrix; what it does not change is the demo's."""
    folder = tmp_path_factory.mktemp("without_bam")
    config = yaml.safe_load((demo.folder / "config.yaml").read_text())
    for section in (config["construct"], config["reference"]):
        section |= {
            k: str(demo.folder / v) for k, v in section.items() if k in ("file", "fasta", "gtf")
        }
    config |= {k: str(demo.folder / config[k]) for k in ("samples", "units")}
    config["reference"]["star_index"] = str(demo.folder / INDEX)
    config["solo"] = {"evidence": "fastq"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    same = ("checked", "car_checked", "strand_panel", "transcript", "construct_gtf", "construct_json", "rivals", "loci",
            "chemistry", "library")  # fmt: skip
    for path in (FILES[name].at("results", sample=SAMPLE) for name in same):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(demo.folder / path, folder / path)
    wanted = [FILES[name].at("results", sample=SAMPLE) for name in ("raw", "versions")]
    run(folder, "--rerun-triggers", "mtime", "--", *wanted)
    return folder


def pair(demo: Finished, searched: Path, name: str) -> tuple[Path, Path]:
    path = FILES[name].at("results", sample=SAMPLE)
    return demo.folder / path, searched / path


def test_the_matrix_is_that_of_the_alignments(demo: Finished, searched: Path) -> None:
    """All barcodes and genes; what is counted otherwise is what the CAR shares with a gene, in the index without it."""
    aligned, ours = (anndata.read_h5ad(path) for path in pair(demo, searched, "raw"))
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
    aligned, ours = (read_table(path, MOLECULES) for path in pair(demo, searched, "molecules"))
    keys = [set(zip(t["barcode"], t["umi"], t["evidence"], strict=True)) for t in (aligned, ours)]
    assert len(keys[0]) >= 20
    assert len(keys[0] & keys[1]) >= 0.98 * len(keys[0] | keys[1])
    raw = anndata.read_h5ad(pair(demo, searched, "raw")[1])
    row = pd.Series(raw[:, CAR].X.toarray().ravel(), index=raw.obs_names)
    told = ours.loc[ours["p_car"] >= 0.5, "barcode"].value_counts()
    assert row[row > 0].sort_index().to_dict() == told.sort_index().to_dict()
    assert (demo.folder / BAM).exists()
    assert not (searched / BAM).exists()


def test_the_summary_is_that_of_the_alignments(demo: Finished, searched: Path) -> None:
    aligned, ours = (json.loads(path.read_text()) for path in pair(demo, searched, "summary"))
    assert ours["n_reads"] == aligned["n_reads"]
    for key in ("valid_barcodes", "mapped_genome", "mapped_gene_unique", "saturation"):
        assert ours[key] == pytest.approx(aligned[key], abs=0.005), key
    assert "STAR" in json.loads((searched / "results/versions.json").read_text())
