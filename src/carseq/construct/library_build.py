"""How the constructs that come with carseq are built from their cited parts.

Run ``python -m carseq.construct.library_build`` to write them again into ``carseq/data/constructs``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqFeature import FeatureLocation, SeqFeature
from Bio.SeqRecord import SeqRecord

from carseq.construct.backbones import backbones
from carseq.construct.parts import find_part, parts, sequences
from carseq.data import path as data_path
from carseq.io.files import atomic

#: A piece of a construct: label, GenBank feature type, sequence, source.
Piece = tuple[str, str, str, str]


def _assemble(name: str, description: str, comment: str, pieces: Iterable[Piece]) -> SeqRecord:
    """Join pieces into a record whose features name them."""
    sequence = ""
    features = []
    for label, kind, bases, source in pieces:
        location = FeatureLocation(len(sequence), len(sequence) + len(bases), strand=1)
        qualifiers = {"label": [label], "note": [source]}
        features.append(SeqFeature(location, type=kind, qualifiers=qualifiers))
        sequence += bases
    record = SeqRecord(
        Seq(sequence), id=name, name=name[:16], description=description, features=features
    )
    record.annotations.update(
        molecule_type="DNA",
        topology="linear",
        data_file_division="SYN",
        date="22-NOV-2026",
        comment=comment,
    )
    return record


def _published_frame() -> list[Piece]:
    """Return the parts of the surrogate's frame: ide-cel's, which has the same binder and domains and is published.

    HBI0101's own coding is not public. Synthetic CARs are usually made in a changed coding, as ide-cel's is;
    :func:`_native_frame` is the other case.
    """
    frame = sequences("orfs.fa")["ide-cel"]
    binder = len(parts()["idecel_leader_scFv"])
    source = "ide-cel, WO2021091978A1 SEQ ID 10 nt "
    pieces, start = [], 0
    for label, size in (
        ("CD8A signal peptide and anti-BCMA scFv", binder),
        ("CD8A hinge", 135),
        ("CD8A transmembrane", 72),
        ("4-1BB", 126),
        ("CD3zeta", len(frame) - binder - 135 - 72 - 126),
    ):
        end = start + size
        pieces.append((label, "misc_feature", frame[start:end], f"{source}{start + 1}-{end}"))
        start = end
    return pieces


def _native_frame() -> list[Piece]:
    """Return the parts of the other frame: ide-cel's binder, the rest in native human coding.

    Native coding is the harder case, since reads from hinge, transmembrane part, 4-1BB and CD3zeta equal reads from
    CD8A, TNFRSF9 and CD247.
    """
    part, relative = parts(), sequences("relatives.fa")
    cd8a, bb, zeta = relative["CD8A"], relative["TNFRSF9"], relative["CD247"]
    hinge = cd8a.index("ACCACGACGCCAGCGCCGCGACC")
    costim = bb.index("AAACGGGGCAGAAAGAAACTCCTG")
    signalling = zeta.index("AGAGTGAAGTTCAGCAGGAGCGCA")
    refseq = "native coding, RefSeq "
    return [
        (
            "CD8A signal peptide and anti-BCMA scFv",
            "misc_feature",
            part["idecel_leader_scFv"],
            "ide-cel, WO2021091978A1 SEQ ID 10 nt 1-810",
        ),
        (
            "CD8A hinge",
            "misc_feature",
            cd8a[hinge : hinge + 135],
            refseq + "NM_171827.4 with its TM exon",
        ),
        (
            "CD8A transmembrane",
            "misc_feature",
            cd8a[hinge + 135 : hinge + 207],
            refseq + "NM_171827.4 with its TM exon",
        ),
        ("4-1BB", "misc_feature", bb[costim : costim + 126], refseq + "NM_001561.6"),
        ("CD3zeta", "misc_feature", zeta[signalling : signalling + 339], refseq + "NM_001378516.1"),
    ]


_SURROGATE = (
    "SURROGATE. The nucleotide sequence of HBI0101 is not public, nor is its vector. This record was put together "
    "by carseq from published parts (see the notes of its features) and is not HBI0101. Replace it by your own plasmid "
    "map. "
)


def hbi0101_surrogate() -> SeqRecord:
    """Build the surrogate of HBI0101: ide-cel's published anti-BCMA frame in MSGV1, HBI0101's likeliest vector."""
    return _assemble(
        "HBI0101_surrogate",
        "SURROGATE of HBI0101: ide-cel's anti-BCMA frame in a gamma-retroviral (MSGV1) provirus",
        _SURROGATE
        + "The frame is ide-cel's, which has the same binder and domains. MSGV1 is the gamma-retroviral vector of the "
        "same group's earlier products; that HBI0101 is in it is not confirmed. ALTERNATIVES: "
        "hbi0101_surrogate_native, hbi0101_surrogate_MoMuLV.",
        _in_msgv1(_published_frame()),
    )


def hbi0101_surrogate_native() -> SeqRecord:
    """Build the surrogate of HBI0101 whose hinge to CD3zeta are in native human coding, in MSGV1."""
    return _assemble(
        "HBI0101_surrogate_native",
        "SURROGATE of HBI0101: anti-BCMA CAR in native human coding in a gamma-retroviral (MSGV1) provirus",
        _SURROGATE
        + "Its hinge to CD3zeta are in native human coding, for the case that HBI0101's were not changed as ide-cel's "
        "were. ALTERNATIVES: hbi0101_surrogate, hbi0101_surrogate_MoMuLV.",
        _in_msgv1(_native_frame()),
    )


def hbi0101_surrogate_momulv() -> SeqRecord:
    """Build the surrogate of HBI0101 in a provirus of MoMuLV's parts, for another kind of gamma-retroviral vector."""
    return _assemble(
        "HBI0101_surrogate_MoMuLV",
        "SURROGATE of HBI0101: ide-cel's anti-BCMA frame in a gamma-retroviral (MoMuLV) provirus",
        _SURROGATE
        + "The frame is ide-cel's; LTRs and packaging signal are MoMuLV's, as in SFG. ALTERNATIVES: "
        "hbi0101_surrogate, hbi0101_surrogate_native.",
        _in_momulv(_published_frame()),
    )


