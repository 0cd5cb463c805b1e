"""A plain index, or kallisto, against an index with the CAR: the same molecules? Six constructs, 3' and 5'.

    python benchmarks/plain_index.py [--constructs NAME ...] [--seed 7] [--engine kallisto] [--to FOLDER]
    python benchmarks/plain_index.py --small     # genomes of six genes, reads from all over the CAR; a minute in all

Each construct's genome is the simulated one with a further contig that resembles the CAR as a human genome may, where
no annotation tells of it: the intron and exon of an EF1alpha promoter as they are in EEF1A1 (unchanged), and copies of
the first and the last 700 bases of the transcript (leader, LTR, WPRE) of which one base in 20, 10 and 7 is another. A
sample is aligned by STAR twice, to the index with the CAR inserted and to the plain one; both BAMs are searched alike.
With kallisto the second is the slice that the search of the FASTQ files makes. FOLDER keeps what was made.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from chemistries import write_library

from carseq.calling import count_car
from carseq.construct import Construct, load_construct, write_construct
from carseq.construct.library import library
from carseq.data import path as data_path
from carseq.io.fasta import contigs, read_sequences
from carseq.io.h5ad import read_h5ad
from carseq.kallisto import build_transcripts_index, count
from carseq.library.geometry import CHEMISTRIES, Chemistry
from carseq.library.whitelist import known_whitelist
from carseq.molecules import Target, molecules_of, write_evidence
from carseq.molecules.row import with_car_row
from carseq.reference.genome import locus_list, write_augmented_gtf
from carseq.reference.index import build_index, insert_car
from carseq.reference.resembling import find_homologs
from carseq.sequence.kmers import KmerSet
from carseq.simulate import SampleSpec, simulate_study
from carseq.solo import align

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from six_genes import copy, make_reference, noise

CONSTRUCTS = ["hbi0101_surrogate", "ide-cel", "cilta-cel", "tisa-cel", "axi-cel", "Hu19-CD828Z"]
CAR = "CAR"
THREADS = 2
#: Shares of bases exchanged in the copies of the transcript's ends.
MUTATED = (0.05, 0.1, 0.15)
END = 700


@dataclass(frozen=True)
class Case:
    """A simulated sample, its genome's files and its construct."""

    folder: Path
    construct: Construct
    chemistry: str
    pairs: list[tuple[str, str]]


def trap(construct: Construct, seed: int) -> str:
    """Return a contig that resembles a construct where no gene is annotated."""
    rng = np.random.default_rng(seed)

    pieces = [noise(rng, 3000), ef1a(), noise(rng, 3000)]
    for share in MUTATED:
        pieces += [copy(rng, construct.sequence[:END], share), noise(rng, 3000)]
        pieces += [copy(rng, construct.sequence[-END:], share), noise(rng, 3000)]
    return "".join(pieces)


def ef1a() -> str:
    """Return what an EF1alpha promoter transcribes of EEF1A1 before the insert: exon 1 and intron 1."""
    vector = read_sequences(data_path("sequences/vectors.fa"))
    whole = next(text for name, text in vector.items() if name.startswith("tisa-cel"))
    known = read_sequences(data_path("sequences/parts.fa"))
    circle = (whole + whole[:3000]).upper()
    start = circle.index(known["EF1A_exon1"].upper())
    stop = circle.index(known["EF1A_intron_end"].upper(), start)
    return circle[start : stop + len(known["EF1A_intron_end"])]


def make(folder: Path, name: str, chemistry: str, cells: int, seed: int) -> Case:
    """Simulate a sample of a construct (once), and put the trap into its genome."""
    construct = load_construct(next(e.path for e in library() if e.name == name), name=CAR)
    if not (folder / "trap.fa").exists():
        spec = SampleSpec(
            name="s", compartment="blood", cells=cells, car_fraction=0.5, car_expression=6e-3,
            median_depth=2000, ambient=0.05, n_empty=cells,
        )  # fmt: skip
        simulate_study(
            folder,
            construct=name,
            construct_name=CAR,
            chemistry=chemistry,
            samples=[spec],
            seed=seed,
            lanes=1,
        )
        write_construct(construct, folder)
        text = trap(construct, seed)
        (folder / "trap.fa").write_text((folder / "genome.fa").read_text() + f">chrT\n{text}\n")
    (r1,) = folder.glob("fastq/*_R1_*")
    return Case(folder, construct, chemistry, [(str(r1), str(r1).replace("_R1_", "_R2_"))])


def geometry(name: str, listed: str | None = None) -> Chemistry:
    """Return a known chemistry, with its own barcode list or another."""
    umi, strand, known = CHEMISTRIES[name]
    whitelist = listed or str(known_whitelist(str(known)))
    return Chemistry(name, 1, 16, 17, umi, strand, whitelist, 1.0, 0, 90, 0, 0)


