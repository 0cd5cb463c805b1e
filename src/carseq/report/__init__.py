"""The page that explains a study: one self-contained HTML file with the verdict and its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from carseq.report.page import build_report
    from carseq.report.study import Study, read_study

__all__ = ["Study", "build_report", "read_study"]


def __getattr__(name: str) -> Any:
    # The page draws: exports and notebooks do without it; the manifest does without pandas.
    if name == "build_report":
        from carseq.report.page import build_report

        return build_report
    if name in ("Study", "read_study"):
        from carseq.report import study

        return getattr(study, name)
    raise AttributeError(f"module 'carseq.report' has no attribute '{name}'")
