"""The marker table that comes with carseq."""

from __future__ import annotations

from carseq import cells
from carseq.cells.markers import CROSS_TALK
from carseq.cells.subtypes import (
    PARENT,
    read_t_type_ids,
)


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
