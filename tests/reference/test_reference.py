"""reference: genome and annotation go together, nothing is lost on the way into the index."""

from __future__ import annotations

import gzip
import random
from array import array
from collections import Counter
from pathlib import Path

import pytest
from Bio.Data import CodonTable

from carseq import reference
from carseq.construct import homology, load_construct
from carseq.construct.coding import reverse_complement
from carseq.construct.homology import EndogenousTranscript
from carseq.construct.library import relatives
from carseq.construct.parts import known_proteins
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.reference import star
from carseq.reference.genome import (
    Exons,
    doubt_of_introns,
    gtf_exons,
    is_window,
    of_mrna,
    read_transcripts,
    window_name,
)
from carseq.reference.index import complete_chromosomes, plain_text
from carseq.reference.resembling import Resembling, find_homologs, genes_at
from carseq.reference.transgene import check_car_is_new, same_as_car
from carseq.reference.watch import run_watched

PLUS = "AACCGGTTAACCGTAGCATTACGATCAGGCTTAACCGA"


def gtf_line(contig, start, end, strand="+", gene="G1", transcript="T1", kind="exon"):
    return (
        f"{contig}\tx\t{kind}\t{start}\t{end}\t.\t{strand}\t.\t"
        f'gene_id "{gene}"; transcript_id "{transcript}"; gene_name "{gene}N";\n'
    )


@pytest.fixture
def genome(tmp_path):
    (tmp_path / "g.fa").write_text(f">chr1 first\n{PLUS[:20]}\n{PLUS[20:]}\n>chr2\nACGT\n")
    (tmp_path / "g.gtf").write_text(gtf_line("chr1", 1, 10) + gtf_line("chr1", 21, 30))
    return tmp_path


def test_transcripts_are_spliced_and_turned(genome):
    (genome / "minus.gtf").write_text(gtf_line("chr1", 21, 30, "-") + gtf_line("chr1", 1, 10, "-"))
    plus = next(reference.read_transcripts(genome / "g.fa", genome / "g.gtf"))
    minus = next(reference.read_transcripts(genome / "g.fa", genome / "minus.gtf"))
    assert plus.sequence == PLUS[:10] + PLUS[20:30]
    assert minus.sequence == plus.sequence.translate(str.maketrans("ACGT", "TGCA"))[::-1]
    assert plus.gene == "G1N"


@pytest.mark.parametrize("shift", [0, 137])
def test_an_annotation_of_another_assembly_is_told_by_the_ends_of_introns(tmp_path, shift):
    """hg19's GTF fits into GRCh38's contigs, which have the same names: `carseq check` said that they go together."""
    rng = random.Random(1)
    contig = list("".join(rng.choices("ACGT", k=60_000)))
    lines = []
    for i in range(250):
        start = 100 + 200 * i
        ends = ("GT", "AG") if i % 2 else ("CT", "AC")
        contig[start + 50 : start + 52], contig[start + 98 : start + 100] = ends
        for a, b in ((start, start + 50), (start + 100, start + 150)):
            strand = "+" if i % 2 else "-"
            lines.append(gtf_line("chr1", a + 1 + shift, b + shift, strand, f"G{i}", f"T{i}"))
    (tmp_path / "g.fa").write_text(f">chr1\n{''.join(contig)}\n")
    (tmp_path / "g.gtf").write_text("".join(lines))
    introns = Counter()
    assert (
        len(list(read_transcripts(tmp_path / "g.fa", tmp_path / "g.gtf", introns=introns))) == 250
    )
    told = doubt_of_introns(introns)
    assert ("another assembly" in told) == bool(shift)


def test_gzipped_references_are_read(genome):
    for name in ("g.fa", "g.gtf"):
        with gzip.open(genome / f"{name}.gz", "wt") as out:
            out.write((genome / name).read_text())
    plain = list(reference.read_transcripts(genome / "g.fa", genome / "g.gtf"))
    assert list(reference.read_transcripts(genome / "g.fa.gz", genome / "g.gtf.gz")) == plain


