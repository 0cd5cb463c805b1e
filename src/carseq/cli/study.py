"""Commands about a whole study: begun, checked, simulated; its verdicts, report and evidence."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from carseq.cli.options import Name, can_be_written, out, print_found, print_verdicts
from carseq.errors import CarseqError


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
    from carseq.start.note import Note

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
        out.print(f"wrote {path}", soft_wrap=True)
    for line in todo:
        kind = "note" if isinstance(line, Note) else "to do"
        out.print(f"  {kind}: {line}", highlight=False, markup=False, soft_wrap=True)
    out.print(f"then: carseq check {shlex.quote(str(folder / 'config.yaml'))}", soft_wrap=True)


def check(
    config: Annotated[Path, typer.Argument(help="Configuration of the study.")],
) -> None:
    """Check configuration, sheets, files, construct, reference and chemistry, in a minute or so.

    It writes nothing, and reports every fault with what to do about it.
    """
    from carseq.start.check import check_study

    faults = print_found(check_study(config))
    if faults:
        out.print(f"{faults} fault{'s' if faults > 1 else ''}")
        raise typer.Exit(1)
    out.print(f"all well; run it: carseq run {shlex.quote(str(config))}", soft_wrap=True)


def simulate(
    folder: Annotated[
        Path, typer.Argument(help="Folder for the study: genome, FASTQs, sheets, config, truth.")
    ],
    chemistry: Annotated[
        str, typer.Option(help="10x_3p_v2/v3/v4 or 10x_5p_v1/v2/v3.")
    ] = "10x_3p_v3",
    construct: Annotated[Path, typer.Option(help="The CAR's vector.")] = Path(
        "hbi0101_surrogate_native.gb"
    ),
    name: Name = "HBI0101",
    product: Annotated[
        bool, typer.Option("--product", help="Add a sample of the infusion product.")
    ] = False,
    cells: Annotated[
        int, typer.Option(min=8, help="Approximate number of cells of a sample.")
    ] = 400,
    seed: Annotated[int, typer.Option(help="Seed.")] = 1,
) -> None:
    """Simulate a urine study with known truth, molecule by molecule.

    The samples are baseline urine (negative control), and urine and blood at
    day 28. Run the study with `carseq run FOLDER/config.yaml --cores 2`.
    """
    from carseq.simulate import simulate_study
    from carseq.study.construct_file import find_construct_file

    simulate_study(
        folder,
        construct=find_construct_file(str(construct), Path()),
        construct_name=name,
        chemistry=chemistry,
        cells=cells,
        with_product=product,
        seed=seed,
    )
    out.print(
        f"wrote the study to {folder}; its configuration is {folder / 'config.yaml'}",
        soft_wrap=True,
    )


def verdict(
    results: Annotated[Path, typer.Argument(help="Results folder of a finished run.")],
) -> None:
    """Print the verdict of each sample and the path of the report."""
    from carseq.figures.phrases import blood_words
    from carseq.io.files import read_table
    from carseq.io.results import check_made_by, no_finished_run
    from carseq.schema.results import FILES
    from carseq.schema.tables import BLOOD_IN_URINE, DETECTION

    path = FILES["detection"].under(results)
    if not path.exists():
        raise no_finished_run(results, path)
    check_made_by(results)
    print_verdicts(read_table(path, DETECTION))
    blood = FILES["blood_in_urine"].under(results)
    if blood.exists():
        table = read_table(blood, BLOOD_IN_URINE)
        for row in table[table["population"] == "combined"].itertuples():
            words = f"{row.sample}: {blood_words(row)}"
            out.print(words, highlight=False, soft_wrap=True, markup=False)
    page = FILES["report"].under(results).resolve()
    if page.exists():
        out.print(f"report: {page}", soft_wrap=True, highlight=False)


def report(
    results: Annotated[Path, typer.Argument(help="Results folder of a finished run.")],
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            dir_okay=False,
            callback=can_be_written,
            help="The page; default: RESULTS/report/report.html.",
        ),
    ] = None,
) -> None:
    """Write the report of a finished run again."""
    from carseq.report import build_report
    from carseq.schema.results import FILES

    page = to or FILES["report"].under(results)
    build_report(results, page)
    out.print(f"wrote {page}", soft_wrap=True)


def explain(
    cell: Annotated[
        str, typer.Argument(help="SAMPLE:BARCODE, as the report and cells.h5ad name it; or SAMPLE.")
    ],
    barcode: Annotated[
        str | None,
        typer.Argument(
            metavar="BARCODE", help="The barcode, if not given after the colon; with or without -1."
        ),
    ] = None,
    results: Annotated[Path, typer.Option(help="Results folder of a finished run.")] = Path(
        "results"
    ),
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            file_okay=False,
            callback=can_be_written,
            help="Folder for evidence.txt, molecules.tsv and reads.bam; default: explain_SAMPLE_BARCODE.",
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(min=60, help="Characters of a line; default: the terminal's, else 120."),
    ] = None,
) -> None:
    """Show the evidence for one cell: what it is, why it was called, and every CAR read of it.

    For a reviewer who doubts a call. The text has four parts: the cell; its
    posterior, term by term; its CAR molecules; its reads, base by base, on the
    CAR and, if a human gene shares the bases, on that gene, so that you see
    which of them explains the reads. It also explains a droplet that was not
    called a cell.

    The command writes the text, the molecules, and the cell's reads as a BAM
    (in IGV, load construct/construct.fa of the results as the genome).

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
    show(found, Console(width=columns, markup=False))
    folder = to or Path(f"explain_{found.sample}_{found.barcode}")
    written = write_evidence(found, folder, width=columns)
    names = ", ".join(path.name for path in written)
    out.print(f"wrote {names} to {folder}", soft_wrap=True, highlight=False, markup=False)
