"""construct: a map is read however it was saved; what is not a map is told by what it is; a cut file is refused."""

from __future__ import annotations

import gzip
import io
import re
import struct
import zipfile

import pytest
from Bio import SeqIO

from carseq.construct import load_construct
from carseq.construct.coding import translate
from carseq.construct.library import NAMES
from carseq.construct.lint import lint
from carseq.construct.parts import sequences
from carseq.construct.reading import read_vector, split_record
from carseq.data import path as data_path
from carseq.errors import CarseqError

RECORD = data_path("constructs/ide-cel.gb").read_text()
BASES = str(SeqIO.read(io.StringIO(RECORD), "genbank").seq)


def with_locus(line: str) -> str:
    return line + "\n" + RECORD.split("\n", 1)[1]


@pytest.mark.parametrize(
    "locus",
    [
        "LOCUS       pLV-my CAR (final) v2   6710 bp    DNA     circular SYN 01-JAN-2020",
        "LOCUS       a_name_so_long_that_it_runs_into_the_length_of_the_sequence6710 bp DNA circular",
        "LOCUS       x 6710 bp ds-DNA circular",
        "LOCUS\tx\t6710 bp\tDNA\tcircular\tUNA",
        "LOCUS       x                       6710 bp    dna     CIRCULAR UNK 1-1-20",
        "LOCUS       x",
    ],
)
def test_any_locus_line_is_read(tmp_path, locus):
    path = tmp_path / "v.gb"
    path.write_text(with_locus(locus))
    found = read_vector(path)
    assert found.sequence == BASES
    assert found.circular is (True if "circular" in locus.lower() else None)
    assert load_construct(path).protein.endswith("MQALPPR")


def test_a_broken_feature_is_left_out_with_a_word(tmp_path):
    broken = (
        "     misc_feature    2812..915\n                     /label=backwards\n"
        "     CDS             9999999..10000000\n                     /label=outside\n"
        "     misc_feature    order(1..\n                     /label=unfinished\n"
        "     misc_feature    10..20\n                     /label=sound\nORIGIN"
    )
    linear = RECORD.replace("circular", "linear  ", 1).replace("ORIGIN", broken, 1)
    path = tmp_path / "v.gb"
    path.write_text(linear)
    found = read_vector(path)
    labels = {f.label for f in found.features}
    assert "sound" in labels
    assert not {"backwards", "outside", "unfinished"} & labels
    told = " ".join(found.remarks)
    assert all(word in told for word in ("backwards", "outside", "unfinished"))
    notes = dict(load_construct(path).notes)
    assert "was left out" in notes["read_with_remarks"]


@pytest.mark.parametrize("width", [1, 3, 4, 9, None], ids=str)
def test_bases_are_read_wherever_their_lines_begin(tmp_path, width):
    """Numbers of three or four places: from base 1,021 on they reach the left margin, where the map seemed to end."""
    lines = [
        ("" if width is None else f"{i + 1:>{width}} ")
        + " ".join(BASES[i : i + 60][j : j + 10] for j in range(0, 60, 10)).lower().rstrip()
        for i in range(0, len(BASES), 60)
    ]
    path = tmp_path / "v.gb"
    path.write_text(
        RECORD.split("ORIGIN")[0] + "ORIGIN\n" + "\n".join(lines) + "\nCONTIG join(X)\n//\n"
    )
    assert read_vector(path).sequence == BASES


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1"])
def test_other_encodings_are_read(tmp_path, encoding):
    path = tmp_path / "v.gb"
    path.write_bytes(RECORD.replace("\n", "\r\n").encode(encoding))
    assert read_vector(path).sequence == BASES


@pytest.mark.parametrize("place", ["1..10,20..30", "one-of(3..5)", "join()", "200-300", "0..10"])
def test_a_feature_whose_place_cannot_be_read_is_left_out_alone(tmp_path, place):
    """A join whose word was lost refused the whole map."""
    path = tmp_path / "v.gb"
    path.write_text(RECORD.replace("ORIGIN", f"     intron          {place}\nORIGIN", 1))
    found = read_vector(path)
    assert found.sequence == BASES
    assert len(found.features) > 3
    assert f"({place}) was left out" in "".join(found.remarks)


