"""The rows of samples.tsv and units.tsv."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from carseq.errors import CarseqError
from carseq.io.fasta import check_fetched, is_gzipped
from carseq.io.results import way_in
from carseq.library.geometry import CHEMISTRIES, own_name, parse_geometry, preset_of
from carseq.library.presets import PRESETS, PROBES
from carseq.schema.codes import GATES
from carseq.schema.shares import most_of_share
from carseq.study.texts import (
    DASHES,
    NAME,
    decimal_comma,
    fault_words,
    is_missing,
    path_fault,
    path_hint,
)
from carseq.study.times import comparable, first_names, unit_of

PATHS = ("bam", "matrix", "raw_matrix", "whitelist", "tcr")
#: What people call the columns that a sheet must have, in small letters and without marks between words.
_ALSO_CALLED = {
    "sample": ("sampleid", "samplename", "library", "libraryid"),
    "patient": (
        "patientid",
        "donor",
        "donorid",
        "subject",
        "subjectid",
        "individual",
        "participant",
    ),
    "compartment": ("tissue", "source", "material", "specimen"),
    "unit": ("lane", "unitid"),
    "r1": ("read1", "fastq1", "fq1"),
    "r2": ("read2", "fastq2", "fq2"),
}
#: Columns of a few known words, which may be written in capitals or with a space.
_OF_KNOWN_WORDS = ("compartment", "role")
#: What spreadsheets write where a formula failed.
_FAILED_FORMULA = frozenset(
    (
        "#ref!",
        "#div/0!",
        "#value!",
        "#name?",
        "#num!",
        "#null!",
        "#spill!",
        "#calc!",
        "#getting_data",
    )
)
#: Quotation marks of word processors, which no reader of tables takes away.
_QUOTES = (
    "\N{LEFT DOUBLE QUOTATION MARK}",
    "\N{RIGHT DOUBLE QUOTATION MARK}",
    "\N{DOUBLE LOW-9 QUOTATION MARK}",
)
#: Lines of one row at most, whose cells hold line breaks.
_MOST_LINES = 50
#: The first line of a CSV that tells Excel what separates its columns.
_SEPARATOR = re.compile(r'"?sep=.?"?', re.IGNORECASE)
#: What a column of row numbers is called, if at all: by pandas, readr, and R (X).
_ADDED = re.compile(r"|Unnamed: \d+|\.\.\.1|X|index|rownames|row\.names", re.IGNORECASE)
#: Letters of any script, digits, and marks that no table, page or HDF5 file takes for more than they are.
_COLUMN_NAME = re.compile(r"[^\W_][\w .,:%()+-]*")


class Sample(BaseModel):
    """A row of the samples sheet; further columns are carried to ``obs``."""

    model_config = ConfigDict(extra="allow")

    sample: str = Field(
        max_length=100,
        pattern=NAME,
        description="Name: letters, digits, . _ -",
    )
    patient: str = Field(
        min_length=1, description="Patient; samples of one patient are compared with each other."
    )
    compartment: Literal["urine", "blood", "product", "other"] = Field(
        description="Where the cells come from."
    )
    timepoint: str = Field(
        default="",
        description="Time point, such as D28; list the time points of a patient in order.",
    )
    role: Literal["case", "negative_control", "product"] = Field(
        default="case",
        description="negative_control: the sample cannot hold CAR T cells (before infusion).",
    )
    chemistry: str = Field(
        default="auto",
        description=f"auto, a known name ({', '.join((*CHEMISTRIES, *PROBES, *PRESETS))}; Cell Ranger's names, such as "
        "SC5P-R2, are understood), or a STARsolo geometry (soloCBstart ..., or soloCBposition ... for barcodes of "
        "several parts).",
    )
    bam: str | None = Field(
        default=None, description="Existing sorted, indexed BAM with barcode and UMI tags."
    )
    matrix: str | None = Field(
        default=None,
        description="Existing matrix of called cells; beside `raw_matrix` it says which barcodes are cells.",
    )
    raw_matrix: str | None = Field(
        default=None,
        description="Existing matrix of all barcodes. Antibodies (10x `Antibody Capture`) in it, or in `matrix` if "
        "there is no `raw_matrix`, give each cell its surface proteins, with which its lineage is compared.",
    )
    whitelist: str | None = Field(
        default=None,
        description="Barcode whitelist of this sample, or `observed`: barcodes are learnt from its reads. If a "
        "barcode has several parts, the list holds whole barcodes, a column for each part, or one list for all parts.",
    )
    tcr: str | None = Field(
        default=None,
        description="T-cell receptors of this sample: 10x `filtered_contig_annotations.csv` (or `all_contig_...`) or "
        "an AIRR rearrangement TSV. Gives clonotypes, and a check of which cells are T cells.",
    )
    gating: str | None = Field(
        default=None,
        description=f"How the cells were sorted: {', '.join(g for g in GATES if g != 'other')}, or words of your own. "
        "Shown beside the verdict; samples sorted in different ways are not compared.",
    )
    sequencing_run: str | None = Field(
        default=None,
        description="Sequencing run (flow cell) of the library, or several between commas. If two samples of one run "
        "hold a CAR molecule with the same barcode and UMI, the sample with at least 80 % of its reads keeps it; "
        "otherwise it is dropped from both. Carried to `obs`.",
    )
    library: str | None = Field(
        default=None,
        description="Sequenced library, where it holds several samples (hashtags, CMOs, several patients): molecules "
        "that samples of one library share were not swapped between them, and the ambient RNA of all their cells lies "
        "in each of them. Samples that share a `bam` or a `raw_matrix` are taken for one library. Carried to `obs`.",
    )
    tag: str | None = Field(
        default=None,
        description="Hashtag or CMO that marks this sample in its library. carseq does not tell the cells apart by it: "
        "give each sample its own cells in `matrix`, beside the pool's `raw_matrix`. Carried to `obs`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _harmless_text(cls, row: dict[str, str]) -> dict[str, str]:
        there = {name: value for name, value in row.items() if not is_missing(value)}
        for name, value in there.items():
            fault = path_fault(value) if name in PATHS else _text_fault(value)
            if fault:
                raise ValueError(f"{name} {value[:80]!r} {fault}")
        for name in _OF_KNOWN_WORDS:
            if isinstance(there.get(name), str):
                there[name] = _code(there[name])
        gate = _code(str(there.get("gating", "")))
        if gate in GATES:
            there["gating"] = gate
        # A further column without a value stays a column.
        return {name: "" for name in row if name not in cls.model_fields} | there

    @field_validator("chemistry")
    @classmethod
    def _known_chemistry(cls, value: str) -> str:
        value = own_name(value)
        if value not in ("auto", *CHEMISTRIES, *PROBES):
            try:
                known = preset_of(value) or parse_geometry(value)
            except CarseqError as error:
                raise ValueError(error.cause) from None
            if known is None:
                names = ", ".join((*CHEMISTRIES, *PRESETS, *PROBES))
                raise ValueError(f"use auto, {names}, or a STARsolo geometry")
        return value

    @property
    def kind(self) -> str:
        """Where the sample's counts come from: ``fastq``, ``bam`` or ``matrix``."""
        return way_in({"bam": self.bam, "matrix": self.matrix, "raw_matrix": self.raw_matrix})

    def carried(self) -> dict[str, str]:
        """Return the columns that go to ``obs`` of its cells."""
        own = self.model_dump(exclude={"sample", *PATHS, "chemistry"})
        return {key: "" if value is None else str(value) for key, value in own.items()}

    def further(self) -> dict[str, str]:
        """Return the columns that carseq does not know by name."""
        return {key: "" if v is None else str(v) for key, v in (self.model_extra or {}).items()}


