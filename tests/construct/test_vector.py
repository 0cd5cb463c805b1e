"""construct: the published vectors give the right mRNA and domains, however their files are written.

Expected places are those of the sources: GenBank HM852952 and MN698642.1, patents WO2021091978A1 and
US9499629B2, Braun 2025, and the LTRs' known anatomy; none was read off carseq's own output.
"""

from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path

import pytest
from Bio import SeqIO
from Bio.Data import CodonTable
from Bio.Seq import Seq
from Bio.SeqFeature import CompoundLocation, FeatureLocation, SeqFeature
from Bio.SeqRecord import SeqRecord

from carseq.cli import app
from carseq.construct import lint, load_construct
from carseq.construct.backbones import backbones
from carseq.construct.library import library
from carseq.construct.library_build import RECORDS
from carseq.construct.parts import known_domains, parts, sequences
from carseq.construct.reading import read_vector
from carseq.errors import CarseqError
from carseq.study.construct_file import find_construct_file

NAMES = ["ide-cel", "cilta-cel", "cilta-cel_ozdemirli", "tisa-cel", "axi-cel", "Hu19-CD828Z"]
LENTIVIRAL = {"ide-cel", "cilta-cel", "cilta-cel_ozdemirli", "tisa-cel"}
#: Places in the frame, 1-based inclusive.
DOMAINS = {
    "ide-cel": {
        "CD8A signal peptide": (1, 63),
        "CD8A hinge": (811, 945),
        "CD8A transmembrane": (946, 1017),
        "4-1BB": (1018, 1143),
        "CD3zeta": (1144, 1479),
    },
    "cilta-cel": {
        "CD8A hinge": (796, 930),
        "CD8A transmembrane": (931, 1002),
        "4-1BB": (1003, 1128),
        "CD3zeta": (1129, 1464),
    },
    "tisa-cel": {
        "CD8A signal peptide": (1, 63),
        "CD8A transmembrane": (925, 996),
        "4-1BB": (997, 1122),
        "CD3zeta": (1123, 1458),
    },
    # HM852952 gives CD28 as one piece, 811-1131: hinge, transmembrane and cytoplasmic part.
    "axi-cel": {
        "CSF2RA signal peptide": (1, 66),
        "VL": (67, 387),
        "Whitlow linker": (388, 441),
        "VH": (442, 801),
        "CD28 hinge": (811, 927),
        "CD28 transmembrane": (928, 1008),
        "CD28": (1009, 1131),
        "CD3zeta": (1132, 1467),
    },
    "Hu19-CD828Z": {"CD8A signal peptide": (1, 63), "CD3zeta": (1171, 1506)},
}
DOMAINS["cilta-cel_ozdemirli"] = DOMAINS["cilta-cel"]
#: Order of the binder's parts.
BINDER = {
    "ide-cel": ["VL", "Whitlow linker", "VH"],
    "cilta-cel": ["VHH", "GS linker", "VHH"],
    "cilta-cel_ozdemirli": ["VHH", "GS linker", "VHH"],
    "tisa-cel": ["VL", "G4S linker", "VH"],
    "axi-cel": ["VL", "Whitlow linker", "VH"],
    "Hu19-CD828Z": ["VL", "Whitlow linker", "VH"],
}
#: Of the lentiviral vectors: start of transcription, end of the 3' R, intron, 0-based on the vector.
#: EF1alpha: exon 1 begins CTTTTTCGCAACGGG, intron from CAG|GTAAGT to TTTCAG|GTGTCG (RefSeq NM_001402).
MRNA = {
    "ide-cel": (3096, 4833, None),
    "cilta-cel": (2134, 5610, (2167, 3110)),
    "cilta-cel_ozdemirli": (2134, 5610, (2167, 3110)),
    "tisa-cel": (5397, 8683, (5430, 6369)),
}
FRAME = {"ide-cel": 3124, "cilta-cel": 3177, "cilta-cel_ozdemirli": 3177, "tisa-cel": 6390}


def random_bases(n: int, seed: int = 1) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice("ACGT") for _ in range(n))


def vector(name: str) -> str:
    return str(SeqIO.read(find_construct_file(name, Path()), "genbank").seq)


