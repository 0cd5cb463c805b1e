"""molecules: the evidence for the CAR, one row a molecule.

Takes any coordinate-sorted BAM with cell barcodes and UMIs. Candidates are reads on the CAR's contig, reads
at the loci of its endogenous relatives, and unmapped reads that resemble the CAR; each is scored anew against
the CAR's transcripts and the relatives' transcripts on equal terms, since alignment to the genome alone does
not settle a read of a shared domain. Makes ``molecules.parquet`` and ``losses.tsv``.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import edlib
import numpy as np
import pandas as pd
import parasail
import pysam
from scipy import stats

from carseq.construct import Construct
from carseq.construct.domains import domains_at
from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.errors import CarseqError
from carseq.log import get_logger
from carseq.tables import LOSSES, MOLECULES

log = get_logger(__name__)

#: Substitution errors per base in the scores below (Illumina R2, with room for the vector's own variants).
BASE_ERROR = 0.004
#: Local-alignment scores in thirds of a nat: a match is log((1-e)/0.25) = 1.38, a mismatch log((e/3)/0.25) =
#: -5.2, so that a score is the log-odds of the read coming from the transcript rather than from random bases.
NATS = 1.0 / 3.0
MATCH, MISMATCH = (
    round(math.log((1 - BASE_ERROR) / 0.25) / NATS),
    round(math.log(BASE_ERROR / 3 / 0.25) / NATS),
)
GAP_OPEN, GAP_EXTEND = 21, 6
#: A candidate must be explained over at least this many bases (score of as many matches).
MIN_BASES = 40
#: Log-odds (nats) from which CAR and relative are told apart: 1 in 100.
DECISIVE = math.log(99)
#: Exact words that an unmapped read must share with the CAR to be looked at, and their length.
SEED, MIN_SEEDS = 17, 3
#: Distance of a read from the primed end of its transcript: insert sizes of 10x libraries are 350 +- 100 nt
#: (field measurement); molecules farther than FAR are internally primed or degraded.
INSERT, INSERT_SD, FAR = 350.0, 100.0, 700
#: Molecules of a relative whose place is looked at, at most.
MAX_PLACED = 5_000
_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


@dataclass
class Evidence:
    """What a read says: log-odds for the CAR and its best rival, and where it lies on the CAR."""

    car: float
    rival: float
    gene: str
    start: int
    end: int
    edits: int
    homologous: bool


@dataclass
class _Molecule:
    reads: int = 0
    car: float = 0.0
    rivals: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    start: int = 1 << 30
    end: int = 0
    edits: int = 1 << 30
    outside: bool = False
    sources: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Segment:
    """A stretch the CAR shares with a relative: its place on the CAR and on the relative's transcript."""

    start: int
    end: int
    there: int
    there_end: int
    rival: str


@dataclass(frozen=True)
class Coverage:
    """Where reads fall on a transcript, by their distance from the end at which it was primed.

    Attributes
    ----------
    mean, sd
        Of the peak, nt.
    elsewhere
        Share of molecules spread evenly over the transcript: internally primed or degraded.
    from_start
        Whether distance counts from the 5' end (5' chemistry) or from the 3' end.
    """

    mean: float
    sd: float
    elsewhere: float
    from_start: bool

    def share(self, start: int, end: int, length: int, read_length: int) -> float:
        """Return the expected share of a transcript's molecules whose read lies within [start, end)."""
        n_places = end - start - read_length
        if n_places <= 0:
            return 0.0
        far = (
            (start + read_length, end)
            if self.from_start
            else (length - end + read_length, length - start)
        )
        near, beyond = stats.norm.cdf(far, self.mean, self.sd)
        return float((1 - self.elsewhere) * (beyond - near) + self.elsewhere * n_places / length)


def fit_coverage(distances: Sequence[int], from_start: bool) -> Coverage:
    """Fit :class:`Coverage` to distances of reads from the primed end, nt."""
    found = np.asarray(distances, dtype=float)
    peak = found[found <= FAR]
    # Two of twelve pseudo-molecules are off the peak: the share in published 3' data is 10-20 %.
    elsewhere = ((found > FAR).sum() + 2) / (len(found) + 12)
    if len(peak) < 50:
        return Coverage(INSERT, INSERT_SD, elsewhere, from_start)
    middle = float(np.median(peak))
    spread = float(stats.median_abs_deviation(peak, scale="normal"))
    return Coverage(middle, min(max(spread, 30.0), 200.0), elsewhere, from_start)


