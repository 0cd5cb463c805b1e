"""construct: kinds of maps that were read wrongly once, put together from known parts and back-translated domains."""

from __future__ import annotations

import random
from itertools import product

import pytest

from carseq.construct import lint, load_construct
from carseq.construct.backbones import backbones
from carseq.construct.coding import reverse_complement, translate
from carseq.construct.derive import GUESSED_LEADER
from carseq.construct.parts import known_proteins, parts, sequences
from carseq.errors import CarseqError

DOMAIN = {d.name: d.sequence for d in known_proteins()}
CODONS: dict[str, list[str]] = {}
for _codon in product("ACGT", repeat=3):
    CODONS.setdefault(translate("".join(_codon)), []).append("".join(_codon))
AXI = translate(sequences("orfs.fa")["axi-cel"]).rstrip("*")
SCFV = AXI[22 : AXI.index("AAAIEVMYPPPY")]
CAR = "".join(
    DOMAIN[n] if n else SCFV
    for n in ("CD8A signal peptide", "", "CD8A hinge", "CD8A transmembrane", "4-1BB", "CD3zeta")
)
CMV = parts()["CMV_promoter"] + "GCAGAGCTCGTTTAGTGAACCGTCAGATC"
EF1A = parts()["EF1A_promoter"] + parts()["EF1A_exon1"]


def coded(protein: str) -> str:
    """Return DNA for a protein, codons by chance, with a stop codon."""
    rng = random.Random(protein)
    return "".join(rng.choice(CODONS[a]) for a in protein) + "TAA"


def spacer(n: int) -> str:
    rng = random.Random(n)
    return "".join(rng.choice("ACGT") for _ in range(n))


def read(folder, sequence: str):
    path = folder / "v.fa"
    path.write_text(f">v\n{sequence}\n")
    return load_construct(path)


@pytest.mark.parametrize("marker", ["CD19t", "NGFRt", "EGFRt", "RQR8", "Thy1.1"])
@pytest.mark.parametrize("gap", [20, 21, 22])
def test_a_marker_behind_an_ires_is_named_and_no_fault_of_the_car(tmp_path, marker, gap):
    """Its leader lies behind the CAR's stop codon, in whatever frame; RQR8 and Thy1.1 are shorter than 450 nt."""
    leader = {"CD19t": "CD19", "NGFRt": "NGFR", "EGFRt": "CSF2RA"}.get(marker)
    protein = (DOMAIN[f"{leader} signal peptide"] if leader else "") + DOMAIN[marker]
    protein = protein if protein.startswith("M") else f"M{protein}"
    vector = backbones()["MSCV"]
    middle = coded(CAR) + spacer(gap) + parts()["EMCV_IRES"] + "CC" + coded(protein)
    found = read(tmp_path, vector.five + middle + vector.three)
    assert found.protein == CAR
    assert {"IRES", marker} <= {r.name for r in found.domain_rows}
    assert {f["level"] for f in lint(found, "3p")} == {"info"}


@pytest.mark.parametrize("cut", [32, 40])
@pytest.mark.parametrize("turned", [False, True])
def test_a_knock_in_donor_whose_arms_cut_tracs_exon_begins_in_it(tmp_path, cut, turned):
    exon = parts()["TRAC_exon1"]
    joint = "GGAAGCGGA" + coded(DOMAIN["P2A"])[:-3]
    donor = spacer(300) + exon[:cut] + joint + coded(CAR)
    donor += parts()["bGH_polyA"] + exon[cut:] + spacer(310)
    found = read(tmp_path, reverse_complement(donor) if turned else donor)
    assert found.protein == CAR
    assert found.sequence.startswith(exon[:cut] + joint)
    assert found.three.known
    codes = {f["code"]: f for f in lint(found, "3p")}
    assert "TRAC" in codes["knock_in"]["message"]
    assert "Use 3' libraries" in codes["knock_in"]["message"]
    assert not {"no_leader", "five_prime_guess", "missing_start"} & set(codes)


def test_a_donor_without_a_poly_a_signal_is_told_to_end_in_the_gene(tmp_path):
    exon = parts()["TRAC_exon1"]
    middle = coded(f"GSG{DOMAIN['P2A']}{CAR}GSG{DOMAIN['P2A']}")[:-3]
    found = read(tmp_path, spacer(300) + exon[:40] + middle + exon[40:] + spacer(310))
    codes = {f["code"]: f for f in lint(found)}
    assert "3' reads in that cannot tell" in codes["knock_in"]["message"]
    assert not any("MSGV1" in f["message"] for f in codes.values())


@pytest.mark.parametrize("arm", [310, 800, 2000])
@pytest.mark.parametrize("behind", ["", "GSG" + DOMAIN["P2A"]], ids=["stop", "2A"])
def test_a_donor_for_any_gene_without_a_poly_a_signal_is_told(tmp_path, arm, behind):
    """Its arms alone show no vector: it was said to lack MSGV1's ends, and to lose 89 of 100 5' UMIs."""
    middle = coded(f"GSG{DOMAIN['P2A']}")[:-3] + coded(CAR + behind)[: -3 if behind else None]
    found = read(tmp_path, spacer(arm) + "TGATAGCTAA" + middle + spacer(arm + 1))
    assert found.protein.startswith(CAR)
    codes = {f["code"]: f for f in lint(found)}
    assert "3' reads in that cannot tell" in codes["knock_in"]["message"]
    assert not any("MSGV1" in f["message"] for f in codes.values())
    assert not {"no_leader", "no_3p_end", "missing_start", "no_stop"} & set(codes)


def test_a_car_that_takes_its_cd3zeta_from_the_gene_is_not_cut_off(tmp_path):
    """A donor for CD247 joins the CAR to the gene's own CD3zeta, of which the file has the first exon's residues."""
    gene = sequences("relatives.fa")["CD247"]
    at = translate(gene[1:]).index(DOMAIN["CD3zeta"][:20])
    middle = coded("GSG" + DOMAIN["T2A"])[:-3] + coded(CAR[: CAR.index(DOMAIN["CD3zeta"])])[:-3]
    arm = gene[1 + 3 * at :][:90] + "GTAAGTTAGCTGA" + spacer(300)
    found = read(tmp_path, spacer(300) + "TGATAGCTAA" + middle + arm)
    codes = {f["code"]: f for f in lint(found)}
    assert codes["truncated_cd3zeta"]["level"] == "info"
    assert "goes on in the gene" in codes["truncated_cd3zeta"]["message"]
    assert "no_stop" not in codes