def _in_momulv(frame: list[Piece]) -> list[Piece]:
    """Return a frame between the LTRs and behind the packaging signal of MoMuLV."""
    part, library = parts(), "Addgene feature library, "
    ltr = [
        ("U3", "misc_feature", part["MoMuLV_U3"], library + "3MoMuLV_LTR"),
        ("R", "misc_feature", part["MoMuLV_R"], library + "3MoMuLV_LTR"),
        ("U5", "misc_feature", part["MoMuLV_U5"], library + "3MoMuLV_LTR"),
    ]
    psi = ("psi", "misc_feature", part["MoMuLV_psi"], library + "psi_plus_pack2")
    return [*ltr, psi, *frame, *ltr]


def _in_msgv1(frame: list[Piece]) -> list[Piece]:
    """Return a frame in the provirus of MSGV1, as Addgene 122727 has it."""
    part, vector = parts(), backbones()["MSGV1"]
    five = part["MSCV_R"] + part["MSCV_U5"] + part["MSGV1_psi"]
    assert vector.five == five
    source = "MSGV1, Addgene 122727"
    tail = vector.three[: -len(part["MSCV_R3"])]
    assert vector.three == tail + part["MSCV_R3"]
    return [
        ("U3", "misc_feature", part["MSCV_U3"], source),
        ("R", "misc_feature", part["MSCV_R"], source),
        ("U5", "misc_feature", part["MSCV_U5"], source),
        ("psi", "misc_feature", part["MSGV1_psi"], source),
        *frame,
        ("3' untranslated region and U3", "misc_feature", tail, source),
        ("R", "misc_feature", part["MSCV_R3"], source),
        ("U5", "misc_feature", part["MSCV_U5"], source),
    ]


def _named(record: SeqRecord, label: str, kind: str, start: int, end: int, note: str) -> None:
    location = FeatureLocation(start, end, strand=1)
    qualifiers = {"label": [label], "note": [note]}
    record.features.append(SeqFeature(location, type=kind, qualifiers=qualifiers))


