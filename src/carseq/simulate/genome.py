"""A small genome with introns, in which the CAR's homologs are the real human genes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.files import write_text

Bases = NDArray[np.uint8]

_ACGT = np.frombuffer(b"ACGT", dtype=np.uint8)
_COMPLEMENT = np.arange(256, dtype=np.uint8)
_COMPLEMENT[np.frombuffer(b"ACGT", dtype=np.uint8)] = np.frombuffer(b"TGCA", dtype=np.uint8)

#: Base shares (A, C, G, T) of coding sequence, 3' UTRs, introns and intergenic sequence.
_CODING = (0.26, 0.25, 0.26, 0.23)
_UTR = (0.29, 0.20, 0.21, 0.30)
_NONCODING = (0.29, 0.21, 0.21, 0.29)


@dataclass(frozen=True)
class Gene:
    """A gene with one transcript.

    Parameters
    ----------
    gene_id, name
        Stable made-up id and the symbol.
    chrom, strand
        Where it lies.
    exons
        Genomic intervals, 0-based half-open, ascending.
    mrna
        Sense sequence of the mature transcript (ASCII codes), without poly-A.
    premrna
        Sense sequence of the unspliced transcript.
    """

    gene_id: str
    name: str
    chrom: str
    strand: str
    exons: list[tuple[int, int]]
    mrna: Bases
    premrna: Bases


@dataclass(frozen=True)
class Genome:
    """Chromosomes (ASCII codes) and the genes on them."""

    chromosomes: dict[str, Bases]
    genes: list[Gene]

    def write(self, fasta: Path, gtf: Path) -> None:
        """Write the genome as FASTA (60 nt a line) and its annotation as GTF."""
        parts = []
        for name, sequence in self.chromosomes.items():
            text = sequence.tobytes().decode()
            parts.append(f">{name}\n")
            parts.extend(f"{text[i : i + 60]}\n" for i in range(0, len(text), 60))
        write_text("".join(parts), fasta)
        write_text("".join(_gtf_lines(gene) for gene in self.genes), gtf)


def encode(sequence: str) -> Bases:
    """Return the ASCII codes of a sequence."""
    return np.frombuffer(sequence.upper().encode(), dtype=np.uint8).copy()


def complement(bases: Bases) -> Bases:
    """Return the complement, base by base (not reversed)."""
    return _COMPLEMENT[bases]


def make_genome(
    symbols: list[str], *, seed: int = 1, n_genes: int = 1000, n_chromosomes: int = 4
) -> Genome:
    """Make a genome of ``n_genes`` genes (6 to 8 Mb for 1,000) that holds ``symbols``.

    The genes whose domains CARs borrow (CD247, CD28, TNFRSF9, CD8A, ...) have their RefSeq
    sequence, cut into exons; every other sequence is random, so that only a CAR and its
    homologs are alike. Symbols beginning with ``MT-`` lie without introns on chrM.

    Parameters
    ----------
    symbols
        Genes that must be there; the rest are fillers.
    seed
        Seed of the genome alone: studies with the same one can share a STAR index.
    n_genes
        Number of genes, the mitochondrial ones included.
    n_chromosomes
        Number of nuclear chromosomes.

    Raises
    ------
    CarseqError
        If ``n_genes`` is too few for ``symbols``.
    """
    relatives = read_relatives()
    names = list(dict.fromkeys([*symbols, *relatives]))
    if n_genes < len(names):
        raise CarseqError(
            f"a genome of {n_genes} genes is too small",
            f"the expression profiles alone name {len(names)} genes",
            f"ask for at least {len(names)} genes",
        )
    names += [f"FILLER{i:04d}" for i in range(1, n_genes - len(names) + 1)]
    ids = {name: f"SIMG{i:08d}" for i, name in enumerate(names, start=1)}
    rng = np.random.default_rng([seed, 1])
    nuclear = [name for name in names if not name.startswith("MT-")]
    rng.shuffle(nuclear)
    chromosomes: dict[str, Bases] = {}
    genes: list[Gene] = []
    for i in range(n_chromosomes):
        chrom = f"chr{i + 1}"
        pieces, position = [_random(rng, 5000, _NONCODING)], 5000
        for name in nuclear[i::n_chromosomes]:
            mrna = relatives[name] if name in relatives else _random_mrna(rng)
            blocks, premrna = _with_introns(rng, mrna)
            strand = "+" if rng.random() < 0.5 else "-"
            if strand == "-":
                blocks = [(len(premrna) - end, len(premrna) - start) for start, end in blocks[::-1]]
            exons = [(position + start, position + end) for start, end in blocks]
            genes.append(Gene(ids[name], name, chrom, strand, exons, mrna, premrna))
            gap = _random(rng, int(rng.integers(1000, 3000)), _NONCODING)
            pieces += [premrna if strand == "+" else complement(premrna[::-1]), gap]
            position += len(premrna) + len(gap)
        chromosomes[chrom] = np.concatenate(pieces)
    pieces, position = [_random(rng, 600, _NONCODING)], 600
    for name in (name for name in names if name.startswith("MT-")):
        mrna = _random(rng, int(rng.integers(400, 1500)), _UTR)
        genes.append(
            Gene(ids[name], name, "chrM", "+", [(position, position + len(mrna))], mrna, mrna)
        )
        gap = _random(rng, 150, _NONCODING)
        pieces += [mrna, gap]
        position += len(mrna) + len(gap)
    chromosomes["chrM"] = np.concatenate(pieces)
    order = {name: i for i, name in enumerate(names)}
    genes.sort(key=lambda gene: order[gene.name])
    return Genome(chromosomes, genes)


def read_relatives() -> dict[str, Bases]:
    """Read the mRNAs of the genes that CARs borrow domains from, by symbol, without their poly(A) tails.

    Raises
    ------
    CarseqError
        If the file, which comes with carseq, cannot be read.
    """
    file = data_path("sequences") / "relatives.fa"
    try:
        text = file.read_text()
    except OSError as error:
        raise CarseqError(
            "the mRNAs of the CAR's homologs are missing",
            f"{file}: {error.strerror}",
            "install carseq again; the file comes with it",
        ) from None
    records: dict[str, Bases] = {}
    for block in text.split(">")[1:]:
        header, _, body = block.partition("\n")
        sequence = "".join(body.split()).upper().replace("U", "T")
        stripped = sequence.rstrip("A")
        # A few terminal As belong to many a transcript; a run of ten is a tail.
        kept = stripped if len(sequence) - len(stripped) >= 10 else sequence
        records.setdefault(header.split()[0], encode(kept))
    return records


def _random(rng: np.random.Generator, length: int, shares: tuple[float, ...]) -> Bases:
    return _ACGT[np.searchsorted(np.cumsum(shares)[:3], rng.random(length), side="right")]


def _random_mrna(rng: np.random.Generator) -> Bases:
    length = int(np.clip(rng.lognormal(np.log(1700), 0.45), 800, 3500))
    utr = int(length * rng.uniform(0.2, 0.5))
    mrna = np.concatenate([_random(rng, length - utr, _CODING), _random(rng, utr, _UTR)])
    # The stretch at which oligo-dT primes inside one mRNA in three.
    if rng.random() < 0.33:
        at = int(rng.integers(200, length - 200))
        stretch = mrna[at : at + int(rng.integers(12, 20))]
        stretch[rng.random(len(stretch)) < 0.9] = ord("A")
    return mrna


def _with_introns(rng: np.random.Generator, mrna: Bases) -> tuple[list[tuple[int, int]], Bases]:
    """Cut an mRNA into exons and put introns between them; exons are given on the pre-mRNA."""
    last = int(len(mrna) * rng.uniform(0.3, 0.6))
    n_exons = int(np.clip(rng.poisson(4) + 2, 2, min(10, 1 + (len(mrna) - last) // 90)))
    cuts = np.linspace(0, len(mrna) - last, n_exons).round().astype(int)
    if n_exons > 2:
        slack = int(cuts[1]) // 4
        cuts[1:-1] += rng.integers(-slack, slack + 1, n_exons - 2)
    bounds = [*cuts.tolist(), len(mrna)]
    blocks: list[tuple[int, int]] = []
    pieces: list[Bases] = []
    position = 0
    for start, end in pairwise(bounds):
        if blocks:
            length = int(np.clip(rng.lognormal(np.log(350), 0.8), 100, 2000))
            intron = _random(rng, length, _NONCODING)
            intron[:6] = np.frombuffer(b"GTAAGT", dtype=np.uint8)
            intron[-3:] = np.frombuffer(b"CAG", dtype=np.uint8)
            pieces.append(intron)
            position += length
        pieces.append(mrna[start:end])
        blocks.append((position, position + end - start))
        position += end - start
    return blocks, np.concatenate(pieces)


def _gtf_lines(gene: Gene) -> str:
    start, end = gene.exons[0][0] + 1, gene.exons[-1][1]
    transcript_id = gene.gene_id.replace("SIMG", "SIMT")
    of_gene = f'gene_id "{gene.gene_id}"; gene_name "{gene.name}"; gene_biotype "protein_coding";'
    of_transcript = (
        f'gene_id "{gene.gene_id}"; transcript_id "{transcript_id}"; gene_name "{gene.name}"; '
        'gene_biotype "protein_coding"; transcript_biotype "protein_coding";'
    )

    def line(feature: str, left: int, right: int, attributes: str) -> str:
        place = f"{gene.chrom}\tcarseq\t{feature}\t{left}\t{right}"
        return f"{place}\t.\t{gene.strand}\t.\t{attributes}\n"

    lines = [line("gene", start, end, of_gene), line("transcript", start, end, of_transcript)]
    exons = gene.exons if gene.strand == "+" else gene.exons[::-1]
    for number, (left, right) in enumerate(exons, start=1):
        lines.append(line("exon", left + 1, right, f'{of_transcript} exon_number "{number}";'))
    return "".join(lines)
