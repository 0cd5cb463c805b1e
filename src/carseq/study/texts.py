"""What people write into a configuration or a sheet: YAML, paths, and words for a missing value."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from carseq.errors import CarseqError
from carseq.io.fasta import check_fetched

#: What R, pandas, spreadsheets and people write where there is no value.
MISSING = frozenset(
    {
        "",
        "na",
        "n/a",
        "#n/a",
        "#na",
        "nan",
        "null",
        "none",
        "missing",
        "-",
        "--",
        ".",
        "<na>",
        "n.a.",
        "n. a.",
        "?",
    }
)
#: What R, pandas, JSON, AIRR tables, Scrublet and DoubletFinder write for true and false.
TRUE = frozenset(("true", "t", "1", "1.0", "yes", "y", "doublet"))
FALSE = frozenset(("false", "f", "0", "0.0", "no", "n", "singlet"))
#: Dashes that word processors and spreadsheets put in the place of a hyphen.
DASHES = dict.fromkeys(map(ord, "\N{EN DASH}\N{EM DASH}\N{MINUS SIGN}\N{NON-BREAKING HYPHEN}"), "-")
#: What a sample and a CAR may be called: their names are those of files and contigs.
NAME = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
#: Most letters of the name of a CAR.
LONGEST_NAME = 100
#: Characters of a path that Snakemake takes for a place to fill: it formats the paths of its jobs.
_FILLED = "{}<>"
#: Numbers that YAML takes for octal (010), binary, hexadecimal or sexagesimal (1:30) ones.
_ODD_NUMBER = re.compile(r"[-+]?(0[0-9_]+$|0[xXbBoO]|[0-9_]+:)")
#: Folders of the kernel and of devices, in which nothing can be kept.
_NO_FOLDERS = ("/proc", "/sys", "/dev")
#: The beginning of a path of Windows, and a variable of the shell in a path.
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_VARIABLE = re.compile(r"(?:^|/)(\$\w+)")
#: Most bytes of a part of a path, and of a path, on Linux and macOS.
MAX_NAME, MAX_PATH = 255, 4096


def is_missing(value: object) -> bool:
    """Return whether a cell's text says that there is no value."""
    if value is None:
        return True
    text = str(value).strip()
    # pandas' missing time in its own letters: a patient may be NAT.
    return text.lower() in MISSING or text == "NaT"


def names_of(value: object) -> set[str]:
    """Return the names between commas or semicolons.

    >>> sorted(names_of("run1, run2")), names_of(None)
    (['run1', 'run2'], set())
    """
    if is_missing(value):
        return set()
    return {name.strip() for name in re.split("[,;]", str(value)) if name.strip()}


def truth_of(value: object) -> bool | None:
    """Return whether a cell's text says true or false; None if it says neither. No value is false.

    >>> truth_of("TRUE"), truth_of("0.0"), truth_of("<NA>"), truth_of("WAHR")
    (True, False, False, None)
    """
    word = str(value).strip().lower()
    if word in TRUE:
        return True
    return False if word in FALSE or is_missing(value) else None


