"""construct: the transcript, its domains and its rivals are right whatever the file looks like."""

from __future__ import annotations

import random

import pytest
from Bio import SeqIO
from Bio.Seq import Seq

from carseq.construct import (
    expected_coverage,
    homology,
    identical_windows,
    intended,
    lint,
    load_construct,
    rivals,
    write_construct,
)
from carseq.construct.coverage import share_lost
from carseq.construct.homology import EndogenousTranscript, homology_bed
from carseq.construct.library import relatives
from carseq.construct.library_build import write_library
from carseq.construct.parts import sequences
from carseq.construct.vector import parts
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.fasta import read_sequences
from carseq.reference.genome import read_transcripts


def provirus() -> str:
    return str(SeqIO.read(data_path("constructs/hbi0101_surrogate_native.gb"), "genbank").seq)


def write_fasta(path, sequence):
    path.write_text(f">vector\n{sequence}\n")
    return path


def test_library_is_what_the_script_makes(tmp_path):
    for written in write_library(tmp_path):
        shipped = data_path("constructs") / written.name
        assert shipped.read_text() == written.read_text(), f"{shipped.name} is stale"


def test_provirus_gives_the_gamma_retroviral_transcripts(surrogate):
    full, spliced = surrogate.transcripts
    assert surrogate.form == "provirus"
    # The surrogate is in MSGV1: MSCV's R and U5, a hybrid LTR at the 3' end.
    r, u5, u3, r3 = (parts()[f"MSCV_{p}"] for p in ("R", "U5", "U3", "R3"))
    assert full.sequence.startswith(r + u5)
    assert full.sequence.endswith(u3 + r3)
    (_, donor), (acceptor, _) = spliced.blocks
    assert full.sequence[donor : donor + 2] == "GT"
    assert full.sequence[acceptor - 2 : acceptor] == "AG"
    assert spliced.sequence == full.sequence[:donor] + full.sequence[acceptor:]


def test_reading_frame_is_a_whole_car(surrogate):
    assert surrogate.protein.startswith("MALPVTALLLPLALLLHAARP")
    assert surrogate.protein.endswith("DTYDALHMQALPPR")
    names = list(surrogate.domains["name"])
    wanted = ["VL", "Whitlow linker", "VH", "CD8A hinge", "CD8A transmembrane", "4-1BB", "CD3zeta"]
    assert [n for n in names if n in wanted] == wanted


@pytest.mark.parametrize("change", ["lower", "reverse", "windows", "plasmid", "rotated"])
def test_the_transcript_is_found_however_the_vector_is_written(tmp_path, surrogate, change):
    rng = random.Random(1)
    sequence = provirus()
    backbone = "".join(rng.choice("ACGT") for _ in range(2500))
    form = "auto"
    if change == "lower":
        sequence = sequence.lower()
    elif change == "reverse":
        sequence = str(Seq(sequence).reverse_complement())
    elif change == "plasmid":
        sequence = backbone[:1000] + sequence + backbone[1000:]
    elif change == "rotated":
        circle = sequence + backbone
        sequence, form = circle[2000:] + circle[:2000], "plasmid"
    path = write_fasta(tmp_path / "vector.fa", sequence)
    if change == "windows":
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    found = load_construct(path, name="HBI0101", form=form)
    assert found.sequence == surrogate.sequence
    assert found.transcripts == surrogate.transcripts


def test_an_orf_is_told_from_a_transcript_and_warned_of(tmp_path, surrogate):
    start, end = surrogate.orf
    path = write_fasta(tmp_path / "orf.fa", surrogate.sequence[start:end])
    orf = load_construct(path)
    assert orf.form == "orf"
    assert "orf_only" in {f["code"] for f in lint(orf)}
    transcript = load_construct(write_fasta(tmp_path / "tx.fa", surrogate.sequence))
    assert transcript.form == "transcript"
    assert "orf_only" not in {f["code"] for f in lint(transcript)}


def test_the_surrogate_says_what_it_is(surrogate, tmp_path):
    assert "surrogate" in {f["code"] for f in lint(surrogate)}
    other = load_construct(write_fasta(tmp_path / "own.fa", surrogate.sequence))
    assert "surrogate" not in {f["code"] for f in lint(other)}


