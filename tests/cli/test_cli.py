"""cli: `carseq construct` is a group whose command `map` may be left out; `carseq call` on a matrix alone."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from click.testing import Result
from typer.testing import CliRunner

from carseq.cli import app
from carseq.construct import load_construct
from carseq.construct.library import relatives
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.files import read_table, write_table
from carseq.schema.tables import CLONOTYPES, DETECTION, MOLECULES
from tiny import write_bam, write_h5

FILE = "hbi0101_surrogate.gb"


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["construct", *words])
    assert done.exit_code in (0, 1), done.output
    return done.output


@pytest.mark.parametrize(
    "words", [(FILE, "--chemistry", "5p"), ("--chemistry", "5p", FILE)], ids=["before", "after"]
)
def test_map_may_be_left_out(words: tuple[str, ...]) -> None:
    """Options may stand before the file or behind it."""
    assert run(*words) == run("map", FILE, "--chemistry", "5p")


def test_a_file_that_is_called_like_a_command_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "ide-cel" in run("list")
    (tmp_path / "list").write_text("no construct")
    done = CliRunner().invoke(app, ["construct", "list"])
    assert done.exit_code != 0
    assert "ide-cel" not in done.output


def _annotated(path: Path, *, gene: str = "CAR") -> Path:
    """Write 60 T cells and 20 B cells of one sample as `carseq annotate` does: without `sample` and `barcode`."""
    rng = np.random.default_rng(3)
    counts = rng.poisson(2.0, (80, 3)).astype(np.int32)
    counts[:, 0] = 0
    counts[:6, 0] = 4
    obs = pd.DataFrame(
        {
            "total_umis": 2000 + counts.sum(axis=1),
            "lineage": ["T"] * 60 + ["B"] * 20,
            "is_doublet": False,
            "qc_reason": [""] * 79 + ["too few genes"],
        },
        index=[f"{i:016d}-1" for i in range(80)],
    )
    ad.AnnData(sp.csr_matrix(counts), obs=obs, var=pd.DataFrame(index=[gene, "A", "B"])).write_h5ad(
        path
    )
    return path


def _call(folder: Path, cells: Path, sheet: str, name: str = "CAR") -> Result:
    (folder / "sheet.csv").write_text(sheet, encoding="utf-8-sig")
    words = ["call", str(cells), "--samples", str(folder / "sheet.csv"), "--name", name]
    return CliRunner().invoke(app, [*words, "--out", str(folder / "out" / "cells.h5ad")])


def test_call_takes_what_annotate_writes(tmp_path: Path) -> None:
    """A matrix of one sample and the least sheet are enough: what they do not say is assumed, and told."""
    done = _call(
        tmp_path,
        _annotated(tmp_path / "a.h5ad"),
        "sample,patient,compartment,ambient_umis\nU1,P1,urine,NA\n",
    )
    assert done.exit_code == 0, done.output
    detection = read_table(tmp_path / "out" / "detection.tsv", DETECTION)
    assert detection["sample"].tolist() == ["U1"]
    assert detection[["n_cells", "n_car_positive"]].to_numpy().tolist() == [[79, 6]]
    assert detection["ambient_assumed"].tolist() == [True]


def test_a_car_that_was_not_counted_is_not_absent(tmp_path: Path) -> None:
    """A matrix without the CAR among its genes, and no molecules: no verdict, where "not detected" would be wrong."""
    cells = _annotated(tmp_path / "a.h5ad", gene="FMC63")
    done = _call(tmp_path, cells, "sample,patient,compartment\nU1,P1,urine\n")
    assert isinstance(done.exception, CarseqError)
    assert "has no gene CAR" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_call_refuses_cells_of_unknown_sample(tmp_path: Path) -> None:
    cells = _annotated(tmp_path / "a.h5ad")
    done = _call(tmp_path, cells, "sample,patient,compartment\nU1,P1,urine\nU2,P1,blood\n")
    assert isinstance(done.exception, CarseqError)
    assert "of which sample" in str(done.exception)


def test_a_folder_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study's folder that was made anew while a shell was in it: the command ended in a traceback."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    done = CliRunner().invoke(app, ["check", "study/config.yaml"])
    assert isinstance(done.exception, CarseqError)
    assert "is not there any more" in str(done.exception)


def test_cells_of_several_samples_and_samples_without_cells_are_told(
    tmp_path: Path,
) -> None:
    """A colleague's object of two samples was one sample, and a sample that it lacks had "no T cells"."""
    names = {"orig.ident": ["A"] * 40 + ["B"] * 40, "sample": ["U1"] * 80}
    for column, sheet, words in (
        ("orig.ident", SHEET, "obs['orig.ident'] names 2 samples or donors (A, B)"),
        ("sample", f"{SHEET}U2,P1,blood\n", "has no cell of U2"),
    ):
        cells = _changed(tmp_path / "a.h5ad", **{column: names[column]})
        done = _call(tmp_path, cells, sheet)
        assert done.exit_code == 0, done.output
        told = " ".join(done.output.split())
        assert words in told


