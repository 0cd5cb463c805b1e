"""chemistry: geometry and strand come from the reads, and what contradicts them is told."""

from __future__ import annotations

import gzip
import os
import random
import shutil
from dataclasses import replace

import pytest
from Bio.Seq import reverse_complement

from carseq.errors import CarseqError
from carseq.library import fastq
from carseq.library.detect import detect_chemistry
from carseq.library.fastq import check_counts, check_pair, count_reads
from carseq.library.geometry import CHEMISTRIES, OF_CELL_RANGER, Chemistry, parse_geometry
from carseq.library.strand import count_strands
from carseq.library.whitelist import known_whitelist, read_parts, read_whitelist
from carseq.solo import plain_whitelist
from carseq.study.sheets import Sample

RNG = random.Random(3)


def bases(n: int) -> str:
    return "".join(RNG.choice("ACGT") for _ in range(n))


PANEL = [bases(1500) for _ in range(20)]
BARCODES = [bases(16) for _ in range(500)]
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def write_fastq(path, sequences, names=None):
    names = names or [f"read{i}" for i in range(len(sequences))]
    with gzip.open(path, "wt") as stream:
        for name, sequence in zip(names, sequences, strict=True):
            stream.write(f"@{name}\n{sequence}\n+\n{'F' * len(sequence)}\n")
    return path


def library(folder, *, sense=True, umi=12, n=600):
    """Write R1, R2 and a whitelist of a library of 10x geometry."""
    r1, r2 = [], []
    for _ in range(n):
        r1.append(RNG.choice(BARCODES) + bases(umi))
        transcript = RNG.choice(PANEL)
        start = RNG.randrange(len(transcript) - 90)
        read = transcript[start : start + 90]
        r2.append(read if sense else read.translate(COMPLEMENT)[::-1])
    (folder / "list.txt").write_text("\n".join(BARCODES) + "\n")
    return (
        write_fastq(folder / "R1.fastq.gz", r1),
        write_fastq(folder / "R2.fastq.gz", r2),
        folder / "list.txt",
    )


@pytest.mark.parametrize(
    ("sense", "umi", "name", "strand"),
    [
        (True, 12, "10x_3p_v3", "Forward"),
        (True, 10, "10x_3p_v2", "Forward"),
        (False, 10, "10x_5p_v2", "Reverse"),
        (False, 12, "10x_5p_v3", "Reverse"),
    ],
)
def test_geometry_and_strand_are_found(tmp_path, sense, umi, name, strand):
    r1, r2, whitelist = library(tmp_path, sense=sense, umi=umi)
    found = detect_chemistry([(r1, r2)], PANEL, whitelist=whitelist)
    assert (found.name, found.strand, found.umi_length) == (name, strand, umi)
    assert found.valid_barcodes == 1.0


def test_what_cell_ranger_calls_a_chemistry_is_understood(tmp_path):
    """Users copy it from Cell Ranger's summary into the sheet."""
    r1, r2, whitelist = library(tmp_path, sense=False, umi=10)
    found = detect_chemistry([(r1, r2)], PANEL, chemistry="SC5P-R2", whitelist=whitelist)
    assert (found.name, found.strand, found.umi_length) == ("10x_5p_v2", "Reverse", 10)
    with pytest.raises(CarseqError, match="contradict"):
        detect_chemistry([(r1, r2)], PANEL, chemistry="SC3Pv2", whitelist=whitelist)
    for name, own in OF_CELL_RANGER.items():
        assert own in CHEMISTRIES
        row = Sample(sample="A", patient="P", compartment="urine", chemistry=name)
        assert row.chemistry == own


def test_swapped_reads_are_told(tmp_path):
    r1, r2, whitelist = library(tmp_path)
    with pytest.raises(CarseqError, match="swapped"):
        detect_chemistry([(r2, r1)], PANEL, whitelist=whitelist)


