"""The STAR index: built once, the CAR inserted into it, both checked."""

from __future__ import annotations

import math
import shutil
from codecs import BOM_UTF8
from pathlib import Path

import numpy as np

from carseq.errors import CarseqError
from carseq.io.atomic import set_mode
from carseq.io.fasta import contigs, fasta_records, open_text
from carseq.io.files import write_text
from carseq.reference.genome import gtf_exons
from carseq.reference.star import index_format, run_star, scratch_folder, star_version
from carseq.schema.percent import plain_percent

#: Table of the genome's contigs and their lengths in the folder of kallisto's index.
CONTIGS = "contigs.tsv"
#: Share of the memory of building an index in which suffixes are sorted; the junctions, inserted afterwards, take the
#: whole, measured on genomes of 10 to 300 Mb (benchmarks/RESULTS.md, Human scale).
SORTING = 0.72
#: Bases of a contig that are compared with those of an index, evenly over it, and the share that must be the same: by
#: chance a quarter is. Contigs are compared until so many bases were gone through.
COMPARED, ALIKE = 10_000, 0.9
_ENOUGH = 100_000_000


def index_options(lengths: dict[str, int]) -> dict[str, int]:
    """Return STAR's genomeSAindexNbases and genomeChrBinNbits for a genome (STAR manual, section 2.2.5)."""
    total = sum(lengths.values())
    return {
        "genomeSAindexNbases": max(4, min(14, int(math.log2(total) / 2 - 1))),
        "genomeChrBinNbits": max(8, min(18, int(math.log2(max(total / len(lengths), 256))))),
    }


def build_index(
    fasta: str | Path,
    gtf: str | Path,
    out: str | Path,
    *,
    threads: int = 1,
    sjdb_overhang: int = 99,
    sa_sparse: int = 1,
    memory_mb: int = 45_000,
) -> None:
    """Build the base STAR index, without any CAR, into the folder ``out``.

    Parameters
    ----------
    fasta, gtf
        Genome and annotation, plain or gzipped.
    out
        Folder; it appears when the index is complete.
    threads
        STAR's runThreadN.
    sjdb_overhang
        STAR's sjdbOverhang, nt.
    sa_sparse
        STAR's genomeSAsparseD.
    memory_mb
        What STAR may take, MB; of it, ``SORTING`` is its limitGenomeGenerateRAM, which bounds the sorting of the
        suffixes alone, not the insertion of junctions that follows.
    """
    out = Path(out)
    options = index_options(contigs(fasta))
    with scratch_folder(out.parent, f".{out.name}.") as scratch:
        plain = plain_text(fasta, scratch / "genome.fa")
        annotation = plain_text(gtf, scratch / "genes.gtf")
        run_star(
            {
                "runMode": "genomeGenerate",
                "genomeDir": scratch / "index",
                "genomeFastaFiles": plain,
                "sjdbGTFfile": annotation,
                "sjdbOverhang": sjdb_overhang,
                "genomeSAsparseD": sa_sparse,
                "limitGenomeGenerateRAM": int(SORTING * memory_mb * 1e6),
                **options,
            },
            threads=threads,
            folder=scratch,
        )
        _move(scratch / "index", out)


def plain_text(path: str | Path, target: Path) -> Path:
    """Return ``path`` if STAR reads it, else a copy at ``target``.

    STAR reads neither gzip, nor the mark of UTF-8 that Windows' editors write (it loses the first line), nor the line
    ends of old Macs.
    """
    path = Path(path)
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    of_mac = b"\r" in head and b"\n" not in head
    if not head.startswith((b"\x1f\x8b", BOM_UTF8)) and not of_mac:
        return path
    with open_text(path) as lines, target.open("w") as copy:
        copy.writelines(lines)
    return target


def _move(source: Path, out: Path) -> None:
    """Put the finished folder ``source`` in the place of ``out``."""
    shutil.rmtree(out, ignore_errors=True)
    set_mode(source, 0o755)
    source.replace(out)


def index_parameters(index: str | Path) -> dict[str, str]:
    """Return the ``genomeParameters.txt`` of a STAR index.

    Raises
    ------
    CarseqError
        If the folder is not a complete STAR index, or one of its files is cut off.
    """
    index = Path(index)
    for name in (
        "genomeParameters.txt",
        "Genome",
        "SA",
        "SAindex",
        "chrName.txt",
        "chrLength.txt",
        "chrStart.txt",
    ):
        if not (index / name).exists():
            raise CarseqError(
                f"{index} is not a STAR index",
                f"it has no {name}",
                "give the folder STAR's genomeGenerate wrote, or leave `reference.star_index` empty",
            )
    lines = (index / "genomeParameters.txt").read_text(errors="replace").splitlines()
    parameters = {
        row[0]: row[1].strip() for row in (line.split("\t") for line in lines) if len(row) == 2
    }
    bits = next((line.split()[-1] for line in lines if line.startswith("### GstrandBit ")), "")
    _check_file_sizes(index, parameters, bits)
    _check_tables(index)
    return parameters


