"""FASTA files are read in blocks: what is read does not depend on where a block ends, nor on how lines end."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from carseq.errors import CarseqError
from carseq.io import fasta
from carseq.io.bam import open_bam
from carseq.io.fasta import contigs, fasta_records, open_text
from carseq.io.matrix import read_counts

TEXT = ">chr1 a description > b\nACGTacgt\nNNNN\n\n>chr2\tother\nAC\n  GT \n>chr3\nTTTT"
RECORDS = [("chr1", "ACGTACGTNNNN"), ("chr2", "ACGT"), ("chr3", "TTTT")]


@pytest.mark.parametrize("block", [1, 2, 3, 7, 13, 1 << 22])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["unix", "windows", "old mac"])
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["utf-8", "utf-8-sig"])
def test_a_file_reads_alike_wherever_a_block_ends(
    block: int, end: str, zipped: bool, mark: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fasta, "_BLOCK", block)
    content = mark + TEXT.replace("\n", end).encode()
    path = tmp_path / "g.fa"
    path.write_bytes(gzip.compress(content) if zipped else content)
    assert list(fasta_records(path)) == RECORDS
    assert contigs(path) == {name: len(sequence) for name, sequence in RECORDS}


def test_a_contig_on_one_line_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fasta, "_BLOCK", 10)
    path = tmp_path / "g.fa"
    path.write_text(f">long\n{'ACGT' * 25}\n>next\nTT\n")
    assert list(fasta_records(path)) == [("long", "ACGT" * 25), ("next", "TT")]
    assert contigs(path) == {"long": 100, "next": 2}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"ACGT\n>a\nAC\n", "does not begin with '>'"),
        (b">a\nAC GT\n", "contig a holds 'AC GT'"),
        (b">a\nAC1T\n", "contig a holds 'AC1T'"),
        (b">a\nAC\n>a\nGT\n", "names contig a twice"),
        (b">\nAC\n", "without a name"),
        (b">a\n>b\nAC\n", "contig a of"),
        (b">a\nAC\xff\n", "byte 0xff"),
        (gzip.compress(b">a\nACGT\n")[:-6], "damaged or cut off"),
        (b"", "holds no sequence"),
        (b"\x28\xb5\x2f\xfd\x04\x58", "compressed by zstd"),
        (b"PK\x03\x04\x14\x00", "a zip archive"),
        (">a\nACGT\n".encode("utf-16"), "text in UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "pointer of Git LFS"),
        (b"../../.git/annex/objects/a1/x.fa", "pointer of git-annex"),
        (b"<!DOCTYPE html>\n<html>403", "page of a server"),
        (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied</Code></Error>', "page of a server"),
    ],
    ids=[
        "no name",
        "blank",
        "digit",
        "twice",
        "nameless",
        "empty",
        "no text",
        "cut off",
        "nothing",
        "zstd",
        "zip",
        "utf-16",
        "LFS",
        "annex",
        "HTML",
        "XML",
    ],
)
def test_what_is_no_genome_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "g.fa"
    path.write_bytes(content)
    with pytest.raises(CarseqError, match=told):
        contigs(path)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_is_no_file(tmp_path: Path, kind: str) -> None:
    """`<(zcat genes.gtf.gz)`: what had been looked at was lost of it without a word; an empty pipe was waited for."""
    path = tmp_path / "genes.gtf"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(os.devnull)
    for read in (contigs, lambda path: open_text(path).__enter__(), read_counts, open_bam):
        with pytest.raises(CarseqError, match=f"it is a {kind}"):
            read(path)
