"""Jobs handed to a process that has the libraries: they run there as they would run by themselves, or by themselves.

The scripts here stand where Snakemake writes those of its jobs, and import carseq first, as those do after their
preamble.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from carseq import preload

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux divides processes so")
Run = Callable[..., "subprocess.Popen[str]"]
#: Where a script tells whose process it runs in: its parent is the process that has the libraries.
WHERE = "import carseq, os, json; print(os.getppid(), os.getpid(), flush=True)\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psutil.Process]:
    """A process that this one has started, and that takes jobs."""
    scripts = tmp_path_factory.mktemp("scripts")
    (scripts / "a.py").write_text("import json\nfrom carseq.sequence import kmers\n")
    before = os.environ.pop(preload.ADDRESS, None)
    process = preload.start(scripts)
    assert process is not None
    address = os.environ[preload.ADDRESS]
    for _ in range(600):
        if f"@{address}" in Path("/proc/net/unix").read_text():
            break
        time.sleep(0.1)
    yield psutil.Process(process)
    os.environ.pop(preload.ADDRESS)
    if before is not None:
        os.environ[preload.ADDRESS] = before
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


@pytest.fixture
def run(server: psutil.Process, tmp_path: Path) -> Run:
    """Start a script of this text, where Snakemake keeps those of its jobs."""
    folder = tmp_path / ".snakemake" / "scripts"
    folder.mkdir(parents=True)

    def start(text: str, *words: str, **further: object) -> subprocess.Popen[str]:
        (folder / "tmp1.a.py").write_text(text)
        command = [sys.executable, str(folder / "tmp1.a.py"), *words]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        return subprocess.Popen(command, text=True, cwd=tmp_path, **{**pipes, **further})  # type: ignore[call-overload, no-any-return]

    return start


def ended(pid: int) -> bool:
    """Wait for the end of a process; whoever took it over may not have looked yet."""
    for _ in range(200):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.1)
    return False


def test_a_script_runs_in_a_copy_with_all_that_is_its_own(
    run: Run, server: psutil.Process, tmp_path: Path
) -> None:
    """Arguments, folder, environment, umask, limits, cores, files; what it was given to read and what it prints."""
    told = """
import resource, sys, threadpoolctl, numpy
numpy.ones((2, 2)) @ numpy.ones((2, 2))
os.close(os.open("made", os.O_CREAT | os.O_WRONLY, 0o666))
print(json.dumps({
    "words": sys.argv[1:], "name": __name__, "folder": os.getcwd(),
    "mine": os.environ["MINE"], "gone": "HOME" in os.environ,
    "read": sys.stdin.read(), "mode": oct(os.stat("made").st_mode)[-3:], "cores": len(os.sched_getaffinity(0)),
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0], "nice": os.nice(0),
    "path": sys.path[0], "threads": sorted({pool["num_threads"] for pool in threadpoolctl.threadpool_info()}),
}))
print("to stderr", file=sys.stderr)
"""
    environment = {k: v for k, v in os.environ.items() if k != "HOME"}
    environment |= {"MINE": "yes", "OMP_NUM_THREADS": "2"}

    def of_its_own() -> None:
        os.umask(0o77)
        os.nice(3)
        resource.setrlimit(resource.RLIMIT_NOFILE, (77, 99))
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])

    nice = os.nice(0)
    process = run(WHERE + told, "a b", env=environment, preexec_fn=of_its_own)
    out, err = process.communicate("given")
    assert (process.returncode, err) == (0, "to stderr\n")
    first, second = out.splitlines()
    parent, own = map(int, first.split())
    assert parent == server.pid
    assert own != process.pid
    assert json.loads(second) == {
        "words": ["a b"], "name": "__main__", "folder": str(tmp_path), "mine": "yes", "gone": False, "read": "given",
        "mode": "600", "cores": 1, "files": 77, "nice": nice + 3,
        "path": str(tmp_path / ".snakemake/scripts"), "threads": [2],
    }  # fmt: skip


def test_a_script_is_handed_over_before_it_imports(run: Run, server: psutil.Process) -> None:
    """What Snakemake writes before each script imports for a quarter of a second, and comes before carseq's name."""
    process = run("import os; print(os.getppid())\nimport carseq\n")
    assert int(process.communicate()[0]) == server.pid


