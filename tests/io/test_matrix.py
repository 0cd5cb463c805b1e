"""Matrices: the same counts, genes and proteins whatever the container, and nothing that is not a count."""

from __future__ import annotations

import gzip
import itertools
import re
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from carseq.errors import CarseqError
from carseq.io.h5ad import read_given
from carseq.io.matrix import near_names, read_counts
from carseq.io.matrix.containers import read_stored
from carseq.io.matrix.features import types_by_name
from carseq.io.matrix.molecules import check_molecules
from carseq.study.texts import NAME
from tiny import write_h5, write_mtx

NAMES = ["CD3D", "LYZ", "MYCAR", "CD3", "hashtag1"]
TYPES = [*["Gene Expression"] * 3, "Antibody Capture", "Multiplexing Capture"]


@pytest.fixture
def counts():
    rng = np.random.default_rng(1)
    return np.hstack([rng.poisson(5, (40, 3)), rng.poisson(200, (40, 2))])


@pytest.fixture
def barcodes():
    rng = np.random.default_rng(2)
    return [
        "".join(rng.choice(list("ACGT"), 16)) + ("-10" if i % 8 == 0 else "-1") for i in range(40)
    ]


@pytest.mark.parametrize("kind", ["gz", "plain", "crlf", "prefixed", "h5", "h5ad"])
def test_every_container_gives_the_same(tmp_path, counts, barcodes, kind):
    path = tmp_path / "m"
    if kind == "h5":
        path = tmp_path / "m.h5"
        write_h5(path, counts, barcodes, NAMES, TYPES)
    elif kind == "h5ad":
        path = tmp_path / "m.h5ad"
        var = pd.DataFrame({"feature_types": TYPES}, index=NAMES)
        obs = pd.DataFrame(index=barcodes)
        anndata.AnnData(counts.astype(np.float32), obs=obs, var=var).write_h5ad(path)
    else:
        write_mtx(path, counts, barcodes, NAMES, TYPES, gz=kind in ("gz", "prefixed"))
    if kind == "crlf":
        for file in path.iterdir():
            file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    if kind == "prefixed":
        for file in list(path.iterdir()):
            file.rename(path / f"GSM1_A_{file.name}")
        path = path / "GSM1_A_matrix.mtx.gz"
    found = read_counts(path, car="MYCAR", needs_car=True)
    assert found.shape == (40, 3)
    assert list(found.obs_names) == barcodes
    assert list(found.var_names) == NAMES[:3]
    assert (found.X.toarray() == counts[:, :3]).all()
    assert list(found.obsm["protein"].columns) == ["CD3"]
    assert (found.obsm["protein"].to_numpy().ravel() == counts[:, 3]).all()


def test_counts_are_found_where_an_h5ad_has_them(tmp_path, counts, barcodes):
    """X may be normalised where the counts are in a layer or in raw, as CELLxGENE has them."""
    data = anndata.AnnData(
        counts[:, :3].astype(np.float32),
        obs=pd.DataFrame(index=barcodes),
        var=pd.DataFrame(index=NAMES[:3]),
    )
    layered = data.copy()
    layered.layers["counts"] = layered.X.copy()
    layered.X = np.log1p(layered.X)
    raw = data.copy()
    raw.raw = data
    raw.X = np.log1p(raw.X)
    for name, made in (("layer", layered), ("raw", raw)):
        made.write_h5ad(tmp_path / f"{name}.h5ad")
        assert (read_counts(tmp_path / f"{name}.h5ad").X.toarray() == counts[:, :3]).all()


def test_the_counts_of_all_genes_are_taken_not_those_of_the_variable_ones(
    tmp_path, counts, barcodes, caplog
):
    """X holds the variable genes' counts and raw all genes': a share of the CAR is one of all molecules."""
    data = anndata.AnnData(
        counts[:, :3].astype(np.float32),
        obs=pd.DataFrame(index=barcodes),
        var=pd.DataFrame(index=NAMES[:3]),
    )
    cut = data[:, [0, 2]].copy()
    cut.raw = data
    cut.write_h5ad(tmp_path / "m.h5ad")
    assert (read_counts(tmp_path / "m.h5ad").X.toarray() == counts[:, :3]).all()
    data.X = np.log1p(data.X)
    cut.raw = data
    cut.write_h5ad(tmp_path / "m.h5ad")
    caplog.clear()
    assert read_counts(tmp_path / "m.h5ad").n_vars == 2
    assert "counts of 2 genes of 3" in caplog.text


def test_counts_under_other_names_are_found_or_named(tmp_path, counts, barcodes):
    """A layer `Counts` is one of counts; of layers of other names (velocyto's) the user is asked."""
    data = anndata.AnnData(
        np.log1p(counts[:, :3]).astype(np.float32),
        obs=pd.DataFrame(index=barcodes),
        var=pd.DataFrame(index=NAMES[:3]),
    )
    data.layers["Counts"] = counts[:, :3].astype(np.float32)
    data.write_h5ad(tmp_path / "m.h5ad")
    assert (read_counts(tmp_path / "m.h5ad").X.toarray() == counts[:, :3]).all()
    data.layers["spliced"] = data.layers.pop("Counts")
    data.write_h5ad(tmp_path / "m.h5ad")
    with pytest.raises(CarseqError, match="whole numbers are in its layer spliced"):
        read_counts(tmp_path / "m.h5ad")


@pytest.mark.parametrize("names", [("spliced", "unspliced"), ("mature", "nascent", "ambiguous")])
@pytest.mark.parametrize("x", ["first", "zeros", "none", "all"])
def test_molecules_in_layers_of_their_parts_are_added_up(tmp_path, counts, barcodes, names, x):
    """X of velocyto's or kb-python's h5ad was the spliced molecules alone, which few of a CAR's are, or nothing."""
    whole = counts[:, :3].astype(np.float32)
    rest = [whole // 3 for _ in names[1:]]
    parts = [whole - sum(rest), *rest]
    held = {"first": parts[0], "zeros": whole * 0, "none": None, "all": whole}[x]
    data = anndata.AnnData(
        held, obs=pd.DataFrame(index=barcodes), var=pd.DataFrame(index=[*NAMES[:2], "MYCAR"])
    )
    data.layers = dict(zip(names, parts, strict=True))
    data.write_h5ad(tmp_path / "m.h5ad")
    assert (read_counts(tmp_path / "m.h5ad").X.toarray() == counts[:, :3]).all()


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        (["mod"], '["rna"]'),
        (["matrix", "row_attrs", "col_attrs"], "read_loom"),
        (["assays"], "write10x"),
    ],
)
@pytest.mark.parametrize("suffix", ["h5", "h5ad"])
def test_what_another_container_is_is_told_whatever_its_name(tmp_path, groups, words, suffix):
    """loom, h5mu and h5seurat named h5 or h5ad: "transfer it again: it may be damaged"."""
    with h5py.File(tmp_path / f"m.{suffix}", "w") as file:
        for group in groups:
            file.create_group(group)
    with pytest.raises(CarseqError, match="by what it holds") as error:
        read_counts(tmp_path / f"m.{suffix}")
    assert words in error.value.remedy


