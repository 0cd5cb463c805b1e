"""Several processes for the parts of one job."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from carseq.io.failures import killed
from carseq.machine import end_with_parent

T = TypeVar("T")
R = TypeVar("R")

#: What the processes of :func:`in_processes` do: they are copies of this one, so that it need not be sent to them.
_given: tuple[Callable[[Any], Any], Sequence[Any]] | None = None


def in_processes(function: Callable[[T], R], items: Sequence[T], processes: int) -> list[R]:
    """Return what a function gives for each item, worked out in several processes.

    The processes are copies of this one and hold what it holds; only results are sent. What is drawn at random must be
    seeded by the item, for the results to be those of one process.

    Parameters
    ----------
    function
        Of one item. Its result can be pickled.
    items
        What to do, the longest first where that is known.
    processes
        How many at once; with 1 this process does it.

    Raises
    ------
    CarseqError
        If a process was killed. What the function raises is raised here.
    """
    global _given
    if min(processes, len(items)) < 2:
        # One thread each, here as there: sums by several threads may differ in their last digits.
        with threadpool_limits(1):
            return [function(item) for item in items]
    _given = function, items
    try:
        with ProcessPoolExecutor(
            min(processes, len(items)),
            mp_context=multiprocessing.get_context("fork"),
            initializer=_begin,
        ) as pool:
            return list(pool.map(_one, range(len(items))))
    except BrokenProcessPool:
        raise killed("a process of this job") from None
    finally:
        _given = None


def _begin() -> None:
    end_with_parent()
    threadpool_limits(1)


def _one(number: int) -> Any:
    assert _given is not None
    function, items = _given
    return function(items[number])
