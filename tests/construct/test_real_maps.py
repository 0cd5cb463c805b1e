"""construct: real vector maps give their true mRNA, or a clear no.

Expected places come from the maps' own annotation (feature tables of Addgene plasmids) and from the parts' anatomy:
U5 of HIV-1 has 83 nt and that of MSCV 76, so that the 3' R ends that far before the annotated 3' LTR does; exon 1 of
EEF1A1 has 33 nt before the annotated intron A; SFFV's feature reaches 33 nt into R.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from Bio import SeqIO
from Bio.Seq import Seq

from carseq.construct import Construct, lint, load_construct
from carseq.construct.genes import human_parts
from carseq.errors import CarseqError

#: CAR plasmids: start of the mRNA, its end (0-based, on the map; smaller than the start: across the origin), intron on
#: the map, residues of the frame.
CARS = {
    "135992": (2482 - 33, 5788 - 83, None, 790),
    "82456": (2350 - 33, 5979 - 83, (2350, 3288), 511),
    "136882": (1562 - 33, 4920 - 83, None, 750),
    "127890": (517 - 76 - 69, 4012 - 76, None, 674),
    "154054": (6520 - 33, 1637 - 83, (6520, 7459), 498),
    # EF1-HTLV: exon 1 ends in CGTCTAG|GTAAG, the intron in CCGTTACAG|ATCCAAGCTG.
    "163465": (1765 - 33, 6052 - 83, (1897, 2043), 1001),
    # Mouse Pgk1 starts within the last 100 nt of its feature (2331-2830).
    "171760": (2758, 6331 - 83, None, 537),
    "73652": (8273 - 33, 341 - 83, None, 500),
    "73656": (8273 - 33, 341 - 83, None, 595),
    # CAG: exon 1 ends in CACAG|GTGAGCGGG, the intron in CTACAG at the end of the annotated chimeric intron (1126);
    # cut 25 nt behind the AATAAA of the hGH signal (3724-4200).
    "133021": (112, 3833, (202, 1126), 626),
}
#: The domains of each CAR, in order; stretches without a name are left out.
DOMAINS = {
    "135992": "CD28 signal peptide, 3xFLAG tag, VL, Whitlow linker, VH, CD8A hinge, CD28 transmembrane, 4-1BB, "
    "CD3zeta, P2A, EGFP",
    "82456": "CD8A signal peptide, VH, G4S linker, VL, CD8A hinge, CD8A transmembrane, 4-1BB, CD3zeta",
    "136882": "CD8A signal peptide, Myc tag, VH, G4S linker, VL, CD8A hinge, CD8A transmembrane, 4-1BB, CD3zeta, "
    "GS linker, EGFP",
    "127890": "CD8A signal peptide, Myc tag, VL, G4S linker, VH, mouse CD28 hinge, mouse CD28 transmembrane, "
    "mouse CD28, mouse CD3zeta, P2A, signal peptide, Thy1.1",
    "154054": "CSF2RA signal peptide, IL13, IgG4 hinge, IgG4 CH2, IgG4 CH3, CD4 transmembrane, CD3zeta",
    "163465": "Ig kappa signal peptide, HA tag, binder, GS linker, IgG4 hinge, IgG4 CH2, IgG4 CH3, "
    "CD28 transmembrane, CD28, CD3zeta, T2A, CSF2RA signal peptide, EGFRt",
    "171760": "CD8A signal peptide, VH, G4S linker, VL, CD28 hinge, CD28 transmembrane, CD28, 4-1BB, CD3zeta",
    "73652": "CD8A signal peptide, Myc tag, VL, G4S linker, VH, CD8A hinge, CD8A transmembrane, 4-1BB, CD3zeta",
    "73656": "DAP10 signal peptide, DAP10 ectodomain, CD8A transmembrane, GS linker, FRB, GS linker, 4-1BB, CD3zeta, "
    "GS linker, mCherry",
    "133021": "CSF2RA signal peptide, VH, linker, VL, IgG4 hinge, IgG4 CH2, IgG4 CH3, CD4 transmembrane, CD3zeta",
}
#: Maps without a CAR, and what the refusal names.
OTHERS = {
    "118631": "AmpR",
    "122727": "T cell receptor",
    "162748": "TCR beta constant",
    "22199": "EGFP",
    "75013": "AmpR",
    "75014": "RQR8",
}
#: Findings that say that the map is wrong or lacks something.
ALARMS = {
    "missing_start",
    "no_leader",
    "no_3p_end",
    "five_prime_guess",
    "three_prime_guess",
    "premature_stop",
    "frameshift",
    "no_cd3zeta",
    "no_transmembrane",
    "not_a_car",
}


def sequence_of(path: Path) -> str:
    return str(SeqIO.read(path, "genbank").seq).upper()


def frame_rows(found: Construct) -> list:
    first, last = found.orf
    return [r for r in found.domain_rows if r.start >= first and r.end <= last]


@pytest.fixture
def maps(shared) -> Path:
    return shared / "real_vectors"


@pytest.fixture
def cases(shared) -> Path:
    return shared / "cases" / "construct"


@pytest.mark.parametrize("name", CARS)
def test_a_real_car_plasmid_gives_its_mrna_and_domains(maps, name):
    path = maps / f"addgene_{name}.gb"
    start, end, intron, n_residues = CARS[name]
    whole = sequence_of(path)
    if name == "133021":
        end = whole.index("AATAAA", 3723) + 6 + 25
        assert whole[intron[0] - 5 : intron[0] + 8] == "CACAGGTGAGCGG"
    size = (end - start) % len(whole)
    wanted = (whole + whole)[start : start + size].replace("N", "N")
    found = load_construct(path)
    assert found.form == "plasmid"
    assert "".join(b if b in "ACGT" else "N" for b in wanted) == found.sequence
    assert len(found.protein) == n_residues
    if intron is None:
        assert [t.name for t in found.transcripts] == ["transcript"]
    else:
        cut, join = (place - start for place in intron)
        assert found.transcripts[1].blocks == ((0, cut), (join, size))
    assert found.five.known
    assert found.three.known
    names = [r.name for r in frame_rows(found) if r.name != "unnamed"]
    # 133021's linker is GSTS-GGGSGGGSGGGGS-S: a Gly-Ser linker with unnamed joints.
    assert names == DOMAINS[name].replace("VH, linker, VL, IgG4", "VH, GS linker, VL, IgG4").split(
        ", "
    )
    covered = sum(r.end - r.start for r in frame_rows(found) if r.end <= found.orf[1] - 3)
    assert covered == 3 * n_residues, "each residue has a row"


@pytest.mark.parametrize("name", CARS)
def test_no_false_alarm_is_raised_on_a_real_car_plasmid(maps, name):
    found = {f["code"]: f["level"] for f in lint(load_construct(maps / f"addgene_{name}.gb"))}
    assert not ALARMS & set(found)
    # 73656 is the half of a split receptor whose binder is another molecule; it is told.
    assert ("no_binder" in found) == (name == "73656")
    assert "error" not in found.values()


@pytest.mark.parametrize("name", OTHERS)
def test_a_real_map_without_a_car_is_refused_with_what_it_holds(maps, name):
    with pytest.raises(CarseqError, match="no CAR") as refusal:
        load_construct(maps / f"addgene_{name}.gb")
    assert OTHERS[name] in refusal.value.cause


@pytest.mark.parametrize("name", ["82456", "127890", "133021"])
def test_the_same_mrna_comes_from_any_origin_and_strand_without_annotation(maps, tmp_path, name):
    path = maps / f"addgene_{name}.gb"
    wanted = [t.sequence for t in load_construct(path).transcripts]
    whole = sequence_of(path)
    for origin in (1067, len(whole) // 2):
        turned = whole[origin:] + whole[:origin]
        for text in (turned, str(Seq(turned).reverse_complement())):
            file = tmp_path / "v.fa"
            file.write_text(f">v\n{text}\n")
            assert [t.sequence for t in load_construct(file).transcripts] == wanted


# --- the cases, by number ----------------------------------------------------------------------------------


def test_01_msgv1_and_mp71_are_spliced(cases):
    folder = cases / "01-msgv1-mp71-not-spliced"
    mrna = str(SeqIO.read(folder / "msgv1_axicel_mrna.fa", "fasta").seq).upper()
    found = load_construct(folder / "msgv1_axicel.gb")
    # Donor GGGAG|GTAAGC at nt 206, acceptor before CTCACTTACAGG.
    join = mrna.index("CTCACTTACAGGCTC")
    assert [t.sequence for t in found.transcripts] == [mrna, mrna[:206] + mrna[join:]]
    assert "MSCV" in dict(found.notes)["vector"]
    other = load_construct(folder / "mp71_axicel.gb")
    spliced = other.transcripts[1]
    assert spliced.blocks[0] == (0, 206)
    assert spliced.sequence[201:218] == "GGGAGCTCACTTACAGG"
    assert "MP71" in dict(other.notes)["vector"]
    assert {"MSCV R", "MP71 U3", "MP71 psi"} <= {r.name for r in other.domain_rows}


def test_02_the_acceptor_is_where_reads_join(cases):
    real = str(SeqIO.read(cases / "02-acceptor-11-nt-off/axicel_real_5prime.fa", "fasta").seq)
    found = load_construct(cases / "01-msgv1-mp71-not-spliced/msgv1_axicel.gb")
    # Their reference begins with one more G (the cap); its leader is joined as ours.
    assert found.transcripts[1].sequence[:480] == real.upper()[1:481]


@pytest.mark.parametrize(
    ("file", "three", "five", "vector"),
    [
        ("msgvIde_2kb", 50, 59, "MSGV1"),
        ("pwpx19_2kb", 90, 37, "pWPXLD-EF1a"),
        ("mscvThy_2kb", 39, 89, "MSCV"),
        ("bcmaGFP_2kb", 89, 3, "pHR-SFFV"),
        ("pslBBz_2kb", 88, 3, "pSLCAR-EFS"),
    ],
)
def test_03_a_piece_says_what_its_missing_ends_cost_and_whose_they_are(
    cases, file, three, five, vector
):
    """Costs as counted against the whole maps; MSGV1's with its spliced form, which made them 52 and 91 before."""
    found = load_construct(cases / f"03-piece-around-the-frame-is-clean/{file}.fa")
    ends = [f for f in lint(found) if f["code"] in ALARMS]
    assert max(f["umis_lost_3p"] for f in ends) == pytest.approx(three, abs=5)
    assert max(f["umis_lost_5p"] for f in ends) == pytest.approx(five, abs=5)
    assert all(vector in f["message"] and f"--backbone {vector}" in f["remedy"] for f in ends)


