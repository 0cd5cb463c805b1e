"""carseq: are there CAR T cells in this urine, which cells are they, and how sure are we?

The rooms, in the order of the data: :mod:`carseq.construct`, :mod:`carseq.reference`,
:mod:`carseq.solo`, :mod:`carseq.molecules`, :mod:`carseq.calling`, :mod:`carseq.cells`,
:mod:`carseq.localize`, :mod:`carseq.report`, :mod:`carseq.explain`; beside them
:mod:`carseq.quicklook`. Each takes and returns tables or
AnnData and needs no Snakemake. Rooms are imported on first use, so that ``import carseq`` is light.
"""

from __future__ import annotations

import importlib
import os
import sys

from carseq.errors import CarseqError
from carseq.moved import install

# Each job of a run begins with this import: it imports little.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: The one place of the version: the package, the citation and the record of a run have it from here.
__version__ = "0.2.0"

_ROOMS = (
    "construct",
    "reference",
    "solo",
    "molecules",
    "calling",
    "cells",
    "localize",
    "report",
    "explain",
    "quicklook",
    "simulate",
    "figures",
)

#: Functions that need no study: their modules and their names there.
_FUNCTIONS = {"annotate": ("carseq.cells.alone", "annotate_matrix")}

install(sys.meta_path)

# HDF5 locks what it opens, and disks without locks refuse (many clusters have NFS or Lustre without them): a sound file
# seemed damaged. carseq's files appear whole by being renamed, so that nobody reads what another writes.
os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")

# A script of a run on this machine is run by a process that has imported the libraries already. Here and not in each
# script: a script's first line would come after its imports, or stand in all of them.
if "CARSEQ_PRELOADED" in os.environ:
    from carseq.handover import hand_over

    hand_over()

__all__ = ["CarseqError", "__version__", *_FUNCTIONS, *_ROOMS]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"carseq.{name}")
    if name in _FUNCTIONS:
        module, function = _FUNCTIONS[name]
        return getattr(importlib.import_module(module), function)
    raise AttributeError(f"module 'carseq' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
