"""The command that packs a finished study for a colleague."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from carseq.cli.options import can_be_written, out


def share(
    results: Annotated[Path, typer.Argument(help="Results folder of a finished run.")],
    to: Annotated[
        Path,
        typer.Option(
            "--to", dir_okay=False, callback=can_be_written, help="The zip file to write."
        ),
    ] = Path("carseq.zip"),
    rename: Annotated[
        bool, typer.Option("--rename", help="Give samples and patients other names.")
    ] = False,
) -> None:
    """Pack report, notebooks and tables for a colleague, without paths of this machine.

    Reads, matrices, the samples sheet and the construct's sequence are not packed. With --rename, pictures in
    notebooks are left out, and a table beside the zip file says which name stands for whom: do not send that table.

    Example: carseq share results --to for_a_colleague.zip --rename
    """
    from carseq.report.share import numbers_of_sheet
    from carseq.report.share import share as pack

    names = pack(results, to, rename=rename)
    out.print(f"wrote {to}", soft_wrap=True, highlight=False)
    if measures := numbers_of_sheet(results):
        out.print(
            f"with the numbers of the samples sheet: {', '.join(measures)}; if one of them tells who a patient is, "
            "take it out of the sheet and run again",
            soft_wrap=True,
            highlight=False,
        )
    if names:
        key = to.with_suffix(".names.tsv")
        out.print(
            f"old and new names: {key} (keep it, do not send it)", soft_wrap=True, highlight=False
        )
