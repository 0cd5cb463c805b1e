"""A valid study of a few kilobytes with one sample for each way in, to be spoilt by tests.

Everything in it is random and of known truth: a genome of a few human gene names, reads of a 3' library, a BAM with
the raw and the filtered matrix that belong to it, a matrix alone with two antibodies.
"""

from __future__ import annotations

import functools
import gzip
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pysam
import scipy.sparse as sp
import yaml

from carseq.construct import load_construct
from carseq.data import path as data_path

#: Genes of the genome: markers of several lineages, so that cells could be typed.
GENES = [
    "CD3D", "CD3E", "CD3G", "TRAC", "CD2", "IL7R", "CD4", "CD8A", "CD8B", "NKG7", "GNLY", "KLRD1", "MS4A1", "CD79A",
    "CD19", "LYZ", "S100A8", "S100A9", "CD14", "FCGR3B", "CSF3R", "UMOD", "SLC12A1", "AQP2", "AQP3", "NPHS2", "PODXL",
    "KRT13", "UPK2", "UPK1B", "ACTB", "GAPDH", "B2M", "MT-CO1", "MT-ND1", "RPL3", "RPS3", "TMSB4X", "FTL", "MALAT1",
]  # fmt: skip
CAR = "MYCAR"
GENE_LENGTH, SPACING = 700, 1000


@functools.cache
def car_sequence() -> str:
    """The transcript of the surrogate that comes with carseq."""
    return load_construct(data_path("constructs/hbi0101_surrogate_native.gb"), name=CAR).sequence


def dna(rng: random.Random, n: int) -> str:
    return "".join(rng.choices("ACGT", k=n))


def write_h5(
    path: Path,
    counts: Any,
    barcodes: Sequence[str],
    names: Sequence[str],
    types: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
) -> None:
    """Write counts (barcodes × features) as Cell Ranger's feature_bc_matrix.h5."""
    c = sp.csr_matrix(counts)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, dtype="S")
        group["data"], group["indices"], group["indptr"] = c.data, c.indices, c.indptr
        group["shape"] = np.array([c.shape[1], c.shape[0]], dtype="int32")
        features = group.create_group("features")
        for key, value in (
            ("id", ids or [f"ENSG{i:011d}" for i in range(len(names))]),
            ("name", names),
            ("feature_type", types or ["Gene Expression"] * len(names)),
        ):
            features[key] = np.array(value, dtype="S")


def write_mtx(
    folder: Path,
    counts: Any,
    barcodes: Sequence[str],
    names: Sequence[str],
    types: Sequence[str] | None = None,
    *,
    gz: bool = True,
) -> None:
    """Write counts (barcodes × features) as Cell Ranger's folder feature_bc_matrix."""
    folder.mkdir(parents=True, exist_ok=True)
    c = sp.coo_matrix(counts)
    types = types or ["Gene Expression"] * len(names)
    texts = {
        "features.tsv": "".join(
            f"ENSG{i:011d}\t{n}\t{t}\n" for i, (n, t) in enumerate(zip(names, types, strict=True))
        ),
        "barcodes.tsv": "".join(f"{b}\n" for b in barcodes),
        "matrix.mtx": "%%MatrixMarket matrix coordinate integer general\n%\n"
        f"{c.shape[1]} {c.shape[0]} {c.nnz}\n"
        + "".join(f"{j + 1} {i + 1} {v:g}\n" for i, j, v in zip(c.row, c.col, c.data, strict=True)),
    }
    for name, text in texts.items():
        if gz:
            with gzip.open(folder / f"{name}.gz", "wt") as out:
                out.write(text)
        else:
            (folder / name).write_text(text)


def write_bam(path: Path, contigs: Sequence[tuple[str, int]], reads: Sequence[tuple]) -> None:
    """Write reads (contig or None, start, sequence, tags) as a sorted BAM with its index."""
    header = {
        "HD": {"VN": "1.6", "SO": "coordinate"},
        "SQ": [{"SN": n, "LN": length} for n, length in contigs],
    }
    order = {n: i for i, (n, _) in enumerate(contigs)}
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        ordered = sorted(reads, key=lambda r: (r[0] is None, order.get(r[0], 0), r[1]))
        for i, (contig, start, sequence, tags) in enumerate(ordered):
            record = pysam.AlignedSegment(out.header)
            record.query_name, record.query_sequence = f"r{i}", sequence
            record.query_qualities = pysam.qualitystring_to_array("I" * len(sequence))
            if contig is None:
                record.flag = 4
            else:
                record.reference_id, record.reference_start = order[contig], start
                record.cigarstring, record.mapping_quality = f"{len(sequence)}M", 255
            record.set_tags(list(tags))
            out.write(record)
    pysam.index(str(path))


