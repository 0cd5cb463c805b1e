"""A study as the report reads it, for tests that leave it as it is."""

from __future__ import annotations

import pytest

from carseq.report import Study, read_study
from study import demo_samples, write_study


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    samples = demo_samples()
    return read_study(write_study(tmp_path_factory.mktemp("study") / "results", samples))


@pytest.fixture(autouse=True)
def valid_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each figure that a test draws is checked by Vega-Lite's schema."""
    monkeypatch.setattr("carseq.figures.chart.as_dict", lambda chart: chart.to_dict(validate=True))