@pytest.mark.parametrize("exon", [parts()["TRAC_exon1"][:40], "TGATAGCTAA"], ids=["TRAC", "other"])
def test_no_vectors_ends_are_put_on_a_knock_in_donor(tmp_path, exon):
    """`--backbone MSGV1` made an mRNA of a vector's leader and a donor's CAR, which no cell has."""
    joint = coded("GSG" + DOMAIN["P2A"])[:-3]
    donor = spacer(300) + exon + joint + coded(CAR) + parts()["bGH_polyA"] + spacer(310)
    (tmp_path / "v.fa").write_text(f">v\n{donor}\n")
    with pytest.raises(CarseqError, match="knocked into") as refusal:
        load_construct(tmp_path / "v.fa", backbone="MSGV1")
    assert "frame alone" in refusal.value.remedy


@pytest.mark.parametrize("before", ["", "GCCACC"], ids=["cut", "shifted"])
def test_a_marker_that_lost_its_start_or_a_base_makes_no_donor(tmp_path, before):
    """What the 2A peptide joins is a marker, out of frame or cut off, not an exon."""
    marker = coded("M" + DOMAIN["EGFRt"])[:-3]
    partner = before + marker[:300] + marker[301:] if before else marker[150:]
    joint = coded("GSG" + DOMAIN["P2A"])[:-3]
    found = read(tmp_path, partner + joint + coded(CAR) + parts()["WPRE"] + spacer(60))
    assert "knock_in" not in dict(found.notes)


@pytest.mark.parametrize(
    ("ectodomain", "gene"), [(180, "ICOS"), (190, "OX40"), (200, "CD27"), (170, "2B4")]
)
def test_a_costimulatory_gene_is_no_car(tmp_path, ectodomain, gene):
    """Its ectodomain is known by no sequence; its transmembrane part is its own."""
    spans = DOMAIN.get(f"{gene} transmembrane", "LLLIVAVLVLLGLLLVAVLAL")
    outside = "".join(random.Random(gene).choice("DEGKNQRST") for _ in range(ectodomain))
    protein = DOMAIN["CD4 signal peptide"] + outside + spans + DOMAIN[gene]
    with pytest.raises(CarseqError, match="no CAR") as refusal:
        read(tmp_path, CMV + coded(protein) + parts()["bGH_polyA"])
    assert gene in refusal.value.cause


def test_a_frame_that_lost_half_its_leader_is_told(tmp_path):
    assert "missing_start" in {f["code"] for f in lint(read(tmp_path, coded(CAR)[30:]), "3p")}


def test_a_stretch_without_a_start_codon_is_named(tmp_path):
    with pytest.raises(CarseqError, match="no CAR") as refusal:
        read(tmp_path, coded(CAR[CAR.index(DOMAIN["CD8A hinge"]) :]))
    assert "CD8A hinge, CD8A transmembrane, 4-1BB, CD3zeta" in refusal.value.cause
    assert "start codon" in refusal.value.cause


@pytest.mark.parametrize("form", ["5'-{}-3'", '"{}"', "pMY-CAR (final)\n{}", "\u20185\u2019 {}"])
def test_a_pasted_sequence_may_have_a_name_and_marks_around_it(tmp_path, form):
    path = tmp_path / "pasted.txt"
    path.write_text(form.format(coded(CAR)), encoding="utf-8")
    assert load_construct(path).protein == CAR


def test_a_frameshift_behind_an_unknown_binder_is_no_missing_car(tmp_path):
    """Hinge and CD3zeta are in other frames; the frame with the marker is the longest."""
    frame = coded(f"{CAR}GSG{DOMAIN['P2A']}{DOMAIN['CD19 signal peptide']}{DOMAIN['CD19t']}")
    at = 3 * CAR.index(DOMAIN["CD8A transmembrane"])
    vector = backbones()["MSGV1"]
    found = read(tmp_path, vector.five + frame[:at] + frame[at + 1 :] + vector.three)
    assert {f["code"]: f["level"] for f in lint(found, "3p")}["frameshift"] == "error"


HIV = parts()["HIV1_R"] + parts()["HIV1_U5"] + parts()["HIV1_leader"] + spacer(300)
SIN = parts()["WPRE"] + spacer(50) + parts()["HIV1_dU3"] + parts()["HIV1_R"] + parts()["HIV1_U5"]


def test_a_car_behind_a_long_cistron_and_an_ires_begins_at_their_promoter(tmp_path):
    """EF1alpha with its intron, luciferase, IRES, CAR: the promoter lies 3.2 kb before the CAR's frame."""
    intron = backbones()["cilta-EF1a"].five
    cistron = coded(DOMAIN["firefly luciferase"]) + spacer(20) + parts()["EMCV_IRES"]
    mrna = intron + cistron + coded(CAR)
    found = read(tmp_path, HIV + parts()["EF1A_promoter"] + mrna + SIN)
    assert found.protein == CAR
    assert found.five is not None
    assert found.five.known
    assert found.sequence.startswith(mrna)
    assert "spliced" in {t.name for t in found.transcripts}


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    "tail", ["A" * 120, "A" * 30 + "GCATATGACT" + "A" * 70], ids=["one", "two"]
)
def test_a_template_of_an_mrna_made_in_vitro_runs_from_t7_to_its_tail(tmp_path, turned, tail):
    """The mRNA began with the plasmid, and ended at the first AATAAA of two untranslated regions."""
    utr = spacer(60) + "AATAAA" + spacer(70)
    mrna = "GGGAAATAAGAGAGAAAAGAAGAGTAAGAAGAAATATAAGAGCCACC" + coded(CAR) + "C" + utr + utr + "C"
    plasmid = spacer(200) + "TAATACGACTCACTATA" + mrna + tail + "GAAGAGC" + parts()["pUC_ori"]
    found = read(tmp_path, reverse_complement(plasmid) if turned else plasmid)
    assert found.sequence == mrna
    assert {f["level"] for f in lint(found)} == {"info"}


