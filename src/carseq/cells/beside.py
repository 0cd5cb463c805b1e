"""A process that learns the latent space and lays out the map, beside the one that reads, counts and annotates.

scvi-tools takes as long to import as a few thousand cells to train. Where there is a second core, a process imports it
while this one reads the samples, and trains while this one imports what clusters the cells. Then it lays out the map
while this one annotates them.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from carseq.cells.clusters import keep_compiled
from carseq.cells.latent import MIN_CELLS_SCVI, MIN_CELLS_THREADS
from carseq.cells.training import import_scvi
from carseq.io.failures import killed
from carseq.io.h5ad import number_of_cells
from carseq.machine import end_with_parent


class Beside:
    """A process beside this one, with scvi-tools."""

    def __init__(self) -> None:
        # A copy of this process, before it has threads of its own: it needs no module to start from.
        context = multiprocessing.get_context("fork")
        self._connection, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, self._connection), daemon=True)
        self._process.start()
        # Held by that process alone, so that its end is seen here.
        there.close()

    def run(self, function: Callable[..., Any], *given: Any) -> Any:
        """Return what a function gives in that process; meanwhile import what comes next in this one.

        Raises
        ------
        CarseqError
            If the process was killed. What the function raises is raised here.
        """
        result = self.start(function, *given)
        keep_compiled()
        return result()

    def start(self, function: Callable[..., Any], *given: Any) -> Callable[[], Any]:
        """Have a function run in that process, and return what waits for its result; one at a time.

        Raises
        ------
        CarseqError
            While waiting, if the process was killed. What the function raises is raised then.
        """
        # A process that was killed is told where its result is missed.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._connection.send((function, given))
        return self._result

    def _result(self) -> Any:
        """Wait for a result."""
        try:
            failed, result = self._connection.recv()
        except (EOFError, ConnectionResetError):
            what = "the process that learns the latent space and lays out the map"
            raise killed(what) from None
        if failed:
            raise result
        return result

    def end(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.terminate()
        self._process.join()


def _serve(connection: Connection, other: Connection) -> None:
    """Import scvi-tools; do what is asked, and import what lays out the map."""
    end_with_parent()
    other.close()
    # What fails here fails again, and is told, where a function needs it.
    with suppress(Exception):
        import_scvi()
    try:
        while True:
            function, given = connection.recv()
            try:
                connection.send((False, function(*given)))
            except Exception as error:
                connection.send((True, error))
            # While the other process looks for clusters.
            with suppress(Exception):
                keep_compiled()
    except EOFError:
        return


@contextmanager
def learning_beside(
    files: Iterable[str | Path], method: str, threads: int
) -> Iterator[Beside | None]:
    """Give a process with scvi-tools, beside this one; None where it is not worth one.

    Parameters
    ----------
    files
        Cells of the samples, as h5ad.
    method
        How the samples are integrated.
    threads
        Cores that the two processes may use.
    """
    wanted = threads > 1 and method == "scvi"
    if wanted:
        wanted = MIN_CELLS_SCVI <= sum(map(number_of_cells, files)) < MIN_CELLS_THREADS
    if not wanted:
        yield None
        return
    beside = Beside()
    try:
        yield beside
    finally:
        beside.end()
