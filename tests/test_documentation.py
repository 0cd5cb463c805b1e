"""documentation: the site builds strictly, leaves nothing out, and its commands exist."""

from __future__ import annotations

import ast
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from carseq.errors import CarseqError
from carseq.schema import obs
from carseq.schema.results import FILES
from carseq.study.config import Config
from carseq.study.sheets import Sample, Unit
from documentation import (
    ROOMS,
    commands,
    generated_pages,
    included,
    licences,
    linked,
    modules,
    schemas,
    section,
)

ROOT = Path(__file__).parent.parent
PAGES = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
#: Modules that users do not call: entry points, and what the rooms share.
INNER = {
    "__main__",
    "cli",
    "config_docs",
    "data",
    "errors",
    "guards",
    "io",
    "locks",
    "log",
    "machine",
    "moved",
    "parallel",
    "handover",
    "preload",
    "schema",
    "sequence",
    "workflow",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    made = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-3000:]
    return folder


@functools.cache
def pages() -> dict[str, str]:
    return generated_pages()


def test_site_is_built_with_every_link_good(site):
    """Every page, link and anchor holds, and every page of the source is in the site."""
    for page in (ROOT / "docs").glob("*.md"):
        assert (site / page.with_suffix(".html").name).exists()


def test_site_names_no_other_host_to_load_from(site):
    """No page loads a script, style, font or picture from another host."""
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*src="(https?:[^"]+)', page.read_text())
        loaded += re.findall(
            r'<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*href="(https?:[^"]+)', page.read_text()
        )
        assert not loaded, f"{page.name} loads {loaded}"


def test_the_licence_of_every_package_is_listed():
    """Those that carseq names itself among them; the GPL's are named above the table."""
    found = licences()
    own = [name for name, (_, _, named) in found.items() if named]
    assert len(own) >= 40
    assert [name for name, (_, text, _) in found.items() if not text] == []
    page = pages()["reference/licences.md"]
    copyleft = [n for n in own if "GPL" in found[n][1] or "General Public" in found[n][1]]
    head = page.partition("| package")[0]
    assert [name for name in copyleft if name not in head] == []


def test_pictures_stay_small():
    """All pictures of the documentation together hold 1.5 MB at most."""
    sizes = [p.stat().st_size for p in (ROOT / "docs").rglob("*") if p.suffix in {".png", ".svg"}]
    assert len(sizes) >= 5
    assert sum(sizes) <= 1.5e6


def test_every_column_of_every_table_is_on_the_page():
    """The page of outputs holds each schema with each of its columns and their meaning."""
    page = pages()["reference/outputs.md"]
    for schema in schemas().values():
        own = page.split(f"### {schema.name} {{", 1)[1].split("\n### ", 1)[0]
        for name, column in schema.columns.items():
            assert f"| `{name}` | {column.dtype} | {column.meaning} |" in own
    for key in obs.H5AD:
        assert f"`{key}`" in page


def test_every_file_is_on_the_page():
    """Each file under results is listed with what it holds (that rules make these and no others: test_rules)."""
    page = pages()["reference/outputs.md"]
    for file in FILES.values():
        path = file.at(sample="SAMPLE", notebook="NOTEBOOK")
        assert f"| `{path}` | {file.says}" in page


