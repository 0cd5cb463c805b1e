"""carseq's command line: thin over the rooms' functions."""

from __future__ import annotations

import atexit
import gc
import importlib
import sys
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from carseq import __version__
from carseq.errors import CarseqError
from carseq.log import to_console
from carseq.schema.thresholds import FDR

app = typer.Typer(
    name="carseq",
    help="Are there CAR T cells in this urine, which cells are they, and how sure are we?\n\n"
    "A study is run by Snakemake: `snakemake --configfile my.yaml --cores 8`. "
    "Begin with `carseq init`, then `carseq check`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Console()

ConstructFile = Annotated[Path, typer.Option("--construct", help="GenBank or FASTA of the vector.")]
Name = Annotated[str, typer.Option("--name", help="Name of the CAR in the reference.")]
Form = Annotated[str, typer.Option(help="auto, plasmid, provirus, transcript, orf or partial.")]


def _version(value: bool) -> None:
    if value:
        print(f"carseq {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    to_console()


@app.command()
def init(
    folder: Annotated[
        Path, typer.Argument(help="Folder for config.yaml, samples.tsv and units.tsv.")
    ] = Path(),
    fastqs: Annotated[
        Path | None,
        typer.Option(
            help="Folder of FASTQ files named SAMPLE_S1_L001_R1_001.fastq.gz; fills both sheets."
        ),
    ] = None,
    cellranger: Annotated[
        list[Path] | None,
        typer.Option(
            help="RUN/outs of Cell Ranger (count, multi or aggr): fills BAM, matrices and receptors; may be repeated."
        ),
    ] = None,
    matrices: Annotated[
        Path | None,
        typer.Option(help="Folder of count matrices (h5, h5ad, mtx), one or two a sample."),
    ] = None,
    construct: Annotated[Path | None, typer.Option(help="GenBank or FASTA of your vector.")] = None,
    fasta: Annotated[str | None, typer.Option(help="Genome FASTA, or its address.")] = None,
    gtf: Annotated[
        str | None, typer.Option(help="Gene annotation of the same genome, or its address.")
    ] = None,
    name: Name = "CAR",
) -> None:
    """Write a configuration and sheets to start from.

    Examples: carseq init study --fastqs run42/ --construct pMSGV-BCMA.gb --fasta GRCh38.fa --gtf genes.gtf;
    carseq init study --cellranger P01/outs --construct pMSGV-BCMA.gb --fasta GRCh38.fa --gtf genes.gtf;
    carseq init study --matrices GSE1/ --name CAR
    """
    from carseq.start.init import start_study

    written, todo = start_study(
        folder,
        fastqs=fastqs,
        cellranger=cellranger or (),
        matrices=matrices,
        construct=construct,
        fasta=fasta,
        gtf=gtf,
        name=name,
    )
    for path in written:
        out.print(f"wrote {path}")
    for line in todo:
        out.print(f"  to do: {line}")
    out.print(f"then: carseq check {folder / 'config.yaml'}")


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="Configuration of the study.")],
) -> None:
    """Check configuration, sheets, files, construct, reference and chemistry, in a minute or so.

    Nothing is written; every fault found is told with what to do about it.
    """
    from carseq.start.check import check_study
    from carseq.start.samples import Note

    faults = 0
    for what, result in check_study(config):
        if isinstance(result, CarseqError):
            faults += 1
            out.print(f"[red]✗[/] {escape(what)}", highlight=False)
            out.print(str(result), markup=False, highlight=False, soft_wrap=True)
            continue
        mark = "[yellow]![/]" if isinstance(result, Note) else "[green]✓[/]"
        out.print(f"{mark} {escape(f'{what}: {result}')}", highlight=False, soft_wrap=True)
    if faults:
        out.print(f"{faults} fault{'s' if faults > 1 else ''}")
        raise typer.Exit(1)
    out.print(f"all well; run it: snakemake --configfile {config} --cores 8")


