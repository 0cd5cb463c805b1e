"""The page that explains a study: one self-contained HTML file with the verdict and its evidence."""

from carseq.report.page import build_report
from carseq.report.study import Study, read_study

__all__ = ["Study", "build_report", "read_study"]