def _code(value: str) -> str:
    """Return a word of a sheet as carseq spells its codes."""
    return re.sub(r"[\s-]+", "_", value.strip().lower())


def _text_fault(value: str) -> str:
    """Say why a text of the sheet is refused, or return an empty string."""
    if not value.isprintable():
        return "holds a character that cannot be seen"
    if value.lower() in _FAILED_FORMULA:
        return "is what a spreadsheet writes where a formula failed: leave the cell empty, or write the value"
    if value[:1] in _QUOTES:
        return "begins with a quotation mark, which would be part of it: leave it out"
    # In full width too.
    if unicodedata.normalize("NFKC", value[:1]) in tuple("=+-@") and not (
        _is_number(value) or decimal_comma([value]) or unit_of(value)
    ):
        return "would be taken for a formula by spreadsheets: begin it with a letter or a digit"
    return ""


def _is_number(value: str) -> bool:
    """Return whether a cell is a number as tables write it: neither infinite nor with marks between its digits."""
    return (
        re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?", value, re.IGNORECASE | re.ASCII)
        is not None
    )


class Unit(BaseModel):
    """A row of the units sheet: a pair of FASTQ files of a sample."""

    model_config = ConfigDict(extra="forbid")

    sample: str = Field(description="A sample of samples.tsv.")
    unit: str = Field(
        min_length=1, description="Name of the pair among the sample's, such as L001."
    )
    r1: str = Field(
        min_length=1,
        description="FASTQ of read 1: barcode and UMI; a path or an address (https://, s3://, gs://).",
    )
    r2: str = Field(min_length=1, description="FASTQ of read 2: cDNA.")

    @model_validator(mode="after")
    def _usable_paths(self) -> Unit:
        for name, value in (("r1", self.r1), ("r2", self.r2)):
            if fault := path_fault(value):
                raise ValueError(f"{name} {value[:80]!r} {fault}")
        return self