def test_a_lane_whose_umis_were_cut_is_told(tmp_path):
    """One lane of three was trimmed to 26 nt: the others' length hid it, and STAR lost all its reads."""
    pairs = []
    for name in "abc":
        (tmp_path / name).mkdir()
        pairs.append(library(tmp_path / name, umi=12)[:2])
    with gzip.open(pairs[1][0], "rt") as stream:
        write_fastq(pairs[1][0], [read[:26] for read in stream.read().splitlines()[1::4]])
    shutil.move(tmp_path / "b", tmp_path / "trimmed")
    pairs[1] = tuple(tmp_path / "trimmed" / f"R{i}.fastq.gz" for i in (1, 2))
    with pytest.raises(CarseqError, match=r"R1 in R1.fastq.gz of S is too short for 10x_3p_v3"):
        detect_chemistry(pairs, PANEL, whitelist=tmp_path / "a/list.txt", sample="S")


def test_index_reads_given_as_r2_are_told(tmp_path):
    """I1 of 8 nt in the column r2: barcodes are valid, and nothing can be aligned."""
    r1, r2, whitelist = library(tmp_path)
    write_fastq(r2, ["ACGTTGCA"] * 600)
    with pytest.raises(CarseqError, match=r"R2 in R2.fastq.gz of S is too short for cDNA"):
        detect_chemistry([(r1, r2)], PANEL, chemistry="10x_3p_v3", whitelist=whitelist, sample="S")


def test_reads_whose_umis_were_cut_are_told(tmp_path, caplog):
    """A trimmer took bases from a tenth of R1: they are lost."""
    r1, r2, whitelist = library(tmp_path, umi=12)
    with gzip.open(r1, "rt") as stream:
        reads = stream.read().splitlines()[1::4]
    write_fastq(r1, [read[: 28 if i % 10 else 24] for i, read in enumerate(reads)])
    with caplog.at_level("WARNING", "carseq"):
        detect_chemistry([(r1, r2)], PANEL, whitelist=whitelist)
    assert "10 % of the reads of R1 are shorter than barcode and UMI" in caplog.text


def test_a_wrong_whitelist_is_told(tmp_path):
    r1, r2, _ = library(tmp_path)
    (tmp_path / "other.txt").write_text("\n".join(bases(16) for _ in range(500)) + "\n")
    with pytest.raises(CarseqError, match="does not fit"):
        detect_chemistry([(r1, r2)], PANEL, whitelist=tmp_path / "other.txt")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (str.lower, "is in small letters"),
        (lambda read: f"AC{read}", "they begin at base 3"),
        (lambda read: reverse_complement(read[:16]) + read[16:], "of the other strand"),
        (lambda read: f"{read[:3]}N{read[4:]}", "base 4 of R1 is N in 100 %"),
        (lambda read: read[1:], "the first base of R1 of the sample was cut off"),
    ],
)
def test_barcodes_that_are_written_or_placed_otherwise_are_told(tmp_path, change, told):
    """Each was "the whitelist does not fit", which sends to look for another kit."""
    r1, r2, whitelist = library(tmp_path)
    write_fastq(r1, [change(read) for _, read in fastq.first_reads(r1, None)])
    with pytest.raises(CarseqError) as error:
        detect_chemistry([(r1, r2)], PANEL, whitelist=whitelist)
    assert told in str(error.value)


def test_a_chemistry_whose_list_does_not_fit_names_the_list_that_does(tmp_path, monkeypatch):
    """3' v3 reads that the sheet calls v2 were sent to look for a kit of another maker."""
    r1, r2, whitelist = library(tmp_path, umi=12)
    (tmp_path / "other.txt").write_text("\n".join(bases(16) for _ in range(500)) + "\n")
    lists = {"BDWTA": known_whitelist("BDWTA"), "10x_version3": whitelist}
    monkeypatch.setattr(
        "carseq.library.detect.known_whitelist",
        lambda name: lists.get(name, tmp_path / "other.txt"),
    )
    for chemistry in ("10x_3p_v2", "bd_rhapsody"):
        with pytest.raises(CarseqError, match=f"are not those of {chemistry}") as error:
            detect_chemistry([(r1, r2)], PANEL, chemistry=chemistry)
        assert "100 % of its reads begin with a barcode of 10x_version3" in error.value.cause