@pytest.mark.parametrize(
    "text",
    [
        BASES,
        BASES.lower(),
        "\n".join(BASES[i : i + 60] for i in range(0, len(BASES), 60)),
        "\n".join(
            f"{i + 1:>9} " + " ".join(BASES[i : i + 60][j : j + 10] for j in range(0, 60, 10))
            for i in range(0, len(BASES), 60)
        ),
        f"> my vector\n{BASES}\n",
        f"\n\n>v 1\n{BASES}\n\n",
        f";comment\n>v\n{BASES}",
        BASES.replace("T", "U"),
    ],
)
def test_a_pasted_sequence_is_read(tmp_path, text):
    path = tmp_path / "v.txt"
    path.write_text(text)
    assert read_vector(path).sequence == BASES


@pytest.mark.parametrize(
    "text",
    [
        f"CAR\n{BASES}\n",
        f"CAR\n\n{BASES}\n",
        f"CAR\t{BASES}\n",
        f"CAR: {BASES}\n",
        f" 1 {len(BASES)}\nCAR       {BASES}\n",
        f">DL;CAR\nCAR\n{BASES}*\n",
    ],
)
def test_a_name_of_letters_that_could_be_bases_is_a_name(tmp_path, text):
    """C, A and R are letters of IUPAC: a line, a cell or a title that says CAR was read as three bases."""
    path = tmp_path / "v.txt"
    path.write_text(text)
    assert read_vector(path).sequence == BASES


@pytest.mark.parametrize(
    "before",
    [
        "CAR sequence: ",
        "CAR sequence (5'->3'): ",
        "Anti-BCMA CAR T\nsequence: ",
        "1. pMSGV1 CAR: ",
        "pMSGV1 (3433 bp) ",
        "pMSGV anti-BCMA\t",
        "pMSGV1-CAR - ",
        "seq=",
        "CAR (5'-3'): 5'-",
        "CAR\u2014",
        "pMSGV_CAR -> ",
        "my car ",
        "Name,Sequence\nCAR,",
        '"Name","Sequence"\n"CAR","',
        '"pMSGV, CAR"\nCreated 12 Nov 2020\n^^\n',
        "CAR\u200b\n",
    ],
)
@pytest.mark.parametrize("wide", [60, 10_000])
def test_a_name_in_the_line_of_the_first_bases_takes_none_of_them(tmp_path, before, wide):
    """A label was typed before the sequence: its line with 60 bases was taken for the name, or the file was refused."""
    path = tmp_path / "v.txt"
    lines = [BASES[i : i + wide] for i in range(0, len(BASES), wide)]
    path.write_text(before + "\n".join(lines) + "\n", encoding="utf-8")
    assert read_vector(path).sequence == BASES


def test_a_number_before_the_bases_is_no_name(tmp_path):
    path = tmp_path / "v.txt"
    rows = [f"{i + 1:>9} " + BASES[i : i + 60].lower() for i in range(0, 600, 60)]
    path.write_text("\n".join(rows))
    found = read_vector(path)
    assert found.sequence == BASES[:600]
    assert "taken for its name" not in "".join(found.remarks)


@pytest.mark.parametrize("block", [3, 6, 10])
def test_an_ambiguous_base_in_the_first_block_makes_it_no_name(tmp_path, block):
    """Bases in blocks, one of them R or Y: the first block was taken for the sequence's name."""
    bases = BASES[:2] + "R" + BASES[3:300]
    path = tmp_path / "v.txt"
    path.write_text(" ".join(bases[i : i + block] for i in range(0, 300, block)))
    assert read_vector(path).sequence == bases.replace("R", "N")


@pytest.mark.parametrize("letter", ["\u03a8", "\u03c8", "m1\u03a8", "m\u03a8"])
@pytest.mark.parametrize("header", ["", ">mRNA\n"])
def test_pseudouridine_is_a_uridine(tmp_path, letter, header):
    """The published sequences of mRNAs made in vitro write it so; they were refused."""
    path = tmp_path / "v.txt"
    path.write_text(header + BASES.replace("T", letter), encoding="utf-8")
    assert read_vector(path).sequence == BASES


