"""The demo study, run once for all who take it."""

from __future__ import annotations

from pathlib import Path

import pytest

from carseq.simulate import simulate_study
from once import once
from runs import Finished, run


def make_demo(folder: Path) -> None:
    """Simulate and run the demo."""
    simulate_study(folder, construct="hbi0101_surrogate_native.gb")
    run(folder)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The demo study, simulated and run."""
    return Finished(once(tmp_path_factory, "demo", make_demo))
