"""The demo study, run once for all who take it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from carseq.simulate import simulate_study
from carseq.simulate.study import demo_samples
from once import once
from runs import Finished, run


def make_demo(folder: Path) -> None:
    """Simulate and run the demo, with fewer cells and as many CAR T cells among them."""
    more = {"P01_urine_D0": 0.0, "P01_urine_D28": 0.5, "P01_blood_D28": 0.25}
    samples = [replace(s, car_fraction=more[s.name]) for s in demo_samples(cells=260)]
    simulate_study(folder, construct="hbi0101_surrogate_native.gb", samples=samples)
    run(folder)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The demo study, simulated and run."""
    return Finished(once(tmp_path_factory, "demo", make_demo))
