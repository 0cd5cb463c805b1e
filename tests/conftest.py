"""Fixtures shared by the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from carseq.construct import Construct

# As in the Makefile: the tests start some hundred processes, and each would compile all its libraries anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

ROOT = Path(__file__).parent.parent
#: The longest files, which the workers of `pytest -n 4 --dist loadfile` begin with, and further long ones. Short files
#: follow, and at the end those that take the demo: a worker that waited for it would leave a core idle. A worker is
#: given its next file when it has two tests left, so that behind a file of one or two tests comes one that is short.
FIRST = ("test_demo.py", "test_slurm.py", "test_real_run.py")
THEN = (
    "test_real_cells.py", "test_calls.py", "test_compare.py", "test_page.py", "test_browser.py", "test_notebooks.py",
    "test_batches.py", "test_ambient.py", "test_documentation.py", "test_cells_scale.py", "test_annotation.py",
    "test_determinism.py", "test_wheel.py",
)  # fmt: skip
LAST = (
    "test_from_finished.py", "test_ways_in.py", "test_five_prime.py", "test_torture.py", "test_without_bam.py",
    "test_kallisto_run.py",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Have the jobs of all tests' runs handed to one process, as those of one run are, where several tests run at once.

    Otherwise each run has its own, as a user's. Runs that hook into Python (PYTHONPATH), of another environment or of a
    cluster import by themselves.
    """
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        from carseq import preload

        preload.start(ROOT / "workflow" / "scripts")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first, and those that take the demo last."""
    order = {name: place for place, name in enumerate((*FIRST, *THEN), -len(FIRST + THEN))}
    order |= {name: place for place, name in enumerate(LAST, 1)}
    items.sort(key=lambda item: order.get(item.path.name, 0))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their place and not by their content, which may hold the time (as gzip's does).

    The workers of pytest-xdist collect the tests each for itself, and stop where two differ by one name.
    """
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data of ../shared/data are not here")
    return folder


@pytest.fixture(scope="session")
def surrogate() -> Construct:
    """The HBI0101 surrogate in native coding, whose reads human genes share: the harder case."""
    from carseq.construct import load_construct
    from carseq.data import path as data_path

    return load_construct(data_path("constructs/hbi0101_surrogate_native.gb"), name="HBI0101")
