"""Fixtures shared by the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from carseq.construct import Construct, load_construct
from carseq.data import path as data_path

ROOT = Path(__file__).parent.parent
#: Fixtures that run the workflow for minutes, the longest first: each has a worker of `pytest -n`.
LONG = ("demo", "cluster", "five_prime", "real")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give a worker of ``pytest -n`` all tests that share a long fixture, or else a file; the long ones first."""

    def group(item: pytest.Item) -> str:
        names = getattr(item, "fixturenames", ())
        if item.get_closest_marker("workflow") or item.get_closest_marker("slurm"):
            return next((name for name in LONG if name in names), item.nodeid)
        return item.path.name

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: (*LONG, group(item)).index(group(item)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it skip where it is absent."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data of ../shared/data are not here")
    return folder


@pytest.fixture(scope="session")
def surrogate() -> Construct:
    """The HBI0101 surrogate."""
    return load_construct(data_path("constructs/hbi0101_surrogate.gb"), name="HBI0101")
