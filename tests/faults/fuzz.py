"""Fuzzing of every parser: whatever a file holds, it is read, or refused by a CarseqError; nothing else is raised.

`python tests/faults/fuzz.py --seconds 600` damages good files in ways that files are damaged (bytes changed, parts cut
out, doubled, moved, numbers made extreme, other encodings) and counts what was tried, refused and, if anything else was
raised, its kinds with an input for each. `test_fuzz.py` tries some, and all inputs that once failed.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pysam
import yaml

from carseq.data import path as data_path
from carseq.errors import CarseqError

#: What breaks parsers, to be put anywhere.
TOKENS = (
    b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\r\n", b"\n\n", b"\t\t", b"\"", b"'", b"{", b"}", b"[", b"]", b"&a",
    b"*a", b"!!python/object:x", b"nan", b"inf", b"-1", b"1e309", b"99999999999999999999", b"0x1F", b"1_0", b"\xc3\xa9",
    b"\xe9", "\u202e".encode(), "\u0660".encode(), b",", b";", b"#", b">", b"//", b"..", b"/", b"NA", b"None", b"TRUE",
    b"<script>", b"-", b"N", b"A" * 300,
)  # fmt: skip


def damage(content: bytes, rng: random.Random, more: bytes = b"") -> bytes:
    """Return a file's content with a few changes."""
    made = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        size = len(made)
        at, end = sorted((rng.randint(0, size), rng.randint(0, size)))
        kind = rng.randrange(11)
        if kind == 0 and size:
            made[min(at, size - 1)] = rng.randrange(256)
        elif kind == 1:
            del made[at:]
        elif kind == 2:
            del made[at : min(end, at + 200)]
        elif kind == 3:
            made[at:at] = made[at : min(end, at + 300)]
        elif kind in (4, 5):
            made[at:at] = rng.choice(TOKENS)
        elif kind == 6:
            lines = bytes(made).split(b"\n")
            rng.shuffle(lines)
            made = bytearray(b"\n".join(lines))
        elif kind == 7:
            cells = bytes(made).split(b"\t")
            cells[rng.randrange(len(cells))] = rng.choice(TOKENS)
            made = bytearray(b"\t".join(cells))
        elif kind == 8:
            lines = bytes(made).split(b"\n")
            at = rng.randrange(len(lines))
            lines[at] = rng.choice(
                (b"", lines[at] * 2, lines[at][: len(lines[at]) // 2], rng.choice(TOKENS))
            )
            made = bytearray(b"\n".join(lines))
        elif kind == 9:
            with contextlib.suppress(UnicodeDecodeError):
                made = bytearray(
                    bytes(made).decode().encode(rng.choice(("utf-16", "utf-8-sig", "utf-32")))
                )
        elif more:
            made[at:at] = more[: rng.randint(0, len(more))]
    return bytes(made)


@dataclass
class Target:
    """A parser and good inputs for it."""

    name: str
    parse: Callable[[Path], object]
    seeds: list[bytes]
    suffix: str = ".txt"
    #: Whether it is only cut off: HDF5's own library runs on without end in some files whose bytes were changed. Those
    #: that carseq wrote have a checksum against that.
    cut_only: bool = False


def _config(path: Path) -> object:
    from carseq.study.config import read_config

    return read_config(path)


def _study(path: Path) -> object:
    """Read a configuration, and the sheets that it names."""
    from carseq.study.config import load_config
    from carseq.study.load import load_study

    return load_study(load_config(path))


def targets(folder: Path) -> list[Target]:
    """Return all parsers, each with inputs that it takes."""
    from carseq.cells.atlas import read_reference
    from carseq.cells.markers import read_markers, read_signatures
    from carseq.cells.receptor import read_contigs
    from carseq.cells.subtypes import read_t_types
    from carseq.construct import load_construct, read_construct
    from carseq.io.barcodes import Belonging
    from carseq.io.fasta import contigs, fasta_records
    from carseq.io.files import read_json, read_samples, read_table, read_text
    from carseq.io.matrix import read_counts
    from carseq.io.results import read_record
    from carseq.library.fastq import count_reads, first_reads
    from carseq.library.geometry import Chemistry, parse_geometry
    from carseq.library.reads import LibraryReads, read_length_of_bam
    from carseq.library.whitelist import read_whitelist
    from carseq.reference.genome import check_reference, gtf_exons, read_loci, read_transcripts
    from carseq.schema.tables import LOSSES, MOLECULES
    from carseq.study.sheets import further_columns, read_sheet

    construct = data_path("constructs/hbi0101_surrogate.gb").read_bytes()
    fasta = b">chr1 x\nACGTACGTNNACGT\nACGT\n>chr2\nTTTTACGT\n"
    gtf = b"".join(
        b'chr1\tx\t%s\t%d\t%d\t.\t%s\t.\tgene_id "G%d"; transcript_id "T%d"; gene_name "N";\n'
        % (f, i, i + 4, s, i, i)
        for i, (f, s) in enumerate(
            [(b"gene", b"+"), (b"transcript", b"+"), (b"exon", b"+"), (b"exon", b"-")], 1
        )
    )
    genome = folder / "genome.fa"
    genome.write_bytes(fasta)
    known = folder / "genes.gtf"
    known.write_bytes(gtf)
    (folder / "car.gb").write_bytes(construct)
    for i in range(4):
        (folder / f"r{i}.fq").write_bytes(b"@a%d\nACGT\n+\nFFFF\n" % i)
    sheet = (
        b"sample\tpatient\tcompartment\ttimepoint\trole\tchemistry\tcreatinine\nS1\tP1\turine\tD0\tcase\tauto\t1.5\n"
        b"S2\tP1\tblood\tD28\tnegative_control\t10x_3p_v3\t\n"
    )
    units = b"sample\tunit\tr1\tr2\nS1\tL1\tr0.fq\tr1.fq\nS2\tL1\tr2.fq\tr3.fq\n"
    config = yaml.safe_dump(
        {
            "samples": "samples.tsv", "units": "units.tsv", "results": "results",
            "construct": {"file": "car.gb", "name": "CAR", "form": "auto", "target": "TNFRSF17"},
            "reference": {"fasta": "genome.fa", "gtf": "genes.gtf", "star_index": None, "sa_sparse": 2},
            "calling": {"fdr": 0.05}, "cells": {"integration": "none", "min_genes": 200, "resolution": 1.0},
        }
    ).encode()  # fmt: skip
    tcr = (
        b"barcode,is_cell,contig_id,high_confidence,length,chain,v_gene,d_gene,j_gene,c_gene,full_length,productive,"
        b"cdr3,cdr3_nt,reads,umis,raw_clonotype_id,raw_consensus_id\n"
        b"AAACCTGAGAAACCAT-1,true,c1,true,500,TRA,TRAV1,,TRAJ1,TRAC,true,true,CAVF,TGT,99,5,clonotype1,cc\n"
        b"AAACCTGAGAAACCAT-1,true,c2,true,500,TRB,TRBV1,TRBD1,TRBJ1,TRBC1,true,true,CASF,TGT,9,3,clonotype1,cc\n"
    )
    airr = b"cell_id\tsequence_id\tlocus\tproductive\tv_call\tj_call\tjunction\tjunction_aa\tumi_count\n"
    airr += b"AAAC-1\ts1\tTRB\tT\tTRBV1*01\tTRBJ1*01\tTGTGCC\tCA\t4\n"
    rows = [b"sample\tstep\tunit\tn\tmeaning", b"S\tcar_reads\treads\t5\tx"]
    geometry = [
        b"CB:0:1-16 UMI:0:17-28",
        b"soloCBstart 1 soloCBlen 16 soloUMIstart 17 soloUMIlen 12",
        b"10x_3p_v3",
    ]
    barcodes = b"".join(
        b"%s-1\n" % bytes(np.random.default_rng(i).choice(list(b"ACGT"), 16).tolist())
        for i in range(9)
    )
    mtx = (
        b"%%MatrixMarket matrix coordinate integer general\n%\n3 9 4\n1 1 5\n2 3 1\n3 9 2\n1 9 7\n"
    )
    features = b"G1\tA\tGene Expression\nG2\tB\tGene Expression\nCAR\tCAR\tGene Expression\n"
    fastq = b"".join(
        b"@r%d 1:N:0\n%s\n+\n%s\n" % (i, b"ACGTACGTACGTACGTACGTACGTACGT", b"F" * 28)
        for i in range(6)
    )
    h5ad, parquet = _binaries(folder)

    def with_sheets(one: str) -> Callable[[Path], object]:
        def parse(path: Path) -> object:
            (folder / "samples.tsv").write_bytes(path.read_bytes() if one == "samples" else sheet)
            (folder / "units.tsv").write_bytes(path.read_bytes() if one == "units" else units)
            whole = folder / "study.yaml"
            whole.write_bytes(config)
            return _study(whole)

        return parse

    def both(path: Path) -> object:
        return check_reference(genome, path, "CAR"), list(read_transcripts(genome, path))

    def matrix(part: str) -> Callable[[Path], object]:
        place = folder / f"mtx_{part}"
        place.mkdir(exist_ok=True)

        def parse(path: Path) -> object:
            for name, good in (
                ("matrix.mtx", mtx),
                ("features.tsv", features),
                ("barcodes.tsv", barcodes),
            ):
                (place / name).write_bytes(path.read_bytes() if name.startswith(part) else good)
            return read_counts(place, car="CAR", needs_car=True)

        return parse

    return [
        Target("construct.gb", lambda p: load_construct(p, name="CAR"), [construct], ".gb"),
        Target("construct.fa", lambda p: load_construct(p, name="CAR"), [_as_fasta(construct)], ".fa"),
        Target("config", _config, [config], ".yaml"),
        Target("samples sheet", with_sheets("samples"), [sheet, sheet.replace(b"\n", b"\r\n")], ".tsv"),
        Target("units sheet", with_sheets("units"), [units], ".tsv"),
        Target("sheet", lambda p: read_sheet(str(p), {"sample"}), [sheet, units], ".tsv"),
        Target("clinical columns", further_columns, [sheet], ".tsv"),
        Target("genome", lambda p: (contigs(p), list(fasta_records(p))), [fasta, gzip.compress(fasta)], ".fa"),
        Target("GTF", lambda p: list(gtf_exons(p)), [gtf, gzip.compress(gtf)], ".gtf"),
        Target("annotation and genome", both, [gtf], ".gtf"),
        Target("whitelist", read_whitelist, [barcodes, gzip.compress(barcodes)]),
        Target("geometry", lambda p: parse_geometry(p.read_bytes().decode("utf-8", "replace")), geometry),
        Target("chemistry.json", lambda p: Chemistry.from_json(read_text(p)), [_chemistry()]),
        Target("receptors, Cell Ranger", read_contigs, [tcr], ".csv"),
        Target("receptors, AIRR", read_contigs, [airr], ".tsv"),
        Target("markers", read_markers, [data_path("markers/urinary.tsv").read_bytes()], ".tsv"),
        Target("matrix.mtx", matrix("matrix"), [mtx]),
        Target("features.tsv", matrix("features"), [features]),
        Target("barcodes.tsv", matrix("barcodes"), [barcodes]),
        Target("matrix.h5ad", lambda p: read_counts(p, car="CAR", needs_car=True), [h5ad], ".h5ad", True),
        Target("molecules.parquet", lambda p: read_table(p, MOLECULES), [parquet], ".parquet"),
        Target("losses.tsv", lambda p: read_table(p, LOSSES), [b"\n".join(rows) + b"\n"], ".tsv"),
        Target("summary.json", read_json, [b'{"n_reads": 5, "saturation": 0.5, "a": [1, null]}'], ".json"),
        Target("T-cell states", read_signatures, [data_path("markers/t_states.tsv").read_bytes()[:900]], ".tsv"),
        Target("T-cell types", read_t_types, [_head("markers/t_types.tsv", 9)], ".tsv"),
        Target("run_config.yaml", read_record, [config], ".yaml"),
        Target("library.json", LibraryReads.read, [LibraryReads("Forward", 90, "sheet").to_json().encode()], ".json"),
        Target("belonging.json", lambda p: Belonging.from_json(read_text(p)), [_belonging()], ".json"),
        Target("construct.json", read_construct, [load_construct(folder / "car.gb", name="CAR").to_json().encode()]),
        Target("loci.tsv", read_loci, [b"contig\tstart\tend\tgene\nchr1\t5\t9\tTP53\n"], ".tsv"),
        Target("samples.tsv", read_samples, [_metadata(folder)], ".tsv"),
        Target("matrix.h5", lambda p: read_counts(p, car="CAR", needs_car=True), [_cellranger(folder)], ".h5", True),
        Target("atlas.h5ad", lambda p: read_reference(p, "kind"), [_labelled(folder)], ".h5ad", True),
        Target("BAM", read_length_of_bam, [_bam(folder)], ".bam"),
        Target("FASTQ", lambda p: (first_reads(p, 4), count_reads(p)), [fastq, gzip.compress(fastq)], ".fastq"),
    ]  # fmt: skip


def _as_fasta(genbank: bytes) -> bytes:
    from io import StringIO

    from Bio import SeqIO

    record = SeqIO.read(StringIO(genbank.decode()), "genbank")
    return f">car\n{record.seq}\n".encode()


def _head(name: str, n: int) -> bytes:
    return b"".join(data_path(name).read_bytes().splitlines(keepends=True)[:n])


def _belonging() -> bytes:
    from carseq.io.barcodes import BarcodeMatch, Belonging

    match = BarcodeMatch({("", "1"): ("", "2")}, 0.9, [])
    fields = {
        "in_matrix": 0.9,
        "in_top": 0.9,
        "seen_top": 0.9,
        "cells_only": False,
        "n_empty": 5,
        "n_reads": 9,
    }
    return Belonging(match=match, **fields).to_json().encode()


def _metadata(folder: Path) -> bytes:
    from carseq.io.files import write_table
    from carseq.schema.tables import METADATA

    write_table(METADATA.empty(), folder / "metadata.tsv", METADATA)
    return (folder / "metadata.tsv").read_bytes()


def _cellranger(folder: Path) -> bytes:
    """Return a count matrix as Cell Ranger writes it."""
    import h5py

    with h5py.File(folder / "seed.h5", "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = [b"AACGTACGTACGTACG-1", b"CACGTACGTACGTACG-1"]
        group["data"], group["indices"], group["indptr"] = [1, 2, 3], [0, 1, 2], [0, 2, 3]
        group["shape"] = [3, 2]
        features = group.create_group("features")
        features["id"] = features["name"] = [b"A", b"B", b"CAR"]
        features["feature_type"] = [b"Gene Expression"] * 3
        features["genome"] = [b"x"] * 3
    return (folder / "seed.h5").read_bytes()


def _labelled(folder: Path) -> bytes:
    import anndata

    adata = anndata.AnnData(np.eye(4, dtype=np.float32))
    adata.obs["kind"] = ["a", "b", "a", "b"]
    adata.write_h5ad(folder / "labelled.h5ad")
    return (folder / "labelled.h5ad").read_bytes()


def _bam(folder: Path) -> bytes:
    import pysam

    header = pysam.AlignmentHeader.from_dict(
        {"HD": {"VN": "1.4", "SO": "coordinate"}, "SQ": [{"SN": "CAR", "LN": 100}]}
    )
    with pysam.AlignmentFile(str(folder / "seed.bam"), "wb", header=header) as out:
        for i in range(9):
            read = pysam.AlignedSegment(header)
            read.query_name, read.reference_id, read.reference_start = f"r{i}", 0, i
            read.query_sequence, read.cigarstring = "ACGTACGTAC", "10M"
            read.set_tag("CB", "ACGT-1")
            out.write(read)
    return (folder / "seed.bam").read_bytes()


def _chemistry() -> bytes:
    found = {"name": "10x_3p_v3", "cb_start": 1, "cb_length": 16, "umi_start": 17, "umi_length": 12}
    found |= {
        "whitelist": "w.txt",
        "strand": "Forward",
        "read_length": 90,
        "valid_barcodes": 0.9,
        "n_reads": 9,
    }
    return json.dumps(found | {"reads_sense": 5, "reads_antisense": 1}).encode()


def _binaries(folder: Path) -> tuple[bytes, bytes]:
    import anndata
    from scipy import sparse

    from carseq.io.files import write_table
    from carseq.io.h5ad import write_h5ad
    from carseq.schema.tables import MOLECULES

    adata = anndata.AnnData(sparse.csr_matrix(np.eye(3, dtype=np.float32)))
    adata.var_names = ["A", "B", "CAR"]
    adata.obs_names = [f"{b}ACGTACGTACGTACG-1" for b in "ACG"]
    write_h5ad(adata, folder / "seed.h5ad")
    write_table(MOLECULES.empty(), folder / "seed.parquet", MOLECULES)
    return (folder / "seed.h5ad").read_bytes(), (folder / "seed.parquet").read_bytes()


@dataclass
class Result:
    """What came of the inputs of one target."""

    tried: int = 0
    refused: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, bytes] = field(default_factory=dict)
    slowest: float = 0.0


def try_one(target: Target, content: bytes, folder: Path) -> str:
    """Parse one input; return an empty text, ``refused``, or the kind of what else was raised and where."""
    path = folder / f"input{target.suffix}"
    path.write_bytes(content)
    try:
        target.parse(path)
    except CarseqError as error:
        return "refused" if error.message else "a CarseqError without a message"
    except Exception as error:
        place = [f for f in traceback.extract_tb(error.__traceback__) if "carseq" in f.filename]
        where = f"{Path(place[-1].filename).name}:{place[-1].name}" if place else "?"
        return f"{type(error).__name__} in {where}: {str(error)[:80]}"
    return ""


def _kind(found: str) -> str:
    return found.split(": ")[0]


def fuzz(target: Target, folder: Path, *, seed: int, seconds: float = 0.0, n: int = 0) -> Result:
    """Try damaged inputs for some time, or some number of them."""
    rng, result = random.Random(f"{target.name}{seed}"), Result()
    # Seconds of the processor: a busy machine tries no less.
    end = time.process_time() + seconds
    while result.tried < n or time.process_time() < end:
        content = damage(rng.choice(target.seeds), rng, rng.choice(target.seeds))
        if target.cut_only:
            content = target.seeds[0][: rng.randrange(len(target.seeds[0]))]
        begin = time.monotonic()
        found = try_one(target, content, folder)
        result.slowest = max(result.slowest, time.monotonic() - begin)
        result.tried += 1
        if found == "refused":
            result.refused += 1
        elif found:
            result.kinds[_kind(found)] += 1
            old = result.examples.get(_kind(found))
            if old is None or len(content) < len(old):
                result.examples[_kind(found)] = content
    return result


def guided(names: list[str], folder: Path, *, seed: int, seconds: float) -> dict[str, Result]:
    """Try inputs that atheris chooses by the code that they reach (`pip install atheris`), in a process of its own.

    One process tries all parsers, since its start takes longer than a parser's share: an input's first byte says which.
    """
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, target in enumerate(t for t in targets(folder) if t.name in names):
        for which, content in enumerate(target.seeds):
            (corpus / f"{number}_{which}").write_bytes(bytes([number]) + content)
    code = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import atheris
with atheris.instrument_imports(include=["carseq"]):
    import fuzz
    from pathlib import Path
    folder = Path({str(folder)!r})
    every = [t for t in fuzz.targets(folder) if t.name in {names!r}]
    for target in every:
        for content in target.seeds:
            fuzz.try_one(target, content, folder)
fuzz.quiet()
found = {{t.name: {{"tried": 0, "refused": 0, "kinds": {{}}}} for t in every}}
tried = 0
def one(content):
    global tried
    if not content:
        return
    target, content = every[content[0] % len(every)], content[1:]
    if target.cut_only:
        content = target.seeds[0][: int.from_bytes(content[:4], "big") % len(target.seeds[0])]
    own = found[target.name]
    own["tried"] += 1
    tried += 1
    told = fuzz.try_one(target, content, folder)
    if told == "refused":
        own["refused"] += 1
    elif told:
        own["kinds"].setdefault(told.split(": ")[0], content.hex())
    if tried % 500 == 0 or told not in ("", "refused"):
        (folder / "found.json").write_text(json.dumps(found))
words = ["fuzz", "-max_total_time={int(seconds)}", "-seed={seed + 1}", "-max_len=4000", "-timeout=120", "-verbosity=0"]
words += ["-rss_limit_mb=6000", "-artifact_prefix={folder}/"]
atheris.Setup([*words, {str(corpus)!r}], one)
atheris.Fuzz()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if not (folder / "found.json").exists():
        sys.exit(done.stderr[-2000:])
    found = json.loads((folder / "found.json").read_text())
    results = {}
    for name, own in found.items():
        kinds = {kind: bytes.fromhex(content) for kind, content in own["kinds"].items()}
        counts = Counter(dict.fromkeys(kinds, 1))
        results[name] = Result(own["tried"], own["refused"], counts, kinds)
    return results


def quiet() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    pysam.set_verbosity(0)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60, help="for all parsers together")
    parser.add_argument("--only", nargs="*", help="these parsers alone")
    parser.add_argument(
        "--atheris", action="store_true", help="inputs chosen by the code that they reach"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for an input of each kind of failure")
    words = parser.parse_args()
    quiet()
    total = refused = 0
    kinds = 0
    with tempfile.TemporaryDirectory() as place:
        all_targets = [t for t in targets(Path(place)) if not words.only or t.name in words.only]
        chosen = {}
        if words.atheris:
            names = [t.name for t in all_targets]
            folder = Path(tempfile.mkdtemp(dir=place))
            chosen = guided(names, folder, seed=words.seed, seconds=words.seconds)
        for target in all_targets:
            good = [try_one(target, s, Path(place)) for s in target.seeds]
            if words.atheris:
                result = chosen[target.name]
            else:
                share = words.seconds / len(all_targets)
                folder = Path(tempfile.mkdtemp(dir=place))
                result = fuzz(target, folder, seed=words.seed, seconds=share)
            total, refused, kinds = (
                total + result.tried,
                refused + result.refused,
                kinds + len(result.kinds),
            )
            bad = "; ".join(g for g in good if g)
            counts = f"{result.tried:,} tried, {result.refused:,} refused, {len(result.kinds)} kinds of another error"
            seeds = f"; seeds: {bad}" if bad else ""
            print(f"{target.name}: {counts}; slowest {result.slowest:.2f} s{seeds}", flush=True)
            for kind, count in result.kinds.most_common():
                print(f"   {count} x {kind}   {result.examples[kind][:80]!r}", flush=True)
                if words.keep:
                    words.keep.mkdir(parents=True, exist_ok=True)
                    name = (
                        f"{target.name}__{kind}".replace(" ", "_")
                        .replace("/", "_")
                        .replace(":", "_")
                    )
                    (words.keep / f"{name}{target.suffix}").write_bytes(result.examples[kind])
    print(f"{total:,} inputs tried, {refused:,} refused, {kinds} kinds of another error")
    sys.exit(kinds > 0)


if __name__ == "__main__":
    main()
