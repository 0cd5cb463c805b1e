"""study: a validated configuration with its sheets.

Names are imported on first use, so that a command that needs a path alone does not load tables.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carseq.study.config import Config, load_config, parse_config, read_config, resolve_paths
    from carseq.study.load import load_study, read_study
    from carseq.study.model import Study
    from carseq.study.sheets import Sample, Unit, further_columns

__all__ = [
    "Config",
    "Sample",
    "Study",
    "Unit",
    "further_columns",
    "load_config",
    "load_study",
    "parse_config",
    "read_config",
    "read_study",
    "resolve_paths",
]

_HOMES = ("config", "load", "model", "sheets")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = importlib.import_module(f"carseq.study.{home}")
            if hasattr(module, name):
                return getattr(module, name)
    raise AttributeError(f"module 'carseq.study' has no attribute '{name}'")
