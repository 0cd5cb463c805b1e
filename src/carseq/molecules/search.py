"""The evidence for the CAR without an alignment of all reads: candidates found in the FASTQ files, written as a BAM.

Where kallisto counts, no BAM of all reads is made. Every read is searched for the k-mers of the CAR and of the genes
that share a stretch with it. What passes is aligned to these genes and their places on the genome alone, and written as
a slice, from which molecules, explanations and the report's reads are made as from that of any other BAM.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pysam
from Bio.Seq import reverse_complement

from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.construct.vector import Construct
from carseq.errors import CarseqError
from carseq.io.bam import by_coordinate, index_bam
from carseq.io.barcodes import is_umi
from carseq.io.files import atomic
from carseq.library.geometry import Chemistry, why_not_one_part
from carseq.library.whitelist import encode, on_list, read_whitelist
from carseq.log import get_logger
from carseq.molecules.evidence import collapse_umis
from carseq.molecules.fastq import PickedRead, Tally, barcode_bases, pick_reads
from carseq.molecules.stretches import shared_stretches
from carseq.reference.genome import fasta_name, transcript_and_gene, window_place, write_transcripts
from carseq.sequence.kmers import LEFT_OUT, KmerSet

if TYPE_CHECKING:
    import mappy

log = get_logger(__name__)

#: Share of the reads at a barcode's neighbours that the likeliest must have to be taken for it, each neighbour on the
#: list counted once more than it was read (STARsolo, ``1MM_multi_Nbase_pseudocounts``; Cell Ranger).
SURE_BARCODE = 0.975
#: Share of a read that a gene's transcript or its place on the genome must explain, and of these bases that may differ.
#: STAR asks for 0.66 of a read; where the CAR explains the rest, the read resembles it and is kept in any case.
_EXPLAINED, _DIFFERENT = 0.66, 0.05
#: Reads from which the search keeps 99 % with one wrong base in a hundred, nt (benchmarks/plain_index.py --errors).
SHORT_READ = 50
#: Bases of a read on an exon from which it is placed there.
_LEAST_PLACED = 20


@dataclass(frozen=True)
class _Place:
    """Where a read lies on the genome, 0-based, with its CIGAR there, and whether it is turned there."""

    gene: str
    contig: str
    start: int
    cigar: list[tuple[int, int]]
    turned: bool


def write_evidence(
    pairs: Sequence[tuple[str | Path, str | Path]],
    chemistry: Chemistry,
    constructs: Sequence[Construct],
    homologs: Sequence[EndogenousTranscript],
    loci: Sequence[Locus],
    contigs: Mapping[str, int],
    out: str | Path,
) -> int:
    """Write the reads of FASTQ files that may be CAR mRNA or its homologs', and their index.

    Parameters
    ----------
    pairs
        (R1, R2) files of a sample.
    chemistry
        As detected, with its strand and its list; a barcode of one part.
    constructs
        The CAR, and the constructs it is compared with.
    homologs
        Transcripts that share sequence with the CAR, and windows around their exons and other places of the genome that
        resemble it (:func:`carseq.reference.genome.window_name`).
    loci
        These exons and places.
    contigs
        The genome's contigs, nt.
    out
        The slice, a BAM sorted by coordinate. Reads at a locus lie there, clipped at the exon's end; all others that
        resemble the CAR are unmapped. ``CB`` is the barcode after correction, ``UR`` the UMI as it was read, ``UB``
        that of a placed read after correction. The header says how many reads were left out.

    Returns
    -------
    int
        Records written.

    Raises
    ------
    CarseqError
        If files are damaged or do not pair up, or the barcode has several parts.
    """
    _check(chemistry)
    if 0 < chemistry.read_length < SHORT_READ:
        log.warning(
            "reads of %d bases: of so short ones the search misses more than alignments do, by what bases are wrong in "
            "them; `solo.evidence: bam` with STAR finds them",
            chemistry.read_length,
        )
    own = KmerSet([t.sequence for c in constructs for t in c.transcripts])
    sought = _of_shared_genes(constructs[0], homologs)
    kmers = KmerSet(
        [t.sequence for c in constructs for t in c.transcripts] + [h.sequence for h in sought]
    )
    picked, tally = pick_reads(pairs, kmers, chemistry)
    resembles = own.among([read.sequence for read in picked]).tolist()
    places = _placed(picked, homologs, loci, chemistry.strand)
    kept = [
        (read, place)
        for read, alike, place in zip(picked, resembles, places, strict=True)
        if alike or place is not None
    ]
    barcodes = _corrected([read.barcode for read, _ in kept], chemistry, tally)
    # As STARsolo: a read without a sound UMI has no barcode either.
    barcodes = [
        barcode if is_umi(read.umi, chemistry.umi_length) else None
        for barcode, (read, _) in zip(barcodes, kept, strict=True)
    ]
    n_unmapped = sum(place is None for _, place in kept)
    log.info(
        "of %d reads %d share k-mers with the CAR or its homologs; %d resemble the CAR, %d lie at homologs",
        tally.n_reads,
        len(picked),
        sum(resembles),
        len(kept) - n_unmapped,
    )
    header = pysam.AlignmentHeader.from_dict(
        {
            "HD": {"VN": "1.6", "SO": "coordinate"},
            "SQ": [{"SN": name, "LN": length} for name, length in contigs.items()],
            "CO": [f"{LEFT_OUT}{tally.n_reads - len(kept)}"],
        }
    )
    records = _records(kept, barcodes, chemistry, header)
    out = Path(out)
    with atomic(out) as slice_, atomic(out.with_suffix(".bam.bai")) as index:
        with pysam.AlignmentFile(str(slice_), "wb", header=header) as target:
            for record in sorted(records, key=by_coordinate):
                target.write(record)
        index_bam(slice_, index)
    return len(records)


def _check(chemistry: Chemistry) -> None:
    """Raise if reads of a chemistry cannot be searched."""
    if told := why_not_one_part(chemistry):
        raise CarseqError(
            f"reads of {chemistry.name} are not searched for the CAR",
            told,
            "set `solo.aligner: star` and `solo.evidence: bam`: STAR then aligns all reads",
        )


def _of_shared_genes(
    construct: Construct, homologs: Sequence[EndogenousTranscript]
) -> list[EndogenousTranscript]:
    """Return the transcripts of genes that share a stretch with the CAR; of genes without one, their windows.

    Reads of other homologs count only where they resemble the CAR.
    """
    shared = shared_stretches(construct.sequence, homologs)
    spliced = {h.gene for h in homologs if window_place(h.transcript) is None}
    return [
        h
        for h in homologs
        if h.gene in shared and (window_place(h.transcript) is None or h.gene not in spliced)
    ]


def _corrected(barcodes: Sequence[str], chemistry: Chemistry, tally: Tally) -> list[str | None]:
    """Return the barcodes on the list, by one substitution if need be; None for the others.

    A barcode that is not on the list is taken for the one beside it that has nearly all the reads there, as STARsolo
    does, but for the qualities of the bases, which it weighs too.
    """
    codes, counts = tally.result()
    bases = barcode_bases(codes, chemistry.cb_length)
    whitelist = read_whitelist(chemistry.whitelist)
    listed = on_list(encode(bases), whitelist)
    reads = dict(zip(_words(bases[listed]), counts[listed].tolist(), strict=True))
    near = {b: _neighbours(b) for b in set(barcodes) - set(reads) if len(b) == chemistry.cb_length}
    sought = sorted({word for words in near.values() for word in words})
    letters = np.frombuffer("".join(sought).encode(), dtype=np.uint8)
    known: set[str] = set()
    if sought:
        is_listed = on_list(encode(letters.reshape(len(sought), -1)), whitelist).tolist()
        known = {word for word, own in zip(sought, is_listed, strict=True) if own}
    found: dict[str, str | None] = {barcode: barcode for barcode in reads}
    for barcode, words in near.items():
        weight = {word: reads.get(word, 0) + 1 for word in words if word in known}
        best = max(weight, key=lambda word: (weight[word], word), default=None)
        if best is not None and weight[best] >= SURE_BARCODE * sum(weight.values()):
            found[barcode] = best
    return [found.get(barcode) for barcode in barcodes]


def _words(bases: npt.NDArray[np.uint8]) -> list[str]:
    """Return the rows of a matrix of letters as words."""
    return np.ascontiguousarray(bases).view(f"S{bases.shape[1]}").ravel().astype(str).tolist()


def _neighbours(barcode: str) -> list[str]:
    """Return the barcodes one substitution away; of one with an N, those without it."""
    return [
        barcode[:i] + letter + barcode[i + 1 :]
        for i, base in enumerate(barcode)
        for letter in "ACGT"
        if letter != base and "N" not in barcode[:i] + barcode[i + 1 :]
    ]


def _placed(
    reads: Sequence[PickedRead],
    homologs: Sequence[EndogenousTranscript],
    loci: Sequence[Locus],
    strand: str,
) -> list[_Place | None]:
    """Return where each read lies on the exons and places of the homologs, None where it does not."""
    if not homologs or not reads:
        return [None] * len(reads)
    import tempfile

    import mappy

    exons: dict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for locus in loci:
        exons[locus.contig].append((locus.start, locus.end, locus.gene))
    lengths = {fasta_name(h.transcript, h.gene): len(h.sequence) for h in homologs}
    with tempfile.TemporaryDirectory() as folder:
        write_transcripts(homologs, Path(folder) / "homologs.fa")
        # Short k-mers, since what a read shares with an exon may be a quarter of it; every target that fits counts.
        index = mappy.Aligner(
            str(Path(folder) / "homologs.fa"), preset="sr", k=15, w=5, min_cnt=1,
            min_chain_score=20, min_dp_score=30, best_n=max(20, len(homologs)),
        )  # fmt: skip
    # Of many reads of one molecule most are the same.
    cache: dict[str, _Place | None] = {}
    result = []
    for read in reads:
        if read.sequence not in cache:
            cache[read.sequence] = _place(read.sequence, index, lengths, exons, strand)
        result.append(cache[read.sequence])
    return result


def _place(
    bases: str,
    index: mappy.Aligner,
    lengths: Mapping[str, int],
    exons: Mapping[str, list[tuple[int, int, str]]],
    strand: str,
) -> _Place | None:
    """Return where the homolog that explains most of a read has it on the genome."""
    sense = bases if strand == "Forward" else reverse_complement(bases)
    hits = [hit for hit in index.map(sense) if hit.strand > 0]
    whole = [
        hit
        for hit in hits
        if hit.q_en - hit.q_st >= _EXPLAINED * len(bases)
        and _DIFFERENT * (hit.q_en - hit.q_st) >= hit.NM
    ]
    if not whole:
        return None
    best = max(whole, key=_fit)
    gene = transcript_and_gene(best.ctg)[1]
    for hit in sorted(hits, key=_fit, reverse=True):
        name, whose = transcript_and_gene(hit.ctg)
        window = window_place(name)
        if window is None or whose != gene:
            continue
        contig, first, _, turned = window
        start = first + hit.r_st
        cigar = [(operation, size) for size, operation in hit.cigar]
        clips = hit.q_st, len(bases) - hit.q_en
        if turned == "-":
            start = first + lengths[hit.ctg] - hit.r_en
            cigar, clips = cigar[::-1], clips[::-1]
        end = start + hit.r_en - hit.r_st
        on_exon = max(
            (min(end, b) - max(start, a) for a, b, own in exons.get(contig, ()) if own == gene),
            default=0,
        )
        if on_exon < min(_LEAST_PLACED, hit.r_en - hit.r_st):
            continue
        whole_cigar = [
            (operation, size)
            for operation, size in [
                (pysam.CSOFT_CLIP, clips[0]),
                *cigar,
                (pysam.CSOFT_CLIP, clips[1]),
            ]
            if size
        ]
        return _Place(gene, contig, start, whole_cigar, (turned == "-") != (strand == "Reverse"))
    return None


def _fit(hit: mappy.Alignment) -> tuple[int, str, int]:
    """Return by what hits are ordered: bases that are equal, less those that differ; then the target and the place."""
    return hit.mlen - 2 * hit.NM, hit.ctg, -hit.r_st


def _records(
    kept: Sequence[tuple[PickedRead, _Place | None]],
    barcodes: Sequence[str | None],
    chemistry: Chemistry,
    header: pysam.AlignmentHeader,
) -> list[pysam.AlignedSegment]:
    """Return the reads as records of a BAM."""
    umis: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for (read, place), barcode in zip(kept, barcodes, strict=True):
        if place is not None and barcode is not None:
            umis[barcode, place.gene][read.umi] += 1
    corrected = {key: collapse_umis(counts) for key, counts in umis.items()}
    records = []
    for (read, place), barcode in zip(kept, barcodes, strict=True):
        qualities: npt.NDArray[np.uint8] | None = None
        if len(read.qualities) == len(read.sequence):
            qualities = np.frombuffer(read.qualities.encode("latin-1"), dtype=np.uint8) - 33
        bases = read.sequence
        record = pysam.AlignedSegment(header)
        record.query_name = read.name
        record.flag = pysam.FUNMAP
        if place is not None:
            record.flag = pysam.FREVERSE if place.turned else 0
            record.reference_id = header.get_tid(place.contig)
            record.reference_start = place.start
            record.mapping_quality = 255
            record.cigartuples = place.cigar
            if place.turned:
                bases = reverse_complement(bases)
                qualities = None if qualities is None else qualities[::-1]
        record.query_sequence = bases
        if qualities is not None:
            record.query_qualities = pysam.qualitystring_to_array(
                (qualities + 33).astype(np.uint8).tobytes().decode("latin-1")
            )
        tags: list[tuple[str, str | int]] = [
            ("CR", read.barcode or "-"),
            ("UR", read.umi or "-"),
            ("CB", barcode or "-"),
            ("UB", "-"),
        ]
        if place is not None:
            tags += [("NH", 1), ("GN", place.gene)]
            if barcode is not None:
                tags[3] = ("UB", corrected[barcode, place.gene][read.umi])
        record.set_tags(tags)
        records.append(record)
    return records
