"""construct: the transcript, its domains and its rivals are right whatever the file looks like."""

from __future__ import annotations

import random

import pytest
from Bio import SeqIO
from Bio.Seq import Seq

from carseq.construct import homology, lint, load_construct, rivals, write_construct
from carseq.construct.homology import EndogenousTranscript
from carseq.construct.library import relatives, write_library
from carseq.construct.vector import parts
from carseq.data import path as data_path
from carseq.errors import CarseqError


def provirus() -> str:
    return str(SeqIO.read(data_path("constructs/hbi0101_surrogate.gb"), "genbank").seq)


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
    r, u5, u3 = (parts()[f"MoMuLV_{p}"] for p in ("R", "U5", "U3"))
    assert full.sequence.startswith(r + u5)
    assert full.sequence.endswith(u3 + r)
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
    assert model.transcripts[1].sequence == str(spliced.seq).upper()
