"""report: the verdict in words, the alerts, the tables, and one file that holds it all."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import math
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anndata as ad
import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml

from carseq.calling import call_study
from carseq.errors import CarseqError
from carseq.figures import phrases as words
from carseq.figures import summaries
from carseq.io.files import read_table, write_table
from carseq.localize import everything
from carseq.report import Study, alerts, build_report, read_study
from carseq.report.notebooks import run_notebook
from carseq.report.page import MAX_MOLECULES, embed, methods_text
from carseq.schema.codes import REASONS, VERDICTS
from carseq.schema.tables import (
    BY_NAME,
    DETECTION,
    DOWNSAMPLING,
    LOCALIZATION,
    MOLECULES,
    RUN_TIMES,
    THRESHOLDS,
)
from study import Sample, big_samples, demo_samples, hostile_samples, write_study

NOTEBOOKS = sorted((Path(__file__).parents[2] / "workflow" / "notebooks").glob("*.py"))


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("lupus-urine") / "results")


@pytest.fixture(scope="module")
def study(results: Path) -> Study:
    return read_study(results)


def page_of(results: Path, out: Path) -> str:
    build_report(results, out)
    return out.read_text()


def data_of(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found
    data: dict[str, Any] = json.loads(found[1])
    return data


# --- words ---


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.38, "38 %"), (0.042, "4.2 %"), (0.0004, "<0.1 %"), (0, "0 %"), (1, "100 %"), (0.9999, ">99.9 %"),
     (math.nan, "–"), (0.09999, "10 %")],
)  # fmt: skip
def test_shares_read_as_people_write_them(share: float, text: str) -> None:
    assert words.percent(share).replace(words.NBSP, " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234, "1,234"), (0.6, "0.6"), (0.634, "0.63"), (12.3456, "12"), (math.nan, "–"), (None, "–"), (0, "0"),
     (1e-5, "<0.001")],
)  # fmt: skip
def test_numbers_read_as_people_write_them(value: Any, text: str) -> None:
    assert words.number(value) == text


def row(**changes: Any) -> SimpleNamespace:
    given: dict[str, Any] = {
        "n_cells": 315,
        "n_t_cells": 63,
        "n_car_positive": 21,
        "verdict": "detected",
        "prevalence": 0.38,
        "prevalence_low": 0.27,
        "prevalence_high": 0.5,
        "detection_limit": 0.06,
        "sensitivity": 0.71,
        "expected_false_calls": 0.6,
        "reason": "",
    }
    return SimpleNamespace(**{**given, **changes})


def test_a_detected_verdict_gives_calls_estimate_interval_and_false_calls() -> None:
    headline, sentences = words.verdict_words(row())
    text = " ".join([headline, *sentences]).replace(words.NBSP, " ")
    assert headline == "CAR T cells detected"
    assert "21 of 63 T cells called positive" in text
    assert "38 % (27–50 %) of T cells after correction for dropout" in text
    assert "Expected false calls 0.6; sensitivity 71 %" in text


def test_not_detected_states_its_limit() -> None:
    given = row(verdict="not_detected", n_car_positive=0, detection_limit=0.04)
    assert words.verdict_words(given)[0] == f"CAR T cells not detected above 4{words.NBSP}%"


def test_undetermined_says_so_even_without_numbers() -> None:
    nothing = dict.fromkeys(
        ["prevalence", "prevalence_low", "prevalence_high", "detection_limit", "sensitivity", "expected_false_calls"],
        math.nan,
    )  # fmt: skip
    given = row(verdict="undetermined", n_cells=0, n_t_cells=0, n_car_positive=0, **nothing)
    assert words.verdict_words(given) == ("Undetermined", ["No cells were kept."])


# --- summaries ---


def test_depth_counts_the_molecules_over_each_base() -> None:
    molecules = pd.DataFrame({"tx_start": [0, 2, 8], "tx_end": [4, 6, 12]})
    assert summaries.depth(molecules, 10).tolist() == [1, 1, 2, 2, 1, 1, 0, 0, 1, 1]
    assert summaries.depth(molecules, 10, n_bins=5).tolist() == [1, 2, 1, 0, 1]


def test_rejected_and_endogenous_molecules_are_no_car_evidence() -> None:
    molecules = pd.DataFrame(
        {
            "sample": "S",
            "evidence": ["unique", "shared", "shared", "endogenous"],
            "p_car": [1.0, 0.8, 0.2, 0.9],
        }
    )
    counts = summaries.evidence_classes(molecules, ["S", "T"]).set_index("sample")
    assert counts.loc["S"].to_dict() == {"unique": 1, "junction": 0, "shared": 1, "rejected": 2}
    assert counts.loc["T"].sum() == 0


def test_rules_are_compared_on_t_cells_without_doublets(study: Study) -> None:
    table = summaries.rule_comparison(study.cells, study.detection).set_index("sample")
    merged = table.join(study.detection.set_index("sample"), rsuffix="_verdict")
    assert (merged["n_t_cells"] == merged["n_t_cells_verdict"]).all()
    assert (merged["model"] == merged["n_car_positive"]).all()
    assert (table["at_least_1"] >= table["at_least_2"]).all()


def test_the_thinned_knee_keeps_car_bearing_barcodes() -> None:
    n = 50_000
    knee = pd.DataFrame(
        {"rank": np.arange(1, n + 1), "total_umis": n, "is_cell": False, "car_umis": 0}
    )
    knee.loc[[17, 40_003], "car_umis"] = [1, 2]
    thin = summaries.thin_knee(knee, n_points=100)
    assert len(thin) <= 102
    assert thin["car_umis"].sum() == 3


def test_signal_outside_t_cells_is_reported_with_its_reason(study: Study) -> None:
    table = summaries.signal_outside_t(study.cells)
    assert table["n_cells"].sum() > 0
    assert not ((table["lineage"] == "T") & (table["is_doublet"] == "")).any()
    assert (table["car_reason"] != "").all()


def test_cells_of_one_reason_are_one_row(study: Study) -> None:
    """300 like cells whose sentences differ by their own numbers: one row, since the reason is a code."""
    cells = study.cells[study.cells["lineage"] == "myeloid"].head(1)
    many = pd.concat([cells] * 300).assign(
        car_umis=1, is_doublet=False, car_reason="explained_by_ambient", cell_type="macrophage"
    )
    many["car_reason_text"] = [f"one molecule, {i / 100} expected" for i in range(300)]
    table = summaries.signal_outside_t(many)
    assert table[["n_cells", "car_umis", "car_reason"]].values.tolist() == [
        [300, 300, "explained_by_ambient"]
    ]


def test_the_page_shows_what_the_calls_write(tmp_path: Path) -> None:
    """A study called and localized by carseq itself: its tables are on the page, its codes are of the closed sets."""
    samples = [Sample("u", "P1", n_cells=60), Sample("b", "P1", "blood", n_cells=60, t_share=0.6)]
    results = write_study(tmp_path / "results", samples)
    molecules = {s.name: read_study(results).molecules.query("sample == @s.name") for s in samples}
    cohort = ad.read_h5ad(results / "cohort" / "cells.h5ad")
    own = [key for key in cohort.obs if key.startswith("car_") and key != "car_umis"]
    cohort.obs = cohort.obs.drop(columns=own)
    columns = ["sample", "patient", "compartment", "timepoint", "role"]
    sheet = pd.DataFrame(
        [{key: getattr(s, key.replace("sample", "name")) for key in columns} for s in samples]
    )
    called = call_study(
        cohort, sheet.assign(ambient_umis=2e5, ambient_car=3.0), molecules, car="HBI0101"
    )
    tables = {
        schema.name: (getattr(called, schema.name), schema)
        for schema in (DETECTION, THRESHOLDS, DOWNSAMPLING)
    }
    found = everything(
        cohort, called.detection, target="HBI0101", given={"u": {"proteinuria": 2.0}}
    )
    tables |= {name: (table, BY_NAME[name]) for name, table in found.items()}
    for name, (table, schema) in tables.items():
        write_table(table, results / "cohort" / f"{name}.tsv", schema)
    cohort.write_h5ad(results / "cohort" / "cells.h5ad")
    shown = data_of(page_of(results, tmp_path / "report.html"))
    for name in (
        "detection",
        "localization",
        "contrasts",
        "thresholds",
        "downsampling",
        "target",
        "clinic",
    ):
        assert shown["tables"][name]["n"] == len(tables[name][0]) > 0, name
        assert shown["figures"][name if name != "detection" else "forest"]["vega"]["data"], name
    study = read_study(results)
    assert set(study.detection["verdict"]) <= set(VERDICTS)
    assert set(study.cells["car_reason"]) <= set(REASONS)
    keys = ["sample", "cell_type", "lineage", "is_doublet", "car_reason"]
    assert not summaries.signal_outside_t(study.cells).duplicated(keys).any()


# --- alerts ---


def test_alerts_name_the_sample_and_say_what_to_do(study: Study) -> None:
    found = {(a.where, a.message.split(" of reads")[0]): a for a in alerts.alerts(study)}
    assert ("P04_urine_D28", f"only 52{words.NBSP}%") in found
    assert ("P02_urine_D28", f"only 41{words.NBSP}%") in found
    assert ("P04_urine_D28", "no cells were kept") in found
    assert all(alert.remedy for alert in found.values())
    assert not any("surrogate" in a.message for a in found.values())


def test_assumed_ambient_rna_is_an_alert_of_its_sample(study: Study) -> None:
    first = study.detection["sample"].iloc[0]
    assumed = study.detection.assign(ambient_assumed=study.detection["sample"] == first)
    told = [a for a in alerts.alerts(replace(study, detection=assumed)) if "assumed" in a.message]
    assert [a.where for a in told] == [first]
    assert "raw_matrix" in told[0].remedy
    assert not any("assumed" in a.message for a in alerts.alerts(study))


@pytest.mark.parametrize(
    ("strand", "sense", "antisense", "wrong"),
    [("Forward", 900, 100, False), ("Forward", 100, 900, True), ("Reverse", 100, 900, False),
     ("Reverse", 900, 100, True), ("Unstranded", 500, 500, False), ("Forward", 0, 20, False)],
)  # fmt: skip
def test_reads_on_the_wrong_strand_are_noticed(
    strand: str, sense: int, antisense: int, wrong: bool
) -> None:
    summary = {"strand": strand, "reads_sense": sense, "reads_antisense": antisense}
    assert bool(alerts.strand_fault(summary)) is wrong
    assert alerts.strand_fault({}) == ""


def test_a_positive_negative_control_is_the_first_alert(tmp_path: Path) -> None:
    results = write_study(tmp_path / "results", [Sample("HD1", "HD1", role="negative_control")])
    path = results / "cohort" / "detection.tsv"
    table = pd.read_csv(path, sep="\t")
    table["n_car_positive"] = 2
    table.to_csv(path, sep="\t", index=False)
    first = alerts.alerts(read_study(results))[0]
    assert first.level == "error"
    assert "negative control with 2 T cells called positive" in first.message


def test_run_times_are_summed_by_rule(study: Study) -> None:
    """The benchmark files of eight samples: eight jobs of five minutes of align, one of cohort."""
    table = summaries.run_times(study.benchmarks).set_index("rule")
    assert list(table.index) == ["align", "cohort"]
    assert table.loc["align", ["n_jobs", "minutes", "longest_minutes"]].tolist() == [8, 40, 5]
    assert table.loc["cohort", ["cpu_minutes", "memory_mb"]].tolist() == [1.51, 857.49]


def test_run_times_stand_beside_the_page(results: Path, tmp_path: Path) -> None:
    """The same table is written as TSV; of a rule too short to measure, memory stays empty, not zero."""
    mine = tmp_path / "results"
    shutil.copytree(results, mine)
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    for name in ("notebook_01_quality", "notebook_02_cells"):
        (mine / "benchmarks" / f"{name}.tsv").write_text(head + "0.4\t0:00:00" + 8 * "\tNA" + "\n")
    build_report(mine, tmp_path / "report.html", run_times=tmp_path / "run_times.tsv")
    table = read_table(tmp_path / "run_times.tsv", RUN_TIMES).set_index("rule")
    assert list(table.index) == ["align", "cohort", "notebook"]
    assert table.loc["notebook", "n_jobs"] == 2
    assert table.loc["notebook", ["cpu_minutes", "memory_mb"]].isna().all()


# --- the page ---


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


def test_the_page_is_one_file_that_names_no_other(results: Path, tmp_path: Path) -> None:
    started = time.perf_counter()
    page = page_of(results, tmp_path / "deep" / "report.html")
    assert time.perf_counter() - started < 10
    head, _, rest = page.partition('id="data">')
    outside = head + rest.partition("</script>")[2]
    assert not re.search(r"""(?:src|srcset|action)=["']?(?:https?:)?//""", outside)
    assert not re.search(
        r"@import|url\(|fetch\(|XMLHttpRequest|<link[^>]+href=\"(?!data:)", outside
    )
    links = re.findall(r'href="(https?://[^"]+)"', outside)
    assert all(link.startswith("https://doi.org/") for link in links)
    assert len(page.encode()) < 1_000_000


