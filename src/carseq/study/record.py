"""What a results folder was made with, held against the configuration of now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from carseq.schema.results import FILES
from carseq.study.model import Study

#: Keys that decide on no number in the results.
_HARMLESS = ("results", "samples", "units", "report", "sheet")


def changed_since(study: Study, results: Path) -> list[str]:
    """Return the keys whose values differ from those that a results folder was made with.

    Parameters
    ----------
    study
        The study of now.
    results
        Its results folder; without a record in it nothing has changed.

    Returns
    -------
    list of str
        Such as ``calling.fdr``, ``reference.gtf`` (by the file's name: a study may have been moved) or ``samples``.
    """
    path = FILES["run_config"].at(results)
    try:
        record = yaml.safe_load(Path(path).read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return []
    if not isinstance(record, dict):
        return []
    now = study.config.model_dump()
    changed = []
    for key, value in now.items():
        if key in _HARMLESS:
            continue
        was = record.get(key)
        if isinstance(value, dict):
            held = was if isinstance(was, dict) else {}
            # A key that the record's version did not know had its default.
            changed += [
                f"{key}.{name}"
                for name, own in value.items()
                if name in held and not _alike(held[name], own)
            ]
        elif not _alike(was, value):
            changed.append(key)
    sheet = record.get("sheet")
    if isinstance(sheet, dict) and set(sheet) != set(study.samples):
        changed.append("samples")
    return changed


def _alike(one: Any, other: Any) -> bool:
    """Return whether two values are the same; of paths, whether they name a file of the same name."""
    if isinstance(one, str) and isinstance(other, str) and ("/" in one or "/" in other):
        return Path(one).name == Path(other).name
    return bool(one == other)