@app.command()
def construct(
    file: Annotated[
        str,
        typer.Argument(
            help="GenBank, SnapGene or FASTA of the vector, or a name from the library; `list` shows the library, "
            "`show NAME` one of its records."
        ),
    ],
    which: Annotated[
        str | None, typer.Argument(metavar="NAME", help="With `show`: the record's name.")
    ] = None,
    name: Name = "CAR",
    form: Form = "auto",
    chemistry: Annotated[
        str, typer.Option(help="3p, 5p or both: whose coverage and losses are shown.")
    ] = "both",
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Write construct.json, .fa, .gtf, .svg, .png, domains.tsv, coverage.tsv, lint.json here.",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Name of a known vector (MSGV1, SFG, pHR-SFFV, ...) whose ends complete a frame or a piece."
        ),
    ] = None,
    fasta: Annotated[
        Path | None, typer.Option(help="Genome FASTA: with --gtf, the homology is shown too.")
    ] = None,
    gtf: Annotated[Path | None, typer.Option(help="Gene annotation of that genome.")] = None,
    bam: Annotated[
        Path | None,
        typer.Option(help="BAM with the CAR's contig: where do its reads disagree with the file?"),
    ] = None,
    correct: Annotated[
        Path | None, typer.Option(help="With --bam: write the corrected transcript (FASTA) here.")
    ] = None,
) -> None:
    """Show the transcript a vector gives: its map, what its faults cost, where reads will fall.

    A file that holds no CAR is refused with what it holds; exit code 1 also follows a finding of level error.
    FILE#name takes one of several records.

    Examples: carseq construct pMSGV-BCMA.gb --chemistry 5p --out construct; carseq construct list;
    carseq construct show ide-cel; carseq construct orf.fa --backbone MSGV1 --out construct
    """
    from carseq.construct.lint import lint
    from carseq.construct.outputs import text_findings, text_map
    from carseq.construct.vector import load_construct
    from carseq.study.config import find_construct_file

    if chemistry not in ("3p", "5p", "both"):
        raise CarseqError(f"unknown chemistry {chemistry!r}", "", "use 3p, 5p or both")
    if (fasta is None) != (gtf is None):
        raise CarseqError("the homology needs genome and genes", "", "give both --fasta and --gtf")
    if correct and bam is None:
        raise CarseqError("--correct needs the reads", "", "give --bam as well")
    if file in {"list", "show"} and not Path(file).exists():
        file = _library(file, which)
        if not file:
            return
    elif which is not None:
        raise CarseqError(f"one file at a time, not {file} and {which}", "", "name one of them")
    source = find_construct_file(file, Path())
    found = load_construct(source, name=name, form=_form(form), backbone=backbone)
    relatives = shared = None
    if fasta and gtf:
        from carseq.construct.homology import homology, rivals
        from carseq.reference.genome import read_transcripts

        relatives = rivals(found.sequence, read_transcripts(fasta, gtf))
        shared = homology(found.sequence, relatives)
    out.print(text_map(found, shared, chemistry=chemistry), highlight=False)
    findings = lint(found, chemistry, rivals=relatives)  # type: ignore[arg-type]
    if findings:
        out.print(text_findings(findings))
    if shared is not None:
        for row in shared[shared["class"] != "car_only"].itertuples():
            what = f"{row[3]} with {row.gene}, identity {row.identity:.0%}"
            out.print(f"  {row.start + 1}-{row.end}: {what}", highlight=False)
    if to:
        # What draws is loaded only if it is asked for.
        from carseq.construct.outputs import write_construct
        from carseq.figures.output import write_map

        write_construct(found, to, findings)
        write_map(found, to, shared, chemistry=chemistry)
        if shared is not None:
            from carseq.construct.homology import homology_bed
            from carseq.io.files import write_table, write_text
            from carseq.schema.tables import HOMOLOGY

            write_table(shared, to / "homology.tsv", HOMOLOGY)
            write_text(homology_bed(shared, found.name), to / "homology.bed")
        out.print(f"wrote construct.json, .fa, .gtf, .svg, .png, domains.tsv and lint.json to {to}")
        if found.backbone is not None:
            out.print(
                f"give {to / 'construct.gb'} as `construct.file`: it says which ends are {found.backbone}'s"
            )
    if bam:
        _consensus(found, bam, correct)
    if any(finding["level"] == "error" for finding in findings):
        raise typer.Exit(1)