def test_a_sequence_with_its_other_strand_below_is_read_once(tmp_path):
    """As maps print it: the two strands were read as one sequence of twice the length."""
    path = tmp_path / "v.txt"
    other = BASES.translate(str.maketrans("ACGT", "TGCA"))
    lines = [
        f"{i + 1:>6} {BASES[i : i + 60]}\n       {'|' * 60}\n       {other[i : i + 60]}\n"
        for i in range(0, len(BASES), 60)
    ]
    path.write_text("\n".join(lines))
    assert read_vector(path).sequence == BASES


def test_a_file_of_gcg_is_read_behind_its_words(tmp_path):
    path = tmp_path / "v.seq"
    head = f"!!NA_SEQUENCE 1.0\nCAR vector\n\nv.seq  Length: {len(BASES)}  Type: N  Check: 1234  ..\n\n"
    path.write_text(f"{head}       1  {BASES}\n")
    assert read_vector(path).sequence == BASES
    path.write_text(f"{head}       1  {BASES[:-70]}\n")
    with pytest.raises(CarseqError, match="cut off"):
        read_vector(path)


def zipped(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"%PDF-1.7 ...", "a PDF"),
        (b"{\\rtf1\\ansi ACGT}", "RTF"),
        (zipped(["map.gb"]), "zip archive of map.gb"),
        (zipped(["word/document.xml"]), "Word"),
        (zipped(["xl/workbook.xml"]), "Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Office"),
        (b"\x89PNG\r\n", "picture"),
        (b"ABIF\x00\x01", "trace"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"<?xml version='1.0'?><rdf></rdf>", "XML"),
        (b"@r1\nACGTACGT\n+\nIIIIIIII\n", "FASTQ"),
        (b"chr1\tx\texon\t1\t9\t.\t+\t.\tgene_id\n", "annotation table"),
        (b'{"a": 1}', "JSON"),
        (b"Dear all, please find the map attached.", "text"),
        (bytes(range(256)) * 4, "binary"),
        (b"", "empty"),
    ],
)
def test_what_is_no_map_is_told_by_what_it_is(tmp_path, content, what):
    path = tmp_path / "v.gb"
    path.write_bytes(content)
    with pytest.raises(CarseqError) as refusal:
        read_vector(path)
    assert what in refusal.value.cause
    assert "fasta-pearson" not in str(refusal.value)
    assert refusal.value.remedy


@pytest.mark.parametrize("part", [0.3, 0.7, 0.97])
def test_a_file_that_was_cut_off_is_refused(tmp_path, part):
    whole = {
        "v.gb": RECORD.encode(),
        "v.gb.gz": gzip.compress(RECORD.encode()),
    }
    for name, data in whole.items():
        path = tmp_path / name
        path.write_bytes(data[: int(part * len(data))])
        with pytest.raises(CarseqError, match=r"cut off|cannot be read"):
            read_vector(path)


@pytest.mark.parametrize("kind", ["genbank", "embl"])
@pytest.mark.parametrize(
    ("lost", "code", "level"),
    [(slice(70, 90), "bases_missing", "error"), (slice(-9, None), "map_cut_short", "warn")],
)
def test_a_map_with_fewer_bases_than_it_says_is_told(tmp_path, kind, lost, code, level):
    """A download that was resumed wrongly, or ended by hand with //: the length alone told, in a remark."""
    path = tmp_path / "v.gb"
    SeqIO.convert(io.StringIO(RECORD), "genbank", path, kind)
    lines = path.read_text().splitlines()
    start = next(i for i, x in enumerate(lines) if x.startswith(("ORIGIN", "SQ "))) + 1
    bases = [x for x in lines[start:] if x.strip("/ ")]
    del bases[lost]
    path.write_text("\n".join([*lines[:start], *bases, "//"]) + "\n")
    notes = dict(load_construct(path).notes)
    assert "of 6," in notes[code]
    assert any(f["code"] == code and f["level"] == level for f in lint(load_construct(path), "3p"))


