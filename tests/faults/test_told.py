"""Failures of the machine and damaged files of carseq's own are told with file, cause and remedy."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq.errors import CarseqError
from carseq.io.atomic import atomic, link_to
from carseq.io.checksums import check_sizes, check_whole, forget, remember
from carseq.io.failures import check_scratch, machine_failure
from carseq.io.fasta import read_sequences, write_sequences
from carseq.io.files import read_json, read_table, write_table, write_text
from carseq.io.h5ad import read_cells, read_h5ad, write_h5ad
from carseq.reference.index import index_parameters
from carseq.reference.star import error_lines, run_star, star_failure
from carseq.reference.watch import Watch, run_watched
from carseq.workflow import more_memory

ECHO = """STAR version=2.7.10b
##### Final user re-defined parameters-----------------:
limitGenomeGenerateRAM            1440000000     ~RE-DEFINED
soloCBwhitelist               w.txt        ~RE-DEFINED
limitBAMsortRAM   4000000000
##### Final effective command line:
/usr/bin/STAR   --runThreadN 1   --limitGenomeGenerateRAM 1440000000   --soloCBwhitelist w.txt --sjdbOverhang 99
Nov 25 15:31:00 ..... started STAR run
"""


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        (
            "EXITING because of FATAL ERROR: failed writing to file SA_0\nSOLUTION: check that you have enough space "
            "on the disk\nEmpty space on disk = 0 bytes",
            "free disk space",
        ),
        ("EXITING because of FATAL ERROR: failed reading from genome file: SA", "the STAR index is damaged"),
        ("EXITING because of FATAL ERROR: could not open genome file: x/SAindex", "the STAR index is damaged"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc", "sa_sparse"),
        ("EXITING because of FATAL PARAMETER ERROR: limitGenomeGenerateRAM=1 is too small", "more memory"),
        ("EXITING because of fatal ERROR: not enough memory for BAM sorting: ", "mem_mb"),
        (
            "EXITING because of FATAL ERROR in reads input: quality string length is not equal to sequence length\n@r",
            "a FASTQ file is damaged",
        ),
        (
            "EXITING because of FATAL ERROR: read files are not consistent, reached the end of the one before the "
            "other one",
            "different numbers of reads",
        ),
        ("EXITING because of FATAL ERROR: CB whitelist file w.txt is empty", "check the whitelist"),
        (
            "EXITING because of FATAL ERROR in reads input: quality string length is not equal to sequence length\n@r\n"
            + "ACGTN" * 130 + "\nFFFF\nSOLUTION: fix your fastq file",
            "reads of up to 650 bases",
        ),
        (
            "EXITING because of FATAL ERROR in input CB whitelist file: w.txt the total length of barcode sequence is "
            "18 not equal to expected 0",
            "check the whitelist",
        ),
        (
            "Transcriptome.cpp:58:Transcriptome: exiting because of *INPUT FILE* error: could not open input file "
            "augmented//exonInfo.tab\nSolution: check that the file exists and you have read permission",
            "the STAR index is damaged",
        ),
        ("gzip: r.fastq.gz: unexpected end of file", "a FASTQ file is cut off"),
        ("EXITING because of FATAL ERROR: Genome version: 1 is INCOMPATIBLE with running STAR", "another STAR"),
        (
            "BAMoutput.cpp:27:BAMoutput: exiting because of *OUTPUT FILE* error: could not create output file "
            "./_STARtmp//BAMsort/19/48\nSOLUTION: check that the path exists and you have write "
            "permission for this file. "
            "Also check ulimit -n and increase it to allow more open files.",
            "ulimit -n 4096",
        ),
        ("Fatal INPUT FILE error, no valid exon lines in the GTF file: genes.gtf", "reference.gtf"),
        ("EXITING because of INPUT ERROR: could not open genomeFastaFile: genome.fa", "reference.fasta"),
        (
            "EXITING because of fatal INPUT ERROR: could not open read file: 1_R2.fastq\nSOLUTION: "
            "check that this file "
            "exists and has read permision",
            "check its path and permissions",
        ),
        (
            "EXITING because of fatal ERROR: could not create FIFO file "
            "./_STARtmp/tmp.fifo.read1\nSOLUTION: check the if "
            "run directory supports FIFO files.",
            "hold no pipes",
        ),
        ('EXITING because of FATAL PARAMETER ERROR: unrecoginzed parameter name "soloX" in input', "2.7.10 or newer"),
        (
            "EXITING because of FATAL ERROR in input read file: the total length of barcode sequence "
            "is 26 not equal to "
            "expected 28",
            "`chemistry`",
        ),
        (
            "EXITING because of FATAL ERROR: number of bytes expected from the BAM bin does not "
            "agree with the actual size "
            "on disk: Expected bin size=1 ; size on disk=0",
            "disk of `results` is full",
        ),
        (
            "EXITING: fatal error trying to allocate genome arrays, exception thrown: "
            "std::bad_alloc\nPossible cause 1: "
            "not enough RAM. Check if you have enough RAM 31000000000 bytes",
            "more memory",
        ),
        (
            "EXITING because of fatal error: buffer size for SJ output is too small\nSOLUTION: "
            "increase input parameter "
            "--limitOutSJcollapsed",
            "report this message",
        ),
        (
            "EXITING because of fatal PARAMETERS error: present --sjdbOverhang=99 is not equal to "
            "the value at the genome "
            "generation step =50",
            "one sjdbOverhang",
        ),
        (
            "EXITING because of FATAL ERROR: could not open genome file "
            "genome/genomeParameters.txt\nSOLUTION: check that "
            "the path to genome files, specified in --genomeDir is correct and the files are present",
            "the STAR index is damaged",
        ),
    ],
)  # fmt: skip
def test_star_is_told_by_its_error_lines_not_by_its_options(tmp_path, message, remedy):
    """The options' names (memory, whitelist) are in every log; what failed is in the error's own lines."""
    journal = tmp_path / "Log.out"
    journal.write_text(f"{ECHO}\n{message}\n")
    assert error_lines(ECHO) == []
    told = star_failure([*ECHO.splitlines(), *message.splitlines()], journal, 102)
    assert remedy in told.remedy
    assert message.split("\n")[0][:60] in told.cause
    assert "RE-DEFINED" not in told.cause


def test_a_hanging_star_is_stopped_with_its_children(tmp_path, monkeypatch):
    """Debian's STAR is a script that starts the program: both are ended, here within a second."""
    fake = tmp_path / "STAR"
    fake.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo 2.7; exit 0; }\nsleep 61\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(CarseqError, match="STAR was stopped") as caught:
        run_star({"genomeDir": "x"}, threads=1, folder=tmp_path / "out", idle=0.3)
    assert "wrote nothing" in caught.value.cause