def _consensus(found: Any, bam: Path, correct: Path | None) -> None:
    """Print where the reads disagree with a construct, and write the corrected transcript."""
    import textwrap

    from carseq.io.files import write_text
    from carseq.molecules import consensus
    from carseq.molecules.consensus import corrected

    variants = consensus(bam, found)
    told = f"{variants.attrs['callable_bases']:,} of {len(found.sequence):,} bases"
    out.print(f"the reads cover {told} with 10 molecules or more", highlight=False)
    if len(variants):
        table = Table(
            "base", "kind", "file", "reads", "molecules", "support", title="disagreements"
        )
        for row in variants.itertuples():
            cells = (row.kind, row.ref, row.alt, str(row.depth), f"{row.support:.0%}")
            table.add_row(str(row.position + 1), *cells)
        out.print(table)
    else:
        out.print("they agree with the file there")
    if correct:
        bases = "\n".join(textwrap.wrap(corrected(found, variants), 70))
        write_text(f">{found.name} corrected by {len(variants)} variants\n{bases}\n", correct)
        out.print(f"wrote {correct}: give it as `construct.file` and run again")


def _library(what: str, which: str | None) -> str:
    """Print the library (list) or the words of one record (show); return the record's file, or nothing."""
    from carseq.construct.library import library

    records = {entry.name: entry for entry in library()}
    if what == "list":
        table = Table("name", "what", "length", "kind")
        for entry in records.values():
            table.add_row(entry.name, entry.description, f"{entry.length} nt", entry.kind)
        out.print(table)
        out.print("put a name into `construct.file`, or see one: carseq construct show NAME")
        return ""
    wanted = next((e for n, e in records.items() if which and n.lower() == which.lower()), None)
    if wanted is None:
        raise CarseqError(
            f"no construct named {which!r} comes with carseq" if which else "show which construct?",
            "",
            f"name one of {', '.join(records)}",
        )
    out.print(f"{wanted.name}: {wanted.description}")
    out.print(wanted.comment, markup=False)
    return str(wanted.path)


def _form(value: str) -> Any:
    from typing import get_args

    from carseq.study.config import Form as known_forms

    known = get_args(known_forms)
    if value not in known:
        raise CarseqError(f"unknown form {value!r}", "", f"use one of {', '.join(known)}")
    return value


@app.command()
def quicklook(
    files: Annotated[
        list[Path], typer.Argument(help="R1 and R2 (of each lane in turn), or a folder of FASTQs.")
    ],
    construct: ConstructFile,
    to: Annotated[Path, typer.Option("--out", help="Folder for tables and pictures.")] = Path(
        "quicklook"
    ),
    name: Name = "CAR",
    form: Form = "auto",
    sample: Annotated[str, typer.Option(help="Name of the sample (not with a folder).")] = "sample",
    chemistry: Annotated[
        str, typer.Option(help="auto, 10x_3p_v2/v3/v4, 10x_5p_v1/v2/v3 or a STARsolo geometry.")
    ] = "auto",
    whitelist: Annotated[Path | None, typer.Option(help="Barcode list.")] = None,
) -> None:
    """Look for CAR molecules straight in FASTQ files, without a genome: minutes before the night's run.

    Tells how many CAR molecules each barcode has, and which lie where a human gene reads the same. It cannot know
    which barcodes are T cells, nor what ambient RNA explains: for a verdict, run the workflow.

    Example: carseq quicklook S1_L001_R1_001.fastq.gz S1_L001_R2_001.fastq.gz --construct my_plasmid.gb
    """
    from carseq.construct import load_construct
    from carseq.quicklook import quicklook as look
    from carseq.quicklook import write_look
    from carseq.start.folders import fastq_pairs
    from carseq.study.config import find_construct_file

    car = load_construct(find_construct_file(str(construct), Path()), name=name, form=_form(form))
    pairs: dict[str, list[tuple[Path, Path]]] = {}
    if len(files) == 1 and files[0].is_dir():
        held = fastq_pairs(files[0])
        for line in held.told:
            out.print(line, highlight=False, markup=False, soft_wrap=True)
        for found, _, r1, r2 in held.units:
            pairs.setdefault(found, []).append((r1, r2))
    elif len(files) % 2:
        raise CarseqError(
            "the FASTQ files do not pair up",
            f"{len(files)} {'were' if len(files) > 1 else 'was'} given",
            "give R1 and R2 of each lane in turn, or one folder",
        )
    else:
        pairs[sample] = list(zip(files[::2], files[1::2], strict=True))
    # What draws is loaded while files are read.
    Thread(target=importlib.import_module, args=("carseq.figures",)).start()
    for own, fastqs in pairs.items():
        seen = look(fastqs, car, chemistry=chemistry, whitelist=whitelist, sample=own)
        for line in write_look(seen, own, to):
            out.print(line, highlight=False, soft_wrap=True)


