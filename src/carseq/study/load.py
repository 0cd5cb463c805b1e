"""Reading a study: configuration and sheets, checked against each other and against the files they name."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from carseq.errors import CarseqError
from carseq.io.fasta import check_fetched, check_regular
from carseq.io.remote import check_address, is_url, placed
from carseq.library.geometry import preset_of
from carseq.library.presets import OBSERVED, PROBES
from carseq.schema.obs import OBS, OBS_MORE
from carseq.study.config import Config
from carseq.study.finished import check_finished
from carseq.study.model import Study
from carseq.study.sheets import (
    PATHS,
    Sample,
    Unit,
    impossible_shares,
    mend_numbers,
    nearly_alike,
    out_of_order,
    parse_row,
    read_sheet,
)
from carseq.study.slips import slips
from carseq.study.texts import path_fault, path_hint


def load_study(config: Config) -> Study:
    """Read and validate the sheets of a configuration (with absolute paths) and check that every file exists.

    Of inputs given by an address only the address is checked; Snakemake asks for them, and ``carseq check`` does.

    Raises
    ------
    CarseqError
        For missing columns, bad values, duplicate samples or units, samples without reads, and missing files. Several
        faults are reported together.
    """
    study, faults, _ = read_study(config)
    if len(faults) > 1:
        told = "\n".join(str(fault) for fault in faults)
        raise CarseqError(f"{len(faults)} faults in the study\n{told}")
    if faults:
        raise faults[0]
    return study


def read_study(config: Config) -> tuple[Study, list[CarseqError], list[str]]:
    """Read the sheets of a configuration as far as they can be used.

    Parameters
    ----------
    config
        With absolute paths.

    Returns
    -------
    study : Study
        Of the rows that are valid.
    faults : list of CarseqError
        Every fault of the sheets and of the paths in them.
    notes : list of str
        What was read otherwise than it was written, and what looks like a slip.
    """
    faults: list[CarseqError] = []
    named: set[str] = set()
    samples = _samples(config, faults, named)
    notes = [
        *mend_numbers(samples.values()),
        *nearly_alike(samples.values()),
        *out_of_order(samples.values()),
        *slips(samples.values()),
    ]
    faults += _pools(samples, config.samples)
    if apart := [s.sample for s in samples.values() if s.tag and not s.library]:
        notes.append(
            f"{', '.join(apart[:4])} have a `tag` and no `library`: the samples of a pool lie in each other's ambient "
            "RNA, and are judged as if they did not; write the same `library` for the samples of each pool"
        )
    if tagged := [s.sample for s in samples.values() if s.tag and not s.matrix]:
        notes.append(
            f"`tag` tells no cells apart: of {', '.join(tagged[:4])} every cell of the library is taken; give each "
            "sample its own cells in `matrix`"
        )
    faults += impossible_shares(samples.values(), config.samples)
    units = _units(config, samples, faults, named)
    study = Study(config, samples, units)
    for check in (
        _check_sources,
        _check_probes,
        _check_engine,
        _check_twins,
        _check_needed,
        _check_files,
    ):
        faults += check(study)
    try:
        if not faults:
            check_finished(study)
    except CarseqError as error:
        faults.append(error)
    return study, faults, notes


def _rows(
    key: str, path: str, required: set[str], faults: list[CarseqError]
) -> list[tuple[int, dict[str, str | None]]]:
    """Return the rows of a sheet; a fault of the whole sheet is noted."""
    try:
        if is_url(path):
            check_address(key, path)
        if fault := path_fault(path):
            raise CarseqError(f"the path of `{key}` {fault}", path[:200], "give another path")
        return read_sheet(path, required)
    except CarseqError as error:
        faults.append(error)
        return []


def _samples(config: Config, faults: list[CarseqError], named: set[str]) -> dict[str, Sample]:
    """Return the samples of the sheet that are valid; note the faults of the others, and every name that a row has."""
    samples: dict[str, Sample] = {}
    base = Path(config.samples).parent
    folded: dict[str, str] = {}
    before = len(faults)
    rows = _rows("samples", config.samples, {"sample", "patient", "compartment"}, faults)
    taken = {*OBS.columns, *OBS_MORE.columns} - set(Sample.model_fields)
    if rows and (own := sorted(taken & set(rows[0][1]))):
        faults.append(
            CarseqError(
                f"{config.samples} has a column {own[0]}",
                "carseq writes a column of this name for every cell",
                "rename the column",
            )
        )
    for number, row in rows:
        named.add(str(row.get("sample") or "").strip())
        try:
            sample: Sample = parse_row(Sample, row, config.samples, number)
            if sample.sample in samples:
                raise CarseqError(
                    f"sample {sample.sample} occurs twice in {config.samples}",
                    f"again in line {number}",
                    "give each sample one row; lanes and runs of one sample are rows of units.tsv",
                )
            twin = folded.setdefault(sample.sample.lower(), sample.sample)
            if twin != sample.sample:
                raise CarseqError(
                    f"samples {twin} and {sample.sample} differ only in case",
                    f"{sample.sample} is in line {number} of {config.samples}",
                    "their folders would collide on some disks: rename one",
                )
        except CarseqError as error:
            faults.append(error)
            continue
        for key in PATHS:
            if (value := getattr(sample, key)) and value != OBSERVED:
                setattr(sample, key, placed(value, base))
        samples[sample.sample] = sample
    if not samples and len(faults) == before:
        faults.append(
            CarseqError(f"{config.samples} holds no sample", "", "add a row for each sample")
        )
    return samples


def _units(
    config: Config, samples: dict[str, Sample], faults: list[CarseqError], named: set[str]
) -> dict[str, list[Unit]]:
    """Return the FASTQ pairs of the sheet that are valid, by sample; note the faults of the others."""
    units: dict[str, list[Unit]] = {}
    if not config.units:
        return units
    base = Path(config.units).parent
    used: dict[tuple[int, int] | str, str] = {}
    for number, row in _rows("units", config.units, {"sample", "unit", "r1", "r2"}, faults):
        try:
            unit: Unit = parse_row(Unit, row, config.units, number)
            if unit.sample not in samples:
                # A sample whose own row is not valid is reported there.
                if unit.sample not in named and (samples or not faults):
                    raise CarseqError(
                        f"line {number} of {config.units} names sample {unit.sample}, which is not in {config.samples}",
                        f"samples are {', '.join(list(samples)[:8])}",
                        "correct the name or add the sample",
                    )
                continue
            unit.r1, unit.r2 = placed(unit.r1, base), placed(unit.r2, base)
            own = f"{unit.sample}/{unit.unit}"
            for path in (unit.r1, unit.r2):
                real = _identity(path)
                if real in used:
                    raise CarseqError(
                        f"{path} is used twice in {config.units}",
                        f"in unit {used[real]} and in {own} (line {number})",
                        "name each FASTQ file once; of a pool of samples give the matrices that Cell Ranger made, each "
                        "sample's own cells in `matrix`",
                    )
                used[real] = own
            if any(other.unit == unit.unit for other in units.get(unit.sample, [])):
                raise CarseqError(
                    f"unit {unit.unit} of {unit.sample} occurs twice in {config.units}",
                    f"again in line {number}",
                    "number the units",
                )
        except CarseqError as error:
            faults.append(error)
            continue
        units.setdefault(unit.sample, []).append(unit)
    return units


def _pools(samples: dict[str, Sample], path: str) -> list[CarseqError]:
    """Give samples that share a BAM or a raw matrix one library, in place, where the sheet names none.

    Returns contradictions: one BAM is not of several libraries. A raw matrix may be, as `cellranger aggr` writes it.
    """
    sharing: dict[tuple[str, tuple[int, int] | str], list[Sample]] = defaultdict(list)
    for key in ("bam", "raw_matrix"):
        for sample in samples.values():
            if path := getattr(sample, key):
                sharing[key, _identity(path)].append(sample)
    faults = []
    for (key, _), group in sharing.items():
        named = list(dict.fromkeys(s.library for s in group if s.library))
        if len(named) > 1 and key == "raw_matrix":
            continue
        if len(named) > 1:
            faults.append(
                CarseqError(
                    f"{path} names several libraries of one BAM: {', '.join(named)}",
                    f"samples {', '.join(s.sample for s in group[:4])} share {group[0].bam}",
                    "give them one `library`, or each its own BAM",
                )
            )
        elif len(group) > 1:
            for sample in group:
                sample.library = named[0] if named else group[0].sample
    return faults


def _identity(path: str) -> tuple[int, int] | str:
    """Return what a file is known by, whatever links lead to it: its place on the disk, or an address as it is."""
    if is_url(path) or path_fault(path):
        return path
    with suppress(OSError):
        there = os.stat(path)
        return there.st_dev, there.st_ino
    # Not Path.resolve, which fails at a link to itself.
    return os.path.realpath(path)


def _check_sources(study: Study) -> list[CarseqError]:
    """Return what is wrong with where the samples come from."""
    faults = []
    for name, sample in study.samples.items():
        has_units = name in study.units
        if sample.kind == "fastq" and not has_units:
            faults.append(
                CarseqError(
                    f"sample {name} has no reads",
                    "it has no valid row in the units sheet and no bam or matrix",
                    "add its FASTQ files to units.tsv, or fill its `bam` or `raw_matrix` column",
                )
            )
        if sample.kind != "fastq" and has_units:
            faults.append(
                CarseqError(
                    f"sample {name} has both FASTQ units and a {sample.kind}",
                    "",
                    "keep one of them",
                )
            )
        if sample.kind == "bam" and not (sample.raw_matrix or sample.matrix):
            faults.append(
                CarseqError(
                    f"sample {name} has a BAM but no matrix",
                    "the cells' counts come from the matrix made with the BAM",
                    "fill its `raw_matrix` column (10x raw_feature_bc_matrix.h5, mtx folder or h5ad)",
                )
            )
        if sample.matrix and sample.matrix == sample.raw_matrix:
            faults.append(
                CarseqError(
                    f"sample {name} has one file as `matrix` and as `raw_matrix`",
                    sample.matrix,
                    "name it in `matrix` if it holds cells only, in `raw_matrix` if it holds every barcode",
                )
            )
    return faults


def _check_probes(study: Study) -> list[CarseqError]:
    """Return which samples come as reads of probes, in which no mRNA is seen."""
    return [
        CarseqError(
            f"sample {name} is of {sample.chemistry}, whose reads are of probes",
            "a probe set holds no CAR unless a probe was made for it, and a probe's reads do not say what the mRNA "
            "beside it is",
            "give Cell Ranger's matrix in `raw_matrix`, counted with a custom probe for the CAR, and name "
            "`construct.name` as the probe's gene is named; leave `bam` and the units out",
        )
        for name, sample in study.samples.items()
        if sample.chemistry in PROBES and sample.kind != "matrix"
    ]


def _check_engine(study: Study) -> list[CarseqError]:
    """Return what is asked for that kallisto, or STAR without a BAM, cannot give."""
    if not study.searched:
        return []
    config, faults = study.config, []
    engine = f"`{study.search_setting}`"
    other = "`solo.aligner: star`" if study.kallisto else "`solo.evidence: bam`"
    remedy = f"leave it out, or set {other}"
    if study.kallisto and config.solo.feature == "GeneFull":
        faults.append(
            CarseqError(
                "`solo.aligner: kallisto` cannot count introns (`solo.feature: GeneFull`)",
                "its index holds spliced transcripts",
                remedy,
            )
        )
    if config.reference.insertion in ("saved", "each_run"):
        faults.append(
            CarseqError(
                f"{engine} cannot insert the CAR (`reference.insertion: {config.reference.insertion}`)",
                "its molecules come from a search of all reads",
                remedy,
            )
        )
    for name, sample in study.samples.items():
        preset = None
        with suppress(CarseqError):
            preset = preset_of(sample.chemistry)
        if sample.kind == "fastq" and preset is not None and len(preset.parts) > 1:
            faults.append(
                CarseqError(
                    f"{engine} does not take sample {name} of {sample.chemistry}",
                    "its barcode has several parts, which are corrected one by one",
                    "set `solo.aligner: star` and `solo.evidence: bam`",
                )
            )
    return faults


def _check_twins(study: Study) -> list[CarseqError]:
    """Return which files are given to two samples. A pool may share all but the list of each sample's cells."""
    faults = []
    for key in ("bam", "matrix", "raw_matrix", "tcr"):
        owners: dict[str, list[str]] = defaultdict(list)
        for name, sample in study.samples.items():
            path = getattr(sample, key)
            if path and not path_fault(path):
                owners[os.path.realpath(path)].append(name)
        for path, names in owners.items():
            cells = {study.samples[name].matrix for name in names}
            apart = key != "matrix" and None not in cells and len(cells) == len(names)
            if len(names) > 1 and not apart:
                faults.append(
                    CarseqError(
                        f"samples {', '.join(names[:4])} have one and the same `{key}`",
                        path,
                        "give each sample its own; of a pool of samples give each one its own cells in `matrix`",
                    )
                )
    return faults


