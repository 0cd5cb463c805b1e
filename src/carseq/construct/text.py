"""A construct's map and findings for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from carseq.construct.coverage import CHEMISTRIES, READ_LENGTH, expected_coverage, intended
from carseq.construct.findings import Finding
from carseq.construct.frame import extent, pieces, reading_faults
from carseq.construct.model import Construct
from carseq.schema.percent import plain_percent

if TYPE_CHECKING:
    import pandas as pd

#: Blocks of a sparkline, low to high.
_BARS = " ▁▂▃▄▅▆▇█"
#: Marks of the domains on the map.
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Unnamed stretches shorter than this are not reported, nt.
_MIN_UNNAMED = 30
_LEVELS = {"error": "bold red", "warn": "yellow", "info": "cyan"}


def text_map(
    construct: Construct,
    homology: pd.DataFrame | None = None,
    *,
    chemistry: str = "both",
    read_length: int = READ_LENGTH,
    width: int = 68,
) -> Group:
    """Return the construct's map for a terminal: transcripts, coverage, domains, gaps and reading frame.

    Parameters
    ----------
    construct
        The construct.
    homology
        Its homology with the genome, if known.
    chemistry
        ``3p``, ``5p`` or ``both``: the coverage shown.
    read_length
        Of the cDNA read, nt.
    width
        Columns of the drawing.
    """
    size = len(construct.sequence)
    lines: list[Text | Table] = [
        Text(f"{construct.name}: read as {construct.form}, {size:,} nt, + strand")
    ]
    lines += [
        Text(
            f"  {t.name}: {len(t.sequence):,} nt (exons "
            + ", ".join(f"{a + 1}-{b}" for a, b in t.blocks)
            + ")"
        )
        for t in construct.transcripts
    ]
    if construct.orf:
        start, end = construct.orf
        lines.append(
            Text(f"  reading frame: {start + 1}-{end}, {len(construct.protein)} amino acids")
        )
    whole = intended(construct, extent(construct))
    shown = "unspliced" not in whole.missing
    forms = whole.transcripts if shown else construct.transcripts
    offset = whole.offset if shown else 0
    full = len(forms[0].sequence)
    bins = [
        (full * i // width, max(full * (i + 1) // width, full * i // width + 1))
        for i in range(width)
    ]

    def drawn(symbol_at: dict[tuple[int, int], str]) -> str:
        row = [" "] * width
        for (start, end), symbol in symbol_at.items():
            for i in range((start + offset) * width // full, -(-(end + offset) * width // full)):
                row[i] = symbol
        return "".join(row)

    for key in CHEMISTRIES:
        if chemistry in (key, "both"):
            depth = expected_coverage(forms, key, read_length=read_length)
            top = depth.max()
            bars = "".join(
                _BARS[max(round(8 * depth[a:b].mean() / top), int(depth[a:b].mean() > 0.04 * top))]
                for a, b in bins
            )
            lines.append(Text(f"{key[0]}' reads {bars}", style="blue" if key == "3p" else "red"))
    marks = {(0, size): "-"}
    marks |= {
        (int(d.start), int(d.end)): _LETTERS[i % 26] for i, d in enumerate(construct.domain_rows)
    }
    lines.append(Text("     mRNA " + drawn(marks).replace(" ", "."), style="bold"))
    if construct.orf:
        lines.append(Text("    frame " + drawn({construct.orf: ">"})))
    if homology is not None:
        where = homology[homology["class"] != "car_only"]
        shares = {
            (int(r.start), int(r.end)): "=" if r[3] == "shared" else "~" for r in where.itertuples()
        }
        lines.append(Text("   shared " + drawn(shares), style="yellow"))
    if offset or full - offset > size:
        lines.append(Text("  (dots: what the mRNA has and the file lacks)"))
    lines.append(_domain_table(construct))
    for fault in (f for f in reading_faults(construct) if f.level != "info"):
        lines.append(
            Text(f"  ✗ base {fault.position}: {fault.code.replace('_', ' ')}", style="red")
        )
    return Group(*lines)


def _domain_table(construct: Construct) -> Table:
    """Return the domains, the unnamed stretches between them, and the pieces that are out of frame."""
    size, domains = len(construct.sequence), construct.domain_rows
    table = Table("", "domain", "kind", "start", "end", "identity", "source", box=SIMPLE_HEAD)
    done = 0
    for i, d in enumerate(domains):
        if int(d.start) - done >= _MIN_UNNAMED:
            table.add_row("-", "(gap: unnamed)", "", str(done + 1), str(d.start), "", "")
        identity = "" if d.identity != d.identity else f"{plain_percent(d.identity)}"
        place = (str(int(d.start) + 1), str(int(d.end)))
        table.add_row(_LETTERS[i % 26], str(d.name), str(d.kind), *place, identity, str(d.source))
        done = max(done, int(d.end))
    if size - done >= _MIN_UNNAMED:
        table.add_row("-", "(gap: unnamed)", "", str(done + 1), str(size), "", "")
    known = {d.name for d in domains}
    for p in pieces(construct):
        if p.name not in known:
            table.add_row(
                "!", p.name, f"{p.kind}, out of frame", str(p.start + 1), str(p.end), "", ""
            )
    return table


def text_findings(findings: list[Finding]) -> Group:
    """Return the lint's findings for a terminal, each with what it costs."""
    lines: list[Text | Padding] = []
    for finding in findings:
        costs = [
            f"{n} of 100 {chemistry} UMIs"
            for chemistry, n in (("3'", finding["umis_lost_3p"]), ("5'", finding["umis_lost_5p"]))
            if n
        ]
        head = Text(f"{finding['level']}: {finding['code']}", style=_LEVELS[finding["level"]])
        if costs:
            head.append(f"  costs {' and '.join(costs)}", style="bold")
        what = Text(f"{finding['message']} {finding['remedy']}".strip())
        lines += [head, Padding(what, (0, 0, 0, 2))]
    return Group(*lines)
