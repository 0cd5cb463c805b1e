"""memory: how the CAR is brought in follows what the machine has, once, and is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from carseq.start.check import check_study
from carseq.start.note import Note
from carseq.study import memory
from carseq.study.config import ReferenceConfig, load_config
from carseq.study.load import load_study
from carseq.study.model import Study

LINT = Path(__file__).parents[1] / "data/lint/config.yaml"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = load_study(load_config(LINT))
    made.config.results = str(tmp_path / "results")
    return made


@pytest.mark.parametrize(
    ("given", "gigabytes", "insertion", "sparse"),
    [
        ({}, 128, "saved", 1),
        ({}, 32, "none", 3),
        ({"sa_sparse": 2}, 60, "saved", 2),
        ({"insertion": "saved"}, 32, "saved", 1),
        ({"insertion": "none"}, 128, "none", 3),
        ({"insertion": "none", "sa_sparse": 1}, 16, "none", 1),
        ({}, float("inf"), "saved", 1),
    ],
)
def test_the_insertion_follows_the_memory(
    given: dict[str, object], gigabytes: float, insertion: str, sparse: int
) -> None:
    """Of GRCh38; what the configuration says goes first."""
    found = memory.choose(ReferenceConfig.model_validate(given), gigabytes * 1000, 3100)
    assert (found.insertion, found.sa_sparse) == (insertion, sparse)


def test_a_plain_index_of_a_human_genome_is_aligned_to_within_20_gb_and_built_within_32() -> None:
    assert memory.alignment_megabytes(3100, 3) <= 20_000
    assert memory.index_megabytes(3100, 3, plain=True) <= 28_000
    assert memory.choose(ReferenceConfig(), 24_000, 3100).sa_sparse > 3


def test_a_machine_of_20_gb_builds_its_own_plain_index_of_a_human_genome() -> None:
    found = memory.choose(ReferenceConfig(), 20_000, 3100)
    assert (found.insertion, found.sa_sparse) == ("none", 8)
    assert memory.index_megabytes(3100, 8, plain=True) <= 20_000
    assert memory.alignment_megabytes(3100, 8) <= 13_000


@pytest.mark.parametrize(
    ("genome", "sparse", "measured"),
    [(10, 3, 75.5), (10, 8, 58.8), (30, 3, 226.8), (30, 6, 183.9), (30, 8, 173.7)],
)
def test_what_is_asked_for_a_plain_index_is_what_star_took(
    genome: float, sparse: int, measured: float
) -> None:
    """MB, with 1.6 MB of prefixes at most (benchmarks/RESULTS.md): never less, and no more than a fifth above."""
    asked = memory.index_megabytes(genome, sparse, plain=True)
    assert measured <= asked <= 1.2 * measured


def test_the_jobs_that_read_a_human_genome_ask_for_what_they_took_and_fit_a_laptop() -> None:
    """Contigs of 250 and 243 Mb with a whole human annotation took 1.5 GB (benchmarks/RESULTS.md)."""
    assert 2 * 1500 <= memory.reading_megabytes(3100) <= 3500
    # A contig of 250 Mb alone: text, its bytes and its codes.
    assert memory.reading_megabytes(250) >= 1000 + 3 * 250


def test_another_machine_goes_on_with_what_was_chosen(study: Study) -> None:
    first = memory.choice_of(study, machine=16_000, genome=3100)
    assert first.insertion == "none"
    memory.keep_choice(first, study.config.results)
    assert memory.choice_of(study, machine=999_000, genome=3100) == first
    # Another genome, or another word of the user's, is chosen for anew.
    assert memory.choice_of(study, machine=999_000, genome=100).insertion == "saved"
    study.config.reference.insertion = "saved"
    assert memory.choice_of(study, machine=16_000, genome=3100).insertion == "saved"


def test_the_check_tells_which_was_chosen_and_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = dict(check_study(LINT))
    assert "which is saved (`saved`, sa_sparse 1): inserting the CAR" in told["insertion"]
    assert "memory" not in told
    for machine in ("carseq.study.memory", "carseq.start.check"):
        monkeypatch.setattr(f"{machine}.machine_megabytes", lambda: 100.0)
    monkeypatch.setattr("carseq.start.check.disk_megabytes", lambda folder: 0.0)
    told = dict(check_study(LINT))
    assert "aligned without the CAR" in told["insertion"]
    assert "this machine has 0.1 GB" in told["insertion"]
    assert isinstance(told["memory"], Note)
    assert "may take 3.5 GB" in told["memory"]
    assert isinstance(told["disk"], Note)


def test_a_folder_of_10x_is_an_index_with_its_genome(tmp_path: Path) -> None:
    for name in ("star/genomeParameters.txt", "fasta/genome.fa", "genes/genes.gtf.gz"):
        (tmp_path / "refdata" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "refdata" / name).touch()
    (tmp_path / "config.yaml").write_text("reference: {star_index: refdata, gtf: own.gtf}\n")
    given = load_config(tmp_path / "config.yaml").reference
    assert given.star_index == str(tmp_path / "refdata/star")
    assert given.fasta == str(tmp_path / "refdata/fasta/genome.fa")
    assert given.gtf == str(tmp_path / "own.gtf")
