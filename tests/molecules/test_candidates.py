"""Candidate reads: one walk for molecules, explain, slices and the reads of cells; what cannot be counted is told."""

from __future__ import annotations

import gzip
import random
from dataclasses import replace
from pathlib import Path

import pytest
from Bio.Seq import reverse_complement

from carseq.construct import homology, load_construct, rivals
from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.construct.library import relatives
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.explain.reads import cell_reads
from carseq.io.bam import OTHER_TAGS, barcodes_of_bam, molecule_tags, open_bam
from carseq.library.strand import strand_of_bam
from carseq.molecules import (
    CandidateReads,
    Scorer,
    Target,
    cell_records,
    find_molecules,
    molecules_of,
    write_slice,
)
from carseq.quicklook import quicklook
from test_molecules import Bam, barcode, bases, loci, place
from test_quicklook import barcodes as listed_barcodes
from tiny import write_bam


@pytest.fixture(scope="module")
def target(surrogate):
    transcripts = [EndogenousTranscript(g, g, s) for g, s in relatives().items()]
    found = rivals(surrogate.sequence, transcripts)
    return Target(surrogate, found, loci())


def pair(bam, first, second, *, name, contig="", starts=(0, 0), cell=1, umi="A" * 12):
    """Add the two reads of a fragment of a 5' library: R1 sense, R2 antisense; one name."""
    for read, start, flag in ((first, starts[0], 64), (second, starts[1], 128 + 16)):
        bam.add(read, contig=contig or None, start=start, cell=cell, umi=umi)
        record = bam.records[-1]
        record.query_name = name
        record.flag = 1 + flag if contig else 1 + 4 + 8 + (flag & ~16)
        if not contig and flag & 16:
            record.query_sequence = reverse_complement(read)
    return bam


@pytest.mark.parametrize("index", ["P1.bam.bai", "P1.bai"])
def test_a_link_to_a_bam_needs_no_index_beside_it(tmp_path, index):
    """`ln -s` of the BAM alone: it "has no index", which lies where the BAM does."""
    path = tmp_path / "P1.bam"
    write_bam(path, [("c", 500)], [("c", 100, "A" * 50, [("CB", "B")])])
    Path(f"{path}.bai").rename(tmp_path / index)
    (tmp_path / "study").mkdir()
    (tmp_path / "study/own.bam").symlink_to(path)
    with open_bam(tmp_path / "study/own.bam") as bam:
        assert [read.reference_start for read in bam.fetch("c", 90, 160)] == [100]
    # Wherever else places are looked up.
    with pytest.raises(CarseqError, match="the strand of"):
        strand_of_bam(tmp_path / "study/own.bam", ["C" * 50])


def test_both_mates_are_seen_by_every_reader(tmp_path, surrogate, target):
    """Of a 5' paired BAM, molecules, explain, the slice and the reads of cells hold the same reads.

    A read that was known by its name alone lost its mate in all but the first.
    """
    car = surrogate.sequence
    bam = Bam(tmp_path / "pairs.bam", surrogate)
    pair(bam, car[100:190], car[400:490], name="on", contig="HBI0101", starts=(100, 400))
    pair(bam, car[120:210], car[430:520], name="off", umi="C" * 12)
    # R1 fits the CAR over 90 bases, R2 lies on the CAR's contig and nowhere fits it.
    pair(bam, car[140:230], bases(90), name="half", contig="HBI0101", starts=(140, 500), umi="G" * 12)  # fmt: skip
    path = bam.write()
    five = replace(target, strand="Reverse")
    molecules, _ = molecules_of(path, five, sample="s")
    n_reads = dict(zip(molecules["umi"], molecules["n_reads"], strict=True))
    assert n_reads == {"A" * 12: 2, "C" * 12: 2, "G" * 12: 1}
    with open_bam(path) as opened:
        seen = cell_reads(opened, ["HBI0101"], five, ("CB", "UB"), barcode(1))
    assert sorted(r.umi for r in seen.reads) == ["A" * 12] * 2 + ["C" * 12] * 2 + ["G" * 12]
    assert len(seen.records) == 6
    records = cell_records(path, five, [barcode(1) + "-1"])
    assert sorted((r.query_name, r.is_read1) for r in records) == [
        (name, first) for name in ("half", "off", "on") for first in (False, True)
    ]
    cut = tmp_path / "slice.bam"
    assert write_slice(path, [surrogate], loci(), cut) == 6
    again, _ = molecules_of(cut, five, sample="s")
    assert again.equals(molecules)