def test_the_page_lets_no_request_and_no_other_script_in(results: Path, tmp_path: Path) -> None:
    """The policy forbids every request, and names the checksums of the page's own scripts alone."""
    page = page_of(results, tmp_path / "report.html")
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    assert found
    rules = dict(part.split(" ", 1) for part in html.unescape(found[1]).split("; "))
    assert rules.pop("default-src") == rules.pop("base-uri") == rules.pop("form-action") == "'none'"
    assert rules.pop("img-src") == "data: blob:"
    assert rules.pop("style-src") == "'unsafe-inline'"
    allowed = rules.pop("script-src").split()
    assert rules == {}
    inline = re.findall(r"<script>(.*?)</script>", page, re.S)
    packed = re.search(r'id="vega-runtime">([^<]+)</script>', page)
    assert packed
    texts = [inline[0].encode(), gzip.decompress(base64.b64decode(packed[1]))]
    sums = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in texts]
    assert len(inline) == 1
    assert allowed == [f"'sha256-{checksum}'" for checksum in sums]


def test_no_path_of_this_machine_is_on_the_page(results: Path, tmp_path: Path) -> None:
    """Paths of the record and of findings: relative to the study, or the name alone; nothing of the folders above."""
    home = tmp_path / "ann" / "lupus"
    shutil.copytree(results, home / "results")
    record = home / "results" / "run_config.yaml"
    config = yaml.safe_load(record.read_text())
    config["reference"]["fasta"] = "/mnt/ann-lab/genomes/GRCh38.fa"
    config["samples"] = str(home / "sheets" / "samples.tsv")
    config["sheet"] = {
        "P01_urine_D28": {"bam": str(home / "bams" / "a.bam"), "note": "ratio 1/2 and/or"}
    }
    record.write_text(yaml.safe_dump(config))
    lint = home / "results" / "construct" / "lint.json"
    finding = {
        "level": "warn",
        "code": "x",
        "message": "`/home/ann/secret/plasmid.gb` is odd.",
        "remedy": "See /home/ann/x.",
    }
    lint.write_text(json.dumps([finding]))
    page = page_of(home / "results", tmp_path / "report.html")
    for secret in (str(tmp_path), "/home/ann", "ann-lab", "/mnt"):
        assert secret not in page, secret
    for shown in (
        "sheets/samples.tsv",
        "bams/a.bam",
        "GRCh38.fa",
        "<code>plasmid.gb</code> is odd.",
        "ratio 1/2 and/or",
    ):
        assert shown in page, shown


