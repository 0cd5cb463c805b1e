"""Where the CAR's domains lie, found by similarity to known ones; no annotation is needed."""

from __future__ import annotations

import re
from functools import lru_cache

import pandas as pd

from carseq.construct.vector import Construct, find_part, parts
from carseq.data import path as data_path

#: Largest share of edits of a protein domain; tisa-cel's CD3zeta has one substitution in 112.
MAX_DOMAIN_EDITS = 0.15
#: Ends of antibody variable domains (framework 4, IMGT): heavy WGxGTxVTVSS, light FGxGTxxxIK.
_HEAVY = re.compile(r"WG[QRK]GT.[VL]TVS[SA]")
_LIGHT = re.compile(r"FG.GT[KR][LVR][ETD][IVL][KTR]")


@lru_cache
def known_domains() -> pd.DataFrame:
    """Return the known domains: name, kind, alphabet (protein, dna), sequence, source."""
    table = pd.read_csv(data_path("sequences/domains.tsv"), sep="\t", dtype=str)
    table["sequence"] = [parts()[s[1:]] if s.startswith("@") else s for s in table["sequence"]]
    return table


def _variable_domains(protein: str, lo: int, hi: int) -> list[tuple[str, str, int, int]]:
    """Return binder parts (name, kind, start, end in residues) between residues lo and hi."""
    found = []
    start = lo
    stretch = protein[lo:hi]
    ends = sorted(
        [(m.end(), "VH") for m in _HEAVY.finditer(stretch)]
        + [(m.end(), "VL") for m in _LIGHT.finditer(stretch)]
    )
    for end, kind in ends:
        found.append((kind, "binder", start, lo + end))
        start = lo + end
    if not found and hi - lo >= 60:
        found.append(("binder", "binder", lo, hi))
    return found


def find_domains(construct: Construct) -> pd.DataFrame:
    """Find the domains of a construct.

    Parameters
    ----------
    construct
        The construct.

    Returns
    -------
    pandas.DataFrame
        One row a domain, by position: ``name``, ``kind``, ``start``, ``end`` (0-based half-open on the
        full-length transcript), ``identity`` (0-1, of residues or bases; NaN for binder parts found by
        their framework), ``source``.
    """
    rows: list[dict[str, object]] = []
    protein = construct.protein
    offset = construct.orf[0] if construct.orf else 0
    taken: list[tuple[int, int]] = []

    def add(name: str, kind: str, start: int, end: int, identity: float, source: str) -> None:
        rows.append(
            {
                "name": name,
                "kind": kind,
                "start": start,
                "end": end,
                "identity": identity,
                "source": source,
            }
        )

    for domain in known_domains().itertuples():
        sequence, is_protein = str(domain.sequence), domain.alphabet == "protein"
        text = protein if is_protein else construct.sequence
        for start, end, identity in find_part(sequence, text, MAX_DOMAIN_EDITS):
            if is_protein:
                taken.append((start, end))
                start, end = offset + 3 * start, offset + 3 * end
            add(str(domain.name), str(domain.kind), start, end, identity, str(domain.source))
    # What is left between leader and hinge is the binder, cut at its frameworks' ends and its linkers.
    taken.sort()
    lo = 0
    edges = [*taken, (len(protein), len(protein))]
    for start, end in edges:
        if start - lo >= 60 and lo < len(protein):
            for name, kind, first, last in _variable_domains(protein, lo, start):
                add(
                    name,
                    kind,
                    offset + 3 * first,
                    offset + 3 * last,
                    float("nan"),
                    "framework 4 motif",
                )
        lo = max(lo, end)
    columns = ["name", "kind", "start", "end", "identity", "source"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["start", "end"], ignore_index=True)


def domains_at(domains: pd.DataFrame, start: int, end: int) -> str:
    """Return the names of the domains touched by [start, end), comma-separated, in order."""
    hit = domains[(domains["start"] < end) & (domains["end"] > start)]
    return ",".join(hit["name"])
