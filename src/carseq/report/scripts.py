"""The page's JavaScript: modules joined into one script, and Vega's runtime, packed."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from functools import cache
from importlib.resources import files

from carseq.figures.chart import runtime

#: The modules, each after those it imports.
MODULES = ("data", "dom", "pdf", "save", "chart", "table", "molecules", "map", "page")
_IMPORT = re.compile(r'^import [^;]*? from "\./(\w+)\.js";\n', re.MULTILINE)


@cache
def script() -> str:
    """Return the modules as one script: imports are dropped, since all names share one scope."""
    folder = files("carseq.report") / "js"
    parts = []
    seen: set[str] = set()
    for name in MODULES:
        source = (folder / f"{name}.js").read_text()
        missing = set(_IMPORT.findall(source)) - seen
        if missing:
            raise ValueError(
                f"{name}.js imports {', '.join(missing)}, which MODULES names after it"
            )
        body = re.sub(r"^export ", "", _IMPORT.sub("", source), flags=re.MULTILINE)
        parts.append(body.strip())
        seen.add(name)
    return '"use strict";\n(() => {\n' + "\n\n".join(parts) + "\n})();"


@cache
def packed_runtime() -> str:
    """Return Vega's runtime as gzip in base64, half its size; the page unpacks it."""
    return base64.b64encode(gzip.compress(runtime().encode(), 9, mtime=0)).decode()


@cache
def policy() -> str:
    """Return the page's Content-Security-Policy.

    Nothing is loaded from anywhere, no form is sent, and no script runs but the page's own and Vega's: a script that
    came in with a sample's name would lack the checksum.
    """
    checksums = [hashlib.sha256(text.encode()).digest() for text in (script(), runtime())]
    allowed = " ".join(f"'sha256-{base64.b64encode(c).decode()}'" for c in checksums)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
