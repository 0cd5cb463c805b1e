"""Genome and annotation: checked, read as transcripts, with the loci that resemble the CAR."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from carseq.construct.coding import reverse_complement
from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.errors import CarseqError
from carseq.io.checksums import damaged
from carseq.io.fasta import contigs, fasta_records, open_text, write_sequences
from carseq.io.files import atomic, read_table
from carseq.log import get_logger
from carseq.schema.percent import plain_percent

if TYPE_CHECKING:
    import pandas as pd

log = get_logger(__name__)

#: Attributes of an exon that are read.
_ATTRIBUTES = ("gene_id", "transcript_id", "gene_name")
#: Bases kept on either side of an exon, nt: as many as the longest R2 of short-read sequencers has.
MAX_READ = 300
#: Share of the exons from which on chromosomes under another name are an error: more than the mitochondrion's.
MOST_LOST = 0.01
#: The human mitochondrion, by whatever name: chrM (UCSC, GENCODE), MT (Ensembl), NC_012920.1 (RefSeq).
MITOCHONDRION = "mt"
_OF_MITOCHONDRION = ("m", "mito", "nc_012920.1", "nc_012920", "j01415.2", "j01415")
#: RefSeq's names of the chromosomes of GRCh37 and GRCh38 (NC_000001.11, NC_000023.11 for X).
_REFSEQ = re.compile(r"nc_0000(\d\d)(?:\.\d+)?")
#: GenBank's names of the chromosomes of GRCh37 and GRCh38 (CM000663.2 for chr1 to CM000686.2 for Y), and what stands
#: before a chromosome's name (chr1, GRCh38_chr1, chromosome_1).
_GENBANK, _BEFORE_GENBANK = re.compile(r"cm000(66[3-9]|67\d|68[0-6])(?:\.\d+)?"), 662
_BEFORE_NAME = re.compile(r"^((grch3[78]|hg19|hg38)[_.:-]+)?(chromosome|chr)?[_.:-]*(?=[^_.:-])")
#: Introns of a contig that are looked at, and bases of one, at least: shorter gaps are of frameshifts.
INTRONS_OF_CONTIG, _SHORTEST_INTRON = 500, 30
#: Introns, at least, that tell whether an annotation is of the genome, and the share of them with usual ends below
#: which it is not: of another assembly's 1 in 128 has them by chance.
FEWEST_INTRONS, FEWEST_USUAL = 200, 0.5
#: Bases of transcripts, at least, that tell whether a genome was masked, and the share of them that are no A, C, G or T
#: above which it was: of GRCh38's hardly one is, and repeats are a tenth.
FEWEST_BASES, MOST_UNKNOWN = 10_000, 0.01
#: Share of a genome's bases that may lie on contigs without a gene: of alternative loci, patches and decoys beside
#: GRCh38's chromosomes it is some hundredths.
MOST_BARE = 0.15
#: At most this many bad lines of an annotation are named one by one.
TOLD = 3


def gtf_exons(gtf: str | Path) -> Iterator[tuple[str, int, int, str, dict[str, str]]]:
    """Yield (contig, start, end, strand, attributes) of every exon; 0-based half-open.

    Of the attributes its ``gene_id``, ``transcript_id`` and ``gene_name``, where it has one.

    Raises
    ------
    CarseqError
        If lines are not GTF, with the numbers of the first ones.
    """
    bad: list[str] = []
    n_bad = number = 0
    line = usual = ""
    with open_text(gtf) as lines:
        for number, line in enumerate(lines, 1):
            if line.startswith("#") or line.isspace():
                continue
            fields = line.rstrip("\r\n").split("\t")
            if fault := _line_fault(fields):
                n_bad += 1
                if len(bad) < TOLD:
                    bad.append(f"line {number}: {fault}")
                continue
            if fields[2] == "exon":
                attributes = _attributes(fields[8])
                if lacking := [k for k in ("gene_id", "transcript_id") if not attributes.get(k)]:
                    n_bad += 1
                    if len(bad) < TOLD:
                        bad.append(_lacking(number, lacking, attributes, fields[8]))
                    continue
                usual = usual or fields[8]
                yield fields[0], int(fields[3]) - 1, int(fields[4]), fields[6], attributes
    if not line.endswith("\n") and line.count("\t") == 8 and _is_cut(line, usual):
        n_bad += 1
        bad.append(f"line {number}: it ends within its attributes ({line[-40:]})")
    if n_bad:
        raise CarseqError(
            f"{n_bad:,} line{'s' if n_bad > 1 else ''} of the annotation {gtf} "
            f"{'are' if n_bad > 1 else 'is'} not as GTF wants",
            "; ".join(bad) + (" ..." if n_bad > len(bad) else ""),
            "correct them, or give a GTF (not GFF3) as Ensembl, GENCODE or 10x make it; if its end is bad, it may be "
            "cut off: transfer it again",
        )


def _is_cut(line: str, usual: str) -> bool:
    """Return whether the last line of a GTF ends within its attributes, unlike ``usual`` ones of other lines."""
    ends = (";", '"')
    return line.count('"') % 2 == 1 or (
        usual.rstrip().endswith(ends) and not line.rstrip().endswith(ends)
    )


def _attributes(text: str) -> dict[str, str]:
    """Return the attributes that are read from a line's last field; of one that is there twice, the last.

    A regular expression over the whole field reads all the others too, of which GENCODE has ten.
    """
    found = {}
    for name in _ATTRIBUTES:
        at = text.rfind(f'{name} "')
        # Of another name that ends so (`ref_gene_id`).
        while at > 0 and (text[at - 1].isalnum() or text[at - 1] == "_"):
            at = text.rfind(f'{name} "', 0, at)
        start = at + len(name) + 2
        if at >= 0 and (end := text.find('"', start)) >= 0:
            found[name] = text[start:end]
    return found


def _line_fault(fields: list[str]) -> str:
    """Say what is wrong with a line of a GTF, or return an empty string."""
    if len(fields) < 9:
        return f"{len(fields)} columns of 9"
    start, end = fields[3], fields[4]
    if not (start.isascii() and start.isdigit() and end.isascii() and end.isdigit()):
        return f"its place {start[:20]}-{end[:20]} is not a number"
    if len(start) > 12 or len(end) > 12:
        return f"its place {start[:20]}-{end[:20]} is beyond any genome"
    if not 1 <= int(start) <= int(end):
        return f"its place {start}-{end} begins before 1 or behind its end"
    if fields[6] not in ("+", "-", ".", "?"):
        return f"its strand is {fields[6][:10]!r}"
    return ""


def _lacking(number: int, lacking: list[str], attributes: dict[str, str], text: str) -> str:
    name = (
        attributes.get("gene_name") or attributes.get("gene_id") or attributes.get("transcript_id")
    )
    whose = f"the exon of {name}" if name else "the exon"
    told = f"line {number}: {whose} lacks {' and '.join(lacking)}"
    if re.match(r"\s*\w+=", text):
        told += f": its attributes are GFF3's ({text[:40]})"
    elif lacking[0] in text:
        told += f': its attributes are not written `{lacking[0]} "NAME";` but {text[:40]}'
    return told


def check_reference(fasta: str | Path, gtf: str | Path, car: str | None = None) -> dict[str, int]:
    """Check that genome and annotation go together and do not hold the CAR already; return the contigs' lengths.

    Parameters
    ----------
    fasta, gtf
        Genome and annotation.
    car
        Name of the CAR; None leaves it to :func:`carseq.reference.transgene.check_car_is_new`.

    Raises
    ------
    CarseqError
        If a file cannot be read, lines are not GTF, names do not match, exons lack ids, or the CAR's name is taken.
    """
    lengths = contigs(fasta)
    n = 0
    known: set[str] = set()
    unknown: Counter[str] = Counter()
    beyond = named = ""
    owners: dict[str, str] = {}
    shared: dict[str, str] = {}
    here: set[str] = set()
    away: dict[str, set[str]] = {}
    for contig, _, end, _, attributes in gtf_exons(gtf):
        n += 1
        name, gene = attributes["transcript_id"], attributes["gene_id"]
        if owners.setdefault(name, gene) != gene:
            shared[gene] = name
        if car and car in (attributes["gene_id"], attributes.get("gene_name")):
            named = named or attributes["gene_id"]
        symbol = attributes.get("gene_name") or gene
        if contig not in lengths:
            unknown[contig] += 1
            away.setdefault(contig, set()).add(symbol)
            continue
        known.add(contig)
        here.add(symbol)
        if end > lengths[contig]:
            beyond = (
                beyond or f"an exon on {contig} ends at {end}, beyond its {lengths[contig]} bases"
            )
    if car:
        raise_if_named(fasta, gtf, car, set(lengths), annotated=bool(named))
    if n == 0:
        raise CarseqError(
            f"{gtf} holds no exons", "", "give a GTF with gene, transcript and exon lines"
        )
    if beyond:
        raise CarseqError(
            f"the annotation {gtf} does not fit the genome {fasta}",
            beyond,
            "give FASTA and GTF of the same assembly",
        )
    if not known:
        raise CarseqError(
            "no contig name of the annotation is in the genome",
            f"annotation: {', '.join(sorted(unknown)[:3])}...; genome: {', '.join(list(lengths)[:3])}...",
            "give FASTA and GTF of the same source (chr1 and 1 are different names)",
        )
    _check_twins(fasta, gtf, lengths, known, unknown, n)
    if shared:
        gene, name = next(iter(shared.items()))
        log.warning(
            "%d genes have a transcript of another gene's name (%s and %s: %s), and STAR counts both as one of them: "
            "give each its own transcript_id",
            len(shared),
            owners[name],
            gene,
            name,
        )
    if unknown:
        gone = {contig: genes - here for contig, genes in away.items() if genes - here}
        log.warning(
            "%d contigs of the annotation are not in the genome: %s; %d genes lie on them alone and are lost",
            len(unknown),
            sorted(unknown)[:5],
            len(set().union(*gone.values())),
        )
    return lengths


def _check_twins(
    fasta: str | Path,
    gtf: str | Path,
    names: Collection[str],
    known: Collection[str],
    unknown: Counter[str],
    n_exons: int,
) -> None:
    """Raise if chromosomes of the annotation are in the genome under another name, as 1 and chr1.

    Scaffolds (KI270728.1) have one name in files of GENCODE, Ensembl and 10x, whose chromosomes have two: that some
    names are the same does not say that the files go together.
    """
    spelt = {_bare(name): name for name in names if name not in known}
    twins = {name: spelt[_bare(name)] for name in unknown if _bare(name) in spelt}
    lost = sum(unknown[name] for name in twins)
    if not lost:
        return
    told = ", ".join(f"{name} is {twin} in the genome" for name, twin in list(twins.items())[:3])
    mito = {name: twin for name, twin in twins.items() if _bare(name) == MITOCHONDRION}
    if lost < MOST_LOST * n_exons and mito:
        name, twin = next(iter(mito.items()))
        raise CarseqError(
            f"mitochondrial genes would be lost: the genome {fasta} and the annotation {gtf} name the mitochondrion "
            "differently",
            f"{name} is {twin} in the genome; no mitochondrial UMI would be counted, and no damaged cell told by them",
            f"write {twin} in place of {name} in the first column of the annotation (`sed 's/^{name}\\t/{twin}\\t/'`)",
        )
    if lost < MOST_LOST * n_exons:
        log.warning(
            "the genes of %d contigs are lost, for their names differ: %s", len(twins), told
        )
        return
    raise CarseqError(
        f"the genome {fasta} and the annotation {gtf} name the chromosomes differently",
        f"{told}; of {n_exons:,} exons {lost:,} would be lost",
        "give FASTA and GTF of the same source (chr1 and 1 are different names)",
    )


def is_mitochondrion(contig: str) -> bool:
    """Return whether a contig is the human mitochondrion, by any of the names that sources give it."""
    return _bare(contig) == MITOCHONDRION


def _bare(contig: str) -> str:
    """Return the name of a chromosome as all sources have it.

    1 of chr1, Chr01, GRCh38_chr1, NC_000001.11 and CM000663.2; mt of chrM and MT.
    """
    bare = _BEFORE_NAME.sub("", contig.lower())
    if found := _REFSEQ.fullmatch(bare):
        number = int(found[1])
    elif found := _GENBANK.fullmatch(bare):
        number = int(found[1]) - _BEFORE_GENBANK
    else:
        bare = bare.lstrip("0") if bare.isdigit() else bare
        return MITOCHONDRION if bare in _OF_MITOCHONDRION else bare
    return {23: "x", 24: "y"}.get(number, str(number))


def raise_if_named(
    fasta: str | Path, gtf: str | Path, car: str, names: Collection[str], *, annotated: bool
) -> None:
    """Raise if the genome has a contig of the CAR's name, or the annotation a gene of that name.

    Parameters
    ----------
    fasta, gtf
        Genome and annotation, for the message.
    car
        Name of the CAR.
    names
        Names of the genome's contigs.
    annotated
        Whether the annotation has a gene of the CAR's name.

    Raises
    ------
    CarseqError
        If so.
    """
    remedy = (
        "carseq puts the CAR into the reference itself: give genome and annotation without it (those that the custom "
        "reference was made from), or, if it is something else, choose another `construct.name`"
    )
    if car in names:
        raise CarseqError(f"the genome {fasta} already has a contig named {car}", "", remedy)
    if annotated:
        raise CarseqError(f"the annotation {gtf} already has a gene named {car}", "", remedy)


class Exons(NamedTuple):
    """Exons of a transcript on one contig and strand.

    ``places`` are starts and ends in turn, 0-based half-open: as tuples, the 1.6 million exons of a human annotation
    would take 0.2 GB.
    """

    transcript: str
    gene: str
    gene_id: str
    contig: str
    strand: str
    places: array[int]

    def pairs(self) -> Iterator[tuple[int, int]]:
        """Yield start and end of each exon."""
        return zip(self.places[::2], self.places[1::2], strict=True)


def read_annotation(gtf: str | Path) -> list[Exons]:
    """Return the transcripts of an annotation in its order; one on two contigs (of chrX and chrY) is there twice.

    A human annotation has 1.6 million exons, of 7 microseconds each: whoever asks several things of it reads it once.
    """
    found: dict[tuple[str, str, str], Exons] = {}
    for contig, start, end, strand, attributes in gtf_exons(gtf):
        key = attributes["transcript_id"], contig, strand
        if (exons := found.get(key)) is None:
            gene_id = attributes["gene_id"]
            gene = attributes.get("gene_name") or gene_id
            found[key] = exons = Exons(key[0], gene, gene_id, contig, strand, array("q"))
        exons.places.extend((start, end))
    return list(found.values())


def read_transcripts(
    fasta: str | Path, gtf: str | Path | Sequence[Exons], *, introns: Counter[bool] | None = None
) -> Iterator[EndogenousTranscript]:
    """Yield every spliced transcript (sense strand) of an annotated genome.

    The annotation is a file, or what :func:`read_annotation` has read. For ``introns`` see
    :func:`transcripts_of_genes`.
    """
    for transcript, _ in transcripts_of_genes(fasta, gtf, introns=introns):
        yield transcript


def transcripts_of_genes(
    fasta: str | Path, gtf: str | Path | Sequence[Exons], *, introns: Counter[bool] | None = None
) -> Iterator[tuple[EndogenousTranscript, str]]:
    """Yield every spliced transcript (sense strand) of an annotated genome, and the id of its gene.

    In the order of the annotation. One contig at a time is held, and the transcripts. Of a transcript on several
    contigs the first is given.

    Parameters
    ----------
    fasta, gtf
        Genome and annotation, or what :func:`read_annotation` has read of it.
    introns
        Filled with whether introns have the ends that nearly all have, of some on each contig.
    """
    annotation = _annotation(gtf)
    transcripts: dict[str, Exons] = {}
    by_contig: dict[str, list[Exons]] = {}
    for exons in annotation:
        if transcripts.setdefault(exons.transcript, exons) is exons:
            by_contig.setdefault(exons.contig, []).append(exons)
    spliced: dict[str, str] = {}
    for contig, chromosome in fasta_records(fasta):
        looked_at = 0
        for exons in by_contig.get(contig, ()):
            if introns is not None and looked_at < INTRONS_OF_CONTIG:
                ends = list(_ends_of_introns(chromosome, exons))
                looked_at += len(ends)
                introns.update(ends)
            sequence = "".join(chromosome[a:b] for a, b in sorted(set(exons.pairs())))
            if exons.strand == "-":
                sequence = reverse_complement(sequence)
            spliced[exons.transcript] = sequence
    for name, exons in transcripts.items():
        if name in spliced:
            yield EndogenousTranscript(exons.gene, name, spliced[name]), exons.gene_id


def doubts_of(
    annotation: Sequence[Exons],
    lengths: Mapping[str, int],
    introns: Counter[bool],
    bases: Counter[bool],
) -> list[str]:
    """Return what makes genome and annotation doubtful, in words.

    Parameters
    ----------
    annotation
        As of :func:`read_annotation`.
    lengths
        Of the genome's contigs, nt.
    introns
        As of :func:`transcripts_of_genes`.
    bases
        As of :func:`tally_bases`.
    """
    found = (
        doubt_of_introns(introns),
        doubt_of_bases(bases),
        doubt_of_lost(*lost_genes(annotation, lengths), lengths),
        doubt_of_bare(annotation, lengths),
    )
    return list(filter(None, found))


def doubt_of_introns(introns: Counter[bool]) -> str:
    """Say that an annotation is of another genome, by the ends of its introns; nothing if they are usual, or few.

    Parameters
    ----------
    introns
        As of :func:`transcripts_of_genes`.

    >>> doubt_of_introns(Counter({True: 990, False: 10}))
    ''
    """
    n = introns.total()
    if n < FEWEST_INTRONS or introns[True] >= FEWEST_USUAL * n:
        return ""
    return (
        f"of {n:,} introns of the annotation {plain_percent(introns[True] / n)} begin with GT and end with AG in the "
        "genome, where nearly all do: it is of another assembly (hg19, GRCh38, T2T) or species whose contigs have the "
        "same names, and most reads would be of no gene; give FASTA and GTF of one source"
    )


def doubt_of_lost(
    lost: Mapping[str, Collection[str]], n_genes: int, names: Iterable[str] = ()
) -> str:
    """Say that genes are lost with contigs that the genome lacks; nothing if no more are than scaffolds have.

    Parameters
    ----------
    lost
        Genes that lie on no contig of the genome, by the contig that it lacks.
    n_genes
        Genes that lie on one.
    names
        Of the genome's contigs.

    >>> doubt_of_lost({"KI270728.1": {"AC0001.1"}}, 20_000)
    ''
    """
    n = len(set().union(*lost.values()))
    if n <= MOST_LOST * (n_genes + n):
        return ""
    most = sorted(lost, key=lambda contig: -len(lost[contig]))
    more = f" and {len(most) - 3} more" if len(most) > 3 else ""
    own = ", ".join(list(names)[:3])
    return (
        f"{n:,} genes of the annotation are lost, for the genome lacks their contigs ({', '.join(most[:3])}{more}): if "
        "it should have them, its file was cut off or holds a part of the genome"
        + (f", or it names them otherwise ({own}, ...)" if own else "")
        + "; give FASTA and GTF of one source, whole"
    )


def doubt_of_bare(annotation: Iterable[Exons], lengths: Mapping[str, int]) -> str:
    """Say that much of a genome lies on contigs without a gene, as where an annotation was cut off; else nothing.

    Parameters
    ----------
    annotation
        As of :func:`read_annotation`.
    lengths
        Of the genome's contigs, nt.
    """
    annotated = {exons.contig for exons in annotation}
    bare = sorted((name for name in lengths if name not in annotated), key=lambda n: -lengths[n])
    share = sum(lengths[name] for name in bare) / max(1, sum(lengths.values()))
    if share <= MOST_BARE or len(bare) == len(lengths):
        return ""
    more = f" and {len(bare) - 3} more" if len(bare) > 3 else ""
    return (
        f"{plain_percent(share)} of the genome's bases lie on contigs on which the annotation has no gene "
        f"({', '.join(bare[:3])}{more}): if it should have some there, its file was cut off or is of a part of the "
        "genome, and reads there are of no gene; give FASTA and GTF of one source, whole"
    )


def tally_bases(
    transcripts: Iterable[EndogenousTranscript], tally: Counter[bool]
) -> Iterator[EndogenousTranscript]:
    """Yield transcripts, and count which of their bases are A, C, G and T."""
    for transcript in transcripts:
        unknown = len(transcript.sequence.encode().translate(None, b"ACGT"))
        tally[True] += len(transcript.sequence) - unknown
        tally[False] += unknown
        yield transcript


def doubt_of_bases(tally: Counter[bool]) -> str:
    """Say that a genome's repeats were masked; nothing if hardly a base is.

    Parameters
    ----------
    tally
        As of :func:`tally_bases`.

    >>> doubt_of_bases(Counter({True: 999_000, False: 1000}))
    ''
    """
    share = tally[False] / max(1, tally.total())
    if tally.total() < FEWEST_BASES or share <= MOST_UNKNOWN:
        return ""
    return (
        f"{plain_percent(share)} of the bases of the annotation's transcripts are N or another letter than A, C, G and "
        "T in the genome: its repeats were masked (as in Ensembl's `dna_rm`), and reads of them would be of no gene; "
        "give the genome unmasked, or masked by small letters (Ensembl's `dna` or `dna_sm`)"
    )


def lost_genes(
    annotation: Iterable[Exons], contigs_there: Collection[str]
) -> tuple[dict[str, set[str]], int]:
    """Return the genes that lie on no contig of the genome, by the contig, and how many lie on one."""
    here: set[str] = set()
    away: dict[str, set[str]] = {}
    for exons in annotation:
        if exons.contig in contigs_there:
            here.add(exons.gene)
        else:
            away.setdefault(exons.contig, set()).add(exons.gene)
    return {contig: own - here for contig, own in away.items() if own - here}, len(here)


def _ends_of_introns(chromosome: str, exons: Exons) -> Iterator[bool]:
    """Yield of each intron whether it begins with GT or GC and ends with AG, as 99 of 100 do."""
    places = sorted(set(exons.pairs()))
    for (_, start), (end, _) in pairwise(places):
        if end - start >= _SHORTEST_INTRON:
            intron = chromosome[start : start + 2] + chromosome[end - 2 : end]
            if exons.strand == "-":
                intron = reverse_complement(intron)
            yield intron.upper() in ("GTAG", "GCAG")


def _annotation(gtf: str | Path | Sequence[Exons]) -> Sequence[Exons]:
    return read_annotation(gtf) if isinstance(gtf, (str, Path)) else gtf


def gene_symbols(gtf: str | Path) -> dict[str, str]:
    """Return the symbol of each gene of an annotation by its id; genes without a symbol are left out."""
    return {a["gene_id"]: a["gene_name"] for *_, a in gtf_exons(gtf) if a.get("gene_name")}


def write_augmented_gtf(gtf: str | Path, car_gtf: str | Path, out: str | Path) -> None:
    """Write the full annotation followed by the CAR's (plain text, as STAR wants it)."""
    with atomic(out) as temporary, temporary.open("w") as target:
        with open_text(gtf) as lines:
            last = ""
            for last in lines:
                target.write(last)
            if last and not last.endswith("\n"):
                target.write("\n")
        target.write(Path(car_gtf).read_text())


