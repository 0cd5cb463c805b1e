"""What a results folder says of one cell."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from carseq.calling import MIN_P_CAR
from carseq.construct import read_construct
from carseq.errors import CarseqError
from carseq.figures.phrases import count
from carseq.io.barcodes import barcode_parts, bare_barcode
from carseq.io.files import read_table
from carseq.io.h5ad import read_h5ad
from carseq.io.results import no_finished_run, read_record, searched, way_in
from carseq.library.reads import LibraryReads
from carseq.molecules import Target
from carseq.schema.obs import conform_obs
from carseq.schema.results import FILES
from carseq.schema.tables import MOLECULES


@dataclass(frozen=True)
class Cohort:
    """What the cohort says of all cells, and the fitted model (empty where there is none)."""

    obs: pd.DataFrame
    model: dict[str, Any]


def read_cohort(results: Path) -> Cohort:
    """Read ``obs`` and the model, not the matrix."""
    path = FILES["cells"].under(results)
    if not path.exists():
        raise no_finished_run(results, path)
    adata = read_h5ad(path, backed=True)
    try:
        return Cohort(conform_obs(adata.obs), dict(adata.uns.get("car_model") or {}))
    finally:
        adata.file.close()


def read_config(results: Path) -> dict[str, Any]:
    """Read the record of the run's configuration; empty if there is none."""
    path = FILES["run_config"].under(results)
    return read_record(path) if path.exists() else {}


