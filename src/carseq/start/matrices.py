"""The matrices, BAMs and receptors that Cell Ranger or a folder of matrices holds, by sample."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from carseq.errors import CarseqError
from carseq.io.layouts import OTHER_MATRIX, remedy_for
from carseq.start.folders import walk
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
    outs, only = _whole_run(outs)
    run = _run_name(outs)
    per_sample = outs / "per_sample_outs"
    if per_sample.is_dir():
        return _multi_samples(outs, per_sample, told, only), told
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


def _multi_samples(outs: Path, per_sample: Path, told: list[str], only: str = "") -> list[Made]:
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
        files = _present(folder, _COUNT)
        shared = _present(outs, _COUNT)
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
    r"|RSEC|DBEC|MolsPerCell|MEX|DGE|sensitivity_\d)(?=[._-]|$)",
    re.IGNORECASE,
)
#: Folders that a program makes in each run, whichever the sample: of nf-core/scrnaseq, and of kits' own programs.
_PROGRAMS = re.compile(
    r"outs|output|step\d|mtx_conversions|starsolo|star|cellranger|cellrangermulti|kallisto|alevin|simpleaf|cellbender"
    r"|af_quant|simpleaf_out",
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
    files = [path for path in walk(folder, told) if not path.name.startswith(".")]
    pools = {
        part.parent for path in files for part in path.parents if part.name == "per_sample_outs"
    }
    made = [
        m for outs in sorted(pools) for m in _multi_samples(outs, outs / "per_sample_outs", told)
    ]
    files = [path for path in files if not pools.intersection(path.parents)]
    matrices = [path for path in files if _MATRIX.search(path.name) or _of_bustools(path)]
    unread = unread_matrices(folder, files)
    counted = _Counted.of(matrices)
    candidates: list[_Candidate] = []
    out: dict[str, list[str]] = {}
    for path in matrices:
        if why := _left_out(path, folder, counted):
            out.setdefault(why, []).append(path.relative_to(folder).as_posix())
            continue
        given, text = _given(path, folder)
        text = _DATA_FOLDER.sub("", text)
        # A folder of kb-python holds several matrices that are read as one.
        if given not in {c.given for c in candidates}:
            candidates.append(_Candidate(given, text, path.parent, _is_corrected(path, folder)))
    told += [f"left out: {some_names(paths)}, {why}" for why, paths in out.items()]
    candidates = _qualified(candidates, folder)
    names, apart = plain_names(c.label or folder.resolve().name for c in candidates)
    told += apart
    copies = []
    # What is sure to be cells, or as it was counted, comes first: of two of one kind the first is taken.
    for one in sorted(candidates, key=lambda c: (c.corrected, not _FILTERED.search(c.text))):
        name = names[one.label or folder.resolve().name]
        own = found.setdefault(name, {})
        shown = one.given.relative_to(folder)
        if one.corrected and own:
            told.append(f"left out: {shown}, {_AGAIN}: {_NOT_CORRECTED}")
        elif (other := own.get(one.column)) is None:
            own[one.column] = one.given
        elif other.with_suffix("") == one.given.with_suffix(""):
            copies.append(shown.as_posix())
        else:
            unlike = bool(_FILTERED.search(other.name)) != bool(_FILTERED.search(one.given.name))
            told.append(
                f"{name} has two matrices that look {'raw' if one.is_raw else 'filtered'}: "
                f"{other.relative_to(folder)} was taken, {shown} was left out; "
                f"{_ALL_BARCODES if unlike and not one.corrected else _TWO_SAMPLES}"
            )
    if copies:
        told.append(f"left out: {some_names(copies)}, beside the .h5 of the same matrix")
    order = {names[c.label or folder.resolve().name]: None for c in candidates}
    found = {name: found[name] for name in order}
    libraries = _tagged(found, told)
    if not found and not made:
        raise _nothing(folder, files, [*told, *unread])
    told += unread
    if bams := [path for path in files if path.name in _COUNT["bam"]]:
        runs = sorted({str(path.parent) for path in bams})
        told.append(
            f"the CAR is counted from the matrices, and the BAMs beside them are not used: to count it from reads, "
            f"give `--cellranger {runs[0]}`{' and the like' if len(runs) > 1 else ''} in place of `--matrices`"
        )
    receptors = [p for p in files if re.search(r"contig_annotations\.csv(\.gz)?$", p.name)]
    if tables := [p.relative_to(folder).as_posix() for p in receptors if "_b/" not in str(p)]:
        told.append(
            f"receptors are not given to their samples: {some_names(tables)}; name each table in the column `tcr` "
            "of its sample (of two of a run the filtered one)"
        )
    if unsure := [n for n, files in found.items() if "raw_matrix" not in files]:
        told.append(
            f"{some_names(unsure)}: taken for called cells, since no name says "
            "`raw`; `carseq check` looks at what they hold"
        )
    return [*made, *(Made(n, files, libraries.get(n, "")) for n, files in found.items())], told


@dataclass(frozen=True)
class _Candidate:
    """A matrix that may be a sample's.

    Attributes
    ----------
    given
        What the sheet names: the file, or its folder.
    text
        The words of which its sample's name is made.
    place
        The folder that it lies in.
    corrected
        Whether a program took molecules out of it.
    """

    given: Path
    text: str
    place: Path
    corrected: bool

    @property
    def is_raw(self) -> bool:
        return bool(_RAW.search(self.text)) and not _FILTERED.search(
            self.text.replace("unfiltered", "")
        )

    @property
    def column(self) -> str:
        return "raw_matrix" if self.is_raw else "matrix"

    @property
    def label(self) -> str:
        return _label(_CORRECTED.sub("", self.text) if self.corrected else self.text)


#: A folder for data as they came, which says nothing of droplets and cells.
_DATA_FOLDER = re.compile(r"(?<![^/])(raw[_ -]?data|data)/", re.IGNORECASE)
#: Words for counts out of which a program took ambient RNA.
_CORRECTED = re.compile(r"cell_?bender|soup_?x|decont_?x|fastcar|corrected", re.IGNORECASE)
_AGAIN = "since the matrix beside it is of the same library"
_NOT_CORRECTED = "carseq models ambient RNA itself, in counts that are not corrected"


def _is_corrected(path: Path, folder: Path) -> bool:
    """Return whether a matrix is CellBender's or the like, by its name or by the files that lie beside it."""
    if _CORRECTED.search(path.relative_to(folder).as_posix()):
        return True
    stem = path.name.removesuffix(path.suffix).removesuffix("_filtered")
    ends = ("_cell_barcodes.csv", "_posterior.h5")
    return path.suffix == ".h5" and any(path.with_name(stem + end).exists() for end in ends)


