"""Torture: every job of a finished study is run again under faults, then plainly; results must be as if nothing was.

`python tests/faults/torture.py --to docs/torture.md` simulates a small study, runs it, and tries all faults (about ten
minutes on a core). `--study FOLDER` takes a study that was run with `--skip-script-cleanup`; `--short` tries the
selection that the tests use. Nothing in the study's own folder is changed: each job runs in a tree of links to it.

A fault is *struck* if it had an effect (a limit that the job never met is not), *survived* if the plain rerun made
outputs equal to the undisturbed ones and nothing was left over, and *told* if the job ended with a message that names
the right cause and a remedy, without a traceback. A killed job has nothing to tell; a job that was refused for a
damaged input is not run again here.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import gc
import gzip
import json
import os
import pickle
import re
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
#: Where Snakemake keeps the scripts of jobs (`--skip-script-cleanup`).
SCRIPTS = Path(".snakemake", "scripts")
#: A job that runs longer than this has hung (seconds).
HANG = 400
#: Rules that run STAR: some faults only, for they take seconds.
STAR = {"star_index", "insert_car", "align"}
#: Rules of which the tests kill and limit a job: quick ones that write tables, text, h5ad, pictures.
QUICK = {
    "samples",
    "transcript",
    "construct",
    "run_record",
    "calling",
    "export_multiqc",
    "export_matrix",
}


@dataclass
class Job:
    """A job of the reference study."""

    name: str
    script: Path
    snakemake: Any
    seconds: float = 0.0

    @property
    def outputs(self) -> list[str]:
        return [str(p) for p in self.snakemake.output]


@dataclass
class Outcome:
    """What came of a fault."""

    kind: str
    job: str
    what: str = ""
    struck: bool = True
    #: None where the job was not run again.
    survived: bool | None = True
    told: bool | None = None
    words: list[str] = field(default_factory=list)


# --- the reference ---


def simulate(folder: Path, n_cells: int = 24) -> None:
    """Simulate a small study of two samples of urine."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    carseq = [sys.executable, "-m", "carseq", "simulate", str(folder), "--cells", str(n_cells)]
    subprocess.run(carseq, check=True, env=environment, capture_output=True)
    for sheet in ("samples.tsv", "units.tsv"):
        rows = (folder / sheet).read_text().splitlines(keepends=True)
        (folder / sheet).write_text("".join(r for r in rows if "P01_blood" not in r))
    with (folder / "config.yaml").open("a") as config:
        config.write("cells: {integration: none}\n")


def make_study(folder: Path) -> None:
    """Simulate and run a small study of two samples, keeping the scripts of its jobs."""
    simulate(folder)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = snakemake_command(folder, "--skip-script-cleanup")
    subprocess.run(command, check=True, env=environment, capture_output=True)


def snakemake_command(folder: Path, *words: str) -> list[str]:
    return [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder),
        "--configfile", str(folder / "config.yaml"), "--cores", "2", *words,
    ]  # fmt: skip


def jobs_of(study: Path) -> dict[str, Job]:
    """Return the jobs whose scripts Snakemake has kept, with what it wrote into them for each."""
    found = {}
    scripts = sorted((study / SCRIPTS).glob("*.py"), key=lambda path: path.stat().st_mtime)
    for path in scripts:
        given = next(
            pickle.loads(node.value.args[0].value)
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "snakemake"
        )
        name = "_".join([given.rule, *map(str, given.wildcards)]).replace("/", "_")
        script = ROOT / "workflow" / "scripts" / path.name.split(".", 1)[-1]
        found[name] = Job(name, script, given)
    return found


# --- running a job in a tree of links ---


