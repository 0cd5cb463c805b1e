"""The constructs that come with carseq, built from their cited parts.

Run ``python -m carseq.construct.library`` to write them again into ``carseq/data/constructs``.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqFeature import FeatureLocation, SeqFeature
from Bio.SeqRecord import SeqRecord

from carseq.construct.vector import parts
from carseq.data import path as data_path
from carseq.tables import atomic

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


def relatives() -> dict[str, str]:
    """Return the RefSeq mRNAs whose domains CARs share, by gene symbol."""
    return {
        r.id: str(r.seq).upper() for r in SeqIO.parse(data_path("sequences/relatives.fa"), "fasta")
    }


def hbi0101_surrogate() -> SeqRecord:
    """Build the surrogate of HBI0101: an anti-BCMA CAR in native human coding in a MoMuLV provirus.

    The true sequence is not public. The binder is ide-cel's; hinge, transmembrane, 4-1BB and CD3zeta are in
    native coding, the harder case, since reads from them equal reads from CD8A, TNFRSF9 and CD247.
    """
    part, relative = parts(), relatives()
    cd8a, bb, zeta = relative["CD8A"], relative["TNFRSF9"], relative["CD247"]
    hinge = cd8a.index("ACCACGACGCCAGCGCCGCGACC")
    costim = bb.index("AAACGGGGCAGAAAGAAACTCCTG")
    signalling = zeta.index("AGAGTGAAGTTCAGCAGGAGCGCA")
    ltr = [
        ("U3", "misc_feature", part["MoMuLV_U3"], "Addgene feature library, 3MoMuLV_LTR"),
        ("R", "misc_feature", part["MoMuLV_R"], "Addgene feature library, 3MoMuLV_LTR"),
        ("U5", "misc_feature", part["MoMuLV_U5"], "Addgene feature library, 3MoMuLV_LTR"),
    ]
    refseq = "native coding, RefSeq "
    pieces: list[Piece] = [
        *ltr,
        ("psi", "misc_feature", part["MoMuLV_psi"], "Addgene feature library, psi_plus_pack2"),
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
        *ltr,
    ]
    return _assemble(
        "HBI0101_surrogate",
        "SURROGATE of HBI0101: anti-BCMA CAR in a gamma-retroviral (MoMuLV) provirus",
        "SURROGATE. The nucleotide sequence of HBI0101 is not public. This record was put together by carseq from "
        "published parts (see the notes of its features) and is not HBI0101. Replace it by your own plasmid map.",
        pieces,
    )


def write_library(folder: Path | None = None) -> list[Path]:
    """Write every construct of the library as GenBank; return the paths."""
    folder = folder or data_path("constructs")
    written = []
    for name, record in {"hbi0101_surrogate": hbi0101_surrogate()}.items():
        target = folder / f"{name}.gb"
        with atomic(target) as temporary:
            SeqIO.write(record, temporary, "genbank")
        written.append(target)
    return written


if __name__ == "__main__":
    for path in write_library():
        print(path)
