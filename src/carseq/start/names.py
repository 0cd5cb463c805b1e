"""What the names of FASTQ files tell: sample, lane and read, and what names a run of the sequencer alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_END = r"\.f(?:ast)?q(?:\.gz)?$"
#: Flow cells of Illumina by the end of their names, and of MGI.
_CELL = r"[A-Z0-9]{3,7}(?:BGX|DSX|DRX|DMX|ALX|BBX|BCX|ANX|AFX|CCX|CVX|HV|LT|M5)[A-Z0-9]{0,2}"
_CELL_OF_MGI = r"[A-Z]{1,2}\d{8,11}[A-Z]{0,2}"
#: MGI's names: FLOWCELL_LANE_INDEX_1.fq.gz, or FLOWCELL_LANE_SAMPLE_1.fq.gz.
_MGI = re.compile(
    rf"^(?P<cell>{_CELL_OF_MGI})_(?P<lane>L0?\d)(?:_(?P<index>(?:UDI)?\d{{1,3}}|read))?(?:_(?P<sample>.+?))??"
    rf"_(?P<mark>[Rr]?(?P<read>[12])){_END}"
)
#: Illumina's names: SAMPLE_S1_L001_R1_001.fastq.gz; flow cell, lane and number may be missing.
_ILLUMINA = re.compile(
    rf"^(?P<sample>.+?)(?:_(?P<cell>{_CELL}))?(?:_S(?P<number>\d+))?(?:_(?P<lane>L\d{{3}}))?"
    rf"_(?P<mark>[Rr](?P<read>[123]))(?:_(?P<part>\d{{3}}))?{_END}"
)
#: Names of fasterq-dump and fastq-dump: SRR1_1.fastq.gz, SRR1_2.fastq.gz, and SRR1_3 where the index is given too; of
#: the GSA: CRR1_f1.fq.gz and CRR1_r2.fq.gz.
_SRA = re.compile(
    rf"^(?P<sample>(?:.+_)?[SEDC]RR\d+(?:_pass)?)_(?P<mark>[fr]?(?P<read>[1-4])){_END}"
)
#: Names of sequencing services: SAMPLE_HVT7KDSX2_L1_1.fq.gz, with flow cell and lane, or the lane alone.
_SERVICE = re.compile(
    rf"^(?P<sample>.+?)_(?:(?P<cell>(?=[A-Z]*\d)(?=\d*[A-Z])[A-Z0-9]{{9,10}}|{_CELL_OF_MGI})_)?(?P<lane>L\d{{1,3}})"
    rf"(?:_(?P<index>\d{{1,3}}))?_(?P<mark>[Rr]?(?P<read>[12])){_END}"
)
#: Reads that Trim Galore wrote.
_TRIMMED = re.compile(rf"^(?P<sample>.+?)_[Rr]?[12]_(?P<mark>val_(?P<read>[12])){_END}")
#: Other names of pairs: SAMPLE_1.fq.gz, SAMPLE.R1.fastq.gz, SAMPLE-R1.fq.
_PLAIN = re.compile(rf"^(?P<sample>.+?)[._-](?P<mark>[Rr]?(?P<read>[12])){_END}")
#: Reads of the folder's sample: P01/R1.fastq.gz.
_BARE = re.compile(rf"^(?P<mark>[Rr]?(?P<read>[12])){_END}")
_NAMES = (_MGI, _TRIMMED, _SRA, _ILLUMINA, _SERVICE, _PLAIN)
#: One of the four indexes of a set of 10x's, with which demultiplexing may name a file; and an index's bases before the
#: lane (CASAVA). The library is the sample's before it.
_OF_SET = re.compile(
    r"^(?P<sample>(?:.+[_-])?SI[-_][A-Z0-9]A[-_][A-H]\d{1,2})[-_](?P<index>[1-4])$"
)
_BASES = re.compile(
    r"^(?P<sample>.+?)[_-](?P<index>([ACGT]{8}|[ACGT]{10})([-+]([ACGT]{8}|[ACGT]{10}))?)$"
)
#: A run of an archive, with the sample's or the experiment's name before it.
_RUN = re.compile(r"^(?:(?P<sample>.+?)_)?(?P<run>[SEDC]RR\d+)(?:_pass)?$")
#: The folders and files of bamtofastq, which names no sample in a file's name.
BAMTOFASTQ = "bamtofastq"
_FOLDER_OF_BAMTOFASTQ = re.compile(r"^(?P<sample>.+?)_\d+_\d+_(?=\d*[A-Z])[A-Z0-9-]{4,}$")
#: Folders whose names say what they hold, or which run or lane it is of, not whose it is.
_NO_SAMPLE = re.compile(
    rf"fast_?qs?|fastq_path|(raw|clean|trimmed)[_-]?(data|reads|fast_?qs?)?|data|reads|samples?|sra|ena|gsa|outs|lanes?[_-]?\d*"
    rf"|(run|flow_?cell|batch|seq)[_-]?\w{{0,4}}|L\d{{1,3}}|\d+|vol\d+|{_CELL}|{_CELL_OF_MGI}|PRJ\w+|[SEDC]RR\d+|[SED]RP\d+|CRA\d+"
    r"|GSE\d+|gemgroup\d+|MissingLibrary_\d+_.*",
    re.IGNORECASE,
)
#: Letters that are two of the English alphabet, or one that does not come apart into letter and accent.
_LETTERS = str.maketrans(
    {
        **{unicodedata.normalize("NFC", f"{a}\N{COMBINING DIAERESIS}"): f"{a}e" for a in "aouAOU"},
        "\N{LATIN SMALL LETTER SHARP S}": "ss",
        "\N{LATIN SMALL LETTER O WITH STROKE}": "o",
        "\N{LATIN CAPITAL LETTER O WITH STROKE}": "O",
        "\N{LATIN SMALL LETTER L WITH STROKE}": "l",
        "\N{LATIN CAPITAL LETTER L WITH STROKE}": "L",
    }
)

#: Letters of a name, at most, so that it fits into the sheets with a number behind it.
_LONGEST = 96


@dataclass(frozen=True)
class Named:
    """What a FASTQ file's name tells.

    Attributes
    ----------
    sample
        The sample as it is written; nothing where the name tells a run alone.
    run
        Flow cell, lane and index, or the archive's run: what tells units of a sample apart.
    number
        Illumina's number of the sample in its sheet.
    read
        1 to 4.
    stem
        The name without read and ending, which mates have in common.
    alone
        What the sample is called where no folder names it, if the name tells a run alone.
    index
        The sample's index, one of those that its library may have.
    """

    sample: str
    run: str
    number: str
    read: str
    stem: str
    alone: str = ""
    index: str = ""


def named(name: str) -> Named | None:
    """Return what a FASTQ file's name tells; None where it tells no read.

    >>> [(n.sample, n.run) for n in map(named, ("P1_S1_L001_R1_001.fastq.gz", "E100012345_L01_P1_1.fq.gz")) if n]
    [('P1', 'L001'), ('P1', 'E100012345_L01')]
    >>> [(n.sample, n.run) for n in map(named, ("GSM1_SRR2_1.fastq", "V350012345_L02_17_1.fq.gz")) if n]
    [('GSM1', 'SRR2'), ('', 'V350012345_L02_17')]
    >>> [(n.sample, n.run) for n in map(named, ("P1_SI-GA-A1_3_S3_L001_R1_001.fq", "P1_ACGTACGT_L001_R1.fq")) if n]
    [('P1_SI-GA-A1', '3_L001'), ('P1', 'ACGTACGT_L001')]
    """
    match = next((m for pattern in (*_NAMES, _BARE) if (m := pattern.match(name))), None)
    if match is None:
        return None
    groups = {key: value or "" for key, value in match.groupdict().items()}
    sample, index, lane = groups.get("sample", ""), groups.get("index", ""), groups.get("lane", "")
    run = [groups.get("cell", ""), lane, "" if index == "read" else index]
    alone = "_".join(filter(None, [run[0], run[2]]))
    of_library = ""
    if found := _OF_SET.match(sample) or (_BASES.match(sample) if lane else None):
        sample, of_library = found["sample"], found["index"]
        run = [of_library, *run]
    # An archive's run names its reads, and a sample only where nothing else does.
    if found := _RUN.match(sample):
        sample, alone = found["sample"] or "", found["run"]
        run = [found["run"], *run]
    if sample == BAMTOFASTQ:
        sample, alone = "", sample
    part = groups.get("part", "")
    run.append(part if part != "001" else "")
    stem = name[: match.start("mark")] + "#"
    if match["mark"].startswith("val"):
        stem = re.sub(r"_[Rr]?[12]_#$", "_#", stem)
    return Named(
        sample,
        "_".join(filter(None, run)),
        groups.get("number", ""),
        match["read"],
        stem + re.sub(_END, "", name[match.end("mark") :]),
        "" if sample else alone,
        of_library,
    )


def folder_name(place: Path, folder: Path) -> str:
    """Return the name of the innermost folder that may be a sample's, of those between a file and what was given.

    >>> folder_name(Path("run/P1/fastq/L01"), Path("run"))
    'P1'
    """
    for part in reversed(place.relative_to(folder).parts):
        own = _FOLDER_OF_BAMTOFASTQ.sub(r"\g<sample>", part)
        if not _NO_SAMPLE.fullmatch(own):
            return own
    return ""


def folder_of_bamtofastq(folder: str) -> str:
    """Return the sample in the name of a folder of bamtofastq; nothing for another folder.

    >>> folder_of_bamtofastq("P01_0_1_HABCDEFXY")
    'P01'
    """
    found = _FOLDER_OF_BAMTOFASTQ.match(folder)
    return found["sample"] if found else ""


def plain_name(text: str) -> str:
    """Return a name as the sheets take it: letters with accents without them, other marks as ``_``.

    >>> plain_name("M\N{LATIN SMALL LETTER U WITH DIAERESIS}ller urine")
    'Mueller_urine'
    """
    text = unicodedata.normalize("NFC", text).translate(_LETTERS)
    apart = unicodedata.normalize("NFKD", text)
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    name = re.sub(r"[^A-Za-z0-9._-]", "_", bare)
    return name.lstrip("._-")[:_LONGEST] if re.search(r"[A-Za-z0-9]", name) else "sample"


def plain_names(texts: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return names as the sheets take them, each another one, and what there is to say about them.

    Parameters
    ----------
    texts
        Names as files and folders have them; the same one twice is one name.

    Returns
    -------
    names : dict
        By the text.
    told : list of str
        Names that were told apart by a number, since they are alike but for letters that the sheets do not take.
    """
    names: dict[str, str] = {}
    told = []
    held: dict[str, str] = {}
    for text in dict.fromkeys(texts):
        name, whole = plain_name(text), unicodedata.normalize("NFC", text)
        # Folders of names that differ in case alone are one on some disks.
        if held.get(name.lower(), whole) != whole:
            other = held[name.lower()]
            name = next(
                f"{name}_{i}" for i in range(2, len(held) + 3) if f"{name}_{i}".lower() not in held
            )
            told.append(
                f"{other} and {text} are told apart as {plain_name(other)} and {name}: names in the sheets hold "
                "letters of the English alphabet, digits, . _ -, and differ in more than case; if they are reads of "
                "one sample, give their rows of units.tsv one name"
            )
        held[name.lower()] = whole
        names[text] = name
    return names, told
