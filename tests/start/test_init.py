"""carseq init: what a folder holds is found, and what was left out or put together is told."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from carseq.errors import CarseqError
from carseq.start.folders import fastq_pairs
from carseq.start.init import start_study
from carseq.start.matrices import cellranger_samples, matrix_samples
from carseq.study.config import load_config
from carseq.study.load import load_study


def pair(folder: Path, name: str, *, pattern: str = "{}_S1_{}_R{}_001.fastq.gz", lane="L001"):
    folder.mkdir(parents=True, exist_ok=True)
    for read in (1, 2):
        with gzip.open(folder / pattern.format(name, lane, read), "wt") as out:
            out.write(f"@r\n{'A' * 28}\n+\n{'I' * 28}\n")


def found(folder: Path) -> list[tuple[str, str]]:
    return [(sample, unit) for sample, unit, *_ in fastq_pairs(folder).units]


def test_names_say_when_and_where(tmp_path):
    """Patient, compartment and time point are read from the names; where a name says none or two, none is written."""
    for name in ("P02_urine_D28", "P02_blood_week_4", "P3_D1_to_D3", "sampleX"):
        pair(tmp_path / "run", name)
    start_study(tmp_path / "study", fastqs=tmp_path / "run")
    lines = (tmp_path / "study/samples.tsv").read_text().splitlines()
    rows = {line.split("\t")[0]: line.split("\t")[1:4] for line in lines[1:]}
    assert rows == {
        "P02_urine_D28": ["P02", "urine", "D28"],
        "P02_blood_week_4": ["P02", "blood", "week_4"],
        "P3_D1_to_D3": ["P3", "urine", ""],
        "sampleX": ["P01", "urine", ""],
    }


@pytest.mark.parametrize(
    ("name", "guessed"),
    [
        ("P02_urine_preinfusion", ["P02", "urine", "preinfusion"]),
        ("P02_post-infusion_D14", ["P02", "urine", "D14"]),
        ("P02_infusion_bag", ["P02", "product", ""]),
        ("P02_bloody_urine_14d", ["P02", "urine", "14d"]),
        ("SLE03_BM_D28", ["SLE03", "other", "D28"]),
        ("donor2_PB_2w", ["donor2", "blood", "2w"]),
    ],
)
def test_a_name_is_not_taken_for_a_product_or_urine_that_it_is_not(
    tmp_path: Path, name: str, guessed: list[str]
) -> None:
    """Urine from before the infusion was guessed to be the infusion product, and bone marrow to be urine."""
    pair(tmp_path / "run", name)
    start_study(tmp_path / "study", fastqs=tmp_path / "run")
    row = (tmp_path / "study/samples.tsv").read_text().splitlines()[1]
    assert row.split("\t")[1:4] == guessed


def test_time_points_are_written_in_their_order(tmp_path):
    """Sorted by name D100 stands above D28: what is compared "over time" would go backwards."""
    for name in ("P1_urine_D100", "P1_urine_D28", "P1_urine_D7", "P0_urine_D9", "P1_blood_D28"):
        pair(tmp_path / "run", name)
    start_study(tmp_path / "study", fastqs=tmp_path / "run")
    lines = (tmp_path / "study/samples.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == [
        "P0_urine_D9", "P1_urine_D7", "P1_blood_D28", "P1_urine_D28", "P1_urine_D100",
    ]  # fmt: skip


def test_linked_folders_are_followed(tmp_path):
    pair(tmp_path / "run", "P01")
    pair(tmp_path / "store", "P01", lane="L002")
    (tmp_path / "run/topup").symlink_to("../store")
    # A link that leads back must not be followed for ever.
    (tmp_path / "store/back").symlink_to("../run")
    assert found(tmp_path / "run") == [("P01", "L001"), ("P01", "topup_L002")]
    assert any(
        "one sample with several runs" in line for line in fastq_pairs(tmp_path / "run").told
    )


@pytest.mark.parametrize("name", ["GEX", "P01"])
def test_one_name_in_two_patients_folders_is_two_samples(tmp_path, name):
    for patient in ("PatientA", "PatientB"):
        pair(tmp_path / patient, name)
    assert found(tmp_path) == [(f"PatientA_{name}", "L001"), (f"PatientB_{name}", "L001")]
    assert "taken as 2 samples" in fastq_pairs(tmp_path).told[0]


@pytest.mark.parametrize(
    "folders", [("run1", "run2"), ("HABCDEFXY", "HABCDEFXZ"), ("flowcell_1", "topup")]
)
def test_runs_of_the_same_samples_are_their_units(tmp_path, folders):
    for folder in folders:
        for sample in ("P01", "P02"):
            pair(tmp_path / folder, sample)
    assert {sample for sample, _ in found(tmp_path)} == {"P01", "P02"}
    assert len(found(tmp_path)) == 4


@pytest.mark.parametrize("ending", ["fastq.zst", "fq.bz2", "FASTQ.GZ", "fastq.gz.part", "fq.ora"])
def test_reads_that_are_not_taken_are_told(tmp_path, ending):
    """A sample whose reads are compressed otherwise must not be missing from the study without a word."""
    for read in (1, 2):
        (tmp_path / f"A_R{read}.fastq.gz").write_bytes(b"x")
        (tmp_path / f"B_R{read}.{ending}").write_bytes(b"x")
        (tmp_path / f"A_R{read}.fastq.gz.md5").write_text("x")
    found = fastq_pairs(tmp_path)
    assert [unit[0] for unit in found.units] == ["A"]
    assert len(found.told) == 1
    assert f"B_R1.{ending}, B_R2.{ending}" in found.told[0]


def test_every_read_without_its_mate_is_named_and_the_rest_is_taken(tmp_path):
    """A transfer that was cut off: three files lack their mates; only the first was named, and nothing was written."""
    for name in ("P01", "P02", "P03"):
        pair(tmp_path / "run", name)
    pair(tmp_path / "run", "P03", lane="L002")
    lone = ["P01_S1_L001_R1_001", "P02_S1_L001_R2_001", "P03_S1_L002_R1_001"]
    for stem in lone:
        mate = stem.replace("_R1_", "_R3_").replace("_R2_", "_R1_").replace("_R3_", "_R2_")
        (tmp_path / f"run/{mate}.fastq.gz").unlink()
    with pytest.raises(CarseqError) as error:
        fastq_pairs(tmp_path / "run")
    assert all(f"{stem}.fastq.gz" in error.value.cause for stem in lone)
    _, todo = start_study(tmp_path / "study", fastqs=tmp_path / "run")
    told = next(line for line in todo if "mate" in line)
    assert all(f"{stem}.fastq.gz" in told for stem in lone)
    assert (tmp_path / "study/units.tsv").read_text().splitlines()[1].startswith("P03\tL001")
    assert len((tmp_path / "study/units.tsv").read_text().splitlines()) == 2
    for file in (tmp_path / "run").glob("P03_S1_L001_R2*"):
        file.unlink()
    with pytest.raises(CarseqError, match="4 FASTQ files lack their mates"):
        start_study(tmp_path / "study2", fastqs=tmp_path / "run")


def test_what_is_no_sample_is_left_out_and_told(tmp_path):
    pair(tmp_path, "P01")
    pair(tmp_path, "Undetermined")
    pair(tmp_path, "._P01")
    pair(tmp_path, "P01", pattern="{}_S1_{}_I{}_001.fastq.gz")
    (tmp_path / "notes.fastq").write_text("")
    assert found(tmp_path) == [("P01", "L001")]
    told = "\n".join(fastq_pairs(tmp_path).told)
    for words in ("no sample: Undetermined", "._P01", "index reads", "notes.fastq"):
        assert words in told


def test_names_of_sra_are_known(tmp_path):
    pair(tmp_path, "SRR900001", pattern="{0}_{2}.fastq.gz")
    assert found(tmp_path) == [("SRR900001", "1")]
    for read, length in ((1, 8), (2, 28), (3, 90)):
        text = f"@r\n{'A' * length}\n+\n{'I' * length}\n"
        (tmp_path / f"SRR900002_{read}.fastq").write_text(text)
    three = fastq_pairs(tmp_path)
    own = next(unit for unit in three.units if unit[0] == "SRR900002")
    assert [path.name for path in own[2:]] == ["SRR900002_2.fastq", "SRR900002_3.fastq"]
    assert any("SRR900002_1.fastq" in line for line in three.told)


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def test_outs_of_cellranger_count(tmp_path):
    touch(
        tmp_path / "P01/outs", "possorted_genome_bam.bam", "raw_feature_bc_matrix.h5",
        "filtered_feature_bc_matrix.h5", "molecule_info.h5",
    )  # fmt: skip
    for given in (tmp_path / "P01/outs", tmp_path / "P01"):
        ((sample, files),) = [(m.sample, m.files) for m in cellranger_samples(given)[0]]
        assert sample == "P01"
        assert {k: v.name for k, v in files.items()} == {
            "bam": "possorted_genome_bam.bam",
            "raw_matrix": "raw_feature_bc_matrix.h5",
            "matrix": "filtered_feature_bc_matrix.h5",
        }
    written, _ = start_study(
        tmp_path / "study", cellranger=[tmp_path / "P01/outs"], construct=tmp_path / "P01/outs/molecule_info.h5",
        fasta=tmp_path / "P01/outs/molecule_info.h5", gtf=tmp_path / "P01/outs/molecule_info.h5",
    )  # fmt: skip
    assert [path.name for path in written] == ["config.yaml", "samples.tsv"]
    assert load_study(load_config(tmp_path / "study/config.yaml")).samples["P01"].kind == "bam"


def test_outs_of_cellranger_multi(tmp_path):
    outs = tmp_path / "pool/outs"
    touch(outs, "multi/count/raw_feature_bc_matrix.h5")
    for name in ("A", "B"):
        touch(
            outs / f"per_sample_outs/{name}", "count/sample_filtered_feature_bc_matrix.h5",
            "count/sample_alignments.bam", "vdj_t/filtered_contig_annotations.csv",
        )  # fmt: skip
    samples, told = cellranger_samples(outs)
    assert [m.sample for m in samples] == ["A", "B"]
    assert all(set(m.files) == {"bam", "raw_matrix", "matrix", "tcr"} for m in samples)
    assert samples[0].files["raw_matrix"] == samples[1].files["raw_matrix"]
    assert any("cells alone" in line for line in told)
    assert any("one pool" in line for line in told)


@pytest.mark.parametrize("mark", ["cmo_ids", "hashtag_ids", "probe_barcode_ids", "ocm_barcode_ids"])
def test_samples_of_a_pool_are_of_one_library(tmp_path, mark):
    """The sheet did not say that the samples share a library. Probes and wells mark each sample's ambient RNA, too."""
    outs = tmp_path / "run7/outs"
    touch(outs, "multi/count/raw_feature_bc_matrix.h5")
    for name in ("A", "B"):
        touch(outs / f"per_sample_outs/{name}", "count/sample_filtered_feature_bc_matrix.h5")
    (outs / "config.csv").write_text(f"[samples]\nsample_id,{mark}\nA,X1\nB,X2\n")
    start_study(tmp_path / "study", cellranger=[outs])
    rows = [line.split("\t") for line in (tmp_path / "study/samples.tsv").read_text().splitlines()]
    libraries = [dict(zip(rows[0], row, strict=True)).get("library", "") for row in rows[1:]]
    assert libraries == (["run7"] * 2 if mark in ("cmo_ids", "hashtag_ids") else [""] * 2)