@pytest.mark.parametrize(
    "words", ["murine surrogate of axi-cel", "CAR FOR A MOUSE MODEL", "MODEL 2, SURROGATE CAR"]
)
def test_a_users_own_words_make_no_surrogate_or_model(tmp_path, surrogate, words):
    """A surrogate CAR for mice was "carseq's surrogate for HBI0101, not its true sequence"."""
    path = tmp_path / "own.fa"
    path.write_text(f">own {words}\n{surrogate.sequence}\n")
    assert not {"surrogate", "model"} & {f["code"] for f in lint(load_construct(path))}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no sequence"),
        (">a\nACGT\n>b\nACGT\n", "holds 2 sequences"),
        (">a\nMALPVTEFIL\n", "not a nucleotide sequence"),
        (">a\n" + "ACGT" * 300 + "\n", "no CAR reading frame"),
    ],
)
def test_a_useless_file_is_refused_with_its_cause(tmp_path, text, words):
    path = tmp_path / "bad.fa"
    path.write_text(text)
    with pytest.raises(CarseqError, match=words):
        load_construct(path)


def test_gtf_has_one_exon_for_the_whole_transcript(tmp_path, surrogate):
    write_construct(surrogate, tmp_path)
    lines = [line.split("\t") for line in (tmp_path / "construct.gtf").read_text().splitlines()]
    assert {line[0] for line in lines} == {"HBI0101"}
    exons = [(int(f[3]), int(f[4])) for f in lines if f[2] == "exon" and "unspliced" in f[8]]
    assert exons == [(1, len(surrogate.sequence))]
    assert all('gene_id "HBI0101"' in f[8] for f in lines)


def test_homology_names_the_shared_domains(surrogate):
    transcripts = [EndogenousTranscript(g, g, s) for g, s in relatives().items()]
    found = rivals(surrogate.sequence, transcripts)
    assert {t.gene for t in found} == {"CD247", "TNFRSF9", "CD8A"}
    table = homology(surrogate.sequence, found)
    assert table["start"].iloc[0] == 0
    assert table["end"].iloc[-1] == len(surrogate.sequence)
    assert (table["start"].iloc[1:].to_numpy() == table["end"].iloc[:-1].to_numpy()).all()
    shared = table[table["class"] == "shared"]
    zeta = surrogate.domains.set_index("name").loc["CD3zeta"]
    # CD3zeta (336 nt) is longer than a read, so its middle is shared; the LTR never is.
    inside = shared[shared["gene"] == "CD247"]
    assert inside["start"].min() >= zeta["start"]
    assert inside["end"].max() <= zeta["end"] + 3
    assert set(table[table["end"] > zeta["end"] + 90]["class"]) == {"car_only"}


@pytest.mark.parametrize("identity", [0.9, 0.95, 1.0])
def test_a_planted_homology_is_found(surrogate, identity):
    rng = random.Random(2)
    piece = list(surrogate.sequence[500:900])
    for i in rng.sample(range(400), round((1 - identity) * 400)):
        piece[i] = rng.choice([b for b in "ACGT" if b != piece[i]])
    flank = "".join(rng.choice("ACGT") for _ in range(600))
    planted = EndogenousTranscript("PLANTED", "t", flank + "".join(piece) + flank)
    found = rivals(surrogate.sequence, [planted, EndogenousTranscript("NOISE", "n", flank * 2)])
    assert [t.gene for t in found] == ["PLANTED"]
    table = homology(surrogate.sequence, found, min_identity=0.85)
    hit = table[table["class"] == "shared"]
    assert hit["start"].min() <= 600
    assert hit["end"].max() >= 800
    assert hit["identity"].max() == pytest.approx(identity, abs=0.06)


def test_real_vectors_give_their_car(shared):
    lengths = {
        "CAR_Hu19CD828Z_MN698642.fa": 502,
        "CAR_axicel_HM852952.fa": 489,
        "CAR_idecel_WO2021091978A1.fa": 493,
        "VECTOR_idecel_lenti_WO2021091978A1_SEQ36.fa": 493,
        "VECTOR_ciltacel_lenti_Braun.fa": 488,
        "MODEL_gammaRV_idecel_unspliced_RNA.fa": 493,
    }
    for name, n_residues in lengths.items():
        found = load_construct(shared / "constructs" / name)
        assert len(found.protein) == n_residues, name
        assert "CD3zeta" in set(found.domains["kind"]), name
    model = load_construct(shared / "constructs/MODEL_gammaRV_idecel_unspliced_RNA.fa")
    spliced = SeqIO.read(shared / "constructs/MODEL_gammaRV_idecel_spliced_RNA.fa", "fasta")
    joined = str(spliced.seq).upper()
    cut = joined.index("GGGAGGCTCTCTAC") + 5
    # The model joins at TTACAG|GCTC; most real molecules join 11 nt before it.
    assert model.transcripts[1].sequence == joined[:cut] + "CTCACTTACAG" + joined[cut:]


