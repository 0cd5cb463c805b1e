"""The constructs that come with carseq: what there is, and what each record says of itself.

:mod:`carseq.construct.library_build` makes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from carseq.construct.parts import sequences
from carseq.construct.reading import read_vector
from carseq.data import path as data_path

#: Names of the constructs, in the order in which they are listed.
NAMES = (
    "hbi0101_surrogate",
    "hbi0101_surrogate_native",
    "hbi0101_surrogate_MoMuLV",
    "ide-cel",
    "cilta-cel",
    "cilta-cel_ozdemirli",
    "tisa-cel",
    "liso-cel",
    "axi-cel",
    "brexu-cel",
    "Hu19-CD828Z",
)
_ALTERNATIVES = re.compile(r"ALTERNATIVES: ([^.]+)\.")


@dataclass(frozen=True)
class Entry:
    """A construct of the library.

    Attributes
    ----------
    name, description, length
        Its name, what it is, and its length in nt.
    kind
        ``published``, ``model`` (a published frame in a vector that is not in its record) or ``surrogate``.
    comment
        The record's own words.
    path
        The GenBank file.
    alternatives
        Names of the records that the reads should be compared with as well.
    """

    name: str
    description: str
    length: int
    kind: str
    comment: str
    path: Path
    alternatives: tuple[str, ...] = ()


def relatives() -> dict[str, str]:
    """Return the RefSeq mRNAs whose domains CARs share, by gene symbol."""
    return dict(sequences("relatives.fa"))


def library() -> list[Entry]:
    """Return the constructs that come with carseq, in order.

    Examples
    --------
    >>> entries = {entry.name: entry for entry in library()}
    >>> entries["hbi0101_surrogate"].kind, entries["hbi0101_surrogate"].alternatives
    ('surrogate', ('hbi0101_surrogate_native', 'hbi0101_surrogate_MoMuLV'))
    """
    return [_entry(name) for name in NAMES]


def alternatives_of(file: str | Path) -> list[str]:
    """Return the names of the alternatives that a record of the library names; none for any other file.

    Examples
    --------
    >>> alternatives_of("hbi0101_surrogate.gb")
    ['hbi0101_surrogate_native.gb', 'hbi0101_surrogate_MoMuLV.gb']
    """
    name = Path(file).name.removesuffix(".gb")
    known = next((n for n in NAMES if n.lower() == name.lower()), None)
    return [] if known is None else [f"{other}.gb" for other in _entry(known).alternatives]


def _entry(name: str) -> Entry:
    path = data_path("constructs") / f"{name}.gb"
    definition, comment = _words(path)
    kind = next((k for k in ("SURROGATE", "MODEL") if comment.startswith(f"{k}.")), "published")
    told = _ALTERNATIVES.search(comment)
    others = tuple(n.strip() for n in told.group(1).split(",")) if told else ()
    length = len(read_vector(path).sequence)
    return Entry(name, definition, length, kind.lower(), comment, path, others)


def _words(path: Path) -> tuple[str, str]:
    """Return the definition and the comment of a GenBank file."""
    found = {"DEFINITION": "", "COMMENT": ""}
    section = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line[:1].strip():
            section = line.split()[0]
        if section == "FEATURES":
            break
        if section in found:
            found[section] += " " + line.replace(section, "", 1).strip()
    return found["DEFINITION"].strip().removesuffix("."), found["COMMENT"].strip()
