"""Import paths of version 0.1 that later versions moved, kept so that scripts written for it go on working.

``from carseq.chemistry import detect_chemistry`` is answered by :mod:`carseq.library`, with a ``FutureWarning`` that
names the new place. Nothing in carseq itself imports from an old path.
"""

from __future__ import annotations

import importlib
import warnings
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

#: Old module -> where its names are looked for now, in this order.
MOVED = {
    "carseq.chemistry": (
        "carseq.library",
        "carseq.library.geometry",
        "carseq.library.whitelist",
        "carseq.library.fastq",
        "carseq.library.strand",
        "carseq.library.detect",
    ),
    "carseq.config": ("carseq.study.config",),
    "carseq.sheets": ("carseq.study.sheets", "carseq.study.model", "carseq.study.load"),
    "carseq.tables": (
        "carseq.schema.tables",
        "carseq.schema.obs",
        "carseq.schema.column",
        "carseq.io.files",
        "carseq.io.h5ad",
    ),
    "carseq.remote": ("carseq.io.remote",),
    "carseq.star": ("carseq.reference.star",),
    "carseq.cells.blood": ("carseq.localize.blood",),
    "carseq.construct.compare": ("carseq.molecules.support",),
    "carseq.construct.consensus": ("carseq.molecules.consensus",),
    "carseq.molecules.words": ("carseq.sequence.kmers",),
    "carseq.report.summaries": ("carseq.figures.summaries", "carseq.report.alerts"),
    "carseq.report.words": ("carseq.figures.phrases",),
    "carseq.robustness": ("carseq.calling.robustness",),
}


class _OldName:
    """A loader. Makes the module of an old import path, which looks its names up in the new ones.

    It is no subclass of ``importlib.abc``, which every import of carseq would import.
    """

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        homes = MOVED[module.__name__]

        def find(name: str) -> Any:
            if not name.startswith("_"):
                for home in homes:
                    new = importlib.import_module(home)
                    if hasattr(new, name):
                        return getattr(new, name)
            raise AttributeError(f"module '{module.__name__}' has no attribute '{name}'")

        module.__getattr__ = find  # type: ignore[method-assign]
        warnings.warn(
            f"{module.__name__} moved to {' and '.join(homes)}", FutureWarning, stacklevel=2
        )


class _Finder:
    """Answers imports of :data:`MOVED` that no file answers any more."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, _OldName()) if name in MOVED else None  # type: ignore[arg-type]


def install(finders: list[Any]) -> None:
    """Let old import paths be answered, behind every other finder.

    Parameters
    ----------
    finders
        ``sys.meta_path``.
    """
    if not any(type(finder).__name__ == "_Finder" for finder in finders):
        finders.append(_Finder())
