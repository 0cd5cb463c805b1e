"""Writes the documentation, the example and the JSON schema of the configuration from its models.

``python -m carseq.config_docs config`` writes them into ``config/``; a test fails when they are stale.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel

from carseq.io.files import write_text
from carseq.study.config import Config, config_markdown, yaml_value
from carseq.study.sheets import Sample, Unit

#: Values of the example that have no default.
_EXAMPLE = {
    "units": "units.tsv",
    "construct.file": "hbi0101_surrogate.gb",
    "construct.name": "HBI0101",
    "construct.target": "TNFRSF17",
    "reference.fasta": "genome.fa",
    "reference.gtf": "genes.gtf",
}


_FURTHER = """
Further columns whose cells are all numbers are put beside the CAR T fraction (`cohort/clinic.tsv`, and along time in
the report): proteinuria, creatinine, C3, C4, CPK, anti-dsDNA, or whatever was measured. Put the unit into the name
(`proteinuria_g_per_day`). A number column that measures nothing (a batch, say) should hold a letter; one whose
name stands for persons or records (`mrn`, `patient_id`, `birth_year`) is put beside nothing.
Leave blank what was not measured. Some names say more (any case; `X` is anything, such as `flow` or `qpcr`):

| column | meaning |
|---|---|
| `car_pct_X`, `car_percent_X` | CAR T cells, % of T cells: compared with carseq's fraction (`cohort/agreement.tsv`) |
| `car_fraction_X` | the same from 0 to 1 |
| `vcn_X`, `vector_copies_X`, `car_copies_X` | vector copies: only their ranks are compared |

Nothing is concluded from them: they are shown side by side. Where `obs` has `clonotype`, clonotypes that compartments
of a patient share are counted (`cohort/clonotypes.tsv`).
"""


def schema_json() -> str:
    """Return the JSON schema of the configuration, by which editors complete and check its keys."""
    return json.dumps(Config.model_json_schema(), indent=1) + "\n"


def example_config(
    values: Mapping[str, object] | None = None, *, schema: str = "config.schema.json"
) -> str:
    """Return an example configuration as YAML, every key explained.

    Parameters
    ----------
    values
        Values by dotted key, in place of the example's own.
    schema
        Where the JSON schema lies, relative to the configuration.
    """
    given = {**_EXAMPLE, **(values or {})}
    lines = [
        f"# yaml-language-server: $schema={schema}",
        "# Paths are relative to this file; `results` to the working directory (with `carseq run`, to this folder).",
        "",
    ]

    def add(model: type[BaseModel], prefix: str, indent: str) -> None:
        for name, field in model.model_fields.items():
            annotation = field.annotation
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                lines.append(f"\n{name}:  # {annotation.__doc__}")
                add(annotation, f"{prefix}{name}.", indent + "  ")
                continue
            default = field.get_default(call_default_factory=True, validated_data={})
            value = given.get(prefix + name, None if field.is_required() else default)
            lines.append(f"{indent}# {field.description}")
            lines.append(f"{indent}{name}: {yaml_value(value)}")

    add(Config, "", "")
    return "\n".join(lines) + "\n"


def sheet_markdown(model: type[BaseModel]) -> str:
    """Return the columns of a sheet as a Markdown table."""
    lines = ["| column | default | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = (
            "*required*"
            if field.is_required()
            else f"`{field.default or ''}`".replace("``", "empty")
        )
        lines.append(f"| `{name}` | {default} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Return every page made from the models: file name -> text."""
    readme = (
        "# Configuration\n\n"
        "Made from carseq's models by `make docs`; do not edit by hand.\n\n"
        "## config.yaml\n\nUnknown keys are errors.\n\n"
        + config_markdown()
        + "\n## samples.tsv\n\nTab-separated, one row a sample. Further columns are carried to `obs`.\n\n"
        + sheet_markdown(Sample)
        + _FURTHER
        + "\n## units.tsv\n\nTab-separated, one row a pair of FASTQ files; "
        + "lanes and runs of a sample are units of it.\n\n"
        + sheet_markdown(Unit)
    )
    samples = (
        "sample\tpatient\tcompartment\ttimepoint\trole\tchemistry\n"
        "P01_urine_D0\tP01\turine\tD0\tnegative_control\tauto\n"
        "P01_urine_D28\tP01\turine\tD28\tcase\tauto\n"
    )
    units = (
        "sample\tunit\tr1\tr2\n"
        "P01_urine_D0\tL001\tfastq/P01_urine_D0_L001_R1.fastq.gz\tfastq/P01_urine_D0_L001_R2.fastq.gz\n"
        "P01_urine_D28\tL001\tfastq/P01_urine_D28_L001_R1.fastq.gz\tfastq/P01_urine_D28_L001_R2.fastq.gz\n"
    )
    return {
        "README.md": readme,
        "config.yaml": example_config(),
        "samples.tsv": samples,
        "units.tsv": units,
        "config.schema.json": schema_json(),
    }


if __name__ == "__main__":
    for file, text in pages().items():
        write_text(text, Path(sys.argv[1]) / file)
        print(Path(sys.argv[1]) / file)
