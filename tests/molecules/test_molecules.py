"""molecules: each read is weighed against the CAR and its relatives, and reads become molecules."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pandas as pd
import pysam
import pytest

from carseq.construct import Construct, Transcript, homology, load_construct, rivals
from carseq.construct.homology import EndogenousTranscript, Locus
from carseq.construct.library import relatives
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.bam import kept_unmapped, open_bam
from carseq.molecules import Scorer, car_contigs, collapse_umis, find_molecules, write_slice
from carseq.molecules.support import compare_constructs

RNG = random.Random(4)
LENGTH = 90
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def bases(n: int) -> str:
    return "".join(RNG.choice("ACGT") for _ in range(n))


def barcode(i: int) -> str:
    return "".join("ACGT"[(i >> (2 * k)) & 3] for k in range(16))


@pytest.fixture(scope="module")
def found(surrogate):
    transcripts = [EndogenousTranscript(g, g, s) for g, s in relatives().items()]
    return rivals(surrogate.sequence, transcripts)


@pytest.fixture(scope="module")
def table(surrogate, found):
    return homology(surrogate.sequence, found)


class Bam:
    """Writes a small coordinate-sorted BAM: the CAR's contig and one for each relative's mRNA."""

    def __init__(self, path, surrogate, *, with_car=True, programs=()):
        self.path, self.programs = path, list(programs)
        self.contigs = {g: len(s) for g, s in relatives().items()}
        if with_car:
            self.contigs = {"HBI0101": len(surrogate.sequence), **self.contigs}
        self.records = []

    def add(self, sequence, *, contig=None, start=0, cell=1, umi="A" * 12, tags=()):
        header = pysam.AlignmentHeader.from_references(
            list(self.contigs), list(self.contigs.values())
        )
        record = pysam.AlignedSegment(header)
        record.query_name = f"read{len(self.records)}"
        record.query_sequence = sequence
        record.query_qualities = pysam.qualitystring_to_array("F" * len(sequence))
        record.flag = 0 if contig else 4
        if contig:
            record.reference_id = list(self.contigs).index(contig)
            record.reference_start = start
            record.cigarstring = f"{len(sequence)}M"
            record.mapping_quality = 255
        record.set_tag("CB", barcode(cell) if cell else "-")
        record.set_tag("UB", umi)
        for name, value in tags:
            record.set_tag(name, value)
        self.records.append(record)

    def write(self):
        header = {
            "HD": {"VN": "1.4", "SO": "coordinate"},
            "SQ": [{"SN": n, "LN": length} for n, length in self.contigs.items()],
            "PG": self.programs,
        }
        order = sorted(
            self.records, key=lambda r: (r.is_unmapped, r.reference_id, r.reference_start)
        )
        with pysam.AlignmentFile(str(self.path), "wb", header=header) as out:
            for record in order:
                out.write(record)
        pysam.index(str(self.path))
        return self.path


def loci():
    return [Locus(gene, 0, len(sequence), gene) for gene, sequence in relatives().items()]


def place(surrogate, domain):
    row = surrogate.domains.set_index("name").loc[domain]
    return int(row["start"]), int(row["end"])


def test_evidence_classes_follow_what_a_read_can_tell(tmp_path, surrogate, found, table):
    car = surrogate.sequence
    zeta, _ = place(surrogate, "CD3zeta")
    hinge, _ = place(surrogate, "CD8A hinge")
    native = relatives()["CD247"]
    in_native = native.index(car[zeta : zeta + 60])
    bam = Bam(tmp_path / "a.bam", surrogate)
    bam.add(car[3200:3290], contig="HBI0101", start=3200, cell=1)  # LTR: CAR alone
    bam.add(
        car[hinge - 45 : hinge + 45], contig="HBI0101", start=hinge - 45, cell=2
    )  # scFv to hinge
    bam.add(
        car[zeta + 100 : zeta + 190], contig="HBI0101", start=zeta + 100, cell=3
    )  # inside CD3zeta
    leaves = native[in_native - 60 : in_native + 30]  # CD247 read running out of the shared domain
    bam.add(leaves, contig="CD247", start=in_native - 60, cell=4)
    bam.add(native[900:990], contig="CD247", start=900, cell=5)  # CD247's own 3' UTR
    molecules, _ = find_molecules(bam.write(), surrogate, found, table, sample="s", loci=loci())
    kinds = dict(zip(molecules["barcode"], molecules["evidence"], strict=True))
    assert kinds == {barcode(1): "unique", barcode(2): "junction", barcode(3): "shared"}
    p_car = dict(zip(molecules["barcode"], molecules["p_car"], strict=True))
    assert p_car[barcode(1)] >= 0.99
    assert p_car[barcode(2)] >= 0.99
    assert 0.01 < p_car[barcode(3)] < 0.99
    row = molecules.set_index("barcode").loc[barcode(1)]
    assert (row["tx_start"], row["tx_end"], row["edits"]) == (3200, 3290, 0)
    assert "MSCV U3" in row["domains"]
    assert molecules.set_index("barcode").loc[barcode(3), "endogenous_gene"] == "CD247"


def test_a_slice_gives_the_same_molecules(tmp_path, surrogate, found, table):
    """From the slice of a BAM come the same molecules and losses as from all of it, though loci overlap."""
    car, native = surrogate.sequence, relatives()["CD247"]
    zeta, _ = place(surrogate, "CD3zeta")
    at = native.index(car[zeta : zeta + 60])
    bam = Bam(tmp_path / "a.bam", surrogate)
    bam.contigs["chr1"] = 10_000
    for cell in range(1, 40):
        start = RNG.randrange(zeta + 100, 3300)
        bam.add(car[start : start + 90], contig="HBI0101", start=start, cell=cell)
        bam.add(
            car[zeta + cell : zeta + cell + 90],
            contig="CD247",
            start=at + cell,
            cell=cell,
            umi="C" * 12,
        )
        bam.add(
            native[20 * cell : 20 * cell + 90],
            contig="CD247",
            start=20 * cell,
            cell=cell,
            umi="G" * 12,
        )
        bam.add(bases(90), contig="chr1", start=100 * cell, cell=cell)
        bam.add(bases(90), cell=cell)
        bam.add(car[3000 + cell : 3090 + cell], cell=cell, umi="T" * 12)
    whole, cut = bam.write(), tmp_path / "slice.bam"
    places = [*loci(), Locus("CD247", 300, 700, "CD247"), Locus("absent", 0, 9, "CD247")]
    assert write_slice(whole, [surrogate], places, cut) == 4 * 39
    expected, made = (
        find_molecules(path, surrogate, found, table, sample="s", loci=places)
        for path in (whole, cut)
    )
    assert len(expected[0]) > 100
    pd.testing.assert_frame_equal(expected[0], made[0])
    pd.testing.assert_frame_equal(expected[1], made[1])
    assert made[1].set_index("step").loc["unmapped_looked_at", "n"] == 2 * 39


def test_an_alignment_that_was_not_kept_is_told(tmp_path):
    """Where `solo.keep_bam` removed the BAM, its absence is explained."""
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(CarseqError, match="keep_bam"):
        open_bam(tmp_path / "aligned.bam")


def test_reads_are_rescued_from_homologs_and_from_the_unmapped(tmp_path, surrogate, found, table):
    car = surrogate.sequence
    hinge, _ = place(surrogate, "CD8A hinge")
    bam = Bam(tmp_path / "b.bam", surrogate, with_car=False)
    bam.add(car[3000:3090], cell=1)
    # 30 bases of scFv and 60 of hinge, placed by the aligner on CD8A.
    bam.add(car[hinge - 30 : hinge + 60], contig="CD8A", start=500, cell=2)
    bam.add(bases(90), cell=3)
    molecules, losses = find_molecules(
        bam.write(), surrogate, found, table, sample="s", loci=loci()
    )
    sources = dict(zip(molecules["barcode"], molecules["source"], strict=True))
    assert sources == {barcode(1): "unmapped", barcode(2): "homolog"}
    counted = losses.set_index("step")["n"]
    assert counted["candidates_unmapped"] == 1
    assert counted["car_molecules"] == 2


def test_the_spliced_leader_is_recognised(tmp_path, surrogate, found, table):
    spliced = surrogate.transcripts[1]
    cut = spliced.blocks[0][1]
    bam = Bam(tmp_path / "c.bam", surrogate, with_car=False)
    bam.add(spliced.sequence[cut - 45 : cut + 45], cell=1)
    molecules, _ = find_molecules(bam.write(), surrogate, found, table, sample="s")
    row = molecules.iloc[0]
    assert row["evidence"] == "unique"
    assert row["tx_start"] == cut - 45
    assert row["tx_end"] == spliced.blocks[1][0] + 45


def test_antisense_reads_are_turned_for_5_prime_and_refused_for_3_prime(
    tmp_path, surrogate, found, table
):
    read = surrogate.sequence[3000:3090].translate(COMPLEMENT)[::-1]
    bam = Bam(tmp_path / "d.bam", surrogate)
    bam.add(read, cell=1)
    path = bam.write()
    reverse, _ = find_molecules(path, surrogate, found, table, sample="s", strand="Reverse")
    forward, _ = find_molecules(path, surrogate, found, table, sample="s", strand="Forward")
    assert (len(reverse), len(forward)) == (1, 0)


def test_duplicates_and_umi_errors_make_one_molecule(tmp_path, surrogate, found, table):
    bam = Bam(tmp_path / "e.bam", surrogate)
    for start in (3000, 3010, 3020):
        bam.add(
            surrogate.sequence[start : start + LENGTH],
            contig="HBI0101",
            start=start,
            umi="ACGTACGTACGT",
        )
    bam.add(surrogate.sequence[3030:3120], contig="HBI0101", start=3030, umi="ACGTACGTACGA")
    bam.add(surrogate.sequence[3030:3120], contig="HBI0101", start=3030, umi="TTTTTTTTTTTT")
    bam.add(surrogate.sequence[3030:3120], contig="HBI0101", start=3030, cell=0)
    molecules, losses = find_molecules(bam.write(), surrogate, found, table, sample="s")
    assert sorted(molecules["n_reads"]) == [1, 4]
    counted = losses.set_index("step")["n"]
    assert counted["invalid_barcode"] == 1
    assert counted["duplicates"] == 3
    assert counted["candidates_on_contig"] == counted["invalid_barcode"] + counted["car_reads"]


def test_sequencing_errors_do_not_change_the_class(surrogate, found, table):
    scorer = Scorer(surrogate, found, table)
    zeta, _ = place(surrogate, "CD3zeta")
    for _ in range(50):
        start = RNG.choice([3000, zeta + 100])
        read = list(surrogate.sequence[start : start + LENGTH])
        for i in RNG.sample(range(LENGTH), 3):
            read[i] = RNG.choice([b for b in "ACGT" if b != read[i]])
        evidence = scorer.score("".join(read))
        assert evidence is not None
        assert evidence.homologous == (start != 3000)
        if evidence.homologous:
            assert evidence.car == pytest.approx(evidence.homolog)


def test_random_reads_are_not_the_car(surrogate, found, table):
    scorer = Scorer(surrogate, found, table)
    assert not any(scorer.resembles_car(bases(LENGTH)) for _ in range(500))
    assert all(scorer.score(bases(LENGTH)) is None for _ in range(50))


def test_the_construct_the_reads_support_is_named(tmp_path, surrogate):
    start, _ = place(surrogate, "VL")
    _, end = place(surrogate, "VH")
    binder = list(surrogate.sequence[start:end])
    for i in range(0, len(binder), 12):
        binder[i] = RNG.choice([b for b in "ACGT" if b != binder[i]])
    sequence = surrogate.sequence[:start] + "".join(binder) + surrogate.sequence[end:]
    whole = ((0, len(sequence)),)
    other = Construct("OTHER", "transcript", (Transcript("transcript", sequence, whole),), None)
    bam = Bam(tmp_path / "f.bam", surrogate)
    for cell in range(1, 9):
        at = start + 60 * cell
        bam.add(sequence[at : at + LENGTH], cell=cell)  # the other's binder, left unmapped
        bam.add(sequence[3000:3090], contig="HBI0101", start=3000, cell=cell, umi="C" * 12)
    table = compare_constructs(bam.write(), [surrogate, other], sample="s").set_index("construct")
    assert table["n_molecules"].min() >= 8
    assert table["n_best"].to_dict() == {"HBI0101": 0, "OTHER": 8}
    assert table["supported"].to_dict() == {"HBI0101": False, "OTHER": True}
    with pytest.raises(CarseqError, match="share a name"):
        compare_constructs(tmp_path / "f.bam", [surrogate, surrogate], sample="s")


def test_constructs_are_compared_whatever_the_contig_is_called(tmp_path, surrogate):
    """Reads on a contig that no construct is named by tell two apart by the parts that differ."""
    second = load_construct(data_path("constructs/axi-cel.gb"), name="axi_cel")
    first = surrogate.sequence
    own = next(i for i in range(len(first) - LENGTH) if first[i : i + 20] not in second.sequence)
    bam = Bam(tmp_path / "named.bam", surrogate)
    bam.add(bases(LENGTH))
    for cell, start in enumerate([3200] * 10 + [own] * 5, 1):
        read = first[start : start + LENGTH]
        bam.add(read, contig="HBI0101", start=start, cell=cell, umi=bases(12))
    constructs = [second, replace(surrogate, name="first")]
    table = compare_constructs(bam.write(), constructs, sample="s").set_index("construct")
    assert table["n_molecules"].to_dict() == {"axi_cel": 10, "first": 15}
    assert table["n_best"].to_dict() == {"axi_cel": 0, "first": 5}
    assert table["supported"].to_dict() == {"axi_cel": False, "first": True}


def test_umis_collapse_without_chains():
    counts = Counter({"AAAA": 5, "AAAT": 2, "AATT": 1, "CCCC": 1})
    assert collapse_umis(counts) == {"AAAA": "AAAA", "AAAT": "AAAA", "AATT": "AAAT", "CCCC": "CCCC"}


def test_a_bam_that_can_show_no_car_is_refused(tmp_path, surrogate, found, table):
    read = surrogate.sequence[3000:3090]
    bam = Bam(tmp_path / "g.bam", surrogate)
    bam.add(read, contig="HBI0101", start=3000)
    path = bam.write()
    with pytest.raises(CarseqError, match="has no XX tag"):
        find_molecules(path, surrogate, found, table, sample="s", barcode_tag="XX")
    elsewhere = [Locus("chr99", 0, 100, "CD247")]
    with pytest.raises(CarseqError, match="name their contigs differently"):
        find_molecules(path, surrogate, found, table, sample="s", loci=elsewhere)
    without = Bam(tmp_path / "h.bam", surrogate, with_car=False)
    without.add(relatives()["CD247"][:90], contig="CD247", start=0)
    with pytest.raises(CarseqError, match="no contig HBI0101 and no unmapped reads"):
        find_molecules(without.write(), surrogate, found, table, sample="s", loci=loci())


ALIGNED = {"ID": "STAR", "PN": "STAR", "CL": "STAR --outSAMtype BAM --outSAMunmapped Within"}


def test_a_library_without_an_unmapped_read_is_taken(tmp_path, surrogate, found, table):
    """All reads were aligned, as the header shows, or to another construct; it was refused as one that lost reads."""
    whole = Bam(tmp_path / "j.bam", surrogate, with_car=False, programs=[ALIGNED])
    whole.add(relatives()["CD247"][:90], contig="CD247", start=0)
    _, losses = find_molecules(whole.write(), surrogate, found, table, sample="s", loci=loci())
    assert losses.set_index("step").loc["unmapped_looked_at", "n"] == 0
    # With `reuse` the contig of the first construct is one of the places, and holds what they share.
    first = Bam(tmp_path / "k.bam", surrogate, with_car=False)
    first.contigs["FIRST"] = len(surrogate.sequence)
    first.add(surrogate.sequence[3200:3290], contig="FIRST", start=3200)
    places = [*loci(), Locus("FIRST", 0, len(surrogate.sequence), "FIRST")]
    molecules, _ = find_molecules(first.write(), surrogate, found, table, sample="s", loci=places)
    assert list(molecules["evidence"]) == ["unique"]


@pytest.mark.parametrize(
    ("programs", "kept"),
    [
        ([], False),
        ([ALIGNED], True),
        ([ALIGNED | {"CL": "STAR --outSAMtype BAM"}], False),
        ([ALIGNED, {"ID": "s", "PN": "samtools", "CL": "samtools sort -@ 4 a.bam"}], True),
        ([ALIGNED, {"ID": "s", "PN": "samtools", "CL": "samtools view -b -F 4 a.bam"}], False),
        ([ALIGNED, {"ID": "x", "PN": "own_filter"}], False),
    ],
    ids=["nothing", "STAR within", "STAR default", "sorted", "filtered", "unknown program"],
)
def test_a_header_shows_whether_unmapped_reads_were_kept(tmp_path, surrogate, programs, kept):
    bam = Bam(tmp_path / "l.bam", surrogate, programs=programs)
    bam.add(surrogate.sequence[:90], contig="HBI0101")
    with open_bam(bam.write()) as opened:
        assert kept_unmapped(opened) is kept


def test_the_cars_contig_may_have_another_name(tmp_path, surrogate, found, table, caplog):
    bam = Bam(tmp_path / "i.bam", surrogate)
    bam.contigs = {"BCMA_CAR": len(surrogate.sequence), **relatives_only(bam.contigs)}
    bam.add(surrogate.sequence[3000:3090], contig="BCMA_CAR", start=3000)
    bam.add(surrogate.sequence[3050:3140], cell=2)
    with caplog.at_level("WARNING", logger="carseq"):
        molecules, losses = find_molecules(
            bam.write(), surrogate, found, table, sample="s", loci=loci()
        )
    assert sorted(molecules["source"]) == ["aligned", "unmapped"]
    assert "BCMA_CAR" in caplog.text
    assert losses.set_index("step").loc["unmapped_looked_at", "n"] == 1


def test_the_cars_contig_may_hold_other_genes_before_it(tmp_path, surrogate, found, table):
    """A contig of several transgenes: its first hundred reads are all of another one."""
    other = bases(1500)
    contig = other + surrogate.sequence
    bam = Bam(tmp_path / "i.bam", surrogate)
    bam.contigs = {"transgenes": len(contig), **relatives_only(bam.contigs)}
    for i in range(150):
        bam.add(other[i : i + 90], contig="transgenes", start=i, cell=i + 1)
    for i in range(5):
        at = len(contig) - 300 + i
        bam.add(contig[at : at + 90], contig="transgenes", start=at, cell=i + 1)
    bam.add(bases(90))
    molecules, losses = find_molecules(
        bam.write(), surrogate, found, table, sample="s", loci=loci()
    )
    assert len(molecules) == 5
    assert losses.set_index("step").loc["unlike_car", "n"] == 150


def test_each_read_of_a_short_contig_is_read_once_and_the_mitochondrion_not(
    tmp_path, surrogate, monkeypatch
):
    """The mitochondrion is as short as a vector and may hold a tenth of all reads: it was read 34 times over."""
    bam = Bam(tmp_path / "m.bam", surrogate)
    bam.contigs = {"chrM": 16_569, "KI270741.1": 8_000, **relatives_only(bam.contigs)}
    for contig in ("chrM", "KI270741.1"):
        for i in range(400):
            bam.add(bases(90), contig=contig, start=10 * i, cell=i + 1)
    asked = []
    with open_bam(bam.write()) as opened:
        fetch = type(opened).fetch
        monkeypatch.setattr(
            type(opened), "fetch", lambda self, *a, **k: asked.append(a) or fetch(self, *a, **k)
        )
        assert car_contigs(opened, "HBI0101", Scorer(surrogate, []).kmers, []) == []
    assert asked == [("KI270741.1",)]


def relatives_only(contigs):
    return {name: length for name, length in contigs.items() if name != "HBI0101"}


def test_every_candidate_read_is_accounted_for(tmp_path, surrogate, found, table):
    """On the contig, in antisense, unlike the CAR, without barcode, endogenous, placed twice, twice a molecule."""
    car = surrogate.sequence
    native = relatives()["CD247"]
    zeta, _ = place(surrogate, "CD3zeta")
    inside = native.index(car[zeta : zeta + 60])
    bam = Bam(tmp_path / "j.bam", surrogate)
    bam.add(car[3000:3090], contig="HBI0101", start=3000, cell=1, tags=[("NH", 2)])
    bam.add(car[3010:3100], contig="HBI0101", start=3010, cell=1, tags=[("NH", 1)])
    bam.add(car[3000:3090], cell=2)
    bam.add(car[3000:3090].translate(COMPLEMENT)[::-1], contig="HBI0101", start=3000, cell=3)
    bam.add(bases(90), contig="HBI0101", start=100, cell=4)
    bam.add(car[3200:3290], contig="HBI0101", start=3200, cell=0)
    bam.add(native[inside - 45 : inside + 45], contig="CD247", start=inside - 45, cell=5)
    bam.add(bases(90), cell=6)
    _, losses = find_molecules(bam.write(), surrogate, found, table, sample="s", loci=loci())
    n = losses.set_index("step")["n"]
    assert n["candidates_on_contig"] == 5
    assert (n["candidates_at_homologs"], n["unmapped_looked_at"]) == (1, 2)
    gone = ["wrong_strand", "unlike_car", "invalid_barcode", "endogenous", "car_reads"]
    came = ["candidates_on_contig", "candidates_at_homologs", "candidates_unmapped"]
    assert n[came].sum() == n[gone].sum()
    assert dict(n[gone]) == {
        "wrong_strand": 1, "unlike_car": 1, "invalid_barcode": 1, "endogenous": 1, "car_reads": 3,
    }  # fmt: skip
    assert (n["multi_mapped"], n["duplicates"], n["car_molecules"]) == (1, 1, 2)


def test_both_reads_of_a_pair_are_looked_at(tmp_path, surrogate, found, table):
    """In 5' paired-end BAMs R1 is sense and R2 antisense."""
    bam = Bam(tmp_path / "k.bam", surrogate)
    bam.add(surrogate.sequence[100:190], cell=1)
    bam.add(surrogate.sequence[400:490].translate(COMPLEMENT)[::-1], cell=1)
    for record, flag in zip(bam.records, (77, 141), strict=True):
        record.flag, record.query_name = flag, "pair"
    molecules, _ = find_molecules(
        bam.write(), surrogate, found, table, sample="s", strand="Reverse", loci=loci()
    )
    assert molecules["n_reads"].tolist() == [2]
    assert (molecules["tx_start"][0], molecules["tx_end"][0]) == (100, 490)


