"""Opening and writing BAM files."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
import pysam
from isal import igzip

from carseq.errors import CarseqError
from carseq.io.barcodes import other_library
from carseq.io.failures import check_scratch
from carseq.io.fasta import DAMAGED, check_fetched, check_regular, is_gzipped
from carseq.io.files import atomic
from carseq.log import get_logger

log = get_logger(__name__)


def was_removed(path: str | Path) -> bool:
    """Return whether a BAM that cannot be read is a finished alignment that the study did not keep."""
    path = Path(path)
    return (
        path.name == "aligned.bam" and not path.exists() and path.with_name("summary.json").exists()
    )


#: What pysam raises where a file is not a BAM, is cut off or damaged; NotImplementedError for one packed by gzip.
UNREADABLE = (OSError, ValueError, NotImplementedError)


def _index_beside(path: str | Path) -> Path | None:
    """Return the index that lies beside a BAM; None where there is none."""
    path = Path(path)
    indexes = (Path(f"{path}.bai"), path.with_suffix(".bai"), Path(f"{path}.csi"))
    return next((index for index in indexes if index.is_file()), None)


def index_of(path: str | Path) -> str | None:
    """Return the index of a linked BAM, where it lies beside what the link leads to; None: pysam finds it itself."""
    if not Path(path).is_symlink() or _index_beside(path):
        return None
    found = _index_beside(os.path.realpath(path))
    return str(found) if found else None


def damaged_bam(path: str | Path, error: BaseException) -> CarseqError:
    """Return what to say of a BAM whose records cannot be read."""
    path = Path(path)
    with suppress(OSError):
        own = _index_beside(path)
        if own is not None and own.stat().st_mtime < path.stat().st_mtime:
            return CarseqError(
                f"cannot read the records of the BAM {path}",
                f"its index is older than the BAM, perhaps that of another one: {' '.join(str(error).split())[:300]}",
                "run `samtools index` on it; if that does not help, the BAM is damaged: transfer it again",
            )
    remedy = "transfer it again, and compare its md5; `samtools quickcheck` sees its end alone"
    cause = " ".join(str(error).split())[:300]
    if _is_read_in_turn(path):
        return CarseqError(
            f"the places in the index of the BAM {path} do not fit it",
            f"{cause}, while its first {_IN_TURN:,} records are read in turn",
            f"if the index is that of another BAM, run `samtools index` on this one; else it is damaged: {remedy}",
        )
    return CarseqError(f"the BAM {path} is damaged", cause, remedy)


#: Records that are read in turn to tell a BAM that is damaged from one beside another's index.
_IN_TURN = 200_000


def _is_read_in_turn(path: Path) -> bool:
    try:
        with pysam.AlignmentFile(str(path), "rb", check_sq=False) as bam:
            for _ in islice(bam.fetch(until_eof=True), _IN_TURN):
                pass
    except UNREADABLE:
        return False
    return True


#: The first bytes of a BAM's index (of a .csi behind gzip): SAM specification, sections 5.2 and CSIv1.
_INDEX = (b"BAI\1", b"CSI\1")


def unopened_bam(
    path: str | Path, error: BaseException, remedy: str = "check the path; it must be a BAM"
) -> CarseqError:
    """Return what to say of a file that cannot be opened as a BAM, by what it is."""
    path = Path(path)
    why = getattr(error, "strerror", None) or str(error)
    try:
        check_fetched(path)
        with igzip.open(path, "rb") if is_gzipped(path) else open(path, "rb") as stream:
            head = stream.read(4)
    except CarseqError as told:
        return told
    except DAMAGED as damage:
        why = getattr(damage, "strerror", None) or why
        return CarseqError(f"cannot read the BAM {path}", why, remedy)
    if head in _INDEX:
        return CarseqError(
            f"cannot read the BAM {path}",
            "it is an index, which holds the places of a BAM's reads but no read",
            f"give the BAM that lies beside it, `{path.with_suffix('')}`",
        )
    if head not in (b"BAM\1", b"CRAM"):
        why = f"it is not a BAM: it begins with {head!r}" if head else "the file is empty"
    return CarseqError(f"cannot read the BAM {path}", why, remedy)


class _Bam(pysam.AlignmentFile):
    """A BAM that tells of damage between its beginning and its end."""

    def fetch(  # type: ignore[override]
        self, *given: Any, **named: Any
    ) -> Iterator[pysam.AlignedSegment]:
        """Return records as pysam does."""
        return self._told(super().fetch(*given, **named))

    def _told(self, records: Iterator[pysam.AlignedSegment]) -> Iterator[pysam.AlignedSegment]:
        try:
            yield from records
        except OSError as error:
            raise damaged_bam(os.fsdecode(self.filename), error) from None

    def __exit__(self, *error: object) -> None:
        # A file that was read has nothing to lose; pysam closes a damaged one with an error that hides the first.
        with suppress(OSError):
            self.close()


def open_bam(path: str | Path) -> pysam.AlignmentFile:
    """Open a coordinate-sorted, indexed BAM.

    Raises
    ------
    CarseqError
        If it cannot be read, is not sorted or has no index; later, if its records cannot be read.
    """
    try:
        check_regular(path)
        bam = _Bam(str(path), "rb", index_filename=index_of(path))
    except UNREADABLE as error:
        remedy = "check the path; it must be a BAM"
        if was_removed(path):
            remedy = "`solo.keep_bam` did not keep it: give slice.bam beside it, or set it to `all` and align again"
        raise unopened_bam(path, error, remedy) from None
    if bam.is_cram:
        raise CarseqError(
            f"{path} is a CRAM, not a BAM",
            "it holds the differences to a genome, without which it cannot be read",
            "run `samtools view -b -T GENOME.fa -o FILE.bam` on it, with the genome that it was made with, then "
            "`samtools index`",
        )
    if not bam.is_bam:
        raise CarseqError(
            f"{path} is a SAM, not a BAM",
            "it is text, in which no place can be looked up",
            f"run `samtools sort -o {Path(path).stem}.bam` on it, then `samtools index`",
        )
    order = bam.header.to_dict().get("HD", {}).get("SO")
    if order != "coordinate":
        raise CarseqError(
            f"{path} is not sorted by coordinate",
            f"its header says {order!r}" if order else "its header does not say that it is",
            "run `samtools sort` on it, then `samtools index`",
        )
    if not bam.has_index():
        raise CarseqError(f"{path} has no index", "", "run `samtools index` on it")
    return bam


def samples_of_bam(bam: pysam.AlignmentFile) -> list[str]:
    """Return the samples that a BAM's read groups name, in order: several, where BAMs were merged."""
    groups = bam.header.to_dict().get("RG", [])
    return list(dict.fromkeys(str(group["SM"]) for group in groups if group.get("SM")))


