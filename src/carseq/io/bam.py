"""Opening and writing BAM files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pysam

from carseq.errors import CarseqError
from carseq.io.files import atomic


def was_removed(path: str | Path) -> bool:
    """Return whether a BAM that cannot be read is a finished alignment that the study did not keep."""
    path = Path(path)
    return (
        path.name == "aligned.bam" and not path.exists() and path.with_name("summary.json").exists()
    )


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
        remedy = "check the path; it must be a BAM"
        if was_removed(path):
            remedy = "`solo.keep_bam` did not keep it: give slice.bam beside it, or set it to `all` and align anew"
        raise CarseqError(f"cannot read the BAM {path}", str(error), remedy) from None
    if bam.header.to_dict().get("HD", {}).get("SO") != "coordinate":
        raise CarseqError(f"{path} is not sorted by coordinate", "", "run `samtools sort` on it")
    if not bam.has_index():
        raise CarseqError(f"{path} has no index", "", "run `samtools index` on it")
    return bam


def by_coordinate(record: pysam.AlignedSegment) -> tuple[bool, int, int]:
    """Return the key that sorts records by coordinate, the unmapped last."""
    return record.reference_id < 0, record.reference_id, record.reference_start


def write_bam(
    records: Iterable[pysam.AlignedSegment], header: pysam.AlignmentHeader, path: str | Path
) -> Path:
    """Write records as a BAM by coordinate, with its index beside it; return the index's path."""
    path = Path(path)
    index = path.with_name(f"{path.name}.bai")
    with atomic(path) as slice_, atomic(index) as slice_index:
        with pysam.AlignmentFile(str(slice_), "wb", header=header) as out:
            for record in sorted(records, key=by_coordinate):
                out.write(record)
        pysam.index("-o", str(slice_index), str(slice_))
    return index