def test_windows_around_exons_reach_into_introns(genome):
    windows, loci = reference.rival_context(genome / "g.fa", genome / "g.gtf", {"G1N"}, flank=4)
    assert [w.sequence for w in windows] == [PLUS[:14], PLUS[16:34]]
    assert loci[["start", "end"]].to_numpy().tolist() == [[0, 10], [20, 30]]
    reference.write_transcripts(windows, genome / "w.fa")
    assert reference.read_transcript_fasta(genome / "w.fa") == windows


@pytest.mark.parametrize(
    ("fasta", "gtf", "words"),
    [
        (None, gtf_line("1", 1, 10), "no contig name of the annotation"),
        (None, gtf_line("chr1", 1, 1000), "does not fit the genome"),
        (
            None,
            "chr1\tx\texon\t1\t9\t.\t+\t.\tParent=T1\n",
            "line 1: the exon lacks gene_id and transcript_id",
        ),
        (None, 'chr1\tx\tgene\t1\t9\t.\t+\t.\tgene_id "G";\n', "holds no exons"),
        (None, gtf_line("chr1", 1, 10, gene="CAR"), "already has a gene named CAR"),
        (">CAR\nACGT\n", None, "already has a contig named CAR"),
        (">chr1\nACGT\n>chr1\nACGT\n", None, "names contig chr1 twice"),
        ("chr1\nACGT\n", None, "is not FASTA"),
        ("", None, "holds no sequence"),
    ],
)
def test_a_reference_that_would_lose_counts_is_refused(genome, fasta, gtf, words):
    for name, text in (("g.fa", fasta), ("g.gtf", gtf)):
        if text is not None:
            (genome / name).write_text(text)
    with pytest.raises(CarseqError, match=words):
        reference.check_reference(genome / "g.fa", genome / "g.gtf", "CAR")


def test_a_good_reference_passes(genome):
    reference.check_reference(genome / "g.fa", genome / "g.gtf", "CAR")


def test_the_whole_annotation_goes_with_the_car(genome):
    (genome / "car.gtf").write_text(gtf_line("CAR", 1, 9, gene="CAR"))
    # A last line without its newline must not swallow the CAR's first.
    (genome / "g.gtf").write_text((genome / "g.gtf").read_text().rstrip("\n"))
    reference.write_augmented_gtf(genome / "g.gtf", genome / "car.gtf", genome / "all.gtf")
    assert len((genome / "all.gtf").read_text().splitlines()) == 3


@pytest.fixture
def index(genome):
    folder = genome / "index"
    folder.mkdir()
    for name in ("Genome", "SA", "SAindex"):
        (folder / name).write_text("x")
    (folder / "genomeParameters.txt").write_text(
        "### a\nversionGenome\t2.7.4a\ngenomeChrBinNbits\t3\n"
    )
    (folder / "chrName.txt").write_text("chr1\nchr2\n")
    (folder / "chrLength.txt").write_text(f"{len(PLUS)}\n4\n")
    (folder / "chrStart.txt").write_text("0\n40\n48\n")
    (folder / "geneInfo.tab").write_text("1\nG1\tG1N\tprotein_coding\n")
    return folder


def test_an_index_of_another_genome_is_refused(genome, index):
    reference.check_index(index, genome / "g.fa")
    (genome / "g.fa").write_text(">chr1\nACGT\n")
    with pytest.raises(CarseqError, match="is not of the genome"):
        reference.check_index(index, genome / "g.fa")
    (index / "SA").unlink()
    with pytest.raises(CarseqError, match="is not a STAR index"):
        reference.check_index(index, genome / "g.fa")


def test_an_index_of_other_bases_is_refused(genome, index):
    """Names and lengths alone do not make a genome; masked bases are no others."""
    (genome / "g.fa").write_text(">chr1\n" + "ACGTNACGAC" * 4 + "\n>chr2\nGGCA\n")
    (index / "chrLength.txt").write_text("40\n4\n")
    held = bytearray([0, 1, 2, 3, 0, 4, 1, 2, 0, 1] * 4 + [5] * 8)
    held[40:44] = [2, 2, 1, 0]
    (index / "Genome").write_bytes(bytes(held))
    reference.check_index(index, genome / "g.fa")
    (genome / "g.fa").write_text(">chr1\n" + "CATGNGTCAA" * 4 + "\n>chr2\nGGCA\n")
    with pytest.raises(CarseqError, match=r"same names and lengths, but .* % of the bases"):
        reference.check_index(index, genome / "g.fa")


