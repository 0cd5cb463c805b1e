"""Text that a spreadsheet would run as a formula: users open tables in one, and their text may come from anywhere."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: What begins a formula, and what the text of one that does harm holds: a call, a program, another sheet. Features of
#: plasmid maps are named `-35 signal` and `+1 site`: these do no harm.
_BEGINS, _HARMS = "=@", re.compile(r"[+-].*[(|!]", re.DOTALL)


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet may run a text, also where it begins with the sign in full width."""
    first = unicodedata.normalize("NFKC", text[:1])
    if first not in ("=", "@", "+", "-"):
        return False
    return first in _BEGINS or _HARMS.match(first + text[1:]) is not None


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table in which an apostrophe precedes each text that a spreadsheet would run.

    Parameters
    ----------
    table
        Any table; it is not changed.

    Returns
    -------
    pandas.DataFrame
        The same table where it holds no such text.
    """
    import pandas as pd

    made = table
    for at, name in enumerate(table.columns):
        column = table.iloc[:, at]
        if isinstance(column.dtype, pd.CategoricalDtype):
            texts = list(column.cat.categories)
        elif column.dtype == object or isinstance(column.dtype, pd.StringDtype):
            texts = column.unique()
        else:
            continue
        wrong = {text: f"'{text}" for text in texts if isinstance(text, str) and is_formula(text)}
        if wrong:
            made = made.copy() if made is table else made
            made[name] = column.astype(object).map(lambda text, by=wrong: by.get(text, text))
    return made