def _qualified(candidates: list[_Candidate], folder: Path) -> list[_Candidate]:
    """Return matrices with their folders' names before those that files of several folders have in common."""
    places: dict[tuple[str, str], set[Path]] = {}
    for c in candidates:
        if c.given.is_file():
            places.setdefault((c.label, c.column), set()).add(c.place)
    return [
        replace(c, text=f"{c.place.relative_to(folder).as_posix()}/{c.text}")
        if len(places.get((c.label, c.column), ())) > 1
        else c
        for c in candidates
    ]


#: A sample of a run of BD Rhapsody whose cells are marked by tags.
_TAGGED = re.compile(r"^(?P<run>.*?)[_-]?Sample_?Tag_?\d+", re.IGNORECASE)


def _tagged(found: dict[str, dict[str, Path]], told: list[str]) -> dict[str, str]:
    """Give samples that BD's tags mark the raw matrix of their pool; return their libraries, by sample."""
    libraries: dict[str, str] = {}
    runs: dict[str, list[str]] = {}
    for name in found:
        if match := _TAGGED.match(name):
            runs.setdefault(match["run"], []).append(name)
    for run, samples in runs.items():
        pools = [
            n
            for n in found
            if n == run or (n.startswith("Combined") and (not run or n.endswith(run)))
        ]
        raws = [found[n]["raw_matrix"] for n in pools if "raw_matrix" in found[n]]
        for pool in pools:
            if "matrix" in found[pool]:
                told.append(
                    f"left out: {found[pool]['matrix'].name}, which holds all samples of the pool"
                )
            del found[pool]
        for name in samples:
            if raws:
                found[name].setdefault("raw_matrix", raws[0])
            if len(samples) > 1:
                libraries[name] = run or "pool"
    if libraries:
        told.append(
            f"{some_names(list(libraries))} are samples of one pool, by their tags: they have one `library` and "
            "share its raw matrix, if there is one"
        )
    return libraries


def _nothing(folder: Path, files: list[Path], unread: list[str]) -> CarseqError:
    """Return the error for a folder without matrices: what it holds, and what to do with it."""
    remedy = "check the folder, or write samples.tsv by hand"
    if any(re.search(r"\.f(ast)?q(\.gz)?$", path.name) for path in files):
        remedy = f"it holds reads: give it as `--fastqs {folder}`"
    held = [path.relative_to(folder).as_posix() for path in files]
    holds = f"it holds {some_names(held) or 'nothing'}"
    return CarseqError(
        f"no matrix below {folder}",
        "; ".join([".h5, .h5ad and matrix.mtx files are looked for", *(unread or [holds])]),
        remedy,
    )


