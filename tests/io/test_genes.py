"""Names of genes: symbols from any lab's matrix, mitochondria, species, panels, coverage of markers."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.genes import (
    are_foreign,
    check_genes,
    gene_symbols,
    is_mitochondrial,
    marker_coverage,
    marker_genes,
    species_of,
    with_symbols,
)

SYMBOLS = pd.Index(
    [*sorted(marker_genes()), "MT-CO1", "MT-ND1", "HBI0101", *(f"GENE{i}" for i in range(6000))]
)
IDS = [f"ENSG{i:011d}" for i in range(len(SYMBOLS))]


@pytest.mark.parametrize(
    "column", ["feature_name", "gene_symbols", "gene_name", "external_gene_name", "my symbols"]
)
@pytest.mark.parametrize("version", ["", ".4"])
def test_ids_take_the_symbols_of_the_matrix(column: str, version: str) -> None:
    """Ensembl ids with or without version: symbols of any known column, the CAR's name and the ids are kept."""
    names = (
        pd.Index([i + version for i in IDS]).to_series().replace(IDS[-6001] + version, "HBI0101")
    )
    data = ad.AnnData(
        sparse.csr_matrix((2, len(SYMBOLS))), var=pd.DataFrame(index=names.to_numpy())
    )
    data.var[column] = pd.Categorical(SYMBOLS)
    assert with_symbols(data, car="HBI0101")
    assert list(data.var_names) == list(SYMBOLS)
    assert data.var.loc["CD3E", "gene_id"].startswith("ENSG")
    assert with_symbols(data, car="HBI0101") == ""


def test_a_column_that_names_few_genes_names_no_others() -> None:
    """Antibodies' genes and `None` for all others in a column, in a matrix of mouse: all genes were called `None`."""
    small = pd.Index([name.capitalize() for name in SYMBOLS])
    column = pd.Series(np.where(SYMBOLS.isin(["CD3E", "CD4"]), SYMBOLS, "None"), small)
    found = gene_symbols(small, pd.DataFrame({"encode": column}))
    assert found.names[SYMBOLS == "GENE1"].tolist() == ["Gene1"]
    assert species_of(found.names) == "mouse"
    marks = pd.DataFrame({"marks": np.repeat(["CD3E", "CD14"], [3000, len(SYMBOLS) - 3000])})
    assert gene_symbols(small, marks).names.equals(small)


@pytest.mark.parametrize(
    "change",
    [
        lambda g, i: f"GRCh38_{g}",
        lambda g, i: f"GRCh38______{g}",
        lambda g, i: f"hg38_{g}",
        lambda g, i: f"{g}_{i}",
        lambda g, i: f"{i}.2|{g}",
        lambda g, i: f"hg38---{g}",
        lambda g, i: f"GRCh38:{g}",
        lambda g, i: f"gene-{g}",
        lambda g, i: f"refdata-gex-GRCh38-2024-A_{g}",
        lambda g, i: f"{i}.2__{g}",
        lambda g, i: f"{i}/{g}",
        lambda g, i: f"{i},{g}",
        lambda g, i: f"{g};{i}.2",
        lambda g, i: f"{g} ({i})",
        lambda g, i: g.replace("-", "."),
        lambda g, i: g.lower(),
    ],
)
def test_changed_names_are_told(change) -> None:  # type: ignore[no-untyped-def]
    """A genome's prefix, an id beside the symbol, R's dots: the marker genes are all found."""
    names = pd.Index([change(g, i) for g, i in zip(SYMBOLS, IDS, strict=True)])
    assert marker_genes() <= set(gene_symbols(names).names)
    assert is_mitochondrial(gene_symbols(names).names).sum() == 2


def test_ids_without_symbols_take_those_of_the_gtf() -> None:
    """The GTF maps ids to symbols; without it the matrix is refused, with the remedy."""
    names = pd.Index([f"{i}.7" for i in IDS])
    by_id = dict(zip(IDS, SYMBOLS, strict=True))
    assert gene_symbols(names, by_id=by_id).names.equals(SYMBOLS)
    with pytest.raises(CarseqError, match="GTF"):
        check_genes(names)


def test_ids_alone_are_those_of_the_markers() -> None:
    """Ensembl ids of real genes need neither symbols nor a GTF; those of other genes stay, and the GTF goes first."""
    table = pd.read_csv(data_path("markers/gene_ids.tsv"), sep="\t", dtype=str)
    ids = pd.Index([*(table["ensembl_id"] + ".7"), "ENSG00000000003.1"])
    found = gene_symbols(ids).names
    assert list(found) == [*table["gene"], "ENSG00000000003.1"]
    assert marker_genes() - set(found) == {"ACPP"}
    assert is_mitochondrial(found).sum() == 37
    by_gtf = dict(zip(ids, [*table["gene"], "TSPAN6"], strict=True))
    assert gene_symbols(ids, by_id=by_gtf).names[-1] == "TSPAN6"
    assert gene_symbols(ids, own_ids=False).names.equals(ids)
    # A few of a thousand made-up ids are those of markers by chance.
    assert gene_symbols(ids[:20].append(pd.Index(IDS[:1000]))).source == "the matrix's names"


