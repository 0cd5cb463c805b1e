"""construct: binders, hinges, signalling domains and partners are named; what is not a CAR is told from one."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from Bio.Data import CodonTable

from carseq.construct import lint, load_construct
from carseq.construct.antibody import variable_domains
from carseq.construct.backbones import backbones
from carseq.construct.coding import translate
from carseq.construct.genes import GENES, human_parts, is_annotated
from carseq.construct.parts import known, sequences
from carseq.construct.protein import hydrophobic_span, protein_domains
from carseq.errors import CarseqError

P = {d.name: d.sequence for d in known() if d.alphabet == "protein"}
FMC63 = translate(sequences("orfs.fa")["axi-cel"])[22:267]
VHH = (
    "QVQLVESGGGLVQPGGSLRLSCAASGRTFSSYAMGWFRQAPGKEREFVAAISWSGGSTYYADSVKGRFTISRDNAKNTVYLQMNSLKPEDTAVYYC"
    "AADRSYYGSYYYTRSDYDYWGQGTQVTVSS"
)
#: A human VH without a light chain (FHVH33): by its residues no VHH. Its framework 4 lacks the tryptophan.
HUMAN_VH = (
    "EVQLLESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSSISGSGDYIYYADSVKGRFTISRDISKNTLYLQMNSLRAEDTAVYYC"
    "AKEGTGANSSLADYRGQGTLVTVSS"
)
LAMBDA = (
    "QSVLTQPPSVSGAPGQRVTISCTGSSSNIGAGYDVHWYQQLPGTAPKLLIYGNSNRPSGVPDRFSGSKSGTSASLAITGLQAEDEADYYCQSYDSS"
    "LSGSVFGGGTKLTVL"
)
DARPIN = (
    "DLGKKLLEAARAGQDDEVRILMANGADVNAEDTYGDTPLHLAARVGHLEIVEVLLKNGADVNALDFSGSTPLHLAAKRGHLEIVEVLLKYGADVNA"
    "DDTIGSTPLHLAADTGHLEIVEVLLKYGADVNAQDKFGKTAFDISIDNGNEDLAEILQ"
)
BBZ = ("CD8A hinge", "CD8A transmembrane", "4-1BB", "CD3zeta")
#: Name, pieces (names of known domains, or residues in lower case words of this file), the names expected.
CARS = {
    "NKG2D": (["CD8A signal peptide", "NKG2D ectodomain", *BBZ], None),
    "DARPin": (["CD8A signal peptide", DARPIN, *BBZ], ["CD8A signal peptide", "DARPin", *BBZ]),
    "chlorotoxin": (
        [
            *["CSF2RA signal peptide", "chlorotoxin", "IgG4 hinge", "IgG4 CH2", "IgG4 CH3"],
            *["CD28 transmembrane", "CD28", "CD3zeta"],
        ],
        None,
    ),
    "APRIL, third generation": (
        [
            *["CD28 signal peptide", "APRIL", "IgG1 hinge", "IgG1 CH2", "IgG1 CH3"],
            *["CD28 transmembrane", "CD28", "OX40", "CD3zeta", "P2A", "CD19t"],
        ],
        None,
    ),
    "BAFF and EGFRt": (
        ["Ig kappa signal peptide", "BAFF", *BBZ, "T2A", "CSF2RA signal peptide", "EGFRt"],
        None,
    ),
    "ICOS and NGFRt": (
        [
            *[
                "CSF2 signal peptide",
                FMC63,
                "CD8A hinge",
                "ICOS transmembrane",
                "ICOS",
                "CD3zeta",
                "E2A",
            ],
            *["NGFR signal peptide", "NGFRt"],
        ],
        [
            *[
                "CSF2 signal peptide",
                "VL",
                "Whitlow linker",
                "VH",
                "CD8A hinge",
                "ICOS transmembrane",
                "ICOS",
            ],
            *["CD3zeta", "E2A", "NGFR signal peptide", "NGFRt"],
        ],
    ),
    "2B4 and a VHH": (
        ["CD33 signal peptide", VHH, "CD8A hinge", "CD8A transmembrane", "2B4", "CD3zeta"],
        ["CD33 signal peptide", "VHH", "CD8A hinge", "CD8A transmembrane", "2B4", "CD3zeta"],
    ),
    "human heavy chain alone": (
        ["CD8A signal peptide", HUMAN_VH, *BBZ],
        ["CD8A signal peptide", "VH", *BBZ],
    ),
    "tandem with lambda": (
        ["CD8A signal peptide", LAMBDA, "G4S linker", FMC63[125:], "GGGGS", FMC63, *BBZ],
        [
            *[
                "CD8A signal peptide",
                "VL",
                "G4S linker",
                "VH",
                "GS linker",
                "VL",
                "Whitlow linker",
                "VH",
            ],
            *BBZ,
        ],
    ),
    "iCasp9 before the CAR": (
        [
            *[
                "FKBP12",
                "iCasp9",
                "T2A",
                "IGHV1 signal peptide",
                FMC63,
                "IgG4 hinge",
                "CD28 transmembrane",
            ],
            *["CD27", "CD3zeta"],
        ],
        [
            *[
                "FKBP12",
                "iCasp9",
                "T2A",
                "IGHV1 signal peptide",
                "VL",
                "Whitlow linker",
                "VH",
                "IgG4 hinge",
            ],
            *["CD28 transmembrane", "CD27", "CD3zeta"],
        ],
    ),
    "RQR8 before the CAR": (
        ["TRBV signal peptide", "RQR8", "E2A", "CD8A signal peptide", FMC63, *BBZ],
        [
            *[
                "TRBV signal peptide",
                "RQR8",
                "E2A",
                "CD8A signal peptide",
                "VL",
                "Whitlow linker",
                "VH",
            ],
            *BBZ,
        ],
    ),
    "TRuC": (
        [
            "CSF2RA signal peptide",
            FMC63,
            "GGGGSGGGGSGGGGS",
            "CD3E ectodomain",
            "CD3E transmembrane",
            "CD3E",
        ],
        [
            *[
                "CSF2RA signal peptide",
                "VL",
                "Whitlow linker",
                "VH",
                "G4S linker",
                "CD3E ectodomain",
            ],
            *["CD3E transmembrane", "CD3E"],
        ],
    ),
    "all of the mouse": (
        [
            *["mouse CD8A signal peptide", FMC63, "mouse CD8A hinge", "mouse CD8A transmembrane"],
            *["mouse 4-1BB", "mouse CD3zeta", "T2A", "Thy1.1"],
        ],
        [
            *["mouse CD8A signal peptide", "VL", "Whitlow linker", "VH", "mouse CD8A hinge"],
            *["mouse CD8A transmembrane", "mouse 4-1BB", "mouse CD3zeta", "T2A", "Thy1.1"],
        ],
    ),
}
OTHERS = {
    "CD247": (["CD247 start", "EAQSFGLLDPK", "CD3zeta transmembrane", "CD3zeta"], "CD247"),
    "HLA fusion": (
        [
            "MAVMAPRTLLLLLSGALALTQTWA",
            "HLA class I heavy chain",
            "CD28 transmembrane",
            "CD28",
            "CD3zeta",
        ],
        "HLA",
    ),
    "CD3E": (["CD3E signal peptide", "CD3E ectodomain", "CD3E transmembrane", "CD3E"], "CD3E"),
    "CD3G": (
        ["CD8A signal peptide", "CD3G ectodomain", "CD3G transmembrane", "CD3G"],
        "CD3G",
    ),
    "scFv": (["CD8A signal peptide", FMC63], "antibody fragment alone"),
    "BiTE": (["CD8A signal peptide", FMC63, "GGGGS", FMC63, "HHHHHH"], "antibody fragment alone"),
    "antibody": (
        ["IGHV3 signal peptide", FMC63[125:], "antibody CH1", "IgG1 hinge", "IgG1 CH2", "IgG1 CH3"],
        "antibody",
    ),
    "TCR": (
        ["TRBV signal peptide", LAMBDA, "TCR alpha constant", "P2A", "TCR beta constant"],
        "T cell receptor",
    ),
    "CD19t": (["CD19 signal peptide", "CD19t"], "CD19t"),
    "luciferase": (["firefly luciferase"], "luciferase"),
    "VSV-G": (["VSV-G (packaging plasmid)"], "VSV-G"),
    "gag": (["HIV-1 gag (packaging plasmid)", "HIV-1 pol (packaging plasmid)"], "HIV-1 gag"),
}


def protein_of(pieces: list[str]) -> str:
    protein = "".join(P.get(piece, piece) for piece in pieces)
    return protein if protein.startswith("M") else f"M{protein}"


def coded(protein: str, seed: int = 3) -> str:
    """Return a frame for a protein with codons drawn at random, as codon optimisation would."""
    rng = random.Random(seed)
    codons: dict[str, list[str]] = {}
    for codon, residue in CodonTable.unambiguous_dna_by_id[1].forward_table.items():
        codons.setdefault(residue, []).append(codon)
    return "".join(rng.choice(codons[a]) for a in protein) + "TAA"


def in_a_vector(tmp_path, protein: str, vector: str = "MSGV1"):
    ends = backbones()[vector]
    path = tmp_path / "v.fa"
    path.write_text(f">v\n{ends.five}{coded(protein)}{ends.three}\n")
    return path


@pytest.mark.parametrize("name", CARS)
def test_the_domains_of_a_car_are_named(name):
    pieces, names = CARS[name]
    protein = protein_of(pieces)
    found = protein_domains(protein)
    assert [s.name for s in found if s.name != "unnamed"] == (names or pieces)
    # Every residue lies in one row, and in one alone.
    assert found[0].start == 0
    assert found[-1].end == len(protein)
    assert all(a.end == b.start for a, b in pairwise(found))


@pytest.mark.parametrize("gene", ["CD3G", "CD3D"])
def test_a_truc_on_another_chain_names_its_ectodomain(gene):
    """It was a spacer, so that nothing told that every T cell's CD3G may have the same bases."""
    inner = [f"{gene} ectodomain", f"{gene} transmembrane", gene]
    found = protein_domains(protein_of(["CD8A signal peptide", FMC63, "GGGGSGGGGSGGGGS", *inner]))
    assert [s.name for s in found][-3:] == inner
    assert {GENES[name] for name in inner} == {gene}