def test_an_anndata_named_h5_is_read_and_one_of_another_compression_told(
    tmp_path, counts, barcodes
):
    """Both were "not a matrix" or "damaged"."""
    data = anndata.AnnData(
        counts[:, :3].astype(np.float32),
        obs=pd.DataFrame(index=barcodes),
        var=pd.DataFrame(index=NAMES[:3]),
    )
    data.write_h5ad(tmp_path / "m.h5")
    assert (read_counts(tmp_path / "m.h5").X.toarray() == counts[:, :3]).all()
    with h5py.File(tmp_path / "m.h5", "r+") as file:
        shape = file["X"].shape
        del file["X"]
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk(shape)
        # zstd's number among HDF5's filters.
        made.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
        space = h5py.h5s.create_simple(shape)
        stored = h5py.h5d.create(file.id, b"X", h5py.h5t.IEEE_F32LE, space, made)
        stored.write_direct_chunk((0, 0), b"x" * 50, 0)
        file["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for read in (read_counts, read_given):
        with pytest.raises(CarseqError, match="compressed in a way"):
            read(tmp_path / "m.h5")


def test_a_file_of_a_newer_anndata_is_told(tmp_path, counts, barcodes):
    """A kind of column that this anndata does not know: "transfer it again: it may be damaged"."""
    data = anndata.AnnData(counts[:, :3].astype(np.float32), obs=pd.DataFrame(index=barcodes))
    data.write_h5ad(tmp_path / "m.h5ad")
    with h5py.File(tmp_path / "m.h5ad", "r+") as file:
        new = {"encoding-type": "nullable-date", "encoding-version": "0.1.0"}
        file["uns"].create_group("when").attrs.update(new)
    for read in (read_counts, read_given):
        with pytest.raises(CarseqError, match="newer anndata") as error:
            read(tmp_path / "m.h5ad")
        assert "nullable-date" in error.value.cause


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float64, "nearly", bool])
def test_every_type_of_number_is_read(tmp_path, counts, barcodes, kind):
    """Counts in small integers, or computed back from a logarithm; true and false are no counts."""
    held = counts[:, :3]
    given = held * (1 + 1e-6) if kind == "nearly" else held.astype(kind)
    anndata.AnnData(
        given, obs=pd.DataFrame(index=barcodes), var=pd.DataFrame(index=NAMES[:3])
    ).write_h5ad(tmp_path / "m.h5ad")
    if kind is bool:
        with pytest.raises(CarseqError, match="says true or false"):
            read_counts(tmp_path / "m.h5ad")
    else:
        assert (read_counts(tmp_path / "m.h5ad").X.toarray() == held).all()


@pytest.mark.parametrize(
    "how",
    [
        "quoted",
        "numbered",
        "numbered and quoted",
        "header",
        "csv",
        "blanks",
        "plain",
        "pandas",
        "symbols first",
    ],
)
def test_lists_that_r_or_a_spreadsheet_wrote_are_read(tmp_path, counts, barcodes, how):
    """`write.table(rownames(m), "barcodes.tsv")`, as in many series of GEO: quotation marks, a header, row numbers."""
    write_mtx(tmp_path / "m", counts, barcodes, NAMES, TYPES, gz=False)
    for name in ("features.tsv", "barcodes.tsv"):
        path = tmp_path / "m" / name
        rows = [line.split("\t") for line in path.read_text().splitlines()]
        if how == "header":
            rows.insert(0, ["gene_id", "gene_name", "type"] if name[0] == "f" else ["x"])
        if how in ("numbered", "numbered and quoted", "blanks"):
            rows = [[str(i), *row] for i, row in enumerate(rows, 1)]
        if how == "blanks":
            rows.insert(0, ["x"])
        if how == "pandas":
            rows = [[str(i), *row] for i, row in enumerate(rows)]
            rows.insert(0, ["", *map(str, range(len(rows[0]) - 1))])
        if how == "symbols first" and name[0] == "f":
            rows = [[row[1], row[0], *row[2:]] for row in rows]
        if how in ("quoted", "numbered and quoted", "blanks", "csv"):
            rows = [[f'"{cell}"' for cell in row] for row in rows]
        mark = {"csv": ",", "blanks": " "}.get(how, "\t")
        path.write_text("".join(mark.join(row) + "\n" for row in rows))
    found = read_counts(tmp_path / "m", car="MYCAR", needs_car=True)
    assert list(found.obs_names) == barcodes
    assert list(found.var_names) == NAMES[:3]
    assert found.var["gene_id"].iloc[0].startswith("ENSG")
    assert list(found.obsm["protein"].columns) == ["CD3"]


