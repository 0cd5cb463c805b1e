"""construct: the ends of known vectors complete a frame or a piece, and say so."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from typer.testing import CliRunner

from carseq.cli import app
from carseq.construct import complete, findings, lint, load_construct, write_construct
from carseq.construct.backbones import backbones, likeliest
from carseq.construct.coverage import intended
from carseq.construct.findings import CODES
from carseq.construct.introns import splice_sites
from carseq.construct.parts import parts, sequences
from carseq.construct.reading import read_vector
from carseq.data import path as data_path
from carseq.errors import CarseqError

FRAME = sequences("orfs.fa")["axi-cel"]


def write(path, sequence):
    path.write_text(f">v\n{sequence}\n")
    return path


def test_the_ends_are_those_of_the_maps(shared):
    for name, number in {"MSCV": "127890", "pHR-SFFV": "136882", "pWPXLD-EF1a": "82456"}.items():
        found = load_construct(shared / "real_vectors" / f"addgene_{number}.gb")
        assert found.sequence[: found.orf[0]] == backbones()[name].five
        assert found.sequence[found.orf[1] :] == backbones()[name].three
    for vector in backbones().values():
        part = parts()
        ends = [part[k] for k in ("HIV1_R", "MSCV_R3", "MP71_R3", "MoMuLV_R")]
        assert any(vector.three.endswith(r) for r in ends), vector.name
        assert vector.source
        assert vector.is_lentiviral == vector.three.endswith(part["HIV1_R"])


@pytest.mark.parametrize(
    ("name", "spliced"),
    [("MSGV1", True), ("MP71", True), ("SFG", True), ("MoMuLV", True), ("MSCV", False)],
)
def test_gamma_retroviral_leaders_are_spliced_where_they_have_an_acceptor(name, spliced):
    leader = backbones()[name].five
    found = splice_sites(leader)
    assert (found is not None) == spliced
    if found:
        cut, join = found
        assert leader[cut - 5 : cut + 6] == "GGGAGGTAAGC"
        assert leader[join - 5 : join + 12] == "CCAAGCTCACTTACAGG"


@pytest.mark.parametrize("name", ["MSGV1", "MP71", "SFG"])
@pytest.mark.parametrize(("site", "at"), [(0, 1), (1, -1), (1, -2)])
def test_a_leader_whose_splice_site_was_destroyed_is_not_spliced(name, site, at):
    """A donor GA for GT, or an acceptor without its AG, still gave a spliced mRNA."""
    leader = backbones()[name].five
    place = splice_sites(leader)[site] + at
    assert splice_sites(leader[:place] + "C" + leader[place + 1 :]) is None
    assert splice_sites(leader[:place] + "N" + leader[place + 1 :]) is not None


@pytest.mark.parametrize("base", "AC")
@pytest.mark.parametrize("name", ["MSGV1", "SFG"])
def test_a_leader_whose_donor_was_destroyed_is_not_called_spliced(tmp_path, name, base):
    """It was "the spliced form alone", for want of whose intron 29 of 100 5' UMIs "would be lost"."""
    vector = backbones()[name]
    place = splice_sites(vector.five)[0]
    leader = vector.five[:place] + base + vector.five[place + 1 :]
    found = load_construct(write(tmp_path / "v.fa", leader + FRAME + vector.three))
    assert not found.introns
    assert [f["code"] for f in lint(found, rivals=[])] == ["vector"]


@pytest.mark.parametrize("name", ["MSGV1", "SFG", "pHR-SFFV", "pWPXLD-EF1a", "pRRL-MSCV"])
def test_a_frame_with_the_ends_of_a_vector_is_that_vectors_mrna(tmp_path, name):
    vector = backbones()[name]
    found = load_construct(write(tmp_path / "orf.fa", FRAME), backbone=name.lower())
    assert found.sequence == vector.five + FRAME + vector.three
    assert found.protein.startswith("MLLLVTSLL")
    codes = {f["code"]: f for f in lint(found)}
    assert name in codes["assumed_ends"]["message"]
    assert not {"orf_only", "no_leader", "no_3p_end"} & set(codes)


@pytest.mark.parametrize("flank", [30, 120, 400])
def test_a_piece_is_completed_without_a_seam(tmp_path, flank):
    vector = backbones()["MSGV1"]
    whole = vector.five + FRAME + vector.three
    first, last = len(vector.five) - flank, len(vector.five) + len(FRAME) + min(flank, 300)
    piece = load_construct(write(tmp_path / "piece.fa", whole[first:last]))
    assert likeliest(piece).backbone.name == "MSGV1"
    found = complete(piece, "MSGV1")
    assert found.sequence == whole
    assert [t.name for t in found.transcripts] == ["unspliced", "spliced"]