def _check_needed(study: Study) -> list[CarseqError]:
    """Return which keys are missing that samples with reads need."""
    config = study.config
    with_reads = [name for name, sample in study.samples.items() if sample.kind != "matrix"]
    needed = {
        "construct.file": config.construct.file,
        "reference.fasta": config.reference.fasta,
        "reference.gtf": config.reference.gtf,
    }
    missing = [key for key, value in needed.items() if not value]
    if with_reads and missing:
        return [
            CarseqError(
                f"{' and '.join(f'`{key}`' for key in missing)} {'is' if len(missing) == 1 else 'are'} missing",
                f"sample {with_reads[0]} has reads, in which the CAR is looked for beside the genes of the genome",
                "add " + " and ".join(f"`{key}`" for key in missing),
            )
        ]
    return []


def _check_files(study: Study) -> list[CarseqError]:
    """Return which files that are named do not exist or cannot be read."""
    wanted = [
        (key, path) for key, _, path in study.files() if key not in ("samples", "units", "reuse")
    ]
    # A folder that may be shared by many studies: no input to list, but one to look for.
    if index := study.config.reference.star_index:
        wanted.append(("reference.star_index", index))
    if programs := study.config.solo.kallisto:
        wanted.append(("solo.kallisto", programs))
    faults, missing = [], []
    for key, path in wanted:
        try:
            if is_url(path):
                check_address(key, path)
            elif fault := path_fault(path):
                raise CarseqError(
                    f"the path of {key} {fault}", path[:200], "rename the file or its folder"
                )
            elif why := _unreadable(path):
                missing.append((key, path + (f" ({why})" if why != _ABSENT else "")))
            elif Path(path).is_file():
                check_fetched(path)
        except CarseqError as error:
            faults.append(error)
    cells = study.config.cells
    if cells.celltypist and not cells.celltypist_sha256:
        faults.append(
            CarseqError(
                "cells.celltypist needs cells.celltypist_sha256",
                "the model is a pickle, which may run anything when it is opened",
                "write the checksum that its source gives; if you trust the file, that of `sha256sum "
                f"{Path(cells.celltypist).name}`",
            )
        )
    if missing:
        shown = "; ".join(f"{what}: {path}" for what, path in missing[:20])
        faults.append(
            CarseqError(
                f"{len(missing)} file{'s' if len(missing) > 1 else ''} named in the configuration cannot be read",
                shown + (" ..." if len(missing) > 20 else ""),
                "correct the paths (they are relative to the file that names them) or the permissions"
                + path_hint(path for _, path in missing),
            )
        )
    return faults


def _spelt_otherwise(path: str) -> str:
    """Say which name in a path is there in other letters: in capitals, or ü stored as u with two dots (macOS)."""

    def plain(name: str) -> str:
        return unicodedata.normalize("NFKC", name).casefold()

    whole = Path(path).absolute()
    lost = next(p for p in reversed((whole, *whole.parents)) if not p.exists())
    with suppress(OSError):
        for name in sorted(os.listdir(lost.parent)):
            if name != lost.name and plain(name) == plain(lost.name):
                return f"{name} is there, in other letters: copy its name, or rename it"
    return ""


#: What need not be said of a file that cannot be read.
_ABSENT = "it is not there"


def _unreadable(path: str) -> str:
    """Say why a file or folder cannot be read, or return an empty string."""
    try:
        check_regular(path)
        if not os.path.isdir(path):
            open(path, "rb").close()
    except OSError as error:
        if os.path.islink(path):
            return f"a link to {os.readlink(path)}: {error.strerror}"
        if isinstance(error, FileNotFoundError):
            return _spelt_otherwise(path) or _ABSENT
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)
    return ""