@pytest.mark.parametrize("name", ["features.tsv", "barcodes.tsv", "matrix.mtx"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_lists_in_utf16_are_told_as_that(tmp_path, counts, barcodes, name, encoding):
    """Excel's "Unicode text" was called damaged, and the user transferred it again."""
    write_mtx(tmp_path / "m", counts, barcodes, NAMES, TYPES, gz=False)
    path = tmp_path / "m" / name
    path.write_text(path.read_text(), encoding=encoding)
    with pytest.raises(CarseqError) as told:
        read_counts(tmp_path / "m")
    assert name in told.value.message
    assert "text in UTF-16" in told.value.cause
    assert "iconv" in told.value.remedy


def write_layout(folder, kind, counts, barcodes, names):
    """Write counts as kb-python, alevin-fry or Parse's split-pipe do."""
    folder.mkdir(parents=True)
    n_genes = len(names)

    def mtx(name, matrix):
        held = sparse.coo_matrix(matrix)
        entries = zip(held.row, held.col, held.data, strict=True)
        (folder / name).write_text(
            "%%MatrixMarket matrix coordinate real general\n%\n"
            f"{held.shape[0]} {held.shape[1]} {held.nnz}\n"
            + "".join(f"{i + 1} {j + 1} {v}\n" for i, j, v in entries)
        )

    def text(name, lines):
        (folder / name).write_text("".join(f"{line}\n" for line in lines))

    ids = [f"ENSG{i:011d}" for i in range(n_genes)]
    thirds = [counts // 3, counts - counts // 3 - counts // 2, counts // 2]
    if kind.startswith("kb"):
        text("cells_x_genes.barcodes.txt", barcodes)
        text("cells_x_genes.genes.txt", ids)
        text("cells_x_genes.genes.names.txt", names)
        if kind == "kb nac":
            for name, part in zip(("mature", "nascent", "ambiguous"), thirds, strict=True):
                mtx(f"cells_x_genes.{name}.mtx", part)
        else:
            mtx("cells_x_genes.mtx", counts)
    elif kind.startswith("alevin"):
        text("quants_mat_rows.txt", barcodes)
        usa = kind == "alevin-fry USA"
        text(
            "quants_mat_cols.txt",
            [n + mark for mark in ("", "-U", "-A")[: 3 if usa else 1] for n in names],
        )
        mtx("quants_mat.mtx", np.hstack(thirds) if usa else counts)
    else:
        rows = zip(ids, names, strict=True)
        text("all_genes.csv", ["gene_id,gene_name,genome", *(f"{i},{n},hg38" for i, n in rows)])
        text("cell_metadata.csv", ["bc_wells,sample,species", *(f"{b},A,hg38" for b in barcodes)])
        mtx("count_matrix.mtx", counts)


@pytest.mark.parametrize("kind", ["kb", "kb nac", "alevin-fry", "alevin-fry USA", "Parse"])
def test_folders_of_other_programs_are_read(tmp_path, counts, barcodes, kind):
    """They were refused as folders without a matrix, or without the file count_features.tsv."""
    names = ["CD3D", "LYZ", "MYCAR"]
    write_layout(tmp_path / "m", kind, counts[:, :3], barcodes, names)
    file = next((tmp_path / "m").glob("*.mtx"))
    for given in (tmp_path / "m", file):
        found = read_counts(given, car="MYCAR", needs_car=True)
        assert list(found.obs_names) == barcodes
        assert list(found.var_names) == names
        assert (found.X.toarray() == counts[:, :3]).all()
    file.write_text(file.read_text().replace("40 ", "41 ", 1))
    with pytest.raises(CarseqError, match="does not fit its lists"):
        read_counts(tmp_path / "m")


@pytest.mark.parametrize("kind", ["alevin-fry", "alevin-fry USA"])
def test_names_that_simpleaf_writes_beside_ids_are_read(tmp_path, counts, barcodes, kind):
    """A study of matrices alone had nothing but ids of genes, though their names lay beside them."""
    write_layout(tmp_path / "af_quant/alevin", kind, counts[:, :3], barcodes, ["E1", "E2", "MYCAR"])
    (tmp_path / "af_quant/gene_id_to_name.tsv").write_text("E1\tCD3D\nE2\tLYZ\nE9\tGNLY\n")
    for given in ("af_quant", "af_quant/alevin"):
        found = read_counts(tmp_path / given, car="MYCAR")
        assert list(found.var_names) == ["CD3D", "LYZ", "MYCAR"]
        assert (found.X.toarray() == counts[:, :3]).all()


@pytest.mark.parametrize("name", ["matrix.mtx", "features.tsv", "barcodes.tsv"])
def test_a_file_that_is_there_twice_must_be_the_same(tmp_path, counts, barcodes, name):
    """A folder held the plain file of an earlier run beside the gzipped ones: its counts got the others' barcodes."""
    write_mtx(tmp_path, counts, barcodes, NAMES, TYPES)
    zipped = tmp_path / f"{name}.gz"
    text = gzip.decompress(zipped.read_bytes())
    (tmp_path / name).write_bytes(text)
    read_counts(tmp_path)
    (tmp_path / name).write_bytes(text[:-2] + b"x\n")
    with pytest.raises(CarseqError, match="are not the same"):
        read_counts(tmp_path)


@pytest.mark.parametrize("name", ["features.tsv", "barcodes.tsv"])
def test_a_list_with_a_byte_that_is_no_text_is_damaged(tmp_path, counts, barcodes, name):
    write_mtx(tmp_path, counts, barcodes, NAMES, TYPES, gz=False)
    text = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(text[:3] + b"\0" + text[4:])
    with pytest.raises(CarseqError, match="holds the byte"):
        read_counts(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.h5ad", gzip.compress(b"x"), "compressed by gzip"),
        ("a.h5ad.gz", gzip.compress(b"x"), "compressed by gzip"),
        ("a.h5", b"", "is empty"),
        ("a.h5", b"<html>403", "page of a server"),
    ],
)
def test_what_is_no_hdf5_is_told_as_what_it_is(tmp_path, name, content, told):
    """ "File signature not found" sent users to transfer the file again."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CarseqError, match=told):
        read_counts(tmp_path / name)


def test_a_folder_above_a_matrix_names_it(tmp_path, counts, barcodes):
    """The run's folder was given: `outs`, kb's output, `Solo.out`."""
    write_mtx(tmp_path / "outs/raw_feature_bc_matrix", counts, barcodes, NAMES, TYPES)
    write_layout(tmp_path / "outs/kb/counts_unfiltered", "kb", counts[:, :3], barcodes, NAMES[:3])
    with pytest.raises(CarseqError) as error:
        read_counts(tmp_path / "outs")
    assert "raw_feature_bc_matrix, kb/counts_unfiltered" in error.value.remedy
    write_layout(tmp_path / "af/alevin", "alevin-fry", counts[:, :3], barcodes, NAMES[:3])
    assert read_counts(tmp_path / "af").n_vars == 3


def test_a_pool_of_parse_and_a_matrix_of_alevin_are_told(tmp_path, counts, barcodes):
    write_layout(tmp_path / "p", "Parse", counts[:, :3], barcodes, NAMES[:3])
    table = tmp_path / "p/cell_metadata.csv"
    table.write_text(table.read_text().replace(",A,", ",B,", 5))
    with pytest.raises(CarseqError, match="several samples that were pooled"):
        read_counts(tmp_path / "p")
    (tmp_path / "a").mkdir()
    for name in ("quants_mat_rows.txt", "quants_mat_cols.txt", "quants_mat.gz"):
        (tmp_path / "a" / name).write_text("x\n")
    with pytest.raises(CarseqError, match="alevin in a format of its own"):
        read_counts(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("S_RSEC_MolsPerCell_MEX.zip", "unpack"),
        ("outs.tar.gz", "unpack"),
        ("seurat.rds", "write10xCounts"),
        ("S_MolsPerCell.csv", "MolsPerCell_MEX.zip"),
        ("cite.h5mu", '["rna"]'),
        ("a.loom", "read_loom"),
    ],
)
def test_a_file_of_another_kind_says_which_to_give(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(CarseqError, match="not a matrix that carseq reads") as error:
        read_counts(tmp_path / name)
    assert words in error.value.remedy


def test_two_genes_of_one_symbol_are_told_apart_by_their_ids(tmp_path, counts, barcodes):
    write_h5(tmp_path / "m.h5", counts[:, :3], barcodes, ["A", "A", "MYCAR"])
    assert read_counts(tmp_path / "m.h5").n_vars == 3
    write_h5(tmp_path / "m.h5", counts[:, :3], barcodes, ["A", "A", "MYCAR"], ids=["x", "x", "y"])
    with pytest.raises(CarseqError, match="a gene twice"):
        read_counts(tmp_path / "m.h5")


def test_a_sample_with_one_hashtag_is_no_pool(tmp_path, counts, barcodes):
    """Each matrix that Cell Ranger cuts out of a pool still holds all its tags."""
    tags = np.column_stack([np.full(40, 300), np.full(40, 5)])
    types = [*["Gene Expression"] * 3, *["Multiplexing Capture"] * 2]
    names = [*NAMES[:3], "CMO301", "CMO302"]
    write_h5(tmp_path / "m.h5", np.hstack([counts[:, :3], tags]), barcodes, names, types)
    assert read_counts(tmp_path / "m.h5").shape == (40, 3)
    mixed = np.where((np.arange(40) % 3 == 0)[:, None], tags, tags[:, ::-1])
    write_h5(tmp_path / "m.h5", np.hstack([counts[:, :3], mixed]), barcodes, names, types)
    with pytest.raises(CarseqError, match="of several samples"):
        read_counts(tmp_path / "m.h5")
    assert read_counts(tmp_path / "m.h5", cells=barcodes[:20]).shape == (40, 3)


def test_scaled_counts_are_no_counts(tmp_path):
    rng = np.random.default_rng(3)
    counts = rng.poisson(0.5, (60, 300)) * 7
    names = [f"G{i}" for i in range(300)]
    cells = [f"c{i}" for i in range(60)]
    write_h5(tmp_path / "m.h5", counts, cells, names)
    with pytest.raises(CarseqError, match="no counts of molecules"):
        read_counts(tmp_path / "m.h5")


def test_real_matrices_are_read(shared):
    """A public PBMC set names ten symbols twice, as its annotation does, and has no ids."""
    found = read_counts(shared / "real_pbmc/pbmc1k_v3.h5ad")
    assert found.shape == (906, 14688)
    assert found.var_names.is_unique
    assert read_counts(shared / "real_pbmc/pbmc_10k_protein_v3.h5ad").shape == (200, 16727)


@pytest.mark.parametrize("ids", [False, True])
def test_symbols_of_two_genes_in_a_list_of_one_column(tmp_path, ids):
    """As an h5ad of symbols alone is read; where ids are given, one that stands twice is a mistake."""
    names = [f"G{i}" for i in range(300)]
    names[9] = names[8]
    counts = np.random.default_rng(5).poisson(2, (64, 300))
    write_mtx(tmp_path / "m", counts, MANY, names, gz=False)
    listed = [f"{'E' if ids else ''}{name}\t{name}" for name in names]
    (tmp_path / "m/features.tsv").write_text("\n".join(listed if ids else names) + "\n")
    if ids:
        with pytest.raises(CarseqError, match="names a gene twice"):
            read_counts(tmp_path / "m")
    else:
        assert read_counts(tmp_path / "m").var_names[9] == "G8-1"


def test_a_real_raw_matrix_is_raw_and_its_cells_alone_are_not(shared, tmp_path):
    """Real droplets of 50 UMIs beside cells of 200: few sizes apart, but the empty ones are all alike."""
    from scipy import io

    from carseq.cells.barcodes import check_raw

    folder = shared / "real_droplets/toy_raw_filtered"
    for name in ("raw", "filtered"):
        counts = io.mmread(folder / f"soup_{name}_matrix.mtx").tocsr().T
        genes = [line.split("\t")[0] for line in (folder / f"soup_{name}_genes.tsv").open()]
        barcodes = [line.strip() for line in (folder / f"soup_{name}_barcodes.tsv").open()]
        write_h5(tmp_path / f"{name}.h5", counts, barcodes, genes)
    check_raw(read_counts(tmp_path / "raw.h5"), "raw.h5")
    with pytest.raises(CarseqError, match="is not a raw matrix"):
        check_raw(read_counts(tmp_path / "filtered.h5"), "filtered.h5")


@pytest.mark.parametrize(
    "column", ["sample", "orig.ident", "donor_id", "Patient", "hash.ID", "batch"]
)
def test_an_h5ad_of_several_samples_is_told(tmp_path, counts, barcodes, caplog, column):
    """The object of a whole study given as one sample's matrix: its samples were one, without a word."""
    names = [*["A", "B"] * 18, *["Doublet", "Negative"] * 2]
    obs = pd.DataFrame({column: names, "lane": ["1", "2"] * 20}, index=barcodes)
    data = anndata.AnnData(counts[:, :3].astype(np.float32), obs, pd.DataFrame(index=NAMES[:3]))
    data.write_h5ad(tmp_path / "m.h5ad")
    with caplog.at_level("WARNING", "carseq"):
        read_counts(tmp_path / "m.h5ad")
    assert f"obs[{column!r}] names 2 samples or donors (A, B)" in caplog.text
    caplog.clear()
    with caplog.at_level("WARNING", "carseq"):
        read_counts(tmp_path / "m.h5ad", cells=barcodes)
    assert "samples or donors" not in caplog.text


@pytest.mark.parametrize("spelt", ["CAR;CAR", "BCMA CAR", "(CAR)", "CAR/2nd", "_CAR"])
def test_a_car_whose_feature_the_configuration_cannot_name_is_found(
    tmp_path, counts, barcodes, spelt
):
    """The remedy proposed `construct.name: CAR;CAR`, which the configuration forbids."""
    write_h5(tmp_path / "m.h5", counts[:, :3], barcodes, ["CD3D", "LYZ", spelt])
    with pytest.raises(CarseqError) as error:
        read_counts(tmp_path / "m.h5", car="MYCAR", needs_car=True)
    name = re.search(r"`construct.name: (\S+)`", error.value.remedy)[1]
    assert re.fullmatch(NAME, name)
    found = read_counts(tmp_path / "m.h5", car=name, needs_car=True)
    assert list(found.var_names) == ["CD3D", "LYZ", name]
    assert (found.X.toarray() == counts[:, :3]).all()


def test_a_feature_of_the_cars_own_name_comes_first(tmp_path, counts, barcodes):
    write_h5(tmp_path / "m.h5", counts[:, :3], barcodes, ["CAR_CAR", "LYZ", "CAR;CAR"])
    found = read_counts(tmp_path / "m.h5", car="CAR_CAR", needs_car=True)
    assert list(found.var_names) == ["CAR_CAR", "LYZ", "CAR;CAR"]


@pytest.mark.parametrize(
    ("added", "found"),
    [
        (["BCMA-CAR"], ["BCMA-CAR"]),
        (["CD19CAR", "WPRE"], ["CD19CAR", "WPRE"]),
        (["FMC63_28z"], ["FMC63_28z"]),
        (["ciltacel"], ["ciltacel"]),
        (["mycars"], ["mycars"]),
        ([], []),
    ],
)
def test_names_that_may_be_the_cars_are_told(added, found):
    """Genes with CAR in their name are not: CARD8, CARS1, SCART1, OSCAR, FCAR and the lipase CEL."""
    genes = ["CD3D", "CARD8", "CARS1", "SCART1", "OSCAR", "FCAR", "CARTPT", "SCARB1", "CEL", "MYC"]
    assert near_names([*genes, *added], "MYCAR") == found


def test_a_sequence_of_ones_own_among_ensembls_is_told():
    names = [f"GENE{i}" for i in range(30)]
    ids = [f"ENSG{i:011d}" for i in range(30)]
    assert near_names([*names, "construct7"], "MYCAR", [*ids, "construct7"]) == ["construct7"]
    assert near_names([*names, "MyCar", "CAR"], "MYCAR", [*ids, "MyCar", "CAR"]) == ["MyCar"]


def _with_rows(path, barcodes, **rows):
    """Write a matrix of two genes and, by name, what each barcode has of further rows."""
    genes = np.random.default_rng(3).poisson(4, (len(barcodes), 2))
    names = ["CD3D", "LYZ", *rows]
    write_h5(path, np.column_stack([genes, *rows.values()]), barcodes, names, ids=names)


MANY = ["AAACCCAAGAAAC" + "".join(b) + "-1" for b in itertools.product("ACGT", repeat=3)]


@pytest.mark.parametrize("own", [0, 1])
def test_other_rows_of_the_car_are_told(tmp_path, caplog, own):
    """The CAR's reads were counted in WPRE: `CAR` held nothing, and the sample was not detected, without a word."""
    _with_rows(tmp_path / "m.h5", MANY, CAR=[own] * 64, WPRE=[2, 1] * 32, CAR_3UTR=[0] * 64)
    with caplog.at_level("WARNING", "carseq"):
        read_counts(tmp_path / "m.h5", car="CAR", needs_car=True)
    assert "beside it are WPRE with 96." in caplog.text


@pytest.mark.parametrize(
    ("name", "ensembl"), [("LTR3", False), ("MSGV1", False), ("EGFRt", False), ("pRRL_end", True)]
)
def test_rows_of_the_vector_beside_the_car_are_told(tmp_path, caplog, name, ensembl):
    """The 3' reads of the CAR's mRNA lay in a row `LTR3` of the same reference, which nothing named."""
    n = 40 if ensembl else 2
    genes = np.random.default_rng(3).poisson(4, (len(MANY), n))
    ids = [f"ENSG{i:011d}" if ensembl else f"G{i}" for i in range(n)] + ["CAR", name]
    names = ["CD3D", "LYZ", *(f"G{i}" for i in range(2, n)), "CAR", name]
    write_h5(
        tmp_path / "m.h5",
        np.column_stack([genes, [0, 1, 2, 0] * 16, [2, 1] * 32]),
        MANY,
        names,
        ids=ids,
    )
    with caplog.at_level("WARNING", "carseq"):
        read_counts(tmp_path / "m.h5", car="CAR", needs_car=True)
    assert f"beside it are {name} with 96." in caplog.text


def test_molecules_that_were_taken_away_are_told(tmp_path, caplog):
    """Counts corrected for ambient RNA, in CellBender's file or a layer beside the raw ones, had lost the CAR's."""
    counts = np.random.default_rng(3).poisson(3, (64, 3))
    data = anndata.AnnData(
        sparse.csr_matrix(counts), var=pd.DataFrame(index=["CD3D", "LYZ", "CAR"])
    )
    data.obs_names = MANY
    for less, told in ((1, True), (0, False)):
        data.layers["counts"] = sparse.csr_matrix(np.maximum(counts - less, 0))
        data.write_h5ad(tmp_path / "layers.h5ad")
        caplog.clear()
        with caplog.at_level("WARNING", "carseq"):
            read_counts(tmp_path / "layers.h5ad", car="CAR", needs_car=True)
        assert ("taken away" in caplog.text) is told
    # Under a name of one's own, but not other numbers: scaled ones, or those of another sample.
    data.X = data.layers.pop("counts")
    for name, layer, told in (
        ("original", counts + 1, True),
        ("cpm", 7 * counts, False),
        ("other", np.random.default_rng(4).poisson(4, (64, 3)), False),
    ):
        data.layers = {name: sparse.csr_matrix(layer)}
        data.write_h5ad(tmp_path / "layers.h5ad")
        caplog.clear()
        with caplog.at_level("WARNING", "carseq"):
            read_counts(tmp_path / "layers.h5ad", car="CAR", needs_car=True)
        assert ("taken away" in caplog.text) is told
    _with_rows(tmp_path / "out.h5", MANY, CAR=[0, 1, 2, 0] * 16)
    with h5py.File(tmp_path / "out.h5", "a") as file:
        file.create_group("droplet_latents")
    for needs, told in ((True, True), (False, False)):
        caplog.clear()
        with caplog.at_level("WARNING", "carseq"):
            read_counts(tmp_path / "out.h5", car="CAR", needs_car=needs)
        assert ("is what CellBender left" in caplog.text) is told


def test_numbers_of_the_car_that_are_no_molecules(tmp_path, caplog):
    """The CAR's row was pasted into a matrix: multiplied, or as reads."""
    _with_rows(tmp_path / "x3.h5", MANY, CAR=[0, 3, 6, 9] * 16)
    with pytest.raises(CarseqError, match="multiples of 3"):
        read_counts(tmp_path / "x3.h5", car="CAR", needs_car=True)
    _with_rows(tmp_path / "reads.h5", MANY, CAR=[0, 7, 12, 5] * 16)
    with caplog.at_level("WARNING", "carseq"):
        read_counts(tmp_path / "reads.h5", car="CAR", needs_car=True)
    assert "if they are reads" in caplog.text
    caplog.clear()
    _with_rows(tmp_path / "more.h5", MANY, CAR=[0, 7, 12, 5] * 15 + [0, 1, 9, 4])
    with caplog.at_level("WARNING", "carseq"):
        read_counts(tmp_path / "more.h5", car="CAR", needs_car=True)
    assert "only 1 of the 48 numbers of CAR above 0 is 1" in caplog.text


def test_a_row_of_the_car_that_says_whether_it_was_seen_is_refused(tmp_path):
    """`CAR` was 1 in each barcode of a list of CAR T cells: a fraction of 29 % came out as 96 %."""
    many = [f"{b[:-2]}{c}-1" for b in MANY for c in "ACGT" * 2]
    many = [f"{i:03d}_{b}" for i, b in enumerate(many)]
    seen = np.arange(len(many)) % 2
    _with_rows(tmp_path / "seen.h5", many, CAR=seen)
    with pytest.raises(CarseqError, match="not how often"):
        read_counts(tmp_path / "seen.h5", car="CAR", needs_car=True)
    # Two molecules in one barcode are counted molecules; few of one each may be ambient RNA.
    for name, own in (
        ("counted", seen + (np.arange(len(many)) == 1)),
        ("few", np.arange(len(many)) < 25),
    ):
        _with_rows(tmp_path / f"{name}.h5", many, CAR=own.astype(int))
        read_counts(tmp_path / f"{name}.h5", car="CAR", needs_car=True)


def test_a_matrix_of_the_car_alone_is_refused(tmp_path):
    """`carseq check` said that all was well; each cell's depth was its number of CAR molecules."""
    write_h5(tmp_path / "m.h5", np.array([[1, 2]] * 64), MANY, ["CAR", "WPRE"], ids=["CAR", "WPRE"])
    with pytest.raises(CarseqError, match="counts the CAR alone"):
        read_counts(tmp_path / "m.h5", car="CAR", needs_car=True)


@pytest.mark.parametrize("names", [["anti-BCMA"], ["anti-CD19-CAR", "anti_BCMA scFv", "anti-CD3"]])
def test_a_car_called_by_what_it_binds_is_no_antibody(names: list[str]) -> None:
    """A matrix without types of features whose CAR is anti-BCMA, alone or beside another."""
    assert set(types_by_name(np.array(["CD3E", "CD4", *names[:2]], dtype=object))) == {
        "Gene Expression"
    }


@pytest.mark.parametrize("car", ["anti-BCMA", "Hu.BCMA", "BCMA-protein"])
def test_the_named_car_is_a_gene_where_nothing_says_otherwise(car: str, tmp_path: Path) -> None:
    """Its name resembles an antibody's, and antibodies are beside it."""
    names = [*(f"GENE{i}" for i in range(5)), car, "CD4_ADT", "CD8_TotalSeqB"]
    counts = np.random.default_rng(1).poisson(3, (30, len(names))) + 1
    made = anndata.AnnData(
        sparse.csr_matrix(counts),
        pd.DataFrame(
            index=["".join(b) for b in itertools.islice(itertools.product("ACGT", repeat=12), 30)]
        ),
        pd.DataFrame(index=names),
    )
    made.write_h5ad(tmp_path / "m.h5ad")
    read = read_counts(tmp_path / "m.h5ad", car=car, needs_car=True)
    assert list(read.var_names) == names[:6]
    assert list(read.obsm["protein"]) == names[6:]


def test_the_second_of_two_names_is_the_antibody_among_antibodies() -> None:
    """CD4 and TIGIT twice beside CD45RA: "marker genes are in the matrix twice, add their rows up" stood there."""
    names = ["CD4", "TIGIT", "MATR3", "MATR3", "CD45RA", "CD16", "PD-1", "CD4", "TIGIT"]
    types = types_by_name(np.array(names, dtype=object))
    assert list(types) == ["Gene Expression"] * 4 + ["Antibody Capture"] * 5


def barcodes_of(seed: int, umis: int = 3_000) -> np.ndarray:
    """Return molecules of 60 barcodes in 3,000 genes, some of which are common, as in cells."""
    rng = np.random.default_rng(seed)
    p = rng.lognormal(0, 1.6, 3_000)
    return rng.poisson(umis * p / p.sum() * rng.uniform(0.4, 1.6, (60, 1))).astype(np.float32)


@pytest.mark.parametrize("rounding", [np.rint, np.floor])
def test_rounded_logarithms_are_no_counts(rounding: Callable[[np.ndarray], np.ndarray]) -> None:
    """`adata.X.astype(int)` after log1p: whole numbers, a 1 among them, taken for molecules without a word."""
    counts = barcodes_of(5)
    check_molecules(sparse.csr_matrix(counts), "the matrix")
    logs = rounding(np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True)))
    with pytest.raises(CarseqError, match="no counts of molecules") as told:
        check_molecules(sparse.csr_matrix(logs), "the matrix")
    assert "logarithms" in told.value.cause