def _changed(path: Path, **columns: object) -> Path:
    cells = ad.read_h5ad(_annotated(path))
    for name, values in columns.items():
        cells.obs[name] = values
    cells.write_h5ad(path)
    return path


SHEET = "sample,patient,compartment\nU1,P1,urine\n"


@pytest.mark.parametrize(
    "words",
    [["False"] * 80, ["singlet"] * 79 + ["doublet"], [0] * 79 + [1], [0.0] * 80],
    ids=["words", "DoubletFinder", "numbers", "floats"],
)
def test_doublets_of_other_programs_are_understood(tmp_path: Path, words: list[object]) -> None:
    """A table that went through R or a CSV says "False", which every cell was taken for a doublet by."""
    done = _call(tmp_path, _changed(tmp_path / "a.h5ad", is_doublet=words), SHEET)
    assert done.exit_code == 0, done.output
    detection = read_table(tmp_path / "out" / "detection.tsv", DETECTION)
    assert detection["n_car_positive"].tolist() == [6]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"is_doublet": ["maybe"] * 80}, "is_doublet of a cell is 'maybe'"),
        ({"lineage": ["T cell"] * 60 + ["B cell"] * 20}, "60 cells are 'T cell'"),
        ({"lineage": ["CD8+ T"] * 60 + ["B"] * 20}, "60 cells are 'CD8"),
        ({"total_umis": [1.5] * 80}, "total_umis is not the number of molecules"),
    ],
    ids=["doublets", "T cells", "CD8 T", "logarithms"],
)
def test_columns_that_mean_something_else_are_refused(
    tmp_path: Path, columns: dict[str, object], words: str
) -> None:
    """obs of another analysis: its labels are others, and its depth is a logarithm."""
    done = _call(tmp_path, _changed(tmp_path / "a.h5ad", **columns), SHEET)
    assert isinstance(done.exception, CarseqError), done.output
    assert words in str(done.exception)


@pytest.mark.parametrize(
    ("sheet", "words"),
    [
        ("ambient_umis,ambient_car\nU1,P1,urine,inf,1\n", "ambient_umis of U1"),
        ("ambient_umis,ambient_car\nU1,P1,urine,-5,1\n", "is -5"),
        ("ambient_umis,ambient_car\nU1,P1,urine,5,500\n", "more ambient_car than ambient_umis"),
        ("car_unseen\nU1,P1,urine,40\n", "car_unseen of U1"),
        ("dose\nU1,P1,urine,1\nU1,P1,urine,1\n", "several rows"),
    ],
    ids=["infinite", "negative", "exchanged", "percent", "twice"],
)
def test_numbers_of_the_sheet_that_cannot_be_are_refused(
    tmp_path: Path, sheet: str, words: str
) -> None:
    done = _call(tmp_path, _annotated(tmp_path / "a.h5ad"), f"sample,patient,compartment,{sheet}")
    assert isinstance(done.exception, CarseqError), done.output
    assert words in str(done.exception)