def test_an_index_of_another_star_is_refused(genome, index):
    parameters = index / "genomeParameters.txt"
    for other in ("20201", "2.7.1a"):
        parameters.write_text(f"### a\nversionGenome\t{other}\ngenomeChrBinNbits\t3\n")
        with pytest.raises(CarseqError, match=rf"(?s)its format is {other}; STAR .* reads") as told:
            reference.check_index(index, genome / "g.fa")
        assert "genes/genes.gtf.gz" in told.value.remedy


def test_a_plain_index_of_another_annotation_is_refused(genome, index):
    """With the CAR inserted, the annotation that is given takes the place of the index's own."""
    (genome / "other.gtf").write_text(gtf_line("chr1", 1, 10, gene="G7"))
    reference.check_index(index, genome / "g.fa", genome / "g.gtf", plain=True)
    reference.check_index(index, genome / "g.fa", genome / "other.gtf")
    with pytest.raises(CarseqError, match=r"(?s)is not of the annotation .* the first: G1"):
        reference.check_index(index, genome / "g.fa", genome / "other.gtf", plain=True)
    (index / "geneInfo.tab").unlink()
    with pytest.raises(CarseqError, match="without an annotation"):
        reference.check_index(index, genome / "g.fa", genome / "g.gtf", plain=True)


def test_contigs_that_star_leaves_out_are_added(index):
    for _ in range(2):  # a STAR that writes them itself must not get them twice
        complete_chromosomes(index, {"CAR": 9}, bits=3)
    assert (index / "chrName.txt").read_text().split() == ["chr1", "chr2", "CAR"]
    assert (index / "chrStart.txt").read_text().split() == ["0", "40", "48", "64"]
    assert (index / "chrNameLength.txt").read_text().splitlines()[-1] == "CAR\t9"


def test_a_gene_missing_from_the_index_is_told(genome, index):
    with pytest.raises(
        CarseqError, match="1 of 2 genes are missing from the reference, such as CAR"
    ):
        reference.check_augmented(index, genome / "g.gtf", "CAR")
    (index / "geneInfo.tab").write_text("2\nG1\tG1N\tx\nCAR\tCAR\tx\n")
    reference.check_augmented(index, genome / "g.gtf", "CAR")


def test_index_options_follow_the_genome():
    human = reference.index_options({f"chr{i}": 130_000_000 for i in range(24)})
    assert human == {"genomeSAindexNbases": 14, "genomeChrBinNbits": 18}
    small = reference.index_options({f"gene{i}": 2000 for i in range(200)})
    assert small["genomeSAindexNbases"] == 8
    assert small["genomeChrBinNbits"] == 10


def test_attributes_are_read_by_their_whole_name(tmp_path: Path) -> None:
    """`ref_gene_id` is no `gene_id`; of an attribute that is there twice the last counts, as before."""
    (tmp_path / "g.gtf").write_text(
        'c1\tx\texon\t1\t9\t.\t+\t.\tref_gene_id "R1"; gene_id "G1"; ref_gene_id "R2"; transcript_id "T1"; '
        'gene_name "old"; gene_name "new"; ref_gene_name "R3"\n'
    )
    ((*_, attributes),) = gtf_exons(tmp_path / "g.gtf")
    assert attributes == {"gene_id": "G1", "transcript_id": "T1", "gene_name": "new"}


