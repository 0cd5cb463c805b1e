"""cli: `carseq construct` is a group whose command `map` may be left out; `carseq call` on a matrix alone."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from click.testing import Result
from typer.testing import CliRunner

from carseq.cli import app
from carseq.errors import CarseqError
from carseq.io.files import read_table
from carseq.schema.tables import DETECTION

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
