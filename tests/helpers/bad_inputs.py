"""Bad inputs: one valid tiny study, spoilt in some 200 ways, each of which `carseq check` must tell.

``python tests/helpers/bad_inputs.py`` (`make torture-inputs`) prints a table with time, verdict and message of each,
and counts those that were accepted and those that ended in a traceback. A selection runs as tests.
"""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pysam
import yaml

from carseq.errors import CarseqError
from carseq.start.check import check_study
from carseq.start.note import Note
from tiny import CAR, GENES, Tiny, car_sequence, dna, write_bam, write_fastq, write_h5, write_mtx


@dataclass(frozen=True)
class Bad:
    """A way to spoil the study.

    Attributes
    ----------
    name
        What is wrong.
    only
        Samples of the study that it needs: F, B, M.
    spoil
        Spoils the study; it runs before the sheets are written, or after if ``late``.
    words
        Regular expression that the message must fit.
    late
        Whether the files written last (configuration and sheets) are what is spoilt.
    note
        Whether a word is enough, without a fault.
    """

    name: str
    only: str
    spoil: Callable[[Tiny], None]
    words: str
    late: bool = False
    note: bool = False


BAD: list[Bad] = []


def bad(name: str, only: str, words: str, *, late: bool = False, note: bool = False):
    def add(spoil: Callable[[Tiny], None]) -> Callable[[Tiny], None]:
        BAD.append(Bad(name, only, spoil, words, late, note))
        return spoil

    return add


def put(name: str, only: str, words: str, file: str, content: str | bytes, **more: bool) -> None:
    """Add: a file that holds something else."""

    def spoil(tiny: Tiny) -> None:
        path = tiny.folder / file
        if path.is_dir():
            shutil.rmtree(path)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    BAD.append(Bad(name, only, spoil, words, **more))


def config(name: str, words: str, only: str = "M", **keys: object) -> None:
    """Add: keys of the configuration, ``section__key`` for nested ones."""

    def spoil(tiny: Tiny) -> None:
        for key, value in keys.items():
            section, _, inner = key.partition("__")
            if inner:
                tiny.config[section] = {**tiny.config.get(section, {}), inner: value}
            else:
                tiny.config[key] = value

    BAD.append(Bad(f"config: {name}", only, spoil, words))


def row(name: str, words: str, only: str = "M", note: bool = False, **cells: str) -> None:
    """Add: cells of the samples sheet."""

    def spoil(tiny: Tiny) -> None:
        for sample in tiny.rows:
            tiny.rows[sample].update(cells)

    BAD.append(Bad(f"sheet: {name}", only, spoil, words, note=note))


def truncate(name: str, only: str, words: str, file: str, keep: float) -> None:
    def spoil(tiny: Tiny) -> None:
        path = tiny.folder / file
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * keep)])

    BAD.append(Bad(name, only, spoil, words))


def flip(name: str, only: str, words: str, file: str, at: float = 0.5) -> None:
    def spoil(tiny: Tiny) -> None:
        path = tiny.folder / file
        raw = bytearray(path.read_bytes())
        for i in range(16):
            raw[int(len(raw) * at) + i] ^= 0xFF
        path.write_bytes(raw)

    BAD.append(Bad(name, only, spoil, words))


JUNK = bytes(range(256)) * 40
UTF16 = "sample\tpatient\tcompartment\nM\tP\turine\n".encode("utf-16")

# Configuration
put("config: empty", "M", "holds no keys", "config.yaml", "", late=True)
put(
    "config: random bytes",
    "M",
    "not text in UTF-8|not YAML|cannot read",
    "config.yaml",
    JUNK,
    late=True,
)
put("config: UTF-16", "M", "not text in UTF-8", "config.yaml", UTF16, late=True)
put(
    "config: a pointer of Git LFS",
    "M",
    "git lfs pull",
    "config.yaml",
    "version https://git-lfs.github.com/spec/v1\n",
    late=True,
)
put("config: a list", "M", "holds no keys", "config.yaml", "- a\n- b\n", late=True)
put(
    "config: a tab for indentation",
    "M",
    "is not YAML",
    "config.yaml",
    "cells:\n\tseed: 1\n",
    late=True,
)
put(
    "config: nested too deeply",
    "M",
    "nested too deeply|not YAML",
    "config.yaml",
    "[" * 5000,
    late=True,
)
put(
    "config: NUL",
    "M",
    "cannot read|not YAML|special characters",
    "config.yaml",
    "samples: a\0b\n",
    late=True,
)


@bad("config: a section twice", "M", "`cells` occurs twice", late=True)
def _(tiny):
    tiny.path.write_text(tiny.path.read_text() + "cells: {seed: 1}\n")


@bad("config: a key twice in a section", "M", "`name` occurs twice", late=True)
def _(tiny):
    text = yaml.safe_dump({k: v for k, v in tiny.config.items() if k != "construct"})
    tiny.path.write_text(text + "construct:\n  name: A\n  name: B\n")


@bad("config: a key twice inline", "M", "`seed` occurs twice", late=True)
def _(tiny):
    text = yaml.safe_dump({k: v for k, v in tiny.config.items() if k != "cells"})
    tiny.path.write_text(text + "cells: {seed: 1, integration: none, seed: 2}\n")


for value in (
    "",
    " ",
    "/",
    "/etc/passwd",
    "/etc/passwd/x",
    "res{x}",
    "a\nb",
    "/proc/x",
    "/dev/x",
    "<b>",
    "x" * 300,
    "a\tb",
):
    config(f"results {value[:12]!r}", "results", results=value)
for section, key, value in (
    ("cells", "seed", 2**32), ("cells", "seed", 2**70), ("cells", "seed", -1), ("cells", "seed", "a"),
    ("cells", "min_genes", 1e30), ("cells", "min_genes", 1.5), ("cells", "resolution", float("inf")),
    ("cells", "resolution", float("nan")), ("cells", "resolution", 0), ("cells", "max_pct_mito", 101),
    ("cells", "cellbender", 10**9), ("cells", "integration", "seurat"), ("cells", "doublets", "yes"),
    ("cells", "markers", ""), ("cells", "markers", "nowhere.tsv"), ("cells", "atlas", "nowhere.h5ad"),
    ("calling", "fdr", 0), ("calling", "fdr", 1), ("calling", "fdr", "five"), ("calling", "frd", 0.1),
    ("construct", "name", "A" * 3000), ("construct", "name", "a b"), ("construct", "name", "=1"),
    ("construct", "form", "virus"), ("construct", "file", "nowhere.gb"), ("construct", "alternatives", ["nowhere.gb"]),
    ("reference", "sjdb_overhang", 99999999999), ("reference", "sjdb_overhang", 1), ("reference", "insertion", "never"),
    ("molecules", "barcode_tag", "; "), ("molecules", "barcode_tag", "CBX"), ("molecules", "umi_tag", ""),
    ("molecules", "read_length", 5), ("molecules", "min_homology", 2), ("solo", "feature", "Velocyto"),
    ("solo", "keep_bam", "some"),
):  # fmt: skip
    config(
        f"{section}.{key} {str(value)[:12]!r}",
        f"{section}.{key}|nowhere",
        **{f"{section}__{key}": value},
    )