@pytest.mark.parametrize(
    "name", ["DARPin", "TRuC", "iCasp9 before the CAR", "2B4 and a VHH", "chlorotoxin"]
)
def test_such_a_car_is_taken_without_an_alarm(tmp_path, name):
    protein = protein_of(CARS[name][0])
    found = load_construct(in_a_vector(tmp_path, protein))
    assert found.protein == protein
    assert not {f["code"] for f in lint(found) if f["level"] != "info"}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_car_is_refused_by_name(tmp_path, name):
    pieces, word = OTHERS[name]
    path = in_a_vector(tmp_path, protein_of(pieces), "pHR-SFFV")
    with pytest.raises(CarseqError, match="no CAR") as refusal:
        load_construct(path)
    assert word in refusal.value.cause


def test_a_form_overrides_the_refusal_and_the_lint_says_so(tmp_path):
    path = in_a_vector(tmp_path, protein_of(OTHERS["scFv"][0]))
    found = load_construct(path, form="transcript")
    assert found.orf == (1441, 1441 + 3 * len(found.protein) + 3)
    codes = {f["code"]: f["level"] for f in lint(found)}
    assert codes["not_a_car"] == "error"


@pytest.mark.parametrize(
    ("without", "code", "level"),
    [
        ("CD8A hinge", "no_hinge", "info"),
        ("CD8A transmembrane", "no_transmembrane", "error"),
        ("CD3zeta", "no_cd3zeta", "info"),
        (FMC63, "no_binder", "warn"),
    ],
)
def test_a_missing_domain_is_told_by_its_name(tmp_path, without, code, level):
    pieces = [p for p in ["CD8A signal peptide", FMC63, *BBZ] if p != without]
    found = load_construct(in_a_vector(tmp_path, protein_of(pieces)))
    told = {f["code"]: f for f in lint(found) if f["code"].startswith("no_")}
    assert set(told) == {code}
    assert told[code]["level"] == level


