"""The file of a construct as it is named: a file, one of its records, or a construct that comes with carseq."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from carseq.study.texts import path_fault

Form = Literal["auto", "plasmid", "provirus", "transcript", "orf", "partial"]
#: Names that constructs of the library had in earlier versions.
_FORMER = {"hbi0101_surrogate_recoded": "hbi0101_surrogate"}


def split_record(path: str | Path) -> tuple[Path, str | None]:
    """Return the file and the record's name of ``FILE#name``; None where the whole file is meant.

    Examples
    --------
    >>> split_record("no_such_folder/two.fa#second")
    (PosixPath('no_such_folder/two.fa'), 'second')
    """
    text = str(path)
    if "#" not in text or Path(path).exists():
        return Path(path), None
    places = [i for i, letter in enumerate(text) if letter == "#"]
    at = next((i for i in places if Path(text[:i]).is_file()), places[-1])
    return Path(text[:at]), text[at + 1 :]


def with_record(file: str | Path, record: str | None) -> str:
    """Return ``FILE#name``, or the file alone where no record is named.

    Examples
    --------
    >>> with_record("two.fa", "second"), with_record("one.fa", None)
    ('two.fa#second', 'one.fa')
    """
    return str(file) if record is None else f"{file}#{record}"


def vector_name(file: str | Path) -> str:
    """Return what a vector without a name of its own is called: its record, or its file without the suffix.

    Examples
    --------
    >>> vector_name("no_such_folder/two.fa#second"), vector_name("axi-cel.gb")
    ('second', 'axi-cel')
    """
    path, record = split_record(file)
    return record or path.stem


def _plain(name: str) -> str:
    """Return a name without what people write in different ways: ``ide-cel``, ``ide_cel``, ``Idecel``."""
    return name.lower().replace("-", "").replace("_", "")


def find_construct_file(file: str, base: Path) -> str:
    """Return ``file`` if it exists below ``base``, else the construct of that name that comes with carseq.

    Examples
    --------
    >>> Path(find_construct_file("Ide_cel", Path("no_such_folder"))).name
    'ide-cel.gb'
    """
    from carseq.data import path as data_path

    if path_fault(file) or (base / file).exists() or Path(file).name != file:
        return file
    folder = data_path("constructs")
    names = {_plain(p.stem): p for p in folder.glob("*.gb")}
    asked = file.lower().removesuffix(".gb")
    shipped = names.get(_plain(_FORMER.get(asked, asked)))
    return file if shipped is None else str(shipped)