config("an unknown section", "unknown key `cell`", cell={})
config("a path with braces", "which Snakemake takes", cells__markers="{sample}/m.tsv")
config("a path with angle brackets", "which Snakemake takes", cells__markers="<b>.tsv")
config("a path with NUL", "cannot be seen", cells__markers="a\0b.tsv")
config("a name too long for a disk", "longer than a file", cells__markers="m" * 300 + ".tsv")
config(
    "a broken address",
    "is not an address|names no file",
    only="F",
    reference__fasta="https://[::1/g.fa",
    reference__gtf="genes.gtf",
)
config(
    "an address of no kind",
    "nothing here fetches",
    only="F",
    reference__fasta="ftp://x/g.fa",
    reference__gtf="genes.gtf",
)
config("no genome for reads", "`reference.fasta`.* missing", only="F", reference={})
config("no construct for reads", "`construct.file` is missing", only="F", construct={"name": CAR})
config("a CAR that the matrix lacks", "no feature named OTHER", construct={"name": "OTHER"})
config(
    "the CAR in other letters", f"write `construct.name: {CAR}`", construct={"name": CAR.lower()}
)
config("a folder for the sheet", "cannot read the sheet", samples=".")
config(
    "a genome of another kind",
    "is not FASTA|not text",
    only="F",
    reference={"fasta": "F_L001_R1.fastq.gz", "gtf": "genes.gtf"},
)

# Sheets
put("sheet: empty", "M", "is empty", "samples.tsv", "", late=True)
put("sheet: UTF-16", "M", "not text in UTF-8", "samples.tsv", UTF16, late=True)
put("sheet: random bytes", "M", "not text|lacks|no name", "samples.tsv", JUNK, late=True)
put(
    "sheet: a workbook",
    "M",
    "not text|lacks|no name|empty",
    "samples.tsv",
    b"PK\x03\x04" + JUNK,
    late=True,
)
put(
    "sheet: header alone",
    "M",
    "holds no sample",
    "samples.tsv",
    "sample\tpatient\tcompartment\n",
    late=True,
)
put(
    "sheet: a column missing",
    "M",
    "lacks the column",
    "samples.tsv",
    "sample\tpatient\nM\tP\n",
    late=True,
)
put(
    "sheet: a row too long",
    "M",
    "line 2 .* more cells",
    "samples.tsv",
    "sample\tpatient\tcompartment\nM\tP\turine\tx\n",
    late=True,
)
put(
    "sheet: a cell of 200,000 letters",
    "M",
    "table|printable|longer|seen|many|200000|valid|than",
    "samples.tsv",
    "sample\tpatient\tcompartment\nM\t" + "x" * 200_000 + "\turine\n",
    late=True,
)
put(
    "sheet: two columns of one name",
    "M",
    "two columns",
    "samples.tsv",
    "sample\tpatient\tpatient\nM\tP\tP\n",
    late=True,
)
put(
    "sheet: a sample twice",
    "M",
    "occurs twice",
    "samples.tsv",
    "sample\tpatient\tcompartment\tmatrix\nM\tP\turine\tmtx\nM\tP\turine\tmtx\n",
    late=True,
)
put(
    "sheet: samples that differ in case",
    "M",
    "differ only in case",
    "samples.tsv",
    "sample\tpatient\tcompartment\tmatrix\nM\tP\turine\tmtx\nm\tP\turine\tmtx\n",
    late=True,
)
put(
    "sheet: one matrix for two samples",
    "M",
    "one and the same `matrix`",
    "samples.tsv",
    "sample\tpatient\tcompartment\tmatrix\nM\tP\turine\tmtx\nN\tP\turine\tmtx\n",
    late=True,
)
put(
    "sheet: true line number",
    "M",
    "line 6",
    "samples.tsv",
    "# made by hand\n\nsample\tpatient\tcompartment\tmatrix\n# urine\nM\tP\turine\tmtx\nN\tP\tspit\tmtx\n",
    late=True,
)
row("a reserved column", "has a column leiden", leiden="1")
row("the column _index", "not a name for a column", _index="1")
row("a column with a slash", "not a name for a column", **{"a/b": "1"})
row("a formula", "taken for a formula", note_="=1+1")
row("an unknown compartment", "compartment", compartment="sweat")
row("an unknown role", "role", role="control")
row("an unknown chemistry", "chemistry", chemistry="v9")
row("NA for the patient", "patient", patient="NA")
row("a missing matrix", "cannot be read", matrix="nowhere")
row("a matrix path with braces", "which Snakemake takes", matrix="{sample}.h5")
row("a BAM and no matrix", "no matrix", bam="mtx/matrix.mtx.gz", matrix="")
row("nothing at all", "has no reads", matrix="")
row("a decimal comma", "decimal commas are read", note=True, proteinuria="3,1")
row("one file as raw and filtered", "one file as `matrix`", raw_matrix="mtx")
for word in ("NA", "N/A", "nan", "None", "null", "", "#N/A"):
    row(f"{word!r} for the compartment", "compartment", compartment=word)


@bad("sheet: a column that is nearly numbers", "M", "not taken for numbers", note=True, late=True)
def _(tiny):
    for name in "NOPQ":
        shutil.copytree(tiny.folder / "mtx", tiny.folder / name)
    values = dict(zip("MNOPQ", ("1.5", "2", "3", "4", "high"), strict=True))
    lines = [f"{s}\tP\turine\t{'mtx' if s == 'M' else s}\t{v}\n" for s, v in values.items()]
    text = "sample\tpatient\tcompartment\tmatrix\tprotein\n"
    (tiny.folder / "samples.tsv").write_text(text + "".join(lines))


@bad("sheet: copies of one matrix", "M", "are the same", late=True)
def _(tiny):
    shutil.copytree(tiny.folder / "mtx", tiny.folder / "copy")
    text = "sample\tpatient\tcompartment\tmatrix\nM\tP\turine\tmtx\nN\tP\turine\tcopy\n"
    (tiny.folder / "samples.tsv").write_text(text)


for change, words in (
    ({"sample": "X"}, "not in"), ({"r2": "nowhere.fq"}, "cannot be read"), ({"r2": "F_L001_R1.fastq.gz"}, "used twice"),
    ({"r1": "{x}.fq"}, "which Snakemake takes"), ({"r1": "NA"}, "r1|cannot be read"), ({"unit": ""}, "unit"),
):  # fmt: skip

    def spoil(tiny, change=change):
        tiny.units[0].update(change)

    BAD.append(Bad(f"units: {change}", "F", spoil, words))


@bad("units: one unit twice", "F", "occurs twice")
def _(tiny):
    tiny.units[1]["unit"] = "L001"


