"""`carseq construct`: the library, a construct's map, and the consensus of its reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from carseq.cli.options import Form, Name, can_be_written, keep_inputs, known_form, out
from carseq.errors import CarseqError
from carseq.schema.percent import plain_percent

if TYPE_CHECKING:
    import pandas as pd

    from carseq.construct.findings import Finding
    from carseq.construct.model import Construct


class _FileFirst(TyperGroup):
    """A group whose command `map` may be left out: `carseq construct FILE` is `carseq construct map FILE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `map` before words that name no command; a file that is called like one is a file."""
        named = bool(args) and args[0] in self.commands and not Path(args[0]).is_file()
        if args and not named and args[0] not in ctx.help_option_names:
            args = ["map", *args]
        return super().parse_args(ctx, args)


construct = typer.Typer(
    name="construct",
    cls=_FileFirst,
    no_args_is_help=True,
    help="Show the transcript a vector gives: `carseq construct FILE` is `carseq construct map FILE`, whose options "
    "(--form, --chemistry, --out and more) `carseq construct map --help` lists.",
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConstructOf = Annotated[
    str,
    typer.Argument(
        metavar="FILE",
        help="GenBank, SnapGene or FASTA of the vector, or a name from the library (`carseq construct list`).",
    ),
]
Chemistry = Annotated[
    str, typer.Option(help="3p, 5p or both: whose coverage and losses are shown.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        file_okay=False,
        callback=can_be_written,
        help="Write construct.json, .fa, .gtf, .svg, .png, domains.tsv, coverage.tsv, lint.json here.",
    ),
]
Fasta = Annotated[
    Path | None, typer.Option(help="Genome FASTA: with --gtf, the homology is shown too.")
]
Gtf = Annotated[Path | None, typer.Option(help="Gene annotation of that genome.")]
Backbone = Annotated[
    str | None,
    typer.Option(
        help="Name of a known vector (MSGV1, SFG, pHR-SFFV, ...) whose ends complete a frame or a piece."
    ),
]


@construct.command("list")
def list_library() -> None:
    """List the constructs that come with carseq."""
    from carseq.construct.library import library

    table = Table("name", "what", "length", "kind")
    for entry in library():
        table.add_row(entry.name, entry.description, f"{entry.length} nt", entry.kind)
    out.print(table)
    out.print("put a name into `construct.file`, or see one: carseq construct show NAME")


@construct.command()
def show(
    record: Annotated[str, typer.Argument(metavar="NAME", help="Name of a construct of the list.")],
    name: Name = "CAR",
    form: Form = "auto",
    chemistry: Chemistry = "both",
    to: Out = None,
    fasta: Fasta = None,
    gtf: Gtf = None,
) -> None:
    """Show a construct that comes with carseq: what is known of it, and its map.

    Example: carseq construct show ide-cel
    """
    from carseq.construct.library import library
    from carseq.study.construct_file import find_construct_file

    records = {entry.name: entry for entry in library()}
    # What lies in this folder under that name is not meant.
    found = records.get(Path(find_construct_file(record, Path(os.devnull))).stem)
    if found is None:
        raise CarseqError(
            f"no construct named {record!r} comes with carseq",
            "",
            f"name one of {', '.join(records)}",
        )
    out.print(f"{found.name}: {found.description}")
    out.print(found.comment, markup=False)
    show_map(str(found.path), name, form, chemistry, to, None, fasta, gtf)


@construct.command("map")
def show_map(
    file: ConstructOf,
    name: Name = "CAR",
    form: Form = "auto",
    chemistry: Chemistry = "both",
    to: Out = None,
    backbone: Backbone = None,
    fasta: Fasta = None,
    gtf: Gtf = None,
    bam: Annotated[
        Path | None,
        typer.Option(help="BAM with the CAR's contig: where do its reads disagree with the file?"),
    ] = None,
    correct: Annotated[
        Path | None, typer.Option(help="With --bam: write the corrected transcript (FASTA) here.")
    ] = None,
    extend: Annotated[
        Path | None,
        typer.Option(
            help="With --bam: write the construct with the ends that the reads show (GenBank) here."
        ),
    ] = None,
) -> None:
    """Show the transcript of a vector: its map, what its faults cost, and where reads will fall.

    A file that holds no CAR is refused, with what it holds instead. The exit code is also 1 if a finding is an error.
    FILE#name takes one of several records.

    Examples: carseq construct pMSGV-BCMA.gb --chemistry 5p --out construct; carseq construct list;
    carseq construct show ide-cel; carseq construct orf.fa --backbone MSGV1 --out construct
    """
    from carseq.construct.genes import human_parts
    from carseq.construct.library import relatives
    from carseq.construct.lint import lint
    from carseq.construct.text import text_findings, text_map
    from carseq.construct.vector import load_construct
    from carseq.study.construct_file import find_construct_file, split_record

    if chemistry not in ("3p", "5p", "both"):
        raise CarseqError(f"unknown chemistry {chemistry!r}", "", "use 3p, 5p or both")
    if (fasta is None) != (gtf is None):
        raise CarseqError("the homology needs genome and genes", "", "give both --fasta and --gtf")
    if (correct or extend) and bam is None:
        option = "--correct" if correct else "--extend"
        raise CarseqError(f"{option} needs the reads", "", "give --bam as well")
    if bam is not None and not bam.is_file():
        raise CarseqError(f"there is no BAM {bam}", "", "check the path")
    source = find_construct_file(file, Path())
    folder = [to / f"construct.{kind}" for kind in ("gb", "fa", "gtf", "json")] if to else []
    keep_inputs([split_record(source)[0]], [*folder, *filter(None, (correct, extend))])
    found = load_construct(source, name=name, form=known_form(form), backbone=backbone)
    homologs = shared = None
    if fasta and gtf:
        from carseq.construct.homology import homology
        from carseq.reference.genome import of_mrna
        from carseq.reference.resembling import find_homologs

        homologs = of_mrna(find_homologs(found, fasta, gtf, own=found.name)[0])
        shared = homology(found.sequence, homologs)
    out.print(text_map(found, shared, chemistry=chemistry), highlight=False)
    spliced = _spliced(found, bam) if bam else None
    findings = lint(found, chemistry, rivals=homologs, spliced=spliced)  # type: ignore[arg-type]
    if findings:
        out.print(text_findings(findings))
    if homologs is None and (parts := human_parts(found, relatives())):
        named = ", ".join(dict.fromkeys(f"{part.name} ({part.gene})" for part in parts))
        out.print(
            f"parts of human genes that were not compared: {named}; --fasta and --gtf show whether reads are shared",
            highlight=False,
        )
    if shared is not None:
        for row in shared[shared["class"] != "car_only"].itertuples():
            what = f"{row[3]} with {row.gene}, identity {plain_percent(row.identity)}"
            out.print(f"  {row.start + 1}-{row.end}: {what}", highlight=False)
    if to:
        _write(found, to, findings, shared, spliced, chemistry)
    elif found.backbone is not None:
        out.print(
            "nothing was written: --out FOLDER writes the construct with these ends, construct.gb"
        )
    if bam:
        _ends_in_reads(found, bam, extend)
        if extend and not correct and not _has_contig(bam, found.name):
            out.print(f"{bam} has no contig {found.name}: its reads are not compared with the file")
        else:
            _consensus(found, bam, correct)
    if any(finding["level"] == "error" for finding in findings):
        raise typer.Exit(1)


def _has_contig(bam: Path, name: str) -> bool:
    from carseq.io.bam import open_bam

    with open_bam(bam) as alignments:
        return name in alignments.references


def _spliced(found: Construct, bam: Path) -> float | None:
    """Print how many molecules of a BAM show the CAR's mRNA spliced; return their share, None if too few show it."""
    from carseq.construct.splicing import splicing_of_bam

    seen = splicing_of_bam(found, bam)
    if seen is None:
        return None
    n = seen.n_spliced + seen.n_unspliced
    used = "" if seen.share is not None else " (too few to use)"
    out.print(f"spliced: {seen.n_spliced} of {n} molecules that show it{used}", highlight=False)
    return seen.share


def _write(
    found: Construct,
    to: Path,
    findings: list[Finding],
    shared: pd.DataFrame | None,
    spliced: float | None,
    chemistry: str,
) -> None:
    """Write the construct's files, with the homology if it was computed, and say which."""
    # What draws is loaded only when something is drawn.
    from carseq.construct.outputs import write_construct
    from carseq.figures.output import write_map

    write_construct(found, to, findings, spliced=spliced)
    write_map(found, to, shared, chemistry=chemistry)
    if shared is not None:
        from carseq.construct.homology import homology_bed
        from carseq.io.files import write_table, write_text
        from carseq.schema.tables import HOMOLOGY

        write_table(shared, to / "homology.tsv", HOMOLOGY)
        write_text(homology_bed(shared, found.name), to / "homology.bed")
    out.print(
        f"wrote construct.json, .fa, .gtf, .svg, .png, domains.tsv, coverage.tsv and lint.json to {to}",
        soft_wrap=True,
    )
    if found.backbone is not None:
        out.print(
            f"give {to / 'construct.gb'} as `construct.file`: it says which ends are {found.backbone}'s",
            soft_wrap=True,
        )


@construct.command()
def consensus(
    file: ConstructOf,
    bam: Annotated[Path, typer.Argument(help="Sorted, indexed BAM with the CAR's contig.")],
    name: Name = "CAR",
    form: Form = "auto",
    correct: Annotated[
        Path | None, typer.Option(help="Write the corrected transcript (FASTA) here.")
    ] = None,
) -> None:
    """Say where the reads of a BAM disagree with the construct's file.

    Example: carseq construct consensus my_plasmid.gb aligned.bam --correct corrected.fa
    """
    from carseq.construct.vector import load_construct
    from carseq.study.construct_file import find_construct_file, split_record

    source = find_construct_file(file, Path())
    keep_inputs([split_record(source)[0]], [correct] if correct else [])
    _consensus(load_construct(source, name=name, form=known_form(form)), bam, correct)


def _ends_in_reads(found: Any, bam: Path, to: Path | None) -> None:
    """Print what the reads show beyond the construct's unknown ends, and write the construct with them."""
    from carseq.construct.backbones import likeliest
    from carseq.construct.extend import extend, extended, reads_beyond, without_genes
    from carseq.construct.genes import part_at_end
    from carseq.construct.library import relatives
    from carseq.construct.outputs import assumed_words, genbank
    from carseq.io.files import write_text

    wanted = [
        (end, prime)
        for end, prime, one in (("five", "5'", found.five), ("three", "3'", found.three))
        if one is not None and not one.known
    ]
    if to and (found.orf is None or found.form == "partial"):
        raise CarseqError(
            "reads extend a whole reading frame",
            f"{found.name} is read as {found.form}: what lies beside a part of a CAR is the CAR's own, not its ends",
            "give the CAR's whole frame, or leave out --extend",
        )
    if not wanted or found.orf is None or found.form == "partial":
        if to:
            raise CarseqError("both ends of the construct are known", "", "leave out --extend")
        return
    known = relatives()
    reads = without_genes(reads_beyond(bam, found.name), found.sequence, known.values())
    seen = {end: extend(found.sequence, reads, end=end) for end, _ in wanted}
    for end, prime in wanted:
        one = seen[end]
        if one.sequence:
            what = f": {', '.join(one.parts)}" if one.parts else ""
            out.print(
                f"beyond the {prime} end the reads show {len(one.sequence)} nt, each in {min(one.support)} "
                f"molecules or more{what} ({one.why})",
                highlight=False,
            )
            part = part_at_end(found, end)
            if part is not None and part.gene not in known and not one.parts:
                out.print(
                    f"the reading frame has {part.name} at that end: if the file has the codons of {part.gene}, these "
                    "bases may be that gene's own; compare them with its mRNA",
                    highlight=False,
                )
        else:
            out.print(f"beyond the {prime} end the reads show nothing ({one.why})", highlight=False)
    if not any(one.sequence for one in seen.values()):
        if to:
            out.print(f"{to} was not written")
        return
    longer = extended(found, seen.get("five"), seen.get("three"))
    vector = likeliest(longer)
    if vector is not None:
        out.print(
            f"the likeliest vector is {vector.backbone.name}: --backbone {vector.backbone.name}",
            highlight=False,
        )
    if to:
        write_text(genbank(longer, assumed_words(longer)), to)
        out.print(f"wrote {to}: give it as `construct.file`")


def _consensus(found: Any, bam: Path, correct: Path | None) -> None:
    """Print where the reads disagree with a construct, and write the corrected transcript."""
    import textwrap

    from carseq.io.files import write_text
    from carseq.molecules import consensus
    from carseq.molecules.consensus import MIN_DEPTH, corrected

    variants = consensus(bam, found)
    bases = f"{variants.attrs['callable_bases']:,} of {len(found.sequence):,} bases"
    out.print(f"the reads cover {bases} with {MIN_DEPTH} molecules or more", highlight=False)
    spliced = variants[variants["kind"] == "intron"]
    for row in spliced.itertuples():
        first, last = row.position + 1, row.position + len(row.ref)
        out.print(
            f"{round(row.support * row.depth)} of {row.depth} molecules lack bases {first:,}-{last:,}: an intron that "
            "the construct does not know; before the CAR's frame, mark it in the map as a feature `intron`",
            highlight=False,
        )
    variants = variants.drop(spliced.index)
    if len(variants):
        table = Table(
            "base", "kind", "file", "reads", "molecules", "support", title="disagreements"
        )
        for row in variants.itertuples():
            cells = (row.kind, row.ref, row.alt, str(row.depth), f"{plain_percent(row.support)}")
            table.add_row(str(row.position + 1), *cells)
        out.print(table)
    elif variants.attrs["callable_bases"]:
        out.print("they agree with the file there")
    else:
        out.print("they are too few to compare with the file")
    if correct and not len(variants):
        out.print(f"there is nothing to correct: {correct} was not written", soft_wrap=True)
    elif correct:
        bases = "\n".join(textwrap.wrap(corrected(found, variants), 70))
        words = f"corrected by {len(variants)} variants{_said_of(found)}"
        write_text(f">{found.name} {words}\n{bases}\n", correct)
        if lost := _only_in_the_map(found, correct):
            out.print(
                f"wrote {correct}, which lacks {lost}: the map's features alone tell them. Correct the map by these "
                "bases, and give that as `construct.file`",
                soft_wrap=True,
            )
        else:
            out.print(f"wrote {correct}: give it as `construct.file` and run again", soft_wrap=True)


def _said_of(found: Construct) -> str:
    """Return what stays true of a construct when its bases are corrected, in words that are read again."""
    from carseq.construct.outputs import assumed_words

    assumed = assumed_words(found)
    said = " SURROGATE." if found.surrogate else ""
    return said + (f" ASSUMED ENDS: {assumed}." if assumed else "")


def _only_in_the_map(found: Construct, bases: Path) -> str:
    """Return what a construct has that its bases alone, in a file, do not show; in words, or an empty string."""
    from carseq.construct.vector import load_construct

    try:
        again = load_construct(bases, name=found.name)
    except CarseqError:
        return "what makes it a CAR's"
    ends = [
        f"its {prime} end"
        for prime, own, other in (("5'", found.five, again.five), ("3'", found.three, again.three))
        if own is not None and own.known and not (other is not None and other.known)
    ]
    introns = ["its introns"] if len(again.introns) < len(found.introns) else []
    return " and ".join(introns + ends)