@pytest.mark.parametrize(
    "motif", ["WGAGTTVTVSS", "WGTGTTVTVSS", "WGQGTTVTASS", "WGRGTLVTVSS", "WGQGTTVTVSP"]
)
def test_variants_of_framework_4_are_known(motif):
    heavy = FMC63[125:].replace("WGQGTSVTVSS", motif)
    (found,) = variable_domains(f"MALPVTALLLPLALLLHAARP{heavy}TTTPAPRPPT", 21)
    assert (found.name, found.start, found.end) == ("VH", 21, 21 + len(heavy))


@pytest.mark.parametrize(
    "motif",
    [
        "SGGGTKLEIK",
        "FGGGTKLTVL",
        "FGTGTKVTVL",
        "FGQGVKVEIK",
        "FGAGTKLELK",
        "FGGGTEVVVK",
        "FGEGTELTVV",
    ],
)
def test_variants_of_the_light_chain_are_known(motif):
    light = FMC63[:107].replace("FGGGTKLEIT", motif)
    (found,) = variable_domains(f"{light}TTTPAPRPPT")
    assert (found.name, found.start, found.end) == ("VL", 0, 107)


def test_random_proteins_hold_no_variable_domain():
    rng = random.Random(1)
    letters = "ACDEFGHIKLMNPQRSTVWY"
    found = [
        d
        for _ in range(60)
        for d in variable_domains("".join(rng.choice(letters) for _ in range(500)))
    ]
    assert len(found) <= 1


