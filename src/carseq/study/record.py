"""What a results folder was made with, compared with the present configuration."""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

from carseq.errors import CarseqError
from carseq.io.atomic import atomic
from carseq.io.files import read_json
from carseq.io.results import read_record
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
    path = Path(FILES["run_config"].at(results))
    record = read_record(path) if path.is_file() else {}
    if not record:
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
                if name in held and not alike(held[name], own)
            ]
        elif not alike(was, value):
            changed.append(key)
    sheet = record.get("sheet")
    if isinstance(sheet, dict) and set(sheet) != set(study.samples):
        changed.append("samples")
    return changed


def alike(one: Any, other: Any) -> bool:
    """Return whether two values are the same; of paths, whether they name a file of the same name."""
    if isinstance(one, str) and isinstance(other, str) and ("/" in one or "/" in other):
        return Path(one).name == Path(other).name
    return bool(one == other)


def take_over_notes(metadata: Path, folder: Path) -> None:
    """Have Snakemake's notes name the study's files as they are seen from its folder.

    Earlier runs named them from the root: taken for other files, all would be made anew.

    Parameters
    ----------
    metadata
        The folder of Snakemake's notes.
    folder
        The study's.

    Raises
    ------
    CarseqError
        If they are another user's, and closed to this one.
    """
    start = f"{folder}/"
    for path in metadata.rglob("*"):
        try:
            text = path.read_text() if path.is_file() else ""
        except PermissionError as error:
            raise CarseqError(
                f"Snakemake's notes of this study cannot be read: {path}",
                error.strerror or "",
                "they are open to the group of who ran it: ask for a group that both are in (`chgrp -R GROUP` of the "
                "study's folder), or run a copy of configuration and sheets in a folder of your own",
            ) from None
        if f'"{start}' not in text:
            continue
        try:
            notes = json.loads(text)
            named = [str(name).removeprefix(start) for name in notes["input"]]
        except (ValueError, KeyError, TypeError):
            continue
        if named != notes["input"]:
            # In Snakemake's order.
            notes["input"] = sorted(named)
            changed = path.stat()
            with atomic(path) as temporary:
                temporary.write_text(json.dumps(notes))
            os.utime(path, ns=(changed.st_atime_ns, changed.st_mtime_ns))


def _noted(file: str, metadata: Path) -> bool:
    """Return whether Snakemake's notes tell of a file: those of another results folder say nothing of this one."""
    wanted = urlsafe_b64encode(file.encode()).decode()
    for path in metadata.rglob("*") if metadata.is_dir() else ():
        # Of a long name each folder holds a part, behind an @.
        name = "".join(part.removeprefix("@") for part in path.relative_to(metadata).parts)
        # A power cut may leave notes of which the disk holds the name alone.
        if name == wanted and path.is_file() and path.stat().st_size:
            return True
    return False


def _rows_changed(study: Study, results: Path) -> list[str]:
    """Return what of the samples sheet differs from the record of a results folder, such as ``patient of S1``."""
    path = Path(FILES["run_config"].at(results))
    rows = read_record(path).get("sheet") if path.is_file() else None
    changed = []
    for name, sample in study.samples.items():
        was = rows.get(name) if isinstance(rows, dict) else None
        if isinstance(was, dict):
            changed += [
                f"{key} of {name}"
                for key, own in sample.model_dump().items()
                if key in was and not alike(was[key], own)
            ]
    return changed


#: Inputs that may be edited without a change of what they mean, or are compared by what they say.
_SHEETS = ("sheet of samples", "sheet of units", "record of the study reused")


def _inputs_changed(study: Study, results: Path) -> list[str]:
    """Return which inputs are others than those that the manifest of a results folder names, by name and size."""
    try:
        entries = read_json(FILES["ro_crate"].at(results))["@graph"]
    except (CarseqError, KeyError, TypeError):
        # Not there yet; of a cut one the checksums tell.
        return []
    was: dict[str, set[tuple[str, str]]] = {}
    for entry in entries:
        if str(entry.get("@id", "")).startswith("#input/"):
            named = (str(entry.get("name")), str(entry.get("contentSize", "")))
            was.setdefault(str(entry.get("description")), set()).add(named)
    now: dict[str, set[tuple[str, str]]] = {}
    for role, file in study.inputs():
        size = str(os.path.getsize(file)) if os.path.isfile(file) else ""
        now.setdefault(role, set()).add((Path(file).name, size))
    return [role for role in was if role in now and was[role] != now[role] and role not in _SHEETS]


def check_record(study: Study, metadata: Path) -> None:
    """Check that results of another configuration, or of other files, will be made anew.

    Snakemake tells a changed setting from its own notes (``.snakemake/metadata``). Where these were lost, because the
    results were moved, archived or copied without them, it would keep old results beside the new settings.

    Parameters
    ----------
    study
        The study of now.
    metadata
        The folder of Snakemake's notes.

    Raises
    ------
    CarseqError
        If the results are of another configuration and the notes are missing.
    """
    results = Path(study.config.results)
    record = FILES["run_config"].at(study.config.results.rstrip("/"))
    if _noted(record, metadata):
        return
    changed = [*changed_since(study, results), *_rows_changed(study, results)]
    changed += [what for what in _inputs_changed(study, results) if what not in changed]
    if not changed:
        return
    raise CarseqError(
        f"{results} was made with another configuration or of other files, and nothing says which of it is still right",
        f"{', '.join(changed[:6])} changed since; Snakemake's notes ({metadata}) are not there, by which it would make "
        "anew what depends on that",
        f"name another `results`; or remove {record} and run once with `--forceall`, which makes everything anew; or "
        "take the old settings back",
    )