def test_a_transcript_on_two_contigs_is_cut_out_of_one(tmp_path: Path) -> None:
    """As of the regions that chrX and chrY share, where RefSeq gives both one id."""
    line = '{}\tx\texon\t{}\t{}\t.\t+\t.\tgene_id "G1"; transcript_id "T1"; gene_name "S1"\n'
    (tmp_path / "g.gtf").write_text(
        line.format("X", 1, 4) + line.format("X", 7, 10) + line.format("Y", 3, 6)
    )
    (tmp_path / "g.fa").write_text(">X\nAAAACCGGGG\n>Y\nCCTTTTCC\n")
    ((name, sequence),) = [
        (t.transcript, t.sequence)
        for t in reference.read_transcripts(tmp_path / "g.fa", tmp_path / "g.gtf")
    ]
    assert (name, sequence) == ("T1", "AAAAGGGG")
    windows, loci = reference.rival_context(tmp_path / "g.fa", tmp_path / "g.gtf", {"S1"}, flank=0)
    assert loci["contig"].tolist() == ["X", "X", "Y"]
    assert [window.sequence for window in windows] == ["AAAA", "GGGG", "TTTT"]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""], ids=["utf-8-sig", "utf-8"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["unix", "windows", "old mac"])
def test_files_that_windows_or_a_mac_has_saved_lose_no_gene(genome, tmp_path, mark, end):
    """Genome and annotation were opened and saved in an editor: a mark at the start, other line ends."""
    wanted = list(reference.read_transcripts(genome / "g.fa", genome / "g.gtf"))
    lines = gtf_line("chr2", 1, 4, gene="G0", transcript="T0") + (genome / "g.gtf").read_text()
    (genome / "g.gtf").write_text(lines)
    plain = []
    for name in ("g.fa", "g.gtf"):
        text = (genome / name).read_text()
        (genome / name).write_bytes(mark + text.encode().replace(b"\n", end))
        # What STAR is given: it knows Windows' line ends, no mark, and no Mac's line ends.
        given = plain_text(genome / name, tmp_path / f"plain_{name}").read_bytes()
        plain.append(given.replace(b"\r\n", b"\n").decode() == text)
    reference.check_reference(genome / "g.fa", genome / "g.gtf", "CAR")
    found = list(reference.read_transcripts(genome / "g.fa", genome / "g.gtf"))
    assert [t.gene for t in found] == ["G0N", "G1N"]
    assert found[1:] == wanted
    assert plain == [True, True]


@pytest.mark.parametrize(
    ("genomic", "annotated"),
    [
        ("1", "chr1"),
        ("chr1", "1"),
        ("chr1", "Chr1"),
        ("chr1", "CHR1"),
        ("chr1", "NC_000001.11"),
        ("chrX", "NC_000023.11"),
        ("chr01", "chr1"),
    ],
)
def test_chromosomes_of_two_names_are_refused_though_scaffolds_have_one(
    tmp_path, genomic, annotated
):
    """A GTF of GENCODE beside a FASTA of Ensembl: the scaffolds' names are the same, the chromosomes' are not."""
    (tmp_path / "g.fa").write_text(f">{genomic}\n{PLUS}\n>KI270728.1\nACGTACGT\n")
    (tmp_path / "g.gtf").write_text(
        gtf_line(annotated, 1, 10) + gtf_line("KI270728.1", 1, 4, gene="G2", transcript="T2")
    )
    with pytest.raises(CarseqError, match="name the chromosomes differently") as error:
        reference.check_reference(tmp_path / "g.fa", tmp_path / "g.gtf")
    assert (
        f"{annotated} is {genomic} in the genome; of 2 exons 1 would be lost" in error.value.cause
    )


@pytest.mark.parametrize(
    ("genomic", "annotated"),
    [("chr1", "CM000663.2"), ("CM000685.2", "chrX"), ("CM000686.2", "NC_000024.10"), ("chr7", "GRCh38_chr7")],
)  # fmt: skip
def test_chromosomes_of_genbanks_names_are_told(tmp_path, genomic, annotated):
    """A FASTA of GenBank beside another's GTF: with the scaffolds' names alike, all chromosomes were lost."""
    (tmp_path / "g.fa").write_text(f">{genomic}\n{PLUS}\n>KI270728.1\nACGTACGT\n")
    (tmp_path / "g.gtf").write_text(
        gtf_line(annotated, 1, 10) + gtf_line("KI270728.1", 1, 4, gene="G2", transcript="T2")
    )
    with pytest.raises(CarseqError, match="name the chromosomes differently"):
        reference.check_reference(tmp_path / "g.fa", tmp_path / "g.gtf")


