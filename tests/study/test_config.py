"""config, sheets: bad input is told with its cause and remedy, before anything runs."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from carseq.config_docs import pages
from carseq.errors import CarseqError
from carseq.study.config import CellsConfig, load_config, parse_config, read_config
from carseq.study.load import load_study
from carseq.study.sheets import (
    Sample,
    further_columns,
    nearly_alike,
    out_of_order,
    parse_row,
    read_sheet,
)

ROOT = Path(__file__).parents[2]
MINIMAL = {"construct": {"file": "car.fa"}, "reference": {"fasta": "g.fa", "gtf": "g.gtf"}}


def test_pages_made_from_the_models_are_fresh():
    for name, text in pages().items():
        assert (ROOT / "config" / name).read_text() == text, (
            f"config/{name} is stale: run make docs"
        )


def test_unknown_key_is_an_error_that_names_the_nearest():
    with pytest.raises(CarseqError, match=r"unknown key `calling.frd` \(did you mean `fdr`\?\)"):
        parse_config({**MINIMAL, "calling": {"frd": 0.1}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cells": {"seed": 2**32}}, "cells.seed"),
        ({"cells": {"resolution": float("inf")}}, "cells.resolution"),
        ({"cells": {"min_genes": 10**30}}, "cells.min_genes"),
        ({"reference": {"sjdb_overhang": 99999999999}}, "reference.sjdb_overhang"),
        ({"construct": {"name": "A" * 3000}}, "construct.name"),
        ({"molecules": {"barcode_tag": "; "}}, "molecules.barcode_tag"),
        ({"cells": {"markers": ""}}, "cells.markers"),
        *(
            ({"results": folder}, "the folder of results")
            for folder in (
                "",
                " ",
                "/",
                "/etc/passwd",
                "/etc/passwd/x",
                "res{x}",
                "a\0b",
                "/proc/x",
                ".",
                "..",
                "a/..",
                "~/x",
                "$SCRATCH/x",
                "C:\\data\\x",
                "a\nb",
                "<b>",
            )
        ),
        ({"calling": {"fdr": 2}}, "calling.fdr"),
        ({"cells": {"integration": "seurat"}}, "cells.integration"),
    ],
)
def test_bad_values_are_named(change, words):
    with pytest.raises(CarseqError, match=words):
        parse_config({**MINIMAL, **change})


def test_paths_are_relative_to_the_file(tmp_path):
    (tmp_path / "study").mkdir()
    file = tmp_path / "study" / "c.yaml"
    file.write_text("construct: {file: car.fa}\nreference: {fasta: g.fa, gtf: ../g.gtf}\n")
    config = load_config(file)
    assert Path(config.reference.fasta) == tmp_path / "study" / "g.fa"
    assert Path(config.reference.gtf).resolve() == tmp_path / "g.gtf"
    assert config.results == "results"


def test_a_construct_that_comes_with_carseq_is_found_by_name(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(
        "construct: {file: hbi0101_surrogate.gb}\nreference: {fasta: g.fa, gtf: g.gtf}\n"
    )
    assert Path(load_config(file).construct.file).exists()


class Sheets:
    """A folder with a valid study, to be spoilt."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("g.fa", "g.gtf", "car.fa", "a_R1.fq", "a_R2.fq"):
            (folder / name).write_text("x")
        self.samples = "sample\tpatient\tcompartment\tage\nA\tP1\turine\t41\n"
        self.units = "sample\tunit\tr1\tr2\nA\t1\ta_R1.fq\ta_R2.fq\n"
        self.config = (
            "units: units.tsv\nconstruct: {file: car.fa}\nreference: {fasta: g.fa, gtf: g.gtf}\n"
        )

    def load(self):
        (self.folder / "samples.tsv").write_text(self.samples)
        (self.folder / "units.tsv").write_text(self.units)
        (self.folder / "config.yaml").write_text(self.config)
        return load_study(load_config(self.folder / "config.yaml"))


@pytest.fixture
def sheets(tmp_path):
    return Sheets(tmp_path)


