"""The candidate reads of one cell, grouped to molecules and aligned to the CAR and its homologs."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pysam

from carseq.calling import MIN_P_CAR
from carseq.construct import Construct
from carseq.construct.homology import EndogenousTranscript
from carseq.explain.model import CellRead, MoleculeReads, Pileup, Placement
from carseq.explain.phrases import times
from carseq.explain.pileup import place
from carseq.figures.phrases import count
from carseq.io.bam import by_coordinate
from carseq.log import get_logger
from carseq.molecules import CandidateReads, Molecule, Scorer, Target, collapse_umis
from carseq.reference.genome import is_window

log = get_logger(__name__)

#: At most this many different reads of a molecule are drawn; ``reads.bam`` holds all.
MAX_DRAWN = 6


@dataclass
class CellReads:
    """What the BAM holds of a cell.

    Attributes
    ----------
    records
        Candidate records, by coordinate.
    reads
        Candidates that the CAR explains.
    n_unlike
        Reads aligned to the CAR that it does not explain.
    homolog_umis
        By gene: UMIs with a read of the gene's own.
    """

    records: list[pysam.AlignedSegment] = field(default_factory=list)
    reads: list[CellRead] = field(default_factory=list)
    n_unlike: int = 0
    homolog_umis: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def cell_reads(
    bam: pysam.AlignmentFile,
    contigs: Sequence[str],
    target: Target,
    tags: tuple[str, str],
    barcode: str,
) -> CellReads:
    """Return the candidate reads of a barcode.

    Parameters
    ----------
    bam
        The sample's, opened for this.
    contigs
        The CAR's.
    target
        The CAR and its homologs.
    tags
        Of cell barcode and UMI.
    barcode
        With or without Cell Ranger's ``-1``.
    """
    scorer = target.scorer
    log.info("searching the BAM for reads of %s", barcode)
    found = CellReads()
    walk = CandidateReads(
        bam, scorer.kmers, contigs, target.loci, strand=target.strand, tags=tags, barcodes=[barcode]
    )
    for candidate in walk:
        record, read = candidate.record, candidate.read
        if not candidate.resembles:
            if read is not None and read.barcode is not None:
                found.homolog_umis[candidate.gene].add(read.umi)
            continue
        found.records.append(record)
        if read is None:
            continue
        score = scorer.score(read.sequence)
        if score is None:
            found.n_unlike += read.source == "aligned"
        elif read.barcode is not None:
            name = str(record.query_name)
            found.reads.append(CellRead(name, read.umi, read.sequence, read.source, score))
    found.records.sort(key=by_coordinate)
    return found


def lay(
    molecules: pd.DataFrame,
    found: CellReads,
    target: Target,
    homology: pd.DataFrame,
    sample: str,
    barcode: str,
) -> tuple[pd.DataFrame, list[MoleculeReads]]:
    """Group reads to molecules and draw them; molecules not in the table are added to it as endogenous."""
    scorer = target.scorer
    umi_of = collapse_umis(Counter(read.umi for read in found.reads))
    groups: dict[str, list[CellRead]] = defaultdict(list)
    for read in found.reads:
        groups[umi_of[read.umi]].append(read)
    known = molecules.set_index("umi")
    alignments, added = [], []
    for umi in [*known.index.intersection(list(groups)), *sorted(set(groups) - set(known.index))]:
        own = groups[umi]
        molecule = Molecule()
        for read in own:
            molecule.add(read.score, read.source)
        if umi in known.index:
            kind, p_car = str(known.loc[umi, "evidence"]), float(known.loc[umi, "p_car"])
        else:
            p_car, kind = math.nan, molecule.kind()
            if kind == "shared" and umi in found.homolog_umis[molecule.homolog()[0]]:
                kind = "other_read"
            elif kind != "endogenous":
                kind = "unlisted"
            row = molecule.row(sample, barcode, umi, scorer.construct.domains)
            shown = "endogenous" if kind == "other_read" else kind
            added.append({**row, "evidence": shown, "p_car": p_car, "counted": False})
        gene, odds = molecule.homolog()[0], molecule.odds()
        alignments.append(
            _align(umi, own, gene, _verdict(kind, p_car, gene, odds), scorer, homology)
        )
    table = pd.concat([molecules, pd.DataFrame(added)]) if added else molecules
    return table.reset_index(drop=True), alignments


def _verdict(kind: str, p_car: float, gene: str, odds: float) -> str:
    """Return what the reads of a molecule say, in words; ``odds`` are nats for the CAR against the gene."""
    better = times(abs(odds) / math.log(10))
    if kind == "unique":
        return "it holds bases that no human gene shares with the CAR: CAR mRNA"
    if kind == "junction" and p_car < MIN_P_CAR:
        return (
            f"the CAR explains the reads {better} times better than {gene}; but {gene} has so many molecules in this "
            f"cell that a sequencing error is the likelier cause: p_car is {p_car:.2g}, not counted as CAR"
        )
    if kind == "other_read":
        return (
            f"the CAR and {gene} explain these reads alike, but another read of this UMI is {gene}'s alone: not CAR "
            "mRNA, not counted"
        )
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
    return f"{told}; from the molecules of either beside this stretch and in this cell, p_car is {p_car:.2g}: {counted}"


def _align(
    umi: str,
    reads: Sequence[CellRead],
    gene: str,
    words: str,
    scorer: Scorer,
    homology: pd.DataFrame,
) -> MoleculeReads:
    """Lay the reads of a molecule on the CAR and, where they may be its homolog's, on that."""
    copies = Counter(read.sequence for read in reads)
    distinct = list({read.sequence: read for read in reads}.values())
    lines, by_transcript = [], defaultdict(list)
    for i, read in enumerate(distinct[:MAX_DRAWN], 1):
        placed = [(place(read.sequence, t.sequence), t) for t in scorer.construct.transcripts]
        best, transcript = max(placed, key=lambda p: p[0].score)
        by_transcript[transcript].append((f"read {i}", best))
        fits = f"CAR {read.score.car:.0f}"
        if read.score.gene:
            fits += f", {read.score.gene} {read.score.homolog:.0f}"
        more = f" and {count(copies[read.sequence] - 1, 'copy', 'copies')}"
        lines.append(
            f"read {i}: {read.name}{more if copies[read.sequence] > 1 else ''}; {read.source}; "
            f"{count(read.score.edits, 'edit')} against the CAR; scores: {fits}"
        )
    if len(distinct) > MAX_DRAWN:
        lines.append(f"{len(distinct) - MAX_DRAWN} more reads are in reads.bam")
    pileups = [_on_car(scorer.construct, t, homology, own) for t, own in by_transcript.items()]
    contested = [
        (f"read {i}", read)
        for i, read in enumerate(distinct[:MAX_DRAWN], 1)
        if gene and read.score.homologous
    ]
    if contested:
        pileups.append(_on_homolog([r for r in scorer.homologs if r.gene == gene], contested))
    return MoleculeReads(umi, words, lines, pileups)


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


def _on_homolog(
    transcripts: Sequence[EndogenousTranscript], reads: Sequence[tuple[str, CellRead]]
) -> Pileup:
    """Return the pileup on the one transcript of a homolog that fits the reads best."""
    laid = [
        [(label, place(read.sequence, t.sequence)) for label, read in reads] for t in transcripts
    ]
    best = max(range(len(laid)), key=lambda i: sum(p.score for _, p in laid[i]))
    homolog = transcripts[best]
    where = "genomic" if is_window(homolog.transcript) else "transcript"
    return Pileup(
        f"on {homolog.gene} ({where} {homolog.transcript})",
        homolog.sequence,
        range(1, len(homolog.sequence) + 1),
        {},
        laid[best],
    )