class Tree:
    """A folder that looks like the study, made of links, in which one job can be run."""

    def __init__(self, study: Path, job: Job, base: Path) -> None:
        self.study, self.job = study, job
        self.base = base
        # The study's name is that of its folder.
        self.folder = base / study.name
        self.folder.mkdir(parents=True)
        # What the study is made of, which its rules name as they are seen from its folder.
        for given in study.iterdir():
            if given.name != "results" and not given.name.startswith("."):
                (self.folder / given.name).symlink_to(given.resolve())
        for place, names, files in os.walk(study / "results"):
            names[:] = [n for n in names if n not in (".snakemake",)]
            target = self.folder / Path(place).relative_to(study)
            target.mkdir(parents=True)
            for name in files:
                (target / name).symlink_to(Path(place, name).resolve())
        self.clear()

    def clear(self) -> None:
        """Remove the outputs, as Snakemake does before a job."""
        for output in self.job.outputs:
            path = self.folder / output
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
        for log in self.job.snakemake.log:
            (self.folder / str(log)).unlink(missing_ok=True)

    def own(self, name: str) -> Path:
        """Make a link a file that can be damaged."""
        path = self.folder / name
        source = path.resolve()
        path.unlink()
        shutil.copy2(source, path)
        return path

    def hidden(self) -> list[str]:
        """Return what is left over: hidden files that are neither checksums nor Snakemake's."""
        found = []
        for place, names, files in os.walk(self.folder):
            names[:] = [n for n in names if n != ".checksums"]
            found += [
                n
                for n in [*names, *files]
                if n.startswith(".")
                and n != ".snakemake_timestamp"
                and not Path(place, n).is_symlink()
            ]
        return found


def run(
    tree: Tree,
    fault: Callable[[], None] | None = None,
    *,
    kill: tuple[float, int] | None = None,
) -> tuple[int, str, float]:
    """Run a tree's job in a child of this process, which has loaded all libraries already.

    Parameters
    ----------
    fault
        Called in the child before the script.
    kill
        After how many seconds which signal is sent.

    Returns
    -------
    code, text, seconds
        Its exit status (negative for a signal), what it showed on the terminal, how long it took.
    """
    begin = time.monotonic()
    sys.stdout.flush()
    # A terminal has no disk that could be full: a pipe stands in for it.
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            os.chdir(tree.folder)
            os.close(reader)
            os.dup2(writer, 1)
            os.dup2(writer, 2)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1)
            if fault is not None:
                fault()
            runpy.run_path(str(tree.job.script), {"snakemake": tree.job.snakemake}, "__main__")
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            import traceback

            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    os.close(writer)
    os.set_blocking(reader, False)
    sent, shown = False, b""
    while True:
        with contextlib.suppress(BlockingIOError):
            shown += os.read(reader, 1 << 16)
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            break
        passed = time.monotonic() - begin
        if kill is not None and not sent and passed > kill[0]:
            os.kill(pid, kill[1])
            sent = True
        if passed > HANG:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(reader)
            return 999, "it hung", passed
        time.sleep(0.01)
    with contextlib.suppress(BlockingIOError):
        shown += os.read(reader, 1 << 20)
    os.close(reader)
    # What a killed job started would go on: STAR.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    text = shown.decode(errors="replace")
    return os.waitstatus_to_exitcode(status), text, time.monotonic() - begin


# --- comparing ---


def _notebook(path: Path) -> str:
    cells = json.loads(path.read_text())["cells"]
    # Pictures of figures are made anew with the same numbers; what is compared is source and text.
    kept = [
        (
            c["source"],
            [o.get("text", o.get("data", {}).get("text/plain", "")) for o in c.get("outputs", ())],
        )
        for c in cells
    ]
    return json.dumps(kept)


def _bam(path: Path) -> list[str]:
    import pysam

    with pysam.AlignmentFile(str(path), "rb", check_sq=False) as bam:
        return [r.to_string() for r in bam.fetch(until_eof=True)]


def _h5(path: Path) -> dict[str, Any]:
    import h5py

    found: dict[str, Any] = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            value = item[()]
            found[name] = (
                value.tobytes()
                if hasattr(value, "tobytes") and item.dtype != object
                else repr(value.tolist() if hasattr(value, "tolist") else value)
            )

    with h5py.File(path) as file:
        file.visititems(keep)
    return found


