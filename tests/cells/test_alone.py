"""`carseq.annotate` and `carseq annotate`: any lab's matrix, good or bad, without a study."""

from __future__ import annotations

import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from typer.testing import CliRunner

import carseq
from carseq.cells.alone import genes_alone
from carseq.cells.protein import gate
from carseq.cli import app
from carseq.errors import CarseqError
from carseq.io.matrix import check_molecules
from helpers_cells import CAR, urine

COLUMNS = {
    "lineage",
    "cell_type",
    "cell_type_confidence",
    "marker_coverage",
    "t_state",
    "is_doublet",
    "intact_fraction",
    "is_damaged",
    "qc_reason",
    "leiden",
    "phase",
}


def cells_of(n: int, **options: object) -> ad.AnnData:
    made = urine(max(n, 1), 0, seed=3, **options)[:n].copy()  # type: ignore[arg-type]
    made.uns = {}
    return made


@pytest.fixture(scope="module")
def made() -> ad.AnnData:
    return cells_of(150)


def test_an_analyst_needs_no_study(made: ad.AnnData) -> None:
    """In place, all columns, no cell removed, X untouched; lineages right in 95 %, twice alike."""
    one, two = made.copy(), made.copy()
    assert carseq.annotate(one) is one
    carseq.annotate(two)
    assert set(one.obs) >= COLUMNS
    assert (one.X != made.X).nnz == 0
    assert (one.obs["lineage"] == made.obs["lineage"]).mean() >= 0.95
    for name in ("cell_type", "t_state", "leiden"):
        assert (one.obs[name].astype(str) == two.obs[name].astype(str)).all()


@pytest.mark.parametrize("n", [0, 1, 3])
def test_hardly_any_cell_is_no_error(n: int) -> None:
    """No cell, one, three: all columns, one row a cell."""
    found = carseq.annotate(cells_of(n))
    assert set(found.obs) >= COLUMNS
    assert found.n_obs == n


def test_samples_are_told_apart_in_any_order(made: ad.AnnData) -> None:
    """Two samples, cells shuffled: each cell keeps its row."""
    both = made[np.random.default_rng(0).permutation(made.n_obs)].copy()
    both.obs["donor"] = np.where(np.arange(both.n_obs) % 2, "a", "b")
    truth = both.obs["lineage"].copy()
    carseq.annotate(both, sample="donor")
    assert (both.obs["lineage"] == truth).mean() >= 0.93
    with pytest.raises(CarseqError, match="no column 'who'"):
        carseq.annotate(both, sample="who")


def test_counts_are_found_where_they_are(made: ad.AnnData) -> None:
    """Normalised X with counts in a layer or in raw: as from counts; without them a refusal that says why."""
    plain = carseq.annotate(made.copy()).obs["lineage"].astype(str)
    scaled = made.copy()
    scaled.layers["counts"] = scaled.X.copy()
    scaled.X = sparse.csr_matrix(np.log1p(scaled.X.toarray()))
    in_raw = made.copy()
    in_raw.raw = in_raw.copy()
    in_raw.X = scaled.X.copy()
    for data in (scaled, in_raw):
        assert (carseq.annotate(data).obs["lineage"].astype(str) == plain).all()
    del scaled.layers["counts"]
    with pytest.raises(CarseqError, match="normalised"):
        carseq.annotate(scaled)