@pytest.mark.parametrize("kind", ["roots", "averages", "one more"])
def test_numbers_that_differ_too_little_are_no_molecules(kind: str) -> None:
    """Rounded square roots, averages of neighbours, counts with one more everywhere: all were taken for counts.

    Counts of like cells at one depth, which differ by chance alone, are counts.
    """
    rng = np.random.default_rng(0)
    rates = rng.lognormal(-2, 2, 1000)
    counts = rng.poisson(rates * 3000 / rates.sum(), (60, 1000))
    check_molecules(sparse.csr_matrix(counts), "the matrix")
    made = {
        "roots": np.rint(np.sqrt(counts)),
        "averages": np.rint([counts[rng.integers(0, 60, 15)].mean(axis=0) for _ in range(60)]),
        "one more": counts + 1 + (rng.random(counts.shape) < 0.1),
    }[kind]
    with pytest.raises(CarseqError, match="no counts of molecules"):
        check_molecules(sparse.csr_matrix(made), "the matrix")


def test_reads_of_wells_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """Smart-seq2: reads, some eight of a molecule. They were counted as molecules without a word."""
    counts = barcodes_of(6)
    check_molecules(sparse.csr_matrix(counts), "the matrix")
    assert not caplog.records
    rng = np.random.default_rng(7)
    seen = counts > 0
    counts[seen] += rng.negative_binomial(counts[seen], 1 / 8)
    check_molecules(sparse.csr_matrix(counts), "the matrix")
    assert "reads" in caplog.text


