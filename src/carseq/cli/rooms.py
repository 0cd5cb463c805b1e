"""Commands that run one room's functions without the workflow."""

from __future__ import annotations

import gc
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carseq.cli.options import (
    ConstructFile,
    Form,
    Name,
    can_be_written,
    keep_inputs,
    known_form,
    out,
    print_verdicts,
)
from carseq.errors import CarseqError
from carseq.log import get_logger
from carseq.machine import spare_extensions, without_search_for_unused
from carseq.schema.percent import plain_percent
from carseq.schema.thresholds import FDR

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

log = get_logger("cli")


def quicklook(
    files: Annotated[
        list[Path], typer.Argument(help="R1 and R2 (of each lane in turn), or a folder of FASTQs.")
    ],
    construct: ConstructFile,
    to: Annotated[
        Path,
        typer.Option(
            "--out",
            file_okay=False,
            callback=can_be_written,
            help="Folder for tables and pictures.",
        ),
    ] = Path("quicklook"),
    name: Name = "CAR",
    form: Form = "auto",
    sample: Annotated[str, typer.Option(help="Name of the sample (not with a folder).")] = "sample",
    chemistry: Annotated[
        str, typer.Option(help="As in samples.tsv: auto, a kit's name or a STARsolo geometry.")
    ] = "auto",
    whitelist: Annotated[Path | None, typer.Option(help="Barcode list.")] = None,
) -> None:
    """Count CAR molecules in FASTQ files, in minutes and without a genome.

    It says how many CAR molecules each barcode has, and which of them a human gene could explain as well. It cannot
    know which barcodes are T cells, nor what ambient RNA explains: for a verdict, run the workflow.

    Example: carseq quicklook S1_L001_R1_001.fastq.gz S1_L001_R2_001.fastq.gz --construct my_plasmid.gb
    """
    with without_search_for_unused():
        from carseq.construct import load_construct
        from carseq.figures.beside import drawing
        from carseq.start.folders import fastq_pairs
        from carseq.study.construct_file import find_construct_file

    car = load_construct(
        find_construct_file(str(construct), Path()), name=name, form=known_form(form)
    )
    pairs: dict[str, list[tuple[Path, Path]]] = {}
    if len(files) == 1 and files[0].is_dir():
        held = fastq_pairs(files[0])
        for line in held.told:
            out.print(line, highlight=False, markup=False, soft_wrap=True)
        for found, _, r1, r2 in held.units:
            pairs.setdefault(found, []).append((r1, r2))
    elif missing := [file for file in files if not file.exists()]:
        raise CarseqError(f"there is no {missing[0]}", "", "give FASTQ files or a folder of them")
    elif len(files) % 2:
        raise CarseqError(
            "the FASTQ files do not pair up",
            f"{len(files)} {'were' if len(files) > 1 else 'was'} given",
            "give R1 and R2 of each lane in turn, or one folder",
        )
    elif twice := [file for i, file in enumerate(files) if file.resolve() in _resolved(files[:i])]:
        raise CarseqError(
            f"{twice[0]} is given twice", "its reads would be counted twice", "give each file once"
        )
    else:
        pairs[sample] = list(zip(files[::2], files[1::2], strict=True))
    with drawing() as beside, without_search_for_unused():
        from carseq.quicklook import quicklook as look
        from carseq.quicklook import write_look

        spare_extensions()
        for own, fastqs in pairs.items():
            seen = look(fastqs, car, chemistry=chemistry, whitelist=whitelist, sample=own)
            for line in write_look(seen, own, to, beside):
                out.print(line, highlight=False, soft_wrap=True)
            if len(pairs) > 1:
                gc.collect()


def _resolved(files: list[Path]) -> set[Path]:
    return {file.resolve() for file in files}


