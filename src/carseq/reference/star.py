"""Running STAR, and telling its failures in words a user can act on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from carseq.errors import CarseqError
from carseq.io.atomic import link_to
from carseq.log import get_logger
from carseq.reference.watch import BUSY, IDLE, run_watched

log = get_logger(__name__)

#: Longest read that STAR takes, nt (its DEF_readSeqLengthMax): longer ones it calls damaged.
LONGEST_READ = 650
_DAMAGED_INDEX = (
    "the STAR index is damaged or incomplete: delete its folder, run again; if it is yours (`reference.star_index`), "
    "make it again"
)
#: A pattern in STAR's error lines -> what to do; the most specific first, since the first that is found decides.
_REMEDIES = (
    (
        r"No space left|enough space on the disk|Empty space on disk|empty space on disk|ENOSPC",
        "free disk space, or put `results` on another disk, then run again",
    ),
    (
        r"Disk quota exceeded",
        "delete files of yours on that disk or ask for a larger quota, then run again",
    ),
    (
        r"Permission denied",
        "ask for the permission to write there, or choose another results folder",
    ),
    (r"Read-only file system", "put `results` on a disk that can be written to"),
    (r"File too large", "run `ulimit -f unlimited` before, then run again"),
    (
        r"Too many open files|ulimit -n",
        "run `ulimit -n 4096` before, or give the job fewer threads (--cores); if that is not it, "
        "look whether the disk of "
        "`results` is full, or may be written to",
    ),
    (
        r"could not create FIFO|supports FIFO",
        "put `results` on a disk of Linux's own: a disk formatted for Windows, and some network disks, hold no pipes",
    ),
    (
        r"[Uu]nreco\w+ parameter name",
        "this STAR does not know an option: install STAR 2.7.10 or newer (`make setup` does)",
    ),
    (
        r"no (valid )?exon lines in the GTF",
        "annotation and genome do not go together, or it has no exons: check `reference.gtf` "
        "(`carseq check` says which "
        "contigs each has)",
    ),
    (
        r"could not open genomeFastaFile|file format is not fasta",
        "check `reference.fasta`: it must be there, readable, and FASTA",
    ),
    (
        r"could not open input file:? \S*/(exon|exonGeTr|transcript|gene|sjdb)\w*\.(tab|txt)\b",
        _DAMAGED_INDEX,
    ),
    (r"CB whitelist", "check the whitelist: one barcode a line, all of one length"),
    (
        rf"(?m)^\s*[ACGTN]{{{LONGEST_READ},}}",
        f"STAR takes reads of up to {LONGEST_READ} bases: cut them (`cutadapt -l {LONGEST_READ}`), or give the reads "
        "of the sequencer, if these were joined",
    ),
    (
        r"could not open read file|could not open input file|could not open readFilesIn|readFilesCommand",
        "a FASTQ file cannot be read: check its path and permissions in units.tsv",
    ),
    (
        r"barcode sequence is|soloBarcodeReadLength",
        "R1 has not the length of this chemistry: check the sample's `chemistry`, and that R1 and R2 are not exchanged",
    ),
    (
        r"limitSjdbInsertNsj|limitOutSJcollapsed|limitIObufferSize",
        "a limit of STAR's that carseq leaves at its default was met: report this message and the log",
    ),
    (
        r"failed reading from genome file|could not open genome file|GENOME INDEX FILE error|is corrupt|"
        r"read no value for the versionGenome|SA file size",
        _DAMAGED_INDEX,
    ),
    (
        r"incompatible with running STAR version|Genome version|INCOMPATIBLE",
        "the index was made by another STAR: leave `reference.star_index` empty to build one",
    ),
    (
        r"not equal to the value at the genome generation",
        "build the index again with one sjdbOverhang",
    ),
    (
        r"unexpected end of file|not in gzip format|invalid compressed data|Corrupted|end-of-stream marker|"
        r"BadGzipFile|EOFError|IsalError|zlib.error|crc error",
        "a FASTQ file is cut off or damaged: transfer it again",
    ),
    (
        r"read files are not consistent|reached the end of the one before",
        "R1 and R2 hold different numbers of reads: transfer or demultiplex them again",
    ),
    (
        r"quality string length is not equal|wrong read ID line format|short read sequence line|"
        r"read name is too long|input reads|reads input|unknown read|wrong size of input stream",
        "a FASTQ file is damaged: compare its md5 with the sender's",
    ),
    (
        r"not enough memory for BAM sorting|limitBAMsortRAM",
        "give the job more memory (resources: mem_mb)",
    ),
    (
        r"not enough memory|std::bad_alloc|limitGenomeGenerateRAM|memory allocation|Cannot allocate memory",
        "give the job more memory, or raise `reference.sa_sparse` to 2 or 3",
    ),
    (
        r"could not create output|could not write|fail(ed)? to write|failed writing|could not make|"
        r"could not open (temporary|output) bam|does not agree with the actual size on disk|"
        r"failed reading from temporary file",
        "look whether the disk of `results` is full, or may be written to",
    ),
)

#: Where STAR's own account of a failure begins, in what it prints and in Log.out. Everything else there, such as the
#: command line and all parameters, names options and files whatever failed.
_ERROR = re.compile(
    r"EXITING because|EXITING:|exiting because|FATAL|Fatal|ulimit -n|Illegal instruction|terminate "
    r"called|std::bad_alloc|BUG:|[Ee]rror:|Error\b|"
    r"No space left|quota exceeded|Read-only|File too large|Too many open|Cannot allocate|Segmentation fault|"
    r"unexpected end of file|not in gzip format|invalid compressed data|Killed|core dumped"
)
#: Lines that begin otherwise though they may hold such words: what was asked for.
_ECHO = re.compile(r"--runThreadN|^\s*STAR version|^[A-Za-z]\w*\s{2,}\S|~RE-DEFINED|^###")
#: Lines of an account that follow its first.
_FOLLOWING = 5

#: Options that take paths.
_PATHS = {"genomeDir", "genomeFastaFiles", "sjdbGTFfile", "readFilesIn", "soloCBwhitelist"}

#: Where less than this is left on a disk, a failure to write is taken for its being full (bytes).
_FULL = 1 << 20


#: The environment's variable that names the STAR to run, or its folder, where it is not the one on PATH.
STAR_VARIABLE = "CARSEQ_STAR"


def star_program() -> str:
    """Return the STAR to run: the one that ``CARSEQ_STAR`` names, else the one on PATH.

    Raises
    ------
    CarseqError
        If there is none.
    """
    given = os.environ.get(STAR_VARIABLE, "")
    if given:
        path = Path(given).expanduser()
        path = path / "STAR" if path.is_dir() else path
        if path.is_file() and os.access(path, os.X_OK):
            return str(path.absolute())
        raise CarseqError(
            f"{STAR_VARIABLE} names no program",
            f"{path} is not there, or may not be run",
            f"set {STAR_VARIABLE} to the path of STAR or its folder; or unset it, and the STAR on PATH is taken",
        )
    if shutil.which("STAR") is None:
        raise CarseqError(
            "STAR is not installed",
            "no STAR on PATH",
            "install it: `carseq doctor --install-star`, `conda install -c bioconda star`, or on Debian and Ubuntu "
            f"`apt-get install rna-star`; name one elsewhere with {STAR_VARIABLE}=/path/to/STAR; or run with "
            "`--sdm conda`",
        )
    return "STAR"


#: Instructions of processors for which packages build STAR, the newest first, and without any.
_INSTRUCTIONS = ("avx2", "avx", "sse4_1", "ssse3", "sse3", "sse2", "sse", "plain")


def star_binary() -> str:
    """Return the program behind the script by which Debian and bioconda choose one for the processor, else STAR itself.

    STAR writes its path into the BAM's header, which may name a user's home; called by carseq, it has its own name.
    On a processor without such instructions bioconda's script runs nothing, and ends as if all were well.

    Raises
    ------
    CarseqError
        If there is no STAR.
    """
    program = star_program()
    place = Path(shutil.which(program) or program)
    try:
        with place.open("rb") as opened:
            if opened.read(2) != b"#!":
                return program
        known = Path("/proc/cpuinfo").read_text(errors="replace") + " plain"
    except OSError:
        return program
    for name in _INSTRUCTIONS:
        ending = f"{place.name}-{name.replace('_', '.')}"
        for folder in (place.parent, place.resolve().parent, place.resolve().parent / "bin"):
            if name in known and os.access(folder / ending, os.X_OK):
                return str(folder / ending)
    return program


def star_version() -> str:
    """Return the version of the STAR that is run.

    Raises
    ------
    CarseqError
        If there is none.
    """
    done = subprocess.run([star_binary(), "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().split("\n")[-1]


def star_version_if_any() -> str | None:
    """Return the version of the STAR that is run, or None: a study of matrices needs none."""
    try:
        return star_version()
    except CarseqError:
        return None


def index_format() -> str | None:
    """Return the format of the indexes that STAR reads (its ``versionGenome``), None if it does not say."""
    try:
        program = star_binary()
    except CarseqError:
        return None
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    found = re.search(r"(?m)^versionGenome\s+(\S+)", done.stdout)
    return found.group(1) if found else None


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


def run_star(
    options: dict[str, object],
    *,
    threads: int,
    folder: Path,
    idle: float = IDLE,
    busy: float = BUSY,
) -> None:
    """Run STAR with its output in ``folder``.

    Parameters
    ----------
    options
        STAR's options without dashes; lists become several words.
    threads
        runThreadN.
    folder
        Prefix folder of STAR's outputs, created if missing.
    idle, busy
        When STAR is stopped, see :class:`carseq.reference.watch.Watch`; seconds.

    Raises
    ------
    CarseqError
        If STAR is missing, fails (its own message is the cause), or gets no further.
    """
    log.info("STAR %s", star_version())
    folder = Path(os.path.abspath(folder))
    folder.mkdir(parents=True, exist_ok=True)
    links: dict[str, str] = {}
    command = [star_binary(), "--runThreadN", str(threads), "--outFileNamePrefix", "./"]
    for name, value in options.items():
        words = value if isinstance(value, (list, tuple)) else [value]
        if name in _PATHS:
            words = [_as_seen_from(folder, str(word), links) for word in words]
        command += [f"--{name}", *map(str, words)]
    for name, target in links.items():
        log.info("%s is %s", name, target)
    ended = run_watched(command, folder, "STAR", idle=idle, busy=busy)
    if ended.code == 0 and not ended.stopped:
        return
    told = star_failure(
        ended.lines, folder / "Log.out", ended.code, stopped=ended.stopped, place=folder
    )
    cause = told.cause
    for name, target in links.items():
        whole = target.replace("\\", "\\\\")
        cause = re.sub(rf"(?<![\w./]){re.escape(name)}(?![\w.])", whole, cause)
    raise CarseqError(told.message, cause, told.remedy)


def _as_seen_from(folder: Path, given: str, links: dict[str, str]) -> str:
    """Return paths, separated by commas, as STAR gets them that runs in a folder; those outside of it are linked there.

    STAR writes its command line into the BAM's header, which goes to others with the reads: it then names neither
    folders nor users, and is the same wherever the study lies. A path may also hold what STAR would read as two.

    Parameters
    ----------
    folder
        Where STAR runs, an absolute path.
    given
        A path, or several with commas between them.
    links
        Link in the folder -> what it leads to; gains new ones.
    """
    paths = [given] if os.path.exists(given) else given.split(",")
    seen = []
    for path in paths:
        whole = os.path.abspath(path)
        if Path(whole).is_relative_to(folder):
            seen.append(os.path.relpath(whole, folder))
        elif os.path.exists(whole):
            name = next((n for n, target in links.items() if target == whole), "")
            if not name:
                name = re.sub(r"[^\w.+-]", "_", os.path.basename(whole)).lstrip(".-") or "given"
                while (folder / name).exists() or (folder / name).is_symlink():
                    name = f"{len(links)}_{name}"
                link_to(Path(whole), folder / name)
                links[name] = whole
            seen.append(name)
        else:
            seen.append(path)
    return ",".join(seen)


def error_lines(text: str) -> list[str]:
    """Return the lines of STAR's output in which it tells of a failure, without those that echo what was asked for.

    Parameters
    ----------
    text
        What STAR printed, or its Log.out.
    """
    found: list[str] = []
    open_for = 0
    for line in text.splitlines():
        if _ECHO.search(line) and not re.search(r"EXITING|FATAL", line):
            open_for = 0
        elif _ERROR.search(line):
            found.append(line.strip())
            open_for = _FOLLOWING
        elif open_for and line.strip():
            found.append(line.strip())
            open_for -= 1
        else:
            open_for = 0
    return found


def star_failure(
    lines: Sequence[str], journal: Path, code: int, *, stopped: str = "", place: Path | None = None
) -> CarseqError:
    """Return what a failed run of STAR has to say as an error with cause and remedy.

    Parameters
    ----------
    lines
        What it printed.
    journal
        Its Log.out, which may be missing.
    code
        Its return code; negative, or 128 more, for a signal.
    stopped
        Why it was stopped; empty if it ended by itself.
    place
        The folder that it wrote to.
    """
    if stopped:
        return CarseqError(
            "STAR was stopped",
            stopped,
            "a damaged index does that: delete reference/ of the results, run again; else look at the disk "
            "(`df`, and whether a network disk answers)",
        )
    printed = error_lines("\n".join(lines))
    logged = error_lines(journal.read_text(errors="replace")) if journal.exists() else []
    told = [*printed, *(line for line in logged if line not in printed)]
    cause = " ".join(" ".join(told or [*lines[-5:]]).split())
    signal = -code if code < 0 else code - 128 if code > 128 else 0
    if signal:
        cause = f"killed by signal {signal}; {cause}".rstrip("; ")
    text = "\n".join(told)
    remedy = next((advice for pattern, advice in _REMEDIES if re.search(pattern, text)), "")
    if place is not None and _is_full(place) and not re.search("genome file|CB whitelist", text):
        cause, remedy = f"the disk is full; {cause}".rstrip("; "), _REMEDIES[0][1]
    elif signal == 9 and not remedy:
        cause = f"{cause} (the system kills what takes more memory than there is)"
        remedy = (
            "give the job more memory (resources: mem_mb), or raise `reference.sa_sparse` to 2 or 3"
        )
    elif signal in (6, 7, 11) and not remedy:
        remedy = "the index may be damaged: delete reference/ of the results, run again; or give the job more memory"
    elif signal == 4 or "Illegal instruction" in text:
        remedy = "this STAR was built for another processor: install one for yours (`make setup`, or conda's `star`)"
    elif signal == 25:
        remedy = "a limit on the size of files was met: run `ulimit -f unlimited` before"
    return CarseqError("STAR failed", cause[:600], remedy or "see STAR's messages in the log")


def _is_full(place: Path) -> bool:
    try:
        return shutil.disk_usage(place).free < _FULL
    except OSError:
        return False