def test_a_membrane_span_is_predicted_where_it_is():
    protein = "MKDE" * 20 + P["CD28 transmembrane"] + "RSKE" * 20
    start, end = hydrophobic_span(protein, 0, len(protein))
    assert start >= 76
    assert end <= 112
    assert end - start >= 19


INHIBITORY = {
    "PD-1": ["PD-1 transmembrane", "PD-1 tail"],
    "CTLA-4": ["CD8A transmembrane", "CTLA-4 tail"],
    "LIR-1": ["LIR-1 transmembrane", "LIR-1 tail"],
}


@pytest.mark.parametrize("name", INHIBITORY)
def test_an_inhibitory_car_is_no_fault(tmp_path, name):
    """An iCAR (NOT gate) has a tail that inhibits in the place of CD3zeta: no_cd3zeta was an error."""
    pieces = ["CD8A signal peptide", FMC63, "CD8A hinge", *INHIBITORY[name]]
    found = load_construct(in_a_vector(tmp_path, protein_of(pieces)))
    assert f"{name} tail" in set(found.domains["name"])
    told = {f["code"]: f for f in lint(found)}
    assert {f["level"] for f in told.values()} == {"info"}
    assert f"inhibits through {name} tail" in told["no_cd3zeta"]["message"]


def test_the_gene_of_an_inhibitory_receptor_is_no_car(tmp_path):
    for ectodomain in ("PD-1 ectodomain", "NMLKDVSTWQKHEAPVCSRTLNWYKHDESTPVCL" * 3):
        pieces = ["IGHV1 signal peptide", ectodomain, "PD-1 transmembrane", "PD-1 tail"]
        with pytest.raises(CarseqError, match="no CAR"):
            load_construct(in_a_vector(tmp_path, protein_of(pieces), "pHR-SFFV"))


@pytest.mark.parametrize(
    "pieces",
    [
        [FMC63, "TCR alpha constant"],
        [
            *[FMC63[125:], "TCR beta constant", "P2A", "CD8A signal peptide", FMC63[:107]],
            "TCR alpha constant",
        ],
        [
            *[FMC63[125:], "mouse TCR beta constant", "P2A", "CD8A signal peptide", FMC63[:107]],
            "mouse TCR alpha constant",
        ],
    ],
)
def test_an_antibody_on_tcr_constants_is_a_receptor_of_the_kind(tmp_path, pieces):
    """STAR and HIT receptors were refused as T cell receptors, or as an antibody fragment alone."""
    found = load_construct(in_a_vector(tmp_path, protein_of(["CD8A signal peptide", *pieces])))
    told = {f["code"]: f for f in lint(found)}
    assert {f["level"] for f in told.values()} == {"info"}
    assert "the CD3 chains beside its TCR" in told["no_cd3zeta"]["message"]


@pytest.mark.parametrize("kept", [(0, 50), (0, 12, 75, 112), (60, 112), (30, 80)])
def test_a_shortened_cd3zeta_is_named(tmp_path, kept):
    """One ITAM alone was unnamed, and without its first residues the CAR was said to signal through CD28."""
    zeta = P["CD3zeta"]
    short = "".join(zeta[a:b] for a, b in zip(kept[::2], kept[1::2], strict=True))
    pieces = ["CD8A signal peptide", FMC63, "CD28 hinge", "CD28 transmembrane", "CD28", short]
    found = load_construct(in_a_vector(tmp_path, protein_of(pieces)))
    names = list(found.domains["name"])
    assert "CD3zeta" in names
    assert "unnamed" not in names
    told = {f["code"]: f for f in lint(found)}
    assert "no_cd3zeta" not in told
    assert f"{len(short)} of its 112 residues" in told["truncated_cd3zeta"]["message"]


IL15_LEADER = "MRISKPHLRSISIQCYLCLLLNSHFLTEAGIHVFILGCFSAGLPKTEA"
IL7_LEADER = "MFHVSFRYIFGLPPLILVLLPVASS"