# Construct
put("construct: empty", "F", "car.gb", "car.gb", "")
put("construct: random bytes", "F", "car.gb", "car.gb", JUNK)
put(
    "construct: a protein",
    "F",
    "car.gb|protein|amino",
    "car.gb",
    ">p\nMALWMRLLPLLALLALWGPDPAAAFVNQHLCGSHLVEALYLVCGERGFF\n",
)
for case in BAD[-3:]:
    BAD.remove(case)

    def spoil(tiny, case=case):
        tiny.config["construct"] = {"file": "car.gb", "name": CAR}
        case.spoil(tiny)

    BAD.append(Bad(case.name, case.only, spoil, case.words))


@bad("construct: GenBank cut off", "F", "cut off|LOCUS|bases|truncat|//")
def _(tiny):
    from carseq.data import path

    text = path("constructs/hbi0101_surrogate.gb").read_text()
    (tiny.folder / "car.gb").write_text(text[: int(len(text) * 0.8)])
    tiny.config["construct"] = {"file": "car.gb", "name": CAR}


# Genome and annotation
put("genome: empty", "F", "holds no sequence", "genome.fa", "")
put("genome: random bytes", "F", "not text|not FASTA", "genome.fa", JUNK)
put("genome: no header", "F", "is not FASTA", "genome.fa", "ACGT\n")
put("genome: a contig twice", "F", "twice", "genome.fa", ">chr1\nACGT\n>chr1\nACGT\n")
put("genome: an empty contig", "F", "is empty", "genome.fa", ">chr1\n>chr2\nACGT\n")
put("genome: a contig without a name", "F", "without a name", "genome.fa", ">\nACGT\n")
put("genome: digits for bases", "F", "is not FASTA", "genome.fa", ">chr1\nACGT123\n")
put("genome: other names", "F", "no contig name", "genome.fa", ">1\nACGT\n")
put("genome: shorter than the genes", "F", "does not fit", "genome.fa", ">chr1\nACGT\n")
put("annotation: empty", "F", "holds no exons", "genes.gtf", "")
put(
    "annotation: GFF3",
    "F",
    "lacks gene_id",
    "genes.gtf",
    "chr1\tx\texon\t1\t9\t.\t+\t.\tParent=T\n",
)
put("annotation: random bytes", "F", "not text|as GTF wants", "genes.gtf", JUNK)
put(
    "annotation: genes alone",
    "F",
    "holds no exons",
    "genes.gtf",
    'chr1\tx\tgene\t1\t9\t.\t+\t.\tgene_id "G";\n',
)
LINE = 'chr1\tmade\texon\t{}\t{}\t.\t{}\t.\tgene_id "X"; transcript_id "X"; gene_name "X";\n'
for what, line, words in (
    ("start 0", LINE.format(0, 9, "+"), "line 121"), ("negative start", LINE.format(-5, 9, "+"), "line 121"),
    ("start behind end", LINE.format(90, 9, "+"), "line 121"), ("no number", LINE.format("a", 9, "+"), "line 121"),
    ("6,000 digits", LINE.format("9" * 6000, 9, "+"), "line 121"), ("no strand", LINE.format(1, 9, "x"), "line 121"),
    ("no transcript_id", 'chr1\tm\texon\t1\t9\t.\t+\t.\tgene_id "X"; gene_name "X";\n', "line 121.*X.*transcript_id"),
    ("no gene_id", 'chr1\tm\texon\t1\t9\t.\t+\t.\ttranscript_id "X";\n', "line 121.*gene_id"),
    ("five columns", "chr1\tm\texon\t1\t9\n", "line 121: 5 columns"),
    ("an empty gene_id", 'chr1\tm\texon\t1\t9\t.\t+\t.\tgene_id ""; transcript_id "X";\n', "line 121"),
    ("Latin-1", 'chr1\tm\texon\t1\t9\t.\t+\t.\tgene_id "Ü"; transcript_id "X";\n'.encode("latin1"), "UTF-8"),
    ("cut off within a line", LINE.format(1, 9, "+")[:30], "line 121"),
):  # fmt: skip

    def spoil(tiny, line=line):
        with (tiny.folder / "genes.gtf").open("ab") as out:
            out.write(line if isinstance(line, bytes) else line.encode())

    BAD.append(Bad(f"annotation: {what}", "F", spoil, words))


def zipped(file: str) -> Callable[[Tiny], Path]:
    def make(tiny: Tiny) -> Path:
        path = tiny.folder / f"{file}.gz"
        path.write_bytes(gzip.compress((tiny.folder / file).read_bytes()))
        key = "fasta" if file.endswith("fa") else "gtf"
        tiny.config["reference"] = {**tiny.config["reference"], key: path.name}
        return path

    return make