def test_only_the_missing_end_is_put_on(tmp_path):
    vector = backbones()["MSGV1"]
    own = vector.five.replace("GGCCAGCGGTCGTTTCG", "GGCCAGCGCTCGTTTCG")
    found = load_construct(write(tmp_path / "v.fa", own + FRAME), backbone="MSGV1")
    assert found.sequence == own + FRAME + vector.three
    assert "3' end" in dict(found.notes)["assumed_ends"]
    assert "5'" not in dict(found.notes)["assumed_ends"].split("(")[0]


def test_a_completed_construct_is_written_and_says_what_was_assumed(tmp_path):
    found = load_construct(write(tmp_path / "orf.fa", FRAME), name="MYCAR", backbone="MSGV1")
    write_construct(found, tmp_path / "out")
    again = load_construct(tmp_path / "out" / "construct.gb", name="MYCAR")
    assert [t.sequence for t in again.transcripts] == [t.sequence for t in found.transcripts]
    told = {f["code"]: f["level"] for f in lint(again)}
    assert told["assumed_ends"] == "warn"
    assert not {"no_leader", "no_3p_end", "orf_only"} & set(told)


def test_a_spliced_mrna_with_both_ends_gets_its_intron_back(tmp_path):
    """Its lint told of 28 of 100 5' UMIs lost, and `--backbone` that no backbone is needed."""
    vector = backbones()["MSGV1"]
    frame = sequences("orfs.fa")["axi-cel"]
    whole = vector.five + frame + vector.three
    cut, join = splice_sites(vector.five)
    path = tmp_path / "cdna.fa"
    path.write_text(f">v\n{whole[:cut]}{whole[join:]}\n")
    told = {f["code"]: f for f in lint(load_construct(path), "5p")}["no_unspliced_form"]
    assert "--backbone MSGV1" in told["remedy"]
    found = load_construct(path, backbone="MSGV1")
    assert [t.name for t in found.transcripts] == ["unspliced", "spliced"]
    assert found.sequence == whole
    assert "no_unspliced_form" not in {f["code"] for f in lint(found, "5p")}
    written = tmp_path / "construct"
    write_construct(found, written)
    again = load_construct(written / "construct.gb")
    assert again.sequence == whole
    assert "psi intron was taken from MSGV1" in dict(again.notes)["assumed_ends"]
    assert (again.five, again.three) == (found.five, found.three)


def test_a_vector_that_is_not_known_or_not_needed_is_told(tmp_path):
    path = write(tmp_path / "orf.fa", FRAME)
    with pytest.raises(CarseqError, match="no vector named") as refusal:
        load_construct(path, backbone="pXYZ")
    assert "MSGV1" in refusal.value.cause
    with pytest.raises(CarseqError, match="needs no backbone"):
        load_construct(data_path("constructs/ide-cel.gb"), backbone="MSGV1")


def test_the_command_completes_and_its_exit_code_tells_an_error(tmp_path):
    runner = CliRunner()
    orf = write(tmp_path / "orf.fa", FRAME)
    done = runner.invoke(app, ["construct", str(orf), "--backbone", "MSGV1"])
    assert done.exit_code == 0, done.output
    assert "assumed_ends" in done.output
    stop = write(tmp_path / "stop.fa", FRAME[:900] + "TAA" + FRAME[903:])
    done = runner.invoke(app, ["construct", str(stop)])
    assert done.exit_code == 1
    assert "premature_stop" in done.output
    bare = write(tmp_path / "bare.fa", FRAME[:801] + "TAA")
    assert runner.invoke(app, ["construct", str(bare)]).exit_code == 1


@pytest.mark.parametrize("name", ["tisa-cel", "cilta-cel", "ide-cel", "liso-cel"])
def test_a_published_frame_is_given_its_own_vector(tmp_path, name):
    """A lentiviral CAR's ORF is not said to have a gamma-retroviral mRNA."""
    found = load_construct(write(tmp_path / "orf.fa", sequences("orfs.fa")[name]))
    message = {f["code"]: f["message"] for f in lint(found)}["orf_only"]
    assert f"the vector of {name}" in message
    assert "MoMuLV" not in message