def test_a_phage_promoter_without_an_encoded_tail_makes_no_template(tmp_path):
    vector = CMV + "TAATACGACTCACTATAGGG" + spacer(30) + coded(CAR) + parts()["bGH_polyA"]
    found = read(tmp_path, spacer(300) + vector + spacer(200))
    assert found.five is not None
    assert "CMV" in found.five.what


@pytest.mark.parametrize("marker", ["CD19t", "NGFRt", "RQR8"])
@pytest.mark.parametrize("gap", [20, 21, 22])
@pytest.mark.parametrize("first", [True, False])
def test_domains_of_another_cistron_are_no_frameshift_of_the_car(tmp_path, marker, gap, first):
    """The leader of a marker before the IRES, or RQR8's CD8A hinge beside a CAR with CD28's, in another frame."""
    leader = {"CD19t": "CD19", "NGFRt": "NGFR"}.get(marker)
    partner = (DOMAIN[f"{leader} signal peptide"] if leader else "M") + DOMAIN[marker]
    names = ("CD8A signal peptide", "", "CD28 hinge", "CD28 transmembrane", "CD28", "CD3zeta")
    car = "".join(DOMAIN[n] if n else SCFV for n in names)
    proteins = (partner, car) if first else (car, partner)
    one, two = map(coded, proteins)
    vector = backbones()["MSCV"]
    middle = one + spacer(gap) + parts()["EMCV_IRES"] + two
    found = read(tmp_path, vector.five + middle + vector.three)
    assert found.protein == car
    assert {f["level"] for f in lint(found, "3p")} == {"info"}


@pytest.mark.parametrize("signal", ["synthetic_polyA", "SV40_late_polyA", "HSVTK_polyA"])
def test_further_poly_a_signals_end_the_mrna(tmp_path, signal):
    """Their right ends were called a guess that loses nine 3' UMIs of ten."""
    donor = parts()["PB_5"] + EF1A + spacer(20) + coded(CAR) + spacer(20) + parts()[signal]
    found = read(tmp_path, donor + spacer(300) + parts()["PB_3"])
    assert found.three is not None
    assert found.three.known
    assert {f["level"] for f in lint(found, "3p")} == {"info"}


@pytest.mark.parametrize("exon", ["MSRSVALAVLALLSLSGLEA", "MKLYWDE"], ids=["B2M", "short"])
def test_a_donor_whose_exon_has_a_start_codon_begins_in_it(tmp_path, exon):
    """Such a donor for B2M was told to take the ends of a gamma-retroviral vector."""
    frame = exon + "GSG" + DOMAIN["P2A"] + CAR
    found = read(tmp_path, spacer(300) + "TAG" + coded(frame) + parts()["bGH_polyA"] + spacer(400))
    assert found.protein.endswith(frame)
    codes = {f["code"]: f for f in lint(found, "3p")}
    assert "endogenous gene" in codes["knock_in"]["message"]
    assert not {"no_leader", "five_prime_guess", "missing_start"} & set(codes)


def test_a_small_marker_before_the_car_makes_no_donor(tmp_path):
    vector = backbones()["pHR-SFFV"]
    frame = "MGYPYDVPDYAGSG" + DOMAIN["P2A"] + CAR
    found = read(tmp_path, CMV + spacer(30) + coded(frame) + vector.three)
    assert "knock_in" not in dict(found.notes)


@pytest.mark.parametrize(
    "leader",
    [
        "AGGAGA" + "HBB_5UTR",
        "GGG" + "HBA1_5UTR",
        "AGGAAATAAGAGAGAAAAGAAGAGTAAGAAGAAATATAAGA",
        "HBB_5UTR",
    ],
)
@pytest.mark.parametrize("tail", ["A" * 100, "A" * 30 + "GCATATGACT" + "A" * 70])
def test_an_mrna_made_in_vitro_has_both_ends(tmp_path, leader, tail):
    """It was told to lack 83 of 100 5' UMIs, and to take the ends of MSGV1; A30 and a linker stayed on its 3' end."""
    for name in ("HBB_5UTR", "HBA1_5UTR"):
        leader = leader.replace(name, parts()[name])
    mrna = f"{leader}GCCACC{coded(CAR)}{parts()['HBB_3UTR']}"
    found = read(tmp_path, mrna + tail)
    assert found.sequence == mrna
    assert (found.five.known, found.three.known) == (True, True)
    assert not lint(found)


@pytest.mark.parametrize("tail", [spacer(50), spacer(200), "AATAAAGCTAGC"])
def test_a_long_tail_ends_an_mrna_made_in_vitro(tmp_path, tail):
    """Of one with little around the frame it was said that it were a frame alone, and lost 87 of 100 3' UMIs."""
    found = read(tmp_path, "GGGAGACCACC" + coded(CAR) + tail + "A" * 100)
    assert found.form == "transcript"
    assert (found.five.known, found.three.known) == (True, True)
    assert not lint(found)


@pytest.mark.parametrize("behind", ["C", "GCTCTTC", "GAATTCGGTACC" + spacer(100)])
@pytest.mark.parametrize("tail", ["A" * 100, "A" * 30 + "GCATATGACT" + "A" * 70])
def test_what_lies_behind_an_encoded_tail_is_not_transcribed(tmp_path, behind, tail):
    """The site where the template is cut: the tail was part of the mRNA, and 3' reads were expected in it."""
    mrna = f"GGGAGA{parts()['HBB_5UTR']}GCCACC{coded(CAR)}{parts()['HBB_3UTR']}"
    found = read(tmp_path, mrna + tail + behind)
    assert found.sequence == mrna
    assert not lint(found)


@pytest.mark.parametrize("stop", ["TAA", "TGA"])
@pytest.mark.parametrize("form", ["auto", "transcript", "orf"])
def test_the_tail_takes_nothing_of_the_stop_codon(tmp_path, stop, form):
    """A frame whose stop codon the tail follows: the A of TGA was taken for the tail's, and the frame had no stop."""
    path = tmp_path / "v.fa"
    frame = coded(CAR)[:-3] + stop
    path.write_text(f">v\nGCCACC{frame}{'A' * 40}\n")
    found = load_construct(path, form=form)
    assert found.sequence == f"GCCACC{frame}"
    assert "no_stop" not in {f["code"] for f in lint(found)}