def read_sheet(path: str, required: set[str]) -> list[tuple[int, dict[str, str | None]]]:
    """Read a sheet of columns between tabs, commas, semicolons or ``|``; blank lines and those with ``#`` are left out.

    What spreadsheets, R and pandas add to a table is left out too: empty columns behind the last, a first line
    ``sep=;``, a column of row numbers. A header may begin with ``#``.

    Returns
    -------
    list of (int, dict)
        Number of the line in the file, and its cells by column; empty cells are None.

    Raises
    ------
    CarseqError
        If it cannot be read, is empty, lacks a column, names one twice or has a row that is longer than the header.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CarseqError(
            f"cannot read the sheet {path}",
            error.strerror or str(error),
            f"check the path; it is relative to the configuration{path_hint([str(path)])}",
        ) from None
    except ValueError as error:
        if is_gzipped(path):
            raise CarseqError(
                f"cannot read the sheet {path}", "it is compressed by gzip", "unpack it (`gunzip`)"
            ) from None
        raise CarseqError(
            f"the sheet {path} is not text in UTF-8",
            str(error),
            'save it as tab-separated text in UTF-8; in Excel as "CSV UTF-8", not as .xlsx, "Unicode Text" or '
            "plain CSV",
        ) from None
    check_fetched(path, text[:400].encode())
    lines = [(n, line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    if lines and _SEPARATOR.fullmatch(lines[0][1].strip()):
        # What Excel is told about a CSV.
        lines = lines[1:]
    if lines and lines[0][1].startswith("#"):
        named = lines[0][1].lstrip("# ")
        if required <= set(_split(named, _delimiter(named, required))):
            lines[0] = lines[0][0], named
    lines = _joined(lines, required)
    lines = [(n, line) for n, line in lines if not line.startswith("#") and line.strip('\t,;|" \r')]
    if not lines:
        raise CarseqError(
            f"the sheet {path} is empty", "", f"give it the columns {', '.join(sorted(required))}"
        )
    header = lines[0][1]
    delimiter = _delimiter(header, required)
    try:
        cells = [_split(line, delimiter) for _, line in lines]
    except (csv.Error, StopIteration) as error:
        raise CarseqError(
            f"the sheet {path} cannot be read as a table", str(error), "correct its quotation marks"
        ) from None
    # Rows of a table that was longer, or wider, in its spreadsheet.
    full = [any(row) for row in cells]
    numbers = [number for (number, _), there in zip(lines, full, strict=True) if there]
    cells = _without_row_numbers([row for row, there in zip(cells, full, strict=True) if there])
    names = cells[0]
    while not names[-1] and not any(any(row[len(names) - 1 :]) for row in cells[1:]):
        names = names[:-1]
    _check_names(path, names, required)
    rows, long = [], []
    for number, row in zip(numbers[1:], cells[1:], strict=True):
        if any(row[len(names) :]):
            long.append(number)
            continue
        padded: list[str | None] = [cell or None for cell in row[: len(names)]]
        padded += [None] * (len(names) - len(padded))
        rows.append((number, dict(zip(names, padded, strict=True))))
    if long:
        raise CarseqError(
            f"line {long[0]} of {path} has more cells than the header"
            + (f", and {len(long) - 1} more lines" if len(long) > 1 else ""),
            "",
            "remove the surplus tabs or commas",
        )
    return rows


def _split(line: str, delimiter: str) -> list[str]:
    """Return the cells of a line, without blanks around them; a line break in a cell is a blank."""
    lines = [f"{part}\n" for part in line.split("\n")]
    # A quotation mark may stand behind a blank: "a", "b".
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    return [" ".join(cell.split("\n")).strip() for cell in next(reader)]


def _joined(lines: list[tuple[int, str]], required: set[str]) -> list[tuple[int, str]]:
    """Put together the lines of a row of which a cell in quotation marks holds line breaks.

    A mark that is left open takes no row: a line that has all columns is a row of its own.
    """
    header = next((line for _, line in lines if not line.startswith("#")), "")
    delimiter = _delimiter(header, required)
    width = len(_split(header, delimiter)) if header else 0
    rows: list[tuple[int, str]] = []
    at = 0
    while at < len(lines):
        number, line = lines[at]
        taken = 1
        if '"' in line and not line.startswith("#") and _row(line, delimiter) is None:
            part = line.strip("\r")
            for _, following in lines[at + 1 : at + _MOST_LINES]:
                if following.count(delimiter) >= width - 1:
                    break
                part += "\n" + following.strip("\r")
                taken += 1
                if _row(part, delimiter) is not None:
                    line = part
                    break
            taken = taken if line is part else 1
        rows.append((number, line))
        at += taken
    return rows


def _row(text: str, delimiter: str) -> list[str] | None:
    """Return the cells of a row whose quotation marks are all closed, None for another."""
    try:
        return next(
            csv.reader([f"{part}\n" for part in text.split("\n")], delimiter=delimiter, strict=True)
        )
    except (csv.Error, StopIteration):
        return None


def _delimiter(header: str, required: set[str]) -> str:
    """Return what separates the columns: the mark that gives most of the required ones, else the commonest."""

    def found(mark: str) -> tuple[int, bool, int]:
        try:
            names = _split(header, mark)
        except csv.Error:
            names = []
        return (
            len(required.intersection(names)),
            mark in header and mark == "\t",
            header.count(mark),
        )

    return max("\t,;|", key=found)


def _without_row_numbers(cells: list[list[str]]) -> list[list[str]]:
    """Leave out a first column that R, pandas or readr has added: the rows' numbers, or in R the samples again.

    R counts from 1 and pandas from 0, with gaps where rows were left out. The column has no name, or the one that it
    was given when the table was read and written once more.
    """
    header, rows = cells[0], cells[1:]
    short = all(len(row) == len(header) + 1 for row in rows)
    added = _ADDED.fullmatch(header[0])
    if not rows or not (added or short):
        return cells
    first = [row[0] for row in rows]
    counted = any(first == [str(i) for i in range(k, k + len(rows))] for k in (0, 1))
    numbers = len(set(first)) == len(first) and all(re.fullmatch(r"\d+", cell) for cell in first)
    again = short and "sample" in header and first == [r[header.index("sample") + 1] for r in rows]
    # A column called X may be a user's own.
    if not (counted or again or (numbers and (short or not header[0].isalpha()))):
        return cells
    return [header if short else header[1:], *(row[1:] for row in rows)]


def _check_names(path: str, names: list[str], required: set[str]) -> None:
    """Check the names of a sheet's columns."""
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise CarseqError(
            f"the sheet {path} has two columns {twice[0]!r}",
            ""
            if twice[0]
            else "columns without a name: cells were joined, or a title stands above",
            "name each column once, in the first line",
        )
    for name in names:
        if not _COLUMN_NAME.fullmatch(name) or len(name) > 100:
            raise CarseqError(
                f"{name[:80]!r} is not a name for a column of {path}",
                "names are letters, digits and . , : % ( ) + - _, at most 100, and begin with a letter or a digit",
                "rename or remove the column",
            )
    if strays := _known_otherwise(names):
        told = ", ".join(f"{name!r} is probably `{key}`" for name, key in strays)
        raise CarseqError(
            f"the sheet {path} has a column {strays[0][0]!r}, which carseq would only carry along",
            told,
            "rename the column, or give it a name of its own if it means something else",
        )
    missing = sorted(required - set(names))
    if missing:
        raise CarseqError(
            f"the sheet {path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}",
            f"it has {', '.join(names)}"[:300],
            f"{_renamed(names, missing)}name the columns as in config/README.md; separate them by tabs",
        )


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _known_otherwise(names: list[str]) -> list[tuple[str, str]]:
    """Return columns that are spelt nearly as an optional one that carseq reads, with that one's name.

    ``Role`` or ``Time point`` would be carried along as columns of their own, and a negative control be no control.
    """
    optional = {key: field for key, field in Sample.model_fields.items() if not field.is_required()}
    known = {_plain(key): key for key in optional}
    known |= {"negativecontrol": "role", "isnegativecontrol": "role"}
    return [
        (name, known[_plain(name)])
        for name in names
        if name not in Sample.model_fields and _plain(name) in known
    ]


