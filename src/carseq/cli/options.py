"""Options and output that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from carseq.errors import CarseqError

#: Text of files and paths is printed as it is: `[old]` in a name is no style.
out = Console(markup=False)


def _known_name(value: str) -> str:
    """Return the name of a CAR that an option gives; one that no configuration may have is refused."""
    from carseq.study.texts import LONGEST_NAME, NAME

    if not re.fullmatch(NAME, value) or len(value) > LONGEST_NAME:
        raise CarseqError(
            f"{value!r} cannot be the CAR's name",
            "it names a contig, a gene and a row of matrices",
            f"take letters, digits, . _ and - alone, {LONGEST_NAME} at most",
        )
    return value


def can_be_written(path: Path | None) -> Path | None:
    """Return a file or folder that an option says to write; what cannot be written is refused before the work.

    Raises
    ------
    CarseqError
        If the folder that it goes into may not be written to.
    """
    if path is None:
        return None
    place = path if path.is_dir() else path.absolute().parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        raise CarseqError(
            f"{path} cannot be written",
            f"you may not write to {place}, or its disk is read-only",
            "name another place",
        )
    return path


def keep_inputs(given: Iterable[Path], written: Iterable[Path]) -> None:
    """Refuse to write over a file that is read.

    Parameters
    ----------
    given
        Files that are read.
    written
        Files that would be written.

    Raises
    ------
    CarseqError
        If one of them is the same file.
    """
    own = {os.path.realpath(path) for path in given}
    for path in written:
        if path.exists() and os.path.realpath(path) in own:
            raise CarseqError(
                f"{path} would be written over",
                "it is a file that is read here, and what else it holds would be lost",
                "name another file or folder to write to",
            )


ConstructFile = Annotated[Path, typer.Option("--construct", help="GenBank or FASTA of the vector.")]
Name = Annotated[
    str,
    typer.Option(
        "--name",
        help="Name of the CAR: its contig, its gene, its row in a matrix.",
        callback=_known_name,
    ),
]
Form = Annotated[
    str,
    typer.Option(help="What the file holds: auto, plasmid, provirus, transcript, orf or partial."),
]


def known_form(value: str) -> Any:
    """Return the form of a construct's file that an option names.

    Raises
    ------
    CarseqError
        If there is no such form.
    """
    from typing import get_args

    from carseq.study.construct_file import Form as known_forms

    known = get_args(known_forms)
    if value not in known:
        raise CarseqError(f"unknown form {value!r}", "", f"use one of {', '.join(known)}")
    return value


def print_found(
    found: Iterable[tuple[str, Any]], console: Console = out, *, well: bool = True
) -> int:
    """Print what was looked at, each as it comes, and return how many are wrong.

    Parameters
    ----------
    found
        What was looked at, and how it is: a text, a note, or an error.
    console
        Where to print.
    well
        Whether what is well is printed too.
    """
    from carseq.start.note import Note

    wrong = 0
    for what, result in found:
        if isinstance(result, CarseqError):
            wrong += 1
            console.print(f"[red]✗[/] {escape(what)}", markup=True, highlight=False)
            console.print(str(result), markup=False, highlight=False, soft_wrap=True)
        elif well or isinstance(result, Note):
            mark = "[yellow]![/]" if isinstance(result, Note) else "[green]✓[/]"
            told = f"{mark} {escape(f'{what}: {result}')}"
            console.print(told, markup=True, highlight=False, soft_wrap=True)
    return wrong


def print_verdicts(detection: Any) -> None:
    """Print a table of the samples, and each verdict in words."""
    from carseq.figures.phrases import few_words, verdict_words
    from carseq.schema.percent import percent, percent_range

    table = Table(
        "sample", "T cells", "called", "CAR T share", "verdict", title="Are there CAR T cells?"
    )
    table.columns[0].no_wrap = table.columns[-1].no_wrap = True
    for row in detection.itertuples():
        known = row.n_t_cells > 0
        interval = percent_range(row.prevalence_low, row.prevalence_high) if known else ""
        # The estimate of an undetermined sample is what the prior makes of it.
        if known and row.verdict != "undetermined":
            interval = f"{percent(row.prevalence)} ({interval})"
        colour = (
            "green"
            if row.verdict == "detected"
            else "yellow"
            if row.verdict == "undetermined"
            else "default"
        )
        table.add_row(
            row.sample,
            str(row.n_t_cells),
            str(row.n_car_positive),
            interval,
            Text(verdict_words(row)[0].removeprefix("CAR T cells ").lower(), style=colour),
        )
    out.print(table)
    for row in detection.itertuples():
        few = few_words(row)
        out.print(
            f"{row.sample}: {row.verdict.replace('_', ' ')}; {row.verdict_text}{f'. {few}' if few else ''}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )
