"""The mRNA's ends from the reads: what lies beyond a known frame, base by base, by majority of molecules.

A reference of the frame alone still catches the reads that cross its edge: their clipped ends show the next bases.
Those bases find further reads among the unmapped ones, and so on to the poly(A) tail or the start of transcription.
Each molecule (barcode and UMI) has one vote; the walk stops where too few molecules are left or they disagree.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pysam

from carseq.construct.backbones import rebuilt
from carseq.construct.coding import reverse_complement
from carseq.construct.derive import transcript_start, transcript_stop
from carseq.construct.domains import mrna_parts
from carseq.construct.model import Construct
from carseq.io.bam import molecule_tags, open_bam

#: Length of the exact stretch by which a read is found to lie on the end so far.
K = 21
#: Molecules that must show a base, and the share of them that must agree.
MIN_MOLECULES, MIN_AGREEMENT = 3, 0.7
#: Bases by which the mRNA is extended at most: a leader with its intron and U3-R have 1.5 kb.
MAX_EXTENSION = 3000
#: The soft clip of a CIGAR.
_SOFT = 4
#: Bases that must be clipped for a read to be looked at.
_MIN_CLIP = 5
#: A run of this many A's at the end is the poly(A) tail.
TAIL = 12
#: Template switch oligos of 10x's 5' and 3' kits, which stand before the mRNA's first base in reads that reach it
#: (10x Genomics, CG000108 and CG000204), and the fewest of their last bases that tell one where few reads reach so far.
_OLIGOS, _MIN_OLIGO = ("TTTCTTATATGGG", "AAGCAGTGGTATCAACGCAGAGTACATGGG"), 9
#: Why a walk stopped at a 3' and a 5' end, and what the ends of a longer construct are said to be taken from.
TAILED, SWITCHED, READS = "poly(A) tail", "template switch oligo", "the reads"
#: Reads and stretches are compared by a k-mer at every this many bases.
_STEP = 6
#: Bases at the end so far in which reads are looked for, and bases that must agree where a read votes.
_WINDOW, _COMPARED = 160, 60


@dataclass(frozen=True)
class Read:
    """A read that may lie beyond the frame: its molecule and its bases, either strand."""

    molecule: str
    sequence: str


@dataclass(frozen=True)
class Extension:
    """What the reads show beyond one end of a construct.

    Attributes
    ----------
    end
        ``five`` or ``three``.
    sequence
        The bases, 5' to 3', without a poly(A) tail; empty where the reads show nothing.
    support
        Molecules behind each base, in the order of ``sequence``.
    why
        Why the walk stopped: ``poly(A) tail``, ``template switch oligo`` (which no mRNA has: it begins behind it),
        ``too few molecules``, ``molecules disagree``, ``long enough``.
    parts
        Names of the known parts in it.
    """

    end: str
    sequence: str
    support: tuple[int, ...]
    why: str
    parts: tuple[str, ...]


class _Pool:
    """Reads not yet placed, from which those on the end so far are taken."""

    def __init__(self, reads: Iterable[Read]) -> None:
        self.reads = list(reads)

    def take(self, stretch: str) -> list[tuple[str, str]]:
        """Take the reads that share a k-mer with a stretch, each turned to the stretch's strand."""
        frontier = {stretch[i : i + K] for i in range(len(stretch) - K + 1)}
        turned = reverse_complement(stretch)
        other = {turned[i : i + K] for i in range(len(turned) - K + 1)}
        taken, left = [], []
        for read in self.reads:
            bases = read.sequence
            places = range(0, len(bases) - K + 1, _STEP)
            if any(bases[i : i + K] in frontier for i in places):
                taken.append((read.molecule, bases))
            elif any(bases[i : i + K] in other for i in places):
                taken.append((read.molecule, reverse_complement(bases)))
            else:
                left.append(read)
        self.reads = left
        return taken


class _Index:
    """Reads on the end so far, found by their k-mers; all on the walk's strand and in its direction."""

    def __init__(self) -> None:
        self.reads: list[tuple[str, str]] = []
        self.at: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def add(self, reads: Iterable[tuple[str, str]], *, backwards: bool) -> int:
        """Add reads; return how many there were."""
        n = len(self.reads)
        for molecule, bases in reads:
            turned = bases[::-1] if backwards else bases
            for i in range(len(turned) - K + 1):
                self.at[turned[i : i + K]].append((len(self.reads), i))
            self.reads.append((molecule, turned))
        return len(self.reads) - n

    def votes(self, end: str) -> Counter[str]:
        """Return the next base by the number of molecules, of the reads that lie on the end of a stretch."""
        seen: dict[int, int] = {}
        # The nearest k-mers tell; one every few bases finds reads with an error beside the end.
        for i in range(len(end) - K, max(len(end) - _COMPARED - K, -1), -_STEP):
            for number, place in self.at.get(end[i : i + K], ()):
                seen.setdefault(number, place + len(end) - i)
        ballots: dict[str, Counter[str]] = defaultdict(Counter)
        for number, place in seen.items():
            molecule, bases = self.reads[number]
            if 0 < place < len(bases) and bases[place] != "N" and _agrees(bases, place, end):
                ballots[molecule][bases[place]] += 1
        return Counter(ballot.most_common(1)[0][0] for ballot in ballots.values())


