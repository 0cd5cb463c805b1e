"""A results folder of every verdict, for tests that leave it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from carseq.report import Study, read_study
from study import write_study


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("lupus-urine") / "results")


@pytest.fixture(scope="session")
def study(results: Path) -> Study:
    return read_study(results)