def findings(tmp_path, sequence, **options):
    """Return the lint of a sequence by code."""
    found = load_construct(write_fasta(tmp_path / "vector.fa", sequence))
    return {f["code"]: f for f in lint(found, **options)}


def test_an_orf_alone_loses_nine_umis_in_ten(tmp_path, surrogate):
    start, end = surrogate.orf
    found = findings(tmp_path, surrogate.sequence[start:end])["orf_only"]
    # 85 % of fragments lie beyond the ORF's end; of the 15 % spread over the mRNA a good half does too.
    assert 87 <= found["umis_lost_3p"] <= 95
    assert 85 <= found["umis_lost_5p"] <= 95
    assert f"lose {found['umis_lost_3p']} of 100 3' UMIs (no 3' LTR)" in found["message"]
    # Its frame begins as ide-cel's, whose vector is therefore assumed, and said to be.
    assert "Assumed" in found["message"]


def test_each_missing_end_costs_its_own_chemistry(tmp_path, surrogate):
    start, end = surrogate.orf
    tail = findings(tmp_path, surrogate.sequence[:end])["no_3p_end"]
    assert tail["umis_lost_3p"] >= 80
    assert tail["umis_lost_5p"] <= 6
    head = findings(tmp_path, surrogate.sequence[start:])["no_leader"]
    assert head["umis_lost_3p"] <= 8
    assert head["umis_lost_5p"] >= 80


def test_the_spliced_form_alone_loses_the_introns_reads(tmp_path, surrogate):
    found = findings(tmp_path, surrogate.transcripts[1].sequence)["no_unspliced_form"]
    # 40 % of molecules are unspliced; 5' reads of them lie in the intron but where they begin before it.
    assert 20 <= found["umis_lost_5p"] <= 36
    assert found["umis_lost_3p"] <= 4


def test_a_whole_transcript_loses_nothing(surrogate):
    for form in ("3p", "5p"):
        found = [t.sequence for t in surrogate.transcripts]
        assert share_lost(surrogate.transcripts, found, form) == 0
    assert intended(surrogate).missing == ()
    for finding in lint(surrogate):
        assert finding["level"] == "info" or finding["code"] == "surrogate"
        assert (finding["umis_lost_3p"] or 0) <= 5


def test_only_the_chemistry_asked_for_is_counted(surrogate):
    shared = {f["code"]: f for f in lint(surrogate, "3p")}["shared_domains"]
    assert shared["umis_lost_5p"] is None
    # The spread share of 15 % falls on the shared domains, 500 of 3,431 nt, now and then.
    assert 1 <= shared["umis_lost_3p"] <= 5
    assert all(f["umis_lost_3p"] is None for f in lint(surrogate, "5p"))


def test_ambiguous_bases_cost_the_reads_over_them(tmp_path, surrogate):
    sequence = surrogate.sequence
    blank = sequence[:-400] + "N" * 200 + sequence[-200:]
    found = findings(tmp_path, blank)["ambiguous"]
    assert found["umis_lost_3p"] >= 25
    assert found["umis_lost_5p"] <= 3
    assert (
        findings(tmp_path, sequence[:-300] + "N" + sequence[-299:])["ambiguous"]["umis_lost_3p"]
        == 0
    )


def test_faults_of_the_reading_frame_are_told_apart(tmp_path, surrogate):
    sequence, (start, end) = surrogate.sequence, surrogate.orf
    zeta = surrogate.domains.set_index("name").loc["CD3zeta"]
    hinge = surrogate.domains.set_index("name").loc["CD8A hinge"]
    faults = {
        "frameshift": sequence[: hinge["end"]] + sequence[hinge["end"] + 1 :],
        "premature_stop": sequence[: hinge["end"]] + "TGA" + sequence[hinge["end"] + 3 :],
        "missing_start": sequence[:start] + "GCG" + sequence[start + 3 :],
        "truncated_cd3zeta": sequence[: zeta["start"] + 150] + "TAA" + sequence[end:],
    }
    for code, faulty in faults.items():
        found = findings(tmp_path, faulty)
        frame = set(found) & {*faults, "no_stop", "no_cd3zeta"}
        assert frame == {code}, code
        assert found[code]["umis_lost_3p"] == found[code]["umis_lost_5p"] == 0
    assert "50 of its 112 residues" in found["truncated_cd3zeta"]["message"]


