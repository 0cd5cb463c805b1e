"""Which files below a folder are a sample's matrix, which a copy of another one, and which are not read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from carseq.io.layouts import OTHER_MATRIX, remedy_for

#: Names of matrices of all barcodes.
RAW = re.compile(r"(^|[^a-z])(raw|unfiltered)([^a-z]|$)", re.IGNORECASE)
#: Why a matrix is left out: a copy, and counts of a program that took molecules out of them.
AGAIN = "since the matrix beside it is of the same library"
NOT_CORRECTED = "carseq models ambient RNA itself, in counts that are not corrected"


#: Files that hold a matrix, by their names.
MATRIX = re.compile(rf"\.h5(ad)?$|matrix\.mtx(\.gz)?$|{OTHER_MATRIX.pattern}")
#: Files of Cell Ranger and CellBender that are no counts of genes in barcodes.
_NO_MATRIX = re.compile(
    r"molecule_info|cloupe|analysis|feature_slice|[._]posterior|(peak|tf|probe)_bc_matrix"
)


def of_bustools(path: Path) -> bool:
    """Return whether a matrix is one of `bustools count` under a name of its own: cells and genes are beside it."""
    stem = re.sub(r"\.mtx(\.gz)?$", "", path.name)
    return (
        stem not in (path.name, "spliced", "unspliced")
        and path.with_name(f"{stem}.barcodes.txt").exists()
        and path.with_name(f"{stem}.genes.txt").exists()
    )


@dataclass(frozen=True)
class Counted:
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
    def of(cls, files: list[Path]) -> Counted:
        own = [path for path in files if not _NO_MATRIX.search(path.name)]
        return cls(
            frozenset(path.parent for path in own),
            frozenset(path.parent for path in own if OTHER_MATRIX.search(path.name)),
            any(_CONVERTED not in path.parts for path in own),
            frozenset(path.parent for path in own if "cellbender" not in path.name.lower()),
            frozenset(path.parent.parent for path in own if RAW.search(path.parent.name)),
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


def left_out(path: Path, folder: Path, counted: Counted) -> str:
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
            return AGAIN
        if "cellbender" in path.name.lower() and path.parent in counted.plain:
            return f"{AGAIN}: {NOT_CORRECTED}"
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
        if _OTHER_MTX.search(path.name) and not (MATRIX.search(path.name) or of_bustools(path)):
            remedy = next(
                (told for kind, told in _OTHER_COUNTS if kind.search(str(path))), _RENAMED
            )
        elif suffix in (".h5", ".h5ad", ".hdf5") and not MATRIX.search(path.name):
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
