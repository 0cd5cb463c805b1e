"""Put 4,000 real reads of axi-cel (10x 5', long reads of a CAR and CD28 amplicon) to the built-in axi-cel.

    python benchmarks/real_reads.py ../shared/data/real_car_reads

Reads are aligned by minimap2 (map-ont) to both mRNAs and to CD28, which the amplicon holds as well. Ligation joins some
molecules to one read, so that a read is explained if alignments and the adapters between them (200 bases at most in one
stretch) cover it from end to end. Junctions are counted as the package counts them (carseq.construct.splicing).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import mappy

from carseq.construct import Construct, load_construct
from carseq.construct.extend import Read
from carseq.construct.splicing import Splicing, count_splicing
from carseq.data import path as data_path

#: Adapters, barcode, UMI and primer at a read's two ends, and twice that where two molecules were joined.
ADAPTERS = 200


class Explained(NamedTuple):
    """Reads whose best alignment is the CAR's, those explained end to end, and the splicing they show."""

    n_car: int
    n_explained: int
    splicing: Splicing
    identity: float


def explained(construct: Construct, reads: Path, other: str, *, every: int = 1) -> Explained:
    """Align reads to a construct's mRNAs and to another transcript of the amplicon.

    Parameters
    ----------
    construct
        The construct, with an unspliced and a spliced form.
    reads
        FASTQ.
    other
        Sequence of the other transcript (CD28).
    every
        One read in so many is looked at.
    """
    reference = [*(t.sequence for t in construct.transcripts), other]
    aligners = [mappy.Aligner(seq=s, preset="map-ont", best_n=10) for s in reference]
    n_car = n_explained = matched = aligned = 0
    own: list[Read] = []
    for number, (name, sequence, _) in enumerate(mappy.fastx_read(str(reads))):
        if number % every:
            continue
        hits = [(i, h) for i, aligner in enumerate(aligners) for h in aligner.map(sequence)]
        if not hits:
            continue
        best, top = max(hits, key=lambda hit: hit[1].mlen)
        if best == len(aligners) - 1:
            continue
        n_car += 1
        matched, aligned = matched + top.mlen, aligned + top.blen
        own.append(Read(name, sequence))
        at, gap = 0, 0
        for start, end in sorted((h.q_st, h.q_en) for _, h in hits):
            gap, at = max(gap, start - at), max(at, end)
        n_explained += max(gap, len(sequence) - at) <= ADAPTERS
    splicing = count_splicing(construct, own)
    assert splicing is not None
    return Explained(n_car, n_explained, splicing, matched / aligned)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    reads = folder / "axicel_10x5p_ont_4000.fastq.gz"
    fasta = folder / "axicel_transcript_and_CD28.fa"
    other = next(s for n, s, _ in mappy.fastx_read(str(fasta)) if n == "CD28")
    found = explained(load_construct(data_path("constructs/axi-cel.gb")), reads, other)
    share = found.n_explained / found.n_car
    print(f"CAR reads: {found.n_car}; explained end to end: {found.n_explained} ({share:.1%})")
    print(f"identity of their best alignments: {found.identity:.1%}")
    spliced, whole = found.splicing.n_spliced, found.splicing.n_unspliced
    print(f"spliced {spliced}, unspliced {whole} of the reads that show the donor")


if __name__ == "__main__":
    main()