def decimal_comma(values: Iterable[str]) -> list[str] | None:
    """Return numbers that are written with a decimal comma as numbers with a point; None if they are not written so.

    Numbers with groups of three digits behind a comma alone (``1,234``) may be thousands, and are left as they are.

    >>> decimal_comma(["3,1", "12", ""])
    ['3.1', '12', '']
    """
    values = list(values)
    there = [v for v in values if not is_missing(v)]
    with_comma = [v for v in there if re.fullmatch(r"[+-]?\d*,\d+([eE][+-]?\d+)?", v)]
    whole = [v for v in there if re.fullmatch(r"[+-]?\d+([eE][+-]?\d+)?", v)]
    if not with_comma or len(with_comma) + len(whole) < len(there):
        return None
    if all(re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", v) for v in with_comma):
        return None
    return [v.replace(",", ".") for v in values]


def path_fault(path: str) -> str:
    """Say why a path cannot be used, whatever is there, or return an empty string."""
    if not path.strip():
        return "is empty"
    if not path.isprintable():
        return "holds a character that cannot be seen"
    if found := [c for c in _FILLED if c in path]:
        return f"holds {found[0]}, which Snakemake takes for a place to fill"
    if len(path.encode()) > MAX_PATH or any(len(p.encode()) > MAX_NAME for p in Path(path).parts):
        return f"is longer than a file's name can be ({MAX_NAME} bytes)"
    return ""


def path_hint(paths: Iterable[str]) -> str:
    """Return what to do about paths that name nothing here, as they are of Windows or hold a variable, behind a `;`.

    >>> path_hint(["/data/$USER/genome.fa"])
    '; variables such as $USER are not replaced: write the path out'
    """
    paths = list(paths)
    hints = []
    if any("\\" in path for path in paths):
        hints.append("; paths with \\ are those of Windows: write / and the place on this machine")
    if variables := [found[1] for found in map(_VARIABLE.search, paths) if found]:
        hints.append(f"; variables such as {variables[0]} are not replaced: write the path out")
    if any(re.match(r"(https?|ftp|s3|gs):/", path) for path in paths):
        hints.append("; this file is read by its path alone: fetch it from its address")
    if any("*" in path or "?" in path for path in paths):
        hints.append("; * and ? stand for no letters here: name each file")
    if any(re.search(r"\.\w+,", path) for path in paths):
        hints.append("; one cell names one file: give each pair of FASTQ files a row of its own")
    return "".join(hints)


def results_fault(path: str) -> str:
    """Say why a path cannot be the folder of results, or return an empty string."""
    if fault := path_fault(path):
        return fault
    if path.startswith("~"):
        return "begins with ~, which is not a folder here: write the path out"
    if path.startswith("$"):
        return "begins with a variable, which is not replaced here: write the path out"
    if _WINDOWS.match(path):
        return "is a path of Windows: write / and the place on this machine"
    if set(Path(os.path.normpath(path)).parts) <= {"..", "."}:
        return "is the working folder itself, or one above it"
    whole = Path(path).absolute()
    if whole == Path(whole.anchor):
        return "is the root of the file system"
    if any(whole.is_relative_to(folder) for folder in _NO_FOLDERS):
        return "lies in a folder of the system, where nothing can be kept"
    for part in (whole, *whole.parents):
        try:
            if part.is_dir():
                break
            if part.exists():
                return f"cannot be made: {part} is a file"
        except OSError as error:
            return f"cannot be made: {error.strerror}"
    return ""


class _Loader(yaml.SafeLoader):
    """A reader of YAML that notes keys that occur twice, of which YAML lets the last one win, and odd numbers."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.twice: list[tuple[str, int, int]] = []
        #: Numbers that mean another one than they seem to: their text, value and line.
        self.odd: list[tuple[str, float, int]] = []

    def _number(self, node: yaml.ScalarNode, value: float) -> float:
        if _ODD_NUMBER.match(node.value):
            self.odd.append((node.value, value, node.start_mark.line + 1))
        return value

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        return int(self._number(node, super().construct_yaml_int(node)))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        return self._number(node, super().construct_yaml_float(node))

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line = key.start_mark.line + 1
                if key.value in seen:
                    self.twice.append((key.value, seen[key.value], line))
                seen.setdefault(key.value, line)
        return super().construct_mapping(node, deep=deep)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


#: Words of a sheet's header beside ``sample``.
_OF_SHEETS = frozenset({"patient", "compartment", "timepoint", "unit", "r1", "r2", "matrix", "bam"})


def _instead(path: Path) -> str:
    """Return what a file given as configuration is instead: a sheet, a matrix; nothing where it may be one.

    Of a sheet YAML's reader says that its tabs are to be blanks, after which it is no sheet any more.
    """
    if not path.is_file():
        return ""
    with path.open("rb") as opened:
        begin = opened.read(2000)
    if begin.startswith((b"\x89HDF", b"\x1f\x8b", b"PK\x03\x04")):
        return "a matrix or another packed file"
    lines = begin.decode("utf-8-sig", errors="replace").splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith("#")), "")
    words = {word.strip(" \"'").lower() for word in re.split(r"[\t,;]", first)}
    if "sample" in words and words & _OF_SHEETS:
        return "a sheet"
    return "a sequence" if re.match(r"LOCUS |>", first) else ""


def read_yaml(path: Path) -> tuple[Any, list[CarseqError]]:
    """Read a YAML file; return what it holds and the faults that do not keep it from being read.

    Raises
    ------
    CarseqError
        If it cannot be read.
    """
    try:
        check_fetched(path)
        if kind := _instead(Path(path)):
            beside = Path(path).parent / "config.yaml"
            raise CarseqError(
                f"{path} is {kind}, not the configuration of a study",
                "the configuration is a YAML file that names sheets, matrices and construct",
                f"did you mean {beside}?"
                if beside.is_file()
                else "`carseq init` writes one to start from",
            )
        loader = _Loader(path.read_text(encoding="utf-8-sig"))
        data = loader.get_single_data()
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            raise CarseqError(
                f"{path} is not text in UTF-8", str(error), "save it as UTF-8 in your editor"
            ) from None
        cause = error.strerror if isinstance(error, OSError) else str(error)
        inside = Path(path) / "config.yaml"
        raise CarseqError(
            f"cannot read the configuration {path}",
            cause or str(error),
            f"did you mean {inside}?"
            if inside.is_file()
            else "give the path of a YAML file; `carseq init` writes one to start from",
        ) from None
    except (yaml.YAMLError, RecursionError, TypeError) as error:
        cause = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        remedy = "correct the line named"
        if "'\\t'" in cause:
            remedy = "indent the line named with spaces: YAML knows no tabs"
        raise CarseqError(f"{path} is not YAML", " ".join(cause.split()), remedy) from None
    faults = [
        CarseqError(
            f"`{key}` occurs twice in {path}",
            f"in line {first} and again in line {line}; the first would be lost",
            "join the two",
        )
        for key, first, line in loader.twice
    ]
    faults += [
        CarseqError(
            f"{text} in line {line} of {path} is no number as people write them",
            f"YAML takes it for {value:g}",
            "write a number without zeros before it, and without a colon; a name in quotation marks",
        )
        for text, value, line in loader.odd
    ]
    return data, faults


def fault_words(fault: Mapping[str, Any]) -> str:
    """Return one fault that pydantic found, in the words of carseq's other messages.

    >>> fault_words({"type": "literal_error", "msg": "Input should be 'urine', 'blood' or 'other'"})
    'must be urine, blood or other'
    >>> fault_words({"type": "int_parsing", "msg": "Input should be a valid integer, unable to parse string"})
    'must be a whole number'
    """
    told = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return "is not a column that carseq knows here"
    if fault["type"] == "missing":
        return "is empty or missing"
    if fault["type"] == "string_pattern_mismatch" and fault["ctx"]["pattern"] == NAME:
        return "must be letters, digits and . _ - without spaces, a letter or a digit first"
    if fault["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return "must hold keys of its own, indented below it"
    if not told.startswith("Input should be "):
        return told
    told = told.removeprefix("Input should be ")
    if fault["type"] == "literal_error":
        return "must be " + told.replace("'", "")
    # What follows the first comma is how pydantic tried to read it.
    told = told.split(",")[0].replace("a valid integer", "a whole number").replace("a valid ", "a ")
    return f"must be {told}"


def some_names(names: Sequence[str]) -> str:
    """Return the first four names, and how many more there are."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
