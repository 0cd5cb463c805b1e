"""Running STAR, and telling its failures in words a user can act on."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from carseq.errors import CarseqError
from carseq.log import get_logger

log = get_logger(__name__)

#: A pattern in STAR's messages -> what to do.
_REMEDIES = {
    r"not enough memory|std::bad_alloc|limitGenomeGenerateRAM": "give the job more memory, or raise "
    "`reference.sa_sparse` to 2 or 3",
    r"read files are not consistent|reached the end of the one before": "R1 and R2 hold different numbers of "
    "reads: transfer or demultiplex them again",
    r"quality string length is not equal|Read1 read name|read name": "a FASTQ file is damaged: compare its md5 "
    "with the sender's",
    r"limitBAMsortRAM": "give the job more memory (resources: mem_mb)",
    r"soloCBwhitelist|whitelist": "check the whitelist: one barcode a line, all of one length",
    r"incompatible with running STAR version|Genome version": "the index was made by another STAR: leave "
    "`reference.star_index` empty to build one",
    r"not equal to the value at the genome generation|sjdbOverhang": "build the index again with one sjdbOverhang",
    r"No space left|could not write|fail to write|could not open output": "free disk space or choose another "
    "results folder",
    r"unexpected end of file|not in gzip format|invalid compressed data|Corrupted|end-of-stream marker": "a FASTQ "
    "file is cut off or damaged: transfer it again",
}


def star_version() -> str:
    """Return the version of the STAR on PATH.

    Raises
    ------
    CarseqError
        If there is none.
    """
    if shutil.which("STAR") is None:
        raise CarseqError(
            "STAR is not installed",
            "no STAR on PATH",
            "install it: `conda install -c bioconda star`, or on Debian and Ubuntu `apt-get install rna-star`; "
            "or run Snakemake with `--sdm conda`",
        )
    done = subprocess.run(["STAR", "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().split("\n")[-1]


def star_version_if_any() -> str | None:
    """Return the version of the STAR on PATH, or None: a study of matrices needs none."""
    return star_version() if shutil.which("STAR") else None


@contextmanager
def scratch_folder(beside: Path, prefix: str) -> Iterator[Path]:
    """Make a folder for STAR's temporary files, removed at the end; those that killed jobs left are removed first.

    Parameters
    ----------
    beside
        The folder to make it in, that of the results, so that they can be moved out of it. Made if missing.
    prefix
        Begins its name. No two jobs may use the same prefix in one folder at once.
    """
    beside.mkdir(parents=True, exist_ok=True)
    for left in beside.glob(f"{prefix}*"):
        log.info("removing %s, which a killed job left", left)
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=beside) as folder:
        yield Path(folder)


def run_star(options: dict[str, object], *, threads: int, folder: Path) -> None:
    """Run STAR with its output in ``folder``.

    Parameters
    ----------
    options
        STAR's options without dashes; lists become several words.
    threads
        runThreadN.
    folder
        Prefix folder of STAR's outputs, created if missing.

    Raises
    ------
    CarseqError
        If STAR is missing or fails, with its own message as the cause.
    """
    log.info("STAR %s", star_version())
    folder.mkdir(parents=True, exist_ok=True)
    command = ["STAR", "--runThreadN", str(threads), "--outFileNamePrefix", f"{folder}/"]
    for name, value in options.items():
        words = value if isinstance(value, (list, tuple)) else [value]
        command += [f"--{name}", *map(str, words)]
    log.info("%s", " ".join(command))
    # A pipe for the messages keeps them out of the user's terminal and in the log.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        lines = []
        for line in process.stdout or ():
            lines.append(line.rstrip())
            log.info("STAR: %s", line.rstrip())
    if process.returncode == 0:
        return
    journal = folder / "Log.out"
    text = "\n".join(lines[-40:]) + (
        journal.read_text(errors="replace")[-4000:] if journal.exists() else ""
    )
    fatal = re.search(r"EXITING.*?(?:\n\n|\Z)", text, re.DOTALL)
    cause = " ".join((fatal.group() if fatal else "\n".join(lines[-5:])).split())
    if process.returncode < 0:
        cause = f"killed by signal {-process.returncode}; {cause}"
    remedy = "see STAR's message above and the log"
    if process.returncode == -9:
        remedy = "give the job more memory"
    for pattern, advice in _REMEDIES.items():
        if re.search(pattern, text):
            remedy = advice
            break
    raise CarseqError("STAR failed", cause[:600], remedy)
