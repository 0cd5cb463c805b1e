"""CAR-candidate molecules of a sample: candidate reads found, scored and grouped by barcode and UMI."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pandas as pd
import pysam
from Bio.Seq import reverse_complement

from carseq.construct import Construct
from carseq.construct.domains import domains_at
from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.errors import CarseqError
from carseq.io.bam import open_bam
from carseq.log import get_logger
from carseq.molecules.priors import shared_odds
from carseq.molecules.score import Evidence, Scorer
from carseq.schema.tables import LOSSES, MOLECULES
from carseq.sequence.alignment import DECISIVE
from carseq.sequence.kmers import Words

log = get_logger(__name__)

#: Longest contig that may be a vector under another name, nt.
MAX_VECTOR = 50_000


@dataclass
class Molecule:
    """What the reads of one molecule say together."""

    reads: int = 0
    car: float = 0.0
    rivals: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    start: int = 1 << 30
    end: int = 0
    edits: int = 1 << 30
    outside: bool = False
    sources: Counter[str] = field(default_factory=Counter)

    def add(self, evidence: Evidence, source: str) -> None:
        """Add a read."""
        self.reads += 1
        self.car += evidence.car
        if evidence.gene:
            self.rivals[evidence.gene] += evidence.rival
        self.start = min(self.start, evidence.start)
        self.end = max(self.end, evidence.end)
        self.edits = min(self.edits, evidence.edits)
        self.outside |= not evidence.homologous
        self.sources[source] += 1

    def rival(self) -> tuple[str, float]:
        """Return the best rival and its log-odds: one gene must explain every read of the molecule."""
        return max(self.rivals.items(), key=lambda item: item[1], default=("", 0.0))

    def odds(self) -> float:
        """Return the log-odds (nats) of the CAR against its best rival."""
        return self.car - self.rival()[1]

    def kind(self) -> str:
        """Return the class of evidence: unique, junction, shared or endogenous."""
        if self.outside:
            return "unique"
        if self.odds() >= DECISIVE:
            return "junction"
        return "shared" if self.odds() > -DECISIVE else "endogenous"

    def row(self, sample: str, barcode: str, umi: str, domains: pd.DataFrame) -> dict[str, object]:
        """Return the molecule as a row of ``MOLECULES``, but for ``p_car``."""
        return {
            "sample": sample,
            "barcode": barcode,
            "umi": umi,
            "n_reads": self.reads,
            "evidence": self.kind(),
            "tx_start": self.start,
            "tx_end": self.end,
            "domains": domains_at(domains, self.start, self.end),
            "edits": self.edits,
            "endogenous_gene": self.rival()[0],
            "source": self.sources.most_common(1)[0][0],
        }


@dataclass
class Read:
    """A candidate read on the mRNA's strand: barcode (None if not valid), and whether it was placed more than once."""

    barcode: str | None
    umi: str
    sequence: str
    source: str
    multi: bool


