"""Molecules of stretches that the CAR shares with human genes, against simulated truth, without an alignment.

Called by ``python benchmarks/molecules.py shared``. The simulation is independent of :mod:`carseq.simulate` and
deliberately harder than public data: up to 40 % of molecules are degraded or primed inside the transcript (half of
them at A-rich sites), a gene may end at a second poly(A) site that the annotation does not know, and its expression
ranges from a third to ten times what T cells show.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from carseq.construct import Construct, homology, load_construct, rivals
from carseq.construct.homology import EndogenousTranscript
from carseq.construct.library import library, relatives
from carseq.molecules import Read, Scorer, assemble

#: Molecules per 10,000 UMIs of a T cell, an NK cell and any other cell (CD8A: of a CD8 T cell, a third of them).
EXPRESSION = {
    "CD247": (8.0, 8.0, 0.05),
    "CD28": (2.0, 0.1, 0.05),
    "CD8A": (10.0, 1.0, 0.05),
    "TNFRSF9": (0.3, 0.3, 0.02),
}
CONSTRUCTS = [
    "axi-cel",
    "cilta-cel",
    "tisa-cel",
    "hbi0101_surrogate_native",
    "ide-cel",
    "Hu19-CD828Z",
]
TAIL = "A" * 30
BASES = np.frombuffer(b"ACGT", dtype=np.uint8)


@dataclass(frozen=True)
class World:
    """One simulated sample."""

    construct: str = "axi-cel"
    five_prime: bool = False
    elsewhere: float = 0.15
    expression: float = 1.0
    car_fraction: float = 0.1
    car_rate: float = 8.0
    cells: int = 1500
    t_cells: float = 0.4
    depth: float = 3000.0
    read_length: int = 90
    reads_per_molecule: float = 1.25
    ambient: float = 0.03
    second_site: float = 0.3
    short_isoforms: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Drawn:
    """The reads of a sample, as they leave the BAM, and whether each molecule is the CAR's."""

    candidates: list[Read]
    homolog_molecules: dict[str, set[tuple[str, str]]]
    truth: dict[tuple[str, str], bool]
    is_car_cell: dict[str, bool] = field(default_factory=dict)


_KNOWN: dict[tuple[str, int, bool], tuple[Construct, list[EndogenousTranscript], pd.DataFrame]] = {}


def known(
    name: str, read_length: int, short_isoforms: bool = False
) -> tuple[Construct, list[EndogenousTranscript], pd.DataFrame]:
    """Return a construct, its homologs and its homology (made once).

    With ``short_isoforms`` the annotation lists, before each full mRNA, one that ends 60 nt behind the shared
    stretch, as human annotations do.
    """
    key = name, read_length, short_isoforms
    if key not in _KNOWN:
        car = load_construct(next(e.path for e in library() if e.name == name), name="CAR")
        transcripts = [EndogenousTranscript(g, g, s) for g, s in relatives().items()]
        similar = rivals(car.sequence, transcripts)
        table = homology(car.sequence, similar, read_length=read_length)
        if short_isoforms:
            short = []
            for gene, own in Scorer(car, similar, table).stretches.items():
                (whole,) = (t.sequence for t in similar if t.gene == gene)
                end = whole.find(car.sequence[own[-1].end - 30 : own[-1].end])
                if end >= 0:
                    short.append(EndogenousTranscript(gene, f"{gene}-short", whole[: end + 90]))
            similar = [*short, *similar]
        _KNOWN[key] = car, similar, table
    return _KNOWN[key]


def barcode(i: int) -> str:
    """Return the barcode of a cell's number."""
    return "".join("ACGT"[(i >> (2 * k)) & 3] for k in range(16))


