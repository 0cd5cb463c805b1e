"""report/alerts: what needs a look, of which sample, and what to do about it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from carseq.figures import phrases as words
from carseq.io.h5ad import read_h5ad, write_h5ad
from carseq.report import Study, alerts, build_report, read_study
from carseq.schema.results import FILES
from study import Sample, write_study


def test_alerts_name_the_sample_and_say_what_to_do(study: Study) -> None:
    found = {(a.where, a.message.split(" of reads")[0]): a for a in alerts.alerts(study)}
    assert ("P04_urine_D28", f"only 52{words.NBSP}%") in found
    assert ("P02_urine_D28", f"only 41{words.NBSP}%") in found
    assert ("P04_urine_D28", "no cells were kept") in found
    assert all(alert.remedy for alert in found.values())
    assert not any("surrogate" in a.message for a in found.values())


def test_a_sort_that_no_code_names_may_be_by_the_car(study: Study) -> None:
    """After "tdTomato+" the purity was given as the share of T cells, and nothing said what to write instead."""
    for code, advised in (("other", True), ("t_enriched", False)):
        sorted_ = replace(study, detection=study.detection.assign(gating=code))
        told = [a.remedy for a in alerts.alerts(sorted_) if "were sorted" in a.message]
        assert told
        assert all(("write `car_enriched`" in remedy) is advised for remedy in told)


def test_cells_kept_for_their_car_molecules_are_an_alert(study: Study) -> None:
    """T cells of one sample that all show one or two molecules: the others were left out of its matrix."""
    said = "left out of the matrix"
    assert not any(said in a.message for a in alerts.alerts(study))
    t_cells = study.cells["lineage"].astype(str).eq("T")
    sample = study.cells.loc[t_cells, "sample"].value_counts().index[0]
    own = t_cells & study.cells["sample"].eq(sample)
    umis = study.cells["car_umis"].where(~own, 1)
    told = alerts.alerts(replace(study, cells=study.cells.assign(car_umis=umis)))
    assert [a.where for a in told if said in a.message] == [sample]


def test_the_alert_of_a_control_says_what_its_verdict_says(study: Study) -> None:
    """One call, 0.04 expected to be false: the verdict said that it may be false, the alert did not."""
    control = study.detection["role"].eq("negative_control")
    assert control.any()
    for n, false, told in ((1, 0.04, True), (9, 0.1, False)):
        calls = {"n_car_positive": n, "expected_false_calls": false}
        table = study.detection.mask(control, study.detection.assign(**calls))
        found = alerts.alerts(replace(study, detection=table))
        said = [a.remedy for a in found if "a negative control with" in a.message]
        assert said
        assert all(("0.04 expected to be false" in remedy) is told for remedy in said)


def test_a_raw_matrix_that_was_given_is_not_asked_for(study: Study) -> None:
    """Its empty droplets held hardly a molecule: "give the raw matrix beside it" was the advice."""
    assumed = study.detection.assign(ambient_assumed=True, n_cells=40)
    for given, told in (
        ({"raw_matrix": "r.h5"}, "hold hardly a molecule"),
        ({"matrix": "m.h5"}, "Give the raw matrix"),
    ):
        config = study.config | {"sheet": dict.fromkeys(study.samples, given)}
        found = alerts.alerts(replace(study, detection=assumed, config=config))
        said = [a.remedy for a in found if "ambient RNA was assumed" in a.message]
        assert len(said) == len(assumed)
        assert all(told in remedy for remedy in said)


def test_a_sample_without_t_cells_has_none(study: Study) -> None:
    """ "Only 0 T cells among 65 cells" stood among the alerts."""
    none = study.detection.assign(n_t_cells=0, n_cells=65, verdict="undetermined")
    told = [a.message for a in alerts.alerts(replace(study, detection=none))]
    assert "no T cells among 65 cells" in " ".join(told)
    assert not any("only 0" in message for message in told)


def test_other_rows_of_the_vector_in_a_matrix_are_an_alert(study: Study) -> None:
    """The CAR's row of a given matrix held nothing, and WPRE beside it all of the mRNA: "not detected" stood there."""
    sample, other = study.samples[:2]
    rows = pd.DataFrame({"sample": [sample, other], "gene": "WPRE", "molecules": [9_000, 3]})
    sheet = {sample: {"raw_matrix": "raw.h5"}, other: {}}
    given = replace(study, beside_car=rows, config=study.config | {"sheet": sheet})
    told = [a for a in alerts.alerts(given) if "WPRE (9,000)" in a.message]
    assert [(a.level, a.where) for a in told] == [("error", sample)]
    assert not any("the matrix counts" in a.message for a in alerts.alerts(study))