def _renamed(names: list[str], missing: list[str]) -> str:
    """Say which columns are probably those that are missing, under another name."""
    plain = {_plain(name): name for name in names}
    found = {
        key: next((plain[word] for word in (key, *_ALSO_CALLED.get(key, ())) if word in plain), "")
        for key in missing
    }
    told = [f"{name!r} is probably `{key}`" for key, name in found.items() if name]
    return f"{', '.join(told)}: " if told else ""


def parse_row(model: type[BaseModel], row: dict[str, Any], path: str, number: int) -> Any:
    """Return a line of a sheet as a model.

    Raises
    ------
    CarseqError
        If it is not valid, with the number of its line and every fault in it.
    """
    try:
        return model.model_validate(
            {k: v for k, v in row.items() if v is not None} | _further(model, row)
        )
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, f['loc']))}: {fault_words(f)}".removeprefix(": ")
            + (
                f" (got {str(f['input'])[:80]!r})"
                if f["type"] not in ("missing", "value_error")
                else ""
            )
            for f in error.errors()
        )
        raise CarseqError(
            f"line {number} of {path} is not valid",
            faults,
            "correct the line; config/README.md explains the columns",
        ) from None


def _further(model: type[BaseModel], row: dict[str, Any]) -> dict[str, str]:
    """Return the empty cells of further columns, which stay columns."""
    if model.model_config.get("extra") != "allow":
        return {}
    return {k: "" for k, v in row.items() if v is None and k not in model.model_fields}