#: What may be wrong where two matrices of a sample have no `raw` in their names.
_ALL_BARCODES = "if one of them holds all barcodes, name it in `raw_matrix`"
_TWO_SAMPLES = "if they are of two samples, give each a folder of its name"
#: Files that hold a matrix, by their names.
_MATRIX = re.compile(rf"\.h5(ad)?$|matrix\.mtx(\.gz)?$|{OTHER_MATRIX.pattern}")
#: Files of Cell Ranger and CellBender that are no counts of genes in barcodes.
_NO_MATRIX = re.compile(
    r"molecule_info|cloupe|analysis|feature_slice|[._]posterior|(peak|tf|probe)_bc_matrix"
)


def _of_bustools(path: Path) -> bool:
    """Return whether a matrix is one of `bustools count` under a name of its own: cells and genes are beside it."""
    stem = re.sub(r"\.mtx(\.gz)?$", "", path.name)
    return (
        stem not in (path.name, "spliced", "unspliced")
        and path.with_name(f"{stem}.barcodes.txt").exists()
        and path.with_name(f"{stem}.genes.txt").exists()
    )


def _given(path: Path, folder: Path) -> tuple[Path, str]:
    """Return what to name in the sheet for a matrix's file, and the words of which its sample's name is made."""
    if OTHER_MATRIX.search(path.name) or _of_bustools(path):
        return path.parent, path.parent.relative_to(folder).as_posix()
    if path.suffix in (".h5", ".h5ad"):
        stem = path.name.removesuffix(path.suffix)
        return path, f"{path.parent.relative_to(folder).as_posix()}/{stem}"
    # A prefixed file stands for its three; a folder of its own for the sample.
    prefix = re.split(r"matrix\.mtx", path.name)[0]
    if prefix:
        return path, prefix
    # Cell Ranger 1 and 2 have a folder for each genome.
    of_genome = path.parent != folder and _OF_GENOMES.fullmatch(path.parent.parent.name)
    place = path.parent.parent if of_genome and path.parent.parent != folder.parent else path.parent
    return path.parent, place.relative_to(folder).as_posix()


