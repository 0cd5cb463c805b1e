"""What is dear to make is made once, by one of the workers of ``pytest -n``; the others wait for it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]
) -> Path:
    """Return a folder that all workers share, filled by the first that asks for it.

    Parameters
    ----------
    tmp_path_factory : pytest.TempPathFactory
        pytest's fixture.
    name : str
        Name of the folder.
    make : callable
        Fills the folder that it is given; what it raises fails all who ask for the folder.

    Returns
    -------
    pathlib.Path
        The folder; tests leave it as it is.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, state = root / name, root / f"{name}.state"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not state.exists():
            folder.mkdir()
            state.write_text("failed")
            make(folder)
            state.write_text("made")
    if state.read_text() != "made":
        pytest.fail(f"{name} could not be made: see the first test that asked for it")
    return folder