def write_fastq(path: Path, sequences: Sequence[str], names: Sequence[str] | None = None) -> None:
    names = names or [f"read{i}" for i in range(len(sequences))]
    text = "".join(f"@{n}\n{s}\n+\n{'F' * len(s)}\n" for n, s in zip(names, sequences, strict=True))
    if path.suffix == ".gz":
        with gzip.open(path, "wt") as out:
            out.write(text)
    else:
        path.write_text(text)


class Tiny:
    """The study in a folder; ``write`` writes configuration and sheets as they stand in ``config`` and ``rows``.

    Attributes
    ----------
    config
        The configuration, to be changed before :meth:`write`.
    rows
        Rows of samples.tsv by sample: ``F`` (FASTQ), ``B`` (BAM and matrices), ``M`` (a matrix alone).
    units
        Rows of units.tsv.
    """

    def __init__(self, folder: Path, *, only: str = "FBM") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        rng = self.rng = random.Random(7)
        self.chromosome = dna(rng, SPACING * (len(GENES) + 1))
        self.genome()
        self.whitelist = [dna(rng, 16) for _ in range(400)]
        (folder / "list.txt").write_text("\n".join(self.whitelist) + "\n")
        (folder / "markers.tsv").write_text(
            "lineage\tcell_type\tgene\tweight\nT\tT cell\tCD3D\t1\nT\tT cell\tCD3E\t1\nB\tB cell\tMS4A1\t1\n"
        )
        self.config: dict[str, Any] = {
            "samples": "samples.tsv",
            "units": "units.tsv",
            "results": str(folder / "results"),
            "construct": {"file": "hbi0101_surrogate_native.gb", "name": CAR},
            "reference": {"fasta": "genome.fa", "gtf": "genes.gtf"},
            "cells": {"integration": "none"},
        }
        self.rows: dict[str, dict[str, str]] = {}
        self.units: list[dict[str, str]] = []
        if "F" in only:
            self.rows["F"] = {
                "patient": "P1", "compartment": "urine", "whitelist": "list.txt", "chemistry": "10x_3p_v3",
            }  # fmt: skip
            for lane in ("L001", "L002"):
                self.reads(lane)
                pair = {f"r{i}": f"F_{lane}_R{i}.fastq.gz" for i in (1, 2)}
                self.units.append({"sample": "F", "unit": lane, **pair})
        if "B" in only:
            self.rows["B"] = {
                "patient": "P1", "compartment": "blood", "bam": "b.bam", "raw_matrix": "raw.h5",
                "matrix": "filtered.h5", "tcr": "tcr.csv",
            }  # fmt: skip
            self.bam()
        if "M" in only:
            self.rows["M"] = {"patient": "P2", "compartment": "urine", "matrix": "mtx"}
            self.matrix()

    @property
    def path(self) -> Path:
        return self.folder / "config.yaml"

    def write(self) -> Path:
        """Write configuration and sheets; return the configuration's path."""
        if not self.units:
            self.config.pop("units", None)
        self.path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        columns = list(dict.fromkeys(key for row in self.rows.values() for key in row))
        lines = ["\t".join(["sample", *columns])]
        lines += ["\t".join([s, *(r.get(c, "") for c in columns)]) for s, r in self.rows.items()]
        (self.folder / "samples.tsv").write_text("\n".join(lines) + "\n")
        if self.units:
            lines = [
                "\t".join(row.values()) for row in ({k: k for k in self.units[0]}, *self.units)
            ]
            (self.folder / "units.tsv").write_text("\n".join(lines) + "\n")
        return self.path

    def genome(self, extra: Sequence[tuple[str, str]] = ()) -> None:
        """Write genome and annotation, with further contigs of one gene each: (name, sequence)."""
        lines, fasta = [], f">chr1\n{self.chromosome}\n"
        places = [("chr1", n, SPACING * (i + 1), GENE_LENGTH) for i, n in enumerate(GENES)]
        for name, sequence in extra:
            fasta += f">{name}\n{sequence}\n"
            places.append((name, name, 0, len(sequence)))
        for i, (contig, name, start, length) in enumerate(places):
            text = f'gene_id "ENSG{i:011d}"; transcript_id "ENST{i:011d}"; gene_name "{name}";'
            for kind in ("gene", "transcript", "exon"):
                lines.append(
                    f"{contig}\tmade\t{kind}\t{start + 1}\t{start + length}\t.\t+\t.\t{text}"
                )
        (self.folder / "genome.fa").write_text(fasta)
        (self.folder / "genes.gtf").write_text("\n".join(lines) + "\n")

    def of_gene(self, length: int = 90) -> tuple[int, str]:
        """Return place and bases of a random read of a random gene."""
        start = SPACING * self.rng.randint(1, len(GENES)) + self.rng.randrange(GENE_LENGTH - length)
        return start, self.chromosome[start : start + length]

    def reads(self, lane: str, n: int = 300) -> None:
        """Write a lane of sample F."""
        first = [self.rng.choice(self.whitelist) + dna(self.rng, 12) for _ in range(n)]
        write_fastq(self.folder / f"F_{lane}_R1.fastq.gz", first)
        write_fastq(self.folder / f"F_{lane}_R2.fastq.gz", [self.of_gene()[1] for _ in range(n)])

    def bam(
        self, *, suffix: str = "-1", umi: str = "UB", empty: bool = True, prefix: str = "B"
    ) -> None:
        """Write BAM, raw and filtered matrix and receptors of sample B: 40 cells, 200 empty droplets."""
        rng, folder = self.rng, self.folder
        codes = sorted({dna(rng, 16) for _ in range(240)})
        self.cells, self.droplets = codes[:40], codes[40:]
        numbers = np.random.default_rng(rng.randrange(2**32))
        names = [*GENES, CAR]
        counts = np.vstack(
            [numbers.poisson(30, (40, len(names))), numbers.poisson(0.8, (200, len(names)))]
        )
        counts[:, -1] = numbers.poisson(np.r_[np.full(40, 3), np.full(200, 0.1)])
        self.counts = counts
        self.written = [c + suffix for c in codes]
        write_h5(folder / "raw.h5", counts, self.written, names)
        write_h5(folder / "filtered.h5", counts[:40], self.written[:40], names)
        reads: list[tuple] = []
        share = counts.sum(axis=1).astype(float)
        if not empty:
            share[40:] = 0
        chosen = numbers.choice(len(codes), 1500, p=share / share.sum())
        car = car_sequence()
        for i, droplet in enumerate(chosen):
            tags = [("CB", self.written[droplet]), (umi, dna(rng, 12))]
            if i % 50 == 0:
                start = rng.randrange(len(car) - 400, len(car) - 90)
                reads.append((CAR, start, car[start : start + 90], tags))
            else:
                start, bases = self.of_gene()
                reads.append(("chr1", start, bases, tags))
        reads.append((None, 0, dna(rng, 90), [("CB", self.written[0]), (umi, dna(rng, 12))]))
        write_bam(folder / "b.bam", [("chr1", len(self.chromosome)), (CAR, len(car))], reads)
        self.receptors(self.written[:30])

    def receptors(self, barcodes: Sequence[str]) -> None:
        """Write a table of receptors as Cell Ranger does: a beta chain a barcode."""
        head = (
            "barcode,contig_id,high_confidence,chain,v_gene,j_gene,cdr3,cdr3_nt,productive,umis\n"
        )
        rows = [
            f"{b},{b}_contig_1,true,TRB,TRBV2,TRBJ1-1,CASS{i}F,{dna(self.rng, 30)},true,5\n"
            for i, b in enumerate(barcodes)
        ]
        (self.folder / "tcr.csv").write_text(head + "".join(rows))

    def matrix(self, *, gz: bool = True) -> None:
        """Write the matrix of sample M: 50 cells, genes, the CAR, two antibodies."""
        numbers = np.random.default_rng(3)
        self.m_counts = np.hstack(
            [numbers.poisson(5, (50, len(GENES) + 1)), numbers.poisson(40, (50, 2))]
        )
        self.m_names = [*GENES, CAR, "CD3", "CD19"]
        self.m_types = ["Gene Expression"] * (len(GENES) + 1) + ["Antibody Capture"] * 2
        self.m_barcodes = [f"{dna(self.rng, 16)}-1" for _ in range(50)]
        given = (self.m_counts, self.m_barcodes, self.m_names, self.m_types)
        write_mtx(self.folder / "mtx", *given, gz=gz)
