"""Strand and length of a sample's reads: measured once, written, and read by all that need them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import dnaio
import numpy as np

from carseq.errors import CarseqError
from carseq.library.geometry import Chemistry, strand_named
from carseq.library.strand import strand_of_bam
from carseq.sequence.alignment import MIN_BASES

#: Reads of a BAM whose lengths are looked at.
_LOOKED_AT = 20_000


@dataclass(frozen=True)
class LibraryReads:
    """The reads of a sample.

    Attributes
    ----------
    strand
        Of R2 against the mRNA: ``Forward`` (3' libraries) or ``Reverse`` (5').
    read_length
        Median length of R2, nt.
    strand_from
        What said so: ``chemistry`` (found in the FASTQ files), ``sheet`` (named there) or ``reads`` (of the BAM).
    """

    strand: str
    read_length: int
    strand_from: str

    def to_json(self) -> str:
        """Return it as JSON.

        Examples
        --------
        >>> reads = LibraryReads("Forward", 90, "sheet")
        >>> LibraryReads.from_json(reads.to_json()) == reads
        True
        """
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> LibraryReads:
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))

    @classmethod
    def read(cls, path: str | Path) -> LibraryReads:
        """Read a file that holds what :meth:`to_json` wrote.

        Raises
        ------
        CarseqError
            If it cannot be read.
        """
        try:
            return cls.from_json(Path(path).read_text())
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise CarseqError(
                f"cannot read {path}", str(error), "delete it and run the workflow again"
            ) from None


def measure_reads(
    chemistry: str | Path | None,
    bam: str | Path | None,
    panel: Sequence[str] | str | Path,
    *,
    named: str = "auto",
) -> LibraryReads:
    """Return strand and read length of a sample.

    Parameters
    ----------
    chemistry
        Path of a chemistry written by :meth:`carseq.library.geometry.Chemistry.to_json`, or nothing.
    bam
        The sample's BAM; needed only without a chemistry.
    panel
        Transcripts (sense), or the path of a FASTA of them; used where nothing else names the strand.
    named
        The sheet's chemistry; ``auto`` leaves it to the reads.

    Raises
    ------
    CarseqError
        If the BAM cannot be read, its reads are too short to tell the CAR, or do not show their strand.
    """
    if chemistry:
        found = Chemistry.from_json(Path(chemistry).read_text())
        return LibraryReads(found.strand, found.read_length, "chemistry")
    assert bam is not None
    length = read_length_of_bam(bam)
    check_read_length(length, f"the reads of the BAM {bam}")
    if strand := strand_named(named):
        return LibraryReads(strand, length, "sheet")
    if isinstance(panel, (str, Path)):
        with dnaio.open(panel) as sequences:
            panel = [record.sequence for record in sequences]
    return LibraryReads(strand_of_bam(bam, panel), length, "reads")


def check_read_length(length: int, what: str) -> None:
    """Check that reads are long enough to tell the CAR: of shorter ones every CAR molecule would be left out.

    Parameters
    ----------
    length
        Of most of them, nt.
    what
        Names them in the message.

    Raises
    ------
    CarseqError
        If they are too short.
    """
    if length < MIN_BASES:
        raise CarseqError(
            f"{what} are too short to tell the CAR",
            f"they have {length} nt of cDNA, and a CAR molecule counts from {MIN_BASES} bases that agree: all would be "
            'left out, and the sample would be "not detected" whatever it holds',
            "give the untrimmed reads; if the library was sequenced so short, leave the sample out",
        )


def read_length_of_bam(path: str | Path, *, n: int = _LOOKED_AT) -> int:
    """Return the median length of the reads of a BAM, of R2 where reads are paired, nt.

    Raises
    ------
    CarseqError
        If it cannot be read or holds no read.
    """
    from carseq.io.bam import UNREADABLE, unopened_bam

    try:
        import pysam

        with pysam.AlignmentFile(str(path), "rb", check_sq=False) as bam:
            seen = [
                (record.query_length, record.is_paired and record.is_read1)
                for record in islice(bam.fetch(until_eof=True), n)
            ]
    except UNREADABLE as error:
        raise unopened_bam(path, error) from None
    lengths = [length for length, is_first in seen if length and not is_first]
    if seen and not any(length for length, _ in seen):
        raise CarseqError(
            f"the reads of the BAM {path} hold no bases",
            f"all of the first {len(seen):,} have * in their place: a program left them out to save room",
            "give the BAM as the aligner wrote it",
        )
    if not lengths:
        raise CarseqError(f"the BAM {path} holds no read", "", "give the whole BAM")
    return int(np.median(lengths))


def shortest_reads(paths: Iterable[str | Path], given: int | None = None, default: int = 90) -> int:
    """Return the length of windows in which a study's reads are compared with the genome's, nt.

    Parameters
    ----------
    paths
        Files of :class:`LibraryReads`.
    given
        The configuration's ``molecules.read_length``, which goes first.
    default
        Used if there is no library (matrices alone).
    """
    lengths = [LibraryReads.read(path).read_length for path in paths]
    return given or min(lengths, default=default)
