"""Where the workflow lies: in the installed package, or in the checkout that it is imported from."""

from __future__ import annotations

from pathlib import Path

import carseq
from carseq.errors import CarseqError


def workflow_folder() -> Path:
    """Return the folder that holds ``Snakefile``, ``workflow/``, ``profiles/`` and ``envs/``.

    Raises
    ------
    CarseqError
        If the package came without them.
    """
    package = Path(carseq.__file__).parent
    for folder in (package / "bundle", package.parent.parent):
        if (folder / "Snakefile").is_file() and (folder / "workflow" / "rules").is_dir():
            return folder
    raise CarseqError(
        "this installation of carseq holds no workflow",
        f"there is no Snakefile beside {package}",
        "install it again: `pip install --force-reinstall --no-deps carseq`",
    )


def profiles() -> list[str]:
    """Return the names of the profiles that come with carseq, for clusters."""
    folder = workflow_folder() / "profiles"
    return sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name != "default")
