"""Reading a study: configuration and sheets, held against each other and against the files they name."""

from __future__ import annotations

from pathlib import Path

from carseq.errors import CarseqError
from carseq.io.remote import check_address, is_url, placed
from carseq.schema.obs import OBS, OBS_MORE
from carseq.study.config import Config
from carseq.study.finished import check_finished
from carseq.study.model import Study
from carseq.study.sheets import PATHS, Sample, Unit, parse_row, read_sheet


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
    rows = read_sheet(config.samples, {"sample", "patient", "compartment"})
    taken = {*OBS.columns, *OBS_MORE.columns} - set(Sample.model_fields)
    if rows and (own := sorted(taken & set(rows[0]))):
        raise CarseqError(
            f"{config.samples} has a column {own[0]}",
            "carseq writes a column of this name for every cell",
            "rename the column",
        )
    for number, row in enumerate(rows, 2):
        sample: Sample = parse_row(Sample, row, config.samples, number)
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
        for key in PATHS:
            if value := getattr(sample, key):
                setattr(sample, key, placed(value, base))
        samples[sample.sample] = sample
    if not samples:
        raise CarseqError(f"{config.samples} holds no sample", "", "add a row for each sample")
    units: dict[str, list[Unit]] = {}
    if config.units:
        base = Path(config.units).parent
        used: dict[str, str] = {}
        for number, row in enumerate(read_sheet(config.units, {"sample", "unit", "r1", "r2"}), 2):
            unit: Unit = parse_row(Unit, row, config.units, number)
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
