"""The configuration: one model a section, from which validation, schema and documentation are made."""

from __future__ import annotations

import reprlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from carseq.errors import CarseqError
from carseq.io.remote import placed
from carseq.library.presets import OBSERVED
from carseq.log import get_logger
from carseq.schema.thresholds import FDR
from carseq.study.construct_file import Form, find_construct_file
from carseq.study.texts import (
    LONGEST_NAME,
    NAME,
    fault_words,
    path_fault,
    read_yaml,
    results_fault,
)

# The section `construct` hides pydantic's long deprecated BaseModel.construct, which nobody here calls.
warnings.filterwarnings("ignore", message='Field name "construct".*shadows', category=UserWarning)


class Section(BaseModel):
    """A section of the configuration: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse yes, no, on and off where a number is wanted: Python takes them for 1 and 0."""
        kind: Any = cls.model_fields[info.field_name or ""].annotation
        kinds = set(get_args(kind)) or {kind}
        if isinstance(value, bool) and kinds & {int, float} and bool not in kinds:
            raise ValueError("must be a number; yes, no, on, off, true and false are not")
        return value


class ConstructConfig(Section):
    """What the CAR is."""

    file: str | None = Field(
        default=None,
        min_length=1,
        description="GenBank, SnapGene (.dna) or FASTA of the vector (see `form`), or the name of one that comes with "
        "carseq (`carseq construct list`). If a file has several records, name one: `maps.gb#pMYCAR`. Not needed if "
        "every sample is a matrix.",
    )
    name: str = Field(
        default="CAR",
        max_length=LONGEST_NAME,
        pattern=NAME,
        description="Name of the CAR: its contig, its gene and its row in every matrix.",
    )
    form: Form = Field(
        default="auto",
        description="What `file` holds: a plasmid, a provirus (5' LTR to 3' LTR), the transcript itself, "
        "only the ORF (loses most 3' reads), or a part of the CAR (`partial`: the scFv, CD3zeta). `auto` finds out "
        "from LTRs, promoter and ORF.",
    )
    alternatives: list[str] = Field(
        default_factory=list,
        description="Files of other constructs that may be in the samples instead; each sample's reads then say "
        "which one they support.",
    )
    target: str | None = Field(
        default=None,
        description="Gene symbol of the antigen the CAR binds (TNFRSF17 for BCMA). Cells that "
        "express it are counted by sample, lineage and type (`cohort/target.tsv`).",
    )


class ReferenceConfig(Section):
    """The genome without the CAR."""

    fasta: str | None = Field(
        default=None,
        min_length=1,
        description="Genome FASTA (plain or .gz), or its address (https://, s3://, gs://). Not needed if every "
        "sample is a matrix.",
    )
    gtf: str | None = Field(
        default=None,
        min_length=1,
        description="Gene annotation, GTF (plain or .gz), of the same genome, or its address. Not needed if every "
        "sample is a matrix, unless its genes are named by ids alone: the annotation then gives their symbols.",
    )
    star_index: str | None = Field(
        default=None,
        min_length=1,
        description="An existing STAR index of `fasta` (made by the same STAR version), or 10x's folder "
        "`refdata-gex-...`, whose genome and annotation are used if `fasta` and `gtf` are left out. Null: "
        "one is built.",
    )
    sa_sparse: int | None = Field(
        default=None,
        ge=1,
        le=8,
        description="STAR's genomeSAsparseD for an index that carseq builds: 2 saves a third of the memory of a human "
        "index, 3 is the value of 10x's references. Null: 1 if the CAR is inserted; for a plain index of a large "
        "genome 3, or more if the machine has too little memory to build it.",
    )
    insertion: Literal["auto", "saved", "each_run", "none"] = Field(
        default="auto",
        description="How the CAR is added to the reference. `saved`: the index with the CAR is saved once (as large as "
        "the base index). `each_run`: each alignment inserts the CAR again (no disk, more time and memory per sample). "
        "`none`: reads are aligned to the plain index, which takes a third of the memory; the CAR's molecules come "
        "from unmapped reads and from reads at places of the genome that resemble it, and its row in the matrix from "
        "them. `auto`: `saved` if this machine (or `--resources mem_mb`) has the memory to insert it, or a "
        "cluster runs the jobs, else `none`; the choice stays as it was when the study began.",
    )
    sjdb_overhang: int = Field(
        default=99, ge=20, le=1000, description="STAR's sjdbOverhang: length of R2 minus one."
    )


