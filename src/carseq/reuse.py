"""reuse: a finished study's alignments, cells and annotation taken for another construct.

What the cells are does not depend on the CAR, which never helps to decide it; nor does the alignment: a CAR's reads lie
on the first construct, at the relatives or among the unmapped, where molecules are looked for. So another construct
costs its own molecules, calls and report, and the cells stay the same cells, which makes the calls comparable.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from carseq.errors import CarseqError
from carseq.tables import atomic

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from carseq.sheets import Study

#: Of a sample that was aligned: what later steps take from its room `solo`.
SUMMARY = "summary.json"
READS = ("aligned.bam", "aligned.bam.bai", "chemistry.json", SUMMARY)
#: Of any sample: what later steps take from its room `cells`.
CELLS = ("barcodes.tsv.gz", "ambient.tsv", "knee.tsv", "filters.tsv")
#: Of the cohort.
COHORT = (
    "annotated.h5ad",
    "annotation.tsv",
    "integration.tsv",
    "protein_agreement.tsv",
    "receptors.tsv",
)
PANEL = "reference/strand_panel.fa"
#: The transcript that reads were aligned to.
TRANSCRIPT = "construct/construct.fa"
RECORD = "run_config.yaml"


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
    if first := record.get("reuse"):
        raise CarseqError(
            f"the study in {folder} reuses another itself",
            f"its reads were aligned in {first}",
            f"write `reuse: {first}`",
        )
    _check_same(study, record, folder)
    wanted = [f"samples/{s}/cells/{name}" for s in study.samples for name in CELLS]
    wanted += [f"cohort/{name}" for name in COHORT] + [TRANSCRIPT]
    read = [s for s, sample in study.samples.items() if sample.kind == "fastq"]
    aligned = [f"samples/{s}/solo/{name}" for s in read for name in READS]
    if any(sample.kind != "matrix" for sample in study.samples.values()):
        wanted.append(PANEL)
    if missing := [name for name in wanted if not (folder / name).exists()]:
        raise CarseqError(
            f"the study in {folder} is not finished",
            f"{_some(missing)} are not there" if len(missing) > 1 else f"{missing[0]} is not there",
            "finish its run, then reuse it",
        )
    if missing := [name for name in aligned if not (folder / name).exists()]:
        cause = _some(missing)
        if (kept := (record.get("solo") or {}).get("keep_bam", "all")) != "all":
            cause += f": its `solo.keep_bam` is {kept}, which keeps no read of another construct"
        raise CarseqError(
            f"the study in {folder} has not kept its alignments",
            cause,
            "leave out `reuse`: the reads are aligned anew",
        )


def _record(folder: Path) -> dict[str, Any]:
    """Return what a finished study wrote down of its run."""
    path = folder / RECORD
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CarseqError(
            f"{folder} is not the results folder of a finished study",
            f"{path}: {' '.join(str(error).split())}",
            "name in `reuse` the `results` folder of a study that ran to its end",
        ) from None
    return found if isinstance(found, dict) else {}


def _check_same(study: Study, record: Mapping[str, Any], folder: Path) -> None:
    """Check that samples, genome, and what decides on alignment and cells are those of the finished study."""
    here, there = set(study.samples), set(record.get("sheet") or {})
    if here != there:
        raise CarseqError(
            f"the study in {folder} has other samples",
            "; ".join(
                f"only {place}: {_some(sorted(names))}"
                for place, names in (("here", here - there), ("there", there - here))
                if names
            ),
            "cells are clustered together, so reuse needs the same samples: list them, or leave out `reuse`",
        )
    own = study.config.model_dump()
    was = {key: record.get(key) or {} for key in ("cells", "solo", "reference")}
    pairs = [(f"cells.{k}", was["cells"].get(k, v), v) for k, v in own["cells"].items()]
    pairs.append(("solo.feature", was["solo"].get("feature"), own["solo"]["feature"]))
    # A study may have been moved: its genome is known by its file's name.
    for key in ("fasta", "gtf"):
        earlier, now = (Path(str(of.get(key))).name for of in (was["reference"], own["reference"]))
        pairs.append((f"reference.{key}", earlier, now))
    if other := [
        f"{key} is {there!r} there and {here!r} here" for key, there, here in pairs if there != here
    ]:
        raise CarseqError(
            f"the study in {folder} was made with other settings",
            "; ".join(other),
            "take its settings over, or leave out `reuse`: alignment and cells are then made anew",
        )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def take(sources: Iterable[str | Path], targets: Iterable[str | Path]) -> None:
    """Take files over: alignments as links to where they lie, others as copies.

    Parameters
    ----------
    sources, targets
        Files that are there, and what they become, in pairs.
    """
    for source, target in zip(map(Path, sources), map(Path, targets), strict=True):
        if source.suffix in (".bam", ".bai"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(source.resolve())
        else:
            with atomic(target) as temporary:
                shutil.copyfile(source, temporary)


def reused_summary(path: str | Path) -> dict[str, Any]:
    """Return a sample's ``summary.json`` without the count of the construct that the reads were aligned to."""
    summary: dict[str, Any] = json.loads(Path(path).read_text())
    summary.pop("car_umis_aligned", None)
    return summary


