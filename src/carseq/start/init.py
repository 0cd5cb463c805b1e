"""A study's configuration and sheets, written from a folder of reads."""

from __future__ import annotations

from pathlib import Path

from carseq.config_docs import example_config
from carseq.construct.library import alternatives_of
from carseq.errors import CarseqError
from carseq.io.files import write_text
from carseq.io.remote import is_url
from carseq.start.folders import find_fastqs


def start_study(
    folder: Path,
    *,
    fastqs: Path | None = None,
    construct: Path | None = None,
    fasta: str | Path | None = None,
    gtf: str | Path | None = None,
    name: str = "CAR",
) -> tuple[list[Path], list[str]]:
    """Write ``config.yaml``, ``samples.tsv`` and ``units.tsv`` into ``folder``.

    Returns
    -------
    written : list of Path
    todo : list of str
        What the user still has to fill in.

    Raises
    ------
    CarseqError
        If a file is there already or no FASTQ pairs are found.
    """
    targets = {n: folder / n for n in ("config.yaml", "samples.tsv", "units.tsv")}
    for path in targets.values():
        if path.exists():
            raise CarseqError(
                f"{path} is there already",
                "nothing was written",
                "move it away or name another folder",
            )
    todo = []
    units = find_fastqs(fastqs) if fastqs else []
    samples = dict.fromkeys(sample for sample, *_ in units) or {"P01_urine_D28": None}
    rows = [f"{s}\tP01\t{_guess(s)}\t\tcase\tauto\n" for s in samples]
    header = "sample\tpatient\tcompartment\ttimepoint\trole\tchemistry\n"
    values: dict[str, object] = {"construct.name": name}
    given = {"construct.file": construct, "reference.fasta": fasta, "reference.gtf": gtf}
    for key, file in given.items():
        if file:
            # An address, or the name of a construct that comes with carseq, is kept as it is.
            there = not is_url(str(file)) and Path(file).exists()
            values[key] = str(Path(file).absolute()) if there else str(file)
        else:
            todo.append(f"fill `{key}` in {targets['config.yaml']}")
    if construct and not Path(construct).exists():
        # A record that comes with carseq names those that the reads should be compared with.
        others = alternatives_of(construct)
        if others:
            values["construct.alternatives"] = others
    if not fastqs:
        units = [("P01_urine_D28", "L001", Path("P01_R1.fastq.gz"), Path("P01_R2.fastq.gz"))]
        todo.append(f"name your FASTQ files in {targets['units.tsv']}")
    todo.append(
        f"fill patient, compartment, timepoint and role (case, negative_control, product) in {targets['samples.tsv']}"
    )
    todo.append(
        "optional: add columns to it, such as `tcr` (T-cell receptors: 10x contig annotations or AIRR), `gating` and "
        "`sequencing_run`; config/README.md explains them"
    )
    lines = [f"{s}\t{u}\t{r1.absolute()}\t{r2.absolute()}\n" for s, u, r1, r2 in units]
    write_text(example_config(values), targets["config.yaml"])
    write_text(header + "".join(rows), targets["samples.tsv"])
    write_text("sample\tunit\tr1\tr2\n" + "".join(lines), targets["units.tsv"])
    return list(targets.values()), todo


def _guess(sample: str) -> str:
    """Return the compartment a sample's name speaks of; urine if none."""
    for word, compartment in (
        ("blood", "blood"),
        ("pbmc", "blood"),
        ("product", "product"),
        ("infusion", "product"),
    ):
        if word in sample.lower():
            return compartment
    return "urine"
