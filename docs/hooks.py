"""What mkdocs asks of carseq: the generated pages, included texts, and links that leave the folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs"))
from documentation import api_pages, generated_pages, included, linked, plain_roles  # noqa: E402

#: Lets the search run where the pages are opened from a disk; `docs/vendor` holds it.
HELPER = "https://unpkg.com/iframe-worker/shim"


def on_config(config: Any) -> Any:
    """Put a page for each room of the package into the navigation."""
    for entry in config.nav:
        if "Python" in entry:
            entry["Python"] = [{name: path} for path, (name, _) in api_pages().items()]
    return config


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages made from the models."""
    for path, text in generated_pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Take in the texts named by ``<!-- include: FILE#HEADING -->`` and mend links to files outside."""
    return linked(included(markdown, ROOT, page.file.src_uri), ROOT, page.file.src_uri)


def on_page_content(html: str, **_: Any) -> str:
    """Show the roles of docstrings as plain names."""
    return plain_roles(html)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Take the search's helper from the site itself, not from another host."""
    return output.replace(HELPER, "../" * page.url.count("/") + "vendor/iframe-worker.js")


def on_post_template(output: str, **_: Any) -> str:
    """The page of what is not found lies at the top, and is only seen on a server."""
    return output.replace(HELPER, "/vendor/iframe-worker.js")