def test_every_table_written_is_declared():
    """Each write of a table names its schema, but for the simulator's truth."""
    files = [*(ROOT / "src").rglob("*.py"), *(ROOT / "workflow" / "scripts").glob("*.py")]
    written = 0
    for file in files:
        if "simulate" in file.parts:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "write_table":
                written += 1
                named = len(node.args) > 2 or any(k.arg == "schema" for k in node.keywords)
                assert named, f"{file.name}:{node.lineno} writes a table without a schema"
    assert written > 20


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from keys(inner, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_every_key_and_sheet_column_is_on_the_page_and_explained():
    """Each configuration key and sheet column stands in a row with a meaning."""
    page = pages()["reference/config.md"]
    for name in [*keys(Config), *Sample.model_fields, *Unit.model_fields]:
        assert re.search(rf"^\| `{re.escape(name)}` \| [^|]+ \| [^|\s][^|]* \|", page, re.M), name


def test_every_command_and_option_is_on_the_page_and_explained():
    """Each command has a heading, and each of its parameters a row with a meaning."""
    page = pages()["reference/cli.md"]
    for name, command in commands().items():
        own = page.split(f"## carseq {name}\n", 1)[1].split("\n## ", 1)[0]
        for parameter in command.params:
            if parameter.name != "help":
                shown = (
                    ", ".join(parameter.opts)
                    if parameter.param_type_name == "option"
                    else parameter.name
                )
                assert re.search(rf"^\| `{re.escape(shown)}` \| .*\| \S.* \|$", own, re.M), shown


def test_every_module_for_users_has_a_page():
    """A module is a room with a page, or named here as an inner one."""
    assert set(modules()) == set(ROOMS) | INNER


def test_every_rule_says_what_its_jobs_ask_for():
    """Memory and time of each rule of the workflow are in a row of the table in docs/cluster.md."""
    rules = [
        name
        for file in (ROOT / "workflow" / "rules").glob("*.smk")
        for name in re.findall(r"^ *(?:rule|checkpoint) (\w+):", file.read_text(), re.M)
    ]
    rows = section((ROOT / "docs" / "cluster.md").read_text(), "What the jobs ask for")
    named = {w for row in re.findall(r"^\|([^|]*)\|", rows, re.M) for w in re.findall(r"\w+", row)}
    assert len(rules) > 20
    assert sorted(set(rules) - named) == []


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield (page, words) of the shell commands in fenced blocks and in code within the text."""
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.M | re.S)
        lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
        lines += re.findall(
            r"(?<!`)`((?:carseq|make|snakemake) [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S)
        )
        for line in lines:
            words = shlex.split(line, comments=True)
            if words and words[0] in {"carseq", "make", "snakemake"}:
                yield page.name, words


def option_names(words: list[str]) -> list[str]:
    return [word.split("=")[0] for word in words if word.startswith("--")]


def test_the_commands_shown_exist():
    """Each carseq command with its options, make target and snakemake option in the pages exists."""
    from snakemake.cli import get_argument_parser

    known_to_snakemake = set(get_argument_parser()._option_string_actions)
    plugins = ("--slurm-", "--kubernetes-", "--aws-batch-", "--googlebatch-")
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    seen = 0
    for page, (program, *rest) in shown_commands():
        seen += 1
        if program == "make":
            named = [word for word in rest if "=" not in word]
            assert set(named) <= targets, f"{page}: make {rest}"
        elif program == "snakemake":
            strange = [
                o
                for o in option_names(rest)
                if o not in known_to_snakemake and not o.startswith(plugins)
            ]
            assert not strange, f"{page}: snakemake {strange}"
        elif rest[0].startswith("--"):
            assert rest[0] == "--version", f"{page}: carseq {rest}"
        elif rest[0] != "COMMAND":
            name = rest[0]
            if name == "construct":
                # `carseq construct FILE` is `carseq construct map FILE`.
                inner = " ".join(rest[:2])
                name = inner if inner in commands() else "construct map"
            assert name in commands(), f"{page}: carseq {rest[0]}"
            known = {o for p in commands()[name].params for o in p.opts} | {"--help"}
            strange = [o for o in option_names(rest) if o not in known]
            if name in {"run", "demo"}:
                # What carseq does not know goes to Snakemake.
                strange = [
                    o for o in strange if o not in known_to_snakemake and not o.startswith(plugins)
                ]
            assert not strange, f"{page}: carseq {rest}"
    assert seen > 40


def test_texts_are_taken_in_with_their_links_mended():
    """An included section keeps its links working; a heading or file that is gone is told."""
    text = included("<!-- include: README.md#Limits -->", ROOT, "calls.md")
    assert "(benchmarks.md)" in linked(text, ROOT, "calls.md")
    assert (
        section("# A\n\n## B\n\nx\n\n```sh\n# no heading\n```\n\n## C\n", "B")
        == "x\n\n```sh\n# no heading\n```\n"
    )
    with pytest.raises(CarseqError, match="no heading Nowhere"):
        included("<!-- include: README.md#Nowhere -->", ROOT, "calls.md")
    with pytest.raises(CarseqError, match="no such file"):
        linked("[x](../gone.md)", ROOT, "calls.md")


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_site_in_a_browser(site, width):
    """Opened from a disk: no console error, no outside request, no picture missing, nothing wider than a phone."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if chromium is None:
        pytest.skip("no chromium on this machine")
    faults: list[str] = []

    def told(message: Any) -> None:
        if message.type == "error":
            faults.append(message.text)

    def asked(request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            faults.append(request.url)

    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        )
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", told)
        page.on("request", asked)
        page.on("pageerror", lambda error: faults.append(str(error)))
        for name in ("index", "tutorial", "own-data", "calls", "zero", "cluster", "reference/outputs",
                     "reference/api/calling"):  # fmt: skip
            page.goto((site / f"{name}.html").as_uri())
            page.wait_for_load_state("load")
            assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 1, name
            assert page.evaluate("[...document.images].every(i => i.naturalWidth > 0)"), name
        page.goto((site / "index.html").as_uri())
        page.evaluate("document.querySelector('#__search').click()")
        page.locator("input[name=query]").press_sequentially("detection limit", delay=20)
        page.locator(".md-search-result__link").first.wait_for(timeout=10_000)
        browser.close()
    assert faults == []
