"""The one logger, and where it writes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module below ``carseq``."""
    return logging.getLogger(name if name.startswith("carseq") else f"carseq.{name}")


class _Kept(logging.Handler):
    def __init__(self, told: list[str], but: str) -> None:
        super().__init__(logging.WARNING)
        self.told, self.but = told, but

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != self.but:
            self.told.append(record.getMessage())


@contextmanager
def warnings_of(name: str, *, but: str = "") -> Iterator[list[str]]:
    """Give a list that gains the warnings of a module, or of those below a package, while the block runs.

    They go to the log as well.

    Parameters
    ----------
    name
        The module or package.
    but
        A module of the package whose warnings are left out.
    """
    told: list[str] = []
    handler = _Kept(told, but)
    logger = get_logger(name)
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)


def to_console(level: int = logging.INFO) -> None:
    """Send carseq's log to the terminal (stderr), coloured where it is one."""
    # Not for the workflow's jobs, each of which would import it.
    from rich.console import Console
    from rich.logging import RichHandler

    root = logging.getLogger("carseq")
    root.handlers = [RichHandler(console=Console(stderr=True), show_path=False, markup=False)]
    root.setLevel(level)
    root.propagate = False


def to_file(path: str, level: int = logging.INFO) -> None:
    """Send carseq's log, Python warnings and everything printed to ``path``.

    Used by the workflow's scripts, since Snakemake's ``log:`` redirects nothing by itself.
    """
    stream = open(path, "w", buffering=1)  # noqa: SIM115 (lives as long as the process)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("carseq")
    root.handlers = [handler]
    root.setLevel(level)
    root.propagate = False
    logging.captureWarnings(True)
    warnings_log = logging.getLogger("py.warnings")
    warnings_log.handlers = [handler]
    warnings_log.propagate = False
    sys.stdout = stream
    sys.stderr = stream