def check_sample(results: Path, cohort: Cohort, config: dict[str, Any], sample: str) -> None:
    """Check that the results hold a sample.

    Raises
    ------
    CarseqError
        If they do not.
    """
    folder = results / "samples"
    folders = [p.name for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
    sheet = config.get("sheet") or {}
    known = sorted({*cohort.obs["sample"], *(sheet or folders)})
    if sample in folders and sample not in known:
        raise CarseqError(
            f"sample {sample} is not in the samples sheet any more",
            "what the results hold of it is of an earlier run, and was not judged with the others",
            "give it its row again and run the study, or name one of the sheet",
        )
    if sample not in known:
        near = difflib.get_close_matches(sample, known, n=3, cutoff=0.5)
        raise CarseqError(
            f"no sample {sample!r} in {results}",
            f"it holds {', '.join(known[:12])}",
            f"did you mean {' or '.join(near)}?" if near else "name one of these samples",
        )


def _library(suffix: str) -> str:
    """Return the number of a library that a barcode's suffix names, however it is written; empty if none."""
    return "".join(c for c in suffix if c.isdigit())


def _is_barcode(barcodes: pd.Series, asked: str) -> pd.Series:
    """Return which barcodes are the one that is asked for: by their bases, and by the library where both name one."""
    _, bases, suffix = barcode_parts(asked.upper())

    def same(barcode: str) -> bool:
        _, other, behind = barcode_parts(barcode.upper())
        named = _library(suffix), _library(behind)
        return other == bases and (named[0] == named[1] or not all(named))

    return barcodes.astype(str).map(same).astype(bool)


def find_cell(obs: pd.DataFrame, sample: str, barcode: str) -> pd.Series | None:
    """Return the row of a cell of the cohort, or None.

    Raises
    ------
    CarseqError
        If the barcode without its suffix stands for several cells.
    """
    own = obs[obs["sample"] == sample]
    found = own[_is_barcode(own["barcode"], barcode)]
    if len(found) > 1:
        exact = found[found["barcode"].str.upper() == barcode.upper()]
        if exact.empty:
            raise CarseqError(
                f"{barcode} stands for {len(found)} cells of {sample}",
                f"they are {', '.join(found['barcode'])}",
                "give the barcode with its suffix",
            )
        found = exact
    return found.iloc[0] if len(found) else None


def find_droplet(results: Path, obs: pd.DataFrame, sample: str, barcode: str) -> pd.Series:
    """Return the row of a droplet that is not among the cells kept.

    Raises
    ------
    CarseqError
        If the sample has no droplet of this barcode.
    """
    path = FILES["barcodes"].under(results, sample=sample)
    wanted = bare_barcode(barcode.upper())
    if path.exists():
        droplets = read_table(path)
        found = droplets[_is_barcode(droplets["barcode"], barcode)]
        exact = found[found["barcode"].astype(str).str.upper() == barcode.upper()]
        if len(found) > 1 and len(exact) != 1:
            raise CarseqError(
                f"{barcode} stands for {len(found)} droplets of {sample}",
                f"they are {', '.join(found['barcode'].astype(str))}",
                "give the barcode with its suffix",
            )
        if len(found):
            return (exact if len(exact) else found).iloc[0]
    own = obs.loc[obs["sample"] == sample, "barcode"]
    near = difflib.get_close_matches(wanted, own, n=100, cutoff=0.8)
    # A typing error changes a base in place; difflib ranks shifted barcodes as high.
    near = sorted(near, key=lambda b: sum(x != y for x, y in zip(b, wanted, strict=False)))[:3]
    elsewhere = sorted(set(obs.loc[obs["barcode"].map(bare_barcode) == wanted, "sample"]))
    if elsewhere:
        remedy = f"it is a cell of {', '.join(elsewhere)}: name that sample"
    elif near:
        remedy = f"did you mean {' or '.join(f'{sample}:{b}' for b in near)}?"
    else:
        remedy = (
            f"the barcodes of its cells are in {FILES['cells'].under(results)} and in the report"
        )
    raise CarseqError(
        f"no barcode {barcode} in sample {sample}",
        f"it is neither one of its {count(len(own), 'cell')} nor a droplet with a molecule",
        remedy,
    )


def read_molecules(results: Path, sample: str, barcode: str) -> pd.DataFrame:
    """Return the barcode's molecules, with ``counted``."""
    path = FILES["molecules"].under(results, sample=sample)
    table = read_table(path, MOLECULES) if path.exists() else MOLECULES.empty()
    own = table[table["barcode"].map(bare_barcode) == bare_barcode(barcode)]
    if own["barcode"].nunique() > 1:
        # Of several libraries in one file: the one that the barcode names.
        own = own[_is_barcode(own["barcode"], barcode)]
    own = own.reset_index(drop=True)
    return own.assign(counted=own["p_car"] >= MIN_P_CAR)


def read_target(results: Path, strand: str) -> Target:
    """Return the construct and its homologs with which the molecules were found.

    Raises
    ------
    CarseqError
        If a file of them is missing.
    """
    construct = FILES["construct_json"].under(results)
    folder = construct.parent
    names = ("construct_json", "rivals", "loci", "homology")
    needed = [FILES[name].under(results) for name in names]
    missing = [str(path) for path in needed if not path.is_file()]
    if missing:
        raise CarseqError(
            "no alignments can be shown",
            f"{', '.join(missing)} cannot be read",
            "run the workflow again, or put the folder where it was",
        )
    return Target.read(read_construct(construct), folder, strand)


def read_homology(results: Path) -> pd.DataFrame:
    """Return which bases of the CAR the genome shares."""
    return read_table(FILES["homology"].under(results))


def bam_of(results: Path, config: dict[str, Any], sample: str) -> tuple[Path, str]:
    """Return a sample's BAM and the strand of its reads.

    Raises
    ------
    CarseqError
        If there is no BAM, or the strand of its reads is not known.
    """
    sheet = (config.get("sheet") or {}).get(sample) or {}
    names = ["aligned_bam", "slice_bam", "car_reads"]
    if searched(config):
        # One that is there is of an earlier run.
        names.remove("aligned_bam")
    kept = [FILES[name].under(results, sample=sample) for name in names]
    bam = Path(sheet["bam"]) if sheet.get("bam") else next(filter(Path.exists, kept), kept[0])
    if not bam.exists():
        if way_in(sheet) == "matrix":
            raise CarseqError(
                "no molecules and no alignments can be shown",
                "this sample came as a matrix, which holds counts but no reads",
                "give its BAM in the `bam` column of the samples sheet and run again",
            )
        raise CarseqError(
            "no alignments can be shown", f"the BAM {bam} is not there", "put it where it was"
        )
    library = FILES["library"].under(results, sample=sample)
    if not library.exists():
        raise CarseqError(
            "no alignments can be shown",
            f"without {library} the strand of the reads is not known",
            "run the workflow again",
        )
    return bam, LibraryReads.read(library).strand
