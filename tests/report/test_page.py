"""report/page: one file that holds the verdicts, the tables and the figures of a study."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
import shutil
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml

from carseq.calling import call_study
from carseq.errors import CarseqError
from carseq.figures import summaries
from carseq.io.files import read_table, write_table
from carseq.localize import everything
from carseq.report import Study, alerts, build_report, read_study
from carseq.report.exports import crate, multiqc
from carseq.report.page import MAX_MOLECULES, embed
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
from pages import data_of, page_of
from study import Sample, demo_samples, hostile_samples, write_study


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


def test_a_sort_that_no_code_names_stands_beside_the_verdict_in_the_sheets_words(
    results: Path, tmp_path: Path
) -> None:
    """The verdict said "sorted in a way that no code names"; how, was in the sheet."""
    mine = tmp_path / "results"
    shutil.copytree(results, mine)
    table = pd.read_csv(mine / "cohort/detection.tsv", sep="\t")
    table["gating"] = "other"
    table.to_csv(mine / "cohort/detection.tsv", sep="\t", index=False)
    config = yaml.safe_load((mine / "run_config.yaml").read_text())
    config["sheet"] = {name: {"gating": "CD8+ & live"} for name in table["sample"]}
    (mine / "run_config.yaml").write_text(yaml.safe_dump(config))
    page = page_of(mine, tmp_path / "report.html")
    assert "Sorted cells: CD8+ &amp; live." in page
    assert "that no code names" not in page


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
    # Beside the one job of now, those are an earlier run's.
    (mine / "benchmarks" / "notebook.tsv").write_text(head + "7.5\t0:00:07" + 8 * "\tNA" + "\n")
    measured = read_study(mine).benchmarks.set_index("rule")
    assert measured.loc[["notebook"], "seconds"].tolist() == [7.5]


def test_the_page_is_one_file_that_names_no_other(results: Path, tmp_path: Path) -> None:
    started = time.process_time()
    page = page_of(results, tmp_path / "deep" / "report.html")
    assert time.process_time() - started < 10
    head, _, rest = page.partition('id="data">')
    outside = head + rest.partition("</script>")[2]
    assert not re.search(r"""(?:src|srcset|action)=["']?(?:https?:)?//""", outside)
    assert not re.search(
        r"@import|url\(|fetch\(|XMLHttpRequest|<link[^>]+href=\"(?!data:)", outside
    )
    links = re.findall(r'href="(https?://[^"]+)"', outside)
    assert all(link.startswith("https://doi.org/") for link in links)
    assert len(page.encode()) < 1_000_000


