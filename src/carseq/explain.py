"""explain: the evidence for one cell, for a reviewer who doubts its call.

Takes a results folder, a sample and a barcode. Gathers what is known of the cell, the terms of its posterior,
its CAR molecules, and its reads laid on the CAR's transcript and, where an endogenous gene shares the bases, on
that gene's; a droplet that was not called a cell is explained too. :func:`explain` returns it, :func:`show`
prints it, :func:`write_evidence` writes it with the reads as a BAM. Needs no Snakemake.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pysam
import yaml
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy import stats

from carseq.calling import MAX_AMBIENT_P, MIN_P_CAR, explain_posterior
from carseq.cells.annotation import T_LINEAGE
from carseq.construct import Construct, load_construct
from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.errors import CarseqError
from carseq.io.bam import by_coordinate, open_bam, write_bam
from carseq.io.barcodes import bare_barcode
from carseq.io.files import read_table, write_table, write_text
from carseq.io.h5ad import read_h5ad
from carseq.library.strand import strand_of_library
from carseq.log import get_logger
from carseq.molecules import Evidence as Fit
from carseq.molecules import Molecule, Scorer, candidate_reads, collapse_umis
from carseq.reference.genome import read_loci, read_transcript_fasta
from carseq.schema.tables import EVIDENCE, MOLECULES
from carseq.sequence.alignment import align

log = get_logger(__name__)

#: Width of the text where there is no terminal to ask: a read of 90-100 bases and its label fit in a line.
WIDTH = 120
#: Different reads of a molecule that are drawn, at most; ``reads.bam`` holds all.
MAX_DRAWN = 6
#: Columns left of the bases.
LABEL = 12


@dataclass(frozen=True)
class Placement:
    """A read on a transcript: its local alignment, gaps as ``-``, and the ends that do not fit.

    Attributes
    ----------
    start
        First aligned base on the transcript, 0-based.
    read, target
        Aligned bases of both, of one length.
    head, tail
        Bases of the read before and behind them.
    score
        Alignment score.
    """

    start: int
    read: str
    target: str
    head: str
    tail: str
    score: int


@dataclass(frozen=True)
class Pileup:
    """Reads of a molecule on one transcript.

    Attributes
    ----------
    title
        What they are laid on.
    sequence
        The transcript.
    positions
        The number of each of its bases, 1-based: for a spliced CAR on the full-length transcript.
    rulers
        Name of a ruler, and a name for each base, empty where there is none.
    reads
        Label and placement.
    """

    title: str
    sequence: str
    positions: Sequence[int]
    rulers: Mapping[str, Sequence[str]]
    reads: Sequence[tuple[str, Placement]]


@dataclass(frozen=True)
class Alignment:
    """The reads of one molecule: what they say in words, one line a read, and the pileups."""

    umi: str
    words: str
    reads: list[str]
    pileups: list[Pileup]


@dataclass(frozen=True)
class Evidence:
    """The evidence for one cell.

    Attributes
    ----------
    sample, barcode
        The cell; the barcode as the matrix writes it.
    words
        The call and its ground, in a sentence or two.
    facts
        What is known of the cell: ``what``, ``value``.
    terms
        The posterior term by term: ``term``, ``value``, ``meaning``; without rows for a droplet.
    molecules
        Schema ``MOLECULES``, and ``counted``: whether the molecule counts as CAR. Molecules that an
        endogenous gene explains better have the evidence ``endogenous`` and no p_car; ``unlisted`` are those that
        the table should have, had it been made from these reads.
    alignments
        The same molecules, as reads.
    notes
        What could not be shown, and why.
    records, header
        The cell's candidate reads as in the sample's BAM, by coordinate, and the header (None: no BAM).
    """

    sample: str
    barcode: str
    words: str
    facts: pd.DataFrame
    terms: pd.DataFrame
    molecules: pd.DataFrame
    alignments: list[Alignment]
    notes: list[str]
    records: list[pysam.AlignedSegment]
    header: pysam.AlignmentHeader | None


@dataclass(frozen=True)
class _Read:
    """A candidate read of the cell that the CAR explains, on the mRNA's strand."""

    name: str
    umi: str
    sequence: str
    source: str
    fit: Fit


@dataclass(frozen=True)
class _Cohort:
    """What the cohort says of all cells, and the fitted model (empty where there is none)."""

    obs: pd.DataFrame
    model: dict[str, Any]