def test_valid_sheets_give_a_study_with_further_columns(sheets):
    study = sheets.load()
    assert study.samples["A"].carried()["age"] == "41"
    assert study.pairs("A") == [(str(sheets.folder / "a_R1.fq"), str(sheets.folder / "a_R2.fq"))]


def pool(sheets, *, libraries=("", "")):
    """Two samples cut out of one library: one BAM and raw matrix, cells of their own."""
    sheets.samples = "sample\tpatient\tcompartment\tbam\traw_matrix\tmatrix\ttag\tlibrary\n"
    for i, library in enumerate(libraries):
        sheets.samples += f"S{i}\tP{i}\turine\tb.bam\traw.h5\tcells{i}.h5\tHTO_{i}\t{library}\n"
    sheets.config = sheets.config.replace("units: units.tsv\n", "")
    for name in ("b.bam", "raw.h5", "cells0.h5", "cells1.h5"):
        (sheets.folder / name).write_text("x")
    return sheets


def test_samples_that_share_a_bam_are_of_one_library(sheets):
    """`library` and `tag` are carried to the cells; a shared BAM is one library, whether the sheet says so or not."""
    carried = [s.carried() for s in pool(sheets).load().samples.values()]
    assert [(c["library"], c["tag"]) for c in carried] == [("S0", "HTO_0"), ("S0", "HTO_1")]
    named = pool(sheets, libraries=("", "L7")).load().samples.values()
    assert [s.library for s in named] == ["L7", "L7"]
    with pytest.raises(CarseqError, match="several libraries of one BAM: L7, L8"):
        pool(sheets, libraries=("L7", "L8")).load()


def test_samples_that_share_a_raw_matrix_are_of_one_library(sheets):
    """A pool given as matrices: two patients were judged as if the cells of the one broke in a tube of their own."""
    shared = pool(sheets)
    shared.samples = shared.samples.replace("b.bam", "")
    assert [s.library for s in shared.load().samples.values()] == ["S0", "S0"]
    # `cellranger aggr` writes one raw matrix of several libraries.
    named = pool(sheets, libraries=("L7", "L8"))
    named.samples = named.samples.replace("b.bam", "")
    assert [s.library for s in named.load().samples.values()] == ["L7", "L8"]


@pytest.mark.parametrize("key", ["markers", "atlas", "celltypist"])
def test_files_that_the_cells_section_names_are_looked_for_and_recorded(sheets, key):
    """A missing one is told before anything runs; one that is there is among the study's inputs."""
    study = sheets.load()
    path = sheets.folder / "given.bin"
    setattr(study.config.cells, key, str(path))
    study.config.cells.celltypist_sha256 = "0" * 64
    with pytest.raises(CarseqError, match=f"cells.{key}: .*given.bin"):
        load_study(study.config)
    path.write_text("something")
    assert str(path) in [file for _, file in load_study(study.config).inputs()]


def test_odd_but_harmless_text_is_kept(sheets):
    """Negative numbers, other scripts, quotes and markup in free text stay what they are."""
    row = {
        "patient": "Müller & <b>O'Neil</b>",
        "timepoint": "-7",
        "Größe (cm)": "+1.5e2",
        "note": '患者 "1"',
    }
    sheets.samples = "\t".join(["sample", "compartment", *row]) + "\n"
    sheets.samples += "\t".join(["A", "urine", *(v.replace('"', "'") for v in row.values())]) + "\n"
    carried = sheets.load().samples["A"].carried()
    assert {key: carried[key] for key in row} == {k: v.replace('"', "'") for k, v in row.items()}


@pytest.mark.parametrize("timepoint", ["-3d", "+3d", "\N{MINUS SIGN}3 days", "+2 weeks"])
def test_days_with_a_sign_are_no_formula(sheets, timepoint):
    """`-3d` was refused as a formula; a spreadsheet can do nothing with it."""
    sheets.samples = f"sample\tpatient\tcompartment\ttimepoint\nA\tP\turine\t{timepoint}\n"
    assert sheets.load().samples["A"].timepoint == timepoint


