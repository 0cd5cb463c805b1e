"""T-cell receptors: both formats, bad files, clonotypes within patients, and the annotation held against them."""

from __future__ import annotations

import bz2
import gzip
import zipfile
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from carseq import cells
from carseq.cells.receptor import match_contigs, read_contigs
from carseq.errors import CarseqError
from carseq.io.files import write_table
from carseq.io.h5ad import write_h5ad
from carseq.report import alerts, read_study
from carseq.schema.tables import RECEPTORS
from carseq.start.check import check_study
from carseq.study.config import load_config
from carseq.study.load import load_study
from study import write_study

#: (CDR3 nucleotides, amino acids) with their anchors.
ALPHA, BETA = ("TGTGCAGTGTTC", "CAVF"), ("TGTGCCAGCTTC", "CASF")
OTHER = ("TGTGCCAGTTTC", "CASF")
Chain = tuple[str, str, tuple[str, str], int]
A: Chain = ("TRA", "TRAV1", ALPHA, 5)
B: Chain = ("TRB", "TRBV2", BETA, 9)
B2: Chain = ("TRB", "TRBV2", OTHER, 2)


def barcode(i: int) -> str:
    return "".join("ACGT"[i // 4**k % 4] for k in range(8)) + "ACGTACGT"


def tenx(path: Path, chains: dict[int, list[Chain]], suffix: str = "-1") -> Path:
    """Write `all_contig_annotations.csv` as Cell Ranger does: with chains that are unproductive or unsure."""
    rows = []
    for i, own in chains.items():
        name = barcode(i) + suffix
        for j, (chain, v, (nt, aa), umis) in enumerate(own):
            rows.append([name, "True", f"{name}_contig_{j}", "True", chain, v, "None", f"{chain}J1", f"{chain}C",
                         "True", "True", aa, nt, 100, umis])  # fmt: skip
        rows.append([name, "True", f"{name}_contig_8", "True", "TRB", "TRBV9", "None", "TRBJ1", "TRBC", "True", "False",
                     "None", "None", 9, 1])  # fmt: skip
        rows.append([name, "True", f"{name}_contig_9", "False", "TRB", "TRBV9", "None", "TRBJ1", "TRBC", "True", "True",
                     "CASSF", "TGTGCCAGCAGCTTC", 9, 1])  # fmt: skip
    columns = "barcode is_cell contig_id high_confidence chain v_gene d_gene j_gene c_gene full_length productive cdr3 "
    columns += "cdr3_nt reads umis"
    pd.DataFrame(rows, columns=columns.split()).to_csv(path, index=False)
    return path


def airr(path: Path, chains: dict[int, list[Chain]]) -> Path:
    """Write AIRR rearrangements, with the standard's further columns."""
    rows = [
        {"sequence_id": f"s{i}_{j}", "sequence": "ACGT", "rev_comp": "F", "productive": "T", "v_call": f"{v}*01",
         "d_call": "", "j_call": f"{chain}J1*01", "sequence_alignment": "", "germline_alignment": "", "junction": nt,
         "junction_aa": aa, "v_cigar": "", "d_cigar": "", "j_cigar": "", "cell_id": barcode(i), "locus": chain,
         "duplicate_count": umis}
        for i, own in chains.items()
        for j, (chain, v, (nt, aa), umis) in enumerate(own)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(path, sep="\t", index=False)
    return path


def cohort(**samples: tuple[str, list[str]]) -> ad.AnnData:
    """Return cells of samples: name -> (patient, lineages)."""
    obs = pd.DataFrame(
        [
            (name, patient, barcode(i) + "-1", lineage)
            for name, (patient, lineages) in samples.items()
            for i, lineage in enumerate(lineages)
        ],
        columns=["sample", "patient", "barcode", "lineage"],
    )
    obs.index = obs["sample"] + ":" + obs["barcode"]
    return ad.AnnData(np.zeros((len(obs), 1), dtype=np.float32), obs=obs.assign(is_doublet=False))


def test_both_formats_give_the_same_chains(tmp_path: Path) -> None:
    """10x CSV and AIRR TSV of the same cells give the same chains; unproductive and unsure contigs are out."""
    chains = {0: [A, B], 1: [B], 2: [A, B, B2]}
    one = read_contigs(tenx(tmp_path / "c.csv", chains, suffix=""))
    two = read_contigs(airr(tmp_path / "a.tsv", chains))
    pd.testing.assert_frame_equal(one.sort_index(axis=1), two.sort_index(axis=1))
    assert len(one) == 6


def test_clonotypes_are_joined_within_a_patient(tmp_path: Path) -> None:
    """Urine and blood of P01 share a clonotype, P02's like receptor is its own; V genes and nucleotides part them."""
    adata = cohort(
        urine=("P01", ["T", "T", "T", "T", "myeloid"]),
        blood=("P01", ["T", "T"]),
        other=("P02", ["T"]),
    )
    files = {
        "urine": tenx(
            tmp_path / "u.csv",
            {0: [A, B], 1: [A, B, B2], 2: [A, ("TRB", "TRBV7", BETA, 3)], 3: [A, B2], 77: [A, B]},
        ),
        "blood": airr(tmp_path / "b.tsv", {0: [A, B], 1: [B]}),
        "other": tenx(tmp_path / "o.csv", {0: [A, B]}, suffix=""),
    }
    cells.add_receptors(adata, files)
    obs = adata.obs.set_index(
        adata.obs["sample"] + adata.obs.groupby("sample").cumcount().astype(str)
    )
    big = obs.loc["urine0", "clonotype"]
    assert big == "P01:1"
    assert (obs["clonotype"] == big).groupby(obs["sample"]).sum().to_dict() == {
        "blood": 1,
        "other": 0,
        "urine": 2,
    }
    assert obs.loc["urine0", "clonotype_size"] == 3
    assert obs.loc["other0", "clonotype"] == "P02:1"
    assert obs.loc[["urine2", "urine3", "blood1"], "clonotype"].nunique() == 3
    assert obs.loc["urine0", ["tcr_chains", "cdr3_tra", "cdr3_trb"]].tolist() == [
        "TRA+TRB",
        "CAVF",
        "CASF",
    ]
    assert obs.loc["urine4", ["tcr_chains", "clonotype"]].tolist() == ["", ""]
    assert obs.loc["urine4", "clonotype_size"] == 0
    write_h5ad(adata, tmp_path / "c.h5ad")
    back = ad.read_h5ad(tmp_path / "c.h5ad")
    assert (back.obs["clonotype"].astype(str) == adata.obs["clonotype"]).all()
    assert back.obs["clonotype_size"].dtype == np.int64


def test_two_beta_chains_and_foreign_lineages_are_told(tmp_path: Path) -> None:
    """A cell of 2 TRB, one of 3, a myeloid cell with both chains: counted; the cell of 3 gets no clonotype."""
    adata = cohort(urine=("P01", ["T", "T", "T", "myeloid", "B"]))
    third: Chain = ("TRB", "TRBV3", ("TGTGCCAGGTTC", "CARF"), 1)
    file = tenx(tmp_path / "u.csv", {0: [A, B], 1: [A, B, B2], 2: [A, B, B2, third], 3: [A, B]})
    obs = cells.add_receptors(adata, {"urine": file}).obs
    assert obs["tcr_chains"].iloc[1] == "TRA+TRB+TRB"
    assert obs["tcr_pairing"].tolist() == [
        "single pair",
        "extra VDJ",
        "multichain",
        "single pair",
        "",
    ]
    assert obs["clonotype"].iloc[2] == ""
    row = cells.receptor_table(obs, ["urine"]).iloc[0]
    assert row["n_two_beta"] == 2
    assert row["paired_not_t"] == "myeloid 1"
    assert row[["n_receptor", "n_t_receptor", "n_clonotypes", "n_expanded"]].tolist() == [
        4,
        3,
        1,
        1,
    ]
    assert row["share_t_receptor"] == 1


def test_two_t_cells_in_one_droplet_have_no_clonotype(tmp_path: Path) -> None:
    """Chains of two clones in a droplet: the main ones were a clonotype that no cell has. A clone of four is one."""
    a2: Chain = ("TRA", "TRAV2", ("TGTGCCTGGTTT", "CAWF"), 9)
    own = {0: [A, B], 1: [A, B], 2: [a2, B2], 3: [a2, B2], 4: [A, B, a2, B2], 5: [A, B, a2, B2]}
    obs = cells.add_receptors(
        cohort(urine=("P01", ["T"] * 6)), {"urine": tenx(tmp_path / "u.csv", own)}
    ).obs
    assert obs["clonotype"].tolist() == ["P01:1"] * 2 + ["P01:2"] * 2 + ["", ""]
    assert cells.receptor_table(obs, ["urine"]).iloc[0]["n_two_beta"] == 2
    dual = {0: [A, B, a2, B2], 1: [A, B, a2, B2], 2: [A, B]}
    file = tenx(tmp_path / "v.csv", dual)
    obs = cells.add_receptors(cohort(urine=("P01", ["T"] * 3)), {"urine": file}).obs
    assert (obs["clonotype"].iloc[:2] == "P01:1").all()


@pytest.mark.parametrize("chain", [A, B])
def test_one_t_cell_of_one_chain_has_a_clonotype(tmp_path: Path, chain: Chain) -> None:
    """A sample of one T cell of which only one chain was seen: a clonotype of one cell, no crash."""
    file = tenx(tmp_path / "u.csv", {0: [chain]})
    obs = cells.add_receptors(cohort(urine=("P01", ["T", "myeloid"])), {"urine": file}).obs
    assert obs["clonotype"].tolist() == ["P01:1", ""]
    assert obs["tcr_chains"].iloc[0] == chain[0]
    nothing = tenx(tmp_path / "n.csv", {})
    obs = cells.add_receptors(cohort(urine=("P01", ["T"])), {"urine": nothing}).obs
    assert obs["clonotype"].tolist() == [""]


def test_no_table_at_all_leaves_empty_columns() -> None:
    """A cohort without receptors: columns of the declared types, empty."""
    obs = cells.add_receptors(cohort(urine=("P01", ["T"])), {}).obs
    assert obs["clonotype"].tolist() == [""]
    assert obs["clonotype_size"].tolist() == [0]
    assert cells.receptor_table(obs, []).empty


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot read the table"),
        (
            "barcode,contig_id,chain,v_gene\nA-1,c,TRA,TRAV1\n",
            "lacks j_gene, cdr3, cdr3_nt, productive, umis",
        ),
        ("v_call\tj_call\tjunction\tjunction_aa\tproductive\n", "lacks cell_id"),
        ("a table of something else\n", "lacks"),
        (
            "cell_id\tv_call\tj_call\tjunction\tjunction_aa\tproductive\n\tTRBV1\tTRBJ1\tTGT\tC\tT\n",
            "names no cells",
        ),
        (
            "cell_id\tv_call\tj_call\tjunction\tjunction_aa\tproductive\nA\tIGHV1\tIGHJ1\tTGT\tC\tT\n",
            "no chain of a T-cell receptor",
        ),
    ],
)
def test_bad_tables_are_told(tmp_path: Path, text: str, words: str) -> None:
    """Empty file, missing column, another table, no cell names, B cells: an error with a remedy."""
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(CarseqError, match=words) as caught:
        read_contigs(tmp_path / "t.csv")
    assert caught.value.remedy


def test_receptors_of_other_cells_are_an_error(tmp_path: Path) -> None:
    """30 cells and 30 barcodes with contigs, none in common: an error; the suffix alone is none."""
    chains = read_contigs(tenx(tmp_path / "c.csv", {i: [A, B] for i in range(30)}))
    with pytest.raises(CarseqError, match="share no barcode"):
        match_contigs(chains, pd.Index([barcode(i) for i in range(100, 130)]), "S")
    assert len(match_contigs(chains, pd.Index([barcode(i) for i in range(30)]), "S")) == 60


def test_check_reads_the_receptors(tmp_path: Path) -> None:
    """`carseq check` names the fault of a sample's table before anything runs, and the sheet takes the column."""
    for name in ("car.fa", "g.fa", "g.gtf", "m.h5"):
        (tmp_path / name).write_text(">x\nACGT\n")
    (tmp_path / "bad.csv").write_text("barcode,contig_id\n")
    (tmp_path / "samples.tsv").write_text(
        "sample\tpatient\tcompartment\traw_matrix\ttcr\nS\tP01\turine\tm.h5\tbad.csv\n"
    )
    (tmp_path / "c.yaml").write_text(
        "construct: {file: car.fa}\nreference: {fasta: g.fa, gtf: g.gtf}\n"
    )
    study = load_study(load_config(tmp_path / "c.yaml"))
    assert study.samples["S"].tcr == str(tmp_path / "bad.csv")
    assert "tcr" not in study.samples["S"].carried()
    found = dict(check_study(tmp_path / "c.yaml"))
    assert isinstance(found["receptors of S"], CarseqError)
    assert "lacks chain" in str(found["receptors of S"])


def test_paired_receptors_outside_t_cells_are_a_note(tmp_path: Path) -> None:
    """3 myeloid cells with both chains: a note; 10 % of T cells with a receptor: a warning."""
    results = write_study(tmp_path / "results")
    row = {"sample": "P01_urine_D28", "n_cells": 100, "n_receptor": 8, "n_t_cells": 50, "n_t_receptor": 5,
           "share_t_receptor": 0.1, "n_paired_not_t": 3, "paired_not_t": "myeloid 3", "n_two_beta": 0,
           "n_clonotypes": 8, "n_expanded": 0}  # fmt: skip
    write_table(pd.DataFrame([row]), results / "cohort" / "receptors.tsv", RECEPTORS)
    found = [a for a in alerts.alerts(read_study(results)) if "receptor" in a.message]
    assert [a.level for a in found] == ["warn", "info"]
    assert "myeloid 3" in found[1].message


def test_translated_words_are_told_and_chains_count_once(tmp_path: Path) -> None:
    """A German Excel makes WAHR of true: no chain was left, and nothing said so."""
    head = "barcode,contig_id,high_confidence,chain,v_gene,j_gene,cdr3,cdr3_nt,productive,umis\n"
    row = "AAACCCAAGAGACAAG-1,c1,true,TRB,TRBV2,TRBJ1-1,CASSF,TGTGCC,true,5\n"
    path = tmp_path / "tcr.csv"
    path.write_text(head + row + row)
    assert len(read_contigs(path)) == 1
    path.write_text(head + row.replace("true", "WAHR"))
    with pytest.raises(CarseqError, match="is 'wahr'"):
        read_contigs(path)


AIRR_HEAD = "cell_id\tv_call\tj_call\tjunction\tjunction_aa\tproductive\tumi_count\n"
AIRR_ROW = "AAACCCAAGAGACAAG\tTRBV2*01\tTRBJ1-1*01\tTGTGCC\tCASSF\tT\t5\n"


@pytest.mark.parametrize(
    "text",
    [
        AIRR_HEAD + AIRR_ROW.replace("TGTGCC", "tgtgcc"),
        AIRR_HEAD + AIRR_ROW.replace("TRB", "Homsap TRB").replace("*01", "*01 F"),
        AIRR_HEAD + AIRR_ROW.replace("TRBV2*01", ""),
        "# made by hand\n" + AIRR_HEAD + AIRR_ROW,
        (AIRR_HEAD + AIRR_ROW).replace("cell_id", "Cell_ID").replace("v_call", "V_CALL"),
    ],
    ids=["small letters", "IMGT", "no V gene", "comment", "capitals"],
)
def test_chains_are_the_same_however_a_program_spells_them(tmp_path: Path, text: str) -> None:
    """IMGT writes the species before a gene, others small letters: clonotypes differed, or no chain was left."""
    (tmp_path / "t.tsv").write_text(AIRR_HEAD + AIRR_ROW)
    (tmp_path / "u.tsv").write_text(text)
    wanted, found = (read_contigs(tmp_path / f"{name}.tsv") for name in "tu")
    if not found["v_call"].iloc[0]:
        wanted["v_call"] = ""
    pd.testing.assert_frame_equal(found, wanted)


def test_a_table_that_says_nothing_of_productive_chains_is_told(tmp_path: Path) -> None:
    """An emptied column left no chain, and nothing said so; that of the caller's confidence says nothing if empty."""
    path = tmp_path / "t.csv"
    tenx(path, {i: [A, B] for i in range(10)})
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    n = len(read_contigs(path))
    table[~table["contig_id"].str.endswith(("8", "9"))].assign(high_confidence="").to_csv(
        path, index=False
    )
    assert len(read_contigs(path)) == n
    table.assign(productive="").to_csv(path, index=False)
    with pytest.raises(CarseqError, match="says of no chain that it is productive"):
        read_contigs(path)


def test_other_tables_of_receptors_say_which_to_give(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("#barcode\tcell_type\tchain1\tchain2\nAAAC\tabT\tTRBV2,*,TRBJ1\t*\n")
    with pytest.raises(CarseqError) as told:
        read_contigs(path)
    assert "_barcode_airr.tsv" in told.value.remedy
    path.write_text("a,b\n", encoding="utf-16")
    with pytest.raises(CarseqError) as told:
        read_contigs(path)
    assert "text in UTF-16" in told.value.cause


def test_umis_of_other_countries_are_read(tmp_path: Path) -> None:
    """A German spreadsheet's 3,0 was taken for one molecule, as what is no number is."""
    path = tmp_path / "t.csv"
    head = "barcode;contig_id;high_confidence;chain;v_gene;j_gene;cdr3;cdr3_nt;productive;umis\n"
    path.write_text(head + "AAACCCAAGAGACAAG-1;c1;true;TRB;TRBV2;TRBJ1-1;CASSF;TGTGCC;true;3,0\n")
    assert read_contigs(path)["umi_count"].tolist() == [3]


def test_one_chain_seen_twice_in_a_cell_is_one_chain(tmp_path: Path) -> None:
    """Two contigs of one CDR3 (two assemblies, two lanes that were joined): they made two beta chains."""
    own = [A, B, (*B[:3], 4), ("TRB", "TRBV2-1", BETA, 1)]
    table = tenx(tmp_path / "c.csv", dict.fromkeys(range(3), own))
    chains = read_contigs(table)
    assert list(chains["locus"]) == ["TRA", "TRB"] * 3
    assert list(chains["umi_count"]) == [5, 14] * 3
    assert set(chains["v_call"]) == {"TRAV1", "TRBV2"}
    found = cells.add_receptors(cohort(S1=("P1", ["T"] * 3)), {"S1": table})
    assert list(found.obs["tcr_pairing"]) == ["single pair"] * 3


def test_a_delta_chain_of_a_v_gene_of_both_loci_is_a_delta_chain(tmp_path: Path) -> None:
    """Cell Ranger's AIRR names no locus: TRAV29/DV5 before TRDJ1 is a delta chain, which its V gene called alpha."""
    airr(tmp_path / "a.tsv", {0: [("TRG", "TRGV9", ALPHA, 5), ("TRD", "TRAV29/DV5", BETA, 5)]})
    table = pd.read_csv(tmp_path / "a.tsv", sep="\t").drop(columns="locus")
    table.to_csv(tmp_path / "a.tsv", sep="\t", index=False)
    assert list(read_contigs(tmp_path / "a.tsv")["locus"]) == ["TRG", "TRD"]


@pytest.mark.parametrize("how", ["padded", "gzip", "plain as gz", "bzip2", "zip", "remark"])
def test_receptors_are_read_however_their_table_was_saved(tmp_path, how):
    """Blanks around the cells hid all chains; gzip under another name, or none under its own, "cannot be decoded"."""
    path = tenx(tmp_path / "a.csv", {1: [A, B], 2: [A, B2]})
    expected = read_contigs(path)
    text = path.read_text()
    raw = {
        "padded": text.replace(",", " , ").encode(),
        "gzip": gzip.compress(text.encode()),
        "bzip2": bz2.compress(text.encode()),
        "remark": f"# made by me, on Monday, at noon, from run 3\n{text}".encode(),
    }.get(how, text.encode())
    other = tmp_path / ("b.csv.gz" if how == "plain as gz" else "b.csv")
    other.write_bytes(raw)
    if how == "zip":
        with zipfile.ZipFile(other, "w") as archive:
            archive.write(path, "filtered_contig_annotations.csv")
    pd.testing.assert_frame_equal(read_contigs(other), expected)


def test_a_table_of_receptors_that_ends_within_a_row_is_cut_off(tmp_path):
    """A download that ended early: the chains behind the cut were missing without a word."""
    path = tenx(tmp_path / "a.csv", {i: [A, B] for i in range(4)})
    text = path.read_text()
    first = text.find("\n") + 20
    for end in (first, len(text) * 2 // 3, text.rfind("\n", 0, -1) + 9, len(text) - 8):
        path.write_text(text[:end])
        with pytest.raises(CarseqError, match="is cut off"):
            read_contigs(path)


@pytest.mark.parametrize("in_header", [False, True])
def test_a_separator_behind_each_row_moves_no_column(tmp_path, in_header):
    """Rows with one cell more than the header were taken to begin with their names: loci were V genes."""
    path = tenx(tmp_path / "a.csv", {1: [A, B]})
    expected = read_contigs(path)
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head + "," * in_header, *(f"{row}," for row in rows), ""]))
    pd.testing.assert_frame_equal(read_contigs(path), expected)


def test_an_empty_locus_of_airr_is_that_of_the_genes(tmp_path):
    """MiXCR leaves `locus` out of some rows: these chains were lost."""
    path = airr(tmp_path / "a.tsv", {1: [A, B]})
    expected = read_contigs(path)
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table.loc[0, "locus"] = ""
    table.to_csv(path, sep="\t", index=False)
    pd.testing.assert_frame_equal(read_contigs(path), expected)