@pytest.mark.parametrize("kind", ["genbank", "embl"])
@pytest.mark.parametrize("order", ["repeated", "exchanged", "twice"])
def test_lines_of_bases_that_do_not_follow_are_told(tmp_path, kind, order):
    """Two lines exchanged, or some that stand there twice, gave another mRNA without a word."""
    path = tmp_path / "v.gb"
    SeqIO.convert(io.StringIO(RECORD), "genbank", path, kind)
    lines = path.read_text().splitlines()
    start = next(i for i, x in enumerate(lines) if x.startswith(("ORIGIN", "SQ "))) + 1
    bases = [x for x in lines[start:] if x.strip("/ ")]
    changed = {
        "repeated": bases[:70] + bases[65:],
        "exchanged": [*bases[:70], bases[71], bases[70], *bases[72:]],
        "twice": bases + bases,
    }[order]
    path.write_text("\n".join([*lines[:start], *changed, "//"]) + "\n")
    vector = read_vector(path)
    assert "repeated or exchanged" in vector.missing
    # A line that was edited by hand has another length.
    edited = [*bases[:70], bases[70].replace("a", "aa", 1), *bases[71:]]
    path.write_text("\n".join([*lines[:start], *edited, "//"]) + "\n")
    assert not read_vector(path).missing


@pytest.mark.parametrize(
    "head",
    [
        ">v (9,000 bp)",
        ">v 9000 bp ds-DNA circular",
        "##gff-version 3\n##sequence-region v 1 9000\n##FASTA\n>v",
    ],
)
def test_a_fasta_file_that_was_cut_off_is_told_by_the_length_it_says(tmp_path, head):
    """SnapGene, ApE and Benchling write the length into the header: a file that ended early passed for whole."""
    path = tmp_path / "v.fa"
    path.write_text(f"{head}\n{BASES}\n")
    assert f"{len(BASES):,} of 9,000 bases" in read_vector(path).cut_short
    path.write_text(f"{head.replace('9,000', '300').replace('9000', '300')}\n{BASES}\n")
    assert not read_vector(path).cut_short


@pytest.mark.parametrize("first", [1, 5])
def test_a_genbank_file_without_its_head_is_read(tmp_path, first):
    """Without its LOCUS line it was refused as "text"."""
    path = tmp_path / "v.gb"
    path.write_text("\n".join(RECORD.splitlines()[first:]) + "\n")
    found = read_vector(path)
    assert found.sequence == BASES
    assert "LOCUS" in " ".join(found.remarks)


def test_one_of_several_records_is_chosen_by_name(tmp_path):
    path = tmp_path / "two.fa"
    path.write_text(f">first\n{BASES[:900]}\n>second part\n{BASES}\n>third\nACGT\n")
    with pytest.raises(CarseqError, match="holds 3 sequences") as refusal:
        read_vector(path)
    assert "two.fa#second" in refusal.value.remedy
    assert read_vector(f"{path}#second").sequence == BASES
    with pytest.raises(CarseqError, match="no record named 'other'"):
        read_vector(f"{path}#other")
    odd = tmp_path / "a#b.fa"
    odd.write_text(f">v\n{BASES}\n")
    assert split_record(odd) == (odd, None)
    assert read_vector(odd).sequence == BASES


def test_a_protein_record_is_told(tmp_path):
    path = tmp_path / "p.gb"
    path.write_text(
        "LOCUS       P                 20 aa            linear\nORIGIN\n"
        "        1 malpvtalll plalllhaar\n//\n"
    )
    with pytest.raises(CarseqError, match="not a nucleotide") as refusal:
        read_vector(path)
    assert "DNA" in refusal.value.remedy


def test_a_linear_map_cut_within_the_car_is_read_as_a_circle_and_says_so(tmp_path):
    turned = BASES[3700:] + BASES[:3700]
    text = re.sub(r"circular", "linear  ", RECORD, count=1)
    head = text[: text.index("FEATURES")]
    lines = "\n".join(f"{i + 1:>9} {turned[i : i + 60].lower()}" for i in range(0, len(turned), 60))
    path = tmp_path / "v.gb"
    path.write_text(f"{head}ORIGIN\n{lines}\n//\n")
    found = load_construct(path)
    assert "read_as_circle" in dict(found.notes)
    assert found.sequence == load_construct(data_path("constructs/ide-cel.gb")).sequence


@pytest.mark.parametrize("name", NAMES)
def test_the_shipped_records_are_read_without_a_remark(name):
    assert read_vector(data_path(f"constructs/{name}.gb")).remarks == ()


