"""construct: reads show what lies beyond a frame, and how much of the mRNA is spliced."""

from __future__ import annotations

import random
from dataclasses import replace

import pysam
import pytest
from typer.testing import CliRunner

from carseq.cli import app
from carseq.construct import Construct, lint, load_construct
from carseq.construct.backbones import backbones, complete, likeliest
from carseq.construct.coding import reverse_complement
from carseq.construct.extend import Read, extend, extended, without_genes
from carseq.construct.library import relatives
from carseq.construct.model import Transcript
from carseq.construct.outputs import genbank
from carseq.construct.parts import sequences
from carseq.construct.splicing import count_splicing, splicing_of_bam

FRAME = sequences("orfs.fa")["axi-cel"]
VECTOR = backbones()["MSGV1"]
UNSPLICED = VECTOR.five + FRAME + VECTOR.three
SPLICED = UNSPLICED[:206] + UNSPLICED[1155:]


def molecules(
    n: int, chemistry: str, *, spliced: float = 0.6, errors: float = 0.004, seed: int = 1
) -> list[Read]:
    """Reads of molecules of axi-cel in MSGV1: an insert from the poly(A) site or from the first base."""
    rng = random.Random(seed)
    found = []
    for i in range(n):
        mrna = (SPLICED if rng.random() < spliced else UNSPLICED) + "A" * 30
        insert = max(95, int(rng.gauss(350, 100)))
        start = len(mrna) - 30 - insert if chemistry == "3p" else max(0, insert - 90)
        if rng.random() < 0.15:
            start = rng.randrange(len(mrna) - 90)
        for _ in range(2):
            at = min(max(0, start + rng.randrange(-4, 5)), len(mrna) - 90)
            bases = "".join(
                rng.choice("ACGT") if rng.random() < errors else b for b in mrna[at : at + 90]
            )
            found.append(Read(f"m{i}", bases if i % 2 else reverse_complement(bases)))
    noise = "".join(rng.choice("ACGT") for _ in range(20_000))
    found += [Read(f"n{i}", noise[s : s + 90]) for i, s in enumerate(range(0, 19_900, 80))]
    rng.shuffle(found)
    return found


@pytest.fixture
def orf(tmp_path) -> Construct:
    path = tmp_path / "orf.fa"
    path.write_text(f">v\n{FRAME}\n")
    return load_construct(path, name="MYCAR")


def test_3_prime_reads_show_the_tail_behind_a_frame(orf):
    found = extend(orf.sequence, molecules(600, "3p"), end="three")
    assert VECTOR.three.startswith(found.sequence)
    assert len(found.sequence) > 400
    assert min(found.support) >= 3
    assert "MSCV U3" in found.parts
    longer = extended(orf, None, found)
    assert longer.orf == orf.orf
    assert likeliest(longer).backbone.name == "MSGV1"
    told = {f["code"]: f for f in lint(longer)}
    assert "the reads" in told["assumed_ends"]["message"]


def test_5_prime_reads_show_the_leader_before_a_frame(orf):
    found = extend(orf.sequence, molecules(400, "5p", spliced=1), end="five")
    assert SPLICED[: SPLICED.index(FRAME)].endswith(found.sequence)
    assert len(found.sequence) > 300
    longer = extended(orf, found, None)
    assert not longer.three.known
    if not longer.five.known:
        # Less than the whole leader: no end of the mRNA.
        assert not SPLICED.startswith(longer.sequence[:40])
    assert likeliest(longer).backbone.name == "MSGV1"
    # The vector's ends and its intron give both forms, the frame's own surroundings kept.
    both = complete(longer, "MSGV1")
    assert [t.sequence for t in both.transcripts] == [UNSPLICED, SPLICED]


@pytest.mark.parametrize("shown", [20, 10])
def test_the_template_switch_oligo_is_no_part_of_the_mrna(tmp_path, orf, shown):
    """Reads of short inserts go on into 10x's oligo; all agree on it, and the mRNA got thirteen bases that it lacks."""
    rng = random.Random(5)
    reads = []
    for i in range(400):
        before = "".join(rng.choice("ACGT") for _ in range(26)) + "TTTCTTATATGGG"
        cdna = before + SPLICED if i % 3 else before + UNSPLICED
        end = len(before) + max(80, int(rng.gauss(300, 150)))
        at = max(len(before) - shown, end - 90)
        reads.append(Read(f"m{i}", reverse_complement(cdna[at : at + 90])))
    found = extend(SPLICED[150:], reads, end="five")
    assert (found.sequence, found.why) == (SPLICED[:150], "template switch oligo")
    at, n = SPLICED.index(FRAME) - 150, len(SPLICED) - 150
    piece = Transcript("transcript", SPLICED[150:], ((0, n),))
    longer = extended(replace(orf, transcripts=(piece,), orf=(at, at + len(FRAME))), found, None)
    path = tmp_path / "longer.gb"
    words = dict(longer.notes)["assumed_ends"].replace(".", "")
    path.write_text(genbank(longer, " ".join(words.split())))
    assert longer.five.known
    assert load_construct(path).five.known