@pytest.mark.parametrize(
    ("sheet", "text", "words"),
    [
        ("samples", "sample\tpatient\nA\tP1\n", "lacks the column compartment"),
        ("samples", "sample\tpatient\tcompartment\nA\tP1\turine\nA\tP1\tblood\n", "occurs twice"),
        (
            "samples",
            "sample\tpatient\tcompartment\nA\tP1\turine\na\tP1\tblood\n",
            "differ only in case",
        ),
        ("samples", "sample\tpatient\tcompartment\nA\tP1\tspit\n", "compartment"),
        ("samples", "sample\tpatient\tcompartment\nA b\tP1\turine\n", "sample"),
        ("samples", "sample\tpatient\tcompartment\tchemistry\nA\tP1\turine\tv9\n", "chemistry"),
        ("samples", "sample\tpatient\tcompartment\n", "holds no sample"),
        ("samples", "sample\tpatient\tcompartment\nA\tP1\turine\nB\tP1\turine\n", "B has no reads"),
        ("units", "sample\tunit\tr1\tr2\nA\t1\ta_R1.fq\tgone.fq\n", "cannot be read"),
        ("units", "sample\tunit\tr1\tr2\nB\t1\ta_R1.fq\ta_R2.fq\n", "not in"),
        ("units", "sample\tunit\tr1\tr2\nA\t1\ta_R1.fq\ta_R1.fq\n", "used twice"),
        *(
            ("samples", f"sample\tpatient\tcompartment\n{name}\tP1\turine\n", "sample")
            for name in (
                "../A",
                "A/B",
                "-A",
                ".A",
                "=A",
                "A'B",
                'A"B',
                "<script>",
                "A&B",
                "A;rm",
                "$A",
                "Ä",
                "A" * 101,
            )
        ),
        (
            "samples",
            "sample\tpatient\tcompartment\nA\t=1+1\turine\n",
            "patient '=1.1' would be taken for a formula",
        ),
        (
            "samples",
            "sample\tpatient\tcompartment\ttimepoint\nA\tP\turine\t-D7\n",
            "timepoint '-D7' would be",
        ),
        (
            "samples",
            "sample\tpatient\tcompartment\tnote\nA\tP\turine\t@SUM(A1)\n",
            "note '@SUM.A1.' would be",
        ),
        ("samples", "sample\tpatient\tcompartment\nA\tP\x07\turine\n", "cannot be seen"),
        ("samples", "sample\tpatient\tcompartment\nA\tP\u202e1\turine\n", "cannot be seen"),
        (
            "samples",
            "sample\tpatient\tcompartment\ta/b\nA\tP\turine\t1\n",
            "not a name for a column",
        ),
        (
            "samples",
            "sample\tpatient\tcompartment\t<b>\nA\tP\turine\t1\n",
            "not a name for a column",
        ),
        (
            "samples",
            "sample\tpatient\tcompartment\t=x\nA\tP\turine\t1\n",
            "not a name for a column",
        ),
        ("samples", "sample\tpatient\tcompartment\t\nA\tP\turine\t1\n", "not a name for a column"),
        (
            "samples",
            "sample\tpatient\tcompartment\tage\tage\nA\tP\turine\t1\t2\n",
            "two columns 'age'",
        ),
        (
            "samples",
            "sample\tpatient\tcompartment\tlineage\nA\tP\turine\tT\n",
            "has a column lineage",
        ),
        (
            "samples",
            "sample\tpatient\tcompartment\tcar_call\nA\tP\turine\tno\n",
            "has a column car_call",
        ),
    ],
)
def test_a_bad_sheet_is_told(sheets, sheet, text, words):
    setattr(sheets, sheet, text)
    with pytest.raises(CarseqError, match=words):
        sheets.load()