class Scorer:
    """Scores reads against the CAR's transcripts and those of its relatives, on equal terms.

    Parameters
    ----------
    construct
        The CAR.
    rivals
        Spliced transcripts of the relatives.
    homology
        Table of :func:`carseq.construct.homology`.
    """

    def __init__(
        self, construct: Construct, rivals: Sequence[EndogenousTranscript], homology: pd.DataFrame
    ) -> None:
        self.construct = construct
        self.rivals = list(rivals)
        self.homologous = np.zeros(len(construct.sequence), dtype=bool)
        for start, end, kind in homology[["start", "end", "class"]].itertuples(index=False):
            if kind != "car_only":
                self.homologous[int(start) : int(end)] = True
        self._matrix = parasail.matrix_create("ACGT", MATCH, MISMATCH)
        self.segments = self._find_segments(homology)
        self._cache: dict[str, Evidence | None] = {}
        self.words = {
            t.sequence[i : i + SEED]
            for t in construct.transcripts
            for i in range(len(t.sequence) - SEED + 1)
        }

    def _place(self, read: str, reference: str) -> tuple[float, int, int, int, int]:
        """Return log-odds, and where a local alignment lies on read and reference (half-open)."""
        found = parasail.sw_trace_striped_16(read, reference, GAP_OPEN, GAP_EXTEND, self._matrix)
        trace = found.traceback
        on_read = sum(1 for c in trace.query if c != "-")
        on_reference = sum(1 for c in trace.ref if c != "-")
        last, end = found.end_query + 1, found.end_ref + 1
        return found.score * NATS, last - on_read, last, end - on_reference, end

    def _find_segments(self, homology: pd.DataFrame) -> dict[str, Segment]:
        """Return, for each relative, the stretch it shares with the CAR, on both transcripts."""
        segments = {}
        for gene, rows in homology[homology["class"] != "car_only"].groupby("gene"):
            first, last = int(rows["start"].min()), int(rows["end"].max())
            # Windows around exons are named by their place; the transcript has the flanks of the mRNA.
            own = [r.sequence for r in self.rivals if r.gene == gene and ":" not in r.transcript]
            best = max(
                ((*self._place(self.construct.sequence[first:last], t), t) for t in own),
                default=None,
                key=lambda placed: placed[0],
            )
            if best is not None:
                _, start, end, there, there_end, sequence = best
                segments[str(gene)] = Segment(
                    first + start, first + end, there, there_end, sequence
                )
        return segments

    def distances(self, gene: str, reads: Iterable[str], from_start: bool) -> list[int]:
        """Return how far from the primed end of a relative's transcript reads reach, nt."""
        rival = self.segments[gene].rival
        placed = (self._place(read, rival) for read in reads)
        enough = MIN_BASES * MATCH * NATS
        return [
            end if from_start else len(rival) - start
            for score, _, _, start, end in placed
            if score >= enough
        ]

    def resembles_car(self, read: str) -> bool:
        """Whether a read shares enough words with the CAR, sense strand, to be worth scoring."""
        hits = 0
        for i in range(0, len(read) - SEED + 1, 2):
            if read[i : i + SEED] in self.words:
                hits += 1
                if hits >= MIN_SEEDS:
                    return True
        return False

    def _align(self, read: str, reference: str) -> float:
        return (
            parasail.sw_striped_16(read, reference, GAP_OPEN, GAP_EXTEND, self._matrix).score * NATS
        )

    def score(self, read: str) -> Evidence | None:
        """Score a read given on the mRNA's strand; None if the CAR does not explain it.

        Equal reads are scored once.
        """
        if read not in self._cache:
            self._cache[read] = self._score(read)
        return self._cache[read]

    def _score(self, read: str) -> Evidence | None:
        placed = [(*self._place(read, t.sequence), t) for t in self.construct.transcripts]
        score, first_read, last_read, first, last, transcript = max(placed, key=lambda p: p[0])
        if score < MIN_BASES * MATCH * NATS:
            return None
        aligned = read[first_read:last_read]
        edits = edlib.align(aligned, transcript.sequence[first:last])["editDistance"]
        start, end = _to_full(transcript.blocks, first), _to_full(transcript.blocks, last - 1) + 1
        homologous = bool(self.homologous[_covered(transcript.blocks, first, last)].any())
        rival, gene = 0.0, ""
        if homologous:
            for other in self.rivals:
                explained = self._align(read, other.sequence)
                if explained > rival:
                    rival, gene = explained, other.gene
        return Evidence(score, rival, gene, start, end, edits, homologous)