@pytest.mark.parametrize("file", ["113014_CD19-FcG.gb", "136882_BCMA-CAR.gb"])
def test_04_a_good_start_codon_is_no_missing_start(cases, file):
    found = load_construct(cases / "04-missing-start-false-alarm" / file)
    assert "missing_start" not in {f["code"] for f in lint(found)}


def test_05_wpre_is_no_marker(cases):
    found = load_construct(cases / "10-framework-4-too-narrow/82456_CAR19.gb")
    assert "WPRE" in {r.name for r in found.domain_rows}
    assert "marker" not in {r.kind for r in found.domain_rows}
    from carseq.data import path as data_path

    shipped = load_construct(data_path("constructs/tisa-cel.gb"))
    assert "marker" not in {r.kind for r in shipped.domain_rows}


def test_05_06_a_tcr_is_told_by_its_name(cases):
    with pytest.raises(CarseqError, match="no CAR") as refusal:
        load_construct(cases / "05-wpre-frame-called-marker/124254_TCR.gb")
    assert "T cell receptor" in refusal.value.cause
    # Taken as it is where the form says so; its leader of 12 nt is then the lentiviral promoter's.
    forced = load_construct(
        cases / "06-no-leader-in-lentiviral-vector/124254_TCR.gb", form="plasmid"
    )
    assert forced.orf[0] == 12
    assert "MSCV U3" in dict(forced.notes)["self_inactivating"]
    found = {f["code"]: f for f in lint(forced)}
    assert found["not_a_car"]["level"] == "error"
    assert "no_leader" not in found
    assert not any("MoMuLV" in f["message"] for f in found.values())


