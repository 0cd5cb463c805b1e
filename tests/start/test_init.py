"""carseq init: what a folder holds is found, and what was left out or put together is told."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from carseq.errors import CarseqError
from carseq.schema.results import FILES
from carseq.start import init
from carseq.start.cellranger import cellranger_samples
from carseq.start.folders import fastq_pairs
from carseq.start.init import start_study
from carseq.start.matrices import matrix_samples
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


def test_lanes_of_basespace_are_units_in_one_project_alone(tmp_path):
    """Each lane is a dataset with a folder of its own: the lanes of a study's one sample became samples."""
    for project, lane, ds in (("A", 1, "0a1b2c"), ("A", 2, "3d4e5f"), ("B", 1, "6a7b8c")):
        pair(tmp_path / project / f"GEX_L00{lane}-ds.{ds}", "GEX", lane=f"L00{lane}")
    assert {sample for sample, _ in found(tmp_path / "A")} == {"GEX"}
    assert len(found(tmp_path / "A")) == 2
    assert len({sample for sample, _ in found(tmp_path)}) > 1


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


def test_names_of_services_and_folders_give_their_samples(tmp_path: Path) -> None:
    """Each flow cell and lane of a service became a sample; `P1/R1.fastq.gz` and `_r1` were refused."""
    for lane in ("HVT7KDSX2_L1", "HVT7KDSX2_L2", "HJKLMDSX3_L1"):
        pair(tmp_path, "P9_FKDL21-1a", pattern="{}_{}_{}.fq.gz", lane=lane)
    pair(tmp_path / "P8", "", pattern="R{2}.fastq.gz")
    pair(tmp_path, "P7", pattern="{0}_r{2}.fastq.gz")
    assert found(tmp_path) == [
        ("P7", "1"), ("P9_FKDL21-1a", "HJKLMDSX3_L1"), ("P9_FKDL21-1a", "HVT7KDSX2_L1"),
        ("P9_FKDL21-1a", "HVT7KDSX2_L2"), ("P8", "P8_1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stems", "units"),
    [
        # MGI: lanes of a sample, of an index, of a folder.
        (["E100012345_L01_P1_{}.fq.gz", "E100012345_L02_P1_{}.fq.gz"],
         [("P1", "E100012345_L01"), ("P1", "E100012345_L02")]),
        (["V350012345_L01_1_{}.fq.gz", "V350012345_L01_2_{}.fq.gz", "V350012345_L02_1_{}.fq.gz"],
         [("V350012345_1", "V350012345_L01_1"), ("V350012345_2", "V350012345_L01_2"),
          ("V350012345_1", "V350012345_L02_1")]),
        (["P1/FP100000345TL_L01_17_{}.fq.gz", "P1/FP100000345TL_L01_18_{}.fq.gz", "P2/FP100000345TL_L01_read_{}.fq.gz"],
         [("P1", "P1_FP100000345TL_L01_17"), ("P1", "P1_FP100000345TL_L01_18"), ("P2", "P2_FP100000345TL_L01")]),
        (["P1_L1_{}.fq.gz", "P1_L2_{}.fq.gz"], [("P1", "L1"), ("P1", "L2")]),
        (["P1_L001_{}.fq.gz", "P1_L002_{}.fq.gz"], [("P1", "L001"), ("P1", "L002")]),
        (["P1_CKDL220001234_L1_{}.fq.gz", "P1_CKDL220005678_L1_{}.fq.gz"],
         [("P1_CKDL220001234", "L1"), ("P1_CKDL220005678", "L1")]),
        # Runs of archives: in a folder of each sample, behind the experiment's name, alone, of the GSA.
        (["P1/SRR1_{}.fastq.gz", "P1/SRR2_{}.fastq.gz", "P2/fastq/SRR3_{}.fastq.gz"],
         [("P1", "P1_SRR1"), ("P1", "P1_SRR2"), ("P2", "P2_fastq_SRR3")]),
        (["SRX1_SRR1_{}.fastq.gz", "SRX1_SRR2_{}.fastq.gz"], [("SRX1", "SRR1"), ("SRX1", "SRR2")]),
        (["SRR1_pass_{}.fastq.gz", "SRR2_S1_L001_R{}_001.fastq.gz"], [("SRR1", "1"), ("SRR2", "L001")]),
        (["A/SRR1/SRR1_{}.fastq.gz", "A/SRR2/SRR2_{}.fastq.gz"], [("SRR1", "A_SRR1_1"), ("SRR2", "A_SRR2_1")]),
        # bamtofastq names every sample alike.
        (["P1_0_1_HABCDEFXY/bamtofastq_S1_L001_R{}_001.fastq.gz",
          "P1_0_1_HABCDEFXZ/bamtofastq_S1_L001_R{}_001.fastq.gz"],
         [("P1", "P1_0_1_HABCDEFXY_L001"), ("P1", "P1_0_1_HABCDEFXZ_L001")]),
        # Two runs in one folder: the second one's reads took the place of the first one's.
        (["P1_S1_L001_R{}_001.fastq.gz", "P1_S7_L001_R{}_001.fastq.gz"], [("P1", "L001_S1"), ("P1", "L001_S7")]),
        (["P1_HVT7KDSX2_S1_L001_R{}_001.fastq.gz", "P1_HVT8KDSX2_S1_L001_R{}_001.fastq.gz"],
         [("P1", "HVT7KDSX2_L001"), ("P1", "HVT8KDSX2_L001")]),
        (["P1_S1_L001_r{}_001.fastq.gz", "P2_R{0}_val_{0}.fq.gz"], [("P1", "L001"), ("P2", "1")]),
        # Element's folders.
        (["Samples/P1/P1_R{}.fastq.gz", "Samples/PhiX/PhiX_R{}.fastq.gz", "Samples/Unassigned/Unassigned_R{}.fastq.gz"],
         [("P1", "Samples_P1_1")]),
        (["GEX/P1_S1_R{}_001.fastq.gz", "GEX/P2_S2_R{}_001.fastq.gz", "ADT/P1_S3_R{}_001.fastq.gz",
          "ATAC/P2_S4_R{}_001.fastq.gz"],
         [("P1", "GEX_1"), ("P2", "GEX_1")]),
    ],
)  # fmt: skip
def test_lanes_and_runs_of_a_library_are_one_sample(tmp_path: Path, stems, units) -> None:
    """Names of MGI, archives, bamtofastq and Element: lanes and runs became samples, or took each other's place."""
    for stem in stems:
        pair(
            tmp_path / stem.rpartition("/")[0],
            "",
            pattern=stem.rpartition("/")[2].replace("{}", "{2}").replace("{0}", "{2}"),
        )
    assert found(tmp_path) == units