@pytest.mark.parametrize(
    ("value", "words"),
    [(-1.0, "negative"), (np.inf, "infinite"), (np.nan, "infinite or missing"), (0.5, "whole")],
)
def test_what_is_no_count_is_refused(made: ad.AnnData, value: float, words: str) -> None:
    """Negative, infinite, missing and broken values are named."""
    bad = made[:20].copy()
    bad.X[0, bad.X[0].indices[0]] = value
    with pytest.raises(CarseqError, match="no raw counts") as error:
        carseq.annotate(bad)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [(lambda x: np.minimum(x, 1), "none of its"), (lambda x: 2 * x, "none is 1")],
)
def test_whole_numbers_that_are_no_molecules_are_refused(
    made: ad.AnnData, change, words: str
) -> None:  # type: ignore[no-untyped-def]
    """Genes seen or not, and doubled values, are not counts."""
    bad = made[:20].copy()
    bad.X.data = change(bad.X.data)
    with pytest.raises(CarseqError, match="no counts of molecules") as error:
        carseq.annotate(bad)
    assert words in str(error.value)


def test_rounded_normalised_values_are_told(
    made: ad.AnnData, caplog: pytest.LogCaptureFixture
) -> None:
    """Every cell with the same number of molecules: it may be normalised, which is said."""
    totals = np.asarray(made.X.sum(axis=1)).ravel()
    x = made.X.multiply(np.median(totals) / totals[:, None]).tocsr()
    x.data = np.rint(x.data)
    with caplog.at_level("WARNING", logger="carseq"):
        check_molecules(x, "the matrix")
        check_molecules(made.X, "another")
    (record,) = caplog.records
    assert "normalised and rounded" in record.message


def test_names_that_stand_twice_and_foreign_genes_are_refused(made: ad.AnnData) -> None:
    """A barcode twice, a marker gene twice, mouse genes, no symbol: each is told."""
    twice = made[[0, 0, 1]].copy()
    with pytest.raises(CarseqError, match="one name"):
        carseq.annotate(twice)
    marker = made[:20].copy()
    marker.var_names = ["CD3E", *marker.var_names[1:]]
    with pytest.raises(CarseqError, match="marker genes are in the matrix twice"):
        carseq.annotate(marker)
    mouse = made[:20].copy()
    mouse.var_names = [name.capitalize() for name in mouse.var_names]
    with pytest.raises(CarseqError, match="mouse"):
        carseq.annotate(mouse)
    nameless = made[:20].copy()
    nameless.var_names = [f"ENSG{i:011d}" for i in range(nameless.n_vars)]
    nameless.var = nameless.var[[]]
    with pytest.raises(CarseqError, match="none of the"):
        carseq.annotate(nameless)


def test_ids_alone_take_the_symbols_of_a_gtf(made: ad.AnnData, tmp_path: Path) -> None:
    """Ids without symbols and the GTF that names them: the same types as from symbols."""
    gtf = tmp_path / "genes.gtf"
    with gtf.open("w") as file:
        for i, name in enumerate(made.var_names):
            about = f'gene_id "ENSG{i:011d}"; gene_name "{name}"; transcript_id "T{i}";'
            file.write(f"1\tx\texon\t{i + 1}\t{i + 1}\t.\t+\t.\t{about}\n")
    few = made[:60]
    plain = carseq.annotate(few.copy()).obs["cell_type"].astype(str)
    ids = few.copy()
    ids.var = ids.var[[]]
    ids.var_names = [f"ENSG{i:011d}.3" for i in range(ids.n_vars)]
    assert (carseq.annotate(ids, gtf=gtf).obs["cell_type"].astype(str) == plain).all()


def test_ids_with_a_column_of_symbols_do(made: ad.AnnData) -> None:
    """Ensembl ids with `feature_name`: the same types as from symbols, and the names are left as they were."""
    plain = carseq.annotate(made.copy()).obs["cell_type"].astype(str)
    ids = made.copy()
    ids.var["feature_name"] = pd.Categorical(ids.var_names)
    ids.var_names = [f"ENSG{i:011d}.3" for i in range(ids.n_vars)]
    before = list(ids.var_names)
    assert (carseq.annotate(ids).obs["cell_type"].astype(str) == plain).all()
    assert list(ids.var_names) == before


