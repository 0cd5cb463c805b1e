"""No parser raises anything but a CarseqError, whatever its file holds (the whole: `python tests/faults/fuzz.py`)."""

from __future__ import annotations

import gzip
import warnings

import pytest
from fuzz import Target, damage, targets, try_one
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

NAMES = (
    "construct.gb", "construct.fa", "config", "samples sheet", "units sheet", "sheet", "clinical columns", "genome",
    "GTF", "annotation and genome", "whitelist", "geometry", "chemistry.json", "receptors, Cell Ranger",
    "receptors, AIRR", "markers", "matrix.mtx", "features.tsv", "barcodes.tsv", "matrix.h5ad", "molecules.parquet",
    "losses.tsv", "summary.json", "FASTQ", "T-cell states", "T-cell types", "run_config.yaml", "library.json",
    "belonging.json", "construct.json", "loci.tsv", "samples.tsv", "matrix.h5", "atlas.h5ad", "BAM",
)  # fmt: skip
#: Inputs that once raised something else: parser, content.
SEEDS = (
    ("chemistry.json", b""),
    ("chemistry.json", b"-1"),
    ("chemistry.json", b'{"name": "x"}'),
    ("chemistry.json", b"[" * 100_000),
    # Python itself crashed.
    (
        "matrix.mtx",
        b"%%MatrixMarket matrix coordinate integer general\n%\n3 9 4\n1 1 5\n2 3 1\xd1\xa0",
    ),
    ("matrix.mtx", b"%%MatrixMarket matrix coordinate integer general\n%\n3 9 4\n1 1 5\n2 3 1"),
    ("losses.tsv", b""),
    ("losses.tsv", b"sample\tstep\tunit\tn\tmeaning\nS\tcar_reads\treads\tx\t\n"),
    ("molecules.parquet", b"PAR1"),
    ("summary.json", b"\xff\xfe{"),
    ("matrix.h5ad", b"\x89HDF\r\n\x1a\n"),
    ("T-cell states", b""),
    ("T-cell states", b"state\tsource\nx\ty\n"),
    ("T-cell states", b"\xff\xfegene"),
    ("T-cell types", b"gene\tper_10k\nA\tmany\n"),
    ("run_config.yaml", b"a: [" * 3000),
    ("run_config.yaml", b"a: {b"),
    ("library.json", b"[" * 100_000),
    ("belonging.json", b"{}"),
    ("belonging.json", b'{"match": {"written": [[1, 2, 3]]}}'),
    ("construct.json", b"\xe9"),
    ("construct.json", b"[" * 100_000),
    # Packed by gzip, which is not how a BAM is packed.
    ("BAM", gzip.compress(b"BAM\1" + bytes(8), mtime=0)),
    (
        "losses.tsv",
        b"sample\tstep\tunit\tn\tmeaning\nS\tcar_reads\treads\t99999999999999999999\t\n",
    ),
    ("loci.tsv", b"contig\tstart\tend\nchr1\t5\t9\n"),
    ("loci.tsv", b"contig\tstart\tend\tgene\nchr1\tx\t9\tTP53\n"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(scope="module")
def parsers(folder) -> dict[str, Target]:
    return {target.name: target for target in targets(folder)}


def test_every_parser_is_tried(parsers):
    assert set(parsers) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_good_file_is_read(parsers, folder, name):
    """Otherwise the damaged ones would try nothing."""
    for seed in parsers[name].seeds:
        assert try_one(parsers[name], seed, folder) == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_read_or_refused(parsers, folder, name):
    target = parsers[name]

    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.randoms(use_true_random=False), st.sampled_from(target.seeds))
    def check(rng, seed):
        content = seed[: rng.randrange(len(seed))] if target.cut_only else damage(seed, rng, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert try_one(target, content, folder) in ("", "refused")

    check()


@pytest.mark.parametrize(("name", "content"), SEEDS)
def test_what_once_raised_something_else_is_refused(parsers, folder, name, content):
    assert try_one(parsers[name], content, folder) == "refused"
