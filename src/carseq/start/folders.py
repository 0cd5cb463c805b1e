"""The FASTQ files that a folder holds, by sample and lane."""

from __future__ import annotations

import re
from pathlib import Path

from carseq.errors import CarseqError

#: Illumina's names: SAMPLE_S1_L001_R1_001.fastq.gz; lane and number may be missing.
_FASTQ = re.compile(
    r"^(?P<sample>.+?)(?:_S\d+)?(?:_(?P<lane>L\d{3}))?_R(?P<read>[12])(?:_(?P<part>\d{3}))?\.f(?:ast)?q(?:\.gz)?$"
)


def find_fastqs(folder: Path) -> list[tuple[str, str, Path, Path]]:
    """Return (sample, unit, r1, r2) of the FASTQ pairs below a folder.

    Raises
    ------
    CarseqError
        If there are none, or a file lacks its mate.
    """
    pairs: dict[tuple[str, str], dict[str, Path]] = {}
    for path in sorted(folder.rglob("*")):
        if match := _FASTQ.match(path.name):
            unit = "_".join(filter(None, [match["lane"], match["part"]])) or "1"
            if path.parent != folder:
                unit = f"{path.parent.relative_to(folder).as_posix().replace('/', '_')}_{unit}"
            sample = re.sub(r"[^A-Za-z0-9._-]", "_", match["sample"])
            pairs.setdefault((sample, unit), {})[match["read"]] = path
    if not pairs:
        raise CarseqError(
            f"no FASTQ pairs below {folder}",
            "names like SAMPLE_S1_L001_R1_001.fastq.gz are looked for",
            "check the folder, or write units.tsv by hand",
        )
    for (sample, unit), reads in pairs.items():
        if set(reads) != {"1", "2"}:
            raise CarseqError(
                f"{sample} {unit} lacks R{'2' if '1' in reads else '1'}",
                str(next(iter(reads.values()))),
                "transfer it",
            )
    return [(sample, unit, reads["1"], reads["2"]) for (sample, unit), reads in pairs.items()]
