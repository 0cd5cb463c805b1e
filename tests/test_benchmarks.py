"""The benchmarks' own arithmetic: what a figure in RESULTS.md is made of."""

from __future__ import annotations

import sys
from types import ModuleType

import pandas as pd
import pytest

from benchmark_scripts import load


@pytest.fixture
def speed() -> ModuleType:
    return load("speed")


def test_the_slope_over_reads_is_held_against_that_of_starsolo(speed):
    """60 s + 24 s a million against 5 s + 20 s: slopes at 1.2, which misses 0.8; 60 s fixed meet 75."""

    def cost(fixed: float, slope: float, reads: float) -> dict[str, float]:
        return {"wall": fixed + slope * reads, "cpu": fixed + slope * reads, "memory": 1.0}

    rows = [
        {
            "lanes": reads, "reads": reads, "workflow": cost(60, 24, reads), "starsolo": cost(5, 20, reads),
            "to_molecules": 1.0, "rules": {"align": 1.0}, "load_before": 0.0, "load_after": 0.0, "when": "12:00",
        }
        for reads in (2.0, 5.0, 10.0)
    ]  # fmt: skip
    said = speed.scaling_lines({"about": "", "rows": rows})[-1]
    first = {"lanes": 2.0, "wall": 148.0, "cpu": 1.0, "memory": 1.0}
    of_first = speed.scaling_lines({"about": "", "rows": rows, "cold": first})[-1]
    assert "workflow 60 s + 24.0 s a million reads, STARsolo 5 s + 20.0 s" in said
    assert "1.2, asked for 0.8 at most: **missed**" in said
    assert "60, asked for 75 at most: met" in said
    # 60 + 2 x 24 s when nothing is left to compile.
    assert "148 s for 2.0 million, 40 s more" in of_first


def test_molecules_are_held_against_the_truth_barcode_by_barcode(speed):
    """Of 3 + 2 true molecules, counts of 2 and 4 find 2 + 2, miss 1, have 2 too many, and 1 where there is none."""
    found = speed.found_by_barcode(pd.Series({"A": 2, "B": 4, "C": 1}), pd.Series({"A": 3, "B": 2}))
    assert found == {"found": 4, "missed": 1, "extra": 3}


def test_a_section_takes_the_place_of_the_one_with_its_title(speed, tmp_path, monkeypatch):
    """A second run replaces its own section and leaves the others; a new section goes to the end."""
    page = tmp_path / "RESULTS.md"
    page.write_text("# Measurements\n\n## One\n\nold\n\n## Two\n\nkept\n")
    monkeypatch.setattr(speed, "RESULTS", page)
    speed.write_section("## One", ["## One", "", "new"])
    speed.write_section("## Three", ["## Three", "", "last"])
    assert page.read_text() == (
        "# Measurements\n\n## One\n\nnew\n\n## Two\n\nkept\n\n## Three\n\nlast\n"
    )


@pytest.mark.parametrize(("largest", "kept"), [(30, True), (300, False)])
def test_a_short_curve_does_not_replace_a_longer_one(
    speed, tmp_path, monkeypatch, capsys, largest, kept
):
    """Genomes to 30 Mb are printed where RESULTS.md reaches to 100; to 300 Mb they take its place."""
    load("insertion")
    human = load("human_scale")
    page = tmp_path / "RESULTS.md"
    old = f"{human.TITLE}\n\n| genome, Mb |\n|---|\n| 10 | 1 |\n| 100 | 1 |\n| **3,100** | 1 |\n"
    page.write_text(old)
    monkeypatch.setattr(speed, "RESULTS", page)
    steps = ("index", "insert", "load", "align")
    monkeypatch.setattr(
        human,
        "measure",
        lambda _, size: [
            human.Step(size, 1, s, 60.0 * size, 60.0 * size, size, size) for s in steps
        ],
    )
    monkeypatch.setattr(
        sys, "argv", ["human_scale", "--sizes", "10", str(largest), "--to", str(tmp_path)]
    )
    human.main()
    # CPU of 1 min a Mb, carried on to 3,100 Mb.
    assert ("| **3,100 (GRCh38), on the line** | 1 | 3100.0 |" in capsys.readouterr().out) == kept
    assert ("| **3,100 (GRCh38), on the line** | 1 | 3100.0 |" in page.read_text()) != kept
    assert (page.read_text() == old) == kept


def test_what_a_command_takes_is_its_own(speed, tmp_path):
    """A command's memory, that of 100 MB asked for and written, is not that of the process which measures it."""
    held = b"x" * 400_000_000
    small = speed.run([sys.executable, "-c", "pass"], tmp_path / "small.log")
    large = speed.run([sys.executable, "-c", "b'x' * 100_000_000"], tmp_path / "large.log")
    assert held[-1:] == b"x"
    assert small.memory < 0.05
    assert 0.1 < large.memory < 0.15


def test_a_command_that_fails_is_told_by_its_code(speed, tmp_path, capsys):
    """Exit 3 comes as 3, with the command's last words."""
    with pytest.raises(speed.Failed) as failure:
        speed.run(["sh", "-c", "echo lost; exit 3"], tmp_path / "x.log")
    assert failure.value.code == 3
    assert "lost" in capsys.readouterr().err


def test_kallistos_slope_is_held_against_that_of_starsolo(speed):
    """300 + 15 s a million reads beside 40 s: 0.375; the agreement of the two workflows stands in the table."""
    usual = {"to_molecules": 1.0, "rules": {"align": 1.0}, "load_before": 0.0, "load_after": 0.0}

    def cost(seconds):
        return {"wall": seconds, "cpu": seconds, "memory": 1.5}

    first = [
        {
            "lanes": n,
            "reads": float(n),
            "workflow": cost(100 + 45.0 * n),
            "starsolo": cost(40.0 * n),
        }
        | usual
        for n in (5, 10)
    ]
    shares = ("cells", "molecules", "calls", "positive", "cell_sums", "gene_sums")
    same = {**dict.fromkeys(shares, 0.99), "n_molecules": 9, "n_positive": 3}
    rules = {"count": 7.0, "search": 2.0}
    rows = [
        {"lanes": n, "reads": float(n), "workflow": cost(300 + 15.0 * n), "rules": rules}
        | {"agreement": same}
        for n in (5, 10)
    ]
    figures = {"about": "", "programs": {"kallisto": "0.52"}, "rows": rows}
    lines = speed.otherwise_lines(figures, {"rows": first}, "solo.aligner: kallisto", "count", 0.5)
    assert "0.375, asked for 0.5 at most: met" in lines[-1]
    assert "0.9900 of 9" in lines[-3]
