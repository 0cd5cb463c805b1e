"""CAR-candidate molecules of a sample, from its BAM."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import pandas as pd
import pysam

from carseq.construct import Construct
from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.errors import CarseqError
from carseq.io.bam import (
    RAW_UMI_TAG,
    groups_of_other_cells,
    kept_unmapped,
    molecule_tags,
    open_bam,
    samples_of_bam,
)
from carseq.io.barcodes import of_two_libraries
from carseq.molecules.candidates import (
    CORRECTED_UMI_TAG,
    CandidateReads,
    Read,
    car_contigs,
)
from carseq.molecules.evidence import assemble
from carseq.molecules.target import Target
from carseq.sequence.kmers import left_out

#: Reads at the head of a BAM among which a tag must be found.
_HEAD = 20_000


def find_molecules(
    bam: str | Path,
    construct: Construct,
    homologs: Sequence[EndogenousTranscript],
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
    homologs
        Endogenous transcripts similar to it.
    homology
        Which bases are shared.
    sample
        Name of the sample, for the tables.
    strand
        ``Forward`` if reads are sense (3'), ``Reverse`` if antisense (5').
    loci
        Exons of the homologs, where reads of shared domains may have been aligned.
    barcode_tag, umi_tag
        BAM tags.

    Returns
    -------
    molecules : pandas.DataFrame
        Schema ``MOLECULES``. ``p_car`` of a shared molecule is the share of the CAR expected there in its cell
        (:mod:`carseq.molecules.priors`); of a junction molecule, its posterior at that share.
    losses : pandas.DataFrame
        Schema ``LOSSES``: where the CAR's reads went, up to molecules.

    Raises
    ------
    CarseqError
        If the BAM cannot be read, lacks the barcode or the UMI tag, names its contigs otherwise than the
        annotation, or holds neither the CAR's contig nor unmapped reads.
    """
    target = Target(construct, homologs, loci, strand, homology)
    return molecules_of(bam, target, sample=sample, tags=(barcode_tag, umi_tag))