def test_the_indexes_of_a_library_are_one_sample(tmp_path: Path) -> None:
    """Each of the four indexes of a set of 10x's was a sample, and the sample name `P02_ACGTACGT` that of one index."""
    run = tmp_path / "run"
    for i in range(1, 5):
        pair(run, f"P01_SI-GA-B3_{i}", pattern=f"{{}}_S{i}_{{}}_R{{}}_001.fastq.gz")
    for index in ("ATTACTCG", "GGTTCATA"):
        pair(run, f"P02_{index}", pattern="{}_{}_R{}_001.fastq.gz")
    pair(run, "P03_SI-TT-A1")
    pair(run, "P03_SI-TT-B1")
    pairs = fastq_pairs(run)
    held: dict[str, set[str]] = {}
    for sample, unit, *_ in pairs.units:
        held.setdefault(sample, set()).add(unit)
    assert held == {
        "P01_SI-GA-B3": {"1_L001", "2_L001", "3_L001", "4_L001"},
        "P02": {"ATTACTCG_L001", "GGTTCATA_L001"},
        "P03_SI-TT-A1": {"L001"},
        "P03_SI-TT-B1": {"L001"},
    }
    told = [line.partition(":")[0] for line in pairs.told if "were taken as one sample" in line]
    assert told == ["P01_SI-GA-B3", "P02"]


