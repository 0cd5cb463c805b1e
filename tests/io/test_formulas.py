"""No text of a table is run by the spreadsheet that opens it, wherever it came from."""

from __future__ import annotations

import gzip

import pandas as pd
import pytest

from carseq.io.files import read_table, write_table
from carseq.io.formulas import is_formula


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://x.org")', "=1+1", "@SUM(A1)", "+1+cmd|' /C calc'!A0", "-2+3+cmd|x", "\uff1d1+1",
        "\uff20SUM(A1)", "-HYPERLINK(A1)", "+\n(x)",
    ],
)  # fmt: skip
def test_a_formula_is_known(text):
    assert is_formula(text)


@pytest.mark.parametrize(
    "text", ["", "+", "-", "-35 signal", "+1 site", "-inf", "-1.5e-3", "a=b", "1=1", "CD3", "–"]
)
def test_what_biology_writes_is_none(text):
    assert not is_formula(text)


@pytest.mark.parametrize("suffix", [".tsv", ".tsv.gz"])
def test_a_table_for_a_spreadsheet_holds_no_formula(tmp_path, suffix):
    table = pd.DataFrame(
        {
            "name": ["=1+1", "-35 signal", "\uff1dx"],
            "kind": pd.Categorical(["@SUM(A1)", "a", "a"]),
            "strand": ["+", "-", "+"],
            "n": [-1.5, 2, 3],
        }
    )
    path = tmp_path / f"table{suffix}"
    write_table(table, path)
    content = path.read_bytes()
    text = (gzip.decompress(content) if suffix.endswith("gz") else content).decode()
    lines = text.splitlines()
    assert lines[1:] == ["'=1+1\t'@SUM(A1)\t+\t-1.5", "-35 signal\ta\t-\t2", "'\uff1dx\ta\t+\t3"]
    # What is computed with is not changed.
    assert table["name"].iloc[0] == "=1+1"
    write_table(table.drop(columns="kind"), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet")["name"].iloc[0] == "=1+1"