def _agrees(bases: str, place: int, end: str) -> bool:
    """Whether a read agrees with the last bases of a stretch but for one in twenty."""
    n = min(place, len(end), _COMPARED)
    own, known = bases[place - n : place], end[-n:]
    if own == known:
        return True
    return sum(a != b for a, b in zip(own, known, strict=True)) <= n // 20


def extend(sequence: str, reads: Iterable[Read], *, end: str) -> Extension:
    """Return what the reads show beyond one end of a sequence.

    Parameters
    ----------
    sequence
        The construct's transcript, or its frame, sense strand.
    reads
        Reads on it whose ends were clipped, and unmapped ones.
    end
        ``five`` or ``three``.

    Examples
    --------
    >>> mrna = "ATGGCTTACCGATTGCACGGATTACCAGTTCGATCCGTAAGCTTGACCTAGGTTCCAATGC"
    >>> reads = [Read(f"cell-{i}", mrna[10 + i :]) for i in range(5)]
    >>> extend(mrna[:40], reads, end="three").sequence == mrna[40:]
    True
    """
    backwards = end == "five"
    pool, index = _Pool(reads), _Index()
    known = sequence[::-1] if backwards else sequence
    grown: list[str] = []
    support: list[int] = []
    stretch, asked = known[-_WINDOW:], -1
    why = "long enough"
    while len(grown) < MAX_EXTENSION:
        count = index.votes(stretch)
        total = sum(count.values())
        if total < MIN_MOLECULES and asked < len(grown):
            # Reads farther on share bases with what was just added.
            asked = len(grown)
            sense = stretch[::-1] if backwards else stretch
            if index.add(pool.take(sense), backwards=backwards):
                continue
        if total < MIN_MOLECULES:
            why = "too few molecules"
            break
        base, n = count.most_common(1)[0]
        if n < MIN_MOLECULES or n < MIN_AGREEMENT * total:
            why = "molecules disagree"
            break
        grown.append(base)
        support.append(n)
        stretch = (stretch + base)[-_WINDOW:]
        if not backwards and grown[-TAIL:] == ["A"] * TAIL:
            why = TAILED
            break
        if backwards and _oligo(grown, whole=True):
            break
    if backwards and (n_oligo := _oligo(grown)):
        why = SWITCHED
        grown, support = grown[:-n_oligo], support[:-n_oligo]
    bases = "".join(grown)
    if why == TAILED:
        bases = bases.rstrip("A")
        support = support[: len(bases)]
    if backwards:
        bases, support = bases[::-1], support[::-1]
    whole = bases + sequence if backwards else sequence + bases
    offset = 0 if backwards else len(sequence)
    parts = tuple(
        p.name for p in mrna_parts(whole) if p.start < offset + len(bases) and p.end > offset
    )
    return Extension(end, bases, tuple(support), why, parts if bases else ())


def _oligo(grown: Sequence[str], whole: bool = False) -> int:
    """Return how many bases at the end of a walk to the 5' end are those of a template switch oligo."""
    last = "".join(grown[: -max(map(len, _OLIGOS)) - 1 : -1])
    for oligo in _OLIGOS:
        for n in range(len(oligo), len(oligo) - 1 if whole else _MIN_OLIGO - 1, -1):
            if last.startswith(oligo[-n:]):
                return n
    return 0


def without_genes(reads: Iterable[Read], sequence: str, transcripts: Iterable[str]) -> list[Read]:
    """Return the reads but those of genes that share a stretch with a sequence and go on beyond it.

    A frame that begins or ends as a gene does (CD8A's leader, CD3zeta in the gene's codons) finds that gene's reads
    too, of which a sample has more than of the CAR.

    Parameters
    ----------
    reads
        As :func:`extend` takes them.
    sequence
        The construct's.
    transcripts
        mRNAs of the genes.
    """
    own = _both_strands([sequence])
    genes = [t for t in transcripts if not own.isdisjoint(_both_strands([t]))]
    foreign = _both_strands(genes) - own
    if not foreign:
        return list(reads)
    kept = []
    for read in reads:
        words = [read.sequence[i : i + K] for i in range(len(read.sequence) - K + 1)]
        of_gene = sum(word in foreign for word in words)
        # By chance a base or two beyond the stretch are the gene's too.
        if not of_gene or 2 * of_gene <= sum(word not in own for word in words):
            kept.append(read)
    return kept