def test_names_that_differ_in_letters_the_sheets_do_not_take_stay_apart(tmp_path: Path) -> None:
    """The reads of one patient took the place of the other's, without a word."""
    for name in (
        "M\u00fcller",
        "M\u00f6ller",
        "\u05d3\u05e0\u05d4",
        "\u05e8\u05d5\u05ea",
        "P 1",
        "P+1",
    ):
        pair(tmp_path, name)
    pairs = fastq_pairs(tmp_path)
    assert sorted(unit[0] for unit in pairs.units) == [
        "Moeller", "Mueller", "P_1", "P_1_2", "sample", "sample_2"
    ]  # fmt: skip
    assert sum("told apart" in line for line in pairs.told) == 2


def test_names_that_differ_in_case_alone_are_told_apart(tmp_path: Path) -> None:
    """`carseq init` wrote two samples of which `carseq check` then said that their folders collide."""
    pair(tmp_path, "P01_Urine")
    pair(tmp_path, "p01_urine")
    pairs = fastq_pairs(tmp_path)
    assert [unit[0] for unit in pairs.units] == ["P01_Urine", "p01_urine_2"]
    assert any("told apart as P01_Urine and p01_urine_2" in line for line in pairs.told)


def test_reads_of_sra_that_lack_the_barcode_read_say_how_to_get_it(tmp_path: Path) -> None:
    """fasterq-dump leaves the barcode read out unless it is told not to: "transfer what is missing" was the remedy."""
    touch(tmp_path / "a", "SRR1.fastq.gz", "SRR2.fastq.gz")
    touch(tmp_path / "b", "SRR1_2.fastq.gz")
    for folder in "ab":
        with pytest.raises(CarseqError, match="--include-technical"):
            fastq_pairs(tmp_path / folder)
    pair(tmp_path / "c", "SRR3", pattern="{0}_{2}.fastq")
    pair(tmp_path / "c", "SRR4", pattern="{0}_{2}.fastq")
    assert any("one name in units.tsv" in line for line in fastq_pairs(tmp_path / "c").told)


def test_an_index_read_between_r1_and_r3_is_none_of_the_pair(tmp_path: Path) -> None:
    """R1, R2 and R3 where R2 is the index: it was taken for the cDNA, and R3 left out."""
    # Open chromatin has its barcode in R2.
    for sample, lengths in (("P1", (28, 8, 90)), ("A1", (50, 16, 49))):
        for read, length in enumerate(lengths, 1):
            text = f"@r\n{'A' * length}\n+\n{'I' * length}\n"
            (tmp_path / f"{sample}_S1_L001_R{read}_001.fastq").write_text(text)
    pairs = fastq_pairs(tmp_path)
    names = {unit[0]: [path.name[11:13] for path in unit[2:]] for unit in pairs.units}
    assert names == {"P1": ["R1", "R3"], "A1": ["R1", "R2"]}
    assert any("P1_S1_L001_R2_001.fastq" in line for line in pairs.told)
    assert any("A1_S1_L001_R3_001.fastq" in line for line in pairs.told)


def test_libraries_that_are_not_of_mrna_are_left_out(tmp_path: Path) -> None:
    """Receptors and antibodies of a sample became samples; a name that has no library of mRNA beside it is kept."""
    for kind in ("GEX", "VDJ", "ADT"):
        pair(tmp_path / "a", f"P1_{kind}_D28")
    for kind in ("GEX", "HTO", "VDJ_T"):
        pair(tmp_path / "b" / kind, "P2")
    for kind in ("TCR", "5GEX", "5p_VDJ"):
        pair(tmp_path / "c", f"P4_{kind}")
    pair(tmp_path / "a", "P3_TCR")
    assert {sample for sample, _ in found(tmp_path / "a")} == {"P1_GEX_D28", "P3_TCR"}
    assert {sample for sample, _ in found(tmp_path / "c")} == {"P4_5GEX"}
    assert {sample for sample, _ in found(tmp_path / "b")} == {"GEX_P2"}
    assert any("P1_ADT_D28, P1_VDJ_D28" in line for line in fastq_pairs(tmp_path / "a").told)


