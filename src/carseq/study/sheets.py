"""The rows of samples.tsv and units.tsv."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from carseq.errors import CarseqError
from carseq.library.geometry import CHEMISTRIES, parse_geometry

PATHS = ("bam", "matrix", "raw_matrix", "whitelist", "tcr")
#: Letters of any script, digits, and marks that no table, page or HDF5 file takes for more than they are.
_COLUMN_NAME = re.compile(r"\w[\w .,:%()+-]*")


class Sample(BaseModel):
    """A row of the samples sheet; further columns are carried to ``obs``."""

    model_config = ConfigDict(extra="allow")

    sample: str = Field(
        max_length=100,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
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
        description="negative_control: no CAR T cell can be in it (before infusion).",
    )
    chemistry: str = Field(
        default="auto", description="auto, a known name, or a STARsolo geometry."
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
        description="Existing matrix of all barcodes. Antibodies in it (10x `Antibody Capture`), or in `matrix` where "
        "that stands alone, give each cell its surface proteins, against which its lineage is held.",
    )
    whitelist: str | None = Field(default=None, description="Barcode whitelist of this sample.")
    tcr: str | None = Field(
        default=None,
        description="T-cell receptors of this sample: 10x `filtered_contig_annotations.csv` (or `all_contig_...`) or "
        "an AIRR rearrangement TSV. Gives clonotypes, and a check of which cells are T cells.",
    )
    gating: str | None = Field(
        default=None, description="Sorting gate, such as CD45-negative; shown beside the verdict."
    )
    sequencing_run: str | None = Field(
        default=None,
        description="Sequencing run (flow cell) of the library. Among samples of one run, CAR molecules of one barcode "
        "and UMI in two samples are kept where 80 % of their reads are, else dropped. Carried to `obs`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _harmless_text(cls, row: dict[str, str]) -> dict[str, str]:
        for name, value in row.items():
            if name not in PATHS and (fault := _text_fault(value)):
                raise ValueError(f"{name} {value!r} {fault}")
        return row

    @field_validator("chemistry")
    @classmethod
    def _known_chemistry(cls, value: str) -> str:
        if value != "auto" and value not in CHEMISTRIES:
            try:
                geometry = parse_geometry(value)
            except CarseqError as error:
                raise ValueError(error.cause) from None
            if geometry is None:
                raise ValueError(f"use auto, {', '.join(CHEMISTRIES)}, or a STARsolo geometry")
        return value

    @property
    def kind(self) -> str:
        """Where the sample's counts come from: ``fastq``, ``bam`` or ``matrix``."""
        if self.bam:
            return "bam"
        return "matrix" if self.matrix or self.raw_matrix else "fastq"

    def carried(self) -> dict[str, str]:
        """Return the columns that go to ``obs`` of its cells."""
        own = self.model_dump(exclude={"sample", *PATHS, "chemistry"})
        return {key: "" if value is None else str(value) for key, value in own.items()}

    def further(self) -> dict[str, str]:
        """Return the columns that carseq does not know by name."""
        return {key: "" if v is None else str(v) for key, v in (self.model_extra or {}).items()}


def _text_fault(value: str) -> str:
    """Say why a text of the sheet is refused, or return an empty string."""
    if not value.isprintable():
        return "holds a character that cannot be seen"
    if value[:1] in "=+-@" and not _is_number(value):
        return "would be taken for a formula by spreadsheets: begin it with a letter or a digit"
    return ""


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


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


def read_sheet(path: str, required: set[str]) -> list[dict[str, str | None]]:
    """Read a TSV (or CSV) into rows; empty cells become None."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CarseqError(
            f"cannot read the sheet {path}",
            error.strerror or str(error),
            "check the path in the config",
        ) from None
    except UnicodeDecodeError:
        raise CarseqError(
            f"the sheet {path} is not text", "", "save it as tab-separated text, not as .xlsx"
        ) from None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if not lines:
        raise CarseqError(
            f"the sheet {path} is empty", "", f"give it the columns {', '.join(sorted(required))}"
        )
    delimiter = "\t" if "\t" in lines[0] else ","
    reader = csv.DictReader(lines, delimiter=delimiter)
    names = [name.strip() for name in reader.fieldnames or []]
    twice = [name for i, name in enumerate(names) if name in names[:i]]
    if twice:
        raise CarseqError(
            f"the sheet {path} has two columns {twice[0]!r}", "", "name each column once"
        )
    for name in names:
        if not _COLUMN_NAME.fullmatch(name):
            raise CarseqError(
                f"{name!r} is no name for a column of {path}",
                "names are letters, digits and . , : % ( ) + - _, and begin with a letter or a digit",
                "rename or remove the column",
            )
    reader.fieldnames = names
    missing = sorted(required - set(names))
    if missing:
        raise CarseqError(
            f"the sheet {path} lacks the column {', '.join(missing)}",
            f"it has {', '.join(names)}",
            "name the columns as in config/README.md; separate them by tabs",
        )
    rows = []
    for number, row in enumerate(reader, 2):
        if None in row:
            raise CarseqError(
                f"row {number} of {path} has more cells than the header",
                "",
                "remove the surplus tabs or commas",
            )
        rows.append({k: (v.strip() or None) if v is not None else None for k, v in row.items()})
    return rows


def parse_row(model: type[BaseModel], row: dict[str, Any], path: str, number: int) -> Any:
    try:
        return model.model_validate({k: v for k, v in row.items() if v is not None})
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, f['loc']))}: {f['msg'].removeprefix('Value error, ')}"
            + (f" (got {f['input']!r})" if f["type"] != "missing" else "")
            for f in error.errors()
        )
        raise CarseqError(
            f"row {number} of {path} is not valid",
            faults,
            "mend the row; config/README.md explains the columns",
        ) from None


def further_columns(path: str | Path) -> dict[str, dict[str, str]]:
    """Return the columns of a samples sheet that carseq does not know by name, by sample.

    Raises
    ------
    CarseqError
        If the sheet cannot be read or a row of it is not valid.
    """
    rows = read_sheet(str(path), {"sample", "patient", "compartment"})
    samples = [parse_row(Sample, row, str(path), number) for number, row in enumerate(rows, 2)]
    return {sample.sample: sample.further() for sample in samples}