@pytest.mark.parametrize("change", ["deletion", "insertion"])
@pytest.mark.parametrize("place", [65, 150, 313])
def test_an_indel_in_cd3zeta_is_a_frameshift(tmp_path, surrogate, change, place):
    """Near its beginning, in the middle and 24 nt before its end: not a CD3zeta that is cut off."""
    at = int(surrogate.domains.set_index("name").loc["CD3zeta", "start"]) + place
    sequence = surrogate.sequence
    middle = "" if change == "deletion" else "A" + sequence[at]
    found = findings(tmp_path, sequence[:at] + middle + sequence[at + 1 :])
    assert found["frameshift"]["level"] == "error"
    assert not {"truncated_cd3zeta", "no_cd3zeta"} & set(found)


def test_expected_coverage_lies_where_reads_are_measured(surrogate):
    three, five = (expected_coverage(surrogate.transcripts, c) for c in ("3p", "5p"))
    end = surrogate.orf[1]
    # Each UMI's read covers 90 bases.
    assert three.sum() == pytest.approx(9000)
    assert five.sum() == pytest.approx(9000)
    # Measured: 95 % of polyadenylated 3' reads in U3-R; here 15 % of all are spread over the mRNA.
    assert 0.78 <= three[end:].sum() / three.sum() <= 0.90
    # And 90-100 % of 5' reads in the leader.
    assert 0.80 <= five[: surrogate.orf[0]].sum() / five.sum() <= 0.97


def test_shared_windows_are_those_measured_on_published_cars(shared):
    folder = shared / "constructs"
    mrnas = [
        EndogenousTranscript(p.name.split("_")[1], p.stem, next(iter(read_sequences(p).values())))
        for p in sorted(folder.glob("mRNA_*.fa"))
    ]
    measured = {
        "CAR_axicel_HM852952.fa": (390, 1380),
        "CAR_ciltacel_Ozdemirli.fa": (301, 1377),
        "CAR_tisacel_US9499629B2.fa": (256, 1369),
        "CAR_idecel_WO2021091978A1.fa": (0, 1395),
        "CAR_Hu19CD828Z_MN698642.fa": (0, 1419),
    }
    for name, numbers in measured.items():
        car = next(iter(read_sequences(folder / name).values()))
        assert identical_windows(car, mrnas) == numbers, name
    # NM_171827.4 skips CD8A's transmembrane exon; with it (as in most T cells' CD8A) 106 windows more are shared.
    whole = [EndogenousTranscript(g, g, s) for g, s in relatives().items()]
    for name, n in (("CAR_ciltacel_Ozdemirli.fa", 407), ("CAR_tisacel_US9499629B2.fa", 362)):
        car = next(iter(read_sequences(folder / name).values()))
        assert identical_windows(car, whole)[0] == n


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("identity", [0.9, 1.0])
def test_a_homology_across_introns_is_found(tmp_path, surrogate, identity, strand):
    rng = random.Random(3)

    def noise(n):
        return "".join(rng.choice("ACGT") for _ in range(n))

    piece = list(surrogate.sequence[1600:1900])
    for i in rng.sample(range(300), round((1 - identity) * 300)):
        piece[i] = rng.choice([b for b in "ACGT" if b != piece[i]])
    mrna = noise(200) + "".join(piece) + noise(200)
    # Three exons; both introns cut into the shared piece.
    exons = [mrna[:290], mrna[290:400], mrna[400:]]
    gene, places = noise(500), []
    for exon in exons:
        places.append((len(gene) + 1, len(gene) + len(exon)))
        gene += exon + noise(700)
    if strand == "-":
        places = [(len(gene) - b + 1, len(gene) - a + 1) for a, b in places]
        gene = str(Seq(gene).reverse_complement())
    (tmp_path / "genome.fa").write_text(f">chr1\n{gene}\n>chr2\n{noise(5000)}\n")
    names = 'gene_id "g1"; transcript_id "t1"; gene_name "PLANTED";'
    other = 'gene_id "g2"; transcript_id "t2"; gene_name "NOISE";'
    lines = [f"chr1\tx\texon\t{a}\t{b}\t.\t{strand}\t.\t{names}" for a, b in places]
    lines.append(f"chr2\tx\texon\t100\t3000\t.\t+\t.\t{other}")
    (tmp_path / "genes.gtf").write_text("\n".join(lines) + "\n")
    transcripts = list(read_transcripts(tmp_path / "genome.fa", tmp_path / "genes.gtf"))
    assert transcripts[0].sequence == mrna
    found = rivals(surrogate.sequence, transcripts)
    assert [t.gene for t in found] == ["PLANTED"]
    table = homology(surrogate.sequence, found, min_identity=0.85)
    hit = table[table["class"] != "car_only"]
    assert set(hit["gene"]) == {"PLANTED"}
    assert hit["start"].min() <= 1600
    assert hit["end"].max() >= 1900
    assert "shared" in set(hit["class"])