#: Tables of an index's genes; the first line of each holds how many follow.
_TABLES = ("exonInfo.tab", "transcriptInfo.tab", "geneInfo.tab", "exonGeTrInfo.tab")


def _check_tables(index: Path) -> None:
    """Check that the tables of an index's genes are whole: of cut ones STAR says that memory is lacking, or nothing.

    An index that was made without an annotation has none.

    Raises
    ------
    CarseqError
        If not.
    """
    remedy = f"delete the folder {index}, run again; if it is your own (`reference.star_index`), copy or make it again"
    for path in (index / name for name in _TABLES):
        if not path.exists():
            continue
        text = path.read_bytes()
        wanted = text[: text.find(b"\n")].split(b"\t")[0].strip()
        told, rows = wanted[:20].decode(errors="replace"), text.count(b"\n")
        if not wanted.isdigit() or rows != int(wanted) + 1:
            raise CarseqError(
                f"{path} is cut off or damaged",
                f"it has {max(rows - 1, 0):,} rows; STAR wrote {told or 'more'}",
                remedy,
            )


def _check_file_sizes(index: Path, parameters: dict[str, str], strand_bit: str) -> None:
    """Check the three large files of an index against the sizes that STAR wrote down: a cut one makes it hang or crash.

    ``genomeFileSizes`` holds those of Genome and SA. SAindex's follows from its parameters (STAR 2.7, Genome.cpp and
    PackedArray.cpp): prefixes of 1 to N bases, an entry of GstrandBit + 3 bits each, after N + 2 numbers of 8 bytes.

    Raises
    ------
    CarseqError
        If one has another size.
    """
    wanted = {}
    sizes = parameters.get("genomeFileSizes", "").split()
    if len(sizes) >= 2 and all(n.isdigit() for n in sizes[:2]):
        wanted = {"Genome": int(sizes[0]), "SA": int(sizes[1])}
    n_bases = parameters.get("genomeSAindexNbases", "")
    if n_bases.isdigit() and strand_bit.isdigit():
        n_entries = (4 ** (int(n_bases) + 1) - 4) // 3
        packed = (n_entries - 1) * (int(strand_bit) + 3) // 8 + 8
        wanted["SAindex"] = packed + 8 * (int(n_bases) + 2)
    for name, size in wanted.items():
        found = (index / name).stat().st_size
        # A size of SAindex that another version of STAR pads is not a fault.
        if found < size or (found > size and name != "SAindex"):
            word = "cut off" if found < size else "not the one that belongs here"
            raise CarseqError(
                f"{index / name} is {word}",
                f"it has {found:,} bytes; STAR wrote {size:,}",
                f"delete the folder {index}, run again; if it is your own (`reference.star_index`), copy or make it "
                "again",
            )


def check_index(
    index: str | Path, fasta: str | Path, gtf: str | Path | None = None, *, plain: bool = False
) -> None:
    """Check that a STAR index is complete, of this genome, and one that the STAR here can read.

    Parameters
    ----------
    index
        Folder of the index.
    fasta
        The genome.
    gtf
        The annotation; None leaves it out of the check.
    plain
        Whether reads are aligned to it as it is, so that its own genes are those of the matrix.

    Raises
    ------
    CarseqError
        If it is not, with what to do.
    """
    parameters = index_parameters(index)
    _check_version(index, parameters)
    names = (Path(index) / "chrName.txt").read_text(errors="replace").split("\n")
    sizes = (Path(index) / "chrLength.txt").read_text(errors="replace").split("\n")
    indexed = {n: int(s) if s.isdigit() else 0 for n, s in zip(names, sizes, strict=False) if n}
    lengths = contigs(fasta)
    if indexed != lengths:
        differing = [n for n in {**indexed, **lengths} if indexed.get(n) != lengths.get(n)]
        raise CarseqError(
            f"the STAR index {index} is not of the genome {fasta}",
            f"{len(differing)} contigs differ, the first: {differing[0]} "
            f"(index {indexed.get(differing[0], 'absent')}, genome {lengths.get(differing[0], 'absent')})",
            "give the FASTA the index was built from, or leave `reference.star_index` empty",
        )
    _check_bases(Path(index), fasta)
    if plain and gtf is not None:
        _check_annotation(Path(index), gtf, set(lengths))


