"""Faults of a construct that would cost reads or mislead, each with what to do."""

from __future__ import annotations

from typing import TypedDict

from carseq.construct.vector import Construct


class Finding(TypedDict):
    """One lint finding."""

    level: str
    code: str
    message: str
    remedy: str


SURROGATE = (
    "This is carseq's surrogate for HBI0101, not its true sequence, which is not public: "
    "parts of the real CAR mRNA may differ."
)


def lint(construct: Construct) -> list[Finding]:
    """Return the findings on a construct, worst first.

    Returns
    -------
    list of dict
        ``level`` (error, warn, info), ``code``, ``message``, ``remedy``.
    """
    found: list[Finding] = []

    def add(level: str, code: str, message: str, remedy: str = "") -> None:
        found.append(Finding(level=level, code=code, message=message, remedy=remedy))

    if construct.surrogate:
        add("warn", "surrogate", SURROGATE, "Put your own plasmid map into `construct.file`.")
    if construct.form == "orf":
        add(
            "warn",
            "orf_only",
            "The construct is an ORF without its untranslated ends: 3' reads fall into the 3' LTR and 5' reads "
            "into the leader, so most CAR reads will not align.",
            "Give the plasmid map, the provirus or the whole transcript.",
        )
    n_ambiguous = construct.sequence.count("N")
    if n_ambiguous:
        add(
            "warn",
            "ambiguous",
            f"{n_ambiguous} bases of the transcript are ambiguous.",
            "Resolve them in the map.",
        )
    if construct.orf is not None:
        start, end = construct.orf
        if (end - start) % 3 or construct.sequence[end - 3 : end] not in ("TAA", "TAG", "TGA"):
            add(
                "warn",
                "no_stop",
                "The CAR's reading frame has no stop codon.",
                "Check the 3' end of the map.",
            )
    zeta = construct.domains[construct.domains["kind"] == "CD3zeta"]
    if zeta.empty:
        add(
            "warn",
            "no_cd3zeta",
            "No CD3zeta signalling domain was found in the reading frame.",
            "Check the map for a frameshift or a truncated domain; ignore this for a CAR without CD3zeta.",
        )
    for code, message in construct.notes:
        add("info", code, message)
    order = {"error": 0, "warn": 1, "info": 2}
    return sorted(found, key=lambda f: order[f["level"]])
