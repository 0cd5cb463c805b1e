"""The page that explains a study: one self-contained HTML file with the verdict and its evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from carseq.report.study import Study, read_study

if TYPE_CHECKING:
    from carseq.report.page import build_report

__all__ = ["Study", "build_report", "read_study"]


def __getattr__(name: str) -> Any:
    # The page draws: exports and notebooks do without it.
    if name == "build_report":
        from carseq.report.page import build_report

        return build_report
    raise AttributeError(f"module 'carseq.report' has no attribute '{name}'")