def test_symbols_of_other_releases_are_known() -> None:
    """IGJ is JCHAIN where the matrix has no JCHAIN; RARRES3, which HGNC renamed, is PLAAT4."""
    names = pd.Index(["CD3E", "IGJ", "IL8", "RARRES3"])
    assert list(gene_symbols(names).names) == ["CD3E", "JCHAIN", "CXCL8", "PLAAT4"]
    both = names.append(pd.Index(["JCHAIN"]))
    assert list(gene_symbols(both).names[:2]) == ["CD3E", "IGJ"]


@pytest.mark.parametrize("prefix", ["", "MT", "MT_", "mt_", "chrM_"])
def test_mitochondria_without_their_hyphen_are_known(prefix: str) -> None:
    """Of 13 genes without `MT-` nine were known, which more than halved pct_mito, and of `MTCO1` none."""
    own = [
        "ND1",
        "ND2",
        "CO1",
        "CO2",
        "ATP8",
        "ATP6",
        "CO3",
        "ND3",
        "ND4L",
        "ND4",
        "ND5",
        "ND6",
        "CYB",
    ]
    nuclear = ["CD3E", "MTRNR2L1", "COX4I1", "MTOR", "ATP6AP1"]
    names = pd.Index([f"{prefix}{name}" for name in own] + nuclear)
    assert list(is_mitochondrial(names)) == [True] * 13 + [False] * 5


def test_mitochondria_of_refseq_are_known() -> None:
    """ND1, COX1 and their like count where no MT- gene is there, and one alone does not."""
    names = pd.Index(["ND1", "ND2", "COX1", "CYTB", "ATP6", "CD3E"])
    assert list(is_mitochondrial(names)) == [True] * 5 + [False]
    assert not is_mitochondrial(pd.Index(["COX1", "CD3E"])).any()
    assert list(is_mitochondrial(pd.Index(["mt-Co1", "COX1"]))) == [True, False]


def test_another_species_and_a_panel_are_told() -> None:
    """Mouse symbols and mouse ids are refused; 400 genes are a panel, whose missing markers are named."""
    assert species_of(pd.Index([s.capitalize() for s in SYMBOLS])) == "mouse"
    assert species_of(pd.Index(["ENSMUSG00000000001"])) == "mouse"
    with pytest.raises(CarseqError, match="mouse"):
        check_genes(pd.Index([s.capitalize() for s in SYMBOLS]))
    assert check_genes(SYMBOLS) == []
    panel = pd.Index(["CD3E", "CD8B", "MS4A1", "MT-CO1", *(f"GENE{i}" for i in range(400))])
    words = " ".join(check_genes(panel))
    assert "panel" in words
    assert "T cell (1 of" in words


def test_genes_of_a_second_species_are_told() -> None:
    """Human genes beside mouse's with a prefix: no refusal, but a warning."""
    both = [*(f"GRCh38_{s}" for s in SYMBOLS), *(f"mm10___{s.capitalize()}" for s in SYMBOLS)]
    names = gene_symbols(pd.Index(both)).names
    assert "CD3E" in names
    assert any("another species" in words for words in check_genes(names))


@pytest.mark.parametrize("ids", [False, True])
def test_genes_of_a_second_species_without_a_prefix_are_told(ids: bool) -> None:
    """CAR T cells out of a mouse: `Cd3e` beside `CD3E`, or ENSMUSG beside ENSG; their UMIs counted as man's."""
    human = [*(f"GENE{i}" for i in range(900)), "C1orf112", "MT-CO1", "HLA-A"]
    mouse = [*(f"Gene{i}" for i in range(900)), "Gm12345", "1110004F10Rik", "mt-Co1"]
    if ids:
        human = [f"ENSG{i:011d}.3" for i in range(len(human))]
        mouse = [f"ENSMUSG{i:011d}" for i in range(len(mouse))]
    expected = [False] * len(human) + [True] * len(mouse)
    assert list(are_foreign(pd.Index([*human, *mouse]))) == expected
    assert not are_foreign(pd.Index(human)).any()
    assert not are_foreign(pd.Index([*human, *mouse[:20]])).any()


@pytest.mark.parametrize("prefix", ["macFas5_", "Rnor_6.0_", "GRCm39-", "MMUL:", "susScr11___"])
def test_a_second_genome_of_any_name_is_known_by_its_genes(prefix: str) -> None:
    """Man and macaque counted together: only mouse and rat were known, and the others' UMIs counted as man's."""
    human = [*(f"GENE{i}" for i in range(900)), "HLA-A", "MT-CO1", "RP11-34P13.7"]
    other = [f"{prefix}{name}" for name in human]
    assert list(are_foreign(pd.Index([*human, *other]))) == [False] * len(human) + [True] * len(
        other
    )
    assert not are_foreign(pd.Index([*human, *other[:100]])).any()


def test_human_genes_that_begin_like_a_rats_genome_stay() -> None:
    """RN7SL1_ENSG00000276168 was taken for a gene of rn7, and its UMIs for those of a rat."""
    names = pd.Index(["RN7SL1_ENSG00000276168", "RN7SK|ENSG00000283293", "rn7_Cd3e", "rn6___Cd3e"])
    assert list(are_foreign(names)) == [False, False, True, True]


def test_coverage_counts_markers_of_a_type() -> None:
    """Shares lie between 0 and 1, one row a type; all of them are there in a whole transcriptome."""
    table = marker_coverage(SYMBOLS)
    assert np.allclose(table["share"], 1)
    assert table["cell_type"].is_unique
    assert marker_coverage(pd.Index(["CD3E"]))["n_found"].sum() >= 1
