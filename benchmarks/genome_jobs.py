"""Memory of the jobs that read the genome itself: check_car, strand_panel, homologs.

    python benchmarks/genome_jobs.py [--contigs 250 243] [--transcripts 250000] [--to FOLDER]

They hold one contig at a time, and the annotation. So two random contigs as long as the largest of a human genome, with
a whole human annotation on them (GENCODE 44: 252,913 transcripts, 1.65 million exons), ask for what GRCh38 asks for.
The annotation's lines are as long as GENCODE's. Each job is run in a process of its own; printed is what it had
resident at most, and its CPU seconds. Some ten minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from speed import run

from carseq.construct import load_construct, write_construct
from carseq.data import path as data_path

#: Exons of a transcript and bases of an exon (GENCODE 44, means).
EXONS, LENGTH = 6.5, 250
#: An exon's line as GENCODE has it, without what carseq does not read.
LINE = (
    '{contig}\tHAVANA\texon\t{start}\t{end}\t.\t{strand}\t.\tgene_id "ENSG{gene:011d}.5"; transcript_id '
    '"ENST{number:011d}.2"; gene_type "protein_coding"; gene_name "GENE{gene}"; transcript_type "protein_coding"; '
    'transcript_name "GENE{gene}-2{number}"; exon_number {exon}; exon_id "ENSE{exon:011d}.1"; level 2; '
    'protein_id "ENSP{number:011d}.1"; transcript_support_level "1"; tag "basic"; havana_gene "OTTHUMG{gene:011d}.4";\n'
)  # fmt: skip
JOBS = {
    "check_car": "from carseq.reference.transgene import check_car_is_new\ncheck_car_is_new(fasta, gtf, car)",
    "strand_panel": (
        "from carseq.library.strand import strand_panel\nfrom carseq.reference.genome import read_transcripts\n"
        "strand_panel((t.gene, t.sequence) for t in read_transcripts(fasta, gtf))"
    ),
    "homologs": "from carseq.reference.resembling import find_homologs\nfind_homologs(car, fasta, gtf)",
}


def write_genome(folder: Path, contigs: list[int], transcripts: int) -> None:
    """Write random contigs of so many Mb, and transcripts evenly over them, four to a gene."""
    rng = np.random.default_rng(1)
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    number = 0
    with (folder / "genome.fa").open("wb") as fasta, (folder / "genes.gtf").open("w") as gtf:
        for contig, megabases in enumerate(contigs, 1):
            size = megabases * 1_000_000
            fasta.write(f">chr{contig}\n".encode())
            lines = letters[rng.integers(0, 4, size, dtype=np.uint8)].reshape(-1, 50)
            ends = np.full((len(lines), 1), ord("\n"), dtype=np.uint8)
            fasta.write(np.hstack([lines, ends]).tobytes())
            here = transcripts * megabases // sum(contigs)
            exons = np.maximum(1, rng.poisson(EXONS, here))
            for start, n in zip(np.sort(rng.integers(1, size - 400_000, here)), exons, strict=True):
                number += 1
                strand = "+-"[number // 4 % 2]
                for exon in range(int(n)):
                    first = int(start) + exon * 3000
                    gtf.write(
                        LINE.format(
                            contig=f"chr{contig}", start=first, end=first + LENGTH, strand=strand, gene=number // 4,
                            number=number, exon=exon,
                        )
                    )  # fmt: skip


def main() -> None:
    """Print a row a job."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--contigs", type=int, nargs="+", default=[250, 243], help="Mb")
    parser.add_argument("--transcripts", type=int, default=250_000)
    parser.add_argument("--to", type=Path, help="folder for the genome, which is kept")
    parser.add_argument("--jobs", nargs="+", default=list(JOBS), choices=JOBS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.to or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "genes.gtf").exists():
            write_genome(folder, given.contigs, given.transcripts)
        construct = load_construct(data_path("constructs/hbi0101_surrogate_native.gb"), name="CAR")
        write_construct(construct, folder)
        print("| job | GB | CPU s |\n|---|---|---|")
        for name in given.jobs:
            code = (
                "from carseq.construct import read_construct\n"
                f"car = read_construct({str(folder / 'construct.json')!r})\n"
                f"fasta, gtf = {str(folder / 'genome.fa')!r}, {str(folder / 'genes.gtf')!r}\n{JOBS[name]}"
            )
            cost = run([sys.executable, "-c", code], folder / f"{name}.log")
            print(f"| {name} | {cost.memory:.2f} | {cost.cpu:.0f} |", flush=True)


if __name__ == "__main__":
    main()