for file in ("genome.fa", "genes.gtf"):
    for what in ("cut off", "damaged", "trailing bytes"):

        def spoil(tiny, file=file, what=what):
            path = zipped(file)(tiny)
            raw = bytearray(path.read_bytes())
            if what == "cut off":
                raw = raw[: len(raw) // 2]
            elif what == "damaged":
                for i in range(len(raw) // 2, len(raw) // 2 + 20):
                    raw[i] ^= 0xFF
            else:
                raw += b"\x1f\x8b\x08junk"
            path.write_bytes(raw)

        BAD.append(Bad(f"{file}.gz {what}", "F", spoil, "damaged|cut off|not text|not FASTA|GTF"))


@bad("genome: a contig of the CAR's name", "F", "already has a contig")
def _(tiny):
    tiny.genome([(CAR, car_sequence())])


@bad("genome: the CAR under another name", "F", "holds the CAR already, under the name BCMA_CAR")
def _(tiny):
    tiny.genome([("BCMA_CAR", car_sequence())])


@bad("genome: the scFv as a feature", "B", "holds the CAR already, under the name scFv")
def _(tiny):
    tiny.genome([("scFv", car_sequence()[1300:1750])])


@bad("genome: the vector's LTR", "B", "holds the CAR already, under the name MLV")
def _(tiny):
    tiny.genome([("MLV", dna(tiny.rng, 2000) + car_sequence()[:500] + dna(tiny.rng, 2000))])


# Reads
for lane in ("L001", "L002"):
    for read in (1, 2):
        file = f"F_{lane}_R{read}.fastq.gz"
        truncate(f"reads: {file} cut off", "F", f"{file}", file, 0.5)
        flip(f"reads: {file} damaged", "F", f"{file}", file)
put("reads: no reads", "F", "not a FASTQ|holds no reads", "F_L001_R1.fastq.gz", gzip.compress(b""))
put("reads: text", "F", "not a FASTQ", "F_L001_R1.fastq.gz", gzip.compress(b"no reads here\n"))
put("reads: random bytes", "F", "not a FASTQ|damaged", "F_L001_R1.fastq.gz", JUNK)
put(
    "reads: a folder's name",
    "F",
    "cannot be read|is not|damaged",
    "F_L001_R1.fastq.gz",
    b"\x1f\x8b",
)


def lane(
    tiny: Tiny,
    r1: list[str] | None = None,
    r2: list[str] | None = None,
    n1=None,
    n2=None,
    lane="L002",
):
    n = 300
    first = r1 or [tiny.rng.choice(tiny.whitelist) + dna(tiny.rng, 12) for _ in range(n)]
    second = r2 or [tiny.of_gene()[1] for _ in range(n)]
    write_fastq(tiny.folder / f"F_{lane}_R1.fastq.gz", first, n1)
    write_fastq(tiny.folder / f"F_{lane}_R2.fastq.gz", second, n2)


@bad("reads: one lane of two swapped", "F", "swapped in F_L002")
def _(tiny):
    a, b = (tiny.folder / f"F_L002_R{i}.fastq.gz" for i in (1, 2))
    raw = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(raw)


@bad("reads: both lanes swapped", "F", "swapped")
def _(tiny):
    for unit in tiny.units:
        unit["r1"], unit["r2"] = unit["r2"], unit["r1"]


@bad("reads: one lane interleaved", "F", "mixed|one behind the other")
def _(tiny):
    r1 = [tiny.rng.choice(tiny.whitelist) + dna(tiny.rng, 12) for _ in range(150)]
    r2 = [tiny.of_gene()[1] for _ in range(150)]
    both = [s for pair in zip(r1, r2, strict=True) for s in pair]
    names = [f"i{i // 2}" for i in range(300)]
    lane(tiny, both, [*both[1:], both[0]], names, names)


@bad("reads: one lane of N", "F", "F_L002_R1.*valid barcode|have N")
def _(tiny):
    lane(tiny, ["N" * 28] * 300)


@bad(
    "reads: one lane of other cells",
    "F",
    "F_L002_R1.fastq.gz and F_L001_R1.fastq.gz have hardly a barcode in common",
    note=True,
)
def _(tiny):
    half = len(tiny.whitelist) // 2
    for name, own in (("L001", tiny.whitelist[:half]), ("L002", tiny.whitelist[half:])):
        lane(tiny, [tiny.rng.choice(own) + dna(tiny.rng, 12) for _ in range(300)], lane=name)


def hashtags(tiny: Tiny, name: str) -> None:
    """Write a lane of a library of hashtags: antibody barcodes of 15 bases behind ten others."""
    tags = [dna(tiny.rng, 15) for _ in range(6)]
    r2 = [dna(tiny.rng, 10) + tiny.rng.choice(tags) + "A" * 65 for _ in range(300)]
    lane(tiny, r2=r2, lane=name)


@bad("reads: one lane of hashtags", "F", "few reads in F_L002_R2.fastq.gz of F are of genes")
def _(tiny):
    hashtags(tiny, "L002")


@bad("reads: all lanes of hashtags", "F", "only 0 of the reads looked at are of tr", note=True)
def _(tiny):
    hashtags(tiny, "L001")
    hashtags(tiny, "L002")


@bad("reads: all lanes of 700 bases", "F", "reads of F are too long for STAR")
def _(tiny):
    for name in ("L001", "L002"):
        lane(tiny, r2=[tiny.of_gene()[1] + dna(tiny.rng, 610) for _ in range(300)], lane=name)


@bad("reads: one lane without UMIs", "F", "R1 in F_L002_R1.fastq.gz of F has no UMIs")
def _(tiny):
    lane(tiny, [tiny.rng.choice(tiny.whitelist) + "N" * 12 for _ in range(300)])


@bad("reads: one UMI for all", "F", "most of its reads have ACGTACGTACGT: 300 of the first 300")
def _(tiny):
    lane(tiny, [tiny.rng.choice(tiny.whitelist) + "ACGT" * 3 for _ in range(300)])


@bad("reads: one lane of another library", "F", "F_L002_R1")
def _(tiny):
    lane(tiny, [dna(tiny.rng, 28) for _ in range(300)])


@bad("reads: one lane of 5'", "F", "different chemistries|contradict|do not tell")
def _(tiny):
    turn = str.maketrans("ACGT", "TGCA")
    lane(tiny, r2=[tiny.of_gene()[1].translate(turn)[::-1] for _ in range(300)])


@bad("reads: R1 too short in one lane", "F", "too short")
def _(tiny):
    lane(tiny, [tiny.rng.choice(tiny.whitelist) for _ in range(300)])


@bad("reads: empty reads", "F", "without a base")
def _(tiny):
    lane(tiny, r2=["" if i % 50 == 7 else tiny.of_gene()[1] for i in range(300)])


@bad("reads: fewer in R2", "F", "different numbers")
def _(tiny):
    lane(tiny, r2=[tiny.of_gene()[1] for _ in range(299)])


@bad("reads: two exchanged near the end", "F", "not a pair")
def _(tiny):
    names = [f"read{i}" for i in range(300)]
    lane(tiny, n1=names, n2=[*names[:290], names[291], names[290], *names[292:]])


@bad("reads: R1 given twice, by a copy", "F", "same reads|swapped|mixed")
def _(tiny):
    shutil.copy(tiny.folder / "F_L001_R1.fastq.gz", tiny.folder / "F_L001_R2.fastq.gz")


@bad("reads: a quality line too short, near the end", "F", "length|not a FASTQ|damaged")
def _(tiny):
    path = tiny.folder / "F_L002_R2.fastq.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    lines[-5] = lines[-5][:-4]
    path.write_bytes(gzip.compress(("\n".join(lines) + "\n").encode()))


put("whitelist: empty", "F", "not a barcode whitelist", "list.txt", "")
put("whitelist: lengths differ", "F", "not a barcode whitelist", "list.txt", "ACGT\nACGTACGTACGT\n")
put(
    "whitelist: words",
    "F",
    "not a barcode whitelist",
    "list.txt",
    "sixteen_letters!\nsixteen_letters?\n",
)
put(
    "whitelist: of another library",
    "F",
    "does not fit",
    "list.txt",
    "ACGTACGTACGTACGT\nTTTTACGTACGTACGT\n",
)
put(
    "whitelist: damaged gzip",
    "F",
    "whitelist",
    "list.txt",
    gzip.compress(b"ACGTACGTACGTACGT\n" * 999)[:40],
)
put("whitelist: random bytes", "F", "whitelist", "list.txt", JUNK)

# BAM
put("BAM: empty", "B", "cannot read the BAM", "b.bam", "")
put("BAM: text", "B", "cannot read the BAM", "b.bam", "no BAM\n")
put("BAM: random bytes", "B", "cannot read the BAM|not sorted", "b.bam", JUNK)
truncate("BAM: cut off", "B", "b.bam|BAM", "b.bam", 0.6)


@bad("BAM: no index", "B", "has no index")
def _(tiny):
    (tiny.folder / "b.bam.bai").unlink()


@bad("BAM: no record", "B", "holds no read|no read with a barcode|CB")
def _(tiny):
    write_bam(tiny.folder / "b.bam", [("chr1", len(tiny.chromosome)), (CAR, 3431)], [])


@bad("BAM: no UMI tag", "B", "no UB tag")
def _(tiny):
    tiny.bam(umi="ZZ")


@bad("BAM: no barcode tag", "B", "no XC tag")
def _(tiny):
    tiny.config["molecules"] = {"barcode_tag": "XC"}


@bad("BAM: contigs of another name", "B", "contigs differently")
def _(tiny):
    reads = [("1", 100, dna(tiny.rng, 90), [("CB", tiny.written[0]), ("UB", "ACGT")])]
    write_bam(tiny.folder / "b.bam", [("1", 50_000)], reads)


def rewrite_bam(tiny, change, head=lambda header: header) -> None:
    """Write the BAM again, its header and its records changed."""
    path = str(tiny.folder / "b.bam")
    with pysam.AlignmentFile(path) as bam:
        header = pysam.AlignmentHeader.from_dict(head(bam.header.to_dict()))
        records = list(bam.fetch(until_eof=True))
    with pysam.AlignmentFile(path, "wb", header=header) as out:
        for number, record in enumerate(records):
            change(record, number)
            out.write(pysam.AlignedSegment.from_dict(record.to_dict(), header))
    pysam.index(path)


@bad("BAM: a tenth of the reads", "B", "BAM has 151 reads, and its matrix .* is a part", note=True)
def _(tiny):
    with pysam.AlignmentFile(str(tiny.folder / "b.bam")) as bam:
        header = bam.header
        records = [r for i, r in enumerate(bam.fetch(until_eof=True)) if i % 10 == 0]
    with pysam.AlignmentFile(str(tiny.folder / "b.bam"), "wb", header=header) as out:
        for record in records:
            out.write(record)
    pysam.index(str(tiny.folder / "b.bam"))


@bad("BAM: read groups of two libraries", "B", "BAM's read groups [ab] have hardly a", note=True)
def _(tiny):
    def group(record, _):
        if record.has_tag("CB"):
            record.set_tag("RG", "ab"[str(record.get_tag("CB")) > tiny.written[20]])

    named = [{"ID": name, "SM": "B"} for name in "ab"]
    rewrite_bam(tiny, group, lambda header: {**header, "RG": named})


@bad("BAM: as text", "B", "is a SAM, not a BAM")
def _(tiny):
    with pysam.AlignmentFile(str(tiny.folder / "b.bam")) as bam:
        records = list(bam.fetch(until_eof=True))
        with pysam.AlignmentFile(str(tiny.folder / "b.sam"), "w", header=bam.header) as out:
            for record in records:
                out.write(record)
    tiny.rows["B"]["bam"] = "b.sam"


@bad("matrix: a raw one", "B", "most barcodes of the matrix of B have less than a tenth", note=True)
def _(tiny):
    tiny.rows["B"] = {"patient": "P1", "compartment": "urine", "matrix": "raw.h5"}


@bad("BAM: of another assembly", "B", "aligned to another assembly.*chr1 has")
def _(tiny):
    """GRCh37 beside a genome of GRCh38: no contig has another name, and the homologs' reads lie elsewhere."""

    def longer(header):
        header["SQ"][0]["LN"] += 1000
        return header

    rewrite_bam(tiny, lambda record, number: None, longer)


@bad("BAM: a CRAM", "B", "is a CRAM")
def _(tiny):
    genome = tiny.folder / "both.fa"
    genome.write_text((tiny.folder / "genome.fa").read_text() + f">{CAR}\n{car_sequence()}\n")
    given = str(tiny.folder / "b.bam"), str(tiny.folder / "b.cram")
    pysam.view("-C", "-T", str(genome), "-o", given[1], given[0], catch_stdout=False)
    pysam.index(given[1])
    tiny.rows["B"]["bam"] = "b.cram"


@bad("BAM: an index of an earlier BAM", "B", "index is older")
def _(tiny):
    index = tiny.folder / "b.bam.bai"
    earlier = index.read_bytes()
    tiny.bam()
    index.write_bytes(earlier)
    os.utime(index, (0, 0))


@bad("BAM: of two samples that were merged", "B", "reads of 2 samples", note=True)
def _(tiny):
    rewrite_bam(
        tiny,
        lambda record, number: record.set_tag("RG", "AB"[number % 2]),
        lambda header: {**header, "RG": [{"ID": x, "SM": x, "LB": x} for x in "AB"]},
    )


@bad("BAM: neither the CAR nor unmapped reads", "B", "no CAR read")
def _(tiny):
    reads = [
        ("chr1", 2000, dna(tiny.rng, 90), [("CB", tiny.written[i % 40]), ("UB", "ACGT")])
        for i in range(300)
    ]
    write_bam(tiny.folder / "b.bam", [("chr1", len(tiny.chromosome))], reads)


@bad("BAM: of called cells alone", "B", "no reads of the 200 empty droplets", note=True)
def _(tiny):
    tiny.bam(empty=False)


@bad("BAM: of another sample", "B", "do not belong together")
def _(tiny):
    raw = {n: (tiny.folder / n).read_bytes() for n in ("raw.h5", "filtered.h5", "tcr.csv")}
    tiny.bam()
    for name, content in raw.items():
        (tiny.folder / name).write_bytes(content)


@bad("BAM: two samples' matrices exchanged", "B", "do not belong together")
def _(tiny):
    first = tiny.folder / "first"
    first.mkdir()
    for name in ("b.bam", "b.bam.bai", "raw.h5", "filtered.h5"):
        shutil.copy(tiny.folder / name, first / name)
    tiny.bam()
    tiny.rows["B"].pop("tcr")
    row = tiny.rows["B"]
    tiny.rows["C"] = {**row, "bam": "first/b.bam"}
    tiny.rows["B"] = {**row, "raw_matrix": "first/raw.h5", "matrix": "first/filtered.h5"}


@bad("BAM: a matrix of cells by numbers", "B", "do not belong together|share no")
def _(tiny):
    write_h5(tiny.folder / "raw.h5", tiny.counts, [f"cell_{i}" for i in range(240)], [*GENES, CAR])
    tiny.rows["B"].update(matrix="", tcr="")


@bad("BAM: an aggregated matrix of two libraries", "B", "other libraries|more than one way")
def _(tiny):
    others = [dna(tiny.rng, 16) for _ in range(240)]
    names = [f"{b[:-2]}-2" for b in tiny.written] + [f"{b}-1" for b in others]
    write_h5(tiny.folder / "raw.h5", np.vstack([tiny.counts, tiny.counts]), names, [*GENES, CAR])
    tiny.rows["B"].update(matrix="", tcr="")


# Receptors
put("receptors: empty", "B", "receptors", "tcr.csv", "")
put("receptors: random bytes", "B", "receptors", "tcr.csv", JUNK)
put("receptors: UTF-16", "B", "receptors", "tcr.csv", "barcode,contig_id\nA,B\n".encode("utf-16"))
put("receptors: another table", "B", "lacks", "tcr.csv", "a,b\n1,2\n")
put(
    "receptors: damaged gzip",
    "B",
    "receptors",
    "tcr.csv",
    gzip.compress(b"barcode,contig_id\n" * 99)[:30],
)


@bad("receptors: of another sample", "B", "receptors.*do not belong together")
def _(tiny):
    tiny.receptors([f"{dna(tiny.rng, 16)}-1" for _ in range(30)])


@bad("receptors: of B cells", "B", "no chain of a T-cell receptor")
def _(tiny):
    path = tiny.folder / "tcr.csv"
    path.write_text(path.read_text().replace("TRB,", "IGH,"))


@bad("receptors: cells of NA", "B", "names no cells")
def _(tiny):
    tiny.receptors(["NA"] * 30)


@bad("receptors: UMIs of inf", "B", "30 productive chains", note=True)
def _(tiny):
    path = tiny.folder / "tcr.csv"
    path.write_text(path.read_text().replace("true,5", "true,inf"))


# Matrices
def again(
    name: str, words: str, change: Callable[[Tiny], dict], kind: str = "h5", note: bool = False
) -> None:
    """Add: the matrix of sample M, written anew with some of counts, barcodes, names and types changed."""

    def spoil(tiny: Tiny) -> None:
        held = {
            "counts": tiny.m_counts, "barcodes": tiny.m_barcodes, "names": tiny.m_names, "types": tiny.m_types,
        } | change(tiny)  # fmt: skip
        if kind == "h5":
            write_h5(tiny.folder / "m.h5", **held)
            tiny.rows["M"]["matrix"] = "m.h5"
        elif kind == "mtx":
            shutil.rmtree(tiny.folder / "mtx")
            write_mtx(tiny.folder / "mtx", **held, gz=False)
        else:
            var = pd.DataFrame({"feature_types": held["types"]}, index=held["names"])
            obs = pd.DataFrame(index=held["barcodes"])
            data = anndata.AnnData(np.asarray(held["counts"], dtype=np.float32), obs=obs, var=var)
            data.write_h5ad(tiny.folder / "m.h5ad")
            tiny.rows["M"]["matrix"] = "m.h5ad"

    BAD.append(Bad(f"matrix, {kind}: {name}", "M", spoil, words, note=note))


def with_value(value: float) -> Callable[[Tiny], dict]:
    def change(tiny: Tiny) -> dict:
        counts = tiny.m_counts.astype(float)
        counts[3, 4] = value
        return {"counts": counts}

    return change


for kind in ("h5", "mtx", "h5ad"):
    again("negative", "negative", with_value(-3), kind)
    again("a half", "not whole", with_value(0.5), kind)
    again(
        "a barcode twice",
        "barcode twice",
        lambda t: {"barcodes": [*t.m_barcodes[:-1], t.m_barcodes[0]]},
        kind,
    )
    again(
        "nothing counted", "counts nothing|no barcode", lambda t: {"counts": t.m_counts * 0}, kind
    )
    again(
        "normalised",
        "not whole",
        lambda t: {"counts": np.log1p(t.m_counts / t.m_counts.sum(1, keepdims=True) * 1e4)},
        kind,
    )
    again(
        "no CAR",
        f"no feature named {CAR}",
        lambda t: {"names": ["X" if n == CAR else n for n in t.m_names]},
        kind,
    )
    again(
        "the CAR as an antibody",
        "of type Antibody Capture",
        lambda t: {
            "types": [
                "Antibody Capture" if n == CAR else k
                for n, k in zip(t.m_names, t.m_types, strict=True)
            ]
        },
        kind,
    )
    again(
        "the CAR as a guide",
        "of type CRISPR Guide Capture",
        lambda t: {
            "types": [
                "CRISPR Guide Capture" if n == CAR else k
                for n, k in zip(t.m_names, t.m_types, strict=True)
            ]
        },
        kind,
    )
    again(
        "10^12-fold",
        "no counts of molecules|not whole|not numbers",
        lambda t: {"counts": t.m_counts * 1e12},
        kind,
    )
    again(
        "the CAR twice", "genes named|gene twice", lambda t: {"names": [CAR, *t.m_names[1:]]}, kind
    )
for kind in ("h5", "h5ad"):
    again("infinite", "not numbers", with_value(np.inf), kind)
    again("NaN", "not numbers", with_value(np.nan), kind)
again("a gene twice", "gene twice", lambda t: {"names": [t.m_names[1], *t.m_names[1:]]}, "h5ad")
again(
    "libraries of an aggregation",
    "barcodes of 3 libraries",
    lambda t: {"barcodes": [f"{b[:-1]}{i % 3 + 1}" for i, b in enumerate(t.m_barcodes)]},
    note=True,
)
again("hashtags of a pool", "of several samples", lambda t: {
    "names": [*t.m_names[:-2], "HTO_1", "HTO_2"],
    "counts": np.hstack([t.m_counts[:, :-2], np.where((np.arange(50) % 2 == 0)[:, None] == [True, False], 200, 3)]),
})  # fmt: skip
again("multiplexing oligos of a pool", "of several samples", lambda t: {
    "names": [*t.m_names[:-2], "CMO301", "CMO302"], "types": [*t.m_types[:-2], *["Multiplexing Capture"] * 2],
    "counts": np.hstack([t.m_counts[:, :-2], np.where((np.arange(50) % 2 == 0)[:, None] == [True, False], 200, 3)]),
}, "mtx")  # fmt: skip
again(
    "genes of mouse",
    "mouse",
    lambda t: {"names": [n.capitalize() if n in GENES else n for n in t.m_names]},
)


@bad("matrix: transposed h5ad", "M", "is transposed")
def _(tiny):
    data = anndata.AnnData(
        tiny.m_counts[:, :-2].T.astype(np.float32), obs=pd.DataFrame(index=tiny.m_names[:-2]),
        var=pd.DataFrame(index=tiny.m_barcodes),
    )  # fmt: skip
    data.write_h5ad(tiny.folder / "m.h5ad")
    tiny.rows["M"]["matrix"] = "m.h5ad"


@bad("matrix: transposed mtx", "M", "is transposed")
def _(tiny):
    from scipy import io, sparse

    path = tiny.folder / "mtx/matrix.mtx.gz"
    with gzip.open(path, "wb") as out:
        io.mmwrite(out, sparse.coo_matrix(tiny.m_counts))


@bad("matrix: an entry twice", "M", "genes twice in one barcode")
def _(tiny):
    path = tiny.folder / "mtx/matrix.mtx.gz"
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    size = lines[2].split()
    lines[2] = " ".join([*size[:2], str(int(size[2]) + 1)])
    path.write_bytes(gzip.compress("\n".join([*lines, lines[5]]).encode()))


@bad("matrix: of places without counts", "M", "not a matrix of counts")
def _(tiny):
    path = tiny.folder / "mtx/matrix.mtx.gz"
    path.write_bytes(
        gzip.compress(gzip.decompress(path.read_bytes()).replace(b"integer", b"pattern"))
    )


for part in ("matrix.mtx.gz", "features.tsv.gz", "barcodes.tsv.gz"):
    truncate(f"matrix: {part} cut off", "M", "mtx", f"mtx/{part}", 0.5)
    flip(f"matrix: {part} damaged", "M", "mtx", f"mtx/{part}")

    def spoil(tiny, part=part):
        (tiny.folder / "mtx" / part).unlink()

    BAD.append(Bad(f"matrix: no {part}", "M", spoil, "not whole|holds no matrix"))
put(
    "matrix: an empty matrix.mtx",
    "M",
    "cannot read the matrix|not a matrix|not whole",
    "mtx/matrix.mtx.gz",
    b"",
)
put(
    "matrix: sizes that do not fit",
    "M",
    "does not fit|cannot read",
    "mtx/matrix.mtx.gz",
    gzip.compress(b"%%MatrixMarket matrix coordinate integer general\n%\n3 4 1\n1 1 1\n"),
)
put(
    "matrix: entries beyond its size",
    "M",
    "cannot read|does not fit",
    "mtx/matrix.mtx.gz",
    gzip.compress(b"%%MatrixMarket matrix coordinate integer general\n%\n43 50 1\n99 99 1\n"),
)
for name, content in (
    ("empty", b""), ("random bytes", JUNK), ("text", b"no matrix"), ("an HDF5 head", b"\x89HDF\r\n\x1a\n" + JUNK),
):  # fmt: skip
    for ending in ("h5", "h5ad"):

        def spoil(tiny, content=content, ending=ending):
            (tiny.folder / f"m.{ending}").write_bytes(content)
            tiny.rows["M"]["matrix"] = f"m.{ending}"

        BAD.append(
            Bad(f"matrix: {ending} of {name}", "M", spoil, "cannot read the matrix|is not a matrix")
        )
for keep in (0.3, 0.9):

    def spoil(tiny, keep=keep):
        path = tiny.folder / "raw.h5"
        raw = path.read_bytes()
        path.write_bytes(raw[: int(len(raw) * keep)])

    BAD.append(Bad(f"matrix: h5 cut off at {keep:.0%}", "B", spoil, "cannot read the matrix"))


@bad("matrix: a filtered one as raw", "B", "not a raw matrix.*`matrix`|holds no empty droplets")
def _(tiny):
    numbers = np.random.default_rng(1)
    profile = numbers.dirichlet(np.full(len(GENES) + 1, 0.3), 4)
    totals = numbers.lognormal(np.log(500), 0.55, 300).astype(int)
    counts = np.array([numbers.multinomial(n, profile[i % 4]) for i, n in enumerate(totals)])
    names = sorted({f"{dna(tiny.rng, 16)}-1" for _ in range(300)})
    write_h5(tiny.folder / "raw.h5", counts, names, [*GENES, CAR])
    tiny.rows["B"].update(bam="", matrix="", tcr="")


@bad("matrix: raw and filtered of two samples", "B", "do not belong together")
def _(tiny):
    names = [f"{dna(tiny.rng, 16)}-1" for _ in range(40)]
    write_h5(tiny.folder / "filtered.h5", tiny.counts[:40], names, [*GENES, CAR])


@bad("matrix: one library counted twice", "M", "most of their cells' barcodes", note=True)
def _(tiny):
    """Gene and GeneFull of one library, as two samples: nothing is the same but the barcodes."""
    counts = tiny.m_counts + (np.arange(50) % 3 == 0)[:, None]
    codes = [b.removesuffix("-1") for b in tiny.m_barcodes]
    write_h5(tiny.folder / "full.h5", counts, codes, tiny.m_names, tiny.m_types)
    tiny.rows["N"] = dict(tiny.rows["M"], matrix="full.h5", patient="P9")


@bad("matrix: a folder of two", "M", "several matrices")
def _(tiny):
    shutil.copy(tiny.folder / "mtx/matrix.mtx.gz", tiny.folder / "mtx/x_matrix.mtx.gz")


# Markers, labelled cells, CellTypist
for name, content, words in (
    ("empty", "", "marker table"), ("no lineage", "cell_type\tgene\nT\tCD3D\n", "lacks lineage"),
    ("a weight of abc", "lineage\tcell_type\tgene\tweight\nT\tT\tCD3D\tabc\n", "weight"),
    ("a weight of inf", "lineage\tcell_type\tgene\tweight\nT\tT\tCD3D\tinf\n", "weight"),
    ("commas", "lineage,cell_type,gene\nT,T,CD3D\n", "lacks"), ("UTF-16", UTF16, "marker table"),
    ("random bytes", JUNK, "marker table"),
    ("a row without a gene", "lineage\tcell_type\tgene\nT\tT\t\n", "without gene"),
    ("genes of nobody", "lineage\tcell_type\tgene\nT\tT\tXYZ1\nT\tT\tXYZ2\n", "none of the genes"),
):  # fmt: skip

    def spoil(tiny, content=content):
        path = tiny.folder / "own.tsv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        tiny.config["cells"] = {"markers": "own.tsv"}

    BAD.append(Bad(f"markers: {name}", "F", spoil, words))


@bad("markers: a folder", "F", "marker table")
def _(tiny):
    (tiny.folder / "own.tsv").mkdir()
    tiny.config["cells"] = {"markers": "own.tsv"}


for name, content in (
    ("empty", b""),
    ("random bytes", JUNK),
    ("an HDF5 head", b"\x89HDF\r\n\x1a\n" + JUNK),
):

    def spoil(tiny, content=content):
        (tiny.folder / "atlas.h5ad").write_bytes(content)
        tiny.config["cells"] = {"reference": "atlas.h5ad"}

    BAD.append(Bad(f"labelled cells: {name}", "M", spoil, "cannot read the reference"))


@bad("labelled cells: no such column", "M", "has no column")
def _(tiny):
    anndata.AnnData(np.ones((4, 3), dtype=np.float32)).write_h5ad(tiny.folder / "atlas.h5ad")
    tiny.config["cells"] = {"reference": "atlas.h5ad"}


@bad("labelled cells: normalised", "M", "no raw counts")
def _(tiny):
    obs = pd.DataFrame({"cell_type": list("abab")}, index=list("wxyz"))
    data = anndata.AnnData(np.full((4, 3), 0.5, dtype=np.float32), obs=obs)
    data.write_h5ad(tiny.folder / "atlas.h5ad")
    tiny.config["cells"] = {"reference": "atlas.h5ad"}


for name, content in (("empty", b""), ("random bytes", JUNK), ("another pickle", b"\x80\x04N.")):

    def spoil(tiny, content=content):
        (tiny.folder / "model.pkl").write_bytes(content)
        tiny.config["cells"] = {"celltypist": "model.pkl"}

    BAD.append(
        Bad(f"CellTypist: {name}", "M", spoil, "not a CellTypist model|CellTypist is not installed")
    )


@bad(
    "all at once: every fault in one pass",
    "FM",
    "(?s)fdr.*line 2.*nowhere.*GTF.*without a base.*negative",
)
def _(tiny):
    tiny.config["calling"] = {"fdr": 2}
    tiny.rows = {"X": {**tiny.rows["M"], "compartment": "spit"}, **tiny.rows}
    tiny.config["cells"] = {"markers": "nowhere.tsv"}
    lane(tiny, r2=[""] + [tiny.of_gene()[1] for _ in range(299)])
    counts = tiny.m_counts.copy()
    counts[0, 0] = -1
    shutil.rmtree(tiny.folder / "mtx")
    write_mtx(tiny.folder / "mtx", counts, tiny.m_barcodes, tiny.m_names, tiny.m_types)
    with (tiny.folder / "genes.gtf").open("a") as out:
        out.write("chr1\tcut\n")


@dataclass(frozen=True)
class Outcome:
    """What ``carseq check`` made of a spoilt study."""

    seconds: float
    verdict: str
    message: str


def attempt(case: Bad, folder: Path) -> Outcome:
    """Spoil a fresh study and check it."""
    tiny = Tiny(folder, only=case.only)
    if not case.late:
        case.spoil(tiny)
    tiny.write()
    if case.late:
        case.spoil(tiny)
    start = time.perf_counter()
    try:
        found = list(check_study(tiny.path))
    except Exception as error:
        return Outcome(time.perf_counter() - start, "TRACEBACK", f"{type(error).__name__}: {error}")
    seconds = time.perf_counter() - start
    faults = [str(result) for _, result in found if isinstance(result, CarseqError)]
    notes = [str(result) for _, result in found if not isinstance(result, CarseqError)]
    told = "\n".join(notes if case.note else faults)
    if "report this as a fault of carseq" in "\n".join(faults):
        return Outcome(seconds, "UNEXPECTED", next(f for f in faults if "a fault of carseq" in f))
    if not told or (
        case.note
        and not any(isinstance(r, Note) or re.search(case.words, str(r)) for _, r in found)
    ):
        return Outcome(seconds, "ACCEPTED", "")
    if not re.search(case.words, told, re.DOTALL):
        return Outcome(seconds, "OTHER CAUSE", told)
    line = next(
        (t for t in (notes if case.note else faults) if re.search(case.words, t, re.DOTALL)), told
    )
    return Outcome(seconds, "told" if case.note else "refused", line)


def _column(name: str, value: str) -> Callable[[Tiny], None]:
    def spoil(tiny: Tiny) -> None:
        tiny.rows["M"][name] = value

    return spoil


# Mistakes of spreadsheets, and columns that are spelt nearly as those that carseq reads.
for _name, _value, _words in (
    ("timepoint", "#REF!", "where a formula failed"),
    ("crp", "#DIV/0!", "where a formula failed"),
    ("timepoint", "\N{LEFT DOUBLE QUOTATION MARK}D28\N{RIGHT DOUBLE QUOTATION MARK}", "quotation"),
    ("car_pct_flow", "120", "not a share of T cells: 120"),
    ("car_pct_flow", "-3", "not a share of T cells: -3"),
    ("car_fraction_flow", "12", r"between 0 and 1\b"),
    ("Role", "negative_control", "probably `role`"),
    ("Time point", "D28", "probably `timepoint`"),
    ("negative_control", "yes", "probably `role`"),
    ("Raw.Matrix", "mtx", "probably `raw_matrix`"),
):
    BAD.append(Bad(f"slip: {_name} {_value}", "M", _column(_name, _value), _words))
config("slip: fdr yes", "must be a number; yes", calling__fdr=True)
config("slip: doublet rate no", "must be a number; yes", cells__doublet_rate=False)


put(
    "slip: a gene that became a date", "M", "date in place of a gene: 2-Sep", "dates.tsv",
    "lineage\tcell_type\tgene\nT\tT cell\tCD3D\nT\tT cell\t2-Sep\n",
)  # fmt: skip
BAD[-1] = replace(
    BAD[-1],
    spoil=lambda tiny, write=BAD[-1].spoil: (
        write(tiny),
        tiny.config["cells"].update(markers="dates.tsv"),
    ),
)
config("slip: target in small letters", "did you mean CD19", only="F", construct__target="cd19")
BAD[-1] = replace(BAD[-1], note=True)
config("slip: target by its protein's name", "TNFRSF17", only="F", construct__target="B-CMA")
BAD[-1] = replace(BAD[-1], note=True)


@bad("slip: patients P2 and p2", "BM", "'P2' and 'p2' differ only in case", note=True)
def _(tiny):
    tiny.rows["B"]["patient"], tiny.rows["M"]["patient"] = "P2", "p2"


@bad("slip: results beside the configuration are a file", "M", "cannot be made: .* is a file")
def _(tiny):
    tiny.config["results"] = "made"
    (tiny.folder / "made").write_text("x")


def _second(tiny: Tiny, how: Callable[[Path, Path], object], sample: str) -> None:
    pair = {}
    for read in ("r1", "r2"):
        source = tiny.folder / tiny.units[0][read]
        how(source, tiny.folder / f"other_{source.name}")
        pair[read] = f"other_{source.name}"
    if sample != "F":
        tiny.rows[sample] = dict(tiny.rows["F"], patient="P9")
    tiny.units.append({"sample": sample, "unit": "L009", **pair})


@bad("slip: reads of another sample, by a copy", "F", "holds the same reads as", note=True)
def _(tiny):
    _second(tiny, shutil.copy, "G")


@bad("slip: a lane twice, by a copy", "F", "holds the same reads as", note=True)
def _(tiny):
    _second(tiny, shutil.copy, "F")


@bad("slip: reads of another sample, by a hard link", "F", "is used twice")
def _(tiny):
    _second(tiny, os.link, "G")


def main() -> int:
    pysam.set_verbosity(0)
    counts: dict[str, int] = {}
    slowest = 0.0
    for case in BAD:
        with tempfile.TemporaryDirectory() as folder:
            outcome = attempt(case, Path(folder) / "study")
        counts[outcome.verdict] = counts.get(outcome.verdict, 0) + 1
        slowest = max(slowest, outcome.seconds)
        code = 1 if outcome.verdict != "told" and outcome.verdict != "ACCEPTED" else 0
        message = " ".join(outcome.message.replace(folder, "").split())[:110]
        print(
            f"{outcome.seconds:5.2f} s  {code}  {outcome.verdict:11s}  {case.name[:52]:52s}  {message}",
            flush=True,
        )
    print(f"{len(BAD)} bad inputs: {counts}; slowest {slowest:.1f} s")
    return int(bool(set(counts) - {"refused", "told"}))


if __name__ == "__main__":
    sys.exit(main())