def test_a_pool_among_matrices_gives_its_samples(tmp_path):
    """`--matrices` on a folder that holds a run of `multi`: the pool's raw matrix became a sample of all patients."""
    outs = tmp_path / "data/run7/outs"
    touch(outs, "multi/count/raw_feature_bc_matrix.h5")
    for name in ("A", "B"):
        touch(outs / f"per_sample_outs/{name}", "count/sample_filtered_feature_bc_matrix.h5")
    touch(tmp_path / "data/C", "raw_feature_bc_matrix.h5")
    samples, told = matrix_samples(tmp_path / "data")
    assert [(m.sample, m.library) for m in samples] == [("A", "run7"), ("B", "run7"), ("C", "")]
    assert samples[0].files["raw_matrix"] == samples[1].files["raw_matrix"]
    assert any("one pool" in line for line in told)


def test_outs_of_cellranger_aggr_are_those_of_its_runs(tmp_path):
    for name in ("A", "B"):
        touch(tmp_path / name / "outs", "filtered_feature_bc_matrix.h5", "molecule_info.h5")
    rows = "".join(f"{n},{tmp_path / n / 'outs/molecule_info.h5'}\n" for n in ("A", "B"))
    touch(tmp_path / "agg/outs", "count/filtered_feature_bc_matrix.h5")
    (tmp_path / "agg/outs/aggregation.csv").write_text("sample_id,molecule_h5\n" + rows)
    samples, told = cellranger_samples(tmp_path / "agg/outs")
    assert {m.sample: m.files["matrix"] for m in samples} == {
        n: tmp_path / n / "outs/filtered_feature_bc_matrix.h5" for n in ("A", "B")
    }
    assert any("aggregated matrix was left out" in line for line in told)
    (tmp_path / "A/outs/filtered_feature_bc_matrix.h5").unlink()
    (tmp_path / "B/outs/filtered_feature_bc_matrix.h5").unlink()
    with pytest.raises(CarseqError, match="are not there"):
        cellranger_samples(tmp_path / "agg/outs")


