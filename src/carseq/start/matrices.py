"""The matrices, BAMs and receptors that Cell Ranger or a folder of matrices holds, by sample."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from carseq.errors import CarseqError
from carseq.io.layouts import OTHER_MATRIX, remedy_for
from carseq.start.folders import walk
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
_COUNT = {
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
    run = re.sub(r"[^A-Za-z0-9._-]", "_", (outs.parent if outs.name == "outs" else outs).name)
    per_sample = outs / "per_sample_outs"
    if per_sample.is_dir():
        return _multi_samples(outs, per_sample, told), told
    aggregation = outs / "aggregation.csv"
    if aggregation.exists() or (outs / "count" / "aggregation.csv").exists():
        aggregation = aggregation if aggregation.exists() else outs / "count" / "aggregation.csv"
        return _aggregated(aggregation, told), told
    files = _present(outs, _COUNT)
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
    if "raw_matrix" in files and "bam" not in files:
        told.append(f"{run}: the filtered matrix says which barcodes of the raw one are cells")
    return [Made(run, files)], told


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


def _multi_samples(outs: Path, per_sample: Path, told: list[str]) -> list[Made]:
    """Return the samples of ``cellranger multi``."""
    folders = sorted(p for p in per_sample.iterdir() if p.is_dir())
    pooled = len(folders) > 1
    run = outs.parent if outs.name == "outs" else outs
    library = (
        re.sub(r"[^A-Za-z0-9._-]", "_", run.resolve().name)
        if pooled and not own_droplets(outs)
        else ""
    )
    made = []
    for folder in folders:
        files = _present(folder, _COUNT)
        shared = _present(outs, _COUNT)
        # The raw matrix of a pool is that of all its samples; each one's own cells are in its filtered matrix.
        for column in ("raw_matrix", *(() if pooled else ("bam", "tcr"))):
            if column not in files and column in shared:
                files[column] = shared[column]
        if "matrix" not in files:
            told.append(f"left out: {folder.name} has no sample_filtered_feature_bc_matrix")
            continue
        name = re.sub(r"[^A-Za-z0-9._-]", "_", folder.name)
        if "bam" in files and files["bam"].name == "sample_alignments.bam":
            told.append(
                f"{name}: sample_alignments.bam holds the reads of its cells alone; the ambient share of the CAR is "
                "taken from the raw matrix"
            )
        made.append(Made(name, files, library))
    if library:
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
    with aggregation.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    made = []
    for row in rows:
        name = re.sub(r"[^A-Za-z0-9._-]", "_", row.get("sample_id") or row.get("library_id") or "")
        path = row.get("molecule_h5") or row.get("sample_outs") or ""
        source = Path(path)
        if not source.is_absolute():
            source = aggregation.parent / source
        folder = source if source.is_dir() else source.parent
        files = _present(folder, _COUNT)
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


_RAW = re.compile(r"(^|[^a-z])(raw|unfiltered)([^a-z]|$)", re.IGNORECASE)
_FILTERED = re.compile(r"(^|[^a-z])(filtered|filter|filt|cells?)([^a-z]|$)", re.IGNORECASE)
#: Parts of names that say what a file is, not whose: BD's and PIPseeker's after those of all programs.
_WORDS = re.compile(
    r"(^|[._-])(raw|unfiltered|filtered|filter|sample|feature|gene|bc|matrix|matrices|counts?|h5|mtx|cells?|features?|barcodes?"
    r"|RSEC|DBEC|MolsPerCell|MEX|sensitivity_\d)(?=[._-]|$)",
    re.IGNORECASE,
)
#: Folders that a program makes in each run, whichever the sample: of nf-core/scrnaseq, and of kits' own programs.
_PROGRAMS = re.compile(
    r"outs|output|step\d|mtx_conversions|starsolo|star|cellranger|cellrangermulti|kallisto|alevin|simpleaf|cellbender",
    re.IGNORECASE,
)


def matrix_samples(folder: Path) -> tuple[list[Made], list[str]]:
    """Find the matrices below a folder: h5, h5ad, and folders (or prefixed files) of matrix.mtx.

    A raw and a filtered matrix of one name are one sample. A run of ``cellranger multi`` among them gives the samples
    of its pool.

    Parameters
    ----------
    folder
        The folder.

    Returns
    -------
    samples : list of Made
    told : list of str
        What was left out or needs a word.

    Raises
    ------
    CarseqError
        If there are none.
    """
    told: list[str] = []
    found: dict[str, dict[str, Path]] = {}
    files = [path for path in walk(folder) if not path.name.startswith(".")]
    pools = {
        part.parent for path in files for part in path.parents if part.name == "per_sample_outs"
    }
    made = [
        m for outs in sorted(pools) for m in _multi_samples(outs, outs / "per_sample_outs", told)
    ]
    files = [path for path in files if not pools.intersection(path.parents)]
    matrices = [path for path in files if _MATRIX.search(path.name)]
    unread = unread_matrices(folder, files)
    counted = _Counted.of(matrices)
    for path in matrices:
        if why := _left_out(path, counted):
            told.append(f"left out: {path.relative_to(folder)}, {why}")
            continue
        given, label = _given(path, folder)
        is_raw = bool(_RAW.search(label)) and not _FILTERED.search(label.replace("unfiltered", ""))
        column = "raw_matrix" if is_raw else "matrix"
        name = _label(label) or re.sub(r"[^A-Za-z0-9._-]", "_", folder.resolve().name)
        own = found.setdefault(name, {})
        if column in own:
            unlike = bool(_FILTERED.search(own[column].name)) != bool(_FILTERED.search(given.name))
            told.append(
                f"{name} has two matrices that look {'raw' if is_raw else 'filtered'}: {own[column]} was taken, "
                f"{given} was left out" + (_ALL_BARCODES if unlike else "")
            )
            continue
        own[column] = given
    if not found and not made:
        raise CarseqError(
            f"no matrix below {folder}",
            "; ".join([".h5, .h5ad and matrix.mtx files are looked for", *unread]),
            "check the folder, or write samples.tsv by hand",
        )
    told += unread
    if bams := [path for path in files if path.name in _COUNT["bam"]]:
        runs = sorted({str(path.parent) for path in bams})
        told.append(
            f"the CAR is counted from the matrices, and the BAMs beside them are not used: to count it from reads, "
            f"give `--cellranger {runs[0]}`{' and the like' if len(runs) > 1 else ''} in place of `--matrices`"
        )
    if unsure := [n for n, files in found.items() if "raw_matrix" not in files]:
        told.append(
            f"{some_names(unsure)}: taken for called cells, since no name says "
            "`raw`; `carseq check` looks at what they hold"
        )
    return [*made, *(Made(name, files) for name, files in found.items())], told


#: What may be wrong where two matrices of a sample have no `raw` in their names.
_ALL_BARCODES = "; if one of them holds all barcodes, name it in `raw_matrix`"
#: Files that hold a matrix, by their names.
_MATRIX = re.compile(rf"\.h5(ad)?$|matrix\.mtx(\.gz)?$|{OTHER_MATRIX.pattern}")
#: Files of Cell Ranger and CellBender that are no counts of genes in barcodes.
_NO_MATRIX = re.compile(
    r"molecule_info|cloupe|analysis|feature_slice|[._]posterior|(peak|tf|probe)_bc_matrix"
)


def _given(path: Path, folder: Path) -> tuple[Path, str]:
    """Return what to name in the sheet for a matrix's file, and the words of which its sample's name is made."""
    if OTHER_MATRIX.search(path.name):
        return path.parent, path.parent.relative_to(folder).as_posix()
    if path.suffix in (".h5", ".h5ad"):
        stem = path.name.removesuffix(path.suffix)
        return path, f"{path.parent.relative_to(folder).as_posix()}/{stem}"
    # A prefixed file stands for its three; a folder of its own for the sample.
    prefix = re.split(r"matrix\.mtx", path.name)[0]
    if prefix:
        return path, prefix
    return path.parent, path.parent.relative_to(folder).as_posix()


@dataclass(frozen=True)
class _Counted:
    """What matrices a folder holds, so that copies of one are known.

    Attributes
    ----------
    places
        Folders that hold a matrix.
    other
        Folders that hold a matrix of kb-python, alevin-fry or Parse.
    converted
        Whether there are matrices beside those that nf-core/scrnaseq converted.
    plain
        Folders that hold a matrix which CellBender did not write.
    raw
        Folders above a raw matrix's.
    """

    places: frozenset[Path]
    other: frozenset[Path]
    converted: bool
    plain: frozenset[Path]
    raw: frozenset[Path]

    @classmethod
    def of(cls, files: list[Path]) -> _Counted:
        own = [path for path in files if not _NO_MATRIX.search(path.name)]
        return cls(
            frozenset(path.parent for path in own),
            frozenset(path.parent for path in own if OTHER_MATRIX.search(path.name)),
            any(_CONVERTED not in path.parts for path in own),
            frozenset(path.parent for path in own if "cellbender" not in path.name.lower()),
            frozenset(path.parent.parent for path in own if _RAW.search(path.parent.name)),
        )


#: The folder in which nf-core/scrnaseq keeps every matrix as an h5ad.
_CONVERTED = "mtx_conversions"


def _left_out(path: Path, counted: _Counted) -> str:
    """Say why a file is no sample of its own, or return an empty string.

    Parameters
    ----------
    path
        The file.
    counted
        What other matrices there are.
    """
    again = "since the matrix beside it is of the same library"
    if path.suffix in (".h5", ".h5ad"):
        if _NO_MATRIX.search(path.name):
            return "which is not a matrix of genes"
        if path.suffix == ".h5ad" and path.parent in counted.other:
            return again
        if "cellbender" in path.name.lower() and path.parent in counted.plain:
            return f"{again}: carseq models ambient RNA itself, in counts that are not corrected"
        if _CONVERTED in path.parts:
            if path.name.startswith("combined_"):
                return "which holds all samples of a run of nf-core/scrnaseq"
            if counted.converted:
                return "which nf-core/scrnaseq made of a matrix that is there too"
    if re.search(r"matrix\.mtx(\.gz)?$", path.name):
        # Of a run of STARsolo that counted several features, Gene is taken: all are of one library.
        feature = path.parent.parent
        if (
            feature.name != "Gene"
            and feature.parent.name.endswith("Solo.out")
            and feature.parent / "Gene" / path.parent.name in counted.places
        ):
            return f"since {feature.name} and Gene are counts of the same library"
        folder = path.parent
        if "DBEC" in folder.name and folder.with_name(folder.name.replace("DBEC", "RSEC")) in (
            counted.places
        ):
            return "since BD's RSEC and DBEC are counts of the same library, and DBEC leaves molecules out"
        if re.fullmatch(r"sensitivity_\d", folder.name) and folder.parent.parent in counted.raw:
            return (
                "one of PIPseeker's five choices of cells: carseq calls the cells of the raw matrix itself; name it in "
                "`matrix` if its cells are to be taken"
            )
    return ""


def _label(text: str) -> str:
    """Return a sample's name from where its matrix lies: words that say what a file is are taken out.

    >>> [_label(t) for t in ("P1/outs/raw_feature_bc_matrix", "star/P1/P1.Solo.out/Gene/raw", "P1_RSEC_MEX")]
    ['P1', 'P1', 'P1']
    """
    text = re.sub(r"[._]?Solo\.out/(Gene|GeneFull\w*)(?=/)", "", f"{text}/").strip("/")
    parts = [p for p in (_WORDS.sub("", part).strip("._-") for part in text.split("/")) if p]
    told = [p for p in parts if not _PROGRAMS.fullmatch(p)] or [p for p in parts if p != "outs"]
    # A folder and a file in it that both name the sample name it once.
    named = [p for p, after in zip(told, [*told[1:], ""], strict=True) if not after.startswith(p)]
    return re.sub(r"[^A-Za-z0-9._-]", "_", "_".join(named))[:100]


#: Names of tables that are counts of genes by cells.
_TABLE = re.compile(
    r"(count|matrix|expr|umi|dge|molspercell|reads?percell|raw|norm|tpm)\w*[^/]*\.(csv|tsv|txt|xlsx)(\.gz)?$",
    re.IGNORECASE,
)
_NO_TABLE = re.compile(
    r"metrics|contig|annotation|cluster|barcode|feature|gene|summary|meta|log|report", re.IGNORECASE
)
#: A matrix of another name than matrix.mtx.
_OTHER_MTX = re.compile(r"\.mtx(\.gz)?$", re.IGNORECASE)


def unread_matrices(folder: Path, files: Iterable[Path]) -> list[str]:
    """Say which files below a folder may be matrices and are not read, by what to do with them.

    Parameters
    ----------
    folder
        The folder.
    files
        The files below it.
    """
    by_remedy: dict[str, list[str]] = {}
    stores: dict[Path, None] = {}
    for path in files:
        if stored := next((p for p in path.parents if p.suffix == ".zarr"), None):
            stores[stored] = None
            continue
        bare = path.name.lower().removesuffix(".gz")
        suffix = Path(bare).suffix
        remedy = remedy_for(suffix)
        if _OTHER_MTX.search(path.name) and not _MATRIX.search(path.name):
            remedy = _RENAMED
        elif suffix in (".csv", ".tsv", ".txt", ".xlsx"):
            remedy = remedy if _TABLE.search(path.name) and not _NO_TABLE.search(path.name) else ""
        if not remedy or suffix in (".cloupe", ".bus"):
            continue
        by_remedy.setdefault(remedy, []).append(path.relative_to(folder).as_posix())
    for store in stores:
        by_remedy.setdefault(remedy_for(".zarr"), []).append(store.relative_to(folder).as_posix())
    return [
        f"left out: {', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}, not read as "
        f"{'it is' if len(names) == 1 else 'they are'}: {remedy}"
        for remedy, names in by_remedy.items()
    ]


#: What to do with a matrix of another name.
_RENAMED = "name a sample's three files alike: SAMPLE_matrix.mtx, SAMPLE_features.tsv, SAMPLE_barcodes.tsv (or .gz)"