@pytest.mark.parametrize(
    "word", ["NA", "N/A", "nan", "None", "null", "#N/A", "<NA>", "NaT", "n.a.", "?", ""]
)
def test_words_for_a_missing_value_are_no_value(word):
    row = {"sample": "A", "patient": "P", "compartment": "urine"}
    sample = Sample.model_validate(
        {**row, "sequencing_run": word, "gating": word, "tcr": word, "weight": word}
    )
    assert (sample.sequencing_run, sample.tcr) == (None, None)
    assert sample.gating == Sample.model_validate(row).gating
    assert sample.further()["weight"] == ""
    with pytest.raises(ValueError, match="patient"):
        Sample.model_validate({**row, "patient": word})


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        (["3,1", "1,2", ""], ["3.1", "1.2", ""]),
        (["3,1", "1", "NA"], ["3.1", "1", ""]),
        (["3.1", "1.2", "NA"], ["3.1", "1.2", ""]),
        (["1,234", "2,345", "3,456"], ["1,234", "2,345", "3,456"]),
        (["a,1", "b,2", "c,3"], ["a,1", "b,2", "c,3"]),
    ],
)
@pytest.mark.parametrize("mark", ["\t", ";"])
def test_numbers_of_other_countries_are_read(tmp_path, cells, read, mark):
    rows = [mark.join(["sample", "patient", "compartment", "proteinuria"])]
    rows += [mark.join([s, "P", "urine", v]) for s, v in zip("ABC", cells, strict=True)]
    (tmp_path / "s.tsv").write_text("\n".join(rows) + "\n")
    found = further_columns(tmp_path / "s.tsv")
    assert [found[s]["proteinuria"] for s in "ABC"] == read


def test_every_fault_of_the_sheets_is_told_with_its_line(sheets):
    sheets.samples = (
        "# made by hand\n\nsample\tpatient\tcompartment\nA\tP1\tspit\nB\t\turine\nC\tP1\turine\n"
    )
    # The unit of a sample whose row is not valid is not a second fault.
    sheets.units = "sample\tunit\tr1\tr2\nA\t1\ta_R1.fq\ta_R2.fq\nC\t1\tb_R1.fq\tgone.fq\n"
    with pytest.raises(CarseqError) as told:
        sheets.load()
    for words in (
        "line 4",
        "line 5",
        "must be urine, blood, product or other",
        "patient",
        "gone.fq",
    ):
        assert words in str(told.value)
    assert "which is not in" not in str(told.value)


def test_a_section_that_is_none_is_told_in_plain_words(tmp_path):
    (tmp_path / "c.yaml").write_text("samples: s.tsv\ncalling: yes\n")
    _, faults = read_config(tmp_path / "c.yaml")
    assert any("`calling`: must hold keys of its own" in str(fault) for fault in faults)


@pytest.mark.parametrize(
    "text", ["cells: {seed: 1}\ncells: {seed: 2}\n", "cells: {seed: 1, seed: 2}\n"]
)
def test_a_key_that_stands_twice_is_an_error(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(CarseqError, match="occurs twice"):
        load_config(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("text", "told"), [("010", "8"), ("1:30", "90"), ("0b11", "3"), ("1:30.5", "90.5")]
)
def test_numbers_that_yaml_reads_otherwise_are_told(tmp_path, text, told):
    """YAML takes 010 for octal and 1:30 for minutes and seconds: a seed of 8, at least 90 genes."""
    path = tmp_path / "c.yaml"
    path.write_text(f"construct: {{file: a.gb}}\ncells:\n  min_genes: {text}\n")
    faults = read_config(path)[1]
    assert any(text in f.message and told in f.cause for f in faults)
    path.write_text(
        "construct: {file: a.gb}\ncells:\n  min_genes: 0\n  seed: 1_000\n  max_pct_mito: 1e1\n"
    )
    assert not [f for f in read_config(path)[1] if "YAML" in f.cause]


def test_old_names_of_the_cells_section_are_read():
    """`cells.reference` and `doublets: solo` mean what they meant before 0.2; old and new name together are refused."""
    old = CellsConfig(reference="a.h5ad", reference_labels="kind", doublets="solo")
    assert (old.atlas, old.atlas_labels, old.doublets) == ("a.h5ad", "kind", "scvi_solo")
    with pytest.raises(ValueError, match="give it once"):
        CellsConfig(reference="a.h5ad", atlas="b.h5ad")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Sample_ID\tdonor\ttissue\nA\tP1\turine\n", "'Sample_ID' is probably `sample`"),
        (
            "sample\tpatient\tcompartment\nP 01\tP1\turine\n",
            "letters, digits and . _ - without spaces",
        ),
    ],
)
def test_a_slip_of_a_sheet_is_told_in_plain_words(tmp_path: Path, text: str, told: str) -> None:
    """Columns under other names are named with what they probably are, and no pattern is shown to anyone."""
    (tmp_path / "samples.tsv").write_text(text)
    with pytest.raises(CarseqError) as raised:
        further_columns(tmp_path / "samples.tsv")
    assert told in str(raised.value)