def rival_context(
    fasta: str | Path,
    gtf: str | Path | Sequence[Exons],
    genes: set[str],
    *,
    flank: int = MAX_READ,
) -> tuple[list[EndogenousTranscript], pd.DataFrame]:
    """Return the genomic windows around the exons of genes, and the exons' places.

    A read of a homolog's unspliced RNA runs from exon into intron; without the intron's bases the CAR, which
    shares the exon, would seem to explain it as well as the gene does.

    Parameters
    ----------
    fasta, gtf
        Genome and annotation; a file, or what :func:`read_annotation` has read.
    genes
        Symbols of the homologs.
    flank
        Bases kept on either side of an exon, nt: at least the length of a read.

    Returns
    -------
    windows : list of EndogenousTranscript
        One a distinct exon, sense strand.
    loci : pandas.DataFrame
        ``contig``, ``start``, ``end`` (0-based half-open), ``gene`` of the merged exons.
    """
    wanted: dict[str, list[tuple[int, int, str, str]]] = {}
    for exons in _annotation(gtf):
        if exons.gene in genes:
            of_contig = wanted.setdefault(exons.contig, [])
            of_contig += [(start, end, exons.strand, exons.gene) for start, end in exons.pairs()]
    import pandas as pd

    windows: list[EndogenousTranscript] = []
    rows: list[dict[str, object]] = []
    for contig, sequence in fasta_records(fasta):
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
            windows.append(
                EndogenousTranscript(gene, window_name(contig, first, last, strand), window)
            )
            rows.append({"contig": contig, "start": start, "end": end, "gene": gene})
    return windows, pd.DataFrame(rows, columns=["contig", "start", "end", "gene"])


