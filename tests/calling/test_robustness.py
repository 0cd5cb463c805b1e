"""robustness: what another threshold or a shallower library would have given."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from called_studies import CAR, study
from carseq.calling import call_cells, downsampling, thresholds


def test_the_threshold_in_use_gives_the_calls_that_were_made(called):
    """At the rate in use: the detection table's own calls, false calls, sensitivity, limit and verdict."""
    adata, _, detection = called
    table = thresholds(adata)
    used = table[table["in_use"]].set_index("sample")
    assert list(used.index) == list(detection.index)
    for column in ("n_car_positive", "expected_false_calls", "sensitivity", "detection_limit"):
        np.testing.assert_allclose(used[column], detection[column], err_msg=column)
    assert (used["verdict"] == detection["verdict"]).all()


def test_few_molecules_leave_both_tables_undetermined():
    """A limit below 0.5, and an interval that a molecule or two let end above it: one verdict in both tables."""
    base = {"role": "case", "timepoint": "D1", "compartment": "urine"}
    specs = {
        f"s{n}": {"n": n, "fraction": f, **base} for n, f in ((40, 0.1), (60, 0.05), (90, 0.03))
    }
    adata, samples = study(6, specs=specs, copies=8)
    found = call_cells(adata, None, samples, car=CAR).set_index("sample").loc["s90"]
    assert found["n_car_positive"] == 0
    assert found["detection_limit"] < 0.5 < found["prevalence_high"]
    table = thresholds(adata)
    used = table[table["in_use"]].set_index("sample").loc["s90"]
    assert (used["verdict"], found["verdict"]) == ("undetermined", "undetermined")


def test_a_laxer_threshold_never_calls_fewer_nor_promises_fewer_false_ones(called):
    adata, _, _ = called
    for _, own in thresholds(adata).groupby("sample"):
        assert (own["n_car_positive"].diff().dropna() >= 0).all()
        assert (own["expected_false_calls"].diff().dropna() >= 0).all()
        assert (own["expected_false_calls"] <= own["fdr"] * own["n_car_positive"] + 1e-9).all()


def test_downsampling_foretells_what_a_thinned_study_gives(called):
    """Molecules drawn at 30 % and 60 %, called anew, over 2 draws: calls within 12 %, sensitivity within 0.06."""
    adata, _, _ = called
    foretold = downsampling(adata).set_index(["sample", "share"])
    for share in (0.3, 0.6):
        positive, sensitivity = [], []
        for seed in range(2):
            rng = np.random.default_rng(seed)
            _, samples = study()
            thin = adata[:, :].copy()
            counts = rng.binomial(adata.layers["counts"].toarray().astype(int), share)
            thin.layers["counts"] = sparse.csr_matrix(counts)
            thin.obs["total_umis"] = counts.sum(axis=1)
            samples[["ambient_umis", "ambient_car"]] = rng.binomial(
                samples[["ambient_umis", "ambient_car"]].astype(int), share
            )
            again = call_cells(thin, None, samples, car=CAR).set_index("sample")
            positive.append(again["n_car_positive"].sum())
            sensitivity.append(again.loc["urine", "sensitivity"])
        expected = foretold.xs(share, level="share")["expected_positive"].sum()
        assert expected == pytest.approx(np.mean(positive), rel=0.12)
        assert foretold.loc[("urine", share), "sensitivity"] == pytest.approx(
            np.mean(sensitivity), abs=0.06
        )


def test_all_molecules_give_all_calls_and_fewer_see_less(called):
    """At a share of 1 the calls are those made (within 2); sensitivity falls and the limit rises with fewer."""
    adata, _, detection = called
    for sample, own in downsampling(adata).groupby("sample"):
        whole = own.set_index("share").loc[1.0]
        assert whole["expected_positive"] == pytest.approx(
            detection.loc[sample, "n_car_positive"], abs=2
        )
        assert (own["sensitivity"].diff().dropna() >= -1e-9).all()
        assert (own["detection_limit"].diff().dropna() <= 1e-9).all()


def test_samples_without_t_cells_have_no_rows():
    adata, samples = study(specs={"U": {"n": 20, "fraction": 0.0, "role": "case", "timepoint": "D1",
                                        "compartment": "urine", "t_share": 0.0}})  # fmt: skip
    call_cells(adata, None, samples, car=CAR)
    assert len(thresholds(adata)) == len(downsampling(adata)) == 0
