"""kallisto: reads of a sample to a count matrix with kallisto | bustools, for machines without the memory for STAR.

Reads are matched with the annotation's spliced transcripts, which takes a quarter of the time and a few GB. There is no
alignment to the genome, so no BAM of all reads and no count of introns. The CAR is not in the index: its molecules come
from a search of the FASTQ files (:mod:`carseq.molecules.search`), and its row in the matrix from them, since a read in
a stretch that the CAR shares with a gene would be of both and be left out.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from carseq.errors import CarseqError
from carseq.io.fasta import contigs
from carseq.io.files import write_text
from carseq.io.h5ad import write_h5ad
from carseq.io.matrix import gene_counts
from carseq.library.geometry import Chemistry, why_not_one_part
from carseq.library.whitelist import encode, on_list, read_whitelist
from carseq.log import get_logger
from carseq.reference.genome import transcripts_of_genes
from carseq.reference.index import CONTIGS
from carseq.reference.star import scratch_folder
from carseq.reference.watch import run_watched

if TYPE_CHECKING:
    from anndata import AnnData

log = get_logger(__name__)

#: The two programs, and the oldest kallisto that knows `--d-list` (its releases).
PROGRAMS = ("kallisto", "bustools")
OLDEST = (0, 50)
#: Length of kallisto's k-mers, nt: its own, and the longest. Shorter transcripts cannot be indexed.
KMER = 31
#: Memory in which records are sorted, MB; what is more goes through temporary files.
SORT = 1000
#: Files of an index.
INDEX, GENES, ABOUT = "transcripts.idx", "genes.tsv", "about.json"
#: A record of a BUS file (BUS format, version 1).
_RECORD = np.dtype(
    [
        ("barcode", "<u8"),
        ("umi", "<u8"),
        ("ec", "<i4"),
        ("n", "<u4"),
        ("flags", "<u4"),
        ("pad", "<u4"),
    ]
)
#: A pattern in what the programs print -> what to do.
_REMEDIES = (
    (r"No space left|not enough space", "free disk space, or put `results` on another disk, then run again"),
    (r"Permission denied", "ask for the permission to write there, or choose another results folder"),
    (r"Illegal instruction", "these programs were built for another processor: install others (conda's `kallisto`)"),
    (
        r"index file|incompatible|could not be opened|corrupt",
        "the index is damaged or of another kallisto: delete its folder in the results, run again",
    ),
    (r"bad_alloc|alloc", "give the job more memory (resources: mem_mb)"),
)  # fmt: skip


@dataclass(frozen=True)
class Programs:
    """Where kallisto and bustools are, and which."""

    kallisto: str
    bustools: str

    def versions(self) -> dict[str, str]:
        """Return what each says of its version, by name."""
        return {"kallisto": _version(self.kallisto), "bustools": _version(self.bustools)}


def find_programs(folder: str | Path | None = None) -> Programs:
    """Return kallisto and bustools: of a folder, else beside this Python, on PATH, or of a kb-python in it.

    Parameters
    ----------
    folder
        Folder that holds both, or a folder for each (as kb-python has them); None: they are looked for.

    Raises
    ------
    CarseqError
        If one is not there, or kallisto is too old.
    """
    found = {name: _find(name, folder) for name in PROGRAMS}
    if missing := [name for name, path in found.items() if path is None]:
        raise CarseqError(
            f"{' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} not installed",
            f"not in {folder} (`solo.kallisto`)"
            if folder
            else "neither beside this Python nor on PATH",
            "install them: `carseq doctor --install-kallisto`, or `conda install -c bioconda kallisto bustools`; name "
            "the folder of others in `solo.kallisto`; or leave `solo.aligner` at star",
        )
    programs = Programs(str(found["kallisto"]), str(found["bustools"]))
    version = programs.versions()["kallisto"]
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
    if numbers < OLDEST:
        raise CarseqError(
            f"kallisto {version} is too old",
            f"{programs.kallisto}; reads of introns and of what lies between genes are told apart from "
            f"{OLDEST[0]}.{OLDEST[1]} on (`--d-list`)",
            "carseq doctor --install-kallisto, or name a newer one's folder in `solo.kallisto`",
        )
    return programs


def _find(name: str, folder: str | Path | None) -> str | None:
    if folder is not None:
        places = [Path(folder), Path(folder) / name]
        return next((p for place in places if (p := shutil.which(name, path=str(place)))), None)
    # What carseq installed goes first: of what is on PATH, Debian's is too old.
    if path := shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name):
        return path
    spec = importlib.util.find_spec("kb_python")
    if spec is None or spec.origin is None:
        return None
    system = "darwin" if sys.platform == "darwin" else "linux"
    return shutil.which(name, path=str(Path(spec.origin).parent / "bins" / system / name))


def _version(program: str) -> str:
    try:
        done = subprocess.run([program, "version"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise CarseqError(
            f"{program} cannot be run", str(error), "carseq doctor --install-kallisto"
        ) from None
    found = re.search(r"version (\S+)", done.stdout + done.stderr)
    if not found:
        raise CarseqError(
            f"{program} cannot be run",
            " ".join((done.stdout + done.stderr).split())[:200] or f"exit status {done.returncode}",
            "it may be made for another system: carseq doctor --install-kallisto",
        )
    return found[1]


def check_chemistry(chemistry: Chemistry) -> None:
    """Raise if kallisto cannot count reads of a chemistry."""
    if told := why_not_one_part(chemistry):
        raise CarseqError(
            f"`solo.aligner: kallisto` does not count reads of {chemistry.name}",
            told,
            "set `solo.aligner: star`",
        )


def technology(chemistry: Chemistry) -> str:
    """Return barcode, UMI and read as kallisto's ``-x``: file, start and end of each, from 0.

    Examples
    --------
    >>> technology(Chemistry("10x_3p_v3", 1, 16, 17, 12, "Forward", "list", 1.0, 9, 90, 9, 0))
    '0,0,16:0,16,28:1,0,0'
    """
    cb, umi = chemistry.cb_start - 1, chemistry.umi_start - 1
    return f"0,{cb},{cb + chemistry.cb_length}:0,{umi},{umi + chemistry.umi_length}:1,0,0"


def build_transcripts_index(
    fasta: str | Path,
    gtf: str | Path,
    out: str | Path,
    *,
    threads: int = 1,
    folder: str | Path | None = None,
) -> None:
    """Index the spliced transcripts of an annotated genome for kallisto.

    k-mers beside those of transcripts that the genome holds elsewhere too are marked (``--d-list``, as kb-python does),
    so that reads of introns and of what lies between genes are not taken for mRNA.

    Parameters
    ----------
    fasta, gtf
        Genome and annotation.
    out
        Folder for the index, the table of transcripts and genes, and the contigs' lengths. It appears when whole.
    threads
        Of kallisto.
    folder
        As of :func:`find_programs`.

    Raises
    ------
    CarseqError
        If kallisto is missing or fails, or no transcript is long enough.
    """
    programs = find_programs(folder)
    out = Path(out)
    with scratch_folder(out.parent.absolute(), ".kallisto.") as scratch:
        made = scratch / "index"
        made.mkdir()
        rows = []
        with (scratch / "transcripts.fa").open("w") as target:
            for transcript, gene_id in transcripts_of_genes(fasta, gtf):
                rows.append((transcript.transcript, gene_id, transcript.gene))
                if len(transcript.sequence) >= KMER:
                    target.write(f">{transcript.transcript}\n{transcript.sequence}\n")
        if not (scratch / "transcripts.fa").stat().st_size:
            raise CarseqError(
                f"no transcript of {gtf} can be indexed",
                f"none lies on a contig of {fasta} and has {KMER} bases",
                "give genome and annotation of the same source",
            )
        table = "".join("\t".join(row) + "\n" for row in rows)
        write_text(table, made / GENES)
        lengths = contigs(fasta)
        write_text("".join(f"{name}\t{n}\n" for name, n in lengths.items()), made / CONTIGS)
        # kallisto takes no two threads more than it has work for.
        run_program(
            [programs.kallisto, "index", "-t", str(threads), "-k", str(KMER), "-i", str(made / INDEX),
             "-T", str(scratch / "tmp"), f"--d-list={Path(fasta).absolute()}", str(scratch / "transcripts.fa")],
            scratch,
        )  # fmt: skip
        about = {**programs.versions(), "transcripts": len(rows), "contigs": len(lengths)}
        write_text(json.dumps(about, indent=1) + "\n", made / ABOUT)
        shutil.rmtree(out, ignore_errors=True)
        made.replace(out)


def _table(path: Path, columns: list[str]) -> pd.DataFrame:
    """Read one of an index's tables, which has no header."""
    try:
        return pd.read_csv(path, sep="\t", names=columns, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise _damaged(path.parent, " ".join(str(error).split())) from None


def _damaged(index: Path, cause: str) -> CarseqError:
    return CarseqError(
        f"the index {index} is damaged", cause, "delete its folder in the results, run again"
    )


def count(
    pairs: Sequence[tuple[str | Path, str | Path]],
    chemistry: Chemistry,
    index: str | Path,
    out: str | Path,
    *,
    threads: int = 1,
    folder: str | Path | None = None,
) -> None:
    """Count the reads of a sample.

    Parameters
    ----------
    pairs
        (R1, R2) of every unit, gzipped or plain.
    chemistry
        As detected.
    index
        Folder of :func:`build_transcripts_index`.
    out
        Folder for ``plain.h5ad``, the matrix without the CAR, and ``summary.json``.
    threads
        Of kallisto and of sorting.
    folder
        As of :func:`find_programs`.

    Raises
    ------
    CarseqError
        If the chemistry cannot be counted (:func:`check_chemistry`), or a program is missing or fails.
    """
    check_chemistry(chemistry)
    programs = find_programs(folder)
    index, out = Path(index).absolute(), Path(out)
    genes = _table(index / GENES, ["transcript", "gene_id", "gene"])
    if not (index / INDEX).is_file():
        raise _damaged(index, f"{INDEX} is not there")
    with scratch_folder(out.absolute(), ".kallisto.") as scratch:
        strand = "--fr-stranded" if chemistry.strand == "Forward" else "--rf-stranded"
        files = [str(Path(path).absolute()) for pair in pairs for path in pair]
        run_program(
            [programs.kallisto, "bus", "-i", str(index / INDEX), "-o", "bus", "-x", technology(chemistry),
             strand, "-t", str(threads), *files],
            scratch,
            # Without a read that fits, it ends with an error.
            unless="no reads pseudoaligned",
        )  # fmt: skip
        told = json.loads((scratch / "bus" / "run_info.json").read_text())
        n_reads, n_fit = int(told["n_processed"]), int(told["n_pseudoaligned"])
        single = _single_genes(scratch / "bus", genes)
        counted = _Counted.none(genes) if not n_fit else _counted(
            programs, scratch, chemistry, genes, index / GENES, single, threads
        )  # fmt: skip
        write_h5ad(counted.raw, out / "plain.h5ad")
        summary = _summary(chemistry, counted, n_reads, n_fit)
        # The summary comes last: it stands for a complete sample.
        write_text(json.dumps(summary, indent=1) + "\n", out / "summary.json")


@dataclass(frozen=True)
class _Counted:
    """A matrix, and how many reads that fit a transcript had a listed barcode, as read and corrected, and one gene."""

    raw: AnnData
    n_exact: int
    n_valid: int
    n_gene: int

    @classmethod
    def none(cls, genes: pd.DataFrame) -> _Counted:
        """Return the matrix of a sample without a read that fits."""
        known = genes.drop_duplicates("gene_id")
        empty = sparse.csr_matrix((0, len(known)), dtype=np.int32)
        return cls(gene_counts(empty, [], list(known["gene_id"]), list(known["gene"])), 0, 0, 0)


def _counted(
    programs: Programs,
    scratch: Path,
    chemistry: Chemistry,
    genes: pd.DataFrame,
    genes_file: Path,
    single: npt.NDArray[np.bool_],
    threads: int,
) -> _Counted:
    """Correct the barcodes and UMIs of what kallisto found, and count it."""

    def bustools(command: str, *words: str) -> None:
        run_program([programs.bustools, command, *words], scratch)

    def in_order(source: str, target: str) -> None:
        bustools("sort", "-t", str(threads), "-m", f"{SORT}M", "-T", "sort_", "-o", target, source)
        (scratch / source).unlink()

    maps = ["-g", str(genes_file), "-e", "bus/matrix.ec", "-t", "bus/transcripts.txt"]
    in_order("bus/output.bus", "sorted.bus")
    n_exact = _write_onlist(scratch / "sorted.bus", chemistry, scratch / "onlist.txt")
    if not n_exact:
        return _Counted.none(genes)
    # Of two barcodes on the list that a read's is as near to, only one is nearly always in the sample: so the list is
    # that of barcodes seen as they stand there. It is also read in no time, unlike one of seven million.
    bustools("correct", "-w", "onlist.txt", "-o", "corrected.bus", "sorted.bus")
    in_order("corrected.bus", "valid.bus")
    n_valid = n_gene = 0
    for records in _records(scratch / "valid.bus"):
        n_valid += int(records["n"].sum())
        n_gene += int(records["n"][single[records["ec"]]].sum())
    bustools("umicorrect", *maps, "-o", "umis.bus", "valid.bus")
    in_order("umis.bus", "last.bus")
    (scratch / "counts").mkdir()
    bustools("count", *maps, "--genecounts", "--umi-gene", "-o", "counts/matrix", "last.bus")
    return _Counted(_read_matrix(scratch / "counts" / "matrix", genes), n_exact, n_valid, n_gene)


def _records(path: Path, at_once: int = 1 << 20) -> Iterator[npt.NDArray[np.void]]:
    """Yield the records of a BUS file, some at a time."""
    with path.open("rb") as stream:
        head = stream.read(20)
        if len(head) < 20 or head[:4] != b"BUS\0":
            raise CarseqError(
                f"{path} is no BUS file", f"it begins with {head[:4]!r}", "run again; report it if it comes back"
            )  # fmt: skip
        stream.seek(struct.unpack("<I", head[16:])[0], os.SEEK_CUR)
        while data := stream.read(at_once * _RECORD.itemsize):
            yield np.frombuffer(data, dtype=_RECORD)


def _write_onlist(bus: Path, chemistry: Chemistry, out: Path) -> int:
    """Write the barcodes of a sorted BUS file that are on the list; return how many of its reads have them."""
    whitelist = read_whitelist(chemistry.whitelist)
    n = 0
    last = np.zeros(0, dtype=np.uint64)
    with out.open("wb") as target:
        for records in _records(bus):
            codes, first = np.unique(records["barcode"], return_index=True)
            reads = np.add.reduceat(records["n"].astype(np.int64), first)
            letters = _letters(codes, chemistry.cb_length)
            listed = on_list(encode(letters), whitelist)
            n += int(reads[listed].sum())
            # A barcode may go on in the next piece.
            for row in letters[listed & ~np.isin(codes, last)]:
                target.write(row.tobytes() + b"\n")
            last = codes[-1:]
    return n


def _letters(codes: npt.NDArray[np.uint64], length: int) -> npt.NDArray[np.uint8]:
    """Return the letters of 2-bit codes, n x length."""
    shifts = np.arange(2 * (length - 1), -1, -2, dtype=np.uint64)
    places = (codes[:, None] >> shifts) & np.uint64(3)
    return np.frombuffer(b"ACGT", dtype=np.uint8)[places.astype(np.intp)]


def _single_genes(bus: Path, genes: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return which sets of transcripts, by their number, are of one gene."""
    gene_of = dict(zip(genes["transcript"], genes["gene_id"], strict=True))
    names = (bus / "transcripts.txt").read_text().split()
    by_number = [gene_of[name] for name in names]
    single = []
    with (bus / "matrix.ec").open() as lines:
        for line in lines:
            members = line.split("\t")[1].split(",")
            single.append(len({by_number[int(member)] for member in members}) == 1)
    return np.array(single, dtype=bool)


def _read_matrix(prefix: Path, genes: pd.DataFrame) -> AnnData:
    """Read what bustools counted, with every gene of the annotation in its order."""
    from scipy import io

    known = genes.drop_duplicates("gene_id")
    ids = list(known["gene_id"])
    counted = Path(f"{prefix}.genes.txt").read_text().split("\n")[:-1]
    barcodes = Path(f"{prefix}.barcodes.txt").read_text().split()
    counts = io.mmread(f"{prefix}.mtx").tocoo()
    place = {gene: i for i, gene in enumerate(ids)}
    columns = np.array([place[gene] for gene in counted], dtype=np.int64)
    whole = sparse.csr_matrix(
        (np.rint(counts.data).astype(np.int32), (counts.row, columns[counts.col])),
        shape=(len(barcodes), len(ids)),
    )
    return gene_counts(whole, barcodes, ids, list(known["gene"]))


def _summary(chemistry: Chemistry, counted: _Counted, n_reads: int, n_fit: int) -> dict[str, Any]:
    """Return the mapping summary of a sample, as written to ``summary.json``.

    The shares of barcodes are of the reads that fit a transcript. What only an alignment to the genome tells is None.
    """
    n_umis = int(counted.raw.X.sum())

    def share(part: int, whole: int) -> float | None:
        return round(part / whole, 4) if whole else None

    return {
        "aligner": "kallisto",
        "chemistry": chemistry.name,
        "whitelist": Path(chemistry.whitelist).name,
        "strand": chemistry.strand,
        "read_length": chemistry.read_length,
        "n_reads": n_reads,
        "valid_barcodes": share(counted.n_valid, n_fit),
        "exact_barcodes": share(counted.n_exact, n_fit),
        "mapped_genome": None,
        "mapped_genome_unique": None,
        "mapped_transcripts": share(n_fit, n_reads),
        "mapped_gene_unique": share(counted.n_gene, n_reads),
        "saturation": share(max(counted.n_gene - n_umis, 0), counted.n_gene),
        "reads_sense": chemistry.reads_sense,
        "reads_antisense": chemistry.reads_antisense,
        "n_barcodes": int(counted.raw.n_obs),
        "n_umis": n_umis,
    }


def run_program(command: Sequence[str], folder: Path, *, unless: str = "") -> None:
    """Run kallisto or bustools in a folder; what it prints goes to the log.

    Parameters
    ----------
    command
        Program and options.
    folder
        Where it runs, and where its output grows.
    unless
        Words; a failure in which they are printed is none.

    Raises
    ------
    CarseqError
        If it fails or gets no further.
    """
    name = Path(command[0]).name
    ended = run_watched(command, folder, name)
    code, lines = ended.code, [line.strip() for line in ended.lines if line.strip()]
    text = "\n".join(lines)
    if not ended.stopped and (code == 0 or (unless and unless in text)):
        return
    if ended.stopped:
        raise CarseqError(
            f"{name} was stopped", ended.stopped, "look at the disk (`df`, and whether a network disk answers)"
        )  # fmt: skip
    signal = -code if code < 0 else code - 128 if code > 128 else 0
    cause = " ".join(" ".join([line for line in lines if "rror" in line] or lines[-5:]).split())
    remedy = next((advice for pattern, advice in _REMEDIES if re.search(pattern, text)), "")
    if signal:
        cause = f"killed by signal {signal}; {cause}".rstrip("; ")
    if signal == 9 and not remedy:
        cause += " (the system kills what takes more memory than there is)"
        remedy = "give the job more memory (resources: mem_mb)"
    raise CarseqError(
        f"{name} failed", cause[:600] or f"exit status {code}", remedy or f"see {name}'s messages in the log"
    )  # fmt: skip
