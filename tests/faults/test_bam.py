"""A BAM that is damaged between its beginning and its end is told as that; nothing beyond its bytes is read."""

from __future__ import annotations

import gzip
import random

import pysam
import pytest

from carseq.errors import CarseqError
from carseq.io.bam import open_bam
from carseq.library.reads import read_length_of_bam
from carseq.sequence.kmers import KmerSet

CAR = "".join(random.Random(5).choices("ACGT", k=400))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[bytes, bytes]:
    """A BAM of 200 reads with a place and 3,000 without, and its index."""
    path = tmp_path_factory.mktemp("bam") / "whole.bam"
    rng = random.Random(1)
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "chr1", "LN": 100_000}]}
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        for i in range(3200):
            record = pysam.AlignedSegment(out.header)
            start = rng.randrange(300)
            bases = "".join(rng.choices("ACGT", k=90)) if i % 9 else CAR[start : start + 90]
            record.query_name, record.query_sequence = f"r{i}", bases
            record.query_qualities = pysam.qualitystring_to_array("I" * 90)
            if i < 200:
                record.reference_id, record.reference_start, record.cigarstring = 0, 9 * i, "90M"
            else:
                record.flag = 4
            record.set_tag("CB", "".join(rng.choices("ACGT", k=16)))
            out.write(record)
    pysam.index(str(path))
    return path.read_bytes(), path.with_name("whole.bam.bai").read_bytes()


@pytest.fixture(scope="module")
def kmers() -> KmerSet:
    return KmerSet([CAR])


def read(path, kmers) -> tuple[int, int, int]:
    """Return how many records have a place, how many have none, and how many of these are like the CAR."""
    with open_bam(path) as bam:
        mapped = sum(1 for _ in bam.fetch("chr1"))
    with open_bam(path) as bam:
        found, n = kmers.unmapped(bam)
    return mapped, n, len(found)


def test_damage_anywhere_is_told_or_touches_nothing(whole, kmers, tmp_path):
    content, index = whole
    path = tmp_path / "a.bam"
    path.with_name("a.bam.bai").write_bytes(index)
    path.write_bytes(content)
    expected = read(path, kmers)
    assert expected[:2] == (200, 3000)
    assert expected[2] > 300
    rng, told, size = random.Random(2), [], len(content)
    for _ in range(25):
        at = rng.randrange(size // 9, size - 60)
        changed = bytearray(content)
        changed[at] ^= 1 << rng.randrange(8)
        length = rng.choice((1, 40, 5000))
        for damaged in (bytes(changed), content[:at] + content[at + length :], content[:at]):
            path.write_bytes(damaged)
            try:
                assert read(path, kmers) == expected
            except CarseqError as error:
                told.append(error.remedy)
    assert all(told)
    assert len(told) > 40


def test_records_that_are_none_are_not_read_over_the_end(whole, kmers, tmp_path):
    """Blocks whose checksums are right and whose content is not a row of records."""
    content = gzip.decompress(whole[0])
    path, rng = tmp_path / "a.bam", random.Random(3)
    path.with_name("a.bam.bai").write_bytes(whole[1])
    told = []
    for _ in range(25):
        changed = bytearray(content)
        at = rng.randrange(len(changed) * 2 // 3, len(changed) - 40)
        changed[at : at + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f" * 4, b""))
        with pysam.BGZFile(str(path), "wb") as out:
            out.write(bytes(changed))
        try:
            read(path, kmers)
        except CarseqError as error:
            told.append("damaged" in error.message or "cannot read" in error.message)
    assert told
    assert all(told)


def test_a_bam_packed_by_gzip_is_refused(whole, tmp_path):
    path = tmp_path / "a.bam"
    path.write_bytes(gzip.compress(gzip.decompress(whole[0])))
    for parse in (open_bam, read_length_of_bam):
        with pytest.raises(CarseqError, match="cannot read the BAM"):
            parse(path)


def test_an_index_or_another_file_given_as_bam_is_told(whole, tmp_path):
    """`--bam possorted.bam.bai`: the message was pysam's "Exec format error", and the remedy "check the path"."""
    index = tmp_path / "possorted.bam.bai"
    index.write_bytes(whole[1])
    other = tmp_path / "genome.fa"
    other.write_text(">chr1\nACGT\n")
    for parse in (open_bam, read_length_of_bam):
        with pytest.raises(CarseqError, match="an index") as told:
            parse(index)
        assert "possorted.bam`" in told.value.remedy
        with pytest.raises(CarseqError, match="No such file"):
            parse(tmp_path / "missing.bam")
    with pytest.raises(CarseqError, match="it is not a BAM"):
        open_bam(other)


def test_the_index_of_another_bam_is_told(whole, kmers, tmp_path):
    """Copied beside the BAM by mistake, and newer than it: the BAM was "damaged", and sent for once more."""
    content, _ = whole
    path = tmp_path / "a.bam"
    other = tmp_path / "other.bam"
    path.write_bytes(content)
    with pysam.AlignmentFile(str(path)) as given:
        records = list(given)
        with pysam.AlignmentFile(str(other), "wb", template=given) as out:
            for record in records[100:]:
                record.query_name = record.query_name * 7
                out.write(record)
    pysam.index(str(other))
    path.with_name("a.bam.bai").write_bytes(other.with_name("other.bam.bai").read_bytes())
    with pytest.raises(CarseqError, match=r"the index of the BAM .* do not fit"):
        read(path, kmers)


def test_reads_without_bases_are_told(tmp_path):
    """`*` in the place of bases, to save room: "the BAM holds no read"."""
    header = {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "chr1", "LN": 1000}]}
    with pysam.AlignmentFile(str(tmp_path / "a.bam"), "wb", header=header) as out:
        record = pysam.AlignedSegment(out.header)
        record.query_name, record.reference_id, record.reference_start = "r", 0, 5
        record.cigarstring = "90M"
        out.write(record)
    with pytest.raises(CarseqError, match="hold no bases"):
        read_length_of_bam(tmp_path / "a.bam")