def test_a_five_prime_v2_library_is_no_v3(tmp_path, monkeypatch):
    """The barcodes that are learnt for v3 would be v2's, and two bases behind the UMI part of it."""
    r1, r2, whitelist = library(tmp_path, sense=False, umi=12)
    (tmp_path / "other.txt").write_text("\n".join(bases(16) for _ in range(500)) + "\n")
    lists = {"10x_version2": whitelist}
    monkeypatch.setattr(
        "carseq.library.detect.known_whitelist",
        lambda name: lists.get(name, tmp_path / "other.txt"),
    )
    with pytest.raises(CarseqError, match="are not those of 10x_5p_v3") as error:
        detect_chemistry([(r1, r2)], PANEL, chemistry="10x_5p_v3")
    assert "begin with a barcode of 10x_version2" in error.value.cause


def test_a_former_name_behind_the_plus_is_of_no_account(tmp_path):
    """Reads whose names were mended (`sed '1~4s/ /_/'`, as carseq says itself) were "not a FASTQ file"."""
    r1, r2, whitelist = library(tmp_path)
    for path in (r1, r2):
        text = gzip.decompress(path.read_bytes()).decode()
        path.write_bytes(gzip.compress(text.replace("\n+\n", "\n+old name\n").encode()))
        assert count_reads(path) == 600
    assert check_pair(r1, r2)
    assert detect_chemistry([(r1, r2)], PANEL, whitelist=whitelist).valid_barcodes == 1.0
    r2.write_bytes(gzip.compress(gzip.decompress(r2.read_bytes())[:-40]))
    with pytest.raises(CarseqError, match="is damaged"):
        check_pair(r1, r2)


def test_a_changed_byte_that_shows_in_a_name_is_damage(tmp_path):
    """It said that R1 and R2 are not a pair: its gzip knows better, but at its end."""
    r1, r2, _ = library(tmp_path, n=8000)
    stored = bytearray(gzip.compress(gzip.decompress(r1.read_bytes()), 0))
    stored[stored.find(b"@read3001") + 7] = ord("y")
    r1.write_bytes(stored)
    with pytest.raises(CarseqError, match="is damaged or cut off"):
        check_pair(r1, r2)


@pytest.mark.parametrize("text", ["\n\n\n", "ACGT\nTTTT\n", f"{'A' * 40}\n{'C' * 40}\n"])
def test_lines_too_short_or_long_for_barcodes_are_no_list(tmp_path, text):
    """A list of blank lines was one of as many barcodes, which no read has."""
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(CarseqError, match="not a barcode whitelist"):
        read_whitelist(tmp_path / "list.txt")


def test_a_chemistry_that_contradicts_the_strand_is_told(tmp_path):
    r1, r2, whitelist = library(tmp_path, sense=False, umi=10)
    with pytest.raises(CarseqError, match="contradict"):
        detect_chemistry([(r1, r2)], PANEL, chemistry="10x_3p_v2", whitelist=whitelist)


def test_reads_of_both_strands_are_not_guessed(tmp_path):
    r1, r2, whitelist = library(tmp_path)
    with gzip.open(r2, "rt") as stream:
        reads = stream.read().splitlines()[1::4]
    mixed = [r if i % 2 else r.translate(COMPLEMENT)[::-1] for i, r in enumerate(reads)]
    write_fastq(r2, mixed)
    with pytest.raises(CarseqError, match="do not tell whether they are 3' or 5'"):
        detect_chemistry([(r1, r2)], PANEL, whitelist=whitelist)