@pytest.mark.parametrize(
    ("names", "obs", "told"),
    [
        ("SEACell-{}", {}, "sums of several cells"),
        ("mc{}", {}, "sums of several cells"),
        ("ACGTACGTACGTACG{}", {"psbulk_n_cells": 7}, "sums of several cells"),
        ("MC38_ACGTACGTACGTACGT-{}", {}, ""),
        ("c{}", {"nCount_RNA": 3.0}, "by obs['nCount_RNA']"),
        ("c{}", {"n_counts": 1.05}, ""),
        ("c{}", {"total_counts": 1e4}, ""),
    ],
)
def test_sums_of_cells_and_parts_of_a_matrix_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, names: str, obs: dict[str, float], told: str
) -> None:
    """Metacells were cells, and the variable genes alone all that a cell held, though `obs` said otherwise."""
    held = np.random.default_rng(3).poisson(3, (40, 60)) * np.arange(1, 41)[:, None]
    totals = held.sum(axis=1)
    # A share of the molecules, or one number for all cells.
    said = {
        n: v if n == "psbulk_n_cells" else np.rint(totals * v) if v < 100 else np.full(40, v)
        for n, v in obs.items()
    }
    adata = anndata.AnnData(
        held.astype(np.float32),
        obs=pd.DataFrame(said, index=[names.format(i) for i in range(40)]),
        var=pd.DataFrame(index=[f"G{i}" for i in range(60)]),
    )
    adata.write_h5ad(tmp_path / "m.h5ad")
    read_counts(tmp_path / "m.h5ad")
    assert told in caplog.text if told else "several cells" not in caplog.text + "by obs"
    assert bool(told) or "by obs" not in caplog.text