_OF_GENOMES = re.compile(r"(raw|filtered)_gene_bc_matrices(_mex)?")


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
    features
        What is taken of a run of STARsolo that counted several features, by its folder.
    """

    places: frozenset[Path]
    other: frozenset[Path]
    converted: bool
    plain: frozenset[Path]
    raw: frozenset[Path]
    features: dict[Path, str]

    @classmethod
    def of(cls, files: list[Path]) -> _Counted:
        own = [path for path in files if not _NO_MATRIX.search(path.name)]
        return cls(
            frozenset(path.parent for path in own),
            frozenset(path.parent for path in own if OTHER_MATRIX.search(path.name)),
            any(_CONVERTED not in path.parts for path in own),
            frozenset(path.parent for path in own if "cellbender" not in path.name.lower()),
            frozenset(path.parent.parent for path in own if _RAW.search(path.parent.name)),
            _features(own),
        )


#: STARsolo's features whose counts are taken, the first that is there.
_FEATURES = ("Gene", "GeneFull", "GeneFull_Ex50pAS", "GeneFull_ExonOverIntron")


def _features(files: list[Path]) -> dict[Path, str]:
    """Return which of a run's features is taken, by the run's folder: one with a raw matrix, as the others may have."""
    raw: dict[Path, set[str]] = {}
    for path in files:
        run = path.parent.parent.parent
        if run.name.endswith("Solo.out"):
            own = raw.setdefault(run, set())
            if path.parent.name == "raw":
                own.add(path.parent.parent.name)
    taken = {}
    for run, with_raw in raw.items():
        there = {path.parent.parent.name for path in files if path.parent.parent.parent == run}
        order = [f for f in _FEATURES if f in with_raw] + [f for f in _FEATURES if f in there]
        taken[run] = order[0] if order else ""
    return taken


#: The folder in which nf-core/scrnaseq keeps every matrix as an h5ad.
_CONVERTED = "mtx_conversions"


#: Matrices of BD Rhapsody of cells that are of no sample, and those of split-pipe of all samples.
_NO_SAMPLE_OF_BD = re.compile(r"(^|_)(Multiplet|Undetermined)(_|$).*MolsPerCell")
_ALL_OF_PARSE = re.compile(r"all-(sample|well)s?")


def _left_out(path: Path, folder: Path, counted: _Counted) -> str:
    """Say why a file is no sample of its own, or return an empty string.

    Parameters
    ----------
    path
        The file.
    folder
        The folder that was given.
    counted
        What other matrices there are.
    """
    above = [path.parent, *path.parent.parents]
    if any((p / "aggregation.csv").exists() for p in above if p == folder or folder in p.parents):
        return (
            "which holds all samples that `cellranger aggr` joined: give its folder as `--cellranger`, which takes "
            "each sample from its own run"
        )
    if _NO_SAMPLE_OF_BD.search(path.parent.name) or _NO_SAMPLE_OF_BD.search(path.name):
        return "whose cells have no tag of a sample, or several"
    if OTHER_MATRIX.search(path.name) and any(map(_ALL_OF_PARSE.fullmatch, path.parts)):
        pool = next(p for p in above if _ALL_OF_PARSE.fullmatch(p.name))
        if any(
            pool.parent in place.parents and pool not in place.parents for place in counted.other
        ):
            return "which holds all samples of a run of split-pipe; each one's own was taken"
    if path.suffix in (".h5", ".h5ad"):
        if _NO_MATRIX.search(path.name):
            return "which is not a matrix of genes"
        if path.suffix == ".h5ad" and path.parent in counted.other:
            return _AGAIN
        if "cellbender" in path.name.lower() and path.parent in counted.plain:
            return f"{_AGAIN}: {_NOT_CORRECTED}"
        if _CONVERTED in path.parts:
            if path.name.startswith("combined_"):
                return "which holds all samples of a run of nf-core/scrnaseq"
            if counted.converted:
                return "which nf-core/scrnaseq made of a matrix that is there too"
    if re.search(r"matrix\.mtx(\.gz)?$", path.name):
        # Of a run of STARsolo that counted several features one is taken: all are of one library.
        feature = path.parent.parent
        taken = counted.features.get(feature.parent, feature.name)
        if taken != feature.name:
            return f"since {feature.name} and {taken or 'genes'} are counts of the same library"
        place = path.parent
        if "DBEC" in place.name and place.with_name(place.name.replace("DBEC", "RSEC")) in (
            counted.places
        ):
            return "since BD's RSEC and DBEC are counts of the same library, and DBEC leaves molecules out"
        if re.fullmatch(r"sensitivity_\d", place.name) and place.parent.parent in counted.raw:
            return (
                "one of PIPseeker's five choices of cells: carseq calls the cells of the raw matrix itself; name it in "
                "`matrix` if its cells are to be taken"
            )
    return ""


def _label(text: str) -> str:
    """Return a sample's name from where its matrix lies: words that say what a file is are taken out.

    It may hold letters that the sheets do not take, and be empty.

    >>> [_label(t) for t in ("P1/outs/raw_feature_bc_matrix", "star/P1/P1.Solo.out/Gene/raw", "P1_RSEC_MEX")]
    ['P1', 'P1', 'P1']
    """
    text = re.sub(r"[._]?Solo\.out/(Gene|GeneFull\w*)(?=/)", "", f"{text}/").strip("/")
    parts = [p for p in (_WORDS.sub("", part).strip("._-") for part in text.split("/")) if p]
    told = [p for p in parts if not _PROGRAMS.fullmatch(p)] or [p for p in parts if p != "outs"]
    # A folder and a file in it that both name the sample name it once.
    after = [*told[1:], ""][: len(told)]
    named = [p for p, inner in zip(told, after, strict=True) if not inner.startswith(p)]
    return "_".join(named)


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
        if _OTHER_MTX.search(path.name) and not (_MATRIX.search(path.name) or _of_bustools(path)):
            remedy = next(
                (told for kind, told in _OTHER_COUNTS if kind.search(str(path))), _RENAMED
            )
        elif suffix in (".h5", ".h5ad", ".hdf5") and not _MATRIX.search(path.name):
            remedy = _UNZIPPED if path.suffix.lower() == ".gz" else _ENDING
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


#: Matrices of other things than all molecules of genes, and what to do about them.
_OTHER_COUNTS = (
    (
        re.compile(r"/(spliced|unspliced|ambiguous)\.mtx|UniqueAndMult[^/]*\.mtx"),
        "these are parts of the counts, or shares of molecules; the matrix of genes of the same run is what is read "
        "(STARsolo: Solo.out/Gene/raw; kb-python: count with `--workflow standard` or `nac`)",
    ),
    (
        re.compile(r"(tcc|\.ec)[^/]*\.mtx"),
        "these are counts of sets of transcripts: count genes (`kb count` without `--tcc`, `bustools count "
        "--genecounts`)",
    ),
)
_UNZIPPED = "unpack it (`gunzip`)"
_ENDING = "rename it, so that its name ends with .h5 or .h5ad"
#: What to do with a matrix of another name.
_RENAMED = "name a sample's three files alike: SAMPLE_matrix.mtx, SAMPLE_features.tsv, SAMPLE_barcodes.tsv (or .gz)"
