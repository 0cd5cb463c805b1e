"""Put CAR frames into other real vectors, cut them open anywhere, turn them round, and see that the mRNA is right.

    python benchmarks/vector_swaps.py ../shared/data

The truth of each swap is known: the ends of the one vector, derived from its annotated map, and the frame of the other.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

from carseq.construct import Construct, load_construct
from carseq.construct.coding import reverse_complement
from carseq.construct.parts import sequences
from carseq.construct.reading import read_vector
from carseq.errors import CarseqError

MAPS = (
    "135992",
    "82456",
    "136882",
    "127890",
    "154054",
    "163465",
    "171760",
    "73652",
    "73656",
    "133021",
)
CASES = (
    "01-msgv1-mp71-not-spliced/msgv1_axicel.gb",
    "01-msgv1-mp71-not-spliced/mp71_axicel.gb",
    "04-missing-start-false-alarm/113014_CD19-FcG.gb",
)


def opened(path: Path, found: Construct) -> tuple[str, str]:
    """Return a map's frame and the rest of the circle behind it, sense strand."""
    whole = read_vector(path).sequence
    first, last = found.orf or (0, 0)
    frame = found.sequence[first:last]
    for strand in (whole * 2, reverse_complement(whole) * 2):
        at = strand.find(frame)
        if at >= 0:
            return frame, strand[at + len(frame) : at + len(whole)]
    raise CarseqError(f"the frame is not in {path}")


def main() -> None:
    """Print how many swaps gave the true mRNA."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--seed", type=int, default=5)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    paths = [given.data / f"real_vectors/addgene_{n}.gb" for n in MAPS]
    paths += [given.data / "cases" / "construct" / c for c in CASES]
    found = {path.stem: load_construct(path) for path in paths}
    circles = {path.stem: opened(path, found[path.stem]) for path in paths}
    frames = {name: frame for name, (frame, _) in circles.items()}
    published = {k: v for k, v in sequences("orfs.fa").items() if k != "tisa-cel"}
    frames.update(published, **{"tisa-cel": sequences("orfs.fa")["tisa-cel"] + "GA"})
    right = n = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "swap.fa"
        for vector, (_, rest) in circles.items():
            one = found[vector]
            first, last = one.orf or (0, 0)
            for name, frame in frames.items():
                if name == vector:
                    continue
                circle = frame + rest
                origin = rng.randrange(len(circle))
                text = circle[origin:] + circle[:origin]
                text = reverse_complement(text) if rng.random() < 0.5 else text
                file.write_text(f">swap\n{text}\n")
                wanted = one.sequence[:first] + frame + one.sequence[last:]
                n += 1
                try:
                    other = load_construct(file)
                except CarseqError as error:
                    print(f"{name} in {vector}: {error.message}; {error.cause}")
                    continue
                same = other.sequence == wanted and len(other.transcripts) == len(one.transcripts)
                right += same
                if not same:
                    print(f"{name} in {vector}: {len(other.sequence)} nt, not {len(wanted)}")
    print(f"{right} of {n} swaps gave the true mRNA, spliced form included")


if __name__ == "__main__":
    main()