def test_reads_that_are_to_be_made_first_are_told(tmp_path: Path) -> None:
    """A sequencer's run, SRA's own file and an archive: "no FASTQ pairs" did not say what to do with them."""
    touch(
        tmp_path / "run",
        "RunInfo.xml",
        "SRR1.sra",
        "P2_fastqs.tar",
        "P3_possorted_genome_bam.bam.1",
    )
    with pytest.raises(CarseqError) as error:
        fastq_pairs(tmp_path / "run")
    for words in ("bcl-convert", "fasterq-dump", "unpacked: P2_fastqs.tar", "bamtofastq"):
        assert words in error.value.cause
    pair(tmp_path / "run", "P1")
    assert any("P2_fastqs.tar" in line for line in fastq_pairs(tmp_path / "run").told)


def test_folders_that_cannot_be_read_and_links_to_nothing_are_told(tmp_path, monkeypatch) -> None:
    """A patient's folder of another owner, or on a disk that is not mounted, was missing without a word."""
    pair(tmp_path / "P1", "P1")
    pair(tmp_path / "P2", "P2")
    touch(tmp_path / "P1", "matrix.h5")
    (tmp_path / "P3").symlink_to("/mnt/nowhere/P3")
    real = os.scandir

    def scandir(place):
        if os.path.basename(place) == "P2":
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    for told in (fastq_pairs(tmp_path).told, matrix_samples(tmp_path)[1]):
        assert any("P2 (Permission denied)" in line for line in told)
        assert any("not looked at: P3: links" in line for line in told)


def test_snapshots_and_work_folders_are_copies(tmp_path: Path) -> None:
    """A disk's `.snapshot` gave each lane again, and Nextflow's and Cell Ranger's work each matrix."""
    for place in ("run", ".snapshot/hourly.0/run", "work/3f/0a9c"):
        pair(tmp_path / place, "P1")
    touch(tmp_path / "P1/outs", "filtered_feature_bc_matrix.h5")
    touch(tmp_path / "P1/SC_RNA_COUNTER_CS/fork0/files", "filtered_feature_bc_matrix.h5")
    pair(tmp_path / "work2/3f", "P2")
    assert found(tmp_path) == [("P1", "run_L001"), ("P2", "work2_3f_L001")]
    samples, told = matrix_samples(tmp_path)
    assert named_files(samples, tmp_path) == {
        "P1": {"matrix": "P1/outs/filtered_feature_bc_matrix.h5"}
    }
    for line in (fastq_pairs(tmp_path).told[-1], told[0]):
        assert "not looked at: .snapshot, work, P1/SC_RNA_COUNTER_CS: hidden folders" in line


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


def test_outs_given_from_within_are_called_after_their_run(tmp_path, monkeypatch):
    """`--cellranger .` in `P1/outs` had no name."""
    touch(tmp_path / "P1/outs", "raw_feature_bc_matrix.h5")
    monkeypatch.chdir(tmp_path / "P1/outs")
    assert [m.sample for m in cellranger_samples(Path("."))[0]] == ["P1"]


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


