"""Notebooks of a study: kept as plain Python, run on its results, left open for the analyst."""

from __future__ import annotations

from pathlib import Path

from carseq.errors import CarseqError
from carseq.io.files import atomic
from carseq.log import get_logger

log = get_logger(__name__)


def run_notebook(source: str | Path, out: str | Path, *, results: str = "..") -> None:
    """Run a notebook and write it with its output.

    Parameters
    ----------
    source
        The notebook as jupytext's ``py:percent``, with a cell tagged ``parameters``.
    out
        The ``.ipynb`` to write. The kernel runs in its folder, as the analyst's will.
    results
        The results folder, relative to the folder of ``out``.

    Raises
    ------
    CarseqError
        If a cell fails. The notebook, with the error in it, then lies beside ``out`` as ``*.failed.ipynb``.
    """
    import jupytext
    import nbformat
    import papermill

    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    failed = out.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    notebook = jupytext.read(source, fmt="py:percent")
    # The kernel of the environment that runs this, whatever the analyst has registered.
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    with atomic(out) as temporary:
        nbformat.write(notebook, temporary)
        try:
            papermill.execute_notebook(
                str(temporary),
                str(temporary),
                parameters={"results": results},
                kernel_name="python3",
                cwd=str(out.parent),
                progress_bar=False,
                log_output=False,
            )
        except papermill.PapermillExecutionError as error:
            temporary.rename(failed)
            raise CarseqError(
                f"the notebook {Path(source).name} failed",
                f"{error.ename}: {error.evalue}",
                f"open {failed} to see the cell",
            ) from None
        _tidy(temporary)
    log.info("notebook: %s", out)


def _tidy(path: Path) -> None:
    """Take paths and times of this run out of the notebook's metadata, and number its cells.

    So the same results make the same bytes.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for number, cell in enumerate(notebook.cells, 1):
        cell["id"] = f"cell-{number}"
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, path)
