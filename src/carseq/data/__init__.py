"""Facts that come with carseq: sequences with their accessions, constructs, markers."""

from __future__ import annotations

from pathlib import Path


def path(name: str) -> Path:
    """Return the path of a data file or folder that comes with carseq."""
    return Path(__file__).parent / name