def test_a_folder_that_is_none_of_cellranger_is_told(tmp_path):
    touch(tmp_path, "reads.txt")
    with pytest.raises(CarseqError, match="is not a folder of Cell Ranger"):
        cellranger_samples(tmp_path)
    with pytest.raises(CarseqError, match="no matrix below"):
        matrix_samples(tmp_path)


def test_one_library_is_one_sample_though_it_was_counted_twice(tmp_path):
    """STARsolo's Gene and GeneFull, kb's matrix and its h5ad, CellBender's posterior became samples of their own."""
    parts = [f"{x}.{y}" for x, y in (("matrix", "mtx"), ("features", "tsv"), ("barcodes", "tsv"))]
    touch(
        tmp_path,
        *(f"S1/Solo.out/{x}/{y}/{z}" for x in ("Gene", "GeneFull") for y in ("raw", "filtered") for z in parts),
        *(f"S2/Solo.out/GeneFull/raw/{z}" for z in parts),
        "K/counts_unfiltered/cells_x_genes.mtx", "K/counts_unfiltered/adata.h5ad",
        "C/out_raw.h5", "C/out_posterior.h5", "C/raw_peak_bc_matrix.h5",
    )  # fmt: skip
    samples, told = matrix_samples(tmp_path)
    named = {m.sample: m.files for m in samples}
    assert set(named) == {"S1", "S2", "K", "C_out"}
    assert named["S1"]["raw_matrix"] == tmp_path / "S1/Solo.out/Gene/raw"
    assert named["S2"]["raw_matrix"] == tmp_path / "S2/Solo.out/GeneFull/raw"
    assert named["K"]["raw_matrix"] == tmp_path / "K/counts_unfiltered"
    for words in ("GeneFull/raw", "adata.h5ad", "out_posterior.h5", "raw_peak_bc"):
        assert any(words in line for line in told)


