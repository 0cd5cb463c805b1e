"""Figures drawn beside other work, in a process of their own.

What draws a figure holds Python's lock for a second when it starts, so that a thread would stop all others.
"""

from __future__ import annotations

import io
import multiprocessing
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from carseq.machine import end_with_parent, without_search_for_unused


class Beside:
    """Draws figures beside other work; here, where it has nobody to do so.

    Parameters
    ----------
    pool
        Who draws.
    """

    def __init__(self, pool: Executor | None = None) -> None:
        self._pool = pool

    def start(self, draw: Callable[..., None], *given: Any) -> Callable[[], None]:
        """Begin a figure; return what waits until it is drawn. If the process was killed, it is drawn here."""
        begun: Future[None] | None = None
        with suppress(BrokenExecutor):
            begun = self._pool.submit(draw, *given) if self._pool else None

        def finish() -> None:
            if begun is not None:
                with suppress(BrokenExecutor):
                    return begun.result()
            return draw(*given)

        return finish


@contextmanager
def drawing() -> Iterator[Beside]:
    """Give what draws figures; it starts to load all it needs.

    It is a copy of this process on Linux, so that libraries which are loaded here are not loaded again. Where no copy
    can be made safely, since other threads run, figures were drawn here already, or the system is another, it is a
    thread.
    """
    alone = threading.active_count() == 1 and "vl_convert" not in sys.modules
    pool: Executor
    if sys.platform == "linux" and alone:
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("fork"), _begin)
    else:
        pool = ThreadPoolExecutor(1)
    with pool:
        pool.submit(_load)
        yield Beside(pool)


def _begin() -> None:
    # Ctrl-C is the other process's to handle, which ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def _load() -> None:
    """Draw a small figure: the first one takes a second longer than any other."""
    small = np.array([2, 1])
    with without_search_for_unused():
        save_knee(small, small[1:], small[1:], "", io.BytesIO())


def save_knee(
    reads: npt.NDArray[np.int64],
    ranks: npt.NDArray[np.int64],
    molecules: npt.NDArray[np.int64],
    sample: str,
    path: Path | IO[bytes],
) -> None:
    """Draw the barcodes by their reads, and save the figure.

    Parameters
    ----------
    reads
        Of each barcode, the most first.
    ranks, molecules
        From 1, of the barcodes with a CAR molecule, and how many each has.
    sample
        Its name, above the figure.
    path
        PNG, SVG or PDF; or a stream, for a PNG.
    """
    from carseq import figures

    table = pd.DataFrame(
        {
            "rank": np.arange(1, len(reads) + 1),
            "total_umis": reads,
            "is_cell": False,
            "car_umis": 0,
        }
    )
    table.loc[ranks - 1, "car_umis"] = molecules
    figures.knee(table, sample, what="reads").save(
        path, kind=None if isinstance(path, Path) else "png"
    )