#: What samtools may do to a BAM without leaving a read out (samtools manual: these take no filter by default).
_KEEP_ALL = frozenset(("sort", "merge", "cat", "reheader", "addreplacerg", "calmd", "collate"))
_FILTERS = re.compile(r"\s-(?:[fFGqLdDN]|-(?:require|exclude|include|excl|min-MQ)\S*)\s*")


def kept_unmapped(bam: pysam.AlignmentFile) -> bool:
    """Return whether the header shows that reads which could not be aligned were written, and not left out later.

    A BAM without such reads is then one whose reads all aligned. STAR writes them with ``--outSAMunmapped Within``; of
    the programs that came after it, only those are trusted that leave no read out.

    Parameters
    ----------
    bam
        As :func:`open_bam` gives it.
    """
    aligned = False
    for program in bam.header.to_dict().get("PG", []):
        line = str(program.get("CL", ""))
        if str(program.get("PN", program.get("ID", ""))) == "STAR":
            aligned = re.search(r"--outSAMunmapped\s+Within\b", line) is not None
        else:
            action = re.search(r"samtools(?:\.exe)?\s+(\w+)", line)
            if action is None or action[1] not in _KEEP_ALL or _FILTERS.search(line):
                return False
    return aligned


def by_coordinate(record: pysam.AlignedSegment) -> tuple[bool, int, int]:
    """Return the key that sorts records by coordinate, the unmapped last."""
    return record.reference_id < 0, record.reference_id, record.reference_start