def test_a_program_is_called_without_its_folder(tmp_path):
    """STAR writes the name that it is called by into its BAM: of one in the home, the home's."""
    ended = run_watched(["/bin/sh", "-c", "echo $0"], tmp_path, "sh")
    assert (ended.code, ended.lines) == (0, ["sh"])


def test_a_program_takes_its_memory_in_large_pages_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    shown = ["/bin/sh", "-c", "echo $GLIBC_TUNABLES"]
    assert run_watched(shown, tmp_path, "sh").lines == ["glibc.malloc.hugetlb=1"]
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.check=0")
    assert run_watched(shown, tmp_path, "sh").lines == ["glibc.malloc.check=0"]


def test_a_program_that_computes_is_stopped_only_if_it_writes_nothing(tmp_path):
    code = "import time\nend = time.time() + 30\nwhile time.time() < end: pass"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        watch = Watch(process.pid, tmp_path, idle=0.2, busy=1.0)
        process.wait(20)
        watch.stop()
    assert "at work" in watch.verdict
    writing = f"import time\nfor i in range(8):\n open({str(tmp_path / 'f')!r}, 'a').write('x')\n time.sleep(.1)"
    with subprocess.Popen([sys.executable, "-c", writing]) as process:
        watch = Watch(process.pid, tmp_path, idle=0.6, busy=0.6)
        process.wait(20)
        watch.stop()
    assert watch.verdict == ""
    assert process.returncode == 0


