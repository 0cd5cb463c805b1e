"""start: a study begun from a folder, and everything that can be known to be wrong before it runs.

Names are imported on first use, so that a command that looks for FASTQ files alone does not load the configuration.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carseq.start.check import check_study
    from carseq.start.folders import find_fastqs
    from carseq.start.init import start_study

__all__ = ["check_study", "find_fastqs", "start_study"]

_HOMES = {"check_study": "check", "find_fastqs": "folders", "start_study": "init"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'carseq.start' has no attribute '{name}'")
    return getattr(importlib.import_module(f"carseq.start.{_HOMES[name]}"), name)
