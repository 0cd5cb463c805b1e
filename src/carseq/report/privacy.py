"""Paths as a page that is handed on may show them: relative to the study, or the file's name alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from carseq.schema.shares import names_persons

#: An absolute path inside a sentence: two parts or more, after a blank, a quote or a bracket.
_IN_TEXT = re.compile(r"""(?<![^\s'"`(\[=:,;])(?:/[^\s/'"`)\],;]+){2,}/?""")


def shown_path(path: str, study: Path) -> str:
    """Return a path relative to the study's folder; of one outside of it, its name alone.

    >>> shown_path("/home/ann/lupus/genome.fa", Path("/home/ann/lupus"))
    'genome.fa'
    >>> shown_path("/data/genomes/GRCh38.fa", Path("/home/ann/lupus"))
    'GRCh38.fa'
    >>> shown_path("samples.tsv", Path("/home/ann/lupus"))
    'samples.tsv'
    >>> shown_path("/home/ann/lupus/../Levi, B/genome.fa", Path("/home/ann/lupus"))
    'genome.fa'
    """
    if re.match(r"[A-Za-z]:[\\/]", path):
        return PureWindowsPath(path).name
    if not os.path.isabs(path):
        return path
    whole = Path(os.path.normpath(path))
    return str(whole.relative_to(study)) if whole.is_relative_to(study) else whole.name


def without_persons(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's settings without what the samples sheet says of who its patients are (``mrn``, ``patient_name``).

    Parameters
    ----------
    config : mapping
        The record of a run, with the rows of the sheet in ``sheet``.
    """
    sheet = config.get("sheet")
    if not isinstance(sheet, dict):
        return dict(config)
    rows = {
        sample: {key: value for key, value in row.items() if not names_persons(str(key))}
        if isinstance(row, dict)
        else row
        for sample, row in sheet.items()
    }
    return {**config, "sheet": rows}


def without_paths(value: Any, study: Path) -> Any:
    """Return a value, or a structure of dicts and lists, whose absolute paths are shortened (:func:`shown_path`).

    Parameters
    ----------
    value : Any
        Text, or what YAML and JSON hold.
    study : Path
        The study's folder.
    """
    if isinstance(value, dict):
        return {key: without_paths(item, study) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_paths(item, study) for item in value]
    if not isinstance(value, str):
        return value
    if os.path.isabs(value) or re.match(r"[A-Za-z]:[\\/]", value):
        return shown_path(value, study)
    return _IN_TEXT.sub(lambda found: shown_path(found[0].rstrip("/"), study), value)