def test_counts_in_8_bits_that_may_be_cut_off_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Counts above 255 began again at 0 without a word: of PBMC 3 % of the molecules were lost."""
    for most in (200, 255):
        held = np.random.default_rng(3).poisson(2, (20, 30)).astype(np.uint8)
        held[0, 0] = most
        anndata.AnnData(held, var=pd.DataFrame(index=[f"G{i}" for i in range(30)])).write_h5ad(
            tmp_path / "m.h5ad"
        )
        read_counts(tmp_path / "m.h5ad")
        assert ("8 bits" in caplog.text) == (most == 255)


def test_counts_of_other_small_numbers_and_an_h5ad_of_genes_without_symbols(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """8 bits with a sign end at 127, 16 bits at 65,535; a gene's name is its id in an h5ad, too."""
    var = pd.DataFrame({"gene_ids": [f"ENSG{i:011d}" for i in range(3)]}, index=["", "LYZ", "NKG7"])
    for kind, most in ((np.int8, 127), (np.uint16, 65_535)):
        held = np.random.default_rng(3).poisson(2, (20, 3)).astype(kind)
        held[0, 0] = most
        anndata.AnnData(held, var=var).write_h5ad(tmp_path / "m.h5ad")
        caplog.clear()
        stored = read_stored(tmp_path / "m.h5ad")
        assert f"no number above {most:,}" in caplog.text
        assert list(stored.names) == ["ENSG00000000000", "LYZ", "NKG7"]