@pytest.mark.parametrize("signal", ["bGH", "hGH", "SV40", "rbGlob", "synthetic", "HSVTK"])
@pytest.mark.parametrize("leader", ["SV40", "JeT"])
def test_an_mrna_that_carseq_wrote_keeps_its_ends(tmp_path, signal, leader):
    """`--correct` writes the mRNA up to where it is cut: read again, it was said to lack its 3' end, and its 5' end."""
    first = {"SV40": "SV40_promoter", "JeT": "UbC_promoter"}[leader]
    begin = parts()[first] + parts()[f"{leader}_leader"]
    end = spacer(230) + parts()[f"{signal}_polyA"]
    found = read(tmp_path, spacer(120) + begin + "GCCACC" + coded(CAR) + end + spacer(240))
    again = read(tmp_path, found.sequence)
    assert again.sequence == found.sequence
    assert (again.five.known, again.three.known) == (True, True)
    assert not {"no_leader", "no_3p_end"} & {f["code"] for f in lint(again)}


@pytest.mark.parametrize("signal", ["bGH_polyA", "SV40_polyA"])
def test_a_poly_a_signal_before_the_3_ltr_is_told(tmp_path, signal):
    """Nothing was said of it, though most of the CAR's mRNA ends there; the LTR's end stays in the reference."""
    within = spacer(20) + parts()[signal] + spacer(60)
    found = read(tmp_path, HIV + EF1A + spacer(20) + coded(CAR) + within + SIN)
    assert found.three is not None
    assert "R" in found.three.what
    told = {f["code"]: f for f in lint(found)}["inner_poly_a"]
    assert told["level"] == "warn"
    assert "before the 3' LTR's R" in told["message"]


def test_a_vector_without_such_a_signal_says_nothing_of_it(tmp_path):
    found = read(tmp_path, HIV + EF1A + spacer(20) + coded(CAR) + spacer(80) + SIN)
    assert "inner_poly_a" not in {f["code"] for f in lint(found)}


def test_an_ltr_that_a_map_names_after_its_poly_a_signal_is_the_ltr(tmp_path):
    """Its feature begins before R, and the signal lies in R: it is no second signal before the LTR."""
    vector = HIV + EF1A + spacer(20) + coded(CAR)
    first = len(vector) + len(parts()["WPRE"]) + 50 + 1
    bases = vector + SIN
    lines = "".join(f"{i + 1:>9} {bases[i : i + 60]}\n" for i in range(0, len(bases), 60))
    (tmp_path / "v.gb").write_text(
        f"LOCUS       v {len(bases)} bp    DNA     linear SYN 01-JAN-2020\n"
        f"FEATURES             Location/Qualifiers\n     polyA_signal    {first}..{len(bases)}\n"
        f'                     /label="SIN LTR, poly(A)"\nORIGIN\n{lines}//\n'
    )
    found = load_construct(tmp_path / "v.gb")
    assert "R" in found.three.what
    assert "inner_poly_a" not in {f["code"] for f in lint(found)}


def test_the_ltrs_own_promoter_is_no_second_gene(tmp_path):
    """The 3' LTR's R is unknown bases: its U3 was "a promoter behind the CAR" of a second mRNA."""
    vector = backbones()["MSGV1"]
    first = vector.three.rindex(parts()["MSCV_R3"][:30])
    three = vector.three[:first] + "N" * 60 + vector.three[first + 60 :]
    found = read(tmp_path, vector.five + coded(CAR) + three + parts()["MSCV_U5"])
    assert {f["code"] for f in lint(found) if f["level"] == "warn"} <= {"ambiguous", "no_3p_end"}


def test_the_mrna_of_a_second_gene_behind_a_poly_a_signal_is_not_the_cars(tmp_path):
    """CAR, bGH's signal, PGK promoter and GFP up to the 3' LTR: GFP's mRNA was taken for the end of the CAR's."""
    part = parts()
    five = part["HIV1_R"] + part["HIV1_U5"] + part["HIV1_leader"] + spacer(400)
    three = part["WPRE"] + part["HIV1_dU3"] + part["HIV1_R"] + part["HIV1_U5"]
    first = part["MND_promoter"] + "GAATTCGCCACC" + coded(CAR) + spacer(30) + part["bGH_polyA"]
    second = part["hPGK_promoter"] + part["hPGK_leader"] + coded("M" + DOMAIN["EGFP"])
    found = read(tmp_path, five + first + spacer(40) + second + three)
    cut = found.sequence.rindex("AATAAA") + 6 + 25
    assert (found.three.what, len(found.sequence)) == ("bGH poly(A) signal", cut)
    assert "EGFP" not in {r.name for r in found.domain_rows}
    assert "shared_end" not in {f["code"] for f in lint(found)}
    # Without a signal between them, both end in the 3' LTR.
    both = read(tmp_path, five + first[: -len(part["bGH_polyA"])] + second + three)
    assert both.three.what == "HIV-1 R"
    assert "shared_end" in {f["code"] for f in lint(both)}


def faults(folder, frame: str) -> dict[str, str]:
    """Return the level of each finding beyond the good to know on a frame in MSGV1."""
    vector = backbones()["MSGV1"]
    found = lint(read(folder, vector.five + frame + vector.three), "3p")
    return {f["code"]: f["level"] for f in found if f["level"] != "info"}


