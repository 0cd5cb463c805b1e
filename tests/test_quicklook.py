"""quicklook: CAR molecules straight from FASTQ, as the full run finds them."""

from __future__ import annotations

import gzip
import os
import random
import signal
import sys
from concurrent.futures import BrokenExecutor
from contextlib import suppress

import numpy as np
import pytest
from Bio.Data import CodonTable
from Bio.Seq import reverse_complement
from isal import igzip
from typer.testing import CliRunner

from carseq.cli import app
from carseq.construct import load_construct
from carseq.construct.backbones import backbones
from carseq.construct.genes import GENES
from carseq.construct.library import relatives
from carseq.construct.parts import known_proteins, parts, sequences
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.figures.beside import drawing
from carseq.library.whitelist import known_whitelist
from carseq.quicklook import quicklook, write_look
from carseq.sequence.kmers import KmerSet

RNG = random.Random(11)


def bases(n):
    return "".join(RNG.choices("ACGT", k=n))


def barcodes(version):
    with igzip.open(known_whitelist(version), "rt") as lines:
        return [next(lines).split()[0] for _ in range(4000)][::200]


def write(folder, reads, *, zipped=True):
    """Write (R1, R2) sequences as a pair of FASTQ files."""
    end = ".gz" if zipped else ""
    paths = folder / f"S_R1.fastq{end}", folder / f"S_R2.fastq{end}"
    for side, path in enumerate(paths):
        text = "".join(
            f"@read{i} x\n{pair[side]}\n+\n{'F' * len(pair[side])}\n"
            for i, pair in enumerate(reads)
        )
        path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    return paths


def umi_of(first, length):
    """Return a UMI; those of other first letters differ from it in two bases and more."""
    return (f"{first}GATC" * 3)[:length]


def study(car, listed, umi, *, antisense=False):
    """Cells 0 and 1 hold 3 and 1 CAR molecules; the rest of 6,000 reads is not the CAR's."""
    native = relatives()["CD247"]
    way = reverse_complement if antisense else str
    cut = len(car) - 400
    reads = [
        (listed[0] + umi_of(u, umi), way(car[cut + i : cut + i + 90])) for i, u in enumerate("ACG")
    ]
    reads += [(listed[0] + umi_of("A", umi), way(car[cut + 5 : cut + 95]))]
    reads += [(listed[1] + umi_of("T", umi), way(car[cut : cut + 90]))]
    reads += [("N" * 16 + umi_of("T", umi), way(car[cut : cut + 90]))]
    reads += [(RNG.choice(listed) + bases(umi), way(native[900:990])) for _ in range(20)]
    reads += [(RNG.choice(listed) + bases(umi), bases(90)) for _ in range(6000)]
    RNG.shuffle(reads)
    return reads