@pytest.mark.parametrize("kind", ["h5", "mtx"])
def test_a_gene_without_a_symbol_has_its_id(tmp_path: Path, kind: str) -> None:
    """Its name was empty: it could not be named, nor the CAR where no symbol was given to it."""
    held = np.random.default_rng(3).poisson(2, (20, 3))
    barcodes, names = [f"ACGTACGTACGTACG{i}-1" for i in range(20)], ["", "LYZ", ""]
    path = tmp_path / ("m.h5" if kind == "h5" else "m")
    (write_h5 if kind == "h5" else write_mtx)(path, held, barcodes, names)
    assert list(read_counts(path).var_names) == ["ENSG00000000000", "LYZ", "ENSG00000000002"]


@pytest.mark.parametrize("clue", ["chemistry", "folder", "obs"])
def test_spots_on_a_slide_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, clue: str
) -> None:
    """Space Ranger's matrix has the names of Cell Ranger's: its spots were cells, without a word."""
    barcodes, genes = ["A" * 16, "C" * 16], ["CD3E", "MS4A1"]
    counts = np.array([[2, 1], [1, 3]], np.float32)
    path = tmp_path / ("m.h5ad" if clue == "obs" else "m.h5")
    if clue == "obs":
        obs = pd.DataFrame({"in_tissue": [1, 1], "array_row": [3, 4]}, index=barcodes)
        anndata.AnnData(counts, obs, pd.DataFrame(index=genes)).write_h5ad(path)
    else:
        write_h5(path, counts.astype(int), barcodes, genes)
    read_counts(path)
    assert ("of a slide" in caplog.text) == (clue == "obs")
    if clue == "folder":
        (tmp_path / "spatial").mkdir()
        (tmp_path / "spatial/tissue_positions.csv").touch()
    if clue == "chemistry":
        with h5py.File(path, "a") as file:
            file.attrs["chemistry_description"] = b"Spatial 3' v1"
    read_counts(path)
    assert "of a slide" in caplog.text


def _rewritten(folder: Path, file: str, change: Callable[[str], str]) -> Path:
    path = folder / file
    path.write_text(change(path.read_text()))
    return folder


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda n: f"{int(n) * 1.5:.1f}".replace(".", ","), "with a comma in a number"),
        (lambda n: "1,234", "with a comma in a number"),
        (lambda n: f"{n}abc", "abc"),
        (lambda n: hex(int(n)), "0x"),
    ],
)
def test_entries_that_are_no_numbers_are_refused(tmp_path, counts, barcodes, change, told):
    """SciPy reads 1,5 as 1 and passes over the rest: corrected counts of a German R were taken for raw ones."""
    write_mtx(tmp_path / "m", counts, barcodes, NAMES, TYPES, gz=False)

    def spoil(text: str) -> str:
        lines = text.splitlines()
        split = [line.rsplit(" ", 1) for line in lines[3:]]
        return "\n".join([*lines[:3], *(f"{a} {change(n)}" for a, n in split)]) + "\n"

    with pytest.raises(CarseqError, match="no numbers") as error:
        read_counts(_rewritten(tmp_path / "m", "matrix.mtx", spoil))
    assert told in error.value.cause