def test_a_cut_index_is_refused_before_star_starts(tmp_path):
    """A cut SA makes STAR run on for ever; sizes as STAR writes them (a real index of 6 Mb)."""
    parameters = "### GstrandBit 32\ngenomeSAindexNbases\t2\ngenomeFileSizes\t60 70\n"
    # 20 prefixes of one or two bases, 35 bits each, and four numbers before them.
    sizes = {"Genome": 60, "SA": 70, "SAindex": 19 * 35 // 8 + 8 + 32}
    for name in ("chrName.txt", "chrLength.txt", "chrStart.txt"):
        (tmp_path / name).write_text("1\n")
    (tmp_path / "genomeParameters.txt").write_text(parameters)
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
    assert index_parameters(tmp_path)["genomeFileSizes"] == "60 70"
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * (size - 1))
        with pytest.raises(CarseqError, match=f"{name} is cut off") as caught:
            index_parameters(tmp_path)
        assert "delete the folder" in caught.value.remedy
        (tmp_path / name).write_bytes(b"x" * size)


def test_a_cut_table_of_an_index_is_told(tmp_path):
    """A copy stopped within geneInfo.tab: STAR named genes twice, or died as if memory were lacking."""
    for name in (
        "genomeParameters.txt", "Genome", "SA", "SAindex", "chrName.txt", "chrLength.txt", "chrStart.txt"
    ):  # fmt: skip
        (tmp_path / name).write_text("")
    tables = ("exonInfo.tab", "transcriptInfo.tab", "geneInfo.tab", "exonGeTrInfo.tab")
    index_parameters(tmp_path)
    for name in tables:
        (tmp_path / name).write_text("2\nG1\tx\nG2\ty\n")
    index_parameters(tmp_path)
    for name in tables:
        for content in ("2\nG1\tx\nG2", "", "2\nG1\tx\n"):
            (tmp_path / name).write_text(content)
            with pytest.raises(CarseqError, match=rf"{name} is cut off or damaged") as caught:
                index_parameters(tmp_path)
            assert "delete the folder" in caught.value.remedy
        (tmp_path / name).write_text("2\nG1\tx\nG2\ty\n")


@pytest.mark.parametrize(
    ("error", "cause", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/d/x"), "the disk is full", "free disk space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/d/x"), "quota", "larger quota"),
        (OSError(errno.EROFS, "Read-only file system", "/d/x"), "read-only", "can be written to"),
        (OSError(errno.EFBIG, "File too large", "/d/x"), "larger than", "ulimit -f"),
        (PermissionError(errno.EACCES, "Permission denied", "/d/x"), "no permission", "permission"),
        (OSError("[Errno 28] Can't write data (file write failed: errno = 28)"), "the disk is full", "free disk"),
        (RuntimeError("Can't decrement id ref count (unable to close file, errno = 28)"), "the disk is full", "free"),
        (MemoryError(), "a limit", "memory"),
        (np.exceptions.AxisError("x"), None, None),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "allocate", "memory"),
        (ValueError("std::bad_alloc"), "bad_alloc", "memory"),
        (ImportError("x.so: failed to map segment from shared object"), "map segment", "memory"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/d/x"), None, None),
    ],
)  # fmt: skip
def test_failures_of_the_machine_are_told_apart(error, cause, remedy):
    told = machine_failure(error, place="/results")
    if cause is None:
        assert told is None
        return
    assert told is not None
    assert cause in told.cause
    assert remedy in told.remedy
    if getattr(error, "filename", None):
        assert "/d/x" in told.message


