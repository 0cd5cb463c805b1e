"""Several processes for one job: same results, errors and deaths told."""

from __future__ import annotations

import os
import signal

import pytest

from carseq.errors import CarseqError
from carseq.parallel import in_processes


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_results_come_in_order_from_whatever_a_function_holds(processes: int) -> None:
    factor = 3
    assert in_processes(lambda x: x * factor, range(5), processes) == [
        0, 3, 6, 9, 12,
    ]  # fmt: skip


def test_the_work_is_shared_and_none_is_started_for_one_item() -> None:
    pids = in_processes(lambda x: os.getpid(), range(4), 2)
    assert os.getpid() not in pids
    assert in_processes(lambda x: os.getpid(), [1], 2) == [os.getpid()]
    assert in_processes(lambda x: x, [], 2) == []


def test_what_a_function_raises_is_raised_here() -> None:
    def fails(x: int) -> int:
        raise CarseqError("bad", "cause", "remedy")

    with pytest.raises(CarseqError, match="bad") as error:
        in_processes(fails, [1, 2], 2)
    assert "remedy" in str(error.value)


def test_a_process_that_is_killed_is_told() -> None:
    def dies(x: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(CarseqError, match="was killed"):
        in_processes(dies, [1, 2], 2)