def test_a_lineage_lost_to_a_limit_is_an_alert(tmp_path: Path) -> None:
    """All tubule cells of a urine went by the mitochondrial limit: the log told it, the page did not."""
    results = write_study(tmp_path)
    path = results / "cohort/cells.h5ad"
    cells = read_h5ad(path)
    sample = str(cells.obs["sample"].iloc[0])
    hit = {
        "sample": sample,
        "step": "too many mitochondrial UMIs",
        "lineage": "kidney",
        "n": 8,
        "n_removed": 8,
    }
    cells.uns["lineages_hit"] = {k: np.array([v]) for k, v in (hit | {"others": 0.05}).items()}
    write_h5ad(cells, path)
    (told,) = [a for a in alerts.alerts(read_study(results)) if "kidney cells" in a.message]
    assert told.where == sample
    assert "8 of 8" in told.message.replace(words.NBSP, " ")
    assert "`cells.max_pct_mito`" in told.remedy


def test_rows_of_the_vector_are_found_in_the_cohort(tmp_path: Path) -> None:
    results = write_study(tmp_path)
    path = results / "cohort/cells.h5ad"
    cells = read_h5ad(path)
    cells.var_names = ["HBI0101", "WPRE", *cells.var_names[2:]]
    write_h5ad(cells, path)
    found = read_study(results).beside_car.set_index("sample")["molecules"]
    wpre = pd.Series(
        cells.layers["counts"][:, 1].toarray().ravel(), cells.obs["sample"].astype(str)
    )
    sums = wpre.groupby(level=0).sum()
    assert found.to_dict() == sums[sums > 0].astype(int).to_dict()


def test_a_car_that_was_seen_and_not_counted_is_an_alert(study: Study) -> None:
    """T cells of one sample of which none shows more than one molecule, though every other shows one."""
    said = "not how often"
    assert not any(said in a.message for a in alerts.alerts(study))
    t_cells = study.cells["lineage"].astype(str).eq("T")
    sample = study.cells.loc[t_cells, "sample"].value_counts().index[0]
    own = t_cells & study.cells["sample"].eq(sample)
    umis = study.cells["car_umis"].where(~own, np.arange(len(study.cells)) % 2)
    told = alerts.alerts(replace(study, cells=study.cells.assign(car_umis=umis)))
    assert [a.where for a in told if said in a.message] == [sample]


def test_assumed_ambient_rna_is_an_alert_of_its_sample(study: Study) -> None:
    first = study.detection["sample"].iloc[0]
    assumed = study.detection.assign(ambient_assumed=study.detection["sample"] == first)
    told = [a for a in alerts.alerts(replace(study, detection=assumed)) if "assumed" in a.message]
    assert [a.where for a in told] == [first]
    assert "raw_matrix" in told[0].remedy
    assert not any("assumed" in a.message for a in alerts.alerts(study))


def test_what_is_told_of_many_samples_is_told_once(study: Study) -> None:
    """Thirty matrices without empty droplets made thirty equal notes, in which the one warning was not seen."""
    assumed = replace(study, detection=study.detection.assign(ambient_assumed=True, n_cells=500))
    found = alerts.alerts(assumed)
    names = list(study.samples)
    assert [a.where for a in found if "assumed" in a.message] == names
    joined = alerts.together(found, names)
    assert [a.where for a in joined if "assumed" in a.message] == [f"all {len(names)} samples"]
    few = [a for a in found if "assumed" not in a.message or a.where in names[1:]]
    assert f"{len(names) - 1} samples: {', '.join(names[1:])}" in [
        a.where for a in alerts.together(few, names)
    ]
    assert {a.message for a in joined} == {a.message for a in found}
    assert alerts.together(found[:1] * 2, names) == found[:1]


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


def test_a_filter_that_takes_more_than_a_third_is_an_alert(results: Path, tmp_path: Path) -> None:
    mine = tmp_path / "results"
    shutil.copytree(results, mine)
    study = read_study(mine)
    for removed, n in ((100, 1), (99, 0)):
        row = study.filters.iloc[[0]].assign(n_before=300, n_removed=removed + 1 if n else removed)
        found = alerts.alerts(replace(study, filters=row))
        assert sum("removed 101 of 300 cells" in alert.message for alert in found) == n