def test_an_annotation_that_ends_within_its_attributes_is_refused(genome):
    """A download that ended early: the last line had its nine columns, and the genes behind it were lost."""
    text = (genome / "g.gtf").read_text()
    (genome / "g.gtf").write_text(text.rstrip("\n"))
    reference.check_reference(genome / "g.fa", genome / "g.gtf")
    at = text.rfind("\t") + 1
    for end in range(at + 1, len(text) - 1):
        whole = text[:end].rstrip()[-1] in ';"' and text[at:end].count('"') % 2 == 0
        (genome / "g.gtf").write_text(text[:end])
        if whole:
            continue
        with pytest.raises(CarseqError) as error:
            reference.check_reference(genome / "g.fa", genome / "g.gtf")
        assert "line 2: " in error.value.cause


@pytest.mark.parametrize(
    ("genomic", "annotated"), [("chrM", "MT"), ("MT", "chrM"), ("chrM", "NC_012920.1"), ("M", "MT")]
)
def test_a_mitochondrion_of_two_names_is_refused(genome, genomic, annotated):
    """A genome of UCSC beside an annotation whose other chromosomes were renamed: pct_mito was 0 in every cell."""
    (genome / "g.fa").write_text(f"{(genome / 'g.fa').read_text()}>{genomic}\nACGTACGT\n")
    exons = [gtf_line("chr1", 1, 10, gene=f"G{i}", transcript=f"T{i}") for i in range(3000)]
    mito = gtf_line(annotated, 1, 4, gene="MT-CO1", transcript="T")
    (genome / "g.gtf").write_text("".join([*exons, mito]))
    with pytest.raises(CarseqError, match="mitochondrial genes would be lost") as error:
        reference.check_reference(genome / "g.fa", genome / "g.gtf")
    assert f"{annotated} is {genomic} in the genome" in error.value.cause


def test_a_genome_of_one_chromosome_may_have_an_annotation_of_all(genome):
    """No other name of the missing ones is there: nothing is wrong."""
    (genome / "g.gtf").write_text(gtf_line("chr1", 1, 10) + gtf_line("chr7", 1, 10, gene="G7"))
    reference.check_reference(genome / "g.fa", genome / "g.gtf")


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ("ID=exon:1;Parent=T1", "GFF3"),
        ("gene_id G1; transcript_id T1;", "not written `gene_id"),
        ('"gene_id ""G1""; transcript_id ""T1"";"', "not written `gene_id"),
    ],
)
def test_attributes_in_another_style_are_told_as_that(genome, attributes, words):
    """A GFF3, or a GTF that went through a spreadsheet or pandas: the ids are there, in another style."""
    (genome / "g.gtf").write_text(f"chr1\tx\texon\t1\t10\t.\t+\t.\t{attributes}\n")
    with pytest.raises(CarseqError) as error:
        reference.check_reference(genome / "g.fa", genome / "g.gtf")
    assert words in error.value.cause


@pytest.mark.parametrize(
    "how", ["unannotated", "in small letters", "other strand", "in its plasmid"]
)
def test_a_contig_of_the_car_is_found_without_an_annotation(genome, how):
    """The CAR was added to the FASTA for an earlier job, under another name, and the GTF is the plain one."""
    construct = load_construct(data_path("constructs/ide-cel.gb"), name="CAR")
    held = construct.sequence
    if how == "in small letters":
        held = held.lower()
    if how == "other strand":
        held = reverse_complement(held)
    if how == "in its plasmid":
        held = PLUS * 40 + held + PLUS * 40
    plain = (genome / "g.fa").read_text()
    check_car_is_new(genome / "g.fa", genome / "g.gtf", construct)
    (genome / "g.fa").write_text(f"{plain}>pLV_2021\n{held}\n")
    with pytest.raises(CarseqError, match="holds the CAR already, under the name pLV_2021"):
        check_car_is_new(genome / "g.fa", genome / "g.gtf", construct)


