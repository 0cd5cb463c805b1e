"""The results folder: which version made it, and what is said of an older one."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import yaml

import carseq
from carseq.errors import CarseqError
from carseq.io.results import changed_since, check_made_by, made_by, upgrade_notice
from carseq.report import read_study
from carseq.schema.results import VERSIONS
from carseq.workflow import versions

ROOT = Path(__file__).parents[2]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A results folder of version 0.1.0."""
    (tmp_path / "cohort").mkdir()
    (tmp_path / "versions.json").write_text('{"python": "3.11.7", "carseq": "0.1.0"}')
    return tmp_path


def test_the_version_stands_in_one_place() -> None:
    """The package has it; pyproject.toml reads it there, and the citation is of the same version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "carseq.__version__"}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == carseq.__version__
    assert versions()["carseq"] == carseq.__version__
    assert f"\n## {carseq.__version__} (" in (ROOT / "CHANGELOG.md").read_text()


def test_no_room_is_of_a_version_that_is_not_out() -> None:
    """A fourth number counts steps between versions."""
    numbers = [int(n) for n in carseq.__version__.split(".")]
    assert all([int(n) for n in v.split(".")[:3]] <= numbers for v in VERSIONS.values())


def test_a_folder_of_an_older_version_is_told_as_such(old: Path) -> None:
    """Reading it is refused, with the rooms that have changed and what to run again."""
    for read in (check_made_by, read_study):
        with pytest.raises(CarseqError, match=r"made by carseq 0\.1\.0") as told:
            read(old)
        assert "calling" in told.value.cause
        assert "snakemake --configfile" in told.value.remedy


def test_a_run_in_a_folder_of_an_older_version_says_what_it_makes_anew(old: Path) -> None:
    told = upgrade_notice(old)
    assert "made by carseq 0.1.0" in told
    assert all(room in told for room in changed_since("0.1.0"))


@pytest.mark.parametrize("text", [None, "", "[]", '{"python": "3.11"}', "of this version"])
def test_a_folder_of_this_version_or_of_none_is_read(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        own = json.dumps({"carseq": carseq.__version__}) if text == "of this version" else text
        (tmp_path / "versions.json").write_text(own)
    check_made_by(tmp_path)
    assert upgrade_notice(tmp_path) == ""
    assert made_by(tmp_path) in ("", carseq.__version__)