def test_a_folder_within_a_run_of_multi_is_of_that_run(tmp_path: Path) -> None:
    """`per_sample_outs/A/count` gave a sample called `count`, without the pool's raw matrix and library."""
    outs = tmp_path / "run7/outs"
    touch(outs, "multi/count/raw_feature_bc_matrix.h5", "config.csv")
    for name in ("A", "B"):
        touch(outs / f"per_sample_outs/{name}", "count/sample_filtered_feature_bc_matrix.h5")
    for given, names in (
        ("per_sample_outs/A/count", ["A"]),
        ("per_sample_outs/B", ["B"]),
        ("per_sample_outs", ["A", "B"]),
        ("multi", ["A", "B"]),
        ("multi/count", ["A", "B"]),
    ):
        made, told = cellranger_samples(outs / given)
        assert [(m.sample, m.library) for m in made] == [(name, "run7") for name in names]
        assert {m.files["raw_matrix"].parent.name for m in made} == {"count"}
        assert any("of a pool" in line or "of one pool" in line for line in told)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_an_aggregation_saved_by_excel_is_read(tmp_path: Path, encoding: str) -> None:
    """Its samples were said not to be there, or a letter ended in a traceback."""
    touch(tmp_path, "P1/outs/molecule_info.h5", "P1/outs/raw_feature_bc_matrix.h5")
    (tmp_path / "all/outs").mkdir(parents=True)
    text = "sample_id,molecule_h5,donor\r\nP1,../../P1/outs/molecule_info.h5,M\u00fcller\r\n"
    (tmp_path / "all/outs/aggregation.csv").write_bytes(text.encode(encoding))
    assert [m.sample for m in cellranger_samples(tmp_path / "all")[0]] == ["P1"]


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


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["P1/outs/x", "P2/outs/x"], "each run in it: P1/outs, P2/outs"),
        (["_log", "SC_RNA_COUNTER_CS/x"], "did not end"),
        (["filtered_contig_annotations.csv"], "column `tcr`"),
        (["filtered_feature_bc_matrix.h5", "spatial/tissue_positions.csv"], "single cells"),
    ],
)
def test_which_folder_of_cellranger_to_give_is_told(
    tmp_path: Path, files: list[str], told: str
) -> None:
    """The folder above several runs, a run that failed, receptors alone; spots on a slide were taken for cells."""
    touch(tmp_path, *files)
    with pytest.raises(CarseqError) as error:
        cellranger_samples(tmp_path)
    assert told in error.value.remedy


def test_the_bam_of_a_multiome_run_is_taken(tmp_path: Path) -> None:
    """cellranger-arc's BAM has another name: the note said that Cell Ranger had made none."""
    touch(tmp_path / "P1/outs", "raw_feature_bc_matrix.h5", "gex_possorted_bam.bam")
    (made,), told = cellranger_samples(tmp_path / "P1")
    assert made.files["bam"].name == "gex_possorted_bam.bam"
    assert told == []


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


def triple(place: str, prefix: str = "") -> list[str]:
    return [f"{place}/{prefix}{x}.gz" for x in ("matrix.mtx", "features.tsv", "barcodes.tsv")]


def named_files(samples: list, folder: Path) -> dict[str, dict[str, str]]:
    return {
        m.sample: {column: str(path.relative_to(folder)) for column, path in m.files.items()}
        for m in samples
    }


@pytest.mark.parametrize("aligner", ["star", "cellranger"])
def test_a_run_of_nf_core_gives_each_library_once(tmp_path: Path, aligner: str) -> None:
    """nf-core/scrnaseq keeps each matrix again as h5ad, all of them in one, and CellBender's: all became samples."""
    inside = (
        "{0}/{0}.Solo.out/Gene/{1}" if aligner == "star" else "count/{0}/outs/{1}_feature_bc_matrix"
    )
    names = ("P01_urine_D0", "P01_urine_D28")
    copies = tmp_path / f"{aligner}/mtx_conversions"
    for name in names:
        for kind in ("raw", "filtered"):
            touch(tmp_path, *triple(f"{aligner}/{inside.format(name, kind)}"))
            touch(copies / name, f"{name}_{kind}_matrix.h5ad")
        touch(copies / name, f"{name}_cellbender_filter_matrix.h5ad")
    touch(copies, "combined_raw_matrix.h5ad")
    samples, told = matrix_samples(tmp_path)
    assert named_files(samples, tmp_path) == {
        name: {
            "raw_matrix": f"{aligner}/{inside.format(name, 'raw')}",
            "matrix": f"{aligner}/{inside.format(name, 'filtered')}",
        }
        for name in names
    }
    assert any("combined_raw_matrix.h5ad, which holds all samples" in line for line in told)
    # Those who were given the h5ads alone have each sample's own.
    assert set(named_files(matrix_samples(copies)[0], copies)) == set(names)