class ChemistryConfig(Section):
    """Barcode geometry shared by samples that do not name their own."""

    whitelist: str | None = Field(
        default=None,
        min_length=1,
        description="Barcode whitelist (plain or .gz), or its address, for samples without a `whitelist` of their own. "
        "`observed`: barcodes are learnt from the reads. Null: the best-fitting 10x list, or the list of the named "
        "kit; for kits whose list carseq may not ship (10x 5' v3, Drop-seq, SeekOne, Singleron, Parse, DNBelab C4), "
        "`observed`.",
    )


class SoloConfig(Section):
    """Alignment and counting."""

    aligner: Literal["star", "kallisto"] = Field(
        default="star",
        description="What counts the reads. `star`: STARsolo, aligned to the genome. `kallisto`: kallisto | bustools, "
        "matched with the annotation's transcripts: a few GB of memory in place of some 30 and less than half of the "
        "time, but no BAM of all reads, no introns (`GeneFull`), and no barcodes of several parts; the CAR's molecules "
        "come from a search of all reads.",
    )
    kallisto: str | None = Field(
        default=None,
        min_length=1,
        description="Folder that holds the programs kallisto and bustools. Null: those that `carseq doctor "
        "--install-kallisto` installed, else those on PATH, else those of kb-python in this Python.",
    )
    feature: Literal["Gene", "GeneFull"] = Field(
        default="Gene",
        description="Count exonic molecules (Gene) or exonic and intronic ones (GeneFull, as Cell Ranger 7+).",
    )
    evidence: Literal["bam", "fastq"] = Field(
        default="bam",
        description="Where the reads come from that may be the CAR's. `bam`: STAR writes all alignments, and they are "
        "taken from there. `fastq`: STAR counts and writes no alignment; all reads are searched for the k-mers of the "
        "CAR and of the genes that share a stretch with it. STAR then takes a quarter less time, and "
        "BAMs no disk. With kallisto it is always so.",
    )
    keep_bam: Literal["all", "slice", "none"] = Field(
        default="all",
        description="What is kept of each sample's `aligned.bam`, the largest file of a study. `all`: everything. "
        "`slice`: the reads on the CAR, those at its homologs and the unmapped ones that resemble it (`slice.bam`), "
        "which is enough for `carseq explain`, `carseq construct --bam` and finding the molecules again. `none`: only "
        "`report/reads/`. Steps that need more reads, such as another construct, run the alignment again.",
    )


class MoleculesConfig(Section):
    """Evidence for the CAR, molecule by molecule."""

    barcode_tag: str = Field(
        default="CB",
        pattern="^[A-Za-z][A-Za-z0-9]$",
        description="BAM tag of the cell barcode. Where a BAM has not `CB` and `UB`, other programs' tags are tried.",
    )
    umi_tag: str = Field(
        default="UB", pattern="^[A-Za-z][A-Za-z0-9]$", description="BAM tag of the corrected UMI."
    )
    min_homology: float = Field(
        default=0.9,
        ge=0.7,
        le=1.0,
        description="Identity of a read-long window from which an endogenous gene counts as a homolog of the CAR.",
    )
    read_length: int | None = Field(
        default=None,
        ge=30,
        le=500,
        description="Read length for which homology, coverage and lint are computed, nt. Null: as measured "
        "(the shortest of the samples' median R2 lengths, because shorter reads are harder to tell from a homolog's; "
        "90 without reads).",
    )


class CallingConfig(Section):
    """From molecules to CAR T cells."""

    fdr: float = Field(
        default=FDR, gt=0, lt=1, description="False discovery rate among `positive` calls."
    )


#: Keys and values of section `cells` as they were called before 0.2.
_CELLS_RENAMED = {"reference": "atlas", "reference_labels": "atlas_labels"}