@app.command()
def molecules(
    bam: Annotated[Path, typer.Argument(help="Sorted, indexed BAM with barcode and UMI tags.")],
    construct: ConstructFile,
    fasta: Annotated[Path, typer.Option(help="Genome FASTA.")],
    gtf: Annotated[Path, typer.Option(help="Gene annotation.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for molecules.parquet and losses.tsv.")],
    name: Name = "CAR",
    form: Form = "auto",
    sample: Annotated[str, typer.Option(help="Name of the sample.")] = "sample",
    barcode_tag: Annotated[str, typer.Option(help="BAM tag of the cell barcode.")] = "CB",
    umi_tag: Annotated[str, typer.Option(help="BAM tag of the UMI.")] = "UB",
) -> None:
    """Find the CAR molecules of an existing BAM, ours or Cell Ranger's."""
    from carseq.construct import homology, load_construct, rivals
    from carseq.io.files import write_table
    from carseq.library.strand import strand_of_bam, strand_panel
    from carseq.molecules import find_molecules
    from carseq.reference.genome import locus_list, read_transcripts, rival_context
    from carseq.reference.transgene import raise_if_rival_is_car
    from carseq.schema.tables import LOSSES, MOLECULES
    from carseq.study.config import find_construct_file

    car = load_construct(find_construct_file(str(construct), Path()), name=name, form=_form(form))
    found = rivals(car.sequence, read_transcripts(fasta, gtf))
    raise_if_rival_is_car(car, found)
    windows, loci = rival_context(fasta, gtf, {rival.gene for rival in found})
    panel = strand_panel((t.gene, t.sequence) for t in read_transcripts(fasta, gtf))
    table, losses = find_molecules(
        bam,
        car,
        [*found, *windows],
        homology(car.sequence, found),
        sample=sample,
        strand=strand_of_bam(bam, panel),
        loci=locus_list(loci),
        barcode_tag=barcode_tag,
        umi_tag=umi_tag,
    )
    write_table(table, to / "molecules.parquet", MOLECULES)
    write_table(losses, to / "losses.tsv", LOSSES)
    out.print(
        f"{len(table)} CAR molecules in {table['barcode'].nunique()} barcodes; wrote {to}/molecules.parquet, losses.tsv"
    )


@app.command()
def call(
    cells: Annotated[
        Path,
        typer.Argument(
            help="h5ad of annotated cells (obs: sample, barcode, total_umis, lineage, is_doublet)."
        ),
    ],
    samples: Annotated[
        Path,
        typer.Option(
            help="TSV: sample, patient, compartment, timepoint, role, ambient_umis, ambient_car; if known, gating and "
            "sequencing_run (molecules swapped between libraries of a run are dropped)."
        ),
    ],
    to: Annotated[
        Path,
        typer.Option(
            "--out", help="h5ad with the calls; detection.tsv and rules.tsv go beside it."
        ),
    ],
    molecules: Annotated[
        list[Path] | None,
        typer.Option(help="molecules.parquet of the samples; else the matrix's counts."),
    ] = None,
    name: Name = "CAR",
    fdr: Annotated[
        float, typer.Option(help="False discovery rate among positive calls, between 0 and 1.")
    ] = FDR,
) -> None:
    """Call CAR T cells in annotated cells, without the workflow."""
    import anndata

    from carseq.calling import call_study
    from carseq.io.files import read_table, write_table
    from carseq.io.h5ad import write_h5ad
    from carseq.schema.tables import DETECTION, MOLECULES, RULES, SAMPLES

    adata = anndata.read_h5ad(cells)
    table = {}
    for path in molecules or []:
        found = read_table(path, MOLECULES)
        # A sample without a CAR molecule has an empty table, which must not fall back on the matrix's counts:
        # its name is that of the folder samples/SAMPLE/molecules/.
        sample = str(found["sample"].iloc[0]) if len(found) else path.resolve().parent.parent.name
        table[sample] = found
    called = call_study(adata, read_table(samples, SAMPLES), table, car=name, fdr=fdr)
    write_h5ad(adata, to)
    write_table(called.detection, to.parent / "detection.tsv", DETECTION)
    write_table(called.rules, to.parent / "rules.tsv", RULES)
    _print_verdicts(called.detection)