FRAME = coded(CAR)
MARKED = coded(f"{CAR}GSG{DOMAIN['T2A']}{DOMAIN['CSF2RA signal peptide']}{DOMAIN['EGFRt']}")
TWINS = coded(f"{CAR}GSG{DOMAIN['T2A']}{DOMAIN['CD8A signal peptide']}{DOMAIN['EGFRt']}")
TAGGED = coded(f"{CAR}GSG{DOMAIN['P2A']}{DOMAIN['EGFP']}")
FUSED = coded(f"{CAR}SGGGGSGS{DOMAIN['EGFP']}")
SWITCHED = coded(f"M{DOMAIN['FKBP12']}SGGGS{DOMAIN['iCasp9']}GSG{DOMAIN['T2A']}{CAR}")
NAMELESS = coded(
    f"{DOMAIN['CD19 signal peptide']}{DOMAIN['CD19t']}GSG{DOMAIN['P2A']}{CAR[:21]}"
    + "".join(random.Random(9).choice("ADEGKNPQRSTY") for _ in range(120))
    + f"GGGGS{SCFV}{CAR[CAR.index(SCFV) + len(SCFV) :]}"
)
LISO = sequences("orfs.fa")["liso-cel"]
TISA = sequences("orfs.fa")["tisa-cel"] + "GA"
BEHIND = coded(f"M{DOMAIN['EGFP']}GSG{DOMAIN['T2A']}{CAR}")


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (FRAME, {}),
        (MARKED, {}),
        (BEHIND, {}),
        (TAGGED, {}),
        # One base of the leader is lost: the first ATG of the scFv began the CAR, and nothing was said.
        (FRAME[:20] + FRAME[21:], {"no_signal_peptide": "warn"}),
        # So of a CAR behind a 2A peptide: the frame of the protein before it does not reach the CAR.
        (BEHIND[:800] + "A" + BEHIND[800:], {"frameshift": "error"}),
        # The marker by which cells are sorted is behind a stop codon, or out of frame.
        (FRAME + MARKED[len(FRAME) - 3 :], {"premature_stop": "warn"}),
        (FRAME[:-3] + "G" + MARKED[len(FRAME) - 3 :], {"frameshift": "warn"}),
        # The marker before the CAR lost a base, far off the 2A peptide or in its first residues, or ends before it.
        (BEHIND[:300] + BEHIND[301:], {"frameshift": "error"}),
        (BEHIND[:20] + BEHIND[21:], {"frameshift": "error"}),
        (BEHIND[:717] + "TAA" + BEHIND[717:], {"premature_stop": "error"}),
        (BEHIND[:736] + BEHIND[737:], {"frameshift": "error"}),
        # A reporter before it that is a protein of its own, as one between lox sites, is no partner.
        (coded(f"M{DOMAIN['ZsGreen']}") + spacer(95) + BEHIND, {}),
        # So within the marker behind it.
        (MARKED[:-400] + MARKED[-399:], {"frameshift": "warn"}),
        (MARKED[:-402] + "TAA" + MARKED[-399:], {"premature_stop": "warn"}),
        # The 2A peptide between lost or won a base, in its first or last half: nothing was said.
        *(
            (
                one[: len(FRAME) + at] + more + one[len(FRAME) + at + (not more) :],
                {"frameshift": "warn"},
            )
            for one in (MARKED, TAGGED)
            for at in (24, 40)
            for more in ("", "A")
        ),
        # A marker that a linker joins to the CAR, without a 2A peptide: nothing was said of it.
        (FUSED, {}),
        (FUSED[: len(FRAME) + 5] + FUSED[len(FRAME) + 6 :], {"frameshift": "warn"}),
        (FUSED[: len(FRAME) + 40] + "A" + FUSED[len(FRAME) + 40 :], {"frameshift": "warn"}),
        (FUSED[:-300] + FUSED[-299:], {"frameshift": "warn"}),
        (FUSED[:-303] + "TAA" + FUSED[-300:], {"premature_stop": "warn"}),
        # A CAR whose marker has a leader of its own, the CAR's or another: faults of its first half were hidden.
        (TWINS[:24] + TWINS[25:], {"no_signal_peptide": "warn"}),
        (TWINS[:300] + "TAA" + TWINS[303:], {"premature_stop": "error"}),
        (TWINS[:300] + TWINS[301:], {"frameshift": "error"}),
        (MARKED[:300] + "TAA" + MARKED[303:], {"premature_stop": "error"}),
        (BEHIND[:1200] + "TAA" + BEHIND[1203:], {"premature_stop": "error"}),
        # A base too many in 4-1BB: two overlapping halves were "two CARs".
        (TISA[:1035] + "A" + TISA[1035:], {"frameshift": "error"}),
        # A base lost in the membrane part behind a short hinge: "no CAR reading frame".
        (LISO, {}),
        (LISO[:885] + LISO[886:], {"frameshift": "error"}),
        # A switch of two proteins before the CAR, the first of which has a stop codon.
        (SWITCHED, {}),
        (SWITCHED[:36] + "TAA" + SWITCHED[39:], {"premature_stop": "error"}),
        # A marker with a stop codon before a CAR whose first binder has no name.
        (NAMELESS, {}),
        (NAMELESS[:600] + "TAA" + NAMELESS[603:], {"premature_stop": "error"}),
        # The stop codon is lost.
        (FRAME[:-3] + "GCT" * 20 + "TAA", {"no_stop": "warn"}),
        # A transmembrane domain whose bases are unknown need not be lacking.
        (FRAME[:930] + "N" * 66 + FRAME[996:], {"ambiguous": "warn", "no_transmembrane": "warn"}),
    ],
)
def test_a_base_lost_beside_a_domain_is_told(tmp_path, frame, told):
    assert faults(tmp_path, frame) == told


@pytest.mark.parametrize("residue", [0, 10, 20, 30])
def test_a_stop_codon_in_the_cd3zeta_of_a_car_with_an_unknown_binder_is_told(tmp_path, residue):
    """An IgG4 hinge before CD28's membrane and inner part is no whole CD28 gene: the map was refused as that."""
    rng = random.Random(8)
    binder = "".join(rng.choice("ADEGKNPQRSTY") for _ in range(160))
    inner = "".join(DOMAIN[n] for n in ("IgG4 hinge", "CD28 transmembrane", "CD28", "CD3zeta"))
    frame = coded(DOMAIN["CD8A signal peptide"] + binder + inner)
    at = len(frame) - 3 - 3 * (len(DOMAIN["CD3zeta"]) - residue)
    told = faults(tmp_path, frame[:at] + "TAA" + frame[at + 3 :])
    assert told["premature_stop"] == "error"


VHH = translate(sequences("orfs.fa")["cilta-cel"])[21:138]
INNER = "".join(DOMAIN[n] for n in ("CD28 hinge", "CD28 transmembrane", "CD28", "CD3zeta"))


