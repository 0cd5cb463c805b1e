"""Strand and read length of a sample, measured once: from FASTQ files, from a BAM, named in the sheet."""

from __future__ import annotations

import bz2
import gzip
import io
import random
import tarfile

import pandas as pd
import pysam
import pytest

from carseq.construct import homology, rivals
from carseq.construct.homology import EndogenousTranscript
from carseq.construct.library import relatives
from carseq.construct.outputs import write_features
from carseq.errors import CarseqError
from carseq.library.fastq import check_pair
from carseq.library.geometry import Chemistry
from carseq.library.reads import LibraryReads, measure_reads, shortest_reads
from carseq.molecules.fastq import pick_reads
from carseq.sequence.kmers import KmerSet


def bam(path, reads):
    """Write (sequence, flag) as a BAM without contigs of use."""
    header = {"HD": {"VN": "1.4", "SO": "coordinate"}, "SQ": [{"SN": "chr1", "LN": 1000}]}
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        for i, (sequence, flag) in enumerate(reads):
            record = pysam.AlignedSegment(out.header)
            record.query_name, record.flag = f"r{i}", flag
            record.query_sequence = sequence
            record.query_qualities = pysam.qualitystring_to_array("F" * len(sequence))
            out.write(record)
    pysam.index(str(path))
    return path


def test_a_chemistry_says_both(tmp_path):
    path = tmp_path / "chemistry.json"
    known = Chemistry("10x_5p_v2", 1, 16, 17, 10, "Reverse", "", 0.9, 100, 151, 1, 99)
    path.write_text(known.to_json())
    assert measure_reads(path, None, []) == LibraryReads("Reverse", 151, "chemistry")


def test_the_length_of_a_bams_reads_is_that_of_r2(tmp_path):
    """R1 of a 5' paired library is as long as its cDNA part: it is not counted."""
    reads = [("A" * 55, 4)] * 3 + [("A" * 26, 4 + 1 + 8 + 64), ("A" * 55, 4 + 1 + 8 + 128)] * 9
    path = bam(tmp_path / "s.bam", reads)
    found = measure_reads(None, path, [], named="10x_3p_v3")
    assert found == LibraryReads("Forward", 55, "sheet")
    custom = "soloCBlen 16 soloUMIstart 17 soloUMIlen 12 soloStrand Reverse"
    assert measure_reads(None, path, [], named=custom).strand == "Reverse"
    with pytest.raises(CarseqError, match="holds no read"):
        measure_reads(None, bam(tmp_path / "none.bam", []), [], named="10x_3p_v3")
    with pytest.raises(CarseqError, match=r"strand of .* cannot be determined"):
        measure_reads(None, path, ["ACGT" * 100])


def test_the_shortest_library_sets_the_windows_unless_the_config_does(tmp_path):
    paths = []
    for length in (91, 55):
        paths.append(tmp_path / f"{length}.json")
        paths[-1].write_text(LibraryReads("Forward", length, "sheet").to_json())
    assert shortest_reads(paths) == 55
    assert shortest_reads(paths, 120) == 120
    assert shortest_reads([]) == 90
    paths[0].write_text("{")
    with pytest.raises(CarseqError, match="delete it and run the workflow again"):
        shortest_reads(paths)


def test_the_measured_length_reaches_homology_and_coverage(tmp_path, surrogate):
    """Reads of 50 nt are told apart less often than reads of 150: more bases are shared, fewer covered."""
    transcripts = [EndogenousTranscript(g, g, s) for g, s in relatives().items()]
    found = rivals(surrogate.sequence, transcripts)
    shared, covered = {}, {}
    for length in (50, 150):
        table = homology(surrogate.sequence, found, read_length=length)
        own = table[table["class"] == "shared"]
        shared[length] = int((own["end"] - own["start"]).sum())
        write_features(surrogate, tmp_path / str(length), [], read_length=length)
        coverage = pd.read_csv(tmp_path / str(length) / "coverage.tsv", sep="\t")
        covered[length] = coverage["expected_3p"].sum()
    assert shared[50] > shared[150] + 200
    assert covered[50] < covered[150] / 1.5


