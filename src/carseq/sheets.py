"""The sheets of samples and units, validated into types before anything runs."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from carseq.chemistry import CHEMISTRIES, parse_geometry
from carseq.config import Config
from carseq.errors import CarseqError
from carseq.remote import check_address, is_url, placed
from carseq.reuse import RECORD, check_finished
from carseq.tables import OBS, OBS_MORE

_PATHS = ("bam", "matrix", "raw_matrix", "whitelist", "tcr")
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
            if name not in _PATHS and (fault := _text_fault(value)):
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
        own = self.model_dump(exclude={"sample", *_PATHS, "chemistry"})
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


@dataclass(frozen=True)
class Study:
    """A validated configuration with its sheets."""

    config: Config
    samples: dict[str, Sample]
    units: dict[str, list[Unit]] = field(default_factory=dict)

    def pairs(self, sample: str) -> list[tuple[str, str]]:
        """Return the (R1, R2) files of a sample."""
        return [(unit.r1, unit.r2) for unit in self.units.get(sample, [])]

    def files(self) -> list[tuple[str, str, str]]:
        """Return every file the study is made from: (key that names it, what it is, path)."""
        config = self.config
        found: list[tuple[str, str, str | None]] = [
            ("samples", "sheet of samples", config.samples),
            ("units", "sheet of units", config.units),
            ("reuse", "record of the study reused", config.reuse and f"{config.reuse}/{RECORD}"),
            ("construct.file", "construct", config.construct.file),
            ("reference.fasta", "genome", config.reference.fasta),
            ("reference.gtf", "gene annotation", config.reference.gtf),
            ("chemistry.whitelist", "barcode whitelist", config.chemistry.whitelist),
            ("cells.markers", "markers", config.cells.markers),
            ("cells.reference", "labelled cells", config.cells.reference),
            ("cells.celltypist", "CellTypist model", config.cells.celltypist),
        ]
        for file in config.construct.alternatives:
            found.append(("construct.alternatives", "other construct", file))
        for name, sample in self.samples.items():
            for key in _PATHS:
                found.append((f"{key} of sample {name}", f"{key} of {name}", getattr(sample, key)))
        # Of a study that is reused the alignments are taken: its reads need not be there any more.
        reads = {} if config.reuse else self.units
        for name, units in reads.items():
            for unit in units:
                for key, path in (("r1", unit.r1), ("r2", unit.r2)):
                    found.append((f"{key} of {name}/{unit.unit}", f"reads of {name}", path))
        return [(key, role, path) for key, role, path in found if path]

    def inputs(self) -> list[tuple[str, str]]:
        """Return every file the study is made from: (what it is, path)."""
        return [(role, path) for _, role, path in self.files()]

    def whitelist(self, sample: str) -> str | None:
        """Return the whitelist given for a sample, its own before the study's."""
        return self.samples[sample].whitelist or self.config.chemistry.whitelist


def _read_sheet(path: str, required: set[str]) -> list[dict[str, str | None]]:
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


def _parse(model: type[BaseModel], row: dict[str, Any], path: str, number: int) -> Any:
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
    rows = _read_sheet(str(path), {"sample", "patient", "compartment"})
    samples = [_parse(Sample, row, str(path), number) for number, row in enumerate(rows, 2)]
    return {sample.sample: sample.further() for sample in samples}


