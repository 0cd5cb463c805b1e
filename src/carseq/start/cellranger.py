"""What a run of Cell Ranger made: BAM, matrices and receptors, by sample."""

from __future__ import annotations

import csv
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from carseq.errors import CarseqError
from carseq.start.names import plain_name, plain_names
from carseq.study.texts import some_names


@dataclass(frozen=True)
class Made:
    """A sample given as matrices, or as BAM and matrices.

    Attributes
    ----------
    sample
        Its name.
    files
        By column of the samples sheet: ``bam``, ``raw_matrix``, ``matrix``, ``tcr``.
    library
        What its library is called, where that holds several samples.
    """

    sample: str
    files: dict[str, Path]
    library: str = ""


#: What Cell Ranger calls its files, by column of the samples sheet; the first that is there is taken.
COUNT_FILES = {
    "bam": (
        "possorted_genome_bam.bam", "gex_possorted_bam.bam", "sample_alignments.bam", "count/sample_alignments.bam",
    ),
    "raw_matrix": (
        "raw_feature_bc_matrix.h5", "raw_feature_bc_matrix", "raw_gene_bc_matrices_h5.h5",
        "multi/count/raw_feature_bc_matrix.h5",
        "multi/count/raw_feature_bc_matrix", "count/sample_raw_feature_bc_matrix.h5",
        "count/sample_raw_feature_bc_matrix",
        "count/raw_feature_bc_matrix.h5", "sample_raw_feature_bc_matrix.h5",
    ),
    "matrix": (
        "filtered_feature_bc_matrix.h5", "filtered_feature_bc_matrix", "filtered_gene_bc_matrices_h5.h5",
        "count/sample_filtered_feature_bc_matrix.h5", "count/sample_filtered_feature_bc_matrix",
        "count/filtered_feature_bc_matrix.h5", "count/filtered_feature_bc_matrix",
        "sample_filtered_feature_bc_matrix.h5",
        "sample_filtered_feature_bc_matrix",
    ),
    "tcr": (
        "vdj_t/filtered_contig_annotations.csv", "vdj_t/all_contig_annotations.csv", "filtered_contig_annotations.csv",
        "vdj_t_gd/filtered_contig_annotations.csv",
    ),
}  # fmt: skip


def cellranger_samples(outs: Path) -> tuple[list[Made], list[str]]:
    """Find what a run of Cell Ranger made: ``count``, ``multi`` or ``aggr``.

    Parameters
    ----------
    outs
        Its folder ``outs``, or the run's folder above it.

    Returns
    -------
    samples : list of Made
    told : list of str
        What was left out or needs a word.

    Raises
    ------
    CarseqError
        If the folder is none of Cell Ranger.
    """
    if (outs / "outs").is_dir():
        outs = outs / "outs"
    if not outs.is_dir():
        raise CarseqError(f"{outs} is not a folder", "", "give the folder `outs` of Cell Ranger")
    told: list[str] = []
    outs, only = _whole_run(outs)
    run = _run_name(outs)
    per_sample = outs / "per_sample_outs"
    if per_sample.is_dir():
        return multi_samples(outs, per_sample, told, only), told
    aggregation = outs / "aggregation.csv"
    if aggregation.exists() or (outs / "count" / "aggregation.csv").exists():
        aggregation = aggregation if aggregation.exists() else outs / "count" / "aggregation.csv"
        return _aggregated(aggregation, told), told
    files = _present(outs, COUNT_FILES)
    if not {"matrix", "raw_matrix"} & set(files):
        raise _none_of_cellranger(outs)
    if (outs / "spatial").is_dir():
        raise CarseqError(
            f"{outs} is of Space Ranger",
            "a spot on a slide holds several cells and parts of cells, and carseq types and calls single cells",
            "give libraries of single cells",
        )
    if "bam" not in files:
        told.append(
            f"{run} has no BAM (Cell Ranger's create-bam was off): the CAR is counted from the matrix, which must have "
            "it as a gene"
        )
    if {"raw_matrix", "matrix"} <= set(files) and "bam" not in files:
        told.append(f"{run}: the filtered matrix says which barcodes of the raw one are cells")
    return [Made(run, files)], told


def _run_name(outs: Path) -> str:
    """Return what a run of Cell Ranger is called: its folder, not `outs` in it."""
    whole = Path(os.path.abspath(outs))
    return plain_name((whole.parent if whole.name == "outs" else whole).name)


def _whole_run(outs: Path) -> tuple[Path, str]:
    """Return the folder of a run of ``cellranger multi`` for one within it, and the sample that it is of, if of one."""
    whole = Path(os.path.abspath(outs))
    for place in (whole, *whole.parents[:2]):
        if place.name == "per_sample_outs":
            return place.parent, next(iter(whole.relative_to(place).parts), "")
        if place.name == "multi" and (place.parent / "per_sample_outs").is_dir():
            return place.parent, ""
    return outs, ""