def test_folders_of_other_kits_give_each_library_once(tmp_path: Path) -> None:
    """Cells and raw matrix of a library (DNBelab, PIPseeker), and BD's two counts of one, became two samples."""
    touch(tmp_path, *triple("P1/output/filter_matrix"), *triple("P1/output/raw_matrix"))
    touch(tmp_path, *triple("P2_RSEC_MolsPerCell_MEX"), *triple("P2_DBEC_MolsPerCell_MEX"))
    touch(tmp_path, *triple("P2_RSEC_MolsPerCell_Unfiltered_MEX"))
    touch(tmp_path, *triple("P3/raw_matrix"), *triple("P3/filtered_matrix/sensitivity_1"))
    touch(tmp_path, *triple("P3/filtered_matrix/sensitivity_5"))
    touch(tmp_path, "P4/raw_feature_bc_matrix.h5", "P4/cellbender.h5", "P4/cellbender_filtered.h5")
    assert named_files(matrix_samples(tmp_path)[0], tmp_path) == {
        "P1": {"raw_matrix": "P1/output/raw_matrix", "matrix": "P1/output/filter_matrix"},
        "P2": {"raw_matrix": "P2_RSEC_MolsPerCell_Unfiltered_MEX", "matrix": "P2_RSEC_MolsPerCell_MEX"},
        "P3": {"raw_matrix": "P3/raw_matrix"},
        "P4": {"raw_matrix": "P4/raw_feature_bc_matrix.h5"},
    }  # fmt: skip


def test_what_lies_in_the_folder_itself_is_a_sample_of_its_name(tmp_path: Path) -> None:
    """`--matrices P1/outs`, where Cell Ranger's files lie, ended in a traceback."""
    touch(tmp_path / "P1", "filtered_feature_bc_matrix.h5", "raw_feature_bc_matrix.h5")
    touch(tmp_path / "P1", *triple("filtered_feature_bc_matrix"))
    samples, told = matrix_samples(tmp_path / "P1")
    assert named_files(samples, tmp_path / "P1") == {
        "P1": {"matrix": "filtered_feature_bc_matrix.h5", "raw_matrix": "raw_feature_bc_matrix.h5"}
    }
    assert told == ["left out: filtered_feature_bc_matrix, beside the .h5 of the same matrix"]


@pytest.mark.parametrize(
    ("files", "samples"),
    [
        # Letters that the sheets do not take: one patient's matrix was left out for the other's.
        (["M\u00fcller/matrix.h5", "M\u00f6ller/matrix.h5"],
         {"Moeller": {"matrix": "M\u00f6ller/matrix.h5"}, "Mueller": {"matrix": "M\u00fcller/matrix.h5"}}),
        # A folder called raw_data holds matrices of cells, too.
        (["raw_data/P1.h5ad", "raw_data/P2_raw.h5ad"],
         {"P1": {"matrix": "raw_data/P1.h5ad"}, "P2": {"raw_matrix": "raw_data/P2_raw.h5ad"}}),
        # One name in two folders.
        ([*triple("P1", "run_"), *triple("P2", "run_")],
         {"P1_run": {"matrix": "P1/run_matrix.mtx.gz"}, "P2_run": {"matrix": "P2/run_matrix.mtx.gz"}}),
        # simpleaf; split-pipe's matrix of all samples; kb-python's nac; bustools under another name.
        (["P1/af_quant/alevin/quants_mat.mtx"], {"P1": {"matrix": "P1/af_quant/alevin"}}),
        (["all-sample/DGE_filtered/count_matrix.mtx", "P1/DGE_filtered/count_matrix.mtx"],
         {"P1": {"matrix": "P1/DGE_filtered"}}),
        ([f"P1/counts_unfiltered/cells_x_genes.{x}.mtx" for x in ("mature", "nascent", "ambiguous", "cell")],
         {"P1": {"raw_matrix": "P1/counts_unfiltered"}}),
        (["P1/output.mtx", "P1/output.genes.txt", "P1/output.barcodes.txt"], {"P1": {"matrix": "P1"}}),
        # Cell Ranger 2 has a folder for the genome.
        ([f"P1/outs/{x}_gene_bc_matrices/hg19_CAR/matrix.mtx" for x in ("raw", "filtered")],
         {"P1": {"raw_matrix": "P1/outs/raw_gene_bc_matrices/hg19_CAR",
                 "matrix": "P1/outs/filtered_gene_bc_matrices/hg19_CAR"}}),
        # CellBender under its own name: all its droplets were taken for cells. Beside Cell Ranger's; SoupX beside it.
        (["P1/out.h5", "P1/out_filtered.h5", "P1/out_cell_barcodes.csv"], {"P1_out": {"matrix": "P1/out_filtered.h5"}}),
        (["P1/cellbender/output_filtered.h5", "P1/outs/raw_matrix.h5", "P1/outs/filtered_matrix.h5"],
         {"P1": {"raw_matrix": "P1/outs/raw_matrix.h5", "matrix": "P1/outs/filtered_matrix.h5"}}),
        ([*triple("P1/soupX"), "P1/filtered_matrix.h5"], {"P1": {"matrix": "P1/filtered_matrix.h5"}}),
        # STARsolo: raw and cells of two features were put together.
        ([*triple("P1/Solo.out/GeneFull/raw"), *triple("P1/Solo.out/GeneFull_Ex50pAS/raw"),
          *triple("P1/Solo.out/GeneFull_Ex50pAS/filtered")],
         {"P1": {"raw_matrix": "P1/Solo.out/GeneFull/raw"}}),
    ],
)  # fmt: skip
def test_layouts_of_programs_give_each_library_once(tmp_path: Path, files, samples) -> None:
    touch(tmp_path, *files)
    assert named_files(matrix_samples(tmp_path)[0], tmp_path) == samples