def test_doubts_of_genome_and_annotation_are_returned(tmp_path):
    """A genome whose repeats are N (Ensembl's dna_rm), and one without half of its chromosomes: `check` was content."""
    construct = load_construct(data_path("constructs/ide-cel.gb"), name="CAR")
    rng = random.Random(1)
    contig = "".join(rng.choices("ACGT", k=20_000))
    lines = "".join(
        gtf_line("chr1", 1 + 1000 * i, 700 + 1000 * i, gene=f"G{i}", transcript=f"T{i}")
        for i in range(20)
    )
    elsewhere = "".join(gtf_line("2", 1, 700, gene=f"H{i}", transcript=f"U{i}") for i in range(20))
    found = []
    for masked, more in ((False, ""), (True, ""), (False, elsewhere), (False, "bare")):
        held = f"{contig[:100]}{'N' * 500}{contig[600:]}" if masked else contig
        if more == "bare":
            held, more = f"{held}\n>chr2\n{held}", ""
        (tmp_path / "g.fa").write_text(f">chr1\n{held}\n")
        (tmp_path / "g.gtf").write_text(lines + more)
        doubts = []
        check_car_is_new(tmp_path / "g.fa", tmp_path / "g.gtf", construct, doubts=doubts)
        found.append(doubts)
    assert found[0] == []
    assert "3.6 % of the bases" in found[1][0]
    assert "`dna_sm`" in found[1][0]
    assert "20 genes of the annotation are lost" in found[2][0]
    assert "names them otherwise (chr1, ...)" in found[2][0]
    assert "50 % of the genome's bases" in found[3][0]
    assert "no gene (chr2)" in found[3][0]


@pytest.mark.parametrize(
    ("transcript", "gene"),
    [
        ("transcript:ENST00000362089", "CD247"),
        ("MSTRG.1.1", "MSTRG.1|CD247"),
        ("T1", "CD3 zeta"),
        ("T|1", "100%"),
    ],
)
def test_transcripts_of_any_name_are_read_back(tmp_path, transcript, gene):
    """StringTie's names hold a |, gffread's a colon; the gene of the file must be that of the table of its exons."""
    given = [EndogenousTranscript(gene, transcript, "ACGT")]
    reference.write_transcripts(given, tmp_path / "t.fa")
    assert reference.read_transcript_fasta(tmp_path / "t.fa") == given
    assert not is_window(transcript)


def test_a_gene_that_the_annotation_lacks_is_known_by_its_mrna(tmp_path, caplog):
    """An annotation without CD247: its reads across two exons were the CAR's alone, and no base was called shared."""
    car = load_construct(data_path("constructs/axi-cel.gb"), name="CAR")
    rng, lines, chromosome = random.Random(3), [], ""
    for gene in ("CD247", "CD28"):
        mrna = relatives()[gene]
        for i in range(0, len(mrna), 150):
            chromosome += "".join(rng.choices("ACGT", k=400))
            if gene == "CD28":
                end = len(chromosome) + len(mrna[i : i + 150])
                lines.append(gtf_line("chr1", len(chromosome) + 1, end, gene="CD28"))
            chromosome += mrna[i : i + 150]
    (tmp_path / "g.fa").write_text(f">chr1\n{chromosome}\n")
    (tmp_path / "g.gtf").write_text("".join(lines))
    with caplog.at_level("WARNING", logger="carseq"):
        homologs, loci = find_homologs(car, tmp_path / "g.fa", tmp_path / "g.gtf")
    assert "lacks CD247" in caplog.text
    assert set(loci["gene"]) == {"CD28N", "CD247"}
    whole = {h.gene: h.sequence for h in homologs if not is_window(h.transcript)}
    assert whole == {"CD28N": relatives()["CD28"], "CD247": relatives()["CD247"]}
    table = homology(car.sequence, of_mrna(homologs))
    assert set(table.loc[table["class"] == "shared", "gene"]) == {"CD28N", "CD247"}


