"""Barcodes: matched by the share that fits, library by library, whatever is written around the bases."""

from __future__ import annotations

import random
from dataclasses import replace

import pandas as pd
import pytest

from carseq.errors import CarseqError
from carseq.io.barcodes import (
    Belonging,
    barcode_parts,
    bare_barcode,
    check_belonging,
    check_cells,
    check_receptors_of,
    compare_barcodes,
    match_barcodes,
)

RNG = random.Random(4)
CODES = sorted({"".join(RNG.choices("ACGT", k=16)) for _ in range(600)})
CELLS, OTHERS = CODES[:60], CODES[60:120]


def molecules(n: int, suffix: str = "-1") -> pd.DataFrame:
    return pd.DataFrame({"sample": "S", "barcode": [c + suffix for c in CELLS[:n]]})


@pytest.mark.parametrize(
    ("barcode", "parts"),
    [
        ("ACGTACGTACGTACGT", ("", "ACGTACGTACGTACGT", "")),
        ("ACGTACGTACGTACGT-1", ("", "ACGTACGTACGTACGT", "-1")),
        ("ACGTACGTACGTACGT-10", ("", "ACGTACGTACGTACGT", "-10")),
        ("GSM1_ACGTACGTACGTACGT-1", ("GSM1_", "ACGTACGTACGTACGT", "-1")),
        ("P01:ACGTACGTACGTACGT", ("P01:", "ACGTACGTACGTACGT", "")),
        ("ACGTACGTACGTACGT_1", ("", "ACGTACGTACGTACGT", "_1")),
        ("ACGTACGTACGTACGT-1-0", ("", "ACGTACGTACGTACGT", "-1-0")),
        ("CAT_ACGTACGTACGTACGT", ("CAT_", "ACGTACGTACGTACGT", "")),
        ("ACGTACGTACGTACGTx", ("", "ACGTACGTACGTACGT", "x")),
        ("AAC-GGT-TTA", ("", "AAC-GGT-TTA", "")),
        ("cell_17", ("", "cell_17", "")),
        ("123456", ("", "123456", "")),
    ],
)
def test_barcodes_are_taken_apart(barcode, parts):
    assert barcode_parts(barcode) == parts
    assert bare_barcode(barcode) == parts[1]


@pytest.mark.parametrize("n", [1, 3, 9, 10, 40])
@pytest.mark.parametrize("style", ["{}", "{}-1", "GSM1_{}-1", "{}_1", "P01:{}", "x-{}-1-0"])
def test_one_library_is_matched_whatever_its_style(n, style):
    matrix = pd.Index([style.format(c) for c in CELLS])
    assert match_barcodes(molecules(n), matrix)["barcode"].tolist() == list(matrix[:n])


@pytest.mark.parametrize("n", [5, 9, 10, 40])
@pytest.mark.parametrize("own", ["-2", "-10"])
def test_molecules_go_to_their_own_library_of_an_aggregated_matrix(n, own):
    """One barcode is in both libraries, as chance has it: an exact match alone proves nothing."""
    both = pd.Index([f"{c}-1" for c in [CELLS[0], *OTHERS]] + [c + own for c in CELLS])
    matched = match_barcodes(molecules(n), both)["barcode"]
    assert matched.str.endswith(own).all()


def test_an_aggregated_table_beside_the_matrix_of_one_library():
    """Of receptors of two libraries those of this sample are taken, whatever their suffix."""
    table = pd.DataFrame({"barcode": [f"{c}-1" for c in OTHERS] + [f"{c}-2" for c in CELLS]})
    matched = match_barcodes(table, pd.Index([f"{c}-1" for c in CELLS]), strict=False)["barcode"]
    assert matched.isin([f"{c}-1" for c in CELLS]).sum() == len(CELLS)


def test_two_libraries_that_fit_alike_are_refused():
    both = pd.Index([f"{c}{s}" for s in ("-2", "-3") for c in CELLS])
    with pytest.raises(CarseqError, match="more than one way"):
        match_barcodes(molecules(20), both)


def test_names_that_can_be_no_barcodes_are_refused_however_few_there_are():
    for n in (1, 10):
        with pytest.raises(CarseqError, match="share no barcode"):
            match_barcodes(molecules(n), pd.Index([f"cell_{i}" for i in range(60)]))


def of_a_run(cells, empty, rng) -> pd.Series:
    return pd.Series(
        {f"{c}-1": rng.randint(200, 400) for c in cells}
        | {f"{c}-1": rng.randint(1, 20) for c in empty}
    )


def test_a_bam_and_a_matrix_are_held_against_each_other():
    rng = random.Random(1)
    empty, strangers = CODES[120:360], CODES[360:]
    totals = of_a_run(CELLS, empty, rng)
    found = check_belonging((totals / 10).astype(int) + 1, totals, "S")
    assert (found.in_matrix, found.cells_only) == (1.0, False)
    for held in (found, replace(found, doubts=(("a part", "give the whole"),))):
        assert Belonging.from_json(held.to_json()) == held
    # Where all barcodes are on one short list, those of few molecules are shared; those of many are not.
    other = of_a_run(strangers[:60], [*CELLS, *empty], rng)
    with pytest.raises(CarseqError, match="do not belong together"):
        check_belonging(totals, other, "S")
    cells = totals[[f"{c}-1" for c in CELLS]]
    assert check_belonging(cells, totals, "S").cells_only
    # A matrix of a few chosen cells, and a BAM of a part of the reads, are still of the sample.
    assert check_belonging(totals, cells[:5], "S").in_top < 0.2
    assert compare_barcodes(totals.index, cells.index).share < 0.5


def test_a_matrix_of_two_libraries_beside_the_bam_of_one_is_refused():
    rng = random.Random(2)
    totals = of_a_run(CELLS, CODES[120:360], rng)
    joined = pd.concat([totals.rename(lambda b: b.replace("-1", "-2")), of_a_run(OTHERS, [], rng)])
    with pytest.raises(CarseqError, match="other libraries than its BAM"):
        check_belonging(totals, joined, "S")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (str.lower, "in small letters"),
        (lambda code: code.translate(str.maketrans("ACGT", "TGCA"))[::-1], "reverse complement"),
        (lambda code: code[:14], "first 14 bases of 16"),
    ],
)
def test_barcodes_that_are_written_otherwise_are_told_as_that(write, words):
    """ "Two samples' rows may be exchanged" was said of inputs of one sample, written by two programs."""
    totals = of_a_run(CELLS, CODES[120:360], random.Random(1))
    other = totals.set_axis([write(bare_barcode(b)) + "-1" for b in totals.index])
    for check in (
        lambda: check_belonging(totals, other, "S"),
        lambda: check_cells(other.index[:60], totals, "S"),
        lambda: check_receptors_of(other.index[:60], totals, "S"),
    ):
        with pytest.raises(CarseqError, match="in two ways") as error:
            check()
        assert words in error.value.cause
