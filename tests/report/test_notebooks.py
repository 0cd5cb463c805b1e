"""report/notebooks: they run on the results and show their figures."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from carseq.errors import CarseqError
from carseq.report.notebooks import run_notebook
from study import demo_samples, write_study

NOTEBOOKS = sorted((Path(__file__).parents[2] / "workflow" / "notebooks").glob("*.py"))


N_FIGURES = {"01_quality": 9, "02_cells": 8, "03_car_t_cells": 14, "04_localization": 7}


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_a_fresh_kernel_and_shows_its_figures(
    source: Path, tmp_path: Path
) -> None:
    """Each notebook, from a results folder alone: all its figures, no error, no path of this machine."""
    copy = write_study(tmp_path / "results", demo_samples()[:3])
    out = copy / "notebooks" / f"{source.stem}.ipynb"
    run_notebook(source, out)
    notebook = nbformat.read(out, as_version=4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == N_FIGURES[source.stem]
    assert not any(o.output_type == "error" for o in outputs)
    assert str(tmp_path) not in out.read_text()
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_a_notebook_that_fails_tells_the_cell(tmp_path: Path) -> None:
    source = tmp_path / "bad.py"
    source.write_text('# %% tags=["parameters"]\nresults = ".."\n\n# %%\n1 / 0\n')
    with pytest.raises(CarseqError, match="ZeroDivisionError"):
        run_notebook(source, tmp_path / "out" / "bad.ipynb")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["bad.failed.ipynb"]
