"""reference: one base STAR index for every construct; the CAR is inserted once and saved.

Takes the genome's FASTA and GTF and, where there is one, its STAR index. Makes the base index, the
annotation with the CAR, and an index with the CAR inserted, without building it anew.
"""

from __future__ import annotations

import gzip
import math
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import pandas as pd
from Bio.Seq import reverse_complement

from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.errors import CarseqError
from carseq.log import get_logger
from carseq.star import run_star, scratch_folder
from carseq.tables import atomic, read_table, write_text

log = get_logger(__name__)

_ATTRIBUTE = re.compile(r'(\w+) "([^"]*)"')
#: Share of the memory of building an index in which suffixes are sorted; the junctions, inserted afterwards, take the
#: whole, measured on genomes of 10 to 300 Mb (benchmarks/RESULTS.md, Human scale).
SORTING = 0.72


def open_text(path: str | Path) -> IO[str]:
    """Open a plain or gzipped text file for reading."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            zipped = stream.read(2) == b"\x1f\x8b"
        return gzip.open(path, "rt") if zipped else path.open()
    except OSError as error:
        raise CarseqError(
            f"cannot read {path}",
            error.strerror or str(error),
            "check the path and its permissions",
        ) from None


def contigs(fasta: str | Path) -> dict[str, int]:
    """Return the length of every contig of a FASTA file, in order.

    Raises
    ------
    CarseqError
        If the file cannot be read, is not FASTA or names a contig twice.
    """
    lengths: dict[str, int] = {}
    name = ""
    with open_text(fasta) as stream:
        for line in stream:
            if line.startswith(">"):
                name = line[1:].split()[0] if line[1:].split() else ""
                if name in lengths:
                    raise CarseqError(
                        f"{fasta} names contig {name} twice", "", "give every contig its own name"
                    )
                lengths[name] = 0
            elif name:
                lengths[name] += len(line.strip())
            elif line.strip():
                raise CarseqError(
                    f"{fasta} is not FASTA", "it does not begin with '>'", "give the genome's FASTA"
                )
    if not lengths:
        raise CarseqError(f"{fasta} holds no sequence", "", "give the genome's FASTA")
    return lengths


def _exons(gtf: str | Path) -> Iterator[tuple[str, int, int, str, dict[str, str]]]:
    """Yield (contig, start, end, strand, attributes) of every exon; 0-based half-open."""
    with open_text(gtf) as stream:
        for line in stream:
            fields = line.rstrip("\n").split("\t")
            if len(fields) == 9 and fields[2] == "exon":
                yield (
                    fields[0],
                    int(fields[3]) - 1,
                    int(fields[4]),
                    fields[6],
                    dict(_ATTRIBUTE.findall(fields[8])),
                )


def check_reference(fasta: str | Path, gtf: str | Path, car: str) -> None:
    """Check that genome and annotation go together and do not hold the CAR already.

    Raises
    ------
    CarseqError
        If a file cannot be read, names do not match, exons lack ids, or the CAR's name is taken.
    """
    lengths = contigs(fasta)
    if car in lengths:
        raise CarseqError(
            f"the genome {fasta} already has a contig named {car}",
            "carseq inserts the CAR itself",
            "give the genome without the CAR, or choose another `construct.name`",
        )
    n = 0
    unknown: set[str] = set()
    for contig, _, end, _, attributes in _exons(gtf):
        n += 1
        if n == 1 and not {"gene_id", "transcript_id"} <= set(attributes):
            raise CarseqError(
                f"the exons of {gtf} lack gene_id or transcript_id",
                f"the first one has {', '.join(attributes) or 'no attributes'}",
                "give a GTF (not GFF3) as Ensembl, GENCODE or 10x make it",
            )
        if car in (attributes.get("gene_id"), attributes.get("gene_name")):
            raise CarseqError(
                f"the annotation {gtf} already has a gene named {car}",
                "",
                "choose another `construct.name`",
            )
        if contig not in lengths:
            unknown.add(contig)
        elif end > lengths[contig]:
            raise CarseqError(
                f"the annotation {gtf} does not fit the genome {fasta}",
                f"an exon on {contig} ends at {end}, beyond its {lengths[contig]} bases",
                "give FASTA and GTF of the same assembly",
            )
    if n == 0:
        raise CarseqError(
            f"{gtf} holds no exons", "", "give a GTF with gene, transcript and exon lines"
        )
    if len(unknown) == len({c for c, *_ in _exons(gtf)}):
        raise CarseqError(
            "no contig name of the annotation is in the genome",
            f"annotation: {', '.join(sorted(unknown)[:3])}...; genome: {', '.join(list(lengths)[:3])}...",
            "give FASTA and GTF of the same source (chr1 and 1 are different names)",
        )
    if unknown:
        log.warning(
            "%d contigs of the annotation are not in the genome: %s",
            len(unknown),
            sorted(unknown)[:5],
        )


def _sequences(fasta: str | Path) -> Iterator[tuple[str, str]]:
    """Yield (name, upper-case sequence) of a FASTA file, plain or gzipped."""
    name = ""
    chunks: list[str] = []
    with open_text(fasta) as stream:
        for line in stream:
            if line.startswith(">"):
                if name:
                    yield name, "".join(chunks).upper()
                name, chunks = line[1:].split()[0], []
            else:
                chunks.append(line.strip())
    if name:
        yield name, "".join(chunks).upper()


def read_transcripts(fasta: str | Path, gtf: str | Path) -> Iterator[EndogenousTranscript]:
    """Yield every spliced transcript (sense strand) of an annotated genome."""
    sequences = dict(_sequences(fasta))
    exons: dict[str, tuple[str, str, str, list[tuple[int, int]]]] = {}
    for contig, start, end, strand, attributes in _exons(gtf):
        transcript = attributes["transcript_id"]
        gene = attributes.get("gene_name", attributes["gene_id"])
        exons.setdefault(transcript, (contig, strand, gene, []))[3].append((start, end))
    for transcript, (contig, strand, gene, blocks) in exons.items():
        if contig in sequences:
            chromosome = sequences[contig]
            sequence = "".join(chromosome[a:b] for a, b in sorted(blocks))
            if strand == "-":
                sequence = reverse_complement(sequence)
            yield EndogenousTranscript(gene, transcript, sequence)


def write_augmented_gtf(gtf: str | Path, car_gtf: str | Path, out: str | Path) -> None:
    """Write the full annotation followed by the CAR's (plain text, as STAR wants it)."""
    with atomic(out) as temporary, temporary.open("w") as target:
        with open_text(gtf) as stream:
            last = ""
            for last in stream:
                target.write(last)
            if last and not last.endswith("\n"):
                target.write("\n")
        target.write(Path(car_gtf).read_text())


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
        plain = _plain(fasta, scratch / "genome.fa")
        annotation = _plain(gtf, scratch / "genes.gtf")
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


