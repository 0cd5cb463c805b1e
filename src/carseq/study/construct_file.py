"""The file of a construct as it is named: a file, one of its records, or a construct that comes with carseq."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from carseq.study.texts import path_fault

Form = Literal["auto", "plasmid", "provirus", "transcript", "orf", "partial"]
#: Names that constructs of the library had in earlier versions.
_FORMER = {"hbi0101_surrogate_recoded": "hbi0101_surrogate"}


def find_construct_file(file: str, base: Path) -> str:
    """Return ``file`` if it exists below ``base``, else the construct of that name that comes with carseq."""
    from carseq.data import path as data_path

    if path_fault(file) or (base / file).exists() or Path(file).name != file:
        return file
    folder = data_path("constructs")
    names = {p.name.lower(): p for p in folder.glob("*.gb")}
    asked = file.lower().removesuffix(".gb")
    shipped = names.get(f"{_FORMER.get(asked, asked)}.gb")
    return file if shipped is None else str(shipped)
