"""cli: what `carseq verdict` and `carseq call` print and take."""

from __future__ import annotations

import inspect
import os
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from carseq.calling import call_cells, call_study
from carseq.cli import app
from carseq.cli.options import print_verdicts
from carseq.cli.rooms import call
from carseq.io.files import write_table
from carseq.schema.percent import NBSP
from carseq.schema.results import FILES
from carseq.schema.tables import DETECTION
from carseq.schema.thresholds import FDR
from carseq.study.config import CallingConfig
from tiny import write_h5


def test_small_shares_are_never_printed_as_none(tmp_path: Path) -> None:
    """A fraction of 0.4 % with an interval from 0.04 % is not printed as 0 %."""
    row = {name: "" if column.dtype == "str" else 0 for name, column in DETECTION.columns.items()}
    row |= {
        "sample": "s",
        "n_t_cells": 900,
        "n_car_positive": 3,
        "verdict": "detected",
        "role": "case",
    }
    row |= {"prevalence": 0.004, "prevalence_low": 0.0004, "prevalence_high": 0.011}
    path = FILES["detection"].under(tmp_path)
    path.parent.mkdir(parents=True)
    write_table(pd.DataFrame([row]), path, DETECTION)
    done = CliRunner().invoke(app, ["verdict", str(tmp_path)])
    assert done.exit_code == 0, done.output
    text = done.output.replace("\N{NO-BREAK SPACE}", " ")
    assert "0.4 % (<0.1–1.1 %)" in text


def test_one_default_and_one_range_of_the_false_discovery_rate(tmp_path: Path) -> None:
    """Configuration, functions and command line take the same default; none takes 0 or 1."""
    assert CallingConfig().fdr == FDR
    for function in (call_cells, call_study, call):
        assert inspect.signature(function).parameters["fdr"].default == FDR, function
    for fdr in (0, 1):
        with pytest.raises(ValueError, match="fdr"):
            CallingConfig(fdr=fdr)


def test_a_command_that_is_printed_can_be_copied(tmp_path):
    """`carseq init "study [old]"` named another folder, and behind `[/x]` it ended in a traceback, all written."""
    matrix = tmp_path / "M.h5"
    genes = ["CAR", "CD3D", "CD3E", "ACTB"]
    write_h5(matrix, np.ones((3, 4), dtype=int), ["A" * 15 + c for c in "CGT"], genes)
    for name in ("study [old] " + "x" * 80, "study [/x]"):
        folder = tmp_path / name
        folder.parent.mkdir(exist_ok=True, parents=True)
        done = CliRunner().invoke(app, ["init", str(folder), "--matrices", str(tmp_path)])
        assert done.exit_code == 0, done.exception
        (told,) = re.findall(r"then: (.+)", done.output)
        assert shlex.split(told) == ["carseq", "check", str(folder / "config.yaml")]
        assert f"wrote {folder}/samples.tsv" in done.output


@pytest.mark.parametrize("words", [["annotate", "m.h5", "--out"], ["share", "results", "--to"]])
def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch, words):
    """Into a colleague's folder: the minutes of `carseq annotate` were over when it said so, of a temporary file."""
    monkeypatch.setattr(os, "access", lambda place, how: str(place) != str(tmp_path))
    done = CliRunner().invoke(app, [*words, str(tmp_path / "new" / "out.zip")])
    assert f"may not write to {tmp_path}," in str(done.exception)


@pytest.mark.parametrize(
    "words",
    [
        "annotate cells.h5ad --out cells.h5ad",
        "call cells.h5ad --samples s.tsv --out ./cells.h5ad",
        "call other.h5ad --samples detection.tsv --out called.h5ad",
        "construct construct.fa --out .",
        "construct construct.fa --bam a.bam --correct construct.fa",
        "construct consensus construct.fa a.bam --correct construct.fa",
    ],
)
def test_what_is_read_is_not_overwritten(words, tmp_path, monkeypatch):
    """`carseq annotate cells.h5ad --out cells.h5ad` wrote over the only copy of the counts, and `--out .` over the
    plasmid's own construct.fa."""
    monkeypatch.chdir(tmp_path)
    given = ["cells.h5ad", "other.h5ad", "construct.fa", "a.bam", "s.tsv", "detection.tsv"]
    for name in given:
        Path(name).write_text("mine")
    done = CliRunner().invoke(app, words.split())
    assert "would be written over" in str(done.exception)
    assert [Path(name).read_text() for name in given] == ["mine"] * len(given)


def test_the_terminal_says_of_few_t_cells_what_the_page_says(capsys):
    """Of 3 T cells "69 % (66-100 %)" stood there without a word, of one undetermined T cell the prior's "10 %"."""
    shares = {
        "prevalence": [0.69, 0.1],
        "prevalence_low": [0.66, 0.0],
        "prevalence_high": [1.0, 1.0],
    }
    table = pd.DataFrame(
        {
            "sample": ["A", "B"],
            "n_cells": 40,
            "n_t_cells": [3, 1],
            "n_car_positive": [2, 0],
            "verdict": ["detected", "undetermined"],
            "verdict_text": "told",
            **shares,
            **dict.fromkeys(("detection_limit", "expected_false_calls", "sensitivity"), np.nan),
        }
    )
    print_verdicts(table)
    shown = capsys.readouterr().out.replace(NBSP, " ")
    assert "69 % (66–100 %)" in shown
    assert "the share of these 3 T cells: so few say little" in shown
    assert "0–100 %" in shown
    assert "10 %" not in shown
