"""solo: matrices are read whole, whatever they came as."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
import yaml
from scipy import sparse

from carseq.errors import CarseqError
from carseq.io.matrix import read_counts, read_star_matrix
from carseq.library.geometry import Chemistry
from carseq.reference.star import run_star, scratch_folder
from carseq.solo import (
    align,
    check_read_whole,
    decompression_command,
    decompression_script,
    linked_reads,
    plain_whitelist,
)
from carseq.start.check import check_study
from carseq.study import memory
from carseq.study.config import load_config
from carseq.study.load import load_study
from runs import ROOT


@pytest.fixture
def star(tmp_path):
    (tmp_path / "features.tsv").write_text(
        "G1\tA\tGene Expression\nG2\tA\tGene Expression\nCAR\tCAR\tGene Expression\n"
    )
    (tmp_path / "barcodes.tsv").write_text("AAAA\nCCCC\nGGGG\nTTTT\n")
    (tmp_path / "matrix.mtx").write_text(
        "%%MatrixMarket matrix coordinate integer general\n%\n3 4 3\n1 2 5\n3 2 1\n2 4 7\n"
    )
    return tmp_path


def test_a_star_matrix_keeps_used_barcodes_and_every_gene(star):
    raw = read_star_matrix(star)
    assert list(raw.obs_names) == ["CCCC", "TTTT"]
    assert list(raw.var["gene_id"]) == ["G1", "G2", "CAR"]
    assert raw.var_names.is_unique
    assert raw.X.toarray().tolist() == [[5, 0, 1], [0, 7, 0]]


def test_an_empty_star_matrix_is_read(star):
    (star / "matrix.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n%\n3 4 0\n")
    assert read_star_matrix(star).shape == (0, 3)


def test_formats_give_the_same_counts(star, tmp_path):
    raw = read_star_matrix(star)
    raw.write_h5ad(tmp_path / "raw.h5ad")
    for path in (star, tmp_path / "raw.h5ad"):
        counts = read_counts(path, car="CAR")
        assert (counts.X.toarray() == raw.X.toarray()).all()
        assert list(counts.var["gene_id"]) == ["G1", "G2", "CAR"]


def test_a_matrix_without_the_car_gives_no_verdict(star):
    assert "CAR" in read_counts(star, car="CAR", needs_car=True).var_names
    with pytest.raises(CarseqError, match="has no feature named OTHER"):
        read_counts(star, car="OTHER", needs_car=True)
    assert read_counts(star, car="OTHER").n_vars == 3


def test_antibodies_are_no_genes(star, tmp_path):
    adata = read_star_matrix(star)
    adata.var["feature_types"] = ["Gene Expression", "Antibody Capture", "Gene Expression"]
    adata.write_h5ad(tmp_path / "cite.h5ad")
    kept = read_counts(tmp_path / "cite.h5ad", car="CAR")
    assert list(kept.var["gene_id"]) == ["G1", "CAR"]
    assert kept.X.sum() == 6


@pytest.mark.parametrize("kind", ["Antibody Capture", "Custom", "CRISPR Guide Capture"])
def test_only_a_gene_is_the_car(star, tmp_path, kind):
    """An antibody, a guide or another oligonucleotide of the CAR's name counts no molecule of its mRNA."""
    adata = read_star_matrix(star)
    adata.var["feature_types"] = ["Gene Expression", "Gene Expression", kind]
    adata.write_h5ad(tmp_path / "cite.h5ad")
    with pytest.raises(CarseqError, match=f"no gene named CAR: .* of type {kind}"):
        read_counts(tmp_path / "cite.h5ad", car="CAR", needs_car=True)


def test_star_gets_bare_barcodes(tmp_path):
    for name, text in (("a.txt", "ACGT-1\nTTTT-1\n"), ("b.txt", "ACGT\tx\nTTTT\ty\n")):
        (tmp_path / name).write_text(text)
        plain = plain_whitelist(tmp_path / name, tmp_path / f"plain_{name}")
        assert plain.read_text() == "ACGT\nTTTT\n"
    (tmp_path / "d.txt").write_bytes(b"ACGT\r\n\r\nTTTT\r\n")
    plain = plain_whitelist(tmp_path / "d.txt", tmp_path / "plain_d.txt")
    assert plain.read_bytes() == b"ACGT\nTTTT\n"
    (tmp_path / "c.txt").write_text("ACGT\n")
    assert plain_whitelist(tmp_path / "c.txt", tmp_path / "x") == tmp_path / "c.txt"


def test_normalised_values_are_refused(tmp_path):
    adata = anndata.AnnData(sparse.csr_matrix(np.array([[0.5, 1.2]], dtype=np.float32)))
    adata.write_h5ad(tmp_path / "log.h5ad")
    with pytest.raises(CarseqError, match="no raw counts"):
        read_counts(tmp_path / "log.h5ad")
    with pytest.raises(CarseqError, match="cannot read the matrix"):
        read_counts(tmp_path / "missing.h5ad")