WAYS = {
    "fastq": ({}, ["aligned with STAR", "EmptyDrops", "scored again"], ["BAM file", "count matrix"]),
    "bam": ({"bam": "a.bam", "raw_matrix": "raw"}, ["came as a BAM file", "scored again"],
            ["aligned with STAR", "without reads"]),
    "matrices": ({"raw_matrix": "raw", "matrix": "m"}, ["came as a count matrix, without reads", "EmptyDrops"],
                 ["aligned with STAR", "scored again", "BAM file", "holds no empty droplets"]),
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


def test_a_filter_that_takes_more_than_a_third_is_an_alert(results: Path, tmp_path: Path) -> None:
    mine = tmp_path / "results"
    shutil.copytree(results, mine)
    study = read_study(mine)
    for removed, n in ((100, 1), (99, 0)):
        row = study.filters.iloc[[0]].assign(n_before=300, n_removed=removed + 1 if n else removed)
        found = alerts.alerts(replace(study, filters=row))
        assert sum("removed 101 of 300 cells" in alert.message for alert in found) == n


def test_the_page_speaks_without_javascript(results: Path, tmp_path: Path) -> None:
    page = page_of(results, tmp_path / "report.html")
    for text in ("CAR T cells detected", "negative control", "Undetermined", "not its true", "lupus-urine",
                 "doi:10.1093/bioinformatics/bts635", "STAR 2.7.10b", "research use only"):  # fmt: skip
        assert text.lower() in page.lower(), text


def test_every_table_is_in_the_page_whole(study: Study, results: Path, tmp_path: Path) -> None:
    tables = data_of(page_of(results, tmp_path / "report.html"))["tables"]
    assert tables["detection"]["n"] == len(study.detection) == 8
    assert tables["localization"]["n"] == len(study.localization)
    shown = {c["key"] for c in tables["contrasts"]["columns"] if not c["hidden"]}
    assert "compartment" in shown
    assert tables["evidence"]["n"] == len(alerts.car_bearing(study))
    for name, table in tables.items():
        for column in table["data"]:
            assert len(column.get("v", column.get("c"))) == table["n"], name


def test_names_cannot_break_out_of_the_page(tmp_path: Path) -> None:
    results = write_study(tmp_path / "results", hostile_samples())
    page = page_of(results, tmp_path / "report.html")
    assert "<script>window.hacked" not in page
    assert "<img src=x" not in page
    assert "<b>bold</b>" not in page
    samples = data_of(page)["tables"]["detection"]["data"][0]["v"]
    assert samples == [sample.name for sample in hostile_samples()]


def test_embedded_json_is_safe_and_the_same() -> None:
    payload = {"a": "</script><!-- & \u2028", "b": [1, None, 2.5]}
    text = embed(payload)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == payload


OPTIONAL = [
    "run_config.yaml", "versions.json", "construct", "construct/homology.tsv", "construct/domains.tsv",
    "construct/lint.json", "construct/construct.fa", "samples", "cohort/cells.h5ad", "cohort/detection.tsv",
    "cohort/localization.tsv", "cohort/contrasts.tsv", "cohort",
]  # fmt: skip


@pytest.mark.parametrize("name", OPTIONAL)
def test_a_missing_file_costs_its_chapter_and_no_more(
    name: str, results: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    path = copy / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = page_of(copy, tmp_path / "report.html")
    assert "<h2" in page
    data_of(page)


@pytest.mark.parametrize(
    "sample",
    [Sample("only", "P1", n_cells=40), Sample("007", "P1", n_cells=0), Sample("m", "P1", n_cells=9, from_matrix=True)],
    ids=["one sample", "no cells", "matrix"],
)  # fmt: skip
def test_a_study_of_one_sample_has_a_page(sample: Sample, tmp_path: Path) -> None:
    results = write_study(tmp_path / "results", [sample])
    page = page_of(results, tmp_path / "report.html")
    assert data_of(page)["tables"]["detection"]["data"][0]["v"] == [sample.name]


NO_CONTROL = "No negative control: that nothing"
SCOPES = {
    "no T cells": ([Sample("a", "P1", t_share=0.0), Sample("b", "P2", t_share=0.0)],
                   ["No T cell in any sample", NO_CONTROL]),
    "one sample": ([Sample("a", "P1")], ["One sample: there is nothing", NO_CONTROL]),
    "blood only": ([Sample("a", "P1", "blood"), Sample("b", "P2", "blood")],
                   ["No urine sample (blood only)", NO_CONTROL]),
    "control": ([Sample("a", "P1"), Sample("b", "P1", role="negative_control")], []),
}  # fmt: skip


@pytest.mark.parametrize("kind", SCOPES)
def test_the_page_says_what_a_study_cannot_answer(kind: str, tmp_path: Path) -> None:
    """Without T cells, of one sample, of blood alone: a sentence under the verdict each; a full study has none."""
    samples, expected = SCOPES[kind]
    page = page_of(write_study(tmp_path / "results", samples), tmp_path / "report.html")
    told = [html.unescape(line) for line in re.findall(r'<p class="scope">(.*?)</p>', page)]
    assert len(told) == len(expected)
    for sentence, beginning in zip(told, expected, strict=True):
        assert sentence.startswith(beginning)
    data_of(page)


def test_a_study_without_a_car_molecule_says_so(tmp_path: Path) -> None:
    """T cells, yet no CAR molecule anywhere: the page says it, and no figure of it breaks the page."""
    results = write_study(tmp_path / "results", [Sample("a", "P1", car_share=0.0)])
    adata = ad.read_h5ad(results / "cohort" / "cells.h5ad")
    adata.obs[["car_umis", "car_umis_unique"]] = 0
    adata.write_h5ad(results / "cohort" / "cells.h5ad")
    MOLECULES.empty().to_parquet(results / "samples" / "a" / "molecules" / "molecules.parquet")
    page = page_of(results, tmp_path / "report.html")
    assert "No CAR molecule in any sample" in page
    assert data_of(page)["tables"]["evidence"]["n"] == 0


def test_infinite_odds_ratios_survive(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    table = pd.read_csv(copy / "cohort" / "contrasts.tsv", sep="\t")
    table["high"] = np.inf
    table.to_csv(copy / "cohort" / "contrasts.tsv", sep="\t", index=False)
    contrasts = data_of(page_of(copy, tmp_path / "report.html"))["tables"]["contrasts"]
    high = [c["key"] for c in contrasts["columns"]].index("high")
    assert contrasts["data"][high]["v"] == ["inf", "inf"]


def test_the_account_of_the_calls_replaces_that_of_the_molecules(
    results: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    base = copy / "samples" / "P01_urine_D28"
    (base / "calling").mkdir()
    (base / "calling" / "losses.tsv").write_text(
        "sample\tstep\tunit\tn\tmeaning\nP01_urine_D28\tin_t_cells\tmolecules\t7\tin T cells\n"
    )
    losses = read_study(copy).losses
    assert list(losses[losses["sample"] == "P01_urine_D28"]["step"]) == ["in_t_cells"]


def test_a_folder_that_is_no_results_folder_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(CarseqError, match="not a results folder") as caught:
        build_report(tmp_path, tmp_path / "report.html")
    assert caught.value.remedy


def test_twenty_samples_and_fifty_thousand_cells_stay_below_ten_megabytes(tmp_path: Path) -> None:
    results = write_study(tmp_path / "results", big_samples())
    page = page_of(results, tmp_path / "report.html")
    assert len(page.encode()) < 10_000_000
    data = data_of(page)
    assert data["cells"]["n"] > 45_000
    assert len(data["molecules"]["row"]) <= MAX_MOLECULES


def test_capped_evidence_says_what_is_left_out(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("carseq.report.page.MAX_EVIDENCE_CELLS", 50)
    monkeypatch.setattr("carseq.report.page.MAX_MOLECULES", 60)
    page = page_of(study.results, tmp_path / "report.html")
    data = data_of(page)
    assert data["tables"]["evidence"]["n"] == 50
    assert len(data["molecules"]["row"]) == 60
    assert data["capped"]["cells"] == len(alerts.car_bearing(study)) - 50
    assert "more cells, of infusion products first" in page
    # Every cell keeps its strongest molecule before any keeps a second.
    shown = alerts.car_bearing(study)
    first = shown[shown["role"] != "product"].head(50)
    with_molecules = first.index.isin(study.molecules["sample"] + ":" + study.molecules["barcode"])
    assert len(set(data["molecules"]["row"])) == with_molecules.sum()


def test_pooled_rows_say_what_is_pooled(results: Path, tmp_path: Path) -> None:
    """A row without a sample is shown as its patient and compartment, in the report's localization table."""
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    path = copy / "cohort" / "localization.tsv"
    table = read_table(path, LOCALIZATION)
    pooled = table.head(1).assign(sample="", patient="P09", compartment="urine", n_samples=2)
    write_table(pd.concat([table, pooled]), path, LOCALIZATION)
    page = data_of(page_of(copy, tmp_path / "report.html"))["tables"]["localization"]
    sample = page["data"][[c["key"] for c in page["columns"]].index("sample")]
    names = sample["v"] if "v" in sample else [sample["d"][i] for i in sample["c"]]
    assert names[-1] == "P09 urine, pooled"
    assert "" not in names


def test_an_empty_molecule_table_leaves_coverage_out(results: Path, tmp_path: Path) -> None:
    copy = tmp_path / "results"
    shutil.copytree(results, copy)
    for path in copy.glob("samples/*/molecules/molecules.parquet"):
        MOLECULES.empty().to_parquet(path)
    page = page_of(copy, tmp_path / "report.html")
    assert 'data-figure="coverage"' not in page
    assert "No molecules were read" in page


# --- the notebooks ---

N_FIGURES = {"01_quality": 9, "02_cells": 8, "03_car_t_cells": 13, "04_localization": 7}


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_in_a_fresh_kernel_and_shows_its_figures(
    source: Path, tmp_path: Path
) -> None:
    """Each notebook, from a results folder alone: all its figures, no error, no path of this machine."""
    copy = write_study(tmp_path / "results", demo_samples()[:3])
    out = copy / "notebooks" / f"{source.stem}.ipynb"
    run_notebook(source, out)
    notebook = nbformat.read(out, as_version=4)
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == N_FIGURES[source.stem]
    assert not any(o.output_type == "error" for o in outputs)
    assert str(tmp_path) not in out.read_text()
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_a_notebook_that_fails_tells_the_cell(tmp_path: Path) -> None:
    source = tmp_path / "bad.py"
    source.write_text('# %% tags=["parameters"]\nresults = ".."\n\n# %%\n1 / 0\n')
    with pytest.raises(CarseqError, match="ZeroDivisionError"):
        run_notebook(source, tmp_path / "out" / "bad.ipynb")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["bad.failed.ipynb"]


def test_the_demo_study_of_these_tests_holds_every_verdict() -> None:
    assert {s.role for s in demo_samples()} == {"case", "product", "negative_control"}
