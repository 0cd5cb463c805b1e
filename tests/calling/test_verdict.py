"""calling/verdict: what is said of a sample, in a code and a sentence."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from carseq.calling import call_cells
from carseq.calling.negbin import upper_tail, upper_tail_of
from carseq.calling.verdict import decide
from carseq.schema.percent import two_digit_percent


@pytest.mark.parametrize(("limit", "text"), [(0.0004, "0.04 %"), (0.0123, "1.2 %"), (0.4, "40 %")])
def test_the_limit_is_said_with_its_digits(limit: float, text: str) -> None:
    """A limit below 0.05 % is not a limit of 0.0 %."""
    verdict, sentence = decide(0, 900, 0.0, limit, 0.0)
    assert verdict == "not_detected"
    assert f"above {text} of T cells" in sentence
    assert two_digit_percent(limit) == text


def test_cells_kept_for_their_car_molecules_are_told():
    """A matrix of the CAR+ cells alone: "83 of 83 T cells called positive", a fraction of 100 %, and not a word."""
    rng = np.random.default_rng(1)
    depth = rng.lognormal(np.log(2500), 0.5, 400)
    shown = rng.poisson(rng.gamma(2, 1, 400) * depth / 2500) * (rng.random(400) < 0.3)
    for kept, told in ((shown > 0, True), (shown >= 0, False)):
        obs = pd.DataFrame({"total_umis": depth[kept].astype(int), "sample": "S", "lineage": "T"})
        obs = obs.assign(
            barcode=[f"B{i}" for i in range(len(obs))], is_doublet=False, is_damaged=False
        )
        obs.index = "S:" + obs["barcode"]
        counts = sparse.csr_matrix(np.c_[shown[kept], np.zeros(len(obs))])
        adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=["CAR", "CD3E"]))
        detection = call_cells(adata, None, pd.DataFrame({"sample": ["S"]}), car="CAR")
        assert ("left out of the matrix" in detection["verdict_text"][0]) is told


@pytest.mark.parametrize("k", [0, 1, 2, 7, 40, 41])
def test_both_ways_to_a_tail_are_scipys(k: int) -> None:
    """Means of 1e-6 to 1e5, shapes of 1e-5 to 1e6: one count's tail to 1e-10, the other to 1e-3 of itself."""
    rng = np.random.default_rng(1)
    mean, shape = (10 ** rng.uniform(*ends, 20_000) for ends in ((-6, 5), (-5, 6)))
    known = stats.nbinom.sf(k - 1, shape, shape / (shape + mean))
    np.testing.assert_allclose(upper_tail_of(k, mean, shape), known, rtol=0, atol=1e-10)
    np.testing.assert_allclose(upper_tail(np.array(k), mean, shape), known, rtol=1e-3, atol=1e-200)


def test_molecules_that_were_seen_and_not_counted_are_told():
    """A CAR of 0 and 1 alone: 30 % CAR T cells came out as 96 % (74-100 %), and not a word."""
    rng = np.random.default_rng(7)
    depth = rng.lognormal(np.log(2500), 0.5, 400)
    shown = rng.poisson(rng.gamma(2, 1, 400) * depth / 2500) * (rng.random(400) < 0.35)
    for counts, told in ((np.minimum(shown, 1), True), (shown, False)):
        obs = pd.DataFrame({"total_umis": depth.astype(int), "sample": "S", "lineage": "T"})
        barcodes = [f"B{i}" for i in range(len(obs))]
        obs = obs.assign(barcode=barcodes, is_doublet=False, is_damaged=False)
        obs.index = "S:" + obs["barcode"]
        counts = sparse.csr_matrix(np.c_[counts, np.zeros(len(obs))])
        adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=["CAR", "CD3E"]))
        detection = call_cells(adata, None, pd.DataFrame({"sample": ["S"]}), car="CAR")
        assert ("not how often" in detection["verdict_text"][0]) is told


def test_one_t_cell_is_one_in_the_sentence():
    """ "1 of 1 T cells called positive, 0.02 of them" stood in detection.tsv and on the terminal."""
    assert "1 of 1 T cell called positive, 0.02 of it expected" in decide(1, 1, 0.0, 1.0, 0.02)[1]
    assert "2 of 3 T cells called positive, 0.02 of them" in decide(2, 3, 0.0, 1.0, 0.02)[1]
    assert "no positive call among 1 T cell, but 90 %" in decide(0, 1, 0.9, 1.0, 0.0)[1]
    # A physician read "4.5e-05 of them".
    assert (
        "2 of 3 T cells called positive, fewer than 0.001 of them"
        in decide(2, 3, 0.0, 1.0, 4.5e-5)[1]
    )


def test_a_doubtful_call_in_a_control_may_be_false():
    """One call, 0.04 expected to be false: "it holds CAR T cells, or tubes were exchanged" alone was said."""
    told = [
        decide(n, 50, 0.0, 0.1, false, role="negative_control")[1]
        for n, false in ((1, 0.04), (1, 1e-4), (9, 0.4))
    ]
    assert ["false one" in text for text in told] == [True, False, False]
    assert all("tubes were exchanged" in text for text in told)
