"""What a results folder says of its making: version of carseq and settings, and whether this version can read it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from carseq.errors import CarseqError
from carseq.io.files import reading
from carseq.schema.results import FILES, READS_SINCE, VERSIONS


def study_name(results: Path) -> str:
    """Return the name of a study: that of its folder."""
    results = results.resolve()
    return results.parent.name if results.name in {"results", "out", "output"} else results.name


def way_in(given: Mapping[str, Any]) -> str:
    """Return how a sample came, by its row of the sheet: as ``fastq``, as a ``bam`` or as a ``matrix`` alone."""
    if given.get("bam"):
        return "bam"
    return "matrix" if given.get("matrix") or given.get("raw_matrix") else "fastq"


def of_run(record: Mapping[str, Any], name: str, sample: str = "") -> bool:
    """Return whether a run of the recorded configuration makes a file, which an earlier one may have left.

    A sample that comes as a matrix now, and a study that names no construct any more, still have those files.

    Parameters
    ----------
    record
        The record of the run (:func:`read_record`).
    name
        Of the file in ``FILES``.
    sample
        Whose it is.
    """
    room = FILES[name].room
    rows = record.get("sheet") or {}
    if sample and way_in(rows.get(sample) or {}) == "matrix":
        return room not in ("solo", "molecules") and name != "losses"
    given = record.get("construct") or {}
    if name == "support":
        return "alternatives" not in given or bool(given["alternatives"])
    alone = bool(rows) and all(way_in(row or {}) == "matrix" for row in rows.values())
    if alone and name in ("homology", "homology_bed", "rivals", "loci"):
        return False
    return room != "construct" or "file" not in given or bool(given["file"])


def made_by(results: str | Path) -> str:
    """Return the version of carseq that made a results folder; empty if the folder does not say.

    Parameters
    ----------
    results
        The folder the workflow writes.
    """
    try:
        found = json.loads(Path(FILES["versions"].at(results)).read_text())
    except (OSError, ValueError):
        return ""
    return str(found.get("carseq", "")) if isinstance(found, dict) else ""


def changed_since(version: str) -> list[str]:
    """Return the rooms whose results have changed since a version of carseq.

    Examples
    --------
    >>> changed_since("0.1.0")[:2]
    ['construct', 'reference']
    >>> changed_since("99.0")
    []
    """
    return [
        room
        for room, since in VERSIONS.items()
        if room not in ("transcript", "library") and _numbers(since) > _numbers(version)
    ]


def check_made_by(results: str | Path) -> None:
    """Check that a results folder was not made by a version of carseq whose files this one does not read.

    Parameters
    ----------
    results
        The folder the workflow writes; one that does not say what made it passes.

    Raises
    ------
    CarseqError
        If it was, with the rooms that have changed and what to run again.
    """
    version = made_by(results)
    if version and _numbers(version) < _numbers(READS_SINCE):
        rooms = changed_since(version)
        raise CarseqError(
            f"{results} was made by carseq {version}, whose tables this version does not read",
            f"the results of {', '.join(rooms)} have changed since",
            "run the study again (`carseq run study/config.yaml`, or `snakemake --configfile CONFIG --cores N`): it "
            f"makes them anew, and what follows from them; or read them with carseq {version}",
        )


def no_finished_run(results: str | Path, missing: str | Path) -> CarseqError:
    """Return the error for a folder that holds no finished run; it names the results folder where that is near.

    Parameters
    ----------
    results
        What was taken for a results folder.
    missing
        The file that a finished run has there.
    """
    given = Path(results)
    inside = Path(missing).relative_to(given)
    # The study's folder, a part of the results, and the configuration (or another file) in place of its results.
    near = [given / "results", given.parent, given.parent.parent, given.parent / "results"]
    found = next((folder for folder in near if (folder / inside).exists()), None)
    remedy = (
        f"did you mean {found}?"
        if found is not None
        else "give the folder named by `results:` in the configuration, after `carseq run` came to its end"
    )
    return CarseqError(f"{results} holds no finished run", f"no {missing}", remedy)


def upgrade_notice(results: str | Path) -> str:
    """Return a sentence for a run in a results folder of an older version: what is made anew; empty if nothing is."""
    version = made_by(results)
    rooms = changed_since(version) if version else []
    if not rooms:
        return ""
    return (
        f"{results} was made by carseq {version}. The results of {', '.join(rooms)} have changed since: they are made "
        "anew, and what follows from them. To keep the genome's STAR index, which takes longest, move "
        f"{FILES['base_index'].at(results)} elsewhere and name it in `reference.star_index`."
    )


#: Begins a path of the record that is relative to the folder in which the results folder lies.
_HERE = "./"


def record_text(record: dict[str, Any], results: str | Path) -> str:
    """Return the record of a run as YAML: its settings and samples, paths in the study's folder relative to it.

    So it names no home folder, is the same wherever the study lies, and holds after the study was moved. Paths outside
    of the study's folder stay: they say where the genome came from.

    Parameters
    ----------
    record
        The configuration, and under ``sheet`` the samples.
    results
        The results folder; the folder that it lies in is the study's.
    """
    home = Path(os.path.abspath(results)).parent

    def shorten(value: str) -> str:
        if os.path.isabs(value) and home != Path(home.anchor) and Path(value).is_relative_to(home):
            return _HERE + str(Path(value).relative_to(home))
        return value

    return yaml.safe_dump(_texts_changed(record, shorten), sort_keys=False)


def searched(record: Mapping[str, Any]) -> str:
    """Return the setting by which a run searches all reads for the CAR's; empty if it takes them from alignments.

    Parameters
    ----------
    record
        A configuration, or the record of a run.

    Examples
    --------
    >>> searched({"solo": {"aligner": "kallisto"}})
    'solo.aligner: kallisto'
    >>> searched({"solo": {"evidence": "fastq"}, "reuse": "other/results"})
    ''
    """
    solo = record.get("solo") or {}
    # What is reused are the alignments of another study.
    if record.get("reuse"):
        return ""
    settings = (("aligner", "kallisto"), ("evidence", "fastq"))
    return next((f"solo.{key}: {value}" for key, value in settings if solo.get(key) == value), "")


def read_record(path: str | Path) -> dict[str, Any]:
    """Return the record of a run, its paths absolute again; empty if the file holds none.

    Parameters
    ----------
    path
        ``run_config.yaml`` of a results folder.

    Raises
    ------
    CarseqError
        If it is missing, cut off or no YAML.
    """
    with reading(path) as opened:
        found = yaml.safe_load(opened.read_text())
    home = Path(os.path.abspath(path)).parent.parent

    def lengthen(value: str) -> str:
        return str(home / value.removeprefix(_HERE)) if value.startswith(_HERE) else value

    return _texts_changed(found, lengthen) if isinstance(found, dict) else {}


def _texts_changed(value: Any, change: Callable[[str], str]) -> Any:
    """Return what YAML holds with all texts changed, but for keys."""
    if isinstance(value, dict):
        return {key: _texts_changed(item, change) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_texts_changed(item, change) for item in value]
    return change(value) if isinstance(value, str) else value


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version: (0, 2, 0) of 0.2.0, and of 0.2.0.1, a step on the way to the next."""
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