#: A window of the genome: contig, start, end (0-based half-open) and strand, as bedtools names it.
_WINDOW = re.compile(r"(.+):(\d+)-(\d+)\(([+-])\)")


def window_name(contig: str, start: int, end: int, strand: str) -> str:
    """Return the name of a window of the genome, 0-based half-open, that stands in the place of a transcript's.

    Examples
    --------
    >>> window_name("chr1", 100, 900, "-")
    'chr1:100-900(-)'
    """
    return f"{contig}:{start}-{end}({'-' if strand == '-' else '+'})"


def window_place(name: str) -> tuple[str, int, int, str] | None:
    """Return contig, start, end (0-based half-open) and strand of a window by its name; None for a transcript's.

    Examples
    --------
    >>> window_place("HLA:1:100-900(-)")
    ('HLA:1', 100, 900, '-')
    """
    if found := _WINDOW.fullmatch(name):
        return found[1], int(found[2]), int(found[3]), found[4]
    return None


def read_loci(path: str | Path) -> list[Locus]:
    """Read the loci table of :func:`rival_context`.

    Raises
    ------
    CarseqError
        If it is missing, cut off or not such a table.
    """
    table = read_table(path)
    try:
        return locus_list(table)
    except (AttributeError, ValueError, OverflowError) as error:
        raise damaged(path, str(error), word="cut off or damaged") from None


