"""The FASTQ files that a folder holds, by sample: what was found, what was put together and what was left out."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from carseq.errors import CarseqError
from carseq.start.names import (
    BAMTOFASTQ,
    Named,
    folder_name,
    folder_of_bamtofastq,
    named,
    plain_name,
    plain_names,
)
from carseq.study.texts import some_names

_ANY_FASTQ = re.compile(r"\.f(?:ast)?q(?:\.gz)?$")
#: Reads in a container that is not read, half a transfer, or with an ending in capitals.
_OTHER_FASTQ = re.compile(
    r"\.f(?:ast)?q(?:\.(?:gz|gzip|bgz|bz2|xz|zstd?|zip|7z|rar|lz4|ora|spring|part|partial|tmp|crdownload|filepart))*$",
    re.IGNORECASE,
)
#: Reads that are to be unpacked or made first, by what to do.
_NOT_YET = (
    (re.compile(r"\.(tar(\.\w+)?|tgz)$", re.IGNORECASE), "archives, which are to be unpacked"),
    (
        re.compile(r"\.(bam|cram)(\.\d+)?$"),
        "alignments, which go into the column `bam`, or of which `bamtofastq` of 10x makes reads",
    ),
    (
        re.compile(r"\.sra(lite)?$"),
        "SRA's files, of which `fasterq-dump --split-files --include-technical` makes reads",
    ),
    (
        re.compile(r"^RunInfo\.xml$"),
        "a sequencer's run, of which `bcl-convert` or `cellranger mkfastq` makes reads",
    ),
)
#: What makes both reads of a run of SRA: the barcode read is a technical one.
_BOTH_READS = "`fasterq-dump --split-files --include-technical` writes both"
#: What a folder may hold in place of reads, and how to give it.
_COUNTED = (
    (re.compile(r"possorted.*\.bam$"), "what Cell Ranger made: give it as `--cellranger`"),
    (re.compile(r"\.h5(ad)?$|\.mtx(\.gz)?$"), "matrices: give it as `--matrices`"),
)
#: The end of the mRNA that is read, as it stands before the words for a library (5GEX, 5p_GEX).
_END_READ = r"(?:(?<![a-z0-9])[35]'?(?:p[_-]?)?)?"
#: Libraries of a sample's cells that are not of its mRNA, and words for the one that is.
_OTHER_KIND = re.compile(
    rf"(?<![a-z]){_END_READ}(vdj([_-]?[tb])?|tcr|bcr|adt|hto|cite([_-]?seq)?|hashtags?|atac|crispr|grna|csp|cmo|antibod(y|ies)|protein"
    r"|feature[_-]?barcod(es?|ing))(?![a-z])",
    re.IGNORECASE,
)
#: Words that may be of a name, too: they tell a library only beside one whose name says mRNA.
_PERHAPS_OTHER = re.compile(r"(?<![a-z])(fb|multi([_-]?seq)?|prot|ab)(?![a-z])", re.IGNORECASE)
_MRNA = re.compile(
    rf"(?<![a-z]){_END_READ}(gex|gene[_-]?expression|s?c?_?rna|mrna|cdna)(?![a-z])", re.IGNORECASE
)
#: Reads that demultiplexing gave to no sample, and those of the control.
_NO_SAMPLES = re.compile(
    r"(^|[._-])(undetermined|unassigned|undecoded|ambiguous|unmatched|discarded|phix)([._-]|$)",
    re.IGNORECASE,
)
#: Reads of the sample index, which the counts do not need.
_INDEX_READ = re.compile(r"_I[12](?:_\d{3})?\.f(?:ast)?q(?:\.gz)?$")
#: Names that say what was sequenced, not whose: the folder names the sample.
_KIND = re.compile(
    r"(\d'?p?_?)?(gex|gene_?expression|rna|sc_?rna|mrna|cdna|vdj|vdj_?[tb]|tcr|bcr|adt|hto|cite|feature|sample|reads?)\d?",
    re.IGNORECASE,
)
#: A run of an archive in a file's name.
_SRA = re.compile(r"[SEDC]RR\d+")
#: The name of a folder that holds one kind of library.
_KIND_FOLDER = re.compile(
    r"[A-Za-z_-]+?[_-]?\w{0,2}([_-]?(fast_?qs?|reads|lib(rary)?|libraries|data))?", re.IGNORECASE
)
#: Folders that are not part of a run's reads: of version control, of Snakemake, of caches.
_SKIPPED_FOLDERS = {".git", ".snakemake", ".nextflow", "__pycache__", "__MACOSX", "lost+found"}
#: Folders in which Cell Ranger keeps its work, beside `outs`, and those in Nextflow's.
_WORK_OF_CELLRANGER = re.compile(r"SC_[A-Z_]+_CS")
_WORK_OF_NEXTFLOW = re.compile(r"[0-9a-f]{2}")


@dataclass
class Pairs:
    """FASTQ pairs of a folder.

    Attributes
    ----------
    units
        (sample, unit, r1, r2).
    told
        What was left out, or put together, and why.
    """

    units: list[tuple[str, str, Path, Path]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)


def find_fastqs(folder: Path) -> list[tuple[str, str, Path, Path]]:
    """Return (sample, unit, r1, r2) of the FASTQ pairs below a folder; see :func:`fastq_pairs`."""
    return fastq_pairs(folder).units


def walk(folder: Path, told: list[str] | None = None) -> Iterator[Path]:
    """Yield the files below a folder in order, linked folders too, each folder once.

    Parameters
    ----------
    folder
        The folder.
    told
        Filled, at the end, with what could not be looked at.

    Raises
    ------
    CarseqError
        If it is not a folder.
    """
    if not folder.is_dir():
        held = f"give the folder that holds it, {folder.parent}" if folder.is_file() else ""
        raise CarseqError(
            f"{folder} is not a folder",
            "it is a file" if held else "",
            held or "give the folder that holds the files",
        )
    seen: set[tuple[int, int]] = set()
    closed: list[str] = []
    nowhere: list[str] = []
    copies: list[str] = []

    def note(error: OSError) -> None:
        own = Path(os.fsdecode(error.filename))
        inside = own.relative_to(folder).as_posix() if own.is_relative_to(folder) else str(own)
        closed.append(f"{inside} ({error.strerror})")

    for place, folders, files in os.walk(folder, onerror=note, followlinks=True):
        stat = os.stat(place)
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        inner = sorted(f for f in folders if f not in _SKIPPED_FOLDERS)
        folders[:] = [f for f in inner if not _is_copy(Path(place), f)]
        copies += [
            (Path(place) / f).relative_to(folder).as_posix() for f in inner if f not in folders
        ]
        for path in (Path(place) / name for name in sorted(files)):
            if path.is_symlink() and not path.exists():
                nowhere.append(path.relative_to(folder).as_posix())
            yield path
    for names, what in (
        (
            closed,
            "folders that could not be read; ask their owner for the permission, or mount their disk",
        ),
        (nowhere, "links to what is not there; mount its disk, or link anew"),
        (copies, "hidden folders and those of a program's work, which hold copies"),
    ):
        if names and told is not None:
            told.append(f"not looked at: {some_names(names)}: {what}")


def _is_copy(place: Path, name: str) -> bool:
    """Return whether a folder holds copies: hidden (a disk's snapshots, a bin), or a program's work."""
    if name.startswith(".") or _WORK_OF_CELLRANGER.fullmatch(name):
        return True
    if name != "work":
        return False
    try:
        inner = [entry.name for entry in os.scandir(place / name) if entry.is_dir()]
    except OSError:
        return False
    held = [n for n in inner if n not in ("tmp", "conda", "singularity", "stage")]
    return bool(held) and all(
        _WORK_OF_NEXTFLOW.fullmatch(n) or n.startswith(("stage-", "collect-")) for n in held
    )


def fastq_pairs(folder: Path, *, partial: bool = False) -> Pairs:
    """Find the FASTQ pairs below a folder.

    Linked folders are followed. Files of one name in different folders are one sample where the folders look like
    runs or lanes of it (``run1/``, ``topup/``), and two where each folder holds that name alone, as ``PatientA/GEX``
    and ``PatientB/GEX`` do.

    Parameters
    ----------
    folder
        The folder.
    partial
        Whether files that lack their mates are left out, and told, where other pairs are whole.

    Returns
    -------
    Pairs

    Raises
    ------
    CarseqError
        If there are none, or files lack their mates.
    """
    found = Pairs()
    left: dict[str, list[str]] = defaultdict(list)
    files: list[tuple[Path, Named]] = []
    others: list[str] = []
    real: dict[str, Path] = {}
    for path in walk(folder, found.told):
        if not _ANY_FASTQ.search(path.name):
            others.append(path.name)
            if _OTHER_FASTQ.search(path.name) and not path.name.startswith("."):
                left["names that do not end in .fastq.gz or .fastq, .fq.gz or .fq"].append(
                    path.name
                )
            elif told := next((told for name, told in _NOT_YET if name.search(path.name)), ""):
                left[told].append(path.name)
            continue
        if path.name.startswith("."):
            left["hidden files (`._` files are macOS's notes, not reads)"].append(path.name)
            continue
        if _NO_SAMPLES.search(path.name.partition(".f")[0]):
            left["reads of the control, and those that demultiplexing gave to no sample"].append(
                path.name
            )
            continue
        if _INDEX_READ.search(path.name):
            left["index reads"].append(path.name)
            continue
        if (first := real.setdefault(os.path.realpath(path), path)) != path:
            left["links to files that are there already"].append(
                f"{path.relative_to(folder)} ({first.relative_to(folder)})"
            )
            continue
        name = named(path.name)
        if name is None or not (name.sample or name.alone or path.parent != folder):
            kind = (
                f"runs of SRA in one file, without the barcode read: {_BOTH_READS}"
                if _SRA.match(path.name)
                else "names that tell neither sample nor read"
            )
            left[kind].append(path.name)
            continue
        files.append((path, name))
    whole = _samples_of(folder, files, found.told)
    pairs: dict[tuple[Path, str], dict[str, Path]] = {}
    about: dict[tuple[Path, str], tuple[str, Named]] = {}
    for path, name in files:
        key = (path.parent, name.stem)
        about.setdefault(key, (whole[path], name))
        if (first := pairs.setdefault(key, {}).setdefault(name.read, path)) != path:
            left["files of a name that is there already"].append(
                f"{path.relative_to(folder)} (beside {first.name})"
            )
    for reason, names in left.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        found.told.append(f"left out: {reason}: {shown}")
    if not pairs:
        counted = next((told for end, told in _COUNTED if any(map(end.search, others))), "")
        raise CarseqError(
            f"no FASTQ pairs below {folder}",
            "; ".join(["names like SAMPLE_S1_L001_R1_001.fastq.gz are looked for", *found.told]),
            "check the folder, or write units.tsv by hand"
            if not counted
            else f"it holds {counted}",
        )
    samples = [(place, sample) for (place, _), (sample, _) in about.items()]
    # A folder's one name is told with the folder's, which says what it holds.
    if not _one_name(samples):
        _leave_out_kinds(folder, about, found.told)
    by_folder = {sample for sample, name in about.values() if name.alone == BAMTOFASTQ}
    samples = [(place, sample) for (place, _), (sample, _) in about.items()]
    called = _sample_names(folder, samples, by_folder, found.told)
    alone: list[str] = []
    numbers: list[str] = []
    indexes: dict[str, dict[str, None]] = defaultdict(dict)
    for (place, stem), (sample, name) in about.items():
        reads = _of_sra(sample, pairs[place, stem], found.told)
        whole_name = called[place, sample]
        run = name.run.removeprefix(sample).strip("_") if sample == name.alone else name.run
        unit = _unit_name(folder, place, whole_name, run or "1")
        if set(reads) != {"1", "2"}:
            lacks = f"{whole_name} {unit} lacks R{'2' if '1' in reads else '1'}"
            alone += [f"{lacks} of {path.relative_to(folder)}" for path in reads.values()]
            continue
        found.units.append((whole_name, unit, reads["1"], reads["2"]))
        numbers.append(name.number)
        indexes[whole_name][name.index] = None
    found.told += [
        f"{sample}: the reads of {len(own)} indexes ({some_names(list(own))}) were taken as one sample, as the four of "
        "a set of 10x's are; if they are samples of their own, give them names of their own in both sheets"
        for sample, own in indexes.items()
        if len(own) > 1 and "" not in own
    ]
    found.units = _told_apart(found.units, numbers)
    found.units = _of_mrna(found.units, found.told)
    if alone:
        n = f"{len(alone)} FASTQ file{'s lack their mates' if len(alone) > 1 else ' lacks its mate'}"
        of_sra = f"; of runs of SRA {_BOTH_READS}" if any(map(_SRA.search, alone)) else ""
        if not partial or not found.units:
            raise CarseqError(
                alone[0].rpartition(" of ")[0] if len(alone) == 1 else n,
                "; ".join(alone),
                "transfer what is missing, or take these files out of the folder" + of_sra,
            )
        found.told.append(
            f"left out: {n}, without which its sample's reads are not whole: {'; '.join(alone)}"
            f"{of_sra}"
        )
    return found


def _samples_of(folder: Path, files: list[tuple[Path, Named]], told: list[str]) -> dict[Path, str]:
    """Return each file's sample as the sheets take it: of its name, or of its folder where that tells a run alone."""
    raw: dict[Path, str] = {}
    runs: dict[Path, str] = {}
    for path, name in files:
        if not name.sample:
            runs[path] = folder_name(path.parent, folder)
        raw[path] = name.sample or name.alone
    # One folder of many runs is that of a study, several are those of samples.
    of_samples = len(set(runs.values()) - {""}) > 1
    by_folder: dict[str, dict[str, None]] = {}
    for path, name in files:
        if path not in runs:
            continue
        if not name.alone or name.alone == BAMTOFASTQ:
            raw[path] = (
                runs[path] or folder_of_bamtofastq(folder.resolve().name) or path.parent.name
            )
        elif runs[path] and of_samples:
            raw[path] = runs[path]
            by_folder.setdefault(runs[path], {})[name.run] = None
        else:
            by_folder.setdefault("", {})[name.alone] = None
    alone = list(by_folder.pop("", {}))
    for sample, own in by_folder.items():
        if len(own) > 1:
            told.append(
                f"{some_names(list(own))} were taken as runs or lanes of one sample, {sample}, after their folder; "
                "if they are samples of their own, give them names of their own in both sheets"
            )
    if len(alone) > 1:
        told.append(
            f"{some_names(alone)}: these names tell a run of an archive or an index of a flow cell, and each was taken "
            "as a sample; runs of one library (SRA's run table tells the sample of each) get one name in units.tsv, "
            "and one row in samples.tsv"
        )
    names, apart = plain_names(raw.values())
    told += apart
    return {path: names[text] for path, text in raw.items()}


def _leave_out_kinds(
    folder: Path, about: dict[tuple[Path, str], tuple[str, Named]], told: list[str]
) -> None:
    """Leave out pairs of a sample that lie in a folder of antibodies, receptors or hashtags, beside one of mRNA."""

    def kinds(place: Path) -> list[str]:
        parts = (part.strip() for part in place.relative_to(folder).parts)
        return [part for part in parts if _OTHER_KIND.match(part) and _KIND_FOLDER.fullmatch(part)]

    of_mrna = {sample for (place, _), (sample, _) in about.items() if not kinds(place)}
    out = [key for key, (sample, _) in about.items() if kinds(key[0]) and sample in of_mrna]
    if out:
        places = dict.fromkeys(key[0].relative_to(folder).as_posix() for key in out)
        told.append(
            f"left out: the reads in {some_names(list(places))}, which by their folders are of no libraries of mRNA; "
            "receptors go into the column `tcr`, as a table"
        )
    for key in out:
        del about[key]


def _told_apart(
    units: list[tuple[str, str, Path, Path]], numbers: list[str]
) -> list[tuple[str, str, Path, Path]]:
    """Return the units with names of their own: one lane of two runs in a folder differs by Illumina's number."""
    held: set[tuple[str, str]] = set()
    often = Counter((sample, unit) for sample, unit, *_ in units)
    apart = []
    for (sample, unit, r1, r2), number in zip(units, numbers, strict=True):
        own = f"{unit}_S{number}" if often[sample, unit] > 1 and number else unit
        if (sample, own) in held:
            own = next(
                f"{own}_{i}" for i in range(2, len(units) + 2) if (sample, f"{own}_{i}") not in held
            )
        held.add((sample, own))
        apart.append((sample, own, r1, r2))
    return apart


def _of_mrna(
    units: list[tuple[str, str, Path, Path]], told: list[str]
) -> list[tuple[str, str, Path, Path]]:
    """Leave out libraries of receptors, antibodies or hashtags of a sample whose mRNA is there by its name."""

    def plain(sample: str, *words: re.Pattern[str]) -> str:
        for word in (_MRNA, _OTHER_KIND, *words):
            sample = word.sub("", sample)
        return re.sub(r"[\W_]", "", sample).lower()

    def is_other(sample: str) -> bool:
        if _OTHER_KIND.search(sample):
            return bool(plain(sample)) and plain(sample) in of_mrna
        perhaps = _PERHAPS_OTHER.search(sample) and not _MRNA.search(sample)
        return bool(perhaps) and plain(sample, _PERHAPS_OTHER) in of_mrna_by_name

    of_mrna = {plain(sample) for sample, *_ in units if not _OTHER_KIND.search(sample)}
    of_mrna_by_name = {plain(sample) for sample, *_ in units if _MRNA.search(sample)} - {""}
    out = dict.fromkeys(sample for sample, *_ in units if is_other(sample))
    if out:
        told.append(
            f"left out: {', '.join(out)}, which by their names are no libraries of mRNA; receptors go into the column "
            "`tcr`, as a table"
        )
    return [unit for unit in units if unit[0] not in out]


def _one_name(pairs: Iterable[tuple[Path, str]]) -> bool:
    """Return whether all folders hold one name (GEX, sample, reads), which says nothing: they name the samples."""
    return len({sample for _, sample in pairs}) == 1


def _sample_names(
    folder: Path, pairs: Sequence[tuple[Path, str]], by_folder: Collection[str], told: list[str]
) -> dict[tuple[Path, str], str]:
    """Return what each sample of each folder is called: a name in several folders is one sample or several.

    Samples whose folders gave them their names (``by_folder``) are those of their folders.
    """
    places: dict[str, list[Path]] = defaultdict(list)
    for place, sample in pairs:
        if place not in places[sample]:
            places[sample].append(place)
    single = _one_name(pairs)
    names = {}
    for sample, own in places.items():
        parents = [place.relative_to(folder).as_posix() for place in own]
        # BaseSpace gives each lane of a sample a folder of its own in the project's.
        of_project = len({place.parent for place in own}) == 1
        of_lanes = of_project and all(map(_BASESPACE.search, parents))
        # Folders that hold this one name, or a word that says what was sequenced, are folders of samples.
        says_nothing = (single or _KIND.fullmatch(sample)) and not of_lanes
        apart = len(own) > 1 and "." not in parents and says_nothing and sample not in by_folder
        if apart and not all(map(_is_run, parents)):
            for place, parent in zip(own, parents, strict=True):
                names[place, sample] = plain_name(f"{parent}_{sample}")
            told.append(
                f"{sample} occurs in {len(own)} folders ({', '.join(parents[:4])}) and was taken as {len(own)} "
                "samples, named after them; if they are runs of one sample, give their rows of units.tsv one name"
            )
            continue
        for place in own:
            names[place, sample] = sample
        if len(own) > 1:
            told.append(
                f"{sample} occurs in {len(own)} folders ({', '.join(parents[:4])}) and was taken as one sample with "
                "several runs; if they are of different patients, give them names of their own in both sheets"
            )
    return names


#: What BaseSpace calls a folder of a sample's lane.
_BASESPACE = re.compile(r"_L\d{3}[-_]ds\.[0-9a-f]+$")


def _is_run(folder: str) -> bool:
    """Return whether a folder's name names a run, a lane or a repeat of one library."""
    return bool(
        re.search(r"(?:^|[/_.-])(run|lane|flow[_-]?cell|fc|seq|top[_-]?up|deeper|repeat|rerun|batch|h[a-z0-9]{8})[_-]?\d*",
                  folder, re.IGNORECASE)
        or re.search(r"\d{6,8}_[A-Z]+\d+", folder)
    )  # fmt: skip


def _of_sra(sample: str, reads: dict[str, Path], told: list[str]) -> dict[str, Path]:
    """Return barcode read and cDNA of three or four files: the two longest kinds of read are they."""
    if len(reads) < 3 or not {"1", "2", "3"} <= set(reads) <= {"1", "2", "3", "4"}:
        return reads
    from carseq.library.fastq import first_reads

    length = {}
    for read, path in reads.items():
        sequences = [s for _, s in first_reads(path, 200)]
        length[read] = max(map(len, sequences), default=0)
    # The sample index has 8 or 10 bases, barcode and UMI 24 or more.
    kept = sorted(read for read, n in length.items() if n > 14)
    if len(kept) != 2 and not _SRA.search(reads["1"].name):
        # Three reads of a library of open chromatin, beside which mRNA may lie.
        told.append(f"left out: {reads['3'].name}, a third read of {sample} that is no index read")
        return {read: reads[read] for read in ("1", "2")}
    if len(kept) != 2:
        raise CarseqError(
            f"which files of {sample} are the barcode read and the cDNA?",
            ", ".join(f"{reads[r].name}: {n} bases" for r, n in length.items()),
            "write units.tsv by hand: r1 is the read with barcode and UMI",
        )
    out = [reads[r].name for r in reads if r not in kept]
    told.append(f"left out: the index read{'s' if len(out) > 1 else ''} {', '.join(out)}")
    return {"1": reads[kept[0]], "2": reads[kept[1]]}


def _unit_name(folder: Path, place: Path, sample: str, unit: str) -> str:
    """Return a unit's name: its lane, behind its folder where that is not the sample's own name."""
    if place == folder:
        return unit
    inside = place.relative_to(folder).as_posix().replace("/", "_")
    return (
        unit
        if sample.startswith(re.sub(r"[^A-Za-z0-9._-]", "_", inside)) and sample != inside
        else f"{inside}_{unit}"
    )