def same(left: Path, right: Path) -> bool:
    """Return whether two outputs hold the same: byte by byte, else what they mean."""
    if left.is_dir():
        skip = {"Log.out", "genomeParameters.txt", ".snakemake_timestamp"}
        names = {p.name for p in left.iterdir()} - skip
        return names == {p.name for p in right.iterdir()} - skip and all(
            same(left / n, right / n) for n in names
        )
    if left.read_bytes() == right.read_bytes():
        return True
    end = "".join(left.suffixes)
    if end.endswith(".gz"):
        return gzip.decompress(left.read_bytes()) == gzip.decompress(right.read_bytes())
    if end.endswith(".bam"):
        return _bam(left) == _bam(right)
    if end.endswith(".bai"):
        return left.stat().st_size > 0
    if end.endswith(".h5ad"):
        return _h5(left) == _h5(right)
    if end.endswith(".ipynb"):
        return _notebook(left) == _notebook(right)
    if left.name == "run_times.tsv":
        return True
    if left.name == "run_config.yaml":
        # Its paths lead from the study's folder to the same files, wherever the folder lies.
        paths = re.compile(r"(?<=[ \"'])(\.{1,2}/|/)[^\s\"',\]}]+")
        leads = [
            paths.sub(
                lambda found, folder=p.parent.parent: os.path.realpath(folder / found[0]),
                p.read_text(),
            )
            for p in (left, right)
        ]
        return leads[0] == leads[1]
    if left.name == "ro-crate-metadata.json":
        # It holds the checksums of files, which may differ in their bytes though not in what they mean, and the time.
        names = [
            sorted(e["@id"] for e in json.loads(p.read_text())["@graph"]) for p in (left, right)
        ]
        return names[0] == names[1]
    if left.suffix == ".html":
        dates = re.compile(
            r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?|\d+(\.\d+)? (s|min|minutes|MB|GB)\b"
        )
        return dates.sub("", left.read_text()) == dates.sub("", right.read_text())
    return False


def check(tree: Tree, outcome: Outcome, *, rerun: bool = True, compare: bool = True) -> None:
    """Look for halves and leftovers, run the job plainly if asked, and compare its outputs."""
    for output in tree.job.outputs:
        path = tree.folder / output
        # Whatever a failed job leaves must be whole. Snakemake removes it, but a power cut may hinder that.
        if path.is_file() and not same(tree.study / output, path):
            outcome.survived = False
            outcome.words.append(f"half an output: {output}")
    if rerun:
        tree.clear()
        code, text, _ = run(tree)
        if code:
            outcome.survived = False
            outcome.words.append(f"the rerun failed: {text[-600:]}")
            return
    if rerun or compare:
        for output in tree.job.outputs:
            made = tree.folder / output
            if not made.exists() or not same(tree.study / output, made):
                outcome.survived = False
                outcome.words.append(f"differs: {output}")
    elif outcome.survived:
        outcome.survived = None
    if left := tree.hidden():
        outcome.survived = False
        outcome.words.append(f"left over: {', '.join(left)}")


def judge(outcome: Outcome, code: int, text: str, cause: str) -> None:
    """Judge what a job showed: a message with cause and remedy and no traceback."""
    outcome.told = (
        code not in (0, 999)
        and "what to do:" in text
        and "Traceback" not in text
        and re.search(cause, text) is not None
    )
    if not outcome.told:
        outcome.words.append(f"exit {code}, told: {text[-700:]!r}")


# --- the faults ---


def die_at_replace(n: int) -> Callable[[], None]:
    """Kill the process when it is about to put its n-th finished file into place."""

    def fault() -> None:
        whole, seen = Path.replace, [0]

        def replace(self: Path, target: Any) -> Path:
            if ".checksums" not in str(target):
                seen[0] += 1
                if seen[0] == n:
                    os.kill(os.getpid(), signal.SIGKILL)
            return whole(self, target)

        Path.replace = replace  # type: ignore[method-assign]

    return fault


def limit_size(n_bytes: int) -> Callable[[], None]:
    def fault() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    return fault


