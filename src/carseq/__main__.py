"""``python -m carseq`` is the command line."""

from carseq.cli import main

main()