def expected(name: str) -> list[str]:
    """The mRNAs of a vector, from the sources' places."""
    if name in MRNA:
        start, end, intron = MRNA[name]
        whole = vector(name)[start:end]
        if intron is None:
            return [whole]
        return [whole, vector(name)[start : intron[0]] + vector(name)[intron[1] : end]]
    part, frame = parts(), sequences("orfs.fa")[name]
    if name == "Hu19-CD828Z":
        r, u5, u3, psi = (part[f"MoMuLV_{p}"] for p in ("R", "U5", "U3", "psi"))
        head, tail = r + u5 + psi, u3 + r
    else:
        # MSGV1, whose leader and 3' end are those of Addgene 122727.
        head, tail = backbones()["MSGV1"].five, backbones()["MSGV1"].three
    # Donor GGGAG|GTAAGC, acceptor CCAAG|CTCACTTACAGG: where 458 of 475 spliced real molecules of axi-cel join.
    cut, join = head.index("GGGAGGTAAGC") + 5, head.index("CCAAGCTCACTTACAGG") + 5
    return [head + frame + tail, head[:cut] + head[join:] + frame + tail]


def fasta(path, sequence: str, name: str = "vector"):
    path.write_text(f">{name}\n{sequence}\n")
    return path


def check_domains(name: str, found) -> None:
    places = {
        r.name: (r.start - found.orf[0] + 1, r.end - found.orf[0])
        for r in found.domains.itertuples()
    }
    for domain, place in DOMAINS[name].items():
        assert places[domain] == place, domain
    kinds = found.domains[found.domains["kind"].isin(["binder", "linker"])]
    assert list(kinds["name"]) == BINDER[name]
    known = found.domains[found.domains["kind"] == "CD3zeta"]
    assert known["identity"].iloc[0] >= 0.99


@pytest.mark.parametrize("name", NAMES)
def test_a_published_frame_gives_its_domains(tmp_path, name):
    frame = sequences("orfs.fa")[name]
    found = load_construct(fasta(tmp_path / "orf.fa", frame))
    assert found.form == "orf"
    assert found.sequence == frame
    check_domains(name, found)
    codes = {f["code"] for f in lint(found)}
    assert "orf_only" in codes
    # US9499629B2 prints SEQ ID 8 without the last 2 nt of its stop.
    assert ("no_stop" in codes) == (name == "tisa-cel")


@pytest.mark.parametrize("name", NAMES)
def test_a_record_of_the_library_gives_the_mrna(name):
    found = load_construct(find_construct_file(name, Path()), name=name)
    assert [t.sequence for t in found.transcripts] == expected(name)
    assert found.form == ("plasmid" if name in {"ide-cel", "tisa-cel"} else "provirus")
    check_domains(name, found)
    codes = dict(found.notes)
    assert ("self_inactivating" in codes) == (name in LENTIVIRAL)
    assert ("model" in codes) == (name in {"axi-cel", "Hu19-CD828Z", "cilta-cel_ozdemirli"})
    assert "model" not in codes or "model" in {f["code"] for f in lint(found)}
    assert not {"five_prime_guess", "three_prime_guess", "no_car_domain"} & set(codes)