def test_a_place_without_a_transcript_is_compared_with_mrna_too():
    windows = [
        EndogenousTranscript(gene, window_name("chr1", 0, 4, "+"), "ACGT") for gene in ("A", "B")
    ]
    own = EndogenousTranscript("A", "T1", "ACGT")
    assert of_mrna([own, *windows]) == [own, windows[1]]


def test_a_transcript_of_two_genes_is_told_and_an_exon_that_stands_twice_is_one(genome, caplog):
    """RefSeq's `unknown_transcript_1` stands for many genes, whose UMIs STAR counts as one gene's."""
    lines = [gtf_line("chr1", 1, 10), gtf_line("chr1", 1, 10), gtf_line("chr1", 21, 30)]
    (genome / "g.gtf").write_text("".join(lines))
    assert next(reference.read_transcripts(genome / "g.fa", genome / "g.gtf")).sequence == (
        PLUS[:10] + PLUS[20:30]
    )
    (genome / "g.gtf").write_text("".join(lines) + gtf_line("chr1", 31, 34, gene="G2"))
    with caplog.at_level("WARNING", logger="carseq"):
        reference.check_reference(genome / "g.fa", genome / "g.gtf")
    assert "G1 and G2: T1" in caplog.text


def test_a_gene_whose_ectodomain_is_the_binder_is_not_the_car(tmp_path):
    """A CAR of CD4's own ectodomain, its frame alone: CD4 holds two thirds of it, and the genome was refused."""
    protein = {d.name: d.sequence for d in known_proteins()}
    codon = CodonTable.unambiguous_dna_by_id[1].back_table

    def coded(*names: str) -> str:
        return "".join(codon[a] for name in names for a in protein[name])

    natural = coded("CD4 signal peptide", "CD4 ectodomain", "CD4 transmembrane")
    frame = natural + coded("CD3zeta") + "TAA"
    (tmp_path / "orf.fa").write_text(f">v\n{frame}\n")
    car = load_construct(tmp_path / "orf.fa", name="CAR")
    rng = random.Random(5)
    around = ["".join(rng.choices("ACGT", k=900)) for _ in range(2)]
    gene = EndogenousTranscript("CD4", "T1", around[0] + natural + around[1])
    assert same_as_car(car, [gene]) is None
    custom = EndogenousTranscript("X", "T2", around[0] + frame[60:-30] + around[1])
    assert (same_as_car(car, [gene, custom]) or ("", 0))[0] == "X"


def test_a_place_is_named_after_the_gene_of_its_own_strand():
    """EF1alpha's intron was named after a small antisense gene within EEF1A1, whose reads it has not."""
    annotation = [
        Exons("T1", "EEF1A1", "G1", "chr6", "-", array("q", [1000, 1100, 5000, 5100])),
        Exons("T2", "EEF1A1-AS", "G2", "chr6", "+", array("q", [2000, 2600])),
    ]
    sense = Resembling("chr6", 2100, 2500, "-")
    antisense = Resembling("chr6", 2100, 2500, "+")
    alone = Resembling("chr6", 3000, 3100, "+")
    assert genes_at(annotation, [sense, antisense, alone]) == ["EEF1A1", "EEF1A1-AS", "EEF1A1"]


def test_the_program_behind_a_packages_script_is_run(tmp_path, monkeypatch):
    """bioconda's script runs nothing on a plain processor, and ends well; its folder stood in the BAM's header."""
    for name, text in (
        ("STAR", "exit 0"),
        ("STAR-plain", "echo 2.7.11b"),
        ("STAR-avx999", "echo no"),
    ):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("CARSEQ_STAR", str(tmp_path))
    assert star.star_version() == "2.7.11b"
    (tmp_path / "STAR-plain").unlink()
    assert star.star_binary() == str(tmp_path / "STAR")
    run_watched(["/bin/bash", "-c", "echo $0 > called"], tmp_path, "STAR")
    assert (tmp_path / "called").read_text() == "STAR\n"