@pytest.mark.parametrize("named", [False, True], ids=["no name", "name of the temporary file"])
def test_a_full_disk_is_told_with_the_file_that_was_to_be(tmp_path, named):
    """`carseq share` on a full stick said "a file could not be written", of a write that names none."""
    with pytest.raises(OSError) as caught, atomic(tmp_path / "study.zip") as temporary:
        raise OSError(errno.ENOSPC, "No space left on device", *([str(temporary)] if named else []))
    told = machine_failure(caught.value)
    assert told is not None
    assert told.message.endswith("study.zip")
    assert "GB are free there" in told.cause


def test_what_fails_to_be_read_is_not_called_what_was_to_be_written(tmp_path):
    """A network disk lost an input: the output that was to be made of it was named as what could not be read."""
    with pytest.raises(OSError) as caught, atomic(tmp_path / "cells.h5ad"):
        raise OSError(errno.ESTALE, "Stale file handle")
    assert "cells.h5ad" not in str(machine_failure(caught.value))


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_permissions_and_links_is_written_to(tmp_path, monkeypatch, number):
    """No run on a disk of exFAT or a network disk without modes: "Operation not permitted", for a chmod."""

    def refuses(*given, **named):
        raise OSError(number, os.strerror(number))

    for name in ("chmod", "symlink"):
        monkeypatch.setattr(os, name, refuses)
    write_text("text", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "text"
    with pytest.raises(CarseqError, match="its disk has no symbolic links"):
        link_to(tmp_path / "a.txt", tmp_path / "b.txt")


def test_a_disk_that_gives_no_locks_is_read(tmp_path):
    """On a cluster's disk without locks sound files were "cut off or damaged: delete it, run again"."""
    ad.AnnData(np.ones((2, 2), np.float32)).write_h5ad(tmp_path / "cells.h5ad")
    # HDF5's own lock fails as it does there.
    code = (
        "import fcntl, sys\nheld = open(sys.argv[1])\nfcntl.flock(held, fcntl.LOCK_EX)\n"
        "from carseq.io.h5ad import read_given\nprint(read_given(sys.argv[1]).shape)\n"
    )
    plain = {k: v for k, v in os.environ.items() if not k.startswith("HDF5")}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "cells.h5ad"],
        env=plain, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "(2, 2)\n", done.stderr
    told = machine_failure(
        OSError(
            "Unable to synchronously open file (unable to lock file, errno = 37, error message = 'No locks')"
        )
    )
    assert told is not None
    assert "HDF5_USE_FILE_LOCKING" in told.remedy


def test_a_forbidden_folder_is_told_with_the_file_that_was_to_be(tmp_path, monkeypatch):
    """The name of a temporary file, `.out.dc9a8a79...part.h5ad`, stood in the message."""
    make = tempfile.mkstemp

    def refused(**named):
        handle, name = make(**named)
        os.close(handle)
        os.unlink(name)
        raise PermissionError(errno.EACCES, "Permission denied", name)

    monkeypatch.setattr(tempfile, "mkstemp", refused)
    with pytest.raises(OSError) as caught, atomic(tmp_path / "out.h5ad"):
        pass
    assert caught.value.filename == str(tmp_path / "out.h5ad")


