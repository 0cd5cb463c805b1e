"""reuse: a finished study's alignments, cells and annotation, used for another construct.

What the cells are does not depend on the CAR, which never helps to decide it; nor does the alignment: a CAR's reads lie
on the first construct, at its homologs or among the unmapped reads, where molecules are sought. So another construct
costs its own molecules, calls and report, and the cells stay the same, which makes the calls comparable.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carseq.errors import CarseqError
from carseq.io.atomic import link_to
from carseq.io.files import atomic, read_json
from carseq.study.texts import some_names

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData


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
            link_to(source.resolve(), target)
        else:
            with atomic(target) as temporary:
                shutil.copyfile(source, temporary)


def reused_summary(path: str | Path) -> dict[str, Any]:
    """Return a sample's ``summary.json`` without the count of the construct that the reads were aligned to."""
    summary: dict[str, Any] = read_json(path)
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

    from carseq.io.fasta import read_sequences
    from carseq.schema.tables import LOCI

    rows = [
        (name, 0, len(sequence), name)
        for name, sequence in read_sequences(transcripts).items()
        if name != car
    ]
    return LOCI.conform(pd.DataFrame(rows, columns=list(LOCI.columns)))


def reused_cells(cohort: AnnData, *, car: str, needs_car: Sequence[str]) -> None:
    """Make a finished cohort that of this study, in place: the CAR has its name.

    Parameters
    ----------
    cohort
        Of :func:`carseq.io.h5ad.read_cells`: ``obs`` and ``uns`` of the finished study's ``annotated.h5ad``.
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
            f"the matrix of {some_names(list(needs_car))} has no gene {car}",
            f"it was counted with {cohort.uns.get('car')}, and without reads nothing else can be looked for",
            "leave these samples out of both studies, or give their BAM",
        )
    cohort.uns["car"] = car


def reused_knee(barcodes: pd.DataFrame, molecules: pd.DataFrame) -> pd.DataFrame:
    """Return a sample's knee with the CAR molecules of this study in place of the finished one's counts.

    Parameters
    ----------
    barcodes
        Schema ``BARCODES``.
    molecules
        Schema ``MOLECULES``; counted as the calls count them.
    """
    from carseq.calling import count_car
    from carseq.cells import knee_table
    from carseq.io.barcodes import match_barcodes

    calls = barcodes.set_index("barcode")
    counts = count_car(match_barcodes(molecules, calls.index), calls.index)
    return knee_table(calls, car=counts["car_umis"])


def reused_filters(filters: pd.DataFrame, car_umis: pd.Series) -> pd.DataFrame:
    """Return the sample's filter table with the removed CAR-bearing cells recounted for this study's construct.

    Parameters
    ----------
    filters
        Schema ``FILTERS``; ``removed`` lists the cells that a step removed.
    car_umis
        CAR molecules of this study by barcode, as in its knee.
    """
    bearing = set(car_umis.index[car_umis > 0])
    lost = [[b for b in row.split(",") if b in bearing] for row in filters["removed"]]
    return filters.assign(
        n_car_bearing_removed=[len(barcodes) for barcodes in lost],
        car_bearing_removed=[",".join(barcodes) for barcodes in lost],
    )
