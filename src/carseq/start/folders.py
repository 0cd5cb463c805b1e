"""The FASTQ files that a folder holds, by sample: what was found, what was put together and what was left out."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from carseq.errors import CarseqError

#: Illumina's names: SAMPLE_S1_L001_R1_001.fastq.gz; lane and number may be missing.
_FASTQ = re.compile(
    r"^(?P<sample>.+?)(?:_S\d+)?(?:_(?P<lane>L\d{3}))?_R(?P<read>[123])(?:_(?P<part>\d{3}))?\.f(?:ast)?q(?:\.gz)?$"
)
#: Names of fasterq-dump and fastq-dump: SRR1_1.fastq.gz, SRR1_2.fastq.gz, and SRR1_3 where the index is given too.
_SRA = re.compile(r"^(?P<sample>[SED]RR\d+)_(?P<read>[1-4])\.f(?:ast)?q(?:\.gz)?$")
#: Other names of pairs: SAMPLE_1.fq.gz, SAMPLE.R1.fastq.gz, SAMPLE-R1.fq.
_PLAIN = re.compile(r"^(?P<sample>.+?)[._-][Rr]?(?P<read>[12])\.f(?:ast)?q(?:\.gz)?$")
#: Names of sequencing services: SAMPLE_HVT7KDSX2_L1_1.fq.gz, with flow cell and lane.
_SERVICE = re.compile(
    r"^(?P<sample>.+?)_(?P<lane>(?=[A-Z]*\d)(?=\d*[A-Z])[A-Z0-9]{9,10}_L\d)_R?(?P<read>[12])\.f(?:ast)?q(?:\.gz)?$"
)
#: Reads of the folder's sample: P01/R1.fastq.gz.
_BARE = re.compile(r"^[Rr]?(?P<read>[12])\.f(?:ast)?q(?:\.gz)?$")
_NAMES = (_FASTQ, _SRA, _SERVICE, _PLAIN)
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
        re.compile(r"\.sra(lite)?$"),
        "SRA's files, of which `fasterq-dump --split-files --include-technical` makes reads",
    ),
    (
        re.compile(r"^RunInfo\.xml$"),
        "a sequencer's run, of which `bcl-convert` or `cellranger mkfastq` makes reads",
    ),
)
#: Libraries of a sample's cells that are not of its mRNA, and words for the one that is.
_OTHER_KIND = re.compile(
    r"(?<![a-z])(vdj([_-]?[tb])?|tcr|bcr|adt|hto|cite([_-]?seq)?|hashtags?|atac|crispr|grna|csp|antibod(y|ies)|protein)(?![a-z])",
    re.IGNORECASE,
)
_MRNA = re.compile(
    r"(?<![a-z])(gex|gene[_-]?expression|s?c?_?rna|mrna|cdna)(?![a-z])", re.IGNORECASE
)
#: Reads of the sample index, which the counts do not need.
_INDEX_READ = re.compile(r"_I[12](?:_\d{3})?\.f(?:ast)?q(?:\.gz)?$")
#: Names that say what was sequenced, not whose: the folder names the sample.
_KIND = re.compile(
    r"(\d'?p?_?)?(gex|gene_?expression|rna|sc_?rna|mrna|cdna|vdj|vdj_?[tb]|tcr|bcr|adt|hto|cite|feature|sample|reads?)\d?",
    re.IGNORECASE,
)
#: Folders that are not part of a run's reads: of version control, of Snakemake, of caches.
_SKIPPED_FOLDERS = {".git", ".snakemake", "__pycache__", "__MACOSX"}


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


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder in order, linked folders too, each folder once.

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
    for place, folders, files in os.walk(folder, followlinks=True):
        stat = os.stat(place)
        if (stat.st_dev, stat.st_ino) in seen:
            folders.clear()
            continue
        seen.add((stat.st_dev, stat.st_ino))
        folders[:] = sorted(f for f in folders if f not in _SKIPPED_FOLDERS)
        yield from (Path(place) / name for name in sorted(files))


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
    pairs: dict[tuple[Path, str, str], dict[str, Path]] = {}
    real: dict[str, Path] = {}
    for path in walk(folder):
        if not _ANY_FASTQ.search(path.name):
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
        if path.name.startswith("Undetermined"):
            left["reads that demultiplexing gave to no sample"].append(path.name)
            continue
        if _INDEX_READ.search(path.name):
            left["index reads"].append(path.name)
            continue
        if (first := real.setdefault(os.path.realpath(path), path)) != path:
            left["links to files that are there already"].append(
                f"{path.relative_to(folder)} ({first.relative_to(folder)})"
            )
            continue
        match = next((m for names in _NAMES if (m := names.match(path.name))), None)
        if match is None and path.parent != folder:
            match = _BARE.match(path.name)
        if match is None:
            left["names that tell neither sample nor read"].append(path.name)
            continue
        groups = match.groupdict()
        part = groups.get("part")
        unit = "_".join(filter(None, [groups.get("lane"), part if part != "001" else ""])) or "1"
        sample = re.sub(r"[^A-Za-z0-9._-]", "_", groups.get("sample") or path.parent.name)
        pairs.setdefault((path.parent, sample, unit), {})[match["read"]] = path
    for reason, names in left.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        found.told.append(f"left out: {reason}: {shown}")
    if not pairs:
        raise CarseqError(
            f"no FASTQ pairs below {folder}",
            "; ".join(["names like SAMPLE_S1_L001_R1_001.fastq.gz are looked for", *found.told]),
            "check the folder, or write units.tsv by hand",
        )
    called = _sample_names(folder, pairs, found.told)
    alone: list[str] = []
    for (place, sample, unit), files in pairs.items():
        reads = _of_sra(sample, files, found.told)
        whole = called[place, sample]
        if set(reads) != {"1", "2"}:
            lacks = f"{whole} {unit} lacks R{'2' if '1' in reads else '1'}"
            alone += [f"{lacks} of {path.relative_to(folder)}" for path in reads.values()]
            continue
        found.units.append((whole, _unit_name(folder, place, whole, unit), reads["1"], reads["2"]))
    found.units = _of_mrna(found.units, found.told)
    if alone:
        n = f"{len(alone)} FASTQ file{'s lack their mates' if len(alone) > 1 else ' lacks its mate'}"
        if not partial or not found.units:
            raise CarseqError(
                alone[0].rpartition(" of ")[0] if len(alone) == 1 else n,
                "; ".join(alone),
                "transfer what is missing, or take these files out of the folder",
            )
        found.told.append(
            f"left out: {n}, without which its sample's reads are not whole: {'; '.join(alone)}"
        )
    return found


def _of_mrna(
    units: list[tuple[str, str, Path, Path]], told: list[str]
) -> list[tuple[str, str, Path, Path]]:
    """Leave out libraries of receptors, antibodies or hashtags of a sample whose mRNA is there by its name."""

    def plain(sample: str) -> str:
        return re.sub(r"[\W_]", "", _OTHER_KIND.sub("", _MRNA.sub("", sample))).lower()

    of_mrna = {plain(sample) for sample, *_ in units if not _OTHER_KIND.search(sample)}
    out = dict.fromkeys(
        sample
        for sample, *_ in units
        if _OTHER_KIND.search(sample) and plain(sample) and plain(sample) in of_mrna
    )
    if out:
        told.append(
            f"left out: {', '.join(out)}, which by their names are no libraries of mRNA; receptors go into the column "
            "`tcr`, as a table"
        )
    return [unit for unit in units if unit[0] not in out]


def _sample_names(
    folder: Path, pairs: dict[tuple[Path, str, str], dict[str, Path]], told: list[str]
) -> dict[tuple[Path, str], str]:
    """Return what each sample of each folder is called: a name in several folders is one sample or several."""
    places: dict[str, list[Path]] = defaultdict(list)
    for place, sample, _ in pairs:
        if place not in places[sample]:
            places[sample].append(place)
    # One name for all that a folder holds (GEX, sample, reads) says nothing: the folder names the sample.
    single = all(len({s for p, s, _ in pairs if p == place}) == 1 for place, _, _ in pairs)
    names = {}
    for sample, own in places.items():
        parents = [place.relative_to(folder).as_posix() for place in own]
        # Folders that hold this one name, or a word that says what was sequenced, are folders of samples.
        says_nothing = (single and len(places) == 1) or _KIND.fullmatch(sample)
        apart = len(own) > 1 and "." not in parents and says_nothing
        if apart and not all(map(_is_run, parents)):
            for place, parent in zip(own, parents, strict=True):
                names[place, sample] = re.sub(r"[^A-Za-z0-9._-]", "_", f"{parent}_{sample}")
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
    if len(kept) != 2 and not _SRA.match(reads["1"].name):
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