@pytest.mark.parametrize("residue", [30, 200, 290, 370, 420, 460])
def test_a_stop_codon_anywhere_in_the_car_is_an_error(tmp_path, residue):
    at = 3 * residue
    vector = backbones()["MSGV1"]
    text = vector.five + FRAME[:at] + "TAA" + FRAME[at + 3 :] + vector.three
    found = {f["code"]: f for f in lint(load_construct(write(tmp_path / "v.fa", text)), "3p")}
    assert found["premature_stop"]["level"] == "error"
    assert f"base {1441 + at + 3} " in found["premature_stop"]["message"]


def test_every_code_of_the_lint_is_declared():
    """Each has a level and a meaning, and some module of the room gives it."""
    assert all(code.level in ("error", "warn", "info") and code.meaning for code in CODES.values())
    folder = Path(findings.__file__).parent
    texts = [p.read_text() for p in folder.glob("*.py") if p.name != "findings.py"]
    assert [code for code in CODES if not any(f'"{code}"' in text for text in texts)] == []


@pytest.mark.parametrize("record", ["axi-cel", "hbi0101_surrogate_MoMuLV"])
@pytest.mark.parametrize("share", [0.06, 0.1, 0.15])
def test_a_vector_that_differs_from_the_known_ones_keeps_its_ends(tmp_path, record, share):
    """Substitutions outside the frame: both R's to 3 nt, junctions to 2, in every try up to 10 %, in most at 15 %."""
    path = data_path(f"constructs/{record}.gb")
    whole, known = read_vector(path).sequence, load_construct(path)
    first = whole.index(known.sequence)
    frame = range(first + known.orf[0], first + known.orf[1])
    blocks = known.transcripts[1].blocks
    right = joined = 0
    for seed in range(4):
        rng = random.Random(f"{record} {share} {seed}")
        other = "".join(
            rng.choice("ACGT".replace(b, "")) if i not in frame and rng.random() < share else b
            for i, b in enumerate(whole)
        )
        file = tmp_path / "v.fa"
        file.write_text(f">v\n{other}\n")
        found = load_construct(file)
        start = other.index(found.sequence)
        ends = (start - first, start + len(found.sequence) - first - len(known.sequence))
        assert found.five.known
        right += max(map(abs, ends)) <= 3
        if len(found.transcripts) > 1:
            got = found.transcripts[1].blocks
            places = ((got[0][1], blocks[0][1]), (got[1][0], blocks[1][0]))
            joined += all(abs(start + a - first - b) <= 2 for a, b in places)
    assert right == 4
    assert joined >= (4 if share <= 0.1 else 2)


@pytest.mark.parametrize("last", ["HIV1_R", "bGH_polyA"])
def test_a_missing_leader_is_of_the_family_of_the_end_that_is_known(tmp_path, last):
    """axi-cel's frame behind an unknown promoter in a lentiviral vector or a transposon: MSGV1's leader was assumed."""
    part, rng = parts(), random.Random(4)
    unknown = "".join(rng.choice("ACGT") for _ in range(900))
    lenti = last == "HIV1_R"
    first = (
        "".join(part[p] for p in ("HIV1_R", "HIV1_U5", "HIV1_leader")) if lenti else part["PB_5"]
    )
    end = part["HIV1_dU3"] + part[last] + part["HIV1_U5"] if lenti else part[last]
    found = load_construct(
        write(tmp_path / "v.fa", f"{first}{unknown}GCCACC{FRAME}{unknown[:40]}{end}")
    )
    whole = intended(found)
    assert whole.missing or whole.unknown
    assert whole.backbone is None or backbones()[whole.backbone].is_lentiviral
    assert not any("MSGV1" in finding["message"] for finding in lint(found))


def test_the_leader_of_an_unknown_promoter_costs_nobody_knows_what(tmp_path):
    """A known vector with a short leader was assumed: "0 of 100 5' UMIs" as good to know, and nothing more."""
    part, rng = parts(), random.Random(5)
    unknown = "".join(rng.choice("ACGT") for _ in range(1300))
    first = "".join(part[p] for p in ("HIV1_R", "HIV1_U5", "HIV1_leader"))
    last = part["WPRE"] + "".join(part[p] for p in ("HIV1_dU3", "HIV1_R", "HIV1_U5"))
    found = load_construct(write(tmp_path / "v.fa", f"{first}{unknown}GCCACC{FRAME}TCTAGA{last}"))
    told = {finding["code"]: finding for finding in lint(found, "5p")}["five_prime_guess"]
    assert told["level"] == "warn"
    assert "up to nearly all" in told["message"]
    assert {f["code"]: f["level"] for f in lint(found, "3p")}["five_prime_guess"] == "info"
