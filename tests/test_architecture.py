"""The house: what is private stays in its file, what is public is documented, the map in CONTRIBUTING is the tree."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import carseq
from carseq.schema.results import FILES
from documentation import ROOMS, api_pages

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src/carseq"


def trees() -> Iterator[tuple[Path, ast.Module]]:
    for folder in ("src", "workflow", "docs", "benchmarks", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            yield file, ast.parse(file.read_text())


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def test_no_private_name_crosses_files() -> None:
    """No file, tests included, imports another's `_name`, nor takes one as an attribute of a module of ours."""
    faults = []
    for file, tree in trees():
        ours = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "carseq":
                faults += [f"{file}: {a.name}" for a in node.names if is_private(a.name)]
                ours |= {a.asname or a.name for a in node.names if a.name.islower()}
            elif isinstance(node, ast.Import):
                ours |= {a.asname for a in node.names if a.name.startswith("carseq.") and a.asname}
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Attribute)
                and is_private(node.attr)
                and isinstance(node.value, ast.Name)
                and node.value.id in ours
                and not is_local(tree, node.value.id)
            ):
                faults.append(f"{file}:{node.lineno}: {node.value.id}.{node.attr}")
    assert faults == []


def is_local(tree: ast.Module, name: str) -> bool:
    """Whether a file also uses a name for a variable or an argument of its own."""
    return any(
        (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store))
        or (isinstance(node, ast.arg) and node.arg == name)
        for node in ast.walk(tree)
    )


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_exist_are_described_and_have_their_place_in_the_documentation(
    room: str,
) -> None:
    """Each name of a room's `__all__` is there; functions and classes have a docstring and are on the room's page."""
    module = importlib.import_module(f"carseq.{room}")
    page = api_pages()[f"reference/api/{room}.md"][1]
    assert (module.__doc__ or "").strip(), room
    listed = getattr(module, "__all__", None)
    if hasattr(module, "__path__"):
        assert listed, f"carseq.{room} is a package without __all__"
    for name in listed or ():
        value = getattr(module, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            assert (inspect.getdoc(value) or "").strip(), f"carseq.{room}.{name}"
            assert f"::: {value.__module__}.{value.__name__}\n" in page, f"carseq.{room}.{name}"


def test_every_module_has_a_docstring() -> None:
    for file in SOURCE.rglob("*.py"):
        assert ast.get_docstring(ast.parse(file.read_text())), file


def test_the_map_is_the_tree() -> None:
    """Every module and package of the package, and every folder of the checkout, is on CONTRIBUTING's map; no other."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = re.findall(r"^\| (`[^|]*?) \|", text, re.M)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)}
    modules = {
        f"src/carseq/{m.name}" + ("" if m.ispkg else ".py")
        for m in pkgutil.iter_modules(carseq.__path__)
    }
    of_package = {name for name in named if name.startswith("src/carseq/")}
    assert of_package == modules | {"src/carseq/data"}
    for name in named - of_package:
        assert (ROOT / name).exists(), name


def test_import_linter_lists_every_room() -> None:
    """A module that no layer names would be held by no rule (`exhaustive` checks it; here without running it)."""
    text = (ROOT / "pyproject.toml").read_text()
    layers = re.search(r"layers = \[(.*?)\]", text, re.S)
    assert layers
    named = set(re.findall(r"[a-z_]+", layers[1]))
    assert named == {m.name for m in pkgutil.iter_modules(carseq.__path__)}


def test_no_path_under_results_is_spelt_twice() -> None:
    """Outside schema/results.py no file of the package or the rules writes out where a declared file lies."""
    declared = {file.path for file in FILES.values() if "/" in file.path or "_" in file.path}
    ends = {path.replace("{sample}", "").split("//")[-1] for path in declared}
    for file in [*SOURCE.rglob("*.py"), *(ROOT / "workflow/scripts").glob("*.py")]:
        if file.name == "results.py" and file.parent.name == "schema":
            continue
        tree = ast.parse(file.read_text())
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert id(node) in docs or node.value not in ends, f"{file}:{node.lineno}"
            left = getattr(node, "left", None)
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                folder = isinstance(left, ast.Name) and left.id == "results"
                named = isinstance(node.right, ast.Constant) and node.right.value not in (
                    "cohort",
                    "samples",
                )
                assert not (folder and named), f"{file}:{node.lineno}"
    for file in (ROOT / "workflow/rules").glob("*.smk"):
        for path in re.findall(r'"\{RESULTS\}/([^"]+)"', file.read_text()):
            assert path.startswith(("logs/", "benchmarks/")), f"{file.name}: {path}"


def test_a_warning_in_our_code_is_an_error() -> None:
    """`filterwarnings` of pyproject.toml reaches every module of carseq, and those of others are left alone."""
    with pytest.raises(DeprecationWarning):
        warnings.warn_explicit(
            "old", DeprecationWarning, "model.py", 1, module="carseq.calling.model"
        )
    with pytest.warns(DeprecationWarning, match="old"):
        warnings.warn_explicit("old", DeprecationWarning, "core.py", 1, module="pandas.core")
