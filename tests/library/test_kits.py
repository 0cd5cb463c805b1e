"""Kits that are not 10x's, and barcodes learnt from the reads: counted by STAR as they were written."""

from __future__ import annotations

import gzip
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from benchmark_scripts import load
from carseq.errors import CarseqError
from carseq.library.detect import detect_chemistry
from carseq.library.geometry import CHEMISTRIES, is_observed, layout, preset_of
from carseq.library.observed import FEWEST, check_cells, learn_barcodes, learn_from
from carseq.library.presets import PRESETS, Preset, parse_positions
from carseq.library.whitelist import encode, known_whitelist, read_parts, read_whitelist
from carseq.solo import plain_whitelist
from carseq.start.check import check_study
from carseq.study.config import load_config
from carseq.study.load import load_study
from six_genes import ACGT, noise

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def kits() -> ModuleType:
    """benchmarks/chemistries.py, which writes libraries of every kit."""
    return load("chemistries")


@pytest.fixture(scope="module")
def reference(kits: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> object:
    return kits.make_reference(tmp_path_factory.mktemp("reference"))


@pytest.mark.parametrize("name", ["10x_5p_v3", "bd_rhapsody_enhanced"])
def test_a_kit_is_counted_as_it_was_written(
    kits: ModuleType, reference: object, name: str, tmp_path: Path
) -> None:
    """97 % of the cells' molecules, and of the CAR's, lie in their barcode; 2 % of the CAR's at most are false.

    False are those of UMIs that were read with two errors.

    The first kit has no list that may be shipped, the second three parts behind up to three further bases.
    """
    found = kits.count_kit(tmp_path, reference, name)
    assert found["barcodes"] == ("learnt" if name == "10x_5p_v3" else "listed")
    assert found["found"] >= 0.97
    assert found["CAR found"] >= 0.97
    assert found["false"] <= 0.02


def barcode_reads(
    rng: np.random.Generator, true: list[str], depths: np.ndarray, rate: float = 0.01
) -> list[str]:
    """Return barcode reads, each base wrong at a rate."""
    text = "".join(word * int(n) for word, n in zip(true, depths, strict=True))
    bases = np.frombuffer(text.encode(), dtype=np.uint8).copy()
    wrong = rng.random(len(bases)) < rate
    bases[wrong] = rng.choice(ACGT, int(wrong.sum()))
    width = len(true[0])
    return [bases[i : i + width].tobytes().decode() + "A" * 12 for i in range(0, len(bases), width)]


def test_every_barcode_of_a_droplet_is_learnt_and_no_error() -> None:
    """Of 300 cells and 2,000 empty droplets; of barcodes on the list nine in ten thousand at most are none (seed 8)."""
    rng = np.random.default_rng(8)
    true = [noise(rng, 16) for _ in range(2300)]
    depths = np.concatenate([rng.integers(200, 2000, 300), rng.integers(20, 60, 2000)])
    learnt = learn_from(barcode_reads(rng, true, depths), layout("10x_5p_v3"))
    assert set(true) <= set(learnt.words[0])
    assert len(set(learnt.words[0]) - set(true)) <= 0.0009 * len(true)
    # Of 16 bases at 1 % wrong, three quarters of which differ from the right one, 89 % of the reads are whole.
    assert learnt.share == pytest.approx(0.9925**16, abs=0.01)


def test_a_library_without_cells_is_told() -> None:
    rng = np.random.default_rng(4)
    true = [noise(rng, 16) for _ in range(2000)]
    empty = barcode_reads(rng, true, rng.integers(20, 60, 2000))
    with pytest.raises(CarseqError, match="X shows no cells from which barcodes could be learnt"):
        learn_from(empty, layout("10x_5p_v3"), sample="X")
    random = [noise(rng, 28) for _ in range(20_000)]
    with pytest.raises(CarseqError, match="cannot be learnt from its reads"):
        learn_from(random, layout("10x_5p_v3"))
    # Cells alone, without empty droplets, are cells.
    alone = barcode_reads(rng, true[:60], rng.integers(700, 1200, 60))
    assert set(learn_from(alone, layout("10x_5p_v3")).words[0]) == set(true[:60])


@pytest.mark.parametrize("n_cells", [0, 3000, 10_000, 20_000])
def test_cells_alike_among_few_empty_droplets_are_cells(n_cells: int) -> None:
    """Of 2 million reads, 95 % in cells of one kind: the median barcode is a cell's then, and has few reads."""
    rng = np.random.default_rng(11)
    cells, empty = rng.lognormal(0, 0.5, n_cells), rng.gamma(6, 1, 80_000)
    shares = np.concatenate([0.95 * cells / max(1, cells.sum()), 0.05 * empty / empty.sum()])
    counts = np.sort(rng.poisson(2_000_000 * shares / shares.sum()))[::-1]
    kept = counts[counts >= FEWEST]
    if n_cells:
        check_cells(kept, 0.95, "X")
    else:
        with pytest.raises(CarseqError, match="X shows no cells"):
            check_cells(kept, 0.95, "X")


def test_parts_of_a_barcode_are_learnt_each_by_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    kit = PRESETS["singleron_v1"]
    lists = [[noise(rng, 8) for _ in range(30)] for _ in range(3)]
    cells = [[str(rng.choice(of)) for of in lists] for _ in range(150)]
    reads = []
    for number, cell in enumerate(cells):
        for _ in range(300 if number < 50 else 10):
            read = np.frombuffer(noise(rng, 69).encode(), dtype=np.uint8).copy()
            for (start, length), word in zip(kit.parts, cell, strict=True):
                read[start - 1 : start - 1 + length] = list(word.encode())
            wrong = rng.random(69) < 0.005
            read[wrong] = rng.choice(ACGT, int(wrong.sum()))
            reads.append(read.tobytes().decode())
    learnt = learn_from(reads, kit)
    used = [{cell[i] for cell in cells} for i in range(3)]
    assert [set(words) for words in learnt.words] == used
    learnt.write(tmp_path / "list.txt.gz")
    assert [set(words) for words in read_parts(tmp_path / "list.txt.gz", [8, 8, 8])] == used


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_list_may_begin_with_the_mark_of_utf_8(tmp_path: Path, end: str, zipped: bool) -> None:
    """As editors of Windows save it: the same barcodes for carseq and for STAR, of one part or of several."""
    words = ["AAAACCCC", "AAAAGGGG", "TTTTGGGG"]
    path = tmp_path / ("list.txt.gz" if zipped else "list.txt")
    text = "".join(word + end for word in words).encode("utf-8-sig")
    path.write_bytes(gzip.compress(text) if zipped else text)
    bare = np.frombuffer("".join(words).encode(), dtype=np.uint8).reshape(3, 8)
    assert read_whitelist(path).tolist() == encode(bare).tolist()
    assert plain_whitelist(path, tmp_path / "plain").read_text().split() == words
    assert read_parts(path, [4, 4]) == [["AAAA", "TTTT"], ["CCCC", "GGGG"]]
    path = tmp_path / "columns.txt"
    path.write_bytes(f"AAAA CCCC{end}- GGGG{end}".encode("utf-8-sig"))
    assert read_parts(path, [4, 4]) == [["AAAA"], ["CCCC", "GGGG"]]


def test_a_list_of_parts_is_read_in_each_way(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("AAAACCCC\nAAAAGGGG\n")
    assert read_parts(path, [4, 4]) == [["AAAA"], ["CCCC", "GGGG"]]
    path.write_text("AAAA CCCC\n- GGGG\n")
    assert read_parts(path, [4, 4]) == [["AAAA"], ["CCCC", "GGGG"]]
    path.write_text("AAAA\nCCCC\n")
    assert read_parts(path, [4, 4]) == [["AAAA", "CCCC"]] * 2
    path.write_text("AAA\n")
    with pytest.raises(CarseqError, match="is not a part of 4 bases"):
        read_parts(path, [4, 4])
    assert [len(words) for words in read_parts(known_whitelist("BDWTA"), [9, 9, 9])] == [97] * 3


def test_star_gets_the_places_that_users_of_the_kits_give_it() -> None:
    """The options published for BD Rhapsody's beads (STAR issue 1607 for the enhanced ones)."""
    old = PRESETS["bd_rhapsody"].star_options(["1", "2", "3"])
    assert old["soloCBposition"] == ["0_0_0_8", "0_21_0_29", "0_43_0_51"]
    assert old["soloUMIposition"] == "0_52_0_59"
    new = PRESETS["bd_rhapsody_enhanced"].star_options(["1", "2", "3"])
    assert new["soloAdapterSequence"] == "NNNNNNNNNGTGANNNNNNNNNGACA"
    assert new["soloCBposition"] == ["2_0_2_8", "2_13_2_21", "3_1_3_9"]
    assert new["soloUMIposition"] == "3_10_3_17"


def test_a_geometry_of_several_parts_is_taken() -> None:
    text = "soloCBposition 0_0_0_8 0_21_0_29 0_43_0_51 soloUMIposition 0_52_0_59"
    assert preset_of(text) == Preset(((1, 9), (22, 9), (44, 9)), (53, 8))
    for bad in (
        "soloCBposition 0_0_0_8",
        "soloCBposition 0_8_0_0 soloUMIposition 0_9_0_17",
        "soloCBposition 2_0_2_8 soloUMIposition 0_9_0_17",
        text + " soloStrand Up",
    ):
        with pytest.raises(CarseqError, match="not a STARsolo geometry"):
            parse_positions(bad)


@pytest.mark.parametrize(
    ("geometry", "told"),
    [
        ("soloCBstart 0 soloCBlen 16 soloUMIstart 16 soloUMIlen 12", "count from 1"),
        ("soloCBstart 1 soloCBlen 16 soloUMIstart 16 soloUMIlen 12", "base 16 of the read"),
        (
            "soloCBstart 1 soloCBlen 16 soloUMIstart 17 soloUMIlen 12 soloStrand Unstranded",
            "Forward",
        ),
        ("soloCBposition 0_0_0_8 0_5_0_29 soloUMIposition 0_52_0_59", "base 6 of the read"),
    ],
)
def test_a_geometry_that_no_read_can_have_is_refused(geometry: str, told: str) -> None:
    with pytest.raises(CarseqError) as caught:
        layout(geometry)
    assert told in caught.value.cause
    forward = "soloCBstart 1 soloCBlen 16 soloUMIstart 17 soloUMIlen 12 soloStrand forward"
    assert layout(forward).strand == "Forward"


def test_kits_without_a_list_learn_their_barcodes() -> None:
    assert is_observed("10x_5p_v3", None)
    assert is_observed("seekone_dd_5p", None)
    assert is_observed("auto", "observed")
    assert not is_observed("10x_5p_v3", "list.txt")
    assert not is_observed("bd_rhapsody", None)
    for name in (*CHEMISTRIES, *PRESETS):
        assert layout(name).strand in ("Forward", "Reverse")


def test_swapped_reads_of_a_kit_of_parts_are_told(kits: ModuleType, tmp_path: Path) -> None:
    car = type("Car", (), {"sequence": noise(np.random.default_rng(1), 3000)})
    genes = [noise(np.random.default_rng(i), 1500) for i in range(6)]
    made = type("Reference", (), {"genes": genes, "car": car})
    kits.write_library(tmp_path, made, "bd_rhapsody", cells=10)
    pair = tmp_path / "R1.fastq", tmp_path / "R2.fastq"
    found = detect_chemistry([pair], genes, chemistry="bd_rhapsody")
    assert (found.name, found.strand, found.positions) == ("bd_rhapsody", "Forward", "bd_rhapsody")
    assert found.valid_barcodes > 0.8
    # Of the cDNA, not of the parts of the barcode.
    assert found.read_length == 90
    assert type(found).from_json(found.to_json()) == found
    with pytest.raises(CarseqError, match="swapped"):
        detect_chemistry([pair[::-1]], genes, chemistry="bd_rhapsody")
    with pytest.raises(CarseqError, match="no known 10x whitelist fits"):
        detect_chemistry([pair], genes, chemistry="bd_rhapsody_enhanced")
    assert learn_barcodes([pair[0]], layout("bd_rhapsody")).share > 0.8


def test_flex_is_taken_as_a_matrix_alone(tmp_path: Path) -> None:
    lint = ROOT / "tests/data/lint"
    for file in lint.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    sheet = pd.read_csv(tmp_path / "samples.tsv", sep="\t").assign(chemistry="10x_flex")
    sheet.to_csv(tmp_path / "samples.tsv", sep="\t", index=False)
    with pytest.raises(CarseqError, match="whose reads are of probes"):
        load_study(load_config(tmp_path / "config.yaml"))
    told = [found for _, found in check_study(tmp_path / "config.yaml")]
    assert any("custom probe" in str(found) for found in told)
