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

#: A pattern in STAR's error message -> what to do. The first that fits is told, so the particular come first.
_REMEDIES = {
    r"[Nn]o space left|enough (?:disk )?space|space on the disk|could not write|fail(?:ed)? to write"
    r"|could not open output|failed writing|writing.*failed|error writing": "free disk space or choose another results "
    "folder",
    r"[Pp]ermission denied|Read-only file system": "check that the results folder can be written to",
    r"read files are not consistent|reached the end of the one before": "R1 and R2 hold different numbers of "
    "reads: transfer or demultiplex them again",
    r"quality string length is not equal": "a read of a FASTQ file is empty or its quality line is of another length: "
    "give the untrimmed files, or transfer them again",
    r"Read1 read name|read name|unknown read|wrong size of input stream": "a FASTQ file is damaged: compare its md5 "
    "with the sender's",
    r"unexpected end of file|not in gzip format|invalid compressed data|[Cc]orrupted|end-of-stream marker": "a FASTQ "
    "file is cut off or damaged: transfer it again",
    r"incompatible with running STAR version|Genome version is": "the index was made by another STAR: leave "
    "`reference.star_index` empty to build one",
    r"could not open genome file|genome file.*(?:corrupt|truncated|length)|SA file|SAindex|genomeParameters|"
    r"[Gg]enome files? (?:is|are)": "the STAR index is not whole: remove the reference/ folder of the results and run "
    "again; an index of your own (`reference.star_index`) must be copied or built again",
    r"not equal to the value at the genome generation|sjdbOverhang": "build the index again with one sjdbOverhang",
    r"limitBAMsortRAM": "give the job more memory (resources: mem_mb)",
    r"CB whitelist|CBwhitelist|whitelist": "check the whitelist: one barcode a line, all of one length",
    r"not enough memory|std::bad_alloc|limitGenomeGenerateRAM|genomeGenerateRAM": "give the job more memory, or raise "
    "`reference.sa_sparse` to 2 or 3",
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
    text = "\n".join(lines[-40:])
    if journal.exists():
        text += "\n" + journal.read_text(errors="replace")[-20_000:]
    cause, remedy = explain_failure(text)
    if process.returncode < 0:
        cause = f"killed by signal {-process.returncode}; {cause}"
    if process.returncode == -9:
        remedy = "give the job more memory"
    elif process.returncode < 0 and remedy == _SEE:
        index = options.get("genomeDir")
        remedy = (
            f"its index may be cut off: remove {index} and run again; or give the job more memory"
        )
    raise CarseqError("STAR failed", cause[:600], remedy)


#: What is told where no pattern fits.
_SEE = "see STAR's message above and the log"
#: Where STAR's message of a failure begins and ends.
_FATAL = re.compile(r"EXITING.*?(?:\n\s*\n|FATAL ERROR, exiting|\Z)", re.DOTALL)


def explain_failure(text: str) -> tuple[str, str]:
    """Return cause and remedy of a failure of STAR.

    Parameters
    ----------
    text
        What STAR printed and logged. Its log repeats the names of all options (``limitGenomeGenerateRAM``) whatever
        failed, so only its error message is looked at.
    """
    found = _FATAL.findall(text)
    errors = [
        line
        for line in text.splitlines()
        if re.search(r"error|fatal|bad_alloc|[Nn]o space", line, re.IGNORECASE)
    ]
    errors = [line for line in errors if not re.match(r"\s*(--|###|STAR\b|\w+\s+\S+\s*$)", line)]
    message = "\n".join(found) if found else "\n".join(errors[-8:])
    solution = [line for line in text.splitlines() if line.startswith("SOLUTION")]
    told = message + "\n" + "\n".join(solution)
    cause = " ".join((found[-1] if found else message or "\n".join(text.splitlines()[-5:])).split())
    for pattern, advice in _REMEDIES.items():
        if re.search(pattern, told):
            return cause, advice
    return cause, _SEE
