"""When the sequence is wrong: the consensus of a library's molecules over the CAR's transcript.

Reads on the CAR's contig are grouped to molecules (cell barcode and UMI), so that amplified copies vote once.
A position is a variant if most molecules disagree with the reference there. Published CAR sequences do hold such
errors (getzlab/Haradhvala_et_al_2022, issue 1: patent sequences with SNVs and indels).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pysam

from carseq.construct.vector import Construct
from carseq.errors import CarseqError
from carseq.io.bam import molecule_tags, open_bam
from carseq.log import get_logger

log = get_logger(__name__)

COLUMNS = ["position", "ref", "alt", "depth", "support", "kind"]
#: Fewest molecules over a base for a variant to be reported: of 10, with an error rate of 0.4 %, 6 show the same error
#: once in 10^12 bases.
MIN_DEPTH = 10
#: Share of molecules that must agree. A clone's mRNA carries the variant in all of them; reads of a homolog
#: that shares the domain, in the cell or ambient, lower the share.
MIN_SUPPORT = 0.6
#: Mapping quality of a read that lies in one place (STAR: 255; minimap2: 60).
MIN_MAPQ = 30
#: Bases at either end of an alignment that do not vote for substitutions: an aligner rather takes a mismatch than
#: opens a gap there.
END_BASES = 5
#: Base quality below which a base does not vote.
MIN_BASE_QUALITY = 15
#: An aligner's gap of at least this many bases, from GT or GC to AG, is an intron: the bases are not missing.
MIN_INTRON = 50
_MATCH, _INS, _DEL, _SKIP, _SOFT, _EQ, _X = 0, 1, 2, 3, 4, 7, 8

#: An insertion or deletion: its place on the transcript, its kind, its bases.
Indel = tuple[int, str, str]


def left_aligned(sequence: str, position: int, bases: str, kind: str) -> tuple[int, str]:
    """Return the leftmost place and the bases of an indel that gives the same sequence.

    ``position`` is the first deleted base, or the base after the insertion.
    """
    while position > 0 and sequence[position - 1] == bases[-1]:
        bases = bases[-1] + bases[:-1]
        position -= 1
    return position, bases


def _is_intron(sequence: str, start: int, size: int) -> bool:
    """Return whether a gap of an alignment begins and ends as an intron does."""
    ends = sequence[start : start + 2], sequence[start + size - 2 : start + size]
    return size >= MIN_INTRON and ends in (("GT", "AG"), ("GC", "AG"))


def _votes(
    record: pysam.AlignedSegment, sequence: str, introns: set[tuple[int, int]]
) -> tuple[dict[int, str], dict[Indel, tuple[int, int]], list[tuple[int, int]]]:
    """Return the bases a read shows, its indels (with the stretch they may lie on), and the stretches it covers."""
    query = (record.query_sequence or "").upper()
    quality = record.query_qualities
    bases: dict[int, str] = {}
    indels: dict[Indel, tuple[int, int]] = {}
    covered: list[tuple[int, int]] = []
    on_read, on_car = 0, record.reference_start
    last = record.reference_end or on_car
    for operation, size in record.cigartuples or []:
        if operation in (_MATCH, _EQ, _X):
            covered.append((on_car, on_car + size))
            for i in range(size):
                place = on_car + i
                near_end = place < record.reference_start + END_BASES or place >= last - END_BASES
                good = quality is None or quality[on_read + i] >= MIN_BASE_QUALITY
                if good and not near_end:
                    bases[place] = query[on_read + i]
            on_read, on_car = on_read + size, on_car + size
        elif operation == _INS:
            added = query[on_read : on_read + size]
            place, added = left_aligned(sequence, on_car, added, "insertion")
            indels[place, "insertion", added] = (place, on_car)
            on_read += size
        elif operation == _SKIP and _is_intron(sequence, on_car, size):
            if (on_car, on_car + size) not in introns:
                indels[on_car, "intron", sequence[on_car : on_car + size]] = (on_car, on_car)
            on_car += size
        elif operation in (_DEL, _SKIP):
            if (on_car, on_car + size) not in introns:
                gone = sequence[on_car : on_car + size]
                place, gone = left_aligned(sequence, on_car, gone, "deletion")
                indels[place, "deletion", gone] = (place, on_car + size)
                covered.append((on_car, on_car + size))
            on_car += size
        elif operation == _SOFT:
            on_read += size
    return bases, indels, covered


def consensus(
    bam: str | Path,
    construct: Construct,
    *,
    min_depth: int = MIN_DEPTH,
    min_support: float = MIN_SUPPORT,
    min_mapq: int = MIN_MAPQ,
    barcode_tag: str = "CB",
    umi_tag: str = "UB",
) -> pd.DataFrame:
    """Return where the molecules of a library disagree with the CAR's sequence.

    Parameters
    ----------
    bam
        Coordinate-sorted, indexed BAM that holds the CAR's contig. Reads without barcode or UMI each count as a
        molecule if no read has them; else they are left out.
    construct
        The CAR; its name is the contig's.
    min_depth
        Molecules that must cover a position.
    min_support
        Share of them that must agree on the variant.
    min_mapq
        Reads of a lower mapping quality are left out: they may be an endogenous gene's.
    barcode_tag, umi_tag
        BAM tags.

    Returns
    -------
    pandas.DataFrame
        By position: ``position`` (0-based, of the full-length transcript; an insertion lies before it), ``ref``,
        ``alt`` (``-`` for no bases), ``depth`` (molecules), ``support`` (share of them), ``kind`` (``snv``,
        ``insertion``, ``deletion``, ``resolved``: a base that is N in the reference; ``intron``: what spliced molecules
        lack and the construct does not know as an intron, which is no fault of its sequence, whatever their share).

    Raises
    ------
    CarseqError
        If the BAM cannot be read or lacks the contig, or the contig has another length.
    """
    sequence = construct.sequence
    molecules = _molecules_on(bam, construct, min_mapq, (barcode_tag, umi_tag))
    tally = _tally(molecules, construct)
    table = _without_substitutions_in_deletions(_variants(tally, sequence, min_depth, min_support))
    table = table.sort_values(["position", "kind"], ignore_index=True)
    covered_bases = sum(1 for n in tally.depth.values() if n >= min_depth)
    log.info(
        "%d reads of %d molecules on %s; %d of %d bases have %d molecules; %d variants",
        sum(map(len, molecules)),
        len(molecules),
        construct.name,
        covered_bases,
        len(sequence),
        min_depth,
        len(table),
    )
    table.attrs["callable_bases"] = covered_bases
    table.attrs["molecules"] = len(molecules)
    return table


@dataclass
class _Tally:
    """What the molecules show, counted base by base.

    Attributes
    ----------
    depth
        Molecules that show a base, by place.
    spans
        Molecules that could show an indel, by place.
    shown
        Molecules by the base that most of their reads show, by place.
    indels
        Molecules in which at least half of the reads show it.
    stretch
        Where each indel may lie: first and last place.
    """

    depth: Counter[int] = field(default_factory=Counter)
    spans: Counter[int] = field(default_factory=Counter)
    shown: dict[int, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    indels: Counter[Indel] = field(default_factory=Counter)
    stretch: dict[Indel, tuple[int, int]] = field(default_factory=dict)


def _molecules_on(
    bam: str | Path, construct: Construct, min_mapq: int, tags: tuple[str, str]
) -> list[list[pysam.AlignedSegment]]:
    """Return the primary alignments on the CAR's contig by barcode and UMI; each alone if no read has these."""
    molecules: dict[tuple[str, ...], list[pysam.AlignedSegment]] = defaultdict(list)
    alone: list[list[pysam.AlignedSegment]] = []
    of_molecule = molecule_tags(bam, tags)
    with _open(bam, construct) as alignments:
        for record in alignments.fetch(construct.name):
            if (
                record.is_secondary
                or record.is_supplementary
                or record.is_duplicate
                or record.mapping_quality < min_mapq
            ):
                continue
            own = tuple(str(record.get_tag(t)) if record.has_tag(t) else "-" for t in of_molecule)
            if "-" in own:
                alone.append([record])
            else:
                molecules[own].append(record)
    return list(molecules.values()) or alone


