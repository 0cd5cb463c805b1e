"""Doublets: how many are expected, and which are found."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.metrics import roc_auc_score

from carseq import cells
from carseq.cells.doublet import lineage_conflict
from carseq.cells.markers import kin, read_markers
from carseq.cells.stages import sample_cells
from cell_samples import PBMC, blood_in_ambient_rna, named
from helpers_cells import CAR, urine


def test_doublets_spare_singlets(demo: tuple[ad.AnnData, pd.DataFrame]) -> None:
    """At most 3 % of singlets called; at least half of simulated doublets found."""
    raw, _ = demo
    sample = named(raw)
    truth = sample.obs["is_doublet"].to_numpy()
    cells.doublets(sample, car=CAR)
    found = sample.obs["is_doublet"].to_numpy()
    assert found[~truth].mean() <= 0.03
    assert found[truth].mean() >= 0.5
    assert sample.obs["doublet_score"].notna().all()


def test_solo_scores_doublets_above_single_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """SOLO, asked for and briefly trained: AUROC of at least 0.7; its calls stay under the loading's bound.

    A cell without a UMI has no score, and takes none from the others.
    """
    from carseq.cells import doublet

    monkeypatch.setattr(doublet, "scvi_epochs", lambda n_cells: 15)
    sample = named(urine(400, 0, seed=2))
    first = sample[:360].copy()
    first.X = sparse.vstack([sample.X[:320], sample.X[320:360] + sample.X[360:400]]).tocsr()
    first.X[0] = 0
    first.X.eliminate_zeros()
    truth = np.arange(360) >= 320
    cells.doublets(first, car=CAR, scvi_solo=True)
    score = first.obs["solo_score"]
    assert score.isna().tolist() == [True] + [False] * 359
    assert roc_auc_score(truth[1:], score[1:]) >= 0.7
    assert (first.obs["doublet_reason"] == "SOLO").sum() <= 0.02 * first.n_obs
    few = cells.doublets(named(urine(40, 0)), scvi_solo=True)
    assert few.obs["solo_score"].isna().all()


@pytest.mark.parametrize(
    ("chemistry", "rate", "expected", "most"),
    [
        (None, None, 0.016, 0.042),
        ("custom", None, 0.016, 0.042),
        ("10x_3p_v3", None, 0.016, 0.042),
        ("10x_5p_v2", None, 0.016, 0.042),
        ("10x_3p_v4", None, 0.008, 0.026),
        ("10x_5p_v3", None, 0.008, 0.026),
        ("10x_3p_v4", 0.1, 0.1, 0.1),
    ],
)
def test_doublets_are_expected_by_the_chip(
    chemistry: str | None,
    rate: float | None,
    expected: float,
    most: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """2,000 cells: 0.8 % for each 1,000, half of it on a GEM-X chip, or what the user says; the bound goes along."""
    told: list[float] = []

    def scrublet(part: ad.AnnData, **options: float) -> None:
        told.append(options["expected_doublet_rate"])
        part.obs["doublet_score"] = np.linspace(0, 1, part.n_obs)
        part.uns["scrublet"] = {"doublet_scores_sim": np.full(10, 0.1), "threshold": 0.1}

    monkeypatch.setattr("scanpy.pp.scrublet", scrublet)
    rng = np.random.default_rng(0)
    raw = ad.AnnData(sparse.csr_matrix(rng.poisson(1.0, (2000, 60)).astype(np.float32)))
    raw.var_names = [f"G{i}" for i in range(60)]
    raw.obs_names = [f"B{i}" for i in range(2000)]
    made = sample_cells(
        raw, "S1", car=CAR, called=True, doublet_rate=rate, chemistry=chemistry
    ).cells
    assert told == [pytest.approx(expected)]
    assert made.obs["is_doublet"].mean() == pytest.approx(most, abs=0.001)


def test_few_cells_have_no_doublet_score() -> None:
    """Fewer than 100 cells: NaN and False."""
    sample = cells.doublets(named(urine(40, 0, types={"CD8 T cell": 1.0})))
    assert sample.obs["doublet_score"].isna().all()
    assert not sample.obs["is_doublet"].any()


def test_two_transcriptomes_in_a_droplet_are_found_where_scrublet_is_blind() -> None:
    """Of T cells and others that share a shallow droplet, at least half are marked; of single cells at most 1 %."""
    raw = urine(600, 3000, depth=900, contamination=0.1, doublet_rate=0.08, seed=4)
    calls = cells.call_barcodes(raw)
    sample = named(raw)
    truth = sample.obs["is_doublet"].to_numpy(bool)
    cells.quality(sample)
    sample.obs["is_doublet"], sample.obs["doublet_reason"] = False, ""
    cells.annotate(sample)
    cells.paired_transcriptomes(sample, {"S1": cells.ambient_profile(raw, calls)})
    found = sample.obs["is_doublet"].to_numpy()
    assert found[~truth].mean() <= 0.01
    # Some of the doublets are of one lineage, which no profile can tell.
    assert found[truth].mean() >= 0.5
    marked = sample.obs[found]
    assert (marked["doublet_reason"] == "two transcriptomes").all()
    assert (marked["doublet_partner"] != "").all()
    assert (sample.obs.loc[~found, "doublet_partner"] == "").all()


@pytest.mark.parametrize("n_cells", [0, 1, 8])
def test_few_cells_have_no_pairs(n_cells: int) -> None:
    """Without profiles of two lineages nothing is marked and nothing fails."""
    sample = named(urine(max(n_cells, 1), 0))[:n_cells].copy()
    sample.obs["is_doublet"], sample.obs["doublet_reason"] = False, ""
    profile = pd.DataFrame({"gene": sample.var_names, "fraction": 0.0})
    cells.paired_transcriptomes(cells.annotate(sample), {"S1": profile})
    assert not sample.obs["is_doublet"].any()
    assert (sample.obs["doublet_pair"] == 0).all()


@pytest.mark.skipif(not PBMC.exists(), reason="real PBMC data are not at ../shared/data/real_pbmc")
def test_real_cells_put_together_are_found() -> None:
    """60 pairs of real PBMC of two lineages: at least 80 % are marked; of the real cells at most 1.5 %."""
    pbmc = ad.read_h5ad(PBMC / "pbmc1k_v3.h5ad")
    pbmc.var_names_make_unique()
    lineage = cells.annotate(pbmc).obs["lineage"].to_numpy(str)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, pbmc.n_obs, (400, 2))
    known = ~np.isin(lineage, ["unknown", "erythroid"])
    pairs = [(i, j) for i, j in drawn if known[i] and known[j] and not kin(lineage[i], lineage[j])][
        :60
    ]
    counts = sparse.csr_matrix(pbmc.X)
    both = sparse.csr_matrix(sparse.vstack([counts, *(counts[i] + counts[j] for i, j in pairs)]))
    mixed = ad.AnnData(both, var=pd.DataFrame(index=pbmc.var_names))
    mixed.obs["sample"], mixed.obs["is_doublet"], mixed.obs["doublet_reason"] = "s1", False, ""
    soup = np.asarray(counts.sum(axis=0)).ravel()
    profile = pd.DataFrame({"gene": mixed.var_names, "fraction": soup / soup.sum()})
    cells.paired_transcriptomes(cells.annotate(mixed), {"s1": profile})
    found = mixed.obs["is_doublet"].to_numpy()
    assert found[pbmc.n_obs :].mean() >= 0.8
    # Some of them are true doublets: 8 in 1,000 are expected at this load.
    assert found[: pbmc.n_obs].mean() <= 0.015


@pytest.mark.skipif(not PBMC.exists(), reason="real PBMC data are not at ../shared/data/real_pbmc")
def test_t_cells_in_the_ambient_rna_of_all_blood_are_no_doublets() -> None:
    """Of T cells by protein, 30 % of whose RNA is ambient, a third were doublets of two lineages."""
    blood, t = blood_in_ambient_rna(3000, 0.3)
    conflict = lineage_conflict(blood[t].copy(), read_markers())
    assert conflict.mean() <= 0.05