def test_a_geometry_of_the_users_own_is_taken(tmp_path):
    r1, r2, whitelist = library(tmp_path)
    text = "--soloCBstart 1 --soloCBlen 16 --soloUMIstart 17 --soloUMIlen 12 --soloStrand Forward"
    found = detect_chemistry([(r1, r2)], PANEL, chemistry=text, whitelist=whitelist)
    assert (found.name, found.umi_start, found.umi_length) == ("custom", 17, 12)
    assert parse_geometry("10x_3p_v3") is None
    with pytest.raises(CarseqError, match="missing"):
        parse_geometry("soloCBstart 1")


def test_pairs_that_do_not_belong_together_are_told(tmp_path):
    a = write_fastq(tmp_path / "a.fastq.gz", [bases(28)] * 3)
    b = write_fastq(tmp_path / "b.fastq.gz", [bases(90)] * 2)
    c = write_fastq(tmp_path / "c.fastq.gz", [bases(90)] * 3, names=["x", "y", "z"])
    empty = write_fastq(tmp_path / "e.fastq.gz", [])
    with pytest.raises(CarseqError, match="different numbers"):
        check_pair(a, b)
    with pytest.raises(CarseqError, match="not a pair"):
        check_pair(a, c)
    with pytest.raises(CarseqError, match="holds no reads"):
        check_pair(a, empty)
    broken = tmp_path / "broken.fastq.gz"
    broken.write_bytes(a.read_bytes()[:-20])
    with pytest.raises(CarseqError, match="damaged"):
        count_reads(broken)
    damaged = bytearray(write_fastq(tmp_path / "big.fastq.gz", [bases(90)] * 2000).read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    broken.write_bytes(damaged)
    with pytest.raises(CarseqError, match="damaged"):
        count_reads(broken)
    with pytest.raises(CarseqError, match="different numbers"):
        check_counts([(a, b)])
    assert check_counts([(a, c)]) == 3
    (tmp_path / "text.fastq").write_text("no reads here\n")
    with pytest.raises(CarseqError, match="not a FASTQ"):
        check_pair(tmp_path / "text.fastq", a)


@pytest.mark.parametrize(
    ("first", "second"),
    [("SRR1.{}.2", "SRR1.{}.3"), ("SRR1.{}.3", "SRR1.{}.4"), ("A:{}/1", "A:{}/3")],
)
def test_mates_behind_index_reads_are_a_pair(tmp_path, first, second):
    """SRA numbers the index reads too (`fastq-dump -I`): 10x R1 and R2 were refused as no pair."""
    pair = [
        write_fastq(
            tmp_path / f"{i}.fastq.gz", [bases(90)] * 20, [name.format(n) for n in range(20)]
        )
        for i, name in enumerate((first, second))
    ]
    check_pair(*pair)


@pytest.mark.parametrize(
    ("first", "second"), [("A:{}_1", "A:{}_2"), ("A:{}:R1", "A:{}:R2"), ("A:{}_R1", "A:{}_R2")]
)
def test_mates_that_other_programs_numbered_are_a_pair(tmp_path, first, second):
    """Names ended with `_1` and `_2`, or `:R1` and `:R2`: the files were refused as no pair."""
    reads = {1: [bases(28)] * 20, 2: [bases(90)] * 20}

    def write(i, name, numbers):
        return write_fastq(tmp_path / f"{i}.fastq", reads[i], [name.format(n) for n in numbers])

    r1 = write(1, first, range(20))
    check_pair(r1, write(2, second, range(20)))
    with pytest.raises(CarseqError, match="not a pair"):
        check_pair(r1, write(2, second, range(1, 21)))


def test_renumbered_reads_of_two_lanes_are_no_pair(tmp_path):
    """Reads of both lanes were numbered anew; the sequencer's names behind the numbers differ."""
    pair = [
        write_fastq(
            tmp_path / f"{lane}.fastq.gz",
            [bases(90)] * 20,
            [f"SRR1.{n} A00228:279:HFWF:{lane}:1101:{n}:1000 length=90" for n in range(20)],
        )
        for lane in (1, 2)
    ]
    with pytest.raises(CarseqError, match=r"names of read 1 differ: .*HFWF:1:.* and .*HFWF:2:"):
        check_pair(*pair)


def test_names_with_a_blank_are_told(tmp_path):
    """`P01 A:1:7` is the name P01 to every program: all reads had one name, and were told as R1 and R2 in one file."""
    r1, r2, whitelist = library(tmp_path)
    for path in (r1, r2):
        with gzip.open(path, "rt") as stream:
            reads = stream.read().splitlines()[1::4]
        write_fastq(path, reads, [f"P01 A:1:{n}" for n in range(len(reads))])
    with pytest.raises(CarseqError, match=r"R1.fastq.gz have one name"):
        detect_chemistry([(r1, r2)], PANEL, whitelist=whitelist)


def test_a_known_list_is_written_down_without_the_folder_of_python(tmp_path):
    """chemistry.json lies in the results: it named the user's home, and no list once Python was installed elsewhere."""
    known = known_whitelist("10x_version3")
    found = Chemistry("10x_3p_v3", 1, 16, 17, 12, "Forward", str(known), 0.9, 9, 90, 9, 0)
    assert str(known.parent) not in found.to_json()
    assert Chemistry.from_json(found.to_json()) == found
    earlier = found.to_json().replace(known.name, f"/home/anna/env/whitelists/{known.name}")
    assert Chemistry.from_json(earlier) == found
    for own in (str(tmp_path / "list.txt"), "list.txt"):
        other = replace(found, whitelist=own)
        assert Chemistry.from_json(other.to_json()) == other


def test_whitelists_are_read_plain_zipped_and_with_suffix(tmp_path):
    (tmp_path / "a.txt").write_text("\n".join(BARCODES) + "\n")
    (tmp_path / "b.txt").write_text("\n".join(f"{b}-1" for b in BARCODES) + "\n")
    with gzip.open(tmp_path / "c.txt.gz", "wt") as stream:
        stream.write("\n".join(f"{b}\tx" for b in BARCODES) + "\n")
    codes = [set(read_whitelist(tmp_path / n).tolist()) for n in ("a.txt", "b.txt", "c.txt.gz")]
    assert codes[0] == codes[1] == codes[2]
    assert len(codes[0]) == len(set(BARCODES))
    (tmp_path / "d.txt").write_text("ACGT\nACGTACGTACGT\n")
    with pytest.raises(CarseqError, match="not a barcode whitelist"):
        read_whitelist(tmp_path / "d.txt")


@pytest.mark.parametrize("how", ["quoted", "csv", "lower case", "later lines", "R"])
def test_a_list_of_barcodes_may_come_from_a_spreadsheet(tmp_path, how):
    """A user saved the list from R or Excel: quotation marks, small letters, commas; STAR gets bare barcodes."""
    text = {
        "quoted": "".join(f'"{b}"\r\n' for b in BARCODES),
        "csv": "".join(f'"{b}-1",{i}\n' for i, b in enumerate(BARCODES)),
        "lower case": "".join(f"{b.lower()}\n" for b in BARCODES),
        "later lines": BARCODES[0] + "\n" + "".join(f"{b.lower()}-1\n" for b in BARCODES[1:]),
        "R": "".join(f'"{b}" "cell"\n' for b in BARCODES),
    }[how]
    (tmp_path / "a.txt").write_text("\n".join(BARCODES) + "\n")
    (tmp_path / "b.txt").write_text(text)
    assert set(read_whitelist(tmp_path / "b.txt")) == set(read_whitelist(tmp_path / "a.txt"))
    plain = plain_whitelist(tmp_path / "b.txt", tmp_path / "c.txt")
    assert plain.read_text().split() == BARCODES
    of_parts = [read_parts(tmp_path / f"{name}.txt", [8, 8]) for name in "ab"]
    assert [list(map(set, parts)) for parts in of_parts[:1]] == [list(map(set, of_parts[1]))]


def test_a_list_of_barcodes_in_utf16_is_told_as_that(tmp_path):
    """Excel's "Unicode text" was called a list of lines of 33 characters."""
    (tmp_path / "a.txt").write_text("\n".join(BARCODES) + "\n", encoding="utf-16")
    with pytest.raises(CarseqError) as told:
        read_whitelist(tmp_path / "a.txt")
    assert "text in UTF-16" in told.value.cause


def test_a_long_whitelist_is_read_whole(tmp_path):
    barcodes = {bases(16) for _ in range(70_000)}
    text = "\n".join(sorted(barcodes))
    (tmp_path / "a.txt").write_text(text + "\n")
    (tmp_path / "b.txt").write_text(text)
    (tmp_path / "c.txt").write_text(text + "-1\n")
    codes = [set(read_whitelist(tmp_path / n).tolist()) for n in ("a.txt", "b.txt", "c.txt")]
    assert codes[0] == codes[1] == codes[2]
    assert len(codes[0]) == len(barcodes)


def test_strands_are_counted():
    sense = [t[100:190] for t in PANEL]
    antisense = [r.translate(COMPLEMENT)[::-1] for r in sense[:5]]
    assert count_strands([*sense, *antisense, bases(90)], PANEL) == (20, 5)
    assert count_strands(sense, []) == (0, 0)


def test_files_are_read_again_only_when_they_changed(tmp_path, monkeypatch):
    """The check and the run ask the same; a file that was replaced since is told."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    read = []
    monkeypatch.setattr(fastq, "count_reads", lambda path: read.append(path) or count_reads(path))
    a, b = (tmp_path / f"{mate}.fastq" for mate in "ab")
    for path in (a, b):
        path.write_text("@r1\nACGT\n+\nIIII\n@r2\nACGT\n+\nIIII\n")
    assert check_counts([(a, b)]) == check_counts([(a, b)]) == 2
    assert read == [a, b, a, b], "what was written just now may be written to still"
    for path in (a, b):
        os.utime(path, (1e9, 1e9))
    assert check_counts([(a, b)]) == check_counts([(a, b)]) == 2
    assert read[4:] == [a, b]
    b.write_text("@r1\nACGT\n+\nIIII\n")
    for _ in range(2):
        with pytest.raises(CarseqError, match="different numbers of reads"):
            check_counts([(a, b)])
    assert len(read) == 10


@pytest.mark.parametrize("length", [28, 39, 40])
def test_cdna_too_short_to_tell_the_car_is_refused(tmp_path, length):
    """Of reads of fewer than 40 nt every CAR molecule was left out, and each sample was "not detected"."""
    r1, r2, whitelist = library(tmp_path)
    with gzip.open(r2, "rt") as stream:
        write_fastq(r2, [read[:length] for read in stream.read().splitlines()[1::4]])
    if length == 40:
        found = detect_chemistry([(r1, r2)], PANEL, whitelist=whitelist, sample="S")
        assert found.read_length == 40
        return
    with pytest.raises(CarseqError, match="too short to tell the CAR") as refusal:
        detect_chemistry([(r1, r2)], PANEL, whitelist=whitelist, sample="S")
    assert f"{length} nt" in refusal.value.cause


def test_lanes_of_another_library_are_written_down():
    """Only the check told of them: the page could not. Without any, the file is as it was before."""
    found = Chemistry("10x_3p_v3", 1, 16, 17, 12, "Forward", "list.txt", 0.9, 9, 90, 9, 0)
    assert "other" not in found.to_json()
    mixed = replace(found, other_libraries=("L002_R1.fastq.gz",))
    assert Chemistry.from_json(mixed.to_json()).other_libraries == mixed.other_libraries
