"""Notebooks of a study: kept as plain Python, run on its results, left open for the analyst."""

from __future__ import annotations

import importlib
import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from carseq.errors import CarseqError
from carseq.io.failures import killed
from carseq.io.files import atomic
from carseq.log import get_logger
from carseq.machine import end_with_parent
from carseq.report.study import read_ahead

log = get_logger(__name__)


def run_notebook(
    source: str | Path, out: str | Path, *, results: str = "..", kernel: bool = False
) -> None:
    """Run a notebook in this process and write it with its output.

    Parameters
    ----------
    source
        The notebook as jupytext's ``py:percent``, with a cell tagged ``parameters``.
    out
        The ``.ipynb`` to write. It runs in its folder, as the analyst's will.
    results
        The results folder, relative to the folder of ``out``.
    kernel
        Whether in a kernel of its own.

    Raises
    ------
    CarseqError
        If a cell fails. The notebook, with the error in it, then lies beside ``out`` as ``*.failed.ipynb``.
    """
    import jupytext
    import nbformat
    import papermill

    from carseq.report.kernel import ENGINE

    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    failed = out.with_suffix(".failed.ipynb")
    failed.unlink(missing_ok=True)
    notebook = jupytext.read(source, fmt="py:percent")
    # For the analyst, who has it from this environment.
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
                engine_name=None if kernel else ENGINE,
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


def run_notebooks(
    sources: Sequence[str | Path], outs: Sequence[str | Path], *, processes: int = 1
) -> None:
    """Run notebooks, in processes that have the libraries imported already.

    A process runs one after another, each in a shell of its own: what draws the charts starts once in it, which takes
    longer than a notebook's charts. A process that has drawn a chart cannot be divided: it then runs them all itself.

    Parameters
    ----------
    sources, outs
        As of :func:`run_notebook`.
    processes
        How many run at once.

    Raises
    ------
    CarseqError
        If one fails or is killed. The others are run to their end.
    """
    for _ in get_ready():
        pass
    # What is wrong with a study, its notebooks tell themselves.
    with suppress(CarseqError):
        read_ahead(Path(outs[0]).parent.parent)
    left = list(zip(sources, outs, strict=True))
    free: list[tuple[Connection, BaseProcess]] = []
    running: dict[Connection, tuple[Path, BaseProcess]] = {}
    failed: list[Exception] = []
    while left and not _may_divide():
        try:
            run_notebook(*left.pop(0))
        except Exception as fault:
            failed.append(fault)
    while left or running:
        while left and len(running) < processes:
            connection, process = free.pop() if free else _begin()
            source, out = left.pop(0)
            connection.send((source, out))
            running[connection] = Path(source), process
        for ready in wait(list(running)):
            assert isinstance(ready, Connection)
            name, process = running.pop(ready)
            try:
                error = ready.recv()
            except EOFError:
                process.join()
                ready.close()
                error = _ended(name, process.exitcode or 0)
            else:
                free.append((ready, process))
            if error is not None:
                failed.append(error)
    for connection, process in free:
        connection.send(None)
        process.join()
    if failed:
        raise failed[0]


def _begin() -> tuple[Connection, BaseProcess]:
    """Return a process that runs the notebooks sent to it, and what they are sent by."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_run_those_sent, args=(there,), daemon=True)
    process.start()
    # Held by that process alone, so that its end is seen here.
    there.close()
    return here, process


def _may_divide() -> bool:
    """Return whether this process can be forked: the threads of vl-convert, once it has run, are missing in a child.

    The child would wait for them for ever.
    """
    threads = Path("/proc/self/task").glob("*/comm")
    return not any(path.read_text().startswith("tokio") for path in threads)


def get_ready() -> Iterator[None]:
    """Import what a notebook imports, a library at each step, before processes divide."""
    import anndata  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from carseq import figures, report

    yield
    # The last ones are modules of other packages: IPython's figures, and what papermill uses to format the cell of
    # parameters.
    for name in (
        "jupytext", "nbformat", "IPython", "papermill", "carseq.report.kernel", "matplotlib_inline.backend_inline",
        "black",
    ):  # fmt: skip
        with suppress(ImportError):
            importlib.import_module(name)
        yield
    # Both import their parts on first use.
    for package in (figures, report):
        for name in package.__all__:
            getattr(package, name)
        yield
    from carseq.figures.chart import make_alike
    from carseq.figures.style import draw_first

    for prepare in (make_alike, draw_first):
        prepare()
        yield


def _run_those_sent(connection: Connection) -> None:
    """Run notebooks in a process of its own; answer each with the error that it ends with, or None."""
    end_with_parent()
    while (sent := connection.recv()) is not None:
        error = None
        try:
            run_notebook(*sent)
        except Exception as fault:
            error = fault
        connection.send(error)


def _ended(source: Path, code: int) -> CarseqError:
    """Return the error of a notebook's process that could say nothing itself."""
    if code < 0:
        return killed(f"the notebook {source.name}", -code)
    return CarseqError(
        f"the notebook {source.name} ended with exit code {code}", "", "run it again"
    )


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
