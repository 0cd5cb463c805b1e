"""Gathers the evidence for one cell."""

from __future__ import annotations

from pathlib import Path

import pysam

from carseq.errors import CarseqError
from carseq.explain.cell import explain_droplet, facts, posterior_terms, words
from carseq.explain.gather import (
    bam_of,
    check_sample,
    find_cell,
    find_droplet,
    read_cohort,
    read_config,
    read_homology,
    read_molecules,
    read_target,
)
from carseq.explain.model import CellEvidence, MoleculeReads
from carseq.explain.reads import cell_reads, lay
from carseq.figures.phrases import count
from carseq.io.bam import molecule_tags, open_bam
from carseq.io.results import way_in
from carseq.molecules import car_contigs
from carseq.schema.thresholds import FDR
from carseq.sequence.alignment import MIN_BASES


def explain(results: str | Path, sample: str, barcode: str) -> CellEvidence:
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
    CellEvidence
        To be printed by :func:`show` and written by :func:`write_evidence`.

    Raises
    ------
    CarseqError
        If the folder holds no finished run, or the sample or the barcode is not in it.
    """
    results = Path(results)
    cohort = read_cohort(results)
    config = read_config(results)
    check_sample(results, cohort, config, sample)
    row = find_cell(cohort.obs, sample, barcode)
    droplet = None if row is not None else find_droplet(results, cohort.obs, sample, barcode)
    name = str(droplet["barcode"] if row is None else row["barcode"])  # type: ignore[index]
    notes: list[str] = []
    of_matrix = way_in((config.get("sheet") or {}).get(sample) or {}) == "matrix"
    molecules = read_molecules(results, sample, name)
    if of_matrix:
        # A table that is there is of an earlier run, with reads.
        molecules = molecules.iloc[:0]
    records: list[pysam.AlignedSegment] = []
    alignments: list[MoleculeReads] = []
    header = None
    try:
        bam, strand = bam_of(results, config, sample)
        target = read_target(results, strand).without_the_car()
        settings = config.get("molecules") or {}
        tags = settings.get("barcode_tag", "CB"), settings.get("umi_tag", "UB")
        tags = molecule_tags(bam, tags)
        with open_bam(bam) as opened:
            header = opened.header
            car = target.construct.name
            contigs = car_contigs(opened, car, target.scorer.kmers, target.loci)
        with open_bam(bam) as opened:
            found = cell_reads(opened, contigs, target, tags, name)
            records = found.records
    except CarseqError as error:
        # The rest of the evidence can be shown without reads.
        notes.append(str(error))
    else:
        if found.n_unlike:
            notes.append(
                f"{count(found.n_unlike, 'read')} aligned to the CAR fit it over fewer than {MIN_BASES} bases: "
                "not counted"
            )
        molecules, alignments = lay(molecules, found, target, read_homology(results), sample, name)
        lost = len(molecules) - len(alignments)
        if lost:
            why = "it is not the BAM they were found in"
            if bam.parent.name == "reads":
                why = "`solo.keep_bam: none` keeps only reads of cells with a CAR molecule that counts"
            notes.append(f"the reads of {count(lost, 'molecule')} are not in {bam}: {why}")
    n_counted = int(molecules["counted"].sum())
    if row is None:
        assert droplet is not None
        terms, known, told = explain_droplet(results, sample, droplet, n_counted)
    else:
        terms = posterior_terms(cohort.obs, cohort.model, str(row.name), of_matrix=of_matrix)
        known, told = (
            facts(row, of_matrix=of_matrix),
            words(row, terms, float(cohort.model.get("fdr", FDR))),
        )
        n_left = len(molecules) - n_counted
        if n_left:
            told += f" {count(n_left, 'molecule')} did not count: an endogenous gene explains them as well or better."
        if terms.empty:
            notes.append(
                "the terms of the posterior are not stored: run `snakemake --forcerun calling`"
            )
        if alignments and n_counted != int(row["car_umis"]):
            notes.append(
                f"the call counted {row['car_umis']}, the table of molecules {n_counted}: they are of different runs"
            )
    return CellEvidence(
        sample, name, told, known, terms, molecules, alignments, notes, records, header, of_matrix
    )
