"""How much published CARs share with the genome's mRNAs, what STAR makes of it, and how fast the search is.

    python benchmarks/homology.py identity FOLDER    # windows identical to an endogenous mRNA; reads STAR multi-maps
    python benchmarks/homology.py speed [MEGABASES]  # rivals() on a synthetic transcriptome

FOLDER holds CAR_*.fa (ORFs) and mRNA_*.fa (RefSeq mRNAs of CD247, TNFRSF9, CD28, CD8A, CSF2RA).
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pysam

from carseq.construct import homology, identical_windows, load_construct, rivals
from carseq.construct.homology import EndogenousTranscript
from carseq.construct.library import relatives
from carseq.data import path as data_path
from carseq.io.fasta import read_sequences
from carseq.reference.star import run_star

READ_LENGTH = 91
ORFS = {
    "axi-cel": "CAR_axicel_HM852952.fa",
    "cilta-cel": "CAR_ciltacel_Ozdemirli.fa",
    "tisa-cel": "CAR_tisacel_US9499629B2.fa",
    "ide-cel": "CAR_idecel_WO2021091978A1.fa",
    "Hu19-28z": "CAR_Hu19CD828Z_MN698642.fa",
}


def only_sequence(path: Path) -> str:
    """Return the one sequence of a FASTA file."""
    return next(iter(read_sequences(path).values()))


def multimapped(car: str, mrnas: dict[str, str], folder: Path) -> float:
    """Return the share of all reads of a CAR that STAR places more than once on CAR and mRNAs."""
    genome = {"CAR": car, **mrnas}
    (folder / "genome.fa").write_text("".join(f">{n}\n{s}\n" for n, s in genome.items()))
    starts = range(len(car) - READ_LENGTH + 1)
    reads = [f"@{i}\n{car[i : i + READ_LENGTH]}\n+\n{'F' * READ_LENGTH}\n" for i in starts]
    (folder / "reads.fq").write_text("".join(reads))
    index = {"runMode": "genomeGenerate", "genomeFastaFiles": folder / "genome.fa"}
    sizes = {"genomeSAindexNbases": 6, "genomeChrBinNbits": 11}
    run_star({**index, **sizes, "genomeDir": folder / "index"}, threads=1, folder=folder)
    align = {"genomeDir": folder / "index", "readFilesIn": folder / "reads.fq"}
    run_star({**align, "outSAMtype": ["BAM", "Unsorted"]}, threads=1, folder=folder)
    with pysam.AlignmentFile(str(folder / "Aligned.out.bam")) as bam:
        several = {r.query_name for r in bam if r.get_tag("NH") > 1}
    return len(several) / len(reads)


def identity(folder: Path) -> None:
    """Print the table of identical windows and multi-mapped reads."""
    refseq = {p.name.split("_")[1]: only_sequence(p) for p in sorted(folder.glob("mRNA_*.fa"))}
    # carseq's own CD8A has the transmembrane exon put back, which NM_171827.4 skips.
    with_exon = {**refseq, **relatives()}
    print(
        "| CAR ORF | RefSeq as it is | STAR multi-maps | CD8A with its TM exon | STAR multi-maps |"
    )
    print("|---|---|---|---|---|")
    for name, file in ORFS.items():
        car = only_sequence(folder / file)
        cells = []
        for mrnas in (refseq, with_exon):
            transcripts = [EndogenousTranscript(g, g, s) for g, s in mrnas.items()]
            found, n = identical_windows(car, transcripts, read_length=READ_LENGTH)
            with tempfile.TemporaryDirectory() as scratch:
                share = multimapped(car, mrnas, Path(scratch))
            cells += [f"{found} of {n:,}", f"{share:.0%}"]
        print(f"| {name} | " + " | ".join(cells) + " |")


def synthetic(megabases: float) -> Iterator[EndogenousTranscript]:
    """Yield random transcripts of 0.4 to 2.8 kb, and the CAR's relatives."""
    rng = np.random.default_rng(1)
    alphabet = np.frombuffer(b"ACGT", dtype=np.uint8)
    for gene, sequence in relatives().items():
        yield EndogenousTranscript(gene, gene, sequence)
    done = 0
    while done < megabases * 1e6:
        length = int(rng.integers(400, 2800))
        bases = alphabet[rng.integers(0, 4, length)].tobytes().decode()
        yield EndogenousTranscript(f"G{done}", f"T{done}", bases)
        done += length


def speed(megabases: float) -> None:
    """Print time and peak memory of the search for rivals, then of the homology table."""
    car = load_construct(data_path("constructs/hbi0101_surrogate_native.gb")).sequence
    begun = time.perf_counter()
    n = sum(1 for _ in synthetic(megabases))
    making = time.perf_counter() - begun
    begun = time.perf_counter()
    found = rivals(car, synthetic(megabases))
    searching = time.perf_counter() - begun - making
    begun = time.perf_counter()
    homology(car, found)
    table = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{n:,} transcripts, {megabases:g} Mb: rivals {searching:.1f} s, {len(found)} found")
    print(f"homology of those {table:.1f} s; peak memory {peak:.0f} MB")
    for human in (400, 600):
        print(f"250,000 transcripts of {human} Mb: {searching * human / megabases:.0f} s")


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["speed"]
    if what == "identity":
        identity(Path(rest[0]))
    else:
        speed(float(rest[0]) if rest else 60)