@pytest.mark.parametrize(
    ("on_contig", "unlike", "explained", "told"),
    [
        (300, 300, 0, "error"), (330, 300, 30, "error"), (300, 100, 200, "warn"), (300, 30, 270, ""),
        (150, 19, 131, ""), (10, 10, 0, ""),
    ],
)  # fmt: skip
def test_a_contig_of_another_car_is_an_alert(
    study: Study, on_contig: int, unlike: int, explained: int, told: str
) -> None:
    """A BAM of another CAR's reference: all reads lay on a contig of the CAR's name, and the sample had none of it.

    Another CAR in the same vector shares its ends: up to half of the reads were left out without a word.
    """
    counts = {
        "candidates_on_contig": on_contig, "unlike_car": unlike, "car_reads": explained,
    }  # fmt: skip
    losses = study.losses.assign(
        n=[counts.get(step, 0) if i == study.losses["sample"].iloc[0] else 0
           for i, step in zip(study.losses["sample"], study.losses["step"], strict=True)]
    )  # fmt: skip
    found = [
        a
        for a in alerts.alerts(replace(study, losses=losses))
        if "on the CAR's contig" in a.message
    ]
    assert [(a.level, a.where) for a in found] == (
        [(told, study.losses["sample"].iloc[0])] if told else []
    )


def test_what_was_noted_of_reads_and_bam_stands_on_the_page(results: Path, tmp_path: Path) -> None:
    """A lane of another library, a part of a BAM, another assembly: only a log said so, and the page is read."""
    folder = tmp_path / "results"
    shutil.copytree(results, folder)
    sample = read_study(folder).samples[0]
    told = {
        "chemistry": {"other_libraries": ["L002_R1.fastq.gz"]},
        "belonging": {"doubts": [["the BAM is a part of what was counted", "give the whole BAM"]]},
    }
    for name, content in told.items():
        path = Path(FILES[name].at(folder, sample=sample))
        path.parent.mkdir(parents=True, exist_ok=True)
        held = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(held | content))
    cells = anndata.AnnData(np.ones((2, 2), np.float32))
    cells.uns["doubts"] = np.array(
        ["/x/m.h5ad: obs names 2 donors; give each its own matrix"], dtype=object
    )
    path = Path(FILES["car_checked"].at(folder))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"doubts": ["it is of another assembly; give both of one source"]}))
    path = Path(FILES["sample_cells"].at(folder, sample=sample))
    path.parent.mkdir(parents=True, exist_ok=True)
    cells.write_h5ad(path)
    found = [(a.where, a.message, a.remedy) for a in alerts.alerts(read_study(folder))]
    # Without its folder: the notebooks print it, too.
    assert (sample, "m.h5ad: obs names 2 donors", "Give each its own matrix.") in found
    assert ("reference", "it is of another assembly", "Give both of one source.") in found
    assert any(where == sample and "(L002_R1.fastq.gz)" in said for where, said, _ in found)
    assert (sample, "the BAM is a part of what was counted", "Give the whole BAM.") in found


def test_a_sort_that_only_a_name_tells_stands_on_the_page(tmp_path: Path) -> None:
    """`P1_CARpos` and `P1_CARneg` without `gating` were compared and pooled, and the page said nothing of a sort."""
    samples = [
        Sample("P1_CARpos", "P1", "blood", n_cells=40),
        Sample("P1_D28", "P1", "blood", n_cells=40),
    ]
    study = read_study(write_study(tmp_path / "results", samples))

    def told(study: Study) -> list[tuple[str, str]]:
        return [(a.where, a.remedy) for a in alerts.alerts(study) if "its name says" in a.message]

    ((where, remedy),) = told(study)
    assert where == "P1_CARpos"
    assert "`car_enriched`" in remedy
    sheet = {"P1_CARpos": {"gating": "unsorted"}}
    assert not told(replace(study, config={**study.config, "sheet": sheet}))
    sorted_ = study.detection.assign(gating="car_enriched", prevalence_is="purity")
    assert not told(replace(study, detection=sorted_))


def test_an_infusion_product_is_no_patient_sample_in_the_first_line(tmp_path: Path) -> None:
    """A product with the role `case`: "of 2 patient samples, 2 with CAR T cells detected"."""
    samples = [Sample("product", "P1", "product", n_cells=40), Sample("u", "P1", n_cells=40)]
    study = read_study(write_study(tmp_path / "results", samples))
    build_report(study.results, tmp_path / "report.html")
    assert "Of 1 patient sample:" in (tmp_path / "report.html").read_text()
