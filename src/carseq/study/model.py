"""A validated study: its configuration and its sheets."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from carseq.io.results import searched
from carseq.library.geometry import is_observed
from carseq.library.presets import OBSERVED
from carseq.schema.results import FILES
from carseq.study.config import Config, with_paths
from carseq.study.construct_file import split_record
from carseq.study.sheets import PATHS, Sample, Unit

Row = TypeVar("Row", Sample, Unit)


def _file_of(vector: str | None) -> str | None:
    """Return the file of ``FILE#name``."""
    return vector and str(split_record(vector)[0])


@dataclass(frozen=True)
class Study:
    """A validated configuration with its sheets."""

    config: Config
    samples: dict[str, Sample]
    units: dict[str, list[Unit]] = field(default_factory=dict)

    @property
    def search_setting(self) -> str:
        """The setting by which the CAR's reads are searched for in FASTQ files; empty if they are not."""
        counted = any(sample.kind == "fastq" for sample in self.samples.values())
        return searched(self.config.model_dump(include={"solo", "reuse"})) if counted else ""

    @property
    def searched(self) -> bool:
        """Whether the CAR's reads are searched for in FASTQ files, so that no BAM of all reads is made."""
        return bool(self.search_setting)

    @property
    def kallisto(self) -> bool:
        """Whether kallisto counts reads here: not where a finished study's alignments are reused."""
        return self.search_setting == "solo.aligner: kallisto"

    def pairs(self, sample: str) -> list[tuple[str, str]]:
        """Return the (R1, R2) files of a sample, in the order of its units' names.

        The sheet's order must not matter: STAR keeps that of the reads among those at one place.
        """
        units = sorted(self.units.get(sample, []), key=lambda unit: unit.unit)
        return [(unit.r1, unit.r2) for unit in units]

    def record(self) -> dict[str, Any]:
        """Return the configuration, and under ``sheet`` the samples, as the record of a run has them."""
        rows = {name: sample.model_dump() for name, sample in self.samples.items()}
        return {**self.config.model_dump(), "sheet": rows}

    def seen_from(self, folder: str | Path) -> Study:
        """Return the study with the paths below a folder as they are seen from it.

        Snakemake knows a file by its path: so a study that is moved as a whole is still made of the same files.
        """
        start = os.path.join(os.path.abspath(folder), "")

        def near(path: str) -> str:
            return path.removeprefix(start)

        def of_row(row: Row, keys: Iterable[str]) -> Row:
            given = {key: path for key in keys if (path := getattr(row, key))}
            return row.model_copy(update={key: near(path) for key, path in given.items()})

        return Study(
            with_paths(self.config, near),
            {name: of_row(sample, PATHS) for name, sample in self.samples.items()},
            {name: [of_row(u, ("r1", "r2")) for u in units] for name, units in self.units.items()},
        )

    def files(self) -> list[tuple[str, str, str]]:
        """Return every file the study is made from: (key that names it, what it is, path)."""
        config = self.config
        found: list[tuple[str, str, str | None]] = [
            ("samples", "sheet of samples", config.samples),
            ("units", "sheet of units", config.units),
            (
                "reuse",
                "record of the study reused",
                config.reuse and FILES["run_config"].at(config.reuse),
            ),
            ("construct.file", "construct", _file_of(config.construct.file)),
            ("reference.fasta", "genome", config.reference.fasta),
            ("reference.gtf", "gene annotation", config.reference.gtf),
            (
                "chemistry.whitelist",
                "barcode whitelist",
                None if config.chemistry.whitelist == OBSERVED else config.chemistry.whitelist,
            ),
            ("cells.markers", "markers", config.cells.markers),
            ("cells.atlas", "labelled cells", config.cells.atlas),
            ("cells.celltypist", "CellTypist model", config.cells.celltypist),
        ]
        for file in config.construct.alternatives:
            found.append(("construct.alternatives", "other construct", _file_of(file)))
        for name, sample in self.samples.items():
            for key in PATHS:
                if (value := getattr(sample, key)) != OBSERVED:
                    found.append((f"{key} of sample {name}", f"{key} of {name}", value))
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
        """Return the file of barcodes given for a sample, its own before the study's; None where none is."""
        given = self.samples[sample].whitelist or self.config.chemistry.whitelist
        return None if given == OBSERVED else given

    def observes(self, sample: str) -> bool:
        """Return whether a sample's barcodes are learnt from its reads."""
        own = self.samples[sample]
        given = own.whitelist or self.config.chemistry.whitelist
        return own.kind == "fastq" and is_observed(own.chemistry, given)