def test_a_mate_that_the_car_does_not_explain_does_not_take_its_partner_away(
    tmp_path, surrogate, target
):
    """Unmapped mates: the one that is the CAR's is kept, whichever of the two comes first in the BAM."""
    car = surrogate.sequence
    for order in ((0, 1), (1, 0)):
        bam = Bam(tmp_path / f"mates{order[0]}.bam", surrogate)
        own, other = car[3000:3090], car[3000:3025] + bases(65)
        pair(bam, *[(own, other)[i] for i in order], name="p")
        records = cell_records(bam.write(), replace(target, strand="Reverse"), [barcode(1)])
        kept = {r.get_forward_sequence() for r in records}
        assert kept == {own if order[0] == 0 else reverse_complement(own)}


@pytest.mark.parametrize("tags", [("CB", "UB"), ("XC", "XM")])
def test_reads_whose_names_repeat_are_not_one_read(tags, tmp_path, surrogate, target):
    """Two lanes were numbered from 1 each, or a BAM has no names: all but one molecule of a name were lost."""
    car = surrogate.sequence
    bam = Bam(tmp_path / "numbered.bam", surrogate)
    for i, umi in enumerate(("A" * 12, "C" * 12, "G" * 12, "T" * 12)):
        on = {"contig": "HBI0101", "start": 100 + i} if i < 2 else {}
        bam.add(car[100 + i : 190 + i], cell=1 + i % 2, umi=umi, **on)
        record = bam.records[-1]
        record.query_name = "7"
        record.set_tags([*zip(tags, (record.get_tag("CB"), umi), strict=True)])
    path = bam.write()
    molecules, _ = molecules_of(path, target, sample="s")
    assert sorted(molecules["umi"]) == ["A" * 12, "C" * 12, "G" * 12, "T" * 12]
    assert len(cell_records(path, target, [barcode(1), barcode(2)])) == 4


def test_a_read_over_two_exons_is_given_once(tmp_path, surrogate, target):
    """A spliced read overlaps two loci of its gene."""
    bam = Bam(tmp_path / "s.bam", surrogate)
    native = relatives()["CD247"]
    bam.add(native[100:145] + native[600:645], contig="CD247", start=100)
    bam.records[-1].cigarstring = "45M455N45M"
    bam.add(bases(90))
    places = [Locus("CD247", 90, 200, "CD247"), Locus("CD247", 590, 700, "CD247")]
    with open_bam(bam.write()) as opened:
        walk = CandidateReads(opened, target.scorer.kmers, ["HBI0101"], places)
        assert [len(list(records)) for _, records in walk.placed()] == [0, 1, 0]


def with_umis_in(tag, tmp_path, surrogate):
    """Return a BAM of twelve molecules of two cells whose UMIs another tag holds."""
    car = surrogate.sequence
    bam = Bam(tmp_path / f"{tag}.bam", surrogate)
    for cell in (1, 2):
        for i in range(6):
            bam.add(car[3000 + i : 3090 + i], contig="HBI0101", start=3000 + i, cell=cell)
            bam.records[-1].set_tag("UB", None)
            bam.records[-1].set_tag(tag, bases(12))
    return bam


@pytest.mark.parametrize("tags", [("CB", "UR"), ("XC", "XM")])
def test_a_umi_that_was_read_badly_is_no_molecule(tags, tmp_path, surrogate, target):
    """Cell Ranger leaves UMIs with an N, or of one base alone, out of UB; the Drop-seq tools write those with an N."""
    car = surrogate.sequence
    bam = Bam(tmp_path / "bad.bam", surrogate)
    bad = ["N" * 12, "NCGTACGTACGT", *(["G" * 12] if tags[1] == "UR" else [])]
    for i, umi in enumerate(["ACGTACGTACGT", *bad]):
        bam.add(car[3000 + i : 3090 + i], contig="HBI0101", start=3000 + i)
        bam.records[-1].set_tags([*zip(tags, (barcode(1) + "-1", umi), strict=True)])
    molecules, losses = molecules_of(bam.write(), target, sample="s")
    assert molecules["umi"].tolist() == ["ACGTACGTACGT"]
    assert losses.set_index("step").loc["invalid_barcode", "n"] == len(bad)


def test_a_bam_without_umis_is_refused(tmp_path, surrogate, target):
    """Taken for one UMI, all reads of a cell would be one molecule."""
    path = with_umis_in("ZU", tmp_path, surrogate).write()
    with pytest.raises(CarseqError, match=r"no UB tag.*\n?.*CB, .*ZU"):
        molecules_of(path, target, sample="s")
    molecules, _ = molecules_of(path, target, sample="s", tags=("CB", "ZU"))
    assert len(molecules) == 12