def explain(results: str | Path, sample: str, barcode: str) -> Evidence:
    """Gather the evidence for one cell, or one droplet, of a finished run.

    Parameters
    ----------
    results
        The folder named by ``results:`` in the configuration.
    sample
        Name of the sample.
    barcode
        Cell barcode, with or without Cell Ranger's ``-1``.

    Returns
    -------
    Evidence
        To be printed by :func:`show` and written by :func:`write_evidence`.

    Raises
    ------
    CarseqError
        If the folder holds no finished run, or the sample or the barcode is not in it.
    """
    results = Path(results)
    cohort = _read_cohort(results)
    config = _read_config(results)
    _check_sample(results, cohort, config, sample)
    row = _find_cell(cohort.obs, sample, barcode)
    droplet = None if row is not None else _find_droplet(results, cohort.obs, sample, barcode)
    name = str(droplet["barcode"] if row is None else row["barcode"])  # type: ignore[index]
    notes: list[str] = []
    molecules = _read_molecules(results, sample, name)
    records: list[pysam.AlignedSegment] = []
    alignments: list[Alignment] = []
    header = None
    try:
        bam, strand = _bam_of(results, config, sample)
        scorer, homology, loci = _read_construct(results, config, strand)
        with open_bam(bam) as opened:
            header = opened.header
            records, reads, n_unlike = _cell_reads(opened, scorer, loci, strand, config, name)
    except CarseqError as error:
        # The rest of the evidence can be shown without reads.
        notes.append(str(error))
    else:
        if n_unlike:
            notes.append(
                f"{_n(n_unlike, 'read')} aligned to the CAR fit it over fewer than 40 bases and count for nothing"
            )
        molecules, alignments = _lay(molecules, reads, scorer, homology, sample, name)
        lost = len(molecules) - len(alignments)
        if lost:
            why = "it is not the BAM they were found in"
            if bam.parent.name == "reads":
                why = "`solo.keep_bam: none` keeps only reads of cells with a CAR molecule that counts"
            notes.append(f"the reads of {_n(lost, 'molecule')} are not in {bam}: {why}")
    n_counted = int(molecules["counted"].sum())
    if row is None:
        assert droplet is not None
        terms, facts, words = _explain_droplet(results, sample, droplet, n_counted)
    else:
        terms = _terms(cohort.obs, cohort.model, str(row.name))
        facts, words = _facts(row), _words(row, terms)
        n_left = len(molecules) - n_counted
        if n_left:
            words += f" {_n(n_left, 'molecule')} that may as well be endogenous did not count."
        if terms.empty:
            notes.append(
                "the terms of the posterior are not stored: run `snakemake --forcerun calling`"
            )
        if alignments and n_counted != int(row["car_umis"]):
            notes.append(
                f"the call counted {row['car_umis']}, the table of molecules {n_counted}: they are of different runs"
            )
    return Evidence(
        sample, name, words, facts, terms, molecules, alignments, notes, records, header
    )