def test_gaps_and_tails_are_scored(surrogate, found, table):
    """A deletion in the read is seen; the poly(A) tail behind the transcript's end is not held against it."""
    scorer = Scorer(surrogate, found, table)
    car = surrogate.sequence
    gapped = scorer.score(car[3000:3045] + car[3048:3093])
    assert gapped is not None
    assert (gapped.start, gapped.end, gapped.edits) == (3000, 3093, 3)
    tailed = scorer.score(car[-60:] + "A" * 30)
    assert tailed is not None
    assert tailed.start == len(car) - 60
    # Both R's of a MoMuLV vector are the same; MSGV1's differ, so that a read tells them apart.
    other = load_construct(data_path("constructs/hbi0101_surrogate_MoMuLV.gb"), name="HBI0101")
    same = other.sequence
    early = Scorer(other, found, table, prefer_3p=False).score(same[-60:])
    assert early is not None
    assert early.end == same.index(same[-60:]) + 60 < 100


def test_an_unsorted_or_missing_bam_is_told(tmp_path, surrogate, found, table):
    with pytest.raises(CarseqError, match="cannot read the BAM"):
        find_molecules(tmp_path / "none.bam", surrogate, found, table, sample="s")
    header = {"HD": {"VN": "1.4"}, "SQ": [{"SN": "chr1", "LN": 1000}]}
    with pysam.AlignmentFile(str(tmp_path / "u.bam"), "wb", header=header):
        pass
    with pytest.raises(CarseqError, match="not sorted"):
        find_molecules(tmp_path / "u.bam", surrogate, found, table, sample="s")
    bam = Bam(tmp_path / "t.bam", surrogate)
    for start in range(0, 3000, 2):
        bam.add(surrogate.sequence[start : start + 90], contig="HBI0101", start=start)
    path = bam.write()
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(CarseqError, match="cannot read the BAM"):
        find_molecules(path, surrogate, found, table, sample="s")