def _to_full(blocks: Sequence[tuple[int, int]], position: int) -> int:
    """Return the place on the full transcript of a position on a spliced one."""
    for start, end in blocks:
        if position < end - start:
            return start + position
        position -= end - start
    return blocks[-1][1]


def _covered(blocks: Sequence[tuple[int, int]], first: int, last: int) -> list[int]:
    """Return the full transcript's bases under [first, last) of a spliced one."""
    return [_to_full(blocks, p) for p in range(first, last)]


@dataclass
class _Read:
    name: str
    barcode: str | None
    umi: str
    sequence: str
    source: str


def _decode(
    record: pysam.AlignedSegment, strand: str, tags: tuple[str, str]
) -> tuple[str, str | None, str]:
    """Return a record's sequence on the mRNA's strand, its barcode (None if not valid) and its UMI."""
    sequence = record.get_forward_sequence() or ""
    if strand == "Reverse":
        sequence = sequence.translate(_COMPLEMENT)[::-1]
    barcode, umi = (str(record.get_tag(tag)) if record.has_tag(tag) else "-" for tag in tags)
    if umi == "-" and record.has_tag("UR"):
        umi = str(record.get_tag("UR"))
    return sequence, None if barcode == "-" else barcode, umi


def car_reads(
    bam: pysam.AlignmentFile, scorers: Sequence[Scorer], strand: str, tags: tuple[str, str]
) -> Iterator[_Read]:
    """Yield, once each, reads on the contig of a construct and unmapped ones that resemble one."""
    seen: set[str] = set()
    contigs = [s.construct.name for s in scorers if s.construct.name in bam.references]
    for place in [*contigs, "*"]:
        for record in bam.fetch(place):
            name = record.query_name or ""
            if name in seen or record.query_sequence is None:
                continue
            sequence, barcode, umi = _decode(record, strand, tags)
            if place != "*" or any(s.resembles_car(sequence) for s in scorers):
                seen.add(name)
                yield _Read(name, barcode, umi, sequence, "aligned" if place != "*" else "unmapped")


def _candidates(
    bam: pysam.AlignmentFile,
    scorer: Scorer,
    car: str,
    loci: Iterable[Locus],
    strand: str,
    tags: tuple[str, str],
    counts: Counter[str],
    neighbours: dict[str, dict[tuple[str, str], str]],
) -> Iterator[_Read]:
    """Yield each candidate read once, on the mRNA's strand.

    ``neighbours`` gathers, by gene, one read of each molecule at the relatives that does not resemble the CAR.
    """
    seen: set[str] = set()

    def one(record: pysam.AlignedSegment, source: str, gene: str = "") -> _Read | None:
        name = record.query_name or ""
        if name in seen or record.query_sequence is None:
            return None
        sequence, barcode, umi = _decode(record, strand, tags)
        if source != "aligned" and not scorer.resembles_car(sequence):
            if gene in scorer.segments:
                kept = sequence if len(neighbours[gene]) < MAX_PLACED else ""
                neighbours[gene].setdefault((barcode or "-", umi), kept)
            return None
        seen.add(name)
        return _Read(name, barcode, umi, sequence, source)

    if car in bam.references:
        for record in bam.fetch(car):
            if read := one(record, "aligned"):
                counts["on_contig"] += 1
                yield read
    for locus in loci:
        if locus.contig in bam.references:
            for record in bam.fetch(locus.contig, locus.start, locus.end):
                if read := one(record, "homolog", locus.gene):
                    counts["at_homologs"] += 1
                    yield read
    for record in bam.fetch("*"):
        counts["unmapped_seen"] += 1
        if read := one(record, "unmapped"):
            counts["unmapped"] += 1
            yield read