def test_known_words_of_a_sheet_may_be_in_capitals(tmp_path: Path) -> None:
    (tmp_path / "samples.tsv").write_text(
        "sample\tpatient\tcompartment\trole\nA\tP1\tUrine\tNegative control\n"
    )
    [(_, row)] = read_sheet(str(tmp_path / "samples.tsv"), {"sample"})
    sample = parse_row(Sample, row, "samples.tsv", 2)
    assert (sample.compartment, sample.role) == ("urine", "negative_control")


SHEET = "sample\tpatient\tcompartment\tdose\nU1\t007\turine\t3.1\nB1\t007\tblood\t2.5\n"


def _numbered(first: int, header: str) -> str:
    lines = SHEET.splitlines()
    rows = [f"{i}\t{line}" for i, line in enumerate(lines[1:], first)]
    return "\n".join([header + lines[0], *rows]) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        SHEET.replace("\n", "\t\t\n"),
        SHEET.replace("\t", ",").replace("\n", ",,\n") + ",,,,,\n",
        "sep=;\n" + SHEET.replace("\t", ";"),
        "#" + SHEET,
        "# " + SHEET,
        "# made by hand\n" + SHEET,
        _numbered(0, "\t"),
        _numbered(1, '""\t'),
        _numbered(1, ""),
        SHEET.replace("\t", "|"),
        SHEET.replace("\n", "\r"),
    ],
    ids=[
        "empty columns",
        "empty columns and rows of a CSV",
        "sep=",
        "#header",
        "# header",
        "comment",
        "pandas' index",
        "R's row names",
        "R's row names without a header",
        "bars",
        "old Mac",
    ],
)
def test_what_programs_add_to_a_table_is_left_out(tmp_path: Path, text: str) -> None:
    """A sheet that Excel, R or pandas has saved holds more than its cells."""
    (tmp_path / "samples.tsv").write_text(text)
    found = read_sheet(str(tmp_path / "samples.tsv"), {"sample", "patient", "compartment"})
    assert [row for _, row in found] == [
        {"sample": "U1", "patient": "007", "compartment": "urine", "dose": "3.1"},
        {"sample": "B1", "patient": "007", "compartment": "blood", "dose": "2.5"},
    ]


@pytest.mark.parametrize(
    ("name", "first"),
    [("", ("3", "7")), ("Unnamed: 0", ("0", "1")), ("Unnamed: 0", ("3", "7")), ("X", ("1", "2")), ("...1", ("1", "2")),
     (None, ("U1", "B1")), (None, ("3", "7"))],
)  # fmt: skip
def test_row_numbers_and_row_names_are_no_column(
    tmp_path: Path, name: str | None, first: tuple[str, str]
) -> None:
    """A table that pandas or R has read and written again: `Unnamed: 0` was put beside the CAR as a number.

    Rows that were left out leave gaps between the numbers; R writes the samples as names without a header.
    """
    lines = SHEET.splitlines()
    head = lines[0] if name is None else f"{name}\t{lines[0]}"
    rows = [f"{one}\t{line}" for one, line in zip(first, lines[1:], strict=True)]
    (tmp_path / "samples.tsv").write_text("\n".join([head, *rows]) + "\n")
    found = read_sheet(str(tmp_path / "samples.tsv"), {"sample", "patient", "compartment"})
    assert [list(row) for _, row in found] == [lines[0].split("\t")] * 2
    assert [row["sample"] for _, row in found] == ["U1", "B1"]