def _tally(molecules: list[list[pysam.AlignedSegment]], construct: Construct) -> _Tally:
    """Count what each molecule shows: the base of most of its reads, an indel of at least half of them."""
    introns = {
        (a[1], b[0])
        for t in construct.transcripts
        for a, b in zip(t.blocks, t.blocks[1:], strict=False)
    }
    tally = _Tally()
    for records in molecules:
        of_base: dict[int, Counter[str]] = defaultdict(Counter)
        of_indel: Counter[Indel] = Counter()
        over: Counter[int] = Counter()
        joint: set[int] = set()
        for record in records:
            bases, changes, covered = _votes(record, construct.sequence, introns)
            for place, base in bases.items():
                of_base[place][base] += 1
            of_indel.update(changes.keys())
            tally.stretch.update(changes)
            for start, end in covered:
                over.update(range(start, end))
            # Bases whose left neighbour the read covers as well: only there can an indel be seen.
            joint.update(_inner(covered))
        for place, counts in of_base.items():
            tally.shown[place][counts.most_common(1)[0][0]] += 1
            tally.depth[place] += 1
        tally.spans.update(joint)
        for key, n in of_indel.items():
            first, last = tally.stretch[key]
            if 2 * n >= min(over[p] for p in range(first, max(last, first + 1))):
                tally.indels[key] += 1
    return tally