def collapse_umis(counts: Counter[str]) -> dict[str, str]:
    """Map each UMI of a cell to the one it stands for: one substitution from a UMI with more reads.

    As STARsolo's 1MM_CR: a UMI is corrected to the one with the most reads at Hamming distance 1 (ties: the
    alphabetically last), once, without chains.
    """
    target = {}
    for umi, n in counts.items():
        best = (n, umi)
        for i in range(len(umi)):
            for base in "ACGT":
                if base != umi[i]:
                    other = umi[:i] + base + umi[i + 1 :]
                    if (counts.get(other, 0), other) > best:
                        best = (counts[other], other)
        target[umi] = best[1]
    return target


def find_molecules(
    bam: str | Path,
    construct: Construct,
    rivals: Sequence[EndogenousTranscript],
    homology: pd.DataFrame,
    *,
    sample: str,
    strand: str = "Forward",
    loci: Sequence[Locus] = (),
    barcode_tag: str = "CB",
    umi_tag: str = "UB",
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the CAR molecules of a sample.

    Parameters
    ----------
    bam
        Coordinate-sorted, indexed BAM with barcode and UMI tags. The CAR's contig may be absent: reads are then
        found among the unmapped and at homologous loci.
    construct
        The CAR; its name is the contig's.
    rivals
        Endogenous transcripts similar to it.
    homology
        Which bases are shared.
    sample
        Name of the sample, for the tables.
    strand
        ``Forward`` if reads are sense (3'), ``Reverse`` if antisense (5').
    loci
        Exons of the rivals, where reads of shared domains may have been aligned.
    barcode_tag, umi_tag
        BAM tags.

    Returns
    -------
    molecules : pandas.DataFrame
        Schema ``MOLECULES``. ``p_car`` of a shared molecule is the share of the CAR expected there, from the sample's
        molecules that can be told apart and from where reads fall; of others, their posterior at that prior.
    losses : pandas.DataFrame
        Schema ``LOSSES``: where the CAR's reads went, up to molecules.

    Raises
    ------
    CarseqError
        If the BAM cannot be read, lacks the barcode tag, names its contigs otherwise than the annotation, or
        holds neither the CAR's contig nor unmapped reads.
    """
    scorer = Scorer(construct, rivals, homology)
    counts: Counter[str] = Counter()
    neighbours: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    cells: dict[str, list[tuple[str, Evidence, str]]] = defaultdict(list)
    with open_bam(bam) as alignments:
        # A handle of its own: reading the head moves the place from which later fetches go on.
        _check_bam(alignments, construct.name, loci, barcode_tag)
    with open_bam(bam) as alignments:
        for read in _candidates(
            alignments,
            scorer,
            construct.name,
            loci,
            strand,
            (barcode_tag, umi_tag),
            counts,
            neighbours,
        ):
            evidence = scorer.score(read.sequence)
            if evidence is None:
                counts["unlike"] += 1
            elif read.barcode is None:
                counts["no_barcode"] += 1
            else:
                cells[read.barcode].append((read.umi, evidence, read.source))
    molecules: dict[tuple[str, str], _Molecule] = defaultdict(_Molecule)
    for barcode, reads in cells.items():
        target = collapse_umis(Counter(umi for umi, *_ in reads))
        for umi, evidence, source in reads:
            molecule = molecules[barcode, target[umi]]
            molecule.reads += 1
            molecule.car += evidence.car
            if evidence.gene:
                molecule.rivals[evidence.gene] += evidence.rival
            molecule.start = min(molecule.start, evidence.start)
            molecule.end = max(molecule.end, evidence.end)
            molecule.edits = min(molecule.edits, evidence.edits)
            molecule.outside |= not evidence.homologous
            molecule.sources[source] += 1
    table = _classify(molecules, sample, scorer, neighbours, strand == "Reverse")
    endogenous = table["evidence"] == "endogenous"
    losses = _losses(sample, counts, table)
    result = MOLECULES.conform(
        table[~endogenous].sort_values(["barcode", "umi"], ignore_index=True)
    )
    log.info(
        "%s: %d CAR molecules (%s); %d candidates were endogenous",
        sample,
        len(result),
        ", ".join(f"{n} {kind}" for kind, n in result["evidence"].value_counts().items()),
        int(endogenous.sum()),
    )
    return result, losses


def open_bam(path: str | Path) -> pysam.AlignmentFile:
    """Open a coordinate-sorted, indexed BAM.

    Raises
    ------
    CarseqError
        If it cannot be read, is not sorted or has no index.
    """
    try:
        bam = pysam.AlignmentFile(str(path), "rb")
    except (OSError, ValueError) as error:
        raise CarseqError(
            f"cannot read the BAM {path}", str(error), "check the path; it must be a BAM"
        ) from None
    if bam.header.to_dict().get("HD", {}).get("SO") != "coordinate":
        raise CarseqError(f"{path} is not sorted by coordinate", "", "run `samtools sort` on it")
    if not bam.has_index():
        raise CarseqError(f"{path} has no index", "", "run `samtools index` on it")
    return bam


def _check_bam(bam: pysam.AlignmentFile, car: str, loci: Sequence[Locus], barcode_tag: str) -> None:
    """Raise if no CAR could be seen in a BAM, whatever was in the sample."""
    head = list(islice(bam.fetch(until_eof=True), 20_000))
    if head and not any(record.has_tag(barcode_tag) for record in head):
        tags = sorted({tag for record in head[:200] for tag, _ in record.get_tags()})
        raise CarseqError(
            f"the BAM has no {barcode_tag} tag",
            f"its first {len(head)} reads have {', '.join(tags) or 'no tags'}",
            "name the tag of the cell barcode in `molecules.barcode_tag`, or give the BAM of Cell Ranger or STARsolo",
        )
    known = set(bam.references)
    if loci and not any(locus.contig in known for locus in loci):
        raise CarseqError(
            "the BAM and the annotation name their contigs differently",
            f"annotation: {loci[0].contig}; BAM: {', '.join(bam.references[:3])}",
            "give the genome and annotation the BAM was made with",
        )
    if head and car not in known and bam.nocoordinate == 0:
        short = sorted(zip(bam.lengths, bam.references, strict=True))[:3]
        raise CarseqError(
            f"the BAM can hold no CAR read: it has no contig {car} and no unmapped reads",
            f"its shortest contigs are {', '.join(name for _, name in short)}",
            "give `construct.name` as the BAM spells the CAR's contig, or a BAM that kept its unmapped reads",
        )


def _classify(
    molecules: dict[tuple[str, str], _Molecule],
    sample: str,
    scorer: Scorer,
    neighbours: dict[str, dict[tuple[str, str], str]],
    from_start: bool,
) -> pd.DataFrame:
    """Return one row a candidate molecule, with its class and p_car."""
    rows = []
    for (barcode, umi), m in molecules.items():
        # One gene must explain every read of the molecule.
        gene, rival = max(m.rivals.items(), key=lambda item: item[1], default=("", 0.0))
        odds = m.car - rival
        if m.outside:
            kind = "unique"
        elif odds >= DECISIVE:
            kind = "junction"
        elif odds > -DECISIVE:
            kind = "shared"
        else:
            kind = "endogenous"
        rows.append(
            {
                "sample": sample,
                "barcode": barcode,
                "umi": umi,
                "n_reads": m.reads,
                "evidence": kind,
                "odds": odds,
                "tx_start": m.start,
                "tx_end": m.end,
                "domains": domains_at(scorer.construct.domains, m.start, m.end),
                "edits": m.edits,
                "endogenous_gene": gene,
                "source": m.sources.most_common(1)[0][0],
            }
        )
    columns = [*rows[0]] if rows else [c for c in MOLECULES.columns if c != "p_car"] + ["odds"]
    table = pd.DataFrame(rows, columns=columns)
    prior = _priors(table, scorer, neighbours, from_start)
    log_prior = table["endogenous_gene"].map(prior).fillna(0.0).astype(float)
    log_odds = np.clip(table["odds"].astype(float) + log_prior, -50, 50)
    table["p_car"] = np.where(
        table["evidence"].isin(["unique", "junction"]),
        np.maximum(1 / (1 + np.exp(-log_odds)), 0.99),
        1 / (1 + np.exp(-log_odds)),
    )
    return table.drop(columns="odds")


def _priors(
    table: pd.DataFrame,
    scorer: Scorer,
    neighbours: dict[str, dict[tuple[str, str], str]],
    from_start: bool,
) -> dict[str, float]:
    """Return the log prior odds of CAR against each rival for a molecule inside their shared stretch.

    The molecules of either that can be told apart are counted; where reads fall on a transcript, learnt from
    the relatives', says what share of each is expected inside the stretch.
    """
    told_apart = table["evidence"].isin(["unique", "junction"])
    n_car = int(told_apart.sum())
    length = len(scorer.construct.sequence)
    ends = (
        table.loc[told_apart, "tx_end"]
        if from_start
        else length - table.loc[told_apart, "tx_start"]
    )
    distances = [int(d) for d in ends]
    for gene, reads in neighbours.items():
        distances += scorer.distances(gene, [r for r in reads.values() if r], from_start)
    coverage = fit_coverage(distances, from_start)
    spans = table["tx_end"] - table["tx_start"]
    read_length = int(spans[spans > 0].median()) if len(spans) else 90
    priors = {}
    for gene, segment in scorer.segments.items():
        straddling = (
            (table["evidence"] == "endogenous") & (table["endogenous_gene"] == gene)
        ).sum()
        n_gene = len(neighbours.get(gene, {})) + int(straddling)
        inside_car = coverage.share(segment.start, segment.end, length, read_length)
        inside_gene = coverage.share(
            segment.there, segment.there_end, len(segment.rival), read_length
        )
        priors[gene] = math.log((n_car + 0.5) * (inside_car + 1e-6)) - math.log(
            (n_gene + 0.5) * (inside_gene + 1e-6)
        )
        log.info(
            "%s: %d molecules beside %d of the CAR; prior log-odds of the CAR inside %.2f",
            gene,
            n_gene,
            n_car,
            priors[gene],
        )
    return priors


def _losses(sample: str, counts: Counter[str], table: pd.DataFrame) -> pd.DataFrame:
    """Return where candidate reads went, in order."""
    reads = table.groupby("evidence")["n_reads"].sum() if len(table) else pd.Series(dtype=int)
    kinds = table["evidence"].value_counts()

    def n_reads(kind: str) -> int:
        return int(reads.get(kind, 0))

    kept = [k for k in ("unique", "junction", "shared") if k in kinds]
    n_kept = int(sum(kinds[k] for k in kept))
    rows = [
        ("candidates_on_contig", "reads", counts["on_contig"], "reads aligned to the CAR's contig"),
        ("candidates_at_homologs", "reads", counts["at_homologs"], "reads at relatives that resemble the CAR"),
        ("candidates_unmapped", "reads", counts["unmapped"], "unmapped reads that resemble the CAR"),
        ("unlike_car", "reads", counts["unlike"], "candidates that the CAR's transcript does not explain"),
        ("invalid_barcode", "reads", counts["no_barcode"], "CAR reads whose barcode is not on the whitelist"),
        ("endogenous", "reads", n_reads("endogenous"), "reads of molecules that an endogenous gene explains better"),
        ("car_reads", "reads", sum(n_reads(k) for k in kept), "reads of CAR molecules"),
        ("duplicates", "reads", sum(n_reads(k) for k in kept) - n_kept, "further reads of the same molecules"),
        ("car_molecules", "molecules", n_kept, "CAR molecules, all droplets"),
        ("shared", "molecules", int(kinds.get("shared", 0)), "of them in regions shared with an endogenous gene"),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["step", "unit", "n", "meaning"])
    table.insert(0, "sample", sample)
    return LOSSES.conform(table)