def limit_memory(n_bytes: int) -> Callable[[], None]:
    def fault() -> None:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + n_bytes, now + n_bytes))

    return fault


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut in half": lambda b: b[: len(b) // 2],
    "cut at its end": lambda b: b[:-1],
    "emptied": lambda b: b"",
    "changed inside": lambda b: (
        b[: len(b) // 3] + bytes([b[len(b) // 3] ^ 1]) + b[len(b) // 3 + 1 :]
    ),
}


def made_inputs(study: Path, job: Job) -> Iterator[str]:
    """Yield the files that a job reads and another has made; of a STAR index, its three large ones."""
    for given in dict.fromkeys(map(str, job.snakemake.input)):
        path = study / given
        if not given.startswith("results/"):
            continue
        if path.is_dir():
            yield from (f"{given}/{name}" for name in ("SA", "Genome", "SAindex"))
        else:
            yield given


@dataclass
class Torturer:
    """Tries faults and keeps what came of them."""

    study: Path
    scratch: Path
    short: bool
    outcomes: list[Outcome] = field(default_factory=list)
    number: int = 0

    def attempts(self, *, disks: bool) -> list[Callable[[Job], None]]:
        """Return the kinds of faults, the quick ones first."""
        if self.short:
            return [self.damages, self.kill_at_first, self.limit_size]
        first = [self.damages, self.kill_at_first, self.limit_size]
        last = [self.plain, self.kills, self.limit_memory, self.exchanges]
        last += [self.star_memory, *([self.full_scratch] if disks else [])]
        return [*first, *([self.disks] if disks else []), *last]

    def tree(self, job: Job, base: Path | None = None) -> Tree:
        self.number += 1
        return Tree(self.study, job, base or self.scratch / str(self.number))

    def keep(self, outcome: Outcome, tree: Tree | None = None) -> None:
        self.outcomes.append(outcome)
        if tree is not None:
            shutil.rmtree(tree.base, ignore_errors=True)
        bad = outcome.survived is False or outcome.told is False
        print(
            f"{'BAD ' if bad else 'ok  '} {outcome.kind}: {outcome.job} {outcome.what}", flush=True
        )
        for words in outcome.words if bad else ():
            print(f"       {words}", flush=True)

    def plain(self, job: Job) -> None:
        """Run a job undisturbed, in another folder: it must make what it made before, on one core too."""
        if job.snakemake.threads > 1:
            self.one_core(job)
        tree, outcome = self.tree(job), Outcome("run again undisturbed", job.name)
        code, text, job.seconds = run(tree)
        if code:
            outcome.survived = False
            outcome.words.append(text[-900:])
        else:
            check(tree, outcome, rerun=False)
        self.keep(outcome, tree)

    def one_core(self, job: Job) -> None:
        """Run a job on one core that had two: it must make the same."""
        tree, outcome = self.tree(job), Outcome("run again on one core", job.name)
        threads = job.snakemake.threads
        job.snakemake.threads = 1
        code, text, _ = run(tree)
        job.snakemake.threads = threads
        if code:
            outcome.survived = False
            outcome.words.append(text[-900:])
        else:
            check(tree, outcome, rerun=False)
        self.keep(outcome, tree)

    def kill_at_first(self, job: Job) -> None:
        self._kill_at(job, 1)

    def _kill_at(self, job: Job, n: int) -> None:
        tree, outcome = (
            self.tree(job),
            Outcome("killed as it puts a file into place", job.name, f"({n})"),
        )
        code, *_ = run(tree, die_at_replace(n))
        outcome.struck = code == -signal.SIGKILL
        check(tree, outcome)
        self.keep(outcome, tree)

    def kills(self, job: Job) -> None:
        if len(job.outputs) > 1:
            self._kill_at(job, len(job.outputs))
        for share, number, kind in (
            (0.3, signal.SIGKILL, "killed (SIGKILL)"),
            (0.8, signal.SIGKILL, "killed (SIGKILL)"),
            (0.6, signal.SIGTERM, "ended (SIGTERM)"),
        ):
            tree, outcome = (
                self.tree(job),
                Outcome(kind, job.name, f"after {share:.0%} of its time"),
            )
            code, *_ = run(tree, kill=(share * job.seconds, number))
            outcome.struck = code != 0
            check(tree, outcome)
            self.keep(outcome, tree)

    def limit_size(self, job: Job) -> None:
        for size in [400] if self.short else [400, 0, 20_000]:
            tree = self.tree(job)
            outcome = Outcome("files limited in size (EFBIG)", job.name, f"{size} bytes")
            code, text, _ = run(tree, limit_size(size))
            outcome.struck = code != 0
            if code:
                judge(outcome, code, text, r"ulimit -f|larger than")
            check(tree, outcome, rerun=size == 400 and not self.short, compare=code == 0)
            self.keep(outcome, tree)

    def limit_memory(self, job: Job) -> None:
        for more in (0, 1 << 24):
            tree = self.tree(job)
            outcome = Outcome("memory limited (ulimit -v)", job.name, f"{more >> 20} MB more")
            code, text, _ = run(tree, limit_memory(more))
            outcome.struck = code != 0
            if code:
                judge(outcome, code, text, r"memory")
            check(tree, outcome, rerun=False, compare=code == 0)
            self.keep(outcome, tree)

    def star_memory(self, job: Job) -> None:
        """STAR itself gets too little memory, and too few open files."""
        if job.snakemake.rule not in STAR:
            return
        real = shutil.which("STAR")
        for limit, cause in (("-v 300000", r"mem_mb|sa_sparse|memory"), ("-n 12", r"ulimit -n")):
            tree, outcome = (
                self.tree(job),
                Outcome(f"STAR limited (ulimit {limit[:2]})", job.name, limit),
            )
            folder = self.scratch / f"bin{self.number}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "STAR").write_text(f'#!/bin/bash\nulimit {limit}\nexec {real} "$@"\n')
            (folder / "STAR").chmod(0o755)

            def fault(folder: Path = folder) -> None:
                os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"

            code, text, _ = run(tree, fault)
            outcome.struck = code != 0
            if code:
                judge(outcome, code, text, cause)
            check(tree, outcome, compare=code == 0)
            self.keep(outcome, tree)

    def full_scratch(self, job: Job) -> None:
        """TMPDIR is a disk that is full. Most jobs put nothing there. For root alone."""
        place = self.scratch / f"tiny{self.number}"
        place.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(place)], check=True)
        with contextlib.suppress(OSError):
            (place / "full").write_bytes(b"x" * 4096)
        tree, outcome = self.tree(job), Outcome("TMPDIR full", job.name)

        def fault() -> None:
            os.environ["TMPDIR"] = str(place)
            tempfile.tempdir = None

        code, text, _ = run(tree, fault)
        subprocess.run(["umount", "-l", str(place)], check=True)
        outcome.struck = code != 0
        if code:
            judge(outcome, code, text, r"disk is full|TMPDIR|temporary")
        check(tree, outcome, rerun=code != 0, compare=code == 0)
        self.keep(outcome, tree)

    def disks(self, job: Job) -> None:
        """A disk of its own: full, and read-only. For root alone."""
        for kind, options, cause in (
            ("disk full (ENOSPC)", "size=4k", r"disk is full|free disk"),
            ("disk full (ENOSPC)", "size=64k", r"disk is full|free disk"),
            ("disk read-only (EROFS)", "size=64k,ro", r"read-only"),
        ):
            base = self.scratch / f"disk{self.number}"
            tree, outcome = self.tree(job, base), Outcome(kind, job.name, options.split(",")[0])
            places = sorted({(tree.folder / o).parent for o in job.outputs}, key=str)
            # One small disk over each folder that is written; what lay there is linked again below it.
            mounted = []
            for place in places:
                kept = {p.name: p.resolve() for p in place.iterdir() if p.is_symlink()}
                names = [p.name for p in place.iterdir() if p.is_dir()]
                if names:
                    continue
                size = options.split(",")[0]
                subprocess.run(
                    ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(place)], check=True
                )
                mounted.append(place)
                for name, source in kept.items():
                    (place / name).symlink_to(source)
                if "ro" in options.split(","):
                    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
            if not mounted:
                outcome.struck = False
                self.keep(outcome, tree)
                continue
            code, text, _ = run(tree)
            for place in mounted:
                if list(place.glob(".*.part*")):
                    outcome.survived = False
                    outcome.words.append("a temporary file was left")
                subprocess.run(["umount", "-l", str(place)], check=True)
            outcome.struck = code != 0
            if code:
                judge(outcome, code, text, cause)
            # What a disk large enough took is gone with it: nothing can be compared.
            check(tree, outcome, rerun=options.split("=")[1] == "4k", compare=False)
            self.keep(outcome, tree)

    def damages(self, job: Job) -> None:
        for name in list(made_inputs(self.study, job))[: 1 if self.short else 6]:
            for damage, change in DAMAGES.items():
                if self.short and damage in ("cut at its end", "emptied"):
                    continue
                source = self.study / name
                content = source.read_bytes()
                damaged = change(content) if content else b"x"
                tree, outcome = self.tree(job), Outcome(f"an input {damage}", job.name, name)
                path, stat = tree.own(name), source.stat()
                path.write_bytes(damaged)
                os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
                code, text, _ = run(tree)
                outcome.survived = None
                judge(
                    outcome,
                    code,
                    text,
                    re.escape(Path(name).name) + r"[\s\S]*delete[\s\S]*run again",
                )
                self.keep(outcome, tree)

    def exchanges(self, job: Job) -> None:
        """Inputs that vanish as the job begins, and that are another sample's."""
        for name in list(made_inputs(self.study, job))[:6]:
            tree, outcome = self.tree(job), Outcome("an input deleted", job.name, name)
            (tree.folder / name).unlink()
            code, text, _ = run(tree)
            # Snakemake makes a missing input before it starts the job; this is one that vanishes afterwards.
            outcome.survived = None
            judge(outcome, code, text, re.escape(Path(name).name))
            self.keep(outcome, tree)
        exchanged = [n for n in made_inputs(self.study, job) if "/samples/" in n][:6]
        for name in exchanged:
            other = _other_sample(self.study, name)
            if other is None:
                continue
            tree, outcome = (
                self.tree(job),
                Outcome("an input exchanged for another sample's", job.name, name),
            )
            path = tree.own(name)
            shutil.copy2(other, path)
            code, text, _ = run(tree)
            outcome.survived = None
            judge(outcome, code, text, re.escape(Path(name).name) + r"[\s\S]*delete it, run again")
            self.keep(outcome, tree)


