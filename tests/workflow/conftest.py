"""The demo study, run once for all who take it."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pandas as pd
import pytest
import yaml

from carseq.library.whitelist import known_whitelist
from carseq.reference.index import build_index
from carseq.run import prepare_demo
from carseq.simulate import Protocol, SampleSpec, demo_samples
from carseq.simulate.expression import cell_types
from once import once
from runs import FIVE_PRIME, INDEX, VOID, Finished, run

#: UMIs of a cell in the middle: three quarters of what `carseq demo` takes, and of blood and product fewer still.
DEPTH = {"urine": 1350.0, "blood": 1700.0, "product": 1700.0}


def samples() -> Iterator[SampleSpec]:
    """Yield the samples of `carseq demo` with as many CAR T cells, fewer others and fewer reads, and a small 5' one.

    What is claimed rests on T cells, most of all on those with the CAR, of which there are more; reads cost time.
    """
    lineage = cell_types()["lineage"]
    for sample in demo_samples():
        blood = sample.compartment == "blood"
        # Of blood half of the T cells, twice as many of them with the CAR; its B cells tell blood in urine.
        parts = {"T": 2 if blood else 1, "B": 1 if blood else 3}
        few = {
            name: -(-n // parts.get(lineage[name], 3)) for name, n in sample.cell_counts().items()
        }
        fraction = {0.0: 0.0, 0.35: 0.6, 0.15: 0.4}[sample.car_fraction]
        depth = DEPTH["blood" if blood else "urine"]
        yield replace(sample, cells=few, car_fraction=fraction, n_empty=2500, median_depth=depth)
    for sample in demo_samples(cells=120, with_product=True):
        name = sample.name.replace("P01", "P02")
        if name not in FIVE_PRIME:
            continue
        changed = replace(
            sample,
            name=name,
            patient="P02",
            chemistry="10x_5p_v2",
            median_depth=DEPTH[sample.compartment],
        )
        if sample.role == "product":
            # Of the product one verdict is asked for.
            changed = replace(changed, cells=45)
        elif sample.car_fraction:
            changed = replace(changed, car_fraction=0.7)
        yield changed


def add_void(folder: Path) -> None:
    """Add a sample of 2,000 reads under as many barcodes, one in ten of them of nothing that is known."""
    rng = random.Random(5)
    genome = (folder / "genome.fa").read_text().split(">")[1].split("\n", 1)[1].replace("\n", "")
    with gzip.open(known_whitelist("10x_version3"), "rt") as stream:
        whitelist = [line.strip() for line in islice(stream, 20_000)]
    pair = [f"fastq/{VOID}_R{i}.fastq.gz" for i in (1, 2)]
    with gzip.open(folder / pair[0], "wt") as r1, gzip.open(folder / pair[1], "wt") as r2:
        for i in range(2000):
            start = rng.randrange(len(genome) - 90)
            first = whitelist[i * 7] + "".join(rng.choices("ACGT", k=12))
            r1.write(f"@r{i}\n{first}\n+\n{'F' * 28}\n")
            bases = genome[start : start + 90] if i % 10 else "".join(rng.choices("ACGT", k=90))
            r2.write(f"@r{i}\n{bases}\n+\n{'F' * 90}\n")
    own = {"patient": "P03", "compartment": "urine", "timepoint": "D0", "chemistry": "10x_3p_v3"}
    for sheet, row in (
        ("samples.tsv", own),
        ("units.tsv", {"unit": "1", "r1": pair[0], "r2": pair[1]}),
    ):
        table = pd.read_csv(folder / sheet, sep="\t", dtype=str, keep_default_na=False)
        table = pd.concat([table, pd.DataFrame([{"sample": VOID, **row}])]).fillna("")
        table.to_csv(folder / sheet, sep="\t", index=False)


def make_demo(folder: Path) -> None:
    """Simulate and run the demo, on an index that was there before."""
    prepare_demo(
        folder,
        samples=list(samples()),
        protocol=Protocol(reads_per_molecule=1.1),
        lanes=1,
        n_genes=420,
    )
    add_void(folder)
    build_index(folder / "genome.fa", folder / "genes.gtf", folder / INDEX, threads=2)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["reference"]["star_index"] = INDEX
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    run(folder)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A patient's urine and blood of a 3' library, another's urine and product of a 5' one, reads without a cell."""
    return Finished(once(tmp_path_factory, "demo", make_demo))