def mend_numbers(samples: Iterable[Sample]) -> list[str]:
    """Read decimal commas in further columns as points, in place; tell of columns that are nearly numbers.

    Parameters
    ----------
    samples
        All rows of a sheet.

    Returns
    -------
    list of str
        What was read, and which columns are not numbers because of a few cells.
    """
    samples, told = list(samples), []
    for name in dict.fromkeys(key for s in samples for key in (s.model_extra or {})):
        extra = [s.model_extra or {} for s in samples]
        values = ["" if is_missing(e.get(name)) else str(e[name]).strip() for e in extra]
        if mended := decimal_comma(values):
            told.append(f"column {name}: decimal commas are read as points")
            values = mended
        for e, value in zip(extra, values, strict=True):
            e[name] = value
        there = [v for v in values if v]
        bad = [
            (s.sample, v) for s, v in zip(samples, values, strict=True) if v and not _is_number(v)
        ]
        if bad and len(bad) < len(there) and (len(bad) == 1 or len(bad) <= len(there) / 4):
            which = "; ".join(f"{v!r} of {sample}" for sample, v in bad[:3])
            told.append(
                f"column {name} is not taken for numbers because of {which}: leave a cell empty where nothing was "
                "measured"
            )
        elif marked := [
            v
            for v in there
            if re.fullmatch(r"[<>≤≥~]\s*[\d.,]+|[\d.,]+\s*%|\d{1,3}(\.\d{3})+,\d+", v)
            or re.fullmatch(r"\d{1,3}(,\d{3})+", v)
            or (not v.isascii() and re.fullmatch(r"[+−–-]?[\d.,．，]+", v))
            or re.fullmatch(r"\d{1,3}(['’\s]\d{3})+([.,]\d+)?", v)
        ]:
            told.append(
                f"column {name} holds {marked[0]!r}: write plain numbers if it is to be put beside the CAR"
            )
        elif grouped := _by_thousands(there):
            told.append(
                f"column {name} holds {grouped!r}, read with a decimal point: if the point parts thousands, as a "
                "German spreadsheet shows them, write the numbers without it"
            )
        elif bad and (odd := _nearly_number([v for _, v in bad], numbers=len(bad) < len(there))):
            told.append(
                f"column {name} holds {odd!r}, so that it is not taken for numbers: write plain numbers, with the unit "
                "in the column's name, if it is to be put beside the CAR"
            )
    return told