@pytest.mark.parametrize(
    "head",
    [
        DOMAIN["CD8A signal peptide"] + VHH,
        DOMAIN["CSF2 signal peptide"] + DOMAIN["IL13"],
        DOMAIN["CD28 signal peptide"] + DOMAIN["IL13"],
    ],
    ids=["VHH", "IL13", "CD28 leader"],
)
@pytest.mark.parametrize("behind", [-20, 60, 150])
def test_a_base_lost_behind_a_short_binder_is_a_frameshift(tmp_path, head, behind):
    """The first part's frame has less than 600 bases: the map was refused, "has no start codon before it"."""
    frame, at = coded(head + INNER), 3 * len(head) + behind
    assert faults(tmp_path, frame[:at] + frame[at + 1 :])["frameshift"] == "error"


UNKNOWN = "MKHLWFFLLLVAAPRWVLS"


@pytest.mark.parametrize("vector", ["MSGV1", "SFG"])
@pytest.mark.parametrize("piece", [0, -400])
def test_a_frame_of_an_unknown_leader_begins_behind_the_psi_intron(tmp_path, vector, piece):
    """Open to an ATG in it, the frame began there, with 108 residues too many, and the spliced mRNA was none."""
    ends, own = backbones()[vector], UNKNOWN + CAR[21:]
    found = read(tmp_path, ends.five[piece:] + "GCCA" + coded(own) + ends.three)
    assert found.protein == own
    assert bool(found.introns) is (piece == 0)
    assert not {f["code"] for f in lint(found, rivals=[])} & {"no_signal_peptide", "missing_start"}


TANDEM = UNKNOWN + SCFV + "GGGGS" + SCFV + INNER


@pytest.mark.parametrize("residue", [60, 8], ids=["partner", "leader"])
@pytest.mark.parametrize("turned", [False, True])
def test_a_plasmid_whose_origin_lies_in_the_first_part_of_the_frame_is_read_across_it(
    tmp_path, residue, turned
):
    """Without an LTR the line was read, whose frame lacks what lies before the origin: a partner, half the leader."""
    joint = f"GSG{DOMAIN['P2A']}"
    partner = DOMAIN["CD19 signal peptide"] + DOMAIN["CD19t"] + joint
    marked = CAR + joint + DOMAIN["TRBV signal peptide"] + DOMAIN["RQR8"]
    own = partner + CAR if residue > 20 else marked
    frame, at = coded(own), 3 * residue
    behind = parts()["bGH_polyA"] + spacer(80) + parts()["AmpR_gene"] + parts()["pUC_ori"]
    text = frame[at:] + behind + spacer(90) + EF1A + "GCCACC" + frame[:at]
    found = read(tmp_path, reverse_complement(text) if turned else text)
    assert found.protein == own
    assert found.five.what == "EF1alpha promoter"
    assert found.sequence.index(frame) == len(parts()["EF1A_exon1"]) + 6


@pytest.mark.parametrize(
    ("place", "overlap"), [(60, 40), (60, 900), (1560, 40)], ids=["short", "long", "tail"]
)
def test_a_circle_whose_file_ends_as_it_begins_is_read_once(tmp_path, place, overlap):
    """An assembler's overlap stood twice in the mRNA: a frameshift in the CAR, and unsaid behind it."""
    own = EF1A + "GCCACC" + FRAME
    plasmid = parts()["AmpR_gene"] + parts()["pUC_ori"] + spacer(90) + HIV + own + SIN
    at = plasmid.index(FRAME) + place
    circle = plasmid[at:] + plasmid[:at]
    found = read(tmp_path, circle + circle[:overlap])
    assert found.protein == CAR
    assert found.sequence == read(tmp_path, plasmid).sequence
    told = dict(found.notes)["read_as_circle"]
    assert f"last {overlap} bases repeat its first ones" in told


KILLER = "".join(
    DOMAIN[n] if n else SCFV
    for n in ("CD8A signal peptide", "", "IgG4 hinge", "CD8A transmembrane", "DAP12")
)


@pytest.mark.parametrize(
    ("protein", "residue", "change", "code"),
    [
        # Of an unknown leader nothing told: "no signal peptide", or "no binder", as a warning.
        (TANDEM, 330, "", "frameshift"),
        (TANDEM, 330, "TAA", "premature_stop"),
        (UNKNOWN + SCFV + INNER, 150, "A", "frameshift"),
        # A base lost in the last residues of DAP12 was not told, and its CAR refused where the shift lies before it.
        (KILLER, len(KILLER) - 20, "", "frameshift"),
        (KILLER, len(KILLER) - 64, "", "frameshift"),
    ],
)
def test_a_fault_behind_an_unknown_leader_or_in_another_signalling_domain_is_told(
    tmp_path, protein, residue, change, code
):
    frame, at = coded(protein), 3 * residue
    broken = frame[:at] + change + frame[at + (3 if len(change) == 3 else 1 - 2 * len(change)) :]
    assert faults(tmp_path, broken)[code] == "error"
    assert not {"frameshift", "premature_stop"} & set(faults(tmp_path, frame))


@pytest.mark.parametrize("at", [300, 1040], ids=["VL", "DAP12"])
def test_the_mrna_of_a_broken_car_behind_a_long_partner_begins_at_its_promoter(tmp_path, at):
    """Its second half was the CAR, 2.5 kb from the promoter: the mRNA began 60 nt before that, or was refused."""
    partner = DOMAIN["IL2 signal peptide"] + DOMAIN["IL12B"] + "GGGGS" + DOMAIN["IL12A"]
    partner += f"GSG{DOMAIN['P2A']}"
    car = KILLER if at > 1000 else CAR
    frame = coded(partner + car)
    at += 3 * len(partner)
    leader = spacer(900).replace("ATG", "ACG")
    found = read(tmp_path, HIV + EF1A + leader + frame[:at] + frame[at + 1 :] + SIN)
    assert found.five.what == "EF1alpha promoter"
    assert found.sequence.startswith(parts()["EF1A_exon1"] + leader)
    assert {f["code"] for f in lint(found, rivals=[]) if f["level"] == "error"} >= {"frameshift"}