def _both_strands(sequences: Iterable[str]) -> set[str]:
    """Return the k-mers of sequences, of both strands."""
    return {
        strand[i : i + K]
        for sequence in sequences
        for strand in (sequence, reverse_complement(sequence))
        for i in range(len(strand) - K + 1)
    }


def reads_beyond(
    bam: str | Path,
    contig: str,
    *,
    barcode_tag: str = "CB",
    umi_tag: str = "UB",
    max_unmapped: int = 300_000,
) -> list[Read]:
    """Return the reads of a BAM that may lie beyond a contig's ends: clipped ones on it, and unmapped ones.

    Parameters
    ----------
    bam
        Coordinate-sorted, indexed BAM; the contig may be absent.
    contig
        The CAR's contig.
    barcode_tag, umi_tag
        BAM tags. A read without them counts as a molecule of its own.
    max_unmapped
        Unmapped reads looked at; more are left out.

    Raises
    ------
    CarseqError
        If the BAM cannot be read.
    """
    barcode_tag, umi_tag = molecule_tags(bam, (barcode_tag, umi_tag))
    found = [
        Read(_molecule(record, barcode_tag, umi_tag), record.query_sequence.upper())
        for record in _records(bam, contig)
        if record.query_sequence
        and any(op == _SOFT and n >= _MIN_CLIP for op, n in record.cigartuples or [])
    ]
    n = len(found)
    for record in _records(bam, "*"):
        if record.query_sequence and len(record.query_sequence) >= K:
            name = _molecule(record, barcode_tag, umi_tag)
            found.append(Read(name, record.query_sequence.upper()))
        if len(found) - n >= max_unmapped:
            break
    return found


def reads_on(
    bam: str | Path, contig: str, barcode_tag: str = "CB", umi_tag: str = "UB"
) -> list[Read]:
    """Return the reads of a BAM on a contig; none where it lacks the contig."""
    barcode_tag, umi_tag = molecule_tags(bam, (barcode_tag, umi_tag))
    return [
        Read(_molecule(record, barcode_tag, umi_tag), record.query_sequence.upper())
        for record in _records(bam, contig)
        if record.query_sequence
    ]


def _records(bam: str | Path, contig: str) -> Iterator[pysam.AlignedSegment]:
    """Yield the primary records on a contig, or the unmapped ones (``*``)."""
    with open_bam(bam) as alignments:
        if contig != "*" and contig not in alignments.references:
            return
        for record in alignments.fetch(contig):
            if not record.is_secondary and not record.is_supplementary:
                yield record


def _molecule(record: pysam.AlignedSegment, barcode_tag: str, umi_tag: str) -> str:
    tags = [str(record.get_tag(t)) if record.has_tag(t) else "-" for t in (barcode_tag, umi_tag)]
    return str(record.query_name) if "-" in tags else ":".join(tags)


def extended(construct: Construct, five: Extension | None, three: Extension | None) -> Construct:
    """Return the construct with what the reads show beyond its ends, and the note that says so."""
    before = five.sequence if five else ""
    after = three.sequence if three else ""
    full = before + construct.sequence + after
    assert construct.orf is not None
    place = (construct.orf[0] + len(before), construct.orf[1] + len(before))
    said = " and ".join(
        f"{len(e.sequence)} nt at the {prime} end (at least {min(e.support)} molecules)"
        for e, prime in ((five, "5'"), (three, "3'"))
        if e is not None and e.sequence
    )
    # The reads show where the mRNA begins by an R or first exon that is known, or by the oligo that stands before it,
    # and where it ends by its poly(A) tail.
    switched = five is not None and five.why == SWITCHED
    tail = three is not None and three.why == TAILED
    up_to = [why for why, seen in ((SWITCHED, switched), (TAILED, tail)) if seen]
    return rebuilt(
        construct,
        full,
        place,
        READS,
        five=bool(before),
        three=bool(after),
        source=f"their consensus: {said}"
        + (f", up to the {' and the '.join(up_to)}" if up_to else ""),
        reached=(
            switched or transcript_start(full) is not None,
            tail or transcript_stop(full, False) is not None,
        ),
    )
