"""quicklook: from FASTQ straight to CAR molecules per barcode, without a genome.

Takes minutes for a lane. Reads of R2 that share k-mers with the CAR, or with the mRNAs whose domains CARs contain, are
picked out by compiled code and scored against both; all other reads are only counted by barcode. It cannot know which
barcodes are cells, their type, or homologs that only a genome would show.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
from Bio.Seq import reverse_complement

from carseq.construct import Construct, rivals
from carseq.construct.genes import HumanPart, human_parts, unknown_parts
from carseq.construct.homology import EndogenousTranscript
from carseq.construct.library import relatives
from carseq.errors import CarseqError
from carseq.io.barcodes import is_umi
from carseq.io.files import write_table
from carseq.library.detect import detect_chemistry, of_strand
from carseq.library.geometry import CHEMISTRIES, Chemistry, layout, own_name
from carseq.library.observed import repeated_barcodes
from carseq.library.presets import OBSERVED
from carseq.library.whitelist import encode as barcode_codes
from carseq.library.whitelist import on_list, read_whitelist
from carseq.log import get_logger
from carseq.molecules import Read, Scorer, Target, assemble
from carseq.molecules.fastq import Tally, barcode_bases, picking
from carseq.schema.percent import plain_percent
from carseq.schema.tables import LOSSES, MOLECULES, QUICKLOOK
from carseq.sequence.kmers import KmerSet

if TYPE_CHECKING:
    from carseq.figures.beside import Beside

log = get_logger(__name__)

#: Reads from which the chemistry is found.
_FIRST = 20_000
#: Bases beyond a part of a gene that agree with the CAR by chance.
_CHANCE = 5
#: CAR reads turned and scored at once.
_AT_ONCE = 100


@dataclass(frozen=True)
class Look:
    """What a quick look found.

    Attributes
    ----------
    molecules
        Schema ``MOLECULES``, of barcodes on the list.
    barcodes
        By barcode on the list with a CAR molecule: ``reads`` (of any gene), ``rank`` among all barcodes by reads,
        ``car_molecules``, ``unique`` (unique or junction), ``shared``, ``p_car`` (their sum), ``car_reads``.
    losses
        Schema ``LOSSES``.
    chemistry
        As detected; its strand is that of the CAR's reads, empty where none tells it.
    n_reads, n_valid
        Reads, and those whose barcode is on the list, exactly.
    reads_of_rank
        Reads of every barcode on the list, the most first.
    not_compared
        Parts of the CAR that are of human genes with which its reads were not compared: what lies in them alone is not
        sure.
    unknown
        Parts of the CAR that may be a human gene's for all that carseq knows; what lies in them counts as sure.
    """

    molecules: pd.DataFrame
    barcodes: pd.DataFrame
    losses: pd.DataFrame
    chemistry: Chemistry
    n_reads: int
    n_valid: int
    reads_of_rank: npt.NDArray[np.int64]
    not_compared: tuple[HumanPart, ...] = ()
    unknown: tuple[HumanPart, ...] = ()


def quicklook(
    pairs: Sequence[tuple[str | Path, str | Path]],
    construct: Construct,
    *,
    chemistry: str = "auto",
    whitelist: str | Path | None = None,
    sample: str = "sample",
    endogenous: Sequence[EndogenousTranscript] | None = None,
) -> Look:
    """Find the CAR molecules of FASTQ files.

    Parameters
    ----------
    pairs
        (R1, R2) files of one sample.
    construct
        The CAR.
    chemistry
        ``auto``, a known name or a STARsolo geometry; ``auto`` takes the strand from the CAR's own reads.
    whitelist
        Barcode list; None: the best of the known ones.
    sample
        Name, for the tables.
    endogenous
        Transcripts that share domains with CARs; None: the RefSeq mRNAs that come with carseq.

    Raises
    ------
    CarseqError
        If files are damaged or do not pair up, or no barcode list fits.
    """
    if endogenous is None:
        endogenous = [EndogenousTranscript(gene, gene, s) for gene, s in relatives().items()]
    similar = rivals(construct.sequence, endogenous)
    own = [t.sequence for t in construct.transcripts]
    kmers = KmerSet([*own, *(r.sequence for r in similar)])
    # Reads are picked while the chemistry is found: of a kit that is not named yet, with the longest UMI.
    where = layout(own_name(chemistry))
    longest = max(length for length, *_ in CHEMISTRIES.values())
    umi = where.umi if chemistry != "auto" else (where.umi[0], longest)
    with picking(pairs, kmers, where.parts[0], umi) as result:
        found = detect_chemistry(
            pairs, [], sample=sample, chemistry=chemistry, whitelist=whitelist, n=_FIRST
        )
        if found.positions:
            raise CarseqError(
                f"the quick look does not read the barcodes of {found.name}",
                "they have several parts",
                "run the workflow, which does",
            )
        target = Target(construct, similar, strand=found.strand)
        target.scorer.load()
        picked, tally = result()
    with ThreadPoolExecutor(1) as thread:
        listing = thread.submit(_listed, tally, found)
        picked = [read._replace(umi=read.umi[: found.umi_length]) for read in picked]
        resembling = target.scorer.kmers.among([read.sequence for read in picked])
        if chemistry == "auto":
            of_car = [r.sequence for r, is_own in zip(picked, resembling, strict=True) if is_own]
            if (strand := _strand(target.scorer, of_car)) not in (target.strand, ""):
                target = replace(target, strand=strand)
            found = of_strand(found, strand) if strand else replace(found, strand=strand)
        scorer, strand = target.scorer, target.strand
        names, counts = listing.result()
    valid = set(names.tolist())
    accounted: Counter[str] = Counter(
        unmapped=int(resembling.sum()), unmapped_looked_at=tally.n_reads
    )
    homolog_molecules: dict[str, set[tuple[str, str]]] = defaultdict(set)
    # By the length of the k-mer, which is less than 40 in short reads.
    genes: dict[int, dict[str, str]] = {}
    candidates = []
    for read, is_own in zip(picked, resembling.tolist(), strict=True):
        sequence = read.sequence if strand == "Forward" else reverse_complement(read.sequence)
        # A read without a sound UMI is no molecule, as in the workflow.
        sound = read.barcode in valid and is_umi(read.umi, found.umi_length)
        barcode = read.barcode if sound else None
        if is_own:
            candidates.append(Read(barcode, read.umi, sequence, "unmapped", False))
            continue
        kmer = sequence[20:60]
        if len(kmer) not in genes:
            genes[len(kmer)] = _genes_by_kmer(len(kmer), scorer)
        if (gene := genes[len(kmer)].get(kmer)) and barcode is not None:
            homolog_molecules[gene].add((barcode, read.umi))
    molecules, losses = assemble(
        candidates, scorer, sample, counts=accounted, homolog_molecules=homolog_molecules
    )
    order = np.argsort(-counts, kind="stable")
    parts = tuple(human_parts(construct, {e.gene for e in endogenous}))
    table = _by_barcode(molecules, names[order], counts[order], _told(molecules, parts))
    return Look(
        molecules,
        table,
        losses,
        found,
        tally.n_reads,
        int(counts.sum()),
        counts[order],
        parts,
        tuple(unknown_parts(construct)),
    )


def write_look(
    look: Look, sample: str, folder: str | Path, beside: Beside | None = None
) -> list[str]:
    """Write a quick look's tables and knee plot into a folder; return it in words.

    Parameters
    ----------
    look
        Of :func:`quicklook`.
    sample
        Begins the files' names.
    folder
        For ``SAMPLE.barcodes.tsv``, ``SAMPLE.molecules.parquet``, ``SAMPLE.losses.tsv`` and ``SAMPLE.knee.png``.
    beside
        Draws the plot (:func:`carseq.figures.beside.drawing`); None: it is drawn here, when the tables are written.
    """
    from carseq.figures.beside import Beside, save_knee
    from carseq.figures.phrases import count

    folder = Path(folder)
    finish = (beside or Beside()).start(
        save_knee,
        look.reads_of_rank,
        look.barcodes["rank"].to_numpy(),
        look.barcodes["car_molecules"].to_numpy(),
        sample,
        folder / f"{sample}.knee.png",
    )
    write_table(look.barcodes, folder / f"{sample}.barcodes.tsv", QUICKLOOK)
    write_table(look.molecules, folder / f"{sample}.molecules.parquet", MOLECULES)
    write_table(look.losses, folder / f"{sample}.losses.tsv", LOSSES)
    finish()
    n_sure = int(look.barcodes["unique"].sum())
    words = [
        f"{sample}: {look.n_reads:,} reads, {plain_percent(look.n_valid / max(1, look.n_reads))} with a listed barcode "
        f"({_kit(look.chemistry)})",
        f"  {count(len(look.molecules), 'CAR molecule')} in {count(len(look.barcodes), 'barcode')}: {n_sure} sure, "
        f"{len(look.molecules) - n_sure} in sequence shared with a human gene",
    ]
    told = look.molecules["evidence"].isin(["unique", "junction"])
    if n := int(told.sum()) - n_sure:
        named = ", ".join(dict.fromkeys(f"{p.name} of {p.gene}" for p in look.not_compared))
        words.append(
            f"  {n} of these lie in {named}, whose own mRNA this look does not know: where the vector has the gene's "
            "codons, its reads look the same; the workflow compares them with the genome"
        )
    n_told = int(_told(look.molecules, look.not_compared).sum())
    if n := n_told - int(_told(look.molecules, [*look.not_compared, *look.unknown]).sum()):
        named = ", ".join(f"{p.name}, {p.end - p.start:,} nt" for p in look.unknown)
        words.append(
            f"  {n} of the sure ones lie in a part that carseq does not know ({named}): if it is a human gene's, with "
            "its codons, that gene's reads look the same; the workflow compares them with the genome"
        )
    for row in look.barcodes.head(10).itertuples():
        words.append(
            f"  {row.barcode}: {row.unique} sure, {row.shared} shared; {count(row.reads, 'read')}, rank {row.rank:,}"
        )
    if not len(look.molecules):
        words.append(
            "  none: `carseq construct` shows whether these reads could show this CAR at all"
        )
    words.append(
        f"  wrote {folder}/{sample}.barcodes.tsv, .molecules.parquet, .losses.tsv, .knee.png"
    )
    return words


def _kit(chemistry: Chemistry) -> str:
    """Return a chemistry in words."""
    if not chemistry.strand:
        return f"UMIs of {chemistry.umi_length} nt; no read of the CAR tells whether reads are 3 prime or 5 prime"
    return f"{chemistry.name}, {'3 prime' if chemistry.strand == 'Forward' else '5 prime'} reads"


def _told(molecules: pd.DataFrame, parts: Sequence[HumanPart]) -> pd.Series:
    """Return which molecules no human gene explains: not those within parts of genes that were not compared."""
    starts, ends = molecules["tx_start"], molecules["tx_end"]
    told = molecules["evidence"].isin(["unique", "junction"])
    # Parts of one gene that follow each other (IgG4's CH2 and CH3) are one.
    merged: list[HumanPart] = []
    for part in parts:
        if merged and merged[-1].gene == part.gene and part.start <= merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(part.end, merged[-1].end))
        else:
            merged.append(part)
    for part in merged:
        told &= ~((starts >= part.start - _CHANCE) & (ends <= part.end + _CHANCE))
    return told


def _by_barcode(
    molecules: pd.DataFrame,
    names: npt.NDArray[np.str_],
    counts: npt.NDArray[np.int64],
    told: pd.Series,
) -> pd.DataFrame:
    """Return the barcodes with a CAR molecule, those with most first; ``names`` are sorted by ``counts``."""
    table = (
        molecules.assign(unique=told, shared=~told, car_molecules=1)
        .groupby("barcode", as_index=False)[
            ["car_molecules", "unique", "shared", "p_car", "n_reads"]
        ]
        .sum()
        .rename(columns={"n_reads": "car_reads"})
    )
    at = pd.Series(np.arange(len(names)), index=names).reindex(table["barcode"]).to_numpy()
    table.insert(1, "reads", counts[at])
    table.insert(2, "rank", at + 1)
    return table.sort_values(["unique", "reads"], ascending=False, ignore_index=True)


def _listed(
    tally: Tally, chemistry: Chemistry
) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64]]:
    """Return the barcodes on the list, and how many reads each has."""
    codes, counts = tally.result()
    bases = barcode_bases(codes, chemistry.cb_length)
    if chemistry.whitelist == OBSERVED:
        listed = repeated_barcodes(codes, counts, chemistry.cb_length)
    else:
        listed = on_list(barcode_codes(bases), read_whitelist(chemistry.whitelist))
    return bases[listed].view(f"S{chemistry.cb_length}").ravel().astype(str), counts[listed]


def _strand(scorer: Scorer, reads: Sequence[str]) -> str:
    """Return the strand on which more reads are the CAR's; empty where none is."""
    scorer.score_all(reads)
    sense = sum(scorer.score(read) is not None for read in reads)
    antisense = 0
    # Turned reads of a 3' library fit nowhere, which takes long to see: it ends when they cannot be more any longer.
    for start in range(0, len(reads), _AT_ONCE):
        if antisense + len(reads) - start <= sense:
            break
        turned = [reverse_complement(read) for read in reads[start : start + _AT_ONCE]]
        scorer.score_all(turned)
        antisense += sum(scorer.score(read) is not None for read in turned)
    strand = "Reverse" if antisense > sense else "Forward" if sense else ""
    log.info("CAR reads: %d of %d fit in sense: %s", sense, len(reads), strand)
    return strand


def _genes_by_kmer(size: int, scorer: Scorer) -> dict[str, str]:
    """Return the gene of each k-mer of ``size`` bases of the homologs that share a stretch with the CAR."""
    found: dict[str, str] = {}
    for homolog in scorer.homologs:
        if homolog.gene in scorer.stretches:
            for start in range(len(homolog.sequence) - size + 1):
                found.setdefault(homolog.sequence[start : start + size], homolog.gene)
    return found
