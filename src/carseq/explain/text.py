"""The evidence for one cell as text and files."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from carseq.explain.model import CellEvidence
from carseq.explain.phrases import probability
from carseq.explain.pileup import WIDTH, draw
from carseq.io.bam import write_bam
from carseq.io.files import write_table, write_text
from carseq.schema.tables import EVIDENCE

_LEGEND = (
    "Each read is laid on the transcript below its bases: . the same base, a letter another one, - a missing one, "
    "small letters in an end that the score leaves out. Scores are log-odds (nats) against random bases: the "
    "transcript with the higher score explains the read better, 4.6 more is a hundred times, equal scores decide "
    "nothing."
)


def show(evidence: CellEvidence, console: Console) -> None:
    """Print the evidence: the cell, its posterior, its molecules, its reads.

    Parameters
    ----------
    evidence
        Of :func:`explain`.
    console
        Where to; its width cuts the alignments into blocks.
    """

    def text(line: str, style: str = "") -> None:
        console.print(Text(line, style=style))

    text(f"{evidence.sample}:{evidence.barcode}", "bold")
    text(evidence.words)
    console.print()
    text("1. The cell", "bold")
    console.print(_rich(evidence.facts, header=False))
    text("2. The posterior, term by term", "bold")
    if evidence.terms.empty:
        text("  none: only cells have one\n")
    else:
        console.print(_rich(_term_rows(evidence.terms)))
        if "posterior" not in set(evidence.terms["term"]):
            text("  no posterior: only T cells that are not doublets have one\n")
    text("3. CAR molecules of this barcode", "bold")
    nothing = "  not known: the sample came as a matrix" if evidence.of_matrix else "  none"
    if evidence.molecules.empty:
        text(f"{nothing}\n")
    else:
        console.print(_rich(_molecule_rows(evidence.molecules)))
        if not evidence.molecules["counted"].all():
            text("  NO: rather the gene's than the CAR's (p_car below 0.5)\n")
    text("4. Its reads", "bold")
    if evidence.alignments:
        text(_LEGEND)
    else:
        text(f"{nothing}\n")
    for alignment in evidence.alignments:
        console.print()
        text(f"molecule {alignment.umi}: {alignment.words}", "bold cyan")
        for line in alignment.reads:
            text(f"  {line}")
        for pileup in alignment.pileups:
            text(f"  {pileup.title}", "cyan")
            console.print(Text(draw(pileup, console.width)), soft_wrap=True)
    if evidence.notes:
        console.print()
    for note in evidence.notes:
        text(f"note: {note}", "yellow")


def _term_rows(terms: pd.DataFrame) -> pd.DataFrame:
    """Return the terms as they are printed."""
    is_probability = terms["term"].isin(
        ["chance that these two show so many", "prior", "posterior"]
    )
    values = [
        probability(value) if certain else f"{value:.3g}"
        for value, certain in zip(terms["value"], is_probability, strict=True)
    ]
    return terms.assign(value=values)


def _molecule_rows(molecules: pd.DataFrame) -> pd.DataFrame:
    """Return the molecules as they are printed."""
    return pd.DataFrame(
        {
            "umi": molecules["umi"],
            "reads": molecules["n_reads"].astype(str),
            "evidence": molecules["evidence"],
            "p_car": [f"{p:.2g}" if p == p else "" for p in molecules["p_car"]],
            "on the CAR": [f"{a + 1}-{b}" for a, b in zip(molecules["tx_start"], molecules["tx_end"], strict=True)],
            "domains": molecules["domains"].str.replace(",", ", "),
            "edits": molecules["edits"].astype(str),
            "gene": molecules["endogenous_gene"],
            "source": molecules["source"],
            "counts": np.where(molecules["counted"], "yes", "NO"),
        }
    )  # fmt: skip


def _rich(table: pd.DataFrame, *, header: bool = True) -> Table:
    shown = Table(box=box.SIMPLE, show_header=header, pad_edge=False)
    for i, name in enumerate(table.columns):
        shown.add_column(name, no_wrap=i == 0, style="bold" if i == 0 and not header else "")
    for row in table.itertuples(index=False):
        shown.add_row(*(Text(str(value)) for value in row))
    return shown


def write_evidence(evidence: CellEvidence, folder: str | Path, *, width: int = WIDTH) -> list[Path]:
    """Write the evidence: ``evidence.txt``, ``molecules.tsv``, and ``reads.bam`` with its index.

    Parameters
    ----------
    evidence
        Of :func:`explain`.
    folder
        Made if it is not there.
    width
        Characters of a line of the text.

    Returns
    -------
    list of pathlib.Path
        The files written; no BAM for a sample without reads.
    """
    folder = Path(folder)
    text = StringIO()
    show(evidence, Console(file=text, width=width, color_system=None, markup=False))
    written = [folder / "evidence.txt", folder / "molecules.tsv"]
    write_text(text.getvalue(), written[0])
    write_table(evidence.molecules, written[1], EVIDENCE)
    if evidence.header is not None:
        bam = folder / "reads.bam"
        written += [bam, write_bam(evidence.records, evidence.header, bam)]
    return written
