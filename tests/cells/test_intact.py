"""Damaged cells, failed libraries, and filters that remove much."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq import cells
from carseq.calling.verdict import decide
from carseq.cells.filters import failed_libraries, filter_alerts
from carseq.cells.intact import RIBOSOMAL, intactness
from carseq.cells.intronic import intronic_share
from carseq.cells.markers import CROSS_TALK, car_genes, homologs_of
from tiny import write_bam

PBMC = Path(__file__).parents[3] / "shared/data/real_pbmc"
needs_pbmc = pytest.mark.skipif(not PBMC.exists(), reason="no ../shared/data/real_pbmc")


def without_cytoplasm(data: ad.AnnData, rows: np.ndarray, seed: int = 0) -> None:
    """Remove 97 % of ribosomal and 85 % of most other mRNA from cells; a third of the genes and MALAT1 stay."""
    rng = np.random.default_rng(seed)
    keep = np.where(rng.random(data.n_vars) < 0.35, 0.9, 0.15)
    keep[data.var_names.str.match(RIBOSOMAL)] = 0.03
    keep[data.var_names.isin(["MALAT1", "NEAT1"])] = 1.0
    lose(data, rows, keep, rng)


def lose(data: ad.AnnData, rows: np.ndarray, keep: np.ndarray, rng: np.random.Generator) -> None:
    """Keep each molecule of cells with the probability of its gene."""
    x = sparse.csr_matrix(data.X)
    for i in rows:
        at = slice(x.indptr[i], x.indptr[i + 1])
        x.data[at] = rng.binomial(x.data[at].astype(int), keep[x.indices[at]])
    x.eliminate_zeros()
    data.X = x


@pytest.fixture(scope="module")
def typed() -> ad.AnnData:
    """PBMC 1k v3 with their types."""
    data = ad.read_h5ad(PBMC / "pbmc1k_v3.h5ad")
    data.var_names_make_unique()
    return cells.annotate(data)


@needs_pbmc
@pytest.mark.parametrize("share", [0.1, 0.6, 1.0])
def test_cells_without_cytoplasm_are_flagged(typed: ad.AnnData, share: float) -> None:
    """A tenth, most or all of the T cells damaged: 95 % of them flagged, and at most 7 % of the others."""
    data = typed.copy()
    t = np.flatnonzero(data.obs["lineage"] == "T")
    hit = np.random.default_rng(1).choice(t, round(share * t.size), replace=False)
    without_cytoplasm(data, hit)
    intactness(data)
    damaged = data.obs["is_damaged"].to_numpy()
    other = np.setdiff1d(np.flatnonzero(typed.obs["lineage"] != "unknown"), hit)
    assert damaged[hit].mean() >= 0.95
    # PBMC hold some damaged cells of their own: 16 of 906 have ribosomal genes below 2 % of UMIs.
    assert damaged[other].mean() <= 0.07
    kept = data.obs["intact_fraction"]
    assert kept.between(0, 1).all()
    assert kept.iloc[hit].median() < 0.8 < kept.iloc[other].median()


@needs_pbmc
def test_damaged_cells_are_found_where_most_are(typed: ad.AnnData) -> None:
    """Of T cells in 3' reads 75 % lost as much as in CAR T libraries: 95 % of them flagged, 7 % of others at most."""
    data = typed[typed.obs["lineage"] == "T"].copy()
    rng = np.random.default_rng(21)
    hit = rng.random(data.n_obs) < 0.75
    nuclear = data.var_names.isin(["MALAT1", "NEAT1"])
    keep = np.select([nuclear, data.var_names.str.match(RIBOSOMAL)], [0.55, 0.07], 0.42)
    lose(data, np.flatnonzero(hit), keep, rng)
    intactness(data)
    damaged = data.obs["is_damaged"].to_numpy()
    assert damaged[hit].mean() >= 0.95
    assert damaged[~hit].mean() <= 0.07


@needs_pbmc
def test_unspliced_rna_speaks_for_damage(typed: ad.AnnData) -> None:
    """T cells that lost half of their ribosomal share: with 70 % unspliced RNA flagged, with the usual 20 % not."""
    data = typed.copy()
    t = np.flatnonzero(data.obs["lineage"] == "T")[:60]
    x = data.X.tolil()
    ribo = np.flatnonzero(data.var_names.str.match(RIBOSOMAL))
    x[np.ix_(t, ribo)] = np.rint(0.35 * data.X[t][:, ribo].toarray())
    data.X = x.tocsr()
    shares = {}
    for share in (np.nan, 20.0, 70.0):
        data.obs["pct_intronic"] = 20.0
        data.obs.iloc[t, data.obs.columns.get_loc("pct_intronic")] = share
        intactness(data)
        shares[share] = data.obs["is_damaged"].to_numpy()[t].mean()
    assert shares[70.0] > 0.8
    assert max(list(shares.values())[:2]) < 0.5


