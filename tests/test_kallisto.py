"""kallisto: what it is asked, what it cannot count, and the reads that a search of FASTQ files writes as evidence."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pysam
import pytest
import yaml

from carseq import kallisto
from carseq.construct import Construct, load_construct
from carseq.construct.genes import human_parts
from carseq.data import path as data_path
from carseq.errors import CarseqError
from carseq.io.fasta import contigs, fasta_records
from carseq.library.geometry import Chemistry
from carseq.molecules import CandidateReads, Target, molecules_of, write_evidence
from carseq.reference.genome import locus_list
from carseq.reference.resembling import find_homologs
from carseq.start.check import check_study
from carseq.study import memory
from carseq.study.config import load_config
from carseq.study.load import load_study
from six_genes import TURN, copy, noise

ROOT = Path(__file__).parents[1]
LISTED = ["AAACCCAAGAAACACT", "AAACCCAAGAAACCAT", "GGGTTTACACCCGGTA"]
CHEMISTRY = Chemistry("10x_3p_v3", 1, 16, 17, 12, "Forward", "", 1.0, 9, 90, 9, 0)


def program(folder: Path, name: str, version: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho {name}, version {version}\n")
    (folder / name).chmod(0o755)


def turned(text: str) -> str:
    return text[::-1].translate(TURN)


class TestPrograms:
    """The programs are found, and told if they are not there or too old."""

    def test_of_one_folder_or_of_two(self, tmp_path: Path) -> None:
        for name in kallisto.PROGRAMS:
            program(tmp_path / "flat", name, "0.51.1")
            program(tmp_path / "kb" / name, name, "0.52.0")
        assert kallisto.find_programs(tmp_path / "flat").versions()["kallisto"] == "0.51.1"
        assert kallisto.find_programs(tmp_path / "kb").versions()["bustools"] == "0.52.0"

    def test_missing(self, tmp_path: Path) -> None:
        program(tmp_path, "kallisto", "0.52.0")
        with pytest.raises(CarseqError, match="bustools is not installed") as told:
            kallisto.find_programs(tmp_path)
        assert "--install-kallisto" in told.value.remedy

    def test_too_old(self, tmp_path: Path) -> None:
        for name in kallisto.PROGRAMS:
            program(tmp_path, name, "0.48.0")
        with pytest.raises(CarseqError, match=r"kallisto 0\.48\.0 is too old"):
            kallisto.find_programs(tmp_path)

    def test_one_that_does_not_run(self, tmp_path: Path) -> None:
        for name in kallisto.PROGRAMS:
            program(tmp_path, name, "0.52.0")
        (tmp_path / "kallisto").write_text("#!/bin/sh\necho broken; exit 127\n")
        with pytest.raises(CarseqError, match="cannot be run"):
            kallisto.find_programs(tmp_path)

    def test_a_failure_is_told_with_its_cause(self, tmp_path: Path) -> None:
        words = ["sh", "-c", "echo 'Error: No space left on device'; exit 1"]
        with pytest.raises(CarseqError, match="sh failed") as told:
            kallisto.run_program(words, tmp_path)
        assert "No space left" in told.value.cause
        assert "disk space" in told.value.remedy
        kallisto.run_program(words, tmp_path, unless="No space left")


def test_the_geometry_is_handed_on() -> None:
    """Of 10x 3' v2 and v3, of 5', and of a barcode behind its UMI."""
    assert kallisto.technology(CHEMISTRY) == "0,0,16:0,16,28:1,0,0"
    assert kallisto.technology(replace(CHEMISTRY, umi_length=10)) == "0,0,16:0,16,26:1,0,0"
    behind = replace(CHEMISTRY, cb_start=9, cb_length=12, umi_start=1, umi_length=8)
    assert kallisto.technology(behind) == "0,8,20:0,0,8:1,0,0"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"positions": "bd_rhapsody"}, "several parts"),
        ({"strand": "Unstranded"}, "strand"),
        ({"umi_length": 40}, "32 bases"),
    ],
)
def test_what_cannot_be_counted_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(CarseqError, match="does not count reads of 10x_3p_v3") as told:
        kallisto.check_chemistry(replace(CHEMISTRY, **change))  # type: ignore[arg-type]
    assert words in told.value.cause


class TestStudy:
    """What kallisto cannot give is told before anything runs."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        study = tmp_path / "study"
        shutil.copytree(ROOT / "tests/data/lint", study)
        for name in kallisto.PROGRAMS:
            program(tmp_path / "bin", name, "0.52.0")
        self.write(study, solo={"aligner": "kallisto", "kallisto": str(tmp_path / "bin")})
        return study

    def write(self, study: Path, **sections: dict[str, object]) -> None:
        config = yaml.safe_load((study / "config.yaml").read_text())
        for name, section in sections.items():
            config[name] = {**(config.get(name) or {}), **section}
        (study / "config.yaml").write_text(yaml.safe_dump(config))

    @pytest.mark.parametrize(
        ("section", "key", "value", "words"),
        [
            ("solo", "feature", "GeneFull", "introns"),
            ("reference", "insertion", "saved", "cannot insert the CAR"),
            ("solo", "kallisto", "no/such/folder", "solo.kallisto"),
        ],
    )
    def test_refused(self, folder: Path, section: str, key: str, value: str, words: str) -> None:
        load_study(load_config(folder / "config.yaml"))
        self.write(folder, **{section: {key: value}})
        with pytest.raises(CarseqError) as told:
            load_study(load_config(folder / "config.yaml"))
        assert words in str(told.value)

    def test_a_barcode_of_several_parts_is_refused(self, folder: Path) -> None:
        sheet = (folder / "samples.tsv").read_text().splitlines()
        column = ["chemistry", "auto", "bd_rhapsody"]
        rows = [f"{line}\t{cell}" for line, cell in zip(sheet, column, strict=True)]
        (folder / "samples.tsv").write_text("\n".join(rows) + "\n")
        with pytest.raises(CarseqError, match="does not take sample B of bd_rhapsody"):
            load_study(load_config(folder / "config.yaml"))

    def test_the_check_says_what_is_lost_and_asks_for_no_star(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        found = [(what, str(told)) for what, told in check_study(folder / "config.yaml")]
        assert not [what for what, _ in found if what in ("STAR", "insertion")]
        told = " ".join(words for what, words in found if what in ("kallisto", "memory"))
        for words in ("kallisto 0.52.0", "no BAM of all reads", "`reuse` cannot build on", "GB"):
            assert words in told

    def test_the_choice_of_star_is_left_alone(self, folder: Path) -> None:
        study = load_study(load_config(folder / "config.yaml"))
        choice = memory.choice_of(study, machine=999_000, genome=3100)
        assert choice.insertion == "none"
        assert memory.too_little(study, choice, 8_000) == ""
        assert "kallisto may take" in memory.too_little(study, choice, 2_000)


# The search of FASTQ files


@pytest.fixture(scope="module")
def car() -> Construct:
    return load_construct(data_path("constructs/tisa-cel.gb"), name="CAR")


@pytest.fixture(scope="module")
def genome(car: Construct, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two genes of two exons each, on either strand; the second exon holds 300 bases of the CAR with faults."""
    folder = tmp_path_factory.mktemp("genome")
    rng = np.random.default_rng(3)
    exons = []
    for _ in range(2):
        alike = copy(rng, car.sequence[-700:-400], 0.15)
        exons.append([noise(rng, 400), alike.join([noise(rng, 200), noise(rng, 200)])])
    forward = noise(rng, 900).join(["", *exons[0], ""])
    backward = turned(noise(rng, 900).join(["", *exons[1], ""]))
    (folder / "g.fa").write_text(f">1\n{forward}\n>2\n{backward}\n")
    rows = []
    size = len(forward)
    for contig, gene, strand in (("1", "P", "+"), ("2", "M", "-")):
        names = f'gene_id "{gene}"; transcript_id "T{gene}"; gene_name "{gene}";'
        for start, end in ((900, 1300), (2200, 2900)):
            begin, stop = (start, end) if strand == "+" else (size - end, size - start)
            rows.append(f"{contig}\tx\texon\t{begin + 1}\t{stop}\t.\t{strand}\t.\t{names}\n")
    (folder / "g.gtf").write_text("".join(rows))
    (folder / "exons.txt").write_text("\n".join("".join(pair) for pair in exons))
    return folder


def write_pair(folder: Path, reads: list[tuple[str, str]]) -> tuple[Path, Path]:
    paths = folder / "R1.fastq", folder / "R2.fastq"
    for side, path in enumerate(paths):
        records = [f"@r{i}\n{r[side]}\n+\n{'F' * len(r[side])}\n" for i, r in enumerate(reads)]
        path.write_text("".join(records))
    (folder / "list.txt").write_text("\n".join(LISTED) + "\n")
    return paths


@pytest.mark.parametrize("strand", ["Forward", "Reverse"])
def test_the_search_writes_what_an_alignment_would_have_shown(
    genome: Path, car: Construct, tmp_path: Path, strand: str
) -> None:
    """Genes' reads lie on the genome with their bases, the CAR's nowhere; barcodes are corrected; no molecule lacks."""
    rng = np.random.default_rng(4)
    way = str if strand == "Forward" else turned
    genes = (genome / "exons.txt").read_text().split("\n")
    umi = iter(noise(rng, 12) for _ in range(10_000))
    # Over the splice, in the shared stretch's edge, and inside the second exon.
    places = (330, 560, 620, 700, 850, 1000)
    of_genes = [
        (LISTED[i % 2] + next(umi), way(gene[at : at + 90]))
        for gene in genes
        for i, at in enumerate(places)
    ]
    of_car = [(LISTED[0] + next(umi), way(car.sequence[a : a + 90])) for a in range(500, 1500, 50)]
    wrong = LISTED[2][:5] + ("A" if LISTED[2][5] != "A" else "C") + LISTED[2][6:]
    of_car += [(LISTED[2] + next(umi), way(car.sequence[700:790])) for _ in range(3)]
    of_car += [(b + next(umi), way(car.sequence[740:830])) for b in (wrong, "ACGT" * 4)]
    # UMIs that STARsolo does not take either.
    of_car += [(LISTED[0] + u, way(car.sequence[740:830])) for u in ("ACGTNACGTACG", "A" * 12)]
    rest = [(LISTED[0] + next(umi), noise(rng, 90)) for _ in range(200)]
    reads = [*of_genes, *of_car, *rest]
    pair = write_pair(tmp_path, reads)
    homologs, table = find_homologs(car, genome / "g.fa", genome / "g.gtf")
    loci = locus_list(table)
    chemistry = replace(CHEMISTRY, strand=strand, whitelist=str(tmp_path / "list.txt"))
    out = tmp_path / "slice.bam"
    n = write_evidence([pair], chemistry, [car], homologs, loci, contigs(genome / "g.fa"), out)
    text = dict(fasta_records(genome / "g.fa"))
    with pysam.AlignmentFile(str(out)) as bam:
        records = list(bam.fetch(until_eof=True))
    assert len(records) == n
    mapped = [r for r in records if not r.is_unmapped]
    assert {r.get_tag("GN") for r in mapped} == {"P", "M"}
    assert len(mapped) >= len(of_genes) - 2
    for record in mapped:
        assert record.get_forward_sequence() == reads[int(record.query_name.split(":")[1]) - 1][1]
        bases = text[record.reference_name]
        pairs = record.get_aligned_pairs(matches_only=True)
        same = [record.query_sequence[q] == bases[p] for q, p in pairs]
        assert np.mean(same) >= 0.98
        assert len(same) >= 55
    by_name = {r.query_name: r.get_tag("CB") for r in records}
    assert by_name[f"1:{len(of_genes) + 24}"] == LISTED[2]
    assert by_name[f"1:{len(of_genes) + 25}"] == "-"
    target = Target(car, homologs, loci, strand)
    molecules, losses = molecules_of(out, target, sample="s")
    assert len(molecules) == len(of_car) - 3
    # The annotation lacks the human genes of the CAR's parts, whose mRNA carseq brings.
    parts = human_parts(car)
    near = [any(m.tx_start < p.end and m.tx_end > p.start for p in parts) for m in molecules.itertuples()]  # fmt: skip
    assert set(molecules.loc[~np.array(near), "evidence"]) == {"unique"}
    assert set(molecules["evidence"]) <= {"unique", "junction"}
    account = losses.set_index("step")["n"]
    assert account["invalid_barcode"] == 3
    assert account["unmapped_looked_at"] >= len(of_car) + len(rest)
    with pysam.AlignmentFile(str(out)) as bam:
        walk = CandidateReads(bam, target.scorer.kmers, [], loci, strand=strand)
        of_gene = [c.read.barcode for c in walk if c.read is not None and c.gene in ("P", "M")]
    assert len(of_gene) == len(mapped)


def test_a_sample_without_a_read_that_may_be_the_cars_has_no_molecule(
    genome: Path, car: Construct, tmp_path: Path
) -> None:
    """An empty slice, and one of genes' reads alone: zero molecules, of so many reads looked at; not an error."""
    homologs, table = find_homologs(car, genome / "g.fa", genome / "g.gtf")
    gene = (genome / "exons.txt").read_text().split("\n")[0]
    chemistry = replace(CHEMISTRY, whitelist=str(tmp_path / "list.txt"))
    rng = np.random.default_rng(1)
    noises = [(LISTED[0] + noise(rng, 12), noise(rng, 90)) for _ in range(50)]
    own = [(LISTED[0] + noise(rng, 12), gene[1000:1090])]
    for reads in (noises, noises + own):
        pair = write_pair(tmp_path, reads)
        out = tmp_path / "slice.bam"
        lengths = contigs(genome / "g.fa")
        write_evidence([pair], chemistry, [car], homologs, locus_list(table), lengths, out)
        molecules, losses = molecules_of(out, Target(car, homologs, locus_list(table)), sample="s")
        assert molecules.empty
        assert losses.set_index("step").loc["unmapped_looked_at", "n"] == 50


def test_files_that_do_not_pair_up_are_told(genome: Path, car: Construct, tmp_path: Path) -> None:
    one, two = write_pair(tmp_path, [(LISTED[0] + "A" * 12, "ACGT" * 20)] * 4)
    two.write_text(two.read_text()[: len(two.read_text()) // 2])
    chemistry = replace(CHEMISTRY, whitelist=str(tmp_path / "list.txt"))
    with pytest.raises(CarseqError, match="different numbers of reads"):
        write_evidence([(one, two)], chemistry, [car], [], [], {"1": 10}, tmp_path / "x.bam")
    assert not (tmp_path / "x.bam").exists()


@pytest.mark.parametrize(("length", "told"), [(28, True), (49, True), (50, False), (90, False)])
def test_short_reads_are_told(
    length: int, told: bool, car: Construct, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The search keeps fewer of them than an alignment would."""
    pair = write_pair(tmp_path, [(LISTED[0] + "A" * 12, "ACGT" * 20)] * 4)
    listed = str(tmp_path / "list.txt")
    chemistry = replace(CHEMISTRY, whitelist=listed, read_length=length)
    with caplog.at_level("WARNING", logger="carseq"):
        write_evidence([pair], chemistry, [car], [], [], {"1": 10}, tmp_path / "x.bam")
    assert (f"reads of {length} bases" in caplog.text) == told