def test_a_full_disk_is_no_crash_of_annotate(tmp_path):
    """HDF5 tried to write what was left when Python ended: "Segmentation fault" stood behind what to do."""
    counts = sparse.random(300, 500, 0.3, "csr", np.float32, random_state=1)
    given = ad.AnnData(counts)
    given.write_h5ad(tmp_path / "given.h5ad")
    script = (
        "import resource, signal, sys; from carseq.cli import app, main\n"
        "@app.command()\ndef fill():\n"
        "    import anndata; from carseq.io.h5ad import write_h5ad\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "    write_h5ad(anndata.read_h5ad('given.h5ad'), 'out.h5ad')\n"
        "sys.argv[1:] = ['fill']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "cannot read or write out.h5ad" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["given.h5ad"]


def test_a_hidden_cause_is_found():
    """Libraries raise their own error from the system's."""
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device", "/d/x")
        except OSError:
            raise ValueError("cannot write") from None
    except ValueError as error:
        told = machine_failure(error)
    assert told is not None
    assert "the disk is full" in told.cause


def _job(folder: Path, body: str, *, inputs: tuple[str, ...] = (), before: str = ""):
    """Run the body of a script as a job of the rule `calling`, in a process of its own."""
    code = f"""
import sys
from types import SimpleNamespace
from pathlib import Path
from carseq.workflow import job
from carseq.io.atomic import atomic
{"from carseq.io.files import write_table" if "write_table" in body else ""}
{before}
snakemake = SimpleNamespace(threads=1, log=["results/logs/S/calling.log"], rule="calling",
    output=["results/cohort/x.tsv", "results/samples/S/y.tsv"], input={list(inputs)!r},
    resources=SimpleNamespace(mem_mb=4000))
Path("results/logs/S").mkdir(parents=True, exist_ok=True)
with job(snakemake):
    {body}
"""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )


BEGIN = (
    "import os, signal, time; from carseq.io.atomic import atomic; t = atomic(snakemake.output[0])"
)
WRITE = """for path in snakemake.output:
        with atomic(path) as temporary:
            temporary.write_text('a\\n1\\n' * 9)"""


def test_a_job_writes_the_checksums_of_its_outputs_and_checks_its_inputs(tmp_path):
    done = _job(tmp_path, WRITE)
    assert done.returncode == 0, done.stderr
    made = tmp_path / "results/samples/S/y.tsv"
    assert sorted(p.name for p in (tmp_path / "results/.checksums").rglob("*.tsv")) == [
        "x.tsv",
        "y.tsv",
    ]
    text, stat = made.read_text(), made.stat()
    for content, word in (
        ("a\n1\n", "cut off"),
        ("", "empty"),
        (text.replace("1", "2"), "changed"),
    ):
        made.write_text(content)
        os.utime(made, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        done = _job(tmp_path, WRITE, inputs=(str(made),))
        assert done.returncode == 1
        assert f"y.tsv is {word}" in done.stderr
        assert "delete it, run again" in done.stderr
        assert "Traceback" not in done.stderr
    made.unlink()
    done = _job(tmp_path, WRITE, inputs=(str(made),))
    assert done.returncode == 1
    assert f"there is no {made}" in done.stderr
    (tmp_path / "elsewhere.tsv").write_text("a user's file has no checksum\n")
    assert _job(tmp_path, WRITE, inputs=("elsewhere.tsv",)).returncode == 0


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "raise OSError(28, 'No space left on device', 'results/cohort/x.tsv')",
            "the disk is full",
        ),
        ("raise MemoryError", "--set-resources calling:mem_mb=8000"),
    ],
)
def test_a_job_tells_failures_of_the_machine_without_a_traceback(tmp_path, body, words):
    done = _job(tmp_path, body)
    assert done.returncode == 1
    assert words in done.stderr
    assert "what to do:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Traceback" in (tmp_path / "results/logs/S/calling.log").read_text()


@pytest.mark.parametrize("suffix", ["tsv", "tsv.gz", "parquet", "h5ad"])
def test_a_limit_on_file_size_is_told_and_leaves_nothing(tmp_path, suffix):
    """RLIMIT_FSIZE stands in for a full disk: the write itself fails, in every library that writes."""
    write = {
        "h5ad": "import anndata, numpy; from carseq.io.h5ad import write_h5ad; "
        "write_h5ad(anndata.AnnData(numpy.random.default_rng(0).random((400, 400))), 'results/big.h5ad')"
    }.get(
        suffix,
        "import pandas, numpy; write_table(pandas.DataFrame(numpy.random.default_rng(0).random((4000, 9))).rename("
        f"columns=str), 'results/big.{suffix}')",
    )
    limit = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (50000, 50000))"
    )
    done = _job(tmp_path, write, before=limit)
    assert done.returncode == 1, done.stderr
    assert "ulimit -f" in done.stderr
    assert "Traceback" not in done.stderr
    left = [p.name for p in (tmp_path / "results").rglob("*") if p.is_file()]
    assert left == ["calling.log"]
    # HDF5 told the same again for each object of the file as it went, in tracebacks of their own.
    assert "ObjectID" not in (tmp_path / "results/logs/S/calling.log").read_text()