def cuts(name: str, circle: str) -> dict[str, int]:
    """Places to cut a circle open: in the frame, in either LTR's R, in the leader, in the backbone."""
    frame = circle.index(sequences("orfs.fa")[name])
    r = parts()["HIV1_R" if name in LENTIVIRAL else "MoMuLV_R" if "Hu19" in name else "MSCV_R"]
    tail = "AACCCTCTTGCAGTTGCA" if r != parts()["HIV1_R"] else r[-40:]
    return {
        "binder": frame + 333,
        "CD3zeta": frame + 1300,
        "signal peptide": frame + 20,
        "start codon": frame + 1,
        "3' R": circle.index(tail, frame) - 20,
        "5' LTR": circle.index(r[:40]) + 30,
        "before the frame": frame - 15,
        "backbone": (frame + len(circle) // 2) % len(circle),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strand", ["+", "-"])
def test_an_unannotated_circle_gives_the_mrna_whatever_its_origin(tmp_path, name, strand):
    circle = vector(name)
    if name not in {"ide-cel", "tisa-cel"}:
        circle += random_bases(2500)
    wanted = expected(name)
    for where, cut in cuts(name, circle).items():
        turned = circle[cut:] + circle[:cut]
        if strand == "-":
            turned = str(Seq(turned).reverse_complement())
        found = load_construct(fasta(tmp_path / "v.fa", turned.lower()))
        assert [t.sequence for t in found.transcripts] == wanted, where
        assert ("reverse_strand" in dict(found.notes)) == (strand == "-")
        check_domains(name, found)


@pytest.mark.parametrize("name", NAMES)
def test_a_linear_file_gives_the_mrna(tmp_path, name):
    text = vector(name)
    path = tmp_path / "v.fa"
    path.write_bytes(f">v\r\n{text[:3000].lower()}\r\n{text[3000:]}\r\n".encode())
    found = load_construct(path)
    assert [t.sequence for t in found.transcripts] == expected(name)


@pytest.mark.parametrize("name", sorted(LENTIVIRAL))
def test_an_iupac_code_beside_the_frame_changes_one_base(tmp_path, name):
    text, at = vector(name), FRAME[name] + 700
    path = fasta(tmp_path / "v.fa", text[:at] + "R" + text[at + 1 :])
    found = load_construct(path)
    wanted, place = expected(name)[0], at - MRNA[name][0]
    assert found.sequence == wanted[:place] + "N" + wanted[place + 1 :]
    assert "ambiguous" in {f["code"] for f in lint(found)}


def with_acceptor(spliced: str) -> str:
    """The model joins the exons at TTACAG|GCTC; 458 of 475 real molecules join 11 nt before it."""
    cut = spliced.index("GGGAGGCTCTCTAC") + 5
    return spliced[:cut] + "CTCACTTACAG" + spliced[cut:]


def test_the_sequences_shipped_are_the_published_ones(shared):
    folder = shared / "constructs"
    for name, file in {
        "ide-cel": "CAR_idecel_WO2021091978A1",
        "cilta-cel": "CAR_ciltacel_Braun_reverse_engineered",
        "cilta-cel_ozdemirli": "CAR_ciltacel_Ozdemirli",
        "tisa-cel": "CAR_tisacel_US9499629B2",
        "axi-cel": "CAR_axicel_HM852952",
        "Hu19-CD828Z": "CAR_Hu19CD828Z_MN698642",
    }.items():
        assert sequences("orfs.fa")[name] == str(SeqIO.read(folder / f"{file}.fa", "fasta").seq)
    for name, file in {
        "ide-cel": "VECTOR_idecel_lenti_WO2021091978A1_SEQ36",
        "cilta-cel": "VECTOR_ciltacel_lenti_Braun",
        "tisa-cel": "VECTOR_tisacel_lenti_US9499629B2_SEQ1",
    }.items():
        assert vector(name) == str(SeqIO.read(folder / f"{file}.fa", "fasta").seq)
    model = load_construct(folder / "MODEL_gammaRV_idecel_unspliced_RNA.fa")
    spliced = SeqIO.read(folder / "MODEL_gammaRV_idecel_spliced_RNA.fa", "fasta")
    assert model.form == "transcript"
    assert model.transcripts[1].sequence == with_acceptor(str(spliced.seq))


# --- files as programs export them ------------------------------------------------------------------


def genbank(path, sequence: str, locus: str, features=()):
    record = SeqRecord(Seq(sequence), id="x", name="x", features=list(features))
    record.annotations.update(molecule_type="DNA", topology="circular")
    SeqIO.write(record, path, "genbank")
    lines = path.read_text().splitlines()
    lines[0] = locus.format(n=len(sequence))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize(
    "locus",
    [
        # SnapGene, Benchling, ApE.
        "LOCUS       Exported                {n} bp ds-DNA     circular SYN 22-NOV-2026",
        "LOCUS       pLenti-anti-BCMA-CAR_with_a_long_name {n} bp ds-DNA     circular     22-NOV-2026",
        "LOCUS       pLenti                  {n} bp    DNA     circular      22-NOV-2026",
    ],
)
def test_a_genbank_export_of_any_program_is_read(tmp_path, locus):
    text = vector("ide-cel")
    circle = text[4000:] + text[:4000]  # the origin lies in the frame
    found = load_construct(genbank(tmp_path / "v.gb", circle, locus))
    assert found.form == "plasmid"
    assert [t.sequence for t in found.transcripts] == expected("ide-cel")


def snapgene(path, sequence: str, circular: bool) -> None:
    """Write the packets of a .dna file that hold its sequence (0x09 cookie, 0x00 DNA)."""

    def packet(kind: int, data: bytes) -> bytes:
        return struct.pack(">BI", kind, len(data)) + data

    cookie = b"SnapGene" + struct.pack(">HHH", 1, 15, 19)
    path.write_bytes(packet(9, cookie) + packet(0, bytes([int(circular)]) + sequence.encode()))


def test_a_snapgene_file_is_read(tmp_path):
    text = vector("tisa-cel")
    snapgene(tmp_path / "v.dna", text[7000:] + text[:7000], circular=True)
    assert read_vector(tmp_path / "v.dna").circular is True
    found = load_construct(tmp_path / "v.dna")
    assert [t.sequence for t in found.transcripts] == expected("tisa-cel")
    (tmp_path / "broken.dna").write_bytes((tmp_path / "v.dna").read_bytes()[:40])
    with pytest.raises(CarseqError, match=r"cannot be read|holds no"):
        load_construct(tmp_path / "broken.dna")


def test_a_feature_across_the_origin_keeps_its_place(tmp_path):
    text = random_bases(1000)
    across = CompoundLocation([FeatureLocation(900, 1000, 1), FeatureLocation(0, 50, 1)])
    feature = SeqFeature(across, type="promoter", qualifiers={"label": ["PGK promoter"]})
    locus = "LOCUS       v                       {n} bp    DNA     circular SYN 22-NOV-2026"
    read = read_vector(genbank(tmp_path / "v.gb", text, locus, [feature]))
    (one,) = read.features
    assert (one.start, one.end) == (900, 1050)
    (moved,) = read.rotate(800).features
    assert (moved.start, moved.end) == (100, 250)
    (other,) = read.reverse().features
    assert (other.start % 1000, other.end - other.start, other.strand) == (950, 150, -1)


# --- promoters, markers, other vectors ---------------------------------------------------------------


def lentivirus(promoter: str, frame: str, sin: bool = True, behind: str = "") -> str:
    """A lentiviral provirus around a frame, of parts."""
    part = parts()
    tata = "" if sin else "GGGGAGTGGCGAGCCCTCAGATCCTGCATATAAGCAGCTGCTTTTTGCCTGTACTG"
    u3 = part["HIV1_dU3"] + tata
    ltr = u3 + part["HIV1_R"] + part["HIV1_U5"]
    return ltr + random_bases(800, 3) + promoter + frame + behind + random_bases(60, 4) + ltr


def test_an_unknown_promoter_is_taken_from_its_annotation(tmp_path):
    frame, promoter = sequences("orfs.fa")["ide-cel"], random_bases(500, 5)
    text = lentivirus(promoter + "GCCACC", frame)
    start = text.index(promoter)
    feature = SeqFeature(
        FeatureLocation(start, start + 500, 1),
        type="promoter",
        qualifiers={"label": ["hPGK promoter"]},
    )
    locus = "LOCUS       v                       {n} bp    DNA     circular SYN 22-NOV-2026"
    found = load_construct(genbank(tmp_path / "v.gb", text, locus, [feature]))
    assert found.orf[0] == 106  # the last 100 nt of the promoter and the Kozak sequence
    assert "hPGK promoter" in dict(found.notes)["five_prime_guess"]
    unknown = load_construct(fasta(tmp_path / "v.fa", text))
    assert unknown.orf[0] == 60
    assert "60 nt before it" in dict(unknown.notes)["five_prime_guess"]
    for one in (found, unknown):
        assert one.sequence.endswith(parts()["HIV1_R"])


def test_a_short_ef1a_promoter_has_no_intron(tmp_path):
    part = parts()
    efs = part["EF1A_promoter"] + part["EF1A_exon1"] + "GCCACC"
    frame = sequences("orfs.fa")["ide-cel"]
    found = load_construct(fasta(tmp_path / "v.fa", lentivirus(efs, frame)))
    assert len(found.transcripts) == 1
    assert found.sequence.startswith(part["EF1A_exon1"] + "GCCACC" + frame)


def test_a_lentivirus_with_a_whole_ltr_is_transcribed_from_it(tmp_path):
    frame = sequences("orfs.fa")["ide-cel"]
    text = lentivirus(parts()["CMV_promoter"] + random_bases(30, 6), frame, sin=False)
    found = load_construct(fasta(tmp_path / "v.fa", text))
    assert found.sequence.startswith(parts()["HIV1_R"] + parts()["HIV1_U5"])
    whole, internal = found.transcripts
    assert internal.name == "internal"
    assert internal.sequence == whole.sequence[internal.blocks[0][0] :]
    assert found.orf[0] - internal.blocks[0][0] == 30
    assert "self_inactivating" not in dict(found.notes)


@pytest.mark.parametrize("virus", ["lentivirus", "gamma-retrovirus"])
def test_a_u3_inside_a_silenced_vector_is_its_promoter(tmp_path, virus):
    part, frame, leader = parts(), sequences("orfs.fa")["axi-cel"], random_bases(40, 15)
    inside = part["MoMuLV_U3"] + leader
    if virus == "lentivirus":
        text, tail = lentivirus(inside, frame), "HIV1_R"
    else:
        # Enhancer and TATA box are deleted from the LTRs; nt 1-120 of U3 remain.
        ltr = part["MoMuLV_U3"][:120] + part["MoMuLV_R"] + part["MoMuLV_U5"]
        text, tail = ltr + part["MoMuLV_psi"] + inside + frame + random_bases(90) + ltr, "MoMuLV_R"
    found = load_construct(fasta(tmp_path / "v.fa", text))
    assert found.sequence.startswith(leader + frame)
    assert found.sequence.endswith(part[tail])
    # Named as what it is: the U3 put there is MoMuLV's.
    assert "MoMuLV U3" in dict(found.notes)["self_inactivating"]
    assert len(found.transcripts) == 1


def test_an_mrna_given_as_such_is_kept_whole(tmp_path):
    whole, spliced = expected("tisa-cel")
    for text, n_forms in ((whole, 2), (spliced + "A" * 40, 1)):
        for form in ("auto", "transcript"):
            found = load_construct(fasta(tmp_path / "v.fa", text), form=form)
            assert found.form == "transcript"
            assert found.sequence.rstrip("A") == text.rstrip("A")
            assert len(found.transcripts) == n_forms
            assert "five_prime_guess" not in dict(found.notes)


@pytest.mark.parametrize(
    ("lo", "hi", "code"), [(700, None, "five_prime_guess"), (0, -594, "three_prime_guess")]
)
def test_a_map_that_lacks_an_ltr_says_which_end_is_a_guess(tmp_path, lo, hi, code):
    found = load_construct(fasta(tmp_path / "v.fa", vector("axi-cel")[lo:hi]))
    assert code in dict(found.notes)
    assert len(found.protein) == 489


@pytest.mark.parametrize("rate", [0.01, 0.03])
@pytest.mark.parametrize("name", NAMES)
def test_other_strains_of_the_vectors_are_known(tmp_path, name, rate):
    rng, text = random.Random(3), vector(name)
    frame = text.index(sequences("orfs.fa")[name][:1400])
    changed = "".join(
        rng.choice("ACGT") if not frame <= i < frame + 1500 and rng.random() < rate else base
        for i, base in enumerate(text)
    )
    found = load_construct(fasta(tmp_path / "v.fa", changed))
    assert [len(t.sequence) for t in found.transcripts] == [len(t) for t in expected(name)]


def back_translate(protein: str) -> str:
    codon = CodonTable.unambiguous_dna_by_id[1].back_table
    return "".join(codon[a] for a in protein)


def protein_of(name: str) -> str:
    return str(known_domains().set_index("name").loc[name, "sequence"])


@pytest.mark.parametrize("order", ["CAR first", "marker first"])
def test_a_marker_beside_a_2a_peptide_is_not_taken_for_the_binder(tmp_path, order):
    car = sequences("orfs.fa")["ide-cel"][:1479]
    two_a, marker = back_translate(protein_of("T2A")), back_translate(protein_of("EGFRt"))
    second = "ATG" + marker
    frame = (car + two_a + second if order == "CAR first" else second + two_a + car) + "TAA"
    text = lentivirus(parts()["MND_promoter"] + "GCCACC", frame)
    found = load_construct(fasta(tmp_path / "v.fa", text))
    assert found.orf[1] - found.orf[0] == len(frame)
    names = list(found.domains["name"])
    assert {"T2A", "EGFRt", "CD3zeta"} <= set(names)
    assert [n for n in names if n in {"VL", "VH", "binder"}] == ["VL", "VH"]
    assert (names.index("EGFRt") < names.index("VL")) == (order == "marker first")


def test_a_second_frame_behind_an_ires_is_named(tmp_path):
    rng = random.Random(8)
    other = (
        "ATG" + "".join(rng.choice(["GCC", "AAG", "CTG", "GAC", "TTC"]) for _ in range(900)) + "TAA"
    )
    frame = sequences("orfs.fa")["ide-cel"]
    behind = parts()["EMCV_IRES"] + "CCACAACC" + other
    text = lentivirus(parts()["MND_promoter"] + "GCCACC", frame, behind=behind)
    found = load_construct(fasta(tmp_path / "v.fa", text))
    # The second frame is longer than the CAR's, which is still the one chosen.
    assert found.protein.endswith("DTYDALHMQALPPR")
    table = found.domains.set_index("name")
    # The IRES ends in a start codon of its own, 12 nt before the frame's and in frame with it.
    second = found.sequence[table.loc["second ORF", "start"] : table.loc["second ORF", "end"]]
    assert second.endswith(other)
    assert len(second) - len(other) in {0, 12}
    assert table.loc["IRES", "end"] <= table.loc["second ORF", "start"] + 5


def test_a_vector_without_ltrs_runs_from_promoter_to_polya(tmp_path):
    frame = sequences("orfs.fa")["axi-cel"]
    leader = random_bases(25, 10).replace("ATG", "ACG")
    tail = random_bases(200, 11).replace("AATAAA", "AATCAA")
    cassette = parts()["CMV_promoter"] + leader + frame + tail + "AATAAA" + random_bases(600, 12)
    circle = random_bases(1500, 13) + cassette
    found = load_construct(fasta(tmp_path / "v.fa", circle[2000:] + circle[:2000]))
    assert found.orf[0] == 25
    assert found.sequence.startswith(leader + frame + tail + "AATAAA")
    assert "three_prime_guess" in dict(found.notes)


def test_the_car_is_chosen_before_a_longer_backbone_frame(tmp_path):
    rng = random.Random(14)
    other = "ATG" + "".join(rng.choice(["GCC", "AAG", "CTG", "GAC"]) for _ in range(800)) + "TAA"
    text = vector("ide-cel") + str(Seq(other).reverse_complement()) + other
    found = load_construct(fasta(tmp_path / "v.fa", text))
    assert [t.sequence for t in found.transcripts] == expected("ide-cel")


# --- parts of a CAR ------------------------------------------------------------------------------------


def test_a_partial_construct_needs_no_whole_frame_and_says_what_it_cannot_see(tmp_path):
    frame = sequences("orfs.fa")["ide-cel"]
    scfv = load_construct(fasta(tmp_path / "scfv.fa", frame[64:801]), form="partial")
    assert scfv.form == "partial"
    assert scfv.sequence == frame[64:801]
    assert list(scfv.domains["name"]) == ["VL", "Whitlow linker", "VH"]
    message = dict(scfv.notes)["partial"]
    assert all(w in message for w in ("hinge", "costimulatory", "CD3zeta", "will not be seen"))
    zeta = load_construct(fasta(tmp_path / "z.fa", frame[1143:1479]), form="partial")
    assert list(zeta.domains["name"]) == ["CD3zeta"]
    assert "binder" in dict(zeta.notes)["partial"]
    turned = str(Seq(frame[64:801]).reverse_complement())
    other = load_construct(fasta(tmp_path / "r.fa", turned), form="partial")
    assert other.sequence == scfv.sequence
    with pytest.raises(CarseqError, match="no CAR reading frame") as refusal:
        load_construct(tmp_path / "z.fa")
    assert "form: partial" in refusal.value.remedy


# --- what cannot be used -------------------------------------------------------------------------------


def test_a_protein_is_named_as_such(tmp_path):
    with pytest.raises(CarseqError, match="not a nucleotide") as refusal:
        load_construct(fasta(tmp_path / "p.fa", protein_of("CD3zeta")))
    assert "protein" in refusal.value.cause
    assert "DNA" in refusal.value.remedy


def test_two_cars_in_one_file_are_refused(tmp_path):
    one, two = sequences("orfs.fa")["ide-cel"], sequences("orfs.fa")["axi-cel"]
    with pytest.raises(CarseqError, match="holds two CARs") as refusal:
        load_construct(fasta(tmp_path / "v.fa", one + random_bases(500, 20) + two))
    assert "CD3zeta" in refusal.value.cause
    assert "file of one CAR" in refusal.value.remedy
    (tmp_path / "two.fa").write_text(f">a\n{one}\n>b\n{two}\n")
    with pytest.raises(CarseqError, match="holds 2 sequences"):
        load_construct(tmp_path / "two.fa")


@pytest.mark.parametrize("form", ["transcript", "orf"])
def test_a_frame_on_the_other_strand_is_told_where_the_form_forbids_turning(tmp_path, form):
    text = str(Seq(sequences("orfs.fa")["axi-cel"]).reverse_complement())
    with pytest.raises(CarseqError, match="other strand") as refusal:
        load_construct(fasta(tmp_path / "v.fa", text), form=form)
    assert "sense strand" in refusal.value.remedy
    assert load_construct(fasta(tmp_path / "v.fa", text)).form == "orf"


def test_a_genome_is_not_a_vector(tmp_path):
    with pytest.raises(CarseqError, match="too long for a vector"):
        load_construct(fasta(tmp_path / "v.fa", "ACGT" * 60_000))


def test_a_gzipped_file_is_read(tmp_path):
    (tmp_path / "v.fa.gz").write_bytes(gzip.compress(f">v\n{vector('axi-cel')}\n".encode()))
    assert load_construct(tmp_path / "v.fa.gz").sequence == expected("axi-cel")[0]


def test_a_backbone_alone_has_no_car(tmp_path):
    with pytest.raises(CarseqError, match="no CAR reading frame") as refusal:
        load_construct(fasta(tmp_path / "v.fa", "ACGT" * 600))
    assert "1,300" in refusal.value.cause


def test_liso_cels_vector_is_that_of_a_public_plasmid(tmp_path):
    """Two sources agree: the register's record of the product's vector, and Addgene 163465 (HIV7, EF1-HTLV)."""
    found = load_construct(find_construct_file("liso-cel", tmp_path))
    known, (start, end) = backbones()["HIV7-EF1a"], found.orf
    assert found.sequence[:start] == known.five
    assert found.sequence[end:] == known.three
    names = [row.name for row in found.domain_rows if row.name != "unnamed" and row.start >= start]
    assert ", ".join(names).startswith(
        "CSF2RA signal peptide, VL, Whitlow linker, VH, IgG4 hinge, CD28 transmembrane, 4-1BB, CD3zeta, T2A, "
        "CSF2RA signal peptide, EGFRt, WPRE"
    )
    assert len(found.protein) == 842
    assert found.transcripts[1].blocks[0][1] == 165


# --- the library ---------------------------------------------------------------------------------------


def test_the_library_lists_every_record_and_shows_one():
    from typer.testing import CliRunner

    listed = CliRunner().invoke(app, ["construct", "list"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0
    assert all(name in listed.output for name in RECORDS)
    kinds = {e.name: e.kind for e in library()}
    assert kinds["hbi0101_surrogate"] == "surrogate"
    assert kinds["axi-cel"] == kinds["Hu19-CD828Z"] == "model"
    assert kinds["ide-cel"] == kinds["tisa-cel"] == "published"
    shown = CliRunner().invoke(app, ["construct", "show", "Axi-Cel"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert "HM852952" in shown.output
    assert "489 amino acids" in shown.output
    named = CliRunner().invoke(app, ["construct", "tisa-cel"], env={"COLUMNS": "200"})
    assert "486 amino acids" in named.output