def _other_sample(study: Path, name: str) -> Path | None:
    """Return the same file of another sample whose content differs."""
    parts = Path(name).parts
    at = parts.index("samples") + 1
    for sample in sorted((study / Path(*parts[:at])).iterdir()):
        path = study / Path(*parts[:at], sample.name, *parts[at + 1 :])
        if (
            sample.name != parts[at]
            and path.is_file()
            and path.read_bytes() != (study / name).read_bytes()
        ):
            return path
    return None


def torture(
    study: Path,
    scratch: Path,
    *,
    short: bool,
    rules: set[str] | None = None,
    seconds: float = 0,
) -> list[Outcome]:
    """Try the faults on a job of every rule of a study."""
    preload()
    torturer = Torturer(study, scratch, short)
    jobs = jobs_of(study)
    disks = not short and os.geteuid() == 0
    first: dict[str, Job] = {}
    for job in jobs.values():
        rule = job.snakemake.rule
        if rules is not None and rule not in rules:
            continue
        # Of a rule that runs for each sample, or notebook, one job; damaged inputs of all.
        first.setdefault(rule, job)
    # A limited time is shared: each kind of fault sees some rules; what one leaves the next has.
    begin, attempts = _processor(), torturer.attempts(disks=disks)
    for number, attempt in enumerate(attempts, 1):
        end = begin + seconds * number / len(attempts) if seconds else float("inf")
        for rule, job in first.items():
            if _processor() < end and not (
                short and rule not in QUICK and attempt != torturer.damages
            ):
                attempt(job)
    return torturer.outcomes


