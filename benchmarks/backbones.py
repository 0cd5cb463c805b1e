"""Take the ends of known vectors from their maps: ``carseq/data/sequences/backbones.fa``.

    python benchmarks/backbones.py ../shared/data

For each vector: the mRNA before the insert's start codon and behind its stop codon, by the same derivation that reads a
user's map. tests/construct/test_backbones.py compares the file with the maps where they are at hand.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

from carseq.construct.derive import candidates, transcribed
from carseq.construct.parts import parts
from carseq.construct.reading import read_vector
from carseq.construct.vector import load_construct
from carseq.data import path as data_path

#: Vectors with an insert other than a CAR: name, map, first residues' bases of the insert's frame.
OTHER_INSERTS = {
    "MSGV1": ("real_vectors/addgene_122727.gb", "Addgene 122727 (MSGV1, HPV16 E6 TCR)"),
    "MP71": ("real_vectors/addgene_118631.gb", "Addgene 118631 (pMP71, PD-L1)"),
    "SFG": ("real_vectors/addgene_75013.gb", "Addgene 75013 (SFG, GD3/GD2 synthase)"),
    "pRRL-MSCV": (
        "cases/construct/06-no-leader-in-lentiviral-vector/124254_TCR.gb",
        "Addgene 124254 (pRRL with an MSCV promoter, TCR)",
    ),
}
#: Vectors of a CAR: name, map, what it is.
CARS = {
    "MSCV": ("real_vectors/addgene_127890.gb", "Addgene 127890 (pMSCV, CD19 CAR)"),
    "pHR-SFFV": ("real_vectors/addgene_136882.gb", "Addgene 136882 (pHR, SFFV promoter, BCMA CAR)"),
    "pHR-PGK": (
        "cases/construct/10-framework-4-too-narrow/85422_synNotch.gb",
        "Addgene 85422 (pHR, mouse PGK promoter, synNotch)",
    ),
    "pSLCAR-EFS": ("real_vectors/addgene_135992.gb", "Addgene 135992 (pSLCAR, short EF1alpha)"),
    "pWPXLD-EF1a": ("real_vectors/addgene_82456.gb", "Addgene 82456 (pWPXLD, EF1alpha)"),
    "pXL-EF1a": ("real_vectors/addgene_154054.gb", "Addgene 154054 (pXL001, EF1alpha)"),
    "HIV7-EF1a": ("real_vectors/addgene_163465.gb", "Addgene 163465 (HIV7, EF1-HTLV)"),
}
PATENTS = {
    "MND-lenti": ("ide-cel", "WO2021091978A1 SEQ ID 36 (ide-cel's vector, MND promoter)"),
    "cilta-EF1a": ("cilta-cel", "Braun 2025 Nat Med s41591-025-03499-9 (cilta-cel's provirus)"),
    "pELPS-EF1a": ("tisa-cel", "US9499629B2 SEQ ID 1 (tisa-cel's vector pELPS, EF1alpha)"),
}


def ends_of(path: Path) -> tuple[str, str]:
    """Return the mRNA before and behind the longest insert of a map that holds no CAR."""
    vector = read_vector(path)
    best = max(
        (
            c
            for c in candidates(vector, linear=False, circle=True)
            if c.repeats.three is not None and c.repeats.five is not None
        ),
        key=lambda c: c.orf.end - c.orf.start,
    )
    run = transcribed(best)
    sequence = best.vector.sequence
    return sequence[run.start : best.orf.start], sequence[best.orf.end : run.end]


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with real_vectors and cases")
    folder = parser.parse_args().data
    lines = []

    def add(name: str, five: str, three: str, source: str) -> None:
        for end, bases in (("five", five), ("three", three)):
            lines.append(f">{name}/{end} {source}")
            lines.extend(textwrap.wrap(bases, 70))
        print(name, len(five), len(three))

    for name, (file, source) in OTHER_INSERTS.items():
        add(name, *ends_of(folder / file), source)
    for name, (file, source) in CARS.items():
        found = load_construct(folder / file)
        assert found.orf is not None
        add(name, found.sequence[: found.orf[0]], found.sequence[found.orf[1] :], source)
    for name, (record, source) in PATENTS.items():
        found = load_construct(data_path(f"constructs/{record}.gb"))
        assert found.orf is not None
        add(name, found.sequence[: found.orf[0]], found.sequence[found.orf[1] :], source)
    part = parts()
    add(
        "MoMuLV",
        part["MoMuLV_R"] + part["MoMuLV_U5"] + part["MoMuLV_psi"],
        part["MoMuLV_U3"] + part["MoMuLV_R"],
        "parts.fa: MoMuLV R, U5, psi; U3, R (a model vector)",
    )
    data_path("sequences/backbones.fa").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
