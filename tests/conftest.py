"""Fixtures shared by the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from carseq.construct import Construct, load_construct
from carseq.data import path as data_path

ROOT = Path(__file__).parent.parent
#: The longest files, which `pytest -n 3 --dist loadfile` begins with; long ones that need none of what these make;
#: those that take the demo or the 5' study, by then made; further long ones. All others follow: short, so that no
#: worker of three is left alone for long.
FIRST = ("test_demo.py", "test_slurm.py", "test_five_prime.py")
THEN = (
    "test_real_run.py", "test_batches.py", "test_real_cells.py", "test_calls.py", "test_ambient.py",
    "test_ways_in.py", "test_from_finished.py", "test_kallisto_run.py", "test_without_bam.py", "test_torture.py",
    "test_page.py", "test_browser.py", "test_notebooks.py", "test_compare.py", "test_determinism.py", "test_wheel.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first, so that no worker of ``pytest -n`` is left alone with one at the end."""
    order = {name: place for place, name in enumerate((*FIRST, *THEN))}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


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
    return load_construct(data_path("constructs/hbi0101_surrogate_native.gb"), name="HBI0101")
