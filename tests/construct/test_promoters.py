"""construct: lentiviral promoters and their introns are known by sequence, however short the leader."""

from __future__ import annotations

import random

import pytest

from carseq.construct import lint, load_construct
from carseq.construct.parts import parts, sequences

P = parts()
FRAME = sequences("orfs.fa")["ide-cel"]
#: Promoter, what stands behind its start of transcription in the vector, name, and the intron in it (from, to).
PROMOTERS = {
    "MSCV U3": (P["MSCV_U3"], "", None),
    "MND": (P["MND_promoter"], "", None),
    "SFFV": (P["SFFV_promoter"], "GCGCCAGTCCTCCGACAGACTGAGTCGCCCGGG", None),
    "CMV": (P["CMV_promoter"], "", None),
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
