"""The construct's map, written as files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from carseq.construct.vector import Construct
from carseq.io.files import atomic

if TYPE_CHECKING:
    import pandas as pd


def get_ready() -> Iterator[None]:
    """Load what draws the map, once for all jobs (:mod:`carseq.preload`)."""
    import matplotlib.backends.backend_svg  # noqa: F401

    from carseq.figures import construct_map  # noqa: F401
    from carseq.figures.style import draw_first

    yield
    draw_first()
    yield


def write_map(
    construct: Construct,
    folder: str | Path,
    homology: pd.DataFrame | None = None,
    *,
    chemistry: str = "both",
    kinds: tuple[str, ...] = ("svg", "png"),
    read_length: int = 90,
) -> None:
    """Draw the construct's map into ``folder`` as ``construct.svg`` and ``construct.png``."""
    import matplotlib as mpl

    from carseq.figures import construct_map

    figure = construct_map(construct, homology, chemistry=chemistry, read_length=read_length)
    Path(folder).mkdir(parents=True, exist_ok=True)
    # Neither ids nor a date that change from run to run.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "carseq"}):
        for kind in kinds:
            target = Path(folder) / f"construct.{kind}"
            with atomic(target) as temporary:
                plain = {"Date": None} if kind == "svg" else None
                figure.savefig(temporary, format=kind, dpi=150, metadata=plain)