def test_reads_are_decompressed_for_star(tmp_path, monkeypatch):
    reads = tmp_path / "r.fastq.gz"
    with gzip.open(reads, "wb") as stream:
        stream.write(b"@r\nACGT\n+\nFFFF\n" * 1000)
    done = subprocess.run([*decompression_command(), str(reads)], capture_output=True, check=True)
    assert done.stdout == b"@r\nACGT\n+\nFFFF\n" * 1000
    # STAR's script would cut such a path in two.
    monkeypatch.setattr(sys, "executable", "/opt/my python/bin/python")
    assert decompression_command() == ["gzip", "-dc"]


def test_a_missing_star_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CarseqError, match="apt-get install rna-star"):
        run_star({}, threads=1, folder=tmp_path)


def test_the_cause_of_a_star_failure_is_told(tmp_path, monkeypatch):
    fake = tmp_path / "STAR"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo 2.7; exit 0; }\n'
        "echo 'EXITING because of FATAL ERROR: not enough memory for BAM sorting:'\nexit 102\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(CarseqError, match="give the job more memory") as caught:
        run_star({"genomeDir": "x"}, threads=1, folder=tmp_path)
    assert "not enough memory for BAM sorting" in caught.value.cause


def test_mtx_folders_of_every_age_are_read(star, tmp_path):
    """Cell Ranger 2 (genes.tsv), Cell Ranger 3 and later (gzipped), and GEO's (a prefix)."""
    wanted = read_star_matrix(star).X.toarray()
    matrix, barcodes = (star / "matrix.mtx").read_bytes(), (star / "barcodes.tsv").read_bytes()
    features = (star / "features.tsv").read_bytes()
    old, new, geo = (tmp_path / name for name in ("old", "new", "geo"))
    for folder in (old, new, geo):
        folder.mkdir()
    (old / "matrix.mtx").write_bytes(matrix)
    (old / "barcodes.tsv").write_bytes(barcodes)
    (old / "genes.tsv").write_text("G1\tA\nG2\tA\nCAR\tCAR\n")
    for folder, prefix in ((new, ""), (geo, "GSM1_urine_")):
        for name, content in (("matrix.mtx", matrix), ("barcodes.tsv", barcodes)):
            (folder / f"{prefix}{name}.gz").write_bytes(gzip.compress(content))
        text = features.replace(b"\tx\n", b"\tGene Expression\n")
        (folder / f"{prefix}features.tsv.gz").write_bytes(gzip.compress(text))
    for folder in (old, new, geo):
        counts = read_counts(folder, car="CAR", needs_car=True)
        assert (counts.X.toarray() == wanted).all()
        assert list(counts.var["gene_id"]) == ["G1", "G2", "CAR"]
    (geo / "GSM2_blood_matrix.mtx.gz").write_bytes(b"")
    with pytest.raises(CarseqError, match="several matrices"):
        read_counts(geo)


def test_star_never_sees_the_names_of_the_reads(tmp_path):
    """FASTQ names with commas, spaces, quotes and shell marks reach STAR as plain links, R2 first."""
    names = ["a b,c_R1.fq", 'a "b"_R2.fq', "$(touch x)_R1.fq", "`y`;'z'_R2.fq"]
    for name in names:
        (tmp_path / name).write_text(name)
    paths = [str(tmp_path / name) for name in names]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    cdna, barcodes = linked_reads([(paths[0], paths[1]), (paths[2], paths[3])], scratch)
    links = [scratch / link for link in (*barcodes.split(","), *cdna.split(","))]
    assert [link.read_text() for link in links] == [names[0], names[2], names[1], names[3]]
    assert all(re.fullmatch(r"\d_R[12]\.fastq", link.name) for link in links)


def test_star_takes_several_lanes_in_a_folder_with_a_comma(tmp_path, monkeypatch):
    """A study below `Levi, Anna/` with two lanes: STAR took the folder's comma for the next file."""
    fake = tmp_path / "STAR"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo 2.7; exit 0; }\n'
        'while [ "$1" != --readFilesIn ]; do shift; done\necho "EXITING because of $2 $3"; exit 1\n'
    )
    fake.chmod(0o755)
    monkeypatch.setenv("CARSEQ_STAR", str(fake))
    for name in (
        "genomeParameters.txt", "Genome", "SA", "SAindex", "chrName.txt", "chrLength.txt", "chrStart.txt"
    ):  # fmt: skip
        (tmp_path / name).write_text("")
    reads = [tmp_path / f"{name}.fastq" for name in "abcd"]
    for path in (*reads, tmp_path / "list.txt"):
        path.write_text("ACGTACGTACGTACGT\n")
    found = Chemistry(
        "10x_3p_v3", 1, 16, 17, 12, "Forward", str(tmp_path / "list.txt"), 0.9, 9, 90, 9, 0
    )
    out = tmp_path / "Levi, Anna" / "solo"
    with pytest.raises(CarseqError) as caught:
        align([tuple(reads[:2]), tuple(reads[2:])], found, tmp_path, out, car=None)
    wanted = [f"{reads[1]},{reads[3]}", f"{reads[0]},{reads[2]}"]
    assert caught.value.cause in (
        "EXITING because of 1_R2.fastq,2_R2.fastq 1_R1.fastq,2_R1.fastq",
        f"EXITING because of {' '.join(wanted)}",
    )


