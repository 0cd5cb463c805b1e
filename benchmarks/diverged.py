"""Known vectors whose bases outside the frame differ from carseq's copies: are the ends and junctions still found?

``python benchmarks/diverged.py ../shared/data [SEED]`` changes 5, 10 and 15 % of the bases outside the CAR's frame
(nine in ten of them by substitution, the others by an insertion or a deletion), ten times for each vector. It counts
the maps whose mRNA begins and ends within 3 nt of the truth, whose junctions lie within 2 nt of it, and whose ends are
wrong although they are called known.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from carseq.construct import load_construct
from carseq.construct.reading import read_vector
from carseq.data import path as data_path

N, SHARES, INDELS = 10, (0.05, 0.1, 0.15), 0.1


def changed(bases: str, frame: range, share: float, rng: random.Random) -> tuple[str, list[int]]:
    """Return the changed sequence, and where each base of the first one lies in it."""
    out: list[str] = []
    places = []
    for i, base in enumerate(bases):
        places.append(len(out))
        if i in frame or rng.random() >= share:
            out.append(base)
        elif rng.random() >= INDELS:
            out.append(rng.choice("ACGT".replace(base, "")))
        elif rng.random() < 0.5:
            out += [base, rng.choice("ACGT")]
    return "".join(out), [*places, len(out)]


def main() -> None:
    """Print a row for each vector and share."""
    shared, seed = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "1"
    sources = {
        "MSGV1 (axi-cel)": data_path("constructs/axi-cel.gb"),
        "MoMuLV (model)": data_path("constructs/hbi0101_surrogate_MoMuLV.gb"),
        "pMSCV (127890)": shared / "real_vectors" / "addgene_127890.gb",
        "pHR-SFFV (136882)": shared / "real_vectors" / "addgene_136882.gb",
        "pWPXLD-EF1a (82456)": shared / "real_vectors" / "addgene_82456.gb",
    }
    print("| vector | bases changed | 5' end | 3' end | junctions | wrong, called known |")
    print("|---|---|---|---|---|---|")
    for name, path in sources.items():
        known, whole = load_construct(path), read_vector(path)
        bases = whole.sequence
        if whole.circular:
            # Cut open far before the mRNA.
            at = (bases * 2).index(known.sequence) - 1500
            bases = (bases * 3)[at + len(bases) :][: len(bases)]
        first = bases.index(known.sequence)
        last = first + len(known.sequence)
        frame = range(first + known.orf[0], first + known.orf[1])
        for share in SHARES:
            five = three = joined = wrong = 0
            for k in range(N):
                rng = random.Random(f"{name} {share} {k} {seed}")
                text, places = changed(bases, frame, share, rng)
                with tempfile.TemporaryDirectory() as folder:
                    file = Path(folder) / "v.fa"
                    file.write_text(f">v\n{text}\n")
                    found = load_construct(file)
                start = text.index(found.sequence)
                begins = abs(start - places[first]) <= 3
                ends = abs(start + len(found.sequence) - places[last]) <= 3
                five, three = five + begins, three + ends
                wrong += (not begins and found.five.known) or (not ends and found.three.known)
                if len(known.transcripts) > 1 and len(found.transcripts) > 1:
                    (_, a), (b, _) = known.transcripts[1].blocks
                    (_, c), (d, _) = found.transcripts[1].blocks
                    away = (start + c - places[first + a], start + d - places[first + b])
                    joined += max(map(abs, away)) <= 2
            spliced = f"{joined} of {N}" if len(known.transcripts) > 1 else ""
            print(
                f"| {name} | {share:.0%} | {five} of {N} | {three} of {N} | {spliced} | {wrong} |"
            )


if __name__ == "__main__":
    main()
