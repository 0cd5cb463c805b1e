"""The marker table that comes with carseq."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from carseq import cells
from carseq.cells.markers import CROSS_TALK, read_markers
from carseq.cells.subtypes import (
    PARENT,
    read_t_type_ids,
)
from carseq.errors import CarseqError


def test_marker_table_is_sound() -> None:
    """No cross-talk gene, one CL id a type, all lineages, five markers a type, a source for every row."""
    markers = cells.read_markers()
    assert not set(markers["gene"]) & CROSS_TALK
    assert markers["cl_id"].str.fullmatch(r"CL:\d{7}").all()
    assert (markers.groupby("cell_type")["cl_id"].nunique() == 1).all()
    assert (markers.groupby("cell_type")["lineage"].nunique() == 1).all()
    assert not markers.duplicated(["cell_type", "gene"]).any()
    assert (markers["source"] != "").all()
    marking = markers[markers["weight"] > 0].groupby("cell_type")["gene"].nunique()
    assert set(marking.index) == set(markers["cell_type"])
    assert marking.min() >= 5, marking[marking < 5].to_dict()
    assert {
        "T",
        "NK",
        "B",
        "plasma",
        "myeloid",
        "kidney",
        "urogenital",
        "erythroid",
    } == set(markers["lineage"])
    signatures = cells.read_signatures()
    assert not set(signatures["gene"]) & CROSS_TALK
    assert signatures["state"].nunique() == 8


def test_every_t_cell_type_has_an_ontology_term_and_a_source() -> None:
    """Types and parents, one term each, those of the marker table where both name the type."""
    table = read_t_type_ids()
    assert set(table.index) == {*PARENT, *PARENT.values()}
    assert table.index.is_unique
    assert table["cl_id"].is_unique
    assert table["cl_id"].str.fullmatch(r"CL:\d{7}").all()
    assert table[["cl_name", "source"]].ne("").all(axis=None)
    markers = cells.read_markers()
    both = markers[markers["cell_type"].isin(table.index)]
    assert (both["cl_id"] == both["cell_type"].map(table["cl_id"])).all()


TABLE = "lineage\tcell_type\tgene\tweight\nT\tT cell\tCD3D\t1\nB\tB cell\tMS4A1\t1\n"


def test_blanks_and_rows_that_stand_twice_change_nothing(tmp_path: Path) -> None:
    """Cells pasted from a spreadsheet end with blanks, of which some do not break a line."""
    (tmp_path / "a.tsv").write_text(TABLE)
    pasted = TABLE.replace("CD3D", "CD3D\N{NO-BREAK SPACE}").replace("\nB\t", "\nB \t")
    (tmp_path / "b.tsv").write_text(pasted + "T\tT cell\tCD3D\t1\n")
    assert read_markers(tmp_path / "b.tsv").equals(read_markers(tmp_path / "a.tsv"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TABLE.replace("\nT\t", "\nT cells\t"), "has no lineage T, but 'T cells'"),
        (TABLE.replace("\nT\t", "\nCD8 T\t"), "has no lineage T, but 'CD8 T'"),
        (TABLE.replace("\t", ";"), "separated by ';'"),
    ],
)
def test_a_table_in_which_t_cells_would_be_missed_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(CarseqError) as error:
        read_markers(tmp_path / "a.tsv")
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("name", "genes", "means"),
    [
        ("Myeloid", ("LYZ",), "myeloid"),
        ("NK_cells", ("GNLY",), "NK"),
        ("B lymphocytes", ("MS4A1",), "B"),
        ("Mono", ("LYZ", "CD14", "S100A8", "FCN1"), "myeloid"),
        ("Monocytes", ("CD14",), "myeloid"),
        ("RBCs", ("HBD", "ALAS2"), "erythroid"),
        ("Tubular cells", ("LRP2",), "kidney"),
        ("CD8T", ("CD8A", "GZMK"), "T"),
        ("effectors", ("CD3E", "CD3G", "TRAC"), "T"),
        ("ILC", ("IL7R", "KLRB1", "RORC"), "ILC"),
        ("fibroblast", ("DCN", "COL1A1", "PDGFRB"), "fibroblast"),
        ("T/NK", ("CD3D", "CD3E", "KLRF1", "NCAM1"), "T/NK"),
    ],
)
def test_a_lineage_that_means_one_of_carseq_s_has_its_name(
    tmp_path: Path, name: str, genes: tuple[str, ...], means: str
) -> None:
    """All that knows lineages by name missed them: by `Myeloid` or `Mono` no cell was a monocyte, at 0.99."""
    rows = "".join(f"{name}\tmine\t{gene}\t1\n" for gene in genes)
    (tmp_path / "a.tsv").write_text(TABLE + rows)
    table = read_markers(tmp_path / "a.tsv").set_index("cell_type")["lineage"]
    assert set(table.loc[["mine"]]) == {means}
    assert set(table.loc[["T cell", "B cell"]]) == {"T", "B"}


def test_t_cells_in_a_lineage_of_others_are_refused(tmp_path: Path) -> None:
    """`immune` for all cells of blood: no sample would have any T cell."""
    (tmp_path / "a.tsv").write_text(TABLE.replace("\nT\t", "\nimmune\t").replace("\nB\t", "\nimmune\t"))  # fmt: skip
    with pytest.raises(CarseqError, match="no lineage T, but markers of T cells in 'immune'"):
        read_markers(tmp_path / "a.tsv")


@pytest.mark.parametrize("how", ["empty rows", "capitals", "padded", "gzip", "unseen letters"])
def test_a_marker_table_is_read_however_it_was_saved(tmp_path: Path, how: str) -> None:
    """Empty rows of a spreadsheet and `Cell type` were refused; an unseen blank made a gene that no matrix has."""
    rows = [["lineage", "cell_type", "gene"], ["T", "T cell", "CD3D"], ["B", "B cell", "MS4A1"]]
    made = [list(row) for row in rows]
    if how == "empty rows":
        made += [["", "", ""], ["", "", ""]]
    if how == "capitals":
        made[0] = ["Lineage", "Cell type", "Gene"]
    if how == "unseen letters":
        made[1][2] = "CD3D\u200b"
    mark = " \t " if how == "padded" else "\t"
    text, whole = ("".join(m.join(r) + "\n" for r in t) for t, m in ((made, mark), (rows, "\t")))
    path = tmp_path / "m.tsv"
    path.write_text(whole)
    expected = read_markers(path)
    path.write_bytes(gzip.compress(text.encode()) if how == "gzip" else text.encode())
    assert read_markers(path).equals(expected)


def test_several_genes_in_one_cell_of_a_marker_table_are_refused(tmp_path: Path) -> None:
    """`CD3D, CD3E` was one gene, which no matrix has: the type had no marker, without a word."""
    path = tmp_path / "m.tsv"
    path.write_text("lineage\tcell_type\tgene\nT\tT cell\tCD3D, CD3E\n")
    with pytest.raises(CarseqError, match="several genes in one cell: CD3D, CD3E"):
        read_markers(path)
