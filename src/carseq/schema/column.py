"""What a column and a table's schema are."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from carseq.errors import CarseqError


@dataclass(frozen=True)
class Column:
    """A column: its pandas dtype and what it means (with unit)."""

    dtype: str
    meaning: str


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in order."""

    name: str
    columns: dict[str, Column]

    def empty(self) -> pd.DataFrame:
        """Return a table of this schema without rows."""
        return self.conform(pd.DataFrame({name: [] for name in self.columns}))

    def conform(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return ``table`` with this schema's columns first, in order, cast to their dtypes.

        Further columns are kept behind them.

        Raises
        ------
        CarseqError
            If a column is missing or cannot be cast.
        """
        missing = [name for name in self.columns if name not in table]
        if missing:
            raise CarseqError(
                f"the {self.name} table lacks {', '.join(missing)}",
                f"it has {', '.join(map(str, table.columns))}",
                "pass the table as carseq writes it",
            )
        extra = [name for name in table.columns if name not in self.columns]
        table = table[[*self.columns, *extra]].copy()
        for name, column in self.columns.items():
            try:
                table[name] = table[name].astype(column.dtype)
            except (ValueError, TypeError) as error:
                raise CarseqError(
                    f"column {name} of the {self.name} table is not {column.dtype}", str(error)
                ) from None
        return table