@pytest.mark.parametrize(("name", "leader"), [("IL15", IL15_LEADER), ("IL7", IL7_LEADER)])
def test_a_part_of_a_human_gene_has_its_leader(tmp_path, name, leader):
    """Of IL15 with its own leader the gene's reads across the two were told as the CAR's alone."""
    pieces = ["CD8A signal peptide", FMC63, *BBZ, "P2A", leader, name]
    found = load_construct(in_a_vector(tmp_path, protein_of(pieces)))
    part = next(part for part in human_parts(found) if part.gene == name)
    assert part.end - part.start == 3 * (len(leader) + len(P[name]))


def test_a_truncated_marker_may_have_more_of_its_gene(tmp_path):
    """EGFRt with the nine residues behind its membrane part: EGFR's reads across its end were the CAR's alone."""
    pieces = [
        "CD8A signal peptide",
        FMC63,
        *BBZ,
        "P2A",
        "CSF2RA signal peptide",
        "EGFRt",
        "RRRHIVRKR",
    ]
    found = load_construct(in_a_vector(tmp_path, protein_of(pieces)))
    part = next(part for part in human_parts(found) if part.gene == "EGFR")
    assert part.end == found.orf[1] - 3
    assert part.end - part.start == 3 * (len(P["EGFRt"]) + 9)


def test_families_of_genes_are_known_by_their_members():
    """An annotation without antibodies' V segments: a binder with their codons takes B cells' reads, unsaid."""
    assert is_annotated("IGHV", {"IGHV3-23", "CD3E"})
    assert not is_annotated("IGHV", {"IGHG1", "IGKV1-39", "CD3E"})
    assert is_annotated("IGHV3", {"IGHV3-7"})
    assert is_annotated("TLE5", {"AES"})
    assert not is_annotated("EGFR", {"EGFR-AS1"})


@pytest.mark.parametrize(
    ("segment", "family"),
    [
        ("AGGGTCACCATGACCAGGGACACGTCCATCAGCACAGCCTACATGGAGCTGAGCAGGCTGAGATCTGACGACACGGCCGTGTATTACTGTGCG", "IGHV"),
        ("AGGCTCACCATCACCAAGGACACCTCCAAAAACCAGGTGGTCCTTACAATGACCAACATGGACCCTGTGGACACAGCCACATATTACTGTGCACAC", "IGHV"),
        ("AGATTCACCATCTCAAGAGATGATTCAAAAAACACGCTGTATCTGCAAATGAACAGCCTGAAAACCGAGGACACAGCCGTGTATTACTGTACC", "IGHV"),
        ("CAGGTCACCATCTCAGCCGACAAGTCCATCAGCACCGCCTACCTGCAGTGGAGCAGCCTGAAGGCCTCGGACACCGCCATGTATTACTGTGCG", "IGHV"),
        ("GGGGTCCCTGACAGGTTCAGTGGCAGTGGATCAGGCACAGATTTTACACTGAAAATCAGCAGAGTGGAGGCTGAGGATGTTGGGGTTTATTACTGC", "IGKV"),
        ("GGGGTCCCTGACCGATTCAGTGGCAGCGGGTCTGGGACAGATTTCACTCTCACCATCAGCAGCCTGCAGGCTGAAGATGTGGCAGTTTATTACTGT", "IGKV"),
        ("GGGATCCCTGAGCGATTCTCTGGCTCCAACTCTGGGAACACGGCCACCCTGACCATCAGCAGGGTCGAAGCCGGGGATGAGGCCGACTATTACTGT", "IGLV"),
        ("GGGATCCCAGACCGATTCTCTGGCTTCAGCTCAGGAAACACAGCTTCCTTGACCATCACTGGGGCTCAGGCGGAAGATGAGGCTGACTATTACTGT", "IGLV"),
    ],
    ids=["1-2", "2-5", "3-15", "5-51", "2-28", "4-1", "3-21", "3-19"],
)  # fmt: skip
def test_a_binder_with_the_codons_of_any_family_of_v_segments_is_known(tmp_path, segment, family):
    """Reads of B and plasma cells of the families IGHV2, IGHV5, IGKV2, IGKV4, IGLV3 and others were sure."""
    before, behind = {
        "IGHV": ("EVQLVESGGGLVQPGGSLRLSCAASGFTFSSYAMSWVRQAPGKGLEWVSAISGSGGSTYYADSVKG", "RGGYDFDYWGQGTLVTVSS"),
        "IGKV": ("DIQMTQSPSSLSASVGDRVTITCRASQSISSYLNWYQQKPGKAPKLLIYAASSLQS", "QQSYSTPLTFGGGTKVEIK"),
        "IGLV": ("SYELTQPPSVSVSPGQTASITCSGDKLGDKYACWYQQKPGQSPVLVIYQDSKRPS", "QAWDSSTAVFGGGTKLTVL"),
    }[family]  # fmt: skip
    leader, inner = coded(P["CD8A signal peptide"]), coded(protein_of(list(BBZ)))
    frame = leader[:-3] + coded(before)[:-3] + segment + coded(behind)[:-3] + inner
    ends = backbones()["MSGV1"]
    (tmp_path / "v.fa").write_text(f">v\n{ends.five}{frame}{ends.three}\n")
    found = load_construct(tmp_path / "v.fa")
    assert family in {part.gene for part in human_parts(found)}
    # Other codons for the same residues are no gene's.
    other = coded(translate(frame).rstrip("*"), seed=9)
    (tmp_path / "v.fa").write_text(f">v\n{ends.five}{other}{ends.three}\n")
    assert family not in {part.gene for part in human_parts(load_construct(tmp_path / "v.fa"))}