def test_matrices_that_are_gzipped_or_end_otherwise_are_told(tmp_path: Path) -> None:
    """Of a series of GEO, the samples whose h5ad is gzipped were missing without a word."""
    touch(tmp_path, "P1.h5ad", "GSM2_P2.h5ad.gz", "GSM3_P3.h5.gz", "P4.H5AD", "P5.hdf5")
    told = matrix_samples(tmp_path)[1]
    assert any("GSM2_P2.h5ad.gz, GSM3_P3.h5.gz, not read as they are: unpack" in t for t in told)
    assert any("P4.H5AD, P5.hdf5, not read as they are: rename" in t for t in told)


def test_receptors_beside_matrices_are_told(tmp_path: Path) -> None:
    """Tables of receptors in a series of GEO were left out without a word."""
    touch(
        tmp_path,
        "GSM1_P1_filtered_feature_bc_matrix.h5",
        "GSM2_P1_filtered_contig_annotations.csv.gz",
    )
    assert any(
        "GSM2_P1_filtered_contig_annotations.csv.gz; name each table in the column `tcr`" in line
        for line in matrix_samples(tmp_path)[1]
    )


def test_a_second_matrix_of_a_sample_says_what_to_do(tmp_path: Path) -> None:
    """The whole paths stood there, one line for each, and nothing of what to do."""
    touch(tmp_path, *(f"P1/filtered_matrix/sensitivity_{i}/matrix.mtx" for i in (1, 2)))
    touch(tmp_path, *(f"P2/Solo.out/{x}/raw/matrix.mtx" for x in ("Gene", "GeneFull", "SJ")))
    touch(tmp_path, *(f"P3/Solo.out/{x}/raw/matrix.mtx" for x in ("Gene", "GeneFull", "SJ")))
    told = matrix_samples(tmp_path)[1]
    assert (
        "P1 has two matrices that look filtered: P1/filtered_matrix/sensitivity_1 was taken, "
        "P1/filtered_matrix/sensitivity_2 was left out; if they are of two samples, give each a folder of its name"
    ) in told
    assert sum("GeneFull" in line for line in told) == 1


def test_samples_that_tags_of_bd_mark_are_of_one_library(tmp_path: Path) -> None:
    """Cells without a tag, and all cells of the pool, became samples."""
    for name in ("SampleTag01_hs", "SampleTag02_hs", "Multiplet_and_Undetermined"):
        touch(tmp_path, *triple(f"run1_{name}_RSEC_MolsPerCell_MEX"))
    touch(tmp_path, *triple("Combined_run1_RSEC_MolsPerCell_MEX"))
    touch(tmp_path, *triple("run1_RSEC_MolsPerCell_Unfiltered_MEX"))
    samples, told = matrix_samples(tmp_path)
    assert {m.sample: (m.library, m.files["raw_matrix"].name) for m in samples} == {
        f"run1_SampleTag0{i}_hs": ("run1", "run1_RSEC_MolsPerCell_Unfiltered_MEX") for i in (1, 2)
    }
    for words in ("Multiplet", "Combined", "one pool"):
        assert any(words in line for line in told)


