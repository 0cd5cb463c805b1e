"""What a column and a table's schema are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carseq.errors import CarseqError

if TYPE_CHECKING:
    import pandas as pd

#: Units of a column. ``fraction`` runs from 0 to 1 and is shown as per cent; ``percent`` is shown as it is.
UNITS = ("", "fraction", "percent", "count", "ratio", "p", "bases", "minutes", "MB")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    dtype : str
        Its pandas dtype.
    meaning : str
        What its values mean, in a few words.
    label : str
        Its heading in the report; empty: the key with blanks in place of underscores.
    unit : str
        One of ``UNITS``; empty where the column holds words or has no unit.
    """

    dtype: str
    meaning: str
    label: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit {self.unit!r} is none of {', '.join(UNITS[1:])}")

    def heading(self, key: str) -> str:
        """Return the heading of the column, given its key.

        >>> Column("int64", "cells kept", label="Cells").heading("n_cells")
        'Cells'
        >>> Column("str", "chains of the receptor").heading("tcr_chains")
        'Tcr chains'
        """
        return self.label or key.replace("_", " ").capitalize()


@dataclass(frozen=True)
class Schema:
    """The columns of a table, in order."""

    name: str
    columns: dict[str, Column]

    def empty(self) -> pd.DataFrame:
        """Return a table of this schema without rows."""
        import pandas as pd

        return pd.DataFrame(
            {name: pd.Series(dtype=column.dtype) for name, column in self.columns.items()}
        )

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
            if _is(table[name], column.dtype):
                continue
            try:
                table[name] = table[name].astype(column.dtype)
            except (ValueError, TypeError, OverflowError) as error:
                raise CarseqError(
                    f"column {name} of the {self.name} table is not {column.dtype}", str(error)
                ) from None
        return table


def _is(values: pd.Series, dtype: str) -> bool:
    """Return whether values need no cast, as most that are read do: to cast and set them takes far longer."""
    import pandas as pd

    if dtype == "str" and values.dtype == object:
        return pd.api.types.infer_dtype(values, skipna=False) in ("string", "empty")
    return bool(values.dtype == dtype)
