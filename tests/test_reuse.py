"""reuse: what a finished study gives to another construct, and what it must be for that."""

from __future__ import annotations

import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml

from carseq.errors import CarseqError
from carseq.reuse import (
    earlier_contig,
    reused_cells,
    reused_filters,
    reused_knee,
    reused_summary,
    take,
)
from carseq.schema.obs import with_samples
from carseq.schema.results import FILES
from carseq.study.config import load_config
from carseq.study.load import load_study

SHEET = "sample\tpatient\tcompartment\tbam\traw_matrix\nu1\tP1\turine\t\t\nu2\tP2\turine\t\t\n"


@pytest.fixture
def study(tmp_path) -> Path:
    """The configuration of a second study, beside a finished first one whose files hold nothing."""
    for name in ("g.fa", "g.gtf", "car.fa", "r1.fq", "r2.fq", "r3.fq", "r4.fq"):
        (tmp_path / name).write_text(">a\nACGT\n")
    (tmp_path / "samples.tsv").write_text(SHEET)
    (tmp_path / "units.tsv").write_text(
        "sample\tunit\tr1\tr2\nu1\tL1\tr1.fq\tr2.fq\nu2\tL1\tr3.fq\tr4.fq\n"
    )
    config = {
        "construct": {"file": "car.fa", "name": "FIRST"},
        "reference": {"fasta": "g.fa", "gtf": "g.gtf"},
        "units": "units.tsv",
    }
    path = tmp_path / "second.yaml"
    path.write_text(yaml.safe_dump(config))
    first = load_study(load_config(path))
    results = tmp_path / "first"
    taken = [file for name, file in FILES.items() if file.reused or name == "transcript"]
    for made in {Path(file.at(results, sample=s)) for file in taken for s in first.samples}:
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    record = {
        **first.config.model_dump(),
        "sheet": {name: sample.model_dump() for name, sample in first.samples.items()},
    }
    (results / "run_config.yaml").write_text(yaml.safe_dump(record))
    config |= {"construct": {"file": "car.fa", "name": "SECOND"}, "reuse": "first"}
    path.write_text(yaml.safe_dump(config))
    return path


def change(path: Path, **keys: object) -> None:
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **keys}))


def test_a_finished_study_of_the_same_samples_is_taken(study):
    """Nothing is said against a study that differs in its construct alone, its genome moved and its reads deleted."""
    moved = study.parent / "moved"
    moved.mkdir()
    for name in ("g.fa", "g.gtf"):
        shutil.move(study.parent / name, moved / name)
    (study.parent / "r1.fq").unlink()
    change(study, reference={"fasta": "moved/g.fa", "gtf": "moved/g.gtf"})
    assert Path(load_study(load_config(study)).config.reuse or "") == study.parent / "first"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"reuse": "elsewhere"}, "not the results folder of a finished study"),
        ({"results": "first"}, "same folder"),
        ({"cells": {"resolution": 0.5}}, r"cells.resolution is 1.0 there and 0.5 here"),
        ({"solo": {"feature": "GeneFull"}}, "solo.feature is 'Gene' there and 'GeneFull' here"),
        ({"reference": {"fasta": "car.fa", "gtf": "g.gtf"}}, "reference.fasta is 'g.fa' there"),
    ],
)
def test_another_study_is_refused_with_the_difference(study, monkeypatch, keys, words):
    """What would make other cells than those taken over is named, before anything runs."""
    monkeypatch.chdir(study.parent)
    change(study, **keys)
    with pytest.raises(CarseqError, match=words):
        load_study(load_config(study))


def test_other_samples_are_refused(study):
    """Cells of other samples were not clustered together with these: the samples that differ are named."""
    (study.parent / "samples.tsv").write_text(SHEET.replace("u2", "u3"))
    units = study.parent / "units.tsv"
    units.write_text(units.read_text().replace("u2", "u3"))
    with pytest.raises(CarseqError, match="only here: u3; only there: u2"):
        load_study(load_config(study))


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("cohort/annotated.h5ad", "is not finished"),
        ("samples/u1/solo/aligned.bam", "has not kept its alignments"),
    ],
)
def test_files_that_are_gone_are_named(study, lost, words):
    """An unfinished study, and one that kept no alignments, are told apart."""
    (study.parent / "first" / lost).unlink()
    with pytest.raises(CarseqError, match=words) as told:
        load_study(load_config(study))
    assert Path(lost).name in told.value.cause


