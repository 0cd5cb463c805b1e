"""Compile what the tests' processes would compile at their first import or call, each for itself.

`make test` runs this once beside the installers, which wait for the network; the workers of pytest and the first jobs
of three studies then find Python's bytecode and numba's functions on the disk.
"""

from __future__ import annotations

import altair  # noqa: F401
import torch  # noqa: F401

from carseq import calling, cells, report  # noqa: F401
from carseq.cells.stages import sample_cells
from carseq.sequence import kmers
from helpers_cells import CAR, urine


def main() -> None:
    """Take a small sample from its matrix to clusters and types, and look for reads of a CAR."""
    for _ in kmers.get_ready():
        pass
    made = sample_cells(urine(150, 600, contamination=0.1, seed=1), "S1", car=CAR)
    cohort = cells.combine([made.cells])
    cells.annotate(cells.cluster(cohort, cells.integrate(cohort, "none")))


if __name__ == "__main__":
    main()