def _n(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


# --- what the results folder says ---


def _read_cohort(results: Path) -> _Cohort:
    """Read ``obs`` and the model, not the matrix."""
    from carseq.schema.obs import conform_obs

    path = results / "cohort" / "cells.h5ad"
    if not path.exists():
        raise CarseqError(
            f"{results} holds no finished run",
            f"no {path}",
            "give the folder named by `results:` in the configuration with --results, after snakemake ran to the end",
        )
    adata = read_h5ad(path, backed=True)
    try:
        return _Cohort(conform_obs(adata.obs), dict(adata.uns.get("car_model") or {}))
    finally:
        adata.file.close()


def _read_config(results: Path) -> dict[str, Any]:
    path = results / "run_config.yaml"
    read = yaml.safe_load(path.read_text()) if path.exists() else None
    return read if isinstance(read, dict) else {}


def _check_sample(results: Path, cohort: _Cohort, config: dict[str, Any], sample: str) -> None:
    folder = results / "samples"
    folders = [p.name for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
    known = sorted({*cohort.obs["sample"], *(config.get("sheet") or {}), *folders})
    if sample not in known:
        near = difflib.get_close_matches(sample, known, n=3, cutoff=0.5)
        raise CarseqError(
            f"no sample {sample!r} in {results}",
            f"it holds {', '.join(known[:12])}",
            f"did you mean {' or '.join(near)}?" if near else "name one of these samples",
        )


def _find_cell(obs: pd.DataFrame, sample: str, barcode: str) -> pd.Series | None:
    """Return the row of a cell of the cohort, or None."""
    own = obs[obs["sample"] == sample]
    found = own[own["barcode"].map(bare_barcode) == bare_barcode(barcode.upper())]
    if len(found) > 1:
        exact = found[found["barcode"] == barcode.upper()]
        if exact.empty:
            raise CarseqError(
                f"{barcode} stands for {len(found)} cells of {sample}",
                f"they are {', '.join(found['barcode'])}",
                "give the barcode with its suffix",
            )
        found = exact
    return found.iloc[0] if len(found) else None


def _find_droplet(results: Path, obs: pd.DataFrame, sample: str, barcode: str) -> pd.Series:
    """Return the row of a droplet that is not among the cells kept.

    Raises
    ------
    CarseqError
        If the sample has no droplet of this barcode.
    """
    path = results / "samples" / sample / "cells" / "barcodes.tsv.gz"
    wanted = bare_barcode(barcode.upper())
    if path.exists():
        droplets = read_table(path)
        found = droplets[droplets["barcode"].astype(str).map(bare_barcode) == wanted]
        if len(found):
            return found.iloc[0]
    own = obs.loc[obs["sample"] == sample, "barcode"]
    near = difflib.get_close_matches(wanted, own, n=100, cutoff=0.8)
    # A typing error changes a base in place; difflib ranks shifted barcodes as high.
    near = sorted(near, key=lambda b: sum(x != y for x, y in zip(b, wanted, strict=False)))[:3]
    elsewhere = sorted(set(obs.loc[obs["barcode"].map(bare_barcode) == wanted, "sample"]))
    if elsewhere:
        remedy = f"it is a cell of {', '.join(elsewhere)}: name that sample"
    elif near:
        remedy = f"did you mean {' or '.join(f'{sample}:{b}' for b in near)}?"
    else:
        remedy = f"the barcodes of its cells are in {results / 'cohort' / 'cells.h5ad'} and in the report"
    raise CarseqError(
        f"no barcode {barcode} in sample {sample}",
        f"it is neither one of its {_n(len(own), 'cell')} nor a droplet with a molecule",
        remedy,
    )


def _read_molecules(results: Path, sample: str, barcode: str) -> pd.DataFrame:
    """Return the barcode's molecules, with ``counted``."""
    path = results / "samples" / sample / "molecules" / "molecules.parquet"
    table = read_table(path, MOLECULES) if path.exists() else MOLECULES.empty()
    own = table[table["barcode"].map(bare_barcode) == bare_barcode(barcode)].reset_index(drop=True)
    return own.assign(counted=own["p_car"] >= MIN_P_CAR)


def _read_construct(
    results: Path, config: dict[str, Any], strand: str
) -> tuple[Scorer, pd.DataFrame, list[Locus]]:
    """Return the scorer as the molecules were found with, the homology and the relatives' loci."""
    given = config.get("construct") or {}
    folder = results / "construct"
    file, form = Path(str(given.get("file", ""))), given.get("form", "auto")
    if not file.is_file():
        # The study's folder was moved: its transcript is among the results.
        file, form = folder / "construct.fa", "transcript"
    needed = [file, *(folder / name for name in ("homology.tsv", "rivals.fa", "loci.tsv"))]
    missing = [str(path) for path in needed if not path.is_file()]
    if missing:
        raise CarseqError(
            "no alignments can be shown",
            f"{', '.join(missing)} cannot be read",
            "run the workflow again, or put the folder where it was",
        )
    construct = load_construct(file, name=str(given.get("name", "CAR")), form=form)
    homology = read_table(folder / "homology.tsv")
    similar = read_transcript_fasta(folder / "rivals.fa")
    scorer = Scorer(construct, similar, homology, late=strand != "Reverse")
    return scorer, homology, read_loci(folder / "loci.tsv")


def _bam_of(results: Path, config: dict[str, Any], sample: str) -> tuple[Path, str]:
    """Return a sample's BAM and the strand of its reads."""
    sheet = (config.get("sheet") or {}).get(sample) or {}
    solo = results / "samples" / sample / "solo"
    kept = (
        solo / "aligned.bam",
        solo / "slice.bam",
        results / "report" / "reads" / f"{sample}.bam",
    )
    bam = Path(sheet["bam"]) if sheet.get("bam") else next(filter(Path.exists, kept), kept[0])
    if not bam.exists():
        if not sheet.get("bam") and (sheet.get("matrix") or sheet.get("raw_matrix")):
            raise CarseqError(
                "no molecules and no alignments can be shown",
                "this sample came as a matrix, which holds counts but no reads",
                "give its BAM in the `bam` column of the samples sheet and run again",
            )
        raise CarseqError(
            "no alignments can be shown", f"the BAM {bam} is not there", "put it where it was"
        )
    chemistry, panel = solo / "chemistry.json", results / "reference" / "strand_panel.fa"
    named = str(sheet.get("chemistry") or "auto")
    if not chemistry.exists() and named == "auto" and not panel.exists():
        raise CarseqError(
            "no alignments can be shown",
            f"without {panel} the strand of the reads is not known",
            "run the workflow again, or name the chemistry in the samples sheet",
        )
    given = chemistry if chemistry.exists() else None
    return bam, strand_of_library(given, bam, panel, named=named)


# --- the cell in words and numbers ---


def _probability(p: float) -> str:
    if 0 < p < 1e-4:
        return "< 0.0001"
    if 0.9999 < p <= 1:
        return "> 0.9999"
    return f"{p:.4g}"


def _times(log10: float) -> str:
    """Return a likelihood ratio in words: how many times better."""
    return (
        f"{10**log10:,.1f}" if log10 < 1 else f"{10**log10:,.0f}" if log10 < 6 else "over a million"
    )


def _facts(row: pd.Series) -> pd.DataFrame:
    """Return what is known of a cell."""

    def second(key: str) -> str:
        other = str(row.get(f"{key}_2", ""))
        if other in ("", "nan"):
            return ""
        return "; second method agrees" if other == row[key] else f"; second method says {other}"

    doublet = "too few cells to tell" if pd.isna(row["doublet_score"]) else ""
    doublet = doublet or f"{row['doublet_score']:.2f}"
    told_apart = int(row["car_umis_unique"])
    rows = [
        ("sample", row["sample"]),
        ("patient", row["patient"]),
        ("compartment", row["compartment"]),
        ("time point", row["timepoint"]),
        ("role", str(row["role"]).replace("_", " ")),
        ("barcode", row["barcode"]),
        ("UMIs", f"{row['total_umis']:,}"),
        ("genes", f"{row['n_genes']:,}"),
        ("mitochondrial", f"{row['pct_mito']:.1f} % of UMIs"),
        ("doublet score", doublet + ("; called a doublet" if row["is_doublet"] else "")),
        ("lineage", f"{row['lineage']}{second('lineage')}"),
        (
            "cell type",
            f"{row['cell_type']} (confidence {row['cell_type_confidence']:.2f}){second('cell_type')}",
        ),
        ("T state", row["t_state"]),
        ("cluster", row["leiden"]),
        ("CAR molecules", f"{row['car_umis']}, {told_apart} of them told apart from human genes"),
        ("call", row["car_call"]),
        ("posterior", _probability(float(row["car_posterior"])) if _is_asked(row) else ""),
        ("reason", row["car_reason_text"]),
    ]
    kept = [(what, str(value)) for what, value in rows if str(value) not in ("", "nan")]
    return pd.DataFrame(kept, columns=["what", "value"])


def _is_asked(row: pd.Series) -> bool:
    """Whether the model gave the cell a posterior: T cells that are no doublets."""
    return bool(row["lineage"] == T_LINEAGE and not row["is_doublet"])


def _terms(obs: pd.DataFrame, model: Mapping[str, Any], index: str) -> pd.DataFrame:
    """Return the posterior of one cell, term by term.

    Parameters
    ----------
    obs
        The cohort's, after :func:`carseq.calling.call_cells`.
    model
        ``uns["car_model"]``.
    index
        The cell.

    Returns
    -------
    pandas.DataFrame
        ``term``, ``value``, ``meaning``; no rows where the model is not stored.
    """
    columns = ["term", "value", "meaning"]
    if not model or "car_null_shape" not in obs:
        return pd.DataFrame(columns=columns)
    row = obs.loc[index]
    k, n = int(row["car_umis"]), float(row["total_umis"])
    ambient, stray = float(row["car_expected_ambient"]), float(row["car_expected_background"])
    shape, mean = float(row["car_null_shape"]), max(ambient + stray, 1e-12)
    by_chance = float(stats.nbinom.sf(k - 1, shape, shape / (shape + mean)))
    rows: list[tuple[str, float, str]] = [
        ("CAR molecules counted", k, f"of {n:,.0f} molecules of the cell"),
        ("expected from ambient RNA", ambient, "contamination x depth x the CAR's share in empty droplets"),
        ("expected from strays", stray, "chimeras, swapped molecules, and ambient RNA beyond the estimate"),
        ("chance that these two show so many", by_chance, f"a call needs {MAX_AMBIENT_P} or less"),
    ]  # fmt: skip
    if not _is_asked(row):
        return pd.DataFrame(rows, columns=columns)
    cell = ad.AnnData(obs=obs.loc[[index]], uns={"car_model": dict(model)})
    value = explain_posterior(cell, index).set_index("term")["value"]
    log_car, log_null = (
        value[f"log likelihood, {kind}"] / math.log(10)
        for kind in ("own and ambient", "ambient alone")
    )
    ratio, prior = log_car - log_null, float(value["prior"])
    odds = (
        math.log10(prior / (1 - prior)) if 0 < prior < 1 else math.copysign(math.inf, prior - 0.5)
    )
    own = float(value["expected own"]) + ambient + stray
    rows += [
        ("expected of a CAR T cell of this depth", own, "CAR mRNA of its own, ambient RNA and strays"),
        ("log10 likelihood, CAR T cell", log_car, f"probability that such a cell shows {k}: {10**log_car:.2g}"),
        ("log10 likelihood, ambient alone", log_null, f"probability that it shows {k}: {10**log_null:.2g}"),
        ("log10 likelihood ratio", ratio, "their difference; above 0 for a CAR T cell, 1 is ten times"),
        ("prior", prior, f"CAR T cells among the sample's other T cells; log10 odds {odds:.2f}"),
        ("posterior", float(row["car_posterior"]), f"log10 odds {odds + ratio:.2f}: prior and ratio added"),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def _words(row: pd.Series, terms: pd.DataFrame) -> str:
    """Return the call and its ground, in words."""
    k = int(row["car_umis"])
    head = f"{str(row['car_call']).capitalize()}. "
    value = dict(zip(terms["term"], terms["value"], strict=True))
    seen = f"{_n(k, 'CAR molecule')} in {row['total_umis']:,} UMIs"
    if not _is_asked(row):
        kind = "a doublet" if row["is_doublet"] else f"of lineage {row['lineage']}"
        text = f"{head}Only T cells that are no doublets can be called; this cell is {kind}. "
        if not k:
            return f"{text}It shows no CAR molecule either."
        return f"{text}Why it shows the CAR all the same: {row['car_reason_text']}."
    posterior = _probability(float(row["car_posterior"]))
    if "prior" not in value:
        return f"{head}T cell; {seen}; posterior {posterior}."
    prior = f"about {100 * value['prior']:.2g} % of the sample's T cells are CAR T cells"
    if not k:
        missed = 10 ** value["log10 likelihood, CAR T cell"]
        return (
            f"{head}T cell without a CAR molecule. {missed:.0%} of CAR T cells of its depth would show none "
            f"either (dropout), and {prior}: probability {posterior} that this is one."
        )
    ratio = value["log10 likelihood ratio"]
    return (
        f"{head}T cell with {seen}, where ambient RNA would show {row['car_expected_ambient']:.2g} and a CAR T cell "
        f"{value['expected of a CAR T cell of this depth']:.2g}. A CAR T cell explains the count {_times(abs(ratio))} "
        f"times {'better' if ratio >= 0 else 'worse'} than ambient RNA; {prior}: probability {posterior}."
    )


def _explain_droplet(
    results: Path, sample: str, droplet: pd.Series, n_car: int
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Return terms (none), facts and words of a droplet that is no cell of the cohort."""
    is_cell = bool(droplet["is_cell"])
    seen = f"{_n(int(droplet['total_umis']), 'UMI')}; its CAR molecules: {n_car}"
    if is_cell:
        words = f"Removed by a quality filter: {seen}. What was removed, step by step: " + str(
            results / "samples" / sample / "cells" / "filters.tsv"
        )
    else:
        words = f"Not called a cell: {seen}."
        if n_car:
            words += " CAR molecules outside cells are what ambient RNA is made of."
    rows = [
        ("sample", sample),
        ("barcode", droplet["barcode"]),
        ("UMIs", f"{int(droplet['total_umis']):,}"),
        ("genes", f"{int(droplet['n_genes']):,}" if "n_genes" in droplet else ""),
        ("droplet", f"{'a cell' if is_cell else 'not a cell'}: {droplet.get('reason', '')}"),
    ]
    facts = pd.DataFrame([(a, str(b)) for a, b in rows if str(b)], columns=["what", "value"])
    return pd.DataFrame(columns=["term", "value", "meaning"]), facts, words


# --- its reads ---


def _cell_reads(
    bam: pysam.AlignmentFile,
    scorer: Scorer,
    loci: Iterable[Locus],
    strand: str,
    config: dict[str, Any],
    barcode: str,
) -> tuple[list[pysam.AlignedSegment], list[_Read], int]:
    """Return the candidate records of a barcode, those the CAR explains as reads, and how many it does not."""
    settings = config.get("molecules") or {}
    tags = settings.get("barcode_tag", "CB"), settings.get("umi_tag", "UB")
    log.info("searching the BAM for reads of %s", barcode)
    records, reads, n_unlike = [], [], 0
    for record, read in candidate_reads(bam, scorer, loci, strand, tags, [barcode]):
        records.append(record)
        if read is None:
            continue
        fit = scorer.score(read.sequence)
        if fit is None:
            n_unlike += read.source == "aligned"
            continue
        name = str(record.query_name)
        reads.append(_Read(name, read.umi, read.sequence, read.source, fit))
    records.sort(key=by_coordinate)
    return records, reads, n_unlike


def place(read: str, reference: str) -> Placement:
    """Lay a read on a transcript as the scores do (local, same costs), and keep the bases to draw."""
    found = align(read, reference)
    return Placement(
        found.start,
        found.on_read,
        found.on_reference,
        read[: found.read_start],
        read[found.read_end :],
        found.score,
    )


def _lay(
    molecules: pd.DataFrame,
    reads: Sequence[_Read],
    scorer: Scorer,
    homology: pd.DataFrame,
    sample: str,
    barcode: str,
) -> tuple[pd.DataFrame, list[Alignment]]:
    """Group reads to molecules and draw them; molecules not in the table are added to it as endogenous."""
    target = collapse_umis(Counter(read.umi for read in reads))
    groups: dict[str, list[_Read]] = defaultdict(list)
    for read in reads:
        groups[target[read.umi]].append(read)
    known = molecules.set_index("umi")
    alignments, added = [], []
    for umi in [*known.index.intersection(list(groups)), *sorted(set(groups) - set(known.index))]:
        own = groups[umi]
        molecule = Molecule()
        for read in own:
            molecule.add(read.fit, read.source)
        if umi in known.index:
            kind, p_car = str(known.loc[umi, "evidence"]), float(known.loc[umi, "p_car"])
        else:
            kind = "endogenous" if molecule.kind() == "endogenous" else "unlisted"
            p_car = math.nan
            row = molecule.row(sample, barcode, umi, scorer.construct.domains)
            added.append({**row, "evidence": kind, "p_car": p_car, "counted": False})
        gene, odds = molecule.rival()[0], molecule.odds()
        alignments.append(
            _align(umi, own, gene, _verdict(kind, p_car, gene, odds), scorer, homology)
        )
    table = pd.concat([molecules, pd.DataFrame(added)]) if added else molecules
    return table.reset_index(drop=True), alignments


def _verdict(kind: str, p_car: float, gene: str, odds: float) -> str:
    """Return what the reads of a molecule say, in words; ``odds`` are nats for the CAR against the gene."""
    better = _times(abs(odds) / math.log(10))
    if kind == "unique":
        return "it holds bases that no human gene shares with the CAR: CAR mRNA"
    if kind == "junction":
        return f"the CAR explains the reads {better} times better than {gene}: CAR mRNA"
    if kind == "unlisted":
        return "not in the table of molecules, which was made from other reads or another construct"
    if kind == "endogenous":
        return f"{gene} explains the reads {better} times better than the CAR: not CAR mRNA, not counted"
    if abs(odds) < math.log(2):
        told = f"the CAR and {gene} explain the reads equally well"
    else:
        told = f"{'the CAR' if odds > 0 else gene} explains the reads {better} times better, too little to decide"
    counted = "counted as CAR" if p_car >= MIN_P_CAR else "not counted as CAR"
    return (
        f"{told}; from how many molecules of either the sample has, p_car is {p_car:.2g}: {counted}"
    )


def _align(
    umi: str,
    reads: Sequence[_Read],
    gene: str,
    words: str,
    scorer: Scorer,
    homology: pd.DataFrame,
) -> Alignment:
    """Lay the reads of a molecule on the CAR and, where they may be its rival's, on that."""
    copies = Counter(read.sequence for read in reads)
    distinct = list({read.sequence: read for read in reads}.values())
    lines, by_transcript = [], defaultdict(list)
    for i, read in enumerate(distinct[:MAX_DRAWN], 1):
        placed = [(place(read.sequence, t.sequence), t) for t in scorer.construct.transcripts]
        best, transcript = max(placed, key=lambda p: p[0].score)
        by_transcript[transcript].append((f"read {i}", best))
        fits = f"CAR {read.fit.car:.0f}"
        if read.fit.gene:
            fits += f", {read.fit.gene} {read.fit.rival:.0f}"
        more = f" and {_n(copies[read.sequence] - 1, 'copy').replace('copys', 'copies')}"
        lines.append(
            f"read {i}: {read.name}{more if copies[read.sequence] > 1 else ''}; {read.source}; "
            f"{_n(read.fit.edits, 'edit')} against the CAR; scores: {fits}"
        )
    if len(distinct) > MAX_DRAWN:
        lines.append(f"{len(distinct) - MAX_DRAWN} more reads are in reads.bam")
    pileups = [_on_car(scorer.construct, t, homology, own) for t, own in by_transcript.items()]
    contested = [
        (f"read {i}", read)
        for i, read in enumerate(distinct[:MAX_DRAWN], 1)
        if gene and read.fit.homologous
    ]
    if contested:
        pileups.append(_on_rival([r for r in scorer.rivals if r.gene == gene], contested))
    return Alignment(umi, words, lines, pileups)


def _on_car(
    construct: Construct,
    transcript: Any,
    homology: pd.DataFrame,
    reads: list[tuple[str, Placement]],
) -> Pileup:
    """Return the pileup on a transcript of the CAR, with its domains and what the genome shares."""
    full = [p for start, end in transcript.blocks for p in range(start, end)]
    domains, shared = [""] * len(construct.sequence), [""] * len(construct.sequence)
    for row in construct.domains.itertuples():
        domains[row.start : row.end] = [row.name] * (row.end - row.start)
    for start, end, kind, gene in homology[["start", "end", "class", "gene"]].itertuples(
        index=False
    ):
        if kind != "car_only":
            shared[int(start) : int(end)] = [str(gene)] * int(end - start)
    which = "" if len(construct.transcripts) == 1 else f" ({transcript.name})"
    return Pileup(
        f"on {construct.name}{which}",
        transcript.sequence,
        [p + 1 for p in full],
        {"domain": [domains[p] for p in full], "shared with": [shared[p] for p in full]},
        reads,
    )


def _on_rival(
    transcripts: Sequence[EndogenousTranscript], reads: Sequence[tuple[str, _Read]]
) -> Pileup:
    """Return the pileup on the one transcript of a rival gene that fits the reads best."""
    laid = [
        [(label, place(read.sequence, t.sequence)) for label, read in reads] for t in transcripts
    ]
    best = max(range(len(laid)), key=lambda i: sum(p.score for _, p in laid[i]))
    rival = transcripts[best]
    where = "genomic" if ":" in rival.transcript else "transcript"
    return Pileup(
        f"on {rival.gene} ({where} {rival.transcript})",
        rival.sequence,
        range(1, len(rival.sequence) + 1),
        {},
        laid[best],
    )


# --- text ---


def draw(pileup: Pileup, width: int = WIDTH) -> str:
    """Draw a pileup as text.

    Parameters
    ----------
    pileup
        Reads on a transcript.
    width
        Characters of a line; longer pileups are cut into blocks.

    Returns
    -------
    str
        Rulers, numbers, the transcript's bases, and the reads: ``.`` equal, a letter for another base, ``-`` for
        a missing one, small letters in an end that the score leaves out.
    """
    cells = {label: _columns(placed, pileup.sequence) for label, placed in pileup.reads}
    first = min(column for own in cells.values() for column, _ in own)
    last = max(column for own in cells.values() for column, _ in own)
    inserted = Counter[int]()
    for own in cells.values():
        for column, nth in own:
            inserted[column] = max(inserted[column], nth)
    columns = [(p, nth) for p in range(first, last + 1) for nth in range(inserted[p] + 1)]
    step = max(20, width - LABEL)
    lines = []
    for i in range(0, len(columns), step):
        block = columns[i : i + step]
        lines += _draw_block(pileup, cells, block)
        lines.append("")
    return "\n".join(lines[:-1])


def _columns(placed: Placement, sequence: str) -> dict[tuple[int, int], str]:
    """Return the character of a read at (base of the transcript, nth base inserted behind it)."""

    def end(first: int, bases: str) -> dict[tuple[int, int], str]:
        under = [
            sequence[p] if 0 <= p < len(sequence) else "" for p in range(first, first + len(bases))
        ]
        drawn = ["." if a == b else a.lower() for a, b in zip(bases, under, strict=True)]
        return {(first + i, 0): character for i, character in enumerate(drawn)}

    found = end(placed.start - len(placed.head), placed.head)
    at, nth = placed.start - 1, 0
    for base, other in zip(placed.read, placed.target, strict=True):
        if other == "-":
            nth += 1
        else:
            at, nth = at + 1, 0
        found[at, nth] = "." if base == other else base
    return found | end(at + 1, placed.tail)


def _draw_block(
    pileup: Pileup,
    cells: Mapping[str, Mapping[tuple[int, int], str]],
    block: Sequence[tuple[int, int]],
) -> list[str]:
    """Draw the columns of one block."""
    length = len(pileup.sequence)

    def line(label: str, characters: Iterable[str]) -> str:
        return f"{label:<{LABEL}}{''.join(characters)}".rstrip()

    lines = []
    for name, ruler in pileup.rulers.items():
        names = [ruler[p] if 0 <= p < length else "" for p, _ in block]
        if any(names):
            lines.append(line(name, _ruler(names)))
    lines.append(line("base", _numbers(pileup.positions, block)))
    bases = ["-" if nth else pileup.sequence[p] if 0 <= p < length else " " for p, nth in block]
    lines.append(line("transcript", bases))
    for label, own in cells.items():
        ends = min(own), max(own)
        drawn = [own.get(c, "-" if ends[0] < c < ends[1] else " ") for c in block]
        if any(c != " " for c in drawn):
            lines.append(line(label, drawn))
    return lines


def _ruler(names: Sequence[str]) -> str:
    """Return a ruler: each run of a name as ``|--- name ---|``."""
    text, start = "", 0
    for end in range(1, len(names) + 1):
        if end == len(names) or names[end] != names[start]:
            span = end - start
            if not names[start]:
                text += " " * span
            elif span < 5:
                text += "|" + "-" * (span - 1)
            else:
                label = f" {names[start]} " if len(names[start]) <= span - 4 else names[start]
                text += f"|{label[: span - 2]:-^{span - 2}}|"
            start = end
    return text


def _numbers(positions: Sequence[int], block: Sequence[tuple[int, int]]) -> str:
    """Return a line with ``|`` and its number at every 20th base."""
    text = [" "] * len(block)
    for i, (p, nth) in enumerate(block):
        if nth == 0 and 0 <= p < len(positions) and positions[p] % 20 == 0:
            label = f"|{positions[p]}"
            if i + len(label) <= len(block):
                text[i : i + len(label)] = label
    return "".join(text)


_LEGEND = (
    "Each read is laid on the transcript below its bases: . the same base, a letter another one, - a missing one, "
    "small letters in an end that the score leaves out. Scores are log-odds (nats) against random bases: the "
    "transcript with the higher score explains the read better, 4.6 more is a hundred times, equal scores decide "
    "nothing."
)


def show(evidence: Evidence, console: Console) -> None:
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
            text("  no posterior: only T cells that are no doublets have one\n")
    text("3. CAR molecules of this barcode", "bold")
    if evidence.molecules.empty:
        text("  none\n")
    else:
        console.print(_rich(_molecule_rows(evidence.molecules)))
        if not evidence.molecules["counted"].all():
            text("  NO: rather the rival's than the CAR's (p_car below 0.5)\n")
    text("4. Its reads", "bold")
    if evidence.alignments:
        text(_LEGEND)
    else:
        text("  none\n")
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
        _probability(value) if certain else f"{value:.3g}"
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
            "rival": molecules["endogenous_gene"],
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


def write_evidence(evidence: Evidence, folder: str | Path, *, width: int = WIDTH) -> list[Path]:
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
    show(evidence, Console(file=text, width=width, color_system=None))
    written = [folder / "evidence.txt", folder / "molecules.tsv"]
    write_text(text.getvalue(), written[0])
    write_table(evidence.molecules, written[1], EVIDENCE)
    if evidence.header is not None:
        bam = folder / "reads.bam"
        written += [bam, write_bam(evidence.records, evidence.header, bam)]
    return written