def test_a_bam_of_cell_ranger_tells_the_intronic_share(tmp_path: Path) -> None:
    """70 and 20 % of reads in introns are found within 1 %; few reads, and a BAM without the tag, give NaN, not 0."""
    cells_ = ["ACGTACGTACGTACGT", "TTGCACGTACGTACGA", "GGGCACGTACGTACGA"]
    reads = []
    for name, intronic, n in zip(cells_, (70, 20, 5), (100, 100, 10), strict=True):
        for i in range(n):
            tags = [("CB", f"{name}-1"), ("RE", "N" if i < intronic else "E")]
            reads.append((f"chr{1 + i % 2}", 1_000 * i + 50, "ACGT" * 10, tags))
            # Between genes, against the gene's direction: no RNA of a gene.
            reads.append(("chr1", 500 * i, "ACGT" * 10, [("CB", f"{name}-1"), ("RE", "I")]))
            against = [("CB", f"{name}-1"), ("RE", "N"), ("AN", "ENST1,+1,40M")]
            reads.append(("chr2", 500 * i, "ACGT" * 10, against))
    contigs = [("chr1", 5_000_000), ("chr2", 2_500_000)]
    write_bam(tmp_path / "ranger.bam", contigs, reads)
    share = intronic_share(tmp_path / "ranger.bam", pd.Index(cells_))
    assert share[:2] == pytest.approx([70, 20], abs=1)
    assert np.isnan(share[2])
    plain = [(contig, start, bases, tags[:1]) for contig, start, bases, tags in reads]
    write_bam(tmp_path / "star.bam", contigs, plain)
    assert np.isnan(intronic_share(tmp_path / "star.bam", pd.Index(cells_))).all()


def test_a_panel_without_ribosomal_genes_is_not_judged() -> None:
    """Nothing to go by: every cell counts as whole, none as damaged."""
    data = ad.AnnData(sparse.csr_matrix(np.ones((5, 3))), var=pd.DataFrame(index=["A", "B", "C"]))
    intactness(data)
    assert (data.obs["intact_fraction"] == 1).all()
    assert not data.obs["is_damaged"].any()


def measured(pct: np.ndarray, genes: np.ndarray, kind: str = "T") -> ad.AnnData:
    n = len(pct)
    data = ad.AnnData(sparse.csr_matrix((n, 2), dtype=np.float32), var=pd.DataFrame(index=["A", "CAR"]))  # fmt: skip
    data.X = sparse.csr_matrix(np.c_[np.ones(n), np.arange(n) % 10 == 0].astype(np.float32))
    data.obs["sample"], data.obs["lineage"] = "U1", kind
    data.obs["pct_mito"], data.obs["n_genes"], data.obs["total_umis"] = pct, genes, 3 * genes
    return data


def test_the_mitochondrial_limit_follows_stressed_cells_and_not_broken_ones() -> None:
    """Urine: intact cells at 20 % mitochondrial UMIs stay (95 %), broken ones at 60 % go, though they are as many."""
    rng = np.random.default_rng(0)
    intact, broken = rng.normal(20, 4, 300), rng.normal(62, 8, 300)
    data = measured(np.r_[intact, broken].clip(0, 95), rng.integers(300, 900, 600))
    kept, _ = cells.filter_cells(data)
    names = np.arange(600) < 300
    stays = data.obs_names.isin(kept.obs_names)
    assert stays[names].mean() >= 0.95
    assert stays[~names].mean() <= 0.05
    fresh, _ = cells.filter_cells(measured(rng.normal(4, 1, 300), rng.integers(300, 900, 300)))
    assert fresh.obs["pct_mito"].max() <= 10