@pytest.mark.parametrize("n", [150, 1500])
def test_the_gene_whose_leader_the_frame_has_is_not_its_5_prime_end(n):
    """The CAR has CD8A's own leader: of all reads, aligned to the frame alone, CD8A's were more, and put before it."""
    frame = sequences("orfs.fa")["tisa-cel"]
    gene, spliced = relatives()["CD8A"], SPLICED[: SPLICED.index(FRAME)] + frame
    assert frame[:63] in gene
    rng, reads = random.Random(1), []
    for name, mrna, size in (("car", spliced, 300), ("gene", gene, n)):
        for i in range(size):
            at = max(0, int(rng.gauss(260, 120)))
            bases = "".join(
                rng.choice("ACGT") if rng.random() < 0.004 else b for b in mrna[at : at + 90]
            )
            reads.append(Read(f"{name}{i}", reverse_complement(bases)))
    rng.shuffle(reads)
    found = extend(frame, without_genes(reads, frame, relatives().values()), end="five")
    assert spliced[: spliced.index(frame)].endswith(found.sequence)
    assert len(found.sequence) > 400
    # A frame that shares nothing with a gene keeps all reads.
    assert without_genes(reads, sequences("orfs.fa")["ide-cel"], [gene]) == reads


def test_noise_and_too_few_molecules_show_nothing(orf):
    few = [r for r in molecules(600, "3p") if r.molecule in ("m1", "m2") or r.molecule[0] == "n"]
    for end in ("three", "five"):
        found = extend(orf.sequence, few, end=end)
        assert found.sequence == ""
        assert found.why == "too few molecules"


def test_molecules_that_disagree_stop_the_walk():
    rng = random.Random(4)
    start = "".join(rng.choice("ACGT") for _ in range(200))
    one, two = ("".join(rng.choice("ACGT") for _ in range(60)) for _ in range(2))
    common = "".join(rng.choice("ACGT") for _ in range(30))
    reads = [Read(f"{k}{i}", start[-40 + i :] + common + k) for k in (one, two) for i in range(6)]
    found = extend(start, reads, end="three")
    assert found.sequence.startswith(common[:29])
    assert len(found.sequence) <= 34
    assert found.why == "molecules disagree"


def test_the_share_spliced_is_counted(tmp_path):
    path = tmp_path / "v.fa"
    path.write_text(f">v\n{UNSPLICED}\n")
    found = load_construct(path)
    reads = molecules(900, "5p", spliced=0.8, seed=5)
    counted = count_splicing(found, reads)
    assert counted.n_spliced + counted.n_unspliced > 100
    assert counted.share == pytest.approx(0.8, abs=0.1)
    few = count_splicing(found, reads[:40])
    assert few.share is None
    path.write_text(f">v\n{FRAME}\n")
    assert count_splicing(load_construct(path), reads) is None


def test_clipped_and_unmapped_reads_of_a_bam_are_used(tmp_path, orf):
    header = {
        "HD": {"VN": "1.6", "SO": "coordinate"},
        "SQ": [{"SN": "MYCAR", "LN": len(FRAME)}],
    }
    reads = molecules(600, "3p")
    path = tmp_path / "a.bam"
    size = len(FRAME)
    with pysam.AlignmentFile(str(path), "wb", header=header) as out:
        mapped, unmapped = [], []
        for i, read in enumerate(reads):
            record = pysam.AlignedSegment(out.header)
            record.query_name, record.query_sequence = f"r{i}", read.sequence
            record.set_tag("CB", read.molecule)
            record.set_tag("UB", "U")
            record.flag = 4
            for k in range(20, 90):
                if FRAME.endswith(read.sequence[:k]):
                    record.flag, record.reference_id = 0, 0
                    record.reference_start = size - k
                    record.cigartuples = [(0, k), (4, 90 - k)]
            (unmapped if record.is_unmapped else mapped).append(record)
        for record in sorted(mapped, key=lambda r: r.reference_start) + unmapped:
            out.write(record)
    pysam.index(str(path))
    assert splicing_of_bam(orf, path) is None
    source = tmp_path / "orf.fa"
    to = tmp_path / "longer.gb"
    command = ["construct", str(source), "--name", "MYCAR", "--bam", str(path), "--extend", str(to)]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "beyond the 3' end the reads show" in done.output
    assert "--backbone MSGV1" in done.output
    again = load_construct(to)
    assert again.sequence.startswith(FRAME)
    assert VECTOR.three.startswith(again.sequence[size:])
    assert len(again.sequence) > size + 400
    assert "assumed_ends" in dict(again.notes)
    # Of the 5' end the reads showed nothing: it is as unknown as before, and what that costs is said.
    assert not again.five.known
    assert {f["code"]: f for f in lint(again)}["no_leader"]["umis_lost_5p"] > 50
    # Reads that were aligned without the CAR are all unmapped, and nothing can be compared.
    bare = tmp_path / "b.bam"
    header["SQ"] = [{"SN": "chr1", "LN": 1000}]
    with pysam.AlignmentFile(str(bare), "wb", header=header) as out:
        for i, read in enumerate(reads):
            record = pysam.AlignedSegment(out.header)
            record.query_name, record.query_sequence, record.flag = f"r{i}", read.sequence, 4
            record.set_tags([("CB", read.molecule), ("UB", "U")])
            out.write(record)
    pysam.index(str(bare))
    command[5], command[7] = str(bare), str(tmp_path / "again.gb")
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert "no contig MYCAR" in done.output
    assert load_construct(tmp_path / "again.gb").sequence == again.sequence


def test_a_part_of_a_car_is_not_extended(tmp_path):
    """It was told that both of its ends are known."""
    source, bam = tmp_path / "part.fa", tmp_path / "a.bam"
    source.write_text(f">v\n{FRAME[66:800]}\n")
    with pysam.AlignmentFile(
        str(bam),
        "wb",
        header={"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": "CAR", "LN": 734}]},
    ):
        pass
    pysam.index(str(bam))
    command = ["construct", str(source), "--form", "partial", "--bam", str(bam), "--extend", "x.gb"]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == 1
    assert "part of a CAR" in str(done.output) + str(done.exception)
    # Its map marks nothing that a part need not have.
    assert "✗" not in done.output