def load_study(config: Config) -> Study:
    """Read and validate the sheets of a configuration (with absolute paths) and check that every file exists.

    Of inputs given by an address only the address is checked; Snakemake asks for them, and ``carseq check`` does.

    Raises
    ------
    CarseqError
        For missing columns, bad values, duplicate samples or units, samples without reads, and missing files.
    """
    for key, sheet in (("samples", config.samples), ("units", config.units)):
        if sheet and is_url(sheet):
            check_address(key, sheet)
    samples: dict[str, Sample] = {}
    base = Path(config.samples).parent
    folded: dict[str, str] = {}
    rows = _read_sheet(config.samples, {"sample", "patient", "compartment"})
    taken = {*OBS.columns, *OBS_MORE.columns} - set(Sample.model_fields)
    if rows and (own := sorted(taken & set(rows[0]))):
        raise CarseqError(
            f"{config.samples} has a column {own[0]}",
            "carseq writes a column of this name for every cell",
            "rename the column",
        )
    for number, row in enumerate(rows, 2):
        sample: Sample = _parse(Sample, row, config.samples, number)
        if sample.sample in samples:
            raise CarseqError(
                f"sample {sample.sample} stands twice in {config.samples}",
                f"again in row {number}",
                "give each sample one row; lanes and runs of one sample are rows of units.tsv",
            )
        twin = folded.setdefault(sample.sample.lower(), sample.sample)
        if twin != sample.sample:
            raise CarseqError(
                f"samples {twin} and {sample.sample} differ only in case",
                "",
                "their folders would collide on some disks: rename one",
            )
        for key in _PATHS:
            if value := getattr(sample, key):
                setattr(sample, key, placed(value, base))
        samples[sample.sample] = sample
    if not samples:
        raise CarseqError(f"{config.samples} holds no sample", "", "add a row for each sample")
    units: dict[str, list[Unit]] = {}
    if config.units:
        base = Path(config.units).parent
        used: dict[str, str] = {}
        for number, row in enumerate(_read_sheet(config.units, {"sample", "unit", "r1", "r2"}), 2):
            unit: Unit = _parse(Unit, row, config.units, number)
            if unit.sample not in samples:
                raise CarseqError(
                    f"row {number} of {config.units} names sample {unit.sample}, which is not in {config.samples}",
                    f"samples are {', '.join(list(samples)[:8])}",
                    "mend the name or add the sample",
                )
            unit.r1, unit.r2 = placed(unit.r1, base), placed(unit.r2, base)
            for path in (unit.r1, unit.r2):
                if path in used:
                    raise CarseqError(
                        f"{path} is used twice in {config.units}",
                        f"in unit {used[path]} and in {unit.sample}/{unit.unit}",
                        "name each FASTQ file once",
                    )
                used[path] = f"{unit.sample}/{unit.unit}"
            if any(other.unit == unit.unit for other in units.get(unit.sample, [])):
                raise CarseqError(
                    f"unit {unit.unit} of {unit.sample} stands twice in {config.units}",
                    "",
                    "number the units",
                )
            units.setdefault(unit.sample, []).append(unit)
    study = Study(config, samples, units)
    _check_sources(study)
    check_finished(study)
    _check_files(study)
    return study


def _check_sources(study: Study) -> None:
    for name, sample in study.samples.items():
        has_units = name in study.units
        if sample.kind == "fastq" and not has_units:
            raise CarseqError(
                f"sample {name} has no reads",
                "it has no row in the units sheet and no bam or matrix",
                "add its FASTQ files to units.tsv, or fill its `bam` or `raw_matrix` column",
            )
        if sample.kind != "fastq" and has_units:
            raise CarseqError(
                f"sample {name} has both FASTQ units and a {sample.kind}", "", "keep one of them"
            )
        if sample.kind == "bam" and not (sample.raw_matrix or sample.matrix):
            raise CarseqError(
                f"sample {name} has a BAM but no matrix",
                "the cells' counts come from the matrix made with the BAM",
                "fill its `raw_matrix` column (10x raw_feature_bc_matrix.h5, mtx folder or h5ad)",
            )


def _check_files(study: Study) -> None:
    """Check that every file named exists and can be read."""
    wanted = [(key, path) for key, _, path in study.files()]
    # A folder that may be shared by many studies: no input to list, but one to look for.
    if index := study.config.reference.star_index:
        wanted.append(("reference.star_index", index))
    for key, path in wanted:
        if is_url(path):
            check_address(key, path)
    missing = [(key, path) for key, path in wanted if not is_url(path) and not _readable(path)]
    if missing:
        shown = "; ".join(f"{what}: {path}" for what, path in missing[:5])
        raise CarseqError(
            f"{len(missing)} file{'s' if len(missing) > 1 else ''} named in the configuration cannot be read",
            shown + (" ..." if len(missing) > 5 else ""),
            "mend the paths (they are relative to the file that names them) or the permissions",
        )


def _readable(path: str) -> bool:
    if Path(path).is_dir():
        return True
    try:
        with open(path, "rb"):
            return True
    except OSError:
        return False