@pytest.mark.parametrize("name", ["CD19-15aa-CAR", "pLV-200bp-CAR", "CAR 12 aa linker"])
def test_a_length_in_a_name_is_not_that_of_the_map(tmp_path, name):
    """A map named after its linker of 15 residues (15aa) was refused as a protein."""
    path = tmp_path / "v.gb"
    path.write_text(with_locus(f"LOCUS       {name} 6710 bp    DNA     circular SYN 01-JAN-2020"))
    found = read_vector(path)
    assert (found.sequence, found.circular, found.remarks) == (BASES, True, ())


@pytest.mark.parametrize(
    "before",
    [
        "# made by hand\n",
        "My plasmid\n",
        "##gff-version 3\n" + "CAR\t.\tCDS\t10\t99\t.\t+\t0\tID=a\n" * 30 + "##FASTA\n",
    ],
    ids=["comment", "words", "GFF3"],
)
def test_a_header_is_a_header_whatever_stands_above_it(tmp_path, before):
    """The letters of its name (CAR) were read as the first bases; a GFF3 file was said to hold none."""
    path = tmp_path / "v.txt"
    path.write_text(f"{before}>CAR\n{BASES}\n")
    assert read_vector(path).sequence == BASES


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (f">v\n{BASES[:100]}XX{BASES[102:]}\n", "behind base 100"),
        (f">v\n{BASES}\n\nFeatures: scFv 100-200\n", f"behind base {len(BASES):,}"),
        (f"Name,Sequence\npCAR,{BASES}\npGFP,{BASES}\n", "behind base 3"),
    ],
    ids=["X", "notes", "table"],
)
def test_text_among_the_bases_is_told_with_its_place(tmp_path, text, where):
    """They were called the letters of a protein, whatever they were."""
    path = tmp_path / "v.txt"
    path.write_text(text)
    with pytest.raises(CarseqError, match="not a nucleotide") as refusal:
        read_vector(path)
    assert where in refusal.value.cause
    assert "protein" not in str(refusal.value)


def snapgene(*packets: tuple[int, bytes]) -> bytes:
    """Return a file of SnapGene's: its cookie and packets."""
    cookie = (9, b"SnapGene" + struct.pack(">HHH", 1, 15, 19))
    return b"".join(struct.pack(">BI", k, len(d)) + d for k, d in (cookie, *packets))


@pytest.mark.parametrize(("kind", "what"), [(21, "a protein"), (32, "an RNA")])
def test_a_protein_or_rna_of_snapgene_is_told(tmp_path, kind, what):
    """It was said to lack a packet, and to be exported as what it was."""
    path = tmp_path / "v.dna"
    path.write_bytes(snapgene((kind, b"\0MKWVTFISLL")))
    with pytest.raises(CarseqError, match="not the map") as refusal:
        read_vector(path)
    assert what in refusal.value.cause


def test_a_snapgene_map_with_broken_notes_is_read(tmp_path):
    path = tmp_path / "v.dna"
    path.write_bytes(snapgene((0, b"\1" + BASES.encode()), (6, b"<Notes><Type>")))
    found = read_vector(path)
    assert (found.sequence, found.circular) == (BASES, True)
    assert "features could not be read" in found.remarks[0]


def test_of_several_records_the_one_like_a_car_is_proposed(tmp_path):
    path = tmp_path / "v.fa"
    path.write_text(f">backbone\n{'ACGT' * 500}\n>insert\n{BASES}\n")
    with pytest.raises(CarseqError, match="2 sequences") as refusal:
        read_vector(path)
    assert "v.fa#insert" in refusal.value.remedy


def test_the_protein_of_a_product_is_told_with_its_construct(tmp_path):
    """A company's or the WHO's list gives a product's residues alone: which bases carseq has of it was not said."""
    protein = translate(sequences("orfs.fa")["cilta-cel"]).rstrip("*")
    path = tmp_path / "inn.fa"
    path.write_text(f">ciltacabtagene\n{protein[:200]}A{protein[201:]}\n")
    with pytest.raises(CarseqError, match="not a nucleotide sequence") as told:
        read_vector(path)
    assert "carseq construct show cilta-cel" in told.value.remedy
    path.write_text(f">x\n{protein[::-1]}\n")
    with pytest.raises(CarseqError) as told:
        read_vector(path)
    assert told.value.remedy == "give the DNA of the vector, not a protein"
