"""Totals that must agree: every way in which one can be broken stops the run and names the numbers."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest

from carseq.errors import CarseqError
from carseq.guards import check_study


def study() -> dict:
    """A sample of three cells, one of them filtered, with three CAR molecules of five reads."""
    steps = [
        ("candidates_on_contig", 7), ("candidates_at_homologs", 2), ("candidates_unmapped", 0), ("wrong_strand", 1),
        ("unlike_car", 1), ("invalid_barcode", 0), ("endogenous", 2), ("car_reads", 5), ("duplicates", 2),
        ("car_molecules", 3),
    ]  # fmt: skip
    ends = [
        ("swapped_from_another_library", 0), ("more_likely_endogenous", 1), ("droplet_not_called", 0),
        ("filtered_cell", 0), ("doublet", 0), ("other_lineage", 0), ("t_cell_uncertain", 0), ("t_cell_positive", 2),
    ]  # fmt: skip

    def account(rows: list[tuple[str, int]]) -> pd.DataFrame:
        return pd.DataFrame(rows, columns=["step", "n"]).assign(sample="S")

    molecules = pd.DataFrame(
        {
            "barcode": ["AAAA", "AAAA", "CCCC"],
            "umi": ["A", "C", "G"],
            "n_reads": [2, 2, 1],
            "evidence": ["unique", "junction", "shared"],
            "p_car": [0.99, 0.99, 0.1],
            "source": ["aligned", "aligned", "homolog"],
        }
    )
    barcodes = pd.DataFrame(
        {"total_umis": [900, 800, 700, 5], "is_cell": [True, True, True, False]},
        index=["AAAA", "CCCC", "GGGG", "TTTT"],
    )
    obs = pd.DataFrame(
        {
            "sample": "S",
            "barcode": ["AAAA", "CCCC"],
            "total_umis": [900, 800],
            "car_umis": [2, 0],
            "car_umis_unique": [2, 0],
            "car_call": ["positive", "negative"],
            "lineage": ["T", "myeloid"],
            "is_doublet": False,
        }
    )
    return {
        "losses": {"S": account(steps)},
        "accounts": {"S": account(steps + ends)},
        "molecules": {"S": molecules},
        "summaries": {"S": {"car_umis_aligned": 2}},
        "barcodes": {"S": barcodes},
        "filters": {
            "S": pd.DataFrame({"n_before": [3, 2], "n_removed": [1, 0], "n_after": [2, 2]})
        },
        "detection": pd.DataFrame(
            {"sample": ["S"], "n_cells": [2], "n_t_cells": [1], "n_car_positive": [1]}
        ),
        "obs": obs,
    }


def test_what_agrees_passes():
    check_study(**study())


def _read(step: str, n: int):
    def change(s: SimpleNamespace) -> None:
        for table in (s.losses["S"], s.accounts["S"]):
            table.loc[table["step"] == step, "n"] = n

    return change


def _set(table: str, column: str, row: int, value: object):
    def change(s: SimpleNamespace) -> None:
        found = getattr(s, table)
        found = found["S"] if isinstance(found, dict) else found
        found.iloc[row, found.columns.get_loc(column)] = value

    return change


def _exchange(table: str, column: str):
    """Exchange what two rows have: the sum stays."""

    def change(s: SimpleNamespace) -> None:
        found = getattr(s, table)
        found = found["S"] if isinstance(found, dict) else found
        at = found.columns.get_loc(column)
        found.iloc[0, at], found.iloc[1, at] = found.iloc[1, at], found.iloc[0, at]

    return change


def _twice(table: str):
    def change(s: SimpleNamespace) -> None:
        found = getattr(s, table)
        found["S"] = pd.concat([found["S"], found["S"].iloc[:1]])

    return change


def _in_account(step: str, n: int):
    def change(s: SimpleNamespace) -> None:
        s.accounts["S"].loc[s.accounts["S"]["step"] == step, "n"] = n

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_read("candidates_on_contig", 8), "candidate reads: 10; reads with an end: 9"),
        (_read("car_molecules", 4), "rows of the table: 3"),
        (_set("molecules", "n_reads", 0, 9), "CAR reads counted: 5; reads of the molecules: 12"),
        (_read("t_cell_positive", 1), "CAR molecules: 3; molecules with an end: 2"),
        (_set("obs", "car_umis", 0, 9), "in the cells: 9; found in cells: 2"),
        (_set("obs", "car_umis", 0, 1), "in the cells: 1"),
        (lambda s: s.summaries["S"].update(car_umis_aligned=90), "in the matrix: 90; in the BAM: 3"),
        (_set("barcodes", "is_cell", 3, True), "droplets called cells: 4; cells before the first filter: 3"),
        (_set("filters", "n_after", 1, 1), "cells after the last filter: 1; cells in the cohort: 2"),
        (_set("obs", "barcode", 1, "TTTT"), "cells in the cohort: 2; of them called: 1"),
        (_set("obs", "total_umis", 1, 801), "1,701; molecules of their droplets: 1,700"),
        (_set("detection", "n_cells", 0, 3), "cells in the table: 3; cells in the cohort: 2"),
        (_set("detection", "n_car_positive", 0, 0), "positive in the table: 0; positive in the cohort: 1"),
        (_set("detection", "sample", 0, "T"), "cells in the table: 2; cells in the cohort: 0"),
        (_exchange("obs", "barcode"), "in these cells: 2; found with their barcodes: 1; cells: 1"),
        (_exchange("barcodes", "total_umis"), "1,700; molecules of their droplets: 1,700; cells that differ: 2"),
        (_exchange("obs", "car_umis"), "in these cells: 2; found with their barcodes: 3; cells: 2"),
        (_exchange("obs", "car_call"), "positive cells: 1; of them T cells with a CAR molecule: 0"),
        (_exchange("obs", "lineage"), "positive cells: 1; of them T cells with a CAR molecule: 0"),
        (_set("obs", "is_doublet", 0, True), "positive cells: 1; of them T cells with a CAR molecule: 0"),
        (_set("obs", "car_umis_unique", 0, 3), "in these cells: 2; found with their barcodes: 2; cells: 1"),
        (_set("detection", "n_t_cells", 0, 2), "T cells in the table: 2; T cells in the cohort: 1"),
        (_set("filters", "n_removed", 0, 2), "removed by all: 2; cells after the last filter: 2"),
        (_twice("barcodes"), "droplets: 5; barcodes of them: 4"),
        (_twice("losses"), "rows of the account: 11; steps of it: 10"),
        (_twice("accounts"), "rows of the account: 19; steps of it: 18"),
        (_in_account("unlike_car", 2), "up to molecules: 1; up to calls: 2"),
    ],
)  # fmt: skip
def test_a_broken_total_stops_the_run_and_names_the_numbers(change, words):
    tables = SimpleNamespace(**study())
    change(tables)
    with pytest.raises(CarseqError) as caught:
        check_study(**vars(tables))
    assert words in caught.value.cause
    assert "report it with these numbers" in caught.value.remedy


def test_a_matrix_that_lost_the_car_is_noticed():
    """100 molecules that only the CAR explains, on its contig, and none in the matrix: not one library."""
    from carseq.guards import check_aligned

    row = {"evidence": "unique", "source": "aligned", "p_car": 0.99}
    molecules = pd.DataFrame([row] * 100)
    check_aligned("S", {"car_umis_aligned": 97}, molecules)
    check_aligned("S", {}, molecules)
    with pytest.raises(CarseqError, match="do not hold the same CAR molecules"):
        check_aligned("S", {"car_umis_aligned": 0}, molecules)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("n_cells", "cells of all lineages: 3; cells in the cohort: 2"),
        ("n_car_positive", "positive in all lineages: 2; positive in the verdict: 1"),
    ],
)
def test_cells_lost_on_the_way_to_a_place_are_noticed(column, words):
    from carseq.guards import check_localization

    tables = study()
    where = pd.DataFrame(
        {
            "sample": ["S", "S", "S", ""],
            "level": ["lineage", "lineage", "cell_type", "lineage"],
            "n_cells": [1, 1, 2, 9],
            "n_car_positive": [1, 0, 1, 9],
        }
    )
    check_localization(where, tables["detection"], tables["obs"])
    where.loc[1, column] += 1
    with pytest.raises(CarseqError) as caught:
        check_localization(where, tables["detection"], tables["obs"])
    assert words in caught.value.cause