def molecules(
    bam: Annotated[Path, typer.Argument(help="Sorted, indexed BAM with barcode and UMI tags.")],
    construct: ConstructFile,
    fasta: Annotated[Path, typer.Option(help="Genome FASTA.")],
    gtf: Annotated[Path, typer.Option(help="Gene annotation.")],
    to: Annotated[
        Path,
        typer.Option(
            "--out",
            file_okay=False,
            callback=can_be_written,
            help="Folder for molecules.parquet and losses.tsv.",
        ),
    ],
    name: Name = "CAR",
    form: Form = "auto",
    sample: Annotated[str, typer.Option(help="Name of the sample.")] = "sample",
    barcode_tag: Annotated[str, typer.Option(help="BAM tag of the cell barcode.")] = "CB",
    umi_tag: Annotated[str, typer.Option(help="BAM tag of the UMI.")] = "UB",
) -> None:
    """Find the CAR molecules in an existing BAM, carseq's or Cell Ranger's."""
    from carseq.construct import load_construct
    from carseq.io.bam import molecule_tags, open_bam
    from carseq.io.fasta import contigs
    from carseq.io.files import write_table
    from carseq.library.strand import strand_of_bam, strand_panel
    from carseq.molecules import Target, check_bam, molecules_of
    from carseq.reference.genome import is_window, locus_list, read_transcripts
    from carseq.reference.resembling import find_homologs
    from carseq.reference.transgene import raise_if_rival_is_car
    from carseq.schema.tables import LOSSES, MOLECULES
    from carseq.study.construct_file import find_construct_file

    car = load_construct(
        find_construct_file(str(construct), Path()), name=name, form=known_form(form)
    )
    tags = molecule_tags(bam, (barcode_tag, umi_tag))
    with open_bam(bam) as opened:
        check_bam(opened, contigs(fasta), *tags)
    homologs, loci = find_homologs(car, fasta, gtf, own=car.name)
    raise_if_rival_is_car(car, [h for h in homologs if not is_window(h.transcript)])
    panel = strand_panel((t.gene, t.sequence) for t in read_transcripts(fasta, gtf))
    target = Target(car, homologs, locus_list(loci), strand_of_bam(bam, panel))
    table, losses = molecules_of(bam, target, sample=sample, tags=tags)
    write_table(table, to / "molecules.parquet", MOLECULES)
    write_table(losses, to / "losses.tsv", LOSSES)
    out.print(
        f"{len(table)} CAR molecules in {table['barcode'].nunique()} barcodes; wrote {to}/molecules.parquet, "
        "losses.tsv",
        soft_wrap=True,
    )


def call(
    cells: Annotated[
        Path,
        typer.Argument(
            help="h5ad of annotated cells, as `carseq annotate` writes it. obs holds total_umis, lineage and "
            "is_doublet; for several samples also sample; with --molecules also barcode."
        ),
    ],
    samples: Annotated[
        Path,
        typer.Option(
            help="Sheet: sample, patient, compartment; if known, timepoint, role, gating, sequencing_run (molecules "
            "swapped between libraries of a run are dropped), and ambient_umis and ambient_car: all molecules and CAR "
            "molecules in the sample's empty droplets. Without these two ambient RNA is assumed; with them, still "
            "how much of each cell it is, unless obs holds that as contamination (0-1)."
        ),
    ],
    to: Annotated[
        Path,
        typer.Option(
            "--out",
            dir_okay=False,
            callback=can_be_written,
            help="h5ad with the calls; detection.tsv and rules.tsv go beside it.",
        ),
    ],
    molecules: Annotated[
        list[Path] | None,
        typer.Option(
            help="molecules.parquet of a sample; may be repeated. Default: the matrix's counts."
        ),
    ] = None,
    name: Name = "CAR",
    fdr: Annotated[
        float, typer.Option(help="False discovery rate among positive calls, between 0 and 1.")
    ] = FDR,
) -> None:
    """Call CAR T cells in annotated cells, without the workflow.

    Example: carseq annotate P01.h5 --car MYCAR --out P01.h5ad; carseq call P01.h5ad --samples samples.tsv --name MYCAR
    --out called/cells.h5ad
    """
    import warnings

    from carseq.calling import call_study
    from carseq.io.files import read_table, write_table
    from carseq.io.h5ad import read_given, write_h5ad
    from carseq.schema.tables import DETECTION, MOLECULES, RULES

    beside = [to.parent / name for name in ("detection.tsv", "rules.tsv")]
    keep_inputs([cells, samples, *(molecules or [])], [to, *beside])
    # `carseq annotate` has reported genes that share a symbol.
    warnings.filterwarnings("ignore", "Variable names are not unique")
    sheet = _samples_of(samples)
    adata = read_given(cells)
    adata = _complete_cells(adata, cells, sheet)
    table = {}
    for path in molecules or []:
        found = read_table(path, MOLECULES)
        # A sample without a CAR molecule has an empty table, which must not fall back on the matrix's counts:
        # its name is that of the folder samples/SAMPLE/molecules/.
        sample = str(found["sample"].iloc[0]) if len(found) else path.resolve().parent.parent.name
        table[sample] = found
    called = call_study(adata, sheet, table, car=name, fdr=fdr)
    write_h5ad(adata, to)
    write_table(called.detection, beside[0], DETECTION)
    write_table(called.rules, beside[1], RULES)
    print_verdicts(called.detection)


