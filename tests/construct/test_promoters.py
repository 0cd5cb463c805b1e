"""construct: lentiviral promoters and their introns are known by sequence, however short the leader."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from carseq.construct import lint, load_construct
from carseq.construct.coding import reverse_complement
from carseq.construct.model import End
from carseq.construct.outputs import genbank
from carseq.construct.parts import parts, sequences

P = parts()
FRAME = sequences("orfs.fa")["ide-cel"]
#: Promoter, what stands behind its start of transcription in the vector, name, and the intron in it (from, to).
PROMOTERS = {
    "MSCV U3": (P["MSCV_U3"], "", None),
    "MND": (P["MND_promoter"], "", None),
    "SFFV": (P["SFFV_promoter"], "GCGCCAGTCCTCCGACAGACTGAGTCGCCCGGG", None),
    "CMV": (P["CMV_promoter"], "", None),
    # Of inducible promoters: TetO, UAS or NFAT sites stand before them.
    "minimal CMV": ("TCCCTATCAGTGATAGAGA" * 7 + P["CMV_minimal"], "TCAGATCGCC", None),
    "minimal TATA": ("GGAGGAAAAACTGTTTCATACAGAAGGCGT" * 4 + P["TATA_minimal"], "CTTGG", None),
    "IL2": ("GGAGGAAAAACTGTTTCATACAGAAGGCGT" * 4 + P["IL2_promoter"], P["IL2_leader"], None),
    "EF1alpha": (P["EF1A_promoter"], P["EF1A_exon1"], None),
    "PGK (human)": (P["hPGK_promoter"], P["hPGK_leader"], None),
    "PGK (mouse)": (P["mPGK_promoter"], P["mPGK_leader"], None),
    "JeT": (P["UbC_promoter"], P["JeT_leader"], None),
    "UbC": (
        P["UbC_promoter"],
        P["UbC_exon1"] + "GTGAGTAGCGGGCTGC" + "TGACCTTGCA" * 60 + P["UbC_intron_end"],
        (63, 63 + 16 + 600 + len(P["UbC_intron_end"]) - 2),
    ),
    "CAG": (
        P["CAG_promoter"],
        P["CAG_exon1"] + "GTGAGCGGGCGGGACG" + "TGACCTTGCA" * 60 + P["CAG_intron_end"],
        (90, 90 + 16 + 600 + len(P["CAG_intron_end"]) - 15),
    ),
}


def random_bases(n: int, seed: int) -> str:
    rng = random.Random(seed)
    return "".join(rng.choice("ACGT") for _ in range(n))


@pytest.mark.parametrize("kozak", ["GCCACC", "ACTAGTGGATCCGCCACC"])
@pytest.mark.parametrize("name", PROMOTERS)
def test_the_mrna_begins_at_the_promoters_start(tmp_path, name, kozak):
    promoter, leader, intron = PROMOTERS[name]
    ltr = P["HIV1_dU3"] + P["HIV1_R"] + P["HIV1_U5"]
    text = (
        ltr + random_bases(700, 3) + promoter + leader + kozak + FRAME + random_bases(50, 4) + ltr
    )
    path = tmp_path / "v.fa"
    path.write_text(f">v\n{text}\n")
    found = load_construct(path)
    assert found.five.what == f"{name} promoter"
    assert found.sequence.startswith(leader + kozak + FRAME)
    if intron is None:
        assert len(found.transcripts) == 1
    else:
        assert found.transcripts[1].blocks[0][1] == intron[0]
        assert found.transcripts[1].blocks[1][0] == intron[1]
    # A self-inactivating vector is never said to have a gamma-retroviral mRNA, nor its short leader to be missing.
    told = {f["code"]: f["message"] for f in lint(found, "3p")}
    assert not {"no_leader", "five_prime_guess", "missing_start"} & set(told)
    assert not any("MoMuLV" in message for message in told.values())


@pytest.mark.parametrize(
    ("exon", "intron"),
    [
        ("HTLV1_exon1", ("GTAAGTTTAAAGC", "HTLV1_intron_end", 0)),
        ("CMV_exon1", ("GTAAGTACCGCC", "CMV_intron_end", 15)),
        ("CMV_exon1", ("GTAAGTACCGCC", "HBB_intron_end", 15)),
        ("", ("", "SV40_late_intron", 0)),
        ("", ("", "MVM_intron", 0)),
        # CBh's: the donor of chicken ACTB, the acceptor of MVM.
        ("CAG_exon1", ("GTGAGCGGGCGGGACGGCCC", "MVM_intron", 0)),
    ],
    ids=lambda x: x[1] if isinstance(x, tuple) else x,
)
def test_introns_behind_cmvs_promoter_and_in_composite_ones_are_known(tmp_path, exon, intron):
    """The sequence of a vector with EF1-HTLV (liso-cel's) or CMV's exon 1 and an intron, without annotation."""
    donor, last, kept = intron
    leader = random_bases(20, 7) + (P[exon] if exon else "CAGAAAGTTAACTG")
    whole = donor + (random_bases(90, 8).replace("AATAAA", "CCCCCC") if donor else "") + P[last]
    ltr = P["HIV1_dU3"] + P["HIV1_R"] + P["HIV1_U5"]
    bases = ltr + random_bases(700, 3) + P["CMV_promoter"] + leader + whole + "GCCACC" + FRAME
    path = tmp_path / "v.fa"
    path.write_text(f">v\n{bases + random_bases(50, 4) + ltr}\n")
    found = load_construct(path)
    join = len(leader) + len(whole) - kept
    assert found.transcripts[1].blocks == ((0, len(leader)), (join, len(found.sequence)))


@pytest.mark.parametrize(
    ("before", "behind", "kind"),
    [
        (0, 0, "intron"),
        (0, 0, "misc_feature"),
        # SnapGene's beta-globin intron has 56 bases of one exon and 58 of the other, MVM's five on either side.
        (40, 45, "intron"),
        (5, 5, "misc_feature"),
        (-1, -1, "intron"),
    ],
)
def test_an_intron_that_a_map_names_is_read_with_its_splice_sites(tmp_path, before, behind, kind):
    """An intron's feature with bases of the exons on either side was left out, without a word."""
    exon, rest = random_bases(60, 51).replace("GT", "GA"), random_bases(60, 52).replace("AG", "AC")
    intron = "GTAAGT" + random_bases(300, 53).replace("AG", "AC") + "TACTAACTTTCTTTCTCTTTCAG"
    promoter = P["CMV_promoter"]
    bases = (
        promoter + exon + intron + rest + "GCCACC" + FRAME + random_bases(30, 54) + P["bGH_polyA"]
    )
    first = len(promoter) + len(exon) - before
    last = len(promoter) + len(exon) + len(intron) + behind
    lines = "".join(f"{i + 1:>9} {bases[i : i + 60]}\n" for i in range(0, len(bases), 60))
    path = tmp_path / "v.gb"
    path.write_text(
        f"LOCUS       v {len(bases)} bp    DNA     linear SYN 01-JAN-2020\n"
        f"FEATURES             Location/Qualifiers\n     {kind:<16}{first + 1}..{last}\n"
        f'                     /label="globin_intron_2"\nORIGIN\n{lines}//\n'
    )
    found = load_construct(path)
    assert found.transcripts[1].blocks[0][1] == len(exon)
    assert found.transcripts[1].blocks[1][0] == len(exon) + len(intron)


def _annotated(folder, features, *, word="GENBANK"):
    """Read a map of a promoter and a 3' end that no sequence tells: 300 nt, promoter, frame, 3' end, 500 nt."""
    end = random_bases(180, 12) + "AATAAA" + random_bases(60, 13)
    bases = random_bases(300, 1) + random_bases(600, 2) + "GCCACC" + FRAME + end
    bases += random_bases(500, 3)
    places = {"PROMOTER": "301..900", "END": f"{907 + len(FRAME)}..{906 + len(FRAME) + len(end)}"}
    places |= {"KOZAK": "882..901", "STRETCH": f"{920 + len(FRAME)}..{935 + len(FRAME)}"}
    table = "".join(
        f"     {kind:<16}{places[at]}\n"
        + "".join(f"                     {q}\n" for q in qualifiers)
        for kind, at, qualifiers in features
    )
    lines = "".join(f"{i + 1:>9} {bases[i : i + 60]}\n" for i in range(0, len(bases), 60))
    path = folder / "v.gb"
    path.write_text(
        f"LOCUS       v {len(bases)} bp    DNA     linear SYN 01-JAN-2020\n"
        f"FEATURES             Location/Qualifiers\n{table}ORIGIN\n{lines}//\n"
    )
    return load_construct(path)


@pytest.mark.parametrize(
    ("promoter", "end"),
    [
        (("promoter", ['/label="NFAT"']), ("polyA_signal", ['/label="pA"'])),
        (
            ("misc_feature", ['/label="NFAT-Promotor"']),
            ("misc_feature", ['/label="Poly-A-Signal"']),
        ),
        (("misc_feature", ['/note="promoteur NFAT"']), ("polyA_signal", [])),
        (("misc_feature", ['/label="NFAT启动子"']), ("misc_feature", ['/label="加尾信号"'])),
        (("promoter", ['/label="NFAT enhancer/promoter"']), ("polyA_signal", [])),
        # NCBI's, ApE's and VectorBuilder's qualifiers.
        (("misc_feature", ['/gene="NFATC1"', '/note="promoter"']), ("polyA_signal", [])),
        (("misc_feature", ['/locus_tag="NFAT promoter"']), ("misc_feature", ['/locus_tag="pA"'])),
        (
            ("misc_feature", ['/official_designation="NFAT promoter"']),
            ("misc_feature", ['/label="end"', '/function="polyA signal"']),
        ),
        (("misc_feature", ['/label="Original promoter"']), ("polyA_signal", [])),
        (("misc_feature", ['/label="NFAT prom."']), ("polyA_signal", [])),
        (
            ("regulatory", ['/regulatory_class="promoter"', '/note="NFAT"']),
            ("regulatory", ['/regulatory_class="polyA_signal_sequence"']),
        ),
        # Geneious's and others' capitals, and a note on the colour before the one that tells.
        (("Promoter", ['/Label="NFAT"']), ("PolyA_Signal", ['/Label="end"'])),
        (
            ("misc_feature", ['/note="color: #ff9900"', '/note="NFAT promoter"']),
            ("polyA", ['/note="color: #ff9900"']),
        ),
    ],
)
def test_an_annotated_promoter_is_known_however_its_map_says_it(tmp_path, promoter, end):
    """GenBank's regulatory features and words of other languages were passed over: the mRNA began with the plasmid."""
    found = _annotated(tmp_path, [(promoter[0], "PROMOTER", promoter[1]), (end[0], "END", end[1])])
    assert found.sequence.index(FRAME) == 106
    assert "Promotor promoter" not in found.five.what
    assert found.three.known
    assert len(found.sequence) == 106 + len(FRAME) + 180 + 6 + 25


@pytest.mark.parametrize("promoter", ["PGK (human)", "annotated"])
def test_a_frame_of_an_unknown_leader_begins_behind_the_promoter(tmp_path, promoter):
    """Open to an ATG in PGK's promoter, the CAR's frame began there, and the promoter was none: "nothing known"."""
    leader = "ATGAAACACCTGTGGTTCTTCCTCCTCCTGGTGGCAGCTCCCAGATGGGTCCTGTCC"
    frame = leader + FRAME[63:]
    bases, behind = P["hPGK_promoter"], P["hPGK_leader"] + "GCCACC"
    feature = ""
    if promoter == "annotated":
        bases, behind = random_bases(300, 61) + "ATG" + "GCCAAGCTGACC" * 20, "GCCACC"
        feature = f'     promoter        1..{len(bases)}\n                     /label="NFAT"\n'
    text = bases + behind + frame + random_bases(30, 54) + P["bGH_polyA"]
    lines = "".join(f"{i + 1:>9} {text[i : i + 60]}\n" for i in range(0, len(text), 60))
    path = tmp_path / "v.gb"
    path.write_text(
        f"LOCUS       v {len(text)} bp    DNA     linear SYN 01-JAN-2020\n"
        f"FEATURES             Location/Qualifiers\n{feature}ORIGIN\n{lines}//\n"
    )
    found = load_construct(path)
    assert found.sequence[slice(*found.orf)].startswith(leader)
    assert found.five.known
    assert found.sequence.startswith((bases[-100:] if feature else "") + behind)
    assert not {f["code"] for f in lint(found, rivals=[])} & {"no_signal_peptide", "missing_start"}


@pytest.mark.parametrize("topology", ["circular", ""])
def test_a_promoter_across_the_origin_in_a_table_of_tabs_is_read(tmp_path, topology):
    """Tabs hid every feature, and a map without a word on its topology was read as a line for all its features said."""
    bases = random_bases(300, 2) + "GCCACC" + FRAME + random_bases(900, 3) + random_bases(300, 1)
    n = len(bases)
    lines = "".join(f"{i + 1:>9} {bases[i : i + 60]}\n" for i in range(0, n, 60))
    path = tmp_path / "v.gb"
    path.write_text(
        f"LOCUS       v {n:,} bp    DNA     {topology} SYN 01-JAN-2020\nFEATURES\tLocation/Qualifiers\n"
        f'\tpromoter\tjoin({n - 299}..{n},1..300)\n\t\t/label="NFAT"\nORIGIN\n{lines}//\n'
    )
    found = load_construct(path)
    assert found.sequence.index(FRAME) == 106
    assert found.five.what == "NFAT promoter"
    assert "read_with_remarks" not in dict(found.notes)


def test_the_intron_that_a_map_calls_the_promoter_does_not_begin_the_mrna(tmp_path):
    """EF1alpha's intron by the promoter's name overrode the start that its sequence tells."""
    promoter, exon = P["EF1A_promoter"], P["EF1A_exon1"]
    intron = "GTAAGTGCCGTGTG" + random_bases(800, 71).replace("AG", "AC") + P["EF1A_intron_end"]
    bases = promoter + exon + intron + "GTGTCGTGA" + "GCCACC" + FRAME + P["bGH_polyA"]
    first = len(promoter) + len(exon)
    lines = "".join(f"{i + 1:>9} {bases[i : i + 60]}\n" for i in range(0, len(bases), 60))
    path = tmp_path / "v.gb"
    path.write_text(
        f"LOCUS       v {len(bases)} bp    DNA     linear SYN 01-JAN-2020\n"
        "FEATURES             Location/Qualifiers\n"
        f"     promoter        {first + 41}..{first + len(intron) + 9}\n"
        f'                     /label="EF1a promoter"\nORIGIN\n{lines}//\n'
    )
    found = load_construct(path)
    assert found.five.what == "EF1alpha promoter"
    assert found.sequence.startswith(exon)
    assert found.introns == ((len(exon), len(exon) + len(intron)),)


def test_a_primer_is_neither_a_promoter_nor_the_end(tmp_path):
    """A primer named after bGH's poly(A) signal was the mRNA's end, and passed for a known one."""
    found = _annotated(
        tmp_path,
        [
            ("primer_bind", "PROMOTER", ['/label="NFAT promoter fwd"']),
            ("primer_bind", "END", ['/label="bGH polyA rev"']),
            ("CDS", "END", ['/label="polyalanine tail"']),
        ],
    )
    assert not found.five.known
    assert not found.three.known
    told = {code for code, _ in found.notes} | {f["code"] for f in lint(found, "both")}
    assert told & {"no_3p_end", "three_prime_guess"}


@pytest.mark.parametrize("turned", [False, True])
def test_features_of_a_gff3_file_with_its_sequence_are_read(tmp_path, turned):
    """Its table was passed over: the mRNA began with the plasmid, and "no annotation" was said to tell otherwise."""
    end = random_bases(180, 12) + "AATAAA" + random_bases(60, 13)
    bases = random_bases(300, 1) + random_bases(600, 2) + "GCCACC" + FRAME + end
    bases += random_bases(500, 3)
    at, n = 906 + len(FRAME), len(bases)
    places = [(301, 900), (at + 1, at + len(end))]
    if turned:
        bases = reverse_complement(bases)
        places = [(n + 1 - b, n + 1 - a) for a, b in places]
    kinds = (("promoter", "Name=NFAT%20promoter"), ("polyA_signal_sequence", "ID=x;Note=pA"))
    rows = [
        f"v\tGeneious\t{kind}\t{a}\t{b}\t.\t{'-' if turned else '+'}\t.\t{name}\n"
        for (kind, name), (a, b) in zip(kinds, places, strict=True)
    ]
    region = f"v\tGeneious\tregion\t1\t{n}\t.\t+\t.\tID=v;Is_circular=true\n"
    path = tmp_path / "v.gff"
    path.write_text(f"##gff-version 3\n{region}{''.join(rows)}##FASTA\n>v\n{bases}\n")
    found = load_construct(path)
    assert found.five.what == "NFAT promoter"
    assert found.sequence.index(FRAME) == 106
    assert found.three == End("pA", True)
    assert found.form == "plasmid"


@pytest.mark.parametrize("label", ["hU6", "mU6_promoter", "hH1 promoter", "RNA Pol III promoter"])
def test_the_promoter_of_a_guide_rna_makes_no_second_mrna(tmp_path, label):
    """`hU6` and `U6_promoter` were a second gene's promoter: 3' reads "show the vector, not the CAR"."""
    found = _annotated(
        tmp_path, [("promoter", "END", [f'/label="{label}"']), ("promoter", "PROMOTER", [])]
    )
    assert found.five.what == "annotated promoter"
    assert "shared_end" not in {code for code, _ in found.notes}
    assert not _annotated(tmp_path, [("promoter", "PROMOTER", [f'/label="{label}"'])]).five.known


@pytest.mark.parametrize(
    "label", ["T7_promoter", "pT7", "tac_promoter", "bla_promoter", "predicted promoter 3"]
)
def test_a_bacterial_promoter_behind_the_cars_own_is_none(tmp_path, label):
    """`bla_promoter` and `pT7` were not known as such: the mRNA began there."""
    features = [
        ("promoter", "PROMOTER", ['/label="NFAT promoter"']),
        ("promoter", "KOZAK", [f'/label="{label}"']),
    ]
    assert _annotated(tmp_path, features).five.what == "NFAT promoter"


@pytest.mark.parametrize(
    "label", ["cloning site behind the promoter", "promoter-CAR overlap", "promoter"]
)
def test_a_site_that_is_named_after_a_promoter_is_none(tmp_path, label):
    features = [
        ("promoter", "PROMOTER", ['/label="NFAT promoter"']),
        ("misc_feature", "KOZAK", [f'/label="{label}"']),
    ]
    assert _annotated(tmp_path, features).five.what == "NFAT promoter"


def test_a_note_on_a_features_colour_is_not_in_its_name(tmp_path):
    """SnapGene's and Benchling's exports have such notes."""
    note = ['/label="NFAT promoter"', '/note="color: #a6acb3; direction: RIGHT"']
    assert _annotated(tmp_path, [("promoter", "PROMOTER", note)]).five.what == "NFAT promoter"


@pytest.mark.parametrize(
    ("kind", "label"),
    [("misc_feature", "bGHpA"), ("misc_feature", "señal de poliadenilación"), ("polyA_site", "")],
)
def test_a_poly_a_signal_is_known_however_its_map_says_it(tmp_path, kind, label):
    found = _annotated(tmp_path, [(kind, "END", [f'/label="{label}"'] if label else [])])
    assert found.three.known


def test_a_stretch_named_after_poly_a_ends_no_mrna(tmp_path):
    """A `polyA stretch` of some bases behind the frame was the end of the mRNA, and passed for a known one."""
    features = [("misc_feature", "STRETCH", ['/label="polyA stretch"'])]
    found = _annotated(tmp_path, [*features, ("polyA_signal", "END", ['/label="pA"'])])
    assert found.three == End("pA", True)


@pytest.mark.parametrize("kind", ["gff", "dna"])
def test_a_feature_without_a_strand_counts_on_both(tmp_path, kind):
    """SnapGene's features need no direction, and GFF3's may have `.`: on a map of the other strand they were lost."""
    end = random_bases(180, 12) + "AATAAA" + random_bases(60, 13)
    bases = random_bases(900, 1) + "GCCACC" + FRAME + end + random_bases(500, 3)
    n, at = len(bases), 906 + len(FRAME)
    places = [(n - 899, n - 300), (n + 1 - at - len(end), n - at)]
    bases = reverse_complement(bases)
    rows = list(zip(("promoter", "polyA_signal"), ("NFAT promoter", "pA"), places, strict=True))
    path = tmp_path / f"v.{kind}"
    if kind == "gff":
        lines = [f"v\tx\t{k}\t{a}\t{b}\t.\t.\t.\tName={name}\n" for k, name, (a, b) in rows]
        path.write_text(f"##gff-version 3\n{''.join(lines)}##FASTA\n>v\n{bases}\n")
    else:
        told = "".join(
            f'<Feature name="{name}" type="{k}"><Segment range="{a}-{b}"/></Feature>'
            for k, name, (a, b) in rows
        )
        packets = (
            (9, b"SnapGene" + struct.pack(">HHH", 1, 15, 19)),
            (0, b"\0" + bases.encode()),
            (10, f"<Features>{told}</Features>".encode()),
        )
        path.write_bytes(b"".join(struct.pack(">BI", k, len(b)) + b for k, b in packets))
    found = load_construct(path)
    assert found.five.what == "NFAT promoter"
    assert found.three == End("pA", True)


def test_a_regulatory_feature_of_an_embl_file_is_a_promoter(tmp_path):
    bases = random_bases(300, 1) + random_bases(600, 2) + "GCCACC" + FRAME + random_bases(500, 3)
    lines = "".join(
        f"     {bases[i : i + 60]} {min(i + 60, len(bases))}\n" for i in range(0, len(bases), 60)
    )
    path = tmp_path / "v.embl"
    path.write_text(
        f"ID   v; SV 1; linear; genomic DNA; STD; SYN; {len(bases)} BP.\nFH   Key             Location/Qualifiers\n"
        'FT   regulatory      301..900\nFT                   /regulatory_class="promoter"\n'
        f'FT                   /note="NFAT"\nSQ   Sequence {len(bases)} BP;\n{lines}//\n'
    )
    assert load_construct(path).five.what == "NFAT promoter"


EFS = P["EF1A_promoter"] + P["EF1A_exon1"] + "GCCACC"
PGK = P["hPGK_promoter"] + P["hPGK_leader"] + "GCCACC"
OTHER = "ATG" + "GCCAAGCTGACC" * 60 + "TAA"


@pytest.mark.parametrize(
    ("ends", "inner", "told"),
    [
        ("lenti", EFS + FRAME + random_bases(40, 5) + PGK + OTHER + P["WPRE"], "behind the CAR"),
        ("lenti", PGK + OTHER + random_bases(40, 5) + EFS + FRAME + P["WPRE"], "before the CAR's"),
        ("gamma", FRAME + random_bases(40, 5) + PGK + OTHER, "behind the CAR"),
        ("lenti", EFS + FRAME + P["WPRE"], ""),
        ("gamma", FRAME + P["WPRE"], ""),
        ("lenti", PGK + OTHER + P["bGH_polyA"] + random_bases(40, 5) + EFS + FRAME, ""),
    ],
)
def test_another_mrna_of_the_same_end_is_told(tmp_path, ends, inner, told):
    """Of a vector with a marker or rtTA behind a promoter of its own, 3' reads of that mRNA were the CAR's, unsaid."""
    if ends == "lenti":
        ltr = P["HIV1_dU3"] + P["HIV1_R"] + P["HIV1_U5"] + P["HIV1_leader"]
        text = ltr + random_bases(600, 3) + inner + random_bases(50, 4) + ltr
    else:
        text = P["MSCV_U3"] + P["MSCV_R"] + P["MSCV_U5"] + P["MSCV_psi"] + inner
        text += random_bases(50, 4) + P["MSCV_U3"] + P["MSCV_R3"] + P["MSCV_U5"]
    path = tmp_path / "v.fa"
    path.write_text(f">v\n{text}\n")
    found = load_construct(path)
    notes = [f["message"] for f in lint(found, "3p") if f["code"] == "shared_end"]
    assert len(notes) == bool(told)
    assert all(told in note and "PGK (human)" in note for note in notes)


def _mrna_with_an_intron(folder, tail: str = "") -> tuple[Path, int]:
    """Write the map of an mRNA that has an intron of no known sequence; return its path and where that lies."""
    exon, rest = random_bases(60, 51).replace("GT", "GA"), random_bases(60, 52).replace("AG", "AC")
    intron = "GTAAGT" + random_bases(300, 53).replace("AG", "AC") + "TACTAACTTTCTTTCTCTTTCAG"
    bases = exon + intron + rest + "GCCACC" + FRAME + tail
    lines = "".join(f"{i + 1:>9} {bases[i : i + 60]}\n" for i in range(0, len(bases), 60))
    path = folder / "v.gb"
    path.write_text(
        f"LOCUS       v {len(bases)} bp    mRNA    linear SYN 01-JAN-2020\n"
        f"FEATURES             Location/Qualifiers\n     intron          61..{60 + len(intron)}\n"
        f"ORIGIN\n{lines}//\n"
    )
    return path, len(intron)


@pytest.mark.parametrize("form", ["auto", "transcript"])
def test_an_intron_that_the_map_of_an_mrna_names_is_spliced_out(tmp_path, form):
    """Without a promoter or an LTR in the file its features were not looked at."""
    path, n = _mrna_with_an_intron(tmp_path)
    found = load_construct(path, form=form)
    assert found.form == "transcript"
    assert [t.name for t in found.transcripts] == ["unspliced", "spliced"]
    assert found.introns == ((60, 60 + n),)


def test_an_intron_that_a_map_names_stays_when_ends_are_put_on(tmp_path):
    """`--backbone` and `--extend` left out the intron that the map alone knows, and what they wrote did not name it."""
    path, n = _mrna_with_an_intron(tmp_path, random_bases(30, 54))
    longer = load_construct(path, backbone="pSLCAR-EFS")
    at = longer.introns[-1][0]
    assert longer.sequence[at:].startswith("GTAAGT")
    assert longer.introns[-1] == (at, at + n)
    again = tmp_path / "longer.gb"
    again.write_text(genbank(longer, "the 5' and 3' ends are pSLCAR-EFS's"))
    assert load_construct(again).introns == longer.introns