def test_what_a_folder_holds_in_place_of_matrices_or_reads_is_told(tmp_path: Path) -> None:
    """ "No matrix" and "no FASTQ pairs" did not say what is there, or how to give it."""
    touch(tmp_path / "aggr", "outs/aggregation.csv", "outs/count/filtered_feature_bc_matrix.h5")
    touch(tmp_path / "velocyto", "Solo.out/Velocyto/raw/spliced.mtx")
    touch(tmp_path / "tables", "GSM1_P01.tsv.gz")
    touch(tmp_path / "reads", "P1_R1.fastq.gz")
    for name, words in (
        ("aggr", "as `--cellranger`"),
        ("velocyto", "Solo.out/Gene/raw"),
        ("tables", "GSM1_P01.tsv.gz"),
        ("reads", "`--fastqs"),
    ):
        with pytest.raises(CarseqError) as error:
            matrix_samples(tmp_path / name)
        assert words in str(error.value)
    with pytest.raises(CarseqError, match="--matrices"):
        fastq_pairs(tmp_path / "velocyto")


def test_matrices_that_are_not_read_and_bams_beside_matrices_are_told(tmp_path: Path) -> None:
    """Of a series two of seven samples were taken without a word: others were tables, archives, or named otherwise."""
    touch(
        tmp_path,
        "GSM1_P1.h5",
        "GSM2_P2.tar.gz",
        "GSM3_counts.csv.gz",
        "GSM4.rds",
        "GSM5_counts.mtx.gz",
    )
    touch(tmp_path, "GSM6.zarr/X/0", "GSM7/outs/filtered_feature_bc_matrix.h5")
    touch(tmp_path, "GSM7/outs/possorted_genome_bam.bam", "GSM7/outs/metrics_summary.csv")
    samples, told = matrix_samples(tmp_path)
    assert [m.sample for m in samples] == ["GSM1_P1", "GSM7"]
    left = [line for line in told if line.startswith("left out")]
    for name in (
        "GSM2_P2.tar.gz",
        "GSM3_counts.csv.gz",
        "GSM4.rds",
        "GSM5_counts.mtx.gz",
        "GSM6.zarr",
    ):
        assert any(name in line for line in left)
    assert not any("metrics" in line for line in left)
    assert any(f"--cellranger {tmp_path / 'GSM7/outs'}" in line for line in told)
    (tmp_path / "one").mkdir()
    (tmp_path / "one/GSE1_RAW.tar").touch()
    with pytest.raises(CarseqError, match=r"GSE1_RAW\.tar, not read as it is: unpack it"):
        matrix_samples(tmp_path / "one")


def test_results_of_carseq_are_no_samples(tmp_path: Path) -> None:
    """Of a study's folder its cohort, its samples and its 10x matrix became samples beside those it was made of."""
    for name in ("P01.h5ad", "results/cohort/cells.h5ad", "results/samples/P01/cells/qc.h5ad"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("run_config", "versions"):
        FILES[name].under(tmp_path / "results").touch()
    made, told = matrix_samples(tmp_path)
    assert [m.sample for m in made] == ["P01"]
    assert any("left out: results: results of carseq" in line for line in told)


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


def test_a_disk_that_fills_leaves_nothing_in_the_way(tmp_path: Path, monkeypatch) -> None:
    """On a full disk the sheet of units was missing, and the next attempt was refused: "config.yaml is there"."""
    pair(tmp_path / "run", "P01")
    write = init.write_text

    def full(text: str, path: Path) -> None:
        if path.name == "units.tsv":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(text, path)

    monkeypatch.setattr(init, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        start_study(tmp_path / "study", fastqs=tmp_path / "run")
    monkeypatch.undo()
    assert len(start_study(tmp_path / "study", fastqs=tmp_path / "run")[0]) == 3