def _samples_of(path: Path) -> pd.DataFrame:
    """Read a sheet of samples as `carseq call` takes it: as a study's, with counts of the empty droplets if known."""
    import pandas as pd

    from carseq.study.sheets import Sample, parse_row, read_sheet

    lines = read_sheet(str(path), {"sample", "patient", "compartment"})
    rows = [parse_row(Sample, row, str(path), number) for number, row in lines]
    sheet = pd.DataFrame([{"sample": row.sample, **row.carried()} for row in rows])
    if (twice := sheet["sample"].duplicated()).any():
        raise CarseqError(
            f"sample {sheet['sample'][twice].iloc[0]} has several rows in {path}",
            "each row would give it a verdict",
            "give every sample one row",
        )
    for key in ("ambient_umis", "ambient_car", "car_unseen"):
        if key not in sheet:
            continue
        there = sheet[key].str.strip() != ""
        sheet[key] = pd.to_numeric(sheet[key].where(there), errors="coerce")
        possible = sheet[key].between(0, 1 if key == "car_unseen" else sys.float_info.max)
        if (wrong := there & ~possible).any():
            known = sheet[key][wrong].notna().iloc[0]
            raise CarseqError(
                f"{key} of {sheet['sample'][wrong].iloc[0]} in {path} is "
                + (f"{sheet[key][wrong].iloc[0]:g}" if known else "not a number"),
                "it counts molecules in empty droplets"
                if key != "car_unseen"
                else "it is a share of molecules",
                "give a number, or leave the cell empty where it is not known",
            )
        if key == "car_unseen":
            sheet[key] = sheet[key].fillna(0.0)
    if {"ambient_umis", "ambient_car"} <= set(sheet):
        more = (sheet["ambient_car"] > sheet["ambient_umis"]) & (sheet["ambient_umis"] > 0)
        if more.any():
            raise CarseqError(
                f"{sheet['sample'][more].iloc[0]} in {path} has more ambient_car than ambient_umis",
                "the CAR's molecules in the empty droplets are some of all molecules there",
                "exchange the two, or correct them",
            )
    return sheet


def _complete_cells(adata: AnnData, path: Path, sheet: pd.DataFrame) -> AnnData:
    """Return the cells kept, with what the sheet says of their samples, and one sample's matrix need not: barcodes."""
    from carseq.schema.obs import with_samples
    from carseq.study.texts import some_names

    obs = adata.obs
    missing = [key for key in ("total_umis", "lineage", "is_doublet") if key not in obs]
    if missing:
        raise CarseqError(
            f"the cells of {path} lack {', '.join(missing)}",
            "a call needs each cell's depth and type",
            f"make them with `carseq annotate {shlex.quote(str(path))} --out annotated.h5ad`",
        )
    if "sample" not in obs:
        if len(sheet) != 1:
            raise CarseqError(
                f"the cells of {path} do not say of which sample they are",
                f"obs has no column `sample`, and the sheet has {len(sheet)} samples",
                "add the column, or call each sample with a sheet of its own",
            )
        _tell_several(adata, path, "name each cell's sample in obs['sample'], and give each a row")
        obs["sample"] = str(sheet["sample"].iloc[0])
        log.info(
            "all cells are taken for sample %s, the only one of the sheet", sheet["sample"].iloc[0]
        )
    if absent := sorted(set(sheet["sample"].astype(str)) - set(obs["sample"].astype(str))):
        log.warning(
            "%s has no cell of %s, which the sheet names: that it has no T cells says nothing of the sample",
            path,
            some_names(absent),
        )
    # Clones are those of a patient, and localization is by compartment.
    told = [key for key in ("patient", "compartment", "timepoint", "role") if key in sheet]
    adata.obs = with_samples(obs, sheet[["sample", *told]])
    obs = adata.obs
    if "gating" not in obs:
        # The table of verdicts has codes alone, and samples sorted in different ways are not compared.
        words = dict(zip(sheet["sample"].astype(str), sheet["gating"].astype(str), strict=True))
        obs["gating"] = obs["sample"].astype(str).map(words).fillna("")
    if "barcode" not in obs:
        obs["barcode"] = adata.obs_names.astype(str)
    if "qc_reason" in obs and (failed := ~obs["qc_reason"].astype(str).isin(["", "nan"])).any():
        log.info("%d cells that a quality filter removed (`qc_reason`) are left out", failed.sum())
        adata = adata[~failed.to_numpy()].copy()
    return adata


def _tell_several(adata: AnnData, path: Path, remedy: str) -> None:
    """Warn where cells that are taken for one sample's are of several, by columns of obs or by their barcodes."""
    from carseq.io.barcodes import libraries_of
    from carseq.io.matrix import tell_samples

    if not tell_samples(adata.obs, path, remedy) and len(held := libraries_of(adata.obs_names)) > 1:
        log.warning(
            "%s has barcodes of %d libraries (%s): if they are of several samples, they are taken for one; give each "
            "its own matrix, or name each cell's sample in obs",
            path,
            len(held),
            ", ".join(held[:4]),
        )