PARTNERS = ("dnTGFBR2", "HER2t", "CD20", "IL7", "CCL19", "IL12B", "IL12A", "IL21", "IL15RA")


@pytest.mark.parametrize("name", PARTNERS)
def test_partners_of_a_car_are_named(tmp_path, name):
    """They were a second ORF, so that nothing told that the human gene may have the same bases."""
    pieces = ["CD8A signal peptide", FMC63, *BBZ, "P2A", "CD8A signal peptide", name]
    found = load_construct(in_a_vector(tmp_path, protein_of(pieces)))
    assert list(found.domains["name"])[-3] == name
    assert GENES[name] in {part.gene for part in human_parts(found)}


@pytest.mark.parametrize("at", [400, 830, 1000])
def test_a_frameshift_brings_no_faults_of_its_own_making(tmp_path, at):
    """One base lost in the scFv or hinge: "no binder" and "no transmembrane domain" stood beside the frameshift."""
    ends, frame = backbones()["MSGV1"], coded(protein_of(["CD8A signal peptide", FMC63, *BBZ]))
    path = tmp_path / "v.fa"
    for text, code in (
        (frame[:at] + frame[at + 1 :], "frameshift"),
        (frame[: at - at % 3] + "TAA" + frame[at - at % 3 + 3 :], "premature_stop"),
    ):
        path.write_text(f">v\n{ends.five}{text}{ends.three}\n")
        told = {f["code"] for f in lint(load_construct(path)) if f["level"] != "info"}
        assert told == {code}


def test_unknown_bases_in_cd3zeta_cut_nothing_off(tmp_path):
    """ "CD3zeta is cut off: 112 of its 112 residues are in the reading frame" stood beside the ambiguous bases."""
    ends, frame = backbones()["MSGV1"], coded(protein_of(["CD8A signal peptide", FMC63, *BBZ]))
    path = tmp_path / "v.fa"
    path.write_text(f">v\n{ends.five}{frame[:1300]}{'N' * 60}{frame[1360:]}{ends.three}\n")
    found = load_construct(path)
    told = {f["code"] for f in lint(found) if f["level"] != "info"}
    assert told == {"ambiguous"}
    assert "CD3zeta" in set(found.domains["name"])


def test_an_unknown_inner_part_may_signal(tmp_path):
    """A CAR that signals through ZAP-70 or LAT was an error, as one with nothing behind its transmembrane part is."""
    inner = (
        "DPEELKDKKLFLKRDNLLIADIELGCGNFGSVRQGVYRMRKKQIDVAIKVLKQGTEKADTEEMMREAQIMHQLDNPYIVRLIGVCQAEAL"
    )
    start = ["CD8A signal peptide", FMC63, "CD8A hinge", "CD8A transmembrane"]
    for behind, level in ((inner, "warn"), ("KRRK", "error")):
        found = load_construct(in_a_vector(tmp_path, protein_of([*start, behind])))
        told = {f["code"]: f for f in lint(found)}
        assert told["no_cd3zeta"]["level"] == level
        assert ("90 residues" in told["no_cd3zeta"]["message"]) == (level == "warn")
