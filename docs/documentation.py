"""The documentation site's generated pages, made from models, schemas, rules and the command line.

``docs/hooks.py`` gives them to mkdocs (``make docs``). What another room adds, a table in :mod:`carseq.schema`, a key,
a command or a rule's output, is on its page without a word here.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
import pkgutil
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import carseq
from carseq.config_docs import pages
from carseq.errors import CarseqError
from carseq.schema import obs, tables
from carseq.schema.column import Schema
from carseq.schema.results import FILES

#: Rooms in the order of the data.
ROOMS = ("construct", "reference", "library", "solo", "kallisto", "molecules", "quicklook", "cells", "calling",
         "localize", "figures", "explain", "report", "reuse", "study", "start", "simulate", "run")  # fmt: skip
_OUTPUTS = (
    "Made from `carseq.schema`, which the workflow's rules read too. Paths are under `results/`; SAMPLE stands for "
    "each sample. Tables are tab-separated with a header; empty means not known. Columns of your samples sheet follow "
    "those of `cells.h5ad`. With `reuse`, "
    "those of `solo` and `cells` are the finished study's."
)
_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*)?\)")
_FENCE = re.compile(r"^( *)```.*?^\1```", re.M | re.S)
_INCLUDE = re.compile(r"^<!-- include: (\S+?)(?:#(.+?))? -->$", re.M)
#: Files of the repository that have a page of their own.
_PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
    "config/README.md": "reference/config.md",
}


def generated_pages() -> dict[str, str]:
    """Return the generated pages: path on the site -> Markdown."""
    return {
        "reference/config.md": pages()["README.md"],
        "reference/outputs.md": outputs_page(),
        "reference/cli.md": cli_page(),
        "reference/licences.md": licences_page(),
        **{path: text for path, (_, text) in api_pages().items()},
    }


def licence(name: str) -> str:
    """Return the licence of an installed package, as its metadata or else its licence file says; empty if none does."""
    found = importlib.metadata.distribution(name)
    stated = found.metadata.get("License-Expression")
    kinds = found.metadata.get_all("Classifier") or []
    classed = [k.rpartition(" :: ")[2] for k in kinds if k.startswith("License :: ")]
    classed = [k for k in classed if k != "OSI Approved"]
    text = (found.metadata.get("License") or "").strip().split("\n")[0]
    if stated or classed or text:
        return stated or "; ".join(classed) or text[:60]
    for file in found.files or ():
        if re.match(r"(LICEN[CS]E|COPYING)", file.name, re.I):
            lines = Path(str(file.locate())).read_text(errors="replace").splitlines()
            return next((line.strip() for line in lines if line.strip()), "")
    return ""


def licences() -> dict[str, tuple[str, str, bool]]:
    """Return what carseq is installed with: package of the pins -> version, licence, whether carseq names it itself."""
    root = Path(__file__).parents[1]
    pins = re.findall(r"^([\w.-]+)==", (root / "constraints.txt").read_text(), re.M)
    asked = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
    own = {re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", r)[0]).lower() for r in asked}  # type: ignore[index]
    found = {}
    for name in sorted(pins, key=str.lower):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[name] = (version, licence(name), re.sub(r"[-_.]+", "-", name).lower() in own)
    return found


def licences_page() -> str:
    """Return the page of licences."""
    lines = [
        "# Licences",
        "",
        "carseq is under the MIT licence. It calls STAR (MIT), and imports the packages below, each under its own "
        "licence. Some are under the GPL (harmonypy, igraph, leidenalg among those that carseq names itself): whoever "
        "hands on an image or environment with them does so under the GPL's terms. Made from the metadata of the "
        "packages that this page was built with.",
        "",
        "| package | version | licence | named by carseq |",
        "|---|---|---|---|",
    ]
    for name, (version, text, own) in licences().items():
        lines.append(f"| {name} | {version} | {text or 'not stated'} | {'yes' if own else ''} |")
    return "\n".join([*lines, ""])


def schemas() -> dict[str, Schema]:
    """Return every table of :mod:`carseq.schema` by the name it is declared under."""
    declared = {**vars(tables), **vars(obs)}
    return {n: s for n, s in declared.items() if isinstance(s, Schema)}


def outputs_page() -> str:
    """Return the page of every output file and every column of every table."""
    lines = ["# Output files and columns", "", _OUTPUTS, "", "## Files", ""]
    lines += ["| file | what | made by | when |", "|---|---|---|---|"]
    for name, file in FILES.items():
        path = file.at(sample="SAMPLE", notebook="NOTEBOOK")
        what = file.says
        if file.schema:
            what += f" ([columns](#{_anchor(file.schema.name)}))"
        if name == "cells":
            what += f" ([obs](#{_anchor(obs.OBS.name)}), [further](#{_anchor(obs.OBS_MORE.name)}))"
        lines.append(f"| `{path}` | {what} | {file.room} | {file.only or 'always'} |")
    lines += ["", "### cells.h5ad beside obs", "", "| key | meaning |", "|---|---|"]
    lines += [f"| `{key}` | {meaning} |" for key, meaning in obs.H5AD.items()]
    lines += [
        "",
        "Logs lie in `logs/`, time and memory of the rules in `benchmarks/`.",
        "",
        "## Columns",
        "",
    ]
    for name, schema in schemas().items():
        lines += [
            f"### {schema.name} {{ #{_anchor(schema.name)} }}",
            "",
            f"`carseq.schema.{name}`",
            "",
        ]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{n}` | {c.dtype} | {c.meaning} |" for n, c in schema.columns.items()]
        lines.append("")
    return "\n".join(lines)


def _anchor(name: str) -> str:
    return "table-" + re.sub(r"\W+", "-", name)


def commands() -> dict[str, Any]:
    """Return the commands of the command line by name; those of a group as `construct map`."""
    import typer

    from carseq.cli import app

    root: Any = typer.main.get_command(app)
    found = {}
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        found |= {f"{name} {n}": c for n, c in inner.items()} if inner else {name: command}
    return found


def cli_page() -> str:
    """Return the page of the command line."""
    lines = ["# Command line", "", "`carseq COMMAND --help` says the same.", ""]
    for name, command in commands().items():
        told = inspect.cleandoc(command.help or "")
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join(_argument(p) for p in arguments)
        lines += [
            f"## carseq {name}",
            "",
            "```text",
            f"carseq {name} {usage} [OPTIONS]".replace("  ", " "),
            "```",
            "",
        ]
        lines += [
            re.sub(r"(Examples?: .*)", r"*\1*", told),
            "",
            "| | default | meaning |",
            "|---|---|---|",
        ]
        for parameter in command.params:
            if parameter.name == "help":
                continue
            shown = (
                ", ".join(parameter.opts)
                if parameter.param_type_name == "option"
                else parameter.name
            )
            default = "*required*" if parameter.required else _default(parameter.default)
            lines.append(f"| `{shown}` | {default} | {(parameter.help or '').strip()} |")
        lines.append("")
    return "\n".join(lines)


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    name += "..." if parameter.nargs == -1 else ""
    return name if parameter.required else f"[{name}]"


def _default(value: Any) -> str:
    return "" if value is None or value is False or callable(value) else f"`{value}`"


def api_pages() -> dict[str, tuple[str, str]]:
    """Return the pages of the Python functions: path -> (name of the room, Markdown for mkdocstrings)."""
    found = {}
    for room in ROOMS:
        module = importlib.import_module(f"carseq.{room}")
        summary = _roles((module.__doc__ or "").strip())
        names = list(public_names(module))
        lines = [f"# carseq.{room}", "", summary, ""]
        lines += [f"::: {name}\n" for name in names]
        found[f"reference/api/{room}.md"] = (room, "\n".join(lines))
    return found


def public_names(module: ModuleType) -> Iterator[str]:
    """Yield where the public functions and classes of a room are defined, dotted."""
    listed = getattr(module, "__all__", None)
    for name in listed or [n for n in vars(module) if not n.startswith("_")]:
        value = getattr(module, name)
        if not (inspect.isfunction(value) or inspect.isclass(value)):
            continue
        if listed or value.__module__ == module.__name__:
            yield f"{value.__module__}.{value.__name__}"


def modules() -> list[str]:
    """Return the names of all modules and packages directly below carseq."""
    return [m.name for m in pkgutil.iter_modules(carseq.__path__)]


def included(markdown: str, root: Path, page: str) -> str:
    """Put in the texts that ``<!-- include: FILE#HEADING -->`` names, without their own title; text in a box.

    Parameters
    ----------
    markdown
        Text of a page.
    root
        The checkout; FILE is relative to it.
    page
        Path of the page under ``docs``; links of the included text are made relative to it.

    Raises
    ------
    CarseqError
        If the file or the heading is not there.
    """

    def put(found: re.Match[str]) -> str:
        path, heading = root / found[1], found[2]
        if not path.is_file():
            raise CarseqError(
                f"docs/{page} includes {found[1]}", "there is no such file", "mend the page"
            )
        text = path.read_text()
        if path.suffix != ".md":
            return f"```text\n{text}```"
        text = section(text, heading, found[1]) if heading else text.split("\n", 1)[1]
        here = Path("docs", page).parent

        def moved(link: re.Match[str]) -> str:
            if not link[3] or "://" in link[3]:
                return link[0]
            target = os.path.relpath(root / Path(found[1]).parent / link[3], root / here)
            return f"{link[1]}[{link[2]}]({target}{link[4] or ''})"

        return _outside_code(text, lambda part: _LINK.sub(moved, part))

    return _INCLUDE.sub(put, markdown)


def section(text: str, heading: str, file: str = "the file") -> str:
    """Return what stands below a heading of a Markdown text, up to the next of its level.

    Raises
    ------
    CarseqError
        If there is no such heading.
    """
    hidden = _FENCE.sub(lambda m: re.sub(r"^#", "\0", m[0], flags=re.M), text)
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^#{{1,6}} |\Z)", hidden, re.M | re.S)
    if found is None:
        raise CarseqError(f"{file} has no heading {heading}", "", "mend the include")
    return found[2].replace("\0", "#").strip() + "\n"


def linked(markdown: str, root: Path, page: str) -> str:
    """Turn links to files outside ``docs`` into links to their page, else into their path.

    Raises
    ------
    CarseqError
        If such a file is not there.
    """
    here = Path("docs", page).parent

    def mend(link: re.Match[str]) -> str:
        if not link[3] or "://" in link[3] or link[3].startswith("mailto:"):
            return link[0]
        target = os.path.normpath(here / link[3])
        if target in _PAGES:
            own = os.path.relpath(Path("docs", _PAGES[target]), here)
            return f"{link[1]}[{link[2]}]({own}{link[4] or ''})"
        if target.startswith("docs/"):
            return link[0]
        if not (root / target).exists():
            raise CarseqError(
                f"docs/{page} links {link[3]}", "there is no such file", "mend the link"
            )
        return f"`{target}`" if link[2].strip("`") == target else f"{link[2]} (`{target}`)"

    return _indented(_outside_code(markdown, lambda part: _LINK.sub(mend, part)))


def _indented(text: str) -> str:
    """Indent what belongs to an item of a list by four, as Python-Markdown wants it, in place of two."""

    def block(fence: re.Match[str]) -> str:
        return re.sub(r"^", "  ", fence[0], flags=re.M) if fence[1] == "  " else fence[0]

    return _outside_code(text, lambda part: re.sub(r"^  (?=\S)", "    ", part, flags=re.M), block)


def _outside_code(
    text: str,
    change: Callable[[str], str],
    block: Callable[[re.Match[str]], str] = lambda fence: fence[0],
) -> str:
    """Change a text outside its fenced blocks, which stay as they are unless ``block`` changes them."""
    parts, last = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[last : fence.start()]), block(fence)]
        last = fence.end()
    return "".join([*parts, change(text[last:])])


def _roles(text: str) -> str:
    """Turn the roles of a docstring into code."""
    return re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)


def plain_roles(html: str) -> str:
    """Turn the roles of docstrings, as mkdocstrings leaves them, into links where there is such a function."""
    return re.sub(
        r":(?:func|class|data|mod|meth|attr):<code>~?([^<]+)</code>",
        r'<autoref optional identifier="\1"><code>\1</code></autoref>',
        html,
    )