def _check_bases(index: Path, fasta: str | Path) -> None:
    """Raise if contigs of the genome's names and lengths have other bases in the index: no read would be aligned.

    Bases that either of them masks are left out. STAR writes a base as 0 to 3, each contig from its place on.
    """
    starts = dict(
        zip(
            (index / "chrName.txt").read_text(errors="replace").split("\n"),
            (index / "chrStart.txt").read_text(errors="replace").split("\n"),
            strict=False,
        )
    )
    code = np.full(256, 4, dtype=np.uint8)
    code[np.frombuffer(b"ACGT", dtype=np.uint8)] = range(4)
    held = np.memmap(index / "Genome", dtype=np.uint8, mode="r")
    alike = compared = looked_at = 0
    for name, sequence in fasta_records(fasta):
        start = starts.get(name, "")
        if not start.isdigit() or int(start) + len(sequence) > len(held):
            continue
        step = max(1, len(sequence) // COMPARED)
        own = code[np.frombuffer(sequence.encode(), dtype=np.uint8)[::step]]
        other = held[int(start) : int(start) + len(sequence) : step]
        known = (own < 4) & (other < 4)
        alike += int((own == other)[known].sum())
        compared += int(known.sum())
        looked_at += len(sequence)
        if looked_at > _ENOUGH:
            break
    if alike < ALIKE * compared:
        raise CarseqError(
            f"the STAR index {index} is not of the genome {fasta}",
            f"contigs have the same names and lengths, but {plain_percent(1 - alike / compared)} of the bases looked "
            "at are others",
            "give the FASTA the index was built from, or leave `reference.star_index` empty",
        )


def _check_version(index: str | Path, parameters: dict[str, str]) -> None:
    """Raise if the STAR here cannot read an index: each STAR names the one format that it reads (versionGenome)."""
    own, found = index_format(), parameters.get("versionGenome", "").strip()
    if own is None or found == own:
        return
    raise CarseqError(
        f"the STAR index {index} was made by another version of STAR",
        f"its format is {found or 'not named'}; STAR {star_version()} reads {own}",
        "leave `reference.star_index` empty and one is built of `reference.fasta` and `reference.gtf` (those of 10x's "
        "folder are `fasta/genome.fa` and `genes/genes.gtf.gz`), or install the STAR that made it",
    )


def _check_annotation(index: Path, gtf: str | Path, present: set[str]) -> None:
    """Raise if the genes of an index are not those of an annotation: the matrix would be of others."""
    table = index / "geneInfo.tab"
    if not table.is_file():
        raise CarseqError(
            f"the STAR index {index} was made without an annotation",
            "it has no geneInfo.tab, and STARsolo counts the genes of the index where no CAR is inserted",
            "make it again with `--sjdbGTFfile`, leave `reference.star_index` empty, or write `reference.insertion: "
            "saved`",
        )
    lines = table.read_text(errors="replace").splitlines()[1:]
    own = {line.split("\t")[0] for line in lines if line}
    given = {a["gene_id"] for contig, *_, a in gtf_exons(gtf) if contig in present}
    if own != given:
        some = sorted(own ^ given)
        raise CarseqError(
            f"the STAR index {index} is not of the annotation {gtf}",
            f"{len(own - given):,} genes of the index are not in it, and {len(given - own):,} of its genes are not "
            f"in the index, the first: {some[0]}",
            "give the GTF that the index was made with, or leave `reference.star_index` empty",
        )


def insertion_options(
    base: str | Path, car_fasta: str | Path, augmented_gtf: str | Path
) -> dict[str, object]:
    """Return STAR's options that insert the CAR into a base index on the fly.

    Parameters
    ----------
    base
        STAR index without the CAR.
    car_fasta
        The CAR's one contig.
    augmented_gtf
        The full annotation with the CAR's: with the CAR's alone STAR would silently drop all other genes.
    """
    overhang = int(index_parameters(base).get("sjdbOverhang", "0"))
    return {
        "genomeFastaFiles": car_fasta,
        "sjdbGTFfile": augmented_gtf,
        "sjdbOverhang": overhang if overhang > 0 else 99,
    }


def insert_car(
    base: str | Path,
    car_fasta: str | Path,
    augmented_gtf: str | Path,
    out: str | Path,
    *,
    threads: int = 1,
) -> None:
    """Insert the CAR into a base index and save the result into the folder ``out``.

    One STAR run on a single read with ``sjdbInsertSave All`` does it: the matrices it gives are those of a
    rebuilt index, at a fraction of its time. STAR leaves the new contig out of the chr*.txt files it saves
    (and crashes if they are used so), which are completed here: a contig starts at the next multiple of
    2^genomeChrBinNbits.

    Parameters
    ----------
    base
        STAR index without the CAR.
    car_fasta
        The CAR's one contig.
    augmented_gtf
        The full annotation with the CAR's: with the CAR's alone STAR would silently drop all other genes.
    out
        Folder; it appears when the index is complete.
    threads
        STAR's runThreadN.
    """
    base, out = Path(base), Path(out)
    parameters = index_parameters(base)
    lengths = contigs(car_fasta)
    with scratch_folder(out.parent, f".{out.name}.") as scratch:
        write_text("@read\n" + "ACGT" * 12 + "\n+\n" + "I" * 48 + "\n", scratch / "one.fastq")
        run_star(
            {
                "genomeDir": base,
                **insertion_options(base, car_fasta, augmented_gtf),
                "sjdbInsertSave": "All",
                "readFilesIn": scratch / "one.fastq",
                "outSAMtype": "None",
            },
            threads=threads,
            folder=scratch,
        )
        index = scratch / "_STARgenome"
        complete_chromosomes(index, lengths, bits=int(parameters["genomeChrBinNbits"]))
        _move(index, out)


def complete_chromosomes(index: Path, added: dict[str, int], *, bits: int) -> None:
    """Add contigs to the chr*.txt files of an index that STAR saved without them."""
    names = (index / "chrName.txt").read_text().split()
    sizes = [int(n) for n in (index / "chrLength.txt").read_text().split()]
    starts = [int(n) for n in (index / "chrStart.txt").read_text().split()]
    for name, size in added.items():
        if name in names:  # newer STAR versions write it themselves
            continue
        names.append(name)
        sizes.append(size)
        starts.append(starts[-1] + math.ceil(size / 2**bits) * 2**bits)
    write_text("\n".join(names) + "\n", index / "chrName.txt")
    write_text("\n".join(map(str, sizes)) + "\n", index / "chrLength.txt")
    write_text("\n".join(map(str, starts)) + "\n", index / "chrStart.txt")
    write_text(
        "".join(f"{n}\t{s}\n" for n, s in zip(names, sizes, strict=True)),
        index / "chrNameLength.txt",
    )


def index_contigs(index: str | Path) -> dict[str, int]:
    """Return the lengths of the genome's contigs, as an index of STAR or of kallisto's transcripts names them.

    Raises
    ------
    CarseqError
        If the index is damaged.
    """
    tables = [Path(index) / name for name in (CONTIGS, "chrNameLength.txt")]
    path = next(filter(Path.exists, tables), tables[-1])
    try:
        rows = [line.split("\t") for line in path.read_text().splitlines()]
        return {name: int(length) for name, length in rows}
    except (OSError, ValueError) as error:
        raise CarseqError(
            f"the index {index} is damaged",
            " ".join(str(error).split()),
            "one in the results: delete its folder, run again; one of your own: make or fetch it again",
        ) from None


def check_augmented(index: str | Path, gtf: str | Path, car: str) -> None:
    """Check that an augmented index holds every gene of the annotation and the CAR.

    Raises
    ------
    CarseqError
        If a gene is missing: the counts would silently lack it.
    """
    lines = (Path(index) / "geneInfo.tab").read_text().splitlines()[1:]
    check_genes({line.split("\t")[0] for line in lines}, index, gtf, car)


def check_genes(found: set[str], index: str | Path, gtf: str | Path, car: str) -> None:
    """Check that gene ids hold every gene of an annotation on an index's contigs, and the CAR.

    Raises
    ------
    CarseqError
        If a gene is missing: the counts would silently lack it.
    """
    present = set((Path(index) / "chrName.txt").read_text().split())
    wanted = {a["gene_id"] for contig, *_, a in gtf_exons(gtf) if contig in present} | {car}
    missing = sorted(wanted - found)
    if missing:
        raise CarseqError(
            f"{len(missing)} of {len(wanted)} genes are missing from the reference, such as {missing[0]}",
            "the annotation given to STAR was not the whole one",
            "remove the reference/ folder of the results and run again; if it comes back, give a base index "
            "made with this annotation",
        )