def molecules_of(
    bam: str | Path, target: Target, *, sample: str, tags: tuple[str, str] = ("CB", "UB")
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the CAR molecules of a sample, as :func:`find_molecules`.

    Parameters
    ----------
    bam
        Coordinate-sorted, indexed BAM.
    target
        The CAR, its homologs, and the strand of the reads.
    sample
        Name of the sample, for the tables.
    tags
        Of cell barcode and UMI.

    Returns
    -------
    molecules, losses : pandas.DataFrame
        Schemas ``MOLECULES`` and ``LOSSES``.

    Raises
    ------
    CarseqError
        As :func:`find_molecules`.
    """
    target = target.without_the_car()
    scorer, loci, car = target.scorer, target.loci, target.construct.name
    tags = molecule_tags(bam, tags)
    with open_bam(bam) as alignments:
        # Use a separate file handle: reading the first records moves pysam's file position and would make later
        # fetch() calls skip reads.
        check_bam(alignments, [locus.contig for locus in loci], *tags)
        contigs = car_contigs(alignments, car, scorer.kmers, loci)
        # Beside homologs, loci hold the contig of another construct that the reads were aligned to, which has reads.
        genes = {homolog.gene for homolog in target.homologs}
        earlier = {x.contig for x in loci if x.gene not in genes and x.contig == x.gene}
        with_reads = {s.contig for s in alignments.get_index_statistics() if s.mapped}
        check_shows_car(alignments, car, [*contigs, *(earlier & with_reads)])
    counts: Counter[str] = Counter()
    homolog_molecules: dict[str, set[tuple[str, str]]] = defaultdict(set)
    reads: list[Read] = []
    steps = {"aligned": "on_contig", "homolog": "at_homologs", "unmapped": "unmapped"}
    with open_bam(bam) as alignments:
        walk = CandidateReads(
            alignments, scorer.kmers, contigs, loci, strand=target.strand, tags=tags
        )
        for candidate in walk:
            if (read := candidate.read) is None:
                continue
            if candidate.resembles:
                counts[steps[read.source]] += 1
                reads.append(read)
            elif read.barcode is not None and candidate.gene in scorer.stretches:
                homolog_molecules[candidate.gene].add((read.barcode, read.umi))
        counts["unmapped_looked_at"] = walk.n_unmapped
    return assemble(reads, scorer, sample, counts=counts, homolog_molecules=homolog_molecules)


def doubts_of_bam(path: str | Path, n_molecules: int, tag: str = "CB") -> list[tuple[str, str]]:
    """Return what makes a BAM that was given doubtful, and what to do about it.

    Parameters
    ----------
    path
        Sorted, indexed BAM.
    n_molecules
        Molecules of the matrix that belongs to it.
    tag
        Tag of the cell barcode.

    Raises
    ------
    CarseqError
        If the BAM cannot be read.
    """
    own = "give each library its own BAM"
    found = []
    with open_bam(path) as bam:
        n_reads = bam.mapped + bam.nocoordinate
        partial = left_out(bam)
        named = samples_of_bam(bam)
    if len(named) > 1:
        found.append(
            (
                f"the BAM's header names reads of {len(named)} samples ({', '.join(named[:4])}): if their libraries "
                "were merged, cells of one barcode are taken for one cell",
                own,
            )
        )
    if others := groups_of_other_cells(path, tag):
        groups = f"the BAM's read groups {', '.join(others[:4])}"
        found.append((of_two_libraries(groups, "its largest one"), own))
    # Each molecule was read at least once; a slice of carseq's says itself what it left out.
    if n_reads < n_molecules and partial is None:
        found.append(
            (
                f"the BAM has {n_reads:,} reads, and its matrix {n_molecules:,} molecules: the BAM is a part of what "
                "was counted (some reads, places or lanes), and CAR molecules in the rest are lost",
                "give the whole BAM",
            )
        )
    return found


def check_bam(
    bam: pysam.AlignmentFile,
    contigs: Collection[str],
    barcode_tag: str = "CB",
    umi_tag: str = "UB",
) -> None:
    """Check that a BAM holds barcodes and UMIs and was made with a genome.

    Parameters
    ----------
    bam
        As :func:`carseq.io.bam.open_bam` gives it. Its position moves: open it anew to read on.
    contigs
        Contigs of the genome, of which it must have at least one; with their lengths where these are known: another
        assembly has contigs of the same names.
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
    for record in islice(bam.fetch(until_eof=True), _HEAD):
        n += 1
        if n <= 200:
            seen.update(tag for tag, _ in record.get_tags())
        if record.has_tag(barcode_tag):
            seen[barcode_tag] += n > 200
            # STARsolo writes UB:Z:- for a UMI that it did not take.
            both += record.has_tag(umi_tag) or (
                umi_tag == CORRECTED_UMI_TAG and record.has_tag(RAW_UMI_TAG)
            )
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
                f"name the tag of {what} in `molecules.{key}`"
                + ", or give the BAM of Cell Ranger or STARsolo",
            )
    if contigs and not set(contigs) & set(bam.references):
        raise CarseqError(
            "the BAM and the annotation name their contigs differently",
            f"annotation: {next(iter(contigs))}; BAM: {', '.join(bam.references[:3])}",
            "give the genome and annotation the BAM was made with",
        )
    if isinstance(contigs, Mapping):
        own = dict(zip(bam.references, bam.lengths, strict=True))
        if other := [name for name in contigs if own.get(name, contigs[name]) != contigs[name]]:
            raise CarseqError(
                "the BAM was aligned to another assembly than the genome that is given",
                f"{other[0]} has {own[other[0]]:,} bases in the BAM, {contigs[other[0]]:,} in the genome"
                + (f"; {len(other) - 1} more contigs differ" if len(other) > 1 else "")
                + ": the genes' places would be wrong",
                "give the genome and annotation the BAM was made with",
            )


def check_shows_car(bam: pysam.AlignmentFile, car: str, contigs: Iterable[str]) -> None:
    """Raise if a BAM could show no CAR molecule, whatever was in the sample.

    A CAR's reads lie on its contig or, where the reference lacks it, among the unmapped reads. That a BAM has none of
    these either means that every read was aligned, which its header can show, or that they were left out.

    Parameters
    ----------
    bam
        As :func:`carseq.io.bam.open_bam` gives it.
    car
        Name of the CAR.
    contigs
        Its contigs (:func:`carseq.molecules.car_contigs`), and that of another construct, which the reads were aligned
        to (:func:`carseq.reuse.earlier_contig`).

    Raises
    ------
    CarseqError
        If so.
    """
    # All of a slice's unmapped reads were looked at, though it may hold none of them.
    if not bam.mapped or bam.nocoordinate or left_out(bam) or kept_unmapped(bam):
        return
    if set(contigs) & set(bam.references):
        return
    short = sorted(zip(bam.lengths, bam.references, strict=True))[:3]
    raise CarseqError(
        f"the BAM can hold no CAR read: it has no contig {car} and no unmapped reads",
        "its header does not show that unmapped reads were kept; its shortest contigs are "
        + ", ".join(name for _, name in short),
        "give `construct.name` as the BAM spells the CAR's contig, or a BAM that kept its unmapped reads",
    )