def test_the_track_covers_the_contig(surrogate):
    transcripts = [EndogenousTranscript(g, g, s) for g, s in relatives().items()]
    table = homology(surrogate.sequence, rivals(surrogate.sequence, transcripts))
    lines = homology_bed(table, "HBI0101").splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    assert {row[0] for row in rows} == {"HBI0101"}
    assert sum(int(row[2]) - int(row[1]) for row in rows) == len(surrogate.sequence)
    assert {"shared:CD247", "car_only"} <= {row[3] for row in rows}


def test_the_command_draws_and_refuses(tmp_path, surrogate):
    from typer.testing import CliRunner

    from carseq.cli import app

    runner = CliRunner()
    to = tmp_path / "out"
    done = runner.invoke(app, ["construct", "hbi0101_surrogate_native.gb", "--out", str(to)])
    assert done.exit_code == 0, done.output
    assert {p.name for p in to.iterdir()} == {
        "construct.fa",
        "construct.gtf",
        "construct.json",
        "construct.png",
        "construct.svg",
        "coverage.tsv",
        "domains.tsv",
        "lint.json",
    }
    start, end = surrogate.orf
    orf = write_fasta(tmp_path / "orf.fa", surrogate.sequence[start:end])
    done = runner.invoke(app, ["construct", str(orf)])
    assert "orf_only" in done.output
    assert "of 100 3' UMIs" in done.output
    assert "not compared" not in done.output
    done = runner.invoke(app, ["construct", "axi-cel"])
    assert "not compared: CSF2RA signal peptide (CSF2RA)" in " ".join(done.output.split())
    done = runner.invoke(app, ["construct", str(orf), "--fasta", "x.fa"])
    assert isinstance(done.exception, CarseqError)


@pytest.mark.parametrize("name", ["ide-cel", "axi-cel"])
@pytest.mark.parametrize("tail", ["", "AATAAA" + "GTCTCTCGATTGCAG" + "A" * 30])
def test_long_unknown_ends_are_no_ends(tmp_path, name, tail):
    """2 kb before the frame and 1 kb behind it, of no known vector, passed for the whole mRNA without a word."""
    rng = random.Random(8)
    before, behind = ("".join(rng.choices("ACGT", k=n)) for n in (2000, 1000))
    path = tmp_path / "v.fa"
    path.write_text(f">v\n{before}GCCACC{sequences('orfs.fa')[name]}{behind}{tail}\n")
    found = load_construct(path)
    told = {f["code"]: f for f in lint(found, "both")}
    assert told["no_leader"]["level"] == "warn"
    assert "2,006 bases lie before the reading frame" in told["no_leader"]["message"]
    assert told["no_leader"]["umis_lost_5p"] is None
    assert ("no_3p_end" in told) is not bool(tail)
    assert {f["code"]: f["level"] for f in lint(found, "3p")}["no_leader"] == "info"
    with pytest.raises(CarseqError, match="do not meet"):
        load_construct(path, backbone="MSGV1")


def test_short_unknown_ends_of_a_frame_with_a_short_leader_are_told(tmp_path):
    """ide-cel's own vector has a leader of 28 nt: 200 other ones before its frame passed for the mRNA's beginning."""
    rng = random.Random(8)
    before, behind = ("".join(rng.choices("ACGT", k=n)) for n in (200, 100))
    path = tmp_path / "v.fa"
    path.write_text(f">v\n{before}GCCACC{sequences('orfs.fa')['ide-cel']}{behind}\n")
    told = {f["code"]: f for f in lint(load_construct(path), "both")}
    assert "206 bases lie before the reading frame" in told["no_leader"]["message"]
    assert told["no_3p_end"]["level"] == "warn"
