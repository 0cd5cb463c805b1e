"""The evidence for the CAR against simulated truth, without re-alignment, and its speed.

    python benchmarks/molecules.py truth [--to FOLDER]                  # six constructs, 3' and 5'
    python benchmarks/molecules.py speed [--reads 20000000] [--to FOLDER]  # against samtools and against alignment

    python benchmarks/molecules.py shared [--seed 11]                      # stretches shared with human genes

FOLDER keeps what was made (genome, index, alignments), so that a second run measures only.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pysam

from carseq.construct import Construct, homology, load_construct, rivals, write_construct
from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.construct.library import library
from carseq.library.geometry import CHEMISTRIES, Chemistry
from carseq.library.whitelist import known_whitelist
from carseq.molecules import find_molecules
from carseq.reference.genome import locus_list, read_transcripts, rival_context, write_augmented_gtf
from carseq.reference.index import build_index, insert_car
from carseq.simulate import SampleSpec, simulate_study
from carseq.solo import align

CONSTRUCTS = [
    "hbi0101_surrogate_native",
    "ide-cel",
    "cilta-cel",
    "tisa-cel",
    "axi-cel",
    "Hu19-CD828Z",
]
CAR = "CAR"
THREADS = 2
#: A gene of every simulated genome, which stands in for the CAR where a matrix without it is made.
ANY_GENE = "CD247"


@dataclass(frozen=True)
class Case:
    """A simulated sample and what carseq knows of its construct."""

    folder: Path
    construct: Construct
    chemistry: str
    rivals: list[EndogenousTranscript]
    homology: pd.DataFrame
    loci: list[Locus]

    def find(self, bam: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return molecules and losses of a BAM."""
        strand = CHEMISTRIES[self.chemistry][1]
        return find_molecules(
            bam,
            self.construct,
            self.rivals,
            self.homology,
            sample="s",
            strand=strand,
            loci=self.loci,
        )

    def bam(self, index: Path, name: str, car: str) -> Path:
        """Return the sample aligned to an index."""
        out = self.folder / name
        if not (out / "summary.json").exists():
            umi, strand, whitelist = CHEMISTRIES[self.chemistry]
            listed = str(known_whitelist(str(whitelist)))
            chemistry = Chemistry(self.chemistry, 1, 16, 17, umi, strand, listed, 1.0, 0, 90, 0, 0)
            pairs = [
                (r1, str(r1).replace("_R1", "_R2"))
                for r1 in sorted(self.folder.glob("fastq/*_R1*"))
            ]
            align(pairs, chemistry, index, out, car=car, threads=THREADS, memory_mb=8000)
        return out / "aligned.bam"


def make(folder: Path, name: str, chemistry: str, spec: SampleSpec) -> Case:
    """Simulate a sample of a construct (once)."""
    if not (folder / "truth" / "parameters.json").exists():
        simulate_study(
            folder, construct=name, construct_name=CAR, chemistry=chemistry, samples=[spec], seed=7
        )
    construct = load_construct(next(e.path for e in library() if e.name == name), name=CAR)
    fasta, gtf = folder / "genome.fa", folder / "genes.gtf"
    found = rivals(construct.sequence, read_transcripts(fasta, gtf))
    windows, loci = rival_context(fasta, gtf, {rival.gene for rival in found})
    table = homology(construct.sequence, found)
    return Case(folder, construct, chemistry, [*found, *windows], table, locus_list(loci))


def base_index(case: Case, folder: Path) -> Path:
    """Return the index without the CAR (made once: every study of one seed has one genome)."""
    index = folder / "base"
    if not index.exists():
        fasta, gtf = case.folder / "genome.fa", case.folder / "genes.gtf"
        build_index(fasta, gtf, index, threads=THREADS)
    return index