def test_a_raised_limit_is_no_warning_and_a_lineage_hit_harder_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Ordinary PBMC, all lineages at 11 %: silent. T cells of which 28 % lie far above: told, with both figures."""
    rng = np.random.default_rng(3)
    usual = rng.normal(11, 1.5, 400)
    data = measured(usual, rng.integers(900, 1500, 400))
    data.obs["lineage"] = np.repeat(["T", "B"], 200)
    cells.filter_cells(data)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    data.obs["pct_mito"] = np.where(np.arange(400) < 56, 45.0, rng.normal(4, 1, 400))
    cells.filter_cells(data)
    (told,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "28 % of the T cells and 0 % of the others" in told


def test_few_kidney_cells_are_not_lost_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    """Eight kidney cells at 40 % beside 60 others: told. Of four such samples together, they say their own limit."""
    rng = np.random.default_rng(4)
    pct = np.r_[rng.normal(36, 4, 8), rng.normal(4, 1, 60)]
    data = measured(pct, np.full(68, 900))
    data.obs["lineage"] = np.r_[np.repeat("kidney", 8), np.repeat("myeloid", 60)]
    kept, _ = cells.filter_cells(data)
    assert (kept.obs["lineage"] == "kidney").sum() == 0
    (told,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert "100 % of the kidney cells" in told
    study = ad.concat({f"U{i}": data for i in range(4)}, label="sample", index_unique="-")
    kept, _ = cells.filter_cells(study)
    assert (kept.obs["lineage"] == "kidney").sum() >= 28
    assert (kept.obs["lineage"] == "myeloid").sum() >= 236


def test_a_filter_that_removes_much_is_an_alert(caplog: pytest.LogCaptureFixture) -> None:
    """Half of a sample without genes: the alert tells the CAR-bearing cells first, the figure and what to change."""
    genes = np.r_[np.full(60, 20), np.full(50, 800)]
    data = measured(np.full(110, 3.0), genes)
    _, filters = cells.filter_cells(data, car="CAR")
    (sample, message, remedy), *rest = filter_alerts(filters)
    assert not rest
    assert sample == "U1"
    assert message.startswith("6 of the cells removed show the CAR; ")
    assert "60 of 110 cells (55 %)" in message
    assert "min_genes" in remedy


@needs_pbmc
@pytest.mark.parametrize("depth", [2, 20, 45])
def test_a_failed_library_is_failed(typed: ad.AnnData, depth: int) -> None:
    """Droplets of 2 to 45 UMIs of the mean cell: no type, and the library is told as failed."""
    rng = np.random.default_rng(0)
    soup = np.asarray(typed.X.sum(axis=0)).ravel()
    rows = rng.multinomial(depth, soup / soup.sum(), 300)
    data = ad.AnnData(sparse.csr_matrix(rows.astype(np.float32)), var=typed.var[[]])
    data.obs["sample"] = "S1"
    cells.annotate(cells.quality(data))
    assert (data.obs["lineage"] == "unknown").all()
    assert failed_libraries(data) == {"S1": data.obs["n_genes"].median()}


@needs_pbmc
@pytest.mark.parametrize("depth", [100, 300, 900, 3000])
def test_soup_droplets_are_no_b_cells(typed: ad.AnnData, depth: int) -> None:
    """Droplets of the mean cell's RNA: at most 5 % are given a lineage, and none of them surely."""
    rng = np.random.default_rng(0)
    soup = np.asarray(typed.X.sum(axis=0)).ravel()
    rows = rng.multinomial(depth, soup / soup.sum(), 400)
    data = ad.AnnData(sparse.csr_matrix(rows.astype(np.float32)), var=typed.var[[]])
    cells.annotate(data)
    given = data.obs["lineage"] != "unknown"
    assert given.mean() <= 0.05
    assert (data.obs["lineage_confidence"][given] < 0.95).all()


@needs_pbmc
@pytest.mark.parametrize("depth", [900, 3000])
def test_soup_between_cells_is_unknown(typed: ad.AnnData, depth: int) -> None:
    """A third of the droplets of an uneven soup: at most 5 % of them typed, and 98 % of the cells."""
    rng = np.random.default_rng(2)
    soup = np.asarray(typed.X.T @ rng.lognormal(0, 1.5, typed.n_obs)).ravel()
    rows = rng.multinomial(depth, soup / soup.sum(), 450)
    both = ad.AnnData(
        sparse.vstack([typed.X, sparse.csr_matrix(rows.astype(np.float32))]).tocsr(),
        var=typed.var[[]],
    )
    cells.annotate(both)
    given = (both.obs["lineage"] != "unknown").to_numpy()
    known = (typed.obs["lineage"] != "unknown").to_numpy()
    assert given[typed.n_obs :].mean() <= 0.05
    assert given[: typed.n_obs][known].mean() >= 0.98