def test_what_a_killed_job_left_is_removed_by_the_next(tmp_path):
    kill = f"{BEGIN}; t.__enter__().write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    done = _job(tmp_path, kill)
    assert done.returncode == -signal.SIGKILL
    folder = tmp_path / "results/cohort"
    assert len(list(folder.iterdir())) == 1
    # Of a killed job on another machine.
    other = next(folder.iterdir())
    host, _, _rest = other.name.split(".")[3].partition("-")
    other.rename(other.with_name(other.name.replace(host, "0" * 8)))
    assert _job(tmp_path, WRITE).returncode == 0
    assert [p.name for p in folder.iterdir()] == ["x.tsv"]


def test_a_writer_beside_another_leaves_its_file_alone(tmp_path):
    """Without the workflow two programs may write the same file: the temporary file of a live one is not removed."""
    with atomic(tmp_path / "x.tsv") as first:
        first.write_text("first")
        write_text("second", tmp_path / "x.tsv")
        assert first.exists()
    assert (tmp_path / "x.tsv").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["x.tsv"]


def test_sigterm_ends_a_job_and_leaves_nothing(tmp_path):
    stop = f"""{BEGIN}
    with t as path:
        path.write_text('half'); os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)"""
    done = _job(tmp_path, stop)
    assert done.returncode == 128 + signal.SIGTERM
    assert list((tmp_path / "results/cohort").iterdir()) == []


def _write_all(folder: Path) -> dict[str, object]:
    """Write one file of every kind; return how each is read."""
    table = pd.DataFrame({"barcode": [f"A{i}" for i in range(400)], "n": range(400)})
    for name in ("t.tsv", "t.tsv.gz", "t.parquet"):
        write_table(table, folder / name)
    write_sequences({"CAR": "ACGT" * 300}, folder / "c.fa")
    write_text(json.dumps({str(i): i for i in range(99)}), folder / "j.json")
    counts = sparse.random(60, 30, 0.4, format="csr", random_state=0, dtype=np.float32)
    adata = ad.AnnData(counts, layers={"counts": counts})
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(60)], [f"g{i}" for i in range(30)]
    write_h5ad(adata, folder / "h.h5ad")
    return {
        "t.tsv": read_table,
        "t.tsv.gz": read_table,
        "t.parquet": read_table,
        "c.fa": read_sequences,
        "j.json": read_json,
        "h.h5ad": lambda p: (read_h5ad(p), read_cells(p, genes=["g1"])),
    }


