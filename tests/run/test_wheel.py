"""The wheel holds the workflow: built by way of the sdist, installed, and run far from the checkout."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tiny import Tiny

ROOT = Path(__file__).parents[2]
#: What of the checkout a wheel is built from.
SOURCES = ("src", "workflow", "profiles", "config", "envs")

# The build backend is called as pip calls it, but for the isolated environment that it would download.
BUILD = """
import os, sys, tarfile
from setuptools import build_meta
out = sys.argv[1]
sdist = build_meta.build_sdist(out)
with tarfile.open(os.path.join(out, sdist)) as archive:
    archive.extractall(out, filter="data")
os.chdir(os.path.join(out, sdist.removesuffix(".tar.gz")))
build_meta.build_wheel(out)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that is built from it; nothing is written into the checkout."""
    # The build's own requirement, as pyproject.toml names it.
    pytest.importorskip("setuptools", minversion="77")
    folder = tmp_path_factory.mktemp("built")
    copy = folder / "checkout"
    skip = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=skip)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy2(path, copy / path.name)
    subprocess.run(
        [sys.executable, "-c", BUILD, str(folder)], cwd=copy, check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def installed(built: Path) -> Path:
    """A folder that the wheel was installed into."""
    (wheel,) = built.glob("*.whl")
    target = built / "site"
    subprocess.run(
        [
            sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile",
            "--disable-pip-version-check", "--target", str(target), str(wheel),
        ],
        check=True,
    )  # fmt: skip
    return target


def carseq(
    installed: Path, *words: str, folder: Path, code: int = 0
) -> subprocess.CompletedProcess[str]:
    """Run the installed package's command line from another folder."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "carseq", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_wheel_holds_every_file_of_the_workflow_as_it_is(installed: Path) -> None:
    """Snakefile, rules, scripts, notebooks, captions, profiles and the installer of STAR, byte by byte."""
    bundle = installed / "carseq" / "bundle"
    wanted = [
        path.relative_to(ROOT)
        for folder in ("workflow", "profiles")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    wanted += [
        Path("Snakefile"),
        Path("envs/tools.yaml"),
        Path("envs/install-star.sh"),
        Path("envs/install-kallisto.sh"),
    ]
    wanted += [Path("config/config.yaml"), Path("config/config.schema.json")]
    assert len(wanted) > 50
    for path in wanted:
        assert filecmp.cmp(ROOT / path, bundle / path, shallow=False), path
    # Modules of the package are not copied a second time with it.
    assert not list(bundle.rglob("simulate"))


def test_the_sdist_holds_what_a_wheel_is_built_from(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    (wheel,) = built.glob("*.whl")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml", "Snakefile", "README.md", "LICENSE"} <= names
    assert not [name for name in names if "__pycache__" in name]
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if "__pycache__" in name]


def test_a_study_runs_from_any_folder(installed: Path, tmp_path: Path) -> None:
    """Without the checkout: a job of the packaged Snakefile runs its packaged script."""
    study = Tiny(tmp_path / "a study", only="M")
    study.config["results"] = "results"
    config = study.write()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = carseq(
        installed, "run", str(config), "--cores", "1", "--no-check", "--until", "samples", folder=elsewhere
    )  # fmt: skip
    assert "1/1" in done.stderr
    assert (study.folder / "results/cohort/samples.tsv").exists()
    assert not any(elsewhere.iterdir())
    (log,) = (study.folder / ".snakemake/log").glob("*.snakemake.log")
    assert f"Snakefile: {installed}/carseq/bundle/Snakefile" in log.read_text()


def test_the_installed_command_says_what_is_missing(installed: Path, tmp_path: Path) -> None:
    """`carseq doctor` from the wheel names its own workflow; without STAR on PATH it fails with the remedy."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(installed),
        "PATH": str(tmp_path),
        "COLUMNS": "200",
    }
    done = subprocess.run(
        [sys.executable, "-m", "carseq", "doctor", str(tmp_path)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert str(installed / "carseq/bundle") in done.stdout
    assert "carseq doctor --install-star" in done.stdout
    assert done.returncode == 1
