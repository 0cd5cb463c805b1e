"""report/notebooks: they run on the results and show their figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from carseq.errors import CarseqError
from carseq.report.notebooks import run_notebook
from study import demo_samples, write_study

NOTEBOOKS = sorted((Path(__file__).parents[2] / "workflow" / "notebooks").glob("*.py"))


RUN = "from carseq.report.notebooks import run_notebooks\nrun_notebooks(*{}, processes=2)"
N_FIGURES = {"01_quality": 9, "02_cells": 8, "03_car_t_cells": 14, "04_localization": 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The notebooks of a study, run as the workflow runs them."""
    copy = write_study(tmp_path_factory.mktemp("notebooks") / "results", demo_samples()[:3])
    outs = [copy / "notebooks" / f"{source.stem}.ipynb" for source in NOTEBOOKS]
    # In a process that has drawn nothing yet, as a job's.
    words = repr(([str(path) for path in NOTEBOOKS], [str(path) for path in outs]))
    subprocess.run([sys.executable, "-c", RUN.format(words)], check=True, timeout=600)
    assert {path.name for path in (copy / "notebooks").iterdir()} == {out.name for out in outs}
    return copy / "notebooks"


@pytest.mark.parametrize("name", sorted(N_FIGURES))
def test_a_notebook_runs_afresh_and_shows_its_figures(name: str, folder: Path) -> None:
    """Each notebook, from a results folder alone: all its figures, no error, no path of this machine."""
    out = folder / f"{name}.ipynb"
    notebook = nbformat.read(out, as_version=4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == N_FIGURES[name]
    assert not any(o.output_type == "error" for o in outputs)
    assert str(folder.parent) not in out.read_text()
    assert str(Path(__file__).parents[2]) not in out.read_text()
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


def test_notebooks_are_as_a_kernel_makes_them(tmp_path: Path) -> None:
    """What is printed, displayed and returned, in order, by a kernel and without one: the same bytes."""
    source = tmp_path / "shown.py"
    source.write_text(
        '# %% tags=["parameters"]\nresults = ""\n\n# %%\nimport sys\n\nimport pandas as pd\nfrom IPython.display '
        "import display, Markdown\n\n# %matplotlib inline\nfrom matplotlib import pyplot as plt\n\n# %%\n"
        "wide = pd.DataFrame([range(19)] * 3)\nprint(results)\nprint('no', file=sys.stderr)\ndisplay(wide)\n"
        "print('more')\nwide\n\n# %%\n_ = plt.plot([1, 2])\n\n# %%\nMarkdown('**text**'); 3\n\n# %%\nNone\n"
    )
    out, other = tmp_path / "a.ipynb", tmp_path / "b.ipynb"
    run_notebook(source, out)
    run_notebook(source, other, kernel=True)
    assert out.read_bytes() == other.read_bytes()
    kinds = [
        o.output_type for c in nbformat.read(out, as_version=4).cells for o in c.get("outputs", [])
    ]
    assert kinds == [
        "stream",
        "stream",
        "display_data",
        "stream",
        "execute_result",
        "display_data",
        "execute_result",
    ]


def test_the_first_notebook_of_a_process_shows_its_figures_as_the_next_does(tmp_path: Path) -> None:
    """Which process takes a notebook hangs on the others' time, and must not show in it: ``%matplotlib`` is a word."""
    source = tmp_path / "shown.py"
    source.write_text(
        '# %% tags=["parameters"]\nresults = ".."\n\n# %%\n# %matplotlib inline\nfrom carseq.figures.style import '
        "nothing_to_show\nnothing_to_show('so little')\n"
    )
    outs = [tmp_path / f"{name}.ipynb" for name in "ab"]
    words = repr([[str(source)] * 2, [str(out) for out in outs]])
    run = RUN.format(words).replace("processes=2", "processes=1")
    subprocess.run([sys.executable, "-c", run], check=True, timeout=300)
    one, other = (out.read_bytes() for out in outs)
    assert b"image/png" in one
    assert one == other


def test_a_notebook_that_is_killed_is_told_and_leaves_the_others(tmp_path: Path) -> None:
    for name, last in (("bad", "import os; os.kill(os.getpid(), 9)"), ("good", "1 + 1")):
        (tmp_path / f"{name}.py").write_text(
            f'# %% tags=["parameters"]\nresults = ".."\n\n# %%\n{last}\n'
        )
    # In a process that has drawn nothing yet: one that has would be killed itself.
    words = repr(
        [[str(tmp_path / f"{n}.{kind}") for n in ("bad", "good")] for kind in ("py", "ipynb")]
    )
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(words)], capture_output=True, text=True, check=False, timeout=300
    )  # fmt: skip
    assert "bad.py was killed (signal 9)" in done.stderr
    assert (tmp_path / "good.ipynb").is_file()
    assert not (tmp_path / "bad.ipynb").exists()


def test_a_process_that_has_drawn_runs_them_itself(tmp_path: Path) -> None:
    """A forked child would wait for ever for the threads that draw; the second is run though the first one fails."""
    draw = "import vl_convert\nvl_convert.vega_to_svg({'width': 9, 'height': 9, 'marks': []})\n"
    head = '# %% tags=["parameters"]\nresults = ".."\n\n# %%\n'
    names = ("bad", "good")
    for name, last in zip(names, ("1 / 0\n", draw), strict=True):
        (tmp_path / f"{name}.py").write_text(head + last)
    words = repr([[str(tmp_path / f"{n}.{kind}") for n in names] for kind in ("py", "ipynb")])
    done = subprocess.run(
        [sys.executable, "-c", draw + RUN.format(words)], capture_output=True, text=True, check=False, timeout=300
    )  # fmt: skip
    assert "ZeroDivisionError" in done.stderr
    assert (tmp_path / "good.ipynb").is_file()


def test_a_notebook_that_fails_tells_the_cell(tmp_path: Path) -> None:
    source = tmp_path / "bad.py"
    source.write_text('# %% tags=["parameters"]\nresults = ".."\n\n# %%\n1 / 0\n')
    with pytest.raises(CarseqError, match="ZeroDivisionError"):
        run_notebook(source, tmp_path / "out" / "bad.ipynb")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["bad.failed.ipynb"]
