"""What a finished study must have so that another construct can reuse its alignments and cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carseq.errors import CarseqError
from carseq.io.results import check_made_by, read_record, searched
from carseq.schema.results import FILES, each, reused
from carseq.study.record import alike
from carseq.study.texts import some_names

if TYPE_CHECKING:
    from carseq.study.model import Study


def check_finished(study: Study) -> None:
    """Check that the study named by ``reuse`` is finished, and one of the same samples, genome and settings.

    Parameters
    ----------
    study
        With absolute paths; nothing is done where ``reuse`` is null.

    Raises
    ------
    CarseqError
        If files are missing, were made of other samples or with other settings, or would be overwritten.
    """
    config = study.config
    if not config.reuse:
        return
    folder = Path(config.reuse)
    if Path(config.results).resolve() == folder.resolve():
        raise CarseqError(
            "`reuse` and `results` name the same folder",
            f"{folder} would be overwritten",
            "give this study a `results` of its own, such as results_second",
        )
    record = _record(folder)
    check_made_by(folder)
    if first := record.get("reuse"):
        raise CarseqError(
            f"the study in {folder} reuses another itself",
            f"its reads were aligned in {first}",
            f"write `reuse: {first}`",
        )
    _check_same(study, record, folder)
    wanted = [FILES["transcript"].at()]
    for name in reused("cells"):
        wanted += each(name, study.samples) if FILES[name].by_sample else [FILES[name].at()]
    read = [s for s, sample in study.samples.items() if sample.kind == "fastq"]
    aligned = [path for name in reused("solo") for path in each(name, read)]
    if any(sample.kind != "matrix" for sample in study.samples.values()):
        wanted += [FILES[name].at() for name in reused("reference")]
    if missing := [name for name in wanted if not (folder / name).exists()]:
        raise CarseqError(
            f"the study in {folder} is not finished",
            f"{some_names(missing)} are not there"
            if len(missing) > 1
            else f"{missing[0]} is not there",
            "finish its run, then reuse it",
        )
    if missing := [name for name in aligned if not (folder / name).exists()]:
        cause = some_names(missing)
        if (kept := (record.get("solo") or {}).get("keep_bam", "all")) != "all":
            cause += f": its `solo.keep_bam` is {kept}, which keeps no read of another construct"
        if setting := searched(record):
            cause += f": its `{setting}` keeps no read of another construct"
        raise CarseqError(
            f"the study in {folder} has not kept its alignments",
            cause,
            "leave out `reuse`: the reads are then aligned again",
        )


def _record(folder: Path) -> dict[str, Any]:
    """Return what a finished study wrote down of its run."""
    path = folder / FILES["run_config"].path
    try:
        return read_record(path)
    except CarseqError as error:
        raise CarseqError(
            f"{folder} is not the results folder of a finished study",
            f"{error.message}: {error.cause}",
            "name in `reuse` the `results` folder of a study that ran to its end",
        ) from None


def _check_same(study: Study, record: Mapping[str, Any], folder: Path) -> None:
    """Check that samples, genome, and what decides on alignment and cells are those of the finished study."""
    here, there = set(study.samples), set(record.get("sheet") or {})
    if here != there:
        raise CarseqError(
            f"the study in {folder} has other samples",
            "; ".join(
                f"only {place}: {some_names(sorted(names))}"
                for place, names in (("here", here - there), ("there", there - here))
                if names
            ),
            "cells are clustered together, so reuse needs the same samples: list them, or leave out `reuse`",
        )
    own = study.config.model_dump()
    was = {key: record.get(key) or {} for key in ("cells", "solo", "reference")}
    pairs = [(f"cells.{k}", was["cells"].get(k, v), v) for k, v in own["cells"].items()]
    pairs.append(("solo.feature", was["solo"].get("feature"), own["solo"]["feature"]))
    pairs.append(("solo.aligner", was["solo"].get("aligner", "star"), own["solo"]["aligner"]))
    # A study may have been moved: its genome is known by its file's name.
    for key in ("fasta", "gtf"):
        earlier, now = (Path(str(of.get(key))).name for of in (was["reference"], own["reference"]))
        pairs.append((f"reference.{key}", earlier, now))
    if other := [
        f"{key} is {there!r} there and {here!r} here"
        for key, there, here in pairs
        if not alike(there, here)
    ]:
        raise CarseqError(
            f"the study in {folder} was made with other settings",
            "; ".join(other),
            "use its settings, or leave out `reuse`: alignment and cells are then made again",
        )
