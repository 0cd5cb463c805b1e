"""figures/summaries: the tables behind figures and notebooks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from carseq.figures import summaries
from carseq.report import Study


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


def test_run_times_are_summed_by_rule(study: Study) -> None:
    """The benchmark files of eight samples: eight jobs of five minutes of align, one of cohort."""
    table = summaries.run_times(study.benchmarks).set_index("rule")
    assert list(table.index) == ["align", "cohort"]
    assert table.loc["align", ["n_jobs", "minutes", "longest_minutes"]].tolist() == [8, 40, 5]
    assert table.loc["cohort", ["cpu_minutes", "memory_mb"]].tolist() == [1.51, 857.49]