def shareable_header(header: pysam.AlignmentHeader) -> pysam.AlignmentHeader:
    """Return a BAM header without command lines and comments, which name folders and users of the machine.

    Kept are the contigs, read groups without their descriptions, and names and versions of the programs.
    """
    found = header.to_dict()
    kept: dict[str, object] = {key: found[key] for key in ("HD", "SQ") if key in found}
    for key, fields in (("RG", ("ID", "SM", "LB", "PL")), ("PG", ("ID", "PN", "PP", "VN"))):
        lines = [{f: line[f] for f in fields if f in line} for line in found.get(key, ())]
        if lines:
            kept[key] = lines
    # Contigs may tell where their file lay.
    kept["SQ"] = [{f: v for f, v in line.items() if f != "UR"} for line in found.get("SQ", ())]
    return pysam.AlignmentHeader.from_dict(kept)


def write_bam(
    records: Iterable[pysam.AlignedSegment], header: pysam.AlignmentHeader, path: str | Path
) -> Path:
    """Write records as a BAM sorted by coordinate, with its index, for others to use; return the index's path.

    The header names no path of this machine (:func:`shareable_header`).

    Raises
    ------
    CarseqError
        If the index cannot be written.
    """
    path = Path(path)
    header = shareable_header(header)
    index = path.with_name(f"{path.name}.bai")
    with atomic(path) as slice_, atomic(index) as slice_index:
        with pysam.AlignmentFile(str(slice_), "wb", header=header) as out:
            for record in sorted(records, key=by_coordinate):
                out.write(record)
        index_bam(slice_, slice_index)
    return index


def index_bam(path: str | Path, index: str | Path | None = None, *, threads: int = 1) -> None:
    """Write the index of a BAM that was just written.

    Parameters
    ----------
    path
        Sorted by coordinate.
    index
        Where to; None: beside it.
    threads
        Threads that decompress it.

    Raises
    ------
    CarseqError
        If it cannot be written.
    """
    given = ["-@", str(threads)] if threads > 1 else []
    try:
        pysam.index(*given, *(["-o", str(index)] if index else []), str(path))
    except pysam.SamtoolsError as error:
        # It does not say why: most often the disk is full.
        check_scratch(Path(path).parent)
        raise CarseqError(
            f"the index of {path} cannot be written",
            " ".join(str(error).split())[:300],
            "look for room on the disk, then run again; reads' names may have 254 letters",
        ) from None


#: Tags of cell barcode and UMI that carseq takes unless told otherwise: those of Cell Ranger and STARsolo. ``UR`` holds
#: the UMI as it was read.
TAGS, RAW_UMI_TAG = ("CB", "UB"), "UR"
#: Tags of other programs: BD Rhapsody's (its bioinformatics documentation, "BAM and BAM Index": MA is the RSEC-adjusted
#: UMI), the Drop-seq tools' (TagBamWithReadSequenceExtended), zUMIs' before it wrote CB (sdparekh/zUMIs, issue 135) and
#: DRAGEN's, whose barcodes and UMIs are as they were read (its documentation, "Single Cell RNA Outputs").
OTHER_TAGS = {
    ("CB", "MA"): "BD Rhapsody",
    ("XC", "XM"): "Drop-seq tools",
    ("BC", "UB"): "zUMIs",
    ("XB", "RX"): "DRAGEN",
}
#: How STARsolo and BD write that there is no barcode.
NO_BARCODE = frozenset(("", "-", "0"))
#: Records by which tags are found, and a UMI as a tag holds it.
_TAGGED, _UMI = 20_000, re.compile("[ACGTN]{4,}")


