"""The command line's beginning, for ``carseq`` and ``python -m carseq``."""

from __future__ import annotations

import sys

#: What a shell gives for a command that Ctrl-C ended.
STOPPED = 130


def main() -> None:
    """Run the command line; Ctrl-C ends it without a traceback while it is imported, too."""
    try:
        from carseq.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(STOPPED)


if __name__ == "__main__":
    main()