def archived(text: bytes) -> bytes:
    """Return a text as a .tar.gz holds it."""
    with io.BytesIO() as out:
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            member = tarfile.TarInfo("reads.fastq")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
        return out.getvalue()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("{}.fastq.gz", lambda text: text, "is not compressed"),
        ("{}.fastq.gz", bz2.compress, "compressed by bzip2"),
        ("{}.fastq.bz2", bz2.compress, "compressed by bzip2"),
        ("{}.fastq.gz", lambda text: b"\x28\xb5\x2f\xfd" + text, "compressed by zstd"),
        ("{}.fasta", lambda text: b">r1\nACGT\n>r2\nACGA\n", "is FASTA, not FASTQ"),
        ("{}.fq.gz", lambda text: gzip.compress(b">r1\nACGT\n"), "is FASTA, not FASTQ"),
        ("{}.fq.gz", lambda text: gzip.compress(gzip.compress(text)), "compressed twice"),
        ("{}.fq.gz", archived, "unpack it (`tar -xf"),
        ("{}.fastq", lambda text: b"\xef\xbb\xbf" + text, "mark of UTF-8"),
        ("{}.fastq", lambda text: text.replace(b"\n", b"\r"), "end as those of old Macs"),
    ],
    ids=[
        "plain .gz",
        "bzip2 as .gz",
        "bzip2",
        "zstd",
        "FASTA",
        "FASTA in gzip",
        "gzip in gzip",
        "archive",
        "marked by an editor",
        "lines of old Macs",
    ],
)
def test_reads_in_another_container_are_told_as_that(tmp_path, name, change, words):
    """Of FASTA every other read was taken for a quality line; other compression was called damage."""
    pair = [tmp_path / name.format(f"R{i}") for i in (1, 2)]
    for path, bases in zip(pair, (b"ACGT", b"TTGA"), strict=True):
        path.write_bytes(change(b"@r1\n" + bases + b"\n+\nFFFF\n"))
    with pytest.raises(CarseqError) as error:
        check_pair(*pair)
    assert words in str(error.value)
    chemistry = Chemistry("10x_3p_v3", 1, 2, 3, 2, "Forward", "", 0.9, 100, 4, 1, 4)
    with pytest.raises(CarseqError) as error:
        pick_reads([(pair[0], pair[1])], KmerSet(["ACGGT" * 20]), chemistry)
    assert words in str(error.value)


def test_blank_lines_at_the_end_are_told_as_that(tmp_path):
    """A script added a line break to each file: "damaged, transfer it again" cost a day and changed nothing."""
    pair = [tmp_path / f"R{i}.fastq" for i in (1, 2)]
    for path, bases in zip(pair, ("ACGT", "TTGA"), strict=True):
        path.write_text(f"@r1\n{bases}\n+\nFFFF\n\n")
    with pytest.raises(CarseqError, match="ends with blank lines"):
        check_pair(*pair)


def test_the_strand_of_a_paired_bam_is_that_of_r2(tmp_path):
    """R1 of a 5' paired library is aligned too, on the other strand: the strand could not be determined."""
    rng = random.Random(3)
    gene = "".join(rng.choice("ACGT") for _ in range(900))
    header = {"HD": {"VN": "1.4", "SO": "coordinate"}, "SQ": [{"SN": "chr1", "LN": 1000}]}
    path = tmp_path / "paired.bam"
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        for start in range(0, 800, 2):
            for flag in (1 + 2 + 64, 1 + 2 + 128 + 16):
                record = pysam.AlignedSegment(out.header)
                record.query_name, record.flag = f"r{start}", flag
                record.query_sequence = gene[start : start + 80]
                record.query_qualities = pysam.qualitystring_to_array("F" * 80)
                record.reference_id, record.reference_start = 0, start
                record.cigarstring, record.mapping_quality = "80M", 255
                out.write(record)
    pysam.index(str(path))
    assert measure_reads(None, path, [gene]).strand == "Reverse"
