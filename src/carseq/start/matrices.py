"""The samples of a folder of matrices, whichever programs made them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from carseq.errors import CarseqError
from carseq.io.layouts import OTHER_MATRIX
from carseq.schema.results import FILES
from carseq.start.cellranger import COUNT_FILES, Made, multi_samples
from carseq.start.folders import walk
from carseq.start.left_out import (
    AGAIN,
    MATRIX,
    NOT_CORRECTED,
    RAW,
    Counted,
    left_out,
    of_bustools,
    unread_matrices,
)
from carseq.start.names import plain_names
from carseq.study.texts import some_names

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
    earlier = {path.parent for path in files if _is_results(path)}
    files = [path for path in files if not earlier.intersection(path.parents)]
    if earlier:
        places = sorted(place.relative_to(folder).as_posix() for place in earlier)
        told.append(
            f"left out: {some_names(places)}: results of carseq, made "
            "of matrices or reads that are samples themselves; another construct takes them over by `reuse`"
        )
    pools = {
        part.parent for path in files for part in path.parents if part.name == "per_sample_outs"
    }
    made = [
        m for outs in sorted(pools) for m in multi_samples(outs, outs / "per_sample_outs", told)
    ]
    files = [path for path in files if not pools.intersection(path.parents)]
    matrices = [path for path in files if MATRIX.search(path.name) or of_bustools(path)]
    unread = unread_matrices(folder, files)
    counted = Counted.of(matrices)
    candidates: list[_Candidate] = []
    out: dict[str, list[str]] = {}
    for path in matrices:
        if why := left_out(path, folder, counted):
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
            told.append(f"left out: {shown}, {AGAIN}: {NOT_CORRECTED}")
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
    if bams := [path for path in files if path.name in COUNT_FILES["bam"]]:
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


def _is_results(path: Path) -> bool:
    """Return whether a file is the record of a run of carseq in its folder of results."""
    return FILES["run_config"].path == path.name and FILES["versions"].under(path.parent).exists()


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
        return bool(RAW.search(self.text)) and not _FILTERED.search(
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


def _given(path: Path, folder: Path) -> tuple[Path, str]:
    """Return what to name in the sheet for a matrix's file, and the words of which its sample's name is made."""
    if OTHER_MATRIX.search(path.name) or of_bustools(path):
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