def molecule_tags(path: str | Path, tags: tuple[str, str] = TAGS) -> tuple[str, str]:
    """Return the tags of cell barcode and UMI that a BAM has: those asked for, or another program's.

    Parameters
    ----------
    path
        Sorted, indexed BAM.
    tags
        As the configuration names them. Others than :data:`TAGS` are taken as they are.

    Returns
    -------
    tuple of str
        Where none of the first 20,000 records holds :data:`TAGS`, that of :data:`OTHER_TAGS` which most of them hold;
        else ``tags``.

    Raises
    ------
    CarseqError
        If the BAM cannot be read.
    """
    if tuple(tags) != TAGS:
        return tags
    seen: Counter[tuple[str, str]] = Counter()
    with open_bam(path) as bam:
        for record in islice(bam.fetch(until_eof=True), _TAGGED):
            held = dict(record.get_tags())
            if TAGS[0] in held and (TAGS[1] in held or RAW_UMI_TAG in held):
                return tags
            for pair in OTHER_TAGS:
                barcode, umi = held.get(pair[0]), held.get(pair[1])
                if barcode is not None and isinstance(umi, str) and _UMI.fullmatch(umi):
                    seen[pair] += 1
    if not seen:
        return tags
    found = seen.most_common(1)[0][0]
    log.info("%s has the tags of %s: barcodes in %s, UMIs in %s", path, OTHER_TAGS[found], *found)
    return found


def barcodes_of_bam(
    path: str | Path, tag: str = "CB", *, n: int = 100_000, skipped: int = 2_000_000
) -> pd.Series:
    """Count the reads of some barcodes: of the first reads with a barcode, whatever they map to.

    Parameters
    ----------
    path
        Sorted, indexed BAM.
    tag
        Tag of the cell barcode.
    n
        Reads with a barcode that are counted, taken evenly over the contigs that have reads.
    skipped
        Reads without a barcode that are passed over at most.

    Returns
    -------
    pandas.Series
        Reads by barcode.

    Raises
    ------
    CarseqError
        If the BAM cannot be read.
    """
    if tag == TAGS[0]:
        tag = molecule_tags(path)[0]
    counted: Counter[str] = Counter()
    with open_bam(path) as bam:
        try:
            held = [s.contig for s in bam.get_index_statistics() if s.mapped]
            passed = 0
            for contig in [*held, None]:
                left = n - counted.total()
                wanted = max(left if contig is None else -(-n // max(len(held), 1)), 100)
                reads = bam.fetch(contig) if contig is not None else bam.fetch("*")
                for record in reads:
                    if record.is_secondary or record.is_supplementary:
                        continue
                    if record.has_tag(tag) and record.get_tag(tag) != 0:
                        counted[str(record.get_tag(tag))] += 1
                        wanted -= 1
                    else:
                        passed += 1
                    if wanted <= 0 or passed > skipped:
                        break
                if counted.total() >= n:
                    break
        except UNREADABLE as error:
            raise damaged_bam(path, error) from None
    counted.pop("-", None)
    return pd.Series(counted, dtype="int64")


def groups_of_other_cells(path: str | Path, tag: str = "CB", *, n: int = 200_000) -> list[str]:
    """Return the read groups of a BAM that are of other cells than its largest one, as those of merged libraries.

    Parameters
    ----------
    path
        Sorted, indexed BAM.
    tag
        Tag of the cell barcode.
    n
        Reads looked at, evenly over the contigs that have reads.

    Raises
    ------
    CarseqError
        If the BAM cannot be read.
    """
    held: dict[str, list[str]] = {}
    with open_bam(path) as bam:
        if len(bam.header.to_dict().get("RG", [])) < 2:
            return []
        contigs = [s.contig for s in bam.get_index_statistics() if s.mapped]
        for contig in contigs:
            for record in islice(bam.fetch(contig), -(-n // len(contigs))):
                if record.has_tag("RG") and record.has_tag(tag):
                    barcode = str(record.get_tag(tag))
                    if barcode not in NO_BARCODE:
                        held.setdefault(str(record.get_tag("RG")), []).append(barcode)
    largest = max(held, key=lambda group: len(held[group]), default="")
    return [group for group in held if other_library(held[largest], held[group])]
