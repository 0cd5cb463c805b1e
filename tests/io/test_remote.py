"""Inputs given by an address, against servers on loopback: plain HTTP, and S3 as far as reading needs it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from carseq.errors import CarseqError
from carseq.io.remote import ALLOW, ask, check_address, check_host
from carseq.library.geometry import Chemistry
from carseq.library.whitelist import known_whitelist
from carseq.simulate import SampleSpec, simulate_study
from carseq.start.check import check_study
from carseq.study.config import load_config
from carseq.study.load import load_study

ROOT = Path(__file__).parents[2]
LIST = "10x_version2_whitelist.txt.gz"


class Store(SimpleHTTPRequestHandler):
    """Files of a folder; as S3, its sub-folders are buckets, in which a listing finds nothing."""

    def do_HEAD(self) -> None:
        if Path(self.translate_path(self.path)).is_dir():
            self.send_response(200)
            self.end_headers()
        else:
            super().do_HEAD()

    def do_GET(self) -> None:
        if "prefix=" not in self.path:
            super().do_GET()
            return
        body = b'<?xml version="1.0"?><ListBucketResult><KeyCount>0</KeyCount></ListBucketResult>'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _allowed(monkeypatch):
    monkeypatch.setenv(ALLOW, "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A simulated study of a few cells, in the folder that is served."""
    folder = tmp_path_factory.mktemp("served") / "bucket"
    simulate_study(
        folder,
        construct="hbi0101_surrogate_native.gb",
        chemistry="10x_3p_v2",
        samples=[SampleSpec(name="s", cells=8, n_empty=20)],
        n_genes=450,
        lanes=1,
    )
    (folder / LIST).write_bytes(known_whitelist("10x_version2").read_bytes())
    return folder