def test_the_promoter_of_a_gene_with_a_poly_a_signal_of_its_own_is_not_the_cars(tmp_path):
    """The CAR's mRNA was taken to begin at the promoter of the gene before it, whose mRNA a poly(A) signal ends."""
    gene = EF1A + coded(f"M{DOMAIN['EGFP']}") + parts()["bGH_polyA"]
    found = read(tmp_path, HIV + gene + spacer(300) + coded(CAR) + SIN)
    assert not found.five.known
    assert found.orf[0] == GUESSED_LEADER
    told = next(f for f in lint(found) if f["code"] == "five_prime_guess")
    assert "bGH poly(A) signal ends the mRNA" in told["message"]


def test_a_stop_cassette_between_lox_sites_is_told(tmp_path):
    """The promoter before it is the CAR's once Cre has taken it out; nothing was said of it."""
    lox = "ATAACTTCGTATAGCATACATTATACGAAGTTAT"
    stop = lox + coded(f"M{DOMAIN['mCherry']}") + parts()["SV40_polyA"] + lox
    found = read(tmp_path, HIV + EF1A + stop + coded(CAR) + SIN)
    assert found.five.known
    assert "recombinase" in next(t for c, t in found.notes if c == "five_prime_guess")


def test_two_adapters_of_natural_killer_cells_are_no_broken_car(tmp_path):
    one = ("DAP10 signal peptide", "DAP10 ectodomain", "CD8A transmembrane", "DAP10")
    two = "M" + DOMAIN["DAP12 transmembrane"] + DOMAIN["DAP12"]
    vector = backbones()["MSGV1"]
    middle = coded("".join(DOMAIN[n] for n in one)) + parts()["EMCV_IRES"] + coded(two)
    with pytest.raises(CarseqError, match="no CAR reading frame"):
        read(tmp_path, vector.five + middle + vector.three)


@pytest.mark.parametrize("first", [False, True])
def test_the_start_codon_of_a_fluorescent_protein_is_no_signal_peptide(tmp_path, first):
    """EGFP's first residues are hydrophobic: its M had a row of its own as a signal peptide."""
    found = read(tmp_path, BEHIND if first else coded(f"{CAR}{DOMAIN['P2A']}M{DOMAIN['EGFP']}"))
    assert [r.name for r in found.domain_rows if r.kind == "signal peptide"] == [
        "CD8A signal peptide"
    ]


OF_MRNA_1273 = "GGGAAATAAGAGAGAAAAGAAGAGTAAGAAGAAATATAAGAG"
#: As BNT162b2 has HBA1's.
OF_BNT162B2 = "GAGAATAAACTAGTATTCTTCTGGTCCCCACAGACTCAGAGAGAACCC"


@pytest.mark.parametrize("five", [OF_MRNA_1273, OF_BNT162B2, "GGG" + parts()["HBB_5UTR"]])
@pytest.mark.parametrize("three", ["HBA1_3UTR", "HBB_3UTR", "MTRNR1"])
@pytest.mark.parametrize("before", ["", spacer(90) + "TAATACGACTCACTATA"], ids=["mRNA", "template"])
def test_an_mrna_whose_tail_an_enzyme_adds_has_its_ends(tmp_path, before, five, three):
    """Its sequence, or template, has no tail: it was said to lack MSGV1's ends, and to lose 86 of 100 5' UMIs."""
    mrna = five + "GCCACC" + coded(CAR) + spacer(12) + parts()[three]
    found = read(tmp_path, before + mrna + (spacer(90) if before else "CTAGC"))
    assert (found.five.known, found.three.known) == (True, True)
    assert found.sequence.startswith(mrna)
    assert len(found.sequence) <= len(mrna) + 5
    codes = {f["code"]: f for f in lint(found)}
    assert not {"no_leader", "no_3p_end", "orf_only"} & set(codes)
    assert not any("MSGV1" in f["message"] for f in codes.values())


@pytest.mark.parametrize("gap", [0, 1, 2])
@pytest.mark.parametrize("first", [True, False], ids=["longer first", "longer last"])
def test_two_cars_of_one_mrna_behind_an_ires_are_told(tmp_path, gap, first):
    """As the refusal of such a map proposes: one was a second ORF, or its CD3zeta a frameshift of the other's."""
    other = CAR.replace(SCFV, f"{SCFV}GGGGSGGGGSGGGGS{SCFV[125:]}")
    one, two = (other, CAR) if first else (CAR, other)
    vector = backbones()["MSGV1"]
    frames = coded(one) + spacer(20) + parts()["EMCV_IRES"] + spacer(gap) + coded(two)
    (tmp_path / "v.fa").write_text(f">v\n{vector.five}{frames}{vector.three}\n")
    found = load_construct(tmp_path / "v.fa", form="transcript")
    told = {f["code"]: f for f in lint(found)}
    assert "two CARs on one mRNA" in told["two_cars"]["message"]
    assert {f["level"] for f in told.values()} <= {"info", "warn"}


def test_a_second_cars_cd3zeta_in_another_frame_is_no_frameshift(tmp_path):
    """Of two CARs with a promoter each, read as one transcript, the second's CD3zeta looked like the mouse's."""
    one = EF1A + spacer(20) + coded(f"{CAR}GS") + parts()["bGH_polyA"]
    for gap in (0, 1, 2):
        two = parts()["hPGK_promoter"] + parts()["hPGK_leader"] + spacer(gap) + coded(CAR)
        (tmp_path / "v.fa").write_text(f">v\n{one}{two}{parts()['SV40_polyA']}\n")
        found = load_construct(tmp_path / "v.fa", form="transcript")
        assert not {"frameshift", "premature_stop"} & {f["code"] for f in lint(found)}


@pytest.mark.parametrize("name", ["MSGV1", "MP71", "SFG", "pHR-SFFV"])
@pytest.mark.parametrize("cut", [30, 60, 150])
def test_a_file_that_ends_within_the_3_ltr_keeps_the_u3_that_it_has(tmp_path, name, cut):
    """Without R the mRNA was ended at an AATAAA before U3, and the U3 that the file has was thrown away."""
    vector = backbones()[name]
    lead = parts()["SFFV_promoter"] if name == "pHR-SFFV" else ""
    bases = lead + vector.five + coded(CAR) + vector.three[:-cut]
    found = read(tmp_path, bases)
    assert found.sequence.endswith(bases[-300:])
    told = {f["code"]: f for f in lint(found)}
    assert told["no_3p_end"]["umis_lost_3p"] <= 10
    assert "three_prime_guess" not in told


