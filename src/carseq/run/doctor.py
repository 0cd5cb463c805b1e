"""What a machine lacks for a run, and how to get it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from carseq import __version__
from carseq.errors import CarseqError
from carseq.kallisto import find_programs
from carseq.machine import disk_megabytes, machine_cores, machine_megabytes
from carseq.reference.star import star_program, star_version
from carseq.run.clusters import CLUSTERS
from carseq.run.files import workflow_folder
from carseq.start.samples import Note

#: What was found of one thing: how it is, a note, or what is missing.
Found = tuple[str, "str | Note | CarseqError"]
#: The STAR that index and alignments are tested with.
STAR_TESTED = ("2.7.10b", "2.7.11b")
#: Files that STAR keeps open while it sorts a BAM: some 50 for each of its 8 threads, and as many again.
_OPEN_FILES = 1024
#: Disk that the results of a small study take, MB.
_DISK = 5000


def examine(folder: Path = Path()) -> Iterator[Found]:
    """Yield (what, how it is) for all that a run needs of this machine.

    Parameters
    ----------
    folder
        Where results are to go.

    Yields
    ------
    tuple
        A text, a :class:`~carseq.start.samples.Note` about something that may be missed, or an error that names what
        is missing and how to get it.
    """
    yield "carseq", f"{__version__}, its workflow in {workflow_folder()}"
    yield from _packages()
    yield from _star()
    yield from _kallisto()
    yield from _machine(folder)
    yield from _clusters()


def _packages() -> Iterator[Found]:
    """Yield whether Python and the packages are those that carseq asks for."""
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        named = importlib.metadata.metadata("carseq")["Requires-Python"] or ""
        wanted = importlib.metadata.requires("carseq") or []
    except importlib.metadata.PackageNotFoundError:
        yield (
            "Python",
            Note(f"{version}; carseq runs from its source, so its packages are not known"),
        )
        return
    if not SpecifierSet(named).contains(version):
        yield (
            "Python",
            CarseqError(
                f"Python {version} is not one of those that carseq is made for",
                f"it asks for {named}",
                "make an environment with one: python3.11 -m venv env, then pip install carseq in it",
            ),
        )
    else:
        yield "Python", version
    missing = []
    for requirement in map(Requirement, wanted):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            found = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append((str(requirement), "is missing"))
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            missing.append((str(requirement), f"is {found}"))
    if missing:
        yield (
            "packages",
            CarseqError(
                f"{len(missing)} Python packages are not as carseq needs them",
                "; ".join(f"{name} {how}" for name, how in missing[:8]),
                f"{sys.executable} -m pip install " + " ".join(f"'{n}'" for n, _ in missing),
            ),
        )
        return
    yield (
        "packages",
        ", ".join(
            f"{name} {importlib.metadata.version(name)}"
            for name in ("snakemake", "scanpy", "torch")
        ),
    )
    if sys.dont_write_bytecode and not _compiled("pandas"):
        yield (
            "bytecode",
            Note(
                "PYTHONDONTWRITEBYTECODE is set and the packages are not compiled: each job compiles them anew, which "
                f"takes 5 to 20 s; unset it, or compile them once: {sys.executable} -m compileall -q {sys.prefix}"
            ),
        )


def _compiled(package: str) -> bool:
    """Return whether Python finds a package compiled."""
    spec = importlib.util.find_spec(package)
    return bool(spec and spec.cached and Path(spec.cached).exists())


def _star() -> Iterator[Found]:
    try:
        version = star_version()
    except CarseqError as error:
        yield (
            "STAR",
            CarseqError(
                error.message,
                error.cause,
                "carseq doctor --install-star (by conda, mamba or micromamba, else Debian's rna-star); or put the "
                "folder of yours on PATH; or run with --sdm conda; a study of matrices needs none",
            ),
        )
        return
    place = shutil.which(star_program())
    if not re.match(r"2\.7\.\d", version):
        yield (
            "STAR",
            CarseqError(
                f"STAR {version} is not one that carseq can use",
                f"{place}; single cells are counted by STARsolo, which came with 2.7",
                "carseq doctor --install-star --force, or put another STAR first on PATH",
            ),
        )
    elif version not in STAR_TESTED:
        yield "STAR", Note(f"{version} ({place}); tested are {' and '.join(STAR_TESTED)}")
    else:
        yield "STAR", f"{version} ({place})"


def _kallisto() -> Iterator[Found]:
    """Yield which kallisto and bustools are here; only `solo.aligner: kallisto` needs them."""
    try:
        programs = find_programs()
    except CarseqError as error:
        yield (
            "kallisto",
            Note(
                f"{error.message}: needed for `solo.aligner: kallisto` alone, which counts with a few GB of memory "
                "where STAR takes some 30 (carseq doctor --install-kallisto)"
            ),
        )
        return
    versions = programs.versions()
    yield (
        "kallisto",
        f"{versions['kallisto']} ({programs.kallisto}), bustools {versions['bustools']}",
    )


def _machine(folder: Path) -> Iterator[Found]:
    """Yield memory, cores, disk and open files of this machine."""
    memory = machine_megabytes() / 1000
    words = f"{memory:,.0f} GB, {machine_cores()} cores"
    yield (
        "memory",
        CarseqError(
            "this machine has too little memory", f"{words}; even the demo takes 4 GB",
            "run on a larger machine or send the jobs to a cluster (--profile)",
        )
        if memory < 4
        else words
    )  # fmt: skip
    free = disk_megabytes(folder)
    place = folder.resolve()
    if free < _DISK:
        yield (
            "disk",
            CarseqError(
                f"the disk of {place} is nearly full",
                f"{free / 1000:,.1f} GB are left; results alone take {_DISK / 1000:.0f} GB",
                "free some, or put `results` on another disk; for temporary files set TMPDIR",
            ),
        )
    else:
        yield "disk", f"{free / 1000:,.0f} GB free in {place}"
    # A folder that is not there yet is made in the nearest one that is.
    made_in = next(p for p in (place, *place.parents) if p.exists())
    if not os.access(made_in, os.W_OK):
        yield (
            "folder",
            CarseqError(
                f"{place} cannot be written to", "you have no permission", "name another folder"
            ),
        )
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < _OPEN_FILES:
            yield (
                "open files",
                Note(f"{soft} at a time; STAR may need more: ulimit -n {_OPEN_FILES * 4}"),
            )
    except (ImportError, OSError):
        return


def _clusters() -> Iterator[Found]:
    """Yield which clusters jobs can be sent to from here."""
    told = False
    for profile, cluster in CLUSTERS.items():
        if not cluster.is_here:
            continue
        told = True
        if refusal := cluster.refusal():
            yield (
                cluster.name,
                Note(
                    f"{cluster.submit} is there, but the cluster does not answer (`{cluster.asked}`: {refusal})"
                ),
            )
        elif cluster.has_plugin:
            yield cluster.name, f"{cluster.submit} is there: carseq run ... --profile {profile}"
        else:
            yield (
                cluster.name,
                Note(
                    f"{cluster.submit} is there, its plugin is not: {sys.executable} -m pip install {cluster.package}, "
                    f"then carseq run ... --profile {profile}"
                ),
            )
    if not told:
        yield "cluster", "none here; the jobs run on this machine"


def install_star(*, force: bool = False) -> str:
    """Install STAR beside this Python, by conda, mamba or micromamba, else as Debian's package; return its version.

    Parameters
    ----------
    force
        Also where there is one already.

    Raises
    ------
    CarseqError
        If none of the ways works.
    """
    if _install("install-star.sh", "CARSEQ_STAR_AGAIN", force=force):
        raise CarseqError(
            "STAR could not be installed",
            "see above",
            "install it yourself: `conda install -c bioconda star`, on Debian and Ubuntu `apt-get install rna-star`, "
            "or by hand from its releases; then put its folder on PATH",
        )
    return star_version()


def install_kallisto(*, force: bool = False) -> dict[str, str]:
    """Install kallisto and bustools beside this Python, out of kb-python's wheel; return their versions.

    Parameters
    ----------
    force
        Also where there are some already.

    Raises
    ------
    CarseqError
        If they cannot be had, or do not run here.
    """
    if _install("install-kallisto.sh", "CARSEQ_KALLISTO_AGAIN", force=force):
        raise CarseqError(
            "kallisto and bustools could not be installed",
            "see above",
            "install them yourself: `conda install -c bioconda kallisto bustools`; then put their folder on PATH, or "
            "name it in `solo.kallisto`",
        )
    return find_programs().versions()


def _install(script: str, again: str, *, force: bool) -> int:
    """Run one of the installers, with this Python's folder first on PATH; return its exit status."""
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, again: "1" if force else ""}
    place = workflow_folder() / "envs" / script
    done = subprocess.run(["bash", str(place), sys.prefix], env=environment, check=False)
    os.environ["PATH"] = path
    return done.returncode
