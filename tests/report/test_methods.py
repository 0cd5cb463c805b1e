"""report/methods: how the numbers were made, by the way each sample came in."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from carseq.report import build_report, read_study
from carseq.report.page import methods_text
from study import Sample, write_study


def test_the_methods_are_the_same_as_text_and_on_the_page(results: Path, tmp_path: Path) -> None:
    """Every paragraph of methods.md stands in the page's chapter; headings, limits and references are there."""
    build_report(results, tmp_path / "report.html", tmp_path / "methods.md")
    text = (tmp_path / "methods.md").read_text()
    chapter = (tmp_path / "report.html").read_text().split('id="methods"', 1)[1]
    plain = re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", chapter)))
    lines = [line.lstrip("#- ") for line in text.splitlines() if line]
    prose = [line for line in lines if "doi.org" not in line]
    assert len(prose) > 10
    assert all(line in plain for line in prose[1:])
    assert {"## The calls", "## Limits", "## References"} <= set(text.splitlines())
    assert "[doi:10.1093/bioinformatics/bts635](https://doi.org/" in text
    assert "surrogate" not in text or "surrogate" in plain
    assert "<" not in text.replace("<0.1", "")


WAYS = {
    "fastq": ({}, ["aligned with STAR", "EmptyDrops", "scored again"], ["BAM file", "count matrix"]),
    "bam": ({"bam": "a.bam", "raw_matrix": "raw"}, ["came as a BAM file", "scored again"],
            ["aligned with STAR", "without reads"]),
    "matrices": ({"raw_matrix": "raw"}, ["came as a count matrix, without reads", "EmptyDrops"],
                 ["aligned with STAR", "scored again", "BAM file", "holds no empty droplets"]),
    # The cells were the given matrix's, and the methods told, and cited, a test of droplets that was not made.
    "matrices of own cells": ({"raw_matrix": "raw", "matrix": "m"},
                              ["came as a count matrix, without reads",
                               "cells given beside the raw one; carseq did not test"],
                              ["aligned with STAR", "EmptyDrops", "BAM file", "holds no empty droplets"]),
    "matrix": ({"matrix": "m"}, ["without reads", "which holds no empty droplets"],
               ["aligned with STAR", "EmptyDrops"]),
    "reuse": ({"bam": "a.bam", "raw_matrix": "raw"}, ["taken from a finished study", "scored again"], []),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_methods_tell_the_way_in_and_no_other(way: str, tmp_path: Path) -> None:
    """What was done to samples that came as reads, a BAM, or matrices; steps that were not run are not told."""
    given, told, silent = WAYS[way]
    results = write_study(
        tmp_path / "results", [Sample("a", "P1", n_cells=40, from_matrix=way.startswith("matri"))]
    )
    record = results / "run_config.yaml"
    config = yaml.safe_load(record.read_text()) | {"sheet": {"a": given}}
    config["reuse"] = "/elsewhere/results" if way == "reuse" else None
    record.write_text(yaml.safe_dump(config))
    text = re.sub(r"\s+", " ", methods_text(read_study(results)))
    for words_ in told:
        assert words_ in text, words_
    for words_ in silent:
        assert words_ not in text, words_


@pytest.mark.parametrize(("runs", "from_matrix", "told"), [
    (("run1", "run1, run2"), False, True), (("run1", "run2"), False, False), (("run1", "run1"), True, False),
])  # fmt: skip
def test_swapped_molecules_were_dropped_where_two_libraries_with_reads_share_a_run(
    runs: tuple[str, str], from_matrix: bool, told: bool, tmp_path: Path
) -> None:
    """A matrix holds no reads of a molecule: the methods said that it was dropped, wherever a run was named."""
    samples = [Sample(n, "P1", n_cells=40, from_matrix=from_matrix) for n in "ab"]
    results = write_study(tmp_path / "results", samples)
    record = results / "run_config.yaml"
    given = {"raw_matrix": "raw"} if from_matrix else {}
    sheet = {n: {"sequencing_run": r, **given} for n, r in zip("ab", runs, strict=True)}
    record.write_text(yaml.safe_dump(yaml.safe_load(record.read_text()) | {"sheet": sheet}))
    text = re.sub(r"\s+", " ", methods_text(read_study(results)))
    assert ("another library of the same sequencing run" in text) == told


@pytest.mark.parametrize("reuse", [None, "/elsewhere/results"])
@pytest.mark.parametrize(
    ("solo", "engine"),
    [({"evidence": "fastq"}, "aligned with STAR"), ({"aligner": "kallisto"}, "by kallisto")],
)
def test_the_methods_tell_a_search_of_all_reads_where_there_was_one(
    solo: dict[str, str], engine: str, reuse: str | None, tmp_path: Path
) -> None:
    """What is reused are alignments, whatever the section `solo` says."""
    results = write_study(tmp_path / "results", [Sample("a", "P1", n_cells=40)])
    record = results / "run_config.yaml"
    config = yaml.safe_load(record.read_text()) | {"sheet": {"a": {}}, "solo": solo, "reuse": reuse}
    record.write_text(yaml.safe_dump(config))
    text = re.sub(r"\s+", " ", methods_text(read_study(results)))
    assert ("looked for among all reads" in text) == (reuse is None)
    assert ("resembles the CAR or a human gene" in text) == (reuse is None)
    assert engine in text or reuse
    assert "by kallisto" not in text or not reuse
    # The alignments may hold another CAR than this study's.
    assert ("the count matrix keeps the counts of that study" in text) == (reuse is not None)
    assert "was added as one gene" not in text


def test_the_methods_tell_scrublet_and_solo_of_the_samples_that_they_looked_at(
    tmp_path: Path,
) -> None:
    """A urine sample of 76 cells is too small for Scrublet, which the methods told, and cited, of all samples."""
    study = read_study(
        write_study(
            tmp_path / "results",
            [Sample("urine", "P1", n_cells=20), Sample("blood", "P1", "blood", n_cells=60)],
        )
    )
    text = re.sub(r"\s+", " ", methods_text(study))
    assert (
        "Doublets were called by Scrublet (in blood alone, the others are too small for it), by markers"
        in text
    )
    assert "SOLO" not in text
    asked = replace(study, config=study.config | {"cells": {"doublets": "scvi_solo"}})
    assert "SOLO" not in methods_text(asked)
    solo = asked.cells["doublet_score"]
    text = re.sub(
        r"\s+", " ", methods_text(replace(asked, cells=asked.cells.assign(solo_score=solo)))
    )
    assert "by SOLO (in blood alone, the others are too small for it), by markers" in text
    small = study.cells.assign(doublet_score=float("nan"))
    text = re.sub(r"\s+", " ", methods_text(replace(study, cells=small)))
    assert "Doublets were called by markers of two lineages in one cell" in text
    assert "Scrublet" not in text


def test_the_methods_tell_own_markers_and_no_random_effects_of_one_patient(tmp_path: Path) -> None:
    """A study with a marker table of its own was "typed by markers of urinary cells", several patients "combined"."""
    results = write_study(
        tmp_path / "results",
        [Sample("a", "P1", n_cells=40), Sample("b", "P1", "blood", n_cells=40)],
    )
    text = re.sub(r"\s+", " ", methods_text(read_study(results)))
    assert "typed by markers of urinary cells" in text
    assert "random effects" not in text
    assert "averaged over what is left possible" in text
    record = results / "run_config.yaml"
    config = yaml.safe_load(record.read_text())
    record.write_text(
        yaml.safe_dump(config | {"cells": {**(config.get("cells") or {}), "markers": "own.tsv"}})
    )
    text = re.sub(r"\s+", " ", methods_text(read_study(results)))
    assert "typed by the markers of a table of the study's own" in text


def test_a_samples_name_begins_a_sentence_as_it_is(tmp_path: Path) -> None:
    """`u28` came as a matrix beside reads: the methods for the paper called it `U28`."""
    samples = [
        Sample("u28", "P1", n_cells=40, from_matrix=True),
        Sample("b28", "P1", "blood", n_cells=40),
    ]
    results = write_study(tmp_path / "results", samples)
    record = results / "run_config.yaml"
    record.write_text(
        yaml.safe_dump(yaml.safe_load(record.read_text()) | {"sheet": {"u28": {"matrix": "m"}}})
    )
    text = re.sub(r"\s+", " ", methods_text(read_study(results)))
    assert "u28 came as a count matrix" in text
    assert "U28" not in text
    assert "(in b28 alone)" in text
