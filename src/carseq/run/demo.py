"""The demo: a simulated study of urine with CAR T cells, run to its verdict."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from carseq.errors import CarseqError
from carseq.machine import disk_megabytes, machine_cores, machine_megabytes

#: What the demo takes, as measured on 2 cores: memory and disk in MB, minutes of processor time.
MEMORY, DISK, MINUTES = 4000, 1500, 10


def demo_needs() -> str:
    """Return what the demo will take of this machine, in words."""
    cores = machine_cores()
    took = max(2, round(MINUTES / min(cores, 4)))
    return (
        f"three simulated samples of 400 cells; some {took} minutes on {cores} core{'s' if cores > 1 else ''}, "
        f"{MEMORY / 1000:.0f} GB of memory, {DISK / 1000:.1f} GB of disk"
    )


def prepare_demo(folder: Path, **changes: Any) -> tuple[Path, bool]:
    """Simulate the demo's study unless it is there, and return its configuration and whether it was there.

    Parameters
    ----------
    folder
        Folder for the study.
    changes
        Keywords of :func:`carseq.simulate.simulate_study`, for a demo of other samples, cells or reads.

    Raises
    ------
    CarseqError
        If the folder holds something else, or memory or disk are too small.
    """
    config = folder / "config.yaml"
    other = shlex.quote(f"{folder}_demo")
    if config.exists():
        if not (folder / "truth").is_dir():
            raise CarseqError(
                f"{folder} holds a study that is not the demo",
                "it has a config.yaml, but no truth/, as simulated studies do",
                f"name another folder: carseq demo {other}; to run this study: carseq run {shlex.quote(str(config))}",
            )
        return config, True
    started = (folder / "truth").is_dir()
    if folder.exists() and not started and (not folder.is_dir() or any(folder.iterdir())):
        raise CarseqError(
            f"{folder} is not empty", "the demo needs a folder of its own",
            f"name another one: carseq demo {other}",
        )  # fmt: skip
    for what, has, needs in (
        ("memory", machine_megabytes(), MEMORY),
        ("room on the disk", disk_megabytes(folder), DISK),
    ):
        if has < needs:
            raise CarseqError(
                f"too little {what} for the demo",
                f"it takes {needs / 1000:.1f} GB, there are {has / 1000:.1f} GB",
                "run it on another machine"
                if what == "memory"
                else "name a folder on another disk",
            )
    from carseq.simulate import simulate_study

    simulate_study(
        folder,
        construct="hbi0101_surrogate_native.gb",
        construct_name="HBI0101",
        **changes,
    )
    return config, False
