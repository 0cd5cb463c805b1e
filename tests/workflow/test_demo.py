"""The demo study against its truth: what the workflow makes of reads."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from operator import ne

import pandas as pd

from carseq.io.files import read_table
from carseq.report.share import share
from carseq.schema.obs import H5AD, OBS, OBS_MORE
from carseq.schema.tables import (
    BLOOD_IN_URINE,
    CONTRASTS,
    LOCALIZATION,
    LOSSES,
    MOLECULES,
)
from privacy import told
from runs import CAR, VOID, WORKFLOW, run

pytestmark = WORKFLOW


def test_true_cells_are_called(demo):
    for sample in demo.three_prime:
        truth, called = demo.truth(sample), demo.called_barcodes(sample)
        assert truth.index.isin(called).mean() >= 0.95, sample
        assert len(called - set(truth.index)) <= 0.01 * len(called), sample


def test_car_t_cells_are_found(demo):
    n_positive, n_true, n_own, n_found = demo.car_calls(demo.three_prime)
    assert n_own >= 40
    assert n_true / n_positive >= 0.9
    assert n_found / n_own >= 0.85


def test_the_negative_control_has_no_positive_call(demo):
    assert demo.detection.loc["P01_urine_D0", "n_car_positive"] == 0
    assert demo.detection.loc["P01_urine_D0", "verdict"] == "not_detected"
    assert demo.detection.loc["P01_urine_D0", "detection_limit"] <= 0.5


def test_verdicts_of_urine_and_blood_are_right(demo):
    for sample in ("P01_urine_D28", "P01_blood_D28"):
        row, truth = demo.detection.loc[sample], demo.truth(sample)
        t_cells = truth[(truth["lineage"] == "T") & (truth["kind"] == "cell")]
        share = (t_cells["is_car_t"].astype(str) == "True").mean()
        assert row["verdict"] == "detected"
        assert row["prevalence_low"] <= share <= row["prevalence_high"]


def test_the_demo_has_no_blood_in_its_urine(demo):
    """No cell of the demo's urine is blood's: the interval ends below 50 %, and blood explains no CAR T cells."""
    table = read_table(demo.results / "cohort/blood_in_urine.tsv", BLOOD_IN_URINE)
    row = table[table["population"] == "combined"].set_index("sample").loc["P01_urine_D28"]
    assert row["high"] < 0.5
    assert row["p_blood_alone"] < 0.01


def test_lineages_are_right(demo):
    right = n = 0
    for sample in demo.samples:
        both = demo.cells(sample).join(demo.truth(sample), rsuffix="_true", how="inner")
        singlets = both[both["kind"] == "cell"]
        right += (singlets["lineage"].astype(str) == singlets["lineage_true"]).sum()
        n += len(singlets)
    assert right / n >= 0.95


def test_car_molecules_are_recovered(demo):
    for sample in ("P01_urine_D28", "P01_blood_D28"):
        truth = pd.read_csv(demo.folder / f"truth/{sample}.car_molecules.tsv.gz", sep="\t")
        found = read_table(
            demo.results / f"samples/{sample}/molecules/molecules.parquet", MOLECULES
        )
        # A UMI may carry a sequencing error: molecules are matched by barcode and all but one base of the UMI.
        told_apart = found[found["evidence"].isin(["unique", "junction"])]
        assert (
            abs(len(told_apart) - truth["identifiable"].sum()) <= 0.03 * truth["identifiable"].sum()
        )
        umis = found.groupby("barcode")["umi"].agg(list)
        identifiable = truth[truth["identifiable"]]
        same = [
            any(sum(map(ne, umi, other)) <= 1 for other in umis.get(barcode, []))
            for barcode, umi in zip(identifiable["barcode"], identifiable["umi"], strict=True)
        ]
        assert sum(same) >= 0.97 * len(same)


def test_the_car_is_a_gene_with_its_counts(demo):
    assert CAR in demo.cohort.var_names
    counts = demo.cohort[:, CAR].layers["counts"].sum()
    truth = sum(
        demo.truth(s)[["n_car_own", "n_car_partner", "n_car_ambient"]].to_numpy().sum()
        for s in demo.samples
    )
    assert counts >= 0.9 * truth - 10
    assert demo.cohort.obs["car_umis"].sum() > 0


def test_tables_keep_their_columns(demo):
    cohort = demo.results / "cohort"
    for name, schema in (("localization", LOCALIZATION), ("contrasts", CONTRASTS)):
        table = read_table(cohort / f"{name}.tsv", schema)
        assert len(table) > 0
    assert set(OBS.columns) <= set(demo.cohort.obs.columns)
    assert demo.cohort.obs_names[0] == ":".join(
        demo.cohort.obs.iloc[0][["sample", "barcode"]].astype(str)
    )
    assert "proteinuria_g_per_day" in demo.cohort.obs
    sheet = read_table(demo.folder / "samples.tsv").columns
    assert set(demo.cohort.obs) <= {*OBS.columns, *OBS_MORE.columns, *sheet}
    held = {"X"} | {
        f'{slot}["{key}"]'
        for slot in ("layers", "obsm", "obsp", "var", "uns")
        for key in getattr(demo.cohort, slot)
    }
    assert held <= set(H5AD)
    assert {'layers["counts"]', 'layers["corrected"]'} <= held
    for sample in demo.samples:
        losses = read_table(
            demo.results / f"samples/{sample}/calling/losses.tsv", LOSSES
        ).set_index("step")["n"]
        where = ["more_likely_endogenous", "droplet_not_called", "filtered_cell", "doublet", "other_lineage",
                 "t_cell_uncertain", "t_cell_positive"]  # fmt: skip
        assert losses[where].sum() == losses["car_molecules"]
    for name in (
        "run_config.yaml",
        "versions.json",
        "construct/lint.json",
        *(
            f"notebooks/{n}.ipynb"
            for n in ("01_quality", "02_cells", "03_car_t_cells", "04_localization")
        ),
    ):
        assert (demo.results / name).stat().st_size > 0, name


def test_the_report_says_the_verdict(demo):
    page = (demo.results / "report/report.html").read_text()
    assert "CAR T cells detected" in page
    assert "surrogate" in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_sample_without_cells_does_not_stop_the_study(demo):
    """A sample of barcodes with a single read each, beside good ones: tables, page, notebooks, exports are made."""
    assert demo.detection.loc[VOID, "verdict"] == "undetermined"
    assert demo.detection.loc[VOID, "n_cells"] == 0
    for name in ("report/report.html", f"report/reads/{VOID}.bam", "ro-crate-metadata.json"):
        assert (demo.results / name).stat().st_size > 0, name
    # An index was given: none is made.
    assert not (demo.results / "reference/base").exists()


def test_the_second_run_does_nothing_and_says_so(demo):
    assert "Nothing to be done" in run(demo.folder)


def test_the_demos_command_prints_the_verdict_of_a_finished_demo(demo):
    """`carseq demo` takes the study that is there, repeats no job, and says what was found."""
    page = demo.results / "report/report.html"
    before = page.stat().st_mtime_ns
    command = [sys.executable, "-m", "carseq", "demo", str(demo.folder), "--cores", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the study is there" in done.stderr
    said = done.stdout + done.stderr
    assert all(name in said for name in demo.detection.index)
    assert "detected" in said
    assert page.stat().st_mtime_ns == before


def test_nothing_that_is_handed_on_tells_of_the_machine(demo, tmp_path):
    """Neither folders nor host nor user: report, notebooks, tables, BAM headers, h5ad, manifest, record, shared pack.

    In the pack with other names, those of samples and patients are nowhere either.
    """
    share(demo.results, tmp_path / "plain.zip")
    share(demo.results, tmp_path / "renamed.zip", rename=True)
    assert told(demo.results, tmp_path / "plain.zip", tmp_path / "renamed.zip") == []
    with zipfile.ZipFile(tmp_path / "renamed.zip") as packed:
        texts = {name: packed.read(name).decode() for name in packed.namelist()}
    # Three letters are found by chance in half a million of base64.
    texts = {name: re.sub(r"[A-Za-z0-9+/]{1000,}", "", text) for name, text in texts.items()}
    assert len(texts) > 15
    assert [name for name, text in texts.items() if "P01" in text or "P01" in name] == []