def test_every_own_file_cut_anywhere_is_refused_by_its_reader(tmp_path):
    """With checksums no cut, no emptying and no exchange is read, whatever the format; all with the same remedy."""
    readers = _write_all(tmp_path)
    remember(tmp_path, [tmp_path / name for name in readers])
    for name, read in readers.items():
        path = tmp_path / name
        content, stat = path.read_bytes(), path.stat()
        read(path)
        damages = [content[: len(content) * k // 8] for k in range(8)]
        damages += [content[:-1], content[:-1] + b"~", content[:100] + b"~" + content[101:]]
        for damage in damages:
            path.write_bytes(damage)
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            with pytest.raises(CarseqError) as caught:
                read(path)
            assert caught.value.remedy == "delete it, run again", name
            assert str(path) in caught.value.message
        path.write_bytes(content)
        read(path)


def test_without_checksums_a_broken_file_is_still_no_traceback(tmp_path):
    """Results of an older version have none: what cannot be understood is told, if not every cut is seen."""
    readers = _write_all(tmp_path)
    for name, read in readers.items():
        path = tmp_path / name
        content = path.read_bytes()
        for k in range(8):
            path.write_bytes(content[: len(content) * k // 8])
            try:
                read(path)
            except CarseqError as error:  # any other error fails the test
                told = error
            else:
                continue
            assert str(path) in told.message
            assert told.remedy


def test_a_cut_file_that_nobody_reads_is_told_when_the_workflow_starts(tmp_path):
    page, notebook = tmp_path / "report/report.html", tmp_path / "notebooks/a.ipynb"
    write_text("<html>" * 99, page)
    write_text(json.dumps({"cells": ["long"] * 9}), notebook)
    remember(tmp_path, [page, notebook])
    check_sizes(tmp_path)
    # An analyst may save a notebook anew.
    notebook.write_text(json.dumps({"cells": [1]}))
    check_sizes(tmp_path)
    check_whole(notebook)
    page.write_text("<html>")
    with pytest.raises(CarseqError, match=r"report\.html is cut off"):
        check_sizes(tmp_path)
    page.unlink()
    check_sizes(tmp_path)
    notebook.write_text('{"cells": [')
    with pytest.raises(CarseqError, match=r"a\.ipynb is cut off"):
        check_sizes(tmp_path)


def test_a_file_written_anew_by_hand_is_no_longer_compared(tmp_path):
    """`carseq report` writes report.html outside the workflow: the old checksum goes."""
    write_text("old", tmp_path / "x.html")
    remember(tmp_path, [tmp_path / "x.html"])
    write_text("newer", tmp_path / "x.html")
    check_whole(tmp_path / "x.html")
    remember(tmp_path, [tmp_path / "x.html"])
    forget(tmp_path, [tmp_path / "x.html"])
    (tmp_path / "x.html").write_text("")
    check_whole(tmp_path / "x.html")


def test_a_missing_file_of_a_folder_is_told(tmp_path):
    index = tmp_path / "reference/base"
    for name in ("SA", "Genome"):
        write_text("x" * 9, index / name)
    remember(tmp_path, [index])
    check_whole(index)
    (index / "SA").unlink()
    with pytest.raises(CarseqError, match="SA is missing"):
        check_whole(index)


def test_large_files_are_compared_by_blocks(tmp_path):
    """A file above 32 MB is not read whole; one cut, or changed at its ends, is still told."""
    path = tmp_path / "big"
    with path.open("wb") as out:
        out.truncate(40_000_000)
    remember(tmp_path, [path])
    check_whole(path)
    with path.open("r+b") as out:
        out.seek(39_999_999)
        out.write(b"x")
    with pytest.raises(CarseqError, match="is changed"):
        check_whole(path)


def test_the_command_line_tells_a_full_disk(tmp_path):
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000)); "
        f"sys.argv = ['carseq', 'simulate', {str(tmp_path / 'd')!r}, '--cells', '8']; "
        "from carseq.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ulimit -f" in done.stderr
    assert "Traceback" not in done.stderr


def test_resources_of_any_kind_make_a_remedy():
    """Snakemake leaves mem_mb out, or puts a text there, where it is not set."""
    for resources in (SimpleNamespace(), SimpleNamespace(mem_mb="<TBD>")):
        assert "RULE:mem_mb=MEGABYTES" in more_memory(SimpleNamespace(resources=resources))


def test_star_is_told_of_no_folder(tmp_path, monkeypatch):
    """What STAR gets goes into BAM headers: links in its own folder stand for files, in messages their paths do."""
    fake = tmp_path / "bin" / "STAR"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo 2.7; exit 0; }\necho "$@" > got.txt\ncat R1_.fastq >> got.txt\n'
        "echo 'EXITING because of FATAL ERROR: failed reading from genome file: index/SA'\nexit 102\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    index, reads, run = tmp_path / "home/index", tmp_path / "home/R1 .fastq", tmp_path / "run"
    index.mkdir(parents=True)
    run.mkdir()
    reads.write_text("@r")
    (run / "own.txt").write_text("x")
    given = {
        "genomeDir": index,
        "readFilesIn": [str(reads), f"{run}/own.txt,{reads}"],
        "soloCBwhitelist": "None",
    }
    with pytest.raises(CarseqError) as caught:
        run_star(given, threads=1, folder=run)
    assert (run / "got.txt").read_text() == (
        "--runThreadN 1 --outFileNamePrefix ./ --genomeDir index --readFilesIn R1_.fastq own.txt,R1_.fastq "
        "--soloCBwhitelist None\n@r"
    )
    assert f"genome file: {index}/SA" in caught.value.cause


def test_temporary_files_that_cannot_be_written_are_told(tmp_path, monkeypatch):
    """Snakemake would end in the traceback of the library that chooses jobs."""
    check_scratch()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    with pytest.raises(CarseqError, match=r"cannot be written to .*gone") as caught:
        check_scratch()
    assert "TMPDIR" in caught.value.remedy
    monkeypatch.setenv("TMPDIR", "/dev/full")
    with pytest.raises(CarseqError, match="cannot be written"):
        check_scratch()


def test_a_watch_that_cannot_begin_holds_nothing_up(tmp_path, monkeypatch):
    """Where memory is short a thread may die before it begins, or not be made at all: `Thread.start` waits for ever."""

    def dies(function, given):
        return 0

    def refuses(function, given):
        raise RuntimeError("can't start new thread")

    for start in (dies, refuses):
        monkeypatch.setattr("carseq.reference.watch._thread.start_new_thread", start)
        begin = time.monotonic()
        watch = Watch(os.getpid(), tmp_path)
        watch.stop()
        assert watch.verdict == ""
        assert time.monotonic() - begin < 5


def test_an_index_that_finds_no_room_is_told(tmp_path, monkeypatch):
    """samtools says that it failed, and not why."""
    import pysam

    from carseq.io.bam import write_bam

    header = pysam.AlignmentHeader.from_dict(
        {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "CAR", "LN": 900}]}
    )

    def fails(*words):
        raise pysam.SamtoolsError("samtools index: failed to create or write index")

    monkeypatch.setattr("carseq.io.bam.pysam.index", fails)
    with pytest.raises(CarseqError, match=r"index .* cannot be written"):
        write_bam([], header, tmp_path / "a.bam")

    class Full:
        def __init__(self, dir):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("carseq.io.failures.tempfile.TemporaryFile", Full)
    with pytest.raises(CarseqError) as told:
        write_bam([], header, tmp_path / "a.bam")
    assert "the disk is full" in told.value.cause
    assert not list(tmp_path.glob(".a*"))


def test_a_job_that_its_compiler_ended_for_want_of_memory_is_told(tmp_path):
    from carseq.run.reasons import Failed, reason

    (tmp_path / "a.log").write_text("2026-11-26 INFO carseq: begun\n")
    job = Failed("car_reads", "reads", ("a.log",), "Command died with <Signals.SIGABRT: 6>.")
    told = reason(job, tmp_path, "LLVM ERROR: Unable to allocate section memory!\nother")
    assert told.message == "memory ran out"
    assert "memory ran out" not in reason(job, tmp_path, "other").message


def test_a_file_where_a_folder_is_to_be_is_told(tmp_path):
    """`carseq simulate FILE`, `carseq construct --out FILE/x`: a traceback."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for place in ("file/a.txt", "file/b/a.txt", "folder"):
        with pytest.raises(OSError) as raised:
            write_text("text", tmp_path / place)
        told = machine_failure(raised.value)
        assert told is not None
        assert str(tmp_path / place.partition("/")[0]) in told.message
        assert "folder" in told.cause
