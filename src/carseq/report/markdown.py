"""Text of the page as Markdown, so that it is written once."""

from __future__ import annotations

import re
from html.parser import HTMLParser

#: Elements that are a paragraph of their own, and how it begins.
_BLOCKS = {"h3": "## ", "p": "", "li": "- "}


class _Writer(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[str] = []
        self.open = ""
        self.link = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.open = tag
            self.paragraphs.append(_BLOCKS[tag])
        elif tag == "a":
            self.link = dict(attrs).get("href") or ""
            self.write("[")
        elif tag in {"code", "strong"}:
            self.write("`" if tag == "code" else "**")

    def handle_endtag(self, tag: str) -> None:
        if tag == self.open:
            self.open = ""
        elif tag == "a":
            self.write(f"]({self.link})")
        elif tag in {"code", "strong"}:
            self.write("`" if tag == "code" else "**")

    def handle_data(self, data: str) -> None:
        # Markdown lets HTML pass: a name must not become an element where the text is shown.
        self.write(re.sub(r"<(?=[A-Za-z/!?])", r"\\<", data))

    def write(self, text: str) -> None:
        if self.open:
            self.paragraphs[-1] += re.sub(r"\s+", " ", text)


def to_markdown(html: str) -> str:
    """Return headings, paragraphs, lists and links of a piece of the page as Markdown.

    Parameters
    ----------
    html
        HTML of ``h3``, ``p``, ``ul``/``li``, ``a``, ``code`` and ``strong``; other elements are left out.
    """
    writer = _Writer()
    writer.feed(html)
    text = ""
    before = ""
    for paragraph in writer.paragraphs:
        line = re.sub(r" +", " ", paragraph).rstrip()
        # Items of a list follow each other without a blank line.
        gap = "\n" if before.startswith("- ") and line.startswith("- ") else "\n\n"
        text += (gap if before else "") + line
        before = line
    return f"{text}\n"