def _processor() -> float:
    """Return the seconds of the processor that this process and what it started have taken."""
    return sum(os.times()[:4])


def preload() -> None:
    """Load the libraries once, for all children."""
    import anndata
    import h5py
    import matplotlib.pyplot
    import pandas
    import papermill
    import pyarrow.parquet
    import pysam
    import scanpy

    import carseq.calling
    import carseq.cells.stages
    import carseq.construct
    import carseq.localize
    import carseq.molecules
    import carseq.report

    gc.freeze()
    loaded = (
        anndata,
        h5py,
        matplotlib.pyplot,
        pandas,
        papermill,
        pyarrow.parquet,
        pysam,
        scanpy,
        carseq,
    )
    assert all(loaded)


def _row(name: str, outcomes: list[Outcome]) -> str:
    survived, told = Counter(o.survived for o in outcomes), Counter(o.told for o in outcomes)
    struck = sum(o.struck for o in outcomes)
    again, tellable = survived[True] + survived[False], told[True] + told[False]
    return f"| {name} | {len(outcomes)} | {struck} | {survived[True]} of {again} | {told[True]} of {tellable} |"


def table(outcomes: list[Outcome]) -> str:
    """Return the outcomes by kind as a Markdown table."""
    lines = ["| fault | tried | struck | survived | told |", "|---|---:|---:|---:|---:|"]
    for kind in dict.fromkeys(o.kind for o in outcomes):
        lines.append(_row(kind, [o for o in outcomes if o.kind == kind]))
    return "\n".join([*lines, _row("all", outcomes)])