def test_what_else_python_reads_at_its_start_is_read(run: Run, tmp_path: Path) -> None:
    """A sitecustomize of the user's own (a proxy, coverage) stands behind the one that hands over."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "sitecustomize.py").write_text("import sys; sys.of_the_user = __name__\n")
    before = os.environ["PYTHONPATH"]
    environment = {**os.environ, "PYTHONPATH": f"{before}{os.pathsep}{own}"}
    # Not handed over: the process that has the libraries has not read it.
    process = run(
        "import os, sys; print(os.getppid(), sys.of_the_user)\nimport carseq\n", env=environment
    )
    out, err = process.communicate()
    assert (out.split(), err) == ([str(os.getpid()), "sitecustomize"], "")


def test_an_environment_without_carseq_tells_nothing_at_its_start(
    server: psutil.Process, tmp_path: Path
) -> None:
    """A script of another environment (conda) does what it does; Python would print an error for each process."""
    script = tmp_path / ".snakemake/scripts/tmp1.a.py"
    script.parent.mkdir(parents=True)
    script.write_text("import os; print(os.getppid())\n")
    command = [Path(sys.base_prefix) / "bin/python3", "-s", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (str(os.getpid()), "")


@pytest.mark.parametrize(
    ("ending", "code"),
    [("raise SystemExit(3)", 3), ("os._exit(4)", 4), ("1 / 0", 1), ("os.kill(os.getpid(), 9)", -9)],
)
def test_its_end_is_the_scripts_end(run: Run, ending: str, code: int) -> None:
    """The code of its end, or the signal that killed it, by which a lack of memory is known; the error as ever."""
    process = run(f"{WHERE}import atexit\natexit.register(print, 'at the end')\n{ending}\n")
    out, err = process.communicate()
    assert process.returncode == code
    assert ("at the end" in out) == (code in (1, 3))
    if code == 1:
        assert err.splitlines()[-1] == "ZeroDivisionError: division by zero"
        assert err.count("File ") == 1
        assert "tmp1.a.py" in err


def test_a_script_that_is_told_to_end_ends_in_order(run: Run) -> None:
    process = run(
        f"{WHERE}import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('told'), sys.exit(143)))\n"
        "print('ready', flush=True)\ntime.sleep(60)\n"
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.readline()
    process.terminate()
    assert process.communicate()[0] == "told\n"
    assert process.returncode == 143


def test_a_script_that_is_killed_leaves_nothing_at_work(run: Run) -> None:
    process = run(f"{WHERE}import time\ntime.sleep(60)\n")
    assert process.stdout is not None
    own = psutil.Process(int(process.stdout.readline().split()[1]))
    process.kill()
    assert ended(own.pid)
    process.communicate()


def test_a_job_that_cannot_hand_over_runs_by_itself(
    run: Run, server: psutil.Process, tmp_path: Path
) -> None:
    """Another setting of Python's own; a process that the run did not start, as a cluster's; no such process."""
    for further in ({"PYTHONHASHSEED": "7"}, {preload.ADDRESS: "nobody"}):
        process = run(WHERE, env={**os.environ, **further})
        parent, own = map(int, process.communicate()[0].split())
        assert (parent, own) == (os.getpid(), process.pid)
    script = tmp_path / ".snakemake/scripts/tmp1.a.py"
    # Its parent has ended when it asks.
    script.write_text(f"import time; time.sleep(1)\n{WHERE}")
    out = tmp_path / "out"
    subprocess.run(["sh", "-c", f"{sys.executable} {script} > {out} 2>&1 &"], check=True)
    for _ in range(100):
        if out.exists() and out.read_text().endswith("\n"):
            break
        time.sleep(0.1)
    assert int(out.read_text().split()[0]) != server.pid
    # Only Snakemake's scripts: another program that imports carseq stays what it is.
    (tmp_path / "mine.py").write_text(WHERE)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "mine.py")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[0]) == os.getpid()


def test_jobs_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    """Whoever kills the process with the libraries, as a lack of memory may, kills its jobs; and they say so."""
    folder = tmp_path / ".snakemake" / "scripts"
    folder.mkdir(parents=True)
    (folder / "tmp1.a.py").write_text(f"{WHERE}import time\ntime.sleep(60)\n")
    outer = f"""
import os, subprocess, sys, time
from carseq import preload
os.environ.pop(preload.ADDRESS, None)
server = preload.start({str(tmp_path)!r})
while "@" + os.environ[preload.ADDRESS] not in open("/proc/net/unix").read():
    time.sleep(0.1)
job = subprocess.Popen([sys.executable, {str(folder / "tmp1.a.py")!r}], stdout=subprocess.PIPE, text=True)
parent, own = map(int, job.stdout.readline().split())
assert parent == server
os.kill(server, 9)
print(own, job.wait(20))
"""
    done = subprocess.run([sys.executable, "-c", outer], capture_output=True, text=True, timeout=60)
    own, code = done.stdout.split()
    assert int(code) == -signal.SIGKILL, done.stderr
    assert ended(int(own))


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """Once the jobs have ended that are at work, as those of a killed Snakemake are."""
    folder = tmp_path / ".snakemake" / "scripts"
    folder.mkdir(parents=True)
    script = folder / "tmp1.a.py"
    script.write_text(f"{WHERE}import time\ntime.sleep(2)\nopen('done', 'w').close()\n")
    outer = f"""
import os, subprocess, sys, time
from carseq import preload
os.environ.pop(preload.ADDRESS, None)
server = preload.start({str(tmp_path)!r})
while "@" + os.environ[preload.ADDRESS] not in open("/proc/net/unix").read():
    time.sleep(0.1)
job = subprocess.Popen([sys.executable, {str(script)!r}], stdout=-1, stderr=-3, text=True)
parent, own = map(int, job.stdout.readline().split())
print(parent, own, flush=True)
os._exit(0)
"""
    done = subprocess.run(
        [sys.executable, "-c", outer], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert all(ended(int(pid)) for pid in done.stdout.split())
    assert (tmp_path / "done").exists()


def test_all_that_scripts_import_is_known() -> None:
    found = dict(preload.modules(ROOT / "workflow/scripts"))
    assert "job" in found["carseq.workflow"]
    assert "call_study" in found["carseq.calling"]
