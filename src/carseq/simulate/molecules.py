"""From cells to the molecules of a library: capture, ambient, doublets, chimeras, priming, decay."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from carseq.errors import CarseqError
from carseq.simulate.expression import Cells
from carseq.simulate.genome import Bases, Genome, encode

Ints = NDArray[np.int64]

ORIGINS = ("own", "partner", "ambient", "swapped")
OWN, PARTNER, AMBIENT, SWAPPED = range(4)
KINDS = ("polyA", "internal", "degraded")
POLY_A, INTERNAL, DEGRADED = range(3)
#: Oligo-dT primes inside a transcript where ten bases hold at least eight A.
_SITE_WINDOW, _SITE_MIN_A = 10, 8
#: How much rarer internal priming is in a transcript without such a site.
_SITELESS = 0.3
#: Share of pre-mRNA molecules primed inside (introns are rich in A stretches).
_PREMRNA_INTERNAL = 0.6
#: Shortest template between the cut of a degraded molecule and its priming site, nt.
_MIN_TEMPLATE = 100
#: Shortest identical stretch that counts as shared with an endogenous transcript, nt.
MIN_SHARED = 20


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The wet lab and the sequencer.

    Parameters
    ----------
    read_length
        R2, nt.
    insert_mean, insert_sd
        Fragment from its far end to the priming site (3') or the 5' end (5'), nt.
    reads_per_molecule
        Mean reads of a sequenced molecule, at least 1; over-dispersed.
    premrna
        Share of molecules that are unspliced endogenous pre-mRNA.
    internal_priming
        Share of mRNA molecules primed at an internal A-rich site.
    degraded
        Share of molecules that have lost their 5' part.
    spliced
        Share of a CAR's mRNA that is spliced, where it has both forms.
    chimeras
        Share of molecules seen a second time, in another droplet of the library (PCR chimeras).
    index_hopping
        Share of reads that land in another sample of the study under their own barcode and UMI.
    background_barcodes
        Share of reads whose barcode is on no list.
    junk
        Share of reads that map nowhere: random bases, poly-G.
    """

    read_length: int = 90
    insert_mean: float = 350.0
    insert_sd: float = 100.0
    reads_per_molecule: float = 1.25
    premrna: float = 0.05
    internal_priming: float = 0.05
    degraded: float = 0.10
    spliced: float = 0.6
    chimeras: float = 0.001
    index_hopping: float = 0.0
    background_barcodes: float = 0.03
    junk: float = 0.03

    def __post_init__(self) -> None:
        for name in (
            "premrna",
            "internal_priming",
            "degraded",
            "spliced",
            "chimeras",
            "index_hopping",
            "background_barcodes",
            "junk",
        ):
            if not 0 <= getattr(self, name) <= 1:
                raise CarseqError(
                    f"Protocol.{name} is not a share",
                    f"it is {getattr(self, name)}",
                    "give a number from 0 to 1",
                )
        if self.background_barcodes + self.junk > 0.9:
            raise CarseqError(
                "hardly a read would be left",
                f"background_barcodes + junk = {self.background_barcodes + self.junk}",
                "keep their sum at 0.9 or below",
            )
        if self.reads_per_molecule < 1 or self.read_length < 30 or self.insert_mean < 100:
            raise CarseqError(
                "the protocol is not possible",
                f"reads_per_molecule {self.reads_per_molecule}, read_length {self.read_length}, "
                f"insert_mean {self.insert_mean}",
                "give at least 1 read a molecule, reads of 30 nt and inserts of 100 nt",
            )