def _plain(path: str | Path, target: Path) -> Path:
    """Return ``path`` if it is plain text, else a decompressed copy at ``target``."""
    path = Path(path)
    with path.open("rb") as stream:
        if stream.read(2) != b"\x1f\x8b":
            return path
    with gzip.open(path, "rb") as source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy, 1 << 22)
    return target


def _move(source: Path, out: Path) -> None:
    """Put the finished folder ``source`` in the place of ``out``."""
    shutil.rmtree(out, ignore_errors=True)
    source.chmod(0o755)
    source.replace(out)


def index_parameters(index: str | Path) -> dict[str, str]:
    """Return the ``genomeParameters.txt`` of a STAR index.

    Raises
    ------
    CarseqError
        If the folder is not a complete STAR index.
    """
    index = Path(index)
    for name in ("genomeParameters.txt", "Genome", "SA", "SAindex", "chrName.txt", "chrLength.txt"):
        if not (index / name).exists():
            raise CarseqError(
                f"{index} is not a STAR index",
                f"it has no {name}",
                "give the folder STAR's genomeGenerate wrote, or leave `reference.star_index` empty",
            )
    rows = (line.split("\t") for line in (index / "genomeParameters.txt").read_text().splitlines())
    return {row[0]: row[1].strip() for row in rows if len(row) == 2}


