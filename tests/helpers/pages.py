"""Pages of the report, for tests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from carseq.report import build_report


def page_of(results: Path, out: Path) -> str:
    build_report(results, out)
    return out.read_text()


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data