@dataclass(frozen=True)
class Pool:
    """Every transcript that can be captured: mRNAs, then pre-mRNAs, then the CAR's.

    ``bases`` is padded by ``pad`` on both sides; transcript ``i`` begins at ``offset[i]``.
    ``longest[k][s]`` is the longest stretch from base ``s`` of CAR transcript ``k`` that is
    identical in an endogenous transcript (0 below 20 nt).
    """

    bases: Bases
    offset: Ints
    length: Ints
    site_first: Ints
    site_count: Ints
    sites: Ints
    n_genes: int
    spliceable: NDArray[np.bool_]
    car_blocks: list[list[tuple[int, int]]]
    car_names: list[str]
    longest: list[Ints]

    @property
    def first_car(self) -> int:
        """Index of the CAR's full-length transcript."""
        return 2 * self.n_genes

    def on_full(self, car: int, position: Ints) -> Ints:
        """Map positions on CAR transcript ``car`` to the full-length transcript."""
        blocks = self.car_blocks[car]
        starts = np.array([start for start, _ in blocks])
        lengths = np.array([end - start for start, end in blocks])
        before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        block = np.searchsorted(before, position, side="right") - 1
        mapped: Ints = starts[block] + position - before[block]
        return mapped


def make_pool(
    genome: Genome,
    car: list[tuple[str, str, list[tuple[int, int]]]],
    *,
    pad: int,
) -> Pool:
    """Lay all transcripts end to end.

    Parameters
    ----------
    genome
        Whose transcripts.
    car
        The CAR's transcripts: name, sequence, and their exons on the first of them.
    pad
        Bases put before the first and behind the last transcript.
    """
    genes = genome.genes
    sequences = [gene.mrna for gene in genes] + [gene.premrna for gene in genes]
    endogenous = np.concatenate(sequences)
    sequences += [encode(sequence) for _, sequence, _ in car]
    length = np.array([len(s) for s in sequences], dtype=np.int64)
    offset = np.concatenate([[0], np.cumsum(length)[:-1]]) + pad
    padding = np.full(pad, ord("A"), dtype=np.uint8)
    bases = np.concatenate([padding, *sequences, padding])
    owner = np.repeat(np.arange(len(sequences)), length)
    is_a = np.concatenate([[0], np.cumsum(bases[pad : pad + len(owner)] == ord("A"))])
    rich = np.flatnonzero(is_a[_SITE_WINDOW:] - is_a[:-_SITE_WINDOW] >= _SITE_MIN_A)
    local = rich - (offset - pad)[owner[rich]]
    # A site needs template before it, and is the tail itself at the very end.
    kept = (local >= 150) & (local + _SITE_WINDOW + 20 <= length[owner[rich]])
    rich, local = rich[kept], local[kept]
    count = np.bincount(owner[rich], minlength=len(sequences))
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    ends = np.cumsum(length[: 2 * len(genes)])
    theirs = _kmers(endogenous, MIN_SHARED)
    return Pool(
        bases=bases,
        offset=offset,
        length=length,
        site_first=first,
        site_count=count,
        sites=np.concatenate([local, [0]]),
        n_genes=len(genes),
        spliceable=np.array([len(gene.exons) > 1 for gene in genes]),
        car_blocks=[list(blocks) for _, _, blocks in car],
        car_names=[name for name, _, _ in car],
        longest=[_longest_shared(encode(sequence), theirs, ends) for _, sequence, _ in car],
    )


def _kmers(bases: Bases, k: int) -> NDArray[np.uint64]:
    code = np.full(256, 4, dtype=np.uint64)
    code[np.frombuffer(b"ACGT", dtype=np.uint8)] = np.arange(4, dtype=np.uint64)
    if len(bases) < k:
        return np.zeros(0, dtype=np.uint64)
    # Base 5, so that an N never equals a base: 5^20 < 2^47. The k-mers of k bases from those of half as many.
    kmers, size = code[bases], 1
    for digit in f"{k:b}"[1:]:
        kmers = kmers[:-size] * np.uint64(5**size) + kmers[size:]
        size *= 2
        if digit == "1":
            kmers = kmers[:-1] * np.uint64(5) + code[bases[size:]]
            size += 1
    return kmers