def locus_list(table: pd.DataFrame) -> list[Locus]:
    """Return the rows of a loci table as loci."""
    return [Locus(str(r.contig), int(r.start), int(r.end), str(r.gene)) for r in table.itertuples()]


#: What may not stand in a name of FASTA (a blank ends it) or parts transcript and gene; StringTie names genes
#: ``MSTRG.1|CD247``.
_UNNAMED = re.compile(r"[\s|%]")


def fasta_name(transcript: str, gene: str) -> str:
    """Return the name of a transcript in FASTA, of which :func:`transcript_and_gene` reads both.

    Examples
    --------
    >>> fasta_name("ENST00000362089", "CD247"), fasta_name("T.1", "MSTRG.1|CD247")
    ('ENST00000362089|CD247', 'T.1|MSTRG.1%7CCD247')
    """
    return "|".join(
        _UNNAMED.sub(lambda m: f"%{ord(m[0]):02X}" if m[0].isascii() else "_", name)
        for name in (transcript, gene)
    )


def transcript_and_gene(name: str) -> tuple[str, str]:
    """Return transcript and gene of a name that :func:`fasta_name` made."""
    transcript, _, gene = name.rpartition("|")
    return unquote(transcript), unquote(gene)


def is_window(transcript: str) -> bool:
    """Return whether a homolog is a window of the genome (:func:`window_name`), not a transcript.

    Examples
    --------
    >>> is_window("chr1:100-900(-)"), is_window("transcript:ENST00000362089")
    (True, False)
    """
    return window_place(transcript) is not None


def of_mrna(homologs: Sequence[EndogenousTranscript]) -> list[EndogenousTranscript]:
    """Return the homologs that reads of spliced mRNA may come from.

    Windows of the genome around the exons of a transcript are for its unspliced RNA; those of a place that no
    transcript holds are all that is known of what is transcribed there.
    """
    known = {h.gene for h in homologs if not is_window(h.transcript)}
    return [h for h in homologs if not is_window(h.transcript) or h.gene not in known]


def write_transcripts(transcripts: Iterable[EndogenousTranscript], path: str | Path) -> None:
    """Write transcripts as FASTA whose names are ``transcript|gene``."""
    write_sequences({fasta_name(t.transcript, t.gene): t.sequence for t in transcripts}, path)


def read_transcript_fasta(path: str | Path) -> list[EndogenousTranscript]:
    """Read transcripts written by :func:`write_transcripts`."""
    found = []
    for name, sequence in fasta_records(path):
        transcript, gene = transcript_and_gene(name)
        found.append(EndogenousTranscript(gene, transcript, sequence))
    return found