def aligned(case: Case, index: Path, name: str, car: str | None) -> Path:
    """Return the folder of the sample aligned to an index."""
    out = case.folder / name
    if not (out / "summary.json").exists():
        chemistry = geometry(case.chemistry)
        align(case.pairs, chemistry, index, out, car=car, threads=THREADS, memory_mb=4000)
    return out


def counted(
    pairs: list[tuple[str, str]], chemistry: Chemistry, target: Target, fasta: Path, gtf: Path, out: Path
) -> Path:  # fmt: skip
    """Return the folder of the sample counted by kallisto, with the slice of the reads found by the search."""
    if not (out / "aligned.bam").exists():
        build_transcripts_index(fasta, gtf, out / "index")
        count(pairs, chemistry, out / "index", out)
        write_evidence(
            pairs, chemistry, [target.construct], target.homologs, target.loci, contigs(fasta), out / "aligned.bam"
        )  # fmt: skip
    return out


def compare(case: Case, engine: str) -> dict[str, object]:
    """Return one row: what the two ways have in common."""
    folder, fasta, gtf = case.folder, case.folder / "trap.fa", case.folder / "genes.gtf"
    base, augmented, whole = (folder / n for n in ("base", "augmented", "augmented.gtf"))
    if not base.exists():
        build_index(fasta, gtf, base, threads=THREADS)
    if not augmented.exists():
        write_augmented_gtf(gtf, folder / "construct.gtf", whole)
        insert_car(base, folder / "construct.fa", whole, augmented, threads=THREADS)
    homologs, loci = find_homologs(case.construct, fasta, gtf)
    target = Target(case.construct, homologs, locus_list(loci), CHEMISTRIES[case.chemistry][1])
    with_car = aligned(case, augmented, "with_car", CAR)
    if engine == "star":
        without = aligned(case, base, "without", None)
    else:
        chemistry = geometry(case.chemistry)
        without = counted(case.pairs, chemistry, target, fasta, gtf, folder / "kallisto")
    one, _ = molecules_of(with_car / "aligned.bam", target, sample="s")
    two, _ = molecules_of(without / "aligned.bam", target, sample="s")
    true = pd.read_csv(folder / "truth" / "s.car_molecules.tsv.gz", sep="\t")
    raw = read_h5ad(with_car / "raw.h5ad")
    row = with_car_row(read_h5ad(without / "plain.h5ad"), two, CAR)
    cells = raw.obs_names[np.asarray(raw.X.sum(axis=1)).ravel() > 300]
    counts = [count_car(found, cells) for found in (one, two)]
    star = pd.Series(np.asarray(raw[cells, CAR].X.todense()).ravel(), index=cells)
    ours = pd.Series(np.asarray(row[cells, CAR].X.todense()).ravel(), index=cells)
    keys = [set(zip(t["barcode"], t["umi"], strict=True)) for t in (one, two)]
    told = [
        set(zip(t["barcode"], t["umi"], strict=True))
        for t in (found[found["evidence"] != "shared"] for found in (one, two))
    ]
    own = set(zip(true["barcode"], true["umi"], strict=True))
    return {
        "reads": "3'" if "3p" in case.chemistry else "5'",
        "CAR molecules": len(own),
        "with CAR": len(keys[0]),
        "without": len(keys[1]),
        "in both": len(keys[0] & keys[1]) / max(1, len(keys[0] | keys[1])),
        "told apart, in both": len(told[0] & told[1]) / max(1, len(told[0] | told[1])),
        "false, with": len(told[0] - own) / max(1, len(told[0])),
        "false, without": len(told[1] - own) / max(1, len(told[1])),
        "p_car, with": float(one["p_car"].sum()),
        "p_car, without": float(two["p_car"].sum()),
        "cells": len(cells),
        "cells of one count": float((counts[0]["car_umis"] == counts[1]["car_umis"]).mean()),
        "cells with evidence, the same": float(
            ((counts[0]["car_evidence"] > 0) == (counts[1]["car_evidence"] > 0)).mean()
        ),
        "row against STAR's": float(np.corrcoef(star, ours)[0, 1]) if star.std() else np.nan,
        "places": len(loci[loci["contig"] == "chrT"]),
        "on the trap": int(two["endogenous_gene"].astype(str).str.startswith("chrT").sum()),
    }


