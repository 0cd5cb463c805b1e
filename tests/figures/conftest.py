"""A study as the report reads it, for tests that leave it as it is."""

from __future__ import annotations

import pytest

from carseq.report import Study, read_study
from study import demo_samples, write_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    samples = demo_samples()
    return read_study(write_study(tmp_path_factory.mktemp("study") / "results", samples))