def test_matrices_of_a_folder_become_samples(tmp_path):
    touch(
        tmp_path, "GSM1_A_raw_feature_bc_matrix.h5", "GSM1_A_filtered_feature_bc_matrix.h5", "B.h5ad",
        "C/matrix.mtx.gz", "C/features.tsv.gz", "C/barcodes.tsv.gz", "GSM9_D_matrix.mtx.gz", "GSM9_D_features.tsv.gz",
        "GSM9_D_barcodes.tsv.gz", "x/molecule_info.h5", "._B.h5ad",
    )  # fmt: skip
    samples, told = matrix_samples(tmp_path)
    named = {m.sample: m.files for m in samples}
    assert set(named) == {"GSM1_A", "B", "C", "GSM9_D"}
    assert set(named["GSM1_A"]) == {"raw_matrix", "matrix"}
    assert named["C"]["matrix"] == tmp_path / "C"
    assert any("molecule_info" in line for line in told)
    start_study(tmp_path / "study", matrices=tmp_path, name="MYCAR")
    study = load_study(load_config(tmp_path / "study/config.yaml"))
    assert study.config.reference.fasta is None
    assert study.config.construct.file is None
    assert {s.kind for s in study.samples.values()} == {"matrix"}


def test_the_configuration_names_its_schema(tmp_path):
    """Editors complete the keys: the schema lies where the first line says, and the configuration is valid by it."""
    import jsonschema

    start_study(tmp_path / "study", name="CAR")
    text = (tmp_path / "study/config.yaml").read_text()
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", text)
    schema = json.loads((tmp_path / "study" / named[1]).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    config = yaml.safe_load(text)
    assert set(config) <= set(schema["properties"])


def test_patients_are_guessed_from_names_and_no_antigen_is_assumed(tmp_path: Path) -> None:
    """A second patient is not taken for the first, and the example's antigen is not that of any CAR."""
    for name in ("P01_urine_D28", "x_Pt2_blood", "PatientB_GEX", "sample7"):
        path = tmp_path / "in" / f"{name}.h5ad"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    _, todo = start_study(tmp_path / "study", matrices=tmp_path / "in", name="MYCAR")
    lines = (tmp_path / "study" / "samples.tsv").read_text().splitlines()
    assert {tuple(line.split("\t")[:2]) for line in lines[1:]} == {
        ("P01_urine_D28", "P01"),
        ("x_Pt2_blood", "Pt2"),
        ("PatientB_GEX", "PatientB"),
        ("sample7", "P01"),
    }
    assert any("guessed from the samples' names" in line for line in todo)
    assert load_config(tmp_path / "study" / "config.yaml").construct.target is None


def test_sorts_and_products_are_told_by_names(tmp_path: Path) -> None:
    """Of 30 libraries named CARpos, CARneg or product each had to be written into the sheet by hand."""
    for name in ("P1_CARpos", "P1_CARneg", "P1_product_CARpos", "P1_urine_D28"):
        path = tmp_path / "in" / f"{name}.h5ad"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    _, todo = start_study(tmp_path / "study", matrices=tmp_path / "in")
    sheet = pd.read_csv(tmp_path / "study/samples.tsv", sep="\t", keep_default_na=False)
    sheet = sheet.set_index("sample")
    assert sheet["gating"].to_dict() == {
        "P1_CARpos": "car_enriched",
        "P1_CARneg": "car_depleted",
        "P1_product_CARpos": "",
        "P1_urine_D28": "",
    }
    assert sheet.index[sheet["role"] == "product"].tolist() == ["P1_product_CARpos"]
    assert any("check `gating` of P1_CARneg, P1_CARpos:" in line for line in todo)


def test_one_file_in_place_of_its_folder_is_told(tmp_path: Path) -> None:
    """`--matrices cells.h5ad`: "not a folder" did not say which one to give."""
    file = tmp_path / "cells.h5ad"
    file.write_text("x")
    with pytest.raises(CarseqError, match=f"give the folder that holds it, {tmp_path}"):
        matrix_samples(file)
