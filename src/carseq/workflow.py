"""What the workflow's thin scripts and the Snakefile share. Needs no Snakemake itself."""

from __future__ import annotations

import atexit
import gc
import importlib.metadata
import os
import platform
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import carseq
from carseq.errors import CarseqError
from carseq.log import get_logger, to_file

if TYPE_CHECKING:
    from carseq.study.model import Study

#: Packages whose versions go into ``versions.json`` and the report's methods.
PACKAGES = (
    "snakemake", "scanpy", "anndata", "scvi-tools", "torch", "pysam", "parasail", "mappy",
    "leidenalg", "igraph", "umap-learn", "scikit-learn", "scipy", "numpy", "pandas", "ngs-tools",
)  # fmt: skip


def study_from_config(config: dict[str, Any], configfiles: Sequence[str | Path]) -> Study:
    """Return the validated study of a Snakemake ``config`` mapping.

    Parameters
    ----------
    config
        Snakemake's config.
    configfiles
        The files it came from; paths in it are relative to the last one, else to the working directory.

    Raises
    ------
    CarseqError
        If there is no configuration or anything in it is not valid.
    """
    # Not for the jobs, which have what they need in their parameters.
    from carseq.study.config import parse_config, resolve_paths
    from carseq.study.load import load_study
    from carseq.study.texts import read_yaml

    if not config:
        raise CarseqError(
            "no configuration was given",
            "carseq needs samples, a construct and a reference",
            "run `snakemake --configfile my.yaml --cores N`; `carseq init` writes a config to start from, "
            "`make demo` runs a study that needs nothing",
        )
    # Snakemake's own reader lets the last of two keys win, without a word.
    for file in configfiles:
        if twice := read_yaml(Path(file))[1]:
            raise twice[0]
    base = Path(configfiles[-1]).parent if configfiles else Path.cwd()
    source = str(configfiles[-1]) if configfiles else "the configuration"
    return load_study(resolve_paths(parse_config(dict(config), source), base))


def in_pairs(fastqs: Sequence[str]) -> list[tuple[str, str]]:
    """Return a rule's FASTQ files, R1 and R2 in turn, by pairs."""
    return list(zip(fastqs[::2], fastqs[1::2], strict=True))


@contextmanager
def job(snakemake: Any) -> Iterator[Any]:
    """Run a script's body with its log opened, its threads set, and its errors told.

    An expected error (:class:`~carseq.errors.CarseqError`) is shown on the terminal without a traceback, and
    the job fails; any other goes to the log with its traceback and is raised.
    """
    terminal = sys.stderr
    threads = str(snakemake.threads)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[name] = threads
    if snakemake.log:
        to_file(str(snakemake.log[0]))
    # The search for unused objects at the end of Python takes 0.4 s after large imports.
    atexit.register(gc.freeze)
    try:
        yield snakemake
    except CarseqError as error:
        get_logger(__name__).error("%s", error)
        print(f"carseq: {error}", file=terminal, flush=True)
        sys.exit(1)
    except Exception:
        get_logger(__name__).error("%s", traceback.format_exc())
        raise


def versions(star: str | None = None) -> dict[str, str]:
    """Return the versions of what a run uses: package -> version."""
    found = {"python": platform.python_version()}
    # Not from the installed package's metadata, which an editable install keeps from when it was installed.
    found["carseq"] = carseq.__version__
    if star:
        found["STAR"] = star
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