class Reader:
    """Reads of a BAM on the mRNA's strand, each once.

    Parameters
    ----------
    bam
        Coordinate-sorted, indexed BAM.
    strand
        Of R2 (or of all reads, where they are single): ``Forward`` if sense, ``Reverse`` if antisense. An R1 that was
        aligned too has the other strand.
    tags
        Of cell barcode and UMI.
    """

    def __init__(self, bam: pysam.AlignmentFile, strand: str, tags: tuple[str, str]) -> None:
        self.bam, self._tags = bam, tags
        self._strand = strand
        self._seen: set[tuple[str | None, bool]] = set()
        #: Records looked at by :meth:`unmapped`.
        self.n_unmapped = 0

    def _read(self, record: pysam.AlignedSegment, source: str) -> Read | None:
        # Two reads of a pair have one name.
        name = (record.query_name, record.is_read1)
        if name in self._seen or record.query_sequence is None:
            return None
        self._seen.add(name)
        return self.decode(record, source)

    def decode(self, record: pysam.AlignedSegment, source: str) -> Read:
        """Return what a record says."""
        sequence = record.get_forward_sequence() or ""
        opposite = record.is_paired and record.is_read1
        if (self._strand == "Reverse") != opposite:
            sequence = reverse_complement(sequence)
        tags = dict(record.get_tags())
        barcode, umi = str(tags.get(self._tags[0], "-")), str(tags.get(self._tags[1], "-"))
        if umi == "-":
            umi = str(tags.get("UR", "-"))
        multi = int(tags.get("NH", 1)) > 1
        return Read(None if barcode == "-" else barcode, umi, sequence, source, multi)

    def placed(
        self, contig: str, start: int | None = None, end: int | None = None, *, source: str
    ) -> list[Read]:
        """Return the reads placed in a region; none if the BAM lacks the contig."""
        if contig not in self.bam.references:
            return []
        records = self.bam.fetch(contig, start, end)
        return [read for record in records if (read := self._read(record, source))]

    def unmapped(self, words: Words) -> list[Read]:
        """Return the unmapped reads that share enough words with the CAR."""
        records, self.n_unmapped = words.unmapped(self.bam)
        return [read for record in records if (read := self._read(record, "unmapped"))]


def car_reads(
    reader: Reader, constructs: Sequence[Construct], contigs: Iterable[str]
) -> list[Read]:
    """Return the reads on contigs of constructs (:func:`car_contigs`) and the unmapped ones that resemble one."""
    words = Words([t.sequence for c in constructs for t in c.transcripts])
    aligned = [read for contig in contigs for read in reader.placed(contig, source="aligned")]
    return aligned + reader.unmapped(words)


def _candidates(
    reader: Reader,
    scorer: Scorer,
    contigs: Iterable[str],
    loci: Iterable[Locus],
    counts: Counter[str],
    homolog_molecules: dict[str, set[tuple[str, str]]],
) -> list[Read]:
    """Return each candidate read once.

    ``homolog_molecules`` gathers, by gene, the molecules at the homologs' loci whose reads do not resemble the CAR.
    """
    found = [read for contig in contigs for read in reader.placed(contig, source="aligned")]
    counts["on_contig"] = len(found)
    for locus in loci:
        there = reader.placed(locus.contig, locus.start, locus.end, source="homolog")
        for read, similar in zip(
            there, scorer.words.among([r.sequence for r in there]), strict=True
        ):
            if similar:
                counts["at_homologs"] += 1
                found.append(read)
            elif read.barcode is not None and locus.gene in scorer.stretches:
                homolog_molecules[locus.gene].add((read.barcode, read.umi))
    unmapped = reader.unmapped(scorer.words)
    counts["unmapped_looked_at"], counts["unmapped"] = reader.n_unmapped, len(unmapped)
    return found + unmapped


def car_contigs(bam: pysam.AlignmentFile, scorer: Scorer, loci: Iterable[Locus]) -> list[str]:
    """Return the contigs of the CAR: by name, else short ones whose reads resemble it."""
    car = scorer.construct.name
    if car in bam.references:
        return [car]
    found = []
    genome = {locus.contig for locus in loci}
    for contig in bam.get_index_statistics():
        if contig.contig in genome:
            continue
        if contig.mapped and bam.get_reference_length(contig.contig) <= MAX_VECTOR:
            head = [r.query_sequence or "" for r in islice(bam.fetch(contig.contig), 100)]
            if scorer.words.among(head).mean() >= 0.5:
                found.append(contig.contig)
                log.warning(
                    "the BAM has no contig %s; the reads of its contig %s resemble the CAR and are looked at",
                    car,
                    contig.contig,
                )
    return found