def _held_by(kmers: NDArray[np.uint64], few: NDArray[np.uint64]) -> Ints:
    """Return where ``kmers`` holds one of ``few``; no sorting of the many, as ``numpy.isin`` would do it."""
    size = np.uint64(1 << 20)
    marked = np.zeros(int(size), dtype=bool)
    marked[few % size] = True
    likely = np.flatnonzero(marked[kmers % size])
    return likely[np.isin(kmers[likely], few)]


def _longest_shared(car: Bases, theirs: NDArray[np.uint64], ends: Ints) -> Ints:
    """Longest identical stretch from each base of ``car`` within one endogenous transcript, nt.

    ``theirs`` are the k-mers of the endogenous transcripts laid end to end, ``ends`` where each of them ends.
    """
    longest = np.zeros(len(car), dtype=np.int64)
    mine = _kmers(car, MIN_SHARED)
    places: dict[int, list[int]] = {}
    for position, kmer in enumerate(mine.tolist()):
        places.setdefault(kmer, []).append(position)
    hits = _held_by(theirs, np.unique(mine))
    end = ends[np.searchsorted(ends, hits, side="right")]
    hits = hits[hits + MIN_SHARED <= end]
    run: dict[tuple[int, int], int] = {}
    for there in hits[::-1].tolist():
        for here in places[int(theirs[there])]:
            size = run.get((here + 1, there + 1), MIN_SHARED - 1) + 1
            run[here, there] = size
            longest[here] = max(longest[here], size)
    return longest


@dataclass(frozen=True)
class Molecules:
    """Molecules with at least one read, as parallel arrays.

    ``droplet`` is −1 for molecules under barcodes of no list. The template on ``transcript`` runs
    from ``low`` (its 5' end or the cut of a degraded molecule) to ``end`` (the priming site).
    """

    droplet: Ints
    transcript: Ints
    origin: NDArray[np.uint8]
    kind: NDArray[np.uint8]
    low: Ints
    end: Ints
    umi: Ints
    n_reads: Ints

    def __len__(self) -> int:
        return len(self.droplet)

    def take(self, index: Ints) -> Molecules:
        """Return the molecules of ``index``."""
        return Molecules(*(getattr(self, f.name)[index] for f in fields(self)))

    @staticmethod
    def concatenate(parts: list[Molecules]) -> Molecules:
        """Return all molecules of ``parts`` in order."""
        return Molecules(
            *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Molecules))
        )


@dataclass(frozen=True)
class Library:
    """A sequenced sample: its droplets and its molecules.

    ``barcodes`` is droplets × 16 (ASCII). ``cell`` and ``partner`` index the sample's cells, −1
    for none.
    """

    barcodes: Bases
    cell: Ints
    partner: Ints
    molecules: Molecules