@pytest.mark.parametrize("file", ["162748_MBC1-null.gb", "75014_SFG_RQR8.gb", "pUC18.dna"])
def test_07_beta_lactamase_is_no_car(cases, file):
    with pytest.raises(CarseqError, match="no CAR") as refusal:
        load_construct(cases / "07-beta-lactamase-taken-for-the-car" / file)
    assert "AmpR" in refusal.value.cause


def test_08_odd_locus_lines_and_features_are_read(cases, maps):
    folder = cases / "08-locus-line"
    named = load_construct(folder / "name_with_spaces.gb")
    assert named.sequence == load_construct(maps / "addgene_135992.gb").sequence
    with pytest.raises(CarseqError, match="no CAR") as refusal:
        load_construct(folder / "old_exporter.gb")
    assert "CmR" in refusal.value.cause
    with pytest.raises(CarseqError, match="4 sequences") as several:
        load_construct(folder / "bad_feature.gb")
    assert "bad_feature.gb#sequence1" in several.value.remedy


@pytest.mark.parametrize("file", ["pasted.txt", "numbered.txt"])
def test_09_a_sequence_without_a_header_is_read(cases, file):
    found = load_construct(cases / "09-sequence-without-header" / file)
    assert len(found.protein) == 493
    assert [t.name for t in found.transcripts] == ["unspliced", "spliced"]