def test_a_second_cars_reads_are_found_on_the_first_cars_contig(tmp_path, surrogate, found, table):
    """Where most reads of the first CAR's contig are its own, those that two CARs share are the second's too."""
    second = load_construct(data_path("constructs/axi-cel.gb"), name="axi_cel")
    first = surrogate.sequence
    own = next(i for i in range(len(first) - LENGTH) if first[i : i + 20] not in second.sequence)
    assert first[3200 : 3200 + LENGTH] in second.sequence
    bam = Bam(tmp_path / "two.bam", surrogate)
    for i in range(300):
        bam.add(first[own : own + LENGTH], contig="HBI0101", start=own, cell=i + 1, umi=bases(12))
    bam.add(bases(LENGTH))  # unmapped: a BAM without such reads would be refused
    for i in range(5):
        bam.add(
            first[3200 : 3200 + LENGTH], contig="HBI0101", start=3200, cell=i + 1, umi=bases(12)
        )
    similar = rivals(
        second.sequence, [EndogenousTranscript(g, g, s) for g, s in relatives().items()]
    )
    places = [*loci(), Locus("HBI0101", 0, len(first), "HBI0101")]
    molecules, _ = find_molecules(
        bam.write(), second, similar, homology(second.sequence, similar), sample="s", loci=places
    )
    assert len(molecules) == 5
    assert (molecules["evidence"] == "unique").all()