def draw(world: World, scorer: Scorer) -> Drawn:
    """Simulate a sample: cells, molecules, fragments, reads."""
    rng = np.random.default_rng([world.seed, 77])
    n = world.cells
    kind = rng.choice(3, n, p=[world.t_cells, 0.1, 0.9 - world.t_cells])
    is_cd8 = rng.random(n) < 1 / 3
    is_car = (kind == 0) & (rng.random(n) < world.car_fraction)
    depth = world.depth * rng.lognormal(0, 0.6, n)
    sequences = {g: s.rstrip("A") for g, s in relatives().items() if g in scorer.stretches}
    sources: list[tuple[str, str, np.ndarray]] = []
    for gene, sequence in sequences.items():
        rate = np.array(EXPRESSION[gene])[kind] * world.expression
        if gene == "CD8A":
            rate = np.where((kind == 0) & ~is_cd8, 0.1 * world.expression, rate)
        rate = rate * rng.lognormal(-0.18, 0.6, n)
        sources.append((gene, sequence, rate))
    rate = np.where(is_car, world.car_rate * rng.lognormal(-0.32, 0.8, n), 0.0)
    forms = [t.sequence for t in scorer.construct.transcripts]
    shares = [1.0] if len(forms) == 1 else [0.4, *[0.6 / (len(forms) - 1)] * (len(forms) - 1)]
    sources += [("", f, rate * s) for f, s in zip(forms, shares, strict=True)]
    candidates: list[Read] = []
    homolog_molecules: dict[str, set[tuple[str, str]]] = defaultdict(set)
    truth: dict[tuple[str, str], bool] = {}
    used: Counter[str] = Counter()
    for gene, sequence, own in sources:
        soup = float((own * depth).sum() / depth.sum())
        counts = rng.poisson(depth / 1e4 * ((1 - world.ambient) * own + world.ambient * soup))
        cell = np.repeat(np.arange(n), counts)
        reads, molecule, start = fragments(sequence, len(cell), world, rng, bool(gene))
        names = [barcode(c) for c in range(n)]
        umis = []
        for c in cell:
            used[names[c]] += 1
            # Far apart, so that none is taken for another's error.
            umis.append(barcode(used[names[c]] * 40503 % 65536)[:8] * 2)
        similar = scorer.kmers.among(reads)
        # By coordinate, as in the BAM of a gene on the minus strand.
        for i in np.argsort(-start):
            read, m, alike = reads[i], molecule[i], similar[i]
            key = names[cell[m]], umis[m]
            truth[key] = not gene
            if alike:
                candidates.append(Read(*key, read, "homolog" if gene else "aligned", False))
            elif gene:
                homolog_molecules[gene].add(key)
    return Drawn(
        candidates, homolog_molecules, truth, {barcode(c): bool(is_car[c]) for c in np.arange(n)}
    )