def check_index(index: str | Path, fasta: str | Path) -> None:
    """Check that a STAR index is complete and of this genome.

    Raises
    ------
    CarseqError
        If it is not.
    """
    index_parameters(index)
    names = (Path(index) / "chrName.txt").read_text().split("\n")
    sizes = (Path(index) / "chrLength.txt").read_text().split("\n")
    indexed = {n: int(s) for n, s in zip(names, sizes, strict=False) if n}
    lengths = contigs(fasta)
    if indexed != lengths:
        differing = [n for n in {**indexed, **lengths} if indexed.get(n) != lengths.get(n)]
        raise CarseqError(
            f"the STAR index {index} is not of the genome {fasta}",
            f"{len(differing)} contigs differ, the first: {differing[0]} "
            f"(index {indexed.get(differing[0], 'absent')}, genome {lengths.get(differing[0], 'absent')})",
            "give the FASTA the index was built from, or leave `reference.star_index` empty",
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
        _complete_chromosomes(index, lengths, bits=int(parameters["genomeChrBinNbits"]))
        _move(index, out)


def _complete_chromosomes(index: Path, added: dict[str, int], *, bits: int) -> None:
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
    wanted = {a["gene_id"] for contig, *_, a in _exons(gtf) if contig in present} | {car}
    missing = sorted(wanted - found)
    if missing:
        raise CarseqError(
            f"{len(missing)} of {len(wanted)} genes are missing from the reference, such as {missing[0]}",
            "the annotation given to STAR was not the whole one",
            "remove the reference/ folder of the results and run again; if it comes back, give a base index "
            "made with this annotation",
        )


def rival_context(
    fasta: str | Path, gtf: str | Path, genes: set[str], *, flank: int = 120
) -> tuple[list[EndogenousTranscript], pd.DataFrame]:
    """Return the genomic windows around the exons of genes, and the exons' places.

    A read of a relative's unspliced RNA runs from exon into intron; without the intron's bases the CAR, which
    shares the exon, would seem to explain it as well as the gene does.

    Parameters
    ----------
    fasta, gtf
        Genome and annotation.
    genes
        Symbols of the relatives.
    flank
        Bases kept on either side of an exon, nt; at least a read's length.

    Returns
    -------
    windows : list of EndogenousTranscript
        One a distinct exon, sense strand.
    loci : pandas.DataFrame
        ``contig``, ``start``, ``end`` (0-based half-open), ``gene`` of the merged exons.
    """
    wanted: dict[str, list[tuple[int, int, str, str]]] = {}
    for contig, start, end, strand, attributes in _exons(gtf):
        gene = attributes.get("gene_name", attributes["gene_id"])
        if gene in genes:
            wanted.setdefault(contig, []).append((start, end, strand, gene))
    windows: list[EndogenousTranscript] = []
    rows: list[dict[str, object]] = []
    for contig, sequence in _sequences(fasta):
        merged: list[tuple[int, int, str, str]] = []
        for start, end, strand, gene in sorted(set(wanted.get(contig, []))):
            if merged and merged[-1][3] == gene and start <= merged[-1][1]:
                first, last, *_ = merged.pop()
                start, end = first, max(last, end)
            merged.append((start, end, strand, gene))
        for start, end, strand, gene in merged:
            first, last = max(0, start - flank), end + flank
            window = sequence[first:last]
            if strand == "-":
                window = reverse_complement(window)
            windows.append(EndogenousTranscript(gene, f"{contig}:{first}-{last}", window))
            rows.append({"contig": contig, "start": start, "end": end, "gene": gene})
    return windows, pd.DataFrame(rows, columns=["contig", "start", "end", "gene"])


def read_loci(path: str | Path) -> list[Locus]:
    """Read the loci table of :func:`rival_context`."""
    return locus_list(read_table(path))


def locus_list(table: pd.DataFrame) -> list[Locus]:
    """Return the rows of a loci table as loci."""
    return [Locus(str(r.contig), int(r.start), int(r.end), str(r.gene)) for r in table.itertuples()]


def write_sequences(sequences: dict[str, str], path: str | Path) -> None:
    """Write sequences as FASTA, one line each."""
    write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()), path)


def read_sequences(path: str | Path) -> dict[str, str]:
    """Read a FASTA file: name -> upper-case sequence."""
    return dict(_sequences(path))


def write_transcripts(transcripts: Iterable[EndogenousTranscript], path: str | Path) -> None:
    """Write transcripts as FASTA whose names are ``transcript|gene``."""
    write_sequences({f"{t.transcript}|{t.gene}": t.sequence for t in transcripts}, path)


def read_transcript_fasta(path: str | Path) -> list[EndogenousTranscript]:
    """Read transcripts written by :func:`write_transcripts`."""
    found = []
    for name, sequence in _sequences(path):
        transcript, _, gene = name.rpartition("|")
        found.append(EndogenousTranscript(gene, transcript, sequence))
    return found