@pytest.mark.parametrize("prefixes", [("GRCh38_", "mm10___"), ("", "")])
def test_cells_of_another_species_have_no_type(made: ad.AnnData, prefixes: tuple[str, str]) -> None:
    """Of a mix with mouse cells: the human cells keep their lineage, mouse cells (some human soup) have none."""
    rng = np.random.default_rng(0)
    soup = np.asarray(made.X.sum(axis=0)).ravel()
    other = made[:30].X
    of_human = sparse.vstack([made.X, rng.poisson(150 * soup / soup.sum(), (30, made.n_vars))])
    of_mouse = sparse.vstack([rng.poisson(20 * soup / soup.sum(), made.shape), other])
    one, other_one = prefixes
    names = [*(one + made.var_names), *(other_one + made.var_names.str.capitalize())]
    mixed = ad.AnnData(
        sparse.hstack([of_human, of_mouse]).tocsr().astype(np.float32),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(made.n_obs + 30)]),
        var=pd.DataFrame(index=names),
    )
    carseq.annotate(mixed)
    human, mouse = mixed.obs.iloc[:-30], mixed.obs.iloc[-30:]
    assert (human["lineage"].to_numpy() == made.obs["lineage"].to_numpy()).mean() >= 0.95
    assert (mouse[["lineage", "cell_type"]] == "unknown").all(axis=None)
    assert mouse["pct_other_species"].min() > 50 > human["pct_other_species"].max()
    assert (human["total_umis"].to_numpy() == np.asarray(made.X.sum(axis=1)).ravel()).all()


def test_nothing_of_a_failed_library_is_typed(made: ad.AnnData, tmp_path: Path) -> None:
    """Beside a good sample: of the failed one no cell has a type, the file and the command say why."""
    both = ad.concat([made, made], index_unique="-")
    both.obs["tube"] = ["good"] * made.n_obs + ["bad"] * made.n_obs
    # Some of its cells keep more molecules than a cell must show to be typed.
    thin = np.random.default_rng(0).binomial(made.X.data.astype(int), 0.02)
    both.X = sparse.vstack([made.X, sparse.csr_matrix((thin, made.X.indices, made.X.indptr))])
    both.X = sparse.csr_matrix(both.X, dtype=np.float32)
    both.X.eliminate_zeros()
    both.write_h5ad(tmp_path / "both.h5ad")
    command = ["annotate", str(tmp_path / "both.h5ad"), "--out", str(tmp_path / "o.h5ad")]
    said = CliRunner().invoke(app, [*command, "--sample", "tube"])
    cells = ad.read_h5ad(tmp_path / "o.h5ad")
    bad = cells.obs["tube"] == "bad"
    assert (cells.obs["total_umis"][bad] >= 50).any()
    assert (cells.obs["lineage"][bad] == "unknown").all()
    assert (cells.obs["lineage"][~bad] == made.obs["lineage"].to_numpy()).mean() >= 0.95
    assert list(cells.uns["library_failed"]) == ["bad"]
    assert "library failed: median of" in said.output


def test_a_gene_of_both_sex_chromosomes_stands_twice(made: ad.AnnData) -> None:
    """GENCODE lists IL3RA on X and Y: no reason to refuse the matrix, as a marker that stands twice is."""
    few = made[:40].copy()
    few.var_names = ["IL3RA", *few.var_names[1:-1], "IL3RA"]
    carseq.annotate(few)
    assert (few.obs["lineage"] == made.obs["lineage"][:40].to_numpy()).mean() >= 0.9


def test_a_panel_lowers_confidence(made: ad.AnnData) -> None:
    """Without most T-cell markers no cell is an NK cell at a confidence above 0.8."""
    markers = carseq.cells.read_markers()
    t_genes = set(markers.loc[markers["lineage"] == "T", "gene"]) - {"NKG7", "CCL5", "GZMA", "CST7"}
    panel = made[:, ~made.var_names.isin(t_genes)].copy()
    carseq.annotate(panel)
    nk = panel.obs[panel.obs["lineage"] == "NK"]
    assert (nk["cell_type_confidence"] <= 0.8).all()