def _by_thousands(values: Sequence[str]) -> str:
    """Return a number whose point may part thousands, as all of its column may be; else nothing.

    Three decimals that end with 0, or stand beside whole numbers of three digits, are seldom measured.
    """
    pointed = [v for v in values if "." in v]
    if not pointed or not all(re.fullmatch(r"[1-9]\d{0,2}\.\d{3}", v) for v in pointed):
        return ""
    whole = any(re.fullmatch(r"[1-9]\d{2}", v) for v in values)
    return pointed[0] if whole or any(v.endswith("0") for v in pointed) else ""


#: A unit that may follow a number without a blank.
_MEASURED = re.compile(
    r"[mµ\u03bcnpkd]?(g|l|mol|m|u|iu)(/.*)?|%|[a-zµ\u03bc]{1,5}/[a-z].*", re.IGNORECASE
)


def _nearly_number(values: Sequence[str], *, numbers: bool) -> str:
    """Return the first of some cells that would be a number without its comma or unit; nothing if none would.

    Parameters
    ----------
    values
        Cells of a column that are no numbers.
    numbers
        Whether others of the column are: then one is enough. Else all must be so, of one unit and different numbers,
        unlike stages (``2a``) and classes (``4/V``).
    """
    found = [re.fullmatch(r"([<>≤≥~]?)\s*[+-]?([\d.,]*\d)(\s*)([^\d\s].*)?", v) for v in values]
    odd = [
        (v, f[2], (f[4] or "").lower())
        for v, f in zip(values, found, strict=True)
        if f and (f[1] or "," in f[2] or (f[3] and f[4]) or _MEASURED.fullmatch(f[4] or ""))
    ]
    if not odd or (not numbers and len(odd) < len(values)):
        return ""
    alike = len({unit for *_, unit in odd}) == 1 and len({number for _, number, _ in odd}) > 1
    return odd[0][0] if numbers or alike else ""


def impossible_shares(samples: Iterable[Sample], path: str) -> list[CarseqError]:
    """Return which numbers in columns of CAR T shares (``car_pct_flow``) are no shares.

    Parameters
    ----------
    samples
        All rows of the sheet, their numbers mended.
    path
        Of the sheet.
    """
    faults = []
    for sample in samples:
        for name, value in sample.further().items():
            most = most_of_share(name)
            if most is None or not _is_number(value) or 0 <= float(value) <= most:
                continue
            faults.append(
                CarseqError(
                    f"{name} of sample {sample.sample} in {path} is not a share of T cells: {value}",
                    f"its name says that it lies between 0 and {most:g}",
                    "correct it, or give the column another name",
                )
            )
    return faults