def test_the_page_lets_no_request_and_no_other_script_in(report: Path) -> None:
    """The policy forbids every request, and names the checksums of the page's own scripts alone."""
    page = report.read_text()
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
    config["reference"]["gtf"] = "./../levi-anna/genes.gtf"
    config["samples"] = str(home / "sheets" / "samples.tsv")
    # The page is sent to colleagues: who a patient is stays in the sheet.
    person = {"Patient.Name": "Levi Cohen", "MRN": "30417755"}
    config["sheet"] = {
        "P01_urine_D28": {"bam": str(home / "bams" / "a.bam"), "note": "ratio 1/2 and/or"} | person
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
    # The notebooks print the same alerts.
    told = [a.message + a.remedy for a in alerts.alerts(read_study(home / "results"))]
    assert not any("/home/ann" in text for text in told)
    secrets = (str(tmp_path), "/home/ann", "ann-lab", "/mnt", "levi-anna", *person.values())
    for secret in secrets:
        assert secret not in page, secret
    for shown in (
        "sheets/samples.tsv",
        "bams/a.bam",
        "GRCh38.fa",
        "<code>plasmid.gb</code> is odd.",
        "ratio 1/2 and/or",
    ):
        assert shown in page, shown


def test_the_page_speaks_without_javascript(report: Path) -> None:
    page = report.read_text()
    for text in ("CAR T cells detected", "negative control", "Undetermined", "not its true", "lupus-urine",
                 "doi:10.1093/bioinformatics/bts635", "STAR 2.7.10b", "research use only"):  # fmt: skip
        assert text.lower() in page.lower(), text


def test_every_table_is_in_the_page_whole(study: Study, report: Path) -> None:
    tables = data_of(report.read_text())["tables"]
    assert tables["detection"]["n"] == len(study.detection) == 8
    assert tables["localization"]["n"] == len(study.localization)
    shown = {c["key"] for c in tables["contrasts"]["columns"] if not c.get("hidden")}
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


def test_a_sample_that_was_taken_out_of_the_sheet_is_on_no_page(tmp_path: Path) -> None:
    """A patient who withdrew: three samples were counted, methods, MultiQC and manifest named the third."""
    results = write_study(tmp_path / "results", [Sample("a", "P1", n_cells=40)])
    other = write_study(tmp_path / "other", [Sample("Levi", "P2", n_cells=40)])
    for folder in ("samples/Levi", "benchmarks/Levi"):
        if (other / folder).exists():
            shutil.copytree(other / folder, results / folder)
    (results / "report" / "reads").mkdir(parents=True)
    (results / "report" / "reads" / "Levi.bam").write_text("reads")
    record = results / "run_config.yaml"
    config = yaml.safe_load(record.read_text())
    record.write_text(yaml.safe_dump(config | {"sheet": {"a": {}}}))
    study = read_study(results)
    assert study.samples == ["a"]
    assert not any("Levi" in name for name in study.missing)
    assert "Levi" not in page_of(results, tmp_path / "report.html")
    assert "Levi" not in json.dumps([multiqc(study), crate(results, [])])


def test_what_an_earlier_configuration_left_is_not_shown(tmp_path: Path) -> None:
    """A sample of reads that comes as a matrix now, of no construct: its former molecules and map stood on the page."""
    results = write_study(tmp_path / "results", [Sample("a", "P1", n_cells=40)])
    before = read_study(results)
    assert len(before.molecules)
    assert len(before.domains)
    record = results / "run_config.yaml"
    config = yaml.safe_load(record.read_text())
    config["construct"]["file"] = None
    record.write_text(yaml.safe_dump(config | {"sheet": {"a": {"matrix": "a.h5"}}}))
    study = read_study(results)
    assert not len(study.molecules)
    assert not len(study.losses)
    assert not len(study.domains)
    assert not study.is_surrogate
    assert study.solo == {"a": {}}
    assert "Surrogate construct" not in page_of(results, tmp_path / "report.html")


NO_CONTROL = "No negative control: this study does not test"


SCOPES = {
    "no T cells": ([Sample("a", "P1", t_share=0.0), Sample("b", "P2", t_share=0.0)],
                   ["No T cell in any sample", NO_CONTROL]),
    "one sample": ([Sample("a", "P1")], ["One sample: there is nothing", NO_CONTROL]),
    "blood only": ([Sample("a", "P1", "blood"), Sample("b", "P2", "blood")],
                   ["No urine sample (blood only)", NO_CONTROL]),
    "control": ([Sample("a", "P1"), Sample("b", "P1", role="negative_control")], []),
    "control that says nothing": ([Sample("a", "P1"), Sample("b", "P1", role="negative_control", t_share=0.0)],
                                  ["The negative control is undetermined"]),
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
    assert "(“Why so few?” shows where reads went)" in page
    assert data_of(page)["tables"]["evidence"]["n"] == 0


def test_a_matrix_of_cells_says_nothing_of_empty_droplets(tmp_path: Path) -> None:
    """Matrices without a CAR molecule: "neither in cells nor in empty droplets", which nobody looked at, was said."""
    results = write_study(
        tmp_path / "results", [Sample("a", "P1", car_share=0.0, from_matrix=True)]
    )
    adata = ad.read_h5ad(results / "cohort" / "cells.h5ad")
    adata.obs[["car_umis", "car_umis_unique"]] = 0
    adata.write_h5ad(results / "cohort" / "cells.h5ad")
    page = page_of(results, tmp_path / "report.html")
    assert "No CAR molecule in any cell." in page
    assert "nor in empty droplets" not in page
    assert "shows where reads went" not in page


def test_molecules_of_a_matrix_are_not_said_to_be_the_cars_alone(tmp_path: Path) -> None:
    """A column "CAR-only UMIs" held the matrix's counts, of which nobody knows whether human genes share them."""
    samples = [Sample("reads", "P1"), Sample("m", "P1", "blood", from_matrix=True)]
    page = page_of(write_study(tmp_path / "results", samples), tmp_path / "report.html")
    shown = data_of(page)["tables"]["evidence"]
    keys = [column["key"] for column in shown["columns"]]
    sample, unique = (shown["data"][keys.index(key)] for key in ("sample", "car_umis_unique"))
    names = sample["v"] if "v" in sample else [sample["d"][i] for i in sample["c"]]
    assert {"reads", "m"} == set(names)
    assert all((n is None) == (s == "m") for s, n in zip(names, unique["v"], strict=True))


def test_a_control_that_says_nothing_is_not_given_as_passed(tmp_path: Path) -> None:
    """A negative control without a T cell: "the negative control had no T cell called positive", in the first line."""
    control = Sample("b", "P1", role="negative_control", t_share=0.0)
    for more, told in (([], "The negative control is undetermined."), ([Sample("c", "P1", role="negative_control")],
                       "None of 2 negative controls had a T cell called positive; 1 is undetermined.")):  # fmt: skip
        study_ = read_study(
            write_study(tmp_path / str(len(more)), [Sample("a", "P1"), control, *more])
        )
        page = page_of(study_.results, tmp_path / "report.html")
        assert told in page
        assert "The negative control had no T cell" not in page


def test_a_page_without_contrast_or_share_says_the_true_cause(tmp_path: Path) -> None:
    """Two samples of a patient of other times: "it takes two samples of a patient"; no T cell: "none large enough"."""
    results = write_study(
        tmp_path / "results", [Sample("a", "P1", t_share=0.0), Sample("b", "P1", t_share=0.0)]
    )
    for name in ("contrasts", "localization"):
        table = pd.read_csv(results / "cohort" / f"{name}.tsv", sep="\t", dtype=str)
        empty = (
            table.iloc[:0] if name == "contrasts" else table.assign(estimate="", low="", high="")
        )
        empty.to_csv(results / "cohort" / f"{name}.tsv", sep="\t", index=False)
    page = page_of(results, tmp_path / "report.html")
    assert "of one time point, or two time points of one compartment" in page
    assert "large enough" not in page


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


def test_twenty_samples_and_fifty_thousand_cells_stay_below_ten_megabytes(large: Path) -> None:
    page = large.read_text()
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


def test_the_demo_study_of_these_tests_holds_every_verdict() -> None:
    assert {s.role for s in demo_samples()} == {"case", "product", "negative_control"}


def test_samples_stand_in_one_order(results: Path, tmp_path: Path) -> None:
    """Tables that were written by name follow the sheet's order, as the cards do."""
    shutil.copytree(results, tmp_path / "results")
    path = tmp_path / "results" / "cohort" / "thresholds.tsv"
    head, *rows = path.read_text().splitlines(keepends=True)
    path.write_text("".join([head, *reversed(rows)]))
    study = read_study(tmp_path / "results")
    shown = set(study.thresholds["sample"])
    assert list(dict.fromkeys(study.thresholds["sample"])) == [
        s for s in study.samples if s in shown
    ]