@pytest.mark.parametrize(
    ("file", "what"), [("annotation.gtf", "annotation table"), ("blank.fa", "empty")]
)
def test_09_what_is_no_sequence_is_told_by_what_it_is(cases, file, what):
    with pytest.raises(CarseqError) as refusal:
        load_construct(cases / "09-sequence-without-header" / file)
    assert what in refusal.value.cause


def test_10_a_synnotch_receptor_shows_its_scfv_and_every_residue(cases):
    found = load_construct(cases / "10-framework-4-too-narrow/85422_synNotch.gb")
    rows = frame_rows(found)
    names = [r.name for r in rows if r.name != "unnamed"]
    assert names[:5] == ["CD8A signal peptide", "Myc tag", "VL", "linker", "VH"]
    assert {"Notch1 core", "GAL4 DNA-binding domain", "VP64"} <= set(names)
    # Notch's core spans the membrane: an error said that nothing does.
    told = {f["code"]: f for f in lint(found)}
    assert not {"no_transmembrane", "no_hinge"} & set(told)
    assert "synNotch" in told["no_cd3zeta"]["message"]
    # NOTCH1's own reads may lie there.
    assert "NOTCH1" in {part.gene for part in human_parts(found)}
    assert sum(r.end - r.start for r in rows) == 3 * len(found.protein)
    # It binds and spans the membrane, but signals as no CAR does.
    assert {f["code"]: f["level"] for f in lint(found)}["no_cd3zeta"] == "error"


def test_12_a_stop_in_the_scfv_is_a_premature_stop(cases):
    found = load_construct(cases / "12-premature-stop-told-as-missing-start/stop_in_VL.fa")
    faults = {f["code"]: f for f in lint(found)}
    assert "missing_start" not in faults
    assert faults["premature_stop"]["level"] == "error"
    # TAA stands for codon 101 of the frame.
    assert f"base {found.orf[0] + 303} " in faults["premature_stop"]["message"]
    names = {r.name for r in found.domain_rows}
    assert {"VH", "CD28 hinge", "CD3zeta", "CSF2RA signal peptide"} <= names


def test_13_the_backbone_is_not_in_the_mrna(cases, tmp_path):
    path = cases / "13-backbone-in-the-mrna/no_3prime_ltr.fa"
    found = load_construct(path)
    assert found.sequence.startswith("GCGCCAGTCCTCCGATAGAC")
    assert found.orf[0] == 1441
    assert len(found.sequence) - found.orf[1] <= 200
    assert "three_prime_guess" in dict(found.notes)
    assert {f["code"]: f for f in lint(found)}["three_prime_guess"]["umis_lost_3p"] > 30
    # N over the 3' R does the same.
    whole = sequence_of(cases / "01-msgv1-mp71-not-spliced/msgv1_axicel.gb")
    masked = whole[:3160] + "N" * 400 + whole[3560:]
    file = tmp_path / "masked.fa"
    file.write_text(f">v\n{masked}\n")
    hidden = load_construct(file)
    assert hidden.orf[0] == 1441
    assert not hidden.three.known
    assert len(hidden.sequence) < 3600
