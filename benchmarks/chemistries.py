"""Every kit that carseq knows, end to end through STAR: its reads written, counted, the CAR's molecules found.

    python benchmarks/chemistries.py [--kits NAME ...] [--seed 1] [--to FOLDER]
    python benchmarks/chemistries.py --calls [--cells 100] [--seed 1] [--to FOLDER]  # 5' v3, learnt against listed

A library of some cells and three times as many empty droplets, of six genes and a CAR; one base in a hundred of the
barcode read is wrong. Where no list may be shipped, or `--observed` asks for it, barcodes are learnt from the reads.
`found`: share of the cells' molecules in the matrix of their barcode; `false`: molecules of the CAR that are not its
own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from carseq.calling import count_car
from carseq.cells.stages import sample_cells
from carseq.construct import load_construct
from carseq.data import path as data_path
from carseq.io.h5ad import read_h5ad
from carseq.library.detect import detect_chemistry
from carseq.library.geometry import CHEMISTRIES, Chemistry, is_observed, layout
from carseq.library.observed import learn_barcodes
from carseq.library.presets import PRESETS, Preset
from carseq.library.whitelist import known_whitelist, read_parts
from carseq.molecules import Target, molecules_of
from carseq.molecules.row import with_car_row
from carseq.reference.genome import locus_list
from carseq.reference.index import build_index
from carseq.reference.resembling import find_homologs
from carseq.simulate import SampleSpec, simulate_study
from carseq.solo import align

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from six_genes import ACGT, CAR, GENES, TURN, Reference, make_reference, noise


def first_read(rng: np.random.Generator, kit: Preset, barcode: str, umi: str) -> str:
    """Return a barcode read as a kit makes it."""
    read = np.frombuffer(noise(rng, kit.end - kit.shifts).encode(), dtype=np.uint8).copy()
    at = 0
    for start, length in kit.parts:
        read[start - 1 : start - 1 + length] = list(barcode[at : at + length].encode())
        at += length
    for start, bases in kit.linkers:
        read[start - 1 : start - 1 + len(bases)] = list(bases.encode())
    read[kit.umi[0] - 1 : kit.umi[0] - 1 + kit.umi[1]] = list(umi.encode())
    wrong = rng.random(len(read)) < 0.01
    read[wrong] = rng.choice(ACGT, int(wrong.sum()))
    before = ["", "A", "GT", "TCA"][int(rng.integers(0, kit.shifts + 1))]
    return before + read.tobytes().decode() + "T" * 8


def barcodes_of(
    rng: np.random.Generator, name: str, kit: Preset, n: int, folder: Path
) -> list[str]:
    """Return barcodes of a kit, and write the list that it needs: its own, or a made-up one in ``list.txt``."""
    lengths = [length for _, length in kit.parts]
    if len(lengths) == 1:
        listed = CHEMISTRIES[name][2] if name in CHEMISTRIES else kit.known
        if listed:
            words = read_parts(known_whitelist(listed), lengths)[0][:: max(1, 700_000 // n)][:n]
        else:
            words = [noise(rng, lengths[0]) for _ in range(n)]
        (folder / "list.txt").write_text("\n".join(words) + "\n")
        return words
    if kit.known:
        lists = read_parts(known_whitelist(kit.known), lengths)
    else:
        lists = [[noise(rng, length) for _ in range(96)] for length in lengths]
        rows = zip(*lists, strict=True)
        (folder / "list.txt").write_text("".join(f"{' '.join(row)}\n" for row in rows))
    return ["".join(rng.choice(of) for of in lists) for _ in range(n)]


def write_library(
    folder: Path, reference: Reference, name: str, *, cells: int = 40, seed: int = 1
) -> pd.DataFrame:
    """Write R1, R2 and the list of a kit's library; return its molecules: barcode, gene, whether of a cell."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, len(name)])
    kit = layout(name)
    barcodes = barcodes_of(rng, name, kit, 4 * cells, folder)
    rows, one, two = [], [], []
    for number, barcode in enumerate(barcodes):
        is_cell = number < cells
        for molecule in range(150 if is_cell else 6):
            gene = CAR if molecule % 10 == 0 and number % 2 == 0 else f"G{molecule % GENES}"
            source = reference.car.sequence if gene == CAR else reference.genes[int(gene[1:])]
            umi = noise(rng, kit.umi[1])
            rows.append((barcode, gene, is_cell))
            for _ in range(2):
                start = int(rng.integers(0, len(source) - 90))
                read = source[start : start + 90]
                if kit.strand == "Reverse":
                    read = read[::-1].translate(TURN)
                first = first_read(rng, kit, barcode, umi)
                one.append(f"@r{len(one)}\n{first}\n+\n{'I' * len(first)}\n")
                two.append(f"@r{len(two)}\n{read}\n+\n{'I' * 90}\n")
    order = rng.permutation(len(one))
    (folder / "R1.fastq").write_text("".join(one[i] for i in order))
    (folder / "R2.fastq").write_text("".join(two[i] for i in order))
    return pd.DataFrame(rows, columns=["barcode", "gene", "is_cell"])