def collapse_umis(counts: Counter[str]) -> dict[str, str]:
    """Map each UMI of a cell to the one it stands for: one substitution from a UMI with more reads.

    As STARsolo's 1MM_CR: a UMI is corrected to the one with the most reads at Hamming distance 1 (ties: the
    alphabetically last), once, without chains.
    """
    if len(counts) == 1:
        return {umi: umi for umi in counts}
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
    scorer = Scorer(construct, rivals, homology, late=strand != "Reverse")
    counts: Counter[str] = Counter()
    homolog_molecules: dict[str, set[tuple[str, str]]] = defaultdict(set)
    with open_bam(bam) as alignments:
        # A handle of its own: reading the head moves the place from which later fetches go on.
        check_bam(alignments, [locus.contig for locus in loci], barcode_tag, umi_tag)
        contigs = car_contigs(alignments, scorer, loci)
        _check_car(alignments, construct.name, contigs)
    with open_bam(bam) as alignments:
        reader = Reader(alignments, strand, (barcode_tag, umi_tag))
        candidates = _candidates(reader, scorer, contigs, loci, counts, homolog_molecules)
    return assemble(candidates, scorer, sample, counts=counts, homolog_molecules=homolog_molecules)


def assemble(
    candidates: Sequence[Read],
    scorer: Scorer,
    sample: str,
    *,
    counts: Counter[str],
    homolog_molecules: dict[str, set[tuple[str, str]]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Score candidate reads and group them to molecules.

    Parameters
    ----------
    candidates
        On the mRNA's strand, each once.
    scorer
        Of the construct and its rivals.
    sample
        Name of the sample, for the tables.
    counts
        Where candidates came from, as the rows of ``losses`` tell it; what became of them is added.
    homolog_molecules
        By gene: its molecules ((barcode, UMI)) with a read that does not resemble the CAR.

    Returns
    -------
    molecules, losses : pandas.DataFrame
        As :func:`find_molecules` returns them.
    """
    cells: dict[str, list[tuple[str, Evidence, str]]] = defaultdict(list)
    scorer.score_all(read.sequence for read in candidates)
    for read in candidates:
        evidence = scorer.score(read.sequence)
        counts["multi_mapped"] += evidence is not None and read.multi
        if evidence is None:
            wrong = scorer.score(reverse_complement(read.sequence)) is not None
            counts["wrong_strand" if wrong else "unlike"] += 1
        elif read.barcode is None:
            counts["no_barcode"] += 1
        else:
            cells[read.barcode].append((read.umi, evidence, read.source))
    molecules: dict[tuple[str, str], Molecule] = defaultdict(Molecule)
    for barcode, reads in cells.items():
        target = collapse_umis(Counter(umi for umi, *_ in reads))
        for umi, evidence, source in reads:
            molecules[barcode, target[umi]].add(evidence, source)
    table = _classify(molecules, sample, scorer, homolog_molecules)
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


def check_bam(
    bam: pysam.AlignmentFile,
    contigs: Collection[str],
    barcode_tag: str = "CB",
    umi_tag: str = "UB",
) -> None:
    """Check that a BAM tells barcodes and UMIs and was made with a genome.

    Parameters
    ----------
    bam
        As :func:`open_bam` gives it. Its place moves: open it anew to read on.
    contigs
        Contigs of the genome, of which it must have at least one.
    barcode_tag, umi_tag
        Tags that at least one of its first 20,000 reads must have together; ``UR``, the UMI as it was read, stands in
        for ``UB``.

    Raises
    ------
    CarseqError
        If not.
    """
    seen: Counter[str] = Counter()
    n = both = 0
    for record in islice(bam.fetch(until_eof=True), 20_000):
        n += 1
        if n <= 200:
            seen.update(tag for tag, _ in record.get_tags())
        if record.has_tag(barcode_tag):
            seen[barcode_tag] += n > 200
            # STARsolo writes UB:Z:- for a UMI that it did not take.
            both += record.has_tag(umi_tag) or (umi_tag == "UB" and record.has_tag("UR"))
            if both:
                break
    tags = ", ".join(sorted(tag for tag, count in seen.items() if count)) or "no tags"
    for tag, there, key, what in (
        (barcode_tag, seen[barcode_tag], "barcode_tag", "the cell barcode"),
        (umi_tag, both, "umi_tag", "the UMI"),
    ):
        if n and not there:
            raise CarseqError(
                f"the BAM has no {tag} tag",
                f"its first {n} reads have {tags}; molecules cannot be counted without {what}",
                f"name the tag of {what} in `molecules.{key}`, or give the BAM of Cell Ranger or STARsolo",
            )
    if contigs and not set(contigs) & set(bam.references):
        raise CarseqError(
            "the BAM and the annotation name their contigs differently",
            f"annotation: {next(iter(contigs))}; BAM: {', '.join(bam.references[:3])}",
            "give the genome and annotation the BAM was made with",
        )


def _check_car(bam: pysam.AlignmentFile, car: str, contigs: Sequence[str]) -> None:
    """Raise if no CAR could be seen in a BAM, whatever was in the sample."""
    if bam.mapped and bam.nocoordinate == 0 and not contigs:
        short = sorted(zip(bam.lengths, bam.references, strict=True))[:3]
        raise CarseqError(
            f"the BAM can hold no CAR read: it has no contig {car} and no unmapped reads",
            f"its shortest contigs are {', '.join(name for _, name in short)}",
            "give `construct.name` as the BAM spells the CAR's contig, or a BAM that kept its unmapped reads",
        )


def _classify(
    molecules: dict[tuple[str, str], Molecule],
    sample: str,
    scorer: Scorer,
    homolog_molecules: dict[str, set[tuple[str, str]]],
) -> pd.DataFrame:
    """Return one row a candidate molecule, with its class and p_car."""
    domains = scorer.construct.domains
    rows = [
        {**m.row(sample, barcode, umi, domains), "odds": m.odds()}
        for (barcode, umi), m in molecules.items()
    ]
    columns = [*rows[0]] if rows else [c for c in MOLECULES.columns if c != "p_car"] + ["odds"]
    table = pd.DataFrame(rows, columns=columns)
    # The UMI's other reads are the gene's own.
    known = [
        kind == "shared" and (barcode, umi) in homolog_molecules.get(gene, ())
        for kind, gene, barcode, umi in zip(
            table["evidence"], table["endogenous_gene"], table["barcode"], table["umi"], strict=True
        )
    ]
    table.loc[known, "evidence"] = "endogenous"
    table["p_car"] = shared_odds(table, scorer, homolog_molecules, not scorer.late)
    return table.drop(columns="odds")


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
        ("unmapped_looked_at", "reads", counts["unmapped_looked_at"], "unmapped reads in the BAM"),
        ("candidates_unmapped", "reads", counts["unmapped"], "unmapped reads that resemble the CAR"),
        ("wrong_strand", "reads", counts["wrong_strand"], "CAR reads on the strand that this chemistry does not make"),
        ("unlike_car", "reads", counts["unlike"], "candidates that the CAR's transcript does not explain"),
        ("invalid_barcode", "reads", counts["no_barcode"], "CAR reads whose barcode is not on the whitelist"),
        ("endogenous", "reads", n_reads("endogenous"), "reads of molecules that an endogenous gene explains better"),
        ("car_reads", "reads", sum(n_reads(k) for k in kept), "reads of CAR molecules"),
        ("duplicates", "reads", sum(n_reads(k) for k in kept) - n_kept, "further reads of the same molecules"),
        ("multi_mapped", "reads", counts["multi_mapped"], "CAR reads placed twice or more, lost to plain counting"),
        ("car_molecules", "molecules", n_kept, "CAR molecules, all droplets"),
        ("shared", "molecules", int(kinds.get("shared", 0)), "of them in regions shared with an endogenous gene"),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["step", "unit", "n", "meaning"])
    table.insert(0, "sample", sample)
    return LOSSES.conform(table)