class CellsConfig(Section):
    """Cells: quality, doublets, clusters, types."""

    @model_validator(mode="before")
    @classmethod
    def _read_old_names(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        for old, new in _CELLS_RENAMED.items():
            if old in data:
                if new in data:
                    raise ValueError(f"`cells.{old}` is now called `cells.{new}`: give it once")
                get_logger("config").warning("cells.%s is now called cells.%s", old, new)
                data[new] = data.pop(old)
        if data.get("doublets") == "solo":
            get_logger("config").warning("cells.doublets: solo is now called scvi_solo")
            data["doublets"] = "scvi_solo"
        return data

    integration: Literal["scvi", "harmony", "none"] = Field(
        default="scvi",
        description="How samples are integrated. Small cohorts fall back to none.",
    )
    markers: str | None = Field(
        default=None,
        min_length=1,
        description="Marker table (TSV); null: the urinary table that comes with carseq.",
    )
    atlas: str | None = Field(
        default=None,
        min_length=1,
        description="Labelled cells (h5ad of raw counts with gene symbols) whose labels scANVI transfers as a "
        "second annotation: `reference_type` beside `cell_type`.",
    )
    atlas_labels: str = Field(
        default="cell_type",
        min_length=1,
        description="Column of the atlas's `obs` that holds the labels.",
    )
    celltypist: str | None = Field(
        default=None,
        min_length=1,
        description="File of a CellTypist model, for a second annotation: `celltypist_type`. The file is a pickle, "
        "which can run any code when it is opened; carseq opens it only if `celltypist_sha256` is its checksum. Needs "
        "`pip install 'carseq[celltypist]'`.",
    )
    celltypist_sha256: str | None = Field(
        default=None,
        pattern="^[0-9a-fA-F]{64}$",
        description="SHA-256 of the CellTypist model, 64 hexadecimal digits, as its source publishes it (or "
        "`sha256sum FILE`, if you trust the file).",
    )
    doublets: Literal["scrublet", "scvi_solo"] = Field(
        default="scrublet",
        description="`scvi_solo`: scvi-tools' SOLO in addition to scrublet, in samples of 300 cells or more; it takes "
        "some minutes a sample.",
    )
    doublet_rate: float | None = Field(
        default=None,
        gt=0,
        lt=0.5,
        description="Expected share of droplets with two cells. Null: 0.8 % for each 1,000 cells found, as 10x states "
        "for its chips, or 0.4 % if the reads are of a GEM-X chip (3' v4, 5' v3); for samples without reads the older "
        "chips are assumed. Give it if a chip was loaded with more cells than were kept, or with several samples.",
    )
    corrected: bool = Field(
        default=True,
        description="Whether `cells.h5ad` also holds counts without ambient RNA "
        '(`layers["corrected"]`); left out above 200,000 cells.',
    )
    cellbender: int = Field(
        default=0,
        ge=0,
        le=10_000,
        description="Epochs of CellBender (its own default: 150, an hour of CPU a sample); its counts are a further "
        "layer, `layers[\"cellbender\"]`. 0: it is not run. Needs `pip install 'carseq[cellbender]'`.",
    )
    resolution: float = Field(
        default=1.0, gt=0, le=100, description="Resolution of the leiden clustering."
    )
    max_pct_mito: float = Field(
        default=20.0,
        gt=0,
        le=100,
        description="Most mitochondrial UMIs (%) of a kidney cell; half of it for other lineages (Klocke 2022). If "
        "that would remove more than a third of a lineage, its median + 3 MAD is used, with a warning.",
    )
    min_genes: int = Field(
        default=200, ge=0, le=100_000, description="Cells with fewer genes are removed."
    )
    seed: int = Field(
        default=0,
        ge=0,
        lt=2**32,
        description="Seed of scVI, UMAP, leiden and the cell-calling test.",
    )


class ReportConfig(Section):
    """The report and its manifest."""

    checksums: Literal["all", "results"] = Field(
        default="all",
        description="Whether the manifest `ro-crate-metadata.json` also has the SHA-256 of the inputs (reads, genome; "
        "some minutes for 100 GB), or only that of the results.",
    )


class Config(Section):
    """The whole configuration of a study."""

    samples: str = Field(default="samples.tsv", min_length=1, description="Sheet of samples (TSV).")
    units: str | None = Field(
        default=None,
        min_length=1,
        description="Sheet of FASTQ pairs (TSV); left out when every sample comes from a BAM or a matrix.",
    )
    results: str = Field(
        default="results", description="Results folder, relative to the working directory."
    )
    reuse: str | None = Field(
        default=None,
        min_length=1,
        description="Results folder of a finished study of the same samples with another construct: its alignments, "
        "cells and annotation are reused, and only what depends on the construct is made. Give this study another "
        "`results` folder.",
    )
    construct: ConstructConfig = Field(default_factory=ConstructConfig)  # type: ignore[assignment]
    reference: ReferenceConfig = Field(default_factory=ReferenceConfig)
    chemistry: ChemistryConfig = Field(default_factory=ChemistryConfig)
    solo: SoloConfig = Field(default_factory=SoloConfig)
    molecules: MoleculesConfig = Field(default_factory=MoleculesConfig)
    calling: CallingConfig = Field(default_factory=CallingConfig)
    cells: CellsConfig = Field(default_factory=CellsConfig)
    report: ReportConfig = Field(default_factory=ReportConfig)

    @field_validator("results")
    @classmethod
    def _a_folder(cls, value: str) -> str:
        if fault := results_fault(value):
            raise ValueError(f"the folder of results {fault}")
        return value

    @model_validator(mode="before")
    @classmethod
    def _reject_none_sections(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {
                k: ({} if v is None and k not in {"units", "reuse"} else v) for k, v in data.items()
            }
        return data


def _nearest(word: str, words: list[str]) -> str:
    import difflib

    found = difflib.get_close_matches(word.lower(), words, n=1)
    return f" (did you mean `{found[0]}`?)" if found else ""


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    model: Any = Config
    for part in location[:-1]:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)


def parse_config(data: dict[str, Any], source: str = "the configuration") -> Config:
    """Validate a configuration given as a mapping.

    Parameters
    ----------
    data
        The mapping, as read from YAML.
    source
        What to call it in messages.

    Raises
    ------
    CarseqError
        For unknown keys, missing keys and values of the wrong type or range.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise _config_fault(error, source) from None


def _config_fault(error: ValidationError, source: str) -> CarseqError:
    """Tell every fault that a validation found."""
    causes, remedies = [], []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            hint = _nearest(str(fault["loc"][-1]), _known_keys(fault["loc"]))
            causes.append(f"unknown key `{key}`{hint}")
        elif fault["type"] == "missing":
            causes.append(f"`{key}` is missing")
            remedies.append(f"add `{key}`")
        else:
            told = fault_words(fault)
            # Bounded: a few aliases of YAML may stand for millions of values.
            given = reprlib.repr(fault["input"])
            causes.append(f"`{key}`: {told} (got {given})" if key else told)
    return CarseqError(
        f"{source} is not valid",
        "; ".join(causes),
        "; ".join(remedies)
        or "correct the keys named above; `carseq init` writes a configuration that explains every key",
    )


def read_config(path: str | Path) -> tuple[Config | None, list[CarseqError]]:
    """Read a configuration for a check: what can be used of it, and every fault.

    Parameters
    ----------
    path
        YAML file, as for :func:`load_config`.

    Returns
    -------
    config : Config or None
        With defaults in the place of keys that are not valid; None if nothing can be used.
    faults : list of CarseqError
    """
    path = Path(path)
    try:
        data, faults = read_yaml(path)
    except CarseqError as error:
        return None, [error]
    if not isinstance(data, dict):
        return None, [*faults, _no_keys(path)]
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        faults.append(_config_fault(error, str(path)))
        for fault in error.errors():
            _take_out(data, fault["loc"])
        try:
            config = Config.model_validate(data)
        except ValidationError:
            return None, faults
    return resolve_paths(config, path.parent), faults


def _take_out(data: Any, location: tuple[int | str, ...]) -> None:
    """Take the key that is not valid out of what a YAML file holds."""
    for part in location[:-1]:
        if not isinstance(data, (dict, list)):
            return
        try:
            held = data[part]  # type: ignore[index]
        except (KeyError, IndexError):
            return
        if not isinstance(held, dict):
            location = location[: location.index(part) + 1]
            break
        data = held
    if isinstance(data, dict) and location:
        data.pop(location[-1], None)


def _no_keys(path: Path) -> CarseqError:
    return CarseqError(
        f"{path} is not a configuration", "it holds no keys", "`carseq init` writes an example"
    )


def load_config(path: str | Path) -> Config:
    """Read and validate a configuration file; its paths become absolute.

    Parameters
    ----------
    path
        YAML file. Paths inside it are relative to it, but for ``results``, which is relative to the
        working directory.

    Raises
    ------
    CarseqError
        If the file cannot be read or is not valid.
    """
    path = Path(path)
    data, faults = read_yaml(path)
    if faults:
        raise faults[0]
    if not isinstance(data, dict):
        raise _no_keys(path)
    return resolve_paths(parse_config(data, str(path)), path.parent)


def resolve_paths(config: Config, base: str | Path) -> Config:
    """Return a copy of ``config`` whose file paths are absolute, taken relative to ``base``."""
    base = Path(base).resolve()
    config = config.model_copy(deep=True)
    construct = config.construct
    if construct.file:
        construct.file = find_construct_file(construct.file, base)
    construct.alternatives = [find_construct_file(file, base) for file in construct.alternatives]
    config = with_paths(config, lambda path: placed(path, base))
    _open_refdata(config.reference)
    return config


#: The keys that hold a path, by section; the configuration's own under ``""``.
_PATH_KEYS = {
    "": ("samples", "units", "reuse"),
    "construct": ("file",),
    "reference": ("fasta", "gtf", "star_index"),
    "chemistry": ("whitelist",),
    "solo": ("kallisto",),
    "cells": ("markers", "atlas", "celltypist"),
}


def with_paths(config: Config, change: Callable[[str], str]) -> Config:
    """Return a copy of ``config`` with every file path changed."""
    config = config.model_copy(deep=True)
    for name, keys in _PATH_KEYS.items():
        section = getattr(config, name) if name else config
        for key in keys:
            if (path := getattr(section, key)) and path != OBSERVED:
                setattr(section, key, change(path))
    config.construct.alternatives = [change(path) for path in config.construct.alternatives]
    return config


def _open_refdata(reference: ReferenceConfig) -> None:
    """Take index, genome and annotation out of a reference folder of 10x, where that is given as the index."""
    folder = Path(reference.star_index or "")
    if not reference.star_index or path_fault(reference.star_index):
        return
    if not (folder / "star" / "genomeParameters.txt").is_file():
        return
    reference.star_index = str(folder / "star")
    for key, names in (
        ("fasta", ("fasta/genome.fa", "fasta/genome.fa.gz")),
        ("gtf", ("genes/genes.gtf.gz", "genes/genes.gtf")),
    ):
        found = next((folder / name for name in names if (folder / name).is_file()), None)
        if getattr(reference, key) is None and found is not None:
            setattr(reference, key, str(found))


def config_markdown() -> str:
    """Return the documentation of every key as a Markdown table (``config/README.md``)."""
    lines = ["| key | default | meaning |", "|---|---|---|"]

    def add(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            annotation = field.annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                lines.append(f"| **`{prefix}{name}`** | | {annotation.__doc__} |")
                add(annotation, f"{prefix}{name}.")
                continue
            value = field.get_default(call_default_factory=True, validated_data={})
            default = "*required*" if field.is_required() else f"`{yaml_value(value)}`"
            lines.append(f"| `{prefix}{name}` | {default} | {field.description} |")

    add(Config, "")
    return "\n".join(lines) + "\n"


def yaml_value(value: Any) -> str:
    """Return a scalar as YAML would write it."""
    return (
        "null"
        if value is None
        else str(yaml.safe_dump(value, default_flow_style=True)).split("\n")[0]
    )