def fragments(
    sequence: str, n: int, world: World, rng: np.random.Generator, gene: bool
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Return the reads of ``n`` molecules of a transcript on its strand, whose each is, and where it starts."""
    length = len(sequence)
    is_a = np.concatenate([[0], np.cumsum([b == "A" for b in sequence])])
    rich = np.flatnonzero(is_a[10:] - is_a[:-10] >= 8)
    rich = rich[(rich > 150) & (rich < length - 30)]
    end = np.full(n, length)
    if gene and world.second_site:
        # A poly(A) site in the last third, whose place depends on the gene alone.
        site = length - len(sequence) % 97 * (length // 300) - 200
        end[rng.random(n) < world.second_site] = site
    low = np.zeros(n, dtype=np.int64)
    u = rng.random(n)
    inside = u < world.elsewhere / 2
    if len(rich):
        weight = rng.random(len(rich)) if world.seed % 2 else np.ones(len(rich))
        end[inside] = rng.choice(rich, int(inside.sum()), p=weight / weight.sum())
    else:
        end[inside] = rng.integers(150, length, int(inside.sum()))
    cut = (u >= world.elsewhere / 2) & (u < world.elsewhere)
    where = rng.integers(100, length - 100, n)
    if world.five_prime:
        low[cut] = np.minimum(where, np.maximum(end - 100, 0))[cut]
    else:
        end[cut] = np.maximum(where, 150)[cut]
    n_reads = 1 + rng.poisson(max(world.reads_per_molecule - 1, 0), n)
    molecule = np.repeat(np.arange(n), n_reads)
    insert = np.maximum(rng.normal(350, 100, len(molecule)), 60).astype(int)
    size = world.read_length
    if world.five_prime:
        far = np.minimum(low[molecule] + insert, end[molecule])
        start = np.maximum(far - size, low[molecule])
    else:
        start = np.maximum(end[molecule] - insert, low[molecule])
    reads = []
    text = np.frombuffer((sequence + TAIL * 6).encode(), dtype=np.uint8)
    for s, m in zip(start, molecule, strict=True):
        read = text[s : s + size].copy()
        over = s + size - end[m]
        if over > 0:
            read[size - over :] = ord("A")
        wrong = rng.random(size) < 0.004
        read[wrong] = rng.choice(BASES, int(wrong.sum()))
        reads.append(read.tobytes().decode())
    return reads, molecule, start


def judge(world: World) -> dict[str, object]:
    """Simulate a sample, find its molecules and return truth and estimate."""
    car, similar, table = known(world.construct, world.read_length, world.short_isoforms)
    scorer = Scorer(car, similar, table, prefer_3p=not world.five_prime)
    drawn = draw(world, scorer)
    molecules, _ = assemble(
        drawn.candidates, scorer, "s", counts=Counter(), homolog_molecules=drawn.homolog_molecules
    )
    is_car = np.array(
        [drawn.truth[key] for key in zip(molecules["barcode"], molecules["umi"], strict=True)],
        dtype=bool,
    )
    shared = (molecules["evidence"] == "shared").to_numpy()
    p_car = molecules["p_car"].to_numpy()
    counted = p_car >= 0.5
    return {
        "construct": world.construct,
        "reads": "5'" if world.five_prime else "3'",
        "elsewhere": world.elsewhere,
        "expression": world.expression,
        "told apart": int((~shared & is_car).sum()),
        "told wrong": int((~shared & ~is_car & counted).sum()),
        "shared": int(shared.sum()),
        "shared CAR": int((shared & is_car).sum()),
        "sum of p_car": float(p_car[shared].sum()),
        "all CAR": int(is_car.sum()),
        "sum of all": float(p_car.sum()),
        "counted": int(counted.sum()),
        "precision": float(is_car[counted].mean()) if counted.any() else 1.0,
    }


def misses(row: dict[str, object]) -> bool:
    """Whether the sum of p_car over shared molecules misses the truth by more than 5 and more than 20 %."""
    true, found = float(row["shared CAR"]), float(row["sum of p_car"])  # type: ignore[arg-type]
    return abs(found - true) > max(5.0, 0.2 * true)


def misses_all(row: dict[str, object]) -> bool:
    """The same over all molecules."""
    true, found = float(row["all CAR"]), float(row["sum of all"])  # type: ignore[arg-type]
    return abs(found - true) > max(5.0, 0.2 * true)


def worlds(seed: int) -> list[World]:
    """Return the studies of a seed."""
    found = []
    rng = np.random.default_rng([seed, 5])
    for construct in CONSTRUCTS:
        for five_prime in (False, True):
            for elsewhere in (0.0, 0.15, 0.4):
                for expression in (0.3, 1.0, 10.0):
                    found.append(
                        World(
                            construct,
                            five_prime,
                            elsewhere,
                            expression,
                            car_fraction=float(rng.choice([0.0, 0.02, 0.1, 0.5, 0.95])),
                            car_rate=float(rng.choice([3.0, 8.0, 20.0])),
                            cells=int(rng.choice([300, 1500])),
                            t_cells=float(rng.choice([0.1, 0.4, 0.8])),
                            depth=float(rng.choice([1000.0, 3000.0])),
                            read_length=int(rng.choice([90, 90, 90, 55, 150])),
                            reads_per_molecule=float(rng.choice([1.0, 1.25, 2.5])),
                            second_site=float(rng.choice([0.0, 0.3])),
                            short_isoforms=bool(rng.random() < 0.5),
                            seed=int(rng.integers(1 << 30)),
                        )
                    )
    return found


def study(seed: int, share: float = 1.0) -> pd.DataFrame:
    """Return one row a study of a seed; ``share`` of them, evenly."""
    chosen = worlds(seed)
    chosen = chosen[:: max(1, round(1 / share))]
    rows = [judge(world) for world in chosen]
    table = pd.DataFrame(rows)
    table["misses"] = [misses(row) for row in rows]
    table["misses, all"] = [misses_all(row) for row in rows]
    return table