def augmented_index(case: Case, base: Path) -> Path:
    """Return the index with the CAR."""
    index = case.folder / "augmented"
    if not index.exists():
        write_construct(case.construct, case.folder)
        gtf = case.folder / "augmented.gtf"
        write_augmented_gtf(case.folder / "genes.gtf", case.folder / "construct.gtf", gtf)
        insert_car(base, case.folder / "construct.fa", gtf, index, threads=THREADS)
    return index


def keys(table: pd.DataFrame) -> set[tuple[str, str]]:
    """Return (barcode, UMI) of a table."""
    return set(zip(table["barcode"], table["umi"], strict=True))


def unmatched(some: set[tuple[str, str]], others: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of some molecules that others lack, allowing for two errors in the UMI of a molecule read once."""
    left, spare = some - others, defaultdict(set)
    for barcode, umi in others - some:
        spare[barcode].add(umi)
    for barcode, umi in sorted(left):
        near = [u for u in spare[barcode] if sum(a != b for a, b in zip(u, umi, strict=True)) <= 2]
        if near:
            left.remove((barcode, umi))
            spare[barcode].remove(near[0])
    return left


def truth(folder: Path) -> None:
    """Print, by construct and chemistry, what is found of the CAR's molecules and what is taken for them."""
    spec = SampleSpec(
        name="s", compartment="blood", cells=200, car_fraction=0.5, car_expression=6e-3,
        median_depth=2000, ambient=0.05, n_empty=200,
    )  # fmt: skip
    rows = []
    for name in CONSTRUCTS:
        for chemistry in ("10x_3p_v3", "10x_5p_v2"):
            case = make(folder / f"{name}_{chemistry}", name, chemistry, spec)
            base = base_index(case, folder)
            found, _ = case.find(case.bam(augmented_index(case, base), "solo", CAR))
            true = pd.read_csv(case.folder / "truth" / "s.car_molecules.tsv.gz", sep="\t")
            identifiable = keys(true[true["identifiable"].astype(bool)])
            sure = keys(found[found["evidence"] != "shared"])
            shared = found[found["evidence"] == "shared"]
            rows.append(
                {
                    "construct": name,
                    "reads": "3'" if "3p" in chemistry else "5'",
                    "CAR molecules": len(true),
                    "identifiable": len(identifiable),
                    "found": 1
                    - len(unmatched(identifiable, keys(found))) / max(1, len(identifiable)),
                    "false of unique": len(unmatched(sure, keys(true))) / max(1, len(sure)),
                    "shared": len(shared),
                    "of them CAR": len(shared) - len(unmatched(keys(shared), keys(true))),
                    "sum of p_car": float(shared["p_car"].sum()),
                }
            )
            print(
                pd.DataFrame(rows[-1:]).round(4).to_string(index=False, header=len(rows) == 1),
                flush=True,
            )
    table = pd.DataFrame(rows)
    print(table.round(4).to_markdown(index=False))
    total = table[["of them CAR", "sum of p_car"]].sum()
    print(
        f"shared molecules, all: {total.iloc[0]:.0f} CAR, {total.iloc[1]:.1f} by the sum of p_car"
    )


def shared(seed: int) -> None:
    """Print, for 108 samples, how many molecules of shared stretches are the CAR's and what p_car sums to."""
    from shared_stretches import study

    table = study(seed)
    table = table[table["shared"] > 0]
    print(table.round(3).to_markdown(index=False))
    true, found = table["shared CAR"].sum(), table["sum of p_car"].sum()
    print(
        f"{len(table)} samples with {table['shared'].sum()} molecules in shared stretches, {true} of them the CAR's; "
        f"p_car sums to {found:.1f}"
    )
    print(
        f"sum of p_car more than 20 % and more than 5 from the truth: {table['misses'].sum()} samples by shared "
        f"molecules alone, {table['misses, all'].sum()} by all; precision below 0.9: {(table['precision'] < 0.9).sum()}"
    )


def gene_id(case: Case, symbol: str) -> str:
    """Return the gene id of a symbol in the simulated annotation."""
    for line in (case.folder / "genes.gtf").open():
        if f'gene_name "{symbol}"' in line:
            return line.split('gene_id "')[1].split('"')[0]
    raise SystemExit(f"no {symbol} in the genome")


def seconds(work: Callable[[], object], times: int) -> np.ndarray:
    """Return the wall-clock times of some calls."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return np.array(taken)


def speed(folder: Path, n_reads: int) -> None:
    """Print times side by side: samtools over the same reads, carseq, and carseq on a BAM without the CAR."""
    depth = 3000
    # 1.25 reads a molecule, and an eighth more that is junk, ambient or of no listed barcode.
    cells = round(n_reads / depth / 1.25 / 1.125 / 1.13)
    spec = SampleSpec(
        name="s", cells=cells, compartment="blood", car_fraction=0.2, median_depth=depth,
        n_empty=20_000, ambient=0.02,
    )  # fmt: skip
    case = make(folder, "hbi0101_surrogate_native", "10x_3p_v3", spec)
    base = base_index(case, folder)
    index = augmented_index(case, base)
    start = time.perf_counter()
    bam = case.bam(index, "solo", CAR)
    aligned = time.perf_counter() - start
    plain = case.bam(base, "plain", gene_id(case, ANY_GENE))
    regions = [CAR, *(f"{x.contig}:{x.start + 1}-{x.end}" for x in case.loci), "*"]
    found, losses = case.find(bam)  # compiles, and fills the disk cache
    times = {"samtools": [], "carseq": [], "samtools, no CAR": [], "carseq, no CAR": []}
    for _ in range(5):
        times["samtools"] += [*seconds(lambda: pysam.samtools.view("-c", str(bam), *regions), 1)]
        times["carseq"] += [*seconds(lambda: case.find(bam), 1)]
        times["samtools, no CAR"] += [
            *seconds(lambda: pysam.samtools.view("-c", str(plain), *regions[1:]), 1)
        ]
        times["carseq, no CAR"] += [*seconds(lambda: case.find(plain), 1)]
    rescued, _ = case.find(plain)
    with pysam.AlignmentFile(str(bam)) as alignments:
        n_unmapped, n_mapped = alignments.nocoordinate, alignments.mapped
    middle = {name: float(np.median(taken)) for name, taken in times.items()}
    print(
        f"reads: {n_mapped + n_unmapped:,} alignments and unmapped reads, {n_unmapped:,} unmapped"
    )
    print(losses.set_index("step")["n"].to_dict())
    for name, taken in times.items():
        print(f"{name}: median {middle[name]:.2f} s of {np.round(taken, 2)}")
    print(f"carseq / samtools: {middle['carseq'] / middle['samtools']:.2f}")
    print(
        f"carseq / samtools, BAM without the CAR: {middle['carseq, no CAR'] / middle['samtools, no CAR']:.2f}"
    )
    share = len(keys(rescued) & keys(found)) / len(found)
    print(
        f"molecules of the full run found in the BAM without the CAR: {share:.4f} of {len(found)}"
    )
    if aligned > 5:
        ratio = middle["carseq, no CAR"] / (aligned + middle["carseq"])
        print(
            f"alignment: {aligned:.0f} s; BAM to molecules / alignment and molecules: {ratio:.4f}"
        )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory: {peak:.2f} GB (with the simulation's, where it ran)")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["truth", "speed", "shared"])
    parser.add_argument("--to", type=Path, help="folder that keeps what is made")
    parser.add_argument("--reads", type=int, default=20_000_000)
    parser.add_argument(
        "--seed", type=int, default=11, help="of `shared`; seeds 1 and 2 settled its constants"
    )
    given = parser.parse_args()
    if given.what == "shared":
        shared(given.seed)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.to or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if given.what == "truth":
            truth(folder)
        else:
            speed(folder, given.reads)


if __name__ == "__main__":
    main()