@pytest.mark.parametrize("pair", OTHER_TAGS)
def test_umis_of_other_programs_are_found(pair, tmp_path, surrogate, target):
    """Nobody has to know that BD Rhapsody writes MA, the Drop-seq tools XC and XM; BD's cell 0 is no cell."""
    bam = with_umis_in("ZU", tmp_path, surrogate)
    for record in bam.records:
        barcode, umi = record.get_tag("CB"), record.get_tag("ZU")
        for tag, value in (("CB", None), ("ZU", None), (pair[0], barcode), (pair[1], umi)):
            record.set_tag(tag, value)
    bam.records[-1].set_tag(pair[0], 0)
    path = bam.write()
    assert molecule_tags(path) == pair
    molecules, losses = molecules_of(path, target, sample="s")
    assert len(molecules) == 11
    assert losses.set_index("step").loc["invalid_barcode", "n"] == 1
    assert barcodes_of_bam(path).sum() == 11
    # Tags that are named are taken as they are.
    with pytest.raises(CarseqError, match="no ZB tag"):
        molecules_of(path, target, sample="s", tags=("ZB", "ZU"))


def test_tags_of_a_usual_bam_stay(tmp_path, surrogate):
    """A further MA in a BAM of Cell Ranger or STARsolo changes nothing."""
    bam = Bam(tmp_path / "both.bam", surrogate)
    for i in range(4):
        bam.add(surrogate.sequence[3000 + i : 3090 + i], contig="HBI0101", start=3000 + i)
        bam.records[-1].set_tag("MA", bases(12))
    assert molecule_tags(bam.write()) == ("CB", "UB")


def test_single_reads_without_a_umi_are_accounted_for(tmp_path, surrogate, target):
    car = surrogate.sequence
    bam = Bam(tmp_path / "some.bam", surrogate)
    for i in range(5):
        bam.add(car[3000 + i : 3090 + i], contig="HBI0101", start=3000 + i, umi=bases(12))
    for i, umi in enumerate(("-", None, "")):
        bam.add(car[3100 + i : 3190 + i], contig="HBI0101", start=3100 + i)
        bam.records[-1].set_tag("UB", umi)
    molecules, losses = molecules_of(bam.write(), target, sample="s")
    assert len(molecules) == 5
    assert losses.set_index("step").loc["invalid_barcode", "n"] == 3


@pytest.mark.parametrize(
    ("clipped", "name"), [(0, "BCMA_CAR"), (1, "BCMA_CAR"), (5, "BCMA_CAR"), (0, "transcript:CAR")]
)
def test_the_car_in_the_genome_under_another_name_is_no_homolog(
    tmp_path, surrogate, target, clipped, name
):
    """Of a custom genome that holds the transgene: its gene is the CAR, not a homolog that shares every base.

    Transcripts of an annotation that gffread made have a colon in their names, as windows of the genome have.
    """
    car = surrogate.sequence
    own = EndogenousTranscript("BCMA_CAR", name, car)
    similar = [*target.homologs, own]
    places = [*loci(), Locus("BCMA_CAR", 0, len(car), "BCMA_CAR")]
    bam = Bam(tmp_path / "custom.bam", surrogate)
    bam.contigs = {"BCMA_CAR": len(car), **relatives_of(bam)}
    rng = random.Random(clipped)
    for i in range(100):
        at = rng.randrange(len(car) - 500, len(car) - 90)
        bam.add(car[at : at + 90], contig="BCMA_CAR", start=at, cell=i, umi=bases(12))
    for _ in range(clipped):
        bam.add(car[-20:] + "A" * 70, contig="BCMA_CAR", start=len(car) - 20, umi=bases(12))
        bam.records[-1].cigarstring = "20M70S"
    bam.add(bases(90))
    table = homology(car, similar)
    assert (table["class"] != "car_only").all()
    molecules, _ = find_molecules(bam.write(), surrogate, similar, table, sample="s", loci=places)
    assert len(molecules) == 99  # cell 0 has no barcode
    assert set(molecules["evidence"]) == {"unique"}
    assert (molecules["p_car"] > 0.99).all()


def relatives_of(bam):
    return {name: n for name, n in bam.contigs.items() if name != "HBI0101"}


