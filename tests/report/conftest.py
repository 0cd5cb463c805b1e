"""A results folder of every verdict, for tests that leave it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from carseq.report import Study, build_report, read_study
from once import once
from study import big_samples, write_study


def _make_written(folder: Path) -> None:
    build_report(write_study(folder / "results"), folder / "report.html")


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results, made once for all workers; tests leave them as they are."""
    return once(tmp_path_factory, "lupus-urine", _make_written) / "results"


@pytest.fixture(scope="session")
def report(results: Path) -> Path:
    """The page of these results."""
    return results.parent / "report.html"


@pytest.fixture(scope="session")
def study(results: Path) -> Study:
    return read_study(results)


def _make_large(folder: Path) -> None:
    build_report(write_study(folder / "results", big_samples()), folder / "report.html")


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of twenty samples and fifty thousand cells, made once for all workers."""
    return once(tmp_path_factory, "large", _make_large) / "report.html"