LENTI = backbones()["pWPXLD-EF1a"]


@pytest.mark.parametrize("n", [16, 20, 24])
def test_an_mrna_cut_within_its_r_is_no_circle(tmp_path, n):
    """Bases of its beginning passed for R's end: the mRNA began 60 nt before the frame, and lost its spliced form."""
    mrna = LENTI.five + coded(CAR) + LENTI.three
    found = read(tmp_path, mrna[:-n])
    assert found.sequence == mrna[:-n]
    assert [t.name for t in found.transcripts] == ["unspliced", "spliced"]


@pytest.mark.parametrize("n", [6, 12])
def test_an_mrna_that_begins_within_a_promoters_exon_has_its_spliced_form(tmp_path, n):
    found = read(tmp_path, LENTI.five[n:] + coded(CAR) + LENTI.three)
    assert [t.name for t in found.transcripts] == ["unspliced", "spliced"]


@pytest.mark.parametrize("part", ["R6K_ori", "KanR_gene"])
@pytest.mark.parametrize("at", [-200, len(CAR) * 3 + 10])
def test_a_plasmid_is_read_across_its_origin_by_any_bacterial_part(tmp_path, part, at):
    """FASTA cut open between the CAR and an end of its mRNA: R6K and kanamycin plasmids were read as lines."""
    mrna = LENTI.five[:40] + spacer(300) + coded(CAR) + parts()["bGH_polyA"]
    ring = spacer(80) + parts()["EF1A_promoter"] + mrna + spacer(90) + parts()[part] + spacer(70)
    origin = ring.index(coded(CAR)) + at
    found = read(tmp_path, ring[origin:] + ring[:origin])
    assert found.five.known
    assert found.three.known
    assert found.sequence.startswith(mrna[:-200])


def broken(dna: str, at: int) -> str:
    """Return DNA without its base at ``at``, from the end if negative."""
    return dna[:at] + dna[at:][1:]


EGFRT = DOMAIN["CSF2RA signal peptide"] + DOMAIN["EGFRt"]


@pytest.mark.parametrize("n", [11, 14, 17])
def test_a_base_lost_in_the_last_residues_is_told_once(tmp_path, n):
    """Of CD3zeta as an error, alone; of a marker behind the CAR as a warning."""
    vector = backbones()["MSGV1"]
    codes = [
        [
            (f["level"], f["code"])
            for f in lint(found, "3p")
            if f["code"] in ("frameshift", "no_stop")
        ]
        for protein in (CAR, f"{CAR}GSG{DOMAIN['T2A']}{EGFRT}")
        for found in [read(tmp_path, vector.five + broken(coded(protein), -3 - n) + vector.three)]
    ]
    assert codes == [[("error", "frameshift")], [("warn", "frameshift")]]


@pytest.mark.parametrize("at", [250, 600, -14])
def test_a_base_lost_in_a_marker_behind_an_ires_is_told(tmp_path, at):
    vector = backbones()["MSGV1"]
    middle = coded(CAR) + parts()["EMCV_IRES"] + "CC" + broken(coded(EGFRT), at)
    found = lint(read(tmp_path, vector.five + middle + vector.three), "3p")
    told = [(f["level"], f["message"]) for f in found if f["code"] == "frameshift"]
    assert len(told) == 1
    assert told[0][0] == "warn"
    assert "EGFRt" in told[0][1]


@pytest.mark.parametrize("by_ires", [False, True])
def test_a_marker_whose_leader_lost_a_base_is_told(tmp_path, by_ires):
    vector = backbones()["MSGV1"]
    marker = broken(coded(EGFRT + ("" if by_ires else f"GSG{DOMAIN['T2A']}{CAR}")), 32)
    middle = coded(CAR) + parts()["EMCV_IRES"] + "CC" + marker if by_ires else marker
    found = lint(read(tmp_path, vector.five + middle + vector.three), "3p")
    told = [f["message"] for f in found if f["code"] == "no_signal_peptide"]
    assert len(told) == 1
    assert told[0].startswith(f"EGFRt {'behind' if by_ires else 'before'} the CAR")


def test_a_base_lost_between_the_two_parts_of_a_switch_is_told(tmp_path):
    """A run of iCasp9 was lost with it, and the switch passed for a protein of its own."""
    vector = backbones()["MSGV1"]
    switch = f"M{DOMAIN['FKBP12']}SGGGS{DOMAIN['iCasp9']}GSG{DOMAIN['T2A']}"
    found = read(tmp_path, vector.five + broken(coded(switch + CAR), 365) + vector.three)
    assert "frameshift" in {f["code"] for f in lint(found, "3p") if f["level"] == "error"}


def test_myd88_behind_the_car_is_no_binder(tmp_path):
    switch = DOMAIN["MyD88"] + DOMAIN["CD40"] + DOMAIN["FKBP12"]
    found = read(tmp_path, LENTI.five + coded(f"{CAR}GSG{DOMAIN['P2A']}{switch}") + LENTI.three)
    assert [r.name for r in found.domain_rows if r.kind == "binder"] == ["VL", "VH"]


SWITCH = f"M{DOMAIN['FKBP12']}SGGGS{DOMAIN['iCasp9']}"


@pytest.mark.parametrize(
    ("partner", "at"),
    [(SWITCH, 600), (SWITCH, 1070), (DOMAIN["CD8A signal peptide"] + DOMAIN["RQR8"], 240)],
)
def test_a_partner_that_lost_a_base_before_the_car_makes_no_exon(tmp_path, partner, at):
    """Its last residues before the 2A peptide passed for a gene's exon: a donor, whose mRNA lacked 2 kb, unsaid."""
    frame = broken(coded(f"{partner}GSG{DOMAIN['T2A']}{CAR}"), at)
    found = read(tmp_path, LENTI.five + frame + LENTI.three)
    assert found.sequence == LENTI.five + frame + LENTI.three
    assert "knock_in" not in dict(found.notes)
    assert "error" in {f["level"] for f in lint(found, "3p")}