def make_library(
    cells: Cells,
    pool: Pool,
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    barcodes: Bases,
    umi_length: int,
    five_prime: bool,
    fallback_ambient: NDArray[np.float64],
    ambient_molecules: float,
    n_empty: int,
    doublet_rate: float,
) -> Library:
    """Put cells into droplets and capture molecules.

    Parameters
    ----------
    cells
        The sample's cells.
    pool
        The transcripts.
    protocol
        Rates of the wet lab.
    rng
        Source of randomness.
    barcodes
        At least as many barcodes (rows of 16) as cells and empty droplets.
    umi_length
        nt.
    five_prime
        Whether the library is a 5' one.
    fallback_ambient
        Ambient profile of a sample without cells.
    ambient_molecules
        Expected ambient molecules of a droplet; gamma-distributed between droplets (shape 4).
    n_empty
        Droplets without a cell.
    doublet_rate
        Share of cells' droplets that hold two.
    """
    n_cells = len(cells.cell_type)
    # d doublets among n cells make n - d droplets.
    n_doublets = min(round(doublet_rate * n_cells / (1 + doublet_rate)), n_cells // 2)
    order = rng.permutation(n_cells)
    first, second = order[:n_doublets], order[n_doublets : 2 * n_doublets]
    droplet_of = np.full(n_cells, -1, dtype=np.int64)
    alone = np.sort(order[2 * n_doublets :])
    hosts = np.concatenate([alone, first])
    droplet_of[hosts] = np.arange(len(hosts))
    droplet_of[second] = droplet_of[first]
    n_droplets = len(hosts) + n_empty
    cell = np.full(n_droplets, -1, dtype=np.int64)
    cell[: len(hosts)] = hosts
    partner = np.full(n_droplets, -1, dtype=np.int64)
    partner[len(alone) : len(hosts)] = second
    is_partner = np.zeros(n_cells, dtype=bool)
    is_partner[second] = True

    # Two cells share one droplet's reagents.
    scale = np.ones(n_cells)
    scale[order[: 2 * n_doublets]] = 0.8
    counts = rng.poisson(cells.expected * scale[:, None])
    row, column = np.nonzero(counts)
    n_each = counts[row, column]
    row, column = np.repeat(row, n_each), np.repeat(column, n_each)
    droplet, origin = droplet_of[row], np.where(is_partner[row], PARTNER, OWN)

    ambient = (cells.expected * cells.release[:, None]).sum(axis=0)
    ambient = ambient if ambient.sum() > 0 else fallback_ambient
    cumulative = np.cumsum(ambient / ambient.sum())[:-1]
    n_ambient = rng.poisson(rng.gamma(4.0, ambient_molecules / 4.0, n_droplets))
    n_from_ambient = int(n_ambient.sum())
    droplet = np.concatenate([droplet, np.repeat(np.arange(n_droplets), n_ambient)])
    origin = np.concatenate([origin, np.full(n_from_ambient, AMBIENT)])
    column = np.concatenate(
        [column, np.searchsorted(cumulative, rng.random(n_from_ambient), "right")]
    )
    share = protocol.background_barcodes / (1 - protocol.background_barcodes - protocol.junk)
    n_background = round(share * len(droplet) * protocol.reads_per_molecule)
    background = np.searchsorted(cumulative, rng.random(n_background), "right")
    droplet = np.concatenate([droplet, np.full(n_background, -1)])
    origin = np.concatenate([origin, np.full(n_background, AMBIENT)])
    column = np.concatenate([column, background])

    n = len(droplet)
    transcript = _transcripts(column, pool, protocol, rng)
    kind, low, end = _templates(transcript, pool, protocol, rng, five_prime=five_prime)
    extra = protocol.reads_per_molecule - 1
    n_reads = 1 + rng.poisson(rng.gamma(2.0, extra / 2.0, n))
    n_reads[droplet < 0] = 1
    molecules = Molecules(
        droplet,
        transcript,
        origin.astype(np.uint8),
        kind,
        low,
        end,
        rng.integers(0, 4**umi_length, n),
        n_reads,
    )
    n_listed = n - n_background
    n_chimeras = rng.poisson(protocol.chimeras * n_listed) if n_listed else 0
    if n_chimeras:
        source, target = rng.integers(0, n_listed, (2, n_chimeras))
        copies = molecules.take(source)
        copies = replace(
            copies,
            droplet=molecules.droplet[target],
            origin=np.full(n_chimeras, SWAPPED, dtype=np.uint8),
            n_reads=np.ones(n_chimeras, dtype=np.int64),
        )
        copies = copies.take(np.flatnonzero(copies.droplet != molecules.droplet[source]))
        molecules = Molecules.concatenate([molecules, copies])
    return Library(barcodes[:n_droplets], cell, partner, molecules)


def _transcripts(column: Ints, pool: Pool, protocol: Protocol, rng: np.random.Generator) -> Ints:
    """Turn genes (and the CAR, the last column) into transcripts of the pool."""
    transcript = column.astype(np.int64)
    is_car = column == pool.n_genes
    gene = np.where(is_car, 0, column)
    premrna = ~is_car & pool.spliceable[gene] & (rng.random(len(column)) < protocol.premrna)
    transcript[premrna] += pool.n_genes
    n_forms = len(pool.car_names)
    shares = np.full(n_forms, protocol.spliced / max(n_forms - 1, 1))
    shares[0] = 1 - protocol.spliced if n_forms > 1 else 1.0
    transcript[is_car] = pool.first_car + rng.choice(n_forms, int(is_car.sum()), p=shares)
    return transcript


def _templates(
    transcript: Ints,
    pool: Pool,
    protocol: Protocol,
    rng: np.random.Generator,
    *,
    five_prime: bool,
) -> tuple[NDArray[np.uint8], Ints, Ints]:
    """Draw what becomes cDNA: kind, 5' limit and priming site on the transcript."""
    n = len(transcript)
    length, n_sites = pool.length[transcript], pool.site_count[transcript]
    premrna = (transcript >= pool.n_genes) & (transcript < pool.first_car)
    rate = np.where(premrna, _PREMRNA_INTERNAL, protocol.internal_priming)
    rate = np.where(n_sites == 0, rate * _SITELESS, rate)
    internal = rng.random(n) < rate
    u = rng.random(n)
    site = pool.sites[pool.site_first[transcript] + (u * n_sites).astype(np.int64)]
    anywhere = (150 + u * np.maximum(length - 150, 1)).astype(np.int64)
    site = np.where(n_sites > 0, site, np.minimum(anywhere, length))
    end = np.where(internal, site, length)
    degraded = ~internal & (rng.random(n) < protocol.degraded)
    cut = (rng.random(n) * np.maximum(end - _MIN_TEMPLATE, 0)).astype(np.int64)
    # Start sites scatter by a few bases; only 5' reads can show it.
    scatter = rng.geometric(0.4, n) - 1 if five_prime else np.zeros(n, dtype=np.int64)
    low = np.where(degraded, cut, np.minimum(scatter, np.maximum(end - _MIN_TEMPLATE, 0)))
    kind = np.where(internal, INTERNAL, np.where(degraded, DEGRADED, POLY_A)).astype(np.uint8)
    return kind, low, end


def hop_indexes(libraries: list[Library], rate: float, rng: np.random.Generator) -> list[Library]:
    """Let a share of every library's reads land in another one, under their barcode and UMI."""
    if rate == 0 or len(libraries) < 2:
        return libraries
    arrivals: list[list[tuple[Bases, Molecules]]] = [[] for _ in libraries]
    for i, library in enumerate(libraries):
        n_copies = rng.poisson(rate * library.molecules.n_reads)
        n_copies[library.molecules.droplet < 0] = 0
        chosen = np.repeat(np.arange(len(n_copies)), n_copies)
        copies = library.molecules.take(chosen)
        copies = replace(
            copies,
            origin=np.full(len(chosen), SWAPPED, dtype=np.uint8),
            n_reads=np.ones(len(chosen), dtype=np.int64),
        )
        target = rng.integers(0, len(libraries) - 1, len(chosen))
        target += target >= i
        for j in range(len(libraries)):
            there = np.flatnonzero(target == j)
            landed = copies.take(there)
            arrivals[j].append((library.barcodes[landed.droplet], landed))
    return [_receive(library, come) for library, come in zip(libraries, arrivals, strict=True)]


def _receive(library: Library, arrivals: list[tuple[Bases, Molecules]]) -> Library:
    known = {row.tobytes(): i for i, row in enumerate(library.barcodes)}
    fresh: list[Bases] = []
    parts = [library.molecules]
    for barcodes, molecules in arrivals:
        droplet = np.empty(len(molecules), dtype=np.int64)
        for i, row in enumerate(barcodes):
            key = row.tobytes()
            if key not in known:
                known[key] = len(known)
                fresh.append(row)
            droplet[i] = known[key]
        parts.append(replace(molecules, droplet=droplet))
    none = np.full(len(fresh), -1, dtype=np.int64)
    return Library(
        np.concatenate([library.barcodes, *[row[None] for row in fresh]]),
        np.concatenate([library.cell, none]),
        np.concatenate([library.partner, none]),
        Molecules.concatenate(parts),
    )
