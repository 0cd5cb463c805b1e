"""What is kept in the user's cache folder: made once, and again where it is damaged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from carseq.io.cache import cache_folder, kept
from carseq.library import whitelist


def test_what_is_kept_is_made_once_for_each_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made: list[str] = []

    def ask(key: str) -> bytes:
        return kept("text", key, lambda: made.append(key) or key.encode() * 3)  # type: ignore[func-returns-value]

    assert [ask("a"), ask("a"), ask("b")] == [b"aaa", b"aaa", b"bbb"]
    assert made == ["a", "b"]
    files = sorted(cache_folder().iterdir())
    assert len(files) == 2
    for spoil in (lambda b: b[:-1], lambda b: b"", lambda b: b[:-1] + b"x"):
        for file in files:
            file.write_bytes(spoil(file.read_bytes()))
        made.clear()
        assert [ask("a"), ask("b")] == [b"aaa", b"bbb"]
        assert made == ["a", "b"]
    assert sorted(cache_folder().iterdir()) == files


def test_where_nothing_can_be_kept_it_is_made_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert kept("text", "a", lambda: b"x") == kept("text", "a", lambda: b"x") == b"x"


def test_a_known_list_read_again_gives_the_same_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = whitelist.known_whitelist("10x_version2")
    first, again = whitelist.read_whitelist(path), whitelist.read_whitelist(path)
    own = tmp_path / path.name
    own.write_bytes(path.read_bytes())
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, whitelist.read_whitelist(own))