def test_names_in_quotation_marks_are_names(made: ad.AnnData) -> None:
    """An h5ad made from a table of R's `write.csv`: every gene in quotation marks, refused as no human genes."""
    quoted = made.copy()
    quoted.var_names = [f'"{name}"' for name in made.var_names]
    quoted.var["gene_id"] = [f'"{name}"' for name in made.var["gene_id"]]
    found = carseq.annotate(quoted, car=CAR)
    assert (found.obs["lineage"] == made.obs["lineage"]).mean() >= 0.95
    assert found.obs["pct_mito"].max() > 0


def test_antibodies_are_no_genes(made: ad.AnnData) -> None:
    """Antibodies among the features or in obsm are not RNA of the cell; they say which cells are T."""
    is_t = (made.obs["lineage"] == "T").to_numpy()
    seen = np.where(is_t[:, None], [400.0, 5.0], [8.0, 300.0])
    seen = np.random.default_rng(0).poisson(seen)
    mixed = ad.AnnData(
        sparse.hstack([made.X, sparse.csr_matrix(seen.astype(np.float32))]).tocsr(),
        obs=pd.DataFrame(index=made.obs_names),
        var=pd.DataFrame(
            {"feature_types": ["Gene Expression"] * made.n_vars + ["Antibody Capture"] * 2},
            index=[*made.var_names, "CD3_TotalSeqB", "CD14_TotalSeqB"],
        ),
    )
    beside = made.copy()
    beside.obsm["protein_expression"] = seen
    beside.uns["protein_names"] = ["CD3_TotalSeqB", "CD14_TotalSeqB"]
    for one in (mixed, beside):
        counts, var, proteins = genes_alone(one, sparse.csr_matrix(one.X), one.var)
        assert list(var.index) == list(made.var_names)
        assert (counts.sum(axis=1) == made.X.sum(axis=1)).all()
        assert ((gate(proteins) == "T").to_numpy() == is_t).mean() >= 0.98


@pytest.mark.parametrize(
    ("names", "column"),
    [
        (["CD3_TotalSeqB", "adt_CD14"], None),
        (["chr1:9772-10660", "KI270726.1:27152-28034"], None),
        (["anti-CD3", "anti-CD14"], "modality"),
        (["CD3:UCHT1|CD3E|AHS0231|pAbO", "CD14:MPHIP9|CD14|AHS0037|pAbO"], None),
        (["CD4_TotalC", "TIGIT_TotalC"], None),
        (["CD4-TotalSeqC-0072", "TotalSeqC0051_CD14"], None),
        (["anti-human_CD4", "anti-CD14"], None),
        (["Hu.CD4", "Hu.CD14_M5E2"], None),
        (["A0034_CD3", "PROT-CD14"], None),
        (["Hashtag1", "HTO_2"], None),
    ],
)
def test_features_that_are_no_genes_are_known_without_10x_column(
    made: ad.AnnData, names: list[str], column: str | None
) -> None:
    """Antibodies and peaks by their names, or by a column of another name: their molecules are not the cell's RNA."""
    var = pd.DataFrame(index=[*made.var_names, *names])
    if column:
        var[column] = ["Gene Expression"] * made.n_vars + ["Antibody Capture"] * 2
    var["genome"] = "custom"
    more = sparse.csr_matrix(np.full((made.n_obs, 2), 300, dtype=np.float32))
    mixed = ad.AnnData(sparse.hstack([made.X, more]).tocsr(), made.obs[[]].copy(), var)
    counts, genes, proteins = genes_alone(mixed, mixed.X, mixed.var)
    assert list(genes.index) == list(made.var_names)
    assert (counts != made.X).nnz == 0
    assert (proteins is None) == names[0].startswith(("chr", "Hashtag"))
    with pytest.raises(CarseqError, match="holds no genes"):
        genes_alone(mixed, mixed.X[:, -2:], mixed.var[-2:])


