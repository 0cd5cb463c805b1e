"""What is true of a simulated library: its droplets, its CAR molecules, its reads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from carseq.simulate.expression import Cells, cell_types
from carseq.simulate.genome import Bases
from carseq.simulate.molecules import (
    AMBIENT,
    DEGRADED,
    INTERNAL,
    KINDS,
    MIN_SHARED,
    ORIGINS,
    OWN,
    PARTNER,
    SWAPPED,
    Library,
    Pool,
    Protocol,
)
from carseq.simulate.reads import Reads, umi_strings


def droplets_truth(library: Library, cells: Cells, pool: Pool) -> pd.DataFrame:
    """Return what every droplet with a read holds.

    ``n_molecules`` counts all its sequenced molecules, ambient and swapped ones included.
    """
    molecules = library.molecules
    listed = molecules.droplet >= 0
    n = len(library.barcodes)

    def count(which: np.ndarray[Any, np.dtype[np.bool_]]) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.bincount(molecules.droplet[listed & which], minlength=n)

    is_car = molecules.transcript >= pool.first_car
    lineage = cell_types()["lineage"]
    cell, partner = library.cell, library.partner
    cell_type = np.where(cell >= 0, np.append(cells.cell_type, "")[cell], "").astype(object)
    table = pd.DataFrame(
        {
            "barcode": _strings(library.barcodes),
            "kind": np.where(partner >= 0, "doublet", np.where(cell >= 0, "cell", "empty")),
            "cell_type": cell_type,
            "lineage": pd.Series(cell_type).map(lineage).fillna("").to_numpy(),
            "t_state": np.where(cell >= 0, np.append(cells.t_state, "")[cell], ""),
            "partner_type": np.where(partner >= 0, np.append(cells.cell_type, "")[partner], ""),
            "is_car_t": (cell >= 0) & np.append(cells.is_car_t, False)[cell],
            "partner_is_car_t": (partner >= 0) & np.append(cells.is_car_t, False)[partner],
            "n_molecules": count(listed),
            "n_ambient": count(molecules.origin == AMBIENT),
            "n_car_own": count(is_car & (molecules.origin == OWN)),
            "n_car_partner": count(is_car & (molecules.origin == PARTNER)),
            "n_car_ambient": count(is_car & (molecules.origin == AMBIENT)),
            "n_car_swapped": count(is_car & (molecules.origin == SWAPPED)),
        }
    )
    return table[table["n_molecules"] > 0].reset_index(drop=True)


def car_molecules_truth(
    library: Library, reads: Reads, pool: Pool, protocol: Protocol, *, umi_length: int
) -> pd.DataFrame:
    """Return the CAR's molecules under listed barcodes.

    ``start`` and ``end`` are what the reads cover, on the full-length transcript. A molecule is
    ``identifiable`` if a read of it, had it no errors, shows at least 20 nt of the CAR that stand
    in this form in no endogenous mRNA or pre-mRNA.
    """
    columns = ["barcode", "umi", "transcript", "start", "end", "origin", "kind", "n_reads"]
    molecules = library.molecules
    of_car = (molecules.transcript >= pool.first_car) & (molecules.droplet >= 0)
    chosen = np.flatnonzero(of_car[reads.molecule] & ~reads.junk)
    if not len(chosen):
        return pd.DataFrame(columns=[*columns, "identifiable"])
    molecule = reads.molecule[chosen]
    car = molecules.transcript[molecule] - pool.first_car
    start = np.maximum(reads.start[chosen], molecules.low[molecule])
    end = np.minimum(reads.start[chosen] + protocol.read_length, molecules.end[molecule])
    full_start, full_end = np.empty_like(start), np.empty_like(end)
    shared = np.empty_like(start)
    for k in range(len(pool.car_names)):
        mine = car == k
        full_start[mine] = pool.on_full(k, start[mine])
        full_end[mine] = pool.on_full(k, end[mine] - 1) + 1
        shared[mine] = pool.longest[k][start[mine]]
    table = pd.DataFrame(
        {
            "molecule": molecule,
            "start": full_start,
            "end": full_end,
            "identifiable": (end - start >= MIN_SHARED) & (shared < end - start),
        }
    )
    table = table.groupby("molecule", as_index=False).agg(
        start=("start", "min"),
        end=("end", "max"),
        identifiable=("identifiable", "any"),
        n_reads=("start", "size"),
    )
    index = table["molecule"].to_numpy()
    table["barcode"] = _strings(library.barcodes[molecules.droplet[index]])
    table["umi"] = umi_strings(molecules.umi[index], umi_length)
    names = np.array(pool.car_names, dtype=object)
    table["transcript"] = names[molecules.transcript[index] - pool.first_car]
    table["origin"] = np.array(ORIGINS, dtype=object)[molecules.origin[index]]
    table["kind"] = np.array(KINDS, dtype=object)[molecules.kind[index]]
    return table[[*columns, "identifiable"]]


def count_reads(library: Library, reads: Reads, pool: Pool) -> dict[str, int]:
    """Count reads by kind; the kinds overlap."""
    molecules, molecule = library.molecules, reads.molecule
    good = ~reads.junk
    listed = good & (molecules.droplet[molecule] >= 0)
    origin, kind = molecules.origin[molecule], molecules.kind[molecule]
    transcript = molecules.transcript[molecule]
    is_car = transcript >= pool.first_car
    which = {
        "total": np.ones(len(reads), dtype=bool),
        "junk": reads.junk,
        "background_barcode": good & ~listed,
        **{name: listed & (origin == i) for i, name in enumerate(ORIGINS)},
        "premrna": good & (transcript >= pool.n_genes) & ~is_car,
        "internal": good & (kind == INTERNAL),
        "degraded": good & (kind == DEGRADED),
        "car": good & is_car,
        "car_background_barcode": good & is_car & ~listed,
        **{f"car_{name}": listed & is_car & (origin == i) for i, name in enumerate(ORIGINS)},
    }
    return {name: int(chosen.sum()) for name, chosen in which.items()}


def _strings(barcodes: Bases) -> list[str]:
    text = np.ascontiguousarray(barcodes).tobytes().decode()
    width = barcodes.shape[1]
    return [text[i : i + width] for i in range(0, len(text), width)]