def test_reads_that_could_not_be_decompressed_are_told(tmp_path):
    """The disk did not answer while STAR read: it took what it had got for all, here nothing, and ended well."""
    whole = gzip.compress(b"@r\nACGT\n+\nFFFF\n" * 1000)
    for name, content in (("1_R1.fastq", whole), ("1_R2.fastq", whole[: len(whole) // 2])):
        (tmp_path / name).write_bytes(content)
        subprocess.run(
            ["sh", "-c", decompression_script(), "decompress.sh", name],
            cwd=tmp_path, capture_output=True, check=False,
        )  # fmt: skip
        if name == "1_R1.fastq":
            check_read_whole(tmp_path)
    with pytest.raises(CarseqError, match=r"1_R2.fastq could not be read to the end"):
        check_read_whole(tmp_path)


def test_lanes_may_be_gzipped_or_plain(tmp_path):
    """One lane was unpacked to look at it: the check took both, and the alignment refused them hours later."""
    text = b"@r\nACGT\n+\nFFFF\n"
    (tmp_path / "1_R1.fastq").write_bytes(gzip.compress(text))
    (tmp_path / "2_R1.fastq").write_bytes(text)
    (tmp_path / "decompress.sh").write_text(decompression_script())
    for lane in (1, 2):
        command = ["sh", "decompress.sh", f"{lane}_R1.fastq"]
        assert subprocess.run(command, cwd=tmp_path, capture_output=True).stdout == text
    check_read_whole(tmp_path)


def test_what_a_killed_job_left_is_removed(tmp_path):
    """The next job clears STAR's temporary files that a killed one could not, and then its own."""
    left = tmp_path / ".star.dead"
    left.mkdir()
    (left / "BAMsort").write_text("much")
    (tmp_path / "raw.h5ad").write_text("kept")
    with scratch_folder(tmp_path, ".star.") as folder:
        assert not left.exists()
        assert folder.parent == tmp_path
    assert [p.name for p in tmp_path.iterdir()] == ["raw.h5ad"]


class TestWithoutABam:
    """`solo.evidence: fastq`: STAR writes no alignments, so the CAR is not inserted and nothing is sorted."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        shutil.copytree(ROOT / "tests/data/lint", tmp_path / "study")
        self.write(tmp_path / "study", solo={"evidence": "fastq"})
        return tmp_path / "study"

    def write(self, study: Path, **sections: dict[str, object]) -> None:
        config = yaml.safe_load((study / "config.yaml").read_text())
        for name, section in sections.items():
            config[name] = {**(config.get(name) or {}), **section}
        (study / "config.yaml").write_text(yaml.safe_dump(config))

    def test_the_index_stays_plain_whatever_was_chosen_before(self, folder: Path) -> None:
        study = load_study(load_config(folder / "config.yaml"))
        study.config.results = str(folder / "results")
        memory.keep_choice(memory.Choice("saved", 1, 3100, "enough"), study.config.results)
        choice = memory.choice_of(study, machine=999_000, genome=3100)
        assert (choice.insertion, study.searched, study.kallisto) == ("none", True, False)
        self.write(folder, solo={"evidence": "bam"})
        with_bam = load_study(load_config(folder / "config.yaml"))
        with_bam.config.results = study.config.results
        assert memory.choice_of(with_bam, machine=999_000, genome=3100).insertion == "saved"
        disk = [memory.disk_needed(s, choice) for s in (study, with_bam)]
        assert disk[0] < disk[1]

    def test_introns_are_counted_an_insertion_is_refused(self, folder: Path) -> None:
        self.write(folder, solo={"feature": "GeneFull"})
        load_study(load_config(folder / "config.yaml"))
        self.write(folder, reference={"insertion": "saved"})
        with pytest.raises(CarseqError, match=r"`solo\.evidence: fastq` cannot insert the CAR"):
            load_study(load_config(folder / "config.yaml"))

    def test_a_barcode_of_several_parts_is_refused(self, folder: Path) -> None:
        sheet = (folder / "samples.tsv").read_text().splitlines()
        column = ["chemistry", "auto", "bd_rhapsody"]
        rows = [f"{line}\t{cell}" for line, cell in zip(sheet, column, strict=True)]
        (folder / "samples.tsv").write_text("\n".join(rows) + "\n")
        with pytest.raises(CarseqError, match=r"`solo\.evidence: fastq` does not take sample B"):
            load_study(load_config(folder / "config.yaml"))

    def test_the_check_says_what_is_not_kept(self, folder: Path) -> None:
        found = [
            str(told) for what, told in check_study(folder / "config.yaml") if what == "evidence"
        ]
        assert "all reads are searched" in found[0]
        assert "`reuse` cannot build on this study" in found[1]