@app.command()
def localize(
    cells: Annotated[Path, typer.Argument(help="h5ad with calls (cohort/cells.h5ad).")],
    detection: Annotated[Path, typer.Option(help="detection.tsv made with the calls.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the tables.")],
    target: Annotated[
        str | None, typer.Option(help="Gene of the antigen that the CAR binds (TNFRSF17).")
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(help="Samples sheet; its further number columns are put beside the CAR."),
    ] = None,
) -> None:
    """Say where the CAR T cells are and compare samples, without the workflow."""
    import anndata

    from carseq.io.files import read_table, write_table
    from carseq.localize import everything
    from carseq.schema.tables import BY_NAME, DETECTION
    from carseq.study.sheets import further_columns

    given = further_columns(samples) if samples else None
    cohort = anndata.read_h5ad(cells)
    found = everything(cohort, read_table(detection, DETECTION), target=target, given=given)
    for name, table in found.items():
        write_table(table, to / f"{name}.tsv", BY_NAME[name])
    out.print(f"wrote {', '.join(f'{to}/{name}.tsv' for name in found)}")


@app.command()
def report(
    results: Annotated[Path, typer.Argument(help="Results folder of a finished run.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="The page; default RESULTS/report/report.html.")
    ] = None,
) -> None:
    """Write the report of a finished run anew."""
    from carseq.report import build_report

    page = to or results / "report" / "report.html"
    build_report(results, page)
    out.print(f"wrote {page}")


@app.command()
def verdict(
    results: Annotated[Path, typer.Argument(help="Results folder of a finished run.")],
) -> None:
    """Print the verdict per sample and where the report lies."""
    from carseq.figures.phrases import blood_words
    from carseq.io.files import read_table
    from carseq.schema.tables import BLOOD_IN_URINE, DETECTION

    path = results / "cohort" / "detection.tsv"
    if not path.exists():
        raise CarseqError(
            f"{results} holds no finished run", f"no {path}", "run snakemake to the end first"
        )
    _print_verdicts(read_table(path, DETECTION))
    blood = results / "cohort" / "blood_in_urine.tsv"
    if blood.exists():
        table = read_table(blood, BLOOD_IN_URINE)
        for row in table[table["witness"] == "combined"].itertuples():
            words = f"{row.sample}: {blood_words(row)}"
            out.print(words, highlight=False, soft_wrap=True, markup=False)
    page = (results / "report" / "report.html").resolve()
    if page.exists():
        out.print(f"report: {page}", soft_wrap=True, highlight=False)


@app.command()
def explain(
    cell: Annotated[
        str, typer.Argument(help="SAMPLE:BARCODE, as the report and cells.h5ad name it; or SAMPLE.")
    ],
    barcode: Annotated[
        str | None,
        typer.Argument(
            metavar="BARCODE", help="The barcode, if not behind the colon; with or without -1."
        ),
    ] = None,
    results: Annotated[Path, typer.Option(help="Results folder of a finished run.")] = Path(
        "results"
    ),
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            help="Folder for evidence.txt, molecules.tsv and reads.bam; default explain_SAMPLE_BARCODE.",
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(min=60, help="Characters of a line; default the terminal's, else 120."),
    ] = None,
) -> None:
    """Show the evidence for one cell: what it is, why it was called, and every CAR read of it.

    For a reviewer who doubts a call. Four parts: the cell; its posterior,
    term by term; its CAR molecules; its reads, base by base, on the CAR and,
    where a human gene shares the bases, on that gene: so one sees which
    explains them. A droplet that was not called a cell is explained too.

    Written beside it: the text, the molecules, and the cell's reads as a BAM
    (in IGV, take construct/construct.fa of the results as the genome).

    Example: carseq explain P01_urine_D28:ATGGAGGAGCGTGCCT --results study/results
    """
    from carseq.explain import WIDTH, show, write_evidence
    from carseq.explain import explain as explain_cell

    sample, _, behind = cell.partition(":")
    if bool(behind) == bool(barcode):
        raise CarseqError(
            "which cell?",
            f"{' '.join(filter(None, [cell, barcode]))} is not a sample and a barcode",
            "write SAMPLE:BARCODE, such as P01_urine_D28:ATGGAGGAGCGTGCCT",
        )
    found = explain_cell(results, sample, behind or str(barcode))
    columns = width or (out.width if out.is_terminal else WIDTH)
    show(found, Console(width=columns))
    folder = to or Path(f"explain_{found.sample}_{found.barcode}")
    written = write_evidence(found, folder, width=columns)
    names = ", ".join(path.name for path in written)
    out.print(f"wrote {names} to {folder}", soft_wrap=True, highlight=False, markup=False)


