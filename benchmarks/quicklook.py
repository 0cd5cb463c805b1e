"""A quick look at FASTQ files against the time it takes to decompress them.

    python benchmarks/quicklook.py R1 R2 [R1 R2 ...] [--construct hbi0101_surrogate] [--times 3]

Decompression: igzip (isal), one thread, one file after the other.
"""

from __future__ import annotations

import argparse
import logging
import resource
import time
from pathlib import Path

import numpy as np
from isal import igzip

from carseq.config import find_construct_file
from carseq.construct import load_construct
from carseq.quicklook import quicklook


def decompress(pairs: list[tuple[Path, Path]]) -> None:
    """Read every file to its end."""
    for pair in pairs:
        for path in pair:
            with igzip.open(path, "rb") as stream:
                while stream.read(1 << 23):
                    pass


def main() -> None:
    """Print both times, side by side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--construct", default="hbi0101_surrogate")
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args()
    logging.getLogger("carseq").setLevel(logging.ERROR)
    pairs = list(zip(given.files[::2], given.files[1::2], strict=True))
    construct = load_construct(find_construct_file(given.construct, Path()), name="CAR")
    taken = []
    for _ in range(given.times):
        start = time.perf_counter()
        decompress(pairs)
        middle = time.perf_counter()
        look = quicklook(pairs, construct)
        taken.append((middle - start, time.perf_counter() - middle))
    yardstick, own = np.median(np.array(taken), axis=0)
    print(
        f"{look.n_reads:,} read pairs, {len(look.molecules)} CAR molecules; runs: {np.round(taken, 1).tolist()}"
    )
    print(f"decompression {yardstick:.1f} s, quick look {own:.1f} s: ratio {own / yardstick:.2f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
