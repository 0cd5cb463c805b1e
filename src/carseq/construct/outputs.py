"""The files of a construct."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from carseq.construct.coverage import CHEMISTRIES, READ_LENGTH, expected_coverage
from carseq.construct.findings import Finding
from carseq.construct.lint import lint
from carseq.construct.model import Construct


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


def assumed_words(construct: Construct) -> str:
    """Return what was assumed of a construct's ends, without full stops; an empty string where nothing was."""
    return " ".join(dict(construct.notes).get("assumed_ends", "").replace(".", "").split())


def genbank(construct: Construct, assumed: str) -> str:
    """Return a construct's transcript as a GenBank record that says which of its ends were assumed.

    Parameters
    ----------
    construct
        The construct.
    assumed
        What was assumed, without a full stop: ``the 3' end is MSGV1's``. :func:`carseq.construct.load_construct` makes
        it a note of the construct, so that lint and report say it too.
    """
    from io import StringIO

    from Bio import SeqIO
    from Bio.Seq import Seq
    from Bio.SeqFeature import FeatureLocation, SeqFeature
    from Bio.SeqRecord import SeqRecord

    words = "SURROGATE. " if construct.surrogate else ""
    record = SeqRecord(
        Seq(construct.sequence),
        id=construct.name,
        name=construct.name[:16],
        description=f"mRNA of {construct.name}, completed by carseq",
    )
    record.annotations.update(
        molecule_type="mRNA", topology="linear", comment=f"{words}ASSUMED ENDS: {assumed}."
    )
    for row in construct.domain_rows:
        place = FeatureLocation(int(row.start), int(row.end), strand=1)
        notes = {"label": [str(row.name)], "note": [str(row.source)]}
        record.features.append(SeqFeature(place, type="misc_feature", qualifiers=notes))
    for start, end in construct.introns:
        record.features.append(SeqFeature(FeatureLocation(start, end, strand=1), type="intron"))
    handle = StringIO()
    SeqIO.write(record, handle, "genbank")
    return handle.getvalue()


def write_construct(
    construct: Construct,
    folder: str | Path,
    findings: list[Finding] | None = None,
    *,
    read_length: int = READ_LENGTH,
    spliced: float | None = None,
) -> None:
    """Write a construct into a folder.

    ``construct.json`` is the derived construct as a whole (:func:`carseq.construct.read_construct` reads it back), so
    that the file of the vector need not be read again. ``construct.fa``, ``construct.gtf`` and ``domains.tsv`` hold its
    transcript, exons and domains. ``coverage.tsv`` says for each base how many of 100 molecules are expected to have a
    read over it, 3' and 5'. ``lint.json`` holds the findings.

    Parameters
    ----------
    construct
        The construct.
    folder
        Made if it is not there.
    findings
        Those of :func:`carseq.construct.lint`; None: they are made.
    read_length
        Of the cDNA read, nt: for the coverage and the findings.
    spliced
        Share of spliced molecules as reads show it; None: a usual one.
    """
    write_transcript(construct, folder)
    write_features(construct, folder, findings, read_length=read_length, spliced=spliced)


def write_transcript(construct: Construct, folder: str | Path) -> None:
    """Write what alignments depend on: ``construct.fa`` and ``construct.gtf``; and the whole as ``construct.json``.

    A construct whose ends come from a known vector is also written as ``construct.gb``, which says so.
    """
    from carseq.io.files import write_text

    folder = Path(folder)
    write_text(construct.to_json(), folder / "construct.json")
    if construct.backbone is not None:
        write_text(genbank(construct, assumed_words(construct)), folder / "construct.gb")
    sequence = "\n".join(textwrap.wrap(construct.sequence, 70))
    write_text(f">{construct.name}\n{sequence}\n", folder / "construct.fa")
    write_text(gtf(construct), folder / "construct.gtf")


def write_features(
    construct: Construct,
    folder: str | Path,
    findings: list[Finding] | None = None,
    *,
    read_length: int = READ_LENGTH,
    spliced: float | None = None,
) -> None:
    """Write ``domains.tsv``, ``coverage.tsv`` and ``lint.json``, as :func:`write_construct` does."""
    import numpy as np
    import pandas as pd

    from carseq.io.files import write_table, write_text
    from carseq.schema.tables import COVERAGE, DOMAINS

    folder = Path(folder)
    write_table(construct.domains, folder / "domains.tsv", DOMAINS)
    expected = {
        f"expected_{key}": expected_coverage(
            construct.transcripts, key, read_length=read_length, spliced=spliced
        )
        for key in CHEMISTRIES
    }
    bases = pd.DataFrame({"base": np.arange(len(construct.sequence)), **expected})
    write_table(bases, folder / "coverage.tsv", COVERAGE)
    if findings is None:
        findings = lint(construct, read_length=read_length, spliced=spliced)
    write_text(json.dumps(findings, indent=1) + "\n", folder / "lint.json")