def _print_verdicts(detection: Any) -> None:
    table = Table(
        "sample", "T cells", "CAR T", "of T cells", "verdict", title="Are there CAR T cells?"
    )
    table.columns[0].no_wrap = True
    for row in detection.itertuples():
        known = row.n_t_cells > 0
        interval = (
            f"{row.prevalence:.0%} ({row.prevalence_low:.0%}-{row.prevalence_high:.0%})"
            if known
            else ""
        )
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
            f"[{colour}]{row.verdict}[/]",
        )
    out.print(table)
    for row in detection.itertuples():
        out.print(
            f"{row.sample}: {row.verdict.replace('_', ' ')}; {row.verdict_text}",
            highlight=False,
            soft_wrap=True,
            markup=False,
        )


@app.command()
def simulate(
    folder: Annotated[
        Path, typer.Argument(help="Folder for the study: genome, FASTQs, sheets, config, truth.")
    ],
    chemistry: Annotated[
        str, typer.Option(help="10x_3p_v2/v3/v4 or 10x_5p_v1/v2/v3.")
    ] = "10x_3p_v3",
    construct: Annotated[Path, typer.Option(help="The CAR's vector.")] = Path(
        "hbi0101_surrogate.gb"
    ),
    name: Name = "HBI0101",
    product: Annotated[
        bool, typer.Option("--product", help="Add a sample of the infusion product.")
    ] = False,
    cells: Annotated[int, typer.Option(min=8, help="Cells of a sample, about.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed.")] = 1,
) -> None:
    """Simulate a urine study with known truth, by following molecules.

    Baseline urine (negative control), urine and blood at day 28; run it with
    `snakemake --configfile FOLDER/config.yaml --directory FOLDER --cores 2`.
    """
    from carseq.simulate import simulate_study
    from carseq.study.config import find_construct_file

    simulate_study(
        folder,
        construct=find_construct_file(str(construct), Path()),
        construct_name=name,
        chemistry=chemistry,
        cells=cells,
        with_product=product,
        seed=seed,
    )
    out.print(f"wrote the study to {folder}; its configuration is {folder / 'config.yaml'}")


def main() -> None:
    """Run the command line; expected errors are told without a traceback."""
    # The search for unused objects at the end of Python takes 0.4 s after large imports.
    atexit.register(gc.freeze)
    try:
        # Without standalone mode, typer returns the code of an Exit instead of exiting with it.
        code = app(standalone_mode=False)
    except CarseqError as error:
        print(f"carseq: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        # Typer's own usage errors know how to show themselves.
        show = getattr(error, "show", None)
        if show is None:
            from carseq.io.failures import machine_failure

            if (told := machine_failure(error)) is None:
                raise
            print(f"carseq: {told}", file=sys.stderr)
            sys.exit(1)
        show()
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
