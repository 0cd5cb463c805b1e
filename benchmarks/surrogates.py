"""How many UMIs of HBI0101 its surrogates would lose, were it ide-cel's frame in MSGV1.

``python benchmarks/surrogates.py ../shared/data`` takes the frame from the patent's file and the vector from the map of
Addgene 122727 (MSGV1, whose T cell receptor is cut out), simulates the 90-nt reads of 20,000 molecules of each
chemistry with 0.4 % substitutions, and counts those that a built-in surrogate explains over fewer than 40 bases.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from carseq.construct import load_construct
from carseq.construct.coverage import Judge, sample_fragments
from carseq.construct.model import Transcript
from carseq.construct.reading import read_vector
from carseq.data import path as data_path

NAMES = ("hbi0101_surrogate", "hbi0101_surrogate_native", "hbi0101_surrogate_MoMuLV")
N, ERRORS, SEED = 20_000, 0.004, 2026


def truth(shared: Path) -> tuple[Transcript, ...]:
    """Return the mRNAs of ide-cel's frame in the place of the TCR in Addgene 122727."""
    frame = read_vector(shared / "constructs" / "CAR_idecel_WO2021091978A1.fa").sequence
    found = load_construct(shared / "real_vectors" / "addgene_122727.gb", form="plasmid")
    assert found.orf is not None
    start, end = found.orf
    full = found.sequence[:start] + frame + found.sequence[end:]
    grown = len(frame) - (end - start)
    forms = []
    for form in found.transcripts:
        blocks = tuple((a, b + grown if b >= end else b) for a, b in form.blocks)
        forms.append(Transcript(form.name, "".join(full[a:b] for a, b in blocks), blocks))
    return tuple(forms)


def main() -> None:
    """Print a row for each surrogate."""
    mrnas, rng = truth(Path(sys.argv[1])), random.Random(SEED)
    print("| built-in construct | 3' | 5' |\n|---|---|---|")
    judges = {}
    for name in NAMES:
        forms = load_construct(data_path(f"constructs/{name}.gb")).transcripts
        judges[name] = Judge([t.sequence for t in forms])
    lost = {name: [] for name in NAMES}
    for chemistry in ("3p", "5p"):
        counts = dict.fromkeys(NAMES, 0)
        drawn = sample_fragments(mrnas, chemistry, n=N, seed=SEED)
        for form, start, end in zip(drawn.form, drawn.start, drawn.end, strict=True):
            bases = mrnas[form].sequence[start:end]
            read = "".join(rng.choice("ACGT") if rng.random() < ERRORS else b for b in bases)
            for name, judge in judges.items():
                counts[name] += not judge.is_found(read)
        for name in NAMES:
            lost[name].append(100 * counts[name] / N)
    for name, shares in lost.items():
        print(f"| {name} | {shares[0]:.1f} | {shares[1]:.1f} |")


if __name__ == "__main__":
    main()
