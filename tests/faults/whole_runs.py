"""Faults of whole runs, tried by `torture.py`: Snakemake is killed, meets another, or clock and disks deceive it.

Each fault begins with the finished study as it was, forces some jobs, and strikes while they run. Then what Snakemake
printed is followed to the letter, and everything is compared with the undisturbed study.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
from torture import Outcome, same, show, snakemake_command

#: What is asked for: reads aligned and CAR molecules found, of one sample.
SAMPLE = "P01_urine_D28"
TARGET = f"results/samples/{SAMPLE}/molecules/molecules.parquet"
#: Rule -> the folders of what it makes, and of what is made from that.
_MADE_FROM = {"molecules": [f"samples/{SAMPLE}/molecules"]}
_MADE_FROM["align"] = [f"samples/{SAMPLE}/solo", *_MADE_FROM["molecules"]]
_MADE_FROM["insert_car"] = ["reference/augmented", *_MADE_FROM["align"]]
_MADE_FROM["star_index"] = ["reference/base", *_MADE_FROM["insert_car"]]
#: Has others see a job's files late.
HOOK = Path(__file__).parent / "hook"
#: A run that takes longer has hung (seconds).
HANG = 600
#: What no two runs have alike.
_SKIP = re.compile(
    r"logs/|benchmarks/|run_times|\.snakemake|\.checksums|Log\.|genomeParameters|report\.html|ro-crate"
)


@dataclass
class Runs:
    """Tries faults of whole runs on a study that can be put back as it was."""

    study: Path
    kept: Path
    keep: Callable[[Outcome], None]

    def restore(self) -> None:
        shutil.rmtree(self.study)
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.kept), str(self.study)], check=True)

    # --- running ---

    def start(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own."""
        environment = {**os.environ, **variables}
        if "CARSEQ_TEST_LATE" in variables:
            environment["PYTHONPATH"] = str(HOOK)
        return subprocess.Popen(
            snakemake_command(self.study, *words),
            cwd=self.study.parent, env=environment, start_new_session=True, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def begin(self, rule: str) -> subprocess.Popen[str]:
        """Start a run that has a rule and what follows from it still to do."""
        for name in _MADE_FROM[rule]:
            shutil.rmtree(self.study / "results" / name)
        return self.start(TARGET)

    def finish(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        try:
            text, _ = process.communicate(timeout=HANG)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return 999, "it hung"
        return process.returncode, text

    def plainly(self, *words: str, **variables: str) -> tuple[int, str]:
        return self.finish(self.start(*words, **variables))

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Return the processes that are at work in the study's folder."""
        found = []
        for process in psutil.process_iter(["name", "cwd", "cmdline"]):
            place = process.info["cwd"] or ""
            inside = Path(place).is_relative_to(self.study) if place else False
            words = " ".join(process.info["cmdline"] or [])
            if inside and (not name or name in words) and process.pid != os.getpid():
                found.append(process)
        return found

    def wait_for(self, name: str, process: subprocess.Popen[str]) -> bool:
        """Wait until a program is at work there; return whether it came to that."""
        end = time.monotonic() + HANG
        while time.monotonic() < end and process.poll() is None:
            if self.processes(name):
                return True
            time.sleep(0.05)
        return False

    def go_on(self, outcome: Outcome) -> None:
        """Run again; of a locked folder, what it prints must go on with one command."""
        code, text = self.plainly(TARGET)
        if "--unlock" in text:
            found = re.search(r"this command goes on where it stopped: (.+)", text)
            if found is None:
                outcome.told = False
                outcome.words.append(text[-900:])
                return
            outcome.told = True
            done = subprocess.run(
                found[1], shell=True, cwd=self.study.parent, text=True, check=False,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=HANG,
            )  # fmt: skip
            code, text = done.returncode, done.stdout
        if code:
            outcome.survived = False
            outcome.words.append(text[-900:])

    def check(self, outcome: Outcome) -> None:
        """Compare everything in the results with the undisturbed study; look for leftovers and who still runs."""
        if outcome.survived is False:
            return
        for source in sorted((self.kept / "results").rglob("*")):
            name = source.relative_to(self.kept / "results").as_posix()
            made = self.study / "results" / name
            if not source.is_file() or _SKIP.search(name):
                continue
            if not made.exists() or not same(source, made):
                outcome.survived = False
                outcome.words.append(f"differs: {name}")
        left = [
            str(p.relative_to(self.study))
            for p in (self.study / "results").rglob(".*")
            if p.name not in (".checksums", ".snakemake_timestamp")
            and ".checksums" not in p.parts
            and not (self.kept / p.relative_to(self.study)).exists()
        ]
        if left:
            outcome.survived = False
            outcome.words.append(f"left over: {', '.join(left)}")
        if running := self.processes():
            outcome.survived = False
            outcome.words.append(f"still at work: {[p.cmdline()[:3] for p in running]}")
            for process in running:
                with contextlib.suppress(psutil.Error):
                    process.kill()

    def tell(self, outcome: Outcome, code: int, text: str, cause: str) -> None:
        outcome.told = code not in (0, 999) and re.search(cause, text) is not None
        if "Traceback (most recent" in text:
            outcome.told = False
        if not outcome.told:
            outcome.words.append(f"exit {code}, told: {text[-900:]!r}")

    # --- the faults ---

    def all(self, *, short: bool = False, wanted: str = "") -> None:
        """Try the faults whose name holds a text."""
        for name, fault in self.faults().items():
            if wanted in name and not (short and name != "killed align"):
                self.restore()
                self.keep(fault())
        self.restore()

    def faults(self) -> dict[str, Callable[[], Outcome]]:
        """Return the faults by name."""

        def killed(rule: str, program: str, number: int) -> Callable[[], Outcome]:
            return lambda: self.killed(rule, program, number, "the whole group")

        return {
            "killed align": killed("align", "STAR", signal.SIGKILL),
            "two at once": self.two_at_once,
            "killed insert_car": killed("insert_car", "STAR", signal.SIGKILL),
            "killed star_index": killed("star_index", "STAR", signal.SIGKILL),
            "killed molecules": killed("molecules", "molecules.py", signal.SIGKILL),
            "terminated align": killed("align", "STAR", signal.SIGTERM),
            "interrupted align": killed("align", "STAR", signal.SIGINT),
            "carseq run terminated": lambda: self.ended(signal.SIGTERM),
            "carseq run interrupted": lambda: self.ended(signal.SIGINT),
            "carseq run hung up": lambda: self.ended(signal.SIGHUP),
            "orphaned": self.orphaned,
            "killed for memory": self.killed_for_memory,
            "power cut": self.power_cut,
            "notes emptied": self.notes_emptied,
            "full scratch": self.full_scratch,
            "late files 2": lambda: self.late_files(2),
            "late files 12": lambda: self.late_files(12),
            "inputs of tomorrow": self.inputs_of_tomorrow,
            "results of tomorrow": self.results_of_tomorrow,
            "intermediates deleted": self.intermediates_deleted,
            "results deleted": self.intermediates_deleted_with_their_results,
        }

    def killed(self, rule: str, program: str, number: int, whom: str) -> Outcome:
        """Snakemake and all it started are killed while a program runs."""
        name = signal.Signals(number).name
        outcome = Outcome(f"Snakemake killed with its jobs ({name})", rule, whom)
        process = self.begin(rule)
        outcome.struck = self.wait_for(program, process)
        time.sleep(0.5)
        os.killpg(process.pid, number)
        if number != signal.SIGKILL:
            code, text = self.finish(process)
            if code in (0, 999):
                outcome.words.append(f"exit {code}: {text[-300:]}")
                outcome.survived = False
        process.wait(HANG)
        self.go_on(outcome)
        self.check(outcome)
        return outcome

    def ended(self, number: int) -> Outcome:
        """`carseq run` alone gets a signal while STAR runs: it ends its jobs, and the same command goes on."""
        outcome = Outcome(f"carseq run ended ({signal.Signals(number).name})", "align", "alone")
        for name in _MADE_FROM["align"]:
            shutil.rmtree(self.study / "results" / name)
        words = [
            sys.executable,
            "-m",
            "carseq",
            "run",
            str(self.study / "config.yaml"),
            "--no-check",
        ]
        words += ["--cores", "2", TARGET]

        def start() -> subprocess.Popen[str]:
            return subprocess.Popen(
                words, cwd=self.study.parent, start_new_session=True, text=True,
                errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip

        process = start()
        outcome.struck = self.wait_for("STAR", process)
        process.send_signal(number)
        code, text = self.finish(process)
        outcome.told = code == 128 + number and "the same command goes on" in text
        if not outcome.told:
            outcome.words.append(f"exit {code}: {text[-600:]}")
        if running := self.processes():
            outcome.survived = False
            outcome.words.append(f"still at work: {[p.cmdline()[:3] for p in running]}")
        code, text = self.finish(start())
        if code:
            outcome.survived = False
            outcome.words.append(text[-900:])
        self.check(outcome)
        return outcome

    def orphaned(self) -> Outcome:
        """Snakemake alone is killed: its job goes on. Whoever comes must wait for it."""
        outcome = Outcome("Snakemake killed, its job goes on", "align")
        process = self.begin("align")
        outcome.struck = self.wait_for("STAR", process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(HANG)
        code, text = self.plainly(TARGET)
        self.tell(outcome, code, text, r"is at work in .* \(process(es)? \d+")
        end = time.monotonic() + HANG
        while self.processes() and time.monotonic() < end:
            time.sleep(0.2)
        told = outcome.told
        self.go_on(outcome)
        outcome.told = told and outcome.told
        self.check(outcome)
        return outcome

    def two_at_once(self) -> Outcome:
        """A second run in the same folder is told of the first, which ends as if alone."""
        outcome = Outcome("two runs at once", "align")
        first = self.begin("align")
        outcome.struck = self.wait_for("STAR", first)
        code, text = self.plainly(TARGET)
        self.tell(outcome, code, text, rf"is at work in .* \(process {first.pid}\b")
        code, text = self.finish(first)
        if code:
            outcome.survived = False
            outcome.words.append(text[-600:])
        self.check(outcome)
        return outcome

    def killed_for_memory(self) -> Outcome:
        """The system kills a job that takes too much memory, as it does it: SIGKILL to the process alone."""
        outcome = Outcome("a job killed for memory", "molecules")
        process = self.begin("molecules")
        outcome.struck = self.wait_for("molecules.py", process)
        for victim in self.processes("molecules.py"):
            if "bash" not in victim.name():
                victim.kill()
        code, text = self.finish(process)
        self.tell(outcome, code, text, r"molecules[\s\S]*memory[\s\S]*molecules:mem_mb")
        self.go_on(outcome)
        self.check(outcome)
        return outcome

    def power_cut(self) -> Outcome:
        """The machine stops; of a file that was being written the disk has the name and no content."""
        outcome = Outcome("power cut", "align")
        process = self.begin("align")
        outcome.struck = self.wait_for("STAR", process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(HANG)
        solo = self.study / "results/samples" / SAMPLE / "solo"
        for name in ("aligned.bam", "raw.h5ad"):
            (solo / name).write_bytes(b"")
        self.go_on(outcome)
        self.check(outcome)
        return outcome

    def notes_emptied(self) -> Outcome:
        """After a power cut Snakemake's notes have names and no content; what they said is not known any more."""
        outcome = Outcome("Snakemake's notes emptied", "all", "and a setting changed")
        for note in (self.study / ".snakemake/metadata").rglob("*"):
            if note.is_file():
                note.write_bytes(b"")
        config = self.study / "config.yaml"
        config.write_text(config.read_text() + "calling: {fdr: 0.2}\n")
        code, text = self.plainly("-n", "results/cohort/detection.tsv")
        # It is told, or what depends on it is made anew; never are old results taken for new ones.
        anew = code == 0 and re.search(r"^calling +1", text, re.M) is not None
        outcome.told = anew or ("was made with another configuration" in text)
        if not outcome.told:
            outcome.words.append(text[-600:])
        outcome.survived = None
        return outcome

    def full_scratch(self) -> Outcome:
        """TMPDIR lies on a disk that is full."""
        outcome = Outcome("TMPDIR full", "all", "from samples' reads to molecules")
        if os.geteuid():
            outcome.struck = False
            return outcome
        place = self.study.parent / "tiny"
        place.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(place)], check=True)
        try:
            with contextlib.suppress(OSError):
                (place / "full").write_bytes(b"x" * 4096)
            code, text = self.plainly(
                "--forcerun", "align", "notebook", "--",
                TARGET, "results/notebooks/01_quality.ipynb", TMPDIR=str(place),
            )  # fmt: skip
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True)
        if code:
            self.tell(outcome, code, text, r"disk is full|No usable temporary directory|TMPDIR")
            self.go_on(outcome)
        self.check(outcome)
        return outcome

    def late_files(self, seconds: int) -> Outcome:
        """A network disk shows a job's files late. Snakemake waits five seconds, then says how it waits longer."""
        outcome = Outcome("files seen late", "molecules", f"after {seconds} s")
        code, text = self.plainly(
            "--forcerun", "molecules", "--", TARGET, CARSEQ_TEST_LATE=str(seconds)
        )
        if code:
            self.tell(outcome, code, text, "--latency-wait")
            time.sleep(seconds)
            self.go_on(outcome)
        self.check(outcome)
        return outcome

    def inputs_of_tomorrow(self) -> Outcome:
        """The clock of whoever copied the reads was ahead: Snakemake would take the results for older than them."""
        outcome = Outcome("clock skew", "reads dated tomorrow")
        tomorrow = time.time() + 86_400
        for path in (self.study / "fastq").glob(f"{SAMPLE}*"):
            os.utime(path, (tomorrow, tomorrow))
        _, text = self.plainly(TARGET)
        outcome.told = "in the future" in text and "touch" in text
        # What it says is followed.
        for path in re.findall(r"touch (.+)", text):
            subprocess.run(f"touch {path}", shell=True, cwd=self.study.parent, check=True)
        self.go_on(outcome)
        code, text = self.plainly(TARGET)
        if code or "Nothing to be done" not in text:
            outcome.survived = False
            outcome.words.append(f"it is made again and again: {text[-500:]}")
        self.check(outcome)
        return outcome

    def results_of_tomorrow(self) -> Outcome:
        """The clock was ahead in the run, and was set right: a changed setting must count though results look newer."""
        outcome = Outcome("clock skew", "results dated tomorrow", "and a setting changed")
        tomorrow = time.time() + 86_400
        for path in (self.study / "results").rglob("*"):
            os.utime(path, (tomorrow, tomorrow))
        config = self.study / "config.yaml"
        text = config.read_text()
        config.write_text(text + "calling: {fdr: 0.2}\n")
        code, said = self.plainly("-n", "results/cohort/detection.tsv")
        if code or not re.search(r"^calling +1", said, re.M):
            outcome.survived = False
            outcome.words.append(f"an old result is kept: {said[-500:]}")
        config.write_text(text)
        self.check(outcome)
        return outcome

    def intermediates_deleted(self) -> Outcome:
        """What nobody needs any more is deleted by hand: the results stay, and nothing is made anew."""
        outcome = Outcome("intermediates deleted", "of one sample", "results kept")
        names = ["solo/raw.h5ad", "solo/aligned.bam", "molecules/molecules.parquet"]
        for name in names:
            (self.study / "results/samples" / SAMPLE / name).unlink()
        code, text = self.plainly("results/cohort/detection.tsv", "results/report/report.html")
        if code or "Nothing to be done" not in text:
            outcome.words.append(text[-400:])
            outcome.survived = code == 0
        for name in names:
            part = f"results/samples/{SAMPLE}/{name}"
            shutil.copy2(self.kept / part, self.study / part)
        self.check(outcome)
        return outcome

    def intermediates_deleted_with_their_results(self) -> Outcome:
        """Results and the intermediates below them are deleted: all of them come back the same."""
        outcome = Outcome("intermediates deleted", "of one sample", "with a result")
        sample = self.study / "results/samples" / SAMPLE
        for path in (sample / "solo", sample / "molecules"):
            shutil.rmtree(path)
        self.go_on(outcome)
        self.check(outcome)
        return outcome


def try_runs(
    study: Path,
    kept: Path,
    keep: Callable[[Outcome], None],
    *,
    short: bool = False,
    wanted: str = "",
) -> None:
    """Try the faults of whole runs on a finished study, which is put back as it was."""
    if not kept.exists():
        subprocess.run(["cp", "-a", "--reflink=auto", str(study), str(kept)], check=True)
    Runs(study, kept, keep).all(short=short, wanted=wanted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="a study that was run with the hook beside this")
    parser.add_argument("copy", type=Path, help="folder for a copy of it, or one made before")
    parser.add_argument("--only", default="", help="faults whose name holds this")
    parser.add_argument("--json", type=Path, help="outcomes of this and earlier calls")
    parser.add_argument("--to", type=Path, help="page whose table of whole runs is written anew")
    words = parser.parse_args()
    found: dict[str, Outcome] = {}
    if words.json and words.json.exists():
        known = [Outcome(**fields) for fields in json.loads(words.json.read_text())]
        found = {f"{o.kind} {o.job} {o.what}": o for o in known}

    def keep(outcome: Outcome) -> None:
        print(outcome, flush=True)
        found[f"{outcome.kind} {outcome.job} {outcome.what}"] = outcome
        if words.json:
            words.json.write_text(json.dumps([o.__dict__ for o in found.values()], indent=1))

    try_runs(words.study.resolve(), words.copy.resolve(), keep, wanted=words.only)
    show(list(found.values()), "runs", words.to)


if __name__ == "__main__":
    main()