@pytest.mark.parametrize("kind", ["missing", "folder", "text", "cut off"])
@pytest.mark.parametrize("command", ["call", "annotate"])
def test_what_is_no_h5ad_is_told(tmp_path: Path, command: str, kind: str) -> None:
    path = tmp_path / "a.h5ad"
    if kind == "folder":
        path.mkdir()
    elif kind == "text":
        path.write_text("barcode,cell_type\n")
    elif kind == "cut off":
        path.write_bytes(_annotated(path).read_bytes()[:3000])
    if command == "call":
        done = _call(tmp_path, path, SHEET)
    else:
        done = CliRunner().invoke(app, ["annotate", str(path), "--out", str(tmp_path / "o.h5ad")])
    assert isinstance(done.exception, CarseqError), done.output
    assert str(path) in str(done.exception)
    assert "run the workflow" not in str(done.exception)


def _molecules(path: Path, sample: str, barcodes: list[str]) -> Path:
    rows = [
        {
            "sample": sample,
            "barcode": b,
            "umi": f"{i:012d}",
            "n_reads": 3,
            "evidence": "unique",
            "p_car": 1.0,
        }
        for i, b in enumerate(barcodes)
    ]
    table = pd.DataFrame(rows).reindex(columns=list(MOLECULES.columns))
    fill = {n: "" if c.dtype == "str" else 0 for n, c in MOLECULES.columns.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(table.fillna(fill), path, MOLECULES)
    return path


@pytest.mark.parametrize(
    ("sample", "barcode", "words"),
    [
        ("sample", "{:016d}-1", "molecules of sample sample"),
        ("U1", "ACGTACGTACGTACGTACGTA{:016d}", "no barcode"),
    ],
    ids=["of another sample", "of other barcodes"],
)
def test_molecules_that_belong_to_no_cell_are_refused(
    tmp_path: Path, sample: str, barcode: str, words: str
) -> None:
    """`carseq molecules` without `--sample`: its table was passed over, and the matrix's counts were taken."""
    cells = _annotated(tmp_path / "a.h5ad")
    found = _molecules(tmp_path / "m.parquet", sample, [barcode.format(i) for i in range(30)])
    (tmp_path / "sheet.csv").write_text(SHEET)
    given = [
        "call",
        str(cells),
        "--samples",
        str(tmp_path / "sheet.csv"),
        "--molecules",
        str(found),
    ]
    done = CliRunner().invoke(app, [*given, "--out", str(tmp_path / "out" / "c.h5ad")])
    assert isinstance(done.exception, CarseqError), done.output
    assert words in str(done.exception)


def test_cells_that_stand_twice_are_refused(tmp_path: Path) -> None:
    """Two objects that share cells were joined: each cell counted twice, and the limit fell by half."""
    once = ad.read_h5ad(_annotated(tmp_path / "a.h5ad"))
    ad.concat([once, once]).write_h5ad(tmp_path / "twice.h5ad")
    done = _call(tmp_path, tmp_path / "twice.h5ad", SHEET)
    assert isinstance(done.exception, CarseqError), done.output
    assert "twice" in str(done.exception)


def _localize(tmp_path: Path, cells: Path, detection: Path) -> Result:
    given = ["localize", str(cells), "--detection", str(detection), "--out", str(tmp_path / "loc")]
    return CliRunner().invoke(app, given)


def test_localize_refuses_what_does_not_belong_to_its_cells(tmp_path: Path) -> None:
    """A detection.tsv of another study gave tables without a word; cells without calls a traceback."""
    cells = _annotated(tmp_path / "a.h5ad")
    assert _call(tmp_path, cells, SHEET).exit_code == 0
    done = _localize(tmp_path, tmp_path / "out" / "cells.h5ad", tmp_path / "out" / "detection.tsv")
    assert isinstance(done.exception, CarseqError)
    assert "lack cell_type, t_state" in str(done.exception)
    cells = _changed(cells, cell_type=["T cell"] * 60 + ["B cell"] * 20, t_state="")
    assert _call(tmp_path, cells, SHEET).exit_code == 0
    called, path = tmp_path / "out" / "cells.h5ad", tmp_path / "out" / "detection.tsv"
    done = _localize(tmp_path, cells, path)
    assert isinstance(done.exception, CarseqError)
    assert "carseq call" in done.exception.remedy
    assert _localize(tmp_path, called, path).exit_code == 0
    table = read_table(path, DETECTION)
    for changed, words in (
        (table.assign(sample="other"), "cells of sample U1"),
        (pd.concat([table, table]), "several rows"),
    ):
        write_table(changed, tmp_path / "d.tsv", DETECTION)
        done = _localize(tmp_path, called, tmp_path / "d.tsv")
        assert isinstance(done.exception, CarseqError), words
        assert words in str(done.exception)


def test_clonotypes_of_two_patients_are_two_after_call(tmp_path: Path) -> None:
    """Cells with receptors and no patient: `carseq localize` ended in a KeyError, and two patients' clones were one."""
    cells = _changed(
        tmp_path / "a.h5ad",
        sample=["U1", "U2"] * 40,
        cell_type=["T cell"] * 60 + ["B cell"] * 20,
        t_state="",
        clonotype=["clonotype1"] * 60 + [""] * 20,
    )
    assert _call(tmp_path, cells, f"{SHEET}U2,P2,urine\n").exit_code == 0
    called = tmp_path / "out" / "cells.h5ad"
    assert _localize(tmp_path, called, tmp_path / "out" / "detection.tsv").exit_code == 0
    table = read_table(tmp_path / "loc" / "clonotypes.tsv", CLONOTYPES)
    assert table[["patient", "n_cells"]].values.tolist() == [["P1", 30], ["P2", 30]]


def test_a_file_of_another_kind_is_not_called_damaged(tmp_path: Path) -> None:
    """Cell Ranger's h5, or a table, given where cells are wanted: "cut off or damaged" had users copy it again."""
    write_h5(tmp_path / "raw.h5", np.ones((3, 2), dtype=int), ["A", "B", "C"], ["G", "H"])
    (tmp_path / "t.tsv").write_text("a\tb\n")
    for name, words in (("raw.h5", "matrix of 10x"), ("t.tsv", "is not an h5ad")):
        done = _call(tmp_path, tmp_path / name, SHEET)
        assert isinstance(done.exception, CarseqError)
        assert words in str(done.exception)
        assert "damaged" not in str(done.exception)


def test_a_bam_given_as_reads_is_told(tmp_path: Path) -> None:
    path = tmp_path / "b.bam"
    write_bam(path, [("chr1", 1000)], [("chr1", 10, "ACGT" * 20, [])])
    done = CliRunner().invoke(app, ["quicklook", str(path), f"{path}.bai", "--construct", FILE])
    assert isinstance(done.exception, CarseqError), done.exception
    assert "is a BAM, not FASTQ" in str(done.exception)


@pytest.mark.parametrize("name", ["", "my CAR", "CAR/1", "CAR\t1", "C" * 101])
def test_a_name_that_no_reference_can_have_is_refused(tmp_path, name):
    """`carseq construct --name "my CAR" --out` wrote a FASTA and a GTF whose contigs STAR names differently."""
    done = CliRunner().invoke(
        app, ["construct", "axi-cel", "--name", name, "--out", str(tmp_path / "o")]
    )
    assert isinstance(done.exception, CarseqError)
    assert "cannot be the CAR's name" in str(done.exception)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (("annotate", "m.h5ad", "--out"), "folder"),
        (("call", "m.h5ad", "--samples", "s.tsv", "--name", "CAR", "--out"), "folder"),
        (("share", "results", "--to"), "folder"),
        (("localize", "m.h5ad", "--detection", "d.tsv", "--out"), "file"),
        (("quicklook", "r1", "r2", "--construct", FILE, "--out"), "file"),
        (("explain", "S:ACGT", "--to"), "file"),
        (("construct", "map", FILE, "--out"), "file"),
    ],
)
def test_a_folder_for_a_file_is_told_before_anything_is_read(tmp_path, words, place):
    """`carseq annotate M --out cells/` ended in a traceback after all cells were annotated."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    done = CliRunner().invoke(app, [*words, str(tmp_path / place)])
    assert done.exit_code == 2
    said = " ".join(done.output.replace("│", "").split())
    assert f"is a {'directory' if place == 'folder' else 'file'}" in said


def test_molecules_are_compared_with_what_the_workflow_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`carseq molecules` with an annotation without CD247, and EEF1A1's unspliced RNA: sure CAR molecules."""
    rng = random.Random(3)
    car = load_construct(data_path("constructs/tisa-cel.gb"), name="CAR")
    zeta, exon = relatives()["CD247"], "".join(rng.choices("ACGT", k=300))
    # EF1alpha's first exon and its intron, as the vector has them from EEF1A1, and two exons behind.
    intron = car.sequence[: car.transcripts[1].blocks[1][0]]
    chromosome = exon + intron + exon + "".join(rng.choices("ACGT", k=500)) + zeta + exon
    (tmp_path / "g.fa").write_text(f">chr1\n{chromosome}\n>CAR\n{car.sequence}\n")
    (tmp_path / "g.gtf").write_text(
        "".join(
            f'chr1\tx\texon\t{a + 1}\t{b}\t.\t+\t.\tgene_id "E"; transcript_id "T"; gene_name "E";\n'
            for a, b in ((300, 333), (300 + len(intron), 600 + len(intron)))
        )
    )
    shared = next(
        zeta[i : i + 90] for i in range(len(zeta) - 90) if zeta[i : i + 90] in car.sequence
    )
    places = [
        ("chr1", 800, chromosome[800:890]),
        (None, 0, shared),
        ("CAR", 9, car.sequence[-200:-110]),
    ]
    write_bam(
        tmp_path / "b.bam",
        [("chr1", len(chromosome)), ("CAR", len(car.sequence))],
        [
            (*place, (("CB", "ACGT" * 4), ("UB", f"ACGTACGTA{letter}")))
            for place, letter in zip(places, ("CT", "GA", "TC"), strict=True)
        ],
    )
    monkeypatch.setattr("carseq.library.strand.strand_of_bam", lambda bam, panel: "Forward")
    words = ["molecules", "b.bam", "--construct", "tisa-cel", "--fasta", "g.fa", "--gtf", "g.gtf"]
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, [*words, "--out", "m"], catch_exceptions=False)
    assert done.exit_code == 0
    table = read_table(tmp_path / "m/molecules.parquet", MOLECULES)
    assert sorted(table["evidence"]) == ["shared", "shared", "unique"]
    shown = run("tisa-cel", "--fasta", "g.fa", "--gtf", "g.gtf")
    assert "shared with CD247" in shown


def test_a_locale_of_other_letters_changes_no_file(tmp_path: Path) -> None:
    """Under ISO-8859-1 and the like a check mark, and each name with an accent, ended in a traceback."""
    folder = tmp_path / "Bl\u00e4tter"
    folder.mkdir()
    write_h5(
        folder / "M\u00fcller.h5", np.ones((3, 2), int), ["AAAA", "ACGT", "GGGG"], ["CD3D", "CAR"]
    )
    other = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for words in (("init", "study", "--matrices", folder, "--name", "CAR"), ("construct", "list")):
        command = [sys.executable, "-m", "carseq", *map(str, words)]
        done = subprocess.run(
            command, env=os.environ | other, cwd=tmp_path, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert b"\xe2" in done.stdout or words[0] == "init"
    assert "Bl\u00e4tter/M\u00fcller.h5" in (tmp_path / "study/samples.tsv").read_text(
        encoding="utf-8"
    )
