"""A genome of six genes, and its STAR index with a CAR and without: what a test or a benchmark of reads needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from carseq.construct import Construct, load_construct, write_construct
from carseq.data import path as data_path
from carseq.reference.genome import write_augmented_gtf
from carseq.reference.index import build_index, insert_car

ACGT = np.frombuffer(b"ACGT", dtype=np.uint8)
TURN = str.maketrans("ACGT", "TGCA")
GENES = 6
CAR = "CAR"


@dataclass(frozen=True)
class Reference:
    """A small genome, its index with the CAR, and what of it resembles the CAR."""

    folder: Path
    genes: list[str]
    car: Construct


def noise(rng: np.random.Generator, length: int) -> str:
    """Return random bases."""
    return rng.choice(ACGT, length).tobytes().decode()


def copy(rng: np.random.Generator, text: str, share: float) -> str:
    """Return a text of which a share of the bases is drawn anew."""
    bases = np.frombuffer(text.encode(), dtype=np.uint8).copy()
    hit = rng.random(len(bases)) < share
    bases[hit] = rng.choice(ACGT, int(hit.sum()))
    return bases.tobytes().decode()


def make_reference(
    folder: Path, construct: Construct | None = None, further: str = ""
) -> Reference:
    """Write a genome of six genes, and a further contig if one is given, and index it with the CAR and without."""
    car = construct or load_construct(data_path("constructs/ide-cel.gb"), name=CAR)
    rng = np.random.default_rng(5)
    genes = [noise(rng, 1500) for _ in range(GENES)]
    made = Reference(folder, genes, car)
    if (folder / "index").exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(noise(rng, 2000) + gene for gene in genes)
    (folder / "g.fa").write_text(f">chr1\n{text}\n" + (f">chrT\n{further}\n" if further else ""))
    rows = []
    for i in range(GENES):
        start = (i + 1) * 2000 + i * 1500 + 1
        names = f'gene_id "G{i}"; transcript_id "T{i}"; gene_name "GENE{i}";'
        rows += [
            f"chr1\tx\t{kind}\t{start}\t{start + 1499}\t.\t+\t.\t{names}\n"
            for kind in ("gene", "transcript", "exon")
        ]
    (folder / "g.gtf").write_text("".join(rows))
    write_construct(car, folder)
    write_augmented_gtf(folder / "g.gtf", folder / "construct.gtf", folder / "all.gtf")
    build_index(folder / "g.fa", folder / "g.gtf", folder / "base")
    insert_car(folder / "base", folder / "construct.fa", folder / "all.gtf", folder / "index")
    return made