def annotate(
    matrix: Annotated[Path, typer.Argument(help="10x .h5, mtx folder or .h5ad of raw counts.")],
    to: Annotated[
        Path, typer.Option("--out", dir_okay=False, callback=can_be_written, help="h5ad to write.")
    ],
    sample: Annotated[
        str | None, typer.Option(help="Column of the h5ad's `obs` that names the samples.")
    ] = None,
    car: Annotated[
        str | None,
        typer.Option(help="Name of the CAR among the genes; it is not used for the types."),
    ] = None,
    gtf: Annotated[
        Path | None,
        typer.Option(help="Gene annotation, for a matrix that names genes by their ids alone."),
    ] = None,
    bam: Annotated[
        Path | None,
        typer.Option(
            help="Cell Ranger's BAM: the share of reads in introns helps to tell damaged cells."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every random step.")] = 0,
) -> None:
    """Annotate the cells of any matrix: types, states, doublets, damage. It needs no study, CAR or genome."""
    import warnings

    from carseq.cells.alone import annotate_matrix
    from carseq.io.h5ad import read_given, write_h5ad
    from carseq.io.matrix import read_counts

    keep_inputs([matrix], [to])
    # carseq itself reports genes that share a symbol, in one line.
    warnings.filterwarnings("ignore", "Variable names are not unique")
    log.info("reading %s", matrix)
    read = read_given(matrix) if matrix.suffix == ".h5ad" else read_counts(matrix, car=car)
    if sample is None:
        _tell_several(read, matrix, "give `--sample {column}` if they are samples")
    cells = annotate_matrix(read, sample=sample, car=car, gtf=gtf, bam=bam, seed=seed)
    if sample:
        # Under this name every other command looks for it.
        cells.obs["sample"] = cells.obs[sample].astype(str)
    for name, table in list(cells.obsm.items()):
        # Other programs read arrays; the columns' names go to uns.
        if hasattr(table, "columns"):
            cells.uns[f"{name}_names"] = list(map(str, table.columns))
            cells.obsm[name] = table.to_numpy()
    write_h5ad(cells, to)
    for name, genes in cells.uns["library_failed"].items():
        out.print(
            f"sample {name}: undetermined, library failed: median of {genes:.0f} genes in a cell"
        )
    kinds = cells.obs["cell_type"].astype(str)
    sure = cells.obs.groupby(kinds)["cell_type_confidence"].mean()
    held = cells.obs.groupby(kinds)["marker_coverage"].mean()
    for name, n in kinds.value_counts().items():
        held_words = (
            f", {plain_percent(held[name])} of its markers in the matrix" if held[name] > 0 else ""
        )
        words = f"confidence {sure[name]:.2f}{held_words}"
        if name == "unknown":
            words = "no lineage reaches a probability of 0.5"
        out.print(f"{n:>8,}  {name}  ({words})")
    if "qc_reason" in cells.obs and (
        failed := int((cells.obs["qc_reason"].astype(str) != "").sum())
    ):
        out.print(
            f"{failed:,} of them fail a quality filter, which `qc_reason` names; all are kept in the file"
        )
    out.print(f"wrote {to}", soft_wrap=True)


def localize(
    cells: Annotated[Path, typer.Argument(help="h5ad with calls (cohort/cells.h5ad).")],
    detection: Annotated[Path, typer.Option(help="detection.tsv made with the calls.")],
    to: Annotated[
        Path,
        typer.Option(
            "--out", file_okay=False, callback=can_be_written, help="Folder for the tables."
        ),
    ],
    target: Annotated[
        str | None, typer.Option(help="Gene of the antigen that the CAR binds (TNFRSF17).")
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(
            help="Samples sheet; its numeric columns are shown beside the CAR T fraction."
        ),
    ] = None,
) -> None:
    """Count CAR T cells by sample, type and state, and compare samples, without the workflow."""
    from carseq.io.files import read_table, write_table
    from carseq.io.h5ad import read_given
    from carseq.localize import everything
    from carseq.schema.tables import BY_NAME, DETECTION
    from carseq.study.sheets import further_columns

    given = further_columns(samples) if samples else None
    cohort = read_given(cells)
    found = everything(cohort, read_table(detection, DETECTION), target=target, given=given)
    for name, table in found.items():
        write_table(table, to / f"{name}.tsv", BY_NAME[name])
    out.print(f"wrote {', '.join(f'{to}/{name}.tsv' for name in found)}", soft_wrap=True)
