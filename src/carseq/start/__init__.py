"""start: a study begun from a folder, and everything that can be known to be wrong before it runs."""

from carseq.start.check import check_study
from carseq.start.folders import find_fastqs
from carseq.start.init import start_study

__all__ = ["check_study", "find_fastqs", "start_study"]
