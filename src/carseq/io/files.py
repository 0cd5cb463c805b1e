"""How files reach the disk: written whole or not at all, tables by their schema."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from carseq.schema.column import Schema
from carseq.schema.tables import METADATA


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there when the block ends well.

    A killed run leaves no half-written output behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        prefix=f".{path.stem[:40]}.", suffix="".join(path.suffixes), dir=path.parent
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(table: pd.DataFrame, path: str | Path, schema: Schema | None = None) -> None:
    """Write a table atomically as TSV (``.tsv``, ``.tsv.gz``) or Parquet (``.parquet``)."""
    if schema is not None:
        table = schema.conform(table)
    with atomic(path) as temporary:
        if Path(path).suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        else:
            table.to_csv(temporary, sep="\t", index=False, float_format="%.6g")


def read_table(path: str | Path, schema: Schema | None = None) -> pd.DataFrame:
    """Read a table written by :func:`write_table`."""
    if Path(path).suffix == ".parquet":
        table = pd.read_parquet(path)
    else:
        text = {n: "str" for n, c in schema.columns.items() if c.dtype == "str"} if schema else {}
        # Text columns stay text: the sample "007" and the barcode "NA" are names, not numbers.
        table = pd.read_csv(
            path, sep="\t", dtype=text, keep_default_na=False, na_values=["", "nan"]
        )
        # A column that is missing is told of below.
        for name in text.keys() & set(table):
            table[name] = table[name].fillna("")
    return schema.conform(table) if schema else table


def read_samples(path: str | Path) -> pd.DataFrame:
    """Read ``cohort/samples.tsv``: every column is text, as the samples sheet has it.

    Returns
    -------
    pandas.DataFrame
        Schema ``METADATA``, further columns of the sheet behind it; a row a sample.
    """
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, na_filter=False)
    return METADATA.conform(table)


def write_text(text: str, path: str | Path) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text)