def count_kit(
    folder: Path, reference: Reference, name: str, *, observed: bool = False, seed: int = 1
) -> dict[str, object]:
    """Simulate a kit's library, count it as the workflow does, and hold it against the truth."""
    truth = write_library(folder, reference, name, seed=seed)
    pairs = [(folder / "R1.fastq", folder / "R2.fastq")]
    kit = layout(name)
    whitelist: Path | None = folder / "list.txt"
    learns = observed or is_observed(name, None)
    if learns:
        whitelist = folder / "observed.txt.gz"
        learn_barcodes([pairs[0][0]], kit, sample=name).write(whitelist)
    elif kit.known or name in CHEMISTRIES:
        whitelist = None
    chemistry = detect_chemistry(
        pairs, reference.genes, sample=name, chemistry=name, whitelist=whitelist
    )
    align(pairs, chemistry, reference.folder / "index", folder / "out", car=CAR)
    homologs, loci = find_homologs(
        reference.car, reference.folder / "g.fa", reference.folder / "g.gtf"
    )
    target = Target(reference.car, homologs, locus_list(loci), chemistry.strand)
    molecules, _ = molecules_of(folder / "out/aligned.bam", target, sample="s")
    raw = read_h5ad(folder / "out/raw.h5ad")
    totals = pd.Series(np.asarray(raw.X.sum(axis=1)).ravel(), index=plain(raw.obs_names))
    cells = truth[truth["is_cell"]]
    expected = cells["barcode"].value_counts()
    own = cells.loc[cells["gene"] == CAR, "barcode"].value_counts()
    found = pd.Series(plain(molecules["barcode"])).value_counts()
    everywhere = truth.loc[truth["gene"] == CAR, "barcode"].value_counts()
    extra = (found - everywhere.reindex(found.index, fill_value=0)).clip(lower=0).sum()
    return {
        "kit": name,
        "barcodes": "learnt" if learns else "listed",
        "parts": len(kit.parts),
        "valid": chemistry.valid_barcodes,
        "strand": chemistry.strand,
        "cells": len(expected),
        "found": float(totals.reindex(expected.index, fill_value=0).clip(upper=expected).sum())
        / int(expected.sum()),
        "CAR found": float(found.reindex(own.index, fill_value=0).clip(upper=own).sum())
        / int(own.sum()),
        "false": float(extra / max(1, found.sum())),
    }


def calls(folder: Path, cells: int, seed: int) -> dict[str, object]:
    """Hold a simulated 5' v3 sample counted with learnt barcodes against the same counted with its true list."""
    spec = SampleSpec(
        name="s", compartment="blood", cells=cells, car_fraction=0.3, n_empty=20 * cells
    )
    if not (folder / "config.yaml").exists():
        simulate_study(
            folder, construct="ide-cel", construct_name=CAR, chemistry="10x_5p_v3", samples=[spec],
            seed=seed, lanes=1,
        )  # fmt: skip
    fasta, gtf = folder / "genome.fa", folder / "genes.gtf"
    car = load_construct(data_path("constructs/ide-cel.gb"), name=CAR)
    if not (folder / "base").exists():
        build_index(fasta, gtf, folder / "base")
    (r1,) = folder.glob("fastq/*_R1_*")
    pairs = [(r1, Path(str(r1).replace("_R1_", "_R2_")))]
    learnt = learn_barcodes([r1], layout("10x_5p_v3"), sample="s")
    learnt.write(folder / "observed.txt.gz")
    homologs, loci = find_homologs(car, fasta, gtf)
    target = Target(car, homologs, locus_list(loci), "Reverse")
    found = {}
    for name in ("whitelist.txt.gz", "observed.txt.gz"):
        out = folder / name.split(".")[0]
        chemistry = Chemistry(
            "10x_5p_v3", 1, 16, 17, 12, "Reverse", str(folder / name), 1.0, 0, 90, 0, 0
        )
        if not (out / "summary.json").exists():
            align(pairs, chemistry, folder / "base", out, car=None)
        molecules, _ = molecules_of(out / "aligned.bam", target, sample="s")
        raw = with_car_row(read_h5ad(out / "plain.h5ad"), molecules, CAR)
        made = sample_cells(raw, "s", car=CAR, seed=0)
        own = made.barcodes.index[made.barcodes["is_cell"]]
        totals = pd.Series(np.asarray(raw.X.sum(axis=1)).ravel(), index=raw.obs_names)
        found[name] = (set(own), count_car(molecules, pd.Index(own)), totals)
    (one, cars, sums), (two, other_cars, other_sums) = found.values()
    both = sorted(one & two)
    truth = pd.read_csv(folder / "truth/s.droplets.tsv.gz", sep="\t")
    droplets = set(truth["barcode"])
    return {
        "barcodes learnt": len(learnt.words[0]),
        "of droplets": len(set(learnt.words[0]) & droplets) / len(learnt.words[0]),
        "cells, listed": len(one),
        "cells, learnt": len(two),
        "cells in both": len(both) / max(1, len(one | two)),
        "the same CAR evidence": float(
            (cars.loc[both, "car_evidence"] == other_cars.loc[both, "car_evidence"]).mean()
        ),
        "molecules of the cells": float(other_sums[both].sum() / sums[both].sum()),
    }


def plain(barcodes: pd.Index | pd.Series) -> pd.Index:
    """Return barcodes of several parts without what STARsolo puts between the parts."""
    return pd.Index(barcodes.astype(str)).str.replace("_", "", regex=False)


def main() -> None:
    """Print a row a kit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kits", nargs="+", default=["10x_5p_v3", *PRESETS])
    parser.add_argument("--observed", action="store_true", help="learn the barcodes of every kit")
    parser.add_argument("--calls", action="store_true", help="5' v3: learnt against listed")
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--to", type=Path, help="folder that keeps what is made")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.to or Path(scratch)
        if given.calls:
            print(pd.Series(calls(folder / "calls", given.cells, given.seed)).to_string())
            return
        reference = make_reference(folder / "reference")
        for name in given.kits:
            rows.append(
                count_kit(folder / name, reference, name, observed=given.observed, seed=given.seed)
            )
            print(rows[-1], flush=True)
    print(pd.DataFrame(rows).round(4).to_markdown(index=False))


if __name__ == "__main__":
    main()