def test_a_column_of_ones_own_is_kept(tmp_path: Path) -> None:
    """X may be what somebody measured."""
    lines = SHEET.splitlines()
    rows = [f"{one}\t{line}" for one, line in zip(("5", "2"), lines[1:], strict=True)]
    (tmp_path / "samples.tsv").write_text("\n".join([f"X\t{lines[0]}", *rows]) + "\n")
    found = read_sheet(str(tmp_path / "samples.tsv"), {"sample", "patient", "compartment"})
    assert [row["X"] for _, row in found] == ["5", "2"]


def test_blanks_may_stand_before_quotation_marks(tmp_path: Path) -> None:
    """A CSV written by hand: `"a", "b"`."""
    text = re.sub(r"[^\t\n]+", lambda found: f'"{found[0]}"', SHEET).replace("\t", " , ")
    (tmp_path / "samples.tsv").write_text(text)
    found = read_sheet(str(tmp_path / "samples.tsv"), {"sample", "patient", "compartment"})
    assert [row["sample"] for _, row in found] == ["U1", "B1"]
    assert [row["dose"] for _, row in found] == ["3.1", "2.5"]


def test_a_gzipped_sheet_is_told(tmp_path: Path) -> None:
    """It said to save it in Excel as UTF-8."""
    (tmp_path / "samples.tsv").write_bytes(gzip.compress(SHEET.encode()))
    with pytest.raises(CarseqError, match="cannot read") as error:
        read_sheet(str(tmp_path / "samples.tsv"), {"sample", "patient", "compartment"})
    assert "gzip" in error.value.cause


@pytest.mark.parametrize("mark", ["\t", ","])
def test_a_cell_may_hold_a_line_break(tmp_path: Path, mark: str) -> None:
    """Alt+Enter in a cell of Excel, which then writes the cell in quotation marks over two lines."""
    text = (
        'sample,patient,compartment,note\nU1,"P\r\n1",urine,"late\n\n# thawed"\nB1,P 1,blood,ok\n'
    )
    (tmp_path / "samples.tsv").write_text(text.replace(",", mark))
    found = read_sheet(str(tmp_path / "samples.tsv"), {"sample", "patient", "compartment"})
    assert found == [
        (2, {"sample": "U1", "patient": "P 1", "compartment": "urine", "note": "late # thawed"}),
        (6, {"sample": "B1", "patient": "P 1", "compartment": "blood", "note": "ok"}),
    ]


def test_a_quotation_mark_that_is_left_open_takes_no_row(tmp_path: Path) -> None:
    text = 'sample\tpatient\tcompartment\tnote\nU1\tP\turine\t"late\nB1\tP\tblood\t"5 ml"\n'
    (tmp_path / "samples.tsv").write_text(text)
    found = read_sheet(str(tmp_path / "samples.tsv"), {"sample", "patient", "compartment"})
    assert [(row["sample"], row["note"]) for _, row in found] == [("U1", "late"), ("B1", "5 ml")]


def test_a_semicolon_separates_though_a_name_has_commas(tmp_path: Path) -> None:
    text = SHEET.replace("\t", ";").replace("dose", "dose, mg, in all, of, it, here")
    (tmp_path / "samples.tsv").write_text(text)
    found = read_sheet(str(tmp_path / "samples.tsv"), {"sample", "patient", "compartment"})
    assert [row["sample"] for _, row in found] == ["U1", "B1"]


