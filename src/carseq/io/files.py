"""How files reach the disk, and how the package's own come back: whole or not at all, tables by their schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carseq.errors import CarseqError
from carseq.io.atomic import atomic as atomic
from carseq.io.checksums import check_whole, damaged
from carseq.io.failures import machine_failure, other_hdf5
from carseq.io.formulas import without_formulas
from carseq.schema.column import Schema
from carseq.schema.tables import METADATA

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def reading(path: str | Path) -> Iterator[Path]:
    """Guard the reading of a file that carseq wrote: it is checked before, and an error names it.

    Raises
    ------
    CarseqError
        If the file is missing, is not as it was written, or cannot be understood.
    """
    path = Path(path)
    check_whole(path)
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise damaged(path, "it holds nothing", word="empty")
        yield path
    except (CarseqError, MemoryError):
        raise
    except FileNotFoundError as error:
        raise CarseqError(
            f"there is no {error.filename or path}",
            "it was deleted, or the run that makes it did not end",
            "run the workflow again: it makes what is missing",
        ) from error
    except Exception as error:
        if (told := machine_failure(error, place=path)) is not None:
            raise told from error
        if (packed := other_hdf5(path, error)) is not None:
            raise packed from error
        text = " ".join(f"{type(error).__name__}: {error}".split())
        raise damaged(path, text[:300], word="cut off or damaged") from error


def write_table(table: pd.DataFrame, path: str | Path, schema: Schema | None = None) -> None:
    """Write a table atomically as TSV (``.tsv``, ``.tsv.gz``) or Parquet (``.parquet``).

    In a TSV, an apostrophe precedes each text that a spreadsheet would take for a formula and run.
    """
    if schema is not None:
        table = schema.conform(table)
    if Path(path).suffix != ".parquet":
        table = without_formulas(table)
    with atomic(path) as temporary:
        if Path(path).suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        elif Path(path).suffix == ".gz":
            import gzip

            # Without a name and a time in the header: the same bytes for the same table.
            with (
                temporary.open("wb") as opened,
                gzip.GzipFile("", "wb", 6, fileobj=opened, mtime=0) as out,
            ):
                table.to_csv(out, sep="\t", index=False, float_format="%.6g")
        else:
            table.to_csv(temporary, sep="\t", index=False, float_format="%.6g")


def read_table(path: str | Path, schema: Schema | None = None) -> pd.DataFrame:
    """Read a table written by :func:`write_table`.

    Raises
    ------
    CarseqError
        If it is missing, cut off or not such a table.
    """
    import pandas as pd

    with reading(path) as path:
        if path.suffix == ".parquet":
            table = pd.read_parquet(path)
        else:
            text = (
                {n: "str" for n, c in schema.columns.items() if c.dtype == "str"} if schema else {}
            )
            # Text columns stay text: the sample "007" and the barcode "NA" are names, not numbers.
            table = pd.read_csv(
                path, sep="\t", dtype=text, keep_default_na=False, na_values=["", "nan"]
            )
            # A missing column is reported below.
            for name in text.keys() & set(table):
                if table[name].hasnans:
                    table[name] = table[name].fillna("")
    if schema is None:
        return table
    try:
        return schema.conform(table)
    except CarseqError as error:
        raise CarseqError(
            f"{path}: {error.message}",
            error.cause,
            "if the workflow made it, delete it, run again; else give the table as carseq writes it",
        ) from None


def read_samples(path: str | Path) -> pd.DataFrame:
    """Read ``cohort/samples.tsv``: every column is text, as the samples sheet has it.

    Returns
    -------
    pandas.DataFrame
        Schema ``METADATA``, further columns of the sheet behind it; a row a sample.
    """
    import pandas as pd

    with reading(path) as path:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, na_filter=False)
    return METADATA.conform(table)


def write_text(text: str, path: str | Path) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text)


def read_text(path: str | Path) -> str:
    """Read a text file that carseq wrote.

    Raises
    ------
    CarseqError
        If it is missing, cut off or no text.
    """
    with reading(path) as path:
        return path.read_text()


def read_json(path: str | Path) -> Any:
    """Read a JSON file that carseq wrote.

    Raises
    ------
    CarseqError
        If it is missing, cut off or no JSON.
    """
    with reading(path) as path:
        return json.loads(path.read_text())