def _none_of_cellranger(folder: Path) -> CarseqError:
    """Return the error for a folder without Cell Ranger's matrices: what it is, and which one to give."""
    held = sorted(p.name for p in folder.iterdir())
    runs = [f"{name}/outs" for name in held if (folder / name / "outs").is_dir()]
    remedy = "give RUN/outs of `cellranger count`, `multi` or `aggr`"
    if runs:
        remedy = f"give `--cellranger` for each run in it: {some_names(runs)}"
    elif "_log" in held:
        remedy = "its run did not end, or its `outs` was moved: run Cell Ranger again, or give that folder"
    elif any(name.endswith("contig_annotations.csv") for name in held):
        remedy = "these are receptors alone: name filtered_contig_annotations.csv in the column `tcr` of a sample"
    return CarseqError(
        f"{folder} is not a folder of Cell Ranger",
        f"it has no raw_ or filtered_feature_bc_matrix; it holds {', '.join(held[:6]) or 'nothing'}",
        remedy,
    )


def _present(folder: Path, names: dict[str, tuple[str, ...]]) -> dict[str, Path]:
    """Return the first of the files of each column that is in a folder."""
    found = {}
    for column, candidates in names.items():
        for name in candidates:
            if (folder / name).exists():
                found[column] = folder / name
                break
    return found


def multi_samples(outs: Path, per_sample: Path, told: list[str], only: str = "") -> list[Made]:
    """Return the samples of ``cellranger multi``, or ``only`` one of them."""
    folders = sorted(p for p in per_sample.iterdir() if p.is_dir())
    pooled = len(folders) > 1
    library = _run_name(outs) if pooled and not own_droplets(outs) else ""
    names, apart = plain_names(folder.name for folder in folders)
    told += apart
    made = []
    for folder in folders:
        if only and folder.name != only:
            continue
        files = _present(folder, COUNT_FILES)
        shared = _present(outs, COUNT_FILES)
        # The raw matrix of a pool is that of all its samples; each one's own cells are in its filtered matrix.
        for column in ("raw_matrix", *(() if pooled else ("bam", "tcr"))):
            if column not in files and column in shared:
                files[column] = shared[column]
        if "matrix" not in files:
            told.append(f"left out: {folder.name} has no sample_filtered_feature_bc_matrix")
            continue
        name = names[folder.name]
        if "bam" in files and files["bam"].name == "sample_alignments.bam":
            told.append(
                f"{name}: sample_alignments.bam holds the reads of its cells alone; the ambient share of the CAR is "
                "taken from the raw matrix"
            )
        made.append(Made(name, files, library))
    if library and only:
        told.append(
            f"{only} is one of {len(folders)} samples of a pool, whose raw matrix it shares: give {outs} for all of "
            "them"
        )
    elif library:
        told.append(
            f"{len(folders)} samples of one pool share the raw matrix and its empty droplets; each one's cells are "
            "those of its filtered matrix"
        )
    if not made:
        raise CarseqError(
            f"{per_sample} holds no sample with a matrix",
            "",
            "let `cellranger multi` end, then give its outs",
        )
    return made


def own_droplets(outs: Path) -> bool:
    """Return whether each sample of a run of ``cellranger multi`` has droplets of its own.

    Samples that hashtags or CMOs mark lie in the same droplets, and in each other's ambient RNA. Probes (Flex) and
    wells (on-chip multiplexing) mark the ambient RNA of each sample, too.
    """
    for config in (outs / "config.csv", outs / "multi/multiplexing_config.csv"):
        with suppress(OSError):
            text = config.read_text(errors="replace").lower()
            return bool(re.search(r"probe_barcode_ids|ocm_barcode_ids", text))
    return any(outs.glob("per_sample_outs/*/count/sample_raw_feature_bc_matrix*"))


def _aggregated(aggregation: Path, told: list[str]) -> list[Made]:
    """Return the samples that ``cellranger aggr`` joined: each from its own run, which an aggregation lists."""
    with aggregation.open(newline="", encoding="utf-8-sig", errors="replace") as stream:
        rows = list(csv.DictReader(stream))
    names, apart = plain_names(row.get("sample_id") or row.get("library_id") or "" for row in rows)
    told += apart
    made = []
    for row in rows:
        raw = row.get("sample_id") or row.get("library_id") or ""
        name = names[raw] if raw else ""
        path = row.get("molecule_h5") or row.get("sample_outs") or ""
        source = Path(path)
        if not source.is_absolute():
            source = aggregation.parent / source
        folder = source if source.is_dir() else source.parent
        files = _present(folder, COUNT_FILES)
        if not name or not {"matrix", "raw_matrix"} & set(files):
            told.append(f"left out: {name or 'a row'}: no matrix in {folder}")
            continue
        made.append(Made(name, files))
    if not made:
        raise CarseqError(
            f"the runs that {aggregation} joined are not there",
            "an aggregated matrix holds several samples in one, with nothing of their empty droplets",
            "give `--cellranger` the outs of each run that was aggregated, one after the other",
        )
    told.append(
        "the aggregated matrix was left out: its barcodes are those of several libraries, downsampled to one depth; "
        "each library's own run was taken in its place"
    )
    return made
