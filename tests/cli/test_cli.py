"""cli: `carseq construct` is a group whose command `map` may be left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from carseq.cli import app

FILE = "hbi0101_surrogate.gb"


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["construct", *words])
    assert done.exit_code in (0, 1), done.output
    return done.output


@pytest.mark.parametrize(
    "words", [(FILE, "--chemistry", "5p"), ("--chemistry", "5p", FILE)], ids=["before", "after"]
)
def test_map_may_be_left_out(words: tuple[str, ...]) -> None:
    """Options may stand before the file or behind it."""
    assert run(*words) == run("map", FILE, "--chemistry", "5p")


def test_a_file_that_is_called_like_a_command_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "ide-cel" in run("list")
    (tmp_path / "list").write_text("no construct")
    done = CliRunner().invoke(app, ["construct", "list"])
    assert done.exit_code != 0
    assert "ide-cel" not in done.output