def nearly_alike(samples: Iterable[Sample]) -> list[str]:
    """Return which names of patients, time points or sequencing runs differ only in case, marks or zeros, in words."""
    samples, told = list(samples), []
    for key in ("patient", "timepoint", "sequencing_run"):
        spelt: dict[str, list[str]] = {}
        for value in dict.fromkeys(getattr(s, key) or "" for s in samples):
            # D-7 and D7 are different days.
            marks = r"[\s_.]" if key == "timepoint" else r"[\s_.-]"
            plain = unicodedata.normalize("NFKC", value).translate(DASHES).lower()
            if re.fullmatch(r"\d+(\.0+)?", plain):
                # 007, 7 and 7.0: a spreadsheet has read one of them as a number.
                plain = plain.split(".")[0].lstrip("0") or "0"
            elif key == "patient":
                # P01 and P1.
                plain = re.sub(r"(?<!\d)0+(?=\d)", "", plain)
            spelt.setdefault(re.sub(marks, "", plain) or value, []).append(value)
        told += [
            f"column {key}: {' and '.join(map(repr, twins))} differ only in {_difference(twins)}; they are taken for "
            f"different {key.replace('_', ' ')}s"
            for twins in spelt.values()
            if len(twins) > 1
        ]
        if key == "timepoint":
            told += _same_time([twins[0] for twins in spelt.values()])
        told += _changed_by_a_spreadsheet(key, [name for names in spelt.values() for name in names])
    return told


def _same_time(names: Iterable[str]) -> list[str]:
    """Return which names of time points say the same time, in words."""
    same: dict[str, list[str]] = {}
    for name, first in first_names(names).items():
        same.setdefault(first, []).append(name)
    return [
        f"column timepoint: {' and '.join(map(repr, twins))} are the same time in other words, and are compared as "
        "one: write it in one way"
        for twins in same.values()
        if len(twins) > 1
    ]


#: What spreadsheets make of ``3-1`` and ``MAR1``, and of numbers of twelve digits.
_DATE = re.compile(
    r"\d{1,2}[-. ](?:jan|feb|m[aä]r|mrz|apr|ma[yi]|jun|jul|aug|sep|o[ck]t|nov|de[cz])[a-z]{0,1}\.?|"
    r"(?:jan|feb|m[aä]r|mrz|apr|ma[yi]|jun|jul|aug|sep|o[ck]t|nov|de[cz])-\d{2}",
    re.IGNORECASE,
)
_ROUNDED = re.compile(r"\d[.,]\d+e\+\d+", re.IGNORECASE)


def _changed_by_a_spreadsheet(key: str, names: Iterable[str]) -> list[str]:
    """Return which names a spreadsheet has probably made a date or a rounded number of, in words."""
    told = []
    for pattern, what in (
        (_DATE, "a date of another name (3-1, MAR1)"),
        (_ROUNDED, "a rounded number of a longer name, so that several names may have become one"),
    ):
        if found := [name for name in names if pattern.fullmatch(name)]:
            told.append(
                f"column {key}: {found[0]!r} looks as if a spreadsheet had made {what}: look at it, and format the "
                "column as text"
            )
    return told


def out_of_order(samples: Iterable[Sample]) -> list[str]:
    """Return where the time points of a patient and compartment do not stand in order, in words."""
    told = []
    rows: dict[tuple[str, str], list[str]] = {}
    for sample in samples:
        if sample.timepoint and sample.role == "case":
            rows.setdefault((sample.patient, sample.compartment), []).append(sample.timepoint)
    for (patient, compartment), names in rows.items():
        times = comparable(names)
        at = [i for i, (a, b) in enumerate(pairwise(times or [])) if a > b]
        if at:
            told.append(
                f"time points of patient {patient}, {compartment}, do not stand in order ({names[at[0]]} before "
                f"{names[at[0] + 1]}): a sample is compared over time with those above it; sort the rows"
            )
    return told


def _difference(names: list[str]) -> str:
    # Names that stay unlike without case and marks differ in the zeros before a number.
    bare = {re.sub(r"[\W_]", "", name.translate(DASHES)).lower() for name in names}
    only_zeros = all(re.fullmatch(r"[\d.]+", name) for name in names)
    return "zeros" if only_zeros or len(bare) > 1 else "case or marks"


def further_columns(path: str | Path) -> dict[str, dict[str, str]]:
    """Return the columns of a samples sheet that carseq does not know by name, by sample.

    Raises
    ------
    CarseqError
        If the sheet cannot be read or a row of it is not valid.
    """
    rows = read_sheet(str(path), {"sample", "patient", "compartment"})
    samples = [parse_row(Sample, row, str(path), number) for number, row in rows]
    mend_numbers(samples)
    return {sample.sample: sample.further() for sample in samples}