@pytest.mark.parametrize(
    ("key", "first", "second", "words"),
    [
        ("patient", "007", "7", "zeros"),
        ("patient", "7", "7.0", "zeros"),
        ("patient", "P01", "P1", "zeros"),
        ("patient", "SLE-003", "sle3", "zeros"),
        ("patient", "P10", "P100", ""),
        ("timepoint", "D-7", "D\N{EN DASH}7", "case or marks"),
        ("patient", "P1", "p_1", "case or marks"),
        ("timepoint", "D-7", "D7", ""),
        ("timepoint", "D28", "day 28", "the same time"),
        ("timepoint", "14 d", "W2", "the same time"),
        ("timepoint", "D28", "28", ""),
        ("timepoint", "pre", "screening", ""),
        ("patient", "10", "100", ""),
    ],
)
def test_names_that_a_spreadsheet_has_changed_are_told(
    key: str, first: str, second: str, words: str
) -> None:
    """Excel takes patient 007 for 7 in one of two files that were joined; the samples would not be compared."""
    rows = [
        Sample(**{"sample": f"S{i}", "patient": "P", "compartment": "urine", key: name})
        for i, name in enumerate((first, second))
    ]
    told = nearly_alike(rows)
    assert len(told) == bool(words)
    assert not words or f"differ only in {words}" in told[0] or words in told[0]


@pytest.mark.parametrize(
    ("key", "name", "words"),
    [
        ("patient", "1-Mar", "date of another name"),
        ("patient", "Mrz-01", "date of another name"),
        ("timepoint", "14-Feb", "date of another name"),
        ("patient", "1.23457E+11", "rounded number"),
        ("patient", "MAR-1", ""),
        ("patient", "May", ""),
        ("timepoint", "2026-03-14", ""),
    ],
)
def test_names_that_a_spreadsheet_took_for_dates_or_long_numbers_are_told(
    key: str, name: str, words: str
) -> None:
    """Patients 3-1 and 3-2 became dates; of two patients of twelve digits one was left, 1.23457E+11."""
    told = nearly_alike(
        [Sample(**{"sample": "S", "patient": "P", "compartment": "urine", key: name})]
    )
    assert len(told) == bool(words)
    assert not words or words in told[0]


@pytest.mark.parametrize(
    ("times", "told"),
    [
        (["D100", "D14", "D7"], "D100 before D14"),
        (["day 28", "week 2"], "day 28 before week 2"),
        (["M1", "D7"], "M1 before D7"),
        (["D7", "baseline"], "D7 before baseline"),
        (["D-7", "D0", "D28", "week 8"], ""),
        (["2", "10"], ""),
        (["100d", "28d", "7d"], "100d before 28d"),
        (["6 months", "W2"], "6 months before W2"),
        (["D+28", "D+14"], "D+28 before D+14"),
        (["14.04.2026", "2026-03-14"], "14.04.2026 before 2026-03-14"),
        (["7 days before infusion", "D0"], ""),
        (["D28", "", "relapse", "D7"], ""),
        (["D28", "D28"], ""),
    ],
)
def test_time_points_out_of_order_are_told(times: list[str], told: str) -> None:
    """A sheet sorted by its names: D100 stands above D14, and "over time" went backwards."""
    rows = [
        Sample(sample=f"S{i}", patient="P", compartment="urine", timepoint=time)
        for i, time in enumerate(times)
    ]
    found = out_of_order(rows)
    assert len(found) == bool(told)
    assert not told or told in found[0]
    others = [row.model_copy(update={"patient": f"P{i}"}) for i, row in enumerate(rows)]
    assert not out_of_order(others)


@pytest.mark.parametrize(
    ("name", "begin", "kind"),
    [
        ("samples.tsv", b"sample\tpatient\tcompartment\nA\tP1\turine\n", "a sheet"),
        ("units.csv", b'"sample","unit","r1","r2"\n', "a sheet"),
        ("P01.h5ad", b"\x89HDF\r\n\x1a\n\x00\x02", "a matrix"),
        ("car.gb", b"LOCUS       pMYCAR 8000 bp\n", "a sequence"),
    ],
)
def test_another_file_in_place_of_the_configuration_is_told(name, begin, kind, tmp_path):
    """`carseq run study/samples.tsv` was told to put blanks in place of its tabs, P01.h5ad to be saved as UTF-8."""
    (tmp_path / name).write_bytes(begin)
    (tmp_path / "config.yaml").write_text("samples: samples.tsv\n")
    _, faults = read_config(tmp_path / name)
    (told,) = faults
    assert f"is {kind}" in told.message
    assert told.remedy == f"did you mean {tmp_path / 'config.yaml'}?"