@pytest.fixture(scope="module")
def server(made: Path) -> Iterator[str]:
    """The address that ``made`` is served at."""
    handler = partial(Store, directory=str(made.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def write_study(folder: Path, made: Path, base: str) -> Path:
    """Write a study whose reads, genome, annotation and whitelist are at ``base``; return its configuration."""
    folder.mkdir()
    for name in ("samples.tsv", "construct.gb"):
        (folder / name).write_bytes((made / name).read_bytes())
    units = (made / "units.tsv").read_text().replace("\tfastq/", f"\t{base}/fastq/")
    (folder / "units.tsv").write_text(units)
    config = yaml.safe_load((made / "config.yaml").read_text())
    config["reference"] = {"fasta": f"{base}/genome.fa", "gtf": f"{base}/genes.gtf"}
    config["chemistry"] = {"whitelist": f"{base}/{LIST}"}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


def run(config: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--configfile", str(config),
        "--directory", str(config.parent), "--cores", "2", *words,
    ]  # fmt: skip
    return subprocess.run(
        command, env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )


def test_reads_genome_and_whitelist_are_fetched_and_removed(tmp_path, made, server):
    """A study given by addresses gets its chemistry, and no copy of what was fetched is left."""
    config = write_study(tmp_path / "study", made, f"{server}/bucket")
    found = dict(check_study(config))
    n_bytes = sum(p.stat().st_size for p in (made / "fastq").iterdir()) + sum(
        (made / name).stat().st_size for name in ("genome.fa", "genes.gtf", LIST)
    )
    assert f"5 files of {n_bytes / 1e9:,.3g} GB are there" in str(found["addresses"])
    done = run(config, "results/samples/s/solo/chemistry.json")
    assert done.returncode == 0, done.stderr[-3000:]
    chemistry = Chemistry.from_json(
        (config.parent / "results/samples/s/solo/chemistry.json").read_text()
    )
    assert chemistry.name == "10x_3p_v2"
    assert Path(chemistry.whitelist).name == LIST
    left = [p for p in (config.parent / ".snakemake/storage").rglob("*") if p.is_file()]
    assert left == []


def test_a_bucket_is_asked_and_read(tmp_path, made, server, monkeypatch):
    """``s3://`` is asked for, and fetched by a job, with what the environment's variables say."""
    pytest.importorskip("snakemake_storage_plugin_s3")
    variables = {
        "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": server,
        "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "key",
        "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "secret",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    size = (made / "genome.fa").stat().st_size
    assert ask("reference.fasta", "s3://bucket/genome.fa") == size
    with pytest.raises(CarseqError, match="is not there"):
        ask("reference.fasta", "s3://bucket/gnome.fa")
    config = write_study(tmp_path / "study", made, "s3://bucket")
    done = run(config, "results/reference/checked.json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Removing local copy of storage file: s3://bucket/genome.fa" in done.stderr


def test_an_address_that_gives_nothing_is_told(tmp_path, made, server):
    """`carseq check` names each address that is missing or out of reach, and the key that gives it."""
    config = write_study(tmp_path / "study", made, f"{server}/bucket")
    units = config.parent / "units.tsv"
    text = (
        units.read_text()
        .replace("R2_001", "R2_gone")
        .replace(f"{server}/", "http://127.0.0.1:9/", 1)
    )
    units.write_text(text)
    found = dict(check_study(config))
    assert "cannot be reached" in str(found["r1 of s/L001"])
    assert "is not there" in str(found["r2 of s/L001"])
    assert "3 files" in str(found["addresses"])


@pytest.mark.parametrize(
    ("key", "url", "message"),
    [
        ("r1 of s/L001", "ftp://x.org/a.fq.gz", "nothing here fetches ftp://"),
        ("reference.fasta", "https://me:secret@x.org/a.fa", "holds credentials"),
        ("reference.fasta", "https://x.org/get?file=a.fa", "holds '\\?'"),
        ("reference.fasta", "https://x.org/", "names no file"),
        ("reference.star_index", "s3://bucket/index", "cannot be an address"),
        ("bam of sample s", "s3://bucket/a.bam", "cannot be an address"),
    ],
)
def test_wrong_addresses_are_refused_with_a_remedy(key, url, message):
    """What cannot be fetched, or would put a secret into the record, is refused before anything is asked."""
    with pytest.raises(CarseqError, match=message) as error:
        check_address(key, url)
    assert error.value.remedy
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("reference.fasta", "ftp://me:secret@x.org/a.fa"),
        ("reference.fasta", "file://me:secret@x/etc/passwd"),
        ("reference.fasta", "https://me:secret@x.org/a.fa?token=secret"),
        ("reference.fasta", "https://me:secret@x.org"),
        ("reference.fasta", "https://me:secret@[::1/a.fa"),
        ("bam of sample s", "https://me:secret@x.org/a.bam"),
        ("reference.fasta", "https://x.org\\@y.org/a.fa"),
        ("reference.fasta", "https://x.org/a\\b.fa"),
    ],
)
def test_no_message_shows_what_an_address_keeps_secret(key, url):
    with pytest.raises(CarseqError) as error:
        check_address(key, url)
    assert "secret" not in str(error.value)


def test_a_server_cannot_send_on_to_this_machine(monkeypatch):
    """One of the open network answers with the address of a cloud's store of credentials: it is not asked."""
    from urllib3.util import connection

    monkeypatch.delenv(ALLOW)
    asked = []

    class Sends(SimpleHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked.append(self.path)
            self.send_response(302)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sends) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        connect = connection.create_connection
        here = ("127.0.0.1", running.server_port)
        monkeypatch.setattr(
            connection, "create_connection", lambda _, *more, **named: connect(here, *more, **named)
        )
        with pytest.raises(CarseqError, match="leads to this machine") as error:
            ask("reference.fasta", "http://93.184.216.34/genome.fa")
        running.shutdown()
    assert "169.254.169.254/latest" in error.value.cause
    assert set(asked) == {"/genome.fa"}


def test_a_missing_plugin_is_named(tmp_path, made, monkeypatch):
    """Without the storage plugin, loading the study says which package brings it."""
    config = write_study(tmp_path / "study", made, "https://x.org/bucket")
    monkeypatch.setattr("carseq.io.remote.importlib.util.find_spec", lambda name: None)
    with pytest.raises(CarseqError, match=r"pip install .* snakemake-storage-plugin-http"):
        load_study(load_config(config))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "0", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost",
        "LOCALHOST.", "a.localhost", "169.254.169.254", "[fe80::1%25eth0]", "0.0.0.0", "metadata.google.internal",
        "[fd00:ec2::254]", "127.0.0.1:8080", "224.0.0.1", "[2002:7f00:1::]",
        "[::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[::ffff:0:7f00:1]", "[0:0:0:0:0:ffff:a9fe:a9fe]", "127\u30020.0.1",
        "\uff11\uff12\uff17.0.0.1", "l\u24deca\u217chost", "0x7f.1", "017700000001",
    ],
)  # fmt: skip
def test_an_address_that_leads_to_this_machine_is_refused_unless_allowed(host, monkeypatch):
    """However it is written: such a service trusts whoever asks from here. The configuration cannot allow it itself."""
    url = f"http://{host}/genome.fa"
    check_address("reference.fasta", url)
    monkeypatch.delenv(ALLOW)
    with pytest.raises(CarseqError, match="leads to this machine") as error:
        check_address("reference.fasta", url)
    assert ALLOW in error.value.remedy


def test_a_name_is_looked_up_before_it_is_asked(monkeypatch):
    """A name of the open network may lead to this machine; one that is not known, and a bucket, pass."""
    monkeypatch.delenv(ALLOW)
    known = {"evil.org": "127.0.0.1", "good.org": "93.184.216.34"}

    def look_up(host, port):
        if host not in known:
            raise OSError("not known")
        return [(2, 1, 6, "", (known[host], 0))]

    monkeypatch.setattr("carseq.io.remote.socket.getaddrinfo", look_up)
    with pytest.raises(CarseqError, match="leads to this machine") as error:
        ask("reference.fasta", "https://evil.org/genome.fa")
    assert "evil.org/genome.fa is at 127.0.0.1" in error.value.cause
    for url in ("https://good.org/a.fa", "https://unknown.org/a.fa", "s3://localhost/a.fa"):
        check_host("reference.fasta", url, resolve=True)


def test_the_study_refuses_an_address_of_this_machine(tmp_path, made, server, monkeypatch):
    """Before Snakemake, which reads the study first, asks for anything."""
    config = write_study(tmp_path / "study", made, f"{server}/bucket")
    load_study(load_config(config))
    monkeypatch.delenv(ALLOW)
    with pytest.raises(CarseqError, match="leads to this machine"):
        load_study(load_config(config))