def _variants(tally: _Tally, sequence: str, min_depth: int, min_support: float) -> pd.DataFrame:
    """Return the bases and indels on which enough molecules agree against the sequence."""
    rows: list[tuple[int, str, str, int, float, str]] = []
    for place, counts in tally.shown.items():
        alt, n = counts.most_common(1)[0]
        total = tally.depth[place]
        enough = total >= min_depth and n >= min_support * total
        if enough and alt != sequence[place] and alt in "ACGT":
            kind = "resolved" if sequence[place] == "N" else "snv"
            rows.append((place, sequence[place], alt, total, n / total, kind))
    for (place, kind, bases), n in tally.indels.items():
        first, last = tally.stretch[place, kind, bases]
        if kind == "intron":
            total = n + tally.spans[place]
            if n >= min_depth:
                rows.append((place, bases, "-", total, n / total, kind))
            continue
        total = max(n, min((tally.spans[p] for p in range(first, last + 1)), default=n))
        if total >= min_depth and n >= min_support * total:
            ref, alt = (bases, "-") if kind == "deletion" else ("-", bases)
            rows.append((place, ref, alt, total, n / total, kind))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table.astype({"position": "int64", "depth": "int64", "support": "float64"})


def _inner(covered: list[tuple[int, int]]) -> set[int]:
    """Return the bases well inside what a read covers, gaps it bridges included."""
    if not covered:
        return set()
    places: set[int] = set()
    runs: list[list[int]] = []
    for start, end in sorted(covered):
        if runs and start == runs[-1][1]:
            runs[-1][1] = end
        else:
            runs.append([start, end])
    for start, end in runs:
        places.update(range(start + END_BASES, end - END_BASES + 1))
    return places


def _without_substitutions_in_deletions(table: pd.DataFrame) -> pd.DataFrame:
    """Drop substitutions of bases that are deleted: the few reads that do not show the gap cast them."""
    gone: set[int] = set()
    for row in table[table["kind"] == "deletion"].itertuples():
        gone.update(range(row.position, row.position + len(row.ref)))
    return table[(table["kind"] == "deletion") | ~table["position"].isin(gone)]


def _open(bam: str | Path, construct: Construct) -> pysam.AlignmentFile:
    alignments = open_bam(bam)
    if construct.name not in alignments.references:
        raise CarseqError(
            f"{bam} has no contig {construct.name}",
            f"it has {', '.join(alignments.references[:3])}",
            "give the CAR's name in that BAM with `--name`",
        )
    length = alignments.get_reference_length(construct.name)
    if length != len(construct.sequence):
        raise CarseqError(
            f"{bam} was made with another {construct.name}",
            f"its contig has {length} bases, the construct's transcript {len(construct.sequence)}",
            "give the construct the reads were aligned to",
        )
    return alignments


def corrected(construct: Construct, variants: pd.DataFrame) -> str:
    """Return the full-length transcript with the variants put in.

    Parameters
    ----------
    construct
        The CAR.
    variants
        As :func:`consensus` gives them. Introns stay: unspliced molecules have them.

    Raises
    ------
    CarseqError
        If a variant was called on another construct.
    """
    sequence = construct.sequence
    # From the end, so that positions before a change stay true; at one position the insertion goes in last.
    variants = variants[variants["kind"] != "intron"]
    order = variants.assign(_first=variants["kind"] == "insertion")
    for row in order.sort_values(["position", "_first"], ascending=[False, True]).itertuples():
        position = int(row.position)
        ref = "" if row.ref == "-" else str(row.ref)
        alt = "" if row.alt == "-" else str(row.alt)
        if sequence[position : position + len(ref)] != ref:
            raise CarseqError(
                f"the variant {ref}>{alt or '-'} at base {position + 1} does not fit the construct",
                f"it has {sequence[position : position + len(ref)]} there",
                "give the construct the variants were called on",
            )
        sequence = sequence[:position] + alt + sequence[position + len(ref) :]
    return sequence