def show(outcomes: list[Outcome], mark: str, page: Path | None) -> None:
    """Print the outcomes by kind, and write them between two marks of a page."""
    made = table(outcomes)
    print(made)
    if page is None:
        return
    head, begin, rest = page.read_text().partition(f"<!-- {mark} -->")
    end = f"<!-- end of {mark} -->"
    page.write_text(f"{head}{begin}\n\n{made}\n\n{end}{rest.partition(end)[2]}")


def _place(words: argparse.Namespace) -> str | None:
    """Return where trees are made: in memory where it has room, since a link on a disk takes up to a millisecond."""
    memory = Path("/dev/shm")
    small = words.short and words.study is not None
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 1e9
    return str(memory) if small and roomy else None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--study",
        type=Path,
        help="a study that was run with --skip-script-cleanup; else one is made",
    )
    parser.add_argument("--jobs-only", action="store_true", help="no faults of whole runs")
    parser.add_argument("--short", action="store_true", help="the selection that the tests use")
    parser.add_argument(
        "--seconds", type=float, default=0, help="of the processor, for the jobs' faults"
    )
    parser.add_argument("--rules", nargs="*", help="these rules alone")
    parser.add_argument("--to", type=Path, help="Markdown page whose table is written anew")
    parser.add_argument("--json", type=Path, help="where every outcome is written")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="carseq_torture_", dir=_place(words)) as scratch:
        study = words.study
        if study is None:
            study = Path(scratch) / "study"
            make_study(study)
        rules = set(words.rules) if words.rules else None
        trees = Path(scratch) / "trees"
        outcomes = torture(
            study.resolve(), trees, short=words.short, rules=rules, seconds=words.seconds
        )
        whole: list[Outcome] = []
        if not words.short and not words.rules and not words.jobs_only:
            from whole_runs import try_runs

            print("whole runs:", flush=True)
            keep = Torturer(study, trees, False, whole).keep
            try_runs(study.resolve(), Path(scratch) / "kept", keep, short=False)
    show(outcomes, "table", words.to)
    if whole:
        show(whole, "runs", words.to)
        outcomes += whole
    if words.json:
        words.json.write_text(json.dumps([o.__dict__ for o in outcomes], indent=1))
    bad = [o for o in outcomes if o.survived is False or o.told is False]
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