def of_myeloid_cells(typed: ad.AnnData, depth: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return the myeloid cells thinned to ``depth``, and the profile of their ambient RNA, genes."""
    own = sparse.csr_matrix(typed[typed.obs["lineage"] == "myeloid"].X)
    profile = np.asarray(own.sum(axis=0), dtype=float).ravel()
    keep = depth / np.median(np.asarray(own.sum(axis=1)))
    own.data = np.random.default_rng(6).binomial(own.data.astype(int), keep).astype(np.float32)
    own.eliminate_zeros()
    return own, profile / profile.sum()


@needs_pbmc
@pytest.mark.parametrize("depth", [300, 800])
def test_soup_of_one_lineage_is_unknown(typed: ad.AnnData, depth: int) -> None:
    """300 droplets of the myeloid cells' ambient RNA, as of a lysed urine: none is a myeloid cell."""
    _, profile = of_myeloid_cells(typed, depth)
    rng = np.random.default_rng(7)
    sizes = np.maximum(rng.poisson(depth * rng.lognormal(0, 0.4, 300)), 60)
    drops = np.stack([rng.multinomial(k, profile) for k in sizes]).astype(np.float32)
    soup = cells.annotate(ad.AnnData(sparse.csr_matrix(drops), var=typed.var[[]]))
    assert (soup.obs["lineage"] == "unknown").mean() >= 0.95


@needs_pbmc
@pytest.mark.parametrize("depth", [150, 400])
def test_shallow_cells_of_one_lineage_are_no_soup(typed: ad.AnnData, depth: int) -> None:
    """Myeloid cells alone, as shallow as soup, of 60 UMIs or more: at most 5 % are unknown, since they differ."""
    own, _ = of_myeloid_cells(typed, depth)
    own = own[np.asarray(own.sum(axis=1)).ravel() >= 60]
    made = cells.annotate(ad.AnnData(own, var=typed.var[[]]))
    assert (made.obs["lineage"] == "unknown").mean() <= 0.05


@needs_pbmc
def test_a_blood_cell_is_no_kidney_cell(typed: ad.AnnData) -> None:
    """SOX4, PLCG2 and SLC8A1, which blood cells have too, make none of 906 PBMC a cell of the kidney."""
    assert not typed.obs["lineage"].isin(["kidney", "urogenital"]).any()


@needs_pbmc
@pytest.mark.parametrize(("lineage", "least"), [("T", 0.96), ("B", 0.92)])
def test_a_sample_of_one_lineage_is_no_soup(typed: ad.AnnData, lineage: str, least: float) -> None:
    """T cells alone, B cells alone, as in a product or after sorting: 96 % and 92 % keep their lineage.

    Activated B cells are then taken for dendritic cells, with which they share the genes of MHC class II.
    """
    own = typed[typed.obs["lineage"] == lineage].copy()
    cells.annotate(own)
    assert (own.obs["lineage"] == lineage).mean() >= least


def test_homologs_of_the_construct_take_the_place_of_the_usual_ones() -> None:
    """ICOS and TNFRSF4 of an ICOS CAR are barred and CD8A is free; without a table the usual genes are barred."""
    table = pd.DataFrame({"class": ["car_only", "shared", "junction"], "gene": ["", "ICOS", "TNFRSF4"]})  # fmt: skip
    data = ad.AnnData(sparse.csr_matrix((1, 1), dtype=np.float32), uns={"car": "CAR"})
    assert car_genes(data) == CROSS_TALK | {"CAR"}
    data.uns["car_homologs"] = sorted(homologs_of(table))
    assert car_genes(data) == {"ICOS", "TNFRSF4", "CAR"}
    assert car_genes(ad.AnnData(data.X)) == frozenset()


def test_a_failed_library_is_undetermined_and_says_so() -> None:
    """No call in a failed library excludes nothing, whatever T cells it seems to hold."""
    verdict, text = decide(0, 40, 0.0, 0.01, 0.0, median_genes=3.0)
    assert (verdict, text) == ("undetermined", "library failed: median of 3 genes in a cell")
    assert decide(0, 400, 0.0, 0.01, 0.0)[0] == "not_detected"


@needs_pbmc
def test_t_cells_beside_others_in_much_ambient_rna_are_cells(typed: ad.AnnData) -> None:
    """Half T cells, 30 % of the RNA ambient, 800 UMIs: nine in ten T cells are found; more than half were unknown."""
    rng = np.random.default_rng(61)
    is_t = (typed.obs["lineage"] == "T").to_numpy()
    rows = np.concatenate(
        [rng.choice(np.flatnonzero(kind), n, False) for kind, n in ((is_t, 110), (~is_t, 130))]
    )
    p = np.asarray(typed.X.sum(axis=0), dtype=np.float64).ravel()
    x = np.asarray(typed.X[rows].todense(), dtype=np.float64)
    x = 0.7 * x / x.sum(axis=1, keepdims=True) + 0.3 * p / p.sum()
    counts = sparse.csr_matrix(rng.poisson(800 * x).astype(np.float32))
    data = cells.annotate(ad.AnnData(counts, var=typed.var[[]].copy()))
    assert (data.obs["lineage"].to_numpy()[:110] == "T").mean() >= 0.9