def test_a_further_column_of_entries_is_told(tmp_path, counts, barcodes):
    """Reads before molecules: SciPy takes the third column, and passes over the fourth."""
    write_mtx(tmp_path / "m", counts, barcodes, NAMES, TYPES, gz=False)

    def wider(text: str) -> str:
        lines = text.splitlines()
        return "\n".join([*lines[:3], *(f"{line} 1" for line in lines[3:])]) + "\n"

    with pytest.raises(CarseqError, match="has 4 columns"):
        read_counts(_rewritten(tmp_path / "m", "matrix.mtx", wider))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("integer", "unsigned-integer"),
        lambda text: text.replace("integer", "double"),
        lambda text: text.replace("\n%\n", "\n% von Müller\n\n", 1),
        lambda text: f"\ufeff{text}",
        lambda text: text.replace("\n", "\r"),
    ],
    ids=["unsigned", "double", "comment", "mark", "line ends"],
)
def test_other_words_marks_and_line_ends_of_matrix_market_are_read(
    tmp_path, counts, barcodes, change
):
    """`scipy.io.mmwrite` calls counts without a sign `unsigned-integer`; all were refused as no counts or damaged."""
    write_mtx(tmp_path / "m", counts, barcodes, NAMES, TYPES, gz=False)
    path = tmp_path / "m" / "matrix.mtx"
    path.write_bytes(change(path.read_text()).encode())
    assert (read_counts(tmp_path / "m").X.toarray() == counts[:, :3]).all()


@pytest.mark.parametrize("how", ["semicolons", "blanks", "one mark", "titles", "bytes"])
def test_lists_with_other_marks_or_any_title_are_read(tmp_path, counts, barcodes, how):
    """Lists of R without quotation marks, of a German spreadsheet, with a title of one's own or Python's `b'...'`.

    The whole line was taken for the gene's name, or the lists "do not fit".
    """
    write_mtx(tmp_path / "m", counts, barcodes, NAMES, TYPES, gz=False)
    for name in ("features.tsv", "barcodes.tsv"):
        path = tmp_path / "m" / name
        rows = [line.split("\t") for line in path.read_text().splitlines()]
        if how == "one mark":
            rows = [[f"'{cell}'" for cell in row] for row in rows]
        if how == "bytes":
            rows = [[f"b'{cell}'" for cell in row] for row in rows]
        if how == "titles":
            rows.insert(0, ["Ensembl", "HGNC", "Kind"][: len(rows[0])])
        mark = {"semicolons": ";", "blanks": " "}.get(how, "\t")
        path.write_text("".join(mark.join(row) + "\n" for row in rows))
    found = read_counts(tmp_path / "m", car="MYCAR", needs_car=True)
    assert list(found.obs_names) == barcodes
    assert list(found.var_names) == NAMES[:3]
    assert (found.X.toarray() == counts[:, :3]).all()


def test_texts_of_one_length_and_numbers_of_16_bits_are_read_in_h5(tmp_path, counts, barcodes):
    """Names filled up with blanks were other genes and barcodes, numbers of 16 bits a traceback."""
    path = tmp_path / "m.h5"
    write_h5(path, counts, [b.ljust(30) for b in barcodes], [n.ljust(9) for n in NAMES], TYPES)
    with h5py.File(path, "r+") as file:
        held = file["matrix/data"][:]
        del file["matrix/data"]
        file["matrix/data"] = held.astype(np.float16)
    found = read_counts(path, car="MYCAR", needs_car=True)
    assert list(found.obs_names) == barcodes
    assert (found.X.toarray() == counts[:, :3]).all()
    with h5py.File(path, "r+") as file:
        file["matrix/data"][0] = 2050
    with pytest.raises(CarseqError, match="in 16 bits"):
        read_counts(path)


def test_an_entry_that_stands_twice_in_h5_is_refused(tmp_path, counts, barcodes):
    """The two were added up, where a folder's matrix with such entries is refused."""
    path = tmp_path / "m.h5"
    write_h5(path, counts, barcodes, NAMES, TYPES)
    with h5py.File(path, "r+") as file:
        file["matrix/indices"][1] = file["matrix/indices"][0]
    with pytest.raises(CarseqError, match="genes twice in one barcode"):
        read_counts(path)


@pytest.mark.parametrize("kind", [np.float16, ">i4"])
def test_numbers_that_scipy_does_not_know_are_read_in_h5ad(tmp_path, counts, barcodes, kind):
    """Dense numbers of 16 bits, or of another order of bytes: "it may be damaged"."""
    given = counts[:, :3].astype(kind)
    obs, var = pd.DataFrame(index=barcodes), pd.DataFrame(index=NAMES[:3])
    anndata.AnnData(given, obs=obs, var=var).write_h5ad(tmp_path / "m.h5ad")
    assert (read_counts(tmp_path / "m.h5ad").X.toarray() == counts[:, :3]).all()


def test_barcodes_of_numbered_rows_are_those_of_obs(tmp_path, counts, barcodes):
    """After pandas' `reset_index` cells were called 0, 1, ..., and fitted neither the raw matrix nor the receptors."""
    obs = pd.DataFrame({"n": 1, "barcode": barcodes}, index=[str(i) for i in range(len(barcodes))])
    data = anndata.AnnData(counts[:, :3].astype(np.float32), obs=obs)
    data.write_h5ad(tmp_path / "m.h5ad")
    assert list(read_counts(tmp_path / "m.h5ad").obs_names) == barcodes


def test_counts_normalised_to_one_total_and_rounded_are_refused(tmp_path):
    """Rounded counts per 10,000 passed with a warning, and every number of the CAR was several times too large."""
    rng = np.random.default_rng(3)
    counts = rng.poisson(rng.gamma(0.5, 1, 2000) * rng.lognormal(1.2, 0.35, 60)[:, None])
    check_molecules(sparse.csr_matrix(counts), "it")
    scaled = sparse.csr_matrix(np.rint(counts / counts.sum(1, keepdims=True) * 1e4))
    with pytest.raises(CarseqError, match="no counts") as error:
        check_molecules(scaled, "it")
    assert "one total" in error.value.cause