def small(folder: Path, name: str, chemistry: str, seed: int, engine: str) -> dict[str, object]:
    """Return one row of a genome of six genes and the trap: reads from all over the transcript, not from its ends."""
    construct = load_construct(next(e.path for e in library() if e.name == name), name=CAR)
    reference = make_reference(folder / "reference", construct, trap(construct, seed))
    write_library(folder / "reads", reference, chemistry, seed=seed)
    place = reference.folder
    homologs, loci = find_homologs(construct, place / "g.fa", place / "g.gtf")
    kit = geometry(chemistry, str(folder / "reads/list.txt"))
    target = Target(construct, homologs, locus_list(loci), kit.strand)
    pairs = [(str(folder / "reads/R1.fastq"), str(folder / "reads/R2.fastq"))]
    align(pairs, kit, place / "index", folder / "index", car=CAR)
    if engine == "star":
        align(pairs, kit, place / "base", folder / "base", car=None)
    else:
        counted(pairs, kit, target, place / "g.fa", place / "g.gtf", folder / "base")
    tables = [
        molecules_of(folder / index / "aligned.bam", target, sample="s")[0]
        for index in ("index", "base")
    ]
    keys = [set(zip(t["barcode"], t["umi"], strict=True)) for t in tables]
    kinds = [set(zip(t["barcode"], t["umi"], t["evidence"], strict=True)) for t in tables]
    row = with_car_row(read_h5ad(folder / "base/plain.h5ad"), tables[1], CAR)
    star = read_h5ad(folder / "index/raw.h5ad")
    both = star.obs_names.intersection(row.obs_names)
    counts = [np.asarray(m[both, CAR].X.todense()).ravel() for m in (star, row)]
    evidence = [count_car(t, both)["car_evidence"] for t in tables]
    return {
        "reads": "3'" if "3p" in chemistry else "5'",
        "with CAR": len(keys[0]),
        "without": len(keys[1]),
        "in both": len(keys[0] & keys[1]) / len(keys[0] | keys[1]),
        "of one evidence": len(kinds[0] & kinds[1]) / len(kinds[0] | kinds[1]),
        "shared": int((tables[1]["evidence"] == "shared").sum()),
        "p_car, with": float(tables[0]["p_car"].sum()),
        "p_car, without": float(tables[1]["p_car"].sum()),
        "barcodes of one count": float((evidence[0] == evidence[1]).mean()),
        "row against STAR's": float(np.corrcoef(*counts)[0, 1]),
    }


def kept_reads(construct: str, seed: int) -> pd.DataFrame:
    """Return the share of the CAR's reads that the search of FASTQ files keeps, by length and share of wrong bases."""
    transcript = load_construct(data_path(f"constructs/{construct}.gb"), name="CAR").transcripts[0]
    kmers, rng = KmerSet([transcript.sequence]), np.random.default_rng(seed)
    bases = np.frombuffer(transcript.sequence.encode(), dtype=np.uint8)
    rows = []
    for length in (90, 50, 28):
        row: dict[str, float] = {"read length": length}
        for wrong in (0.005, 0.01, 0.03, 0.05, 0.1):
            starts = rng.integers(0, len(bases) - length, 4000)
            reads = bases[starts[:, None] + np.arange(length)]
            # Another base: the next one or two or three of ACGT.
            turned = (np.searchsorted(list(b"ACGT"), reads) + rng.integers(1, 4, reads.shape)) % 4
            reads = np.where(
                rng.random(reads.shape) < wrong, np.frombuffer(b"ACGT", np.uint8)[turned], reads
            )
            row[f"{wrong:.1%} wrong"] = kmers.among([r.tobytes().decode() for r in reads]).mean()
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Print a row a construct and chemistry."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--constructs", nargs="+", default=CONSTRUCTS)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--engine", choices=("star", "kallisto"), default="star")
    parser.add_argument("--cells", type=int, default=120)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--to", type=Path, help="folder that keeps what is made")
    parser.add_argument(
        "--errors", action="store_true", help="what the search keeps of reads with wrong bases"
    )
    given = parser.parse_args()
    if given.errors:
        for name in given.constructs:
            print(f"\n{name}\n{kept_reads(name, given.seed).round(3).to_markdown(index=False)}")
        return
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in given.constructs:
            for chemistry in ("10x_3p_v3", "10x_5p_v2"):
                folder = (given.to or Path(scratch)) / f"{name}_{chemistry}_{given.seed}"
                if given.small:
                    rows.append(
                        {
                            "construct": name,
                            **small(folder, name, chemistry, given.seed, given.engine),
                        }
                    )
                    print(rows[-1], flush=True)
                    continue
                case = make(folder, name, chemistry, given.cells, given.seed)
                rows.append({"construct": name, **compare(case, given.engine)})
                print(pd.DataFrame(rows[-1:]).round(4).T.to_string(header=False), flush=True)
    print(pd.DataFrame(rows).round(4).to_markdown(index=False))


if __name__ == "__main__":
    main()
