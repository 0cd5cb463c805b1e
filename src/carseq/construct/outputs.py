"""The construct on disk: ``construct.fa``, ``construct.gtf``, ``domains.tsv``, ``lint.json``."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from carseq.construct.lint import lint
from carseq.construct.vector import Construct
from carseq.tables import write_table, write_text


def gtf(construct: Construct) -> str:
    """Return the construct's GTF: one gene, one exon for the full transcript, and the spliced form's exons.

    One exon covers the whole transcript, for an exon a domain loses molecules that span two of them; the
    spliced form is a transcript of its own, so that reads across the psi splice count.
    """
    name, length = construct.name, len(construct.sequence)
    common = f'gene_id "{name}"; gene_name "{name}"; gene_type "protein_coding"; gene_biotype "protein_coding";'

    def line(kind: str, start: int, end: int, extra: str = "") -> str:
        return f"{name}\tcarseq\t{kind}\t{start + 1}\t{end}\t.\t+\t.\t{common}{extra}"

    lines = [line("gene", 0, length)]
    for transcript in construct.transcripts:
        extra = f' transcript_id "{name}.{transcript.name}"; transcript_name "{name}.{transcript.name}";'
        lines.append(line("transcript", transcript.blocks[0][0], transcript.blocks[-1][1], extra))
        lines += [
            line("exon", start, end, f'{extra} exon_number "{i}";')
            for i, (start, end) in enumerate(transcript.blocks, 1)
        ]
    return "\n".join(lines) + "\n"


def write_construct(construct: Construct, folder: str | Path) -> None:
    """Write ``construct.fa``, ``construct.gtf``, ``domains.tsv`` and ``lint.json`` into ``folder``."""
    folder = Path(folder)
    sequence = "\n".join(textwrap.wrap(construct.sequence, 70))
    write_text(f">{construct.name}\n{sequence}\n", folder / "construct.fa")
    write_text(gtf(construct), folder / "construct.gtf")
    write_table(construct.domains, folder / "domains.tsv")
    write_text(json.dumps(lint(construct), indent=1) + "\n", folder / "lint.json")