def _published(
    name: str, description: str, comment: str, vector: str, topology: str, source: str, orf: str
) -> SeqRecord:
    """Return a published lentiviral vector as a record with its LTRs, promoter, frame and WPRE named."""
    record = SeqRecord(Seq(vector), id=name, name=name[:16], description=description)
    record.annotations.update(
        molecule_type="DNA",
        topology=topology,
        data_file_division="SYN",
        date="22-NOV-2026",
        comment=comment,
    )
    start = vector.index(orf)
    end = start + len(orf)
    while vector[end - 3 : end] not in ("TAA", "TAG", "TGA"):  # tisa-cel's ORF ends inside its stop
        end += 1
    named = [(start, end, "CAR", "CDS", source)]
    for label, part, kind in (
        ("R", "HIV1_R", "misc_feature"),
        ("EF1alpha promoter", "EF1A_promoter", "promoter"),
        ("MND promoter", "MND_promoter", "promoter"),
        ("WPRE", "WPRE", "misc_feature"),
    ):
        for first, last, identity in find_part(parts()[part], vector):
            named.append((first, last, label, kind, f"{identity:.1%} identical to {part}"))
    for first, last, label, kind, note in sorted(named):
        _named(record, label, kind, first, last, note)
    return record


def _model(name: str, description: str, comment: str, pieces: list[Piece]) -> SeqRecord:
    """Return a published CAR frame in a provirus that is not in the frame's record."""
    return _assemble(name, f"MODEL: {description}", f"MODEL. {comment}", pieces)


def idecel() -> SeqRecord:
    """Return ide-cel's transfer plasmid: MND promoter, anti-BCMA 4-1BB CAR, no WPRE."""
    return _published(
        "ide-cel",
        "ide-cel (bb2121): anti-BCMA 4-1BB CAR, lentiviral transfer plasmid, MND promoter",
        "The vector is WO2021091978A1 SEQ ID 36, its frame SEQ ID 10 of the same patent.",
        sequences("vectors.fa")["ide-cel_vector"],
        "circular",
        "WO2021091978A1 SEQ ID 10",
        sequences("orfs.fa")["ide-cel"],
    )


def ciltacel() -> SeqRecord:
    """Return cilta-cel's provirus as reverse-engineered by Braun et al."""
    record = _published(
        "cilta-cel",
        "cilta-cel: anti-BCMA two-VHH 4-1BB CAR, lentiviral provirus, EF1alpha promoter, WPRE",
        "Reverse-engineered from whole-genome sequencing (Braun et al. 2025 Nat Med, s41591-025-03499-9). "
        "Another published version (Ozdemirli et al. 2024 NEJM, NEJMoa2401530, supplementary figure S1) has A "
        "for G at nt 152 of the frame; it is cilta-cel_ozdemirli in this library.",
        sequences("vectors.fa")["cilta-cel_vector"],
        "linear",
        "Braun et al. 2025 Nat Med s41591-025-03499-9",
        sequences("orfs.fa")["cilta-cel"],
    )
    ours, other = sequences("orfs.fa")["cilta-cel"], sequences("orfs.fa")["cilta-cel_ozdemirli"]
    start = str(record.seq).index(ours)
    for i, (one, two) in enumerate(zip(ours, other, strict=True)):
        if one != two:
            note = f"{two} in Ozdemirli et al. 2024"
            _named(record, f"{one}{i + 1}{two}", "variation", start + i, start + i + 1, note)
    return record


def ciltacel_ozdemirli() -> SeqRecord:
    """Return cilta-cel's provirus with the frame of Ozdemirli et al., which differs in one base."""
    frames = sequences("orfs.fa")
    ours, other = frames["cilta-cel"], frames["cilta-cel_ozdemirli"]
    return _published(
        "cilta-cel_ozdemirli",
        "MODEL: cilta-cel with the frame of Ozdemirli et al. in the provirus of Braun et al.",
        "MODEL. The frame is that of Ozdemirli et al. 2024 NEJM, NEJMoa2401530, supplementary figure S1, which was "
        "published without its vector; the provirus around it is that of Braun et al. 2025 (cilta-cel in this "
        "library), whose frame differs in one base.",
        sequences("vectors.fa")["cilta-cel_vector"].replace(ours, other),
        "linear",
        "Ozdemirli et al. 2024 NEJM NEJMoa2401530",
        other,
    )


def tisacel() -> SeqRecord:
    """Return tisa-cel's transfer plasmid: EF1alpha promoter, FMC63 4-1BB CAR, WPRE."""
    return _published(
        "tisa-cel",
        "tisa-cel: anti-CD19 (FMC63) 4-1BB CAR, lentiviral transfer plasmid pELPS-19BBz, EF1alpha, WPRE",
        "The vector is US9499629B2 SEQ ID 1. The frame printed as SEQ ID 8 of the same patent lacks the last 2 nt of "
        "its stop codon; the vector has them.",
        sequences("vectors.fa")["tisa-cel_vector"],
        "circular",
        "US9499629B2 SEQ ID 8 with the last 2 nt of its stop codon from SEQ ID 1",
        sequences("orfs.fa")["tisa-cel"],
    )