def earlier_contig(transcripts: str | Path, car: str) -> pd.DataFrame:
    """Return the contig of the construct that the reads were aligned to, as a place to look for this CAR's reads.

    Two CARs share parts: reads of the second lie on the first.

    Parameters
    ----------
    transcripts
        ``construct/construct.fa`` of the finished study.
    car
        Name of the CAR of this study; a contig of its name is looked at in any case.

    Returns
    -------
    pandas.DataFrame
        Schema ``LOCI``.
    """
    import pandas as pd

    from carseq.reference import read_sequences
    from carseq.tables import LOCI

    rows = [
        (name, 0, len(sequence), name)
        for name, sequence in read_sequences(transcripts).items()
        if name != car
    ]
    return LOCI.conform(pd.DataFrame(rows, columns=list(LOCI.columns)))


def reused_cells(
    cohort: AnnData, samples: Mapping[str, Mapping[str, str]], *, car: str, needs_car: Sequence[str]
) -> None:
    """Make a finished cohort that of this study: the CAR's name, and what the samples sheet says now, in place.

    Parameters
    ----------
    cohort
        Of :func:`carseq.tables.read_cells`: ``obs`` and ``uns`` of the finished study's ``annotated.h5ad``.
    samples
        By sample, the columns of the sheet that go to ``obs``.
    car
        Name of the CAR of this study.
    needs_car
        Samples given as a matrix alone, whose CAR counts are in it.

    Raises
    ------
    CarseqError
        If a sample given as a matrix alone has no row of this CAR.
    """
    if needs_car and car not in cohort.var_names:
        raise CarseqError(
            f"the matrix of {_some(list(needs_car))} has no gene {car}",
            f"it was counted with {cohort.uns.get('car')}, and without reads nothing else can be looked for",
            "leave these samples out of both studies, or give their BAM",
        )
    cohort.uns["car"] = car
    names = cohort.obs["sample"].astype(str)
    for column in dict.fromkeys(key for columns in samples.values() for key in columns):
        values = {sample: columns.get(column, "") for sample, columns in samples.items()}
        cohort.obs[column] = names.map(values).astype("category")


def reused_knee(barcodes: pd.DataFrame, molecules: pd.DataFrame) -> pd.DataFrame:
    """Return a sample's knee with the CAR molecules of this study in place of the finished one's counts.

    Parameters
    ----------
    barcodes
        Schema ``BARCODES``.
    molecules
        Schema ``MOLECULES``; counted as the calls count them.
    """
    from carseq.calling import count_car, match_barcodes
    from carseq.cells import knee_table

    calls = barcodes.set_index("barcode")
    counts = count_car(match_barcodes(molecules, calls.index), calls.index)
    return knee_table(calls, car=counts["car_umis"])


def reused_filters(filters: pd.DataFrame, car_umis: pd.Series) -> pd.DataFrame:
    """Return a sample's filters with the CAR-bearing cells among those they removed told by this construct.

    Parameters
    ----------
    filters
        Schema ``FILTERS``; which cells a step removed stands in ``removed``.
    car_umis
        CAR molecules of this study by barcode, as in its knee.
    """
    bearing = set(car_umis.index[car_umis > 0])
    lost = [[b for b in row.split(",") if b in bearing] for row in filters["removed"]]
    return filters.assign(
        n_car_bearing_removed=[len(barcodes) for barcodes in lost],
        car_bearing_removed=[",".join(barcodes) for barcodes in lost],
    )