@pytest.mark.parametrize("antisense", [False, True])
def test_quicklook_places_a_read_as_the_workflow_does(tmp_path, target, antisense):
    """A read that fits the R of both ends is put at the end that its chemistry reads: from FASTQ and from BAM."""
    construct = load_construct(data_path("constructs/hbi0101_surrogate_MoMuLV.gb"), name="HBI0101")
    car = construct.sequence
    at = len(car) - 60
    assert car[at:] in car[:200]
    strand = "Reverse" if antisense else "Forward"
    way = reverse_complement if antisense else str
    scorer = replace(target, construct=construct, strand=strand).scorer
    expected = scorer.score(car[at:])
    assert (expected.start == at) == (not antisense)
    listed = listed_barcodes("10x_version2" if antisense else "10x_version3")
    umi = 10 if antisense else 12
    rng = random.Random(1)
    cut = 3000
    sound = ("TC" * umi)[:umi]
    reads = [(listed[1] + sound, way(car[cut + i : cut + i + 60])) for i in range(20)]
    reads.append((listed[0] + sound, way(car[at:])))
    reads += [(rng.choice(listed) + bases(umi), bases(60)) for _ in range(2000)]
    paths = tmp_path / "S_R1.fastq.gz", tmp_path / "S_R2.fastq.gz"
    for side, path in enumerate(paths):
        text = "".join(f"@r{i}\n{p[side]}\n+\n{'F' * len(p[side])}\n" for i, p in enumerate(reads))
        path.write_bytes(gzip.compress(text.encode()))
    look = quicklook([paths], construct)
    assert look.chemistry.strand == strand
    row = look.molecules.set_index("barcode").loc[listed[0]]
    assert (row["tx_start"], row["tx_end"]) == (expected.start, expected.end)


def test_a_scorer_cannot_be_changed(target):
    scorer = target.scorer
    with pytest.raises(AttributeError):
        scorer.prefer_3p = False
    assert isinstance(scorer, Scorer)
    assert target.scorer is scorer
    assert replace(target, strand="Reverse").scorer.prefer_3p is False


def test_another_read_of_the_umi_tells_whose_it_is(tmp_path, surrogate, target):
    """A molecule with a read inside CD3zeta and one in CD247's own 3' UTR is CD247's."""
    car, native = surrogate.sequence, relatives()["CD247"]
    zeta, _ = place(surrogate, "CD3zeta")
    inside = car[zeta + 100 : zeta + 190]
    bam = Bam(tmp_path / "umi.bam", surrogate)
    at = native.index(inside)
    bam.add(inside, contig="CD247", start=at, cell=1)
    bam.add(native[900:990], contig="CD247", start=900, cell=1)
    bam.add(inside, contig="CD247", start=at, cell=2)
    bam.add(bases(90))
    molecules, losses = molecules_of(bam.write(), target, sample="s")
    assert molecules["barcode"].tolist() == [barcode(2)]
    assert losses.set_index("step").loc["endogenous", "n"] == 1


@pytest.mark.parametrize("clip", ["H", "S"])
def test_a_supplementary_alignment_does_not_stand_for_its_read(clip, tmp_path, surrogate, target):
    """BWA and minimap2 cut a read in two: half of CD247's read lies on the CAR's contig, as bases that both have.

    That half alone was looked at, and the gene's molecule counted as one that may be the CAR's.
    """
    native = relatives()["CD247"]
    shared = next(i for i in range(200, len(native)) if native[i : i + 60] in surrogate.sequence)
    read = native[shared - 45 : shared + 45]
    half = surrogate.sequence.index(native[shared : shared + 45])
    bam = Bam(tmp_path / "bwa.bam", surrogate)
    bam.add(read, contig="CD247", start=shared - 45, cell=1, umi="A" * 12)
    bam.records[-1].query_name = "split"
    bam.add(read if clip == "S" else read[45:], contig="HBI0101", start=half, cell=1, umi="A" * 12)
    record = bam.records[-1]
    record.query_name, record.flag = "split", 2048
    record.cigarstring = f"45{clip}45M"
    # Of a read whose other half lies elsewhere this half is all that there is.
    own = surrogate.sequence[3000:3045]
    bam.add(own, contig="HBI0101", start=3000, cell=1, umi="C" * 12)
    bam.records[-1].flag, bam.records[-1].cigarstring = 2048, f"45{clip}45M".replace("45S", "")
    path = bam.write()
    molecules, _ = molecules_of(path, target, sample="s")
    evidence = dict(zip(molecules["umi"], molecules["evidence"], strict=True))
    assert evidence == {"C" * 12: "unique"}
    assert len(cell_records(path, target, [barcode(1)])) == 3