def lisocel() -> SeqRecord:
    """Return liso-cel's vector: EF1alpha-HTLV promoter, FMC63 4-1BB CAR, EGFRt behind T2A, WPRE."""
    return _published(
        "liso-cel",
        "liso-cel: anti-CD19 (FMC63) 4-1BB CAR and EGFRt, lentiviral vector, EF1alpha-HTLV, WPRE",
        "The vector is that of the FDA's Global Substance Registration System, UNII 939TQL8M8R, as "
        "fraunhofer-izi/Living-Drugs-Wiki @ea441a80 gives it; it codes the protein of UNII E18VZQ3GB1. It was not "
        "compared with the register itself. EGFRt has the codons of EGFR.",
        sequences("vectors.fa")["liso-cel_vector"],
        "linear",
        "UNII 939TQL8M8R",
        sequences("orfs.fa")["liso-cel"],
    )


_MSGV1_WORDS = (
    "The frame is GenBank HM852952 (FMC63-28Z, Kochenderfer 2009), without its vector. The vector around it is MSGV1 "
    "as in Addgene 122727: the product's vector by name. 4,000 real reads of axi-cel's 5' end (10x 5', "
    "mehdiborji/nanoranger @5a4df55e) agree with its leader and its splice junction; its 3' end was not seen in reads."
)


def axicel() -> SeqRecord:
    """Return axi-cel's frame in MSGV1."""
    frame = [("CAR", "CDS", sequences("orfs.fa")["axi-cel"], "GenBank HM852952")]
    return _model(
        "axi-cel",
        "axi-cel: anti-CD19 (FMC63) CD28 CAR in MSGV1",
        _MSGV1_WORDS,
        _in_msgv1(frame),
    )


def brexucel() -> SeqRecord:
    """Return the same CAR for brexu-cel, which is made with the same vector from other starting cells."""
    frame = [("CAR", "CDS", sequences("orfs.fa")["axi-cel"], "GenBank HM852952")]
    return _model(
        "brexu-cel",
        "brexu-cel: the CAR and vector of axi-cel (FMC63, CD28) in MSGV1",
        "Brexu-cel carries axi-cel's CAR; the two differ in how the cells are made. "
        + _MSGV1_WORDS,
        _in_msgv1(frame),
    )


def hu19() -> SeqRecord:
    """Return Hu19-CD828Z's frame in a model provirus."""
    frame = [("CAR", "CDS", sequences("orfs.fa")["Hu19-CD828Z"], "GenBank MN698642.1")]
    return _model(
        "Hu19-CD828Z",
        "Hu19-CD828Z: fully human anti-CD19 CD28 CAR in a model gamma-retroviral provirus",
        "The frame is GenBank MN698642.1 (Brudno 2020). Its vector is not in that record and may be of another kind: "
        "LTRs and packaging signal here are MoMuLV's and tell nothing about the product's untranslated ends. "
        "Replace it by your own plasmid map.",
        _in_momulv(frame),
    )


#: The library: file name (without .gb) and what makes it, in the order in which it is listed.
RECORDS: dict[str, Callable[[], SeqRecord]] = {
    "hbi0101_surrogate": hbi0101_surrogate,
    "hbi0101_surrogate_native": hbi0101_surrogate_native,
    "hbi0101_surrogate_MoMuLV": hbi0101_surrogate_momulv,
    "ide-cel": idecel,
    "cilta-cel": ciltacel,
    "cilta-cel_ozdemirli": ciltacel_ozdemirli,
    "tisa-cel": tisacel,
    "liso-cel": lisocel,
    "axi-cel": axicel,
    "brexu-cel": brexucel,
    "Hu19-CD828Z": hu19,
}


def write_library(folder: Path | None = None) -> list[Path]:
    """Write every construct of the library as GenBank; return the paths."""
    folder = folder or data_path("constructs")
    written = []
    for name, make in RECORDS.items():
        target = folder / f"{name}.gb"
        with atomic(target) as temporary:
            SeqIO.write(make(), temporary, "genbank")
        written.append(target)
    return written


if __name__ == "__main__":
    for path in write_library():
        print(path)