def test_antibodies_called_as_proteins_are_known_among_genes(made: ad.AnnData) -> None:
    """CD45RA, CD16 and CD4-1 behind the genes, as scanpy joins them: three in four UMIs of a cell were antibodies'."""
    names = ["CD45RA", "CD16_3G8", "CD8a", "CD4-1"]
    genes = [*made.var_names.drop("CD4", errors="ignore"), "CD4", "HLA-DRA"]
    more = sparse.csr_matrix(np.full((made.n_obs, len(genes) + 4 - made.n_vars), 300, np.float32))
    mixed = ad.AnnData(
        sparse.hstack([made.X, more]).tocsr(),
        made.obs[[]].copy(),
        pd.DataFrame(index=[*genes, *names]),
    )
    _, var, proteins = genes_alone(mixed, mixed.X, mixed.var)
    assert list(var.index) == genes
    assert proteins is not None
    assert list(proteins) == names
    two = mixed[:, ~mixed.var_names.isin(names[:2])].copy()
    assert genes_alone(two, two.X, two.var)[2] is None


def test_a_matrix_on_disk_and_layers_of_other_names(made: ad.AnnData, tmp_path: Path) -> None:
    """`backed`, and counts in `layers["raw_counts"]` beside a normalised X: as from counts in memory."""
    few = made[:40].copy()
    plain = carseq.annotate(few.copy()).obs["cell_type"].astype(str)
    few.layers["raw_counts"] = few.X.copy()
    few.X = few.X.log1p()
    few.write_h5ad(tmp_path / "few.h5ad")
    found = carseq.annotate(ad.read_h5ad(tmp_path / "few.h5ad", backed="r"))
    assert (found.obs["cell_type"].astype(str) == plain).all()


def test_what_is_no_matrix_of_cells_is_refused(made: ad.AnnData) -> None:
    """A table, a transposed matrix, a CAR that is not there, a cell without a sample: each is told."""
    few = made[:20].copy()
    with pytest.raises(CarseqError, match="takes an AnnData"):
        carseq.annotate(few.to_df())
    with pytest.raises(CarseqError, match="is transposed"):
        carseq.annotate(few.T.copy())
    with pytest.raises(CarseqError, match="no gene named CRA"):
        carseq.annotate(few, car="CRA")
    few.obs["donor"] = ["a", None, *["b"] * 18]
    with pytest.raises(CarseqError, match="1 cells have no sample"):
        carseq.annotate(few, sample="donor")


def test_all_droplets_are_called_first() -> None:
    """A raw matrix: its cells come back, as many as there are within a tenth."""
    raw = urine(120, 2500, ambient=(10, 45), seed=4)
    found = carseq.annotate(raw, car=CAR)
    assert 108 <= found.n_obs <= 132
    assert raw.n_obs == 2620


def test_the_command_writes_a_file(made: ad.AnnData, tmp_path: Path) -> None:
    """`carseq annotate`: an h5ad with the labels, and a line a type."""
    made.write_h5ad(tmp_path / "in.h5ad")
    words = ["annotate", str(tmp_path / "in.h5ad"), "--out", str(tmp_path / "out.h5ad")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert "confidence" in result.output
    out = ad.read_h5ad(tmp_path / "out.h5ad")
    assert set(out.obs) >= COLUMNS
    assert (out.X != made.X).nnz == 0


def test_the_example_of_the_docs_runs(made: ad.AnnData, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """The Python example of docs/cells.md, as it stands there, on a matrix of that name."""
    text = (Path(__file__).parents[2] / "docs/cells.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    made[:60].write_h5ad(tmp_path / "pbmc.h5ad")
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    exec(example, space)
    assert set(space["cells"].obs) >= COLUMNS  # type: ignore[attr-defined]
