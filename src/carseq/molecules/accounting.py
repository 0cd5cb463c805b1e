"""Read accounting: where a sample's CAR reads went, up to its molecules."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from carseq.schema.tables import LOSSES


def account(sample: str, counts: Counter[str], table: pd.DataFrame) -> pd.DataFrame:
    """Return where candidate reads went, in order.

    Parameters
    ----------
    sample
        Name of the sample.
    counts
        Reads by what became of them before they were put together to molecules.
    table
        Candidate molecules: ``evidence``, ``n_reads``.

    Returns
    -------
    pandas.DataFrame
        Schema ``LOSSES``: ``sample``, ``step``, ``unit``, ``n``, ``meaning``.
    """
    reads = table.groupby("evidence")["n_reads"].sum() if len(table) else pd.Series(dtype=int)
    kinds = table["evidence"].value_counts()

    def n_reads(kind: str) -> int:
        return int(reads.get(kind, 0))

    kept = [k for k in ("unique", "junction", "shared") if k in kinds]
    n_kept = int(sum(kinds[k] for k in kept))
    rows = [
        ("candidates_on_contig", "reads", counts["on_contig"], "reads aligned to the CAR's contig"),
        ("candidates_at_homologs", "reads", counts["at_homologs"], "reads at homologs that resemble the CAR"),
        ("unmapped_looked_at", "reads", counts["unmapped_looked_at"], "unmapped reads in the BAM"),
        ("candidates_unmapped", "reads", counts["unmapped"], "unmapped reads that resemble the CAR"),
        ("wrong_strand", "reads", counts["wrong_strand"], "CAR reads on the wrong strand for this chemistry"),
        ("unlike_car", "reads", counts["unlike"], "reads that the CAR's transcript does not explain"),
        ("invalid_barcode", "reads", counts["no_barcode"], "CAR reads without a valid barcode or UMI"),
        ("endogenous", "reads", n_reads("endogenous"), "reads that an endogenous gene explains better"),
        ("car_reads", "reads", sum(n_reads(k) for k in kept), "reads of CAR molecules"),
        ("duplicates", "reads", sum(n_reads(k) for k in kept) - n_kept, "further reads of the same molecules"),
        ("multi_mapped", "reads", counts["multi_mapped"], "CAR reads placed twice, lost to plain counting"),
        ("car_molecules", "molecules", n_kept, "molecules that may be the CAR's, all droplets"),
        ("shared", "molecules", int(kinds.get("shared", 0)), "of them, shared with an endogenous gene"),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["step", "unit", "n", "meaning"])
    table.insert(0, "sample", sample)
    return LOSSES.conform(table)