def test_a_study_that_reuses_another_is_not_reused(study):
    """The contig that reads lie on is known of the study that aligned them alone, which the message names."""
    record = study.parent / "first/run_config.yaml"
    change(record, reuse="/data/very_first")
    with pytest.raises(CarseqError, match="reuses another") as told:
        load_study(load_config(study))
    assert "reuse: /data/very_first" in told.value.remedy


def test_alignments_are_linked_and_tables_copied(tmp_path):
    """A BAM takes no disk twice; taking it over again replaces the link, never what it leads to."""
    sources = [tmp_path / "a.bam", tmp_path / "a.json"]
    for path in sources:
        path.write_text(path.name)
    targets = [tmp_path / "here" / path.name for path in sources]
    for _ in range(2):
        take(sources, targets)
    assert [t.is_symlink() for t in targets] == [True, False]
    assert [t.read_text() for t in [*sources, *targets]] == ["a.bam", "a.json"] * 2


def test_the_summary_forgets_the_first_constructs_count(tmp_path):
    """What was counted on the first construct's contig is not said of the second."""
    path = tmp_path / "summary.json"
    path.write_text('{"n_reads": 9, "car_umis_aligned": 5}')
    assert reused_summary(path) == {"n_reads": 9}


def test_the_first_constructs_contig_is_looked_at(tmp_path):
    """Reads of shared parts lie on the first construct; a contig of the CAR's own name is looked at anyway."""
    (tmp_path / "construct.fa").write_text(">FIRST\nACGTACGT\n")
    table = earlier_contig(tmp_path / "construct.fa", "SECOND")
    assert table.to_numpy().tolist() == [["FIRST", 0, 8, "FIRST"]]
    assert earlier_contig(tmp_path / "construct.fa", "FIRST").empty


def cohort() -> ad.AnnData:
    obs = pd.DataFrame({"sample": ["u1", "u2", "u1"], "timepoint": "D0"}, index=["a", "b", "c"])
    made = ad.AnnData(np.zeros((3, 1)), obs=obs, var=pd.DataFrame(index=["CD3E"]))
    made.uns["car"] = "FIRST"
    return made


def test_cells_take_the_sheets_columns_as_they_are_now():
    """The CAR's name and each sample's columns are those of this study."""
    made = cohort()
    samples = {"u1": {"timepoint": "D28", "dose": "2"}, "u2": {"timepoint": "D0", "dose": ""}}
    reused_cells(made, car="SECOND", needs_car=[])
    sheet = pd.DataFrame({"sample": name, **columns} for name, columns in samples.items())
    made.obs = with_samples(made.obs, sheet)
    assert made.uns["car"] == "SECOND"
    assert made.obs["timepoint"].tolist() == ["D28", "D0", "D28"]
    assert made.obs["dose"].tolist() == ["2", "", "2"]


def test_a_matrix_alone_must_hold_this_car():
    """Without reads another construct cannot be looked for."""
    with pytest.raises(CarseqError, match="the matrix of u2 has no gene SECOND"):
        reused_cells(cohort(), car="SECOND", needs_car=["u2"])


def test_the_knee_and_the_filters_count_this_car():
    """Knee and filters count this CAR's molecules, by barcodes as the matrix writes them."""
    barcodes = pd.DataFrame(
        {"barcode": ["AA-1", "CC-1"], "total_umis": [9, 5], "is_cell": [True, False], "reason": ""}
    )
    molecules = pd.DataFrame(
        {
            "sample": "u1",
            "barcode": ["CC", "CC", "AA"],
            "p_car": [1.0, 0.7, 0.2],
            "evidence": ["unique", "shared", "endogenous"],
        }
    )
    knee = reused_knee(barcodes, molecules).set_index("barcode")
    assert knee["car_umis"].to_dict() == {"AA-1": 0, "CC-1": 2}
    filters = pd.DataFrame(
        {
            "step": ["x", "y", "z"],
            "n_car_bearing_removed": [1, 0, 0],
            "car_bearing_removed": ["AA-1", "", ""],
            "removed": ["AA-1", "GG-1,CC-1", ""],
        }
    )
    after = reused_filters(filters, knee["car_umis"])
    assert after["n_car_bearing_removed"].tolist() == [0, 1, 0]
    assert after["car_bearing_removed"].tolist() == ["", "CC-1", ""]