@pytest.mark.parametrize(
    ("version", "umi", "antisense", "strand"),
    [("10x_version3", 12, False, "Forward"), ("10x_version2", 10, True, "Reverse")],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_molecules_are_counted_by_barcode(
    tmp_path, surrogate, monkeypatch, version, umi, antisense, strand, zipped
):
    # Blocks smaller than a record's share of the file: records lie across their borders.
    monkeypatch.setattr("carseq.molecules.fastq.CHUNK", 1000)
    monkeypatch.setattr("carseq.molecules.fastq.SLOTS", 16)
    listed = barcodes(version)
    reads = study(surrogate.sequence, listed, umi, antisense=antisense)
    look = quicklook([write(tmp_path, reads, zipped=zipped)], surrogate)
    assert look.chemistry.strand == strand
    assert look.chemistry.name == ("10x_5p_v2" if antisense else "10x_3p_v3")
    assert look.n_reads == len(reads)
    table = look.barcodes.set_index("barcode")
    assert table["car_molecules"].to_dict() == {listed[0]: 3, listed[1]: 1}
    assert table["car_reads"].to_dict() == {listed[0]: 4, listed[1]: 1}
    for barcode in listed[:2]:
        assert table.loc[barcode, "reads"] == sum(r1.startswith(barcode) for r1, _ in reads)
    assert look.reads_of_rank.sum() == look.n_valid == len(reads) - 1
    assert (np.diff(look.reads_of_rank) <= 0).all()
    losses = look.losses.set_index("step")["n"]
    assert (losses["invalid_barcode"], losses["duplicates"]) == (1, 1)


def test_a_library_without_the_car_is_not_called_3_prime(tmp_path, surrogate, caplog):
    """Of a 5' library without a CAR read it said "3 prime reads", and always that the strand could not be checked."""
    listed = barcodes("10x_version2")
    reads = [(RNG.choice(listed) + bases(10), bases(90)) for _ in range(2000)]
    with caplog.at_level("WARNING", logger="carseq"):
        look = quicklook([write(tmp_path, reads)], surrogate)
    assert look.chemistry.strand == ""
    words = write_look(look, "S", tmp_path)[0]
    assert "no read of the CAR tells whether reads are 3 prime or 5 prime" in words
    assert "strand could not be checked" not in caplog.text


def test_a_read_without_a_sound_umi_is_no_molecule(tmp_path, surrogate):
    """A cycle of the sequencer failed within the UMI, or it is a tail of one base: each was a molecule more."""
    listed, good = barcodes("10x_version3"), umi_of("T", 12)
    umis = [good, "N" + good[1:], "G" * 12, "T" * 12, good[:6] + "N" * 6]
    cut = len(surrogate.sequence) - 300
    reads = [
        (listed[0] + umi, surrogate.sequence[cut + i : cut + i + 90]) for i, umi in enumerate(umis)
    ]
    reads += [(RNG.choice(listed) + bases(12), bases(90)) for _ in range(2000)]
    look = quicklook([write(tmp_path, reads)], surrogate)
    assert look.molecules["umi"].tolist() == [good]
    assert look.losses.set_index("step").loc["invalid_barcode", "n"] == 4


def test_shared_reads_are_marked(tmp_path, surrogate):
    zeta = surrogate.domains.set_index("name").loc["CD3zeta"]
    at = int(zeta["start"]) + 100
    listed = barcodes("10x_version3")
    reads = [(listed[2] + umi_of("A", 12), surrogate.sequence[at : at + 90])]
    reads += [(RNG.choice(listed) + bases(12), bases(90)) for _ in range(2000)]
    look = quicklook([write(tmp_path, reads)], surrogate)
    row = look.barcodes.iloc[0]
    assert (row["barcode"], row["shared"], row["unique"]) == (listed[2], 1, 0)
    assert look.molecules["endogenous_gene"].tolist() == ["CD247"]


def test_reads_within_a_human_gene_that_is_not_compared_are_not_sure(tmp_path):
    """EGFRt as EGFR has it: kidney's own EGFR molecules were sure CAR molecules."""
    protein = {d.name: d.sequence for d in known_proteins()}
    codon = CodonTable.unambiguous_dna_by_id[1].back_table
    partner = protein["T2A"] + protein["CSF2RA signal peptide"] + protein["EGFRt"]
    frame = sequences("orfs.fa")["tisa-cel"][:1458] + "".join(codon[a] for a in partner) + "TAA"
    vector = backbones()["MSGV1"]
    (tmp_path / "v.fa").write_text(f">v\n{vector.five}{frame}{vector.three}\n")
    car = load_construct(tmp_path / "v.fa", name="CAR")
    marker = car.domains.set_index("name").loc["EGFRt"]
    listed = barcodes("10x_version3")
    reads = []
    for i in range(4):
        at = int(marker["start"]) + 100 * i
        reads.append((listed[2] + bases(12), car.sequence[at : at + 90]))
    at = len(car.sequence) - 300
    reads.append((listed[2] + bases(12), car.sequence[at : at + 90]))
    reads += [(RNG.choice(listed) + bases(12), bases(90)) for _ in range(2000)]
    look = quicklook([write(tmp_path, reads)], car)
    row = look.barcodes.iloc[0]
    assert (row["unique"], row["shared"]) == (1, 4)
    words = "\n".join(write_look(look, "S", tmp_path))
    assert "5 CAR molecules in 1 barcode: 1 sure" in words
    assert "EGFRt of EGFR" in words


#: Promoter and leader of a human gene in a vector, what the gene has behind them, and the gene.
LEADERS = {
    "EEF1A1": (
        parts()["EF1A_promoter"] + parts()["EF1A_exon1"] + "GTAAGTGCCGTGTGTGG" + "TGACCTTGCA" * 60
        + parts()["EF1A_intron_end"] + "GTGTCGTGAGGATCC",
        parts()["EF1A_exon1"] + parts()["EEF1A1_exon2"] + "ACTCATATCAACATTGTCGTCATTGGACACG",
    ),
    "PGK1": (
        parts()["hPGK_promoter"] + parts()["hPGK_leader"] + parts()["PGK1_leader_rest"] + "GGGGATCC",
        parts()["hPGK_leader"] + parts()["PGK1_leader_rest"] + "CTGTATTTCCAAAATGTCGCTTTC",
    ),
}  # fmt: skip


@pytest.mark.parametrize("gene", LEADERS)
def test_the_leader_of_a_promoters_own_gene_is_not_sure_to_its_end(tmp_path, gene):
    """5' reads of EEF1A1 across its first two exons, and of PGK1, in every cell were sure CAR molecules."""
    promoter, native = LEADERS[gene]
    ltr = "".join(parts()[p] for p in ("HIV1_dU3", "HIV1_R", "HIV1_U5"))
    frame = sequences("orfs.fa")["ide-cel"]
    (tmp_path / "v.fa").write_text(f">v\n{ltr}{bases(300)}{promoter}GCCACC{frame}TCTAGA{ltr}\n")
    car = load_construct(tmp_path / "v.fa", name="CAR")
    listed, first = barcodes("10x_version2"), car.orf[0] + 200
    reads = [(listed[2] + bases(10), reverse_complement(native[i : i + 90])) for i in range(3)]
    reads += [
        (listed[3] + bases(10), reverse_complement(car.sequence[first + i : first + i + 90]))
        for i in range(0, 50, 10)
    ]
    reads += [(RNG.choice(listed) + bases(10), bases(90)) for _ in range(2000)]
    look = quicklook([write(tmp_path, reads)], car)
    table = look.barcodes.set_index("barcode")
    assert table["unique"].to_dict() == {listed[2]: 0, listed[3]: 5}
    assert table.loc[listed[2], "shared"] > 0


#: IGHV3-23 with a J segment, as a B cell's mRNA and a binder from a library of human antibodies have them.
IGHV3_23 = (
    "GAGGTGCAGCTGTTGGAGTCTGGGGGAGGCTTGGTACAGCCTGGGGGGTCCCTGAGACTCTCCTGTGCAGCCTCTGGATTCACCTTTAGCAGCTATGCCATGAGC"
    "TGGGTCCGCCAGGCTCCAGGGAAGGGGCTGGAGTGGGTCTCAGCTATTAGTGGTAGTGGTGGTAGCACATACTACGCAGACTCCGTGAAGGGCCGGTTCACCATC"
    "TCCAGAGACAATTCCAAGAACACGCTGTATCTGCAAATGAACAGCCTGAGAGCCGAGGACACGGCCGTATATTACTGTGCGAAA"
    "GACCGTAGTTACTACGGTATGGACTACTGGGGCCAGGGAACCCTGGTCACCGTCTCCTCA"
)


def test_reads_of_b_cells_within_a_human_binder_are_not_sure(tmp_path):
    """A binder with the codons of human V segments: a plasma cell's antibody was sure CAR molecules."""
    frame, vector = sequences("orfs.fa")["tisa-cel"], backbones()["MSGV1"]
    rows = load_construct(data_path("constructs/tisa-cel.gb"))
    at = rows.domains.set_index("name").loc["CD8A hinge", "start"] - rows.orf[0]
    frame = frame[:63] + IGHV3_23 + frame[at:1458] + "TAA"
    (tmp_path / "v.fa").write_text(f">v\n{vector.five}{frame}{vector.three}\n")
    car = load_construct(tmp_path / "v.fa", name="CAR")
    listed, first = barcodes("10x_version3"), car.orf[0] + 63
    # Another cell's antibody of the same segment: its third loop and what follows are its own.
    native = car.sequence[first : first + 290] + bases(60)
    reads = [(listed[2] + bases(12), native[i : i + 90]) for i in (60, 130, 200)]
    reads.append((listed[2] + bases(12), car.sequence[-300:-210]))
    reads += [(RNG.choice(listed) + bases(12), bases(90)) for _ in range(2000)]
    look = quicklook([write(tmp_path, reads)], car)
    row = look.barcodes.iloc[0]
    assert (row["unique"], row["shared"]) == (1, 3)
    assert "VH of IGHV" in "\n".join(write_look(look, "S", tmp_path))


def test_reads_of_other_parts_of_human_genes_are_not_sure(tmp_path):
    """EEF1A1's own unspliced RNA, B2M beside an HLA-E fusion, and HBB's 3' end of an mRNA were sure CAR molecules."""
    protein = {d.name: d.sequence for d in known_proteins()}
    codon = CodonTable.unambiguous_dna_by_id[1].back_table
    tail = parts()
    frame = sequences("orfs.fa")["ide-cel"]
    hla = protein["T2A"] + protein["CD8A signal peptide"] + protein["beta-2 microglobulin"]
    shielded = frame[:-6] + "".join(codon[a] for a in hla) + "TAA"
    vector = backbones()["pWPXLD-EF1a"]
    globin = tail["HBB_5UTR"] + "GCCACC" + frame + tail["HBB_3UTR"] + "A" * 100
    donor = tail["TRAC_exon1"] + "".join(codon[a] for a in protein["P2A"]) + frame
    listed = barcodes("10x_version3")
    for name, text, gene, at in (
        ("intron", vector.five + frame + vector.three, "EEF1A1", lambda car: 400),
        ("shield", vector.five + shielded + vector.three, "B2M", lambda car: car.orf[1] - 250),
        ("mrna", globin, "HBB", lambda car: car.orf[1] + 20),
        ("donor", bases(200) + donor + tail["bGH_polyA"], "TRAC", lambda car: 0),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "v.fa").write_text(f">v\n{text}\n")
        car = load_construct(tmp_path / name / "v.fa", name="CAR")
        start, inside = at(car), car.orf[0] + 300
        reads = [(listed[2] + bases(12), car.sequence[start + i : start + i + 70]) for i in (0, 9)]
        reads += [(listed[2] + bases(12), car.sequence[inside : inside + 70])]
        reads += [(RNG.choice(listed) + bases(12), bases(70)) for _ in range(2000)]
        look = quicklook([write(tmp_path / name, reads)], car)
        row = look.barcodes.iloc[0]
        assert (name, row["unique"], row["shared"]) == (name, 1, 2)
        assert f"of {gene}" in "\n".join(write_look(look, "S", tmp_path / name))


def test_every_human_domain_of_a_car_has_its_gene():
    """One without a gene would be taken for the CAR's alone."""
    kinds = "signal peptide", "hinge", "transmembrane", "costimulatory", "CD3zeta", "signalling"
    human = {
        d.name for d in known_proteins(*kinds, "natural", "TCR") if "mouse" not in d.name + d.source
    }
    assert human <= set(GENES)
    assert set(GENES) <= {d.name for d in known_proteins()}


@pytest.mark.parametrize("length", [90, 50])
def test_reads_of_a_relative_lower_what_is_shared(tmp_path, surrogate, length):
    """Where CD247's own reads abound, a read of the domain it shares is less likely the CAR's, short reads or long."""
    at = int(surrogate.domains.set_index("name").loc["CD3zeta", "start"]) + 100
    listed, native = barcodes("10x_version3"), relatives()["CD247"]
    reads = [(listed[2] + umi_of("A", 12), surrogate.sequence[at : at + length])]
    reads += [(RNG.choice(listed) + bases(12), bases(length)) for _ in range(2000)]
    alone = quicklook([write(tmp_path, reads)], surrogate).molecules["p_car"]
    own = native[900 : 900 + length]
    reads += [(RNG.choice(listed) + bases(12), own) for _ in range(60)]
    beside = quicklook([write(tmp_path, reads)], surrogate).molecules["p_car"]
    assert beside.min() < alone.min() / 2


def test_files_that_do_not_pair_or_are_damaged_are_told(tmp_path, surrogate):
    reads = study(surrogate.sequence, barcodes("10x_version3"), 12)
    r1, r2 = write(tmp_path, reads)
    whole = r2.read_bytes()
    r2.write_bytes(gzip.compress(b"\n".join(gzip.decompress(whole).split(b"\n")[:-5]) + b"\n"))
    with pytest.raises(CarseqError, match="different numbers of reads"):
        quicklook([(r1, r2)], surrogate)
    r2.write_bytes(whole[:-2000])
    with pytest.raises(CarseqError, match=r"damaged|is not a FASTQ file"):
        quicklook([(r1, r2)], surrogate)


def test_the_command_writes_tables_and_a_picture(tmp_path, surrogate):
    write(tmp_path, study(surrogate.sequence, barcodes("10x_version3"), 12))
    to = tmp_path / "look"
    words = [
        "quicklook",
        str(tmp_path),
        "--construct",
        "hbi0101_surrogate_native",
        "--out",
        str(to),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "4 CAR molecules in 2 barcodes: 4 sure" in done.output
    assert sorted(p.name for p in to.iterdir()) == [
        f"S.{name}" for name in ("barcodes.tsv", "knee.png", "losses.tsv", "molecules.parquet")
    ]
    done = CliRunner().invoke(app, [*words[:1], str(tmp_path / "S_R1.fastq.gz"), *words[2:]])
    assert isinstance(done.exception, CarseqError)


def test_the_quick_filter_passes_what_the_k_mers_pass():
    """Reads with 21 equal bases in a row anywhere, or 18 and 19 around a wrong one; of random reads next to none."""
    car = bases(2000)
    kmers = KmerSet([car])
    turned = {"A": "C", "C": "G", "G": "T", "T": "A"}
    reads = []
    for at in range(70):
        reads.append(bases(at) + car[500 + at : 521 + at] + bases(69 - at))
    for at in range(53):
        middle = car[900 : 900 + 18] + turned[car[918]] + car[919 : 919 + 19]
        reads.append(bases(at) + middle + bases(52 - at))
    reads += [reverse_complement(read) for read in reads]
    known = len(reads)
    reads += [bases(90) for _ in range(2000)]
    text = np.frombuffer("\n".join(reads).encode(), dtype=np.uint8)
    starts = 91 * np.arange(len(reads))
    passed = kmers.among_records(text, np.stack([starts, starts + 90], axis=1))
    assert passed[:known, 0].tolist() == list(range(known))
    assert len(passed) <= known + 1
    assert kmers.among(reads).tolist()[:known] == [True] * known


def _killed(*_):
    os.kill(os.getpid(), signal.SIGKILL)


def _told(path, text):
    path.write_text(text + str(os.getpid()))


def test_figures_are_drawn_beside_and_here_where_that_process_was_killed(tmp_path, monkeypatch):
    """In the copy of this process (Linux), in this one once the copy is gone, and what fails there is told here."""
    monkeypatch.setattr("carseq.figures.beside._load", lambda: None)
    monkeypatch.delitem(sys.modules, "vl_convert", raising=False)
    monkeypatch.setattr("threading.active_count", lambda: 1)
    with drawing() as beside:
        beside.start(_told, tmp_path / "one", "by ")()
        with pytest.raises(FileNotFoundError):
            beside.start(_told, tmp_path / "no folder" / "one", "by ")()
        if sys.platform == "linux":
            assert (tmp_path / "one").read_text() != f"by {os.getpid()}"
            with suppress(BrokenExecutor):
                beside._pool.submit(_killed).result()
        beside.start(_told, tmp_path / "two", "by ")()
    if sys.platform == "linux":
        assert (tmp_path / "two").read_text() == f"by {os.getpid()}"


def test_what_is_wrong_with_the_chemistry_stops_the_picking(tmp_path, surrogate):
    """Reads are picked while it is found: the error is the chemistry's, and no thread is left."""
    import threading

    reads = [(bases(28), bases(90)) for _ in range(3000)]
    pair = write(tmp_path, reads)
    before = threading.active_count()
    with pytest.raises(CarseqError, match="no known 10x whitelist fits"):
        quicklook([pair] * 5, surrogate)
    assert threading.active_count() == before


def test_sure_molecules_of_an_unknown_part_are_told(tmp_path):
    """A chimeric autoantibody receptor: whether its binder is a human gene's ectodomain the look cannot know."""
    codon = CodonTable.unambiguous_dna_by_id[1].back_table
    known = {d.name: d.sequence for d in known_proteins()}
    binder = "".join(RNG.choices("ACDEFGHKLNPQRSTVWY", k=200))
    inner = ("CD8A hinge", "CD8A transmembrane", "4-1BB", "CD3zeta")
    protein = known["CD8A signal peptide"] + binder + "".join(known[name] for name in inner)
    frame = "".join(codon[a] for a in protein) + "TAA"
    vector = backbones()["MSGV1"]
    (tmp_path / "v.fa").write_text(f">v\n{vector.five}{frame}{vector.three}\n")
    car = load_construct(tmp_path / "v.fa", name="CAR")
    listed = barcodes("10x_version3")
    places = [car.orf[0] + 100, car.orf[0] + 200, len(car.sequence) - 250]
    reads = [(listed[2] + bases(12), car.sequence[at : at + 90]) for at in places]
    reads += [(RNG.choice(listed) + bases(12), bases(90)) for _ in range(2000)]
    look = quicklook([write(tmp_path, reads)], car)
    assert look.barcodes.iloc[0]["unique"] == 3
    words = "\n".join(write_look(look, "S", tmp_path))
    assert "2 of the sure ones lie in a part that carseq does not know (binder" in words
