"""CAR molecules of cells: whence they are taken, and that none is lost."""

from __future__ import annotations

import pandas as pd
import pytest

from called_studies import study
from carseq.calling import (
    call_cells,
    cell_losses,
    count_car,
    drop_swapped,
)
from carseq.errors import CarseqError
from carseq.io.barcodes import match_barcodes
from carseq.schema.tables import LOSSES, MOLECULES


def test_molecules_take_the_place_of_the_matrix():
    rows = [
        ("s", "b0", "AAAA", 1, "unique", 0.999),
        ("s", "b0", "CCCC", 1, "shared", 0.7),
        ("s", "b0", "GGGG", 1, "shared", 0.2),
        ("s", "b1", "AAAA", 1, "junction", 0.99),
    ]
    table = pd.DataFrame(rows, columns=["sample", "barcode", "umi", "n_reads", "evidence", "p_car"])
    for name, column in MOLECULES.columns.items():
        if name not in table:
            table[name] = "" if column.dtype == "str" else 0
    counts = count_car(MOLECULES.conform(table), pd.Index(["b0", "b1", "b2"]))
    assert counts["car_umis"].tolist() == [2, 1, 0]
    assert counts["car_umis_unique"].tolist() == [1, 1, 0]


def test_barcodes_match_with_and_without_a_suffix():
    table = pd.DataFrame({"sample": "s", "barcode": [f"ACGT{i}" for i in range(12)]})
    matrix = pd.Index([f"ACGT{i}-1" for i in range(10)])
    matched = match_barcodes(table, matrix)["barcode"].tolist()
    assert matched == [*matrix, "ACGT10", "ACGT11"]
    assert (
        match_barcodes(table.assign(barcode=matrix[0]), matrix)["barcode"].tolist()
        == [matrix[0]] * 12
    )
    suffixed = table.assign(barcode=table["barcode"] + "-1")
    assert match_barcodes(suffixed, pd.Index(["ACGT3"]))["barcode"].tolist().count("ACGT3") == 1
    with pytest.raises(CarseqError, match="share no barcode"):
        match_barcodes(table, pd.Index(["TTTT-1"]))


def test_a_car_that_nobody_counted_is_no_absence():
    adata, samples = study(0)
    with pytest.raises(CarseqError, match="no gene NOT_COUNTED"):
        call_cells(adata, None, samples, car="NOT_COUNTED")


def test_losses_account_for_every_molecule():
    obs = pd.DataFrame(
        {
            "barcode": ["b0", "b1", "b2"],
            "lineage": ["T", "T", "myeloid"],
            "is_doublet": [False, True, False],
            "car_call": ["positive", "uncertain", "negative"],
        }
    )
    barcodes = ["b0", "b0", "b1", "b2", "b3", "b4", "b0"]
    molecules = pd.DataFrame({"barcode": barcodes, "p_car": [1, 1, 1, 1, 1, 1, 0.1]})
    calls = pd.DataFrame(
        {"is_cell": [True, True, True, True, False]}, index=["b0", "b1", "b2", "b3", "b4"]
    )
    start = LOSSES.conform(
        pd.DataFrame([{"sample": "s", "step": "x", "unit": "reads", "n": 1, "meaning": ""}])
    )
    table = cell_losses(start, molecules, calls, obs, swapped=3).set_index("step")["n"]
    assert table.to_dict() == {
        "x": 1, "swapped_from_another_library": 3, "more_likely_endogenous": 1, "droplet_not_called": 1,
        "filtered_cell": 1, "doublet": 1, "other_lineage": 1, "t_cell_uncertain": 0, "t_cell_positive": 2,
    }  # fmt: skip
    assert table.drop("x").sum() == len(molecules) + 3


def test_swapped_molecules_stay_where_their_reads_are():
    """Kept with 80 % of the reads, else dropped everywhere; other runs and other UMIs are left alone."""

    def table(*rows):
        return pd.DataFrame(rows, columns=["barcode", "umi", "n_reads"])

    molecules = {
        "a": table(("AC", "TT", 8), ("AC", "GG", 3), ("AC", "CC", 1)),
        "b": table(("AC-1", "TT", 2), ("AC-1", "GG", 1), ("GT-1", "CC", 1)),
        "c": table(("AC", "TT", 1)),
        "d": table(("AC", "TT", 1)),
    }
    kept, dropped = drop_swapped(molecules, {"a": "run1", "b": "run1", "c": "run2", "d": ""})
    assert kept["a"]["umi"].tolist() == ["TT", "CC"]
    assert kept["b"]["umi"].tolist() == ["CC"]
    assert len(kept["c"]) == len(kept["d"]) == 1
    assert dropped == {"a": 1, "b": 2, "c": 0, "d": 0}


def test_swapped_molecules_are_found_in_any_run_of_a_library():
    """A library was sequenced again beside another one: `run1, run2` was compared with no sample of run2 alone."""
    columns = ["barcode", "umi", "n_reads"]
    molecules = {
        "a": pd.DataFrame([("AC", "TT", 9)], columns=columns),
        "b": pd.DataFrame([("AC", "TT", 1)], columns=columns),
        "c": pd.DataFrame([("AC", "TT", 1)], columns=columns),
    }
    _, dropped = drop_swapped(molecules, {"a": "run1, run2", "b": "run2", "c": "run3"})
    assert dropped == {"a": 0, "b": 1, "c": 0}


def test_samples_of_one_library_swap_nothing_between_them():
    """Two samples cut out of one pool each hold all of its molecules: all were dropped from both."""
    pool = pd.DataFrame(
        [("AC", "TT", 8), ("AC", "GG", 1), ("GT", "CC", 9)], columns=["barcode", "umi", "n_reads"]
    )
    other = pd.DataFrame([("AC", "TT", 1), ("GT", "CC", 9)], columns=["barcode", "umi", "n_reads"])
    runs = dict.fromkeys(["a", "b", "c"], "run1")
    kept, dropped = drop_swapped({"a": pool, "b": pool}, runs, {"a": "L", "b": "L"})
    assert dropped == {"a": 0, "b": 0}
    kept, dropped = drop_swapped({"a": pool, "b": pool, "c": other}, runs, {"a": "L", "b": "L"})
    assert kept["a"]["umi"].tolist() == kept["b"]["umi"].tolist() == ["TT", "GG"]
    assert dropped == {"a": 1, "b": 1, "c": 2}
    assert drop_swapped({"a": pool, "b": pool}, runs)[1] == {"a": 3, "b": 3}


def test_swapped_molecules_are_found_by_the_bases_of_barcodes():
    """Prefixes of other libraries differ in writing alone; parts of a split-pool barcode are not a suffix."""

    def table(*rows):
        return pd.DataFrame(rows, columns=["barcode", "umi", "n_reads"])

    molecules = {
        "a": table(("A_ACGTACGTACGT-1", "TT", 9), ("AAC-GGT-TTA", "GG", 5)),
        "b": table(("B_ACGTACGTACGT-1", "TT", 1), ("AAC-GGT-CCA", "GG", 5)),
    }
    kept, dropped = drop_swapped(molecules, {"a": "run1", "b": "run1"})
    assert dropped == {"a": 0, "b": 1}
    assert kept["b"]["barcode"].tolist() == ["AAC-GGT-CCA"]
